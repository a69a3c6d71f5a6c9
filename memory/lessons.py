"""The lessons in the store: learned, supported, contradicted, retired; never silently lost."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import tuple_
from sqlmodel import Session, col, func, or_, select

from memory import errors, wording
from memory.lesson import Draft, Evidence, Lesson, LessonStatus, Stance
from memory.store import Store
from memory.tables import EvidenceRow, LessonRow

ESTABLISHED: Final = 2
"""Runs that must support a lesson of ADI's own before it is `active`."""
EVIDENCE: Final = 200
"""Evidence kept of one lesson: the first and the newest."""
_LIST: Final = "adi memory list"


class Lessons:
    """The lessons of an open store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def learn(self, draft: Draft, evidence: Evidence) -> tuple[Lesson, bool]:
        """Take a lesson in, or the evidence for one that is known. Gives it, and whether it is new.

        The same kind, place, subject and claim make one lesson; what the draft knows beyond it is added.
        Evidence that a run has given already is not counted twice.
        """
        key = _key(draft)
        with self._store.writing() as session:
            row = session.exec(select(LessonRow).where(LessonRow.key == key)).first()
            new = row is None
            if row is None:
                row = new_row(draft)
                session.add(row)
                session.flush()
                wording.index(session, row.id, row.scope, row.place, row.claim, row.words)
            elif draft.content.keys() - row.content.keys():
                row.content = {**draft.content, **row.content}
            _testify(session, row, evidence)
            return _lesson(session, row), new

    def testify(self, lesson_id: str, evidence: Evidence) -> Lesson:
        """Add what a run says; the status follows. Raises NotFound."""
        with self._store.writing() as session:
            row = _found(session, lesson_id)
            _testify(session, row, evidence)
            return _lesson(session, row)

    def get(self, id_prefix: str) -> Lesson:
        """The lesson whose id begins so. Raises NotFound, Ambiguous."""
        with self._store.reading() as session:
            return _lesson(session, _found(session, id_prefix))

    def all(
        self,
        places: Collection[tuple[str, str]] | None = None,
        *,
        kinds: Sequence[str] = (),
        retired: bool = True,
        limit: int = 0,
    ) -> list[Lesson]:
        """Lessons, the last changed first; `places` are pairs of scope and place, None means everywhere."""
        query = select(LessonRow).order_by(col(LessonRow.changed).desc(), col(LessonRow.id))
        if kinds:
            query = query.where(col(LessonRow.kind).in_(kinds))
        if not retired:
            query = query.where(LessonRow.status != "retired")
        if places is not None:
            query = query.where(col(LessonRow.place).in_({place for _, place in places}))
        if limit:
            query = query.limit(limit)
        with self._store.reading() as session:
            rows = [row for row in session.exec(query) if places is None or (row.scope, row.place) in places]
            return _lessons(session, rows)

    def standing(
        self, places: Collection[tuple[str, str]], kinds: Sequence[str], limit: int = 40
    ) -> list[Lesson]:
        """Lessons at these places of these kinds, and the pinned ones: by kind, the best supported first.

        The retired ones are left out, and so is the evidence.
        """
        query = (
            select(LessonRow)
            .where(
                tuple_(col(LessonRow.scope), col(LessonRow.place)).in_(places),
                or_(col(LessonRow.kind).in_(kinds), col(LessonRow.pinned)),
                LessonRow.status != "retired",
            )
            .order_by(
                col(LessonRow.pinned).desc(),
                LessonRow.kind,
                col(LessonRow.supported).desc(),
                col(LessonRow.id),
            )
            .limit(limit)
        )
        with self._store.reading() as session:
            return [_bare(row) for row in session.exec(query)]

    def with_subjects(
        self, subjects: Collection[str], places: Collection[tuple[str, str]], limit: int = 20
    ) -> list[Lesson]:
        """Lessons at these places about exactly these subjects, those with most support first.

        The retired ones are left out, and so is the evidence.
        """
        query = (
            select(LessonRow)
            .where(
                col(LessonRow.subject).in_(subjects),
                tuple_(col(LessonRow.scope), col(LessonRow.place)).in_(places),
                LessonRow.status != "retired",
            )
            .order_by(col(LessonRow.supported).desc(), col(LessonRow.changed).desc(), col(LessonRow.id))
            .limit(limit)
        )
        with self._store.reading() as session:
            return [_bare(row) for row in session.exec(query)]

    def search(
        self, words: Sequence[str], places: Collection[tuple[str, str]] | None = None, limit: int = 20
    ) -> list[tuple[Lesson, float]]:
        """Lessons that hold any of the words, best first, with their rank; retired ones too.

        The evidence is left out.
        """
        with self._store.reading() as session:
            known = places if places is not None else _places(session)
            tokens = [wording.place_token(scope, place) for scope, place in known]
            ranked = dict(wording.search(session, words, tokens, limit))
            rows = session.exec(select(LessonRow).where(col(LessonRow.id).in_(ranked)))
            found = [_bare(row) for row in rows if (row.scope, row.place) in known]
        return sorted(((item, ranked[item.id]) for item in found), key=lambda pair: (-pair[1], pair[0].id))

    def used(self, lesson_ids: Iterable[str]) -> None:
        """Count one use of each; a lesson that was forgotten meanwhile is passed over."""
        with self._store.writing() as session:
            for row in session.exec(select(LessonRow).where(col(LessonRow.id).in_(list(lesson_ids)))):
                row.uses += 1
                row.used = now()

    def edit(self, lesson_id: str, claim: str) -> Lesson:
        """Give a lesson other words; it counts as the person's own from then on. Raises LessonExists."""
        with self._store.writing() as session:
            row = _found(session, lesson_id)
            key = _key(_lesson(session, row).model_copy(update={"claim": claim}))
            twin = session.exec(select(LessonRow).where(LessonRow.key == key, LessonRow.id != row.id)).first()
            if twin is not None:
                raise errors.LessonExists(f"lesson {twin.id} says this already", f"adi memory show {twin.id}")
            row.key, row.claim, row.author, row.changed = key, claim, "user", now()
            wording.index(session, row.id, row.scope, row.place, row.claim, row.words)
            row.status = status_of(_bare(row))
            return _lesson(session, row)

    def pin(self, lesson_id: str, pinned: bool = True) -> Lesson:
        """Keep a lesson whatever the evidence says, or no longer."""
        with self._store.writing() as session:
            row = _found(session, lesson_id)
            row.pinned, row.changed = pinned, now()
            row.status = status_of(_bare(row))
            return _lesson(session, row)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many lessons there are of each kind and status."""
        query = select(LessonRow.kind, LessonRow.status, func.count()).group_by(
            LessonRow.kind, LessonRow.status
        )
        with self._store.reading() as session:
            return {(kind, status): count for kind, status, count in session.exec(query)}


def status_of(lesson: Lesson) -> LessonStatus:
    """What the evidence makes of a lesson; a person's word and a pin outweigh it."""
    speaks_for, against = lesson.supported, lesson.contradicted
    if lesson.pinned:
        return "active"
    if against > speaks_for:
        return "retired"
    if lesson.author == "user" or (speaks_for >= ESTABLISHED and speaks_for > against):
        return "active"
    return "trial"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key(draft: Draft) -> str:
    told = [draft.kind, draft.scope, draft.place, draft.subject, draft.claim]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def new_row(draft: Draft) -> LessonRow:
    """The row of a lesson that the store does not have yet, without evidence."""
    at, key = now(), _key(draft)
    content = draft.model_dump(mode="python")
    return LessonRow(id=f"l-{key[:10]}", key=key, status="trial", created=at, changed=at, **content)


