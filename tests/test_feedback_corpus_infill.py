"""Filling in the middle: the parts make the file again, and nothing but seed and text decides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.corpus_infill import Infill, Spans, cut, holds_control, packed, restored, written
from model.catalogue import FimTokens
from tests.corpus_kit import TOKENS

CODE = "def add(a, b):\n    return a + b\n\n\nprint(add(1, 2))\n"

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)


@given(
    text=texts,
    seed=st.integers(0, 9),
    spm=st.sampled_from((0.0, 0.5, 1.0)),
    spans=st.sampled_from(("both", "lines", "characters")),
)
@settings(max_examples=300, deadline=None)
def test_prefix_middle_and_suffix_are_the_file(text: str, seed: int, spm: float, spans: Spans) -> None:
    infill = Infill(TOKENS, 1.0, spm, spans, seed)
    parts = cut(text, infill)
    assert parts.prefix + parts.middle + parts.suffix == text
    if spans == "lines" and parts.mode != "none":
        for edge in (parts.prefix, parts.prefix + parts.middle):
            assert edge in ("", text) or edge.endswith("\n")
    if not holds_control(text, TOKENS):
        assert restored(written(parts, TOKENS), parts.mode, TOKENS) == text


def test_both_forms_are_those_of_the_paper() -> None:
    psm, spm = cut(CODE, Infill(TOKENS, 1.0, 0.0)), cut(CODE, Infill(TOKENS, 1.0, 1.0))
    assert (psm.mode, spm.mode) == ("psm", "spm")
    assert (psm.prefix, psm.middle, psm.suffix) == (spm.prefix, spm.middle, spm.suffix)
    assert 0 < len(psm.middle) < len(CODE)
    assert written(psm, TOKENS) == (
        f"<|fim_prefix|>{psm.prefix}<|fim_suffix|>{psm.suffix}<|fim_middle|>{psm.middle}"
    )
    assert written(spm, TOKENS) == (
        f"<|fim_prefix|><|fim_suffix|>{spm.suffix}<|fim_middle|>{spm.prefix}{spm.middle}"
    )


def test_the_form_is_what_the_model_is_asked_in() -> None:
    """Trained and served prompts differ in nothing, or the training is for another task."""
    parts = cut(CODE, Infill(TOKENS, 1.0, 0.0))
    assert written(parts, TOKENS) == TOKENS.text(parts.prefix, parts.suffix, "") + parts.middle


def test_rates_are_kept_and_seeds_differ() -> None:
    many = [f"value_{n} = {n}\nother_{n} = {n}\nlast = 1\n" for n in range(2000)]
    parts = [cut(text, Infill(TOKENS)) for text in many]
    modes = [part.mode for part in parts]
    assert 900 < modes.count("none") < 1100
    assert 420 < modes.count("psm") < 580
    gaps = [part for part in parts if part.mode != "none"]
    by_line = [part for part in gaps if part.prefix == "" or part.prefix.endswith("\n")]
    assert 0.4 < len(by_line) / len(gaps) < 0.75
    assert parts == [cut(text, Infill(TOKENS)) for text in many]
    assert parts != [cut(text, Infill(TOKENS, seed=1)) for text in many]
    assert {cut(text, Infill(TOKENS, 0.0)).mode for text in many} == {"none"}


def test_the_choice_is_frozen() -> None:
    """A change of these would give a corpus other bytes for the same wish."""
    modes = [cut(CODE, Infill(TOKENS, seed=seed)).mode for seed in range(8)]
    assert modes == ["psm", "none", "psm", "psm", "psm", "none", "none", "spm"]
    one = cut(CODE, Infill(TOKENS, 1.0))
    assert (len(one.prefix), len(one.middle), len(one.suffix)) == (2, 27, 22)


@pytest.mark.parametrize("text", ["", "x"])
def test_what_is_too_short_to_cut_stays_whole(text: str) -> None:
    parts = cut(text, Infill(TOKENS, 1.0, spans="lines"))
    assert (parts.mode, parts.prefix) == ("none", text)


@pytest.mark.parametrize(
    "text",
    [
        "a <|fim_middle|> b",
        "<|endoftext|>",
        "x = '<|im_start|>'",
        "<|repo_name|>",
        "<|vision_pad|>",
        "<|fim_pad|>",
    ],
)
def test_control_tokens_in_code_are_seen(text: str) -> None:
    assert holds_control(text, TOKENS)
    assert holds_control(text, None)


@pytest.mark.parametrize(
    "text", ["a <| b |> c", "x |> f", "<|>", "<||>", "if a <|b| > c", "<fim_middle>", "<|1|>"]
)
def test_operators_are_no_control_tokens(text: str) -> None:
    assert not holds_control(text, TOKENS)


def test_tokens_of_another_family_are_seen() -> None:
    other = FimTokens(prefix="<PRE>", suffix="<SUF>", middle="<MID>", stops=("<EOT>",))
    assert holds_control("a <MID> b", other)
    assert holds_control("a <EOT> b", other)
    assert not holds_control("a <MID> b", TOKENS)


def test_several_files_are_packed_as_the_family_was_trained() -> None:
    text = packed("repo-1", [("a.py", "a = 1\n"), ("b.py", "b = 2")], TOKENS)
    assert text == "<|repo_name|>repo-1\n<|file_sep|>a.py\na = 1\n<|file_sep|>b.py\nb = 2"


def test_what_has_not_the_form_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks a token"):
        restored("plain", "psm", TOKENS)
    with pytest.raises(ValueError, match="before its suffix"):
        restored("<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>c", "spm", TOKENS)
