"""`adi data corpus`: a person's own repositories as a training corpus of source files."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from feedback.corpus_record import Corpus, Helpers, Wish
    from memory.consent import Standing
    from model.catalogue import FimTokens

QUIET_S: Final = 2.0
"""Seconds between two words about how far it is."""


Repos = Annotated[list[Path], typer.Argument(metavar="REPO...", help="Repositories, or folders of code.")]
To = Annotated[Path | None, typer.Option(metavar="FOLDER", help="To write; not there yet.")]
Declared = Annotated[
    str, typer.Option(metavar="SPDX", help="The licence that you, the owner, declare for all of them.")
]
Local = Annotated[bool, typer.Option("--local", help="Other licences too: to train on this machine only.")]
Names = Annotated[bool, typer.Option("--names", help="Names of repositories instead of pseudonyms.")]
Suites = Annotated[list[Path] | None, typer.Option(help="A suite to keep out; may be repeated.")]
Family = Annotated[str, typer.Option(help="Models whose tokens mark gaps; none leaves texts whole.")]
Infill = Annotated[float, typer.Option(min=0, max=1, help="Share of files with a gap.")]
SuffixFirst = Annotated[float, typer.Option(min=0, max=1, help="Share of those, suffix first.")]
Pack = Annotated[int, typer.Option(min=0, help="Rows of several files, of so many characters; 0: none.")]


def corpus(
    repos: Repos,
    to: To = None,
    licence: Declared = "",
    local: Local = False,
    names: Names = False,
    held_out: Suites = None,
    family: Family = "qwen2.5-coder",
    infill: Infill = 0.5,
    suffix_first: SuffixFirst = 0.5,
    spans: Annotated[str, typer.Option(help="Gaps of lines, characters or both.")] = "both",
    pack: Pack = 0,
    split_by: Annotated[str, typer.Option(help="repository or folder.")] = "repository",
    seed: Annotated[int, typer.Option(min=0, help="Of the splits and the gaps.")] = 0,
    preview: Annotated[bool, typer.Option("--preview", help="Only count; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a corpus that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Choose the source files of repositories that are fit to train on, and write them as a data set.

    Left out, each with its count: what .adi/no-train names, what is not under a permissive licence,
    generated, minified and data files, near-duplicates, what shares text with a held-out suite. Secrets and
    personal data are replaced. docs/corpus.md tells the rules.
    """
    from agent.errors import UsageError

    if to is None and not preview:
        raise UsageError("a corpus needs a folder", "adi data corpus REPO --to FOLDER, or --preview")
    tokens = _tokens(family)
    if pack and not (tokens and tokens.file):
        raise UsageError(f"{family!r} has no token between files", "leave --pack out, or name --family")
    wish = _wish(
        licence=licence,
        local=local,
        names=names,
        split_by=split_by,
        seed=seed,
        family=family if tokens else "",
        infill=infill,
        suffix_first=suffix_first,
        spans=spans,
        pack=pack,
    )
    _make(repos, wish, tokens, held_out or (), None if preview else to, force=force, as_json=as_json)


