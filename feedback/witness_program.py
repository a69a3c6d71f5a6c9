"""Starts feedback/witness.py in any Python program: copied into the sandbox as `sitecustomize`.

Tests of unittest are told apart through its result class; a program without them is one test.
"""

import atexit
import importlib
import os
import sys
import unittest
from collections.abc import Callable
from typing import Any


def _start(witness: Any) -> None:
    """Put the hooks in place."""
    outcome = ["passed"]

    def started(test: Any) -> None:
        outcome[0] = "passed"
        witness.begin(str(test.id()))
        witness.arm()

    def failed(test: Any, error: Any) -> None:
        alone = not witness.current  # a fixture of a class or a module
        if alone:
            witness.begin(str(test.id()))
        outcome[0] = "failed"
        witness.failed(error[1], error[2])
        if alone:
            witness.end("failed")
        else:
            witness.resume()

    def sub(test: Any, _subtest: Any, error: Any) -> None:
        if error is not None:
            failed(test, error)

    def skipped(*_: Any) -> None:
        outcome[0] = "skipped"

    def stopped(_test: Any) -> None:
        witness.end(outcome[0])

    for name, note in (
        ("startTest", started), ("addError", failed), ("addFailure", failed), ("addSubTest", sub),
        ("addSkip", skipped), ("addExpectedFailure", skipped), ("stopTest", stopped),
    ):  # fmt: skip
        _wrap(unittest.TestResult, name, note)
    told = sys.excepthook

    def raised(kind: Any, error: Any, trace: Any) -> None:
        if not isinstance(error, KeyboardInterrupt):
            witness.failed(error, trace)
        told(kind, error, trace)

    sys.excepthook = raised
    atexit.register(witness.finish)


def _wrap(owner: type, name: str, note: Callable[..., None]) -> None:
    """Let `note` see the calls of a method before the method does."""
    method = getattr(owner, name)

    def noted(self: Any, *arguments: Any, **named: Any) -> Any:
        note(*arguments)
        return method(self, *arguments, **named)

    setattr(owner, name, noted)


if "ADI_WITNESS_S" in os.environ and not os.environ.get("ADI_WITNESS_CLAIMED"):
    os.environ["ADI_WITNESS_CLAIMED"] = "1"
    _start(importlib.import_module("adi_witness").Witness())
