"""Measures what the memory saves on a stream of related tasks: same tasks and person, with it and without.

Run: python -m benchmarks.memory_stream OUT [--tasks unseen|dev] [--arm with|without|both] [--report]

OUT is a folder for the results (JSON lines, one for each task, written as they come; the same command goes on
where it stopped) and for the two arms' repositories and memories, which are apart. Two repositories take
turns; each of their 24 tasks adds a test that fails. `dev` (stream_tasks.py) was written together with the
memory, `unseen` (stream_tasks_unseen.py) by somebody who did not know it. The person is a rule: a change
that adds what the maintainer does not want is rejected with the reason, once the task is given again with
the reason added, and what is not solved then is mended by hand, so that both arms see the same code at every
task. Told: solved, written and new prompt tokens, model calls and actions, by halves of the stream; and
bootstrap intervals, over tasks, of the share of written tokens a solved task that the memory saves.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.person import Decision, PlanAnswer
from agent.session import open_session
from agent.settings import Settings, load
from benchmarks import stream_tasks, stream_tasks_unseen
from benchmarks.stream_tasks import Defect, Project
from feedback.hunks import added
from memory.records import ActionEnded, Check, Completed, Evaluation, Plan, Recalled, Searched, Stop
from memory.store import Store

RESAMPLES = 10_000
TOKENS, WALL_S = 1_500, 900.0
"""What one run may write, and take: the tasks are one or two lines each."""


PROJECTS = {"dev": stream_tasks.PROJECTS, "unseen": stream_tasks_unseen.PROJECTS}


@dataclass(frozen=True, slots=True)
class Row:
    """One task of one arm."""

    arm: str
    task: str
    solved: bool
    tries: int
    rejected: int
    written: int
    new: int
    """Prompt tokens that the server had not cached."""
    calls: int
    actions: int
    candidates: int
    recalled: int
    seconds: float
    stop: str


class Maintainer:
    """Accepts what passes, and rejects what goes against the project's rule, with the reason."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.rejected = 0

    def review_plan(self, plan: Plan, checks: Sequence[Check]) -> PlanAnswer:  # noqa: ARG002
        return PlanAnswer(plan)

    def decide(self, diff: bytes, evaluation: Evaluation) -> Decision:
        if not evaluation.accepted:
            return Decision("reject", reason="")
        if any(re.search(self._project.refused, line) for line in added(diff.decode())):
            self.rejected += 1
            return Decision("reject", reason=self._project.reason)
        return Decision("accept")

    def tell(self, text: str) -> None:
        sys.stderr.write(f"  {text}\n")


def stream(tasks: str) -> list[tuple[Project, Defect]]:
    """The tasks in their order, the repositories in turn."""
    projects = PROJECTS[tasks]
    pairs = zip(*(project.defects for project in projects), strict=True)
    return [(project, defect) for group in pairs for project, defect in zip(projects, group, strict=True)]


def git(repo: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Maintainer", "-c", "user.email=maintainer@localhost")
    subprocess.run(["git", *identity, *arguments], cwd=repo, check=True, capture_output=True)


def make_repository(project: Project, repo: Path) -> None:
    """The repository with all its defects, none of which has a test yet."""
    for path, text in project.files.items():
        for defect in (item for item in project.defects if item.path == path):
            assert text.count(defect.right) == 1, defect.name
            text = text.replace(defect.right, defect.wrong)
        target = repo / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "first")


