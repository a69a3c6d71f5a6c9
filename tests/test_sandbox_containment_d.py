"""Group D with real containers: what commands leave in the work area, and what of it reaches the host."""

import stat
import time
import tracemalloc
from pathlib import Path

import pytest

from sandbox.container import Container
from sandbox.errors import CopyOutRefused
from sandbox.exchange import exchange
from sandbox.images import recipe
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory
from tests.containment_kit import LIMITS, Contained

pytestmark = [pytest.mark.containment, pytest.mark.container]

CANARY = "canary-5d01c7"


def test_sandbox_d01_a_file_that_became_a_link_is_refused_and_named(
    contained: Contained, make_repo: RepoFactory, tmp_path: Path
) -> None:
    """The link's target exists inside and, with other content, on the host: neither is read."""
    root = make_repo({"a.py": "x = 1\n", "b.py": "y = 1\n", "d/c.py": "z = 1\n"})
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    secret = contained.tmp / "secret"
    secret.write_text(CANARY)
    plant = f"""
        set -e; mkdir -p {secret.parent}; echo inside > {secret}
        ln -sf {secret} a.py; ln -sf /etc/passwd b.py; rm -r d; ln -s /etc d
        ln -s a.py chain; ln /etc/hostname hard 2>/dev/null || ln a.py hard
        ln -s /proc/self/environ environ; ln -s /proc/1/root/etc/shadow shadow"""
    files = {path: copy.read(path) for path in copy.paths()}
    with contained.sandbox(files) as box:
        assert box.run(plant, timeout_s=10).status == "ok"
        assert box.changes() == {}
        notes = "\n".join(box.notes)
        for name in ("'a.py'", "'b.py'", "'d'", "'chain'", "'environ'", "'shadow'"):
            assert f"{name} was not copied out: it is a symbolic link" in notes
        assert CANARY not in notes
        assert copy.absorb(box.changes()) == []
        # reading goes on as if nothing had happened, on the host's copy
        assert copy.read("a.py") == b"x = 1\n"
        assert copy.diff() == b""
        box.write({"a.py": b"x = 2\n"})  # replaces the link, does not follow it
        assert box.run(f"cat a.py {secret}", timeout_s=10).output == b"x = 2\ninside\n"
        box.write({"d/c.py": b"z = 2\n"})  # a folder that leads elsewhere: the sandbox starts afresh
        assert "could not be written to" in "\n".join(box.notes)
        assert box.run("cat a.py b.py d/c.py; ls", timeout_s=10).output == (
            b"x = 2\ny = 1\nz = 2\na.py\nb.py\nd\n"
        )
    assert secret.read_text() == CANARY
    secret.unlink()


def test_sandbox_d05_special_files_are_skipped_and_nothing_hangs(contained: Contained) -> None:
    plant = """
        set -e; mkfifo pipe; mkfifo a.py.new; rm a.py; mv a.py.new a.py
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
        mknod null c 1 3 2>/dev/null && exit 9
        printf '#!/bin/sh\\nid' > setuid; chmod 6755 setuid
        echo content > attributes; setfattr -n user.x -v y attributes 2>/dev/null || :
        truncate -s 16M sparse; printf x | dd of=sparse bs=1 seek=1M conv=notrunc 2>/dev/null
        (head -c 10 < pipe) & sleep 0.1; : a reader waits at the FIFO"""
    with contained.sandbox() as box:
        began = time.monotonic()
        assert box.run(plant, timeout_s=10).status == "ok"
        found = box.changes()
        assert time.monotonic() - began < 20
        notes = "\n".join(box.notes)
    assert "'pipe' was not copied out: it is a FIFO" in notes
    assert "'a.py' was not copied out: it is a FIFO" in notes
    assert "'sock' was not copied out: it is a socket" in notes
    assert sorted(found) == ["attributes", "setuid", "sparse"]
    assert found["attributes"] == b"content\n"
    assert found["sparse"] == bytes(1 << 20) + b"x" + bytes((15 << 20) - 1)


def test_sandbox_d05_a_setuid_file_is_made_without_its_bits(
    contained: Contained, make_repo: RepoFactory, tmp_path: Path
) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    with contained.sandbox({"a.py": b"x = 1\n"}) as box:
        box.run(
            "echo '#!/bin/sh' > tool; chmod 6777 tool; chmod 4777 a.py; echo 'x = 2' > a.py", timeout_s=10
        )
        assert copy.absorb(box.changes()) == ["a.py", "tool"]
    before = stat.S_IMODE((root / "a.py").stat().st_mode)
    exchange(root, copy.changed(), tmp_path / "journal", modes=copy.modes())
    assert stat.S_IMODE((root / "tool").stat().st_mode) == 0o644
    assert stat.S_IMODE((root / "a.py").stat().st_mode) == before


