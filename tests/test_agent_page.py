"""The page of a run: what it tells, that it is well formed and loads nothing, and that it stays small."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from terminal_kit import foul, records

from agent.errors import UsageError
from agent.page import PAGES, page, policy
from agent.page_diff import DIFF_LINES, diff_view
from agent.page_room import Room, line
from agent.settings import directories
from memory.records import (
    CheckRan,
    Completed,
    Completion,
    Event,
    RunSummary,
    Searched,
    Stop,
)
from memory.store import Store
from tests.page_kit import ATTACK, HIDING, SCRIPT, Page, attacking
from tests.story_kit import PATCH, Timed, answered, did, events, gathered, result, solved, stuck
from tests.test_agent_cli_log import adi, keep


def summary(**changed: object) -> RunSummary:
    values: dict[str, object] = {
        "id": "261123-abc", "repo": "/src/maths", "prompt": "make gcd right",
        "started": "2026-11-23T03:00:00.000Z", "ended": "2026-11-23T03:01:00.000Z",
        "stop": Stop.ACCEPTED, "model": "qwen", "applied": True, "diff_sha256": "d",
        "prompt_tokens": 2400, "cached_tokens": 2000, "completion_tokens": 80, "seconds": 42.8,
    }  # fmt: skip
    return RunSummary.model_validate(values | changed)


def read(content: bytes) -> Page:
    read = Page(content)
    assert read.faults == []
    return read


def test_a_solved_run_is_told_from_task_to_lines() -> None:
    text = " ".join(read(page(summary(), solved(), PATCH)).text.split())
    order = [
        "accepted: make gcd right · ADI run 261123-abc", "make gcd right", "Done: the checks pass", "42.8 s",
        "400 new, 2,000 cached", "/src/maths", "uncommitted changes included",
        "time, as it passed 43.8 s", "candidate search", "waiting for you 28.0 s",
        "Revision 1 by the model", "Fix gcd", "Revision 2 edited by you", "Swap the arguments",
        "python3 -m pytest -q",
        "1 of 1 checks pass", "failed → passes tests/test_gcd.py::test_gcd pytest · RecursionError",
        "too deep", "compared: 7 == 2", "assert gcd(4, 6) == 2", "gcd.py:5 in gcd", "a4b6",
        "lines that it ran: gcd.py 1-3, 5",
        "gcd.py +2 −1", "def gcd(a, b):", "return gcd(a % b, b)", "rest = a % b",
        "infill52gcd.py:5gcd.py:4, gcd.py:5", "✓ Edited gcd.py:5 2 line(s) · by the search",
        "Recalled Swap the arguments of gcd because: same error signature", "Confirmed Swap",
        "You accepted the change: looks right after 20.0 s", "Applied: 1 file: gcd.py",
        "After 7 days: 1 line kept, 1 edited, 0 reverted", "0.00 s Task make gcd right",
        "searched infill gcd.py:5 · 1 answer of the model, 40 tokens written · 2 candidates run, 1 passed",
        "Verdict: 1 of 1 checks pass", "the run was ADI 0.1.0's",
    ]  # fmt: skip
    place = 0
    for part in order:
        found = text.find(part, place)
        assert found >= 0, f"{part!r} is not after {text[max(0, place - 80) : place]!r}"
        place = found
    assert "Where it went wrong" not in text


def test_an_unsolved_run_tells_where_it_went_wrong_and_what_each_action_gave() -> None:
    run = summary(stop=Stop.STUCK, applied=False, diff_sha256="")
    made = read(page(run, stuck(), b""))
    text = " ".join(made.text.split())
    assert "Stopped: the model repeated itself or wrote no valid action." in text
    assert "Where it went wrong pytest came furthest at 25.9 s" in text
    assert "A stop rule ended it: the last 3 answers of the model were no action." in text
    assert "failed → fails tests/test_gcd.py::test_gcd pytest" in text
    assert "after the change assert 3 == 2" in text
    assert "failed → passes tests/test_gcd.py::test_gcd_1" in text
    assert "✓ Edited gcd.py · by the model pytest: 2 passed, 1 failed" in text
    assert "✗ Ran pytest repeated (refused) · by the model output You have just done exactly this." in text
    assert text.count("✗ No action no tool was called · by the model what the model wrote I think that") == 3
    assert "Learned Swapping alone does not help" in text
    assert "Change" not in re.findall(r"Time and tokens .*? Where the time", text)[0]


def test_nothing_is_loaded_and_the_policy_allows_its_own_style_alone() -> None:
    content = page(summary(), solved(), PATCH)
    made = read(content)
    (style,) = made.styles
    assert made.policy == policy(style)
    assert made.policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in made.policy
    source = content.decode()
    for elsewhere in (
        "http:",
        "https:",
        "url(",
        "@import",
        "src=",
        "<script",
        "<link",
        "<iframe",
        "javascript:",
        " on",
    ):
        assert elsewhere not in source.replace(" on a clean copy", "").replace(" on the", ""), elsewhere
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert 'name="viewport"' in source


@pytest.mark.containment
@pytest.mark.parametrize("attack", [ATTACK, HIDING, ATTACK + HIDING])
@pytest.mark.parametrize("story", [solved(), stuck()])
def test_agent_k08_every_text_of_a_stranger_is_escaped_on_a_page(story: list[Event], attack: str) -> None:
    evil = attacking(story, attack)
    run = summary(prompt=f"task{attack}", model=f"qwen{attack}", repo=f"/src{attack}", diffstat=attack)
    patch = (
        PATCH + f"+{attack}\n".encode().replace(b"\r", b"") + f"diff --git a/{attack} b/{attack}\n".encode()
    )
    content = page(run, evil, patch)
    made = read(content)
    assert foul(content.decode().replace("\t", "")) == []
    plain = read(page(summary(prompt="task", model="qwen", repo="/src"), story, PATCH))
    assert made.tags.count("style") == 1
    assert {"img", "script"}.isdisjoint(made.tags)
    if attack.startswith(ATTACK):
        assert made.text.count(SCRIPT) > 60
        assert "{{7*7}}" in made.text
    if attack.endswith(HIDING):
        assert "\\x1b]52;c;eA==\\x07\\u202e\\u200b\\x00\\x0d\\x9b31m\\U000e0041" in made.text
        assert "Look closely" in made.text
    assert "Look closely" not in plain.text


@given(st.lists(records(Event), min_size=1, max_size=6), records(RunSummary), st.binary(max_size=300))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_events_make_a_page_that_is_whole(story: list[Event], run: RunSummary, noise: bytes) -> None:
    content = page(run, story, PATCH + noise)
    read(content)
    assert foul(content.decode().replace("\t", "")) == []


def long_run() -> list[Event]:
    """More than five thousand events, with long outputs and characters that grow when they are shown."""
    output = "\x1b[31m<&\"'\u202e" * 2_000
    story: list[Timed] = [*gathered()]
    for number in range(1_100):
        story += [
            (0.1, answered("act", output)),
            *did(number, "run", output=output, command=f"pytest {output[:500]}", body=output),
            (0.1, CheckRan(purpose="step", result=result(2).model_copy(update={"output": output}))),
            (
                0.1,
                Searched(
                    strategy=output[:500],
                    place=f"{output[:300]}:{number}",
                    candidates=number,
                    executed=1,
                    passed=0,
                ),
            ),
        ]
    return events(story)


def test_a_long_run_makes_a_small_page_soon() -> None:
    story = long_run()
    assert len(story) > 5_000
    patch = PATCH + b"".join(b"@@ -1,1 +1,2 @@\n a\n+%s\n" % (b"<\x1b" * 4_000) for _ in range(3_000))
    began = time.process_time()
    content = page(summary(stop=Stop.FAILED), story, patch)
    took = time.process_time() - began
    assert len(content) < 3_000_000
    assert took < 3.0
    text = read(content).text
    assert "900 actions left out" in text
    assert re.search(r"[\d,]+ entries left out", text)
    assert re.search(r"[\d,]+ lines of the change left out; adi show prints all", text)
    assert "This run is longer than a page" in text


def test_what_is_cut_says_how_much_is_missing() -> None:
    room = Room(left=1_000)
    shown = room.show("a" * 50 + "b" * 100, 30)
    assert (shown.head, shown.left_out, shown.tail) == ("a" * 20, 120, "b" * 10)
    assert room.left == 970
    assert room.show("<" * 400).head == "&lt;" * 400
    assert room.show("more").left_out == 4
    assert line("x" * 400) == "x" * 299 + "…"
    assert line("\x1b\n") == "\\x1b\\n"


def test_lines_of_a_change_have_the_numbers_of_both_sides() -> None:
    (file,) = diff_view(PATCH, Room()).files
    (hunk,) = file.hunks
    cells = [
        (cell.kind, cell.number, str(cell.text.head).strip() if cell.text else "")
        for _, block in hunk.blocks
        for cell in block
    ]
    assert cells == [
        ("same", "2", "if b == 0:"), ("copy", "2", "if b == 0:"), ("same", "3", "return a"),
        ("copy", "3", "return a"), ("same", "4", "else:"), ("copy", "4", "else:"),
        ("old", "5", "return gcd(a % b, b)"), ("new", "5", "rest = a % b"), ("none", "", ""),
        ("new", "6", "return gcd(b, rest)"),
    ]  # fmt: skip
    no_end = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n"
    ((_, block),) = diff_view(no_end, Room()).files[0].hunks[0].blocks
    assert [cell.kind for cell in block] == ["old", "new", "note"]
    long = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1,%d @@\n" % (DIFF_LINES + 7) + b"+x\n" * (
        DIFF_LINES + 7
    )
    assert diff_view(long, Room()).left_out == 7


def test_runs_without_an_end_a_plan_or_a_check_have_a_page() -> None:
    assert "It is still running." in read(page(summary(ended="", stop=None, alive=True), [], b"")).text
    cut_off = read(page(summary(ended="", stop=None), solved()[:4], b"")).text
    assert "It has no end." in cut_off
    assert "its process died" in cut_off
    undone = read(page(summary(applied=False), solved(), PATCH)).text
    assert "The change was taken back." in undone


def test_the_model_that_wrote_nothing_costs_nothing() -> None:
    free = [
        event
        for event in solved()
        if not isinstance(event.payload, Completed)
        or event.payload.completion == Completion(text="", finish_reason="stop")
    ]
    text = read(page(summary(prompt_tokens=0, cached_tokens=0, completion_tokens=0), free, PATCH)).text
    assert "tokens read 4" not in text
    assert "time, as it passed" in text


def test_the_command_writes_a_new_file_and_replaces_none_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_id = keep(tmp_path, solved(), PATCH)
    said = adi("show", run_id[:-1], "--html").output
    place = tmp_path / f"adi-run-{run_id}.html"
    assert re.fullmatch(rf"wrote adi-run-{run_id}.html \(\d+ kB\)\n", said)
    read(place.read_bytes())
    place.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        adi("show", run_id, "--html")
    assert place.read_text() == "mine"
    adi("show", run_id, "--html", "--force")
    assert "make gcd right" in read(place.read_bytes()).text
    other = tmp_path / "sub" / "x.html"
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        adi("show", run_id, "--html", str(other))
    with pytest.raises(UsageError, match="cannot be written"):
        adi("show", run_id, "--html", str(tmp_path), "--force")
    other.parent.mkdir()
    adi("show", "--html", run_id, str(other))
    assert other.read_bytes() == place.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [place.name, "sub"]


def test_a_link_that_lies_there_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder may be a stranger's repository."""
    monkeypatch.chdir(tmp_path)
    run_id = keep(tmp_path, solved(), PATCH)
    outside = tmp_path / "outside"
    link = tmp_path / f"adi-run-{run_id}.html"
    link.symlink_to(outside)
    with pytest.raises(UsageError, match="is there already"):
        adi("show", run_id, "--html")
    assert not outside.exists()
    outside.write_text("mine")
    adi("show", run_id, "--html", "--force")
    assert outside.read_text() == "mine"
    assert not link.is_symlink()


def test_the_page_goes_to_stdout_and_one_form_is_given_at_a_time(tmp_path: Path) -> None:
    run_id = keep(tmp_path, stuck())
    assert "Where it went wrong" in read(adi("show", run_id, "--html", "-").stdout_bytes).text
    for wrong in (("--html", "--json"), ("x.html",), ("--force",)):
        with pytest.raises(UsageError):
            adi("show", run_id, *wrong)
    with Store.open(directories().database) as store:
        assert store.run(run_id).id == run_id


def test_the_templates_are_part_of_the_package() -> None:
    assert {path.name for path in PAGES.iterdir()} == {"backlog.css", "backlog.html", "run.css", "run.html"}
    assert PAGES.parent.name == "agent"
