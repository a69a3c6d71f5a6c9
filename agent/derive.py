"""Checks that the task's own words make: its examples, and those of the functions that wait for a body.

A person who gives an example has said what is right, so it is made a check before any model is asked.
"""

import re
import shlex
from pathlib import PurePosixPath

from agent.localize import decoded, unshown
from agent.reproduce import pytest_check
from agent.symbols import mentioned
from agent.syntax import functions
from agent.unwritten import unwritten
from feedback.evidence import is_test_path
from feedback.example_output import CHECK, tests_in_output
from feedback.examples import check_of_examples, find_examples
from memory.records import Check
from sandbox.workcopy import WorkCopy

FOLDER = ".adi_quoted"
LOADS = "loads"
"""Name of the check that files can be read by their language at all."""
_REPORT = re.compile(r"(?m)^=+ FAILURES =+$")
TARGETS = 3
"""Files that examples are looked for."""


def derived(files: WorkCopy, prompt: str) -> tuple[Check, ...]:
    """Checks of origin `examples`, with unique names; empty where the task gives no example."""
    paths = targets(files, prompt)
    words = _REPORT.split(prompt, maxsplit=1)[0]  # what a report prints is no example of a person's
    about = next((path for path in paths if _defines(files, path, words)), paths[0] if paths else "")
    found = [_told(prompt, paths)]
    found += [_examples(files, path, words if path == about else "") for path in paths]
    checks = [check for check in found if check is not None]
    named: dict[str, Check] = {}
    for check in checks:
        name = check.name if check.name not in named else f"{check.name} {len(named) + 1}"
        if all(check.files != other.files for other in named.values()):
            named[name] = check.model_copy(update={"name": name})
    return tuple(named.values())


def targets(files: WorkCopy, prompt: str) -> list[str]:
    """Source files that the task is about: named by their paths, or by what they define."""
    paths = [path for path in files.paths() if path in prompt and _is_code(path)]
    paths += [found.path for found in mentioned(files, prompt)]
    if not paths:
        paths = [path for path in files.paths() if _is_code(path) and not is_test_path(path)]
    return list(dict.fromkeys(paths))[:TARGETS]


def _is_code(path: str) -> bool:
    return bool(language_key(path))


def language_key(path: str) -> str:
    """The ending by which feedback knows a language, such as `py`; empty for other files."""
    return _KEYS.get(PurePosixPath(path).suffix, "")


_KEYS = {f".{key}": key for key in ("py", "js", "ts", "java", "cpp", "rs", "php", "go")}


def _told(prompt: str, paths: list[str]) -> Check | None:
    """The failing tests whose output the task quotes."""
    text = tests_in_output(prompt, [path for path in paths if path.endswith(".py")])
    return pytest_check(CHECK, FOLDER, text, "examples") if text else None


def _examples(files: WorkCopy, path: str, prompt: str) -> Check | None:
    """The examples of the task, and of the functions in the file that have no body yet."""
    language = language_key(path)
    text = "" if unshown(files, path) else decoded(files.read(path))
    waiting = unwritten(path, text, prompt)
    found = [*find_examples(prompt, language, entry=next(iter(waiting), ""))]
    for name in waiting:
        found += find_examples(text, language, entry=name)
    return check_of_examples(tuple(dict.fromkeys(found)), path, language)


def _defines(files: WorkCopy, path: str, words: str) -> bool:
    """True when the text calls something that the file defines."""
    text = "" if unshown(files, path) else decoded(files.read(path))
    names = {name for span in functions(path, text) for name in (span.name, span.owner) if name}
    return any(f"{name}(" in words for name in names)


def loads(files: WorkCopy, prompt: str) -> tuple[Check, ...]:
    """Where nothing else can be checked: that the files in question can be read by their language at all.

    It shows nothing of the task, so a person decides; empty where no code is in question.
    """
    paths = targets(files, prompt)
    commands = [_READS[language_key(path)].format(shlex.quote(path)) for path in paths]
    return (Check(name=LOADS, command=" && ".join(commands), origin="written"),) if commands else ()


_READS = {
    "py": "python3 -m ast {} > /dev/null",
    "js": "node --check {}",
    "ts": "tsc --noEmit --target es2020 {}",
    "java": "javac -nowarn -sourcepath . -d /tmp/loads {}",
    "cpp": "g++ -std=c++17 -fsyntax-only {}",
    "rs": "rustc --edition 2021 --crate-type lib --emit metadata -o /tmp/loads.rmeta {}",
    "php": "php -l {}",
    "go": "gofmt -e -l {}",
}
"""Commands that fail when a file is not sound; they run in the sandbox and write nothing into the tree."""
