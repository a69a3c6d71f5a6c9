"""A backlog's results as one HTML page: no script, nothing loaded, failures first, links to run pages."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from agent.backlog_item import web_address
from agent.backlog_results import STATES, Head, Result, State, exit_code, totals
from agent.page import PAGES, environment, policy

TITLE: Final = 200
DETAIL: Final = 400
TONES: Final[dict[State, str]] = {
    "solved": "good",
    "unsolved": "bad",
    "infra-error": "bad",
    "parked": "bad",
    "needs-human": "careful",
    "cancelled": "",
    "superseded": "",
}
ENDS: Final = {
    0: "Every item was accepted by evidence.",
    3: "Not every item was accepted.",
    4: "A person is needed.",
    5: "A budget is spent.",
    6: "The environment failed.",
}
"""Exit codes in words."""


def page(results: Sequence[Result], head: Head) -> bytes:
    """The page, as UTF-8."""
    style = "".join((PAGES / name).read_text(encoding="utf-8") for name in ("run.css", "backlog.css"))
    ordered = sorted(results, key=lambda result: STATES.index(result.standing))  # stable: else as they came
    code = exit_code(results, head)
    text = (
        environment(PAGES)
        .get_template("backlog.html")
        .render(
            head=head,
            totals=totals(results, head),
            rows=[_row(result) for result in ordered],
            tone="good" if code == 0 else "careful" if code in (4, 5) else "bad",
            ends="Items are still waiting." if head.waiting and code == 3 else ENDS[code],
            code=code,
            tones=TONES,
            style=style,
            policy=policy(style),
        )
    )
    return text.encode("utf-8")


def _row(result: Result) -> dict[str, Any]:
    size = None if result.patch is None else len(result.patch)
    return {
        "key": _short(result.key, TITLE),
        "title": _short(result.title, TITLE),
        "url": result.url if web_address(result.url) else "",
        "page": local_link(result.page),
        "state": result.standing,
        "tone": TONES[result.standing],
        "detail": _short(result.sentence, DETAIL),
        "run": result.run_id,
        "branch": result.branch,
        "patch": size,
        "passed": result.checks_passed,
        "failed": result.checks_failed,
        "attempts": result.attempts,
        "seconds": result.seconds,
        "tokens": result.tokens,
    }


def local_link(page: str) -> str:
    """A link below the page's own folder; empty for what leads elsewhere."""
    path = PurePosixPath(page)
    if not page or path.is_absolute() or ".." in path.parts or "\\" in page:
        return ""
    return "./" + quote(path.as_posix())


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
