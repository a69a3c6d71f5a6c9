"""What the measurements of engine `torch` share: models, bandwidth, asking the engine, telling the result.

A model is a folder or GGUF file of one's own (`--model`), or random weights of a known shape (`--random`),
written once into `--cache` and loaded from there as any other. `--tiny` shrinks everything so that a script
runs in seconds on a CPU: its figures mean nothing, it shows that the script works.
"""

import argparse
import gc
import json
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers import AutoModelForCausalLM, MptConfig, Qwen2Config

from model.backend import About, Cost, Draw, Ended, Event, Job, Piece
from model.tiny_torch import write_tiny_torch
from model.torch_batch import BatchSizes
from model.torch_engine import TorchEngine
from model.torch_single import DRAFTED, SingleLane
from model.torch_text import Text
from model.torch_weights import Loaded, load

Shape = Literal["qwen2.5-coder-1.5b", "replit-code-v1-3b"]
SHAPES: tuple[Shape, ...] = ("qwen2.5-coder-1.5b", "replit-code-v1-3b")
WAIT_S = 600.0
Row = dict[str, str | float | None]


def arguments(what: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--model", type=Path, help="folder of safetensors, or a GGUF file")
    parser.add_argument("--random", choices=SHAPES, default=SHAPES[0], help="random weights of this shape")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu")
    parser.add_argument("--dtype", default="auto", help="auto, bfloat16, float16, float32")
    parser.add_argument("--tiny", action="store_true", help="seconds on a CPU; the figures mean nothing")
    parser.add_argument("--runs", type=int, default=3, help="times that each thing is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "adi-benchmarks-gpu")
    parser.add_argument("--json", type=Path, help="where the result goes too, as one line more of a file")
    return parser


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes a second that the device moves, read and written counted for a copy."""

    copied: float
    read: float

    @property
    def best(self) -> float:
        return max(self.copied, self.read)


@dataclass(frozen=True, slots=True)
class Bench:
    """A loaded model, and what one pass over it reads."""

    args: argparse.Namespace
    loaded: Loaded
    weight_bytes: int
    """Read by every pass: all parameters but an input embedding that is only looked up."""
    token_bytes: int
    """Keys and values of one token."""

    @property
    def random(self) -> bool:
        return self.args.model is None

    def size(self, full: int, tiny: int) -> int:
        return tiny if self.args.tiny else full

    def text(self, ends: bool) -> Text:
        return Text(self.loaded.tokenizer, None, ends=frozenset(self.loaded.ends if ends else ()))

    def ids(self, count: int, draw: int = 0) -> tuple[int, ...]:
        """Random ids, the same for the same seed; another `draw` gives others."""
        most = min(self.loaded.model.config.vocab_size, len(self.loaded.tokenizer)) - 20
        generator = torch.Generator().manual_seed(1000 * self.args.seed + draw)
        return tuple(torch.randint(0, most, (count,), generator=generator).tolist())

    def share(self, passes: float, tokens: float, bandwidth: Bandwidth) -> float:
        """Of the bandwidth, what `passes` a second take that each read `tokens` tokens' keys and values."""
        return passes * (self.weight_bytes + tokens * self.token_bytes) / bandwidth.best


def prepared(args: argparse.Namespace) -> Bench:
    torch.manual_seed(args.seed)
    source = args.model or _random(args)
    loaded = load(source, device=args.device, dtype=args.dtype, cache=args.cache)
    model = loaded.model
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    weights = sum(one.numel() * one.element_size() for one in model.parameters())
    looked_up = model.get_input_embeddings().weight
    if not tied:
        weights -= looked_up.numel() * looked_up.element_size()
    config = model.config
    if config.model_type == "mpt":
        kept = config.n_layers * config.d_model
    else:
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        kept = config.num_hidden_layers * config.num_key_value_heads * width
    return Bench(args, loaded, weights, 2 * kept * loaded.dtype.itemsize)


def _random(args: argparse.Namespace) -> Path:
    """The folder of random weights; written when it is not there."""
    name = f"tiny-{args.random}" if args.tiny else args.random
    folder: Path = args.cache / f"{name}-{args.seed}"
    if not (folder / "written").is_file():
        write_tiny_torch(folder, kind="mpt" if args.random == SHAPES[1] else "qwen2", seed=args.seed)
        if not args.tiny:
            _write_shape(folder, args.random, args.device)
        (folder / "written").touch()
    return folder


def _write_shape(folder: Path, shape: Shape, device: str) -> None:
    """Random bf16 weights over the tiny ones of the folder, whose tokenizer stays."""
    if shape == "qwen2.5-coder-1.5b":
        config: Any = Qwen2Config(
            vocab_size=151936,
            hidden_size=1536,
            intermediate_size=8960,
            num_hidden_layers=28,
            num_attention_heads=12,
            num_key_value_heads=2,
            max_position_embeddings=32768,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            tie_word_embeddings=True,
        )
    else:
        config = MptConfig(vocab_size=32768, d_model=2560, n_heads=32, n_layers=32, max_seq_len=2048)
    place = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    with torch.device(place):
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.bfloat16
        )
    model.save_pretrained(folder)


def bandwidth(bench: Bench) -> Bandwidth:
    """Measured now: the largest of ten copies and reads of a large bf16 tensor."""
    size = bench.size(1 << 30, 1 << 20)
    one = torch.ones(size // 2, dtype=torch.bfloat16, device=bench.loaded.device)
    other = torch.empty_like(one)
    # Two bytes at a time are summed slower than they are read; eight are not.
    wide = one.view(torch.float64)
    copied = min(_seconds(bench, lambda: other.copy_(one)) for _ in range(10))
    read = min(_seconds(bench, lambda: wide.amax()) for _ in range(10))
    return Bandwidth(2 * size / copied, size / read)


def _seconds(bench: Bench, act: Any) -> float:
    synchronise(bench)
    began = time.perf_counter()
    act()
    synchronise(bench)
    return time.perf_counter() - began


def synchronise(bench: Bench) -> None:
    if bench.loaded.device.type == "cuda":
        torch.cuda.synchronize(bench.loaded.device)


@contextmanager
def engine(
    bench: Bench,
    *,
    rows: int = 0,
    drafted: int | None = DRAFTED,
    ends: bool = False,
    n_ctx: int = 0,
) -> Iterator[TorchEngine]:
    """An engine that answers; `rows` 0 has no batch lane, `drafted` None no fast one.

    Without `ends` no token ends an answer, so that each has the length that was asked for.
    """
    n_ctx = min(n_ctx or bench.size(4096, 1024), bench.loaded.n_ctx)
    model, text = bench.loaded.model, bench.text(ends)
    about = About(
        model="benchmark",
        fingerprint=bench.loaded.fingerprint,
        n_ctx=n_ctx,
        vocabulary=model.config.vocab_size,
        infill=False,
        device=str(bench.loaded.device),
        dtype=str(bench.loaded.dtype),
    )
    sizes = None
    if rows:
        sizes = BatchSizes(
            rows=rows, step_tokens=max(rows, bench.size(2048, 64)), cache_tokens=max(n_ctx, 640 * rows)
        )
    single = None if drafted is None else SingleLane(model, n_ctx=n_ctx, drafted=drafted)
    running = TorchEngine(model, text, about, sizes=sizes, single=single)
    try:
        yield running
    finally:
        running.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as its asker saw it."""

    ids: tuple[int, ...]
    cost: Cost

    @property
    def rate(self) -> float:
        """Written tokens a second after the first."""
        return 1000 * (self.cost.completion_tokens - 1) / max(self.cost.decode_ms, 1e-6)


def ask(running: TorchEngine, jobs: Sequence[Job]) -> tuple[list[Answer], float]:
    """Submit all at once and wait; the answers in order, and seconds until the last was whole."""
    done, ends = threading.Event(), threading.Lock()
    ids: dict[tuple[int, int], list[int]] = {}
    costs: dict[tuple[int, int], Cost] = {}
    errors: list[str] = []
    total = sum(job.n for job in jobs)

    def deliver(number: int, event: Event) -> None:
        key = (number, event.index)
        if isinstance(event, Piece):
            ids.setdefault(key, []).extend(drawn.id for drawn in event.drawn)
        elif isinstance(event, Ended):
            with ends:
                costs[key] = event.cost
                errors.extend([event.error] if event.reason == "error" else [])
                if len(costs) == total:
                    done.set()

    began = time.perf_counter()
    for number, job in enumerate(jobs):
        running.submit(job, lambda event, number=number: deliver(number, event))  # type: ignore[misc]
    if not done.wait(WAIT_S) or errors:
        raise RuntimeError(f"the engine did not answer: {errors or 'too slow'}")
    took = time.perf_counter() - began
    return [Answer(tuple(ids.get(key, ())), costs[key]) for key in sorted(costs)], took


def job(ids: Sequence[int], count: int, **more: Any) -> Job:
    """A greedy answer of `count` tokens, or with the rules of `draw`."""
    draw = more.pop("draw", None) or Draw(count)
    return Job(tuple(ids), draw, **more)


def middle(values: Sequence[float]) -> str:
    """Median and spread."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def told(args: argparse.Namespace, bench: Bench | None) -> dict[str, object]:
    """What was measured, and on what."""
    on_gpu = bench is not None and bench.loaded.device.type == "cuda"
    name = torch.cuda.get_device_name(bench.loaded.device) if bench and on_gpu else platform.processor()
    return {
        "device": name or platform.machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
        "dtype": str(bench.loaded.dtype) if bench else args.dtype,
        "model": str(args.model.name) if args.model else f"random weights, shape of {args.random}",
        "tiny": args.tiny,
        "seed": args.seed,
        "runs": args.runs,
    }


def report(
    args: argparse.Namespace,
    bench: Bench | None,
    title: str,
    rows: Sequence[Row],
    notes: Mapping[str, object],
) -> None:
    """A table for people and one line of JSON for programs; `notes` go with both."""
    about = told(args, bench) | dict(notes)
    out = [f"\n{title}", ", ".join(f"{key}: {value}" for key, value in about.items() if value is not None)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    out += [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    if args.tiny:
        out.append("(--tiny: these figures mean nothing)")
    line = json.dumps({"what": title, "about": about, "rows": list(rows)})
    sys.stdout.write("\n".join([*out, line]) + "\n")
    sys.stdout.flush()
    if args.json:
        with args.json.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _cell(value: str | float | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def need_batch(bench: Bench) -> None:
    """Leaves with a sentence when the model has the fast lane only."""
    if bench.loaded.model.config.model_type == "mpt":
        raise SystemExit("the batch lane cannot serve models of the MPT family: measure one stream")


def release() -> None:
    """Give memory of a model that is no longer used back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
