"""Written tokens a second of one answer at a time, and the share of the memory bandwidth that this takes.

Run: python benchmarks/gpu/single_stream.py [--model PATH | --random SHAPE]

The fast lane without drafts, so that every token costs one pass; a context of 128 tokens and 256 written.
"""

import statistics
from collections.abc import Sequence

from benchmarks.gpu import kit


def main(argv: Sequence[str] | None = None) -> None:
    args = kit.arguments(__doc__ or "").parse_args(argv)
    bench = kit.prepared(args)
    prompt, count = bench.size(128, 16), bench.size(256, 8)
    with kit.engine(bench, drafted=0) as running:
        kit.ask(running, [kit.job(bench.ids(prompt), count)])  # graphs are captured here
        bandwidth = kit.bandwidth(bench)
        answers = [
            kit.ask(running, [kit.job(bench.ids(prompt, run + 1), count)])[0][0] for run in range(args.runs)
        ]
        extra = running.stats().extra
    rates = [answer.rate for answer in answers]
    rows: list[kit.Row] = [
        {
            "tokens/s": kit.middle(rates),
            "ms a token": 1000 / statistics.median(rates),
            "GB a token": bench.weight_bytes / 1e9,
            "measured GB/s": bandwidth.best / 1e9,
            "share": bench.share(statistics.median(rates), prompt + count / 2, bandwidth),
        }
    ]
    notes = {"copy GB/s": bandwidth.copied / 1e9, "read GB/s": bandwidth.read / 1e9, **extra}
    kit.report(args, bench, "one stream", rows, notes)


if __name__ == "__main__":
    main()
