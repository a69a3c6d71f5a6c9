"""`adi model`: the files of models, and their adapters (agent/cli_adapters.py)."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent.cli_adapters import add_to
from agent.errors import UsageError
from agent.inert import inert_line
from agent.settings import Settings, directories, load

if TYPE_CHECKING:
    from model.catalogue import Catalogue
    from model.partial import Progress
    from model.store import Store

SCHEMA_VERSION: Final = 1
PLAIN_S: Final = 10.0
"""Without a terminal a pull says how far it is this often, in seconds."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, fetch and verify models and their adapters.",
)
add_to(app)

Name = Annotated[
    str, typer.Argument(metavar="[MODEL]", help="A name of `adi model list`; empty: the default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models ADI knows, and which are on this disk."""
    store, _ = _open()
    rows = [_row(store, name) for name in store.catalogue.models]
    if as_json:
        typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "type": "models", "models": rows}))
        return
    for row in rows:
        size = f"{int(row['size']) / 1e9:.2f} GB" if row["size"] else ""
        where = row["path"] or f"not here: adi model pull {row['name']}"
        typer.echo(inert_line(f"{row['name']:<22} {size:>8}  {row['licence']:<11} {where}"))


@app.command()
def pull(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="A name, or the path or address of a GGUF file.")
    ] = "",
    sha256: Annotated[str, typer.Option(help="What the bytes of a path or address must hash to.")] = "",
    name: Annotated[str, typer.Option(help="What a path or address is to be called.")] = "",
    offline: Annotated[bool, typer.Option(help="Fetch nothing: only look on this disk.")] = False,
) -> None:
    """Bring a model onto this disk. A broken pull continues where it stopped."""
    from model.pull import Options
    from model.pull import pull as fetch

    store, settings = _open()
    wanted = model or _default(settings)
    if _is_place(wanted, store.catalogue):
        wanted = _register(wanted, sha256, name, store.catalogue)
        store, _ = _open()
    elif sha256 or name:
        raise UsageError("--sha256 and --name belong to a path or an address", "adi model pull --help")
    with _progress(wanted) as (progress, say):
        options = Options(offline=offline or settings.model.offline, progress=progress, say=say)
        found = fetch(store, wanted, options)
    _say(f"{found.name} is at {found.path}")


@app.command()
def path(model: Name = "") -> None:
    """Print where a model's file is."""
    store, settings = _open()
    found = str(store.find(model or _default(settings)).path)
    typer.echo(inert_line(found) if sys.stdout.isatty() else found)  # a program needs the very name


@app.command()
def verify(model: Name = "") -> None:
    """Read a model's file and compare its hash."""
    from model.pull import verify as check

    store, settings = _open()
    found = check(store, model or _default(settings))
    typer.echo(inert_line(f"{found.path}: sha256 {found.sha256}, as the catalogue promises"))


def _row(store: "Store", name: str) -> dict[str, str | int]:
    from model.errors import ModelMissing

    entry = store.catalogue.models[name]
    try:
        place = str(store.find(name).path)
    except ModelMissing:
        place = ""
    return {
        "name": name,
        "title": entry.title,
        "licence": entry.licence,
        "size": entry.size,
        "sha256": entry.sha256,
        "path": place,
    }


def _open() -> "tuple[Store, Settings]":
    from model.catalogue import load as load_catalogue
    from model.store import Store

    places = directories()
    return Store(places.models, load_catalogue(places.catalogue_file)), load(None).settings


def _default(settings: Settings) -> str:
    from model.connect import DEFAULT

    return settings.model.name or DEFAULT


def _is_place(text: str, catalogue: "Catalogue") -> bool:
    if text in catalogue.models:
        return False
    return text.startswith(("http://", "https://")) or "/" in text or text.endswith(".gguf")


def _register(place: str, sha256: str, name: str, catalogue: "Catalogue") -> str:
    """Writes a model of the user's own into their catalogue; its name. The same place again is no error."""
    from model.catalogue import Entry, register
    from model.store import file_sha256

    remote = place.startswith(("http://", "https://"))
    file = Path(place).expanduser().resolve()
    name = name or Path(place.partition("?")[0]).stem.lower()
    sha256 = sha256.lower()
    if remote and not sha256:
        raise UsageError("an address needs --sha256: it decides whether the bytes are right")
    if not remote and not file.is_file():
        raise UsageError(f"there is no file {file}")
    sha256 = sha256 or file_sha256(file)
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise UsageError("--sha256 takes 64 hexadecimal digits")
    entry = Entry(
        title=place,
        sha256=sha256,
        size=0 if remote else file.stat().st_size,
        family=catalogue.family_of(name),
        url=place if remote else "",
        local=() if remote else (file,),
    )
    known = catalogue.models.get(name)
    if known and known != entry:
        raise UsageError(f"another model is called {name!r} already", "choose a name with --name")
    if not known:
        register(directories().catalogue_file, name, entry)
    return name


@contextmanager
def _progress(name: str) -> "Iterator[tuple[Progress, Callable[[str], None]]]":
    """A bar at a terminal, a line now and then elsewhere; both on stderr."""
    from agent.display import make_console

    console = make_console(sys.stderr)
    if not console.is_terminal:
        yield _plain(name), _say
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Speed

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(inert_line(name), start=True, total=None)
        yield (
            lambda done, total: bar.update(task, completed=done, total=total or None),
            lambda line: bar.console.print(inert_line(line)),
        )


def _plain(name: str) -> "Progress":
    last = -PLAIN_S

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_S or (total and done == total):
            last = now
            share = f" of {total / 1e6:.0f} MB ({100 * done / total:.0f}%)" if total else " MB"
            _say(f"{name}: {done / 1e6:.0f}{share}")

    return progress


def _say(line: str) -> None:
    from agent.display_wrap import tell

    tell(line, sys.stderr)
