"""A live server followed into an inspector, with a pause that loses nothing.

A `Follower` stands between a connection and its store, at both ends. Towards the store it is the
connection's owner: what comes is cut into events that wait in order, and whatever the connection
wants of the store waits behind them, so that an end never overtakes an event. Towards the network
it wraps the transport: while more than `most_bytes` wait, the socket is not read, so that the
server feels back-pressure; the connection's watchdog is told that this silence is ours. Knows
connections and the inspector; no screen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..errors import StreamStoreError
from ..pipeline import Stream
from ..terminal import one_line
from .cutting import EventCutter
from .inspector import TICK_MS, Inspector
from .playing import MOST_AT_ONCE

if TYPE_CHECKING:
    from ..client import Connection, Request, Response, Transport

T = TypeVar("T")

#: Bytes that wait while it is paused before the socket is not read any more.
MOST_HELD_BYTES = 8 * 1024 * 1024
#: While it is not read, the watchdog hears of it so often.
BEAT_MS = 5_000.0


class _Event:
    __slots__ = ("at", "data", "stream")

    def __init__(self, stream: Stream, data: bytes, at: float) -> None:
        self.stream = stream
        self.data = data
        self.at = at


class _Work:
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future

    def do(self) -> None:
        if self.future.cancelled():
            # Whoever asked is gone, but the store needs what it asked for: a stream that ends.
            self.work()
            return
        try:
            result = self.work()
        except BaseException as error:
            self.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            self.future.set_result(result)


_Item: TypeAlias = "_Event | _Work"


class Follower:
    """The source of a followed stream; owner and transport of its connection.

    - for `connect`: `owner=` and `transport=` are this object
    - as a source: see `playing.Source`

    Args:
        inspector: what the events go into.
        transport: what makes the requests.
        clock: ms, when events came; never goes back.
        most_bytes: what may wait while it is paused. The policy is back-pressure: past it the
            socket is not read, nothing is dropped. One chunk may go over it.
    """

    def __init__(
        self,
        inspector: Inspector,
        transport: Transport,
        clock: Callable[[], float],
        *,
        most_bytes: int = MOST_HELD_BYTES,
        beat_ms: float = BEAT_MS,
    ) -> None:
        self._inspector = inspector
        self._transport = transport
        self._clock = clock
        self._most_bytes = most_bytes
        self._beat_ms = beat_ms
        self._queue: deque[_Item] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._cutter = EventCutter()
        self._cutting: Stream | None = None
        self.connection: Connection | None = None
        """Whose owner this is; set it to have its status shown."""
        self.paused = False
        self._closed = False
        self._error: StreamStoreError | None = None

    # -- as an owner -------------------------------------------------------------------------

    async def run(self, work: Callable[[], T]) -> T:
        """Do it behind everything that came before it."""
        self._finish_piece()
        if self._closed:
            self.drain()
        if not self._queue:
            return self._now(work)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Work(lambda: self._now(work), future))
        return await future

    async def feed(self, stream: Stream, data: bytes) -> bool:
        """Keep the events of a chunk in order, with the time; `pump` takes them in.

        Raises:
            StreamStoreError: what an earlier event raised when it was taken in.
        """
        if self._error is not None:
            raise self._error
        if stream is not self._cutting:
            self._finish_piece()
            self._cutting, self._cutter = stream, EventCutter()
        for piece in self._cutter.feed(data):
            self._hold(stream, piece)
        return False

    def _now(self, work: Callable[[], T]) -> T:
        """Let the connection have the store; note where it ends a stream."""
        stream = self._inspector.stream
        before = stream is not None and not stream.ended
        result = work()
        if before and stream is not None and stream.ended:
            reason = self.connection.status.reason if self.connection is not None else ""
            self._inspector.note(one_line(f"connection ended{reason and ': '}{reason}", 80))
        return result

    def _finish_piece(self) -> None:
        """What has no end belongs to the stream, too: a torn event is one that it must judge."""
        if self._cutting is not None:
            for piece in self._cutter.end():
                self._hold(self._cutting, piece)
            self._cutting = None

    def _hold(self, stream: Stream, piece: bytes) -> None:
        self._queue.append(_Event(stream, piece, self._clock()))
        self._bytes += len(piece)
        if self._bytes > self._most_bytes:
            self._room.clear()

    # -- as a transport ----------------------------------------------------------------------

    async def open(self, request: Request) -> Response:
        """See `Transport.open`."""
        return _Reined(self, await self._transport.open(request))

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        await self._transport.aclose()

    async def rein(self) -> bool:
        """Come back when there is room, or after a beat; whether there is room."""
        try:
            await asyncio.wait_for(self._room.wait(), self._beat_ms / 1000)
        except TimeoutError:
            return False
        return True

    @property
    def full(self) -> bool:
        """Whether the socket is not read."""
        return not self._room.is_set()

    # -- as a source -------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the connection has ended and nothing waits."""
        return self.connection is not None and self.connection.state == "ended" and not self._queue

    @property
    def status(self) -> str:
        """How the connection is doing."""
        if self.full:
            return "paused, socket not read"
        connection = self.connection
        if self._error is not None:
            return one_line(str(self._error), 100)
        if connection is None:
            return "starting"
        status = connection.status
        words: str = "live" if status.state == "open" else status.state
        if status.wait_ms:
            words += f" {status.wait_ms / 1000:.0f} s"
        if status.reason:
            words += f": {status.reason}"
        return one_line(words, 100)

    @property
    def pace(self) -> str:
        """Nothing: the server says how fast."""
        return ""

    @property
    def held(self) -> tuple[int, int] | None:
        """Events and bytes that wait."""
        events = sum(isinstance(item, _Event) for item in self._queue) if self._queue else 0
        return (events, self._bytes) if events else None

    def pause(self) -> None:
        """Let what comes wait."""
        if not self.paused:
            self.paused = True
            self._inspector.settle()

    def resume(self) -> None:
        """Take in what waits, and go on."""
        self.paused = False

    def change_speed(self, factor: float, now: float) -> None:
        """Nothing to change: the server says how fast."""

    def pump(self, now: float) -> int:
        """Take in what waits, at most `MOST_AT_ONCE` events; let the store's time pass."""
        taken = 0
        while self._queue and taken < MOST_AT_ONCE:
            if self.paused and isinstance(self._queue[0], _Event):
                break
            taken += self._take()
        if not self._queue and not self.paused:
            self._inspector.pass_time(now)
        return taken

    def step_event(self) -> bool:
        """Take in one event."""
        taken = 0
        while self._queue and not taken:
            taken = self._take()
        self._inspector.settle()
        return bool(taken)

    def step_tick(self) -> bool:
        """Take in what came within one tick."""
        until: float | None = None
        taken = 0
        while self._queue and taken < MOST_AT_ONCE:
            item = self._queue[0]
            if isinstance(item, _Event):
                until = item.at + TICK_MS if until is None else until
                if item.at >= until:
                    break
            taken += self._take()
        self._inspector.settle()
        return bool(taken)

    def drain(self) -> None:
        """Take everything in that waits."""
        while self._queue:
            self._take()

    def close(self) -> None:
        """It is over: nothing waits any more, so that the connection can be closed."""
        self._closed = True
        self.paused = False
        self.drain()
        self._inspector.settle()

    def _take(self) -> int:
        item = self._queue.popleft()
        if isinstance(item, _Work):
            item.do()
            return 0
        self._bytes -= len(item.data)
        if self._bytes <= self._most_bytes // 2:
            self._room.set()
        if item.stream.ended or self._error is not None:
            return 0
        try:
            self._inspector.take(item.data, item.at, item.stream)
        except StreamStoreError as error:
            self._error = error  # the next chunk raises it where the connection hears of it
        return 1


class _Reined:
    """An answer that is not read while its follower is full; see `Response`."""

    def __init__(self, follower: Follower, response: Response) -> None:
        self._follower = follower
        self._response = response

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """By name."""
        return self._response.headers

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body; empty chunks while it is not read, so that nobody takes it for dead."""
        async with aclosing(self._response.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk
                while self._follower.full:
                    await self._follower.rein()
                    yield b""

    async def aclose(self) -> None:
        """Give it up."""
        await self._response.aclose()
