"""A session: the store, the model and the sandbox behind the commands, opened once and closed always."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from agent.accept import Ending, decide, diffstat, take_back
from agent.crashed import close_runs
from agent.derive import derived, loads
from agent.environment import image_of
from agent.errors import ENVIRONMENT, UsageError, exit_code_of, sentence
from agent.live import settle
from agent.loop import Judge, run_task
from agent.mechanisms import Mechanism
from agent.models import Connected, named
from agent.origin import origin_of
from agent.percolate import Listener, Recorder, percolate, recorded, typed_next
from agent.person import Person
from agent.remember import Remembered
from agent.run import Desk, Run
from agent.settings import Directories, Settings, directories, store_place
from agent.survival import revisit
from feedback.checks import checks_of, detect, image_profile
from feedback.verdict import judge
from memory.lessons import Lessons
from memory.origin import Origin
from memory.records import (
    Check,
    CheckRan,
    CheckResult,
    Evaluation,
    Noted,
    RunSummary,
    Status,
    Stop,
    Task,
    Trajectory,
    UserActed,
    Verdict,
)
from memory.store import Store
from model.protocol import Model
from sandbox.errors import SandboxLost
from sandbox.exchange import recover
from sandbox.images import recipe
from sandbox.protocol import Sandbox, SandboxLimits
from sandbox.workcopy import Snapshot, WorkCopy, snapshot

MakeSandbox = Callable[[WorkCopy, str], Sandbox]
"""A sandbox with a copy of these files, labelled with the run's id."""

Known = tuple[Task, Sequence[CheckResult]]
"""A task, and how its checks ended before the change."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command gives back about a run."""

    run_id: str
    stop: Stop
    exit_code: int
    detail: str = ""


