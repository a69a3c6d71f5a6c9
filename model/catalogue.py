"""Which models ADI knows: their files, hashes, licences, dialects and where each file can be had."""

import re
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.errors import ModelError, UnknownModel
from model.prompt import Control, Piece

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a model may be called; also a safe file name."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FimTokens(_Entry):
    """Fill-in-the-middle tokens of a family; `repo` and `file` are empty where it has none."""

    prefix: str
    suffix: str
    middle: str
    repo: str = ""
    file: str = ""
    stops: tuple[str, ...] = ()
    """Texts that end the gap, should the model write on."""

    def pieces(self, prefix: str, suffix: str, context: str, control: Callable[[str], int]) -> list[Piece]:
        """Prompt of a gap. `context` comes first, so that its ids stay the same from gap to gap."""
        gap: list[Piece] = [
            Control(control(self.prefix)),
            prefix,
            Control(control(self.suffix)),
            suffix,
            Control(control(self.middle)),
        ]
        if not context:
            return gap
        if not self.file:
            return [Control(control(self.prefix)), context + "\n" + prefix, *gap[2:]]
        head: list[Piece] = [Control(control(self.repo)), "repository\n"] if self.repo else []
        return [*head, Control(control(self.file)), context + "\n", Control(control(self.file)), *gap]

    def text(self, prefix: str, suffix: str, context: str) -> str:
        """The same prompt as text, for servers that take no ids."""
        names = [self.prefix, self.suffix, self.middle, self.repo, self.file]
        pieces = self.pieces(prefix, suffix, context, names.index)
        return "".join(piece if isinstance(piece, str) else names[piece.id] for piece in pieces)


class Family(_Entry):
    """What models of one family have in common."""

    fim: FimTokens | None = None


class Hub(_Entry):
    """A repository on the Hugging Face Hub, at one revision."""

    repo: str
    revision: str
    file: str = ""
    """Path inside the repository; empty means the entry's file name."""


class Packages(_Entry):
    """Python packages that carry the file in parts, in order 1 .. parts. `{n}` is the part's number."""

    name: str
    member: str
    version: str
    parts: int = Field(ge=1, le=999)


class Entry(_Entry):
    """One model file."""

    title: str = ""
    licence: str = ""
    """SPDX name; empty when unknown."""
    file: str = ""
    """File name on disk; empty means `<name>.gguf`."""
    size: int = 0
    """Bytes; 0 when unknown."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    family: str = ""
    local: tuple[Path, ...] = ()
    hub: Hub | None = None
    packages: Packages | None = None
    url: str = ""


class Catalogue(_Entry):
    """All known models, by name."""

    models: dict[str, Entry] = {}
    families: dict[str, Family] = {}

    def entry(self, name: str) -> Entry:
        """Raises UnknownModel, naming the known ones."""
        if name in self.models:
            return self.models[name]
        known = ", ".join(sorted(self.models))
        raise UnknownModel(f"no model is called {name!r} (known: {known})", "adi model list")

    def fim(self, family: str) -> FimTokens | None:
        return self.families[family].fim if family in self.families else None

    def family_of(self, text: str) -> str:
        """The family whose name occurs in a model's id, such as a served model's; empty when none."""
        plain = text.lower().replace("_", "-")
        return next((family for family in self.families if family in plain), "")


def load(user_file: Path | None = None) -> Catalogue:
    """ADI's catalogue, with the entries of the user's own file added or replaced."""
    own = _parse(files("model").joinpath("catalogue.toml").read_text("utf-8"), "catalogue.toml")
    if user_file is None or not user_file.is_file():
        return own
    theirs = _parse(user_file.read_text("utf-8"), str(user_file))
    for name in theirs.models:
        check_name(name)
    return Catalogue(models=own.models | theirs.models, families=own.families | theirs.families)


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UnknownModel(f"{name!r} cannot be a model's name: letters, digits, '.', '_' and '-' only")
    return name


def register(user_file: Path, name: str, entry: Entry) -> None:
    """Adds a model of the user's own to their catalogue file; what else is in the file stays."""
    check_name(name)
    old = user_file.read_text("utf-8") if user_file.is_file() else ""
    if name in _parse(old, str(user_file)).models:
        raise ModelError(f"{user_file} already has a model {name!r}", f"edit {user_file}")
    user_file.parent.mkdir(parents=True, exist_ok=True)
    fields = entry.model_dump(mode="json", exclude_defaults=True)
    lines = [f'[models."{name}"]', *(f"{key} = {_toml(value)}" for key, value in fields.items())]
    new = user_file.with_suffix(".new")
    new.write_text(old + ("\n" if old else "") + "\n".join(lines) + "\n", "utf-8")
    new.replace(user_file)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, int):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    if not escaped.isprintable():
        raise ModelError(f"cannot be written down: {value!r}")
    return f'"{escaped}"'


def _parse(text: str, where: str) -> Catalogue:
    try:
        return Catalogue.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ModelError(f"{where} is no valid catalogue: {error}", f"edit {where}") from error
