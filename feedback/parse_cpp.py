"""Reads the output of CTest, of GoogleTest and Catch2 programs, and of C and C++ compilers."""

import re

from feedback.report import FAILURES, Report, clip, frame, innermost, lines_of
from memory.records import Failure, Frame

_RESULT = re.compile(
    r"^\s{0,8}\d{1,8}/\d{1,8} Test {1,8}#\d{1,8}: (.{1,300}?) \.{2,80}\s{0,10}"
    r"(\S.{0,80}?)\s{1,20}[\d.]{1,12} sec$"
)
_SUMMARY = re.compile(r"^\d{1,3}% tests passed, (\d{1,8}) tests? failed out of (\d{1,8})$")
_NEXT = re.compile(r"^\s{0,8}(?:Start {1,8}\d{1,8}: |\d{1,8}/\d{1,8} Test )|^\d{1,3}% tests passed")
_PLACE = re.compile(
    r"^(?:\S{1,200}: )?([\w./+-]{1,300}\.(?:c|cc|cpp|cxx|C|h|hh|hpp|hxx|ipp|inl)):(\d{1,8})(?::\d{1,8})?"
    r"(?:: (.{0,500})|)$"
)
_ASSERT = re.compile(r"Assertion [`'](.{1,300})' failed")
_RUN = re.compile(r"^\[ RUN {6}\] (\S{1,300})$")
_BAD = re.compile(r"^\[  FAILED  \] (\S{1,300}?)(?:, where .{0,200})? \(\d{1,9} ms\)$")
_GOOD = re.compile(r"^\[       OK \] \S{1,300} \(\d{1,9} ms\)$")
_FRAME = re.compile(r"^\[[- =A-Z]{10}\]|^Note: Google|^Running main")
_GTEST_END = re.compile(r"^\[={10}\] \d{1,8} tests? from \d{1,8} test (?:suite|case)s? ran\.")
_CATCH_OK = re.compile(r"^All tests passed \(\d{1,9} assertions? in (\d{1,8}) test cases?\)$")
_CATCH = re.compile(
    r"^test cases: {1,8}(\d{1,8})(?: \| {1,8}(\d{1,8}) passed)?(?: \| {1,8}(\d{1,8}) failed)?"
)
_CATCH_FAILED = re.compile(r"^(\S{1,300}):(\d{1,8}): FAILED:$")
_RULE = re.compile(r"^-{60,200}$")
_ERROR = re.compile(r"^([^\s:]{1,300}):(\d{1,8})(?::\d{1,8})?: (?:fatal )?error: (.{1,500})$")
_LINK = re.compile(
    r"^(?:\S{0,200}ld: )?\S{1,300}:(?:\d{1,8}|\(\.\S{1,80}\)): (undefined reference to .{1,300})$"
)
_CMAKE = re.compile(r"^CMake Error at (\S{1,300}):(\d{1,8}) \((.{1,100})\):$")


def parse_ctest(text: str, root: str) -> Report:
    """Counts and failures of CTest; what did not compile when it did not get that far."""
    lines = lines_of(text)
    summary = next((match for line in reversed(lines) if (match := _SUMMARY.match(line))), None)
    failed, total = (int(summary[1]), int(summary[2])) if summary else (0, 0)
    failures = _tests(lines, root) or _build(lines, root)
    passed = max(0, total - failed)
    problem = "" if passed else "no test passed"
    return Report(
        passed, max(failed, len(failures)), tuple(failures[:FAILURES]), summary is not None, problem
    )


def _tests(lines: list[str], root: str) -> list[Failure]:
    """Failed tests with what they printed, which CTest shows below the result."""
    failures = []
    for index, line in enumerate(lines):
        match = _RESULT.match(line)
        if not match or match[2] in ("Passed", "***Skipped", "***Not Run (Disabled)"):
            continue
        body: list[str] = []
        for following in lines[index + 1 : index + 200]:
            if _NEXT.match(following):
                break
            body.append(following)
        error = match[2].lstrip("*").removesuffix("***Exception:").strip().rstrip(":")
        failures.append(_failure(match[1], "timeout" if error == "Timeout" else error, body, root))
    return failures


