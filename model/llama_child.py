"""A llama.cpp server in a child of the server process: how adapters come in while answers are being written.

llama.cpp reads adapters at its start only, and the packaged library holds Python's lock while it loads, for
seconds, in which nobody in the same process could answer. A child can be made ready beside the one that
answers, and ends when its parent does, however that ends: it waits for the end of its standard input.

Run as `python -P -m model.llama_child`; the first line of its input is what to serve, with the token, which
no command line should show.
"""

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from model.errors import ServerFailed
from model.serving import ServeChoice

START_S: Final = 180.0
"""Longest wait for a start, in seconds."""


class Child:
    """A running one, which has loaded the model and its adapters."""

    def __init__(self, choice: ServeChoice, token: str) -> None:
        """Raises ServerFailed when it cannot start."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "model.llama_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at a terminal is its parent's business
        )
        try:
            told = self._told({"choice": asdict(choice) | {"model": str(choice.model)}, "token": token})
        except BaseException:
            self.close()
            raise
        self.url: str = told["url"]

    def _told(self, order: dict[str, Any]) -> dict[str, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ServerFailed("llama.cpp's server ended before it began", "adi serve --status") from None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            why = "ended while it loaded" if ready else f"was not ready after {START_S:.0f} s"
            raise ServerFailed(f"llama.cpp's server {why}", "the log beside the server's state says more")
        told: dict[str, str] = json.loads(line)
        if "error" in told:
            raise ServerFailed(told["error"], told.get("hint", ""))
        return told

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End it, and wait until it is gone."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Serve what the first line of the input says until the input ends."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints belongs to the log
    order = json.loads(sys.stdin.readline())
    told = order["choice"] | {"model": Path(order["choice"]["model"])}
    told["adapters"] = tuple((name, path) for name, path in told["adapters"])
    from model.llama import start

    try:
        server = start(replace(ServeChoice(Path(), ""), **told), order["token"])
    except ServerFailed as error:
        print(json.dumps({"error": error.message, "hint": error.hint}), file=answer, flush=True)
        os._exit(1)
    print(json.dumps({"url": str(server.listening_address)}), file=answer, flush=True)
    while sys.stdin.readline():
        pass
    os._exit(0)  # its parent lets nobody wait for an answer here


if __name__ == "__main__":
    main()
