"""What the page of a run shows, as plain values for its template (agent/pages/run.html)."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.display_lines import ACTED, ENDS, STANCES, outcome, strings, survival_text, warning_lines
from agent.display_log import local_time, state_of
from agent.doubts import doubts
from agent.figures import count
from agent.page_diff import diff_view
from agent.page_moments import moments
from agent.page_room import PAGE_CHARS, TEXT_CHARS, Room, Shown, line
from agent.page_steps import steps_view
from agent.page_tests import tests_view
from agent.story import PHASES, PhaseName, Story, told
from memory.records import (
    Applied,
    CheckResult,
    Evaluation,
    Event,
    Payload,
    PlanMade,
    Prompted,
    RunEnded,
    RunStarted,
    RunSummary,
    Survived,
    UserActed,
    Verdict,
)

AUTHORS: Final = {"user": "edited by you", "rule": "by rule", "model": "by the model"}
TONES: Final = {"green": "good", "yellow": "careful", "red": "bad"}
RIBBON: Final = 1_000
"""Width of a bar, in its own units."""
LESSONS: Final = 40
PLACES: Final = 12
PLANS: Final = 12
PLAN_STEPS: Final = 40
DECISIONS: Final = 60


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a bar."""

    phase: str
    x: float
    width: float
    title: str


def view(run: RunSummary, events: Sequence[Event], diff: bytes) -> dict[str, Any]:
    """Everything that the template reads."""
    payloads = [event.payload for event in events]
    story, room = told(events, alive=run.alive), Room()
    started = next((item for item in payloads if isinstance(item, RunStarted)), None)
    verdict = next((item for item in reversed(payloads) if isinstance(item, Verdict)), None)
    tests, more_tests = tests_view(payloads, room)
    return {
        "run": run,
        "head": _head(run, payloads, started, room),
        "wrong": [line(sentence, 600) for sentence in story.wrong],
        "doubts": [line(doubt) for doubt in doubts(_texts(payloads, diff))],
        "story": story,
        "phases": PHASES,
        "bars": _bars(story),
        "plans": _plans(payloads, verdict.evaluation if verdict else None),
        "commands": _commands(started, room),
        "tests": tests,
        "more_tests": more_tests,
        "verdict": _verdict(verdict.evaluation) if verdict else None,
        "diff": diff_view(diff, room),
        "steps": steps_view(payloads, room),
        "search": [_sought(item.model_dump()) for item in story.search],
        "lessons": _lessons(story),
        "decisions": _decisions(payloads),
        "moments": moments(events),
        "full": room.left <= 0,
    }


def _head(
    run: RunSummary, payloads: Sequence[Payload], started: RunStarted | None, room: Room
) -> dict[str, Any]:
    ended = next((item for item in reversed(payloads) if isinstance(item, RunEnded)), None)
    tone, sentence = ENDS[ended.stop] if ended else ("yellow", "It has no end.")
    if run.alive and not ended:
        sentence = "It is still running."
    state = state_of(run)
    task = started.task if started else None
    return {
        "state": state,
        "tone": "careful" if state == "undone" else TONES[tone],
        "sentence": "The change was taken back." if state == "undone" else sentence,
        "detail": line(ended.detail, 600) if ended else "",
        "task": room.show(run.prompt),
        "title": line(run.prompt, 80),
        "when": local_time(run.started),
        "model": line(run.model) or "not named",
        "repo": line(run.repo),
        "commit": line(task.base_commit[:12]) if task else "",
        "dirty": bool(task and task.dirty),
        "image": line(task.image) if task else "",
        "version": line(started.adi_version) if started else "",
        "new_tokens": max(0, run.prompt_tokens - run.cached_tokens),
    }


def _texts(payloads: Iterable[Payload], diff: bytes) -> Iterator[str]:
    """Texts that the page may show, but for output of commands: as much of each, and of all, as it can hold.

    Prompts are not shown.
    """
    told = (strings(item.model_dump()) for item in payloads if not isinstance(item, Prompted))
    lines = diff[:PAGE_CHARS].decode("utf-8", "backslashreplace").splitlines()
    added = (text for text in lines if text.startswith("+"))
    left = PAGE_CHARS // 2
    for text in itertools.chain(added, itertools.chain.from_iterable(told)):
        if left > 0 and not text.isascii():
            yield text[:TEXT_CHARS]
            left -= len(text[:TEXT_CHARS])


