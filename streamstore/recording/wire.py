r"""The bytes of one connection to what is recorded of it: each event as it stood on the wire.

An event is its name, its id and its data byte for byte, also where those are no JSON or no UTF-8.
What is none is not recorded: comments (they are counted), and a last event that the connection cut
off, which no client takes in and a server that can resume sends again. Pure: bytes in, values out;
knows no log, no store and no protocol.
"""

from __future__ import annotations

from typing import NamedTuple

from ..log.writing import NAME_BYTES, PAYLOAD_BYTES
from ..sse import EventStreamParser, SseLimits

_BOM = b"\xef\xbb\xbf"


class Caught(NamedTuple):
    """One event of the wire."""

    name: str
    """Its event-stream type; "" where the server named none, or `message`."""
    event_id: str
    """Its event-stream id; "" where the one before it is still in force."""
    data: bytes
    """Its data lines, joined by LF, byte for byte."""


class Catch:
    r"""Cuts the bytes of one connection into events; make one for each connection.

    >>> catch = Catch()
    >>> catch.feed(b"id: 7\nevent: x\ndata: {\xff\n\n: hello\n\ndata: t")
    [Caught(name='x', event_id='7', data=b'{\xff')]
    >>> catch.feed(b"wo\n\n"), catch.comments
    ([Caught(name='', event_id='', data=b'two')], 1)

    Events over the bounds of a log (`PAYLOAD_BYTES`, half of it for what is not ASCII) are left
    out and counted in `skipped`. Linear in the bytes, whatever their cuts.
    """

    def __init__(self) -> None:
        # The parser reads text, and of text that is no UTF-8 it would keep replacement characters.
        # So each byte goes in as the character of that number, and comes back as the byte: what
        # the format has a meaning for is ASCII. The byte-order mark is the one exception.
        bounds = SseLimits(line=PAYLOAD_BYTES, event=PAYLOAD_BYTES, id=NAME_BYTES)
        self._parser = EventStreamParser(bounds)
        self._lead: bytes | None = b""
        self._id = ""

    @property
    def skipped(self) -> int:
        """Events that were too long to be kept."""
        return self._parser.skipped

    @property
    def comments(self) -> int:
        """Comment lines: signs of life."""
        return self._parser.comments

    @property
    def last_event_id(self) -> str:
        """The id in force, also one that came without data; "" for none."""
        return _text(self._parser.last_event_id)

    def feed(self, data: bytes) -> list[Caught]:
        """The events that these bytes complete."""
        if self._lead is not None:
            data = self._lead + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._lead = data
                return []
            self._lead = None
            data = data.removeprefix(_BOM)
        if not data.isascii():
            data = data.decode("latin-1").encode()
        found = []
        for frame in self._parser.feed(data):
            event_id = "" if frame.id == self._id else _text(frame.id)
            self._id = frame.id
            name = "" if frame.event == "message" else _text(frame.event)
            found.append(Caught(name, event_id, frame.data.encode("latin-1")))
        return found


def _text(characters: str) -> str:
    return characters.encode("latin-1").decode("utf-8", "replace")