def add_test(project: Project, defect: Defect, repo: Path) -> None:
    path = repo / project.test_path.format(name=defect.name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(project.test_head.format(name=defect.name, test=defect.test), encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", f"a test of {defect.name}")


def settle(defect: Defect, repo: Path, solved: bool) -> None:
    """Commit the accepted change; one that is missing is made by hand, as it should be."""
    if not solved:
        git(repo, "checkout", "-q", "--", ".")
        path = repo / defect.path
        text = path.read_text(encoding="utf-8")
        here = text.index(f"def {defect.name}(")
        path.write_text(text[:here] + text[here:].replace(defect.wrong, defect.right, 1), encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "--allow-empty", "-m", defect.name)


def settings_of(arm: str, repo: Path) -> Settings:
    limits = {"completion_tokens": TOKENS, "wall_s": WALL_S}
    return load(repo, {"memory": {"recall": arm == "with"}, "run": limits}).settings


def do(arm: str, project: Project, defect: Defect, repo: Path, database: Path) -> Row:
    """One task, given a second time with the reason when it was rejected."""
    person = Maintainer(project)
    runs: list[str] = []
    stop = Stop.ERROR
    with open_session(settings_of(arm, repo), repo, person, []) as session:
        for prompt in (defect.prompt, f"{defect.prompt} Note: {project.reason}."):
            before = person.rejected
            outcome = session.run(prompt)
            runs.append(outcome.run_id)
            stop = outcome.stop
            if person.rejected == before:
                break
    solved = stop is Stop.ACCEPTED
    settle(defect, repo, solved)
    return measured(arm, f"{project.name}/{defect.name}", runs, solved, person.rejected, stop, database)


def measured(
    arm: str, task: str, runs: Sequence[str], solved: bool, rejected: int, stop: Stop, database: Path
) -> Row:
    with Store.open(database) as store:
        events = [event.payload for run in runs for event in store.events(run)]
        seconds = sum(store.run(run).seconds for run in runs)
    usage = [event.completion.usage for event in events if isinstance(event, Completed)]
    searched = [event.executed for event in events if isinstance(event, Searched)]
    return Row(
        arm=arm,
        task=task,
        solved=solved,
        tries=len(runs),
        rejected=rejected,
        written=sum(item.completion_tokens for item in usage),
        new=sum(item.prompt_tokens - item.cached_tokens for item in usage),
        calls=len(usage),
        actions=sum(isinstance(event, ActionEnded) for event in events),
        candidates=max(searched, default=0),
        recalled=sum(len(event.lessons) for event in events if isinstance(event, Recalled)),
        seconds=round(seconds, 1),
        stop=stop.value,
    )


def run_arm(arm: str, tasks: str, out: Path, only: str = "") -> None:
    """All tasks of one arm, or of one of its repositories, that have no result yet.

    The arm's memory is its own. Lessons stay in their repository, so repositories may run side by side.
    """
    home = out / arm / "home"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["ADI_HOME"] = str(home)
    results = out / f"{arm}.jsonl"
    done = {row.task for row in read(results)}
    for project, defect in stream(tasks):
        if only and project.name != only:
            continue
        task, repo = f"{project.name}/{defect.name}", out / arm / project.name
        if not repo.exists():
            make_repository(project, repo)
        if task in done:
            continue
        git(repo, "reset", "-q", "--hard")  # the benchmark's own repository: what a broken-off task left
        if not (repo / project.test_path.format(name=defect.name)).exists():
            add_test(project, defect, repo)
        row = do(arm, project, defect, repo, home / "adi.db")
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        told = "solved" if row.solved else row.stop
        sys.stderr.write(f"{arm:8}{task:28}{told:12}{row.written:6} written\n")


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def per_solved(rows: Sequence[Row]) -> float:
    return sum(row.written for row in rows) / max(1, sum(row.solved for row in rows))


def interval(without: Sequence[Row], with_it: Sequence[Row]) -> tuple[float, float]:
    """95% bootstrap interval, over tasks, of the share of written tokens a solved task that is saved."""
    draws = random.Random(0)
    shares = []
    for _ in range(RESAMPLES):
        picked = draws.choices(range(len(without)), k=len(without))
        base = per_solved([without[index] for index in picked])
        if base:
            shares.append(1 - per_solved([with_it[index] for index in picked]) / base)
    if not shares:
        return 0.0, 0.0  # nothing was written, so nothing could be saved
    shares.sort()
    return shares[int(0.025 * len(shares))], shares[int(0.975 * len(shares)) - 1]


def report(tasks: str, out: Path) -> str:
    """The table, of the tasks that both arms have done."""
    arms = {arm: {row.task: row for row in read(out / f"{arm}.jsonl")} for arm in ("without", "with")}
    names = [f"{project.name}/{defect.name}" for project, defect in stream(tasks)]
    known = [name for name in names if all(name in rows for rows in arms.values())]
    half = len(names) // 2
    lines = [
        "| part | arm | solved | rejected | written tokens | a solved task | new prompt tokens | calls "
        "| actions | s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for part, chosen in (("all", known), ("first half", known[:half]), ("second half", known[half:])):
        if not chosen:
            continue
        rows = {arm: [arms[arm][task] for task in chosen] for arm in arms}
        for arm, found in rows.items():
            solved = sum(row.solved for row in found)
            lines.append(
                f"| {part} | {arm} | {solved}/{len(found)} | {sum(r.rejected for r in found)} "
                f"| {sum(r.written for r in found):,} | {per_solved(found):,.0f} "
                f"| {sum(r.new for r in found):,} "
                f"| {sum(r.calls for r in found)} | {sum(r.actions for r in found)} "
                f"| {sum(r.seconds for r in found):,.0f} |"
            )
        base = per_solved(rows["without"])
        share = 1 - per_solved(rows["with"]) / base if base else 0.0
        low, high = interval(rows["without"], rows["with"])
        lines.append(f"| {part} | saved | | | | {share:.0%} ({low:.0%} to {high:.0%}) | | | | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--arm", choices=("with", "without", "both"), default="both")
    parser.add_argument("--tasks", choices=tuple(PROJECTS), default="unseen")
    parser.add_argument("--project", default="", help="only this repository, of one arm")
    parser.add_argument("--report", action="store_true", help="only print the table")
    given = parser.parse_args()
    out = given.out.absolute()
    if not given.report and given.arm == "both":
        # Each arm is a process of its own: the place of the memory is read once.
        for arm in ("without", "with"):
            module = [sys.executable, "-m", "benchmarks.memory_stream"]
            command = [*module, str(out), "--arm", arm, "--tasks", given.tasks]
            subprocess.run(command, check=True)
    elif not given.report:
        run_arm(given.arm, given.tasks, out, given.project)
    sys.stdout.write(f"{report(given.tasks, out)}\n")


if __name__ == "__main__":
    main()
