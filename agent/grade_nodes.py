"""Run in the sandbox on an answer: exit code 0 when every named test of pytest passes.

Only the standard library, as nothing of ADI is in the sandbox. The same file is the plugin that writes down
how each test ended; a run that ends before its end has no such report and is not right.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPORT = "HIDDEN_REPORT"
_outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report: Any) -> None:
    """A test's outcome is its call's, or that of a set-up or tear-down that went wrong."""
    if (report.when == "call" or report.outcome != "passed") and _outcomes.get(report.nodeid) != "failed":
        _outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    Path(os.environ[REPORT]).write_text(json.dumps(_outcomes), encoding="utf-8")


def main() -> int:
    here = Path(__file__).resolve().parent
    task = json.loads((here / "hidden_task.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        environ = {
            **os.environ,
            "PYTHONPATH": str(here / task["pythonpath"]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            REPORT: str(report),
        }
        argv = [
            sys.executable,
            "-m",
            "pytest",
            *task["pytest"],
            "-p",
            Path(__file__).stem,
            "--rootdir",
            str(here),
        ]
        subprocess.run(argv, cwd=here, env=environ, check=False)
        outcomes = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    wrong = [node for node in task["nodes"] if outcomes.get(node) != "passed"]
    sys.stdout.write("".join(f"{outcomes.get(node, 'not run')}: {node}\n" for node in wrong))
    return 1 if wrong or not task["nodes"] else 0


if __name__ == "__main__":
    sys.exit(main())
