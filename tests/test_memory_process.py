"""A process is known again, and so are the files that it holds."""

import os
from pathlib import Path

import pytest

from memory.process import elsewhere, host, identity, is_alive, own_identity, shared_identity, users_of
from tests.store_kit import start

HOLDS = "import sys; held = open(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_a_process_is_known_by_more_than_its_number() -> None:
    assert is_alive(os.getpid(), own_identity())
    with start("import sys; sys.stdin.read()") as child:
        known = identity(child.pid)
        assert is_alive(child.pid, known)
        assert not is_alive(child.pid, own_identity())  # the number was given to another process
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(child.pid, known)  # not yet reaped, yet dead
    assert not is_alive(child.pid, known)
    assert not is_alive(os.getpid(), "")


def test_the_machine_belongs_to_an_identity_that_machines_share() -> None:
    known = shared_identity()
    assert known == f"{own_identity()}@{host()}"
    assert is_alive(os.getpid(), known)
    assert not elsewhere(known)
    other = f"{own_identity()}@another-machine"
    assert elsewhere(other) == "another-machine"
    assert not is_alive(os.getpid(), other)


def test_who_has_a_file_open_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert users_of(path) == []
    with start(HOLDS, str(path)) as child, path.open() as stream:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert users_of(path) == sorted([os.getpid(), child.pid])
        stream.close()
        child.kill()
    assert users_of(path) == []
    with pytest.raises(FileNotFoundError):
        users_of(tmp_path / "none")
