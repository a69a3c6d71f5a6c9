"""`adi learn`: train on what was accepted, judge the result as it is served, promote it or not."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from agent.cli_gate import (
    Alone,
    AsJson,
    General,
    GeneralLimit,
    HeldOut,
    HeldOutLimit,
    Jobs,
    Samples,
    Without,
    bench,
    gate,
    gate_wish,
    gates,
    opened,
    print_json,
    row_teller,
    tell_round,
)
from agent.cli_seed import collect, say, seed

if TYPE_CHECKING:
    from agent.display_learn import Say, Tell
    from agent.learn import Round, Stage
    from agent.learn_data import Prepared
    from agent.learn_gate import GateWish
    from agent.settings import Directories, Settings
    from memory.store import Store
    from model.train_job import Settings as Training
    from model.train_rows import Document

app: Final = typer.Typer(
    help="Learn from accepted work: train an adapter, judge it as it is served, promote it or not.",
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(seed)
app.command()(collect)
app.command()(gate)
app.command()(gates)

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would be trained on, and why runs are left out.")
]
Schedule = Annotated[
    str, typer.Option(metavar="systemd|cron", help="Print what makes it periodic; install nothing.")
]
CorpusFolder = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="A corpus of `adi data corpus`, learned first.")
]
Replay = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="A corpus of general code, shown again against forgetting."),
]
ReplayShare = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of the tokens of a corpus that are of --replay.")
]
Passes = Annotated[int, typer.Option(min=1, max=4, help="Over the corpus; each cuts new gaps.")]
By = Annotated[Literal["adamw", "lion"], typer.Option(help="lion: LionW, at a fifth of the rate.")]
MaxLeftOut = Annotated[
    float, typer.Option(min=0, max=1, help="Share of rows that may be too long; more ends it.")
]


@app.callback()
def learn(
    context: typer.Context,
    dry_run: DryRun = False,
    when: Annotated[str, typer.Option(metavar="TEXT", help='Only then, such as "50 new accepted".')] = "",
    schedule: Schedule = "",
    corpus: CorpusFolder = None,
    passes: Passes = 1,
    replay: Replay = None,
    replay_share: ReplayShare = 0.05,
    optimizer: By = "adamw",
    synthetic: Annotated[bool, typer.Option(help="Runs on seeded tasks, too.")] = True,
    least: Annotated[int, typer.Option(min=1, help="Accepted runs that there must be.")] = 10,
    per_task: Annotated[int, typer.Option(min=0, help="Runs of one task; 0 is no limit.")] = 2,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the rows.")] = 3,
    rank: Annotated[int, typer.Option(min=1, help="Of the adapter.")] = 16,
    max_length: Annotated[int, typer.Option(min=16, help="Tokens; longer rows are left out.")] = 4096,
    max_left_out: MaxLeftOut = 0.05,
    processes: Annotated[int, typer.Option(min=0, help="That train together; 0: one for each GPU.")] = 1,
    minutes: Annotated[float, typer.Option(min=0, help="Of training; 0 is no limit.")] = 0.0,
    samples: Samples = 1,
    jobs: Jobs = 1,
    general: General = "",
    general_limit: GeneralLimit = 40,
    alone: Alone = False,
    held_out: HeldOut = "",
    held_out_limit: HeldOutLimit = 0,
    without: Without = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Train and store; promote nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn from accepted work. Exit code 0: promoted; 3: not; 5: time spent; 6: something is missing.

    Every stage goes on where it was broken off. The old model serves all the time.
    """
    if context.invoked_subcommand is not None:
        return
    if schedule:
        typer.echo(_schedule(schedule), nl=False)
        return
    from agent.learn_schedule import least_new
    from model.train_job import Corpus
    from model.train_job import Settings as Training

    least_new(when)
    asked = Training(
        rank=rank, alpha=2 * rank, epochs=epochs, max_length=max_length, max_left_out=max_left_out,
        processes=processes, optimizer=optimizer,
        corpus=Corpus(epochs=passes, replay=replay_share, optimizer=optimizer),
    )  # fmt: skip
    suites = (general, general_limit), (held_out, held_out_limit)
    wish = gate_wish(samples, *suites, alone, jobs) if not (no_gate or dry_run) else None
    with opened(without or ()) as (settings, places, store):
        prepared = _prepared(store, settings, places, (corpus, replay), synthetic, per_task, held_out)
        if dry_run:
            _tell_rows(prepared, as_json)
            return
        raise typer.Exit(
            _learn(prepared, asked, wish, settings, places, store, least, least_new(when), minutes, as_json)
        )


