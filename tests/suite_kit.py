"""What the tests of the evaluation share: tasks, rows, agents on the local sandbox with a scripted model."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.origin import origin_of
from agent.percolate import Listener
from agent.person import Person
from agent.session import Session
from agent.suite_agents import OpenSession
from agent.suite_task import Attempt, Grader, Row, SuiteTask
from memory.origin import Origin
from sandbox.local import LocalSandbox
from sandbox.workcopy import WorkCopy
from tests.agent_kit import CALC, CHECK, MENDED, TEST, Script, open_local

FILES = {"calc.py": CALC.encode(), "test_calc.py": TEST.encode()}


def task(name: str = "a", *, tries: int = 1, hidden: bool = False) -> SuiteTask:
    """Mend calc.py; its test is the check, or where `hidden` only the grader has it."""
    tests = {"test_calc.py": FILES["test_calc.py"]}
    return SuiteTask(
        suite="s",
        name=name,
        language="py",
        prompt="calc.py has a defect",
        files={"calc.py": FILES["calc.py"]} if hidden else FILES,
        answers=("calc.py",),
        grader=Grader(CHECK.command, tests),
        checks=() if hidden else (CHECK.command,),
        tries=tries,
    )


def local(files: WorkCopy, _profile: str) -> LocalSandbox:
    """Where the tests grade."""
    return LocalSandbox(files.archive())


def sessions(
    script: Script,
    settings: Mapping[str, object] | None = None,
    origin: Callable[[Path], Origin] = origin_of,
) -> OpenSession:
    """Sessions on the local sandbox."""

    @contextlib.contextmanager
    def opened(repo: Path, person: Person, listeners: Sequence[Listener]) -> Iterator[Session]:
        with open_local(repo, script, person, listeners=listeners, settings=settings) as session:
            session.origin = origin
            yield session

    return opened


@dataclass
class Writer:
    """An agent that writes a file: what the function says for a try."""

    write: Callable[[SuiteTask, str], Attempt]
    name: str = "writer"
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Task and prompt of each try."""
    found: list[str] = field(default_factory=list)
    """calc.py as each try found it."""

    def attempt(self, task: SuiteTask, repo: Path, prompt: str) -> Attempt:
        self.asked.append((task.name, prompt))
        self.found.append((repo / "calc.py").read_text())
        return self.write(task, prompt)


def wrote(text: str = MENDED, ended: str = "answered", **rest: object) -> Attempt:
    """An attempt that leaves calc.py so."""
    return replace(Attempt({"calc.py": text.encode()}, ended), **rest)  # type: ignore[arg-type]


def row(name: str = "a", solved: bool = True, **rest: object) -> Row:
    """A row whose other numbers are the arguments."""
    whole = Row(
        suite="s", name=name, group="", agent="adi", seed=0, solved=solved, solved_at=int(solved),
        ended="accepted" if solved else "failed", detail="", strategy="", prompt_tokens=0, cached_tokens=0,
        completion_tokens=0, later_prompt_tokens=0, later_cached_tokens=0, calls=0, executed=0, actions=0,
        malformed=0, wall_s=0.0, run_ids=(), model="m", adi="0", diff="",
    )  # fmt: skip
    return replace(whole, **rest)  # type: ignore[arg-type]
