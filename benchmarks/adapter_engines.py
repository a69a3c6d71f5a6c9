"""Has an adapter the same effect on both engines? Greedy answers token by token, and first log-probabilities.

Run: python benchmarks/adapter_engines.py --model qwen2.5-coder-0.5b [--adapter NAME] [--prompts 50]
     [--tokens 32] [--device cpu] [--dtype bfloat16] [--out FILE.jsonl]

Without --adapter one with random weights is made (rank 8, all linear layers), small enough that the model
still writes text. Each engine serves the base and the adapter in turn, on a server of its own; the same chats
are asked greedily. A row for each prompt tells how many tokens were the same from the first on, for the base
and with the adapter: the engines compute in other widths, so that the base's own agreement is what to compare
with.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from agent.models import choice_of
from agent.settings import directories, load
from memory.records import Completion, Message
from model.adapter_add import add
from model.adapter_check import check_served
from model.adapter_store import AdapterStore, Base
from model.connect import ModelChoice, connect
from model.protocol import Sampling
from model.server import find, stop

Json = dict[str, Any]
ENGINES: Final[tuple[Literal["llama", "torch"], ...]] = ("llama", "torch")
VERBS = ("Write", "Explain", "Test", "Document", "Shorten")
THINGS = (
    "a function that reverses a list",
    "a class for a stack",
    "a loop over the lines of a file",
    "a regular expression for dates",
    "a decorator that counts calls",
    "a context manager for a lock",
    "a generator of primes",
    "a sort by two keys",
    "a parser of key=value lines",
    "a retry with a growing wait",
)


def prompts(count: int) -> list[str]:
    return [f"{verb} {thing} in Python." for thing in THINGS for verb in VERBS][:count]


def random_adapter(weights: Path, cache: Path, folder: Path) -> Path:
    """A folder as PEFT writes it."""
    import torch
    from peft import LoraConfig, get_peft_model

    from model.torch_files import quiet
    from model.torch_weights import load as load_weights

    torch.manual_seed(0)
    with quiet():
        model = load_weights(weights, device="cpu", dtype="bfloat16", cache=cache).model
        peft = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
        )
        for key, weight in peft.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(weight, std=0.012)
        peft.save_pretrained(str(folder))
    return folder


@contextmanager
def made(choice: ModelChoice, base: Base, asked: str) -> Iterator[tuple[AdapterStore, str]]:
    """The adapter that is compared; a random one is gone afterwards."""
    if asked:
        yield choice.adapters, asked
        return
    with tempfile.TemporaryDirectory() as scratch:
        weights = choice.serve().model
        cache = choice.data_dir / "models" / "torch"
        folder = random_adapter(weights, cache, Path(scratch) / "random")
        name = add(choice.adapters, folder, base, weights, cache=cache).name
        try:
            yield choice.adapters, name
        finally:
            choice.adapters.retire(name, "a benchmark is over")


def answers(choice: ModelChoice, asked: list[str], tokens: int) -> list[Completion]:
    with closing(connect(choice, lambda line: say(line, sys.stderr))) as model:
        sampling = Sampling(max_tokens=tokens)
        return [model.chat([Message(role="user", content=text)], sampling)[0] for text in asked]


def same(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Tokens that are the same from the first on."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def compare(
    choice: ModelChoice, store: AdapterStore, name: str, asked: list[str], tokens: int
) -> Iterator[Json]:
    found: dict[tuple[str, str], list[Completion]] = {}
    for engine in ENGINES:
        own = replace(choice, engine=engine)
        try:
            for adapter in ("", name):
                found[engine, adapter] = answers(replace(own, adapter=adapter), asked, tokens)
            state = find(choice.data_dir / "server")
            assert state is not None
            yield {"engine": engine} | check_served(state, store, name).model_dump()
        finally:
            stop(choice.data_dir / "server")
    for at, text in enumerate(asked):
        row: Json = {"prompt": text}
        for adapter, label in (("", "base"), (name, "adapter")):
            one, other = found["llama", adapter][at], found["torch", adapter][at]
            row |= {
                f"{label}_equal": one.text == other.text,
                f"{label}_same": same(one.token_ids, other.token_ids),
                f"{label}_tokens": len(other.token_ids),  # llama.cpp tells the one that ends it, too
            }
        yield row | {"changed": found["llama", ""][at].text != found["llama", name][at].text}


def summary(rows: list[Json]) -> str:
    lines = []
    for label in ("base", "adapter"):
        equal = sum(row[f"{label}_equal"] for row in rows)
        kept, total = (sum(row[f"{label}_{what}"] for row in rows) for what in ("same", "tokens"))
        lines.append(
            f"{label}: {equal} of {len(rows)} answers the same, {kept} of {total} tokens before they part"
        )
    return "\n".join([*lines, f"the adapter changed {sum(row['changed'] for row in rows)} answers"])


def say(line: str, stream: TextIO) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--adapter", default="")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="")
    parser.add_argument("--out", type=Path)
    told = parser.parse_args()
    flags = {"model": {"name": told.model, "device": told.device, "dtype": told.dtype or None, "adapter": ""}}
    choice = choice_of(load(None, flags).settings, directories())
    rows = []
    with made(choice, choice.base(), told.adapter) as (store, name):
        for row in compare(choice, store, name, prompts(told.prompts), told.tokens):
            say(json.dumps(row), sys.stdout)
            rows.append(row)
    if told.out:
        told.out.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    say(summary([row for row in rows if "prompt" in row]), sys.stdout)


if __name__ == "__main__":
    main()
