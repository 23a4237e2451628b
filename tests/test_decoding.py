"""The JSON door: for whatever arrives a value or a reason, and never another exception."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamstore import StreamStore
from streamstore.decoding import decode_json, nests_over
from streamstore.errors import MalformedEvent

DIGITS = sys.get_int_max_str_digits()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)

# Nearly JSON: tokens in any order reach deeper than arbitrary bytes.
_TOKENS = ["{", "}", "[", "]", ",", ":", '"a"', '"', "\\", "\\u", "\\ud83d", "1", "-", "e", ".", "0",
           "true", "nul", "NaN", "-Infinity", " ", "\n", "\ufeff", "\u2028", "\x00", "é"]  # fmt: skip
nearly = st.lists(st.sampled_from(_TOKENS), max_size=14).map("".join)


def outcome(data: str | bytes) -> Any:
    """The value in a one-tuple, or None where the door says why not."""
    try:
        return (decode_json(data),)
    except MalformedEvent as error:
        assert error.field == ""
        assert str(error).startswith("not JSON: ")
        assert len(str(error)) < 200
        return None


class TestTotal:
    @given(st.binary(max_size=40))
    @example(b"")
    @example(b"\xff{}")
    @example(b"\xed\xa0\xbd")
    def test_any_bytes_are_a_value_or_a_reason(self, data: bytes) -> None:
        outcome(data)

    @given(nearly)
    def test_what_is_nearly_json_is_what_the_standard_library_says(self, text: str) -> None:
        try:
            expected = (json.loads(text, parse_constant=lambda _: 1 / 0),)
        except (ValueError, ZeroDivisionError):
            expected = None
        got = outcome(text)
        if not math.isfinite(_largest(expected)):
            expected = None  # 1e999 is an infinity, whatever the standard library says
        assert got == expected

    @given(values, st.sampled_from(["", " ", "\r\n\t ", "\n"]), st.booleans())
    def test_every_value_comes_through_blanks_around_it_or_not(
        self, value: Any, blank: str, ascii_only: bool
    ) -> None:
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert decode_json(blank + text + blank) == value
        try:
            assert decode_json((blank + text + blank).encode()) == value
        except UnicodeEncodeError:
            pass  # a lone half has no UTF-8

    @pytest.mark.parametrize("blank", ["\ufeff", "\u2028", "\xa0", "\x0c", "\x00"])
    def test_nothing_else_may_stand_around_a_value(self, blank: str) -> None:
        assert outcome(blank + "{}") is None
        assert outcome("{}" + blank) is None

    @pytest.mark.parametrize(
        "text", ["", " ", "{} {}", "{}x", "[1,]", "{'a': 1}", "01", "+1", "1.", "'"]
    )
    def test_what_is_no_json_is_refused(self, text: str) -> None:
        assert outcome(text) is None


def _largest(value: Any) -> float:
    if isinstance(value, dict):
        return max(map(_largest, value.values()), default=0)
    if isinstance(value, list | tuple):
        return max(map(_largest, value), default=0)
    return abs(value) if isinstance(value, float) else 0


class TestNumbers:
    @pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e400"])
    @pytest.mark.parametrize("around", ["{}", "[1, {}]", '{{"a": {}}}'])
    def test_no_nan_and_no_infinity_comes_in(self, text: str, around: str) -> None:
        assert outcome(around.format(text)) is None

    def test_large_and_small_ones_that_are_finite_do(self) -> None:
        assert decode_json("[1e308, 1e-999, -0.0, 1E2]") == [1e308, 0.0, -0.0, 100.0]

    @pytest.mark.parametrize("digits", [DIGITS + 1, 5000, 100_000])
    def test_an_integer_with_too_many_digits_is_refused(self, digits: int) -> None:
        assert outcome("9" * digits) is None
        assert outcome('{"seq": -' + "9" * digits + "}") is None

    def test_one_that_can_be_read_is_exact(self) -> None:
        assert decode_json("9" * DIGITS) == 10**DIGITS - 1

    def test_a_number_with_a_point_is_no_integer(self) -> None:
        assert type(decode_json("1.0")) is float
        assert type(decode_json("1")) is int
        assert type(decode_json("true")) is bool


class TestDepth:
    @pytest.mark.parametrize("depth", [10_000, 100_000])
    @pytest.mark.parametrize("open, close", [("[", "]"), ('{"a":', "}")])
    def test_what_nests_too_deep_is_refused(self, depth: int, open: str, close: str) -> None:
        assert outcome(open * depth) is None
        result = outcome(open * depth + "1" + close * depth)
        assert result is None or nests_over(result[0], depth - 1)

    def test_nesting_is_counted_without_recursion(self) -> None:
        value: Any = 1
        for depth in range(5_000):
            assert depth > 50 or not nests_over(value, depth)
            value = {"a": value} if depth % 2 else [value]
            assert depth > 50 or nests_over(value, depth)
        assert nests_over(value, 4_999)
        assert not nests_over(value, 5_000)

    @given(values)
    def test_the_depth_is_that_of_the_deepest_branch(self, value: Any) -> None:
        def depth(inner: Any) -> int:
            if isinstance(inner, dict):
                inner = list(inner.values())
            return 1 + max(map(depth, inner), default=0) if isinstance(inner, list) else 0

        deepest = depth(value)
        assert not nests_over(value, deepest)
        assert deepest == 0 or nests_over(value, deepest - 1)

    @pytest.mark.parametrize("depth", [150, 300, 600, 900, 100_000])
    def test_a_deep_line_is_a_verdict_and_the_next_one_counts(self, depth: int) -> None:
        # Freezing, comparing and dumping recurse: what they cannot walk must not come in.
        store = StreamStore("native", ticks="manual")
        deep = "[" * depth + "]" * depth
        line = '{"type": "session.updated", "sessionId": "s", "info": {"a": %s}}\n'
        store.feed((line % deep).encode() + (line % 1).encode())
        store.flush()
        verdicts = store.health.counts["verdicts"]
        accepted = 2 if depth == 150 else 1
        assert verdicts.get("accepted") == accepted
        assert sum(verdicts.values()) == 2
        session = store.session("s")
        assert session is not None and session.info == {"a": 1}
        json.dumps([store.state(), store.save()])


class TestText:
    def test_a_repeated_key_keeps_its_last_value(self) -> None:
        assert decode_json('{"a": 1, "b": 2, "a": 3}') == {"a": 3, "b": 2}

    @pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\u0085", "\x7f", "\U0001f600", "\ufffe"])
    def test_any_sign_may_stand_in_a_string(self, sign: str) -> None:
        assert decode_json(f'"a{sign}b"') == decode_json(f'"a{sign}b"'.encode()) == f"a{sign}b"

    @pytest.mark.parametrize("sign", ["\n", "\x00", "\x1f", "\t"])
    def test_a_control_sign_has_to_be_escaped(self, sign: str) -> None:
        assert outcome(f'"a{sign}b"') is None

    def test_escaped_halves_of_a_pair_stay_as_they_came(self) -> None:
        assert decode_json(r'"\ud83d\ude00"') == "\U0001f600"
        assert decode_json(r'"\ud83d"') == "\ud83d"
        assert decode_json(r'"\ude00\ud83d"') == "\ude00\ud83d"

    @pytest.mark.parametrize("data", [b"\xff", b"\xc3", b"\xe2\x80", b"\xed\xa0\xbd", b"\xc0\xaf"])
    def test_invalid_utf8_in_a_string_reads_as_unknown(self, data: bytes) -> None:
        value = decode_json(b'"a' + data + b'b"')
        assert value[0] + value[-1] == "ab"
        assert set(value[1:-1]) == {"\ufffd"} or value[1:-1] == "\ufffd/"

    def test_invalid_utf8_around_a_value_is_refused(self) -> None:
        assert outcome(b"\xff{}") is None
        assert outcome(b"{}\xff") is None
