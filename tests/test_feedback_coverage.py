"""Checks run once more and watched: lines, values, hangs, exits and forgeries, by real test runners."""

import json
from collections.abc import Iterator, Mapping
from math import sqrt
from pathlib import Path

import pytest

from feedback.coverage import JOURNAL, MAX_BYTES, observable, observe, understood
from feedback.explained import explained
from feedback.suspicion import suspiciousness
from memory.records import Check
from memory.runtime import ObservedTest, RuntimeEvidence
from sandbox.docker import DockerSandbox
from sandbox.images import recipe
from sandbox.local import LocalSandbox
from sandbox.packing import pack
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory

GCD = "def gcd(a, b):\n    if b == 0:\n        return a\n    return gcd(a % b, b)\n"
TESTS = """\
import os, threading, time
import pytest
from gcd import gcd

class Plain:
    def __init__(self):
        self.size = 3

def test_zero():
    assert gcd(3, 0) == 3

@pytest.mark.parametrize("a", [17, 4])
def test_it(a):
    gcd(a, 2)

def test_compares():
    plain, secret = Plain(), object()
    assert gcd(7, 0) == 8

@pytest.mark.skip
def test_skipped():
    pass

@pytest.mark.xfail
def test_expected():
    assert False

def test_thread():
    thread = threading.Thread(target=gcd, args=(1, 0))
    thread.start()
    thread.join()
"""
CASES = """\
import unittest
from gcd import gcd

class T(unittest.TestCase):
    def test_zero(self):
        self.assertEqual(gcd(4, 0), 4)
    def test_wrong(self):
        self.assertEqual(gcd(4, 0), 5)
    def test_deep(self):
        gcd(6, 4)
    def test_parts(self):
        for part in (0, 1):
            with self.subTest(part=part):
                self.assertEqual(part, 0)
"""
PYTEST = Check(name="pytest", command="python3 -m pytest -q test_gcd.py", kind="pytest")


def packed(files: Mapping[str, str]) -> bytes:
    return pack({path: text.encode() for path, text in files.items()})


def watched(
    files: Mapping[str, str], check: Check = PYTEST, timeout_s: float = 30.0
) -> RuntimeEvidence | None:
    """In the local sandbox, which is left as it was."""
    with LocalSandbox(packed(files)) as sandbox:
        found = observe(check, sandbox, timeout_s, list(files))
        assert sandbox.changes() == {}
        return found


def outcomes(evidence: RuntimeEvidence | None) -> dict[str, str]:
    assert evidence is not None
    return {test.test.rpartition("::")[2].rpartition(".")[2]: test.outcome for test in evidence.tests}


def named(evidence: RuntimeEvidence | None, name: str) -> ObservedTest:
    assert evidence is not None
    return next(test for test in evidence.tests if name in test.test)


def test_values_where_a_pytest_test_raised() -> None:
    evidence = watched({"gcd.py": GCD, "test_gcd.py": TESTS})
    assert outcomes(evidence) == {
        "test_zero": "passed", "test_it[17]": "failed", "test_it[4]": "failed", "test_compares": "failed",
        "test_skipped": "skipped", "test_expected": "skipped", "test_thread": "passed",
    }  # fmt: skip
    deep = named(evidence, "test_it[17]").raised
    assert deep is not None
    assert deep.error == "RecursionError"
    assert [frame.path for frame in deep.frames] == ["test_gcd.py"] + ["gcd.py"] * 7
    assert dict(deep.frames[1].values) == {"a": "17", "b": "2"}
    assert dict(deep.frames[-1].values) == {"a": "1", "b": "2"}
    compared = named(evidence, "test_compares").raised
    assert compared is not None
    assert compared.compared == ("7", "==", "8")
    assert dict(compared.frames[-1].values) == {"plain": "<Plain size=3>", "secret": "<object>"}


def test_values_where_a_test_case_raised_under_pytest() -> None:
    tests = (
        "import unittest\nfrom gcd import gcd\n\n\nclass T(unittest.TestCase):\n"
        "    def test_one(self):\n        wanted = 5\n        self.assertEqual(gcd(0, 4), wanted)\n\n"
        "    def test_two(self):\n        self.assertEqual(gcd(4, 0), 4)\n"
    )
    source = "def gcd(a, b):\n    if not a:\n        raise KeyError(b)\n    return a\n"
    evidence = watched({"gcd.py": source, "test_gcd.py": tests})
    assert outcomes(evidence) == {"test_one": "failed", "test_two": "passed"}
    raised = named(evidence, "test_one").raised
    assert raised is not None
    assert raised.error == "KeyError"
    assert [frame.path for frame in raised.frames] == ["test_gcd.py", "gcd.py"]
    assert dict(raised.frames[0].values) == {"wanted": "5"}
    assert dict(raised.frames[1].values) == {"a": "0", "b": "4"}


