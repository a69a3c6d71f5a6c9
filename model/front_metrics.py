"""Counters of the HTTP front and its engine, as text that Prometheus reads."""

import re
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from model.backend import About, Cost, Stats

FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REQUEST_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
GAUGES = {"running": "adi_answers_running", "waiting": "adi_answers_waiting"}
HELP = {
    "running": "Answers being written.",
    "waiting": "Answers that wait for their turn.",
    "requests": "Jobs that the engine took.",
    "refused": "Jobs that the engine refused.",
    "failed": "Answers that ended with an error.",
    "cancelled": "Jobs that were given up.",
    "prompt_tokens": "Tokens of prompts, cached ones included.",
    "cached_tokens": "Tokens of prompts whose keys and values were there already.",
    "completion_tokens": "Tokens written.",
    "drafted": "Tokens guessed ahead.",
    "accepted": "Guessed tokens that the model agreed with.",
    "grammar_us": "Microseconds spent on masks.",
    "busy_s": "Seconds in which the model computed.",
}
UNITS = {"grammar_us": "grammar_microseconds", "busy_s": "busy_seconds"}


@dataclass(slots=True)
class Histogram:
    """How often a time fell under each bound, in seconds."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, told: str) -> Iterator[str]:
        yield from _head(name, told, "histogram")
        below = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {below}"


class Metrics:
    """What the front counts itself; the engine counts the rest. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: Counter[tuple[str, int]] = Counter()
        self._request = Histogram(REQUEST_S)
        self._first = Histogram(FIRST_TOKEN_S)

    def answered(self, kind: str, status: int) -> None:
        """A request of `kind`, `chat` or `text`, ended with this HTTP status; 499 means given up."""
        with self._lock:
            self._statuses[kind, status] += 1

    def finished(self, seconds: float, costs: Sequence[Cost]) -> None:
        """All answers of a request are whole."""
        firsts = [cost.first_ms for cost in costs if cost.first_ms]
        with self._lock:
            self._request.add(seconds)
            if firsts:
                self._first.add(min(firsts) / 1000)

    def text(self, about: About, stats: Stats) -> str:
        """The page of /metrics."""
        with self._lock:
            own = [*self._own()]
        return "\n".join([*_engine(about, stats), *own, ""])

    def _own(self) -> Iterator[str]:
        yield from _head("adi_http_answers_total", "Requests for answers by HTTP status.", "counter")
        for (kind, status), count in sorted(self._statuses.items()):
            yield f'adi_http_answers_total{{kind="{kind}",status="{status}"}} {count}'
        yield from self._request.lines("adi_request_seconds", "Time of a request that was answered.")
        yield from self._first.lines("adi_first_token_seconds", "Time to the first token.")


def _engine(about: About, stats: Stats) -> Iterator[str]:
    yield from _head("adi_info", "What is served.", "gauge")
    told = {
        "model": about.model,
        "fingerprint": about.fingerprint,
        "device": about.device,
        "dtype": about.dtype,
    }
    yield f"adi_info{{{','.join(f'{name}={_quoted(text)}' for name, text in told.items())}}} 1"
    yield from _single("adi_context_tokens", "Tokens of one request.", "gauge", about.n_ctx)
    for entry in fields(stats):
        if entry.name == "extra":
            continue
        value = getattr(stats, entry.name)
        gauge = GAUGES.get(entry.name)
        name = gauge or f"adi_{UNITS.get(entry.name, entry.name)}_total"
        yield from _single(name, HELP[entry.name], "gauge" if gauge else "counter", value)
    for name, value in sorted(stats.extra.items()):
        yield from _single(
            "adi_" + re.sub(r"\W", "_", name, flags=re.ASCII), "Of this engine.", "gauge", value
        )


def _head(name: str, told: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"


def _single(name: str, told: str, kind: str, value: float) -> Iterator[str]:
    yield from _head(name, told, kind)
    yield f"{name} {value}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'
