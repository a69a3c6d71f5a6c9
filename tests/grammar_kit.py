"""Grammars with checks that know nothing of the library, and answers drawn at random under them."""

import json
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any
from uuid import UUID

import torch

from agent.reflect import plan_grammar
from memory.records import Check
from model.backend import Grammar
from model.torch_grammar import Matcher, apply_mask
from model.torch_text import Text
from tools.grammar import grammar_of
from tools.registry import TOOLS, grammar

PATHS = [
    "src/app.py",
    "src/api.py",
    "src/a b.py",
    "README.md",
    'q"uote\\.py',
    "tests/test_ünï.py",
    "src/app.pyi",
]
CHECKS = [Check(name="tests", command="pytest"), Check(name="lint it", command="ruff check")]
CLOSERS = {**dict.fromkeys(b'"]}', 4.0), **dict.fromkeys(b"`\n", 5.5)}
"""Bytes that end something -> what is added to their scores, so that answers end."""


@dataclass(frozen=True)
class Case:
    """A grammar and whether a whole answer keeps to it."""

    name: str
    grammar: Grammar
    valid: Callable[[str], bool]


def schema(name: str, what: dict[str, Any], valid: Callable[[Any], bool]) -> Case:
    """`valid` gets the parsed answer; white space must be where json.dumps writes it."""

    def check(text: str) -> bool:
        return not re.search(r"[\[{,:]\s{2}|\n", text) and valid(json.loads(text))

    return Case(name, Grammar("json_schema", json.dumps(what)), check)


def shaped(what: dict[str, Any]) -> dict[str, Any]:
    """An object that has these properties and no other."""
    return {"type": "object", "properties": what, "required": list(what), "additionalProperties": False}


def _is(value: Any, kind: type) -> bool:
    return type(value) is kind


def _tree(value: Any) -> bool:
    return set(value) == {"v", "kids"} and _is(value["v"], bool) and all(_tree(kid) for kid in value["kids"])


