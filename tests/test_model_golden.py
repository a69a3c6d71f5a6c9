"""The same prompts, greedily, on the same weights, by every engine and over both of their public addresses.

The tiny GGUF and the tiny folder hold the same numbers (model/tiny_torch.py), so ids are compared. Where two
engines differ, that is right only if the two likeliest tokens were as good as equal: the gap of their logits
is asked of transformers itself, and told.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memory.records import Completion, Message
from model.catalogue import load
from model.client import LlamaModel
from model.connect import ModelChoice, connect
from model.errors import ModelMissing
from model.http import Endpoint, Transport
from model.openai import UrlModel
from model.own import OwnModel
from model.probe import Probe
from model.protocol import Model, Sampling
from model.server import find, stop
from model.store import Store
from model.tiny import CONTROL, MERGES
from tests.conftest import USER_MODELS

pytestmark = pytest.mark.engine

NAME = "qwen2.5-coder-tiny"
N_CTX = 2048
CONTROLS = 256 + len(MERGES)
"""The first id of a control token."""
NEAR = 0.05
"""Logits closer than this are a tie to sums in another order: llama.cpp keeps keys and values in 16 bits."""
TURNS = [Message(role="system", content="short"), Message(role="user", content="add one")]
CODE = "def total(items):\n    return sum(price(item) for item in items)\n"


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    ask: Callable[[Model, Sampling], list[Completion]]
    sampling: Sampling


def chat(text: str) -> Callable[[Model, Sampling], list[Completion]]:
    return lambda model, sampling: model.chat([TURNS[0], Message(role="user", content=text)], sampling)


def gap_of(prefix: str, suffix: str, context: str = "") -> Callable[[Model, Sampling], list[Completion]]:
    return lambda model, sampling: model.infill(prefix, suffix, sampling, context=context)


SHORT = Sampling(max_tokens=24)
CASES = (
    Case("chat", chat("add one"), Sampling(max_tokens=32)),
    Case("long chat", chat(CODE * 12), SHORT),
    Case("control tokens in a chat", chat("a<|im_end|>b"), SHORT),
    Case("unicode", chat("größer 猫 🐈"), SHORT),
    Case("gap", gap_of("def f(", "): pass"), SHORT),
    Case("gap with context", gap_of("x = ", "\n", CODE), SHORT),
    Case("grammar", chat("add one"), Sampling(max_tokens=40, grammar='root ::= [x-z] [a-z]{3,9} "!"')),
    Case(
        "stop", chat("add one"), Sampling(max_tokens=40, grammar="root ::= [a-z]{30}", stop=("zz", "q", "e"))
    ),
    Case("n", chat("add one"), Sampling(max_tokens=12, n=3)),
)
"""Texts that a grammar forces are no case: engine `torch` writes them in the tokenizer's own tokens,
llama.cpp in the likeliest that spell them."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file and the folder of the same model."""
    from model.tiny import write_tiny
    from model.tiny_torch import write_tiny_torch

    place = tmp_path_factory.mktemp("weights")
    return write_tiny(place / f"{NAME}.gguf"), write_tiny_torch(place / NAME)


@pytest.fixture(scope="module")
def models(
    weights: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Model]]:
    """Clients by engine: of both servers natively, and of both over the address for OpenAI clients."""
    with ExitStack() as stack:
        found: dict[str, Model] = {}
        for engine, place in zip(("llama", "torch"), weights, strict=True):
            home = tmp_path_factory.mktemp(engine)
            options: dict[str, Any] = {"n_ctx": N_CTX, "threads": 1, "idle_s": 300, "device": "cpu"}
            stack.callback(stop, home / "server")
            found[engine] = stack.enter_context(
                closing(connect(ModelChoice(home, engine, str(place), **options)))  # type: ignore[arg-type]
            )
            state = find(home / "server")
            assert state is not None
            end = Endpoint(state.openai.removesuffix("/v1"), state.token)
            fim = load().fim("qwen2.5-coder")
            plain = UrlModel(Transport(lambda end=end: end), Probe("other", NAME, N_CTX), fim)  # type: ignore[misc]
            found[f"url of {engine}"] = stack.enter_context(closing(plain))
        assert isinstance(found["llama"], LlamaModel)
        assert isinstance(found["torch"], OwnModel)
        yield found


