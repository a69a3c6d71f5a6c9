"""What the manifests of packages say of their licence. They are read as data: nothing of them is run.

Each reader gives an SPDX expression, an empty text where a licence is named that cannot be told, or None
where nothing is said. Broken files say nothing.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from typing import Any, Final
from xml.etree import ElementTree

from feedback.licence_names import both, either, named
from feedback.licence_texts import recognise

LONG: Final = 120
"""Characters; what is longer in a manifest is a licence's text and no name."""
_CLASSIFIER: Final = re.compile(r"License\s*::\s*(?:OSI Approved\s*::\s*)?([^\n:\"']+)")
_KEYWORD: Final = re.compile(r"\blicen[cs]e\s*=\s*(?:\"([^\"\n]{1,200})\"|'([^'\n]{1,200})')")
_GEM: Final = re.compile(r"\.licen[cs]es?\s*=\s*([^\n#]{1,300})")
_QUOTED: Final = re.compile(r"[\"']([^\"']{1,200})[\"']|%w[\[({]([^\])}]{1,200})")


def said_by(name: str, text: str) -> str | None:
    """What a manifest of this file name says; None too for a file that is no manifest."""
    read = _READERS.get(name.casefold()) or (_gemspec if name.casefold().endswith(".gemspec") else None)
    if read is None:
        return None
    try:
        return read(text)
    except (ValueError, TypeError, AttributeError, RecursionError, ConfigError, ElementTree.ParseError):
        return None  # a stranger's file, broken or of another shape


def is_manifest(name: str) -> bool:
    """Whether `said_by` reads files of this name."""
    return name.casefold() in _READERS or name.casefold().endswith(".gemspec")


def _pyproject(text: str) -> str | None:
    found = tomllib.loads(text)
    tables = (found.get("project", {}), found.get("tool", {}).get("poetry", {}))
    for table in tables:
        licence = table.get("license")
        said = _field(licence.get("text") if isinstance(licence, dict) else licence)
        if said is None:
            said = _classified(table.get("classifiers", ()))
        if said is not None:
            return said
    return None


def _setup_cfg(text: str) -> str | None:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    said = _field(parser.get("metadata", "license", fallback=parser.get("metadata", "licence", fallback="")))
    return said if said is not None else _classified([parser.get("metadata", "classifiers", fallback="")])


def _setup_py(text: str) -> str | None:
    found = _KEYWORD.search(text)
    said = _field(found[1] or found[2]) if found else None
    return said if said is not None else _classified([text])


def _package_json(text: str) -> str | None:
    found = json.loads(text)
    licence = found.get("license")
    if licence is None:
        licence = found.get("licenses")
    if isinstance(licence, list):
        return either(_type(one) for one in licence)
    return _field(_type(licence))


def _type(licence: Any) -> Any:
    """Old manifests have an object with `type` and `url`."""
    return licence.get("type") if isinstance(licence, dict) else licence


def _cargo(text: str) -> str | None:
    found = tomllib.loads(text)
    licence = found.get("package", {}).get("license")
    if not isinstance(licence, str):  # absent, or taken from the workspace
        licence = found.get("workspace", {}).get("package", {}).get("license")
    return _field(licence)


def _composer(text: str) -> str | None:
    licence = json.loads(text).get("license")
    return either(licence) if isinstance(licence, list) else _field(licence)


def _pom(text: str) -> str | None:
    """Of several, one may choose, as Maven defines it."""
    if "<!" in re.sub(r"<!--.*?-->|<!\[CDATA\[", "", text, flags=re.DOTALL):
        return None  # no manifest needs a document type, and entities can grow without bound
    root = ElementTree.fromstring(text.strip())
    own = [child for child in root if _tag(child) == "licenses"]
    names = [name.text or "" for part in own for one in part for name in one if _tag(name) == "name"]
    return either(names)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _gemspec(text: str) -> str | None:
    found = _GEM.search(text)
    if not found:
        return None
    names = [name for one, many in _QUOTED.findall(found[1]) for name in ([one] if one else many.split())]
    return _all(named(name) for name in names)


def _field(value: Any) -> str | None:
    """A name, an expression, or a whole text in its place."""
    if not isinstance(value, str):
        return None
    return recognise(value) if len(value) > LONG and "\n" in value.strip() else named(value)


def _classified(values: Iterable[Any]) -> str | None:
    """What trove classifiers say; of several all hold, as they do not tell of a choice."""
    texts = [value for value in values if isinstance(value, str)]
    return _all(named(name) for text in texts for name in _CLASSIFIER.findall(text))


def _all(said: Iterable[str | None]) -> str | None:
    found = [spdx for spdx in said if spdx is not None]
    return both(found) if found else None


_READERS: Final[Mapping[str, Callable[[str], str | None]]] = {
    "pyproject.toml": _pyproject,
    "setup.cfg": _setup_cfg,
    "setup.py": _setup_py,
    "package.json": _package_json,
    "cargo.toml": _cargo,
    "composer.json": _composer,
    "pom.xml": _pom,
}
