"""How fast LoRA training of a model is here, and what memory it takes, in each way to save some.

Run: python -m benchmarks.training MODEL [--length 256] [--steps 3] [--micro 1] [--device auto] [--threads 0]

MODEL is a GGUF file or a folder of safetensors. Rows are random tokens, half of each is learned: speed does
not depend on what they say. Each way is a training in a process of its own, as `adi learn` starts it; its
first step warms up, and counts. Prints Markdown.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model.errors import ModelError
from model.train import train
from model.train_job import Job, Settings
from model.train_rows import IGNORED, Row, Rows

WAYS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "bfloat16, checkpointing": {"dtype": "bfloat16", "checkpointing": True},
}


def rows(count: int, length: int) -> Iterator[Row]:
    dice = random.Random(0)
    for _ in range(count):
        ids = tuple(dice.randrange(1000, 20_000) for _ in range(length))
        yield Row(ids, (*[IGNORED] * (length // 2), *ids[length // 2 :]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    for name, value in (("length", 256), ("steps", 3), ("micro", 1), ("threads", 0), ("rank", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cache", type=Path, help="where converted weights stay; else they are made anew")
    given = parser.parse_args()
    sys.stdout.write("| way | tokens a second | memory, GB |\n| --- | --- | --- |\n")
    for name, way in WAYS.items():
        with TemporaryDirectory() as place:
            settings = Settings(
                batch_rows=given.micro, micro_rows=given.micro, epochs=1, max_length=given.length,
                rank=given.rank, alpha=2 * given.rank, device=given.device, threads=given.threads,
                save_every=given.steps, **way,
            )  # fmt: skip
            folder = Path(place)
            job = Job(
                base=given.model.resolve(), out=folder / "out", work=folder / "work",
                cache=given.cache or folder / "cache", settings=settings,
            )  # fmt: skip
            try:
                facts = train(job, Rows(answers=[*rows(given.steps * given.micro, given.length)]))
            except ModelError as error:
                sys.stdout.write(f"| {name} | {error} | |\n")
                continue
            speed, memory = facts.stages[0].tokens_s, facts.memory_bytes / 1e9
            sys.stdout.write(f"| {name} | {speed:.1f} | {memory:.1f} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
