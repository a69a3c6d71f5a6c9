"""A model that says what it was told to: the fake for tests of everything above this package."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from memory.records import Completion, Message, Usage
from model.errors import ModelError, PromptTooLong
from model.protocol import Capabilities, Sampling

Reply = str | ModelError


@dataclass(frozen=True, slots=True)
class Asked:
    """One call that the model received: a chat, or the prefix, suffix and context of a gap."""

    sampling: Sampling
    messages: tuple[Message, ...] = ()
    prefix: str = ""
    suffix: str = ""
    context: str = ""


Script = Iterable[Reply | Sequence[str]] | Callable[[Asked], Reply | Sequence[str]]


class ScriptedModel:
    """Answers from a queue, or from a function of what was asked. Implements model.protocol.Model.

    A reply is a text (given n times), a list of texts (one for each of the n), or an error to raise.
    A token is four bytes here, rounded up. `asked` records every call. A queue that runs dry is an
    AssertionError: the code under test asked more often than the test foresaw.
    """

    def __init__(self, script: Script, *, n_ctx: int = 8192, name: str = "scripted") -> None:
        self._next = script if callable(script) else _queue(script)
        self.asked: list[Asked] = []
        self._capabilities = Capabilities(
            n_ctx=n_ctx,
            grammar=True,
            infill=True,
            tokenize=True,
            token_ids=False,
            cached_tokens=False,
            model=name,
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> list[Completion]:
        """See Model.chat; `on_text` gets the text in two pieces."""
        size = self.count(messages)
        if size + sampling.max_tokens > self._capabilities.n_ctx:
            raise PromptTooLong(size, self._capabilities.n_ctx, sampling.max_tokens)
        answers = self._answer(Asked(sampling, tuple(messages)), size)
        if on_text and sampling.n == 1:
            text = answers[0].text
            on_text(text[: len(text) // 2])
            on_text(text[len(text) // 2 :])
        return answers

    def infill(self, prefix: str, suffix: str, sampling: Sampling, *, context: str = "") -> list[Completion]:
        """See Model.infill."""
        asked = Asked(sampling, prefix=prefix, suffix=suffix, context=context)
        return self._answer(asked, self.count_text(context + prefix + suffix))

    def count(self, messages: Sequence[Message]) -> int:
        return sum(self.count_text(message.content) + 4 for message in messages)

    def count_text(self, text: str) -> int:
        return -(-len(text.encode("utf-8", "surrogatepass")) // 4)

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, asked: Asked, size: int) -> list[Completion]:
        self.asked.append(asked)
        reply = self._next(asked)
        if isinstance(reply, ModelError):
            raise reply
        texts = [reply] * asked.sampling.n if isinstance(reply, str) else list(reply)
        if len(texts) != asked.sampling.n:
            raise AssertionError(f"the script has {len(texts)} answers where {asked.sampling.n} were asked")
        return [
            Completion(
                text=text,
                finish_reason="stop",
                usage=Usage(prompt_tokens=size if index == 0 else 0, completion_tokens=self.count_text(text)),
                model=self._capabilities.model,
                temperature=asked.sampling.temperature,
                seed=asked.sampling.seed + index,
            )
            for index, text in enumerate(texts)
        ]


def _queue(replies: Iterable[Reply | Sequence[str]]) -> Callable[[Asked], Reply | Sequence[str]]:
    waiting = iter(replies)

    def next_reply(asked: Asked) -> Reply | Sequence[str]:
        for reply in waiting:
            return reply
        raise AssertionError(f"the script is over, but the model was asked again: {asked}")

    return next_reply
