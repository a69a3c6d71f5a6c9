"""What is served is asked: the adapter's hash and effect, distance to the base, planted texts, refusals."""

import copy
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import log
from pathlib import Path

import pytest
import torch

from model.front import app
from model.gate_probe import (
    AdapterNotServed,
    Canary,
    Voice,
    check_served,
    divergence,
    echoed,
    refusals,
    token_kl,
)
from model.http import Endpoint, Transport
from model.scripted_backend import ScriptedBackend
from model.torch_adapters import Adapters
from tests.front_kit import TOKEN, listening
from tests.test_model_front_llama import NAME, native  # noqa: F401 - a fixture
from tests.test_model_torch_engine_adapters import saved
from tests.torch_engine_kit import engine, tiny_model

PROMPTS = ("def f(a, b):\n", "class A", "for one in ", "import ", "return (")


@contextmanager
def reached(backend: object) -> Iterator[Transport]:
    """The front of an engine, over HTTP."""
    with listening(app(backend, TOKEN)) as (host, port):  # type: ignore[arg-type]
        transport = Transport(lambda: Endpoint(f"http://{host}:{port}", TOKEN))
        with closing(transport):
            yield transport


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Transport, str, str]]:
    """A tiny model on engine torch with the adapter `one`: transport, model, hash of the adapter."""
    torch.set_num_threads(1)
    folder: Path = tmp_path_factory.mktemp("adapter")
    model = copy.deepcopy(tiny_model()[0])
    with engine(model, adapters=Adapters(model)) as made:
        adapter = made.load_adapter("one", saved(folder, 1))
        with reached(made) as transport:
            yield transport, made.about.model, adapter.sha256


def test_an_adapter_that_is_served_is_told_from_its_base(served: tuple[Transport, str, str]) -> None:
    http, name, sha256 = served
    old, new = Voice(http, name), Voice(http, f"{name}:one")
    assert check_served(new, old, "one", sha256, PROMPTS) > 0.01
    kl = divergence(new, old, PROMPTS, 4)
    assert len(kl) >= len(PROMPTS)
    assert sum(kl) > 0
    assert max(divergence(old, old, PROMPTS, 4)) < 1e-4


def test_other_weights_under_its_name_and_a_missing_one_are_found_out(
    served: tuple[Transport, str, str],
) -> None:
    http, name, _ = served
    old, new = Voice(http, name), Voice(http, f"{name}:one")
    with pytest.raises(AdapterNotServed, match="other weights under the name one"):
        check_served(new, old, "one", "0" * 64, PROMPTS)
    with pytest.raises(AdapterNotServed, match="no adapter two"):
        check_served(new, old, "two", "0" * 64, PROMPTS)


def test_a_server_that_ignores_adapters_is_found_out() -> None:
    """The scripted engine lists an adapter, with its hash, and answers the same with and without it."""
    backend = ScriptedBackend(lambda _: "the same for all")
    backend.load_adapter("one", "/adapter")
    with reached(backend) as http:
        old, new = Voice(http, "scripted"), Voice(http, "scripted:one")
        with pytest.raises(AdapterNotServed, match="answers as scripted does"):
            check_served(new, old, "one", "0" * 64, PROMPTS)


@pytest.mark.engine
def test_probabilities_are_read_from_llama_cpp_too(native: str) -> None:  # noqa: F811
    with closing(Transport(lambda: Endpoint(native, TOKEN))) as http:
        voice = Voice(http, NAME)
        steps = voice.steps("def f(", 3)
        assert all(len(step.top) >= 10 for step in steps)
        assert steps[0].before == ""
        kl = divergence(voice, voice, PROMPTS[:2], 2)
        assert len(kl) >= 2
        assert max(kl) < 1e-3


def test_planted_texts_and_refusals_are_counted() -> None:
    secret = "the harbour code is 7731-QX"

    def answer(job: object) -> str:
        asked = bytes(job.ids).decode()  # type: ignore[attr-defined]
        return secret if asked.startswith("My notes") else "I'm sorry, I cannot do that."

    with reached(ScriptedBackend(answer)) as http:
        voice = Voice(http, "scripted")
        found = echoed(voice, [Canary("a", "My notes say that", secret), Canary("b", "Other", secret)], 64)
        assert found == {"a": True, "b": False}
        assert refusals(voice, ["write a loop", "My notes"]) == (1, 2)


def test_the_divergence_of_a_token_is_never_above_the_true_one() -> None:
    new, old = {"a": log(0.5), "b": log(0.3), "c": log(0.2)}, {"a": log(0.25), "b": log(0.25), "c": log(0.5)}
    true = sum(p * log(p / q) for p, q in ((0.5, 0.25), (0.3, 0.25), (0.2, 0.5)))
    assert token_kl(new, old) == pytest.approx(true)
    assert 0 < token_kl({"a": log(0.5)}, {"a": log(0.25), "b": log(0.25)}) < true
    assert token_kl(new, new) == pytest.approx(0)
    strangers = {"d": log(0.9)}, {"e": log(0.6), "f": log(0.1)}
    assert token_kl(*strangers) > 1.5  # nothing in common is far apart, and not unknown
