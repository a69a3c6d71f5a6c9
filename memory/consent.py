"""What people decided about training on their runs: consent, its history, and the list of those who want out.

Nothing is granted until somebody grants it. The newest decision for a scope and key counts, earlier ones
stay to be looked at. Who opts out is kept as a hash (memory/hidden.py). What the decisions mean for a run is
judged in feedback/permission.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sqlmodel import Session, col, delete, func, select

from memory.checks import Record
from memory.hidden import HiddenKind, hidden, normal
from memory.lessons import now
from memory.store import Store
from memory.tables import ConsentRow, OptOutRow, TombstoneRow

ConsentScope = Literal["user", "repository", "session", "record"]
ConsentStatus = Literal["granted", "refused"]

POLICY_VERSION: Final = 1
"""Raised when data may be used for more than before: what was granted for less then counts no longer."""


class Consent(Record):
    """One decision about training on runs."""

    scope: ConsentScope
    key: str = ""
    """Absolute path of the repository's root, id of the session or of the run; for a user the e-mail address
    that git knows them by, or empty for every run in the store."""
    status: ConsentStatus
    by: str = ""
    """Name of the account that decided."""
    at: str
    policy_version: int = POLICY_VERSION
    licence: str = ""
    """SPDX expression that the owner of a repository declares for it; may be empty."""


class OptOut(Record):
    """Somebody who wants out, without who it is."""

    kind: HiddenKind
    hash: str
    at: str


@dataclass(frozen=True, slots=True)
class Standing:
    """All that counts at one moment."""

    decisions: Mapping[tuple[str, str], Consent]
    """By scope and key."""
    opt_outs: frozenset[tuple[str, str]]
    """Kind and hash."""
    stones: Mapping[tuple[str, str], str]
    """Kind and id of what was forgotten -> when; repositories and authors by their hash."""

    def opted_out(self, kind: HiddenKind, value: str) -> bool:
        """True when this author, repository (path or address) or session is on the list."""
        listed = bool(value) and any(kind == known for known, _ in self.opt_outs)  # hashing is slow
        return listed and (kind, hidden(kind, value)) in self.opt_outs

    def forgotten(self, kind: Literal["run", "session", "repository", "author"], name: str) -> str:
        """When it was forgotten; empty when it was not."""
        if not name or not any(kind == known for known, _ in self.stones):
            return ""
        key = hidden(kind, name) if kind in ("repository", "author") else name
        return self.stones.get((kind, key), "")

    def declared_licence(self, repo: str) -> str:
        """SPDX expression that its owner declared when they granted its use; empty without one."""
        said = self.decisions.get(("repository", repo))
        return said.licence if said is not None and said.status == "granted" else ""


class Consents:
    """The decisions in an open store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def set(
        self,
        scope: ConsentScope,
        key: str,
        status: ConsentStatus,
        *,
        by: str = "",
        licence: str = "",
        policy_version: int = POLICY_VERSION,
    ) -> Consent:
        """Decide; it counts from now on. Raises ValueError for an empty key that is no user's."""
        if not key and scope != "user":
            raise ValueError(f"a decision about a {scope} names it")
        key = key_of(scope, key)
        consent = Consent(
            scope=scope, key=key, status=status, by=by, at=now(), policy_version=policy_version,
            licence=licence,
        )  # fmt: skip
        with self._store.writing(precious=True) as session:
            last = session.exec(
                select(func.max(ConsentRow.seq)).where(ConsentRow.scope == scope, ConsentRow.key == key)
            ).one()
            session.add(ConsentRow(seq=(last or 0) + 1, **consent.model_dump()))
        return consent

    def decision(self, scope: ConsentScope, key: str = "") -> Consent | None:
        """What counts for exactly this scope and key; None when nobody decided."""
        found = self.history(scope, key)
        return found[-1] if found else None

    def history(self, scope: ConsentScope, key: str = "") -> list[Consent]:
        """Every decision for this scope and key, the oldest first."""
        query = (
            select(ConsentRow)
            .where(ConsentRow.scope == scope, ConsentRow.key == key_of(scope, key))
            .order_by(col(ConsentRow.seq))
        )
        with self._store.reading() as session:
            return [_consent(row) for row in session.exec(query)]

    def all(self) -> list[Consent]:
        """What counts for each scope and key, the last decided first."""
        found = self.standing().decisions.values()
        return sorted(found, key=lambda one: (one.at, one.scope, one.key), reverse=True)

    def opt_out(self, kind: HiddenKind, value: str) -> OptOut:
        """Put an author, a repository (path or address) or a session on the list; idempotent."""
        with self._store.writing(precious=True) as session:
            row = add_opt_out(session, kind, value)
            return OptOut.model_validate(row.model_dump())

    def opt_in(self, kind: HiddenKind, value: str) -> bool:
        """Take them from the list; False when they were not on it."""
        with self._store.writing(precious=True) as session:
            gone = session.execute(
                delete(OptOutRow).where(
                    col(OptOutRow.kind) == kind, col(OptOutRow.hash) == hidden(kind, value)
                )
            )
            return bool(gone.rowcount)  # type: ignore[attr-defined]

    def opted_out(self, kind: HiddenKind, value: str) -> bool:
        """True when they are on the list."""
        with self._store.reading() as session:
            return session.get(OptOutRow, (kind, hidden(kind, value))) is not None

    def opt_outs(self) -> list[OptOut]:
        """The list, the newest first."""
        with self._store.reading() as session:
            rows = session.exec(select(OptOutRow).order_by(col(OptOutRow.at).desc(), col(OptOutRow.hash)))
            return [OptOut.model_validate(row.model_dump()) for row in rows]

    def standing(self) -> Standing:
        """All that counts now, read as of one moment."""
        with self._store.reading() as session:
            rows = session.exec(select(ConsentRow).order_by(col(ConsentRow.seq)))
            return Standing(
                decisions={(row.scope, row.key): _consent(row) for row in rows},  # the newest stays
                opt_outs=frozenset((row.kind, row.hash) for row in session.exec(select(OptOutRow))),
                stones={(row.kind, row.id): row.at for row in session.exec(select(TombstoneRow))},
            )


def key_of(scope: ConsentScope, key: str) -> str:
    """The key as it is kept."""
    return normal("author", key) if scope == "user" and key else key


def add_opt_out(session: Session, kind: HiddenKind, value: str) -> OptOutRow:
    """Put one on the list, within a transaction; the time of one who is there stays."""
    found = session.get(OptOutRow, (kind, hidden(kind, value)))
    if found is None:
        found = OptOutRow(kind=kind, hash=hidden(kind, value), at=now())
        session.add(found)
        session.flush()
    return found


def _consent(row: ConsentRow) -> Consent:
    return Consent.model_validate(row.model_dump(exclude={"seq"}))
