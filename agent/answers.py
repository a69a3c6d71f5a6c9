"""What is taken from a model's answers: whole texts, code blocks, files, functions."""

import ast
import textwrap
from collections.abc import Iterable

from agent.localize import lines_of, parsed
from agent.merge import merged
from agent.syntax import parses
from memory.records import Completion
from tools import guard

SHRINK_LINES = 20
SHRINK_SHARE = 0.6


def block(answer: str) -> str:
    """The first code block of an answer; empty when there is none."""
    _, fence, rest = answer.partition("```")
    return rest.partition("\n")[2].partition("\n```")[0] if fence else ""


def whole(path: str, old: str, new: str) -> str:
    """The file with the answer merged into it; empty when the answer cannot be used: see tools/guard.py."""
    text = merged(path, old, new) if old else f"{new.rstrip()}\n" if new.strip() else ""
    before, after = lines_of(old), lines_of(text)
    if not text or guard.placeholder(after, before) or not parses(path, text):
        return ""
    if guard.shrinks(before, after, SHRINK_LINES, SHRINK_SHARE) or guard.lost_names(path, old, text):
        return ""
    return text


def function_in(answer: str, name: str) -> str:
    """The named function in the first code block of an answer, unindented; empty when there is none."""
    code = textwrap.dedent(block(answer) if "```" in answer else answer)
    tree = parsed(code)
    lines = lines_of(code)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))
    return ""


def finished(answers: Iterable[Completion]) -> list[str]:
    """Texts that ended by themselves, each once."""
    return list(dict.fromkeys(answer.text for answer in answers if answer.finish_reason == "stop"))
