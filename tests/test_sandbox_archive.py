"""The tar reader against hostile streams, and the comparison of listings."""

import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.archive import BLOCK, ArchiveCaps, read_archive
from sandbox.errors import CopyOutRefused, UnsafePath
from sandbox.listing import compare, parse, pruned_names, script
from sandbox.output import HeadTail
from sandbox.paths import check_path, is_git_name, protected


def pack(*members: tuple[tarfile.TarInfo, bytes], fmt: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=fmt) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200)


def is_safe(name: str) -> bool:
    try:
        check_path(name)
    except UnsafePath:
        return False
    return True


@given(
    st.dictionaries(names, st.binary(max_size=2000), max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 3000),
)
def test_what_tar_writes_is_read_back(files: dict[str, bytes], fmt: int, size: int) -> None:
    packed = pack(*((member(name), data) for name, data in files.items()), fmt=fmt)
    # tarfile drops leading and trailing slashes, so names that have them are not comparable
    plain = {name: data for name, data in files.items() if name == name.strip("/") and is_safe(name)}
    found = read_archive(pieces(packed, size)).files
    assert {name: found.get(name) for name in plain} == plain
    assert all(is_safe(name) for name in found)


@given(st.binary(max_size=4 * BLOCK), st.integers(0, 3 * BLOCK), st.binary(min_size=1, max_size=40))
def test_damage_never_escapes_as_another_error(noise: bytes, place: int, patch: bytes) -> None:
    good = pack((member("a/b.py"), b"x = 1\n"), (member("n" * 180), b"y"))
    damaged = good[:place] + patch + good[place + len(patch) :]
    for stream in (noise, damaged, good[:place]):
        try:
            found = read_archive([stream])
        except CopyOutRefused:
            continue
        assert all(is_safe(name) for name in found.files)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".git/config", "a/.GIT/hooks/x"])
def test_members_that_lead_elsewhere_are_skipped_and_named(name: str) -> None:
    info = member("ok")
    found = read_archive([pack((member(name), b"evil"), (info, b"good"))])
    assert found.files == {"ok": b"good"}
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("d/" * 150 + "x", "too deep, 151 names of at most 100"),
        ("x" * 300, "too long, 300 bytes of at most 255"),
        ("/".join(["n" * 250] * 20), "too long, 5019 bytes of at most 4096"),
    ],
)
def test_depth_and_length_of_names_are_caps_and_never_a_part_is_taken(name: str, told: str) -> None:
    with pytest.raises(CopyOutRefused, match=told):
        read_archive([pack((member("ok"), b"good"), (member(name), b"evil"))])
    before, _ = parse(line("f", 1, "ok"), 9)
    after, notes = parse(line("f", 2, "ok") + line("f", 1, name), 9)
    assert notes == []
    with pytest.raises(CopyOutRefused, match=told):
        compare(before, after, lambda _: set(), ArchiveCaps())
    had, _ = parse(line("f", 1, "ok") + line("f", 1, name), 9)  # what the repository had itself
    assert compare(had, after, lambda _: set(), ArchiveCaps()).fetch == ["ok"]


def test_caps_on_names_can_be_set_lower() -> None:
    for caps in (ArchiveCaps(depth=2), ArchiveCaps(name_bytes=2), ArchiveCaps(path_bytes=6)):
        assert read_archive([pack((member("a/é"), b""))], caps).files == {"a/é": b""}
        with pytest.raises(CopyOutRefused, match="of at most"):
            read_archive([pack((member("a/éé/c"), b""))], caps)


