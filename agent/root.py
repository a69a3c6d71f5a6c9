"""Makes sure that the six packages are ADI's own: their names are plain, and others use them too."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from agent.errors import EnvironmentMissing

PACKAGES: Final = ("agent", "feedback", "memory", "model", "sandbox", "tools")


def check_root() -> None:
    """Raise EnvironmentMissing when one of the packages would come from somewhere else than this file."""
    root = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        place = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if place != root / name:
            raise EnvironmentMissing(
                f"the Python package {name!r} is not ADI's: it comes from {place or 'nowhere'}, not {root}",
                "env -u PYTHONPATH adi"
                if os.environ.get("PYTHONPATH")
                else "install ADI into a virtual environment of its own",
            )
