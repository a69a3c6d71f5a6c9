"""The command that runs examples, each apart, so that its result counts them."""

import ast
from collections.abc import Sequence
from pathlib import Path

from feedback.example import Example
from feedback.example_scan import expression
from memory.records import Check

FOLDER = ".adi_examples"
"""Where the support files are; no project's own, and never part of a change."""
NAME = "examples"


def python_check(examples: Sequence[Example], path: str) -> Check:
    """A pytest file with one test for each example of the module at `path`.

    It runs under a configuration of its own: neither the repository's options nor its conftest count,
    and pytest starts with a path on which no module of the repository hides one of its own.
    """
    tests = [_test(number, example) for number, example in enumerate(examples, 1)]
    text = "\n\n".join((_HEAD.format(path=path), *tests))
    options = f"-q -c {FOLDER}/pytest.ini --rootdir=."
    return Check(
        name=NAME,
        command=f"PYTHONSAFEPATH=1 python3 -m pytest {options} {FOLDER}/test_examples.py",
        kind="pytest",
        files={
            f"{FOLDER}/pytest.ini": "[pytest]\n",
            f"{FOLDER}/adi_expect.py": Path(__file__)
            .with_name("example_expect.py")
            .read_text(encoding="utf-8"),
            f"{FOLDER}/test_examples.py": text,
        },
        origin="examples",
    )


_HEAD = '''"""Examples of the task as tests."""

import pytest
from adi_expect import Missing, expect

PATH = {path!r}


def example(setup, call, **told):
    __tracebackhide__ = True
    try:
        expect(PATH, setup, call, **told)
    except Missing as missing:
        pytest.skip(str(missing))
'''


def _test(number: int, example: Example) -> str:
    if example.raises:
        told = f"raises={example.raises!r}"
    elif example.exact:
        told = f"text={example.expected!r}"
    else:
        told = f"value={example.expected!r}"
        if digits := _digits(example.expected):
            told += f", digits={digits}"
    return f"def test_example_{number}():\n    example({example.setup!r}, {example.call!r}, {told})\n"


def _digits(expected: str) -> int:
    """Fewest decimals that a float in the expected value is written with; 0 where there is none."""
    node = expression(expected)
    floats = [
        ast.get_source_segment(expected, item) or ""
        for item in ast.walk(node or ast.Constant(0))
        if isinstance(item, ast.Constant) and isinstance(item.value, float)
    ]
    decimals = [len(text.partition(".")[2]) for text in floats if "e" not in text.lower()]
    return min(decimals, default=0)