@dataclass(slots=True)
class Session:
    """Runs tasks on one repository, and settles what earlier runs left open."""

    settings: Settings
    repo: Path
    person: Person
    listeners: Sequence[Listener]
    places: Directories
    store: Store
    model: Callable[[Callable[[str], None]], Model]
    """Connects, or gives the model that is connected; the argument hears of progress."""
    sandbox: Callable[[Callable[[str], None], str], MakeSandbox]
    """Makes the maker of sandboxes for an image profile."""
    image: Callable[[WorkCopy, str], str] = lambda _files, profile: recipe(profile).tag
    """Names the image for these files and a profile."""
    on_text: Callable[[str], None] | None = None
    on_output: Callable[[bytes], None] | None = None
    origin: Callable[[Path], Origin] = origin_of
    """Whose work a run on the repository at this root begins with."""
    settle: Callable[[], Sequence[str]] = tuple
    """Before a run asks its model: takes back what live results speak against; what to tell of it."""

    def run(self, prompt: str, checks: tuple[str, ...] = ()) -> Outcome:
        """Do one task. Raises what went wrong at a boundary, after the run's end was recorded."""
        if not prompt.strip():
            raise UsageError("the task is empty", 'say what to do: adi run "make the failing test pass"')
        copied = snapshot(self.repo, self.places.shadow)
        files = WorkCopy(copied)
        origin = self.origin(copied.repo)
        memory = self._memory(origin.repository(str(copied.repo)))
        found = self._checks(files, prompt, checks, memory)
        if not found:
            raise UsageError(
                "no checks found: nothing could prove the result",
                'name a command that must pass: adi run "TASK" --check "python3 -m pytest"',
            )
        task = Task(
            id=f"{copied.tree[:12]}",
            prompt=prompt,
            repo=str(copied.repo),
            base_commit=copied.base_commit,
            tree=copied.tree,
            dirty=copied.dirty,
            image=self.image(files, image_profile(found, files.paths())),
            checks=found,
            limits=self.settings.run.limits,
        )
        run_id = self.store.start_run(recorded(task), named(self.settings), version("adi-agent"), origin)
        recorder = Recorder(self.store, run_id, self.listeners)
        recorder.tell(self.store.events(run_id)[0])
        with self._ended(recorder) as finish:
            self.store.claim_repo(str(copied.repo), run_id)
            typed_next(self.store, run_id, task)
            for note in (*self.store.warnings, *copied.notes, *self.settle()):
                recorder.emit(Noted(level="warning", text=note))
            return finish(self._work(task, files, recorder, memory))

    def _memory(self, repo: str) -> Remembered:
        """What earlier runs here taught; nothing where recall is off."""
        return Remembered(Lessons(self.store), repo) if self.settings.memory.recall else Remembered()

    def _checks(
        self, files: WorkCopy, prompt: str, given: tuple[str, ...], memory: Remembered
    ) -> tuple[Check, ...]:
        """The person's checks, else the repository's; and what the task's own examples prove."""
        found = checks_of(given) or memory.checks(detect(files))
        if not given and Mechanism.EXAMPLES not in self.settings.run.without:
            found = (*derived(files, prompt), *found)
        return found or loads(files, prompt)

    def _work(self, task: Task, files: WorkCopy, recorder: Recorder, memory: Remembered) -> Ending:
        def progress(line: str) -> None:
            recorder.emit(Noted(text=line))

        make = self.sandbox(progress, image_profile(task.checks, files.paths()))
        sandbox = make(files, recorder.run_id)
        try:
            files.pending()
            run = Run(
                task=task,
                files=files,
                sandbox=sandbox,
                model=self.model(progress),
                recorder=recorder,
                desk=self._desk(recorder),
                on_text=self.on_text,
                on_output=self.on_output,
                sampling=self.settings.run.sampling,
                without=frozenset(self.settings.run.without),
                memory=memory,
                seed=self.settings.run.seed,
            )
            try:
                return run_task(
                    run, self.person, self._judge(lambda: (run.task, run.baseline), recorder, make)
                )
            except BaseException:
                with contextlib.suppress(Exception):  # what ended the run goes on up
                    self._keep_unfinished(run)
                raise
        finally:
            sandbox.close()

    def _judge(self, known: Callable[[], Known], recorder: Recorder, make: MakeSandbox) -> Judge:
        """Judges by the checks that the task has when it is asked: a run may have added its own."""

        def verdict(files: WorkCopy) -> Evaluation:
            task, baseline = known()
            evaluation = judge(
                WorkCopy(files.snapshot),
                files,
                task.checks,
                lambda clean: make(clean, recorder.run_id),
                timeout_s=task.limits.check_s,
                on_result=lambda result: recorder.emit(CheckRan(purpose="verdict", result=result)),
                baseline=baseline,
            )
            if any(result.status == Status.SANDBOX_LOST for result in evaluation.results):
                raise SandboxLost("the sandbox was lost during the verdict", "adi doctor")
            return evaluation

        return verdict

    def _keep_unfinished(self, run: Run) -> None:
        """What was done before an interruption or a failure stays as a patch, for `adi review`."""
        if not run.files.changed():
            return
        sha256 = run.desk.publish(run.files.diff())
        if self.store.run(run.recorder.run_id).diff_sha256 != sha256:  # or it has its verdict already
            broken_off = Evaluation(detail="the work was broken off before it was judged")
            run.recorder.emit(
                Verdict(evaluation=broken_off, diff_sha256=sha256, diffstat=diffstat(run.files))
            )
        run.note("info", f"the unfinished change is kept in {run.desk.patch_file}")

    @contextlib.contextmanager
    def _ended(self, recorder: Recorder) -> Iterator[Callable[[Ending], Outcome]]:
        """Whatever happens inside, the run's end is in the store."""
        began = time.monotonic()
        outcome: list[Outcome] = []

        def finish(ending: Ending) -> Outcome:
            ended = ending.event(time.monotonic() - began)
            if self.settings.memory.distil:
                percolate(recorder, ended)
            recorder.emit(ended)
            outcome.append(Outcome(recorder.run_id, ending.stop, ending.exit_code, ending.detail))
            return outcome[-1]

        try:
            yield finish
        except KeyboardInterrupt as signal:
            recorder.emit(UserActed(action="interrupt", detail=str(signal)))
            self._record_failure(recorder, Stop.INTERRUPTED, signal, began)
            raise
        except Exception as error:
            stop = Stop.ENVIRONMENT if exit_code_of(error) == ENVIRONMENT else Stop.ERROR
            self._record_failure(recorder, stop, error, began)
            raise

    def _record_failure(self, recorder: Recorder, stop: Stop, error: BaseException, began: float) -> None:
        detail = "Ctrl-C" if type(error) is KeyboardInterrupt else sentence(error)
        ended = Ending(stop, detail).event(time.monotonic() - began)
        code = exit_code_of(error)
        with contextlib.suppress(Exception):  # the store itself may be what failed; the error goes on up
            recorder.emit(ended.model_copy(update={"exit_code": code}))

    def recover(self) -> list[str]:
        """Close what dead processes left open; the ids of runs whose change turned out to be applied."""
        return close_runs(self.store, self.repo, self._files)

    def review(self, run_id: str | None) -> Outcome:
        """Decide on a result that waits: this one, or the newest of the repository."""
        summary = self._chosen(
            run_id, self.store.pending(str(self.repo)), "nothing waits for a decision here"
        )
        if not summary.diff_sha256:
            raise UsageError(f"run {summary.id} has no change to decide on", f"adi show {summary.id}")
        if summary.applied:
            raise UsageError(f"the change of run {summary.id} is in your tree already", "adi undo")
        past = self.store.trajectory(summary.id)
        judged = past.evaluation if past.evaluation and past.evaluation.results else None
        recorder = Recorder(self.store, summary.id, self.listeners)
        with self._ended(recorder) as finish:
            _, ending = decide(
                self._desk(recorder),
                self.person,
                self._judge_again(past.task, recorder),
                self._files(past, summary),
                known=judged,
            )
            return finish(ending)

    def _judge_again(self, task: Task, recorder: Recorder) -> Judge:
        """A judge that makes its sandbox only when an edited diff asks for one."""

        def verdict(files: WorkCopy) -> Evaluation:
            make = self.sandbox(lambda _: None, image_profile(task.checks, files.paths()))
            return self._judge(lambda: (task, ()), recorder, make)(files)

        return verdict

    def undo(self, run_id: str | None) -> Outcome:
        """Take an applied change back: this one, or the last of the repository."""
        last = self.store.last_applied(str(self.repo))
        summary = self._chosen(
            run_id, [last] if last else [], "nothing was applied here that could be undone"
        )
        if not summary.applied:
            raise UsageError(f"the change of run {summary.id} is not in your tree", "adi log")
        recorder = Recorder(self.store, summary.id, self.listeners)
        files = self._files(self.store.trajectory(summary.id), summary)
        ending = take_back(self._desk(recorder), files, summary.diff_sha256)
        return Outcome(summary.id, ending.stop, ending.exit_code, ending.detail)

    def _chosen(self, run_id: str | None, found: Sequence[RunSummary], otherwise: str) -> RunSummary:
        if run_id is None:
            if not found:
                raise UsageError(otherwise, "adi log")
            return found[0]
        summary = self.store.run(run_id)
        if summary.repo != str(self.repo):
            raise UsageError(f"run {summary.id} worked on another repository", f"adi show {summary.id}")
        return summary

    def _files(self, past: Trajectory, summary: RunSummary) -> WorkCopy:
        """The work copy of a past run, from its snapshot and its patch."""
        copied = snapshot(self.repo, self.places.shadow)
        old = Snapshot(
            repo=copied.repo, shadow=copied.shadow, tree=past.task.tree, base_commit=past.task.base_commit
        )
        return WorkCopy(old).patched(self.store.artifact(summary.diff_sha256))

    def _desk(self, recorder: Recorder) -> Desk:
        return Desk(
            emit=recorder.emit,
            keep=recorder.keep,
            repo=self.repo,
            journal=self.places.journal,
            patch_file=self.places.patches / f"{recorder.run_id}.patch",
        )


