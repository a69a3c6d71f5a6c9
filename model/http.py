"""HTTP to a model server: JSON calls, server-sent events, and the mapping of failures to our errors.

Every connection serves one request: a closed connection is how a call is cancelled, and a server that
restarted is never met through an old socket.
"""

import json
import math
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from model.deadline import Deadline
from model.errors import (
    ModelError,
    Overloaded,
    PromptTooLong,
    RequestRefused,
    ServerFailed,
    StreamBroken,
    Unreachable,
    Unsupported,
)
from model.retry import policy

Json = dict[str, Any]

MAX_EVENT = 8 * 1024 * 1024
"""Bytes of one event of a stream; more means the server is not what it claims to be."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one whole answer, decompressed."""
MAX_REFUSAL = 64 * 1024
"""Bytes read of an answer that is an error."""
CALL_S = 1800.0
"""Seconds of one call from connecting to the last byte."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server answers. `token` is its key, empty when it wants none."""

    url: str
    token: str = ""


class Transport:
    """Calls to one server, whose address is asked for again when nothing answers there."""

    def __init__(
        self,
        find: Callable[[], Endpoint],
        *,
        attempts: int = 5,
        read_s: float = 600.0,
        call_s: float = CALL_S,
        hint: str = "",
    ) -> None:
        """`read_s` is the longest silence within an answer; a long prompt is silent while it is read.

        `call_s` bounds one call in seconds, however steadily the answer drips; 0 means CALL_S.
        """
        self._find = find
        self._endpoint = find()
        self._attempts = attempts
        self._call_s = call_s or CALL_S
        self._hint = hint
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(10.0, read=read_s),
            limits=httpx2.Limits(max_keepalive_connections=0),
            trust_env=not is_loopback(self._endpoint.url),
        )

    @property
    def url(self) -> str:
        return self._endpoint.url

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, *, attempts: int = 0) -> Any:
        return self._call("GET", path, None, attempts)

    def post(self, path: str, body: Json, *, attempts: int = 0, until: float = math.inf) -> Any:
        """The answer as JSON. `until` ends the call too, on the clock of time.monotonic()."""
        return self._call("POST", path, body, attempts, until)

    def events(self, path: str, body: Json, *, until: float = math.inf) -> Generator[Json, None, None]:
        """Events of one streamed answer. Closing the iterator closes the connection, which cancels."""
        with self._open(path, body, until) as response:
            try:
                yield from _parse_events(response)
            except httpx2.TransportError as error:
                raise StreamBroken(
                    f"the answer of {self.url} broke off: {_why(error)}", self._hint
                ) from error

    def _call(self, method: str, path: str, body: Json | None, attempts: int, until: float = math.inf) -> Any:
        for attempt in policy(attempts or self._attempts):
            with attempt:
                with self._send(method, path, body, until) as response:
                    try:
                        content = b"".join(_capped(response))
                    except httpx2.TransportError as error:
                        raise Unreachable(
                            f"the answer of {self.url}{path} broke off: {_why(error)}", self._hint
                        ) from error
                return _decode(content, f"{self.url}{path}")
        raise AssertionError("the policy raises its last error")

    @contextmanager
    def _open(self, path: str, body: Json, until: float) -> Iterator[httpx2.Response]:
        with ExitStack() as stack:
            for attempt in policy(self._attempts):
                with attempt:
                    response = stack.enter_context(self._send("POST", path, body, until))
            yield response

    @contextmanager
    def _send(self, method: str, path: str, body: Json | None, until: float) -> Iterator[httpx2.Response]:
        """One request until its response is closed; every answer but a good one is raised."""
        limit_s = max(0.0, min(self._call_s, until - time.monotonic()))
        with Deadline(limit_s) as deadline:
            try:
                with self._answered(method, path, body, deadline) as response:
                    yield response
            except (ModelError, httpx2.TransportError) as error:
                if deadline.passed:
                    raise self._late(limit_s) from error
                raise
            if deadline.passed:  # an answer without a length looks whole when its connection is cut
                raise self._late(limit_s)

    def _late(self, limit_s: float) -> StreamBroken:
        return StreamBroken(f"the answer of {self.url} was not done after {limit_s:.0f} s", self._hint)

    @contextmanager
    def _answered(
        self, method: str, path: str, body: Json | None, deadline: Deadline
    ) -> Iterator[httpx2.Response]:
        """The response once its headers are there and good."""
        request = self._request(method, path, body)
        request.extensions["trace"] = deadline.trace
        try:
            response = self._client.send(request, stream=True)
        except httpx2.ReadTimeout as error:
            raise StreamBroken(f"{self.url} was silent for too long", self._hint) from error
        except httpx2.TransportError as error:
            lost = Unreachable(f"no answer from {self.url}: {_why(error)}", self._hint)
            self._endpoint = self._find()
            raise lost from error
        try:
            if response.status_code != 200:
                raise self._refusal(response, path)
            yield response
        finally:
            response.close()

    def _request(self, method: str, path: str, body: Json | None) -> httpx2.Request:
        headers = {"Authorization": f"Bearer {self._endpoint.token}"} if self._endpoint.token else {}
        return self._client.build_request(method, self._endpoint.url + path, json=body, headers=headers)

    def _refusal(self, response: httpx2.Response, path: str) -> ModelError:
        """The error that an answer other than 200 stands for."""
        status = response.status_code
        try:
            content = _beginning(response)
        except httpx2.TransportError as error:
            content = _why(error).encode()
        text = _detail(content)
        said = f"{self.url}{path} answered {status}: {text}"
        if status in (401, 403):
            return RequestRefused(said, "the setting model.api_key_env names the variable that holds the key")
        if status in (404, 405, 501):
            return Unsupported(f"{path} ({status}: {text})")
        if too_long := refused_as_too_long(content):
            return too_long
        if status == 429 or status >= 500:
            return Overloaded(said, self._hint, _retry_after(response))
        return RequestRefused(said)


