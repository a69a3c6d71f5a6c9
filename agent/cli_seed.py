"""`adi learn seed` and `adi learn collect`: tasks to learn from, and runs on them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent.seed_find import Found
    from agent.seed_tasks import By, SeededTask
    from agent.settings import Settings
    from agent.suite_task import Row


def seed(
    repos: Annotated[list[Path], typer.Argument(metavar="REPO...", help="Your repositories with tests.")],
    limit: Annotated[int, typer.Option(min=1, help="Tasks of each repository.")] = 20,
    check: Annotated[list[str] | None, typer.Option(help="A command that runs its tests.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Time for each repository.")] = 10.0,
    split_by: Annotated[
        str, typer.Option(help="repository, file or function; empty: what their number suggests.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the drawing of defects.")] = 0,
) -> None:
    """Make tasks of your own tested repositories: small defects that their tests catch.

    Nothing in a repository is touched. A quarter of the repositories, files or functions is held out for the
    gate, by a hash, for ever; the rest is for `adi learn collect`.
    """
    from agent.errors import UsageError
    from agent.learn_place import LearnPlace
    from agent.seed_find import Wish, find
    from agent.seed_made import keep
    from agent.settings import directories, load
    from agent.suite_measure import Graders

    places, settings = directories(), load().settings
    place, found = LearnPlace.of(places.data), list["Found"]()
    wish = Wish(limit=limit, seed=seed, budget_s=60 * minutes, checks=tuple(check or ()))
    with place.locked():
        for repo in repos:
            one = find(repo, places.shadow, wish, Graders(settings), say)
            found.append(one)
            say(f"{one.repo}: {one.why or found_line(one)}")
        made, fresh = keep(place, found, _by(split_by, found))
    if not made:
        why = next((one.why for one in found if one.why), "no change was caught by a part of the tests only")
        raise UsageError(
            f"no task could be made: {why}", "name a repository whose tests pass, and catch defects"
        )
    held = sum(task.part == "held-out" for task in made)
    typer.echo(f"{len(made)} tasks, {fresh} of them new: {len(made) - held} to learn from, {held} held out")
    if len(made) == held or not held:
        say("warning: with one part only nothing can be trained and judged; name more repositories")
    say("next: adi learn collect")


def found_line(one: "Found") -> str:
    """What the search came to."""
    return (
        f"{len(one.defects)} tasks of {one.tried} changes; {one.missed} were noticed by no test, "
        f"{one.unsure} ended otherwise in a second run (ended by: {one.ended})"
    )


def _by(asked: str, found: "Sequence[Found]") -> "By":
    """As asked; else by repository where there are several, by file where one has several, by function."""
    from agent.errors import UsageError

    ways: dict[str, By] = {"repository": "repository", "file": "file", "function": "function"}
    if asked and asked not in ways:
        raise UsageError(f"no split by {asked!r}", f"use {', '.join(ways)}")
    if asked:
        return ways[asked]
    if sum(bool(one.defects) for one in found) > 1:
        return "repository"
    return "file" if len({defect.path for one in found for defect in one.defects}) > 1 else "function"


def collect(
    limit: Annotated[int, typer.Option(min=0, help="Only so many tasks; 0 means all.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Runs of each task, each with its own seed.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Tasks at once.")] = 1,
    wall: Annotated[float | None, typer.Option(min=0, help="Seconds of one run.")] = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="Tokens the model may write in one run.")] = None,
    mutations: Annotated[
        bool, typer.Option(help="Let ADI try small standard changes before it asks the model.")
    ] = False,
) -> None:
    """Run ADI on the training tasks, with nobody there; what passes all tests is accepted trajectories.

    Resumable: a run that is written down is not repeated. The runs are marked synthetic, and evidence alone
    accepts them. Held-out tasks are never run here.
    """
    from agent.errors import UsageError
    from agent.learn_collect import collect as run_all
    from agent.learn_place import LearnPlace
    from agent.mechanisms import Mechanism
    from agent.seed_tasks import TaskFolder
    from agent.settings import directories, load

    place = LearnPlace.of(directories().data)
    tasks = TaskFolder(place.tasks).tasks("train")
    if not tasks:
        raise UsageError("there are no training tasks", "adi learn seed REPO...")
    without = None if mutations else (Mechanism.MUTATIONS,)  # what needs no model teaches it nothing
    settings = load(None, {"run": {"wall_s": wall, "completion_tokens": tokens, "without": without}}).settings
    rows = run_all(tasks[: limit or None], place, settings, samples=samples, jobs=jobs, on_row=_tell)
    solved = sum(row.solved for row in rows)
    typer.echo(f"{solved} of {len(rows)} runs passed all tests")
    _hint_consent(tasks, settings)


def _hint_consent(tasks: "Sequence[SeededTask]", settings: "Settings") -> None:
    """Nothing is trained on before its repository's owner said yes; say so while it is cheap."""
    from agent.settings import store_place
    from memory.consent import Consents
    from memory.store import Store

    with Store.open(store_place(settings)) as store:
        decided = Consents(store).standing().decisions
    for repo in sorted({task.repo for task in tasks}):
        if not any(key in decided for key in (("repository", repo), ("user", ""))):
            say(f"to train on these runs: adi data consent grant --repo {repo}")


def _tell(row: "Row", done: int, tasks: int) -> None:
    verdict = "all tests pass" if row.solved else f"not solved ({row.ended})"
    say(f"[{done}/{tasks}] {row.name}: {verdict} in {row.wall_s:.0f} s")


def say(line: str) -> None:
    """A line on stderr, inert."""
    from agent.inert import inert_line

    sys.stderr.write(f"{inert_line(line)}\n")
