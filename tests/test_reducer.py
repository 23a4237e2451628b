"""The merging laws of contract section 2, one by one: what an admitted event does to the state."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from streamstore import Limits, MessageKey, StreamStore
from streamstore.events import (
    BlockClosed,
    BlockDelta,
    BlockReplaced,
    MessageOpened,
    MessageRollback,
)
from streamstore.model import PART_KINDS

Wire = dict[str, Any]


class Bench:
    """A store with one stream; `seq` counts up where an event is given none."""

    def __init__(self, sequencing: str = "sparse", **options: Any) -> None:
        self.store = StreamStore("native", ticks="manual", **options)
        self.stream = self.store.open("native", sequencing=sequencing)
        self.counts = sequencing in ("session", "sparse")
        self.seq = 0

    def take(self, type_: str, **members: Any) -> str:
        """The verdict on one event of session `s`, message `m`, block 0, as `kind:reason`."""
        event: Wire = {"type": type_, "sessionId": "s"}
        if type_.startswith(("message.", "block.")):
            event["messageId"] = "m"
        if type_.startswith("block."):
            event["blockIndex"] = 0
        event.update(members)
        if self.counts:
            self.seq = event.setdefault("seq", self.seq + 1)
        verdict = self.stream.ingest(event)
        return f"{verdict.kind}:{verdict.reason}" if verdict.reason else verdict.kind

    def shown(self) -> Wire:
        """Session `s` of the state, after a tick."""
        self.store.flush()
        return self.store.state()["sessions"].get("s", {})

    def message(self, message_id: str = "m") -> Wire:
        return next(m for m in self.shown()["messages"] if m["id"] == message_id)

    def part(self, index: Any = 0, message_id: str = "m") -> Any:
        self.store.flush()
        return self.store.part("s", message_id, index)

    def text(self, index: Any = 0) -> str:
        return self.part(index).text


numbered = pytest.mark.parametrize("sequencing", ["session", "sparse"])
unblocked = pytest.mark.parametrize("sequencing", ["session", "sparse", "none"])
every = pytest.mark.parametrize("sequencing", ["session", "sparse", "none", "block"])

# -- the stream ------------------------------------------------------------------------------------


def test_stream_opened_declares_the_sequencing_of_what_follows():
    bench = Bench("sparse")
    assert bench.take("stream.opened", sequencing="none", seq=0) == "accepted"
    assert bench.stream.sequencing == "none"
    bench.take("block.delta", text="a", seq=5)
    bench.take("block.delta", text="b", seq=5)
    assert bench.text() == "ab"


def test_stream_synchronized_changes_nothing():
    bench = Bench()
    bench.take("block.delta", text="a")
    before = bench.shown()
    assert bench.take("stream.synchronized") == "accepted"
    assert not bench.store.flush()
    assert bench.shown() == before


# -- the session's own -----------------------------------------------------------------------------


@every
def test_session_fields_merge_and_a_whole_update_drops_the_others(sequencing):
    bench = Bench(sequencing)
    bench.take("session.updated", info={"title": "t", "tokens": {"in": 1, "out": 2}})
    bench.take("session.updated", info={"tokens": {"in": 3}, "cost": None})
    assert bench.store.state()["sessions"] == {}  # nothing is shown before a tick
    assert bench.shown()["info"] == {"title": "t", "tokens": {"in": 3}, "cost": None}
    bench.take("session.updated", info={"title": "u"}, whole=True)
    assert bench.shown()["info"] == {"title": "u"}


@numbered
def test_session_fields_win_by_seq_field_by_field(sequencing):
    bench = Bench(sequencing)
    bench.take("session.updated", info={"a": "new"}, seq=5)
    bench.take("session.updated", info={"a": "old", "b": "old"}, seq=3)
    assert bench.shown()["info"] == {"a": "new", "b": "old"}


@numbered
def test_a_late_whole_update_drops_only_what_was_there_before_it(sequencing):
    bench = Bench(sequencing)
    bench.take("session.updated", info={"a": 1, "b": 1}, seq=1)
    bench.take("session.updated", info={"b": 3}, seq=3)
    bench.take("session.updated", info={"c": 2}, whole=True, seq=2)
    assert bench.shown()["info"] == {"b": 3, "c": 2}


@every
def test_the_last_status_holds(sequencing):
    bench = Bench(sequencing)
    bench.take("session.status", status="retry", attempt=2, message="overloaded", next=99)
    assert bench.shown()["status"] == {
        "type": "retry",
        "attempt": 2,
        "message": "overloaded",
        "next": 99,
    }
    bench.take("session.status", status="idle")
    assert bench.shown()["status"] == {"type": "idle"}


@numbered
def test_a_late_status_does_not_hold(sequencing):
    bench = Bench(sequencing)
    bench.take("session.status", status="idle", seq=2)
    bench.take("session.status", status="busy", seq=1)
    assert bench.shown()["status"] == {"type": "idle"}


@numbered
def test_errors_are_recorded_in_order_of_seq(sequencing):
    bench = Bench(sequencing)
    for seq in (1, 3, 2):
        bench.take("session.error", error={"name": "E", "message": str(seq)}, seq=seq)
    assert [error["message"] for error in bench.shown()["errors"]] == ["1", "2", "3"]


@every
def test_the_oldest_errors_go_first(sequencing):
    bench = Bench(sequencing, limits=Limits(session_errors=2))
    for name in "abc":
        bench.take("session.error", error={"name": name, "message": ""})
    assert [error["name"] for error in bench.shown()["errors"]] == ["b", "c"]


@every
def test_todo_and_diff_replace_the_whole_list(sequencing):
    bench = Bench(sequencing)
    bench.take("todo.updated", todo=[{"id": "1"}, {"id": "2"}])
    bench.take("session.diff", diff=[{"file": "a"}])
    bench.take("todo.updated", todo=[{"id": "3"}])
    assert bench.shown()["todo"] == [{"id": "3"}]
    assert bench.shown()["diff"] == [{"file": "a"}]


@every
def test_the_shared_state_is_replaced_or_patched(sequencing):
    bench = Bench(sequencing)
    bench.take("session.state", state={"steps": []})
    patch = [{"op": "add", "path": "/steps/-", "value": "one"}]
    assert bench.take("session.state", patch=patch) == "accepted"
    assert bench.shown()["state"] == {"steps": ["one"]}
    bench.take("session.state", state={"done": True})
    assert bench.shown()["state"] == {"done": True}


@every
def test_a_patch_that_fails_changes_nothing_not_even_by_half(sequencing):
    bench = Bench(sequencing)
    bench.take("session.state", state={"a": 1})
    patch = [
        {"op": "replace", "path": "/a", "value": 2},
        {"op": "remove", "path": "/missing"},
    ]
    assert bench.take("session.state", patch=patch) == "refused:conflict"
    assert bench.shown()["state"] == {"a": 1}
    later = [{"op": "add", "path": "/b", "value": 3}]
    assert bench.take("session.state", patch=later) == "accepted"
    assert bench.shown()["state"] == {"a": 1, "b": 3}


@every
def test_a_patch_may_remove_the_whole_state_and_go_on(sequencing):
    bench = Bench(sequencing)
    bench.take("session.state", state={"a": 1})
    gone = {"op": "remove", "path": ""}
    assert bench.take("session.state", patch=[gone]) == "accepted"
    assert bench.shown().get("state") is None
    whole = {"op": "add", "path": "", "value": {"b": 2}}
    assert bench.take("session.state", patch=[whole, gone, whole]) == "accepted"
    assert bench.shown()["state"] == {"b": 2}
    lost = [gone, {"op": "add", "path": "/c", "value": 3}]
    assert bench.take("session.state", patch=lost) == "refused:conflict"
    assert bench.shown()["state"] == {"b": 2}


@numbered
def test_a_state_that_comes_late_is_patched_by_what_follows_it(sequencing):
    bench = Bench(sequencing)
    bench.take("session.state", state=[], seq=1)
    bench.take("session.state", patch=[{"op": "add", "path": "/-", "value": "c"}], seq=4)
    bench.take("session.state", patch=[{"op": "add", "path": "/-", "value": "b"}], seq=3)
    assert bench.shown()["state"] == ["b", "c"]
    bench.take("session.state", state=["a"], seq=2)
    assert bench.shown()["state"] == ["a", "b", "c"]
    assert bench.take("session.state", state=[], seq=0) in ("accepted", "late")
    assert bench.shown()["state"] == ["a", "b", "c"]


# -- permissions and questions ---------------------------------------------------------------------

asking = pytest.mark.parametrize(
    ("group", "answers"),
    [
        ("permission", ["permission.replied"]),
        ("question", ["question.replied", "question.rejected"]),
    ],
)


@every
@asking
def test_asking_is_idempotent_by_request_id(sequencing, group, answers):
    bench = Bench(sequencing)
    bench.take(f"{group}.asked", id="r", messageId="m", callId="c", payload={"tool": "bash"})
    before = bench.shown()
    bench.take(f"{group}.asked", id="r", messageId="m", callId="c", payload={"tool": "bash"})
    assert bench.shown() == before
    request = {"id": "r", "messageId": "m", "callId": "c", "payload": {"tool": "bash"}}
    assert bench.shown()[f"{group}s"] == {"r": request}


@every
@asking
def test_what_is_asked_anew_under_its_id_takes_its_place(sequencing, group, answers):
    bench = Bench(sequencing)
    bench.take(f"{group}.asked", id="r", messageId="m", payload={"tool": "bash"}, seq=1)
    bench.take(f"{group}.asked", id="other", seq=2)
    bench.shown()
    first = getattr(bench.store.session("s"), f"{group}s")
    bench.take(f"{group}.asked", id="r", messageId="m", payload={"tool": "bash"}, seq=3)
    bench.take(f"{group}.asked", id="other", payload={"tool": "edit"}, seq=4)
    bench.shown()
    then = getattr(bench.store.session("s"), f"{group}s")
    assert then["r"] is first["r"]
    assert list(then) == ["r", "other"]
    assert then["other"].payload == {"tool": "edit"}
    bench.take(answers[0], id="other", seq=5)
    bench.take(f"{group}.asked", id="other", payload={"tool": "read"}, seq=6)
    assert list(bench.shown()[f"{group}s"]) == ["r"]


@asking
@pytest.mark.parametrize("sequencing", ["session", "sparse"])
def test_of_two_askings_the_one_with_the_higher_seq_holds_in_any_order(sequencing, group, answers):
    found = []
    for order in ((2, 4), (4, 2)):
        bench = Bench(sequencing)
        for seq in order:
            bench.take(f"{group}.asked", id="r", payload={"seq": seq}, seq=seq)
        found.append(bench.shown()[f"{group}s"]["r"]["payload"])
    assert found == [{"seq": 4}, {"seq": 4}]


@every
@asking
def test_an_answer_removes_the_request_also_when_it_comes_first(sequencing, group, answers):
    for answer in answers:
        bench = Bench(sequencing)
        bench.take(f"{group}.asked", id="r")
        bench.take(answer, id="r")
        assert bench.shown() == {}
        bench.take(answer, id="early")
        bench.take(f"{group}.asked", id="early")
        assert bench.shown() == {}


@every
def test_a_permission_and_a_question_may_share_an_id(sequencing):
    bench = Bench(sequencing)
    bench.take("permission.asked", id="r")
    bench.take("question.replied", id="r")
    bench.take("question.asked", id="q")
    bench.take("permission.replied", id="q")
    assert list(bench.shown()["permissions"]) == ["r"]
    assert list(bench.shown()["questions"]) == ["q"]


# -- messages --------------------------------------------------------------------------------------


@every
def test_a_delta_makes_a_message_that_its_open_fills_in_without_touching_text(sequencing):
    bench = Bench(sequencing)
    bench.take("block.delta", text="hi", seq=1)
    before = bench.part()
    assert bench.store.message("s", "m").role == ""
    bench.take("message.opened", role="assistant", parentId="p", info={"model": "x"}, seq=2)
    bench.store.flush()
    message = bench.store.message("s", "m")
    assert (message.role, message.parent_id, message.info) == ("assistant", "p", {"model": "x"})
    assert bench.part() is before


@every
def test_opening_a_message_again_changes_nothing(sequencing):
    bench = Bench(sequencing)
    for _ in range(2):
        bench.take("message.opened", role="user", order=1, info={"a": 1})
        bench.store.flush()
        message = bench.store.message("s", "m")
    assert bench.store.message("s", "m") is message
    assert bench.store.version == 1


@every
def test_message_fields_merge_an_object_is_one_field_and_null_is_a_value(sequencing):
    bench = Bench(sequencing)
    bench.take("message.updated", info={"cost": 1, "tokens": {"in": 1, "out": 1}})
    bench.take("message.updated", info={"tokens": {"in": 2}, "finish": None})
    assert bench.message()["info"] == {"cost": 1, "tokens": {"in": 2}, "finish": None}
    bench.take("message.updated", info={"cost": 2}, whole=True)
    assert bench.message()["info"] == {"cost": 2}


@numbered
def test_message_fields_win_by_seq_field_by_field(sequencing):
    bench = Bench(sequencing)
    bench.take("message.updated", info={"a": 3}, seq=3)
    bench.take("message.updated", info={"a": 2, "b": 2}, whole=True, seq=2)
    bench.take("message.updated", info={"a": 1, "b": 1, "c": 1}, seq=1)
    assert bench.message()["info"] == {"a": 3, "b": 2}
    bench.take("message.opened", role="late", seq=4)
    bench.take("message.opened", role="early", order=7, seq=0)
    bench.store.flush()
    assert bench.store.message("s", "m").role == "late"
    assert bench.store.message("s", "m").order == 7


@every
def test_messages_stand_by_order_else_by_created_time_ties_by_id_and_last_without_a_key(sequencing):
    bench = Bench(sequencing)
    bench.take("message.opened", messageId="x", role="user")
    bench.take("message.opened", messageId="c", role="user", info={"time": {"created": 3}})
    bench.take("message.opened", messageId="b", role="user", order=2)
    bench.take("message.opened", messageId="a", role="user", order=2)
    bench.take("message.opened", messageId="i", role="user", order=2.5)
    assert [message["id"] for message in bench.shown()["messages"]] == ["a", "b", "i", "c", "x"]


@every
def test_a_key_that_comes_later_moves_the_message_and_is_announced(sequencing):
    bench = Bench(sequencing)
    bench.take("message.opened", messageId="b", role="user", order=2)
    bench.take("message.opened", messageId="a", role="user")
    bench.store.flush()
    bench.take("message.updated", messageId="a", info={"time": {"created": 1}})
    changes = bench.store.flush()
    assert [place.key.message_id for place in changes.moved] == ["a"]
    assert changes.moved[0].before.message_id == "b"
    assert [message.id for message in bench.store.messages("s")] == ["a", "b"]


@every
def test_a_close_of_an_unknown_message_makes_it_closed(sequencing):
    bench = Bench(sequencing)
    bench.take("message.closed")
    assert bench.message() == {"id": "m", "status": "completed"}


@every
def test_a_close_carries_no_text_and_settles_the_parts(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="text", seq=1)
    bench.take("block.delta", text="a", seq=1 if sequencing == "block" else 2)
    bench.take("message.closed", status="aborted", error={"why": "user"}, seq=3)
    assert bench.message()["status"] == "aborted"
    assert bench.message()["error"] == {"why": "user"}
    assert bench.text() == "a"
    # A part that nothing closed in a stream without seq may lack text only at the stream's end.
    assert bench.part().status == "closed"


@numbered
def test_of_two_ways_to_end_the_one_with_the_higher_seq_holds(sequencing):
    ends = {1: ("error", {"error": {"code": 1}}), 2: ("completed", {})}
    found = []
    for arrival in ((1, 2), (2, 1)):
        bench = Bench(sequencing)
        for seq in arrival:
            status, more = ends[seq]
            bench.take("message.closed", status=status, seq=seq, **more)
        found.append(bench.message())
    assert found[0] == found[1]
    assert found[0]["status"] == "completed"


@pytest.mark.parametrize("first", ["completed", "aborted", "error"])
@pytest.mark.parametrize("second", ["completed", "aborted", "error"])
def test_without_seq_error_holds_over_aborted_over_completed(first, second):
    ranks = ["completed", "aborted", "error"]
    bench = Bench("none")
    bench.take("message.closed", status=first)
    bench.take("message.closed", status=second)
    assert bench.message()["status"] == max(first, second, key=ranks.index)


@every
def test_nothing_opens_a_closed_message_again(sequencing):
    bench = Bench(sequencing)
    bench.take("message.closed")
    bench.take("message.opened", role="assistant")
    bench.take("message.updated", info={"a": 1}, whole=True)
    assert bench.message()["status"] == "completed"


# -- reset, rollback, local ------------------------------------------------------------------------


@every
def test_a_reset_message_shows_its_old_parts_until_its_next_event_commits(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="text", seq=1)
    bench.take("block.delta", text="old text", seq=1 if sequencing == "block" else 2)
    bench.take("block.opened", blockIndex=1, kind="reasoning", seq=3)
    bench.store.flush()
    shown: list[Any] = []
    bench.store.subscribe(shown.append)
    bench.take("message.reset", seq=4)
    bench.store.flush()
    assert bench.text() == "old text"
    bench.take("session.status", status="busy", seq=5)
    assert bench.text() == "old text"
    bench.take("block.opened", kind="text", seq=6)
    bench.take("block.delta", text="new", seq=1 if sequencing == "block" else 7)
    bench.store.flush()
    assert [(part["blockIndex"], part["text"]) for part in bench.message()["parts"]] == [(0, "new")]
    (edit,) = shown[-1].text.values()
    assert (edit.start, edit.text, edit.rewritten) == (0, "new", True)
    assert [key.block_index for key in shown[-1].removed] == [1]


@numbered
def test_a_reset_that_comes_late_undoes_what_lies_below_it(sequencing):
    bench = Bench(sequencing)
    bench.take("block.delta", text="old", seq=1)
    bench.take("block.delta", text="new", seq=3)
    assert bench.text() == "oldnew"
    bench.take("message.reset", seq=2)
    assert bench.text() == "new"


@numbered
def test_what_lies_below_a_reset_and_comes_late_is_old(sequencing):
    bench = Bench(sequencing)
    bench.take("message.reset", seq=5)
    bench.take("block.delta", text="old", seq=2)
    assert bench.text() == "old"  # the message's next event has not come
    bench.take("block.delta", text="new", seq=6)
    assert bench.text() == "new"
    bench.take("block.updated", title="old", seq=3)
    bench.take("block.delta", text="older", seq=1)
    assert bench.text() == "new"
    assert "title" not in bench.part().fields


@numbered
@pytest.mark.parametrize(
    "resets", [(None, 11), (11, None), (None, 11, None), (11, 12, None), (None, 4)]
)
def test_of_a_reset_with_seq_and_one_without_no_old_text_is_left(sequencing, resets):
    bench = Bench(sequencing)
    bench.take("block.delta", text="old", seq=10)
    for seq in resets:
        at = {} if seq is None else {"seq": seq}
        bench.stream.ingest({"type": "message.reset", "sessionId": "s", "messageId": "m", **at})
    assert bench.text() == "old"
    bench.take("block.delta", text="ne", seq=20)
    bench.take("block.delta", text="w", seq=21)
    assert bench.text() == "new"


def test_a_local_message_is_shown_at_once_and_confirmed_by_the_server():
    bench = Bench("none")
    opened = MessageOpened(session_id="s", message_id="m", role="user", local=True)
    bench.store.apply(opened)
    bench.store.apply(BlockDelta(session_id="s", message_id="m", block_index=0, text="hello"))
    bench.store.flush()
    assert bench.store.message("s", "m").local
    assert bench.text() == "hello"
    assert not bench.part().gap
    bench.take("message.opened", role="user")
    bench.store.flush()
    assert not bench.store.message("s", "m").local
    assert bench.text() == "hello"


@every
@pytest.mark.parametrize("index", [0, "theirs"])
@pytest.mark.parametrize("brings", ["block.opened", "block.delta", "block.replaced", "snapshot"])
@pytest.mark.parametrize("loaded", [False, True])
def test_what_was_said_locally_is_shown_once_when_the_server_brings_it(
    sequencing, index, brings, loaded
):
    bench = Bench(sequencing)
    place = {"session_id": "s", "message_id": "m"}
    bench.store.apply(MessageOpened(**place, role="user", local=True))
    bench.store.apply(BlockReplaced(**place, block_index=0, kind="text", text="hello"))
    bench.store.apply(BlockReplaced(**place, block_index=1, kind="file"))
    bench.take("message.opened", role="user")
    bench.store.flush()
    parts = bench.store.parts("s", "m")
    assert [part.text for part in parts] == ["hello", ""]  # until the server brings its own
    if loaded:
        bench.store = StreamStore.load(bench.store.save())
        bench.stream = bench.store.open("native", sequencing=sequencing)
    first = {"seq": 1} if sequencing == "block" else {}
    if brings == "snapshot":
        part = {"blockIndex": index, "kind": "text", "text": "hello", **first}
        bench.take(brings, messages=[{"id": "m", "role": "user", "parts": [part]}])
    else:
        if brings == "block.opened":
            bench.take(brings, blockIndex=index, kind="text")
        text = "block.replaced" if brings == "block.replaced" else "block.delta"
        bench.take(text, blockIndex=index, text="hello", **first)
    bench.store.flush()
    parts = bench.store.parts("s", "m")
    theirs = [(index, "hello")] if index else [(0, "hello"), (1, "")]  # whose file is to come
    assert [(part.block_index, part.text) for part in parts] == theirs


@every
def test_what_stood_for_the_servers_text_goes_also_where_it_first_says_what_part_it_is(sequencing):
    bench = Bench(sequencing)
    place = {"session_id": "s", "message_id": "m"}
    bench.store.apply(MessageOpened(**place, role="user", local=True))
    bench.store.apply(BlockReplaced(**place, block_index=0, kind="text", text="hello"))
    numbers = [{"seq": 1}, {"seq": 2}] if sequencing == "block" else [{}, {}]
    bench.take("block.replaced", kind="text", lang="en", **numbers[0])
    bench.take("block.delta", text="hello", **numbers[1])
    bench.store.flush()
    assert [part.text for part in bench.store.parts("s", "m")] == ["hello"]


def test_what_waits_for_the_servers_text_stays_where_a_local_part_stood_for_it():
    bench = Bench("block")
    place = {"session_id": "s", "message_id": "m"}
    bench.store.apply(MessageOpened(**place, role="user", local=True))
    for index in (0, 1):
        bench.store.apply(BlockReplaced(**place, block_index=index, kind="text", text="hello"))
    bench.take("block.delta", blockIndex=1, text="you", seq=2)
    bench.take("block.delta", text="hello", seq=1)
    bench.store.flush()
    parts = bench.store.parts("s", "m")
    assert [(part.text, part.gap) for part in parts] == [("hello", False), ("hello", True)]
    bench.take("block.delta", blockIndex=1, text="to ", seq=1)
    bench.store.flush()
    assert [part.text for part in bench.store.parts("s", "m")] == ["hello", "to you"]


@pytest.mark.parametrize("sequencing", ["session", "sparse"])
@pytest.mark.parametrize("early", [("block.updated", {"lang": "en"}), ("block.closed", {})])
@pytest.mark.parametrize("local_index", [0, 1])
def test_what_a_late_text_of_the_servers_was_overtaken_by_leaves_no_local_text_beside_it(
    sequencing, early, local_index
):
    bench = Bench(sequencing)
    place = {"session_id": "s", "message_id": "m"}
    bench.store.apply(MessageOpened(**place, role="user", local=True))
    bench.store.apply(BlockReplaced(**place, block_index=local_index, kind="text", text="hello"))
    bench.take("message.opened", role="user", seq=1)
    bench.take(early[0], seq=4, **early[1])
    bench.store.flush()
    if local_index == 0:
        assert bench.store.part("s", "m", 0).text == "hello"  # until the server brings its own
    bench.store.apply(MessageRollback(session_id="s", message_id="m"))  # it is no local one
    for seq, text in ((2, "hel"), (3, "lo")):
        bench.take("block.delta", text=text, seq=seq)
    bench.store.flush()
    (part,) = bench.store.parts("s", "m")
    assert (part.text, part.fields) == ("hello", early[1])
    assert part.status == ("closed" if early[0] == "block.closed" else "open")


def test_that_the_client_closed_its_own_part_refuses_nothing_of_the_servers():
    bench = Bench("none")
    place = {"session_id": "s", "message_id": "m"}
    bench.store.apply(MessageOpened(**place, role="user", local=True))
    bench.store.apply(BlockReplaced(**place, block_index=0, kind="text", text="hello"))
    bench.store.apply(BlockClosed(**place, block_index=0))
    assert bench.take("block.replaced", text="hel") == "accepted"
    assert bench.take("block.delta", text="lo") == "accepted"
    bench.store.flush()
    part = bench.store.part("s", "m", 0)
    assert (part.text, part.status) == ("hello", "open")


def test_what_the_client_adds_to_a_message_of_the_servers_stays():
    bench = Bench("none")
    bench.take("message.opened", role="assistant")
    note = BlockReplaced(session_id="s", message_id="m", block_index="note", text="try again")
    bench.store.apply(note)
    bench.take("block.delta", text="hello")
    bench.store.flush()
    assert [part.text for part in bench.store.parts("s", "m")] == ["hello", "try again"]


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse", "none"])
@pytest.mark.parametrize("early", ["block.closed", "block.updated", "block.removed"])
def test_what_is_said_of_a_servers_part_before_it_is_brought_leaves_no_local_text_beside_it(
    sequencing, early
):
    bench = Bench(sequencing)
    place = {"session_id": "s", "message_id": "m"}
    bench.store.apply(MessageOpened(**place, role="user", local=True))
    bench.store.apply(BlockReplaced(**place, block_index="mine", kind="text", text="hello"))
    bench.take(early, blockIndex=9, seq=2)
    bench.store.flush()
    assert not bench.store.message("s", "m").local
    assert "hello" in [part.text for part in bench.store.parts("s", "m")]
    bench.take("block.opened", kind="text", seq=1)
    bench.store.flush()
    assert "hello" not in [part.text for part in bench.store.parts("s", "m")]


def test_a_rollback_takes_back_what_is_local_and_unconfirmed():
    bench = Bench("none")
    for message_id in ("m", "n"):
        opened = MessageOpened(session_id="s", message_id=message_id, role="user", local=True)
        bench.store.apply(opened)
    bench.take("message.opened", messageId="n", role="user")
    for message_id in ("m", "n"):
        bench.store.apply(MessageRollback(session_id="s", message_id=message_id))
    bench.store.flush()
    assert [message.id for message in bench.store.messages("s")] == ["n"]


def test_an_opening_that_is_not_local_says_that_the_server_has_the_message():
    bench = Bench("none")
    place = {"session_id": "s", "message_id": "m"}
    for message_id in ("m", "other"):
        opened = MessageOpened(
            session_id="s", message_id=message_id, role="user", order=1, local=True
        )
        bench.store.apply(opened)
        bench.store.apply(opened)
    bench.store.apply(BlockReplaced(**place, block_index=0, kind="text", text="hello"))
    bench.store.flush()
    assert bench.store.message("s", "m").local
    bench.store.apply(MessageOpened(**place, role="user"))
    assert bench.store.flush().changed == (MessageKey("s", "m"),)
    bench.store.apply(MessageRollback(**place))
    bench.store.flush()
    shown = [(message.id, message.local, message.order) for message in bench.store.messages("s")]
    assert shown == [("m", False, 1), ("other", True, 1)]
    assert bench.text() == "hello"
    loaded = StreamStore.load(bench.store.save())
    assert loaded.state()["sessions"] == bench.store.state()["sessions"]
    loaded.open("native", sequencing="none").ingest(
        {
            "type": "block.opened",
            "sessionId": "s",
            "messageId": "m",
            "blockIndex": "t",
            "kind": "text",
        }
    )
    loaded.flush()
    assert [part.block_index for part in loaded.parts("s", "m")] == ["t"]  # shown once, as theirs


def test_what_the_server_removed_of_a_local_message_is_not_taken_back_but_stays_removed():
    bench = Bench("none")
    place = {"session_id": "s", "message_id": "m"}
    bench.store.apply(MessageOpened(**place, role="user", local=True))
    bench.store.apply(BlockReplaced(**place, block_index=0, kind="text", text="hello"))
    bench.take("block.removed")
    bench.store.apply(MessageRollback(**place))
    assert bench.take("block.delta", text="hello") == "refused:removed"
    bench.store.flush()
    assert bench.store.message("s", "m") and not bench.store.parts("s", "m")


def test_a_message_taken_back_leaves_no_tombstone():
    bench = Bench("none")
    bench.store.apply(MessageOpened(session_id="s", message_id="m", role="user", local=True))
    bench.store.apply(MessageRollback(session_id="s", message_id="m"))
    bench.take("block.delta", text="back")
    assert bench.text() == "back"


@pytest.mark.parametrize("sequencing", ["session", "sparse"])
@pytest.mark.parametrize("turned", [False, True])
def test_an_end_that_does_not_count_leaves_no_error(sequencing, turned):
    bench = Bench(sequencing)
    bench.take("message.opened", role="assistant", seq=1)
    ends = [
        {"status": "error", "error": {"name": "lost", "message": ""}, "seq": 2},
        {"status": "completed", "seq": 3},
    ]
    for end in reversed(ends) if turned else ends:
        bench.take("message.closed", **end)
    bench.store.flush()
    message = bench.store.message("s", "m")
    assert (message.status, message.error) == ("completed", None)


def test_a_server_that_gives_a_local_message_another_id_makes_one_of_them():
    bench = Bench("none")
    opened = MessageOpened(
        session_id="s", message_id="mine", role="user", local=True, client_id="c1"
    )
    bench.store.apply(opened)
    bench.store.flush()
    bench.take("message.opened", messageId="theirs", role="user", clientId="c1")
    bench.store.flush()
    assert [(m.id, m.local) for m in bench.store.messages("s")] == [("theirs", False)]


def test_the_server_names_a_local_message_whose_session_it_removed_before():
    bench = Bench("session")
    opened = MessageOpened(session_id="s", message_id="mine", role="user", local=True)
    bench.store.apply(opened)
    bench.take("session.removed", seq=3)
    bench.store.flush()
    assert bench.store.apply(opened).reason == "removed"  # as a program does that tries again
    theirs = {"messageId": "theirs", "role": "user", "clientId": "mine"}
    assert bench.take("message.opened", seq=5, **theirs) == "held"  # for the session
    bench.take("session.updated", seq=4, whole=True)
    bench.store.flush()
    assert [message.id for message in bench.store.messages("s")] == ["theirs"]


def test_a_local_message_is_the_servers_also_in_a_store_that_was_loaded():
    bench = Bench("none")
    for name in ("confirmed", "mine"):
        bench.store.apply(MessageOpened(session_id="s", message_id=name, role="user", local=True))
    bench.take("message.updated", messageId="confirmed", info={})
    store = StreamStore.load(bench.store.save())
    stream = store.open("native", session_id="s", sequencing="none")
    for name in ("confirmed", "mine"):  # what the server has confirmed stays what it is
        opened = {"type": "message.opened", "messageId": f"their-{name}", "role": "user"}
        stream.ingest({**opened, "clientId": name})
    store.flush()
    ids = [message.id for message in store.messages("s")]
    assert ids == ["confirmed", "their-confirmed", "their-mine"]


# -- blocks ----------------------------------------------------------------------------------------


@every
def test_opening_a_block_again_changes_nothing(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="tool", tool="bash", order=1)
    before = bench.part()
    bench.take("block.opened", kind="tool", tool="bash", order=1)
    assert bench.part() is before


@every
def test_another_kind_is_refused_and_the_text_kept(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="text")
    bench.take("block.delta", text="kept", seq=1 if sequencing == "block" else 2)
    assert bench.take("block.opened", kind="tool", tool="x", seq=3) == "refused:conflict"
    assert bench.part().kind == "text"
    assert bench.text() == "kept"
    assert "tool" not in bench.part().fields


@every
def test_a_kind_that_nobody_knows_is_unknown_with_its_fields_as_they_came(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="hologram", depth={"z": 1}, colour=None)
    part = bench.part()
    assert part.kind == "unknown"
    assert part.fields == {"originalKind": "hologram", "depth": {"z": 1}, "colour": None}
    assert "hologram" not in PART_KINDS
    bench.take("block.opened", kind="hologram")
    assert bench.part() is part


@every
def test_deltas_append_verbatim(sequencing):
    bench = Bench(sequencing)
    pieces = ["  ", "a\n\n", "", "\t", "\u2028", "\x00", "é", "e\u0301"]
    for seq, piece in enumerate(pieces, start=1):
        assert bench.take("block.delta", text=piece, seq=seq) == "accepted"
    assert bench.text() == "".join(pieces)


@every
def test_deltas_of_another_field_have_a_text_of_their_own(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="tool", seq=1)
    for seq, piece in enumerate(['{"a"', ": 1}"], start=1 if sequencing == "block" else 2):
        bench.take("block.delta", field="input", text=piece, seq=seq)
    assert bench.part().field_text("input") == '{"a": 1}'
    assert bench.text() == ""
    assert bench.message()["parts"][0]["input"] == '{"a": 1}'


@every
def test_a_field_that_was_set_is_what_deltas_of_it_append_to(sequencing):
    bench = Bench(sequencing)
    bench.take("block.replaced", kind="tool", input="ab", seq=1)
    bench.take("block.delta", field="input", text="c", seq=2)
    assert bench.part().field_text("input") == "abc"
    bench.take("block.replaced", input="x", seq=3)
    assert bench.part().field_text("input") == "x"
    bench.take("block.delta", field="input", text="y", seq=4)
    assert bench.message()["parts"][0]["input"] == "xy"
    bench.take("block.replaced", input={"parsed": True}, seq=5)
    assert bench.message()["parts"][0]["input"] == {"parsed": True}


@every
def test_a_replace_sets_text_only_if_it_carries_text_and_fields_only_if_it_carries_fields(
    sequencing,
):
    bench = Bench(sequencing)
    bench.take("block.delta", text="draft", seq=1)
    bench.take("block.replaced", title="t", seq=2)
    assert (bench.text(), bench.part().fields) == ("draft", {"title": "t"})
    bench.take("block.replaced", text="final", seq=3)
    assert (bench.text(), bench.part().fields) == ("final", {"title": "t"})
    bench.take("block.replaced", text="", seq=4)
    assert bench.text() == ""


@every
def test_a_whole_replace_drops_the_fields_that_it_lacks(sequencing):
    bench = Bench(sequencing)
    bench.take("block.replaced", text="a", title="t", path="p", seq=1)
    bench.take("block.replaced", path="q", whole=True, seq=2)
    assert bench.part().fields == {"path": "q"}
    assert bench.text() == "a"


@every
def test_a_replace_is_announced_from_its_first_difference_and_not_at_all_when_equal(sequencing):
    bench = Bench(sequencing)
    bench.take("block.delta", text="Hello world", seq=1)
    bench.store.flush()
    bench.take("block.replaced", text="Hello there", seq=2)
    (edit,) = bench.store.flush().text.values()
    assert (edit.start, edit.text, edit.rewritten) == (6, "there", True)
    bench.take("block.replaced", text="Hello there", seq=3)
    assert not bench.store.flush()


@numbered
def test_a_replace_supersedes_what_lies_below_it_also_when_that_comes_late(sequencing):
    bench = Bench(sequencing)
    bench.take("block.delta", text="a", seq=1)
    bench.take("block.replaced", text="B", seq=4)
    bench.take("block.delta", text="c", seq=5)
    assert bench.take("block.delta", text="lost", seq=3) == "late"
    assert bench.text() == "Bc"
    assert bench.store.health.counts["characters"]["superseded"] == len("a") + len("lost")


@numbered
def test_a_late_replace_goes_below_what_follows_it(sequencing):
    bench = Bench(sequencing)
    bench.take("block.delta", text="a", seq=1)
    bench.take("block.delta", text="c", seq=3)
    bench.take("block.replaced", text="B", seq=2)
    assert bench.text() == "Bc"


@every
def test_part_fields_merge_and_a_whole_update_drops_the_others(sequencing):
    bench = Bench(sequencing)
    bench.take("block.updated", kind="file", path="p", meta={"a": 1, "b": 1})
    bench.take("block.updated", meta={"a": 2}, mime=None)
    assert bench.part().fields == {"path": "p", "meta": {"a": 2}, "mime": None}
    bench.take("block.updated", path="q", whole=True)
    assert bench.part().fields == {"path": "q"}


@numbered
def test_part_fields_win_by_seq_field_by_field(sequencing):
    bench = Bench(sequencing)
    bench.take("block.updated", a=3, seq=3)
    bench.take("block.updated", a=2, b=2, whole=True, seq=2)
    bench.take("block.opened", kind="data", a=1, b=1, c=1, seq=1)
    assert bench.part().fields == {"a": 3, "b": 2}


@every
def test_an_update_carries_no_text(sequencing):
    bench = Bench(sequencing)
    assert bench.take("block.updated", text="x") == "malformed:text"
    assert bench.take("block.opened", kind="text", text="x") == "malformed:text"
    assert bench.shown() == {}


@unblocked
def test_closes_are_monotone_and_a_delta_after_one_is_appended(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="text")
    bench.take("block.delta", text="a")
    bench.take("block.closed")
    assert bench.part().status == "closed"
    bench.take("block.opened", kind="text")
    bench.take("block.delta", text="b")
    assert (bench.text(), bench.part().status) == ("ab", "closed")


@every
def test_a_close_may_come_before_everything_else(sequencing):
    bench = Bench(sequencing)
    bench.take("block.closed", seq=1)
    bench.take("block.opened", kind="reasoning", seq=2)
    bench.take("block.delta", text="a", seq=1 if sequencing == "block" else 3)
    assert bench.part().kind == "reasoning"
    assert (bench.text(), bench.part().status) == ("a", "closed")


@every
def test_a_missing_time_says_nothing_about_the_status(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="text", time={"start": 1, "end": 2})
    assert (bench.part().status, bench.part().time) == ("open", {"start": 1, "end": 2})


@every
def test_parts_stand_by_order_else_by_index_numbers_before_strings(sequencing):
    bench = Bench(sequencing)
    for index in ("b", 10, "a", 9):
        bench.take("block.opened", blockIndex=index, kind="text")
    bench.take("block.opened", blockIndex="late", kind="text", order=9.5)
    indexes = [part["blockIndex"] for part in bench.message()["parts"]]
    assert indexes == [9, "late", 10, "a", "b"]


@every
def test_a_block_index_is_no_other_type_that_equals_it(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", blockIndex=1, kind="text")
    bench.take("block.opened", blockIndex="1", kind="reasoning")
    assert bench.take("block.opened", blockIndex=True, kind="text") == "malformed:blockIndex"
    assert [part["kind"] for part in bench.message()["parts"]] == ["text", "reasoning"]


# -- tools -----------------------------------------------------------------------------------------

RANKS = {"pending": 0, "running": 1, "waiting": 1, "completed": 2, "error": 2, "denied": 2}


@every
@pytest.mark.parametrize("first", RANKS)
@pytest.mark.parametrize("second", RANKS)
def test_a_lower_tool_state_is_refused_and_the_same_rank_replaces(sequencing, first, second):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="tool", callId="c", state={"status": first, "from": 1})
    verdict = bench.take("block.updated", state={"status": second, "from": 2})
    if RANKS[second] < RANKS[first]:
        assert verdict == "refused:rank"
        assert bench.part().fields["state"] == {"status": first, "from": 1}
    else:
        assert verdict == "accepted"
        assert bench.part().fields["state"] == {"status": second, "from": 2}


@every
def test_a_refused_tool_state_takes_nothing_else_with_it(sequencing):
    bench = Bench(sequencing)
    bench.take("block.updated", kind="tool", state={"status": "completed"})
    bench.take("block.updated", title="t", state={"status": "running"})
    assert bench.part().fields == {"title": "t", "state": {"status": "completed"}}


def test_only_a_whole_event_of_a_stream_without_seq_may_lower_a_tool_state():
    for sequencing, status in (
        ("none", "pending"),
        ("sparse", "completed"),
        ("session", "completed"),
    ):
        bench = Bench(sequencing)
        bench.take("block.updated", kind="tool", state={"status": "completed"})
        bench.take("block.updated", state={"status": "pending"}, whole=True)
        assert bench.part().fields["state"]["status"] == status


@numbered
def test_tool_states_end_the_same_in_any_order(sequencing):
    states = {1: "pending", 2: "running", 3: "completed", 4: "running", 5: "error"}
    for arrival in ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [4, 3, 5, 1, 2], [3, 5, 4, 2, 1]):
        bench = Bench(sequencing)
        for seq in arrival:
            bench.take("block.updated", kind="tool", state={"status": states[seq]}, seq=seq)
        assert bench.part().tool.status == "error"


@every
@pytest.mark.parametrize("status", ["aborted", "error", "completed"])
def test_a_tool_that_never_ended_reads_as_error_in_a_message_that_was_cut_off(sequencing, status):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="tool", callId="c", state={"status": "running"})
    bench.take("message.closed", status=status)
    cut_off = status != "completed"
    assert bench.part().tool.status == ("error" if cut_off else "running")
    assert bench.part().fields["state"] == {"status": "running"}  # nothing is stored
    bench.take("block.updated", state={"status": "completed", "output": "42"})
    assert (bench.part().tool.status, bench.part().tool.output) == ("completed", "42")


@every
def test_a_tool_result_may_come_after_its_block_was_closed(sequencing):
    bench = Bench(sequencing)
    bench.take("block.opened", kind="tool", state={"status": "running"})
    bench.take("block.closed", seq=0 if sequencing == "block" else 2)
    bench.take("block.updated", state={"status": "completed"})
    assert bench.part().tool.status == "completed"


@every
def test_a_result_with_only_a_call_id_waits_until_the_call_is_known(sequencing):
    bench = Bench(sequencing)
    result = {"state": {"status": "completed", "output": "42"}}
    assert bench.take("tool.result", callId="c", fields=result) == "held"
    assert bench.shown() == {}
    bench.take("block.opened", kind="tool", callId="c", state={"status": "running"})
    assert bench.part().tool.output == "42"
    assert bench.store.health.counts["held"] == {"filled": 1}
    bench.take("block.opened", messageId="n", kind="tool", callId="d")
    assert bench.take("tool.result", callId="d", fields=result) == "accepted"
    assert bench.part(0, "n").tool.output == "42"


@every
def test_results_that_wait_for_a_call_are_bounded(sequencing):
    bench = Bench(sequencing, limits=Limits(pending_results=1))
    assert bench.take("tool.result", callId="a", fields={}) == "held"
    assert bench.take("tool.result", callId="b", fields={}) == "refused:over_limit"
    bench.take("block.opened", kind="tool", callId="a")
    assert bench.take("tool.result", callId="b", fields={}) == "held"


# -- block.snapshot --------------------------------------------------------------------------------


@numbered
def test_a_block_snapshot_stands_for_every_operation_up_to_its_seq(sequencing):
    bench = Bench(sequencing)
    assert bench.take("block.snapshot", kind="text", text="abc", seq=3) == "accepted"
    for seq, text in ((1, "a"), (2, "b"), (3, "c")):
        assert bench.take("block.delta", text=text, seq=seq) == "duplicate"
    bench.take("block.delta", text="d", seq=4)
    assert bench.text() == "abcd"


@pytest.mark.parametrize("sequencing", ["session", "sparse"])
def test_what_a_block_snapshot_does_not_say_comes_from_below_it_in_any_order(sequencing):
    events: list[tuple[str, int, dict[str, Any]]] = [
        ("block.opened", 1, {"kind": "tool", "title": "t"}),
        ("block.delta", 2, {"text": "{", "field": "input"}),
        ("block.delta", 3, {"text": "?"}),
        ("block.replaced", 4, {"text": "said", "title": "u", "done": True}),
        ("block.snapshot", 4, {"text": "said", "title": "u"}),
        ("block.delta", 5, {"text": "}", "field": "input"}),
    ]
    for order in itertools.permutations(events):
        bench = Bench(sequencing)
        for type_, seq, members in (*order, *order):
            bench.take(type_, seq=seq, **members)
        part = bench.part()
        assert (part.kind, part.text) == ("tool", "said"), order
        assert part.fields == {"title": "u", "done": True}, order
        assert str(part.others["input"]) == "{}", order


@pytest.mark.parametrize("sequencing", ["session", "sparse", "block"])
def test_a_block_snapshot_older_than_another_changes_nothing(sequencing):
    bench = Bench(sequencing)
    bench.take("block.snapshot", text="new", seq=5)
    assert bench.take("block.snapshot", text="old", seq=3) == "duplicate"
    assert bench.take("block.snapshot", text="other", seq=5) == "duplicate"
    assert bench.text() == "new"


@numbered
def test_a_block_snapshot_below_the_live_mark_becomes_snapshot_and_tail(sequencing):
    bench = Bench(sequencing)
    bench.take("block.delta", text="?", seq=2)  # 1 was missed
    bench.take("block.delta", text="c", seq=3)
    bench.take("block.delta", text="d", seq=4)
    assert bench.take("block.snapshot", text="ab", seq=2) == "late"
    assert bench.text() == "abcd"


@pytest.mark.parametrize("sequencing", ["session", "sparse"])
@pytest.mark.parametrize("first", ["block.closed", "block.snapshot"])
def test_a_block_snapshot_that_says_open_reopens_what_was_closed_before_it(sequencing, first):
    """A removal and an open lie between the two: neither needs to come."""
    bench = Bench(sequencing)
    said = {
        "block.closed": {"seq": 24},
        "block.snapshot": {"seq": 30, "text": "a", "kind": "text", "status": "open"},
    }
    for kind in sorted(said, key=first.__ne__):
        bench.take(kind, **said[kind])
    assert (bench.text(), bench.part().status) == ("a", "open")
    bench.take("block.closed", seq=31)
    assert bench.part().status == "closed"


def test_a_block_snapshot_below_the_live_mark_of_a_block_stream_changes_no_text():
    bench = Bench("block")
    for seq, text in ((1, "a"), (2, "b"), (3, "c")):
        bench.take("block.delta", text=text, seq=seq)
    assert bench.take("block.snapshot", text="ab", seq=2) == "late"
    assert bench.text() == "abc"


@every
def test_a_block_snapshot_needs_a_seq(sequencing):
    bench = Bench(sequencing)
    event = {"type": "block.snapshot", "sessionId": "s", "messageId": "m", "blockIndex": 0}
    assert bench.stream.ingest({**event, "text": "a"}).reason == "seq"
    assert bench.shown() == {}
