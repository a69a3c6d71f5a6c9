"""From recorded runs to a data set that a trainer can load, audit and reproduce.

Nothing that its owner did not allow is looked at further; what is left is audited, labelled, freed of secrets
and personal data, filtered, assigned to splits and written in every format. Each step counts what it dropped.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from feedback import caps, cheating, labels, licences, provenance, quality, splits
from feedback.candidate import Candidate, Grade, Licence, Permission
from feedback.card import card
from feedback.errors import DataError
from feedback.folder import SCHEMA_VERSION, Folder, Written, writing
from feedback.formats import FORMATS, Context, Format
from feedback.harvest import Harvest
from feedback.heldout import HeldOut, drop_held_out
from feedback.near import drop_near
from feedback.personal import Pseudonyms
from feedback.scrub import Scrubber
from feedback.steps import Count, Steps, dropping
from feedback.targets import targets
from memory.checks import Record

SPLITS: Final = ("train", "validation", "test")
COUNTED: Final = (
    "split", "label", "human_action", "license", "language", "repo", "outcome", "preference_source",
)  # fmt: skip
"""Columns whose values are counted in `meta/stats.json`."""
RISK: Final = "Named shapes and this machine's own secrets are found; a secret without a shape is not."


class Query(Record):
    """What a data set is asked to hold. The same query over the same runs gives the same bytes."""

    repos: tuple[str, ...] = ()
    """Absolute paths; empty means all."""
    since: str = ""
    """ISO 8601; runs that began then or later."""
    until: str = ""
    """ISO 8601; runs that began before."""
    grades: tuple[Grade, ...] = ("gold", "silver", "negative")
    min_reward: float = -1.0
    formats: tuple[str, ...] = ()
    """Names of configurations; empty means all that can be made here."""
    jsonl: bool = False
    """Rows of Parquet as JSON lines too."""
    any_licence: bool = False
    """Keep repositories whose licence is unknown or not permissive: for training here, not for others."""
    per_task: int = 2
    per_repository: int = 0
    """At most so many runs of one task, of one repository; 0 means no limit."""
    per_source: int = 50
    """At most so many runs of one author and decision that no test speaks for or against."""
    synthetic: bool = True
    """Keep runs on tasks that a program made; each of their rows says so."""
    by_time: bool = False
    """Split by time instead of by repository, for one person's few repositories."""
    seed: int = 0


@dataclass(frozen=True)
class Sources:
    """What an export reads besides the runs; all of it is given, so that it can be repeated."""

    permission: Callable[[Harvest], tuple[Permission, str]]
    """Whether a run may be used, and the reason when not."""
    declared: Callable[[str], str]
    """Root of a repository -> the SPDX expression that its owner declared, or an empty text."""
    scrubber: Scrubber
    pseudonyms: Pseudonyms
    held_out: HeldOut
    context: Context
    now: datetime
    frozen: Mapping[str, str]
    """Repository -> split, from an earlier export."""
    version: str
    """Of ADI."""


@dataclass(frozen=True)
class Made:
    """A data set before it is written."""

    query: Query
    rows: Mapping[str, Sequence[dict[str, Any]]]
    """Configuration -> its rows, sorted, with their split."""
    steps: Sequence[Count]
    redacted: Mapping[str, int]
    candidates: Sequence[Candidate]
    frozen: Mapping[str, str]
    held_out: Mapping[str, int]
    """What the held-out suites hold; empty where none was named."""
    runs: str
    """Digest of the runs that were read."""
    unwritten: Mapping[str, str]
    """Configuration -> why it could not be made here."""
    version: str


