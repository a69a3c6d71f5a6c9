"""Clients of every kind at once on engine `torch`, for minutes: are all answers right, does anything leak?

Run: python benchmarks/serving_soak.py [--minutes 10] [--clients 8] [--model FOLDER_OR_GGUF] [--seed 0]

A server of its own (tiny random weights unless a model is named) first answers every request alone; these
answers are what the same requests must get later, when they share batches with all others: greedy chats and
gaps, streamed or whole, four seeded samples of one prompt, answers under a grammar. In between clients leave
in the middle of a stream. Told: requests and wrong answers by kind, and the server's memory, descriptors and
threads after the first tenth and at the end; exit 1 when an answer was wrong or something stayed behind.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import httpx2
import psutil

from model.server import ensure, stop
from model.serving import ServeChoice
from model.state import ServerState
from model.tiny_torch import write_tiny_torch

Json = dict[str, Any]
WORDS = ("parse", "index", "cart", "total", "queue", "node", "price", "token", "field", "merge")
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": [*WORDS]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "count"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
MORE_THREADS = 8
"""Growth in threads that is no leak: the front's pool grows to what was once needed at a time."""
ROOM_MB = 64
"""Growth of the server's memory that is no leak: allocators keep what they had at the busiest moment."""


@dataclass(frozen=True)
class Ask:
    """One request; `kind` says how it is sent and judged."""

    kind: str
    path: str
    body: Json


@dataclass
class Seen:
    """What all clients saw together."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, fault: str) -> None:
        with self.lock:
            self.done[kind] += 1
            if fault:
                self.wrong[kind] += 1
                self.samples.append(f"{kind}: {fault}"[:400])


def asks(drawn: random.Random, model: str) -> list[Ask]:
    """Requests of all kinds, some with a long beginning in common."""
    shared = "".join(f"def {word}_{n}(value): return value + {n}\n" for n, word in enumerate(WORDS * 4))
    found = []
    for number in range(6):
        words = " ".join(drawn.choices(WORDS, k=drawn.randint(2, 30)))
        chat = [
            {"role": "system", "content": shared if number % 2 else "short"},
            {"role": "user", "content": words},
        ]
        drawing = {"temperature": 0.9, "seed": number}
        base = {"model": model, "messages": chat, "max_tokens": drawn.randint(8, 48), "temperature": 0}
        found += [
            Ask("chat", "/chat/completions", base),
            Ask("stream", "/chat/completions", base | {"stream": True}),
            Ask("leave", "/chat/completions", base | {"stream": True, "max_tokens": 400}),
            Ask("four", "/chat/completions", base | drawing | {"n": 4, "top_p": 0.95}),
            Ask("grammar", "/chat/completions", base | drawing | {"max_tokens": 60, "response_format": FORM}),
            Ask(
                "gap",
                "/completions",
                {"model": model, "prompt": f"def {words[:9]}(", "suffix": "): pass\n", "context": shared}
                | {"max_tokens": 24, "temperature": 0},
            ),
        ]  # fmt: skip
    return found


def texts(client: httpx2.Client, ask: Ask) -> list[str]:
    """All answers of one request. A client of kind `leave` goes away at a random piece, with nothing."""
    if not ask.body.get("stream"):
        answer = client.post(ask.path, json=ask.body)
        answer.raise_for_status()
        return [choice.get("text") or choice["message"]["content"] for choice in answer.json()["choices"]]
    pieces, ended, left = [], False, random.randint(1, 12)
    with client.stream("POST", ask.path, json=ask.body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line == "data: [DONE]":
                ended = True
            elif line.startswith("data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    raise ValueError(event["error"])
                pieces += [choice["delta"].get("content") or "" for choice in event["choices"]]
            if ask.kind == "leave" and len(pieces) > left:
                return []
    if not ended:
        raise ValueError("the stream ended without saying so")
    return ["".join(pieces)] if ask.kind == "stream" else []


def fault(ask: Ask, found: Sequence[str], alone: Sequence[str]) -> str:
    """What is wrong with an answer; empty when it is the one that was given alone, and valid."""
    if list(found) != list(alone):
        return f"{list(found)!r} instead of {list(alone)!r}"
    if ask.kind == "grammar":
        value = json.loads(found[0])
        if set(value) != {"name", "count"} or value["name"] not in WORDS or not 0 <= value["count"] <= 99:
            return f"not of the schema: {found[0]!r}"
    return ""


def client_loop(
    connect: Callable[[], httpx2.Client],
    work: Sequence[tuple[Ask, list[str]]],
    until: float,
    seed: int,
    seen: Seen,
) -> None:
    drawn = random.Random(seed)
    with connect() as client:
        while time.monotonic() < until:
            ask, alone = drawn.choice(work)
            try:
                seen.add(ask.kind, fault(ask, texts(client, ask), alone))
            except (httpx2.HTTPError, ValueError, KeyError) as error:
                seen.add(ask.kind, repr(error))


def held(process: psutil.Process) -> Json:
    """What the server's process holds now."""
    memory = round(process.memory_info().rss / 2**20)
    return {"memory_mb": memory, "descriptors": process.num_fds(), "threads": process.num_threads()}


