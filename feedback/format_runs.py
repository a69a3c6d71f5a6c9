"""Formats that hold whole runs: with everything in them, event by event, and as predictions of patches."""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from feedback import columns
from feedback.candidate import Candidate, Grade
from feedback.format_base import EVERY, Context, Row, Table, signed
from feedback.format_chat import message, message_type, said
from feedback.format_text import line, plain
from feedback.harvest import Harvest
from feedback.transcript import transcript
from memory.checks import Record
from memory.records import Event, Survival

if TYPE_CHECKING:
    from feedback.folder import Folder

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")
_KEPT: Final = ("repo", "license", "license_source", "license_permissive", "consent", "dataset", "split")
"""Common columns that each event of a session repeats."""


class Prediction(Record):
    """What the harness of SWE-bench judges."""

    instance_id: str
    model_name_or_path: str
    model_patch: str


def own_diff(harvest: Harvest) -> str:
    """The agent's change, without what a person edited in it."""
    return harvest.edited[0] if harvest.edited else harvest.diff


def _trajectories(candidate: Candidate, context: Context) -> Iterator[Row]:
    harvest = candidate.harvest
    turns = transcript(candidate).turns

    def count(number: int) -> None:
        context.replaced.update({"trajectories": number})

    yield {
        "messages": [message(said(turn)) for turn in turns],
        "tools": line(plain(context.tools)),
        "trainable": [turn.trainable for turn in turns],
        "why_not": [turn.why for turn in turns],
        "thread": [turn.thread for turn in turns],
        "purpose": [turn.purpose for turn in turns],
        "model_patch": own_diff(harvest),
        "events": "".join(f"{line(plain(event.model_dump(), count))}\n" for event in harvest.events),
        "patches": [_patch(sha256, diff) for sha256, diff in sorted(harvest.patches.items())],
        "survivals": line([plain(one.model_dump(), count) for one in harvest.survivals]),
    }


def _patch(sha256: str, diff: bytes) -> Row:
    """A patch as text, or in base64 where it is none."""
    try:
        return {"sha256": sha256, "encoding": "utf-8", "diff": diff.decode("utf-8")}
    except UnicodeDecodeError:
        return {"sha256": sha256, "encoding": "base64", "diff": base64.b64encode(diff).decode("ascii")}


def _read_trajectories(rows: Sequence[Row]) -> list[Harvest]:
    """The runs as they were harvested."""
    return [
        Harvest(
            run_id=row["trajectory_id"],
            session_id=row["session_id"],
            events=tuple(Event.model_validate(json.loads(text)) for text in row["events"].splitlines()),
            patches={patch["sha256"]: _bytes(patch) for patch in row["patches"]},
            survivals=tuple(Survival.model_validate(one) for one in json.loads(row["survivals"])),
        )
        for row in rows
    ]


def _bytes(patch: Row) -> bytes:
    diff: str = patch["diff"]
    return diff.encode("utf-8") if patch["encoding"] == "utf-8" else base64.b64decode(diff)


def _trajectory_columns() -> list[tuple[str, Any]]:
    import pyarrow

    text = pyarrow.string()
    patch = pyarrow.struct([("sha256", text), ("encoding", text), ("diff", text)])
    return [
        ("messages", pyarrow.list_(message_type())),
        ("tools", text),
        ("trainable", pyarrow.list_(pyarrow.bool_())),
        ("why_not", pyarrow.list_(text)),
        ("thread", pyarrow.list_(pyarrow.int32())),
        ("purpose", pyarrow.list_(text)),
        ("model_patch", text),
        ("events", text),
        ("patches", pyarrow.list_(patch)),
        ("survivals", text),
    ]


TRAJECTORIES: Final = Table("trajectories", _trajectory_columns, _trajectories, _read_trajectories)


@dataclass(frozen=True, slots=True)
class Sessions:
    """One event a line, a file for each session. The payload is a JSON string: kinds of events have different
    keys, and a line with the keys `type` and `message` would be taken for a trace of another tool."""

    name: str = "sessions"
    kind: Literal["jsonl"] = "jsonl"
    grades: frozenset[Grade] = EVERY

    def missing(self, _context: Context) -> str:
        return ""

    def rows(self, candidate: Candidate, context: Context) -> list[Row]:
        if candidate.label.grade not in self.grades:
            return []
        harvest, shared = candidate.harvest, columns.common(candidate, context)
        made = []
        for event in harvest.events:
            told = {
                "session_id": harvest.session_id or harvest.run_id,
                "trajectory_id": event.run_id,
                "seq": event.seq,
                "at": event.at,
                "kind": event.payload.kind,
                "payload": line(plain(event.payload.model_dump(), lambda n: self._count(context, n))),
            }
            kept = {name: shared[name] for name in _KEPT}
            made.append(signed(plain({"record_id": ""} | told | kept, lambda n: self._count(context, n))))
        return made

    def _count(self, context: Context, number: int) -> None:
        context.replaced.update({self.name: number})

    def schema(self) -> None:
        return None

    def read(self, rows: Sequence[Row]) -> list[Event]:
        return [
            Event.model_validate(
                {
                    "run_id": row["trajectory_id"],
                    "seq": row["seq"],
                    "at": row["at"],
                    "payload": json.loads(row["payload"]),
                }
            )
            for row in rows
        ]

    def write(self, folder: "Folder", rows: Sequence[Row], split: str) -> None:
        by_session = dict[str, list[Row]]()
        for row in rows:
            by_session.setdefault(row["session_id"], []).append(row)
        for session, events in sorted(by_session.items()):
            name = _UNSAFE.sub("_", session)
            folder.jsonl(f"{self.name}/{split}/{name}.jsonl", events, self.name, split)

    def pattern(self, split: str) -> str:
        return f"{self.name}/{split}/*.jsonl"


@dataclass(frozen=True, slots=True)
class Predictions:
    """The agent's patches as the harness of SWE-bench takes them; of one task's runs it judges the last."""

    name: str = "predictions"
    kind: Literal["jsonl"] = "jsonl"
    grades: frozenset[Grade] = EVERY

    def missing(self, _context: Context) -> str:
        return ""

    def rows(self, candidate: Candidate, context: Context) -> list[Row]:
        if candidate.label.grade not in self.grades:
            return []
        shared = columns.common(candidate, context)
        row = {
            "instance_id": shared["instance_id"],
            "model_name_or_path": shared["model_id"] or "adi",
            "model_patch": own_diff(candidate.harvest),
            "split": "",
        }
        return [plain(row, lambda n: context.replaced.update({self.name: n}))]

    def schema(self) -> None:
        return None

    def read(self, rows: Sequence[Row]) -> list[Prediction]:
        names = Prediction.model_fields
        return [Prediction.model_validate({name: row[name] for name in names}) for row in rows]

    def write(self, folder: "Folder", rows: Sequence[Row], split: str) -> None:
        bare = [{name: row[name] for name in Prediction.model_fields} for row in rows]
        folder.jsonl(self.pattern(split), bare, self.name, split)

    def pattern(self, split: str) -> str:
        return f"{self.name}/{split}.jsonl"


SESSIONS: Final = Sessions()
PREDICTIONS: Final = Predictions()
