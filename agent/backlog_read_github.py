"""Issues of GitHub: the JSON of `gh issue list` or `gh issue view`, REST's too, or asked of `gh` itself.

A tracker that goes away midway ends the reading with a `Bad` that has a cursor: the time at which the last
issue that was read was opened. Issues are asked for oldest first, so what is read on from there is what was
not read, whatever was closed or opened meanwhile.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agent.backlog_item import Bad, clean, reason, web_address
from agent.backlog_repos import Found
from agent.backlog_rows import Row, rows
from agent.errors import EnvironmentMissing, UsageError

MARKER: Final = "<!-- adi:backlog "
"""What a comment of ADI's own begins with (agent/backlog_comment.py)."""
FIELDS: Final = "number,title,body,labels,author,comments,state,stateReason,createdAt,updatedAt,url"
PAGE: Final = 100
MOST: Final = 1_000
"""Issues that GitHub's search gives for one query."""
PATIENCE_S: Final = 120.0
COMMENTS: Final = 50
_PROJECT: Final = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,100}/(?!\.)[A-Za-z0-9_.-]{1,100}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Person(_Part):
    login: str = ""


class _Comment(_Part):
    author: _Person | None = None
    user: _Person | None = None
    body: str | None = ""
    createdAt: str = ""
    created_at: str = ""

    def told(self) -> dict[str, Any]:
        person = self.author or self.user or _Person()
        return {
            "author": clean(person.login),
            "body": clean(self.body or ""),
            "created": self.createdAt or self.created_at,
        }


class _Label(_Part):
    name: str


