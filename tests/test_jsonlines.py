"""JSON lines: what is cut where does not matter, and only LF ends a line."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import Limits, StreamStore
from streamstore.jsonlines import JsonLinesParser

MARK = b"\xef\xbb\xbf"

# What ends a line, what only looks like it, blanks, halves of characters and of the mark.
_TOKENS = [b"\n", b"\r\n", b"\r", b"{", b'"a"', b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x0c", b"\x1c",
           b"\x00", b" ", b"\t", b"\xff", b"\xef", b"\xbb\xbf", MARK, b"long" * 5]  # fmt: skip
streams = st.lists(st.sampled_from(_TOKENS), max_size=30).map(b"".join)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Any way to cut the bytes, empty chunks among them."""
    at = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    edges = [0, *at, len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


def parse(chunks: list[bytes], bound: int = 1000) -> tuple[list[bytes], int]:
    parser = JsonLinesParser(bound)
    lines = [line for chunk in chunks for line in parser.feed(chunk)]
    return lines + parser.end(), parser.skipped


def naive(data: bytes, bound: int) -> tuple[list[bytes], int]:
    lines = data.removeprefix(MARK).split(b"\n")
    kept = [line.strip(b"\r \t") for line in lines if len(line) <= bound]
    return [line for line in kept if line], sum(len(line) > bound for line in lines)


@given(streams, st.sampled_from([4, 20, 1000]), st.data())
def test_however_it_is_cut_the_lines_are_those_of_a_split(
    data: bytes, bound: int, draw: st.DataObject
) -> None:
    assert parse(draw.draw(cuts(data)), bound) == naive(data, bound)


@given(streams)
def test_one_byte_at_a_time_is_one_way_to_cut(data: bytes) -> None:
    assert parse([bytes([byte]) for byte in data]) == parse([data])


@given(st.lists(st.sampled_from([b"{}", b'{"a": "\xe2\x80\xa8"}']), max_size=6), st.booleans())
def test_a_line_comes_as_soon_as_its_end_does(lines: list[bytes], carriage: bool) -> None:
    parser = JsonLinesParser()
    for line in lines:
        assert parser.feed(line) == []
        if carriage:
            assert parser.feed(b"\r") == []
        assert parser.feed(b"\n") == [line]
    assert parser.end() == []


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\r"])
def test_what_else_ends_a_line_of_text_does_not_end_one_here(end: str) -> None:
    line = f'{{"text": "one{end}two"}}'.encode()
    assert parse([line + b"\n"]) == ([line], 0)


def test_blank_lines_and_blanks_around_a_line_are_nothing() -> None:
    assert parse([b"\n\r\n \t\n  {} \t\r\n\r\r\n"]) == ([b"{}"], 0)


@pytest.mark.parametrize(
    "chunks", [[MARK + b"{}"], [b"\xef", b"\xbb", b"\xbf{}"], [b"", MARK, b"{}"]]
)
def test_a_byte_order_mark_at_the_start_goes_also_when_it_is_cut(chunks: list[bytes]) -> None:
    assert parse(chunks) == ([b"{}"], 0)


def test_a_second_mark_and_half_a_mark_are_data() -> None:
    assert parse([MARK + MARK + b"{}\n" + MARK])[0] == [MARK + b"{}", MARK]
    assert parse([b"\xef", b"\xbb"])[0] == [b"\xef\xbb"]
    assert parse([b"\xef", b"{}"])[0] == [b"\xef{}"]


class TestBound:
    def test_a_line_may_be_as_long_as_the_bound(self) -> None:
        assert parse([b"x" * 10 + b"\n" + b"y" * 10], 10) == ([b"x" * 10, b"y" * 10], 0)
        assert parse([b"\n" + b"x" * 10 + b"\n"], 10) == ([b"x" * 10], 0)

    @pytest.mark.parametrize("size", [1, 3, 40])
    def test_a_longer_one_is_skipped_and_counted_and_the_next_one_counts(self, size: int) -> None:
        data = b"x" * 11 + b"\n" + b"ok\n" + b"y" * 30 + b"\n" + b"last"
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        assert parse(chunks, 10) == ([b"ok", b"last"], 2)

    def test_a_last_line_without_its_end_counts_too(self) -> None:
        assert parse([b"ok\n" + b"x" * 11], 10) == ([b"ok"], 1)

    def test_a_line_that_is_skipped_is_not_kept(self) -> None:
        parser = JsonLinesParser(10)
        for _ in range(100):
            parser.feed(b"x" * 8)
        assert parser._held == []

    def test_ending_twice_gives_nothing_twice(self) -> None:
        parser = JsonLinesParser()
        parser.feed(b"{}")
        assert parser.end() == [b"{}"]
        assert parser.end() == []


def test_fragments_are_joined_once_per_line() -> None:
    parser = JsonLinesParser()
    for _ in range(1000):
        parser.feed(b"x")
    assert len(parser._held) == 1000
    assert parser.feed(b"\n") == [b"x" * 1000]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_stream_counts_a_line_that_is_too_long_also_when_it_ends_in_it(end: bytes) -> None:
    store = StreamStore("native", ticks="manual", limits=Limits(line_bytes=40))
    stream = store.open("native")
    stream.feed(b'{"type": "session.updated"}\n' + b'{"type": "' + b"x" * 60 + end)
    stream.end()
    assert store.health.counts["verdicts"] == {"accepted": 1, "malformed:over_limit": 1}
    assert stream.position.events == 2


@pytest.mark.parametrize("before", [b"", MARK, b": hello\n\n", b"broken\n"])
@pytest.mark.parametrize("line", [b"d", b"dat", b"data", b"ev", b"id", b"retry", b":", b": hel"])
def test_a_stream_that_is_cut_in_its_first_field_or_comment_left_out_half_an_event(
    before: bytes, line: bytes
) -> None:
    broken = {"malformed": 1} if before == b"broken\n" else {}
    for cut in range(len(before), len(before + line)):
        store = StreamStore("native")
        stream = store.open("native")
        stream.feed((before + line)[:cut])
        stream.feed((before + line)[cut:])
        stream.end()
        assert store.health.counts["verdicts"] == broken


@pytest.mark.parametrize("line", [b"date", b"idle", b"x", b'"a'])
def test_a_stream_that_is_cut_in_what_begins_no_field_counts_it(line: bytes) -> None:
    store = StreamStore("native")
    stream = store.open("native")
    stream.feed(line)
    stream.end()
    assert store.health.counts["verdicts"] == {"malformed": 1}
