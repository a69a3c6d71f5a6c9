"""Answers in other languages than Python are whole files: they are joined with their tests in the sandbox."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.suite_read import read_suite
from agent.suite_task import SuiteTask
from sandbox.docker import DockerSandbox
from sandbox.packing import pack
from tests.languages import image
from tests.suite_rows_kit import MULTIPL_E, write_suite

pytestmark = [pytest.mark.container, pytest.mark.languages]

PROMPTS = {
    "js": "// Double n.\nfunction twice(n){\n",
    "ts": "// Double n.\nfunction twice(n: number): number {\n",
    "java": "import java.util.*;\nimport org.javatuples.*;\nclass Problem {\n    // Double n.\n"
    "    public static Pair<Long, Long> twice(long n) {\n",
    "cpp": "#include<assert.h>\n#include<bits/stdc++.h>\n// Double n.\nlong twice(long n) {\n",
    "rs": "use std::collections::HashMap;\n\n/// Double n.\nfn twice(n: isize) -> HashMap<isize, isize> {\n",
    "go": 'package twice_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\n'
    "// Double n.\nfunc twice(n int) int {\n",
    "php": "<?php\n// Double n.\nfunction twice($n) {\n",
}
_TS_TESTS = (
    "const assert = require('node:assert');\n\nfunction test() {\n  let candidate = twice;\n"
    "  assert.deepEqual(candidate(2), 4);\n}\n\ntest();"
)
TESTS = {
    "js": _TS_TESTS,
    "ts": f"declare var require: any;\n{_TS_TESTS}",
    "java": "    }\n    public static void main(String[] args) {\n"
    "    assert(twice(2l).equals((Pair<Long, Long>)Pair.with(2l, 4l)));\n    }\n\n}\n",
    "cpp": "}\nint main() {\n    auto candidate = twice;\n    assert(candidate((2)) == (4));\n}\n",
    "rs": "}\n\nfn main() {\n    let candidate = twice;\n"
    "    assert_eq!(candidate(2), HashMap::from([(2, 4)]));\n}\n",
    "go": "func TestTwice(t *testing.T) {\n  candidate := twice\n"
    '\tif fmt.Sprintf("%v", candidate(2)) != "4" {\n\t\tt.Errorf("wrong")\n\t}\n}\n',
    "php": "function candidate(...$args) {\n    return twice(...$args);\n}\n\nfunction test(): void {\n"
    '    if (candidate(2) !== 4) { throw new Exception("Test failed!"); }\n}\n\ntest();',
}
RIGHT = {
    "js": (
        "function twice(n) { return n + n; }\nconst assert = require('assert');\nfunction test() {}\n",
        "export function twice(n) { return 2 * n; }\n",
    ),
    "ts": (
        "export function twice(n: number): number { return n + n; }\nconst test = 1;\n",
        "declare var require: any;\nconst twice = (n: number): number => 2 * n;\n",
    ),
    "java": (
        "class Helper {}\n\nclass Problem {\n    private static Pair<Long, Long> twice(long n) {\n"
        "        return new Pair<>(n, 2 * n);\n    }\n\n"
        "    public static void main(String[] args) {\n    }\n}\n"
        "class Last {}\n",
    ),
    "cpp": ("long twice(long n) { return n + n; }\n\nint main() { return 1; }\n",),
    "rs": (
        "fn twice(n: isize) -> std::collections::HashMap<isize, isize> {\n    [(n, 2 * n)].into()\n}\n\n"
        'fn main() {\n    println!("{:?}", twice(3));\n}\n',
        "use std::collections::{HashMap, HashSet};\n"
        "fn twice(n: isize) -> HashMap<isize, isize> {\n    HashMap::from([(n, n + n)])\n}\n",
    ),
    "go": (
        "package twice\n\nfunc twice(n int) int {\n\treturn n + n\n}\n",
        'package main\n\nimport (\n\t"fmt"\n\t"os"\n)\n\nfunc twice(n int) int {\n\treturn 2 * n\n}\n\n'
        "func main() {\n\tfmt.Println(os.Args)\n}\n",
    ),
    "php": ("<?php\nfunction twice($n) {\n    return $n + $n;\n}\n?>\n",),
}
WRONG = {
    "js": "function twice(n) { return n; }\nprocess.exit(0);\n",
    "ts": "function twice(n: number): string { return n; }\n",
    "java": "class Problem {\n    static Pair<Long, Long> twice(long n) {\n        return null;\n    }\n}\n",
    "cpp": "long twice(long n) { return n; }\n",
    "rs": "fn twice(n: isize) -> isize { n + n }\n",
    "go": "package twice\n\nfunc twice(n int) int {\n\treturn n\n}\n",
    "php": "<?php\nfunction twice($n) {\n    return $n;\n}\nexit(0);\n",
}


def task_of(language: str, folder: Path) -> SuiteTask:
    row: dict[str, Any] = {**MULTIPL_E, "task_id": f"{language}/12", "language": language}
    file = write_suite(folder, "multipl_e", {**row, "prompt": PROMPTS[language], "tests": TESTS[language]})
    (task,), problems = read_suite("multipl_e", file)
    assert problems == []
    return task


@pytest.mark.sample(2)
@pytest.mark.parametrize("language", PROMPTS)
def test_whole_files_are_joined_with_their_tests(language: str, tmp_path: Path) -> None:
    task = task_of(language, tmp_path)
    (path,) = task.answers
    answers = [*(text.encode() for text in RIGHT[language]), WRONG[language].encode(), task.files[path]]
    trees = [{**task.files, path: answer, **task.grader.files} for answer in answers]
    files = {f"{number}/{name}": data for number, tree in enumerate(trees) for name, data in tree.items()}
    with closing(DockerSandbox(pack(files), image=image(task.grader.image), run_id="suites")) as sandbox:
        codes = [
            sandbox.run(f"cd {number} && {task.grader.command}", timeout_s=120).exit_code
            for number in range(len(trees))
        ]
    assert [code == 0 for code in codes] == [*(True for _ in RIGHT[language]), False, False]


@pytest.mark.parametrize("language", ["java", "go", "rs", "cpp", "ts"])
def test_an_agent_can_compile_what_it_gets(language: str, tmp_path: Path) -> None:
    task = task_of(language, tmp_path)
    compilers = {
        "java": "javac -d /tmp/out Problem.java",
        "go": "GO111MODULE=off go vet solution.go",
        "rs": "rustc --crate-type lib -o /tmp/out solution.rs",
        "cpp": "g++ -c -o /tmp/out solution.cpp",
        "ts": "tsc --noEmit solution.ts",
    }
    with closing(DockerSandbox(pack(task.files), image=image(task.grader.image), run_id="suites")) as sandbox:
        done = sandbox.run(compilers[language], timeout_s=120)
    assert done.exit_code == 0, done.output.decode()
