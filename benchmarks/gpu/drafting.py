"""An edit of a file with n-gram drafting and without: seconds, tokens a second, how many guesses held.

Run: python benchmarks/gpu/drafting.py --model PATH

The model is asked to write a file of this repository again with one name changed, greedily. With random
weights nothing is edited: how often guesses hold then says nothing about code. The two answers are compared
id by id; on a GPU passes of one token and of several may round differently, so a tie can fall the other way.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import kit
from memory.records import Message

FILE = Path(__file__).parent.parent.parent / "model" / "deadline.py"
ASK = "Rename the class or function that is defined first, everywhere in the file. Answer with the file only."


def main(argv: Sequence[str] | None = None) -> None:
    args = kit.arguments(__doc__ or "").parse_args(argv)
    bench = kit.prepared(args)
    text = bench.text(ends=True)
    shown = FILE.read_text(encoding="utf-8")[: bench.size(6000, 200)]
    if bench.loaded.tokenizer.chat_template:
        ids = text.chat_ids([Message(role="user", content=f"{ASK}\n\n```python\n{shown}```")])
    else:
        ids = text.text_ids(shown)
    count = min(bench.size(1024, 32), bench.loaded.n_ctx - len(ids) - 1)
    rows: list[kit.Row] = []
    found: list[tuple[int, ...]] = []
    for drafted in (0, kit.DRAFTED):
        with kit.engine(bench, drafted=drafted, ends=not bench.random) as running:
            kit.ask(running, [kit.job(ids, count)])
            answers = [kit.ask(running, [kit.job(ids, count)])[0][0] for _ in range(args.runs)]
        cost = answers[0].cost
        found.append(answers[0].ids)
        rows.append(
            {
                "guessed at once": drafted,
                "tokens": cost.completion_tokens,
                "seconds": kit.middle([answer.cost.decode_ms / 1000 for answer in answers]),
                "tokens/s": statistics.median([answer.rate for answer in answers]),
                "guessed": cost.drafted,
                "held": cost.accepted,
            }
        )
    plain, fast = (float(row["tokens/s"] or 0) for row in rows)
    same = next((n for n, (a, b) in enumerate(zip(*found, strict=False)) if a != b), None)
    notes = {
        "times as fast": fast / plain,
        "prompt tokens": len(ids),
        "answers": "identical" if found[0] == found[1] else f"differ from token {same}",
    }
    kit.report(args, bench, "an edit with drafting", rows, notes)


if __name__ == "__main__":
    main()
