"""Masks of grammars: what they let through keeps to the grammar, and no grammar takes the server down."""

import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from grammar_kit import CASES, OWN, Case, expression, spoiled, written
from transformers import AutoTokenizer

from model.backend import Grammar
from model.errors import RequestRefused, Unsupported
from model.tiny_torch import write_tiny_torch
from model.torch_gbnf import lark_of
from model.torch_grammar import Grammars, Matcher, apply_mask, fill_rows
from model.torch_text import Text
from tools.grammar import grammar_of
from tools.registry import TOOLS

END, PAD = 263, 261
"""The tiny model's ends: `<|im_end|>` and `<|endoftext|>`."""
WORDS = 9
"""32-bit words of a mask over the tiny model's 270 tokens."""
TIMES = 7
"""Answers drawn for each case; benchmarks/grammar.py draws many more."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    return AutoTokenizer.from_pretrained(write_tiny_torch(tmp_path_factory.mktemp("weights") / "tiny"))


@pytest.fixture(scope="module")
def text(tokenizer: Any) -> Text:
    return Text(tokenizer, None, ends=frozenset({END, PAD}))


@pytest.fixture(scope="module")
def grammars(text: Text) -> Iterator[Grammars]:
    made = Grammars(text)
    yield made
    made.close()


def allowed(matcher: Matcher, words: int = WORDS) -> set[int]:
    mask = torch.full((words,), -1, dtype=torch.int32)
    matcher.fill(mask)
    return {id for id in range(32 * words) if int(mask[id >> 5]) >> (id & 31) & 1}


def takes(grammars: Grammars, grammar: Grammar, answer: str) -> bool:
    """Whether the grammar accepts the whole answer, byte by byte."""
    matcher = grammars.compile(grammar)
    return all(matcher.advance(byte) for byte in answer.encode()) and matcher.may_end


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_answer_that_is_drawn_keeps_to_the_grammar(case: Case, grammars: Grammars, text: Text) -> None:
    drawn = [written(text, grammars.compile(case.grammar), seed) for seed in range(TIMES)]
    whole = [answer for answer in drawn if answer is not None]
    assert len(whole) > TIMES // 2
    assert [answer for answer in whole if not case.valid(answer)] == []


GOOD = {  # by name of the case; some are off by a little, and Python's expression says which
    "action": ["# because\nread README.md\n", "search x  y\n", "submit\n", 'read q"uote\\.py 1 20\n'],
    "action edit": [
        "edit src/app.py 3-17\n```python\nx = 1\n\n\n\n  `` ```\n```",
        "edit src/a b.py 1-1\n```\n```",
    ],
    "action write": ["write a/.b-c/d.py\n```\n\n`x`\n`` y\n```"],
    "plan": [
        "- Make it work | files: src/app.py, README.md | check: lint it\n- Test the rest | files: "
        "src/a b.py | check: tests\n"
    ],
}


@pytest.mark.parametrize("case", OWN, ids=lambda case: case.name)
def test_adis_own_grammars_accept_and_refuse_what_python_would(
    case: Case, grammars: Grammars, text: Text
) -> None:
    draw = random.Random(0)
    drawn = [written(text, grammars.compile(case.grammar), seed) or "" for seed in range(6)]
    seen = {True: 0, False: 0}
    for answer in [*GOOD.get(case.name, []), *(answer for answer in drawn if len(answer) < 200)]:
        for variant in [answer, *(spoiled(answer, draw) for _ in range(12))]:
            valid = case.valid(variant)
            assert takes(grammars, case.grammar, variant) == valid, variant
            seen[valid] += 1
    assert min(seen.values()) > 3


def test_a_real_path_list_compiles(grammars: Grammars) -> None:
    paths = [f"package{n % 7}/module_{n}/test_something_{n * n}.py" for n in range(300)]
    rules = grammar_of(list(TOOLS.values()), paths)
    assert takes(grammars, Grammar("gbnf", rules), f"read {paths[250]}\n")
    assert not takes(grammars, Grammar("gbnf", rules), "read package9/x.py\n")


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        ('root ::= [a-z]+ "b"', "aab", "aa"),
        ('root ::= ("a" | "ab") "bc"', "abc", "ac"),
        (r'root ::= "\u00e9\x41\n\"\\" [^\x00-\x1f\]"a-c^-]', 'éA\n"\\d', 'éA\n"\\b'),
        (r"root ::= [\U0001F600-\U0001F602]{2}", "\U0001f601\U0001f602", "\U0001f603\U0001f602"),
        ("root ::= .{2} | ", "\n\u20ac", "a"),
        ('root ::= item{1,2} # twice\nitem ::= "a"?\n  # more\n', "aa", "aaa"),
        ('root ::= "(" root ")" | [0-9]*', "((12))", "((12)"),
        ('root ::= root "+" x | x\nx ::= "x" | (\n  "y"\n)', "x+y+x", "x+"),
    ],
)
def test_gbnf_means_what_it_means_to_llama(grammars: Grammars, rules: str, good: str, bad: str) -> None:
    assert takes(grammars, Grammar("gbnf", rules), good)
    assert not takes(grammars, Grammar("gbnf", rules), bad)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ('root ::= "a', "end of input"),
        ("root ::= nothing", "no rule is called nothing"),
        ('start ::= "a"', "no rule is called root"),
        ("root ::= []", "matches nothing"),
        ("root ::= [z-a]", "wrong way round"),
        (r'root ::= "\ud800"', "no character"),
        ('root ::= "a"{3,2}', "at least 3"),
        ("root ::= " + "(" * 5000 + '"a"' + ")" * 5000, "too deeply"),
    ],
)
def test_gbnf_that_is_none_is_refused_with_the_reason(rules: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        lark_of(rules)


def test_the_ends_are_allowed_exactly_where_the_grammar_may_end(grammars: Grammars) -> None:
    matcher = grammars.compile(Grammar("regex", "ab?"))
    assert allowed(matcher) == {97}
    assert not matcher.may_end
    assert matcher.advance(97)
    assert allowed(matcher) == {98, END, PAD}
    assert matcher.may_end
    assert not matcher.done
    assert matcher.advance(98)
    assert matcher.done
    assert allowed(matcher) == {END, PAD}
    assert matcher.spent_us > 0


def test_tokens_can_be_taken_back_an_end_too(grammars: Grammars) -> None:
    matcher = grammars.compile(Grammar("regex", "ab?"))
    assert not matcher.advance(END)
    assert not matcher.advance(98)
    assert [matcher.advance(id) for id in (97, 98, PAD, END)] == [True, True, True, False]
    assert allowed(matcher) == {END, PAD}
    matcher.rollback(2)
    assert allowed(matcher) == {98, END, PAD}
    assert matcher.advance(END)
    assert matcher.done
    matcher.rollback(2)
    assert allowed(matcher) == {97}
    assert matcher.error == ""


def test_control_tokens_and_rows_without_a_token_are_never_allowed(grammars: Grammars, text: Text) -> None:
    matcher = grammars.compile(Grammar("regex", "(?s:.)*"))
    everything = allowed(matcher, WORDS + 3)
    assert everything & set(text.controls) == {END, PAD}
    assert max(everything) < text.vocabulary
    assert allowed(grammars.compile(Grammar("regex", "[a-z]")), 4) == set(range(97, 123)), "a smaller model"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_makes_the_rest_impossible(dtype: torch.dtype) -> None:
    scores = torch.arange(3 * 100, dtype=torch.float32).view(3, 100).to(dtype)
    before = scores.clone()
    masks = torch.zeros(3, 2, dtype=torch.int32)
    masks[0] = -1
    masks[1, 0] = torch.iinfo(torch.int32).min  # token 31
    masks[2, 1] = 5  # tokens 32 and 34
    apply_mask(scores, masks)
    kept = [set(torch.isfinite(row).nonzero().flatten().tolist()) for row in scores]
    assert kept == [set(range(64)), {31}, {32, 34}]
    assert torch.equal(scores[0, :64], before[0, :64])
    narrow = torch.zeros(1, 20)
    apply_mask(narrow, torch.full((1, 1), 1 << 19, dtype=torch.int32))
    assert torch.isfinite(narrow[0]).nonzero().flatten().tolist() == [19]


def test_many_rows_are_filled_as_one_by_one(grammars: Grammars) -> None:
    rules = ["a+", "b?", "[0-9]{3}", "c"]
    matchers: list[Matcher | None] = [grammars.compile(Grammar("regex", rule)) for rule in rules]
    matchers.insert(2, None)
    masks = torch.zeros(5, WORDS, dtype=torch.int32)
    fill_rows(masks, matchers)
    assert (masks[2] == -1).all()
    for row, matcher in enumerate(matchers):
        one = torch.zeros(WORDS, dtype=torch.int32)
        if matcher is not None:
            matcher.fill(one)
            assert torch.equal(masks[row], one)
    last = matchers[-1]
    assert last is not None
    assert last.advance(ord("c"))
    assert last.advance(END)
    fill_rows(masks, matchers)
    assert int(masks[4, END >> 5]) >> (END & 31) & 1
    assert not masks[4, :8].any()


def test_no_white_space_but_where_json_dumps_has_it(grammars: Grammars) -> None:
    free = Grammar("json_object")
    assert takes(grammars, free, json.dumps({"a": [1, {"b": None}], "c": "é\n"}, ensure_ascii=False))
    for loose in ('{ "a": 1}', '{"a":  1}', '{"a": 1 }', '{"a": [1,2]}', '{"a": 1}\n', "[]"):
        assert not takes(grammars, free, loose)
    assert takes(grammars, Grammar("json_schema", "true"), "[1, 2]")


@pytest.mark.parametrize(
    ("kind", "rules", "reason"),
    [
        ("json_schema", '{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ("json_schema", '{"not": {"type": "null"}}', '"not"'),
        ("json_schema", '{"type": "strange"}', "strange"),
        ("json_schema", '{"type": ', "line 1"),
        ("json_schema", "[1]", "a schema is an object"),
        ("json_schema", "false", "a schema is an object"),
        ("json_schema", '{"$ref": "https://example.com/s.json"}', "example.com"),
        ("json_schema", '{"$ref": "#"}', "nothing can match"),
        ("json_schema", '{"enum": []}', "Unsatisfiable"),
        ("json_schema", '{"pattern": "(?=a)"}', "look-ahead"),
        ("json_schema", '{"a": 1, "x-guidance": {"lenient": true}, "contains": {}}', "contains"),
        ("json_schema", "", "is empty"),
        ("regex", " ", "is empty"),
        ("regex", "a(?=b)", "look-ahead"),
        ("regex", "(", "unclosed group"),
        ("regex", "[a&&b]", "nothing can match"),
        ("regex", "a\ud800", "surrogates"),
        ("gbnf", "root ::= (", "end of input|Expected"),
        ("lark", "start: missing", "missing"),
    ],
)
def test_what_does_not_compile_is_refused_and_says_why(
    grammars: Grammars, kind: Any, rules: str, reason: str
) -> None:
    for _ in range(2):  # the second time from memory
        with pytest.raises(RequestRefused, match=reason) as told:
            grammars.compile(Grammar(kind, rules))
        assert len(str(told.value)) < 500
        assert "\n" not in str(told.value)


def chain(depth: int) -> str:
    return "root ::= r0\n" + "".join(f"r{n} ::= r{n + 1}\n" for n in range(depth)) + f'r{depth} ::= "a"\n'


BOMBS = {
    "a megabyte": ("json_schema", json.dumps({"enum": ["x" * 1_000_000]}), "1000014 characters"),
    "deep brackets": ("json_schema", '{"items":' * 20_000 + "{}" + "}" * 20_000, "recursion"),
    "deep groups": ("lark", "start: " + "(" * 9999 + '"a"' + ")" * 9999, "nested"),
    "a long chain of rules": ("gbnf", chain(4000), "too deeply"),
    "a long chain of references": (
        "json_schema",
        json.dumps({"$ref": "#/$defs/0", "$defs": {n: {"$ref": f"#/$defs/{n + 1}"} for n in range(6000)}}),
        "too deeply|recursion|not exist",
    ),
    "doubling expressions": ("lark", "start: T0\n" + "".join(f"T{n}: T{n + 1} T{n + 1}\n" for n in range(40))
                             + 'T40: "a"', "too big"),
    "doubling rules": ("lark", "start: r0\n" + "".join(f"r{n}: r{n + 1} r{n + 1}\n" for n in range(60))
                       + 'r60: "a"', "Too many items"),
    "too many ways": ("regex", "(a?){5000}a{5000}", "too many"),
    "multiplied choices": (
        "json_schema",
        json.dumps({"allOf": [
            {"anyOf": [{"properties": {f"a{n}": {}}}, {"properties": {f"b{n}": {}}}]} for n in range(12)
        ]}),
        "too large",
    ),
    "days of computing": ("json_schema", '{"type": "integer", "multipleOf": 9000011}', "5 seconds|memory"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_grammar_bomb_is_refused_in_bounded_time(grammars: Grammars, name: str) -> None:
    kind, rules, reason = BOMBS[name]
    begun = time.monotonic()
    with pytest.raises(RequestRefused, match=reason):
        grammars.compile(Grammar(kind, rules))  # type: ignore[arg-type]
    assert time.monotonic() - begun < 60
    assert takes(grammars, Grammar("regex", f"after {name}"), f"after {name}"), "the next one is served"


def test_a_recursive_schema_is_no_bomb(grammars: Grammars) -> None:
    tree = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}}
    grammar = Grammar("json_schema", json.dumps({**tree, "additionalProperties": False}))
    deep = '{"kids": [' * 30 + "{}" + "]}" * 30
    assert takes(grammars, grammar, deep)
    assert not takes(grammars, grammar, deep[:-1] + "]")


def test_answers_under_the_same_grammar_share_nothing(grammars: Grammars) -> None:
    grammar = Grammar("json_schema", json.dumps({"enum": [f"value {n}" for n in range(3000)]}))
    one = grammars.compile(grammar)
    two = grammars.compile(grammar)
    assert one.advance(ord('"'))
    assert allowed(two) == {ord('"')}


def test_grammars_compile_on_many_threads(text: Text) -> None:
    made = Grammars(text)
    said: list[bool] = []

    def work(number: int) -> None:
        for step in range(5):
            said.append(takes(made, Grammar("regex", f"x{(number + step) % 6}y"), f"x{(number + step) % 6}y"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.close()
    assert said == [True] * 40


def test_more_grammars_than_are_kept_do_no_harm(grammars: Grammars) -> None:
    for number in range(80):
        assert takes(grammars, Grammar("regex", f"n{number}"), f"n{number}")


def test_a_limit_met_in_the_middle_allows_nothing_and_says_so(grammars: Grammars) -> None:
    doubling = "".join(f"r{n}: r{n + 1} r{n + 1}\n" for n in range(60)) + 'r60: "a"'
    matcher = grammars.compile(Grammar("lark", f"start: X r0\nX: /[xy]{{100}}/\n{doubling}"))
    for _ in range(100):
        assert matcher.advance(ord("x"))
    while (next_ones := allowed(matcher)) and matcher.advance(min(next_ones)):
        assert matcher.error == ""
    assert allowed(matcher) == set()
    assert "Too many items" in matcher.error
    assert not matcher.may_end


def test_a_model_without_an_end_has_no_grammars(tokenizer: Any) -> None:
    with pytest.raises(Unsupported, match="grammars"):
        Grammars(Text(tokenizer, None, ends=frozenset())).compile(Grammar("json_object"))


def test_the_reference_of_these_tests_reads_gbnf() -> None:
    pattern = expression('root ::= "a\\n" b{2} | [^\\]x] (b "\\"")?\nb ::= [0-9]+ | "."')
    assert pattern.fullmatch("a\n7.")
    assert pattern.fullmatch('y12"')
    assert not pattern.fullmatch("x")
