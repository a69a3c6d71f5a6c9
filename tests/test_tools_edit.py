"""Editing and writing: every byte that an edit does not name stays, and no half text gets in."""

from pathlib import Path

import pytest
from conftest import RepoFactory
from hypothesis import given
from hypothesis import strategies as st

from memory.records import Status
from sandbox.local import LocalSandbox
from sandbox.workcopy import WorkCopy, snapshot
from tools.protocol import ToolResult, Workspace
from tools.registry import Call, execute, parse
from tools.text import NotText, load, new_file

CODE = "def gcd(a, b):\n    if b == 0:\n        return a\n    return gcd(a % b, b)\n\n\nprint(gcd(4, 2))\n"
LONG = "".join(f"x{n} = {n}\n" for n in range(1, 301))


@pytest.fixture
def space(make_repo: RepoFactory, tmp_path: Path) -> Workspace:
    files = {
        "gcd.py": CODE,
        "long.py": LONG,
        "dos.py": b"\xef\xbb\xbfa = 1\r\nb = 2\r\nc = 3",
        "latin.py": b"# -*- coding: latin-1 -*-\ns = '\xe9'\nt = 1\n",
        "raw.txt": b"one\n\xff\xfe\x80\ntwo\n",
        "image.png": b"\x89PNG\0\0",
        "a b/it's.txt": "one\ntwo\n",
        "data.json": '{"a": 1}\n',
    }
    work = WorkCopy(snapshot(make_repo(files), tmp_path / "shadow"))
    return Workspace(work, LocalSandbox(work.archive()), (), seen=set(files))


@pytest.fixture(autouse=True)
def closed(space: Workspace) -> None:
    space.sandbox.close()


def edit(space: Workspace, path: str, first: int, last: int, body: str) -> ToolResult:
    return execute(Call("edit", {"path": path, "first": first, "last": last, "body": body}), space)


def test_a_range_is_replaced_and_shown_with_new_numbers(space: Workspace) -> None:
    result = edit(space, "gcd.py", 4, 4, "    r = a % b\n    return gcd(b, r)\n")
    assert result.status == Status.OK
    assert space.files.read("gcd.py").decode() == CODE.replace(
        "    return gcd(a % b, b)\n", "    r = a % b\n    return gcd(b, r)\n"
    )
    assert "   5     return gcd(b, r)" in result.output
    assert result.summary == "gcd.py:4 -1 +2"


def test_lines_in_the_wrong_order_are_refused_and_no_matter_of_form(space: Workspace) -> None:
    result = edit(space, "gcd.py", 3, 2, "x\n")
    assert result.status == Status.REFUSED
    assert "Line 2 is before line 3" in result.output
    assert space.files.changed() == {}


def test_crlf_bom_and_a_missing_last_newline_stay(space: Workspace) -> None:
    assert edit(space, "dos.py", 2, 2, "b = 20\n").status == Status.OK
    assert space.files.read("dos.py") == b"\xef\xbb\xbfa = 1\r\nb = 20\r\nc = 3"
    assert edit(space, "dos.py", 3, 3, "c = 30\nd = 4\n").status == Status.OK
    assert space.files.read("dos.py") == b"\xef\xbb\xbfa = 1\r\nb = 20\r\nc = 30\r\nd = 4"
    assert edit(space, "dos.py", 5, 5, "e = 5\n").status == Status.OK
    assert space.files.read("dos.py").endswith(b"d = 4\r\ne = 5")


def test_bytes_that_are_no_utf8_stay(space: Workspace) -> None:
    assert edit(space, "raw.txt", 3, 3, "three\n").status == Status.OK
    assert space.files.read("raw.txt") == b"one\n\xff\xfe\x80\nthree\n"
    assert edit(space, "latin.py", 3, 3, "t = 'ü'\n").status == Status.OK
    assert space.files.read("latin.py") == b"# -*- coding: latin-1 -*-\ns = '\xe9'\nt = '\xfc'\n"
    refused = edit(space, "latin.py", 3, 3, "t = '→'\n")
    assert refused.status == Status.REFUSED
    assert "latin-1" in refused.output


