"""Every way in which a work copy, a container or an exchange of files can fail."""

from collections.abc import Iterable


class SandboxError(Exception):
    """Base of all errors of this package: what failed, and the command or step that helps."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DockerMissing(SandboxError):
    """No Docker engine answers: not installed, not running, or not permitted."""


class ImageMissing(SandboxError):
    """The sandbox image is not there and cannot be made on this machine."""


class SandboxLost(SandboxError):
    """The container or its engine vanished, and no replacement could be started."""


class IsolationMissing(SandboxError):
    """The engine has not the isolation or the runtime that the settings require; nothing weaker is used."""


class WeakerThanAsked(SandboxError):
    """The engine would run, or runs, a container with less protection than was asked for: it was removed."""


class CopyOutRefused(SandboxError):
    """What a command left behind is past the caps on bytes, entries, depth or names."""


class NotARepository(SandboxError):
    """The directory is not inside the work tree of a git repository."""


class RepositoryState(SandboxError):
    """The repository cannot be copied as it is: too large, unreadable, or git itself failed."""


class UnsafePath(SandboxError):
    """A path leads outside the repository, into git's own files, or through a link."""


class Detour(UnsafePath):
    """A folder of a path is a link or no directory."""


class PatchError(SandboxError):
    """A patch is malformed, does not apply, or touches what no patch may touch."""


class DiskFull(SandboxError):
    """The disk that holds the repository is full; nothing was changed."""


class ExchangeFailed(SandboxError):
    """The files could not be exchanged; the tree is as it was."""


class RegistryRefused(SandboxError):
    """The allow-list of registries is empty, malformed or holds a secret: nothing may be reached."""


class DependenciesRefused(SandboxError):
    """The dependency files ask for what the step does not do, or cannot be read."""


class PrepareFailed(SandboxError):
    """The repository's dependencies could not be installed; nothing was kept."""


class Conflict(SandboxError):
    """Files are no longer what the change was made for; nothing was overwritten."""

    def __init__(self, paths: Iterable[str], message: str = "", hint: str = "") -> None:
        self.paths = tuple(sorted(paths))
        names = ", ".join(repr(path) for path in self.paths[:5]) + (" ..." if len(self.paths) > 5 else "")
        super().__init__(message or f"changed meanwhile: {names}", hint)
