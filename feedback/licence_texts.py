"""Licences recognised by sentences that only they have, and by how long their text is.

A permissive licence with more text around it than its own may have terms added to it: it is then unknown.
Copyleft needs no such care, as more terms do not make it permissive.
"""

import re
from dataclasses import dataclass
from typing import Final

from feedback.licence_names import both, is_permissive, named

SHORT: Final = 150
"""Words; a shorter text without a known sentence that names another file only leads there."""
ROOM: Final = 60
"""Words that may stand around the texts of permissive licences: names, notices, a heading."""

NOTICE: Final = 400
"""Words; a longer text is no notice that another licence holds."""


@dataclass(frozen=True, slots=True)
class Print:
    """What makes a licence known: patterns of its words, lower case, one blank between them."""

    spdx: str
    words: int
    """Of its whole text, about."""
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()


_MIT = (
    "granted free of charge to any person obtaining a copy .{0,80}to deal in the software",
    "rights to use copy modify merge publish distribute sublicense and or sell",
)
_MIT_NOTICE = "this permission notice .{0,60}shall be included in all"
_X11 = "except as contained in this notice"
_NOT_MIT = ("good not evil", "font software")
_BSD = (
    "redistribution and use in source and binary forms with or without modification are permitted",
    "redistributions of source code must retain the",
)
_NAMES = "endorse or promote|promote or endorse"
_NOT_BSD = (
    "all advertising materials",
    "complete source code for",
    "nuclear",
    "redistributions in any form must",
    "may not be called",
)
_CLEAR = "no express or implied licen[cs]es to any party s patent"
_BSD_PATENT = "each copyright holder and contributor hereby grants .{0,250}patent license"
_APACHE = ("apache license version 2 0", "grant of copyright license", "grant of patent license")
_APACHE_NOTICE = "licensed under the apache license version 2 0 the license you may not use this"
_NOT_APACHE = (
    "modified apache",
    "educational community license",
    "following modification",
    "runtime library e",
)
_LLVM = "exceptions to the apache 2 0 license"
_PSF = "psf license agreement for python|python software foundation license version 2"
_EUPL = "european union public licence"  # names licences that it is compatible with
_CC = "creative commons"

PRINTS: Final = (
    Print("MIT", 165, (*_MIT, _MIT_NOTICE), (_X11, *_NOT_MIT)),
    Print("MIT-0", 125, _MIT, (_MIT_NOTICE, _X11, *_NOT_MIT, "shall be included")),
    Print("X11", 205, (*_MIT, _MIT_NOTICE, _X11), _NOT_MIT),
    Print("NCSA", 250, ("to deal with the software", _BSD[1], "names of .{0,80}contributors")),
    Print("BSD-2-Clause", 185, (*_BSD, "redistributions in binary form must"),
          (*_NOT_BSD, _NAMES, _CLEAR, _BSD_PATENT, "acknowledg", "is hereby granted free of charge")),
    Print("BSD-2-Clause-Patent", 380, (*_BSD, _BSD_PATENT), (*_NOT_BSD, _NAMES)),
    Print("BSD-3-Clause", 215, (*_BSD, "redistributions in binary form must", _NAMES),
          (*_NOT_BSD, _CLEAR, "acknowledg", "apache software foundation", "php")),
    Print("BSD-3-Clause-Clear", 235, (*_BSD, _NAMES, _CLEAR), _NOT_BSD),
    Print("BSD-4-Clause", 245, (*_BSD, "all advertising materials")),
    Print("ISC", 115, ("permission to use copy modify and (?:or )?distribute this software for any purpose "
          "with or without fee is hereby granted provided that the above copyright notice",)),
    Print("0BSD", 95, ("permission to use copy modify and or distribute this software for any purpose "
          "with or without fee is hereby granted the software is provided",)),
    Print("PostgreSQL", 180, ("any purpose without fee and without a written agreement is hereby granted",)),
    Print("HPND", 170, ("permission to use copy modify and distribute this software and its (?:associated )?"
          "documentation for any purpose and without fee is hereby granted",), ("advertising materials",)),
    Print("Zlib", 135, ("use this software for any purpose including commercial applications and to alter it",
          "altered source versions must be plainly marked"), ("acknowledg[a-z]* .{0,40}is required",)),
    Print("BSL-1.0", 215, ("any person or organization obtaining a copy of the software and accompanying "
          "documentation",)),
    Print("Unlicense", 195, ("this is free and unencumbered software released into the public domain",)),
    Print("CC0-1.0", 1020, ("cc0 1 0", "affirmer", "waiver")),
    Print("WTFPL", 65, ("do what the fuck you want to public license", "just do what the fuck you want")),
    Print("UPL-1.0", 310, ("universal permissive license", "larger works")),
    Print("BlueOak-1.0.0", 310, ("blue oak model license", "no liability")),
    Print("Apache-2.0", 1680, _APACHE, (*_NOT_APACHE, _LLVM)),
    Print("Apache-2.0 WITH LLVM-exception", 1870, (*_APACHE, _LLVM), _NOT_APACHE),
    Print("Apache-2.0", 90, (_APACHE_NOTICE,), (_APACHE[1], *_NOT_APACHE)),
    Print("Python-2.0", 1900, (_PSF, "beopen|cnri")),
    Print("PSF-2.0", 370, (_PSF,), ("beopen", "cnri")),
    Print("MPL-1.1", 0, ("mozilla public license version 1 1",)),
    Print("MPL-2.0", 0, ("mozilla public license v? ?(?:version )?2 0",)),
    Print("GPL-1.0-only", 0, ("gnu general public license version 1 february 1989",)),
    Print("GPL-2.0-only", 0, ("gnu general public license version 2 june 1991",)),
    Print("GPL-3.0-only", 0, ("gnu general public license version 3 29 june 2007",)),
    Print("LGPL-2.0-only", 0, ("gnu library general public license version 2 june 1991",)),
    Print("LGPL-2.1-only", 0, ("gnu lesser general public license version 2 1 february 1999",)),
    Print("LGPL-3.0-only", 0, ("gnu lesser general public license version 3 29 june 2007",)),
    Print("AGPL-3.0-only", 0, ("gnu affero general public license version 3 19 november 2007",)),
    Print("EPL-1.0", 0, ("eclipse public license v 1 0",), (_EUPL,)),
    Print("EPL-2.0", 0, ("eclipse public license v 2 0",), (_EUPL,)),
    Print("EUPL-1.1", 0, ("european union public licence v 1 1",)),
    Print("EUPL-1.2", 0, ("european union public licence v 1 2",)),
    Print("CDDL-1.0", 0, ("common development and distribution license .{0,20}version 1 0",)),
    Print("CDDL-1.1", 0, ("common development and distribution license .{0,20}version 1 1",)),
    Print("OSL-3.0", 0, ("open software license .{0,30}3 0",), (_EUPL,)),
    Print("Artistic-2.0", 0, ("the artistic license 2 0",)),
    Print("OFL-1.1", 0, ("sil open font license version 1 1",)),
    Print("MS-PL", 0, ("microsoft public license",)),
    Print("MS-RL", 0, ("microsoft reciprocal license",)),
    Print("SSPL-1.0", 0, ("server side public license",)),
    Print("BUSL-1.1", 0, ("business source license 1 1",)),
    Print("Elastic-2.0", 0, ("elastic license 2 0",)),
    Print("CC-BY-4.0", 0, (_CC, "attribution 4 0 international")),
    Print("CC-BY-SA-4.0", 0, (_CC, "attribution sharealike 4 0 international")),
)  # fmt: skip
"""In the order in which the parts of a text with several licences are told."""

