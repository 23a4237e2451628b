"""Who may touch the store: its owner. A connection asks through one of these.

In the owner's own event loop that is a call; a connection in another thread waits until the owner
comes by (`blocking.py`). Knows stores and streams; no transport.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from ..pipeline import Stream

T = TypeVar("T")


class Owner(Protocol):
    """Runs what needs the store on the thread that owns it, in the order of asking."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do it and give its result; what it raises is raised here."""
        ...

    async def feed(self, stream: Stream, data: bytes) -> bool:
        """Let a stream take in bytes, before any later `run`; whether it has done so already."""
        ...


class SameLoop:
    """The connection runs in the event loop of the store's owner."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do it now."""
        return work()

    async def feed(self, stream: Stream, data: bytes) -> bool:
        """Feed it now."""
        stream.feed(data)
        return True
