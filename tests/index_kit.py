"""Package indexes on loopback, with packages that a test makes: nothing is fetched from anywhere."""

import base64
import contextlib
import hashlib
import io
import json
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BACKEND = """
import os, runpy, sys, zipfile
NAME, VERSION = "{name}", "{version}"

def get_requires_for_build_wheel(settings=None):
    return []

def build_wheel(folder, settings=None, metadata=None):
    runpy.run_path("setup.py", run_name="__main__")
    name = NAME + "-" + VERSION + "-py3-none-any.whl"
    info = NAME + "-" + VERSION + ".dist-info/"
    said = "Metadata-Version: 2.1\\nName: " + NAME + "\\nVersion: " + VERSION + "\\n"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as made:
        made.write("module.py", NAME + ".py")
        made.writestr(info + "METADATA", said)
        made.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        made.writestr(info + "RECORD", "")
    return name
"""
"""A build backend that runs setup.py, as setuptools does, and needs nothing from an index."""


def wheel(name: str, files: Mapping[str, str], version: str = "1.0", requires: tuple[str, ...] = ()) -> bytes:
    stream = io.BytesIO()
    info = f"{name}-{version}.dist-info"
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {item}" for item in requires)]
    with zipfile.ZipFile(stream, "w") as made:
        for path, text in files.items():
            made.writestr(path, text)
        made.writestr(f"{info}/METADATA", "\n".join(["Metadata-Version: 2.1", *lines, ""]))
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", "")
    return stream.getvalue()


def _tarball(files: Mapping[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for path, text in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(text.encode())
            made.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


def sdist(name: str, setup: str, version: str = "1.0") -> bytes:
    """A source distribution whose setup.py runs when it is installed; module.py becomes the module."""
    top = f"{name}-{version}/"
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    return _tarball(
        {
            f"{top}PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{top}pyproject.toml": system,
            f"{top}backend.py": BACKEND.replace("{name}", name).replace("{version}", version),
            f"{top}setup.py": setup,
            f"{top}module.py": "",
        }
    )


def node_package(name: str, files: Mapping[str, str], **manifest: object) -> bytes:
    document = json.dumps({"name": name, "version": "1.0.0", "main": "index.js", **manifest})
    return _tarball({"package/package.json": document, **{f"package/{k}": v for k, v in files.items()}})


@dataclass(slots=True)
class Index:
    """A Python index (PEP 503) and an npm registry on one port."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    """Wheels, source distributions, and `<name>.tgz` of Node packages, by file name."""
    asked: list[str] = field(default_factory=list)
    """Paths in the order in which they were asked for."""
    delay_s: float = 0.0
    """How long an answer takes."""
    tags: list[str] = field(default_factory=list)
    """Images that a test filled from here."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def registries(self) -> list[str]:
        return [f"pypi+{self.base}/simple", f"npm+{self.base}/npm"]

    def answer(self, path: str) -> tuple[str, bytes] | None:
        kind, _, name = path.strip("/").partition("/")
        if kind == "files" and name in self.files:
            return "application/octet-stream", self.files[name]
        if kind == "simple":
            own = [file for file in self.files if file.startswith(f"{name.replace('-', '_')}-")]
            links = "".join(f'<a href="/files/{file}">{file}</a>\n' for file in own)
            return (
                ("text/html", f"<!DOCTYPE html><html><body>{links}</body></html>".encode()) if own else None
            )
        if kind == "npm" and f"{name}.tgz" in self.files:
            data = self.files[f"{name}.tgz"]
            digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
            dist = {"tarball": f"{self.base}/files/{name}.tgz", "integrity": f"sha512-{digest}"}
            version = {"name": name, "version": "1.0.0", "dist": dist, "hasInstallScript": True}
            document = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
            return "application/json", json.dumps(document).encode()
        return None


@contextlib.contextmanager
def serve_index(files: Mapping[str, bytes]) -> Iterator[Index]:
    index = Index(files=dict(files))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            time.sleep(index.delay_s)
            found = index.answer(self.path)
            self.send_response(200 if found else 404)
            kind, body = found or ("text/plain", b"no such package")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            with contextlib.suppress(OSError):  # nobody waits for it any more
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
