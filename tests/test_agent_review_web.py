"""The review's web server: who is let in, what a page shows, and decisions that count once."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest

from agent.page_diff import diff_view
from agent.page_room import Room
from agent.review_queue import look
from agent.review_words import marked
from agent.session import Session
from memory.records import Evaluation, RunEnded, Stop, Verdict
from sandbox.errors import DockerMissing
from tests.agent_kit import BUGGY, CALC, MENDED
from tests.conftest import RepoFactory
from tests.review_kit import EDITED_LINE, Served, Visitor, edit_of, fields, left, pending, served

HOSTILE = "<script>alert(1)</script>\x1b]0;x\x07\u202egnp.exe {{ 7*7 }} \"'><img src=x onerror=alert(2)>"
INERT = "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b]0;x\\x07\\u202egnp.exe {{ 7*7 }}"


@pytest.fixture
def repo(make_repo: RepoFactory) -> Path:
    return make_repo(BUGGY)


@pytest.fixture
def site(repo: Path) -> Iterator[Served]:
    """A server with one result that waits."""
    pending(repo, "mend it")
    with served(repo) as running:
        yield running


def test_what_strangers_wrote_is_data(make_repo: RepoFactory) -> None:
    repo = make_repo({**BUGGY, "note.txt": "plain\n"})
    (run,) = pending(repo, HOSTILE)
    with served(repo) as running:
        visitor = running.visitor()
        form = fields(visitor.ask(f"/run/{run}")[1])
        raw = look(running.site.store, run).diff.replace(
            b"+    return a + b", b"+    return a + b  # " + HOSTILE.encode()
        )
        _, edit, _ = visitor.ask(f"/run/{run}/edit")
        assert visitor.ask(f"/run/{run}/edit", {**form, "text": raw.decode()})[0] == 303
        pages = [visitor.ask(path)[1] for path in ("/", f"/run/{run}", f"/run/{run}/edit")]
        pages += [visitor.ask(f"/run/{run}/reject", {**form, "mark": HOSTILE})[1], edit]
        for page in pages:
            assert "<script>alert" not in page
            assert "<img" not in page
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", page)
        assert INERT in pages[0]
        assert INERT in re.sub("</?mark>", "", pages[1])
        assert pages[1].count("hidden or reordering characters") == 1
        assert INERT in pages[2]
        status, whole, headers = visitor.ask(f"/run/{run}/diff")
        assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert "\\x1b]0;x\\x07" in whole
        # what is shown as escapes comes back as the bytes that it stands for
        shown = unescape(re.findall(r"<textarea[^>]*>\n(.*)</textarea>", pages[2], re.DOTALL)[0])
        before = look(running.site.store, run)
        text = shown.replace("return a + b", "return b + a").replace("\n", "\r\n")
        assert visitor.act(run, "edit", text=text)[0] == 303
        made = before.diff.replace(b"return a + b", b"return b + a")
        assert lines(look(running.site.store, run).diff) == lines(made)


def lines(diff: bytes) -> list[bytes]:
    """Without the hash of what the file becomes."""
    return [line for line in diff.split(b"\n") if not line.startswith(b"index ")]


def test_accept_and_reject_lead_to_the_next(make_repo: RepoFactory) -> None:
    repo = make_repo(BUGGY)
    first, second, third = pending(repo, "one", "two", "three")
    with served(repo) as running:
        visitor = running.visitor()
        listed = visitor.ask("/")[1]
        assert re.findall(r"/run/([\w-]+)\"", listed) == [third, second, first]
        page = visitor.ask(f"/run/{second}")[1]
        assert ">2 of 3<" in page
        assert f'/run/{third}" data-key="k"' in page
        assert f'/run/{first}" data-key="j"' in page
        assert 'class="l old" data-n="2">    return a <mark>-</mark> b<' in page
        assert 'class="l new" data-n="2">    return a <mark>+</mark> b<' in page
        visitor.ask(f"/run/{second}/diff")
        status, where = visitor.act(second, "reject", reason="too  clever,\nkeep it plain")
        assert (status, where) == (303, f"/{running.site.keys.room}/run/{first}?after={second}")
        assert (
            f"Run {second} was rejected: too clever, keep it plain."
            in visitor.ask(f"/run/{first}?after={second}")[1]
        )
        status, where = visitor.act(first, "accept")
        assert where.endswith(f"/run/{third}?after={first}")
        assert "its change is in your tree" in visitor.ask(f"/run/{third}?after={first}")[1]
        acted = [
            event.payload for event in running.site.store.events(second) if event.payload.kind == "user-acted"
        ]
        assert [item.action for item in acted[-2:]] == ["view-diff", "reject"]
        assert acted[-1].seconds > 0
    assert (repo / "calc.py").read_text() == MENDED
    assert left(repo) == [third]


def test_two_browsers_and_a_double_click(site: Served, repo: Path) -> None:
    one, other = site.visitor(), site.visitor()
    (run,) = left()
    form = fields(other.ask(f"/run/{run}")[1])
    assert one.act(run, "accept")[0] == 303
    events = len(site.site.store.events(run))
    for what in ("accept", "reject"):
        status, text, headers = other.ask(f"/run/{run}/{what}", form)
        assert (status, text) == (303, "")
        page = other.ask(headers["location"].partition(site.site.keys.room)[2])[1]
        assert f"run {run} was accepted: its change is in your tree; nothing more was done" in page
        assert "<form" not in page
    assert len(site.site.store.events(run)) == events
    assert (repo / "calc.py").read_text() == MENDED


def test_many_clicks_at_once_apply_once(site: Served, repo: Path) -> None:
    visitor = site.visitor()
    (run,) = left()
    form = fields(visitor.ask(f"/run/{run}")[1])
    answers: list[int] = []

    def click() -> None:
        answers.append(visitor.ask(f"/run/{run}/accept", form)[0])

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [303] * 8
    kinds = [event.payload.kind for event in site.site.store.events(run)]
    assert kinds.count("applied") == 1
    assert (repo / "calc.py").read_text() == MENDED


def test_a_conflict_is_told_and_nothing_is_lost(site: Served, repo: Path) -> None:
    visitor = site.visitor()
    (run,) = left()
    (repo / "calc.py").write_text(CALC + "# mine\n")
    status, where = visitor.act(run, "accept")
    assert (status, where) == (303, f"/{site.site.keys.room}/run/{run}")
    page = visitor.ask(f"/run/{run}")[1]
    assert "Your files changed meanwhile" in page
    assert "calc.py" in page
    assert ">Accept <" in page
    assert (repo / "calc.py").read_text() == CALC + "# mine\n"
    assert left() == [run]
    (repo / "calc.py").write_text(CALC)
    visitor.act(run, "accept")
    assert (repo / "calc.py").read_text() == MENDED


def test_an_edit_is_checked_before_it_is_accepted(site: Served, repo: Path) -> None:
    visitor = site.visitor()
    (run,) = left()
    stale = fields(visitor.ask(f"/run/{run}")[1])
    diff = look(site.site.store, run).diff
    status, page = visitor.act(run, "edit", text=diff.decode())
    assert (status, "Nothing was changed" in page) == (200, True)
    status, where = visitor.act(run, "edit", text="no diff")
    assert where.endswith(f"/run/{run}/edit")
    page = visitor.ask(f"/run/{run}/edit")[1]
    assert "The edited diff cannot be used" in page
    assert ">\nno diff</textarea>" in page
    status, where = visitor.act(run, "edit", text=edit_of(diff).decode())
    assert where.endswith(f"/run/{run}")
    page = visitor.ask(f"/run/{run}")[1]
    assert "Your edit was checked" in page
    assert "The checks pass." in page
    assert (repo / "calc.py").read_text() == CALC
    status, page, _ = visitor.ask(f"/run/{run}/accept", stale)
    assert (status, "changed since you looked at it" in page) == (409, True)
    visitor.act(run, "accept")
    assert EDITED_LINE in (repo / "calc.py").read_text()


def test_a_verdict_that_does_not_hold_wants_a_tick(site: Served, repo: Path) -> None:
    visitor = site.visitor()
    (run,) = left()
    broken = look(site.site.store, run).diff.replace(b"+    return a + b", b"+    return a * b")
    visitor.act(run, "edit", text=broken.decode())
    page = visitor.ask(f"/run/{run}")[1]
    assert "Your edit was checked, and the verdict does not hold." in page
    assert 'name="force" value="1" required' in page
    visitor.act(run, "accept")
    assert "does not hold" in visitor.ask(f"/run/{run}")[1]
    assert (repo / "calc.py").read_text() == CALC
    visitor.act(run, "accept", force="1")
    assert "a * b" in (repo / "calc.py").read_text()


def slow(gate: threading.Event) -> Callable[[Session], None]:
    """A sandbox that waits for the gate before it is there."""

    def prepare(session: Session) -> None:
        make = session.sandbox

        def waiting(progress: Callable[[str], None], profile: str):  # type: ignore[no-untyped-def]
            assert gate.wait(60)
            return make(progress, profile)

        session.sandbox = waiting

    return prepare


def test_a_long_check_shows_progress_and_blocks_no_page(repo: Path) -> None:
    first, second = pending(repo, "one", "two")
    gate = threading.Event()
    with served(repo, slow(gate), patience_s=0.1) as running:
        visitor = running.visitor()
        diff = look(running.site.store, first).diff
        try:
            assert visitor.act(first, "edit", text=edit_of(diff).decode())[0] == 303
            page = visitor.ask(f"/run/{first}")[1]
            assert "Checking the edited change in the sandbox" in page
            assert '<meta http-equiv="refresh" content="1">' in page
            assert "<form" not in page
            assert ">Accept <" in visitor.ask(f"/run/{second}")[1]
        finally:
            gate.set()
        job = running.site.jobs.last(first)
        assert job is not None
        assert job.done.wait(60)
        assert job.lines, "the check is told"
        page = visitor.ask(f"/run/{first}")[1]
        assert "Your edit was checked" in page
        assert "http-equiv" not in page


def without_docker(session: Session) -> None:
    def missing(_progress: Callable[[str], None], _profile: str) -> None:
        raise DockerMissing("no Docker engine answers", "adi doctor --fix")

    session.sandbox = missing  # type: ignore[assignment]


def test_what_fails_is_told_and_the_result_waits(repo: Path) -> None:
    (run,) = pending(repo, "mend it")
    with served(repo, without_docker) as running:
        visitor = running.visitor()
        text = edit_of(look(running.site.store, run).diff).decode()
        visitor.act(run, "edit", text=text)
        page = visitor.ask(f"/run/{run}")[1]
        assert "error: no Docker engine answers" in page
        assert "hint: adi doctor --fix" in page
        assert EDITED_LINE in visitor.ask(f"/run/{run}/edit")[1], "the edit is not lost"
        assert visitor.ask("/run/nosuchrun")[0] == 404
        assert visitor.act(run, "frobnicate")[0] == 422
        assert running.errors == []
    assert left() == [run]


def test_an_unchecked_change_is_checked_first(repo: Path) -> None:
    (run,) = pending(repo, "mend it")
    with served(repo) as running:
        store = running.site.store
        sha = store.run(run).diff_sha256
        store.append(run, Verdict(evaluation=Evaluation(detail="broken off"), diff_sha256=sha))
        store.append(run, RunEnded(stop=Stop.INTERRUPTED, exit_code=130))
        visitor = running.visitor()
        page = visitor.ask(f"/run/{run}")[1]
        assert "its change was never checked" in page
        assert ">Accept <" not in page
        visitor.act(run, "check")
        page = visitor.ask(f"/run/{run}")[1]
        assert "The change was checked and passes" in page
        assert ">Accept <" in page


def test_all_repositories(make_repo: RepoFactory, repo: Path) -> None:
    other = make_repo(BUGGY, "other")
    (here,), (there,) = pending(repo, "mend it"), pending(other, "mend that")
    with served(None) as running:
        visitor = running.visitor()
        listed = visitor.ask("/")[1]
        assert str(repo) in listed
        assert str(other) in listed
        for run in (here, there):
            visitor.act(run, "accept")
        assert "Nothing waits for a decision." in visitor.ask("/")[1]
    assert (other / "calc.py").read_text() == (repo / "calc.py").read_text() == MENDED


def test_words_are_marked_only_where_lines_are_alike() -> None:
    patch = b"diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,2 +1,3 @@\n"
    patch += b"-total = sum(a) <b>\n-one\n+total = max(a) <b>\n+quite another\n+new\n"
    view = marked(diff_view(patch, Room()))
    cells = [cell for _, cells in view.files[0].hunks[0].blocks for cell in cells]
    assert [str(cell.text.head) if cell.text else None for cell in cells] == [
        "total = <mark>sum</mark>(a) &lt;b&gt;",
        "total = <mark>max</mark>(a) &lt;b&gt;",
        "one",
        "quite another",
        None,
        "new",
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_cleanly(repo: Path, number: signal.Signals, code: int) -> None:
    (run,) = pending(repo, "mend it")
    command = [
        sys.executable,
        "-P",
        "-c",
        "from agent.cli import main; main()",
        "review",
        "--web",
        "--no-browser",
    ]
    with subprocess.Popen(
        command, cwd=repo, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        address = child.stdout.readline().strip()
        base, _, token = address.partition("/?token=")
        visitor = Visitor(base)
        visitor.enter(token)
        assert visitor.act(run, "accept")[0] == 303
        child.send_signal(number)
        assert child.wait(30) == code
        assert "Traceback" not in child.stderr.read()
    assert (repo / "calc.py").read_text() == MENDED
