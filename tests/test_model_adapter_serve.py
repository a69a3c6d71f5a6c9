"""Adapters on both engines: the same effect, swapped while clients ask, read back, and never ignored."""

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

from memory.records import Completion, Message
from model.catalogue import load as load_catalogue
from model.connect import ModelChoice, connect, connect_url
from model.errors import AdapterDamaged, AdapterRefused, ModelError, ServerFailed
from model.protocol import Sampling
from model.server import adapters_of, find, stop
from model.state import ServerState
from model.torch_adapters import Adapters
from model.torch_weights import Loaded
from model.torch_weights import load as load_weights
from tests.adapter_kit import NAME, Home

pytestmark = pytest.mark.engine
ENGINES = ("llama", "torch")
PROMPTS = 50
TIE = 0.01
"""Nats: llama.cpp keeps keys and values in 16 bits."""
CONTROL = 261
"""The tiny model's control tokens begin here; those that end an answer are not told by every engine."""
WORDS = ["def", "add", "(", "a", "b", ")", "return", "self", "for", "x", "in", "=", "1", "# ", "\n", "  "]


def chats(count: int) -> list[list[Message]]:
    """Different prompts that begin alike."""
    draw = torch.Generator().manual_seed(3)
    found = []
    for number in range(count):
        picked = torch.randint(len(WORDS), (6 + number % 9,), generator=draw)
        text = "".join(WORDS[int(index)] for index in picked)
        found.append([Message(role="system", content="short"), Message(role="user", content=text)])
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A store with two adapters."""
    made = Home(tmp_path_factory.mktemp("home"))
    for seed in (1, 2):
        made.add(made.trained(seed=seed))
    return made


@pytest.fixture(scope="module", params=ENGINES)
def choice(request: pytest.FixtureRequest, home: Home) -> Iterator[ModelChoice]:
    """The same data directory with one engine after the other, the base served at first."""
    told = ModelChoice(
        home.data,
        request.param,
        str(home.weights),
        n_ctx=1024,
        threads=1,
        idle_s=300,
        device="cpu",
        adapter="",
    )
    yield told
    stop(home.data / "server")


def running(choice: ModelChoice) -> ServerState:
    state = find(choice.data_dir / "server")
    assert state is not None
    return state


def answers(choice: ModelChoice, asked: list[list[Message]], tokens: int = 8) -> list[Completion]:
    with closing(connect(choice)) as model:
        return [model.chat(chat, Sampling(max_tokens=tokens))[0] for chat in asked]


def http(state: ServerState) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {state.token}"}
    return httpx2.Client(base_url=state.openai, headers=headers, timeout=60, trust_env=False)


def likely(state: ServerState, model: str, chat: list[Message]) -> dict[int, float]:
    """Log-probabilities of the likeliest first tokens that are one byte, by it."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [message.model_dump() for message in chat],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 5,
    }
    with http(state) as client:
        answer = client.post("/chat/completions", json=body).json()
    tokens = (answer["choices"][0].get("logprobs") or {"content": []})["content"]
    return {
        one["bytes"][0]: one["logprob"]
        for token in tokens
        for one in token["top_logprobs"]
        if len(one["bytes"] or ()) == 1  # the id of a single byte is the byte
    }


@dataclass(frozen=True, slots=True)
class Known:
    """What transformers itself writes to one prompt, greedily."""

    ids: tuple[int, ...]
    leads: tuple[float, ...]
    """By how much each token was likelier than the second, in nats."""
    first: torch.Tensor
    """Log-probabilities of the first token."""


@pytest.fixture(scope="module")
def reference(home: Home) -> dict[str, list[Known]]:
    """By adapter; empty is the base."""
    loaded = load_weights(home.weights, device="cpu", cache=home.cache)
    adapters = Adapters(loaded.model, loaded.names)
    found: dict[str, list[Known]] = {}
    for name in ("", *home.store.names()):
        if name:
            adapters.load(name, home.store.path(name))
        adapters.use(name)
        found[name] = [known(loaded, chat) for chat in chats(PROMPTS)]
    return found


