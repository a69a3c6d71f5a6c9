"""Mutations: small, sound, without repetition, and the likely ones first."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mutations import PER_LINE, mutants


def mutated(line: str, before: str = "def f(a, b, items):\n") -> list[str]:
    """Mutants of the second line, without their indentation."""
    return [text.strip() for text in mutants(f"{before}    {line}\n", 2)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a < b", "return a <= b"),
        ("return a not in items", "return a in items"),
        ("a ^= b", "a &= b"),
        ("return a - b", "return a + b"),
        ("return f(a, b)", "return f(b, a)"),
        ("return items[a]", "return items[a + 1]"),
        ("return items[a]", "return items[b]"),
        ("return 1 + len(items)", "return len(items)"),
        ("return []", "return [[]]"),
        ("return any(items)", "return all(items)"),
        ("return items.prev_node", "return items.next_node"),
        ("return not a", "return a"),
        ("return a and b", "return a or b"),
        ("return True", "return False"),
        ("return len(items) * 2", "return (len(items) - 1) * 2"),
        ("return 'é', a < b", "return 'é', a <= b"),
    ],
)
def test_standard_changes(line: str, expected: str) -> None:
    assert expected in mutated(line)


def test_another_attribute_of_the_same_function() -> None:
    before = "def f(node):\n    x = node.size\n"
    assert "    return node.size" in mutants(f"{before}    return node.count\n", 3)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x = str(a)", ["x = None if a is None else str(a)", 'x = "" if a is None else str(a)']),
        ("return f(a.b)", ["return None if a.b is None else f(a.b)"]),
        ("return 1 + len(a)", ["return 1 + (None if a is None else len(a))"]),
        ("x == f(a)", ["x == (None if a is None else f(a))"]),
        ("é = f(a)", ["é = None if a is None else f(a)"]),
    ],
)
def test_a_call_that_is_not_made_for_none(line: str, expected: list[str]) -> None:
    text = f"def f(a):\n    {line}\n"
    assert {f"    {item}" for item in expected} <= {*mutants(text, 2, "It gave None.")[:8]}
    assert not any("is None" in item for item in mutants(text, 2, "It gave Nonesuch."))


@pytest.mark.parametrize(
    ("line", "said", "expected"),
    [
        (
            'return f"{a:.0f} {b:.0f}/{items}"',
            "wrong for negative numbers",
            'return f"{a:.0f} {abs(b):.0f}/{items}"',
        ),
        ("return a - b", "Negative values", "return abs(a) - b"),
        ("if a == 'AS': return b", "keywords are case-insensitive", "if a.upper() == 'AS': return b"),
        ("return a.b in ('on', 'off')", "in upper case", "return a.b.lower() in ('on', 'off')"),
    ],
)
def test_what_the_words_of_a_task_call_for_comes_first(line: str, said: str, expected: str) -> None:
    text = f"def f(a, b, items):\n    {line}\n"
    assert f"    {expected}" in mutants(text, 2, said)[:6]
    assert f"    {expected}" not in mutants(text, 2)
    assert f"    {expected}" not in mutants(text, 2, "It is wrong.")


@pytest.mark.parametrize(
    "line", ["return a == 1", "return a in ('On', 'off')", "return a == ''", "return a < 'AS'"]
)
def test_only_words_in_one_case_are_compared_in_it(line: str) -> None:
    found = mutants(f"def f(a):\n    {line}\n", 2, "in upper case")
    assert not any("upper()" in item or "lower()" in item for item in found)


def test_an_operator_comes_before_another_name() -> None:
    found = mutated("return a < b")
    assert found.index("return a <= b") < found.index("return items < b")


@pytest.mark.parametrize("text", ["def f(:\n    return 1\n", "# only words\n\n", "", "x = '''\na < b\n'''\n"])
def test_what_holds_no_whole_expression_has_no_mutants(text: str) -> None:
    assert mutants(f"{text}\n", 2) == []


LINES = st.sampled_from(
    [
        "return a < b", "x = f(a, b)[a:b]", "items.append((a, b))", "for x in range(a, b):",
        "return a if b else 1", "return {a: b for a in items}", "print(f'{a}', *items, sep=b)", "a, b = b, a",
        "return (yield a)", "if a in items and b == 1:", "while a: b -= 1",
        "return lambda a: a + 1", "é = a + b",
    ]
)  # fmt: skip


@given(LINES, st.sampled_from(["", " + 1", "  # why"]))
def test_mutants_parse_in_their_place_and_are_new(line: str, tail: str) -> None:
    text = f"def f(a, b, items):\n    {line}{tail}\n" + ("        pass\n" if line.endswith(":") else "")
    try:
        ast.parse(text)
    except SyntaxError:
        return
    found = mutants(text, 2)
    assert len(found) == len(set(found)) <= PER_LINE
    old = text.splitlines()[1]
    assert old not in found
    for new in found:
        ast.parse(text.replace(old, new, 1))
