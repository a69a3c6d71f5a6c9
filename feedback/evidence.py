"""Which files the proof of a change rests on: tests, what configures them and linters, what could bend them.

Names and contents are compared as text; nothing is run. A change of these is not forbidden: it is named,
left out of the verdict's copy, and a person decides.
"""

import posixpath
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from feedback.detect import sections
from feedback.evidence_languages import cmake, composer, source_bends
from sandbox.manifest import Unreadable, read_json, read_toml

_TEST_FOLDERS = frozenset({"test", "tests", "__tests__", "spec", "specs", "testdata", "__snapshots__"})
_TEST_FILE = re.compile(
    r"test_.*\.(?:py|c|cc|cpp|cxx)|.*_test\.py|tests?\.py|conftest\.py|.*_test\.go|.*_spec\.rb"
    r"|(?:test|test-.*|.*[._-](?:test|spec))\.[cm]?[jt]sx?|.*(?:Tests?|TestCase|IT)\.(?:java|kt|cs)|.*Test\.php"
    r"|.*[_-](?:unit)?tests?\.(?:cc|cpp|cxx|c|rs|exs)|.*Tests?\.(?:cc|cpp|cxx)",
    re.DOTALL,
)
_CONFIGURATION = re.compile(
    r"\.?pytest\.ini|conftest\.py|sitecustomize\.py|usercustomize\.py|.*\.pth|noxfile\.py|\.npmrc|\.mocharc.*"
    r"|(?:jest|vitest|vite|babel|karma|playwright|cypress)\.config\..*|\.babelrc.*|go\.work|build\.rs"
    r"|\.env|.*\.py[co]|.*\.(?:so|pyd|jar|class)|phpunit(?:\.dist)?\.xml(?:\.dist)?|tsconfig(?:\..*)?\.json"
    r"|CTest\w*\.cmake|junit-platform\.properties",
    re.DOTALL,
)
_LINTERS = re.compile(
    r"\.?(?:ruff|mypy|pylint|pyright|pyrightconfig|rustfmt|clippy)(?:\.(?:toml|ini|json))|\.?pylintrc(?:\.toml)?"
    r"|\.flake8|\.isort\.cfg|\.bandit|\.pydocstyle|\.pycodestyle|\.yamllint.*|\.coveragerc"
    r"|\.eslintrc.*|\.eslintignore|\.prettierrc.*|\.prettierignore|\.stylelintrc.*|\.jshintrc|\.xo-config.*"
    r"|(?:eslint|prettier|stylelint|xo)\.config\..*|biome\.jsonc?|tslint\.json|\.golangci\.(?:ya?ml|toml|json)"
    r"|phpstan.*\.neon(?:\.dist)?|psalm\.xml(?:\.dist)?|phpcs\.xml(?:\.dist)?|\.php-cs-fixer(?:\.dist)?\.php"
    r"|checkstyle.*\.xml|pmd.*\.xml|\.clang-tidy|\.clang-format|\.rubocop.*\.yml",
    re.DOTALL,
)
"""Configuration of linters and type checkers: where one of them is a check, it is its grader."""
_METADATA = re.compile(r".*\.(?:egg-info|dist-info)", re.DOTALL)
_RUNNERS = frozenset({"pytest", "_pytest", "py", "pluggy", "unittest", "hypothesis", "nose", "coverage"})
_MAKEFILES = frozenset({"Makefile", "makefile", "GNUmakefile"})


def is_test_path(path: str) -> bool:
    """True for test files and for everything inside a folder of tests, its data included."""
    place = PurePosixPath(path)
    return any(part.lower() in _TEST_FOLDERS for part in place.parts[:-1]) or bool(
        _TEST_FILE.fullmatch(place.name)
    )


def bends_tests(path: str, before: bytes | None, after: bytes | None) -> bool:
    """True when changing this file from `before` to `after` (None: no file) changes how tests run."""
    place = PurePosixPath(path)
    configures = _CONFIGURATION.fullmatch(place.name) or _LINTERS.fullmatch(place.name)
    if configures or any(_METADATA.fullmatch(part) for part in place.parts):
        return True
    if ".cargo" in place.parts[:-1]:
        return True
    if place.name in _MAKEFILES and before is None:
        return len(place.parts) == 1  # GNU make prefers some names over others
    part = _CARRIERS.get(place.name)
    if part is None:
        return source_bends(path, _text(before), _text(after))
    return part(_text(before)) != part(_text(after))


def shadows(path: str, existing: Collection[str]) -> bool:
    """True when a new Python module would be imported in place of another one.

    Looks at folders that are usually on the import path (the root, `src`, `lib`, folders of tests), for
    the names of standard modules, of test runners, and of existing modules of the root or of `src`.
    """
    place = PurePosixPath(path)
    package = place.name == "__init__.py"
    folder = str(place.parent.parent if package else place.parent)
    name = place.parent.name if package else place.stem
    importable = folder in (".", "src", "lib") or is_test_path(path)
    if place.suffix != ".py" or not name or not importable or f"{folder}/__init__.py" in existing:
        return False
    if name in sys.stdlib_module_names or name in _RUNNERS:
        return name not in ("test", "tests")
    rivals = [f"{root}{name}{tail}" for root in ("", "src/") for tail in (".py", "/__init__.py")]
    return any(rival in existing and rival != path for rival in rivals)


