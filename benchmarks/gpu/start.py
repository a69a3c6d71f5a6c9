"""Seconds from the start of a process to the first token, with the weights on disk.

Run: python benchmarks/gpu/start.py [--model PATH | --random SHAPE]

Each run is a process of its own: imports, loading, one token of a prompt of 64. The first run may read the
files from the disk, the later ones find them in memory; a GGUF file must have been converted before.
"""

import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.gpu import kit

CHILD = "--one-token-and-out"


def main(argv: Sequence[str] | None = None) -> None:
    parser = kit.arguments(__doc__ or "")
    parser.add_argument(CHILD, dest="child", action="store_true", help="for the script itself")
    args = parser.parse_args(argv)
    began = time.perf_counter()
    bench = kit.prepared(args)  # writes random weights once, so that a child does not
    loaded = time.perf_counter() - began
    if args.child:
        with kit.engine(bench, drafted=kit.DRAFTED) as running:
            kit.ask(running, [kit.job(bench.ids(bench.size(64, 8)), 1)])
        first = time.perf_counter() - began - loaded
        sys.stdout.write(f"{loaded} {first}\n")
        return
    given = list(sys.argv[1:] if argv is None else argv)
    rows: list[kit.Row] = []
    for run in range(args.runs):
        began = time.perf_counter()
        child = subprocess.run(
            [sys.executable, __file__, *given, CHILD], stdout=subprocess.PIPE, text=True, check=True
        )
        took = time.perf_counter() - began
        load_s, first_s = map(float, child.stdout.split()[-2:])
        rows.append({"run": run + 1, "first token s": took, "of it loading": load_s, "then": first_s})
    kit.report(args, bench, "start to first token", rows, {})


if __name__ == "__main__":
    main()
