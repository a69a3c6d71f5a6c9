"""A page as a file: a new one, or one that a person wants replaced; never written through a link."""

import secrets
from pathlib import Path

from agent.errors import UsageError


def write(place: Path, content: bytes, *, force: bool) -> None:
    """Write the whole file or none of it. Raises UsageError when it is there already, or cannot be."""
    try:
        if not force:
            with place.open("xb") as stream:
                stream.write(content)
            return
        fresh = place.with_name(f".adi-{secrets.token_hex(6)}")
        try:
            fresh.write_bytes(content)
            fresh.replace(place)
        finally:
            fresh.unlink(missing_ok=True)
    except FileExistsError:
        raise UsageError(f"{place} is there already", "--force replaces it; or name another file") from None
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}", "name another file") from None
