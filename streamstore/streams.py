"""`Stream`: one connection or response, and the way of its events through the stages to the rows.

    bytes -> frames -> adapter -> events -> gate -> reducer -> coalescer

A stream has its own parser, adapter and position; `Stages` is what the streams of one store share.
A live delta takes the short way through `Stream.ingest`: one lookup, one comparison, one append.
Knows every stage that changes rows. What becomes of changed rows, tables, subscribers and ticks, it
may not know: the store gives it three calls, for work that waits and for the end of a feed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Literal, TypeAlias, cast

from . import verdicts
from .adapters.base import MAIN, Adapter, Context, DeltaShape
from .coalescer import Coalescer
from .decoding import decode_json, nests_over
from .doors import Ingest, IngestMany
from .errors import (
    CallerError,
    MalformedEvent,
    ProtocolStopped,
    RepeatedEvent,
    UnknownEvent,
    UnknownProtocol,
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
from .inbox import Inbox
from .jsonlines import JsonLinesParser
from .keys import MAX_NUMBER, PartKey
from .limits import Limits
from .model import Delivery, Sequencing, thaw
from .plainpath import plain_door
from .positions import Position, Positions, Progress, Wake, rise, top_of
from .protocols import adapters, detect
from .reducer import Reducer
from .rows import BlockRow, HotTable, MessageRow, SessionRow
from .runs import RUN_BYTES, scan_run, split_run
from .snapshots import plan, read_messages
from .sse import EventStreamParser, SseLimits
from .verdicts import ACCEPTED, DUPLICATE, Counts, Verdict
from .watermarks import NOWHERE, Gate

Policy: TypeAlias = Literal["lenient", "strict"]

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

_TURNS = (TurnStarted, TurnCompleted)

#: More deltas than anybody sends lie above it, all of them numbers.
_NEAR_THE_END = MAX_NUMBER - 2**48
#: Refused for what they say: sent again they are the same events, whatever was removed since. What
#: there was no room or place for may come again.
_JUDGED = (verdicts.RANK, verdicts.CONFLICT, verdicts.SEALED)


class Stages:
    """What the streams of one store share: the stages, the rows, and what is known of them all.

    Attributes:
        counts, coalescer, gate, reducer, positions: the stages.
        inbox: bytes that other threads left.
        sessions: the rows, by session id.
        streams: open streams, in order; `default` and `applied`: the store's own ones, if made.
        memory: what adapters remember from stream to stream, by protocol and session.
        generation: the generation of the server's counter where it is for all sessions.
        resync: sessions that should be fetched again, with the reason.
        removed: sessions that show nothing, removed ones or not begun, the longest ago first.
        last_opened: epoch in which a connection last began.
        new_id, loads: make an id; read JSON (None: the standard decoder).
        wake, woke, fed, moved: of the store: a row has its first work since the last tick, there
            may be work, a feed is over, the default stream has another way in (None: it ended).
    """

    __slots__ = (
        "applied", "coalescer", "counts", "default", "fed", "gate", "generation", "inbox",
        "last_opened", "limits", "loads", "memory", "moved", "new_id", "positions", "reducer",
        "removed", "resync", "sessions", "streams", "wake", "woke",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        delivery: Delivery,
        inbox: Inbox[Stream],
        *,
        new_id: Callable[[], str],
        loads: Callable[[str | bytes], Any] | None,
        wake: Wake,
        woke: Callable[[], None],
        fed: Callable[[], None],
        moved: Callable[[Ingest | None], None],
    ) -> None:
        self.limits = limits
        self.inbox = inbox
        self.new_id = new_id
        self.loads = loads
        self.wake = wake
        self.woke = woke
        self.fed = fed
        self.moved = moved
        self.counts = Counts()
        self.coalescer = Coalescer(limits, self.counts, delivery)
        self.gate = Gate(limits, self.counts, self.ask_resync)
        self.reducer = Reducer(limits, self.counts, self.coalescer.touch, self.ask_resync)
        self.positions = Positions(limits)
        self.sessions: dict[str, SessionRow] = {}
        self.streams: dict[Stream, None] = {}
        self.default: Stream | None = None
        self.applied: Stream | None = None
        self.memory: dict[str, dict[str, dict[str, Any]]] = {}
        self.generation: str | None = None
        self.resync: dict[str, str] = {}
        self.removed: dict[str, None] = {}
        self.last_opened = 0

    def session_row(self, session_id: str) -> SessionRow:
        """A session's row; made when it is not there yet."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = self.reducer.new_session(session_id)
            if self.generation is not None:
                session.generation = self.generation
                session.generations[self.generation] = None
        return session

    def restart(self, session: SessionRow, generation: str, opener: Stream) -> None:
        """Change a session's generation: a barrier; then take in what waited for it."""
        for message in session.messages.values():
            for block in message.blocks.values():
                self.coalescer.settle(block)
                self.positions.drop(block)
        first = session.generation is None
        if first:
            session.generation = generation
            session.generations[generation] = None
            if session.exists and any(
                message.mark >= 0 or any(row.mark >= 0 for row in message.blocks.values())
                for message in session.messages.values()
            ):
                self.reducer.restart(session, generation)
        else:
            self.reducer.restart(session, generation)
        if any(row.previous for m in session.messages.values() for row in m.blocks.values()):
            self.ask_resync(session.id, "the server's counter started again")
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
            self.counts.held["filled" if taken else "superseded"] += 1
            if not taken:
                self.counts.characters["superseded"] += verdicts.text_length(event)

    def note_removed(self, session: SessionRow) -> None:
        """Remember a session that shows nothing; over the bound the oldest is forgotten."""
        self.removed.pop(session.id, None)
        self.removed[session.id] = None
        if session.removed_now:
            self.resync.pop(session.id, None)
        self.forget_removed()

    def forget_removed(self) -> None:
        """Forget the oldest removed sessions over the bound, once no tick shows them any more."""
        over = max(0, len(self.removed) - self.limits.removed_sessions)
        for session_id in list(islice(self.removed, over)):
            session = self.sessions[session_id]
            if session.removed_now or not session.exists:
                if session.shown is not None:
                    continue  # the next tick takes it away, and comes here again
                for _, event, _ in session.waiting:  # for a generation that nobody opened
                    self.counts.held["evicted"] += 1
                    self.counts.characters["superseded"] += verdicts.text_length(event)
                del self.sessions[session_id]
                self.resync.pop(session_id, None)
                self.positions.forget(session_id)
                self.forget_memory(session_id)
                for stream in self.streams:
                    stream._sessions.pop(session_id, None)
                if self.applied is not None:
                    self.applied._sessions.pop(session_id, None)
            del self.removed[session_id]

    def forget_memory(self, session_id: str) -> None:
        """Drop what adapters remember of a session without a row, unless a stream builds on it.

        That one drops it when it ends. Linear in the open streams, and in the saved ones.
        """
        if session_id in self.sessions:
            return
        going_on = [stream._default_session for stream in self.streams]
        saved = [entry["sessionId"] or MAIN for entry in self.positions.left if not entry["ended"]]
        if session_id not in going_on and session_id not in saved:
            for sessions in self.memory.values():
                sessions.pop(session_id, None)

    def read_from(self, token: str | None, default: int) -> tuple[int, int]:
        """The epoch and the highest seq of a token of `begin_read`; `default` and -1 for none.

        Raises:
            MalformedEvent: it is no such token.
        """
        if token is None:
            return default, -1
        epoch, _, top = token.partition(".")
        try:
            return int(epoch), int(top)
        except ValueError:
            raise MalformedEvent("readFrom", "is no token of begin_read") from None

    def ask_resync(self, session_id: str, reason: str) -> None:
        """Note that a session should be fetched again; the first reason stays."""
        self.resync.setdefault(session_id, reason)


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
        "__weakref__", "_adapter", "_asked", "_default_session", "_feeding", "_framer", "_hot",
        "_lead", "_lead_at", "_local", "_memory", "_mode", "_name", "_named", "_ordered", "_policy",
        "_progress", "_rest", "_sentinels", "_session_id", "_sessions", "_shape", "_stages",
        "_stopped", "_sweep_at", "_take_many", "_touched", "_undetected", "_unique", "ended",
        "epoch", "ingest",
    )  # fmt: skip

    def __init__(
        self,
        stages: Stages,
        adapter: type[Adapter] | None,
        session_id: str | None,
        sequencing: Sequencing | None,
        policy: Policy,
        local: bool = False,
        memory: dict[str, Any] | None = None,
    ) -> None:
        self._stages = stages
        self._session_id = session_id
        self._default_session = session_id or MAIN
        self._asked: Sequencing | None = sequencing
        self._policy = policy
        self._local = local
        self._framer: EventStreamParser | JsonLinesParser | None = None
        self._lead = bytearray()
        self._lead_at = 0
        self._rest = b""
        self._feeding = False
        self._name: str | None = None
        self._undetected: list[tuple[Any, str | None]] = []
        self._stopped = False
        self.ended = False
        self.epoch = stages.coalescer.new_epoch()
        if not local:
            stages.last_opened = self.epoch
        # Blocks that this stream delivers in order, by key: what the hot path looks at.
        self._hot = HotTable(counts=False)
        self._touched: dict[PartKey, BlockRow] = {}
        self._sweep_at = 64
        self._sessions: dict[str, SessionRow] = {}
        self._progress = Progress(stages.positions, self.epoch)
        self._memory: dict[str, Any] = {} if memory is None else memory
        self._adapter: Adapter | None = None
        self._mode: Sequencing = sequencing or "sparse"
        self.ingest: Ingest = self._ingest_undetected
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
                limits=self._stages.limits,
                strict=self._policy == "strict",
                new_id=self._stages.new_id,
                own=self._memory,
                shared=self._stages.memory.setdefault(declared.name, {}),
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
        stages = self._stages
        assert self._adapter is not None
        ways: dict[str, Any] = {
            "hot": self._hot,
            "wake": self._progress.waking(mode, stages.wake),
            "merge": stages.coalescer.merge,
            "slow": self._slow_way(self._hot),
        }
        if self._shape is not None:
            made = door(self._shape, mode, **ways)
        else:
            made = plain_door(self._adapter, mode, **ways)
        self._lead_in(made.ingest, made.ingest_many)
        self._progress.count_by(made.taken)

    def _lead_in(self, ingest: Ingest, take_many: IngestMany) -> None:
        self.ingest, self._take_many = ingest, take_many
        if self._stages.default is self:
            self._stages.moved(ingest)

    def _slow_way(self, hot: HotTable) -> Ingest:
        """The long way of a short one, which leads to the newest short one once that is another."""

        def slow(wire: Any) -> Verdict:
            return self._ingest_slowly(wire) if hot is self._hot else self.ingest(wire)

        return slow

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
        return self._progress.received

    @property
    def sequencing(self) -> Sequencing:
        """What a hole in this stream's seq means."""
        return self._mode

    @property
    def position(self) -> Position:
        """The last position before the first missing operation, or the last one taken in."""
        return self._progress.position

    def _go_on_from(self, entry: Mapping[str, Any]) -> None:
        """Go on where another stream stood: a saved one, or one whose connection ended."""
        if entry["ended"]:
            return
        self.epoch = entry["epoch"]
        sessions = self._stages.sessions
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

    # -- input -------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take in bytes of an event stream or of JSON lines, cut anywhere.

        Which of the two it is shows in the first line that belongs to one. What cannot be read
        is a counted verdict. With `ticks=None` the end of each feed is a tick.

        Raises:
            CallerError: the stream has ended.
            UnknownProtocol: `auto` recognised nothing in `Limits.undetected_events` events.
        """
        if self._stages.inbox.waiting:
            self._stages.inbox.drain()
        self._open_only()
        if self._feeding:
            self._stages.inbox.post(self, data)  # from a subscriber: behind what is being taken in
            return
        self._feeding = True
        try:
            self._feed(data)
        finally:
            self._feeding = False
        self._stages.fed()
        if self._stages.inbox.waiting:
            self._stages.inbox.ask()

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
        progress = self._progress
        for frame in framer.feed(data):
            # Before it is taken in: a commit in between shows the position behind it.
            before = progress.event_id
            progress.id_before, progress.event_id = before, frame.id
            self._take_text(frame.data, frame.event)
            if progress.repeating:
                progress.event_id = before
            progress.id_before = None
        self._count_skipped(framer.skipped - skipped)
        if not progress.repeating:
            progress.event_id = framer.last_event_id  # also of an event without data

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
            or framer.last_event_id != self._progress.event_id
        ):
            return data
        loads = self._stages.loads
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
        self._stages.inbox.post(self, data)

    def ingest_many(self, wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        """Take in wire objects; those that were not plainly accepted, with their place.

        With `ticks=None` its end is a tick.
        """
        self._stages.inbox.drain()
        self._open_only()
        notable = self._take_many(wires)
        self._stages.fed()
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
        self._stages.inbox.drain()
        if self.ended:
            return
        if self._lead:
            # No line belongs to either framing: they are broken JSON lines, or comments alone.
            self._framer = JsonLinesParser(self._stages.limits.line_bytes)
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
        self._stages.fed()

    def _note_undetected(self) -> None:
        for wire, _ in self._undetected:
            kind = wire.get("type") if isinstance(wire, dict) else None
            self._stages.counts.add(Verdict("unknown", str(kind)[:80]))
        self._undetected = []

    def _leave(self) -> None:
        self.ended = True
        stages = self._stages
        rows = [row for key, row in self._touched.items() if not self._streams_on(key)]
        for row in rows:
            stages.coalescer.settle(row)
        stages.reducer.cut(rows)
        for row in self._hot.values():
            row.hots = [hot for hot in row.hots if hot is not self._hot]
        self._hot.clear()
        self._hot.forget_last()
        self._touched.clear()
        for session in self._sessions.values():
            stages.coalescer.release(session)
        if not self._local:
            entry = self._entry()
            entry["ended"], entry["memory"], entry["streaming"] = True, {}, []
            stages.positions.leave(self._progress, entry)
        self._sessions.clear()
        stages.streams.pop(self, None)
        if stages.default is self:
            stages.moved(None)
        stages.forget_memory(self._default_session)

    def _entry(self) -> dict[str, Any]:
        """What a saved state holds of the stream: where it stands, and what it goes on with."""
        return {
            "protocol": self.protocol,
            "sessionId": self._session_id,
            "sequencing": None if self._adapter is None else self._mode,
            **self._progress.saved(),
            "epoch": self.epoch,
            "sessions": list(self._sessions),
            "streaming": self._streaming,
            "memory": thaw(self._memory),
            "stopped": self._stopped,
            "default": self is self._stages.default,
            "ended": False,
        }

    def _streams_on(self, key: PartKey) -> bool:
        """Whether another open stream delivers a part as well: a reconnect that overlaps."""
        others = self._stages.streams
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
                self._framer = JsonLinesParser(self._stages.limits.line_bytes)
            elif framing == "event stream" or stop > _LEAD_BYTES:
                self._framer = self._event_stream()
            elif end < 0:
                break  # the start of a line: its rest may tell
            self._lead_at = stop  # a broken line: the next one may tell
        return self._framer

    def _event_stream(self) -> EventStreamParser:
        limits = self._stages.limits
        bounds = SseLimits(
            line=limits.event_line_bytes,
            event=limits.event_bytes,
            charge_per_data_line=limits.data_line_bytes,
            id=limits.event_id_bytes,
        )
        return EventStreamParser(bounds, last_event_id=self._progress.event_id)

    def _take_texts(self, texts: Iterable[str | bytes]) -> None:
        for text in texts:
            self._take_text(text)

    def _take_text(self, text: str | bytes, name: str | None = None) -> None:
        if text in self._sentinels:
            self._progress.counted += 1
            return
        try:
            wire = decode_json(text, self._stages.loads)
        except MalformedEvent as error:
            self._progress.counted += 1
            self._stages.counts.add(self._malformed(error))
            return
        if name is not None and self._named:
            wire = {"event": name, "data": wire}
        self._name = name
        self.ingest(wire)
        self._name = None

    def _count_skipped(self, number: int) -> None:
        for _ in range(number):
            self._progress.counted += 1
            self._stages.counts.add(
                Verdict("malformed", "over_limit", "a line or event is too long")
            )

    def _malformed(self, error: MalformedEvent) -> Verdict:
        if self._policy == "strict":
            self._stop()
        return Verdict("malformed", error.field, str(error))

    def _stop(self) -> None:
        """Take nothing more in: the official client would not either."""
        self._stopped = True
        self._lead_in(self._ingest_slowly, self._ingest_each)
        self._cool()

    def _ingest_undetected(self, wire: Any) -> Verdict:
        # Whoever kept this function from before the protocol was known goes the short way, too.
        return self._ingest_slowly(wire) if self._adapter is None else self.ingest(wire)

    def _ingest_slowly(self, wire: Any) -> Verdict:
        self._open_only()
        if self._adapter is None:
            if self._stopped:
                self._stages.counts.add(verdicts.STOPPED)
                return verdicts.STOPPED
            return self._detect(wire)
        shape = self._shape
        if shape is not None and shape.envelope and isinstance(wire, dict):
            inner = wire.get(shape.envelope)
            if isinstance(inner, dict) and inner.get("type") == shape.type:
                return self.ingest(inner)
        self._progress.begin()
        verdict = self._judge(wire)
        self._stages.counts.add(verdict)
        self._progress.done(verdict is DUPLICATE)
        self._stages.woke()
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
            if len(self._undetected) >= self._stages.limits.undetected_events:
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

    def _judge(self, wire: Any) -> Verdict:
        if self._stopped:
            return verdicts.STOPPED
        assert self._adapter is not None
        if nests_over(wire, self._stages.limits.nesting):
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
                self._stages.counts.text(event, first)
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
        stages = self._stages
        session_id = event.session_id
        if isinstance(event, StreamOpened):
            return self._opened(event)
        if isinstance(event, StreamSynchronized):
            return ACCEPTED
        if session_id is None:
            session_id = self._default_session
        elif self._session_id is not None and session_id != self._session_id:
            stages.counts.text(event, verdicts.FOREIGN)
            return verdicts.FOREIGN
        session = stages.session_row(session_id)
        self._sessions[session_id] = session
        try:
            verdict = self._enter(event, session, principal)
        except MalformedEvent as error:
            stages.counts.text(event, Verdict("malformed", error.field))
            raise
        finally:
            if not session.exists and session_id not in stages.removed:
                stages.note_removed(session)  # nothing shows it: nobody could remove it
        stages.counts.text(event, verdict)
        return verdict

    def _enter(self, event: Event, session: SessionRow, principal: bool) -> Verdict:
        stages = self._stages
        if event.generation is not None and not isinstance(event, Snapshot):
            verdict = stages.gate.generation(session, event, self)
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
        stages = self._stages
        message: MessageRow | None = None
        block: BlockRow | None = None
        if isinstance(event, BlockEvent):
            message = stages.reducer.message_row(session, event.message_id)
            block = stages.reducer.block_row(message, event.block_index)
            stages.coalescer.settle(block)
        elif isinstance(event, _MESSAGE_EVENTS):
            message = stages.reducer.message_row(session, event.message_id)
            stages.coalescer.settle_below(message)
        elif isinstance(event, SessionRemoved | SessionUpdated):
            stages.coalescer.settle_below(*session.messages.values())
        if session.woken and self._mode in ("session", "sparse"):
            stages.coalescer.settle_session(session)
        if session.closing:
            stages.gate.expire(session)
        held_before = len(block.held) if block is not None else 0
        ends = session.intervals.ends
        counted: SessionRow | BlockRow | None = session if self._mode == "session" else None
        top = ends[-1] if ends else -1
        if self._mode == "block" and block is not None:
            top = top_of(block)
            if isinstance(event, BlockDelta | BlockReplaced | BlockSnapshot):
                counted = block
        if block is not None and isinstance(event, BlockSnapshot) and self._mode == "block":
            if stages.reducer.clashes(event, block):
                return verdicts.CONFLICT  # before: it stands for no operation
        try:
            verdict, at = stages.gate.admit(
                self._mode, event, session, message, block, self._ordered
            )
        except MalformedEvent:
            _discard(session, message, block)
            raise
        session.events += 1
        if session.intervals.starts[1:] or session.holes_at is not None:
            self._note_holes(session, event.seq if verdict is not DUPLICATE else None)
        if block is not None and event.seq is not None and len(block.held) > held_before:
            self._progress.hold(block, event.seq, top)
        if counted is not None and verdict.taken and event.seq is not None and event.seq > top:
            if isinstance(event, BlockSnapshot):
                rise(counted, event.seq)
            else:
                self._progress.stand(counted, event.seq)
        if self._mode == "block":
            if (
                message is not None
                and message.stood is None
                and isinstance(event, MessageOpened)
                and not (message.exists or message.blocks)
            ):
                # Where its opening is lost, what it misses may lie before.
                self._progress.stand(message, -1)
            if (
                block is not None
                and block.stood is None
                and isinstance(event, BlockOpened)
                and not block.exists
            ):
                self._progress.stand(block, -1)
        if verdict.kind == "held":
            assert message is not None and block is not None and event.seq is not None
            if len(block.held) > held_before:
                block.cool()
                stages.reducer.expect(session, message, block)
            return verdict
        if verdict.kind not in ("accepted", "late"):
            if block is not None and verdict is verdicts.UNPLACEABLE:
                stages.coalescer.touch(block)
            _discard(session, message, block)
            return verdict
        return self._apply(event, session, message, block, verdict, at)

    def _note_holes(self, session: SessionRow, seq: int | None) -> None:
        self._progress.note_holes(session, seq)
        self._stages.coalescer.touch(session)

    def _apply(
        self,
        event: Event,
        session: SessionRow,
        message: MessageRow | None,
        block: BlockRow | None,
        verdict: Verdict,
        at: int,
    ) -> Verdict:
        stages = self._stages
        if message is None and isinstance(event, _TURNS):
            stages.coalescer.observe(event, session, None)
            return verdict
        keys: list[PartKey] = []
        if isinstance(event, SessionRemoved):
            keys = [row.key for m in session.messages.values() for row in m.blocks.values()]
        verdict = stages.reducer.apply(
            self._mode, event, session, message, block, verdict, at, self._local
        )
        if block is None:
            if verdict.kind not in ("accepted", "late"):
                return verdict
            stages.coalescer.observe(event, session, message)
            member = _OWN_MEMBERS.get(type(event))
            if member is not None:
                epoch = session.own_epochs[member] = stages.coalescer.epoch
                if isinstance(event, RequestAsked) and event.request_id in getattr(session, member):
                    # Of each request for itself: a read that began before says nothing of it.
                    session.own_epochs[f"{member} {event.request_id}"] = epoch
                elif isinstance(event, RequestAnswered):
                    session.own_epochs.pop(f"{member} {event.request_id}", None)
            if isinstance(event, MessageRollback):
                _discard(session, message, None)
            elif isinstance(event, MessageClosed | MessageRemoved | SessionRemoved):
                self._sweep()
                if isinstance(event, SessionRemoved):
                    stages.note_removed(session)
                    for stream in stages.streams:
                        for key in keys:
                            stream._touched.pop(key, None)
            return verdict
        if self._mode == "block" and (
            block.held or block.close_seq > block.mark or block.key in stages.positions.blocks
        ):
            for held in stages.gate.drain(block):
                outcome = stages.reducer.apply(
                    self._mode, held, session, message, block, ACCEPTED, NOWHERE, self._local
                )
                if outcome.kind == "refused":
                    stages.counts.characters["superseded"] += verdicts.text_length(held)
            self._progress.note_close(block)
        alone = self._mode == "none" or (event.seq is None and self._mode != "block")
        self._warm(block, alone)
        return verdict

    def _sweep(self) -> None:
        """Parts that the end of the stream cannot cut any more go, whoever ended them."""
        self._touched = {
            key: row
            for key, row in self._touched.items()
            if row.exists and row.message.closed_as == "open"
        }
        self._sweep_at = 2 * len(self._touched) + 64

    def _warm(self, block: BlockRow, alone: bool = False) -> None:
        """Let the hot path have a block that is in its simple state.

        `alone`: what came has no seq, so that the end of the stream may cut the block.
        """
        message = block.message
        if block.closed or not block.exists or message.closed_as != "open":
            self._touched.pop(block.key, None)
        elif alone and not self._local and block.mark < 0:
            self._touched[block.key] = block
            if len(self._touched) > self._sweep_at:
                self._sweep()
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
        message.session.woken[block] = None
        hot = self._hot
        if any(other.counts is not hot.counts for other in block.hots):
            block.cool()  # deltas with a seq and deltas without one do not wait side by side
        if hot.get(block.key) is not block:
            hot[block.key] = block
            block.hots.append(hot)

    # -- generations and snapshots -------------------------------------------------------------

    def _opened(self, event: StreamOpened) -> Verdict:
        stages = self._stages
        if event.session_id is not None and self._session_id not in (None, event.session_id):
            return verdicts.FOREIGN
        if event.generation is not None:
            if self._of_generation(event.session_id, event.generation)[1]:
                return verdicts.STALE_GENERATION
        self.epoch = stages.last_opened = stages.coalescer.new_epoch()
        if event.sequencing is not None:
            self._set_mode(cast(Sequencing, event.sequencing))
        if event.generation is not None:
            self._open_generation(event.session_id, event.generation)
        return ACCEPTED

    def _of_generation(
        self, session_id: str | None, generation: str
    ) -> tuple[list[SessionRow], bool]:
        """The sessions whose counter a generation would change, and whether it is a stale one."""
        stages = self._stages
        scope = session_id or self._session_id
        if scope is not None:
            sessions = [stages.session_row(scope)]
        else:
            # A session that another open stream was opened for has that stream's counter.
            others = {other._session_id for other in stages.streams if other is not self}
            sessions = [row for row in stages.sessions.values() if row.id not in others]
        known = [session for session in sessions if generation in session.generations]
        current = [session for session in sessions if session.generation == generation]
        stale = bool(sessions) and len(known) == len(sessions) and len(current) < len(sessions)
        return sessions, stale

    def _open_generation(self, session_id: str | None, generation: str) -> None:
        stages = self._stages
        sessions, stale = self._of_generation(session_id, generation)
        if stale:
            return
        if (session_id or self._session_id) is None:
            stages.generation = generation
        for session in sessions:
            if generation not in session.generations:
                stages.restart(session, generation, self)

    def _snapshot(self, event: Snapshot, session: SessionRow) -> Verdict:
        stages = self._stages
        messages = read_messages(event)
        if session.gone and self._mode == "block":
            return verdicts.REMOVED
        default = stages.last_opened if self._local else self.epoch
        epoch, top = stages.read_from(event.read_from, default)
        if event.generation is not None and event.generation != session.generation:
            if event.generation in session.generations:
                return verdicts.STALE_GENERATION
            stages.restart(session, event.generation, self)
        positioned = self._mode in ("session", "sparse") and event.seq is not None
        if positioned and event.complete and event.before is None and event.read_from is not None:
            assert event.seq is not None
            if event.seq < top:
                # The read began after `top` was received: the server's counter started again.
                stages.restart(session, f"reset-{len(session.generations) + 1}", self)
        if positioned and event.seq is not None and event.seq < session.fetched_at:
            return DUPLICATE  # a newer one says everything
        for message in session.messages.values():
            for block in message.blocks.values():
                stages.coalescer.settle(block)
        if not positioned and session.removed_now:
            if stages.coalescer.touched_since(session, epoch):
                return verdicts.REMOVED  # during the read
        steps = plan(event, messages, session, self._mode, stages.coalescer.touched_since, epoch)
        # A removal during the read is newer than what was read, whatever position that has.
        removed = session.gone and stages.coalescer.touched_since(session, epoch)
        stages.coalescer.touch(session)
        if not (positioned and removed):
            self._own_state(event, session, epoch, positioned)
        for step in steps:
            self._step(step, session, epoch)
        if positioned:
            self._cover(event, session)
        stages.resync.pop(session.id, None)
        return ACCEPTED

    def _step(self, step: Any, session: SessionRow, epoch: int) -> None:
        stages = self._stages
        event = step.event
        if step.counted:
            stages.counts.text(event, self._route(event, session))
            return
        message = stages.reducer.message_row(session, event.message_id)
        if event.seq is not None and self._mode in ("session", "sparse"):
            message.mark = max(message.mark, event.seq)
            if isinstance(event, MessageUpdated):
                stages.reducer.reopen(message, event.seq)
        block = None
        if isinstance(event, BlockEvent):
            block = stages.reducer.block_row(message, event.block_index)
        if isinstance(event, BlockSnapshot):
            assert block is not None and event.seq is not None
            if event.seq <= max(block.snapshot_seq, block.removed, message.removed):
                return
            block.snapshot_seq = event.seq
            block.known_from(event.seq)
        touched = [(row, row.touched) for row in (message, block) if row is not None]
        # What a snapshot brings was received outside the events; it counts as accepted.
        verdict = stages.reducer.apply(
            self._mode, event, session, message, block, ACCEPTED, NOWHERE
        )
        stages.counts.text(event, ACCEPTED if verdict.kind == "held" else verdict)
        if verdict.kind == "refused":
            return
        stages.coalescer.observe(event, session, message)
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
        stages = self._stages
        seq = event.seq if positioned else None
        if seq is not None:
            stages.reducer.session_full(session, seq)
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
                    stages.coalescer.release(session)
        for name, fetched in (("permissions", event.permissions), ("questions", event.questions)):
            if fetched is not None:
                asked = {
                    request_id
                    for request_id in getattr(session, name)
                    if newer.get(f"{name} {request_id}", 0) >= epoch
                }
                stages.reducer.merge_requests(session, name, fetched, asked, seq)

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
            row.known_from(seq)
        if event.complete and event.before is None:
            session.fetched_at = max(session.fetched_at, seq)
            session.mark = max(session.mark, seq)
            if self._mode == "session":
                intervals = session.intervals
                intervals.cover(seq, intervals.starts[0] if intervals.starts else seq)
                rise(session, MAX_NUMBER)  # a read has no place among the events
                if intervals.starts[1:]:
                    self._note_holes(session, None)


def _discard(session: SessionRow, message: MessageRow | None, block: BlockRow | None) -> None:
    """Rows made for an event that the gate did not let in are not kept."""
    if block is not None and block.virgin:
        block.message.blocks.pop(block.key.block_index, None)
    if message is not None and message.virgin:
        session.messages.pop(message.key.message_id, None)
