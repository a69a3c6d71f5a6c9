"""The hooks of pytest for feedback/witness.py, copied into the sandbox as `adi_pytest` and loaded by `-p`.

Hook wrappers of the old style, which every pytest since 3 knows.
"""

import importlib
import os
from collections.abc import Generator
from typing import Any

import pytest

_values: Any = importlib.import_module("adi_values")
_claimed = os.environ.get("ADI_WITNESS_CLAIMED")
os.environ["ADI_WITNESS_CLAIMED"] = "1"  # a test that starts pytest itself is not watched in turn
_witness: Any = None if _claimed else importlib.import_module("adi_witness").Witness()
_configs: list[Any] = []
"""The configuration of the outermost run."""


def _watched(config: Any) -> bool:
    return _witness is not None and config in _configs[:1]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    _configs.append(config)


@pytest.hookimpl(hookwrapper=True)
def pytest_cmdline_main(config: Any) -> Generator[None, None, None]:
    """Tests that xdist runs in other processes cannot be watched: run them here."""
    if getattr(config.option, "numprocesses", None):
        config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: Any) -> None:
    if _watched(item.config):
        _witness.begin(item.nodeid)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: Any) -> Generator[None, None, None]:
    if _watched(item.config):
        _witness.arm()
    yield
    if _watched(item.config):
        _witness.pause()


def pytest_assertrepr_compare(config: Any, op: str, left: object, right: object) -> None:
    """Remember what was compared; the text is left to pytest."""
    if _watched(config) and _witness.current:
        _witness.lines.switch("-")
        _witness.compared = [_values.short(left), op, _values.short(right)]
        _witness.resume()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, None]:
    watched = _watched(item.config) and _witness.current
    if watched and call.excinfo is not None:
        _witness.failed(call.excinfo.value, call.excinfo.tb)
    report = (yield).get_result()
    if watched and call.excinfo is not None:  # of a unittest.TestCase it is there only now
        _witness.failed(call.excinfo.value, call.excinfo.tb)
    if watched and (report.when == "call" or report.outcome != "passed"):
        _witness.end(report.outcome)


def pytest_exception_interact(node: Any, call: Any, report: Any) -> None:
    """A file of tests that cannot be imported counts as a failing test."""
    if report.__class__.__name__ == "CollectReport" and _watched(node.config):
        _witness.begin(node.nodeid)
        error = call.excinfo.value.__cause__ or call.excinfo.value
        _witness.failed(error, error.__traceback__)
        _witness.end("failed")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: Any) -> None:
    if _watched(config):
        _witness.finish()
