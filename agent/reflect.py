"""Reflect: from the task and its failing checks to a plan whose every step has a check."""

import re
from collections.abc import Sequence

from agent import context
from agent.run import BudgetSpent, Run
from memory.records import Check, CheckResult, Plan, PlanStep
from model.errors import PromptTooLong, RequestRefused
from model.protocol import Sampling
from tools.arguments import spelled

GOAL_CHARS = 200
FILES = 3
"""Files that a step of a located plan names."""
MAX_STEPS = 3
PLAN_TOKENS = 220

_MARKS = ("#", "=", "---", "~~~", "```")
_STEP = re.compile(r"^- (?P<goal>[^|\n]{4,400})\| files: (?P<files>[^|\n]+)\| check: (?P<check>[^\n]+)$")


def make_plan(run: Run, about: str, paths: Sequence[str]) -> Plan:
    """Ask the model for a plan; ADI's own one-step plan stands in when the answer is none.

    `about` is the situation text, `paths` the files that a step may name. Raises what Run.chat raises.
    """
    messages = context.plan_messages(about)
    grammar = plan_grammar(paths, run.task.checks) if run.model.capabilities.grammar else ""
    sampling = Sampling(max_tokens=PLAN_TOKENS, grammar=grammar)
    if not run.fits(messages, PLAN_TOKENS):
        return rule_plan(run.task.prompt, run.task.checks, bool(run.failing))
    try:
        answer = run.chat("plan", messages, sampling)[0].text
    except (RequestRefused, PromptTooLong, BudgetSpent):
        answer = ""  # the server refuses our grammar or the prompt's size; no budget to ask
    steps = parse_plan(answer, paths, run.task.checks)
    return Plan(steps=steps) if steps else rule_plan(run.task.prompt, run.task.checks, bool(run.failing))


def located_plan(prompt: str, results: Sequence[CheckResult], paths: Sequence[str]) -> Plan:
    """One step for each check, in the files that the evidence names: no model needs to be asked for that."""
    lead = said_first(prompt)
    steps = tuple(
        PlanStep(
            goal=f"Make {result.check} pass: {lead}"[:GOAL_CHARS],
            files=tuple(paths[:FILES]),
            check=result.check,
        )
        for result in results
    )
    return Plan(steps=steps, author="rule")


def rule_plan(prompt: str, checks: Sequence[Check], failing: bool) -> Plan:
    """One step, proved by every check."""
    goal = said_first(prompt)[:GOAL_CHARS]
    lead = "Make the failing checks pass: " if failing else ""
    steps = tuple(PlanStep(goal=f"{lead}{goal}", check=check.name) for check in checks)
    return Plan(steps=steps, author="rule")


def said_first(prompt: str) -> str:
    """The first line of a task that is no heading, rule or fence."""
    lines = [line.strip() for line in prompt.strip().splitlines()]
    return next((line for line in lines if line and not line.startswith(_MARKS)), lines[0])


def plan_grammar(paths: Sequence[str], checks: Sequence[Check]) -> str:
    """GBNF of a plan: one to MAX_STEPS lines, files and checks out of those that exist."""
    files = " | ".join(_literal(spelled(path)) for path in paths) or '"-"'
    names = " | ".join(_literal(check.name) for check in checks)
    return "\n".join(
        [
            f"root ::= step{' step?' * (MAX_STEPS - 1)}",
            r'step ::= "- " goal " | files: " file (", " file)? " | check: " check "\n"',
            f"goal ::= [A-Za-z`] [^|\\n]{{8,{GOAL_CHARS}}}",
            f"file ::= {files}",
            f"check ::= {names}",
        ]
    )


def _literal(text: str) -> str:
    escaped = "".join(
        f"\\x{ord(char):02X}" if ord(char) < 32 else f"\\{char}" if char in '"\\' else char for char in text
    )
    return f'"{escaped}"'


def parse_plan(text: str, paths: Sequence[str], checks: Sequence[Check]) -> tuple[PlanStep, ...]:
    """Steps of a plan text; files and checks that do not exist are dropped, a step twice is one step."""
    names = [check.name for check in checks]
    known = {spelled(path): path for path in paths}
    steps: list[PlanStep] = []
    for line in text.splitlines():
        match = _STEP.match(line.strip())
        if not match:
            continue
        files = tuple(dict.fromkeys(name.strip() for name in match["files"].split(",")))
        check = match["check"].strip()
        step = PlanStep(
            goal=match["goal"].strip(),
            files=tuple(known[name] for name in files if name in known),
            check=check if check in names else names[0],
        )
        if step not in steps:
            steps.append(step)
    return tuple(steps[:MAX_STEPS])
