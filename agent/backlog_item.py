"""An item of a backlog: one issue as it was read, whatever it was read from, and what could not be read.

The texts are those of strangers: they are data of the task and never instructions of ADI's own. Nothing here
shows them; whoever does makes them inert (agent/inert.py).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, ValidationError

from memory.records import Record

MAX_TITLE: Final = 1_000
"""Characters; GitHub takes 256."""
MAX_BODY: Final = 256 * 1024
"""Characters; GitHub takes 65,536."""
MAX_CHECKS: Final = 50
_REF: Final = re.compile(r"[A-Za-z0-9_][\w./-]{0,199}", re.ASCII)


def clean(text: str) -> str:
    """Text that every store and file format can keep: no NUL, no half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _base(ref: str) -> str:
    if ref and (not _REF.fullmatch(ref) or ".." in ref):
        raise ValueError("is not the name of a commit or a branch")
    return ref


def _key(key: str) -> str:
    if key != key.strip() or not key.isprintable():
        raise ValueError("holds blanks around it or characters that cannot be shown")
    return key


Text = Annotated[str, AfterValidator(clean)]


class Item(Record):
    """One issue to solve in one repository."""

    key: Annotated[str, AfterValidator(clean), AfterValidator(_key), Field(min_length=1, max_length=300)]
    """Names the item for good, also after an edit: `owner/name#12`, an instance id, a file's path."""
    title: Annotated[str, Field(min_length=1, max_length=MAX_TITLE), AfterValidator(clean)]
    body: Annotated[str, Field(max_length=MAX_BODY), AfterValidator(clean)] = ""
    """As it was written, Markdown mostly; empty when the title is all there is."""
    repo: str = ""
    """Absolute path of the local repository."""
    base: Annotated[str, AfterValidator(_base)] = ""
    """Commit, tag or branch to start from; empty means the repository's HEAD."""
    checks: Annotated[tuple[Text, ...], Field(max_length=MAX_CHECKS)] = ()
    """Shell commands that the source names as proof; they run in the sandbox like every command."""
    labels: tuple[Text, ...] = ()
    url: str = ""
    """Where the issue is on the web; empty or http(s)."""
    state: Literal["open", "closed"] = "open"
    meta: dict[str, JsonValue] = Field(default_factory=dict)
    """What else the source tells: `kind`, `project` (owner/name), `author`, `created`, `updated`, `comments`
    and `grading`, which holds what only graders may see, is there only where it was asked for."""

    @property
    def revision(self) -> str:
        """Changes with what an agent is told: an edited issue is another. Comments do not count."""
        told = [self.title, self.body, self.repo, self.base, list(self.checks)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    @property
    def prompt(self) -> str:
        """The task's text for an agent: title and body, nothing that only graders may see."""
        return f"{self.title.strip()}\n\n{self.body.strip()}".strip()


class Bad(Record):
    """A file or row that is no item; the others are read all the same."""

    where: str
    """File, row and line, as far as they are known."""
    why: str
    cursor: str = ""
    """Where a tracker that went away can be read on from; empty for everything else."""


def made(where: str, values: Mapping[str, Any]) -> Item | Bad:
    """The item of these fields, or the first thing that is wrong with them."""
    try:
        return Item.model_validate(values)
    except ValidationError as error:
        return Bad(where=where, why=reason(error))


def reason(error: ValidationError) -> str:
    """The first complaint in a sentence, without the value that it complains about."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def web_address(address: str) -> bool:
    """True for http(s) addresses without anything that could end a line or an attribute."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and bool(re.fullmatch(r"[!-~]+", address))
