"""What package.json and package-lock.json ask for."""

import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from sandbox.dependencies import MAX_PACKAGES, Files, Package, Wanted, text

_GROUPS = ("dependencies", "devDependencies", "optionalDependencies")
_NAME = re.compile(r"(?:@[a-z0-9~-][\w.~-]*/)?[a-zA-Z0-9~-][\w.~-]*")
_VERSION = re.compile(r"[\w\s.*^~<>=|+-]*|npm:[@\w./~-]+@[\w\s.*^~<>=|+-]*")
_OWN_SETTINGS = (".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmrc")
_OTHER_LOCKS = ("yarn.lock", "pnpm-lock.yaml", "bun.lock")
_PUBLIC = "registry.npmjs.org"


def read(files: Files, paths: set[str]) -> Wanted:
    """Packages by group; anything that is no version of a registry's package blocks the step."""
    wanted = Wanted("npm")
    manifest = _json(files, "package.json", wanted)
    if wanted.blocked:
        return wanted
    lock_name = next((name for name in ("npm-shrinkwrap.json", "package-lock.json") if name in paths), "")
    lock = _json(files, lock_name, wanted) if lock_name else {}
    locked = _locked(lock, wanted)
    for group in _GROUPS:
        asked = manifest.get(group)
        for name, version in asked.items() if isinstance(asked, dict) else ():
            _take(wanted, group, str(name), version, locked if lock_name else None)
    if manifest.get("workspaces"):
        wanted.blocked = "package.json has workspaces, which adi prepare does not install yet"
    _tell_what_is_ignored(wanted, paths, lock_name)
    return wanted


def _json(files: Files, path: str, wanted: Wanted) -> Mapping[str, object]:
    wanted.files[path] = wanted.inputs[path] = files.read(path)
    try:
        found = json.loads(text(files, path))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        wanted.blocked = f"{path} is no JSON object"
        return {}
    return found


def _take(wanted: Wanted, group: str, name: str, version: object, locked: set[str] | None) -> None:
    if not isinstance(version, str) or not _VERSION.fullmatch(version) or not _NAME.fullmatch(name):
        wanted.blocked = (
            f"package.json {group}: {name!r} at {version!r} is no package of a registry: "
            "addresses, git and paths are not fetched"
        )
    elif len(wanted.packages) < MAX_PACKAGES:
        unlocked = locked is not None and name not in locked
        wanted.packages.append(Package(name, version, f"package.json {group}", unlocked))


def _locked(lock: Mapping[str, object], wanted: Wanted) -> set[str]:
    """Names that the lock file knows; an address outside the public registry in it blocks the step."""
    names: set[str] = set()
    packages, old = lock.get("packages"), lock.get("dependencies")
    entries = packages if isinstance(packages, dict) else old if isinstance(old, dict) else {}
    for place, entry in entries.items():
        names.add(str(place).rpartition("node_modules/")[2])
        resolved = entry.get("resolved") if isinstance(entry, dict) else None
        if isinstance(resolved, str) and not _is_public(resolved):
            wanted.blocked = (
                f"the lock file fetches {str(place)[:80]!r} from {resolved[:120]!r}: "
                f"only {_PUBLIC}, which your registry stands for, is followed"
            )
    return names


def _is_public(resolved: str) -> bool:
    try:
        parts = urlsplit(resolved)
    except ValueError:
        return False
    return parts.scheme == "https" and parts.netloc == _PUBLIC


def _tell_what_is_ignored(wanted: Wanted, paths: set[str], lock_name: str) -> None:
    for name in _OWN_SETTINGS:
        if name in paths:
            wanted.leave_out(f"{name} is not used: a repository does not choose registries")
    others = [name for name in _OTHER_LOCKS if name in paths]
    if others and not lock_name:
        wanted.leave_out(f"{others[0]} is not read: npm resolves the versions of package.json anew")
