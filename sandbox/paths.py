"""Which relative paths are safe to read, write and patch, and which need a person's approval.

Cases: reference texts on CVE-2014-9390 (`.git` in other spellings), CVE-2025-48384 (control characters),
and files that make other programs run code when they change.
"""

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Set
from itertools import pairwise
from pathlib import PurePosixPath

from sandbox.errors import UnsafePath

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
MAX_DEPTH = 100
"""Caps on any path of a repository; those of copying out (sandbox/archive.py) are these unless set lower."""

_SHORT_GIT_NAME = re.compile(r"git~[0-9]+")
_SHORT_NAME = re.compile(r"([^~.]{1,6})~[0-9]+(?:\.([^.]*))?")
_PROTECTED_FILES = frozenset(
    {
        ".gitmodules", ".gitattributes", ".envrc", ".gitlab-ci.yml", ".travis.yml", "jenkinsfile",
        "azure-pipelines.yml", "bitbucket-pipelines.yml", ".drone.yml", ".pre-commit-config.yaml",
        ".npmrc", ".yarnrc", ".yarnrc.yml", ".pypirc", ".netrc",
        "agents.md", "claude.md", "gemini.md", ".mcp.json", ".cursorrules", ".windsurfrules",
        ".aider.conf.yml",
    }
)  # fmt: skip
_PROTECTED_FOLDERS = frozenset(
    {
        ".vscode", ".idea", ".devcontainer", ".circleci", ".buildkite", ".husky", ".githooks", ".adi",
        ".claude", ".codex", ".cursor", ".gemini", ".aider", ".cargo",
    }
)  # fmt: skip
_GIT_DIR_PARTS = frozenset({"head", "config", "config.worktree", "commondir", "hooks", "info"})
_PROTECTED_PAIRS = frozenset({(".github", "workflows"), (".github", "actions"), (".forgejo", "workflows")})


def _plain(name: str) -> str:
    """The name as a case-blind, stream-aware or Unicode-folding filesystem would look it up."""
    if name.isascii():
        return name.split(":", 1)[0].lower().rstrip(" .")
    # by way of upper case, because the dotless and the dotted i of Turkish have no other way to `i`
    folded = unicodedata.normalize("NFKC", name).upper().casefold().split(":", 1)[0]
    return "".join(char for char in folded if unicodedata.category(char) not in ("Cf", "Mn")).rstrip(" .")


def is_git_name(name: str) -> bool:
    """True for `.git` and every spelling that some filesystem takes for it."""
    plain = _plain(name)
    return plain == ".git" or _SHORT_GIT_NAME.fullmatch(plain) is not None


def check_path(path: str, *, new: bool = False) -> str:
    """The path itself when it stays inside the repository and off git's own files.

    `new` also refuses control characters, which an existing name may have. Raises UnsafePath.
    """
    reason = fault(path, new=new) or past_caps(path)
    if reason:
        raise UnsafePath(f"refused path {path[:200]!r}: {reason}")
    return path


def fault(path: str, *, new: bool = False) -> str:
    """Why the path is unsafe whatever its length, or an empty string."""
    if not path or "\0" in path:
        return "it is empty or holds a NUL"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    parts = path.split("/")
    if path.startswith("/"):
        return "it is absolute"
    if any(part in ("", ".", "..") for part in parts):
        return "it has empty, `.` or `..` parts"
    if any(is_git_name(part) for part in parts):
        return "it names git's own directory"
    if new and any(unicodedata.category(char) == "Cc" for char in path):
        return "it holds control characters"
    return ""


def past_caps(
    path: str,
    depth: int = MAX_DEPTH,
    name_bytes: int = MAX_NAME_BYTES,
    path_bytes: int = MAX_PATH_BYTES,
) -> str:
    """Which cap the path is past, with both figures, or an empty string."""
    parts = path.split("/")
    if len(parts) > depth:
        return f"it is too deep, {len(parts)} names of at most {depth}"
    longest = max(len(part.encode("utf-8", "surrogatepass")) for part in parts)
    if longest > name_bytes:
        return f"one of its names is too long, {longest} bytes of at most {name_bytes}"
    size = len(path.encode("utf-8", "surrogatepass"))
    return f"it is too long, {size} bytes of at most {path_bytes}" if size > path_bytes else ""


def leads_out(path: str, target: str) -> bool:
    """True when a symbolic link at `path` with this text leads out of the repository."""
    landing = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return landing.startswith(("/", "../")) or landing == ".."


def protected(paths: Iterable[str], others: Iterable[str] = ()) -> tuple[str, ...]:
    """Those paths whose change needs a person's approval: CI, git, editor and agent configuration.

    Git takes a folder with `HEAD`, `objects` and `refs` for a repository and obeys its configuration
    (safe.bareRepository is off by default), so files that make one of a folder count too; `others` are the
    files that are there besides.
    """
    changed = list(paths)
    heads = {_plain_parts(path)[:-1] for path in (*changed, *others) if _plain_parts(path)[-1:] == ("head",)}
    return tuple(
        sorted({path for path in changed if _is_protected(path) or _rules_a_repository(path, heads)})
    )


def _plain_parts(path: str) -> tuple[str, ...]:
    return tuple(_plain(part) for part in PurePosixPath(path).parts)


def _rules_a_repository(path: str, heads: Set[tuple[str, ...]]) -> bool:
    """True for a file that git obeys in a folder that holds a `HEAD`."""
    parts = _plain_parts(path)
    return any(parts[:depth] in heads and parts[depth] in _GIT_DIR_PARTS for depth in range(len(parts)))


def _is_protected(path: str) -> bool:
    parts = [_plain(part) for part in PurePosixPath(path).parts]
    if not parts:
        return False
    if _named(parts[-1], _PROTECTED_FILES) or any(_named(part, _PROTECTED_FOLDERS) for part in parts[:-1]):
        return True
    return any(
        _named(one, {pair[0]}) and _named(other, {pair[1]})
        for one, other in pairwise(parts)
        for pair in _PROTECTED_PAIRS
    )


def _named(name: str, known: Set[str]) -> bool:
    """True for one of the known names, and for a short name (`GITMOD~1`) that Windows may give to it."""
    if name in known:
        return True
    found = _SHORT_NAME.fullmatch(name)
    return found is not None and any(_short(one) == (found[1], found[2] or "") for one in known)


def _short(name: str) -> tuple[str, str]:
    """What Windows makes of a long name: the beginning before `~1`, and the extension."""
    stem, dot, extension = name.lstrip(".").rpartition(".")
    stem, extension = (stem, extension) if dot else (extension, "")
    return stem.replace(".", "")[:6], extension[:3]
