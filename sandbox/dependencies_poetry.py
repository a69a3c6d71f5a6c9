"""Poetry's own tables as requirements: its `^` and `~` say in one number what PEP 440 says in two."""

import re
from collections.abc import Iterator, Mapping

_NUMBER = re.compile(r"([\^~])\s*(\d{1,9}(?:\.\d{1,9}){0,4})([\w.+-]{0,40})", re.ASCII)
_PLAIN = re.compile(r"\d[\w.*+!]*", re.ASCII)


def requirement(name: str, asked: object) -> str:
    """One entry as a requirement; an empty text when it is optional. Raises ValueError when it is none."""
    extras = ""
    if isinstance(asked, Mapping):
        if asked.get("optional"):
            return ""
        if not set(asked) <= {"version", "extras", "optional", "python", "markers", "allow-prereleases"}:
            raise ValueError("it does not come from an index")
        listed = asked.get("extras")
        extras = f"[{','.join(map(str, listed))}]" if isinstance(listed, list) and listed else ""
        asked = asked.get("version")
    if not isinstance(asked, str) or "|" in asked:
        raise ValueError("its versions are no single range")
    return f"{name}{extras}{','.join(_clauses(asked))}"


def _clauses(asked: str) -> Iterator[str]:
    for clause in filter(None, (part.strip() for part in asked.split(","))):
        if clause == "*":
            continue
        found = _NUMBER.fullmatch(clause)
        if found:
            yield f">={found[2]}{found[3]},<{_end(found[1], [int(part) for part in found[2].split('.')])}"
        else:
            yield f"=={clause}" if _PLAIN.fullmatch(clause) else clause


def _end(sign: str, numbers: list[int]) -> str:
    """The first version that is too new: `^` keeps the first number that is not 0, `~` the first two."""
    if sign == "~":
        place = min(1, len(numbers) - 1)
    else:
        place = next((index for index, number in enumerate(numbers) if number), len(numbers) - 1)
    return ".".join(map(str, [*numbers[:place], numbers[place] + 1]))
