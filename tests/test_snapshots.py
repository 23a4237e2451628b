"""Contract section 5: a fetched state and live events become one."""

from __future__ import annotations

from typing import Any

import pytest

from streamstore import Limits, StreamStore
from streamstore.events import BlockReplaced, MessageOpened, Snapshot
from streamstore.model import Sequencing

Wire = dict[str, Any]


class Bench:
    """A store with one stream; events are of session `s`, message `m`, block 0."""

    def __init__(self, sequencing: str, **options: Any) -> None:
        self.store = StreamStore("native", ticks="manual", **options)
        self.sequencing = sequencing
        self.stream = self.store.open("native", sequencing=sequencing)

    def reopen(self) -> None:
        self.stream.end()
        self.stream = self.store.open("native", sequencing=self.sequencing)

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

    def deltas(self, text: str, first: int | None = None) -> None:
        for place, character in enumerate(text):
            seq = None if first is None else first + place
            assert self.take("block.delta", seq, text=character) in ("accepted", "late")

    def snapshot(self, *messages: Wire, seq: int | None = None, **members: Any) -> str:
        return self.take("snapshot", seq, messages=list(messages), **members)

    def session(self) -> Wire:
        self.store.flush()
        return self.store.state()["sessions"].get("s", {})

    def ids(self) -> list[str]:
        return [message["id"] for message in self.session().get("messages", [])]

    def part(self, index: Any = 0) -> Any:
        self.store.flush()
        return self.store.part("s", "m", index)

    def text(self, index: Any = 0) -> str | None:
        part = self.part(index)
        return None if part is None else part.text


def message(message_id: str, *parts: Wire, **beside: Any) -> Wire:
    return {"info": {"id": message_id, "role": "assistant"}, "parts": list(parts), **beside}


def part(text: str | None, index: Any = 0, status: str = "open", **more: Any) -> Wire:
    given = {"blockIndex": index, "kind": "text", "status": status, "text": text, **more}
    return {name: value for name, value in given.items() if value is not None}


numbered = pytest.mark.parametrize("sequencing", ["session", "sparse"])
every = pytest.mark.parametrize("sequencing", ["session", "sparse", "none", "block"])


# -- any stream ------------------------------------------------------------------------------------


@every
def test_a_snapshot_of_an_empty_store_is_the_state(sequencing):
    bench = Bench(sequencing)
    given = message(
        "m", part("Hello", status="closed", title="t"), part("why", 1), status="aborted", error={}
    )
    given["info"].update(parentId="p", order=3, model="x")
    assert bench.snapshot(given, seq=7) == "accepted"
    assert bench.session() == {
        "messages": [
            {
                "id": "m",
                "info": {
                    "id": "m",
                    "model": "x",
                    "order": 3,
                    "parentId": "p",
                    "role": "assistant",
                },
                "parentId": "p",
                "parts": [
                    {
                        "blockIndex": 0,
                        "kind": "text",
                        "status": "closed",
                        "text": "Hello",
                        "title": "t",
                    },
                    {"blockIndex": 1, "kind": "text", "status": "closed", "text": "why"},
                ],
                "role": "assistant",
                "status": "aborted",
            }
        ]
    }


@every
def test_the_same_snapshot_again_keeps_every_object(sequencing):
    bench = Bench(sequencing)
    given = message("m", part("Hello", status="closed"))
    bench.snapshot(given, seq=7)
    before = (bench.part(), bench.store.messages("s"), bench.store.session("s"))
    bench.snapshot(given, seq=7)
    assert not bench.store.flush()
    assert all(
        mine is other
        for mine, other in zip(
            before,
            (bench.part(), bench.store.messages("s"), bench.store.session("s")),
            strict=True,
        )
    )


@every
@pytest.mark.parametrize(
    "bad",
    [
        {"info": {"role": "user"}, "parts": []},
        {"info": {"id": 7}, "parts": []},
        {"info": {"id": "n"}, "parts": {}},
        {"info": {"id": "n"}, "parts": [{"kind": "text"}]},
        {"info": {"id": "n"}, "parts": [{"blockIndex": True, "kind": "text"}]},
        {"info": {"id": "n"}, "parts": [{"blockIndex": 0, "kind": "text", "text": 5}]},
        {"info": {"id": "n"}, "parts": [], "status": "finished"},
    ],
)
def test_a_malformed_snapshot_changes_nothing_at_all(sequencing, bad):
    bench = Bench(sequencing)
    bench.take("message.opened", 1, role="user")
    bench.store.flush()
    before = bench.store.state()
    assert bench.snapshot(message("m", part("x")), bad, seq=9).startswith("malformed")
    assert not bench.store.flush()
    after = bench.store.state()
    assert before.pop("counts") != after.pop("counts")
    assert before == after


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        ({"type": "idle"}, True),
        ({"type": "retry", "attempt": 1, "message": "m", "next": 5, "more": []}, True),
        ({"type": "retry", "attempt": None}, True),
        ({}, False),
        ({"status": "idle"}, False),
        ({"type": 5}, False),
        ({"type": "retry", "attempt": "1"}, False),
        ({"type": "retry", "next": 1.5}, False),
        ({"type": "retry", "message": []}, False),
        ("idle", False),
    ],
)
def test_the_status_of_a_snapshot_is_what_a_status_is(status, accepted):
    bench = Bench("none")
    verdict = bench.snapshot(status=status)
    assert verdict == ("accepted" if accepted else "malformed:status")
    bench.store.flush()
    session = bench.store.session("s")
    assert (session is not None) == accepted
    assert session is None or (session.status is not None and session.status.type)


