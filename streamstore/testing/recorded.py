"""A recorded log as a value: the wire objects of one connection, their bytes, when each came.

Knows files of logs, frames and lines, and which protocol recognises them. May not know a store:
what becomes of the objects is the business of whoever replays them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import attrs

from ..decoding import decode_json
from ..errors import CallerError, MalformedEvent, UnknownProtocol
from ..feeding import (
    ARRAY,
    BREAKS_OFF,
    Connection,
    Tell,
    breaks_off,
    connections,
    fetched,
    is_array,
)
from ..logs import NO_EVENTS, TimedEvent, UnreadableLog
from ..model import SEQUENCINGS, Sequencing
from ..protocols import adapter_named, adapters, detect
from ..sse import EventStreamParser

#: How objects look as bytes: one JSON object a line, or one frame of an event stream each.
Framing: TypeAlias = Literal["lines", "frames"]


class Unreadable(NamedTuple):
    """Stands for an event of a log whose bytes are not JSON.

    `text` is what they say, without the end of the last line.
    """

    text: str


#: Members of a wire object of a protocol that reads the names of event-stream events.
_NAMED = {"event", "data"}


@attrs.frozen
class Log:
    """What one connection brought, in order of arrival; immutable.

    Make one with `read` or `of`.

    Attributes:
        wires: the decoded JSON objects; an `Unreadable` where the bytes are not JSON.
        protocol: name of the protocol that they are of.
        sequencing: what a hole in seq means, None for what the protocol says.
        arrivals: when each came, in ms; None when nobody knows.
        pieces: the bytes of each event with their line ends, as they were recorded; () for a log
            that was made of objects.
        name: where it came from, for messages.

    >>> log = Log.of([{"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "hi"}])
    >>> len(log), log.protocol
    (1, 'native')
    >>> log.data("frames")
    b'data: {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "hi"}\\n\\n'
    """

    wires: tuple[Any, ...]
    protocol: str
    sequencing: Sequencing | None = None
    arrivals: tuple[float, ...] | None = None
    pieces: tuple[bytes, ...] = ()
    name: str = ""

    @classmethod
    def of(
        cls,
        wires: Iterable[Any],
        *,
        protocol: str = "auto",
        sequencing: Sequencing | None = None,
        arrivals: Iterable[float] | None = None,
        name: str = "",
    ) -> Log:
        """A log of wire objects, e.g. decoded JSON.

        Raises:
            UnknownProtocol: no protocol has that name, or `auto` recognises none of them.
            CallerError: as many arrivals as objects are needed; an unknown sequencing; bytes, a
                string or one object instead of several objects.
        """
        if isinstance(wires, str | bytes | bytearray | memoryview | Mapping):
            raise CallerError(
                f"Log.of takes a list of wire objects, not {type(wires).__name__}: Log.read(path) "
                "reads the bytes of a recorded one"
            )
        found = tuple(wires)
        times = None if arrivals is None else tuple(arrivals)
        if times is not None and len(times) != len(found):
            raise CallerError(f"{len(times)} arrivals do not fit {len(found)} wire objects")
        _known(sequencing)
        return cls(found, _protocol_of(found, protocol), sequencing, times, (), name)

    @classmethod
    def read(
        cls,
        *paths: str | PathLike[str],
        protocol: str = "auto",
        sequencing: Sequencing | None = None,
        connection: int | None = None,
    ) -> Log:
        """A log from a file: the bytes of an event stream, or JSON lines; gzipped or not.

        A `*.json` of one JSON value is a state that was fetched: it stands before the events of the
        log that is named behind it, or after those of the last one. `arrival_ms.json` in the log's
        folder says when its events came.

        `connection` is which one, from 1, where there are several: of several logs, or in one that
        `streamstore record` wrote.

        Raises:
            UnreadableLog: a file is not there or holds something else.
            UnknownProtocol: as `of`; says of which file.
            CallerError: there are several connections and none is named, or not so many; an unknown
                sequencing.
        """
        _known(sequencing)
        found = connections([fspath(path) for path in paths])
        if connection is None and len(found) > 1:
            raise CallerError(f"these are {len(found)} connections: name one, from connection=1 on")
        place = 1 if connection is None else connection
        if not 1 <= place <= len(found):
            raise CallerError(f"there is no connection {connection}, but {len(found)} of them")
        chosen = found[place - 1]
        if chosen.log is not None:
            chosen = attrs.evolve(chosen, log=chosen.log.judged())
        if protocol != "auto":
            adapter_named(protocol)
        try:
            return cls.of_connection(chosen, protocol=protocol, sequencing=sequencing)
        except UnknownProtocol as error:
            if chosen.log is not None and is_array(chosen.log):
                raise UnreadableLog(chosen.name, ARRAY) from None
            raise UnknownProtocol(f"{chosen.name}: {error}") from None

    @classmethod
    def of_connection(
        cls,
        connection: Connection,
        *,
        protocol: str = "auto",
        sequencing: Sequencing | None = None,
        tell: Tell | None = None,
    ) -> Log:
        """A log from the files of one connection; as `read`.

        `tell` gets a line where its last event is cut off.
        """
        return _read(connection, protocol, sequencing, tell)

    def __len__(self) -> int:
        return len(self.wires)

    def data(self, framing: Framing | None = None) -> bytes:
        """Its bytes as recorded, or in another framing; a log of objects is JSON lines.

        Raises:
            CallerError: there is no such framing.
        """
        return b"".join(self.cut(framing))

    def cut(self, framing: Framing | None = None) -> tuple[bytes, ...]:
        """The bytes of each event, with its line ends; as `data`."""
        if framing is None and self.pieces:
            return self.pieces
        if framing not in (None, *get_args(Framing)):
            raise CallerError(f"framing must be one of {', '.join(get_args(Framing))}")
        named = adapter_named(self.protocol).declaration.event_names
        return tuple(framed(wire, framing or "lines", named) for wire in self.wires)

    def pick(self, places: Sequence[int]) -> Log:
        """The log of some of its events, in the order given, maybe one of them twice.

        Arrivals stay where the order does.
        """
        arrivals = self.arrivals
        times = None if arrivals is None else tuple(arrivals[place] for place in places)
        if times is not None and any(a > b for a, b in itertools.pairwise(times)):
            times = None
        pieces = tuple(self.pieces[place] for place in places) if self.pieces else ()
        wires = tuple(self.wires[place] for place in places)
        return attrs.evolve(self, wires=wires, arrivals=times, pieces=pieces)


def needs_log(log: object) -> None:
    """Raise `CallerError` for what is no `Log`: a path, or a list of objects."""
    if not isinstance(log, Log):
        raise CallerError(
            f"a Log is needed, not {type(log).__name__!r:.80}: Log.read(path) reads one, "
            "Log.of(objects) makes one"
        )


def _known(sequencing: Sequencing | None) -> None:
    if sequencing is not None and sequencing not in SEQUENCINGS:
        raise CallerError(f"sequencing must be one of {', '.join(SEQUENCINGS)}")


def framed(wire: Any, framing: Framing, named: bool = False) -> bytes:
    """The bytes of one wire object on a line, or in a frame, of its own.

    `named`: the protocol reads the names of event-stream events, so that an object
    `{"event", "data"}` is a frame of that name.
    """
    if named and framing == "frames" and isinstance(wire, dict) and wire.keys() == _NAMED:
        name = wire["event"]
        if isinstance(name, str) and not set(name) & {"\r", "\n"}:
            return f"event: {name}\ndata: {json.dumps(wire['data'])}\n\n".encode()
    text = wire.text if isinstance(wire, Unreadable) else json.dumps(wire)
    if framing == "lines":
        return f"{text}\n".encode()
    return f"data: {text}\n\n".encode()


def _protocol_of(wires: Sequence[Any], asked: str) -> str:
    if asked != "auto":
        return adapter_named(asked).declaration.name
    for wire in wires:
        found = None if isinstance(wire, Unreadable) else detect(wire)
        if found is not None:
            return found.declaration.name
    raise UnknownProtocol(
        f"no protocol recognised in {len(wires)} events; name one of: {', '.join(adapters())}"
    )


def _read(
    connection: Connection, protocol: str, sequencing: Sequencing | None, tell: Tell | None = None
) -> Log:
    wires: list[Any] = []
    pieces: list[bytes] = []
    arrivals: list[float] = []
    last: TimedEvent | None = None
    for last in () if connection.log is None else connection.log.events():
        data, says, at = last
        if says is not None:  # else what is left behind the last event, e.g. half a line
            wires.append(_wire(says))
            pieces.append(data if data.endswith((b"\n", b"\r")) else data + b"\n")
            arrivals.append(at)
    if pieces and not _is_json(pieces[0]):
        protocol, wires = _with_names(wires, pieces, protocol)
    if not wires and not connection.before and not connection.after:
        raise UnreadableLog(connection.name, NO_EVENTS)
    framing: Framing = "lines" if not pieces or _is_json(pieces[0]) else "frames"
    for place, states in ((0, connection.before), (len(wires), connection.after)):
        for state in reversed(states):
            wire = fetched(state)
            wires.insert(place, wire)
            pieces.insert(place, framed(wire, framing))
            arrivals.insert(place, arrivals[min(place, len(arrivals) - 1)] if arrivals else 0.0)
    protocol = _protocol_of(wires, protocol)
    if tell is not None and breaks_off(last, protocol):
        tell(f"{connection.name}: {BREAKS_OFF}")
    return Log(
        tuple(wires),
        protocol,
        sequencing,
        tuple(arrivals),
        tuple(pieces),
        connection.name,
    )


def _with_names(wires: list[Any], pieces: Sequence[bytes], protocol: str) -> tuple[str, list[Any]]:
    """The wire objects with the names of their frames, where the protocol reads them."""
    if protocol != "auto" and not adapter_named(protocol).declaration.event_names:
        return protocol, wires
    named: list[Any] = []
    for wire, piece in zip(wires, pieces, strict=True):
        frames = EventStreamParser().feed(piece + b"\n\n")
        readable = frames and not isinstance(wire, Unreadable)
        named.append({"event": frames[0].event, "data": wire} if readable else wire)
    if protocol != "auto":
        return protocol, named
    for wire, with_name in zip(wires, named, strict=True):
        if isinstance(wire, Unreadable):
            continue
        # As a stream does: the name may be what tells it, and belongs to all once one is known.
        found = detect(wire)
        if found is None:
            found = detect(with_name)
            if found is not None and not found.declaration.event_names:
                found = None
        if found is not None:
            known = found.declaration
            return known.name, named if known.event_names else wires
    return protocol, wires


def _wire(says: bytes) -> Any:
    try:
        return decode_json(says)
    except MalformedEvent:
        return Unreadable(says.rstrip(b"\r\n").decode("utf-8", "replace"))


def _is_json(piece: bytes) -> bool:
    return piece.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
