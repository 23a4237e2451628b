"""Cases of merging that once went wrong, each with the outcome that the contract asks for.

Ranks, holds, windows, snapshots, generations and removals; streams, saves and bounds have files of
their own.
"""

from __future__ import annotations

import pytest
from one_stream import Bench, delta, fetched, through_json

from streamstore import Limits, StreamStore
from streamstore.events import MessageOpened, MessageRollback, Snapshot
from streamstore.testing.books import Books

DONE, RUNNING = {"status": "completed"}, {"status": "running"}
each_schedule = pytest.mark.parametrize("flush", [True, False], ids=["flushed", "one tick"])


# -- ranks and conflicts ---------------------------------------------------------------------------


def test_an_operation_that_its_rank_refuses_still_fills_the_hole():
    bench = Bench("block")
    bench.take("block.opened", kind="tool")
    bench.take("block.replaced", 1, state=DONE)
    assert bench.delta(3, "x") == "held"
    assert bench.take("block.replaced", 2, state=RUNNING) == "refused:rank"
    assert bench.delta(3, "x") == "duplicate"
    assert bench.delta(4, "y") == "accepted"
    assert bench.text() == "xy"
    assert bench.store.health.gaps == ()


@each_schedule
def test_a_lower_rank_is_refused_and_what_else_the_event_says_holds(flush):
    bench = Bench("none")
    bench.take("block.opened", kind="tool", state=DONE)
    if flush:
        bench.store.flush()
    verdict = bench.take("block.replaced", status="closed", state=RUNNING, order=5)
    assert verdict == "refused:rank"
    part = bench.part()
    assert (part.status, part.order, part.fields["state"]) == ("closed", 5, DONE)


def test_an_opening_that_was_refused_adds_nothing_again():
    bench = Bench("sparse")
    bench.take("block.opened", 2, kind="text")
    assert bench.take("block.opened", 7, kind="reasoning") == "refused:conflict"
    assert bench.take("block.removed", 5) == "late"
    assert bench.delta(8, "x") == "held"
    assert bench.part() is None


def test_a_tool_state_of_a_new_generation_beats_a_higher_seq_of_the_old_one():
    bench = Bench("sparse")
    bench.take("stream.opened", generation="g1")
    bench.take("block.opened", 50, kind="tool", state={**DONE, "output": "old"})
    bench.take("stream.opened", generation="g2")
    bench.take("block.opened", 3, kind="tool")
    bench.take("block.updated", 5, state={**DONE, "output": "new"})
    assert bench.part().fields["state"] == {**DONE, "output": "new"}


# -- windows and what has no seq -------------------------------------------------------------------


def test_a_replace_without_seq_stands_for_what_came_before_it():
    bench = Bench("sparse")
    bench.delta(1, "a")
    bench.delta(3, "c")
    bench.take("block.replaced", text="abc")
    assert bench.delta(2, "b") == "late"
    assert bench.text() == "abc"


def test_a_late_delta_goes_before_the_one_without_seq_that_followed_a_later_one():
    bench = Bench("sparse")
    bench.delta(1, "a")
    bench.delta(None, "U")
    bench.delta(3, "c")
    assert bench.delta(2, "b") == "late"
    assert bench.text() == "aUbc"


def test_a_late_delta_is_placed_where_a_stream_without_seq_wrote_to_its_block_too():
    store = StreamStore("native", ticks="manual")
    counted = store.open("native", sequencing="sparse")
    other = store.open("native", sequencing="none")
    counted.ingest_many([delta("a", 1), delta("c", 3)])
    other.ingest_many([delta("N"), delta("O")])
    assert counted.ingest(delta("b", 2)).kind == "late"
    store.flush()
    assert store.part("s", "m", 0).text == "abcNO"


@each_schedule
def test_a_closed_block_keeps_its_window_by_events_not_by_ticks(flush):
    bench = Bench("sparse", limits=Limits(late_window=4))
    bench.delta(1, "a")
    bench.delta(4, "b")
    bench.take("block.closed", 5)
    bench.delta(6, "q", blockIndex=1)
    for seq in range(7, 15):
        bench.delta(seq, "q", blockIndex=1)
        if flush:
            bench.store.flush()
    assert bench.delta(3, "L") == "refused:unplaceable"
    assert bench.text() == "ab"


