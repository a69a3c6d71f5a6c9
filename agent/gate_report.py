"""The report of a gate: the verdict first, then why, then the numbers with their denominators and seeds."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from pydantic import Field

from agent.suite_task import Row
from memory.checks import Record
from memory.gates import GateUse
from model.gate import Finding
from model.gate_guards import Guard
from model.gate_verdict import Decision, points

SCHEMA_VERSION: Final = 1
JSON_FILE: Final = "gate.json"
TEXT_FILE: Final = "gate.md"


class Side(Record):
    """One of the two models, and what its runs on the user's tasks cost."""

    served: str
    sha256: str = ""
    """Of its adapter's weights; empty for the base."""
    models: tuple[str, ...] = ()
    """Names under which the server answered."""
    written_tokens: int = 0
    wall_s: float = 0.0
    run_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, served: str, rows: Sequence[Row], sha256: str = "") -> Self:
        """From a model's rows."""
        return cls(
            served=served,
            sha256=sha256,
            models=tuple(sorted({row.model for row in rows if row.model})),
            written_tokens=sum(row.completion_tokens for row in rows),
            wall_s=round(sum(row.wall_s for row in rows), 1),
            run_ids=tuple(run for row in rows for run in row.run_ids),
        )


class GateReport(Record):
    """Everything that one gate found."""

    schema_version: int = SCHEMA_VERSION
    look: GateUse
    decision: Decision
    old: Side
    new: Side
    seeds: tuple[int, ...]
    budget: str
    apart: str
    """How far the tasks are from the training rows: `repository` or `task`."""
    trained: int
    """Training rows that the tasks were compared with."""
    notes: dict[str, str] = Field(default_factory=dict)


def write(report: GateReport, folder: Path) -> tuple[Path, Path]:
    """The report as JSON and as Markdown; both files, whole or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    told, text = folder / JSON_FILE, folder / TEXT_FILE
    _whole(told, json.dumps(report.model_dump(mode="json"), indent=1, sort_keys=True) + "\n")
    _whole(text, "\n".join(lines(report)) + "\n")
    return told, text


def _whole(file: Path, text: str) -> None:
    half = file.with_name(f"{file.name}.part")
    half.write_text(text, encoding="utf-8")
    half.replace(file)


def read(folder: Path) -> GateReport:
    """A report that was written. Raises OSError, and ValueError for what is none."""
    return GateReport.model_validate_json((folder / JSON_FILE).read_bytes())


def lines(report: GateReport) -> list[str]:
    """As Markdown."""
    decision = report.decision
    return [
        f"# {decision.verdict}",
        "",
        f"{report.new.served or 'the new model'} against {report.old.served or 'the base'}."
        + (
            " The old model against itself: nobody is promoted by this." if report.look.kind == "same" else ""
        ),
        "",
        *(f"- {reason}" for reason in decision.reasons),
        "",
        *_numbers(report),
        "",
        *_guards(decision.guards),
        "",
        *_how(report),
    ]


def _numbers(report: GateReport) -> Iterable[str]:
    decision = report.decision
    yield (
        "| tasks | old solved | new solved | won, lost, same | difference (95%) | not worse than (95%) "
        "| p better | p worse |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield _row("the user's", decision.user)
    if decision.general is not None:
        yield _row("general", decision.general)


def _row(name: str, found: Finding) -> str:
    runs = found.tasks * found.samples
    return (
        f"| {name}, {found.tasks} of {found.repositories} repositories, {found.samples} samples each "
        f"| {found.old_solved}/{runs}, {found.old_share:.1%} "
        f"| {found.new_solved}/{runs}, {found.new_share:.1%} "
        f"| {found.wins}, {found.losses}, {found.ties} | {points(found.difference)} "
        f"({100 * found.low:+.1f} to {100 * found.high:+.1f}) | {points(found.bound)} "
        f"| {found.p_better:.3g} | {found.p_worse:.3g} |"
    )


def _guards(guards: Sequence[Guard]) -> Iterable[str]:
    yield "| guard | verdict | value | bound | n | what |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for guard in guards:
        value = "-" if guard.value is None else f"{guard.value:.3g}"
        yield f"| {guard.name} | {guard.verdict} | {value} | {guard.bound:.3g} | {guard.n} | {guard.detail} |"


def _how(report: GateReport) -> Iterable[str]:
    decision, look, reach = report.decision, report.look, report.decision.reach
    unit = decision.user.unit
    holds = "" if unit == "repository" else " (too few for one each: the finding holds for these only)"
    yield (
        f"- Test: signs of whole {_many(unit)} exchanged in all ways, exact{holds}; "
        f"level {decision.terms.alpha:.2g}, one-sided."
    )
    yield (
        f"- Look {look.look} at these tasks (id {look.id}); each look halves the level, so that all "
        "promotions of one held-out set together are wrong with a chance of 0.05 at most."
    )
    least = "none" if reach.smallest is None else points(reach.smallest)
    yield f"- Least gain that would have been found, power 0.8: {least}."
    yield (
        f"- Tasks that would show {points(reach.stated)}: {_count(reach.for_stated)}; "
        f"the gain seen: {_count(reach.for_seen)}."
    )
    if decision.general_tasks is not None:
        yield f"- General tasks that would show an equal model to be no worse: {decision.general_tasks}."
    yield f'- "At least as many solved" would have {"promoted" if decision.naive else "refused"} it.'
    yield (
        f"- Apart from {report.trained} training rows by {report.apart}: ids, requests, runs of words"
        f"{', repositories' if report.apart == 'repository' else ''}."
    )
    yield f"- Seeds {', '.join(map(str, report.seeds))}; budget: {report.budget or 'as set'}."
    for side, name in ((report.old, "old"), (report.new, "new")):
        yield (
            f"- {name.capitalize()}: {', '.join(side.models) or side.served or 'unnamed'}"
            f"{f', adapter {side.sha256[:12]}' if side.sha256 else ''}, "
            f"{side.written_tokens} written tokens, {side.wall_s:.0f} s."
        )
    if decision.terms.waived:
        yield f"- Guards that need not be measured: {', '.join(decision.terms.waived)}."
    yield from (f"- {name}: {value}." for name, value in sorted(report.notes.items()))


def _many(unit: str) -> str:
    return "repositories" if unit == "repository" else "tasks"


def _count(tasks: int | None) -> str:
    return "none" if tasks is None else str(tasks)
