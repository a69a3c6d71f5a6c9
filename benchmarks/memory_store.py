"""Measures what recording costs: seconds and bytes of a run, appends to a million events, four writers.

Run: python benchmarks/memory_store.py [--dir FOLDER] [--events 1000000] [--postgres ADDRESS]

FOLDER is where the temporary files go: a folder on the disk that the store would be on. ADDRESS is an empty
database of a server; without it only files are measured. Prints Markdown.
"""

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

from memory.engine import wal_is_safe
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Applied,
    CheckRan,
    CheckResult,
    Completed,
    Completion,
    Evaluation,
    Message,
    Noted,
    Observation,
    Payload,
    Plan,
    PlanMade,
    PlanStep,
    Prompted,
    RunEnded,
    RunStarted,
    Searched,
    Status,
    Stop,
    Task,
    Usage,
    UserActed,
    Verdict,
)
from memory.store import Store

RUN_S = 600.0
"""Wall time of a run of EVENTS events: the default limit. The runs looked at took 3 to 12 s an event."""
EVENTS = 300
MIX = {
    "check-ran": (66, 980), "completed": (54, 1990), "prompted": (49, 2260), "searched": (38, 0),
    "action-started": (42, 800), "action-ended": (42, 1010), "noted": (4, 90),
}  # fmt: skip
"""Kind -> how many of 300 events, and mean bytes of text: as in 523 events of 23 runs on real tasks."""
PATCH_BYTES = 760
WRITERS, EACH = 4, 150
RESULT = CheckResult(check="pytest", status=Status.NONZERO, exit_code=1, passed=False, tests_failed=1)


