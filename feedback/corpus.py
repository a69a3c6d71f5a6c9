"""From a person's own repositories to a training corpus of source files, step by step, each step counted.

Made as the public corpora of code were: files, language, licence, quality, secrets, exact and near
duplicates, held-out suites, splits by repository. What other modules decide (licences, secrets, likeness) is
handed in, so that a corpus depends on nothing but its repositories, its wish and those.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from feedback import corpus_quality
from feedback.candidate import Licence
from feedback.corpus_files import MAX_BYTES, Source, opened, text_of
from feedback.corpus_infill import holds_control
from feedback.corpus_language import language_of
from feedback.corpus_licence import Licences
from feedback.corpus_notebook import script_of
from feedback.corpus_record import SPLITS, Corpus, Document, Helpers, Repository, Wish
from feedback.errors import DataError
from feedback.steps import Count
from model.catalogue import FimTokens
from sandbox.credentials import name_tells
from sandbox.errors import UnsafePath

STEPS: Final = (
    "opt-out", "files", "language", "licence", "quality", "control tokens", "secrets", "exact duplicates",
    "near-duplicates", "held-out suites",
)  # fmt: skip
SHARES: Final = (0.9, 0.05, 0.05)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
_EVERY: Final = 500
"""Files between two words about how far it is."""


@dataclass(slots=True)
class _Tally:
    """How many files reached each step, and why they went."""

    reached: Counter[str] = field(default_factory=Counter)
    gone: dict[str, Counter[str]] = field(default_factory=lambda: {step: Counter() for step in STEPS})
    redacted: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def counts(self) -> list[Count]:
        found = []
        for step in STEPS:
            dropped = sum(self.gone[step].values())
            reasons = dict(sorted(self.gone[step].items()))
            found.append(Count(step, self.reached[step], self.reached[step] - dropped, reasons))
        return found


class _Out(Exception):
    """A file goes: at which step, and why."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(step, reason)
        self.step, self.reason = step, reason


