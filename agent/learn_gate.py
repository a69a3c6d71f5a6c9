"""The gate of an adapter: the held-out tasks on the served model, with the adapter and without."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agent.errors import UsageError
from agent.gate_flow import Gate, Probes, run_gate
from agent.gate_overlap import Trained, trained
from agent.gate_phrases import by_heart, phrases
from agent.gate_report import GateReport
from agent.gate_run import Arm, Contest, OnRow
from agent.learn import Judged
from agent.learn_collect import open_runs
from agent.learn_exam import Exam, budget, exam_of
from agent.models import choice_of
from agent.settings import Directories, Settings
from agent.suite_agents import Adi
from agent.suite_measure import Graders
from agent.suite_task import SuiteTask
from feedback.harvest import harvest
from memory.errors import NotFound
from memory.store import Store
from model.adapter_store import WEIGHTS, AdapterStore, Manifest
from model.connect import ModelChoice, finder
from model.gate_probe import Voice
from model.http import Transport

PROMPTS = 8
"""Held-out requests that the distance to the base is measured behind."""


@dataclass(frozen=True)
class GateWish:
    """What is agreed before anything is measured."""

    samples: int = 1
    """Seeds of each task."""
    general: tuple[SuiteTask, ...] = ()
    """A set that has nothing to do with the user's work."""
    alone: bool = False
    """Promote without a general set; the report says so."""
    jobs: int = 1
    held_out: tuple[SuiteTask, ...] = ()
    """A suite in place of the seeded tasks."""


def wished(
    samples: int,
    general: Sequence[SuiteTask],
    held_out: Sequence[SuiteTask],
    *,
    alone: bool,
    jobs: int,
) -> GateWish:
    """A wish by its parts. Raises UsageError where nothing could ever be promoted."""
    if not general and not alone:
        raise UsageError(
            "without a general set nothing is promoted: harm elsewhere could not be seen",
            "--general SUITE, or --alone to promote without one; the report says so",
        )
    return GateWish(samples, tuple(general), alone, jobs, tuple(held_out))


def judge(
    name: str,
    folder: Path,
    wish: GateWish,
    settings: Settings,
    places: Directories,
    store: Store,
    *,
    on_row: OnRow = lambda _arm, _row, _done, _of: None,
    say: Callable[[str], None] = lambda _: None,
) -> Judged:
    """Run what is left of a gate, write the verdict to the store of adapters, and give it.

    Raises UsageError without held-out tasks, and what agent.gate_flow raises.
    """
    exam = exam_of(places, wish.held_out)
    choice = choice_of(settings, places)
    base, kept = choice.base(), choice.adapters
    found = kept.fitting(name, base)
    old = kept.current(base.sha256)
    runs = rows_of(found, store)
    before, after = _arm(settings, base.name, old, exam), _arm(settings, base.name, name, exam)
    user = exam.contest(wish.samples, settings)
    own = _own(folder, user, before, after)
    with _probes(choice, found, old, exam, runs, say) as probes:
        report = run_gate(
            Gate(
                old=before,
                new=after,
                user=user,
                general=_general(wish, settings),
                folder=own,
                trained=runs,
                apart=exam.apart(runs),
                probes=probes,
                alone=wish.alone,
            ),
            store,
            make_sandbox=Graders(settings),
            jobs=wish.jobs,
            on_row=on_row,
        )
    return written(kept, name, report, own)


def noise(
    folder: Path,
    wish: GateWish,
    settings: Settings,
    places: Directories,
    store: Store,
    *,
    on_row: OnRow = lambda _arm, _row, _done, _of: None,
) -> Judged:
    """The same gate with the model that is served on both sides: what chance alone does here.

    It promotes nobody, and does not count as a look at the held-out tasks. Raises as `judge` does.
    """
    exam = exam_of(places, wish.held_out)
    choice = choice_of(settings, places)
    base = choice.base()
    served = _arm(settings, base.name, choice.adapters.current(base.sha256), exam)
    user = exam.contest(wish.samples, settings)
    own = _own(folder, user, served, served)
    report = run_gate(
        Gate(
            old=served,
            new=served,
            user=user,
            general=_general(wish, settings),
            folder=own,
            alone=wish.alone,
            kind="same",
        ),
        store,
        make_sandbox=Graders(settings),
        jobs=wish.jobs,
        on_row=on_row,
    )
    return Judged(report.decision.verdict, report.decision.reasons, own / "gate.md")


def _own(folder: Path, user: Contest, old: Arm, new: Arm) -> Path:
    """Where the rows of this very plan are: with other samples, tasks or budgets it is another gate."""
    return folder / hashlib.sha256(user.plan(old.served, new.served).encode()).hexdigest()[:12]


def written(kept: AdapterStore, name: str, report: GateReport, folder: Path) -> Judged:
    """The verdict, also in the store of adapters."""
    file = folder / "gate.md"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    kept.judge(name, report.decision.verdict, str(file), digest)
    return Judged(report.decision.verdict, report.decision.reasons, file)


def _general(wish: GateWish, settings: Settings) -> Contest | None:
    if not wish.general:
        return None
    return Contest(wish.general, {}, range(1), budget(settings))


def rows_of(found: Manifest, store: Store) -> list[Trained]:
    """The runs that an adapter was trained on, as far as they are still in the memory."""
    rows = list[Trained]()
    for run_id in found.rows:
        try:
            run = harvest(store, run_id)
        except NotFound:
            continue
        rows.append(trained(run, run.repository))
    return rows


def _arm(settings: Settings, model: str, adapter: str, exam: Exam) -> Arm:
    """ADI with the model, with this adapter or none; nothing is recalled, nothing is distilled."""
    quiet = settings.model_copy(
        update={
            "memory": settings.memory.model_copy(update={"recall": False, "distil": False}),
            "model": settings.model.model_copy(update={"adapter": adapter}),
        }
    )

    def agent(seed: int) -> Adi:
        seeded = quiet.model_copy(update={"run": quiet.run.model_copy(update={"seed": seed})})
        return Adi(open_runs(seeded, exam.origin))

    return Arm(f"{model}:{adapter}" if adapter else model, agent)


@contextmanager
def _probes(
    choice: ModelChoice,
    found: Manifest,
    old: str,
    exam: Exam,
    runs: Sequence[Trained],
    say: Callable[[str], None],
) -> Iterator[Probes]:
    """The served models that are asked beside the tasks."""
    model = found.base.name
    with ExitStack() as stack:

        def voice(adapter: str) -> Voice:
            find = finder(replace(choice, adapter=adapter), say)
            transport = Transport(find, attempts=3, call_s=choice.call_s)
            stack.callback(transport.close)
            return Voice(transport, f"{model}:{adapter}" if adapter else model)

        new, base = voice(found.name), voice("")
        told = new.adapters().get(found.name, "")
        asked = [task.prompt for task in exam.tasks]
        yield Probes(
            old=voice(old) if old else base,
            new=new,
            adapter=found.name,
            # engine llama reads the same weights from another file
            sha256=told if told in found.files.values() else found.files[WEIGHTS],
            base=base,
            prompts=asked[:PROMPTS],
            canaries=by_heart([(run.id, text) for run in runs for text in run.texts]),
            phrases=phrases([run.prompt for run in runs], asked),
        )
