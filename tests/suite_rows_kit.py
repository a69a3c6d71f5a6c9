"""Rows in the formats of the evaluation suites, written for the tests: no benchmark's own."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HIDDEN = "HIDDEN_0b7c"
"""Stands in every field that no agent may see."""

HUMANEVAL = {
    "task_id": "HumanEval/7",
    "prompt": "from math import floor\n\n\ndef half(n):\n    return n / 2\n\n\n"
    'def whole_half(n):\n    """Half of n, rounded down.\n    >>> whole_half(5)\n    2\n    """\n',
    "entry_point": "whole_half",
    "canonical_solution": f"    return floor(half(n))  # {HIDDEN}\n",
    "test": f"def check(candidate):  # {HIDDEN}\n    assert candidate(5) == 2\n    assert half(3) == 1.5\n",
}
MBPP = {
    "task_id": 31,
    "split": "test",
    "prompt": "Write a function to greet someone, such as Zoë.",
    "entry_point": "greet",
    "code": f'def greet(name):  # {HIDDEN}\n    return f"hello {{name}}"',
    "test_imports": ["import math"],
    "test_list": ["assert greet('Zoë') == 'hello Zoë'", f"assert greet('{HIDDEN}') == 'hello {HIDDEN}'"],
}
QUIXBUGS = {
    "name": "adder",
    "language": "python",
    "path": "adder.py",
    "description": "add two numbers",
    "buggy": "def adder(a, b):\n    return a - b\n",
    "fixed": f"def adder(a, b):  # {HIDDEN}\n    return a + b\n",
    "fix_diff": HIDDEN,
    "files": {"test_adder.py": "from adder import adder\n\n\ndef test_it():\n    assert adder(2, 2) == 4\n"},
    "test_path": "test_adder.py",
    "test_command": "python -m pytest -q test_adder.py",
}
EXERCISM = {
    "slug": "two-fer",
    "difficulty": 2,
    "instructions": "# Instructions\n\nSay “one for you”.\u2028Mind the quotes.",
    "solution_path": "two_fer.py",
    "stub": {"two_fer.py": "def two_fer():\n    pass\n"},
    "reference": {"two_fer.py": f"def two_fer():  # {HIDDEN}\n    return 'one for you'\n"},
    "test_files": {
        "two_fer_test.py": f"from two_fer import two_fer\n\n\ndef test_{HIDDEN}():\n"
        "    assert two_fer() == 'one for you'\n"
    },
    "files": {},
    "test_command": "python -m pytest -q two_fer_test.py",
}
MULTIPL_E = {
    "task_id": "py/12",
    "number": 12,
    "name": "HumanEval_12_twice",
    "language": "py",
    "prompt": 'def twice(n: int) -> int:\n    """ Double n.\n    >>> twice(2)\n    4\n    """\n',
    "tests": f"def check(candidate):\n    assert candidate(2) == 4, '{HIDDEN}'\n\ncheck(twice)\n",
    "stop_tokens": ["\ndef"],
    "reference": f"    return n + n  # {HIDDEN}\n",
}

_MODULE = "def size(items):\n    return len(items) + 1\n"
_OLD_TEST = "import shapes\n\n\ndef test_module():\n    assert shapes.__name__ == 'shapes'\n"
SETUP = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nraise SystemExit('it ran')\n"
_NEW_TEST = f"""--- a/tests/test_shapes.py
+++ b/tests/test_shapes.py
@@ -4,2 +4,6 @@
 def test_module():
     assert shapes.__name__ == 'shapes'
+
+
+def test_{HIDDEN}():
+    assert shapes.size([1, 2]) == 2
"""


def sdist(files: Mapping[str, str]) -> bytes:
    """A source distribution of `shapes` 1.0."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(f"shapes-1.0/{path}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


SDIST = sdist({"src/shapes.py": _MODULE, "tests/test_shapes.py": _OLD_TEST, "setup.py": SETUP})
REPOBUGS = {
    "instance_id": "shapes-1a2b3c4",
    "title": "size counts one too many",
    "problem_statement": "`size([])` gives 1.",
    "difficulty": "easy",
    "sdist": "shapes==1.0",
    "sdist_sha256": hashlib.sha256(SDIST).hexdigest(),
    "pythonpath": "src",
    "requires": [],
    "test_command": ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_shapes.py"],
    "test_files": ["tests/test_shapes.py"],
    "test_patch": _NEW_TEST,
    "fail_to_pass": [f"tests/test_shapes.py::test_{HIDDEN}"],
    "pass_to_pass": ["tests/test_shapes.py::test_module"],
    "gold_patch": HIDDEN,
}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "humaneval": ("humaneval/humaneval.jsonl", HUMANEVAL),
    "mbpp": ("mbpp/mbpp_sanitized.jsonl", MBPP),
    "quixbugs": ("quixbugs/quixbugs.jsonl", QUIXBUGS),
    "exercism": ("exercism/exercism.jsonl", EXERCISM),
    "multipl_e": ("multipl_e/py.jsonl", MULTIPL_E),
    "repobugs": ("repobugs/instances.jsonl", REPOBUGS),
}
"""Suite to the file below the folder of all suites, and a row of it."""
ANSWERS: dict[str, dict[str, bytes]] = {
    "humaneval": {"solution.py": f"{HUMANEVAL['prompt']}{HUMANEVAL['canonical_solution']}".encode()},
    "mbpp": {"solution.py": str(MBPP["code"]).encode()},
    "quixbugs": {"adder.py": str(QUIXBUGS["fixed"]).encode()},
    "exercism": {"two_fer.py": b"def two_fer():\n    return 'one for you'\n"},
    "multipl_e": {"solution.py": f"{MULTIPL_E['prompt']}{MULTIPL_E['reference']}".encode()},
    "repobugs": {"src/shapes.py": _MODULE.replace(" + 1", "").encode()},
}
"""A right answer to each row."""


def write_suite(folder: Path, suite: str, *rows: dict[str, Any] | bytes) -> Path:
    """The suite's file below `folder`, a line for each row or text; gives the file."""
    file = folder / ROWS[suite][0]
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    file.write_bytes(b"\n".join([*lines, b""]))
    return file


def cache_sdist(home: Path) -> None:
    """Put the distribution where it is looked for before any index is asked."""
    place = home / "cache" / "packages"
    place.mkdir(parents=True)
    (place / "shapes-1.0.tar.gz").write_bytes(SDIST)
