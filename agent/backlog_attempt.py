"""One attempt at one item: ADI's own run on a private copy, and what it means for the item.

`solved` comes only from a run whose verdict accepted the change, on checks of which one failed before.
Nothing is asked and nothing reaches the user's tree: the change is a patch in the store, and a branch where
that was asked for.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from agent.backlog_copy import Room, room
from agent.backlog_results import Checked
from agent.backlog_watch import Watch
from agent.environment import DependenciesMissing
from agent.errors import NEEDS_PERSON, USAGE, exit_code_of, sentence
from agent.inert import inert_line
from agent.origin import origin_of
from agent.percolate import Listener
from agent.person import Person, Unattended
from agent.session import Outcome as Ended
from agent.session import Session
from memory.backlog_records import Item, Lease, Outcome
from memory.records import Stop
from model.errors import PromptTooLong
from sandbox.branch import branch_name, make_branch

Open = Callable[[Path, Person, Sequence[Listener], Lease], AbstractContextManager[Session]]
"""Opens a session on a copy, within what the lease leaves to spend."""

PREFIX: Final = "adi/backlog"
STATES: Final = {
    Stop.ACCEPTED: "solved",
    Stop.PENDING: "needs-human",
    Stop.CONFLICT: "needs-human",
    Stop.REJECTED: "needs-human",
    Stop.ENVIRONMENT: "infra-error",
    Stop.KILLED: "infra-error",
    Stop.INTERRUPTED: "infra-error",
    Stop.ERROR: "infra-error",
}
"""State that a run's end leads to; every other end leaves the item unsolved."""
UNPROVEN: Final = "no check failed before the change, so none shows that the issue is solved: read the patch"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where attempts are made, and how."""

    rooms: Path
    open: Open
    branches: bool = False


def attempt(bench: Bench, lease: Lease, watch: Watch) -> Outcome:
    """Do the item. Raises nothing but what breaks it off; how it failed is in the outcome."""
    item = lease.item
    try:
        with room(
            bench.rooms, f"{lease.backlog_id}-{item.id}-{lease.fence}", Path(item.repo), item.base
        ) as own:
            ended, change = _run(bench, lease, watch, own)
            return _outcome(bench, item, watch, own, ended, change)
    except Exception as error:  # noqa: BLE001 - every failure is told, and the worker goes on with the next
        return failed(error, watch)


def _run(bench: Bench, lease: Lease, watch: Watch, own: Room) -> tuple[Ended, bytes]:
    """The run, and the change that it left."""
    with bench.open(own.repo, Unattended(accept=True), (watch.on_event,), lease) as session:
        # What is kept beside the copy goes with it; the change itself is in the store.
        session.places = replace(session.places, data=own.folder)
        session.origin = partial(origin_of, copy_of=own.copy_of)
        told = lease.item
        prompt = f"{told.title.strip()}\n\n{told.body.strip()}".strip()
        checks = tuple(check.command for check in told.checks)
        ended = session.run(prompt, checks or session.settings.run.checks)
        change = session.store.artifact(watch.diff_sha256) if watch.diff_sha256 else b""
    return ended, change


def _outcome(bench: Bench, item: Item, watch: Watch, own: Room, ended: Ended, change: bytes) -> Outcome:
    state, detail = STATES.get(ended.stop, "unsolved"), ended.detail
    if state == "solved" and not watch.failed_before:
        state, detail = "needs-human", UNPROVEN
    result = facts(watch) | {"stop": str(ended.stop), "base": own.base}
    if bench.branches and change and state in ("solved", "needs-human"):
        result["branch"] = _branch(item, own, change, ended.run_id)
    return Outcome.model_validate(
        {
            "state": state, "run_id": ended.run_id, "detail": detail, "result": result,
            "tokens": watch.usage.completion_tokens,
        }
    )  # fmt: skip


def _branch(item: Item, own: Room, change: bytes, run_id: str) -> str:
    title = inert_line(item.title)[:72].strip() or item.key
    message = f"{title}\n\nItem: {inert_line(item.key)}\nRun: {run_id}\nCo-authored-by: ADI <adi@localhost>\n"
    return make_branch(Path(item.repo), branch_name(PREFIX, item.key), own.base, change, message)


def facts(watch: Watch) -> dict[str, object]:
    """What the reports tell of an attempt."""
    found = watch.evaluation
    checks = [
        Checked(
            name=result.check,
            # An accepted verdict holds for every check: one with other tests that failed before, too.
            passed=result.passed or bool(found and found.accepted),
            command=watch.checks[result.check].command if result.check in watch.checks else "",
            tests_passed=result.tests_passed,
            tests_failed=result.tests_failed,
        )
        for result in (found.results if found else ())
    ]
    return {
        "patch": watch.diff_sha256,
        "diffstat": watch.diffstat,
        "model": watch.model,
        "checks": [check.model_dump(mode="json") for check in checks],
        "prompt_tokens": watch.usage.prompt_tokens,
        "cached_tokens": watch.usage.cached_tokens,
    }


def failed(error: Exception, watch: Watch) -> Outcome:
    """What an error means: the environment's are tried again, what a person must mend is theirs.

    An error that nobody expected says nothing about the issue, so it is the environment's too.
    """
    code = exit_code_of(error)
    state = "infra-error"
    if isinstance(error, PromptTooLong):
        state = "unsolved"
    elif code in (USAGE, NEEDS_PERSON) or isinstance(error, DependenciesMissing):
        state = "needs-human"
    hint = getattr(error, "hint", "")
    detail = sentence(error) + (f" ({inert_line(hint)})" if hint and state != "infra-error" else "")
    return Outcome.model_validate(
        {
            "state": state, "run_id": watch.run_id, "detail": detail,
            "result": facts(watch) | {"error": type(error).__name__},
            "tokens": watch.usage.completion_tokens,
        }
    )  # fmt: skip