_NOTICES: Final = (
    ("AGPL", "gnu affero general public license"),
    ("LGPL", "gnu (?:lesser|library) general public license"),
    ("GPL", "gnu general public license"),
)
"""What a file says that gives a notice and not the whole text."""
_RESTRICTED: Final = re.compile(
    r"commons clause|(?<!commercial or )\bnon ?commercial (?:use|purpose|basis)|no derivative"
    r"|not (?:be )?(?:used|use) (?:\w+ ){0,4}(?:train|commercial)|machine learning|must not sell|not evil"
    r"|for evaluation only"
    r"|only be (?:re)?(?:used|distributed)|redistributed and used in|solely for|intent to use"
)
_SPDX: Final = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]{1,300})", re.IGNORECASE)
_COPYRIGHT: Final = re.compile(r"^.{0,6}(?:copyright|©|\(c\)).*$", re.IGNORECASE | re.MULTILINE)


def recognise(text: str) -> str | None:
    """The SPDX expression of a licence's text; empty where it is not known, None where it tells nothing."""
    words = _words(text)
    joined = " ".join(words)
    if not words:  # nothing, or bytes or letters that cannot be read here
        return "" if text.strip() else None
    found = [one for one in PRINTS if _is(one, joined)]
    if not found:
        tag = _SPDX.search(text[:1000])
        return (tag and named(tag[1])) or _notice(joined) or _leads(text, words)
    spdx = both(one.spdx for one in found)
    if not is_permissive(spdx):
        return spdx
    own = sum(one.words * len(re.findall(one.has[0], joined)) for one in found)
    length = len(_words(_COPYRIGHT.sub("", text)))
    if length > own * 1.15 + ROOM or _RESTRICTED.search(joined):
        return ""
    return spdx


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.casefold())


def _is(one: Print, joined: str) -> bool:
    return all(re.search(has, joined) for has in one.has) and not any(
        re.search(lacks, joined) for lacks in one.lacks
    )


def _notice(joined: str) -> str:
    """What `under the terms of the GNU ... either version 3 ... or any later version` names."""
    if joined.count(" ") > NOTICE:
        return ""  # whatever it is, such names in it are those of others
    for kind, name in _NOTICES:
        if re.search(name, joined):
            version = re.search(r"version (2 1|[123])\b", joined)
            number = version[1].replace(" ", ".") if version else ""
            later = "or later" if "any later version" in joined or not version else "only"
            return named(f"{kind} {number} {later}") or ""
    return ""


def _leads(text: str, words: list[str]) -> str | None:
    """None for a short text that only names other files of licences, else unknown."""
    leads = re.search(r"\b(?:licen[cs]e|copying)[.-]\w+", text, re.IGNORECASE)
    return None if leads and len(words) <= SHORT else ""
