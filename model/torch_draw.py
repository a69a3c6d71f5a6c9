"""From logits to tokens, for all rows of a step at once, each by its own rules.

What a row draws depends on its own logits, rules and `Row.uniform` only. Cuts (top_k, top_p, min_p) are
therefore made by value, equal values staying together, and the drawn number is looked up in the cumulated
probabilities in the order of the vocabulary: no order of a sort, which may differ between batches, matters.
"""

from collections.abc import Sequence

import torch

from model.backend import Drawn
from model.torch_grammar import apply_mask, fill_rows
from model.torch_row import Row


def fill_masks(rows: Sequence[Row], vocabulary: int, pinned: bool = False) -> torch.Tensor | None:
    """What each row's grammar allows next: int32 [rows, ceil(vocabulary / 32)] on the CPU, one bit a token.

    Rows without a grammar allow everything; None when no row has one. `pinned` memory goes to a GPU without
    waiting. Needs no logits, so that it can run while the forward does.
    """
    if not any(row.matcher for row in rows):
        return None
    masks = torch.empty((len(rows), -(-vocabulary // 32)), dtype=torch.int32, pin_memory=pinned)
    fill_rows(masks, [row.matcher for row in rows])
    return masks


@torch.no_grad()
def draw(scores: torch.Tensor, rows: Sequence[Row], masks: torch.Tensor | None = None) -> list[Drawn]:
    """The next token of each row.

    `scores` are raw logits, float32 [rows, vocabulary]; they are overwritten where a grammar forbids. `masks`
    come from fill_masks and are made here when absent. A row whose logits are no numbers, or whose grammar
    allows nothing, gets `Row.error` set and a token that `Row.take` will not write; the others go on.
    """
    if masks is None:
        masks = fill_masks(rows, scores.shape[1])
    broken = ~torch.isfinite(scores.amax(-1))
    told = _tell(scores, rows)
    if masks is not None:
        apply_mask(scores, masks.to(scores.device, non_blocking=True))
    chosen, best = scores.argmax(-1), scores.amax(-1)
    sampled = [i for i, row in enumerate(rows) if row.draw.temperature > 0]
    if sampled:
        which = torch.tensor(sampled, device=scores.device)
        chosen[which] = _sample(scores.index_select(0, which), [rows[i] for i in sampled])
    packed = torch.stack([chosen, broken.long(), torch.isneginf(best).long()]).tolist()
    for row, bad, barred in zip(rows, packed[1], packed[2], strict=True):
        if bad:
            row.error = "the model's output is no number (NaN or infinity)"
        elif barred:
            limit = row.matcher.error if row.matcher is not None else ""
            row.error = f"the grammar allows no token here{f': {limit}' if limit else ''}"
    return _drawn(packed[0], rows, told)


def _sample(scores: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Token ids [rows] drawn by each row's temperature, top_k, top_p and min_p. `scores` is overwritten."""
    draws = [row.draw for row in rows]

    def column(values: list[float], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=scores.device).unsqueeze(1)

    scores.div_(column([max(one.temperature, 1e-5) for one in draws]))
    if any(one.top_k for one in draws):
        _keep_top_k(scores, [one.top_k for one in draws])
    odds = scores.softmax(-1)
    if any(one.top_p < 1 for one in draws):
        _keep_top_p(odds, column([one.top_p for one in draws]))
    if any(one.min_p for one in draws):
        odds.masked_fill_(odds < odds.amax(-1, keepdim=True) * column([one.min_p for one in draws]), 0)
    sums = odds.double().cumsum(-1)
    target = column([row.uniform() for row in rows], torch.float64) * sums[:, -1:]
    return torch.searchsorted(sums, target, right=True).squeeze(1).clamp_(max=scores.shape[1] - 1)


def _keep_top_k(scores: torch.Tensor, counts: list[int]) -> None:
    """Bar all but the `counts[row]` largest scores, and their equals; 0 keeps all."""
    vocabulary = scores.shape[1]
    counts = [min(count, vocabulary) for count in counts]
    largest = scores.topk(max(counts), dim=-1).values
    at = torch.tensor([max(count, 1) - 1 for count in counts], device=scores.device).unsqueeze(1)
    all_of_it = torch.tensor([not count for count in counts], device=scores.device).unsqueeze(1)
    scores.masked_fill_((scores < largest.gather(1, at)) & ~all_of_it, float("-inf"))


def _keep_top_p(odds: torch.Tensor, shares: torch.Tensor) -> None:
    """Zero all but the likeliest tokens that make up `shares` [rows, 1] of the odds, and their equals."""
    ordered = odds.sort(-1, descending=True).values
    before = ordered.double().cumsum(-1) - ordered
    kept = ((before < shares).sum(-1, keepdim=True)).clamp_(min=1)
    least = ordered.gather(1, kept - 1)
    odds.masked_fill_((odds < least) & (shares < 1), 0)


def _tell(scores: torch.Tensor, rows: Sequence[Row]) -> tuple[list[int], torch.Tensor] | None:
    """The rows that want log-probabilities and those of their whole vocabulary, before any mask."""
    wanted = [i for i, row in enumerate(rows) if row.wants_logprobs]
    if not wanted:
        return None
    return wanted, scores[torch.tensor(wanted, device=scores.device)].log_softmax(-1)


def _drawn(ids: list[int], rows: Sequence[Row], told: tuple[list[int], torch.Tensor] | None) -> list[Drawn]:
    """Tokens with their bytes, and with log-probabilities where those are wanted."""
    drawn = [row.drawn(token) for row, token in zip(rows, ids, strict=True)]
    if told is None:
        return drawn
    wanted, logs = told
    most = max(rows[i].draw.logprobs or 0 for i in wanted)
    best = logs.topk(min(most, logs.shape[1]), dim=-1)
    own = logs.gather(1, torch.tensor([[ids[i]] for i in wanted], device=logs.device))[:, 0].tolist()
    for i, logprob, values, tokens in zip(
        wanted, own, best.values.tolist(), best.indices.tolist(), strict=True
    ):
        row, count = rows[i], rows[i].draw.logprobs or 0
        top = [(token, row.data(token), value) for token, value in zip(tokens, values, strict=True)]
        drawn[i] = Drawn(ids[i], drawn[i].data, logprob, tuple(top[:count]))
    return drawn
