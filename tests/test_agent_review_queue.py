"""Decisions on what waits: each counts once, for what was looked at, and one that fails changes nothing."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.person import Decision
from agent.review_queue import CHECK as JUDGE
from agent.review_queue import Decided, Held, Moved, NotProven, decide, look
from agent.review_text import editable, restored
from agent.session import Session
from agent.settings import directories
from memory.errors import NotFound
from memory.records import Evaluation, RunEnded, Stop, Verdict
from memory.store import Store
from sandbox.errors import DockerMissing
from tests.agent_kit import BUGGY, CALC
from tests.conftest import RepoFactory
from tests.review_kit import EDITED_LINE, deciding, edit_of, left, pending


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(directories().database) as opened:
        yield opened


def settled(repo: Path, run: str, decision: Decision, *, force: bool = False) -> Stop:
    with Store.open(directories().database) as store, deciding() as sessions:
        return decide(sessions.of(str(repo)), look(store, run), decision, force=force).outcome.stop


def test_whoever_comes_second_is_told(make_repo: RepoFactory, store: Store) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    seen = look(store, run)
    assert settled(repo, run, Decision("reject", reason="no")) is Stop.REJECTED
    count = len(store.events(run))
    with deciding() as sessions, pytest.raises(Decided, match="was rejected: no; nothing more was done"):
        decide(sessions.of(str(repo)), seen, Decision("accept"))
    assert len(store.events(run)) == count
    assert (repo / "calc.py").read_text() == CALC


def test_an_edit_is_checked_and_waits_again(make_repo: RepoFactory, store: Store) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    seen = look(store, run)
    assert settled(repo, run, Decision("edit", patch=edit_of(seen.diff))) is Stop.PENDING
    now = look(store, run)
    assert now.evaluation.accepted
    assert EDITED_LINE.encode() in now.diff
    with deciding() as sessions:
        with pytest.raises(Moved, match="changed since you looked"):
            decide(sessions.of(str(repo)), seen, Decision("accept"))
        assert decide(sessions.of(str(repo)), now, Decision("accept")).outcome.stop is Stop.ACCEPTED
    assert EDITED_LINE in (repo / "calc.py").read_text()


def test_another_process_that_decides_is_not_disturbed(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    claims = (
        "import sys; from agent.settings import directories; from memory.store import Store\n"
        "store = Store.open(directories().database); store.claim_repo(f'review:{sys.argv[1]}', sys.argv[1])\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", claims, run]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Held, match=f"being decided on by process {other.pid}"):
            settled(repo, run, Decision("accept"))
        other.kill()
    assert settled(repo, run, Decision("accept")) is Stop.ACCEPTED  # its claim died with it


def without_docker(session: Session) -> None:
    def missing(_progress: Callable[[str], None], _profile: str) -> None:
        raise DockerMissing("no Docker engine answers", "adi doctor --fix")

    session.sandbox = missing  # type: ignore[assignment]


def test_a_check_that_cannot_run_leaves_the_result_waiting(make_repo: RepoFactory, store: Store) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    seen = look(store, run)
    with deciding(prepare=without_docker) as sessions, pytest.raises(DockerMissing):
        decide(sessions.of(str(repo)), seen, Decision("edit", patch=edit_of(seen.diff)))
    assert left(repo) == [run]
    ended = store.events(run)[-1].payload
    assert isinstance(ended, RunEnded)
    assert "no Docker engine answers" in ended.detail
    assert look(store, run).diff == seen.diff
    assert settled(repo, run, Decision("accept")) is Stop.ACCEPTED


def broken_off(repo: Path, store: Store) -> str:
    """A run that was interrupted with a change in its hands."""
    (run,) = pending(repo, "mend it")
    seen = look(store, run)
    verdict = Verdict(evaluation=Evaluation(detail="broken off"), diff_sha256=seen.summary.diff_sha256)
    store.append(run, verdict)
    store.append(run, RunEnded(stop=Stop.INTERRUPTED, exit_code=130))
    return run


def test_a_change_that_was_never_checked_is_checked_first(make_repo: RepoFactory, store: Store) -> None:
    repo = make_repo(BUGGY)
    run = broken_off(repo, store)
    assert not look(store, run).judged
    with pytest.raises(NotProven, match="never checked"):
        settled(repo, run, Decision("accept"), force=True)
    assert settled(repo, run, JUDGE) is Stop.PENDING
    assert look(store, run).evaluation.accepted
    assert settled(repo, run, Decision("accept")) is Stop.ACCEPTED


def test_a_run_that_still_works_and_one_without_a_change(make_repo: RepoFactory, store: Store) -> None:
    repo = make_repo(BUGGY)
    (run,) = pending(repo, "mend it")
    seen = look(store, run)
    working = store.start_run(seen.events[0].payload.task)  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no change to decide on"):
        look(store, working)
    store.append(working, Verdict(evaluation=seen.evaluation, diff_sha256=seen.summary.diff_sha256))
    with pytest.raises(UsageError, match="still running"):
        settled(repo, working, Decision("accept"))
    with pytest.raises(NotFound):
        look(store, "nosuchrun")


@pytest.mark.parametrize(
    "diff",
    [
        b"--- a/f\n+++ b/f\n@@ -1 +1 @@\n-old\r\n+new\r\n",
        b"+caf\xe9 and \xff\x00\n",
        "+tab\there \x1b[2J \u202e caf\u00e9 e\u0301\n".encode(),
        ("+z" + "\u0301" * 9 + "\n").encode(),
        b"+literal \\x1b stays\n",
        b"",
    ],
)
def test_a_diff_survives_a_form(diff: bytes) -> None:
    shown = editable(diff)
    assert all(c in "\n\t" or c.isprintable() or c == "\u0301" for c in shown)
    assert restored(shown.replace("\n", "\r\n"), diff) == diff


def test_what_is_typed_into_a_form_is_taken_as_it_is() -> None:
    diff = b"-old\r\n+new\r\n"
    assert editable(diff) == "-old\\x0d\n+new\\x0d\n"
    assert restored("-old\\x0d\r\n+newer\\x0d \\x1b\r\n", diff) == b"-old\r\n+newer\r \\x1b\n"
    for ambiguous in (b"+a\r\n+b \\x0d\n", b"+x" * 300_000):
        with pytest.raises(UsageError, match="diff"):
            editable(ambiguous)
