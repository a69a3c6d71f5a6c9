"""`adi memory`: see, correct and forget what ADI has learned, and write it down for others."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent import cli_memory_store

if TYPE_CHECKING:
    from memory.lesson import Lesson
    from memory.lessons import Lessons
    from memory.store import Store

app: Final = typer.Typer(
    help="What ADI has learned: list, correct, pin, forget, write out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Id = Annotated[str, typer.Argument(metavar="ID", help="A lesson's id, or the beginning of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Repo = Annotated[Path | None, typer.Option(help="Of this repository.")]
Everywhere = Annotated[bool, typer.Option("--all", help="Of all repositories.")]


@app.command("list")
def list_lessons(
    repo: Repo = None,
    everywhere: Everywhere = False,
    kind: Annotated[str, typer.Option(help="check, fact, fix, preference or pitfall.")] = "",
    retired: Annotated[bool, typer.Option(help="Retired lessons too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List lessons, the last changed first: of this repository, or of all outside one."""
    with _lessons() as lessons:
        found = lessons.all(_places(repo, everywhere), kinds=(kind,) if kind else (), retired=retired)
    _print(found, as_json, "nothing learned here yet; adi memory list --all looks everywhere")


@app.command()
def show(lesson: Id, as_json: AsJson = False) -> None:
    """Show a lesson: where it holds, and every run that speaks for it or against it."""
    from agent.inert import inert, inert_line

    with _lessons() as lessons:
        found = lessons.get(lesson)
    if as_json:
        _document([found])
        return
    typer.echo(f"{found.id}  {found.kind}  {found.status}{'  pinned' if found.pinned else ''}")
    typer.echo(f"  {inert_line(found.claim)}")
    typer.echo(f"  holds for: {inert_line(_where(found))}")
    last = found.used[:16] or "never"
    typer.echo(f"  learned by {found.author} {found.created[:16]}, used {found.uses} times, last {last}")
    for item in found.evidence:
        typer.echo(
            f"  {item.stance:8}{item.at[:16]}  {item.run_id or 'said by the person'}  {inert_line(item.why)}"
        )
    if found.content:
        typer.echo(inert(json.dumps(found.content, indent=2, ensure_ascii=True)))


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words, or an error message.")],
    repo: Repo = None,
    everywhere: Everywhere = False,
    as_json: AsJson = False,
) -> None:
    """Find lessons by words, best first."""
    from memory.wording import words_of

    with _lessons() as lessons:
        found = lessons.search(words_of(*words), _places(repo, everywhere))
    _print([lesson for lesson, _ in found], as_json, "no lesson has these words")


@app.command()
def edit(lesson: Id, claim: Annotated[str, typer.Argument(help="The lesson in your words.")]) -> None:
    """Put a lesson into other words; it counts as yours from then on."""
    from agent.errors import UsageError

    if not claim.strip():
        raise UsageError("a lesson needs words", "adi memory forget ID removes it")
    with _lessons() as lessons:
        _print([lessons.edit(lesson, claim.strip())], False, "")


@app.command()
def pin(
    lesson: Id, off: Annotated[bool, typer.Option("--off", help="Let the evidence decide again.")] = False
) -> None:
    """Use a lesson whatever the evidence says."""
    with _lessons() as lessons:
        _print([lessons.pin(lesson, not off)], False, "")


@app.command()
def forget(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Lessons (l-...) or runs.")],
    reason: Annotated[str, typer.Option(help="Kept with the tombstone.")] = "",
) -> None:
    """Remove lessons or runs, and what was derived from them; says what went."""
    from agent.inert import inert_line
    from agent.settings import directories
    from memory.forget import forget_lesson, forget_run

    with _store() as store:
        for name in ids:
            stone = (forget_lesson if name.startswith("l-") else forget_run)(store, name, reason)
            (directories().patches / f"{stone.id}.patch").unlink(missing_ok=True)
            gone = ", ".join(f"{count} {what}" for what, count in stone.removed.items()) or "nothing else"
            typer.echo(f"{inert_line(stone.id)} is forgotten: {gone}")
    typer.echo("backups made before still hold it; delete those too if it must be gone", err=True)


