"""The card of a corpus, `README.md`, and its report for the terminal. All that they say is counted."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from feedback.corpus_record import Corpus, Repository
from feedback.folder import Written
from feedback.steps import table

_SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Classes of size on the Hub, by the first number of rows that is too many."""
_UNKNOWN_SHOWN: Final = 8
_LOCAL: Final = "**Not for others: licences that are unknown or not permissive are in it (`--local`).**"
_LIMITS: Final = """\
- Secrets without a known shape, and names that no rule knows, may be left. Read before you give it away.
- Licences are read from texts, manifests and headers. Nobody with knowledge of the law looked at them.
- Paraphrases of held-out tasks are not found by comparing words.
- The code is as its authors wrote it: with their mistakes, and with text that was never meant as an example.
"""


def report(corpus: Corpus) -> str:
    """What was read, what each step left out, and what is left; for people."""
    lines = [table(corpus.steps), "", f"{'repository':40}{'seen':>8}{'kept':>8}  licence"]
    for one in corpus.repositories:
        lines.append(f"{one.name[:39]:40}{one.seen:>8,}{one.kept:>8,}  {_licence(one)}")
    lines += ["", f"{'language':24}{'files':>8}{'bytes':>14}"]
    for name, (files, size) in languages(corpus).items():
        lines.append(f"{name:24}{files:>8,}{size:>14,}")
    lines += ["", *(f"{split:24}{count:>8,}" for split, count in splits(corpus).items())]
    if corpus.redacted:
        told = ", ".join(f"{kind} {count:,}" for kind, count in corpus.redacted.items())
        lines += ["", f"replaced: {told}"]
    if corpus.unknown:
        most = list(corpus.unknown.items())[:_UNKNOWN_SHOWN]
        lines += ["", "no known language: " + ", ".join(f"{ending} {count:,}" for ending, count in most)]
    return "\n".join([*lines, *(f"note: {note}" for note in corpus.notes)])


def _licence(one: Repository) -> str:
    if one.why:
        return f"left out: {one.why}"
    return f"{one.licence.spdx or 'unknown'} ({one.licence.source})" if one.licence.spdx else "unknown"


def languages(corpus: Corpus) -> dict[str, tuple[int, int]]:
    """Files and bytes by language, the most bytes first."""
    found: dict[str, tuple[int, int]] = {}
    for document in corpus.documents:
        files, size = found.get(document.language, (0, 0))
        found[document.language] = (files + 1, size + len(document.text.encode("utf-8")))
    return dict(sorted(found.items(), key=lambda item: (-item[1][1], item[0])))


def splits(corpus: Corpus) -> dict[str, int]:
    """Files by split."""
    found = {"train": 0, "validation": 0, "test": 0}
    for document in corpus.documents:
        found[document.split] += 1
    return found


def card(corpus: Corpus, files: Sequence[Written], counts: Mapping[str, Any], version: str) -> str:
    """The text of `README.md`; its header is what `datasets` and the Hub read, JSON being YAML too."""
    licences = sorted({document.licence.spdx for document in corpus.documents})
    rows = len(corpus.documents)
    header = {
        "pretty_name": "Code corpus made by ADI",
        "license": "other",
        "license_name": "see-column-license",
        "language": ["code"],
        "tags": ["code", "fill-in-the-middle"],
        "task_categories": ["text-generation"],
        "size_categories": [next((name for bound, name in _SIZES if rows < bound), "n>1M")],
        "configs": _configs(files),
    }
    yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    return f"---\n{yaml}\n---\n\n" + "\n".join(_body(corpus, licences, counts, version))


def _configs(files: Sequence[Written]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, list[str]]] = {}
    for file in files:
        if file.config:
            found.setdefault(file.config, {}).setdefault(file.split, []).append(file.path)
    return [
        {
            "config_name": config,
            "data_files": [{"split": split, "path": paths} for split, paths in by_split.items()],
            **({"default": True} if number == 0 else {}),
        }
        for number, (config, by_split) in enumerate(found.items())
    ]


def _body(corpus: Corpus, licences: Sequence[str], counts: Mapping[str, Any], version: str) -> list[str]:
    wish = corpus.wish
    shown = ", ".join(licence or "unknown" for licence in licences)
    size = sum(bytes_ for _, bytes_ in languages(corpus).values())
    used = "repository" if corpus.split_by == "repository" else "folder of a repository"
    sources = len({one.label for one in corpus.repositories if one.kept})
    configs = "; ".join(f"`{name}` {count['rows']:,} rows" for name, count in counts.items())
    return [
        "# Code corpus", "",
        f"{len(corpus.documents):,} source files ({size:,} bytes) of {sources} repositories, chosen by "
        f"ADI {version} for training models that write code. Configurations: {configs}.", "",
        *([_LOCAL, ""] if wish.local else []),
        "## Use", "",
        "Continued training and fill-in-the-middle training on the owner's machines. `content` is a file as "
        "it is in the repository, its secrets and personal data replaced; `text` is what to train on.", "",
        "## Steps", "", *_table(("step", "in", "out", "left out"), (
            (count.name, f"{count.rows_in:,}", f"{count.rows_out:,}",
             "; ".join(f"{reason}: {number:,}" for reason, number in count.reasons.items()))
            for count in corpus.steps
        )), "",
        "## Languages", "", *_table(("language", "files", "bytes"), (
            (name, f"{files:,}", f"{bytes_:,}") for name, (files, bytes_) in languages(corpus).items()
        )), "",
        "## Licences", "",
        f"{shown}. Columns `license` (SPDX), `license_source` (`declared`: by the owner of the repositories) "
        "and `license_permissive`. Whoever uses a file keeps to the licence in its row.", "",
        "## Secrets and personal data", "", *_replaced(corpus), "",
        "## Splits", "",
        f"By {used}, with a keyed hash (seed {wish.seed}); near-duplicates (Jaccard {wish.threshold:g} and "
        "above) are in no two splits, as only one of them is kept.",
        *(f"{split}: {count:,} files." for split, count in splits(corpus).items()), "",
        "## Filling in the middle", "", _infilled(corpus, counts), "",
        "## Limits", "", _LIMITS,
        "## Removal", "",
        "Ask whoever gave you this corpus. They put the path into `.adi/no-train` of its repository and make "
        "the corpus again; the manifest names the commits that it was made from.", "",
    ]  # fmt: skip


def _replaced(corpus: Corpus) -> list[str]:
    dropped = next((count.reasons for count in corpus.steps if count.name == "secrets"), {})
    told = ", ".join(f"{kind} {count:,}" for kind, count in corpus.redacted.items()) or "nothing was found"
    return [f"Replaced: {told}. Files left out: {sum(dropped.values()):,}."]


def _infilled(corpus: Corpus, counts: Mapping[str, Any]) -> str:
    if not corpus.wish.family:
        return "None: `text` is `content`."
    modes = ", ".join(f"{mode} {count:,}" for mode, count in counts["files"]["fim"].items())
    return (
        f"Column `fim`: {modes}. Tokens of the family {corpus.wish.family}; no end-of-text token is in "
        "`text`. Method: Bavarian et al. 2022, arXiv 2207.14255."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
