"""Typed usage of the public API, checked by mypy and pyright; it is never run."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never, assert_type

import streamstore
import streamstore.recording
import streamstore.serve
from streamstore import (
    BlockIndex,
    Changes,
    ChangeSet,
    Delivery,
    Key,
    Message,
    MessageKey,
    Part,
    PartKey,
    Sequencing,
    SessionKey,
    Stream,
    StreamStore,
    Subscription,
    Verdict,
)
from streamstore.client import BlockingConnection, connect_blocking
from streamstore.events import MessageOpened
from streamstore.ticks import AsyncioTicks, ManualTicks, TimerTicks


def feeding(store: StreamStore, chunk: bytes) -> None:
    stream: Stream = store.open("opencode", policy="strict")
    stream.feed(chunk)
    verdict: Verdict = stream.ingest({"type": "server.connected"})
    assert_type(verdict.kind == "accepted", bool)
    for place, notable in stream.ingest_many([{}]):
        assert_type(place, int)
        assert_type(notable, Verdict)
    stream.end()
    store.apply(MessageOpened(session_id="s", message_id=store.new_id(), role="user", local=True))


def reading(store: StreamStore) -> str | None:
    assert_type(store.session_ids(), tuple[str, ...])
    part = store.part("s", "m", 0)
    assert_type(part, Part | None)
    if part is None:
        return None
    if part.tool is not None:
        return part.tool.status
    return part.text


def hearing(store: StreamStore) -> Subscription:
    def hear(changes: ChangeSet) -> None:
        for (key, field), edit in changes.text.items():
            print(key.message_id, field, edit.start, edit.text, edit.rewritten)
        for place in changes.added:
            print(place.key, place.before)

    return store.subscribe(hear, "s", "m", throttle=100)


def beginning(heard: Subscription) -> list[str]:
    """What was there when it subscribed, typed as the reads are."""
    present = heard.state
    for session in present.sessions:
        assert_type(present.messages[session.id], tuple[Message, ...])
        for message in present.messages[session.id]:
            assert_type(present.parts[message.key], tuple[Part, ...])
    return [part.text for parts in present.parts.values() for part in parts]


async def iterating(store: StreamStore) -> None:
    async for changes in store.changes(session_id="s"):
        assert_type(changes, ChangeSet)


def scheduling(after: Callable[[int, Callable[[], object]], object]) -> list[StreamStore]:
    return [
        StreamStore(ticks="each"),
        StreamStore("native", ticks=ManualTicks(), delivery="buffered"),
        StreamStore("auto", ticks=TimerTicks(after)),
        StreamStore(ticks=AsyncioTicks(interval_ms=33)),
        StreamStore.load(StreamStore().save()),
    ]


def matching(key: Key) -> BlockIndex:
    """Each kind of key is told by its class, and there is no other."""
    match key:
        case SessionKey(session_id):
            return session_id
        case MessageKey(_, message_id):
            return message_id
        case PartKey(_, _, block_index):
            assert_type(block_index, int | str)
            return block_index
    assert_never(key)


def showing(part: Part) -> str:
    """The kinds and statuses of a part can be told exhaustively."""
    match part.status:
        case "open" | "closed" | "incomplete":
            pass
        case _:
            assert_never(part.status)
    match part.kind:
        case "text" | "reasoning" | "tool" | "file" | "source" | "agent" | "subtask" | "data":
            return part.text
        case "step-start" | "step-finish" | "compaction" | "retry" | "snapshot" | "patch":
            return ""
        case "error" | "unknown":
            return "?"
        case _:
            assert_never(part.kind)


class View:
    """What a program names in its own code."""

    changes: Changes
    delivery: Delivery = "buffered"
    sequencing: Sequencing = "none"

    def __init__(self, store: StreamStore) -> None:
        self.changes = store.changes("s")


class OwnStore(StreamStore):
    """A store of a program's own."""


def loading() -> None:
    assert_type(OwnStore.load("talk.json"), OwnStore)


def following(store: StreamStore) -> BlockingConnection:
    connect_blocking("http://x", store=store, protocl="native")  # type: ignore[call-arg]  # pyright: ignore
    return connect_blocking("http://x", store=store, protocol="native", reconnect=False)


def telling() -> None:
    assert_type(streamstore.__version__, str)
    print(streamstore.no_such_name)  # type: ignore[attr-defined]  # pyright: ignore
    print(streamstore.serve.no_such_name)  # type: ignore[attr-defined]  # pyright: ignore
    print(streamstore.recording.no_such_name)  # type: ignore[attr-defined]  # pyright: ignore
