"""Every measurement of this folder, one after the other; meant to take less than eight minutes on a GPU.

Run: python benchmarks/gpu/run_all.py [--model PATH] [--json FILE]

Without `--model` random weights of the 1.5B shape are measured, whose drafted edit means nothing. The shape
of replit-code-v1-3b is measured with random weights, one stream only.
"""

import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.gpu import at_once, best_of, drafting, first_token, kit, single_stream, start

ALL: tuple[Callable[[Sequence[str] | None], None], ...] = (
    single_stream.main,
    at_once.main,
    drafting.main,
    best_of.main,
    first_token.main,
    start.main,
)


def main(argv: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if argv is None else argv)
    args = kit.arguments(__doc__ or "").parse_args(given)
    began = time.monotonic()
    for measure in ALL:
        measure(given)
        kit.release()
    single_stream.main([*without_model(given), "--random", kit.SHAPES[1]])
    sys.stdout.write(f"\nall of it took {time.monotonic() - began:.0f} s, {args.runs} runs of each\n")


def without_model(given: Sequence[str]) -> list[str]:
    """The arguments but those that choose a model."""
    kept: list[str] = []
    skip = False
    for one in given:
        named = one.partition("=")[0] in ("--model", "--random")
        if not skip and not named:
            kept.append(one)
        skip = named and "=" not in one
    return kept


if __name__ == "__main__":
    main()
