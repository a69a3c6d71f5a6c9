"""The review as a web application: pages, and decisions that go the same way as those of a terminal.

One person's page, on their own machine: agent/review_guard.py keeps everybody else out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse

from agent.errors import UsageError, expected
from agent.inert import inert
from agent.page import PAGES, page, policy
from agent.person import Decision
from agent.review_guard import Guard, Keys
from agent.review_jobs import Job, Jobs
from agent.review_page import (
    Frame,
    Message,
    edit_page,
    failure,
    list_page,
    message_page,
    outcome,
    place_of,
    result_page,
    script,
    style,
)
from agent.review_queue import CHECK, Moved, Result, Sessions, Settled, decide, look, timed, waiting
from agent.review_text import editable, restored
from memory.errors import NotFound
from memory.records import RunSummary, Stop
from memory.store import Store

PATIENCE_S: Final = 2.0
"""A page waits so many seconds for a decision before it shows progress instead."""
REASON: Final = 2_000
"""Characters of a reason that are kept."""
What = Literal["accept", "reject", "edit", "check"]


@dataclass(slots=True)
class Site:
    """What the pages show and act on."""

    store: Store
    sessions: Sessions
    jobs: Jobs
    root: str | None
    """The repository whose results are shown; None for all."""
    report: Callable[[BaseException], None]
    """Tells the terminal of an error that nobody expected."""
    patience_s: float = PATIENCE_S
    keys: Keys = field(default_factory=Keys)
    _opened: dict[str, float] = field(default_factory=dict)
    _viewed: set[str] = field(default_factory=set)

    def frame(self, *messages: Message) -> Frame:
        return Frame(self.keys.room, self.keys.form, self.root is None, list(messages))

    def runs(self) -> list[RunSummary]:
        return waiting(self.store, self.root)

    def see(self, run_id: str) -> Result:
        return look(self.store, run_id, self.root)

    def show(self, run_id: str, *messages: Message) -> Response:
        """One result; what came of the last decision on it is told once."""
        result, job = self.see(run_id), self.jobs.last(run_id)
        self._opened.setdefault(result.id, time.monotonic())
        told = list(messages)
        if job is not None and job.done.is_set():
            told.append(outcome(result, job))
            if job.error is None and not (job.settled and job.settled.refused):
                self.jobs.forget(run_id)
        place = place_of(result.id, self.runs())
        return HTMLResponse(result_page(self.frame(*told), result, place, job))

    def edit(self, run_id: str, *messages: Message) -> Response:
        """The diff in a text field; a text that could not be used is there again."""
        result, job = self.see(run_id), self.jobs.last(run_id)
        text, told = editable(result.diff), list(messages)
        if job is not None and job.done.is_set() and job.patch:
            text = inert(job.patch.replace("\r\n", "\n"))
            told.append(outcome(result, job))
        return HTMLResponse(edit_page(self.frame(*told), result, text))

    def whole(self, run_id: str) -> Response:
        """The whole diff, inert, as plain text."""
        result = self.see(run_id)
        self._viewed.add(result.id)
        return PlainTextResponse(inert(result.diff.decode("utf-8", "backslashreplace")))

    def act(self, run_id: str, what: What, form: dict[str, str]) -> Response:
        """Carry out a decision, and lead on: to the next result, or to what came of it."""
        result = self.see(run_id)
        if form.get("mark") != result.mark and not result.decided:
            raise Moved(
                f"the result of run {result.id} changed since you looked at it; nothing was done",
                "look at it again, then decide",
            )
        text = form.get("text", "") if what == "edit" else ""
        decision = self._decision(result, what, text, form)
        if decision is None:
            return self.edit(run_id, Message("careful", ["Nothing was changed, or nothing was left of it."]))
        force = bool(form.get("force"))

        def work() -> Settled:
            return decide(self.sessions.of(result.summary.repo), result, decision, force=force)

        runs = self.runs()
        job = self.jobs.start(Job(result.id, what, work, text))
        job.done.wait(self.patience_s)
        return self._lead_on(result, runs, job)

    def _decision(self, result: Result, what: What, text: str, form: dict[str, str]) -> Decision | None:
        """None for an edit that edits nothing."""
        if what == "check":
            return CHECK
        waited = time.monotonic() - self._opened.get(result.id, time.monotonic())
        reason = " ".join(form.get("reason", "").split())[:REASON]
        patch = restored(text, result.diff) if what == "edit" else b""
        if patch and not patch.endswith(b"\n"):
            patch += b"\n"
        if what == "edit" and (patch == result.diff or not patch.strip()):
            return None
        made = Decision(what, reason=reason if what == "reject" else "", patch=patch)
        return timed(made, waited, viewed=result.id in self._viewed)

    def _lead_on(self, result: Result, runs: list[RunSummary], job: Job) -> Response:
        base, settled = f"/{self.keys.room}/", job.settled
        if job.done.is_set() and settled is not None:
            if settled.refused:
                return RedirectResponse(f"{base}run/{result.id}/edit", HTTPStatus.SEE_OTHER)
            if job.what in ("accept", "reject") and settled.outcome.stop in (Stop.ACCEPTED, Stop.REJECTED):
                self.jobs.forget(result.id)
                after = place_of(result.id, runs).after or place_of(result.id, self.runs()).after
                where = f"run/{after}" if after else ""
                return RedirectResponse(f"{base}{where}?after={result.id}", HTTPStatus.SEE_OTHER)
        return RedirectResponse(f"{base}run/{result.id}", HTTPStatus.SEE_OTHER)

    def became(self, run_id: str) -> list[Message]:
        """One sentence on the result that was decided just before this page; nothing for an unknown run."""
        try:
            result = self.see(run_id) if run_id else None
        except (NotFound, UsageError):
            return []
        if result is None or not result.decided:
            return []
        tone = "good" if result.summary.applied else "careful"
        return [Message(tone, [f"Run {result.id} {result.fate}."])]

    def refusal(self, status: int, text: str) -> Response:
        return HTMLResponse(message_page(self.frame(Message("bad", [text])), "Refused"), status)

    def entered(self) -> Response:
        """Leads on from a page of ours, for a strict cookie is not sent on a way that began elsewhere."""
        going = message_page(self.frame(), "Opening the review", refresh=f"/{self.keys.room}/")
        return HTMLResponse(going)

    def failed(self, error: Exception) -> Response:
        status = HTTPStatus.NOT_FOUND if isinstance(error, NotFound) else HTTPStatus.CONFLICT
        if not expected(error):
            self.report(error)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        return HTMLResponse(message_page(self.frame(failure(error)), "That did not work"), status)


def application(site: Site) -> FastAPI:
    """The application, all of it below a first part of the path that is hard to guess."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(Guard(site.keys, site.refusal, site.entered, site.failed))
    app.include_router(_pages(site), prefix=f"/{site.keys.room}")
    return app


