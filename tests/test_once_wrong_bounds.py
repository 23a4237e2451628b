"""What once grew without a bound: every table of a store stays small under what would fill it."""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any

import jsonpatch
import pytest
from one_stream import Bench, delta, line, through_json

from streamstore import Limits, StreamStore

MANY = 300


# -- tables ----------------------------------------------------------------------------------------


def test_a_block_has_one_call_whatever_it_was_called_before():
    bench = Bench("none")
    bench.take("block.opened", kind="tool")
    for number in range(MANY):
        bench.take("block.updated", callId=f"c{number}")
    assert list(bench.row.calls) == [f"c{MANY - 1}"]


@pytest.mark.parametrize("removal", ["message.removed", "block.removed", "session.removed"])
def test_calls_and_streaming_parts_go_with_what_is_removed(removal):
    bench = Bench("none")
    for number in range(MANY):
        message = f"m{number}"
        bench.take("block.opened", messageId=message, kind="tool", callId=f"c{number}")
        bench.delta(None, "x", messageId=message, field="input")
        target = {} if removal == "session.removed" else {"messageId": message}
        bench.take(removal, **target)
        bench.take("session.updated", info={}, whole=True)
    assert (len(bench.row.calls), len(bench.stream._ingress.touched)) == (0, 0)


def test_holes_that_were_filled_hold_no_place():
    bench = Bench("session")
    bench.delta(1, "a")
    bench.delta(3, "c")
    for number in range(2, MANY):
        bench.delta(2 * number + 1, "x")
        bench.delta(2 * number, "y")
    assert bench.row.intervals.holes() == ((2, 2),)
    assert len(bench.row.holes_at) <= 2 * 2 + 16


def test_resets_that_wait_are_as_many_as_the_window_is_long():
    bench = Bench("sparse", limits=Limits(late_window=8))
    bench.delta(1, "a")
    for seq in range(2, MANY):
        bench.take("message.reset", seq)
    assert len(bench.row.messages["m"].resets) == 8
    assert bench.text() == "a"
    bench.delta(MANY, "b")
    assert bench.text() == "b"


def test_marks_of_fields_that_a_whole_update_took_go_with_them():
    bench = Bench("sparse")
    for seq in range(1, MANY):
        bench.take("message.updated", seq, info={f"f{seq}": 1}, whole=True)
    assert list(bench.row.messages["m"].info.seqs) == [f"f{MANY - 1}"]


def test_a_part_takes_text_in_as_many_fields_as_the_limit_says():
    bench = Bench("none", limits=Limits(text_fields=8))
    found = [bench.delta(None, "x", field=f"f{number}") for number in range(12)]
    assert found == ["accepted"] * 8 + ["refused:over_limit"] * 4
    assert [bench.delta(None, "y", field="f0"), bench.delta(None, "z")] == ["accepted"] * 2
    assert (len(bench.part().others), bench.part().field_text("f0"), bench.text()) == (8, "xy", "z")


def test_taking_back_what_is_not_there_leaves_no_row():
    bench = Bench("none")
    for number in range(MANY):
        bench.take("message.rollback", messageId=f"x{number}")
    assert bench.row.messages == {}


def test_messages_go_with_their_removed_session():
    bench = Bench("sparse")
    for number in range(MANY):
        bench.take("session.updated", 3 * number + 1, info={}, whole=True)
        bench.take("message.opened", 3 * number + 2, messageId=f"m{number}", role="user")
        bench.take("session.removed", 3 * number + 3)
    assert bench.row.messages == {}


def test_removed_sessions_are_forgotten_beyond_the_limit_oldest_first():
    bench = Bench("none", limits=Limits(removed_sessions=8))
    bench.take("session.updated", sessionId="stays", info={}, whole=True)
    for number in range(MANY):
        bench.take("session.updated", sessionId=f"s{number}", info={}, whole=True)
        bench.store.flush()
        bench.take("session.removed", sessionId=f"s{number}")
        bench.store.flush()
    kept = ["stays", *(f"s{number}" for number in range(MANY - 8, MANY))]
    assert (list(bench.store._sessions), list(bench.stream._ingress.sessions)) == (kept, kept)
    assert bench.delta(None, "x", sessionId=f"s{MANY - 1}") == "refused:removed"
    assert bench.delta(None, "x", sessionId="s0") == "accepted"


