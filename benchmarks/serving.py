"""Measures settings of the llama.cpp server against the default ones: n-gram drafting, slots, batch size.

Run: python benchmarks/serving.py [SETTING...] [--rounds N] [--kinds KIND...]

Four kinds of work: `edit` writes a file of this project again with one change (most of it is copied), `new`
writes a function, `sample` asks for eight answers to one prompt, `read` gives up a call with a long prompt
after a second and then reads another. Each setting gets a server of its own, one after the other, in every
round; shown are written tokens a second of the whole kind (of `read`: read tokens of the second prompt), the
ratio to the default in the same round, and whether the greedy answers are the default's to the byte.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from agent import context
from agent.models import choice_of
from agent.settings import directories, load
from memory.records import Message
from model.llama import parameters
from model.serving import ServeChoice

ROOT = Path(__file__).parent.parent
TOKEN = "benchmark"
EDITS = (
    ("model/deadline.py", "Rename the class or function that is defined first, everywhere in the file."),
    (
        "agent/unwritten.py",
        "Give the first function a default value of its last parameter: the empty string.",
    ),
    ("examples/invoices/invoices/invoice.py", "An invoice is to be paid within 30 days."),
)
READ = ("agent/evaluate.py", "sandbox/archive.py")
NEW = (
    'def median(values: list[float]) -> float:\n    """The middle value, the mean of two in the middle."""',
    'def roman(number: int) -> str:\n    """Roman numeral of 1 to 3999."""',
    'def is_leap(year: int) -> bool:\n    """Whether a year of the Gregorian calendar has 366 days."""',
)


def _drafting(kind: str, matched: int = 0, drafted: int = 0) -> Callable[[Any], None]:
    """n-gram drafting: `matched` tokens must repeat for `drafted` to be tried; 0 leaves 12 and 48."""

    def change(params: Any) -> None:
        import xllamacpp

        if matched:
            params.speculative.ngram_simple.size_n = matched
            params.speculative.ngram_simple.size_m = drafted
        params.speculative.types = [
            getattr(xllamacpp.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{kind}")
        ]

    return change


def _with(**values: int) -> Callable[[Any], None]:
    def change(params: Any) -> None:
        for name, value in values.items():
            setattr(params, name, value)

    return change


SETTINGS: Mapping[str, Callable[[Any], None]] = {
    "default": lambda _params: None,
    "ngram-simple": _drafting("NGRAM_SIMPLE"),
    "ngram-6-8": _drafting("NGRAM_SIMPLE", 6, 8),
    "ngram-12-12": _drafting("NGRAM_SIMPLE", 12, 12),
    "ngram-mod": _drafting("NGRAM_MOD"),
    "slots-1": _with(n_parallel=1),
    "slots-2": _with(n_parallel=2),
    "slots-8": _with(n_parallel=8),
    "batch-128": _with(n_batch=128, n_ubatch=128),
    "batch-512": _with(n_batch=512, n_ubatch=512),
    "batch-2048": _with(n_batch=2048, n_ubatch=512),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of work took."""

    tokens: int
    seconds: float
    texts: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Written tokens a second, the prompt's time included."""
        return self.tokens / self.seconds


def _serve(choice: ServeChoice, setting: str, told: Any) -> None:
    import xllamacpp

    params = parameters(choice, TOKEN)
    SETTINGS[setting](params)
    server = xllamacpp.Server(params)
    told.put(str(server.listening_address))
    time.sleep(3600)


def _works() -> dict[str, list[dict[str, object]]]:
    edits = []
    for path, goal in EDITS:
        text = (ROOT / path).read_text(encoding="utf-8")
        about = f"Task: {goal}\n\nFile {path}:\n{context.numbered(text)}"
        edits.append(_body(context.file_messages(about, path, goal)))
    new = [_body(context.oneshot_messages("", {"a.py": text}, complete="py")) for text in NEW]
    sample = [{**new[0], "temperature": 0.8, "seed": seed} for seed in range(8)]
    long = [f"{(ROOT / path).read_text(encoding='utf-8')[:8000]}\nWhat is this?" for path in READ]
    read = [_body([Message("user", text)]) | {"max_tokens": 1} for text in long]
    return {"edit": edits, "new": new, "sample": sample, "read": read}


