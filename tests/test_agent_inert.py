"""Text of strangers cannot steer a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.inert import inert, inert_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b[1A", r"\x1b[2J\x1b[1A"),
        ("\x1b]52;c;c2VjcmV0\x07", r"\x1b]52;c;c2VjcmV0\x07"),
        ("\x1b]8;;http://evil\x07", r"\x1b]8;;http://evil\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("safe\rEVIL", r"safe\x0dEVIL"),
        ("a\u202eb\u2066c\u200bd\ufeff", r"a\u202eb\u2066c\u200bd\ufeff"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("lone\ud800", r"lone\ud800"),
        ("\x00\x7f", r"\x00\x7f"),
        ("windows\r\nlines\tkept", "windows\nlines\tkept"),
        ("plain ascii, naïve, 日本, 😀", "plain ascii, naïve, 日本, 😀"),
    ],
)
def test_what_moves_hides_or_reorders_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert inert(text) == shown


def test_one_line_stays_one_line() -> None:
    assert inert_line("a\nb\tc\u2028d\x85e") == r"a\nb\tc\u2028d\x85e"


@given(st.text(st.characters()))
def test_nothing_with_power_comes_out_and_all_can_be_printed(text: str) -> None:
    for shown in (inert(text), inert_line(text)):
        shown.encode()
        assert all(
            c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown
        )
    assert len(inert_line(text).splitlines()) <= 1
    assert inert(inert(text)) == inert(text)
