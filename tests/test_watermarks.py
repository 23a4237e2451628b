"""The gate: verdicts, counts and bounds, sequencing by sequencing (contract sections 3 and 4)."""

from __future__ import annotations

from typing import Any

import pytest

from streamstore import Limits, StreamStore
from streamstore.keys import MAX_NUMBER

Wire = dict[str, Any]


class Bench:
    """A store with one stream; events are of session `s`, message `m`, block 0."""

    def __init__(self, sequencing: str, ticks: Any = "manual", **options: Any) -> None:
        limits = options.pop("limits", None)
        self.store = StreamStore("native", ticks=ticks, limits=limits)
        self.stream = self.store.open("native", sequencing=sequencing, **options)

    def take(self, type_: str, seq: Any = None, **members: Any) -> str:
        event: Wire = {"type": type_, "sessionId": "s"}
        if type_.startswith(("message.", "block.")):
            event["messageId"] = "m"
        if type_.startswith("block."):
            event["blockIndex"] = 0
        if seq is not None:
            event["seq"] = seq
        verdict = self.stream.ingest({**event, **members})
        return f"{verdict.kind}:{verdict.reason}" if verdict.reason else verdict.kind

    def delta(self, seq: Any, text: Any, **members: Any) -> str:
        return self.take("block.delta", seq, text=text, **members)

    def part(self, index: Any = 0) -> Any:
        self.store.flush()
        return self.store.part("s", "m", index)

    def text(self, index: Any = 0) -> str:
        return self.part(index).text

    def counts(self, name: str) -> Wire:
        return self.store.health.counts[name]

    def gaps(self) -> list[tuple[Any, ...]]:
        self.store.flush()
        return [(gap.block_index, gap.reason, gap.missing) for gap in self.store.health.gaps]

    def resume(self) -> Any:
        self.store.flush()
        return self.store.health.resume.get("sessions", {}).get("s")


every = pytest.mark.parametrize("sequencing", ["session", "sparse", "none", "block"])
numbered = pytest.mark.parametrize("sequencing", ["session", "sparse"])
counted = pytest.mark.parametrize("sequencing", ["session", "sparse", "block"])


# -- what no stream takes --------------------------------------------------------------------------

WRONG: list[Any] = [
    ("messageId", None),
    ("messageId", ""),
    ("messageId", 7),
    ("messageId", ["m"]),
    ("sessionId", ""),
    ("sessionId", 1),
    ("blockIndex", None),
    ("blockIndex", -1),
    ("blockIndex", 2**63),
    ("blockIndex", 0.0),
    ("blockIndex", True),
    ("blockIndex", ""),
    ("blockIndex", [0]),
    ("text", None),
    ("text", 5),
    ("text", ["a"]),
    ("field", 5),
    ("field", ""),
    ("id", 5),
    ("id", ""),
    ("generation", 5),
    ("time", -1),
    ("time", 1.5),
]
NUMBERS: list[Any] = [True, False, 1.0, -1, 2**63, "1", [1]]


@every
@pytest.mark.parametrize(("member", "value"), WRONG)
@pytest.mark.parametrize("warm", [True, False])
def test_a_wrong_member_is_malformed_and_changes_nothing(sequencing, member, value, warm):
    bench = Bench(sequencing)
    if warm:  # the next delta of this block takes the short way
        assert bench.delta(1, "a") == "accepted"
        assert bench.delta(2, "b") == "accepted"
    bench.store.flush()
    before = bench.store.state()["sessions"]
    wrong = {"text": "c", member: value}
    assert bench.take("block.delta", 3, **wrong) == f"malformed:{member}"
    assert not bench.store.flush()
    assert bench.store.state()["sessions"] == before
    # No mark moved: the event as it should be is still new.
    assert bench.delta(3 if warm else 1, "c") == "accepted"
    assert bench.counts("verdicts")[f"malformed:{member}"] == 1


