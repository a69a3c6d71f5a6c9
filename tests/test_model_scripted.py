"""The scripted model keeps the same promises as a real one."""

import pytest

from memory.records import Message
from model.errors import PromptTooLong, StreamBroken
from model.protocol import Model, Sampling
from model.scripted import ScriptedModel

ASK = [Message(role="user", content="12345678")]


def test_a_queue_answers_in_order_and_keeps_what_was_asked() -> None:
    fake = ScriptedModel(["one", ["two", "three"], StreamBroken("gone")])
    model: Model = fake
    pieces: list[str] = []
    assert model.chat(ASK, Sampling(), pieces.append)[0].text == "".join(pieces) == "one"
    gaps = model.infill("a", "b", Sampling(n=2, seed=4), context="c")
    assert [(gap.text, gap.seed) for gap in gaps] == [("two", 4), ("three", 5)]
    with pytest.raises(StreamBroken):
        model.chat(ASK, Sampling())
    with pytest.raises(AssertionError, match="script is over"):
        model.chat(ASK, Sampling())
    assert fake.asked[0].messages == tuple(ASK)
    assert (fake.asked[1].prefix, fake.asked[1].suffix, fake.asked[1].context) == ("a", "b", "c")


def test_a_function_answers_what_it_sees_and_the_window_holds() -> None:
    model = ScriptedModel(lambda asked: asked.messages[-1].content[::-1], n_ctx=20)
    assert model.chat(ASK, Sampling(max_tokens=8, n=2))[1].text == "87654321"
    with pytest.raises(PromptTooLong) as caught:
        model.chat(ASK, Sampling(max_tokens=15))
    assert caught.value.prompt_tokens == model.count(ASK) == 6
