"""Whether a run may become training data: every combination against rules written a second time."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.candidate import Candidate, Label, Permission
from feedback.errors import DataError
from feedback.harvest import Harvest, harvests, session_of
from feedback.permission import (
    declared_by,
    has_no_train,
    judge_by,
    judged,
    permission_of,
    remotes_of,
    spdx,
)
from feedback.steps import dropping
from memory.consent import POLICY_VERSION, Consent, Consents, Standing
from memory.forget import forget_runs
from memory.hidden import hidden
from memory.origin import Origin
from memory.records import Event, RunStarted, Task
from memory.store import Store
from tests.conftest import RepoFactory, git
from tests.consent_kit import SCOPES, ConsentCase, Decisions, begin, consent_cases, harvested

ADA = "ada@example.org"
EARLY, LATE = "2026-11-23T10:00:00.000Z", "2026-11-24T10:00:00.000Z"
RUN = Harvest(
    "261123-aaaaaa",
    "0123456789abcdef",
    (
        Event(
            run_id="261123-aaaaaa",
            seq=1,
            at=EARLY,
            payload=RunStarted(
                task=Task(id="t", prompt="p", repo="/src/gone"), adi_version="", origin=Origin(author=ADA)
            ),
        ),
    ),
)
KEYS = {"user": ADA, "repository": "/src/gone", "session": RUN.session_id, "record": RUN.run_id}


def standing(
    *decisions: Consent, opt_outs: tuple[tuple[str, str], ...] = (), **stones: tuple[str, str]
) -> Standing:
    """`stones`: kind -> id and time."""
    return Standing(
        decisions={(one.scope, one.key): one for one in decisions},
        opt_outs=frozenset(opt_outs),
        stones={(kind, name): at for kind, (name, at) in stones.items()},
    )


def said(scope: str, status: str = "granted", **rest: object) -> Consent:
    return Consent.model_validate(
        {"scope": scope, "key": KEYS[scope], "status": status, "at": EARLY, "by": "ada", **rest}
    )


def test_every_planted_violation_is_caught_and_nothing_else(tmp_path: Path) -> None:
    cases = consent_cases(seed=6, count=140)
    with Store.open(":memory:") as store:
        planted = {case.plant(store, tmp_path): case for case in cases}
        found = [Candidate(harvested(store, run_id), Label(grade="gold", why="")) for run_id in planted]
        judge = judge_by(Consents(store))
        dropped = dropping(lambda candidate: judge(candidate.harvest)[1])(found)
        for candidate in found:
            case, told = planted[candidate.id], judge(candidate.harvest)[0]
            if case.reasons:
                assert dropped[candidate.id] in case.reasons, case
                assert told.status == ("unasked" if case.reasons == {"consent not given"} else "refused")
            else:
                assert candidate.id not in dropped, case
                assert (told.status, told.scope, told.by) == ("granted", case.scope, "ada")
    violations = sum(bool(case.reasons) for case in cases)
    assert violations >= 100
    assert len(cases) - violations >= 15
    assert {reason for case in cases for reason in case.reasons} == {
        "forgotten", "opted out", "no-train file", "consent refused", "consent not given",
    }  # fmt: skip


def test_the_cases_of_a_seed_are_always_the_same_and_many_are_violations() -> None:
    assert consent_cases(1) == consent_cases(1) != consent_cases(2)
    assert sum(bool(case.reasons) for case in consent_cases()) >= 200


statuses = st.sampled_from(("granted", "refused"))


@given(st.lists(st.tuples(st.sampled_from(SCOPES), statuses), max_size=8).map(tuple))
def test_decisions_mean_what_the_plain_rules_say(decisions: Decisions) -> None:
    case = ConsentCase(0, decisions)
    permission, reason = judged(RUN, standing(*(said(scope, status) for scope, status in decisions)))
    assert bool(reason) == bool(case.reasons)
    if reason:
        assert reason in case.reasons
        assert permission.status == ("unasked" if reason == "consent not given" else "refused")
    else:
        assert (permission.status, permission.at) == ("granted", EARLY)
        assert (
            permission.scope
            == [scope for scope in SCOPES if (scope, "granted") in dict(decisions).items()][-1]
        )


@pytest.mark.parametrize("granted", SCOPES)
@pytest.mark.parametrize("refused", SCOPES)
def test_a_refusal_at_any_scope_outweighs_a_grant_at_any_other(granted: str, refused: str) -> None:
    found = standing(said(granted), said(refused, "refused"))
    assert permission_of(RUN, found) == Permission(
        status="refused", scope=refused, by="ada", at=EARLY, policy_version=1
    )


COPIED = replace(
    RUN,
    events=(
        RUN.events[0].model_copy(
            update={
                "payload": RunStarted(
                    task=Task(id="t", prompt="p", repo="/data/rooms/b-1-1/gone"),
                    adi_version="",
                    origin=Origin(author=ADA, copy_of="/src/gone"),
                )
            }
        ),
    ),
)
"""The same run on a copy of the repository."""


@pytest.mark.parametrize("status", ["granted", "refused"])
def test_what_is_said_of_a_repository_counts_for_runs_on_its_copies(status: str) -> None:
    found = standing(said("repository", status), said("record"))
    assert judged(COPIED, found) == judged(RUN, found)
    assert judged(COPIED, found)[0].status == status
    assert (
        judged(COPIED, standing(said("repository", key="/data/rooms/b-1-1/gone")))[1] == "consent not given"
    )
    stone = {"repository": (hidden("repository", "/src/gone"), LATE)}
    assert judged(COPIED, standing(said("user"), **stone))[1] == "forgotten"


def test_a_copy_is_looked_for_where_its_repository_is() -> None:
    granted = standing(said("record"))
    assert judged(COPIED, granted, no_train=lambda repo: repo == "/src/gone")[1] == "no-train file"
    listed = standing(
        said("record"), opt_outs=(("repository", hidden("repository", "https://git.example.org/a/b")),)
    )
    urls = {"/src/gone": ("git@git.example.org:a/b.git",)}
    assert judged(COPIED, listed, remotes=lambda repo: urls.get(repo, ()))[1] == "opted out"
    with Store.open(":memory:") as store:
        Consents(store).set("repository", "/src/gone", "granted", licence="MIT")
        assert declared_by(Consents(store))(COPIED.repository) == "MIT"


def test_off_by_default_and_for_others(tmp_path: Path) -> None:
    assert judged(RUN, standing()) == (Permission(), "consent not given")
    others = [
        said("user", key="bob@example.org"),
        said("repository", key="/src/other"),
        said("repository", key="/src"),
        said("session", key="0123456789abcde0"),
        said("record", key="261123-aaaaab"),
        said("record", key=""),
    ]
    assert judged(RUN, standing(*others))[1] == "consent not given"
    assert judged(RUN, standing(said("user", key="")))[1] == ""  # everybody's runs in this memory
    assert has_no_train(str(tmp_path)) is False


def test_what_was_granted_for_less_counts_for_no_more() -> None:
    old = said("record", policy_version=POLICY_VERSION - 1)
    assert judged(RUN, standing(old))[1] == "consent not given"
    assert judged(RUN, standing(old, said("user")))[0].scope == "user"
    assert (
        judged(RUN, standing(said("user"), said("record", "refused", policy_version=0)))[1]
        == "consent refused"
    )


@pytest.mark.parametrize(
    ("stone", "reason"),
    [
        ({"run": (RUN.run_id, EARLY)}, "forgotten"),
        ({"run": ("261123-aaaaab", LATE)}, ""),
        ({"session": (RUN.session_id, EARLY)}, "forgotten"),
        ({"repository": (hidden("repository", "/src/gone"), LATE)}, "forgotten"),
        ({"author": (hidden("author", ADA.upper()), LATE)}, "forgotten"),
        ({"author": (hidden("author", "bob@example.org"), LATE)}, ""),
        ({"author": (hidden("repository", ADA), LATE)}, ""),
        ({"lesson": (RUN.run_id, LATE)}, ""),
        # forgotten before the run began, at the time of the grant or before it
        ({"repository": (hidden("repository", "/src/gone"), "2026-11-23T09:59:59.999Z")}, ""),
    ],
)
def test_what_was_forgotten_stays_out(stone: dict[str, tuple[str, str]], reason: str) -> None:
    assert judged(RUN, standing(said("user"), **stone))[1] == reason


def test_runs_after_the_forgetting_need_a_new_grant() -> None:
    stone = {"repository": (hidden("repository", "/src/gone"), "2026-11-23T09:00:00.000Z")}
    before = said("user", at="2026-11-23T08:00:00.000Z")
    assert judged(RUN, standing(before, **stone))[1] == "consent not given"
    assert judged(RUN, standing(before, said("repository", at=LATE), **stone))[0].scope == "repository"


def test_the_file_says_no_now_or_then(tmp_path: Path) -> None:
    assert has_no_train(str(tmp_path)) is False
    (tmp_path / ".adi").write_text("no folder")
    assert has_no_train(str(tmp_path)) is False
    (tmp_path / ".adi").unlink()
    (tmp_path / ".adi").mkdir()
    (tmp_path / ".adi" / "no-train").symlink_to("nowhere")
    assert has_no_train(str(tmp_path)) is True
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / ".adi").symlink_to(".adi")
    assert has_no_train(str(tmp_path / "loop")) is True  # nobody can tell
    assert has_no_train("/nul\0") is False
    granted = standing(said("record"))
    assert judged(RUN, granted, no_train=lambda _: True)[1] == "no-train file"
    assert judged(RUN, granted, no_train=lambda repo: repo != "/src/gone")[1] == ""


def test_a_repository_that_opted_out_is_known_by_its_address(make_repo: RepoFactory) -> None:
    root = make_repo({"a.py": "x = 1\n"})
    assert remotes_of(str(root)) == ()
    git(root, "remote", "add", "origin", "git@git.example.org:team/maths.git")
    assert remotes_of(str(root)) == ("git@git.example.org:team/maths.git",)
    assert remotes_of("/nowhere") == remotes_of("/nul\0") == remotes_of(os.devnull) == ()
    with Store.open(":memory:") as store:
        consents = Consents(store)
        consents.set("user", "", "granted")
        run = harvested(store, begin(store, str(root), Origin(author=ADA)))
        elsewhere = harvested(store, begin(store, "/src/other", Origin()))
        assert [judge_by(consents)(each)[1] for each in (run, elsewhere)] == ["", ""]
        consents.opt_out("repository", "https://git.example.org/team/Maths")
        assert judge_by(consents)(run) == (Permission(status="refused", scope="repository"), "opted out")
        assert judge_by(consents)(elsewhere)[1] == ""
        consents.opt_in("repository", "https://git.example.org/team/Maths")
        consents.opt_out("author", ADA)
        assert judge_by(consents)(run) == (Permission(status="refused", scope="user"), "opted out")
        consents.opt_in("author", ADA)
        consents.opt_out("session", run.session_id)
        assert judge_by(consents)(run)[0].scope == "session"


def test_another_store_can_refuse_and_not_grant() -> None:
    with Store.open(":memory:") as mine, Store.open(":memory:") as theirs:
        own, other = Consents(mine), Consents(theirs)
        other.set("user", "", "granted")
        assert judge_by(own, other)(RUN)[1] == "consent not given"
        own.set("user", "", "granted")
        assert judge_by(own, other)(RUN)[0].status == "granted"
        forget_runs(theirs, [], "session", RUN.session_id)
        assert judge_by(own, other)(RUN)[1] == "forgotten"
        assert judge_by(own)(RUN)[1] == ""


def test_a_judge_asks_once_for_each_repository_and_reads_decisions_once() -> None:
    with Store.open(":memory:") as store:
        consents = Consents(store)
        for number in range(6):
            begin(store, f"/src/{number % 2}", Origin(), pid=number)
        found, asked = all_of(store), list[str]()
        judge = judge_by(consents, no_train=lambda repo: bool(asked.append(repo)))
        assert {judge(each)[1] for each in found} == {"consent not given"}
        assert sorted(asked) == ["/src/0", "/src/1"]
        consents.set("user", "", "granted")
        assert {judge(each)[1] for each in found} == {"consent not given"}
        assert {judge_by(consents)(each)[1] for each in found} == {""}


def all_of(store: Store) -> list[Harvest]:
    assert list(harvests(store)) == []  # none has ended
    return [harvested(store, run.id) for run in store.runs()]


def test_sessions_are_those_of_the_harvest() -> None:
    case = ConsentCase(1)
    assert session_of(*case.session) != session_of(*ConsentCase(2).session)


def test_a_declared_licence_is_one_that_spdx_knows() -> None:
    assert [spdx(text) for text in ("mit", " MIT or apache-2.0 ", "GPL-2.0+", " ")] == [
        "MIT",
        "MIT OR Apache-2.0",
        "GPL-2.0-or-later",
        "",
    ]
    for wrong in ("proprietary", "MIT AND", "(", "a\0b", "MIT AND (", "LicenseRef-Mine"):
        with pytest.raises(DataError, match="no licence that SPDX knows") as refused:
            spdx(wrong)
        assert "spdx.org" in refused.value.hint
    with Store.open(":memory:") as store:
        Consents(store).set("repository", "/src/gone", "granted", licence=spdx("mit"))
        declared = declared_by(Consents(store))
        assert (declared("/src/gone"), declared("/src")) == ("MIT", "")