@every
@pytest.mark.parametrize("seq", NUMBERS)
@pytest.mark.parametrize("warm", [True, False])
def test_a_seq_is_an_integer_from_0_to_the_largest_of_63_bits(sequencing, seq, warm):
    bench = Bench(sequencing)
    if warm:
        bench.delta(1, "a")
    assert bench.delta(seq, "x") == "malformed:seq"
    assert bench.delta(2 if warm else 1, "b") == "accepted"
    assert bench.text() == ("ab" if warm else "b")


@every
def test_events_of_no_type_or_an_unknown_one_are_counted(sequencing):
    bench = Bench(sequencing)
    for wire, verdict in (
        ({"type": "block.exploded", "sessionId": "s"}, ("unknown", "block.exploded")),
        ({"sessionId": "s"}, ("malformed", "type")),
        ({"type": 5}, ("malformed", "type")),
        ({"type": ["block.delta"]}, ("malformed", "type")),
        (None, ("malformed", "")),
        (["block.delta"], ("malformed", "")),
        ("block.delta", ("malformed", "")),
    ):
        assert bench.stream.ingest(wire)[:2] == verdict
    assert bench.counts("verdicts") == {
        "malformed": 3,
        "malformed:type": 3,
        "unknown:block.exploded": 1,
    }
    assert bench.store.state()["sessions"] == {}


@every
def test_unknown_and_malformed_events_move_the_position_of_the_transport(sequencing):
    bench = Bench(sequencing)
    bench.stream.feed(b'id: 1\ndata: {"type": "later.version"}\n\n')
    bench.stream.feed(b'id: 2\ndata: {"type": "block.delta"}\n\nid: 3\ndata: {]\n\n')
    assert (bench.stream.position.events, bench.stream.position.event_id) == (3, "3")


@every
def test_another_session_than_the_streams_own_is_foreign(sequencing):
    bench = Bench(sequencing, session_id="s")
    assert bench.delta(1, "a") == "accepted"
    assert bench.delta(1, "b", sessionId="t") == "refused:foreign"
    bench.store.flush()
    assert bench.store.session_ids() == ("s",)
    assert bench.counts("characters")["foreign"] == 1


@every
def test_without_a_session_an_event_is_of_the_streams_own(sequencing):
    bench = Bench(sequencing, session_id="s")
    event = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "a", "seq": 1}
    assert bench.stream.ingest(event).kind == "accepted"
    assert bench.text() == "a"
    nobody = StreamStore("native", ticks="manual")
    nobody.ingest({**event, "seq": None})
    nobody.flush()
    assert nobody.session_ids() == ("main",)


@every
def test_a_strict_stream_stops_at_what_it_cannot_read_and_keeps_what_came_before(sequencing):
    bench = Bench(sequencing, policy="strict")
    bench.delta(1, "a")
    assert bench.delta(2, "b", messageId=7) == "malformed:messageId"
    assert bench.delta(2, "c") == "refused:stopped"
    assert bench.text() == "a"


@every
def test_every_event_gets_one_verdict_and_is_counted_once(sequencing):
    bench = Bench(sequencing)
    verdicts = [
        bench.delta(1, "a"),
        bench.delta(1, "a"),
        bench.delta(3, "c"),
        bench.delta(2, "b"),
        bench.take("message.opened", 4, role="user"),
        bench.take("message.removed", 5),
        bench.delta(2, "b"),
        bench.take("nothing.known"),
        bench.delta(None, None),
    ]
    counted_ones = {verdict: verdicts.count(verdict) for verdict in verdicts}
    assert bench.counts("verdicts") == counted_ones


# -- block streams ---------------------------------------------------------------------------------


def test_block_operations_wait_behind_a_hole_and_the_text_ends_before_it():
    bench = Bench("block")
    assert bench.delta(1, "a") == "accepted"
    assert bench.delta(3, "c") == "held"
    assert bench.take("block.replaced", 4, title="t") == "held"
    assert bench.text() == "a"
    assert bench.part().gap
    assert bench.gaps() == [(0, "hole", ((2, 2),))]
    assert bench.delta(2, "b") == "accepted"
    assert bench.text() == "abc"
    assert bench.part().fields == {"title": "t"}
    assert not bench.part().gap
    assert bench.gaps() == []
    assert bench.counts("held") == {"filled": 2}


