"""Draws answers at random under grammars, checks each, and measures what masks cost.

Run: python -m benchmarks.grammar PATH [--answers 1000] [--step-ms 1 3.3]

PATH is a GGUF file, whose tokenizer takes a minute to read, or a folder that holds a tokenizer. No model is
needed: answers are drawn from random scores over the whole vocabulary, which is harder on a grammar than any
model. The grammars are those of tests/grammar_kit.py: JSON schemas, regular expressions, every grammar that
ADI itself sends, GBNF and Lark with recursion. What is whole is judged by checks that know nothing of the
library. What a mask costs in use is measured on texts as models write them: the source of this project under
the grammar of an action and inside JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from model import torch_grammar
from model.backend import Grammar
from model.catalogue import load
from model.torch_grammar import Grammars, apply_mask, fill_rows
from model.torch_text import Text
from tools import registry

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from grammar_kit import CASES, PATHS, Case, written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--step-ms", type=float, nargs="+", default=[1.0, 3.3])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    text = opened(asked.path)
    grammars = Grammars(text)
    say(f"vocabulary: {text.vocabulary} tokens")
    say(f"first grammar, process and vocabulary included: {compiling(grammars, CASES[0]):.0f} ms")
    times = [compiling(grammars, case) for case in CASES[1:]]
    again = [compiling(grammars, case) for case in CASES]
    say(f"{len(times)} others: median {statistics.median(times):.1f} ms, most {max(times):.1f} ms")
    say(f"the same again: median {1000 * statistics.median(again):.0f} us")
    tell("drawn at random", *draw(text, grammars, asked.answers), asked.step_ms)
    tell("as models write", *replay(text, grammars), asked.step_ms)
    say(f"applying a mask to {text.vocabulary} scores on this CPU: {applying(text):.0f} us")
    say(f"eight rows at once: {together(grammars, text):.0f} us")
    say(f"eight rows one after the other: {apart(grammars, text):.0f} us")
    grammars.close()


def tell(what: str, masks_us: list[float], spent_us: float, steps_ms: list[float]) -> None:
    each = spent_us / len(masks_us)
    shares = ", ".join(f"{each / (10 * step):.1f}% of a step of {step:g} ms" for step in steps_ms)
    say(f"{what}: {len(masks_us)} masks, p50 {at(masks_us, 50):.0f} us, p99 {at(masks_us, 99):.0f} us, ")
    say(f"  with the taking of tokens {each:.0f} us a token: {shares} if computed after it")


def replay(text: Text, grammars: Grammars) -> tuple[list[float], float]:
    """As `draw`, for texts that are given."""
    source = Path(torch_grammar.__file__).read_text("utf-8")
    call = json.dumps({"path": "model/torch_grammar.py", "content": source}, ensure_ascii=False)
    what = {"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}}
    masks_us: list[float] = []
    spent_us = 0.0
    for grammar, answer in (
        (Grammar("gbnf", registry.grammar(PATHS)), f"# because\nwrite model/x.py\n```python\n{source}```"),
        (Grammar("json_schema", json.dumps(what)), call),
    ):
        matcher = grammars.compile(grammar)
        mask = torch.zeros(-(-text.vocabulary // 32), dtype=torch.int32)
        for id in text.text_ids(answer):
            begun = time.perf_counter()
            matcher.fill(mask)
            masks_us.append(1e6 * (time.perf_counter() - begun))
            if not int(mask[id >> 5]) >> (id & 31) & 1 or not matcher.advance(id):
                raise SystemExit(f"the grammar refuses {text.decode([id])!r}: {matcher.error}")
        spent_us += matcher.spent_us
    return masks_us, spent_us


def draw(text: Text, grammars: Grammars, answers: int) -> tuple[list[float], float]:
    """Microseconds of each mask, and of masks and tokens together."""
    masks_us: list[float] = []
    spent_us, counts, wrong = 0.0, Counter[str](), Counter[str]()
    number = 0
    while counts["whole"] < answers:
        case = CASES[number % len(CASES)]
        matcher = grammars.compile(case.grammar)
        answer = written(text, matcher, number, masks_us=masks_us)
        spent_us += matcher.spent_us
        number += 1
        if answer is None:
            counts["cut"] += 1
            continue
        counts["whole"] += 1
        if not holds(case, answer):
            wrong[case.name] += 1
            say(f"INVALID under {case.name}: {answer!r}")
    say(f"answers: {counts['whole']} whole, {sum(wrong.values())} invalid; {counts['cut']} more were cut")
    return masks_us, spent_us


def holds(case: Case, answer: str) -> bool:
    try:
        return case.valid(answer)
    except ValueError as error:
        say(f"{case.name}: {error}")
        return False


def compiling(grammars: Grammars, case: Case) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    grammars.compile(case.grammar)
    return 1000 * (time.perf_counter() - begun)


def together(grammars: Grammars, text: Text) -> float:
    """Microseconds of the masks of eight different rows, in parallel."""
    matchers = [grammars.compile(case.grammar) for case in CASES[:8]]
    masks = torch.zeros(8, -(-text.vocabulary // 32), dtype=torch.int32)
    return median_us(lambda: fill_rows(masks, matchers))


def apart(grammars: Grammars, text: Text) -> float:
    matchers = [grammars.compile(case.grammar) for case in CASES[:8]]
    mask = torch.zeros(-(-text.vocabulary // 32), dtype=torch.int32)

    def fill() -> None:
        for matcher in matchers:
            matcher.fill(mask)

    return median_us(fill)


def applying(text: Text) -> float:
    scores = torch.zeros(1, text.vocabulary)
    masks = torch.zeros(1, -(-text.vocabulary // 32), dtype=torch.int32)
    return median_us(lambda: apply_mask(scores, masks))


def median_us(work: Any, times: int = 50) -> float:
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append(1e6 * (time.perf_counter() - begun))
    return statistics.median(took)


def at(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def opened(path: Path) -> Text:
    from transformers import AutoTokenizer

    where: dict[str, Any] = {"gguf_file": path.name} if path.is_file() else {}
    tokenizer = AutoTokenizer.from_pretrained(path.parent if path.is_file() else path, **where)
    ends = {tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])}
    ends -= {None, tokenizer.unk_token_id}
    return Text(tokenizer, load().fim("qwen2.5-coder"), ends=frozenset(ends))


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
