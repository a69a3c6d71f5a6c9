"""How the tests are run here, where the command that every repository of its kind has runs none.

The commands come from the repository's own files: what its documents show, its CI runs, its Makefile and tox
configuration hold. Each is a plain call of a test runner; it counts only when tests really ran, so that a
command that always succeeds proves nothing. They run in the sandbox, as the tests themselves do.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from agent.derive import LOADS
from agent.run import Run
from feedback.checks import check_of
from feedback.files import text_of
from memory.records import Check, CheckResult, Failure
from sandbox.workcopy import WorkCopy

TRIED: Final = 8
"""Commands that are tried."""
CHOICES: Final = 3
"""Values of one variable that are tried."""
TEXT: Final = 60_000
"""Characters read of one file."""
_NAMES: Final = re.compile(
    r"(?:README|CONTRIBUTING|HACKING|DEVELOP\w*|TESTING|AGENTS|CLAUDE)(?:\.\w+)?\Z|Makefile\Z|makefile\Z|tox\.ini\Z"
    r"|setup\.cfg\Z|justfile\Z|noxfile\.py\Z|\.env[.\w-]*\Z|\.travis\.yml\Z|\.gitlab-ci\.yml\Z",
    re.I,
)
_WORKFLOW: Final = re.compile(
    r"\.github/workflows/[^/]+\.ya?ml\Z|docs?/[^/]*(?:test|develop|contribut)[^/]*\Z", re.I
)
_ASSIGNED: Final = r"(?:[A-Za-z_][A-Za-z0-9_]*=[\w./:@,+-]*[ \t]+)"
_RUNNER: Final = (
    r"(?:(?:poetry|pipenv|uv|hatch|pdm) run )?(?:python3?(?: -[BIsW] ?\w*)* -m )?"
    r"(?:pytest|py\.test|unittest|nose2|tox|make|go test|cargo test|npm test|npm run|npx|node --test|ctest"
    r"|phpunit|vendor/bin/phpunit|mvn|\./mvnw)"
)
_COMMAND: Final = re.compile(
    rf"(?P<command>{_ASSIGNED}*{_RUNNER}(?:[ \t]+[\w./:=@,+*'\"\[\]-]+)*)[ \t]*(?:#.*|`.*)?$"
)
_LEAD: Final = re.compile(
    r"^(?:[\s$>*-]|\d+\.|@|run:|script:|commands?\s*=|`|#\s*(?=\w+=))*\s*(?:export\s+)?"
)
_VARIABLE: Final = re.compile(
    r"(?<![\w$])(?P<name>[A-Z][A-Z0-9_]{1,40})(?:=|: )[\"']?(?P<value>[\w./:@,+-]+)"
)
_NAMED: Final = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]{1,40}\b")
_SETTING: Final = re.compile(r"KeyError: '(?P<key>[A-Z][A-Z0-9_]{1,40})'")
_QUOTED: Final = re.compile(r"([\"'])(?P<word>[\w.-]+)\1")
_BROKEN: Final = frozenset({"ImportError", "ModuleNotFoundError", "fixture", "collection"})
_TESTS: Final = re.compile(r"\b(?:tests?|check|pytest|unittest|py\.test|nose2)\b")


def discover(run: Run) -> None:
    """Where a check that ADI chose ran no test, take the first command of the repository's own that does."""
    for result in run.baseline:
        check = run.named(result.check)
        detected = check.origin == "found" and check.kind != "command"
        if check.name != LOADS and (not detected or result.passed or ran_tests(result)):
            continue
        if _found(run, check, result):
            return


def _found(run: Run, check: Check, result: CheckResult) -> bool:
    """Try what the repository's files hold; True when one of it runs tests, and stands for the check now."""
    told = _texts(run.files)
    waiting, tried = [*commands(told, check, result)], set[str]()
    while waiting and len(tried) < TRIED:
        command = waiting.pop(0)
        tried.add(command)
        name = "tests" if check.name == LOADS else check.name
        known = check_of(command, name).model_copy(update={"origin": "found"})
        found = run.check(known, "gather")
        if ran_tests(found):
            run.replace_check(check, known, found)
            return True
        waiting[:0] = [more for more in with_settings(command, found.output, told) if more not in tried]
    return False


