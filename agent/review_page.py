"""Pages of the review as HTML: the list, one result, its edit, and messages.

What a repository or a model wrote is escaped, and what hides or steers is shown as an escape: as on a run's
page (agent/page.py), whose look and diff these pages share.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup, escape

from agent.display_log import local_time, state_of
from agent.errors import render
from agent.page import PAGES, environment
from agent.page_view import view
from agent.review_jobs import Job
from agent.review_queue import Result
from agent.review_words import marked
from memory.records import RunSummary, Stop

TEMPLATES: Final = Path(__file__).parent / "review_pages"
DOING: Final = {
    "accept": "Applying the change",
    "reject": "Rejecting the change",
    "edit": "Checking the edited change in the sandbox",
    "check": "Checking the change in the sandbox",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What a page says above everything else."""

    tone: str
    """`good`, `careful` or `bad`."""
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a result stands among those that wait."""

    number: int = 0
    """From 1; 0 when it does not wait."""
    total: int = 0
    before: str = ""
    """Id of the one before it; empty at the beginning."""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """What all pages have in common."""

    room: str
    form: str
    """The token of every form."""
    everywhere: bool
    """Results of several repositories: each is named."""
    messages: list[Message] = field(default_factory=list)


def style() -> bytes:
    """The style sheet: that of a run's page, and what is the review's own."""
    return (PAGES / "run.css").read_bytes() + (TEMPLATES / "review.css").read_bytes()


def script() -> bytes:
    """The keys."""
    return (TEMPLATES / "review.js").read_bytes()


def place_of(run_id: str, runs: Sequence[RunSummary]) -> Place:
    """The result's place; of one that is decided, the first that waits is next."""
    ids = [run.id for run in runs]
    if run_id not in ids:
        return Place(0, len(ids), "", ids[0] if ids else "")
    at = ids.index(run_id)
    return Place(at + 1, len(ids), ids[at - 1] if at else "", ids[at + 1] if at + 1 < len(ids) else "")


def list_page(frame: Frame, runs: Sequence[RunSummary]) -> str:
    """All that wait."""
    rows = [{"run": run, "when": local_time(run.started), "state": state_of(run)} for run in runs]
    return _page("list.html", frame, rows=rows)


def result_page(frame: Frame, result: Result, place: Place, job: Job | None) -> str:
    """One result with its buttons, or how far a decision on it has come."""
    seen = view(result.summary, result.events, result.diff)
    seen["diff"] = marked(seen["diff"])
    busy = job is not None and not job.done.is_set()
    shown = {
        "result": result,
        "place": place,
        "busy": busy,
        "job": job,
        "doing": DOING.get(job.what, "") if job else "",
        "undecided": not result.decided and not result.summary.alive,
    }
    return _page("result.html", frame, **seen, **shown)


def edit_page(frame: Frame, result: Result, text: str) -> str:
    """The diff in a text field; `text` is made inert before (agent/review_text.py)."""
    return _page("edit.html", frame, result=result, text=Markup(escape(text)))


def message_page(frame: Frame, title: str, *, refresh: str = "") -> str:
    """Only its messages; `refresh` is where the browser goes at once."""
    return _page("message.html", frame, title=title, refresh=refresh)


def failure(error: Exception) -> Message:
    """What went wrong, and what helps."""
    return Message("bad", render(error))


def outcome(result: Result, job: Job) -> Message:
    """What came of a decision."""
    if job.error is not None:
        return failure(job.error)
    if job.settled is None:
        return Message("careful", ["Nothing is known of it."])
    if job.settled.refused:
        return Message("bad", list(job.settled.told))
    ended = job.settled.outcome
    if ended.stop is Stop.CONFLICT:
        return Message("bad", [f"Your files changed meanwhile: {ended.detail}."])
    if job.what in ("edit", "check"):
        what = "Your edit" if job.what == "edit" else "The change"
        if result.evaluation.accepted:
            return Message("good", [f"{what} was checked and passes; decide on it now."])
        return Message("careful", [f"{what} was checked, and the verdict does not hold."])
    return Message("good" if ended.stop is Stop.ACCEPTED else "careful", [f"Run {result.id} {result.fate}."])


def _page(name: str, frame: Frame, **values: Any) -> str:
    return environment(TEMPLATES).get_template(name).render(frame=frame, base=f"/{frame.room}", **values)
