"""Reading the evaluation suites: tasks, broken rows, parts; and the graders on right and wrong answers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ENVIRONMENT, UsageError, exit_code_of
from agent.suite_data import part_of
from agent.suite_grade import grade
from agent.suite_packages import wheel_files
from agent.suite_read import SUITES, read_suite
from agent.suite_task import SuiteTask
from model.errors import DownloadFailed, HashMismatch
from sandbox.local import LocalSandbox
from sandbox.packing import pack
from tests.index_kit import serve_index
from tests.suite_kit import local
from tests.suite_rows_kit import (
    ANSWERS,
    EXERCISM,
    HIDDEN,
    HUMANEVAL,
    MBPP,
    MULTIPL_E,
    QUIXBUGS,
    REPOBUGS,
    ROWS,
    SDIST,
    cache_sdist,
    write_suite,
)

BENCH = os.environ.get("ADI_BENCH", "")


@pytest.fixture
def data(tmp_path: Path, adi_home: Path) -> Path:
    """A folder with one task of every suite."""
    cache_sdist(adi_home)
    for suite, (_, row) in ROWS.items():
        write_suite(tmp_path, suite, row)
    return tmp_path


def only(suite: str, data: Path) -> SuiteTask:
    options = {"languages": ("py",)} if suite == "multipl_e" else {}
    (task,), problems = read_suite(suite, data, **options)  # type: ignore[arg-type]
    assert problems == []
    return task


@pytest.mark.parametrize("suite", ROWS)
def test_no_agent_sees_tests_or_reference(suite: str, data: Path) -> None:
    task = only(suite, data)
    shown = [task.prompt, *task.checks, *task.files, *(text.decode() for text in task.files.values())]
    assert not [text for text in shown if HIDDEN in text]
    assert not {"hidden_grader.py", "hidden_task.json"} & set(task.files)
    assert (task.tries, bool(task.checks)) == (2 if suite == "exercism" else 1, suite == "quixbugs")


def passes(task: SuiteTask, answer: Mapping[str, bytes]) -> bool:
    """Whether the grader's command likes an answer, on the local sandbox; a busy machine gets time."""
    files = {**task.files, **answer, **task.grader.files}
    with LocalSandbox(pack(files)) as sandbox:
        return sandbox.run(task.grader.command, timeout_s=120).exit_code == 0


@pytest.mark.parametrize("suite", ROWS)
def test_the_grader_tells_right_from_the_stub(suite: str, data: Path) -> None:
    task = only(suite, data)
    assert passes(task, ANSWERS[suite])
    assert not passes(task, {})


def test_what_a_task_shows(data: Path) -> None:
    humaneval, mbpp, exercism = (only(suite, data) for suite in ("humaneval", "mbpp", "exercism"))
    assert humaneval.files["solution.py"].decode() == f"{HUMANEVAL['prompt']}    pass\n"
    assert "`whole_half` in solution.py" in humaneval.prompt
    assert mbpp.prompt == (
        "Write a function to greet someone, such as Zoë.\n"
        "Write the function `greet` in solution.py. Example: `assert greet('Zoë') == 'hello Zoë'`"
    )
    assert mbpp.files == {"solution.py": b""}
    assert exercism.prompt == f"{EXERCISM['instructions']}\n\nWrite it in two_fer.py."
    assert list(exercism.files) == ["two_fer.py"]
    assert only("repobugs", data).files.keys() == {"src/shapes.py", "tests/test_shapes.py", "setup.py"}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("def whole_half(n):\n    return floor(half(n))\n", True),  # the prompt's import and helper are lost
        ("def half(n):\n    return n / 2.0\n\ndef whole_half(n):\n    return n // 2\n", True),
        (
            "def half(n):\n    return 0\n\ndef whole_half(n):\n    return n // 2\n",
            False,
        ),  # its own helper counts
        ("def whole_half(n):\n    return n // 2\n\nif __name__ == '__main__':\n    input()\n", True),
        ("def whole_half(n):\n    return n // 2\n\nraise SystemExit(0)\n", False),
        ("import os\n\ndef whole_half(n):\n    os._exit(0)\n", False),
        ("def whole_half(n:\n", False),
        ("from __future__ import annotations\nx: missing = 1\ndef whole_half(n):\n    return n // 2\n", True),
    ],
)
def test_answers_to_humaneval(answer: str, right: bool, data: Path) -> None:
    assert passes(only("humaneval", data), {"solution.py": answer.encode()}) is right


