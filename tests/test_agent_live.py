"""A promoted adapter that disappoints in real work is rolled back when the next run begins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.live import settle
from agent.person import Unattended
from agent.settings import Settings, directories, store_place
from memory.origin import Origin
from memory.records import Completed, Completion, Message, Noted, Prompted, RunEnded, Stop, Task
from memory.store import Store
from model.adapter_store import AdapterStore
from tests.adapter_kit import NAME, Home
from tests.agent_kit import BUGGY, CHECK, Script, open_local
from tests.conftest import RepoFactory


@pytest.fixture
def home(adi_home: Path, tmp_path: Path) -> Home:
    made = Home(tmp_path / "weights")
    made.store = AdapterStore(adi_home / "adapters")
    return made


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(store_place(Settings())) as found:
        yield found


def settings(home: Home, **model: str) -> Settings:
    return Settings.model_validate({"model": {"name": str(home.weights), **model}})


def worked(store: Store, model: str, *good: bool, origin: Origin | None = None) -> None:
    for one in good:
        run_id = store.start_run(Task(id="t", prompt="p", repo="/r"), NAME, origin=origin or Origin())
        store.append(run_id, Prompted(purpose="act", messages=(Message(role="user", content="p"),)))
        answer = Completion(text="x", finish_reason="stop", model=model)
        store.append(run_id, Completed(purpose="act", completion=answer))
        store.append(run_id, RunEnded(stop=Stop.ACCEPTED if one else Stop.FAILED, exit_code=0))


def promoted(home: Home, seed: int = 1) -> str:
    name = home.add(home.trained(seed)).name
    home.store.promote(name, force=True, reason="a test")
    return name


def test_what_is_worse_than_before_it_is_rolled_back_once(home: Home, store: Store) -> None:
    worked(store, NAME, *[True] * 27, False, False, False)
    name = promoted(home)
    assert settle(settings(home), directories(), store) == []
    worked(store, f"{NAME}:{name}", True, False, True, False)
    assert settle(settings(home), directories(), store) == []
    worked(store, f"{NAME}:{name}", *[False] * 6)
    (told,) = settle(settings(home), directories(), store)
    assert told.startswith(f"the adapter {name} is rolled back, the base alone is served again")
    assert "against a share of" in told
    assert home.store.current(home.base.sha256) == ""
    assert home.store.history()[-1].reason.startswith("live results: 2 of")
    assert settle(settings(home), directories(), store) == []


def test_the_one_before_is_served_again_and_held_to_what_was_before_it(home: Home, store: Store) -> None:
    worked(store, NAME, *[False] * 20)
    first = promoted(home)
    worked(store, f"{NAME}:{first}", *[True] * 30)
    second = promoted(home, seed=2)
    worked(store, f"{NAME}:{second}", *[False] * 8)
    assert f"{first} is served again" in settle(settings(home), directories(), store)[0]
    assert settle(settings(home), directories(), store) == []
    assert home.store.current(home.base.sha256) == first


def test_tasks_of_suites_and_programs_are_no_real_work(home: Home, store: Store) -> None:
    worked(store, NAME, *[True] * 30)
    name = promoted(home)
    for origin in (Origin(task="humaneval-3"), Origin(synthetic=True)):
        worked(store, f"{NAME}:{name}", *[False] * 10, origin=origin)
    assert settle(settings(home), directories(), store) == []


@pytest.mark.parametrize("choice", [{"adapter": ""}, {"url": "http://127.0.0.1:9"}])
def test_who_chose_otherwise_decides_alone(home: Home, store: Store, choice: dict[str, str]) -> None:
    worked(store, NAME, *[True] * 30)
    name = promoted(home)
    worked(store, f"{NAME}:{name}", *[False] * 10)
    assert settle(settings(home, **choice), directories(), store) == []
    assert home.store.current(home.base.sha256) == name


def test_a_run_tells_it_before_its_model_is_asked(home: Home, store: Store, make_repo: RepoFactory) -> None:
    worked(store, NAME, *[True] * 30)
    name = promoted(home)
    worked(store, f"{NAME}:{name}", *[False] * 10)
    mends = Script(lines={"calc.py line 2": "return a + b"})
    with open_local(make_repo(BUGGY), mends, Unattended(accept=True)) as session:
        session.settle = lambda: settle(settings(home), directories(), session.store)
        run_id = session.run("mend it", (CHECK.command,)).run_id
    events = [event.payload for event in store.events(run_id)]
    (note,) = [one for one in events if isinstance(one, Noted) and name in one.text]
    assert note.level == "warning"
    assert events.index(note) < next(at for at, one in enumerate(events) if isinstance(one, Prompted))
