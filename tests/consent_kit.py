"""Planted runs, each with its own author, repository and session, and what must become of them in a data set.

`consent_cases` makes them by chance from a seed; `ConsentCase.reasons` says by rules of its own, without the
program's, why a run must stay out. Cases do not touch each other: many can be planted in one store.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sqlmodel import col, update

from feedback.harvest import Harvest, harvest, session_of
from memory.consent import Consents, ConsentScope, ConsentStatus
from memory.forget import forget_runs
from memory.lessons import now
from memory.origin import Origin
from memory.records import RunEnded, RunStarted, Stop, Task
from memory.store import Store
from memory.tables import RunRow, TombstoneRow

SCOPES: tuple[ConsentScope, ...] = ("user", "repository", "session", "record")
"""The widest first."""

Decisions = tuple[tuple[ConsentScope, ConsentStatus], ...]


@dataclass(frozen=True)
class ConsentCase:
    """One run and all that was said about it."""

    number: int
    decisions: Decisions = ()
    """In the order in which they were made; a later one for the same scope replaces the earlier."""
    no_train: Literal["", "then", "now"] = ""
    """The file was there when the run began, or is there now."""
    opted_out: Literal["", "author", "repository", "session"] = ""
    forgotten: Literal["", "run", "author", "repository", "session"] = ""
    """Forgotten after the run, and brought back by a backup."""

    @property
    def copied(self) -> bool:
        """The run worked on a copy of its repository; each second one did."""
        return self.number % 2 == 1

    @property
    def author(self) -> str:
        return f"Person{self.number}@example.org"

    @property
    def session(self) -> tuple[int, str]:
        """Process id and identity."""
        return 100_000 + self.number, "boot:1"

    @property
    def reasons(self) -> frozenset[str]:
        """Everything that stands against the run; empty where it may be used."""
        last = dict(self.decisions)
        against = {
            "forgotten": bool(self.forgotten),
            "opted out": bool(self.opted_out),
            "no-train file": bool(self.no_train),
            "consent refused": "refused" in last.values(),
            "consent not given": "granted" not in last.values(),
        }
        return frozenset(reason for reason, holds in against.items() if holds)

    @property
    def scope(self) -> str:
        """The scope that a run which may be used was granted by: the narrowest."""
        return [scope for scope in SCOPES if (scope, "granted") in self.decisions][-1]

    def plant(
        self,
        store: Store,
        folder: Path,
        write: Callable[[Store, str], None] | None = None,
    ) -> str:
        """Record the run, in a folder of its own, and all that was said about it. Gives its id.

        `write` appends the events between the run's start and its end.
        """
        repo = folder / f"repo{self.number}"
        repo.mkdir()
        place = str(folder / "rooms" / str(self.number) / "repo") if self.copied else str(repo)
        of = str(repo) if self.copied else ""
        origin = Origin(author=self.author, no_train=self.no_train == "then", copy_of=of)
        run_id = begin(store, place, origin, *self.session)
        if write is not None:
            write(store, run_id)
        store.append(run_id, RunEnded(stop=Stop.ACCEPTED, exit_code=0))
        if self.no_train == "now":
            (repo / ".adi").mkdir()
            (repo / ".adi" / "no-train").touch()
        self._say(store, str(repo), run_id)
        return run_id

    def _say(self, store: Store, repo: str, run_id: str) -> None:
        consents, session = Consents(store), session_of(*self.session)
        keys = {"user": self.author.lower(), "repository": repo, "session": session, "record": run_id}
        if self.forgotten == "run":
            with store.writing() as opened:
                opened.add(TombstoneRow(id=run_id, kind="run", at=now(), reason="", removed={}))
        elif self.forgotten:
            named = {"author": self.author, "repository": repo, "session": session}
            forget_runs(store, [], self.forgotten, named[self.forgotten])
        for scope, status in self.decisions:
            consents.set(scope, keys[scope], status, by="ada")
        if self.opted_out:
            named = {"author": self.author, "repository": repo + "/", "session": session}
            consents.opt_out(self.opted_out, named[self.opted_out])


def consent_cases(seed: int = 0, count: int = 300) -> list[ConsentCase]:
    """Cases by chance: about one in six may be used, all others are violations if they are.

    Every third has only decisions, so that grants and refusals meet at every pair of scopes.
    """
    dice = random.Random(seed)
    made = []
    for number in range(count):
        statuses: tuple[ConsentStatus, ...] = dice.choice((("granted",), ("granted", "refused")))
        decisions = tuple((dice.choice(SCOPES), dice.choice(statuses)) for _ in range(dice.randint(0, 5)))
        case = ConsentCase(number, decisions)
        if number % 3:
            case = ConsentCase(
                number,
                decisions,
                no_train=dice.choice(("", "", "then", "now")),
                opted_out=dice.choice(("", "", "author", "repository", "session")),
                forgotten=dice.choice(("", "", "run", "author", "repository", "session")),
            )
        made.append(case)
    return made


def begin(store: Store, repo: str, origin: Origin, pid: int = 1, process: str = "boot:1") -> str:
    """Begin a run as another process began it, one that is dead by now. Gives its id."""
    task = Task(id="t", prompt=f"mend {Path(repo).name}", repo=repo)
    run_id = store.start_run(task, origin=origin)
    with store.writing() as session:
        session.execute(update(RunRow).where(col(RunRow.id) == run_id).values(pid=pid, process=process))
    return run_id


def harvested(store: Store, run_id: str) -> Harvest:
    """One run with its session."""
    with store.reading() as session:
        row = session.get_one(RunRow, run_id)
        name = session_of(row.pid, row.process)
    return harvest(store, run_id, name)


def on_copy(run: Harvest, place: str) -> Harvest:
    """The run as one on a copy at `place` of its repository."""
    first, *rest = run.events
    assert isinstance(first.payload, RunStarted)
    task = first.payload.task.model_copy(update={"repo": place})
    origin = first.payload.origin.model_copy(update={"copy_of": run.task.repo})
    payload = first.payload.model_copy(update={"task": task, "origin": origin})
    return replace(run, events=(first.model_copy(update={"payload": payload}), *rest))