def test_the_last_operation_of_a_closed_block_is_a_duplicate_after_its_window():
    bench = Bench("sparse", limits=Limits(late_window=4))
    bench.take("block.opened", 1, kind="text")
    bench.take("block.closed", 2)
    bench.delta(3, "tail")
    bench.take("block.opened", 4, blockIndex=1, kind="text")
    for seq in range(5, 15):
        bench.delta(seq, "x", blockIndex=1)
    assert bench.delta(3, "tail") == "duplicate"
    assert (bench.text(), bench.part().gap, dict(bench.store.health.resync)) == ("tail", False, {})


def test_what_no_window_can_place_is_not_taken_for_received():
    bench = Bench("session", limits=Limits(late_window=2))
    for seq in (1, 2, 4, 5, 6, 7, 8, 9):
        bench.delta(seq, str(seq))
    assert [bench.delta(3, "3"), bench.delta(3, "3")] == ["refused:unplaceable"] * 2
    assert bench.store.health.resume["sessions"] == {"s": 2}


def test_what_waits_for_an_opening_beyond_its_bound_is_not_taken_for_received():
    bench = Bench("session", limits=Limits(late_window=2))
    bench.delta(1, "a")
    bench.take("block.removed", 2)
    assert bench.delta(3, "x") == "held"
    assert [bench.delta(seq, "y") for seq in (4, 5, 5)] == ["refused:over_limit"] * 3


def test_operations_of_a_block_stream_count_from_1():
    bench = Bench("block")
    bench.take("block.opened", kind="text")
    assert bench.delta(0, "zero") == "malformed:seq"
    assert bench.text() == ""


# -- resets ----------------------------------------------------------------------------------------


def test_a_delta_after_a_reset_starts_the_text_of_a_block_opened_without_seq():
    bench = Bench("sparse")
    bench.take("block.opened", kind="text")
    bench.delta(1, "old")
    bench.take("message.reset", 3)
    bench.delta(4, "new")
    assert bench.text() == "new"


def test_after_a_reset_without_seq_late_operations_find_their_place():
    bench = Bench("sparse")
    bench.delta(1, "a")
    bench.delta(2, "b")
    bench.take("message.reset")
    assert [bench.delta(s, t) for s, t in ((5, "X"), (7, "Z"), (6, "Y"))] == [
        "accepted", "accepted", "late",
    ]  # fmt: skip
    assert bench.text() == "XYZ"


@pytest.mark.parametrize("ticks", ["each", "manual"])
@pytest.mark.parametrize("before", [(), (3, "c"), (2, "b")], ids=["no hole", "a hole", "in order"])
def test_a_reset_block_stream_counts_anew_and_holds_nothing_of_before(ticks, before):
    bench = Bench("block", ticks=ticks)
    bench.delta(1, "a")
    if before:
        bench.delta(*before)
    bench.take("message.reset")
    assert [bench.delta(1, "X"), bench.delta(1, "X"), bench.delta(2, "Y")] == [
        "accepted", "duplicate", "accepted",
    ]  # fmt: skip
    assert (bench.text(), bench.part().gap) == ("XY", False)
    assert bench.store.health.gaps == ()


# -- snapshots -------------------------------------------------------------------------------------


def test_a_block_stream_may_be_fetched_before_its_first_operation():
    bench = Bench("block")
    message = fetched("m", (0, ""))
    message["parts"][0]["seq"] = 0
    assert bench.take("snapshot", messages=[message]) == "accepted"
    assert bench.text() == ""
    assert bench.delta(1, "x") == "accepted"
    assert bench.delta(1, "z", messageId="other") == "accepted"
    assert bench.text() == "x"


