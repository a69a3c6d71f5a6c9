"""What an evaluation suite is made of: a task as a repository, an agent's attempt, a result row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Grader:
    """How an answer is graded, on files that no agent ever touched."""

    command: str
    """Shell command at the root of the graded tree; exit code 0 when the answer is right."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Laid over the answer: tests and what they need. No agent sees them, unless the task holds them too."""
    image: str = "python"
    """Profile of the sandbox image."""
    timeout_s: float = 15.0
    """Several broken programs never end."""


@dataclass(frozen=True, slots=True)
class SuiteTask:
    """One task: files of a repository, what to ask, and how to grade."""

    suite: str
    name: str
    language: str
    """Such as `py` or `rs`: the ending of its files."""
    prompt: str
    """What every agent is told."""
    files: Mapping[str, bytes]
    """The repository that the agent gets, path to content."""
    answers: tuple[str, ...]
    """Paths whose content after the attempt is the answer; empty: every changed file but the grader's."""
    grader: Grader
    checks: tuple[str, ...] = ()
    """Commands that the agent may run and that show the goal; empty where the tests are hidden."""
    tries: int = 1
    """2: after a failed attempt the agent gets the output of the failing tests and tries once more."""
    group: str = ""
    """Counted apart in the report, such as a difficulty or a language."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an agent did in one try."""

    answer: Mapping[str, bytes | None]
    """Changed files, None where it was deleted."""
    ended: str
    """Why it ended, a stop reason such as `accepted`, `failed`, `budget`, `timeout` or `error`."""
    detail: str = ""
    wall_s: float = 0.0
    calls: int = 0
    """Model calls."""
    prompt_tokens: int = 0
    """All prompt tokens, cached ones included."""
    cached_tokens: int = 0
    completion_tokens: int = 0
    later_prompt_tokens: int = 0
    """The same without the attempt's first model call."""
    later_cached_tokens: int = 0
    executed: int = 0
    """Candidates whose check was run; 0 where the agent does not tell."""
    actions: int = 0
    malformed: int = 0
    strategy: str = ""
    """What wrote the change that the agent kept."""
    run_id: str = ""
    model: str = ""
    """Model that answered, as its server names it."""


class Agent(Protocol):
    """Whatever is measured: ADI, one answer of the bare model, another agent."""

    @property
    def name(self) -> str: ...

    def attempt(self, task: SuiteTask, repo: Path, prompt: str) -> Attempt:
        """Work on the repository, once. `prompt` is the task's, in a second try with the failing output.

        Raises what means that the environment is missing; everything else is an Attempt with a reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one task, one JSON line."""

    suite: str
    name: str
    group: str
    agent: str
    seed: int
    solved: bool
    """The grader's word, not the agent's."""
    solved_at: int
    """The try that solved it; 0 when none did."""
    ended: str
    """Why the last try ended."""
    detail: str
    strategy: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    later_prompt_tokens: int
    later_cached_tokens: int
    calls: int
    executed: int
    actions: int
    malformed: int
    wall_s: float
    """Seconds of all tries, grading not counted."""
    run_ids: tuple[str, ...]
    model: str
    adi: str
    diff: str
    """The answer as a patch."""
