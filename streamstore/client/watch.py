"""The watchdog: a connection that brings no byte for too long counts as dead.

One task for a connection, which sleeps until the time at which silence would be too long; a byte
costs one look at the clock. Also how two
tasks are run so that neither outlives the other. Knows clocks and tasks; no transport and no store.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from .faults import ConnectionLost, StreamSilent
from .transport import Clock

T = TypeVar("T")


class Silence:
    """How long nothing came. `beat` with every sign of life."""

    def __init__(self, clock: Clock, limit_ms: float, what: str = "no byte came") -> None:
        self._clock = clock
        self._limit_ms = limit_ms
        self._what = what
        self.last = clock.now()
        """When the last sign of life came, in ms of the clock; at first, when it began."""

    def beat(self) -> None:
        """Something came."""
        self.last = self._clock.now()

    async def watch(self) -> None:
        """Sleep until it is too long; never returns.

        Raises:
            StreamSilent: it was.
        """
        while True:
            left = self.last + self._limit_ms - self._clock.now()
            if left < 0.001:  # what a sum of floats may leave is nothing to sleep for
                raise StreamSilent(f"{self._what} for {self._limit_ms / 1000:g} s")
            await self._clock.sleep(left)


async def watched(work: Coroutine[Any, Any, T], silence: Silence) -> T:
    """Do some work until it is done, or silence is too long; see `guarded`.

    Raises:
        StreamSilent: it was too long. Else what the work raises.
    """
    return await guarded(work, silence.watch())


async def guarded(work: Coroutine[Any, Any, T], guard: Coroutine[Any, Any, Any]) -> T:
    """Do some work beside a guard, which never comes to an end but may raise.

    Each in a task of its own; what raises first cancels the other. Cancelled at any time, and
    however often, it comes back when both are gone, and then says so.

    No `asyncio.TaskGroup`: those of Python 3.11 and 3.12 forget a cancellation that comes in the
    turn in which a task fails, and count one that never was.
    """
    import asyncio

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(guard)]
    cancelled = False
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        cancelled = True
    done = [task.done() for task in tasks]
    for task in tasks:
        task.cancel()
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            cancelled = True
    worker, watcher = tasks
    errors = [None if task.cancelled() else task.exception() for task in tasks]
    if cancelled:
        raise asyncio.CancelledError
    if done[0] and not worker.cancelled():
        return worker.result()  # type: ignore[no-any-return]
    raise (
        errors[1]
        or errors[0]
        or ConnectionLost(
            f"{'the work' if worker.cancelled() else watcher.get_name()} was cancelled"
        )
    )