@given(
    data=st.lists(
        st.tuples(
            st.binary(max_size=6).filter(lambda b: not set(b) & {0, 10}), st.sampled_from([b"\n", b"\r\n"])
        ),
        min_size=1,
        max_size=8,
    ),
    final=st.booleans(),
    bom=st.booleans(),
    place=st.tuples(st.integers(1, 9), st.integers(0, 8)),
    body=st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\r\0"), max_size=5), max_size=4),
)
def test_untouched_bytes_are_identical(
    data: list[tuple[bytes, bytes]], final: bool, bom: bool, place: tuple[int, int], body: list[str]
) -> None:
    raw = (b"\xef\xbb\xbf" if bom else b"") + b"".join(line + end for line, end in data)
    raw = raw if final else raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = load(raw)
    except NotText:
        return
    total = len(text.lines)
    first = min(place[0], total + 1)
    last = min(total, first + place[1])
    new = text.replaced(first, last, body).bytes
    assert text.bytes == raw
    kept_before = b"".join(text.lines[: first - 1])
    kept_after = b"".join(text.lines[last:])
    assert new.startswith(text.bom + kept_before)
    assert new.endswith(kept_after)
    again = load(new)
    shown = again.shown[first - 1 : first - 1 + len(body)]
    assert shown == [line.encode().decode(again.encoding) for line in body] or (
        body[-1:] == [""] and last == total
    )
    if body and first <= total and body[-1]:
        assert new.endswith(b"\n") == raw.endswith(b"\n")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=20), max_size=8))
def test_writing_what_stands_there_changes_no_byte(lines: list[str]) -> None:
    for ending in (b"\n", b"\r\n"):
        raw = b"".join(line.encode() + ending for line in lines)
        text = load(raw)
        if raw and not raw.startswith(b"\xef\xbb\xbf"):
            assert new_file(text.shown, text) == raw


@pytest.mark.parametrize(
    ("path", "first", "last", "body", "said"),
    [
        ("gcd.py", 4, 4, "    return gcd(b, a % b\n", "would not parse"),
        ("gcd.py", 4, 4, "    # ... rest of the code\n", "left out"),
        ("gcd.py", 4, 4, "    # existing code remains unchanged\n", "left out"),
        ("gcd.py", 4, 4, "    return gcd(a % b, b)\n", "already"),
        ("gcd.py", 1, 4, "def lcm(a, b):\n    return a\n", "gcd, which is used elsewhere"),
        ("gcd.py", 7, 7, "def gcd(a, b):\n    return b\n", "define gcd (lines 1-4 and 7-8); nothing"),
        ("gcd.py", 3, 3, "def lcm(a, b):\n    return a\n", "would not parse"),
        ("gcd.py", 30, 31, "x = 1\n", "only 7 lines"),
        ("long.py", 1, 300, "x = 1\n", "300 lines would become 1"),
        ("data.json", 1, 1, '{"a": }\n', "would not parse"),
        ("image.png", 1, 1, "x\n", "binary"),
        ("gdc.py", 1, 1, "x\n", "Did you mean: gcd.py"),
    ],
)
def test_refused_edits_change_nothing_and_say_what_to_do(
    space: Workspace, path: str, first: int, last: int, body: str, said: str
) -> None:
    result = edit(space, path, first, last, body)
    assert result.status == Status.REFUSED
    assert said in result.output
    assert space.files.changed() == {}


def test_what_is_meant_to_be_defined_again_may_be(space: Workspace) -> None:
    setter = "class P:\n    @property\n    def x(self): ...\n    @x.setter\n    def x(self, to): ...\n"
    chosen = "if a:\n    def gcd(a): ...\nelse:\n    def gcd(b): ...\n"
    assert edit(space, "gcd.py", 7, 7, setter + chosen).status is Status.OK


def test_lines_never_shown_are_shown_instead_of_edited(space: Workspace) -> None:
    space.seen.clear()
    execute(Call("read", {"path": "long.py", "first": 1, "last": 10}), space)
    refused = edit(space, "long.py", 50, 50, "x50 = 0\n")
    assert refused.status == Status.REFUSED
    assert "  50 x50 = 50" in refused.output
    assert "Next: edit long.py 50-50" in refused.output
    assert edit(space, "long.py", 50, 50, "x50 = 0\ny = 1\n").status == Status.OK
    assert edit(space, "long.py", 5, 5, "").status == Status.OK
    assert edit(space, "long.py", 200, 200, "z = 1\n").status == Status.REFUSED