def make(harvests: Sequence[Harvest], query: Query, sources: Sources, say: Callable[[str], None]) -> Made:
    """Everything but the writing. Raises DataError for formats that are not known."""
    formats, unwritten = _formats(query, sources.context)
    asked = [h for h in harvests if _asked(h, query)]
    steps = Steps([Candidate(h, labels.label(h, ())) for h in asked], say=say)
    allowed = {h.run_id: sources.permission(h) for h in asked}
    steps.drop("consent", dropping(lambda c: allowed[c.id][1]))
    steps.change(lambda c: replace(c, permission=_told(allowed[c.id][0], sources.pseudonyms)))
    if not query.synthetic:
        steps.drop("synthetic tasks", dropping(lambda c: "seeded task" if c.harvest.synthetic else ""))
    forged = provenance.audit([c.harvest for c in steps.left], sources.now)
    steps.drop("provenance", dropping(lambda c: forged.get(c.id, "")))
    steps.change(lambda c: _judged(c, sources))
    steps.drop("licence", dropping(lambda c: "" if query.any_licence else _unlicensed(c.licence)))
    redacted, secret = Counter[str](), dict[str, str]()
    steps.change(lambda c: _scrubbed(c, sources.scrubber, redacted, secret))
    steps.drop("secrets", dropping(lambda c: secret.get(c.id, "")))
    steps.drop("quality", quality.drop_poor)
    steps.drop("label", dropping(lambda c: _unwanted(c, query)))
    steps.drop("held-out suites", drop_held_out(sources.held_out))
    steps.drop("near-duplicates", _drop_alike)
    steps.drop("per source", caps.per_source(query.per_source))
    steps.drop("per task", caps.per_task(query.per_task))
    steps.drop("per repository", caps.per_repository(query.per_repository))
    split, frozen = _splits(steps.left, query, sources.frozen)
    rows = {form.name: _rows(form, steps.left, split, sources.context) for form in formats}
    return Made(
        query=query,
        rows=rows,
        steps=tuple(steps.counts),
        redacted=dict(sorted(redacted.items())),
        candidates=tuple(steps.left),
        frozen=frozen,
        held_out=sources.held_out.sizes,
        runs=_digest(asked),
        unwritten=unwritten,
        version=sources.version,
    )