def test_of_a_status_that_is_none_it_is_said_what_one_is():
    wire = {"type": "snapshot", "sessionId": "s", "messages": [], "status": {"status": "idle"}}
    assert StreamStore("native").ingest(wire).detail == (
        "status: must be an object with a string `type`, maybe integers `attempt` and `next` and a "
        "string `message`, not this one"
    )


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        ({"info": {"id": 7}}, "info.id: must be a non-empty string"),
        ({"id": "n", "parts": {}}, "parts: must be an array"),
        ({"id": "n", "info": []}, "info: must be an object"),
        ({"id": "n", "status": "done"}, "status: must be one of open, completed, aborted, error"),
        ({"id": "n", "status": []}, "status: must be one of open, completed, aborted, error"),
        ({"id": "n", "order": "1"}, "info.order: must be a finite number"),
        (
            {"id": "n", "parts": [{"kind": "text", "blockIndex": 1.0}]},
            "parts.0.blockIndex: must be a non-empty string or an integer from 0 to 2**63 - 1",
        ),
        (
            {"id": "n", "parts": [{"kind": "text", "blockIndex": 0, "status": "done"}]},
            "parts.0.status: must be one of open, closed, incomplete",
        ),
    ],
)
def test_of_a_malformed_snapshot_it_is_said_what_each_member_has_to_be(bad, detail):
    wire = {"type": "snapshot", "sessionId": "s", "messages": [bad]}
    verdict = StreamStore("native").ingest(wire)
    assert (verdict.kind, verdict.detail) == ("malformed", f"messages.0.{detail}")


@every
def test_a_snapshot_of_one_session_leaves_the_others(sequencing):
    bench = Bench(sequencing)
    bench.take("block.delta", 1, sessionId="t", text="kept")
    bench.snapshot(complete=True, seq=9)
    bench.store.flush()
    assert bench.store.part("t", "m", 0).text == "kept"


@pytest.mark.parametrize("position", [None, 3, 5])
def test_a_session_with_a_hole_that_a_snapshot_leaves_is_still_to_be_fetched(
    position: int | None,
) -> None:
    bench = Bench("session")
    for seq in (1, 2, 5, 8):
        bench.take("block.delta", seq, text=str(seq))
    bench.take("snapshot", position, messages=[], complete=True)
    bench.store.flush()
    assert bench.store.health.gaps[0].missing[-1] == (6, 7)
    assert bench.store.resync["s"] == "operations of the session are missing"
    bench.take("snapshot", 8, messages=[], complete=True)
    bench.store.flush()
    assert not bench.store.resync and not bench.store.health.gaps


@every
def test_a_snapshot_answers_the_request_for_a_resync(sequencing):
    bench = Bench(sequencing)
    bench.store.ask_resync("s", "because")
    assert dict(bench.store.health.resync) == {"s": "because"}
    bench.snapshot(seq=1, complete=True)
    assert not bench.store.health.resync


def test_a_program_may_bring_a_snapshot_before_any_stream_was_opened():
    store = StreamStore(ticks="manual")
    store.ask_resync("s", "because")
    info = {"title": "old"}
    store.apply(
        Snapshot(session_id="s", messages=[message("m", part("text"))], complete=True, info=info)
    )
    store.flush()
    assert store.part("s", "m", 0).text == "text"
    assert dict(store.session("s").info) == info
    assert not store.health.resync


# -- session and sparse streams --------------------------------------------------------------------


@numbered
def test_a_snapshot_drops_buffered_deltas_up_to_its_seq_and_keeps_those_above(sequencing):
    bench = Bench(sequencing)
    bench.deltas("abcd", first=1)
    bench.snapshot(message("m", part("AB")), seq=2)
    assert bench.text() == "ABcd"
    assert bench.store.health.counts["characters"]["superseded"] == 2


@numbered
def test_a_snapshot_and_live_events_end_the_same_in_any_order(sequencing):
    live = [(3, "c"), (4, "d"), (5, "e")]
    for place in range(len(live) + 1):
        bench = Bench(sequencing)
        for seq, text in live[:place]:
            bench.take("block.delta", seq, text=text)
        bench.snapshot(message("m", part("abcd")), seq=4)
        for seq, text in live[place:]:
            bench.take("block.delta", seq, text=text)
        assert bench.text() == "abcde"


@numbered
def test_what_a_snapshot_covers_is_a_duplicate_from_then_on(sequencing):
    bench = Bench(sequencing)
    bench.snapshot(message("m", part("ab", title="t")), seq=5)
    for seq, event in enumerate(
        (
            {"type_": "message.opened", "role": "user"},
            {"type_": "block.delta", "text": "a"},
            {"type_": "block.updated", "title": "old"},
            {"type_": "block.delta", "blockIndex": 1, "text": "a part it lacks"},
            {"type_": "message.removed"},
        ),
        start=1,
    ):
        assert bench.take(seq=seq, **event) == "duplicate"
    assert bench.text() == "ab"
    assert bench.part().fields == {"title": "t"}
    assert len(bench.session()["messages"][0]["parts"]) == 1


@numbered
def test_fields_above_the_snapshot_stay(sequencing):
    bench = Bench(sequencing)
    bench.take("message.updated", 1, info={"a": "old", "b": "old"})
    bench.take("message.updated", 6, info={"a": "live"})
    bench.take("block.updated", 7, kind="text", title="live")
    given = message("m", part("x", title="fetched", path="fetched"))
    given["info"]["c"] = "fetched"
    bench.snapshot(given, seq=5)
    info = bench.session()["messages"][0]["info"]
    assert info == {"a": "live", "c": "fetched", "id": "m", "role": "assistant"}
    assert bench.part().fields == {"title": "live", "path": "fetched"}


@numbered
def test_a_part_that_the_state_lacks_is_gone_unless_it_began_above_it(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", 1, kind="text")
    bench.take("block.opened", 2, blockIndex=1, kind="text")
    bench.take("block.opened", 6, blockIndex=2, kind="text")
    bench.snapshot(message("m", part("x")), seq=5)
    assert [p["blockIndex"] for p in bench.session()["messages"][0]["parts"]] == [0, 2]


@numbered
def test_an_older_snapshot_with_the_tail_retained_becomes_snapshot_and_tail(sequencing):
    bench = Bench(sequencing)
    bench.deltas("cdef", first=3)  # 1 and 2 were missed
    assert bench.text() == "cdef"
    bench.snapshot(message("m", part("ab")), seq=2)
    assert bench.text() == "abcdef"


@numbered
def test_an_older_snapshot_without_the_tail_leaves_live_text_and_brings_what_is_lacking(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=2))
    bench.deltas("cdefghij", first=3)
    bench.snapshot(message("m", part("abc"), part("why", 1)), message("n", part("n")), seq=3)
    assert bench.text() == "cdefghij"
    assert bench.text(1) == "why"
    assert bench.ids() == ["m", "n"]