def _make(
    repos: Sequence[Path],
    wish: "Wish",
    tokens: "FimTokens | None",
    held_out: Sequence[Path],
    to: Path | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Choose, write where a place is named, and tell. Raises after the counts where no file is left."""
    from importlib.metadata import version

    from agent.data_sources import needs_data

    needs_data()
    from feedback.corpus import make
    from feedback.corpus_write import check_place, write

    if to is not None:
        check_place(to, force=force)
    made = make(repos, wish, _helpers(held_out), tokens, _patient(_say))
    written = to if made.documents else None
    if written is not None:
        _say("writing")
        write(made, written, tokens, version("adi-agent"), force=force)
    _tell(made, as_json, written)
    if not made.documents:
        raise _nothing(made)


def _tell(made: "Corpus", as_json: bool, to: Path | None) -> None:
    from agent.inert import inert
    from feedback.corpus_card import languages, report, splits
    from feedback.corpus_write import steps

    if not as_json:
        typer.echo(inert(report(made)))
    else:
        repositories = [
            {"repo": one.label, "name": one.name, "commit": one.commit, "licence": one.licence.model_dump(),
             "seen": one.seen, "kept": one.kept, "left_out": one.why}
            for one in made.repositories
        ]  # fmt: skip
        counted = {name: {"files": files, "bytes": size} for name, (files, size) in languages(made).items()}
        document = {
            "schema_version": 1,
            "type": "corpus",
            "steps": steps(made),
            "repositories": repositories,
            "languages": counted,
            "splits": splits(made),
            "split_by": made.split_by,
            "redacted": made.redacted,
            "unknown": made.unknown,
            "notes": made.notes,
            "written": str(to or ""),
        }
        typer.echo(json.dumps(document, ensure_ascii=True))
    if to is not None:
        _say(f"written to {to}")


def _nothing(made: "Corpus") -> Exception:
    """The error for a corpus without a file: which step took the most, and what helps."""
    from agent.errors import UsageError

    worst = max(made.steps, key=lambda count: count.rows_in - count.rows_out)
    seen = sum(one.seen for one in made.repositories)
    hints = {
        "licence": "if the code is yours: --licence MIT, or another; to train on this machine only: --local",
        "opt-out": "its owner keeps it out of training: .adi/no-train, adi data opt-out",
        "language": "name a folder of source code",
    }
    hint = hints.get(worst.name, "name another repository") if seen else "commit something first: git commit"
    return UsageError(f"no file is left of {seen:,}; most went at the step {worst.name}", hint)


def _tokens(family: str) -> "FimTokens | None":
    from agent.errors import UsageError
    from agent.settings import directories
    from model.catalogue import load

    if family == "none":
        return None
    catalogue = load(directories().catalogue_file)
    known = sorted(name for name in catalogue.families if catalogue.fim(name))
    tokens = catalogue.fim(family)
    if tokens is None:
        raise UsageError(f"no family {family!r} with tokens for gaps", f"use {', '.join(known)} or none")
    return tokens


def _wish(**values: Any) -> "Wish":
    from pydantic import ValidationError

    from agent.errors import UsageError
    from feedback.corpus_record import Wish

    try:
        return Wish(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{option}: {first['msg']}", "adi data corpus --help") from None


def _helpers(held_out: Sequence[Path]) -> "Helpers":
    """What decides about files: licences, secrets, likeness, held-out suites, what people said earlier."""
    from agent.settings import directories
    from feedback import licences, near
    from feedback.corpus_record import JACCARD, Helpers
    from feedback.heldout import HeldOut
    from feedback.personal import Machine, Pseudonyms, load_key
    from feedback.scrub import Scrubber

    places, standing = directories(), _standing()
    pseudonyms = Pseudonyms(load_key(places.data))
    scrubber = Scrubber(pseudonyms, Machine.here(places.data))
    suites = HeldOut.read(held_out) if held_out else None

    def scrub(text: str) -> tuple[str, Counter[str]]:
        clean, found = scrubber.text(text)
        kinds = Counter[str]()
        for kind, count in found.items():
            kinds[kind.partition(":")[0]] += count
        return clean, kinds

    return Helpers(
        detect=licences.detect,
        named=lambda said: licences.licence(said, "declared"),
        scrub=scrub,
        duplicates=lambda texts: near.duplicates(texts, threshold=JACCARD),
        pseudonym=lambda name: pseudonyms.of("repo", name),
        overlaps=suites.text if suites else None,
        refused=lambda root: _refused(root, standing),
        declared=lambda root: standing.declared_licence(str(root)) if standing else "",
    )


def _standing() -> "Standing | None":
    """What people decided about training; None where nothing was ever recorded."""
    from agent.settings import load, store_place
    from memory.consent import Consents
    from memory.store import Store

    place = store_place(load().settings)
    if isinstance(place, Path) and not place.exists():
        return None
    with Store.open(place) as store:
        return Consents(store).standing()


def _refused(root: Path, standing: "Standing | None") -> str:
    """Why the owner of a repository keeps it out: it is on the list, or its use was refused."""
    from feedback.permission import remotes_of

    if standing is None:
        return ""
    if any(standing.opted_out("repository", place) for place in (str(root), *remotes_of(str(root)))):
        return "opted out"
    said = standing.decisions.get(("repository", str(root)))
    return "consent refused" if said is not None and said.status == "refused" else ""


def _patient(say: Callable[[str], None]) -> Callable[[str], None]:
    """Passes a line on when the last one was some time ago."""
    last = [float("-inf")]

    def tell(line: str) -> None:
        now = time.monotonic()
        if now - last[0] >= QUIET_S:
            last[0] = now
            say(line)

    return tell


def _say(line: str) -> None:
    from agent.inert import inert_line

    typer.echo(inert_line(line), err=True)
