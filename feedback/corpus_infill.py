"""Fill-in-the-middle: the middle of a text moved to its end, so that a model learns to write into gaps.

After Bavarian et al. 2022 (arXiv 2207.14255): documents are cut at two places before they are tokenised; of
those that are, half are written prefix, suffix, middle (PSM) and half suffix, prefix, middle (SPM, their
joint form). The cuts fall between any two characters, or between two lines. What is chosen depends on the
seed and on the text alone. No end-of-text token is added: trainers add their own.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from model.catalogue import FimTokens

Mode = Literal["none", "psm", "spm"]
Spans = Literal["both", "characters", "lines"]

_CONTROL = re.compile(r"<\|[a-z][a-z_]{1,40}\|>")
"""What the control tokens of the families that ADI knows look like; the others of a vocabulary do, too."""


@dataclass(frozen=True, slots=True)
class Infill:
    """How texts are cut."""

    tokens: FimTokens
    rate: float = 0.5
    """Share of texts that are cut, 0 to 1."""
    spm_rate: float = 0.5
    """Share of those that are written suffix first."""
    spans: Spans = "both"
    """`both`: half of the texts at characters, half at lines."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """A text in three parts; put together they are the text again."""

    prefix: str
    middle: str
    suffix: str
    mode: Mode


def cut(text: str, infill: Infill) -> Cut:
    """Where the text is cut; mode `none` and all of it as prefix where it is left whole."""
    draw = _Draw(infill.seed, text)
    chosen, spm, by_lines = draw.share() < infill.rate, draw.share() < infill.spm_rate, draw.share() < 0.5
    if infill.spans != "both":
        by_lines = infill.spans == "lines"
    places = _line_starts(text) if by_lines else range(len(text) + 1)
    if not chosen or len(places) < 3:  # a middle between the two ends would be all of it
        return Cut(text, "", "", "none")
    first, second = sorted((places[draw.below(len(places))], places[draw.below(len(places))]))
    return Cut(text[:first], text[first:second], text[second:], "spm" if spm else "psm")


def _line_starts(text: str) -> Sequence[int]:
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    return starts if starts[-1] == len(text) else [*starts, len(text)]


def written(parts: Cut, tokens: FimTokens) -> str:
    """The text as a model is trained on it."""
    if parts.mode == "none":
        return parts.prefix
    if parts.mode == "psm":
        head = f"{tokens.prefix}{parts.prefix}{tokens.suffix}{parts.suffix}"
        return f"{head}{tokens.middle}{parts.middle}"
    return f"{tokens.prefix}{tokens.suffix}{parts.suffix}{tokens.middle}{parts.prefix}{parts.middle}"


def restored(text: str, mode: Mode, tokens: FimTokens) -> str:
    """The text before it was cut, from what `written` gave. In SPM form only its two ends are told apart.

    Raises ValueError for a text that has not this form.
    """
    if mode == "none":
        return text
    head, first, rest = text.partition(tokens.suffix)
    suffix, second, middle = rest.partition(tokens.middle)
    if not first or not second or not head.startswith(tokens.prefix):
        raise ValueError(f"no {mode} form of a text: it lacks a token of the gap")
    prefix = head.removeprefix(tokens.prefix)
    if mode == "spm" and prefix:
        raise ValueError("no spm form of a text: something stands before its suffix")
    return prefix + middle + suffix


def holds_control(text: str, tokens: FimTokens | None) -> bool:
    """Whether a tokenizer could take a part of the text for a control token."""
    own = (
        (tokens.prefix, tokens.suffix, tokens.middle, tokens.repo, tokens.file, *tokens.stops)
        if tokens
        else ()
    )
    return any(token and token in text for token in own) or _CONTROL.search(text) is not None


SEPARATOR: Final = "\n"


def packed(repository: str, files: Sequence[tuple[str, str]], tokens: FimTokens) -> str:
    """Files of one repository in one text, with the tokens for that: its name, then path and text of each."""
    head = f"{tokens.repo}{repository}{SEPARATOR}" if tokens.repo else ""
    parts = [
        f"{tokens.file}{path}{SEPARATOR}{text.rstrip(SEPARATOR)}{SEPARATOR}" for path, text in files[:-1]
    ]
    path, last = files[-1]
    return head + "".join(parts) + f"{tokens.file}{path}{SEPARATOR}{last}"


class _Draw:
    """Numbers that depend on the seed and a text alone, the same with every version of Python."""

    def __init__(self, seed: int, text: str) -> None:
        self._state = hashlib.sha256(f"adi-infill:{seed}:".encode() + text.encode("utf-8", "surrogatepass"))
        self._count = 0

    def _next(self) -> int:
        self._count += 1
        more = self._state.copy()
        more.update(self._count.to_bytes(4, "big"))
        return int.from_bytes(more.digest()[:8], "big")

    def share(self) -> float:
        """At least 0 and below 1."""
        return (self._next() >> 11) / 2**53

    def below(self, count: int) -> int:
        """At least 0 and below `count`, which is far below 2**64."""
        return self._next() % count
