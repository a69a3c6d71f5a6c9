"""Which sandbox image can run a repository's checks."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from memory.records import Check

PYTHON = "python"
SHARE = 10
"""A language counts as the repository's when at least one in so many of its source files is in it."""
_KINDS = {"npm": "node", "go": "go", "cargo": "rust", "ctest": "cpp", "junit": "java", "phpunit": "php"}
_MANIFESTS = {
    "package.json": "node",
    "tsconfig.json": "node",
    "go.mod": "go",
    "Cargo.toml": "rust",
    "CMakeLists.txt": "cpp",
    "pom.xml": "java",
    "build.gradle": "java",
    "build.gradle.kts": "java",
    "composer.json": "php",
}
_WORDS = {
    PYTHON: r"python[\d.]*|ruff|mypy|tox|coverage",
    "node": r"node|npm|npx|tsc|mocha|jest|yarn|pnpm",
    "go": r"go",
    "rust": r"cargo|rustc",
    "cpp": r"cmake|ctest|gcc|g\+\+|cc|c\+\+|clang(?:\+\+)?",
    "java": r"javac?|junit|mvn|gradle",
    "php": r"php|phpunit|composer",
}
_SUFFIXES = {
    "py": PYTHON,
    **dict.fromkeys(("js", "cjs", "mjs", "jsx", "ts", "cts", "mts", "tsx"), "node"),
    "go": "go",
    "rs": "rust",
    **dict.fromkeys(("c", "cc", "cpp", "cxx", "h", "hh", "hpp"), "cpp"),
    "java": "java",
    "php": "php",
}


def image_profile(checks: Sequence[Check], paths: Sequence[str] = ()) -> str:
    """The profile of the image that runs all of these checks: sorted languages joined by `-`.

    A recognised test runner tells its language. For other commands it is the first of these that tells one:
    the programs the command names, the manifests at the root, the languages of the source files. Python is
    in every image, so it is named only where nothing else is.
    """
    languages = {_KINDS[check.kind] for check in checks if check.kind in _KINDS}
    plain = [check.command for check in checks if check.kind in ("make", "command")]
    if any(check.kind == "tap" for check in checks):
        languages |= _written(paths)
    for command in plain or ([] if checks else [""]):
        languages |= _named(command) or _manifests(paths) or _written(paths)
    return "-".join(sorted(languages - {PYTHON})) or PYTHON


def _named(command: str) -> set[str]:
    starts = r"(?:^|[\s;&|(])(?:[\w./-]*/)?"
    return {
        name for name, words in _WORDS.items() if re.search(rf"{starts}(?:{words})(?=$|[\s;&|)])", command)
    }


def _manifests(paths: Sequence[str]) -> set[str]:
    return {language for name, language in _MANIFESTS.items() if name in paths}


def _written(paths: Sequence[str]) -> set[str]:
    found = Counter(_SUFFIXES.get(PurePosixPath(path).suffix[1:].lower(), "") for path in paths)
    del found[""]
    return {language for language, number in found.items() if number * SHARE >= found.total()}
