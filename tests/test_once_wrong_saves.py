"""Positions and saved states that once went wrong: L4 at cuts that hurt, holes, ids, ended streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from one_stream import Bench, delta, fetched, frame, line, through_json

from streamstore import Limits, Position, StreamStore
from streamstore.events import BlockReplaced, MessageOpened

Wire = dict[str, Any]


def text_of(store: StreamStore, session: str = "s") -> str:
    part = store.part(session, "m", 0)
    return "" if part is None else part.text


# -- what a loaded store goes on with --------------------------------------------------------------


def test_ids_made_go_on_in_a_loaded_store():
    store = StreamStore("native")
    for text in ("first question", "second question"):
        made = store.new_id()
        store.apply(MessageOpened(session_id="s", message_id=made, role="user", local=True))
        store.apply(BlockReplaced(session_id="s", message_id=made, block_index=0, text=text))
        store.flush()
        store = through_json(store)
    found = [(m.id, store.part("s", m.id, 0).text) for m in store.messages("s")]
    assert found == [("local-1", "first question"), ("local-2", "second question")]
    assert store.new_id() == "local-3"


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_loaded_stream_counts_as_its_opening_said(cut):
    events = [{"type": "stream.opened", "sequencing": "block"}]
    events += [delta("a", 1), delta("c", 3), delta("b", 2)]
    store = StreamStore("native")
    for event in events[:cut]:
        store.ingest(event)
    store.flush()
    again = through_json(store)
    stream = again.open("native")
    assert stream.sequencing == "block"
    stream.ingest_many(events[stream.position.events :])
    assert (text_of(again), again.part("s", "m", 0).gap) == ("abc", False)


def test_an_argument_outweighs_the_saved_sequencing():
    bench = Bench("block")
    bench.delta(1, "a")
    assert through_json(bench.store).open("native", sequencing="none").sequencing == "none"


def test_text_since_the_stream_opened_is_newer_than_a_fetch_in_a_loaded_store_too():
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.delta(None, "hello world")
    bench.store.flush()
    again = through_json(bench.store)
    again.open("native", sequencing="none").ingest(
        {
            "type": "snapshot",
            "sessionId": "s",
            "complete": True,
            "messages": [fetched("m", (0, "help"))],
        }
    )
    again.flush()
    assert text_of(again) == "hello world"


def test_the_end_of_a_loaded_stream_shows_what_was_held_back():
    bench = Bench("none", delivery="buffered")
    bench.delta(None, "held text")
    bench.store.flush()
    again = through_json(bench.store)
    stream = again.open("native", sequencing="none")
    assert text_of(again) == ""
    stream.end()
    again.flush()
    assert text_of(again) == "held text"


# -- holes and positions ---------------------------------------------------------------------------


def test_a_hole_of_one_stream_moves_no_position_of_another():
    store = StreamStore("native", ticks="manual")
    events = [delta(f"{number},", sessionId="B") for number in range(10)]
    fed = 0
    for stop in (5, 8, 10):
        holed = store.open("native", sequencing="block")
        whole = store.open("native", sequencing="none")
        if stop == 5:
            holed.ingest_many([delta("a", 1, sessionId="A"), delta("c", 3, sessionId="A")])
        assert (holed.position.events, whole.position.events) == (1, fed)
        whole.ingest_many(events[whole.position.events : stop])
        fed = stop
        store.flush()
        store = through_json(store, ticks="manual")
    assert text_of(store, "B") == "0,1,2,3,4,5,6,7,8,9,"


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_the_hole_of_a_session_holds_the_position_in_a_loaded_store_too(cut):
    events = [delta("a", 1), delta("b", 2), delta("d", 4), delta("e", 5)]
    store = StreamStore("native")
    stream = store.open("native", sequencing="session")
    for number, event in enumerate(events[:cut], start=1):
        stream.feed(frame(number, event))
    again = through_json(store)
    stream = again.open("native", sequencing="session")
    assert stream.position == Position(min(cut, 2), str(min(cut, 2)))
    for number in range(stream.position.events, 4):
        stream.feed(frame(number + 1, events[number]))
    assert stream.position == Position(2, "2")
    assert again.health.resume == {"sessions": {"s": 2}, "eventId": "2"}
    stream.feed(frame(5, delta("c", 3)))
    assert (stream.position.event_id, text_of(again)) == ("5", "abcde")


def test_saved_streams_are_found_by_the_session_that_they_were_opened_for():
    store = StreamStore("native")
    events = {name: [delta(str(n), sessionId=name) for n in range(9)] for name in "AB"}
    for name, number in (("A", 2), ("B", 6)):
        stream = store.open("native", session_id=name, sequencing="none")
        stream.ingest_many(events[name][:number])
    again = through_json(store)
    for name, number in (("B", 6), ("A", 2)):
        stream = again.open("native", session_id=name, sequencing="none")
        assert stream.position.events == number
        stream.ingest_many(events[name][number:])
    assert [text_of(again, name) for name in "AB"] == ["012345678"] * 2


# -- event ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [True, False])
def test_the_id_of_an_ended_stream_is_kept_until_its_successor_inherits_it(saved):
    store = StreamStore("native")
    stream = store.open("native", sequencing="none")
    stream.feed(frame(7, delta("abc")))
    stream.end()
    assert store.health.resume == {"eventId": "7"}
    if saved:
        store = through_json(store)
        assert store.health.resume == {"eventId": "7"}
    other = store.open("native", session_id="other", sequencing="none")
    assert other.position == Position(0, "")
    successor = store.open("native", sequencing="none")
    assert successor.position == Position(0, "7")
    successor.feed(frame(8, delta("def")))
    assert store.health.resume == {"eventId": "8"}
    assert store.open("native", sequencing="none").position == Position(0, "")


def test_positions_of_ended_streams_are_bounded_and_the_oldest_goes():
    store = StreamStore("native", limits=Limits(ended_streams=4))
    for number in range(20):
        stream = store.open("native", session_id=f"s{number}", sequencing="none")
        stream.feed(frame(number, delta("x", sessionId=f"s{number}")))
        stream.end()
    left = [entry["sessionId"] for entry in store.save()["streams"]]
    assert left == ["s16", "s17", "s18", "s19"]


def test_with_a_tick_per_event_the_saved_id_belongs_to_what_is_shown():
    store = StreamStore("native", ticks="each")
    stream = store.open("native", sequencing="none")
    heard: list[Any] = []
    saves: list[Any] = []
    store.subscribe(lambda changes: heard.append(changes.resume["eventId"]))
    store.subscribe(lambda _: saves.append(json.loads(json.dumps(store.save()))))
    frames = [frame(number, delta(text)) for number, text in enumerate("abc", start=1)]
    stream.feed(b"".join(frames))
    assert heard == ["1", "2", "3"]
    for number, saved in enumerate(saves, start=1):
        again = StreamStore.load(saved)
        stream = again.open("native", sequencing="none")
        assert stream.position == Position(number, str(number))
        stream.feed(b"".join(frames[number:]))
        assert text_of(again) == "abc"


def test_ids_of_skipped_events_and_of_events_without_data_move_the_position():
    store = StreamStore("native", limits=Limits(event_line_bytes=300))
    stream = store.open("native")
    stream.feed(frame(1, delta("a")))
    stream.feed(b"id: 2\ndata: " + b"x" * 400 + b"\n\n")
    assert stream.position == Position(2, "2")
    stream.feed(b"id: 3\n\n")
    assert stream.position == Position(2, "3")
    stream.feed(b": a comment\nid: 4\n\n")
    assert stream.position == Position(2, "4")
    assert store.health.counts["verdicts"] == {"accepted": 1, "malformed:over_limit": 1}


def test_an_id_of_a_repetition_moves_no_position():
    store = StreamStore("native")
    stream = store.open("native", sequencing="sparse")
    stream.feed(frame(1, delta("a", 1)))
    stream.feed(frame("again", delta("a", 1)))
    assert stream.position == Position(1, "1")
    stream.feed(frame(2, delta("b", 2)))
    assert stream.position == Position(3, "2")


def test_lines_and_frames_that_follow_a_loaded_position_bring_the_rest():
    store = StreamStore("native")
    stream = store.open("native", sequencing="none")
    stream.feed(line(delta("a")) + line(delta("b")))
    again = through_json(store)
    stream = again.open("native", sequencing="none")
    assert stream.position == Position(2, "")
    stream.feed(line(delta("c")))
    assert (text_of(again), stream.position) == ("abc", Position(3, ""))


@pytest.mark.parametrize("removal", ["session.removed", "block.removed"])
def test_what_waited_behind_a_hole_goes_with_the_row_that_a_removal_drops(removal):
    limits = Limits(tombstones=1)
    store = StreamStore("native", ticks="manual", limits=limits)
    blocks = store.open("native", sequencing="block")
    others = store.open("native", sequencing="session")
    for index in (0, 1):
        for seq in (1, 5):
            blocks.ingest(delta("x", seq, blockIndex=index))
    for index in (0, 1):  # of two removed blocks the older one is forgotten
        wire = {"type": removal, "sessionId": "s", "messageId": "m", "blockIndex": index}
        others.ingest({**wire, "seq": 11 + index})
    before = store.counts
    assert before["held"] == {"evicted": 2 if removal == "session.removed" else 1}
    assert before["characters"]["superseded"] == 2 + before["held"]["evicted"]
    store = through_json(store, limits=limits)  # it was refused: a hole of what is not there
    assert store.counts["characters"] == before["characters"]


def test_a_part_that_took_the_place_of_a_removed_one_before_a_save_shows_its_gap() -> None:
    store = StreamStore("native", ticks="manual", limits=Limits(tombstones=1))
    store.ingest({"type": "stream.opened", "sequencing": "none"})
    store.ingest_many([delta("a"), delta("b", messageId="other")])
    store.flush()
    # Both are forgotten, and one begins anew, before anything of it is shown.
    for message in ("m", "other"):
        store.ingest({"type": "message.removed", "sessionId": "s", "messageId": message})
    store.ingest(delta("c"))
    again = through_json(store, ticks="manual", limits=store.limits)
    for one in (store, again):
        one.flush()
        assert text_of(one) == "c" and one.part("s", "m", 0).gap
        assert [gap.message_id for gap in one.health.gaps] == ["m"]


@pytest.mark.parametrize("more", [1, 3])
def test_a_loss_behind_what_a_loaded_store_was_sent_again_is_asked_for(more: int) -> None:
    """What no server sends again (a bad line) had been counted before the state was saved."""

    def wire(session: str, seq: int) -> Any:
        return {"type": "session.status", "sessionId": session, "seq": seq, "status": "busy"}

    sent = [wire("a", 1), wire("a", 2), wire("a", 3), *(wire("b", seq) for seq in range(1, 5))]
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="session")
    for event_id, event in enumerate(sent):
        if event_id != 1:  # lost, so that all behind it comes again
            stream.feed(frame(event_id, event))
        stream.feed(b"data: {\n\n" * (more if event_id == 5 else 0))
    loaded = through_json(store, ticks="manual")
    stream = loaded.open("native", sequencing="session")
    assert stream.position.event_id == "0"
    for event_id, event in enumerate(sent[1:], 1):
        stream.feed(frame(event_id, event))
    assert loaded.health.gaps == ()
    stream.feed(frame(8, wire("b", 6)))  # 7 is lost, behind 6, which had been counted before
    assert int(stream.position.event_id) < 7
    assert loaded.health.resume["eventId"] == stream.position.event_id
    again = through_json(loaded, ticks="manual")
    assert again.save() == loaded.save()
    assert again.open("native", sequencing="session").position == stream.position


def test_of_losses_before_and_behind_a_save_the_first_one_is_asked_for() -> None:
    def wire(session: str, seq: int) -> bytes:
        sent = ["a1", "a2", "a3", "b1", "b2", "b3", "a4", "a5", "a6"]
        event = {"type": "session.status", "sessionId": session, "seq": seq, "status": "busy"}
        return frame(sent.index(f"{session}{seq}") + 1, event)

    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="session")
    for session, seq in (("a", 1), ("a", 3), ("b", 1), ("b", 3), ("a", 4)):
        stream.feed(wire(session, seq))
    loaded = through_json(store, ticks="manual")
    stream = loaded.open("native", sequencing="session")
    for session, seq in (("a", 2), ("a", 3), ("b", 1), ("b", 3), ("a", 4), ("a", 6)):
        stream.feed(wire(session, seq))  # b2 is lost again, and a5
    assert int(stream.position.event_id) <= 4


def test_what_shows_no_trace_on_an_older_connection_may_have_been_lost_there() -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="block")
    stream.feed(frame(1, {"type": "session.status", "sessionId": "s", "status": "busy"}))
    stream.end()
    stream = store.open("native", sequencing="block")
    assert stream.position.event_id == "1"
    stream.feed(frame(2, delta("later", 2)))  # the first one was sent before 1, or behind it
    assert stream.position.event_id == ""
    stream.feed(frame(0, delta("first ", 1)))
    store.flush()
    assert text_of(store) == "first later"


@pytest.mark.parametrize("close", [0, 3, None])
def test_a_close_that_comes_first_outlives_a_malformed_event_of_its_block(
    close: int | None,
) -> None:
    store = StreamStore("native", ticks="manual")
    if close is not None:
        removed = {"type": "session.removed", "sessionId": "s", "seq": 5}
        store.open("native", sequencing="session").ingest(removed)
    stream = store.open("native", sequencing="block")
    closed = {"type": "block.closed", "sessionId": "s", "messageId": "m", "blockIndex": 0}
    if close is None:
        assert store.open("native", sequencing="none").ingest(closed).kind == "accepted"
    else:
        assert stream.ingest({**closed, "seq": close}).kind == "accepted"
    saved = store.save()["holes"]
    assert stream.ingest(delta("x")).kind == "malformed"  # it lacks a seq
    loaded = through_json(store, ticks="manual")
    assert loaded.save()["holes"] == saved
    assert loaded.save() == store.save()
    if close is None:
        stream.ingest(delta("x", 1))
        store.flush()
        part = store.part("s", "m", 0)
        assert part is not None and part.status == "closed"


@pytest.mark.parametrize("cut", range(8))
def test_a_window_that_outlived_its_end_under_a_removal_does_so_in_a_loaded_store(
    cut: int,
) -> None:
    options: Wire = {"ticks": "manual", "limits": Limits(late_window=2)}
    message = {"sessionId": "s", "messageId": "m"}
    other = {"type": "session.updated", "sessionId": "s"}
    wires: list[Wire] = [
        delta("b", 10),
        {"type": "block.closed", **message, "blockIndex": 0, "seq": 11},
        {"type": "message.removed", **message, "seq": 3},
        {**other, "seq": 12},
        {**other, "seq": 13},
        {"type": "message.opened", **message, "role": "assistant", "seq": 4},
        {**other, "seq": 14},
        delta("a", 9),
    ]
    store = StreamStore(**options)
    verdicts = []
    for stretch in (wires[:cut], wires[cut:]):
        stream = store.open("native", sequencing="sparse")
        verdicts += [stream.ingest(wire).kind for wire in stretch]
        store = through_json(store, **options)
    store.flush()
    assert (verdicts[-1], text_of(store)) == ("late", "ab")


def test_a_window_ends_in_its_time_whatever_other_part_was_closed_before_its_last_event() -> None:
    def block(kind: str, index: int, seq: int, **members: Any) -> Wire:
        place = {"sessionId": "s", "messageId": "m", "blockIndex": index}
        return {"type": f"block.{kind}", **place, "seq": seq, **members}

    wires = [
        block("closed", 2, 102),
        block("closed", 0, 104),
        block("closed", 2, 105),
        block("delta", 2, 106, text="d"),  # its window runs from here, as that of 0 from the next
        block("delta", 0, 108, text="e"),
        block("delta", 2, 58, text="b"),
        block("delta", 2, 69, text="c"),
    ]
    store = StreamStore(ticks="manual", limits=Limits(late_window=3))
    stream = store.open("native", sequencing="sparse")
    verdicts = [stream.ingest(wire) for wire in wires]
    assert [verdict.reason for verdict in verdicts] == ["", "", "", "", "", "", "unplaceable"]
