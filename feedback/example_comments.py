"""Examples in the doc comments of other languages, in the language's own syntax: `// >>> f(1)`, `// 2`."""

import re
from collections.abc import Iterator

from feedback.example import CHARS, Example
from feedback.example_blocks import TEXT
from feedback.example_scan import STRING, closing, leading

LANGUAGES = ("js", "ts", "java", "cpp", "rs", "go", "php")
_MARK = re.compile(r"^\s*(?:///?!?|/\*\*?|\*(?!/)|#(?!\w))\s?")
_ENDS = re.compile(r"^\s*(?:\*/|```|\"\"\"|$)")
_CALL = re.compile(r"(?<![\w.>:])([A-Za-z_]\w*)\(")
_ARROW = re.compile(
    r"[`\s)]*(?:==>|=>|-->|->|→|➞|===?|(?:should |must )?(?:returns?|be|equals?)|//\s*(?:=>|->|returns?)?)\s*"
)
_SENTENCE = re.compile(r"^(?!new |return )[A-Za-z]+,? +[A-Za-z]+ ")
_OPEN, _CLOSE = "([{", ")]}"


def comment_examples(text: str, entry: str) -> Iterator[Example]:
    """Examples of one text: a source file, of which the comments count, or words about one."""
    lines = [_MARK.sub("", line) for line in text[:TEXT].split("\n")]
    for index, line in enumerate(lines):
        stripped = line.strip().lstrip("`")
        if stripped.startswith(">>>"):
            call = _statement(stripped[3:])
            expected = _statement(_shown(lines, index + 1))
            if call and expected and (not entry or f"{entry}(" in call):
                yield Example("", call, expected, "", f">>> {call}\n{expected}")
        elif entry and f"{entry}(" in line and len(line) <= CHARS:
            yield from _arrow(line, entry)


def _shown(lines: list[str], index: int) -> str:
    """The first expression below a prompt; more lines are taken while brackets are open."""
    found = ""
    for line in lines[index : index + 30]:
        if _ENDS.match(line) or line.strip().startswith(">>>"):
            break
        found = f"{found} {line.strip()}".strip()
        if _depth(found) == 0:
            return found
    return ""


def _statement(text: str) -> str:
    """The text as one complete expression without its semicolon; empty when it is none."""
    text = text.strip().removesuffix(";").strip()
    bare = STRING.sub('""', text[:CHARS])
    if not text or len(text) > CHARS or _depth(text) or "//" in bare or "/*" in bare or ";" in bare:
        return ""
    unsure = _SENTENCE.match(bare) or "..." in bare or bare.count("'") % 2 or bare.count('"') % 2
    return "" if unsure else text


def _depth(text: str) -> int:
    """Open brackets minus closed ones, those in strings left out."""
    bare = STRING.sub("", text)
    return sum(bare.count(item) for item in _OPEN) - sum(bare.count(item) for item in _CLOSE)


def _arrow(line: str, entry: str) -> Iterator[Example]:
    """`f(1) => 2` with a plain literal."""
    for match in _CALL.finditer(line):
        end = closing(line, match.end() - 1)
        if (
            match[1] != entry
            or end < 0
            or line[: match.start()].rstrip(" `").endswith(("+", "-", "*", "!", "="))
        ):
            continue
        arrow = _ARROW.match(line, end)
        if not arrow:
            continue
        value, rest = leading(line[arrow.end() :])
        call = _statement(line[match.start() : end])
        if value and call and re.match(r"`?\s*(?:[.;]?\s*$|[;,.]\s+[A-Za-z_`]|[(#])", rest):
            yield Example("", call, value, "", line[match.start() :].strip()[:400])
