"""Redaction at write and at export: whole events, whole runs, and pieces over two of them."""

import hashlib
import random
import string
import time

import pytest

from feedback.harvest import Harvest
from feedback.personal import Machine, Pseudonyms
from feedback.scrub import IN_DIFF, MARK, Redactor, Scrubber
from feedback.walk import texts, with_texts
from memory.records import (
    Action,
    ActionEnded,
    ActionStarted,
    Check,
    CheckAdded,
    CheckRan,
    CheckResult,
    Completed,
    Completion,
    Evaluation,
    Event,
    Failure,
    Message,
    Noted,
    Observation,
    Observed,
    Payload,
    Prompted,
    RunEnded,
    RunStarted,
    Status,
    Stop,
    Task,
    UserActed,
    Verdict,
)
from memory.runtime import ObservedTest, Raised, RuntimeEvidence, Seen
from tests.consent_kit import on_copy

RNG = random.Random(11)
ALNUM = string.ascii_letters + string.digits


def drawn(length: int) -> str:
    return "".join(RNG.choices(ALNUM, k=length))


FIRST, SECOND = "gh" + "p_" + drawn(36), "gh" + "p_" + drawn(36)
WORD = "Zt7" + drawn(11) + "9q"
KEY = Pseudonyms(b"0123456789abcdef")
REPO = "/srv/acme/shop"
MACHINE = Machine("mirabel", "quartz-7", "/home/" + "mirabel")


def output(text: str) -> ActionEnded:
    return ActionEnded(step=1, observation=Observation(action_id="a", status=Status.OK, output=text))


def run_of(*payloads: Payload, diff: bytes = b"", prompt: str = "mend it") -> Harvest:
    sha256 = hashlib.sha256(diff).hexdigest()
    started = RunStarted(task=Task(id="t", prompt=prompt, repo=REPO), adi_version="1")
    everything: list[Payload] = [started, *payloads]
    if diff:
        everything.append(Verdict(evaluation=Evaluation(accepted=True), diff_sha256=sha256))
    everything.append(RunEnded(stop=Stop.ACCEPTED, exit_code=0))
    events = tuple(
        Event(run_id="r", seq=seq, at="2026-11-23T03:00:00.000Z", payload=payload)
        for seq, payload in enumerate(everything, 1)
    )
    return Harvest("r", "s", events, {sha256: diff} if diff else {})


def scrubbed(run: Harvest) -> tuple[Harvest, dict[str, int], str]:
    clean, counts, why = Scrubber(KEY, MACHINE, env_values=()).harvest(run)
    assert all(
        type(event.payload).model_validate(event.payload.model_dump(mode="python")) == event.payload
        for event in clean.events
    ), "it can be stored and read"
    return clean, dict(counts), why


def shown(run: Harvest) -> str:
    return "\n".join(place.text for event in run.events for place in texts(event.payload))


def test_the_same_value_has_the_same_number_and_no_other_has_it() -> None:
    redactor = Redactor(env_values=())
    one = redactor.payload(output(f"{FIRST} {SECOND}"))
    two = redactor.payload(Noted(text=f"again {SECOND}"))
    assert isinstance(one, ActionEnded)
    assert isinstance(two, Noted)
    assert one.observation.output == "[REDACTED:github-token:1] [REDACTED:github-token:2]"
    assert two.text == "again [REDACTED:github-token:2]"
    assert redactor.counts == {"github-token": 3}


def test_numbers_that_a_run_has_already_are_not_given_again() -> None:
    redactor = Redactor(lambda: ["x [REDACTED:github-token:4]"], env_values=())
    clean = redactor.payload(Noted(text=FIRST))
    assert isinstance(clean, Noted)
    assert clean.text == "[REDACTED:github-token:5]"


def test_what_holds_no_secret_stays_the_same_object() -> None:
    redactor = Redactor(env_values=())
    payload = CheckRan(
        purpose="step", result=CheckResult(check="c", status=Status.OK, passed=True, output="1 passed")
    )
    assert redactor.payload(payload) is payload


def test_every_text_of_an_event_is_looked_at_keys_too() -> None:
    redactor = Redactor(env_values=())
    action = Action(id="a", tool="write", arguments={"path": FIRST, SECOND: [WORD], "password": WORD, "n": 3})
    clean = redactor.payload(ActionStarted(step=1, action=action))
    assert isinstance(clean, ActionStarted)
    assert clean.action.arguments == {
        "path": "[REDACTED:github-token:1]",
        "[REDACTED:github-token:2]": [WORD],
        "password": "[REDACTED:assigned-password:1]",
        "n": 3,
    }
    failure = Failure(test="t", message=f"AssertionError: {FIRST}")
    result = CheckResult(check="c", status=Status.NONZERO, passed=False, failures=(failure,))
    ran = redactor.payload(CheckRan(purpose="step", result=result))
    assert isinstance(ran, CheckRan)
    assert FIRST not in ran.model_dump_json()


