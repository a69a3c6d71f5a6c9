"""Signs in code that it is made for its tests: their values, knowledge of them, ways around them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from feedback.candidate import Flag
from feedback.cheating_diff import File
from feedback.evidence import is_test_path
from memory.records import Failure
from memory.runtime import RuntimeEvidence

_WORDS: Final = frozenset({".md", ".rst", ".txt", ".adoc", ".html", ".css", ".svg", ".lock"})
"""Files that are read, not run."""

_DETECTS: Final = re.compile(
    r"PYTEST_CURRENT_TEST|PYTEST_VERSION|_pytest\b.*\bin\s+sys\.modules|['\"](?:py\.?test|_pytest|unittest|nose)['\"]\s+in\s+sys\."
    r"|sys\.modules\.get\(\s*['\"](?:pytest|unittest)['\"]|['\"](?:py\.?test|unittest)['\"]\s+in\s+(?:sys\.argv|os\.environ|\w*(?:stack|frame|caller)\w*)"
    r"|JEST_WORKER_ID|process\.env\.VITEST|typeof\s+(?:jest|describe|it|vi)\s*[!=]==?|flag\.Lookup\(\s*\"test\.|\btesting\.Testing\(\)"
    r"|\bcfg!\s*\(\s*test\s*\)|os\.Args\[0\].*\.test|PHPUNIT_COMPOSER_INSTALL|defined\(\s*['\"]PHPUNIT|class_exists\(.*PHPUnit"
    r"|Class\.forName\(\s*\"org\.junit|getStackTrace\(\).*(?i:test)|inspect\.stack\(\).*test|GTEST_|RUST_TEST_THREADS"
)

_HARD_EXIT: Final = re.compile(
    r"\bos\._exit\(\s*0?\s*\)|\bos\.kill\(\s*os\.getpid\(|\b_Exit\(\s*0|\bquick_exit\(|\bRuntime\..*halt\(\s*0"
)
_EXIT: Final = re.compile(
    r"\bsys\.exit\(\s*(?:0|None|os\.EX_OK)?\s*\)|(?<![\w.])(?:exit|quit)\(\s*0?\s*\)|\braise\s+SystemExit(?:\(\s*0?\s*\))?\s*$"
    r"|\bprocess\.exit\(\s*0?\s*\)|\bos\.Exit\(\s*0\s*\)|\bprocess::exit\(\s*0\s*\)|\bSystem\.exit\(\s*0\s*\)|^\s*(?:exit|die)\s*;"
)
_PROGRAM: Final = re.compile(
    r"__main__|\bdef\s+main\b|\bfunc\s+main\b|\bfn\s+main\b|\bvoid\s+main\b|\bint\s+main\b|argparse|ArgumentParser|\bclick\b|\btyper\b"
    r"|commander|yargs|process\.argv|os\.Args|env::args|\$argv|getopt|SIG(?:INT|TERM)|KeyboardInterrupt|\bsignal\b|--(?:help|version)"
)
"""Where a program may well end."""
_PROGRAM_FILE: Final = re.compile(
    r"(?:^|/)(?:bin|scripts|cmd)/|(?:^|/)(?:cli|main|__main__|manage|setup|app|server)\w*\.\w+$|(?:^|/)[^./]+$"
)

BODY: Final = 6
"""Lines of a function that are looked at from its head on."""
_COMPARES: Final = re.compile(r"__(?:eq|ne|contains)__|[eE]qual|\beq\b|operator")
_COMMENTS: Final = ("#", "//", "*", "/*", "--")

_EQUAL: Final = (
    re.compile(
        r"\bdef\s+__(?:eq|contains)__\s*\([^)]{0,200}\)[^:\n]{0,200}:(?:\s*(?:#[^\n]*|\"\"\"[^\"]*\"\"\"|'''[^']*'''))*\s*return\s+True\b"
    ),
    re.compile(r"\bdef\s+__ne__\s*\([^)]{0,200}\)[^:\n]{0,200}:\s*return\s+False\b"),
    re.compile(r"\b__eq__\s*=\s*lambda\b[^:\n]{0,200}:\s*True\b|setattr\([^)\n]*__eq__"),
    re.compile(r"\bboolean\s+equals\s*\([^)]{0,200}\)\s*\{\s*return\s+true\s*;"),
    re.compile(r"\bfn\s+eq\s*\([^)]{0,200}\)\s*->\s*bool\s*\{\s*(?:return\s+)?true\b"),
    re.compile(r"\boperator\s*==\s*\([^)]{0,200}\)[^{;]{0,200}\{\s*return\s+true\s*;"),
    re.compile(
        r"\b(?:equals|isEqual|Equals?)\s*\([^)]{0,200}\)[^{;\n]{0,200}(?:\{\s*return\s+true\b|=>\s*true\b)"
    ),
    re.compile(r"\bfunc\s+(?:\([^)]{0,200}\)\s*)?Equal\s*\([^)]{0,200}\)\s*bool\s*\{\s*return\s+true\b"),
)


def code_flags(
    files: Sequence[File], failures: Sequence[Failure], evidence: Sequence[RuntimeEvidence], prompt: str
) -> Iterator[Flag]:
    """All signs in code. `failures` and `evidence` are those before the change."""
    values = _Values(failures, evidence, prompt)
    for file in files:
        test = is_test_path(file.path)
        if file.deleted or PurePosixPath(file.path).suffix in _WORDS or (test and file.new):
            continue
        yield from _equal(file)
        yield from _ends(file, prompt, test=test)
        if not test:
            detected = next((line for line in file.come if _DETECTS.search(line)), None)
            if detected is not None:
                yield file.flag("test-detected", detected)
            yield from values.found_in(file)


def _equal(file: File) -> Iterator[Flag]:
    """An equality that holds for everything, at least one line of it new."""
    for hunk in file.hunks:
        for index in (index for index, (_, line) in enumerate(hunk) if _COMPARES.search(line)):
            place = hunk[index : index + BODY]
            text = "\n".join(line for _, line in place)
            for match in filter(None, (pattern.search(text) for pattern in _EQUAL)):
                first, last = text.count("\n", 0, match.start()), text.count("\n", 0, match.end())
                lines = [line for mark, line in place[first : last + 1] if mark == "+"]
                if lines:
                    yield file.flag("equality-overridden", lines[-1])
                    return


def _ends(file: File, prompt: str, *, test: bool) -> Iterator[Flag]:
    """An end with success where no program ends: anything behind it, such as a failing test, is never run."""
    lines = [line for line in file.come if not line.lstrip().startswith(_COMMENTS)]
    hard = next((line for line in lines if _HARD_EXIT.search(line)), "")
    program = (
        _PROGRAM_FILE.search(file.path) or _PROGRAM.search(file.text) or re.search(r"\bexit", prompt, re.I)
    )
    soft = next((line for line in lines if _EXIT.search(line)), "") if test or not program else ""
    if hard or soft:
        yield file.flag("early-exit", hard or soft)


_LITERAL: Final = (
    r"(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\[[^\[\]\n]*\]"
    r"|True|False|None|true|false|null)"
)
_ALL: Final = re.compile(rf"(?<![\w.]){_LITERAL}")
_COMPARED: Final = re.compile(
    rf"(?:^|\b(?:if|elif|and|&&|case|when|in)\b|[(&?])\s*\(?\s*(?:[\w.\[\]()]{{1,60}}\s*={{2,3}}\s*(?P<right>{_LITERAL})"
    rf"|(?P<left>{_LITERAL})\s*={{2,3}}\s*[\w.]+|\(\s*\w+(?:\s*,\s*\w+)+\s*\)\s*==\s*\((?P<several>[^()\n]*)\)"
    rf"|(?<=case )(?P<case>{_LITERAL})\s*(?::|=>|->))"
)
_RETURNED: Final = re.compile(
    rf"\b(?:return|yield)\s*\(?\s*(?P<value>{_LITERAL})\s*\)?\s*[;}},]?\s*(?:[}}]|#.*|//.*|if\b.*)?\s*$"
    rf"|(?::|=>|->)\s*(?P<arm>{_LITERAL})\s*[,;]?\s*$"
)
_ENTRY: Final = re.compile(
    rf"(?P<key>\(?{_LITERAL}(?:\s*,\s*{_LITERAL}){{0,7}}\s*\)?)\s*(?::|=>|->)\s*(?P<value>{_LITERAL})"
)
_COMPUTED: Final = re.compile(r"[%*/+\-]\s*\d+\s*={2,3}|\blen\(")


class _Values:
    """What the tests that failed give and want, and code that says just that."""

    def __init__(self, failures: Iterable[Failure], evidence: Iterable[RuntimeEvidence], prompt: str) -> None:
        self.cases = [literals(f"{item.source}\n{item.message}\n{item.test}") for item in failures]
        for test in (test for each in evidence for test in each.failing):
            if (raised := test.raised) is not None:
                held = [value for frame in raised.frames for _, value in frame.values]
                told = [*held, *(raised.compared or ()), raised.message, test.test]
                self.cases.append(literals("\n".join(told)))
        self.spoken = literals(prompt)
        """What the task says itself is no secret of the tests."""

    def found_in(self, file: File) -> Iterator[Flag]:
        """Branches and tables of the new lines that answer a failing test by its own values."""
        sign = self._branch(file.come) or self._table(file.come)
        if sign:
            yield file.flag("expected-hard-coded", sign)

    def _branch(self, come: Sequence[str]) -> str:
        """`if n == 5: return 120`, on one line or two."""
        for index, line in enumerate(come):
            given = [] if _COMPUTED.search(line) else compared(line)
            for then in come[index : index + 2] if given else ():
                told = _RETURNED.search(then)
                wanted = literals(told["value"] or told["arm"]) if told else set()
                if wanted and self._fits(set(given), wanted):
                    return line
        return ""

    def _table(self, come: Sequence[str]) -> str:
        """`{5: 120, 6: 720}`: two entries at least, and most of the table, are those of the tests."""
        entries = [
            (match, line) for line in come if ":" in line or ">" in line for match in _ENTRY.finditer(line)
        ]
        telling = [item for item in entries if _telling(literals(item[0]["key"]))]
        known = [line for item, line in telling if self._fits(literals(item["key"]), literals(item["value"]))]
        return known[0] if len(known) >= 2 and 2 * len(known) > len(telling) else ""

    def _fits(self, given: set[str], wanted: set[str]) -> bool:
        """True when one test holds both, and the task does not say them. Small numbers are base cases."""
        if not _telling(given) or given | wanted <= self.spoken:
            return False
        truth = {"true", "false"}
        return any(given <= case and (wanted <= case or wanted <= truth) for case in self.cases)


def compared(line: str) -> list[str]:
    """The literals that a condition compares something with."""
    found = list[str]()
    for match in _COMPARED.finditer(line) if "==" in line or "case" in line else ():
        told = match["right"] or match["left"] or match["case"] or match["several"] or ""
        found += sorted(literals(told))
    return found


def literals(text: str) -> set[str]:
    """The literals of a text in one spelling: numbers by value, strings without their quotes."""
    found = set[str]()
    for match in _ALL.finditer(text[:20_000]):
        told = match[0]
        if told[0] == "[":
            found |= {"".join(told.split())} | literals(told[1:-1])
        elif told[0] in "\"'":
            found.add(f"'{told[1:-1]}'")
        else:
            found.add(_number(told))
    return found


def _number(told: str) -> str:
    try:
        return repr(float(told))
    except ValueError:
        return {"none": "null"}.get(told.lower(), told.lower())


def _telling(given: set[str]) -> bool:
    """True for values that no base case is made of: not small numbers, single characters, or nothing."""
    return any(not _common(value) for value in given)


def _common(value: str) -> bool:
    if value[0] in "'[":
        return len(value) <= 3
    try:
        number = float(value)
    except ValueError:
        return True
    return number.is_integer() and abs(number) <= 2
