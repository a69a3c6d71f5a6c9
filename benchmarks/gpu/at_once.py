"""Written tokens a second of 8, 32 and 128 answers at once, and the share of the bandwidth that this takes.

Run: python benchmarks/gpu/at_once.py [--model PATH | --random SHAPE] [--at-once N...]

The batch lane: prompts of 64 tokens that share nothing, 128 tokens written for each. Wall time from the first
submission to the last token, prompts included.
"""

import statistics
from collections.abc import Sequence

from benchmarks.gpu import kit


def main(argv: Sequence[str] | None = None) -> None:
    parser = kit.arguments(__doc__ or "")
    parser.add_argument("--at-once", type=int, nargs="+")
    args = parser.parse_args(argv)
    bench = kit.prepared(args)
    kit.need_batch(bench)
    many = args.at_once or ([2] if args.tiny else [8, 32, 128])
    prompt, count = bench.size(64, 16), bench.size(128, 8)
    rows: list[kit.Row] = []
    with kit.engine(bench, rows=max(many), drafted=None) as running:
        kit.ask(running, [kit.job(bench.ids(prompt, n), count, client=f"{n}") for n in range(max(many))])
        bandwidth = kit.bandwidth(bench)
        for number in many:
            rates = []
            for run in range(args.runs):
                draws = range(1000 * (run + 1), 1000 * (run + 1) + number)
                jobs = [kit.job(bench.ids(prompt, draw), count, client=f"{draw}") for draw in draws]
                answers, took = kit.ask(running, jobs)
                rates.append(sum(answer.cost.completion_tokens for answer in answers) / took)
            rate = statistics.median(rates)
            read = number * (prompt + count / 2)
            rows.append(
                {
                    "at once": number,
                    "tokens/s": kit.middle(rates),
                    "of each": rate / number,
                    "share": bench.share(rate / number, read, bandwidth),
                }
            )
    notes = {"copy GB/s": bandwidth.copied / 1e9, "read GB/s": bandwidth.read / 1e9}
    kit.report(args, bench, "many at once", rows, notes)


if __name__ == "__main__":
    main()
