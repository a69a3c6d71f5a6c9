"""Puts an accepted change into the user's tree, all or nothing, and takes it out again the same way.

Order: check every file, write the intent to a journal, write the new bytes beside their targets, keep the old
files under a second name, then rename one by one, checking each again. Any failure puts the old files back.
After a crash `recover` does, from the journal.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import journal
from sandbox.errors import Conflict, Detour, DiskFull, ExchangeFailed, SandboxError
from sandbox.journal import Intent, Item, Journal
from sandbox.paths import check_path
from sandbox.tree import Found, Tree, digest

Pair = tuple[bytes | None, bytes | None]
_KEPT = "your version was kept"


@dataclass(frozen=True, slots=True)
class _Job:
    """One path: what must be there, what is wanted, and what was found."""

    item: Item
    expected: bytes | None
    wanted: bytes | None
    found: Found | None
    mode: int


def exchange(
    repo: Path,
    changes: Mapping[str, Pair],
    journal_dir: Path,
    *,
    modes: Mapping[str, str] | None = None,
    checkpoint: Callable[[str], None] = lambda _stage: None,
) -> None:
    """Replace the first of each pair by the second (None: no file); undo is the same with the pairs swapped.

    `modes` gives the git mode of files that are made; existing ones keep theirs. `checkpoint` is told each
    stage before it begins; what it raises is rolled back like any failure.
    Raises Conflict (names files that are not what the first of their pair says), UnsafePath, DiskFull,
    ExchangeFailed. After any of them the tree is as it was.
    """
    changes = {path: pair for path, pair in changes.items() if pair[0] != pair[1]}
    if not changes:
        return
    token = secrets.token_hex(6)
    _mend_first(journal_dir, repo)
    try:
        with Tree(repo) as tree:
            jobs = _plan(tree, changes, modes or {}, token)
            folders = sorted(
                {folder for job in jobs if job.item.fresh for folder in tree.missing_folders(job.item.path)}
            )
            intent = Intent(repo=str(repo), items=tuple(job.item for job in jobs), folders=tuple(folders))
            checkpoint("journal")
            log = Journal.begin(journal_dir, token, intent)
            _carry_out(tree, jobs, intent, log, checkpoint)
    except OSError as error:
        raise _named(error, repo) from error


def _plan(tree: Tree, changes: Mapping[str, Pair], modes: Mapping[str, str], token: str) -> list[_Job]:
    """Check everything before anything is touched."""
    jobs, conflicts = [], []
    for number, (path, (expected, wanted)) in enumerate(sorted(changes.items())):
        check_path(path, new=expected is None)
        found = tree.read(path, size_cap=None if expected is None else len(expected))
        if (found.data if found else None) != expected:
            conflicts.append(path)
            continue
        if found is not None:
            _check_rights(tree, path, found)
        beside = f"{path.rpartition('/')[0]}/" if "/" in path else ""
        item = Item(
            path=path,
            fresh="" if wanted is None else f"{beside}.adi-{token}-{number}.new",
            old="" if expected is None else f"{beside}.adi-{token}-{number}.old",
            wanted_sha256="" if wanted is None else digest(wanted),
        )
        mode = stat.S_IMODE(found.info.st_mode) if found else 0o755 if modes.get(path) == "100755" else 0o644
        jobs.append(_Job(item, expected, wanted, found, mode))
    if conflicts:
        raise Conflict(conflicts, hint=_KEPT)
    return jobs


def _check_rights(tree: Tree, path: str, found: Found) -> None:
    """Raises ExchangeFailed, with the step that helps, for a file that may not be replaced as it is."""
    barrier = tree.barrier(path)
    mine = os.geteuid() in (0, found.info.st_uid)
    if barrier == "folder":
        raise ExchangeFailed(f"the folder of {path!r} is read-only", f"check its rights: ls -ld -- {path!r}")
    if barrier == "file" and not mine:
        raise ExchangeFailed(f"{path!r} belongs to another user", f"take it over first: chown -- {path!r}")
    if barrier == "file" and not found.info.st_mode & stat.S_IWUSR:
        raise ExchangeFailed(f"{path!r} is read-only", f"make it writable first: chmod u+w -- {path!r}")
    if barrier:
        raise ExchangeFailed(f"{path!r} is immutable or locked", f"see its attributes: lsattr -- {path!r}")


def _carry_out(
    tree: Tree, jobs: list[_Job], intent: Intent, log: Journal, checkpoint: Callable[[str], None]
) -> None:
    """All stages after the journal; on failure all of them backwards."""
    try:
        for folder in intent.folders:
            checkpoint("folder")
            tree.make_folder(folder)
        for job in jobs:
            checkpoint("write")
            if job.wanted is not None:
                owner = (job.found.info.st_uid, job.found.info.st_gid) if job.found else None
                tree.create(job.item.fresh, job.wanted, job.mode, owner)
            checkpoint("keep")
            if job.item.old:
                tree.link(job.item.path, job.item.old)
        for job in jobs:
            checkpoint("place")
            _place(tree, job)
        for folder in {job.item.path.rpartition("/")[0] for job in jobs}:
            tree.sync_folder(f"{folder}/x" if folder else "x")
        checkpoint("commit")
        log.commit()
    except BaseException:
        try:
            undone = _roll_back(tree, intent)
        except BaseException:
            log.release()  # `recover` tries again
            raise
        log.close(finished=undone.whole)
        if undone.kept:
            names = ", ".join(undone.kept)
            raise Conflict(undone.kept, f"changed while they were being replaced: {names}", _KEPT) from None
        raise
    checkpoint("clean")
    log.close(finished=_clean(tree, intent))


def _place(tree: Tree, job: _Job) -> None:
    """Put one file in its place, unless it changed since it was checked."""
    found = tree.read(job.item.path)
    if (found.data if found else None) != job.expected:
        raise Conflict([job.item.path], hint=_KEPT)
    if job.wanted is None:
        tree.unlink(job.item.path)
    elif job.expected is not None:
        tree.rename(job.item.fresh, job.item.path)
    else:
        try:
            tree.place(job.item.fresh, job.item.path)
        except FileExistsError as error:
            raise Conflict([job.item.path], hint=_KEPT) from error


@dataclass(slots=True)
class _Undone:
    """What became of taking an exchange back."""

    kept: list[str] = field(default_factory=list)
    """Paths that somebody else changed meanwhile, left alone."""
    whole: bool = True
    """False when something is left for `recover`: a link is in a folder's place, or the system refused."""
    refused: OSError | None = None
    """The first refusal; the other files are put back all the same."""


