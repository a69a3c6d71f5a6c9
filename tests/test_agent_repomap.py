"""The map of a repository: within its budget, the same each time, ranked by the task."""

import pytest

from agent import grammars
from agent.grammars import GrammarMissing
from agent.repomap import repo_map
from agent.symbols import outline
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory


def words(text: str) -> int:
    return len(text.split())


def files_of(make_repo: RepoFactory, files: dict[str, str | bytes]) -> WorkCopy:
    repo = make_repo(files)
    return WorkCopy(snapshot(repo, repo.parent / "shadow"))


MANY: dict[str, str | bytes] = {
    f"m{n}.py": f"from m{n + 1} import f{n + 1}\n\n\ndef f{n}(x):\n    return f{n + 1}(x) + core(x)\n"
    for n in range(60)
}
MANY["core.py"] = "def core(x):\n    return x\n"


def test_what_the_task_names_and_what_many_use_fits_first(make_repo: RepoFactory) -> None:
    files = files_of(make_repo, MANY)
    text = repo_map(files, "`f17` is slow", words, 20)
    assert words(text) <= 20
    assert "m17.py:\n  def f17(x)" in text
    assert "core.py:\n  def core(x)" in text
    assert "def f40(x)" not in text
    assert repo_map(files.fork(), "`f17` is slow", words, 20) == text


def test_all_paths_come_first_where_they_fit(make_repo: RepoFactory) -> None:
    files = files_of(make_repo, {"a.go": "package a\n\nfunc (s *Set) Add(x int) {\n}\n", "README": "x\n"})
    assert repo_map(files, "", words, 40) == "README\na.go\n\na.go:\n  Set:\n    func (s *Set) Add(x int)"
    assert repo_map(files, "", words, 0) == ""


def test_broken_huge_and_binary_files_are_only_paths(make_repo: RepoFactory) -> None:
    files = files_of(
        make_repo,
        {
            "broken.py": "def f(:\n  (((\n",
            "huge.py": "x = 1\n" * 50_000,
            "data.py": b"\0\xff\xfe" * 500,
            "empty.py": b"",
            "deep.js": "(" * 50_000,
            "good.py": "def good():\n    pass\n",
        },
    )
    text = repo_map(files, "good", words, 100)
    assert "def good()" in text
    assert "huge.py" in text


def test_each_blob_is_parsed_once(make_repo: RepoFactory) -> None:
    files = files_of(make_repo, {f"unique_{n}.py": f"def once_{n}():\n    return {n}\n" for n in range(30)})
    before = outline.cache_info().misses
    repo_map(files, "x", words, 50)
    assert outline.cache_info().misses - before == 30
    files.write("unique_3.py", b"def other():\n    pass\n")
    repo_map(files, "y", words, 50)
    assert outline.cache_info().misses - before == 31


def test_a_grammar_that_is_missing_is_told(make_repo: RepoFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(make_repo, {"A.java": "class A { /* told */ }\n"})
    monkeypatch.setitem(grammars._WHEELS, "java", ("java_that_is_not_installed", "language"))
    grammars._grammar.cache_clear()
    with pytest.raises(GrammarMissing, match="grammar of java") as told:
        repo_map(files, "", words, 50)
    assert "pip install" in told.value.hint
    grammars._grammar.cache_clear()
