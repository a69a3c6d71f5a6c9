"""Group I: a disk that is full in the middle of a run."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import ENVIRONMENT
from agent.person import Unattended
from memory.records import Stop
from memory.store import Store
from tests.agent_kit import BUGGY, CHECK, MENDED, Script, open_local
from tests.conftest import RepoFactory
from tests.interrupt_kit import sound
from tests.store_kit import ROOT

pytestmark = pytest.mark.containment

FULL = """
import sys
from pathlib import Path
from agent.errors import exit_code_of, render
from agent.person import Unattended
from tests.agent_kit import CHECK, Script, open_local

def listen(event):
    if event.payload.kind == sys.argv[2]:  # from here on there is no space left
        ask = session.store._backend.connection.execute
        (pages,) = ask("PRAGMA page_count").fetchone()
        ask(f"PRAGMA max_page_count={pages}")

script = Script(lines={"calc.py line 2": "return a + b"})
with open_local(Path(sys.argv[1]), script, Unattended(accept=True), listeners=[listen]) as session:
    try:
        outcome = session.run("make the check pass", (CHECK.command,))
    except Exception as error:
        print(*render(error), sep="\\n")
        sys.exit(exit_code_of(error))
    print(outcome.stop, outcome.detail)
    sys.exit(outcome.exit_code)
"""


@pytest.mark.parametrize("kind", ["run-started", "prompted"])
def test_agent_i03_a_full_disk_stops_the_run_and_the_next_one_works(
    make_repo: RepoFactory, adi_home: Path, kind: str
) -> None:
    repo = make_repo(BUGGY)
    before = {path: path.read_bytes() for path in sorted(repo.rglob("*")) if path.is_file()}
    command = [sys.executable, "-c", FULL, str(repo), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == ENVIRONMENT, done.stdout + done.stderr
    assert "no space left to write" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert {path: path.read_bytes() for path in sorted(repo.rglob("*")) if path.is_file()} == before
    assert sound(adi_home)
    mends = Script(lines={"calc.py line 2": "return a + b"})
    with open_local(repo, mends, Unattended(accept=True)) as session:
        session.recover()
        assert session.run("make the check pass", (CHECK.command,)).stop is Stop.ACCEPTED
    assert (repo / "calc.py").read_text() == MENDED
    with Store.open(adi_home / "adi.db") as store:
        stops = {run.stop for run in store.runs()}
    # The end of the first run is small: it may fit into the last page, or is told by the next start.
    assert stops in ({Stop.ACCEPTED, Stop.ENVIRONMENT}, {Stop.ACCEPTED, Stop.KILLED})
