"""What a repository's dependency files ask for, read as text: nothing of the repository is run.

The result is shown to a person before anything is fetched, and its digest names the prepared environment.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MAX_FILE = 4 * 1024**2
MAX_PACKAGES = 2_000


class Files(Protocol):
    """What reading needs of a work copy."""

    def paths(self) -> list[str]: ...

    def read(self, path: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Package:
    """One package that a file asks for by name."""

    name: str
    wanted: str
    """Versions, as the file writes them; empty means any."""
    source: str
    """The file, and the part of it."""
    unlocked: bool = False
    """There is a lock file, and it does not know the name."""


@dataclass(slots=True)
class Wanted:
    """Everything that one ecosystem's files ask for."""

    kind: str
    """`pypi` or `npm`."""
    packages: list[Package] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """The dependency files that were read; their bytes decide the key."""
    inputs: dict[str, bytes] = field(default_factory=dict)
    """What the step is given, and nothing else."""
    left_out: list[str] = field(default_factory=list)
    """What is not done although a file asks for it, one sentence each."""
    blocked: str = ""
    """Why nothing can be installed at all; empty when it can."""
    installs_itself: bool = False
    """The repository is a package whose own metadata its tests may ask for."""

    @property
    def anything(self) -> bool:
        return bool(self.packages or self.blocked)

    def leave_out(self, sentence: str) -> None:
        if sentence not in self.left_out and len(self.left_out) < 50:
            self.left_out.append(sentence)

    def key(self, base: str, registries: Sequence[str]) -> str:
        """Digest of all that decides what would be installed: 24 hexadecimal digits."""
        from sandbox.scripts import INSTALL, PROJECT

        parts = {
            "recipe": [INSTALL.get(self.kind), PROJECT],
            "base": base,
            "registries": list(registries),
            "files": _digests(self.files),
            "inputs": _digests(self.inputs),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())}


UNSUPPORTED = (
    ("go.mod", r"^[ \t]*require\b", "Go modules", "go mod vendor"),
    ("Cargo.toml", r"^\[(?:dev-|build-)?dependencies\]\s*+[\w\"-]", "crates", "cargo vendor"),
    ("composer.json", r'"require(?:-dev)?"\s*:\s*\{[^{}]*"[\w.-]+/', "Composer packages", "composer install"),
    ("pom.xml", r"<dependency>", "Maven packages", ""),
    ("build.gradle", r"\b(?:implementation|testImplementation)\b", "Gradle packages", ""),
    ("build.gradle.kts", r"\b(?:implementation|testImplementation)\b", "Gradle packages", ""),
)
"""File -> what in it asks for packages, what they are, and the command that puts them into the repository."""


def read(files: Files, profile: str) -> Wanted:
    """What the files ask for in the ecosystem of an image profile."""
    from sandbox import dependencies_node, dependencies_python

    paths = set(files.paths())
    if profile == "node" and "package.json" in paths:
        return dependencies_node.read(files, paths)
    if profile == "python":
        return dependencies_python.read(files, paths)
    wanted = Wanted("")
    for path, pattern, what, command in UNSUPPORTED:
        if path in paths and re.search(pattern, text(files, path), re.M):
            way = f"commit them ({command})" if command else "commit what they need"
            wanted.blocked = f"{path} asks for {what}, which adi prepare does not install yet: {way}"
    return wanted


def text(files: Files, path: str) -> str:
    """A dependency file as text; empty when it is absurdly large."""
    data = files.read(path)
    return data.decode("utf-8", "replace") if len(data) <= MAX_FILE else ""
