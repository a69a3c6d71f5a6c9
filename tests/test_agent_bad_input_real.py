"""Bad input and bad luck with everything real: the `adi` command, Docker, a model server, a terminal."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pexpect
import pytest

from memory.records import CheckRan, Status, Stop
from memory.store import Store
from model.scripted import Asked
from tests.adi_kit import ADI, FILES, PLAN, adi, code_of, containers, kinds, mends, newest, planning, typing
from tests.agent_kit import CALC, MENDED, Script
from tests.conftest import RepoFactory, git
from tests.docker_proxy import Proxy
from tests.openai_server import Answer, Do, serve

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
@pytest.mark.parametrize("moment", ["between two commands", "during a command"])
def test_docker_dying_mid_run(make_repo: RepoFactory, adi_home: Path, moment: str) -> None:
    """The run ends as environment, nothing of the dead engine is taken for a result, the next run works."""
    repo, proxy = make_repo(FILES), Proxy()
    later = threading.Timer(1.0, proxy.cut)
    sleeps = Script(plan=PLAN, lines={"calc.py line 2": "return a + b + __import__('time').sleep(30)"})

    def answer(asked: Asked) -> object:
        if moment == "between two commands" and "Write the plan" in asked.messages[-1].content:
            proxy.cut()
        elif " line 2 is wrong" in asked.messages[-1].content:
            later.start()
        return sleeps(asked)

    with serve(answer) as url:
        done = adi(repo, "run", "mend it", "--yes", "--url", url, DOCKER_HOST=f"unix://{proxy.path}")
    later.cancel() if moment == "between two commands" else later.join()
    assert done.returncode == 6, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    run = newest(adi_home)
    assert run.stop is Stop.ENVIRONMENT
    with Store.open(adi_home / "adi.db") as store:
        payloads = [event.payload for event in store.events(run.id)]
    results = [item for item in payloads if isinstance(item, CheckRan)]
    assert [item.purpose for item in results] == ["gather"]
    assert results[0].result.status is Status.NONZERO
    assert (repo / "calc.py").read_text() == CALC
    with serve(mends()) as url:
        assert adi(repo, "run", "mend it", "--yes", "--url", url).returncode == 0
    assert containers(run.id) == []  # the next run removed what the dead one left


@container
def test_model_missing_while_offline(make_repo: RepoFactory, adi_home: Path) -> None:
    repo = make_repo(FILES)
    done = adi(repo, "run", "mend it", "--yes", ADI_MODEL__OFFLINE="true")
    assert done.returncode == 6, done.stderr
    assert "hint: adi model pull" in done.stderr
    run = newest(adi_home)
    assert run.stop is Stop.ENVIRONMENT
    assert containers(run.id) == []


@container
def test_server_dying_mid_stream(make_repo: RepoFactory, adi_home: Path) -> None:
    repo = make_repo(FILES)
    with serve(planning(Do.BREAK)) as url:
        done = adi(repo, "run", "mend it", "--yes", "--url", url)
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    run = newest(adi_home)
    assert run.stop is Stop.ENVIRONMENT
    assert (repo / "calc.py").read_text() == CALC
    with serve(mends()) as url:
        assert adi(repo, "run", "mend it", "--yes", "--url", url).returncode == 0


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


SLOW = (
    FILES["test_calc.py"]
    + "\n\ndef test_slow():\n    import time\n\n    print('sleeping')\n    time.sleep(50)\n"
)


@container
@pytest.mark.parametrize(
    ("moment", "answer", "files", "sign", "last"),
    [
        ("planning", planning(Do.HANG), {}, "Planning", "prompted"),
        ("approving", mends(), {}, "Go on with this plan", "plan-made"),
        ("streaming", planning(Do.DRIP), {}, r"[1-9]\d* tokens", "prompted"),
        ("running", mends(), {"test_calc.py": SLOW}, "pytest", "run-started"),
        ("deciding", mends(), {}, "Apply this change", "verdict"),
    ],
)
def test_ctrl_c(
    make_repo: RepoFactory,
    adi_home: Path,
    moment: str,
    answer: Answer,
    files: Mapping[str, str],
    sign: str,
    last: str,
) -> None:
    """While planning, streaming and running, at the plan and at the accept prompt."""
    repo = make_repo({**FILES, **files})
    flags = [] if moment == "approving" else ["--no-plan-review"]
    with serve(answer) as url, typing(repo, "run", "mend it", *flags, "--url", url) as child:
        child.expect(sign)
        if moment in {"planning", "running"}:
            time.sleep(1.0)  # into the silence
        child.sendintr()
        assert code_of(child) == 130
        assert "Traceback" not in (child.before or "")
    run = newest(adi_home)
    assert run.stop is Stop.INTERRUPTED
    assert kinds(adi_home, run.id)[-2:] == ["user-acted", "run-ended"]
    story = [kind for kind in kinds(adi_home, run.id)[:-2] if kind != "noted"]
    assert story[-1] == last
    assert containers(run.id) == []
    assert (repo / "calc.py").read_text() == CALC
    patch = adi_home / "patches" / f"{run.id}.patch"
    assert patch.exists() == (moment == "deciding")
    assert git(repo, "status", "--porcelain") == ""


@container
def test_two_runs_at_once_and_kill_9(make_repo: RepoFactory, adi_home: Path) -> None:
    """The second names the first; killed, the first is told as killed and its container is removed."""
    repo = make_repo(FILES)
    asked = threading.Event()

    def hangs() -> Do:
        asked.set()
        return Do.HANG

    with serve(planning(hangs)) as url:
        with subprocess.Popen(
            [*ADI, "run", "one", "--yes", "--url", url], cwd=repo, stderr=subprocess.DEVNULL
        ) as first:
            assert asked.wait(60)
            run = newest(adi_home)
            done = adi(repo, "run", "two", "--yes", "--url", url)
            assert len(containers(run.id)) == 1
            first.send_signal(signal.SIGKILL)
        assert done.returncode == 4, done.stderr
        assert f"run {run.id} (process {first.pid}) is working on" in done.stderr
        rows = {line.split("\t")[0]: line.split("\t")[3] for line in adi(repo, "log").stdout.splitlines()}
        assert rows[run.id] == "killed"
    with serve(mends()) as url:
        assert adi(repo, "run", "three", "--yes", "--url", url).returncode == 0
    assert containers(run.id) == []
    assert (repo / "calc.py").read_text() == MENDED


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
