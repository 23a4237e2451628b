"""Where a stream can be resumed, of rows alone: no event, adapter, stage or store is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from one_stream import delta, frame

from streamstore import CallerError, Limits, Position, StreamStore
from streamstore.keys import MessageKey, PartKey
from streamstore.marks import EventIds
from streamstore.positions import Positions, Progress, rise, top_of
from streamstore.rows import BlockRow, MessageRow, SessionRow

PLACE = ("sessionId", "messageId", "blockIndex")


def a_session(session_id: str = "s") -> SessionRow:
    return SessionRow(id=session_id, ids=EventIds(8))


def a_block(session: SessionRow, index: int = 0) -> BlockRow:
    message = session.messages.get("m")
    if message is None:
        message = session.messages["m"] = MessageRow(key=MessageKey("s", "m"), session=session)
    return message.blocks.setdefault(index, BlockRow(key=PartKey("s", "m", index), message=message))


class Bench:
    """One stream whose events have ids 1, 2, ..., and a session it brings."""

    def __init__(self, token: int = 1, positions: Positions | None = None) -> None:
        self.positions = positions or Positions(Limits())
        self.progress = Progress(self.positions, token)
        self.positions.enter(self.progress, None)
        self.session = a_session()

    def take(self, repeated: bool = False) -> Progress:
        """One event without an effect on rows; what it does is between `begin` and `done`."""
        self.begin()
        self.progress.done(repeated)
        if repeated:
            assert self.progress.id_before is not None
            self.progress.event_id = self.progress.id_before
        self.progress.id_before = None
        return self.progress

    def begin(self) -> None:
        self.progress.id_before = self.progress.event_id
        self.progress.event_id = str(self.progress.received + 1)
        self.progress.begin()

    def bring(self, block: BlockRow, seq: int) -> None:
        """The next event is an operation of a `block` stream."""
        self.begin()
        top = top_of(block)
        if seq == block.mark + 1 or (block.mark < 0 and seq == 1):
            block.mark = seq
        else:
            block.held[seq] = "waits"
            self.progress.hold(block, seq, top)
        self.progress.stand(block, seq)
        self.progress.done(repeated=False)
        self.progress.id_before = None

    def fill(self, block: BlockRow, seq: int) -> None:
        """The next event is the one that was missing; everything that waited comes out."""
        self.begin()
        block.mark = max(seq, *block.held)
        block.held.clear()
        block.holes_at.clear()
        self.progress.note_close(block)
        self.progress.done(repeated=False)
        self.progress.id_before = None


def test_without_holes_the_position_is_behind_what_came():
    bench = Bench()
    for _ in range(3):
        bench.take()
    assert bench.progress.position == Position(3, "3")
    assert bench.positions.resume(()) == {"eventId": "3"}


def test_what_the_short_way_counts_is_part_of_the_position_and_survives_another_one():
    bench = Bench()
    bench.take()
    bench.progress.count_by(lambda: 4)
    assert bench.progress.received == bench.progress.position.events == 5
    bench.progress.count_by(lambda: 1)
    assert bench.progress.received == bench.progress.position.events == 6


def test_a_run_of_repeats_moves_no_position_until_something_new_comes():
    bench = Bench()
    bench.take()
    for _ in range(3):
        assert bench.take(repeated=True).position == Position(1, "1")
    assert bench.progress.repeating
    assert bench.take().position == Position(5, "5")
    assert not bench.progress.repeating


def test_a_hole_holds_the_position_before_it_until_it_is_filled():
    bench = Bench()
    block = a_block(bench.session)
    bench.bring(block, 1)
    bench.bring(block, 2)
    bench.bring(block, 4)
    bench.take()
    assert bench.progress.position == Position(2, "2")
    assert bench.positions.resume(()) == {"eventId": "2"}
    bench.fill(block, 3)
    assert bench.progress.position == Position(5, "5")
    assert not bench.positions.blocks


def test_what_is_lost_may_lie_among_the_events_of_other_blocks():
    bench = Bench()
    block = a_block(bench.session)
    bench.bring(block, 1)
    for _ in range(5):
        bench.take()
    bench.bring(block, 3)
    assert bench.progress.position == Position(1, "1")


def test_of_a_block_of_which_nothing_came_something_may_be_lost_behind_its_messages_opening():
    bench = Bench()
    block = a_block(bench.session)
    bench.take()
    bench.begin()
    bench.progress.stand(block.message, -1)
    bench.progress.done(repeated=False)
    bench.take()
    bench.bring(block, 5)
    assert bench.progress.position == Position(2, "2")


def test_of_a_block_without_any_trace_it_may_be_lost_anywhere():
    bench = Bench()
    bench.take()
    bench.bring(a_block(bench.session), 5)
    assert bench.progress.position == Position(0, "")


@pytest.mark.parametrize(("others", "events"), [(0, 5), (1, 2)])
def test_behind_a_run_of_the_short_way_the_hole_is_where_it_ended_if_nothing_came_between(
    others: int, events: int
):
    bench = Bench()
    block = a_block(bench.session)
    bench.take()
    bench.take()
    block.mark = 2
    bench.progress.waking("block", lambda row: None)(block)
    block.mark = 5  # only the first of a run says where its row stands
    bench.progress.count_by(lambda: 3)
    bench.progress.event_id = "5"
    for _ in range(others):
        bench.take()
    bench.bring(block, 7)
    assert bench.progress.position == Position(events, str(events))


@pytest.mark.parametrize("event_id", ["4", ""])
def test_what_an_older_connection_may_have_lost_is_asked_for_by_its_id_or_from_the_start(
    event_id: str,
):
    bench = Bench(token=2)
    block = a_block(bench.session)
    block.mark, block.stood = 1, (1, 4, event_id, 1)
    bench.take()
    bench.bring(block, 3)
    assert bench.progress.position == Position(0, event_id)


def test_of_holes_of_two_connections_the_older_ones_comes_first_whatever_it_counted():
    bench = Bench(token=2)
    bench.bring(first := a_block(bench.session, 0), 1)
    older = a_block(bench.session, 1)
    older.mark, older.stood = 1, (1, 900, "90", 1)
    bench.bring(first, 3)
    bench.bring(older, 3)
    assert bench.progress.position == Position(0, "90")


def test_a_close_behind_a_hole_holds_the_position_too():
    bench = Bench()
    block = a_block(bench.session)
    bench.bring(block, 1)
    bench.begin()
    block.close_seq = 3
    bench.progress.note_close(block)
    bench.progress.done(repeated=False)
    bench.take()
    assert bench.progress.position == Position(1, "1")
    bench.begin()
    bench.progress.note_close(block)  # it is still behind the hole: what came says nothing new
    bench.progress.done(repeated=False)
    assert bench.progress.position == Position(1, "1")
    block.mark = 3
    bench.progress.note_close(block)
    assert not block.holes_at
    assert bench.take().position.events == 5


def test_a_hole_holds_the_position_of_the_stream_that_ran_into_it_alone():
    first = Bench(token=1)
    second = Bench(token=2, positions=first.positions)
    first.bring(a_block(first.session), 5)
    for _ in range(3):
        second.take()
    assert first.progress.position == Position(0, "")
    assert second.progress.position == Position(3, "3")


def seqs(bench: Bench, *came: int) -> None:
    """Events of a `session` stream."""
    for seq in came:
        bench.begin()
        bench.session.intervals.add(seq)
        bench.progress.note_holes(bench.session, seq)
        if seq == bench.session.intervals.top:
            bench.progress.stand(bench.session, seq)
        bench.progress.done(repeated=False)
        bench.progress.id_before = None


def test_a_session_with_two_holes_is_resumed_before_the_first_that_is_open():
    bench = Bench()
    seqs(bench, 1, 2, 4, 6)
    assert bench.progress.position == Position(2, "2")
    assert bench.positions.resume([bench.session]) == {"sessions": {"s": 2}, "eventId": "2"}
    seqs(bench, 3)
    assert bench.progress.position == Position(3, "3")
    seqs(bench, 5)
    assert bench.progress.position == Position(6, "6")
    assert bench.session.holes_at is None


def test_a_hole_below_a_sessions_first_event_may_lie_before_everything():
    bench = Bench()
    bench.take()
    seqs(bench, 5, 2)
    assert bench.progress.position == Position(0, "")


def test_a_late_event_that_cuts_a_hole_in_two_moves_no_position():
    bench = Bench()
    seqs(bench, 1, 9, 5)
    assert bench.progress.position == Position(1, "1")
    assert len(bench.session.holes_at) == 1


def test_a_session_holds_the_position_of_the_stream_that_ran_into_its_hole_alone():
    first = Bench(token=1)
    second = Bench(token=2, positions=first.positions)
    seqs(first, 1, 3)
    second.take()
    second.take()
    assert (first.progress.position.events, second.progress.position.events) == (1, 2)


def test_a_session_that_is_forgotten_holds_no_position():
    bench = Bench()
    seqs(bench, 1, 3)
    bench.positions.forget("s")
    assert bench.progress.position == Position(2, "2")


def test_a_higher_seq_that_a_read_names_moves_no_place():
    bench = Bench()
    block = a_block(bench.session)
    rise(block, 7)
    assert block.stood is None
    bench.bring(block, 1)
    bench.take()
    rise(block, 7)
    assert top_of(block) == 7
    assert block.stood == (1, 1, "1", 7)


def an_entry(progress: Progress, ended: bool) -> dict[str, Any]:
    return {
        **progress.saved(), "protocol": "p", "sessionId": None, "default": False, "ended": ended,
        "sequencing": "block", "streaming": [],
    }  # fmt: skip


def test_an_ended_streams_hole_is_its_successors_by_the_id_and_before_all_of_its_events():
    bench = Bench()
    block = a_block(bench.session)
    bench.bring(block, 1)
    bench.bring(block, 3)
    bench.positions.leave(bench.progress, an_entry(bench.progress, ended=True))
    assert bench.positions.resume(()) == {"eventId": "1"}

    left = bench.positions.take_left("p", None, default=False)
    later = Progress(bench.positions, token=2)
    bench.positions.enter(later, left)
    assert bench.positions.left == []
    later.begin()
    later.event_id = "9"
    later.done(repeated=False)
    assert later.position == Position(0, "1")
    assert bench.positions.resume(()) == {"eventId": "1"}


def test_what_a_stream_left_goes_to_one_of_its_protocol_and_session():
    bench = Bench()
    bench.take()
    bench.positions.leave(bench.progress, an_entry(bench.progress, ended=True))
    assert bench.positions.take_left("another", None, default=False) is None
    assert bench.positions.take_left("p", "s", default=False) is None
    assert bench.positions.take_left("p", None, default=True) is None
    assert bench.positions.take_left("auto", None, default=False) is not None
    assert bench.positions.take_left("auto", None, default=False) is None


def test_a_stream_of_its_own_goes_on_from_what_is_not_the_default_ones_where_there_is_a_choice():
    positions = Positions(Limits())
    for token, default in ((1, True), (2, False)):
        bench = Bench(token, positions)
        positions.left.append({**an_entry(bench.progress, ended=False), "default": default})
    for token in (2, 1):
        left = positions.take_left("p", None, default=False)
        assert left is not None
        assert left["token"] == token


def test_without_seq_a_stream_goes_on_from_what_was_streaming_else_from_the_last_one():
    positions = Positions(Limits())
    streaming = [["s", "m", 0]]
    for token, open_parts in ((1, []), (2, streaming), (3, streaming), (4, [])):
        entry = an_entry(Bench(token, positions).progress, ended=False)
        positions.left.append({**entry, "sequencing": "none", "streaming": open_parts})
    order = [positions.take_left("p", None, default=False) for _ in range(4)]
    assert [entry["token"] for entry in order if entry is not None] == [2, 3, 4, 1]


def test_streams_that_end_one_after_the_other_leave_one_entry_and_all_their_holes():
    first = Bench(token=1)
    first.bring(a_block(first.session), 1)
    first.bring(a_block(first.session), 3)
    first.positions.leave(first.progress, an_entry(first.progress, ended=True))
    second = Bench(token=2, positions=first.positions)
    second.take()
    entry = an_entry(second.progress, ended=True)
    first.positions.leave(second.progress, entry)
    assert first.positions.left == [entry]
    assert [holder for holder, _ in a_block(first.session).holes_at.values()] == [entry]


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse"])
def test_a_stream_to_which_no_id_came_erases_none_that_another_one_left(
    sequencing: Any,
) -> None:
    store = StreamStore("native", ticks="manual")
    first = store.open("native", sequencing=sequencing)
    second = store.open("native", sequencing=sequencing)
    first.feed(frame(1, delta("a", 1)))
    first.end()
    second.end()
    store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    assert store.health.resume["eventId"] == "1"
    assert store.open("native", sequencing=sequencing).position.event_id == "1"


def test_of_ended_streams_the_oldest_go_first():
    positions = Positions(Limits(ended_streams=2))
    for number in range(4):
        bench = Bench(token=number, positions=positions)
        bench.take()
        entry = {**an_entry(bench.progress, ended=True), "sessionId": f"s{number}"}
        positions.leave(bench.progress, entry)
    assert [entry["sessionId"] for entry in positions.left] == ["s2", "s3"]


@pytest.mark.parametrize("mode", ["block", "session"])
def test_a_saved_hole_holds_the_position_of_the_stream_that_goes_on(mode: str):
    bench = Bench()
    block = a_block(bench.session)
    if mode == "block":
        bench.bring(block, 1)
        bench.bring(block, 3)
    else:
        seqs(bench, 1, 3)
    bench.take()
    assert bench.progress.position == Position(1, "1")
    saved = json.loads(json.dumps([an_entry(bench.progress, False), bench.positions.save_holes()]))

    session = a_session()
    session.intervals = bench.session.intervals
    a_block(session)
    again = Positions(Limits())
    again.load([saved[0]], saved[1], {"s": session})
    assert again.save_holes() == saved[1]
    later = Progress(again, token=8)
    again.enter(later, again.take_left("p", None, default=False))
    assert later.token == 1  # the same connection's count goes on
    later.begin()
    later.done(repeated=False)
    assert later.received == 2
    assert later.position == Position(1, "1")
    assert again.save_holes() == saved[1]


@pytest.mark.parametrize(
    "hole",
    [
        [["s", "m", 0], 3, 1, 1, "1", 1, 1],  # of a stream that is not there
        [["t"], 3, 0, 1, "1", 1, 1],
        [["s", "m", 9], 3, 0, 1, "1", 1, 1],
        [["s", "m", 0], 3, 0, 1, "1", 1],
    ],
)
def test_a_hole_that_names_what_is_not_there_is_refused(hole: list[Any]):
    session = a_session()
    a_block(session)
    with pytest.raises((LookupError, TypeError, ValueError)):
        Positions(Limits()).load([{}], [hole], {"s": session})


def test_the_short_way_notes_the_place_and_then_wakes():
    bench = Bench()
    bench.take()
    block = a_block(bench.session)
    block.mark = 6
    woken: list[Any] = []

    def wake(row: BlockRow) -> None:
        woken.append((row.stood, row.message.session.stood))

    for mode in ("sparse", "none", "block", "session"):
        bench.progress.waking(mode, wake)(block)  # type: ignore[arg-type]
    here = (1, 1, "1", 6)
    assert woken == [(None, None), (None, None), (here, None), (here, here)]


def test_blocks_whose_holes_went_are_let_go_though_nobody_asks_a_position():
    bench = Bench()
    for index in range(500):
        block = a_block(bench.session, index)
        bench.bring(block, 5)
        block.holes_at = {}  # a removal wiped it
    assert len(bench.positions.blocks) <= 128


def test_the_last_opened_stream_that_has_an_event_id_says_it_at_any_time():
    positions = Positions(Limits())
    first, second, third = (Progress(positions, token) for token in (1, 2, 3))

    def said() -> Any:
        return positions.resume(()).get("eventId")

    assert said() is None
    for progress in (first, second, third):
        positions.enter(progress, None)
    assert said() is None
    first.event_id = "1"
    assert said() == "1"
    first.event_id = "2"
    assert said() == "2"
    third.event_id = "3"
    assert said() == "3"
    second.event_id = "4"
    assert said() == "3"
    third.event_id = ""  # `id:` alone
    assert said() == "4"
    third.event_id = "5"
    assert said() == "5"
    positions.leave(third, an_entry(third, ended=True))
    assert said() == "4"
    last = Progress(positions, 4)
    positions.enter(last, None)
    assert said() == "4"
    last.event_id = "6"
    assert said() == "6"
    positions.leave(last, an_entry(last, ended=True))
    assert said() == "4"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("sequencing", ["block", "session"])
def test_a_stream_that_was_opened_before_another_one_ended_inherits_its_holes(
    sequencing: Any, saved: bool
) -> None:
    store = StreamStore("native", ticks="manual")
    first = store.open("native", sequencing=sequencing)
    first.feed(frame(1, delta("a", 1)) + frame(3, delta("c", 3)))
    store.open("native", session_id="s", sequencing=sequencing)  # of a session alone
    second = store.open("native", sequencing=sequencing)
    second.feed(frame(4, delta("d", 4)))
    first.end()
    assert second.position == Position(0, "1")
    assert store.health.resume["eventId"] == "1"
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        assert store.health.resume["eventId"] == "1"
        return
    second.feed(frame(2, delta("b", 2)))
    assert second.position == Position(2, "2")
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "abcd"


def test_what_a_block_refused_is_missing_when_what_was_held_is_taken_in():
    store = StreamStore("native", ticks="manual", limits=Limits(held_operations=2))
    stream = store.open("native", sequencing="block")

    def take(*seqs: int) -> tuple[str, list[Any], str]:
        for seq in seqs:
            stream.feed(frame(seq, delta("abcdefgh"[seq - 1], seq)))
        store.flush()
        part = store.part("s", "m", 0)
        assert part is not None
        missing = [gap.missing for gap in store.health.gaps]
        return part.text, missing, store.health.resume["eventId"]

    assert take(1, 3, 4) == ("a", [((2, 2),)], "1")
    assert take(6, 5) == ("a", [((2, 2),)], "1")  # both are over the bound
    assert take(2) == ("abcd", [((5, 6),)], "4")
    store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    assert store.health.gaps[0].missing == ((5, 6),)
    assert store.health.resume["eventId"] == "4"
    stream = store.open("native", sequencing="block")
    assert take(7, 5) == ("abcde", [((6, 6),)], "4")
    assert take(6, 8) == ("abcdefgh", [], "8")


def test_each_stream_that_brought_what_was_refused_resumes_before_it():
    store = StreamStore("native", ticks="manual", limits=Limits(held_operations=1))
    first = store.open("native", sequencing="block")
    second = store.open("native", sequencing="block")
    for stream in (first, second):
        stream.feed(frame(1, delta("a", 1)))
    for stream in (first, second):
        for seq in (3, 4, 5):
            stream.feed(frame(seq, delta("abcde"[seq - 1], seq)))
    first.feed(frame(2, delta("b", 2)))
    assert first.position.event_id == "3" and second.position.event_id in ("1", "3")
    for seq in (4, 5):
        first.feed(frame(seq, delta("abcde"[seq - 1], seq)))
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and (part.text, part.gap) == ("abcde", False)
    assert first.position.event_id == second.position.event_id == "5"
    assert not store._positions.blocks


@pytest.mark.parametrize("sequencing", ["block", "session"])
def test_a_stream_opened_after_another_takes_its_place_and_its_holes_and_nobody_elses(
    sequencing: Any,
) -> None:
    store = StreamStore("native", ticks="manual")
    first = store.open("native", sequencing=sequencing)
    second = store.open("native", sequencing=sequencing)
    first.feed(frame(1, delta("a", 1)) + frame(3, delta("c", 3)))
    second.feed(frame(7, delta("x", 1, sessionId="t")) + frame(9, delta("z", 3, sessionId="t")))
    again = store.open("native", sequencing=sequencing, after=second)
    assert second.ended and not first.ended
    assert (first.position.event_id, again.position.event_id) == ("1", "7")
    last = store.open("native", sequencing=sequencing, after=first)
    assert (last.position, again.position) == (Position(0, "1"), Position(0, "7"))
    assert not store._positions.left
    last.feed(frame(2, delta("b", 2)) + frame(4, delta("d", 4)))
    assert (last.position.event_id, again.position.event_id) == ("4", "7")


def test_a_tick_that_ends_a_stream_shows_what_it_misses_though_another_takes_its_place() -> None:
    # What is held back until then makes the tick.
    store = StreamStore("native", ticks=None, delivery="buffered")
    first = store.open("native", sequencing="session")
    seen: list[Any] = []
    opened: list[Any] = []

    def look(changes: Any) -> None:
        if first.ended and not opened:
            seen.append(changes.resume.get("eventId"))
            opened.append(store.open("native", sequencing="session"))

    store.subscribe(look)
    first.feed(frame(1, delta("a", 1)) + frame(3, delta("c", 3)))
    again = store.open("native", sequencing="session", after=first)
    assert [stream.position.event_id for stream in opened] == [""]
    assert again.position.event_id == "1" and seen == ["1"]


def test_only_an_open_stream_of_the_store_can_be_followed_by_another() -> None:
    store = StreamStore("native", ticks="manual")
    ended = store.open("native")
    ended.end()
    for stream in (ended, StreamStore().open("native"), object(), {}):
        with pytest.raises(CallerError, match="after="):
            store.open("native", after=stream)  # type: ignore[arg-type]
    store.close()
    with pytest.raises(CallerError, match="closed"):
        store.open("native", after=ended)


def opened(**more: Any) -> dict[str, Any]:
    return {"type": "block.opened", **{k: delta("", **more)[k] for k in PLACE}, "kind": "text"}


def test_a_store_that_is_closed_in_the_last_tick_of_a_stream_opens_none_after_it() -> None:
    """And a program that starts from its saved state goes on where that stream stood."""
    store = StreamStore("native", ticks=None)
    stream = store.open("native", sequencing="none")
    stream.feed(frame(1, opened()))
    store.subscribe(lambda changes: store.close() if stream.ended else None)
    stream.ingest(delta("a"))
    with pytest.raises(CallerError):
        store.open("native", after=stream)
    assert store.health.resume["eventId"] == "1"
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    assert store.open("native").position.event_id == "1"


def test_in_the_last_tick_of_a_stream_nobody_else_takes_its_place_nor_when_others_end() -> None:
    store = StreamStore("native", ticks=None)
    first, second = (store.open("native", sequencing="none") for _ in "ab")
    first.feed(frame(1, opened()))
    second.feed(frame(7, opened(sessionId="t")))
    places: list[str] = []

    def look(changes: Any) -> None:
        if first.ended and not places:
            places.append("")
            for stream in (second, None):
                one = store.open("native", sequencing="none", after=stream)
                places.append(one.position.event_id)

    store.subscribe(look)
    first.ingest(delta("a"))
    assert store.open("native", sequencing="none", after=first).position.event_id == "1"
    assert places == ["", "7", ""] and not store._positions.left


def test_a_stream_that_ends_in_a_tick_of_its_own_end_leaves_its_place_to_the_next_one() -> None:
    store = StreamStore("native", ticks=None)
    stream = store.open("native", sequencing="session")
    stream.feed(frame(1, delta("a", 1)))
    store.subscribe(lambda changes: stream.end())
    stream.feed_threadsafe(frame(2, delta("b", 2)))
    again = store.open("native", sequencing="session", after=stream)
    assert again.position.event_id == "2" and not store._positions.left


@pytest.mark.parametrize("close", [False, True])
def test_whoever_sees_the_last_line_of_a_stream_may_end_it(close: bool) -> None:
    store = StreamStore("native", ticks="each")
    stream = store.open("native", sequencing="none")
    stream.ingest(opened())
    store.subscribe(lambda changes: store.close() if close else stream.end())
    stream.feed(json.dumps(delta("a")).encode())
    stream.end()
    part = store.part("s", "m", 0)
    assert stream.ended and part is not None and part.text == "a"


def test_streams_that_follow_each_other_push_none_out_that_others_left() -> None:
    store = StreamStore("native", ticks="manual", limits=Limits(ended_streams=1))
    store.open("native", session_id="t").feed(frame(9, delta("a", 1, sessionId="t")))
    (other,) = store._streams
    other.end()
    stream = store.open("native", session_id="s")
    stream.feed(frame(1, delta("a", 1)))
    for _ in range(3):
        stream = store.open("native", session_id="s", after=stream)
    assert stream.position.event_id == "1"
    assert store.open("native", session_id="t").position.event_id == "9"


def test_a_stream_that_is_not_recognised_yet_is_of_the_server_of_the_one_before() -> None:
    """`auto`, cut and opened again, before anything came: the store resumes as before the cut."""
    store = StreamStore(ticks="manual")
    first, second = store.open(sequencing="session"), store.open(sequencing="session")
    first.feed(frame(1, delta("a", 1)) + frame(3, delta("c", 3)))
    second.feed(frame(5, delta("x", 1, sessionId="t")))
    again = store.open(sequencing="session", after=second)
    assert store.health.resume["eventId"] == "1"
    first.end()
    assert again.position.event_id == "1"
    again.end()
    assert store.open("native", sequencing="session").position.event_id == "1"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("sequencing", ["block", "session"])
def test_while_two_connections_are_open_the_store_resumes_before_what_either_misses(
    sequencing: Any, saved: bool
) -> None:
    store = StreamStore("native", ticks="manual")
    first = store.open("native", sequencing=sequencing)
    second = store.open("native", sequencing=sequencing)
    other = {"sessionId": "t", "messageId": "n"}
    first.feed(frame(1, delta("a", 1)) + frame(3, delta("c", 3)))
    second.feed(frame(4, delta("x", 1, **other)))
    assert store.health.resume["eventId"] == "1"
    assert second.position.event_id == "4"  # alone it misses nothing
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        assert store.health.resume["eventId"] == "1"
        first = store.open("native", sequencing=sequencing)
        assert store.health.resume["eventId"] == "1"
        second = store.open("native", sequencing=sequencing)
        assert store.health.resume["eventId"] == "1"
    elsewhere = store.open("native", session_id="u", sequencing=sequencing)
    elsewhere.feed(frame(70, delta("x", 1, sessionId="u")))
    assert store.health.resume["eventId"] == "70"  # it may count ids of its own
    elsewhere.end()
    assert store.flush().resume["eventId"] == "1"
    first.feed(frame(2, delta("b", 2)))
    assert store.health.resume["eventId"] == "4"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("sequencing", ["block", "session"])
def test_an_older_connection_resumes_before_what_is_lost_behind_what_a_later_one_brought(
    sequencing: Any, saved: bool
) -> None:
    store = StreamStore("native", ticks="manual")
    older = store.open("native", sequencing=sequencing)
    later = store.open("native", sequencing=sequencing)
    older.feed(frame(1, delta("a", 1)))
    later.feed(frame(2, delta("b", 2)) + frame(3, delta("c", 3)))
    if saved:  # the one connection that is opened then goes on from the older one
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        older = store.open("native", sequencing=sequencing)
    older.feed(frame(5, delta("e", 5)) + frame(7, delta("g", 7)))
    assert older.position == Position(0, "3")
    assert store.health.resume["eventId"] == "3"
    if not saved:
        later.end()
        assert older.position == Position(0, "3")
        assert store.health.resume["eventId"] == "3"
    older.feed(frame(4, delta("d", 4)))
    assert older.position.event_id == store.health.resume["eventId"] == "5"
    older.feed(frame(6, delta("f", 6)))
    assert older.position.event_id == store.health.resume["eventId"] == "6"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("sequencing", ["block", "session"])
def test_an_older_connection_inherits_the_holes_of_a_later_one_that_ended(
    sequencing: Any, saved: bool
) -> None:
    store = StreamStore("native", ticks="manual")
    older = store.open("native", sequencing=sequencing)
    later = store.open("native", sequencing=sequencing)
    older.feed(frame(1, delta("a", 1)))
    later.feed(frame(2, delta("b", 2)) + frame(4, delta("d", 4)))
    older.feed(frame(4, delta("d", 4)) + frame(5, delta("e", 5)))
    if saved:  # one is opened then, and the later one's place waits for another
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        older = store.open("native", sequencing=sequencing)
    else:
        later.end()
        assert older.position == Position(0, "2")
    assert store.health.resume["eventId"] == "2"
    older.feed(frame(3, delta("c", 3)))
    assert older.position.event_id == store.health.resume["eventId"] == "3"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("block", [0, 1])
def test_a_hole_behind_what_a_later_connection_brought_hides_none_that_was_noticed_before(
    block: int, saved: bool
) -> None:
    store = StreamStore("native", ticks="manual")
    older = store.open("native", sequencing="block")
    later = store.open("native", sequencing="block")

    def of_block(number: int, seq: int) -> bytes:
        return frame(number, {**delta("x", seq), "blockIndex": block})

    older.feed(frame(1, delta("a", 1)) + frame(3, delta("c", 3)))
    later.feed(of_block(4, 4 if block == 0 else 1))
    older.feed(of_block(7, 7 if block == 0 else 4))
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        older = store.open("native", sequencing="block")
    assert older.position == Position(1, "1")
    assert store.health.resume["eventId"] == "1"
    older.feed(frame(2, delta("b", 2)))
    assert store.health.resume["eventId"] == older.position.event_id == "4"


def test_the_holes_of_a_later_connection_that_ended_hide_none_of_an_older_one() -> None:
    store = StreamStore("native", ticks="manual")
    older = store.open("native", sequencing="block")
    later = store.open("native", sequencing="block")
    older.feed(frame(1, delta("a", 1)) + frame(3, delta("c", 3)))
    for number, seq in ((4, 1), (6, 3)):
        later.feed(frame(number, {**delta("x", seq), "blockIndex": 1}))
    later.end()
    assert older.position == Position(1, "1")
    assert store.health.resume["eventId"] == "1"
    older.feed(frame(2, delta("b", 2)))
    assert store.health.resume["eventId"] == older.position.event_id == "4"