def known(loaded: Loaded, chat: list[Message]) -> Known:
    turns = [message.model_dump(include={"role", "content"}) for message in chat]
    prompt = loaded.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    with torch.inference_mode():
        out = loaded.model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)
        logprobs = loaded.model(out).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    best = logprobs.topk(2).values
    ids = tuple(int(token) for token in out[0, len(prompt) :] if int(token) < CONTROL)
    return Known(ids, tuple((best[:, 0] - best[:, 1]).tolist()), logprobs[0])


def parts_at_a_tie(told: tuple[int, ...], wanted: Known) -> bool:
    """Whether an answer leaves the other where two tokens were as likely, as 16 bits of a key tell it."""
    pairs = zip_longest(told, wanted.ids)
    return wanted.leads[next(at for at, (one, other) in enumerate(pairs) if one != other)] < TIE


@pytest.mark.slow
def test_an_adapter_has_the_same_effect_on_both_engines(
    choice: ModelChoice, home: Home, reference: dict[str, list[Known]]
) -> None:
    """Each engine against transformers: greedy ids of 50 prompts, log-probabilities of first tokens."""
    asked = chats(PROMPTS)
    for name in ("", *home.store.names()):
        model = f"{NAME}:{name}" if name else NAME
        found = answers(replace(choice, adapter=name), asked)
        assert {answer.model for answer in found} == {model}
        wanted = reference[name]
        apart = [
            (told, right) for told, right in zip(written(found), wanted, strict=True) if told != right.ids
        ]
        assert len(apart) < PROMPTS / 10
        assert all(parts_at_a_tie(told, right) for told, right in apart)
        compared = 0
        for chat, right in list(zip(asked, wanted, strict=True))[:10]:
            for token, logprob in likely(running(choice), model, chat).items():
                compared += 1
                assert abs(float(right.first[token]) - logprob) < TIE
        assert compared > 20
    assert len({str([one.ids for one in told]) for told in reference.values()}) == 3


def written(found: list[Completion]) -> list[tuple[int, ...]]:
    """Ids without the token that ends an answer."""
    return [tuple(token for token in answer.token_ids if token < CONTROL) for answer in found]


@pytest.mark.sample(1)
def test_the_current_adapter_is_asked_for_by_itself(choice: ModelChoice, home: Home) -> None:
    asked = chats(2)
    base = answers(choice, asked)
    assert {answer.model for answer in base} == {NAME}
    one, _ = home.store.names()
    process = running(choice).pid
    home.store.promote(one, force=True, reason="a test")
    try:
        found = answers(replace(choice, adapter="current"), asked)
    finally:
        home.store.rollback(home.base.sha256)
    assert {answer.model for answer in found} == {f"{NAME}:{one}"}
    assert [answer.token_ids for answer in found] != [answer.token_ids for answer in base]
    assert answers(replace(choice, adapter="current"), asked)[0].model == NAME
    assert [a.token_ids for a in answers(choice, asked)] == [a.token_ids for a in base]
    assert running(choice).pid == process  # the server was never restarted
    with http(running(choice)) as client:
        listed = [entry["id"] for entry in client.get("/models").json()["data"]]
    assert set(listed) >= {NAME, f"{NAME}:{one}"}


