"""The person: approves the plan, and says whether the change is applied.

A question is asked only at a terminal. `TerminalPerson` asks; `Unattended` answers for nobody.
Ctrl-C at a question raises KeyboardInterrupt; the end of the input defers the answer.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TextIO

from rich.console import Console
from rich.text import Text

from agent.display_wrap import print_line
from agent.editor import edit, page
from agent.errors import EnvironmentMissing
from agent.inert import inert_line
from agent.plantext import PlanTextError, from_text, to_text
from memory.records import Check, Evaluation, Plan


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """What became of a plan."""

    plan: Plan | None
    """The plan to follow, a new revision by `user` when it was edited; None when cancelled."""
    seconds: float = 0.0
    """How long the question stood open."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a change."""

    action: Literal["accept", "reject", "edit", "defer"]
    """`edit` carries a new patch, which needs a new verdict and then a new decision."""
    reason: str = ""
    """The person's own words, or why nobody could decide."""
    patch: bytes = b""
    """The edited patch, only with `edit`."""
    automatic: bool = False
    """True when no person was asked."""
    seconds: float = 0.0
    """How long the question stood open."""
    viewed: bool = False
    """The whole diff was opened in the pager."""


class Person(Protocol):
    """Whoever decides."""

    def review_plan(self, plan: Plan, checks: Sequence[Check]) -> PlanAnswer:
        """Approve, edit or cancel a plan that the display has already drawn."""
        ...

    def decide(self, diff: bytes, evaluation: Evaluation) -> Decision:
        """Show the diff, then accept, reject, edit or defer the change."""
        ...

    def tell(self, text: str) -> None:
        """Say something that is no event of the run, such as why an edited diff was refused."""
        ...


class Screen(Protocol):
    """What a person needs of the display (agent/display.py)."""

    @property
    def console(self) -> Console: ...

    def pause(self) -> None:
        """Take the live line away, so that a question stands still."""
        ...

    def show_plan(self, plan: Plan, checks: Sequence[Check]) -> None:
        """Draw what somebody must see before the plan is approved, whole commands too."""
        ...

    def show_diff(self, diff: bytes, *, asked: bool = False) -> None:
        """Draw the diff, long hunks folded; `asked`: somebody decides on it."""
        ...

    def whole_diff(self, diff: bytes) -> str:
        """The unfolded diff as text for a pager, colours included where the console has them."""
        ...


class Unattended:
    """Nobody is there: plans pass, and a change is accepted only when `accept` and the verdict say so."""

    def __init__(self, accept: bool, screen: Screen | None = None) -> None:
        self.accept = accept
        self.screen = screen

    def review_plan(self, plan: Plan, checks: Sequence[Check]) -> PlanAnswer:  # noqa: ARG002
        return PlanAnswer(plan)

    def decide(self, diff: bytes, evaluation: Evaluation) -> Decision:
        if self.screen is not None:
            self.screen.show_diff(diff)
        if not self.accept:
            reason = "no person was there to decide"
        elif evaluation.protected:
            reason = f"a person must approve changes of {', '.join(evaluation.protected)}"
        elif evaluation.disputed_tests:
            reason = f"the task and the tests disagree: {', '.join(evaluation.disputed_tests)}"
        elif not evaluation.accepted:
            reason = "the verdict does not hold"
        else:
            return Decision("accept", automatic=True)
        return Decision("defer", reason=reason, automatic=True)

    def tell(self, text: str) -> None:
        if self.screen is not None:
            self.screen.pause()
            print_line(self.screen.console, Text(inert_line(text)))


