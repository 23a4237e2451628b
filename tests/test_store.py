"""Reads: whole ticks, immutable values that stay the same object, in order, at a fixed cost."""

from __future__ import annotations

import json
import uuid
from datetime import date
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from mirror import Mirror

from streamstore import (
    ChangeSet,
    Message,
    MessageKey,
    Part,
    PartKey,
    Place,
    SessionKey,
    StreamStore,
)
from streamstore.errors import CallerError
from streamstore.events import (
    BlockOpened,
    BlockReplaced,
    MessageClosed,
    MessageOpened,
    MessageReset,
    MessageRollback,
    MessageUpdated,
)
from streamstore.keys import MAX_NUMBER, OrderKey
from streamstore.ordering import Ordered


class Feeder:
    """Canonical events into a store, numbered as they come."""

    def __init__(self, sequencing: Any = None) -> None:
        self.store = StreamStore(ticks="manual")
        self.stream = self.store.open("native", sequencing=sequencing)
        self.seq = 0

    def ingest(self, event_type: str, session: str = "s", **members: Any) -> None:
        self.seq += 1
        wire = {"type": event_type, "sessionId": session, "seq": self.seq, **members}
        verdict = self.stream.ingest(wire)
        assert verdict.kind in ("accepted", "late"), verdict

    def opened(self, message: str, **members: Any) -> None:
        self.ingest("message.opened", messageId=message, role="user", **members)

    def delta(self, text: str, message: str = "m", block: Any = 0, **members: Any) -> None:
        self.ingest("block.delta", messageId=message, blockIndex=block, text=text, **members)

    def flush(self) -> ChangeSet:
        return self.store.flush()

    def ids(self, session: str = "s") -> list[str]:
        return [message.id for message in self.store.messages(session)]

    def indexes(self, message: str = "m") -> list[int | str]:
        return [part.block_index for part in self.store.parts("s", message)]

    def part(self, message: str = "m", block: Any = 0) -> Part:
        part = self.store.part("s", message, block)
        assert part is not None
        return part

    def message(self, message: str = "m") -> Message:
        found = self.store.message("s", message)
        assert found is not None
        return found


@pytest.fixture
def feed() -> Feeder:
    return Feeder()


class TestWhereNothingIs:
    def test_reads_say_so(self, feed: Feeder) -> None:
        store = feed.store
        assert store.session_ids() == store.messages("s") == store.parts("s", "m") == ()
        assert store.session("s") is store.message("s", "m") is store.part("s", "m", 0) is None
        assert (store.version, store.state()["sessions"]) == (0, {})

    @pytest.mark.parametrize("index", [True, False, 1.0, "1", None, -1])
    def test_an_index_of_another_type_is_another_part(self, feed: Feeder, index: Any) -> None:
        for block in (0, 1):
            feed.delta("a", block=block)
        feed.flush()
        assert feed.store.part("s", "m", index) is None

    def test_nothing_is_read_before_its_tick(self, feed: Feeder) -> None:
        feed.delta("a")
        assert feed.store.session_ids() == ()
        assert feed.store.part("s", "m", 0) is None
        feed.flush()
        shown = feed.part()
        feed.delta("b")
        feed.ingest("message.updated", messageId="m", info={"a": 1})
        feed.ingest("block.opened", messageId="m", blockIndex=1, kind="text")
        assert feed.part() is shown
        assert shown.text == "a"
        assert feed.message().info == {}
        assert feed.indexes() == [0]

    def test_the_same_message_id_in_two_sessions_is_two_messages(self, feed: Feeder) -> None:
        for session in ("s", "t"):
            feed.ingest("block.delta", session, messageId="m", blockIndex=0, text=f"of {session}")
        feed.flush()
        parts = [feed.store.part(session, "m", 0) for session in ("s", "t")]
        assert [part and part.text for part in parts] == ["of s", "of t"]


