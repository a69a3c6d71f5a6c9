"""The SQLite store: every event of every run, in order, before the next thing happens.

Guaranteed: when `append` returns, the event survives `kill -9`; what a person decided and how a run
ended survive loss of power as well. Events are numbered without a gap and never change. Not
guaranteed: secrecy (the file is readable by its owner) and use by several machines at once.

Two lone surrogates side by side that spell one character come back as that character; all other text
comes back as it went in.
"""

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter
from sqlalchemy import delete
from sqlmodel import Session, col, or_, select

from memory import engine, errors, process, views
from memory.migrate import migrate, schema_version
from memory.records import (
    SCHEMA_VERSION,
    Applied,
    Event,
    Payload,
    RunEnded,
    RunStarted,
    RunSummary,
    Stop,
    Task,
    Trajectory,
    UserActed,
    Verdict,
)
from memory.tables import ArtifactRow, ClaimRow, EventRow, FailureRow, RunRow

PRECIOUS = (UserActed, Verdict, Applied, RunEnded)
"""Events that must survive loss of power: a person's time, or a change in their tree, hangs on them."""

_PAYLOAD: TypeAdapter[Payload] = TypeAdapter(Payload)
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, in order and without i, l, o, u


class Store:
    """An open store. Threads may share it; processes each open their own."""

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """Open or create the file, or `":memory:"`, and bring its schema up to date.

        Raises StoreError: its subclass says what is wrong with the file.
        """
        return cls(None if str(path) == ":memory:" else Path(path))

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._pid = os.getpid()
        self._lock = threading.RLock()
        with engine.named_errors(path):
            self._connection = engine.connect(path)
            try:
                schema_version(self._connection)
                self._engine = engine.make_engine(self._connection)
                migrate(self._connection, self._engine, path)
                self._file = _file_id(path)
            except BaseException:
                self._connection.close()
                raise
        self._reader = self._engine.execution_options(begin="BEGIN")

    def start_run(self, task: Task, model: str = "", version: str = "") -> str:
        """Record that a run begins, owned by this process. Returns its id."""
        now = _now()
        run_id = new_run_id()
        with self.writing() as session:
            while session.get(RunRow, run_id) is not None:
                run_id = new_run_id()
            row = RunRow(
                id=run_id,
                repo=task.repo,
                prompt=task.prompt,
                model=model,
                started=now,
                pid=os.getpid(),
                process=process.own_identity(),
                last_seq=1,
            )
            session.add(row)
            session.flush()
            started = RunStarted(task=task, adi_version=version, model=model)
            session.add(_event_row(run_id, 1, now, started))
        return run_id

    def append(self, run_id: str, payload: Payload) -> Event:
        """Write the next event of a run; durable when this returns. The end of a run frees its repository.

        Raises NotFound, StoreFull, StoreReadOnly, StoreBusy, StoreReplaced.
        """
        now = _now()
        with self.writing(precious=isinstance(payload, PRECIOUS)) as session:
            row = _run_row(session, run_id)
            row.last_seq += 1
            seq = row.last_seq
            views.add_to_row(row, payload, now)
            session.add(_event_row(run_id, seq, now, payload))
            session.flush()
            session.add_all(views.failure_rows(run_id, seq, payload))
            if isinstance(payload, RunEnded):
                session.execute(delete(ClaimRow).where(col(ClaimRow.run_id) == run_id))
        return Event(run_id=run_id, seq=seq, at=now, payload=payload)

    def put_artifact(self, content: bytes) -> str:
        """Keep bytes, such as a patch. Returns their SHA-256 in hex; the same bytes are kept once."""
        sha256 = hashlib.sha256(content).hexdigest()
        with self.writing(precious=True) as session:
            if session.get(ArtifactRow, sha256) is None:
                session.add(ArtifactRow(sha256=sha256, at=_now(), content=content))
        return sha256

    def artifact(self, sha256: str) -> bytes:
        """The bytes of this hash. Raises NotFound."""
        with self.reading() as session:
            row = session.get(ArtifactRow, sha256)
            if row is None:
                raise errors.NotFound(f"no artifact {sha256[:12]}")
            return row.content

    def runs(self, repo: str | None = None, limit: int = 50) -> list[RunSummary]:
        """The newest runs first, of one repository or of all; 0 means no limit."""
        query = select(RunRow).order_by(col(RunRow.started).desc(), col(RunRow.id).desc())
        if repo is not None:
            query = query.where(RunRow.repo == repo)
        if limit:
            query = query.limit(limit)
        with self.reading() as session:
            return [views.summary(row) for row in session.exec(query)]

    def run(self, id_prefix: str) -> RunSummary:
        """The run whose id, or whose part after the date, begins so. Raises NotFound, Ambiguous."""
        name = col(RunRow.id)
        query = select(RunRow).where(
            or_(
                name.startswith(id_prefix, autoescape=True),
                name.contains("-" + id_prefix, autoescape=True),
            )
        )
        with self.reading() as session:
            rows = list(session.exec(query.order_by(name.desc()))) if id_prefix else []
            exact = [row for row in rows if row.id == id_prefix] or rows
            if not exact:
                raise errors.NotFound(f"no run {id_prefix!r}", "adi log --all")
            if len(exact) > 1:
                raise errors.Ambiguous(id_prefix, tuple(row.id for row in exact))
            return views.summary(exact[0])

    def events(self, run_id: str) -> list[Event]:
        """All events of a run, oldest first. Raises NotFound, SchemaTooNew, StoreCorrupt."""
        query = select(EventRow).where(EventRow.run_id == run_id).order_by(col(EventRow.seq))
        with self.reading() as session:
            found = [_event(row) for row in session.exec(query)]
        if not found:
            raise errors.NotFound(f"no run {run_id}", "adi log --all")
        return found

    def trajectory(self, run_id: str) -> Trajectory:
        """The run as one attempt at its task. Raises what `events` raises."""
        return views.trajectory(self.events(run_id))

    def failures(self, signature: str, limit: int = 50) -> list[tuple[str, str]]:
        """Run and test of failures with this error signature, the newest first."""
        query = (
            select(FailureRow.run_id, FailureRow.test)
            .where(FailureRow.signature == signature)
            .order_by(col(FailureRow.run_id).desc(), col(FailureRow.seq).desc())
            .limit(limit)
        )
        with self.reading() as session:
            return [(run_id, test) for run_id, test in session.exec(query)]

    def pending(self, repo: str) -> list[RunSummary]:
        """Runs whose result waits for a person, newest first; a conflict left its change waiting too.

        So did a run that was broken off with a change in its hands.
        """
        waiting = (Stop.PENDING.value, Stop.CONFLICT.value)
        broken_off = (Stop.INTERRUPTED.value, Stop.KILLED.value)
        query = (
            select(RunRow)
            .where(RunRow.repo == repo, RunRow.applied_at == "")
            .where(
                or_(
                    col(RunRow.stop).in_(waiting),
                    col(RunRow.stop).in_(broken_off) & (col(RunRow.diff_sha256) != ""),
                )
            )
            .order_by(col(RunRow.started).desc(), col(RunRow.id).desc())
        )
        with self.reading() as session:
            return [views.summary(row) for row in session.exec(query)]

    def last_applied(self, repo: str) -> RunSummary | None:
        """The run whose change went into the tree last and is still there; None when there is none."""
        query = (
            select(RunRow)
            .where(RunRow.repo == repo, RunRow.applied_at != "")
            .order_by(col(RunRow.applied_at).desc(), col(RunRow.id).desc())
        )
        with self.reading() as session:
            row = session.exec(query).first()
            return None if row is None else views.summary(row)

    def claim_repo(self, repo: str, run_id: str) -> None:
        """Hold the repository for a run of this process, until `release` or the run's end.

        A claim whose process died is taken over. Raises RepoBusy naming the holder, NotFound.
        """
        with self.writing() as session:
            _run_row(session, run_id)
            held = session.get(ClaimRow, repo)
            if held is not None:
                mine = held.run_id == run_id and held.pid == os.getpid()
                if not mine and process.is_alive(held.pid, held.process):
                    raise errors.RepoBusy(repo, held.run_id, held.pid)
                session.delete(held)
                session.flush()
            session.add(
                ClaimRow(repo=repo, run_id=run_id, pid=os.getpid(), process=process.own_identity(), at=_now())
            )

    def release(self, repo: str, run_id: str) -> None:
        """Give the repository back; nothing happens when the run does not hold it."""
        with self.writing() as session:
            session.execute(
                delete(ClaimRow).where(col(ClaimRow.repo) == repo, col(ClaimRow.run_id) == run_id)
            )

    def compact(self) -> None:
        """Rewrite the file without what was deleted. Raises what `append` raises."""
        self._check_owner()
        with self._lock, engine.named_errors(self._path):
            self._check_file()
            self._connection.execute("VACUUM")

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._engine.dispose()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def writing(self, *, precious: bool = False) -> Iterator[Session]:
        """A transaction that holds the write lock from its start."""
        self._check_owner()
        with self._lock, engine.named_errors(self._path):
            self._check_file()
            engine.make_durable(self._connection, precious)
            with Session(self._engine) as session, session.begin():
                yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state of the file and holds no lock against writers for long."""
        self._check_owner()
        with self._lock, engine.named_errors(self._path), Session(self._reader) as session:
            yield session

    def _check_owner(self) -> None:
        if os.getpid() != self._pid:
            raise errors.Forked(f"the store was opened by process {self._pid}")

    def _check_file(self) -> None:
        if self._path is not None and _file_id(self._path) != self._file:
            raise errors.StoreReplaced(f"{self._path} was deleted or replaced while in use", errors.DOCTOR)


def new_run_id(now: datetime | None = None) -> str:
    """Such as `261123-t5kdm8`: the UTC date, the time of day in base 32 (to 0.08 s), two random letters."""
    now = now or datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ticks = int((now - midnight).total_seconds() * 12)
    clock = "".join(_BASE32[ticks >> shift & 31] for shift in (15, 10, 5, 0))
    return f"{now:%y%m%d}-{clock}{secrets.choice(_BASE32)}{secrets.choice(_BASE32)}"


def _run_row(session: Session, run_id: str) -> RunRow:
    row = session.get(RunRow, run_id)
    if row is None:
        raise errors.NotFound(f"no run {run_id}", "adi log --all")
    return row


def _event_row(run_id: str, seq: int, at: str, payload: Payload) -> EventRow:
    # mode="python": the JSON mode of pydantic damages lone surrogates in keys.
    content = payload.model_dump(mode="python")
    return EventRow(run_id=run_id, seq=seq, at=at, kind=payload.kind, version=SCHEMA_VERSION, payload=content)


def _event(row: EventRow) -> Event:
    if row.version > SCHEMA_VERSION:
        raise errors.SchemaTooNew(f"event {row.seq} of run {row.run_id} was written by a newer ADI")
    try:
        payload = _PAYLOAD.validate_python(row.payload)
    except ValueError as error:
        raise errors.StoreCorrupt(
            f"event {row.seq} of run {row.run_id} cannot be read: {error}", errors.DOCTOR
        ) from error
    return Event(run_id=row.run_id, seq=row.seq, at=row.at, payload=payload)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _file_id(path: Path | None) -> tuple[int, int]:
    if path is None:
        return (0, 0)
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)
