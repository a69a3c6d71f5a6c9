"""Measures what the sandbox itself costs: start, one command, reporting changes. Medians of 20, in seconds.

Run: python benchmarks/sandbox_overhead.py [RUNS]
"""

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from sandbox.docker import DockerSandbox, connect
from sandbox.fresh import make_repository
from sandbox.images import ensure_image
from sandbox.isolation import Engine, choose
from sandbox.workcopy import WorkCopy, snapshot

GOALS = {"container start": 0.6, "command": 0.1}
FILES = {f"pkg{number % 10}/mod{number}.py": b"x = 1\n" * 50 for number in range(200)}


def measure(act: Callable[[], object], runs: int) -> tuple[float, float]:
    """Median and largest wall time of an act."""
    times = []
    for _ in range(runs):
        began = time.monotonic()
        act()
        times.append(time.monotonic() - began)
    return statistics.median(times), max(times)


def _say(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")


def main(runs: int = 20) -> None:
    image = ensure_image("python", lambda line: _say(sys.stderr, line))
    with TemporaryDirectory() as folder, closing(connect()) as client:
        isolation = choose(Engine.ask(client))
        _say(sys.stdout, str(isolation))
        make_repository(Path(folder) / "repo", FILES)
        taken = snapshot(Path(folder) / "repo", Path(folder) / "shadow")
        archive = WorkCopy(taken).archive()

        def start() -> DockerSandbox:
            return DockerSandbox(archive, image=image, run_id="benchmark", client=client, isolation=isolation)

        results = {
            "snapshot, nothing changed": measure(lambda: snapshot(taken.repo, taken.shadow.parent), runs)
        }
        boxes: list[DockerSandbox] = []
        results["container start"] = measure(lambda: boxes.append(start()), runs)
        results["container stop"] = measure(lambda: boxes.pop().close(), runs)
        with start() as box:
            results["command"] = measure(lambda: box.run("true", timeout_s=30), runs)
            results["write one file"] = measure(lambda: box.write({"a.py": b"x = 2\n"}), runs)
            results["changes, none"] = measure(box.changes, runs)
    for name, (median, worst) in results.items():
        goal = f"  goal {GOALS[name]:.2f}" if name in GOALS else ""
        _say(sys.stdout, f"{name:28} median {median:.3f}  max {worst:.3f}{goal}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
