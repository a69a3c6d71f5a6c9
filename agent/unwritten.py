"""Which functions of a file wait for a body that the task asks for, and where it begins."""

from agent.source import lines_of
from agent.syntax import functions, is_stub, stub_line


def unwritten(path: str, text: str, task: str) -> list[str]:
    """Names of functions without a body: those that the task names, or all where the file has nothing else.

    An abstract method of a real program is no task.
    """
    spans = functions(path, text)
    names = [span.name for span in spans if is_stub(path, text, span)]
    return names if len(names) == len(spans) else [name for name in names if name in task]


def lead(path: str, text: str, task: str) -> str:
    """The text up to the one body that is to be written; empty where several wait, or it has no own line.

    An answer that begins with this says nothing again (benchmarks/results/humaneval.md has the figures).
    """
    names = unwritten(path, text, task)
    if len(names) != 1:
        return ""
    spans = [span for span in functions(path, text) if span.name == names[0] and is_stub(path, text, span)]
    line = stub_line(path, text, spans[0]) if len(spans) == 1 else None
    return "".join(lines_of(text, keepends=True)[: line - 1]) if line else ""
