"""`adi backlog`: work off many issues without anybody there, and tell what came of them."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from agent.errors import UsageError
from agent.inert import inert_line

if TYPE_CHECKING:
    from agent.backlog_flow import Job
    from agent.backlog_run import Orders
    from agent.output import Format
    from agent.settings import Settings
    from memory.backlog import Backlog
    from memory.backlog_records import BacklogLimits
    from memory.store import Store

app = typer.Typer(
    help="Work off a backlog of issues without anybody there.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="JSON of gh issue list or view (- reads stdin), gh:owner/name, a folder of Markdown issues, "
        "SWE-bench rows, or Harbor tasks.",
    ),
]
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Default: the newest backlog.")]
Called = Annotated[str | None, typer.Option("--name", help="Of the backlog; default: after its source.")]
Repo = Annotated[Path | None, typer.Option("--repo", help="The repository of all items.")]
Repos = Annotated[Path | None, typer.Option("--repos", help="Folder with the repository of each project.")]
KindOf = Annotated[str | None, typer.Option("--kind", help="github, markdown, swebench or harbor.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Items at once.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the results.")]
OnePerRepo = Annotated[bool, typer.Option("--one-per-repo", help="One item of a repository at a time.")]
ItemWall = Annotated[
    float | None, typer.Option("--item-wall", min=0, help="Seconds of one item; 0: no limit.")
]
ItemTokens = Annotated[int | None, typer.Option("--item-tokens", min=0, help="Tokens written for one item.")]
Tries = Annotated[int | None, typer.Option("--tries", min=1, help="Tries of an item after infra errors.")]
Wall = Annotated[float | None, typer.Option("--wall", min=0, help="Seconds of work, all workers together.")]
Tokens = Annotated[int | None, typer.Option("--tokens", min=0, help="Tokens written for all items.")]
Branches = Annotated[bool, typer.Option("--branches", help="Make a branch adi/backlog/KEY of each change.")]
Comment = Annotated[bool, typer.Option("--comment", help="Post what came of each issue, once, by gh.")]
FormatOf = Annotated[str, typer.Option("--output-format", help="text, json or stream-json.")]
Model = Annotated[str | None, typer.Option("--model", help="Model by name.")]
Url = Annotated[str | None, typer.Option("--url", help="OpenAI-compatible server to ask.")]
Color = Annotated[str | None, typer.Option("--color", help="auto, always or never.")]
NoMemory = Annotated[bool, typer.Option("--no-memory", help="Without what earlier runs taught.")]
Parked = Annotated[bool, typer.Option("--parked", help="Try items again that were put aside.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON for programs.")]


@app.command()
def run(
    source: Source, name: Called = None, repo: Repo = None, repos: Repos = None, kind: KindOf = None,
    jobs: Jobs = 1, out: Out = None, one_per_repo: OnePerRepo = False,
    item_wall: ItemWall = None, item_tokens: ItemTokens = None, tries: Tries = None,
    wall: Wall = None, tokens: Tokens = None, branches: Branches = False, comment: Comment = False,
    output_format: FormatOf = "text", model: Model = None, url: Url = None, color: Color = None,
    no_memory: NoMemory = False,
) -> None:  # fmt: skip
    """Read a source, work off every issue of it, and write the results. The same again goes on."""
    from agent.backlog_flow import work

    form, flags = _format(output_format), _flags(model, url, color, no_memory)
    limits = _limits(item_wall, item_tokens, tries, wall, tokens)
    orders = _orders(jobs, flags, form, one_per_repo=one_per_repo, branches=branches)
    settings = _settings(flags)
    with _store(settings) as store:
        backlog = _taken_in(store, source, name, repo, repos, kind, limits)
        job = _job(orders, settings, backlog, out, form, comment=comment)
        code = work(store, backlog, job)
    raise typer.Exit(code)


@app.command()
def add(
    source: Source, name: Called = None, repo: Repo = None, repos: Repos = None, kind: KindOf = None,
    item_wall: ItemWall = None, item_tokens: ItemTokens = None, tries: Tries = None,
    wall: Wall = None, tokens: Tokens = None,
) -> None:  # fmt: skip
    """Read a source into a backlog, to be worked off later; known issues are not added twice."""
    with _store(_settings({})) as store:
        limits = _limits(item_wall, item_tokens, tries, wall, tokens)
        backlog = _taken_in(store, source, name, repo, repos, kind, limits)
        typer.echo(inert_line(backlog.info().name))


@app.command()
def resume(
    name: Name = None, jobs: Jobs = 1, out: Out = None, one_per_repo: OnePerRepo = False,
    item_wall: ItemWall = None, item_tokens: ItemTokens = None, tries: Tries = None,
    wall: Wall = None, tokens: Tokens = None, branches: Branches = False, comment: Comment = False,
    output_format: FormatOf = "text", model: Model = None, url: Url = None, color: Color = None,
    no_memory: NoMemory = False, parked: Parked = False,
) -> None:  # fmt: skip
    """Go on with a backlog: what waits, what a crash left, what infra errors ended, what was cancelled."""
    from agent.backlog_flow import work

    form, flags = _format(output_format), _flags(model, url, color, no_memory)
    orders = _orders(jobs, flags, form, one_per_repo=one_per_repo, branches=branches)
    settings = _settings(flags)
    with _store(settings) as store:
        backlog = _found(store, name)
        _allow(backlog, _limits(item_wall, item_tokens, tries, wall, tokens))
        if backlog.info().state != "open":
            backlog.reopen()
        job = _job(orders, settings, backlog, out, form, comment=comment, parked=parked)
        code = work(store, backlog, job)
    raise typer.Exit(code)


@app.command("list")
def list_backlogs(as_json: AsJson = False) -> None:
    """List the backlogs, the newest first, with how their items stand."""
    from memory.backlog import Backlog

    with _store(_settings({})) as store:
        rows = [Backlog(store, info.id).status() for info in Backlog.all(store)]
    if as_json:
        typer.echo(json.dumps([row.model_dump(mode="json") for row in rows]))
        return
    for row in rows:
        counts = ", ".join(f"{count} {state}" for state, count in row.counts.items() if count)
        told = f"{row.info.name}  {row.info.id}  {row.info.created[:16]}  {counts or 'empty'}"
        typer.echo(inert_line(told))
    if not rows:
        typer.echo("There is no backlog yet: adi backlog run SOURCE", err=True)


@app.command()
def status(name: Name = None, items: Annotated[bool, typer.Option("--items", help="List the items.")] = False,
           as_json: AsJson = False) -> None:  # fmt: skip
    """Show how a backlog stands."""
    with _store(_settings({})) as store:
        backlog = _found(store, name)
        now = backlog.status()
        if as_json:
            told = now.model_dump(mode="json")
            listed = [item.model_dump(mode="json") for item in backlog.each()] if items else []
            typer.echo(json.dumps(told | ({"items": listed} if items else {})))
            return
        typer.echo(inert_line(f"{now.info.name}  {now.info.id}  {now.info.state}  {now.info.source}"))
        for state, count in now.counts.items():
            if count:
                typer.echo(f"  {state:<12} {count}")
        spent = f"{now.info.seconds:.0f} s, {now.info.tokens} tokens, {now.info.tries} tries"
        typer.echo(f"  spent: {spent}")
        for warning in filter(None, (now.spent, f"{now.expired} leases ran out" if now.expired else "")):
            typer.echo(f"  {warning}")
        for item in backlog.each() if items else ():
            first = (item.detail.splitlines() or [""])[0]
            typer.echo(inert_line(f"{item.state:<12} {item.key}  {item.title[:60]}  {first[:100]}".rstrip()))


@app.command()
def cancel(
    name: Name = None,
    item: Annotated[str | None, typer.Option("--item", help="Only the item with this key.")] = None,
) -> None:
    """Cancel what waits and what runs; `adi backlog resume` takes it back."""
    with _store(_settings({})) as store:
        count = _found(store, name).cancel(item)
    typer.echo(f"{count} cancelled" if count else "Nothing was waiting or running.")


@app.command()
def report(
    name: Name = None, out: Out = None, comment: Comment = False, output_format: FormatOf = "text"
) -> None:
    """Write the results so far, and with --comment post them; nothing is run. Exit code as of `run`."""
    from agent.backlog_flow import tell_results

    form = _format(output_format)
    settings = _settings({})
    with _store(settings) as store:
        backlog = _found(store, name)
        job = _job(_orders(1, {}, form), settings, backlog, out, form, comment=comment)
        code = tell_results(store, backlog, job)
    raise typer.Exit(code)


def _taken_in(
    store: "Store", source: str, name: str | None, repo: Path | None, repos: Path | None,
    kind: str | None, limits: "dict[str, Any]",
) -> "Backlog":  # fmt: skip
    """The backlog with everything of the source in it; what of it is no item is told."""
    from agent.backlog_intake import existing, name_of, take_in
    from agent.backlog_sources import KINDS, read
    from agent.display_wrap import tell
    from memory.backlog import Backlog

    if kind is not None and kind not in KINDS:
        raise UsageError(f"no kind {kind!r}", f"one of: {', '.join(KINDS)}")
    found = read(
        source, repo=repo if repo or repos else _here(source), repos=repos, kind=cast(Any, kind),
        stdin=sys.stdin.buffer if source == "-" else None,
    )  # fmt: skip
    called = name or name_of(source)
    backlog = existing(store, called)
    if backlog is None:
        known = source if source == "-" or source.startswith("gh:") else str(Path(source).absolute())
        backlog = Backlog.create(store, called, source=known, limits=_merged(None, limits))
    else:
        _allow(backlog, limits)
    taken = take_in(backlog, source, found)
    for bad in taken.bad:
        tell(f"warning: {bad.where}: {bad.why}", sys.stderr)
    counts = ", ".join(f"{count} {what}" for what, count in taken.counts.model_dump().items() if count)
    tell(f"backlog {called}: {counts or 'no items'}", sys.stderr)
    return backlog


def _here(source: str) -> Path | None:
    """The repository around, for issues of one: rows of data sets name theirs."""
    from sandbox.errors import SandboxError
    from sandbox.repository import locate

    if source.endswith(".jsonl") or (Path(source) / "task.toml").exists():
        return None
    try:
        return locate(Path()).root
    except SandboxError:
        return None


def _limits(
    item_wall: float | None,
    item_tokens: int | None,
    tries: int | None,
    wall: float | None,
    tokens: int | None,
) -> dict[str, Any]:
    told = {
        "item_seconds": item_wall, "item_tokens": item_tokens, "item_tries": tries, "seconds": wall,
        "tokens": tokens,
    }  # fmt: skip
    return {key: value for key, value in told.items() if value is not None}


def _merged(before: "BacklogLimits | None", changed: dict[str, Any]) -> "BacklogLimits":
    from memory.backlog_records import BacklogLimits

    return (before or BacklogLimits()).model_copy(update=changed)


def _allow(backlog: "Backlog", limits: dict[str, Any]) -> None:
    if limits:
        backlog.set_limits(_merged(backlog.info().limits, limits))


def _found(store: "Store", name: str | None) -> "Backlog":
    """The backlog of this name, or the newest."""
    from memory.backlog import Backlog

    if name is not None:
        return Backlog.find(store, name)
    infos = Backlog.all(store)
    if not infos:
        raise UsageError("there is no backlog yet", "adi backlog run SOURCE")
    return Backlog(store, infos[0].id)


def _flags(
    model: str | None, url: str | None, color: str | None, no_memory: bool
) -> dict[str, dict[str, Any]]:
    return {
        "model": {"name": model, "url": url},
        "memory": {"recall": False if no_memory else None},
        "ui": {"color": color},
    }


def _settings(flags: dict[str, dict[str, Any]]) -> "Settings":
    from agent.display_wrap import tell
    from agent.settings import load

    loaded = load(None, flags)
    for warning in loaded.warnings:
        tell(f"warning: {warning}", sys.stderr)
    return loaded.settings


def _store(settings: "Settings") -> "Store":
    from agent.settings import store_place
    from memory.store import Store

    return Store.open(store_place(settings))


def _orders(
    jobs: int, flags: dict[str, dict[str, Any]], form: "Format", *, one_per_repo: bool = False,
    branches: bool = False,
) -> "Orders":  # fmt: skip
    from agent.backlog_run import Orders

    return Orders(
        jobs=jobs, flags=flags, one_per_repo=one_per_repo, branches=branches, events=form == "stream-json"
    )


def _job(
    orders: "Orders", settings: "Settings", backlog: "Backlog", out: Path | None, form: "Format", *,
    comment: bool = False, parked: bool = False,
) -> "Job":  # fmt: skip
    from agent.backlog_flow import Job
    from agent.settings import directories

    folder = out or directories().data / "backlog" / "results" / backlog.id
    return Job(orders, settings, folder.absolute(), form, comment=comment, parked=parked)


def _format(name: str) -> "Format":
    forms: dict[str, Literal["text", "json", "stream-json"]] = {
        "text": "text",
        "json": "json",
        "stream-json": "stream-json",
    }
    if name not in forms:
        raise UsageError(f"no output format {name!r}", "use text, json or stream-json")
    return forms[name]
