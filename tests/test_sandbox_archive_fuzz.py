"""Hostile words of a sandbox in small numbers, with every run of the tests: archives, listings, frames.

The large numbers are run by tests/fuzz_archive.py and tests/fuzz_archive_coverage.py.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from fuzz_archive import CAPS, Fuzz, assert_safe, check
from hostile_tar import BLOCK, base256, hostile, octal, padded, record, seal
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_tree import PlantedTree

from sandbox import listing
from sandbox.archive import MAX_NOTES, read_archive
from sandbox.errors import CopyOutRefused
from sandbox.stream import Hijacked
from sandbox.tarstream import Source, members

pytestmark = pytest.mark.containment
END = bytes(2 * BLOCK)


def header(name: bytes, kind: bytes = b"0", size: int = 0) -> bytes:
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[124:136] = octal(size)
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    seal(block)
    return bytes(block)


@given(st.integers(0, 2**63), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_sandbox_d04_hostile_archives_give_safe_files_or_a_refusal(seed: int, most: int) -> None:
    rng = Random(seed)
    check(hostile(rng, most), rng)


def test_sandbox_d04_what_is_taken_is_written_inside_the_tree_only(tmp_path: Path) -> None:
    fuzz, tree = Fuzz(7, None, place_every=8), PlantedTree(tmp_path)
    for _ in range(200):
        fuzz.one(tree)
    assert fuzz.counts["files written into the planted tree"] > 10
    assert fuzz.counts["members taken"] > 300
    assert tree.place({"link/x": b"evil", "abs/x": b"evil", "pkg/link/x": b"evil", "ok": b"good"}) == (1, "")
    written, refusal = tree.place({"late/x": b"evil", "ok": b"good"})  # a link planted after the copy
    assert (written, bool(refusal)) == (0, True)


def test_the_generator_makes_every_outcome() -> None:
    """So that the counts of a fuzzing run mean something."""
    told: set[str] = set()
    for number in range(1500):
        rng = Random(number)
        found = check(hostile(rng), rng)
        told |= {found} if isinstance(found, str) else {note.rpartition(": ")[2] for note in found.notes}
    for word in (
        "a hard link", "a symbolic link", "a device", "a FIFO", "a directory", "a sparse file",
        "a contiguous", "comes twice", "not valid UTF-8", "absolute", "empty, `.` or `..`", "git's own",
        "holds a NUL", "broken header", "broken number", "broken extended header", "too large",
        "ends too early", "in a row", "too many bytes", "nothing can be copied out", "global header",
    ):  # fmt: skip
        assert any(word in text for text in told), word


def test_sandbox_d05_sparse_files_of_every_format_are_passed_over_whole() -> None:
    after = header(b"after", size=3) + padded(b"yes")
    old = bytearray(header(b"holes", b"S", 512))
    old[482] = 1
    seal(old)
    more = bytes(504) + b"\1" + bytes(7) + bytes(512)
    streams = [bytes(old) + more + b"D" * 512 + after]
    for fields in (
        record(b"GNU.sparse.size", b"9") + record(b"GNU.sparse.numblocks", b"1"),
        record(b"GNU.sparse.map", b"0,1") + record(b"GNU.sparse.name", b"holes"),
        record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.name", b"holes"),
    ):
        pax = header(b"pax", b"x", len(fields)) + padded(fields)
        streams.append(pax + header(b"holes", size=512) + b"D" * 512 + after)
    for stream in streams:
        found = read_archive([stream + END])
        assert found.files == {"after": b"yes"}
        assert found.notes == ["'holes' was not copied out: it is a sparse file"]


@pytest.mark.parametrize(
    "size", [base256(-1), base256(1 << 62), base256(-(1 << 62)), b"77777777777\0", b"\xff" * 12]
)
def test_sandbox_d06_negative_and_overflowing_sizes_are_refused_unread(size: bytes) -> None:
    block = bytearray(header(b"a"))
    block[124:136] = size
    seal(block)
    given = []

    def chunks() -> Iterator[bytes]:
        for piece in (bytes(block), *[bytes(BLOCK)] * 100):
            given.append(piece)
            yield piece

    with pytest.raises(CopyOutRefused):
        read_archive(chunks(), CAPS)
    assert len(given) == 1


def test_sandbox_a09_extended_headers_are_few_and_have_few_records() -> None:
    """13,000 records in each of 1,300 headers took half a minute, well below the cap on bytes."""
    for records, ok in ((900, True), (13_000, False)):
        fields = b"5 a=\n" * records
        pax = header(b"pax", b"x", len(fields)) + padded(fields)
        if ok:
            assert read_archive([pax * 8 + header(b"a") + END]).files == {"a": b""}
            with pytest.raises(CopyOutRefused, match="in a row"):
                read_archive([pax * 9 + header(b"a") + END])
        else:
            with pytest.raises(CopyOutRefused, match="extended header of the archive is too large"):
                read_archive([pax + header(b"a") + END])


def test_notes_stay_few() -> None:
    found = read_archive([header(b"fifo", b"6") * 1000 + END])
    assert len(found.notes) == MAX_NOTES + 1
    assert "more was left out" in found.notes[-1]


def test_what_nobody_asked_for_is_left_out() -> None:
    found = read_archive([header(b"asked") + header(b"extra") + END], wanted={"asked"})
    assert (list(found.files), found.notes) == (
        ["asked"],
        ["'extra' was not copied out: nobody asked for it"],
    )


def entry(kind: bytes, size: bytes, name: bytes) -> bytes:
    return b" ".join((kind, size, b"1.5", b"2.5", b"77", b"./" + name)) + b"\0"


paths = st.one_of(
    st.sampled_from(
        [b"a.py", b"../x", b"/etc/x", b".git/config", b"x/" * 200 + b"x", b"n" * 300, b"", b"a\nb", b"\xff"]
    ),
    st.binary(max_size=40),
)
lines = st.one_of(
    st.builds(
        entry,
        st.sampled_from([b"f", b"d", b"l", b"p", b"s", b"b", b"?"]),
        st.sampled_from([b"1", b"9" * 19]),
        paths,
    ),
    st.binary(max_size=60),
    st.sampled_from(
        [b"f -1 1 1 1 a\0", b"f 1_0 1 1 1 a\0", b"f " + b"9" * 5000 + b" 1 1 1 a\0", b"f 1 1 1\0"]
    ),
)


@given(st.lists(lines, max_size=12), st.lists(lines, max_size=12), st.integers(0, 14))
@settings(max_examples=200, deadline=None)
def test_sandbox_b09_whatever_prints_the_listing_it_is_read_or_refused(
    old: list[bytes], new: list[bytes], cap: int
) -> None:
    try:
        before, _ = listing.parse(b"".join(old), cap)
        after, notes = listing.parse(b"".join(new), cap)
        found = listing.compare(before, after, lambda _: set(), CAPS)
    except CopyOutRefused:
        return
    assert len(after) <= cap
    assert all(note.isprintable() and len(note) < 2000 for note in (*notes, *found.notes))
    for path in found.fetch:
        assert_safe(path)


def test_a_listing_of_nothing_but_ends_is_not_split() -> None:
    with pytest.raises(CopyOutRefused, match="more than 10 files"):
        listing.parse(bytes(32 << 20), 10)


frames = st.one_of(
    st.builds(
        lambda kind, data: bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data,
        st.integers(0, 3),
        st.binary(max_size=300),
    ),
    st.binary(max_size=30),
)


@given(st.lists(frames, max_size=20), st.lists(st.integers(1, 400), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_sandbox_f05_frames_come_whole_however_they_are_cut(made: list[bytes], cuts: list[int]) -> None:
    data, start, cut = b"".join(made), 0, 0
    ours, theirs = socket.socketpair()
    seen: list[bytes] = []
    stream = Hijacked(ours)
    with theirs:
        try:
            while start < len(data):
                size = cuts[cut % len(cuts)]
                theirs.sendall(data[start : start + size])
                assert stream.pump(1.0, lambda kind, piece: seen.append(bytes([kind]) + piece))
                start, cut = start + size, cut + 1
        except OSError as error:
            assert_broken(error, data, seen)
        else:
            assert seen == whole_frames(data)
        finally:
            stream.close()


def whole_frames(data: bytes) -> list[bytes]:
    """Kind and data of the frames that are all there, up to a broken one."""
    found = []
    while len(data) >= 8 and len(data) >= 8 + (size := int.from_bytes(data[4:8], "big")):
        found.append(data[:1] + data[8 : 8 + size])
        data = data[8 + size :]
    return found


def assert_broken(error: OSError, data: bytes, seen: list[bytes]) -> None:
    """The container calls it a lost sandbox; what came before was handed over."""
    assert "broken frame" in str(error)
    assert seen == whole_frames(data)


def test_members_of_a_refused_archive_can_be_counted() -> None:
    source = Source([header(b"a") + header(b"b") + b"x" * BLOCK], 10 * BLOCK)
    seen: list[bytes] = []
    with pytest.raises(CopyOutRefused):
        seen.extend(one.name for one in members(source))
    assert seen == [b"a", b"b"]
