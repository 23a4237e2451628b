"""What a consumer meets in an editor and a shell: values that copy and print, and wrong use.

Each mistake is refused where it is made, by an error that says what to do.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamstore import (
    CallerError,
    ChangeSet,
    Edit,
    InboxFull,
    Limits,
    MalformedEvent,
    PartKey,
    StreamStore,
    UnknownEvent,
)
from streamstore.client import (
    ConnectionLost,
    LastEventId,
    Request,
    RequestFailed,
    StreamRefused,
    connect,
    connect_blocking,
)
from streamstore.errors import MissingExtra, StreamStoreError
from streamstore.events import BlockDelta, SessionUpdated, encode_event
from streamstore.eviction import Eviction
from streamstore.log import DamagedLog, DiskError, Loss, Record, open_log
from streamstore.recording import Recording
from streamstore.testing import FakeStream, Log, check_laws, disturb, replay, sample
from streamstore.ticks import AsyncioTicks, ManualTicks

URL = "http://x"
BIG = "x" * 5_000_000
WIRE = {
    "type": "block.delta",
    "sessionId": "s",
    "messageId": "m",
    "blockIndex": 0,
    "seq": 1,
    "text": "hi",
}


def large() -> tuple[StreamStore, ChangeSet]:
    """A store whose every value is large, and the change set that brought it all."""
    store = StreamStore("native", ticks="manual")
    tool = {"status": "completed", "title": BIG, "input": {"a": BIG}, "output": [BIG]}
    where = {"sessionId": "s", "messageId": "m"}
    notable = store.ingest_many(
        [
            {"type": "session.updated", "sessionId": "s", "info": {"title": BIG}},
            {"type": "session.state", "sessionId": "s", "state": [{"a": [BIG] * 40}] * 40},
            {"type": "session.error", "sessionId": "s", "error": {"name": "E", "message": BIG}},
            {"type": "session.status", "sessionId": "s", "status": "retry", "message": BIG},
            {"type": "permission.asked", "sessionId": "s", "id": "p", "payload": {"a": BIG}},
            {"type": "message.opened", **where, "role": "user", "info": {"a": BIG}},
            {"type": "block.opened", **where, "blockIndex": 0, "kind": "tool", "state": tool},
            {"type": "block.delta", **where, "blockIndex": 1, "text": BIG},
        ]
    )
    assert notable == []
    return store, store.flush()


def test_a_repr_is_cut_where_a_value_is_large() -> None:
    store, changes = large()
    session, message, part = store.session("s"), store.message("s", "m"), store.part("s", "m", 0)
    assert session is not None and part is not None
    values: list[Any] = [
        store, changes, session, session.status, session.permissions["p"], message, part,
        part.tool, store.part("s", "m", 1), store.subscribe(print).state, store.health,
        *changes.text.values(), BlockDelta(message_id="m", block_index=0, text=BIG),
        SessionUpdated(info={"a": BIG}), Record(1, None, "", "", 0, BIG.encode()),
        Request(url="http://x", body=BIG.encode()), UnknownEvent(BIG),
    ]  # fmt: skip
    for value in values:
        assert 10 < len(repr(value)) < 4_000, type(value)
    assert "5000000 characters" in repr(session) and repr(message).startswith("Message(session_id")


def test_a_repr_of_what_is_small_is_whole() -> None:
    assert repr(Edit(0, "hi\x1b[2J", False)) == r"Edit(start=0, text='hi\x1b[2J', rewritten=False)"
    store = StreamStore("native")
    store.ingest_many([WIRE])
    assert repr(store) == "<StreamStore native, 1 sessions, version 1>"
    assert repr(store.subscribe(print, "s", "m")) == "<Subscription ('s', 'm')>"
    store.close()
    assert repr(store) == "<StreamStore native, 1 sessions, version 1, closed>"


def test_a_number_that_python_does_not_write_has_a_repr() -> None:
    assert "'a': <int>" in repr(SessionUpdated(info={"a": 10**5000}))


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_what_a_store_tells_can_be_copied_and_pickled(way: Callable[[Any], Any]) -> None:
    store = StreamStore("native", ticks="manual")
    subscription = store.subscribe([].append)
    counted = {"type": "stream.opened", "sequencing": "session"}
    store.ingest_many([counted, WIRE, {**WIRE, "seq": 2}])
    changes = store.flush()
    assert changes.text and changes.resume["sessions"]
    for value in (changes, store.health):
        assert way(value) == value and type(way(value)) is type(value)
    with pytest.raises(TypeError):
        way(changes).text["x"] = 1
    present = way(store.subscribe(print).state)
    assert [part.text for parts in present.parts.values() for part in parts] == ["hihi"]
    assert present.sessions == (store.session("s"),)
    for what in (store, store.open("native"), subscription, store.changes()):
        with pytest.raises(TypeError, match="cannot be copied"):
            way(what)


def test_an_iterator_of_changes_that_nobody_could_copy_still_hears() -> None:
    async def run() -> None:
        store = StreamStore("native")
        changes = store.changes()
        with pytest.raises(TypeError, match="cannot be copied"):
            copy.copy(changes)
        gc.collect()
        store.ingest_many([WIRE])
        assert (await anext(changes)).version == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [
        MalformedEvent("messages.0.seq", "must be an integer"),
        UnknownEvent("zz", session_id="s", seq=3),
        MissingExtra("install it", "s"),
        ConnectionLost("gone", sent=False, after_ms=3),
        StreamRefused("no", 404),
        RequestFailed("no", 500),
        DiskError("full", 28),
        DamagedLog("a.jsonl", Loss(1, 3, 2, "a checksum")),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_errors_come_back_from_another_process_as_they_were(
    error: StreamStoreError, protocol: int
) -> None:
    error.add_note("while it ran")
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error) and vars(again) == vars(error)


# -- mistakes ------------------------------------------------------------------------------------


async def awaited(changes: ChangeSet) -> None:
    raise AssertionError("nobody awaits it")


class Awaited:
    async def __call__(self, changes: ChangeSet) -> None:
        raise AssertionError("nobody awaits it")


MISTAKES: dict[str, tuple[Callable[[StreamStore], Any], str]] = {
    "an interval for ticks": (lambda store: StreamStore(ticks=16), "a scheduler .* not 16"),
    "the class of ticks": (lambda store: StreamStore(ticks=AsyncioTicks), "AsyncioTicks\\("),
    "a function for ticks": (lambda store: StreamStore(ticks=print), "a scheduler"),
    "a dict for limits": (lambda store: StreamStore(limits={"nesting": 3}), "must be a Limits"),
    "the class of limits": (lambda store: StreamStore(limits=Limits), "must be a Limits"),
    "an id for new_id": (lambda store: StreamStore(new_id="a"), "new_id must be a function"),
    "no function for on_error": (lambda store: StreamStore(on_error=3), "on_error must be a func"),
    "a callback that was called": (lambda store: store.subscribe(None), "not 'NoneType'"),
    "an async callback": (lambda store: store.subscribe(awaited), "iterate over `changes\\(\\)`"),
    "an async object": (lambda store: store.subscribe(Awaited()), "iterate over `changes\\(\\)`"),
    "a key for a scope": (
        lambda store: store.subscribe(print, PartKey("s", "m", 0)),
        "session_id must be a non-empty string, not PartKey",
    ),
    "a number for a session": (lambda store: store.changes(3), "session_id must be"),
    "a number for a message": (lambda store: store.changes("s", 3), "message_id must be"),
    "a fraction for a block": (lambda store: store.changes("s", "m", 0.5), "block_index, where"),
    "no throttle": (lambda store: store.subscribe(print, throttle=None), "ms from 0, not None"),
    "a text for a throttle": (lambda store: store.subscribe(print, throttle="9"), "ms from 0"),
    "one event for many": (lambda store: store.ingest_many(WIRE), "give one to ingest"),
    "a text for many": (lambda store: store.ingest_many("[]"), "bytes to feed"),
    "bytes for many": (lambda store: store.open("native").ingest_many(b"[]"), "bytes to feed"),
    "a number to ask for": (lambda store: store.ask_resync(3, "lost"), "session_id must be"),
    "an object for an event": (lambda store: encode_event(WIRE), "decode_event makes one"),
    "no Keep": (lambda store: Eviction(store, {"sessions": 3}), "keep must be a Keep, not 'dict'"),
    "a set for protected": (
        lambda store: Eviction(store, protected={"s"}),
        "a function of a session's id",
    ),
    "no events": (lambda store: Recording(URL, "a.db", most_events=0), "an integer from 1, not 0"),
    "half an event": (lambda store: Recording(URL, "a.db", most_events=1.5), "an integer from 1"),
    "less than no time": (lambda store: Recording(URL, "a.db", most_ms=-1), "ms from 0, not -1"),
    "no reason": (lambda store: store.ask_resync("s", ""), "a reason must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_where_it_is_made(name: str) -> None:
    store = StreamStore("native", ticks=ManualTicks())
    make, says = MISTAKES[name]
    with pytest.raises(CallerError, match=says):
        make(store)
    store.ingest(WIRE)  # which nothing of it hinders
    assert store.flush().text and StreamStore.load(store.save()).session_ids() == ("s",)


TEST_MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "a path to replay": (lambda: replay("talk.sse"), "Log.read\\(path\\)"),
    "objects to replay": (lambda: replay([WIRE]), "Log.of\\(objects\\)"),
    "objects to disturb": (lambda: disturb([WIRE], 1), "Log.of\\(objects\\)"),
    "objects under laws": (lambda: check_laws([WIRE]), "Log.of\\(objects\\)"),
    "objects to send": (lambda: FakeStream([WIRE]), "Log.of\\(objects\\)"),
    "a framing that is none": (lambda: FakeStream(sample(), framing="frame"), "lines, frames"),
    "bytes in no framing": (lambda: sample().data("frame"), "lines, frames"),
    "a log of no sequencing": (lambda: Log.read("x.sse", sequencing="blocks"), "block, session"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEST_MISTAKES)
def test_a_mistake_in_a_test_is_told_where_it_is_made(name: str) -> None:
    make, says = TEST_MISTAKES[name]
    with pytest.raises(CallerError, match=says):
        make()


def test_a_log_takes_the_bytes_or_the_text_of_an_event(tmp_path: Path) -> None:
    with open_log(tmp_path / "a.jsonl") as log:
        with pytest.raises(CallerError, match=r"not 'dict': of an object give json\.dumps"):
            log.append(WIRE)
        assert log.append(memoryview(b"{}")) == 1  # and goes on


def test_bytes_that_never_fit_are_refused_with_what_to_do() -> None:
    stream = StreamStore(ticks="manual", limits=Limits(inbox_bytes=10)).open("native")
    with pytest.raises(InboxFull, match="never fit: feed them in smaller pieces"):
        stream.feed_threadsafe(b"x" * 11)
    stream.feed_threadsafe(b"x" * 10)
    with pytest.raises(InboxFull, match="10 bytes wait"):
        stream.feed_threadsafe(b"x")


class Quiet:
    """A transport that no test lets open anything."""

    async def open(self, request: Request) -> Any:
        raise AssertionError("nothing is sent")

    async def aclose(self) -> None:
        pass


CONNECT_MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"url": None}, "an http or https address is needed, not 'NoneType'"),
    ({"store": None}, "store= takes a StreamStore, not 'NoneType'"),
    ({"store": StreamStore}, "store= takes a StreamStore, not <class"),
    ({"session_id": 3}, "session_id must be a non-empty string"),
    ({"sequencing": "blocks"}, "sequencing must be one of"),
    ({"leniency": "lax"}, "leniency must be lenient or strict"),
    ({"generation": 3}, "generation must be"),
    ({"policy": "strict"}, "lenient or strict, is leniency="),
    ({"policy": {}}, "policy= takes a streamstore.client.Policy, not 'dict'"),
    ({"live_after": "opened"}, "live_after must be open or first event"),
    ({"body": "{}"}, "encode it, or give json="),
    ({"json": {"at": object()}}, "json= cannot be sent as JSON: Object of type object"),
    ({"headers": [("a", "b")]}, "headers= takes a mapping"),
    ({"resume": "id-3"}, "resume= takes a Resume of its own, not 'str'"),
    ({"resume": LastEventId}, "resume= takes a Resume of its own, not <class"),
    ({"transport": 3}, "transport= takes a Transport"),
    ({"clock": 3}, "clock= takes a Clock"),
]


@pytest.mark.parametrize(("given", "says"), CONNECT_MISTAKES)
@pytest.mark.parametrize("way", [connect, connect_blocking])
def test_a_wrong_argument_of_a_connection_is_told_at_once(
    way: Callable[..., Any], given: dict[str, Any], says: str
) -> None:
    arguments = {"url": URL, "store": StreamStore(), "transport": Quiet(), **given}
    with pytest.raises(CallerError, match=says):
        way(arguments.pop("url"), **arguments)


def test_what_posts_to_the_owner_is_a_function() -> None:
    with pytest.raises(CallerError, match="post= takes a function, not 'int'"):
        connect_blocking(URL, store=StreamStore(), transport=Quiet(), post=3)


def test_a_closed_store_is_read_and_saved() -> None:
    store = StreamStore("native")
    store.ingest_many([WIRE])
    store.close()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "hi"
    assert store.pull(0).text and StreamStore.load(store.save()).session_ids() == ("s",)
    for use in (
        lambda: store.open("native"), lambda: store.feed(b""), lambda: store.ingest(WIRE),
        lambda: store.ingest_many([]), lambda: store.flush(), lambda: store.subscribe(print),
        store.changes,
    ):  # fmt: skip
        with pytest.raises(CallerError, match="closed"):
            use()
    store.close()


class Own(StreamStore):
    """A store of a program's own."""


def test_a_store_of_ones_own_class_is_loaded_as_such() -> None:
    assert type(Own.load(Own().save())) is Own
