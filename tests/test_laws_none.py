"""Laws of `none` sequencing, against the naive fold: arrival is all the order there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import ENDED, fold, objects
from strategies import Wire, logs

from streamstore import Limits, Stream, StreamStore


def fresh(**options: Any) -> tuple[StreamStore, Stream]:
    store = StreamStore("native", ticks="manual", **options)
    return store, store.open("native", sequencing="none")


def sessions_after(events: list[Wire]) -> Any:
    store, stream = fresh()
    stream.ingest_many(events)
    store.flush()
    return store.state()["sessions"]


KEY = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
OPENED = {"type": "block.opened", **KEY, "kind": "text"}
CLOSED = {"type": "block.closed", **KEY}


def delta(text: str, **members: Any) -> Wire:
    return {"type": "block.delta", **KEY, "text": text, **members}


def replaced(**members: Any) -> Wire:
    return {"type": "block.replaced", **KEY, **members}


class Block:
    """One block of a fresh store: take events, look at it."""

    def __init__(self, **options: Any) -> None:
        self.store, self.stream = fresh(**options)

    def take(self, *events: Wire) -> list[str]:
        """What became of each event: its reason, or the kind of its verdict."""
        verdicts = [self.stream.ingest(event) for event in events]
        self.store.flush()
        return [verdict.reason or verdict.kind for verdict in verdicts]

    def reconnect(self) -> None:
        """The connection ends, a new one begins."""
        self.stream.end()
        self.stream = self.store.open("native", sequencing="none")
        self.store.flush()

    @property
    def part(self) -> Any:
        return self.store.part("s", "m", 0)

    @property
    def text(self) -> str:
        return self.part.text


# -- against the naive fold ------------------------------------------------------------------------


@given(logs("none"))
def test_every_moment_shows_the_naive_state_of_what_came(log):
    store, stream = fresh()
    for count, event in enumerate(log, start=1):
        stream.ingest(event)
        store.flush()
        assert store.state()["sessions"] == fold(log[:count], "none")


@given(st.data())
def test_arrival_decides_in_whatever_order_a_server_sends(data):
    log = data.draw(st.permutations(data.draw(logs("none", removals=False))))
    assert sessions_after(log) == fold(log, "none")


@given(st.data())
def test_without_an_id_the_same_event_is_a_new_one(data):
    log = data.draw(logs("none", removals=False))
    deltas = [place for place, event in enumerate(log) if event["type"] == "block.delta"]
    for place in data.draw(st.lists(st.sampled_from(deltas), max_size=3)) if deltas else []:
        again = {name: value for name, value in log[place].items() if name != "id"}
        log.insert(data.draw(st.integers(place, len(log))), again)
    assert sessions_after(log) == fold(log, "none")


@given(st.data())
def test_an_id_that_came_once_changes_nothing_when_it_comes_again(data):
    log = data.draw(logs("none"))
    store, stream = fresh()
    named = []
    for event in log:
        verdict = stream.ingest(event)
        if "id" in event and verdict.taken:
            named.append(event)
    store.flush()
    before, state = objects(store), store.state()
    for event in data.draw(st.permutations(named)):
        assert stream.ingest(event).kind == "duplicate"
        assert not store.flush()
    assert {**store.state(), "counts": 0} == {**state, "counts": 0}
    assert all(mine is other for mine, other in zip(objects(store), before, strict=True))


@given(st.data())
def test_a_repeated_id_counts_once_wherever_it_comes_again(data):
    log = data.draw(logs("none"))
    _, stream = fresh()
    taken = [stream.ingest(event).taken for event in log]  # what is refused leaves its id free
    named = [place for place, event in enumerate(log) if "id" in event and taken[place]]
    order = list(log)
    for place in data.draw(st.lists(st.sampled_from(named), max_size=4)) if named else []:
        at = order.index(log[place])
        order.insert(data.draw(st.integers(at + 1, len(order))), log[place])
    assert sessions_after(order) == fold(log, "none")


@given(st.data())
def test_parts_that_are_open_when_their_stream_ends_are_gapped(data):
    log = data.draw(logs("none"))
    cut = data.draw(st.integers(0, len(log)))
    store, stream = fresh()
    stream.ingest_many(log[:cut])
    stream.end()
    store.flush()
    assert store.state()["sessions"] == fold([*log[:cut], ENDED], "none")
    store.open("native", sequencing="none").ingest_many(log[cut:])
    store.flush()
    assert store.state()["sessions"] == fold([*log[:cut], ENDED, *log[cut:]], "none")


# -- L5: isolation ---------------------------------------------------------------------------------


@given(logs("none"))
def test_a_session_ends_the_same_whatever_comes_for_others_between(log):
    together = sessions_after(log)
    for session_id in ("s1", "s2"):
        alone = sessions_after([event for event in log if event["sessionId"] == session_id])
        assert alone == {name: together[name] for name in together if name == session_id}


def test_one_id_in_two_sessions_is_two_events():
    block = Block()
    assert block.take(OPENED, delta("a", id="e1"), delta("a", id="e1", sessionId="t")) == [
        "accepted",
        "accepted",
        "accepted",
    ]
    assert block.take(delta("a", id="e1"), delta("a", id="e1", sessionId="t")) == [
        "duplicate",
        "duplicate",
    ]
    assert block.store.part("t", "m", 0).text == block.text == "a"


# -- one rule at a time ----------------------------------------------------------------------------


def test_ids_are_forgotten_only_past_their_bound():
    block = Block(limits=Limits(event_ids=4))
    block.take(OPENED, *(delta(".", id=f"e{number}") for number in range(20)))
    assert (
        block.take(*(delta("?", id=f"e{number}") for number in range(16, 20))) == ["duplicate"] * 4
    )
    assert block.take(delta("!", id="e0")) == ["accepted"]
    assert block.text == "." * 20 + "!"


def test_what_was_refused_as_removed_is_the_same_event_below_a_new_opening():
    block = Block()
    block.take(OPENED, {"type": "block.removed", **KEY})
    assert block.take(delta("a", id="e1")) == ["removed"]
    assert block.take(OPENED, delta("a", id="e1")) == ["accepted", "duplicate"]
    assert block.text == ""


def test_a_part_that_is_first_seen_through_a_delta_may_lack_text():
    block = Block()
    block.take(delta("lo"))
    assert (block.text, block.part.gap) == ("lo", True)
    block.take({**OPENED, "tag": "t"}, delta(" world"))
    assert (block.text, block.part.gap, block.part.fields["tag"]) == ("lo world", True, "t")


def test_a_replace_that_brings_the_text_closes_the_gap_as_a_rewrite():
    block = Block()
    block.take(delta("lo"))
    heard = []
    block.store.subscribe(heard.append)
    block.take(replaced(text="Hello"))
    ((edit,),) = [list(changes.text.values()) for changes in heard]
    assert (edit.rewritten, edit.apply("lo"), block.part.gap) == (True, "Hello", False)


def test_a_replace_without_text_leaves_text_and_gap():
    block = Block()
    block.take(delta("lo"), replaced(x=1))
    assert (block.text, block.part.gap, block.part.fields["x"]) == ("lo", True, 1)


def test_a_replace_of_the_whole_text_refuses_later_deltas():
    block = Block()
    block.take(OPENED, delta("Hel"), replaced(text="Hello", whole=True))
    assert block.take(delta("lo")) == ["sealed"]
    assert block.text == "Hello"


def test_a_close_after_the_whole_text_refuses_later_deltas():
    block = Block()
    assert block.take(OPENED, delta("Hel"), replaced(text="Hello"), CLOSED, delta("lo")) == [
        *["accepted"] * 4,
        "sealed",
    ]
    assert (block.text, block.part.status) == ("Hello", "closed")


def test_a_delta_after_another_close_is_appended():
    block = Block()
    assert block.take(OPENED, delta("Hel"), CLOSED, delta("lo")) == ["accepted"] * 4
    assert (block.text, block.part.status, block.part.gap) == ("Hello", "closed", False)


def test_a_reconnect_keeps_text_and_says_that_some_may_be_missing():
    block = Block()
    block.take(OPENED, delta("Hel"))
    block.reconnect()
    assert (block.text, block.part.gap) == ("Hel", True)
    block.take(delta("d"))
    assert (block.text, block.part.gap) == ("Held", True)
    block.take(replaced(text="Hello world"), CLOSED)
    assert (block.text, block.part.gap, block.part.status) == ("Hello world", False, "closed")


def test_streamed_text_of_another_field_may_be_cut_too():
    block = Block()
    block.take({**OPENED, "kind": "tool"}, delta('{"a"', field="input"))
    block.reconnect()
    assert (block.part.field_text("input"), block.part.gap) == ('{"a"', True)


def test_a_stream_s_end_leaves_parts_of_other_streams_alone():
    block = Block()
    other = block.store.open("native", sequencing="none")
    block.take(OPENED, delta("a"))
    other.ingest({**OPENED, "blockIndex": 1})
    other.end()
    block.store.flush()
    assert block.part.gap is False
    assert block.store.part("s", "m", 1).gap is True


def test_deltas_of_a_removed_block_or_message_are_refused():
    block = Block()
    block.take(OPENED, delta("a"), {"type": "block.removed", **KEY})
    assert block.take(delta("b"), CLOSED) == ["removed", "removed"]
    block.take({"type": "message.removed", "sessionId": "s", "messageId": "m"})
    assert block.take(delta("b"), {**OPENED, "blockIndex": 1}) == ["removed", "removed"]
    assert (block.part, block.store.messages("s")) == (None, ())


def test_a_session_without_numbers_has_no_position_to_resume_from():
    block = Block()
    block.take(OPENED, delta("a"))
    assert dict(block.store.health.resume) == {}


def test_a_connection_that_ends_cuts_nothing_that_another_still_delivers():
    store = StreamStore(ticks="manual")
    first, second = (store.open("native", sequencing="none") for _ in "ab")
    first.ingest_many([{**OPENED, "kind": "text"}, delta("Hel")])
    second.ingest_many(
        [{**OPENED, "kind": "text"}, {**KEY, "type": "block.replaced", "text": "Hel"}]
    )
    first.end()
    second.ingest(delta("lo"))
    store.flush()
    assert not store.health.gaps
    second.end()
    store.flush()
    assert [gap.reason for gap in store.health.gaps] == ["cut"]


def test_a_strict_stream_that_stopped_is_stopped_after_a_load():
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="none", policy="strict")
    stream.ingest_many([delta("a"), {"type": "block.delta"}])
    loaded = StreamStore.load(json.loads(json.dumps(store.save())))
    again = loaded.open("native", sequencing="none", policy="strict")
    assert again.ingest(delta("b")).reason == stream.ingest(delta("b")).reason == "stopped"


@pytest.mark.parametrize("removed", ["message.removed", "block.removed"])
@pytest.mark.parametrize("how", ["by event", "by absence from a fetched state"])
def test_a_part_that_was_added_again_is_cut_when_the_stream_that_brings_it_ends(
    removed: str, how: str
):
    store = StreamStore(ticks="manual")
    first, second = (store.open("native", sequencing="none") for _ in range(2))
    where = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
    first.ingest_many(
        [{**where, "type": "message.opened", "role": "assistant"}, delta("half of the old one")]
    )
    if how == "by event":
        second.ingest({**where, "type": removed})
    else:
        token = store.begin_read("s")
        kept = [] if removed == "message.removed" else [{"info": {"id": "m"}, "parts": []}]
        fetch = {"type": "snapshot", "sessionId": "s", "messages": kept, "complete": True}
        second.ingest({**fetch, "readFrom": token})
    store.flush()
    assert store.part("s", "m", 0) is None
    second.ingest_many(
        [
            {**where, "type": "message.opened", "role": "assistant"},
            {**where, "type": "block.opened", "kind": "text"},
            delta("half of the new one"),
        ]
    )
    store.flush()
    assert store.health.gaps == ()
    second.end()  # `first` is open still, and brought nothing of the new one
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and (part.text, part.gap) == ("half of the new one", True)
    assert [gap.reason for gap in store.health.gaps] == ["cut"]


def test_a_part_that_two_streams_bring_is_cut_when_the_last_of_them_ends():
    store = StreamStore(ticks="manual")
    first, second = (store.open("native", sequencing="none") for _ in range(2))
    opened = {"type": "block.opened", "sessionId": "s", "messageId": "m", "blockIndex": 0}
    first.ingest_many([{**opened, "kind": "text"}, delta("a")])
    second.ingest(delta("b"))
    first.end()
    store.flush()
    assert store.health.gaps == ()
    second.end()
    store.flush()
    assert [gap.reason for gap in store.health.gaps] == ["cut"]
