"""Results that wait, one after the other, at a terminal. What was decided stays decided, however it ends."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from agent.display import Display
from agent.display_log import local_time
from agent.errors import NEEDS_PERSON, expected, render
from agent.person import Decision
from agent.review_person import Reviewer
from agent.review_queue import CHECK, Decided, Held, Result, Sessions, Settled, check_state, decide, look
from memory.records import Event, RunEnded, RunSummary, Stop, Verdict
from memory.store import Store

QUIT: Final = -1
"""Stands for an exit code where the person left."""


def drawing(display: Display) -> Callable[[Event], None]:
    """A listener that draws what a decision does; verdicts are drawn when the question is asked."""

    def draw(event: Event) -> None:
        left_open = isinstance(event.payload, RunEnded) and event.payload.stop is Stop.PENDING
        if not left_open and not isinstance(event.payload, Verdict):
            display.on_event(event)

    return draw


class OneByOne:
    """Asks about results and carries out the answers."""

    def __init__(
        self, store: Store, sessions: Sessions, display: Display, person: Reviewer, patches: Path
    ) -> None:
        """`patches` is where an edit is kept that cannot be used."""
        self._store = store
        self._sessions = sessions
        self._display = display
        self._person = person
        self._patches = patches

    def ask(self, results: Sequence[RunSummary]) -> int:
        """Ask about all of them; gives the exit code: 0, or that of the first that was not accepted."""
        codes = list[int]()
        for number, summary in enumerate(results, start=1):
            codes.append(self._guarded(summary.id, f"{number} of {len(results)}"))
            if codes[-1] == QUIT:
                codes[-1] = NEEDS_PERSON
                break
        left = len(results) - len(codes) + codes.count(NEEDS_PERSON)
        self._person.tell(f"{len(results) - left} of {len(results)} decided." if left else "All decided.")
        return next((code for code in codes if code), 0)

    def _guarded(self, run_id: str, counter: str) -> int:
        """One result; what fails for a reason is told, and the next one comes."""
        try:
            return self._one(run_id, counter)
        except Exception as error:
            if not expected(error):
                raise
            self._tell_of(error)
            return 0 if isinstance(error, Decided) else NEEDS_PERSON

    def _one(self, run_id: str, counter: str) -> int:
        while True:
            seen = look(self._store, run_id)
            check_state(seen, seen)
            self._sessions.of(seen.summary.repo)
            if not seen.judged:
                self._person.tell(f"{counter}: run {seen.id} was broken off; its change is checked now")
                decide(self._sessions.of(seen.summary.repo), seen, CHECK)
                seen = look(self._store, run_id)
            self._show(seen, counter)
            answer = self._person.ask(seen.diff, seen.evaluation, counter)
            if not isinstance(answer, Decision):
                return NEEDS_PERSON if answer == "skip" else QUIT
            settled = self._settled(seen, answer)
            if settled is not None and answer.action != "edit":
                return settled.outcome.exit_code

    def _settled(self, seen: Result, decision: Decision) -> Settled | None:
        """None when nothing came of it and the question is to be asked again."""
        try:
            settled = decide(self._sessions.of(seen.summary.repo), seen, decision, force=True)
        except (Decided, Held):
            raise
        except Exception as error:
            if not expected(error):
                raise
            self._tell_of(error)
            self._keep(seen, decision)
            return None
        for text in settled.told:
            self._person.tell(text)
        if settled.refused:
            self._keep(seen, decision)
        return settled

    def _keep(self, seen: Result, decision: Decision) -> None:
        """An edit that could not be used is not lost."""
        if decision.action == "edit":
            self._patches.mkdir(parents=True, exist_ok=True)
            place = self._patches / f"{seen.id}.edited.patch"
            place.write_bytes(decision.patch)
            self._person.tell(f"Your edit is kept in {place}")

    def _show(self, seen: Result, counter: str) -> None:
        run = seen.summary
        self._person.tell(f"{counter} · run {run.id} · {local_time(run.started)} · {run.repo}")
        self._person.tell(f"task: {run.prompt}")
        verdict = Verdict(evaluation=seen.evaluation, diff_sha256=run.diff_sha256, diffstat=run.diffstat)
        self._display.on_event(Event(run_id=run.id, seq=1, at=run.started, payload=verdict))

    def _tell_of(self, error: Exception) -> None:
        for line in render(error):
            self._person.tell(line)