class TestSameObject:
    @pytest.fixture
    def full(self, feed: Feeder) -> Feeder:
        for message in ("m", "n"):
            feed.opened(message, info={"a": [1]})
            for block in (0, 1):
                feed.delta("text", message, block)
        feed.ingest("session.updated", info={"title": "t"})
        feed.ingest("session.updated", "t", info={"title": "t"})
        feed.flush()
        return feed

    def reads(self, store: StreamStore) -> dict[str, Any]:
        found: dict[str, Any] = {"ids": store.session_ids()}
        for session in store.session_ids():
            found[session] = store.session(session)
            found[f"{session} messages"] = store.messages(session)
            for message in store.messages(session):
                found[f"{session} {message.id}"] = store.message(session, message.id)
                found[f"{session} {message.id} parts"] = store.parts(session, message.id)
                for part in store.parts(session, message.id):
                    name = f"{session} {message.id} {part.block_index}"
                    found[name] = store.part(session, message.id, part.block_index)
        return found

    @pytest.mark.parametrize(
        "event, members, changed",
        [
            (
                "block.delta",
                {"messageId": "m", "blockIndex": 0, "text": "x"},
                ["s m 0", "s m parts"],
            ),
            ("block.updated", {"messageId": "m", "blockIndex": 0, "a": 1}, ["s m 0", "s m parts"]),
            ("block.closed", {"messageId": "n", "blockIndex": 1}, ["s n 1", "s n parts"]),
            ("message.updated", {"messageId": "m", "info": {"b": 1}}, ["s m", "s messages"]),
            ("session.updated", {"info": {"b": 1}}, ["s"]),
            ("session.status", {"status": "busy"}, ["s"]),
            ("block.removed", {"messageId": "m", "blockIndex": 0}, ["s m 0", "s m parts"]),
            (
                "block.opened",
                {"messageId": "m", "blockIndex": 2, "kind": "text"},
                ["s m 2", "s m parts"],
            ),
            ("message.updated", {"messageId": "m", "order": 5}, ["s m", "s messages"]),
            (
                "block.updated",
                {"messageId": "m", "blockIndex": 0, "order": 5},
                ["s m 0", "s m parts"],
            ),
            # What says again what is known already changes nothing.
            ("message.updated", {"messageId": "m", "info": {"a": [1]}}, []),
            ("message.opened", {"messageId": "m", "role": "user"}, []),
            ("session.updated", {"info": {"title": "t"}}, []),
            ("block.replaced", {"messageId": "m", "blockIndex": 0, "text": "text"}, []),
            ("block.updated", {"messageId": "m", "blockIndex": 0}, []),
        ],
    )
    def test_only_what_changed_is_another_object(
        self, full: Feeder, event: str, members: Any, changed: list[str]
    ) -> None:
        before = self.reads(full.store)
        full.ingest(event, **members)
        changes = full.flush()
        after = self.reads(full.store)
        names = before.keys() | after.keys()
        assert sorted(name for name in names if before.get(name) is not after.get(name)) == sorted(
            changed
        )
        assert bool(changes) is bool(changed)

    def test_the_tuple_holds_the_objects_that_single_reads_return(self, full: Feeder) -> None:
        store = full.store
        assert [store.message("s", name) for name in ("m", "n")] == list(store.messages("s"))
        for part in store.parts("s", "m"):
            assert store.part("s", "m", part.block_index) is part

    def test_values_are_made_when_they_are_read(self, full: Feeder) -> None:
        full.delta("x", "m", 0)
        full.flush()
        row = full.store._tables.parts[PartKey("s", "m", 0)]
        assert row.view is None
        assert full.part() is row.view

    def test_an_old_value_stays_what_it_was(self, full: Feeder) -> None:
        part, message, parts = full.part(), full.message(), full.store.parts("s", "m")
        full.delta(" and more")
        full.ingest("block.replaced", messageId="m", blockIndex=1, text="other")
        full.ingest("message.updated", messageId="m", info={"a": [2]})
        full.ingest("block.removed", messageId="m", blockIndex=1)
        full.flush()
        assert (part.text, [other.text for other in parts]) == ("text", ["text", "text"])
        assert message.info == {"a": [1]}
        full.ingest("message.removed", messageId="m")
        full.flush()
        assert part.text == "text"

    def test_an_end_that_does_not_count_leaves_the_message_the_same_object(self) -> None:
        feed = Feeder("sparse")
        feed.delta("text")
        feed.ingest("message.closed", messageId="m", status="error", seq=5)
        feed.flush()
        before = self.reads(feed.store)
        feed.ingest("message.closed", messageId="m", status="aborted", seq=3)
        assert not feed.flush()
        after = self.reads(feed.store)
        assert [name for name in before if before[name] is not after[name]] == []

    def test_true_is_not_one_where_values_are_compared(self, full: Feeder) -> None:
        full.ingest("message.updated", messageId="m", info={"a": [True]})
        assert full.flush().changed == (MessageKey("s", "m"),)
        assert full.message().info["a"][0] is True