@numbered
def test_a_snapshot_older_than_another_changes_nothing_that_the_newer_one_says(sequencing):
    bench = Bench(sequencing)
    bench.snapshot(message("m", part("abc", title="new")), seq=5)
    bench.snapshot(message("m", part("ab", title="old")), seq=3)
    assert (bench.text(), bench.part().fields) == ("abc", {"title": "new"})


@numbered
def test_a_snapshot_without_a_text_says_that_there_was_none(sequencing):
    bench = Bench(sequencing)
    bench.deltas("abc", first=1)
    bench.snapshot(message("m", part(None)), seq=2)
    assert bench.text() == "c"


@numbered
def test_text_that_streams_into_another_field_goes_on_from_the_fetched_one(sequencing):
    bench = Bench(sequencing)
    bench.take("block.delta", 4, field="input", text="c")
    tool = {"blockIndex": 0, "kind": "tool", "status": "open", "input": "ab"}
    bench.snapshot(message("m", tool), seq=3)
    bench.take("block.delta", 5, field="input", text="d")
    assert bench.part().field_text("input") == "abcd"


@numbered
def test_a_complete_snapshot_removes_what_it_should_have_and_lacks(sequencing):
    bench = Bench(sequencing)
    for seq, message_id in enumerate("abc", start=1):
        bench.take("message.opened", seq, messageId=message_id, role="user")
    bench.snapshot(message("b"), seq=5)
    assert bench.ids() == ["a", "b", "c"]
    bench.snapshot(message("b"), seq=6, complete=True)
    assert bench.ids() == ["b"]


@numbered
def test_a_complete_snapshot_keeps_what_was_opened_above_it_and_what_is_local(sequencing):
    bench = Bench(sequencing)
    bench.take("message.opened", 1, messageId="old", role="user")
    bench.take("message.opened", 6, messageId="new", role="user")
    bench.take("block.delta", 7, messageId="implicit", text="x")
    bench.store.apply(MessageOpened(session_id="s", message_id="mine", role="user", local=True))
    bench.snapshot(seq=5, complete=True)
    assert sorted(bench.ids()) == ["implicit", "mine", "new"]


@every
@pytest.mark.parametrize("touched", [False, True])
def test_parts_that_went_with_a_reset_are_rebuilt_also_behind_a_fetched_state(sequencing, touched):
    bench = Bench(sequencing)
    seqs = iter(range(1, 9)) if sequencing in ("session", "sparse") else iter([None] * 9)
    first = (lambda: 1) if sequencing == "block" else (lambda: next(seqs))
    bench.take("message.opened", next(seqs), role="assistant")
    bench.take("block.delta", first(), text="before")
    bench.take("message.reset", next(seqs))
    if touched:
        bench.take("message.updated", next(seqs), info={"tokens": 1})
    token = bench.store.begin_read("s")
    fetched = {"seq": next(seqs), "complete": True, "readFrom": token}
    bench.snapshot(message("m"), **fetched)
    assert bench.part() is None
    assert bench.take("block.delta", first(), text="rebuilt") == "accepted"
    assert bench.text() == "rebuilt"
    if fetched["seq"] is not None:
        bench.snapshot(message("m"), **fetched)
        assert bench.text() == "rebuilt"


@numbered
@pytest.mark.parametrize("read", ["before", "after"])
@pytest.mark.parametrize("undone", ["message.reset", "message.removed", "session.removed"])
def test_what_begins_anew_with_a_delta_stays_where_a_fetched_state_lacks_it(
    sequencing, undone, read
):
    """The part of before is not there at the position: it was undone with what it belongs to."""
    bench = Bench(sequencing)
    bench.take("block.delta", 1, text="old")
    bench.take(undone, 2)
    bench.take("session.updated", 3, info={"title": "t"}, whole=True)
    bench.take("message.opened", 4, role="assistant")
    if read == "after":
        bench.take("block.delta", 6, text="new")
    bench.snapshot(message("m"), seq=5, complete=True)
    if read == "before":
        bench.take("block.delta", 6, text="new")
    assert bench.text() == "new"


@numbered
def test_a_message_that_begins_anew_with_a_delta_stays_where_a_fetched_state_lacks_it(sequencing):
    bench = Bench(sequencing)
    bench.take("message.opened", 1, role="assistant")
    bench.take("block.delta", 5, text="new")
    bench.take("session.removed", 2)
    bench.take("session.updated", 3, info={"title": "t"}, whole=True)
    bench.snapshot(seq=4, complete=True)
    assert bench.text() == "new"


@numbered
@pytest.mark.parametrize("length", [3, 9])
def test_a_part_that_a_fetched_state_lacks_is_removed_however_much_came_since(sequencing, length):
    bench = Bench(sequencing, limits=Limits(late_window=3))
    bench.take("block.delta", 1, text="undone")
    bench.take("message.removed", 2)
    bench.take("message.opened", 3, role="assistant")
    bench.deltas("x" * length, first=4)
    bench.snapshot(message("m"), seq=5, complete=True)
    assert bench.text() is None


@numbered
@pytest.mark.parametrize("above", [{"messageId": "n"}, {"messageId": "m"}])
def test_a_complete_snapshot_that_comes_again_takes_nothing_from_what_came_behind_it(
    sequencing, above
):
    bench = Bench(sequencing)
    bench.take("session.removed", 1)
    bench.take("block.delta", 2, text="of the removed session")
    bench.snapshot(seq=3, complete=True)
    bench.take("block.delta", 4, text="behind", **above)
    before = bench.session()
    messages = bench.store.messages("s")
    assert [message.id for message in messages] == [above["messageId"]]
    bench.snapshot(seq=3, complete=True)
    assert bench.session() == before
    assert bench.store.messages("s") is messages


