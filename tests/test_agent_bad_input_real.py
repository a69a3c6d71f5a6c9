"""Bad input and bad luck with everything real: the `adi` command, Docker, a model server, a terminal."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from memory.records import Stop
from tests.adi_kit import FILES, PLAN, adi, containers, mends, newest, planning, typing
from tests.agent_kit import CALC, MENDED, Script
from tests.conftest import RepoFactory
from tests.openai_server import serve

pytestmark = pytest.mark.usefixtures("scripted")

DEAD = "unix:///nonexistent/docker.sock"
container = pytest.mark.container


@container
def test_the_whole_way_and_a_dirty_tree(make_repo: RepoFactory, adi_home: Path) -> None:
    repo = make_repo({**FILES, "calc.py": "def add(a, b):\n    return 0\n"})
    (repo / "calc.py").write_text(CALC)
    (repo / "mine.txt").write_text("untracked\n")
    index = (repo / ".git/index").read_bytes()
    with serve(mends()) as url:
        done = adi(repo, "run", "make the test pass", "--yes", "--url", url)
    assert done.returncode == 0, done.stderr
    assert (repo / "calc.py").read_text() == MENDED
    assert (repo / "mine.txt").read_text() == "untracked\n"
    assert (repo / ".git/index").read_bytes() == index
    run = newest(adi_home)
    assert run.applied
    assert containers(run.id) == []
    assert adi(repo, "undo").returncode == 0
    assert (repo / "calc.py").read_text() == CALC


def test_docker_down(make_repo: RepoFactory, adi_home: Path) -> None:
    repo = make_repo(FILES)
    done = adi(repo, "run", "mend it", "--yes", "--url", "http://127.0.0.1:9", DOCKER_HOST=DEAD)
    assert done.returncode == 6
    assert "error: no Docker engine answers" in done.stderr
    assert "hint: check DOCKER_HOST" in done.stderr
    assert newest(adi_home).stop is Stop.ENVIRONMENT
    assert (repo / "calc.py").read_text() == CALC


@container
def test_model_missing_while_offline(make_repo: RepoFactory, adi_home: Path) -> None:
    repo = make_repo(FILES)
    done = adi(repo, "run", "mend it", "--yes", ADI_MODEL__OFFLINE="true")
    assert done.returncode == 6, done.stderr
    assert "hint: adi model pull" in done.stderr
    run = newest(adi_home)
    assert run.stop is Stop.ENVIRONMENT
    assert containers(run.id) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system needs root to mount it")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a tmpfs here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    with contextlib.suppress(OSError), (place / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 512)


def test_full_disk_from_the_start(make_repo: RepoFactory, small_disk: Path) -> None:
    repo = make_repo(FILES)
    fill(small_disk)
    done = adi(repo, "run", "mend it", "--yes", ADI_HOME=str(small_disk), DOCKER_HOST=DEAD)
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    assert "full" in done.stderr or "space" in done.stderr
    (small_disk / "filler").unlink()
    done = adi(repo, "run", "mend it", "--yes", ADI_HOME=str(small_disk), DOCKER_HOST=DEAD)
    assert "no Docker engine answers" in done.stderr


@container
def test_full_disk_in_the_middle(make_repo: RepoFactory, small_disk: Path) -> None:
    repo = make_repo(FILES)

    def fills() -> str:
        fill(small_disk)
        return PLAN

    with serve(planning(fills)) as url:
        done = adi(repo, "run", "mend it", "--yes", "--url", url, ADI_HOME=str(small_disk))
        assert done.returncode == 6, done.stderr
        assert "Traceback" not in done.stderr
        assert (repo / "calc.py").read_text() == CALC
    (small_disk / "filler").unlink()
    log = adi(repo, "log", ADI_HOME=str(small_disk))
    assert log.returncode == 0
    assert "\tkilled\t" in log.stdout or "\tenvironment\t" in log.stdout
    with serve(mends()) as url:
        done = adi(repo, "run", "mend it", "--yes", "--url", url, ADI_HOME=str(small_disk))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@container
def test_odd_bytes_odd_names_large_files_and_a_users_edit(make_repo: RepoFactory, adi_home: Path) -> None:
    """CRLF, a BOM, no final newline, spaces and quotes, binary and 50 MB, in the container as on the host."""
    folder = 'it\'s "odd" $HOME'
    test = f"import sys\n\nsys.path.insert(0, {folder!r})\n{FILES['test_calc.py']}"
    before = b"\xef\xbb\xbf" + CALC.replace("\n", "\r\n").encode().rstrip()
    large = os.urandom(1024) * 50 * 1024
    repo = make_repo(
        {
            f"{folder}/calc.py": before,
            "test_calc.py": test,
            "logo.bin": bytes(range(256)),
            "large.bin": large,
        },
        name='a repo\'s "place"',
    )
    script = Script(plan="no plan", lines={f"{folder}/calc.py line 2": "return a + b"})
    with serve(script) as url:
        done = adi(repo, "run", "mend calc.py", "--yes", "--url", url)
    assert done.returncode == 0, done.stderr
    assert (repo / folder / "calc.py").read_bytes() == before.replace(b"-", b"+")
    (repo / folder / "calc.py").write_bytes(b"# mine\n")
    done = adi(repo, "undo")
    assert done.returncode == 4
    assert (repo / folder / "calc.py").read_bytes() == b"# mine\n"
    assert newest(adi_home).applied


@container
def test_terminal_escapes_in_tool_output(make_repo: RepoFactory) -> None:
    loud = (
        FILES["test_calc.py"]
        + "    print('\\x1b]0;pwned\\x07\\x1b[2J\\x9b5m')\n    assert 0, '\\x1b[8mhidden'\n"
    )
    repo = make_repo({**FILES, "test_calc.py": loud})
    hostile = Script(
        plan="- Do \x1b]0;title\x07 it | files: calc.py | check: pytest\n", acts=["\x1b[2Jno"] * 6
    )
    with serve(hostile) as url, typing(repo, "run", "mend \x1b[2J it", "--yes", "--url", url) as child:
        child.expect(pexpect.EOF)
        shown = child.before or ""
    assert "pytest" in shown
    for alive in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\x1b[8m"):
        assert alive not in shown