class Issue(_Part):
    """An issue by gh's names or by REST's."""

    number: int = Field(ge=1)
    title: str
    body: str | None = ""
    labels: tuple[_Label | str, ...] = ()
    author: _Person | None = None
    user: _Person | None = None
    state: str = "open"
    url: str = ""
    html_url: str = ""
    createdAt: str = ""
    created_at: str = ""
    updatedAt: str = ""
    updated_at: str = ""
    comments: tuple[_Comment, ...] = ()
    pull_request: dict[str, Any] | None = None

    @field_validator("comments", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """REST tells only how many there are."""
        return () if isinstance(value, int) or value is None else value

    @field_validator("labels", mode="before")
    @classmethod
    def _labelled(cls, value: object) -> object:
        return () if value is None else value

    @property
    def web(self) -> str:
        """The issue's address, where it is one of a web page."""
        address = self.html_url or self.url
        return address if web_address(address) else ""

    @property
    def created(self) -> str:
        """When it was opened, as GitHub says it."""
        return self.createdAt or self.created_at


def is_issue(value: Mapping[str, Any]) -> bool:
    """True for a row that looks like an issue of GitHub."""
    return "number" in value and "title" in value


def read_row(row: Row, project: str = "") -> Found | Bad:
    """The issue of a row. `project` is used where the row does not say whose it is."""
    try:
        issue = Issue.model_validate(row.value)
    except ValidationError as error:
        return Bad(where=row.where, why=reason(error))
    if issue.pull_request is not None:
        return Bad(where=row.where, why=f"#{issue.number} is a pull request, not an issue")
    project = _project_of(issue.web) or project
    person = issue.author or issue.user or _Person()
    comments = [comment.told() for comment in issue.comments if not (comment.body or "").startswith(MARKER)]
    return Found(
        where=row.where,
        project=project,
        values={
            "key": f"{project}#{issue.number}",
            "title": issue.title.strip() or f"Issue {issue.number}",
            "body": issue.body or "",
            "labels": tuple(label if isinstance(label, str) else label.name for label in issue.labels),
            "url": issue.web,
            "state": "closed" if issue.state.lower() == "closed" else "open",
            "meta": {
                "kind": "github",
                "project": project,
                "number": issue.number,
                "author": clean(person.login),
                "created": issue.created,
                "updated": issue.updatedAt or issue.updated_at,
                "comments": comments[-COMMENTS:],
            },
        },
    )


def _project_of(address: str) -> str:
    parts = urlsplit(address).path.strip("/").split("/")
    name = "/".join(parts[:2])
    return name if len(parts) == 4 and parts[2] == "issues" and _PROJECT.fullmatch(name) else ""


def read_tracker(project: str, *, since: str = "", state: str = "open") -> Iterator[Found | Bad]:
    """Issues of `owner/name`, oldest first, by `gh`; `since` is the cursor of an earlier reading.

    Raises UsageError for a name or cursor that is none, EnvironmentMissing when `gh` gives nothing at all.
    """
    if not _PROJECT.fullmatch(project):
        raise UsageError(f"{project!r} is not owner/name", "such as gh:octocat/hello")
    if since and not _TIME.fullmatch(since):
        raise UsageError(f"{since!r} is no cursor", "such as 2026-11-23T08:00:00Z, as the message said it")
    seen: set[int] = set()
    limit, cursor = PAGE, since
    while True:
        with tempfile.TemporaryFile() as page:
            lost = _ask(project, cursor, state, limit, page)
            before, count, last = len(seen), 0, cursor
            page.seek(0)
            for row in rows(page, f"gh:{project}") if not lost else ():
                count += isinstance(row, Row)
                if isinstance(row, Bad):
                    if row.why != "holds no rows":
                        yield row
                elif (number := row.value.get("number")) not in seen:
                    seen.add(number if isinstance(number, int) else -count)
                    found = read_row(row, project)
                    yield found
                    last = _created(row, last)
        if lost and not seen and not since:
            raise EnvironmentMissing(f"gh cannot list the issues of {project}: {lost}", "gh auth status")
        if lost:
            after = f" after {cursor}" if cursor else ""
            yield Bad(where=f"gh:{project}{after}", why=f"the tracker went away: {lost}", cursor=cursor)
        if lost or count < limit:
            return
        if len(seen) == before or last == cursor:  # more were opened in one second than a page has
            if limit >= MOST:
                yield Bad(
                    where=f"gh:{project}", why=f"more than {MOST} issues of {cursor}; the rest is unread"
                )
                return
            limit = min(MOST, limit * 2)
        cursor = last


def _created(row: Row, last: str) -> str:
    time = row.value.get("createdAt")
    return max(last, time) if isinstance(time, str) and _TIME.fullmatch(time) else last


def _ask(project: str, cursor: str, state: str, limit: int, page: BinaryIO) -> str:
    """One page of issues into a file. Gives what went wrong, in gh's own words; empty when nothing did."""
    query = "sort:created-asc" + (f" created:>={cursor}" if cursor else "")
    asked = ["issue", "list", "--repo", project, "--state", state, "--limit", str(limit), "--search", query]
    return call([*asked, "--json", FIELDS], page)


def call(arguments: list[str], into: BinaryIO, text: str | None = None) -> str:
    """Run `gh`, which never asks anything. Gives what went wrong; empty when nothing did.

    Raises EnvironmentMissing where it is not installed.
    """
    program = shutil.which("gh")
    if program is None:
        raise EnvironmentMissing(
            "gh is not installed", "https://cli.github.com, or give ADI the JSON as a file"
        )
    quiet = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1", "GH_PAGER": "cat"}
    with tempfile.TemporaryFile() as told:
        try:
            ended = subprocess.run(
                [program, *arguments],
                input=(text or "").encode(),
                stdout=into,
                stderr=told,
                env={**os.environ, **quiet},
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"gh said nothing for {PATIENCE_S:.0f} s"
        except OSError as error:
            return f"gh cannot be started: {error.strerror}"
        told.seek(0)
        words = told.read(4_000).decode("utf-8", "replace").strip().splitlines()
    return "" if ended.returncode == 0 else (words[-1] if words else f"gh ended with {ended.returncode}")