def _bars(story: Story) -> list[dict[str, Any]]:
    """Bars of one length: the time as it passed, tokens read anew, and tokens written."""
    bars: list[dict[str, Any]] = []
    if story.seconds:
        pieces = _pieces((segment.phase, segment.seconds, " s") for segment in story.segments)
        bars.append({"name": "time, as it passed", "total": story.seconds, "unit": "s", "pieces": pieces})
    for name, key in (("tokens read", "new_tokens"), ("tokens written", "written_tokens")):
        values = [(phase.name, float(getattr(phase, key)), " tokens") for phase in story.phases]
        if total := sum(value for _, value, _ in values):
            bars.append({"name": name, "total": int(total), "unit": "", "pieces": _pieces(values)})
    return bars


def _pieces(values: Iterable[tuple[PhaseName, float, str]]) -> list[Piece]:
    """What is narrower than half a unit is added to the piece before it."""
    known = list(values)
    total = sum(value for _, value, _ in known)
    pieces: list[Piece] = []
    x = 0.0
    for name, value, unit in known:
        width = RIBBON * value / total if total else 0.0
        if width >= 0.5 or not pieces:
            figure = f"{value:,.1f}" if unit == " s" else f"{value:,.0f}"
            pieces.append(Piece(name, round(x, 2), round(width, 2), f"{PHASES[name]}: {figure}{unit}"))
        x += width
    return pieces


def _plans(payloads: Iterable[Payload], evaluation: Evaluation | None) -> list[dict[str, Any]]:
    passed = {result.check for result in evaluation.results if result.passed} if evaluation else set()
    made = [item.plan for item in payloads if isinstance(item, PlanMade)]
    return [
        {
            "revision": plan.revision,
            "author": AUTHORS[plan.author],
            "steps": [
                {
                    "goal": line(step.goal, 600),
                    "files": line(", ".join(step.files)),
                    "check": line(step.check),
                    "done": step.check in passed,
                }
                for step in plan.steps[:PLAN_STEPS]
            ],
        }
        for plan in made[-PLANS:]
    ]


def _commands(started: RunStarted | None, room: Room) -> list[tuple[str, Shown]]:
    checks = started.task.checks if started else ()
    told = [check for check in checks if check.command != check.name]
    return [(line(check.name), room.show(check.command)) for check in told[:PLAN_STEPS]]


def _verdict(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "accepted": evaluation.accepted,
        "detail": line(evaluation.detail, 600),
        "warnings": [line(text.plain, 600) for text in warning_lines(evaluation)],
        "results": [_result(result) for result in evaluation.results[:PLAN_STEPS]],
    }


def _result(result: CheckResult) -> dict[str, Any]:
    return {
        "check": line(result.check),
        "passed": result.passed,
        "outcome": outcome(result),
        "seconds": result.duration_s,
    }


def _sought(found: dict[str, Any]) -> dict[str, Any]:
    """A row of the search, its places cut."""
    more = len(found["places"]) - PLACES
    places = ", ".join(line(place, 120) for place in found["places"][:PLACES])
    return {
        **found,
        "strategy": line(found["strategy"]),
        "places": f"{places} and {more} more" if more > 0 else places,
        "passed": ", ".join(line(place, 120) for place in found["passed"][:PLACES]),
    }


def _lessons(story: Story) -> dict[str, list[tuple[str, str, str]]]:
    """(what was done, the lesson, why) of both kinds."""
    recalled = [("Recalled", line(item.claim, 600), line(item.why)) for item in story.recalled[:LESSONS]]
    learned = [
        (STANCES[item.stance], line(item.claim, 600), line(item.why)) for item in story.learned[:LESSONS]
    ]
    return {"recalled": recalled, "learned": learned}


def _decisions(payloads: Iterable[Payload]) -> list[dict[str, Any]]:
    """What the person did, what was applied, and what became of it."""
    found = []
    for item in payloads:
        if isinstance(item, UserActed):
            found.append(
                {"text": ACTED[item.action], "detail": line(item.detail, 600), "seconds": item.seconds}
            )
        elif isinstance(item, Applied):
            what = "Taken back" if item.undone else "Applied"
            names = line(", ".join(item.paths), 600)
            found.append(
                {"text": f"{what}: {count(len(item.paths), 'file')}", "detail": names, "seconds": 0.0}
            )
        elif isinstance(item, Survived):
            found.append({"text": survival_text(item.survival), "detail": "", "seconds": 0.0})
    return found[-DECISIONS:]