def test_a_block_in_the_wrong_column_is_moved(space: Workspace) -> None:
    result = edit(space, "gcd.py", 4, 4, "if a:\n    return gcd(b, a % b)\n")
    assert "indented to fit" in result.output
    assert "    if a:\n        return gcd(b, a % b)\n" in space.files.read("gcd.py").decode()


def test_line_numbers_that_the_model_copied_are_taken_off(space: Workspace) -> None:
    assert (
        edit(space, "gcd.py", 3, 4, "   3         return a\n   4     return gcd(b, a % b)\n").status
        == Status.OK
    )
    assert "    return gcd(b, a % b)\n" in space.files.read("gcd.py").decode()


def test_numbers_that_belong_to_the_text_stay(space: Workspace) -> None:
    space.files.write("list.txt", b"1 apple\n2 pear\n")
    space.seen.add("list.txt")
    assert edit(space, "list.txt", 1, 2, "1 plum\n2 fig\n").status == Status.OK
    assert space.files.read("list.txt") == b"1 plum\n2 fig\n"


def test_a_file_that_did_not_parse_may_be_mended_step_by_step(space: Workspace) -> None:
    space.files.write("bad.py", b"def f(:\n    return (\n")
    space.seen.add("bad.py")
    assert edit(space, "bad.py", 1, 1, "def f():\n").status == Status.OK
    assert edit(space, "bad.py", 2, 2, "    return 1\n").status == Status.OK


def test_a_name_with_blanks_and_quotes(space: Workspace) -> None:
    call = parse("edit a b/it's.txt 2-2\n```\n2\n```\n")
    assert execute(call, space).status == Status.OK
    assert space.files.read("a b/it's.txt") == b"one\n2\n"


def test_write_creates_and_replaces(space: Workspace) -> None:
    assert execute(parse("write new/mod.py\n```python\nx = 1\n```\n"), space).status == Status.OK
    assert space.files.read("new/mod.py") == b"x = 1\n"
    whole = CODE.replace("gcd(a % b, b)", "gcd(b, a % b)")
    assert execute(Call("write", {"path": "gcd.py", "body": whole}), space).status == Status.OK
    assert space.files.read("gcd.py").decode() == whole
    assert (
        execute(Call("write", {"path": "dos.py", "body": "a = 1\nb = 5\nc = 3\n"}), space).status == Status.OK
    )
    assert space.files.read("dos.py") == b"\xef\xbb\xbfa = 1\r\nb = 5\r\nc = 3\r\n"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("gcd.py", "def lcm(a, b):\n    return a * b // gcd(a, b)\n", "would lose gcd"),
        ("gcd.py", "def gcd(a, b:\n", "would not parse"),
        ("gcd.py", "def gcd(a, b):\n    # rest unchanged code\n    pass\n", "left out"),
        ("gcd.py", CODE, "already"),
        ("long.py", LONG, "300 lines: change only"),
        ("image.png", "x\n", "binary"),
        ("gcd.py/x.py", "x = 1\n", "refused path"),
        (".adi_own/test_own.py", "def test_it():\n    pass\n", "belongs to a check"),
    ],
)
def test_refused_writes(space: Workspace, path: str, body: str, said: str) -> None:
    result = execute(Call("write", {"path": path, "body": body}), space)
    assert result.status == Status.REFUSED
    assert said in result.output
    assert space.files.changed() == {}


@pytest.mark.parametrize("path", ["../x.py", "/etc/passwd", ".git/config", "a/../../b", ".GIT/hooks/x", ""])
def test_paths_outside_are_refused(space: Workspace, path: str) -> None:
    for tool in ("write", "read", "edit"):
        arguments = {"path": path, "body": "x", "first": 1, "last": 1}
        fields = {"write": ("path", "body"), "read": ("path",), "edit": ("path", "first", "last", "body")}[
            tool
        ]
        result = execute(Call(tool, {name: arguments[name] for name in fields}), space)
        assert result.status == Status.REFUSED
    assert space.files.changed() == {}
