"""Takes secrets and personal data out of what is recorded and what is exported, and counts what it took.

At write (`Redactor`): secrets only, before the store has the event; the run itself goes on with what was
there. At export (`Scrubber`): secrets again, by the rules of today, also where two texts that follow each
other hold one half each, and then personal data and what tells the host. Everything is deterministic.

A secret becomes `[REDACTED:github-token:1]`: the same value in a run has the same number, and no two values
have. Commands and support files of checks stay as they are in the store, because `adi review` runs them
again, and so do patches, because they are applied; an export drops a run whose patch holds a secret.
"""

import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from feedback.harvest import Harvest
from feedback.personal import Machine, Personal, Pseudonyms
from feedback.secret_rules import is_secret_name
from feedback.secrets import Found, across, environment_values, find, fringe
from feedback.walk import Place, texts, with_texts
from memory.records import (
    CheckAdded,
    Completed,
    Event,
    Message,
    Observed,
    Payload,
    Prompted,
    RunStarted,
    Task,
)

MARK: Final = re.compile(r"\[REDACTED:([a-z0-9-]{1,60}):(\d{1,6})\]")
"""What stands in place of a secret."""
REST: Final = "-rest"
"""End of the detector's name where the first half of a secret was stored before the second one came."""
IN_DIFF: Final = "secret in the diff"
_FLOWING: Final = frozenset({"output", "text", "content", "prompt", "detail", "message", "reason"})
"""Fields whose texts one thing may go on in, from one event to the next."""
_BEFORE: Final = 2
"""Texts before one that it is looked at together with, of all and of its own kind."""

_SHORT: Final = 400
"""Characters of a text from which on it is worth to be looked at by itself."""

Path = tuple[str | int, ...]
Ref = tuple[int, Path]
"""Number of an event, and the place of a text in it."""


class _Numbers:
    """Marks for values. Numbers in `taken` belong to values that are not known any more."""

    def __init__(self, taken: Callable[[], Iterable[str]] = lambda: ()) -> None:
        self._taken: Callable[[], Iterable[str]] | None = taken
        self._last: Counter[str] = Counter()
        self._known: dict[tuple[str, str], int] = {}

    def mark(self, found: Found) -> str:
        if self._taken is not None:
            for text in self._taken():
                for name, number in MARK.findall(text):
                    self._last[name] = max(self._last[name], int(number))
            self._taken = None
        key = (found.detector, found.value)
        if key not in self._known:
            self._last[found.detector] += 1
            self._known[key] = self._last[found.detector]
        return f"[REDACTED:{found.detector}:{self._known[key]}]"


@dataclass(slots=True)
class _Stream:
    """Finds secrets in texts that come one after another, also those that go from one text into the next."""

    find: Callable[[str], Sequence[Found]]
    across: Callable[[str, str], tuple[list[Found], list[Found]]]
    _last: dict[str, "deque[tuple[Ref, str]]"] = field(default_factory=dict)
    """By channel: the newest texts, the raw ones."""

    def look(self, number: int, payload: Payload) -> dict[Ref, list[Found]]:
        """Places of secrets in this event, and the first halves of some in events before it."""
        found = dict[Ref, list[Found]]()
        places = list(texts(payload))
        short = "\n".join(place.text for place in places if len(place.text) < _SHORT)
        inside = bool(self.find(short)) or any(is_secret_name(place.name) for place in places if place.name)
        for place in places:
            ref = (number, place.path)
            if (inside or len(place.text) >= _SHORT) and (own := self._own(place)):
                found.setdefault(ref, []).extend(own)
            if place.column in _FLOWING and not isinstance(payload, Observed) and place.text.strip():
                self._joined(ref, place, payload, found)
        return found

    def _own(self, place: Place) -> list[Found]:
        own = list(self.find(place.text))
        if place.name and is_secret_name(place.name) and "\n" not in place.text:
            lead = f"{place.name} = "
            for form in (lead, f"{lead}'"):  # the value of a name, bare or as its own quoted text
                tail = "'" if form.endswith("'") else ""
                for one in self.find(f"{form}{place.text}{tail}"):
                    start = max(0, one.start - len(form))
                    end = min(len(place.text), one.end - len(form))
                    if start < end:
                        own.append(Found(start, end, one.detector, place.text[start:end]))
        return own

    def _joined(self, ref: Ref, place: Place, payload: Payload, found: dict[Ref, list[Found]]) -> None:
        befores = dict[Ref, str]()
        channels = ("", f"{payload.kind}.{_role(payload, place)}{place.column}")
        for channel in channels:
            befores |= dict(self._last.setdefault(channel, deque(maxlen=_BEFORE)))
        for before, text in befores.items():
            lefts, rights = self.across(text, place.text)
            lefts = lefts or _first_half(text, place.text)
            if lefts:
                found.setdefault(before, []).extend(lefts)
                if rights:
                    found.setdefault(ref, []).extend(rights)
        for channel in channels:
            self._last[channel].append((ref, place.text))


