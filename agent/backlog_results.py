"""What came of a backlog, as files that other programs read: JSON, SWE-bench's forms, patches.

Every file is written whole or not at all, at any time midway. `solved` counts only with evidence: a run that
says so without a check that passed, or without a change, is told as unsolved everywhere.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from agent.backlog_item import Bad
from agent.errors import ACCEPTED, BUDGET, ENVIRONMENT, NEEDS_PERSON
from memory.records import Record

SCHEMA_VERSION: Final = 1
NOT_ACCEPTED: Final = 3
State = Literal["solved", "unsolved", "needs-human", "infra-error", "parked", "cancelled", "superseded"]
STATES: Final[tuple[State, ...]] = (
    "infra-error", "parked", "needs-human", "unsolved", "cancelled", "superseded", "solved",
)  # fmt: skip
"""What wants a person's eye first, first."""


class Checked(Record):
    """One check of a verdict."""

    name: str
    passed: bool
    command: str = ""
    tests_passed: int = 0
    tests_failed: int = 0


class Result(Record):
    """What came of one item. Texts may be those of strangers."""

    key: str
    title: str
    state: State
    url: str = ""
    """Where the issue is on the web."""
    project: str = ""
    """owner/name or another name of the repository, never a path."""
    run_id: str = ""
    """Of the last attempt; empty when there was none."""
    attempts: int = 0
    seconds: float = 0.0
    """Of all attempts."""
    tokens: int = 0
    """Written by the model in all attempts."""
    patch: bytes | None = None
    """The change; None where there is none, or where it is only on the branch."""
    branch: str = ""
    checks_passed: int = 0
    checks_failed: int = 0
    checks: tuple[Checked, ...] = ()
    """The same by name, where it is known."""
    diffstat: str = ""
    detail: str = ""
    """How it ended, in a sentence."""
    page: str = ""
    """Link to the run's page, relative to the backlog's; empty when there is none."""

    @property
    def accepted(self) -> bool:
        """Solved by evidence: checks ran, all of them passed, and there is a change."""
        proven = self.checks_passed > 0 and not self.checks_failed and all(c.passed for c in self.checks)
        return self.state == "solved" and proven and bool(self.patch or self.branch)

    @property
    def standing(self) -> State:
        """The state that is reported: what is called solved without evidence is not."""
        return "unsolved" if self.state == "solved" and not self.accepted else self.state

    @property
    def sentence(self) -> str:
        """How it ended; tells when there was no evidence."""
        if self.standing == self.state:
            return self.detail
        return " ".join(filter(None, ("Called solved, but no check and change show it.", self.detail)))


class Head(Record):
    """What is told of the backlog as a whole."""

    name: str = "backlog"
    source: str = ""
    model: str = ""
    """Name of the model, as predictions tell it."""
    started: str = ""
    written: str = ""
    """When the report was made."""
    waiting: int = 0
    """Items that are queued or running: the report is made midway."""
    bad: tuple[Bad, ...] = ()
    """Rows and files of the source that were no items."""
    budget_spent: str = ""
    """Which budget of the whole backlog ended it; empty when none did."""
    environment_missing: str = ""
    """What is missing, so that nothing more could be run; empty when nothing is."""


def exit_code(results: Sequence[Result], head: Head) -> int:
    """The exit code of a backlog, from evidence. The first that is true:

    6 the environment is missing, for the whole or for an item (infra-error, parked): mend it and resume;
    5 a budget of the whole is spent: raise it and resume;
    4 an item needs a person;
    3 anything else is not accepted: an item unsolved, cancelled, superseded without a successor here,
      waiting or unreadable, or no item at all, since nothing was proven;
    0 every item was accepted by evidence.
    """
    standings = {result.standing for result in latest(results)}
    if head.environment_missing or standings & {"infra-error", "parked"}:
        return ENVIRONMENT
    if head.budget_spent:
        return BUDGET
    if "needs-human" in standings:
        return NEEDS_PERSON
    return ACCEPTED if standings == {"solved"} and not head.waiting and not head.bad else NOT_ACCEPTED


def latest(results: Sequence[Result]) -> list[Result]:
    """Without the superseded revisions of items whose newer revision is among the results."""
    standing = {result.key for result in results if result.state != "superseded"}
    return [result for result in results if result.state != "superseded" or result.key not in standing]


def totals(results: Sequence[Result], head: Head) -> dict[str, Any]:
    """Sums for the report and the page."""
    counts = dict.fromkeys(reversed(STATES), 0)
    for result in results:
        counts[result.standing] += 1
    return {
        "items": len(results),
        "waiting": head.waiting,
        "bad_rows": len(head.bad),
        "states": counts,
        "attempts": sum(result.attempts for result in results),
        "seconds": round(sum(result.seconds for result in results), 3),
        "tokens": sum(result.tokens for result in results),
    }


