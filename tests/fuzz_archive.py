"""Feeds the archive reader hostile archives until so many members were generated.

Every archive has a number, and its number and the seed make it again. With `--state FILE` the counts add up
over runs. What is checked for each archive: nothing but CopyOutRefused is raised; no more is read from the
stream than the cap allows; every path taken is safe by rules written down here once more; well-formed
archives give what the standard library reads. Each so-many-th accepted result is really written into a
repository full of links (tests/planted_tree.py). Run it as `python tests/fuzz_archive.py --members 100000`.
"""

import argparse
import io
import json
import re
import resource
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from hostile_tar import Archive, hostile  # noqa: E402
from planted_tree import PlantedTree  # noqa: E402

from sandbox.archive import MAX_NOTES, ArchiveCaps, Contents, read_archive  # noqa: E402
from sandbox.errors import CopyOutRefused  # noqa: E402
from sandbox.tarstream import BLOCK, Source, members  # noqa: E402

CAPS = ArchiveCaps(total_bytes=40_000, file_bytes=20_000, entries=40)
ROOM = CAPS.total_bytes + 4 * BLOCK * (CAPS.entries + 1)
GIT = re.compile(r"git~\d+|\.git[ .]*(:.*)?", re.IGNORECASE)


class Chunks:
    """A stream in pieces of changing size, which counts what was asked of it."""

    def __init__(self, data: bytes, rng: Random) -> None:
        self._data, self._rng, self.given = data, rng, 0
        self.largest = 0

    def __iter__(self) -> Iterator[bytes]:
        start = 0
        while start < len(self._data):
            size = self._rng.choice((1, 511, 512, 4096, 65_536))
            piece = self._data[start : start + size]
            start, self.given, self.largest = (
                start + size,
                self.given + len(piece),
                max(self.largest, len(piece)),
            )
            yield piece


def check(archive: Archive, rng: Random) -> Contents | str:
    """What the reader took, or why it refused. Raises AssertionError, or what the reader raised."""
    chunks = Chunks(archive.data, rng)
    try:
        contents, refusal = read_archive(chunks, CAPS), ""
    except CopyOutRefused as error:
        contents, refusal = Contents(), error.message
    assert chunks.given <= ROOM + chunks.largest, "read past the cap on bytes"
    if refusal:
        assert refusal.isprintable(), "the reason steers a terminal"
        assert not archive.benign, f"refused a good archive: {refusal}"
        return re.sub(r"\d+", "N", refusal.partition(":")[0])
    assert sum(map(len, contents.files.values())) <= CAPS.total_bytes
    assert len(contents.files) <= CAPS.entries
    assert len(contents.notes) <= MAX_NOTES + 1
    assert all(note.isprintable() and len(note) < 2000 for note in contents.notes)
    for path in contents.files:
        assert_safe(path)
    if archive.benign:
        assert contents.files == as_the_library_reads(archive.data)
    return contents


def assert_safe(path: str) -> None:
    """The rules, apart from the product's own code."""
    parts = path.split("/")
    assert path
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(parts)
    assert "\0" not in path
    assert not any(GIT.fullmatch(re.sub("[\u200b-\u200f\u2060-\u206f\ufeff]", "", part)) for part in parts), (
        path
    )
    assert len(parts) <= 100
    assert max(len(part.encode()) for part in parts) <= 255
    assert len(path.encode()) <= 4096


def as_the_library_reads(data: bytes) -> dict[str, bytes]:
    """Regular files of a well-formed archive, the first of each name."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            found.setdefault(member.name, stream.read())
    return found


def reached(data: bytes) -> int:
    """Members of a refused archive whose headers the reader came to."""
    count, source = 0, Source([data], ROOM)
    try:
        for header in members(source):
            count += 1
            source.skip(header.size)
    except CopyOutRefused:
        pass
    return count


def reason_of(note: str) -> str:
    return "skipped: " + note.rpartition(" was not copied out: ")[2]


class Fuzz:
    """Counts, over all runs that share a state."""

    def __init__(self, seed: int, state: Path | None, place_every: int) -> None:
        self.seed, self.state, self.place_every = seed, state, place_every
        self.counts: Counter[str] = Counter()
        if state is not None and state.exists():
            stored = json.loads(state.read_text())
            assert stored["seed"] == seed, f"{state} belongs to seed {stored['seed']}"
            self.counts.update(stored["counts"])

    def one(self, tree: PlantedTree) -> None:
        """The next archive."""
        rng = Random(f"{self.seed}:{self.counts['archives']}")
        archive = hostile(rng)
        self.counts["archives"] += 1
        self.counts["members generated"] += archive.members
        self.counts["bytes"] += len(archive.data)
        found = check(archive, rng)
        if isinstance(found, str):
            self.counts["members reached by the reader"] += reached(archive.data)
            self.counts["archives refused"] += 1
            self.counts[f"refused: {found}"] += 1
            return
        self.counts["archives read to the end"] += 1
        self.counts["archives compared with tarfile"] += archive.benign
        self.counts["members taken"] += len(found.files)
        self.counts["members reached by the reader"] += len(found.files) + len(found.notes)
        self.counts.update(map(reason_of, found.notes))
        if found.files and self.counts["archives read to the end"] % self.place_every == 0:
            written, refusal = tree.place(found.files)
            self.counts["results written into the planted tree"] += 1
            self.counts["files written into the planted tree"] += written
            self.counts[f"exchange refused whole: {refusal}"] += bool(refusal)

    def run(self, wanted: int, seconds: float) -> None:
        """Until `wanted` members were generated over all runs, or the time is up."""
        end = time.monotonic() + seconds
        with tempfile.TemporaryDirectory(prefix="adi-fuzz-") as folder:
            tree = PlantedTree(Path(folder))
            while self.counts["members generated"] < wanted and time.monotonic() < end:
                began = time.monotonic()
                for _ in range(500):
                    self.one(tree)
                self.counts["milliseconds"] += round((time.monotonic() - began) * 1000)
                self.save()

    def save(self) -> None:
        if self.state is not None:
            self.state.write_text(json.dumps({"seed": self.seed, "counts": dict(self.counts)}, indent=1))

    def table(self) -> str:
        """Markdown."""
        counts: dict[str, Any] = {
            key: count for key, count in sorted(self.counts.items(), key=_place) if count
        }
        spent = counts.pop("milliseconds", 1) / 1000
        counts["seconds"] = round(spent)
        counts["members each second"] = round(counts.get("members generated", 0) / spent)
        counts["peak memory of the process, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return "\n".join(
            ["| what | count |", "| --- | ---: |", *(f"| {k} | {v:,} |" for k, v in counts.items())]
        )


def _place(row: tuple[str, int]) -> tuple[int, int]:
    """Totals first, then what was skipped and refused, the most frequent first."""
    return next(
        (i for i, start in enumerate(("skipped:", "refused:"), 1) if row[0].startswith(start)), 0
    ), -row[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=1_000_000, help="how many, over all runs of the state")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, help="file with the counts so far")
    parser.add_argument("--place-every", type=int, default=200, help="write each so-many-th accepted result")
    parser.add_argument("--seconds", type=float, default=86_400.0, help="stop after this time")
    wanted = parser.parse_args()
    fuzz = Fuzz(wanted.seed, wanted.state, wanted.place_every)
    try:
        fuzz.run(wanted.members, wanted.seconds)
    except BaseException as error:
        sys.stderr.write(f"archive {fuzz.counts['archives'] - 1} of seed {wanted.seed}: {error!r}\n")
        raise
    sys.stdout.write(fuzz.table() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
