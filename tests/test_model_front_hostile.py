"""The HTTP front against clients that are wrong, slow, many, strangers, or gone."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from model.backend import Job
from model.front import app
from model.front_guard import LARGEST_BODY
from model.http import refused_as_too_long
from model.scripted_backend import Reply, Say, ScriptedBackend
from tests.front_kit import TOKEN, Address, fronted, said, until

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
ASK: Any = [{"role": "user", "content": "add one"}]


def script(job: Job) -> Reply:
    """A prompt that begins with `s` gets an answer of some seconds, with `l` a long one at once."""
    if job.ids[0] == ord("s"):
        return Say("slow " * 100, delay_s=0.05)
    return "l" * 100_000 if job.ids[0] == ord("l") else "quick"


def hung_up(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def all_of(line: socket.socket) -> bytes:
    text = b""
    with line:
        while more := line.recv(65536):
            text += more
    return text


@pytest.fixture(scope="module")
def front() -> Iterator[Address]:
    with fronted(script, n_ctx=3_000_000) as address:
        yield address


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"messages": ASK, "wat": 1}, "wat", "Unknown field"),
        ({"messages": ASK, "wat": None}, "wat", "Unknown field"),
        ({"messages": ASK, "frequency_penalty": 0.5}, "frequency_penalty", "does not serve"),
        ({"messages": ASK, "presence_penalty": True}, "presence_penalty", "does not serve"),
        ({"messages": ASK, "logit_bias": {"5": 1}}, "logit_bias", "does not serve"),
        ({"messages": ASK, "tools": [{"type": "function"}]}, "tools", "does not serve"),
        ({"messages": ASK, "tool_choice": "required"}, "tool_choice", "does not serve"),
        ({"messages": ASK, "temperature": 3}, "temperature", "less than or equal to 2"),
        ({"messages": ASK, "temperature": "hot"}, "temperature", "valid number"),
        ({"messages": ASK, "temperature": True}, "temperature", "truth value"),
        ({"messages": ASK, "top_p": 0}, "top_p", "greater than 0"),
        ({"messages": ASK, "seed": -1}, "seed", "greater than or equal to 0"),
        ({"messages": ASK, "seed": 2**70}, "seed", ""),
        ({"messages": ASK, "max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"messages": ASK, "max_tokens": 1.5}, "max_tokens", "valid integer"),
        ({"messages": ASK, "max_tokens": 2, "max_completion_tokens": 3}, "max_tokens", "differ"),
        ({"messages": ASK, "n": 129}, "n", "less than or equal to 128"),
        ({"messages": ASK, "stop": ["a"] * 17}, "stop", "at most 16"),
        ({"messages": ASK, "stop": ""}, "stop", "at least 1"),
        ({"messages": ASK, "stream": 1}, "stream", "valid boolean"),
        ({"messages": ASK, "stream_options": {}}, "stream_options", "stream: true"),
        ({"messages": ASK, "top_logprobs": 2}, "top_logprobs", "logprobs: true"),
        ({"messages": ASK, "logprobs": 2}, "logprobs", "valid boolean"),
        ({"messages": ASK, "response_format": {"type": "yaml"}}, "response_format", "json_schema"),
        ({"messages": ASK, "response_format": {"type": "json_schema"}}, "response_format", "needed"),
        ({"messages": ASK, "grammar": "a", "structured_outputs": {"regex": "b"}}, None, "Only one form"),
        ({"messages": ASK, "structured_outputs": {"choice": ["a"]}}, "structured_outputs", "not permitted"),
        ({"messages": ASK, "stop_token_ids": [999]}, "stop_token_ids", "end at 260"),
        ({"messages": ASK, "user": "u" * 300}, "user", "256"),
        ({"messages": ASK, "prompt": "a"}, "prompt", "Unknown field"),
        ({"messages": []}, "messages", "at least 1"),
        ({}, "messages", "required"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages", "role"),
        ({"messages": [{"role": "user"}]}, "messages", "required"),
        ({"messages": [{"role": "user", "content": None}]}, "messages", "string"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "only text"),
        ({"messages": [{"role": "user", "content": "a", "name": "ada"}]}, "messages", "name"),
        ({"prompt": ["a", "b"]}, "prompt", "several prompts"),
        ({"prompt": [[1]]}, "prompt", "several prompts"),
        ({"prompt": [1, 261]}, "prompt", "end at 260"),
        ({"prompt": [-1]}, "prompt", "from 0"),
        ({"prompt": [True]}, "prompt", "from 0"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": []}, "prompt", "empty"),
        ({"prompt": {}}, "prompt", "string or a list"),
        ({"prompt": "a", "echo": True}, "echo", "does not serve"),
        ({"prompt": "a", "best_of": 2}, "best_of", "does not serve"),
        ({"prompt": [1], "suffix": "a"}, "suffix", "text"),
        ({"prompt": "a", "context": "a"}, "context", "suffix too"),
        ({"prompt": "a", "logprobs": 21}, "logprobs", "less than or equal to 20"),
        ({"prompt": "a", "adapter": "none"}, "adapter", "No adapter"),
    ],
)
def test_what_is_not_served_is_named(front: Address, body: Any, param: str | None, words: str) -> None:
    with front.http() as http:
        answer = http.post(TEXT if "prompt" in body and "messages" not in body else CHAT, json=body)
    error = answer.json()["error"]
    assert answer.status_code == (404 if param == "adapter" else 400)
    assert set(error) >= {"message", "type", "param", "code"}
    assert words in error["message"]
    assert param is None or error["param"] == param


def test_neutral_values_pass(front: Address) -> None:
    body = {
        "prompt": "a", "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "best_of": 1,
        "echo": False, "suffix": None, "user": None, "stop": None, "seed": None, "store": False,
    }  # fmt: skip
    with front.http() as http:
        assert http.post(TEXT, json=body).json()["choices"][0]["text"] == "quick"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b'{"prompt":"a","temperature":NaN}',
        b'{"prompt":"a","temperature":Infinity}', b'{"prompt":"a","temperature":1e999}',
        b'{"prompt":"\\ud800"}', b'{"prompt":"\xed\xa0\x80"}', b'{"a":' * 100_000, b"[" * 1_000_000,
        b'{"prompt":"a","seed":' + b"9" * 10_000 + b"}", b'{"prompt":"a","top_p":-1e400}',
        b'{"prompt":"a","structured_outputs":{"json":{"maximum":1e999}}}',
    ],
)  # fmt: skip
def test_bodies_that_are_no_requests(front: Address, body: bytes) -> None:
    with front.http() as http:
        answer = http.post(TEXT, content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert http.get("/health").status_code == 200


def test_a_prompt_that_does_not_fit_tells_both_numbers() -> None:
    with fronted(["never"], n_ctx=100) as front, front.http() as http:
        long = http.post(TEXT, json={"prompt": "a" * 200})
        tight = http.post(TEXT, json={"prompt": "a" * 90, "max_tokens": 11})
        assert http.post(TEXT, json={"prompt": "a" * 90, "max_tokens": 10}).status_code == 200
    error = long.json()["error"]
    assert (long.status_code, error["code"]) == (400, "context_length_exceeded")
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (200, 100)
    assert "maximum context length is 100 tokens" in error["message"]
    understood = refused_as_too_long(tight.content)
    assert understood is not None
    assert (understood.prompt_tokens, understood.n_ctx) == (90, 100)


def test_other_models_and_routes_are_not_found(front: Address) -> None:
    with front.http() as http:
        for name in ("gpt-5", "scripted:", "x scripted:a", "scripted2"):
            answer = http.post(CHAT, json={"model": name, "messages": ASK})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert http.get("/v1/models/none").status_code == 404
        assert http.get("/v1/embeddings").json()["error"]["code"] == "no_such_route"
        assert http.get(CHAT).status_code == 405
        assert http.get("/docs").status_code == http.get("/openapi.json").status_code == 404


def test_a_model_without_the_tokens_fills_no_gap() -> None:
    with fronted(["never"], infill=False) as front, front.http() as http:
        error = http.post(TEXT, json={"prompt": "a", "suffix": "b"}).json()["error"]
    assert (error["param"], error["code"]) == ("suffix", "unsupported")


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "é"])
def test_without_the_token_nothing_is_told(front: Address, given: str) -> None:
    with front.http() as http:
        for path in ("/v1/models", "/metrics", "/nothing", CHAT):
            answer = http.get(path, headers=[("Authorization", given.encode())])
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert http.get("/health", headers={"Authorization": given.encode()}).text == '{"status":"ok"}'


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": "localhost:9"}, 200),
        ({"Host": "[::1]:9"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_web_pages_are_refused(front: Address, header: dict[str, str], status: int) -> None:
    with front.http() as http:
        assert http.get("/v1/models", headers=header).status_code == status
        assert http.get("/health", headers=header).status_code == status


def test_other_names_are_served_where_that_is_wanted() -> None:
    with fronted([], local=False) as front, front.http(Host="gpu.example") as http:
        assert http.get("/v1/models").status_code == 200
        assert http.get("/v1/models", headers={"Authorization": ""}).status_code == 401


def test_a_body_that_is_too_large(front: Address) -> None:
    with front.http() as http:
        answer = http.post(TEXT, content=b" " * (LARGEST_BODY + 1))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        chunked = http.post(TEXT, content=iter([b" " * 1_000_000] * 17))
        assert chunked.status_code == 413
        assert http.post(TEXT, json={"prompt": "p" * 1_000_000, "max_tokens": 1}).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_answers(front: Address, stream: bool) -> None:
    before = len(front.backend.given)
    with front.dial() as line:
        line.sendall(said(json.dumps({"prompt": "slow", "stream": stream, "n": 2}), path=TEXT))
        assert until(lambda: len(front.backend.given) > before)
        if stream:
            assert line.recv(10)
        time.sleep(0.2)
    given = front.backend.given[-1]
    assert given.over.wait(1.0)
    assert given.cancelled


def test_a_reader_of_one_byte_holds_nobody_up(front: Address) -> None:
    with front.dial() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.sendall(said(json.dumps({"prompt": "long", "stream": True}), path=TEXT))
        for _ in range(5):
            assert len(line.recv(1)) == 1
            with front.http() as http:
                began = time.monotonic()
                assert http.post(TEXT, json={"prompt": "quick"}).status_code == 200
                assert time.monotonic() - began < 5
        given = next(one for one in front.backend.given if one.job.ids[0] == ord("l"))
        assert given.over.wait(20)  # the engine is done, whatever the reader does


def test_connections_that_send_nothing_or_drip_are_closed() -> None:
    with fronted([], limits={"head_s": 0.4}) as front, front.dial() as idle, front.dial() as drip:
        began = time.monotonic()
        drip.settimeout(5)
        try:
            for letter in b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" * 10:
                drip.sendall(bytes([letter]))
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - began < 3
        assert hung_up(idle)
        with front.http() as http:
            assert http.get("/health").status_code == 200
            time.sleep(0.6)  # a connection that is kept may be idle for longer
            assert http.get("/health").status_code == 200


def test_a_thousand_connections_at_once(front: Address) -> None:
    with ExitStack() as stack:
        lines = [stack.enter_context(front.dial()) for _ in range(1000)]
        for line in lines[::10]:
            line.sendall(said(json.dumps({"prompt": "quick", "max_tokens": 2}), path=TEXT))
        firsts = [line.recv(12) for line in lines[::10]]
        assert set(firsts) <= {b"HTTP/1.1 200", b"HTTP/1.1 429", b"HTTP/1.1 503"}
        assert firsts.count(b"HTTP/1.1 200") > 0
        with front.http() as http:
            assert http.get("/health").status_code in (200, 503)
    with front.http() as http:
        assert until(lambda: http.get("/health").status_code == 200)


def test_one_connection_too_many_is_told_so() -> None:
    with fronted([], limits={"most": 20}) as front, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(front.dial())
        one_more = stack.enter_context(front.dial())
        assert one_more.recv(12) == b"HTTP/1.1 503"


def test_too_many_jobs_are_told_to_come_again() -> None:
    with fronted(lambda _: Say("slow " * 50, delay_s=0.05), most=1) as front, front.http() as http:
        with front.dial() as line:
            line.sendall(said('{"prompt": "a"}', path=TEXT))
            assert until(lambda: bool(front.backend.given))
            answer = http.post(TEXT, json={"prompt": "a"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert front.backend.given[0].over.wait(2)


def test_a_server_that_leaves_says_so_in_its_streams() -> None:
    with fronted([Say("slow " * 500, delay_s=0.05)] * 2) as front:
        line, other = front.dial(), front.dial()
        line.sendall(said('{"prompt": "a", "stream": true}', path=TEXT))
        other.sendall(said('{"prompt": "a"}', path=TEXT))
        assert line.recv(10)
        assert until(lambda: len(front.backend.given) == 2)
    text = all_of(line)
    assert b"HTTP/1.1 503" in all_of(other)
    assert b"The server was stopped." in text
    assert b"[DONE]" not in text


def test_nothing_is_left_of_clients_that_went() -> None:
    process = psutil.Process(os.getpid())
    with fronted(script) as front:

        def round_of_clients() -> None:
            lines = [front.dial() for _ in range(20)]
            for line in lines:
                line.sendall(said('{"prompt": "slow", "stream": true}', path=TEXT))
            for line in lines:
                assert line.recv(12) == b"HTTP/1.1 200"
                line.close()
            assert until(lambda: front.backend.stats().running == 0)

        round_of_clients()
        before = process.num_fds(), threading.active_count()
        for _ in range(3):
            round_of_clients()
        assert until(lambda: (process.num_fds(), threading.active_count()) <= before)
        assert front.backend.stats().cancelled == 80


def test_a_server_needs_a_token() -> None:
    with pytest.raises(ValueError, match="token"):
        app(ScriptedBackend([]), "").build_middleware_stack()