class TerminalPerson:
    """A person at a terminal. Input is read by lines; what was typed before a question does not answer it."""

    def __init__(self, screen: Screen, stdin: TextIO, *, review_plans: bool = True) -> None:
        self.screen = screen
        self.stdin = stdin
        self.review_plans = review_plans

    def review_plan(self, plan: Plan, checks: Sequence[Check]) -> PlanAnswer:
        if not self.review_plans:
            return PlanAnswer(plan)
        began = time.monotonic()
        answer = self._plan_answer(plan, checks)
        return PlanAnswer(answer, time.monotonic() - began)

    def tell(self, text: str) -> None:
        self.screen.pause()
        self._say(text)

    def _plan_answer(self, plan: Plan, checks: Sequence[Check]) -> Plan | None:
        text = to_text(plan, checks)
        self.screen.pause()
        self.screen.show_plan(plan, checks)
        while True:
            key = self._ask("Go on with this plan? Enter yes · e edit · q cancel > ")
            if key in {"", "y", "yes"}:
                return plan
            if key in {None, "q", "n", "no", "quit"}:
                return None
            if key == "e":
                try:
                    text = edit(text.encode(), "plan.toml").decode(errors="replace")
                    return from_text(text, plan)
                except PlanTextError as error:
                    self._say(f"The edited plan cannot be used: {error}.")
                    self._say("e opens your text again · Enter goes on with the plan before the edit")
                except EnvironmentMissing as error:
                    self._say(f"{error} ({error.hint})")
            else:
                self._say("Enter or y goes on, e opens the plan in your editor, q cancels the run.")

    def decide(self, diff: bytes, evaluation: Evaluation) -> Decision:
        self.screen.pause()
        self.screen.show_diff(diff, asked=True)
        began = time.monotonic()
        decision = self._decision(diff, evaluation)
        return replace(decision, seconds=time.monotonic() - began)

    def _decision(self, diff: bytes, evaluation: Evaluation) -> Decision:
        viewed = False
        self._say("The checks pass." if evaluation.accepted else "The verdict does NOT hold.")
        while True:
            key = self._ask(_question(evaluation))
            if key in {None, "q", "quit"}:
                return Decision("defer", reason="left open by the person", viewed=viewed)
            if key == "yes" or (key == "y" and evaluation.accepted):
                return Decision("accept", viewed=viewed)
            if key in {"n", "no"}:
                reason = self._ask("Why not? One line, it is stored (Enter for none) > ", as_is=True)
                return Decision("reject", reason=reason or "", viewed=viewed)
            if key == "e":
                patch = self._edited(diff)
                if patch is not None:
                    return Decision("edit", patch=patch, viewed=viewed)
            elif key == "d":
                viewed = True
                self._page(diff)
            elif key == "y":
                self._say("The verdict does not hold. Type yes in full to apply the change all the same.")
            else:
                self._say(_HELP)

    def _edited(self, diff: bytes) -> bytes | None:
        try:
            patch = edit(diff, "change.diff")
        except EnvironmentMissing as error:
            self._say(f"{error} ({error.hint})")
            return None
        if patch == diff:
            self._say("Nothing was changed.")
            return None
        if not patch.strip():
            self._say("An empty diff changes nothing; n rejects the change.")
            return None
        return patch

    def _page(self, diff: bytes) -> None:
        whole = self.screen.whole_diff(diff)
        if not page(whole):
            self.screen.console.file.write(whole)

    def _ask(self, question: str, *, as_is: bool = False) -> str | None:
        """One line of input, lower case unless `as_is`; None at the end of the input."""
        self.screen.pause()
        forget_typed(self.stdin)
        self.screen.console.print(Text(question, style="bold"), end="")
        try:
            line = self.stdin.readline()
        except KeyboardInterrupt:
            self.screen.console.print()
            raise
        if not line:
            self.screen.console.print()
            return None
        return line.strip() if as_is else line.strip().lower()

    def _say(self, text: str) -> None:
        print_line(self.screen.console, Text(inert_line(text)))


_HELP = (
    "y applies the change to your files, all or nothing · n rejects it and asks why · "
    "e opens the diff in your editor, the result is checked again · d shows the whole diff in the pager · "
    "q leaves it for `adi review`"
)


def _question(evaluation: Evaluation) -> str:
    yes = "y yes" if evaluation.accepted else "yes"
    return f"Apply this change? {yes} · n no · e edit · d whole diff · q later · ? help > "


def forget_typed(stdin: TextIO) -> None:
    """Drop keys pressed while ADI worked: they were not meant as an answer."""
    if not stdin.isatty():
        return
    try:
        import termios
    except ImportError:  # not a POSIX terminal
        return
    termios.tcflush(stdin.fileno(), termios.TCIFLUSH)
