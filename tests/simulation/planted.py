"""Ways to break the library by a few lines each: the simulation must notice every one of them.

Each is a context manager that plants one defect and takes it out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from streamstore import pipeline, rows, subscribers, watermarks
from streamstore.changes import MergedChanges
from streamstore.client import resuming, resync, watch
from streamstore.marks import EventIds, FieldMarks, Marks
from streamstore.pipeline import Position, Stream, StreamStore

DEFECTS: dict[str, Callable[[], Any]] = {}


def _defect(name: str) -> Callable[[Callable[[], Iterator[Any]]], Any]:
    def kept(plant: Callable[[], Iterator[Any]]) -> Any:
        @contextmanager
        def planted() -> Iterator[None]:
            changes = list(plant())
            before = [(owner, at, getattr(owner, at)) for owner, at, _ in changes]
            for owner, at, value in changes:
                setattr(owner, at, value)
            try:
                yield
            finally:
                for owner, at, value in before:
                    setattr(owner, at, value)

        DEFECTS[name] = planted
        return planted

    return kept


@_defect("a late operation that is known is taken in again")
def _known() -> Iterator[Any]:
    yield Marks, "knows", lambda self, seq: False


@_defect("what waits behind a hole is forgotten when it is filled")
def _drain() -> Iterator[Any]:
    yield watermarks.Gate, "drain", lambda self, block: []


@_defect("a snapshot sets no marks")
def _cover() -> Iterator[Any]:
    yield Stream, "_cover", lambda self, event, session: None


@_defect("event ids are not remembered")
def _ids() -> Iterator[Any]:
    yield EventIds, "__contains__", lambda self, event_id: False


@_defect("the last field to arrive wins, whatever its number")
def _fields() -> Iterator[Any]:
    merge = FieldMarks.merge

    def arrived(self: Any, given: Any, seq: Any = None, whole: bool = False) -> bool:
        return merge(self, given, None, whole)

    yield FieldMarks, "merge", arrived


@_defect("the resume position jumps over holes")
def _position() -> Iterator[Any]:
    yield (
        StreamStore,
        "_position",
        lambda self, stream, taken: Position(stream.received, taken.event_id),
    )


@_defect("a subscriber that raises keeps the others from hearing")
def _raising() -> Iterator[Any]:
    def notify(self: Any, changes: Any) -> None:
        for subscription in self._by_scope.get((), ()):
            try:
                subscription._callback(changes)
            except Exception as error:
                self._on_error(error, subscription)
                return

    yield subscribers.Subscribers, "notify", notify


@_defect("merged change sets forget what was added meanwhile")
def _merged() -> Iterator[Any]:
    add = MergedChanges.add

    def forgetful(self: Any, changes: Any) -> None:
        kept = dict(self._text)
        add(self, changes)
        for field in kept:
            self._text[field] = kept[field]
            self._text.pop(field, None)

    yield MergedChanges, "add", forgetful


@_defect("a saved state lacks what waits behind holes")
def _saved() -> Iterator[Any]:
    save = pipeline.save_session

    def lossy(session: Any) -> Any:
        held = {}
        for message in session.messages.values():
            for block in message.blocks.values():
                held[id(block)] = (block, block.held)
                block.held = {}
        try:
            return save(session)
        finally:
            for block, before in held.values():
                block.held = before

    yield pipeline, "save_session", lossy


@_defect("what the short way left is not settled before a late event")
def _settle() -> Iterator[Any]:
    settle = rows.BlockRow.settle

    def lossy(self: Any, window: int) -> int:
        if len(self.fresh) > 2:
            self.fresh.reverse()
        return int(settle(self, window))

    yield rows.BlockRow, "settle", lossy


@_defect("a removal leaves no tombstone for its blocks")
def _tombstones() -> Iterator[Any]:
    admit = watermarks.Gate.admit

    def forgetful(self: Any, mode: Any, event: Any, session: Any, message: Any, *rest: Any) -> Any:
        if message is not None and message.removed_now and mode == "block":
            message.gone = False
        return admit(self, mode, event, session, message, *rest)

    yield watermarks.Gate, "admit", forgetful


# --- of the client and its disk -------------------------------------------------------------------


@_defect("a connection resumes one event too far")
def _cursor() -> Iterator[Any]:
    position = resuming.LastEventId.position

    def further(self: Any, store: Any, stream: Any) -> Any:
        found = position(self, store, stream)
        return found and str(int(found) + 1)

    yield resuming.LastEventId, "position", further


@_defect("a session is resumed one number too far")
def _after() -> Iterator[Any]:
    position = resuming.AfterSeq.position

    def further(self: Any, store: Any, stream: Any) -> Any:
        found = position(self, store, stream)
        return None if found is None else found + 1

    yield resuming.AfterSeq, "position", further


@_defect("a fetched state is thrown away")
def _apply() -> Iterator[Any]:
    yield resync.Resync, "_apply", lambda self, wires: True


@_defect("a silent connection is not given up")
def _silence() -> Iterator[Any]:
    async def never(self: Any) -> None:
        await asyncio.Event().wait()

    yield watch.Silence, "watch", never


OF_THE_CLIENT = (
    "a connection resumes one event too far",
    "a session is resumed one number too far",
    "a fetched state is thrown away",
    "a silent connection is not given up",
)
