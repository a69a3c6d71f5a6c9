"""The person's own editor and pager: argv without a shell, files in a private directory."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.errors import EnvironmentMissing

EDITORS: Final = ("sensible-editor", "nano", "vim", "vi", "emacs")
PAGERS: Final = ("less", "more")


def edit(content: bytes, name: str, environ: Mapping[str, str] = os.environ) -> bytes:
    """Let the person edit `content` under a file called `name`; gives what was saved.

    Raises EnvironmentMissing when there is no editor or it ends with an error.
    """
    command = _editor(environ)
    with tempfile.TemporaryDirectory(prefix="adi-edit-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            code = subprocess.run([*command, str(path)], check=False).returncode
        except OSError as error:
            raise EnvironmentMissing(f"{command[0]} does not start: {error.strerror}", _HINT) from error
        if code != 0:
            raise EnvironmentMissing(f"{command[0]} ended with {code}; the edit is dropped", _HINT)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise EnvironmentMissing(f"{command[0]} removed the file; the edit is dropped", _HINT) from None


def page(content: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Show `content`, already safe for a terminal, in the pager; False when there is none."""
    chosen = environ.get("PAGER", "").strip()
    command = _split(chosen, "PAGER") if chosen else _first(PAGERS)
    if not command or shutil.which(command[0]) is None:
        return False
    settings = {**environ, "LESS": environ.get("LESS", "-R"), "LESSSECURE": "1"}
    subprocess.run(command, input=content.encode(), env=settings, check=False)
    return True


_HINT = "set EDITOR to an editor that waits, such as: export EDITOR=nano"


def _editor(environ: Mapping[str, str]) -> list[str]:
    for variable in ("VISUAL", "EDITOR"):
        chosen = environ.get(variable, "").strip()
        if chosen:
            return _split(chosen, variable)
    command = _first(EDITORS)
    if not command:
        raise EnvironmentMissing("no editor was found", _HINT)
    return command


def _split(command: str, variable: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise EnvironmentMissing(f"${variable} cannot be read: {error}", _HINT) from None


def _first(names: tuple[str, ...]) -> list[str]:
    return next(([name] for name in names if shutil.which(name)), [])
