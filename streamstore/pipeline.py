"""`StreamStore` and its streams: the wiring, and the only file that knows all stages.

    bytes -> frames -> adapter -> events -> gate -> reducer -> coalescer -> tables -> subscribers

A stream is one connection or response: its own parser, adapter and position. The store holds the
state. A live delta takes the short way through `Stream.ingest`: one lookup, one comparison, one
append.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast

import attrs

from . import verdicts
from .adapters.base import MAIN, Adapter, Context, DeltaShape
from .changes import ChangeSet, Gap, MergedChanges, Place
from .coalescer import Coalescer
from .decoding import decode_json, decoder_named, nests_over
from .doors import Ingest, IngestMany
from .errors import (
    CallerError,
    InboxFull,
    MalformedEvent,
    ProtocolStopped,
    RepeatedEvent,
    UnknownEvent,
    UnknownProtocol,
    UnsupportedState,
)
from .events import (
    BlockDelta,
    BlockEvent,
    BlockOpened,
    BlockReplaced,
    BlockSnapshot,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageRollback,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    RequestAnswered,
    RequestAsked,
    SessionDiff,
    SessionRemoved,
    SessionStatus,
    SessionUpdated,
    Snapshot,
    StreamOpened,
    StreamSynchronized,
    TodoUpdated,
    TurnCompleted,
    TurnStarted,
)
from .framing import framing_of, line_end
from .hotpath import door
from .iterating import Changes, weak
from .jsonlines import JsonLinesParser
from .keys import MAX_NUMBER, BlockIndex, Key, PartKey
from .limits import Limits
from .model import DELIVERIES, SEQUENCINGS, Delivery, Message, Part, Sequencing, Session, thaw
from .plainpath import plain_door
from .protocols import adapter_named, adapters, detect
from .reducer import Reducer
from .rows import BlockRow, HotTable, MessageRow, SessionRow
from .runs import RUN_BYTES, scan_run, split_run
from .saved import (
    VERSION,
    check_head,
    load_gaps,
    load_session,
    refusing,
    save_gaps,
    save_session,
)
from .snapshots import plan, read_messages
from .sse import EventStreamParser, SseLimits
from .state import state_of
from .store import Tables
from .subscribers import Present, Subscribers, Subscription
from .terminal import escape
from .ticks import Ticks
from .verdicts import ACCEPTED, DUPLICATE, Counts, Verdict
from .watermarks import NOWHERE, Gate

Policy: TypeAlias = Literal["lenient", "strict"]
NewId: TypeAlias = Callable[[], str]
OnError: TypeAlias = Callable[[BaseException, Subscription], object]

_MESSAGE_EVENTS = (
    MessageOpened,
    MessageUpdated,
    MessageReset,
    MessageClosed,
    MessageRemoved,
    MessageRollback,
)

# How much may come before a line that tells an event stream from JSON lines, and how much of a
# line tells.
_LEAD_BYTES = 65_536
_TELLING_BYTES = 256
_BOM = b"\xef\xbb\xbf"

#: Which member of a session an event sets: a fetched state must not undo it.
_OWN_MEMBERS: Mapping[type[Event], str] = {
    SessionUpdated: "info",
    SessionStatus: "status",
    TodoUpdated: "todo",
    SessionDiff: "diff",
    PermissionAsked: "permissions",
    PermissionReplied: "permissions",
    QuestionAsked: "questions",
    QuestionReplied: "questions",
    QuestionRejected: "questions",
}


@attrs.frozen
class Position:
    """Where a stream can be resumed.

    Attributes:
        events: wire objects of this stream up to there: a log's offset; 0 for a place on an
            earlier connection, which counted its own.
        event_id: last event-stream id up to there, "" where the transport gave none.
    """

    events: int = 0
    event_id: str = ""
    # Which connection, and how many of its events: what puts places of several in order.
    _age: tuple[int, int] = attrs.field(default=(0, 0), eq=False, repr=False)


@attrs.frozen
class Health:
    """How a store is doing: what its streams brought, what is missing, where to resume.

    Attributes:
        counts: `{"verdicts", "characters", "held", "work"}`, see `verdicts.Counts`.
        gaps: what is missing now.
        resume: `{"sessions": {id: seq}, "eventId": id}`: the last position before the first
            missing operation, or the last one received; members without a value are left out.
        resync: sessions that should be fetched again, with the reason; a snapshot clears them.
    """

    counts: Mapping[str, Any]
    gaps: tuple[Gap, ...]
    resume: Mapping[str, Any]
    resync: Mapping[str, str]


class Stream:
    """One connection or response on a store: bytes, wire objects or nothing more.

    Made by `StreamStore.open`. After a drop `end()` it and open a new one: the marks stay in the
    store, so that what is sent again changes nothing.

    Attributes:
        ingest: `ingest(wire) -> Verdict` takes in one wire object (decoded JSON) and says what
            became of it. A delta that comes in order costs a lookup, a comparison and an
            append, whatever the length of its text and the size of the store. Commits nothing
            with `ticks=None`.
        position: where this stream can be resumed.
        protocol: the protocol's name, None until `auto` has recognised it.
    """

    # The hot path reads a dozen of these per delta: slots are faster than a large dict.
    __slots__ = (
        "__weakref__", "_adapter", "_asked", "_before", "_began", "_default_session", "_each",
        "_event_id", "_feeding", "_framer", "_generation", "_hot", "_id_before", "_lead",
        "_lead_at", "_local", "_memory", "_mode", "_name", "_named", "_ordered", "_policy",
        "_received", "_repeats_from", "_repeats_to", "_rest", "_sentinels", "_session_id",
        "_sessions", "_shape", "_stopped", "_store", "_take_many", "_taken_in", "_token",
        "_touched", "_undetected", "_unique", "ended", "epoch", "ingest",
    )  # fmt: skip

    def __init__(
        self,
        store: StreamStore,
        adapter: type[Adapter] | None,
        session_id: str | None,
        sequencing: Sequencing | None,
        policy: Policy,
        local: bool = False,
        memory: dict[str, Any] | None = None,
    ) -> None:
        self._store = store
        self._session_id = session_id
        self._default_session = session_id or MAIN
        self._asked: Sequencing | None = sequencing
        self._policy = policy
        self._local = local
        self._generation: str | None = None
        self._framer: EventStreamParser | JsonLinesParser | None = None
        self._lead = bytearray()
        self._lead_at = 0
        self._rest = b""
        self._feeding = False
        self._id_before: str | None = None
        self._name: str | None = None
        self._undetected: list[tuple[Any, str | None]] = []
        self._stopped = False
        self.ended = False
        self.epoch = store._coalescer.new_epoch()
        if not local:
            store._last_opened = self.epoch
        # Blocks that this stream delivers in order, by key: what the hot path looks at.
        self._hot = HotTable(counts=False)
        self._touched: dict[PartKey, BlockRow] = {}
        self._sessions: dict[str, SessionRow] = {}
        self._received = 0
        self._taken_in: Callable[[], int] = _none
        self._event_id = ""
        # The run of duplicates at the end, as offsets: a resume position does not move over it.
        self._repeats_from = self._repeats_to = -1
        self._token = self.epoch  # says in a row who brought what; a later stream's is higher
        self._before = self._began = Position(0, "", (self._token, 0))
        self._each = store._each
        self._memory: dict[str, Any] = {} if memory is None else memory
        self._adapter: Adapter | None = None
        self._mode: Sequencing = sequencing or "sparse"
        self.ingest: Ingest = self._ingest_slowly
        self._take_many: IngestMany = self._ingest_each
        self._shape: DeltaShape | None = None
        self._named = False
        self._sentinels: frozenset[str] = frozenset()
        if adapter is not None:
            self._adopt(adapter)

    def _adopt(self, cls: type[Adapter]) -> None:
        declared = cls.declaration
        self._adapter = cls(
            Context(
                session_id=self._default_session,
                bound=self._session_id is not None,
                limits=self._store.limits,
                strict=self._policy == "strict",
                new_id=self._store.new_id,
                own=self._memory,
                shared=self._store._memory.setdefault(declared.name, {}),
            )
        )
        self._named = declared.event_names
        self._sentinels = frozenset(declared.sentinels)
        self._unique = declared.ids_unique
        self._ordered = declared.ids_ordered
        self._shape = cls.delta
        self._set_mode(self._asked or declared.sequencing)

    def _set_mode(self, mode: Sequencing) -> None:
        self._mode = mode
        self._cool()
        # A loop that runs over a batch keeps the old table, where nothing is hot any more.
        unnumbered = self._shape is not None and not self._shape.seq
        self._hot = HotTable(counts=mode in ("session", "sparse") and not unnumbered)
        store = self._store
        assert self._adapter is not None
        wakes = {"block": self._wake_block, "session": self._wake_session}
        ways: dict[str, Any] = {
            "hot": self._hot,
            "wake": wakes.get(mode, store._wake),
            "merge": store._coalescer.merge,
            "slow": self._ingest_slowly,
        }
        if self._shape is not None:
            made = door(self._shape, mode, **ways)
        else:
            made = plain_door(self._adapter, mode, **ways)
        self._received += self._taken_in()
        self.ingest, self._take_many, self._taken_in = made

    def _cool(self) -> None:
        """Nothing takes the hot path of this stream any more, until it is warmed again."""
        for row in list(self._hot.values()):
            row.cool()

    def __repr__(self) -> str:
        return f"<Stream {self.protocol or 'auto'}, {self.received} events>"

    @property
    def protocol(self) -> str | None:
        """Name of the protocol, None until it is recognised."""
        return None if self._adapter is None else self._adapter.declaration.name

    @property
    def adapter(self) -> Adapter | None:
        """The stream's own adapter, None until the protocol is recognised."""
        return self._adapter

    @property
    def retry(self) -> int | None:
        """The reconnection time that an event stream asked for, in ms; None when it did not."""
        framer = self._framer
        return framer.retry if isinstance(framer, EventStreamParser) else None

    @property
    def received(self) -> int:
        """How many wire objects came so far."""
        return self._received + self._taken_in()

    @property
    def sequencing(self) -> Sequencing:
        """What a hole in this stream's seq means."""
        return self._mode

    @property
    def position(self) -> Position:
        """The last position before the first missing operation, or the last one taken in."""
        return self._store._position(self, self._taken)

    @property
    def _taken(self) -> Position:
        """Behind the last event that was no duplicate."""
        at = self._repeats_from if self.received == self._repeats_to else self.received
        return Position(at, self._event_id, (self._token, at))

    def _go_on_from(self, entry: Mapping[str, Any]) -> None:
        """Go on where another stream stood: a saved one, or one whose connection ended."""
        self._event_id = entry["eventId"]
        if not entry["ended"]:
            self._received = entry["events"]
        self._began = Position(self._received, self._event_id, (self._token, self._received))
        if entry["ended"]:
            return
        events, event_id = entry["began"]
        self._token = entry["token"]  # it is the same connection's count that goes on
        self._began = Position(events, event_id, (self._token, events))
        self.epoch = entry["epoch"]
        sessions = self._store._sessions
        self._sessions = {name: sessions[name] for name in entry["sessions"] if name in sessions}
        for session_id, message_id, block_index in entry["streaming"]:
            session = sessions.get(session_id)
            message = session.messages.get(message_id) if session is not None else None
            block = message.blocks.get(block_index) if message is not None else None
            if block is not None:
                self._touched[block.key] = block
        if entry["stopped"]:
            self._stop()

    @property
    def _streaming(self) -> list[list[Any]]:
        """Keys of the parts that would be cut if it ended now; none where the wire counts."""
        return [
            list(key)
            for key, row in self._touched.items()
            if row.exists and not row.closed and row.message.closed_as == "open"
        ]

    # -- where it stood ------------------------------------------------------------------------

    def _wake_block(self, row: BlockRow) -> None:
        row.stood = (self._token, self._received + self._taken_in(), self._event_id, row.mark)
        self._store._wake(row)

    def _wake_session(self, row: BlockRow) -> None:
        self._stand(row.message.session, row.mark)
        self._store._wake(row)

    def _stand(self, row: SessionRow | MessageRow | BlockRow, seq: int) -> None:
        """Note the place behind a seq that is the highest so far."""
        row.stood = (self._token, self.received, self._event_id, seq)

    def _before_loss(self, row: SessionRow | BlockRow, top: int) -> Position:
        """The last place before what is missing above a row's highest seq so far.

        What was lost came after that one and before the event that shows it, among the events of
        other blocks and sessions. Where as many events came as seqs there were none of those.
        """
        stood = row.stood
        if stood is None and isinstance(row, BlockRow):
            stood = row.message.stood  # nothing of it was sent before its message was opened
            top = -1
        if stood is None:
            return self._began
        token, events, event_id, seq = stood
        if token != self._token:
            # Lost on an older connection, perhaps: the ids are the server's, on whichever it was.
            if not event_id:
                return self._began
            return attrs.evolve(self._began, event_id=event_id, age=(token, events))
        if self._before.events - events == top - seq:
            return self._before
        return Position(events, event_id, (token, events))

    # -- input -------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take in bytes of an event stream or of JSON lines, cut anywhere.

        Which of the two it is shows in the first line that belongs to one. What cannot be read
        is a counted verdict. With `ticks=None` the end of each feed is a tick.

        Raises:
            CallerError: the stream has ended.
            UnknownProtocol: `auto` recognised nothing in `Limits.undetected_events` events.
        """
        if self._store._inbox:
            self._store._drain()
        self._open_only()
        if self._feeding:
            self._store._post(self, data)  # from a subscriber: behind what is being taken in
            return
        self._feeding = True
        try:
            self._feed(data)
        finally:
            self._feeding = False
        self._store._fed()
        if self._store._inbox:
            self._store._ask_drain()

    def _feed(self, data: bytes) -> None:
        framer = self._framer
        if framer is None:
            framer = self._choose_framer(data)
            if framer is None:
                return
            data = bytes(self._lead)
            self._lead.clear()
        if isinstance(framer, JsonLinesParser):
            skipped = framer.skipped
            self._take_texts(framer.feed(data))
            self._count_skipped(framer.skipped - skipped)
        else:
            if len(data) >= RUN_BYTES and not framer.between:
                # The event that the last chunk cut goes its way; behind it a run may begin.
                end = data.find(b"\n\n") + 2
                if end > 1:
                    self._parse(data[:end], framer)
                    data = data[end:]
            data = self._take_run(data, framer)
            if data:
                self._parse(data, framer)

    def _parse(self, data: bytes, framer: EventStreamParser) -> None:
        skipped = framer.skipped
        for frame in framer.feed(data):
            # Before it is taken in: a commit in between shows the position behind it.
            before = self._event_id
            self._id_before, self._event_id = before, frame.id
            self._take_text(frame.data, frame.event)
            if self.received == self._repeats_to:
                self._event_id = before
            self._id_before = None
        self._count_skipped(framer.skipped - skipped)
        if self.received != self._repeats_to:
            self._event_id = framer.last_event_id  # also of an event without data

    def _take_run(self, data: bytes, framer: EventStreamParser) -> bytes:
        """Take in whole events at the start the short way; what is left for the parser."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if (
            (len(data) < RUN_BYTES and data[-2:] != b"\n\n")
            or len(data) > framer.limits.line
            or self._named
            or self._adapter is None  # whose names may be part of the wire object
            or not framer.between
            or framer.last_event_id != self._event_id
        ):
            return data
        loads = self._store._loads
        run = scan_run(data) if loads is None else split_run(data, loads)
        self._take_many(run.values)
        rest = data[run.used :] if run.used else data
        if run.used and b"\n\n" not in rest and rest.startswith((b"data: ", b"event: ")):
            self._rest = rest  # the start of an event: the next chunk goes on the short way
            return b""
        return rest

    def feed_threadsafe(self, data: bytes) -> None:
        """Take in bytes from any thread: they wait, in order, for the store's owner.

        The owner's loop takes them in soon where the store's ticks have one; without, at the
        owner's next `feed`, `ingest_many`, `flush` or `end`.

        Raises:
            CallerError: the stream has ended.
            InboxFull: more than `Limits.inbox_bytes` would wait; these bytes were not taken.
        """
        self._open_only()
        self._store._post(self, data)

    def ingest_many(self, wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        """Take in wire objects; those that were not plainly accepted, with their place.

        With `ticks=None` its end is a tick.
        """
        self._store._drain()
        self._open_only()
        notable = self._take_many(wires)
        self._store._fed()
        return notable

    def _ingest_each(self, wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        # Before the protocol is known: `ingest` changes while the loop runs.
        verdicts = [(place, self.ingest(wire)) for place, wire in enumerate(wires)]
        return [(place, verdict) for place, verdict in verdicts if verdict is not ACCEPTED]

    def end(self) -> None:
        """The connection or response is over; calling it again does nothing.

        What is left of a last line is taken in. In a stream without seq, parts that were still
        streaming may lack text from here on (`part.gap`). Buffered text of its sessions is shown.
        """
        self._store._drain()
        if self.ended:
            return
        if self._lead:
            # No line belongs to either framing: they are broken JSON lines, or comments alone.
            self._framer = JsonLinesParser(self._store.limits.line_bytes)
            lines = self._framer.feed(bytes(self._lead))
            self._take_texts(line for line in lines if not line.startswith(b":"))
            self._lead.clear()
        self._rest = b""  # an event without its blank line is none
        if isinstance(self._framer, JsonLinesParser):
            skipped = self._framer.skipped
            self._take_texts(self._framer.end())
            self._count_skipped(self._framer.skipped - skipped)
        self._note_undetected()
        self._leave()
        self._store._fed()

    def _note_undetected(self) -> None:
        for wire, _ in self._undetected:
            kind = wire.get("type") if isinstance(wire, dict) else None
            self._store._counts.add(Verdict("unknown", str(kind)[:80]))
        self._undetected = []

    def _leave(self) -> None:
        self.ended = True
        store = self._store
        rows = [row for key, row in self._touched.items() if not self._streams_on(key)]
        for row in rows:
            store._coalescer.settle(row)
        store._reducer.cut(rows)
        for row in self._hot.values():
            row.hots = [hot for hot in row.hots if hot is not self._hot]
        self._hot.clear()
        self._hot.forget_last()
        self._touched.clear()
        for session in self._sessions.values():
            store._coalescer.release(session)
        if not self._local:
            entry = self._entry()
            entry["ended"], entry["memory"], entry["streaming"] = True, {}, []
            store._leave(self, entry)
        self._sessions.clear()
        store._streams.pop(self, None)

    def _entry(self) -> dict[str, Any]:
        """What a saved state holds of the stream: where it stands, and what it goes on with."""
        position = self.position
        return {
            "protocol": self.protocol,
            "sessionId": self._session_id,
            "sequencing": None if self._adapter is None else self._mode,
            "events": position.events,
            "eventId": position.event_id,
            "began": [self._began.events, self._began.event_id],
            "token": self._token,
            "epoch": self.epoch,
            "sessions": list(self._sessions),
            "streaming": self._streaming,
            "memory": thaw(self._memory),
            "stopped": self._stopped,
            "default": self is self._store._default,
            "ended": False,
        }

    def _streams_on(self, key: PartKey) -> bool:
        """Whether another open stream delivers a part as well: a reconnect that overlaps."""
        others = self._store._streams
        return any(other is not self and key in other._touched for other in others)

    # -- the long way ------------------------------------------------------------------------

    def _open_only(self) -> None:
        if self.ended:
            raise CallerError("this stream has ended: open a new one, the store keeps its marks")

    def _choose_framer(self, data: bytes) -> EventStreamParser | JsonLinesParser | None:
        """The framer for what came so far, None while its first lines say nothing."""
        lead = self._lead
        seen = len(lead)
        lead += data
        if len(lead) < len(_BOM) and _BOM.startswith(lead):
            return None
        if not self._lead_at and lead.startswith(_BOM):
            self._lead_at = len(_BOM)
        while self._framer is None and self._lead_at < len(lead):
            at = self._lead_at
            end = line_end(lead, max(at, seen - 1))
            stop = len(lead) if end < 0 else end
            framing = framing_of(bytes(lead[at : min(stop, at + _TELLING_BYTES)]))
            if framing == "json lines":
                self._framer = JsonLinesParser(self._store.limits.line_bytes)
            elif framing == "event stream" or stop > _LEAD_BYTES:
                self._framer = self._event_stream()
            elif end < 0:
                break  # the start of a line: its rest may tell
            self._lead_at = stop  # a broken line: the next one may tell
        return self._framer

    def _event_stream(self) -> EventStreamParser:
        limits = self._store.limits
        bounds = SseLimits(
            line=limits.event_line_bytes,
            event=limits.event_bytes,
            charge_per_data_line=limits.data_line_bytes,
            id=limits.event_id_bytes,
        )
        return EventStreamParser(bounds, last_event_id=self._event_id)

    def _take_texts(self, texts: Iterable[str | bytes]) -> None:
        for text in texts:
            self._take_text(text)

    def _take_text(self, text: str | bytes, name: str | None = None) -> None:
        if text in self._sentinels:
            self._received += 1
            return
        try:
            wire = decode_json(text, self._store._loads)
        except MalformedEvent as error:
            self._received += 1
            self._settle_verdict(self._malformed(error))
            return
        if name is not None and self._named:
            wire = {"event": name, "data": wire}
        self._name = name
        self.ingest(wire)
        self._name = None

    def _count_skipped(self, number: int) -> None:
        for _ in range(number):
            self._received += 1
            self._settle_verdict(Verdict("malformed", "over_limit", "a line or event is too long"))

    def _malformed(self, error: MalformedEvent) -> Verdict:
        if self._policy == "strict":
            self._stop()
        return Verdict("malformed", error.field, str(error))

    def _stop(self) -> None:
        """Take nothing more in: the official client would not either."""
        self._stopped = True
        self.ingest, self._take_many = self._ingest_slowly, self._ingest_each
        self._cool()

    def _ingest_slowly(self, wire: Any) -> Verdict:
        self._open_only()
        if self._adapter is None:
            if self._stopped:
                self._store._counts.add(verdicts.STOPPED)
                return verdicts.STOPPED
            return self._detect(wire)
        shape = self._shape
        if shape is not None and shape.envelope and isinstance(wire, dict):
            inner = wire.get(shape.envelope)
            if isinstance(inner, dict) and inner.get("type") == shape.type:
                return self.ingest(inner)
        before = self._taken
        if self._id_before is not None:
            before = attrs.evolve(before, event_id=self._id_before)
        self._before = before
        self._received += 1
        verdict = self._judge(wire)
        self._settle_verdict(verdict)
        if self._store._positions:
            self._store._positions.clear()
        self._store._woke()
        return verdict

    def _detect(self, wire: Any) -> Verdict:
        name = self._name
        cls = detect(wire)
        if cls is None and name is not None:
            cls = detect({"event": name, "data": wire})
            if cls is not None and not cls.declaration.event_names:
                cls = None
        if cls is None:
            self._undetected.append((wire, name))
            if len(self._undetected) >= self._store.limits.undetected_events:
                seen = self._undetected[0][0]
                self._note_undetected()
                self._stop()
                kind = seen.get("type") if isinstance(seen, dict) else type(seen).__name__
                raise UnknownProtocol(
                    f"no protocol recognised: the first event is {str(kind)[:80]!r}; "
                    f"name one of: {', '.join(adapters())}"
                )
            return verdicts.HELD
        self._adopt(cls)
        waiting, self._undetected = self._undetected, []
        verdict = ACCEPTED
        for earlier, its_name in (*waiting, (wire, name)):
            if its_name is not None and self._named:
                earlier = {"event": its_name, "data": earlier}
            verdict = self._ingest_slowly(earlier)
        return verdict

    def _settle_verdict(self, verdict: Verdict) -> None:
        self._store._counts.add(verdict)
        if verdict is DUPLICATE:
            if self.received - 1 != self._repeats_to:
                self._repeats_from = self.received - 1
            self._repeats_to = self.received

    def _judge(self, wire: Any) -> Verdict:
        if self._stopped:
            return verdicts.STOPPED
        assert self._adapter is not None
        if nests_over(wire, self._store.limits.nesting):
            return self._malformed(MalformedEvent("", "nests too deep"))
        try:
            events = self._adapter.decode(wire)
        except MalformedEvent as error:
            return self._malformed(error)
        except UnknownEvent as error:
            return Verdict("unknown", error.type[:80])
        except RepeatedEvent:
            return DUPLICATE
        except CallerError as error:  # an extra that this event needs is not installed
            return Verdict("refused", "conflict", str(error))
        except ProtocolStopped as error:
            self._stop()
            return Verdict("refused", "stopped", str(error))
        if not events:
            return ACCEPTED
        return self._take_all(events)

    def _take_all(self, events: Iterable[Event]) -> Verdict:
        first: Verdict | None = None
        refused = ""
        for event in events:
            if refused and getattr(event, "message_id", refused) == refused:
                assert first is not None
                self._store._counts.text(event, first)
                continue
            try:
                verdict = self._take(event, first is None)
            except MalformedEvent as error:
                verdict = self._malformed(error)
            if first is None:
                first = verdict
                if verdict.kind in ("duplicate", "refused", "malformed") and (
                    verdict is not verdicts.RANK
                ):
                    # What rides along with a refused event is refused with it, but for what
                    # concerns other messages; fetched states of several sessions stand alone.
                    if verdict.kind == "refused" and isinstance(
                        event, (*_MESSAGE_EVENTS, BlockEvent)
                    ):
                        refused = event.message_id
                    elif not isinstance(event, Snapshot):
                        break
        assert first is not None
        return first

    def _take(self, event: Event, principal: bool) -> Verdict:
        store = self._store
        session_id = event.session_id
        if isinstance(event, StreamOpened):
            return self._opened(event)
        if isinstance(event, StreamSynchronized):
            return ACCEPTED
        if session_id is None:
            session_id = self._default_session
        elif self._session_id is not None and session_id != self._session_id:
            store._counts.text(event, verdicts.FOREIGN)
            return verdicts.FOREIGN
        session = store._session_row(session_id)
        self._sessions[session_id] = session
        try:
            verdict = self._enter(event, session, principal)
        except MalformedEvent as error:
            store._counts.text(event, Verdict("malformed", error.field))
            raise
        store._counts.text(event, verdict)
        return verdict

    def _enter(self, event: Event, session: SessionRow, principal: bool) -> Verdict:
        store = self._store
        if event.generation is not None and not isinstance(event, Snapshot):
            verdict = store._gate.generation(session, event, self)
            if verdict is not None:
                return verdict
        by_id = (
            self._unique
            and event.id is not None
            and principal
            and (event.seq is None or self._mode == "none")
        )
        if by_id and event.id is not None and event.id in session.ids:
            return DUPLICATE
        if isinstance(event, Snapshot):
            verdict = self._snapshot(event, session)
        else:
            verdict = self._route(event, session)
        if by_id and (verdict.taken or verdict in _JUDGED):
            assert event.id is not None
            session.ids.add(event.id)
        return verdict

    def _route(self, event: Event, session: SessionRow) -> Verdict:
        store = self._store
        message: MessageRow | None = None
        block: BlockRow | None = None
        if isinstance(event, BlockEvent):
            message = store._reducer.message_row(session, event.message_id)
            block = store._reducer.block_row(message, event.block_index)
            store._coalescer.settle(block)
        elif isinstance(event, _MESSAGE_EVENTS):
            message = store._reducer.message_row(session, event.message_id)
            store._coalescer.settle_below(message)
        elif isinstance(event, SessionRemoved | SessionUpdated):
            store._coalescer.settle_below(*session.messages.values())
        if session.woken and self._mode in ("session", "sparse"):
            store._coalescer.settle_session(session)
        if session.closing:
            store._gate.expire(session)
        held_before = len(block.held) if block is not None else 0
        ends = session.intervals.ends
        counted: SessionRow | BlockRow | None = session if self._mode == "session" else None
        top = ends[-1] if ends else -1
        if self._mode == "block" and block is not None:
            top = _top(block)
            if isinstance(event, BlockDelta | BlockReplaced | BlockSnapshot):
                counted = block
        if block is not None and isinstance(event, BlockSnapshot) and self._mode == "block":
            if store._reducer.clashes(event, block):
                return verdicts.CONFLICT  # before: it stands for no operation
        try:
            verdict, at = store._gate.admit(
                self._mode, event, session, message, block, self._ordered
            )
        except MalformedEvent:
            _discard(session, message, block)
            raise
        session.events += 1
        if session.intervals.starts[1:]:
            self._note_session_hole(session, event.seq if verdict is not DUPLICATE else None)
        elif session.holes_at is not None:
            session.holes_at = None
            store._coalescer.touch(session)
        if block is not None and event.seq is not None and len(block.held) > held_before:
            block.holes_at[event.seq] = (self, self._before_loss(block, top))
            store._hold(block)
        if counted is not None and verdict.taken:
            if event.seq is not None and event.seq > top:
                if not isinstance(event, BlockSnapshot):
                    self._stand(counted, event.seq)
                elif counted.stood is not None:
                    # It may come late, behind what was sent after it: it moves no place.
                    counted.stood = (*counted.stood[:3], event.seq)
        if (
            message is not None
            and message.stood is None
            and self._mode == "block"
            and isinstance(event, MessageOpened)
            and not (message.exists or message.blocks)
        ):
            self._stand(message, -1)  # where its opening is lost, what it misses may lie before
        if (
            block is not None
            and block.stood is None
            and self._mode == "block"
            and isinstance(event, BlockOpened)
            and not block.exists
        ):
            self._stand(block, -1)
        if verdict.kind == "held":
            assert message is not None and block is not None and event.seq is not None
            if len(block.held) > held_before:
                block.cool()
                store._reducer.expect(session, message, block)
            return verdict
        if verdict.kind not in ("accepted", "late"):
            if block is not None and verdict is verdicts.UNPLACEABLE:
                store._coalescer.touch(block)
            _discard(session, message, block)
            return verdict
        return self._apply(event, session, message, block, verdict, at)

    def _note_session_hole(self, session: SessionRow, seq: int | None) -> None:
        if session.holes_at is None:
            session.holes_at = []
        self._store._holding_sessions[session.id] = session
        intervals = session.intervals
        missing = intervals.ends[-2] + 1
        if not session.holes_at or session.holes_at[-1][0] < missing:
            if intervals.starts[-1] == seq == intervals.ends[-1]:
                before = self._before_loss(session, missing - 1)
                session.holes_at.append((missing, self, before))
            elif not session.holes_at:  # below the first event of all
                session.holes_at.append((missing, self, Position()))
            if len(session.holes_at) > 2 * len(intervals.starts) + 16:
                open_holes = {first for first, _ in intervals.holes()}
                session.holes_at[1:] = [e for e in session.holes_at[1:] if e[0] in open_holes]
        self._store._coalescer.touch(session)

    def _apply(
        self,
        event: Event,
        session: SessionRow,
        message: MessageRow | None,
        block: BlockRow | None,
        verdict: Verdict,
        at: int,
    ) -> Verdict:
        store = self._store
        if isinstance(event, TurnStarted | TurnCompleted):
            store._coalescer.observe(event, session, None)
            return verdict
        keys: list[PartKey] = []
        if isinstance(event, SessionRemoved):
            keys = [row.key for m in session.messages.values() for row in m.blocks.values()]
        verdict = store._reducer.apply(
            self._mode, event, session, message, block, verdict, at, self._local
        )
        if verdict.kind not in ("accepted", "late") and block is None:
            return verdict
        if verdict.kind in ("accepted", "late"):
            store._coalescer.observe(event, session, message)
        if block is None:
            member = _OWN_MEMBERS.get(type(event))
            if member is not None:
                epoch = session.own_epochs[member] = store._coalescer.epoch
                if isinstance(event, RequestAsked):
                    # Of each request for itself: a read that began before says nothing of it.
                    session.own_epochs[f"{member} {event.request_id}"] = epoch
                elif isinstance(event, RequestAnswered):
                    session.own_epochs.pop(f"{member} {event.request_id}", None)
            if isinstance(event, MessageRollback):
                _discard(session, message, None)
            elif isinstance(event, MessageClosed | MessageRemoved | SessionRemoved):
                self._touched = {
                    key: row
                    for key, row in self._touched.items()
                    if row.exists and row.message.closed_as == "open"
                }
                if isinstance(event, SessionRemoved):
                    store._note_removed(session)
                    for stream in store._streams:
                        for key in keys:
                            stream._touched.pop(key, None)
            return verdict
        if self._mode == "block" and (
            block.held or block.close_seq > block.mark or block.key in store._holding
        ):
            for held in store._gate.drain(block):
                outcome = store._reducer.apply(
                    self._mode, held, session, message, block, ACCEPTED, NOWHERE, self._local
                )
                if outcome.kind == "refused":
                    store._counts.characters["superseded"] += verdicts.text_length(held)
            if block.close_seq > block.mark:
                # A close tells of a hole as well as an operation behind it; no seq is -1.
                if -1 not in block.holes_at:
                    block.holes_at[-1] = (self, self._before_loss(block, _top(block)))
                store._hold(block)
            else:
                block.holes_at.pop(-1, None)
            if not block.holes_at:
                store._holding.pop(block.key, None)
        alone = self._mode == "none" or (event.seq is None and self._mode != "block")
        self._warm(block, alone)
        return verdict

    def _warm(self, block: BlockRow, alone: bool = False) -> None:
        """Let the hot path have a block that is in its simple state.

        `alone`: what came has no seq, so that the end of the stream may cut the block.
        """
        message = block.message
        if block.closed or not block.exists or message.closed_as != "open":
            self._touched.pop(block.key, None)
        elif alone and not self._local and block.mark < 0:
            self._touched[block.key] = block
        if (
            self._local
            or self._stopped
            or not block.exists
            or block.local
            or message.local
            or message.resetting
            or block.sealed
            or block.previous
            or block.held
            or block.close_seq > block.mark
            or (self._mode == "block" and block.mark < 0)
            or (self._hot.counts and (block.first < 0 or block.closed_at >= 0))
        ):
            return
        if block.mark > _NEAR_THE_END:
            block.cool()  # no delta looks whether its seq is still a number
            return
        message.session.woken[block.key] = block
        hot = self._hot
        if any(other.counts is not hot.counts for other in block.hots):
            block.cool()  # deltas with a seq and deltas without one do not wait side by side
        if hot.get(block.key) is not block:
            hot[block.key] = block
            block.hots.append(hot)

    # -- generations and snapshots -------------------------------------------------------------

    def _opened(self, event: StreamOpened) -> Verdict:
        store = self._store
        if event.session_id is not None and self._session_id not in (None, event.session_id):
            return verdicts.FOREIGN
        if event.generation is not None:
            if self._of_generation(event.session_id, event.generation)[1]:
                return verdicts.STALE_GENERATION
        self.epoch = store._last_opened = store._coalescer.new_epoch()
        if event.sequencing is not None:
            self._set_mode(cast(Sequencing, event.sequencing))
        if event.generation is not None:
            self._open_generation(event.session_id, event.generation)
        return ACCEPTED

    def _of_generation(
        self, session_id: str | None, generation: str
    ) -> tuple[list[SessionRow], bool]:
        """The sessions whose counter a generation would change, and whether it is a stale one."""
        store = self._store
        scope = session_id or self._session_id
        if scope is not None:
            sessions = [store._session_row(scope)]
        else:
            # A session that another open stream was opened for has that stream's counter.
            others = {other._session_id for other in store._streams if other is not self}
            sessions = [row for row in store._sessions.values() if row.id not in others]
        known = [session for session in sessions if generation in session.generations]
        current = [session for session in sessions if session.generation == generation]
        stale = bool(sessions) and len(known) == len(sessions) and len(current) < len(sessions)
        return sessions, stale

    def _open_generation(self, session_id: str | None, generation: str) -> None:
        store = self._store
        sessions, stale = self._of_generation(session_id, generation)
        if stale:
            return
        if (session_id or self._session_id) is None:
            self._generation = generation
            store._generation = generation
        for session in sessions:
            if generation not in session.generations:
                store._restart(session, generation, self)

    def _snapshot(self, event: Snapshot, session: SessionRow) -> Verdict:
        store = self._store
        messages = read_messages(event)
        if session.gone and self._mode == "block":
            return verdicts.REMOVED
        default = store._last_opened if self._local else self.epoch
        epoch, top = store._read_from(event.read_from, default)
        if event.generation is not None and event.generation != session.generation:
            if event.generation in session.generations:
                return verdicts.STALE_GENERATION
            store._restart(session, event.generation, self)
        positioned = self._mode in ("session", "sparse") and event.seq is not None
        if positioned and event.complete and event.before is None and event.read_from is not None:
            assert event.seq is not None
            if event.seq < top:
                # The read began after `top` was received: the server's counter started again.
                store._restart(session, f"reset-{len(session.generations) + 1}", self)
        if positioned and event.seq is not None and event.seq < session.fetched_at:
            return DUPLICATE  # a newer one says everything
        for message in session.messages.values():
            for block in message.blocks.values():
                store._coalescer.settle(block)
        if not positioned and session.removed_now:
            if store._coalescer.touched_since(session, epoch):
                return verdicts.REMOVED  # during the read
        steps = plan(event, messages, session, self._mode, store._coalescer.touched_since, epoch)
        # A removal during the read is newer than what was read, whatever position that has.
        removed = session.gone and store._coalescer.touched_since(session, epoch)
        store._coalescer.touch(session)
        if not (positioned and removed):
            self._own_state(event, session, epoch, positioned)
        for step in steps:
            self._step(step, session, epoch)
        if positioned:
            self._cover(event, session)
        store._resync.pop(session.id, None)
        return ACCEPTED

    def _step(self, step: Any, session: SessionRow, epoch: int) -> None:
        store = self._store
        event = step.event
        if step.counted:
            store._counts.text(event, self._route(event, session))
            return
        message = store._reducer.message_row(session, event.message_id)
        if event.seq is not None and self._mode in ("session", "sparse"):
            message.mark = max(message.mark, event.seq)
            if isinstance(event, MessageUpdated):
                store._reducer.reopen(message, event.seq)
        block = None
        if isinstance(event, BlockEvent):
            block = store._reducer.block_row(message, event.block_index)
        if isinstance(event, BlockSnapshot):
            assert block is not None and event.seq is not None
            if event.seq <= max(block.snapshot_seq, block.removed, message.removed):
                return
            block.snapshot_seq = event.seq
            if block.first < 0:
                block.first = event.seq
        touched = [(row, row.touched) for row in (message, block) if row is not None]
        # What a snapshot brings was received outside the events; it counts as accepted.
        verdict = store._reducer.apply(
            self._mode, event, session, message, block, ACCEPTED, NOWHERE
        )
        store._counts.text(event, ACCEPTED if verdict.kind == "held" else verdict)
        if verdict.kind == "refused":
            return
        store._coalescer.observe(event, session, message)
        for row, before in touched:  # as old as its read: a later one replaces it
            row.touched = max(before, epoch - 1)
        if block is not None:
            if step.gap is not None:
                block.gap = step.gap
            self._warm(block)

    def _own_state(
        self, event: Snapshot, session: SessionRow, epoch: int, positioned: bool
    ) -> None:
        """The session's own members of a snapshot; events since the read began are newer."""
        store = self._store
        seq = event.seq if positioned else None
        if seq is not None:
            store._reducer.session_full(session, seq)
        session.gone = False
        session.exists = not session.removed_now
        # A position says what is newer; without one the time of the read does.
        newer = session.own_epochs if seq is None else {}
        if event.info is not None and newer.get("info", 0) < epoch:
            session.info.merge(event.info, seq, whole=True)
        for name in ("status", "todo", "diff"):
            value = getattr(event, name)
            if value is not None and newer.get(name, 0) < epoch:
                session.own.merge({name: value}, seq)
                if name == "status" and value.get("type") == "idle":
                    store._coalescer.release(session)
        for name, fetched in (("permissions", event.permissions), ("questions", event.questions)):
            if fetched is not None:
                asked = {
                    request_id
                    for request_id in getattr(session, name)
                    if newer.get(f"{name} {request_id}", 0) >= epoch
                }
                store._reducer.merge_requests(session, name, fetched, asked, seq)

    def _cover(self, event: Snapshot, session: SessionRow) -> None:
        """Set the marks of what a positioned snapshot stands for."""
        seq = event.seq
        assert seq is not None
        for message in event.messages:
            message_id = message.get("id") or message["info"]["id"]
            row = session.messages.get(message_id)
            if row is None:
                continue  # its removal was forgotten meanwhile
            row.covered = max(row.covered, seq)
            row.mark = max(row.mark, seq)
            row.first = seq if row.first < 0 else min(row.first, seq)
        if event.complete and event.before is None:
            session.fetched_at = max(session.fetched_at, seq)
            session.mark = max(session.mark, seq)
            if self._mode == "session":
                intervals = session.intervals
                intervals.cover(seq, intervals.starts[0] if intervals.starts else seq)
                if session.stood is not None:  # a read has no place among the events
                    session.stood = (*session.stood[:3], MAX_NUMBER)
                if intervals.starts[1:]:
                    self._note_session_hole(session, None)


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
        on_error: told of what a subscriber raised; prints a traceback by default.

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
        self.limits = limits or Limits()
        self._protocol = protocol or "auto"
        self._new_id = new_id or _Numbered()
        self._loads = decoder_named(decoder)
        self._counts = Counts()
        self._coalescer = Coalescer(self.limits, self._counts, delivery)
        self._gate = Gate(self.limits, self._counts, self._ask_resync)
        self._reducer = Reducer(self.limits, self._counts, self._coalescer.touch, self._ask_resync)
        self._tables = Tables()
        self._sessions: dict[str, SessionRow] = {}
        self._streams: dict[Stream, None] = {}
        self._generation: str | None = None
        self._default: Stream | None = None
        self._applied: Stream | None = None
        self._closed = False
        # Of saved streams, and of those that ended, until another one goes on from there.
        self._left: list[dict[str, Any]] = []
        self._positions: dict[Any, Position] = {}
        self._resync: dict[str, str] = {}
        # What adapters remember from stream to stream, by protocol and session.
        self._memory: dict[str, dict[str, dict[str, Any]]] = {}
        self._holding: dict[PartKey, BlockRow] = {}
        self._sweep_at = 64
        self._holding_sessions: dict[str, SessionRow] = {}
        self._removed: dict[str, None] = {}
        self._last_opened = 0
        self._history: deque[tuple[ChangeSet, int]] = deque()
        self._history_characters = 0
        self._inbox: deque[tuple[Stream, bytes]] = deque()
        self._inbox_bytes = 0
        self._inbox_lock = threading.Lock()
        self._asked_drain = self._draining = False
        self._each = ticks == "each"
        self._at_feed = ticks is None
        self._ticks = _ticks(ticks)
        self._asked_tick = False
        self._subscribers = Subscribers(
            self.limits.subscriber_changes, self._locate, self._call_later, on_error or _report
        )
        if self._ticks is not None:
            self._ticks.start(self._commit)

    # -- input -------------------------------------------------------------------------------

    def open(
        self,
        protocol: str = "auto",
        *,
        session_id: str | None = None,
        sequencing: Sequencing | None = None,
        generation: str | None = None,
        policy: Policy = "lenient",
    ) -> Stream:
        """Open a stream: one connection or response, with its own parser and position.

        `session_id` names the session of a protocol that has none, and refuses others
        (`foreign`). `sequencing` overrides what the protocol declares; `generation` says which
        run of the server's counter this is. `policy`: `lenient` counts what it cannot use and
        goes on, `strict` stops the stream where the official client would.

        Raises:
            UnknownProtocol: no adapter has that name.
            CallerError: another argument is none of its values, or the store is closed.
        """
        if sequencing is not None and sequencing not in SEQUENCINGS:
            raise CallerError(f"sequencing must be one of {', '.join(SEQUENCINGS)}")
        if policy not in ("lenient", "strict"):
            raise CallerError("policy must be lenient or strict")
        return self._open(protocol, session_id, sequencing, generation, policy)

    def _open(
        self,
        protocol: str,
        session_id: str | None = None,
        sequencing: Sequencing | None = None,
        generation: str | None = None,
        policy: Policy = "lenient",
        default: bool = False,
    ) -> Stream:
        self._usable()
        self._meet()
        adapter = None if protocol == "auto" else adapter_named(protocol)
        before = self._take_left(protocol, session_id, default)
        memory = None
        if before is not None and not before["ended"]:
            memory = before["memory"]
            sequencing = sequencing or before["sequencing"]
        stream = Stream(self, adapter, session_id, sequencing, policy, memory=memory)
        self._streams[stream] = None
        if before is not None:
            stream._go_on_from(before)
            self._hand_holes(before, stream)
        if generation is not None:
            stream._open_generation(session_id, generation)
            self._woke()
        return stream

    def _take_left(
        self, protocol: str, session_id: str | None, default: bool
    ) -> dict[str, Any] | None:
        """What an earlier stream of this protocol and session left; the default one: its own."""
        found = [e for e in self._left if protocol in (e["protocol"], "auto")]
        found = [e for e in found if e["sessionId"] == session_id]
        found = (
            [e for e in found if e["default"]]
            if default
            else sorted(found, key=lambda entry: entry["default"])
        )
        if not found:
            return None
        self._left.remove(found[0])
        return found[0]

    def _leave(self, stream: Stream, entry: dict[str, Any]) -> None:
        """Keep where an ended stream stood until one of its protocol and session is opened."""
        whose = (entry["protocol"], entry["sessionId"])
        same = [e for e in self._left if e["ended"] and (e["protocol"], e["sessionId"]) == whose]
        for other in same:
            self._left.remove(other)
            self._hand_holes(other, entry)
        self._hand_holes(stream, entry)
        if entry["eventId"] or same or self._holding or self._holding_sessions:
            self._left.append(entry)
        ended = [e for e in self._left if e["ended"]]
        for other in ended[: -self.limits.ended_streams]:
            self._left.remove(other)

    def _hand_holes(self, holder: Any, heir: Any) -> None:
        """Holes that one stream left are its successor's: its position lies before them.

        Another connection counts its own events: to it, they lie before its first one.
        """
        self._positions.clear()
        ended = holder["ended"] if isinstance(holder, dict) else False

        def handed(who: Any, before: Position) -> tuple[Any, Position]:
            if who is not holder:
                return who, before
            return heir, attrs.evolve(before, events=0) if ended else before

        for row in self._holding.values():
            row.holes_at = {seq: handed(*entry) for seq, entry in row.holes_at.items()}
        for session in self._holding_sessions.values():
            session.holes_at = [
                (seq, *handed(who, before)) for seq, who, before in session.holes_at or ()
            ]

    def feed(self, data: bytes) -> None:
        """`Stream.feed` of the default stream."""
        self._default_stream().feed(data)

    def ingest(self, wire: Any) -> Verdict:
        """`Stream.ingest` of the default stream."""
        return self._default_stream().ingest(wire)

    def ingest_many(self, wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        """`Stream.ingest_many` of the default stream."""
        return self._default_stream().ingest_many(wires)

    def apply(self, event: Event) -> Verdict:
        """Take in a canonical event beside any protocol, e.g. the user's own message.

        A message opened with `local=True` is shown at once; the server's events confirm it, a
        `message.rollback` takes back what was not confirmed.
        """
        self._usable()
        if self._applied is None:
            adapter = adapter_named("native")
            self._applied = Stream(self, adapter, None, "none", "lenient", local=True)
        verdict = self._applied._take_all((event,))
        self._counts.add(verdict)
        self._woke()
        return verdict

    def new_id(self) -> str:
        """A fresh id for something that no protocol named, e.g. a local message."""
        return self._new_id()

    # -- ticks ---------------------------------------------------------------------------------

    def flush(self) -> ChangeSet:
        """Commit now: one change set, one notification pass. Shows nothing that is held back."""
        if self._closed:
            self._usable()
        if self._inbox:
            self._drain()
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
        """End every stream, show everything that waits, and close the subscriptions."""
        if self._closed:
            return
        self._asked_tick = True  # the last tick is below: a loop that is gone is not asked for one
        self._drain()
        for stream in list(self._streams):
            if not stream.ended:
                stream.end()
        for session in self._sessions.values():
            self._coalescer.release(session)
        self._commit()
        self._closed = True
        if self._ticks is not None:
            self._ticks.stop()
        self._subscribers.close()

    def _usable(self) -> None:
        if self._closed:
            raise CallerError("this store is closed")

    def _default_stream(self) -> Stream:
        if self._default is None or self._default.ended:
            self._default = self._open(self._protocol, default=True)
        return self._default

    def _wake(self, row: BlockRow) -> None:
        """The hot path brought the first work of a row since the last tick."""
        self._coalescer.wake(row)
        if self._each or (self._ticks is not None and not self._asked_tick):
            self._woke()

    def _woke(self) -> None:
        if self._each:
            self._commit()
        elif self._ticks is not None and not self._asked_tick and self._coalescer.waits:
            self._asked_tick = True
            try:
                self._ticks.request()
            except BaseException:
                self._asked_tick = False  # nothing is scheduled: the next work asks again
                self._coalescer.ask_again()
                raise

    def _fed(self) -> None:
        if self._at_feed:
            self._commit()
        else:
            self._woke()

    def _commit(self) -> ChangeSet:
        self._asked_tick = False
        if self._inbox:
            self._drain()  # a GUI timer may be all that runs in the owner's thread
        before = self._tables.version
        plain = self._coalescer.take_texts()
        if plain is not None:
            changes = self._tables.publish_texts(plain[0], self._resume(plain[1]))
        elif not self._coalescer.waits:
            return self._nothing()
        else:
            taken = self._coalescer.take()
            touched = dict.fromkeys([_session_of(row) for row, _ in taken])
            changes = self._tables.publish(taken, self._resume(touched))
        if len(self._removed) > self.limits.removed_sessions:
            self._forget_removed()
        if changes.version == before:
            return self._nothing()
        self._counts.work["ticks"] += 1
        self._remember(changes)
        if self._subscribers:
            passes = self._subscribers.passes
            self._subscribers.notify(changes)
            self._counts.work["notifications"] += self._subscribers.passes - passes
        return changes

    def _nothing(self) -> ChangeSet:
        return ChangeSet(
            version=self._tables.version, gaps=self._tables.gaps, resume=self._resume(())
        )

    def _remember(self, changes: ChangeSet) -> None:
        size = 0
        for edit in changes.text.values():
            size += len(edit.text)
        self._history.append((changes, size))
        self._history_characters += size
        while len(self._history) > self.limits.history_changes or (
            self._history_characters > self.limits.history_characters and self._history
        ):
            self._history_characters -= self._history.popleft()[1]

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
            resume=self._resume(self._sessions.values()),
            resync=MappingProxyType(dict(self._resync)),
        )

    @property
    def resync(self) -> Mapping[str, str]:
        """`health.resync` alone, at the cost of a look: sessions to fetch again, and why."""
        return MappingProxyType(self._resync)

    def ask_resync(self, session_id: str, reason: str) -> None:
        """Note that a session should be fetched again; a snapshot of it clears the note.

        For whoever learns of a loss that no event shows, e.g. a server that has no replay. A saved
        state holds it.
        """
        self._ask_resync(session_id, reason)

    def generation(self, session_id: str | None = None) -> str | None:
        """The generation of the server's counter in force, of one session or of the server."""
        session = None if session_id is None else self._sessions.get(session_id)
        return self._generation if session is None else session.generation

    def state(self) -> dict[str, Any]:
        """The state as plain JSON: contract section 9. Linear in what is stored."""
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

        Raises:
            CallerError: a scope lacks its upper part, or a throttle has no timers (`ticks` is
                None, "each" or "manual").
        """
        self._usable()
        self._meet()
        scope = _scope(session_id, message_id, block_index)
        if not throttle >= 0:
            raise CallerError("a throttle is a number of ms from 0")
        if throttle > 0 and (self._ticks is None):
            raise CallerError("a throttle needs timers: use ticks='asyncio' or a scheduler")
        return self._subscribers.add(callback, scope, throttle, self._present(scope))

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
        """
        waiting = Changes(self.limits.subscriber_changes, self._locate)
        hear = weak(waiting, Changes.hear)
        waiting.begin(self.subscribe(hear, session_id, message_id, block_index))
        return waiting

    def pull(self, since: int = 0) -> ChangeSet:
        """One merged change set of everything after a version, without subscribing.

        Ask again with its `version`. A version that the history does not reach back to (see
        `Limits.history_changes`) gets a `reset`: read everything anew.
        """
        version = self._tables.version
        if since == version:
            return self._nothing()
        held = [changes for changes, _ in self._history if changes.version > since]
        if len(held) != version - since:  # too old, or of another life of the store
            return attrs.evolve(self._nothing(), reset=True)
        merged = MergedChanges()
        for changes in held:
            merged.add(changes)
        return merged.take(self._locate)

    def _present(self, scope: tuple[Any, ...]) -> Present:
        ids = self.session_ids() if not scope else scope[:1]
        sessions = tuple(
            session for session in (self.session(name) for name in ids) if session is not None
        )
        messages: dict[str, tuple[Message, ...]] = {}
        parts: dict[Any, tuple[Part, ...]] = {}
        for session in sessions:
            found = self.messages(session.id)
            if len(scope) > 1:
                found = tuple(message for message in found if message.id == scope[1])
            messages[session.id] = found
            for message in found:
                below = self.parts(session.id, message.id)
                if len(scope) > 2:
                    below = tuple(part for part in below if part.block_index == scope[2])
                parts[message.key] = below
        return Present(
            version=self._tables.version,
            sessions=sessions,
            messages=MappingProxyType(messages),
            parts=MappingProxyType(parts),
        )

    def _locate(self, keys: Iterable[Key], over: Iterable[Key]) -> tuple[Place, ...]:
        rows_at = self._tables.rows_at
        return self._tables.places(rows_at(keys), rows_at(over))

    def _call_later(self, delay: float, callback: Callable[[], None]) -> Callable[[], None]:
        assert self._ticks is not None
        return self._ticks.call_later(delay, callback)

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
        return f"{epoch}.{top}"

    def _read_from(self, token: str | None, default: int) -> tuple[int, int]:
        if token is None:
            return default, -1
        epoch, _, top = token.partition(".")
        try:
            return int(epoch), int(top)
        except ValueError:
            raise MalformedEvent("readFrom", "is no token of begin_read") from None

    def _ask_resync(self, session_id: str, reason: str) -> None:
        self._resync.setdefault(session_id, reason)

    def _position(self, stream: Stream, taken: Position) -> Position:
        if not (self._holding or self._holding_sessions):
            return taken
        first = self._positions.get(stream)
        if first is None:
            first = self._positions[stream] = self._first_held(stream)
        return first if first._age < taken._age else taken

    def _hold(self, block: BlockRow) -> None:
        """Note a block with holes; now and then those without one any more go. Amortized."""
        self._holding[block.key] = block
        if len(self._holding) > self._sweep_at:
            self._holding = {key: row for key, row in self._holding.items() if row.holes_at}
            self._sweep_at = 2 * len(self._holding) + 64

    def _first_held(self, stream: Stream) -> Position:
        """The position before the first hole that a stream ran into. Linear in the holes."""
        first = _BEHIND_ALL
        for row in list(self._holding.values()):
            if not row.holes_at:
                del self._holding[row.key]
            for holder, before in row.holes_at.values():
                if holder is stream:  # what it brought later stands later
                    first = min(first, before, key=_age)
                    break
        for session in list(self._holding_sessions.values()):
            before_hole = _first_hole(session)
            if before_hole is None:
                del self._holding_sessions[session.id]
            elif before_hole[1] is stream:
                first = min(first, before_hole[2], key=_age)
        return first

    def _resume(self, touched: Iterable[SessionRow]) -> Mapping[str, Any]:
        resume: dict[str, Any] = {}
        sessions: dict[str, int] = {}
        for session in touched:
            if session.intervals.starts:
                sessions[session.id] = session.intervals.ends[0]
        if sessions:
            if len(sessions) > 1:
                sessions = dict(sorted(sessions.items()))
            resume["sessions"] = MappingProxyType(sessions)
        for left in self._left:
            if left["eventId"]:
                resume["eventId"] = left["eventId"]
        for stream in self._streams:
            if stream._event_id:
                holes = self._holding or self._holding_sessions
                resume["eventId"] = stream.position.event_id if holes else stream._event_id
        return MappingProxyType(resume) if resume else _NOWHERE

    def _note_removed(self, session: SessionRow) -> None:
        """Remember a removed session; over the bound the oldest is forgotten, with its ids."""
        self._removed.pop(session.id, None)
        self._removed[session.id] = None
        self._forget_removed()

    def _forget_removed(self) -> None:
        over = max(0, len(self._removed) - self.limits.removed_sessions)
        for session_id in list(islice(self._removed, over)):
            session = self._sessions[session_id]
            if session.removed_now:
                if session.shown is not None:
                    continue  # the next tick takes it away, and comes here again
                del self._sessions[session_id]
                self._resync.pop(session_id, None)
                self._holding_sessions.pop(session_id, None)
                self._positions.clear()
                for stream in self._streams:
                    stream._sessions.pop(session_id, None)
                if self._applied is not None:
                    self._applied._sessions.pop(session_id, None)
            del self._removed[session_id]

    def _session_row(self, session_id: str) -> SessionRow:
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = self._reducer.new_session(session_id)
            if self._generation is not None:
                session.generation = self._generation
                session.generations[self._generation] = None
        return session

    def _restart(self, session: SessionRow, generation: str, opener: Stream) -> None:
        """Change a session's generation: a barrier; then take in what waited for it."""
        for message in session.messages.values():
            for block in message.blocks.values():
                self._coalescer.settle(block)
                self._holding.pop(block.key, None)
        first = session.generation is None
        if first:
            session.generation = generation
            session.generations[generation] = None
            if session.exists and any(
                message.mark >= 0 or any(row.mark >= 0 for row in message.blocks.values())
                for message in session.messages.values()
            ):
                self._reducer.restart(session, generation)
        else:
            self._reducer.restart(session, generation)
        if any(row.previous for m in session.messages.values() for row in m.blocks.values()):
            self._ask_resync(session.id, "the server's counter started again")
        waiting, session.waiting = session.waiting, []
        for token, event, stream in waiting:
            if token != generation:
                session.waiting.append((token, event, stream))
                continue
            try:  # who brought it may be gone: a loaded store does not know its streams
                kind = (stream or opener)._enter(event, session, True).kind
            except MalformedEvent:
                kind = "malformed"
            taken = kind in ("accepted", "late", "held")
            self._counts.held["filled" if taken else "superseded"] += 1
            if not taken:
                self._counts.characters["superseded"] += verdicts.text_length(event)

    # -- threads ---------------------------------------------------------------------------------

    def _post(self, stream: Stream, data: bytes) -> None:
        with self._inbox_lock:
            if self._inbox_bytes + len(data) > self.limits.inbox_bytes:
                raise InboxFull(
                    f"{self._inbox_bytes} bytes wait for the store's owner; feed these again later"
                )
            self._inbox.append((stream, bytes(data)))
            self._inbox_bytes += len(data)
        self._ask_drain()

    def _ask_drain(self) -> None:
        if self._ticks is not None and not self._asked_drain:
            self._asked_drain = True
            if not self._ticks.from_thread(self._drain):
                self._asked_drain = False  # no loop yet: the next bytes ask again

    def _meet(self) -> None:
        """Where the scheduler sees a loop for the first time, what threads left can come in."""
        if self._ticks is not None and self._ticks.meet() and self._inbox:
            self._ask_drain()

    def _drain(self) -> None:
        """Take in what other threads left, in order; never one chunk inside another."""
        self._asked_drain = False  # first: who posts from here on asks again
        if self._draining or any(stream._feeding for stream in self._streams):
            return  # who is feeding asks again
        self._draining = True
        try:
            # What comes meanwhile waits for the next call: producers must not starve the loop.
            for _ in range(len(self._inbox)):
                with self._inbox_lock:
                    stream, data = self._inbox.popleft()
                    self._inbox_bytes -= len(data)
                if not stream.ended:
                    stream.feed(data)
        finally:
            self._draining = False
            if self._inbox:
                self._ask_drain()

    # -- saved states ------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """The whole store as plain JSON: one cut of marks, text, what waits, and positions.

        `load` gives a store that shows the same, and that the rest of the log, from the saved
        position on, brings to the same state. With a `path` it is written there, too: the file
        holds the old state or the new one whole, whatever happens meanwhile. Shows nothing early.
        Linear in what is stored.

        Raises:
            DiskError: it could not be written (`streamstore.log`); the file is what it was.
        """
        saved = self._saved()
        if path is not None:
            from .log.states import write_state

            write_state(saved, path)
        return saved

    def _saved(self) -> dict[str, Any]:
        self._coalescer.settle_all()
        return {
            "version": VERSION,
            "generation": self._generation,
            "protocol": self._protocol,
            "delivery": self._coalescer.delivery,
            "tick": self._tables.version,
            "epoch": self._coalescer.epoch,
            "resync": dict(self._resync),
            "memory": thaw(self._memory),
            "ids": getattr(self._new_id, "made", 0),
            "streams": [stream._entry() for stream in self._streams] + thaw(self._left),
            "holes": self._save_holes(),
            "counts": self._counts.dump(),
            "shown": list(self.session_ids()),
            "gaps": save_gaps(self._tables.gaps),
            "sessions": [save_session(session) for session in self._sessions.values()],
        }

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
    ) -> StreamStore:
        """The store that `save` wrote, or the path it wrote to.

        Open a stream and feed it from the saved position on.

        Raises:
            UnsupportedState: it has another version, is damaged, or is no saved store.
            UnknownProtocol: the adapter of its protocol is not installed.
        """
        if isinstance(saved, str | os.PathLike):
            from .log.states import read_state

            saved = read_state(saved)
        if not isinstance(saved, Mapping) or saved.get("version") != VERSION:
            raise UnsupportedState(
                f"a saved store of version {VERSION} is needed, "
                f"not {saved.get('version') if isinstance(saved, Mapping) else type(saved)!r}"
            )
        store = cls(ticks=ticks, limits=limits, new_id=new_id, decoder=decoder, on_error=on_error)
        with refusing("saved store"):
            check_head(saved)
            store._protocol = saved["protocol"]
            store._coalescer.delivery = saved["delivery"]
            store._generation = saved["generation"]
            store._resync.update(saved["resync"])
            store._counts.restore(saved["counts"])
            store._coalescer.epoch = saved["epoch"]
            store._memory = thaw(saved["memory"])
            store._left = [thaw(entry) for entry in saved["streams"]]
            if isinstance(store._new_id, _Numbered):
                store._new_id.made = saved["ids"]
            loaded = [load_session(entry, store.limits.event_ids) for entry in saved["sessions"]]
            rows = [row for row, _ in loaded]
            leaving = [row for _, rows in loaded for row in rows]
            store._sessions = {row.id: row for row in rows}
            store._removed = {row.id: None for row in rows if row.removed_now}
            gaps = load_gaps(saved["gaps"])
            store._tables.restore(rows, saved["shown"], saved["tick"], gaps, leaving)
            for row in rows:
                store._touch_again(row)
            store._load_holes(saved["holes"])
            for left in leaving:
                store._coalescer.touch(left)
            # What is shown can be read and is JSON, or the state is refused here.
            json.dumps(store.state())
        if store._protocol != "auto":
            adapter_named(store._protocol)
        return store

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

    def _save_holes(self) -> list[Any]:
        """Every hole with the stream that ran into it, and where that stream stood before."""
        holders = [*self._streams, *self._left]
        places = {id(holder): place for place, holder in enumerate(holders)}
        saved = []
        for row in self._holding.values():
            for seq, (holder, before) in row.holes_at.items():
                at = [places.get(id(holder), -1), before.events, before.event_id, *before._age]
                saved.append([list(row.key), seq, *at])
        for session in self._holding_sessions.values():
            for seq, holder, before in session.holes_at or ():
                at = [places.get(id(holder), -1), before.events, before.event_id, *before._age]
                saved.append([[session.id], seq, *at])
        return saved

    def _load_holes(self, saved: Iterable[Any]) -> None:
        for key, seq, place, events, event_id, *age in saved:
            holder = self._left[place] if place >= 0 else None
            connection, at = age
            before = Position(events, event_id, (connection, at))
            session = self._sessions[key[0]]
            if len(key) == 1:
                session.holes_at = [*(session.holes_at or ()), (seq, holder, before)]
                self._holding_sessions[session.id] = session
            else:
                row = session.messages[key[1]].blocks[key[2]]
                row.holes_at[seq] = (holder, before)
                self._holding[row.key] = row


def _none() -> int:
    return 0


def _top(block: BlockRow) -> int:
    """The highest seq that came of a block, held ones included."""
    return block.mark if block.stood is None else max(block.mark, block.stood[3])


#: More deltas than anybody sends lie above it, all of them numbers.
_NEAR_THE_END = MAX_NUMBER - 2**48
_NOWHERE: Mapping[str, Any] = MappingProxyType({})
#: Refused for what they say: sent again they are the same events, whatever was removed since. What
#: there was no room or place for may come again.
_JUDGED = (verdicts.RANK, verdicts.CONFLICT, verdicts.SEALED)
_BEHIND_ALL = Position(MAX_NUMBER, "", (MAX_NUMBER, 0))


def _age(position: Position) -> tuple[int, int]:
    return position._age


def _first_hole(session: SessionRow) -> Any:
    """The entry of a session's holes that is still open and was seen first, None for none."""
    holes = session.intervals.holes()
    if not holes or not session.holes_at:
        return None
    first = holes[0][0]
    at = [entry for entry in session.holes_at if entry[0] <= first]
    if at:
        return at[-1]
    return first, session.holes_at[0][1], Position()  # below the first event of all


def _session_of(row: SessionRow | MessageRow | BlockRow) -> SessionRow:
    if isinstance(row, BlockRow):
        return row.message.session
    return row.session if isinstance(row, MessageRow) else row


def _discard(session: SessionRow, message: MessageRow | None, block: BlockRow | None) -> None:
    """Rows made for an event that the gate did not let in are not kept."""
    if block is not None and block.virgin:
        block.message.blocks.pop(block.key.block_index, None)
    if message is not None and message.virgin:
        session.messages.pop(message.key.message_id, None)


def _gap_order(gap: Gap) -> tuple[Any, ...]:
    return (gap.session_id, gap.message_id or "", str(gap.block_index), gap.reason)


def _scope(
    session_id: str | None, message_id: str | None, block_index: BlockIndex | None
) -> tuple[Any, ...]:
    if block_index is not None and message_id is None:
        raise CallerError("a block's scope needs its message_id")
    if message_id is not None and session_id is None:
        raise CallerError("a message's scope needs its session_id")
    if session_id == "" or message_id == "" or block_index == "":
        raise CallerError("an id is never empty; leave it out to hear of everything")
    return tuple(part for part in (session_id, message_id, block_index) if part is not None)


def _ticks(ticks: Ticks | str | None) -> Ticks | None:
    if ticks is None or ticks in ("each", "manual"):
        return None
    if ticks == "asyncio":
        from .ticks import AsyncioTicks

        return AsyncioTicks()
    if isinstance(ticks, str):
        raise CallerError("ticks must be None, 'each', 'manual', 'asyncio' or a scheduler")
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