@pytest.fixture(scope="module")
def gap(weights: tuple[Path, Path]) -> Callable[[Sequence[int], int, int], float]:
    """How far apart transformers' own logits of two tokens are, behind these ids."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(weights[1], dtype=torch.float32).eval()

    def between(ids: Sequence[int], one: int, other: int) -> float:
        with torch.no_grad():
            logits = model(torch.tensor([list(ids)])).logits[0, -1]
        return float((logits[one] - logits[other]).abs())

    return between


@pytest.mark.sample(3)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_local_engines_write_the_same_ids(
    case: Case,
    models: dict[str, Model],
    gap: Callable[[Sequence[int], int, int], float],
    record_property: Callable[[str, object], None],
) -> None:
    llama, torch = (case.ask(models[name], case.sampling) for name in ("llama", "torch"))
    assert len(llama) == len(torch) == case.sampling.n
    prompt = _prompt(models["torch"], case)
    assert llama[0].usage.prompt_tokens == torch[0].usage.prompt_tokens == len(prompt)
    for one, other in zip(llama, torch, strict=True):
        ids, others = _without_end(one.token_ids), _without_end(other.token_ids)
        if "gap" in case.name:  # there any token for gaps ends engine torch, llama.cpp writes on
            ids = ids[: next((i for i, id in enumerate(ids) if id >= CONTROLS), len(ids))]
        at = next((i for i, (a, b) in enumerate(zip(ids, others, strict=False)) if a != b), None)
        if at is None:
            record_property(case.name, f"{len(ids)} ids equal")
            assert ids == others
            assert "gap" in case.name or one.text == _hidden(other.text)
            assert "gap" in case.name or one.finish_reason == other.finish_reason
            continue
        apart = gap([*prompt, *ids[:at]], ids[at], others[at])
        record_property(case.name, f"first difference at {at} of {len(ids)}, logits {apart:.4f} apart")
        assert apart < NEAR, f"{case.name}: ids differ at {at} though their logits are {apart:.3f} apart"
    assert len({answer.text for answer in torch}) == 1
    if case.name == "stop":
        assert torch[0].finish_reason == "stop"
        assert not set("qe") & set(torch[0].text)


@pytest.mark.parametrize("case", [c for c in CASES if not c.sampling.grammar], ids=lambda case: case.name)
@pytest.mark.parametrize("engine", ["llama", "torch"])
def test_the_public_address_says_what_the_engine_says(
    engine: str, case: Case, models: dict[str, Model]
) -> None:
    """To a client that knows nothing of the server, and writes a gap's control tokens as text itself."""
    ours = case.ask(models[engine], case.sampling)
    theirs = case.ask(models[f"url of {engine}"], case.sampling)
    assert len(theirs) == case.sampling.n
    if "control" in case.name or (engine == "torch" and "gap" in case.name):
        assert (
            theirs[0].usage.prompt_tokens > ours[0].usage.prompt_tokens
        )  # what it wrote is plain text there
        return
    # half a character at the end is dropped by llama.cpp's OpenAI dialect
    texts = [[answer.text.rstrip("\ufffd") for answer in answers] for answers in (ours, theirs)]
    assert texts[0] == texts[1]
    assert theirs[0].usage.prompt_tokens == ours[0].usage.prompt_tokens


def _without_end(ids: Sequence[int]) -> list[int]:
    """Ids without the token that ended the answer, which one engine tells and the other does not."""
    kept = list(ids)
    while kept and kept[-1] >= CONTROLS:
        kept.pop()
    return kept


def _hidden(text: str) -> str:
    """A text without control tokens: engine `torch` writes them out, llama.cpp does not show them."""
    for name in CONTROL:
        text = text.replace(name, "")
    return text


def _prompt(model: Model, case: Case) -> list[int]:
    """The ids of the case's prompt, as the server makes them."""
    assert isinstance(model, OwnModel)
    seen: list[list[int]] = []

    class Asking(OwnModel):
        """Counts instead of asking."""

        def __init__(self) -> None:
            super().__init__(model._http, model._probe)

        def _count(self, body: dict[str, Any]) -> int:
            told = self._http.post("/tokenize", body | {"model": self._probe.model})
            seen.append(list(told["tokens"]))
            return int(told["count"])

    case.ask(Asking(), Sampling(max_tokens=1))
    return seen[-1]


@pytest.mark.slow
@pytest.mark.weights
def test_the_small_real_model_answers_and_fills_gaps_on_engine_torch(adi_home: Path) -> None:
    """Converted from its GGUF file first, which takes the most of the time."""
    try:
        file = Store(USER_MODELS, load()).find("qwen2.5-coder-0.5b").path
    except ModelMissing as error:
        pytest.skip(f"layer weights: {error} (try: {error.hint})")
    (adi_home / "models").mkdir()
    (adi_home / "models" / file.name).symlink_to(file)
    choice = ModelChoice(adi_home, "torch", "qwen2.5-coder-0.5b", n_ctx=1024, device="cpu")
    sampling = Sampling(max_tokens=20, stop=("\n",))
    try:
        with closing(connect(choice)) as model:
            [gap] = model.infill("def gcd(a, b):\n    while b:\n", "\n    return a\n", sampling)
            assert gap.text.strip() == "a, b = b, a % b"
            asked = [Message(role="user", content="The capital of France, in one word?")]
            [answer] = model.chat(asked, Sampling(max_tokens=8))
            assert "Paris" in answer.text
        stop(adi_home / "server")
        start = time.monotonic()
        with closing(connect(choice)) as model:
            model.chat(asked, Sampling(max_tokens=1))
        print(f"start to first token, weights on disk: {time.monotonic() - start:.1f} s")  # noqa: T201
    finally:
        stop(adi_home / "server")