def test_values_of_locals_are_judged_by_their_names_and_stay_short() -> None:
    seen = Seen(path="a.py", line=1, function="f", values=(("db_password", repr(WORD)), ("n", "3")))
    raised = Raised(error="E", message=f"{'m ' * 979}{FIRST} !", frames=(seen,))
    evidence = RuntimeEvidence(
        check="c",
        tests=(ObservedTest(test="t", outcome="failed", raised=raised),),
        complete=True,
        traced=False,
        duration_s=1.0,
    )
    clean = Redactor(env_values=()).payload(Observed(evidence=evidence))
    assert isinstance(clean, Observed)
    kept = clean.evidence.tests[0].raised
    assert kept is not None
    assert FIRST not in kept.message
    assert len(kept.message) <= 2_000
    assert kept.frames[0].values == (("db_password", "'[REDACTED:assigned-password:1]'"), ("n", "3"))
    assert Observed.model_validate(clean.model_dump(mode="python")) == clean


def test_words_of_the_schema_are_never_touched() -> None:
    redactor = Redactor(env_values=("completed", "rewrite", "infill", "accept", "nonzero"))
    for payload in (
        Completed(purpose="rewrite", completion=Completion(text="x", finish_reason="stop")),
        UserActed(action="accept"),
        ActionEnded(step=1, observation=Observation(action_id="a", status=Status.NONZERO)),
    ):
        assert redactor.payload(payload) is payload


def test_a_changed_completion_loses_its_token_ids() -> None:
    told = Completion(text=f"use {FIRST}", token_ids=(1, 2, 3), finish_reason="stop")
    same = Completion(text="use it", token_ids=(1, 2, 3), finish_reason="stop")
    redactor = Redactor(env_values=())
    changed, kept = (redactor.payload(Completed(purpose="act", completion=one)) for one in (told, same))
    assert isinstance(changed, Completed)
    assert isinstance(kept, Completed)
    assert changed.completion.token_ids == ()
    assert kept.completion.token_ids == (1, 2, 3)
    run, _, _ = scrubbed(run_of(Completed(purpose="act", completion=told)))
    assert run.calls == ()
    assert run.events[1].payload.model_dump()["completion"]["token_ids"] == ()


def test_commands_of_checks_stay_in_the_store_and_not_in_an_export() -> None:
    check = CheckAdded(check=Check(name="c", command=f"API_TOKEN={FIRST} pytest", files={"t.py": FIRST}))
    assert Redactor(env_values=()).payload(check) is check
    clean, counts, _ = scrubbed(run_of(check))
    assert FIRST not in shown(clean)
    assert counts == {
        "github-token:check-added.command": 1,
        "github-token:check-added.files": 1,
        "repo-path:run-started.repo": 1,
    }


@pytest.mark.parametrize("at", [5, 12, 20, 36])
def test_a_secret_over_two_outputs_loses_both_parts(at: int) -> None:
    outputs = (output(f"a\n{FIRST[:at]}\n[exit code 0]"), output(f"{FIRST[at:]}\nb\n[exit code 0]"))
    between = Completed(purpose="act", completion=Completion(text="go on", finish_reason="stop"))
    clean, counts, why = scrubbed(run_of(outputs[0], between, outputs[1]))
    assert shown(clean).count("[REDACTED:github-token:1]") == 2, "both parts have one number"
    assert FIRST[:at] not in shown(clean)
    assert FIRST[at:] not in shown(clean)
    assert counts["github-token:action-ended.output"] == 2
    assert not why


@pytest.mark.parametrize("at", [5, 12, 20, 36])
def test_and_also_when_the_first_part_was_stored_before_the_second_came(at: int) -> None:
    redactor = Redactor(env_values=())
    one, two = (redactor.payload(output(text)) for text in (f"a {FIRST[:at]}", f"{FIRST[at:]} b"))
    assert FIRST[at:] not in two.model_dump_json()
    assert isinstance(two, ActionEnded)
    assert (mark := MARK.match(two.observation.output))
    assert mark[1] == "github-token-rest"
    clean, counts, _ = scrubbed(run_of(one, two))
    assert FIRST[:at] not in shown(clean)
    assert counts["at-write/github-token-rest:action-ended.output"] == 1


def test_messages_of_one_prompt_are_neighbours() -> None:
    chat = (
        Message(role="user", content=f"x {FIRST[:14]}"),
        Message(role="assistant", content="next"),
        Message(role="user", content=f"{FIRST[14:]} y"),
    )
    clean = Redactor(env_values=()).payload(Prompted(purpose="act", messages=chat))
    assert isinstance(clean, Prompted)
    assert [message.content for message in clean.messages] == [
        "x [REDACTED:github-token:1]",
        "next",
        "[REDACTED:github-token:1] y",
    ]


