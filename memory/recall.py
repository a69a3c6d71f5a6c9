"""Recall: which lessons a run is given, and why.

What is learned about one repository is never given to another; a lesson of a language or of everywhere says
so by its scope. Matches, strongest first: the person's pins, what always holds (how the repository is tested,
what its user wants), the same error, an error of the same kind, the same words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from memory.lesson import Lesson
from memory.lessons import Lessons
from memory.wording import words_of

LIMIT: Final = 12
"""Lessons of one recall."""
ALWAYS: Final = ("check", "preference")
"""Kinds that hold for every task of their place."""
PREFERENCES: Final = 6
"""Preferences of one recall, those with most support first."""
_PINNED, _ALWAYS, _SAME, _ALIKE, _WORDS = 5.0, 4.0, 3.0, 2.0, 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """What a run is about."""

    repo: str
    """Absolute path of the repository."""
    languages: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """Texts: the task, names of tests and files."""
    signatures: tuple[str, ...] = ()
    """Of the failing tests (memory/signature.py)."""

    @property
    def places(self) -> set[tuple[str, str]]:
        """Scope and place of every lesson that may be given."""
        return {("repository", self.repo), ("everywhere", "")} | {
            ("language", name) for name in self.languages
        }


@dataclass(frozen=True, slots=True)
class Found:
    """A lesson and why it was chosen."""

    lesson: Lesson
    why: str
    score: float


def recall(lessons: Lessons, question: Question, limit: int = LIMIT) -> list[Found]:
    """The lessons for a run, best first; each once, with its strongest reason."""
    found: dict[str, Found] = {}

    def add(lesson: Lesson, why: str, score: float) -> None:
        weight = score + min(lesson.supported, 9) / 100 - (0.5 if lesson.status == "trial" else 0.0)
        if lesson.status != "retired" and (lesson.id not in found or found[lesson.id].score < weight):
            found[lesson.id] = Found(lesson, why, weight)

    for lesson in _always(lessons, question):
        add(
            lesson,
            "pinned" if lesson.pinned else "holds for every task here",
            _PINNED if lesson.pinned else _ALWAYS,
        )
    by_subject = lessons.with_subjects(_subjects(question.signatures), question.places)
    for lesson in by_subject:
        same = lesson.subject in question.signatures
        add(lesson, "same error" if same else "same kind of error", _SAME if same else _ALIKE)
    words = words_of(*question.words, *question.signatures)
    for lesson, rank in lessons.search(words, question.places, 2 * limit):
        if lesson.kind not in ALWAYS:
            shared = [word for word in words_of(lesson.claim, lesson.words) if word in words][:4]
            add(lesson, f"words: {', '.join(shared)}", _WORDS * min(1.0, rank / 10))
    return sorted(found.values(), key=lambda item: (-item.score, item.lesson.id))[:limit]


def kind_of_error(signature: str) -> str:
    """A signature without where it was raised: two functions can fail in the same way."""
    return signature.rpartition(" #")[0].partition(" in ")[0]


def _subjects(signatures: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*signatures, *(kind_of_error(item) for item in signatures)]))


def _always(lessons: Lessons, question: Question) -> list[Lesson]:
    known = lessons.standing(question.places, ALWAYS)
    preferences = sorted(
        (item for item in known if item.kind == "preference"), key=lambda item: (-item.supported, item.id)
    )
    return [
        *(item for item in known if item.kind == "check" or item.pinned),
        *preferences[:PREFERENCES],
    ]
