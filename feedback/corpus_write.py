"""A corpus as a folder: rows in Parquet by split, the card, the manifest and the counts.

Rows come sorted, files have fixed settings and no times, so the same corpus gives the same bytes. Everything
is written beside its place and gets its name at the end (feedback/folder.py).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from feedback.corpus import each_repository
from feedback.corpus_card import card
from feedback.corpus_infill import Infill, cut, packed, written
from feedback.corpus_record import SPLITS, Corpus, Document
from feedback.errors import DataError
from feedback.folder import MANIFEST, SCHEMA_VERSION, Folder, manifest_of, writing
from model.catalogue import FimTokens

if TYPE_CHECKING:
    import pyarrow

TYPE: Final = "adi-corpus"
FILES: Final = "files"
PACKED: Final = "packed"
"""Names of the configurations: a row a file, and a row for several files of one repository."""
SHARD_BYTES: Final = 256 * 1024**2
"""Text in one Parquet file, before it is compressed."""


def check_place(target: Path, *, force: bool = False) -> None:
    """Raises DataError for a place that is taken; `force` replaces a corpus and nothing else."""
    if not (target.exists() or target.is_symlink()):
        return
    corpus = (target / MANIFEST).is_file() and manifest_of(target).get("type") == TYPE
    if not corpus:
        raise DataError(f"{target} exists and is no corpus", "name a folder that is not there yet")
    if not force:
        raise DataError(f"{target} is a corpus already", "add --force to replace it")


def write(
    corpus: Corpus, target: Path, tokens: FimTokens | None, version: str, *, force: bool = False
) -> dict[str, Any]:
    """Write the folder and return its manifest. `tokens` are those of `corpus.wish.family`.

    Raises DataError for a corpus without files, and for a place that is taken or cannot be written; then
    nothing has the folder's name.
    """
    if not corpus.documents:
        raise DataError("no file is left for the corpus", "the counts of each step tell why")
    check_place(target, force=force)
    infill = _infill(corpus, tokens)
    with writing(target, replace=force) as folder:
        statistics = {FILES: _write(folder, "data", FILES, file_rows(corpus, infill), file_schema())}
        if corpus.wish.pack and tokens is not None and tokens.file:
            rows = packed_rows(corpus, infill, tokens)
            statistics[PACKED] = _write(folder, PACKED, PACKED, rows, packed_schema())
        folder.json("meta/stats.json", statistics)
        folder.text("README.md", card(corpus, folder.files, statistics, version))
        manifest = _manifest(corpus, folder, version)
        folder.json(MANIFEST, manifest)
    return manifest


def _infill(corpus: Corpus, tokens: FimTokens | None) -> Infill | None:
    wish = corpus.wish
    if tokens is None:
        return None
    return Infill(tokens, wish.infill, wish.suffix_first, wish.spans, wish.seed)


def file_rows(corpus: Corpus, infill: Infill | None) -> list[dict[str, Any]]:
    """A row a file, sorted by repository and path."""
    return [_row(document, infill) for document in corpus.documents]


def _row(document: Document, infill: Infill | None) -> dict[str, Any]:
    text, mode = _form(document.text, infill)
    return {
        "record_id": _id(document.repo, document.path, document.sha256),
        "repo": document.repo,
        "path": document.path,
        "language": document.language,
        "license": document.licence.spdx,
        "license_source": document.licence.source,
        "license_permissive": document.licence.permissive,
        "content": document.text,
        "text": text,
        "fim": mode,
        "size": len(document.text.encode("utf-8")),
        "lines": len(document.text.splitlines()),
        "sha256": document.sha256,
        "commit": document.commit,
        "split": document.split,
    }


def _form(text: str, infill: Infill | None) -> tuple[str, str]:
    if infill is None:
        return text, "none"
    parts = cut(text, infill)
    return written(parts, infill.tokens), parts.mode


def _id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()[:32]


def packed_rows(corpus: Corpus, infill: Infill | None, tokens: FimTokens) -> list[dict[str, Any]]:
    """Files of one repository and split together, in the order of their paths; the last one may be cut.

    A row has at most `wish.pack` characters of files, or one file that is larger.
    """
    rows = []
    for repo, documents in each_repository(corpus):
        for group in _groups(documents, corpus.wish.pack):
            last, mode = _form(group[-1].text, infill)
            files = [(document.path, document.text) for document in group[:-1]]
            text = packed(repo, [*files, (group[-1].path, last)], tokens)
            rows.append(
                {
                    "record_id": _id(repo, *(document.sha256 for document in group)),
                    "repo": repo,
                    "paths": [document.path for document in group],
                    "languages": sorted({document.language for document in group}),
                    "licenses": sorted({document.licence.spdx for document in group}),
                    "license_permissive": all(document.licence.permissive for document in group),
                    "text": text,
                    "fim": mode,
                    "files": len(group),
                    "size": len(text.encode("utf-8")),
                    "commit": group[0].commit,
                    "split": group[0].split,
                }
            )
    return rows


def _groups(documents: Sequence[Document], most: int) -> Iterator[list[Document]]:
    group, total = list[Document](), 0
    for document in documents:
        if group and total + len(document.text) > most:
            yield group
            group, total = [], 0
        group.append(document)
        total += len(document.text)
    if group:
        yield group


def file_schema() -> "pyarrow.Schema":
    """Columns of the configuration `files`."""
    import pyarrow as pa

    kinds = {"license_permissive": pa.bool_(), "size": pa.int64(), "lines": pa.int64()}
    names = (
        "record_id", "repo", "path", "language", "license", "license_source", "license_permissive",
        "content", "text", "fim", "size", "lines", "sha256", "commit", "split",
    )  # fmt: skip
    return pa.schema([pa.field(name, kinds.get(name, pa.string()), nullable=False) for name in names])


def packed_schema() -> "pyarrow.Schema":
    """Columns of the configuration `packed`."""
    import pyarrow as pa

    texts = pa.list_(pa.string())
    kinds = {
        "paths": texts, "languages": texts, "licenses": texts, "license_permissive": pa.bool_(),
        "files": pa.int64(), "size": pa.int64(),
    }  # fmt: skip
    names = (
        "record_id", "repo", "paths", "languages", "licenses", "license_permissive", "text", "fim", "files",
        "size", "commit", "split",
    )  # fmt: skip
    return pa.schema([pa.field(name, kinds.get(name, pa.string()), nullable=False) for name in names])


def _write(
    folder: Folder, place: str, config: str, rows: Sequence[dict[str, Any]], schema: "pyarrow.Schema"
) -> dict[str, Any]:
    """All splits of one configuration; returns its counts, in the shape that `adi data stats` reads."""
    for split in SPLITS:
        shards = list(_shards([row for row in rows if row["split"] == split]))
        for number, shard in enumerate(shards):
            name = f"{place}/{split}-{number:05}-of-{len(shards):05}.parquet"
            folder.parquet(name, shard, schema, config, split)
    columns = ("split", "fim", "language", "license", "license_source", "license_permissive", "repo")
    counted = {
        column: dict(sorted(Counter(str(row[column]) for row in rows).items()))
        for column in columns
        if column in schema.names
    }
    return {"rows": len(rows), "bytes": {"text": sum(row["size"] for row in rows)}, **counted}


def _shards(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    shard, total = list[dict[str, Any]](), 0
    for row in rows:
        if shard and total + row["size"] > SHARD_BYTES:
            yield shard
            shard, total = [], 0
        shard.append(row)
        total += row["size"]
    if shard:
        yield shard


def _manifest(corpus: Corpus, folder: Folder, version: str) -> dict[str, Any]:
    """What the corpus was made from and how; no path of a machine, no name that the rows do not have."""
    sources = sorted(
        ({"repo": one.label, "commit": one.commit, "seen": one.seen, "kept": one.kept, "left_out": one.why}
         for one in corpus.repositories),
        key=lambda source: json.dumps(source, sort_keys=True),
    )  # fmt: skip
    return {
        "schema_version": SCHEMA_VERSION,
        "type": TYPE,
        "adi_version": version,
        "query": corpus.wish.model_dump(mode="json"),
        "split_by": corpus.split_by,
        "repositories": sources,
        "steps": steps(corpus),
        "redacted": corpus.redacted,
        "files": [
            {key: getattr(file, key) for key in ("path", "sha256", "bytes", "rows", "config", "split")}
            for file in sorted(folder.files, key=lambda file: file.path)
        ],
    }  # fmt: skip


def steps(corpus: Corpus) -> list[dict[str, Any]]:
    """The counts as data."""
    return [
        {"name": count.name, "in": count.rows_in, "out": count.rows_out, "dropped": count.reasons}
        for count in corpus.steps
    ]
