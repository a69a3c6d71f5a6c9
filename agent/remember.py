"""What a run is given out of the memory, and how its parts use it: checks, candidates, words for the model.

A lesson is data with a history. It can put a command in place of one that was detected, put a candidate
first, or add lines to a prompt; permissions, sandbox and verdict are the same with and without it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from agent.context import KNOWN
from agent.learned import Change
from memory.checks import Check
from memory.lesson import Lesson, Recall
from memory.lessons import Lessons
from memory.recall import Found, Question, recall

TOKENS: Final = 200
"""Tokens that lessons may take in a prompt."""
TOLD: Final = ("preference", "fix", "fact")
"""Kinds that the model is told of, in this order."""
KINDS: Final = ("pytest", "unittest", "npm", "go", "cargo", "ctest", "junit", "phpunit", "tap", "make")


@dataclass(slots=True)
class Remembered:
    """The lessons given to one run; without a store of lessons there are none."""

    lessons: Lessons | None = None
    repo: str = ""
    found: list[Found] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    """Candidate texts that came from a learned change, to the lesson's id."""
    told: str = ""
    """What the model is shown."""

    def checks(self, detected: Sequence[Check]) -> tuple[Check, ...]:
        """The detected checks, each with the command that is known to run its kind of tests here.

        A kind that was not detected at all is added only where nothing was detected.
        """
        if self.lessons is None:
            return tuple(detected)
        known = self.lessons.standing({("repository", self.repo)}, ("check",))
        best = sorted(known, key=lambda item: (item.pinned, item.supported, item.changed))
        commands = {check.kind: (item, check) for item in best if (check := _check_of(item))}
        chosen = [commands.get(check.kind) for check in detected] if detected else list(commands.values())
        self.found += [Found(pair[0], "it ran the tests here before", 4.0) for pair in chosen if pair]
        if not detected:
            return tuple(pair[1] for pair in chosen if pair)
        return tuple(
            check.model_copy(update={"command": pair[1].command}) if pair else check
            for check, pair in zip(detected, chosen, strict=True)
        )

    def look_up(
        self,
        languages: Iterable[str],
        words: Iterable[str],
        signatures: Iterable[str],
        count: Callable[[str], int],
        tokens: int = TOKENS,
    ) -> tuple[Recall, ...]:
        """Recall for these failing tests; the model is shown what fits into `tokens`, as `count` measures."""
        if self.lessons is None:
            return ()
        question = Question(self.repo, tuple(languages), tuple(words), tuple(signatures))
        known = {item.lesson.id for item in self.found}
        self.found += [
            item
            for item in recall(self.lessons, question)
            if item.lesson.kind != "check" and item.lesson.id not in known
        ]
        sizes = self._tell(count, tokens)
        self.lessons.used(item.lesson.id for item in self.found)
        return tuple(
            Recall(
                lesson_id=item.lesson.id,
                kind=item.lesson.kind,
                claim=item.lesson.claim,
                why=item.why,
                tokens=sizes.get(item.lesson.id, 0),
            )
            for item in self.found
        )

    def _tell(self, count: Callable[[str], int], tokens: int) -> dict[str, int]:
        """Make the text for the model; tokens of each lesson in it."""
        lines, sizes = [KNOWN], dict[str, int]()
        left = tokens - count(KNOWN)
        for kind in TOLD:
            for item in (each for each in self.found if each.lesson.kind == kind):
                line = f"- {' '.join(item.lesson.claim.split())}"
                size = count(line) + 1
                if size <= left:
                    lines.append(line)
                    sizes[item.lesson.id] = size
                    left -= size
        self.told = "\n".join(lines) if sizes else ""
        return sizes

    def changes(self) -> list[tuple[str, Change]]:
        """Lesson and learned change, best first, to be tried on suspicious lines."""
        pairs = [(item.lesson.id, change_of(item.lesson)) for item in self.found if item.lesson.kind == "fix"]
        return [(name, change) for name, change in pairs if change]

    def rewrites(self) -> list[tuple[str, Change]]:
        """Lesson and change that turns what the person refuses into what they want."""
        pairs = [
            (item.lesson.id, change_of(item.lesson))
            for item in self.found
            if item.lesson.kind == "preference"
        ]
        return [(name, change) for name, change in pairs if change]

    def objections(self, added: Sequence[str]) -> list[Lesson]:
        """Preferences that these added lines go against."""
        words = " ".join(added)
        return [
            item.lesson
            for item in self.found
            if item.lesson.kind == "preference" and any(_holds(word, words) for word in avoided(item.lesson))
        ]


def avoided(lesson: Lesson) -> list[str]:
    """Words that the person does not want to see in a change."""
    return _texts(lesson.content.get("avoid"))


def change_of(lesson: Lesson) -> Change | None:
    """The change that a lesson carries."""
    after = _texts(lesson.content.get("after"))
    return Change(tuple(_texts(lesson.content.get("before"))), tuple(after)) if after else None


def _check_of(lesson: Lesson) -> Check | None:
    name, command, kind = (lesson.content.get(key) for key in ("name", "command", "kind"))
    if not (isinstance(name, str) and isinstance(command, str) and kind in KINDS):
        return None
    return Check.model_validate({"name": name, "command": command, "kind": kind})


def _texts(value: JsonValue) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _holds(word: str, text: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", text) is not None