@pytest.mark.parametrize(
    "secret", [FIRST, "-----BEGIN PRIVATE" + f" KEY-----\n+{drawn(64)}\n+-----END PRIVATE" + " KEY-----"]
)
def test_a_secret_in_the_diff_drops_the_run(secret: str) -> None:
    diff = f"--- a/x\n+++ b/x\n@@ -1 +1,3 @@\n a\n+{secret}\n"
    clean, counts, why = scrubbed(run_of(diff=diff.encode()))
    assert why == IN_DIFF
    assert secret not in clean.diff
    assert sum(count for key, count in counts.items() if key.endswith(":patch")) == 1
    assert scrubbed(run_of(diff=b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b \xff\n"))[2] == ""


def test_personal_data_and_host_paths_leave_an_export_and_not_the_store() -> None:
    text = f"{REPO}/a.py by jane@corp.de on quartz-7 in /home/" + "mirabel/x \udcff"
    assert Redactor(env_values=()).payload(output(text)) == output(text)
    diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+# jane@corp.de \udcff\n".encode("utf-8", "surrogateescape")
    run = run_of(output(text), diff=diff, prompt=f"look into {REPO}")
    clean, counts, why = scrubbed(run)
    everything = shown(clean) + clean.diff
    assert not [word for word in ("acme", "jane", "mirabel", "quartz") if word in everything]
    assert clean.task.repo == "/" + KEY.of("repo", REPO)
    assert not why
    assert counts["email:patch"] == 1
    assert counts["email:action-ended.output"] == 1
    assert clean.patches.keys() == run.patches.keys()
    assert b"\xff" in next(iter(clean.patches.values()))


def test_a_copy_and_its_repository_get_one_pseudonym() -> None:
    room = "/home/" + "mirabel/.adi/backlog/rooms/b-1-1/shop"
    run = on_copy(run_of(output(f"{room}/a.py is {REPO}/a.py\n")), room)
    own, _, _ = scrubbed(run_of())
    found, _, _ = scrubbed(run)
    assert found.repository == found.task.repo == found.started.origin.copy_of == own.repository
    assert f"{own.repository}/a.py is {own.repository}/a.py" in shown(found)
    assert "rooms" not in shown(found)
    assert scrubbed(found)[0] == found


def test_it_is_deterministic_and_a_second_time_changes_nothing() -> None:
    run = run_of(
        output(f"{FIRST} {SECOND} jane@corp.de {REPO}"), output(f"password={WORD}"), prompt=f"use {SECOND}"
    )
    once, counts, _ = scrubbed(run)
    again, same, _ = scrubbed(run)
    assert (once.events, counts) == (again.events, same)
    twice, left, _ = scrubbed(once)
    assert twice.events == once.events
    assert all(key.startswith("at-write/") for key in left)


def test_a_text_by_itself() -> None:
    text, counts = Scrubber(KEY, MACHINE, env_values=("plainwords",)).text(
        f"{FIRST} plainwords {REPO}/x", REPO
    )
    assert text == f"[REDACTED:github-token:1] [REDACTED:environment-value:1] /{KEY.of('repo', REPO)}/x"
    assert counts == {"github-token:text": 1, "environment-value:text": 1, "repo-path:text": 1}


def test_places_and_changes_go_together() -> None:
    payload = ActionStarted(
        step=1, action=Action(id="a", tool="t", arguments={"k": {"in": ["x", None, 1.5]}})
    )
    assert [place.text for place in texts(payload)] == ["a", "t", "k", "in", "x"]
    assert with_texts(payload, lambda place: place.text) is payload
    changed = with_texts(payload, lambda _: "same")
    assert changed.action.arguments == {"same": {"same": ["same", None, 1.5]}}
    two = ActionStarted(step=1, action=Action(id="a", tool="t", arguments={"b": 1, "c": 2}))
    assert with_texts(two, lambda _: "k").action.arguments == {"k": 1, "k~": 2}, "no entry is lost"


def test_redaction_costs_a_small_part_of_a_run() -> None:
    """24 prompts, each with the turns before it as real ones have: 1.2 million characters, half a second."""
    lines = "def f(x):\n    return x + 1\n" * 140
    turns = [Message(role="user", content=f"turn {number}: {lines}") for number in range(24)]
    payloads = [Prompted(purpose="act", messages=tuple(turns[: number + 1])) for number in range(24)]
    redactor = Redactor(env_values=())
    began = time.process_time()
    assert all(redactor.payload(payload) is payload for payload in payloads)
    assert time.process_time() - began < 0.5
