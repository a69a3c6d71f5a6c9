"""A plan as text that a person edits, and back. Pure: no files, no terminal.

The text is TOML, so that every plan survives the round trip and errors name their line. Characters
that do not print are written as escapes: opening the text in an editor runs nothing and hides nothing.
"""

import difflib
import tomllib
from collections.abc import Sequence
from typing import Any, Final

from memory.records import Check, Plan, PlanStep

KEYS: Final = ("goal", "files", "check")


class PlanTextError(ValueError):
    """The edited text is no plan; the message says where and what is wrong."""


def to_text(plan: Plan, checks: Sequence[Check] = ()) -> str:
    """The plan with a short manual on top. `checks` are listed for reference."""
    lines = [
        "# The plan, one [[step]] for each sub-goal, done from top to bottom.",
        "# goal: what is reached.  files: what it may touch, [] when unknown.",
        "# check: the name of a check, or a shell command that must end with 0.",
        "# Save and close to go on with this plan. Leave it unchanged to keep the plan as it is.",
    ]
    lines += [f"#   check {_quote(check.name)} runs {_quote(check.command)}" for check in checks]
    for step in plan.steps:
        files = ", ".join(_quote(path) for path in step.files)
        lines += [
            "",
            "[[step]]",
            f"goal = {_quote(step.goal)}",
            f"files = [{files}]",
            f"check = {_quote(step.check)}",
        ]
    return "\n".join(lines) + "\n"


def from_text(text: str, previous: Plan) -> Plan:
    """The plan in an edited text, as the user's next revision; `previous` itself when nothing changed.

    Raises PlanTextError.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanTextError(f"not valid TOML: {error}") from None
    for key in found:
        if key != "step":
            raise PlanTextError(f"{key!r} stands outside of a [[step]]")
    steps = found.get("step", [])
    if not isinstance(steps, list):
        raise PlanTextError("write [[step]] with two brackets")
    if not steps:
        raise PlanTextError("no [[step]] is left; a plan needs at least one")
    parsed = tuple(_step(values, number) for number, values in enumerate(steps, start=1))
    if parsed == previous.steps:
        return previous
    return Plan(steps=parsed, revision=previous.revision + 1, author="user")


def _step(values: object, number: int) -> PlanStep:
    if not isinstance(values, dict):
        raise PlanTextError(f"step {number} is no table; write [[step]] and its keys below")
    for key in values:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.4)
            advice = f", did you mean {near[0]}?" if near else f"; the keys are {', '.join(KEYS)}"
            raise PlanTextError(f"step {number}: unknown key {key!r}{advice}")
    files = values.get("files", [])
    if not isinstance(files, list) or not all(isinstance(path, str) and path for path in files):
        raise PlanTextError(f'step {number}: files must be a list of paths, such as ["src/a.py"]')
    return PlanStep(
        goal=_sentence(values, "goal", number), files=tuple(files), check=_sentence(values, "check", number)
    )


def _sentence(values: dict[str, Any], key: str, number: int) -> str:
    value = values.get(key, "")
    if not isinstance(value, str) or not value.strip():
        raise PlanTextError(f'step {number}: {key} is missing; write {key} = "..."')
    return value


def _quote(text: str) -> str:
    """A TOML basic string on one line."""
    return '"' + "".join(_character(c) for c in text) + '"'


def _character(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    if c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
