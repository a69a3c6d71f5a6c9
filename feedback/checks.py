"""Finding a repository's checks, running one in the sandbox, and reading what it printed.

A check passes on evidence only: the command ended by itself with exit code 0, and a known test runner
reported at least one passed test. The output is untrusted: code under test can forge a report, so the
verdict (feedback/verdict.py) runs checks on a copy whose tests the agent could not edit.
"""

import shlex
from collections.abc import Callable, Mapping

from feedback.detect import check_of, checks_of, detect
from feedback.parse_compiled import parse_any, parse_cargo, parse_go
from feedback.parse_cpp import parse_catch, parse_ctest, parse_gtest
from feedback.parse_java import parse_junit
from feedback.parse_node import parse_node
from feedback.parse_php import parse_phpunit
from feedback.parse_pytest import parse_pytest
from feedback.parse_python import parse_unittest
from feedback.parse_tap import parse_tap
from feedback.profile import image_profile
from feedback.report import Report
from memory.records import Check, CheckResult, Status
from sandbox.protocol import ExecResult, Sandbox

__all__ = ["check_of", "checks_of", "cut", "detect", "execute", "image_profile", "read_output", "run_check"]

GRACE_S = 3.0
"""Seconds a check gets after SIGINT to tell where it hangs, before the sandbox kills it."""
KILL_S = 2.0
"""Seconds after SIGINT until SIGKILL, for a program that swallows it."""
OUTPUT = 64_000
"""Characters of output kept in a CheckResult, head and tail."""

_ROOT = "adi-root:"
_PARSERS: dict[str, Callable[[str, str], Report]] = {
    "pytest": parse_pytest,
    "unittest": parse_unittest,
    "npm": parse_node,
    "go": parse_go,
    "cargo": parse_cargo,
    "ctest": parse_ctest,
    "junit": parse_junit,
    "phpunit": parse_phpunit,
    "tap": parse_tap,
}
_UNNAMED = (parse_gtest, parse_catch)
"""Runners that have no command of their own: programs that `make test` may start."""
_STRICT = ("pytest", "unittest", "go", "cargo", "ctest", "junit", "phpunit", "tap")
"""Kinds whose runner always tells how many tests passed."""


def run_check(
    check: Check,
    sandbox: Sandbox,
    timeout_s: float,
    on_output: Callable[[bytes], None] | None = None,
) -> CheckResult:
    """Run one check at the root of the sandbox's copy. Raises SandboxError when the sandbox fails.

    After `timeout_s` seconds the command gets SIGINT, which makes Python runners print where they were,
    and GRACE_S later it is killed.
    """
    return _result(check, execute(check, sandbox, timeout_s, on_output), timeout_s)


def execute(
    check: Check,
    sandbox: Sandbox,
    timeout_s: float,
    on_output: Callable[[bytes], None] | None = None,
    pytest_options: str = "",
    environment: Mapping[str, str] = {},
) -> ExecResult:
    """Run a check's command as `run_check` does, and leave its output unread. Raises SandboxError."""
    ended = _run(check, sandbox, timeout_s, on_output, pytest_options, environment)
    if check.kind == "pytest" and ended.exit_code == 4 and b"unrecognized arguments" in ended.output:
        # The project's `addopts` name a plugin that the sandbox lacks, such as coverage.
        options = f"{pytest_options} -o addopts="
        ended = _run(check, sandbox, timeout_s, on_output, options, environment)
    return ended


def _run(
    check: Check,
    sandbox: Sandbox,
    timeout_s: float,
    on_output: Callable[[bytes], None] | None,
    pytest_options: str,
    environment: Mapping[str, str],
) -> ExecResult:
    listener = _without_root(on_output) if on_output else None
    if check.files:
        sandbox.write({path: text.encode("utf-8", "surrogateescape") for path, text in check.files.items()})
    command = _wrapped(check, timeout_s, pytest_options, environment)
    return sandbox.run(command, timeout_s=timeout_s + GRACE_S, on_output=listener)


