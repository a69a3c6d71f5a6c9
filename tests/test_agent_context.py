"""What the model is shown: append-only, most stable part first, nothing volatile before the tail."""

import itertools
import re
from collections.abc import Sequence

import pytest

from agent import context
from agent.localize import Span, Suspect
from memory.records import Completion, Message, Observation, PlanStep, Status, Step
from tests.agent_kit import CALC, CHECK, failed

SUSPECT = Suspect("calc.py", CALC, (2, 1), (Span("add", 1, 2),))
ABOUT = context.situation("mend it", "calc.py, test_calc.py", [failed(("calc.py", 2))], [SUSPECT])
GOAL = PlanStep(goal="add", check=CHECK.name)


def joined(messages: Sequence[Message]) -> str:
    return "".join(f"<{message.role}>{message.content}" for message in messages)


def step(index: int) -> Step:
    return Step(
        index=index,
        completion=Completion(text=f"read file{index}.py", finish_reason="stop"),
        observation=Observation(
            action_id=f"step-{index}", status=Status.OK, output=f"text {index}", duration_s=1.5
        ),
    )


def test_plan_line_and_function_prompts_of_one_situation_begin_alike() -> None:
    beginning = joined([Message(role="system", content=context.prompt("repair"))]) + f"<user>{ABOUT}\n\n"
    prompts = [
        context.plan_messages(ABOUT),
        context.line_messages(ABOUT, SUSPECT, 2),
        context.function_messages(ABOUT, "add"),
    ]
    assert all(joined(messages).startswith(beginning) for messages in prompts)
    assert len({joined(messages) for messages in prompts}) == 3


def test_two_lines_differ_only_after_the_question() -> None:
    one, two = (context.line_messages(ABOUT, SUSPECT, line) for line in (1, 2))
    assert one[:-1] == two[:-1]
    assert two[-1].role == "assistant"
    assert two[-1].content == "calc.py line 2 is wrong: `return a - b`\nIt should be: `"


def test_the_chat_of_the_action_loop_only_grows() -> None:
    chats = [
        joined(context.act_messages("cards", ABOUT, GOAL, [step(n) for n in range(count)]))
        for count in range(4)
    ]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(chats))


def test_nothing_volatile_is_in_a_prompt() -> None:
    """Two runs of one task, at other times and of other durations, ask the same."""
    slower = failed(("calc.py", 2)).model_copy(update={"duration_s": 9.9})
    assert context.situation("mend it", "calc.py, test_calc.py", [slower], [SUSPECT]) == ABOUT
    text = joined(context.act_messages("cards", ABOUT, GOAL, [step(1)]))
    assert not re.search(r"\d\d:\d\d|20\d\d-|1\.5", text)


def test_a_long_file_is_shown_around_its_suspicious_functions() -> None:
    body = "".join(f"def f{n}():\n    return {n}\n\n" for n in range(2_000))
    suspect = Suspect("long.py", body, (2,), (Span("f900", 2701, 2702), Span("f3", 10, 11)))
    shown = context.excerpt(suspect)
    assert shown == "  10 def f3():\n  11     return 3\n ...\n2701 def f900():\n2702     return 900"
    lines = Suspect("long.js", body, (3_000, 3_002))
    assert "3000" in context.excerpt(lines)
    assert len(context.excerpt(lines)) < context.FILE_CHARS


@pytest.mark.parametrize("text", ["x = '\udceb'\n", "a\x0cb\n", "last line", ""])
def test_any_text_can_be_shown(text: str) -> None:
    """A prompt is valid UTF-8, and a form feed ends no line."""
    shown = context.shown(context.numbered(text))
    shown.encode()
    assert shown.count("\n") == 0


def test_a_large_repository_is_listed_in_part() -> None:
    text = context.situation("t", context.listed([f"f{n}" for n in range(1_000)]), [], [])
    assert "and 940 more" in text
    assert len(text) < 1_000


def test_braces_and_dollars_of_the_repository_are_text() -> None:
    about = context.situation("$cards ${name} {0} %s", "$name", [], [])
    assert about in joined(context.act_messages("$name", about, GOAL, []))
    assert "`$cards`" in context.function_messages(about, "$cards")[1].content
