"""The repobugs and QuixBugs sets as one backlog, worked off by two workers and killed with -9 on the way.

Run: ADI_BENCH=DIR python -m benchmarks.backlog_suites OUT [--jobs 2] [--item-wall 240] [--limit N]

OUT gets a repository for each task, and the results in OUT/results. ADI runs in a home of its own in OUT with
the models of the present one. After a third of the items everything is killed at once, as when power fails;
after two thirds the supervisor alone. Each time `adi backlog resume` goes on. Told at the end: that no item
that had ended was worked on again and none was left out, by the store's own events; what the hidden tests of
each task say of the patches; times of each stretch. With an OUT that is there already the command goes on.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from agent.settings import directories
from agent.suite_data import find_file
from agent.suite_grade import grade
from agent.suite_packages import patched
from agent.suite_read import read_suite
from agent.suite_task import SuiteTask
from memory.backlog import Backlog
from memory.backlog_records import BacklogEvent
from memory.store import Store
from sandbox.docker import DockerSandbox
from sandbox.errors import PatchError
from sandbox.fresh import make_repository
from sandbox.images import recipe
from sandbox.workcopy import WorkCopy

ADI = [sys.executable, "-P", "-c", "from agent.cli import main; main()"]
NAME = "suites"
SUITES = {"repobugs": "instances.jsonl", "quixbugs": "quixbugs.jsonl"}
ENDED = ("solved", "unsolved", "needs-human", "parked", "cancelled", "superseded")
CHECK_S = "60"


def prepared(out: Path, data: Path, limit: int) -> tuple[list[SuiteTask], dict[str, str]]:
    """The tasks, each with a repository in OUT/repos; and the environment that ADI runs in."""
    home, repos = out / "home", out / "repos"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "models").exists():
        (home / "models").symlink_to(directories().models)
    tasks = []
    for suite in SUITES:
        found, problems = read_suite(suite, data)
        for problem in problems:
            say(f"left out: {problem}")
        tasks += found[: limit or None]
    for task in tasks:
        folder = repos / task.name
        if not folder.exists():
            folder.mkdir(parents=True)
            make_repository(folder, task.files)
    return tasks, {**os.environ, "ADI_HOME": str(home), "ADI_RUN__CHECK_S": CHECK_S}


def add(out: Path, data: Path, tasks: Sequence[SuiteTask], environ: dict[str, str]) -> None:
    """Both suites' rows into one backlog."""
    wanted = {task.name for task in tasks}
    for suite, file in SUITES.items():
        rows = out / f"{suite}.jsonl"
        lines = find_file(data, suite, file).read_text("utf-8").splitlines()
        kept = [line for line in lines if (row := json.loads(line)) and name_of(row) in wanted]
        rows.write_text("\n".join(kept) + "\n", "utf-8")
        argv = [*ADI, "backlog", "add", str(rows), "--name", NAME, "--repos", str(out / "repos")]
        subprocess.run([*argv, "--kind", "swebench"], env=environ, check=True)


def name_of(row: dict[str, Any]) -> str:
    return str(row.get("instance_id") or row.get("name"))


def ended(environ: dict[str, str]) -> int:
    """Items that will not be worked on again."""
    argv = [*ADI, "backlog", "status", NAME, "--json"]
    done = subprocess.run(argv, env=environ, check=True, capture_output=True, text=True)
    counts: dict[str, int] = json.loads(done.stdout)["counts"]
    return sum(counts.get(state, 0) for state in ENDED)


def worked(out: Path, environ: dict[str, str], jobs: int, wall: float, total: int) -> Iterator[str]:
    """Run to the end, killed on the way: a line for each stretch."""
    stops = [(total // 3, True), (2 * total // 3, False), (total + 1, False)]
    for until, whole in stops:
        if ended(environ) >= min(until, total):
            continue
        began, before = time.monotonic(), ended(environ)
        argv = [*ADI, "backlog", "resume", NAME, "--jobs", str(jobs), "--out", str(out / "results")]
        argv += ["--item-wall", f"{wall:g}"]
        with (out / "board.log").open("ab") as log:
            process = psutil.Popen(argv, env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            while process.poll() is None and ended(environ) < until:
                time.sleep(5)
            how = "ended by itself"
            if process.poll() is None:
                how = "everything killed" if whole else "the supervisor killed"
                doomed = [process, *(process.children(recursive=True) if whole else [])]
                for one in doomed:
                    one.send_signal(signal.SIGKILL)
            code = process.wait()
        wall = time.monotonic() - began
        yield f"{before} to {ended(environ)} of {total} items in {wall:.0f} s: {how} ({code})"


def broken_promises(environ: dict[str, str], total: int) -> list[str]:
    """Items that were worked on after they had ended, or that have not ended."""
    found = []
    with Store.open(Path(environ["ADI_HOME"]) / "adi.db") as store:
        backlog = Backlog.find(store, NAME)
        items = list(backlog.each())
        over: dict[str, str] = {}
        for event in every_event(backlog):
            if event.kind == "claimed" and event.key in over:
                found.append(f"{event.key} was claimed again after it was {over[event.key]}")
            if event.kind == "settled" and event.content["now"] in ENDED:
                over[event.key] = str(event.content["now"])
        found += [f"{item.key} is {item.state}" for item in items if item.state not in ENDED]
        say(f"states: {dict(Counter(str(item.state) for item in items))}")
    return [*found, *([f"{len(items)} items of {total}"] if len(items) != total else [])]


def every_event(backlog: Backlog) -> Iterator[BacklogEvent]:
    after = 0
    while page := backlog.events(after=after, limit=500):
        yield from page
        after = page[-1].id


def graded(out: Path, tasks: Sequence[SuiteTask]) -> dict[str, bool]:
    """Whether each task's hidden tests pass with the patch of the predictions file."""

    def sandbox(files: WorkCopy, profile: str) -> DockerSandbox:
        return DockerSandbox(files.archive(), image=recipe(profile).tag, run_id="benchmark")

    lines = (out / "results" / "preds.jsonl").read_text("utf-8").splitlines()
    patches = {row["instance_id"]: row["model_patch"] for row in map(json.loads, lines)}
    told = {}
    for task in tasks:
        patch = patches.get(task.name, "")
        try:
            answer = patched(task.files, patch) if patch else {}
        except PatchError:
            answer = {}
        told[task.name] = bool(answer) and grade(task, answer, sandbox).passed
    return told


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--item-wall", type=float, default=240.0)
    parser.add_argument("--limit", type=int, default=0, help="of each suite")
    given = parser.parse_args()
    data = Path(os.environ.get("ADI_BENCH", "."))
    out = given.out.resolve()
    tasks, environ = prepared(out, data, given.limit)
    add(out, data, tasks, environ)
    for line in worked(out, environ, given.jobs, given.item_wall, len(tasks)):
        say(line)
    broken = broken_promises(environ, len(tasks))
    for line in broken:
        say(f"BROKEN: {line}")
    right = graded(out, tasks)
    for suite in SUITES:
        names = [task.name for task in tasks if task.suite == suite]
        say(f"{suite}: the hidden tests pass for {sum(right[name] for name in names)}/{len(names)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