@numbered
def test_a_complete_snapshot_that_comes_again_leaves_what_came_without_a_position_since(sequencing):
    bench = Bench(sequencing)
    bench.take("message.opened", 1, messageId="before", role="user")
    bench.snapshot(seq=3, complete=True)
    bench.take("block.delta", messageId="n", text="behind")
    bench.store.apply(MessageOpened(session_id="s", message_id="mine", role="user"))
    before = bench.session()
    assert bench.ids() == ["mine", "n"]
    bench.snapshot(seq=3, complete=True)
    assert bench.session() == before


@numbered
@pytest.mark.parametrize("again", [False, True])
def test_a_late_removal_of_a_part_makes_no_message_that_a_complete_snapshot_lacks(
    sequencing, again
):
    bench = Bench(sequencing)
    bench.take("message.opened", 1, messageId="other", role="user")
    bench.snapshot(message("other"), seq=9, complete=True)
    assert bench.take("block.removed", 5) == "duplicate"
    if again:
        bench.snapshot(message("other"), seq=9, complete=True)
    assert bench.ids() == ["other"]


@pytest.mark.parametrize("says_nothing", ["of.tomorrow", "session.updated"])
def test_an_event_that_says_nothing_of_a_session_keeps_no_fetched_info_away(says_nothing):
    bench = Bench("session")
    bench.take("message.opened", 1, role="user")
    token = bench.store.begin_read("s")
    bench.take(says_nothing, 2)
    bench.snapshot(message("m"), readFrom=token, info={"title": "A talk"})
    assert bench.session()["info"] == {"title": "A talk"}


@numbered
def test_a_message_opened_again_above_a_complete_snapshot_keeps_only_what_follows(sequencing):
    bench = Bench(sequencing)
    bench.take("message.opened", 1, role="user")
    bench.take("block.delta", 2, text="old")
    bench.take("message.opened", 6, role="user")
    bench.take("block.delta", 7, text="new")
    bench.snapshot(seq=5, complete=True)
    assert bench.text() == "new"


@numbered
def test_a_page_removes_nothing_outside_its_range(sequencing):
    bench = Bench(sequencing)
    for seq, message_id in enumerate("abcdef", start=1):
        bench.take("message.opened", seq, messageId=message_id, role="user", order=seq)
    page = [message("c"), message("d")]
    for number, given in enumerate(page, start=3):
        given["info"]["order"] = number
    del page[1]
    bench.snapshot(*page, seq=9, complete=True, before="e")
    assert bench.ids() == ["a", "b", "c", "e", "f"]
    # Nothing in it is below the counter's top for other messages either.
    assert bench.take("message.updated", 8, messageId="f", info={"late": True}) != "duplicate"


@numbered
def test_a_page_before_an_unknown_message_removes_nothing(sequencing):
    bench = Bench(sequencing)
    bench.take("message.opened", 1, messageId="a", role="user", order=1)
    bench.snapshot(seq=9, complete=True, before="unknown")
    assert bench.ids() == ["a"]


@numbered
def test_the_sessions_own_members_are_positioned_too(sequencing):
    bench = Bench(sequencing)
    bench.take("session.updated", 1, info={"title": "old", "gone": True})
    bench.take("session.status", 8, status="busy")
    bench.take("todo.updated", 2, todo=["old"])
    bench.take("permission.asked", 3, id="answered")
    bench.take("permission.asked", 9, id="newer")
    bench.snapshot(
        seq=7,
        info={"title": "new"},
        status={"type": "idle"},
        todo=["new"],
        permissions=[{"id": "open"}],
    )
    session = bench.session()
    assert session["info"] == {"title": "new"}
    assert session["status"] == {"type": "busy"}
    assert session["todo"] == ["new"]
    assert sorted(session["permissions"]) == ["newer", "open"]
    assert bench.take("permission.asked", 4, id="answered") in ("accepted", "late")
    assert sorted(bench.session()["permissions"]) == ["newer", "open"]


@every
def test_what_a_fetched_request_asks_takes_the_place_of_what_was_asked_before(sequencing):
    bench = Bench(sequencing)
    bench.take("permission.asked", 1, id="p", payload={"tool": "bash"})
    bench.take("question.asked", 2, id="q", payload={"text": "?"})
    bench.session()
    before = bench.store.session("s").questions["q"]
    token = bench.store.begin_read("s")
    bench.snapshot(
        permissions=[{"id": "p", "payload": {"tool": "edit"}}],
        questions=[{"id": "q", "payload": {"text": "?"}}],
        seq=7,
        readFrom=token,
    )
    bench.session()
    session = bench.store.session("s")
    assert session.permissions["p"].payload == {"tool": "edit"}
    assert session.questions["q"] is before
    bench.snapshot(permissions=[{"id": "p"}], seq=8, readFrom=bench.store.begin_read("s"))
    assert bench.session()["permissions"]["p"]["payload"] == {"tool": "edit"}


@every
def test_what_was_asked_since_the_read_began_is_newer_than_what_it_says(sequencing):
    bench = Bench(sequencing)
    bench.take("permission.asked", 1, id="p", payload={"tool": "bash"})
    token = bench.store.begin_read("s")
    bench.take("permission.asked", 9, id="p", payload={"tool": "edit"})
    old = [{"id": "p", "payload": {"tool": "bash"}}]
    bench.snapshot(permissions=old, seq=7, readFrom=token)
    assert bench.session()["permissions"]["p"]["payload"] == {"tool": "edit"}


@numbered
def test_what_was_asked_above_a_fetched_state_is_newer_than_what_it_says(sequencing):
    bench = Bench(sequencing)
    bench.take("permission.asked", 9, id="p", payload={"tool": "edit"})
    bench.snapshot(permissions=[{"id": "p", "payload": {"tool": "bash"}}], seq=7)
    assert bench.session()["permissions"]["p"]["payload"] == {"tool": "edit"}


@numbered
def test_what_a_snapshot_does_not_speak_of_comes_late_all_the_same(sequencing):
    bench = Bench(sequencing)
    bench.snapshot(seq=7, complete=True)
    bench.take("session.status", 3, status="busy")
    bench.take("session.error", 4, error={"name": "E", "message": ""})
    assert bench.take("session.error", 4, error={"name": "E", "message": ""}) == "duplicate"
    assert bench.session()["status"] == {"type": "busy"}
    assert len(bench.session()["errors"]) == 1


