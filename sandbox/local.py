"""A stand-in for tests: runs commands in a temporary directory of the host, with no containment at all.

Never reachable from the command line; model-written code runs in sandbox/docker.py only.
"""

import contextlib
import io
import os
import selectors
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.output import HeadTail
from sandbox.paths import check_path
from sandbox.protocol import ExecResult, ExecStatus, SandboxLimits, explain

_SKIPPED = {"__pycache__", ".pytest_cache", ".git", "node_modules"}


class LocalSandbox:
    """Implements sandbox.protocol.Sandbox for unit tests."""

    def __init__(self, archive: bytes, limits: SandboxLimits | None = None) -> None:
        self._limits = limits or SandboxLimits()
        self._folder = tempfile.TemporaryDirectory(prefix="adi-local-", ignore_cleanup_errors=True)
        self.root = Path(self._folder.name)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            if hasattr(tarfile, "data_filter"):  # since Python 3.11.4; the archive is ADI's own
                tar.extraction_filter = tarfile.data_filter
            tar.extractall(self.root)
        self._known = self._files()
        self._notes: list[str] = []

    def __enter__(self) -> "LocalSandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        command: str,
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_output: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        """Run a shell command in the directory; its process group is killed at the end."""
        began = time.monotonic()
        output = HeadTail(self._limits.output_bytes)
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self.root,
            env={
                # The tests' own Python, with pytest, is the one that commands find.
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "HOME": str(self.root),
                "LANG": "C.UTF-8",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        feeder = threading.Thread(target=_feed, args=(process, stdin), daemon=True)
        feeder.start()
        try:
            status = self._read(process, output, began + timeout_s, on_output)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            feeder.join()
            if process.stdout is not None:
                process.stdout.close()
        code = process.returncode if status == "ok" else None
        if code:
            status, code = "nonzero", code if code > 0 else 128 - code
        detail = explain(status, self._limits, timeout_s)
        return ExecResult(status, code, output.bytes(), output.truncated, time.monotonic() - began, detail)

    def _read(
        self,
        process: subprocess.Popen[bytes],
        output: HeadTail,
        deadline: float,
        on_output: Callable[[bytes], None] | None,
    ) -> ExecStatus:
        """Collect output until the process ends, the deadline passes or the cap is reached."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            ended = False
            while True:
                if time.monotonic() > deadline:
                    return "timeout"
                if selector.select(0 if ended else 0.02):
                    data = os.read(process.stdout.fileno(), 1 << 16)
                    if not data:
                        return "ok" if _waited(process, deadline) else "timeout"
                    output.feed(data)
                    if on_output is not None:
                        on_output(data)
                    if output.total > self._limits.output_stop_bytes:
                        return "output-cap"
                elif ended:
                    return "ok"
                ended = ended or process.poll() is not None

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Write or delete files."""
        for path, data in files.items():
            target = self.root / check_path(path)
            if data is None:
                target.unlink(missing_ok=True)
                self._known.pop(path, None)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                self._known[path] = data

    def changes(self) -> dict[str, bytes | None]:
        """Regular files that differ since the last call."""
        now = self._files()
        gone: dict[str, bytes | None] = dict.fromkeys(path for path in self._known if path not in now)
        changed = {path: data for path, data in now.items() if self._known.get(path) != data}
        self._known = now
        return {**gone, **changed}

    def _files(self) -> dict[str, bytes]:
        found = {}
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if name not in _SKIPPED]
            for name in names:
                path = Path(folder) / name
                if stat.S_ISREG(path.lstat().st_mode):
                    found[path.relative_to(self.root).as_posix()] = path.read_bytes()
        return found

    @property
    def notes(self) -> list[str]:
        """Always empty here."""
        return list(self._notes)

    def close(self) -> None:
        """Remove the directory."""
        self._folder.cleanup()


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(data)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _waited(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """True when the process ends before the deadline."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True
