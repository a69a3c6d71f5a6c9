"""The gate as `adi learn` has it: a tiny model that is really served, real runs in Docker, real guards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.gate_report import read
from agent.learn_exam import held_out
from agent.learn_gate import GateWish, judge, noise
from agent.learn_place import LearnPlace
from agent.models import choice_of
from agent.seed_made import keep
from agent.settings import Settings, directories, store_place
from memory.gates import uses
from memory.records import Message
from memory.store import Store
from model.adapter_store import AdapterStore
from model.connect import connect
from model.protocol import Sampling
from model.server import stop
from tests.adapter_kit import NAME, Home
from tests.seed_kit import library
from tests.test_agent_seed import known_task

pytestmark = [pytest.mark.container, pytest.mark.engine]
ASKED = [Message(role="user", content="what is it?")]


@pytest.fixture
def home(adi_home: Path, tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "weights")
    made.store = AdapterStore(adi_home / "adapters")
    found = known_task(library(tmp_path / "known"), "python3 -m unittest")
    tasks, _ = keep(LearnPlace(adi_home / "learn"), [found], "function")
    hold_out(adi_home, tasks[0].instance_id)
    yield made
    stop(directories().server)


def hold_out(home: Path, name: str) -> None:
    """Make the only task one of the gate: what it is drawn for depends on its name."""
    folder = home / "learn" / "tasks"
    for part in ("train", "held-out"):
        text = (folder / f"{part}.jsonl").read_text()
        if text:
            (folder / f"{part}.jsonl").write_text("")
            (folder / "held-out.jsonl").write_text(text.replace('"part":"train"', '"part":"held-out"'))
    assert [task.instance_id for task in held_out(directories())] == [name]


def settings(home: Home) -> Settings:
    """A run ends after a few words."""
    return Settings.model_validate(
        {
            "model": {"name": str(home.weights), "engine": "llama", "threads": 1, "n_ctx": 2048},
            "run": {"steps": 1, "completion_tokens": 24, "wall_s": 60, "without": ["mutations", "coverage"]},
        }
    )


def answer(told: Settings) -> tuple[str, str]:
    """What is served, and what it says."""
    model = connect(choice_of(told, directories()))
    try:
        found = model.chat(ASKED, Sampling(max_tokens=8))[0]
        return found.model, found.text
    finally:
        model.close()


def test_an_adapter_that_helps_nobody_is_not_promoted_and_the_old_model_goes_on(home: Home) -> None:
    told = settings(home)
    before = answer(told)
    name = home.add(home.trained()).name
    with Store.open(store_place(told)) as store:
        said = judge(name, directories().data / "gate", GateWish(alone=True), told, directories(), store)
        (look,) = uses(store)
    assert said.verdict == "CANNOT TELL"
    assert said.reasons[0].startswith("not shown to be better on the user's tasks"), said.reasons
    assert (look.kind, look.verdict, look.new) == ("gate", "CANNOT TELL", f"{NAME}:{name}")
    guards = {guard.name: guard for guard in read(said.report.parent).decision.guards}
    assert guards["KL to base"].n, "the served adapter was asked"
    assert guards["memorised canaries"].verdict == "held"
    word = home.store.verdict(name)
    assert word is not None
    assert word.verdict == "CANNOT TELL"
    assert home.store.current(home.base.sha256) == ""
    assert answer(told) == before


def test_the_served_model_against_itself_promotes_nobody_and_wears_nothing_out(home: Home) -> None:
    told = settings(home)
    with Store.open(store_place(told)) as store:
        said = noise(directories().data / "noise", GateWish(alone=True), told, directories(), store)
        (look,) = uses(store)
    assert said.verdict == "CANNOT TELL"
    assert (look.kind, look.alpha) == ("same", 0)
    assert home.store.history() == ()
