"""Text for terminals: whatever it was, nothing in it drives one."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore.terminal import escape, json_text, one_line

# All there is, lone surrogates too, and often what matters.
BIDI = "\u061c\u200e\u200f" + "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
texts = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cs"]),
        st.sampled_from([chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]]),
        st.sampled_from(list(BIDI)),
    )
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner | texts),
    max_leaves=8,
)


def is_harmless(text: str) -> bool:
    return all(
        character in "\t\n"
        or (
            unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
            and character not in BIDI
        )
        for character in text
    )


def test_every_character_alone_is_harmless_or_escaped() -> None:
    for code in range(0x110000):
        shown = escape(chr(code))
        assert is_harmless(shown), hex(code)
        assert shown == chr(code) or (shown.startswith("\\") and shown.isascii()), hex(code)


def test_what_is_harmless_stays_as_it_is() -> None:
    text = "plain\ttext\nمرحبا שלום 日本語 é e\u0301 👩\u200d👩\u200d👧 🇯🇵 \u00a0 \u00ad {[\\]}"
    assert escape(text) is text


@given(texts, texts)
def test_a_text_may_be_escaped_piece_by_piece(first: str, second: str) -> None:
    assert escape(first + second) == escape(first) + escape(second)


@given(texts)
def test_an_escaped_text_is_harmless_and_stays_so(text: str) -> None:
    shown = escape(text)
    assert is_harmless(shown)
    assert escape(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    {
        "\x1b[2J\x1b]0;owned\x07": "\\x1b[2J\\x1b]0;owned\\x07",
        "\x9b31m": "\\x9b31m",
        "\x00\x7f": "\\x00\\x7f",
        "over\rwritten": "over\\rwritten",
        "\u202egpj.exe": "\\u202egpj.exe",
        "\u2028": "\\u2028",
        "half \ud83d": "half \\ud83d",
    }.items(),
)
def test_what_is_dangerous_is_shown(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(texts, st.integers(0, 30))
def test_one_line_is_one_harmless_line_of_bounded_length(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert is_harmless(line)
    assert "\n" not in line and "\t" not in line


def test_one_line_keeps_a_short_text_whole() -> None:
    assert one_line("x" * 20, 20) == "x" * 20
    assert one_line("x" * 21, 20) == "x" * 19 + "…"


@given(values | texts, st.booleans())
def test_json_is_harmless_and_the_same_value_when_read(value: object, ascii_only: bool) -> None:
    text = json_text(value, ascii_only=ascii_only)
    assert is_harmless(text)
    assert not ascii_only or text.isascii()
    # JSON has no halves: two that follow one another are one character for every reader.
    assert json.loads(text) == json.loads(json.dumps(value))


def test_json_does_not_depend_on_the_order_of_members() -> None:
    assert json_text({"a": 1, "b": {"d": 1, "c": 2}}) == json_text({"b": {"c": 2, "d": 1}, "a": 1})


def test_json_of_what_is_no_json_raises() -> None:
    with pytest.raises(ValueError):
        json_text(float("nan"))
