"""From text to a call: ADI's own form, dialects of other tools, and everything that is no call."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.registry import TOOLS, Call, Malformed, cards, parse

BODY = "    return 1\n"


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("read gcd.py\n", "read", {"path": "gcd.py", "first": None, "last": None}),
        ("# look at it first\nread ./gcd.py 3-9", "read", {"path": "gcd.py", "first": 3, "last": 9}),
        ("read gcd.py:3-9", "read", {"path": "gcd.py", "first": 3, "last": 9}),
        ("`read my file.py 4`", "read", {"path": "my file.py", "first": 4, "last": 4}),
        ("search def gcd", "search", {"text": "def gcd", "regex": False}),
        ('search "a b"', "search", {"text": "a b", "regex": False}),
        ("search /def \\w+/", "search", {"text": "def \\w+", "regex": True}),
        (
            "edit a.py 2-3\n```python\n    return 1\n```\n",
            "edit",
            {"path": "a.py", "first": 2, "last": 3, "body": BODY},
        ),
        ("edit a.py 2-2\n\n```\n```", "edit", {"path": "a.py", "first": 2, "last": 2, "body": ""}),
        ("edit a.py 2-2\n```\n\n```", "edit", {"path": "a.py", "first": 2, "last": 2, "body": "\n"}),
        ("write a.md\n````\n```\nx\n```\n````", "write", {"path": "a.md", "body": "```\nx\n```\n"}),
        ("run python3 -m pytest -q", "run", {"command": "python3 -m pytest -q"}),
        ("submit", "submit", {}),
        ("submit\r\n", "submit", {}),
    ],
)
def test_the_own_form(text: str, tool: str, arguments: dict[str, object]) -> None:
    assert parse(text) == Call(tool, arguments)  # type: ignore[arg-type]


EDIT = {"name": "edit", "arguments": {"file_path": "a.py", "start_line": 2, "end_line": 3, "content": BODY}}


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{json.dumps(EDIT)}\n</tool_call>",
        f"I will mend it.\n<tools>{json.dumps(EDIT)}</tools>",
        f"```json\n{json.dumps(EDIT, indent=2)}\n```",
        json.dumps(EDIT),
        json.dumps({"function": EDIT}),
        json.dumps({**EDIT, "arguments": json.dumps(EDIT["arguments"])}),
        "Sure, here is the fix:\n\nedit a.py 2-3\n```\n    return 1\n```\nThis mends it.",
    ],
    ids=["tool_call", "tools", "fence", "bare", "function", "double", "prose"],
)
def test_other_dialects(text: str) -> None:
    assert parse(text) == Call("edit", {"path": "a.py", "first": 2, "last": 3, "body": BODY})


def test_a_fenced_command_is_a_run() -> None:
    assert parse("Let me run it:\n```bash\n$ pytest -q\n```") == Call("run", {"command": "pytest -q"})
    with pytest.raises(Malformed, match="one command"):
        parse("```sh\ncd src\nrm -rf x\n```")


def test_the_first_of_several_calls_counts() -> None:
    assert parse("read a.py\nread b.py\nsubmit").arguments["path"] == "a.py"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n# only a thought\n",
        "I would run the tests and submit.",
        "The fix is simple: `run rm -rf /` would be wrong.",
        '{"name": "view", "arguments": {"path": "a.py"}}',
        '{"name": "bash", "arguments": {"command": "ls"}}',
        "view a.py",
        "```python\nprint(1)\n```",
        "<|im_end|>\n<|im_start|>user\nread a.py",
        "\n<|im_start|>assistant\nsubmit",
        '<tool_response>\n{"status": "ok"}\n</tool_response>',
        '<tool_call>{"name": "run", "argu',
        "x" * 300_000,
    ],
)
def test_no_calls(text: str) -> None:
    with pytest.raises(Malformed, match="read PATH"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("edit a.py", "line numbers"),
        ("edit a.py 3-4\nx = 1", "in a fence"),
        ("edit a.py 3-4\n```\nx = 1", "not closed"),
        ("write a.py", "in a fence"),
        ("read", "no path"),
        ("read ../../etc/passwd", "refused path"),
        ("run", "command"),
        ('{"name": "edit", "arguments": {"path": "a.py", "first": "x", "last": 2, "body": ""}}', "first"),
        ('{"name": "run", "arguments": "ls"}', "no JSON object"),
        ('{"name": "run", "arguments": {"command": "ls", "sudo": true}}', "sudo"),
    ],
)
def test_half_calls_say_what_is_missing(text: str, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        parse(text)


WORDS = [
    *TOOLS,
    "```",
    "```bash",
    "```json",
    "\n",
    " ",
    "a.py",
    "1-2",
    "3",
    "{",
    "}",
    '"name":',
    '"run"',
    ":",
    "<tool_call>",
]


@given(
    st.one_of(
        st.text(max_size=300),
        st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join),
        st.lists(st.sampled_from(WORDS), max_size=30).map("".join),
    )
)
def test_parse_raises_nothing_but_malformed(text: str) -> None:
    try:
        call = parse(text)
    except Malformed:
        return
    assert call.tool in TOOLS
    assert TOOLS[call.tool].check(call.arguments) == call.arguments


@given(
    st.dictionaries(
        st.sampled_from(["name", "arguments", "path", "command", "function"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.just("run"),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_json_is_read(value: object) -> None:
    try:
        assert parse(json.dumps(value)).tool in TOOLS
    except Malformed:
        return


def test_deep_json_is_no_crash() -> None:
    with pytest.raises(Malformed):
        parse('{"name":' * 5000)


def test_cards_are_short_and_name_every_tool() -> None:
    assert len(cards()) < 900
    assert [card.split()[0] for card in (tool.card for tool in TOOLS.values())] == list(TOOLS)