def text_of(dice: random.Random, size: int) -> str:
    """Words like code, of varied length: sizes in practice have a long tail."""
    length = min(int(dice.expovariate(1 / size)), 8 * size) if size else 0
    words = ("def ", "return ", "self.", "value", "(", ")", ":\n    ", " = ", "assert ", "None", "x1")
    return "".join(dice.choices(words, k=length // 5))


def payload_of(kind: str, text: str, step: int) -> Payload:
    """One event's content of this kind."""
    match kind:
        case "check-ran":
            return CheckRan(purpose="step", result=RESULT.model_copy(update={"output": text}))
        case "completed":
            usage = Usage(prompt_tokens=900, cached_tokens=600, completion_tokens=40)
            return Completed(
                purpose="act", completion=Completion(text=text, finish_reason="stop", usage=usage)
            )
        case "prompted":
            return Prompted(purpose="act", messages=(Message(role="user", content=text),), tokens=600)
        case "searched":
            return Searched(strategy="infill", place="gcd.py:5", candidates=3, executed=2, passed=1)
        case "action-started":
            return ActionStarted(
                step=step, action=Action(id=f"a{step}", tool="write", arguments={"text": text})
            )
        case "action-ended":
            seen = Observation(action_id=f"a{step}", status=Status.OK, output=text)
            return ActionEnded(step=step, observation=seen)
    return Noted(level="warning", text=text)


def run_of(dice: random.Random) -> list[Payload]:
    """The events of one run behind its first: a plan, work in a mixed order, and an end."""
    kinds = [kind for kind, (count, _) in MIX.items() for _ in range(count)]
    dice.shuffle(kinds)
    work = [payload_of(kind, text_of(dice, MIX[kind][1]), step) for step, kind in enumerate(kinds)]
    plan = PlanMade(plan=Plan(steps=(PlanStep(goal="make the failing test pass", check="pytest"),)))
    verdict = Verdict(
        evaluation=Evaluation(results=(RESULT,)), diffstat=" gcd.py | 2 +-", diff_sha256="d" * 64
    )
    end = [
        verdict,
        UserActed(action="accept", seconds=2.5),
        Applied(paths=("gcd.py",), diff_sha256="d" * 64),
        RunEnded(stop=Stop.ACCEPTED, exit_code=0, seconds=RUN_S),
    ]
    return [plan, *work[: EVENTS - 2 - len(end)], *end]


def task_of(number: int) -> Task:
    return Task(id=f"t{number}", prompt="make the failing test pass " * 8, repo=f"/src/project{number % 40}")


def record(store: Store, number: int, payloads: list[Payload]) -> list[float]:
    """Seconds of each call that records one run."""
    times = []

    def timed(act: object, *arguments: object) -> object:
        began = time.perf_counter()
        result = act(*arguments)
        times.append(time.perf_counter() - began)
        return result

    run_id = timed(store.start_run, task_of(number), "qwen")
    timed(store.claim_repo, task_of(number).repo, run_id)
    for payload in payloads[:-1]:
        timed(store.append, run_id, payload)
    timed(store.put_artifact, random.Random(number).randbytes(PATCH_BYTES))
    timed(store.append, run_id, payloads[-1])
    return times


def cost_of_a_run(place: Path | str, runs: int = 5) -> Iterator[str]:
    """Recording as a share of a run's wall time; growth of the file."""
    dice = random.Random(1)
    with Store.open(place) as store:
        before = Path(place).stat().st_size if isinstance(place, Path) else 0
        all_times = [record(store, number, run_of(dice)) for number in range(runs)]
        store.close()
        after = Path(place).stat().st_size if isinstance(place, Path) else 0
    seconds = statistics.median(sum(times) for times in all_times)
    yield f"| recording a run of {EVENTS} events, median of {runs} | {seconds:.2f} s |"
    yield f"| share of a run of {RUN_S:.0f} s | {100 * seconds / RUN_S:.2f} % |"
    yield f"| most of the {runs} runs | {max(sum(times) for times in all_times):.2f} s |"
    yield latencies("append in a new store", [one for times in all_times for one in times])
    if after:
        growth = (after - before) / runs
        yield f"| growth of the file a run of {EVENTS} events | {growth / 1024:.0f} KiB |"
        yield f"| growth an event, its indexes and artifacts included | {growth / EVENTS:.0f} B |"


def latencies(name: str, times: list[float]) -> str:
    """One row: the middle, the slow end, and the worst."""
    cuts = statistics.quantiles(times, n=20)
    worst = max(times)
    return (
        f"| {name}, p50 / p95 / most of {len(times)} | "
        f"{1000 * cuts[9]:.2f} / {1000 * cuts[18]:.2f} / {1000 * worst:.1f} ms |"
    )


def fill(path: Path, events: int) -> float:
    """Put whole runs into the file until it has so many events, in bulk; the seconds it took."""
    began, dice = time.perf_counter(), random.Random(2)
    Store.open(path).close()
    templates = []
    for _ in range(40):  # their serialization is what takes time
        started = RunStarted(task=task_of(0), adi_version="0.1.0", model="qwen")
        payloads = [started, *run_of(dice)]
        templates.append([(item.kind, json.dumps(item.model_dump(mode="python"))) for item in payloads])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        for number in range(events // EVENTS):
            run_id, at = f"2{number:05}-aaaaaa", f"2026-{number % 12 + 1:02}-01T00:00:00.000Z"
            connection.execute(
                "INSERT INTO run VALUES"
                " (?, ?, 'p', 'qwen', ?, 1, 'boot:1', ?, ?, 'accepted', ?, '', ?, 0, 0, 0, 1)",
                (run_id, f"/src/project{number % 40}", at, EVENTS, at, "d" * 64, at),
            )
            rows = (
                (run_id, seq, at, kind, 1, text)
                for seq, (kind, text) in enumerate(templates[number % len(templates)], 1)
            )
            connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    return time.perf_counter() - began


def with_a_million(path: Path, events: int) -> Iterator[str]:
    """Appends and looks into a store that has been used for years."""
    took = fill(path, events)
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM event").fetchone()
    size = path.stat().st_size / 1e9
    sys.stderr.write(f"{count} events, {size:.2f} GB, made in {took:.0f} s\n")
    began = time.perf_counter()
    store = Store.open(path)
    opened = time.perf_counter() - began
    with store:
        times = [one for number in range(2) for one in record(store, number, run_of(random.Random(3)))]
        yield latencies(f"append with {count:,} events ({size:.2f} GB)", times)
        yield f"| opening that store | {1000 * opened:.1f} ms |"
        for name, act in (
            ("the newest 20 runs of a repository (`adi log`)", lambda: store.runs("/src/project1", 20)),
            (f"all {EVENTS} events of a run (`adi show`)", lambda: store.events("200001-aaaaaa")),
        ):
            spent = []
            for _ in range(9):
                began = time.perf_counter()
                act()
                spent.append(time.perf_counter() - began)
            yield f"| {name}, median of 9 | {1000 * statistics.median(spent):.1f} ms |"


def write(place: str, number: int, at: float) -> tuple[float, float, list[float]]:
    """One writing process: when it began and ended, and the seconds of its appends."""
    payloads = run_of(random.Random(number))[:EACH]
    times = []
    with Store.open(place) as store:
        run_id = store.start_run(task_of(number))
        time.sleep(max(at - time.monotonic(), 0))
        began = time.monotonic()
        for payload in payloads:
            before = time.perf_counter()
            store.append(run_id, payload)
            times.append(time.perf_counter() - before)
        return began, time.monotonic(), times


def several_writers(place: Path | str) -> Iterator[str]:
    """Events a second of one process and of four at once."""
    Store.open(place).close()
    for writers in (1, WRITERS):
        with ProcessPoolExecutor(writers, mp_context=get_context("spawn")) as pool:
            at = time.monotonic() + 5.0  # all have started Python by then
            done = list(pool.map(write, [str(place)] * writers, range(writers), [at] * writers))
        seconds = max(end for _, end, _ in done) - min(began for began, _, _ in done)
        what = "one writing process" if writers == 1 else f"{writers} writing processes, no error"
        yield f"| {what} | {writers * EACH / seconds:.0f} events/s |"
        yield latencies(f"append, {what}", [one for _, _, times in done for one in times])


def section(title: str, rows: Iterator[str]) -> None:
    """A table on standard output, row by row."""
    sys.stdout.write(f"\n## {title}\n\n| what | measured |\n| --- | --- |\n")
    for row in rows:
        sys.stdout.write(row + "\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=None)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--postgres", default="")
    asked = parser.parse_args()
    journal = "WAL" if wal_is_safe(sqlite3.sqlite_version_info) else "rollback journal, each commit synced"
    sys.stdout.write(f"SQLite {sqlite3.sqlite_version}, {journal}.\n")
    with tempfile.TemporaryDirectory(prefix="adi-bench-", dir=asked.dir) as name:
        folder = Path(name)
        section("A run", cost_of_a_run(folder / "run.db"))
        section("Several writers", several_writers(folder / "writers.db"))
        section("A store of years", with_a_million(folder / "years.db", asked.events))
    if asked.postgres:
        section("A run, on a Postgres server", cost_of_a_run(asked.postgres))
        section("Several writers, on a Postgres server", several_writers(asked.postgres))


if __name__ == "__main__":
    main()
