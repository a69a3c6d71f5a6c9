"""What tests of the `adi` command as a process share: starting it, typing at it, reading what it left."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pexpect

from agent.person import Unattended
from agent.session import Outcome, open_session
from agent.settings import Settings
from memory.records import Event, RunEnded, RunSummary
from memory.store import Store
from model.scripted import Asked
from sandbox.client import connect
from tests.agent_kit import CALC, UNSCRIPTED, Script
from tests.openai_server import Answer, serve

T = TypeVar("T")

ADI = [sys.executable, "-P", "-c", "from agent.cli import main; main()"]
FILES = {
    "calc.py": CALC,
    "test_calc.py": "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
}
PLAN = "- Add instead of subtracting | files: calc.py | check: pytest\n"


def mends() -> Script:
    return Script(plan=PLAN, lines={"calc.py line 2": "return a + b"})


def planning(do: object) -> Answer:
    """What happens when the plan is asked for; the rest as usual. `do` may be a function."""
    script = mends()

    def answer(asked: Asked) -> object:
        if "Write the plan" not in asked.messages[-1].content:
            return script(asked)
        return do() if callable(do) else do

    return answer


def adi(repo: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ADI, *arguments], cwd=repo, env={**os.environ, **environ}, capture_output=True, text=True,
        timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def newest(home: Path) -> RunSummary:
    with Store.open(home / "adi.db") as store:
        return store.runs()[0]


def kinds(home: Path, run_id: str) -> list[str]:
    with Store.open(home / "adi.db") as store:
        return [event.payload.kind for event in store.events(run_id)]


def containers(run_id: str) -> list[object]:
    with contextlib.closing(connect()) as client:
        return list(client.containers(all=True, filters={"label": f"adi.run={run_id}"}))


@contextlib.contextmanager
def typing(repo: Path, *arguments: str) -> "Iterator[pexpect.spawn[str]]":
    """`adi` on a terminal."""
    environ = {**os.environ, "TERM": "xterm-256color", "CI": ""}
    child: pexpect.spawn[str] = pexpect.spawn(
        ADI[0], [*ADI[1:], *arguments], cwd=str(repo), env=environ, encoding="utf-8", timeout=60,
        dimensions=(50, 160),
    )  # fmt: skip
    try:
        yield child
    finally:
        child.close(force=True)


def code_of(child: "pexpect.spawn[str]") -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


@dataclass(slots=True)
class Told:
    """What a run in this process told, as it happened."""

    events: list[Event] = field(default_factory=list)
    outcome: Outcome | None = None
    error: BaseException | None = None

    def all(self, kind: type[T]) -> list[T]:
        """Payloads of one kind, in order."""
        return [event.payload for event in self.events if isinstance(event.payload, kind)]

    @property
    def ended(self) -> RunEnded:
        (last,) = self.all(RunEnded)
        return last


def run_here(
    repo: Path,
    answer: Answer,
    *,
    prompt: str = "make the test pass",
    n_ctx: int = 32_768,
    **settings: object,
) -> Told:
    """One unattended run in this process: a real container, a real server that answers by script.

    The action loop is what these runs are about: `sampling` is off unless it is asked for.
    """
    told = Told()
    with serve(answer, n_ctx=n_ctx) as url:
        chosen = Settings.model_validate(
            {
                "model": {"url": url},
                "run": {
                    "sampling": False,
                    "without": UNSCRIPTED,
                    "checks": ("python3 -m pytest -q",),
                    **settings,
                },
            }
        )
        with open_session(chosen, repo, Unattended(accept=True), [told.events.append]) as session:
            try:
                told.outcome = session.run(prompt, chosen.run.checks)
            except Exception as error:  # noqa: BLE001 - what the run ended with is what a test looks at
                told.error = error
    return told


def acting(acts: Iterable[object], plan: object = PLAN) -> Answer:
    """Answers in order to the action loop's questions; anything that openai_server can do."""
    waiting = iter(acts)

    def answer(asked: Asked) -> object:
        return plan if "Write the plan" in asked.messages[-1].content else next(waiting)

    return answer
