"""A way to lose the Docker engine in a test without touching the engine."""

import contextlib
import select
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path


class Proxy:
    """A socket in front of the Docker engine that can be cut; the engine itself goes on."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="adi-sock-")
        self.path = f"{self.folder}/d.sock"
        self.open: list[socket.socket] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect("/var/run/docker.sock")
                self.open += [near, far]
                for one, other in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pump, args=(one, other))
                    thread.start()
                    self.threads.append(thread)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for item in self.open:
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for item in self.open:
            item.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Valve:
    """A Unix socket before the engine's, whose `mode` is open, cut or silent; it can be opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.mode = "open"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.mode == "cut":
                    near.close()
                    continue
                far = socket.socket(socket.AF_UNIX)
                far.connect("/var/run/docker.sock")
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        sources = [near, far]
        with near, far, contextlib.suppress(OSError):
            while self.mode != "cut":
                if self.mode == "silent":
                    time.sleep(0.05)
                    continue
                for ready in select.select(sources, [], [], 0.05)[0]:
                    data = ready.recv(1 << 16)
                    if not data and ready is far:
                        return
                    if data:
                        (far if ready is near else near).sendall(data)
                    else:
                        far.shutdown(socket.SHUT_WR)
                        sources.remove(near)

    def close(self) -> None:
        self.mode = "cut"
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
