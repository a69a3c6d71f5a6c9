"""A folder of issues as Markdown files, one each, with or without front matter.

    ---
    title: The total is wrong          # else the first heading
    id: totals-1                       # else the file's path below the folder, without its ending
    repo: shop/till                    # looked for below --repos
    base: v1.2
    checks: [python3 -m pytest -q]     # one command or several
    labels: [bug]
    state: open
    ---

`README.md` files tell about the folder and are no issues.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from agent.backlog_files import Unreadable, files_below, text_of
from agent.backlog_item import MAX_BODY, Bad, reason
from agent.backlog_repos import Found

MAX_FRONT: Final = 64 * 1024
_FRONT: Final = re.compile(r"---[ \t]*\n(.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_ATX: Final = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*")
_RULED: Final = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE: Final = re.compile(r" {0,3}(```+|~~~+)")


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) and value.strip() else value or ()


Texts = Annotated[tuple[str, ...], BeforeValidator(_several)]


class Front(BaseModel):
    """What front matter may say; other keys are those of other tools."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = ""
    title: str = ""
    repo: str = ""
    base: str = ""
    checks: Texts = ()
    labels: Texts = ()
    url: str = ""
    state: Literal["open", "closed"] = "open"


def read_folder(folder: Path) -> Iterator[Found | Bad]:
    """The issues in the order of their paths."""
    for file in files_below(folder, ".md"):
        if file.name.lower() != "readme.md":
            yield read_file(file, folder)


def read_file(file: Path, folder: Path) -> Found | Bad:
    """One issue."""
    name = file.relative_to(folder).as_posix()
    try:
        text = text_of(file, folder)
        front, body, line = _parted(text)
        return _found(name, Front.model_validate(front), body, line)
    except Unreadable as error:
        return Bad(where=name, why=str(error))
    except ValidationError as error:
        return Bad(where=f"{name}, front matter", why=reason(error))


def _found(name: str, front: Front, body: str, line: int) -> Found:
    if len(body) > MAX_BODY:
        raise Unreadable(f"has {len(body)} characters, at most {MAX_BODY}")
    title, rest = (front.title.strip(), body) if front.title.strip() else _titled(body)
    if not title:
        raise Unreadable("has no text")
    return Found(
        where=name,
        project=front.repo.strip(),
        values={
            "key": front.id.strip() or name[: -len(".md")],
            "title": title,
            "body": rest.strip(),
            "base": front.base.strip(),
            "checks": tuple(command for command in front.checks if command.strip()),
            "labels": front.labels,
            "url": front.url if front.url.startswith(("https://", "http://")) else "",
            "state": front.state,
            "meta": {"kind": "markdown", "project": front.repo.strip(), "file": name, "line": line},
        },
    )


def _parted(text: str) -> tuple[dict[str, Any], str, int]:
    """Front matter, the rest, and the line on which that begins. Raises Unreadable."""
    found = _FRONT.match(text[: MAX_FRONT + 10])
    if found is None:
        return {}, text, 1
    try:
        # Every scalar stays a text: a commit such as 0123456 or 12e5 is no number, a title `no` no boolean.
        value = yaml.load(found[1] or "", Loader=_Strict)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 2}" if error.problem_mark else ""
        raise Unreadable(f"front matter{line}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Unreadable("front matter: is not YAML") from None
    if not isinstance(value, dict):
        if not (found[1] or "").strip():
            value = {}
        else:
            return {}, text, 1  # a rule, a text, and another rule
    front = {key: each for key, each in value.items() if isinstance(key, str) and each != ""}
    return front, text[found.end() :], found[0].count("\n") + 1


class _Strict(yaml.BaseLoader):
    """Only texts, lists and maps; a key that is there twice is an error, and so is an alias."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _value in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[:60]!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def _titled(body: str) -> tuple[str, str]:
    """The first heading and the text without it; else the first line, which stays in the text."""
    lines = body.split("\n")
    fence = ""
    for at, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        if fence or mark:
            continue
        heading = _ATX.fullmatch(line)
        if heading and heading[1]:
            return heading[1], "\n".join(lines[:at] + lines[at + 1 :])
        ruled = at + 1 < len(lines) and line.strip() and _RULED.fullmatch(lines[at + 1])
        if ruled and not _RULED.fullmatch(line):
            return line.strip(), "\n".join(lines[:at] + lines[at + 2 :])
    first = next((line.strip() for line in lines if line.strip()), "")
    return (first, body) if len(first) <= 200 else (f"{first[:199]}…", body)
