"""Grammars of answers as masks over the vocabulary, by llguidance.

A grammar is tried out in a process of its own first (model/torch_grammar_check.py), so that none can take the
server down, then compiled once and kept. Each answer has a `Matcher` of its own.
"""

import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache

import torch
from llguidance import LLExecutor, LLMatcher, LLTokenizer, TokenizerWrapper

from model.backend import Grammar
from model.errors import Overloaded, RequestRefused, ServerFailed, Unsupported
from model.torch_grammar_check import CHECK_S, limits, reason
from model.torch_text import Text

MAX_CHARS = 256 * 1024
"""Of a grammar's text."""
KEPT = 64
"""Compiled grammars, and refusals, that are remembered."""
ANSWER_S, START_S, WAIT_S = 6 * CHECK_S, 120.0, 30.0
"""Seconds: for an answer of the process that tries grammars out, whose own limit is processor time; for its
start; and to wait for one's turn."""
_WORD, _WORDS = r'[^"\\\x00-\x20\x7F|`]', r'[^"\\\x00-\x1F\x7F|`]'
_SLICES = [f"{letters}{{1,{most}}}" for letters in (_WORD, _WORDS) for most in (10, 30)]
"""Parts of the vocabulary that are allowed or not as a whole, before those that the library knows. ADI's own
grammars end texts at `|` or a fence. Where no part fits, a mask takes ten times as long."""
_NAMES = {
    "json_schema": "the JSON schema",
    "json_object": "a JSON object",
    "regex": "the regular expression",
    "gbnf": "the GBNF grammar",
    "lark": "the Lark grammar",
}


class Matcher:
    """Where one answer is in its grammar. Used by one thread at a time."""

    def __init__(self, inner: LLMatcher, ends: frozenset[int], words: int) -> None:
        self.inner = inner
        self.spent_us = 0.0
        """Microseconds spent on masks and tokens so far."""
        self._ends = ends
        self.words = words
        self._ended = 0
        """Ends taken; the library takes none where nothing else can follow."""

    def fill(self, mask: torch.Tensor) -> None:
        """Write which tokens may follow: int32 [words] on the CPU, one bit a token, the lowest bit first.

        The model's ends are allowed exactly where the grammar may end; rows of the embedding that belong to
        no token never. Nothing is allowed once a limit of the library was met; `error` says which then.
        """
        begun = time.perf_counter()
        exact = len(mask) == self.words and mask.is_contiguous()
        found = mask if exact else torch.zeros(self.words, dtype=torch.int32)
        if not self._ended:
            self.inner.unsafe_compute_mask_ptr(found.data_ptr(), 4 * self.words)
        if not exact:
            mask.zero_()
            mask[: self.words] = found[: len(mask)]
        self.settle(mask)
        self.spent_us += 1e6 * (time.perf_counter() - begun)

    def settle(self, mask: torch.Tensor) -> None:
        """Correct a mask that the library wrote where it did not know better."""
        if self._ended or self.inner.is_error():
            mask.zero_()
        if self._ended:
            for end in self._ends:
                mask[end >> 5] |= torch.tensor(1 << (end & 31)).to(torch.int32)

    def advance(self, id: int) -> bool:
        """Take a token; False when it does not fit, and the matcher stays where it was then."""
        begun = time.perf_counter()
        if self._ended:
            fits = False
        elif id in self._ends:
            fits = self.may_end
            self._ended += fits
        else:
            fits = self.inner.try_consume_tokens([id]) == 1
        self.spent_us += 1e6 * (time.perf_counter() - begun)
        return fits

    def rollback(self, count: int) -> None:
        """Take the last `count` tokens back."""
        ends = min(count, self._ended)
        self._ended -= ends
        if count > ends and not self.inner.rollback(count - ends):
            raise ServerFailed(f"a grammar cannot go back by {count} tokens: {self.error}")

    @property
    def done(self) -> bool:
        """Whether nothing but an end can follow."""
        return bool(self._ended or self.inner.is_stopped())

    @property
    def may_end(self) -> bool:
        """Whether the answer is whole as it stands."""
        return bool(not self.inner.is_error() and self.inner.is_accepting())

    @property
    def ended(self) -> bool:
        """Whether an end was taken."""
        return self._ended > 0

    @property
    def error(self) -> str:
        """Why nothing is allowed any more; empty while all is well."""
        return reason(self.inner.get_error())


class Grammars:
    """Compiles grammars for one model. Calls may come from any thread."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._words = -(-text.vocabulary // 32)
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, LLMatcher | str] = OrderedDict()
        self._tokenizer: LLTokenizer | None = None
        self._trial = _Trial([text.decode([id]) for id in text.controls])

    def compile(self, grammar: Grammar) -> Matcher:
        """A matcher at the beginning of an answer.

        Raises RequestRefused with the library's reason for what does not compile, is too large or too costly;
        Overloaded when too many others wait to be compiled; Unsupported for a model without an end token.
        """
        if not self._text.ends:
            raise Unsupported("grammars", "the model has no token that ends an answer")
        key = hashlib.sha256(f"{grammar.kind} {grammar.text}".encode("utf-8", "replace")).digest()
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None:
            found = self._compiled(grammar)
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        if isinstance(found, str):
            raise RequestRefused(f"{_NAMES[grammar.kind]} cannot be used: {found}")
        return Matcher(found.deep_copy(), self._text.ends, self._words)

    def close(self) -> None:
        """End the process that tries grammars out; another grammar starts it again."""
        self._trial.close()

    def _compiled(self, grammar: Grammar) -> LLMatcher | str:
        """The compiled grammar, or why there is none."""
        if len(grammar.text) > MAX_CHARS:
            return f"it has {len(grammar.text)} characters, the limit is {MAX_CHARS}"
        if not grammar.text.strip() and grammar.kind != "json_object":
            return "it is empty"
        answer = self._trial.ask({"kind": grammar.kind, "text": grammar.text})
        if "error" in answer:
            return answer["error"]
        matcher = LLMatcher(self._library(), answer["grammar"], log_level=0, limits=limits())
        if not matcher.is_error():
            matcher.compute_bitmask()  # meets most limits at once, and all answers keep what it found out
        return reason(matcher.get_error()) if matcher.is_error() else matcher

    def _library(self) -> LLTokenizer:
        """The library's view of the vocabulary, built at the first grammar: half a second for a real one."""
        with self._lock:
            if self._tokenizer is None:
                ends = sorted(self._text.ends)
                wrapped = TokenizerWrapper(_Vocabulary(self._text))
                slices = [*_SLICES, *LLTokenizer.general_slices()]
                self._tokenizer = LLTokenizer(wrapped, eos_token=ends, slices=slices)
            return self._tokenizer


