"""How source and build files of compiled languages, PHP and CMake can bend the tests of a repository."""

import json
import re
from pathlib import PurePosixPath

_RUNNER = {
    ".java": re.compile(r"\bpackage\s+(?:org\.junit|junit|org\.hamcrest|org\.opentest4j)\b"),
    ".php": re.compile(r"\bnamespace\s+(?:PHPUnit|SebastianBergmann)\b", re.I),
}
"""A file in a package of the test runner takes the place of the runner's own.

Not anchored at the line: `^\\s*` would try each of many blank lines from each of them."""
_TEST_MAIN = re.compile(r"^func TestMain\(", re.M)
_RUST_TESTS = re.compile(r"^[ \t]*#\[cfg\(test\)\]", re.M)
_RUST_SWITCH = re.compile(
    r"#!?\[\s*(?:ignore|cfg|cfg_attr|should_panic)\b|/\*|\breturn\b|\bmacro_rules!|\bexit\("
)
_SOURCES = re.compile(r"\b(?:add_library|target_sources)\s*\([^()]*\)", re.I)
_COMMENT = re.compile(r"(?m)#.*$|\s+")


def source_bends(path: str, before: str, after: str) -> bool:
    """True when a source file takes over how tests run, or a test inside it is changed or switched off."""
    place = PurePosixPath(path)
    runner = _RUNNER.get(place.suffix)
    if runner is not None:
        return bool(runner.search(after)) and not runner.search(before)
    if place.name.endswith("_test.go"):
        return bool(_TEST_MAIN.search(after)) and not _TEST_MAIN.search(before)
    return place.suffix == ".rs" and _rust_bends(before, after)


def _rust_bends(before: str, after: str) -> bool:
    """Tests beside the code may get lines, but none of theirs may go, and no new one switches others off."""
    old, new = _rust_tests(before), iter(_rust_tests(after))
    added: list[str] = []
    for line in old:
        for other in new:
            if other == line:
                break
            added.append(other)
        else:
            return True
    return bool(old) and any(_RUST_SWITCH.search(line) for line in [*added, *new])


def _rust_tests(text: str) -> list[str]:
    """The lines from the first `#[cfg(test)]` on, where such tests stand."""
    found = _RUST_TESTS.search(text)
    return [line.strip() for line in text[found.start() :].splitlines() if line.strip()] if found else []


def cmake(text: str) -> object:
    """All but comments and the lists of a library's sources, which grow with the code."""
    return _COMMENT.sub(" ", _SOURCES.sub("", text)).split()


def composer(text: str) -> object:
    """What of composer.json runs code, or decides which code the tests load."""
    try:
        data = json.loads(text or "{}")
    except json.JSONDecodeError:
        return text
    if not isinstance(data, dict):
        return text
    loaded = data.get("autoload")
    files = loaded.get("files") if isinstance(loaded, dict) else None
    return [files, *(data.get(key) for key in ("autoload-dev", "scripts", "config", "repositories"))]
