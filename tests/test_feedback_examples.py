"""Examples read out of tasks and doc comments in Python; what is not certain is left out."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feedback.examples import find_examples

DOC = 'def f(x, y=0):\n    """About f.\n\n{}\n    """\n'
TEXT = "Write a function f.\n\n{}\n"


def told(text: str, entry: str = "f") -> list[tuple[str, str]]:
    """(call, expected or exception) of each example."""
    return [(item.call, item.raises or item.expected) for item in find_examples(text, "py", entry=entry)]


def indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.split("\n"))


FORMS = {
    ">>> f(1)\n2": [("f(1)", "2")],
    ">>> f('a')  # why\n[1,\n 2]\n>>> f(2)\ntrue": [("f('a')", "[1, 2]"), ("f(2)", "True")],
    ">>> f(1)\n>>> f(2)\n3": [("f(1)", "None"), ("f(2)", "3")],
    ">>> f(-1)\nTraceback (most recent call last):\n    ...\nValueError: no": [("f(-1)", "ValueError")],
    ">>> f(1)\n2\nThat is so because one and one are two.": [("f(1)", "2")],
    ">>> f(1)\n<f at 0x7f12345678>": [],
    ">>> f(1)  # doctest: +SKIP\n2": [],
    ">>> f(1) == 2": [("f(1)", "2")],
    "f(1, 2) == 3": [("f(1, 2)", "3")],
    "f(1,2) -> 3\nf(2) => 'a'\nf(3) ➞ [1]\nf(4) ==> None": [
        ("f(1, 2)", "3"),
        ("f(2)", "'a'"),
        ("f(3)", "[1]"),
        ("f(4)", "None"),
    ],
    "f(1) # returns 3": [("f(1)", "3")],
    "f(1)  # => 3": [("f(1)", "3")],
    "print(f(1))  # expected [1, 2]": [("f(1)", "[1, 2]")],
    "For example:\n- f(1) should return 2\n- `f(2)` returns `3`.": [("f(1)", "2"), ("f(2)", "3")],
    "f(1) should be 3, because of that.": [("f(1)", "3")],
    "f(1) gives 3 and f(2) gives 4": [("f(1)", "3"), ("f(2)", "4")],
    "f(1) equals 3": [("f(1)", "3")],
    "f(1) returns true. f(2) should be None.": [("f(1)", "True"), ("f(2)", "None")],
    "f([1,\n  2]) => 7": [("f([1, 2])", "7")],
    "f(9, 1) ->9 - 1 - 2 = 6": [("f(9, 1)", "6")],
    "f(9, 1) ->9 - 1 - 2 = 7": [],
    "For lst = [1, 2, 3] the output should be 5.": [("f([1, 2, 3])", "5")],
    "Input: [4, 2]\nOutput: [2, 1]": [("f([4, 2])", "[2, 1]")],
    "`f(4, 2)` should raise `ValueError`, as told.": [("f(4, 2)", "ValueError")],
    "f(1) gives 3 instead of 4": [("f(1)", "4")],
    # Not certain, so no example:
    "f(1) is 3 times as large": [],
    "f(1) -> 1, 2": [],
    "f(1) returns 1 or 2": [],
    "f(1) -> ('a')": [],
    "f(1) -> abc": [],
    "f(n) returns 3": [],
    "not f(1) == 3": [],
    "1 + f(1) == 3": [],
    "g(1) == 3": [],
    "f(1) -> [1, ...]": [],
    "f(1) == 3\nf(1) == 4\nf(2) == 5": [("f(2)", "5")],
}


@pytest.mark.parametrize("shape", [DOC, TEXT], ids=["docstring", "text"])
@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, shape: str) -> None:
    assert told(shape.format(indented(form) if shape is DOC else form)) == FORMS[form]


def test_asserts_in_text_and_in_code() -> None:
    text = (
        "Write a function to add.\nassert f(1, '(') == 2\nassert not f(0)\nassert math.isclose(f(3), 3.5)\n"
        "assert set(f(4)) == set(\n    [4])\n\n```python\nassert f(5) is None\n```\n"
        "It must pass `assert f(6) < 7`.\n"
    )
    found = find_examples(text, "py", entry="f")
    assert [(item.setup, item.call, item.expected) for item in found] == [
        ("", "f(1, '(')", "2"),
        ("", "bool(f(0))", "False"),
        ("import math", "bool(math.isclose(f(3), 3.5))", "True"),
        ("", "set(f(4))", "set([4])"),
        ("", "f(5)", "None"),
        ("", "bool(f(6) < 7)", "True"),
    ]


def test_setup_is_what_the_call_needs() -> None:
    doc = DOC.format(
        indented(
            ">>> from m import S\n>>> s = S()\n>>> s.push(4)\n>>> s.pop()\n4\n"
            ">>> f(1)\n2\n>>> def g():\n...     return 1\n>>> f(g())\n3"
        )
    )
    assert [(item.setup, item.call) for item in find_examples(doc, "py", entry="f")] == [
        ("from m import S\ns = S()\ns.push(4)", "s.pop()"),
        ("from m import S", "f(1)"),
        (
            "from m import S\ns = S()\ns.push(4)\ns.pop()\n\ndef g():\n    return 1".replace("\n\n", "\n"),
            "f(g())",
        ),
    ]


REPORT = """join ignores its separator
`join(parts, sep)` takes a separator, but the result is always joined with a space:

    >>> from tool import join, quote
    >>> join(['a', 'b'], sep='|')
    'a b'
    >>> quote(['a', 'b'], sep='|')
    'a b'