def is_loopback(url: str) -> bool:
    return httpx2.URL(url).host in ("127.0.0.1", "localhost", "::1")


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _retry_after(response: httpx2.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.replace(".", "", 1).isdigit() else 0.0


def _decode(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ServerFailed(f"{where} did not answer with JSON: {content[:80]!r}") from error


def refused_as_too_long(content: bytes) -> PromptTooLong | None:
    """A server's own refusal of a prompt: llama.cpp's with its numbers, or OpenAI's and vLLM's in words."""
    try:
        error = json.loads(content)
        error = error.get("error", error)
        if "n_prompt_tokens" in error:
            return PromptTooLong(int(error["n_prompt_tokens"]), int(error["n_ctx"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    text = _detail(content)
    window = re.search(r"maximum context length is (\d{1,9}) tokens", text)
    if window is None and error.get("code") != "context_length_exceeded":
        return None
    return PromptTooLong(0, int(window[1]) if window else 0, said=text)


def _detail(content: bytes) -> str:
    """The message inside an error body, whichever of the usual shapes it has."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")[:300].strip()
    found = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or found
    return str(found)[:600]


def _capped(response: httpx2.Response) -> Iterator[bytes]:
    """The body as it comes, decompressed. Raises ServerFailed past MAX_ANSWER."""
    size = 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER:
            raise ServerFailed(f"an answer of more than {MAX_ANSWER} bytes is no answer of a model")
        yield chunk


def _beginning(response: httpx2.Response) -> bytes:
    """The first bytes of a body; what an error says stands there."""
    content = b""
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > MAX_REFUSAL:
            break
    return content[:MAX_REFUSAL]


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines of a stream, cut at line feeds only: a U+2028 inside an event is text. Raises StreamBroken."""
    waiting, seen = bytearray(), 0
    for chunk in chunks:
        waiting += chunk
        while (end := waiting.find(b"\n", seen)) >= 0:
            yield waiting[:end].decode("utf-8", "replace")
            del waiting[: end + 1]
            seen = 0
        seen = len(waiting)
        if seen > MAX_EVENT:
            raise StreamBroken(f"an event of more than {MAX_EVENT} bytes is no answer of a model")
    yield waiting.decode("utf-8", "replace")


def _parse_events(response: httpx2.Response) -> Iterator[Json]:
    """The JSON objects of a server-sent event stream; comments (keep-alive) are skipped."""
    for line in _lines(_capped(response)):
        field, _, data = line.partition(":")
        data = data.strip()
        if field not in ("data", "error") or not data or data == "[DONE]":
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise StreamBroken(f"the stream holds something that is no event: {data[:80]!r}") from error
        if not isinstance(event, dict):
            raise StreamBroken(f"the stream holds something that is no event: {data[:80]!r}")
        if field == "error" or "error" in event:
            raise ServerFailed(f"the server gave up: {_detail(data.encode())}")
        yield event


def check_answered(model: str, asked: str) -> None:
    """Raises ServerFailed when a server answers in another name than it was asked: it ignores adapters."""
    if model != asked:
        raise ServerFailed(
            f"{asked} was asked, and the server answered as {model or 'nobody'}: it ignores adapters",
            "set model.adapter to '' for the base alone, or serve with engine llama or torch",
        )


@contextmanager
def understood(where: str) -> Iterator[None]:
    """Turns what goes wrong while an answer is taken apart into ServerFailed."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ServerFailed(
            f"the answer of {where} does not have the form it should have: {error}", "check model.url"
        ) from error
