"""Which checks a repository has, told from its files; nothing of it is run or imported."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

from feedback.detect_compiled import (
    detect_cargo,
    detect_ctest,
    detect_go,
    detect_junit,
    detect_make,
    detect_phpunit,
)
from feedback.detect_node import detect_node, detect_types
from feedback.files import Files, text_of
from memory.records import Check
from sandbox.manifest import Unreadable, read_ini, read_toml

_TEST_FILES = 200
_SRC = r"src/\w+(?:\.py|/__init__\.py)"
_TEST_NAME = r"test_\w*\.py|\w*_test\.py"
Kind = Literal["pytest", "unittest", "npm", "go", "cargo", "ctest", "junit", "phpunit", "make", "command"]
_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"\b(?:py\.test|pytest)\b", "pytest"),
    (r"\bunittest\b", "unittest"),
    (r"\bgo test\b", "go"),
    (r"\bcargo (?:\S+ )?(?:test|t)\b", "cargo"),
    (r"\b(?:npm|yarn|pnpm|npx|mocha|jest|vitest|tsc)\b|\bnode\b.* --test\b", "npm"),
    (r"^make\b", "make"),
    (r"\bctest\b", "ctest"),
    (
        r"(?:^|[;&|\s])junit(?:$|[;&|\s])|\bmvnw?\b.* (?:test|verify)\b|\b(?:JUnitCore|ConsoleLauncher)\b",
        "junit",
    ),
    (r"\bphpunit\b", "phpunit"),
)


def detect(files: Files) -> tuple[Check, ...]:
    """The repository's checks, most specific first; empty when there are none.

    `make test` is offered only where no test runner is recognised: it would run the same tests again.
    """
    paths = files.paths()
    found = (
        _python(files, paths),
        detect_node(files, paths),
        detect_go(paths),
        detect_cargo(paths),
        detect_ctest(files, paths),
        detect_junit(files, paths),
        detect_phpunit(paths),
    )
    last = next(filter(None, (detect_make(files, paths), detect_types(paths))), None)
    return tuple(check for check in found if check) or ((last,) if last else ())


def check_of(command: str, name: str = "") -> Check:
    """A check from a command that the user gave; its kind is guessed from its words."""
    kind = next((kind for pattern, kind in _KINDS if re.search(pattern, command)), "command")
    return Check(name=name or command.strip()[:60], command=command.strip(), kind=kind, origin="given")


def checks_of(commands: Sequence[str]) -> tuple[Check, ...]:
    """Checks from several commands, with unique names."""
    checks: list[Check] = []
    for command in commands:
        check = check_of(command)
        taken = sum(other.name == check.name for other in checks)
        checks.append(check.model_copy(update={"name": f"{check.name} ({taken + 1})"}) if taken else check)
    return tuple(checks)


def _python(files: Files, paths: Sequence[str]) -> Check | None:
    names = [PurePosixPath(path).name for path in paths]
    # Packages below `src` are tested as installed (packaging.python.org, "src layout vs flat layout"), and
    # nothing of the repository is installed here.
    found = "PYTHONPATH=src " if any(re.fullmatch(_SRC, path) for path in paths) else ""
    pytest = Check(name="pytest", command=f"{found}python3 -m pytest -q", kind="pytest")
    if configured(files) or "conftest.py" in names:
        return pytest
    tests = [path for path, name in zip(paths, names, strict=True) if re.fullmatch(_TEST_NAME, name)]
    texts = [text_of(files, path) for path in tests[:_TEST_FILES]]
    if not texts:
        return None
    cases = any(re.search(r"^[ \t]*(?:import|from) unittest\b", text, re.M) for text in texts)
    plain = any(
        re.search(r"^(?:async )?def test_|^[ \t]*(?:import|from) pytest\b", text, re.M) for text in texts
    )
    if plain or not cases:
        return pytest
    return Check(name="unittest", command=f"{found}{_unittest(tests, paths)}", kind="unittest")


def _unittest(tests: Sequence[str], paths: Sequence[str]) -> str:
    """The discovery that finds these files; a folder without `__init__.py` must be named."""
    base = "python3 -m unittest discover"
    if not any(PurePosixPath(path).name.startswith("test") for path in tests):
        base += " -p '*_test.py'"
    folders = {path.split("/")[0] for path in tests if "/" in path}
    if len(folders) != 1 or any("/" not in path for path in tests):
        return base
    folder = folders.pop()
    package = f"{folder}/__init__.py" in paths
    return base if package else f"{base} -s {folder}" if re.fullmatch(r"[\w.-]+", folder) else base


def configured(files: Files) -> bool:
    """Whether the repository carries pytest configuration."""
    if files.exists("pytest.ini") or files.exists(".pytest.ini"):
        return True
    try:
        tools = read_toml(text_of(files, "pyproject.toml")).get("tool", {})
    except Unreadable:
        tools = {}
    if isinstance(tools, dict) and "pytest" in tools:
        return True
    carriers = {"tox.ini": "pytest", "setup.cfg": "tool:pytest"}
    return any(section in sections(text_of(files, path)) for path, section in carriers.items())


def sections(text: str) -> dict[str, dict[str, str]]:
    """Sections of an ini file; empty when it is no ini file."""
    try:
        return read_ini(text)
    except Unreadable:
        return {}
