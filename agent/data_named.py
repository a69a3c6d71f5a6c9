"""Which runs a person means: by a repository, a session or a run, as they are named on the command line."""

from pathlib import Path

from agent.cli_log import root_of
from feedback.harvest import session_of
from feedback.permission import remotes_of
from memory.copies import copies, runs_of
from memory.errors import Ambiguous, NotFound
from memory.forget import processes
from memory.hidden import normal
from memory.store import Store
from sandbox.errors import NotARepository


def root(store: Store, repo: Path) -> str:
    """Root of a repository; one that is gone is known by its runs. Raises NotARepository."""
    gone = str(repo.expanduser().absolute())
    try:
        return str(root_of(repo))
    except NotARepository:
        if runs_of(store, gone, 1):
            return gone
        raise


def places(store: Store, repo: str) -> list[str]:
    """A repository by all names that runs may know it by: its address, and the paths that have it."""
    head = repo.partition("/")[0]
    address = "://" in repo or (not repo.startswith(("/", ".", "~")) and (":" in head or "." in head))
    if not address or Path(repo).is_dir():
        here = root(store, Path(repo))
        return [here, *remotes_of(here)]
    url = repo if "://" in repo or ":" in head else f"https://{repo}"
    wanted = normal("repository", url)
    known = sorted({run.repo for run in store.runs(limit=0)} | {*copies(store).values()})
    return [
        url,
        *(path for path in known if wanted in {normal("repository", url) for url in remotes_of(path)}),
    ]


def session(store: Store, text: str) -> str:
    """A session by the beginning of its id, or by one of its runs. Raises NotFound, Ambiguous."""
    of_run = sessions(store)
    found = sorted({name for name in of_run.values() if name.startswith(text)})
    if len(found) > 1:
        raise Ambiguous(text, tuple(found), "sessions", "adi log --all")
    try:
        return found[0] if found else of_run[store.run(text).id]
    except NotFound:
        raise NotFound(f"no session or run {text!r}", "adi log --all names runs") from None


def sessions(store: Store) -> dict[str, str]:
    """Id of each run -> id of its session, the oldest run first."""
    return {run_id: session_of(pid, process) for run_id, pid, process in processes(store)}
