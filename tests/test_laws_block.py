"""Laws of `block` sequencing, against the naive fold: whatever order, each operation counts once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import fold, missing, objects
from strategies import WRONG_NUMBERS, Wire, disturbed, logs, malformed

from streamstore import Limits, MalformedEvent, Stream, StreamStore
from streamstore.events import decode_event


def fresh(**options: Any) -> tuple[StreamStore, Stream]:
    store = StreamStore("native", ticks="manual", **options)
    return store, store.open("native", sequencing="block")


def sessions_after(events: list[Wire], **options: Any) -> Any:
    store, stream = fresh(**options)
    stream.ingest_many(events)
    store.flush()
    return store.state()["sessions"]


KEY = {"sessionId": "s", "messageId": "m", "blockIndex": 0}


def delta(seq: Any, text: str, **members: Any) -> Wire:
    return {"type": "block.delta", **KEY, "seq": seq, "text": text, **members}


def replaced(seq: Any, **members: Any) -> Wire:
    return {"type": "block.replaced", **KEY, "seq": seq, **members}


def snapshot(seq: Any, text: str, **members: Any) -> Wire:
    return {"type": "block.snapshot", **KEY, "seq": seq, "text": text, **members}


class Block:
    """One block of a fresh store: take events, look at it."""

    def __init__(self, **options: Any) -> None:
        self.store, self.stream = fresh(**options)

    def take(self, *events: Wire) -> list[str]:
        """What became of each event: its reason, or the kind of its verdict."""
        verdicts = [self.stream.ingest(event) for event in events]
        self.store.flush()
        return [verdict.reason or verdict.kind for verdict in verdicts]

    @property
    def part(self) -> Any:
        return self.store.part("s", "m", 0)

    @property
    def text(self) -> str:
        return self.part.text


# -- against the naive fold ------------------------------------------------------------------------


@given(logs("block"))
def test_a_log_in_order_ends_in_the_naive_state(log):
    assert sessions_after(log) == fold(log, "block")


@given(st.data())
def test_any_order_with_repeats_ends_in_the_naive_state(data):
    log = data.draw(logs("block"))
    assert sessions_after(data.draw(disturbed(log))) == fold(log, "block")


@given(st.data())
def test_every_moment_of_any_order_shows_the_naive_state_of_what_came(data):
    log = data.draw(disturbed(data.draw(logs("block"))))
    store, stream = fresh()
    for count, event in enumerate(log, start=1):
        stream.ingest(event)
        store.flush()
        assert store.state()["sessions"] == fold(log[:count], "block")


@given(st.data())
def test_gaps_are_exactly_the_numbers_that_are_missing(data):
    log = data.draw(disturbed(data.draw(logs("block"))))
    store, stream = fresh()
    for count, event in enumerate(log, start=1):
        stream.ingest(event)
        changes = store.flush()
        gaps = {gap[:3]: gap.missing for gap in store.health.gaps}
        assert gaps == missing(log[:count])
        assert changes.gaps == store.health.gaps
    gapped = {
        (part.session_id, part.message_id, part.block_index)
        for session_id in store.session_ids()
        for message in store.messages(session_id)
        for part in store.parts(session_id, message.id)
        if part.gap
    }
    assert gapped == set(missing(log))


@given(st.data())
def test_events_lost_for_good_leave_the_naive_state_of_the_rest(data):
    log = data.draw(logs("block"))
    kept = [event for event in log if data.draw(st.integers(0, 3))]
    order = data.draw(disturbed(kept))
    assert sessions_after(order) == fold(kept, "block")


@given(st.data())
def test_what_came_once_changes_nothing_when_it_comes_again(data):
    log = data.draw(logs("block"))
    store, stream = fresh()
    stream.ingest_many(data.draw(disturbed(log)))
    store.flush()
    before, state = objects(store), store.state()
    for event in data.draw(disturbed(log)):
        verdict = stream.ingest(event)
        if event["type"] in ("block.delta", "block.replaced"):
            assert (verdict.kind, verdict.reason) in (("duplicate", ""), ("refused", "removed"))
        assert not store.flush()
    again = store.state()
    assert {**again, "counts": 0} == {**state, "counts": 0}
    assert all(mine is other for mine, other in zip(objects(store), before, strict=True))


@given(st.data())
def test_of_two_operations_with_one_number_the_first_seen_holds(data):
    log = data.draw(logs("block"))
    log = [event for event in log if event["type"] != "block.snapshot"]
    operations = [event for event in log if event["type"] in ("block.delta", "block.replaced")]
    liars = data.draw(st.lists(st.sampled_from(operations), max_size=6)) if operations else []
    lies = [{**event, "type": "block.delta", "text": f"<{n}>"} for n, event in enumerate(liars)]
    order = data.draw(st.permutations(log + lies))
    assert sessions_after(order) == fold(order, "block")


@given(st.data())
def test_a_malformed_event_changes_no_block_mark_or_field(data):
    log = data.draw(logs("block"))
    store, stream = fresh()
    order = data.draw(disturbed(log))
    cut = data.draw(st.integers(0, len(order)))
    stream.ingest_many(order[:cut])
    store.flush()
    saved, before, state = store.save()["sessions"], objects(store), store.state()
    for wire in data.draw(st.lists(malformed(log), min_size=1, max_size=4)):
        assert stream.ingest(wire).kind == "malformed"
        assert not store.flush()
    after = store.save()["sessions"]
    assert [entry for entry in after if entry["messages"]] == [
        entry for entry in saved if entry["messages"]
    ]
    assert all(mine is other for mine, other in zip(objects(store), before, strict=True))
    assert {**store.state(), "counts": 0} == {**state, "counts": 0}
    stream.ingest_many(order[cut:])
    store.flush()
    assert store.state()["sessions"] == fold(log, "block")


@given(st.data())
def test_sending_a_log_again_brings_what_the_hold_bound_refused(data):
    log = data.draw(logs("block"))
    store, stream = fresh(limits=Limits(held_operations=data.draw(st.integers(1, 3))))
    stream.ingest_many(data.draw(disturbed(log)))
    held = [len(part.held) for part in blocks(store)]
    assert max(held, default=0) <= store.limits.held_operations
    stream.ingest_many(log)
    store.flush()
    assert store.state()["sessions"] == fold(log, "block")


def blocks(store: StreamStore) -> list[Any]:
    return [
        block
        for session in store._sessions.values()
        for message in session.messages.values()
        for block in message.blocks.values()
    ]


# -- L5: isolation ---------------------------------------------------------------------------------


@given(st.data())
def test_a_session_ends_the_same_whatever_comes_for_others_between(data):
    log = data.draw(disturbed(data.draw(logs("block"))))
    together = sessions_after(log)
    for session_id in ("s1", "s2"):
        alone = sessions_after([event for event in log if event["sessionId"] == session_id])
        assert alone == {name: together[name] for name in together if name == session_id}


@given(st.data())
def test_an_event_leaves_the_values_of_other_sessions_the_same_objects(data):
    log = data.draw(disturbed(data.draw(logs("block"))))
    store, stream = fresh()
    for event in log:
        (other,) = {"s1", "s2"} - {event["sessionId"]}
        before = objects(store, other)
        stream.ingest(event)
        store.flush()
        after = objects(store, other)
        assert len(before) == len(after)
        assert all(mine is theirs for mine, theirs in zip(after, before, strict=True))


# -- one rule at a time ----------------------------------------------------------------------------


def test_past_a_hole_nothing_applies_until_it_is_filled():
    block = Block()
    assert block.take(delta(1, "a"), delta(3, "c"), replaced(4, x=1)) == [
        "accepted",
        "held",
        "held",
    ]
    assert (block.text, block.part.gap, dict(block.part.fields)) == ("a", True, {})
    assert block.take(delta(2, "b")) == ["accepted"]
    assert (block.text, block.part.gap, dict(block.part.fields)) == ("abc", False, {"x": 1})
    assert block.store.health.counts["held"] == {"filled": 2}


def test_a_replace_waits_behind_a_hole_like_any_operation():
    block = Block()
    block.take(delta(1, "a"), replaced(3, text="new"))
    assert (block.text, block.part.gap) == ("a", True)
    block.take(delta(2, "b"))
    assert (block.text, block.part.gap) == ("new", False)


def test_a_block_whose_first_operation_is_missing_is_there_with_its_gap():
    block = Block()
    assert block.take(delta(2, "b")) == ["held"]
    assert (block.text, block.part.gap) == ("", True)
    assert [gap.missing for gap in block.store.health.gaps] == [((1, 1),)]


def test_a_snapshot_stands_for_every_operation_up_to_its_seq():
    block = Block()
    block.take(delta(1, "a"), delta(5, "e"), delta(3, "c"))
    assert block.take(snapshot(4, "abcd")) == ["accepted"]
    assert (block.text, block.part.gap) == ("abcde", False)
    assert block.take(*(delta(seq, "?") for seq in range(1, 6))) == ["duplicate"] * 5
    assert block.text == "abcde"
    assert block.store.health.counts["held"] == {"filled": 1, "superseded": 1}


def test_a_snapshot_never_rolls_back():
    block = Block()
    block.take(delta(1, "a"), delta(2, "b"), delta(3, "c"))
    block.take(snapshot(2, "stale"), snapshot(3, "other"), snapshot(1, ""))
    assert block.text == "abc"
    block.take(snapshot(9, "nine"), snapshot(7, "seven"), snapshot(9, "ninth"))
    assert block.text == "nine"


def test_a_snapshot_before_everything_is_where_the_operations_go_on():
    block = Block()
    assert block.take(snapshot(2, "ab"), delta(3, "c"), delta(2, "?")) == [
        "accepted",
        "accepted",
        "duplicate",
    ]
    assert (block.text, block.part.gap) == ("abc", False)


def test_a_snapshot_below_the_held_operations_leaves_the_hole_above_it():
    block = Block()
    block.take(delta(6, "f"), snapshot(3, "abc"))
    assert (block.text, block.part.gap) == ("abc", True)
    assert [gap.missing for gap in block.store.health.gaps] == [((4, 5),)]


@pytest.mark.parametrize("removal", ["block.removed", "message.removed", "session.removed"])
def test_removed_is_final(removal):
    block = Block()
    names = {"block.removed": 3, "message.removed": 2, "session.removed": 1}[removal]
    block.take(delta(1, "a"), {"type": removal, **dict(list(KEY.items())[:names])})
    assert block.part is None
    opened = {"type": "block.opened", **KEY, "kind": "text"}
    late = [opened, delta(2, "b"), replaced(3, text="c", whole=True), snapshot(9, "d")]
    assert block.take(*late, {"type": "block.closed", **KEY}) == ["removed"] * 5
    assert block.part is None
    if names < 3:
        assert block.take({"type": "message.opened", **KEY, "role": "user"}) == ["removed"]
        assert block.store.messages("s") == ()


@pytest.mark.parametrize("removal", ["block.removed", "message.removed", "session.removed"])
def test_a_removal_that_comes_before_everything_holds(removal):
    block = Block()
    names = {"block.removed": 3, "message.removed": 2, "session.removed": 1}[removal]
    assert block.take({"type": removal, **dict(list(KEY.items())[:names])}) == ["accepted"]
    assert block.take(delta(1, "a"), snapshot(2, "ab")) == ["removed", "removed"]
    assert block.part is None


@pytest.mark.parametrize("seq", WRONG_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "event", [delta(1, "?"), replaced(1, text="?"), snapshot(1, "?")], ids=lambda e: e["type"]
)
def test_a_wrong_seq_moves_no_mark(event, seq):
    block = Block()
    block.take(delta(1, "a"))
    assert block.stream.ingest({**event, "seq": seq}).kind == "malformed"
    assert block.take(delta(3, "c"), delta(2, "b")) == ["held", "accepted"]
    assert block.text == "abc"


@pytest.mark.parametrize("seq", [0, *WRONG_NUMBERS], ids=repr)
def test_operations_count_from_one(seq):
    block = Block()
    assert block.stream.ingest(delta(seq, "zero")).kind == "malformed"
    assert block.take(delta(1, "a")) == ["accepted"]
    assert block.text == "a"


def test_an_operation_without_seq_is_malformed():
    block = Block()
    without = {name: value for name, value in delta(1, "a").items() if name != "seq"}
    assert block.stream.ingest(without).kind == "malformed"
    assert block.stream.ingest({**without, "type": "block.replaced"}).kind == "malformed"
    assert not block.store.flush() and block.store.session_ids() == ()


def test_some_thousand_operations_may_wait_by_default():
    block = Block()
    bound = block.store.limits.held_operations
    assert 1000 <= bound < 10_000
    assert set(block.take(*(delta(seq, "x") for seq in range(2, bound + 2)))) == {"held"}
    assert block.take(delta(bound + 2, "y")) == ["over_limit"]
    assert block.take(delta(1, "w"), delta(bound + 2, "y")) == ["accepted", "accepted"]
    assert block.text == "w" + "x" * bound + "y"


def test_over_the_hold_bound_an_operation_is_not_taken_in_and_a_resync_is_asked_for():
    block = Block(limits=Limits(held_operations=2))
    assert block.take(delta(3, "c"), delta(4, "d"), delta(2, "b")) == ["held", "held", "over_limit"]
    assert block.take(delta(3, "?"), delta(1, "a")) == ["duplicate", "accepted"]
    assert (block.text, block.part.gap) == ("a", True)
    assert list(block.store.health.resync) == ["s"]
    assert block.take(delta(2, "b")) == ["accepted"]
    assert (block.text, block.part.gap) == ("abcd", False)


def test_the_hold_bound_is_each_block_s_own():
    block = Block(limits=Limits(held_operations=1))
    assert block.take(delta(2, "b"), delta(2, "b", blockIndex=1), delta(2, "b", messageId="n")) == [
        "held",
        "held",
        "held",
    ]


@pytest.mark.parametrize("number", [{}, {"seq": 1}])
@pytest.mark.parametrize("saved", [False, True])
def test_an_opening_that_comes_late_or_again_takes_back_nothing_that_an_operation_set(
    number, saved
):
    state = {"status": "running", "input": {"path": "/"}}
    opened = {"type": "block.opened", **KEY, **number, "kind": "tool", "title": "", "tag": "t"}
    opened |= {"state": {"status": "running"}}
    said = replaced(1, title="Reads", state=state)
    for order in ([opened, said, opened], [said, opened], [said, opened, opened]):
        block = Block()
        for event in order:
            block.take(event)
            if saved:
                block.store = StreamStore.load(block.store.save(), ticks="manual")
                block.stream = block.store.open("native", sequencing="block")
        block.store.flush()
        assert block.part.fields == {"title": "Reads", "tag": "t", "state": state}


@pytest.mark.parametrize("begin", ["", "{"])
@pytest.mark.parametrize("number", [{}, {"seq": 1}])
def test_an_opening_that_comes_late_or_again_keeps_what_streamed_into_its_field(begin, number):
    opened = {"type": "block.opened", **KEY, **number, "kind": "tool", "input": begin}
    first, second = delta(1, "a\ud83d", field="input"), delta(2, "\ude00b", field="input")
    for order in (
        [opened, first, second],
        [opened, first, opened, second, opened],
        [first, opened, second, opened],
        [first, second, opened],
    ):
        block = Block()
        block.take(*order)
        assert {name: str(view) for name, view in block.part.others.items()} == {
            "input": begin + "a\U0001f600b"
        }
        counts = block.store.health.counts["characters"]
        assert counts["received"] == counts["accepted"] and counts["accepted"] == (
            len(begin + "a😀b") + counts.get("superseded", 0) + counts.get("paired", 0)
        ), counts


@pytest.mark.parametrize("said", [{"title": "t", "whole": True}, {"input": "{"}])
def test_a_numbered_update_that_comes_again_keeps_what_streamed_since(said):
    updated = {"type": "block.updated", **KEY, "seq": 1, **said}
    block = Block()
    block.take(updated, delta(1, "a", field="input"), updated, delta(2, "b", field="input"))
    texts = {name: str(view) for name, view in block.part.others.items()}
    assert texts == {"input": said.get("input", "") + "ab"}


def test_another_kind_later_is_refused_and_the_text_kept():
    block = Block()
    opened = {"type": "block.opened", **KEY, "kind": "text"}
    block.take(opened, delta(1, "a"))
    assert block.take({**opened, "kind": "reasoning"}) == ["conflict"]
    assert (block.part.kind, block.text) == ("text", "a")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("later", [0, 1])
def test_a_late_opening_begins_a_streamed_field_whatever_snapshot_of_what_came_lies_between(
    later, whole
):
    first, rest = [delta(n, text, field="input") for n, text in enumerate("bc", start=1)]
    opened = {"type": "block.opened", **KEY, "kind": "tool", "input": "a", "tag": "t"}
    says = snapshot(1, "", kind="tool", input="ab", tag="t", whole=whole)
    for order in itertools.permutations([first, *[rest][:later], says, opened]):
        block = Block()
        block.take(*order)
        (part,) = block.store.state()["sessions"]["s"]["messages"][0]["parts"]
        assert (part["input"], part["tag"]) == ("abc"[: 2 + later], "t")


@pytest.mark.parametrize("first", ["operation", "snapshot"])
@pytest.mark.parametrize("field", ["text", "input"])
def test_a_whole_snapshot_takes_the_fields_of_the_counter_that_ended(first, field):
    block = Block()
    block.take({"type": "stream.opened", "generation": "g1"})
    block.take({"type": "block.opened", **KEY, "kind": "tool", "tag": "old"})
    block.take(delta(1, "old", field="input"), {"type": "stream.opened", "generation": "g2"})
    says = {"input": "new"} if field == "input" else {}
    text = "new" if field == "text" else ""
    both = [delta(1, "new", field=field), snapshot(1, text, kind="tool", whole=True, **says)]
    block.take(*(both if first == "operation" else both[::-1]))
    (part,) = block.store.state()["sessions"]["s"]["messages"][0]["parts"]
    assert part == {"blockIndex": 0, "kind": "tool", "status": "open", field: "new"}


def test_a_close_over_a_hole_is_incomplete_until_the_hole_is_filled():
    block = Block()
    block.take(delta(1, "a"), {"type": "block.closed", **KEY, "seq": 3})
    assert (block.part.status, block.part.gap) == ("incomplete", True)
    block.take(delta(2, "b"))
    assert (block.part.status, block.part.gap) == ("incomplete", True)
    block.take(delta(3, "c"))
    assert (block.part.status, block.part.gap, block.text) == ("closed", False, "abc")


def test_a_message_that_closes_over_a_hole_settles_its_part_as_incomplete():
    block = Block()
    block.take(delta(2, "b"), {"type": "message.closed", **KEY, "status": "completed"})
    assert block.part.status == "incomplete"
    block.take(delta(1, "a"))
    assert (block.part.status, block.text) == ("closed", "ab")


def test_numbers_of_one_block_say_nothing_about_another():
    block = Block()
    for members in ({"blockIndex": 1}, {"blockIndex": "0"}, {"messageId": "n"}, {"sessionId": "t"}):
        assert block.take(delta(1, "other", **members)) == ["accepted"]
    assert block.take(delta(1, "a")) == ["accepted"]
    assert block.text == "a"


def test_two_streams_share_the_marks_of_a_store():
    block = Block()
    other = block.store.open("native", sequencing="block")
    block.take(delta(1, "a"), delta(2, "b"))
    assert other.ingest(delta(2, "b")).kind == "duplicate"
    assert other.ingest(delta(3, "c")).kind == "accepted"
    assert block.take(delta(3, "c"), delta(4, "d")) == ["duplicate", "accepted"]
    assert block.text == "abcd"


@pytest.mark.parametrize("sequencing", ["block", "none", "sparse", "session"])
@given(st.data())
def test_the_short_way_of_a_delta_refuses_what_the_long_way_refuses(sequencing, data):
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing=sequencing)
    stream.ingest({"type": "block.opened", **KEY, "kind": "text", "seq": 1})
    last = 1 if sequencing == "block" else 2
    assert stream.ingest(delta(last, "a")).kind == "accepted"  # the next one goes the short way
    wire = data.draw(malformed([delta(last + 1, "?")]))
    try:
        refused = decode_event(wire).seq is None and sequencing == "block"
    except MalformedEvent:
        refused = True
    assert (stream.ingest(wire).kind == "malformed") == refused