Expected {}. Also `join(['c'], sep='-')` should give `'c'`; `join([])` returns 1.

    def own(a): ...

    own(1)      # TypeError, expected 7
    own(2)      # 3, should be 8
    own(3)      # 4
"""


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("`'a|b'` for both", ["'a|b'", "'a|b'"]),
        ("`'a|b'` and `'x|y'`", ["'a|b'", "'x|y'"]),
        ("`'a|b'`, `'b'` and `'c'`", []),
        ("something else", []),
    ],
)
def test_a_report_shows_what_is_wrong(words: str, values: list[str]) -> None:
    found = find_examples(REPORT.format(words), "py")
    shown = [item for item in found if "sep='|'" in item.call]
    assert [item.expected for item in shown] == values
    assert all(item.current == "'a b'" and item.setup == "from tool import join, quote" for item in shown)
    rest = [(item.call, item.expected, item.current) for item in found if item not in shown]
    assert rest == [
        ("join(['c'], sep='-')", "'c'", ""),
        ("own(1)", "7", "TypeError"),
        ("own(2)", "8", "3"),
    ]


@pytest.mark.parametrize(
    ("heading", "after", "raises"),
    [
        (
            "quietly gives a wrong result instead of raising",
            "`cut()` should raise `ValueError('n')`.",
            "ValueError",
        ),
        ("gives a wrong part, without an error", "It must always raise a `tool.CutError` here.", "CutError"),
        ("gives a wrong result", "It should raise `ValueError` for a list.", ""),  # this call may be another
        ("silently gives a wrong part", "It may raise `ValueError`.", ""),
    ],
)
def test_a_report_of_a_call_that_should_raise(heading: str, after: str, raises: str) -> None:
    shown = ">>> from tool import cut\n    >>> list(cut('abc', -1))\n    ['ab']"
    found = find_examples(f"`cut(text, n)` {heading}:\n\n    {shown}\n\n{after}\n", "py")
    told = [(item.call, item.raises, item.current) for item in found if item.call != "cut()"]
    assert told == ([("list(cut('abc', -1))", raises, "['ab']")] if raises else [])


def test_limits() -> None:
    many = "\n".join(f"f({number}) == {number}" for number in range(99))
    assert len(find_examples(TEXT.format(many), "py", entry="f")) == 20
    assert told(TEXT.format(f"f('{'a' * 5000}') == 1")) == []


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("f(1)[]{}'\"`=->#:., \n\t>>>…\\\0assertexpected"), max_size=200))
@example(">>> f(\n1")
@example("```")
def test_any_text_is_read_without_an_error(text: str) -> None:
    find_examples(text, "py", entry="f")
    find_examples(text, "py")


@pytest.mark.parametrize(
    "unit",
    [
        "a(",
        "[",
        "\0",
        "```\nx\n",
        ">>> f(1)\n",
        "assert f(\n",
        "f('",
        "\n",
        "for x = 1 ",
        "Input: 1\n",
        "f(1) should ",
    ],
)
def test_hostile_text_is_quick(unit: str) -> None:
    text = unit * (10_000_000 // len(unit))
    began = time.perf_counter()
    assert len(find_examples(text, "py", entry="f")) <= 1
    assert time.perf_counter() - began < 3  # alone it is under a second
