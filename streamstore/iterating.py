"""Change sets as an async iterator: a subscriber that merges what comes while nobody awaits.

Knows change sets, subscriptions and asyncio's event; no store, row or scheduler.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NoReturn

from .changes import ChangeSet, Locate, MergedChanges
from .errors import CallerError
from .subscribers import Present, Subscription


def weak(owner: object, method: Callable[..., object]) -> Callable[..., None]:
    """A method of an object that is called as long as somebody else holds the object."""
    held = weakref.ref(owner)

    def call(*arguments: object) -> None:
        found = held()
        if found is not None:
            method(found, *arguments)

    return call


class Changes:
    """What `StreamStore.changes` gives: an async iterator of merged change sets.

    It hears from the moment it is made, so that nothing falls between a read and the first
    `anext`. `close()` ends it; so does leaving a `with` block, the store's own close, and nobody
    holding it any more.

    Attributes:
        state: what the scope held when it was made.
    """

    def __init__(self, bound: int, locate: Locate) -> None:
        self._bound = bound
        self._locate = locate
        self._waiting = MergedChanges()
        self._left: ChangeSet | None = None
        self._wake: Callable[[], object] | None = None
        self._subscription: Subscription | None = None
        self.state = Present(0)

    def __reduce_ex__(self, _: object) -> NoReturn:
        # A copy that is let go would close what the original hears by.
        raise TypeError("an iterator of changes cannot be copied or pickled: ask for another one")

    def begin(self, subscription: Subscription) -> None:
        """Take the subscription that `hear` is the callback of."""
        self._subscription = subscription
        self.state = subscription.state
        subscription.on_close = weak(self, Changes._ended)

    def hear(self, changes: ChangeSet) -> None:
        """Merge a change set into what waits."""
        self._waiting.add(changes)
        if self._waiting.size > self._bound:
            self._waiting.become_reset()
        self._arrived()

    def _arrived(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def _ended(self) -> None:
        # Taken now: the store goes on, and places are those of the moment of taking.
        if self._waiting.last is not None:
            assert self._subscription is not None
            if self._subscription.lags(self._waiting.last.version):
                self._waiting.become_reset()  # closed in a callback: places of now are too late
            self._left = self._waiting.take(self._locate)
        self._arrived()

    def close(self) -> None:
        """Hear nothing more; who waits for the next change set is told that there is none.

        What it heard before can still be taken. Closed inside a callback that may be a `reset`:
        the store may be ahead of it.
        """
        if self._subscription is not None:
            self._subscription.close()

    def __del__(self) -> None:
        if self._subscription is not None and not self._subscription.closed:
            self._subscription.abandon()

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> ChangeSet:
        while self._waiting.last is None:
            left, self._left = self._left, None
            if left is not None:
                return left
            if self._subscription is None or self._subscription.closed:
                raise StopAsyncIteration
            await self._next()
        return self._waiting.take(self._locate)

    async def _next(self) -> None:
        import asyncio

        if self._wake is not None:
            raise CallerError("two tasks iterate over one `changes()`: make one for each")
        arrived = asyncio.Event()
        self._wake = wake = arrived.set
        try:
            await arrived.wait()
        finally:
            if self._wake is wake:  # else it was woken, and by now another one may wait
                self._wake = None

    async def aclose(self) -> None:
        """`close`, for `contextlib.aclosing`."""
        self.close()