def test_block_operations_count_from_1_and_need_a_seq():
    bench = Bench("block")
    for type_ in ("block.delta", "block.replaced"):
        assert bench.take(type_, None, text="x") == "malformed:seq"
        assert bench.take(type_, 0, text="x") == "malformed:seq"
    bench.store.flush()
    assert bench.store.state()["sessions"].get("s", {}) == {}


def test_a_first_operation_above_1_waits_too():
    bench = Bench("block")
    assert bench.delta(2, "b") == "held"
    assert bench.text() == ""
    assert bench.gaps() == [(0, "hole", ((1, 1),))]


def test_of_two_operations_with_one_seq_the_first_seen_holds():
    bench = Bench("block")
    assert bench.delta(2, "first") == "held"
    assert bench.delta(2, "second") == "duplicate"
    assert bench.delta(1, "a") == "accepted"
    assert bench.delta(1, "b") == "duplicate"
    assert bench.text() == "afirst"


def test_each_block_counts_for_itself():
    bench = Bench("block")
    for index in (0, 1, "0"):
        assert bench.delta(1, str(index), blockIndex=index) == "accepted"
    assert bench.delta(1, "other", messageId="n") == "accepted"
    assert [bench.text(index) for index in (0, 1, "0")] == ["0", "1", "0"]


def test_held_operations_are_bounded_and_a_refused_one_can_be_sent_again():
    bench = Bench("block", limits=Limits(held_operations=2))
    assert [bench.delta(seq, str(seq)) for seq in (3, 5, 4)] == [
        "held",
        "held",
        "refused:over_limit",
    ]
    assert bench.store.health.resync["s"]
    assert [bench.delta(seq, str(seq)) for seq in (1, 2, 4)] == ["accepted"] * 3
    assert bench.text() == "12345"
    assert bench.counts("characters")["over_limit"] == 1


def test_a_block_closed_over_a_known_hole_is_incomplete_until_it_is_filled():
    bench = Bench("block")
    bench.delta(1, "a")
    bench.take("block.closed", 3)
    assert bench.part().status == "incomplete"
    assert bench.gaps() == [(0, "hole", ((2, 3),))]
    bench.delta(3, "c")
    assert bench.part().status == "incomplete"
    bench.delta(2, "b")
    assert (bench.text(), bench.part().status) == ("abc", "closed")
    assert bench.gaps() == []


def test_other_events_of_a_block_stream_carry_versions_not_operations():
    bench = Bench("block")
    bench.take("block.opened", 7, kind="text", title="new")
    bench.take("block.updated", 3, title="old", path="p")
    assert bench.delta(1, "a") == "accepted"
    assert bench.part().fields == {"title": "new", "path": "p"}


# -- session streams -------------------------------------------------------------------------------


def test_a_hole_of_a_session_stream_stalls_nothing_and_is_shown_once():
    bench = Bench("session")
    bench.delta(1, "a")
    assert bench.delta(4, "d") == "accepted"
    assert bench.delta(5, "e") == "accepted"
    assert bench.text() == "ade"
    assert bench.gaps() == [(None, "hole", ((2, 3),))]
    assert bench.store.session("s").gap
    assert bench.resume() == 1
    assert dict(bench.store.health.resync) == {"s": "operations of the session are missing"}


def test_late_events_fill_the_hole_and_go_to_their_place():
    bench = Bench("session")
    for seq, text in ((1, "a"), (4, "d"), (3, "c")):
        bench.delta(seq, text)
    assert bench.gaps() == [(None, "hole", ((2, 2),))]
    assert bench.resume() == 1
    assert bench.delta(2, "b") == "late"
    assert bench.text() == "abcd"
    assert bench.gaps() == []
    assert not bench.store.session("s").gap
    assert bench.resume() == 4


def test_a_session_whose_missing_operations_came_need_not_be_fetched_for_them():
    bench = Bench("session")
    for seq in (1, 3, 6, 2, 5):
        bench.delta(seq, str(seq))
        assert bench.store.resync.keys() == ({"s"} if seq > 1 else set())
    bench.delta(4, "4")
    assert (bench.text(), bench.gaps(), dict(bench.store.health.resync)) == ("123456", [], {})
    bench.delta(8, "8")
    assert dict(bench.store.resync) == {"s": "operations of the session are missing"}