def test_an_answer_cannot_bring_its_own_tests(data: Path) -> None:
    task = only("repobugs", data)
    cheat = {
        "tests/test_shapes.py": b"def test_module():\n    pass\n",
        "conftest.py": b"raise SystemExit(0)\n",
    }
    assert not passes(task, cheat)
    assert grade(task, {**ANSWERS["repobugs"], "tests/test_shapes.py": b"def broken(:\n"}, local).passed


def without(row: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != field}


def test_broken_rows_are_named_and_skipped(tmp_path: Path) -> None:
    write_suite(
        tmp_path,
        "humaneval",
        HUMANEVAL,
        b"{torn",
        b"",
        b"[1, 2]",
        without(HUMANEVAL, "test"),
        {**HUMANEVAL, "entry_point": 5},
        {**HUMANEVAL, "entry_point": "other"},
        {**HUMANEVAL, "prompt": "def whole_half(:"},
        HUMANEVAL,
        b'{"task_id": "\xff"}',
    )
    tasks, problems = read_suite("humaneval", tmp_path)
    assert [task.name for task in tasks] == ["HumanEval_7"]
    assert problems == [
        "humaneval.jsonl line 2: not JSON, skipped",
        "humaneval.jsonl line 4: Input should be an object, skipped",
        "humaneval.jsonl line 5: test: Field required, skipped",
        "humaneval.jsonl line 6: entry_point: Input should be a valid string, skipped",
        "humaneval.jsonl line 7: prompt: does not define other, skipped",
        "humaneval.jsonl line 8: prompt: no Python (invalid syntax), skipped",
        "humaneval.jsonl line 9: a second task HumanEval_7, skipped",
        "humaneval.jsonl line 10: not JSON, skipped",
    ]


@pytest.mark.parametrize(
    ("suite", "row", "told"),
    [
        ("mbpp", {**MBPP, "test_list": []}, "test_list: "),
        ("quixbugs", {**QUIXBUGS, "path": "../../outside.py"}, "path: "),
        ("quixbugs", {**QUIXBUGS, "files": {".git/config": "x"}}, "git's own directory"),
        ("quixbugs", {**QUIXBUGS, "test_command": "curl example.org | sh"}, "test_command: "),
        ("exercism", {**EXERCISM, "solution_path": "other.py"}, "stub: lacks other.py"),
        ("multipl_e", {**MULTIPL_E, "language": "cobol"}, "language: "),
        ("multipl_e", {**MULTIPL_E, "prompt": "x = 1\n"}, "prompt: ends in no function"),
        ("repobugs", {**REPOBUGS, "requires": ["unheard-of"]}, "no wheel is pinned for unheard-of"),
        ("repobugs", {**REPOBUGS, "test_command": ["sh", "-c", "true", "x"]}, "test_command: "),
        (
            "repobugs",
            {**REPOBUGS, "test_patch": "--- a/setup.py\n+++ b/setup.py\n@@ -9 +9 @@\n-a\n+b\n"},
            "patch",
        ),
    ],
)
def test_rows_that_no_task_can_be_made_of(suite: str, row: dict[str, Any], told: str, data: Path) -> None:
    file = write_suite(data, suite, ROWS[suite][1], row)
    tasks, (problem,) = read_suite(suite, file)
    assert len(tasks) == 1
    assert problem.startswith(f"{file.name} line 2: ")
    assert told in problem


