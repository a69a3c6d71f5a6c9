"""Texts cut into words and hashed in runs of n: what near-duplicates and held-out texts are compared by.

The hashes are the same on every machine and in every process. At 64 bits, two different runs of words among
a hundred million share a hash with a probability of about one in 3,700.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Tokeniser = Callable[[str], list[str]]

_UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Characters of scripts that put no spaces between words: each counts as one."""
_ASCII_WORD: Final = re.compile(r"\w+")
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_ASCII_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_TOKEN: Final = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)


def words(text: str) -> list[str]:
    """Words and numbers in lower case, without what stands between them."""
    folded = text.casefold()
    return (_ASCII_WORD if folded.isascii() else _WORD).findall(folded)


def tokens(text: str) -> list[str]:
    """Words, numbers and single signs as they are written: for code, where `<` and `<=` differ."""
    return (_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text)


@lru_cache(maxsize=1 << 18)
def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def hashed(found: Sequence[str]) -> Hashes:
    """A hash for each word, in their order."""
    return np.fromiter(map(_hash, found), dtype=np.uint64, count=len(found))


def grams(of: Hashes, n: int) -> Hashes:
    """A hash for each run of n hashes, in their order; none where there are fewer."""
    count = max(0, len(of) - n + 1)
    found = np.full(count, n, dtype=np.uint64)
    for start in range(n):
        found = (found ^ of[start : start + count]) * _ODD
        found ^= found >> _HALF
    return found


def shingles(found: Sequence[str], n: int) -> Hashes:
    """The set of runs of n words, as ascending hashes; of fewer words the one run that there is."""
    return np.unique(grams(hashed(found), min(n, len(found)))) if found else hashed(())


def jaccard(one: Hashes, other: Hashes) -> float:
    """Shared among all, of two sets in ascending order; 0 where one is empty."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared) if shared else 0.0


_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_ESCAPED: Final = re.compile(r"\\[nrt]")
_LINK: Final = re.compile(r"\]\([^()\s]*\)")
_MARK: Final = re.compile(r"^[ \t>]*(?:[-*+]|\d{1,3}[.)])[ \t]+", re.M)
_EMPHASIS: Final = re.compile(r"(?<!\w)_+|_+(?!\w)")
_TRACE: Final = re.compile(r'^\s*(?:Traceback \(most recent call last\):|File "[^"\n]*", line \d+.*)$', re.M)
_BLOCK: Final = re.compile(r"/\*.*?\*/", re.S)
_COMMENT: Final = re.compile(
    r"^[ \t]*//.*$|(?<=\s)//[ \t]*[^\W\d]+[ \t]+\w.*$|(?:^|(?<=\s))(?:#|--[ \t]|;;).*$", re.M
)
"""Behind code, `//` begins a comment where two words follow it: it divides, too."""
_IMPORT: Final = re.compile(
    r"^\s*(?:import\s|from\s+\S+\s+import\b|#\s*include\b|using\s|use\s|package\s|require\b).*$", re.M
)


def plain(text: str) -> str:
    """Without what is written differently and reads the same: widths, invisible signs, escaped line ends."""
    text = text if text.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return _ESCAPED.sub("\n", text)


def prose(text: str) -> str:
    """Text without Markdown's signs, HTML's escapes and the lines that all Python tracebacks share."""
    bare = _LINK.sub("] ", html.unescape(plain(text)))
    return _EMPHASIS.sub(" ", _MARK.sub("", _TRACE.sub("", bare)))


def code(text: str) -> str:
    """Code without its comments and imports, in whatever language; what is cut of another is cut of all."""
    return _COMMENT.sub("", _IMPORT.sub("", _BLOCK.sub(" ", plain(text))))
