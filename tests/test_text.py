"""Growing text against plain strings: what is read is what was appended, whoever reads when."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore.text import (
    GrowingText,
    TextView,
    common_prefix,
    ends_high,
    has_surrogate,
    pair_surrogates,
    shown,
    starts_low,
)

HIGH, LOW, FACE = "\ud83d", "\ude00", "\U0001f600"

# One character per width that CPython stores, and both halves of a pair.
texts = st.text("ab é€\u2028" + FACE + HIGH + LOW, max_size=12)
fragments = st.lists(texts, max_size=30)


def units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


class TestSurrogates:
    @given(texts)
    def test_pairing_is_what_utf_16_says(self, text: str) -> None:
        paired = pair_surrogates(text)
        assert units(paired) == units(text)
        assert all(not (ends_high(a) and starts_low(b)) for a, b in pairwise(paired))
        assert pair_surrogates(paired) == paired

    @given(texts, texts)
    def test_pairing_a_joined_text_does_not_depend_on_where_it_was_cut(
        self, first: str, second: str
    ) -> None:
        assert pair_surrogates(first + second) == pair_surrogates(pair_surrogates(first) + second)

    @given(texts)
    def test_a_shown_text_is_as_long_and_can_be_encoded(self, text: str) -> None:
        seen = shown(text)
        assert len(seen) == len(text)
        seen.encode("utf-8")
        for was, now in zip(text, seen, strict=True):
            assert now == ("\ufffd" if "\ud800" <= was <= "\udfff" else was)

    @pytest.mark.parametrize("text", ["", "plain", "é€" + FACE])
    def test_a_text_without_halves_is_not_copied(self, text: str) -> None:
        assert shown(text) is text
        assert pair_surrogates(text) is text
        assert not has_surrogate(text)

    @pytest.mark.parametrize("half", ["\ud800", "\udbff", "\udc00", "\udfff"])
    def test_the_ranges_of_the_halves_are_exact(self, half: str) -> None:
        assert has_surrogate("a" + half)
        assert ends_high("a" + half) is (half <= "\udbff")
        assert starts_low(half + "a") is (half >= "\udc00")

    @pytest.mark.parametrize("other", ["", "\ud7ff", "\ue000", "a"])
    def test_their_neighbours_are_no_halves(self, other: str) -> None:
        assert not has_surrogate(other)
        assert not ends_high(other)
        assert not starts_low(other)


class TestCommonPrefix:
    @given(texts, texts, texts)
    def test_it_is_the_longest_one(self, same: str, first: str, second: str) -> None:
        first, second = same + first, same + second
        naive = 0
        while naive < min(len(first), len(second)) and first[naive] == second[naive]:
            naive += 1
        assert common_prefix(first, second) == naive

    @given(st.integers(0, 300), st.integers(0, 40), st.booleans())
    def test_it_is_found_at_every_distance(self, same: int, rest: int, shorter: bool) -> None:
        first = "x" * same + "a" * rest
        second = "x" * same if shorter else "x" * same + "b" * rest
        assert common_prefix(first, second) == same

    def test_what_follows_the_difference_is_not_compared(self) -> None:
        class Counted(str):
            compared = 0

            def __getitem__(self, at: object) -> str:
                piece = super().__getitem__(at)  # type: ignore[index]
                Counted.compared += len(piece)
                return piece

        assert common_prefix(Counted("ab" + "x" * 100_000), Counted("ac" + "x" * 100_000)) == 1
        assert Counted.compared < 20


class TestGrowingText:
    @given(st.lists(st.tuples(texts, st.booleans()), max_size=30))
    def test_it_reads_as_its_fragments_joined_however_often(
        self, steps: list[tuple[str, bool]]
    ) -> None:
        read, unread, naive = GrowingText(), GrowingText(), ""
        for piece, now in steps:
            read.append(piece)
            unread.append(piece)
            naive += piece
            assert read.length == len(naive)
            if now:
                assert read.raw() == naive
        assert read.raw() == unread.raw() == naive
        assert read.read() == shown(naive)

    @given(fragments, st.integers(0, 80), st.integers(0, 80), st.booleans())
    def test_ranges_are_slices_of_the_joined_text(
        self, pieces: list[str], start: int, stop: int, joined: bool
    ) -> None:
        text, naive = GrowingText(), "".join(pieces)
        for piece in pieces:
            text.append(piece)
        if joined:
            text.raw()
        stop = min(stop, len(naive))
        assert text.raw_range(start, stop) == naive[start:stop]
        assert text.read_range(start, stop) == shown(naive[start:stop])
        assert text.read(stop) == shown(naive[:stop])

    @given(st.integers(0, 450), st.data())
    def test_ranges_cross_merged_pieces(self, number: int, data: st.DataObject) -> None:
        text = GrowingText()
        for place in range(number):
            text.append(f"{place},")
        naive = "".join(f"{place}," for place in range(number))
        start = data.draw(st.integers(0, len(naive)))
        stop = data.draw(st.integers(start, len(naive)))
        assert text.raw_range(start, stop) == naive[start:stop]

    def test_reading_twice_gives_the_same_string(self) -> None:
        text = GrowingText("a")
        text.append("b" * 1000)
        assert text.read() is text.read()

    @pytest.mark.parametrize("number", [1, 99, 100, 101, 9_999, 10_000, 10_001, 25_000])
    def test_pieces_stay_few_however_many_come(self, number: int) -> None:
        text = GrowingText()
        for place in range(number):
            text.append(f"{place} ")
        levels = len(str(number)) // 2 + 1
        assert len(text._pieces) <= 100 * levels
        assert sum(text._counts) == len(text._pieces)
        assert text.raw() == "".join(f"{place} " for place in range(number))

    @given(st.lists(st.integers(1, 250), max_size=5))
    def test_pieces_stay_few_when_it_is_read_in_between(self, runs: list[int]) -> None:
        text = GrowingText()
        for run in runs:
            for place in range(run):
                text.append(f"{place} ")
            assert sum(text._counts) == len(text._pieces) <= 300
            text.raw()
        assert text.raw() == "".join(f"{place} " for run in runs for place in range(run))

    @given(
        st.lists(st.tuples(st.text(max_size=4), st.integers(0, 40), st.booleans()), max_size=130)
    )
    def test_a_cut_text_grows_on_its_own(self, steps: list[tuple[str, int, bool]]) -> None:
        text, expected = GrowingText(), ""
        kept: list[tuple[GrowingText, str]] = []
        for piece, back, reads in steps:
            if back > 30:
                kept.append((text, expected))
                length = max(0, len(expected) - (back - 30))
                text, expected = text.cut(length), expected[:length]
            text.append(piece)
            expected += piece
            assert text.length == len(expected)
            assert text.raw_range(max(0, len(expected) - 5), len(expected)) == expected[-5:]
            if reads:
                assert text.raw() == expected
        for older, then in [*kept, (text, expected)]:
            assert older.raw() == then

    def test_a_cut_copies_no_text_that_stays(self) -> None:
        text = GrowingText("x" * 1000)
        text.append("yz")
        whole = text.raw()
        assert text.cut(1001)._pieces[0] is whole
        assert text.cut(1001).raw_range(999, 1001) == "xy"

    def test_a_range_near_the_end_does_not_look_at_what_lies_before_it(self) -> None:
        text = GrowingText()
        for piece in ("before", "abc", "def"):
            text.append(piece)
        text._pieces[0] = None  # type: ignore[call-overload]
        assert text.raw_range(6, 12) == "abcdef"
        assert text.raw_range(10, 11) == "e"

    def test_a_character_is_copied_once_per_level(self) -> None:
        text, copied = GrowingText(), 0
        for _ in range(10_000):
            before = len(text._pieces)
            text.append("x" * 10)
            if len(text._pieces) <= before:
                copied += len(text._pieces[-1])
        assert copied <= 2 * text.length

    def test_a_half_that_comes_late_is_seen(self) -> None:
        text = GrowingText("plain")
        assert not text.lone
        text.append(HIGH)
        assert text.lone
        assert text.read() == "plain\ufffd"
        assert text.raw() == "plain" + HIGH
        assert GrowingText(LOW).read() == "\ufffd"

    def test_an_empty_fragment_is_no_piece(self) -> None:
        text = GrowingText("")
        text.append("")
        assert text._pieces == []
        assert (text.read(), text.raw_range(0, 5), text.length) == ("", "", 0)


class TestTextView:
    @given(st.lists(texts, max_size=12))
    def test_old_views_stay_what_they_were_while_the_text_grows(self, pieces: list[str]) -> None:
        text, naive = GrowingText(), ""
        views: list[tuple[TextView, str]] = []
        for piece in pieces:
            views.append((TextView(text, text.length), naive))
            text.append(piece)
            naive += piece
        for _ in range(2):  # before the text was joined, and after
            for view, expected in views:
                assert view.raw() == expected
                assert str(view) == shown(expected)
                assert len(view) == view.length == len(expected)
                assert view.range(0) == shown(expected)
            text.raw()

    @given(texts, st.integers(0, 14), st.none() | st.integers(0, 20))
    def test_a_range_ends_with_the_view_not_with_the_text(
        self, text: str, start: int, stop: int | None
    ) -> None:
        source = GrowingText(text)
        view = TextView(source, len(text))
        source.append("later")
        assert view.range(start, stop) == shown(text[start:stop])

    def test_a_range_joins_nothing(self) -> None:
        source = GrowingText()
        for place in range(50):
            source.append(f"{place:02}")
        assert TextView(source, source.length).range(90) == "4546474849"
        assert len(source._pieces) == 50

    def test_a_range_from_behind_the_end_is_empty(self) -> None:
        view = TextView(GrowingText("abc"), 2)
        assert (view.range(2), view.range(5), view.range(1, 0)) == ("", "", "")

    def test_equal_texts_are_equal_whatever_their_sources(self) -> None:
        first, second = TextView(GrowingText("abcd"), 3), TextView(GrowingText("abc"), 3)
        assert first == second
        assert hash(first) == hash(second)
        assert first != TextView(GrowingText("abd"), 3)
        assert first != TextView(GrowingText("abcd"), 4)
        assert first != "abc"

    def test_its_repr_does_not_join_the_text(self) -> None:
        source = GrowingText("a")
        source.append("b")
        assert repr(TextView(source, 2)) == "TextView(2 characters)"
        assert len(source._pieces) == 2

    def test_copies_and_pickles_read_the_same(self) -> None:
        view = TextView(GrowingText("abc"), 2)
        for other in (copy.copy(view), copy.deepcopy(view), pickle.loads(pickle.dumps(view))):
            assert (str(other), other) == ("ab", view)
