"""The bare model as an agent of a suite: one greedy answer, no tools. What every scaffold must beat."""

import ast
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent import context
from agent.answers import block
from agent.localize import Suspect, decoded, suspects
from agent.merge import merged
from agent.source import lines_of, parsed
from agent.suite_read_multipl_e import LANGUAGES
from agent.suite_task import Attempt, SuiteTask
from memory.records import Completion, Message
from model.errors import PromptTooLong, Unsupported
from model.protocol import Model, Sampling
from sandbox.workcopy import WorkCopy, snapshot

LEAST_TOKENS, MOST_TOKENS = 1024, 2048
"""Room of the answer: the prompt must leave the first, the answer may take the second."""
COMPLETED = frozenset({"humaneval", "mbpp", "multipl_e"})
"""Suites of one function, asked in the words in which the published figures were made."""
_DOES = (ast.Expr, ast.If, ast.Assert, ast.For, ast.While, ast.With, ast.Try)
"""Statements that no function needs."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked, and where the answer goes."""

    path: str
    """File that the answer is merged into; empty when there is none."""
    messages: list[Message]
    begun: str = ""
    """The answer's beginning, which was given to the model."""


@dataclass(frozen=True, slots=True)
class OneShot:
    """One greedy answer of the model."""

    connect: Callable[[], Model]
    name: str = "oneshot"

    def attempt(self, task: SuiteTask, repo: Path, prompt: str) -> Attempt:
        """See agent.suite_task.Agent."""
        began = time.monotonic()
        with closing(self.connect()) as model:
            asked = _question(task, repo, prompt, model)
            sampling = Sampling(
                max_tokens=max(LEAST_TOKENS, _room(model, asked.messages)),
                stop=context.COMPLETE_STOPS if asked.begun else (),
            )
            try:
                (completion,) = model.chat(asked.messages, sampling)
            except PromptTooLong as error:
                return Attempt({}, "too-long", str(error), model=model.capabilities.model)
        answer = _answer(asked, repo, completion)
        return Attempt(
            answer=answer,
            ended=_ended(answer, completion),
            wall_s=time.monotonic() - began,
            calls=1,
            prompt_tokens=completion.usage.prompt_tokens,
            cached_tokens=completion.usage.cached_tokens,
            completion_tokens=completion.usage.completion_tokens,
            strategy="one answer",
            model=completion.model,
        )


def _ended(answer: Mapping[str, bytes | None], completion: Completion) -> str:
    if not answer:
        return "no-code"
    return "cut" if completion.finish_reason == "length" else "answered"


def _room(model: Model, messages: Sequence[Message]) -> int:
    """Tokens that the answer may take, LEAST_TOKENS where the model cannot tell; too few may be left."""
    try:
        left = model.capabilities.n_ctx - model.count(messages) if model.capabilities.n_ctx else LEAST_TOKENS
    except Unsupported:
        left = LEAST_TOKENS
    return min(MOST_TOKENS, left)


def _question(task: SuiteTask, repo: Path, prompt: str, model: Model) -> _Question:
    if len(task.answers) != 1:
        return _located(repo, prompt, model)
    (path,) = task.answers
    text = _text(repo, path)
    complete = task.language if task.suite in COMPLETED else ""
    shown = _without_body(text, complete) if complete else text
    messages = context.oneshot_messages(prompt, {path: shown}, complete=complete)
    begun = messages[-1].content if messages[-1].role == "assistant" else ""
    return _Question(path, messages, begun)


def _without_body(stub: str, language: str) -> str:
    """What was published: a stub without the body that only makes it compile."""
    found = next((each for code, each in LANGUAGES.items() if code == language), None)
    return stub.rstrip().removesuffix(found.body.rstrip()) if found else stub


def _located(repo: Path, prompt: str, model: Model) -> _Question:
    """The files that ADI's own localisation ranks first, as many as fit; the answer goes into the first."""
    with tempfile.TemporaryDirectory(prefix="adi-oneshot-") as folder:
        files = WorkCopy(snapshot(repo, Path(folder)))
        paths = files.paths()
        found: list[Suspect] = suspects(files, (), prompt)

    def fits(messages: Sequence[Message]) -> bool:
        return _room(model, messages) >= LEAST_TOKENS

    about, shown = context.fitting(fits, prompt, context.listed(paths), (), found)
    return _Question(shown[0].path if shown else "", context.oneshot_messages(about))


def _text(repo: Path, path: str) -> str:
    return decoded((repo / path).read_bytes()) if (repo / path).is_file() else ""


def _answer(asked: _Question, repo: Path, completion: Completion) -> dict[str, bytes | None]:
    """The first code block, also one that the window cut, as the file that it changes."""
    code = block(f"{asked.begun}{completion.text}")
    if not code.strip("`\n ") or not asked.path:
        return {}
    old = _text(repo, asked.path)
    if asked.begun and asked.path.endswith(".py"):
        code = _defined(code)
    code = merged(asked.path, old, code) or code
    return {asked.path: (code.rstrip() + "\n").encode("utf-8", "surrogateescape")}


def _defined(script: str) -> str:
    """The script without what it would do at its import, such as trying itself out, as EvalPlus cuts it."""
    tree = parsed(script)
    if tree is None:
        return script
    lines = lines_of(script)
    kept = [node for node in tree.body if not isinstance(node, _DOES)]
    firsts = [min([node.lineno, *(each.lineno for each in _decorators(node))]) for node in kept]
    texts = ["\n".join(lines[first - 1 : node.end_lineno]) for first, node in zip(firsts, kept, strict=True)]
    return "\n\n\n".join(texts) + "\n"


def _decorators(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.decorator_list
    return []