def make(
    folders: Sequence[Path],
    wish: Wish,
    helpers: Helpers,
    tokens: FimTokens | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Corpus:
    """Read the repositories and choose. Raises DataError and SandboxError for what cannot be read.

    Nothing is written. `say` is told how far it is, a line at a time.
    """
    if wish.licence and not helpers.named(wish.licence).spdx:
        raise DataError(f"{wish.licence!r} is no licence that SPDX knows", "such as MIT: spdx.org/licenses")
    tally, repositories, documents = _Tally(), list[Repository](), list[Document]()
    taken = set[tuple[Path, str]]()
    for folder in folders:
        with opened(folder) as source:
            repository, found = _of_source(source, wish, helpers, tokens, taken, tally, say)
            repositories.append(repository)
            documents += found
    names = _unlike(list(dict.fromkeys(repository.root for repository in repositories)))
    for repository in repositories:
        name = names[repository.root]
        repository.label = name if wish.names else helpers.pseudonym(name)
    labels = {repository.root: repository.label for repository in repositories}
    documents = [replace(document, repo=labels[document.root]) for document in documents]
    documents.sort(key=lambda document: (document.repo, document.path))
    documents = _whole(documents, helpers, tally, say)
    documents, split_by = _split(documents, names, wish, tally)
    kept = Counter(document.root for document in documents)
    for repository in {repository.root: repository for repository in reversed(repositories)}.values():
        repository.kept = kept[repository.root]
    return Corpus(
        wish, documents, repositories, tally.counts(), dict(sorted(tally.redacted.items())), tally.notes,
        dict(sorted(tally.unknown.items(), key=lambda item: (-item[1], item[0]))), split_by,
    )  # fmt: skip


def _of_source(
    source: Source,
    wish: Wish,
    helpers: Helpers,
    tokens: FimTokens | None,
    taken: set[tuple[Path, str]],
    tally: _Tally,
    say: Callable[[str], None],
) -> tuple[Repository, list[Document]]:
    """The files of one repository that pass every rule about single files."""
    declared = helpers.named(wish.licence or helpers.declared(source.root))
    licences = Licences(source, declared, helpers.detect)
    repository = Repository(source.root, source.name, source.commit, licences.of_repository())
    repository.why = helpers.refused(source.root) or (".adi/no-train" if source.refused.everything else "")
    paths = [path for path in source.wanted() if (source.root, path) not in taken]
    taken.update((source.root, path) for path in paths)
    tally.notes += [f"{source.name}: {note}" for note in source.notes]
    repository.seen = len(paths) + sum(source.left_out.values())
    tally.reached["opt-out"] += repository.seen
    if repository.why:
        tally.gone["opt-out"][repository.why] += repository.seen
        return repository, []
    tally.reached["files"] += sum(source.left_out.values())
    tally.gone["files"].update(source.left_out)
    found = []
    for number, path in enumerate(paths):
        if number % _EVERY == 0:
            say(f"{source.name}: {number:,} of {len(paths):,} files")
        try:
            found.append(_file(source, path, licences, wish, helpers, tokens, tally))
        except _Out as out:
            tally.gone[out.step][out.reason] += 1
    return repository, found


def _file(
    source: Source,
    path: str,
    licences: Licences,
    wish: Wish,
    helpers: Helpers,
    tokens: FimTokens | None,
    tally: _Tally,
) -> Document:
    """One file, or _Out with the step that it does not pass."""

    def enter(step: str, reason: str = "") -> None:
        tally.reached[step] += 1
        if reason:
            raise _Out(step, reason)

    if source.refused.covers(path):
        raise _Out("opt-out", ".adi/no-train")
    enter("files", "larger than 1 MB" if source.size(path) > MAX_BYTES else "")
    text = _text(source, path)
    language = language_of(path, text)
    if not language:
        tally.unknown[_ending(path)] += 1
    enter("language", "" if language else "no known language")
    licence = licences.of_file(path, text)
    enter("licence", "" if wish.local else _unlicensed(licence))
    said = source.attributes.of(path)
    reason = corpus_quality.by_name(path, said)
    if language == "Jupyter Notebook" and not reason:
        language, text = script_of(text)
        reason = "" if language else "notebook that cannot be read"
    enter("quality", reason or corpus_quality.by_text(path, language, text, said))
    enter("control tokens", "holds one" if holds_control(text + path, tokens) else "")
    enter("secrets", "for secrets, by its name" if name_tells(path) else "")
    text, path = _scrubbed(text, path, helpers, tally)
    return Document(source.root, path, language, licence, text, source.commit)


def _text(source: Source, path: str) -> str:
    try:
        data = source.read(path)
    except (OSError, UnsafePath) as error:
        raise _Out("files", "cannot be read") from error
    text, encoding = text_of(data)
    if not encoding:
        raise _Out("files", "binary" if b"\0" in data[:8000] else "not UTF-8, and no encoding named")
    return text


def _ending(path: str) -> str:
    name = path.rpartition("/")[2]
    return f".{name.rpartition('.')[2].lower()}" if "." in name[1:] else "(none)"


def _unlicensed(licence: Licence) -> str:
    if not licence.spdx:
        return "unknown"
    return "" if licence.permissive else f"not permissive: {licence.spdx}"


def _scrubbed(text: str, path: str, helpers: Helpers, tally: _Tally) -> tuple[str, str]:
    clean, found = helpers.scrub(text)
    if _PRIVATE_KEY.search(text) or any("private" in kind and "key" in kind for kind in found):
        raise _Out("secrets", "private key")
    clean_path, also = helpers.scrub(path)
    tally.redacted.update(found + also)
    return clean, clean_path


def _whole(
    documents: list[Document], helpers: Helpers, tally: _Tally, say: Callable[[str], None]
) -> list[Document]:
    """The rules about files among others. The first of like ones stays, by repository and path."""
    seen, left = set[str](), []
    for document in documents:
        key = normal(document.text)
        if key not in seen:
            left.append(document)
        seen.add(key)
    documents = _counted("exact duplicates", documents, left, "same text", tally)
    say(f"comparing {len(documents):,} files with each other")
    like = helpers.duplicates([document.text for document in documents])
    left = [document for number, document in enumerate(documents) if number not in like]
    documents = _counted("near-duplicates", documents, left, "like another file", tally)
    if helpers.overlaps is None:
        return _counted("held-out suites", documents, documents, "", tally)
    say(f"comparing {len(documents):,} files with the held-out suites")
    tally.reached["held-out suites"] = len(documents)
    left = []
    for document in documents:
        if reason := helpers.overlaps(document.text):
            tally.gone["held-out suites"][reason] += 1
        else:
            left.append(document)
    return left


def _counted(
    step: str, before: list[Document], after: list[Document], reason: str, tally: _Tally
) -> list[Document]:
    tally.reached[step] = len(before)
    if gone := len(before) - len(after):
        tally.gone[step][reason] = gone
    return after


def normal(text: str) -> str:
    """SHA-256 of a text whose line ends, and blanks before them, do not count."""
    lines = (line.rstrip() for line in text.splitlines())
    return hashlib.sha256("\n".join(lines).rstrip().encode("utf-8")).hexdigest()


def _unlike(roots: Sequence[Path]) -> dict[Path, str]:
    """A name for each root: that of its folder, with the folders above it where two are called alike."""
    depth = 1
    while True:
        names = {root: "/".join(root.parts[-depth:]).strip("/") or "root" for root in roots}
        if len(set(names.values())) == len(roots) or depth > max(len(root.parts) for root in roots):
            return {root: name.encode("utf-8", "backslashreplace").decode() for root, name in names.items()}
        depth += 1


def _split(
    documents: list[Document], names: Mapping[Path, str], wish: Wish, tally: _Tally
) -> tuple[list[Document], Literal["repository", "folder"]]:
    """Each document with its split: that of its repository, or where there is one only, of its folder."""
    several = len({document.root for document in documents}) > 1
    by: Literal["repository", "folder"] = wish.split_by if several else "folder"
    if documents and by != wish.split_by:
        tally.notes.append("split by folder, as there is one repository: files of one folder stay together")
    found = [replace(one, split=split_of(_place(one, names, by), wish.seed)) for one in documents]
    if missing := [split for split in SPLITS if documents and split not in {one.split for one in found}]:
        hint = "; --split-by folder fills it" if by == "repository" else "; another --seed may fill it"
        tally.notes.append(f"nothing fell into {' and '.join(missing)}{hint}")
    return found, by


def _place(document: Document, names: Mapping[Path, str], by: str) -> str:
    """What decides a document's split; names count and not pseudonyms, so that `--names` moves nothing."""
    name = names[document.root]
    return name if by == "repository" else f"{name}/{document.path.rpartition('/')[0]}"


def split_of(place: str, seed: int) -> str:
    """The split of a repository or folder; it stays the same when others are added."""
    share, total = int.from_bytes(_keyed(seed, place)[:8], "big") / 2**64, 0.0
    for split, part in zip(SPLITS, SHARES, strict=True):
        total += part
        if share < total:
            return split
    return SPLITS[0]


def _keyed(seed: int, text: str) -> bytes:
    return hmac.new(f"adi-corpus-split:{seed}".encode(), text.encode("utf-8"), hashlib.sha256).digest()


def each_repository(corpus: Corpus) -> Iterator[tuple[str, list[Document]]]:
    """Documents by the repository's label and split, in order."""
    groups = dict[tuple[str, str], list[Document]]()
    for document in corpus.documents:
        groups.setdefault((document.repo, document.split), []).append(document)
    for (repo, _), documents in sorted(groups.items()):
        yield repo, documents
