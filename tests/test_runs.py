"""The short road of whole events: nothing but the time tells it from the parser's."""

from __future__ import annotations

import itertools
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamstore import CallerError, StreamStore
from streamstore import streams as wiring
from streamstore.decoding import decode_json
from streamstore.errors import MalformedEvent
from streamstore.runs import scan_run, split_run
from streamstore.sse import EventStreamParser

DELTA = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "ä\u2028x"}


def event(number: int, **members: Any) -> bytes:
    return b"data: " + json.dumps({**DELTA, "seq": number, **members}).encode() + b"\n\n"


# What stands between plain events in streams that people meet, and in those that nobody should.
ODD = [
    b": ping\n\n", b"id: 7\n", b"event: message\n", b"event: \n", b"event: a\ndata: {}\n\n", b"\n",
    b"data: {}\r\n\r\n", b"data:{}\n\n", b"data: \n\n", b"data: [1,\ndata: 2]\n\n", b"data: [1,\n2]\n\n",
    b"data: {} \n\n", b"data: {}x\n\n", b"data: [DONE]\n\n", b"data: NaN\n\n", b"data: \xff\n\n",
    b'data: "\xc3\xa4"\n\n', b"retry: 5\n", b"data: {\n\n", b"event: x\nid: 3\ndata: {}\n\n", b"\xef\xbb\xbf",
    b"data: [1\n\n", b"data: 2]\n\n", b"data: 3,4\n\n", b"data: 3," + b"8" * 17 + b",4\n\n",
    b"data: " + b"8" * 17 + b"\n\n", b"data: 8.8888888888888888e16\n\n", b"data: ]\n\n",
    b"event: x\ndata: 1\n\ndata: 2\n\n", b"data: 1\n\nevent: y\n\n", b"data: " + b"[" * 3000 + b"\n\n",
]  # fmt: skip
streams = st.lists(st.integers(0, 2) | st.sampled_from(ODD), max_size=12)


def joined(pieces: list[Any]) -> bytes:
    number, found = 0, []
    for piece in pieces:
        if isinstance(piece, int):
            number += 1 if piece else 0
            found.append(b"event: delta\n" * (piece == 2) + event(number))
        else:
            found.append(piece)
    return b"".join(found)


def fed(chunks: list[bytes], short: bool, **options: Any) -> Any:
    """What bytes come to by the short road from the first byte on, or never by it."""
    usual, wiring.RUN_BYTES = wiring.RUN_BYTES, 1
    own = wiring.Stream._take_run
    if not short:
        wiring.Stream._take_run = lambda self, data, framer: data  # type: ignore[method-assign]
    try:
        store = StreamStore(ticks="manual", **options)
        stream = store.open("native", sequencing="block")
        for chunk in chunks:
            stream.feed(chunk)
        position = stream.position
        stream.end()
        store.flush()
        return store.state(), stream.received, position
    finally:
        wiring.RUN_BYTES, wiring.Stream._take_run = usual, own


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


@given(pieces=streams, places=st.lists(st.integers(0, 10_000), max_size=6))
@example(pieces=[1, b"data: [1,\n2]\n\n", 1], places=[])
@example(pieces=[1, 1, b"id: 7\n", 1, 1], places=[])
def test_both_roads_end_in_the_same_state(pieces, places):
    # The parser decides on a mark first: only from the second chunk on there are two roads.
    chunks = [b"\n", *cut(joined(pieces), places)]
    assert fed(chunks, True) == fed(chunks, False)


@given(pieces=streams, places=st.lists(st.integers(0, 10_000), max_size=6))
def test_another_decoder_ends_in_the_same_state(pieces, places):
    chunks = [b"\n", *cut(joined(pieces), places)]
    state = fed(chunks, True, decoder="orjson")
    expected = fed(chunks, False)
    for one in (state, expected):  # why a line is malformed has the words of its decoder
        one[0]["counts"]["verdicts"] = sum(one[0]["counts"]["verdicts"].values())
    assert state == expected


