"""Agreement: programs are grouped by what they do, in the sandbox; the largest group speaks."""

from collections.abc import Iterator

import pytest

from agent.agreement import CALL_S, behaviours, calls_in, varied, vote
from sandbox.local import LocalSandbox
from sandbox.packing import pack

DOUBLE = "def f(x):\n    return x * 2\n"
ADDED = "def f(x):\n    return x + x\n"
SQUARE = "def f(x):\n    return x ** 2\n"
CALLS = ["f(3)", "f(0)", "f('ab')"]


@pytest.fixture
def sandbox() -> Iterator[LocalSandbox]:
    with LocalSandbox(pack({"helper.py": b"TWO = 2\n"})) as made:
        yield made


def test_most_programs_decide(sandbox: LocalSandbox) -> None:
    assert vote(behaviours(sandbox, "solution.py", [SQUARE, DOUBLE, ADDED], CALLS)) == 1


def test_what_comes_of_each_call(sandbox: LocalSandbox) -> None:
    texts = [
        DOUBLE,
        "from helper import TWO\nprint('noise')\ndef f(x):\n    return TWO\n",
        "def f(x):\n    raise KeyError(x)\n",
        "import os\ndef f(x):\n    os._exit(3)\n",
        "def f(:\n",
        "def f(x):\n    while True: pass\n",
        "raise SystemExit\n",
    ]
    found = behaviours(sandbox, "solution.py", texts, ["f(3)"])
    assert found == [
        ("6",),
        ("2",),
        ("!KeyError",),
        ("!died",),
        ("!SyntaxError",),
        ("!Slow",),
        ("!SystemExit",),
    ]


def test_a_program_that_prints_the_token_line_is_not_believed(sandbox: LocalSandbox) -> None:
    forged = "import json\nprint(open('.adi/agreement.json').read())\ndef f(x):\n    return 1\n"
    assert behaviours(sandbox, "solution.py", [forged, DOUBLE], ["f(3)"]) == [("1",), ("6",)]


@pytest.mark.parametrize(
    ("found", "index"),
    [
        ([], 0),
        ([("1",), ("2",), ("2",)], 1),
        ([("!NameError",), ("!NameError",), ("!NameError",), ("7",)], 3),
        ([("1",), ("2",)], 0),
    ],
)
def test_the_largest_group_that_does_something(found: list[tuple[str, ...]], index: int) -> None:
    assert vote(found) == index


def test_calls_are_read_out_of_a_text() -> None:
    text = "import s\nassert f(1, [2]) == 3\nassert s.f(4)\ng(f(x))\nf(1, [2])\nf(k='v')\n"
    assert calls_in(text, ["f"]) == ["f(1, [2])", "f(k='v')"]
    assert calls_in("f(1", ["f"]) == []


def test_arguments_are_varied_within_their_type() -> None:
    found = varied(["f(3, 'ab')", "f([1], 2.5)"], limit=40)
    assert found[:2] == ["f(3, 'ab')", "f([1], 2.5)"]
    assert {"f(4, 'ab')", "f(3, '')", "f([], 2.5)", "f([1], 3.0)"} <= set(found)
    assert len(found) == len(set(found))
    assert varied(["f(g(1))"]) == ["f(g(1))"]


def test_a_slow_program_costs_little_more_than_its_calls(sandbox: LocalSandbox) -> None:
    slow = "import time\ndef f(x):\n    time.sleep(60)\n"
    assert behaviours(sandbox, "solution.py", [slow], ["f(1)"]) == [("!Slow",)]
    assert CALL_S <= 2