def test_a_fetched_part_of_a_block_stream_without_text_had_none():
    bench = Bench("block")
    bench.delta(1, "abc")
    part = {"blockIndex": 0, "kind": "text", "seq": 2, "status": "open"}
    bench.take("snapshot", messages=[{"info": {"id": "m"}, "parts": [part]}])
    assert bench.text() == ""
    assert (bench.delta(2, "x"), bench.delta(3, "d")) == ("duplicate", "accepted")
    assert bench.text() == "d"


def test_a_block_above_a_snapshot_that_lacks_it_stays():
    bench = Bench("sparse")
    bench.take("message.opened", 1, role="assistant")
    bench.take("block.opened", kind="text")
    bench.delta(20, "live")
    bench.take("snapshot", 10, messages=[fetched("m")])
    assert bench.text() == "live"


def test_a_complete_snapshot_older_than_another_changes_nothing():
    bench = Bench("sparse")
    bench.take("snapshot", 11, complete=True, messages=[fetched("m", (0, "abc"))])
    old = [fetched("m", (0, "a"), (1, "gone")), fetched("n", (0, "old"))]
    assert bench.take("snapshot", 4, complete=True, messages=old) == "duplicate"
    assert bench.messages() == {"m": ["abc"]}


def test_a_block_older_than_a_complete_snapshot_that_lacks_it_stays_away():
    bench = Bench("sparse")
    bench.take("snapshot", 10, complete=True, messages=[])
    assert bench.take("block.snapshot", 8, text="x") == "duplicate"
    assert bench.part() is None


def test_an_old_block_snapshot_cuts_no_streamed_field():
    bench = Bench("block")
    bench.take("block.opened", kind="tool")
    bench.delta(1, "{", field="input")
    bench.delta(2, "}", field="input")
    bench.take("block.snapshot", 1, input="{")
    assert bench.part().field_text("input") == "{}"


def test_the_seq_of_a_block_snapshot_takes_no_number_from_another_block():
    bench = Bench("session")
    bench.delta(1, "a")
    bench.delta(2, "b", blockIndex=1)
    bench.take("block.snapshot", 3, text="A")
    assert bench.delta(3, "c", blockIndex=1) == "accepted"
    assert (bench.text(), bench.text(1)) == ("A", "bc")


def test_a_snapshot_below_a_forgotten_removal_brings_nothing_back():
    bench = Bench("sparse", limits=Limits(tombstones=1))
    bench.take("message.removed", 100)
    bench.take("message.opened", 10, messageId="m2", role="assistant")
    bench.take("snapshot", 50, complete=True, messages=[fetched("m")])
    assert bench.messages() == {}


def test_a_read_below_what_was_received_before_it_proves_a_new_counter():
    bench = Bench("sparse")
    bench.take("message.opened", 1, role="assistant")
    bench.delta(90, "old")
    bench.take("message.opened", 95, messageId="m2", role="assistant")  # above the read's seq
    token = bench.store.begin_read("s")
    bench.take("snapshot", 5, complete=True, readFrom=token, messages=[fetched("n")])
    assert bench.messages() == {"n": []}


def test_a_session_removed_during_a_read_stays_removed():
    bench = Bench("none")
    bench.take("message.opened", role="assistant")
    bench.delta(None, "x")
    token = bench.store.begin_read("s")
    bench.take("session.removed")
    bench.take("snapshot", readFrom=token, messages=[fetched("m", (0, "x"))])
    assert bench.sessions() == {}
    bench.take("session.updated", info={"t": 1}, whole=True)
    bench.take("message.closed")
    assert bench.sessions()["s"]["messages"] == [{"id": "m", "status": "completed"}]


def test_an_applied_snapshot_without_token_is_as_old_as_the_last_opened_stream():
    bench = Bench("none")
    bench.take("message.opened", role="assistant")
    bench.delta(None, "newer live")
    bench.take("message.opened", messageId="m2", role="user")
    event = Snapshot(session_id="s", messages=[fetched("m", (0, "old"))], complete=True)
    bench.store.apply(event)
    assert bench.messages() == {"m": ["newer live"], "m2": []}


