"""What a backlog does to the outside, and how far it has read its sources.

An effect is recorded as begun before it happens, and as done afterwards. Between the two a crash leaves it
`unknown`: whoever comes next looks whether it happened, then does it or records that it is done. So a comment
is posted once although nobody can post and record in one step.
"""

from collections.abc import Mapping

from pydantic import JsonValue
from sqlmodel import Session

from memory import errors
from memory.backlog_lease import held
from memory.backlog_records import Cursor, Effect, Lease
from memory.backlog_rows import backlog_row, clock, stamp
from memory.tables import CursorRow, EffectRow


def begin(session: Session, backlog_id: str, key: str, lease: Lease | None) -> Effect:
    """Record that it is about to happen; tells when it was begun before. Raises LeaseLost, NotFound."""
    if lease is not None:
        held(session, lease)
    backlog_row(session, backlog_id)
    row = session.get(EffectRow, (backlog_id, key))
    if row is not None and row.done:
        return _effect(row, "done")
    if row is None:
        row = EffectRow(
            backlog_id=backlog_id, key=key, begun=stamp(clock(session)), tries=1, result={}
        )  # fmt: skip
        session.add(row)
        session.flush()
        return _effect(row, "new")
    row.tries += 1
    session.flush()
    return _effect(row, "unknown")


def done(session: Session, backlog_id: str, key: str, result: Mapping[str, JsonValue]) -> Effect:
    """Record that it happened, whoever asks: nobody can undo it. Raises NotFound when it was not begun."""
    row = session.get(EffectRow, (backlog_id, key))
    if row is None:
        raise errors.NotFound(f"no effect {key!r} was begun")
    if not row.done:
        row.done, row.result = stamp(clock(session)), dict(result)
        session.flush()
    return _effect(row, "done")


def _effect(row: EffectRow, state: str) -> Effect:
    told = {"key": row.key, "state": state, "tries": row.tries, "begun": row.begun, "result": row.result}
    return Effect.model_validate(told)


def cursor(session: Session, backlog_id: str, source: str) -> Cursor | None:
    """Where the listing of a source stopped; None when it never began."""
    row = session.get(CursorRow, (backlog_id, source))
    return None if row is None else Cursor(position=row.position, done=row.done, at=row.at)


def save_cursor(session: Session, backlog_id: str, source: str, position: str, finished: bool) -> None:
    """Record where to go on. Raises NotFound."""
    backlog_row(session, backlog_id)
    session.merge(
        CursorRow(
            backlog_id=backlog_id, source=source, position=position, done=finished, at=stamp(clock(session))
        )
    )
