"""The fast lane of engine `torch`: one answer at a time, drafted by n-grams and checked in the same pass.

Its keys and values stay after the answer, so that the next prompt of the same agent reads only what is new.
A draft never changes what is written: each of its tokens is drawn as if it had not been guessed, with the
row's own number, rules and grammar, and the first one that differs ends the draft.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from model.backend import Drawn, Reason
from model.torch_drafts import Drafts, Pace
from model.torch_draw import draw
from model.torch_graphs import Passes, passes
from model.torch_lean import lean
from model.torch_row import Row

DRAFTED = 10
"""Most tokens guessed at once."""


class SingleLane:
    """Writes one row; owned by the engine's thread. The row's adapter must be the active one in `step`."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        n_ctx: int,
        drafted: int = DRAFTED,
        chunk: int | None = None,
        short: bool | None = None,
        over: Passes | None = None,
    ) -> None:
        """`drafted` is the most tokens guessed at once, 0 for none; `chunk` the most prompt tokens of a step.

        `short` runs short passes by model/torch_lean.py where it knows the model, by default on a GPU; for
        this the lane must be made before adapters are put into the model. `over` replaces the passes.
        """
        on_gpu = model.device.type == "cuda"
        forward = lean(model) if over is None and (on_gpu if short is None else short) else None
        self.busy: Row | None = None
        self._passes = over or passes(model, n_ctx=n_ctx, width=drafted + 1, forward=forward)
        # Attention written out holds a number for each pair of tokens and head, several times over.
        written_out = model.config._attn_implementation == "eager"
        self._chunk = chunk or (256 if not on_gpu else 512 if written_out else 2048)
        self._drafted = min(drafted, self._passes.width - 1)
        self._adapter = ""
        self._ids: list[int] = []
        """Prompt and answer of the row, or of the last one."""
        self._known = 0
        """How many of them have keys and values; of an answer all but the newest token."""
        self._drafts = Drafts()
        self._pace = Pace(self._drafted)

    def can(self, row: Row) -> bool:
        """Whether `begin` may be called with it now."""
        return self.busy is None and row.job.n == 1 and 0 < len(row.ids) < self._passes.n_ctx

    def begin(self, row: Row) -> None:
        """The row is next. What it shares with the last row, of the same adapter, is not read again."""
        same = _shared(self._ids[: self._known], row.ids) if row.job.adapter == self._adapter else 0
        self._adapter = row.job.adapter
        # The last token is always read: its logits are what the answer starts with.
        self._known = row.cached = self._passes.rewind(min(same, len(row.ids) - 1))
        self._ids = list(row.ids)
        self._pace = Pace(self._drafted)
        self.busy = row
        row.begin()

    def step(self) -> None:
        """One forward pass: a part of the prompt, or one token or more of the answer.

        What a pass raises, out of memory for one, is the caller's to catch; `abort` then frees the lane.
        """
        row = self.busy
        if row is None:
            return
        if row.gone:
            self._end(row, "stop")
        elif not row.out:
            self._read(row)
        else:
            self._write(row, self._guess(row))

    def abort(self, error: str = "the answer was given up") -> None:
        """End the row with reason `error`; the lane can begin another. What was read stays known."""
        if self.busy is not None:
            self._end(self.busy, "error", error)

    def forget(self, adapter: str) -> None:
        """The adapter's weights changed or went: nothing computed with them may be used again."""
        self._passes.forget(adapter)
        if adapter == self._adapter:
            self._known = self._passes.rewind(0)

    def numbers(self) -> dict[str, float]:
        """For Stats.extra."""
        return self._passes.numbers()

    def _read(self, row: Row) -> None:
        """The next part of the prompt; the token after its last part is drawn at once."""
        part = self._ids[self._known : self._known + self._chunk]
        logits = self._passes.run(part, self._known, 1, self._adapter)
        last = self._known + len(part) == len(self._ids)
        self._known += len(part) - last
        if last:
            self._settle(row, logits, [])

    def _write(self, row: Row, guessed: list[int]) -> None:
        logits = self._passes.run([self._ids[-1], *guessed], self._known, 1 + len(guessed), self._adapter)
        self._settle(row, logits, guessed)

    def _guess(self, row: Row) -> list[int]:
        """What may follow, as far as the answer and the window have room for it."""
        room = min(
            self._pace.room(),
            row.draw.max_tokens - len(row.out) - 1,
            self._passes.n_ctx - len(self._ids) - 1,
        )
        guessed = self._drafts.guess(room)
        ends = (index for index, token in enumerate(guessed) if row.ends_with(token))
        return guessed[: next(ends, len(guessed))]

    def _settle(self, row: Row, logits: Tensor, guessed: list[int]) -> None:
        """Draw after the newest token and after each guess (logits of them all), as far as guesses hold."""
        # The forward may still be running on a GPU: what follows is the CPU's part of the work.
        if not row.out:
            self._drafts.follow(self._ids)
        masks = None
        if row.matcher is not None:
            masks = _masks(row, guessed, logits.shape[1])
            guessed = guessed[: len(masks) - 1]
        held, reason = 0, None
        for index, drawn in enumerate(_draws(row, logits[: len(guessed) + 1], masks)):
            before = len(row.out)
            reason = row.take(drawn)
            if len(row.out) == before:
                break  # it was not written: the row is given up or broken
            self._known += 1
            self._ids.append(drawn.id)
            self._drafts.add(drawn.id)
            if index < len(guessed) and drawn.id == guessed[index]:
                held += 1
            if reason is not None or held <= index:
                break
        row.drafted += len(guessed)
        row.accepted += held
        self._pace.note(len(guessed), held)
        if reason is None and len(self._ids) >= self._passes.n_ctx:
            reason = "length"
        if reason is not None:
            self._end(row, reason)

    def _end(self, row: Row, reason: Reason, error: str = "") -> None:
        self.busy = None
        row.finish(reason, error)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


