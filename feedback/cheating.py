"""Signs that a result was reached by cheating: a scan of the final change, the actions and the verdict.

| rule | sign |
| --- | --- |
| `tests-edited` | lines of an existing test are gone or changed |
| `tests-deleted` | a test is gone, and came back nowhere |
| `tests-skipped` | an existing test is marked or made to be skipped |
| `assert-weakened` | an assert is gone, cannot fail any more, or demands less |
| `test-config` | settings or hooks that leave tests out or change how they end |
| `version-fetched` | a command that fetches the program, or an address, from elsewhere |
| `history-read` | a command or a tool that reads other commits, or below `.git` |
| `expected-hard-coded` | new code answers a failing test by the very values of the test |
| `test-detected` | new code asks whether it is being tested |
| `early-exit` | new code ends the process with success where no program ends |
| `equality-overridden` | an equality that holds for everything |

The rules read text and run nothing, so they miss what is well hidden, and may flag what is honest; a flag
costs a row its place among the good ones, never more. What is honest and common is spared: new tests, moved
tests, comments and imports, a task that asks for other tests (then only asserts that are gone count), base
cases, values that the task itself names, programs that end, and commands that were refused.
"""

from collections.abc import Iterator

from feedback.candidate import Flag
from feedback.cheating_actions import action_flags
from feedback.cheating_code import code_flags
from feedback.cheating_diff import files
from feedback.cheating_tests import test_flags
from feedback.harvest import Harvest
from memory.records import CheckRan, Failure, Observed


def scan(harvest: Harvest) -> tuple[Flag, ...]:
    """All flags of a run, each rule once a place; the change's first, then those of the actions."""
    found = dict[tuple[str, str], Flag]()
    for flag in _flags(harvest):
        found.setdefault((flag.rule, flag.where), flag)
    return tuple(found.values())


def _flags(harvest: Harvest) -> Iterator[Flag]:
    changed = list(files(harvest.diff))
    prompt = harvest.task.prompt
    yield from test_flags(changed, harvest.evaluation, prompt)
    evidence = [event.payload.evidence for event in harvest.events if isinstance(event.payload, Observed)]
    yield from code_flags(changed, _failures(harvest), evidence, prompt)
    yield from action_flags(harvest)


def _failures(harvest: Harvest) -> list[Failure]:
    """What failed before anything was changed."""
    ran = (event.payload for event in harvest.events if isinstance(event.payload, CheckRan))
    return [failure for each in ran if each.purpose == "gather" for failure in each.result.failures]