def _roll_back(tree: Tree, intent: Intent) -> _Undone:
    """Put the old files back."""
    undone = _Undone()
    for item in intent.items[::-1]:
        try:
            present = tree.read(item.path)
            ours = _restore(tree, item, present) if item.old else _withdraw(tree, item, present)
        except Detour:  # its temporary names must stay, for the folder may come back
            undone.kept.insert(0, item.path)
            undone.whole = False
            continue
        except OSError as error:
            undone.refused, undone.whole = undone.refused or error, False
            continue
        except SandboxError:  # a link took the file's own place
            ours = False
        undone.kept[:0] = [] if ours else [item.path]
        try:
            undone.whole &= _drop(tree, item)
        except OSError as error:
            undone.refused, undone.whole = undone.refused or error, False
    for folder in reversed(intent.folders):
        tree.remove_folder(folder)
    return undone


def _drop(tree: Tree, item: Item) -> bool:
    """Remove the temporary names of one path; False when a link took a folder's place."""
    try:
        for name in filter(None, (item.old, item.fresh)):
            tree.unlink(name)
    except SandboxError:
        return False
    return True


def _restore(tree: Tree, item: Item, present: Found | None) -> bool:
    """Put the kept old file back, unless somebody's newer file is in its place."""
    old = tree.read(item.old)
    if old is None:
        return True
    if present is None or present.digest == item.wanted_sha256:
        tree.rename(item.old, item.path)
        return True
    return present.data == old.data or tree.inode(item.path) == tree.inode(item.old)


def _withdraw(tree: Tree, item: Item, present: Found | None) -> bool:
    """Remove a file that the exchange made; without hard links its temporary name is gone by then."""
    fresh = tree.inode(item.fresh)
    if present is not None and present.digest == item.wanted_sha256:
        if fresh is None or fresh == tree.inode(item.path):
            tree.unlink(item.path)
        return True
    return present is None


def _clean(tree: Tree, intent: Intent) -> bool:
    """Drop the temporary names of a finished exchange; False when some are out of reach."""
    dropped = [_drop(tree, item) for item in intent.items]
    return all(dropped)


def recover(journal_dir: Path) -> list[str]:
    """Finish or take back what a killed process left; gives one sentence for each exchange.

    A journal whose tree cannot be reached stays for the next time.
    """
    return [sentence for _, sentence in _mend(journal_dir)]


def _mend(journal_dir: Path) -> Iterator[tuple[str, str]]:
    """For each unfinished exchange: the repository when it stays unfinished, and a sentence."""
    for log, intent, complete in journal.unfinished(journal_dir):
        if intent is None:
            log.end()
            continue
        try:
            with Tree(Path(intent.repo)) as tree:
                undone = _Undone(whole=_clean(tree, intent)) if complete else _roll_back(tree, intent)
            if undone.refused:
                raise undone.refused
            if not undone.whole:
                raise Detour(f"a link or no directory is in the way of {', '.join(undone.kept) or 'a file'}")
        except (OSError, SandboxError) as error:
            log.release()
            yield intent.repo, f"an interrupted change of {intent.repo} could not be mended yet: {error}"
            continue
        log.end()
        what = "was complete" if complete else "was taken back"
        extra = f"; changed by you since, left alone: {', '.join(undone.kept)}" if undone.kept else ""
        yield "", f"an interrupted change of {intent.repo} {what}{extra}"


def _mend_first(journal_dir: Path, repo: Path) -> None:
    """No exchange before the last one of the same tree is mended: taking it back would undo this one too."""
    for unfinished, sentence in list(_mend(journal_dir)):
        if unfinished == str(repo):
            raise ExchangeFailed(
                sentence, f"put the folder back, or give that change up: rm -r {journal_dir}"
            )


def _named(error: OSError, repo: Path) -> SandboxError:
    """The error of this package that an operating system's error stands for."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"the disk is full; nothing was changed in {repo}", "free some space, then accept again"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ExchangeFailed(f"not permitted: {error}", f"check the rights in {repo}")
    return ExchangeFailed(f"the change was not applied: {error}", f"check {repo}")
