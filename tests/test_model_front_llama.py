"""The public address in front of llama.cpp's own server, which serves a tiny random model here."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import openai
import pytest

from model.catalogue import load
from model.client import LlamaModel
from model.connect import connect_url
from model.errors import ServerFailed
from model.front_llama import app as lanes_app
from model.http import Endpoint, Transport
from model.llama_lanes import Lane, Lanes
from model.protocol import Sampling
from model.scripted_backend import ScriptedBackend
from tests.front_kit import TOKEN, Address, listening, said, until

pytestmark = pytest.mark.engine

NAME = "qwen2.5-coder-tiny"
ASK: Any = [{"role": "user", "content": "add one"}]
LONG = {"max_tokens": 3000, "grammar": "root ::= ([a-z ] [a-z ] [a-z ]){1000}"}
"""An answer that takes a while: control tokens cannot end it."""


class Elsewhere:
    """A llama.cpp server that somebody else started."""

    def __init__(self, url: str) -> None:
        self.url = url

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        return


def app(url: str, token: str) -> Any:
    """A front of a server without adapters."""

    def grow(_adapters: object) -> Lane:
        raise ServerFailed("nothing is started here")

    return lanes_app(Lanes(Lane(Elsewhere(url)), grow, lambda _url: False), token)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a llama.cpp server."""
    import xllamacpp

    from model.llama import parameters
    from model.serving import ServeChoice
    from model.tiny import write_tiny

    path = write_tiny(tmp_path_factory.mktemp("weights") / "tiny.gguf")
    server: Any = xllamacpp.Server(parameters(ServeChoice(path, NAME, n_ctx=4096, threads=1), TOKEN))
    yield str(server.listening_address)
    del server


@pytest.fixture(scope="module")
def front(native: str) -> Iterator[Address]:
    with listening(app(native, TOKEN)) as (host, port):
        yield Address(host, port, ScriptedBackend([]))


@pytest.fixture
def client(front: Address) -> Iterator[openai.OpenAI]:
    with front.openai() as made:
        yield made