def _parses(parse: Callable[[str], object]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        parse(value)
        return True

    return check


_READ, _SEARCH = (TOOLS[name].arguments for name in ("read", "search"))
_ENTRY = shaped({"id": {"type": "integer", "minimum": 1, "maximum": 40}, "ok": {"type": "boolean"}})
_KID = {"$ref": "#/$defs/t"}
_TREE = shaped({"v": {"type": "boolean"}, "kids": {"type": "array", "items": _KID, "maxItems": 2}})
SCHEMAS = [
    schema(
        "flat",
        shaped({"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}}),
        lambda v: set(v) == {"name", "age"} and len(v["name"]) <= 12 and _is(v["age"], int),
    ),
    schema(
        "rows",
        {"type": "array", "items": _ENTRY, "minItems": 1, "maxItems": 3},
        lambda v: 1 <= len(v) <= 3 and all(1 <= e["id"] <= 40 and _is(e["ok"], bool) for e in v),
    ),
    schema(
        "choice", {"enum": ["red", 'gr"een', 7, None, [1]]}, lambda v: v in ["red", 'gr"een', 7, None, [1]]
    ),
    schema(
        "either",
        {"anyOf": [{"type": "null"}, {"type": "string", "minLength": 2, "maxLength": 4}, _ENTRY]},
        lambda v: v is None or (_is(v, str) and 2 <= len(v) <= 4) or set(v) == {"id", "ok"},
    ),
    schema("tree", {**_KID, "$defs": {"t": _TREE}}, _tree),
    schema(
        "pattern",
        {"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"},
        lambda v: re.fullmatch(r"[A-Z]{2}-\d{3}", v) is not None,
    ),
    schema(
        "range",
        {"type": "integer", "minimum": -120, "maximum": 37},
        lambda v: _is(v, int) and -120 <= v <= 37,
    ),
    schema(
        "pair",
        {
            "type": "array",
            "prefixItems": [{"const": "x"}, {"type": "boolean"}],
            "items": False,
            "minItems": 2,
        },
        lambda v: len(v) == 2 and v[0] == "x" and _is(v[1], bool),
    ),
    schema("day", {"type": "string", "format": "date"}, _parses(date.fromisoformat)),
    schema("uuid", {"type": "string", "format": "uuid"}, _parses(UUID)),
    schema(
        "optional",
        {
            "type": "object",
            "properties": {"a": {"const": 1}, "b": {"const": 2}},
            "additionalProperties": False,
        },
        lambda v: v in [{}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}],
    ),
    schema(
        "map",
        {"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 3},
        lambda v: _is(v, dict) and all(_is(one, bool) for one in v.values()),
    ),
    schema("call", _READ.model_json_schema(), _parses(_READ.model_validate)),
    schema("search", _SEARCH.model_json_schema(), _parses(_SEARCH.model_validate)),
    Case("object", Grammar("json_object"), lambda text: _is(json.loads(text), dict)),
]


def expression(rules: str) -> re.Pattern[str]:
    """GBNF without recursion, one rule a line, as Python's regular expression."""
    bodies = dict(line.split(" ::= ", 1) for line in rules.splitlines() if " ::= " in line)
    part = re.compile(r'"((?:\\.|[^"\\])*)"|(\[(?:\\.|[^\]\\])*\])|([a-zA-Z][\w-]*)|(\()|(\{[\d,]+\})|(\S)')

    def written(name: str) -> str:
        out = ""
        for found in part.finditer(bodies[name]):
            literal, letters, rule, opened, times, sign = found.groups()
            if literal is not None:
                plain = json.loads('"' + re.sub(r"\\x(..)", r"\\u00\1", literal) + '"')
                out += f"(?:{re.escape(plain)})"
            elif rule:
                out += f"(?:{written(rule)})"
            else:
                out += letters or ("(?:" if opened else times or sign)
        return out

    return re.compile(written("root"))


def gbnf(name: str, rules: str) -> Case:
    pattern = expression(rules)
    return Case(name, Grammar("gbnf", rules), lambda text: pattern.fullmatch(text) is not None)


def regex(name: str, what: str) -> Case:
    return Case(name, Grammar("regex", what), lambda text: re.fullmatch(what, text) is not None)


JSON_RULES = r"""root ::= value
value ::= "[" (value ("," value)*)? "]" | "{" (pair ("," pair)*)? "}" | string | number
pair ::= string ":" value
string ::= "\"" [a-z\u00e9]* "\""
number ::= "-"? ([0-9] | [1-9] [0-9]{1,3}) ("." [0-9]+)?
"""
SUM_RULES = r"""start: sum
sum: term | sum "+" term
term: NUMBER | "(" sum ")"
NUMBER: /[1-9][0-9]{0,2}/
"""
OWN = [
    gbnf("action", grammar(PATHS)),
    gbnf("action of any path", grammar([])),
    *(gbnf(f"action {name}", grammar_of([tool], PATHS, thought=False)) for name, tool in TOOLS.items()),
    gbnf("plan", plan_grammar(PATHS, CHECKS)),
]
"""Every grammar that ADI itself sends to a model."""
OTHERS = [
    regex("version", r"v?[0-9]{1,3}(\.[0-9]{1,3}){2}(-(alpha|beta)[0-9]?)?"),
    regex("word and its end", r"[a-z]{1,8}b"),
    regex("letters", r"(é|日本|\U0001f600|x){1,5}".replace("\\U0001f600", "\U0001f600")),
    regex("quoted", r'"([^"\\\n]|\\["\\n]){0,20}"'),
    Case("json by rules", Grammar("gbnf", JSON_RULES), _parses(json.loads)),
    Case(
        "sum",
        Grammar("lark", SUM_RULES),
        lambda text: not re.search(r"[^0-9+()]", text) and eval(text, {"__builtins__": {}}) > 0,
    ),
]
CASES = [*SCHEMAS, *OWN, *OTHERS]


def written(
    text: Text, matcher: Matcher, seed: int, limit: int = 600, masks_us: list[float] | None = None
) -> str | None:
    """An answer drawn at random under the mask; None when it is not whole within `limit` tokens.

    The scores have more columns than there are tokens, as those of real models do. `masks_us` gets the
    microseconds of each mask.
    """
    draw = random.Random(seed)
    rows = text.vocabulary + 50
    weights, noise = closing(text, rows), gumbel(3 * rows)
    mask = torch.zeros(1, -(-rows // 32), dtype=torch.int32)
    ids: list[int] = []
    while len(ids) < limit:
        begun = time.perf_counter()
        matcher.fill(mask[0])
        if masks_us is not None:
            masks_us.append(1e6 * (time.perf_counter() - begun))
        at = draw.randrange(2 * rows)
        scores = (weights + noise[at : at + rows])[None]
        apply_mask(scores, mask)
        id = int(scores.argmax())
        if id in text.ends:
            return text.decode(ids)
        if not matcher.advance(id):
            raise AssertionError(f"the mask allowed {id}, the grammar did not: {matcher.error}")
        ids.append(id)
    return None


@cache
def gumbel(count: int) -> torch.Tensor:
    """Noise whose largest sum with scores is a draw from their softmax."""
    return -torch.empty(count).exponential_(generator=torch.Generator().manual_seed(0)).log()


@cache
def closing(text: Text, rows: int) -> torch.Tensor:
    """What is added to the scores: tokens that end something are likelier, in a large vocabulary too."""
    closers = {bytes((byte,)): more for byte, more in CLOSERS.items()}
    added = [4.0 if token in text.ends else closers.get(text.bytes_of(token), 0.0) for token in range(rows)]
    scores = torch.tensor(added)
    return torch.where(scores > 0, scores + math.log(rows / 320), scores)


def spoiled(text: str, draw: random.Random) -> str:
    """The text with one character changed, left out or put in."""
    at = draw.randrange(len(text) + 1)
    return text[:at] + draw.choice(["", "`", "x", "\n", "7", "/"]) + text[at + draw.randrange(2) :]