class TestOrder:
    def test_sessions_stand_as_they_appeared(self, feed: Feeder) -> None:
        for session in ("b", "a", "c"):
            feed.ingest("session.updated", session)
            feed.flush()
        assert feed.store.session_ids() == ("b", "a", "c")
        feed.ingest("session.removed", "a")
        feed.flush()
        feed.ingest("session.updated", "a", whole=True)
        feed.flush()
        assert feed.store.session_ids() == ("b", "c", "a")

    def test_messages_by_order_else_created_time_then_id_and_without_either_last(
        self, feed: Feeder
    ) -> None:
        feed.opened("none")
        feed.opened("three", order=3)
        feed.opened("half", order=2.5)
        feed.opened("two b", order=2)
        feed.opened("two a", info={"time": {"created": 2}})
        feed.opened("one", order=1, info={"time": {"created": 9}})
        feed.flush()
        assert feed.ids() == ["one", "two a", "two b", "half", "three", "none"]

    @pytest.mark.parametrize("created", ["1", None, True, [], float("nan"), float("inf")])
    def test_a_created_time_that_is_no_number_is_none(self, feed: Feeder, created: Any) -> None:
        feed.opened("odd", info={"time": {"created": created}})
        feed.opened("one", order=1)
        feed.opened("big", order=MAX_NUMBER)
        feed.flush()
        assert feed.ids() == ["one", "big", "odd"]
        assert feed.message("odd").order is None

    def test_parts_by_order_else_index_and_names_last(self, feed: Feeder) -> None:
        for block, members in ((10, {}), (9, {}), ("b", {}), ("a", {}), (50, {"order": 9.5})):
            feed.ingest("block.opened", messageId="m", blockIndex=block, kind="text", **members)
        feed.flush()
        assert feed.indexes() == [9, 50, 10, "a", "b"]

    def test_what_comes_between_others_is_placed_before_its_neighbour(self, feed: Feeder) -> None:
        for message, order in (("a", 1), ("d", 4)):
            feed.opened(message, order=order)
        feed.flush()
        for message, order in (("c", 3), ("b", 2), ("e", 5)):
            feed.opened(message, order=order)
        key = MessageKey("s", "d")
        assert feed.flush().added == (
            Place(MessageKey("s", "b"), key),
            Place(MessageKey("s", "c"), key),
            Place(MessageKey("s", "e"), None),
        )

    def test_an_order_that_comes_late_moves_and_is_announced(self, feed: Feeder) -> None:
        for message in ("x", "y", "z"):
            feed.delta("a", message)
        feed.flush()
        assert feed.ids() == ["x", "y", "z"]
        feed.opened("z", order=1)
        changes = feed.flush()
        assert changes.moved == (Place(MessageKey("s", "z"), MessageKey("s", "x")),)
        assert feed.ids() == ["z", "x", "y"]
        feed.ingest("message.updated", messageId="x", info={"time": {"created": 0}})
        assert feed.flush().moved == (Place(MessageKey("s", "x"), MessageKey("s", "z")),)
        assert feed.ids() == ["x", "z", "y"]

    def test_a_part_moves_when_its_order_comes(self, feed: Feeder) -> None:
        for block in (0, 1, 2):
            feed.delta("a", block=block)
        feed.flush()
        feed.ingest("block.opened", messageId="m", blockIndex=0, kind="text", order=7)
        assert feed.flush().moved == (Place(PartKey("s", "m", 0), None),)
        assert feed.indexes() == [1, 2, 0]

    def test_what_is_added_and_what_is_moved_in_one_tick_find_their_places(
        self, feed: Feeder
    ) -> None:
        for message, order in (("x", 1), ("y", 3), ("m", 0)):
            feed.opened(message, order=order)
        feed.flush()
        mirror = Mirror(feed.store)
        feed.ingest("message.updated", messageId="m", order=2.5)
        feed.opened("a", order=2)
        feed.opened("b", order=2.7)
        feed.ingest("message.updated", messageId="x", order=2.6)
        changes = feed.flush()
        mirror.check()
        assert feed.ids() == ["a", "m", "x", "b", "y"]
        still = MessageKey("s", "y")
        assert {place.before for place in changes.added} == {still}
        assert changes.moved == (
            Place(MessageKey("s", "m"), MessageKey("s", "b")),
            Place(MessageKey("s", "x"), MessageKey("s", "b")),
        )

    def test_parents_are_added_before_what_lies_below_them(self, feed: Feeder) -> None:
        feed.delta("a", "n", 1)
        feed.delta("a", "m", 1)
        feed.delta("a", "m", 0)
        keys = [key for key, _ in feed.flush().added]
        assert keys[:3] == [SessionKey("s"), MessageKey("s", "m"), MessageKey("s", "n")]
        assert keys.index(PartKey("s", "m", 0)) < keys.index(PartKey("s", "m", 1))
        assert len(keys) == 6


