"""What the tests of the code corpus share: files that are like no others, and helpers that are simple."""

import hashlib
import re
from collections import Counter

from feedback import licences, near
from feedback.corpus_record import Corpus, Helpers, Wish
from model.catalogue import load

_TOKENS = load().families["qwen2.5-coder"].fim
assert _TOKENS is not None
TOKENS = _TOKENS
APACHE = "# SPDX-License-Identifier: Apache-2.0\n"
MIT_MANIFEST = '[project]\nname = "a"\nversion = "1"\nlicense = "MIT"\n'


def code(name: str, lines: int = 12) -> str:
    """A function that is like none with another name."""
    words = [hashlib.sha256(f"{name}{n}".encode()).hexdigest() for n in range(lines)]
    body = "".join(f"    v{w[:6]} = measure_{w[6:9]}(left_{w[9:12]}, right_{w[12:15]})\n" for w in words)
    return f"def {name}(value):\n{body}    return value\n"


def scrub(text: str) -> tuple[str, Counter[str]]:
    clean, count = re.subn(r"tok_\w+", "[REDACTED:token:1]", text)
    found = Counter({"token": count, "private-key": text.count("armoured key")})
    return clean, +found


HELPERS = Helpers(
    detect=licences.detect,
    named=lambda said: licences.licence(said, "declared"),
    scrub=scrub,
    duplicates=lambda texts: near.duplicates(texts, threshold=0.85),
    pseudonym=lambda name: f"repo-{hashlib.sha256(name.encode()).hexdigest()[:8]}",
)
LOCAL = Wish(local=True)


def of_step(made: Corpus, name: str) -> dict[str, int]:
    return next(count.reasons for count in made.steps if count.name == name)


def paths(made: Corpus) -> list[str]:
    return [document.path for document in made.documents]