def _testify(session: Session, row: LessonRow, evidence: Evidence) -> None:
    known = list(
        session.exec(
            select(EvidenceRow).where(EvidenceRow.lesson_id == row.id).order_by(col(EvidenceRow.seq))
        )
    )
    again = [item for item in known if evidence.run_id and item.run_id == evidence.run_id]
    if any(item.stance == evidence.stance for item in again):
        return
    if len(known) >= EVIDENCE:
        session.delete(known[EVIDENCE // 2])
    session.add(
        EvidenceRow(
            lesson_id=row.id,
            seq=known[-1].seq + 1 if known else 1,
            run_id=evidence.run_id,
            stance=evidence.stance,
            why=evidence.why,
            saved_tokens=evidence.saved_tokens,
            at=evidence.at or now(),
        )
    )
    session.flush()
    if evidence.stance == "for":
        row.supported += 1
    else:
        row.contradicted += 1
    row.changed = now()
    row.status = status_of(_bare(row))


def recount(session: Session, lesson_id: str) -> None:
    """Bring a lesson's counts and status up to its evidence, some of which was removed."""
    row = session.get(LessonRow, lesson_id)
    if row is not None:
        stances = list(session.exec(select(EvidenceRow.stance).where(EvidenceRow.lesson_id == lesson_id)))
        row.supported, row.contradicted = stances.count("for"), stances.count("against")
        row.status = status_of(_bare(row))


def _found(session: Session, id_prefix: str) -> LessonRow:
    name = col(LessonRow.id)
    wanted = id_prefix if id_prefix.startswith("l-") else f"l-{id_prefix}"
    rows = list(
        session.exec(select(LessonRow).where(name.startswith(wanted, autoescape=True)).order_by(name))
    )
    if not id_prefix or not rows:
        raise errors.NotFound(f"no lesson {id_prefix!r}", _LIST)
    if len(rows) > 1 and rows[0].id != wanted:
        raise errors.Ambiguous(id_prefix, tuple(row.id for row in rows), "lessons", _LIST)
    return rows[0]


def _places(session: Session) -> set[tuple[str, str]]:
    return set(session.exec(select(LessonRow.scope, LessonRow.place).distinct()))


def _lesson(session: Session, row: LessonRow) -> Lesson:
    return _lessons(session, [row])[0]


def _lessons(session: Session, rows: Sequence[LessonRow]) -> list[Lesson]:
    ids = [row.id for row in rows]
    query = select(EvidenceRow).where(col(EvidenceRow.lesson_id).in_(ids)).order_by(col(EvidenceRow.seq))
    evidence: dict[str, list[Evidence]] = {name: [] for name in ids}
    for item in session.exec(query) if ids else ():
        evidence[item.lesson_id].append(
            Evidence(
                run_id=item.run_id,
                stance=_stance(item.stance),
                why=item.why,
                saved_tokens=item.saved_tokens,
                at=item.at,
            )
        )
    return [_bare(row).model_copy(update={"evidence": tuple(evidence[row.id])}) for row in rows]


def _bare(row: LessonRow) -> Lesson:
    """The lesson without its evidence."""
    return Lesson.model_validate(row.model_dump(exclude={"key"}))


def _stance(text: str) -> Stance:
    return "against" if text == "against" else "for"
