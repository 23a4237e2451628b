"""A stream that behaves like a network: a log's bytes in chunks, connections that drop and resume.

Knows logs and bytes; no store, no clock and no socket. What it does is what its arguments say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from random import Random

from ..errors import CallerError
from ..sse import EventStreamParser
from .recorded import Framing, Log, needs_log


class FakeStream:
    """A server that sends a log, for clients under test.

    Each `connect` is a connection, a plain iterator; iterating over the stream itself, also with
    `async for`, is one from the log's beginning. Where `drops` says so it raises
    `ConnectionResetError`, in the middle of an event; the next connection goes on where its client
    asks.

    Args:
        log: what is sent.
        chunk: bytes of each chunk; None sends one event at a time.
        seed: chunks of random lengths instead, up to `chunk` bytes (default 64).
        cuts: offsets in the bytes at which chunks end instead.
        drops: after so many events of the log the connection is lost, once each.
        resend: so many events before the resume position are sent again, as servers do.
        framing: lines or frames; None as recorded.

    Raises:
        CallerError: an argument is none of its values.

    >>> from streamstore.testing import sample
    >>> log = sample("block", seed=1)
    >>> b"".join(FakeStream(log, chunk=7)) == log.data()
    True
    """

    def __init__(
        self,
        log: Log,
        *,
        chunk: int | None = None,
        seed: int | None = None,
        cuts: Iterable[int] = (),
        drops: Iterable[int] = (),
        resend: int = 0,
        framing: Framing | None = None,
    ) -> None:
        if chunk is not None and chunk < 1:
            raise CallerError(f"chunk must be at least 1 byte, not {chunk}")
        needs_log(log)
        self._pieces = log.cut(framing)
        self._chunk = chunk
        self._random = None if seed is None else Random(seed)
        self._cuts = sorted(set(cuts))
        self._drops = sorted(set(drops))
        self._resend = resend
        self.connections = 0
        """How many connections were made."""

    def connect(self, after: int | str = 0) -> Iterator[bytes]:
        """The chunks of one connection, from behind a position on.

        `after` is a number of events of the log, or an event-stream id (as `Last-Event-ID` says).

        Raises:
            ConnectionResetError: here the connection drops.
            CallerError: no event of the log has that id.
        """
        self.connections += 1
        start = after if isinstance(after, int) else self._behind(after)
        start = max(0, start - self._resend)
        drop = next((place for place in self._drops if place > start), None)
        if drop is not None:
            self._drops.remove(drop)
        stop = len(self._pieces) if drop is None else min(drop, len(self._pieces))
        data = b"".join(self._pieces[start:stop])
        if drop is not None and stop < len(self._pieces):
            torn = self._pieces[stop]
            data += torn[: len(torn) // 2]
        skipped = sum(map(len, self._pieces[:start]))
        yield from self._chunks(data, start, stop, skipped)
        if drop is not None:
            raise ConnectionResetError(f"the connection was lost after event {stop}")

    def __iter__(self) -> Iterator[bytes]:
        return self.connect()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for data in self.connect():
            yield data

    def _chunks(self, data: bytes, start: int, stop: int, skipped: int) -> Iterator[bytes]:
        if self._cuts:
            edges = [cut - skipped for cut in self._cuts if 0 < cut - skipped < len(data)]
        elif self._random is not None:
            edges = []
            at = 0
            while at < len(data):
                at += self._random.randint(1, self._chunk or 64)
                edges.append(at)
        elif self._chunk is not None:
            edges = list(range(self._chunk, len(data), self._chunk))
        else:
            edges = []
            at = 0
            for piece in self._pieces[start:stop]:
                at += len(piece)
                edges.append(at)
        before = 0
        for edge in (*edges, len(data)):
            if edge > before and data[before:edge]:
                yield data[before:edge]
                before = edge

    def _behind(self, event_id: str) -> int:
        parser = EventStreamParser()
        found = None
        for place, piece in enumerate(self._pieces, start=1):
            frames = parser.feed(piece)
            if frames and frames[-1].id == event_id:
                found = place
        if found is None:
            raise CallerError(f"no event of the log has the id {event_id!r}")
        return found
