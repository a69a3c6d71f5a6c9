"""Finds what makes git wait for ever: it opens its rule files whatever they are, and a FIFO blocks.

Git itself offers no way to read them otherwise, and looking through every folder beforehand would cost more
than the copy itself. So a git process that takes long is looked after.
"""

import os
import stat
from pathlib import Path

from sandbox.errors import RepositoryState

PATIENCE_S = 5.0
"""How long a git process may be silent before its work tree is looked at; then it may go on as before."""

_OPENED_BY_GIT = frozenset({".gitignore", ".gitattributes", ".git", "HEAD", "config", "commondir"})


def check_rule_files(root: Path | str) -> None:
    """Raises RepositoryState when a file that git opens is a FIFO, a socket or a device."""
    for folder, _, names in os.walk(root):
        for name in _OPENED_BY_GIT.intersection(names):
            path = Path(folder, name)
            try:
                mode = path.lstat().st_mode
            except OSError:
                continue
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                shown = str(path.relative_to(root))
                raise RepositoryState(
                    f"git waits for ever: {shown!r} is no regular file", f"remove it: rm -- {shown!r}"
                )