@numbered
def test_a_snapshot_above_a_removal_adds_anew_and_one_below_does_not(sequencing):
    for level in ("session", "message", "block"):
        bench = Bench(sequencing)
        bench.take("block.delta", 1, text="old")
        bench.take(f"{level}.removed", 5)
        bench.snapshot(message("m", part("fetched")), seq=4)
        assert bench.text() is None
        bench.snapshot(message("m", part("fetched")), seq=6)
        assert bench.text() == "fetched"
        bench.take("block.delta", 7, text="!")
        assert bench.text() == "fetched!"


@numbered
def test_a_snapshot_lifts_the_suspicion(sequencing):
    bench = Bench(sequencing, limits=Limits(late_window=2))
    bench.deltas("bcdefghi", first=2)
    assert bench.take("block.delta", 1, text="a") == "refused:unplaceable"
    assert bench.part().gap
    assert "s" in bench.store.health.resync
    bench.snapshot(message("m", part("abcdefghi")), seq=9)
    assert bench.text() == "abcdefghi"
    assert not bench.part().gap
    assert not bench.store.health.resync
    assert not bench.store.health.gaps


def test_a_complete_snapshot_fills_the_holes_of_a_session_stream():
    bench = Bench("session")
    bench.take("block.delta", 1, text="a")
    bench.take("block.delta", 4, text="d")
    bench.store.flush()
    assert bench.store.health.gaps[0].missing == ((2, 3),)
    assert bench.store.health.resume["sessions"] == {"s": 1}
    bench.snapshot(message("m", part("abc")), seq=3, complete=True)
    assert bench.text() == "abcd"
    assert bench.store.health.gaps == ()
    assert bench.store.health.resume["sessions"] == {"s": 4}
    assert bench.take("block.delta", 2, text="b") == "duplicate"


def test_a_complete_snapshot_below_a_hole_does_not_fill_it():
    bench = Bench("session")
    bench.take("block.delta", 2, text="b")
    bench.take("block.delta", 5, text="e")
    bench.snapshot(message("m", part("ab")), seq=2, complete=True)
    bench.store.flush()
    assert bench.store.health.gaps[0].missing == ((3, 4),)
    assert bench.store.health.resume["sessions"] == {"s": 2}


def test_after_a_first_snapshot_a_session_stream_misses_nothing_below_it():
    bench = Bench("session")
    bench.snapshot(seq=5, complete=True)
    assert bench.take("message.opened", 1, role="user") == "duplicate"
    assert bench.take("session.status", 3, status="busy") in ("accepted", "late")
    bench.store.flush()
    assert bench.store.health.gaps == ()
    assert bench.store.health.resume["sessions"] == {"s": 5}


# -- streams without seq ---------------------------------------------------------------------------


def test_without_seq_live_text_stays_where_the_part_was_touched_since_the_read_began():
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.take("block.opened", blockIndex=1, kind="text")
    bench.deltas("live")
    bench.take("block.delta", blockIndex=1, text="old")
    token = bench.store.begin_read("s")
    bench.deltas("!")
    bench.snapshot(message("m", part("fetched"), part("fetched", 1)), readFrom=token)
    assert bench.text() == "live!"
    assert bench.text(1) == "fetched"


def test_without_seq_a_delta_on_the_way_counts_as_touched_before_any_tick():
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.deltas("a")
    bench.store.flush()
    bench.deltas("b")  # waits for a tick, came before the read
    token = bench.store.begin_read("s")
    bench.snapshot(message("m", part("abc")), readFrom=token)
    assert bench.text() == "abc"


def test_without_a_token_the_read_began_when_the_stream_was_opened():
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.deltas("before")
    bench.take("block.closed")
    bench.reopen()
    bench.take("block.opened", blockIndex=1, kind="text")
    bench.take("block.delta", blockIndex=1, text="since")
    bench.snapshot(message("m", part("fetched"), part("fetched", 1)))
    assert (bench.text(), bench.text(1)) == ("fetched", "since")
    bench.take("stream.opened")
    bench.snapshot(message("m", part("fetched"), part("fetched", 1)))
    assert bench.text(1) == "fetched"


def test_without_seq_live_text_that_strictly_extends_the_fetched_one_stays():
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.deltas("Hello")
    token = bench.store.begin_read("s")
    bench.snapshot(message("m", part("Hel", title="t")), readFrom=token)
    assert bench.text() == "Hello"
    assert bench.part().fields == {"title": "t"}


def test_without_seq_a_gapped_text_does_not_stand_against_a_fetched_one():
    bench = Bench("none")
    bench.deltas("Hello")  # no open came: its start may be missing
    assert bench.part().gap
    token = bench.store.begin_read("s")
    bench.snapshot(message("m", part("Hel")), readFrom=token)
    assert bench.text() == "Hel"


def test_without_seq_a_fetched_empty_text_erases_nothing():
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.deltas("Hello")
    token = bench.store.begin_read("s")
    for text in ("", None):
        for status in ("open", "closed"):
            bench.snapshot(message("m", part(text, status=status)), readFrom=token)
            assert bench.text() == "Hello"
    assert bench.part().status == "closed"


def test_without_seq_a_fetched_text_that_has_ended_closes_the_gap_of_a_cut_part():
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.deltas("Hel")
    bench.stream.end()
    assert bench.part().gap
    bench.stream = bench.store.open("native", sequencing="none")
    bench.take("block.delta", text="rld")
    bench.store.flush()
    token = bench.store.begin_read("s")
    bench.take("block.delta", text="!")
    bench.store.flush()
    bench.snapshot(message("m", part("Hello world!", status="closed")), readFrom=token)
    changes = bench.store.flush()
    assert [(e.start, e.text, e.rewritten) for e in changes.text.values()] == [
        (3, "lo world!", True)
    ]
    assert bench.text() == "Hello world!"
    assert not bench.part().gap
    assert bench.store.health.gaps == ()


