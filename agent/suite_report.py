"""The report of a measurement: counts with their denominators, how sure they are, and what they cost.

Pure functions on rows; tables are Markdown.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import comb, sqrt
from statistics import median

from agent.suite_task import Row

Z95 = 1.959963984540054
"""Two-sided 95% quantile of the normal distribution."""


def wilson(solved: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927), each end within 0 and 1; the whole range without tasks."""
    if total == 0:
        return 0.0, 1.0
    share, square = solved / total, z * z
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = z / (1 + square / total) * sqrt(share * (1 - share) / total + square / (4 * total**2))
    low = 0.0 if solved == 0 else max(0.0, middle - half)
    high = 1.0 if solved == total else min(1.0, middle + half)
    return low, high


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test: binomial with one half on the tasks that one alone solved."""
    pairs = only_first + only_second
    if pairs == 0:
        return 1.0
    tail = sum(comb(pairs, count) for count in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << pairs))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two agents on the tasks that both were given."""

    first: str
    second: str
    tasks: int
    both: int
    only_first: int
    only_second: int
    p: float

    @property
    def neither(self) -> int:
        return self.tasks - self.both - self.only_first - self.only_second

    def record(self) -> dict[str, object]:
        """The same for programs."""
        return {**asdict(self), "neither": self.neither}


def compare(first: Sequence[Row], second: Sequence[Row]) -> Comparison:
    """McNemar's test on the tasks, named by suite and name, that both have a row of."""
    here = {(row.suite, row.name): row.solved for row in first}
    there = {(row.suite, row.name): row.solved for row in second}
    pairs = Counter((here[key], there[key]) for key in here.keys() & there.keys())
    return Comparison(
        first=label(first),
        second=label(second),
        tasks=pairs.total(),
        both=pairs[True, True],
        only_first=pairs[True, False],
        only_second=pairs[False, True],
        p=mcnemar(pairs[True, False], pairs[False, True]),
    )


def label(rows: Sequence[Row]) -> str:
    """Such as `adi, seed 0`."""
    return ", ".join(sorted({f"{row.agent}, seed {row.seed}" for row in rows})) or "no rows"


def rate(rows: Sequence[Row]) -> str:
    """Such as `8/10, 80.0% (49.0 to 94.3)`."""
    return _rate(sum(row.solved for row in rows), len(rows))


def _rate(solved: int, total: int) -> str:
    low, high = wilson(solved, total)
    share = f"{solved / total:.1%}" if total else "no task"
    return f"{solved}/{total}, {share} ({100 * low:.1f} to {100 * high:.1f})"


def task_lines(rows: Iterable[Row]) -> list[str]:
    """A Markdown table with a line for each task."""
    return [
        "| task | solved | by | candidates run | calls | new | cached | written | wall s | ended |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row.name} | {_verdict(row)} | {row.strategy} | {row.executed} | {row.calls} "
            f"| {row.prompt_tokens - row.cached_tokens} | {row.cached_tokens} | {row.completion_tokens} "
            f"| {row.wall_s:.0f} | {row.ended} |"
            for row in rows
        ),
    ]


def _verdict(row: Row) -> str:
    return "no" if not row.solved else "yes" if row.solved_at == 1 else f"try {row.solved_at}"


def report_lines(rows: Sequence[Row], tasks: int = 0, tries: int = 1) -> list[str]:
    """The whole report of one agent: solved and how sure, by try and by group, costs, how the rest ended.

    `tasks` is how many there should be; told where rows are missing.
    """
    tries = max([tries, *(row.solved_at for row in rows)])
    missing = f" Of {tasks} tasks, {tasks - len(rows)} have no result yet." if tasks > len(rows) else ""
    lines = [
        f"{', '.join(sorted({row.suite for row in rows}))}: {label(rows)}, "
        f"model {', '.join(sorted({row.model for row in rows if row.model})) or 'unknown'}.{missing}",
        "",
        "| measured | value |",
        "| --- | --- |",
        f"| solved, share (95% Wilson interval) | {rate(rows)} |",
    ]
    if tries > 1:
        lines += [f"| solved by try {number} | {_by_try(rows, number)} |" for number in range(1, tries + 1)]
    return [*lines, *_cost_lines(rows), *_group_lines(rows)]


