"""`StreamStore`: the wiring of streams, ticks, tables and subscribers, and what a user calls.

    bytes -> frames -> adapter -> events -> gate -> reducer -> coalescer -> tables -> subscribers

The way to the coalescer is a stream's (`streams.py`). From there on it is a tick's: here rows are
committed, told of and read, and a whole store is saved and loaded.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal, NoReturn, Self, TypeAlias

import attrs

from .adapters.base import Context
from .changes import ChangeSet, Gap, MergedChanges, Place, again
from .decoding import decoder_named
from .doors import Ingest
from .errors import CallerError, UnsupportedState
from .events import Event
from .framing import as_bytes
from .history import History
from .inbox import Inbox
from .ingress import Ingress
from .iterating import Changes, weak
from .keys import BlockIndex, Key, is_number, read_token
from .limits import Limits
from .model import (
    DELIVERIES,
    SEQUENCINGS,
    Delivery,
    Json,
    Message,
    Part,
    Sequencing,
    Session,
    brief,
    thaw,
)
from .protocols import adapter_named
from .rows import BlockRow, SessionRow, session_of
from .saved import (
    VERSION,
    check_head,
    check_shown,
    load_gaps,
    load_session,
    refusing,
    save_gaps,
    save_session,
)
from .stages import Stages
from .state import OneSession, state_of
from .store import Tables
from .streams import Policy, Stream
from .subscribers import Subscribers, Subscription, present_in
from .terminal import escape
from .ticks import Ticks
from .verdicts import Verdict
from .watermarks import MISSING

__all__ = ["Health", "Policy", "Stream", "StreamStore"]

NewId: TypeAlias = Callable[[], str]
OnError: TypeAlias = Callable[[BaseException, Subscription], object]


@attrs.frozen
class Health:
    """How a store is doing: what its streams brought, what is missing, where to resume.

    Attributes:
        counts: `{"verdicts", "characters", "held", "work"}`, see `verdicts.Counts`.
        gaps: what is missing now.
        resume: `{"sessions": {id: seq}, "eventId": id}`: the last position before the first
            missing operation, or the last one received; members without a value are left out.
            `eventId`: of the stream opened last that has ids, before what any stream of the same
            protocol and session misses.
        resync: sessions that should be fetched again, with the reason; a snapshot clears them,
            but for those that it leaves with a hole. So do the missing events of a `session`
            stream where they come after all, and are the only reason.
    """

    counts: Mapping[str, Any] = attrs.field(repr=brief)
    gaps: tuple[Gap, ...] = attrs.field(repr=brief)
    resume: Mapping[str, Any] = attrs.field(repr=brief)
    resync: Mapping[str, str] = attrs.field(repr=brief)

    __reduce__ = again


def _plain(what: str, value: object) -> str:
    """An id that the caller gives, as a plain string, also of a member of an enumeration.

    The key of a row or a UUID would do until it was saved: such a state cannot be loaded.
    """
    if not isinstance(value, str) or not value:
        raise CallerError(f"{what} must be a non-empty string, not {value!r:.80}")
    return str.__str__(value)


def checked_opening(
    session_id: str | None,
    sequencing: Sequencing | None,
    generation: str | None,
    policy: Policy,
    named: str = "policy",
) -> tuple[str | None, str | None]:
    """What a stream is to be opened with: session and generation, as plain strings.

    Raises:
        CallerError: one is none of its values; `named` is what the last one is called.
    """
    if sequencing is not None and sequencing not in SEQUENCINGS:
        raise CallerError(f"sequencing must be one of {', '.join(SEQUENCINGS)}")
    if policy not in ("lenient", "strict"):
        raise CallerError(f"{named} must be lenient or strict")
    if session_id is not None:
        session_id = _plain("session_id", session_id)
    if generation is not None:
        generation = _plain("generation", generation)
    return session_id, generation


class StreamStore:
    """Sessions, messages and parts of chat streams, normalized, deduplicated and coalesced.

    - feed: `open`, `feed`, `ingest`, `ingest_many`, `apply`, `flush`, `release`, `close`
    - read: `session_ids`, `session`, `messages`, `message`, `parts`, `part`, `state`, `health`
    - hear: `subscribe`, `changes`, `pull`
    - keep: `save`, `load`; fetch: `begin_read`

    Reads and subscribers see whole ticks only. One thread owns a store; others use
    `Stream.feed_threadsafe`.

    Args:
        protocol: name of the protocol of the default stream (`feed`, `ingest`), `auto` or None
            to recognise it.
        ticks: when work becomes visible. None: at the end of each `feed` or `ingest_many` and on
            `flush()`; `"each"`: after every event; `"manual"`: on `flush()` alone;
            `"asyncio"`: once per 16 ms at most; or a scheduler of `streamstore.ticks`.
        delivery: `streaming`, or `buffered`: a turn's text is shown when the turn says so.
        limits: every bound, see `Limits`.
        new_id: makes ids that a protocol does not give; `local-1`, `local-2`, ... by default.
        decoder: what reads JSON: `standard`, or `orjson` (extra `speed`), which is faster and
            makes floats of integers beyond 64 bits.
        on_error: told of what a subscriber raised, `on_error(error, subscription)`; prints a
            traceback by default.

    Raises:
        UnknownProtocol: no adapter has that name.
        CallerError: another argument is none of its values.

    >>> store = StreamStore("native", ticks="manual")
    >>> for seq, text in enumerate(["Hel", "lo"], start=1):
    ...     _ = store.ingest({"type": "block.delta", "sessionId": "s", "messageId": "m",
    ...                       "blockIndex": 0, "seq": seq, "text": text})
    >>> changes = store.flush()
    >>> [(edit.start, edit.text) for edit in changes.text.values()]
    [(0, 'Hello')]
    >>> store.part("s", "m", 0).text
    'Hello'
    """

    def __init__(
        self,
        protocol: str | None = None,
        *,
        ticks: Ticks | Literal["each", "manual", "asyncio"] | None = None,
        delivery: Delivery = "streaming",
        limits: Limits | None = None,
        new_id: NewId | None = None,
        decoder: Literal["standard", "orjson"] = "standard",
        on_error: OnError | None = None,
    ) -> None:
        if delivery not in DELIVERIES:
            raise CallerError(f"delivery must be one of {', '.join(DELIVERIES)}")
        if protocol not in (None, "auto"):
            adapter_named(protocol)
        if limits is not None and not isinstance(limits, Limits):
            raise CallerError(f"limits must be a Limits, not {_named(limits)}")
        if new_id is not None:
            _needs_function("new_id", new_id)
        if on_error is not None:
            _needs_function("on_error", on_error)
        self.limits = limits or Limits()
        self._protocol = protocol or "auto"
        self._new_id = new_id or _Numbered()
        loads = decoder_named(decoder)
        self._ticks = _ticks(ticks)
        self._inbox: Inbox[Stream] = Inbox(self.limits.inbox_bytes, self._ticks, self._feeds)
        self._stages = Stages(
            self.limits,
            delivery,
            self._inbox,
            new_id=self.new_id,
            loads=loads,
            wake=self._wake,
            woke=self._woke,
            fed=self._fed,
            lacks=self._lack,
        )
        self._counts = self._stages.counts
        self._coalescer = self._stages.coalescer
        self._positions = self._stages.positions
        self._sessions = self._stages.sessions
        self._streams: dict[Stream, None] = {}
        self._default: Stream | None = None
        self._applied: Ingress | None = None
        self._tables = Tables()
        self._lacking = ""
        self._closed = False
        self._history = History(self.limits.history_changes, self.limits.history_characters)
        self._each = ticks == "each"
        self._at_feed = ticks is None
        self._asked_tick = False
        self._way: Ingest = self._open_way
        self._subscribers = Subscribers(
            self.limits.subscriber_changes,
            self._locate,
            self._call_later,
            on_error or _report,
            self._counts.work,
        )
        if self._ticks is not None:
            self._ticks.start(self._commit)

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return (
            f"<{type(self).__name__} {self._protocol}, {len(self.session_ids())} sessions, "
            f"version {self.version}{closed}>"
        )

    def __reduce_ex__(self, _: object) -> NoReturn:
        """A copy would share streams and timers with its original."""
        raise TypeError("a store cannot be copied or pickled: load() what save() gives")

    # -- input -------------------------------------------------------------------------------

    def open(
        self,
        protocol: str = "auto",
        *,
        session_id: str | None = None,
        sequencing: Sequencing | None = None,
        generation: str | None = None,
        policy: Policy = "lenient",
        after: Stream | None = None,
    ) -> Stream:
        """Open a stream: one connection or response, with its own parser and position.

        The store holds it until its `end()`, which says so where an answer was cut, too.

        `session_id` names the session of a protocol that has none, and refuses others
        (`foreign`). `sequencing` overrides what the protocol declares; `generation` says which
        run of the server's counter this is. `policy`: `lenient` counts what it cannot use and
        goes on, `strict` stops the stream where the official client would.

        `after` is an open stream whose connection was lost: it is ended, and the new one goes on
        where it stood. Without it the new one takes the place that a saved stream of its protocol
        and session left, or the last of them that ended: with several connections on one store
        that may be another one's.

        Raises:
            UnknownProtocol: no adapter has that name.
            CallerError: another argument is none of its values, `after` is no open stream of this
                store, or the store is closed.
        """
        session_id, generation = checked_opening(session_id, sequencing, generation, policy)
        self._usable()
        if after is not None and not (isinstance(after, Stream) and after in self._streams):
            raise CallerError("after= takes a stream of this store that has not ended")
        return self._open(protocol, session_id, sequencing, generation, policy, after=after)

    def _open(
        self,
        protocol: str,
        session_id: str | None = None,
        sequencing: Sequencing | None = None,
        generation: str | None = None,
        policy: Policy = "lenient",
        default: bool = False,
        after: Stream | None = None,
    ) -> Stream:
        self._usable()
        self._inbox.meet()
        adapter = None if protocol == "auto" else adapter_named(protocol)
        before: dict[str, Any] | None
        if after is None:
            before = self._positions.take_left(protocol, session_id, default)
        else:
            before = self._succeeded(after)
        memory = None
        if before is not None and not before["ended"]:
            memory = before["memory"]
            sequencing = sequencing or before["sequencing"]
        stream = Stream(
            self._stages,
            adapter,
            session_id,
            sequencing,
            policy,
            memory=memory,
            moved=self._moved if default else None,
            left=self._left,
        )
        self._streams[stream] = None
        self._positions.enter(stream._progress, before)
        if before is not None:
            stream._go_on_from(before)
        if generation is not None:
            stream._ingress.open_generation(session_id, generation)
            self._woke()
        return stream

    def _succeeded(self, stream: Stream) -> dict[str, Any] | None:
        """End a stream; what it left is for the one that is opened now."""
        try:
            stream._end(followed=True)
            self._usable()  # whoever saw the last tick may have closed the store
        except BaseException:
            self._positions.free(stream._progress)
            raise
        return self._positions.take_kept(stream._progress)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """`Stream.feed` of the default stream."""
        if type(data) is not bytes:
            data = as_bytes(data)  # before a stream is opened
        self._default_stream().feed(data)

    def ingest(self, wire: Any) -> Verdict:
        """`Stream.ingest` of the default stream, which the first call opens."""
        return self._way(wire)

    def ingest_many(self, wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        """`Stream.ingest_many` of the default stream."""
        return self._default_stream().ingest_many(wires)

    def apply(self, event: Event) -> Verdict:
        """Take in a canonical event beside any protocol, e.g. the user's own message.

        A message opened with `local=True` is shown at once; the server's events confirm it, or,
        where it sends none of it, an opening without `local`; a `message.rollback` takes back what
        was not confirmed. A member of a wrong type (ids are strings, never numbers) makes the event
        `malformed`, as it does one that is sent.

        Raises:
            CallerError: it is no event of `streamstore.events`.
        """
        self._usable()
        if self._applied is None:
            self._applied = Ingress(self._stages, None, "none", local=True)
            self._stages.applied = self._applied
        verdict = self._applied.take((event,))
        self._counts.add(verdict)
        self._woke()
        return verdict

    def new_id(self) -> str:
        """A fresh id for something that no protocol named, e.g. a local message.

        Raises:
            CallerError: the store was given a `new_id` that makes something else.
        """
        return _plain("what new_id gives", self._new_id())

    # -- ticks ---------------------------------------------------------------------------------

    def flush(self) -> ChangeSet:
        """Commit now: one change set, one notification pass. Shows nothing that is held back."""
        if self._closed:
            self._usable()
        if self._inbox.waiting:
            self._inbox.drain()
        if self._ticks is not None:
            self._ticks.committed()  # first: what subscribers feed meanwhile is a new request
        return self._commit()

    def release(self, session_id: str) -> None:
        """Let the next tick show what `buffered` delivery holds back of a session."""
        self._usable()
        session = self._sessions.get(session_id)
        if session is not None:
            self._coalescer.release(session)
            self._woke()

    def close(self) -> None:
        """End every stream, show everything that waits, and close the subscriptions.

        Who hears of that finds a closed store: what it feeds is refused by a `CallerError`, as is
        all that opens, feeds, applies, flushes, releases, subscribes or begins a read from then on.
        Reads, `pull` and `save` go on; closing again does nothing.
        """
        if self._closed:
            return
        # First: a stream that a subscriber opens from here on, or feeds implicitly, nobody ends.
        self._closed = True
        asked = self._asked_tick
        self._asked_tick = True  # the last tick is below: a loop that is gone is not asked for one
        try:
            self._inbox.drain()
            for stream in list(self._streams):
                if not stream.ended:
                    stream.end()
        except BaseException:
            self._closed = False  # it goes on when it is called again
            self._asked_tick = asked
            if not asked:
                self._coalescer.ask_again()
            raise
        for session in self._sessions.values():
            self._coalescer.release(session)
        if self._ticks is not None:
            self._ticks.stop()  # before the last tick: whom it tells needs no timer for the next
        try:
            self._commit()
        finally:
            self._subscribers.close()

    def _usable(self) -> None:
        if self._closed:
            raise CallerError("this store is closed")

    def _feeds(self) -> bool:
        return any(stream._feeding for stream in self._streams)

    def _default_stream(self) -> Stream:
        if self._default is None:
            self._default = self._open(self._protocol, default=True)
        return self._default

    def _open_way(self, wire: Any) -> Verdict:
        return self._default_stream().ingest(wire)

    def _moved(self, way: Ingest) -> None:
        """The default stream takes wire objects in by another function."""
        self._way = way

    def _left(self, stream: Stream) -> None:
        """A stream has ended."""
        self._streams.pop(stream, None)
        if stream is self._default:
            self._default, self._way = None, self._open_way
        if self._positions.blocks or self._positions.sessions:
            whose = stream._progress.whose
            for other in reversed(self._streams):
                if other is not self._default and other._progress.whose == whose:
                    self._positions.inherit(*whose, other._progress)
                    break

    def _wake(self, row: BlockRow) -> None:
        """The hot path brought the first work of a row since the last tick."""
        self._coalescer.wake(row)
        if self._each or (self._ticks is not None and not self._asked_tick):
            self._woke()

    def _woke(self) -> None:
        if self._each:
            self._commit()
        elif self._asked_tick:
            self._inbox.meet()  # it may have been asked in a loop that is gone
        elif self._ticks is not None and self._coalescer.waits:
            self._asked_tick = True
            try:
                self._ticks.request()
            except BaseException:
                self._asked_tick = False  # nothing is scheduled: the next work asks again
                self._coalescer.ask_again()
                raise

    def _lack(self, problem: str) -> None:
        self._lacking = problem

    def _fed(self) -> None:
        if self._at_feed:
            self._commit()
        else:
            self._woke()
        if self._lacking:
            # Behind all that came, as it may be an error; the counts say how often it was so.
            problem, self._lacking = self._lacking, ""
            warnings.warn(problem, RuntimeWarning, stacklevel=4)

    def _commit(self) -> ChangeSet:
        self._asked_tick = False
        if self._inbox.waiting:
            self._inbox.drain()  # a GUI timer may be all that runs in the owner's thread
        before = self._tables.version
        plain = self._coalescer.take_texts()
        if plain is not None:
            edits, sessions = plain
            changes = self._tables.publish_texts(edits, self._positions.resume(sessions))
        elif not self._coalescer.waits:
            return self._nothing()
        else:
            taken = self._coalescer.take()
            touched = dict.fromkeys([session_of(row) for row, _ in taken])
            changes = self._tables.publish(taken, self._positions.resume(touched))
        if len(self._stages.removed) > self.limits.removed_sessions:
            self._stages.forget_removed()
        if changes.version == before:
            return self._nothing()
        self._counts.work["ticks"] += 1
        self._history.add(changes)
        self._subscribers.notify(changes)
        return changes

    def _nothing(self) -> ChangeSet:
        return ChangeSet(
            version=self._tables.version, gaps=self._tables.gaps, resume=self._positions.resume(())
        )

    # -- reads ---------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Number of commits that showed something."""
        return self._tables.version

    def session_ids(self) -> tuple[str, ...]:
        """Ids of the sessions, in order of their first appearance."""
        return self._tables.session_ids()

    def session(self, session_id: str) -> Session | None:
        """A session without its messages; None where there is none."""
        return self._tables.session(session_id)

    def messages(self, session_id: str) -> tuple[Message, ...]:
        """Messages of a session in order; the same tuple until one of them changes."""
        return self._tables.messages_of(session_id)

    def message(self, session_id: str, message_id: str) -> Message | None:
        """One message; None where there is none."""
        return self._tables.message_at(session_id, message_id)

    def parts(self, session_id: str, message_id: str) -> tuple[Part, ...]:
        """Parts of a message in order; the same tuple until one of them changes."""
        return self._tables.parts_of(session_id, message_id)

    def part(self, session_id: str, message_id: str, block_index: BlockIndex) -> Part | None:
        """One part; None where there is none. Its `text` is joined when read."""
        return self._tables.part(session_id, message_id, block_index)

    @property
    def health(self) -> Health:
        """Counts, gaps, the position to resume from, and what should be fetched again."""
        self._coalescer.settle_all()
        return Health(
            counts=self._counts.as_json(),
            gaps=self._tables.gaps,
            resume=self._positions.resume(self._sessions.values()),
            resync=MappingProxyType(dict(self._stages.resync)),
        )

    @property
    def counts(self) -> Mapping[str, Any]:
        """The counts of `health` alone, at the cost of what waits."""
        self._coalescer.settle_all()
        return self._counts.as_json()

    @property
    def resync(self) -> Mapping[str, str]:
        """`health.resync` alone, at the cost of a look: sessions to fetch again, and why."""
        return MappingProxyType(self._stages.resync)

    def ask_resync(self, session_id: str, reason: str) -> None:
        """Note that a session should be fetched again; a snapshot of it clears the note.

        For whoever learns of a loss that no event shows, e.g. a server that has no replay. A saved
        state holds it.

        Raises:
            CallerError: one of them is no string, or is empty.
        """
        self._stages.ask_resync(_plain("session_id", session_id), _plain("a reason", reason))

    def generation(self, session_id: str | None = None) -> str | None:
        """The generation of the server's counter in force, of one session or of the server."""
        session = None if session_id is None else self._sessions.get(session_id)
        return self._stages.generation if session is None else session.generation

    def state(self) -> dict[str, Any]:
        """The state as plain JSON, in the form of `docs/state.md`. Linear in what is stored."""
        health = self.health
        gaps = [
            {
                name: value
                for name, value in (
                    ("sessionId", gap.session_id),
                    ("messageId", gap.message_id),
                    ("blockIndex", gap.block_index),
                    ("reason", gap.reason),
                    ("missing", [list(pair) for pair in gap.missing]),
                )
                if value not in (None, [])
            }
            for gap in sorted(health.gaps, key=_gap_order)
        ]
        return {
            "counts": dict(health.counts),
            "gaps": gaps,
            "resume": {
                name: dict(value) if isinstance(value, Mapping) else value
                for name, value in health.resume.items()
            },
            "sessions": state_of(self),
        }

    def encode(self, protocol: str, session_id: str | None = None) -> Json:
        """What one session shows, or all do, in the shape of a protocol's own final object.

        Of all it is what `streamstore fold --as` prints. `protocol` is the one that it came by:
        another one's object may lack what only that one's adapter keeps, as a tool's result. Linear
        in what is stored there.

        Raises:
            UnknownProtocol: no adapter has that name.
            CallerError: the adapter says why it cannot, or has no `encode`.
        """
        reads = self if session_id is None else OneSession(self, session_id)
        adapter = adapter_named(protocol)(Context())
        if not hasattr(adapter, "encode"):
            cls = type(adapter)
            raise CallerError(f"{cls.__module__}.{cls.__qualname__} has no encode")
        return adapter.encode(reads)

    # -- hearing -------------------------------------------------------------------------------

    def subscribe(
        self,
        callback: Callable[[ChangeSet], object],
        session_id: str | None = None,
        message_id: str | None = None,
        block_index: BlockIndex | None = None,
        throttle: float = 0,
    ) -> Subscription:
        """Hear change sets of a scope, and get what it holds now, in one step.

        `callback(changes)` runs inside the commit, once per tick that concerns the scope, or at
        most every `throttle` ms (100 suits text views) with what came merged. What it raises is
        reported, and the others still hear. Close the subscription, or use it in `with`.

        A commit from inside a callback is heard after this one. Who hears later than that callback
        and without a throttle finds the store ahead of `changes.version`.

        Raises:
            CallerError: the callback is no plain function (of an `async def` nobody would await
                what it gives), a scope lacks its upper part or is no id, or a throttle has no
                timers (`ticks` is None, "each" or "manual").
        """
        self._usable()
        self._inbox.meet()
        _needs_function("a subscriber's callback", callback)
        if _is_async(callback):
            raise CallerError(
                "a subscriber's callback is called inside the commit, and an `async def` would "
                "never run: iterate over `changes()`, or let a plain function make a task"
            )
        scope = _scope(session_id, message_id, block_index)
        if not isinstance(throttle, int | float) or not 0 <= throttle < math.inf:
            raise CallerError(f"a throttle is a number of ms from 0, not {throttle!r:.80}")
        if throttle > 0 and (self._ticks is None):
            raise CallerError("a throttle needs timers: use ticks='asyncio' or a scheduler")
        return self._subscribers.add(callback, scope, throttle, present_in(self, scope))

    def changes(
        self,
        session_id: str | None = None,
        message_id: str | None = None,
        block_index: BlockIndex | None = None,
    ) -> Changes:
        """Change sets of a scope, from this call on; what comes meanwhile is merged into one.

        An async iterator. A consumer that falls behind gets one merged change set, past
        `Limits.subscriber_changes` entries one `reset`. Ends when the store is closed; `close()`
        it, or use it in `with`, to stop earlier.

        Raises:
            CallerError: a scope lacks its upper part or is no id.
        """
        waiting = Changes(self.limits.subscriber_changes, self._locate)
        hear = weak(waiting, Changes.hear)
        waiting.begin(self.subscribe(hear, session_id, message_id, block_index))
        return waiting

    def pull(self, since: int = 0) -> ChangeSet:
        """One merged change set of everything after a version, without subscribing.

        Ask again with its `version`. A version that the history does not reach back to (see
        `Limits.history_changes`) gets a `reset`: read everything anew. So must whoever asks with
        the version of another store, such as the one that this one was loaded from: both go on
        from the saved version, with other changes under the same numbers, and no reset says so.
        """
        version = self._tables.version
        if since == version:
            return self._nothing()
        held = self._history.since(since)
        if len(held) != version - since:  # too old, or of another life of the store
            return attrs.evolve(self._nothing(), reset=True)
        merged = MergedChanges()
        for changes in held:
            merged.add(changes)
        return merged.take(self._locate)

    def _locate(self, keys: Iterable[Key], over: Iterable[Key]) -> tuple[Place, ...]:
        rows_at = self._tables.rows_at
        return self._tables.places(rows_at(keys), rows_at(over))

    def _call_later(self, delay: float, callback: Callable[[], None]) -> Callable[[], None] | None:
        assert self._ticks is not None
        try:
            return self._ticks.call_later(delay, callback)
        except (CallerError, RuntimeError):  # the latter of a loop that was given and is closed
            return None  # a flush where no loop runs: there is no timer, and nobody it would spare

    # -- fetching and resuming -------------------------------------------------------------------

    def begin_read(self, session_id: str) -> str:
        """A token to take before fetching a session's state: events after it beat the fetch.

        Give it as `readFrom` of the snapshot. Costs the session's blocks.
        """
        self._usable()
        epoch = self._coalescer.new_epoch()
        session = self._sessions.get(session_id)
        top = -1
        if session is not None:
            top = max(session.mark, session.intervals.top)
            for message in session.messages.values():
                top = max(top, message.mark, *(row.mark for row in message.blocks.values()), -1)
        return read_token(epoch, top)

    # -- saved states ------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """The whole store as plain JSON: one cut of marks, text, what waits, and positions.

        `load` gives a store that shows the same, and that the rest of the log, from the saved
        position on, brings to the same state. With a `path` it is written there, too: the file
        holds the old state or the new one whole, whatever happens meanwhile. Shows nothing early.
        Linear in what is stored. A store that is closed can be saved, too. What is given shares
        nothing with the store: another thread may write it (`streamstore.log.write_state`).

        Raises:
            DiskError: it could not be written (`streamstore.log`); the file is what it was, or
                the new one is there and only that its name is safe could not be made sure.
            LogLocked: somebody else is writing to this path right now.
            FileNotFoundError: there is no such folder.
        """
        saved = self._saved()
        if path is not None:
            from .log.states import write_state

            write_state(saved, path)
        return saved

    def _saved(self) -> dict[str, Any]:
        self._coalescer.settle_all()
        removed = self._stages.removed
        sessions = [row for name, row in self._sessions.items() if name not in removed]
        sessions += [self._sessions[name] for name in removed]  # last, the longest ago first
        return {
            "version": VERSION,
            "generation": self._stages.generation,
            "generations": list(self._stages.generations),
            "protocol": self._protocol,
            "delivery": self._coalescer.delivery,
            "tick": self._tables.version,
            "epoch": self._coalescer.epoch,
            "resync": self._saved_notes(),
            "memory": thaw(self._stages.memory),
            "ids": getattr(self._new_id, "made", 0),
            "streams": [stream._entry() for stream in self._streams] + thaw(self._positions.left),
            "holes": self._positions.save_holes(),
            "counts": self._counts.dump(),
            "shown": list(self.session_ids()),
            "gaps": save_gaps(self._tables.gaps),
            "sessions": [save_session(session) for session in sessions],
        }

    def _saved_notes(self) -> dict[str, str]:
        """`resync`, and what whoever opened a stream has still to fetch; ranked as `ask_resync`."""
        notes = dict(self._stages.resync)
        asked = [stream.unfetched for stream in self._streams]
        for session_id, reason in chain(*(owing().items() for owing in asked if owing)):
            if notes.get(session_id, MISSING) == MISSING:
                notes[session_id] = reason
        return notes

    @classmethod
    def load(
        cls,
        saved: Mapping[str, Any] | str | os.PathLike[str],
        *,
        ticks: Ticks | Literal["each", "manual", "asyncio"] | None = None,
        limits: Limits | None = None,
        new_id: NewId | None = None,
        decoder: Literal["standard", "orjson"] = "standard",
        on_error: OnError | None = None,
    ) -> Self:
        """The store that `save` wrote, or the path it wrote to.

        Open a stream and feed it from the saved position on.

        Raises:
            UnsupportedState: it has another version, is damaged, or is no saved store.
            UnknownProtocol: the adapter of its protocol is not installed.
            CallerError: another argument is none of its values.
            DiskError: the file cannot be read. FileNotFoundError: there is none.
        """
        if isinstance(saved, str | os.PathLike):
            if isinstance(saved, str) and saved.lstrip().startswith("{") and '"' in saved:
                raise CallerError(
                    "load takes what `save` returned, or a path, not its JSON: json.loads makes it"
                )
            from .log.states import read_state

            saved = read_state(saved)
        if not isinstance(saved, Mapping) or saved.get("version") != VERSION:
            raise UnsupportedState(
                f"a saved store of version {VERSION} is needed, "
                f"not {saved.get('version') if isinstance(saved, Mapping) else type(saved)!r}"
            )
        store = cls(ticks=ticks, limits=limits, new_id=new_id, decoder=decoder, on_error=on_error)
        with refusing("saved store"):
            store._restore(saved)
        if store._protocol != "auto":
            adapter_named(store._protocol)
        return store

    def _restore(self, saved: Mapping[str, Any]) -> None:
        """Make this new store the one that `_saved` says."""
        check_head(saved)
        self._protocol = saved["protocol"]
        self._coalescer.delivery = saved["delivery"]
        # Earlier versions saved the last one alone.
        for generation in (*saved.get("generations", ()), saved["generation"]):
            if generation is not None:
                self._stages.note_generation(generation)
        self._counts.restore(saved["counts"])
        self._coalescer.epoch = saved["epoch"]
        self._stages.memory = thaw(saved["memory"])
        if isinstance(self._new_id, _Numbered):
            self._new_id.made = saved["ids"]
        loaded = [load_session(entry, self.limits.event_ids) for entry in saved["sessions"]]
        rows = [row for row, _ in loaded]
        leaving = [row for _, rows in loaded for row in rows]
        self._sessions.update((row.id, row) for row in rows)
        for session_id, reason in saved["resync"].items():
            self._stages.ask_resync(session_id, reason)
        self._stages.removed.update(
            (row.id, None) for row in rows if row.removed_now or not row.exists
        )
        gaps = load_gaps(saved["gaps"])
        check_shown(saved["shown"], rows)
        self._tables.restore(rows, saved["shown"], saved["tick"], gaps, leaving)
        for row in rows:
            self._touch_again(row)
        streams = [thaw(entry) for entry in saved["streams"]]
        self._positions.load(streams, saved["holes"], self._sessions)
        for name in {name for memory in self._stages.memory.values() for name in memory}:
            self._stages.forget_memory(name)  # of one that nobody went on from
        for left in leaving:
            self._coalescer.touch(left)
        # What is shown can be read and is JSON, or the state is refused here.
        json.dumps(self.state())

    def _touch_again(self, session: SessionRow) -> None:
        """Look again at every loaded row at the next tick: some ran ahead of what was shown."""
        rows: list[Any] = [session]
        for message in session.messages.values():
            rows.append(message)
            rows += message.blocks.values()
        for row in rows:
            touched = row.touched
            self._coalescer.touch(row)
            row.touched = touched


def _gap_order(gap: Gap) -> tuple[Any, ...]:
    index = gap.block_index
    return (gap.session_id, gap.message_id or "", str(index), isinstance(index, str), gap.reason)


def _scope(
    session_id: str | None, message_id: str | None, block_index: BlockIndex | None
) -> tuple[Any, ...]:
    if block_index is not None and message_id is None:
        raise CallerError("a block's scope needs its message_id")
    if message_id is not None and session_id is None:
        raise CallerError("a message's scope needs its session_id")
    if session_id == "" or message_id == "" or block_index == "":
        raise CallerError("an id is never empty; leave it out to hear of everything")
    scope: list[str | int] = []
    # A key given whole would be a scope of which nothing is ever heard.
    if session_id is not None:
        scope.append(_plain("session_id", session_id))
    if message_id is not None:
        scope.append(_plain("message_id", message_id))
    if block_index is not None:
        if not is_number(block_index):
            block_index = _plain("block_index, where it is no integer from 0,", block_index)
        scope.append(block_index)
    return tuple(scope)


def _named(value: object) -> str:
    return f"{type(value).__name__!r:.80}" if not isinstance(value, type) else f"{value!r:.80}"


def _needs_function(what: str, value: object) -> None:
    if not callable(value):
        raise CallerError(f"{what} must be a function, not {_named(value)}")


def _is_async(function: object) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # of an object that can be called
    )


#: Without these it is no scheduler; without threads or throttles one may lack the others.
_OF_TICKS = ("start", "request")


def _ticks(ticks: Ticks | str | None) -> Ticks | None:
    if ticks is None or ticks in ("each", "manual"):
        return None
    if ticks == "asyncio":
        from .ticks import AsyncioTicks

        return AsyncioTicks()
    lacks = isinstance(ticks, type) or not all(hasattr(ticks, name) for name in _OF_TICKS)
    if lacks or isinstance(ticks, str):
        raise CallerError(
            "ticks must be None, 'each', 'manual', 'asyncio' or a scheduler of streamstore.ticks, "
            f"such as AsyncioTicks(interval_ms=16), not {ticks!r:.80}"
        )
    return ticks


class _Numbered:
    """`local-1`, `local-2`, ...; a saved state holds how many were made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        return f"local-{self.made}"


def _report(error: BaseException, subscription: Subscription) -> None:
    # Its message may hold what a stream sent.
    print(escape("".join(traceback.format_exception(error))), end="", file=sys.stderr)
