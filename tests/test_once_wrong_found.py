"""What simulation, fuzzing, a soak and a real server once found wrong, each with its smallest case."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from one_stream import Bench, fetched, frame

from streamstore import Limits, StreamStore
from streamstore.adapters.base import Context
from streamstore.errors import UnsupportedState
from streamstore.events import BlockReplaced, MessageOpened, MessageRollback, SessionRemoved
from streamstore.log import LogError, open_log, read_log
from streamstore.protocols import adapter_named

KEY = {"sessionId": "s", "messageId": "m"}


def delta(text: str, session: str = "s") -> dict[str, Any]:
    return {**KEY, "type": "block.delta", "sessionId": session, "blockIndex": 0, "text": text}


# --- the doors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b'{"type": {}}\n', b'{"type": []}\n', b'{"type": null}\n'])
def test_no_first_line_raises_while_the_protocol_is_unknown(line: bytes) -> None:
    store = StreamStore()
    store.feed(line)
    assert store.health.counts["verdicts"] == {}


def test_a_run_that_takes_nothing_leaves_the_sessions_last_seq() -> None:
    wires = [
        {"type": "message.opened", **KEY, "seq": 1, "role": "assistant"},
        {"type": "block.opened", **KEY, "blockIndex": 0, "kind": "text", "seq": 2},
        {"type": "message.updated", **KEY, "seq": 3, "info": {"a": 1}},
        {"type": "message.updated", **KEY, "seq": 4, "info": {"a": 2}},
    ]
    store = StreamStore(ticks="manual")
    store.open("native", sequencing="session").ingest_many(wires)
    assert store.health.resume["sessions"] == {"s": 4}


# --- saved states and logs ------------------------------------------------------------------------


def test_a_state_whose_shown_value_cannot_be_read_is_refused() -> None:
    store = StreamStore("native", ticks="manual")
    store.ingest({**delta("x"), "seq": 1})
    store.flush()
    saved = store.save()
    block = saved["sessions"][0]["messages"][0]["blocks"][0]
    block["shown"] = {"~tuple": ["text", {"~json": []}, "open", False, False, 2, ""]}
    with pytest.raises(UnsupportedState):
        StreamStore.load(saved)


def test_a_log_whose_schema_is_no_text_is_damaged_not_a_decoding_error(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with open_log(path) as log:
        log.append(b"{}")
    data = bytearray(path.read_bytes())
    at = data.index(b"CREATE TABLE")
    for place in range(at, at + 60):
        broken = bytearray(data)
        broken[place] = 0xFF
        path.write_bytes(broken)
        try:
            with read_log(path) as log:
                list(log.read())
        except LogError as error:
            assert str(path) in str(error)


# --- what is removed is free ----------------------------------------------------------------------


def test_forgotten_sessions_are_held_by_no_stream_also_when_removed_by_the_application() -> None:
    store = StreamStore("native", ticks="manual", limits=Limits(removed_sessions=2))
    stream = store.open("native", sequencing="none")
    for number in range(20):
        stream.ingest(delta("x", f"s{number}"))
        store.flush()
        store.apply(SessionRemoved(session_id=f"s{number}"))
        store.flush()
    applied = store._stages.applied
    assert applied is not None
    assert len(store._sessions) == len(applied.sessions) == 2


def test_a_removed_session_holds_no_block() -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="sparse")
    stream.ingest({**delta("x"), "seq": 1})
    stream.ingest({**KEY, "type": "block.closed", "blockIndex": 0, "seq": 2})
    stream.ingest({"type": "session.removed", "sessionId": "s"})
    store.flush()
    row = store._sessions["s"]
    assert not (row.messages or row.closing or row.woken or row.withheld or row.calls)


@pytest.mark.parametrize("sequencing", ["sparse", "session"])
def test_a_read_that_began_after_a_removal_brings_the_session_back(sequencing: Any) -> None:
    bench = Bench(sequencing)
    bench.delta(1, "gone")
    bench.take("session.removed")
    bench.store.flush()
    token = bench.store.begin_read("s")
    state = {"messages": [fetched("m", (0, "again"))], "complete": True, "readFrom": token}
    bench.take("snapshot", 5, **state)
    bench.store.flush()
    assert [part.text for part in bench.store.parts("s", "m")] == ["again"]


@pytest.mark.parametrize("sequencing", ["sparse", "session"])
def test_a_read_that_began_before_a_removal_does_not(sequencing: Any) -> None:
    bench = Bench(sequencing)
    bench.delta(1, "gone")
    token = bench.store.begin_read("s")
    bench.take("session.removed")
    state = {"messages": [fetched("m", (0, "again"))], "complete": True, "readFrom": token}
    bench.take("snapshot", 5, **state)
    bench.store.flush()
    assert bench.store.session_ids() == ()


def test_a_session_that_only_a_local_message_made_goes_with_its_rollback() -> None:
    store = StreamStore("native", ticks="manual")
    opened = MessageOpened(
        session_id="x", message_id="m", role="user", order=1, local=True, client_id="m"
    )
    store.apply(opened)
    store.flush()
    store.apply(MessageRollback(session_id="x", message_id="m"))
    store.flush()
    assert store.session_ids() == () and store.state()["sessions"] == {}


def test_a_session_that_the_server_spoke_of_stays_when_a_local_message_is_rolled_back() -> None:
    store = StreamStore("native", ticks="manual")
    store.ingest({"type": "session.updated", "sessionId": "x", "info": {"title": "t"}})
    opened = MessageOpened(
        session_id="x", message_id="m", role="user", order=1, local=True, client_id="m"
    )
    store.apply(opened)
    store.apply(MessageRollback(session_id="x", message_id="m"))
    store.flush()
    assert store.session_ids() == ("x",)


# --- opencode V2, as a real server sends it -------------------------------------------------------

TEXT = {"sessionID": "ses_1", "assistantMessageID": "msg_1", "textID": "text-0"}


def v2(**options: Any) -> StreamStore:
    return StreamStore("opencode-v2", ticks="manual", **options)


def test_on_the_v1_stream_v2_events_write_their_time_as_a_date() -> None:
    store = v2()
    body = {**TEXT, "timestamp": "2026-11-25T22:08:34.911Z"}
    started = {"id": "evt_1", "type": "session.next.text.started", "properties": body}
    grown = {
        "id": "evt_2",
        "type": "session.next.text.delta",
        "properties": {**body, "delta": "a"},
    }
    assert [store.ingest(wire).kind for wire in (started, grown)] == ["accepted"] * 2
    store.flush()
    assert [part.text for part in store.parts("ses_1", "msg_1")] == ["a"]
    broken = {**grown, "id": "evt_3", "properties": {**body, "delta": "a", "timestamp": "soon"}}
    verdict = store.ingest(broken)
    assert (verdict.kind, verdict.reason) == ("malformed", "properties.timestamp")


def test_what_concerns_no_session_is_ignored_not_unknown() -> None:
    store = v2()
    for kind in ("plugin.added", "catalog.updated", "reference.updated", "integration.updated"):
        store.ingest({"id": "evt_1", "type": kind, "data": {}, "location": {}})
    assert not any("unknown" in name for name in store.health.counts["verdicts"])


def test_a_provider_that_is_no_object_does_not_keep_the_rest_from_being_encoded() -> None:
    store = v2()
    body = {**TEXT, "callID": "d", "input": {}, "provider": 8}
    store.ingest(
        {
            "type": "session.next.tool.called",
            "durable": {"aggregateID": "ses_1", "seq": 3, "version": 1},
            "data": body,
        }
    )
    store.flush()
    (session,) = adapter_named("opencode-v2")(Context()).encode(store)
    assert [item["id"] for item in session["data"][0]["content"]] == ["d"]


# --- by the simulation ----------------------------------------------------------------------------


def test_a_hole_that_a_snapshot_shows_holds_the_resume_position() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="session")
    stream.ingest({"type": "message.opened", **KEY, "seq": 5, "role": "user"})
    message = {"id": "m", "role": "user", "parts": []}
    snapshot = {"type": "snapshot", "sessionId": "s", "seq": 2, "complete": True}
    stream.ingest({**snapshot, "messages": [message]})
    assert store.flush().gaps[0].missing == ((3, 4),)
    assert stream.position.events == 0


def test_an_empty_text_of_an_open_part_does_not_repair_it() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="none")
    stream.ingest({"type": "message.opened", **KEY, "role": "assistant"})
    stream.ingest({"type": "block.opened", **KEY, "blockIndex": 0, "kind": "text"})
    stream.end()
    stream = store.open("native", sequencing="none")
    state = {"messages": [{**fetched("m", (0, "")), "status": "open"}], "complete": True}
    state["messages"][0]["parts"][0].update(kind="text", status="open")
    token = store.begin_read("s")
    stream.ingest({"type": "snapshot", "sessionId": "s", "readFrom": token, **state})
    stream.ingest(delta("4"))
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.gap


def test_a_positioned_snapshot_replaces_an_older_tool_state() -> None:
    bench = Bench("session")
    tool = {"kind": "tool", "state": {"status": "completed"}}
    bench.take("message.opened", 1, role="assistant")
    bench.take("block.replaced", 2, blockIndex=0, **tool)
    row = {"blockIndex": 0, "kind": "tool", "status": "open", "callId": "c"}
    state = {"messages": [{"id": "m", "role": "assistant", "status": "open", "parts": [row]}]}
    bench.take("snapshot", 5, complete=True, **state)
    bench.take("block.updated", 6, blockIndex=0, state={"status": "running"})
    bench.store.flush()
    part = bench.store.part("s", "m", 0)
    assert part is not None and part.fields["state"] == {"status": "running"}


def test_a_snapshot_of_a_block_carries_a_reset_out() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="sparse")
    stream.ingest({**delta("old"), "seq": 27})
    stream.ingest({"type": "message.reset", **KEY, "seq": 31})
    new = {"type": "block.snapshot", **KEY, "blockIndex": 4, "seq": 78, "kind": "text"}
    stream.ingest({**new, "text": "new"})
    store.flush()
    assert [part.text for part in store.parts("s", "m")] == ["new"]


def test_a_request_whose_answer_was_lost_goes_although_another_came_during_the_read() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="none")
    stream.ingest({"type": "permission.asked", "sessionId": "s", "id": "old"})
    token = store.begin_read("s")
    stream.ingest({"type": "permission.asked", "sessionId": "s", "id": "new"})
    state = {"messages": [], "complete": True, "permissions": []}
    stream.ingest({"type": "snapshot", "sessionId": "s", "readFrom": token, **state})
    store.flush()
    session = store.session("s")
    assert session is not None and list(session.permissions) == ["new"]


def test_the_end_of_a_message_during_a_read_keeps_nothing_of_its_parts_from_being_read() -> None:
    """The last state of a tool was lost with the connection; the message ended while it was read."""
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="none")
    stream.ingest({"type": "message.opened", **KEY, "role": "assistant"})
    tool = {"type": "block.replaced", **KEY, "blockIndex": 0, "kind": "tool"}
    stream.ingest({**tool, "state": {"status": "pending"}})
    stream.end()
    stream = store.open("native", sequencing="none")
    token = store.begin_read("s")
    stream.ingest({"type": "message.closed", **KEY, "status": "completed"})
    part = {"blockIndex": 0, "kind": "tool", "status": "closed", "state": {"status": "error"}}
    message = {"id": "m", "role": "assistant", "status": "completed", "parts": [part]}
    state = {"messages": [message], "complete": True, "readFrom": token}
    stream.ingest({"type": "snapshot", "sessionId": "s", **state})
    store.flush()
    found = store.part("s", "m", 0)
    assert found is not None and found.fields["state"] == {"status": "error"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_text_set_between_two_openings_stays_in_whatever_order_they_come(
    order: tuple[int, ...],
) -> None:
    place = {**KEY, "blockIndex": 0}
    log = [
        {"type": "block.removed", **place, "seq": 9},
        {"type": "block.opened", **place, "kind": "text", "seq": 10},
        {"type": "block.replaced", **place, "text": "all", "seq": 26},
        {"type": "block.opened", **place, "kind": "text", "seq": 31},
    ]
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="session")
    for at in order:
        stream.ingest(log[at])
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "all"


@pytest.mark.parametrize("sequencing", ["block", "session"])
def test_a_late_snapshot_moves_no_resume_position_over_what_was_lost_before_it(
    sequencing: Any,
) -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing=sequencing)
    place = {**KEY, "blockIndex": 0}
    stream.ingest({**place, "type": "block.delta", "seq": 1, "text": "a"})
    # 2 is taken in by the snapshot alone; 3, which was sent before the snapshot, is lost.
    stream.ingest({**place, "type": "block.snapshot", "seq": 2, "text": "ab"})
    stream.ingest({**place, "type": "block.delta", "seq": 4, "text": "d"})
    assert stream.position.events == 1


# --- what the simulation found with generations, requests, shared states and what the user says ---

SESSION = {"sessionId": "s"}
BLOCK = {**KEY, "blockIndex": 0}


def opened(mode: Any) -> tuple[StreamStore, Any]:
    store = StreamStore(ticks="manual")
    return store, store.open("native", sequencing=mode)


def test_an_event_at_a_snapshots_own_position_that_no_snapshot_holds_is_not_lost() -> None:
    for mode in ("session", "sparse"):
        ends = []
        error = {"type": "session.error", **SESSION, "error": {"name": "E"}, "seq": 5}
        state = {"type": "session.state", **SESSION, "state": {"n": 1}, "seq": 5}
        read = {"type": "snapshot", **SESSION, "seq": 5, "complete": True, "messages": []}
        for own in (error, state):
            for order in ((own, read), (read, own), (read, own, own)):
                store, stream = opened(mode)
                for wire in order:
                    stream.ingest(wire)
                store.flush()
                ends.append(store.state()["sessions"])
        assert ends[0] == ends[1] == ends[2] == {"s": {"errors": [{"name": "E"}]}}
        assert ends[3] == ends[4] == ends[5] == {"s": {"state": {"n": 1}}}


def test_a_local_message_that_an_equal_block_confirms_is_shown_as_confirmed() -> None:
    store, stream = opened("block")
    store.apply(MessageOpened(session_id="s", message_id="m", role="user", local=True))
    store.apply(
        BlockReplaced(session_id="s", message_id="m", block_index=0, kind="text", text="hi")
    )
    store.flush()
    stream.ingest({"type": "block.replaced", **BLOCK, "kind": "text", "text": "hi", "seq": 1})
    assert store.flush().changed
    assert not store.message("s", "m").local
    store.apply(MessageRollback(session_id="s", message_id="m"))
    store.flush()
    assert store.part("s", "m", 0).text == "hi"


def test_a_close_of_the_new_generation_counts_also_before_its_first_operation() -> None:
    for mode in ("block", "session"):
        ends = []
        close = {"type": "block.closed", **BLOCK, "generation": "g2"}
        first = {"type": "block.delta", **BLOCK, "text": "new", "generation": "g2", "seq": 1}
        if mode == "session":
            first = {"type": "block.opened", **BLOCK, "kind": "text", "generation": "g2", "seq": 1}
            close["seq"] = 2
        for order in ((first, close), (close, first)):
            store, stream = opened(mode)
            stream.ingest({"type": "stream.opened", **SESSION, "generation": "g1"})
            stream.ingest(
                {"type": "block.delta", **BLOCK, "text": "old", "generation": "g1", "seq": 1}
            )
            stream.ingest({"type": "stream.opened", **SESSION, "generation": "g2"})
            for wire in order:
                stream.ingest(wire)
            store.flush()
            ends.append(store.state()["sessions"])
        assert ends[0] == ends[1]
        assert store.part("s", "m", 0).status == "closed"


def test_the_first_operation_of_a_new_counter_takes_the_old_texts_place_without_a_text() -> None:
    store, stream = opened("block")
    stream.ingest({"type": "stream.opened", **SESSION, "generation": "g1"})
    stream.ingest({"type": "block.delta", **BLOCK, "field": "input", "text": "old", "seq": 1})
    stream.ingest({"type": "stream.opened", **SESSION, "generation": "g2"})
    running = {
        "type": "block.replaced",
        **BLOCK,
        "state": {"status": "running"},
        "input": "new ",
        "seq": 1,
    }
    stream.ingest({**running, "generation": "g2"})
    stream.ingest({"type": "block.delta", **BLOCK, "field": "input", "text": "text", "seq": 2})
    store.flush()
    part = store.part("s", "m", 0)
    assert (str(part.others["input"]), part.previous) == ("new text", False)


def test_a_request_that_a_snapshot_lists_is_open_also_where_the_session_was_removed_before() -> (
    None
):
    store, stream = opened("session")
    stream.ingest({"type": "session.removed", **SESSION, "seq": 1})
    stream.ingest({"type": "permission.asked", **SESSION, "id": "r", "payload": {}, "seq": 3})
    wire = {"type": "snapshot", **SESSION, "seq": 4, "complete": True, "messages": []}
    stream.ingest({**wire, "permissions": [{"id": "r", "payload": {}}]})
    store.flush()
    assert list(store.session("s").permissions) == ["r"]


def test_a_shared_state_between_a_removal_and_the_new_beginning_stays_removed() -> None:
    removed = {"type": "session.removed", **SESSION, "seq": 1}
    state = {"type": "session.state", **SESSION, "state": {"n": 1}, "seq": 2}
    again = {"type": "session.updated", **SESSION, "info": {"b": 2}, "whole": True, "seq": 3}
    ends = []
    for order in ((removed, state, again), (removed, again, state), (again, removed, state)):
        store, stream = opened("sparse")
        for wire in order:
            stream.ingest(wire)
        store.flush()
        ends.append(store.state()["sessions"])
    assert ends[0] == ends[1] == ends[2] == {"s": {"info": {"b": 2}}}


def test_a_snapshot_leaves_what_the_user_said_until_the_server_has_it() -> None:
    store, stream = opened("session")
    store.apply(MessageOpened(session_id="s", message_id="m", role="user", local=True))
    store.apply(
        BlockReplaced(session_id="s", message_id="m", block_index=0, kind="text", text="hi")
    )
    known = {"id": "m", "role": "user", "status": "open", "parts": []}
    stream.ingest({"type": "snapshot", **SESSION, "seq": 5, "complete": True, "messages": [known]})
    store.flush()
    assert store.part("s", "m", 0).text == "hi"


def test_a_lost_first_operation_of_a_message_holds_the_resume_position() -> None:
    _, stream = opened("block")
    for number, (block, seq) in ((2, (0, 1)), (3, (1, 2))):  # id 1, block 1 seq 1, was lost
        stream.feed(frame(number, {**delta("x"), "blockIndex": block, "seq": seq}))
    assert stream.position.event_id in ("", "1")


@pytest.mark.parametrize("mode", ["session", "sparse"])
def test_a_removal_by_the_new_counter_takes_the_previous_text_along(mode: Any) -> None:
    removed = {"type": "message.removed", **KEY, "seq": 18}
    again = {"type": "message.opened", **KEY, "role": "assistant", "seq": 19}
    new = {**delta("new"), "seq": 20}
    ends = []
    for order in itertools.permutations((removed, again, new)):
        store, stream = opened(mode)
        stream.ingest({"type": "stream.opened", **SESSION, "generation": "g1"})
        stream.ingest({**delta("old"), "seq": 18})
        stream.ingest({"type": "stream.opened", **SESSION, "generation": "g2"})
        for wire in order:
            stream.ingest(wire)
        store.flush()
        ends.append((store.part("s", "m", 0).text, store.part("s", "m", 0).previous))
    assert ends == [("new", False)] * len(ends)


@pytest.mark.parametrize("mode", ["block", "session"])
def test_a_loss_before_a_save_that_shows_after_it_holds_the_resume_position(mode: Any) -> None:
    store, stream = opened(mode)
    if mode == "block":
        stream.feed(frame(0, {"type": "message.opened", **KEY, "role": "assistant"}))
    stream.feed(frame(1, {**delta("a"), "seq": 1}))
    stream.feed(frame(3, {**delta("b", session="other"), "seq": 1}))  # 2, of the first, was lost
    again = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    stream = again.open("native", sequencing=mode)
    stream.feed(frame(4, {**delta("c"), "seq": 3}))
    assert stream.position.event_id == "1"


def test_a_repeat_behind_a_hole_that_was_half_filled_moves_no_resume_position() -> None:
    _, stream = opened("session")
    stream.feed(frame(1, {**delta("a"), "seq": 1}))
    behind = frame(4, {"type": "session.status", **SESSION, "status": "busy", "seq": 4})
    stream.feed(behind)
    stream.feed(frame(2, {"type": "todo.updated", **SESSION, "todo": [], "seq": 2}))
    stream.feed(behind)
    assert stream.position.event_id == "1"


@pytest.mark.parametrize("mode", ["block", "session"])
def test_a_hole_of_an_older_connection_lies_before_all_of_the_newer_one(mode: Any) -> None:
    store, stream = opened(mode)
    for number in (1, 2, 3, 5):
        stream.feed(frame(number, {**delta("x"), "seq": number}))
    stream.end()
    stream = store.open("native", sequencing=mode)
    for number in range(6, 12):
        stream.feed(frame(number, {**delta("x", session="other"), "seq": number - 5}))
        assert (stream.position.events, stream.position.event_id) == (0, "3")


def test_of_two_holes_that_older_connections_left_the_older_one_holds_the_position() -> None:
    store, stream = opened("block")
    late = {**delta("x"), "messageId": "m2"}
    stream.feed(frame(1, {**late, "seq": 1}))  # what follows it, 2, is lost
    stream.feed(frame(3, {**delta("x"), "seq": 1}))  # and 4, of this one
    stream.end()
    stream = store.open("native", sequencing="block")
    stream.feed(frame(5, {**delta("x"), "seq": 3}))
    assert stream.position.event_id == "3"
    stream.feed(frame(6, {**late, "seq": 3}))
    assert stream.position.event_id == "1"
    again = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    assert again.open("native", sequencing="block").position.event_id == "1"


def test_a_refused_tool_state_that_is_sent_again_comes_back_under_no_new_message() -> None:
    bench = Bench("none")
    bench.take("block.replaced", state={"status": "error"}, id="e6")
    refused = {"state": {"status": "running"}, "id": "e7"}
    assert bench.take("block.replaced", **refused) == "refused:rank"
    bench.take("message.removed", id="e8")
    bench.take("message.opened", role="assistant", id="e9")
    assert bench.take("block.replaced", **refused) == "duplicate"
    assert bench.messages() == {"m": []}


@pytest.mark.parametrize("first", [True, False])
def test_a_loss_behind_a_blocks_opening_is_not_passed_over_by_a_save(first: bool) -> None:
    store, stream = opened("block")
    if first:
        stream.feed(frame(1, {"type": "block.opened", **BLOCK, "kind": "text"}))
    stream.feed(frame(3, {**delta("b", session="other"), "seq": 1}))  # 2, of the first, was lost
    again = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    stream = again.open("native", sequencing="block")
    stream.feed(frame(4, {**delta("c"), "seq": 2}))
    assert stream.position.event_id == ("1" if first else "")


@pytest.mark.parametrize("flush", [False, True])
def test_an_input_that_came_whole_lacks_nothing_although_one_before_it_streamed(
    flush: bool,
) -> None:
    bench = Bench("none")
    bench.delta(None, "13", field="input")
    if flush:
        bench.store.flush()
    bench.take("block.removed")
    if flush:
        bench.store.flush()
    bench.take("block.opened", kind="tool")
    bench.take("block.replaced", state={"status": "running"}, input="15")
    bench.stream.end()
    assert not bench.part().gap


def test_a_hole_that_a_read_shows_below_all_others_holds_the_resume_position() -> None:
    _, stream = opened("session")
    stream.feed(frame(1, {**delta("a"), "seq": 4}))  # 0, with seq 3, was lost
    stream.feed(frame(2, {**delta("b"), "seq": 16}))
    stream.ingest({"type": "snapshot", **SESSION, "seq": 2, "complete": True, "messages": []})
    assert stream.position.event_id == ""


def test_a_block_at_the_largest_seq_is_saved_and_loaded() -> None:
    store, stream = opened("block")
    stream.feed(frame(1, {"type": "block.snapshot", **BLOCK, "seq": 2**63 - 1, "text": "a"}))
    stream.feed(frame(2, {**delta("b"), "seq": 2**63 - 1}))
    stream.feed(frame(3, {**delta("c", session="t"), "seq": 2**63 - 1}))  # held
    again = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    again.flush()
    assert again.part("s", "m", 0).text == "a"


@pytest.mark.parametrize("sequencing", ["session", "sparse"])
def test_a_part_that_a_read_listed_below_its_first_event_goes_when_the_next_read_lacks_it(
    sequencing: str,
) -> None:
    store, stream = opened(sequencing)
    read = {"type": "snapshot", **SESSION, "complete": True}
    part = {"blockIndex": 0, "kind": "text", "status": "open", "text": "a"}
    message = {"id": "m", "status": "open", "info": {}}
    stream.ingest({**delta("c"), "seq": 12})
    stream.ingest({**read, "seq": 5, "messages": [{**message, "parts": [part]}]})
    store.flush()
    assert store.part("s", "m", 0).text == "ac"
    stream.ingest({**read, "seq": 6, "messages": [{**message, "parts": []}]})
    store.flush()
    assert store.parts("s", "m") == ()
    stream.ingest({**KEY, "type": "block.opened", "blockIndex": 0, "kind": "text", "seq": 11})
    store.flush()
    assert store.part("s", "m", 0).text == "c"


@pytest.mark.parametrize(
    ("kind", "members"),
    [("block.delta", {"text": "old"}), ("block.closed", {}), ("block.updated", {"tag": "old"})],
)
def test_what_was_refused_as_removed_stays_so_when_its_part_was_opened_anew(
    kind: str, members: dict[str, object]
) -> None:
    bench = Bench("none")
    bench.take("block.delta", text="gone", id="e1")
    bench.take("block.removed", id="e2")
    assert bench.take(kind, **members, id="e3") == "refused:removed"
    bench.take("block.opened", kind="text", id="e4")
    bench.take("block.delta", text="new", id="e5")
    before = bench.part()
    assert bench.take(kind, **members, id="e3") == "duplicate"
    assert bench.part() is before
    assert before.text == "new"


def test_an_event_of_a_type_that_nobody_knows_leaves_no_hole_in_its_session() -> None:
    unknown = {"type": "x.new", "sessionId": "s", "seq": 2, "generation": None}
    for order in ([0, 1, 2], [0, 2, 1], [2, 1, 0], [2, 0, 1]):
        bench = Bench("session")
        first, last = {**delta("a"), "seq": 1}, {**delta("b"), "seq": 3}
        said = [bench.stream.ingest([first, unknown, last][at]).kind for at in order]
        assert said[order.index(1)] == "unknown"
        assert bench.store.flush().gaps == ()
        assert bench.store.health.resume == {"sessions": {"s": 3}}
        assert bench.text() == "ab"


@pytest.mark.parametrize(
    "other",
    [
        {"sessionId": "t", "seq": 2},
        {"sessionId": "s", "seq": "2"},
        {"sessionId": "s", "seq": True},
        {"sessionId": "s", "seq": 2, "generation": 7},
    ],
)
def test_one_that_says_no_place_of_the_session_changes_nothing(other: dict[str, Any]) -> None:
    bench = Bench("session")
    bench.stream.ingest({**delta("a"), "seq": 1})
    bench.store.flush()
    before = bench.store.save()
    assert bench.stream.ingest({"type": "x.new", **other}).kind == "unknown"
    assert not bench.store.flush()
    assert bench.store.save()["sessions"] == before["sessions"]
