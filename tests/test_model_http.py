"""The `url` engine against servers that misbehave: what is repeated, what is raised, what is never sent."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from memory.records import Message
from model.catalogue import load
from model.connect import connect_url
from model.errors import (
    ModelError,
    PromptTooLong,
    RequestRefused,
    ServerFailed,
    UnknownModel,
    Unreachable,
    Unsupported,
)
from model.protocol import Model, Sampling

ASK = [Message(role="user", content="hello")]
Reply = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, body: str = "", **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body.encode())))
        handler.end_headers()
        handler.wfile.write(body.encode())

    return reply


def answer(value: object) -> Reply:
    return status(200, json.dumps(value))


def stream(*events: object, promise: int = 0) -> Reply:
    """Server-sent events, a str sent as it is; `promise` claims that many bytes more than come."""
    lines = [event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n" for event in events]
    body = "".join(lines).encode()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) + promise))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return reply


def delta(text: str, reason: str = "", index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason or None}]}


def usage(prompt: int, cached: int = 0) -> dict[str, Any]:
    details = {"cached_tokens": cached}
    told = {"prompt_tokens": prompt, "completion_tokens": 2, "prompt_tokens_details": details}
    return {"choices": [], "usage": told}


GOOD = stream(": ping\n\n", delta("hel"), delta("lo", "stop"), usage(5, 4), "data: [DONE]\n\n")


class Served:
    """A scripted server: fixed answers for some paths, a queue for the generating ones."""

    def __init__(self, fixed: dict[str, Reply], replies: Sequence[Reply]) -> None:
        self.url = ""
        self.fixed = fixed
        self.replies = list(replies)
        self.bodies: list[dict[str, Any]] = []

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if handler.path in self.fixed:
            self.fixed[handler.path](handler)
        elif handler.path.endswith("completions"):
            self.bodies.append(json.loads(body))
            self.replies.pop(0)(handler)
        else:
            status(404, "no such path")(handler)


def models(owner: str, name: str = "m", **more: object) -> Reply:
    return answer({"data": [{"id": name, "owned_by": owner, **more}]})


@contextmanager
def served(
    *replies: Reply,
    owner: str = "someone",
    name: str = "m",
    fixed: dict[str, Reply] | None = None,
    **more: object,
) -> Iterator[tuple[Model, Served]]:
    """A connected model and the script behind it."""
    script = Served({"/v1/models": models(owner, name, **more)} | (fixed or {}), replies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.handle(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        script.url = f"http://127.0.0.1:{server.server_port}"
        try:
            model = connect_url(script.url + "/v1/", "key", "", load(), attempts=3)
            try:
                yield model, script
            finally:
                model.close()
        finally:
            server.shutdown()
            thread.join()


def test_a_stream_is_one_completion_with_its_cost() -> None:
    with served(GOOD) as (model, script):
        pieces: list[str] = []
        [done] = model.chat(ASK, Sampling(stop=("x",)), pieces.append)
    assert (done.text, done.finish_reason, pieces) == ("hello", "stop", ["hel", "lo"])
    assert (done.usage.prompt_tokens, done.usage.cached_tokens, done.usage.completion_tokens) == (5, 4, 2)
    sent = script.bodies[0]
    assert sent["messages"] == [{"role": "user", "content": "hello"}]
    assert (sent["max_tokens"], sent["seed"], sent["stop"], sent["model"]) == (512, 0, ["x"], "m")


def test_an_error_inside_a_stream_is_the_servers() -> None:
    with (
        served(stream(delta("h"), {"error": {"message": "out of memory"}})) as (model, _),
        pytest.raises(ServerFailed, match="out of memory"),
    ):
        model.chat(ASK, Sampling())


def test_a_refusal_is_told_and_not_repeated() -> None:
    with served(status(400, '{"error": {"message": "bad field"}}'), status(401, "who?")) as (model, script):
        with pytest.raises(RequestRefused, match="bad field"):
            model.chat(ASK, Sampling())
        with pytest.raises(RequestRefused) as caught:
            model.chat(ASK, Sampling())
        assert "api_key" in caught.value.hint
        assert len(script.bodies) == 2


def test_an_unknown_server_gives_n_answers_one_by_one() -> None:
    with served(GOOD, GOOD) as (model, script):
        assert [done.seed for done in model.chat(ASK, Sampling(n=2, seed=7))] == [7, 8]
    assert [(body["n"], body["seed"]) for body in script.bodies] == [(1, 7), (1, 8)]


def test_what_a_server_cannot_do_is_not_sent() -> None:
    with served() as (model, script):
        with pytest.raises(Unsupported, match="grammars"):
            model.chat(ASK, Sampling(grammar='root ::= "a"'))
        with pytest.raises(Unsupported, match="fill-in"):
            model.infill("a", "b", Sampling())
        with pytest.raises(Unsupported, match="counting"):
            model.count(ASK)
        assert not script.bodies
        assert not model.capabilities.grammar


def test_a_prompt_that_may_not_fit_is_not_sent() -> None:
    with served(GOOD, max_model_len=100) as (model, script):
        with pytest.raises(PromptTooLong) as caught:
            model.chat([Message(role="user", content="é" * 40)], Sampling(max_tokens=10))
        assert (caught.value.prompt_tokens, caught.value.n_ctx, script.bodies) == (96, 100, [])
        assert model.chat(ASK, Sampling(max_tokens=10))[0].text == "hello"


def test_vllm_counts_and_takes_grammars_and_fills_gaps() -> None:
    two = stream(delta("a", index=0), delta("b", "stop", index=1), delta("", "length", index=0), usage(9))
    gap = stream({"choices": [{"index": 0, "text": "x<|file_sep|>y", "finish_reason": "length"}]})
    counts = {"/tokenize": answer({"count": 9, "max_model_len": 4096, "tokens": []})}
    name = "Qwen/Qwen2.5-Coder-7B"
    with served(two, gap, owner="vllm", name=name, fixed=counts, max_model_len=4096) as (model, script):
        assert model.capabilities.n_ctx == 4096
        assert model.count(ASK) == 9
        answers = model.chat(ASK, Sampling(n=2, grammar='root ::= "a"'))
        assert [(a.text, a.finish_reason) for a in answers] == [("a", "length"), ("b", "stop")]
        assert [a.usage.prompt_tokens for a in answers] == [9, 0]
        [filled] = model.infill("pre", "suf", Sampling(), context="file.py")
        assert (filled.text, filled.finish_reason) == ("x", "stop")
    assert script.bodies[0]["structured_outputs"] == {"grammar": 'root ::= "a"'}
    assert script.bodies[0]["n"] == 2
    head = "<|repo_name|>repository\n<|file_sep|>file.py\n<|file_sep|>"
    assert script.bodies[1]["prompt"] == f"{head}<|fim_prefix|>pre<|fim_suffix|>suf<|fim_middle|>"


def test_ollama_tells_the_window_it_really_uses() -> None:
    fixed = {
        "/api/version": answer({"version": "1"}),
        "/api/generate": answer({"done": True}),
        "/api/ps": answer({"models": [{"name": "m", "context_length": 60}]}),
    }
    with served(fixed=fixed, owner="library") as (model, _):
        assert model.capabilities.n_ctx == 60
        with pytest.raises(PromptTooLong):
            model.chat(ASK, Sampling(max_tokens=50))


def test_the_model_must_be_served() -> None:
    two = answer({"data": [{"id": "a"}, {"id": "b"}]})
    with pytest.raises(UnknownModel, match="a, b"), served(fixed={"/v1/models": two}):
        pass
    with pytest.raises(ServerFailed, match="JSON"), served(fixed={"/v1/models": status(200, "<html>")}):
        pass
    with pytest.raises(Unreachable):
        connect_url("http://127.0.0.1:9", "", "", load(), attempts=2)
    with pytest.raises(ModelError, match="no address"):
        connect_url("localhost:8000", "", "", load())
