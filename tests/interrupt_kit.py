"""What the tests of group H share: `adi` that sends itself signals, and what must be whole afterwards."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FAULTY = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
          "from tests.faults import main; main()"]  # fmt: skip
ACTS = {"ADI_RUN__SAMPLING": "false"}
"""Settings with which the model acts from the start, and nothing is searched."""
ONCE = "run echo once >> log.txt"
"""An action whose effect shows how often it was carried out."""


def sound(home: Path) -> bool:
    """The store is whole, and its events are numbered without a gap."""
    with contextlib.closing(sqlite3.connect(home / "adi.db")) as store:
        whole = store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        gaps = store.execute("SELECT count(*) FROM event GROUP BY run_id HAVING count(*) != max(seq)")
        return whole and gaps.fetchall() == []


def tidy(repo: Path) -> bool:
    """Nothing of an exchange lies about in the user's tree, and git sees no harm."""
    leavings = list(repo.rglob(".adi-*"))
    return not leavings and subprocess.run(["git", "fsck", "--strict"], cwd=repo, check=False).returncode == 0


def faulty(
    repo: Path, url: str, point: str, *signals: int, **environ: str
) -> "subprocess.CompletedProcess[str]":
    """`adi run` that sends itself signals at a point."""
    numbers = ",".join(str(int(number)) for number in signals)
    command = [*FAULTY, point, numbers, "run", "mend it", "--yes", "--url", url]
    return subprocess.run(
        command, cwd=repo, env={**os.environ, **ACTS, **environ}, capture_output=True, text=True,
        timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
