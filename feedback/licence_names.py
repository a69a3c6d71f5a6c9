"""Names of licences as people write them, brought into SPDX expressions; which of them are permissive.

Common names are looked up in a table, so that a run's start pays nothing for them; everything else is parsed
by `license-expression`, whose index is read once in a process (about 50 ms).
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

# fmt: off
PERMISSIVE: Final = frozenset({
    "0BSD", "Apache-2.0", "BlueOak-1.0.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-2-Clause-Patent",
    "BSD-3-Clause", "BSD-3-Clause-Clear", "BSL-1.0", "CC0-1.0", "curl", "HPND", "ISC", "libpng-2.0", "MIT",
    "MIT-0", "MIT-CMU", "NCSA", "PostgreSQL", "PSF-2.0", "Python-2.0", "Python-2.0.1", "Unicode-3.0",
    "Unicode-DFS-2016", "Unlicense", "UPL-1.0", "WTFPL", "X11", "Zlib",
})
# fmt: on
"""SPDX ids whose terms ask for notices at most. Weak copyleft (MPL, LGPL, EPL), advertising clauses
(BSD-4-Clause), licences of content (CC-BY) and everything that is not named here is not permissive."""

LONGEST: Final = 300
"""Characters of a name or an expression; a longer one is not read."""

_NAMES: Final = {
    "0BSD": "0bsd bsd0clause bsd0 zeroclausebsd",
    "Apache-2.0": "apache apache2 apache20 apachesoftware apachesoftware20 apachesoftware2 asl2 asl20",
    "Artistic-2.0": "artistic2 artistic20",
    "BSD-2-Clause": "bsd2 bsd2clause 2clausebsd simplifiedbsd bsd2clausesimplified freebsd",
    "BSD-3-Clause": "bsd3 bsd3clause 3clausebsd newbsd modifiedbsd revisedbsd bsd3clausenew",
    "BSL-1.0": "bsl10 boost boostsoftware boostsoftware10 boostsoftware10bsl10",
    "CC0-1.0": "cc0 cc010 cc010universal cc010universalcc010publicdomaindedication",
    "EPL-1.0": "epl1 epl10 eclipsepublic10 eclipsepublic1",
    "EPL-2.0": "epl2 epl20 eclipsepublic20 eclipsepublic2 eclipsepublic20epl20",
    "EUPL-1.2": "eupl12 europeanunionpubliclicence12eupl12 europeanunionpublic12eupl12",
    "ISC": "isc isciscl",
    "MIT": "mit mitmit expat mitexpat",
    "MIT-0": "mit0 mitnoattribution mitnoattributionmit0",
    "MPL-1.1": "mpl11 mozillapublic11 mozillapublic11mpl11",
    "MPL-2.0": "mpl2 mpl20 mozillapublic2 mozillapublic20 mozillapublic20mpl20",
    "PSF-2.0": "psf psf2 psf20 pythonsoftwarefoundation",
    "PostgreSQL": "postgresql",
    "Unlicense": "unlicense unlicenseunlicense",
    "WTFPL": "wtfpl dowhatthefuckyouwanttopublic",
    "Zlib": "zlib zliblibpng",
}
_BY_KEY: Final = {key: spdx for spdx, keys in _NAMES.items() for key in keys.split()}
_SILENT: Final = frozenset(
    {
        "bsd",
        "bsdlike",
        "bsdstyle",
        "osiapproved",
        "dfsgapproved",
        "unknown",
        "other",
        "custom",
        "dual",
        "file",
    }
)
"""Words that leave open which licence it is: another source has to tell, and nothing else is claimed."""
_POINTER: Final = re.compile(r"see\b.*|file:.*|\S*(?:licen[cs]e|copying)(?:[.-]\w+)*", re.IGNORECASE)
_GNU: Final = re.compile(r"\b([al]?)gpl|(?:(affero|lesser|library)\s+)?general\s+public\s+licen[cs]e")
_OLDEST: Final = {"": "1.0", "L": "2.0", "A": "1.0"}
_OPERATOR: Final = re.compile(r"\s+(or|and)\s+|\s*(/|,|\|\|?|&)\s*", re.IGNORECASE)
_ID: Final = re.compile(r"[A-Za-z0-9][\w.+-]*")


def named(text: str) -> str | None:
    """The SPDX expression that a text names; empty where it names what cannot be told, None where nothing."""
    text = " ".join(text.split())
    key = _key(text)
    if not key or key in _SILENT or (_POINTER.fullmatch(text) and key not in _BY_KEY):
        return None
    return normalised(text)


def normalised(text: str) -> str:
    """The SPDX expression that a text stands for, such as `MIT` for `The MIT License`; empty for none."""
    text = " ".join(text.split())
    if not text or len(text) > LONGEST:
        return ""
    return _BY_KEY.get(_key(text)) or _parsed(text) or _gnu(text) or _joined(text)


def is_permissive(spdx: str) -> bool:
    """Whether a normalised expression lets one choose permissive terms: any side of OR, all sides of AND."""
    if _ID.fullmatch(spdx):
        return spdx in PERMISSIVE
    tree = _tree(spdx)
    return tree is not None and _allows(tree)


def both(expressions: Iterable[str]) -> str:
    """One expression that holds where all of these do; empty where one of them is."""
    distinct = list(dict.fromkeys(expressions))
    if len(distinct) == 1 or not all(distinct):
        return distinct[0] if len(distinct) == 1 else ""
    return " AND ".join(f"({one})" if " OR " in one else one for one in distinct)


def either(names: Iterable[str]) -> str | None:
    """One expression of names among which one may choose; see `named` for empty and None."""
    found = [spdx for name in names if (spdx := named(name)) is not None]
    if not found:
        return None
    distinct = list(dict.fromkeys(found))
    return " OR ".join(distinct) if all(distinct) else ""


def ids(spdx: str) -> frozenset[str]:
    """The licences in an expression, without `-only` and `-or-later`: the same text goes with all of them."""
    words = re.sub(r"\bWITH\s+\S+", "", spdx).replace("(", " ").replace(")", " ").split()
    return frozenset(re.sub(r"-(only|or-later)$", "", word) for word in words if word not in ("AND", "OR"))


def _key(text: str) -> str:
    """Letters, digits and `+` of a name, without the words that all names have."""
    plain = re.sub(r"\bthe\b|\blicen[cs]ed?\b|\blicen[cs]es\b|\bonly\b|\bunder\b|['\"]", " ", text.casefold())
    plain = re.sub(r"v(?:er(?:sion)?)?[.\s]*(?=\d)", "", plain)
    return re.sub(r"[^a-z0-9+]", "", plain)


def _gnu(text: str) -> str:
    """A licence of the GNU family in prose; where no version is said, any of them holds."""
    lower = re.sub(r"\bor\s+(?:\w+\s+)?(?:later|newer|greater)\b|\blater\b", "+", text.casefold())
    found = _GNU.search(lower)
    if not found or _OPERATOR.search(lower) or "exception" in lower or " with " in lower:
        return ""
    kind = {"affero": "A", "lesser": "L", "library": "L"}.get(found[2] or "", (found[1] or "").upper())
    version = re.search(r"[123](?:\.[01])?", lower)
    if version is None:
        return f"{kind}GPL-{_OLDEST[kind]}-or-later"
    number = version[0] if "." in version[0] else f"{version[0]}.0"
    spdx = f"{kind}GPL-{number}-{'or-later' if '+' in lower else 'only'}"
    return spdx if _tree(spdx) is not None else ""


def _joined(text: str) -> str:
    """Names joined by words or signs, such as `MIT/Apache-2.0`: only `/`, `|` and `or` leave the choice."""
    parts = _OPERATOR.split(text)
    if len(parts) < 4 or len(parts) > 16:
        return ""
    names = [_BY_KEY.get(_key(part)) or _parsed(part) or _gnu(part) for part in parts[::3]]
    if not all(names):
        return ""
    signs = [word or sign for word, sign in zip(parts[1::3], parts[2::3], strict=True)]
    joints = ["OR" if sign.casefold() in ("or", "/", "|", "||") else "AND" for sign in signs]
    if len(set(joints)) > 1:
        return ""  # which binds closer is not said
    return f" {joints[0]} ".join(f"({name})" if " " in name else name for name in names)


@cache
def _licensing() -> tuple[Any, type[Exception]]:
    """The parser of SPDX expressions, and what it raises."""
    from license_expression import ExpressionError, get_spdx_licensing  # type: ignore[import-untyped]

    return get_spdx_licensing(), ExpressionError


def _parsed(text: str) -> str:
    """As SPDX writes it; empty where it is no expression of known ids."""
    tree = _tree(text)
    return "" if tree is None else str(tree.render())


def _tree(text: str) -> Any:
    """The parsed expression; None where it is none."""
    known, error = _licensing()
    try:
        tree = known.parse(text[:LONGEST], strict=True)
        return None if tree is None or known.unknown_license_keys(tree) else tree
    except (error, RecursionError):
        return None


def _allows(node: Any) -> bool:
    known, _ = _licensing()
    if isinstance(node, known.AND):
        return all(_allows(side) for side in node.args)
    if isinstance(node, known.OR):
        return any(_allows(side) for side in node.args)
    plain = getattr(node, "license_symbol", node)  # an exception only adds permissions
    return plain.key in PERMISSIVE
