"""Runs many whole tasks in one process, good and hostile ones, and tells what they left behind.

Run: python benchmarks/sandbox_endurance.py [TASKS] [AT_ONCE]

Every task is a real session: snapshot, Docker sandbox, loop, verdict, exchange with the tree; only the model
is scripted. Three of five mend a defect and are taken back again; the others run a command that tries to do
harm. Counts before and after must be the same, so nothing else may use the engine meanwhile. Then AT_ONCE
sandboxes fill their memory at the same time.
"""

import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import psutil

from agent.person import Unattended
from agent.session import Session, docker_sandboxes
from agent.settings import RunSettings, SandboxSettings, Settings, directories
from memory.store import Store
from model.scripted import Asked, ScriptedModel
from sandbox.docker import DockerSandbox, connect
from sandbox.fresh import make_repository
from sandbox.images import ensure_image
from sandbox.owner import RUN
from sandbox.protocol import SandboxLimits

FILES = {
    "calc.py": b"def add(a, b):\n    return a - b\n",
    "test_calc.py": b"from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
}
HARM = (
    "bomb() { bomb | bomb & }; bomb",
    "yes",
    "sleep 1000 & setsid sleep 1000 & sleep 1000",
    "head -c 2G /dev/zero > big",
    "python3 -c 'x = bytearray(4 * 10**9)'",
    "i=0; while :; do i=$((i+1)); : > f$i; done",
    "rm -rf /work/* /tmp/*; ln -s /etc/passwd calc.py",
    "kill -9 -1; kill -9 1",
)
SETTINGS = Settings(
    run=RunSettings(checks=("python3 -m pytest -q",), steps=2, check_s=3.0),
    sandbox=SandboxSettings(memory_mb=256, work_mb=64, pids=64),
)
HOLD_MB, HOLD_S = 1500, 2.0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Author:
    """The model: mends the line, or first runs what it was given to run."""

    def __init__(self, harm: str = "") -> None:
        self.harm = harm

    def __call__(self, asked: Asked) -> str:
        last = asked.messages[-1].content if asked.messages else ""
        if "Write the plan" in last:
            return "- Add instead of subtracting | files: calc.py | check: pytest\n"
        if self.harm:
            return (
                "" if asked.messages[-1:] and asked.messages[-1].role == "assistant" else f"run {self.harm}\n"
            )
        return "return a + b" if last.startswith("calc.py line 2") else ""


def left(folder: Path) -> dict[str, int]:
    """What could leak, counted: in the engine, in this process, on this machine."""
    gc.collect()
    with closing(connect()) as client:
        counted = {
            "containers": len(client.containers(all=True, filters={"label": RUN})),
            "networks": len(client.networks()),
            "volumes": len(client.volumes()["Volumes"] or []),
            "images": len(client.images()),
        }
    own = psutil.Process()
    return counted | {
        "children": len(own.children(recursive=True)),
        "descriptors": own.num_fds(),
        "threads": threading.active_count(),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "temporary files": len(list(folder.iterdir())),
    }


def task(store: Store, repo: Path, harm: str) -> str:
    """One whole task; how it stopped."""
    model = ScriptedModel(Author(harm))
    session = Session(
        settings=SETTINGS,
        repo=repo,
        person=Unattended(accept=True),
        listeners=(),
        places=directories(),
        store=store,
        model=lambda _progress: model,
        sandbox=lambda progress, profile: docker_sandboxes(SETTINGS, progress, profile),
    )
    outcome = session.run("make the test pass")
    if outcome.exit_code == 0:
        session.undo(outcome.run_id)
    return f"{'harm' if harm else 'mend'}: {outcome.stop}"


def endure(tasks: int, home: Path, temporary: Path) -> bool:
    """Run the tasks; True when nothing is left and the tree is as it was."""
    repo = home / "repo"
    make_repository(repo, FILES)
    stops: Counter[str] = Counter()
    times, sizes = [], []
    with Store.open(directories().database) as store:
        task(store, repo, "")  # what is loaded and connected once is no leak
        before = left(temporary)
        for number in range(tasks):
            began = time.monotonic()
            harm = HARM[number // 5 * 2 % len(HARM) + number % 5 - 3] if number % 5 >= 3 else ""
            stops[task(store, repo, harm)] += 1
            times.append(time.monotonic() - began)
            sizes.append(psutil.Process().memory_info().rss >> 20)
            if number % 20 == 19:
                say(f"  {number + 1} tasks, resident {sizes[-1]} MiB")
        after = left(temporary)
        runs = store.runs(limit=tasks + 1)
    whole = all((repo / name).read_bytes() == data for name, data in FILES.items())
    say(f"{tasks} tasks: " + ", ".join(f"{stop} {count}" for stop, count in sorted(stops.items())))
    say(f"seconds a task: median {statistics.median(times):.2f}, most {max(times):.2f}")
    say(f"resident MiB: after 20 tasks {sizes[min(19, tasks - 1)]}, at the end {sizes[-1]}")
    say(f"runs without an end: {sum(not run.ended for run in runs)} of {len(runs)}; tree as before: {whole}")
    for name, count in before.items():
        say(f"  {name:16} before {count:3}  after {after[name]:3}")
    return before == after and whole and all(run.ended for run in runs)


def together(count: int) -> bool:
    """Sandboxes that hold much memory at the same time; True when all end well."""
    image = ensure_image("python", say)
    lowest = [psutil.virtual_memory().available]
    starts: list[float] = []
    with ExitStack() as stack:
        boxes: list[DockerSandbox] = []

        def start(number: int) -> None:
            began = time.monotonic()
            limits = SandboxLimits(cpus=1.0)
            boxes.append(DockerSandbox(b"\0" * 1024, image=image, run_id=f"together-{number}", limits=limits))
            starts.append(time.monotonic() - began)

        every(count, start)
        for box in boxes:
            stack.enter_context(box)
        hold = f"python3 -c 'import time; x = b\"1\" * ({HOLD_MB} << 20); time.sleep({HOLD_S})'"
        statuses: list[str] = []
        watch = threading.Thread(target=_watch, args=(lowest, statuses, count))
        watch.start()
        every(count, lambda number: statuses.append(boxes[number].run(hold, timeout_s=120).status))
        watch.join()
    say(f"{count} at once, {HOLD_MB} MiB each: {dict(Counter(statuses))}")
    say(f"  start: median {statistics.median(starts):.2f} s, most {max(starts):.2f} s (all began together)")
    say(f"  memory available on the machine: least {lowest[0] >> 20} MiB")
    return statuses == ["ok"] * count


def every(count: int, act: Callable[[int], None]) -> None:
    """Do it for 0 to count - 1 at the same time."""
    threads = [threading.Thread(target=act, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _watch(lowest: list[int], done: list[str], count: int) -> None:
    """Keep the least memory that was available until all are done."""
    while len(done) < count:
        lowest[0] = min(lowest[0], psutil.virtual_memory().available)
        time.sleep(0.05)


def main(tasks: int = 200, at_once: int = 8) -> int:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        os.environ["ADI_HOME"] = folder
        tempfile.tempdir = str(temporary)
        held = endure(tasks, Path(folder), temporary)
        held = together(at_once) and held
    say("nothing left" if held else "SOMETHING WAS LEFT")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