def left_over(client: httpx2.Client, url: str) -> Json:
    """Gauges that must be 0 once nobody asks any more."""
    names = ("adi_answers_running", "adi_answers_waiting", "adi_cache_tokens_running")
    lines = client.get(f"{url}/metrics").text.splitlines()
    numbers = dict(line.rsplit(" ", 1) for line in lines if line[:1] not in ("#", ""))
    return {name: float(numbers.get(name, "nan")) for name in names}


def soak(state: ServerState, minutes: float, clients: int, seed: int) -> Json:
    """The figures of one run."""

    def connect() -> httpx2.Client:
        headers = {"Authorization": f"Bearer {state.token}"}
        return httpx2.Client(base_url=state.openai, headers=headers, timeout=300.0, trust_env=False)

    process = psutil.Process(state.pid)
    with connect() as client:
        work = [(ask, texts(client, ask)) for ask in asks(random.Random(seed), state.name)]
        until = time.monotonic() + 60 * minutes
        seen = Seen()
        threads = [
            threading.Thread(target=client_loop, args=(connect, work, until, seed * 1000 + number, seen))
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        time.sleep(6 * minutes)
        early = held(process)
        for thread in threads:
            thread.join()
        deadline = time.monotonic() + 30
        while any(left_over(client, state.url).values()) and time.monotonic() < deadline:
            time.sleep(0.5)
        gauges = left_over(client, state.url)
    late = held(process)
    return {
        "minutes": minutes, "clients": clients, "seed": seed, "model": state.name, "device": state.device,
        "requests": dict(sorted(seen.done.items())), "wrong": dict(seen.wrong), "examples": seen.samples[:5],
        "after_a_tenth": early, "at_the_end": late, "left_over": gauges,
    }  # fmt: skip


def clean(figures: Json) -> bool:
    early, late = figures["after_a_tenth"], figures["at_the_end"]
    return (
        not figures["wrong"]
        and not any(figures["left_over"].values())
        and late["memory_mb"] - early["memory_mb"] <= ROOM_MB
        and late["descriptors"] <= early["descriptors"]
        and late["threads"] <= early["threads"] + MORE_THREADS
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--model", type=Path, help="a folder of safetensors or a GGUF file; default: tiny, random"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="adi-soak-") as place:
        folder = Path(place)
        model = given.model or write_tiny_torch(folder / "tiny")
        choice = ServeChoice(model, "qwen2.5-coder-soak", engine="torch", n_ctx=4096, idle_s=0)
        state = ensure(choice, folder / "server", lambda line: _say(line, sys.stderr))
        with closing(_Stopping(folder / "server")):
            figures = soak(state, given.minutes, given.clients, given.seed)
    _say(json.dumps(figures, indent=1), sys.stdout)
    return 0 if clean(figures) else 1


def _say(line: str, stream: TextIO) -> None:
    stream.write(f"{line}\n")


@dataclass
class _Stopping:
    """Ends the server whatever happens."""

    folder: Path

    def close(self) -> None:
        stop(self.folder)


if __name__ == "__main__":
    sys.exit(main())
