"""`adi model adapters | add | promote | rollback | current | retire`: what a model is served with."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agent.errors import UsageError
from agent.inert import inert_line

if TYPE_CHECKING:
    from model.adapter_check import Served
    from model.adapter_store import AdapterStore, Base, Change
    from model.connect import ModelChoice

SCHEMA_VERSION: Final = 1
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of `adi model adapters`.")]
Model = Annotated[str, typer.Option("--model", help="The base; empty: the default.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Reason = Annotated[str, typer.Option(help="Why; it is written down.")]


def add_to(app: typer.Typer) -> None:
    """The commands, below `adi model`."""
    for command in (adapters, add, promote, rollback, current, retire):
        app.command()(command)


def adapters(as_json: AsJson = False) -> None:
    """List the adapters on this disk: base, rows, size, verdict of the gate; * marks those served."""
    store = _choice("").adapters
    rows = [_row(store, name) for name in store.names()]
    if as_json:
        _print({"type": "adapters", "adapters": rows})
        return
    if not rows:
        typer.echo("there are no adapters; adi learn trains one")
    for row in rows:
        mark = "*" if row["current"] else " "
        told = row["verdict"] or "not judged"
        size = f"{row['size'] / 1e6:.1f} MB"
        typer.echo(
            inert_line(f"{mark} {row['name']:<32} {row['base']:<22} {row['rows']:>5} rows {size:>9}  {told}")
        )


def add(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An adapter as PEFT writes it.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The data set of `adi data export` that it was trained on."),
    ] = None,
    model: Model = "",
    as_json: AsJson = False,
) -> None:
    """Take in an adapter that was trained elsewhere. It is judged and promoted as any other one.

    With --data the gate knows the runs it was trained on, and refuses held-out tasks that share something.
    """
    from agent.errors import EnvironmentMissing
    from agent.learn_parts import wish_of
    from agent.settings import directories, load
    from feedback.folder import MANIFEST, manifest_of
    from model.adapter_store import Facts
    from model.store import file_sha256
    from model.train_job import Settings as Training

    settings, places = load(None, {"model": {"name": model or None}}).settings, directories()
    wish = wish_of(settings, places, Training(), 0.0)
    told = Facts(training={"trained": "elsewhere"})
    if data is not None:
        runs = tuple(sorted(map(str, manifest_of(data).get("runs", ()))))
        told = told.model_copy(update={"rows": runs, "dataset_sha256": file_sha256(data / MANIFEST)})
    try:
        from model.adapter_add import add as take
    except ModuleNotFoundError as missing:
        raise EnvironmentMissing(
            f"adapters are read with what is not installed: {missing.name}", "pip install 'adi-agent[learn]'"
        ) from missing
    kept = _choice(model).adapters
    made = take(kept, folder, wish.base, wish.weights, told, cache=wish.cache)
    if as_json:
        _print({"type": "added", "adapter": made.name, "base": made.base.name, "rows": len(made.rows)})
        return
    typer.echo(inert_line(made.name))
    if data is None:
        _say("warning: without --data nobody can tell whether held-out tasks were trained on")
    _say(f"next: adi learn gate {made.name}")


def promote(
    name: Name,
    force: Annotated[
        str, typer.Option(metavar="REASON", help="Without the gate's PROMOTE; the reason is written down.")
    ] = "",
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Serve an adapter from now on. A running server takes it without a restart, and is read back."""
    store = _choice("").adapters
    found = store.get(name)
    served: list[Served | None] = []
    made = store.promote(
        name,
        reason=force or reason,
        force=bool(force),
        ready=lambda: served.append(_on_the_server(found.base, store, name)),
    )
    _tell_change(made, served, as_json)


def rollback(model: Model = "", reason: Reason = "", as_json: AsJson = False) -> None:
    """Serve what was served before, at last the base alone."""
    choice = _choice(model)
    base, store = choice.base(), choice.adapters
    served: list[Served | None] = []
    made = store.rollback(
        base.sha256,
        reason=reason,
        ready=lambda name: served.append(_on_the_server(base, store, name) if name else None),
    )
    _tell_change(made, served, as_json)