def test_a_test_that_never_ends_is_ended_and_the_others_run() -> None:
    hangs = "import signal, time\n\ndef test_a():\n    pass\n\n"
    hangs += (
        "def test_b():\n    signal.setitimer(signal.ITIMER_REAL, 0.1)\n"  # its share of the time, cut short
    )
    hangs += "    n = 5\n    while n:\n        time.sleep(.01)\n"
    evidence = watched({"test_gcd.py": hangs + "\ndef test_c():\n    assert 0\n"})
    assert outcomes(evidence) == {"test_a": "passed", "test_b": "hung", "test_c": "failed"}
    hung = named(evidence, "test_b").raised
    assert hung is not None
    assert hung.frames[-1].line in (9, 10)
    assert ("n", "5") in hung.frames[-1].values


def test_a_program_that_swallows_every_interrupt_still_tells_where_it_was() -> None:
    text = "import os, signal\n\ndef stay(n):\n    while n:\n        try:\n            n -= 1\n"
    text += "            os.kill(os.getpid(), signal.SIGINT)\n"
    text += "        except BaseException:\n            pass\nstay(2)\n"
    evidence = watched({"x.py": text}, Check(name="x", command="python3 x.py"))
    assert evidence is not None
    assert not evidence.complete
    (test,) = evidence.failing
    assert test.raised is not None
    last = test.raised.frames[-1]
    assert (test.outcome, last.function, last.values) == ("hung", "stay", (("n", "1"),))


def test_a_test_that_ends_the_interpreter_is_the_one_that_failed() -> None:
    text = "import os, signal\n\ndef test_a():\n    pass\n\n"
    text += "def test_b():\n    code = 0\n    {}\n\ndef test_c():\n    pass\n"
    leaves = watched({"test_gcd.py": text.format("os._exit(code)")})
    assert outcomes(leaves) == {"test_a": "passed", "test_b": "crashed"}
    last = named(leaves, "test_b").raised
    assert last is not None
    assert (last.frames[-1].line, last.frames[-1].values) == (8, (("code", "0"),))
    killed = watched({"test_gcd.py": text.format("os.kill(os.getpid(), signal.SIGKILL)")})
    assert outcomes(killed) == {"test_a": "passed", "test_b": "crashed"}


def test_a_plain_program_is_one_test_and_its_exit_code_decides() -> None:
    check = Check(name="x", command="PYTHONPATH=src python3 x.py")
    files = {"src/gcd.py": GCD, "x.py": "from gcd import gcd\nfound = gcd(4, 0)\nassert found == 5\n"}
    evidence = watched(files, check)
    assert outcomes(evidence) == {"the program": "failed"}
    raised = named(evidence, "program").raised
    assert raised is not None
    assert raised.frames[-1].values == (("found", "4"),)
    assert outcomes(watched({**files, "x.py": "import gcd\n"}, check)) == {"the program": "passed"}
    assert outcomes(watched({**files, "x.py": "raise SystemExit(3)\n"}, check)) == {"the program": "failed"}


def test_reprs_that_raise_and_an_import_that_fails_are_told_too() -> None:
    text = "class Bad:\n    def __repr__(self):\n        raise SystemExit\n\n"
    text += "def test_a():\n    bad, big = Bad(), 'x' * 10**6\n    1 / 0\n"
    raised = named(watched({"test_gcd.py": text}), "test_a").raised
    assert raised is not None
    shown = dict(raised.frames[-1].values)
    assert shown["bad"] == "<Bad>"
    assert len(shown["big"]) <= 80
    check = Check(name="p", command="python3 -m pytest", kind="pytest")
    broken = named(watched({"test_import.py": "import nothing_here\n"}, check), "test_import.py")
    assert broken.raised is not None
    assert broken.raised.error == "ModuleNotFoundError"


def test_options_of_the_repository_do_not_blind_the_watching() -> None:
    """Tests in other processes are run in this one; an option of a missing plugin is left out."""
    for options in ("-n 2", "--cov=gcd"):
        files = {"gcd.py": GCD, "test_gcd.py": TESTS, "pytest.ini": f"[pytest]\naddopts = {options}\n"}
        assert outcomes(watched(files))["test_it[4]"] == "failed"


