"""Percolate: what happens in a run is kept before the next thing happens, and distilled when it is over."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from agent.distil import Past, Told, by_hand, distil, witness
from agent.syntax import language_of
from feedback.scrub import Redactor
from feedback.walk import texts
from memory.lessons import Lessons
from memory.records import Event, Learned, Noted, Payload, Recalled, RunEnded, Task, UserActed, Verdict
from memory.signature import signature
from memory.store import Store

if TYPE_CHECKING:
    from agent.run import Run

Listener = Callable[[Event], None]
"""Something that draws or forwards events; it sees an event only after the store has it."""


class Recorder:
    """The one way an event of a run comes into being: without the secrets that it would show.

    What runs has them all the same; only what is stored, and what is told to the listeners, is without.
    """

    def __init__(self, store: Store, run_id: str, listeners: Sequence[Listener] = ()) -> None:
        self.store = store
        self.run_id = run_id
        self._listeners = tuple(listeners)
        self._redactor = Redactor(self._stored)

    def emit(self, payload: Payload) -> Event:
        """Store the event, then tell it to the listeners. Raises StoreError."""
        clean = self._redactor.payload(payload)
        if isinstance(clean, RunEnded) and (counts := self._redactor.counts):
            kinds = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            self._append(Noted(text=f"left out of the record, because they look like secrets: {kinds}"))
            counts.clear()
        return self._append(clean)

    def _append(self, payload: Payload) -> Event:
        event = self.store.append(self.run_id, payload)
        self.tell(event)
        return event

    def _stored(self) -> Iterable[str]:
        """Texts of the run as far as it is stored; asked for when the first secret turns up."""
        return (place.text for event in self.store.events(self.run_id) for place in texts(event.payload))

    def tell(self, event: Event) -> None:
        """Pass on an event that the store has already."""
        for listener in self._listeners:
            listener(event)

    def keep(self, content: bytes) -> str:
        """Store bytes, such as a patch. Returns their SHA-256."""
        return self.store.put_artifact(content)


def recorded(task: Task) -> Task:
    """The task as the store may have it: no secret in its words, all else as it is run."""
    return Redactor().task(task)


NEXT: Final = timedelta(minutes=30)
"""A task within this time of the last one's end may be an answer to it."""
TYPED: Final = 1_000
"""Characters kept of it."""
LANGUAGES: Final = 2_000
"""Files whose endings are looked at to tell a repository's languages."""


def typed_next(store: Store, run_id: str, task: Task) -> None:
    """Tell the run before this one, where it ended a moment ago, what the person typed next."""
    for summary in store.runs(task.repo, limit=3):
        if summary.id == run_id or not summary.ended:
            continue
        since = datetime.now(UTC) - datetime.fromisoformat(summary.ended)
        if timedelta(0) <= since <= NEXT:
            acted = UserActed(action="next", detail=task.prompt[:TYPED], seconds=since.total_seconds())
            store.append(summary.id, Redactor().payload(acted))
        return


def remember(run: "Run") -> None:
    """Give the run what is known: of its repository, its failing tests and its words."""
    failing = [failure for result in run.failing for failure in result.failures]
    if run.memory.lessons is not None and any(result.tests_passed for result in run.baseline):
        _learn_by_hand(run, run.memory.lessons, {failure.test for failure in failing})
    words = [
        run.task.prompt,
        *(failure.test for failure in failing),
        *(failure.message for failure in failing),
    ]
    languages = {language_of(path) for path in run.files.paths()[:LANGUAGES]} - {""}
    found = run.memory.look_up(
        sorted(languages), words, dict.fromkeys(signature(item) for item in failing), run.count_text
    )
    if found:
        run.recorder.emit(Recalled(lessons=found))


def _learn_by_hand(run: "Run", lessons: Lessons, failing: set[str]) -> None:
    """What the person did after the last run here had come to nothing teaches as an accepted change does."""
    last = _previous(run.recorder.store, run.task.repo, run.recorder.run_id)
    if last is None or last.task.tree == run.task.tree:
        return
    diff = run.files.since(last.task.tree).decode("utf-8", "replace")
    _learn(run.recorder, lessons, by_hand(last, failing, diff))


def _learn(recorder: Recorder, lessons: Lessons, everything: Iterable[Told]) -> None:
    for told in everything:
        lesson, new = lessons.learn(told.draft, told.evidence)
        stance = "new" if new else "retired" if lesson.status == "retired" else told.evidence.stance
        recorder.emit(Learned(lesson_id=lesson.id, claim=lesson.claim, stance=stance, why=told.evidence.why))


def percolate(recorder: Recorder, ended: RunEnded) -> None:
    """Distil the run that ends so: new lessons, and what it says about those it was given.

    What fails here is told as a warning: a lesson is not worth a run.
    """
    try:
        past = _past(recorder.store, recorder.run_id, ended)
        lessons = Lessons(recorder.store)
        last = _previous(recorder.store, past.task.repo, past.run_id)
        _learn(recorder, lessons, distil(past, last))
        for lesson_id, evidence in witness(past):
            lesson = lessons.testify(lesson_id, evidence)
            stance = "retired" if lesson.status == "retired" else evidence.stance
            recorder.emit(Learned(lesson_id=lesson.id, claim=lesson.claim, stance=stance, why=evidence.why))
    except Exception as error:  # noqa: BLE001 - the run itself went well
        with contextlib.suppress(Exception):
            recorder.emit(Noted(level="warning", text=f"nothing was learned from this run: {error}"))


def _past(store: Store, run_id: str, ended: RunEnded | None = None) -> Past:
    events: list[Payload] = [event.payload for event in store.events(run_id)]
    if ended is not None:
        events.append(ended)
    keys = {event.diff_sha256 for event in events if isinstance(event, Verdict) and event.diff_sha256}
    patches = {key: store.artifact(key).decode("utf-8", "replace") for key in keys}
    return Past(run_id, events, patches)


def _previous(store: Store, repo: str, run_id: str) -> Past | None:
    """The run that ended before this one in the same tree.

    Runs on copies are never it, and have none: what one left is not what the next one began with.
    """
    for summary in store.runs(repo, limit=5):
        if summary.id != run_id and summary.id < run_id and summary.ended:
            return _past(store, summary.id)
    return None
