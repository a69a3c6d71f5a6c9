"""Outside agents on the same model server: each attempt in a container, the model behind a counting gateway.

How an attempt ends: `finished` (the agent ended by itself), `too-long` (its last prompt did not fit the
window), `malformed` (it gave up on the model's format), `timeout` (killed at its limit; what it had changed
by then is its answer), `error` (it crashed, or never asked the model; `detail` has its last line).
"""

import json
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from agent.errors import EnvironmentMissing, UsageError
from agent.inert import inert_line
from agent.suite_peer_kinds import GATE, KINDS, NO_GATE, PEER, Job, Kind, script
from agent.suite_task import Agent, Attempt, SuiteTask
from model.connect import ModelChoice, connect, finder
from model.gateway import Gateway
from model.gateway_calls import Call, Rules
from model.protocol import Capabilities
from sandbox.docker import DockerSandbox
from sandbox.errors import SandboxLost
from sandbox.images import ensure, ensure_image, extended
from sandbox.isolation import Isolation
from sandbox.protocol import ExecResult, SandboxLimits
from sandbox.workcopy import WorkCopy, snapshot

INSTALL: Final = "python benchmarks/install_peers.py"
GIT: Final = ("git", ("git",))
"""Both agents want git, which the sandbox's own images do not have."""
_STATUS: Final = {"RepeatedFormatError": "malformed"}
"""What an agent's own last word stands for; anything else is `finished`."""
_GRACE_S: Final = 2.0
"""The model answers this much longer than the agent may live, so that the clock that ends it is one."""


def folder_of(data_dir: Path, name: str) -> Path:
    """Where an outside agent is installed."""
    return data_dir / "peers" / name


def peer(
    name: str,
    choice: ModelChoice,
    *,
    wall_s: float,
    temperature: float = 0.0,
    seed: int = 0,
    max_tokens: int = 2048,
    check_s: float = 15.0,
    limits: SandboxLimits | None = None,
    isolation: Isolation | None = None,
    image: str = "",
    stopping: threading.Event | None = None,
    logs: Path | None = None,
) -> Agent:
    """An outside agent by its name. `logs` is a folder for what it printed.

    `image` is where it runs; empty means the task's own image with git, made when it is not there.

    Raises UsageError for an unknown name and for no time limit, EnvironmentMissing when it is not installed,
    ModelError.
    """
    if name not in KINDS:
        raise UsageError(f"no agent {name!r}", f"choose one of: {', '.join(KINDS)}")
    if wall_s <= 0:  # a small model may go round in circles for ever
        raise UsageError(f"the agent {name} needs a time limit", "set run.wall_s")
    folder = folder_of(choice.data_dir, name)
    if not (folder / "pyvenv.cfg").is_file():
        raise EnvironmentMissing(f"the agent {name} is not installed in {folder}", f"{INSTALL} {name}")
    with closing(connect(choice)) as model:
        served = model.capabilities
    return Peer(
        name,
        folder,
        choice,
        served,
        Rules(served.model, served.n_ctx, temperature, seed=seed, max_tokens=max_tokens),
        wall_s,
        check_s,
        replace(limits or SandboxLimits(), ttl_s=wall_s + 600.0),
        isolation,
        image,
        stopping or threading.Event(),
        logs,
    )


@dataclass(frozen=True, slots=True)
class Peer:
    """One outside agent; made by `peer`."""

    name: str
    folder: Path
    choice: ModelChoice
    served: Capabilities
    rules: Rules
    wall_s: float
    """Seconds of one attempt, the start of the container included."""
    check_s: float
    """Seconds of one run of the task's check."""
    limits: SandboxLimits
    isolation: Isolation | None = None
    image: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)
    """When set, the agent is broken off at its next output, which raises KeyboardInterrupt."""
    logs: Path | None = None

    def attempt(self, task: SuiteTask, repo: Path, prompt: str) -> Attempt:
        """See agent.suite_task.Agent."""
        kind, job = KINDS[self.name], self._job(task, prompt)
        image = self._image(task.grader.image)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="adi-peer-") as name:
            files = WorkCopy(snapshot(repo, Path(name) / "shadow"))
            gate = Path(name) / "gate"
            _lay_out(gate, kind, job)
            find = finder(self.choice)
            with Gateway(gate, find, self.rules, self.wall_s + _GRACE_S, self.stopping) as gateway:
                with DockerSandbox(
                    files.archive(),
                    image=image,
                    run_id=f"{self.name}-{task.name}",
                    limits=self.limits,
                    ignored=files.ignored,
                    isolation=self.isolation,
                    mounts={PEER: self.folder, GATE: gate},
                ) as sandbox:
                    left = self.wall_s - (time.monotonic() - began)
                    result = sandbox.run(
                        f"exec /bin/sh {GATE}/start.sh", timeout_s=max(1.0, left), on_output=self._watch
                    )
                    answer = _changes(sandbox)
                wall = time.monotonic() - began
        self._log(task, result)
        if gateway.lost is not None:
            raise gateway.lost
        return _attempt(answer, result, _told(kind, result), gateway.calls, wall)

    def _job(self, task: SuiteTask, prompt: str) -> Job:
        check = " && ".join(task.checks)
        served = self.served
        return Job(
            prompt, task.answers, check, self.check_s, served.model, served.n_ctx, self.rules.max_tokens
        )

    def _image(self, profile: str) -> str:
        """Raises ImageMissing, DockerMissing."""
        if self.image:
            return self.image
        ensure_image(profile)
        return ensure(extended(profile, *GIT))

    def _watch(self, _output: bytes) -> None:
        if self.stopping.is_set():
            raise KeyboardInterrupt

    def _log(self, task: SuiteTask, result: ExecResult) -> None:
        if self.logs is not None:
            self.logs.mkdir(parents=True, exist_ok=True)
            path = self.logs / f"{self.name}-{task.suite}-{task.name}-{self.rules.seed}.txt"
            with path.open("ab") as file:
                file.write(result.output)


