"""What a review found wrong, each with its smallest case: roads that differ, and several streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from one_stream import Bench, delta, through_json

from streamstore import Limits, Stream, StreamStore
from streamstore.events import SessionRemoved

KEY = {"sessionId": "s", "messageId": "m"}
BLOCK = {**KEY, "blockIndex": 0}
OPENED = {"type": "message.opened", **KEY, "role": "assistant"}
MODES = ("block", "session", "sparse", "none")
LARGEST = 2**63 - 1


def opened(mode: Any, number: int = 1, **limits: int) -> tuple[StreamStore, list[Stream]]:
    store = StreamStore("native", ticks="manual", limits=Limits(**limits))
    return store, [store.open("native", sequencing=mode) for _ in range(number)]


def test_a_generation_change_keeps_what_an_undone_removal_left() -> None:
    store, (stream,) = opened("sparse")
    for wire in (
        {"type": "session.removed", "sessionId": "s", "seq": 1},
        {"type": "message.removed", **KEY, "seq": 3},
        {"type": "session.updated", "sessionId": "s", "info": {"q": 1}, "whole": True, "seq": 5},
        delta("old", 6),
        {"type": "stream.opened", "generation": "g1"},
    ):
        stream.ingest(wire)
        store.flush()
    assert [message.id for message in store.messages("s")] == ["m"]
    assert store.part("s", "m", 0).previous
    stream.ingest({"type": "block.opened", **BLOCK, "kind": "text", "seq": 1})
    stream.ingest(delta("new", 2))
    store.flush()
    assert [message.id for message in store.messages("s")] == ["m"]
    assert store.part("s", "m", 0).text == "new"


@pytest.mark.parametrize("mode", ["session", "block"])
@pytest.mark.parametrize("extra", [{}, {"extra": 1}])
def test_what_one_stream_lost_lies_before_what_it_brought_later(mode: Any, extra: Any) -> None:
    store, (first, second) = opened(mode, 2)
    at = 1 if mode == "session" else 0
    numbered = {"seq": 1} if mode == "session" else {}
    first.ingest({**OPENED, **numbered})
    first.ingest(delta("x", at + 1))
    second.ingest(delta("x", at + 2))
    store.flush()
    first.ingest(delta("x", at + 3))
    place = first.position.events
    second.ingest(delta("x", at + 4, **extra))  # the first one's connection loses this and the next
    first.ingest({"type": "session.status", "sessionId": "o", "status": "busy", **numbered})
    first.ingest(delta("x", at + 6))
    assert first.position.events <= place


@pytest.mark.parametrize("size", [10**9, 50])
def test_an_unknown_protocol_has_the_names_of_its_first_chunk(size: int) -> None:
    said = {"type": "AIMessageChunk", "id": "m1", "content": "Hello "}
    events = (("metadata", {"run_id": "r1"}), ("messages", [said, {"langgraph_node": "a"}]))
    data = b"".join(f"event: {n}\ndata: {json.dumps(v)}\n\n".encode() for n, v in events) * 6
    store = StreamStore(ticks="manual")
    stream = store.open("auto")
    for at in range(0, len(data), size):
        stream.feed(data[at : at + size])
    assert store.health.counts["verdicts"] == {"accepted": 12}


@pytest.mark.parametrize("flush", [False, True])
def test_an_empty_delta_before_a_read_is_no_touch_in_it(flush: bool) -> None:
    store, (stream,) = opened("none")
    stream.ingest_many([OPENED, {"type": "block.opened", **BLOCK, "kind": "text"}, delta("Hello")])
    store.flush()
    stream.ingest(delta(""))
    token = store.begin_read("s")
    if flush:
        store.flush()
    parts = [{"blockIndex": 0, "kind": "text", "text": "Help"}]
    message = {"info": {"id": "m", "role": "assistant"}, "parts": parts}
    wire = {"type": "snapshot", "sessionId": "s", "complete": True, "messages": [message]}
    stream.ingest({**wire, "readFrom": token})
    store.flush()
    assert store.part("s", "m", 0).text == "Help"


def test_a_new_counter_below_the_old_one_is_merged_as_soon() -> None:
    store, (stream,) = opened("block", pending_merge=16)
    for generation, deltas in (("g1", 600), ("g2", 500)):
        stream.ingest({"type": "stream.opened", "generation": generation})
        for seq in range(1, deltas + 1):
            stream.ingest(delta("x", seq))
            if seq > 1:
                assert len(store._sessions["s"].messages["m"].blocks[0].fresh) <= 16


@pytest.mark.parametrize("mode", MODES)
def test_streams_that_take_turns_are_merged_as_soon(mode: Any) -> None:
    store, streams = opened(mode, 2, pending_merge=8)
    for number in range(1, 200):
        wire = delta("x", None if mode == "none" else number)
        assert streams[number % 2].ingest(wire).kind == "accepted"
        assert len(store._sessions["s"].messages["m"].blocks[0].fresh) <= 8
    store.flush()
    assert len(store.part("s", "m", 0).text) == 199
    assert [stream.received for stream in streams] == [99, 100]


def test_an_evicted_session_is_not_kept_by_a_stream() -> None:
    store, (stream,) = opened("none", removed_sessions=2)
    for number in range(30):
        stream.ingest(delta("x", sessionId=f"s{number}"))
        store.flush()
        store.apply(SessionRemoved(session_id=f"s{number}"))
        store.flush()
    assert not stream._ingress.touched


def test_a_refused_snapshot_moves_no_mark() -> None:
    store, (stream,) = opened("block")
    stream.ingest({"type": "block.opened", **BLOCK, "kind": "tool"})
    assert stream.ingest(delta("c", 3)).kind == "held"
    wire = {"type": "block.snapshot", **BLOCK, "kind": "text", "text": "other", "seq": 5}
    assert stream.ingest(wire).reason == "conflict"
    stream.ingest_many([delta("a", 1), delta("b", 2)])
    store.flush()
    assert store.part("s", "m", 0).text == "abc"
    assert not store.health.gaps


@pytest.mark.parametrize("extra", [{}, {"extra": 1}])
def test_a_part_is_sealed_whatever_road_its_deltas_took(extra: Any) -> None:
    _, (stream,) = opened("sparse")
    stream.ingest({**OPENED, "seq": 1})
    stream.ingest(delta("a", 2))
    stream.ingest({"type": "block.replaced", **BLOCK, "text": "whole"})
    stream.ingest_many([delta("b", 4, **extra), delta("c", 5, **extra)])
    stream.ingest({"type": "block.closed", **BLOCK})
    assert stream.ingest(delta("d")).kind == "accepted"


@pytest.mark.parametrize("many", [False, True])
def test_a_block_has_no_seq_above_the_largest_on_the_short_way(many: bool) -> None:
    _, (stream,) = opened("block")
    stream.ingest(OPENED)
    stream.ingest({"type": "block.snapshot", **BLOCK, "seq": LARGEST - 3, "text": "a"})
    wires = [delta("x", LARGEST - 2 + number) for number in range(5)]
    if many:
        found = [(place, verdict.kind) for place, verdict in stream.ingest_many(wires)]
        assert found == [(3, "malformed"), (4, "malformed")]
    else:
        assert [stream.ingest(wire).kind for wire in wires] == ["accepted"] * 3 + ["malformed"] * 2


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("anew", ["message.reset", "block.removed"])
def test_a_field_that_streamed_in_another_life_is_a_value_whatever_was_shown_of_it(
    anew, shown, saved
):
    bench = Bench("none")
    bench.take("stream.opened", generation="one")
    bench.take("block.opened", kind="tool")
    bench.delta(None, '{"a":', field="input")
    if shown:
        bench.store.flush()
    bench.take(anew)
    bench.take("block.opened", kind="tool")
    bench.take("block.replaced", input="{}")
    if saved:
        bench.store = through_json(bench.store, ticks="manual")
        bench.stream = bench.store.open("native", sequencing="none")
    bench.stream.end()
    bench.stream = bench.store.open("native", sequencing="none")
    bench.store.flush()
    assert not bench.part().gap
    bench.take("stream.opened", generation="two")
    bench.store.flush()
    assert not bench.part().previous
    bench.delta(None, '{"b":', field="input")
    bench.store.flush()
    part = through_json(bench.store).state()["sessions"]["s"]["messages"][0]["parts"][0]
    assert part["input"] == '{"b":'