def _by_try(rows: Sequence[Row], number: int) -> str:
    return _rate(sum(0 < row.solved_at <= number for row in rows), len(rows))


def _cost_lines(rows: Sequence[Row]) -> list[str]:
    solved = sum(row.solved for row in rows)
    new = sum(row.prompt_tokens - row.cached_tokens for row in rows)
    cached = sum(row.cached_tokens for row in rows)
    written = sum(row.completion_tokens for row in rows)
    later, later_cached = sum(r.later_prompt_tokens for r in rows), sum(r.later_cached_tokens for r in rows)
    ended = Counter(row.ended for row in rows if not row.solved)
    return [
        f"| tokens new | {_each(new, solved)} |",
        f"| tokens cached | {_each(cached, solved)} |",
        f"| tokens written | {_each(written, solved)} |",
        f"| prompt cached after a task's first call | {_share(later_cached, later)} |",
        f"| wall seconds, all tasks; median | {sum(row.wall_s for row in rows):.0f}; "
        f"{median([row.wall_s for row in rows] or [0.0]):.1f} |",
        f"| model calls; candidates run; actions | {sum(row.calls for row in rows)}; "
        f"{sum(row.executed for row in rows)}; {sum(row.actions for row in rows)} |",
        f"| malformed answers, none of which reached a tool | {sum(row.malformed for row in rows)} |",
        f"| unsolved ended | {', '.join(f'{n} {why}' for why, n in sorted(ended.items())) or 'none'} |",
    ]


def _each(total: int, solved: int) -> str:
    return f"{total}; {total / solved:.0f} a solved task" if solved else f"{total}; no task was solved"


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole}, {part / whole:.1%}" if whole else "no later call"


def _group_lines(rows: Sequence[Row]) -> list[str]:
    groups = sorted({row.group for row in rows})
    if len(groups) < 2:
        return []
    return [
        "",
        "| group | solved, share (95% Wilson interval) |",
        "| --- | --- |",
        *(f"| {group or 'none'} | {rate([row for row in rows if row.group == group])} |" for group in groups),
    ]


def comparison_lines(measured: Sequence[Sequence[Row]]) -> list[str]:
    """A Markdown table with a line for each pair of agents that share tasks."""
    pairs = [compare(first, second) for first, second in combinations(measured, 2)]
    return [
        "| first | second | tasks of both | both solved | only first | only second | neither | McNemar p |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {pair.first} | {pair.second} | {pair.tasks} | {pair.both} | {pair.only_first} "
            f"| {pair.only_second} | {pair.neither} | {pair.p:.4g} |"
            for pair in pairs
            if pair.tasks
        ),
    ]


def figures(rows: Sequence[Row]) -> dict[str, object]:
    """The same for programs."""
    solved = sum(row.solved for row in rows)
    return {
        "suite": sorted({row.suite for row in rows}),
        "agent": sorted({row.agent for row in rows}),
        "seed": sorted({row.seed for row in rows}),
        "model": sorted({row.model for row in rows if row.model}),
        "rows": len(rows),
        "solved": solved,
        "solved_by_try": [sum(0 < row.solved_at <= number for row in rows) for number in (1, 2)],
        "wilson95": wilson(solved, len(rows)),
        "new_tokens": sum(row.prompt_tokens - row.cached_tokens for row in rows),
        "cached_tokens": sum(row.cached_tokens for row in rows),
        "written_tokens": sum(row.completion_tokens for row in rows),
        "later_prompt_tokens": sum(row.later_prompt_tokens for row in rows),
        "later_cached_tokens": sum(row.later_cached_tokens for row in rows),
        "wall_s": round(sum(row.wall_s for row in rows), 1),
        "malformed": sum(row.malformed for row in rows),
        "executed": sum(row.executed for row in rows),
        "unsolved_ended": dict(Counter(row.ended for row in rows if not row.solved)),
    }
