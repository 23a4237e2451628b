"""Resync: fetch the server's state while a new stream is open, and let the store merge both.

- Subscribe first: a fetch starts when a stream is open and live.
- Requests while one runs, or within `Policy.resync_pause_ms`, are one further run behind it: a
  storm of reconnects ends in one trailing resync.
- What was fetched is taken in object by object, with a turn of the event loop between two.
- One that fails is tried again after a wait that grows, or that the server asks for; whoever waits
  for it (the resume position, above all) goes on waiting.
- What a merged state did not repair is asked for again after a wait that grows, and said.

Knows the store and how to wait; not how a state is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from ..errors import CallerError
from ..pipeline import Stream, StreamStore
from .faults import ConnectionLost, PoisonedStream, SnapshotRefused
from .owning import Owner
from .policy import Backoff, Policy
from .transport import Clock
from .watch import Silence, watched

if TYPE_CHECKING:
    import asyncio


@attrs.frozen
class Read:
    """What a function that fetches a state is given.

    Attributes:
        reason: why the state is fetched.
        sessions: those that the store itself or `request_resync` asked for, with the reasons;
            empty: everything.
    """

    reason: str
    sessions: Mapping[str, str]
    _store: StreamStore
    _owner: Owner
    _brought: Callable[[], frozenset[str]]
    _behind: list[Callable[[], None]] = attrs.field(factory=list, init=False, repr=False)

    async def token(self, session_id: str) -> str:
        """`StreamStore.begin_read`: take it before the request, hand it on as `readFrom`."""
        return await self._owner.run(lambda: self._store.begin_read(session_id))

    async def session_ids(self) -> tuple[str, ...]:
        """The sessions that the store knows."""
        return await self._owner.run(self._store.session_ids)

    async def brought(self) -> frozenset[str]:
        """Those of them that this connection brought: by events, or by states that were read."""
        return await self._owner.run(self._brought)

    def behind(self, work: Callable[[], None]) -> None:
        """Do something to the store right behind the merge, as its owner; if it is merged."""
        self._behind.append(work)


#: Fetches a state: the wire objects that the stream's protocol knows as fetched states.
Fetch: TypeAlias = Callable[[Read], Coroutine[Any, Any, Iterable[Any]]]


class Resync:
    """The resyncs of one connection, one at a time.

    Attributes:
        error: why the last one failed, or which of the sessions that were to be fetched it did not
            repair; None when it did.
    """

    def __init__(
        self,
        fetch: Fetch,
        store: StreamStore,
        owner: Owner,
        policy: Policy,
        clock: Clock,
        chance: Callable[[], float],
        changed: Callable[[], None],
        merged: Callable[[], None],
        brought: Callable[[], frozenset[str]],
        notes: Callable[[], Coroutine[Any, Any, dict[str, str]]],
    ) -> None:
        import asyncio

        self._fetch = fetch
        self._store = store
        self._owner = owner
        self._policy = policy
        self._clock = clock
        self._chance = chance
        self._changed = changed
        self._merged = merged
        self._brought = brought
        self._notes = notes  # those of the store, but for what is another connection's to fetch
        self._stream: Stream | None = None
        self._live = asyncio.Event()
        self._wake = asyncio.Event()
        self._looking = False
        # Sessions that the last state did not repair, and when they are asked for again.
        self._unrepaired: frozenset[str] = frozenset()
        self._patience = Backoff(policy)
        self._not_before = 0.0
        self._asked: dict[str, str] = {}
        self._everything = False
        self._reason = ""
        self._requested = 0
        self._done = 0
        self._over = False
        self._finished: asyncio.Future[None] | None = None
        self.error: Exception | None = None

    @property
    def owed(self) -> bool:
        """Whether one was requested that has not succeeded yet."""
        return self._requested > self._done

    def live(self, stream: Stream | None) -> None:
        """A stream is open and what the server does from now on comes through it; None: no more."""
        self._stream = stream
        if stream is None:
            self._live.clear()
        else:
            self._live.set()

    def request(self, reason: str, sessions: Mapping[str, str] | None = None) -> int:
        """Ask for one; those that wait are one. Its number, for `finished`."""
        self._requested += 1
        self._reason = reason
        if sessions:
            self._asked.update(sessions)
        else:
            self._everything = True
        self._wake.set()
        return self._requested

    def look(self) -> None:
        """Events came: ask the store soon whether it wants a session fetched again."""
        if not self._looking:
            self._looking = True
            self._wake.set()

    async def finished(self, number: int) -> None:
        """Come back when the resync with this number has succeeded, or none will any more."""
        import asyncio

        while self._done < number and not self._over:
            if self._finished is None:
                self._finished = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._finished)

    def abandon(self) -> None:
        """The connection has ended: nobody need wait any longer."""
        self._over = True
        self._tell()

    def _tell(self) -> None:
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)
        self._finished = None

    async def run(self) -> None:
        """Do what is requested; never returns.

        Raises:
            PoisonedStream: the store refused `Policy.same_place` fetched states in a row.
            CallerError: the fetching function says that it cannot work at all.
        """
        backoff = Backoff(self._policy)
        refused = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.owed or self._looking:
                await self._live.wait()
                if not self.owed:
                    await self._look()
                    continue
                number = self._requested
                try:
                    applied = await self._once()
                except CallerError:
                    raise
                except Exception as error:  # whoever fetches may use any library
                    self.error = error
                    refused = refused + 1 if isinstance(error, SnapshotRefused) else 0
                    if refused >= self._policy.same_place:
                        raise PoisonedStream(
                            f"{refused} fetched states in a row were refused: {error}"
                        ) from error
                    self._everything = True
                    self._changed()
                    after_ms = error.after_ms if isinstance(error, ConnectionLost) else None
                    await self._clock.sleep(backoff.next(self._chance(), after_ms))
                    continue
                if not applied:
                    self._everything = True
                    continue  # the stream has ended meanwhile; the next one owes it
                backoff.reset()
                refused = 0
                self.error = self._shortfall()
                self._done = number
                await self._owner.run(self._merged)
                self._tell()
                self._changed()
                await self._clock.sleep(self._policy.resync_pause_ms)

    async def _look(self) -> None:
        # After a pause: what the events of a second ask for is one request.
        await self._clock.sleep(self._policy.resync_pause_ms)
        self._looking = False
        asked = await self._notes()
        self._unrepaired = await self._owner.run(self._still_unrepaired)
        if self.error is not None and not self._unrepaired:
            self.error = None  # the last one only fell short, and something else made up for it
            self._changed()
        if asked.keys() <= self._unrepaired and self._clock.now() < self._not_before:
            return  # every byte asks again, and one comes: silence ends the connection
        if asked:
            self.request(next(iter(asked.values())), asked)

    def _still_unrepaired(self) -> frozenset[str]:
        return self._unrepaired & self._store.resync.keys()

    def _shortfall(self) -> SnapshotRefused | None:
        if not self._unrepaired:
            self._patience.reset()
            return None
        wait = self._patience.next(self._chance())
        self._not_before = self._clock.now() + wait
        some = ", ".join(repr(one[:80]) for one in sorted(self._unrepaired)[:3])
        return SnapshotRefused(
            f"{len(self._unrepaired)} of the sessions that were to be fetched again ({some}) are "
            "not repaired by the fetched state: it lacks them, or says neither `readFrom` (see "
            "`Read.token`) nor `seq`, or, where numbers are missing, no `seq` behind those. "
            f"Asked for again in {wait / 1000:.0f} s or later"
        )

    async def _once(self) -> bool:
        import asyncio

        sessions = {} if self._everything else dict(self._asked)
        self._everything, self._asked = False, {}
        if sessions:  # what is asked for since is not what is fetched
            wanted = await self._owner.run(lambda: sessions.keys() & self._store.resync.keys())
        else:
            wanted = set(await self._notes())
        read = Read(self._reason, sessions, self._store, self._owner, self._brought)
        deadline = Silence(
            self._clock, self._policy.snapshot_ms, "fetching the state did not come to an end"
        )
        wires = list(_wires(await watched(_awaited(self._fetch(read)), deadline)))
        for place, wire in enumerate(wires):
            # One at a time: the loop has a turn between two, so that a large state is no freeze.
            await asyncio.sleep(0)
            part = f"part {place + 1} of {len(wires)}"
            if not await self._owner.run(partial(self._apply, wire, part)):
                return False
        return await self._owner.run(partial(self._finish, read, frozenset(wanted)))

    def _finish(self, read: Read, wanted: frozenset[str]) -> bool:
        if self._stream is None or self._stream.ended:
            return False
        self._unrepaired = (self._unrepaired | wanted) & self._store.resync.keys()
        for work in read._behind:
            work()
        return True

    def _apply(self, wire: Any, part: str) -> bool:
        stream = self._stream
        if stream is None or stream.ended:
            return False
        for _, verdict in stream.ingest_many([wire]):
            if verdict.kind in ("malformed", "unknown", "refused") and verdict.reason != "removed":
                said = verdict.detail or verdict.reason
                raise SnapshotRefused(
                    f"the store refused {part} of the fetched state: {verdict.kind}: {said}"
                )
        return True


def _awaited(fetching: Any) -> Coroutine[Any, Any, Any]:
    """What a function that fetches gave, if it can be waited for.

    What it is does not show before: a lambda may well give a coroutine.
    """
    from inspect import isawaitable

    if not isawaitable(fetching):
        raise CallerError(
            "the snapshot= function must be `async def`, and return the wire objects: it gave "
            f"{type(fetching).__name__!r:.80}, which cannot be awaited"
        )
    return fetching  # type: ignore[return-value]  # any awaitable makes a task


def _wires(fetched: Any) -> Iterable[Any]:
    if not isinstance(fetched, Iterable) or isinstance(fetched, Mapping | str | bytes):
        raise CallerError(
            "the snapshot= function must return a list of wire objects, not "
            f"{type(fetched).__name__!r:.80}"
        )
    return fetched