class TestChangeSets:
    def test_the_version_counts_commits_that_showed_something(self, feed: Feeder) -> None:
        assert feed.flush().version == 0
        feed.delta("a")
        assert feed.flush().version == 1
        assert not feed.flush()
        feed.ingest("session.updated", info={})
        assert feed.flush().version == feed.store.version == 1
        feed.delta("b")
        assert feed.flush().version == 2

    def test_a_removal_is_announced_once_and_at_the_top(self, feed: Feeder) -> None:
        for message in ("m", "n"):
            feed.delta("a", message)
        feed.flush()
        feed.ingest("block.removed", messageId="m", blockIndex=0)
        feed.ingest("message.removed", messageId="m")
        changes = feed.flush()
        assert changes.removed == (MessageKey("s", "m"),)
        assert not (changes.added or changes.changed or changes.text)
        feed.ingest("session.removed")
        assert feed.flush().removed == (SessionKey("s"),)
        assert feed.store.state()["sessions"] == {}
        assert feed.store._tables.parts == feed.store._tables.messages == {}

    def test_what_came_and_went_within_a_tick_is_not_told(self, feed: Feeder) -> None:
        feed.opened("stays")
        feed.flush()
        feed.delta("a")
        feed.ingest("message.removed", messageId="m")
        assert not feed.flush()

    def test_a_closed_message_settles_its_parts(self, feed: Feeder) -> None:
        feed.delta("a")
        feed.flush()
        assert feed.part().status == "open"
        feed.ingest("message.closed", messageId="m", status="completed")
        changes = feed.flush()
        assert set(changes.changed) == {MessageKey("s", "m"), PartKey("s", "m", 0)}
        assert (feed.part().status, feed.message().status) == ("closed", "completed")

    def test_gaps_come_and_go_with_what_misses_something(self) -> None:
        feed = Feeder("block")
        feed.stream.ingest({
            "type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0, "seq": 1,
            "text": "a",
        })  # fmt: skip
        feed.seq = 2
        wire = {
            "type": "block.delta",
            "sessionId": "s",
            "messageId": "m",
            "blockIndex": 0,
            "text": "x",
        }
        feed.stream.ingest({**wire, "seq": 3})
        (gap,) = feed.flush().gaps
        assert (gap.block_index, gap.reason, gap.missing) == (0, "hole", ((2, 2),))
        assert feed.part().gap
        feed.stream.ingest({**wire, "seq": 2})
        assert feed.flush().gaps == feed.store.health.gaps == ()
        assert not feed.part().gap

    def test_a_gap_is_one_change_of_what_it_is_in(self) -> None:
        feed = Feeder("block")
        wire = {"type": "block.delta", "sessionId": "s", "messageId": "m", "text": "a"}
        part = PartKey("s", "m", 0)
        feed.stream.ingest({**wire, "blockIndex": 0, "seq": 2})
        changes = feed.flush()
        assert [place.key for place in changes.added][-1] == part  # it says so, and nothing else
        assert (changes.changed, len(changes.gaps)) == ((), 1)
        feed.stream.ingest({**wire, "blockIndex": 0, "seq": 4})
        changes = feed.flush()  # the part reads the same, its gap does not
        assert changes.changed == (part,)
        assert [gap.missing for gap in changes.gaps] == [((1, 1), (3, 3))]
        feed.stream.ingest({**wire, "blockIndex": 0, "seq": 5})
        assert feed.flush().changed == ()
        for seq in (1, 3):
            feed.stream.ingest({**wire, "blockIndex": 0, "seq": seq})
        changes = feed.flush()
        assert (changes.changed, changes.gaps) == ((part,), ())

    @pytest.mark.parametrize("sequencing", ["session", "block"])
    def test_gaps_go_with_what_is_removed(self, sequencing: Any) -> None:
        feed = Feeder(sequencing)
        for seq in (1, 3):
            wire = {"messageId": "m", "blockIndex": 0, "text": "a", "seq": seq}
            feed.stream.ingest({"type": "block.delta", "sessionId": "s", **wire})
        assert len(feed.flush().gaps) == 1
        feed.seq = 3
        feed.ingest("session.removed")
        assert feed.flush().gaps == feed.store.health.gaps == ()


