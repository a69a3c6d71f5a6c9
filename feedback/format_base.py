"""What a format of data sets is, and what it is given besides the runs."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from feedback import columns
from feedback.candidate import Candidate, Grade
from feedback.format_text import digest, plain
from memory.records import Message

if TYPE_CHECKING:
    import pyarrow

    from feedback.folder import Folder

Row = dict[str, Any]
Kind = Literal["parquet", "jsonl", "json-per-run"]

EVERY: Final[frozenset[Grade]] = frozenset({"gold", "silver", "negative", "none"})
GOOD: Final[frozenset[Grade]] = frozenset({"gold", "silver"})
JUDGED: Final[frozenset[Grade]] = frozenset({"gold", "silver", "negative"})


class Tokens(Protocol):
    """A model's chat template and vocabulary. No text of a message may become a control token."""

    @property
    def name(self) -> str:
        """Whose vocabulary it is."""
        ...

    @property
    def template(self) -> str:
        """The source of the chat template."""
        ...

    @property
    def end(self) -> int:
        """The token that ends an answer."""
        ...

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a chat up to where the answer begins; one that was begun for the model is left open."""
        ...

    def infill(self, prefix: str, suffix: str, context: str) -> list[int]:
        """Ids of a prompt with a gap, up to where the filling begins; none where the family cannot fill."""
        ...

    def rendered(self, messages: Sequence[Message]) -> str:
        """The same as text."""
        ...

    def plain(self, text: str) -> list[int]:
        """Ids of a text in which nothing is a control token."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens written out."""
        ...


@dataclass(frozen=True)
class Context:
    """What formats need besides the runs."""

    tools: Sequence[Mapping[str, Any]] = ()
    """JSON schemas of the tools, in the form of OpenAI's `tools`."""
    tokens: Tokens | None = None
    models: Mapping[str, columns.ModelFacts] = field(default_factory=dict)
    """By the id that completions have."""
    synthetic: Collection[str] = ()
    """Ids of the runs whose task a program made."""
    dataset: str = "adi"
    replaced: Counter[str] = field(default_factory=Counter)
    """Format -> halves of characters that became U+FFFD in it; filled while rows are made."""


class Format(Protocol):
    """One configuration of a data set."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def grades(self) -> frozenset[Grade]:
        """The grades of the runs that it takes."""
        ...

    def missing(self, context: Context) -> str:
        """What is not there that it needs; empty where it can be made."""
        ...

    def rows(self, candidate: Candidate, context: Context) -> list[Row]:
        """The rows of one run, each with an empty `split`; none where the run has nothing for it."""
        ...

    def schema(self) -> "pyarrow.Schema | None":
        """None where it is JSON."""
        ...

    def read(self, rows: Sequence[Row]) -> list[Any]:
        """What the rows say, as our own records."""
        ...

    def write(self, folder: "Folder", rows: Sequence[Row], split: str) -> None:
        """Write the rows of one split."""
        ...

    def pattern(self, split: str) -> str:
        """Path of the files of a split, for the card."""
        ...


@dataclass(frozen=True, slots=True)
class Table:
    """A configuration in Parquet: columns of its own, then those that every row has."""

    name: str
    own: Callable[[], list[tuple[str, Any]]]
    """Names and Arrow types of its own columns."""
    make: Callable[[Candidate, Context], Iterable[Row]]
    """Its own columns, and common ones that it knows better, for each row."""
    read: Callable[[Sequence[Row]], list[Any]]
    grades: frozenset[Grade] = EVERY
    needs: Callable[[Context], str] = lambda _: ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Common columns that have another name here, because trainers take theirs for something else."""
    kind: Literal["parquet"] = "parquet"

    def missing(self, context: Context) -> str:
        return self.needs(context)

    def rows(self, candidate: Candidate, context: Context) -> list[Row]:
        if candidate.label.grade not in self.grades:
            return []
        shared = columns.common(candidate, context)
        shared = {self.renamed.get(name, name): value for name, value in shared.items()}
        names = [field.name for field in self.schema()]
        made = []
        for row in self.make(candidate, context):
            full = plain(shared | row, lambda n: context.replaced.update({self.name: n}))
            made.append(signed({name: full[name] for name in names}))
        return made

    def schema(self) -> "pyarrow.Schema":
        import pyarrow

        shared = [(self.renamed.get(name, name), kind) for name, kind in columns.types()]
        return pyarrow.schema([*self.own(), *shared])

    def write(self, folder: "Folder", rows: Sequence[Row], split: str) -> None:
        folder.parquet(self.pattern(split), rows, self.schema(), self.name, split)

    def pattern(self, split: str) -> str:
        return f"{self.name}/{split}-00000-of-00001.parquet"


def signed(row: Row) -> Row:
    """The row with its `record_id`: the hash of all but the id itself and the split."""
    content = {name: value for name, value in row.items() if name not in ("record_id", "split")}
    return row | {"record_id": digest(content)}
