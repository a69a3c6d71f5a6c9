"""An engine that says what it was told to: the fake for tests of the HTTP front.

A token is one byte, its id the byte's value; control tokens follow from 256. Each job has a thread of its
own, so that many can be under way and none waits for another.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from memory.records import Message
from model.backend import (
    About,
    Adapter,
    Cost,
    Deliver,
    Drawn,
    Ended,
    Job,
    Piece,
    Reason,
    Stats,
)
from model.errors import ModelError, Overloaded, PromptTooLong, RequestRefused, Unsupported

PREFIX, SUFFIX, MIDDLE, TURN, END = range(256, 261)
NAMES = {PREFIX: "<prefix>", SUFFIX: "<suffix>", MIDDLE: "<middle>", TURN: "<turn>", END: "<end>"}
VOCABULARY = 261


@dataclass(frozen=True, slots=True)
class Say:
    """One reply: the same text for each of a job's answers, or one text for each."""

    text: str | Sequence[str]
    delay_s: float = 0.0
    """Before every character."""
    error: str = ""
    """The engine fails with this after the text; empty means that it does not."""


Reply = str | Say | ModelError
Script = Iterable[Reply] | Callable[[Job], Reply]


@dataclass(slots=True)
class Given:
    """A job that was taken, as the test sees it. Implements model.backend.Running."""

    job: Job
    over: threading.Event = field(default_factory=threading.Event)
    """Set when all answers have ended, or when it was given up."""
    cancelled: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        if not self.over.is_set():
            self.cancelled = True
        self._stop.set()

    def pause(self, seconds: float) -> bool:
        """Wait; True once it was given up."""
        return self._stop.wait(seconds) if seconds else self._stop.is_set()