class _Vocabulary:
    """What the library wants to know of a tokenizer."""

    bos_token_id = None

    def __init__(self, text: Text) -> None:
        self.eos_token_id = min(text.ends)
        self.tokens = [text.bytes_of(id) for id in range(text.vocabulary)]
        self.special_token_ids = sorted({*text.controls, *text.ends})
        self._text = text

    def __call__(self, text: bytes) -> list[int]:
        return self._text.text_ids(text.decode("utf-8", "replace"))


class _Trial:
    """The process that tries grammars out; started when first needed, and again after a grammar killed it."""

    def __init__(self, controls: Sequence[str]) -> None:
        self._controls = list(controls)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._finish: Callable[[], int | None] = lambda: None
        """Ends the process, once."""

    def ask(self, asked: dict[str, str]) -> dict[str, str]:
        """`grammar` for the library, or `error`: why the grammar is refused."""
        if not self._lock.acquire(timeout=WAIT_S):
            raise Overloaded("other grammars are being compiled", retry_after=CHECK_S)
        try:
            process = self._process or self._start()
            answer = _exchange(process, asked, ANSWER_S)
            if answer is not None:
                return answer
            code = self._ended()
            if code in (-signal.SIGXCPU, -signal.SIGKILL):
                return {"error": f"compiling it takes more than {CHECK_S:g} seconds"}
            return {"error": "it is nested too deeply or takes too much memory"}
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._ended()

    def _start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-P", "-m", "model.torch_grammar_check"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self._process, self._finish = process, weakref.finalize(self, _end, process)
        if _exchange(process, {"controls": self._controls}, START_S) is None:
            self._ended()
            raise ServerFailed("the process that compiles grammars does not start")
        return process

    def _ended(self) -> int:
        """End the process; its exit status, which tells what it died of."""
        self._process = None
        return self._finish() or 0


def _end(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return process.wait()


def _exchange(process: subprocess.Popen[bytes], asked: object, wait_s: float) -> dict[str, str] | None:
    """One line there, one line back; None when the process ends or takes longer."""
    assert process.stdin is not None
    assert process.stdout is not None
    until = time.monotonic() + wait_s
    line = b""
    try:
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.monotonic())):
                    return None
                part = os.read(process.stdout.fileno(), 1 << 16)
                if not part:
                    process.wait(wait_s)
                    return None
                line += part
    except (BrokenPipeError, subprocess.TimeoutExpired):
        return None
    answer: dict[str, str] = json.loads(line)
    return answer


def fill_rows(masks: torch.Tensor, matchers: Sequence[Matcher | None]) -> None:
    """`Matcher.fill` for many rows at once, in parallel; rows without a matcher allow everything.

    `masks` is int32 [rows, words] on the CPU, contiguous.
    """
    bound = [(matcher, row) for row, matcher in enumerate(matchers) if matcher is not None]
    for row, matcher in enumerate(matchers):
        if matcher is None:
            masks[row] = -1
    together = (
        len(bound) > 1
        and masks.is_contiguous()
        and all(m.words == masks.shape[1] and not m.ended for m, _ in bound)
    )
    if not together:
        for matcher, row in bound:
            matcher.fill(masks[row])
        return
    begun = time.perf_counter()
    rows = [(matcher.inner, row) for matcher, row in bound]
    _executor().unsafe_compute_mask_ptr(rows, masks.data_ptr(), 4 * masks.shape[1], len(masks))
    for matcher, row in bound:
        matcher.settle(masks[row])
    each = 1e6 * (time.perf_counter() - begun) / len(bound)
    for matcher, _ in bound:
        matcher.spent_us += each


def apply_mask(scores: torch.Tensor, masks: torch.Tensor) -> None:
    """Make every token that is not allowed impossible, in place.

    `scores` is [rows, vocabulary] of any float type; `masks` is int32 [rows, words] on the same device.
    Tokens past the last word are not allowed.
    """
    bits = (masks[:, :, None] >> _places(masks.device)) & 1
    known = min(scores.shape[1], 32 * masks.shape[1])
    scores[:, :known].masked_fill_(bits.flatten(1)[:, :known] == 0, float("-inf"))
    scores[:, known:] = float("-inf")


@cache
def _places(device: torch.device) -> torch.Tensor:
    return torch.arange(32, dtype=torch.int32, device=device)


@cache
def _executor() -> LLExecutor:
    return LLExecutor()
