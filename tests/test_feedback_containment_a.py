"""A09 on the host: outputs, manifests and sources that are made to keep their reader busy, or to break it."""

import sys
import time
import tracemalloc
from collections.abc import Callable

import pytest

from agent.syntax import code_lines, functions, merged
from feedback.checks import _PARSERS
from feedback.detect import detect
from feedback.evidence import bends_tests
from feedback.parse_compiled import parse_any
from sandbox.dependencies import read as dependencies
from sandbox.manifest import Unreadable, read_ini, read_json, read_toml
from sandbox.protocol import SandboxLimits
from tools.guard import lost_names, syntax_error
from tools.runs import equal_runs

pytestmark = pytest.mark.containment

SECONDS = 2.0
"""Processor time one reader may take for all that it is given; about a second on an idle machine."""
CAP = SandboxLimits().output_bytes


def seconds(work: Callable[[], object]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def filled(unit: str, separator: str = "\n") -> str:
    """As much output as a command may have, of one thing."""
    return separator.join([unit] * (CAP // (len(unit) + len(separator)) + 1))[:CAP]


OUTPUTS = {
    "newlines": "\n" * CAP,
    "one line": "x" * CAP,
    "blanks": filled(" " * 599),
    "words": filled("a" * 599),
    "places": filled("a:1:" * 140),
    "functions": filled("a:1: in " * 75),
    "colours": filled("\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1", ""),
    "counts": filled("= " + "1 a, " * 110),
    "rules": filled("__ " + "_ " * 290),
    "python": filled('Traceback (most recent call last):\n  File "a", line 1, in x\n    y\nE: z'),
    "pytest": "= FAILURES =\n" + filled("__ a __\nE   x: y"),
    "unittest": filled("=====\nFAIL: test_a (b.c)\n-----\nTraceback (most recent call last):\nE: z"),
    "go": filled("--- FAIL: x (0.00s)\n--- FAIL: y (0.00s)\n    a.go:1: x") + "\npanic: p",
    "go panics": filled("--- FAIL: x (0.00s)\nz\npanic: p"),
    "go build": filled("a.go:1:1: x"),
    "rust": filled("---- a stdout ----\nthread 'a' panicked at a.rs:1:1:\nx"),
    "tap": filled("not ok 1\n  ---\n  error: |-\n    x"),
    "tap, nested": "\n".join(" " * (2 * n % 40) + "not ok 1 - x" for n in range(12_000)),
    "mocha": "1 failing\n" + filled("  1) a\n b"),
    "jest": filled("  ● a\n\n    x\n    > 1 | x\n      at b (c.js:1:2)"),
    "xml": filled("<a>", "") + filled("&lol;", ""),
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_feedback_a09_outputs(output: str) -> None:
    for parser in {*_PARSERS.values(), parse_any}:
        assert seconds(lambda parser=parser: parser(output, "/work")) < SECONDS, parser.__name__


class Files:
    """A repository of a few files, as detection sees it."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def paths(self) -> list[str]:
        return sorted(self.files)

    def read(self, path: str) -> bytes:
        return self.files[path]

    def exists(self, path: str) -> bool:
        return path in self.files

    def size(self, path: str) -> int:
        return len(self.files[path])


BIG = 900_000
MANIFESTS = {
    "TOML, deep": ("pyproject.toml", b"x = " + b"[" * BIG),
    "TOML, deep tables": ("pyproject.toml", b"x = " + b"{a=" * (BIG // 3)),
    "TOML, dotted key": ("pyproject.toml", b"a." * (BIG // 2) + b"a=1"),
    "TOML, dotted header": ("Cargo.toml", b"[" + b'"a" . ' * (BIG // 6) + b"a]"),
    "TOML, long number": ("pyproject.toml", b"x = " + b"9" * BIG),
    "TOML, quotes": ("pyproject.toml", b"\"'" * (BIG // 2)),
    "JSON, deep": ("package.json", b"[" * BIG),
    "JSON, deep objects": ("package.json", b'{"a":' * (BIG // 5)),
    "JSON, long number": ("package.json", b"9" * BIG),
    "JSON, other types": ("package.json", b'{"scripts": [], "jest": 1, "dependencies": 3}'),
    "ini, blanks": ("setup.cfg", b"[a]\nx" + b" " * BIG + b"y"),
    "ini, no keys": ("tox.ini", b"[a]\n" + b"=x\n" * (BIG // 3)),
    "ini, defaults": (
        "tox.ini",
        b"[DEFAULT]\n" + b"".join(b"k%d=1\n[s%d]\n" % (n, n) for n in range(40_000)),
    ),
    "make, blanks": ("Makefile", b"x" + b"\t" * BIG + b"y"),
    "make, lines": ("Makefile", b"\n" * BIG),
    "tests, blank lines": ("test_a.py", b"\n" * BIG),
    "tests, blanks": ("test_a.py", b"\n " * (BIG // 2)),
    "cmake": ("CMakeLists.txt", b"\n" * BIG + b"include" + b"\n" * 1000),
    "java": ("ATest.java", b"\n" * BIG + b"import " * 1000),
    "go": ("go.mod", b"\n" * BIG),
    "cargo": ("Cargo.toml", b"[dependencies]" + b"\n" * BIG),
    "composer": ("composer.json", b'"require":{' * (BIG // 11)),
    "requirements": ("requirements.txt", (b"a" * 3990 + b"#\n") * 200),
    "setup.py": ("setup.py", b"setup(install_requires=" + b"[" * 90_000),
    "four megabytes": ("pyproject.toml", b"#" * (4 * 1024**2)),
}


@pytest.mark.parametrize(("path", "data"), MANIFESTS.values(), ids=MANIFESTS)
def test_feedback_a09_manifests(path: str, data: bytes) -> None:
    files = Files({path: data})
    assert seconds(lambda: detect(files)) < SECONDS
    assert seconds(lambda: bends_tests(path, data, data + b"\n")) < SECONDS
    for profile in ("python", "node", "go", "rust", "php"):
        assert seconds(lambda profile=profile: dependencies(files, profile)) < SECONDS


def test_feedback_a09_a_bomb_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="more than 32 parts"):
            read_toml("a." * 100_000 + "a = 1")  # 40 GB with tomllib
        assert tracemalloc.get_traced_memory()[1] < 10 * 1024**2
    finally:
        tracemalloc.stop()


def test_feedback_a09_what_is_sound_is_read() -> None:
    dotted = ".".join(["a"] * 32)
    assert read_toml(f'{dotted} = 1\n[t]\nx = "1.2.3.4"')["t"] == {"x": "1.2.3.4"}
    assert read_json('{"a": [1]}') == {"a": [1]}
    text = "# c\n[tool:pytest]\nAddopts = -q\n  -x\n\n; c\n  -v\nflag\nk : v = w\n[DEFAULT]\na=1\n[b]\n"
    assert read_ini(text) == {
        "tool:pytest": {"addopts": "-q\n-x\n-v", "flag": "", "k": "v = w"},
        "DEFAULT": {"a": "1"},
        "b": {},
    }
    for bad in ("x = 1", "[a]\n = 1"):
        with pytest.raises(Unreadable):
            read_ini(bad)


SOURCES = {
    "brackets": "x = " + "(" * 90_000,
    "minus": "x = " + "-" * 90_000 + "1",
    "sum": "x = 1" + "+1" * 90_000,
    "short sum": "x = 1" + "+1" * 2_500,
    "attributes": "x = a" + ".a" * 1_500,
    "calls": "x = a" + "()" * 60_000,
    "lambdas": "x = " + "lambda:" * 25_000 + "1",
    "branches": "if 1:\n x=1\n" + "elif 1:\n x=1\n" * 12_000,
    "list": "x = [" + "1," * 90_000 + "]",
    "strings": "x = f'" + "{" * 50_000,
    "carriage returns": "\r" * 190_000,
    "continuations": "\\\n" * 90_000,
    "decorators": "@a\n" * 60_000 + "def f(): pass",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_feedback_a09_sources(source: str) -> None:
    depth = sys.getrecursionlimit()
    for old, new in ((source, "x = 2\n"), ("x = 2\n", source)):
        assert seconds(lambda old=old, new=new: merged("a.py", old, new)) < SECONDS
        assert seconds(lambda old=old, new=new: lost_names("a.py", old, new)) < SECONDS
    assert seconds(lambda: syntax_error("a.py", source)) < SECONDS
    assert seconds(lambda: functions("a.py", source)) < SECONDS
    assert seconds(lambda: code_lines("a.py", source)) < SECONDS
    assert sys.getrecursionlimit() == depth


TEXTS = {
    "one line, a million times": (["a", *["x"] * 10**6], ["b", *["x"] * 10**6, "c"]),
    "few lines, many times": (["a", *"xyz" * 20_000], ["b", *"zyx" * 20_000]),
    "pairs swapped": (
        [str(n) for n in range(90_000)],
        [str(n) for even in range(0, 90_000, 2) for n in (even + 1, even)],
    ),
    "turned round": ([str(n) for n in range(90_000)], [str(n) for n in range(89_999, -1, -1)]),
}


@pytest.mark.parametrize(("old", "new"), TEXTS.values(), ids=TEXTS)
def test_tools_a09_comparing(old: list[str], new: list[str]) -> None:
    began = time.process_time()
    runs = list(equal_runs(old, new))
    assert time.process_time() - began < SECONDS
    assert all(old[i : i + length] == new[j : j + length] for i, j, length in runs)
    ends = [(0, 0), *((i + length, j + length) for i, j, length in runs)]
    assert all(a <= i and b <= j for (a, b), (i, j, _) in zip(ends, runs, strict=False))


def test_tools_a09_comparing_a_large_file_is_exact_where_it_can_be() -> None:
    old = [line for n in range(5_000) for line in (f"line {n}", "")]
    new = ["first", *old[:4_000], "inserted", *old[4_002:9_000], *old[9_001:], "last"]
    same = sum(length for _, _, length in equal_runs(old, new))
    assert (len(new) - same, len(old) - same) == (3, 3)
