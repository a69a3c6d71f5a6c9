"""ATIF 1.7: what readers of the format refuse is refused here too, and what ADI adds stands where it may."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from feedback.errors import DataError
from feedback.format_atif import ATIF, document
from feedback.format_atif_models import Document
from feedback.format_base import Row
from feedback.transcript import transcript
from tests import format_kit as kit
from tests.harvest_kit import solved_by_hand


def sound() -> Row:
    (row,) = ATIF.rows(kit.judged(solved_by_hand()), kit.context())
    return json.loads(json.dumps({name: value for name, value in row.items() if name != "split"}))


def agent_step(row: Row) -> Row:
    return next(step for step in row["steps"] if step.get("tool_calls") and step.get("metrics"))


def test_a_run_is_a_document_of_the_format() -> None:
    row = sound()
    assert Document.model_validate(row).model_dump(exclude_none=True) == row
    assert row["schema_version"] == "ATIF-v1.7"
    assert (row["agent"]["name"], row["agent"]["model_name"]) == ("adi", "qwen")
    assert row["agent"]["tool_definitions"] == kit.TOOLS
    assert {*row} <= {*Document.model_fields}
    step = agent_step(row)
    (call,) = step["tool_calls"]
    (result,) = step["observation"]["results"]
    assert call["arguments"] == {"path": "gcd.py"}
    assert result["source_call_id"] == call["tool_call_id"]
    assert step["metrics"]["completion_token_ids"]


def test_the_reward_and_the_masks_stand_in_extra() -> None:
    run, row = kit.judged(solved_by_hand()), sound()
    told = row["final_metrics"]["extra"]
    assert (told["reward"], told["label"], told["components"]) == (
        run.label.reward,
        "gold",
        run.label.components,
    )
    assert row["final_metrics"]["total_steps"] == len(row["steps"])
    trained = [step["extra"]["event"] for step in row["steps"] if step["extra"]["trainable"]]
    assert trained == [seq for seq, why in run.targets.items() if not why] != []
    assert all("why_not" in step["extra"] for step in row["steps"] if not step["extra"]["trainable"])


def test_what_a_rule_did_is_told_as_no_call_of_a_model() -> None:
    rules = [step for step in sound()["steps"] if step.get("llm_call_count") == 0]
    assert [step["extra"]["purpose"] for step in rules] == ["rule"]
    assert not any("metrics" in step or "model_name" in step for step in rules)


def test_copies_are_marked_as_such() -> None:
    steps = document(kit.talkative(["a", "b", "c", "d"]), kit.context()).steps
    copied = [step for step in steps if step.is_copied_context]
    assert len(copied) >= 4
    assert not any((step.extra or {})["trainable"] for step in copied)


def put(path: tuple[str | int, ...], value: Any) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        place: Any = row
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def agent(key: str, value: Any) -> Callable[[Row], None]:
    return lambda row: agent_step(row).update({key: value})


WRONG = {
    "a reward at the root": put(("reward",), 1.0),
    "a key of our own in a step": put(("steps", 0, "trainable"), True),
    "a newer version": put(("schema_version",), "ATIF-v2.0"),
    "no steps": put(("steps",), []),
    "a gap in the numbers": put(("steps", 1, "step_id"), 7),
    "a call of a user": put(
        ("steps", 0, "tool_calls"), [{"tool_call_id": "c", "function_name": "f", "arguments": {}}]
    ),
    "cost of a user's step": put(("steps", 0, "metrics"), {}),
    "cost where no model was asked": agent("llm_call_count", 0),
    "a result of no call": agent("observation", {"results": [{"source_call_id": "step-99", "content": ""}]}),
    "arguments that are no object": agent(
        "tool_calls", [{"tool_call_id": "step-1", "function_name": "f", "arguments": "{}"}]
    ),
    "a time in words": put(("steps", 0, "timestamp"), "yesterday"),
    "a message that is null": put(("steps", 0, "message"), None),
    "a number that is none": put(("final_metrics", "total_cost_usd"), float("nan")),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=[*WRONG])
def test_what_readers_refuse_is_refused(change: Callable[[Row], None]) -> None:
    row = sound()
    change(row)
    with pytest.raises(ValidationError):
        Document.model_validate(row)
    with pytest.raises(DataError) as caught:
        ATIF.read([row])
    assert caught.value.hint


def test_a_document_of_another_agent_is_refused_with_a_reason() -> None:
    step = {"step_id": 1, "source": "user", "message": "hi"}
    foreign = {"agent": {"name": "other", "version": "1"}, "steps": [step]}
    assert Document.model_validate(foreign)
    with pytest.raises(DataError, match="ATIF"):
        ATIF.read([foreign])


def test_each_run_is_a_file_of_its_own(tmp_path: Path) -> None:
    runs = kit.stories()
    folder = kit.on_disk(ATIF, kit.rows_of(ATIF, runs), tmp_path)
    assert [file.path for file in folder.files] == [f"atif/train/{run.id}.json" for run in runs]
    assert {(file.rows, file.config) for file in folder.files} == {(1, "")}  # no table that `datasets` loads
    for run in runs:
        row = json.loads((tmp_path / "atif" / "train" / f"{run.id}.json").read_bytes())
        assert "split" not in row
        assert ATIF.read([row]) == [transcript(run)]
