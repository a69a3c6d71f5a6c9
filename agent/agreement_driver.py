"""Runs inside the sandbox, alone: programs on calls, each program in a process of its own.

Reads `.adi/agreement.json`, prints one line: the token, then a JSON list per program of what came of each
call. Needs nothing but the standard library.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

CHARS = 400
Order = dict[str, Any]
"""Path, texts, calls, seconds of a call, and the token that begins the answer."""


class Slow(Exception):
    """A call took too long."""


def on_alarm(_number: int, _frame: FrameType | None) -> None:
    raise Slow


def load(path: str, text: str) -> ModuleType:
    """The module of this text, in the place of the file that it would replace."""
    module = ModuleType("candidate")
    module.__file__ = str(Path(path).absolute())
    sys.modules["candidate"] = module
    exec(compile(text, path, "exec"), module.__dict__)
    return module


def outcome(module: ModuleType, call: str, seconds: float) -> str:
    """The result's text, or `!` and what was raised."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return repr(eval(call, dict(module.__dict__)))[:CHARS]
    except Exception as error:  # noqa: BLE001 - whatever the program does is its behaviour
        return "!" + type(error).__name__
    except BaseException as error:  # noqa: BLE001 - a program may exit
        return "!!" + type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def one(order: Order, text: str, end: int) -> None:
    """In the child: everything that it prints is dropped."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 5 * order["seconds"])
        module = load(order["path"], text)
        signal.setitimer(signal.ITIMER_REAL, 0)
        results = [outcome(module, call, order["seconds"]) for call in order["calls"]]
    except BaseException as error:  # noqa: BLE001 - a program may exit
        results = ["!" + type(error).__name__] * len(order["calls"])
    with os.fdopen(end, "w") as pipe:
        json.dump(results, pipe)


def main() -> None:
    sys.path[:0] = [str(Path.cwd()), str(Path.cwd() / "src")]
    order = json.loads(Path(".adi/agreement.json").read_text(encoding="utf-8"))
    found = []
    for text in order["texts"]:
        begin, end = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.close(begin)
            try:
                one(order, text, end)
            finally:
                os._exit(0)
        os.close(end)
        with os.fdopen(begin) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        try:
            results = json.loads(said)
        except ValueError:
            results = []
        found.append(results if len(results) == len(order["calls"]) else ["!died"] * len(order["calls"]))
    sys.stdout.write(f"{order['token']}{json.dumps(found)}\n")


main()
