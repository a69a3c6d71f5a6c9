"""Runs `adi`, which sends itself signals at a named point: main() with POINT SIGNALS ARGUMENT...

`POINT` is one of POINTS; `SIGNALS` are numbers with commas, such as `2,2` for Ctrl-C twice. The functions of
the program are the real ones: each gets a wrapper that fires once, before or after its call.
"""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def _payload_is(kind: str) -> Callable[[tuple[Any, ...]], bool]:
    return lambda arguments: any(getattr(one, "kind", "") == kind for one in arguments)


Point = tuple[str, str, Callable[[tuple[Any, ...]], bool]]
"""Where (module:attribute), when (before, after), and for which arguments."""


def _any(_: tuple[Any, ...]) -> bool:
    return True


POINTS: dict[str, Point] = {
    "run recorded": ("memory.store:Store.start_run", "after", _any),
    "tree copied": ("sandbox.workcopy:WorkCopy.archive", "before", _any),
    "container made, not started": ("docker:APIClient.create_container", "after", _any),
    "container running": ("sandbox.container:Container.execute", "before", _any),
    "tool about to start": ("agent.evaluate:registry.execute", "before", _any),
    "tool done": ("agent.evaluate:registry.execute", "after", _any),
    "copying out": ("sandbox.docker:read_archive", "before", _any),
    "row written, not committed": ("memory.store:_event_row", "after", _payload_is("verdict")),
    "patch written, not stored": ("agent.percolate:Recorder.keep", "before", _any),
    "accepted": ("memory.store:Store.append", "after", _payload_is("user-acted")),
    "journal written": ("sandbox.journal:Journal.begin", "after", _any),
    "a file in place": ("sandbox.exchange:_place", "after", _any),
    "all files in place": ("sandbox.journal:Journal.commit", "before", _any),
    "exchange complete": ("sandbox.journal:Journal.commit", "after", _any),
    "applied, not recorded": ("sandbox.journal:Journal.end", "after", _any),
    "applied": ("memory.store:Store.append", "after", _payload_is("applied")),
    "tidying up": ("sandbox.container:Container.remove", "before", _any),
}


def arm(name: str, signals: list[int]) -> None:
    """Make the point fire once."""
    where, when, fits = POINTS[name]
    module, _, path = where.partition(":")
    owner: Any = importlib.import_module(module)
    *inner, attribute = path.split(".")
    for part in inner:
        owner = getattr(owner, part)
    # a class gives a bound method for a classmethod: the wrapper is then called without the class
    raw = owner.__dict__.get(attribute) if isinstance(owner, type) else None
    real = getattr(owner, attribute)
    fired: list[int] = []

    def wrapper(*arguments: Any, **named: Any) -> Any:
        fire = not fired and fits((*arguments, *named.values()))
        if fire and when == "before":
            _fire(signals, fired)
        result = real(*arguments, **named)
        if fire and when == "after":
            _fire(signals, fired)
        return result

    setattr(owner, attribute, staticmethod(wrapper) if isinstance(raw, classmethod) else wrapper)


def _fire(signals: list[int], fired: list[int]) -> None:
    fired.append(1)
    for number in signals:
        os.kill(os.getpid(), number)


def main() -> None:
    point, signals = sys.argv[1:3]
    del sys.argv[1:3]
    arm(point, [int(number) for number in signals.split(",")])
    from agent.cli import main as adi

    adi()