def current(model: Model = "", as_json: AsJson = False) -> None:
    """Say which adapter is served, and what a running server has loaded of it."""
    choice = _choice(model)
    base, store = choice.base(), choice.adapters
    name = store.current(base.sha256)
    if name:
        store.check(name)
    history = [change.model_dump() for change in store.history() if change.base == base.sha256]
    loaded = _loaded(base)
    if as_json:
        _print({"type": "current", "base": base.name, "adapter": name, "loaded": loaded, "history": history})
        return
    typer.echo(inert_line(f"{base.name} is served with {name}" if name else f"{base.name} is served alone"))
    for one in history[-5:]:
        why = f": {one['reason']}" if one["reason"] else ""
        what = f"{one['action']} {one['adapter'] or 'to the base'}"
        typer.echo(inert_line(f"  {one['at']} {what}{' (forced)' * one['forced']}{why}"))


def retire(name: Name, reason: Reason, as_json: AsJson = False) -> None:
    """Remove an adapter for good, such as one whose rows were forgotten."""
    if not reason.strip():
        raise UsageError("retiring needs a reason, which is written down", "--reason TEXT")
    made = _choice("").adapters.retire(name, reason)
    if as_json:
        _print({"type": "change"} | made.model_dump())
    else:
        _say(f"{name} is gone")


def _choice(model: str) -> "ModelChoice":
    from agent.models import choice_of
    from agent.settings import directories, load

    flags = {"model": {"name": model or None}}
    return choice_of(load(None, flags).settings, directories())


def _row(store: "AdapterStore", name: str) -> dict[str, Any]:
    found, word = store.get(name), store.verdict(name)
    return {
        "name": name,
        "base": found.base.name,
        "base_sha256": found.base.sha256,
        "rows": len(found.rows),
        "rank": found.rank,
        "parent": found.parent,
        "created": found.created,
        "verdict": word.verdict if word else "",
        "report": word.report if word else "",
        "size": store.size(name),
        "current": store.current(found.base.sha256) == name,
    }


def _on_the_server(base: "Base", store: "AdapterStore", name: str) -> "Served | None":
    """Have the running server of this base load the adapter, and read it back; None when none runs.

    Raises ServerFailed when it does not serve it; then nothing is promoted.
    """
    from agent.settings import directories
    from model.adapter_check import check_served
    from model.server import adapted, find

    folder = directories().server
    state = find(folder)
    if state is None or not _serves(base, state.sha256, state.name):
        return None
    state = adapted(state, ((name, str(store.path(name))),), folder, _say)
    return check_served(state, store, name)


def _loaded(base: "Base") -> list[str]:
    """Adapters that the running server of a base has loaded."""
    from agent.settings import directories
    from model.server import find, loaded

    state = find(directories().server)
    return sorted(loaded(state)) if state and _serves(base, state.sha256, state.name) else []


def _serves(base: "Base", sha256: str, name: str) -> bool:
    """Whether a server's weights are the base; one of a path tells no hash, but its name."""
    return sha256 == base.sha256 if sha256 else name == base.name


def _tell_change(made: "Change", read: "list[Served | None]", as_json: bool) -> None:
    """`read` is what the server told, empty when nothing had to be changed."""
    served = next(iter(read), None)
    if as_json:
        what = {"type": "change", "changed": bool(read), "served": served and served.model_dump()}
        _print(what | made.model_dump())
        return
    if not read:
        _say(f"{made.adapter} is served already")
        return
    line = f"{made.adapter} is served from now on" if made.adapter else "the base is served alone from now on"
    _say(f"{line} (before: {made.before or 'the base alone'}){', forced' * made.forced}")
    if served:
        told = f"{served.differing} of {served.canaries} canaries"
        _say(f"read back from the server: it answers otherwise than the base after {told}")
    elif made.adapter:
        _say("no server of this base was running: the next one serves it")


def _print(told: dict[str, Any]) -> None:
    typer.echo(json.dumps({"schema_version": SCHEMA_VERSION} | told))


def _say(line: str) -> None:
    from agent.display_wrap import tell

    tell(line, sys.stderr)
