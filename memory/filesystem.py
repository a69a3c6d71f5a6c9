"""Tells the filesystem of a path: SQLite cannot trust the locks of those that lie on another machine."""

import os
import re
from pathlib import Path

_OCTAL = re.compile(rb"\\([0-7]{3})")  # how a space in a name is written
MOUNTS = Path("/proc/mounts")
REMOTE = frozenset(
    {
        "9p", "afs", "ceph", "cifs", "davfs", "drvfs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gfs2",
        "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs", "smb3", "smbfs", "vboxsf",
        "virtiofs", "vmhgfs",
    }
)  # fmt: skip
"""Types, as in `/proc/mounts`, whose files another machine holds."""


def filesystem_of(path: Path, mounts: Path = MOUNTS) -> str:
    """Type of the filesystem that holds the path; empty where the system does not tell."""
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return ""
    found, depth = "", -1
    real = path.resolve()
    for line in lines:
        _, point, kind, *_ = line.split(b" ")
        place = Path(os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), point)))
        # a later line covers an earlier one at the same place
        if len(place.parts) >= depth and (place == real or place in real.parents):
            found, depth = kind.decode("ascii", "replace"), len(place.parts)
    return found


def warning(path: Path, mounts: Path = MOUNTS) -> str:
    """One sentence when the store would lie on another machine; empty when it does not."""
    kind = filesystem_of(path, mounts)
    if kind not in REMOTE:
        return ""
    return (
        f"{path} lies on a network filesystem ({kind}), whose locks SQLite cannot trust: two runs at once "
        "can damage it; set ADI_HOME to a directory on a local disk"
    )
