"""Repositories of other languages than Python: their checks are found and run, and failures are read."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from conftest import RepoFactory
from languages import SAMPLES, Sample, image

from feedback.checks import detect, image_profile, run_check
from memory.records import CheckResult, Status
from sandbox.docker import DockerSandbox
from sandbox.workcopy import WorkCopy, snapshot

pytestmark = [pytest.mark.container, pytest.mark.languages]
SLOW = pytest.mark.slow
QUICK = ("node", "java", "make", "rust", "php")
"""Samples that `make test` runs: those that compile little."""
LIMIT_S = 120.0
"""Longest wait for one check, in seconds: compilers share this machine with other tests."""


def run(
    work: WorkCopy, profile: str, *steps: Mapping[str, str], limit_s: float = LIMIT_S
) -> Iterator[CheckResult]:
    """Results of the repository's only check, each after a step's files are written, in one container."""
    (check,) = detect(work)
    with closing(DockerSandbox(work.archive(), image=image(profile), run_id="languages")) as sandbox:
        for files in steps:
            sandbox.write({path: text.encode() for path, text in files.items()})
            yield run_check(check, sandbox, limit_s)


@SLOW
def test_an_endless_loop_in_java_is_located(make_repo: RepoFactory, tmp_path: Path) -> None:
    files = SAMPLES["java"].files
    path = "src/main/java/org/example/Adder.java"
    files[path] = files[path].replace(
        "return a + b;", "while (a == a) {\n            b++;\n        }\n        return b;"
    )
    work = WorkCopy(snapshot(make_repo(files), tmp_path / "shadow"))
    (result,) = run(work, "java", {}, limit_s=20.0)
    assert (result.passed, result.status) == (False, Status.TIMEOUT), result.output
    (failure,) = result.failures
    assert (failure.test, failure.error) == ("org.example.AdderTest.adds", "timeout")
    assert failure.frames[-1].path == path


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=SLOW) for name in SAMPLES]
)
def test_a_check_is_found_fails_and_passes(name: str, make_repo: RepoFactory, tmp_path: Path) -> None:
    """In this order, so that nothing built before can be what passes."""
    sample: Sample = SAMPLES[name]
    work = WorkCopy(snapshot(make_repo(sample.files), tmp_path / "shadow"))
    checks = detect(work)
    assert [check.name for check in checks] == [sample.check]
    assert image_profile(checks, work.paths()) == sample.profile
    bad, good = run(work, sample.profile, sample.broken, sample.files)
    assert (bad.passed, bad.status) == (False, Status.NONZERO), bad.output
    failure = bad.failures[0]
    assert failure.test == sample.test, bad.output
    assert [(frame.path, frame.line) for frame in failure.frames][-1:] == [sample.place], bad.output
    assert sample.said in failure.message, bad.output
    assert (good.passed, good.tests_passed, good.failures) == (True, sample.passed, ()), good.output
