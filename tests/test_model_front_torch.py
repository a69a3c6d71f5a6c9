"""The HTTP front before engine `torch` on a tiny random model: the two halves fit."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from model.front import app
from model.scripted_backend import ScriptedBackend
from tests.front_kit import TOKEN, Address, listening, said, until
from tests.torch_engine_kit import engine

pytestmark = pytest.mark.engine

ASK: Any = [{"role": "user", "content": "add one <|im_end|>"}]
TEXT = "/v1/completions"


@pytest.fixture(scope="module")
def front() -> Iterator[Address]:
    with engine() as served, listening(app(served, TOKEN)) as (host, port):
        yield Address(host, port, ScriptedBackend([]))


@pytest.fixture
def client(front: Address) -> Iterator[openai.OpenAI]:
    with front.openai() as made:
        yield made


def test_greedy_answers_are_the_same_whole_and_streamed(front: Address, client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "messages": ASK, "temperature": 0, "max_tokens": 12}
    answer = client.chat.completions.create(**asked)
    with client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = [*stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == answer.choices[0].message.content
    assert answer.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens <= 12
    with front.http() as http:
        count = http.post("/tokenize", json={"messages": ASK}).json()["count"]
    assert count == answer.usage.prompt_tokens


def test_answers_share_a_prompt_and_seeds_repeat_them(client: openai.OpenAI) -> None:
    asked: Any = {"model": "tiny", "prompt": "ab " * 40, "n": 3, "seed": 5, "max_tokens": 8}
    first, second = (client.completions.create(**asked) for _ in range(2))
    assert [choice.text for choice in first.choices] == [choice.text for choice in second.choices]
    assert len({choice.text for choice in first.choices}) > 1
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert second.usage.prompt_tokens_details.cached_tokens
    assert second.usage.prompt_tokens_details.cached_tokens > 0


def test_a_form_is_kept_and_one_that_does_not_compile_is_refused(client: openai.OpenAI) -> None:
    schema: Any = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    form: Any = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": schema | {"additionalProperties": False}},
    }
    answer = client.chat.completions.create(model="tiny", messages=ASK, response_format=form, seed=1)
    assert set(json.loads(answer.choices[0].message.content or "")) == {"a"}
    form["json_schema"]["schema"] = {"type": "strin"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="tiny", messages=ASK, response_format=form)
    assert refused.value.param == "response_format"
    assert client.completions.create(model="tiny", prompt="a", max_tokens=1).choices


def test_logprobs_and_token_ids(front: Address) -> None:
    body = {"prompt": "abc", "max_tokens": 4, "temperature": 0, "logprobs": 2, "return_token_ids": True}
    with front.http() as http:
        choice = http.post(TEXT, json=body).json()["choices"][0]
    told = choice["logprobs"]
    assert len(told["token_logprobs"]) == len(choice["token_ids"]) > 0
    for logprob, top in zip(told["token_logprobs"], told["top_logprobs"], strict=True):
        assert logprob == pytest.approx(max(top.values()))  # greedy draws the likeliest


def test_what_it_cannot_do_is_refused(front: Address) -> None:
    with front.http() as http:
        long = http.post(TEXT, json={"prompt": "a " * 5000}).json()["error"]
        assert (long["code"], long["n_ctx"]) == ("context_length_exceeded", 2048)
        assert http.post(TEXT, json={"prompt": "a", "suffix": "b"}).json()["error"]["param"] == "suffix"
        assert http.post("/v1/adapters", json={"name": "a", "path": "/nowhere"}).status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_answers(front: Address, stream: bool) -> None:
    def running(http: Any) -> float:
        lines = http.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("adi_answers_running ")).split()[1])

    body = {"prompt": "ab", "stream": stream, "n": 2, "max_tokens": 900, "grammar": "root ::= [a-z]{900,}"}
    with front.http() as http:
        with front.dial() as line:
            line.sendall(said(json.dumps(body), path=TEXT))
            assert until(lambda: running(http) == 2)
        assert until(lambda: running(http) == 0, 2.0)
