"""The HTTP front as the standard client of OpenAI meets it: every shape and field that is served."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import openai
import pytest

from model.backend import Grammar, Job
from model.errors import Overloaded, RequestRefused, ServerFailed
from model.http import Endpoint, Transport
from model.probe import probe
from model.scripted_backend import END, MIDDLE, PREFIX, SUFFIX, Reply, Say
from tests.front_kit import TOKEN, Address, fronted

ASK: Any = [{"role": "system", "content": "short"}, {"role": "user", "content": "add one"}]


def echo(job: Job) -> Reply:
    """Says how many ids it was given."""
    return Say([f"{len(job.ids)} ids, answer {index}: héllo" for index in range(job.n)])


@pytest.fixture(scope="module")
def front() -> Iterator[Address]:
    with fronted(echo) as address:
        yield address


@pytest.fixture
def client(front: Address) -> Iterator[openai.OpenAI]:
    with front.openai() as made:
        yield made


def last(front: Address) -> Job:
    return front.backend.given[-1].job


def test_a_chat_in_the_shape_of_openai(front: Address, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="scripted", messages=ASK, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "27 ids, answer 0: héllo"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "scripted"
    assert answer.system_fingerprint == "scripted-1"
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (27, 25)
    assert answer.usage.total_tokens == 52
    assert answer.usage.prompt_tokens_details is not None
    timings = answer.model_extra["timings"] if answer.model_extra else {}
    assert set(timings) == {"queue_ms", "ttft_ms", "tok_s", "drafted", "accepted", "grammar_us"}
    assert last(front).draw.max_tokens == 4096 - 27
    again = client.chat.completions.create(model="scripted", messages=ASK, temperature=0)
    assert again.usage is not None
    assert again.usage.prompt_tokens_details is not None
    assert again.usage.prompt_tokens_details.cached_tokens == 26


def test_an_answer_can_go_back_as_a_message(front: Address, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="scripted", messages=ASK)
    parts: Any = {"role": "developer", "content": [{"type": "text", "text": t} for t in ("a", "b")]}
    client.chat.completions.create(
        model="scripted",
        messages=[parts, answer.choices[0].message, *ASK[1:]],  # type: ignore[list-item]
    )
    text = front.backend.decode(last(front).ids)
    assert text.startswith("<turn>system\na\nb<turn>assistant\n27 ids, answer 0: héllo<turn>user\n")


def test_a_stream_of_chunks_with_usage_at_its_end(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="scripted", messages=ASK, stream=True, stream_options={"include_usage": True}, n=2
    ) as stream:
        chunks = [*stream]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    for index in (0, 1):
        own = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == index]
        assert own[0].delta.role == "assistant"
        assert "".join(c.delta.content or "" for c in own) == f"27 ids, answer {index}: héllo"
        assert [c.finish_reason for c in own if c.finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (27, 50)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_as_bytes(front: Address) -> None:
    body = {"prompt": "abc", "stream": True, "max_tokens": 3, "seed": 1}
    with front.http() as http:
        answer = http.post("/v1/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(c["choices"][0]["text"] for c in chunks) == "3 i"
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert "timings" in chunks[-1]
    assert all("usage" not in chunk for chunk in chunks)


def test_sampling_reaches_the_engine_as_it_was_asked_for(front: Address, client: openai.OpenAI) -> None:
    client.chat.completions.create(
        model="scripted", messages=ASK, max_completion_tokens=9, temperature=0.5, top_p=0.9, seed=7, n=3,
        stop=["x", "y"], user="ada", extra_body={"top_k": 40, "min_p": 0.05, "stop_token_ids": [END]},
    )  # fmt: skip
    job = last(front)
    draw = job.draw
    assert (draw.max_tokens, draw.temperature, draw.top_p) == (9, 0.5, 0.9)
    assert (draw.top_k, draw.min_p, draw.seed, draw.logprobs) == (40, 0.05, 7, None)
    assert (job.n, job.stop, job.stop_ids, job.client) == (3, ("x", "y"), (END,), "user ada")
    client.completions.create(model="scripted", prompt="a")
    assert (last(front).draw.temperature, last(front).draw.top_p) == (1.0, 1.0)
    assert last(front).client.startswith("connection 127.0.0.1:")
    client.completions.create(model="scripted", prompt="a", temperature=0)
    assert last(front).draw.seed == 0


def test_a_stop_text_ends_the_answer(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="scripted", prompt="ab", stop=" answer")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("2 ids,", "stop")


def test_a_gap_is_filled_with_the_models_own_tokens(front: Address, client: openai.OpenAI) -> None:
    client.completions.create(model="scripted", prompt="def f(", suffix=")", extra_body={"context": "# repo"})
    assert front.backend.decode(last(front).ids) == "# repo<prefix>def f(<suffix>)<middle>"
    assert last(front).stop_ids == (PREFIX, SUFFIX, MIDDLE)
    client.completions.create(model="scripted", prompt="end", suffix="")
    assert front.backend.decode(last(front).ids) == "<prefix>end<suffix><middle>"
    client.completions.create(model="scripted", prompt=[104, 105])
    assert (last(front).ids, last(front).stop_ids) == ((104, 105), ())


@pytest.mark.parametrize(
    ("asked", "grammar"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Grammar("json_object")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"é": 1}}}},
            Grammar("json_schema", '{"é": 1}'),
        ),
        ({"structured_outputs": {"json": {"type": "null"}}}, Grammar("json_schema", '{"type": "null"}')),
        ({"structured_outputs": {"json": "{}"}}, Grammar("json_schema", "{}")),
        ({"structured_outputs": {"regex": "a+"}}, Grammar("regex", "a+")),
        ({"structured_outputs": {"grammar": "root ::= [a]"}}, Grammar("gbnf", "root ::= [a]")),
        ({"grammar": "root ::= [a]"}, Grammar("gbnf", "root ::= [a]")),
    ],
)
def test_every_way_to_ask_for_a_form(
    front: Address, client: openai.OpenAI, asked: dict[str, Any], grammar: Grammar | None
) -> None:
    client.chat.completions.create(model="scripted", messages=ASK, extra_body=asked)
    assert last(front).grammar == grammar


def test_logprobs_of_a_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="scripted", messages=ASK, logprobs=True, top_logprobs=2, max_tokens=2
    )
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert [token.token for token in told.content] == ["2", "7"]
    assert told.content[0].bytes == [50]
    assert [other.token for other in told.content[0].top_logprobs] == ["2", "a"]
    with client.chat.completions.create(model="scripted", messages=ASK, logprobs=True, stream=True) as stream:
        found = [c.choices[0].logprobs for c in stream]
    letters = [token.bytes for told in found if told for token in told.content or ()]
    assert bytes(byte for one in letters for byte in one or ()).decode() == "27 ids, answer 0: héllo"


def test_logprobs_of_a_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="scripted", prompt="ab", logprobs=1)
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.tokens is not None
    assert told.tokens[-5:] == ["bytes:\\xc3", "bytes:\\xa9", "l", "l", "o"]
    assert told.token_logprobs == [-0.25] * 23
    assert told.top_logprobs is not None
    assert told.top_logprobs[0] == {"2": -0.25}
    assert told.text_offset is not None
    assert told.text_offset[-5:] == [18, 18, 19, 20, 21]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_token_ids_are_told_on_request(front: Address, path: str) -> None:
    chat = "chat" in path
    body: dict[str, Any] = {"messages": ASK} if chat else {"prompt": "ab"}
    with front.http() as http:
        whole = http.post(path, json=body | {"return_token_ids": True}).json()
        streamed = http.post(path, json=body | {"return_token_ids": True, "stream": True}).text
        plain = http.post(path, json=body).json()
    text = "27 ids" if chat else "2 ids"
    assert bytes(whole["choices"][0]["token_ids"]).decode().startswith(text)
    holder = whole if chat else whole["choices"][0]
    assert tuple(holder["prompt_token_ids"]) == last(front).ids
    chunks = [json.loads(line[6:]) for line in streamed.split("\n\n")[:-2]]
    ids = [one for chunk in chunks for one in chunk["choices"][0].get("token_ids", [])]
    assert bytes(ids).decode().startswith(text)
    first = chunks[0] if chat else chunks[0]["choices"][0]
    assert tuple(first["prompt_token_ids"]) == last(front).ids
    assert "token_ids" not in plain["choices"][0]


def test_models_and_adapters(front: Address, client: openai.OpenAI) -> None:
    served = client.models.list().data
    assert [(one.id, one.owned_by) for one in served] == [("scripted", "adi")]
    assert served[0].model_extra == {"max_model_len": 4096}
    with front.http() as http:
        assert http.post("/v1/adapters", json={"name": "night", "path": "relative"}).status_code == 400
        made = http.post("/v1/adapters", json={"name": "night", "path": "/adapters/night"})
        assert made.json()["rank"] == 8
        assert [one["id"] for one in http.get("/v1/adapters").json()["data"]] == ["night"]
        assert client.models.retrieve("scripted:night").id == "scripted:night"
        with closing(Transport(lambda: Endpoint(front.url, TOKEN))) as transport:
            assert probe(transport, "").model == "scripted", "a model with an adapter is no second model"
            assert probe(transport, "scripted:night").model == "scripted:night"
        answer = client.completions.create(model="scripted:night", prompt="a")
        assert (last(front).adapter, answer.model) == ("night", "scripted:night")
        client.completions.create(model="scripted", prompt="a", extra_body={"adapter": "night"})
        assert last(front).adapter == "night"
        client.completions.create(model="scripted", prompt="a")
        assert last(front).adapter == ""
        assert http.delete("/v1/adapters/night").json()["deleted"] is True
        assert http.delete("/v1/adapters/night").status_code == 404
    with pytest.raises(openai.NotFoundError, match="night"):
        client.completions.create(model="scripted:night", prompt="a")


def test_tokens_are_counted_exactly(front: Address) -> None:
    with front.http() as http:
        chat = http.post("/tokenize", json={"messages": ASK, "add_generation_prompt": True}).json()
        gap = http.post("/tokenize", json={"prompt": "a", "suffix": "b", "context": "c"}).json()
        text = http.post("/tokenize", json={"prompt": "é", "add_special_tokens": False}).json()
        back = http.post("/detokenize", json={"tokens": text["tokens"]}).json()
    assert (chat["count"], len(chat["tokens"]), chat["max_model_len"]) == (27, 27, 4096)
    assert gap["tokens"] == [99, PREFIX, 97, SUFFIX, 98, MIDDLE]
    assert text == {"count": 2, "tokens": [0xC3, 0xA9], "max_model_len": 4096}
    assert back == {"prompt": "é"}


def test_counters_for_prometheus(front: Address, client: openai.OpenAI) -> None:
    client.completions.create(model="scripted", prompt="abcd")
    with front.http() as http:
        answer = http.get("/metrics")
        assert http.get("/health", headers={"Authorization": ""}).json() == {"status": "ok"}
    numbers = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
    assert int(numbers["adi_requests_total"]) == len(front.backend.given)
    assert float(numbers["adi_answers_running"]) == 0
    assert int(numbers['adi_http_answers_total{kind="text",status="200"}']) > 0
    count = int(numbers["adi_request_seconds_count"])
    assert int(numbers['adi_request_seconds_bucket{le="+Inf"}']) == count > 0
    assert int(numbers["adi_first_token_seconds_count"]) > 0
    assert any(name.startswith('adi_info{model="scripted"') for name in numbers)


def test_what_the_engine_refuses_or_cannot_has_a_status_of_its_own() -> None:
    script: list[Reply] = [
        Overloaded("later", retry_after=2.5),
        RequestRefused("the schema does not compile: unknown type 'strin'"),
        ServerFailed("the engine is gone"),
        Say("half", error="out of memory"),
    ]
    with fronted(script) as front, front.openai() as client:
        form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "strin"}}}
        with pytest.raises(openai.RateLimitError) as later:
            client.completions.create(model="scripted", prompt="a")
        assert later.value.response.headers["retry-after"] == "3"
        with pytest.raises(openai.BadRequestError, match="strin") as refused:
            client.chat.completions.create(model="scripted", messages=ASK, response_format=form)
        assert refused.value.param == "response_format"
        with pytest.raises(openai.InternalServerError, match="gone"):
            client.completions.create(model="scripted", prompt="a")
        with pytest.raises(openai.InternalServerError, match="out of memory"):
            client.completions.create(model="scripted", prompt="a")


def test_an_error_in_the_middle_of_a_stream_is_an_event() -> None:
    with fronted([Say("half", error="out of memory"), "whole"]) as front, front.openai() as client:
        stream = client.completions.create(model="scripted", prompt="a", stream=True)
        with stream, pytest.raises(openai.APIError, match="out of memory"):
            assert "".join(chunk.choices[0].text for chunk in stream) == "half"
        assert client.completions.create(model="scripted", prompt="a").choices[0].text == "whole"
