"""Reading, searching, running and submitting in a real work copy and the local sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import RepoFactory

from memory.records import Status
from sandbox.local import LocalSandbox
from sandbox.workcopy import WorkCopy, snapshot
from tools.protocol import ToolResult, Workspace
from tools.read import CHARS, LINES
from tools.registry import Call, execute, parse

FILES = {
    "src/app.py": "def main():\n    return 'Straße'\n",
    "src/long.py": "".join(f"line_{n} = {n}\n" for n in range(1, 501)),
    "wide.txt": ("w" * 4000 + "\n") * 60,
    "min.js": "x" * 20_000 + "\n",
    "blob.bin": b"\0\1def main",
    "utf16.txt": "def main".encode("utf-16"),
    "empty.txt": "",
    "-rf.txt": "def main\n",
}


@pytest.fixture
def space(make_repo: RepoFactory, tmp_path: Path) -> Iterator[Workspace]:
    work = WorkCopy(snapshot(make_repo(FILES), tmp_path / "shadow"))
    with LocalSandbox(work.archive()) as sandbox:
        yield Workspace(work, sandbox, (), command_s=5.0)


def do(space: Workspace, text: str) -> ToolResult:
    return execute(parse(text), space)


def test_read_numbers_lines_and_remembers_what_it_showed(space: Workspace) -> None:
    result = do(space, "read src/app.py")
    assert result.output == "src/app.py lines 1-2 of 2:\n   1 def main():\n   2     return 'Straße'"
    assert space.unseen("src/app.py", 1, 2) is None
    assert space.unseen("src/long.py", 1, 2) == (1, 2)


def test_read_is_capped_and_says_how_to_go_on(space: Workspace) -> None:
    result = do(space, "read src/long.py")
    assert (result.truncated, result.summary) == (True, f"src/long.py 1-{LINES} of 500")
    assert result.output.endswith(f"More: read src/long.py {LINES + 1}-{2 * LINES}")
    assert "line_500" in do(space, "read src/long.py 499-9999").output
    assert len(do(space, "read wide.txt").output) < CHARS + 500


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("read blob.bin", "binary file (10 bytes)"),
        ("read utf16.txt", "UTF-16"),
        ("read min.js", "minified"),
        ("read src", "src/app.py"),
        ("read app.py", "Next: read src/app.py"),
        ("read nowhere/at/all.c", "There is no file"),
    ],
)
def test_what_cannot_be_read_is_told(space: Workspace, text: str, said: str) -> None:
    result = do(space, text)
    assert result.status == Status.REFUSED
    assert said in result.output


def test_an_empty_file_reads_as_empty(space: Workspace) -> None:
    assert do(space, "read empty.txt").output == "empty.txt is empty."


def test_search_finds_text_and_patterns(space: Workspace) -> None:
    expected = ["-rf.txt:1: def main", "src/app.py:1: def main():"]
    assert do(space, "search def main").output.split("\n") == expected
    space.files.write("src/new.py", b"def main_two(): pass\n")
    found = do(space, r"search /^def main_\w+/")
    assert found.output == "src/new.py:1: def main_two(): pass"
    assert do(space, "search DEF MAIN").output == "No line matches DEF MAIN."
    assert do(space, "search straße").status == Status.OK
    capped = do(space, "search line_")
    assert capped.truncated
    assert len(capped.output.split("\n")) == 41


def test_a_broken_pattern_is_told(space: Workspace) -> None:
    assert do(space, "search /(/").status == Status.REFUSED


def test_run_sees_edits_and_its_changes_come_back(space: Workspace) -> None:
    do(space, "write src/b.py\n```\nx = 1\n```")
    result = do(space, "run cat src/b.py; echo y = 2 > src/c.py; rm src/app.py; exit 3")
    assert (result.status, result.summary.endswith("(exit code 3)")) == (Status.NONZERO, True)
    assert result.output.startswith("x = 1\n[exit code 3]")
    assert space.files.read("src/c.py") == b"y = 2\n"
    assert not space.files.exists("src/app.py")
    assert "src/b.py" in space.seen


def test_run_ends_and_its_output_is_cut(space: Workspace) -> None:
    space.command_s = 0.5
    assert do(space, "run sleep 30").status == Status.TIMEOUT
    result = do(space, "run seq 1 100000")
    assert result.truncated
    assert len(result.output) < 4_200
    assert "100000" in result.output


def test_submit_needs_a_change(space: Workspace) -> None:
    assert do(space, "submit").status == Status.REFUSED
    do(space, "write a.py\n```\nx = 1\n```")
    assert do(space, "submit").status == Status.OK


def test_unknown_tools_and_wrong_arguments_are_results(space: Workspace) -> None:
    assert execute(Call("view", {}), space).status == Status.REFUSED
    assert "first" in execute(Call("read", {"path": "a", "first": "one"}), space).output
    assert execute(Call("run", {"command": 3}), space).status == Status.REFUSED
