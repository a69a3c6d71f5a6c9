"""One gate from its plan to its report: kept apart, logged, run, probed, decided, written down."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.gate_overlap import Apart, Trained, check_apart
from agent.gate_report import GateReport, Side, write
from agent.gate_run import NEW, OLD, Arm, Contest, OnRow, paired, run_contest, work_of
from agent.suite_grade import MakeSandbox
from agent.suite_task import Row
from memory.gates import Kind, begin, finish
from memory.store import Store
from model.gate import find
from model.gate_guards import Guard, canary_guard, kl_guard, rate, trigger_guard, work_guards
from model.gate_probe import Canary, Voice, check_served, divergence, echoed, refusals
from model.gate_verdict import MARGIN, Decision, Terms, decide
from model.gate_wear import alpha_of

TOKENS: Final = 8
"""Tokens behind each prompt that the distance to the base is measured on."""
FEW: Final = 4
"""Prompts, and tokens behind each, for one phrase: each token is a request, and there may be ten phrases."""


@dataclass(frozen=True)
class Probes:
    """What is asked of the served models beside the tasks."""

    old: Voice
    new: Voice
    adapter: str
    """Name under which the server has the new one's adapter."""
    sha256: str
    """Of its weights."""
    base: Voice
    """The model without any adapter; the same as `old` where none was promoted before."""
    prompts: Sequence[str]
    """Held-out prompts, harmless ones."""
    canaries: Sequence[Canary] = ()
    """Planted, or found in the training rows (agent/gate_phrases.py, by_heart)."""
    phrases: Sequence[str] = ()
    """That stand out in the training rows (agent/gate_phrases.py)."""

    def check(self) -> None:
        """Raises AdapterNotServed unless the new model is the base with this adapter."""
        check_served(self.new, self.base, self.adapter, self.sha256, self.prompts)

    def guards(self) -> list[Guard]:
        """What the probes tell."""
        clean = divergence(self.new, self.base, self.prompts, TOKENS)
        triggered = {
            phrase: divergence(
                self.new, self.base, [f"{phrase}\n{prompt}" for prompt in self.prompts[:FEW]], FEW
            )
            for phrase in self.phrases
        }
        return [
            kl_guard(clean),
            trigger_guard(clean, triggered),
            canary_guard(echoed(self.old, self.canaries), echoed(self.new, self.canaries)),
            rate("refusals", refusals(self.old, self.prompts), refusals(self.new, self.prompts)),
        ]


@dataclass(frozen=True)
class Gate:
    """Everything that is agreed before anything is measured."""

    old: Arm
    new: Arm
    user: Contest
    """The held-out tasks of the user's own work."""
    general: Contest | None
    """A set that has nothing to do with it; without one nothing is promoted unless `alone`."""
    folder: Path
    """Of the rows and the report; a gate that was broken off goes on there."""
    trained: Sequence[Trained] = ()
    apart: Apart = "repository"
    probes: Probes | None = None
    """None for scripted models: the guards that need a served model count as not measured."""
    alone: bool = False
    waived: tuple[str, ...] = ()
    margin: float = MARGIN
    kind: Kind = "gate"
    notes: Mapping[str, str] = field(default_factory=dict)
    """For the report, such as the machine."""


def run_gate(
    gate: Gate,
    store: Store,
    *,
    make_sandbox: MakeSandbox,
    jobs: int = 1,
    on_row: OnRow = lambda _arm, _row, _done, _of: None,
    stopping: threading.Event | None = None,
) -> GateReport:
    """The report, also written to the folder as JSON and Markdown, and the look at the tasks to the store.

    Raises HeldOutOverlaps, Worn and AdapterNotServed before a task runs, and what agent.gate_run raises.
    """
    check_apart(gate.user.tasks, gate.user.repositories, gate.trained, gate.apart)
    if gate.general is not None:
        check_apart(gate.general.tasks, gate.general.repositories, gate.trained, gate.apart)
    check = gate.probes.check if gate.probes and gate.kind == "gate" else _nothing
    check()  # what is not served right is no look at the tasks
    look = begin(
        store,
        gate.old.served,
        gate.new.served,
        gate.user.hashes.values(),
        alpha_of,
        kind=gate.kind,
        plan=gate.user.plan(gate.old.served, gate.new.served),
    )

    def ran(contest: Contest, name: str) -> dict[str, list[Row]]:
        return run_contest(
            contest,
            gate.old,
            gate.new,
            gate.folder / name,
            make_sandbox=make_sandbox,
            jobs=jobs,
            check=check,
            on_row=on_row,
            stopping=stopping,
        )

    user = ran(gate.user, "user")
    general = ran(gate.general, "general") if gate.general is not None else None
    decision = _decided(gate, look.alpha, user, general)
    report = GateReport(
        look=look,
        decision=decision,
        old=Side.of(gate.old.served, user[OLD]),
        new=Side.of(gate.new.served, user[NEW], sha256=gate.probes.sha256 if gate.probes else ""),
        seeds=tuple(gate.user.seeds),
        budget=gate.user.budget,
        apart=gate.apart,
        trained=len(gate.trained),
        notes=dict(gate.notes),
    )
    write(report, gate.folder)
    finish(store, look.id, decision.verdict, decision.model_dump(mode="json"))
    return report


def _decided(
    gate: Gate, alpha: float, user: dict[str, list[Row]], general: dict[str, list[Row]] | None
) -> Decision:
    """From the rows of both arms to the verdict; `general` is None where no general set was run."""
    every = [user, *([general] if general else [])]
    guards = [
        *work_guards(*(work_of([row for rows in every for row in rows[arm]]) for arm in (OLD, NEW))),
        *(gate.probes.guards() if gate.probes else _unmeasured()),
    ]
    level = alpha or alpha_of(1)  # the old model against itself is held to what a first look is
    return decide(
        find(paired(gate.user, user)),
        find(paired(gate.general, general)) if gate.general is not None and general is not None else None,
        guards,
        Terms(alpha=level, margin=gate.margin, general=not gate.alone, waived=gate.waived),
    )


def _nothing() -> None:
    """Scripted models are served by nobody."""


def _unmeasured() -> list[Guard]:
    """The guards that need a served model."""
    said = "no served model was asked"
    names = ("KL to base", "trigger phrases", "memorised canaries", "refusals")
    return [Guard(name=name, verdict="not measured", value=None, bound=0.0, detail=said) for name in names]
