"""Where a call ends and a literal begins, in text of which only a part is code.

Everything here looks at no more than CHARS characters ahead, so hostile text costs little.
"""

import ast
import re
import warnings

from feedback.example import CHARS

_TOKEN = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|[()\[\]{}]""")
_DEEP = 60
"""Brackets within each other; Python itself allows no more than 200."""
_CLOSES = {"(": ")", "[": "]", "{": "}"}
STRING = re.compile(r"""[rRbBuU]{0,2}(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""")
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?j?(?![\w])")
_WORD = re.compile(r"(?:True|False|None|true|false|null|none|TRUE|FALSE)\b(?![(\[]|\.\w)")
_CLIKE = re.compile(r"(?:true|false|null|nil|undefined|None)\b(?![(\[]|\.\w)")
_NAMES = {"true": "True", "false": "False", "null": "None", "none": "None", "TRUE": "True", "FALSE": "False"}
_MAKER = re.compile(r"[A-Za-z_][\w.]{0,80}(?=\()")
_POSTFIX = re.compile(r"\.[A-Za-z_]\w*|(?=[(\[])")


def closing(text: str, start: int) -> int:
    """Index after the bracket that closes the one at `start`; -1 where there is none near."""
    stack: list[str] = []
    for match in _TOKEN.finditer(text, start, start + CHARS):
        token = match[0]
        if token in _CLOSES:
            stack.append(_CLOSES[token])
            if len(stack) > _DEEP:
                return -1
        elif token in ")]}":
            if not stack or stack.pop() != token:
                return -1
            if not stack:
                return match.end()
    return -1


def call_end(text: str, bracket: int) -> int:
    """Index after the call whose first bracket is at `bracket`, with attributes and calls on its result."""
    end = closing(text, bracket)
    while end > 0 and (match := _POSTFIX.match(text, end)):
        following = closing(text, end) if not match[0] else match.end()
        if following < 0:
            break
        end = following
    return end


def leading(text: str) -> tuple[str, str]:
    """The literal of C-like languages that the text begins with, and the rest: a number, text or word."""
    text = text.lstrip(" \t`")
    match = STRING.match(text) or _NUMBER.match(text) or _CLIKE.match(text)
    return (match[0], text[match.end() :]) if match else ("", text)


def literal(text: str) -> tuple[str, str]:
    """The Python literal that the text begins with, and the rest; empty where there is none."""
    text = text.lstrip(" \t`")
    if match := STRING.match(text):
        end = match.end()
    elif text[:1] in ("(", "[", "{"):
        end = closing(text, 0)
    elif match := _NUMBER.match(text) or _WORD.match(text):
        end = match.end()
    elif match := _MAKER.match(text):
        end = closing(text, match.end())
    else:
        return "", text
    found = python_value(text[:end]) if end > 0 else ""
    return (found, text[end:]) if found else ("", text)


def python_value(text: str) -> str:
    """The text as a Python expression of literals only, lower-case names mended; empty when it is none."""
    text = _NAMES.get(text.strip(), text.strip())
    node = expression(text)
    if node is None:
        return ""
    if not _plain(node):
        mended = re.sub(r"\b(?:true|false|null)\b", lambda match: _NAMES[match[0]], text)
        node = expression(mended) if mended != text and '"' not in text and "'" not in text else None
        text = mended
    return text if node is not None and _plain(node) else ""


def _plain(node: ast.expr) -> bool:
    """Constants, containers of them, and calls of a constructor by name on them; no `...`."""
    allowed = (
        ast.Constant,
        ast.List,
        ast.Tuple,
        ast.Set,
        ast.Dict,
        ast.UnaryOp,
        ast.Load,
        ast.USub,
        ast.UAdd,
    )
    waiting: list[ast.AST] = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, ast.Call):
            if not isinstance(item.func, ast.Name | ast.Attribute):
                return False
            waiting.extend([*item.args, *(keyword.value for keyword in item.keywords)])
        elif not isinstance(item, allowed) or (isinstance(item, ast.Constant) and item.value is ...):
            return False
        else:
            waiting.extend(ast.iter_child_nodes(item))
    return True


def expression(text: str) -> ast.expr | None:
    """The text as one Python expression; None when it is none."""
    node = parsed(text, "eval")
    return node.body if isinstance(node, ast.Expression) else None


def statements(text: str) -> list[ast.stmt] | None:
    """The text as Python statements; None when it is no Python."""
    node = parsed(text, "exec")
    return node.body if isinstance(node, ast.Module) else None


def parsed(text: str, mode: str) -> ast.AST | None:
    """The tree of a text, whatever it holds; None when it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes such as "\\d" in what a stranger wrote
            return ast.parse(text, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def names_in(node: ast.AST) -> set[str]:
    """Names that an expression reads from outside of itself."""
    own: set[str] = set()
    read: set[str] = set()
    for item in ast.walk(node):
        if isinstance(item, ast.Name):
            (read if isinstance(item.ctx, ast.Load) else own).add(item.id)
        elif isinstance(item, ast.arg):
            own.add(item.arg)
    return read - own
