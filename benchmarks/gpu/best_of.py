"""Eight answers to one prompt against one answer: wall time, the prompt read once for all of them.

Run: python benchmarks/gpu/best_of.py [--model PATH | --random SHAPE]

A prompt of 1,024 tokens, 256 tokens written for each answer at temperature 0.8. One answer is measured in
both lanes: alone it goes to the fast one.
"""

import statistics
from collections.abc import Sequence

from benchmarks.gpu import kit
from model.backend import Draw


def main(argv: Sequence[str] | None = None) -> None:
    args = kit.arguments(__doc__ or "").parse_args(argv)
    bench = kit.prepared(args)
    kit.need_batch(bench)
    prompt, count = bench.size(1024, 32), bench.size(256, 8)
    draw = Draw(count, temperature=0.8, seed=args.seed)
    rows: list[kit.Row] = []
    for name, many, drafted in (("fast", 1, 0), ("batch", 1, None), ("batch", 8, None)):
        with kit.engine(bench, rows=0 if drafted == 0 else 8, drafted=drafted) as running:
            walls = []
            for run in range(args.runs + 1):
                asked = kit.job(bench.ids(prompt, run), count, draw=draw, n=many)
                walls.append(kit.ask(running, [asked])[1])
        rows.append(
            {
                "answers": many,
                "lane": name,
                "seconds": kit.middle(walls[1:]),
                "median": statistics.median(walls[1:]),
            }
        )
    alone, batch, best = (float(row["median"] or 0) for row in rows)
    notes = {"of one in the fast lane": best / alone, "of one in the batch lane": best / batch}
    kit.report(args, bench, "best of 8", rows, notes)


if __name__ == "__main__":
    main()
