"""Names of people and places as hashes, so that a list of those who are left out does not tell who they are.

The hash has no secret: a list works after the store was copied, and lists of two stores can be put together.
What can be guessed, an address or a path, is hashed slowly (scrypt, about 3 ms and 1 MB each).
"""

import hashlib
import os
import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import urlsplit

HiddenKind = Literal["author", "repository", "session"]

_COST: Final = 2**10
_SCP: Final = re.compile(r"(?:[^/@\s]+@)?([^/:@\s]+):(?!//)(\S+)")
_ADDRESS: Final = re.compile(r".*<([^<>]+)>\s*", re.DOTALL)


@lru_cache(maxsize=4096)
def hidden(kind: HiddenKind, value: str) -> str:
    """32 hex digits that stay the same for all spellings of a value (`normal`)."""
    content = normal(kind, value).encode("utf-8", "surrogatepass")
    salt = f"adi opt-out 1 {kind}".encode()
    if kind == "session":  # random already: there is nothing to guess
        return hashlib.sha256(salt + b"\0" + content).hexdigest()[:32]
    return hashlib.scrypt(content, salt=salt, n=_COST, r=8, p=1, dklen=16).hex()


def normal(kind: HiddenKind, value: str) -> str:
    """One spelling: an address in lower case, the address of a repository as `host/owner/name`, a path."""
    value = unicodedata.normalize("NFC", value.strip())
    match kind:
        case "author":
            named = _ADDRESS.fullmatch(value)
            return (named[1] if named else value).strip().casefold()
        case "repository":
            return _repository(value)
    return value


def _repository(value: str) -> str:
    if "://" in value:
        try:
            parts = urlsplit(value)
            host, path = parts.hostname or "", parts.path
        except ValueError:  # no address after all
            return value
        if not host:  # file:///src/maths
            return os.path.normpath(path)
    elif not value.startswith(("/", ".", "~")) and (found := _SCP.fullmatch(value)):
        host, path = found[1], found[2]
    else:
        return os.path.normpath(value)
    return f"{host}/{path.strip('/').removesuffix('.git')}".casefold()