@app.command()
def export(
    form: Annotated[
        str, typer.Option("--format", help="json, agents (AGENTS.md) or skills (SKILL.md).")
    ] = "json",
    repo: Repo = None,
    everywhere: Everywhere = False,
    to: Annotated[Path | None, typer.Option(help="File, or folder of the skills; else printed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write lessons out: as JSON lines, as text for AGENTS.md, or as a skill."""
    from agent.errors import UsageError
    from agent.written import agents_text, skill_text

    if form not in ("json", "agents", "skills"):
        raise UsageError(f"no format {form!r}", "use json, agents or skills")
    with _lessons() as lessons:
        found = lessons.all(_places(repo, everywhere), retired=form == "json")
    lines = "".join(json.dumps(item.model_dump(), ensure_ascii=True) + "\n" for item in found)
    name, text = {"json": ("", lines), "agents": ("", agents_text(found)), "skills": skill_text(found)}[form]
    if to is None:
        typer.echo(text, nl=False)
        return
    target = to / name / "SKILL.md" if name else to
    if target.exists() and not force:
        raise UsageError(f"{target} exists", "name another file, or add --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    typer.echo(f"{len(found)} lessons written to {target}", err=True)


@app.command()
def stats(as_json: AsJson = False) -> None:
    """Count lessons, evidence, what was forgotten, and the size of the store."""
    from agent.settings import load, store_place
    from memory.forget import tombstones

    place = store_place(load().settings)
    with _store() as store:
        from memory.lessons import Lessons

        lessons = Lessons(store)
        counts, everything, stones = lessons.counts(), lessons.all(), tombstones(store)
        runs = len(store.runs(limit=0))
    figures = {
        "runs": runs,
        "lessons": len(everything),
        **{f"{kind} {status}": count for (kind, status), count in sorted(counts.items())},
        "uses": sum(item.uses for item in everything),
        "evidence for": sum(item.supported for item in everything),
        "evidence against": sum(item.contradicted for item in everything),
        "forgotten": len(stones),
        "bytes": place.stat().st_size if isinstance(place, Path) else 0,
    }
    if as_json:
        typer.echo(json.dumps({"schema_version": 1, "type": "memory", **figures}))
        return
    for name, count in figures.items():
        typer.echo(f"{name:20}{count:>12,}")


for command in (cli_memory_store.backup, cli_memory_store.restore, cli_memory_store.salvage):
    app.command()(command)


def _print(found: "list[Lesson]", as_json: bool, otherwise: str) -> None:
    from agent.inert import inert_line

    if as_json:
        _document(found)
        return
    for item in found:
        marks = f"+{item.supported} -{item.contradicted}"
        status = f"{item.status}{'*' if item.pinned else ''}"
        typer.echo(f"{item.id}  {item.kind:10}  {status:8}  {marks:7}  {inert_line(item.claim)}")
    if not found:
        typer.echo(otherwise, err=True)


def _document(found: "list[Lesson]") -> None:
    content = {"schema_version": 1, "type": "lessons", "lessons": [item.model_dump() for item in found]}
    typer.echo(json.dumps(content, ensure_ascii=True))


def _where(lesson: "Lesson") -> str:
    return lesson.place or "every repository"


def _places(repo: Path | None, everywhere: bool) -> set[tuple[str, str]] | None:
    """Where the lessons asked for hold; None means all of them."""
    from agent.cli_log import root_of

    root = None if everywhere else root_of(repo)
    return {("repository", str(root)), ("everywhere", "")} if root else None


@contextmanager
def _store() -> "Iterator[Store]":
    from agent.settings import load, store_place
    from memory.store import Store

    with Store.open(store_place(load().settings)) as store:
        yield store


@contextmanager
def _lessons() -> "Iterator[Lessons]":
    from memory.lessons import Lessons

    with _store() as store:
        yield Lessons(store)
