"""Rules by path that a repository carries: what its owner keeps out of training, what is not their own work.

`.adi/no-train` holds patterns in the manner of `.gitignore`: what one matches is left out, with all that lies
below it. An empty file leaves everything out, and so does one that cannot be read: no opt-out is lost to a
slip. `.gitattributes` tells what is generated or vendored, by the attributes that GitHub's linguist reads.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

NO_TRAIN: Final = ".adi/no-train"
ATTRIBUTES: Final = ".gitattributes"
_MAX_RULES: Final = 10_000
"""Lines of one file of rules that are read; a longer opt-out leaves everything out."""
_TOLD: Final = {"linguist-generated": "generated", "linguist-vendored": "vendored"}
_ATTRIBUTE_LINE = re.compile(r'("(?:[^"\\]|\\.)*"|\S+)\s+(.*)')


@dataclass(frozen=True, slots=True)
class Pattern:
    """One glob pattern: names of folders, `*`, `?`, `[...]` within a name, `**` for any number of names."""

    names: tuple[str, ...]
    below: bool
    """It matches what lies below a match, too."""

    def matches(self, path: str) -> bool:
        """Whether it matches a path, such as `a/b.py`. Time grows with names of both, never faster."""
        parts = path.split("/")
        reach = {0}
        for number, name in enumerate(self.names):
            if name == "**":
                last = number == len(self.names) - 1
                reach = set(range(min(reach) + last, len(parts) + 1)) if reach else reach
            else:
                reach = {at + 1 for at in reach if at < len(parts) and fnmatchcase(parts[at], name)}
        return bool(reach) if self.below else len(parts) in reach


def pattern(text: str, *, below: bool) -> Pattern:
    """A pattern of `.gitignore` or `.gitattributes`: without a slash inside, it holds at any depth."""
    body = text.removesuffix("/")
    anchored = "/" in body
    names = [_name(name) for name in body.removeprefix("/").split("/")]
    return Pattern(tuple(names if anchored else ["**", *names]), below)


def _name(name: str) -> str:
    """As fnmatch reads it: there is no escape but a bracket, and `!` negates a set."""
    return re.sub(r"\\(.)", r"[\1]", name).replace("[^", "[!")


@dataclass(frozen=True, slots=True)
class OptOut:
    """What the owner of a repository keeps out of training."""

    everything: bool = False
    patterns: tuple[Pattern, ...] = ()

    def __or__(self, other: "OptOut") -> "OptOut":
        return OptOut(self.everything or other.everything, self.patterns + other.patterns)

    def covers(self, path: str) -> bool:
        return self.everything or any(pattern.matches(path) for pattern in self.patterns)


def opt_out(data: bytes) -> OptOut:
    """From the bytes of `.adi/no-train`. A line that begins with `!` takes nothing back."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return OptOut(everything=True)
    lines = [line.strip() for line in text.splitlines()]
    globs = [line for line in lines if line and not line.startswith(("#", "!"))]
    everything = {"/", ".", "./"}.intersection(globs) or len(globs) > _MAX_RULES
    if not globs or everything or "\0" in text:
        return OptOut(everything=True)
    return OptOut(patterns=tuple(pattern(line.removeprefix("./"), below=True) for line in globs))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What `.gitattributes` files say of paths: the last line that matches decides, deeper files later."""

    rules: tuple[tuple[str, Pattern, Mapping[str, bool]], ...] = ()
    """The folder of the file (`` or such as `a/b/`), its pattern, and what it says."""

    def of(self, path: str) -> dict[str, bool]:
        """`generated` and `vendored`, where something is said of them."""
        found: dict[str, bool] = {}
        for folder, glob, said in self.rules:
            if path.startswith(folder) and glob.matches(path[len(folder) :]):
                found.update(said)
        return found


def attributes(files: Mapping[str, bytes]) -> Attributes:
    """From the bytes of attribute files by their path; rules about other attributes are passed over."""
    rules = list[tuple[str, Pattern, Mapping[str, bool]]]()
    for path in sorted(files, key=lambda path: (path.count("/"), path)):
        folder = path.removesuffix(ATTRIBUTES)
        lines = files[path].decode("utf-8", "surrogateescape").splitlines()[:_MAX_RULES]
        for line in lines:
            found = _ATTRIBUTE_LINE.match(line.strip())
            if found and not line.lstrip().startswith(("#", "[attr]")) and (said := _said(found[2].split())):
                rules.append((folder, pattern(found[1].strip('"'), below=False), said))
    return Attributes(tuple(rules))


def _said(words: Sequence[str]) -> dict[str, bool]:
    """`linguist-vendored`, `linguist-vendored=true`, `-linguist-vendored`, `linguist-vendored=false`."""
    said = {}
    for word in words:
        name, _, value = word.removeprefix("-").partition("=")
        if name in _TOLD:
            said[_TOLD[name]] = not word.startswith("-") and value != "false"
    return said


def in_folders(path: str, names: Iterable[str]) -> bool:
    """Whether one of the folders of a path has one of these names, whatever its case."""
    wanted = set(names)
    return any(part.lower() in wanted for part in path.split("/")[:-1])
