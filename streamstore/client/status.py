"""How a connection is doing: a value, and its changes one after the other.

Knows no connection: who has one says how to ask and how to wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import attrs

State: TypeAlias = Literal["connecting", "open", "waiting", "ended"]


@attrs.frozen(kw_only=True)
class ConnectionStatus:
    """How a connection is doing; a value, made anew at each change.

    Attributes:
        state: `connecting` (asking), `open` (events come), `waiting` (before asking again),
            `ended`.
        reason: why it waits or has ended, "" otherwise.
        wait_ms: how long it waits.
        reconnects: attempts after the first.
        synced: no resync is owed.
        resync_error: why the last resync failed, or what it did not repair; it is tried again.
    """

    state: State = "connecting"
    reason: str = ""
    wait_ms: float = 0
    reconnects: int = 0
    synced: bool = True
    resync_error: Exception | None = None


class Statuses:
    """The latest status of a connection, again and again; who is slow misses those between."""

    def __init__(
        self, status: Callable[[], ConnectionStatus], changed: Callable[[], Awaitable[None]]
    ) -> None:
        self._status = status
        self._changed = changed
        self._seen: ConnectionStatus | None = None

    def __aiter__(self) -> Statuses:
        return self

    async def __anext__(self) -> ConnectionStatus:
        while (status := self._status()) is self._seen:
            if status.state == "ended":
                raise StopAsyncIteration
            await self._changed()
        self._seen = status
        return status
