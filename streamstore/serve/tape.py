"""A recorded log as something to play from any position: frames, ids, times.

A SQLite log of this library is read as it is, by its own index. Everything else is copied into a
temporary one when it is opened, once, so that any number of clients can read it at any place
without it being in memory. Positions count from 1. Knows logs, frames and declarations; no
client, no clock, and of what events say only what `stream.opened` declares.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from ..adapters.base import Adapter, Declaration
from ..decoding import decode_json
from ..errors import CallerError, LimitError, MalformedEvent
from ..feeding import ARRAY, arriving, connections, fetched, says_array, takes_any
from ..log import LogReader, LogWriter, Loss, Record, open_log, read_log
from ..log.opening import is_sqlite
from ..logs import NO_EVENTS, STEP_MS, Log, UnreadableLog
from ..model import SEQUENCINGS, Sequencing
from ..protocols import adapter_named, detect
from ..sight import Sight
from ..sse import EventStreamParser
from .faults import adds_up
from .numbers import Numbered, Numbers

#: Told once of each place where a log is damaged.
Tell = Callable[[str], object]

#: So many events are looked at to tell the protocol, and whether events have ids.
_LOOK = 1_000
#: Protocols whose streams have event-stream ids, or do well with them: where a log has none, the
#: position of an event is its id. OpenAI's and opencode's (V2) resume by their own numbers.
_BY_ID = frozenset(("native", "ekacode", "vellum", "vellum-v2", "t3code", "langchain"))
#: A longer rest behind the last event is none that was half sent.
_TAIL_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_UNKNOWN = Declaration(name="unknown", sequencing="none")


class Taped(NamedTuple):
    """One event of a tape."""

    position: int
    """From 1."""
    at_ms: float
    """When it came; never falls, and where it starts means nothing."""
    event_id: str
    """Its id, its own or its position; "" where this log is served without."""
    body: bytes
    """Its frame without an id, with the blank line behind it."""
    connection: int = 0
    """Which connection brought it when it was recorded."""

    def wire(self) -> Any:
        """The JSON value of its data; None where it is none. Costs a parse."""
        return wire_of(self.body)


def wire_of(body: bytes) -> Any:
    """The JSON value that a frame carries, None where it is none."""
    for frame in EventStreamParser().feed(body):
        try:
            return decode_json(frame.data)
        except MalformedEvent:
            return None
    return None


class Tape:
    """A log to play; made by `open_tape`, closed by `close`.

    Attributes:
        name: of the log, for messages.
        declaration: of its protocol.
        sequencing: what its first event declares, else what the protocol says.
        by_id: whether its events are served with ids.
        adds_up: whether it is native, and repetitions of some of its events would show.
        states: states that were fetched beside it, each with the position behind which it holds.
        tail: bytes behind the last event that are none, such as one without its blank line.
    """

    def __init__(
        self,
        name: str,
        reader: LogReader,
        folder: str | None,
        protocol: str,
        states: Sequence[tuple[int, Any]],
        tell: Tell,
        tail: bytes = b"",
    ) -> None:
        self.name = name
        self.tail = tail
        self.states = tuple(states)
        self._reader = reader
        self._folder = folder  # of the copy, whose payloads are whole frames
        self._told: set[str] = set()
        self._tell = tell
        self._openings: list[tuple[int, bytes]] = []
        self._looked = 0  # up to which position for openings
        self._own_ids = False
        self.adds_up = False
        number = 0
        found: Declaration | None = None
        if protocol != "auto":
            found = adapter_named(protocol).declaration
        for number, record in enumerate(self._records(0), start=1):
            if number <= _LOOK:
                self._own_ids = self._own_ids or bool(record.event_id)
                found = found or _recognised(self._body(record))
            elif found is None or (found.name != "native" and folder is None):
                break
            self._looked = record.position
            if not self._declares(record) and not self.adds_up and b'"session.' in record.data:
                self.adds_up = adds_up(wire_of(self._body(record)))
        if not number:
            raise UnreadableLog(name, NO_EVENTS)
        self.declaration = found or _UNKNOWN
        if self.declaration.name != "native":
            self._openings.clear()
        self.by_id = self._own_ids or self.declaration.name in _BY_ID
        self.sequencing: Sequencing = self.declaration.sequencing
        for _, body in self._openings[:1]:
            wire = wire_of(body)
            said = wire.get("sequencing") if isinstance(wire, dict) else None
            if said in SEQUENCINGS:
                self.sequencing = said
        self._numbers = Numbers(
            self.declaration.name,
            lambda after: (
                Numbered(event.position, event.body, event.wire) for event in self.events(after)
            ),
        )

    def events(self, after: int = 0) -> Iterator[Taped]:
        """The events behind a position; a page of them is in memory."""
        at = 0.0
        known = False
        for record in self._records(after):
            if record.time_ms is not None:
                at = max(at, record.time_ms)
                known = True
            elif known or record.position > 1:
                at += STEP_MS
            event_id = ""
            if self.by_id:
                event_id = record.event_id if self._own_ids else str(record.position)
                if "\n" in event_id or "\r" in event_id:
                    event_id = ""  # the framing cannot say it
            body = self._body(record)
            yield Taped(record.position, at, event_id, body, record.connection)

    def after(self, event_id: str) -> int | None:
        """The position of the event with this id; None where none has it. By the index."""
        if not self.by_id:
            return None
        if self._own_ids:
            return self._reader.position_of(event_id)
        if not event_id.isascii() or not event_id.isdecimal() or len(event_id) > 18:
            return None
        position = int(event_id)
        found = next(self._records(position - 1), None) if position else None
        return None if found is None or found.position != position else position

    def after_number(self, number: int) -> int:
        """The position of who has the events up to a number of the protocol's own.

        Numbers only grow: whoever has them up to this one has what carries none before it. Cost:
        see `Numbers.after`.
        """
        return self._numbers.after(number)

    def opening(self, position: int) -> bytes:
        """What a native stream last declared of itself up to a position, as a frame; b"" before.

        What was appended to the log since it was opened is looked through, once.
        """
        if self.declaration.name == "native":
            for record in self._records(self._looked) if position > self._looked else ():
                if record.position > position:
                    break
                self._looked = record.position
                self._declares(record)
        place = bisect_right(self._openings, position, key=lambda opening: opening[0])
        return self._openings[place - 1][1] if place else b""

    def tell_once(self, said: str) -> None:
        """Say what is wrong with the log, unless it was said before."""
        if said not in self._told:
            self._told.add(said)
            self._tell(said)

    def close(self) -> None:
        """Let go of the log, and of its copy; again does nothing."""
        self._reader.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _declares(self, record: Record) -> bool:
        """Keep what a stream declares of itself: it holds for who joins it later, too."""
        if b'"stream.opened"' not in record.data:
            return False
        wire = wire_of(body := self._body(record))
        # Others may have the words in what they carry: a tool's input, say.
        declares = isinstance(wire, dict) and wire.get("type") == "stream.opened"
        if declares:
            self._openings.append((record.position, body))
        return declares

    def _body(self, record: Record) -> bytes:
        return record.data if self._folder is not None else record._replace(event_id="").frame()

    def _records(self, after: int) -> Iterator[Record]:
        return self._reader.read(after, self._lost)

    def _lost(self, loss: Loss) -> None:
        self.tell_once(f"{self.name}: {loss}")


def open_tape(
    names: Sequence[str | os.PathLike[str]], protocol: str = "auto", tell: Tell = lambda said: None
) -> Tape:
    """Open a log, or the logs and fetched states of one recording in their order.

    `tell` hears of damage, of events that are too long to be sent or for the store of who follows
    them, and where the events are none of the protocol that was named. Copying costs one pass over
    the log, and its size on the disk.

    Raises:
        UnreadableLog: it cannot be read, or holds no event.
        UnknownProtocol: no protocol has that name.
        CallerError: a fetched state is given for a log of another protocol than opencode.
        LogError: there is no room for the copy, or the log is damaged beyond reading.
    """
    if protocol != "auto":
        adapter_named(protocol)
    paths = [os.fspath(name) for name in names]
    logs = [path for path in paths if not Log(path).is_state]
    tape: Tape | None = None
    if len(logs) == 1 and is_sqlite(logs[0]):
        tape = _as_it_is(logs[0], paths, protocol, tell)
    if tape is None:
        tape = _copied(paths, protocol, tell)
    if tape.states and tape.declaration.name != "opencode":
        tape.close()
        raise CallerError(
            f"{tape.name}: fetched states (*.json) are served beside opencode logs alone"
        )
    if protocol != "auto":
        _tell_of_another(tape, protocol, tell)
    return tape


def _tell_of_another(tape: Tape, protocol: str, tell: Tell) -> None:
    """Where a log is not of the protocol that was named: it is served, but not as what it is."""
    named = adapter_named(protocol)
    other, number = None, 0
    for event in islice(tape.events(), _LOOK):
        number += 1
        if _recognised(event.body, lambda wire: named if named.detects(wire) else None):
            return
        other = other or _recognised(event.body)
    if other is not None:
        said = f"its events look like those of {other.name}"
    elif takes_any(protocol, (event.body for event in islice(tape.events(), number))):
        return  # what is of a protocol need not show it
    else:
        said = f"none of its first events ({number}) is one that {protocol} knows"
    tell(f"{tape.name}: {said}; it is served as a log of {protocol} all the same")


def _as_it_is(name: str, paths: Sequence[str], protocol: str, tell: Tell) -> Tape | None:
    """A tape of the log itself; None where its times are none, from any position, to play by.

    The clock was put back while it was recorded, say: only from the beginning can be told when
    what comes behind that is due.
    """
    from ..log.sqlite import SqliteReader

    place = paths.index(name)
    before = [(0, fetched(Log(path))) for path in paths[:place]]
    after = [fetched(Log(path)) for path in paths[place + 1 :]]
    try:
        reader = read_log(name)
    except OSError as error:
        raise UnreadableLog(name, error.strerror or str(error)) from error
    try:
        if isinstance(reader, SqliteReader) and not reader.tells_times():
            reader.close()
            return None
        states = before + [(_last(reader), state) for state in after]
        return Tape(name, reader, None, protocol, states, tell)
    except BaseException:
        reader.close()
        raise


def _copied(paths: Sequence[str], protocol: str, tell: Tell) -> Tape:
    recording = connections(paths, tell)
    states: list[tuple[int, Any]] = []
    folder = tempfile.mkdtemp(prefix="streamstore-")
    try:
        path = os.path.join(folder, "log.sqlite")
        with open_log(path) as copy:
            copying = _Copying(copy, protocol, tell)
            for connection in arriving(recording, tell):
                states += [(copy.position, fetched(state)) for state in connection.before]
                if connection.log is not None:
                    copying.take(connection.log)
                states += [(copy.position, fetched(state)) for state in connection.after]
        reader = read_log(path)
        try:
            return Tape(recording[0].name, reader, folder, protocol, states, tell, copying.tail)
        except BaseException:
            reader.close()
            raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _last(reader: LogReader) -> int:
    last = 0
    for record in reader.read(0, lambda loss: None):
        last = record.position
    return last


class _Copying:
    """Appends logs, one behind the other, as whole frames."""

    def __init__(self, copy: LogWriter, protocol: str, tell: Tell) -> None:
        self._copy = copy
        self._tell = tell
        self._named = protocol == "auto" or adapter_named(protocol).declaration.event_names
        self._connections = 0
        self._file: str | None = None  # of the last log, whose times go on in the next one
        self._last = 0.0  # in the log's own time
        self._at = 0.0  # in the copy's
        self.tail = b""

    def take(self, log: Log) -> None:
        same = log.connection is not None and log.name == self._file
        self._file = log.name
        last = self._last if same else None
        self.tail = b""
        sent = Sight()
        for number, event in enumerate(log.judged().events()):
            if not number and says_array(event):  # else clients would get it as one event
                raise UnreadableLog(log.label, ARRAY)
            if event.says is None:
                # No event, but what official clients make of it is their business.
                if len(event.data) <= _TAIL_BYTES and event.data.lstrip()[:1] not in (b"{", b"["):
                    self.tail = event.data
                break
            if last is not None and event.at >= last:
                self._at += event.at - last
            elif last is not None or self._connections:
                self._at += STEP_MS
            last = self._last = event.at
            body, event_id = _framed(event.data, event.says, self._named)
            try:
                self._copy.append(
                    body, time_ms=int(self._at), event_id=event_id, connection=self._connections
                )
            except LimitError as error:
                self._tell(f"{log.label}: an event is left out: {error}")
                continue
            if len(body) > Sight.harmless:  # else none of its lines can be too long
                sent.look(body)
        if sent.skipped:
            self._tell(f"{log.label}: {sent.too_long('sent as it is')}")
        self._connections += 1


def _framed(data: bytes, says: bytes, named: bool) -> tuple[bytes, str]:
    """An event's frame as it was recorded but for its id, and the id."""
    data = data.removeprefix(_BOM)
    head = data.lstrip()
    if head[:1] in (b"{", b"["):
        return _line_framed(says.strip(), named), ""
    event_id = ""
    lines = data.splitlines(keepends=True)
    if any(line.startswith(b"id") for line in lines):
        parser = EventStreamParser()
        frames = parser.feed(data)
        event_id = frames[-1].id if frames else parser.last_event_id
        lines = [line for line in lines if line.rstrip(b"\r\n").partition(b":")[0] != b"id"]
    return b"".join(lines), event_id


def _line_framed(says: bytes, named: bool) -> bytes:
    if named and says.startswith((b'{"event"', b'{"data"')):
        # One with a name, as protocols that read names have it on a line.
        wire = decode_json(says)
        if isinstance(wire, dict) and wire.keys() == {"event", "data"}:
            name = wire["event"]
            if isinstance(name, str) and not set(name) & {"\r", "\n"}:
                return f"event: {name}\ndata: {json.dumps(wire['data'])}\n\n".encode()
    return b"data: " + says + b"\n\n"


def _recognised(
    body: bytes, known: Callable[[Any], type[Adapter] | None] = detect
) -> Declaration | None:
    for frame in EventStreamParser().feed(body):
        try:
            wire = decode_json(frame.data)
        except MalformedEvent:
            continue
        found = known(wire)
        if found is None:
            found = known({"event": frame.event, "data": wire})
            if found is not None and not found.declaration.event_names:
                found = None
        if found is not None:
            return found.declaration
    return None
