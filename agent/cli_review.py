"""`adi review`: results that wait, decided one by one at a terminal, by flags, or on a local web page."""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli_run import HERE, Color, Repo, Yes, front, list_waiting, session_of, somebody_is_there
from agent.errors import NEEDS_PERSON, UsageError
from agent.person import Unattended

if TYPE_CHECKING:
    from agent.percolate import Listener
    from agent.review_queue import Sessions
    from agent.session import Session
    from agent.settings import Settings
    from memory.records import RunSummary
    from memory.store import Store


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for, apart from how it is shown."""

    run_id: str | None
    repo: Path
    everywhere: bool
    color: str | None

    @property
    def flags(self) -> dict[str, dict[str, object]]:
        return {"ui": {"color": self.color}}


@dataclass(frozen=True, slots=True)
class Desk:
    """What every way of deciding needs."""

    store: "Store"
    sessions: "Sessions"
    settings: "Settings"
    root: str | None
    """The repository; None for all of them."""

    def waiting(self) -> "list[RunSummary]":
        """What waits, once runs whose process died are closed."""
        from agent.review_queue import waiting

        if self.root is not None:
            self.sessions.of(self.root)
        return waiting(self.store, self.root)


def review(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Only this one.")] = None,
    repo: Repo = HERE,
    everywhere: Annotated[bool, typer.Option("--all", help="Results of all repositories.")] = False,
    as_list: Annotated[bool, typer.Option("--list", help="Print what waits, and ask nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: JSON for programs.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Accept RUN, and ask nothing.")] = False,
    reject: Annotated[
        str | None, typer.Option("--reject", metavar="REASON", help="Reject RUN, and ask nothing.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --accept: although the verdict does not hold.")
    ] = False,
    web: Annotated[bool, typer.Option("--web", help="On a web page that only this machine sees.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --web: its port; 0 takes a free one.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="With --web: only print the address.")
    ] = False,
    yes: Yes = False,
    color: Color = None,
) -> None:
    """Decide on results that wait: see the diff, then accept, reject or edit, one by one."""
    wish = Wish(run_id, repo, everywhere, color)
    ways = {"--list": as_list, "--accept": accept, "--reject": reject is not None, "--web": web, "--yes": yes}
    _check_flags([name for name, given in ways.items() if given], wish, as_json, force)
    if as_list:
        _print_list(wish, as_json)
        code = 0
    elif accept or reject is not None:
        code = _decide_now(wish, reject, force)
    elif web:
        code = _serve(wish, port, browse=not no_browser)
    elif yes or not somebody_is_there():
        code = _unattended(wish, yes)
    else:
        code = _one_by_one(wish)
    raise typer.Exit(code)


def _check_flags(ways: list[str], wish: Wish, as_json: bool, force: bool) -> None:
    if len(ways) > 1:
        raise UsageError(f"{' and '.join(ways)} do not go together", "give one of them")
    way = ways[0] if ways else ""
    if way in ("--accept", "--reject") and wish.run_id is None:
        raise UsageError(f"{way} needs a run", f"adi review --list, then adi review RUN {way}")
    if way in ("--list", "--web") and wish.run_id is not None:
        raise UsageError(f"{way} is about all that wait", f"adi review {way}")
    if as_json and way != "--list":
        raise UsageError("--json belongs to --list", "adi review --list --json")
    if force and way != "--accept":
        raise UsageError("--force belongs to --accept", "adi review RUN --accept --force")


@contextmanager
def _desk(wish: Wish, *listeners: "Listener") -> Iterator[Desk]:
    """Store and sessions, opened once and closed always."""
    from agent.display_wrap import tell
    from agent.review_queue import Sessions
    from agent.session import open_session
    from agent.settings import load, store_place
    from memory.store import Store
    from sandbox.repository import locate

    def open_one(repo: str) -> "AbstractContextManager[Session]":
        place = locate(Path(repo)).root
        return open_session(load(place, wish.flags).settings, place, Unattended(False), listeners)

    root = None if wish.everywhere else locate(wish.repo).root
    loaded = load(root, wish.flags)
    for warning in loaded.warnings:
        tell(f"warning: {warning}", sys.stderr)
    with Store.open(store_place(loaded.settings)) as store, closing(Sessions(open_one)) as sessions:
        yield Desk(store, sessions, loaded.settings, str(root) if root else None)


def _one_by_one(wish: Wish) -> int:
    from agent.display import Display, make_console
    from agent.review_ask import OneByOne, drawing
    from agent.review_person import Reviewer
    from agent.review_queue import look
    from agent.settings import directories, load

    color = load(None, wish.flags).settings.ui.color
    with Display(make_console(sys.stderr, color)) as display, _desk(wish, drawing(display)) as desk:
        found = (
            [look(desk.store, wish.run_id, desk.root).summary] if wish.run_id is not None else desk.waiting()
        )
        if not found:
            _nothing(wish)
            return 0
        person = Reviewer(display, sys.stdin)
        return OneByOne(desk.store, desk.sessions, display, person, directories().patches).ask(found)


def _unattended(wish: Wish, yes: bool) -> int:
    """Nobody is asked: with --yes what its verdict accepts is applied, else what waits is listed."""
    codes, waiting = list[int](), False
    for repo in _repositories(wish):
        with front(repo, wish.flags, yes=yes) as f:
            found = [wish.run_id] if wish.run_id else [summary.id for summary in list_waiting(f)]
            waiting = waiting or bool(found)
            if found and (yes or wish.run_id):
                with session_of(f) as session:
                    codes += [session.review(one).exit_code for one in found]
    if waiting and not codes:
        return NEEDS_PERSON
    return next((code for code in codes if code), 0)


def _repositories(wish: Wish) -> list[Path]:
    """Where to look; with --all the repository of the run, or all that have something waiting."""
    if not wish.everywhere:
        return [wish.repo]
    with _desk(wish) as desk:
        runs = [desk.store.run(wish.run_id)] if wish.run_id else desk.waiting()
    if not runs:
        _nothing(wish)
    return [Path(repo) for repo in dict.fromkeys(run.repo for run in runs)]


def _decide_now(wish: Wish, reason: str | None, force: bool) -> int:
    """Accept, or reject for a reason. Raises what `review_queue.decide` raises."""
    from agent.inert import inert_line
    from agent.person import Decision
    from agent.review_queue import CHECK, check_state, decide, look

    decision = Decision("accept") if reason is None else Decision("reject", reason=reason.strip())
    with _desk(wish) as desk:
        seen = look(desk.store, wish.run_id or "", desk.root)
        check_state(seen, seen)
        session = desk.sessions.of(seen.summary.repo)
        if decision.action == "accept" and not seen.judged:
            decide(session, seen, CHECK)
            seen = look(desk.store, seen.id)
        outcome = decide(session, seen, decision, force=force).outcome
    sentence = " ".join(filter(None, (f"{outcome.stop}.", outcome.detail)))
    typer.echo(inert_line(f"run {outcome.run_id}: {sentence}"))
    return outcome.exit_code


def _print_list(wish: Wish, as_json: bool) -> None:
    from agent.display_log import run_json, run_rows
    from memory.records import SCHEMA_VERSION

    with _desk(wish) as desk:
        found = desk.waiting()
    if as_json:
        document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "type": "waiting"}
        typer.echo(json.dumps({**document, "runs": [run_json(run) for run in found]}, ensure_ascii=True))
    elif found:
        typer.echo("\n".join(run_rows(found)))
    else:
        _nothing(wish)


def _nothing(wish: Wish) -> None:
    where = "" if wish.everywhere else " here"
    typer.echo(f"Nothing waits for a decision{where}.", err=True)


def _serve(wish: Wish, port: int, *, browse: bool) -> int:
    """Serve the page until Ctrl-C; its address is the one line on stdout."""
    from agent.cli import error_lines
    from agent.display_wrap import tell
    from agent.review_jobs import Jobs
    from agent.review_server import serve

    def report(error: BaseException) -> None:
        for line in error_lines(error):
            tell(line, sys.stderr)

    jobs = Jobs()
    with _desk(wish, jobs.on_event) as desk:
        desk.waiting()
        serve(desk.store, desk.sessions, jobs, desk.root, port, browse=browse, report=report)
    return 0
