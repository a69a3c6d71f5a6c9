"""A strict reader of ADI's own pages, and records whose every text attacks one."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from memory.records import Event

SCRIPT = "<script>alert(1)</script>"
ATTACK = f"\"'><img src=x onerror=alert(1)>{SCRIPT}</style></pre></title>&lt;b&gt;{{{{7*7}}}}{{% raw %}}"
HIDING = "\x1b]52;c;eA==\x07\u202e\u200b\x00\r\x9b31m\U000e0041"
VOID = frozenset({"meta", "br", "hr", "img", "input", "link", "rect"})
"""Elements without an end; `rect` ends itself where it holds no title."""
KNOWN = re.findall(
    r"\S+",
    "a b body code dd details div dl dt figcaption figure footer h1 h2 h4 head header html li main "
    "meta nav ol p pre rect section span style summary svg table tbody td th thead title tr ul ",
)
ATTRIBUTES = re.findall(
    r"\S+",
    "class id lang charset http-equiv content name href viewbox preserveaspectratio role aria-label "
    "aria-hidden x width height data-n open colspan ",
)


class Page(HTMLParser):
    """What a page holds; `faults` is empty for one that is well formed and loads nothing."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.text = ""
        self.styles: list[str] = []
        self.policy = ""
        self.tags: list[str] = []
        self._open: list[str] = []
        source = content.decode("utf-8")
        self.feed(source)
        self.close()
        self.faults += [f"{tag} is not closed" for tag in self._open]
        if not source.startswith("<!DOCTYPE html>"):
            self.faults.append("no doctype")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)
        if tag not in VOID or tag == "rect":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)
        if tag != "rect":
            self.faults.append(f"{tag} ends itself")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"{tag} ends where it did not begin, line {self.getpos()[0]}")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.styles.append(data)
        else:
            self.text += data

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"a comment: {data[:40]}")

    def _look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in KNOWN:
            self.faults.append(f"unknown element {tag}")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self.faults.append(f"unknown attribute {name} of {tag}")
            if name == "href" and not (value or "").startswith("#"):
                self.faults.append(f"leads elsewhere: {value}")
            if name == "content" and (value or "").startswith("default-src"):
                self.policy = value or ""


def attacking(events: Sequence[Event], attack: str) -> list[Event]:
    """The same events with every text that a stranger may write made an attack, its old text before it."""
    made = []
    for event in events:
        payload = _attacked(event.payload, attack)
        made.append(event.model_copy(update={"payload": type(event.payload).model_validate(payload)}))
    return made


def _attacked(record: BaseModel, attack: str) -> dict[str, Any]:
    return {
        name: _value(getattr(record, name), field.annotation, attack)
        for name, field in type(record).model_fields.items()
    }


def _value(value: Any, annotation: Any, attack: str) -> Any:
    if isinstance(value, BaseModel):
        return _attacked(value, attack)
    if annotation is str or (annotation is None and isinstance(value, str)):
        return value + attack
    if isinstance(value, tuple):
        inner = [item for item in get_args(annotation) if item is not Ellipsis]
        kind = inner[0] if len(set(inner)) == 1 else None
        return tuple(_value(item, _bare(kind), attack) for item in value)
    if isinstance(value, dict):
        return {key: _value(item, None, attack) for key, item in value.items()}
    return value


def _bare(annotation: Any) -> Any:
    """Without `Annotated`."""
    return (
        get_args(annotation)[0]
        if get_origin(annotation) is not None and hasattr(annotation, "__metadata__")
        else annotation
    )
