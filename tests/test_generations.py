"""Contract section 3, generations: what a restart of the server's counter changes, and what not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamstore import Limits, StreamStore

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
        event.update(members)
        verdict = self.stream.ingest({k: v for k, v in event.items() if v is not ...})
        return f"{verdict.kind}:{verdict.reason}" if verdict.reason else verdict.kind

    def delta(self, seq: int | None, text: str, **members: Any) -> str:
        return self.take("block.delta", seq, text=text, **members)

    def opened(self, generation: str, **members: Any) -> str:
        return self.take("stream.opened", generation=generation, **members)

    def session(self) -> Wire:
        self.store.flush()
        return self.store.state()["sessions"].get("s", {})

    def part(self) -> Any:
        self.store.flush()
        return self.store.part("s", "m", 0)

    def text(self) -> str:
        return self.part().text


every = pytest.mark.parametrize("sequencing", ["session", "sparse", "block", "none"])
counted = pytest.mark.parametrize("sequencing", ["session", "sparse", "block"])
numbered = pytest.mark.parametrize("sequencing", ["session", "sparse"])


def old_text(bench: Bench) -> None:
    """A first generation whose counter ran to 3."""
    bench.opened("one")
    for seq, text in enumerate("abc", start=1):
        bench.delta(seq, text)
    assert bench.text() == "abc"


# -- tokens ----------------------------------------------------------------------------------------


@every
def test_events_of_the_generation_that_is_open_need_no_second_look(sequencing):
    bench = Bench(sequencing)
    bench.opened("one")
    assert bench.delta(1, "a", generation="one") == "accepted"
    assert bench.delta(2, "b") == "accepted"
    assert bench.text() == "ab"


@every
def test_a_token_seen_before_is_stale(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    assert bench.delta(4, "d", generation="one") == "refused:stale_generation"
    assert bench.take("message.removed", 5, generation="one") == "refused:stale_generation"
    assert bench.opened("one") == "refused:stale_generation"
    assert bench.text() == "abc"
    assert bench.store.health.counts["characters"]["stale_generation"] == 1


@every
def test_an_unknown_token_waits_for_its_opening(sequencing):
    bench = Bench(sequencing)
    bench.opened("one")
    assert bench.delta(1, "x", generation="two") == "held"
    assert bench.delta(2, "y", generation="two") == "held"
    assert bench.session() == {}
    bench.opened("two")
    assert bench.text() == "xy"
    assert bench.store.health.counts["held"] == {"filled": 2}


@every
def test_what_waits_for_an_opening_is_bounded(sequencing):
    bench = Bench(sequencing, limits=Limits(pending_results=1))
    bench.opened("one")
    assert bench.delta(1, "x", generation="two") == "held"
    assert bench.delta(2, "y", generation="two") == "refused:over_limit"
    bench.opened("two")
    assert bench.delta(2, "y", generation="two") == "accepted"
    assert bench.text() == "xy"


@every
def test_opening_the_same_generation_again_changes_nothing(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    before = bench.part()
    assert bench.opened("one") == "accepted"
    if sequencing != "none":
        assert bench.delta(2, "b") == "duplicate"
    assert bench.part() is before
    assert not before.previous
    assert not bench.store.health.resync


@every
def test_a_stream_may_be_opened_with_its_generation(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    bench.stream = bench.store.open("native", sequencing=sequencing, generation="two")
    assert bench.delta(9, "z", generation="one") == "refused:stale_generation"
    assert bench.part().previous


@every
def test_a_generation_of_one_session_leaves_the_others(sequencing):
    bench = Bench(sequencing)
    for session_id in ("s", "t"):
        bench.opened("one", sessionId=session_id)
        bench.delta(1, "a", sessionId=session_id)
    bench.opened("two", sessionId="s")
    bench.store.flush()
    assert bench.store.part("s", "m", 0).previous
    assert not bench.store.part("t", "m", 0).previous
    assert bench.delta(2, "b", sessionId="t", generation="one") == "accepted"


@every
def test_a_generation_of_no_session_is_of_all_also_of_those_to_come(sequencing):
    bench = Bench(sequencing)
    bench.opened("one", sessionId=...)
    bench.delta(1, "a")
    bench.opened("two", sessionId=...)
    assert bench.part().previous
    assert bench.delta(1, "x", sessionId="new", generation="two") == "accepted"


@every
def test_a_stale_opening_is_not_what_sessions_to_come_begin_with(sequencing):
    bench = Bench(sequencing)
    bench.delta(1, "a")
    bench.opened("one", sessionId=...)
    bench.opened("two", sessionId=...)
    assert bench.opened("one", sessionId=...) == "refused:stale_generation"
    assert bench.delta(1, "x", sessionId="new", generation="two") == "accepted"


@counted
def test_a_backward_seq_alone_proves_nothing(sequencing):
    bench = Bench(sequencing)
    for seq in (1, 2, 3):
        bench.delta(seq, str(seq))
    assert bench.delta(1, "new") == "duplicate"
    assert bench.text() == "123"
    assert not bench.part().previous


# -- what a change takes ---------------------------------------------------------------------------


@counted
def test_marks_go_and_the_counter_starts_again(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    bench.take("block.opened", 1, kind="text")
    first = 1 if sequencing == "block" else 2
    for place, text in enumerate("xyz"):
        assert bench.delta(first + place, text) == "accepted"
    assert bench.text() == "xyz"
    assert bench.delta(first, "x") == "duplicate"


def test_holds_of_a_block_stream_go():
    bench = Bench("block")
    old_text(bench)
    bench.delta(5, "held")
    bench.store.flush()
    assert bench.store.health.gaps
    bench.opened("two")
    bench.store.flush()
    assert not bench.store.health.gaps
    assert bench.store.health.counts["held"] == {"evicted": 1}
    bench.delta(1, "x")
    assert bench.text() == "x"


@every
def test_results_that_wait_for_their_call_go(sequencing: str) -> None:
    bench = Bench(sequencing)
    bench.opened("one")
    number = [7, 1, 2] if sequencing in ("session", "sparse") else [None] * 3
    fields = {"state": {"status": "error"}, "output": "old"}
    assert bench.take("tool.result", number[0], callId="c", fields=fields) == "held"
    bench.opened("two")
    bench.take("block.opened", number[1], kind="tool", callId="c")
    assert "output" not in bench.part().fields
    fields = {"state": {"status": "completed"}, "output": "new"}
    assert bench.take("tool.result", number[2], callId="c", fields=fields) == "accepted"
    assert bench.part().fields["output"] == "new"
    assert bench.store.health.counts["held"]["evicted"] == 1


@every
@pytest.mark.parametrize("seq", [1, None])
@pytest.mark.parametrize("by", ["block.updated", "tool.result"])
def test_the_state_of_a_tool_that_the_old_generation_knew_holds_back_no_new_one(
    sequencing: str, seq: int | None, by: str
) -> None:
    """In `none` it did: a call that ran anew was shown as completed, with the new output."""

    def said(state: str, seq: int | None) -> str:
        fields = {"state": {"status": state}}
        where = {"callId": "c", "fields": fields} if by == "tool.result" else fields
        return bench.take(by, None if sequencing == "none" else seq, **where)

    bench = Bench(sequencing)
    bench.opened("one")
    bench.take("block.opened", 1 if sequencing != "none" else None, kind="tool", callId="c")
    assert said("completed", 2) == "accepted"
    assert said("running", 3) == "refused:rank"
    bench.opened("two")
    assert bench.part().fields["state"] == {"status": "completed"}
    assert said("running", seq) == "accepted"
    assert bench.part().fields["state"] == {"status": "running"}
    assert said("pending", None if seq is None else seq + 1) == "refused:rank"
    assert bench.part().fields["state"] == {"status": "running"}


def test_the_holes_of_a_session_stream_go():
    bench = Bench("session")
    old_text(bench)
    bench.delta(7, "g")
    bench.store.flush()
    assert bench.store.health.resume["sessions"] == {"s": 3}
    bench.opened("two")
    bench.take("block.opened", 1, kind="text")
    bench.delta(2, "x")
    bench.store.flush()
    assert not bench.store.health.gaps
    assert bench.store.health.resume["sessions"] == {"s": 2}
    bench.delta(5, "y")
    bench.store.flush()
    assert bench.store.health.gaps[0].missing == ((3, 4),)
    assert bench.store.health.resume["sessions"] == {"s": 2}


@counted
@pytest.mark.parametrize("level", ["session", "message", "block"])
def test_tombstones_go(sequencing, level):
    bench = Bench(sequencing)
    old_text(bench)
    bench.take(f"{level}.removed", 9)
    bench.opened("two")
    assert bench.delta(1, "x") == "accepted"
    assert bench.text() == "x"
    assert not bench.part().previous


@numbered
def test_the_next_writer_of_a_field_wins_whatever_its_seq(sequencing):
    bench = Bench(sequencing)
    bench.opened("one")
    bench.take("session.updated", 100, info={"a": "old"})
    bench.take("session.status", 101, status="busy")
    bench.take("message.opened", 102, role="user", order=9, info={"a": "old"})
    bench.take("block.opened", 103, kind="text", title="old", order=9)
    bench.take("message.closed", 104, status="aborted")
    bench.take("session.state", 105, state={"a": "old"})
    bench.take("session.error", 106, error={"name": "old", "message": ""})
    bench.opened("two")
    bench.take("session.updated", 1, info={"a": "new"})
    bench.take("session.status", 2, status="idle")
    bench.take("message.opened", 3, role="assistant", order=1, info={"a": "new"})
    bench.take("block.opened", 4, kind="text", title="new", order=1)
    bench.take("message.closed", 5, status="completed")
    patch = [{"op": "replace", "path": "/a", "value": "new"}]
    assert bench.take("session.state", 6, patch=patch) == "accepted"
    bench.take("session.error", 7, error={"name": "new", "message": ""})
    session = bench.session()
    assert session["info"] == {"a": "new"}
    assert session["status"] == {"type": "idle"}
    assert session["state"] == {"a": "new"}
    assert [error["name"] for error in session["errors"]] == ["old", "new"]
    (message,) = session["messages"]
    assert (message["role"], message["info"], message["status"]) == (
        "assistant",
        {"a": "new"},
        "completed",
    )
    (part,) = message["parts"]
    assert (part["title"], part["order"]) == ("new", 1)


# -- previous text ---------------------------------------------------------------------------------


@counted
def test_old_text_stays_readable_as_previous_text(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    assert bench.text() == "abc"
    assert bench.part().previous
    bench.opened("three")
    assert bench.text() == "abc"
    assert bench.part().previous


def test_in_a_block_stream_the_first_operation_of_the_counter_takes_its_place():
    bench = Bench("block")
    old_text(bench)
    bench.opened("two")
    bench.store.flush()
    assert bench.delta(2, "y") == "held"
    assert bench.text() == "abc"
    assert bench.delta(1, "x") == "accepted"
    changes = bench.store.flush()
    (edit,) = changes.text.values()
    assert (edit.start, edit.text, edit.rewritten) == (0, "xy", True)
    assert not bench.part().previous


def test_without_seq_a_delta_takes_its_place_too_but_need_not_be_the_first():
    bench = Bench("none")
    old_text(bench)
    bench.opened("two")
    bench.store.flush()
    bench.delta(None, "x")
    (edit,) = bench.store.flush().text.values()
    assert (edit.start, edit.text, edit.rewritten) == (0, "x", True)
    assert bench.part().gap
    assert not bench.part().previous


@counted
@pytest.mark.parametrize(
    ("type_", "members"),
    [
        ("block.replaced", {"text": "new"}),
        ("block.snapshot", {"text": "new"}),
        (
            "snapshot",
            {
                "messages": [
                    {
                        "info": {"id": "m"},
                        "parts": [
                            {
                                "blockIndex": 0,
                                "kind": "text",
                                "text": "new",
                                "seq": 1,
                                "status": "open",
                            }
                        ],
                    }
                ]
            },
        ),
    ],
)
def test_a_replace_or_a_snapshot_takes_its_place_as_a_rewrite(sequencing, type_, members):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    bench.store.flush()
    bench.take(type_, 1, **members)
    (edit,) = bench.store.flush().text.values()
    assert (edit.start, edit.text, edit.rewritten) == (0, "new", True)
    assert bench.text() == "new"
    assert not bench.part().previous
    assert bench.delta(2, "!") == "accepted"
    assert bench.text() == "new!"


@numbered
def test_deltas_of_blocks_open_before_the_change_wait_for_an_open(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    assert bench.store.health.resync["s"]
    assert bench.delta(3, "z") == "held"
    assert bench.delta(2, "y") == "held"
    assert bench.text() == "abc"
    bench.take("block.opened", 1, kind="text")
    (edit,) = bench.store.flush().text.values()
    assert (edit.start, edit.text, edit.rewritten) == (0, "yz", True)
    assert bench.text() == "yz"


@numbered
def test_deltas_of_blocks_open_before_the_change_wait_for_a_snapshot(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    bench.delta(6, "f")
    part = {"blockIndex": 0, "kind": "text", "text": "abcde", "status": "open"}
    bench.take("snapshot", 5, messages=[{"info": {"id": "m"}, "parts": [part]}])
    assert bench.text() == "abcdef"
    assert not bench.part().previous
    assert not bench.store.health.resync


@numbered
def test_deltas_that_wait_behind_previous_text_are_bounded(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=2))
    old_text(bench)
    bench.opened("two")
    verdicts = [bench.delta(seq, "x") for seq in range(1, 5)]
    assert verdicts == ["held", "held", "refused:over_limit", "refused:over_limit"]
    assert bench.text() == "abc"


@numbered
def test_blocks_that_begin_after_the_change_do_not_wait(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    assert bench.delta(1, "x", blockIndex=1) == "accepted"
    bench.store.flush()
    assert bench.store.part("s", "m", 1).text == "x"


# -- snapshots -------------------------------------------------------------------------------------


@every
def test_a_snapshot_of_another_generation_changes_it(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    part = {"blockIndex": 0, "kind": "text", "text": "xy", "status": "open", "seq": 2}
    messages = [{"info": {"id": "m"}, "parts": [part]}]
    bench.take("snapshot", 2, messages=messages, generation="two")
    assert bench.text() == "xy"
    assert bench.delta(3, "z", generation="two") == "accepted"
    assert bench.text() == "xyz"
    assert bench.delta(4, "d", generation="one") == "refused:stale_generation"


@every
def test_a_snapshot_of_a_stale_generation_changes_nothing(sequencing):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    verdict = bench.take("snapshot", 9, messages=[], complete=True, generation="one")
    assert verdict == "refused:stale_generation"
    assert bench.text() == "abc"


@numbered
def test_an_authoritative_read_below_what_was_received_proves_a_reset(sequencing):
    bench = Bench(sequencing)
    for seq, text in enumerate("abcdef", start=1):
        bench.delta(seq, text)
    token = bench.store.begin_read("s")
    part = {"blockIndex": 0, "kind": "text", "text": "ab", "status": "open"}
    messages = [{"info": {"id": "m"}, "parts": [part]}]
    bench.take("snapshot", 2, messages=messages, complete=True, readFrom=token)
    assert bench.text() == "ab"
    assert bench.delta(3, "X") == "accepted"
    assert bench.text() == "abX"


@numbered
def test_a_read_that_began_earlier_proves_nothing(sequencing):
    bench = Bench(sequencing)
    token = bench.store.begin_read("s")
    for seq, text in enumerate("abcdef", start=1):
        bench.delta(seq, text)
    part = {"blockIndex": 0, "kind": "text", "text": "ab", "status": "open"}
    messages = [{"info": {"id": "m"}, "parts": [part]}]
    bench.take("snapshot", 2, messages=messages, complete=True, readFrom=token)
    assert bench.text() == "abcdef"
    assert bench.delta(3, "X") == "duplicate"


def fetched(*parts: Wire, **members: Any) -> list[Wire]:
    return [{"info": {"id": "m"}, "parts": list(parts), **members}]


@numbered
def test_a_read_that_began_before_a_counter_proves_nothing_of_it(sequencing):
    bench = Bench(sequencing)
    bench.opened("one")
    for seq in range(1, 6):
        bench.delta(seq, "x")
    token = bench.store.begin_read("s")
    bench.opened("two")
    bench.take("message.opened", 1, role="assistant")
    part = {"blockIndex": 0, "kind": "text", "text": "a", "status": "open"}
    for _ in range(2):
        members = {"complete": True, "generation": "two", "readFrom": token}
        bench.take("snapshot", 1, messages=fetched(part), **members)
    assert bench.delta(2, "b", generation="two") == "accepted"
    assert bench.text() == "ab"


@numbered
def test_one_read_proves_a_reset_once(sequencing):
    bench = Bench(sequencing)
    for seq in range(1, 6):
        bench.delta(seq, "x")
    token = bench.store.begin_read("s")
    part = {"blockIndex": 0, "kind": "text", "text": "ab", "status": "open"}
    bench.take("snapshot", 2, messages=fetched(part), complete=True, readFrom=token)
    bench.delta(3, "c")
    bench.take("snapshot", 2, messages=fetched(part), complete=True, readFrom=token)
    assert bench.delta(4, "d") == "accepted"
    assert bench.text() == "abcd"


def test_a_seal_of_the_counter_that_ended_refuses_nothing():
    bench = Bench("none")
    bench.opened("one")
    bench.take("block.replaced", text="old")
    bench.take("block.closed")
    assert bench.delta(None, "!") == "refused:sealed"
    bench.opened("two")
    assert bench.delta(None, "new") == "accepted"
    assert bench.text() == "new"


@every
def test_a_close_of_the_counter_that_ended_closes_nothing_that_follows(sequencing):
    snapshots = ("block.snapshot",) if sequencing != "none" else ()
    for first in ("block.replaced", "block.delta", *snapshots):
        bench = Bench(sequencing)
        bench.opened("one")
        bench.take("block.opened", 1 if sequencing in ("session", "sparse") else None, kind="text")
        bench.take("block.closed", 2 if sequencing in ("session", "sparse") else None)
        bench.opened("two")
        bench.take("block.updated", note=1)
        seqs = (None, None) if sequencing == "none" else (1, 2)
        bench.take(first, seqs[0], text="a")
        assert bench.delta(seqs[1], "b") == "accepted"
        assert (bench.text(), bench.part().status) == ("ab", "open")


@pytest.mark.parametrize("opens", [True, False])
def test_a_part_whose_new_opening_came_lacks_nothing(opens):
    bench = Bench("none")
    bench.opened("one")
    bench.take("block.opened", kind="text")
    bench.delta(None, "old")
    bench.opened("two")
    if opens:
        bench.take("block.opened", kind="text")
    assert bench.text() == "old"
    bench.delta(None, "new")
    assert (bench.text(), bench.part().gap) == ("new", not opens)


@pytest.mark.parametrize("last", [True, False])
@numbered
def test_what_a_new_counters_state_lacks_is_gone_also_below_what_opens_behind_it(sequencing, last):
    bench = Bench(sequencing)
    old_text(bench)
    bench.opened("two")
    steps = [
        lambda: bench.take("snapshot", 1, messages=[], complete=True, generation="two"),
        lambda: bench.take("message.opened", 2, role="user", generation="two"),
    ]
    for step in reversed(steps) if last else steps:
        step()
    assert [m["id"] for m in bench.session()["messages"]] == ["m"]
    assert bench.part() is None


@pytest.mark.parametrize("read", ["before", "after", None])
@pytest.mark.parametrize("sequencing", ["none", "block"])
def test_that_a_counter_began_touches_nothing(sequencing, read):
    bench = Bench(sequencing)
    old_text(bench)
    token = bench.store.begin_read("s") if read == "before" else None
    bench.opened("two")
    token = bench.store.begin_read("s") if read == "after" else token
    members = {"readFrom": token} if token else {}
    bench.take("snapshot", messages=[], complete=True, generation="two", **members)
    assert bench.session().get("messages", []) == []


def test_a_fetched_field_takes_the_place_of_previous_text_that_streamed_into_it():
    bench = Bench("none")
    bench.opened("one")
    bench.take("block.opened", kind="tool")
    bench.delta(None, '{"a":', field="input")
    bench.opened("two")
    assert bench.part().previous
    token = bench.store.begin_read("s")
    part = {"blockIndex": 0, "kind": "tool", "input": '{"a":1}', "status": "open"}
    bench.take("snapshot", messages=fetched(part), generation="two", readFrom=token)
    assert (bench.part().previous, bench.part().fields["input"]) == (False, '{"a":1}')


@numbered
def test_a_field_set_by_the_new_counter_takes_the_place_of_what_streamed_into_it(sequencing):
    bench = Bench(sequencing)
    bench.opened("one")
    bench.take("block.opened", 1, kind="tool")
    bench.delta(2, '{"a":', field="input")
    bench.opened("two")
    bench.take("block.replaced", 1, input='{"b":')
    assert bench.delta(3, "2}", field="input") == "accepted"
    bench.delta(2, "1", field="input")
    bench.take("block.opened", 4, kind="tool")
    assert bench.session()["messages"][0]["parts"][0]["input"] == '{"b":12}'
    assert not bench.part().previous


@every
def test_what_streams_into_a_field_is_not_appended_to_what_an_older_counter_set(sequencing):
    for said_again in (False, True):
        bench = Bench(sequencing)
        bench.opened("one")
        seqs = iter([None] * 9 if sequencing == "none" else range(1, 9))
        bench.take("block.replaced", next(seqs), kind="tool", input="old", name="n")
        bench.opened("two")
        seqs = iter([None] * 9 if sequencing == "none" else range(1, 9))
        if said_again:
            bench.take("block.replaced", next(seqs), input="old")
        bench.delta(next(seqs), "a", field="input")
        bench.delta(next(seqs), "b", field="input")
        bench.store.flush()
        part = bench.session()["messages"][0]["parts"][0]
        assert (part["input"], part["name"]) == ("oldab" if said_again else "ab", "n")


@numbered
@pytest.mark.parametrize("more", [0, 1])
def test_a_text_with_a_split_pair_that_a_counter_left_is_saved_and_loaded(sequencing, more):
    bench = Bench(sequencing)
    bench.opened("one")
    for seq, half in enumerate(("a\ud83c", "\udf89b"), start=1):
        bench.delta(seq, half)
    bench.opened("two")
    assert bench.text() == "a\U0001f389b"
    saved = json.loads(json.dumps(bench.store.save()))
    # Versions before counted the pair twice here, as long as it was split.
    saved["sessions"][0]["messages"][0]["blocks"][0]["cell"]["~cell"]["base"] += more
    bench.store = StreamStore.load(saved, ticks="manual")
    bench.stream = bench.store.open("native", sequencing=sequencing)
    assert bench.text() == "a\U0001f389b"
    bench.take("block.opened", 1, kind="text")
    bench.delta(2, "new")
    assert bench.text() == "new"


@pytest.mark.parametrize("saved", [False, True])
def test_a_read_of_a_counter_that_was_over_before_its_session_came_is_stale(saved: bool) -> None:
    """It was taken for a newer one, and whatever came of the present one was stale for ever."""
    store = StreamStore()

    def opening(generation: str) -> dict[str, Any]:
        return {"type": "stream.opened", "sequencing": "session", "generation": generation}

    def read(generation: str, text: str) -> dict[str, Any]:
        part = {"blockIndex": 0, "kind": "text", "text": text}
        messages = [{"info": {"id": "m", "role": "assistant"}, "parts": [part]}]
        return {
            "type": "snapshot", "sessionId": "s", "seq": 1, "messages": messages,
            "generation": generation,
        }  # fmt: skip

    stream = store.open("native")
    for generation in ("a", "b"):
        assert stream.ingest(opening(generation)).kind == "accepted"
    if saved:
        state = store.save()
        store = StreamStore.load(state)
        stream = store.open("native")
        state = {name: value for name, value in state.items() if name != "generations"}
        assert StreamStore.load(state).save()["generations"] == ["b"]  # as once saved
    assert stream.ingest(read("a", "old")).reason == "stale_generation"
    assert stream.ingest(opening("a")).reason == "stale_generation"
    assert stream.ingest(read("b", "new")).kind == "accepted"
    assert stream.ingest(opening("a")).reason == "stale_generation"
    assert stream.ingest(opening("b")).kind == "accepted"
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "new"


def test_a_new_session_knows_the_latest_counters_alone() -> None:
    """Else each session of a client that outlives a thousand restarts would hold a thousand."""
    store = StreamStore()
    stream = store.open("native")
    for n in range(40):
        opening = {"type": "stream.opened", "sequencing": "session", "generation": f"g{n}"}
        assert stream.ingest(opening).kind == "accepted"
    stream.ingest({"type": "session.updated", "sessionId": "s", "seq": 1, "info": {}})
    known = [f"g{n}" for n in range(24, 40)]
    saved = store.save()
    assert saved["generations"] == known
    (session,) = saved["sessions"]
    assert [name for name, _ in session["generations"]["~table"]] == known


def test_a_session_of_another_stream_knows_what_came_before_the_store_s_counter() -> None:
    """A read said it the latest counter; what its own stream had to say of the one before was
    taken for a newer one, and all that followed was stale for ever."""
    store = StreamStore()
    own, all_of_it = store.open("native", session_id="s"), store.open("native")

    def opening(generation: str) -> dict[str, Any]:
        return {"type": "stream.opened", "sequencing": "sparse", "generation": generation}

    assert own.ingest(opening("a")).kind == all_of_it.ingest(opening("a")).kind == "accepted"
    for generation in ("b", "c"):
        assert all_of_it.ingest(opening(generation)).kind == "accepted"
    read = {"type": "snapshot", "sessionId": "s", "seq": 1, "messages": [], "generation": "c"}
    assert all_of_it.ingest(read).kind == "accepted"
    assert own.ingest(opening("b")).reason == "stale_generation"
    assert own.ingest(opening("c")).kind == "accepted"
    assert own.ingest({**read, "seq": 2}).kind == "accepted"
