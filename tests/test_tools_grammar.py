"""The grammar of an action: what a real llama.cpp lets through is a call, whatever the model."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from memory.records import Completion, Message
from model.connect import ModelChoice, connect
from model.protocol import Model, Sampling
from model.server import stop
from tools.grammar import MAX_PATHS, grammar_of
from tools.registry import TOOLS, Malformed, grammar, parse

PATHS = [
    "src/app.py",
    "src/api.py",
    "src/a b.py",
    "README.md",
    'q"uote\\.py',
    "tests/test_ünï.py",
    "src/app.pyi",
]
ASK = [Message(role="user", content="act")]


def test_the_paths_share_their_beginnings() -> None:
    rule = next(line for line in grammar(PATHS).split("\n") if line.startswith("path ::="))
    assert rule.count('"src/') == 1
    assert '"q\\"uote\\\\.py"' in rule


def test_too_many_paths_are_not_listed() -> None:
    many = [f"f{number}.py" for number in range(MAX_PATHS + 1)]
    assert "path ::= newpath" in grammar(many)
    assert "path ::= newpath" in grammar([])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    from model.tiny import write_tiny

    weights = write_tiny(tmp_path_factory.mktemp("weights") / "qwen2.5-coder-tiny.gguf")
    home = tmp_path_factory.mktemp("home")
    with closing(
        connect(ModelChoice(home, name=str(weights), n_ctx=4096, threads=1, idle_s=120))
    ) as connected:
        yield connected
    stop(home / "server")


def answers(model: Model, rules: str, count: int, tokens: int) -> list[Completion]:
    """Random answers under the grammar: the weights are random, so nothing but the grammar shapes them."""
    return [
        model.chat(ASK, Sampling(max_tokens=tokens, temperature=1.5, top_p=1.0, seed=seed, grammar=rules))[0]
        for seed in range(1, count + 1)
    ]


@pytest.mark.engine
def test_what_the_grammar_lets_through_is_a_call(model: Model) -> None:
    ended = [done for done in answers(model, grammar(PATHS), 12, 900) if done.finish_reason == "stop"]
    assert len(ended) >= 3
    for done in ended:
        assert parse(done.text).tool in TOOLS, done.text


@pytest.mark.engine
def test_only_paths_of_the_repository_are_named(model: Model) -> None:
    rules = grammar_of([TOOLS["read"]], PATHS, thought=False)
    calls = [parse(done.text) for done in answers(model, rules, 12, 60)]
    assert {call.tool for call in calls} == {"read"}
    assert {call.arguments["path"] for call in calls} <= set(PATHS)
    assert len({call.arguments["path"] for call in calls}) > 1


@pytest.mark.engine
def test_a_body_of_random_text_is_kept_to_the_letter(model: Model) -> None:
    rules = grammar_of([TOOLS["edit"]], ["a.py"], thought=False)
    for done in answers(model, rules, 6, 900):
        try:
            body = parse(done.text).arguments["body"]
        except Malformed:
            continue  # out of tokens inside the fence, or the lines are in the wrong order
        assert isinstance(body, str)
        assert body.replace("\r", "") in done.text.replace("\r", "")


@pytest.mark.engine
def test_no_more_than_three_empty_lines_follow_each_other(model: Model) -> None:
    rules = grammar_of([TOOLS["write"]], PATHS)
    only = rules.replace("root ::=", "root ::= gap\nunused ::=", 1)
    done = answers(model, only, 8, 200)
    assert {answer.finish_reason for answer in done} == {"stop"}
    assert {answer.text.count("\n") for answer in done} <= {1, 2, 3}
    assert not any(answer.text.strip() for answer in done)
