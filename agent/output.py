"""Results for programs: `text`, `json` or `stream-json` on stdout, while the display uses stderr.

`json` is one object at the end. `stream-json` is one JSON object a line: every event as it is stored,
then the same object. All of it is ASCII, so that nothing in it can steer a terminal.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from agent.errors import exit_code_of, render
from agent.inert import inert_line
from memory.records import (
    SCHEMA_VERSION,
    ActionEnded,
    Completed,
    Evaluation,
    Event,
    RunEnded,
    RunStarted,
    Stop,
    Usage,
    Verdict,
)

Format = Literal["text", "json", "stream-json"]


class Outcome(Protocol):
    """What a session says about a finished run."""

    @property
    def run_id(self) -> str: ...
    @property
    def stop(self) -> Stop: ...
    @property
    def exit_code(self) -> int: ...
    @property
    def detail(self) -> str: ...


class Output:
    """Listens to a run's events and writes its result."""

    def __init__(self, form: Format, stdout: TextIO, patches: Path) -> None:
        """`patches` is the directory in which a run's patch is kept as `<run id>.patch`."""
        self._form = form
        self._stdout = stdout
        self._patches = patches
        self._facts: dict[str, Any] = {"run_id": "", "model": "", "repo": ""}
        self._usage = Usage()
        self._evaluation: Evaluation | None = None
        self._diffstat = ""
        self._turns = 0
        self._gone = False
        self._seconds = 0.0

    def on_event(self, event: Event) -> None:
        """Note what the result needs; with `stream-json` write the event."""
        self._note(event)
        if self._form == "stream-json":
            self._write({"type": "event", "schema_version": SCHEMA_VERSION, **event.model_dump(mode="json")})

    def finish(self, outcome: Outcome) -> None:
        """Write the result of a run that ended."""
        sentence = " ".join(filter(None, (f"{outcome.stop}.", outcome.detail)))
        if self._form == "text":
            self._write_text([sentence, *self._diffstat.splitlines()])
            return
        self._facts["run_id"] = outcome.run_id
        subtype = "success" if outcome.stop is Stop.ACCEPTED else str(outcome.stop)
        self._write(self._result(subtype, outcome.exit_code, sentence))

    def fail(self, error: BaseException) -> None:
        """Write the result of a run that an error ended; `text` leaves that to stderr."""
        if self._form == "text":
            return
        code = exit_code_of(error)
        subtype = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
        self._write(self._result(subtype, code, "; ".join(render(error))))

    def _note(self, event: Event) -> None:
        payload = event.payload
        if isinstance(payload, RunStarted):
            self._facts.update(run_id=event.run_id, model=payload.model, repo=payload.task.repo)
        elif isinstance(payload, Completed):
            self._usage = add(self._usage, payload.completion.usage)
        elif isinstance(payload, ActionEnded):
            self._turns += 1
        elif isinstance(payload, Verdict):
            self._evaluation, self._diffstat = payload.evaluation, payload.diffstat
        elif isinstance(payload, RunEnded):
            self._seconds = payload.seconds

    def _result(self, subtype: str, exit_code: int, sentence: str) -> dict[str, Any]:
        patch = self._patches / f"{self._facts['run_id']}.patch"
        return {
            "type": "result",
            "subtype": subtype,
            "is_error": exit_code != 0,
            "schema_version": SCHEMA_VERSION,
            "session_id": self._facts["run_id"],
            **self._facts,
            "result": sentence,
            "exit_code": exit_code,
            "num_turns": self._turns,
            "duration_ms": round(self._seconds * 1000),
            "usage": self._usage.model_dump(),
            "evaluation": _evaluation(self._evaluation),
            "diffstat": self._diffstat,
            "patch_path": str(patch) if self._facts["run_id"] and patch.is_file() else None,
        }

    def _write(self, value: Mapping[str, Any]) -> None:
        self._emit(json.dumps(value, ensure_ascii=True) + "\n")

    def _write_text(self, lines: list[str]) -> None:
        if not (self._stdout.isatty() and sys.stderr.isatty()):  # otherwise the display has said it
            self._emit("".join(f"{inert_line(line)}\n" for line in lines))

    def _emit(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except BrokenPipeError:  # nobody reads any more; the run and its record go on
            self._gone = True


def add(left: Usage, right: Usage) -> Usage:
    """The sum of two costs."""
    return Usage(**{name: getattr(left, name) + getattr(right, name) for name in Usage.model_fields})


def _evaluation(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    return {
        "accepted": evaluation.accepted,
        "passed": sum(result.passed for result in evaluation.results),
        "failed": sum(not result.passed for result in evaluation.results),
        "tests_passed": sum(result.tests_passed for result in evaluation.results),
        "tests_failed": sum(result.tests_failed for result in evaluation.results),
        "score": evaluation.reward,
        "changed_tests": list(evaluation.changed_tests),
        "deleted_tests": list(evaluation.deleted_tests),
        "protected": list(evaluation.protected),
        "disputed_tests": list(evaluation.disputed_tests),
        "detail": evaluation.detail,
    }