@pytest.mark.parametrize("first", [True, False])
def test_missing_operations_that_came_take_no_other_reason_to_fetch_with_them(first: bool):
    bench = Bench("session")
    bench.delta(1, "a")
    if first:
        bench.store.ask_resync("s", "another one")
    bench.delta(3, "c")
    if not first:
        bench.store.ask_resync("s", "another one")
    bench.delta(2, "b")
    assert (bench.gaps(), dict(bench.store.resync)) == ([], {"s": "another one"})


def test_what_was_given_up_or_a_snapshot_stands_for_is_still_to_be_fetched():
    bench = Bench("session", limits=Limits(held_operations=2))
    for seq in (1, 3, 5, 4):  # what is missing at 2 was given up
        bench.delta(seq, str(seq))
    assert bench.gaps() == [] and bench.store.resync
    bench = Bench("session")
    for seq in (1, 3):
        bench.delta(seq, str(seq))
    bench.take("block.snapshot", 2, blockIndex=7, kind="text", text="what another one's was")
    assert bench.gaps() == [] and bench.store.resync


@pytest.mark.parametrize(
    "event",
    [
        {"type_": "session.status", "status": "idle"},
        {"type_": "turn.started"},
        {"type_": "message.opened", "role": "user", "messageId": "n"},
        {"type_": "permission.replied", "id": "r"},
        {"type_": "block.closed", "blockIndex": 9},
        {"type_": "tool.result", "callId": "c", "fields": {}},
    ],
)
def test_any_event_fills_the_hole_of_a_session_stream(event):
    bench = Bench("session")
    bench.delta(1, "a")
    bench.delta(3, "c")
    assert bench.gaps()
    bench.take(seq=2, **event)
    assert bench.gaps() == []
    assert bench.resume() == 3


def test_duplicates_of_a_session_stream_are_exact_whatever_they_are():
    bench = Bench("session")
    bench.delta(1, "a")
    bench.delta(3, "c")
    for seq in (1, 3):
        assert bench.delta(seq, "again") == "duplicate"
        assert bench.take("session.status", seq, status="busy") == "duplicate"
        assert bench.take("block.delta", seq, blockIndex=1, text="x") == "duplicate"
    assert bench.text() == "ac"


def test_a_block_of_a_session_stream_sees_a_sparse_part_of_the_counter():
    bench = Bench("session")
    for seq in range(1, 9):
        assert bench.delta(seq, str(seq), blockIndex=seq % 2) == "accepted"
    assert (bench.text(0), bench.text(1)) == ("2468", "1357")
    assert bench.gaps() == []


def test_sessions_count_for_themselves():
    bench = Bench("session")
    bench.delta(1, "a")
    bench.delta(1, "b", sessionId="t")
    bench.delta(2, "c")
    bench.store.flush()
    assert dict(bench.store.health.resume["sessions"]) == {"s": 2, "t": 1}
    assert bench.gaps() == []


def test_holes_of_a_session_stream_are_bounded_and_the_oldest_is_given_up():
    bench = Bench("session", limits=Limits(held_operations=2))
    for seq in (1, 3, 5):
        bench.delta(seq, str(seq))
    assert bench.gaps() == [(None, "hole", ((4, 4),))]
    assert bench.delta(2, "2") == "duplicate"
    assert bench.delta(4, "4") == "late"
    assert bench.gaps() == []
    assert bench.text() == "1345"
    assert bench.store.health.resync


def test_the_position_of_a_session_stream_stands_before_the_first_hole():
    bench = Bench("session")
    bench.delta(1, "a")
    bench.delta(2, "b")
    bench.delta(5, "e")
    bench.delta(6, "f")
    assert bench.stream.position.events == 2
    bench.delta(3, "c")
    assert bench.stream.position.events == 2
    bench.delta(4, "d")
    assert bench.stream.position.events == 6