def _failure(test: str, error: str, body: list[str], root: str) -> Failure:
    """Places and message out of what a failing test printed, GoogleTest's frame around it left out."""
    told = [line for line in body if line.strip() and not _FRAME.match(line)]
    places = [match for line in told if (match := _PLACE.match(line))]
    places = [match for match in places if match[3]] or places  # Catch2 tells before where its test begins
    start = told.index(places[0][0]) if places else 0
    message = []
    for line in told[start : start + 16]:
        match = _PLACE.match(line)
        rest = match[3] if match else line
        if rest and rest not in ("Failure", "FAILED:"):
            message.append(rest.strip())
    asserted = next((match for line in told if (match := _ASSERT.search(line))), None)
    kind = "assertion" if asserted else error
    text = clip([asserted[1]] if asserted else message)
    return Failure(test=test, error=kind, message=text, frames=innermost(_first(places, root)))


def _first(places: list[re.Match[str]], root: str) -> list[Frame | None]:
    """The place that is told first: the others belong to the next assertion, or repeat it."""
    inside = [place for match in places if (place := frame(match[1], match[2], "", root))]
    return [*inside[:1]]


def parse_gtest(text: str, root: str) -> Report:
    """Counts and failures of a GoogleTest program."""
    lines = lines_of(text)
    passed = sum(bool(_GOOD.match(line)) for line in lines)
    failures: list[Failure] = []
    body: list[str] = []
    for line in lines:
        if _RUN.match(line):
            body = []
        elif match := _BAD.match(line):
            failures.append(_failure(match[1], "failed", body, root))
        else:
            body.append(line)
    complete = any(_GTEST_END.match(line) for line in lines)
    problem = "" if passed else "no test passed"
    return Report(passed, len(failures), tuple(failures[:FAILURES]), complete, problem)


def parse_catch(text: str, root: str) -> Report:
    """Counts and failures of a Catch2 program."""
    lines = lines_of(text)
    passed = failed = 0
    complete = False
    for line in lines:
        if match := _CATCH_OK.match(line):
            passed, complete = passed + int(match[1]), True
        elif match := _CATCH.match(line):
            passed, failed = passed + int(match[2] or 0), failed + int(match[3] or 0)
            complete = True
    failures = _catch_failures(lines, root) if complete else []
    problem = "" if passed else "no test passed"
    return Report(passed, max(failed, len(failures)), tuple(failures[:FAILURES]), complete, problem)


def _catch_failures(lines: list[str], root: str) -> list[Failure]:
    """One for each test case: its name stands between two rules above its first failure."""
    failures: dict[str, Failure] = {}
    name, titled = "", False
    for index, line in enumerate(lines):
        if _RULE.match(line):
            titled = not titled
            name = lines[index + 1].strip() if titled and index + 1 < len(lines) else name
        match = _CATCH_FAILED.match(line)
        if match and name not in failures:
            body = [
                item.strip()
                for item in lines[index + 1 : index + 8]
                if item.strip() and not _RULE.match(item)
            ]
            place = frame(match[1], match[2], "", root)
            failures[name] = Failure(test=name, error="failed", message=clip(body), frames=innermost([place]))
    return list(failures.values())


def _build(lines: list[str], root: str) -> list[Failure]:
    """What compiler, linker and CMake could not do, each with its place."""
    failures = []
    for index, line in enumerate(lines):
        if match := _ERROR.match(line):
            failures.append(_at(match, match[3], root))
        elif match := _CMAKE.match(line):
            told = [item.strip() for item in lines[index + 1 : index + 8] if item.strip()]
            failures.append(_at(match, clip(told) or match[3], root))
        elif match := _LINK.match(line):
            failures.append(Failure(test="build", error="link", message=match[1]))
    return [failure for failure in failures if failure.frames or failure.error == "link"]


def _at(match: re.Match[str], message: str, root: str) -> Failure:
    place = frame(match[1], match[2], "", root)
    return Failure(test="build", error="build", message=message, frames=innermost([place]))