def refused_unread(contained: Contained, size: str) -> None:
    """A sparse file of this size takes no disk, no time and no memory, and costs nothing of the rest."""
    with contained.sandbox() as box:
        made = box.run(f"echo edited > a.py; truncate -s {size} huge; du -k huge", timeout_s=10)
        assert made.output == b"0\thuge\n"
        tracemalloc.start()
        began = time.monotonic()
        with pytest.raises(CopyOutRefused, match="too many to copy out") as caught:
            box.changes()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.monotonic() - began < 5
        assert peak < 8 * 1024**2
        assert "'huge'" in caught.value.message
        assert caught.value.hint
        box.run("rm huge", timeout_s=10)
        assert box.changes() == {"a.py": b"edited\n"}


def test_sandbox_d06_two_sparse_gigabytes_are_refused_unread(contained: Contained) -> None:
    refused_unread(contained, "2G")


def test_sandbox_d07_a_file_of_five_gigabytes_is_refused_unread(contained: Contained) -> None:
    refused_unread(contained, "5G")


def test_sandbox_d06_the_stream_itself_stops_at_the_cap(contained: Contained) -> None:
    """As if the listing had said that the file is small."""
    assert contained.client is not None
    container = Container(contained.client, recipe("python").tag, contained.run_id, LIMITS)
    try:
        container.script("truncate -s 2G big")
        tracemalloc.start()
        began = time.monotonic()
        with pytest.raises(CopyOutRefused, match="more than 8388608 bytes"):
            container.script("exec tar -cf - --format=pax big", max_bytes=8 * 1024**2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.monotonic() - began < 5
        assert peak < 32 * 1024**2
        assert container.sweep()
    finally:
        container.remove()


@pytest.mark.slow
def test_sandbox_d07_a_hundred_thousand_files(contained: Contained) -> None:
    """Past the cap on entries of what is copied out, and past the work area's own cap on inodes."""
    make = "echo edited > a.py; mkdir many; cd many; seq {} | xargs -n 5000 touch"
    with contained.sandbox(memory_bytes=512 * 1024**2, work_inodes=120_000) as box:
        assert box.run(make.format(100_000), timeout_s=60).status == "ok"
        began = time.monotonic()
        with pytest.raises(CopyOutRefused, match="commands changed 100001 files, the cap is 20000"):
            box.changes()
        assert time.monotonic() - began < 30
        box.run("rm -r many", timeout_s=60)
        assert box.changes() == {"a.py": b"edited\n"}
    with contained.sandbox(name="-small", work_inodes=2000) as box:
        result = box.run(make.format(3000), timeout_s=60)
        assert result.status == "disk-full"
        assert "2000 files" in result.detail
        assert box.changes() == {}


def test_sandbox_d07_a_tree_two_thousand_deep(contained: Contained) -> None:
    make = 'python3 -c \'import os\nfor _ in range(2000): os.mkdir("d"); os.chdir("d")\nopen("f", "w")\''
    with contained.sandbox() as box:
        assert box.run(f"echo edited > a.py; {make}", timeout_s=20).status == "ok"
        with pytest.raises(CopyOutRefused, match="nothing can be copied out: it is too deep") as caught:
            box.changes()
        assert len(caught.value.message) < 500
        assert sum(map(len, box.notes)) < 20_000
        assert box.run("rm -r d", timeout_s=20).status == "ok"
        assert box.changes() == {"a.py": b"edited\n"}


def test_sandbox_d07_long_names_and_odd_ones(contained: Contained) -> None:
    make = """python3 - <<'END'
import os
names = [b"n" * 255, "\\u4e2d".encode() * 85, b"new\\nline", b"bad\\xff", b".git~", b"git~1", b"-rf", b"\\r"]
for name in names:
    open(name, "w").close()
END"""
    with contained.sandbox() as box:
        assert box.run(make, timeout_s=20).status == "ok"
        found = box.changes()
        notes = "\n".join(box.notes)
    assert {"n" * 255, "\u4e2d" * 85, "-rf"} <= set(found)
    assert "git~1" not in found
    assert "'git~1' was not copied out" in notes
    assert "bad" in notes
    assert "\r" not in notes
