"""Serves the review page to this machine until Ctrl-C, and opens a browser where there is a screen."""

import os
import socket
import sys
import webbrowser
from collections.abc import Callable
from contextlib import closing
from typing import Final

import uvicorn

from agent.display_wrap import tell
from agent.errors import Terminated, UsageError
from agent.interrupts import INTERRUPTS
from agent.review_jobs import Jobs
from agent.review_queue import Sessions
from agent.review_web import Site, application
from memory.store import Store

HOST: Final = "127.0.0.1"
"""Nobody but this machine; another one may reach it through a tunnel of the person's own, such as ssh -L."""
GRACE_S: Final = 3


class ReviewServer:
    """A server on a port of the loopback; it listens from the start and answers while it runs."""

    def __init__(self, site: Site, port: int = 0) -> None:
        """Port 0 takes a free one. Raises UsageError for a port that cannot be had."""
        self._site = site
        self._socket = _listen(port)
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            application(site), lifespan="off", ws="none", loop="asyncio", http="h11", access_log=False,
            log_config=None, log_level="critical", server_header=False, timeout_graceful_shutdown=GRACE_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)

    def address(self, token: str) -> str:
        """Where a browser begins."""
        return f"http://{HOST}:{self.port}/{self._site.keys.room}/?token={token}"

    def run(self) -> None:
        """Answer until Ctrl-C (raises KeyboardInterrupt), SIGTERM (Terminated) or `stop`."""
        with closing(self._socket):
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`, which another thread is in."""
        self._server.should_exit = True


def serve(
    store: Store,
    sessions: Sessions,
    jobs: Jobs,
    root: str | None,
    port: int,
    *,
    browse: bool,
    report: Callable[[BaseException], None],
) -> None:
    """Serve until Ctrl-C, then finish the decision that is under way. The address goes to stdout."""
    site = Site(store, sessions, jobs, root, report)
    server = ReviewServer(site, port)
    sys.stdout.write(f"{server.address(site.keys.token)}\n")
    sys.stdout.flush()
    tell("Only this machine can open it. Ctrl-C ends it; what was decided stays decided.", sys.stderr)
    if browse and has_screen():
        webbrowser.open(server.address(site.keys.once))
    try:
        server.run()
    except Terminated:
        raise
    except KeyboardInterrupt:
        INTERRUPTS.at_rest()
    if not jobs.close(0.2):
        tell("A decision is still being carried out; Ctrl-C leaves without it.", sys.stderr)
        jobs.close()


def has_screen() -> bool:
    """True where a browser would open a window, and not take the terminal over."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _listen(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOST, port))
        found.listen(64)
    except OSError as error:
        found.close()
        raise UsageError(
            f"port {port} cannot be used: {error.strerror}",
            "adi review --web, without --port, takes a free one",
        ) from None
    return found
