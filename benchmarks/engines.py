"""Do engines `llama` and `torch` give the same answers with the same weights? What does a prompt cost again?

Run: ADI_BENCH=DIR python benchmarks/engines.py [--model qwen2.5-coder-1.5b] [--tasks 10] [--tokens 160]
     [--prefix 3000] [--device cpu] [--out FILE.jsonl]

DIR holds `humaneval/humaneval.jsonl`. Each engine gets a server of its own, one after the other. Both are
asked to complete the same functions greedily; compared are token ids. Where they part, engine `torch` tells
how far the other's token was from its own: the difference of two log-probabilities, which the two compute in
other orders and widths (GGUF blocks and 16-bit keys against bfloat16). Then a prompt of --prefix tokens is
sent to `torch` twice, and once more with 200 tokens added. Rows are written as they come.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import httpx2

from agent.models import choice_of
from agent.settings import directories, load
from memory.records import Message
from model.client import LlamaModel
from model.http import Endpoint, Transport
from model.protocol import Sampling
from model.server import ensure, stop
from model.serving import ServeChoice
from model.state import ServerState

Json = dict[str, Any]
ASK = "Complete this Python function. Answer with one code block.\n\n```python\n{}```"
TOP = 20
"""Alternatives told for each token: one further down is told as farther away than the last of them."""


@contextmanager
def serving(choice: ServeChoice, folder: Path) -> Iterator[tuple[ServerState, httpx2.Client]]:
    """A server of one's own, and a client of it; engine `torch` has its public address there."""
    state = ensure(choice, folder, lambda line: say(line, sys.stderr))
    headers = {"Authorization": f"Bearer {state.token}"}
    try:
        with httpx2.Client(base_url=state.url, headers=headers, timeout=1800.0, trust_env=False) as client:
            yield state, client
    finally:
        stop(folder)


def ask(client: httpx2.Client, path: str, body: Json) -> Json:
    answer = client.post(path, json=body)
    if answer.status_code != 200:
        raise SystemExit(f"error: {path} answered {answer.status_code}: {answer.text[:300]}")
    found: Json = answer.json()
    return found


def llama_answers(choice: ServeChoice, folder: Path, prompts: Sequence[str], tokens: int) -> list[Json]:
    """Text and ids of llama.cpp's answers, one prompt after the other."""
    with serving(choice, folder) as (state, _):
        transport = Transport(lambda: Endpoint(state.url, state.token))
        with closing(LlamaModel(transport)) as model:
            found = []
            for prompt in prompts:
                start = time.monotonic()
                [answer] = model.chat([Message(role="user", content=prompt)], Sampling(max_tokens=tokens))
                spent = time.monotonic() - start
                found.append({"text": answer.text, "ids": list(answer.token_ids), "seconds": spent})
            return found


def compared(client: httpx2.Client, name: str, prompt: str, tokens: int, other: Json) -> Json:
    """One row: engine torch's answer beside the other's."""
    start = time.monotonic()
    body = {
        "model": name, "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens,
        "temperature": 0, "logprobs": True, "top_logprobs": TOP, "return_token_ids": True,
    }  # fmt: skip
    [choice] = ask(client, "/v1/chat/completions", body)["choices"]
    ids, steps = choice["token_ids"], choice["logprobs"]["content"]
    theirs = other["ids"]
    row: Json = {
        "same": choice["message"]["content"] == other["text"],
        "tokens": len(ids), "seconds": round(time.monotonic() - start, 1),
        "seconds_llama": round(other["seconds"], 1),
    }  # fmt: skip
    at = next((i for i, pair in enumerate(zip(ids, theirs, strict=False)) if pair[0] != pair[1]), None)
    if at is not None:
        step = steps[at]
        likely = {bytes(one["bytes"]): one["logprob"] for one in step["top_logprobs"]}
        wanted = ask(client, "/detokenize", {"tokens": [theirs[at]]})["prompt"].encode()
        gap = step["logprob"] - likely.get(wanted, min(likely.values()))
        row |= {"parts_at": at, "gap": round(gap, 4), "torch": step["token"], "llama": wanted.decode()}
    return row


def again(client: httpx2.Client, name: str, size: int) -> Json:
    """Seconds and cached tokens of a long prompt: the first time, again, and with 200 tokens more."""
    line = "total = total + price * amount  # number {}\n"
    text, number = "", 0
    while ask(client, "/tokenize", {"prompt": text})["count"] < size:
        text += "".join(line.format(number + i) for i in range(20))
        number += 20
    more = text + "".join(line.format(number + i) for i in range(13))
    told = {}
    for kind, prompt in (("first", text), ("again", text), ("longer", more)):
        start = time.monotonic()
        body = {"model": name, "prompt": prompt, "max_tokens": 1, "temperature": 0}
        usage = ask(client, "/v1/completions", body)["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        seconds = round(time.monotonic() - start, 2)
        told[kind] = {"prompt_tokens": usage["prompt_tokens"], "cached": cached, "seconds": seconds}
    return told | {"share": round(told["again"]["seconds"] / told["first"]["seconds"], 3)}


def say(line: str, stream: TextIO) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="")
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--prefix", type=int, default=3000, help="0 leaves it out")
    parser.add_argument("--device", default="", help="of engine torch")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = Path(os.environ.get("ADI_BENCH", "")) / "humaneval" / "humaneval.jsonl"
    if given.tasks and not rows.is_file():
        raise SystemExit("error: ADI_BENCH names no folder with humaneval/humaneval.jsonl")
    lines = rows.read_text("utf-8").splitlines()[: given.tasks] if given.tasks else []
    tasks = [json.loads(line) for line in lines]
    settings = load(None, {"model": {"name": given.model or None, "n_ctx": 4096}}).settings
    choice = choice_of(settings, directories()).serve()
    prompts = [ASK.format(task["prompt"]) for task in tasks]
    out = given.out.open("w", encoding="utf-8") if given.out else sys.stdout
    same = 0
    with tempfile.TemporaryDirectory(prefix="adi-engines-") as place:
        folder = Path(place) / "server"
        theirs = llama_answers(replace(choice, engine="llama"), folder, prompts, given.tokens)
        # the converted weights belong to ADI's data directory, the server to this run
        torch_choice = replace(choice, engine="torch", device=given.device, fallback=False)
        with serving(torch_choice, directories().data / "engines-server") as (state, client):
            say(f"{state.name} on {state.how}", sys.stderr)
            for task, prompt, other in zip(tasks, prompts, theirs, strict=True):
                row = compared(client, state.name, prompt, given.tokens, other)
                same += row["same"]
                say(json.dumps({"task": task["task_id"]} | row), out)
            if given.prefix:
                say(json.dumps({"prefix": again(client, state.name, given.prefix)}), out)
    say(json.dumps({"same": same, "of": len(tasks), "tokens_at_most": given.tokens}), out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
