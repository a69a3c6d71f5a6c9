"""Counts malformed actions: the default model is asked for COUNT actions under ADI's grammar, each is parsed.

Run: python benchmarks/actions.py [COUNT] [OUT.jsonl]

The situations are those of the action loop on the demo repository (examples/invoices): twelve tasks, each
fresh, after a file was read, after an action was refused, and after an edit that did not help. The answers
are sampled at temperatures of 0.2, 0.7 and 1.0 in turn. Nothing is carried out. Answers are written to OUT
as they come, and a run that was interrupted goes on there. Exit code 1 when one is malformed.
"""

import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent import context
from agent.localize import Suspect
from agent.models import choice_of
from agent.settings import directories, load
from agent.syntax import code_lines, functions
from memory.records import Completion, Message, Observation, PlanStep, Status, Step
from model.connect import connect
from model.protocol import Sampling
from tools import registry

REPO = Path(__file__).parent.parent / "examples" / "invoices"
N = 4
TOKENS = 400
"""Room of one answer. One that is cut by it is counted apart: its end, not its form, is missing."""
HEATS = (0.2, 0.7, 1.0)
TASKS = (
    "Discounts must begin at the step: 10 pieces already get 5 percent.",
    "An invoice without lines must have a total of zero.",
    "Rename the function percent_off to discount_percent everywhere.",
    "Write a README that says how to run the tests.",
    "The total must be rounded half up.",
    "Add a method that gives the number of pieces.",
    "Find out why the tests fail.",
    "Refuse negative quantities with a ValueError.",
    "Show the due date as day.month.year.",
    "Delete what nobody uses.",
    "Make the text of an invoice at most 60 characters wide.",
    "Explain what this program does.",
)


def situations() -> Iterator[list[Message]]:
    """Chats of the action loop."""
    texts = {
        path.relative_to(REPO).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(REPO.rglob("*.py"))
    }
    sources = [path for path in texts if "test" not in path]
    for number, task in enumerate(TASKS):
        path = sources[number % len(sources)]
        text = texts[path]
        suspect = Suspect(path, text, tuple(code_lines(path, text)), functions(path, text))
        about = context.situation(task, context.listed(list(texts)), [], [suspect])
        goal = PlanStep(goal=task, files=(path,), check="pytest")
        for before in _histories(path, text):
            yield context.act_messages(registry.cards(), about, goal, before)


def _histories(path: str, text: str) -> Iterator[Sequence[Step]]:
    """Nothing before; a file read; a refusal; an edit that did not help."""
    read = _step(0, f"read {path}\n", Status.OK, context.numbered(text))
    refused = _step(1, "I think it is done.", Status.REFUSED, "The answer holds no action.")
    first = text.splitlines()[0]
    edit = f"edit {path} 1-1\n```python\n{first}\n```"
    failed = _step(2, edit, Status.OK, "edited\npytest: failed\nAssertionError: assert 0 == 5")
    yield from ([], [read], [read, refused], [read, failed])


def _step(index: int, text: str, status: Status, output: str) -> Step:
    return Step(
        index=index,
        completion=Completion(text=text, finish_reason="stop"),
        observation=Observation(action_id=f"step-{index}", status=status, output=output),
    )


def judged(text: str, reason: str) -> str:
    """`cut`, `malformed`, or the name of the tool."""
    if reason == "length":
        return "cut"
    try:
        return registry.parse(text).tool
    except registry.Malformed:
        return "malformed"


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    out = Path(sys.argv[2] if len(sys.argv) > 2 else directories().data / "eval" / "actions.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    rows = [json.loads(line) for line in lines]
    grammar = registry.grammar([path.relative_to(REPO).as_posix() for path in sorted(REPO.rglob("*.py"))])
    model = connect(choice_of(load(None).settings, directories()))
    chats = list(situations())
    rounds = ((turn, place) for turn in itertools.count() for place in range(len(chats)))
    for number, (turn, place) in enumerate(rounds):
        if number * N < len(rows):
            continue
        if len(rows) >= count:
            break
        heat = HEATS[(turn + place) % len(HEATS)]
        sampling = Sampling(max_tokens=TOKENS, temperature=heat, n=N, seed=number * N, grammar=grammar)
        with out.open("a", encoding="utf-8") as file:
            for answer in model.chat(chats[place], sampling):
                kind = judged(answer.text, answer.finish_reason)
                told = {"place": place, "seed": answer.seed, "heat": heat}
                rows.append({**told, "kind": kind, "text": answer.text})
                file.write(json.dumps(rows[-1]) + "\n")
        sys.stderr.write(f"\r{len(rows)} of {count}")
    model.close()
    found = Counter(row["kind"] for row in rows)
    cut = f"{found['cut']} cut at {TOKENS} tokens"
    sys.stdout.write(f"\n{len(rows)} answers: {found['malformed']} malformed, {cut}; {dict(found)}\n")
    return int(bool(found["malformed"]))


if __name__ == "__main__":
    sys.exit(main())
