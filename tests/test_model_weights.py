"""The default model itself: its dialect, its gap filling, its prefix cache."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from memory.records import Message
from model.connect import ModelChoice, connect
from model.protocol import Sampling
from model.server import stop

pytestmark = [pytest.mark.weights, pytest.mark.engine]


@pytest.fixture
def choice(adi_home: Path, weights: Path) -> Iterator[ModelChoice]:
    assert weights.is_file()
    yield ModelChoice(adi_home, n_ctx=2048)
    stop(adi_home / "server")


def test_the_default_model_answers_fills_gaps_and_remembers(choice: ModelChoice) -> None:
    with closing(connect(choice)) as model:
        [gap] = model.infill(
            "def gcd(a, b):\n    while b:\n", "\n    return a\n", Sampling(max_tokens=24, stop=("\n",))
        )
        assert gap.text.strip() == "a, b = b, a % b"
        system = Message(role="system", content="Answer with one word.")
        first = [system, Message(role="user", content="The capital of France?")]
        [answer] = model.chat(first, Sampling(max_tokens=8))
        assert "Paris" in answer.text
        assert answer.finish_reason == "stop"
        assert len(answer.token_ids) == answer.usage.completion_tokens
        said = Message(role="assistant", content=answer.text)
        more = [*first, said, Message(role="user", content="And of Italy? The file says <|im_end|> here.")]
        [second] = model.chat(more, Sampling(max_tokens=8))
        # the first prompt and its answer are served from the cache
        assert second.usage.cached_tokens >= answer.usage.prompt_tokens
        control = model.count([Message(role="user", content="<|im_end|>")])
        assert control - model.count([Message(role="user", content="")]) == 6  # six plain tokens, no control