def test_a_snapshot_with_a_wrong_token_changes_no_generation():
    bench = Bench("sparse")
    bench.take("stream.opened", generation="g1")
    bench.delta(5, "abc")
    wrong = {"generation": "g2", "readFrom": "zzz", "messages": []}
    assert bench.take("snapshot", 3, **wrong) == "malformed:readFrom"
    assert (bench.part().previous, bench.delta(6, "d", generation="g1")) == (False, "accepted")


def test_a_fetched_ending_is_the_same_whether_the_tick_came_before_or_after_it():
    for ticks in ("each", "manual"):
        bench = Bench("sparse", ticks=ticks)
        bench.take("message.closed", 1, status="error")
        bench.delta(9, "x")
        bench.take("snapshot", 4, complete=True, messages=[fetched("m")])
        assert bench.part().status == "open"


# -- generations -----------------------------------------------------------------------------------


def test_what_waited_for_a_generation_and_is_malformed_there_lets_the_rest_in():
    bench = Bench("block")
    bench.take("stream.opened", generation="g1")
    assert bench.delta(None, "abc", generation="g2") == "held"
    assert bench.delta(1, "x", generation="g2") == "held"
    assert bench.take("stream.opened", generation="g2") == "accepted"
    assert bench.text() == "x"
    assert bench.row.waiting == []


def test_opening_a_stream_lets_what_waited_for_its_generation_be_malformed():
    bench = Bench("block")
    bench.store.open("native", session_id="s", sequencing="block", generation="g1")
    assert bench.delta(None, "abc", generation="g2") == "held"
    bench.store.open("native", session_id="s", sequencing="block", generation="g2")
    assert bench.part() is None


def test_what_waits_for_a_generation_waits_in_a_loaded_store_too():
    store = StreamStore(ticks="manual")
    stream = store.open("native")
    stream.ingest({"type": "stream.opened", "generation": "g1"})
    stream.ingest(delta("x", 1))
    assert stream.ingest(delta("y", 1, generation="g2", messageId="n")).kind == "held"
    again = through_json(store)
    again.open("native").ingest({"type": "stream.opened", "generation": "g2"})
    again.flush()
    assert again.part("s", "n", 0).text == "y"


def test_a_stale_opening_changes_no_sequencing():
    bench = Bench("sparse")
    bench.take("stream.opened", generation="g1")
    bench.take("stream.opened", generation="g2")
    stale = bench.take("stream.opened", generation="g1", sequencing="block")
    assert (stale, bench.stream.sequencing) == ("refused:stale_generation", "sparse")


def test_a_generation_of_one_stream_is_not_that_of_a_session_with_its_own_stream():
    store = StreamStore("native", ticks="manual")
    bound = store.open("native", session_id="a", sequencing="sparse")
    bound.ingest({"type": "stream.opened", "generation": "A1"})
    bound.ingest(delta("x", 1, sessionId="a"))
    store.open("native").ingest({"type": "stream.opened", "generation": "B1"})
    assert bound.ingest(delta("z", 2, sessionId="a")).kind == "accepted"
    store.flush()
    assert (store.part("a", "m", 0).text, store.part("a", "m", 0).previous) == ("xz", False)


def test_a_new_generation_takes_the_hole_with_what_waited_behind_it():
    bench = Bench("block")
    bench.delta(5, "a")
    assert bench.part().gap
    bench.take("stream.opened", generation="g1")
    assert not bench.part().gap
    assert bench.store.health.gaps == ()
    assert bench.delta(1, "x", generation="g1") == "accepted"
    assert bench.text() == "x"


def test_a_session_removed_before_a_new_generation_comes_back_empty():
    bench = Bench("sparse")
    bench.take("stream.opened", generation="g1")
    bench.take("block.opened", 3, kind="tool")
    bench.take("session.removed", 10)
    bench.take("stream.opened", generation="g2")
    bench.take("message.opened", 2, role="user")
    assert bench.messages() == {"m": []}


# -- removals --------------------------------------------------------------------------------------


