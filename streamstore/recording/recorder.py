"""A recording from its first request to its last sync: a connection whose bytes go into a log.

The connection is the client's, with its resume, backoff and watchdog, into a store that says what
is missing and where to go on. This stands between the two: an event is in the log before the store
sees it, so that nothing is ever asked for behind what was recorded. Knows the client, logs and a
store; no terminal, no signal and no argument of a command.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from ..changes import Gap
from ..client import (
    AsyncioClock,
    Clock,
    LastEventId,
    Policy,
    Request,
    Resume,
    StartingAfter,
    Transport,
    connect,
)
from ..client.resuming import as_header
from ..errors import CallerError, LimitError, StreamStoreError
from ..eviction import Eviction, Keep
from ..log import LogError, LogWriter, open_log
from ..log.disk import DISK, Disk
from ..model import Sequencing
from ..pipeline import Stream, StreamStore
from ..sight import is_large
from .standing import Rate, Standing
from .wire import Catch

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

#: How often the log is made safe, and whoever looks on is told, in ms.
TICK_MS = 1_000.0


class Recording:
    """A recording of one event stream into one durable log; `run` it once.

    What it holds in memory has a bound, `keep`, however long it runs: the sessions that changed
    last. One that is let go stays in the log, and what comes for it later is recorded as
    everything is. Its gaps go on counting in `standing`; new ones of it are not looked for.

    Args:
        url, method, json, headers: the request, as for `connect`.
        path: the log, JSON lines or SQLite by its ending; made, or appended to as further
            connections. Each record has the event's data, id and name as they stood on the wire,
            the time of its arrival, and the number of its connection, from 1.
        protocol, sequencing: of the stream, for its gaps; they change nothing of what is recorded.
            A stream that no adapter knows is recorded all the same.
        resume: go on behind what the log holds: it is read into the store first, and its last
            position goes with the first request. Without it the stream begins anew.
        once: end at the first drop instead of asking again.
        most_ms: end after so long; None: when it is stopped.
        most_events: end after exactly so many events.
        tell: gets a line about what a log that is there already lost, or that it has no event to
            go on behind.
        policy, transport, clock, chance: as for `connect`.
        keep: how many sessions are looked at for gaps, and how much text of theirs is held; over
            it the least recently changed goes, never one that is busy or changed a minute ago
            (see `Eviction`). None: `Keep()`, 256 sessions.
        disk: where the log is.

    Attributes:
        standing: how it was doing when it was last looked at: each second, and at its end.

    Raises:
        CallerError: an argument is wrong, or httpx is needed and not installed. Nothing was
            touched.
    """

    def __init__(
        self,
        url: str,
        path: str,
        *,
        method: str | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        protocol: str = "auto",
        sequencing: Sequencing | None = None,
        resume: bool = False,
        once: bool = False,
        most_ms: float | None = None,
        most_events: int | None = None,
        tell: Callable[[str], object] = lambda line: None,
        policy: Policy | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] | None = None,
        keep: Keep | None = None,
        disk: Disk = DISK,
    ) -> None:
        if most_events is not None and not (type(most_events) is int and most_events >= 1):
            raise CallerError(f"most_events must be an integer from 1, not {most_events!r:.80}")
        if most_ms is not None and not (isinstance(most_ms, int | float) and most_ms >= 0):
            raise CallerError(f"most_ms must be a number of ms from 0, not {most_ms!r:.80}")
        self.path = path
        self._protocol = protocol
        self._sequencing: Sequencing | None = sequencing
        self._resume = resume
        self._most_ms = most_ms
        self._tell = tell
        self._clock = clock or AsyncioClock()
        self._disk = disk
        self._store = StreamStore(ticks="manual")
        self._eviction = Eviction(self._store, keep)
        self._store.subscribe(lambda changes: self._eviction.hear(changes, self._clock.now()))
        self._let_go = self._left_gaps = 0
        self._tap = _Tap(self._clock, most_events)
        self._rate = Rate()
        self.standing = Standing()
        self._began = 0.0
        self._waited_for = ""
        self._stop: asyncio.Event | None = None
        self._log: LogWriter | None = None
        how: Resume = StartingAfter() if protocol == "openai-responses" else _Position(self._tap)
        self._how = how
        self._connection = connect(
            url,
            store=self._store,
            protocol=protocol,
            sequencing=sequencing,
            method=method,
            json=json,
            headers=headers,
            resume=how,
            reconnect=False if once else None,
            policy=policy,
            transport=transport,
            clock=self._clock,
            chance=chance,
            owner=self._tap,
        )
        if resume and (method or ("GET" if json is None else "POST")).upper() != "GET":
            raise CallerError("only a GET can be resumed: a POST asks a new question")

    def stop(self) -> None:
        """End it soon, with everything safe; from its own thread, before or while it runs."""
        self._tap.full = True
        if self._stop is not None:
            self._stop.set()

    def _look(self) -> Standing:
        log, status = self._log, self._connection.status
        now = self._clock.now()
        self.standing = Standing(
            state=status.state,
            reason=status.reason,
            wait_ms=status.wait_ms,
            waited_for=self._waited_for,
            ms=now - self._began,
            events=self._tap.events,
            size=self._tap.size,
            rate=self._rate.note(now, self._tap.events),
            connections=self._tap.connections,
            reconnects=status.reconnects,
            unrepaired=self._connection.unrepaired,
            gaps=len(self._gaps()) + self._left_gaps,
            let_go=self._let_go,
            blind=self._tap.blind,
            skipped=self._tap.skipped,
            large=self._tap.large,
            position=0 if log is None else max(log.position, self._tap.position),
            durable_position=0 if log is None else log.durable_position,
        )
        return self.standing

    def _gaps(self) -> tuple[Gap, ...]:
        """What the store misses now, at the cost of a look; `health` walks its sessions."""
        return self._store.pull(self._store.version).gaps

    def _commit(self, now: float) -> None:
        """Let the store tick, and let go of sessions that are old by then."""
        self._store.flush()
        found = self._eviction.evict(now)
        if found:
            gone = frozenset(found)
            self._let_go += len(found)
            self._left_gaps += sum(gap.session_id in gone for gap in self._gaps())
            self._store.flush()

    async def run(self, show: Callable[[Standing], object] = lambda standing: None) -> Standing:
        """Record until it is stopped, or it ends; how it ended. `show` hears of it each second.

        Whatever happens, the log is closed, and `standing` says what of it is safe.

        Raises:
            LogLocked: somebody else writes to the log. UnsupportedLog: the file is something else.
            DiskError: it cannot be written or made safe; recording ends there.
            ConnectionLost, StreamRefused, PoisonedStream: as a `Connection` ends; all that came
                before is in the log.
            CallerError: there is no such folder.
        """
        import asyncio

        self._stop = asyncio.Event()
        if self._tap.full:
            self._stop.set()
        self._tap.on_full = self._stop.set
        try:
            log = open_log(self.path, disk=self._disk)
        except FileNotFoundError:
            raise CallerError(f"{self.path}: there is no such folder") from None
        self._log = log
        try:
            await self._find_its_end(log)
            self._tap.log = log
            await self._follow(log, show)
        finally:
            self._tap.log = None
            try:
                log.close()
            finally:
                self._look()
        return self.standing

    async def _follow(self, log: LogWriter, show: Callable[[Standing], object]) -> None:
        import asyncio

        assert self._stop is not None
        self._began = self._clock.now()
        async with self._connection as connection:
            ended = asyncio.ensure_future(connection.wait())
            stopped = asyncio.ensure_future(self._stop.wait())
            try:
                left = True
                while left and not stopped.done():
                    show(self._look())
                    left = await self._pause(ended, stopped)
                    if self._tap.failure is not None:
                        raise self._tap.failure
                    log.sync()
                    self._commit(self._clock.now())
                    if ended.done():
                        ended.result()
                        return
            finally:
                if connection.status.state == "waiting":
                    self._waited_for = connection.status.reason
                ended.cancel()
                stopped.cancel()
                await asyncio.gather(ended, stopped, return_exceptions=True)

    async def _pause(self, *events: asyncio.Future[Any]) -> bool:
        """Wait for one of them, or the next tick; whether there is time left."""
        import asyncio

        wait = TICK_MS
        if self._most_ms is not None:
            wait = min(wait, self._began + self._most_ms - self._clock.now())
        if wait > 0:
            pause = asyncio.ensure_future(self._clock.sleep(wait))
            try:
                await asyncio.wait((*events, pause), return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
                await asyncio.gather(pause, return_exceptions=True)
        return self._most_ms is None or self._began + self._most_ms - self._clock.now() > 1e-3

    async def _find_its_end(self, log: LogWriter) -> None:
        """What a log that is there already says about going on; reads it whole where resuming."""
        import asyncio

        if log.recovered.cut:
            self._tell(f"{self.path}: {log.recovered.cut} bytes of a torn last record were cut off")
        tap = self._tap
        if not self._resume:
            for loss in log.recovered.losses:
                self._tell(f"{self.path}: {loss}")
            for after in (max(0, log.position - 1), 0):  # the last record, or what is left
                left = False
                for record in log.read(after, on_loss=lambda loss: None):
                    tap.number, left = record.connection, True
                if left:
                    break
            return
        stream: Stream | None = None
        for record in log.read(on_loss=lambda loss: self._tell(f"{self.path}: {loss}")):
            if stream is None or record.connection != tap.number:
                if stream is not None:
                    stream.end()
                stream = self._store.open(self._protocol, sequencing=self._sequencing)
            tap.number = record.connection
            tap.last_id = record.event_id or tap.last_id
            tap.show(stream, record.frame())
            if record.position % 1000 == 0:
                self._commit(math.inf)  # it came in an earlier run: none of it is new
                await asyncio.sleep(0)  # a long log takes a while, and may be stopped
                if tap.full:
                    break
        if stream is not None:
            stream.end()
            how = self._how
            if isinstance(how, _Position) and how.position(self._store, stream) is None:
                none = "none of its events has an id to go on behind"
                self._tell(f"{self.path}: {none}: the stream begins anew")
        self._commit(math.inf)


class _Tap:
    """The owner of the store, as the connection sees it: writes down what it is given to feed."""

    def __init__(self, clock: Clock, most: int | None) -> None:
        self._clock = clock
        self._most = most
        self._stream: Stream | None = None
        self._catch = Catch()
        self._skipped = 0
        self.log: LogWriter | None = None
        self.number = 0  # of the last connection in the log
        self.connections = 0
        self.events = 0
        self.size = 0
        self.large = 0
        self.position = 0  # of the last record that it wrote, also where a log took that back
        self.last_id = ""
        self.full = False
        self.on_full: Callable[[], object] = lambda: None
        self.failure: LogError | None = None
        self.blind = ""
        """Why the store takes nothing any more; "" while it does."""

    @property
    def skipped(self) -> int:
        """Events that no log takes."""
        return self._skipped + self._catch.skipped

    async def run(self, work: Callable[[], T]) -> T:
        """Do it now."""
        return work()

    async def feed(self, stream: Stream, data: bytes) -> bool:
        """Into the log, then into the store."""
        log = self.log
        if log is None or self.full:
            return True  # it is over: what still comes was not recorded, and nothing is told of it
        if stream is not self._stream:
            self._stream = stream
            self._skipped += self._catch.skipped
            self._catch = Catch()
            self.connections += 1
            self.number += 1
        now = max(0, int(self._clock.wall()))
        for event in self._catch.feed(data):
            try:
                self.position = log.append(
                    event.data,
                    time_ms=now,
                    event_id=event.event_id,
                    name=event.name,
                    connection=self.number,
                )
            except LimitError:
                self._skipped += 1
                continue
            except LogError as error:
                self.failure = error
                raise
            self.events += 1
            self.size += len(event.data)
            self.large += is_large(event.data)
            if self.events == self._most:
                self.full = True
                self.on_full()
                return True
        self.last_id = self._catch.last_event_id or self.last_id
        self.show(stream, data)
        return True

    def show(self, stream: Stream, data: bytes) -> None:
        """Let the store see it; what it cannot take is recorded all the same."""
        if self.blind:
            return
        try:
            stream.feed(data)
        except StreamStoreError as error:
            self.blind = str(error)
        except Exception as error:
            # A mistake of an adapter's: no reason to lose what can be had but once.
            self.blind = f"{type(error).__name__}: {error}"


@attrs.frozen
class _Position:
    """By event-stream ids: the store's position, and where it takes nothing, the last id."""

    _tap: _Tap
    live = True

    def position(self, store: StreamStore, stream: Stream) -> Hashable:
        """The id before the first missing operation, else the last one."""
        return as_header(self._tap.last_id if self._tap.blind else stream.position.event_id)

    def request(self, base: Request, position: Hashable) -> Request:
        """With the id as a header."""
        return LastEventId().request(base, position)

    def done(self, store: StreamStore, stream: Stream, clean: bool) -> bool:
        """Never: such a stream goes on for ever."""
        return False