@given(streams)
@example([1, b"data: [1,\n2]\n\n", 1])
@example([1, b"data: {}x\n\n", 1])
@example([2, b"event: a\ndata: [1,\n2]\n\n", b"event: y\n\n", 2])
@example([2, b"event: a\nid: 3\ndata: {}\n\n", b"event: y\n\n", 2])
@example([0, b"\xef\xbb\xbf", 0])
def test_a_run_is_a_start_of_what_the_parser_makes(pieces):
    data = joined(pieces)
    expected = [decoded(frame.data) for frame in EventStreamParser().feed(data)]
    for run in (scan_run(data), split_run(data, orjson.loads)):
        assert run.values == expected[: len(run.values)]
        assert data[: run.used].count(b"data: ") == len(run.values)
        parser = EventStreamParser()
        if run.used:
            parser.feed(b"\n")  # a mark is none in the middle
        rest = parser.feed(data[run.used :])
        assert [decoded(frame.data) for frame in rest] == expected[len(run.values) :]


def decoded(text: str) -> Any:
    try:
        return decode_json(text)
    except MalformedEvent as error:
        return f"malformed {error}"


def test_all_of_a_plain_chunk_is_one_run():
    data = b"".join(event(number) for number in range(50))
    for run in (scan_run(data + b"data: {"), split_run(data + b"data: {", orjson.loads)):
        assert len(run.values) == 50 and run.used == len(data)
    typed = data.replace(b"data: ", b"event: delta\ndata: ")
    for run in (scan_run(typed), split_run(typed, orjson.loads)):
        assert len(run.values) == 50 and run.used == len(typed)


def test_events_of_several_names_are_one_run():
    data = b"event: a\ndata: 1\n\n" + b"data: 2\n\n" + b"event: b\ndata: 3\n\n"
    for run in (scan_run(data), split_run(data, orjson.loads)):
        assert run == ([1, 2, 3], len(data))


HIDING = [
    ([b"[1", b"2]"], 0),
    ([b"0", b"1,2"], 1),
    ([b"[1", b"2]", b"3,4"], 0),
    ([b"[1", b"2]", b"3,4,5"], 0),  # as long an array as if none were hidden
    ([b"0", b"[1", b"2]", b"3,%d,4"], 1),  # and with that number in the right places
    ([b"0", b"[[1", b"2]]", b"3,%d,4"], 1),
    ([b"0", b'{"a": 1', b'"b": 2}'], 1),
    ([b"0", b'"a', b'b"', b"3,%d,4"], 1),
    ([b"0", b"%d", b"1"], 3),
    ([b"0", b"{%d", b"1}"], 1),
]


@pytest.mark.parametrize(("payloads", "whole"), HIDING)
@pytest.mark.parametrize("name", [b"", b"event: x\n"])
def test_payloads_that_are_json_only_together_are_none(payloads, whole, name):
    digits = b"8" * 17
    events = [name + b"data: " + one.replace(b"%d", digits) + b"\n\n" for one in payloads]
    for run in (scan_run(b"".join(events)), split_run(b"".join(events), orjson.loads)):
        assert len(run.values) == whole and run.used == sum(map(len, events[:whole]))
        assert run.values == [json.loads(one.replace(b"%d", digits)) for one in payloads[:whole]]


def test_the_start_of_a_line_waits_for_its_rest():
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="block")
    data = b"\n" + b"".join(event(number) for number in range(1, 100))
    for start in range(0, len(data), 700):
        stream.feed(data[start : start + 700])
    store.flush()
    assert store.health.counts["verdicts"] == {"accepted": 99}
    part = store.part("main", "m", 0)
    assert part is not None and part.text == DELTA["text"] * 99


def test_an_unknown_decoder_is_refused():
    with pytest.raises(CallerError, match="standard or orjson"):
        StreamStore(decoder="simd")  # type: ignore[arg-type]
