"""A live event stream followed into a store, through drops, silence and late joins.

The loop of the client and nothing else: ask, read, note where to go on, wait, ask again. When and
how long is `policy.py`, what an answer means `answers.py`, how to resume `resuming.py`, fetching a
state `resync.py`. Every time and chance comes from outside, every await may be cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ..errors import CallerError, StreamStoreError
from ..model import Sequencing
from ..pipeline import Policy as Leniency
from ..pipeline import Stream, StreamStore
from ..protocols import adapters
from ..watermarks import RESTARTED
from .answers import (
    SAID_BYTES,
    Later,
    Opened,
    Redirected,
    TooOld,
    judge,
    origin_of,
    said,
    says,
)
from .ending import left_unfinished, program_ends
from .faults import (
    CertificateRefused,
    ConnectionLost,
    PoisonedStream,
    StreamRefused,
    TooManyRedirects,
)
from .owning import Owner
from .policy import IDLE_MS, Backoff, Place, PoisonWatch, Policy
from .resuming import Resume, tell_asked
from .resync import Fetch, Resync
from .status import ConnectionStatus, State, Statuses
from .transport import Clock, Request, Response, Transport
from .watch import Silence, guarded, watched

if TYPE_CHECKING:
    import asyncio

#: How long an answer that is no stream may take to say why.
_SAID_MS = 2_000

#: Why a session is to be fetched of which a connection brought events, but not yet the state before
#: them, when it ended: its position jumps over that state. The store keeps the note.
_UNFETCHED = "a connection ended before the state was fetched"

#: As that, where the position is one that a server would not know: it is not to be sent either.
_OVER = "a connection ended before the server's new counter gave a position"

_LEFT = frozenset((_UNFETCHED, _OVER))


@attrs.frozen
class _Drop:
    """Why one connection is over, and when to ask again."""

    reason: str
    after_ms: float | None = None
    again: bool = True  # whether the request may be made again as it was
    at_once: bool = False


@attrs.frozen
class _End:
    """What the store says where one connection is over.

    Attributes:
        done: all has come.
        repeated: all that came was known.
        received: events that came.
        unfinished: what a body that came to its end left unfinished and nobody may ask for again,
            in words; "" for nothing.
    """

    done: bool = False
    repeated: bool = False
    received: int = 0
    unfinished: str = ""


class Connection:
    """One followed stream; made by `connect`, used in `async with`.

    - `state`, `status`, `error`, `reconnects`, `unrepaired`: how it is doing
    - `wait()`: until it ends; `opened()`: until events come; `async for status in connection`
    - `resync()`: fetch the state now; `aclose()`: end it

    Each opening opens a stream of the store. After a drop that one ends, and the next goes on
    where the store has everything: what is sent twice changes nothing.

    Attributes:
        error: why it ended: a `StreamStoreError` of the server's, the caller's or a limit's
            making, or whatever the store raised. None while it lives, and when its end was no
            error.
        unrepaired: reconnects that neither a position nor a fetched state covered: what was
            sent meanwhile is lost, and parts that were open are marked (`part.gap`).
    """

    def __init__(
        self,
        request: Request,
        store: StreamStore,
        *,
        protocol: str,
        session_id: str | None,
        sequencing: Sequencing | None,
        generation: str | None,
        leniency: Leniency,
        transport: Transport,
        own_transport: bool,
        resume: Resume,
        snapshot: Fetch | None,
        reconnect: bool | None,
        live_after: Literal["open", "first event"],
        policy: Policy,
        clock: Clock,
        chance: Callable[[], float],
        owner: Owner,
    ) -> None:
        self._request = request
        self._store = store
        self._protocol = protocol
        self._session_id = session_id
        self._sequencing: Sequencing | None = sequencing
        self._generation: str | None = generation
        self._leniency: Leniency = leniency
        self._transport = transport
        self._own_transport = own_transport
        self._resume = resume
        self._snapshot = snapshot
        self._reconnect = reconnect
        self._live_after = live_after
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._owner = owner
        self._backoff = Backoff(policy)
        self._poison = PoisonWatch(policy.same_place)
        self._status = ConnectionStatus()
        self._changed: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._resync: Resync | None = None
        self._stream: Stream | None = None
        # Opened when the last one ended: what that one left is for no other connection.
        self._next: Stream | None = None
        # Where to go on; what the server, or a change of the generation, made worthless; whether
        # the present stream was opened without a position, so that a state has to be fetched
        # before its ids may be sent.
        self._cursor: Hashable = None
        self._fenced: Hashable = None
        self._bare = False
        # Where the store had everything when it was asked last, sent or not.
        self._reached: Hashable = None
        # Whether a connection before this one left a state to be fetched, and the sessions that it
        # noted.
        self._left_unfetched = False
        self._left: frozenset[str] = frozenset()
        # Whether it goes on by a position of a counter that is over, and nobody asked for a state.
        self._astray = False
        # Whether the present stream is open, and its state is asked for where that is due.
        self._heard = False
        # Sessions that its streams brought, but for the present one's; and those that a saved
        # stream left to the present one, which that need not have brought.
        self._brought: set[str] = set()
        self._inherited: frozenset[str] = frozenset()
        self._seen_generation: str | None = None
        self._ever_open = False
        # Until then: whose certificates, if any, have been good once.
        self._answered: set[tuple[str, str, int] | None] = set()
        self._recognised: str | None = None
        self.error: BaseException | None = None
        self.unrepaired = 0

    # -- how it is doing -------------------------------------------------------------------------

    @property
    def status(self) -> ConnectionStatus:
        """How it is doing now."""
        return self._status

    @property
    def state(self) -> State:
        """`connecting`, `open`, `waiting` or `ended`."""
        return self._status.state

    @property
    def reconnects(self) -> int:
        """Attempts after the first."""
        return self._status.reconnects

    @property
    def stream(self) -> Stream | None:
        """The store's stream of the present connection; None between two."""
        return self._stream

    @property
    def position(self) -> Hashable:
        """What the next request would resume from; None for nothing."""
        return None if self._cursor == self._fenced else self._cursor

    def __repr__(self) -> str:
        return f"<Connection {self._status.state}, {self._status.reconnects} reconnects>"

    def _set(self, **changes: Any) -> None:
        status = attrs.evolve(self._status, **changes)
        if status != self._status:
            self._status = status
            if self._changed is not None:
                changed, self._changed = self._changed, None
                changed.set()

    def _resynced(self) -> None:
        resync = self._resync
        if resync is not None:
            self._set(synced=not resync.owed, resync_error=resync.error)

    async def changed(self) -> None:
        """Come back at the next change of the status.

        Raises:
            CallerError: it was not entered, so that nothing will ever change; so do `wait`,
                `opened` and the iteration.
        """
        import asyncio

        if self._task is None:
            raise CallerError("the connection was not entered: async with connect(...) as it")
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()

    def __aiter__(self) -> AsyncIterator[ConnectionStatus]:
        """The status now, and after each change the latest; ends when the connection has."""
        return Statuses(lambda: self._status, self.changed)

    async def wait(self) -> None:
        """Come back when it has ended.

        Raises:
            `error`, if there is one.
        """
        while self._status.state != "ended":
            await self.changed()
        if self.error is not None:
            raise self.error

    async def opened(self) -> None:
        """Come back when events come.

        Raises:
            `error`; `CallerError` where it ended without one.
        """
        while self._status.state not in ("open", "ended"):
            await self.changed()
        if self._status.state == "ended":
            raise self.error or CallerError("the connection has ended")

    async def resync(self) -> None:
        """Fetch the server's state, behind what is being fetched; come back when it is merged.

        Raises:
            CallerError: no `snapshot` function was given, or the connection has ended; where that
                comes meanwhile, `error` if there is one.
        """
        number = self.request_resync()
        assert self._resync is not None
        await self._resync.finished(number)
        if self._status.state == "ended":
            raise self.error or CallerError("the connection has ended")

    def request_resync(self, sessions: Mapping[str, str] | None = None) -> int:
        """`resync` without waiting for it; the number of the request.

        Args:
            sessions: those that matter, with reasons, as in `Read.sessions`; None: everything.

        Raises:
            CallerError: as `resync`.
        """
        self.require_snapshot()
        if self._resync is None or self._status.state == "ended":
            raise CallerError("the connection has ended, or was not entered yet")
        number = self._resync.request("the program asked for it", sessions)
        self._resynced()
        return number

    def require_snapshot(self) -> None:
        """Raise `CallerError` where there is no function that fetches a state."""
        if self._snapshot is None:
            raise CallerError("there is nothing to fetch: connect with a snapshot= function")

    # -- its life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, in the running event loop; `async with` does it.

        Raises:
            CallerError: it was begun before, or no event loop of asyncio runs.
        """
        import asyncio

        if self._task is not None:
            raise CallerError("a connection lives once: connect again for another one")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise CallerError(
                "connect needs a running event loop of asyncio: without one, or in another kind "
                "such as trio's, connect_blocking follows from a thread"
            ) from None
        if self._snapshot is not None:
            self._resync = Resync(
                self._snapshot, self._store, self._owner, self._policy, self._clock,
                self._chance, self._resynced, self._merged, self._all_brought, self._notes,
            )  # fmt: skip
        self._task = asyncio.create_task(self._run(), name="streamstore connection")
        # A task that is cancelled before its first step never runs: its end is seen here.
        self._task.add_done_callback(lambda task: self._over())

    async def aclose(self) -> None:
        """End it; nothing of it is left when this comes back, cancelled or not."""
        import asyncio

        task = self._task
        if task is None:
            return
        cancelled = False
        task.cancel()
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError:
                cancelled = True
        if self._own_transport:
            await self._transport.aclose()
        if cancelled:
            raise asyncio.CancelledError

    async def __aenter__(self) -> Connection:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _over(self) -> None:
        if self._resync is not None:
            self._resync.abandon()
        self._set(state="ended", wait_ms=0.0)

    async def _run(self) -> None:
        try:
            if self._resync is None:
                await self._follow()
            else:
                await guarded(self._follow(), self._resync.run())
        except Exception as error:
            self.error = error
            self._set(reason=str(error))
        finally:
            await self._owner.run(self._end_streams)
            if self._own_transport:
                await self._transport.aclose()
            self._over()

    async def _follow(self) -> None:
        """One connection after the other, until there is a reason not to."""
        while True:
            self._set(state="connecting", reason="", wait_ms=0.0)
            drop = await self._once()
            if drop is None:
                self._set(reason="all of it has come")
                return
            wait = 0.0
            if not drop.at_once:
                wait = self._backoff.next(self._chance(), drop.after_ms)
            self._set(state="waiting", reason=drop.reason, wait_ms=wait)
            if wait:
                await self._clock.sleep(wait)
            self._set(reconnects=self._status.reconnects + 1)

    # -- one connection --------------------------------------------------------------------------

    async def _once(self) -> _Drop | None:
        """Ask and read until it is over; None when all has come."""
        stream = self._stream
        if stream is None:
            stream = await self._owner.run(self._open_stream)
        if self._resume.live and self.position is not None:
            await self._owner.run(lambda: self._go_back(stream))
        position = self.position
        self._bare = position is None
        request = self._request
        if position is not None:
            request = self._resume.request(request, position)
            await self._owner.run(lambda: tell_asked(stream, position))
        silence = Silence(self._clock, self._policy.limit_ms)
        passage = _Passage(opened_at=None)
        lost: ConnectionLost | None = None
        drop: _Drop | None = None
        end = _End()
        try:
            attended = self._attend(request, position, stream, silence, passage)
            drop = await watched(guarded(attended, program_ends(stream)), silence)
        except ConnectionLost as error:
            if isinstance(error, CertificateRefused) and not passage.known:
                raise
            lost = error
        finally:
            quiet_ms = self._clock.now() - silence.last
            if self._resync is not None:
                self._resync.live(None)
            if passage.opened_at is not None:
                self._backoff.lived(silence.last - passage.opened_at)
                # Also when cancelled: what has come stays, and its gaps are seen.
                end = await self._owner.run(lambda: self._end_stream(stream, passage))
        if lost is not None:
            drop = _Drop(str(lost), lost.after_ms, again=not lost.sent)
        assert drop is not None
        repeatable = self._may_repeat()
        if passage.opened_at is None:
            if not repeatable and not drop.again:
                raise lost or StreamRefused(drop.reason, passage.status)
            return drop
        if end.unfinished and not repeatable:
            raise ConnectionLost(f"the answer ended in the middle: {end.unfinished}")
        if end.done:
            return None
        moved = self.position != position
        place = Place(self.position, end.received, passage.size)
        repeated = end.repeated and quiet_ms < IDLE_MS
        if self._poison.ended(place, passage.tail, repeated, moved):
            raise PoisonedStream(
                f"{self._poison.times} connections in a row ended at the same place, after "
                f"{end.received} events ({passage.size} bytes)"
                + (f" behind position {position!r:.200}" if position is not None else "")
                + f", the last one because {drop.reason}"
            )
        if not repeatable:
            # What has no position would begin anew: a second answer, not the rest of this one.
            raise lost or ConnectionLost(drop.reason)
        return drop

    def _may_repeat(self) -> bool:
        """Whether what the server may have acted on may be asked again."""
        if self._reconnect is not None:
            return self._reconnect
        return self._next_method() == "GET"

    def _asks_once(self) -> bool:
        """Whether a whole answer is the end: to ask again would be a new question, not a drop."""
        follows = self._snapshot is not None or self.position is not None
        return self._next_method() != "GET" and not follows

    def _answered_by(self, passage: _Passage, stream: Stream, unfinished: str) -> bool:
        """Whether a body that came to its end is all that there is to ask for."""
        if not passage.clean or not self._may_repeat():
            return passage.clean
        return self._asks_once() and stream.received > 0 and not unfinished

    def _next_method(self) -> str:
        request, position = self._request, self.position
        if position is not None:
            request = self._resume.request(request, position)
        return request.method

    async def _attend(
        self,
        request: Request,
        position: Hashable,
        stream: Stream,
        silence: Silence,
        passage: _Passage,
    ) -> _Drop:
        redirects = 0
        while True:
            origin = origin_of(request.url)
            passage.known = self._ever_open or origin in self._answered
            response = await self._head(request)
            if not self._ever_open:
                self._answered.add(origin)
            try:
                silence.beat()
                passage.status = response.status
                try:
                    answer = judge(
                        request,
                        response.status,
                        response.headers,
                        wall_ms=self._clock.wall(),
                        resuming=position is not None,
                    )
                except StreamRefused as refused:
                    problem = f"{refused}{await self._said(request, response)}"
                    raise StreamRefused(problem, refused.status) from None
                if isinstance(answer, Later):
                    reason = answer.reason + await self._said(request, response)
                    return _Drop(reason, answer.after_ms, again=answer.untouched)
                if isinstance(answer, Opened):
                    passage.opened_at = silence.last
                    return await self._read(response, stream, silence, passage)
            finally:
                await response.aclose()
            if isinstance(answer, Redirected):
                redirects += 1
                if redirects > self._policy.redirects:
                    raise TooManyRedirects(
                        f"more than {self._policy.redirects} redirects in a row", passage.status
                    )
                request = answer.request
            else:
                assert isinstance(answer, TooOld)
                self._fenced = position
                return _Drop(answer.reason, at_once=True)

    async def _said(self, request: Request, response: Response) -> str:
        """Why a server says that it does not give a stream; "" where it gives no reason."""
        if not says(response.headers):
            return ""
        body = bytearray()

        async def read() -> None:
            async with aclosing(response.chunks()) as chunks:
                async for chunk in chunks:
                    body.extend(chunk)
                    if len(body) >= SAID_BYTES:
                        return

        with suppress(ConnectionLost):  # what came of it may say enough
            await watched(read(), Silence(self._clock, _SAID_MS))
        return said(request, bytes(body[:SAID_BYTES]))

    async def _head(self, request: Request) -> Response:
        if request.method != "GET":
            return await self._transport.open(request)
        opened: list[Response] = []

        async def opening() -> None:
            opened.append(await self._transport.open(request))

        try:
            await watched(opening(), Silence(self._clock, self._policy.head_ms, "no answer came"))
        except BaseException:
            for response in opened:  # it came in the moment in which it was given up
                await response.aclose()
            raise
        return opened[0]

    async def _read(
        self, response: Response, stream: Stream, silence: Silence, passage: _Passage
    ) -> _Drop:
        self._opened()
        if self._live_after == "open":
            self._now_live(stream)
        live = self._live_after == "open"
        async with aclosing(response.chunks()) as chunks:
            async for chunk in chunks:
                silence.beat()
                if not chunk:
                    continue
                passage.size += len(chunk)
                passage.tail = (passage.tail + chunk[-4:])[-4:]
                if await self._owner.feed(stream, chunk):
                    if self._resume.live:
                        self._note(stream)
                    if not live and stream.received:
                        live = True
                        self._now_live(stream)
                elif not live:
                    live = await self._owner.run(lambda: stream.received > 0)
                    if live:
                        self._now_live(stream)
                if live and self._resync is not None:
                    self._resync.look()
        passage.clean = True
        return _Drop("the server ended the stream")

    def _opened(self) -> None:
        self._set(state="open", reason="", wait_ms=0.0)
        stream = self._stream
        known = (stream and stream.protocol) or self._recognised or self._protocol
        declared = adapters().get(known)
        resumes = declared is None or declared.declaration.resumes
        if self._bare or not resumes or self._left_unfetched:
            self._left_unfetched = self._astray = False
            if self._resync is not None:
                reason = "the connection was lost" if self._ever_open else "the connection is new"
                self._resync.request(reason)
                self._resynced()
            else:
                self._bare = False
                if self._ever_open:
                    self.unrepaired += 1
        self._ever_open = self._heard = True

    def _now_live(self, stream: Stream) -> None:
        if self._resync is not None:
            self._resync.live(stream)

    # -- on the owner's side ---------------------------------------------------------------------

    def _open_stream(self) -> Stream:
        # Noted here: who waits for it may be cancelled, and it is to be ended then.
        next_one, self._next = self._next, None
        if next_one is None or next_one.ended:  # the store may have been closed meanwhile
            next_one = self._another_stream()
        self._heard = False
        self._stream = next_one
        return next_one

    def _end_streams(self) -> None:
        reason = self._unfetched(self._reached)
        for session_id in sorted(self._scope()) if reason else ():
            self._store.ask_resync(session_id, reason)
        streams = self._stream, self._next
        self._stream = self._next = None
        for stream in streams:
            if stream is not None:
                stream.end()

    def _another_stream(self) -> Stream:
        store = self._store
        stream = self._stream_of(self._generation)
        self._generation = None  # said once: later ones are the server's to say
        if not self._ever_open and self._cursor is None:
            # Of a loaded store, or of a stream that somebody else fed.
            self._seen_generation = store.generation(self._session_id)
            own, notes = self._session_id, store.resync
            left = {
                one: why
                for one, why in notes.items()
                # The store's own note of a restart is in the place of one of those.
                if (why in _LEFT or why == RESTARTED) and own in (None, one)
            }
            self._left, self._left_unfetched = frozenset(left), bool(left)
            if self._request.method == "GET":
                self._cursor = self._reached = self._resume.position(store, stream)
            if self._resync is not None and self._resume.live and {*left.values()} - {_UNFETCHED}:
                self._fenced = self._cursor
            if self._cursor is None and stream.received:
                # It would go on where a saved one stood, but what came since cannot be had: what
                # was streaming then was cut.
                stream.end()
                stream = self._stream_of(None)
        self._inherited = frozenset(stream.session_ids)
        return stream

    def _stream_of(self, generation: str | None, after: Stream | None = None) -> Stream:
        stream = self._store.open(
            self._protocol,
            session_id=self._session_id,
            sequencing=self._sequencing,
            generation=generation,
            policy=self._leniency,
            after=after,
        )
        if self._resync is not None:
            stream.unfetched = partial(self._owing, stream)
        return stream

    def _owing(self, stream: Stream) -> Mapping[str, str]:
        """What a store that is saved now has to say: the program may end without another word."""
        reason = self._unfetched(self._resume.position(self._store, stream))
        return dict.fromkeys(sorted(self._scope()), reason) if reason else {}

    def _unfetched(self, position: Hashable) -> str:
        """Why the next connection has to fetch a state if this one ends at a position; "" if it
        goes on there."""
        if position is None or self._resync is None:
            return ""  # it has none, and fetches one
        if position == self._fenced:
            return _OVER
        return _UNFETCHED if self._bare and self._owed() else ""

    def _owed(self) -> bool:
        return self._resync is not None and (self._resync.owed or self._astray)

    def _scope(self) -> Iterable[str]:
        """The sessions that a state that is still to come is of."""
        return self._all_brought() if self._session_id is None else (self._session_id,)

    def _all_brought(self) -> frozenset[str]:
        """Sessions that its streams brought, of those that the store holds."""
        if self._stream is not None:
            self._note_brought(self._stream)
        self._brought &= frozenset(self._store.session_ids())
        return frozenset(self._brought)

    async def _notes(self) -> dict[str, str]:
        notes = await self._owner.run(self._own_notes)
        if self._astray and self._resync is not None:
            self._astray = False
            self._resync.request(RESTARTED)
            self._resynced()
        return notes

    def _own_notes(self) -> dict[str, str]:
        """The store's notes, but for a state that a connection of something else left behind.

        Fetching what this one follows would not bring it; the next connection of that does.
        """
        self._merged()
        own, notes = self._session_id, dict(self._store.resync)
        if _LEFT.isdisjoint(notes.values()):
            return notes
        mine = self._left | self._all_brought() if own is None else {own}
        return {one: why for one, why in notes.items() if one in mine or why not in _LEFT}

    def _note_brought(self, stream: Stream) -> None:
        if self._resync is not None:  # nobody else asks
            self._brought |= frozenset(stream.session_ids) - self._inherited

    def _note(self, stream: Stream) -> None:
        """Move the cursor to where the store has everything."""
        generation = self._store.generation(self._session_id)
        changed = generation != self._seen_generation and self._seen_generation is not None
        self._seen_generation = generation
        position = self._reached = self._resume.position(self._store, stream)
        if changed and self._resume.live:
            # An id that came before the counter started again means nothing to the new one, and
            # within one chunk nobody can tell: it is not sent, until another one comes.
            self._fenced = position
            if self._resync is not None and not self._bare:
                # Nor did the one that was sent: what the new counter began with need not have come.
                self._bare = self._astray = True
                self._cursor = None
        if self._bare:
            if self._resync is None or self._owed():
                return  # sent now, it would jump over what the state has to bring
            self._bare = False
        self._cursor = position

    def _go_back(self, stream: Stream) -> None:
        """What another connection missed and left, when it was closed meanwhile, is to come too."""
        if not stream.ended:
            self._cursor = self._resume.position(self._store, stream) or self._cursor

    def _merged(self) -> None:
        """A fetched state is in the store: what was held back may be sent from now on.

        Not before the present stream is open: the state that it needs is not asked for yet.
        """
        stream = self._stream
        if stream is not None and not stream.ended and self._resume.live and self._heard:
            self._note(stream)

    def _end_stream(self, stream: Stream, passage: _Passage) -> _End:
        """Take in the rest, note where to go on, and end it."""
        self._stream = None
        if stream.ended:  # the store was closed
            return _End(self._answered_by(passage, stream, ""), received=stream.received)
        try:
            stream.feed(b"")  # what another thread left for the owner
        except StreamStoreError:
            stream.end()
            raise
        retry = stream.retry
        if retry is not None:
            self._backoff.retry_ms = retry
        self._note(stream)
        self._recognised = stream.protocol
        received = stream.received
        repeated = received > 0 and stream.position.events == 0
        ended = self._resume.done(self._store, stream, False)  # whatever the body says
        done = ended or self._resume.done(self._store, stream, passage.clean)
        unfinished = ""
        if passage.clean and not ended and (not self._may_repeat() or self._asks_once()):
            unfinished = left_unfinished(stream, passage.tail)
        self._note_brought(stream)
        done = done or self._answered_by(passage, stream, unfinished)
        task = self._task
        if done or not self._may_repeat() or (task is not None and task.cancelling()):
            stream.end()
        else:
            self._next = self._stream_of(None, after=stream)
            self._inherited = frozenset(self._next.session_ids)
        return _End(done, repeated, received, unfinished)


@attrs.define
class _Passage:
    """What one connection brought."""

    opened_at: float | None
    known: bool = False  # whom it asked last has answered before
    status: int = 0
    size: int = 0
    tail: bytes = b""
    clean: bool = False  # the body came to its end
