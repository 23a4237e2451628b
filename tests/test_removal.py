"""L8: what a removal of a session, message or block leaves, and what brings it back."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from streamstore import Limits, StreamStore
from streamstore.adapters.native import NativeAdapter

Wire = dict[str, Any]


class Bench:
    """A store with one stream; events are of session `s`, message `m`, block 0."""

    def __init__(self, sequencing: str, **options: Any) -> None:
        self.store = StreamStore("native", ticks="manual", **options)
        self.stream = self.store.open("native", sequencing=sequencing)

    def take(self, type_: str, seq: int | None = None, **members: Any) -> str:
        event: Wire = {"type": type_, "sessionId": "s"}
        if type_.startswith(("message.", "block.")):
            event["messageId"] = "m"
        if type_.startswith("block."):
            event["blockIndex"] = 0
        if seq is not None:
            event["seq"] = seq
        verdict = self.stream.ingest({**event, **members})
        return f"{verdict.kind}:{verdict.reason}" if verdict.reason else verdict.kind

    def sessions(self) -> Wire:
        self.store.flush()
        return self.store.state()["sessions"]

    def messages(self) -> list[Wire]:
        return self.sessions().get("s", {}).get("messages", [])

    def parts(self) -> list[Wire]:
        return self.messages()[0].get("parts", [])

    def text(self) -> str | None:
        self.store.flush()
        part = self.store.part("s", "m", 0)
        return None if part is None else part.text


numbered = pytest.mark.parametrize("sequencing", ["session", "sparse"])
every = pytest.mark.parametrize("sequencing", ["session", "sparse", "none", "block"])
levels = pytest.mark.parametrize("level", ["block", "message", "session"])

STATE = {"status": "completed"}

#: What opens an entity of each level: a full event, which alone may add it again.
OPENS: dict[str, Wire] = {
    "block": {"type_": "block.opened", "kind": "text"},
    "message": {"type_": "message.opened", "role": "user"},
    "session": {"type_": "session.updated", "info": {"title": "t"}, "whole": True},
}


def build(bench: Bench, sequencing: str) -> int:
    """A session with a message with a part with a text; the last seq."""
    bench.take("session.updated", seq=1, info={"title": "t"})
    bench.take("message.opened", seq=2, role="user", info={"a": 1})
    bench.take("block.opened", seq=3, kind="text", title="t")
    bench.take("block.delta", seq=1 if sequencing == "block" else 4, text="old")
    assert bench.text() == "old"
    return 4


def remove(bench: Bench, level: str, seq: int | None) -> str:
    return bench.take(f"{level}.removed", seq=seq)


def there(bench: Bench, level: str) -> bool:
    sessions = bench.sessions()
    if level == "session" or "s" not in sessions:
        return "s" in sessions
    if level == "message" or not bench.messages():
        return bool(bench.messages())
    return bool(bench.parts())


# -- what a removal takes --------------------------------------------------------------------------


@every
@levels
def test_a_removal_takes_the_entity_and_all_below_it(sequencing, level):
    bench = Bench(sequencing)
    seq = build(bench, sequencing)
    assert remove(bench, level, seq + 1) == "accepted"
    changes = bench.store.flush()
    assert not there(bench, level)
    assert [len(key) for key in changes.removed] == [
        {"session": 1, "message": 2, "block": 3}[level]
    ]
    assert bench.store.part("s", "m", 0) is None
    assert bench.store.parts("s", "m") == ()


@every
@levels
def test_a_removal_twice_is_one(sequencing, level):
    bench = Bench(sequencing)
    seq = build(bench, sequencing)
    remove(bench, level, seq + 1)
    before = bench.sessions()
    remove(bench, level, seq + 1)
    assert not bench.store.flush()
    assert bench.sessions() == before


@every
@levels
def test_a_removal_before_creation_holds_for_what_lies_before_it(sequencing, level):
    bench = Bench(sequencing)
    assert remove(bench, level, 9) == "accepted"
    if sequencing == "none":
        return  # its position is its arrival
    assert bench.take(seq=5, **OPENS[level]) == "refused:removed"
    assert bench.take("block.delta", seq=6, text="x") == "refused:removed"
    assert not there(bench, level)


@every
@levels
def test_text_that_a_removal_took_is_counted_as_superseded(sequencing, level):
    bench = Bench(sequencing)
    seq = build(bench, sequencing)
    remove(bench, level, seq + 1)
    assert bench.store.health.counts["characters"] == {
        "accepted": 3,
        "received": 3,
        "superseded": 3,
    }


@every
@levels
def test_a_removal_in_the_tick_of_the_creation_shows_nothing_of_it(sequencing, level):
    bench = Bench(sequencing)
    bench.take("session.updated", seq=1, info={"title": "t"})
    bench.take("message.opened", seq=2, role="user")
    bench.take("block.delta", seq=1 if sequencing == "block" else 3, text="never")
    remove(bench, level, 4)
    changes = bench.store.flush()
    assert not changes.text
    assert not changes.removed
    assert not there(bench, level)


@every
@levels
def test_other_sessions_keep_theirs(sequencing, level):
    bench = Bench(sequencing)
    seq = build(bench, sequencing)
    bench.take("block.delta", seq=1, sessionId="t", text="kept")
    remove(bench, level, seq + 1)
    bench.store.flush()
    assert bench.store.part("t", "m", 0).text == "kept"


# -- streams with positions ------------------------------------------------------------------------


@numbered
@levels
def test_what_lies_before_the_removal_stays_removed(sequencing, level):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, level, 9)
    for seq, event in enumerate(
        (OPENS[level], {"type_": "block.delta", "text": "x"}, {"type_": "block.closed"}), start=5
    ):
        assert bench.take(seq=seq, **event) == "refused:removed"
    assert not there(bench, level)


@numbered
@levels
def test_what_has_no_position_stays_removed(sequencing, level):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, level, 9)
    assert bench.take(**OPENS[level]) == "refused:removed"
    assert bench.take("block.delta", text="x") == "refused:removed"
    assert not there(bench, level)


@numbered
@levels
def test_a_delta_above_the_removal_does_not_add_it_again(sequencing, level):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, level, 5)
    assert bench.take("block.delta", seq=6, text="x") == "held"
    assert bench.take("block.updated", seq=7, title="x") == "held"
    assert not there(bench, level)


@numbered
@levels
def test_a_full_event_above_the_removal_adds_it_anew_and_empty(sequencing, level):
    bench = Bench(sequencing)
    build(bench, sequencing)
    bench.take("block.closed", seq=5)
    bench.take("message.closed", seq=6, status="error", error={"a": 1})
    remove(bench, level, 7)
    assert bench.take(seq=8, **OPENS[level]) == "accepted"
    assert there(bench, level)
    if level == "block":
        assert bench.parts() == [{"blockIndex": 0, "kind": "text", "status": "closed"}]
    elif level == "message":
        assert bench.messages() == [{"id": "m", "role": "user", "status": "open"}]
    else:
        assert bench.sessions() == {"s": {"info": {"title": "t"}}}
    bench.take("message.opened", seq=9, role="user")
    bench.take("block.delta", seq=10, text="new")
    assert bench.text() == "new"


@numbered
@levels
def test_a_removal_that_comes_after_the_full_event_above_it_takes_only_what_is_below(
    sequencing, level
):
    bench = Bench(sequencing)
    build(bench, sequencing)
    bench.take(seq=6, **OPENS[level])
    bench.take("block.delta", seq=7, text="new")
    assert bench.text() == "oldnew"
    assert remove(bench, level, 5) == "late"
    assert bench.text() == "new"
    assert "title" not in bench.parts()[0]


@numbered
@levels
def test_what_waited_for_the_full_event_is_shown_when_it_comes_late(sequencing, level):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, level, 5)
    bench.take("block.delta", seq=8, text="b")
    bench.take("block.delta", seq=7, text="a")
    assert not there(bench, level)
    assert bench.take(seq=6, **OPENS[level]) in ("accepted", "late")
    assert bench.text() == "ab"


@numbered
@levels
def test_a_full_event_does_not_bring_back_what_came_between_it_and_the_removal(sequencing, level):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, level, 5)
    bench.take("block.delta", seq=6, text="between")
    bench.take(seq=7, **OPENS[level])
    bench.take("block.delta", seq=8, text="after")
    assert bench.text() == "after"


@numbered
def test_a_block_comes_back_with_another_kind(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "block", 5)
    assert bench.take("block.opened", seq=6, kind="tool", state={"status": "pending"}) == "accepted"
    assert bench.parts() == [
        {"blockIndex": 0, "kind": "tool", "state": {"status": "pending"}, "status": "open"}
    ]


@numbered
def test_a_tool_that_comes_back_starts_with_its_lowest_state(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", seq=1, kind="tool", state={"status": "completed"})
    remove(bench, "block", 2)
    bench.take("block.opened", seq=3, kind="tool", state={"status": "pending"})
    assert bench.parts()[0]["state"] == {"status": "pending"}


@numbered
def test_a_tool_that_comes_back_keeps_its_state_when_the_removal_comes_late(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", seq=1, kind="tool", state={"status": "completed"})
    bench.take("block.opened", seq=3, kind="tool", state={"status": "pending"})
    remove(bench, "block", 2)
    assert bench.parts()[0]["state"] == {"status": "pending"}


@numbered
def test_a_block_that_a_whole_replace_adds_again_has_its_text(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "block", 5)
    assert bench.take("block.replaced", seq=6, text="no") == "held"
    assert bench.take("block.replaced", seq=7, text="new", whole=True) == "accepted"
    assert bench.text() == "new"


@numbered
@pytest.mark.parametrize("type_", ["block.updated", "block.replaced"])
def test_an_update_adds_again_only_if_it_is_whole(sequencing, type_):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "block", 5)
    bench.take(type_, seq=6, title="x")
    assert not there(bench, "block")
    bench.take(type_, seq=7, title="y", whole=True)
    assert bench.parts()[0]["title"] == "y"


@numbered
def test_a_message_is_added_again_only_by_a_whole_update(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "message", 5)
    bench.take("message.updated", seq=6, info={"b": 1})
    assert not there(bench, "message")
    bench.take("message.updated", seq=7, info={"c": 1}, whole=True)
    assert bench.messages() == [{"id": "m", "info": {"c": 1}, "status": "open"}]


@numbered
def test_a_session_is_added_again_only_by_a_whole_update(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "session", 5)
    bench.take("session.updated", seq=6, info={"b": 1})
    bench.take("session.status", seq=7, status="busy")
    bench.take("message.opened", seq=8, role="user")
    assert bench.sessions() == {}
    bench.take("session.updated", seq=9, info={"c": 1}, whole=True)
    assert bench.sessions() == {"s": {"info": {"c": 1}}}


@numbered
def test_a_part_of_a_removed_message_needs_its_message_first(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "message", 5)
    assert bench.take("block.opened", seq=6, kind="text") == "held"
    assert bench.messages() == []
    bench.take("message.opened", seq=7, role="user")
    assert bench.messages() == [{"id": "m", "role": "user", "status": "open"}]
    bench.take("block.opened", seq=8, kind="text")
    assert [part["blockIndex"] for part in bench.parts()] == [0]


@numbered
def test_a_message_that_was_added_anew_has_no_tombstones_of_before(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "block", 5)
    remove(bench, "message", 6)
    bench.take("message.opened", seq=7, role="user")
    bench.take("block.delta", seq=8, text="new")
    assert bench.text() == "new"


@numbered
def test_an_older_removal_changes_nothing(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "message", 9)
    assert remove(bench, "message", 8) == "refused:removed"
    bench.take("message.opened", seq=10, role="user")
    assert remove(bench, "message", 7) == "refused:removed"
    assert there(bench, "message")


@numbered
def test_many_full_events_above_a_removal_do_not_raise_its_bound(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=2))
    remove(bench, "message", 1)
    bench.take("message.opened", seq=2, role="user", order=1)
    bench.take("block.delta", seq=3, text="kept")
    for seq in range(4, 12):
        bench.take("message.updated", seq=seq, info={"n": seq}, whole=True)
    assert bench.text() == "kept"
    assert bench.messages()[0]["role"] == "user"


@numbered
@levels
def test_what_waits_for_a_full_event_is_bounded(sequencing, level):
    bench = Bench(sequencing, limits=Limits(late_window=3))
    remove(bench, level, 1)
    verdicts = [bench.take("block.delta", seq=seq, text="x") for seq in range(2, 9)]
    assert verdicts[:2] == ["held", "held"]
    assert set(verdicts[3:]) == {"refused:over_limit"}
    assert "s" in bench.store.health.resync


@numbered
def test_a_message_removed_without_a_position_comes_back_with_a_full_event(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    remove(bench, "message", None)
    assert bench.take("block.delta", seq=5, text="x") == "refused:removed"
    assert bench.take("message.opened", seq=6, role="user") == "accepted"
    assert bench.messages() == [{"id": "m", "role": "user", "status": "open"}]


# -- streams without seq ---------------------------------------------------------------------------


@levels
def test_without_seq_a_full_event_adds_it_again_and_a_delta_does_not(level):
    bench = Bench("none")
    build(bench, "none")
    remove(bench, level, None)
    assert bench.take("block.delta", text="x") == "refused:removed"
    assert not there(bench, level)
    assert bench.take(**OPENS[level]) == "accepted"
    assert there(bench, level)
    bench.take("message.opened", role="user")
    bench.take("block.opened", kind="text")
    bench.take("block.delta", text="new")
    assert bench.text() == "new"
    assert bench.parts() == [{"blockIndex": 0, "kind": "text", "status": "open", "text": "new"}]


def test_without_seq_only_a_whole_update_adds_again():
    bench = Bench("none")
    build(bench, "none")
    remove(bench, "message", None)
    assert bench.take("message.updated", info={"a": 2}) == "refused:removed"
    assert bench.take("message.updated", info={"a": 3}, whole=True) == "accepted"
    assert bench.messages() == [{"id": "m", "info": {"a": 3}, "status": "open"}]


def test_without_seq_a_part_of_a_removed_message_needs_its_message_first():
    bench = Bench("none")
    build(bench, "none")
    remove(bench, "message", None)
    assert bench.take("block.opened", kind="text") == "refused:removed"
    bench.take("message.opened", role="user")
    assert bench.take("block.opened", kind="text") == "accepted"


class OrderedIds(NativeAdapter):
    """A protocol whose event ids are unique and sort in the order the server made them."""

    declaration = NativeAdapter.declaration.__class__(
        name="ordered", sequencing="none", ids_unique=True, ids_ordered=True
    )


def test_where_event_ids_are_ordered_they_are_the_position_of_a_removal():
    bench = Bench("none")
    bench.stream._adopt(OrderedIds)
    bench.take("message.opened", id="e1", role="user")
    bench.take("message.removed", id="e5")
    assert bench.take("message.opened", id="e3", role="user") == "refused:removed"
    assert bench.take("message.opened", id="e7", role="user") == "accepted"
    assert there(bench, "message")


# -- block streams ---------------------------------------------------------------------------------


@levels
def test_in_a_block_stream_a_removal_is_final(level):
    bench = Bench("block")
    build(bench, "block")
    remove(bench, level, None)
    for seq in (None, 99):
        assert bench.take(seq=seq, **OPENS[level]) == "refused:removed"
        assert bench.take("message.updated", seq=seq, info={}, whole=True).startswith(
            "refused" if level != "block" else "accepted"
        )
        assert bench.take("block.updated", seq=seq, whole=True) == "refused:removed"
    assert bench.take("block.delta", seq=2, text="x") == "refused:removed"
    assert bench.take("block.snapshot", seq=7, text="x") == "refused:removed"
    assert not there(bench, level)


@levels
def test_in_a_block_stream_no_snapshot_brings_back_what_was_removed(level):
    bench = Bench("block")
    build(bench, "block")
    remove(bench, level, None)
    bench.store.flush()
    token = bench.store.begin_read("s")
    part = {"blockIndex": 0, "kind": "text", "text": "back", "status": "closed"}
    for more in ({}, {"seq": 5}):
        bench.take(
            "snapshot",
            readFrom=token,
            messages=[{"info": {"id": "m", "role": "user"}, "parts": [{**part, **more}]}],
        )
        assert not there(bench, level)


@levels
def test_in_a_block_stream_a_removal_drops_what_it_held(level):
    bench = Bench("block")
    build(bench, "block")
    bench.take("block.delta", seq=3, text="held")
    remove(bench, level, None)
    assert bench.store.health.counts["held"] == {"evicted": 1}
    assert bench.store.health.counts["characters"]["superseded"] == len("old") + len("held")
    bench.store.flush()
    assert bench.store.health.gaps == ()


# -- by absence from a complete snapshot -----------------------------------------------------------


@numbered
def test_absence_from_a_complete_snapshot_leaves_a_tombstone_at_its_position(sequencing):
    bench = Bench(sequencing)
    build(bench, sequencing)
    bench.take("snapshot", seq=9, messages=[], complete=True)
    assert bench.messages() == []
    assert bench.take("message.opened", seq=8, role="user") == "duplicate"
    assert bench.take("block.delta", seq=10, text="x") == "held"
    assert bench.take("message.opened", role="user") == "refused:removed"
    assert bench.messages() == []
    assert bench.take("message.opened", seq=11, role="user") == "accepted"
    assert bench.messages() == [{"id": "m", "role": "user", "status": "open"}]


def test_absence_in_a_block_stream_is_final():
    bench = Bench("block")
    build(bench, "block")
    token = bench.store.begin_read("s")
    bench.take("snapshot", messages=[], complete=True, readFrom=token)
    assert bench.messages() == []
    assert bench.take("message.opened", role="user") == "refused:removed"


def test_absence_without_seq_leaves_what_a_full_event_adds_again():
    bench = Bench("none")
    build(bench, "none")
    token = bench.store.begin_read("s")
    bench.take("snapshot", messages=[], complete=True, readFrom=token)
    assert bench.messages() == []
    assert bench.take("block.delta", text="x") == "refused:removed"
    assert bench.take("message.opened", role="user") == "accepted"
    assert bench.messages() == [{"id": "m", "role": "user", "status": "open"}]


# -- bounds ----------------------------------------------------------------------------------------


@numbered
def test_forgotten_tombstones_leave_a_floor(sequencing):
    bench = Bench(sequencing, limits=Limits(tombstones=1))
    bench.take("message.removed", seq=5, messageId="a")
    bench.take("message.removed", seq=6, messageId="b")
    assert bench.take("message.opened", seq=4, messageId="a", role="user") == "refused:evicted"
    assert bench.take("message.opened", seq=3, messageId="b", role="user") == "refused:removed"
    assert bench.take("message.opened", seq=7, messageId="a", role="user") == "accepted"


@numbered
def test_below_the_floor_a_snapshot_restores(sequencing):
    bench = Bench(sequencing, limits=Limits(tombstones=1))
    bench.take("message.removed", seq=5, messageId="a")
    bench.take("message.removed", seq=6, messageId="b")
    bench.take("snapshot", seq=4, messages=[{"info": {"id": "a", "role": "user"}, "parts": []}])
    assert [message["id"] for message in bench.messages()] == ["a"]


# -- other entities of a removed one ---------------------------------------------------------------


def test_a_result_for_a_removed_tool_waits_for_the_call_to_be_known_again():
    bench = Bench("none")
    bench.take("block.opened", kind="tool", callId="c")
    remove(bench, "message", None)
    bench.store.flush()
    bench.take("tool.result", callId="c", fields={"state": {"status": "completed"}})
    assert not bench.store.flush()
    bench.take("message.opened", role="assistant")
    bench.take("block.opened", kind="tool", callId="c")
    assert bench.parts()[0]["state"] == {"status": "completed"}


@numbered
@pytest.mark.parametrize("event", ["block.removed", "message.removed", "message.reset"])
def test_a_result_meets_its_call_again_in_any_order_behind_a_removal(
    sequencing: str, event: str
) -> None:
    rest: list[Wire] = [
        {"type_": "block.opened", "seq": 4, "kind": "tool", "callId": "c"},
        {"type_": "tool.result", "seq": 5, "callId": "c", "fields": {"state": STATE}},
    ]
    if event != "block.removed":
        rest.append({"type_": "message.opened", "seq": 3, "role": "assistant"})
    for order in permutations(rest):
        bench = Bench(sequencing)
        bench.take("block.opened", 1, kind="tool", callId="c")
        bench.take(event, 2)
        for wire in order:
            assert bench.take(**wire) in ("accepted", "late", "held")
        assert bench.parts()[0]["state"] == STATE, order


@numbered
@pytest.mark.parametrize(
    ("events", "told"),
    [
        pytest.param(
            [
                {"type_": "block.removed", "seq": 1},
                {"type_": "block.opened", "seq": 2, "kind": "tool", "callId": "c"},
                {"type_": "block.replaced", "seq": 3, "input": "16a", "text": "t"},
                {"type_": "block.delta", "seq": 4, "field": "input", "text": "17"},
                {"type_": "block.opened", "seq": 5, "kind": "tool", "callId": "c"},
            ],
            {"text": "t", "input": "16a17"},
            id="a field that is set beside the text",
        ),
        pytest.param(
            [
                {"type_": "block.removed", "seq": 1},
                {"type_": "block.replaced", "seq": 2, "whole": True, "kind": "tool", "text": "e"},
                {"type_": "block.replaced", "seq": 3, "text": "h", "input": "i"},
                {"type_": "block.opened", "seq": 4, "kind": "tool", "callId": "c"},
                {"type_": "block.delta", "seq": 5, "field": "input", "text": "j"},
            ],
            {"text": "h", "input": "ij"},
            id="a text that is set twice",
        ),
    ],
)
def test_what_set_a_text_sets_it_in_any_order_of_the_openings_behind_a_removal(
    sequencing: str, events: list[Wire], told: Wire
) -> None:
    for order in permutations(events):
        bench = Bench(sequencing)
        for wire in order:
            bench.take(**wire)
        (part,) = bench.parts()
        assert {name: part[name] for name in told} == told, order


@every
def test_gaps_go_with_what_is_removed(sequencing):
    bench = Bench(sequencing)
    if sequencing == "block":
        bench.take("block.delta", seq=2, text="b")
    else:
        bench.take("message.opened", seq=1, role="user")
        bench.take("block.delta", seq=2 if sequencing == "session" else None, text="b")
    bench.store.flush()
    remove(bench, "message", 3)
    assert bench.sessions() == {"s": {}}
    assert bench.store.health.gaps == ()


@numbered
@levels
@pytest.mark.parametrize("close", ["message", "block"])
@pytest.mark.parametrize("text", ["block.delta", "block.replaced"])
def test_a_half_shown_at_an_end_that_a_late_removal_undid_waits_again(
    sequencing: str, level: str, text: str, close: str
) -> None:
    bench = Bench(sequencing)
    ended = {"status": "completed"} if close == "message" else {}
    bench.take(f"{close}.closed", 1, **ended)
    bench.take("session.updated", 3, info={}, whole=True)
    bench.take("message.opened", 4, role="assistant")
    bench.take("block.opened", 5, kind="text")
    bench.take(text, 6, text="ab\ud83d")
    assert bench.text() == "ab\ufffd"
    whole = level != "block" or close != "message"
    bench.take(f"{level}.removed", 2)
    assert bench.text() == ("ab" if whole else "ab\ufffd")
    bench.take("block.delta", 7, text="\ude00")
    assert bench.text() == "ab\U0001f600"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.removed"},
        {"type": "message.removed", "messageId": "m"},
        {"type": "block.removed", "messageId": "m", "blockIndex": 0},
        {"type": "message.reset", "messageId": "m"},
        {"type": "block.snapshot", "messageId": "m", "blockIndex": 0, "text": "S"},
        {"type": "tool.result", "callId": "c", "fields": {"input": "S"}},
    ],
    ids=lambda event: event["type"],
)
def test_what_a_late_event_finds_in_the_window_depends_on_no_tick(event: Wire) -> None:
    found = []
    for ticks in (True, False):
        bench = Bench("sparse", limits=Limits(late_window=4))
        bench.take("block.opened", 1, kind="tool", callId="c")
        field = "input" if event["type"] == "tool.result" else "text"
        for seq in range(20, 110, 10):
            bench.take("block.delta", seq, text=str(seq // 10), field=field)
            if ticks and seq == 90:
                bench.store.flush()
        bench.stream.ingest({"sessionId": "s", "seq": 55, **event})
        for seq, level in enumerate(("session", "message", "block"), 56):
            if event["type"] == f"{level}.removed":
                bench.take(seq=seq, **OPENS[level])
        found.append((bench.sessions(), bench.store.health.gaps, dict(bench.store.resync)))
    assert found[0] == found[1]


@numbered
@pytest.mark.parametrize("whole_at", [None, 5, 20])
@pytest.mark.parametrize("late", ["opening", "removal", "whole update"])
def test_a_kind_that_nobody_knows_keeps_its_name_in_every_order(sequencing, late, whole_at) -> None:
    bench = Bench(sequencing)
    events = {
        "removal": ("block.removed", 8, {}),
        "opening": ("block.opened", 10, {"kind": "hologram"}),
        "whole update": ("block.updated", whole_at, {"whole": True}),
    }
    if whole_at is None:
        del events["whole update"]
    for name in sorted(events, key=lambda name: (name == late, events[name][1])):
        type_, seq, members = events[name]
        bench.take(type_, seq, **members)
    assert [(part["kind"], part.get("originalKind")) for part in bench.parts()] == [
        ("unknown", "hologram")
    ]


@numbered
def test_the_name_of_a_kind_goes_with_what_said_it(sequencing: str) -> None:
    bench = Bench(sequencing)
    bench.take("message.reset", 2)
    bench.take("block.delta", 3, text="new")
    bench.take("block.opened", 1, kind="hologram")
    assert bench.parts() == [{"blockIndex": 0, "kind": "text", "status": "open", "text": "new"}]


@numbered
@pytest.mark.parametrize("level", ["block", "message"])
@pytest.mark.parametrize("order", ["read first", "delta first", "removal last"])
def test_a_removal_that_a_fetched_state_stands_for_still_leaves_its_tombstone(
    sequencing: str, level: str, order: str
) -> None:
    bench = Bench(sequencing)
    held = [{"id": "m", "role": "user", "parts": []}] if level == "block" else []
    read = {"type": "snapshot", "sessionId": "s", "seq": 3, "complete": True, "messages": held}
    steps = {
        "read": lambda: bench.stream.ingest(read),
        "removal": lambda: bench.take(f"{level}.removed", 2),
        "delta": lambda: bench.take("block.delta", 5, text="straggler"),
    }
    orders = {
        "read first": ("read", "removal", "delta"),
        "delta first": ("delta", "read", "removal"),
        "removal last": ("read", "delta", "removal"),
    }
    for name in orders[order]:
        steps[name]()
    assert bench.text() is None
    assert bench.take(f"{level}.removed", 2) == "duplicate"
    bench.take(seq=4, **OPENS[level])
    assert bench.text() == "straggler"


@numbered
def test_a_removal_before_what_a_fetched_state_holds_takes_nothing_of_it(sequencing: str) -> None:
    bench = Bench(sequencing)
    part = {"blockIndex": 0, "kind": "text", "text": "there", "status": "open"}
    messages = [{"id": "m", "role": "user", "parts": [part]}]
    bench.stream.ingest(
        {"type": "snapshot", "sessionId": "s", "seq": 3, "complete": True, "messages": messages}
    )
    assert bench.take("block.removed", 2) == "duplicate"
    assert bench.take("message.removed", 1) == "duplicate"
    bench.take("block.delta", 5, text=" still")
    assert bench.text() == "there still"


def test_a_read_that_says_a_removal_again_takes_no_text_behind_it():
    bench = Bench("session", limits=Limits(late_window=2))
    bench.take("block.removed", 11)
    bench.take("block.opened", 25, kind="text")
    for seq in range(26, 32):
        bench.take("block.delta", seq, text=f"{seq} ")
    message = {"id": "m", "role": "assistant", "status": "open", "parts": []}
    bench.take("snapshot", messages=[message], info={}, seq=12, complete=True)
    (part,) = bench.parts()
    assert part["text"] == "26 27 28 29 30 31 "


def test_a_hole_that_is_given_up_because_a_read_left_one_too_many_is_no_gap_any_more():
    bench = Bench("session", limits=Limits(held_operations=1))
    bench.take("message.opened", 52, role="user")
    bench.take("snapshot", messages=[], info={}, seq=5, complete=True)
    bench.store.flush()
    (gap,) = bench.store.health.gaps
    assert gap.missing == ((6, 51),)
    bench.take("message.closed", 53)
    bench.store.flush()
    assert bench.store.health.gaps == ()


# -- what a session shares and asks ----------------------------------------------------------------


def any_order(events: list[Wire], sequencing: str) -> set[str]:
    """What a session says of itself at the end of each order of some events."""
    found = set()
    for order in permutations(events):
        bench = Bench(sequencing)
        for event in order:
            bench.take(**event)
        found.add(repr(bench.sessions().get("s")))
    return found


def of_session(seq: int, type_: str, **members: Any) -> Wire:
    return {"seq": seq, "type_": f"session.{type_}", **members}


@numbered
def test_a_shared_state_counts_behind_an_opening_that_comes_late(sequencing):
    events = [
        of_session(1, "removed"),
        of_session(2, "updated", whole=True),
        of_session(3, "state", state={"a": [3]}),
        of_session(4, "updated", whole=True),
        of_session(5, "state", patch=[{"op": "add", "path": "/a/-", "value": 5}]),
    ]
    assert any_order(events, sequencing) == {"{'state': {'a': [3, 5]}}"}


@numbered
def test_no_patch_brings_back_what_was_shared_before_the_session_was_opened_again(sequencing):
    events = [
        of_session(1, "removed"),
        of_session(2, "state", state={"a": [2]}),
        of_session(3, "updated", whole=True),
        of_session(4, "state", patch=[{"op": "add", "path": "/a/-", "value": 4}]),
        of_session(5, "state", patch=[{"op": "add", "path": "/a/-", "value": 5}]),
    ]
    assert any_order(events, sequencing) == {"{}"}


@numbered
def test_a_patch_without_seq_goes_on_from_what_a_session_shares_anew(sequencing):
    bench = Bench(sequencing)
    bench.take("session.removed", seq=1)
    bench.take("session.updated", seq=3, whole=True)
    bench.take("session.state", patch=[{"op": "add", "path": "", "value": {"a": 0}}])
    bench.take("session.state", seq=4, patch=[{"op": "add", "path": "/b", "value": 4}])
    bench.take("session.state", seq=5, patch=[{"op": "add", "path": "/c", "value": 5}])
    bench.take("session.updated", seq=2, whole=True)
    assert bench.sessions() == {"s": {"state": {"a": 0, "b": 4, "c": 5}}}


@numbered
@pytest.mark.parametrize("what", ["permission", "question"])
def test_what_is_asked_again_above_a_removal_of_the_session_is_open(sequencing, what):
    asked = {"type_": f"{what}.asked", "id": "r"}
    events = [
        {**asked, "seq": 1},
        of_session(2, "removed"),
        of_session(3, "updated", whole=True),
        {**asked, "seq": 4},
    ]
    assert any_order(events, sequencing) == {f"{{'{what}s': {{'r': {{'id': 'r'}}}}}}"}


@numbered
@pytest.mark.parametrize("what", ["permission", "question"])
def test_a_late_answer_takes_nothing_from_the_last_one(sequencing, what):
    bench = Bench(sequencing)
    bench.take(f"{what}.replied", seq=6, id="r")
    bench.take(f"{what}.replied", seq=1, id="r")
    bench.take("session.removed", seq=3)
    bench.take("session.updated", seq=4, whole=True)
    bench.take(f"{what}.asked", seq=5, id="r")
    assert bench.sessions() == {"s": {}}


@numbered
def test_a_shared_state_without_seq_goes_with_its_session(sequencing):
    bench = Bench(sequencing)
    bench.take("session.state", state={"a": 1})
    bench.take("session.removed", seq=5)
    bench.take("session.updated", seq=6, whole=True)
    assert bench.sessions() == {"s": {}}


@numbered
def test_more_patches_than_the_window_holds_bring_no_removed_state_back(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=2))
    bench.take("session.removed", seq=1)
    bench.take("session.updated", seq=4, whole=True)
    bench.take("session.state", seq=2, state={"a": 2})
    for seq in (5, 6, 8, 9, 7):
        bench.take("session.state", seq=seq, patch=[{"op": "add", "path": f"/{seq}", "value": 0}])
    assert bench.sessions() == {"s": {}}


@numbered
@pytest.mark.parametrize("again", [False, True])
def test_an_answer_of_the_counter_that_ended_closes_nothing_above_a_removal(sequencing, again):
    bench = Bench(sequencing)
    bench.take("stream.opened", generation="g1")
    bench.take("permission.replied", seq=1000, id="r")
    bench.take("stream.opened", generation="g2")
    if again:
        bench.take("permission.replied", seq=5, id="r")
    bench.take("session.removed", seq=8)
    bench.take("session.updated", seq=9, whole=True)
    bench.take("permission.asked", seq=10, id="r")
    assert bench.sessions() == {"s": {"permissions": {"r": {"id": "r"}}}}


@numbered
def test_an_answer_without_seq_that_comes_first_answers(sequencing):
    bench = Bench(sequencing)
    bench.take("permission.replied", id="r")
    bench.take("permission.asked", seq=5, id="r")
    assert bench.sessions() == {"s": {}}


@numbered
def test_what_came_without_seq_stays_where_an_opening_comes_late(sequencing):
    bench = Bench(sequencing)
    bench.take("session.removed", seq=1)
    bench.take("session.updated", seq=4, whole=True)
    bench.take("session.status", status="busy")
    bench.take("message.opened", seq=5, role="user")
    bench.take("message.updated", info={"note": 1})
    bench.take("session.updated", seq=3, whole=True)
    session = bench.sessions()["s"]
    assert session["status"] == {"type": "busy"}
    assert session["messages"][0]["info"] == {"note": 1}
