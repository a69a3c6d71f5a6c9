"""Instances in the form of SWE-bench, and the repobugs and QuixBugs sets of ADI's own suites.

What only graders may see (the tests' patch, the names of tests, the reference) is left out, or kept under
`meta["grading"]` where that was asked for; `Item.prompt` never has it.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agent.backlog_item import Bad, reason
from agent.backlog_repos import Found
from agent.backlog_rows import Row

GRADING: Final = (
    "test_patch", "test_files", "test_command", "pythonpath", "requires", "sdist", "sdist_sha256",
    "image", "eval_script", "version", "environment_setup_commit",
)  # fmt: skip
"""Fields that are kept for graders; `patch`, `gold_patch` and `fixed`, the answers, never are."""


def _listed(value: object) -> object:
    """Published data sets have the lists as JSON in a string."""
    return json.loads(value) if isinstance(value, str) and value.strip() else value or ()


Tests = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Instance(BaseModel):
    """The fields that an item needs; the rest is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    instance_id: str = Field(min_length=1)
    repo: str = ""
    base_commit: str = ""
    problem_statement: str = Field(min_length=1)
    title: str = ""
    created_at: str = ""
    date: str = ""
    FAIL_TO_PASS: Tests = ()
    PASS_TO_PASS: Tests = ()
    fail_to_pass: Tests = ()
    pass_to_pass: Tests = ()


class Program(BaseModel):
    """A row of QuixBugs: a program with a defect beside its tests, which are shown."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1)
    path: str
    description: str
    test_command: str = ""


def is_instance(value: Mapping[str, Any]) -> bool:
    """True for a row that looks like SWE-bench or like QuixBugs."""
    return "problem_statement" in value or "instance_id" in value or ("buggy" in value and "name" in value)


def read_row(row: Row, *, grading: bool) -> Found | Bad:
    """The item of an instance."""
    try:
        if "buggy" in row.value:
            return _program(row, Program.model_validate(row.value))
        return _instance(row, Instance.model_validate(row.value), grading)
    except ValidationError as error:
        return Bad(where=row.where, why=reason(error))


def _instance(row: Row, found: Instance, grading: bool) -> Found:
    first, _, rest = found.problem_statement.strip().partition("\n")
    meta: dict[str, Any] = {
        "kind": "swebench",
        "project": found.repo,
        "created": found.created_at or found.date,
    }
    if grading:
        kept = {name: row.value[name] for name in GRADING if name in row.value}
        meta["grading"] = {
            **kept,
            "fail_to_pass": list(found.FAIL_TO_PASS or found.fail_to_pass),
            "pass_to_pass": list(found.PASS_TO_PASS or found.pass_to_pass),
        }
    own_title = found.title.strip()
    short = len(first) <= 200
    return Found(
        where=row.where,
        project=found.repo,
        values={
            "key": found.instance_id,
            "title": own_title or (first if short else f"{first[:199]}…"),
            "body": rest.strip() if short and not own_title else found.problem_statement,
            "base": found.base_commit,
            "meta": meta,
        },
    )


def _program(row: Row, found: Program) -> Found:
    command = found.test_command
    if command.startswith("python "):
        command = f"python3 {command.removeprefix('python ')}"
    return Found(
        where=row.where,
        project="",
        values={
            "key": found.name,
            "title": f"{found.path} has a defect, its tests fail. Repair it.",
            "body": f"It should: {found.description}",
            "checks": (command,) if command else (),
            "meta": {"kind": "swebench", "project": ""},
        },
    )
