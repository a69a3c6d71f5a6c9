"""GBNF of one whole action: an optional thought, the header, and a raw fence where the tool takes one.

The header is narrow, the body is free: its lines only may not begin with the fence, and at most three empty
ones follow each other, because a small model that begins to write empty lines does not stop. A file's paths
are written as a tree of common beginnings, which keeps few alternatives open while a path is decoded.
"""

import json
from collections.abc import Sequence
from typing import Final

from tools.arguments import spelled
from tools.protocol import Tool

MAX_PATHS: Final = 300
"""More paths than this are not listed: any safe path is allowed then."""
LONGEST: Final = 500
"""Characters of the longest path that is listed."""

_COMMON = r"""
text ::= [^\x00-\x20] [^\x00-\x1f]{0,290}
number ::= [1-9] [0-9]? [0-9]? [0-9]? [0-9]?
newpath ::= part ("/" part)*
part ::= "."? [a-zA-Z0-9_@+] [a-zA-Z0-9_.@+-]*
body ::= "```" [a-z0-9]* "\n" gap? (line gap?)* "```"
gap ::= blank (blank blank?)?
blank ::= [ \t]* "\n"
line ::= ([ \t]+ [^ \t\n] [^\n]* | [^` \t\n] [^\n]* | "`" ([^`\n] [^\n]*)? | "``" ([^`\n] [^\n]*)?) "\n"
"""


def grammar_of(tools: Sequence[Tool], paths: Sequence[str], thought: bool = True) -> str:
    """The grammar for these tools. `thought` allows one comment line before the action."""
    calls = [
        f'{tool.name} ::= "{tool.name}" {tool.header} "\\n"{" body" if tool.has_body else ""}'
        for tool in tools
    ]
    action = " | ".join(tool.name for tool in tools)
    start = 'root ::= ("# " [^\\n]{1,290} "\\n")? action' if thought else "root ::= action"
    return "\n".join([start, f"action ::= {action}", *calls, f"path ::= {_paths(paths)}"]) + _COMMON


def _paths(paths: Sequence[str]) -> str:
    """The repository's paths, or any safe one when they are too many, or none can be written."""
    plain = sorted({spelled(path) for path in paths if len(path) < LONGEST})
    return _tree(plain) if plain and len(paths) <= MAX_PATHS else "newpath"


def _tree(paths: Sequence[str]) -> str:
    """Alternatives with common beginnings written once."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(path[:1], []).append(path)
    parts = [_branch(members) for members in groups.values()]
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def _branch(members: Sequence[str]) -> str:
    """One group that shares its first character (or is empty)."""
    common = members[0]
    for member in members[1:]:
        while not member.startswith(common):
            common = common[:-1]
    if len(members) == 1:
        return _literal(common)
    return f"{_literal(common)} {_tree([member[len(common) :] for member in members])}"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
