"""Milliseconds to the first token of an agent's next step: 8,192 tokens are there already, 800 are new.

Run: python benchmarks/gpu/first_token.py [--model PATH | --random SHAPE]

Each step's prompt is the last one with 800 tokens after it, in both lanes. `cold` reads it all. A window that
holds less gets a shorter prompt.
"""

from collections.abc import Sequence

from benchmarks.gpu import kit


def main(argv: Sequence[str] | None = None) -> None:
    args = kit.arguments(__doc__ or "").parse_args(argv)
    bench = kit.prepared(args)
    new = bench.size(800, 16)
    n_ctx = min(bench.size(8192 + (args.runs + 3) * 800 + 64, 1024), bench.loaded.n_ctx)
    there = min(bench.size(8192, 64), n_ctx - (args.runs + 1) * new - 8)
    ids = bench.ids(there + (args.runs + 1) * new)
    rows: list[kit.Row] = []
    lanes = [("fast", 0, kit.DRAFTED)]
    if bench.loaded.model.config.model_type != "mpt":
        lanes.append(("batch", 4, None))  # type: ignore[arg-type]
    for name, many, drafted in lanes:
        with kit.engine(bench, rows=many, drafted=drafted, n_ctx=n_ctx) as running:
            kit.ask(running, [kit.job(bench.ids(there, 1), 4)])
            cold = kit.ask(running, [kit.job(ids[:there], 4)])[0][0].cost
            lengths = [there + (step + 1) * new for step in range(args.runs)]
            costs = [kit.ask(running, [kit.job(ids[:length], 4)])[0][0].cost for length in lengths]
        rows.append(
            {
                "lane": name,
                "cold ms": cold.first_ms,
                "next step ms": kit.middle([cost.first_ms for cost in costs]),
                "of tokens": costs[-1].prompt_tokens,
                "there already": costs[-1].cached_tokens,
            }
        )
    kit.report(args, bench, "first token with a cached prefix", rows, {"cached at first": there, "new": new})


if __name__ == "__main__":
    main()
