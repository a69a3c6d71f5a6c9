"""One answer while it is written: what both lanes of engine `torch` share.

A lane draws tokens however it likes, gives each to `Row.take`, and calls `Row.finish` when that names a
reason or when the lane gives up. Everything that a client sees of an answer comes from here, so that the two
lanes cannot differ in stop texts, limits, ends, grammars or costs.
"""

import codecs
import hashlib
import time
from collections.abc import Callable

from model.backend import Cost, Deliver, Draw, Drawn, Ended, Job, Piece, Reason
from model.torch_grammar import Matcher
from model.torch_text import Text, TextTail


class Row:
    """The state of answer `index` of a job.

    Owned by the engine's thread, but for `gone`, which any thread may set: the client wants no more. A lane
    checks `gone` between steps; `take` then answers "stop" and `finish` says nothing to anybody.
    """

    def __init__(
        self,
        job: Job,
        index: int,
        text: Text,
        deliver: Deliver,
        matcher: Matcher | None = None,
        after: "Callable[[Row, Reason], None] | None" = None,
    ) -> None:
        """`matcher` is this row's own. `after` is called once, at the end, whoever ended it."""
        self.job = job
        self.index = index
        self.ids = job.ids
        self.draw: Draw = job.draw
        self.matcher = matcher
        self.out: list[int] = []
        """Ids written, an ending token included."""
        self.cached = 0
        """Of the prompt, the tokens whose keys and values were there already; set by the lane."""
        self.drafted = 0
        self.accepted = 0
        self.gone = False
        self.ended = False
        self.error = ""
        """Why the row cannot go on, in one sentence; whoever finds out sets it, and `take` says "error"."""
        self.salt = 0
        """Tells apart the prefixes of adapters, and of one adapter before and after it was replaced."""
        self._text = text
        self._tail = TextTail(text, job.stop)
        self._deliver = deliver
        self._after = after
        self._held: list[tuple[int, Drawn]] = []
        """Tokens behind text that is not shown yet, each with the place (in characters) where it begins."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoded = 0
        self._shown = 0
        """Characters."""
        self._submitted = time.monotonic()
        self._started = self._first = self._last = 0.0

    def begin(self) -> None:
        """The row leaves the queue; a second call changes nothing."""
        if not self._started:
            self._started = time.monotonic()

    def uniform(self) -> float:
        """A number in [0, 1) for the next token.

        It depends on the row's seed and on how many tokens are written, on nothing else: neither what shares
        the batch nor how often it was asked for changes what is drawn.
        """
        key = f"{self.draw.seed + self.index}:{len(self.out)}".encode()
        return (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 12) * 2.0**-52

    @property
    def wants_logprobs(self) -> bool:
        return self.draw.logprobs is not None

    def ends_with(self, token: int) -> bool:
        """Whether this token ends the answer and belongs to no text."""
        return token in self._text.ends or token in self.job.stop_ids

    def drawn(self, token: int) -> Drawn:
        """A token that comes without log-probabilities."""
        return Drawn(token, self._text.bytes_of(token), 0.0)

    def data(self, token: int) -> bytes:
        return self._text.bytes_of(token)

    def take(self, drawn: Drawn) -> Reason | None:
        """Write one token and show what of it may be shown; the reason when the answer ends here.

        The caller then calls `finish` with the reason. Must not be called after an end.
        """
        if self.gone:
            return "stop"
        if self.error:
            return "error"
        self._last = time.monotonic()
        self._first = self._first or self._last
        self.out.append(drawn.id)
        if self.ends_with(drawn.id):
            return "stop"
        if self.matcher is not None and not self.matcher.advance(drawn.id):
            self.error = f"token {drawn.id} does not fit the grammar that was asked for"
            return "error"
        self._held.append((self._decoded, drawn))
        self._decoded += len(self._decoder.decode(drawn.data))
        self._show(self._tail.feed(drawn.id))
        if self._tail.stopped or (self.matcher is not None and self.matcher.done):
            return "stop"
        return "length" if len(self.out) >= self.draw.max_tokens else None

    def finish(self, reason: Reason, error: str = "") -> None:
        """Show what was held back, deliver Ended with the cost; a second call changes nothing."""
        if self.ended:
            return
        self.ended = True
        self.error = error or self.error
        if not self.gone:
            self._show(self._tail.flush(), last=True)
            self._deliver(Ended(self.index, reason, self.cost(), self.error if reason == "error" else ""))
        if self._after is not None:
            self._after(self, reason)

    def cost(self) -> Cost:
        """What the row took so far."""
        now = time.monotonic()
        return Cost(
            prompt_tokens=len(self.ids),
            cached_tokens=self.cached,
            completion_tokens=len(self.out),
            queue_ms=1000 * ((self._started or now) - self._submitted),
            first_ms=1000 * (self._first - self._submitted) if self._first else 0.0,
            decode_ms=1000 * (self._last - self._first),
            drafted=self.drafted,
            accepted=self.accepted,
            grammar_us=self.matcher.spent_us if self.matcher is not None else 0.0,
        )

    def _show(self, text: str, last: bool = False) -> None:
        """Deliver a text with the tokens behind it; tokens that show nothing yet wait for the next text.

        At the end the tokens that begin after the last shown character, those of a stop text, are dropped.
        """
        self._shown += len(text)
        cut = last or self._tail.stopped
        told: list[Drawn] = []
        if text or cut:
            told = [drawn for begins, drawn in self._held if not cut or begins < self._shown]
            self._held.clear()
        if text or told:
            self._deliver(Piece(self.index, text, tuple(told)))