def _first_half(left: str, right: str) -> list[Found]:
    """The end of a text, where the next one begins with the mark of a second half."""
    begin, end = fringe(left, right)
    mark = MARK.match(right, begin)
    if mark is None or not mark[1].endswith(REST):
        return []
    word = re.search(r"[^\s\"'`<>,;=:]+[=:]*\Z|[^\s\"'`<>,;]+\Z", left[max(0, end - 200) : end])
    if word is None:
        return []
    start = end - len(word[0])
    return [Found(start, end, mark[1].removesuffix(REST), left[start:end])]


def _role(payload: Payload, place: Place) -> str:
    if isinstance(payload, Prompted) and isinstance(place.path[1:2], tuple) and len(place.path) > 1:
        message = payload.messages[int(place.path[1])]
        return message.role if isinstance(message, Message) else ""
    return ""


def _stream(values: Collection[str]) -> _Stream:
    """The same texts come again and again in the prompts of a run: they are looked at once."""
    return _Stream(
        lru_cache(512)(lambda text: find(text, values)),
        lru_cache(2_048)(lambda left, right: across(left, right, values)),
    )


def _cut(text: str, found: Iterable[Found], numbers: _Numbers) -> tuple[str, list[str]]:
    """The text with marks in place of what was found, and the detectors of these."""
    parts, at, names = list[str](), 0, list[str]()
    for one in _merged(found):
        parts += [text[at : one.start], numbers.mark(one)]
        at = one.end
        names.append(one.detector)
    return "".join((*parts, text[at:])), names


def _merged(found: Iterable[Found]) -> list[Found]:
    merged = list[Found]()
    for one in sorted(set(found), key=lambda item: (item.start, -item.end, -len(item.value), item.detector)):
        if merged and one.start < merged[-1].end:
            last = merged[-1]
            longer = max(last, one, key=lambda item: len(item.value))
            merged[-1] = replace(longer, start=last.start, end=max(last.end, one.end))
        else:
            merged.append(one)
    return merged


