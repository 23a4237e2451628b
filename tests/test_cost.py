"""L9: what a delta costs does not depend on what is stored. Counted in calls, never in time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from one_stream import frame

from streamstore import Limits, StreamStore
from streamstore.events import MessageOpened, MessageRemoved

SEQUENCINGS = ("block", "sparse", "session", "none")


def delta(
    seq: int, session: str = "s", message: str = "m", block: int = 0, **members: Any
) -> dict[str, Any]:
    wire = {"type": "block.delta", "sessionId": session, "messageId": message, "blockIndex": block}
    return {**wire, "seq": seq, "text": "token ", **members}


def calls(work: Callable[[], object]) -> int:
    """How many calls, of Python and of C functions, a piece of work makes."""
    number = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal number
        if event in ("call", "c_call"):
            number += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number


def lines(work: Callable[[], object]) -> int:
    """How many lines of Python a piece of work runs: a loop that calls nothing counts, too."""
    number = 0

    def count(frame: object, event: str, argument: object) -> Any:
        nonlocal number
        number += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return number


def grown(
    sequencing: Any,
    deltas: int = 1,
    sessions: int = 1,
    messages: int = 1,
    blocks: int = 1,
    **members: Any,
) -> tuple[StreamStore, Any, int]:
    """A store in which one block has some deltas, and others stand beside it."""
    store = StreamStore(ticks="manual", limits=Limits(late_window=64))
    stream = store.open("native", sequencing=sequencing)
    for other in range(1, sessions):
        stream.ingest(delta(1, session=f"s{other}"))
    if sequencing != "session":  # there the siblings would take seqs of their session
        for other in range(1, messages):
            stream.ingest(delta(1, message=f"m{other}"))
        for other in range(1, blocks):
            stream.ingest(delta(1, block=other))
    for seq in range(1, deltas + 1):
        stream.ingest(delta(seq, **members))
        if seq % 50 == 0:
            store.flush()
    store.flush()
    return store, stream, deltas


def test_a_tick_costs_the_same_however_many_streams_are_open():
    def cost(streams: int) -> int:
        store, stream, at = grown("none")
        for _ in range(streams):
            store.open("native", sequencing="none")  # one that never has an event id
        stream.ingest(delta(at + 1))
        store.flush()
        stream.ingest(delta(at + 2))
        return calls(store.flush)

    assert cost(2_000) <= cost(1) + 3


def test_a_message_of_the_servers_costs_the_same_however_many_it_may_be_one_of_ours_among():
    def cost(messages: int) -> int:
        store, stream, _ = grown("none", messages=messages)
        mine = MessageOpened(session_id="s", message_id="mine", role="user", local=True)
        store.apply(mine)
        opened = {"type": "message.opened", "sessionId": "s", "role": "user"}
        theirs = {**opened, "messageId": "theirs", "clientId": "mine"}
        number = lines(lambda: stream.ingest(theirs))
        store.flush()
        assert "mine" not in {message.id for message in store.messages("s")}
        return number

    assert cost(2_000) <= cost(1) + 10


@pytest.mark.parametrize("members", [{}, {"field": "input"}], ids=["text", "input"])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_ten_deltas_and_a_tick_cost_the_same_in_a_small_store_and_in_a_large_one(
    sequencing, members
):
    def cost(**size: int) -> int:
        store, stream, at = grown(sequencing, **size, **members)
        work = [delta(at + number, **members) for number in range(1, 11)]
        stream.ingest(work[0])  # warm: the row before it may have been another one

        def tick() -> None:
            for wire in work[1:]:
                stream.ingest(wire)
            store.flush()

        return calls(tick)

    small = cost(deltas=51)
    large = [
        cost(deltas=20_001),
        cost(deltas=51, sessions=3_000),
        cost(deltas=51, messages=3_000),
        cost(deltas=51, blocks=3_000),
    ]
    # Merging text pieces a hundred at a time and cutting windows come now and then.
    assert max(large) <= small + 30


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_an_update_of_a_session_costs_the_same_however_many_messages_it_has_or_had(sequencing):
    def cost(messages: int, removed: int = 0) -> int:
        store, stream, at = grown(sequencing, deltas=51, messages=messages)
        for other in range(removed):
            store.apply(MessageRemoved(session_id="s", message_id=f"r{other}"))
        store.flush()
        stream.ingest(delta(at + 1))
        wire = {"type": "session.updated", "sessionId": "s", "info": {"title": "t"}, "seq": at + 2}
        return calls(lambda: stream.ingest(wire))

    assert max(cost(3_000), cost(1, removed=3_000)) <= cost(1) + 5


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_a_delta_in_order_is_four_to_six_calls(sequencing):
    _, stream, at = grown(sequencing, deltas=51)
    stream.ingest(delta(at + 1))
    wires = [delta(at + 2 + number) for number in range(100)]
    if sequencing == "none":  # where a seq means nothing and usually is not there
        for wire in wires:
            del wire["seq"]

    def ingest() -> None:
        for wire in wires:
            stream.ingest(wire)

    # The call itself, an append, two lengths; with a window another append, in a `session` stream
    # the session's own seq, in a `none` stream a look for an id.
    most = {"session": 6, "sparse": 5, "none": 5}.get(sequencing, 4)
    assert calls(ingest) <= 100 * most + 5


def test_a_late_delta_costs_its_window_and_not_the_text():
    def cost(deltas: int) -> int:
        store, stream, _ = grown("sparse", deltas=1)
        for seq in range(2, 2 * deltas, 2):
            stream.ingest(delta(seq))
        store.flush()
        late = delta(2 * deltas - 9)

        def tick() -> None:
            assert stream.ingest(late).kind == "late"
            store.flush()

        return calls(tick)

    assert cost(20_000) <= cost(500) + 30


def test_ten_deltas_in_a_tick_are_one_write_and_one_notification_and_each_are_ten():
    for ticks, number in (("manual", 1), ("each", 10)):
        store = StreamStore("native", ticks=ticks)
        heard: list[Any] = []
        store.subscribe(heard.append)
        store.ingest_many(delta(seq) for seq in range(1, 11))
        store.flush()
        work = store.health.counts["work"]
        assert (work["writes"], work["notifications"], len(heard)) == (number, number, number)
        assert "".join(edit.text for changes in heard for edit in changes.text.values()) == (
            "token " * 10
        )


def test_a_tick_costs_the_same_however_many_subscribers_listen_to_other_parts():
    class Scopes(dict[Any, Any]):
        def __iter__(self) -> Any:  # copied or walked
            raise AssertionError("a tick looks at every scope")

    store, stream, at = grown("none", messages=3)
    heard: dict[str, list[Any]] = {}
    for name in ("m", "m1", "m2"):
        heard[name] = []
        store.subscribe(heard[name].append, "s", name)
    store._subscribers._by_scope = Scopes(store._subscribers._by_scope)
    stream.ingest(delta(at + 1))
    store.flush()
    stream.ingest(delta(at + 2))
    stream.ingest(
        {"type": "message.updated", "sessionId": "s", "messageId": "m1", "info": {"a": 1}}
    )
    store.flush()
    assert [len(changes) for changes in heard.values()] == [2, 1, 0]


def test_a_tick_costs_the_same_however_many_sessions_lack_something():
    def figure(sessions: int) -> int:
        store = StreamStore("native", ticks="manual")
        streams = [store.open("native", sequencing="session") for _ in range(2)]

        def feed(name: str, seq: int) -> None:
            wire = json.dumps(delta(seq) | {"sessionId": name})
            streams[seq % 2].feed(f"id: {name}{seq}\ndata: {wire}\n\n".encode())

        for number in range(sessions):
            for seq in (1, 2, 4):
                feed(f"s{number}", seq)
        for seq in (6, 8):
            feed("s0", seq)
        store.flush()

        def tick() -> None:
            feed("s0", 9)
            assert store.flush().resume["eventId"]

        return calls(tick)

    assert figure(50) == figure(5)


def test_a_tools_delta_of_langchain_costs_the_same_however_many_tools_its_message_has():
    def chunk(index: int, args: str, call_id: str | None = None) -> dict[str, Any]:
        tool = {"name": None, "args": args, "id": call_id, "index": index}
        message = {"type": "AIMessageChunk", "content": "", "id": "m"}
        return {**message, "tool_call_chunks": [{**tool, "type": "tool_call_chunk"}]}

    def cost(tools: int, named: bool) -> int:
        store = StreamStore("langchain", ticks="manual")
        for index in range(tools):
            store.ingest(chunk(index, "{", f"c{index}"))
        more = chunk(tools - 1, "x", f"c{tools - 1}" if named else None)
        store.ingest(more)  # warm: where the tool stands is known from here on
        return calls(lambda: store.ingest(more))

    for named in (False, True):
        assert cost(500, named) <= cost(1, named) + 5


def test_a_note_to_fetch_a_session_costs_the_same_however_many_there_are():
    class Rows(dict[str, Any]):
        def __contains__(self, name: object) -> bool:  # a call that is counted
            return super().__contains__(name)

    costs = []
    for notes in (1, 1000):
        store = StreamStore(ticks="manual", limits=Limits(removed_sessions=2))
        stream = store.open("native", sequencing="sparse")
        for number in range(notes):
            stream.ingest(delta(1, session=f"s{number}"))
            store.ask_resync(f"s{number}", "a loss")
        for name in ("a", "b"):
            store.ask_resync(name, "a loss")
        store._stages.sessions = Rows(store._stages.sessions)
        costs.append(calls(lambda: store.ask_resync("c", "a loss")))  # noqa: B023
        assert list(store.resync)[-2:] == ["b", "c"]
    assert costs[0] == costs[1]


def messages_in_one_batch(sequencing: Any, messages: int) -> list[dict[str, Any]]:
    """Messages of one part each, opened, streamed and closed, as a log has them."""
    wires: list[dict[str, Any]] = []
    for number in range(messages):
        of = {"sessionId": "s", "messageId": f"m{number}"}
        wires.append({"type": "message.opened", **of, "role": "assistant"})
        wires.append({"type": "block.opened", **of, "blockIndex": 0, "kind": "text"})
        wires += [{"type": "block.delta", **of, "blockIndex": 0, "text": "token "}] * 2
        wires.append({"type": "message.closed", **of, "status": "completed"})
    if sequencing in ("sparse", "session"):
        return [{**wire, "seq": seq} for seq, wire in enumerate(wires, start=1)]
    counted = {2: 1, 3: 2} if sequencing == "block" else {}
    return [
        {**wire, "seq": counted[at % 5]} if at % 5 in counted else wire
        for at, wire in enumerate(wires)
    ]


@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_a_message_in_one_tick_costs_the_same_however_many_came_before(
    sequencing: Any, delivery: Any
):
    def cost(messages: int) -> int:
        store = StreamStore(ticks="manual", delivery=delivery)
        stream = store.open("native", sequencing=sequencing)
        wires = messages_in_one_batch(sequencing, messages)
        number = lines(lambda: stream.ingest_many(wires))
        store.flush()
        assert len(store.messages("s")) == messages
        part = store.part("s", f"m{messages - 1}", 0)
        assert part is not None and part.text == "token token "
        return number

    assert cost(120) <= 2.2 * cost(60)


@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
@pytest.mark.parametrize("seq", [None, 5])
def test_a_message_of_a_fetched_state_costs_the_same_however_many_it_has(seq: Any, delivery: Any):
    def cost(messages: int) -> int:
        store = StreamStore(ticks="manual", delivery=delivery)
        stream = store.open("native", sequencing="none" if seq is None else "session")
        part = {"blockIndex": 0, "kind": "text", "text": "token "}
        fetched = [
            {"info": {"id": f"m{number}"}, "status": "completed", "parts": [part]}
            for number in range(messages)
        ]
        wire = {"type": "snapshot", "sessionId": "s", "complete": True, "messages": fetched}
        number = lines(lambda: stream.ingest(wire if seq is None else {**wire, "seq": seq}))
        store.flush()
        assert len(store.messages("s")) == messages
        return number

    assert cost(120) <= 2.2 * cost(60)


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_an_update_of_a_message_costs_the_same_however_many_parts_it_has(sequencing: Any):
    def cost(blocks: int) -> int:
        store, stream, at = grown(sequencing, deltas=51, blocks=blocks)
        update = {"type": "message.updated", "sessionId": "s", "messageId": "m", "info": {"a": 1}}
        store.flush()
        return lines(lambda: stream.ingest({**update, "seq": at + 1}))

    assert cost(300) <= cost(1) + 10


def test_a_page_of_older_messages_costs_the_same_however_many_are_known():
    def cost(messages: int) -> int:
        _, stream, _ = grown("none", messages=messages)
        older = [{"info": {"id": "a", "order": -1}, "parts": []}]
        wire = {"type": "snapshot", "sessionId": "s", "messages": older, "complete": False}
        return lines(lambda: stream.ingest(wire))

    assert cost(300) <= cost(1) + 10


@pytest.mark.parametrize("ended", ["message.closed", "message.removed"])
def test_the_end_of_a_message_costs_the_same_however_many_others_are_open(ended: str):
    def cost(messages: int) -> int:
        _, stream, _ = grown("none", messages=messages)
        wire = {"type": ended, "sessionId": "s", "messageId": "m", "status": "completed"}
        return lines(lambda: stream.ingest(wire))

    assert cost(300) <= cost(1) + 10


def test_to_subscribe_to_a_message_costs_the_same_however_many_its_session_has():
    def cost(messages: int, *block: int) -> int:
        store, _, _ = grown("none", messages=messages)
        store.messages("s")  # read by the list that has a view for each
        return lines(lambda: store.subscribe(print, "s", "m", *block))

    assert cost(300) <= cost(1) + 5
    assert cost(300, 0) <= cost(1, 0) + 5


def test_to_subscribe_no_more_costs_the_same_however_many_others_there_are():
    class Others(dict[Any, Any]):
        def __iter__(self) -> Any:  # copied or walked
            raise AssertionError("it looks at every other one")

    store, _, _ = grown("none")
    scopes = store._subscribers._by_scope
    first, second = store.subscribe(print), store.subscribe(print)
    scopes[()] = Others(scopes[()])
    second.close()
    assert len(store._subscribers) == 1
    first.close()
    assert not scopes


def test_messages_of_a_graph_that_come_together_are_copied_without_asking_each_value():
    def cost(messages: int) -> int:
        store = StreamStore("langchain", ticks="manual")
        for number in range(messages):
            store.ingest({"type": "ai", "content": "a", "id": f"m{number}"})
        two = [{"type": "ai", "content": "a", "id": name} for name in ("x", "y")]
        return calls(lambda: store.ingest(two))

    assert cost(100) - cost(20) <= 80 * 30


@pytest.mark.parametrize("sequencing", ["block", "session"])
def test_an_event_and_its_position_cost_the_same_however_many_holes_there_are(sequencing: Any):
    def cost(holes: int) -> int:
        store = StreamStore(ticks="manual")
        stream = store.open("native", sequencing=sequencing)
        other = store.open("native", sequencing=sequencing)  # one server's: its holes count, too
        for number in range(holes):
            for at in (1, 3, 5):  # each has two
                wire = delta(at, session=f"s{number}")
                (other if number % 2 else stream).feed(frame(10 * number + at, wire))
        store.flush()

        def work() -> None:
            for number in range(3):
                opened = {"type": "message.opened", "sessionId": "t", "role": "user"}
                stream.feed(frame(10 * holes + number, {**opened, "messageId": f"m{number}"}))
                assert store.flush().resume["eventId"] == stream.position.event_id == "1"

        return lines(work)

    assert cost(400) <= cost(20) + 60
