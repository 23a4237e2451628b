"""`Stream`: one connection or response, and how its bytes become events.

    bytes -> frames -> adapter -> events -> `Ingress`

A stream has its own parser, adapter and position. A live delta takes the short way through
`Stream.ingest`: one lookup, one comparison, one append. What becomes of events it leaves to its
`Ingress`; tables, subscribers and ticks it may not know: the stages' three calls of the store are
for work that waits and for the end of a feed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Literal, NoReturn, TypeAlias

from . import verdicts
from .adapters.base import Adapter, Context, DeltaShape
from .decoding import decode_json, nests_over
from .doors import Ingest, IngestMany
from .errors import (
    CallerError,
    MalformedEvent,
    MissingExtra,
    ProtocolStopped,
    RepeatedEvent,
    UnknownEvent,
    UnknownProtocol,
)
from .framing import as_bytes, begins_field, framing_of, line_end
from .hotpath import door
from .ingress import Ingress, malformed
from .jsonlines import JsonLinesParser
from .keys import MessageKey, PartKey
from .model import Sequencing, thaw
from .plainpath import plain_door
from .positions import Entry, Position
from .protocols import adapters, detect, is_own, needs_events
from .rows import HotTable
from .runs import RUN_BYTES, scan_run, split_run
from .sse import EventStreamParser, SseLimits
from .stages import Stages
from .verdicts import ACCEPTED, DUPLICATE, Verdict

Policy: TypeAlias = Literal["lenient", "strict"]

# How much may come before a line that tells an event stream from JSON lines, and how much of a
# line tells.
_LEAD_BYTES = 65_536
_TELLING_BYTES = 256
_BOM = b"\xef\xbb\xbf"


class Stream:
    """One connection or response on a store: bytes, wire objects or nothing more.

    Made by `StreamStore.open`. After a drop `end()` it and open a new one: the marks stay in the
    store, so that what is sent again changes nothing.

    Attributes:
        ingest: `ingest(wire) -> Verdict` takes in one wire object (decoded JSON) and says what
            became of it. A delta that comes in order costs a lookup, a comparison and an
            append, whatever the length of its text and the size of the store. Commits nothing
            with `ticks=None`. What is no event is a verdict; a stream that has ended raises
            `CallerError`, one that `auto` does not recognise `UnknownProtocol`, as `feed` does.
        position: where this stream can be resumed.
        protocol: the protocol's name, None until `auto` has recognised it.
        ended: whether it has ended.
        on_end: called when it has ended, by whomever: the store's `close` ends it, too.
        unfetched: asked when the store is saved while it is open: the sessions whose state before
            it is still to be fetched, and why. Notes of the saved state (`health.resync`).
    """

    __slots__ = (
        "__weakref__", "_adapter", "_asked", "_feeding", "_framer", "_ingress", "_lead", "_lead_at",
        "_left", "_memory", "_moved", "_name", "_named", "_policy", "_progress", "_rest",
        "_sentinels", "_shape", "_stages", "_take_many", "_undetected", "_wrapped", "ended",
        "ingest", "on_end", "unfetched",
    )  # fmt: skip

    def __init__(
        self,
        stages: Stages,
        adapter: type[Adapter] | None,
        session_id: str | None,
        sequencing: Sequencing | None,
        policy: Policy,
        *,
        memory: dict[str, Any] | None = None,
        moved: Callable[[Ingest], None] | None = None,
        left: Callable[[Stream], None],
    ) -> None:
        """`moved` is told of each function that is `ingest` from then on, `left` of its end."""
        self._stages = stages
        self._asked: Sequencing | None = sequencing
        self._policy = policy
        self._framer: EventStreamParser | JsonLinesParser | None = None
        self._lead = bytearray()
        self._lead_at = 0
        self._rest = b""
        self._feeding = False
        self._name: str | None = None
        self._undetected: list[tuple[Any, str | None]] = []
        self.ended = False
        self.on_end: Callable[[], None] | None = None
        self.unfetched: Callable[[], Mapping[str, str]] | None = None
        self._ingress = Ingress(stages, session_id, sequencing or "sparse")
        self._ingress.switched = self._make_doors
        self._ingress.malformed = self._malformed
        self._progress = self._ingress.progress
        self._progress.whose = (None, session_id)
        self._memory: dict[str, Any] = {} if memory is None else memory
        self._moved = moved
        self._left = left
        self._adapter: Adapter | None = None
        self._shape: DeltaShape | None = None
        self._named = False
        self._wrapped = False
        self._sentinels: frozenset[str] = frozenset()
        self._lead_in(self._ingest_undetected, self._ingest_each)
        if adapter is not None:
            self._adopt(adapter)
        stages.streams[self._ingress] = None

    def _adopt(self, cls: type[Adapter]) -> None:
        declared = cls.declaration
        ingress = self._ingress
        self._adapter = cls(
            Context(
                session_id=ingress.default_session,
                bound=ingress.session_id is not None,
                limits=self._stages.limits,
                strict=self._policy == "strict",
                new_id=self._stages.new_id,
                own=self._memory,
                shared=self._stages.memory.setdefault(declared.name, {}),
            )
        )
        self._named = declared.event_names
        self._sentinels = frozenset(declared.sentinels)
        self._shape = cls.delta
        ingress.restarted = getattr(self._adapter, "restarted", _ignored)
        for session_id in ingress.anew:
            ingress.restarted(session_id)
        ingress.anew.clear()
        ingress.checked = not is_own(cls)
        ingress.unique = declared.ids_unique
        ingress.ordered = declared.ids_ordered
        ingress.numbered = self._shape is None or bool(self._shape.seq)
        self._progress.whose = (declared.name, ingress.session_id)
        self._stages.positions.forget_speaker()
        ingress.switch(self._asked or declared.sequencing)

    def _make_doors(self) -> None:
        stages, ingress = self._stages, self._ingress
        assert self._adapter is not None
        ways: dict[str, Any] = {
            "hot": ingress.hot,
            "wake": self._progress.waking(ingress.mode, stages.wake),
            "merge": stages.coalescer.merge,
            "slow": self._slow_way(ingress.hot),
        }
        if self._shape is not None:
            more: tuple[DeltaShape, ...] = getattr(self._adapter, "more_deltas", ())
            made = door((self._shape, *more), ingress.mode, wrapped=self._wrapped, **ways)
        else:
            made = plain_door(self._adapter, ingress.mode, **ways)
        self._lead_in(made.ingest, made.ingest_many)
        self._progress.count_by(made.taken)

    def _lead_in(self, ingest: Ingest, take_many: IngestMany) -> None:
        self.ingest, self._take_many = ingest, take_many
        if self._moved is not None:
            self._moved(ingest)

    def _slow_way(self, hot: HotTable) -> Ingest:
        """The long way of a short one, which leads to the newest short one once that is another."""

        def slow(wire: Any) -> Verdict:
            return self._ingest_slowly(wire) if hot is self._ingress.hot else self.ingest(wire)

        return slow

    def __repr__(self) -> str:
        return f"<Stream {self.protocol or 'auto'}, {self.received} events>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a stream cannot be copied or pickled: save() its store, and open another")

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
        return self._ingress.mode

    @property
    def position(self) -> Position:
        """The last position before the first missing operation, or the last one taken in."""
        return self._progress.position

    @property
    def session_ids(self) -> tuple[str, ...]:
        """The sessions that it brought something of, and those of a saved stream that it goes on
        from; none when it has ended."""
        return tuple(self._ingress.sessions)

    @property
    def unfinished(self) -> PartKey | MessageKey | None:
        """A part that its end now would cut, or a message that has not ended; None for neither.

        A message counts where the protocol ends each by an event (`Adapter.unfinished`). None also
        where a whole last line waits for the end, which may be what ends them.
        """
        if isinstance(self._framer, JsonLinesParser):
            if any(self._can_read(line) for line in copy.deepcopy(self._framer).end()):
                return None
        message_of: Callable[[], MessageKey | None] | None
        message_of = getattr(self._adapter, "unfinished", None)
        part = self._ingress.unfinished
        message = message_of() if part is None and message_of is not None else None
        return message if message is not None and self._ingress.is_open(message) else part

    @property
    def half_event(self) -> bool:
        """Whether an event with data has begun that its end now would not take in.

        Costs what is held of it.
        """
        framer = copy.deepcopy(self._framer)
        if framer is None or self.ended:
            return False
        if isinstance(framer, JsonLinesParser):
            return not all(self._can_read(line) for line in framer.end())
        skipped = framer.skipped
        data = [frame.data for frame in framer.feed(self._rest + b"\n\n")]
        return framer.skipped > skipped or any(
            text and text not in self._sentinels for text in data
        )

    def _can_read(self, line: bytes) -> bool:
        try:
            decode_json(line, self._stages.loads)
        except MalformedEvent:
            return False
        return True

    def _go_on_from(self, entry: Mapping[str, Any]) -> None:
        """Go on where another stream stood: a saved one, or one whose connection ended."""
        if not entry["ended"]:
            self._ingress.go_on_from(entry)
            if entry["stopped"]:
                self._stop()

    # -- input -------------------------------------------------------------------------------

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take in bytes of an event stream or of JSON lines, cut anywhere.

        Which of the two it is shows in the first line that belongs to one. What cannot be read
        is a counted verdict. With `ticks=None` the end of each feed is a tick.

        Raises:
            CallerError: the stream has ended, or these are no bytes.
            UnknownProtocol: `auto` recognised nothing in `Limits.undetected_events` events.
        """
        if type(data) is not bytes:
            data = as_bytes(data)
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

    def feed_threadsafe(self, data: bytes | bytearray | memoryview) -> None:
        """Take in bytes from any thread: they wait, in order, for the store's owner.

        The owner's loop takes them in soon where the store's ticks know one: with
        `ticks="asyncio"` the one that ran when the store was made, opened a stream, was
        subscribed to or first took something in. A store that did all of that outside a running
        loop knows none, and neither does one without such ticks: what waits is taken in at the
        owner's next `feed`, `ingest_many`, `flush` or `end`, or by the next tick.

        Objects have no such door: send them as JSON lines, or let the loop call `ingest`. A
        thread that is done lets the owner call `end`, which takes in first what waits:
        `loop.call_soon_threadsafe(stream.end)`.

        Raises:
            CallerError: the stream has ended, or these are no bytes.
            InboxFull: more than `Limits.inbox_bytes` would wait; these bytes were not taken.
        """
        self._open_only()
        self._stages.inbox.post(self, as_bytes(data))

    def ingest_many(self, wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        """Take in wire objects; those that were not plainly accepted, with their place.

        With `ticks=None` its end is a tick.

        Raises:
            CallerError: the stream has ended, or this is one object, text or bytes: no list.
            UnknownProtocol: `auto` recognised nothing in `Limits.undetected_events` events.
        """
        if isinstance(wires, dict | str | bytes):  # its keys, characters or numbers are no events
            raise CallerError(
                f"ingest_many takes a list of wire objects, not {type(wires).__name__}: give one "
                "to ingest, bytes to feed"
            )
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
        self._end(followed=False)

    def _end(self, *, followed: bool) -> None:
        """End it; `followed`: by the stream that is opened next, for which it leaves its place."""
        self._stages.inbox.drain()
        if self.ended:
            return
        if self._lead:
            if begins_field(bytes(self._lead[self._lead_at :])):
                del self._lead[self._lead_at :]  # half an event is none, wherever it was cut
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
        if not self.ended:  # whoever saw the last line may have ended it
            self._note_undetected()
            self._leave(followed)
        self._stages.fed()

    def _note_undetected(self) -> None:
        for wire, _ in self._undetected:
            kind = wire.get("type") if isinstance(wire, dict) else None
            reason = kind[:80] if isinstance(kind, str) else "(no type)"
            self._stages.counts.add(Verdict("unknown", reason))
        self._undetected = []

    def _leave(self, followed: bool) -> None:
        self.ended = True
        stages, ingress = self._stages, self._ingress
        ingress.leave()
        entry = self._entry()
        entry["ended"], entry["memory"], entry["streaming"] = True, {}, []
        stages.positions.leave(self._progress, entry, followed)
        ingress.sessions.clear()
        stages.streams.pop(ingress, None)
        self._left(self)
        stages.forget_memory(ingress.default_session)
        tell = self.on_end  # looked at once: another thread may take it away meanwhile
        if tell is not None:
            tell()

    def _entry(self) -> Entry:
        """What a saved state holds of the stream: where it stands, and what it goes on with."""
        return {
            "protocol": self._progress.whose[0],
            "sessionId": self._ingress.session_id,
            "sequencing": None if self._adapter is None else self._ingress.mode,
            **self._progress.saved(),
            "epoch": self._ingress.epoch,
            "sessions": list(self._ingress.sessions),
            "streaming": self._ingress.streaming,
            "memory": thaw(self._memory),
            "stopped": self._ingress.stopped,
            "default": self._moved is not None,
            "ended": False,
        }

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
        return malformed(error)

    def _stop(self) -> None:
        """Take nothing more in: the official client would not either."""
        self._ingress.stopped = True
        self._lead_in(self._ingest_slowly, self._ingest_each)
        self._ingress.cool()

    def _ingest_undetected(self, wire: Any) -> Verdict:
        # Whoever kept this function from before the protocol was known goes the short way, too.
        return self._ingest_slowly(wire) if self._adapter is None else self.ingest(wire)

    def _ingest_slowly(self, wire: Any) -> Verdict:
        self._open_only()
        if isinstance(wire, tuple):
            wire = list(wire)  # what a program got with its parts in a tuple is an array on a wire
        if self._adapter is None:
            if self._ingress.stopped:
                self._stages.counts.add(verdicts.STOPPED)
                return verdicts.STOPPED
            return self._detect(wire)
        shape = self._shape
        if shape is not None and shape.envelope and not self._wrapped and isinstance(wire, dict):
            if shape.envelope in wire and "type" not in wire:
                self._wrapped = True
                self._ingress.switch(self._ingress.mode)
        self._progress.begin()
        verdict = self._judge(wire)
        self._stages.counts.add(verdict)
        self._progress.done(verdict is DUPLICATE)
        self._stages.woke()
        if verdict.kind == "refused" and verdict.reason == verdicts.MISSING_EXTRA:
            self._stages.lacks(verdict.detail)  # whoever feeds bytes sees no verdict
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
                raise UnknownProtocol(
                    f"no protocol recognised: the first event {_looks(seen)}; "
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
        if self._ingress.stopped:
            return verdicts.STOPPED
        assert self._adapter is not None
        if nests_over(wire, self._stages.limits.nesting):
            return self._malformed(MalformedEvent("", "nests too deep"))
        try:
            events = self._adapter.decode(wire)
        except MalformedEvent as error:
            return self._malformed(error)
        except UnknownEvent as error:
            if error.seq is not None:
                self._ingress.pass_over(error.seq, error.session_id, error.generation)
            return Verdict("unknown", error.type[:80])
        except RepeatedEvent:
            return DUPLICATE
        except MissingExtra as error:
            stages = self._stages
            stages.ask_resync(error.session_id or self._ingress.default_session, str(error))
            return Verdict("refused", verdicts.MISSING_EXTRA, str(error))
        except ProtocolStopped as error:
            self._stop()
            return Verdict("refused", "stopped", str(error))
        if self._ingress.checked:
            needs_events(self._adapter, events)
        if not events:
            return ACCEPTED
        return self._ingress.take(events)


def _looks(wire: Any) -> str:
    """What a wire object looks like, for a message: what a stream says is escaped and cut."""
    if isinstance(wire, dict):
        kind = wire.get("type")
        if isinstance(kind, str):
            return f"has the type {_shown(kind)}"
        names = ", ".join(map(_shown, islice(wire, 4))) + (", ..." if len(wire) > 4 else "")
        return f"has no type but the members {_cut(names, 80)}" if wire else "is empty"
    name = _cut(type(wire).__name__, 80)
    if wire is None or isinstance(wire, list | str | int | float):
        return f"is no object but of the type {name}"
    return f"is an object of the class {name}: give decoded JSON (of a model its model_dump())"


def _ignored(session_id: str) -> None:
    """What an adapter does that remembers no numbers where a session's counter starts again."""


def _shown(text: Any) -> str:
    return _cut(repr(text[:80]), 80) if isinstance(text, str) else type(text).__name__


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