def test_without_seq_removals_seen_during_the_read_stay_removed():
    for level in ("session", "message", "block"):
        bench = Bench("none")
        bench.take("message.opened", role="user")
        bench.take("block.opened", kind="text")
        token = bench.store.begin_read("s")
        bench.take(f"{level}.removed")
        bench.snapshot(message("m", part("x", status="closed")), readFrom=token)
        assert bench.text() is None
        later = bench.store.begin_read("s")
        bench.snapshot(message("m", part("x", status="closed")), readFrom=later)
        assert bench.text() == "x"


@pytest.mark.parametrize("level", ["session.removed", "message.removed", "message.reset"])
def test_without_seq_what_began_anew_during_the_read_keeps_nothing_of_before(level):
    bench = Bench("none")
    token = bench.store.begin_read("s")
    bench.take("message.opened", role="assistant")
    bench.take("block.delta", text="old")
    bench.take(level)
    bench.take("session.updated", info={}, whole=True)
    bench.take("message.opened", role="assistant")
    bench.snapshot(message("m", part("old")), message("n", part("n")), readFrom=token)
    assert bench.text() is None
    assert bench.ids() == (["m"] if level == "session.removed" else ["m", "n"])
    bench.take("block.delta", text="new")
    bench.snapshot(message("m", part("old")), readFrom=token)
    assert bench.text() == "new"
    later = bench.store.begin_read("s")
    bench.snapshot(message("m", part("new"), part("two", 1)), readFrom=later)
    assert (bench.text(), bench.text(1)) == ("new", "two")


def test_without_seq_an_ended_text_that_repairs_takes_no_field_that_was_said_since_the_read():
    bench = Bench("none")
    bench.deltas("lo")
    token = bench.store.begin_read("s")
    bench.take("block.updated", note=1)
    ended = part("hello", status="closed", tag="t")
    bench.snapshot(message("m", ended), readFrom=token)
    assert (bench.text(), bench.part().gap) == ("hello", False)
    assert bench.part().fields == {"note": 1, "tag": "t"}
    later = bench.store.begin_read("s")
    bench.snapshot(message("m", ended), readFrom=later)
    assert bench.part().fields == {"tag": "t"}


@pytest.mark.parametrize("level", ["block.removed", "message.removed", "message.reset"])
def test_without_seq_text_of_an_earlier_life_repairs_no_gap(level):
    bench = Bench("none")
    bench.take("message.opened", role="assistant")
    token = bench.store.begin_read("s")
    bench.take("block.delta", text="old")
    bench.take(level)
    if level == "message.removed":
        bench.take("message.opened", role="assistant")
    bench.take("block.opened", kind="text")
    bench.deltas("new")
    bench.reopen()
    assert bench.part().gap
    bench.snapshot(message("m", part("old", status="closed")), readFrom=token)
    assert bench.text() == "new"
    bench.deltas("er")
    assert bench.text() == "newer"


@pytest.mark.parametrize(
    "level", ["session.removed", "message.removed", "message.reset", "block.removed"]
)
def test_a_state_of_a_new_counter_is_not_of_before_what_the_old_one_removed(level):
    bench = Bench("none")
    bench.take("stream.opened", generation="one")
    bench.take("message.opened", role="assistant")
    bench.take("block.delta", text="old")
    token = bench.store.begin_read("s")
    bench.take(level)
    bench.take("session.updated", info={}, whole=True)
    bench.take("message.opened", role="assistant")
    bench.take("block.opened", kind="text")
    bench.deltas("new")
    bench.take("stream.opened", generation="two")
    bench.snapshot(message("m", part("fetched")), generation="two", readFrom=token)
    assert (bench.text(), bench.part().previous) == ("fetched", False)


def test_without_seq_a_gapped_text_that_goes_on_behind_a_fetched_one_stays():
    bench = Bench("none")
    bench.take("message.closed", status="completed")
    token = bench.store.begin_read("s")
    bench.deltas("ab")
    bench.snapshot(message("m", part("a"), status="completed"), readFrom=token)
    assert (bench.text(), bench.part().gap) == ("ab", True)
    bench.snapshot(message("m", part("xab"), status="completed"), readFrom=token)
    assert (bench.text(), bench.part().gap) == ("xab", False)


def test_without_seq_a_complete_snapshot_removes_what_was_not_opened_since_the_read_began():
    bench = Bench("none")
    for message_id in "abc":
        bench.take("message.opened", messageId=message_id, role="user")
    bench.store.apply(MessageOpened(session_id="s", message_id="mine", role="user", local=True))
    token = bench.store.begin_read("s")
    bench.take("message.opened", messageId="new", role="user")
    bench.take("block.delta", messageId="c", text="touched")
    bench.snapshot(message("a"), readFrom=token)
    assert sorted(bench.ids()) == ["a", "b", "c", "mine", "new"]
    bench.snapshot(message("a"), readFrom=token, complete=True)
    assert sorted(bench.ids()) == ["a", "c", "mine", "new"]


def test_without_seq_a_page_removes_nothing_outside_its_range():
    bench = Bench("none")
    for order, message_id in enumerate("abcde"):
        bench.take("message.opened", messageId=message_id, role="user", order=order)
    token = bench.store.begin_read("s")
    given = message("b")
    given["info"]["order"] = 1
    bench.snapshot(given, readFrom=token, complete=True, before="d")
    assert bench.ids() == ["a", "b", "d", "e"]


def test_without_seq_a_part_that_the_state_lacks_is_gone_unless_it_was_touched():
    bench = Bench("none")
    for index in range(3):
        bench.take("block.opened", blockIndex=index, kind="text")
    token = bench.store.begin_read("s")
    bench.take("block.delta", blockIndex=2, text="live")
    bench.snapshot(message("m", part("x", status="closed")), readFrom=token)
    assert [p["blockIndex"] for p in bench.session()["messages"][0]["parts"]] == [0, 2]