def test_only_the_first_of_two_and_only_regular_files() -> None:
    kinds = [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.DIRTYPE,
    ]
    odd = [(member(f"odd{number}", kind, "/etc/passwd"), b"") for number, kind in enumerate(kinds)]
    twice = [
        (member("a"), b"first"),
        (member("a", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (member("a"), b"second"),
    ]
    found = read_archive([pack(*odd, *twice, (member("a/b"), b"below"))])
    assert found.files == {"a": b"first", "a/b": b"below"}
    assert len(found.notes) == len(kinds) + 2


def test_caps() -> None:
    caps = ArchiveCaps(total_bytes=1000, file_bytes=600, entries=3)
    assert read_archive([pack((member("a"), bytes(600)))], caps).files == {"a": bytes(600)}
    for members in (
        [(member("a"), bytes(601))],
        [(member("a"), bytes(500)), (member("b"), bytes(501))],
        [(member(str(number)), b"") for number in range(4)],
    ):
        with pytest.raises(CopyOutRefused):
            read_archive([pack(*members)], caps)

    def endless() -> Iterator[bytes]:
        header = member("big")
        header.size = 1 << 60
        yield header.tobuf(tarfile.GNU_FORMAT)
        while True:
            yield bytes(1 << 16)

    with pytest.raises(CopyOutRefused):
        read_archive(endless(), caps)
    with pytest.raises(CopyOutRefused, match="ends too early"):
        read_archive([pack((member("a"), bytes(600)))[:700]], caps)


def line(kind: str, stamp: int, path: str) -> bytes:
    return f"{kind} 1 {stamp}.5 {stamp}.5 77 ./{path}\0".encode()


def test_listings_compare_without_reading_files() -> None:
    before = [("f", 1, "same"), ("f", 1, "edit"), ("f", 1, "gone"), ("f", 1, "to-link"), ("d", 1, "d")]
    after = [("f", 1, "same"), ("f", 2, "edit"), ("f", 2, "new"), ("l", 2, "to-link"), ("p", 2, "fifo")]
    after += [("l", 2, "d"), ("f", 2, "x.pyc"), ("f", 2, ".git/x"), ("f", 2, "junk")]
    old, _ = parse(b"".join(line(*entry) for entry in [*before, ("f", 1, "d/below")]), 100)
    new, notes = parse(b"".join(line(*entry) for entry in after) + b"f 1 1 1 7 ./bad\xff\0", 100)
    found = compare(old, new, lambda paths: {path for path in paths if path == "junk"}, ArchiveCaps())
    assert (found.fetch, found.deleted) == (["edit", "new"], ["gone"])
    assert len(found.notes) == 3
    assert len(notes) == 2
    with pytest.raises(CopyOutRefused):
        parse(line("f", 1, "a") * 5, 4)


def test_a_cache_name_that_the_repository_uses_is_not_pruned() -> None:
    assert "target" in pruned_names(["src/a.rs"])
    assert "target" not in pruned_names(["pkg/target/model.py"])
    assert "-name '.git'" in script(pruned_names([".git/x/y"]))


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(2, 60))
def test_head_and_tail_are_kept(chunks: list[bytes], cap: int) -> None:
    kept = HeadTail(cap)
    for chunk in chunks:
        kept.feed(chunk)
    whole = b"".join(chunks)
    if len(whole) <= cap:
        assert kept.bytes() == whole
        assert not kept.truncated
    else:
        assert kept.bytes().startswith(whole[: cap // 2])
        assert kept.bytes().endswith(whole[-(cap - cap // 2) :])
        assert f"{len(whole) - cap} bytes cut".encode() in kept.bytes()


def test_protected_paths_and_git_names() -> None:
    guarded = [
        ".VSCode/x",
        ".adi/config.toml",
        ".envrc",
        ".github/workflows/ci.yml",
        ".gitmodules",
        ".vscode/tasks.json",
        "AGENTS.md",
        "sub/.gitattributes",
    ]
    free = ["src/a.py", ".github/README.md", "docs/agents.md.txt", ".gitignore", "vscode/x"]
    assert protected([*free, *guarded]) == tuple(guarded)
    for name in (
        ".git",
        ".GIT",
        ".git.",
        ".git ",
        "git~1",
        "GIT~12",
        ".g\u200cit",
        ".git::$INDEX_ALLOCATION",
        ".gıt",
        ".GİT",
        ".ｇｉｔ",
    ):
        assert is_git_name(name)
    for name in (".github", ".gitignore", "git", "git~x", "x.git", ".gít"):
        assert not is_git_name(name)
