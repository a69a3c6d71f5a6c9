"""Which data sets were written, and which runs are in them: who forgets a run is told where it still lies."""

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlmodel import col, delete, select

from memory.checks import Record
from memory.lessons import now
from memory.store import Store
from memory.tables import ExportRow


class Export(Record):
    """One data set that was written."""

    id: str
    path: str
    """Absolute path of its folder, as it was then."""
    at: str
    manifest_sha256: str
    """Of `meta/manifest.json`, in hex."""
    run_ids: tuple[str, ...]
    """Sorted."""
    command: str = ""
    """That writes it again; empty when it was not told."""


def record_export(
    store: Store, path: Path | str, manifest_sha256: str, run_ids: Iterable[str], command: str = ""
) -> Export:
    """Remember a data set that was written; it takes the place of an earlier one in the same folder."""
    made = Export(
        id=f"x-{secrets.token_hex(6)}",
        path=str(Path(path).absolute()),
        at=now(),
        manifest_sha256=manifest_sha256,
        run_ids=tuple(sorted(set(run_ids))),
        command=command,
    )
    with store.writing(precious=True) as session:
        session.execute(delete(ExportRow).where(col(ExportRow.path) == made.path))
        session.add(ExportRow(**made.model_dump(mode="json")))
    return made


def exports(store: Store) -> list[Export]:
    """All data sets that were written, the newest first, also those that are not there any more."""
    with store.reading() as session:
        rows = session.exec(select(ExportRow).order_by(col(ExportRow.at).desc(), col(ExportRow.id)))
        return [Export.model_validate(row.model_dump()) for row in rows]


def exports_with(store: Store, run_ids: Sequence[str]) -> list[Export]:
    """Those that hold a row of one of these runs."""
    wanted = set(run_ids)
    return [made for made in exports(store) if not wanted.isdisjoint(made.run_ids)]
