"""Rows of a suite's data files: found, checked field by field, numbered, split into two parts."""

import hashlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from agent.errors import UsageError
from agent.suite_task import SuiteTask
from sandbox.errors import UnsafePath
from sandbox.paths import check_path

Part = Literal["all", "dev", "unseen"]


def _safe(path: str) -> str:
    try:
        check_path(path, new=True)
    except UnsafePath as error:
        raise ValueError(error.message) from None
    return path


SafePath = Annotated[str, AfterValidator(_safe)]
"""A path below the repository's root; data of strangers may not write elsewhere."""
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$", max_length=100)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[^\W\d]\w*$")]


class SuiteRow(BaseModel):
    """Base of all rows: what a suite publishes beside the fields it needs here is ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    @property
    def part(self) -> str:
        """The data's own division, where it has one."""
        return ""

    def task(self) -> SuiteTask:
        """The row as a task. Raises ValueError for what no field's check can see."""
        raise NotImplementedError


RowT = TypeVar("RowT", bound=SuiteRow)


def find_file(data: Path, suite: str, name: str) -> Path:
    """The data file: `data` itself, in it, or in the suite's folder in it. Raises UsageError."""
    for file in (data, data / name, data / suite / name):
        if file.is_file():
            return file
    problem = f"no {name} in {data}" if data.exists() else f"{data} does not exist"
    raise UsageError(problem, f"--data PATH of {name}, of the folder that holds it, or of all suites")


def read_rows(file: Path, row: type[RowT], problems: list[str]) -> Iterator[tuple[int, RowT]]:
    """Rows with their line numbers; what is wrong with another line goes to `problems`. Raises UsageError."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", "check the path and its rights") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, row.model_validate_json(line)
            except ValidationError as error:
                problems.append(f"{file.name} line {number}: {_reason(error)}, skipped")


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return "not JSON"
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def part_of(suite: str, name: str, names: Collection[str], published: str = "") -> Part:
    """`dev` for tasks that rules may be developed on, `unseen` for those that only measure.

    - mbpp: `unseen` is the published split `test`; prompt, validation and train are `dev`.
    - humaneval, multipl_e: `dev` are the numbers that 4 divides, the same in every language.
    - exercism: `dev` is every fourth exercise in alphabetical order, beginning with the first.
    - all others: `dev` is the first quarter (rounded up) in the order of the names' SHA-256.

    `names` are those of all tasks of the suite, `published` is the data's own word.
    """
    match suite:
        case "mbpp":
            dev = published != "test"
        case "humaneval" | "multipl_e":
            dev = int(re.findall(r"\d+", name)[-1]) % 4 == 0
        case "exercism":
            dev = sorted(names).index(name) % 4 == 0
        case _:
            dev = sorted(names, key=_digest).index(name) < -(-len(names) // 4)
    return "dev" if dev else "unseen"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
