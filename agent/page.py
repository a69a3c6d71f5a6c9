"""A run as one HTML page that needs nothing but itself: `adi show ID --html`.

Guaranteed: no script, and nothing loaded from anywhere (its Content-Security-Policy allows one style sheet,
by its hash); text of strangers is escaped for HTML, and what hides or steers is shown as an escape
(agent/inert.py); what is long is cut, with a note of how much is missing.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agent.figures import count, seconds
from agent.inert import inert
from agent.page_view import view
from memory.records import Event, RunSummary

PAGES: Final = Path(__file__).parent / "pages"


def page(run: RunSummary, events: Sequence[Event], diff: bytes) -> bytes:
    """The page of a run, as UTF-8."""
    style = (PAGES / "run.css").read_text(encoding="utf-8")
    text = (
        environment(PAGES)
        .get_template("run.html")
        .render(view(run, events, diff), style=Markup(style), policy=policy(style))
    )
    return text.encode("utf-8")


def policy(style: str) -> str:
    """A Content-Security-Policy that allows this style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def environment(templates: Path) -> Environment:
    """Templates of a folder, in which every text that strangers wrote is escaped and inert."""
    made = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(seconds=seconds, count=count)
    return made


def _shown(value: object) -> object:
    """Every text that a template puts out, made inert; what was prepared stays as it is."""
    return inert(value) if isinstance(value, str) and not isinstance(value, Markup) else value
