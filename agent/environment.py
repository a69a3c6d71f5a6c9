"""Which image a run works in, and what is said when a check lacks a package that can be installed."""

import contextlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from agent.errors import EnvironmentMissing
from feedback.checks import image_profile
from memory.records import CheckResult
from sandbox.dependencies import Wanted, read
from sandbox.errors import SandboxError
from sandbox.images import recipe
from sandbox.prepared import tag_of
from sandbox.workcopy import WorkCopy

if TYPE_CHECKING:
    from agent.run import Run
    from agent.settings import Settings

PREPARE: Final = "adi prepare"
_MISSING: Final = re.compile(
    r"ModuleNotFoundError: No module named '(?P<python>[\w.]+)'"
    r"|Cannot find (?:module|package) '(?P<node>(?:@[\w.-]+/)?[\w][\w.-]*)[^']*'"
)
_DISTRIBUTIONS: Final = {
    "attr": "attrs", "bs4": "beautifulsoup4", "cv2": "opencv-python", "dateutil": "python-dateutil",
    "dotenv": "python-dotenv", "git": "gitpython", "jwt": "pyjwt", "PIL": "pillow", "serial": "pyserial",
    "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip
"""Python modules that carry another name than the package that brings them."""


class DependenciesMissing(EnvironmentMissing):
    """A check fails because a package is not installed that the repository itself asks for."""


def wanted_of(files: WorkCopy, profile: str) -> Wanted:
    """What the repository asks for, as it was when it was copied."""
    return read(WorkCopy(files.snapshot), profile)


def tag_for(settings: "Settings", wanted: Wanted, base: str) -> str:
    """Name of the image in which these dependencies are, or would be, installed."""
    return tag_of(wanted.key(base, settings.sandbox.registries))


def image_of(settings: "Settings", files: WorkCopy, profile: str) -> str:
    """The user's own image, else the prepared one of these dependency files, else the profile's."""
    base = settings.sandbox.image or recipe(profile).tag
    if settings.sandbox.image or not (wanted := wanted_of(files, profile)).anything:
        return base
    from sandbox.client import connect
    from sandbox.images import is_present

    tag = tag_for(settings, wanted, base)
    try:
        with contextlib.closing(connect()) as client:
            return tag if is_present(tag, client) else base
    except SandboxError:  # whoever starts the container says so
        return base


def require(run: "Run") -> None:
    """Say which packages are missing. Raises DependenciesMissing when what shows the goal needs one."""
    profile = image_profile(run.task.checks, run.files.paths())
    missing = set(modules(run.failing))
    if not missing or run.task.image != recipe(profile).tag:
        return
    wanted = wanted_of(run.files, profile)
    if wanted.blocked or not wanted.packages:
        return
    asked = {_canonical(package.name) for package in wanted.packages}
    known = sorted(name for name in missing if _canonical(_DISTRIBUTIONS.get(name, name)) in asked)
    hint = f"see what would be installed, and allow it: {PREPARE}"
    if known and set(modules(run.goals)) & set(known):
        raise DependenciesMissing(
            f"the checks need {', '.join(known)}: the repository asks for it, and the sandbox lacks it",
            hint,
        )
    run.note(
        "warning",
        f"a check lacks {', '.join(sorted(missing))}; what the repository asks for is not installed",
        hint,
    )


def modules(results: Iterable[CheckResult]) -> Iterable[str]:
    """Top-level names of the modules that checks did not find."""
    for result in results:
        for found in _MISSING.finditer(result.output):
            yield found["node"] or found["python"].partition(".")[0]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
