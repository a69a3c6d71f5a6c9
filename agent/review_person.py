"""The question of `adi review` at a terminal: accept, reject, edit, skip or quit, and nothing else."""

import time
from typing import Literal

from agent.person import Decision, TerminalPerson
from agent.review_queue import timed
from memory.records import Evaluation

Answer = Decision | Literal["skip", "quit"]

_HELP = (
    "y applies the change to your files, all or nothing · n rejects it and asks why · "
    "e opens the diff in your editor, the result is checked again · d shows the whole diff in the pager · "
    "s goes on to the next, this one waits · q leaves, what you decided stays decided"
)


class Reviewer(TerminalPerson):
    """Asks about one result after the other; the end of the input quits."""

    def ask(self, diff: bytes, evaluation: Evaluation, counter: str) -> Answer:
        """Show the diff and ask. `counter` is such as `2 of 5`. Raises KeyboardInterrupt."""
        self.screen.pause()
        self.screen.show_diff(diff, asked=True)
        self._say("The checks pass." if evaluation.accepted else "The verdict does NOT hold.")
        began, viewed = time.monotonic(), False
        yes = "y accept" if evaluation.accepted else "yes"
        question = f"{counter}: {yes} · n reject · e edit · d whole diff · s skip · q quit · ? help > "
        while True:
            key = self._ask(question)
            viewed = viewed or key == "d"
            answer = self._answer(key, diff, evaluation)
            if isinstance(answer, Decision):
                return timed(answer, time.monotonic() - began, viewed=viewed)
            if answer is not None:
                return answer

    def _answer(self, key: str | None, diff: bytes, evaluation: Evaluation) -> Answer | None:
        """None when the question stands."""
        match key:
            case None | "q" | "quit":
                return "quit"
            case "s" | "skip":
                return "skip"
            case "n" | "no":
                reason = self._ask("Why not? One line, it is stored (Enter for none) > ", as_is=True)
                return Decision("reject", reason=reason or "")
            case "e":
                patch = self._edited(diff)
                return None if patch is None else Decision("edit", patch=patch)
            case "d":
                self._page(diff)
            case "yes":
                return Decision("accept")
            case "y" if evaluation.accepted:
                return Decision("accept")
            case "y":
                self._say("The verdict does not hold. Type yes in full to apply the change all the same.")
            case _:
                self._say(_HELP)
        return None