@pytest.mark.parametrize("sequencing", ["none", "session"])
def test_without_seq_what_no_opening_said_of_live_text_is_taken_from_the_read(sequencing: str):
    """Joined in the middle of reasoning, whose next delta comes before the read does."""
    bench = Bench(sequencing)
    token = bench.store.begin_read("s")
    bench.take("block.delta", text="think")
    bench.take("block.opened", blockIndex=1, kind="tool", fields={})
    bench.take("message.updated", info={"a": "live"})
    given = message(
        "m",
        part("", kind="reasoning", order=2, time={"start": 3}),
        part(None, 1, kind="tool", order=1, tool="bash"),
        order=5,
        parentId="p",
    )
    given["info"].update(a="fetched", b="fetched")
    bench.snapshot(given, message("later", order=6), readFrom=token)
    bench.deltas("ing")
    (found, _) = bench.session()["messages"]
    assert (found["id"], found["role"], found["parentId"]) == ("m", "assistant", "p")
    assert found["info"] == {"a": "live", "b": "fetched", "id": "m", "role": "assistant"}
    assert [(one["blockIndex"], one["kind"]) for one in found["parts"]] == [
        (1, "tool"), (0, "reasoning")
    ]  # fmt: skip
    assert (bench.text(), bench.part().gap, bench.part().time) == ("thinking", True, {"start": 3})
    assert bench.part(1).fields["tool"] == "bash"


@pytest.mark.parametrize("sequencing", ["none", "session"])
def test_without_seq_live_text_of_another_field_stays_where_no_opening_was_seen(sequencing: str):
    bench = Bench(sequencing)
    token = bench.store.begin_read("s")
    bench.take("block.delta", field="input", text="{")
    bench.take("block.delta", field="input", text="}")
    tool = part(None, kind="tool", input="{", output="", tool="bash")
    bench.snapshot(message("m", tool), readFrom=token)
    assert bench.part().field_text("input") == "{}"
    assert (bench.part().kind, bench.part().fields["tool"]) == ("tool", "bash")


@pytest.mark.parametrize("sequencing", ["none", "session", "sparse"])
@pytest.mark.parametrize("type_", ["block.closed", "block.updated"])
@pytest.mark.parametrize("ended", ["open", "closed"])
def test_without_seq_what_says_nothing_of_a_text_keeps_no_fetched_one_away(
    sequencing: str, type_: str, ended: str
):
    """Joined behind the last delta of a part, whose close comes before the read does."""
    bench = Bench(sequencing)
    token = bench.store.begin_read("s")
    bench.take(type_, **({} if type_ == "block.closed" else {"a": "live"}))
    given = part("think", kind="reasoning", status=ended, a="read", b="read")
    bench.snapshot(message("m", given), readFrom=token)
    closed = type_ == "block.closed"
    found = bench.part()
    assert (found.kind, found.text) == ("reasoning", "think")
    assert found.fields == {"a": "read" if closed else "live", "b": "read"}
    assert found.gap is (ended == "open")  # the read need not know of its end
    assert (found.status == "open") is (not closed)
    after = bench.take("block.delta", text="ing")
    assert (after, bench.text()) == (
        ("refused:sealed", "think") if closed else ("accepted", "thinking")
    )


@pytest.mark.parametrize("sequencing", ["none", "session", "sparse"])
def test_without_seq_a_text_that_is_set_to_nothing_keeps_a_fetched_one_away(sequencing: str):
    bench = Bench(sequencing)
    token = bench.store.begin_read("s")
    seqs = [{}, {}] if sequencing == "none" else [{"seq": 1}, {"seq": 2}]
    bench.take("block.replaced", text="", **seqs[0])
    bench.snapshot(message("m", part("old")), readFrom=token)
    assert bench.text() == ""
    bench.take("block.delta", text="new", **seqs[1])
    assert bench.text() == "new"


def test_without_seq_fields_that_events_set_since_the_read_began_stay():
    bench = Bench("none")
    bench.take("session.updated", info={"title": "old"})
    bench.take("message.updated", info={"a": "old"})
    bench.take("todo.updated", todo=["old"])
    bench.take("permission.asked", id="gone")
    token = bench.store.begin_read("s")
    bench.take("session.updated", info={"title": "live"})
    bench.take("message.updated", info={"a": "live"})
    given = message("m")
    given["info"]["a"] = "fetched"
    more = {"info": {"title": "fetched"}, "todo": ["fetched"], "permissions": []}
    bench.snapshot(given, readFrom=token, **more)
    session = bench.session()
    assert session["info"] == {"title": "live"}
    assert session["messages"][0]["info"] == {"a": "live"}
    assert session["todo"] == ["fetched"]
    assert "permissions" not in session


def test_without_seq_a_snapshot_confirms_what_was_local():
    bench = Bench("none")
    bench.store.apply(MessageOpened(session_id="s", message_id="m", role="user", local=True))
    bench.snapshot(message("m", part("hi", status="closed")))
    assert bench.text() == "hi"
    assert not bench.store.message("s", "m").local


@pytest.mark.parametrize("sequencing", ["block", "none"])
@pytest.mark.parametrize(
    "live",
    [
        ("block.delta", {"text": "hi", "seq": 1}),
        ("message.opened", {"role": "user"}),
        ("message.updated", {"info": {"a": "live"}}),
        ("message.closed", {}),
    ],
)
def test_a_read_says_whose_message_and_of_which_role_is_live_whose_opening_nobody_saw(
    sequencing, live
):
    bench = Bench(sequencing)
    own = MessageOpened(session_id="s", message_id="own", role="user", local=True, client_id="c1")
    bench.store.apply(own)
    token = bench.store.begin_read("s")
    assert bench.take(live[0], **live[1]) == "accepted"
    given = {**message("m", part("hi", seq=1), role="user"), "clientId": "c1"}
    bench.snapshot(given, readFrom=token)
    assert [(m["id"], m["role"]) for m in bench.session()["messages"]] == [("m", "user")]
    assert bench.text() == "hi"


@pytest.mark.parametrize("sequencing", ["block", "none"])
@pytest.mark.parametrize(
    ("live", "status"),
    [
        (("block.removed", {}), "error"),
        (("block.replaced", {"text": "hi", "status": "closed", "seq": 1}), "error"),
        (("message.closed", {}), "completed"),  # as it was told last
        (("block.delta", {"text": "hi", "seq": 1}), "open"),  # its end is still to come
    ],
)
def test_a_read_says_how_a_message_ended_whose_opening_and_end_nobody_saw(sequencing, live, status):
    bench = Bench(sequencing)
    token = bench.store.begin_read("s")
    assert bench.take(live[0], **live[1]) == "accepted"
    bench.snapshot(message("m", status="error", error={"name": "E"}), readFrom=token)
    shown = bench.session()["messages"][0]
    assert (shown["role"], shown["status"]) == ("assistant", status)
    assert shown.get("error") == ({"name": "E"} if status == "error" else None)


