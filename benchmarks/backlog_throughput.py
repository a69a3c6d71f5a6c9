"""Items an hour of one model server with one worker and with more, and what share of the prompts it kept.

    ADI_BENCH=PATH python -m benchmarks.backlog_throughput --items 8 --jobs 1 --jobs 2

The items are programs of QuixBugs, the same ones each time, each a repository of its own. Every number of
workers gets an ADI_HOME of its own with the models of the present one, so that no lesson helps the second.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent.backlog_intake import take_in
from agent.backlog_item import Item
from agent.settings import directories
from agent.suite_read import read_suite
from memory.backlog import Backlog
from memory.backlog_records import State
from memory.store import Store
from sandbox.fresh import make_repository

ADI = [sys.executable, "-P", "-c", "from agent.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--jobs", type=int, action="append")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ADI_BENCH", ".")))
    chosen = parser.parse_args()
    models = directories().models
    say("| workers | items | solved | wall | items an hour | prompt tokens kept | written tokens |")
    say("|---|---|---|---|---|---|---|")
    for jobs in chosen.jobs or [1, 2]:
        with tempfile.TemporaryDirectory(prefix="adi-throughput-") as folder:
            say(measured(Path(folder), chosen.data, chosen.items, jobs, models))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measured(folder: Path, data: Path, count: int, jobs: int, models: Path) -> str:
    home = folder / "home"
    home.mkdir()
    (home / "models").symlink_to(models)
    tasks, _ = read_suite("quixbugs", data)
    items = []
    for task in tasks[:count]:
        repo = folder / task.name
        repo.mkdir()
        make_repository(repo, task.files)
        items.append(Item(key=task.name, title=task.prompt.splitlines()[0][:200], body=task.prompt,
                          repo=str(repo), checks=task.checks))  # fmt: skip
    with Store.open(home / "adi.db") as store:
        take_in(Backlog.create(store, "b"), "quixbugs", items)
    environ = {**os.environ, "ADI_HOME": str(home), "ADI_RUN__CHECK_S": "15"}
    began = time.monotonic()
    command = [*ADI, "backlog", "resume", "b", "--jobs", str(jobs), "--out", str(folder / "out")]
    subprocess.run(command, env=environ, check=False, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - began
    subprocess.run([*ADI, "serve", "--stop"], env=environ, check=False, capture_output=True)
    with Store.open(home / "adi.db") as store:
        found = list(Backlog.find(store, "b").each())
    asked = sum(int(str(item.result.get("prompt_tokens", 0))) for item in found)
    kept = sum(int(str(item.result.get("cached_tokens", 0))) for item in found)
    solved = sum(item.state == State.SOLVED for item in found)
    return (
        f"| {jobs} | {len(found)} | {solved} | {wall:.0f} s | {3600 * len(found) / wall:.0f} "
        f"| {100 * kept / max(asked, 1):.0f}% of {asked:,} | {sum(item.tokens for item in found):,} |"
    )


if __name__ == "__main__":
    main()
