"""What the model is shown: the one place where prompts are built, as a view of the run.

Layout, most stable part first, so that the server's prefix cache serves all but the tail: what ADI is,
the repository, the failing checks, the files; then the question of the moment. Nothing that changes
between two questions (time, counters) stands before the tail. Prompt texts are files in agent/prompts/.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Template

from agent.localize import Suspect, lines_of
from feedback.checks import cut
from feedback.shrink import shrink
from memory.records import CheckResult, Message, PlanStep, Step
from tools.arguments import spelled

PROMPTS = Path(__file__).parent / "prompts"

FILE_CHARS = 7_000
"""Text shown of the first suspect file, of each further one half as much as of the one before.

Longer files are shown around their suspicious functions."""
FAILURE_CHARS = 1_500
"""Text shown of all failing checks together."""
INFILL_CHARS = 800
"""Text of the task in a fill-in-the-middle prompt."""
ANSWER_CHARS = 12_000
"""Text shown of one answer of the model's; a sound one is far shorter."""
COMPLETE_STOPS = ("\n```\n", "\nassert ", "\nif __name__", "\nprint(")
"""Where a completed function ends: at the fence, or at what only demonstrates it (as EvalPlus stops)."""
_REMARKS = ("\n// Test", "\n// Check function", "\n// Example", "\n// Main", "\n// Usage")
_DEMONSTRATIONS = {
    "go": ("\nfunc main(", "\nfunc Test", "\nfunc test", *_REMARKS),
    "rs": ("\nfn main(", "\n#[cfg(test)]", "\n#[test]", *_REMARKS),
    "c": ("\nint main(", *_REMARKS),
    "cpp": ("\nint main(", *_REMARKS),
    "java": ("\n    public static void main(", "\n    // Test", "\n    // Main"),
    "js": ("\nconsole.", *_REMARKS),
    "ts": ("\nconsole.", *_REMARKS),
    "php": ("\necho ", "\nassert(", *_REMARKS),
}
"""How a demonstration begins behind a body, by the file's ending; before one it may be what is asked for."""
LISTED, TOLD = "The repository:", "Values where it failed:"
"""Headings of the repository's map and of the values of locals."""
KNOWN, RULES = "Known from earlier work here:", "Rules that the repository writes down:"
"""Headings of lessons, and of what an AGENTS.md says."""
UNWELCOME = "It passes, but this project does not want it so:"
"""What the model is told before the words of a preference that its change goes against."""
PATHS_SHOWN = 60
"""Paths listed of the repository."""
LANGUAGES = {
    "py": "Python", "js": "JavaScript", "ts": "TypeScript", "java": "Java", "cpp": "C++", "rs": "Rust",
    "go": "Go", "php": "PHP", "sh": "Bash", "rb": "Ruby", "lua": "Lua", "pl": "Perl",
}  # fmt: skip
"""Names of languages by the ending of their files."""


@cache
def prompt(name: str) -> str:
    """Text of a prompt file."""
    return (PROMPTS / f"{name}.md").read_text(encoding="utf-8").strip()


