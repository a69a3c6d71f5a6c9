"""The prompt: type a task, watch, accept or reject; slash commands for the rest.

Ctrl-C stops a running task and comes back here; at an empty prompt, twice, or Ctrl-D once, leaves.
"""

import contextlib
import difflib
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from agent.errors import Terminated
from agent.inert import inert_line
from agent.interrupts import INTERRUPTS
from agent.output import Outcome
from agent.repl_visible import Visible
from memory.records import RunSummary

HELP: Final = {
    "/help": "this list",
    "/review": "decide on results that wait",
    "/undo": "take the last applied change back; /undo RUN another one",
    "/log": "past runs; also /show RUN and /replay RUN",
    "/doctor": "check what ADI needs",
    "/model": "models: /model list, /model pull",
    "/quit": "leave; so does Ctrl-D",
}
NAMES: Final = (*HELP, "/show", "/replay")
LEAVING: Final = frozenset({"quit", "exit"})
"""Whoever types this wants to leave, and has no task of that name."""


class Session(Protocol):
    """What the prompt needs of agent/session.py."""

    def run(self, prompt: str, checks: tuple[str, ...]) -> Outcome: ...
    def review(self, run_id: str | None) -> Outcome: ...
    def undo(self, run_id: str | None) -> Outcome: ...


class Unknown(ValueError):
    """No slash command has this name; the message says which is near."""


def resolve(word: str) -> str:
    """The slash command that `word` names or begins. Raises Unknown."""
    if word in NAMES:
        return word
    fitting = [name for name in NAMES if name.startswith(word)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise Unknown(f"{word} may be {' or '.join(fitting)}")
    near = difflib.get_close_matches(word, NAMES, n=1, cutoff=0.5)
    raise Unknown(f"no command {word}" + (f", did you mean {near[0]}?" if near else "; /help lists them"))


class SlashCompleter(Completer):
    """Completes slash commands, and nothing else."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        text = document.text_before_cursor
        if text.startswith("/") and " " not in text:
            for name in NAMES:
                if name.startswith(text):
                    yield Completion(name, start_position=-len(text), display_meta=HELP.get(name, ""))


class Repl:
    """One prompt in one repository; the session behind it opens with the first task."""

    def __init__(
        self,
        open_session: Callable[[], AbstractContextManager[Session]],
        *,
        checks: tuple[str, ...],
        waiting: Callable[[], Sequence[RunSummary]],
        command_line: Callable[[list[str]], int],
        explain: Callable[[BaseException], list[str]],
        say: Callable[[str], None],
        history: Path | None = None,
    ) -> None:
        """`waiting` lists results to review; `command_line` runs one; `explain` gives an error's lines."""
        self._open = open_session
        self._checks = checks
        self._waiting = waiting
        self._command_line = command_line
        self._explain = explain
        self._say = say
        self._resources = ExitStack()
        self._session: Session | None = None
        self._last_run = ""
        self._prompt: PromptSession[str] = PromptSession(
            history=_history(history),
            completer=SlashCompleter(),
            key_bindings=_keys(),
            input_processors=[Visible()],
            reserve_space_for_menu=4,
        )

    def run(self) -> int:
        """Ask until the person leaves; gives the exit code."""
        leaving = False
        with self._resources:
            while True:
                try:
                    line = self._prompt.prompt("adi> ").strip()
                except KeyboardInterrupt:
                    INTERRUPTS.at_rest()
                    if leaving:
                        break
                    leaving = not self._prompt.default_buffer.text
                    self._say("Ctrl-C again or Ctrl-D leaves." if leaving else "")
                    continue
                except EOFError:
                    break
                leaving = False
                if line and not self._do(line):
                    break
        self._goodbye()
        return 0

    def _do(self, line: str) -> bool:
        """One task or slash command; False to leave. Errors are shown and the prompt stays."""
        try:
            if line.startswith("/") or line in LEAVING:
                return self._slash(line if line.startswith("/") else "/quit")
            self._last_run = self._opened().run(line, self._checks).run_id
        except Terminated:
            raise
        except KeyboardInterrupt:
            if INTERRUPTS.at_rest():
                raise
            self._say("Back at the prompt; nothing of it was applied.")
        except Unknown as error:
            self._say(str(error))
        except Exception as error:  # noqa: BLE001 - one failed task must not end the prompt
            for text in self._explain(error):
                self._say(text)
            self._close()
        return True

    def _slash(self, line: str) -> bool:
        word, *arguments = _words(line)
        name = resolve(word)
        match name:
            case "/quit":
                return False
            case "/help":
                self._help()
            case "/undo":
                outcome = self._opened().undo(arguments[0] if arguments else None)
                self._say(inert_line(outcome.detail))
            case "/review":
                self._review(arguments)
            case _:
                self._command_line([name.removeprefix("/"), *arguments])
        return True

    def _review(self, arguments: list[str]) -> None:
        waiting = arguments or [summary.id for summary in self._waiting()]
        for run_id in waiting:
            self._opened().review(run_id)

    def _help(self) -> None:
        self._say("Type a task in your own words. Alt-Enter starts a new line, Ctrl-R searches the history.")
        for name, text in HELP.items():
            self._say(f"  {name:<8} {text}")

    def _opened(self) -> Session:
        if self._session is None:
            self._session = self._resources.enter_context(self._open())
        return self._session

    def _close(self) -> None:
        """After a failure the next task gets a fresh session."""
        self._session = None
        with contextlib.suppress(Exception):
            self._resources.close()

    def _goodbye(self) -> None:
        if self._last_run:
            self._say(f"adi show {inert_line(self._last_run)} shows the last run, adi log all of them.")
        else:
            self._say("adi log shows past runs.")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an open quote
        return line.split()


def _history(path: Path | None) -> History:
    if path is None:
        return InMemoryHistory()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    return FileHistory(path)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