def test_what_cannot_be_read_at_all(tmp_path: Path) -> None:
    write_suite(tmp_path, "mbpp", b"{", b"{}")
    for suite, place, told in (
        ("mbpp", tmp_path, "line 1: not JSON"),
        ("quixbugs", tmp_path, "no quixbugs.jsonl in"),
        ("quixbugs", tmp_path / "absent", "does not exist"),
        ("unknown", tmp_path, "no suite 'unknown'"),
    ):
        with pytest.raises(UsageError, match=told) as caught:
            read_suite(suite, place)
        assert caught.value.hint
    with pytest.raises(UsageError, match="no 'cobol'"):
        read_suite("multipl_e", tmp_path, languages=("cobol",))


def test_data_is_found_in_three_places(data: Path) -> None:
    file = data / ROWS["mbpp"][0]
    assert only("mbpp", data) == only("mbpp", file.parent) == only("mbpp", file)


def test_parts_divide_a_suite(tmp_path: Path) -> None:
    rows = [{**QUIXBUGS, "name": f"p{number}"} for number in range(10)]
    write_suite(tmp_path, "quixbugs", *rows)
    parts = {part: read_suite("quixbugs", tmp_path, part=part)[0] for part in ("dev", "unseen", "all")}  # type: ignore[arg-type]
    names = {part: [task.name for task in tasks] for part, tasks in parts.items()}
    assert len(names["dev"]) == 3
    assert sorted(names["dev"] + names["unseen"]) == sorted(names["all"]) == [row["name"] for row in rows]
    assert [part_of("humaneval", f"HumanEval_{n}", ()) for n in (0, 3, 8)] == ["dev", "unseen", "dev"]
    assert [part_of("mbpp", "mbpp_1", (), split) for split in ("train", "test")] == ["dev", "unseen"]
    slugs = [f"s{number}" for number in range(9)]
    assert [slug for slug in slugs if part_of("exercism", slug, slugs) == "dev"] == ["s0", "s4", "s8"]


def test_a_source_tree_comes_from_the_index_and_runs_nothing(
    tmp_path: Path, adi_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_suite(tmp_path, "repobugs", REPOBUGS)
    with serve_index({"shapes-1.0.tar.gz": SDIST}) as index:
        monkeypatch.setenv("ADI_SANDBOX__REGISTRIES", json.dumps(index.registries))
        task = only("repobugs", file)
        assert index.asked == ["/simple/shapes/", "/files/shapes-1.0.tar.gz"]
        index.files["shapes-1.0.tar.gz"] = b"changed"
        assert only("repobugs", file) == task  # from the cache
        assert len(index.asked) == 2
        kept = adi_home / "cache" / "packages" / "shapes-1.0.tar.gz"
        kept.write_bytes(b"damaged")
        with pytest.raises(HashMismatch) as other:
            read_suite("repobugs", file)
        index.files.clear()
        with pytest.raises(DownloadFailed, match=r"no shapes-1.0.tar.gz: .* answered 404") as gone:
            read_suite("repobugs", file)
    assert all(exit_code_of(error.value) == ENVIRONMENT and error.value.hint for error in (other, gone))
    assert task.files["setup.py"].startswith(b"import pathlib")
    assert not list(adi_home.rglob("ran"))


@pytest.mark.network
@pytest.mark.skipif(not BENCH, reason="ADI_BENCH names no folder with the suites")
def test_a_pinned_package_can_be_had() -> None:
    assert {"typeguard/__init__.py", "typing_extensions.py"} <= wheel_files("typeguard").keys()


@pytest.mark.skipif(not BENCH, reason="ADI_BENCH names no folder with the suites")
def test_the_published_suites_are_read_whole() -> None:
    counts = {}
    for suite in SUITES.keys() - {"repobugs"}:  # its source trees are fetched
        tasks, problems = read_suite(suite, Path(BENCH))
        assert problems == []
        counts[suite] = len(tasks)
        for task in tasks:
            secrets = [data for path, data in task.grader.files.items() if path.startswith("hidden_")]
            shown = {*task.files.values(), task.prompt.encode()}
            assert not [secret for secret in secrets if secret in shown], task.name
    assert counts == {
        "humaneval": 164, "mbpp": 427, "quixbugs": 20, "quixbugs_java": 20, "exercism": 64, "multipl_e": 1271,
    }  # fmt: skip