def started_by(commands: Iterable[str], paths: Collection[str]) -> set[str]:
    """Those of the paths that the commands start as scripts of a shell, or as programs without a suffix.

    They grade the change; a file with code in it may as well be what is to be mended.
    """
    words = {posixpath.normpath(word) for command in commands for word in _WORDS.split(command) if word}
    return {path for path in paths if path in words and PurePosixPath(path).suffix in _SCRIPTS}


def named_by(commands: Iterable[str], paths: Collection[str]) -> set[str]:
    """Those of the paths that the commands name as tests, whatever they are called.

    Files given to pytest; for `unittest discover` what its folder (`-s`) and pattern (`-p`) choose.
    """
    found = set[str]()
    for command in commands:
        words = command.split()
        bare = [word.strip("'\"") for word in words]
        if "--doctest-modules" in bare:
            continue  # there the code holds its tests
        if any(word in ("pytest", "py.test") for word in bare):
            found |= {posixpath.normpath(word.partition("::")[0]) for word in bare} & {*paths}
        elif "unittest" in bare and "discover" in bare:
            start = posixpath.normpath(_option(bare, "-s", "--start-directory") or ".")
            pattern = _option(bare, "-p", "--pattern") or "test*.py"
            below = [path for path in paths if start == "." or path.startswith(f"{start}/")]
            found |= {path for path in below if fnmatchcase(posixpath.basename(path), pattern)}
    return {path for path in found if PurePosixPath(path).suffix == ".py"}


def _option(words: Sequence[str], short: str, long: str) -> str:
    """The value of an option of a command, as its own word or behind `=`; empty without it."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word in (short, long):
            return after
        if word.startswith(f"{long}="):
            return word.partition("=")[2]
    return ""


_WORDS = re.compile(r"[\s;&|()<>'\"=]+")
_SCRIPTS = frozenset({"", ".sh", ".bash", ".zsh", ".bats"})


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "backslashreplace")


def _toml(text: str) -> Mapping[str, object]:
    try:
        return read_toml(text)
    except Unreadable:
        return {"unreadable": text}


_TOOLS = (
    *("pytest", "tox", "nox", "hatch", "coverage", "pdm", "poe"),
    *(
        "ruff",
        "mypy",
        "pylint",
        "flake8",
        "pyright",
        "basedpyright",
        "black",
        "isort",
        "bandit",
        "pydocstyle",
    ),
)
"""Tables of pyproject.toml that say how a repository is checked."""


def _pyproject(text: str) -> object:
    data = _toml(text)
    tools = data.get("tool")
    chosen = tools if isinstance(tools, dict) else {}
    return [data.get("unreadable"), *(chosen.get(name) for name in _TOOLS)]


_SECTIONS = re.compile(
    r"(?:tool:)?pytest|testenv|tox|unittest|aliases|flake8|mypy|pylint|isort|pycodestyle|pydocstyle|pep8|bandit|coverage"
)
"""Beginnings of the like in setup.cfg and tox.ini."""


def _ini(text: str) -> object:
    found = sections(text)
    readable = found or not text.strip()
    kept = {name: found[name] for name in found if re.match(_SECTIONS, name)}
    return kept if readable else text


_LINTED = ("eslintConfig", "eslintIgnore", "prettier", "stylelint", "xo", "standard", "lint-staged")
"""Keys of package.json that configure linters."""


def _package(text: str) -> object:
    try:
        data = read_json(text or "{}")
    except Unreadable:
        return text
    keys = ("scripts", "jest", "mocha", "vitest", "ava", "tap", "nyc", "babel", "type", *_LINTED)
    return [data.get(key) for key in keys] if isinstance(data, dict) else text


def _makefile(text: str) -> object:
    """The test target, with everything that any rule or variable of the file could lend it."""
    return re.sub(r"(?m)^#.*\n?|(?<![ \t])[ \t]+$", "", text)


def _cargo(text: str) -> object:
    data = _toml(text)
    library = data.get("lib")
    return [data.get(key) for key in ("unreadable", "test", "profile", "patch")] + [
        library.get(key) if isinstance(library, dict) else None for key in ("test", "doctest", "harness")
    ]


_CARRIERS: dict[str, Callable[[str], object]] = {
    "pyproject.toml": _pyproject,
    "setup.cfg": _ini,
    "tox.ini": _ini,
    "package.json": _package,
    "Cargo.toml": _cargo,
    "CMakeLists.txt": cmake,
    "composer.json": composer,
    **dict.fromkeys(_MAKEFILES, _makefile),
}
"""Files that hold test configuration among other things, and how to read that part."""
