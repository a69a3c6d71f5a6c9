"""Guesses of what comes next, from what was there before: n-grams of the prompt and of the answer itself.

An edit copies most of what it changes, a repair repeats names. Where the last tokens stood once before, the
tokens that followed there are a cheap guess, and a model reads several guessed tokens in the time of one
(prompt lookup decoding, Saxena 2023; last-longest match as in SuffixDecoding, arXiv 2411.04975).
"""

from collections.abc import Sequence

GRAM = 3
"""Tokens that must repeat before anything is guessed; two repeat by chance too often in code."""
COMPARED = 32
"""Tokens of two places that are compared to tell which match is longer."""
PLACES = 8
"""The latest places of an n-gram that are compared."""


class Drafts:
    """An index of the sequence so far: n-gram -> where it ended. Grows and shrinks at its end only."""

    def __init__(self, gram: int = GRAM) -> None:
        self._gram = gram
        self._ids: list[int] = []
        self._places: dict[tuple[int, ...], list[int]] = {}
        """n-gram -> ascending positions of the token after it; that token need not be there yet."""

    def __len__(self) -> int:
        return len(self._ids)

    def follow(self, ids: Sequence[int]) -> None:
        """Make the index one of `ids`; what it shares with the sequence before is not indexed again."""
        same = 0
        for old, new in zip(self._ids, ids, strict=False):
            if old != new:
                break
            same += 1
        self.shrink(same)
        for token in ids[same:]:
            self.add(token)

    def add(self, token: int) -> None:
        self._ids.append(token)
        if len(self._ids) >= self._gram:
            self._places.setdefault(tuple(self._ids[-self._gram :]), []).append(len(self._ids))

    def shrink(self, length: int) -> None:
        """Forget what comes after the first `length` tokens."""
        while len(self._ids) > length:
            if len(self._ids) >= self._gram:
                key = tuple(self._ids[-self._gram :])
                places = self._places[key]
                places.pop()
                if not places:
                    del self._places[key]
            self._ids.pop()

    def guess(self, most: int) -> list[int]:
        """At most `most` tokens that may follow: those after the longest match, the latest of equals."""
        end = len(self._ids)
        if most <= 0 or end < self._gram:
            return []
        places = self._places.get(tuple(self._ids[-self._gram :]), [])
        best, length = 0, 0
        for place in reversed(places[-1 - PLACES : -1]):  # the last is the end itself
            matched = self._matched(place, end)
            if matched > length:
                best, length = place, matched
        return self._copied(best, most) if length else []

    def _matched(self, place: int, end: int) -> int:
        """How many tokens before `place` equal those before `end`, counted up to COMPARED."""
        count = 0
        while (
            count < COMPARED and count < place and self._ids[place - 1 - count] == self._ids[end - 1 - count]
        ):
            count += 1
        return count

    def _copied(self, place: int, most: int) -> list[int]:
        """`most` tokens from `place`; past the end the guess goes on with itself, so that loops go on."""
        period = len(self._ids) - place
        return [self._ids[place + index % period] for index in range(most)]


class Pace:
    """How much to guess, by how well it went: wide while guesses hold, then less, then a growing pause."""

    def __init__(self, widest: int) -> None:
        """`widest` is the most tokens of one guess; 0 never guesses."""
        self.widest = widest
        self._width = widest
        self._misses = 0
        self._pause = 0
        self._longest = 4

    def room(self) -> int:
        """Tokens that may be guessed now; called once for each forward."""
        if self._pause:
            self._pause -= 1
            return 0
        return self._width

    def note(self, drafted: int, accepted: int) -> None:
        """A guess of `drafted` tokens was looked at; `accepted` of them were what the model draws."""
        if not drafted:
            return
        if accepted == drafted:
            self._width = min(self.widest, 2 * self._width)
            self._misses, self._longest = 0, 4
            return
        self._width = min(self.widest, max(2, accepted + 1))
        self._misses = 0 if accepted else self._misses + 1
        if self._misses >= 2:
            self._pause, self._misses = self._longest, 0
            self._longest = min(64, 2 * self._longest)
