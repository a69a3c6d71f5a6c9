"""What came of a backlog: JSON, JUnit, SWE-bench's forms, the page, comments, and the exit code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import JUnitXml

from agent.backlog_comment import PostFailed, comment_text, marker_of, post
from agent.backlog_item import Bad, Item
from agent.backlog_junit import junit
from agent.backlog_page import local_link, page
from agent.backlog_results import (
    STATES,
    Checked,
    Head,
    Result,
    State,
    buckets,
    exit_code,
    file_name,
    predictions,
    put,
    report,
    write_all,
)
from agent.errors import UsageError
from agent.page import policy
from tests.backlog_kit import fake_gh
from tests.page_kit import ATTACK, HIDING, Page

PATCH = b"--- a/till.py\n+++ b/till.py\n@@ -1 +1 @@\n-a\n+b\n"


def result(key: str = "shop/till#1", state: State = "solved", **changed: Any) -> Result:
    solved = state == "solved"
    values: dict[str, Any] = {
        "key": key, "title": f"Title of {key}", "state": state, "project": "shop/till",
        "run_id": "261123-abc",
        "url": "https://github.com/shop/till/issues/1", "attempts": 1, "seconds": 12.5, "tokens": 800,
        "patch": PATCH if solved else None, "branch": "adi/till-1" if solved else "",
        "checks_passed": 2 if solved else 1, "checks_failed": 0 if solved else 1,
        "diffstat": " till.py | 2 +-" if solved else "", "detail": "", "page": "runs/261123-abc.html",
    }  # fmt: skip
    return Result(**values | changed)


def one_of_each() -> list[Result]:
    return [result(f"k{at}", state, detail=f"ended {state}") for at, state in enumerate(STATES)]


@pytest.mark.parametrize(
    ("states", "head", "code"),
    [
        (["solved", "solved"], {}, 0),
        (["solved", "unsolved"], {}, 3),
        (["solved", "cancelled"], {}, 3),
        (["solved", "superseded"], {}, 3),
        ([], {}, 3),
        (["solved"], {"waiting": 1}, 3),
        (["solved"], {"bad": (Bad(where="row 2", why="is not JSON"),)}, 3),
        (["solved", "unsolved", "needs-human"], {}, 4),
        (["needs-human"], {"budget_spent": "time", "waiting": 3}, 5),
        (["needs-human", "infra-error"], {"budget_spent": "time"}, 6),
        (["solved", "parked"], {}, 6),
        (["solved"], {"environment_missing": "Docker does not answer"}, 6),
    ],
)
def test_the_exit_code_tells_what_a_person_must_see_to(
    states: list[State], head: dict[str, Any], code: int
) -> None:
    results = [result(f"k{at}", state) for at, state in enumerate(states)]
    assert exit_code(results, Head(**head)) == code


@pytest.mark.parametrize(
    "changed",
    [
        {"checks_passed": 0},
        {"checks_failed": 1},
        {"patch": None, "branch": ""},
        {"patch": b"", "branch": ""},
        {"checks": (Checked(name="pytest", passed=False),)},
    ],
)
def test_solved_without_evidence_is_unsolved_everywhere(changed: dict[str, Any]) -> None:
    hollow = [result("k", **changed)]
    assert exit_code(hollow, Head()) == 3
    assert json.loads(report(hollow, Head()))["items"][0]["state"] == "unsolved"
    assert json.loads(buckets(hollow, Head()))["resolved_ids"] == []
    assert JUnitXml.fromstring(junit(hollow, Head())).failures == 1
    assert "0 of 1 solved" in Page(page(hollow, Head())).text
    assert "did not solve it" in comment_text(hollow[0])
    assert exit_code([result("k")], Head()) == 0


def test_an_edited_issue_counts_by_its_newest_revision() -> None:
    both = [result("k", "superseded"), result("k")]
    assert exit_code(both, Head()) == 0
    assert json.loads(buckets(both, Head()))["incomplete_ids"] == []


def test_the_report_has_totals_and_no_patch_in_it() -> None:
    head = Head(name="n", model="m", waiting=2, bad=(Bad(where="f, row 2", why="w"),))
    told = json.loads(report(one_of_each(), head))
    assert (told["type"], told["schema_version"], told["complete"]) == ("backlog-report", 1, False)
    assert told["exit_code"] == 6
    assert told["totals"] == {
        "items": 7, "waiting": 2, "bad_rows": 1, "states": dict.fromkeys(STATES, 1), "attempts": 7,
        "seconds": 87.5, "tokens": 5600,
    }  # fmt: skip
    solved = told["items"][-1]
    assert (solved["accepted"], solved["patch_bytes"], len(solved["patch_sha256"])) == (True, len(PATCH), 64)
    assert "patch" not in solved
    assert report([result(title=HIDING)], head).isascii()


def test_junit_has_a_case_for_each_item() -> None:
    head = Head(name="nightly", waiting=2, bad=(Bad(where="f, row 2", why="is not JSON"),))
    xml = JUnitXml.fromstring(junit(one_of_each(), head))
    assert (xml.tests, xml.failures, xml.errors, xml.skipped) == (9, 2, 3, 3)
    [suite] = xml
    found = {case.name: [type(entry).__name__ for entry in case.result] for case in suite}
    assert found == {
        "k0: Title of k0": ["Error"], "k1: Title of k1": ["Error"], "k2: Title of k2": ["Failure"],
        "k3: Title of k3": ["Failure"], "k4: Title of k4": ["Skipped"], "k5: Title of k5": ["Skipped"],
        "k6: Title of k6": [], "f, row 2": ["Error"], "2 waiting": ["Skipped"],
    }  # fmt: skip
    case = next(iter(suite))
    assert (case.classname, case.time) == ("shop/till", 12.5)
    assert case.result[0].message == "ended infra-error"
    assert "run: 261123-abc" in case.system_out


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(), max_size=40))
def test_any_text_is_legal_xml_and_json_and_html(text: str) -> None:
    foul = [result("k" + text, "unsolved", title=text, detail=text, branch=text, project=text, page=text)]
    head = Head(name=text, started=text, bad=(Bad(where=text, why=text),))
    xml = JUnitXml.fromstring(junit(foul, head))
    assert xml.tests == 2
    json.loads(report(foul, head))
    told = [json.loads(line) for line in predictions(foul, text).splitlines()]
    assert told[0]["instance_id"] == "k" + text
    assert "/" not in file_name(text)
    assert file_name(text) not in ("", ".", "..")
    comment_text(foul[0])


def test_predictions_and_buckets_are_those_of_swebench() -> None:
    results = [*one_of_each(), result("k7", "unsolved", patch=PATCH), result("k8", patch=b"\xff\n")]
    preds = [json.loads(line) for line in predictions(results, "qwen").splitlines()]
    assert [(row["instance_id"], row["model_name_or_path"], bool(row["model_patch"])) for row in preds] == [
        ("k2", "qwen", False), ("k3", "qwen", False), ("k6", "qwen", True), ("k7", "qwen", True),
        ("k8", "qwen", True),
    ]  # fmt: skip
    assert preds[2]["model_patch"] == PATCH.decode()
    told = json.loads(buckets(results, Head(waiting=1)))
    assert told["schema_version"] == 2
    assert told["total_instances"] == 10
    assert {name: ids for name, ids in told.items() if name.endswith("_ids")} == {
        "completed_ids": ["k6", "k7", "k8"], "incomplete_ids": ["k4", "k5"], "empty_patch_ids": ["k2", "k3"],
        "submitted_ids": ["k2", "k3", "k6", "k7", "k8"], "resolved_ids": ["k6", "k8"],
        "unresolved_ids": ["k7"], "infra_failure_ids": ["k0"], "ambiguous_failure_ids": ["k1"],
        "error_ids": ["k0", "k1"],
    }  # fmt: skip
    assert told["failure_reasons"] == {"k0": "ended infra-error", "k1": "ended parked"}


class Linked(Page):
    """A page that may lead elsewhere; where to is noted."""

    @property
    def links(self) -> list[str]:
        return [fault.removeprefix("leads elsewhere: ") for fault in self.faults if "leads" in fault]

    @property
    def wrong(self) -> list[str]:
        return [fault for fault in self.faults if "leads" not in fault]


def test_the_page_has_failures_first_and_links_to_runs() -> None:
    read = Linked(page([*reversed(one_of_each())], Head(name="nightly", source="issues.json", waiting=2)))
    assert read.wrong == []
    assert read.policy == policy(read.styles[0])
    assert "script" not in read.tags
    order = [read.text.index(f"Title of k{at}") for at in range(7)]
    assert order == sorted(order)
    assert read.links[:2] == ["https://github.com/shop/till/issues/1", "./runs/261123-abc.html"]
    text = " ".join(read.text.split())
    assert "1 of 7 solved The environment failed. exit code 6" in text
    assert Linked(page([], Head())).wrong == []


def test_texts_of_strangers_are_inert_on_the_page() -> None:
    foul = ATTACK + HIDING
    bad = Bad(where=foul, why=foul)
    attacked = result(
        foul, "unsolved", title=foul, detail=foul, branch=foul, run_id=foul, url="javascript:alert(1)",
        page="javascript:alert(1)",
    )  # fmt: skip
    read = Linked(page([attacked], Head(name=foul, source=foul, model=foul, bad=(bad,))))
    assert read.wrong == []
    assert read.links == ["./javascript%3Aalert%281%29"]
    assert not set("\x1b\u202e\u200b\x00\x9b") & set(read.text)
    for leads_out in ("/etc/passwd", "../x", "a/../../x", "a\\b", ""):
        assert local_link(leads_out) == ""


def test_a_comment_says_what_was_done_and_how_to_apply_it() -> None:
    checks = (Checked(name="pytest", command="python3 -m pytest -q", passed=True, tests_passed=3),)
    text = comment_text(result(checks=checks, detail="2 of 2 checks pass."))
    assert text.splitlines()[0] == marker_of("shop/till#1", "261123-abc")
    for part in (
        "the checks below pass", "till.py | 2 +-", "Checks: 2 passed, 0 failed.",
        "- `python3 -m pytest -q` passes, 3 of 3 tests", "on the branch `adi/till-1`",
        "git apply --3way adi.patch", "```diff\n--- a/till.py", "Run `261123-abc`, 1 attempt, 12 s.",
    ):  # fmt: skip
        assert part in text
    large = comment_text(result(patch=b"x" * 100_000))
    assert len(large) < 60_000
    assert "100,000 bytes" in large


NOISE = st.text(alphabet="`@#~<>!-[]()&\n *_ag1/:.", max_size=40) | st.sampled_from(
    [
        "@all",
        "closes #1",
        "a/b#2",
        "GH-3",
        "https://x.example/1",
        "```\n@all",
        "<!-- x -->",
        "</details>",
        ATTACK,
    ]
)


@settings(max_examples=150, deadline=None)
@given(NOISE, NOISE, NOISE)
def test_a_comment_mentions_nobody_and_links_nothing(detail: str, name: str, stat: str) -> None:
    from markdown_it import MarkdownIt

    checks = (Checked(name="x", command=name, passed=False),)
    hostile = result(
        "k", "unsolved", detail=detail, checks=checks, diffstat=stat, branch=name, patch=stat.encode()
    )
    tokens = MarkdownIt("commonmark").parse(comment_text(hostile))
    shown = [child for token in tokens if token.type == "inline" for child in token.children or ()]
    prose = [child.content for child in shown if child.type == "text"]
    assert not any(re.search(r"@\w|#\d|://|\bGH-\d", text) for text in prose)
    assert not {child.type for child in shown} & {"link_open", "image", "html_inline"}
    html = [token.content.strip() for token in tokens if token.type == "html_block"]
    allowed = {marker_of("k", "261123-abc"), "<details><summary>Patch</summary>", "</details>"}
    assert set(html) <= allowed


def test_all_forms_are_written_whole_again_and_again(tmp_path: Path) -> None:
    write_all(tmp_path, [result("a/b#1")], Head(waiting=1))
    first = json.loads((tmp_path / "report.json").read_text())
    written = write_all(tmp_path, [result("a/b#1"), result("../x", patch=PATCH * 2)], Head())
    assert (first["complete"], first["exit_code"]) == (False, 3)
    told = json.loads((tmp_path / "report.json").read_text())
    assert (told["complete"], told["exit_code"]) == (True, 0)
    assert all(place.is_relative_to(tmp_path) and place.is_file() for place in written)
    assert sorted(place.name for place in tmp_path.rglob("*") if place.is_file()) == sorted(
        place.name for place in written
    )
    assert (tmp_path / "patches" / f"{file_name('a/b#1')}.patch").read_bytes() == PATCH
    with pytest.raises(OSError, match="directory"):
        put(tmp_path / "patches", b"x")
    assert list(tmp_path.rglob(".adi-*")) == []


def test_10000_results_are_written_in_seconds(tmp_path: Path) -> None:
    many = [result(f"k{at}", "unsolved", run_id="") for at in range(10_000)]
    write_all(tmp_path, many, Head())
    assert JUnitXml.fromfile(str(tmp_path / "junit.xml")).tests == 10_000


ITEM = Item(key="shop/till#1", title="T", url="https://github.com/shop/till/issues/1")


def test_j07_a_comment_that_was_posted_before_a_crash_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gh = fake_gh(tmp_path / "bin", monkeypatch)
    gh.write(crash_after=True, comments=[{"body": "Me too", "url": "u", "viewerDidAuthor": False}])
    text = comment_text(result())
    with pytest.raises(PostFailed, match="may not be posted: connection reset"):
        post(ITEM, text, "261123-abc")
    assert post(ITEM, text, "261123-abc") == f"{ITEM.url}#issuecomment-2"
    assert [each["body"] for each in gh.read()["comments"]] == ["Me too", text]
    gh.write(comments=gh.read()["comments"])
    assert post(ITEM, "Another run.", "261123-def") == f"{ITEM.url}#issuecomment-3"
    assert gh.read()["comments"][-1]["body"].startswith(marker_of(ITEM.key, "261123-def"))


def test_a_copied_marker_of_somebody_else_does_not_silence_adi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gh = fake_gh(tmp_path / "bin", monkeypatch)
    marker = marker_of(ITEM.key, "r")
    gh.write(comments=[{"body": f"{marker} ha", "url": "u", "viewerDidAuthor": False}])
    assert post(ITEM, "Text", "r").endswith("#issuecomment-2")
    gh.write(fail_at=1)
    with pytest.raises(PostFailed, match="could not connect"):
        post(ITEM, "Text", "r")
    assert gh.read()["comments"] == [], "nothing is said where it cannot be known what was said"


@pytest.mark.parametrize("url", ["", "--repo=x", "https://github.com/shop/till/pull/1", "file:///issues/1"])
def test_only_issues_are_commented_on(url: str) -> None:
    with pytest.raises(UsageError, match="has no issue to comment on"):
        post(ITEM.model_copy(update={"url": url}), "Text", "r")
