"""From the store to the results folder: every form of them, the pages of runs, and comments where asked.

It may be written at any time and again: what is there is replaced whole, and a comment is posted once.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.backlog_comment import comment_text, post
from agent.backlog_intake import bad_rows
from agent.backlog_item import Item as Issue
from agent.backlog_results import Checked, Head, Result, latest, put, write_all
from agent.errors import AdiError
from memory.backlog import Backlog
from memory.backlog_records import Item, State
from memory.errors import NotFound
from memory.store import Store

WAITING = (State.QUEUED, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Told:
    """A backlog as it stands."""

    head: Head
    results: list[Result]


def gathered(store: Store, backlog: Backlog, *, environment_missing: str = "") -> Told:
    """Read everything that the reports tell."""
    info, status = backlog.info(), backlog.status()
    results: list[Result] = []
    waiting, model = 0, ""
    for item in backlog.each():
        if item.state in WAITING:
            waiting += 1
            continue
        results.append(result_of(store, item))
        model = str(item.result.get("model") or model)
    head = Head(
        name=info.name,
        source=info.source,
        model=model,
        started=info.created,
        written=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        waiting=waiting,
        bad=bad_rows(backlog),
        budget_spent=status.spent if waiting else "",
        environment_missing=environment_missing,
    )
    return Told(head, results)


def result_of(store: Store, item: Item) -> Result:
    """What came of an item that ended."""
    told: dict[str, Any] = item.result
    checks = tuple(Checked.model_validate(check) for check in told.get("checks", ()))
    run_id = item.run_ids[-1] if item.run_ids else ""
    return Result.model_validate(
        {
            "key": item.key, "title": item.title, "state": str(item.state),
            "url": str(item.meta.get("url", "")), "project": str(item.meta.get("project", "")),
            "run_id": run_id, "attempts": item.attempts, "seconds": item.seconds, "tokens": item.tokens,
            "patch": _patch(store, str(told.get("patch", ""))), "branch": str(told.get("branch", "")),
            "checks_passed": sum(check.passed for check in checks),
            "checks_failed": sum(not check.passed for check in checks),
            "checks": checks, "diffstat": str(told.get("diffstat", "")), "detail": item.detail,
            "page": f"runs/{run_id}.html" if run_id else "",
        }
    )  # fmt: skip


def _patch(store: Store, sha256: str) -> bytes | None:
    try:
        return store.artifact(sha256) if sha256 else None
    except NotFound:  # a person had it forgotten
        return None


def write(store: Store, told: Told, folder: Path) -> list[Path]:
    """Write the folder. Raises OSError; each file that was there before is then still whole."""
    from agent.page import page

    for result in latest(told.results):
        place = folder / "runs" / f"{result.run_id}.html"
        if result.run_id and not place.exists():
            with suppress(NotFound):  # a person had the run forgotten
                run = store.run(result.run_id)
                put(place, page(run, store.events(run.id), result.patch or b""))
    return write_all(folder, told.results, told.head)


def post_all(backlog: Backlog, told: Told, tell: Callable[[str], object]) -> list[str]:
    """Post the comment of every result that has a run and an issue on the web; what could not be posted."""
    lost = []
    for result in _postable(told):
        key = f"comment {result.key} {result.run_id}"
        if backlog.begin_effect(key).state == "done":
            continue
        issue = Issue(key=result.key, title=result.title or result.key, url=result.url)
        try:
            address = post(issue, comment_text(result), result.run_id)
        except AdiError as error:
            lost.append(str(error))
            continue
        backlog.done_effect(key, {"url": address})
        tell(f"commented: {address}")
    return lost


def _postable(told: Told) -> Iterator[Result]:
    return (result for result in latest(told.results) if result.run_id and result.url)
