"""`adi learn gate` and `adi learn gates`: judge an adapter that is there, or what chance does; past looks.

What `adi learn` shares with them is here, too: the options of a gate, what they are opened with, and how a
round is told.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent.cli_seed import say
from agent.mechanisms import Mechanism

if TYPE_CHECKING:
    from agent.learn import Round
    from agent.learn_gate import GateWish
    from agent.settings import Directories, Settings
    from agent.suite_read import Part
    from agent.suite_task import Row, SuiteTask
    from memory.store import Store

SCHEMA_VERSION: Final = 1
Samples = Annotated[int, typer.Option(min=1, help="Runs of each held-out task and model.")]
Jobs = Annotated[int, typer.Option(min=1, help="Tasks of the gate at once.")]
General = Annotated[str, typer.Option(metavar="SUITE", help="A suite of `adi eval` to check harm on.")]
GeneralLimit = Annotated[int, typer.Option(min=1, help="Tasks of that suite.")]
Alone = Annotated[bool, typer.Option("--alone", help="Promote without a general suite.")]
Without = Annotated[
    list[Mechanism] | None,
    typer.Option(help="Judge both models with this part of ADI switched off; repeatable."),
]
HeldOut = Annotated[
    str, typer.Option("--held-out", metavar="SUITE", help="A suite of `adi eval` in place of seeded tasks.")
]
HeldOutLimit = Annotated[int, typer.Option(min=0, help="Tasks of that suite; 0 means all.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def gate(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A name of `adi model adapters`.")] = "",
    samples: Samples = 1,
    jobs: Jobs = 1,
    general: General = "",
    general_limit: GeneralLimit = 40,
    alone: Alone = False,
    held_out: HeldOut = "",
    held_out_limit: HeldOutLimit = 0,
    without: Without = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Judge the served model against itself: what chance does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge an adapter as `adi learn` does, and promote it on PROMOTE. Exit codes as there.

    A gate that was broken off goes on; with other samples, budgets or tasks it is another one.
    """
    from agent.errors import UsageError

    if bool(name) == noise:
        raise UsageError("name an adapter, or --noise", "adi model adapters")
    wish = gate_wish(samples, (general, general_limit), (held_out, held_out_limit), alone, jobs)
    with opened(without or ()) as (settings, places, store):
        if noise:
            _noise(wish, settings, places, store, as_json)
        else:
            raise typer.Exit(_judge(name, wish, settings, places, store, as_json))


def gates(as_json: AsJson = False) -> None:
    """List the looks at held-out tasks."""
    from memory.gates import uses

    with opened() as (_, _, store):
        found = uses(store)
    if as_json:
        print_json("gates", gates=[use.model_dump(mode="json", exclude={"report"}) for use in found])
        return
    for use in found:
        what = f"look {use.look}, level {use.alpha:.2g}" if use.kind == "gate" else "the old one twice"
        verdict = use.verdict or "not ended"
        typer.echo(f"{use.at[:16]}  {verdict:12} {use.new or 'base'}: {len(use.tasks)} tasks, {what}")
    if not found:
        say("no gate has looked at held-out tasks yet")


def _judge(
    name: str, wish: "GateWish", settings: "Settings", places: "Directories", store: "Store", as_json: bool
) -> int:
    """The gate alone, for an adapter that is in the store; the exit code."""
    from agent.learn import NOT_PROMOTED, PROMOTED, Round
    from agent.learn_gate import judge
    from agent.learn_place import LearnPlace
    from agent.models import choice_of

    place = LearnPlace.of(places.data)
    kept = choice_of(settings, places).adapters
    found = kept.get(name)
    with place.locked():
        folder = place.root / "gates" / name
        said = judge(name, folder, wish, settings, places, store, on_row=row_teller(say), say=say)
        if said.verdict == "PROMOTE":
            kept.promote(name, reason=str(said.report))
    ended = Round(
        id="", rows_sha256=found.dataset_sha256, runs=found.rows, synthetic=0, adapter=name,
        verdict=said.verdict, reasons=said.reasons, report=str(said.report),
        promoted=said.verdict == "PROMOTE",
    )  # fmt: skip
    tell_round(ended, as_json)
    return PROMOTED if ended.promoted else NOT_PROMOTED


def _noise(
    wish: "GateWish", settings: "Settings", places: "Directories", store: "Store", as_json: bool
) -> None:
    """The served model twice. It promotes nobody, whatever is said."""
    from agent.learn_gate import noise
    from agent.learn_place import LearnPlace

    place = LearnPlace.of(places.data)
    with place.locked():
        said = noise(place.root / "gates" / "noise", wish, settings, places, store, on_row=row_teller(say))
    if as_json:
        print_json("noise", verdict=said.verdict, reasons=said.reasons, report=str(said.report))
        return
    typer.echo(f"{said.verdict}: the served model against itself")
    say(f"report: {said.report}")


@contextmanager
def opened(without: Sequence[Mechanism] = ()) -> "Iterator[tuple[Settings, Directories, Store]]":
    from agent.settings import directories, load, store_place
    from memory.store import Store

    settings = load(None, {"run": {"without": tuple(without) or None}}).settings
    with Store.open(store_place(settings)) as store:
        yield settings, directories(), store


def tell_round(ended: "Round", as_json: bool) -> None:
    from agent.inert import inert_line

    if as_json:
        print_json("round", **ended.model_dump(mode="json"))
        return
    what = ended.verdict or "not judged"
    served = "it is served from now on" if ended.promoted else "the model that served before goes on serving"
    typer.echo(f"{what}: {ended.adapter} ({len(ended.runs)} runs, {ended.synthetic} synthetic); {served}")
    for reason in ended.reasons:
        typer.echo(f"  {inert_line(reason)}")
    if ended.report:
        say(f"report: {ended.report}")


def gate_wish(
    samples: int, general: tuple[str, int], held_out: tuple[str, int], alone: bool, jobs: int
) -> "GateWish":
    """From the options; suites are a name and a number of tasks. Raises UsageError."""
    from agent.learn_gate import wished

    beside, held = suite_tasks(general[0], "dev", general[1]), suite_tasks(held_out[0], "all", held_out[1])
    return wished(samples, beside, held, alone=alone, jobs=jobs)


def suite_tasks(suite: str, part: "Part", limit: int) -> "tuple[SuiteTask, ...]":
    """The first tasks of a part of a suite, all with a limit of 0; none where no suite was named."""
    if not suite:
        return ()
    from agent.suite_read import read_suite

    tasks, _ = read_suite(suite, bench(suite), part=part)
    return tuple(tasks[: limit or None])


def bench(suite: str) -> Path:
    """The folder of the suites. Raises UsageError where nobody named it."""
    from agent.cli_eval import BENCH
    from agent.errors import UsageError

    if not os.environ.get(BENCH):
        raise UsageError(f"where is {suite}?", f"name the folder of the suites in {BENCH}")
    return Path(os.environ[BENCH])


def row_teller(line: Callable[[str], None]) -> "Callable[[str, Row, int, int], None]":
    def tell(arm: str, row: "Row", done: int, of: int) -> None:
        line(f"gate [{done}/{of}] {arm} {row.name}: {'solved' if row.solved else 'not solved'} ({row.ended})")

    return tell


def print_json(kind: str, **told: object) -> None:
    typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "type": kind, **told}))