@pytest.mark.parametrize("removal", ["message.removed", "block.removed", "session.removed"])
def test_text_that_is_held_back_goes_with_what_is_removed(removal):
    bench = Bench("none", delivery="buffered")
    for number in range(MANY):
        message = f"m{number}"
        bench.take("message.opened", messageId=message, role="assistant")
        bench.delta(None, "d", messageId=message)
        bench.store.flush()
        assert len(bench.row.withheld) == 1
        bench.take(removal, **({} if removal == "session.removed" else {"messageId": message}))
        bench.take("session.updated", info={}, whole=True)
        bench.store.flush()
    assert bench.row.withheld == {}


@pytest.mark.parametrize("what", ["permission", "question"])
def test_as_many_requests_wait_for_an_answer_as_the_limit_says(what):
    bench = Bench("sparse", limits=Limits(open_requests=4))
    asked = [bench.take(f"{what}.asked", seq, id=f"q{seq}") for seq in range(1, 7)]
    assert asked == ["accepted"] * 4 + ["refused:over_limit"] * 2
    bench.take(f"{what}.replied", 7, id="q1")
    assert bench.take(f"{what}.asked", 8, id="q8") == "accepted"
    assert list(bench.sessions()["s"][f"{what}s"]) == ["q2", "q3", "q4", "q8"]


# -- patches of the shared state -------------------------------------------------------------------


def doubling(sequencing: str, **limits: int) -> tuple[Bench, list[str]]:
    bench = Bench(sequencing, limits=Limits(**limits))
    seq = iter(range(1, 100)) if sequencing == "sparse" else None
    bench.take("session.state", seq and next(seq), state={"a": "x" * 10})
    copy = [{"op": "copy", "from": "", "path": "/b"}]
    return bench, [bench.take("session.state", seq and next(seq), patch=copy) for _ in range(40)]


@pytest.mark.parametrize("sequencing", ["none", "sparse"])
@pytest.mark.parametrize("limits", [{"state_bytes": 1000}, {"nesting": 10}])
def test_a_patch_that_makes_too_much_of_the_state_changes_nothing(sequencing, limits):
    bench, verdicts = doubling(sequencing, **limits)
    assert verdicts[0] == "accepted"
    assert verdicts[-1] == "refused:conflict"
    fitted = verdicts.count("accepted")
    assert verdicts == ["accepted"] * fitted + ["refused:conflict"] * (40 - fitted)
    state = bench.sessions()["s"]["state"]
    for _ in range(fitted):
        assert state["a"] == "x" * 10
        state = state["b"]
    assert state == {"a": "x" * 10}


def test_one_patch_of_many_copies_stops_at_the_first_that_makes_too_much(monkeypatch):
    applied = []
    apply_patch = jsonpatch.apply_patch

    def counted(document: Any, patch: list[Any], in_place: bool = False) -> Any:
        applied.extend(patch)
        return apply_patch(document, patch, in_place)

    monkeypatch.setattr(jsonpatch, "apply_patch", counted)
    bench = Bench("none", limits=Limits(state_bytes=1000))
    bench.take("session.state", state={"a": 1})
    # Each copy doubles the state: all of them would still be no harm where nothing stops them.
    bomb = [{"op": "copy", "from": "", "path": f"/c{number}"} for number in range(14)]
    assert bench.take("session.state", patch=bomb) == "refused:conflict"
    assert bench.sessions()["s"]["state"] == {"a": 1}
    assert 1 < len(applied) < 10


REMEDY = r"jsonpatch: pip install 'chat-streamstore\[patch\]'"


@pytest.fixture
def without_jsonpatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonpatch", None)


def test_a_patch_without_its_package_is_refused_and_the_rest_of_the_chunk_comes_in(
    without_jsonpatch,
):
    bench = Bench("sparse")
    head = {"sessionId": "s", "type": "session.state", "seq": 1}
    tail = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "kept"}
    patch = [{"op": "add", "path": "/y", "value": 1}]
    with pytest.warns(RuntimeWarning, match=REMEDY):
        bench.stream.feed(line({**head, "patch": patch}) + line({**head, **tail, "seq": 2}))
    assert bench.text() == "kept"
    assert bench.stream.received == 2
    assert bench.store.health.counts["verdicts"] == {"refused:missing_extra": 1, "accepted": 1}
    assert list(bench.store.health.resync) == ["s"]
    assert re.search(REMEDY, bench.store.health.resync["s"])


def test_a_program_whose_warnings_are_errors_loses_nothing_of_the_chunk(without_jsonpatch):
    store = StreamStore()
    stream = store.open("native", sequencing="sparse")
    tail = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "kept"}
    patch = {"type": "session.state", "patch": [{"op": "add", "path": "/y", "value": 1}]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match=REMEDY):
            stream.feed(line({**patch, "sessionId": "s"}) + line({**tail, "sessionId": "s"}))
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "kept"


