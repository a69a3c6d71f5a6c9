"""Measures ADI with each mechanism switched off, on the tasks where that mechanism took part.

Run: ADI_BENCH=DIR python benchmarks/ablation.py SUITE FULL.jsonl --wall S [--solved] [--only MECHANISM...]

FULL.jsonl is what `adi eval SUITE` wrote for ADI with everything on, its runs still in this memory. Whether a
mechanism took part is read off the events of those runs. A task where it did not is the same run without it,
up to what a server answers to the same greedy prompt in another batch, and is not run again. The others run
again with `adi eval SUITE --without MECHANISM`, resumable, beside FULL.jsonl. Told for each mechanism: on how
many tasks it took part, how many were solved with and without it, McNemar's exact test, written tokens and
candidates run. `--solved` leaves out what FULL.jsonl did not solve: cheaper, and blind to what a mechanism
spoils.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from agent.context import LISTED, TOLD
from agent.drafts import STAGES
from agent.mechanisms import Mechanism
from agent.proposers import ROUNDS
from agent.reproduce import NAME as OWN_TEST
from agent.settings import directories
from agent.suite_report import mcnemar, wilson
from agent.suite_results import read_rows
from agent.suite_task import Row
from memory.records import CheckRan, PlanMade, Prompted, Record, Searched
from memory.store import Store

Events = Sequence[Record]


def _searched(*mechanisms: Mechanism) -> Callable[[Events], bool]:
    return _told({proposer.name for proposer in ROUNDS if {*proposer.mechanisms} & {*mechanisms}})


def _drafted(*mechanisms: Mechanism) -> Callable[[Events], bool]:
    return _told({stage.name for stage in STAGES if not mechanisms or stage.mechanism in mechanisms})


def _told(names: set[str]) -> Callable[[Events], bool]:
    return lambda events: any(isinstance(event, Searched) and event.strategy in names for event in events)


def _checked(*names: str) -> Callable[[Events], bool]:
    return lambda events: any(
        isinstance(event, CheckRan) and event.result.check.startswith(names) for event in events
    )


def _prompted(words: str) -> Callable[[Events], bool]:
    def found(events: Events) -> bool:
        prompts = [event for event in events if isinstance(event, Prompted)]
        return any(
            words in text
            for event in prompts
            for text in (event.prompt, *(m.content for m in event.messages))
        )

    return found


_SEARCH = (Mechanism.MUTATIONS, Mechanism.INFILL, Mechanism.LINES, Mechanism.FUNCTIONS)
TOOK_PART: dict[Mechanism, Callable[[Events], bool]] = {
    Mechanism.EXAMPLES: _checked("examples", "quoted tests"),
    Mechanism.OWN_TESTS: _checked(OWN_TEST),
    Mechanism.COVERAGE: _searched(*_SEARCH),
    Mechanism.LOCALS: _prompted(TOLD),
    Mechanism.MAP: _prompted(LISTED),
    Mechanism.LOCATED_PLAN: lambda events: any(
        isinstance(event, PlanMade) and event.plan.author == "rule" for event in events
    ),
    Mechanism.MUTATIONS: _searched(Mechanism.MUTATIONS),
    Mechanism.INFILL: _searched(Mechanism.INFILL),
    Mechanism.LINES: _searched(Mechanism.LINES),
    Mechanism.FUNCTIONS: _searched(Mechanism.FUNCTIONS),
    Mechanism.DRAFTS: lambda events: _drafted()(events) or _searched(Mechanism.DRAFTS)(events),
    Mechanism.SAMPLES: lambda events: (
        _searched(Mechanism.SAMPLES)(events) or _drafted(Mechanism.SAMPLES)(events)
    ),
    Mechanism.REPAIR: _drafted(Mechanism.REPAIR),
    Mechanism.AGREEMENT: _drafted(Mechanism.SAMPLES),
    Mechanism.ACTIONS: lambda events: any(
        isinstance(event, Prompted) and event.purpose == "act" for event in events
    ),
}
"""Whether the events of a run show that a mechanism took part, or may have."""


def touched(rows: Iterable[Row], store: Store) -> dict[Mechanism, list[Row]]:
    """Each mechanism's tasks."""
    found: dict[Mechanism, list[Row]] = {mechanism: [] for mechanism in Mechanism}
    for row in rows:
        events = [event.payload for run_id in row.run_ids for event in store.events(run_id)]
        for mechanism, took_part in TOOK_PART.items():
            if took_part(events):
                found[mechanism].append(row)
    return found


def again(
    suite: str, mechanism: Mechanism, rows: Sequence[Row], out: Path, options: Sequence[str]
) -> list[Row]:
    """The rows of these tasks without the mechanism."""
    names = [part for row in rows for part in ("--only", row.name)]
    adi = str(Path(sys.executable).with_name("adi"))
    asked = [adi, "eval", suite, "--without", mechanism, "--out", str(out), *options, *names]
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
    wanted = {row.name for row in rows}
    return [row for row in read_rows(out)[0] if row.name in wanted]


def line(mechanism: Mechanism, every: Sequence[Row], on: Sequence[Row], off: Sequence[Row]) -> str:
    """One row of the table; `on` and `off` are the tasks where it took part."""
    before, after = {row.name: row.solved for row in on}, {row.name: row.solved for row in off}
    lost = sum(before[name] and not after[name] for name in after)
    won = sum(after[name] and not before[name] for name in after)
    solved = sum(row.solved for row in every)
    low, high = wilson(solved - lost + won, len(every))
    both = [[row for row in rows if row.name in after] for rows in (on, off)]
    written = [sum(row.completion_tokens for row in rows) for rows in both]
    executed = [sum(row.executed for row in rows) for rows in both]
    return (
        f"| {mechanism} | {len(on)} | {solved}/{len(every)} | {solved - lost + won}/{len(every)} "
        f"({100 * low:.0f} to {100 * high:.0f}%) | {lost} / {won} | {mcnemar(lost, won):.2f} "
        f"| {written[0]} | {written[1]} | {executed[0]} | {executed[1]} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite")
    parser.add_argument("full", type=Path)
    parser.add_argument("--only", nargs="+", type=Mechanism, default=list(Mechanism), metavar="MECHANISM")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--wall", type=int, required=True, metavar="S", help="seconds a task had in FULL.jsonl"
    )
    parser.add_argument("--solved", action="store_true", help="only the tasks that FULL.jsonl solved")
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    rows, bad = read_rows(given.full)
    if (
        bad
        or not rows
        or {row.suite for row in rows} != {given.suite}
        or {row.agent for row in rows} != {"adi"}
    ):
        parser.error(f"{given.full} holds no whole results of adi on {given.suite}")
    if given.solved and not (rows := [row for row in rows if row.solved]):
        parser.error(f"{given.full} has no solved task")
    with Store.open(directories().database) as store:
        tasks = touched(rows, store)
    lines = [
        "| without | tasks it took part in | solved with it | solved without it (95% interval) "
        "| lost / won without it | p | written with it, on these | without "
        "| candidates run with it | without |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for mechanism in given.only:
        off: list[Row] = []
        if tasks[mechanism]:
            out = given.full.with_name(f"{given.full.stem}-without-{mechanism}.jsonl")
            options = ("--jobs", str(given.jobs), "--wall", str(given.wall), "--seed", str(rows[0].seed))
            off = again(given.suite, mechanism, tasks[mechanism], out, options)
        lines.append(line(mechanism, rows, tasks[mechanism], off))
        sys.stderr.write(f"{lines[-1]}\n")
        if given.table:
            given.table.write_text("\n".join([*lines, ""]), encoding="utf-8")
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
