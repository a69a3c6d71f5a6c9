"""Formats of data sets: from our events to rows, through bytes on disk, and back to what each carries."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings

from feedback import columns
from feedback.candidate import Candidate, Flag
from feedback.format_base import Context, Row
from feedback.format_chat import Example, conversations, said
from feedback.format_pairs import ASK, Judged, Pair, failed
from feedback.format_text import plain, valid
from feedback.formats import FORMATS
from feedback.transcript import transcript
from model.catalogue import load as load_catalogue
from tests import format_kit as kit
from tests.harvest_kit import DIFF, EDITED, edited, rejected, solved_by_hand

PARQUET = [name for name, form in FORMATS.items() if form.kind == "parquet" and name != "pretokenised"]
TRL = {
    "sft": {"messages", "tools"},
    "prompt_completion": {"prompt", "completion"},
    "infill": {"prompt", "completion"},
    "preference": {"prompt", "chosen", "rejected"},
    "infill_preference": {"prompt", "chosen", "rejected"},
    "unpaired": {"prompt", "completion", "label"},
    "infill_unpaired": {"prompt", "completion", "label"},
    "rewards": {"prompt", "reward"},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


def told(name: str, candidates: Sequence[Candidate]) -> list[Any]:
    """What each format has to carry, made of the harvests and not of rows."""
    good = [c for c in candidates if c.label.grade in ("gold", "silver")]
    calls = [(c, call) for c in good for call in c.harvest.calls if not c.targets.get(call.seq)]
    match name:
        case "sft":
            return [tuple(map(said, t)) for c in good for t in conversations(transcript(c))]
        case "prompt_completion":
            return [Example(prompt=k.messages, completion=k.completion.text) for _, k in calls if k.messages]
        case "infill":
            return [Example(text=k.prompt, completion=k.completion.text) for _, k in calls if not k.messages]
        case "trajectories":
            return [c.harvest for c in candidates]
        case "sessions":
            return [event for c in candidates for event in c.harvest.events]
        case "atif":
            return [transcript(c) for c in candidates]
    raise AssertionError(name)


CARRIED = ["sft", "prompt_completion", "infill", "trajectories", "sessions", "atif"]


@pytest.mark.parametrize("name", CARRIED)
def test_every_run_comes_back_from_the_disk_as_it_was(name: str, tmp_path: Path) -> None:
    form, runs = FORMATS[name], kit.stories()
    kit.on_disk(form, kit.rows_of(form, runs), tmp_path)
    found, expected = form.read(kit.back(form, tmp_path)), told(name, runs)
    if name == "sessions":  # a file a session; the runs of one are in the order of the export
        found, expected = (sorted(x, key=lambda e: (e.run_id, e.seq)) for x in (found, expected))
    if name == "atif":
        found, expected = (sorted(x, key=lambda e: e.run_id) for x in (found, expected))
    assert len(expected) >= 2
    assert found == expected


@pytest.mark.parametrize("name", [*PARQUET, "sessions", "predictions"])
def test_datasets_loads_the_files_by_the_name_of_the_configuration(name: str, tmp_path: Path) -> None:
    form, runs = FORMATS[name], kit.stories()
    rows = kit.rows_of(form, runs)
    kit.on_disk(form, rows, tmp_path / "set")
    found = kit.loaded(form, tmp_path / "set", tmp_path / "cache")
    assert len(found) == len(rows) >= 1
    if name in CARRIED:
        ours = form.read(kit.back(form, tmp_path / "set"))
        assert form.read(found) == ours


@pytest.mark.parametrize("name", PARQUET)
def test_rows_have_the_columns_of_their_schema_in_its_order(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    rows = kit.rows_of(form, kit.stories())
    schema = form.schema()
    assert rows
    assert schema is not None
    assert all([*row] == schema.names for row in rows)
    renamed = {"label": "grade"} if "unpaired" in name else {}
    assert {renamed.get(column, column) for column in columns.COLUMNS} <= {*schema.names}
    assert TRL.get(name, set()) <= {*schema.names}
    kit.on_disk(form, rows, tmp_path)
    assert kit.back(form, tmp_path) == pyarrow.Table.from_pylist(rows, schema).to_pylist()


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "pretokenised"])
def test_the_same_runs_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    made = [
        kit.on_disk(form, kit.rows_of(form, kit.stories()), tmp_path / str(attempt)).files
        for attempt in (1, 2)
    ]
    assert made[0] == made[1] != []


@given(kit.texts_of_all_kinds)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_comes_back_with_lone_halves_replaced_and_counted(texts: list[str]) -> None:
    run = kit.talkative(texts)
    for name in CARRIED:
        form, context = FORMATS[name], kit.context()
        rows = kit.rows_of(form, [run], context)
        if form.kind == "parquet":
            rows = pyarrow.Table.from_pylist(rows, form.schema()).to_pylist()
        else:
            rows = [json.loads(json.dumps(row).encode("utf-8")) for row in rows]
        clean = kit.talkative([valid(text) for text in texts])
        lone = sum(0xD800 <= ord(char) <= 0xDFFF for text in texts for char in valid_pairs(text))
        if name in ("trajectories", "sessions"):
            assert form.read(rows) == told(name, [clean])
            assert (context.replaced[name] > 0) == (lone > 0)
        else:
            assert form.read(rows) == told(name, [clean])


def valid_pairs(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def test_each_lone_half_is_replaced_once_and_counted() -> None:
    seen = Counter[str]()
    text = valid(f"{kit.LONE} \ud83d\ude00", lambda n: seen.update(n=n))
    assert (text, seen["n"]) == (f"{kit.REPLACED} 😀", 2)
    assert plain({"\ud800": ("\udfff", float("nan"), 1.5, None)}) == {"\ufffd": ["\ufffd", "nan", 1.5, None]}


def sft_rows(candidate: Candidate) -> list[Row]:
    return FORMATS["sft"].rows(candidate, kit.context())


def test_calls_are_in_the_form_of_openai_and_their_results_answer_them() -> None:
    row = next(row for row in sft_rows(kit.judged(solved_by_hand())) if row["tools"] != "[]")
    called = [m for m in row["messages"] if m.get("tool_calls")]
    (call,) = called[0]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "read")
    assert json.loads(call["function"]["arguments"]) == {"path": "gcd.py"}
    answers = [m["tool_call_id"] for m in row["messages"] if m["role"] == "tool"]
    assert answers == [c["id"] for m in called for c in m["tool_calls"]] == ["step-1", "step-2"]
    assert json.loads(row["tools"]) == kit.TOOLS
    assert [m["role"] for m in row["messages"]] == ["system", "user", *["assistant", "tool"] * 2]
    assert row["trainable"] == [m["role"] == "assistant" for m in row["messages"]]


def test_what_is_no_target_stays_as_context_and_is_not_trained() -> None:
    harvest = solved_by_hand()
    first = next(call.seq for call in harvest.calls if call.purpose == "act")
    run = kit.judged(harvest)
    run = kit.judged(harvest, targets={**run.targets, first: "call failed"})
    row = next(row for row in sft_rows(run) if row["tools"] != "[]")
    assert row["trainable"] == [False, False, False, False, True, False]
    assert str(first) not in {row["step_id"] for row in FORMATS["prompt_completion"].rows(run, Context())}
    trajectory = FORMATS["trajectories"].rows(run, Context())[0]
    assert "call failed" in trajectory["why_not"]


def test_a_call_that_a_rule_made_is_no_turn_of_the_models_conversation() -> None:
    turns = transcript(kit.judged(solved_by_hand())).turns
    (rule,) = [turn for turn in turns if turn.purpose == "rule" and turn.role == "assistant"]
    assert rule.action is not None
    assert rule.action.id.startswith("search-")
    assert [t.role for t in turns if t.thread == rule.thread] == ["assistant", "tool"]
    assert not rule.trainable


def test_a_conversation_goes_on_until_it_is_cut_and_copies_say_so() -> None:
    run = kit.talkative(["a", "b", "c", "d"])
    threads = [t for t in transcript(run).threads() if t[0].purpose == "act"]
    whole, cut = threads
    assert [t.role for t in whole] == ["system", "user", *["assistant", "tool"] * 4, "assistant", "user"]
    assert whole[-1].content == "The answer holds no action."
    assert [t.copied for t in cut[:3]] == [True, True, True]
    assert [t.trainable for t in cut] == [False] * (len(cut) - 1) + [True]
    parents = {r["step_id"]: r["parent_id"] for r in FORMATS["prompt_completion"].rows(run, Context())}
    answers = [str(t.seq) for t in whole if t.completion]
    assert [parents[seq] for seq in answers] == ["", *answers[:-1]]


def test_an_answer_that_was_begun_for_the_model_says_so_and_is_one_message_of_a_chat() -> None:
    run = kit.talkative(["a", "b", "c", "d"])
    rows = [r for r in FORMATS["prompt_completion"].rows(run, Context()) if r["continues"]]
    assert [(r["prompt"][-1], r["completion"]) for r in rows] == [
        ({"role": "assistant", "content": "It should be: `"}, [{"role": "assistant", "content": "b"}])
    ]
    begun = [m for r in sft_rows(run) for m in r["messages"] if "It should be" in m["content"]]
    assert [(m["role"], m["content"]) for m in begun] == [("assistant", "It should be: `b")]


def test_a_persons_edit_is_preferred_to_what_they_edited_after_one_prompt() -> None:
    run = kit.judged(edited())
    (pair,) = FORMATS["preference"].read(FORMATS["preference"].rows(run, Context()))
    assert (pair.chosen, pair.rejected, pair.source) == (EDITED, DIFF, "human")
    last = [call for call in run.harvest.calls if call.messages][-1]
    assert pair.prompt[:-1] == last.messages[:-1]
    assert pair.prompt[-1].content == f"{last.messages[-1].content}\n\n{ASK}"
    assert FORMATS["preference"].rows(kit.judged(solved_by_hand()), Context()) == []


def test_tests_prefer_what_was_taken_over_to_what_failed_after_the_same_request() -> None:
    run = kit.sampled()
    raw, chat = (
        FORMATS[name].read(FORMATS[name].rows(run, Context())) for name in ("infill_preference", "preference")
    )
    good, bad = "        rest = a % b", "        rest = a + b"
    assert raw == [Pair(text="def f:\n␣\n", chosen=good, rejected=bad, source="tests")]
    assert chat == [Pair(prompt=(kit.user("Write it again"),), chosen=good, rejected=bad, source="tests")]
    requests = {(call.messages, call.prompt) for call in run.harvest.calls}
    assert {((), raw[0].text), (chat[0].prompt, "")} <= requests


def test_a_run_of_a_candidate_that_cannot_be_told_apart_condemns_nobody() -> None:
    run = kit.sampled()
    lost = failed(run.harvest)
    assert len(lost) == 2
    events = [e for e in run.harvest.events if getattr(e.payload, "purpose", "") != "candidate" or e.seq % 2]
    fewer = type(run.harvest)(run.harvest.run_id, "s", tuple(events), run.harvest.patches)
    assert failed(fewer) == frozenset()


@pytest.mark.parametrize(("make", "good"), [(solved_by_hand, True), (rejected, False)])
def test_a_whole_change_is_good_or_bad_and_failing_candidates_are_bad(make: Any, good: bool) -> None:
    run = kit.judged(make())
    rows = FORMATS["unpaired"].rows(run, Context())
    whole = [j for j in FORMATS["unpaired"].read(rows) if j.completion == DIFF]
    assert [j.good for j in whole] == [good]
    assert {row["grade"] for row in rows} == {run.label.grade}
    bad = Judged(text="def f:\n␣\n", completion="        rest = a + b", good=False)
    assert bad in FORMATS["infill_unpaired"].read(FORMATS["infill_unpaired"].rows(kit.sampled(), Context()))


def test_rewards_keep_their_sources_apart() -> None:
    run = kit.judged(solved_by_hand())
    (row,) = FORMATS["rewards"].rows(run, Context())
    assert row["reward"] == run.label.reward
    (back,) = FORMATS["rewards"].read([row])
    assert back.components == run.label.components == {"tests": 1.0, "human": 1.0}
    assert row["reward_survival"] is None
    assert back.prompt[-1].content.endswith(ASK)


def test_predictions_hold_the_agents_own_patch_and_nothing_else(tmp_path: Path) -> None:
    form, run = FORMATS["predictions"], kit.judged(edited())
    kit.on_disk(form, kit.rows_of(form, [run]), tmp_path)
    (line,) = (tmp_path / "predictions" / "train.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "instance_id": run.harvest.task.id,
        "model_name_or_path": "qwen",
        "model_patch": DIFF,
    }
    assert form.read([json.loads(line)])[0].model_patch == DIFF


def test_columns_say_where_a_row_is_from_and_what_became_of_it() -> None:
    catalogue = columns.facts(load_catalogue())
    known = catalogue["qwen2.5-coder-1.5b"]
    assert (known.licence, known.quantization, len(known.revision)) == ("Apache-2.0", "Q4_K_M", 64)
    run = kit.judged(edited())
    flagged = run.label.model_copy(update={"flags": (Flag(rule="assert-weakened", where="t.py"),)})
    run = kit.judged(run.harvest, label=flagged)
    given = Context(tools=kit.TOOLS, models={"qwen": known}, synthetic={run.id}, dataset="d")
    (row,) = FORMATS["trajectories"].rows(run, given)
    assert row["model_output_license"] == "Apache-2.0"
    assert row["model_revision"] == known.revision
    assert (row["license"], row["license_source"], row["license_permissive"]) == ("MIT", "file", True)
    assert (row["language"], row["resolved"], row["human_action"], row["outcome"]) == (
        "Python",
        1,
        "edited",
        "accepted",
    )
    assert (row["edit_distance"], row["time_to_accept_s"]) == (columns.edit_distance(DIFF, EDITED), 50.0)
    assert (row["tests_passed"], row["tests_failed"], row["exit_status"]) == (3, 0, "0")
    assert (row["hack_flags"], row["synthetic"], row["dataset"]) == (["assert-weakened: t.py"], True, "d")
    assert (row["final_patch"], row["model_patch"]) == (EDITED, DIFF)
    assert json.loads(row["consent"])["status"] == "granted"
    assert (row["step_id"], row["split"], len(row["tool_schema_hash"])) == ("", "", 64)
    (quiet,) = FORMATS["trajectories"].rows(kit.silent(), given)
    assert (quiet["resolved"], quiet["tests_passed"], quiet["time_to_accept_s"], quiet["reward"]) == (
        -1,
        None,
        None,
        None,
    )


def test_the_distance_of_an_edit_is_in_changed_lines() -> None:
    head = "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,3 @@\n"
    one, two = head + "-x\n+y\n+z\n keep\n", head + "-x\n+y\n+w\n keep\n"
    assert (columns.edit_distance(one, one), columns.edit_distance(one, two)) == (0, 2)
    assert columns.edit_distance("", one) == 3
    assert columns.language(one.replace("a.py", "src/A.JAVA")) == "Java"
    assert columns.language("") == columns.language(one.replace("a.py", "Makefile")) == ""


def test_the_id_of_a_row_is_that_of_its_content() -> None:
    form, run = FORMATS["trajectories"], kit.judged(solved_by_hand())
    (one,), (two,) = form.rows(run, Context()), form.rows(run, Context(dataset="other"))
    assert one["record_id"] == form.rows(run, Context())[0]["record_id"] != two["record_id"]
    every = [row["record_id"] for name in PARQUET for row in kit.rows_of(FORMATS[name], kit.stories())]
    assert len(every) == len(set(every)) > 30


def test_grades_decide_which_format_takes_a_run() -> None:
    bad = kit.judged(rejected())
    taken = {name for name, form in FORMATS.items() if form.rows(bad, Context())}
    assert taken == {"unpaired", "rewards", "trajectories", "sessions", "atif", "predictions"}
    assert {name for name, form in FORMATS.items() if form.missing(Context())} == {"pretokenised"}
