"""A corpus as a folder: it loads, it is the same each time, and nothing half-written has its name."""

import errno
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from feedback import corpus_write
from feedback.corpus import make
from feedback.corpus_infill import restored
from feedback.corpus_record import SPLITS, Corpus, Wish
from feedback.errors import DataError
from tests.corpus_kit import HELPERS, TOKENS, code

WRITTEN = Wish(local=True, pack=4_000, seed=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """300 files of 25 folders."""
    roots = [tmp_path_factory.mktemp("roots") / f"r{number}" for number in range(25)]
    for root in roots:
        root.mkdir()
        for number in range(12):
            (root / f"a{number}.py").write_text(code(f"{root.name}_{number}"))
    return make(roots, WRITTEN.model_copy(update={"family": "qwen2.5-coder"}), HELPERS, TOKENS)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_folder_loads_and_is_the_same_each_time(made: Corpus, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    manifest = corpus_write.write(made, first, TOKENS, "1.0")
    corpus_write.write(made, second, TOKENS, "1.0")
    assert digests(first) == digests(second)
    listed = {file["path"]: file["sha256"] for file in manifest["files"]}
    assert listed == {path: sha for path, sha in digests(first).items() if path != "meta/manifest.json"}
    assert str(tmp_path) not in "".join(path.read_text() for path in first.rglob("*.[jm][sd]*"))
    rows = loaded(first, "files", tmp_path / "cache")
    assert sum(len(part) for part in rows.values()) == len(made.documents) == 300
    assert set(rows) == set(SPLITS)
    by_repo = {(row["repo"], split) for split, part in rows.items() for row in part}
    assert len(by_repo) == 25
    modes = Counter()  # type: ignore[var-annotated]
    for split, part in rows.items():
        for row in part:
            assert row["split"] == split
            assert restored(row["text"], row["fim"], TOKENS) == row["content"]
            assert hashlib.sha256(row["content"].encode()).hexdigest() == row["sha256"]
            assert (row["size"], row["lines"]) == (len(row["content"].encode()), 14)
            modes[row["fim"]] += 1
    assert min(modes[mode] for mode in ("none", "psm", "spm")) > 30
    card = (first / "README.md").read_text()
    assert "300" in card
    assert "Not for others" in card
    stats = json.loads((first / "meta" / "stats.json").read_text())
    assert stats["files"]["fim"] == dict(sorted(modes.items()))


def test_packed_rows_hold_files_of_one_repository(made: Corpus, tmp_path: Path) -> None:
    corpus_write.write(made, tmp_path / "out", TOKENS, "1.0")
    parts = loaded(tmp_path / "out", "packed", tmp_path / "cache")
    files = {(one.repo, one.path): one for one in made.documents}
    packed = [row for part in parts.values() for row in part]
    assert sorted((row["repo"], path) for row in packed for path in row["paths"]) == sorted(files)
    for row in packed:
        assert row["files"] == len(row["paths"]) > 1
        assert row["text"].startswith(f"<|repo_name|>{row['repo']}\n<|file_sep|>{row['paths'][0]}\n")
        assert sum(len(files[row["repo"], path].text) for path in row["paths"]) <= 4_000
        assert all(files[row["repo"], path].text in row["text"] for path in row["paths"][:-1])


def loaded(folder: Path, config: str, cache: Path) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """As a trainer loads it, without a network."""
    from datasets import load_dataset

    return {
        str(split): list(rows)
        for split, rows in load_dataset(str(folder), config, cache_dir=str(cache)).items()
    }


def test_the_card_is_one_that_the_hub_reads(made: Corpus, tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    corpus_write.write(made, tmp_path / "out", TOKENS, "1.0")
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    data = card.data.to_dict()
    assert [config["config_name"] for config in data["configs"]] == ["files", "packed"]
    assert data["size_categories"] == ["n<1K"]


def test_a_place_that_is_taken_is_refused_unless_it_is_a_corpus(made: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "out"
    corpus_write.write(made, out, TOKENS, "1.0")
    before = digests(out)
    with pytest.raises(DataError, match="a corpus already") as refused:
        corpus_write.write(made, out, TOKENS, "1.0")
    assert "--force" in refused.value.hint
    corpus_write.write(made, out, TOKENS, "1.1", force=True)
    assert digests(out) != before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(DataError, match="is no corpus"):
            corpus_write.write(made, mine, TOKENS, "1.0", force=force)
    (mine / "meta").mkdir()
    (mine / "meta" / "manifest.json").write_text('{"schema_version": 1, "type": "adi-data-set"}')
    with pytest.raises(DataError, match="is no corpus"):
        corpus_write.write(made, mine, TOKENS, "1.0", force=True)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_has_the_name(made: Corpus, tmp_path: Path, error: BaseException) -> None:
    class Failing(dict[str, int]):
        """What the card is asked for when the rows are on the disk already."""

        seen: ClassVar[list[str]] = []

        def items(self) -> Any:
            self.seen.extend(path.name for path in tmp_path.glob(".out.partial-*/data/train-*"))
            raise error

    corpus = replace(made, redacted=Failing(secret=1))
    with pytest.raises((DataError, KeyboardInterrupt)):
        corpus_write.write(corpus, tmp_path / "out", TOKENS, "1.0")
    assert Failing.seen == ["train-00000-of-00001.parquet"]
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
