"""`adi complete`: where a completion ends, what the model is shown, and what is refused."""

import io
import json
import sys
from pathlib import Path

import pytest

from agent.cli import invoke
from agent.cli_complete import place_of
from agent.complete import Chunk, Place, complete
from agent.complete_cut import Hole, cut, stops
from agent.errors import UsageError
from model.errors import PromptTooLong, Unsupported
from model.http import Endpoint, Transport
from model.openai import UrlModel
from model.probe import Probe
from model.scripted import ScriptedModel
from sandbox.workcopy import WorkCopy, snapshot
from tests.conftest import RepoFactory
from tests.openai_server import Said, serve

PRICES = '''"""Prices."""


class Discount:
    def percent(self, pieces: int) -> int:
        return 5


def price_of(item: str) -> int:
    return 100


def unrelated(secret: int) -> int:
    return secret
'''
SHOP = {
    "shop/cart.py": "from shop.prices import price_of, Discount\n\n\ndef total(items):\n    return \n",
    "shop/prices.py": PRICES,
    "shop/other.py": "def price_off(item):\n    return 3\n",
}


@pytest.mark.parametrize(
    ("language", "prefix", "suffix", "text", "kept"),
    [
        ("python", "def f(x):\n    ", "\n\n\ndef g():\n    pass\n",
         "return x\n\n\ndef h():\n    pass\n", "return x"),
        ("python", "def f(x):\n    ", "\n", "return x\n\ndef g():\n    pass\n", "return x"),
        ("python", "class A:\n    def f(self", "",
         "):\n        return 1\n\n    def g(self):\n", "):\n        return 1"),
        ("python", "if a:\n    ", "\n", "b()\nelse:\n    c()\n", "b()"),
        ("python", "def f():\n", "\n",
         "    if a:\n        b()\n    else:\n        c()\nf()\n",
         "    if a:\n        b()\n    else:\n        c()"),
        ("python", "x = foo(", ")\n", "a, b)\nprint(x)", "a, b"),
        ("python", "x = foo(", "", "a, (b)\n)\n\nprint(x)", "a, (b)\n)"),
        ("python", "x = foo(", ")\n", '"a)", b)', '"a)", b'),
        ("python", "x = ", " + 1\n", "y\nfoo", "y"),
        ("python", "def f():\n    a = 1\n    ", "\n    c = 3\n    return a\n",
         "b = 2\n    c = 3\n    return a\n", "b = 2"),
        ("python", "def f():\n    a = 1\n    ", "\n    c = 3\n    return a\n",
         "b = 2\n    c = 3\n    return a + 1\n", "b = 2\n    c = 3\n    return a + 1"),
        ("python", "def f():\n    ", "\n", "a()\n\n\n    b()\n", "a()"),
        ("python", "", "", "import os\n\nprint(os)\n", "import os"),
        ("c", "int f(int x) {\n    ", "\n}\n", "return x;\n}\n\nint g() { return 1; }", "return x;"),
        ("c", "int f(int x) {\n    ", "", "return x;\n}\n\nint g() { return 1; }", "return x;\n}"),
        ("c", "for (;;) {\n  if (x) {\n    ", "\n  }\n}\n", "y();\n  } else {\n    z();\n  }\n", "y();"),
        ("javascript", "it(() => {\n  ", "", "a({b: [1]});\n});\nit(() => {", "a({b: [1]});\n});"),
        ("javascript", "let s = `{${", "}`;\n", "x", "x"),
        ("", "one\n", "three\n", "two\nthree\n", "two\n"),
        ("python", "def f():\r\n    ", "\r\n", "a()\n    b()\nc()\n", "a()\r\n    b()"),
        ("python", "def f():\n    return 1", "\n", "", ""),
    ],
)  # fmt: skip
def test_a_completion_ends_with_its_block(
    language: str, prefix: str, suffix: str, text: str, kept: str
) -> None:
    assert cut(text, Hole(prefix, suffix, language)) == kept


def test_stops_save_tokens_where_the_end_is_known() -> None:
    assert stops(Hole("x = ", " + 1\n", "python")) == ("\n",)
    assert "\ndef " in stops(Hole("def f():\n    ", "\n", "python"))
    assert "\ndef " not in stops(Hole("", "\n", "python"))
    assert stops(Hole("f(", ");\n", "c")) == ("\n\n\n",)


def test_the_repository_is_the_context_in_an_order_that_keeps_a_prefix_cache(
    make_repo: RepoFactory, tmp_path: Path
) -> None:
    files = WorkCopy(snapshot(make_repo(SHOP), tmp_path / "shadow"))
    model = ScriptedModel(lambda _: "sum(price_of(i) for i in items)\n\n\ndef next(): pass")
    text = SHOP["shop/cart.py"]
    opened = [Chunk("notes.txt", "items are names")]
    done = complete(model, Place("shop/cart.py", text, 5, 12), files, opened=opened)
    assert done.texts == ("sum(price_of(i) for i in items)",)
    [asked] = model.asked
    assert (asked.prefix, asked.suffix) == (text[:-1], "\n")
    assert asked.context.startswith("notes.txt\nitems are names\n\nshop/prices.py\n")
    assert "def price_of(item: str) -> int" in asked.context
    assert "class Discount" in asked.context
    assert "unrelated" not in asked.context  # nobody names it here
    assert "price_off" not in asked.context
    assert done.around.used == ("notes.txt", "shop/prices.py")
    complete(model, Place("shop/cart.py", text, 4, 4), files, opened=opened)
    assert model.asked[1].context == asked.context  # a cursor that moves leaves the front as it was


