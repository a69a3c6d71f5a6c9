"""Agreement: of several programs that nothing tells apart, the one that behaves as most of them do.

Right programs agree with each other, wrong ones are wrong in their own ways (the clustering of AlphaCode, Li
et al. 2022, section 4.4; dual execution agreement of CodeT, Chen et al. 2022). The programs run on the same
calls in the sandbox and are grouped by what came out. Python only. What comes out is untrusted: it can make
ADI choose another of the model's own programs, nothing else.
"""

import ast
import itertools
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from agent.localize import parsed
from sandbox.protocol import Sandbox

CALLS = 24
"""Calls that the programs are run on."""
CALL_S = 1.0
"""Seconds of one call."""
ALL_S = 60.0
"""Seconds of all programs together."""
_DRIVER = Path(__file__).with_name("agreement_driver.py")
_RESULT = TypeAdapter(list[list[str]])

Behaviour = tuple[str, ...]
"""What came of each call: the result's text, or `!` and the name of the exception."""


def behaviours(sandbox: Sandbox, path: str, texts: Sequence[str], calls: Sequence[str]) -> list[Behaviour]:
    """What each text of the file does on each call; empty when the sandbox gave no usable answer.

    Raises SandboxError.
    """
    token = secrets.token_hex(8)
    order = {"path": path, "texts": list(texts), "calls": list(calls), "seconds": CALL_S, "token": token}
    driver = ".adi/agreement.py"
    sandbox.write({driver: _DRIVER.read_bytes(), ".adi/agreement.json": json.dumps(order).encode()})
    ended = sandbox.run(f"python3 {driver}", timeout_s=ALL_S)
    line = next((line for line in ended.output.splitlines() if line.startswith(token.encode())), b"")
    try:
        found = _RESULT.validate_json(line[len(token) :])
    except ValidationError:
        return []
    whole = len(found) == len(texts) and all(len(row) == len(calls) for row in found)
    return [tuple(row) for row in found] if whole else []


def vote(found: Sequence[Behaviour]) -> int:
    """Index of the first member of the largest group; what raises everywhere counts for little."""
    if not found:
        return 0
    sizes = Counter(found)

    def score(behaviour: Behaviour) -> float:
        quiet = sum(not result.startswith("!") for result in behaviour) / max(1, len(behaviour))
        return sizes[behaviour] * (0.1 + quiet)

    return max(range(len(found)), key=lambda index: (score(found[index]), -index))


def calls_in(text: str, names: Iterable[str]) -> list[str]:
    """Calls of these names in a Python text, each once, as expressions that need nothing around them."""
    tree = parsed(text)
    wanted = set(names)
    found: dict[str, None] = {}
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in wanted:
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if all(_is_closed(argument) for argument in arguments):
                found[ast.unparse(node)] = None
    return list(found)


def _is_closed(node: ast.expr) -> bool:
    """True for an expression without free names."""
    return not any(isinstance(child, ast.Name) for child in ast.walk(node))


def varied(calls: Sequence[str], limit: int = CALLS) -> list[str]:
    """The calls, and calls with slightly other arguments: the inputs where programs differ."""
    trees = [ast.parse(call, mode="eval").body for call in calls]
    others = [_variants(tree) for tree in trees if isinstance(tree, ast.Call)]
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*others))
    return list(dict.fromkeys([*calls, *(item for item in mixed if item is not None)]))[:limit]


def _variants(call: ast.Call) -> Iterator[str]:
    for index, argument in enumerate(call.args):
        try:
            value = ast.literal_eval(argument)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        for new in _values(value):
            arguments = [ast.unparse(other) for other in call.args]
            arguments[index] = repr(new)
            arguments += [ast.unparse(keyword) for keyword in call.keywords]
            yield f"{ast.unparse(call.func)}({', '.join(arguments)})"


def _values(value: object) -> list[object]:
    """Values near this one, of its type."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1, 0, value * 2 + 1, -value]
        case float():
            return [value + 0.5, 0.0, -value]
        case str():
            return [value[::-1], value[:-1], value + value, "", value.swapcase()]
        case list():
            return [value[::-1], value[:-1], value + value, []]
        case tuple():
            return [value[::-1], value[:-1], value + value]
        case _:
            return []
