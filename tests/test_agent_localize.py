"""Where the defect probably is: ranks from frames, imports and words; tests are never suspects."""

import pytest

from agent.localize import FILES, suspects
from agent.source import lines_of
from agent.syntax import code_lines, functions
from memory.records import Check, Failure, Frame
from sandbox.workcopy import WorkCopy, snapshot
from tests.agent_kit import failed
from tests.conftest import RepoFactory

DEEP = "def outer():\n    return inner()\n\n\ndef inner():\n    return 1 / 0\n"
CHECK = Check(name="c", command="true")


def files_of(make_repo: RepoFactory, files: dict[str, str | bytes]) -> WorkCopy:
    repo = make_repo(files)
    return WorkCopy(snapshot(repo, repo.parent / "shadow"))


def test_the_innermost_frame_ranks_its_file_first_and_tests_never(make_repo: RepoFactory) -> None:
    files = files_of(make_repo, {"a.py": DEEP, "b.py": DEEP, "tests/test_a.py": "import a, b\n"})
    found = suspects(files, [failed(("tests/test_a.py", 1), ("a.py", 2), ("b.py", 6))], "")
    assert [suspect.path for suspect in found] == ["b.py", "a.py"]
    assert found[0].lines[0] == 6
    assert [span.name for span in found[0].functions] == ["inner", "outer"]


def test_a_file_that_holds_a_failing_test_is_no_suspect_whatever_it_is_called(make_repo: RepoFactory) -> None:
    files = files_of(make_repo, {"a.py": DEEP, "cases/a_case.py": DEEP})
    frames = (
        Frame(path="cases/a_case.py", line=2, function="test_a"),
        Frame(path="a.py", line=2, function="outer"),
    )
    failure = Failure(test="a_case.Case.test_a", error="E", frames=frames)
    result = failed(("a.py", 2)).model_copy(update={"failures": (failure,)})
    assert [suspect.path for suspect in suspects(files, [result], "")] == ["a.py"]


def test_a_file_that_the_task_names_ranks_first(make_repo: RepoFactory) -> None:
    files = files_of(make_repo, {"pkg/one.py": "x = 1\n", "pkg/two.py": "x = 1\n"})
    assert suspects(files, [failed(("pkg/one.py", 1))], "mend pkg/two.py")[0].path == "pkg/two.py"


def test_without_frames_the_imports_of_the_failing_test_decide(make_repo: RepoFactory) -> None:
    files = files_of(
        make_repo,
        {
            "one.py": "x = 1\n",
            "two/__init__.py": "x = 1\n",
            "tests/test_one.py": "from two import x\n",
            "tests/test_two.py": "from one import x\n",
        },
    )
    found = suspects(files, [failed(test="tests/test_one.py::test_it")], "")
    assert [suspect.path for suspect in found] == ["two/__init__.py"]


def test_other_languages_have_lines_and_functions(make_repo: RepoFactory) -> None:
    files = files_of(make_repo, {"gcd.js": "// gcd\nfunction gcd(a, b) {\n  return a;\n}\n"})
    (found,) = suspects(files, [failed(("gcd.js", 3))], "")
    assert found.lines == (3, 2)
    assert [span.name for span in found.functions] == ["gcd"]


@pytest.mark.parametrize(
    "files",
    [
        {"data.bin": b"\0\1\2" * 99, "README": "gcd\n"},
        {"big.py": "x = 1\n" * 50_000},
        {"empty.py": ""},
        {"test_only.py": "def test_x(): ...\n"},
    ],
)
def test_data_huge_and_empty_files_are_no_suspects(
    make_repo: RepoFactory, files: dict[str, str | bytes]
) -> None:
    copied = files_of(make_repo, files)
    assert suspects(copied, [failed((next(iter(files)), 1))], " ".join(files)) == []


def test_suspects_are_few(make_repo: RepoFactory) -> None:
    files = files_of(make_repo, {f"m{n}.py": "x = 1\n" for n in range(9)})
    frames = [(f"m{n}.py", 1) for n in range(9)]
    assert len(suspects(files, [failed(*frames)], "")) == FILES


@pytest.mark.parametrize(
    "data",
    [
        DEEP.encode(),
        b"\xef\xbb\xbf" + DEEP.encode(),
        DEEP.replace("\n", "\r\n").encode(),
        b"# -*- coding: latin-1 -*-\nname = 'Zo\xeb'\n" + DEEP.encode(),
        b"\x0c\n" + DEEP.encode(),
        'separator = "\N{LINE SEPARATOR}"\n'.encode() + DEEP.encode(),
    ],
    ids=["plain", "bom", "crlf", "latin-1", "form feed", "line separator"],
)
def test_lines_and_functions_are_found_in_any_encoding(make_repo: RepoFactory, data: bytes) -> None:
    """Line numbers are those of Python and of every traceback."""
    fault = data.splitlines().index(b"    return 1 / 0") + 1
    (found,) = suspects(files_of(make_repo, {"a.py": data}), [failed(("a.py", fault))], "")
    assert found.lines[0] == fault
    assert lines_of(found.text)[fault - 1] == "    return 1 / 0"
    assert found.functions[0].name == "inner"
    assert found.functions[0].last == fault
    assert found.text.encode("utf-8", "surrogateescape") == data


def test_what_does_not_parse_has_lines_and_the_functions_that_can_be_read() -> None:
    assert [span.name for span in functions("a.py", "def f(:\n    pass\n")] == ["f"]
    assert code_lines("a.py", "def f(:\n    pass\n") == [1, 2]
    assert functions("a.py", "(" * 10_000) == ()


def test_comments_imports_and_documentation_hold_no_defect() -> None:
    text = '"""Doc."""\nimport os\n\n# no\ndef f():\n    """More\n    doc."""\n    return 1\n}\n'
    assert code_lines("a.py", text.replace("}\n", "")) == [5, 8]