def test_clients_notice_no_swap(choice: ModelChoice, home: Home, reference: dict[str, list[Known]]) -> None:
    """Four clients ask all the time, one of them in streams, while adapters are promoted and rolled back."""
    one, two = home.store.names()
    clear = [at for at in range(PROMPTS) if all(min(told[at].leads) > TIE for told in reference.values())]
    asked = [chats(PROMPTS)[at] for at in clear[:6]]
    right = {
        f"{NAME}:{name}" if name else NAME: [
            a.token_ids for a in answers(replace(choice, adapter=name), asked)
        ]
        for name in (one, two, "")
    }
    if choice.engine == "llama":
        stop(home.data / "server")
        answers(
            choice, asked[:1]
        )  # the first adapter takes the place of a server that clients reach directly
    ended, wrong, seen = threading.Event(), [], []

    def client(number: int) -> None:
        count = 0
        while not ended.is_set():
            at = (count + number) % len(asked)
            try:
                with closing(connect(replace(choice, adapter="current"))) as model:
                    say = (lambda _text: None) if number == 0 else None
                    [answer] = model.chat(asked[at], Sampling(max_tokens=8), say)
            except ModelError as error:
                wrong.append(repr(error))
                return
            ids = right.get(answer.model, [])
            if not ids or (answer.token_ids and answer.token_ids != ids[at]):
                wrong.append(f"{answer.model} {at} {answer.token_ids}")
            seen.append(answer.model)
            count += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in clients:
        thread.start()
    base = home.base.sha256
    try:
        for step in (one, two, "", two, "", ""):
            before = len(seen)
            if step:
                home.store.promote(step, force=True, reason="a test")
            else:
                home.store.rollback(base)
            until = time.monotonic() + 60
            while len(seen) < before + 6 and not wrong and time.monotonic() < until:
                time.sleep(0.02)
    finally:
        ended.set()
        for thread in clients:
            thread.join(60)
        while home.store.current(base):
            home.store.rollback(base)
    assert wrong == []
    assert set(seen) == {NAME, f"{NAME}:{one}", f"{NAME}:{two}"}
    assert sorted(adapters_of_running(choice)) == sorted((one, two))


def adapters_of_running(choice: ModelChoice) -> dict[str, str]:
    state = running(choice)
    headers = {"Authorization": f"Bearer {state.token}"}
    with httpx2.Client(headers=headers, trust_env=False) as client:
        return adapters_of(client, state)


def test_what_is_not_right_is_not_loaded_and_the_server_goes_on(
    choice: ModelChoice, home: Home, tmp_path: Path
) -> None:
    one, _ = home.store.names()
    before = answers(choice, chats(1))
    with http(running(choice)) as client:
        for path in ("/nowhere", str(tmp_path), str(home.weights.parent)):
            assert client.post("/adapters", json={"name": "a", "path": path}).status_code == 400
        bad = tmp_path / "bad"
        bad.mkdir()
        (bad / "adapter.gguf").write_bytes(b"GGUF" + bytes(100))
        answer = client.post("/adapters", json={"name": "a", "path": str(bad)})
        assert answer.status_code == 400
        assert "a" not in [entry["name"] for entry in client.get("/adapters").json()["data"]]
        unknown = {"model": f"{NAME}:nobody", "prompt": "a", "max_tokens": 1}
        assert client.post("/completions", json=unknown).status_code == 404
        assert client.delete("/adapters/nobody").status_code == 404
    assert [a.token_ids for a in answers(choice, chats(1))] == [a.token_ids for a in before]
    other = Home(tmp_path / "other", seed=9)
    with pytest.raises(AdapterRefused, match="was made for"):
        connect(replace(choice, name=str(other.weights), adapter=one))
    fresh = home.add(home.trained(seed=7)).name
    weights = home.store.path(fresh) / (
        "adapter.gguf" if choice.engine == "llama" else "adapter_model.safetensors"
    )
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    try:
        with pytest.raises(AdapterDamaged, match=weights.name):
            connect(replace(choice, adapter=fresh))
    finally:
        home.store.retire(fresh, "a test")


def test_a_server_that_ignores_adapters_is_found_out() -> None:
    """One that lists what it does not do, in the dialect of llama.cpp."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            entry = {"id": "m", "owned_by": "llamacpp"}
            settings = {"default_generation_settings": {"n_ctx": 512}, "total_slots": 1}
            self._send(
                {"data": [entry, entry | {"id": "m:a", "parent": "m"}]} if "models" in self.path else settings
            )

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/apply-template":
                self._send({"prompt": "a"})
            elif self.path == "/tokenize":
                self._send({"tokens": [{"id": 1, "piece": "a"}]})
            else:
                told = {"content": "b", "tokens": [2], "tokens_predicted": 1, "stop": True, "model": "m"}
                self._send(told)

        def _send(self, told: object) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with (
                closing(connect_url(url, "", "m:a", load_catalogue())) as model,
                pytest.raises(ServerFailed, match=r"m:a was asked, .* as m: it ignores adapters"),
            ):
                model.chat([], Sampling(max_tokens=2))
        finally:
            server.shutdown()
            thread.join()