def test_a_hole_below_the_first_event_of_all_is_behind_no_position():
    bench = Bench("session")
    bench.delta(5, "e")
    bench.delta(3, "c")
    assert bench.gaps() == [(None, "hole", ((4, 4),))]
    assert bench.resume() == 3
    assert bench.stream.position.events == 0
    bench.delta(4, "d")
    assert bench.stream.position.events == 3


def test_the_position_moves_with_the_commit():
    bench = Bench("session")
    bench.delta(1, "a")
    assert bench.store.flush().resume["sessions"] == {"s": 1}
    bench.delta(3, "c")
    assert bench.store.flush().resume["sessions"] == {"s": 1}
    bench.delta(2, "b")
    assert bench.store.flush().resume["sessions"] == {"s": 3}


# -- sparse streams --------------------------------------------------------------------------------


def test_a_hole_of_a_sparse_stream_means_nothing():
    bench = Bench("sparse")
    for seq in (0, 7, 1000, MAX_NUMBER):
        assert bench.delta(seq, f"{seq},") == "accepted"
    assert bench.text() == f"0,7,1000,{MAX_NUMBER},"
    assert bench.gaps() == []
    assert bench.resume() is None
    assert not bench.store.health.resync


@numbered
def test_an_overtaken_delta_is_late_not_double(sequencing):
    bench = Bench(sequencing)
    bench.delta(1, "a")
    bench.delta(9, "live")
    for seq in range(2, 9):
        assert bench.delta(seq, str(seq)) == "late"
    for seq in range(1, 10):
        assert bench.delta(seq, "again") == "duplicate"
    assert bench.text() == "a2345678live"


@numbered
@pytest.mark.parametrize("overtaken_by", range(1, 9))
def test_every_place_in_the_window_is_reached_and_none_below(sequencing, overtaken_by):
    text, late = "abcdefghij", 10 - 1 - overtaken_by
    bench = Bench(sequencing, limits=Limits(late_window=4))
    for seq, character in enumerate(text):
        if seq != late:
            assert bench.delta(seq, character) == "accepted"
    if overtaken_by <= 4:
        assert bench.delta(late, text[late]) == "late"
        assert bench.text() == text
    else:
        assert bench.delta(late, text[late]) == "refused:unplaceable"
        assert bench.text() == text.replace(text[late], "")


@numbered
def test_below_the_window_a_delta_is_refused_and_the_block_suspect(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=2))
    for seq in range(2, 10):
        bench.delta(seq, str(seq))
    assert not bench.part().gap
    assert bench.delta(1, "1") == "refused:unplaceable"
    assert bench.part().gap
    assert bench.gaps() == [(0, "suspect", ())]
    assert bench.text() == "23456789"
    assert bench.counts("characters")["unplaceable"] == 1
    assert dict(bench.store.health.resync) == {"s": "a late operation could not be placed"}


def test_a_repetition_below_the_window_of_a_sparse_stream_cannot_be_proved():
    bench = Bench("sparse", limits=Limits(late_window=2))
    for seq in range(1, 10):
        bench.delta(seq, str(seq))
    assert bench.delta(9, "9") == "duplicate"
    assert bench.delta(8, "8") == "duplicate"
    assert bench.delta(1, "1") == "refused:unplaceable"
    assert bench.text() == "123456789"


def test_a_repetition_below_the_window_of_a_session_stream_is_known():
    bench = Bench("session", limits=Limits(late_window=2))
    for seq in range(1, 10):
        bench.delta(seq, str(seq))
    assert bench.delta(1, "1") == "duplicate"
    assert not bench.part().gap


@numbered
def test_fields_below_the_window_still_win_by_seq(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=2))
    bench.take("block.updated", 5, title="newer")
    for seq in range(6, 16):
        bench.delta(seq, "x")
    assert bench.take("block.updated", 2, title="older", path="p") == "late"
    assert bench.part().fields == {"title": "newer", "path": "p"}
    assert not bench.part().gap


def fill(bench: Bench, sequencing: str, first: int, number: int) -> None:
    """Events of the session beside the block; a `session` stream wants them contiguous."""
    for seq in range(first, first + number):
        bench.take("session.status", seq, status="busy")