@pytest.mark.parametrize("sequencing", ["block", "none"])
@pytest.mark.parametrize("said", [{"order": 5}, {"clientId": "c1"}, {}])
@pytest.mark.parametrize(
    "live",
    [
        [("message.opened", {"role": "assistant"})],
        [
            ("message.opened", {"role": "assistant"}),
            ("block.replaced", {"text": "hi", "status": "closed", "seq": 1}),
        ],
        [
            ("message.reset", {}),
            ("block.replaced", {"text": "hi", "status": "closed", "seq": 1}),
        ],
    ],
)
def test_a_read_says_not_how_a_message_ended_that_was_opened_or_began_anew_during_it(
    sequencing, live, said
):
    """What was read may be how it failed before it was tried again."""
    bench = Bench(sequencing)
    token = bench.store.begin_read("s")
    for kind, members in live:
        bench.take(kind, **members)
    bench.snapshot({**message("m", status="error"), **said}, readFrom=token)
    assert bench.session()["messages"][0]["status"] == "open"


def test_a_delta_behind_a_local_text_may_lack_the_beginning_which_a_read_brings():
    bench = Bench("none")
    bench.store.apply(MessageOpened(session_id="s", message_id="m", role="user", local=True))
    bench.store.apply(BlockReplaced(session_id="s", message_id="m", block_index=0, text="hello"))
    token = bench.store.begin_read("s")
    bench.take("block.delta", text="lo")
    assert (bench.text(), bench.part().gap) == ("lo", True)
    bench.snapshot(message("m", part("hello", status="closed")), readFrom=token)
    assert (bench.text(), bench.part().gap) == ("hello", False)


@every
def test_a_token_that_no_read_gave_is_malformed(sequencing):
    bench = Bench(sequencing)
    assert bench.snapshot(seq=1, readFrom="yesterday") == "malformed:readFrom"


# -- block streams ---------------------------------------------------------------------------------


def test_in_a_block_stream_each_part_carries_its_own_seq():
    bench = Bench("block")
    bench.deltas("ab", first=1)
    bench.take("block.delta", 1, blockIndex=1, text="x")
    bench.snapshot(message("m", part("abcd", seq=4), part("?", 1, seq=1)))
    assert (bench.text(), bench.text(1)) == ("abcd", "x")
    assert bench.take("block.delta", 3, text="c") == "duplicate"
    bench.take("block.delta", 5, text="e")
    assert bench.text() == "abcde"


def test_in_a_block_stream_a_snapshot_passes_holes_and_frees_what_waits_above_it():
    bench = Bench("block")
    bench.deltas("a", first=1)
    for seq, text in ((3, "c"), (5, "e"), (6, "f"), (8, "h")):
        assert bench.take("block.delta", seq, text=text) == "held"
    assert bench.text() == "a"
    assert bench.part().gap
    bench.snapshot(message("m", part("abcd", seq=4)))
    assert bench.text() == "abcdef"
    assert bench.store.health.gaps[0].missing == ((7, 7),)
    assert bench.store.health.counts["held"] == {"filled": 2, "superseded": 1}


def test_in_a_block_stream_a_snapshot_older_than_the_text_changes_no_text():
    bench = Bench("block")
    bench.deltas("abc", first=1)
    bench.snapshot(message("m", part("ab", seq=2)))
    assert bench.text() == "abc"


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse"])
def test_a_snapshot_that_a_reset_waited_for_is_known_when_it_comes_again(sequencing: str) -> None:
    bench = Bench(sequencing)
    bench.deltas("old", first=1)
    assert bench.take("message.reset") == "accepted"
    assert bench.take("block.snapshot", 5, text="new", note=1) == "accepted"
    assert bench.take("block.snapshot", 5, text="other", note=2) == "duplicate"
    assert bench.text() == "new" and bench.part().fields["note"] == 1


@pytest.mark.parametrize("tick", [True, False])
def test_a_half_pair_waits_again_in_a_message_that_a_fetched_state_opens(tick: bool) -> None:
    bench = Bench("sparse")
    bench.take("block.opened", 1, kind="tool")
    bench.take("block.delta", 2, text="a\ud83d")
    bench.take("message.closed", 3)
    if tick:
        assert bench.text() == "a\ufffd"
    # The part is of another kind there, so that its text is not taken.
    part = {"blockIndex": 0, "kind": "text", "text": "b"}
    bench.snapshot({"id": "m", "role": "assistant", "parts": [part]}, seq=4)
    assert bench.text() == "a"
    assert bench.take("message.closed", 5) == "accepted"
    assert bench.text() == "a\ufffd"


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("sequencing", ["session", "sparse"])
def test_a_result_below_a_fetched_state_is_told_by_it(sequencing: Sequencing, first: bool) -> None:
    """The call was made again since: what it gave before is nothing to the one that is there."""
    state: Wire = {
        "type": "snapshot",
        "sessionId": "s",
        "seq": 9,
        "complete": True,
        "messages": [
            {"id": "m", "parts": [{"blockIndex": 0, "kind": "tool", "callId": "c", "text": ""}]}
        ],
    }
    result: Wire = {"type": "tool.result", "sessionId": "s", "callId": "c", "seq": 4}
    result["fields"] = {"state": {"status": "completed", "output": "old"}}
    later: Wire = {**result, "seq": 12, "fields": {"state": {"status": "running"}}}
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing=sequencing)
    kinds = [stream.ingest(wire).kind for wire in ([result, state] if first else [state, result])]
    assert kinds[1] == "accepted" if first else kinds == ["accepted", "duplicate"]
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.tool is not None and part.tool.status == "pending"
    stream.ingest(later)
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.tool is not None and part.tool.status == "running"
