"""`adi data consent`, `opt-out` and `forget`: what may become training data, and what must be gone."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli_data_forget import forget as forget

if TYPE_CHECKING:
    from memory.consent import Consent, Consents, ConsentScope
    from memory.store import Store

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Session = Annotated[str, typer.Option(metavar="ID", help="A session, or a run of it.")]
DECISIONS = {"grant": "granted", "refuse": "refused"}


def consent(
    action: Annotated[str, typer.Argument(metavar="[grant|refuse|show]", help="What to do.")] = "show",
    user: Annotated[bool, typer.Option("--user", help="For every run in the memory.")] = False,
    author: Annotated[str, typer.Option(metavar="EMAIL", help="For the runs of one person.")] = "",
    repo: Annotated[Path | None, typer.Option(help="For the runs in a repository.")] = None,
    session: Session = "",
    record: Annotated[str, typer.Option(metavar="RUN", help="For one run.")] = "",
    licence: Annotated[
        str | None, typer.Option(metavar="SPDX", help="Your repository's licence, with grant --repo.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Allow that runs become training data, refuse it, or show what counts; nothing is allowed by default."""
    from agent.errors import UsageError

    if action not in ("show", *DECISIONS):
        raise UsageError(f"no action {action!r}", "use grant, refuse or show")
    if licence is not None and (action != "grant" or repo is None):
        raise UsageError(
            "a licence is declared for a repository", "adi data consent grant --repo . --licence MIT"
        )
    with _store() as store:
        chosen = _scope(store, user, author, repo, session, record)
        if action == "show":
            _show(store, chosen, as_json)
            return
        if chosen is None:
            raise UsageError(
                "say for which runs",
                "use one of --user, --author EMAIL, --repo PATH, --session ID, --record RUN",
            )
        _decide(store, action, *chosen, licence, as_json)


def opt_out(
    author: Annotated[str, typer.Option(metavar="EMAIL", help="A person.")] = "",
    repo: Annotated[str, typer.Option(metavar="URL|PATH", help="A repository, by its address or path.")] = "",
    session: Session = "",
    off: Annotated[bool, typer.Option("--off", help="Take it from the list again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a person, a repository or a session out of every data set; without one show the list."""
    from agent import data_named
    from agent.errors import UsageError
    from memory.consent import Consents

    if sum(map(bool, (author, repo, session))) > 1:
        raise UsageError("one of them at a time", "use --author, --repo or --session")
    with _store() as store:
        consents = Consents(store)
        if author:
            _list_out(consents, "author", [author], off)
        elif repo:
            _list_out(consents, "repository", data_named.places(store, repo), off)
        elif session:
            _list_out(consents, "session", [data_named.session(store, session)], off)
        elif off:
            raise UsageError("say who", "use --author, --repo or --session")
        found = [item.model_dump() for item in consents.opt_outs()]
        if as_json:
            _document("opt-outs", opt_outs=found)
        elif not (author or repo or session):
            for item in found:
                typer.echo(f"{item['kind']:11}{item['hash']}  {item['at'][:16]}")
            if not found:
                typer.echo("nobody has opted out", err=True)


def _list_out(consents: "Consents", kind: Any, values: Sequence[str], off: bool) -> None:
    from agent.inert import inert_line

    for value in values:
        if off:
            gone = consents.opt_in(kind, value)
            typer.echo(
                f"{inert_line(value)} {'is off the list' if gone else 'was not on the list'}", err=True
            )
        else:
            consents.opt_out(kind, value)
            typer.echo(f"{inert_line(value)} is in no data set from now on", err=True)


def _decide(
    store: "Store", action: str, scope: "ConsentScope", key: str, licence: str | None, as_json: bool
) -> None:
    from feedback.permission import NO_TRAIN, has_no_train, spdx
    from memory.consent import Consents

    consents = Consents(store)
    before = consents.decision(scope, key)
    declared = spdx(licence) if licence is not None else before.licence if before is not None else ""
    status: Any = DECISIONS[action]
    made = consents.set(scope, key, status, by=_account(), licence=declared if action == "grant" else "")
    if as_json:
        _document("consent", decisions=[made.model_dump()])
    else:
        typer.echo(_line(made))
    if action == "grant" and scope == "repository" and has_no_train(key):
        typer.echo(
            f"{NO_TRAIN} in the repository still says no: remove it, or nothing of it is used", err=True
        )


def _show(store: "Store", chosen: "tuple[ConsentScope, str] | None", as_json: bool) -> None:
    """What counts everywhere, or the history of one scope; of a run also what follows for it."""
    from memory.consent import Consents

    consents = Consents(store)
    found = consents.all() if chosen is None else consents.history(*chosen)
    verdict = _verdict(store, chosen[1]) if chosen is not None and chosen[0] == "record" else None
    if as_json:
        more = {} if verdict is None else {"may_be_used": not verdict, "reason": verdict}
        _document("consent", decisions=[one.model_dump() for one in found], **more)
        return
    for one in found:
        typer.echo(_line(one))
    if verdict is not None:
        typer.echo(f"this run stays out of data sets: {verdict}" if verdict else "this run may be used")
    elif not found:
        typer.echo("nobody has decided: nothing becomes training data", err=True)


def _verdict(store: "Store", run_id: str) -> str:
    """Why a run is kept out; empty where it may be used."""
    from agent.data_named import sessions
    from feedback.harvest import harvest
    from feedback.permission import judged
    from memory.consent import Consents

    found = harvest(store, run_id, sessions(store)[run_id])
    return judged(found, Consents(store).standing())[1]


def _line(one: "Consent") -> str:
    from agent.inert import inert_line

    what = "every run" if one.scope == "user" and not one.key else f"{one.scope} {one.key}"
    licence = f"  {one.licence}" if one.licence else ""
    return inert_line(f"{one.status:9}{what}{licence}  {one.at[:16]}  {one.by}")


def _scope(
    store: "Store", user: bool, author: str, repo: Path | None, session: str, record: str
) -> "tuple[ConsentScope, str] | None":
    """The one scope that was named, with its key; None for none."""
    from agent import data_named
    from agent.errors import UsageError
    from agent.settings import load, store_place

    if sum((user, bool(author), repo is not None, bool(session), bool(record))) > 1:
        raise UsageError("one scope at a time", "use --user, --author, --repo, --session or --record")
    if user:
        if isinstance(store_place(load().settings), str):
            raise UsageError(
                "the memory is shared: nobody decides for everybody in it", "name yourself: --author EMAIL"
            )
        return "user", ""
    if author:
        return "user", author
    if repo is not None:
        return "repository", data_named.root(store, repo)
    if session:
        return "session", data_named.session(store, session)
    return ("record", store.run(record).id) if record else None


def _account() -> str:
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _document(kind: str, **content: Any) -> None:
    typer.echo(json.dumps({"schema_version": 1, "type": kind, **content}, ensure_ascii=True))


@contextmanager
def _store() -> "Iterator[Store]":
    from agent.settings import load, store_place
    from memory.store import Store

    with Store.open(store_place(load().settings)) as store:
        yield store