def test_a_removed_message_takes_the_removals_of_its_blocks_along():
    bench = Bench("sparse")
    bench.take("block.opened", 1, kind="text")
    bench.take("block.removed", 2)
    bench.take("message.removed", 6)
    bench.take("message.opened", 9, role="assistant")
    bench.delta(10, "x")
    assert bench.text() == "x"
    bench.take("block.opened", 11, kind="text")
    assert bench.text() == "x"


def test_an_opening_that_comes_late_shows_a_replace_that_waited_with_its_tail():
    bench = Bench("sparse")
    bench.take("message.removed", 2)
    bench.take("message.opened", 18, role="assistant")
    bench.take("block.replaced", 10, text="R")
    bench.delta(11, "d")
    bench.take("message.opened", 8, role="assistant")
    assert bench.text() == "Rd"


def test_what_has_no_position_stays_removed_below_a_message_opened_again():
    bench = Bench("sparse")
    bench.take("message.removed", 4)
    bench.take("message.opened", 5, role="assistant")
    assert bench.delta(None, "lost") == "refused:removed"
    assert bench.part() is None


def test_a_late_removal_of_the_session_keeps_the_calls_above_it():
    bench = Bench("sparse")
    bench.take("session.updated", 6, info={"t": 1}, whole=True)
    bench.take("message.opened", 7, role="assistant")
    bench.take("block.opened", 8, kind="tool", callId="c")
    bench.take("session.removed", 5)
    assert bench.take("tool.result", 9, callId="c", fields={"state": DONE}) == "accepted"
    assert bench.part().fields["state"] == DONE


@pytest.mark.parametrize("place", [2, 3])
def test_a_late_removal_of_the_session_keeps_the_shared_state_above_it(place):
    def add(value: int) -> list[dict[str, object]]:
        return [{"op": "add", "path": "/y", "value": value}]

    events = [
        ("session.updated", 6, {"info": {}, "whole": True}),
        ("session.state", 7, {"state": {"x": 1}}),
        ("session.state", 9, {"patch": add(9)}),
    ]
    events.insert(place, ("session.removed", 5, {}))
    bench = Bench("sparse")
    for type_, seq, members in events:
        bench.take(type_, seq, **members)
    assert bench.take("session.state", 8, patch=add(8)) == "late"
    assert bench.sessions()["s"]["state"] == {"x": 1, "y": 9}


def test_an_answer_below_a_removal_answers_nothing_above_it():
    bench = Bench("sparse")
    bench.take("permission.replied", 3, id="q")
    bench.take("session.removed", 6)
    bench.take("session.updated", 8, info={"x": 1}, whole=True)
    bench.take("permission.asked", 10, id="q")
    assert list(bench.sessions()["s"]["permissions"]) == ["q"]


def test_errors_and_requests_of_a_removed_session_do_not_come_back():
    bench = Bench("sparse")
    bench.take("session.error", 3, error={"name": "E"})
    bench.take("permission.asked", 4, id="p")
    bench.take("session.removed")
    bench.take("session.updated", info={"t": 1}, whole=True)
    assert bench.sessions() == {"s": {"info": {"t": 1}}}


@pytest.mark.parametrize("removal", ["block.removed", "message.removed"])
def test_a_result_for_a_removed_call_waits_until_it_is_opened_again(removal):
    bench = Bench("none")
    bench.take("block.opened", kind="tool", callId="c")
    bench.take(removal)
    assert bench.take("tool.result", callId="c", fields={"state": DONE}) == "held"
    bench.take("message.opened", role="assistant")
    bench.take("block.opened", kind="tool", callId="c")
    assert bench.part().fields == {"callId": "c", "state": DONE}


def test_a_patch_that_left_the_window_is_not_applied_twice():
    bench = Bench("sparse", limits=Limits(late_window=4))
    patch = [{"op": "add", "path": "/l/-", "value": "x"}]
    bench.take("session.state", 1, state={"l": []})
    bench.take("session.state", 2, patch=patch)
    for seq in range(3, 20):
        bench.take("session.status", seq, status="busy")
    assert bench.take("session.state", 2, patch=patch) == "refused:unplaceable"
    assert bench.sessions()["s"]["state"] == {"l": ["x"]}