def write(made: Made, target: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the folder and return its manifest. Raises DataError; nothing half-written keeps the name."""
    if not any(made.rows.values()):
        raise DataError("no row is left to export", "adi data export --preview tells why")
    with writing(target, replace=force) as folder:
        for name, rows in made.rows.items():
            _write_config(folder, FORMATS[name], rows, jsonl=made.query.jsonl)
        folder.json("meta/redaction.json", _redaction(made))
        folder.json("meta/decontamination.json", _decontamination(made))
        folder.json("meta/splits.json", {"schema_version": 1, "repositories": dict(made.frozen)})
        folder.json("meta/stats.json", statistics(made.rows))
        folder.text("README.md", card(made, folder.files))
        manifest = _manifest(made, folder.files)
        folder.json("meta/manifest.json", manifest)
    return manifest


def _formats(query: Query, context: Context) -> tuple[list[Format], dict[str, str]]:
    if unknown := set(query.formats) - FORMATS.keys():
        raise DataError(f"no format {sorted(unknown)[0]!r}", f"use one of {', '.join(FORMATS)}")
    wanted = [FORMATS[name] for name in FORMATS if not query.formats or name in query.formats]
    unable = {form.name: why for form in wanted if (why := form.missing(context))}
    if query.formats and unable:
        name, why = next(iter(unable.items()))
        raise DataError(f"{name} cannot be made: {why}", "leave --format out, or give what it needs")
    return [form for form in wanted if form.name not in unable], unable


def _asked(harvest: Harvest, query: Query) -> bool:
    here = not query.repos or harvest.repository in query.repos
    return (
        here and harvest.created_at >= query.since and (not query.until or harvest.created_at < query.until)
    )


def _told(permission: Permission, pseudonyms: Pseudonyms) -> Permission:
    """As rows tell it: who decided has a pseudonym."""
    return permission.model_copy(update={"by": permission.by and pseudonyms.of("user", permission.by)})


def _judged(candidate: Candidate, sources: Sources) -> Candidate:
    """With its label, its targets and its licence."""
    harvest = candidate.harvest
    label = labels.label(harvest, cheating.scan(harvest))
    return replace(
        candidate, label=label, targets=targets(harvest), licence=_licence(harvest, sources.declared)
    )


def _licence(harvest: Harvest, declared: Callable[[str], str]) -> Licence:
    """As it was when the run began; where that was not recorded, as its owner declared it."""
    origin = harvest.started.origin
    if said := declared(harvest.repository):
        return licences.licence(said, "declared")
    return licences.licence(origin.licence, origin.licence_source)


def _unlicensed(licence: Licence) -> str:
    if not licence.spdx:
        return "licence unknown"
    return "" if licence.permissive else "licence not permissive"


def _scrubbed(
    candidate: Candidate, scrubber: Scrubber, redacted: Counter[str], secret: dict[str, str]
) -> Candidate:
    harvest, counts, why = scrubber.harvest(candidate.harvest)
    redacted.update(counts)
    if why:
        secret[candidate.id] = why
    flags = tuple(
        flag.model_copy(update={"evidence": scrubber.text(flag.evidence)[0]})
        for flag in candidate.label.flags
    )
    return replace(candidate, harvest=harvest, label=candidate.label.model_copy(update={"flags": flags}))


def _drop_alike(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Near-duplicates among what was good, and among what was not: one of each is a pair, no copy."""
    bad = [candidate for candidate in candidates if candidate.label.grade == "negative"]
    good = [candidate for candidate in candidates if candidate.label.grade != "negative"]
    return drop_near(good) | drop_near(bad)


def _unwanted(candidate: Candidate, query: Query) -> str:
    if candidate.label.grade not in query.grades:
        return f"grade {candidate.label.grade}"
    reward = candidate.label.reward
    return "reward below the limit" if (-1.0 if reward is None else reward) < query.min_reward else ""


def _splits(
    left: Sequence[Candidate], query: Query, frozen: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    return splits.assign(left, seed=query.seed, frozen=frozen, by="time" if query.by_time else "repository")


def _rows(
    form: Format, left: Sequence[Candidate], split: Mapping[str, str], context: Context
) -> list[dict[str, Any]]:
    """Rows in the order of their runs; within a run as the format gives them."""
    found = list[dict[str, Any]]()
    for candidate in sorted(left, key=lambda one: (one.harvest.created_at, one.id)):
        found += [row | {"split": split[candidate.id]} for row in form.rows(candidate, context)]
    return found


def _digest(harvests: Sequence[Harvest]) -> str:
    """SHA-256 over the names and events of the runs that were read."""
    total = hashlib.sha256()
    for harvest in harvests:
        for event in harvest.events:
            total.update(json.dumps(event.model_dump(mode="python"), sort_keys=True, default=str).encode())
    return total.hexdigest()


def _write_config(folder: Folder, form: Format, rows: Sequence[dict[str, Any]], *, jsonl: bool) -> None:
    for split in SPLITS:
        own = [row for row in rows if row["split"] == split]
        if own:
            form.write(folder, own, split)
            if jsonl and form.kind == "parquet":
                folder.jsonl(f"jsonl/{form.name}/{split}.jsonl", own, "", split)


def statistics(rows: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Counts of each configuration by what a trainer asks first."""
    return {
        name: {"rows": len(found)}
        | {
            column: dict(sorted(Counter(str(row[column]) for row in found).items()))
            for column in COUNTED
            if found and column in found[0]
        }
        for name, found in rows.items()
    }


def _redaction(made: Made) -> dict[str, Any]:
    dropped = next((count.reasons for count in made.steps if count.name == "secrets"), {})
    return {
        "schema_version": 1,
        "ruleset": Scrubber.VERSION,
        "redacted": dict(made.redacted),
        "runs_dropped": dropped,
        "residual_risk": RISK,
    }


def _decontamination(made: Made) -> dict[str, Any]:
    dropped = next((count.reasons for count in made.steps if count.name == "held-out suites"), {})
    return {"schema_version": 1, "suites": dict(made.held_out), "runs_dropped": dropped}


def _manifest(made: Made, files: Sequence[Written]) -> dict[str, Any]:
    newest = max((c.harvest.created_at for c in made.candidates), default="")
    return {
        "schema_version": SCHEMA_VERSION,
        "type": "adi-data-set",
        "adi_version": made.version,
        "query": made.query.model_dump(mode="json"),
        "held_out": dict(made.held_out),
        "newest_run": newest,
        "runs_read": made.runs,
        "runs": [c.id for c in made.candidates],
        "steps": [
            {"name": c.name, "in": c.rows_in, "out": c.rows_out, "dropped": c.reasons} for c in made.steps
        ],
        "unwritten": dict(made.unwritten),
        "files": [asdict(file) for file in sorted(files, key=lambda file: file.path)],
    }


def today() -> datetime:
    """Now, for the audit of times in the future."""
    return datetime.now(UTC)