def _masks(row: Row, guessed: Sequence[int], vocabulary: int) -> Tensor:
    """What the grammar allows after each guess: int32 (1 + guesses that it allows, ceil(vocabulary / 32)).

    The row's grammar must be where the answer is, and is left there.
    """
    matcher = row.matcher
    assert matcher is not None
    masks = torch.full((len(guessed) + 1, -(-vocabulary // 32)), -1, dtype=torch.int32)
    ahead = 0
    for index in range(len(guessed) + 1):
        matcher.fill(masks[index])
        if index == len(guessed) or not _allows(masks[index], guessed[index]):
            break
        if not matcher.advance(guessed[index]):
            break
        ahead += 1
        if matcher.done:
            break
    filled = index + 1
    matcher.rollback(ahead)
    return masks[:filled]


def _allows(mask: Tensor, token: int) -> bool:
    return bool(int(mask[token >> 5]) >> (token & 31) & 1)


def _draws(row: Row, logits: Tensor, masks: Tensor | None) -> Iterator[Drawn]:
    """The token of each position, (positions, vocabulary), for as long as the caller takes the one before."""
    if row.draw.temperature <= 0:
        best = _best(row, logits, masks)
        if best is not None:
            yield from best
            return
    for index in range(len(logits)):
        # One after the other: the number a token is drawn with depends on what was written before it.
        scores = logits[index : index + 1].to(torch.float32, copy=True)
        yield draw(scores, [row], None if masks is None else masks[index : index + 1])[0]


def _best(row: Row, logits: Tensor, masks: Tensor | None) -> list[Drawn] | None:
    """Greedy draws of all positions at once; None when one of them has none, which may never be reached."""
    if masks is None and not row.wants_logprobs:
        values, ids = logits.max(-1)
        found = torch.stack((ids.double(), values.double())).tolist()
        sound = all(abs(value) < float("inf") for value in found[1])
        return [row.drawn(int(token)) for token in found[0]] if sound else None
    drawn = draw(logits.to(torch.float32, copy=True), [row] * len(logits), masks)
    if row.error:
        row.error = ""
        return None
    return drawn
