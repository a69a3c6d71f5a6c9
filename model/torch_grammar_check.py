"""A process of its own that tries grammars out before the server compiles them.

Some grammars make the library overflow its stack or compute for hours, and neither can be stopped inside the
process that serves. So the first compilation of each happens here, on a smaller stack than the server's
threads have. Run as a module it reads from stdin and answers on stdout, one JSON object a line: first
`{"controls"}`, the model's control tokens, and `{}`; then `{"kind", "text"}` (see backend.Grammar) and
`{"grammar"}` for the library or `{"error"}`.
"""

import json
import random
import resource
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from model.torch_gbnf import lark_of

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

CHECK_S = 5
"""Seconds of processor time for one grammar; the process dies of more."""
_STEPS = 64
"""Bytes of an answer that is tried out."""
_STACK = 1 << 20
_MEMORY = 3 << 30
"""Bytes: of the stack, and of all memory, address space included."""
_NOWHERE = ("nothing can match it", "an answer can come to where nothing may follow")
_JSON: "JsonCompileOptions" = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
}
"""No free white space, in which small models write on for ever; json.dumps writes the same."""


def limits() -> LLParserLimits:
    """What one grammar may cost, in the library's units; its messages say which limit was met."""
    return LLParserLimits(max_items_in_row=8_000, max_grammar_size=100_000, verbose_errors=False)


def compiled(kind: str, text: str) -> str:
    """A grammar in the library's own notation. Raises ValueError with the reason."""
    if kind == "gbnf":
        return str(LLMatcher.grammar_from_lark(lark_of(text)))
    if kind == "lark":
        return str(LLMatcher.grammar_from_lark(text))
    if kind == "regex":
        return str(LLMatcher.grammar_from_regex(text))
    schema: Any = {"type": "object"} if kind == "json_object" else json.loads(text)
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise ValueError("a schema is an object")
    return str(LLMatcher.grammar_from_json_schema(schema, overrides=_JSON))


def reason(error: str) -> str:
    """The library's words in one line."""
    words = " ".join(error.replace("<non-verbose/>", "").split())
    return words if len(words) <= 400 else words[:400] + " ..."


class _Bytes:
    """A vocabulary of the 256 bytes and the control tokens: enough to see whether anything is allowed."""

    eos_token_id = 256
    bos_token_id = None

    def __init__(self, controls: Sequence[str]) -> None:
        named = [b"<end>", *(control.encode() for control in controls)]
        self.tokens = [*(bytes([byte]) for byte in range(256)), *named]
        self.special_token_ids = list(range(256, len(self.tokens)))

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def checked(kind: str, text: str, tokenizer: LLTokenizer) -> dict[str, str]:
    """The answer to one request."""
    try:
        grammar = compiled(kind, text)
    except (ValueError, RecursionError) as error:
        return {"error": reason(str(error))}
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits())
    if matcher.is_error():
        return {"error": reason(matcher.get_error())}
    wrong = _walk(matcher)
    return {"error": reason(wrong)} if wrong else {"grammar": grammar}


def _walk(matcher: LLMatcher) -> str:
    """Write a random answer for a few bytes; what went wrong, for most limits are met at once or never."""
    draw = random.Random(0)
    for step in range(_STEPS):
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        allowed = [byte for byte in range(256) if mask >> byte & 1]
        if matcher.is_error() or not mask:
            said = matcher.get_error()
            return _NOWHERE[step > 0] if not said or said.startswith("NoExtension") else said
        if not allowed:
            break
        if not matcher.consume_token(draw.choice(allowed)):
            return matcher.get_error()
    return ""


def _serve() -> None:
    controls = json.loads(sys.stdin.readline())["controls"]
    tokenizer = LLTokenizer(TokenizerWrapper(_Bytes(controls)), eos_token=[_Bytes.eos_token_id])
    _say({})
    for line in sys.stdin:
        _allow(CHECK_S)
        asked = json.loads(line)
        _say(checked(asked["kind"], asked["text"], tokenizer))


def _say(answer: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _allow(seconds: int) -> None:
    """Let the process compute for so long from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def main() -> None:
    with suppress(ValueError, OSError):  # not every system knows every limit
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.RLIM_INFINITY))
    threading.stack_size(_STACK)
    worker = threading.Thread(target=_serve)
    worker.start()
    worker.join()


if __name__ == "__main__":
    main()
