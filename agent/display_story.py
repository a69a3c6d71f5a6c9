"""The sums of agent/story.py as lines: where time and tokens went, lessons, and where it went wrong."""

from collections.abc import Iterator
from typing import Final

from rich.text import Text

from agent.display_lines import STANCES, count, doubt_lines, seconds, survival_text
from agent.inert import inert_line
from agent.story import PHASES, Phase, Story

BAR: Final = 12
"""Columns of the longest bar."""


def story_head(story: Story) -> Iterator[Text]:
    """What a reader wants to know before the events."""
    yield from wrong_lines(story)
    yield from spending_lines(story)
    yield from lesson_lines(story)


def wrong_lines(story: Story) -> Iterator[Text]:
    """The sentences about an unsolved run."""
    if story.wrong:
        yield Text("Where it went wrong", style="bold")
        yield from (Text(f"  {inert_line(sentence)}") for sentence in story.wrong)
        yield from doubt_lines(story.wrong)


def spending_lines(story: Story) -> Iterator[Text]:
    """One line for each part of the run: seconds, a bar, tokens."""
    if not story.phases:
        return
    yield Text("Where the time and the tokens went", style="bold")
    width = max(len(PHASES[phase.name]) for phase in story.phases)
    longest = max(phase.seconds for phase in story.phases)
    for phase in story.phases:
        share = phase.seconds / longest if longest else 0.0
        bar = "█" * max(1, round(BAR * share)) if phase.seconds else ""
        line = Text(f"  {PHASES[phase.name]:<{width}} {seconds(phase.seconds):>8}  ")
        line.append(f"{bar:<{BAR}}", style="cyan")
        yield line.append(tokens_text(phase), style="dim") if phase.calls else line


def tokens_text(phase: Phase) -> str:
    """`  240 tokens in, 960 cached, 46 out`."""
    read = f"{count(phase.new_tokens, 'token')} in, {phase.cached_tokens:,} cached"
    return f"  {read}, {phase.written_tokens:,} out"


def lesson_lines(story: Story) -> Iterator[Text]:
    """Lessons that the run was given, what it taught, and what became of its lines."""
    texts: list[str] = []
    for recall in story.recalled:
        texts += [recall.claim, recall.why]
        yield Text(f"Recalled: {inert_line(recall.claim)}").append(f"  {inert_line(recall.why)}", style="dim")
    for lesson in story.learned:
        texts += [lesson.claim, lesson.why]
        line = Text(f"{STANCES[lesson.stance]}: {inert_line(lesson.claim)}")
        yield line.append(f"  {inert_line(lesson.why)}", style="dim") if lesson.why else line
    yield from doubt_lines(texts)
    if story.survival:
        yield Text(survival_text(story.survival))
