"""The store: every event of every run, in order, before the next thing happens.

Guaranteed: when `append` returns, the event survives `kill -9`; what a person decided and how a run
ended survive loss of power as well. Events are numbered without a gap and never change. Not
guaranteed: secrecy (the file is readable by its owner). Several machines may use one store only where it
lies on a database server (memory/postgres.py).

Two lone surrogates side by side that spell one character come back as that character; all other text
comes back as it went in.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter
from sqlmodel import Session, col, or_, select

from memory import errors, holders, views
from memory.backend import Backend, open_backend
from memory.records import (
    SCHEMA_VERSION,
    Applied,
    Event,
    Origin,
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
from memory.tables import ArtifactRow, EventRow, FailureRow, RunRow

PRECIOUS = (UserActed, Verdict, Applied, RunEnded)
"""Events that must survive loss of power: a person's time, or a change in their tree, hangs on them."""

_PAYLOAD: TypeAdapter[Payload] = TypeAdapter(Payload)
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, in order and without i, l, o, u


class Store:
    """An open store. Threads may share it; processes each open their own."""

    @classmethod
    def open(cls, place: Path | str) -> "Store":
        """Open or create a file, `":memory:"` or a database such as `"postgresql://user@host/adi"`.

        Its schema is brought up to date. Raises StoreError: the subclass says what is wrong with the place.
        """
        return cls(open_backend(place))

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pid = os.getpid()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about how the store lies, one sentence each."""
        return self._backend.warnings

    def start_run(
        self,
        task: Task,
        model: str = "",
        version: str = "",
        origin: Origin = Origin(),  # noqa: B008
    ) -> str:
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
                process=self._backend.identity(),
                last_seq=1,
            )
            session.add(row)
            session.flush()
            started = RunStarted(task=task, adi_version=version, model=model, origin=origin)
            session.add(_event_row(run_id, 1, now, started))
        return run_id

    def append(self, run_id: str, payload: Payload) -> Event:
        """Write the next event of a run; durable when this returns. The end of a run frees its repository.

        Raises NotFound, StoreFull, StoreReadOnly, StoreBusy, StoreReplaced.
        """
        now = _now()
        self._check_owner()
        with self._backend.writing(precious=isinstance(payload, PRECIOUS), alone=False) as session:
            row = _run_row(session, run_id, lock=True)
            row.last_seq += 1
            seq = row.last_seq
            views.add_to_row(row, payload, now)
            session.add(_event_row(run_id, seq, now, payload))
            session.flush()
            session.add_all(views.failure_rows(run_id, seq, payload))
            if isinstance(payload, RunEnded):
                holders.release(session, run_id)
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

    def runs(self, repo: str | None = None, limit: int = 50, *, unended: bool = False) -> list[RunSummary]:
        """The newest runs first, of one repository or of all, or only those without an end; 0: no limit."""
        query = select(RunRow).order_by(col(RunRow.started).desc(), col(RunRow.id).desc())
        if repo is not None:
            query = query.where(RunRow.repo == repo)
        if unended:
            query = query.where(RunRow.ended == "")
        if limit:
            query = query.limit(limit)
        with self.reading() as session:
            return [_summary(session, row) for row in session.exec(query)]

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
            rows = list(session.exec(query.order_by(name.desc()))) if _may_be_id(id_prefix) else []
            exact = [row for row in rows if row.id == id_prefix] or rows
            if not exact:
                raise errors.NotFound(f"no run {id_prefix!r}", "adi log --all")
            if len(exact) > 1:
                raise errors.Ambiguous(id_prefix, tuple(row.id for row in exact))
            return _summary(session, exact[0])

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
            return [_summary(session, row) for row in session.exec(query)]

    def last_applied(self, repo: str) -> RunSummary | None:
        """The run whose change went into the tree last and is still there; None when there is none."""
        query = (
            select(RunRow)
            .where(RunRow.repo == repo, RunRow.applied_at != "")
            .order_by(col(RunRow.applied_at).desc(), col(RunRow.id).desc())
        )
        with self.reading() as session:
            row = session.exec(query).first()
            return None if row is None else _summary(session, row)

    def claim_repo(self, repo: str, run_id: str) -> None:
        """Hold the repository for a run of this process, until `release` or the run's end.

        A claim whose process died is taken over. Raises RepoBusy naming the holder, NotFound.
        """
        with self.writing() as session:
            _run_row(session, run_id)
            holders.claim(session, repo, run_id, self._backend.identity(), _now())

    def release(self, repo: str, run_id: str) -> None:
        """Give the repository back; nothing happens when the run does not hold it."""
        with self.writing() as session:
            holders.release(session, run_id, repo)

    def compact(self) -> None:
        """Rewrite the file without what was deleted. Raises what `append` raises."""
        self._check_owner()
        self._backend.compact()

    def close(self) -> None:
        """Close files and connections; idempotent, and in a forked child without effect on the parent's."""
        if os.getpid() == self._pid:
            self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def writing(self, *, precious: bool = False, alone: bool = True) -> Iterator[Session]:
        """A transaction that holds the write lock from its start: what it reads, nobody changes meanwhile.

        Without `alone` others may write on a server at the same time: the caller locks the rows it changes.
        """
        self._check_owner()
        with self._backend.writing(precious=precious, alone=alone) as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state of the store and holds no lock against writers for long."""
        self._check_owner()
        with self._backend.reading() as session:
            yield session

    def _check_owner(self) -> None:
        if os.getpid() != self._pid:
            raise errors.Forked(f"the store was opened by process {self._pid}")


def new_run_id(now: datetime | None = None) -> str:
    """Such as `261123-t5kdm8`: the UTC date, the time of day in base 32 (to 0.08 s), two random letters."""
    now = now or datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ticks = int((now - midnight).total_seconds() * 12)
    clock = "".join(_BASE32[ticks >> shift & 31] for shift in (15, 10, 5, 0))
    return f"{now:%y%m%d}-{clock}{secrets.choice(_BASE32)}{secrets.choice(_BASE32)}"


def _may_be_id(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()  # no database is asked for a NUL


def _run_row(session: Session, run_id: str, *, lock: bool = False) -> RunRow:
    row = session.get(RunRow, run_id, with_for_update=lock or None)
    if row is None:
        raise errors.NotFound(f"no run {run_id}", "adi log --all")
    return row


def _summary(session: Session, row: RunRow) -> RunSummary:
    alive = not row.ended and holders.lives(session, row.id, row.pid, row.process)
    return views.summary(row, alive=alive)


def _event_row(run_id: str, seq: int, at: str, payload: Payload) -> EventRow:
    # mode="python": the JSON mode of pydantic damages lone surrogates in keys.
    content = payload.model_dump(mode="python")
    return EventRow(run_id=run_id, seq=seq, at=at, kind=payload.kind, version=SCHEMA_VERSION, payload=content)


def payload_of(row: EventRow) -> Payload:
    """What the row tells. Raises SchemaTooNew, StoreCorrupt."""
    if row.version > SCHEMA_VERSION:
        raise errors.SchemaTooNew(f"event {row.seq} of run {row.run_id} was written by a newer ADI")
    try:
        return _PAYLOAD.validate_python(row.payload)
    except ValueError as error:
        raise errors.StoreCorrupt(
            f"event {row.seq} of run {row.run_id} cannot be read: {error}", errors.DOCTOR
        ) from error


def _event(row: EventRow) -> Event:
    return Event(run_id=row.run_id, seq=row.seq, at=row.at, payload=payload_of(row))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
