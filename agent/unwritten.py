"""Which functions of a file wait for a body that the task asks for."""

from agent.syntax import functions, is_stub


def unwritten(path: str, text: str, task: str) -> list[str]:
    """Names of functions without a body: those that the task names, or all where the file has nothing else.

    An abstract method of a real program is no task.
    """
    spans = functions(path, text)
    names = [span.name for span in spans if is_stub(path, text, span)]
    return names if len(names) == len(spans) else [name for name in names if name in task]
