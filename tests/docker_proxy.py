"""A way to lose the Docker engine in a test without touching the engine."""

import contextlib
import shutil
import socket
import tempfile
import threading


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
