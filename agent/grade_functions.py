"""Run in the sandbox on an answer: exit code 0 when its function passes the hidden tests.

Only the standard library, as nothing of ADI is in the sandbox. The answer runs in a child process that
reports through a pipe after the last test: an answer that ends the process early is not right.
"""

import ast
import json
import os
import sys
import traceback
import types
from pathlib import Path


def run(task: dict[str, object], source: str) -> None:
    """Prompt's imports, helpers that the answer lacks, answer, tests: one module, not `__main__`."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    given = task["given"]
    assert isinstance(given, dict)
    own = {getattr(node, "name", "") for node in ast.parse(source).body}
    parts = [text for name, text in given.items() if not name or name not in own]
    for name, text in (("prompt", "\n\n".join(parts)), ("solution", source), ("tests", str(task["tests"]))):
        exec(compile(text, f"{name}.py", "exec", dont_inherit=True), module.__dict__)


def main() -> int:
    here = Path(__file__).resolve().parent
    task = json.loads((here / "hidden_task.json").read_text(encoding="utf-8"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            run(task, (here / task["answer"]).read_text(encoding="utf-8"))
            os.write(writer, b"right")
        except BaseException:  # noqa: BLE001 - SystemExit of the answer is a failure too
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        right = pipe.read() == b"right"
    os.waitpid(child, 0)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