def ran_tests(result: CheckResult) -> bool:
    """True when a test ran to an end of its own: not stopped by an import, a fixture or a missing setting."""
    if result.tests_passed:
        return True
    settings = {match["key"] for item in result.failures if (match := _SETTING.search(_told(item)))}
    everywhere = len(settings) == 1 and all(_SETTING.search(_told(item)) for item in result.failures)
    return not everywhere and any(_begun(item) for item in result.failures)


def _begun(failure: Failure) -> bool:
    """False for what fails before any test: a file that cannot be imported, a runner that cannot start."""
    unstarted = (
        failure.test == "pytest start" or failure.test.endswith(".py") or "_FailedTest" in failure.test
    )
    return not unstarted and failure.error not in _BROKEN


def _told(failure: Failure) -> str:
    return f"{failure.error}: {failure.message}"


def commands(texts: Sequence[str], check: Check, result: CheckResult) -> Iterator[str]:
    """Commands that the texts hold and that are worth a try, most promising first, each once."""
    found = [command for text in texts for line in text.splitlines() if (command := _command(line))]
    # The same runner as the detected one proves the same kind of thing; `make test` may be anything.
    same = [command for command in found if check_of(command).kind == check.kind != "command"]
    rest = [command for command in found if command not in same and _TESTS.search(command)]
    own = [] if check.name == LOADS else with_settings(check.command, result.output, texts)
    yield from dict.fromkeys(each for each in (*own, *same, *rest) if each != check.command)


def with_settings(command: str, output: str, texts: Sequence[str]) -> list[str]:
    """The command with the variables whose absence its output tells, best first; none where it tells of none.

    Values are those that the texts give. Else they are those that the line beside the error allows, such as
    `{"eu": 0}[os.environ["REGION"]]`, each tried by itself. Some programs want only that there is one: 1.
    """
    asked = [match["key"] for match in _SETTING.finditer(output)]
    named = [match[0] for match in _NAMED.finditer(output)]
    values = {match["name"]: match["value"] for text in texts for match in _VARIABLE.finditer(text)}
    for name in asked:
        if name not in values and (said := _said_of(name, texts)):
            values[name] = said
    wanted = [name for name in dict.fromkeys([*asked, *named]) if name in values or name in asked]
    new = [name for name in wanted if f"{name}=" not in command]
    if not new:
        return []
    free = next((name for name in new if name not in values), "")
    choices = (_allowed(free, output) or ["1"]) if free else [""]
    return [
        " ".join([*(f"{name}={choice if name == free else values.get(name, '1')}" for name in new), command])
        for choice in choices
    ]


def _said_of(name: str, texts: Sequence[str]) -> str:
    """The value that a sentence gives a variable, such as "set `REGION` to `eu`"; empty where none does."""
    sentence = re.compile(rf"\b{name}\b[`'\"]?[ ,:(]+(?:\w+ ){{0,3}}?[`'\"](?P<value>[\w./:@+-]+)[`'\"]")
    return next((match["value"] for text in texts if (match := sentence.search(text))), "")


def _allowed(name: str, output: str) -> list[str]:
    """Words in quotes on the lines of the output that hold the name: keys, members, choices."""
    lines = [line for line in output.splitlines() if name in line and "KeyError" not in line]
    words = [match["word"] for line in lines for match in _QUOTED.finditer(line)]
    return list(dict.fromkeys(word for word in words if word != name))[:CHOICES]


def _texts(files: WorkCopy) -> list[str]:
    return [text_of(files, path)[:TEXT] for path in _places(files)]


def _places(files: WorkCopy) -> list[str]:
    """Files that may tell, those at the root first."""
    paths = [
        path for path in files.paths() if _NAMES.match(PurePosixPath(path).name) or _WORKFLOW.search(path)
    ]
    return sorted(paths, key=lambda path: (path.count("/"), path))[:20]


def _command(line: str) -> str:
    """The call of a test runner on a line, without prompt signs; empty for anything more than that."""
    inner = re.search(r"`([^`]+)`", line)
    text = _LEAD.sub("", inner[1] if inner else line).strip()
    match = _COMMAND.match(text)
    if match is None or not _TESTS.search(match["command"]):
        return ""
    return re.sub(r"^(?:poetry|pipenv|uv|hatch|pdm) run ", "", match["command"].strip()).replace(
        "python -m", "python3 -m"
    )
