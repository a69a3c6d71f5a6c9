"""Code completion at a place in a file, with the repository as context.

The prompt is laid out for a prefix cache: what moves slowly comes first. Definitions of other files are
chosen for the region around the cursor, not for its line, and stand in the order of their paths; the text
before the cursor begins at a line that moves in steps. So a cursor that moves a little leaves the front as
it was.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from agent.complete_cut import Hole, cut, stops
from agent.errors import UsageError
from agent.grammars import MAX_BYTES, language_of
from agent.repomap import rendered
from agent.source import lines_of
from agent.symbols import Symbol, outline
from memory.records import Completion, Usage
from model.errors import PromptTooLong, Unsupported
from model.protocol import Model, Sampling

TOKENS: Final = 1024
"""Tokens of a prompt that are used unless more are asked for: half a minute of reading on two cores, once."""
MAX_TOKENS: Final = 128
CONTEXT, AFTER = 0.35, 0.2
"""Shares of the prompt for other files, and for the text after the cursor; the rest is before it."""
REGION: Final = 48
"""Lines around the cursor whose names are looked up, and the step in which that region moves."""
STEP: Final = 32
"""Lines by which the beginning of the text before the cursor moves."""
NEAREST: Final = 400
"""Files of a repository that are searched for definitions."""
SYMBOLS: Final = 40
FRAME: Final = 16
"""Tokens that the model's own signs around a gap may take."""
_NAME = re.compile(r"[A-Za-z_]\w{2,}")
_DEFINED = re.compile(
    rb"\b(?:def|class|func|function|fn|struct|interface|type|enum|trait|impl|record|union|const|namespace|mod)"
    rb"\s+(?:\([^)\n]*\)\s*)?\*?([A-Za-z_]\w{2,})"
    rb"|^[ \t]*(?:[\w<>\[\],:&*~]+[ \t]+)+\*?([A-Za-z_]\w{2,})[ \t]*\([^;\n]*$",
    re.MULTILINE,
)
"""What looks like the definition of a name; the syntax tree decides later."""