def report(results: Sequence[Result], head: Head) -> bytes:
    """The JSON report, ASCII, so that nothing in it can steer a terminal."""
    told = {
        "type": "backlog-report",
        "schema_version": SCHEMA_VERSION,
        **head.model_dump(exclude={"bad", "waiting"}),
        "complete": not head.waiting,
        "exit_code": exit_code(results, head),
        "totals": totals(results, head),
        "bad": [bad.model_dump() for bad in head.bad],
        "items": [_item(result) for result in results],
    }
    return json.dumps(told, ensure_ascii=True, indent=1).encode("ascii") + b"\n"


def _item(result: Result) -> dict[str, Any]:
    digest = hashlib.sha256(result.patch).hexdigest() if result.patch else ""
    return {
        **result.model_dump(exclude={"patch", "detail"}),
        "state": result.standing,
        "accepted": result.accepted,
        "detail": result.sentence,
        "patch_bytes": None if result.patch is None else len(result.patch),
        "patch_sha256": digest,
    }


ATTEMPTED: Final = frozenset({"solved", "unsolved", "needs-human"})


def predictions(results: Iterable[Result], model: str) -> bytes:
    """SWE-bench's `preds.jsonl`: items that an agent worked on to an end; an empty patch where it left none.

    JSON has no bytes: what of a patch is not UTF-8 is replaced, and that patch will not apply elsewhere.
    """
    lines = []
    for result in results:
        if result.standing in ATTEMPTED:
            patch = (result.patch or b"").decode("utf-8", "replace")
            row = {"instance_id": result.key, "model_name_or_path": model or "adi", "model_patch": patch}
            lines.append(json.dumps(row, ensure_ascii=True) + "\n")
    return "".join(lines).encode("ascii")


BUCKETS: Final = (
    "completed", "incomplete", "empty_patch", "submitted", "resolved", "unresolved", "infra_failure",
    "ambiguous_failure", "error",
)  # fmt: skip


def buckets(results: Sequence[Result], head: Head) -> bytes:
    """The report in the form of SWE-bench's, `schema_version` 2; resolved only by evidence.

    Items that infra errors or crashes ended are errors; those that need a person are unresolved. What was
    cancelled or superseded is incomplete; waiting items are only in the total.
    """
    found: dict[str, list[str]] = {name: [] for name in BUCKETS}
    reasons = {}
    for result in latest(results):
        for name in _buckets_of(result):
            found[name].append(result.key)
        if result.standing in ("infra-error", "parked"):
            reasons[result.key] = result.detail
    told: dict[str, Any] = {"total_instances": len(latest(results)) + head.waiting}
    told |= {f"{name}_instances": len(keys) for name, keys in found.items() if name != "incomplete"}
    told |= {f"{name}_ids": sorted(keys) for name, keys in found.items()}
    told |= {"failure_reasons": dict(sorted(reasons.items())), "schema_version": 2}
    return json.dumps(told, ensure_ascii=True, indent=4).encode("ascii") + b"\n"


def _buckets_of(result: Result) -> tuple[str, ...]:
    state = result.standing
    if state in ("infra-error", "parked"):
        return "error", ("infra_failure" if state == "infra-error" else "ambiguous_failure")
    if state not in ATTEMPTED:
        return ("incomplete",)
    if not result.patch and not result.accepted:
        return "submitted", "empty_patch"
    return "submitted", "completed", ("resolved" if result.accepted else "unresolved")


def put(place: Path, content: bytes) -> None:
    """Write a file whole or not at all; a reader sees the old or the new one. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".adi-{secrets.token_hex(6)}")
    try:
        with fresh.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)


def file_name(key: str) -> str:
    """A name for an item's files: readable, distinct for each key, and of no folder but its own."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", key).strip("-.")[:80]
    return (
        plain
        if plain == key != ""
        else f"{plain or 'item'}-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    )


def write_all(folder: Path, results: Sequence[Result], head: Head) -> list[Path]:
    """Write every form of the results into a folder; may be called again and again while items finish.

    `report.json`, `junit.xml`, `preds.jsonl`, `swebench.json`, `index.html`, and of each item with a change
    `patches/NAME.patch` and `comments/NAME.md`. Raises OSError: what was there before is then still whole.
    """
    from agent.backlog_comment import comment_text
    from agent.backlog_junit import junit
    from agent.backlog_page import page

    written = []
    for result in latest(results):
        name = file_name(result.key)
        if result.patch:
            written.append(_changed(folder / "patches" / f"{name}.patch", result.patch))
        if result.run_id:
            written.append(_changed(folder / "comments" / f"{name}.md", comment_text(result).encode("utf-8")))
    forms = {
        "preds.jsonl": predictions(latest(results), head.model),
        "swebench.json": buckets(results, head),
        "junit.xml": junit(results, head),
        "index.html": page(results, head),
        "report.json": report(results, head),
    }
    for name, content in forms.items():
        put(folder / name, content)
        written.append(folder / name)
    return written


def _changed(place: Path, content: bytes) -> Path:
    """Written only where it is not there already: ten thousand files are not rewritten for one more."""
    try:
        same = place.stat().st_size == len(content) and place.read_bytes() == content
    except OSError:
        same = False
    if not same:
        put(place, content)
    return place