def _pages(site: Site) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def waiting_list(after: Annotated[str, Query(max_length=64)] = "") -> Response:
        return HTMLResponse(list_page(site.frame(*site.became(after)), site.runs()))

    @router.get("/run/{run_id}")
    def one(run_id: str, after: Annotated[str, Query(max_length=64)] = "") -> Response:
        return site.show(run_id, *site.became(after))

    @router.get("/run/{run_id}/edit")
    def edit(run_id: str) -> Response:
        return site.edit(run_id)

    @router.get("/run/{run_id}/diff")
    def diff(run_id: str) -> Response:
        return site.whole(run_id)

    @router.get("/run/{run_id}/story")
    def story(run_id: str) -> Response:
        result = site.see(run_id)
        content = page(result.summary, result.events, result.diff)
        allowed = policy((PAGES / "run.css").read_text(encoding="utf-8"))
        return HTMLResponse(content, headers={"Content-Security-Policy": allowed})

    @router.post("/run/{run_id}/{what}")
    def act(run_id: str, what: What, request: Request) -> Response:
        return site.act(run_id, what, request.state.form)

    @router.get("/review.css")
    def css() -> Response:
        return Response(style(), media_type="text/css")

    @router.get("/review.js")
    def js() -> Response:
        return Response(script(), media_type="text/javascript")

    return router
