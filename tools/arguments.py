"""Arguments of the tools: their types, the spellings that models use for them, and how they are refused."""

import json
import re
from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import JsonValue, ValidationError

from memory.records import Record
from sandbox.errors import UnsafePath
from sandbox.paths import check_path

_ALIASES: Final = {
    "path": ("file", "filename", "file_path", "filepath", "file_name"),
    "body": ("content", "contents", "text", "code", "new_text", "new_content", "new_code"),
    "command": ("cmd", "shell", "script"),
    "text": ("query", "pattern", "regex", "term"),
    "first": ("start", "start_line", "line_start", "from", "line"),
    "last": ("end", "end_line", "line_end", "to"),
}
_RANGE = re.compile(r"^(?:lines? )?(\d{1,7})(?: ?(?:-|:|–|,| to | ) ?(\d{1,7}))?$")

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)

R = TypeVar("R", bound=Record)


def checked(model: type[R], arguments: Mapping[str, object], form: str) -> R:
    """The arguments as their model, with usual other spellings. Raises ValueError that shows `form`."""
    fields = model.model_fields
    given = dict(arguments)
    for name, others in _ALIASES.items():
        for other in others:
            if name in fields and name not in given and other in given and other not in fields:
                given[name] = given.pop(other)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "arguments"
        raise ValueError(f"{where}: {first['msg']}. Write: {form}") from None


def dumped(record: Record) -> dict[str, JsonValue]:
    """A checked record as the arguments of an Action."""
    return record.model_dump(mode="json")


def clean_path(path: str) -> str:
    """A path as the model wrote it, without quotes and a leading `./`. Raises ValueError.

    Double quotes are those of JSON, as `spelled` writes them, where they can be.
    """
    bare = path.strip()
    if spelt := _QUOTED.fullmatch(bare):
        try:
            bare = json.loads(spelt[0], strict=False)
        except ValueError:
            bare = bare.strip("`'\"")
    else:
        bare = bare.strip("`'\"")
    try:
        return check_path(bare.removeprefix("./"))
    except UnsafePath as error:
        raise ValueError(error.message) from None


def spelled(path: str) -> str:
    """A path as a model is shown it, on one line and with nothing hidden: plain, or as a JSON string."""
    odd = path != path.strip().strip("`'\"") or not path.isprintable()
    if not odd and not any(_RANGE.match(path[cut.end() :].strip()) for cut in re.finditer(r"[ :]", path)):
        return path
    inside = (char if char.isprintable() and char not in '"\\' else json.dumps(char)[1:-1] for char in path)
    return f'"{"".join(inside)}"'


def split_range(header: str, form: str) -> tuple[str, int | None, int | None]:
    """`path 3-9`, `path 3` or `path` taken apart, the path `spelled`. Raises ValueError."""
    header = header.strip()
    for cut in (match.start() for match in re.finditer(r"[ :]", header)):
        if match := _RANGE.match(header[cut + 1 :].strip()):
            first, last = int(match[1]), int(match[2] or match[1])
            return spelled(clean_path(header[:cut])), first, last
    if not header:
        raise ValueError(f"no path. Write: {form}")
    return spelled(clean_path(header)), None, None