def test_a_long_file_is_shown_in_whole_lines_that_move_in_steps() -> None:
    text = "".join(f"value_{number} = {number}\n" for number in range(1000))
    model = ScriptedModel(lambda _: "x")
    firsts = {
        complete(model, Place("long.py", text, line), tokens=600).around.first_line
        for line in range(500, 532)
    }
    assert len(firsts) == 2
    asked = model.asked[0]
    assert asked.prefix.startswith("value_")
    assert model.count_text(asked.prefix + asked.suffix) <= 600
    assert asked.suffix.startswith("\nvalue_500")


def test_what_does_not_fit_is_told_and_never_cut(make_repo: RepoFactory, tmp_path: Path) -> None:
    files = WorkCopy(snapshot(make_repo(SHOP), tmp_path / "shadow"))
    model = ScriptedModel(lambda _: "x")
    big = Chunk("big.txt", "word " * 2000)
    done = complete(model, Place("shop/cart.py", SHOP["shop/cart.py"], 5), files, opened=[big])
    assert done.around.left_out == ("big.txt",)
    assert done.around.used == ("shop/prices.py",)
    with pytest.raises(PromptTooLong, match="the prompt has"):
        complete(model, Place("a.py", "x = [" + "1, " * 9000, 1))
    assert len(model.asked) == 1


def test_alternatives_are_drawn_and_each_is_told_once() -> None:
    model = ScriptedModel([["a", "b", "a\n\n\n"]])
    done = complete(model, Place("a.py", "x = ", 1), n=3)
    assert done.texts == ("a", "b")
    assert model.asked[0].sampling.temperature > 0
    assert done.usage.completion_tokens == 3


def test_places_are_told_as_editors_tell_them() -> None:
    assert place_of("a:b.py:3:7") == (Path("a:b.py"), 3, 7)
    assert place_of("a.py:3") == (Path("a.py"), 3, 0)
    hole = Place("a.py", "ä = 1\r\nb = ", 2).hole()
    assert (hole.prefix, hole.suffix) == ("ä = 1\r\nb = ", "")
    assert Place("a.py", "ä = 1\r\nb\r\n", 1, 2).hole().prefix == "ä"
    assert Place("a.py", "a\n", 2, 1).hole().prefix == "a\n"
    assert Place("a.py", "", 1, 1).hole() == Hole("", "", "python")


def test_what_is_no_place_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text("x = 1\n")
    (tmp_path / "b.py").write_bytes(b"\0\1\2")
    (tmp_path / "c.py").write_bytes(b"x = '\xff'")
    for where, why in (
        (f"{tmp_path}/none.py:1:1", "there is no file"),
        (f"{tmp_path}:1:1", "cannot be read"),
        (f"{source}:9:1", "has 2 lines, there is no line 9"),
        (f"{source}:0:1", "no line 0"),
        (f"{source}:1:99", "has 5 characters, there is no column 99"),
        (f"{source}:1:0", "columns count from 1"),
        (f"{tmp_path}/b.py:1:1", "is a binary file"),
        (f"{tmp_path}/c.py:1:1", "is not UTF-8: byte 5"),
        (str(source), "does not name a place"),
        ("/no/such/folder/a.py:1:1", "there is no file"),
    ):
        with pytest.raises(UsageError, match=why):
            invoke(["complete", where])


def test_a_model_without_fill_in_the_middle_is_refused_with_a_hint() -> None:
    with serve(lambda _: Said("x", "plain")) as url:
        model = UrlModel(Transport(lambda: Endpoint(url)), Probe("other", "plain"))
        with pytest.raises(Unsupported, match="fill-in-the-middle") as caught:
            complete(model, Place("a.py", "x = ", 1))
        model.close()
    assert caught.value.hint == "adi complete --model qwen2.5-coder-1.5b"


@pytest.mark.engine
def test_the_command_reads_an_unsaved_buffer(
    make_repo: RepoFactory,
    adi_home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from model.server import stop
    from model.tiny import write_tiny

    repo = make_repo(SHOP)
    monkeypatch.setenv("ADI_MODEL__NAME", str(write_tiny(tmp_path / "qwen2.5-coder-tiny.gguf")))
    monkeypatch.setenv("ADI_MODEL__ENGINE", "llama")
    monkeypatch.setenv("ADI_MODEL__N_CTX", "4096")
    buffer = SHOP["shop/cart.py"].replace("total", "gross")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(buffer.encode())))
    where = f"{repo}/shop/cart.py:5:12"
    try:
        invoke(["complete", where, "--stdin", "--json", "--n", "3", "--open", f"{repo}/shop/other.py"])
        told = json.loads(capsys.readouterr().out)
        invoke(["complete", where, "--max-tokens", "4"])
        assert "{" not in capsys.readouterr().out
    finally:
        stop(adi_home / "server")
    assert told["model"] == "qwen2.5-coder-tiny"
    assert told["range"] == {"start": {"line": 5, "column": 12}, "end": {"line": 5, "column": 12}}
    assert 0 < told["usage"]["prompt_tokens"] < 1024
    assert len(told["alternatives"]) <= 2
    assert told["shown"]["context"] == ["shop/other.py", "shop/prices.py"]
