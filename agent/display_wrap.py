"""Lines broken for a terminal in such a way that no stranger's text begins a line of its own.

A terminal that breaks a long line goes on in its first column: enough spaces in the name of a file, and the
rest of the name looks like a line of ADI's, such as a verdict. So ADI breaks lines itself and marks the rest.
"""

from collections.abc import Iterator
from typing import Final, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from agent.inert import inert_line

GOES_ON: Final = "   ↳ "
NARROWEST: Final = 20


def hanging(console: Console, line: Text) -> Iterator[Text]:
    """The line in pieces that fit the terminal; all but the first begin with a mark."""
    width = max(console.width, NARROWEST)
    if cell_len(line.plain) <= width:
        yield line
        return
    first, *rest = line.wrap(console, width - cell_len(GOES_ON), overflow="fold")
    yield first
    for piece in rest:
        yield Text.assemble((GOES_ON, "dim"), piece)


def print_line(console: Console, line: Text) -> None:
    """One line, broken at a terminal, whole anywhere else."""
    pieces = hanging(console, line) if console.file.isatty() else [line]
    for piece in pieces:
        console.print(piece, soft_wrap=True)


def tell(line: str, stream: TextIO) -> None:
    """One line with a stranger's text in it for a person: inert, and broken as above."""
    from agent.display import make_console

    print_line(make_console(stream), Text(inert_line(line)))