def test_an_event_that_is_named_like_a_reason_is_unknown_and_nothing_is_said_to_be_missing():
    assert Bench("none").take("missing_extra") == "unknown:missing_extra"


def with_patches_that_were_kept() -> Bench:
    bench = Bench("sparse")
    bench.take("session.state", 1, state={"n": 1})
    for seq in (5, 6):
        bench.take("session.state", seq, patch=[{"op": "add", "path": f"/n{seq}", "value": seq}])
    bench.store.flush()
    return bench


@pytest.mark.parametrize("later", ["session.removed", "session.state", "session.state, late"])
def test_patches_of_a_saved_state_that_cannot_be_applied_here_are_told_of(later, monkeypatch):
    store = through_json(with_patches_that_were_kept().store)
    monkeypatch.setitem(sys.modules, "jsonpatch", None)
    stream = store.open("native", sequencing="sparse")
    wire = {"type": later.partition(",")[0], "sessionId": "s", "seq": 3}
    if "state" in later:
        wire["state"] = {"n": 2}
    if "late" in later:
        wire["seq"] = 7
    assert stream.ingest(wire).taken
    store.flush()
    # A state that comes after all patches needs none of them, and a removed session no state.
    assert ("s" in store.health.resync) == (later == "session.state")
    assert all(re.search(REMEDY, reason) for reason in store.health.resync.values())


def holed_then_removed(bench, session, removal=4):
    for seq in (1, 3):
        bench.take("session.status", seq, sessionId=session, status="idle")
    bench.store.flush()
    bench.take("session.removed", removal, sessionId=session)
    bench.store.flush()


def test_a_store_that_forgot_a_session_with_a_hole_can_be_loaded():
    bench = Bench("session", limits=Limits(removed_sessions=1))
    for session in "ab":
        holed_then_removed(bench, session)
    through_json(bench.store)


def test_the_hole_of_a_forgotten_session_holds_no_position():
    bench = Bench("session", limits=Limits(removed_sessions=1))
    holed_then_removed(bench, "a")
    holed_then_removed(bench, "b", removal=None)
    bench.take("session.removed", 4, sessionId="b")
    assert "a" not in bench.store._sessions
    assert "a" not in bench.store._positions.sessions


def test_removed_sessions_are_bounded_when_one_tick_removes_them():
    bench = Bench("none", limits=Limits(removed_sessions=2))
    for session in "abcdef":
        bench.delta(None, "x", sessionId=session)
    bench.store.flush()
    for session in "abcdef":
        bench.take("session.removed", sessionId=session)
    bench.store.flush()
    bench.take("session.updated", sessionId="g", info={}, whole=True)
    bench.take("session.removed", sessionId="g")
    bench.store.flush()
    assert len(bench.store._sessions) <= 2


def test_removed_sessions_are_bounded_in_a_loaded_store():
    bench = Bench("none")
    for session in "abcdef":
        bench.delta(None, "x", sessionId=session)
        bench.take("session.removed", sessionId=session)
        bench.store.flush()
    again = through_json(bench.store, limits=Limits(removed_sessions=2))
    stream = again.open("native", sequencing="none")
    for session in "gh":
        stream.ingest(delta("x", sessionId=session))
        stream.ingest({"type": "session.removed", "sessionId": session})
        again.flush()
    assert len(again._sessions) <= 2


def test_a_loaded_store_forgets_the_session_that_was_removed_the_longest_ago():
    # Not the one that came first: its late text would begin it again.
    bench = Bench("none", limits=Limits(removed_sessions=2))
    for session in "abc":
        bench.delta(None, "x", sessionId=session)
    for session in "ca":
        bench.take("session.removed", sessionId=session)
        bench.store.flush()
    again = through_json(bench.store, limits=bench.store.limits)
    stream = again.open("native", sequencing="none")
    stream.ingest({"type": "session.removed", "sessionId": "b"})
    again.flush()
    late = {session: stream.ingest(delta("late", sessionId=session)) for session in "abc"}
    assert {session: verdict.reason for session, verdict in late.items()} == {
        "a": "removed",
        "b": "removed",
        "c": "",
    }


def test_blocks_with_holes_go_with_their_removed_message_though_nobody_asks_a_position():
    bench = Bench("block")
    for number in range(300):
        bench.delta(5, "x", messageId=f"m{number}")
        bench.take("message.removed", messageId=f"m{number}")
        bench.store.flush()
    assert len(bench.store._positions.blocks) <= 128
