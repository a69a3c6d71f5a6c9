"""A notebook as the script that it is: its code, its text as comments, nothing of its outputs."""

import json
from typing import Any, Final

LANGUAGES: Final = {
    "python": "Python",
    "r": "R",
    "julia": "Julia",
    "javascript": "JavaScript",
    "scala": "Scala",
}
"""Names of kernels' languages whose comments begin with `#` or `//`, and what a corpus calls them."""
_SLASHES: Final = ("JavaScript", "Scala")


def script_of(text: str) -> tuple[str, str]:
    """Language and script of a notebook (format 4); two empty texts where it is none, or in another language.

    Cells begin with `# %%`, as editors mark them in scripts. Lines for the shell that runs the notebook
    (`%matplotlib`, `!ls`) become comments, or the script would not parse.
    """
    try:
        book = json.loads(text)
        told = book.get("metadata", {})
        name = told.get("language_info", {}).get("name") or told.get("kernelspec", {}).get(
            "language", "python"
        )
        cells = [(str(cell["cell_type"]), _source(cell["source"])) for cell in book["cells"]]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return "", ""
    language = LANGUAGES.get(str(name).lower(), "")
    mark = "//" if language in _SLASHES else "#"
    parts = [part for kind, source in cells if (part := _cell(kind, source, mark))]
    return (language, "\n\n".join(parts) + "\n") if language and parts else ("", "")


def _source(value: Any) -> str:
    """A cell's text: one string, or a list of lines with their ends. Raises TypeError for anything else."""
    return value if isinstance(value, str) else "".join(value)


def _cell(kind: str, source: str, mark: str) -> str:
    lines = source.rstrip().splitlines()
    if not any(line.strip() for line in lines):
        return ""
    if kind == "code":
        if lines[0].startswith("%%"):  # a cell for another program
            return ""
        return f"{mark} %%\n" + "\n".join(
            f"{mark} {line}" if line.lstrip().startswith(("%", "!")) else line for line in lines
        )
    return f"{mark} %% [markdown]\n" + "\n".join(f"{mark} {line}".rstrip() for line in lines)
