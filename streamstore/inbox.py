"""`Inbox`: bytes that other threads leave for the streams of a store's owner, in order.

The one place where threads meet. Knows a lock and how a scheduler is asked to come in; of a stream
it knows that it is fed until it ends, and nothing of what bytes mean.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from .errors import InboxFull
from .ticks import Ticks


class Feeds(Protocol):
    """What bytes are for."""

    ended: bool

    def feed(self, data: bytes) -> None:
        """Take in bytes, in the owner's thread."""
        ...


F = TypeVar("F", bound=Feeds)


class Inbox(Generic[F]):
    """What waits for the owner. At most `bound` bytes; over it `post` refuses, and takes nothing.

    `busy` says whether a stream is being fed now: nothing is drained in the middle of a chunk.

    Attributes:
        waiting: streams and their bytes, in order; a look at it needs no lock.
    """

    def __init__(self, bound: int, ticks: Ticks | None, busy: Callable[[], bool]) -> None:
        self._bound = bound
        self._ticks = ticks
        self._busy = busy
        self._bytes = 0
        self._asked = self._draining = False
        self.lock = threading.Lock()
        self.waiting: deque[tuple[F, bytes]] = deque()

    def post(self, stream: F, data: bytes) -> None:
        """Leave bytes, from any thread.

        Raises:
            InboxFull: more than the bound would wait; these bytes were not taken.
        """
        with self.lock:
            if len(data) > self._bound:
                raise InboxFull(
                    f"{len(data)} bytes at once are more than Limits.inbox_bytes ({self._bound}) "
                    "and never fit: feed them in smaller pieces"
                )
            if self._bytes + len(data) > self._bound:
                raise InboxFull(
                    f"{self._bytes} bytes wait for the store's owner; feed these again later"
                )
            self.waiting.append((stream, bytes(data)))
            self._bytes += len(data)
        self.ask()

    def ask(self) -> None:
        """Ask the owner's loop to drain soon, where the scheduler has one."""
        if self._ticks is not None and not self._asked:
            self._asked = True
            if not self._ticks.from_thread(self.drain):
                self._asked = False  # no loop yet: the next bytes ask again

    def meet(self) -> None:
        """Where the scheduler sees a loop for the first time, what threads left can come in."""
        if self._ticks is not None and self._ticks.meet():
            self._asked = False  # in a loop that may be gone
            if self.waiting:
                self.ask()

    def drain(self) -> None:
        """Take in what other threads left, in order; never one chunk inside another."""
        self._asked = False  # first: who posts from here on asks again
        if not self.waiting or self._draining or self._busy():
            return  # who is feeding asks again
        self._draining = True
        try:
            # What comes meanwhile waits for the next call: producers must not starve the loop.
            for _ in range(len(self.waiting)):
                with self.lock:
                    stream, data = self.waiting.popleft()
                    self._bytes -= len(data)
                if not stream.ended:
                    stream.feed(data)
        finally:
            self._draining = False
            if self.waiting:
                self.ask()
