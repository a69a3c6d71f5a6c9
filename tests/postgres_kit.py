"""A real Postgres server for tests, on a random port of the loopback, that ends with the tests.

Debian's package puts the programs where PATH does not look. They refuse to run as root: then the server runs
as the user `postgres`, or `nobody`.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

PATIENCE_S = 60.0
ROOM = 2 * 1024**3
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB", "max_connections": "40"}
"""Settings of a server whose data nobody wants to keep."""


@cache
def programs() -> Path | None:
    """Folder with `initdb` and `postgres`, of the newest version; None when there is none."""
    debian = Path("/usr/lib/postgresql")
    found = (
        sorted(debian.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])) if debian.is_dir() else []
    )
    if found:
        return found[-1].parent
    inside = shutil.which("initdb")
    return Path(inside).resolve().parent if inside else None


def missing_postgres() -> str:
    """Why no server can be started; empty when one can."""
    if find_spec("psycopg") is None:
        return "no driver (try: pip install 'adi-agent[postgres]')"
    return "" if programs() else "no Postgres server (try: apt-get install postgresql)"


def account() -> pwd.struct_passwd | None:
    """Who the server runs as when this is root; None for oneself."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def place() -> str:
    """Where the data lies: in memory where there is room, because a disk takes long to delete it all."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    return str(memory) if roomy else "/tmp"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A server in a temporary folder; `start` and `stop` may follow each other, the data stays."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="adi-pg-", dir=place()))
        self._account = account()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.port = free_port()
        if self._account:
            os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)
        self._run(
            "initdb", "--pgdata", str(self._folder / "data"), "--encoding", "UTF8", "--locale", "C",
            "--username", "adi", "--auth", "trust", "--no-sync",
        ).check_returncode()  # fmt: skip

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        with self._log() as log:
            return subprocess.run(
                [str(self._program(program)), *arguments], stdout=log, stderr=log, check=False, **self._who()
            )

    def _program(self, name: str) -> Path:
        folder = programs()
        assert folder is not None
        return folder / name

    def _log(self) -> BinaryIO:
        return (self._folder / "log").open("ab")

    def _who(self) -> dict[str, Any]:
        who: dict[str, Any] = {"cwd": self._folder, "stdin": subprocess.DEVNULL}
        if self._account:
            who |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return who

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = QUICK | {"port": str(self.port), "unix_socket_directories": str(self._folder)}
        # The kernel stops the server when these tests are killed.
        dies_with_us = [found, "--pdeathsig", "INT"] if (found := shutil.which("setpriv")) else []
        command = [*dies_with_us, str(self._program("postgres")), "-D", str(self._folder / "data")]
        command += ["-h", "127.0.0.1"]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log() as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._who())
        import psycopg

        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(self.address("postgres")).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    told = (self._folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"the server does not start: {told[-2000:]}") from None
                time.sleep(0.05)

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop it: SIGINT drops the connections, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def remove(self) -> None:
        """Stop it, and delete everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def address(self, database: str) -> str:
        return f"postgresql://adi@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement as the server's owner; its rows."""
        import psycopg

        with psycopg.connect(self.address(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """Address of an empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        self.run(f"CREATE DATABASE {name}")
        return self.address(name)