def _wrapped(check: Check, timeout_s: float, pytest_options: str, added: Mapping[str, str]) -> str:
    """The check with an environment that makes its output readable, and a soft time limit.

    Test files that cannot be imported do not keep pytest from the others, which show what a change breaks.
    Bytecode is not written: two candidates of one size within one second would share a stale file. It is
    read, or every check would compile the standard library and its test runner anew (0.4 s).
    """
    dump = max(0.2, timeout_s / 4)
    options = "--tb=short -rfE --color=no -p no:cacheprovider --continue-on-collection-errors"
    options += f" -o faulthandler_timeout={dump:.1f}{pytest_options}"
    environment = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTEST_ADDOPTS": options,
        "NO_COLOR": "1",
        "RUST_BACKTRACE": "1",
        "CARGO_TERM_COLOR": "never",
    }
    if check.kind == "npm":
        environment["CI"] = "1"  # or Jest and Vitest would wait for file changes
    environment.update(added)
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    soft = f"timeout -s INT -k {KILL_S:g} {timeout_s:g}"
    return f"printf '{_ROOT}%s\\n' \"$PWD\"; export {exports}; {soft} sh -c {shlex.quote(check.command)}"


def _without_root(on_output: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The listener without the first line, which is ours."""
    waiting = [b""]

    def pass_on(chunk: bytes) -> None:
        if waiting:
            waiting[0] += chunk
            first, newline, rest = waiting[0].partition(b"\n")
            if not newline:
                return
            waiting.clear()
            chunk = rest if first.startswith(_ROOT.encode()) else first + newline + rest
        if chunk:
            on_output(chunk)

    return pass_on


def _result(check: Check, ended: ExecResult, timeout_s: float) -> CheckResult:
    text = ended.output.decode("utf-8", "backslashreplace")
    first, _, rest = text.partition("\n")
    root, text = (first.removeprefix(_ROOT).strip(), rest) if first.startswith(_ROOT) else ("", text)
    report = read_output(check, text, root)
    status = Status(ended.status)
    if status == Status.NONZERO and ended.exit_code in (124, 137) and ended.duration_s >= timeout_s:
        status = Status.TIMEOUT
    clean = status == Status.OK and ended.exit_code == 0
    refusal = _refusal(check, report) if clean else ""
    if refusal:
        text = f"{text.rstrip()}\n[not counted as passed: {refusal}]\n"
    elif check.kind == "pytest" and ended.exit_code == 5:
        text = f"{text.rstrip()}\n[no tests were collected: the check proves nothing]\n"
    return CheckResult(
        check=check.name,
        status=status,
        exit_code=None if status == Status.TIMEOUT else ended.exit_code,
        passed=clean and not refusal,
        tests_passed=report.passed,
        tests_failed=report.failed,
        failures=() if clean and not refusal else report.failures,
        output=cut(text, OUTPUT),
        detail=ended.detail,
        duration_s=ended.duration_s,
        cpu_s=ended.used.cpu_s,
        peak_bytes=ended.used.peak_bytes,
    )


def _refusal(check: Check, report: Report) -> str:
    """Why exit code 0 does not count; empty when it does."""
    if check.kind in _STRICT:
        return report.problem
    if check.kind == "npm" and report.complete:
        return report.problem
    return ""


def read_output(check: Check, text: str, root: str) -> Report:
    """Parse by the check's kind; a plain command is tried with every parser that finds a summary."""
    if parser := _PARSERS.get(check.kind):
        report = parser(text, root)
        return report if report.complete or report.failures else _fallback(report, text, root)
    reports = [parser(text, root) for parser in (*_PARSERS.values(), *_UNNAMED)]
    known = [report for report in reports if report.complete]
    return max(known, key=lambda report: (report.failed, report.passed)) if known else parse_any(text, root)


def _fallback(report: Report, text: str, root: str) -> Report:
    other = parse_any(text, root)
    return Report(report.passed, other.failed, other.failures, False, report.problem)


def cut(text: str, limit: int) -> str:
    """The text with its middle left out when it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 5
    tail = max(0, limit - head - 40)
    return f"{text[:head]}\n[… {len(text) - head - tail} characters left out …]\n{text[len(text) - tail :]}"