def _lay_out(gate: Path, kind: Kind, job: Job) -> None:
    """The files that the container sees beside the socket."""
    gate.mkdir(mode=0o755)
    files = {"message.txt": kind.message(job), "start.sh": script(kind, job), "report.py": kind.report}
    for name, text in {**files, **kind.files(job)}.items():
        path = gate / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    gate.chmod(0o755)


def _changes(sandbox: DockerSandbox) -> dict[str, bytes | None]:
    """What the agent changed, its own notes left out."""
    found = sandbox.changes()
    return {path: data for path, data in found.items() if not path.startswith(".aider")}


def _told(kind: Kind, result: ExecResult) -> Mapping[str, object]:
    """The agent's own record: the last line of the output, which a command of the model could forge."""
    try:
        told = json.loads(result.output.rstrip().rpartition(b"\n")[2]) if kind.report else {}
    except (ValueError, RecursionError):
        told = {}
    return told if isinstance(told, dict) else {}


def _attempt(
    answer: dict[str, bytes | None],
    result: ExecResult,
    told: Mapping[str, object],
    calls: list[Call],
    wall_s: float,
) -> Attempt:
    """Raises what means that no attempt could be made."""
    if result.status == "sandbox-lost":
        raise SandboxLost(result.detail, "see whether the engine answers: adi doctor")
    if result.exit_code == NO_GATE and not calls:
        raise EnvironmentMissing(
            "the container cannot reach the gateway's socket: this engine or runtime does not pass unix "
            "sockets on",
            "use an engine on this machine, and plain containers: ADI_SANDBOX__ISOLATION=container",
        )
    ended = _ended(result, told, calls)
    detail = result.detail or ("" if ended == "finished" else _last_line(result.output, told))
    if ended == "error" and result.exit_code is not None:
        detail = f"exit code {result.exit_code}: {detail}"
    prompts = [(call.prompt_tokens, call.cached_tokens) for call in calls]
    return Attempt(
        answer=answer,
        ended=ended,
        detail=detail,
        wall_s=wall_s,
        calls=len(calls),
        prompt_tokens=sum(prompt for prompt, _ in prompts),
        cached_tokens=sum(cached for _, cached in prompts),
        completion_tokens=sum(call.completion_tokens for call in calls),
        later_prompt_tokens=sum(prompt for prompt, _ in prompts[1:]),
        later_cached_tokens=sum(cached for _, cached in prompts[1:]),
        actions=_number(told, "actions"),
        malformed=_number(told, "malformed"),
        strategy="",
        model=next((call.model for call in calls if call.model), ""),
    )


def _ended(result: ExecResult, told: Mapping[str, object], calls: list[Call]) -> str:
    last = calls[-1].fate if calls else ""
    if result.status == "timeout" or last == "late":
        return "timeout"
    if result.status not in ("ok", "nonzero"):
        return "error"
    if last == "too-long":
        return "too-long"
    if result.exit_code != 0 or not calls:
        return "error"
    return _STATUS.get(str(told.get("status", "")), "finished")


def _number(told: Mapping[str, object], key: str) -> int:
    found = told.get(key)
    return found if isinstance(found, int) and 0 <= found < 1_000_000 else 0


def _last_line(output: bytes, told: Mapping[str, object]) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    if told:
        lines = lines[:-1]
    return inert_line(lines[-1].strip()[:300]) if lines else "it printed nothing"