def _learn(
    prepared: "Prepared",
    asked: "Training",
    gate: "GateWish | None",
    settings: "Settings",
    places: "Directories",
    store: "Store",
    least: int,
    fresh: int,
    minutes: float,
    as_json: bool,
) -> int:
    """One round; the exit code."""
    from agent.learn import NOT_PROMOTED, PROMOTED, new_accepted
    from agent.learn import learn as work
    from agent.learn_data import enough
    from agent.learn_parts import check, parts_of, wish_of
    from agent.learn_place import LearnPlace

    place = LearnPlace.of(places.data)
    found = new_accepted(place, prepared.runs)
    if fresh and found < fresh:
        typer.echo(f"{found} of {fresh} new accepted runs: nothing is learned yet")
        return NOT_PROMOTED
    check(gate, places)
    enough(prepared, least)
    wish = wish_of(settings, places, asked, 60 * minutes)
    with place.locked(), _shown() as (tell, line):
        parts = parts_of(settings, places, store, wish, gate, on_row=row_teller(line), say=line)
        ended = work(place, prepared, wish, parts, tell=tell, began=_stage_teller(line))
    tell_round(ended, as_json)
    return PROMOTED if ended.promoted else NOT_PROMOTED


def _prepared(
    store: "Store",
    settings: "Settings",
    places: "Directories",
    folders: tuple[Path | None, Path | None],
    synthetic: bool,
    per_task: int,
    suite: str,
) -> "Prepared":
    from agent.data_sources import needs_data, sources
    from agent.errors import UsageError
    from agent.learn_data import corpus_of, prepare
    from agent.learn_place import LearnPlace
    from agent.seed_tasks import TaskFolder
    from feedback.harvest import harvests, ordered

    needs_data()
    if folders[1] and not folders[0]:
        raise UsageError("--replay goes with a corpus that is learned", "--corpus FOLDER")
    seeded = TaskFolder(LearnPlace.of(places.data).tasks).file("held-out")
    held = [*([seeded] if seeded.exists() else []), *([bench(suite) / suite] if suite else [])]
    with sources(settings, places, [store], held) as found:
        texts, left = list["Document"](), 0
        for folder, general in zip(folders, (False, True), strict=True):
            more, dropped = corpus_of(folder, found.held_out, general=general) if folder else ([], 0)
            texts, left = [*texts, *more], left + dropped
        if left:
            say(f"{left} texts of the corpus share words with held-out tasks and are left out")
        runs = ordered([*harvests(store)])
        return prepare(runs, found, corpus=texts, synthetic=synthetic, per_task=per_task)


def _tell_rows(prepared: "Prepared", as_json: bool) -> None:
    """What would be trained on."""
    rows = prepared.rows
    tokens, learned = prepared.tokens
    if as_json:
        print_json(
            "rows", runs=len(prepared.runs), labels=dict(prepared.labels), synthetic=prepared.synthetic,
            answers=len(rows.answers), pairs=len(rows.pairs), texts=len(rows.documents), tokens=tokens,
            learned=learned, left_out=dict(prepared.left_out),
        )  # fmt: skip
        return
    grades = ", ".join(f"{number} {grade}" for grade, number in sorted(prepared.labels.items())) or "none"
    longest = max((len(row.ids) for row in rows.answers), default=0)
    typer.echo(f"{prepared.told}\n")
    typer.echo(f"runs that are left: {grades}; {prepared.synthetic} of the accepted ones on seeded tasks")
    typer.echo(
        f"{len(rows.answers):,} answers of {len(prepared.runs)} accepted runs: {tokens:,} tokens, "
        f"{learned:,} of them learned; the longest row has {longest:,}"
    )
    typer.echo(f"{len(rows.pairs):,} preference pairs, {len(rows.documents):,} texts of a corpus")


def _schedule(kind: str) -> str:
    """For this program, with the options that were given."""
    from agent.learn_schedule import schedule

    given = sys.argv[sys.argv.index("learn") :] if "learn" in sys.argv else ["learn"]
    kept, skip = list[str](), False
    for word in given:
        if skip or word.startswith("--schedule"):
            skip = not skip and word == "--schedule"
            continue
        kept.append(word)
    program = Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()
    return schedule(kind, program, kept, os.environ.get("ADI_HOME", ""))


def _stage_teller(line: Callable[[str], None]) -> "Callable[[Stage, Round], None]":
    words = {
        "train": "training", "store": "storing the adapter", "gate": "the gate: held-out tasks, both models",
        "promote": "promoting",
    }  # fmt: skip
    return lambda stage, now: line(f"round {now.id}: {words[stage]}")


@contextmanager
def _shown() -> "Iterator[tuple[Tell, Say]]":
    """A bar with the loss at a terminal, lines now and then elsewhere; both on stderr."""
    from agent.display_learn import shown

    with shown(sys.stderr) as found:
        yield found