def shown(text: str) -> str:
    """Text as a prompt can carry it: bytes that are no UTF-8 become replacement characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def numbered(text: str, first: int = 1, last: int = 0) -> str:
    """Lines `first` to `last` (0: the end), each after its number."""
    lines = lines_of(text)
    return "\n".join(f"{number:4} {lines[number - 1]}" for number in range(first, (last or len(lines)) + 1))


def excerpt(suspect: Suspect, limit: int = FILE_CHARS) -> str:
    """The numbered file, or where it is too long, its most suspicious functions or lines, in order."""
    whole = numbered(suspect.text)
    if len(whole) <= limit:
        return whole
    total = len(lines_of(suspect.text))
    spans = [(span.first, span.last) for span in suspect.functions] or [
        (max(1, line - 15), min(total, line + 15)) for line in suspect.lines
    ]
    kept: list[tuple[int, int]] = []
    size = 0
    for first, last in spans:
        if any(a <= first and last <= b for a, b in kept):
            continue
        size += len(numbered(suspect.text, first, last))
        if kept and size > limit:
            break
        kept.append((first, last))
    return "\n ...\n".join(numbered(suspect.text, first, last) for first, last in sorted(kept))[: limit * 2]


def situation(
    task: str,
    listing: str,
    failing: Sequence[CheckResult],
    files: Sequence[Suspect],
    told: str = "",
) -> str:
    """The task, the repository, the files that matter, what fails, and the values there (`told`)."""
    parts = [f"Task: {task}", f"{LISTED}\n{shown(listing)}"]
    for suspect in files:
        parts.append(f"File {spelled(suspect.path)}:\n{shown(excerpt(suspect, suspect.share(FILE_CHARS)))}")
    if failing:
        said = "\n".join(shrink(result, FAILURE_CHARS // len(failing)) for result in failing)
        parts.append(f"The checks fail:\n{shown(said)}")
    if told:
        parts.append(f"{TOLD}\n{shown(told)}")
    return "\n\n".join(parts)


def fitting(
    fits: Callable[[list[Message]], bool],
    task: str,
    listing: str,
    failing: Sequence[CheckResult],
    files: Sequence[Suspect],
    told: str = "",
) -> tuple[str, list[Suspect]]:
    """The situation, and the files in it: as many of the most suspicious ones as the window takes."""
    kept = list(files)
    about = situation(task, listing, failing, kept, told)
    while kept and not fits(plan_messages(about)):
        kept.pop()
        about = situation(task, listing, failing, kept, told)
    return about, kept


def listed(paths: Sequence[str]) -> str:
    """The first paths of a repository, on one line."""
    more = f" and {len(paths) - PATHS_SHOWN} more" if len(paths) > PATHS_SHOWN else ""
    return ", ".join(spelled(path) for path in paths[:PATHS_SHOWN]) + more


def plan_messages(about: str) -> list[Message]:
    """Ask for the plan."""
    return [Message(role="system", content=prompt("repair")), _user(f"{about}\n\n{prompt('plan')}")]


def line_messages(about: str, suspect: Suspect, line: int) -> list[Message]:
    """Ask for the corrected text of one line; the answer begins after the opening backtick."""
    text = shown(lines_of(suspect.text)[line - 1].strip())
    return [
        Message(role="system", content=prompt("repair")),
        _user(f"{about}\n\n{prompt('line')}"),
        Message(
            role="assistant",
            content=f"{spelled(suspect.path)} line {line} is wrong: `{text}`\nIt should be: `",
        ),
    ]


def function_messages(about: str, name: str) -> list[Message]:
    """Ask for a whole function again."""
    question = Template(prompt("function")).safe_substitute(name=name)
    return [Message(role="system", content=prompt("repair")), _user(f"{about}\n\n{question}")]


def mended_file_messages(about: str, path: str) -> list[Message]:
    """Ask for a whole file again, so that the checks pass."""
    question = Template(prompt("rewrite_file")).safe_substitute(path=spelled(path))
    return [Message(role="system", content=prompt("repair")), _user(f"{about}\n\n{question}")]


def file_messages(about: str, path: str, goal: str) -> list[Message]:
    """Ask for a whole file with one change made."""
    question = Template(prompt("file")).safe_substitute(path=path, goal=goal)
    return [Message(role="system", content=prompt("repair")), _user(f"{about}\n\n{question}")]


def mend_messages(task: str, path: str, text: str, output: str, lead: str = "") -> list[Message]:
    """Ask for a whole file again in view of what its check printed; `lead` begins the answer."""
    question = Template(prompt("mend")).safe_substitute(
        task=shown(task), path=spelled(path), text=shown(text), output=shown(output)
    )
    if not lead:
        return [_user(question)]
    fence = _fence(LANGUAGES.get(path.rpartition(".")[2], ""))
    return [_user(question), Message(role="assistant", content=f"```{fence}\n{lead}")]


def reproduce_messages(about: str) -> list[Message]:
    """Ask for a test that fails now."""
    return [Message(role="system", content=prompt("repair")), _user(f"{about}\n\n{prompt('reproduce')}")]


def infill_context(task: str, suspect: Suspect, failing: Sequence[CheckResult]) -> str:
    """What stands before the file in a fill-in-the-middle prompt: what is wanted, and what fails."""
    said = "\n".join(shrink(result, FAILURE_CHARS // len(failing)) for result in failing)
    wanted = cut(shown(task), INFILL_CHARS)
    return f"{wanted}\n\nFailing checks of {spelled(suspect.path)}:\n{shown(said)}\n"


def act_messages(cards: str, about: str, step: PlanStep, steps: Sequence[Step]) -> list[Message]:
    """The chat of the action loop: each step is the model's own text and what came of it."""
    system = Template(prompt("act")).safe_substitute(cards=cards)
    goal = f"{about}\n\nNow: {step.goal}\nDone when this passes: {step.check}"
    chat = [Message(role="system", content=system), _user(goal)]
    for item in steps:
        chat += [
            Message(role="assistant", content=cut(shown(item.completion.text), ANSWER_CHARS)),
            _user(shown(item.observation.output)),
        ]
    return chat


def oneshot_messages(
    task: str, files: Mapping[str, str] | None = None, *, complete: str = "", lead: str = ""
) -> list[Message]:
    """Ask once, without tools: for one file again, or where `task` is a situation, for its functions.

    `complete` names the language, such as `py`, of a suite whose one function is to be completed: that is
    asked in the words of EvalPlus (Liu et al. 2023), the answer begun, as the published figures were made,
    and begun further with `lead`, the text before the body.
    """
    if not files:
        return [_user(f"{shown(task)}\n\n{prompt('oneshot_functions')}")]
    ((path, text),) = files.items()
    if not complete:
        question = Template(prompt("oneshot_file"))
        return [_user(question.safe_substitute(task=shown(task), path=spelled(path), text=shown(text)))]
    language = LANGUAGES.get(complete, complete)
    problem = text.strip() or f'"""\n{task}\n"""'
    question = Template(prompt("oneshot_complete"))
    begun = Template(prompt("oneshot_begun")).safe_substitute(language=language, fence=_fence(language))
    return [
        _user(question.safe_substitute(language=language, problem=shown(problem)) + "\n"),
        Message(role="assistant", content=f"{begun}\n{lead}"),
    ]


def body_stops(path: str) -> tuple[str, ...]:
    """Where an answer that begins with a body of this file has said what was asked for."""
    return (*COMPLETE_STOPS, *_DEMONSTRATIONS.get(path.rpartition(".")[2], ()))


def _fence(language: str) -> str:
    return language.lower().replace("c++", "cpp")


def _user(text: str) -> Message:
    return Message(role="user", content=text)