def test_other_checks_are_not_watched() -> None:
    assert not observable(Check(name="m", command="make test", kind="make"))
    assert not observable(Check(name="m", command="./python_tests.sh"))
    assert observable(Check(name="m", command="cd x && python3.11 -m doctest x.py"))
    assert watched({}, Check(name="m", command="true")) is None


BEGIN = {"kind": "begin", "traced": True}
COVER = {"kind": "cover", "path": "a.py", "ranges": "1-3,5-5"}
END = {"kind": "end", "test": "t", "outcome": "failed", "covers": [0], "raised": None}


def journal(*facts: object) -> bytes:
    return b"".join(json.dumps(fact).encode() + b"\n" for fact in facts)


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"\xff\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        journal({**BEGIN, "more": 1}),
        journal(BEGIN),
        journal(BEGIN, {**END, "covers": [7]}),
        journal(BEGIN, COVER, {**END, "covers": [-1]}),
        journal(BEGIN, {**COVER, "ranges": "5-1"}),
        journal(BEGIN, {**COVER, "ranges": "1-4,3-5"}),
        journal(BEGIN, {**COVER, "ranges": "1-999999"}),
        journal(BEGIN, {**COVER, "ranges": "x"}),
        journal(BEGIN, COVER, {**END, "outcome": "great"}),
        journal(BEGIN, COVER, {**END, "raised": {"error": "E" * 5_000}}),
        journal(BEGIN, *({**COVER, "path": f"{n}.py", "ranges": "1-200000"} for n in range(11)), END),
    ],
)
def test_forged_journals_are_no_evidence(forged: bytes) -> None:
    sources = frozenset({"a.py", *(f"{n}.py" for n in range(11))})
    assert understood(forged, "c", sources, False, 1.0) is None


def test_a_sound_journal_is_and_its_torn_last_line_does_not_count() -> None:
    found = understood(journal(BEGIN, COVER, END) + b'{"kind": "st', "c", frozenset({"a.py"}), False, 1.0)
    assert found is not None
    assert found.covered(found.tests[0], "a.py") == {1, 2, 3, 5}
    elsewhere = understood(journal(BEGIN, COVER, END), "c", frozenset({"b.py"}), False, 1.0)
    assert elsewhere is not None
    assert elsewhere.covers == ()


