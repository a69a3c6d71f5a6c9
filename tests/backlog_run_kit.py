"""Workers for tests of the backlog: real processes, a local sandbox and a scripted model in each.

What happens to an item is in its key: `crash...` kills its process each time, `lost...` loses the sandbox,
`wrong...` is never solved, `unproven...` changes what passes, `wait...` waits for a file `go` beside the
store, `slow...` takes a second; all others are solved. No item is given what another one taught.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from agent.backlog_attempt import Bench
from agent.backlog_child import main, rooms
from agent.backlog_flow import Job, work
from agent.backlog_item import Item
from agent.backlog_run import Orders, Signals, Supervisor
from agent.output import Format
from agent.percolate import Listener
from agent.person import Person
from agent.session import Session
from agent.settings import Settings, directories
from memory.backlog import Backlog
from memory.backlog_records import BacklogLimits, Lease
from memory.store import Store
from sandbox.errors import SandboxLost
from tests.agent_kit import CHECK, MENDED, Script, open_local
from tests.store_kit import ROOT

COMMAND = (
    sys.executable, "-P", "-c",
    f"import sys, os; sys.path.insert(0, {str(ROOT)!r}); from tests.backlog_run_kit import child; "
    "code = child(); sys.stderr.flush(); os._exit(code)",
)  # fmt: skip
COMMENTED = f"write calc.py\n```python\n# A sum.\n{MENDED}```\n"
DRIVE = [
    sys.executable, "-P", "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.backlog_run_kit import drive; "
    "sys.exit(drive())",
]  # fmt: skip
CREW = [*DRIVE[:-1], DRIVE[-1].replace("drive", "crew")]
QUICK = BacklogLimits(item_tries=2, retry_s=0.05, retry_max_s=0.1)


def child() -> int:
    """One worker's process."""
    return main(Bench(rooms(), opened))


@contextlib.contextmanager
def opened(repo: Path, person: Person, listeners: Sequence[Listener], lease: Lease) -> Iterator[Session]:
    key = lease.item.key
    if key.startswith("lost"):
        raise SandboxLost("the sandbox was lost", "adi doctor")
    line = "return a * b" if key.startswith("wrong") else "return a + b"
    acts = (COMMENTED, "submit") if key.startswith("unproven") else ("run true",) * 5
    script = Script(lines={"calc.py line 2": line}, acts=acts)

    def listen(event: Any) -> None:
        if event.payload.kind != "plan-made":
            return
        note(key)
        if key.startswith("crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        while key.startswith("wait") and not go().exists():
            time.sleep(0.02)
        time.sleep(1.0 if key.startswith("slow") else 0.0)

    settings = {"steps": 2}
    with open_local(repo, script, person, listeners=[*listeners, listen], settings=settings) as session:
        memory = session.settings.memory.model_copy(update={"recall": False})
        session.settings = session.settings.model_copy(update={"memory": memory})
        yield session


def drive() -> int:
    """`adi backlog resume NAME` with such workers: name, jobs and the form of output are arguments."""
    name, jobs, form, out = sys.argv[1:5]
    with Store.open(directories().database) as store:
        orders = Orders(jobs=int(jobs), command=COMMAND, events=form == "stream-json", lease_s=30.0)
        job = Job(orders, Settings(), Path(out), cast(Format, form), ready=lambda _: None)
        return work(store, Backlog.find(store, name), job)


def crew() -> int:
    """`adi worker --until-done` with such workers: address, jobs and `one` or `many` a repository."""
    from agent.backlog_dispatch import Crew

    address, jobs, one = sys.argv[1:4]

    def tell(told: Mapping[str, Any]) -> None:
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()

    orders = Orders(jobs=int(jobs), command=COMMAND, one_per_repo=one == "one", lease_s=3.0)
    made = Crew(address, orders, directories().logs, tell, until_done=True, look_s=0.5, silent_s=3.0)
    return made.run()


def go() -> Path:
    """The file that lets items go on that wait."""
    return directories().data / "go"


def note(key: str) -> None:
    with (directories().data / "begun").open("a") as file:
        file.write(f"{key}\n")


def begun() -> list[str]:
    """Keys of the items whose work began, in order, as often as it did."""
    file = directories().data / "begun"
    return file.read_text().split() if file.exists() else []


def issue(key: str, repo: Path, **more: Any) -> Item:
    return Item(key=key, title=f"Sums are wrong: {key}", repo=str(repo), checks=(CHECK.command,), **more)


@contextlib.contextmanager
def opened_backlog(limits: BacklogLimits = QUICK) -> Iterator[tuple[Store, Backlog]]:
    with Store.open(directories().database) as store:
        yield store, Backlog.create(store, "b", limits=limits)


def supervise(backlog: Backlog, jobs: int = 1, **orders: Any) -> tuple[Supervisor, list[dict[str, Any]]]:
    """Run the workers until they leave; what they told."""
    told: list[dict[str, Any]] = []
    made = Orders(jobs=jobs, command=COMMAND, **orders)
    supervisor = Supervisor(backlog, made, directories().logs, told.append)
    supervisor.run(Signals())
    return supervisor, told


def states(backlog: Backlog) -> dict[str, str]:
    return {item.key: str(item.state) for item in backlog.each()}
