"""What is installed: the light start of `adi`, no stranger with one of our names, every version pinned."""

import os
import subprocess
import sys
import time
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from agent.root import PACKAGES

ROOT = Path(__file__).parent.parent
OURS = "adi-agent"
HEAVY = (
    "alembic", "asyncio", "docker", "git", "httpx2", "jinja2", "prompt_toolkit", "psutil", "psycopg",
    "pydantic",
    "requests", "rich", "sqlalchemy", "sqlmodel", "torch", "transformers", "xllamacpp",
)  # fmt: skip
HELP_S = 0.3


def test_no_dependency_ships_one_of_our_names() -> None:
    strangers = {
        f"{found.metadata['Name']} ships {file}"
        for found in distributions()
        if canonicalize_name(found.metadata["Name"]) != OURS
        for file in found.files or ()
        if file.parts[0] in PACKAGES or (len(file.parts) == 1 and file.stem in PACKAGES)
    }
    assert strangers == set()


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['adi', '--help']\n"
        "from agent.cli import main\n"
        "try: main()\n"
        f"finally: print('loaded:', *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: adi" in done.stdout
    assert done.stderr == "loaded:\n"


def test_help_is_quick() -> None:
    adi = Path(sys.executable).with_name("adi")
    if not adi.exists():
        pytest.skip("the console script is not installed beside this Python")
    best = min(timed([str(adi), "--help"]) for _ in range(5))
    assert best < HELP_S, f"adi --help took {best:.2f} s"


def timed(command: list[str]) -> float:
    """Seconds of processor time, so that a busy machine counts for nothing."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after, wall = os.times(), time.perf_counter() - start
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return min(wall, used) if used else wall


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    names = [canonicalize_name(name) for name, _ in found]
    assert names == sorted(set(names)), "constraints.txt is sorted and names each package once"
    return {name: version for name, (_, version) in zip(names, found, strict=True)}


def reached(name: str, extras: set[str], seen: dict[str, Distribution]) -> None:
    """Add what is installed of a distribution's requirements, followed to the end."""
    try:
        found = distribution(name)
    except Exception as error:
        raise AssertionError(f"{name} is required and not installed") from error
    seen[canonicalize_name(name)] = found
    for requirement in map(Requirement, found.requires or ()):
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras or {""}
        )
        if wanted and canonicalize_name(requirement.name) not in seen:
            reached(requirement.name, requirement.extras, seen)


def test_every_dependency_is_pinned_to_what_is_installed() -> None:
    seen: dict[str, Distribution] = {}
    reached(OURS, {"", "dev"}, seen)
    del seen[OURS]
    assert len(seen) > 20
    pinned = pins()
    wrong = {
        name: f"installed {found.version}, pinned {pinned.get(name, 'nowhere')}"
        for name, found in seen.items()
        if pinned.get(name) != Version(found.version).public
    }
    assert wrong == {}
