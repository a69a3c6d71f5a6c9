"""Whose work a run begins with, looked at when it begins: the licence, the author, and a word against use.

Files of the repository are data, and none of them can switch anything on: `.adi/no-train` only ever says no,
a licence's text only counts where its owner allowed the use, and the author's address is never taken from the
repository's own configuration, which may have come with an archive of a stranger.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from feedback.candidate import Licence
from feedback.licences import of_folder
from feedback.permission import has_no_train
from memory.origin import Origin
from sandbox.repository import configured

LONGEST: Final = 254
"""Characters of an e-mail address."""
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


def origin_of(repo: Path, environ: Mapping[str, str] = os.environ, *, copy_of: str = "") -> Origin:
    """What is known of the repository at `repo`, the top of its work tree. Raises nothing: a run goes on.

    A copy's licence is that of the repository it stands for, and either can say no.
    """
    found, author = Licence(), ""
    places = (Path(copy_of or repo), repo)
    with suppress(Exception):  # a stranger's files must not keep a run from starting
        found = of_folder(places[0])
    with suppress(Exception):  # nor must a git that is missing or hangs
        author = author_of(environ)
    return Origin(
        licence=found.spdx,
        licence_source=found.source,
        author=author,
        no_train=any(has_no_train(str(place)) for place in places),
        copy_of=copy_of,
    )


def author_of(environ: Mapping[str, str] = os.environ) -> str:
    """The person's e-mail address as they told git; empty where they did not, or it is none.

    Conditional includes are not followed. Raises what asking git raises.
    """
    told = environ.get("GIT_AUTHOR_EMAIL", "")
    for file in () if told.strip() else _configurations(environ):
        told = configured(file, "user.email")
        if told:
            break
    return _address(told) or _address(environ.get("EMAIL", ""))


def _configurations(environ: Mapping[str, str]) -> Iterator[Path]:
    """The person's own, then the machine's: where git looks outside of a repository, the strongest first."""
    home = environ.get("HOME", "")
    if own := environ.get("GIT_CONFIG_GLOBAL"):
        yield Path(own)
    elif home:
        yield Path(home) / ".gitconfig"
        yield Path(environ.get("XDG_CONFIG_HOME") or Path(home) / ".config") / "git" / "config"
    if environ.get("GIT_CONFIG_NOSYSTEM", "").casefold() not in _TRUE:
        yield Path(environ.get("GIT_CONFIG_SYSTEM") or "/etc/gitconfig")


def _address(text: str) -> str:
    address = text.strip()
    plain = address.isprintable() and len(address) <= LONGEST and len(address.split()) == 1
    return address if plain and "@" in address else ""
