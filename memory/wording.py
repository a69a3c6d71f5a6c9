"""Words of lessons, and the full-text search over them: FTS5 on SQLite, text search on Postgres."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import text
from sqlmodel import Session

TERMS: Final = 24
"""Words of one question; a task's text holds more, and the rarest say most: longer words come first."""
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,60}")
_COMMON: Final = frozenset(
    re.findall(
        r"\w+",
        "and are assert but class def does else error false for from has have import its not none return"
        " raise self should test tests that the then this true when where which with without will must can"
        " fails failing pass passes file files line lines function functions method value values python",
    )
)
"""Words that say nothing about which lesson is meant."""


def words_of(*texts: str) -> list[str]:
    """Distinct words worth searching for, lower case, in their order; the parts of compound names too."""
    found: dict[str, None] = {}
    for piece in (match[0] for each in texts for match in _WORD.finditer(each)):
        parts = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", piece)
        for word in (piece, *(parts if len(parts) > 1 else ())):
            if len(word) > 2 and word.lower() not in _COMMON:
                found.setdefault(word.lower())
    return list(found)


def place_token(scope: str, place: str) -> str:
    """One word that stands for where a lesson holds."""
    return f"at_{hashlib.sha256(f'{scope} {place}'.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def indexed(lesson_id: str, scope: str, place: str, claim: str, words: str) -> tuple[str, str, str, str]:
    """What the index holds of a lesson: its id, where it holds, its claim, and all words to find it by."""
    told = " ".join(words_of(claim, words))
    return lesson_id, place_token(scope, place), _plain(claim), _plain(told)


def index(session: Session, lesson_id: str, scope: str, place: str, claim: str, words: str) -> None:
    """Put a lesson into the index, or its new words in place of the old ones."""
    remove(session, lesson_id)
    if _sqlite(session):
        names = ("id", "place", "claim", "words")
        session.execute(
            text("INSERT INTO lesson_text(id, place, claim, words) VALUES (:id, :place, :claim, :words)"),
            dict(zip(names, indexed(lesson_id, scope, place, claim, words), strict=True)),
        )


def remove(session: Session, lesson_id: str) -> None:
    """Take a lesson out of the index."""
    if _sqlite(session):
        session.execute(text("DELETE FROM lesson_text WHERE id = :id"), {"id": lesson_id})


def purge(session: Session) -> None:
    """Merge the index, so that no word of a removed lesson is left in it."""
    if _sqlite(session):
        session.execute(text("INSERT INTO lesson_text(lesson_text) VALUES ('optimize')"))


def search(
    session: Session, words: Sequence[str], tokens: Iterable[str], limit: int
) -> list[tuple[str, float]]:
    """Ids of lessons at these places that hold any of the words, best first, with a rank above 0."""
    asked = sorted(dict.fromkeys(words), key=len, reverse=True)[:TERMS]
    places = list(tokens)
    if not asked or not places:
        return []
    if _sqlite(session):
        query = f"place:({_any(places)}) AND {{claim words}}:({_any(asked)})"
        statement = text(
            "SELECT id, -bm25(lesson_text, 0.0, 0.0, 2.0, 1.0) FROM lesson_text"
            " WHERE lesson_text MATCH :query ORDER BY rank LIMIT :limit"
        )
        rows = session.execute(statement, {"query": query, "limit": limit})
        return [(str(row[0]), float(row[1])) for row in rows]
    statement = text(
        "SELECT id, ts_rank(to_tsvector('simple', claim || ' ' || words), q) AS score FROM lesson,"
        " to_tsquery('simple', :query) AS q WHERE to_tsvector('simple', claim || ' ' || words) @@ q"
        " ORDER BY score DESC LIMIT :limit"
    )
    rows = session.execute(statement, {"query": " | ".join(asked), "limit": limit})
    return [(str(row[0]), float(row[1])) for row in rows]


def _any(words: Sequence[str]) -> str:
    return " OR ".join(f'"{word}"' for word in words)


def _plain(words: str) -> str:
    """Text that SQLite can hold: the index serves search alone."""
    return words.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")


def _sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"
