"""Coverage-guided fuzzing of everything that reads a sandbox's own words: archives, listings, frames.

Needs atheris, which the project does not install: `pip install atheris`, then
`python tests/fuzz_archive_coverage.py CORPUS -max_total_time=600` (any option of libFuzzer). The first byte
chooses the reader. Counts go to CORPUS.json every so often. Nothing but the sandbox's errors may be raised.
"""

import json
import socket
import sys
from collections import Counter
from pathlib import Path
from random import Random

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

with atheris.instrument_imports(include=["sandbox"]):
    from sandbox import listing
    from sandbox.archive import read_archive
    from sandbox.errors import SandboxError
    from sandbox.stream import Hijacked
    from sandbox.tarstream import Source, members

from fuzz_archive import CAPS, ROOM, assert_safe  # noqa: E402
from hostile_tar import BLOCK, hostile, seal  # noqa: E402

SEEDS = 300
COUNTS: Counter[str] = Counter()
REPORT = Path()


def read_tar(data: bytes) -> None:
    """A stream whose checksums are mended, so that the mutations get past them."""
    mended = bytearray(data)
    for start in range(0, len(mended) - BLOCK + 1, BLOCK):
        if mended[start + 148 : start + 150] == b"0c":  # a mark that seeds carry instead of a checksum
            block = mended[start : start + BLOCK]
            seal(block)
            mended[start : start + BLOCK] = block
    mended += bytes(CAPS.file_bytes)  # or most mutations would be a stream that ends too early
    source = Source([bytes(mended)], ROOM)
    try:
        for header in members(source):
            COUNTS["members reached by the reader"] += 1
            source.skip(header.size)
    except SandboxError:
        COUNTS["archives refused as malformed"] += 1
    contents = read_archive([bytes(mended)], CAPS)
    COUNTS["archives read to the end"] += 1
    COUNTS["members taken"] += len(contents.files)
    for path in contents.files:
        assert_safe(path)


def read_listing(data: bytes) -> None:
    """Two listings, as `find` in the container would print them, and what changed between them."""
    old, _, new = data.partition(b"\xfe")
    before, _ = listing.parse(old, 100)
    after, notes = listing.parse(new, 100)
    found = listing.compare(before, after, lambda _: set(), CAPS)
    assert all(note.isprintable() for note in (*notes, *found.notes))
    for path in found.fetch:
        assert_safe(path)


def read_frames(data: bytes) -> None:
    """Frames of an exec stream; a broken one is an OSError, which the container calls a lost sandbox."""
    ours, theirs = socket.socketpair()
    with theirs:
        stream = Hijacked(ours)
        try:
            theirs.sendall(data[:100_000])
            theirs.shutdown(socket.SHUT_WR)
            seen: list[bytes] = []
            while stream.pump(0.1, lambda _kind, piece: seen.append(piece)):
                pass
            assert sum(map(len, seen)) <= len(data)
        except OSError as error:
            if "broken frame" not in str(error):
                raise
        finally:
            stream.close()


READERS = (read_tar, read_tar, read_tar, read_listing, read_frames)


def one(data: bytes) -> None:
    """What libFuzzer calls."""
    if not data:
        return
    COUNTS["executions"] += 1
    reader = READERS[data[0] % len(READERS)]
    COUNTS[reader.__name__] += 1
    try:
        reader(data[1:])
    except SandboxError:
        COUNTS["refused"] += 1
    if COUNTS["executions"] % 5000 == 0:
        REPORT.write_text(json.dumps(COUNTS, indent=1))


def seed(corpus: Path) -> None:
    """Archives of the generator, their checksums replaced by the mark, as a beginning."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number in range(SEEDS):
        data = bytearray(hostile(Random(number), most=4).data[:20_000])
        for start in range(0, len(data) - BLOCK + 1, BLOCK):
            if data[start + 154 : start + 156] == b"\0 ":
                data[start + 148 : start + 150] = b"0c"
        (corpus / f"seed-{number}").write_bytes(b"\0" + data)
    entry = b"f 12 1.5 1.5 77 ./a.py\0d 0 1 1 7 ./src\0l 1 2.0 2.0 8 ./src/link\0"
    (corpus / "seed-listing").write_bytes(b"\x03" + entry + b"\xfe" + entry.replace(b"1.5", b"2.5"))
    (corpus / "seed-frames").write_bytes(b"\x04" + b"\1\0\0\0\0\0\0\5hello" + b"\2\0\0\0\0\0\0\0")


if __name__ == "__main__":
    REPORT = Path(sys.argv[1]).with_suffix(".json")
    seed(Path(sys.argv[1]))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
