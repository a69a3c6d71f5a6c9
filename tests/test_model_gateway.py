"""The gateway through which other agents reach the model: rules put in place, calls counted, ends kept."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from model.gateway import SOCKET, Gateway
from model.gateway_calls import Rules
from model.http import Endpoint
from tests.openai_server import Cut, Do, Fails, Said, serve

RULES = Rules("tiny", 4096, temperature=0.25, seed=7, max_tokens=300)
QUESTION = {"messages": [{"role": "user", "content": "hello"}]}


class Upstream(ThreadingHTTPServer):
    """A model server that keeps what it was sent and answers with given bytes."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Upstream)
        self.status, self.answer = status, answer
        self.got: list[tuple[str, dict[str, Any]]] = []


class _Upstream(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.headers.get("Authorization", ""), body))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def upstream(answer: bytes, status: int = 200) -> Iterator[Upstream]:
    with Upstream(status, answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def gateway(url: str, *, wall_s: float = 20.0, rules: Rules = RULES) -> Iterator[Gateway]:
    with TemporaryDirectory(prefix="adi-g-") as folder:
        endpoint = Endpoint(url.removesuffix("/v1"), "secret")
        with Gateway(Path(folder), lambda: endpoint, rules, wall_s) as found:
            yield found


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


def ask(
    found: Gateway, body: object = QUESTION, path: str = "/v1/chat/completions", method: str = "POST"
) -> tuple[int, bytes]:
    """Status and body, as an agent sees them."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": "Bearer none"}
    with closing(_Unix(found.folder / SOCKET)) as connection:
        connection.request(method, path, data if method == "POST" else None, headers)
        with closing(connection.getresponse()) as response:
            return response.status, response.read()


def whole(**more: object) -> bytes:
    message = {"role": "assistant", "content": "hi"}
    return json.dumps({"model": "tiny", "choices": [{"index": 0, "message": message}], **more}).encode()


def stream(*events: Mapping[str, object]) -> bytes:
    return (
        b": ping\n\n"
        + b"".join(b"data: %s\n\n" % json.dumps(e).encode() for e in events)
        + b"data: [DONE]\n\n"
    )


TIMINGS = {"cache_n": 40, "prompt_n": 5, "predicted_n": 9}
USAGE = {"prompt_tokens": 45, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 30}}


def test_model_sampling_and_limits_are_the_rules_and_the_key_is_ours() -> None:
    greedy = {"model": "gpt-9", "temperature": 1.9, "top_p": 0.1, "seed": 1, "n": 5, "max_tokens": 9000}
    own = {"stop": ["x"], "tools": [], "logit_bias": {"5": 100}, "user": "me", "grammar": "root ::= x"}
    with upstream(whole()) as server, gateway(f"http://127.0.0.1:{server.server_port}") as found:
        assert ask(found, QUESTION | greedy | own)[0] == 200
        assert ask(found, QUESTION | {"max_completion_tokens": 20, "stream": True})[0] == 200
    forced = {"model": "tiny", "temperature": 0.25, "top_p": 0.95, "seed": 7}
    assert server.got == [
        ("Bearer secret", QUESTION | {"stop": ["x"], "tools": []} | forced | {"max_tokens": 300}),
        (
            "Bearer secret",
            QUESTION | forced | {"max_tokens": 20, "stream": True, "stream_options": {"include_usage": True}},
        ),
    ]


@pytest.mark.parametrize(
    ("told", "cached"), [({"usage": USAGE, "timings": TIMINGS}, 40), ({"usage": USAGE}, 30)]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_every_call_is_counted_and_its_answer_passed_on_as_it_is(
    told: dict[str, object], cached: int, streamed: bool
) -> None:
    begin = {"model": "tiny", "choices": [{"index": 0, "delta": {"content": "hi"}}], "usage": None}
    answer = stream(begin, {"model": "tiny", "choices": [], **told}) if streamed else whole(**told)
    with upstream(answer) as server, gateway(f"http://127.0.0.1:{server.server_port}") as found:
        for _ in range(2):
            assert ask(found, QUESTION | {"stream": streamed}) == (200, answer)
    counted = [(c.fate, c.prompt_tokens, c.cached_tokens, c.completion_tokens, c.model) for c in found.calls]
    assert counted == [("answered", 45, cached, 9, "tiny")] * 2
    assert found.lost is None


def test_at_the_deadline_a_running_call_is_cut_and_the_next_one_refused() -> None:
    with serve(lambda _asked: Do.HANG) as url, gateway(url, wall_s=0.5) as found:
        began = time.monotonic()
        status, _ = ask(found, QUESTION | {"stream": True})
        assert time.monotonic() - began < 3
        assert status == 200  # it had begun
        status, body = ask(found)
        assert (status, json.loads(body)["error"]["code"]) == (403, "time_is_up")
    assert [call.fate for call in found.calls] == ["late", "late"]
    assert found.lost is None


def test_a_prompt_past_the_window_is_refused_in_the_words_of_openai() -> None:
    error = {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 4096}
    with (
        upstream(json.dumps({"error": error}).encode(), 400) as server,
        gateway(f"http://127.0.0.1:{server.server_port}") as found,
    ):
        status, body = ask(found, QUESTION | {"stream": True})
    told = json.loads(body)["error"]
    assert (status, told["code"]) == (400, "context_length_exceeded")
    assert "maximum context length is 4096 tokens" in told["message"]
    assert [call.fate for call in found.calls] == ["too-long"]


def test_another_error_of_the_server_is_passed_on() -> None:
    with serve(lambda _asked: Fails(500, text="no memory")) as url, gateway(url) as found:
        status, body = ask(found)
    assert (status, b"no memory" in body, found.calls[0].fate) == (500, True, "refused")


@pytest.mark.parametrize("abort", [False, True])
def test_a_broken_answer_ends_without_its_mark_and_a_good_one_makes_up_for_it(abort: bool) -> None:
    answers: list[object] = [Cut("It sh", abort), Cut("", abort), Said("It should", "tiny")]
    with serve(lambda _asked: answers.pop(0)) as url, gateway(url) as found:
        for _ in range(2):
            _, body = ask(found, QUESTION | {"stream": True})
            assert b"[DONE]" not in body
            assert found.lost is not None
        assert b"[DONE]" in ask(found, QUESTION | {"stream": True})[1]
        assert found.lost is None
    assert [call.fate for call in found.calls] == ["broken", "broken", "answered"]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_of_another_model_is_not_passed_on(streamed: bool) -> None:
    other = {"model": "large", "choices": [{"delta": {"content": "secret wisdom"}}]}
    answer = stream(other) if streamed else whole(model="large", secret="secret wisdom")
    with upstream(answer) as server, gateway(f"http://127.0.0.1:{server.server_port}") as found:
        status, body = ask(found, QUESTION | {"stream": streamed})
    assert (status, b"wisdom" in body) == (503, False)
    assert "large" in str(found.lost)


def test_a_server_that_is_gone_is_told() -> None:
    with gateway("http://127.0.0.1:9") as found:
        assert ask(found)[0] == 503
    assert "no answer from http://127.0.0.1:9" in str(found.lost)


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (lambda found: ask(found, b"{"), 400),
        (lambda found: ask(found, [1]), 400),
        (lambda found: ask(found, {"prompt": "x"}), 400),
        (lambda found: ask(found, path="/v1/completions"), 404),
        (lambda found: ask(found, path="/slots", method="GET"), 404),
        (lambda found: ask(found, path="/v1/models", method="GET"), 200),
    ],
)
def test_what_is_no_chat_reaches_no_server(send: Callable[[Gateway], tuple[int, bytes]], status: int) -> None:
    with upstream(whole()) as server, gateway(f"http://127.0.0.1:{server.server_port}") as found:
        assert send(found)[0] == status
    assert (server.got, found.calls) == ([], [])


def test_closing_cuts_what_runs_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with serve(lambda _asked: Do.DEAF) as url:
        with gateway(url) as found:
            caller = threading.Thread(target=lambda: _ignored(found))
            caller.start()
            with closing(_Unix(found.folder / SOCKET)) as idle:
                idle.connect()
                while not found.calls:
                    time.sleep(0.01)
                began = time.monotonic()
                found.__exit__(None, None, None)
        caller.join(5)
        assert time.monotonic() - began < 3
    assert set(threading.enumerate()) <= before


def _ignored(found: Gateway) -> None:
    with suppress(OSError, http.client.HTTPException):
        ask(found)