def _body(messages: list[Any]) -> dict[str, object]:
    chat = [{"role": message.role, "content": message.content} for message in messages]
    return {"messages": chat, "temperature": 0.0, "max_tokens": 800, "stop": list(context.COMPLETE_STOPS)}


def measured(choice: ServeChoice, setting: str, kinds: list[str]) -> dict[str, Kind]:
    """These kinds of work on a server of its own."""
    processes = multiprocessing.get_context("spawn")
    told = processes.Queue()
    server = processes.Process(target=_serve, args=(choice, setting, told), daemon=True)
    server.start()
    try:
        url = told.get(timeout=120)
        with httpx2.Client(
            headers={"Authorization": f"Bearer {TOKEN}"}, timeout=600.0, trust_env=False
        ) as http:
            http.post(f"{url}/v1/chat/completions", json={**_works()["new"][0], "max_tokens": 4})
            return {
                kind: (_given_up if kind == "read" else _kind)(http, url, _works()[kind]) for kind in kinds
            }
    finally:
        server.kill()
        server.join()


def _kind(http: httpx2.Client, url: str, bodies: list[dict[str, object]]) -> Kind:
    began = time.monotonic()
    at_once = len(bodies) if "seed" in bodies[0] else 1  # samples together, others in turn
    with ThreadPoolExecutor(at_once) as pool:
        responses = list(pool.map(lambda body: http.post(f"{url}/v1/chat/completions", json=body), bodies))
    seconds = time.monotonic() - began
    answers = [response.raise_for_status().json() for response in responses]
    tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
    texts = [choice["message"]["content"] for answer in answers for choice in answer["choices"]]
    return Kind(tokens, seconds, tuple(texts))


def _given_up(http: httpx2.Client, url: str, bodies: list[dict[str, object]]) -> Kind:
    """Tokens of the second prompt, and the time from giving up the first to the second's answer."""
    first, second = bodies
    with contextlib.suppress(httpx2.ReadTimeout):
        http.post(f"{url}/v1/chat/completions", json=first, timeout=1.0)
    began = time.monotonic()
    answer = http.post(f"{url}/v1/chat/completions", json=second).raise_for_status().json()
    seconds = time.monotonic() - began
    return Kind(answer["usage"]["prompt_tokens"], seconds, (answer["choices"][0]["message"]["content"],))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=", ".join(SETTINGS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", default=list(_works()), choices=list(_works()))
    given = parser.parse_args()
    if unknown := set(given.settings) - set(SETTINGS):
        parser.error(f"no setting {', '.join(sorted(unknown))}: there are {', '.join(SETTINGS)}")
    names = ["default", *(name for name in given.settings or SETTINGS if name != "default")]
    choice = choice_of(load(None).settings, directories()).serve()
    ratios: dict[tuple[str, str], list[float]] = {}
    for turn in range(given.rounds):
        base: dict[str, Kind] = {}
        for name in names:
            found = measured(choice, name, given.kinds)
            base = base or found
            for kind, result in found.items():
                ratio = result.rate / base[kind].rate
                ratios.setdefault((name, kind), []).append(ratio)
                same = "" if kind == "sample" else f", same {result.texts == base[kind].texts}"
                told = f"{result.tokens:5} tokens {result.rate:6.1f}/s x{ratio:.2f}{same}"
                sys.stdout.write(f"round {turn + 1} {name:12} {kind:6} {told}\n")
                sys.stdout.flush()
    for (name, kind), each in ratios.items():
        sys.stdout.write(
            f"{name:12} {kind:6} x{statistics.mean(each):.2f}, {len(each)} rounds"
            f" {min(each):.2f} to {max(each):.2f}\n"
        )


if __name__ == "__main__":
    main()