class Role(StrEnum):
    USER = "user"


class Name(str, Enum):  # noqa: UP042 - as many programs still have them
    MINE = "mine"
    USER = "user"
    TEXT = "text"


class Number(IntEnum):
    FIRST = 1


class TestLocal:
    """What this client adds before the server has heard of it."""

    def apply(self, feed: Feeder, message: str = "mine") -> None:
        store = feed.store
        opened = MessageOpened(session_id="s", message_id=message, role="user", local=True)
        assert store.apply(opened).kind == "accepted"
        store.apply(
            BlockReplaced(
                session_id="s",
                message_id=message,
                block_index=0,
                kind="text",
                text="hi",
                whole=True,
            )
        )
        store.flush()

    def test_it_is_shown_at_once(self, feed: Feeder) -> None:
        self.apply(feed)
        assert (feed.message("mine").local, feed.part("mine").text) == (True, "hi")

    def test_a_rollback_takes_it_back_without_a_trace(self, feed: Feeder) -> None:
        feed.opened("theirs")
        self.apply(feed)
        feed.store.apply(MessageRollback(session_id="s", message_id="mine"))
        assert feed.flush().removed == (MessageKey("s", "mine"),)
        assert feed.ids() == ["theirs"]
        self.apply(feed)
        assert feed.part("mine").text == "hi"

    @pytest.mark.parametrize(
        ("event", "reason", "detail"),
        [
            (MessageOpened(message_id=7, role="user"), "messageId", "a non-empty string, not 7"),
            (MessageOpened(message_id="", role="user"), "messageId", "string, not an empty one"),
            (MessageOpened(message_id="m", role=None), "role", "a non-empty string, not null"),
            (MessageOpened(message_id="m", role="user", order=date(2020, 1, 1)), "order", "date"),
            (MessageOpened(message_id="m", role="user", session_id=7), "sessionId", "not 7"),
            (MessageUpdated(message_id="m", info=None), "info", "an object, not null"),
            (BlockReplaced(message_id="m", block_index=None, text="t"), "blockIndex", "not null"),
            (BlockReplaced(message_id="m", block_index=0, text=7), "text", "a string, not 7"),
            (BlockOpened(message_id="m", block_index=0, kind="tool", fields=[]), "fields", "array"),
            (MessageClosed(message_id="m", status="done"), "status", "error, not 'done'"),
            (MessageReset(message_id="m", seq=Number.FIRST), "seq", "2**63 - 1, not Number"),
        ],
    )
    def test_a_member_of_a_wrong_type_is_malformed_as_in_what_is_sent(
        self, feed: Feeder, event: Any, reason: str, detail: str
    ) -> None:
        verdict = feed.store.apply(event)
        assert (verdict.kind, verdict.reason) == ("malformed", reason)
        assert verdict.detail.endswith(detail)
        feed.opened("theirs")
        assert feed.flush().added[-1].key == MessageKey("s", "theirs")
        saved = json.loads(json.dumps(feed.store.save()))
        assert StreamStore.load(saved).state()["sessions"] == feed.store.state()["sessions"]

    @pytest.mark.parametrize(
        ("info", "detail"),
        [
            (
                {"time": {"created": date(2020, 1, 1)}},
                "info.time.created must be a JSON value, not",
            ),
            ({"list": [1, (b"x",)]}, "info.list[1][0] must be a JSON value, not bytes"),
            ({"set": {1}}, "info.set must be a JSON value, not set"),
            ({"a": {7: 1}}, "info.a must be an object whose names are strings"),
            ({"a": float("nan")}, "info.a must be a finite number"),
        ],
    )
    def test_a_value_that_no_json_says_is_malformed(
        self, feed: Feeder, info: Any, detail: str
    ) -> None:
        verdict = feed.store.apply(MessageOpened(message_id="m", role="user", info=info))
        assert (verdict.kind, verdict.reason) == ("malformed", "info")
        assert verdict.detail.startswith(f"info: {detail}")
        assert not feed.flush()

    def test_a_value_that_holds_itself_or_nests_too_deep_is_malformed(self, feed: Feeder) -> None:
        endless: dict[str, Any] = {}
        endless["itself"] = endless
        deep: Any = {}
        for _ in range(feed.store.limits.nesting):
            deep = {"deep": deep}
        for info in (endless, deep):
            verdict = feed.store.apply(MessageOpened(message_id="m", role="user", info=info))
            assert verdict.detail == "info: nests too deep"
        feed.store.apply(MessageOpened(message_id="m", role="user", info=deep["deep"]))
        assert [change.key for change in feed.flush().added][-1] == MessageKey("main", "m")

    def test_what_was_read_may_be_told_again(self, feed: Feeder) -> None:
        feed.store.apply(MessageOpened(session_id="s", message_id="m", role=Role.USER))
        feed.store.apply(MessageUpdated(session_id="s", message_id="m", info={"a": {"b": [1]}}))
        feed.flush()
        info = feed.message("m").info
        assert feed.store.apply(MessageUpdated(session_id="s", message_id="n", info=info)).taken
        feed.flush()
        assert (feed.message("n").info, feed.message("m").role) == (info, "user")

    def test_a_member_of_an_enumeration_of_strings_is_its_string(self, feed: Feeder) -> None:
        place: Any = {"session_id": Name.MINE, "message_id": Name.MINE}
        feed.store.apply(MessageOpened(**place, role=Name.USER))
        feed.store.apply(BlockReplaced(**place, block_index=Name.MINE, kind=Name.TEXT, text="hi"))
        feed.flush()
        part = feed.store.part("mine", "mine", "mine")
        assert part is not None
        shown = [*part.key, part.kind, feed.store.messages("mine")[0].role]
        assert (shown, {type(name) for name in shown}) == (["mine"] * 3 + ["text", "user"], {str})
        saved = feed.store.save()  # as it is, without JSON between
        assert StreamStore.load(saved).state()["sessions"] == feed.store.state()["sessions"]

    @pytest.mark.parametrize("session_id", [7, True, "", b"s", ["s"]])
    def test_a_stream_of_a_session_that_has_no_string_for_an_id_is_not_opened(
        self, session_id: Any
    ) -> None:
        """What it brought would be shown, saved, and refused by `load`; or be `main`'s."""
        store = StreamStore()
        with pytest.raises(CallerError, match="session_id must be a non-empty string, not "):
            store.open("openai-chat", session_id=session_id)
        assert not store.save()["streams"]

    @pytest.mark.parametrize("generation", [7, ""])
    def test_a_generation_is_a_string(self, generation: Any) -> None:
        with pytest.raises(CallerError, match="generation must be a non-empty string, not "):
            StreamStore().open("native", generation=generation)

    @pytest.mark.parametrize("made", [7, "", uuid.UUID(int=7)])
    def test_ids_that_are_made_are_strings(self, made: Any) -> None:
        store = StreamStore(new_id=lambda: made)
        with pytest.raises(CallerError, match="what new_id gives must be a non-empty string, not "):
            store.new_id()
        choice = {"index": 0, "delta": {"content": "hi"}}  # of a completion without an id
        with pytest.raises(CallerError, match="what new_id gives"):
            store.open("openai-chat").ingest(
                {"object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            )

    def test_a_stream_of_a_session_that_an_enumeration_names_is_of_its_string(self) -> None:
        store = StreamStore()
        stream = store.open("native", session_id=Name.MINE)
        stream.ingest_many(
            [{"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "hi"}]
        )
        assert [type(session_id) for session_id in store.session_ids()] == [str]
        saved = store.save()  # as it is, without JSON between
        assert StreamStore.load(saved).state()["sessions"] == store.state()["sessions"]

    def test_what_is_no_event_is_told_so(self, feed: Feeder) -> None:
        wire: Any = {"type": "message.opened", "messageId": "m", "role": "user"}
        with pytest.raises(
            CallerError, match=r"one of streamstore\.events, not dict; .*decode_event"
        ):
            feed.store.apply(wire)

    def test_a_rollback_of_what_is_not_local_changes_nothing(self, feed: Feeder) -> None:
        feed.opened("theirs")
        feed.flush()
        for message in ("theirs", "never"):
            feed.store.apply(MessageRollback(session_id="s", message_id=message))
        assert not feed.flush()
        assert feed.ids() == ["theirs"]

    def test_the_servers_event_confirms_it(self, feed: Feeder) -> None:
        self.apply(feed)
        feed.opened("mine")
        feed.flush()
        assert not feed.message("mine").local
        feed.store.apply(MessageRollback(session_id="s", message_id="mine"))
        feed.flush()
        assert feed.ids() == ["mine"]

    def test_the_servers_id_takes_the_place_of_the_clients(self, feed: Feeder) -> None:
        self.apply(feed)
        feed.opened("theirs", clientId="mine")
        feed.flush()
        assert feed.ids() == ["theirs"]
        assert feed.message("theirs").client_id == "mine"


class Counted(tuple[Any, ...]):
    """An order key that counts its comparisons."""

    compared = 0

    def __lt__(self, other: Any) -> bool:
        Counted.compared += 1
        return tuple.__lt__(self, other)

    def __hash__(self) -> int:
        return tuple.__hash__(self)


class TestCost:
    """Work is counted, never timed."""

    @pytest.mark.parametrize("number", [10, 1000])
    def test_a_delta_touches_its_part_alone_however_many_others_there_are(
        self, number: int
    ) -> None:
        feed = Feeder()
        for message in range(number):
            feed.delta("a", f"m{message}")
        feed.flush()
        for message in range(number):
            feed.store.parts("s", f"m{message}")
        before = {name: feed.store.parts("s", name) for name in feed.ids()}
        work = dict(feed.store.health.counts["work"])
        for _ in range(5):
            feed.delta("b", "m1")
        changes = feed.flush()
        after = feed.store.health.counts["work"]
        assert {name: after[name] - work.get(name, 0) for name in after} == {
            "ticks": 1,
            "writes": 1,
        }
        assert len(changes.text) == 1
        assert not (changes.added or changes.changed or changes.moved)
        assert [name for name in before if feed.store.parts("s", name) is not before[name]] == [
            "m1"
        ]

    def test_messages_in_order_cost_a_comparison_each(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add = Ordered.add

        def counted(self: Ordered[Any], key: OrderKey, name: Any) -> None:
            add(self, Counted(key), name)

        monkeypatch.setattr(Ordered, "add", counted)
        feed = Feeder()
        for number in range(2000):
            feed.opened(f"m{number}", order=number)
        Counted.compared = 0
        feed.flush()
        assert Counted.compared <= 20 * 2000  # adding, sorting the places, finding neighbours
        Counted.compared = 0
        feed.opened("last", order=2000)
        feed.flush()
        assert Counted.compared <= 20
        for order in (1000.5, 500.5):  # the first late one makes the sorted container
            Counted.compared = 0
            feed.opened(f"at {order}", order=order)
            feed.flush()
        assert Counted.compared <= 60

    def test_values_are_made_for_what_is_read_alone(self, feed: Feeder) -> None:
        for message in range(100):
            feed.delta("a", f"m{message}")
        feed.flush()
        feed.part("m7")
        rows = feed.store._tables.parts.values()
        assert sum(row.view is not None for row in rows) == 1


def test_half_a_surrogate_pair_reads_as_unknown_and_is_encoded_as_it_came() -> None:
    feeder = Feeder()
    feeder.delta("a\ud83d")
    feeder.delta('"\ude00', field="input")
    feeder.ingest("block.closed", messageId="m", blockIndex=0)
    feeder.flush()
    parts = [
        state["sessions"]["s"]["messages"][0]["parts"][0]
        for state in (feeder.store.state(), feeder.store.encode("native"))
    ]
    assert [part["text"] for part in parts] == ["a\ufffd", "a\ud83d"]
    assert [part["input"] for part in parts] == ['"\ufffd', '"\ude00']