class Files(Protocol):
    """The files of a repository, such as a WorkCopy."""

    def paths(self) -> list[str]: ...

    def size(self, path: str) -> int: ...

    def read(self, path: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor in a text. Lines and columns count from 1, as editors tell; columns are characters."""

    path: str
    """Of the file, for its language and to leave it out of the context."""
    text: str
    line: int
    column: int = 0
    """Before this character; 0 means behind the last one of the line."""

    def hole(self) -> Hole:
        """The text on both sides. Raises UsageError for a place that is not there."""
        lines = lines_of(self.text, keepends=True)
        if not lines or lines[-1].endswith(("\n", "\r")):
            lines.append("")
        if not 1 <= self.line <= len(lines):
            raise UsageError(
                f"{self.path} has {len(lines)} lines, there is no line {self.line}", "adi complete --help"
            )
        line = lines[self.line - 1].rstrip("\r\n")
        column = self.column or len(line) + 1
        if not 1 <= column <= len(line) + 1:
            raise UsageError(
                f"line {self.line} of {self.path} has {len(line)} characters, there is no column {column}",
                "adi complete --help",
            )
        offset = sum(map(len, lines[: self.line - 1])) + column - 1
        return Hole(self.text[:offset], self.text[offset:], language_of(self.path))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Text of the repository beside the file."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Around:
    """What the model was shown."""

    prefix: str
    suffix: str
    context: str
    used: tuple[str, ...]
    """Files that the context is of."""
    left_out: tuple[str, ...]
    """Files that would have been, had there been room."""
    first_line: int
    last_line: int


@dataclass(frozen=True, slots=True)
class Completed:
    """Texts for one place, the likeliest first."""

    texts: tuple[str, ...]
    """To be inserted at the cursor; each differs. An empty one says that nothing belongs there."""
    usage: Usage
    around: Around
    model: str


def complete(
    model: Model,
    place: Place,
    files: Files | None = None,
    *,
    opened: Sequence[Chunk] = (),
    recent: Sequence[str] = (),
    n: int = 1,
    max_tokens: int = MAX_TOKENS,
    tokens: int = TOKENS,
    temperature: float = 0.0,
    seed: int = 0,
) -> Completed:
    """What belongs at the place. `opened` are files with their texts, `recent` paths of `files`.

    `tokens` is the most that the prompt may take. With `n` over 1 the answers are drawn, at 0.4 unless
    `temperature` says otherwise.

    Raises UsageError for a place that is not there, Unsupported for a model that fills no gaps, PromptTooLong
    when the cursor's own line does not fit.
    """
    if not model.capabilities.infill:
        raise Unsupported("fill-in-the-middle", "adi complete --model qwen2.5-coder-1.5b")
    hole = place.hole()
    around = _around(model, place, hole, files, opened, recent, max_tokens, tokens)
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature or (0.4 if n > 1 else 0.0),
        seed=seed,
        stop=stops(hole),
        n=n,
    )
    answers = model.infill(around.prefix, around.suffix, sampling, context=around.context)
    texts = dict.fromkeys(cut(answer.text, hole) for answer in answers)
    return Completed(tuple(texts), _sum(answers), around, answers[0].model)


def _sum(answers: Sequence[Completion]) -> Usage:
    fields = Usage.model_fields
    return Usage(**{name: sum(getattr(answer.usage, name) for answer in answers) for name in fields})


def _around(
    model: Model,
    place: Place,
    hole: Hole,
    files: Files | None,
    opened: Sequence[Chunk],
    recent: Sequence[str],
    max_tokens: int,
    tokens: int,
) -> Around:
    """The prompt's parts within the room. Raises PromptTooLong."""
    count = _counter(model)
    window = model.capabilities.n_ctx
    room = min(tokens, window - max_tokens) if window else tokens
    own = count(hole.before) + count(hole.after) + FRAME
    if own > room:
        raise PromptTooLong(own, window or tokens, max_tokens)
    room -= FRAME
    kept, left_out = _fitting(_chunks(files, place, opened, recent), count, int(room * CONTEXT))
    context = "\n".join(f"{chunk.path}\n{chunk.text.rstrip()}\n" for chunk in kept)
    room -= count(context)
    suffix = _head(hole.suffix, count, max(int(room * AFTER), count(hole.after)))
    prefix = _tail(hole.prefix, count, room - count(suffix))
    first = hole.prefix[: len(hole.prefix) - len(prefix)].count("\n") + 1
    last = place.line + suffix.rstrip("\n").count("\n")
    used = tuple(dict.fromkeys(chunk.path for chunk in kept))
    return Around(prefix, suffix, context, used, tuple(dict.fromkeys(left_out)), first, last)


def _chunks(files: Files | None, place: Place, opened: Sequence[Chunk], recent: Sequence[str]) -> list[Chunk]:
    """What could be context, each file once, slow-moving first."""
    chunks = [*opened, *_signatures(files, recent), *_definitions(files, place)]
    found = {chunk.path: chunk for chunk in reversed(chunks) if chunk.text and chunk.path != place.path}
    return list(reversed(found.values()))


def _counter(model: Model) -> Callable[[str], int]:
    """Counts tokens exactly; by bytes, which are never fewer, where the server does not count."""
    if model.capabilities.tokenize:
        return lambda text: model.count_text(text) if text else 0
    return lambda text: len(text.encode("utf-8", "surrogatepass"))


def _fitting(
    chunks: Sequence[Chunk], count: Callable[[str], int], room: int
) -> tuple[list[Chunk], list[str]]:
    """Whole chunks, in their order, that fit; and the files of those that do not."""
    kept: list[Chunk] = []
    left_out: list[str] = []
    for chunk in chunks:
        size = count(f"{chunk.path}\n{chunk.text}\n\n")
        if size <= room:
            room -= size
            kept.append(chunk)
        else:
            left_out.append(chunk.path)
    return kept, left_out


def _head(text: str, count: Callable[[str], int], room: int) -> str:
    """As many whole lines from the beginning as fit, the first one at least."""
    lines = lines_of(text, keepends=True)
    return "".join(lines[: _most(len(lines), lambda size: count("".join(lines[:size])) <= room)])


def _tail(text: str, count: Callable[[str], int], room: int) -> str:
    """As many whole lines to the end as fit, beginning at a line that moves in steps; the last at least."""
    lines = lines_of(text, keepends=True)
    if text.endswith(("\n", "\r")) or not text:
        lines.append("")
    size = _most(len(lines), lambda size: count("".join(lines[-size:])) <= room)
    first = len(lines) - size
    if first:
        step = STEP if size > 2 * STEP else 1
        first = min(math.ceil(first / step) * step, len(lines) - 1)
    return "".join(lines[first:])


def _most(size: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `size` that fits, 1 at least; found by halving."""
    least, most = min(1, size), size
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least


def _signatures(files: Files | None, paths: Sequence[str]) -> Iterator[Chunk]:
    """What the named files define."""
    for path in sorted(set(paths)):
        symbols = _symbols(files, path) if files else []
        if symbols:
            yield Chunk(path, _without_path(rendered(symbols)))


def _definitions(files: Files | None, place: Place) -> list[Chunk]:
    """Signatures of what the region around the cursor names and other files define, by path."""
    if files is None or not language_of(place.path):
        return []
    wanted = _names(place)
    found: list[Symbol] = []
    for path in _near(files, place.path):
        if wanted & _defined(files.read(path)):
            found += [symbol for symbol in _symbols(files, path) if symbol.name in wanted]
    found.sort(key=lambda symbol: (-_likelihood(symbol, place), symbol.path, symbol.span.first))
    chosen = sorted(found[:SYMBOLS], key=lambda symbol: (symbol.path, symbol.span.first))
    paths = dict.fromkeys(symbol.path for symbol in chosen)
    return [
        Chunk(path, _without_path(rendered([item for item in chosen if item.path == path]))) for path in paths
    ]


def _likelihood(symbol: Symbol, place: Place) -> float:
    """How likely a definition is the one that is meant: its file is imported, or near, or neither."""
    stem = PurePosixPath(symbol.path).stem
    imported = re.search(rf"\b{re.escape(stem)}\b", place.text) is not None
    beside = PurePosixPath(symbol.path).parent == PurePosixPath(place.path).parent
    return 2.0 * imported + beside


def _names(place: Place) -> set[str]:
    """Names around the cursor, of a region that moves in steps, and those of the imports above."""
    lines = lines_of(place.text)
    middle = (place.line - 1) // REGION * REGION
    region = lines[max(0, middle - REGION) : middle + 2 * REGION]
    heads = [line for line in lines[:REGION] if re.match(r"\s*(?:import|from|use|#include|require)\b", line)]
    return set(_NAME.findall("\n".join([*heads, *region])))


def _near(files: Files, own: str) -> list[str]:
    """Files of the same language, those that lie nearest first."""
    language, folders = language_of(own), PurePosixPath(own).parent.parts

    def distance(path: str) -> tuple[int, str]:
        there = PurePosixPath(path).parent.parts
        same = next((i for i, (a, b) in enumerate(zip(folders, there, strict=False)) if a != b), None)
        shared = min(len(folders), len(there)) if same is None else same
        return len(folders) + len(there) - 2 * shared, path

    paths = [path for path in files.paths() if path != own and language_of(path) == language]
    return [path for path in sorted(paths, key=distance)[:NEAREST] if 0 < files.size(path) <= MAX_BYTES]


def _defined(data: bytes) -> set[str]:
    return {(found[1] or found[2]).decode() for found in _DEFINED.finditer(data)}


def _symbols(files: Files, path: str) -> list[Symbol]:
    """Definitions of one file. Raises GrammarMissing."""
    found = outline(PurePosixPath(path).suffix.lower(), files.read(path))
    return [Symbol(symbol.span, symbol.is_function, symbol.signature, path) for symbol in found.symbols]


def _without_path(text: str) -> str:
    return text.partition("\n")[2]


def text_of(path: Path) -> str:
    """A source file's text. Raises UsageError for what is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", "adi complete FILE:LINE:COL") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return checked(data, str(path))


def checked(data: bytes, name: str) -> str:
    """Bytes as text. Raises UsageError for binary and over-large data."""
    if len(data) > 20 * MAX_BYTES:
        raise UsageError(f"{name} has {len(data)} bytes, too many for source code")
    if b"\0" in data:
        raise UsageError(f"{name} is a binary file", "name a source file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8: byte {error.start}", "name a source file") from None