def test_the_standard_client_works(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == [NAME]
    form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "boolean"}}}
    answer = client.chat.completions.create(
        model=NAME, messages=ASK, temperature=0, max_tokens=20, response_format=form
    )
    assert json.loads(answer.choices[0].message.content or "") in (True, False)
    with client.chat.completions.create(
        model=NAME, messages=ASK, max_tokens=5, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = [*stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens <= 5
    many = client.completions.create(model=NAME, prompt="ab", n=2, max_tokens=3, seed=1)
    assert [choice.index for choice in many.choices] == [0, 1]


def test_a_suffix_is_a_gap_with_the_models_own_tokens(native: str, client: openai.OpenAI) -> None:
    fim = load().fim("qwen2.5-coder")
    transport = Transport(lambda: Endpoint(native, TOKEN))
    with closing(LlamaModel(transport, name=NAME, fim=fim)) as own:
        for context in ("", "# other <|file_sep|> file"):
            sampling = Sampling(max_tokens=12, temperature=0.0)
            (known,) = own.infill("def f(<|im_end|>", "):\n", sampling, context=context)
            answer = client.completions.create(
                model=NAME, prompt="def f(<|im_end|>", suffix="):\n", temperature=0, max_tokens=12,
                stop="\x00",
                extra_body={"context": context} if context else {},
            )  # fmt: skip
            assert answer.choices[0].text == known.text
            assert answer.usage is not None
            assert answer.usage.prompt_tokens == known.usage.prompt_tokens
            with client.completions.create(
                model=NAME, prompt="def f(<|im_end|>", suffix="):\n", temperature=0, max_tokens=12,
                stream=True,
                extra_body={"context": context} if context else {},
            ) as stream:  # fmt: skip
                assert "".join(chunk.choices[0].text for chunk in stream) == known.text


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "gpt-5", "prompt": "a"}, 404, "model"),
        ({"prompt": "a", "adapter": "night"}, 404, "adapter"),
        ({"prompt": "a", "structured_outputs": {"regex": "a"}}, 400, "structured_outputs"),
        ({"prompt": "a", "return_token_ids": True}, 400, "return_token_ids"),
        ({"prompt": [1], "suffix": "a"}, 400, "suffix"),
        ({"prompt": "a", "suffix": 1}, 400, "suffix"),
        ({"prompt": "a", "context": "b"}, 400, "context"),
    ],
)
def test_what_llama_cpp_would_drop_is_refused(front: Address, body: Any, status: int, param: str) -> None:
    with front.http() as http:
        answer = http.post("/v1/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_everything_else_passes_as_it_is(front: Address) -> None:
    with front.http() as http:
        assert http.get("/health").json() == {"status": "ok"}
        assert "llamacpp:requests_processing" in http.get("/metrics").text
        assert http.get("/nothing").status_code == 404
        assert http.post("/tokenize", json={"content": "ab"}).json()["tokens"]
        assert http.get("/v1/adapters").json() == {"object": "list", "data": []}
        assert http.post("/v1/adapters", json={"name": "a", "path": "/a"}).status_code == 400
        assert http.delete("/v1/adapters/a").status_code == 404
        long = http.post("/v1/completions", json={"prompt": "z" * 5000}).json()["error"]
        assert long["n_ctx"] == 4096
        assert http.get("/v1/models", headers={"Authorization": "Bearer x"}).status_code == 401
        assert http.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
        assert http.get("/v1/models", headers={"Origin": "http://evil.example"}).status_code == 403


def test_adis_own_client_can_be_pointed_here(front: Address) -> None:
    with closing(connect_url(front.url, TOKEN, NAME, load())) as model:
        assert isinstance(model, LlamaModel)
        assert model.count_text("abc") == 3


def test_a_client_that_leaves_a_stream_ends_it_there_too(front: Address) -> None:
    with front.http() as http:

        def busy() -> bool:
            return any(slot["is_processing"] for slot in http.get("/slots").json())

        with front.dial() as line:
            line.sendall(said(json.dumps({"prompt": "a", "stream": True, **LONG}), path="/v1/completions"))
            assert line.recv(10)
            assert until(busy)
        assert until(lambda: not busy(), 1.0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_takes_the_connection_behind_it_along(stream: bool) -> None:
    """llama.cpp notices that only in streams, but what is told is told."""
    with socket.socket() as listener, served(listener) as (front, accept), front.dial() as line:
        line.sendall(said(json.dumps({"prompt": "a", "stream": stream}), path="/v1/completions"))
        accept(whole(b'{"data":[{"id":"m"}]}'))
        taken, _ = listener.accept()
        with taken:
            taken.settimeout(5)
            assert taken.recv(65536)
            line.close()
            while taken.recv(65536):
                pass


def test_a_server_that_is_gone_is_a_503() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with listening(app(url, TOKEN)) as (host, port), Address(host, port, ScriptedBackend([])).http() as http:
        answer = http.post("/v1/completions", json={"prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_gone")


def test_a_stream_that_breaks_says_so() -> None:
    with socket.socket() as listener, served(listener) as (front, accept), front.dial() as line:
        line.sendall(said('{"prompt": "a", "stream": true}', "Connection: close", path="/v1/completions"))
        accept(whole(b'{"data":[{"id":"m"}]}'))
        accept(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n"
        )
        text = b""
        while more := line.recv(65536):
            text += more
    assert b'"code":"engine_gone"' in text


@contextmanager
def served(listener: socket.socket) -> Iterator[tuple[Address, Callable[[bytes], None]]]:
    """A front of a server that a test plays; the function answers one request and hangs up."""
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.settimeout(10)

    def accept(answer: bytes) -> None:
        taken, _ = listener.accept()
        with taken:
            assert taken.recv(65536)
            taken.sendall(answer)

    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with listening(app(url, TOKEN)) as (host, port):
        yield Address(host, port, ScriptedBackend([])), accept


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
