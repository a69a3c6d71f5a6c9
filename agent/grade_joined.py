"""Run in the sandbox on an answer of MultiPL-E: exit code 0 when it compiles and passes the hidden tests.

The benchmark joins a completion with its tests as text. Here the answer is a whole file that an agent edited,
so the tests are put where they see the answer's function and meet none of its other names: in a block, a
module or a class of their own where the language has one. Imports of the prompt that tests need are theirs.
Only the standard library, as nothing of ADI is in the sandbox.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

COMPILE_S, RUN_S = 60, 20


def join_script(answer: str, tests: str, _imports: list[str], nonce: str) -> str:
    """JavaScript: a block for the tests; without the nonce after them the program ended too early."""
    plain = re.sub(
        r"^export\s+(default\s+)?(?=(async\s+)?function|const|let|var|class)", "", answer, flags=re.M
    )
    return f"{plain}\n{{\n{tests}\nconsole.log({nonce!r});\n}}\n"


def join_ts(answer: str, tests: str, _imports: list[str], nonce: str) -> str:
    """TypeScript: the same; a block may not declare what the surroundings have."""
    declared = [line for line in tests.splitlines() if line.startswith("declare ")]
    rest = "\n".join(line for line in tests.splitlines() if line not in declared)
    return "\n".join([answer, *declared, "{", rest, f"console.log({nonce!r});", "}", ""])


def join_php(answer: str, tests: str, _imports: list[str], nonce: str) -> str:
    """PHP: the answer may have left the mode in which text is a program."""
    closed = answer.rfind("?>") > answer.rfind("<?php")
    return f"{answer}\n{'<?php' if closed else ''}\n{tests}\necho {nonce!r}, PHP_EOL;\n"


def join_java(answer: str, tests: str, imports: list[str], _nonce: str) -> str:
    """Java: the tests' `main` in a class inside the answer's, so that it may have one itself."""
    inner = tests.strip().removeprefix("}").removesuffix("}")
    package = re.search(r"^\s*package\s[^;]*;", answer, re.M)
    at = package.end() if package else 0
    answer = "\n".join([answer[:at], *imports, answer[at:]])
    return re.sub(
        r"\bclass\s+Problem\b[^{]*\{",
        lambda found: f"{found[0]}\nstatic class HiddenTests {{\n{inner}\n}}\n",
        answer,
        count=1,
    )


def join_cpp(answer: str, tests: str, imports: list[str], _nonce: str) -> str:
    """C++: a `main` of the answer gets another name."""
    renamed = f"#define main answer_main\n{answer}\n#undef main\n"
    return "\n".join([*imports, renamed, tests.strip().removeprefix("}"), ""])


def join_rust(answer: str, tests: str, imports: list[str], _nonce: str) -> str:
    """Rust: a module for the tests; a `main` of the answer gets another name."""
    own = re.sub(r"\bfn\s+main\s*\(", "fn answer_main(", answer)
    inner = tests.strip().removeprefix("}").replace("fn main(", "pub fn main(")
    head = "\n".join(["use super::*;", *imports])
    return f"{own}\nmod hidden_tests {{\n{head}\n{inner}\n}}\nfn main() {{ hidden_tests::main() }}\n"


def join_go(answer: str, tests: str, imports: list[str], _nonce: str) -> str:
    """Go: one file has each import once, after its package."""
    blocks = re.findall(r"^import\s*(?:\(([^)]*)\)|(\"[^\"]+\"))", answer, re.M)
    known = {line.strip() for block in blocks for part in block for line in re.split(r"[\n;]", part)}
    missing = "".join(f"\nimport {name}" for name in imports if name not in known)
    head = re.sub(r"^package[ \t]+\w+", lambda found: found[0] + missing, answer, count=1, flags=re.M)
    return f"{head}\n{tests}"


LANGUAGES = {
    "js": (join_script, "joined.js", [], ["node", "joined.js"]),
    "ts": (
        join_ts,
        "joined.ts",
        ["tsc", "--target", "es2020", "--module", "commonjs", "joined.ts"],
        ["node", "joined.js"],
    ),
    "php": (join_php, "joined.php", [], ["php", "-d", "display_errors=1", "joined.php"]),
    "java": (
        join_java,
        "Problem.java",
        ["javac", "-nowarn", "-encoding", "UTF-8", "-sourcepath", ".:{tree}", "-d", ".", "Problem.java"],
        ["java", "-ea", "-cp", ".", "Problem$HiddenTests"],
    ),
    "cpp": (join_cpp, "joined.cpp", ["g++", "-std=c++17", "-O0", "-o", "joined", "joined.cpp"], ["./joined"]),
    "rs": (join_rust, "joined.rs", ["rustc", "-A", "warnings", "-o", "joined", "joined.rs"], ["./joined"]),
    "go": (join_go, "joined_test.go", ["go", "test", "-c", "-o", "joined", "joined_test.go"], ["./joined"]),
}
"""How to join, the joined file, how to compile it (`{tree}` is the graded tree) and how to run it."""
SAYS_NONCE = ("js", "ts", "php")


def main() -> int:
    here = Path(__file__).resolve().parent
    task = json.loads((here / "hidden_task.json").read_text(encoding="utf-8"))
    answer = (here / task["answer"]).read_text(encoding="utf-8")
    join, name, compiler, program = LANGUAGES[task["language"]]
    nonce = secrets.token_hex(16)
    build = Path(tempfile.mkdtemp())
    (build / name).write_text(join(answer, task["tests"], task["imports"], nonce), encoding="utf-8")
    environ = {**os.environ, "GO111MODULE": "off"}
    try:
        if compiler:
            argv = [part.replace("{tree}", str(here)) for part in compiler]
            if subprocess.run(argv, cwd=build, env=environ, timeout=COMPILE_S, check=False).returncode:
                return 1
        done = subprocess.run(
            program, cwd=build, env=environ, timeout=RUN_S, stdout=subprocess.PIPE, check=False
        )
    except subprocess.TimeoutExpired as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(done.stdout.decode("utf-8", "replace").replace(nonce, ""))
    ended = task["language"] not in SAYS_NONCE or nonce.encode() in done.stdout
    return 0 if done.returncode == 0 and ended else 1


if __name__ == "__main__":
    sys.exit(main())
