"""The card of a data set: `README.md`, with the header that the Hub and `datasets` read.

What it says is counted, not written; the words around the counts are in feedback/card.md. The header names
each configuration's files, so that `load_dataset(folder, name)` works on the folder as it lies.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

from feedback.folder import Written
from feedback.formats import FORMATS
from feedback.steps import Count

if TYPE_CHECKING:
    from feedback.export import Made

TEXT: Final = Path(__file__).with_name("card.md")
SIZES: Final = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
)
"""The Hub's classes of size, by their upper bounds."""
MEANINGS: Final = {
    "gold": "checks passed and a person accepted",
    "silver": "a person accepted without tests, or tests passed and nobody looked",
    "negative": "rejected, taken back, tests failed, or a sign of cheating",
}
BY_REPOSITORY: Final = (
    "By repository, with a hash that does not change when others are added; `meta/splits.json` freezes them."
)
BY_TIME: Final = "By time: the newest tasks are the test split; repositories lie in several splits."
UNCHECKED: Final = (
    "Not done: no suite was named (`--held-out`). Report nothing on public suites after training on this."
)


def card(made: "Made", files: Sequence[Written]) -> str:
    """The text of the card. Needs the extra `data`."""
    from huggingface_hub import DatasetCardData

    total = sum(len(rows) for rows in made.rows.values())
    header = DatasetCardData(
        license="other",
        license_name="see-column-license",
        language=["code"],
        tags=["code", "agents", "agent-traces"],
        task_categories=["text-generation"],
        size_categories=[next((name for bound, name in SIZES if total < bound), "n>1M")],
        pretty_name="ADI feedback",
        configs=configs(files),
    )
    return f"---\n{header.to_yaml()}\n---\n{_body(made, files)}"


def configs(files: Iterable[Written]) -> list[dict[str, Any]]:
    """The `configs` of the header: each configuration in Parquet with the files of its splits.

    `datasets` reads all configurations of a folder with the reader of the first: those in JSON are left out.
    """
    splits = dict[str, dict[str, None]]()
    for file in files:
        if file.split and file.path.endswith(".parquet"):
            splits.setdefault(file.config, {})[file.split] = None
    found = list[dict[str, Any]]()
    for name in (name for name in FORMATS if name in splits):
        data = [{"split": split, "path": FORMATS[name].pattern(split)} for split in splits[name]]
        found.append({"config_name": name, "data_files": data} | ({} if found else {"default": True}))
    return found


def _body(made: "Made", files: Sequence[Written]) -> str:
    rows = Counter[tuple[str, str]]()
    for file in files:
        if file.rows and not file.path.startswith("jsonl/"):
            rows[file.config or file.path.partition("/")[0], file.split] += file.rows
    configurations = [(name, split, f"{count:,}") for (name, split), count in sorted(rows.items())]
    unwritten = "".join(f"\n- not written: `{name}`, {why}" for name, why in made.unwritten.items())
    redacted = [(name, f"{count:,}") for name, count in made.redacted.items()]
    licences = sorted({c.licence.spdx or "not known" for c in made.candidates})
    return Template(TEXT.read_text(encoding="utf-8")).substitute(
        runs=f"{len(made.candidates):,}",
        version=made.version,
        repositories=f"{len({c.harvest.repository for c in made.candidates}):,}",
        configurations=_table(("configuration", "split", "rows"), configurations) + unwritten,
        steps=_table(("step", "in", "out", "dropped"), map(_step, made.steps)),
        redacted=_table(("found and replaced", "times"), redacted) if redacted else "Nothing was found.",
        licences=", ".join(licences),
        labels=_table(("label", "runs", "means"), _labels(made)),
        splits=BY_TIME if made.query.by_time else BY_REPOSITORY,
        held_out=_held(made),
    )


def _step(count: Count) -> tuple[str, str, str, str]:
    reasons = "; ".join(f"{reason} {number:,}" for reason, number in count.reasons.items())
    return count.name, f"{count.rows_in:,}", f"{count.rows_out:,}", reasons


def _labels(made: "Made") -> Iterable[tuple[str, str, str]]:
    counts = Counter[str](c.label.grade for c in made.candidates)
    return ((grade, f"{counts[grade]:,}", text) for grade, text in MEANINGS.items() if counts[grade])


def _held(made: "Made") -> str:
    if not made.held_out:
        return UNCHECKED
    suites = ", ".join(f"{name} ({count:,})" for name, count in made.held_out.items())
    how = "by id, repository and commit, patch, and overlap of 10 to 13 words (`meta/decontamination.json`)."
    return f"Against {suites}: {how}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    clean = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in clean)
