"""Group F at the edges: odd names through a real container and back, and trees of odd sizes."""

import os
import resource
import time
from ast import literal_eval
from pathlib import Path

import pytest

from feedback.detect import detect
from sandbox.docker import DockerSandbox
from sandbox.errors import RepositoryState
from sandbox.exchange import exchange
from sandbox.images import recipe
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory, git
from tests.containment_kit import LIMITS, Contained

pytestmark = pytest.mark.containment

NAMES = (
    "with space", "new\nline", "quo'te\"", "-rf", "--version", "emoji \U0001f600", "rtl\u202egnp",
    "tab\tbell\a",
    "nbsp\xa0", " lead", "trail ", "$HOME `id`", "back\\slash", "n" * 255,
    "\u00fc" * 127, "u\u0308", "a\u2028b",
    "*?[x]", "%s{0}", "#x", "~", "@{u}", ":(top)x",
)  # fmt: skip
APPEND = (
    "python3 -c 'import os\n"
    'for folder, _, names in os.walk("."):\n'
    "    for name in names:\n"
    "        print(ascii(os.path.join(folder, name)))\n"
    '        open(os.path.join(folder, name), "ab").write(b"\\r\\nmore")\''
)


@pytest.mark.container
def test_sandbox_f04_names_through_a_container(
    make_repo: RepoFactory, contained: Contained, tmp_path: Path
) -> None:
    """Copied in, seen, changed by a command, copied out and applied, each under its own name."""
    before = {name: f"{number}\n".encode() for number, name in enumerate(NAMES)}
    before |= {f"d{name[:200]}/{name[:200]}": b"deep\n" for name in NAMES[:6]}
    root = make_repo(before)
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    assert set(copy.paths()) == set(before)
    image = recipe("python").tag
    with DockerSandbox(
        copy.archive(), image=image, run_id=contained.run_id, limits=LIMITS, client=contained.client
    ) as box:
        ended = box.run(APPEND, timeout_s=20)
        assert ended.status == "ok", ended.output
        seen = {literal_eval(line) for line in ended.output.decode().splitlines()}
        assert seen == {f"./{path}" for path in before}
        changes = box.changes()
        assert box.notes == []
        box.write({"-rf": b"back\n", "new\nline": None})
        left = box.run("ls -b", timeout_s=20).output.decode()
    assert "new\\nline" not in left.split("\n")
    assert changes == {path: data + b"\r\nmore" for path, data in before.items()}
    assert copy.absorb(changes) == sorted(before)
    same = copy.patched(copy.diff())
    assert same.changed() == {path: (data, data + b"\r\nmore") for path, data in sorted(before.items())}
    exchange(root, same.changed(), tmp_path / "journal", modes=same.modes())
    assert {path: (root / path).read_bytes() for path in before} == changes
    exchange(root, {path: (new, old) for path, (old, new) in same.changed().items()}, tmp_path / "journal")
    assert git(root, "status", "--porcelain") == ""


@pytest.mark.container
def test_sandbox_f04_names_that_are_no_utf8(
    make_repo: RepoFactory, contained: Contained, tmp_path: Path
) -> None:
    """Carried into the container by their bytes, offered to nobody, and never changed by ADI."""
    name = b"caf\xe9.py"
    root = make_repo({"a.py": "x = 1\n"})
    (root / os.fsdecode(name)).write_bytes(b"y = 1\n")
    copy = WorkCopy(snapshot(root, tmp_path / "shadow"))
    assert copy.paths() == ["a.py"]
    image = recipe("python").tag
    with DockerSandbox(
        copy.archive(), image=image, run_id=contained.run_id, limits=LIMITS, client=contained.client
    ) as box:
        command = 'for name in *; do printf %s "$name"; echo z >> "$name"; done'
        shown = box.run(command, timeout_s=20)
        assert name in shown.output
        assert box.changes() == {"a.py": b"x = 1\nz\n"}
        assert any("unsafe name" in note for note in box.notes)
    assert (root / os.fsdecode(name)).read_bytes() == b"y = 1\n"


@pytest.mark.parametrize("kind", ["no commit", "no file", "empty files", "only ignored", "one folder"])
def test_sandbox_f06_little_or_nothing(make_repo: RepoFactory, tmp_path: Path, kind: str) -> None:
    files = {"empty files": {"empty": "", "also.py": ""}, "only ignored": {".gitignore": "*\n"}}.get(kind, {})
    root = make_repo(files)
    if kind == "no commit":
        git(root, "update-ref", "-d", "HEAD")
    if kind == "only ignored":
        (root / "data").mkdir()
        for number in range(2000):
            (root / "data" / str(number)).write_bytes(b"x")
    if kind == "one folder":
        (root / "a/b/c").mkdir(parents=True)
    taken = snapshot(root, tmp_path / "shadow")
    copy = WorkCopy(taken)
    assert copy.paths() == sorted(files if kind == "empty files" else [])
    assert not taken.dirty
    assert detect(copy) == ()
    assert copy.diff() == b""
    copy.write("new.py", b"")
    same = copy.patched(copy.diff())
    exchange(root, same.changed(), tmp_path / "journal", modes=same.modes())
    assert (root / "new.py").read_bytes() == b""


def full_of_links(root: Path, count: int) -> None:
    """That many names, quickly: hard links, as many as one file may have, then a new file."""
    source = root / "0"
    for number in range(1, count):
        if number % 60_000 == 0:
            source = root / f"s{number}"
            source.touch()
        if number % 5000 == 0:
            (root / f"d{number}").mkdir()
        os.link(source, root / f"d{number - number % 5000}" / str(number))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["untracked", "tracked", "ignored"])
def test_sandbox_f06_half_a_million_files(make_repo: RepoFactory, tmp_path: Path, kind: str) -> None:
    """Ignored they cost a look; otherwise the cap is told with what helps. Time and memory stay bounded."""
    root = make_repo({"0": "", ".gitignore": "/d*/\n" if kind == "ignored" else ""})
    (root / "d0").mkdir()
    full_of_links(root, 500_000)
    if kind == "tracked":
        git(root, "add", "--all")
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    if kind == "ignored":
        assert "0" in WorkCopy(snapshot(root, tmp_path / "shadow")).paths()
    else:
        with pytest.raises(RepositoryState, match="too many files to copy: more than 100000") as error:
            snapshot(root, tmp_path / "shadow")
        assert "gitignore" in error.value.hint
    assert time.monotonic() - began < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 * 1024