@numbered
@pytest.mark.parametrize(("events", "verdict"), [(3, "late"), (4, "refused:unplaceable")])
def test_a_closed_block_keeps_its_window_for_as_many_events_as_the_window_is_long(
    sequencing, events, verdict
):
    bench = Bench(sequencing, limits=Limits(late_window=4))
    bench.delta(1, "a")
    bench.delta(3, "c")
    bench.take("block.closed", 4)
    fill(bench, sequencing, 5, events)
    assert bench.delta(2, "b") == verdict
    assert bench.text() == ("abc" if verdict == "late" else "ac")


@numbered
def test_the_window_of_a_closed_block_starts_again_with_what_comes_after_the_close(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=4))
    bench.delta(1, "a")
    bench.take("block.closed", 2)
    fill(bench, sequencing, 3, 8)
    bench.delta(12, "c")
    assert bench.delta(11, "b") == "late"
    assert bench.text() == "abc"


@numbered
@pytest.mark.parametrize("closing", ["block.closed", "message.closed"])
def test_nothing_is_kept_of_windows_that_are_over(sequencing, closing):
    bench = Bench(sequencing, limits=Limits(late_window=4))
    for seq in range(1, 4):
        bench.delta(seq, "abc"[seq - 1])
    bench.take(closing, 4)
    row = bench.store._sessions["s"].messages["m"].blocks[0]
    assert row.seqs
    fill(bench, sequencing, 5, 5)
    assert (row.seqs, row.ops, row.floor) == ([], [], row.mark)
    assert not row.message.session.closing
    assert bench.text() == "abc"


@numbered
def test_a_field_that_was_set_goes_on_from_there_though_its_window_is_over(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=4))
    bench.take("block.opened", 1, kind="tool", input="{")
    for seq in range(2, 20):
        bench.delta(seq, "a")
    bench.delta(20, "}", field="input")
    bench.text()
    part = bench.store.part("s", "m", 0)
    assert part is not None and part.field_text("input") == "{}"


@numbered
def test_text_can_leave_the_window_at_any_length_without_changing(sequencing):
    for window in (1, 2, 3):
        bench = Bench(sequencing, limits=Limits(late_window=window))
        text = "".join(chr(97 + n % 26) for n in range(40))
        for seq in range(len(text)):
            # Neighbours swapped: each second one is late by one.
            swapped = seq ^ 1
            assert bench.delta(swapped, text[swapped]) in ("accepted", "late")
        assert bench.text() == text


@numbered
def test_an_event_without_seq_is_taken_alone(sequencing):
    bench = Bench(sequencing)
    bench.delta(1, "a")
    assert bench.delta(None, "b") == "accepted"
    assert bench.delta(None, "b") == "accepted"
    assert bench.delta(2, "c") == "accepted"
    assert bench.text() == "abbc"


# -- streams without seq ---------------------------------------------------------------------------


def test_without_seq_numbers_say_nothing():
    bench = Bench("none")
    for seq in (5, 1, 5):
        assert bench.delta(seq, str(seq)) == "accepted"
    assert bench.text() == "515"
    assert bench.resume() is None


@pytest.mark.parametrize(
    "event",
    [
        {"type_": "block.delta", "text": "a"},
        {"type_": "session.error", "error": {"name": "E", "message": ""}},
        {"type_": "message.opened", "role": "user"},
    ],
)
def test_without_seq_a_unique_id_tells_a_repetition(event):
    bench = Bench("none")
    assert bench.take(id="e1", **event) == "accepted"
    assert bench.take(id="e1", **event) == "duplicate"
    assert bench.take(id="e2", **event) == "accepted"


def test_without_seq_and_id_a_repetition_is_not_seen():
    bench = Bench("none")
    bench.delta(None, "a")
    bench.delta(None, "a")
    assert bench.text() == "aa"


def test_event_ids_are_of_their_session():
    bench = Bench("none")
    assert bench.delta(None, "a", id="e") == "accepted"
    assert bench.delta(None, "a", id="e", sessionId="t") == "accepted"