class ScriptedBackend:
    """Answers from a queue, or from a function of the job. Implements model.backend.Backend.

    An error of a script is raised by `submit`. `given` records every job taken. The prompt counts as cached
    where it begins like the one before.
    """

    def __init__(
        self,
        script: Script,
        *,
        n_ctx: int = 4096,
        most: int = 64,
        infill: bool = True,
        name: str = "scripted",
    ) -> None:
        """`most` jobs run at once; one more is Overloaded."""
        self._next = script if callable(script) else _queue(script)
        self._about = About(name, f"{name}-1", n_ctx, VOCABULARY, infill, "cpu", "bytes")
        self._most = most
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._stats = Stats()
        self._adapters: dict[str, Adapter] = {}
        self._last: tuple[int, ...] = ()
        self.given: list[Given] = []

    @property
    def about(self) -> About:
        return self._about

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        ids = list[int]()
        for message in messages:
            ids += [TURN, *message.role.encode(), *b"\n", *message.content.encode()]
        return [*ids, TURN]

    def text_ids(self, text: str) -> list[int]:
        return [*text.encode()]

    def infill_ids(self, prefix: str, suffix: str, context: str = "") -> list[int]:
        if not self._about.infill:
            raise Unsupported("fill-in-the-middle")
        return [*context.encode(), PREFIX, *prefix.encode(), SUFFIX, *suffix.encode(), MIDDLE]

    def infill_stops(self) -> tuple[int, ...]:
        return (PREFIX, SUFFIX, MIDDLE)

    def decode(self, ids: Sequence[int]) -> str:
        pieces = b"".join(NAMES[one].encode() if one in NAMES else bytes([one]) for one in ids)
        return pieces.decode("utf-8", "replace")

    def submit(self, job: Job, deliver: Deliver) -> Given:
        if job.adapter and job.adapter not in self._adapters:
            raise RequestRefused(f"no adapter is called {job.adapter!r}")
        if len(job.ids) + job.draw.max_tokens > self._about.n_ctx:
            raise PromptTooLong(len(job.ids), self._about.n_ctx, job.draw.max_tokens)
        given = Given(job)
        with self._lock:
            if len(self._running) >= self._most:
                self._count(refused=1)
                raise Overloaded(f"{self._most} jobs run already", retry_after=2.0)
            reply = self._next(job)
            if isinstance(reply, ModelError):
                self._count(refused=1)
                raise reply
            self._running.add(id(given))
            self._count(requests=1, prompt_tokens=len(job.ids))
            cached = _alike(self._last, job.ids)
            self._last = job.ids
            self.given.append(given)
        say = reply if isinstance(reply, Say) else Say(reply)
        threading.Thread(target=self._run, args=(given, say, deliver, cached), daemon=True).start()
        return given

    def stats(self) -> Stats:
        with self._lock:
            return replace(self._stats, running=len(self._running))

    def adapters(self) -> Sequence[Adapter]:
        with self._lock:
            return [*self._adapters.values()]

    def load_adapter(self, name: str, path: str) -> Adapter:
        if not path.startswith("/"):
            raise RequestRefused(f"{path!r} holds no adapter")
        with self._lock:
            self._adapters[name] = Adapter(name, path, "0" * 64, 8)
            return self._adapters[name]

    def unload_adapter(self, name: str) -> None:
        with self._lock:
            if self._adapters.pop(name, None) is None:
                raise RequestRefused(f"no adapter is called {name!r}")

    def close(self) -> None:
        for given in self.given:
            given.cancel()

    def _run(self, given: Given, say: Say, deliver: Deliver, cached: int) -> None:
        for index in range(given.job.n):
            text = say.text if isinstance(say.text, str) else say.text[index]
            if not self._answer(given, index, text, say, deliver, cached):
                break
        with self._lock:
            self._running.discard(id(given))
            self._count(cancelled=given.cancelled, failed=bool(say.error))
        given.over.set()

    def _answer(self, given: Given, index: int, text: str, say: Say, deliver: Deliver, cached: int) -> bool:
        """Write one answer; False when the job was given up."""
        job = given.job
        shown, reason = _cut(text, job)
        begun = first = time.monotonic()
        written = 0
        for letter in shown:
            if given.pause(say.delay_s):
                return False
            first = first if written else time.monotonic()
            data = letter.encode()
            written += len(data)
            deliver(Piece(index, letter, tuple(_drawn(one, job) for one in data)))
        cost = Cost(
            prompt_tokens=len(job.ids),
            cached_tokens=cached,
            completion_tokens=written + (reason == "stop"),
            first_ms=1000 * (first - begun),
            decode_ms=1000 * (time.monotonic() - first),
        )
        with self._lock:
            self._count(completion_tokens=cost.completion_tokens)
        deliver(Ended(index, "error" if say.error else reason, cost, say.error))
        return True

    def _count(self, **more: int) -> None:
        """Add to the counters; the lock is held."""
        counts = {name: getattr(self._stats, name) + value for name, value in more.items()}
        self._stats = replace(self._stats, **counts)


def _cut(text: str, job: Job) -> tuple[str, Reason]:
    """What of a text is shown, and why it ends there."""
    ends = [found for stop in job.stop if (found := text.find(stop)) >= 0]
    text = text[: min(ends, default=len(text))]
    shown = text.encode()[: job.draw.max_tokens].decode("utf-8", "ignore")
    return shown, "stop" if shown == text else "length"


def _drawn(one: int, job: Job) -> Drawn:
    if job.draw.logprobs is None:
        return Drawn(one, bytes([one]), 0.0)
    others = [(other, bytes([other]), -1.0 - rank) for rank, other in enumerate(range(97, 123))]
    top = [(one, bytes([one]), -0.25), *(found for found in others if found[0] != one)]
    return Drawn(one, bytes([one]), -0.25, tuple(top[: job.draw.logprobs]))


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two prompts have in common, the last of the second left out."""
    same = 0
    while same < min(len(one), len(other) - 1) and one[same] == other[same]:
        same += 1
    return same


def _queue(replies: Iterable[Reply]) -> Callable[[Job], Reply]:
    waiting = iter(replies)

    def next_reply(job: Job) -> Reply:
        for reply in waiting:
            return reply
        raise AssertionError(f"the script is over, but a job came: {job}")

    return next_reply