def test_a_message_that_the_server_closed_is_confirmed():
    bench = Bench("none")
    bench.store.apply(MessageOpened(session_id="s", message_id="m", role="user", local=True))
    bench.take("message.closed")
    bench.store.apply(MessageRollback(session_id="s", message_id="m"))
    assert bench.messages() == {"m": []}


# -- gaps and seals --------------------------------------------------------------------------------


@pytest.mark.parametrize("sequencing", ["sparse", "none"])
def test_a_close_with_the_whole_text_seals_against_what_has_no_seq(sequencing):
    bench = Bench(sequencing)
    bench.take("block.replaced", text="abc", kind="text", whole=True, status="closed")
    assert bench.delta(None, "abc") == "refused:sealed"
    assert bench.text() == "abc"


@pytest.mark.parametrize("sequencing", ["sparse", "none"])
def test_a_part_without_seq_that_is_open_at_the_end_may_lack_text(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="text")
    bench.delta(None, "x")
    assert not bench.part().gap
    bench.stream.end()
    assert bench.part().gap


def test_a_part_opened_again_after_its_removal_is_gapped_at_the_end():
    bench = Bench("none", delivery="buffered")
    bench.delta(None, "def")
    bench.store.flush()
    bench.take("message.removed")
    bench.store.flush()
    bench.take("message.opened", role="assistant")
    bench.delta(None, "x")
    bench.stream.end()
    assert (bench.text(), bench.part().gap) == ("x", True)
    assert [gap.reason for gap in bench.store.health.gaps] == ["cut"]


@pytest.mark.parametrize("release", [True, False])
def test_the_gap_of_a_part_opened_again_in_buffered_delivery_is_known(release):
    bench = Bench("none", delivery="buffered")
    bench.delta(None, "a")
    bench.store.flush()
    bench.take("message.removed")
    bench.take("message.opened", role="assistant")
    bench.delta(None, "")
    bench.store.flush()
    if release:
        bench.store.release("s")
    assert bench.part().gap
    assert [gap.reason for gap in bench.store.health.gaps] == ["cut"]


@each_schedule
def test_gaps_go_with_the_session_that_had_them(flush):
    bench = Bench("session")
    bench.delta(1, "a")
    bench.delta(3, "b")
    if flush:
        bench.store.flush()
    bench.take("session.removed", 4)
    bench.store.flush()
    assert bench.store.health.gaps == ()


# -- characters are accounted for ------------------------------------------------------------------


def waited_twice(bench: Bench) -> None:
    bench.take("stream.opened", generation="g1")
    bench.delta(1, "abc", generation="g2")
    bench.delta(1, "abc", generation="g2")
    bench.take("stream.opened", generation="g2")


def fetched_text(bench: Bench) -> None:
    bench.take("block.opened", kind="tool")
    bench.take("snapshot", messages=[fetched("m", (0, "Qrs"))])


def sealed_field(bench: Bench) -> None:
    bench.take("block.replaced", text="R", whole=True, input="I")
    assert bench.delta(None, "x", field="input") == "refused:sealed"


def removed_then_restarted(bench: Bench) -> None:
    bench.delta(3, "a")
    bench.take("message.removed", 1)
    bench.take("stream.opened", generation="g1")


def result_of_a_removed_call(bench: Bench) -> None:
    bench.take("block.opened", kind="tool", callId="c")
    bench.delta(None, "def", field="input")
    bench.take("message.removed")
    bench.take("tool.result", callId="c", fields={"input": "q"})


@pytest.mark.parametrize(
    ("sequencing", "scene"),
    [
        ("sparse", waited_twice),
        ("none", fetched_text),
        ("none", sealed_field),
        ("sparse", removed_then_restarted),
        ("none", result_of_a_removed_call),
    ],
)
def test_every_character_is_shown_waits_or_is_counted(sequencing, scene):
    bench = Bench(sequencing)
    scene(bench)
    bench.store.flush()
    assert Books.of(bench.store).problem is None