def test_event_ids_are_remembered_for_at_least_their_bound():
    bench = Bench("none", limits=Limits(event_ids=3))
    for number in range(3):
        bench.delta(None, "x", id=f"e{number}")
    assert all(bench.delta(None, "x", id=f"e{number}") == "duplicate" for number in range(3))
    for number in range(3, 9):
        bench.delta(None, "x", id=f"e{number}")
    assert bench.delta(None, "x", id="e0") == "accepted"  # too old: new again
    assert all(bench.delta(None, "x", id=f"e{number}") == "duplicate" for number in (6, 7, 8))


def test_what_there_was_no_room_for_is_not_remembered_by_its_id_what_was_refused_for_good_is():
    bench = Bench("none", limits=Limits(text_fields=1))
    bench.delta(None, "a", field="input")
    assert bench.delta(None, "b", field="more", id="e") == "refused:over_limit"
    bench.take("block.removed")
    assert bench.delta(None, "c", id="f") == "refused:removed"
    bench.take("block.opened", kind="text")
    assert bench.delta(None, "c", id="f") == "duplicate"
    assert bench.delta(None, "b", field="more", id="e") == "accepted"


def test_with_a_seq_the_id_decides_nothing():
    bench = Bench("sparse")
    bench.delta(1, "a", id="e")
    assert bench.delta(2, "b", id="e") == "accepted"
    assert bench.delta(2, "b", id="f") == "duplicate"


@pytest.mark.parametrize(
    "seals",
    [
        [{"type_": "block.replaced", "text": "all", "whole": True}],
        [{"type_": "block.replaced", "text": "all", "status": "closed"}],
        [{"type_": "block.replaced", "text": "all"}, {"type_": "block.closed"}],
    ],
)
def test_without_seq_a_close_that_carries_the_whole_text_refuses_later_deltas(seals):
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.delta(None, "al")
    for event in seals:
        assert bench.take(**event) == "accepted"
    assert bench.delta(None, "late") == "refused:sealed"
    assert bench.text() == "all"
    assert bench.counts("characters")["sealed"] == 4


def test_without_seq_other_closes_do_not_refuse():
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.delta(None, "a")
    bench.take("block.closed")
    assert bench.delta(None, "b") == "accepted"
    assert bench.take("block.replaced", text="c", whole=True, status="open") == "accepted"
    assert bench.delta(None, "d") == "accepted"
    bench.take("message.closed")
    assert bench.delta(None, "e") == "accepted"
    assert bench.text() == "cde"


def test_without_seq_a_part_first_seen_through_a_delta_may_lack_text():
    bench = Bench("none")
    bench.delta(None, "lo")
    assert bench.part().gap
    assert bench.gaps() == [(0, "cut", ())]
    bench.delta(None, " world")
    assert bench.text() == "lo world"
    bench.take("block.replaced", text="Hello world")
    assert not bench.part().gap
    assert bench.gaps() == []


def test_without_seq_a_part_still_open_when_its_stream_ends_may_lack_text():
    bench = Bench("none")
    for index in (0, 1, 2):
        bench.take("block.opened", blockIndex=index, kind="text")
        bench.delta(None, "a", blockIndex=index)
    bench.take("block.closed", blockIndex=1)
    bench.take("block.replaced", blockIndex=2, text="all", whole=True)
    bench.stream.end()
    assert [bench.part(index).gap for index in (0, 1, 2)] == [True, False, False]
    bench.stream = bench.store.open("native", sequencing="none")
    bench.delta(None, "b")
    assert (bench.text(), bench.part().gap) == ("ab", True)
    bench.take("message.closed")
    assert bench.part().status == "incomplete"


@counted
def test_with_seq_the_end_of_a_stream_cuts_nothing(sequencing):
    bench = Bench(sequencing)
    bench.delta(1, "a")
    bench.stream.end()
    assert not bench.part().gap
    bench.stream = bench.store.open("native", sequencing=sequencing)
    assert bench.delta(1, "a") == "duplicate"
    assert bench.delta(2, "b") == "accepted"
    assert bench.text() == "ab"
