"""Real work with a promoted model, read from the memory, ends in KEEP or ROLL BACK."""

from agent.gate_live import lived, outcome, watched
from feedback.harvest import harvest
from memory.records import Completed, Completion, Message, Prompted, RunEnded, Stop, Task, UserActed
from memory.store import Store

OLD, NEW = "base", "base:one"


def ran(store: Store, model: str, stop: Stop, said: str = "") -> str:
    """One run of real work: its model answered, a person said something or nothing, it ended."""
    run_id = store.start_run(Task(id="t", prompt="p", repo="/r"), "base")
    store.append(run_id, Prompted(purpose="act", messages=(Message(role="user", content="p"),)))
    answer = Completion(text="x", finish_reason="stop", model=model)
    store.append(run_id, Completed(purpose="act", completion=answer))
    if said:
        store.append(run_id, UserActed(action=said))  # type: ignore[arg-type]
    store.append(run_id, RunEnded(stop=stop, exit_code=0))
    return run_id


def test_the_last_word_counts_and_what_nobody_judged_does_not() -> None:
    with Store.open(":memory:") as store:
        for stop, said, good in (
            (Stop.ACCEPTED, "accept", True),
            (Stop.REJECTED, "reject", False),
            (Stop.ACCEPTED, "undo", False),
            (Stop.ACCEPTED, "", True),
            (Stop.FAILED, "", False),
            (Stop.PENDING, "", None),
            (Stop.ENVIRONMENT, "", None),
            (Stop.INTERRUPTED, "", None),
        ):
            assert outcome(harvest(store, ran(store, NEW, stop, said))) is good
        assert [one.good for one in lived(store)] == [True, False, False, True, False]


def test_a_model_that_disappoints_is_rolled_back_and_the_old_ones_runs_are_not_its() -> None:
    with Store.open(":memory:") as store:
        for number in range(40):
            ran(store, OLD, Stop.REJECTED if number % 8 == 0 else Stop.ACCEPTED)
        told = watched(store, OLD, NEW)
        assert (told.advice, told.old_accepted, told.old_outcomes, told.outcomes) == ("KEEP", 35, 40, 0)
        for number in range(12):
            ran(store, NEW, Stop.REJECTED if number % 4 else Stop.ACCEPTED)
            ran(store, OLD, Stop.ACCEPTED)
        told = watched(store, OLD, NEW)
        assert told.advice == "ROLL BACK", told.reason
        assert (told.old_accepted, told.old_outcomes) == (47, 52)
        assert watched(store, OLD, NEW, "9999").outcomes == 0  # promoted again, later