class Redactor:
    """Takes secrets out of the events of one run, one after another, on their way into the store.

    `taken` tells texts of the run that hold marks already. Threads may share it.
    """

    def __init__(
        self, taken: Callable[[], Iterable[str]] = lambda: (), env_values: Collection[str] | None = None
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Detector -> how often it was replaced."""
        self._numbers = _Numbers(taken)
        self._stream = _stream(environment_values() if env_values is None else env_values)
        self._number = 0
        self._lock = threading.Lock()

    def payload(self, payload: Payload) -> Payload:
        """What may be stored. A half that an event before it has shown stays there: the rest is cut."""
        with self._lock:
            self._number += 1
            found = self._stream.look(self._number, payload)
            mine = {path: spans for (number, path), spans in found.items() if number == self._number}
            if any(number != self._number for number, _ in found):
                self._call_rests(found, mine)
            mine = {path: spans for path, spans in mine.items() if not _runs_again(payload, path)}
            if not mine:
                return payload

            def change(place: Place) -> str:
                text, names = _cut(place.text, mine.get(place.path, ()), self._numbers)
                self.counts.update(names)
                return text

            return _without_ids(payload, with_texts(payload, change))

    def _call_rests(self, found: dict[Ref, list[Found]], mine: dict[Path, list[Found]]) -> None:
        """Second halves of what is stored already get a mark of their own: it tells an export the first."""
        halves = {
            (one.detector, one.value)
            for (number, _), spans in found.items()
            for one in spans
            if number != self._number
        }
        for path, spans in mine.items():
            mine[path] = [
                replace(one, detector=one.detector + REST) if (one.detector, one.value) in halves else one
                for one in spans
            ]

    def task(self, task: Task) -> Task:
        """The task as a run's first event tells it."""
        prompt, names = _cut(task.prompt, self._stream.find(task.prompt), self._numbers)
        self.counts.update(names)
        return task.model_copy(update={"prompt": prompt}) if names else task


def _runs_again(payload: Payload, path: Path) -> bool:
    """True for what is executed once more when a result is reviewed, and for where a run took place."""
    if isinstance(payload, RunStarted):
        return path[:2] != ("task", "prompt")
    return isinstance(payload, CheckAdded)


def _without_ids(old: Payload, new: Payload) -> Payload:
    """Token ids would tell what was cut out of a completion."""
    if (
        isinstance(old, Completed)
        and isinstance(new, Completed)
        and old.completion.text != new.completion.text
    ):
        return new.model_copy(update={"completion": new.completion.model_copy(update={"token_ids": ()})})
    return new


class Scrubber:
    """Takes secrets and personal data out of runs that leave the machine."""

    VERSION: Final = 1
    """Of the rules; raised when they find other things than before."""

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        machine: Machine | None = None,
        env_values: Collection[str] | None = None,
    ) -> None:
        self._pseudonyms = pseudonyms
        self._machine = machine or Machine()
        self._values = environment_values() if env_values is None else tuple(env_values)

    def text(self, text: str, repo: str = "") -> tuple[str, Counter[str]]:
        """A text by itself; `repo` is the path of its repository on this host."""
        clean, names = _cut(text, find(text, self._values), _Numbers(lambda: (text,)))
        clean, counts = Personal(self._pseudonyms, self._machine, repo).text(clean)
        return clean, Counter({f"{name}:text": count for name, count in (Counter(names) + counts).items()})

    def harvest(self, h: Harvest) -> tuple[Harvest, Counter[str], str]:
        """The run without secrets and personal data, what was replaced, and why it must be dropped, if so.

        Keys of the counter are `detector:event.field`; those of what was redacted at write begin `at-write/`.
        Patches keep the SHA-256 of what they were as their names.
        """
        payloads = [event.payload for event in h.events]
        stream, found = _stream(self._values), dict[Ref, list[Found]]()
        for number, payload in enumerate(payloads):
            for ref, spans in stream.look(number, payload).items():
                found.setdefault(ref, []).extend(spans)
        numbers = _Numbers(lambda: (place.text for payload in payloads for place in texts(payload)))
        personal = Personal(self._pseudonyms, self._machine, h.repository, h.task.repo)
        work = _Work(found, numbers, personal)
        events = tuple(
            Event(
                run_id=event.run_id, seq=event.seq, at=event.at, payload=work.payload(number, event.payload)
            )
            for number, event in enumerate(h.events)
        )
        patches, why = dict[str, bytes](), ""
        for name, content in h.patches.items():
            text = content.decode("utf-8", "surrogateescape")
            secret = stream.find(text)
            why = IN_DIFF if secret else why
            patches[name] = work.patch(text, secret).encode("utf-8", "surrogateescape")
        return replace(h, events=events, patches=patches), +work.counts, why


@dataclass(slots=True)
class _Work:
    """One run that is scrubbed."""

    found: dict[Ref, list[Found]]
    numbers: _Numbers
    personal: Personal
    counts: Counter[str] = field(default_factory=Counter)

    def payload(self, number: int, payload: Payload) -> Payload:
        def change(place: Place) -> str:
            column = f"{payload.kind}.{place.column}"
            self.counts.update(f"at-write/{name}:{column}" for name, _ in MARK.findall(place.text))
            return self._clean(place.text, self.found.get((number, place.path), ()), column)

        return _without_ids(payload, with_texts(payload, change))

    def patch(self, text: str, found: Iterable[Found]) -> str:
        return self._clean(text, found, "patch")

    def _clean(self, text: str, found: Iterable[Found], column: str) -> str:
        text, names = _cut(text, found, self.numbers)
        text, counts = self.personal.text(text)
        self.counts.update(f"{name}:{column}" for name in names)
        self.counts.update({f"{kind}:{column}": count for kind, count in counts.items()})
        return text