@contextlib.contextmanager
def open_session(
    settings: Settings,
    repo: Path,
    person: Person,
    listeners: Sequence[Listener],
    *,
    on_text: Callable[[str], None] | None = None,
    on_output: Callable[[bytes], None] | None = None,
    origin: Callable[[Path], Origin] = origin_of,
) -> Iterator[Session]:
    """Everything a session needs, opened late and closed in order. Crashed runs are cleaned up first."""
    places = directories()
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store.open(store_place(settings)))
        recover(places.journal)
        session = Session(
            settings=settings,
            repo=repo,
            person=person,
            listeners=listeners,
            places=places,
            store=store,
            model=Connected(settings, places, stack),
            sandbox=lambda progress, profile: docker_sandboxes(settings, progress, profile),
            image=lambda files, profile: image_of(settings, files, profile),
            on_text=on_text,
            on_output=on_output,
            origin=origin,
            settle=lambda: settle(settings, places, store),
        )
        session.recover()
        revisit(store, repo)
        yield session


def docker_sandboxes(settings: Settings, progress: Callable[[str], None], profile: str) -> MakeSandbox:
    """Makes Docker sandboxes in the image of the profile, isolated as the settings say; progress tells how.

    Raises DockerMissing, IsolationMissing and ImageMissing.
    """
    from sandbox.docker import DockerSandbox, connect, reap
    from sandbox.images import ensure_image
    from sandbox.isolation import Engine, choose

    reap()
    with contextlib.closing(connect()) as client:
        isolation = choose(Engine.ask(client), settings.sandbox.isolation, settings.sandbox.runtime)
    progress(f"isolation: {isolation}")
    if not settings.sandbox.image:
        ensure_image(profile, progress)
    limits = SandboxLimits(
        memory_bytes=settings.sandbox.memory_mb * 1024**2,
        cpus=settings.sandbox.cpus,
        pids=settings.sandbox.pids,
        work_bytes=settings.sandbox.work_mb * 1024**2,
    )

    images: dict[str, str] = {}

    def make(files: WorkCopy, run_id: str) -> Sandbox:
        tree = files.snapshot.tree
        if tree not in images:
            images[tree] = image_of(settings, files, profile)
        return DockerSandbox(
            files.archive(),
            image=images[tree],
            run_id=run_id,
            limits=limits,
            ignored=lambda paths: files.ignored(paths),
            isolation=isolation,
        )

    return make
