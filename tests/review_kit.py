"""What the tests of `adi review` share: runs that wait for a decision, and a server to ask."""

import contextlib
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path

from agent.person import Unattended
from agent.review_jobs import Jobs
from agent.review_queue import Sessions, waiting
from agent.review_server import ReviewServer
from agent.review_web import Site
from agent.session import Session
from agent.settings import directories
from memory.records import Stop
from memory.store import Store
from tests.agent_kit import CHECK, Script, open_local

MENDS = Script(lines={"calc.py line 2": "return a + b"})
EDITED_LINE = "    return b + a"


def pending(repo: Path, *prompts: str) -> list[str]:
    """Ids of headless runs of the repository whose results wait, in the order of the prompts."""
    made = []
    for prompt in prompts:
        with open_local(repo, MENDS, Unattended(accept=False)) as session:
            outcome = session.run(prompt, (CHECK.command,))
        assert outcome.stop is Stop.PENDING, outcome
        made.append(outcome.run_id)
    return made


@contextlib.contextmanager
def deciding(
    *listeners: Callable[..., None], prepare: Callable[[Session], None] = lambda _: None
) -> Iterator[Sessions]:
    """Sessions on a local sandbox; `prepare` may change each one."""

    @contextlib.contextmanager
    def open_one(repo: str) -> Iterator[Session]:
        with open_local(Path(repo), Script(), Unattended(False), listeners=listeners) as session:
            prepare(session)
            yield session

    with closing(Sessions(open_one)) as sessions:
        yield sessions


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Shows where a page leads instead of going there."""

    def redirect_request(self, *_: object) -> None:
        return None


@dataclass
class Visitor:
    """A browser as far as the server can tell: a cookie, headers, forms."""

    base: str
    """`http://127.0.0.1:PORT/ROOM`."""
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, path: str, form: Mapping[str, str] | None = None, **headers: str
    ) -> tuple[int, str, Mapping[str, str]]:
        """Status, text and headers of an answer; a redirect is not followed."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self.base + path, data)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in ({"Cookie": self.cookie} | self.headers | named).items():
            if value:
                request.add_header(name, value)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
        answer: HTTPResponse | urllib.error.HTTPError
        try:
            answer = opener.open(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status or 0, answer.read().decode(), dict(answer.headers.items())

    def enter(self, token: str) -> None:
        """Exchange the token of an address for the cookie."""
        status, _, headers = self.ask(f"/?token={token}")
        assert status == 200
        self.cookie = headers["set-cookie"].partition(";")[0]

    def act(self, run_id: str, what: str, **form: str) -> tuple[int, str]:
        """Send the form of the run's page as it stands; gives the status, and where it leads or the page."""
        _, page, _ = self.ask(f"/run/{run_id}")
        status, text, headers = self.ask(f"/run/{run_id}/{what}", fields(page) | form)
        return status, headers.get("location", text)


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the first form of a page."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return dict(reversed(found))


@dataclass
class Served:
    """A running server and what is behind it."""

    site: Site
    server: ReviewServer
    errors: list[BaseException]

    def visitor(self, *, enter: bool = True) -> Visitor:
        address = self.server.address("")
        made = Visitor(address.partition("/?token=")[0])
        if enter:
            made.enter(self.site.keys.token)
        return made


@contextlib.contextmanager
def served(
    repo: Path | None,
    prepare: Callable[[Session], None] = lambda _: None,
    *,
    patience_s: float = 60.0,
) -> Iterator[Served]:
    """The review of one repository, or of all, on a port of its own; it waits for what it is told to do."""
    jobs, errors = Jobs(), list[BaseException]()
    with Store.open(directories().database) as store, deciding(jobs.on_event, prepare=prepare) as sessions:
        site = Site(store, sessions, jobs, None if repo is None else str(repo), errors.append, patience_s)
        server = ReviewServer(site)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield Served(site, server, errors)
        finally:
            server.stop()
            thread.join()
            assert jobs.close(30)


def left(repo: Path | None = None) -> list[str]:
    """Ids of the runs that wait."""
    with Store.open(directories().database) as store:
        return [run.id for run in waiting(store, str(repo) if repo else None)]


def edit_of(diff: bytes) -> bytes:
    """The diff with another line added, which mends the program too."""
    changed = diff.replace(b"+    return a + b", f"+{EDITED_LINE}".encode())
    assert changed != diff
    return changed
