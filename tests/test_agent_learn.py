"""One round of Learn: what goes in, how it is broken off and goes on, and what alone changes what serves."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path

import pytest

from agent.display_learn import shown
from agent.errors import UsageError, exit_code_of
from agent.learn import Judged, OutOfTime, Parts, Round, Wish, learn, new_accepted, read, rounds
from agent.learn_data import Prepared, TooLittle, enough
from agent.learn_exam import held_out
from agent.learn_place import LearnPlace, replace_text
from agent.learn_schedule import least_new, schedule
from agent.seed_tasks import SeededTask, TaskFolder
from agent.settings import directories
from model.adapter_store import Base
from model.gate_wear import Worn
from model.train_errors import OutOfMemory, RowsRefused, TrainingStopped
from model.train_job import Began, Event, Facts, Finished, Job, Progressed, Settings, StageDone
from model.train_rows import IGNORED, Document, Row, Rows

BASE = Base(name="m", sha256="a" * 64)
RUNS = tuple(f"r{number}" for number in range(12))


def prepared(runs: tuple[str, ...] = RUNS, **labels: int) -> Prepared:
    rows = [Row((1, 2, 3), (IGNORED, 2, 3), source=run) for run in runs]
    told = {"consent: consent not given": 3, "label: grade none": 2}
    return Prepared(Rows(answers=rows), runs, labels or {"gold": 4, "silver": 8}, 5, told, "table")


@dataclass
class Spy:
    """Parts that do little, and remember what they were asked."""

    verdict: str = "PROMOTE"
    asked: list[str] = field(default_factory=list)
    error: Callable[[str], None] = lambda _part: None

    def did(self, part: str) -> None:
        self.asked.append(part)
        self.error(part)

    def train(self, job: Job, _rows: Rows, tell: Callable[[Event], None]) -> Facts:
        self.did("train")
        try:
            tell(progressed(1))
        except KeyboardInterrupt:
            raise TrainingStopped("stopped after step 1") from None
        facts = Facts(
            base="m", fingerprint="f", rows_sha256="b", settings=job.settings, stages=(), adapter_sha256="c",
            rank=4, parameters=1, device="cpu", dtype="float32", processes=1, resumed=0, memory_bytes=1,
            versions={},
        )  # fmt: skip
        (job.out / "adapter").mkdir(parents=True)
        (job.out / "training.json").write_text(facts.model_dump_json())
        return facts

    def parts(self) -> Parts:
        def add(folder: Path, _prepared: Prepared, _facts: Facts) -> str:
            assert folder.is_dir()
            self.did("add")
            return "m-1"

        def gate(name: str, folder: Path) -> Judged:
            self.did(f"gate {name}")
            return Judged(self.verdict, ("why",), folder / "gate.md")

        return Parts(self.train, add, gate, lambda name, _reason: self.did(f"promote {name}"))


def progressed(step: int, of: int = 2) -> Progressed:
    return Progressed(stage="sft", step=step, of=of, loss=1.5, rate=1e-4, tokens_s=100.0, eta_s=1.0)


@pytest.fixture
def place(tmp_path: Path) -> LearnPlace:
    return LearnPlace(tmp_path / "learn")


def wish(**settings: object) -> Wish:
    return Wish(BASE, Path("m.gguf"), Path("cache"), Settings.model_validate(settings))


def test_a_round_promotes_and_the_same_again_does_nothing(place: LearnPlace) -> None:
    spy = Spy()
    ended = learn(place, prepared(), wish(), spy.parts())
    assert spy.asked == ["train", "add", "gate m-1", "promote m-1"]
    assert (ended.verdict, ended.promoted, ended.synthetic, ended.runs) == ("PROMOTE", True, 5, RUNS)
    assert learn(place, prepared(), wish(), spy.parts()) == ended
    assert len(spy.asked) == 4
    assert rounds(place) == [ended]


@pytest.mark.parametrize("verdict", ["REJECT", "CANNOT TELL"])
def test_another_verdict_promotes_nothing(place: LearnPlace, verdict: str) -> None:
    spy = Spy(verdict)
    ended = learn(place, prepared(), wish(), spy.parts())
    assert not ended.promoted
    assert not any(part.startswith("promote") for part in spy.asked)
    assert ended.reasons == ("why",)


def test_other_rows_or_settings_are_another_round(place: LearnPlace) -> None:
    spy = Spy()
    ids = {
        learn(place, prepared(RUNS[:10]), wish(), spy.parts()).id,
        learn(place, prepared(), wish(), spy.parts()).id,
        learn(place, prepared(), wish(rank=8), spy.parts()).id,
    }
    assert len(ids) == 3
    assert spy.asked.count("train") == 3


@pytest.mark.parametrize("dies_at", ["train", "add", "gate m-1", "promote m-1"])
def test_a_stage_that_dies_is_done_again_and_no_earlier_one(place: LearnPlace, dies_at: str) -> None:
    def die(part: str) -> None:
        if part == dies_at:
            raise OutOfMemory("killed")

    dead = Spy(error=die)
    with pytest.raises(OutOfMemory):
        learn(place, prepared(), wish(), dead.parts())
    alive = Spy()
    assert learn(place, prepared(), wish(), alive.parts()).promoted
    assert alive.asked[0] == dies_at
    assert dead.asked[:-1] + alive.asked == ["train", "add", "gate m-1", "promote m-1"]


def test_time_and_ctrl_c_end_training_with_their_own_codes(place: LearnPlace) -> None:
    late = replace(wish(), wall_s=1e-9)
    with pytest.raises(OutOfTime, match="spent") as spent:
        learn(place, prepared(), late, Spy().parts())
    assert exit_code_of(spent.value) == 5

    def stop(part: str) -> None:
        raise TrainingStopped(part)

    with pytest.raises(KeyboardInterrupt, match="goes on") as stopped:
        learn(place, prepared(), wish(), Spy(error=stop).parts())
    assert exit_code_of(stopped.value) == 130
    assert learn(place, prepared(), wish(), Spy().parts()).promoted


def test_new_are_the_runs_that_no_judged_round_knows(place: LearnPlace) -> None:
    assert new_accepted(place, RUNS) == 12
    learn(place, prepared(RUNS[:10]), wish(), Spy("REJECT").parts())
    assert new_accepted(place, RUNS) == 2


def test_a_damaged_round_begins_anew(place: LearnPlace) -> None:
    ended = learn(place, prepared(), wish(), Spy().parts())
    file = place.rounds / ended.id / "round.json"
    file.write_text("{")
    assert read(file.parent) is None
    spy = Spy()
    learn(place, prepared(), wish(), spy.parts())
    assert spy.asked == ["add", "gate m-1", "promote m-1"], "what was trained is not trained again"


def test_too_little_is_said_in_one_sentence_with_counts() -> None:
    enough(prepared())
    enough(replace(prepared(()), rows=Rows(documents=[Document("x")])))
    with pytest.raises(TooLittle) as said:
        enough(prepared(RUNS[:3], gold=1, silver=2, negative=7))
    assert str(said.value) == (
        "3 accepted runs are too few, 10 are needed: 1 gold, 2 silver, 7 negative; 3 wait for consent "
        "(adi data consent grant --repo PATH) and 2 for a decision (adi review)"
    )
    assert "adi learn collect" in said.value.hint


def test_conditions_are_read_or_refused() -> None:
    assert [least_new(text) for text in ("", "50 new accepted", " 5  NEW accepted ")] == [0, 50, 5]
    for text in ("50", "0 new accepted", "new accepted", "fifty new accepted", "50 new accepted; rm -rf ~"):
        with pytest.raises(UsageError, match="no condition"):
            least_new(text)


def test_schedules_quote_what_they_are_given() -> None:
    words = ["learn", "--when", "50 new accepted", "--corpus", "a%b $c"]
    unit = schedule("systemd", Path("/opt/adi"), words, "/data/my home")
    assert 'ExecStart=/opt/adi learn --when "50 new accepted" --corpus "a%%b $$c"' in unit
    assert 'Environment="ADI_HOME=/data/my home"' in unit
    assert "SuccessExitStatus=3" in unit
    line = schedule("cron", Path("/opt/adi"), words).splitlines()[-1]
    assert line == "30 2 * * * nice -n 19 /opt/adi learn --when '50 new accepted' --corpus 'a\\%b $c'"
    with pytest.raises(UsageError, match="no schedule"):
        schedule("launchd", Path("/opt/adi"), words)


def test_without_a_terminal_training_is_told_in_lines() -> None:
    stream, now = StringIO(), [0.0]
    with shown(stream, lambda: now[0]) as (tell, say):
        tell(Began(stage="sft", step=0, of=4, rows=12, left_out=1, tokens=3_600, trained=900))
        for step in range(1, 5):
            now[0] += 4.0
            tell(progressed(step, of=4))
        tell(StageDone(stage="sft", first_loss=2.0, last_loss=1.0))
        tell(Finished(adapter=Path("a\x1b[2J"), sha256="d"))
        say("stored\x07")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "answers: 12 rows, 3,600 tokens, 900 learned, 1 left out as too long"
    assert [line for line in lines if "step" in line] == [
        "answers: step 1 of 4, loss 1.500, 100 tokens/s",
        "answers: step 4 of 4, loss 1.500, 100 tokens/s",
    ]
    assert "loss 2.000 at first, 1.000 at last" in lines[-3]
    assert not any(char in stream.getvalue() for char in "\x1b\x07")


def task(name: str, part: str, function: str = "f") -> SeededTask:
    return SeededTask.model_validate(
        {
            "instance_id": name, "repo": "/r", "tree": "t", "path": "a.py", "function": function, "kind": "k",
            "part": part, "told": "x", "command": "c", "image": "python", "check_s": 5, "failing": ("t",),
            "mutated": "", "fix_diff": "", "code": "",
        }
    )  # fmt: skip


def test_a_held_out_set_that_overlaps_training_tasks_is_refused_with_the_overlap() -> None:
    places = directories()
    folder = TaskFolder(places.data / "learn" / "tasks")
    with pytest.raises(UsageError, match="no held-out tasks"):
        held_out(places)
    folder.add([task("one", "train"), task("two", "held-out", "g")], {"a.py": b""})
    assert [found.instance_id for found in held_out(places)] == ["two"]
    rows = [json.loads(line) for line in folder.file("held-out").read_text().splitlines()]
    replace_text(folder.file("held-out"), json.dumps(rows[0] | {"function": "f"}) + "\n")
    with pytest.raises(UsageError, match=r"overlap the training tasks: two and one are of f in a\.py"):
        held_out(places)


def test_wrong_rows_and_worn_tasks_are_usage_and_no_missing_environment() -> None:
    assert [exit_code_of(error("x")) for error in (RowsRefused, Worn, OutOfMemory)] == [2, 2, 6]


def test_a_round_is_a_record() -> None:
    told = Round(id="r", rows_sha256="d", runs=("a",), synthetic=1)
    assert Round.model_validate_json(told.model_dump_json()) == told
