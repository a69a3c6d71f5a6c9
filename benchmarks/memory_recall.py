"""Measures recall: how long a run waits for its lessons, with years of events and thousands of lessons.

Run: python -m benchmarks.memory_recall [--dir FOLDER] [--events 1000000] [--lessons 10000]

FOLDER is where the temporary file goes. The lessons are spread over 20 repositories; each question has 40
words of a vocabulary of 1,224 and one error signature. Prints Markdown.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.memory_store import fill
from memory import wording
from memory.lesson import Draft
from memory.lessons import Lessons, new_row, now
from memory.recall import Question, recall
from memory.store import Store
from memory.tables import EvidenceRow

REPOSITORIES, QUESTIONS = 20, 400
VERBS = "parse load save price order take put merge scan read list split join send fetch check open".split()  # noqa: SIM905
NOUNS = "value item name date code rate total step part user cart token stock ship tax page row line".split()  # noqa: SIM905
WORDS = [f"{verb}_{noun}{number}" for verb in VERBS for noun in NOUNS for number in range(4)]
KINDS = ("fix",) * 6 + ("fact",) * 3 + ("pitfall",) * 3 + ("preference",)


def lessons_into(store: Store, count: int) -> None:
    """So many lessons with two witnesses each, in one transaction."""
    dice = random.Random(0)
    with store.writing() as session:
        for number in range(count):
            draft = Draft(
                kind=dice.choice(KINDS),
                place=f"/src/project{number % REPOSITORIES}",
                claim=" ".join(dice.choices(WORDS, k=8)),
                subject=f"KeyError: 'key{number % 300}'",
                words=" ".join(dice.choices(WORDS, k=10)),
            )
            row = new_row(draft)
            row.supported = 2
            session.add(row)
            wording.index(session, row.id, row.scope, row.place, row.claim, row.words)
            for seq in (1, 2):
                session.add(
                    EvidenceRow(
                        lesson_id=row.id, seq=seq, run_id=f"{number}-{seq}", stance="for", why="", at=now()
                    )
                )


def measured(store: Store) -> list[float]:
    """Seconds of each recall."""
    dice, lessons, times = random.Random(1), Lessons(store), []
    for number in range(QUESTIONS):
        question = Question(
            f"/src/project{number % REPOSITORIES}",
            ("python",),
            tuple(dice.choices(WORDS, k=40)),
            (f"KeyError: 'key{number % 300}' in load #abcdef",),
        )
        began = time.perf_counter()
        found = recall(lessons, question)
        times.append(time.perf_counter() - began)
        if not found:
            raise SystemExit("a question found nothing: the benchmark measures nothing")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dir", type=Path, default=None)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--lessons", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as folder:
        path = Path(folder) / "adi.db"
        fill(path, given.events)
        with Store.open(path) as store:
            lessons_into(store, given.lessons)
            times = measured(store)
        cuts = statistics.quantiles(times, n=20)
        size = path.stat().st_size / 1e9
    sys.stdout.write(
        f"recall of {given.lessons:,} lessons in a store of {given.events:,} events ({size:.2f} GB), "
        f"p50 / p95 / most of {len(times)}: {1000 * cuts[9]:.1f} / {1000 * cuts[18]:.1f} / "
        f"{1000 * max(times):.1f} ms\n"
    )


if __name__ == "__main__":
    main()