SPOIL = """\
import os, shutil, signal
PLACE = {place!r}

def test_a():
    pass

def test_b():
    {act}
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ("pass", True),
        ("open(PLACE, 'w').write('{}')", False),
        (f"open(PLACE, 'ab').write(b'x' * {MAX_BYTES})", False),
        ("os.rename(PLACE, 'kept'); os.symlink('../../kept', PLACE)", False),
        ("os.remove(PLACE); os.mkfifo(PLACE)", False),
        ("shutil.rmtree(os.path.dirname(PLACE))", False),
    ],
)
def test_a_program_that_spoils_the_journal_gives_no_evidence(act: str, told: bool) -> None:
    files = {"test_gcd.py": SPOIL.format(place=JOURNAL, act=act)}
    with LocalSandbox(packed(files)) as sandbox:
        evidence = observe(PYTEST, sandbox, 60, list(files))
        assert (evidence is not None) == told


def evidence_of(*tests: tuple[str, list[str], str]) -> RuntimeEvidence:
    """From (outcome, ranges of a.py, line where it raised)."""
    facts: list[object] = [BEGIN]
    for number, (outcome, ranges, line) in enumerate(tests):
        frames = (
            [{"path": "a.py", "line": int(line), "function": "f", "values": [["x", "1"]]}] if line else []
        )
        raised = {"error": "E", "message": "", "frames": frames, "compared": None} if line else None
        facts.append({"kind": "cover", "path": "a.py", "ranges": ",".join(ranges)})
        facts.append(
            {"kind": "end", "test": f"t{number}", "outcome": outcome, "covers": [number], "raised": raised}
        )
    found = understood(journal(*facts), "c", frozenset({"a.py"}), False, 1.0)
    assert found is not None
    return found


def test_ochiai_by_hand_and_its_ties() -> None:
    found = suspiciousness(
        evidence_of(("failed", ["1-4"], "3"), ("failed", ["1-2"], ""), ("passed", ["1-1", "9-9"], ""))
    )["a.py"]
    assert {line: round(value, 5) for line, value in found.items()} == {
        1: round(2 / sqrt(2 * 3), 5), 2: 1.0, 3: round(1 / sqrt(2), 5), 4: round(1 / sqrt(2), 5),
    }  # fmt: skip
    assert found[3] > found[4]
    alone = suspiciousness(evidence_of(("hung", ["1-9"], "6")))["a.py"]
    assert sorted(alone, key=lambda line: -alone[line])[:3] == [6, 5, 7]
    assert suspiciousness(evidence_of(("passed", ["1-9"], ""))) == {}


def test_the_explanation_is_short_and_always_the_same() -> None:
    files = {"gcd.py": GCD, "test_gcd.py": TESTS}
    found, again = watched(files), watched(files)
    assert found is not None
    assert again is not None
    assert explained(found) == explained(again)
    assert "  in gcd.py line 4, gcd: a=1, b=2" in explained(found).splitlines()
    assert "  compared: 7 == 8" in explained(found).splitlines()
    assert all(len(explained(found, limit)) <= limit for limit in (0, 90, 300, 900))


@pytest.fixture(scope="module")
def box() -> Iterator[DockerSandbox]:
    """One real container for the tests that need lines."""
    files = {"gcd.py": GCD, "test_gcd.py": TESTS, "test_cases.py": CASES, ".adi/config.toml": ""}
    with DockerSandbox(packed(files), image=recipe("python").tag, run_id="coverage") as sandbox:
        yield sandbox


SOURCES = ("gcd.py", "test_gcd.py", "test_cases.py")


@pytest.mark.container
def test_lines_of_each_pytest_test_in_a_container(box: DockerSandbox) -> None:
    evidence = observe(PYTEST, box, 60, SOURCES)
    assert evidence is not None
    assert evidence.traced
    assert evidence.complete
    lines = {test.test.partition("::")[2]: evidence.covered(test, "gcd.py") for test in evidence.tests}
    assert lines["test_zero"] == lines["test_thread"] == {2, 3}
    assert lines["test_it[4]"] == {2, 4}
    found = suspiciousness(evidence)
    assert list(found) == ["gcd.py"]
    assert max(found["gcd.py"], key=lambda line: found["gcd.py"][line]) == 4
    assert box.changes() == {}
    assert box.run("ls -A .adi", timeout_s=10).output.split() == [b"config.toml", b"witness"]


@pytest.mark.container
def test_lines_of_each_unittest_test_in_a_container(box: DockerSandbox) -> None:
    check = Check(name="unittest", command="python3 -m unittest test_cases", kind="unittest")
    evidence = observe(check, box, 60, SOURCES)
    assert evidence is not None
    assert outcomes(evidence) == {
        "test_zero": "passed", "test_wrong": "failed", "test_deep": "failed", "test_parts": "failed",
    }  # fmt: skip
    assert evidence.covered(named(evidence, "test_deep"), "gcd.py") == {2, 4}
    wrong = named(evidence, "test_wrong").raised
    assert wrong is not None
    assert wrong.compared == ("4", "==", "5")
    assert box.changes() == {}


@pytest.mark.container
def test_nothing_of_the_watching_becomes_part_of_a_change(make_repo: RepoFactory, tmp_path: Path) -> None:
    """Neither what was written, nor what an interrupted run leaves; what the program writes still does."""
    text = "import os\nopen('made.txt', 'w').write('1')\nos.kill(os.getpid(), 2)\n"
    work = WorkCopy(snapshot(make_repo({"x.py": text}), tmp_path / "s"))
    image = recipe("python").tag
    with DockerSandbox(work.archive(), image=image, run_id="coverage", ignored=work.ignored) as sandbox:
        evidence = observe(Check(name="x", command="python3 x.py"), sandbox, 60, work.paths())
        assert evidence is not None
        assert not evidence.complete
        assert evidence.covered(evidence.tests[0], "x.py") == {1, 2, 3}
        assert work.absorb(sandbox.changes()) == ["made.txt"]
        assert sandbox.changes() == {}
    assert b".adi" not in work.diff()


def test_half_a_character_does_not_spoil_the_evidence() -> None:
    facts = journal(BEGIN, COVER, {**END, "raised": {"error": "ValueError", "message": "odd \ud800 text"}})
    found = understood(facts, "c", frozenset({"a.py"}), False, 1.0)
    assert found is not None
    assert [test.raised.message for test in found.failing if test.raised] == ["odd ? text"]
