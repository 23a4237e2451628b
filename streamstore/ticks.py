"""Schedulers: when a commit happens, and nothing about what it commits.

Knows delays in milliseconds and callbacks. May not know a store, an event or a subscriber, and
reads no clock: time is the owner's event loop, GUI timer or test, which calls back when it is due.
So every race can be replayed, with `ManualTicks` at any moment somebody chooses.

One algorithm serves every scheduler:

- The first work after a quiet spell is shown at the end of the current turn of the loop (a timer
  of 0 ms), so that all that one turn brings is one commit.
- After a commit one timer of `interval_ms` runs, from the commit's *end*: a slow commit leaves
  the loop its rest. Work that comes meanwhile, during the commit too, waits for that timer.
- The timer that ends without work starts none. Nothing wakes an idle program.
- One timer at a time stands for all work, however much there is.

A microtask per event is no tick. Commits that run "soon" after each event (`queueMicrotask`, a
`call_soon` per event) coalesce nothing when events come one per turn of the loop, which is how
sockets deliver them; the interval is what bounds the work per second.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from .errors import CallerError

if TYPE_CHECKING:
    import asyncio
    import threading

Callback: TypeAlias = Callable[[], object]
Cancel: TypeAlias = Callable[[], None]
#: Run a callback once after so many ms, on the owner's loop; returns what cancels it.
Schedule: TypeAlias = Callable[[float, Callback], Callback]

#: Ms from the end of one commit to the next while work keeps coming: a frame at 60 Hz.
INTERVAL_MS = 16


class Ticks(Protocol):
    """What a store asks of a scheduler. All calls but `from_thread` come from the owner's thread.

    - for the store: `start`, `request`, `committed`, `stop`
    - for subscribers' throttles: `call_later`
    - for feeding from other threads: `from_thread`
    """

    def start(self, commit: Callback) -> None:
        """Take the function that commits; the store calls this once, before all else."""
        ...

    def request(self) -> None:
        """Work waits: see to it that `commit` runs once, when it is due.

        Called with the first work after a commit; calling it more often is harmless.
        """
        ...

    def committed(self) -> None:
        """An explicit flush shows everything that waits, so what was requested is done.

        The store calls this as it takes the work, *before* subscribers hear of it: what they feed
        while they are told belongs to the next tick, and its request must stand.
        """
        ...

    def call_later(self, delay_ms: float, callback: Callback) -> Cancel:
        """Run a callback once after a delay; the function returned cancels it, at any time."""
        ...

    def from_thread(self, callback: Callback) -> bool:
        """Run a callback on the owner's loop soon, called from any thread.

        False when that is impossible; the store does it at its owner's next call instead.
        """
        ...

    def meet(self) -> bool:
        """The owner is here: whether `from_thread` works only from now on.

        Called when it opens a stream or subscribes, and with work that comes while a commit is
        asked for already: what was to fire in a loop that is gone is seen to.
        """
        ...

    def stop(self) -> None:
        """Nothing fires afterwards. Final."""
        ...


class _IntervalTicks:
    """The algorithm of this file, over one scheduling function that a subclass injects.

    Two booleans are its whole state: whether work was requested, and whether a timer runs. A
    timer that ends commits what was requested or, when an explicit flush did that already
    (`committed`), lets the spell of work end. So no pending timer ever needs to be recalled:
    it commits nothing twice, and work that comes during the flush or between it and the timer
    is not lost. An explicit flush is the caller's own and does not count against the interval.

    When `commit` raises, the exception goes to whoever called back (the loop's handler), the
    interval runs as after any commit, and the next request schedules again.
    """

    def __init__(self, schedule: Schedule, interval_ms: float) -> None:
        self._schedule = schedule
        self._interval_ms = _duration(interval_ms, "interval_ms")
        self._commit: Callback | None = None
        self._requested = False
        self._running = False  # the one timer of the interval
        self._stopped = False
        # Of every timer that may still fire: what it calls, and what cancels it.
        self._cancels: dict[int, tuple[Callback, Callback]] = {}
        self._numbers = count()

    def start(self, commit: Callback) -> None:
        """Take the function that commits. The same one again is harmless.

        Raises `CallerError` for another one, and after `stop`: make a new scheduler per store.
        """
        if self._stopped or (self._commit is not None and self._commit != commit):
            raise CallerError("a scheduler serves one store, once: make a new one for each store")
        self._commit = commit

    def request(self) -> None:
        """See to one commit: now due at the end of the turn, or when the interval ends.

        Constant, and schedules at most one timer. Does nothing after `stop`. Raises `CallerError`
        before `start`; what the scheduling function raises passes through, and the next request
        tries again.
        """
        if self._commit is None:
            raise CallerError("no store uses this scheduler yet: pass it as ticks= to one")
        if self._stopped:
            return
        self._requested = True
        if not self._running:
            self._run_timer(0)

    def committed(self) -> None:
        """Withdraw the request; call it before an explicit flush notifies anybody. Constant."""
        self._requested = False

    def call_later(self, delay_ms: float, callback: Callback) -> Cancel:
        """Run `callback` once after `delay_ms`; cancelling late or twice is harmless."""
        number = next(self._numbers)
        if self._stopped:
            return _nothing

        def fire() -> None:
            if self._cancels.pop(number, None) is not None:
                callback()

        def cancel() -> None:
            timer = self._cancels.pop(number, None)
            if timer is not None:
                timer[1]()

        # Entered first: a scheduling function that calls back at once must find its timer.
        self._cancels[number] = fire, _nothing
        try:
            recall = self._schedule(_duration(delay_ms, "delay_ms"), fire)
        except BaseException:
            self._cancels.pop(number, None)
            raise
        if number in self._cancels:
            self._cancels[number] = fire, recall
        return cancel

    def meet(self) -> bool:
        """False: nothing becomes known to this scheduler later than its making."""
        return False

    def stop(self) -> None:
        """Cancel every timer; what cannot be cancelled fires into nothing."""
        self._stopped = True
        self._requested = False
        cancels = list(self._cancels.values())
        self._cancels.clear()
        for _, recall in cancels:
            recall()

    def _run_timer(self, delay_ms: float) -> None:
        self._running = True
        try:
            self.call_later(delay_ms, self._timer_ended)
        except BaseException:
            self._running = False  # so that the next request tries again
            raise

    def _timer_ended(self) -> None:
        self._running = False
        if self._requested:
            self._commit_now()

    def _commit_now(self) -> None:
        """Commit what was requested, then run the interval's timer unless it runs already."""
        assert self._commit is not None, "a request needs a start before it"
        self._requested = False
        runs_already, self._running = self._running, True  # a request meanwhile waits for it
        try:
            self._commit()
        finally:
            if not runs_already:
                self._run_timer(self._interval_ms)


class _Due(NamedTuple):
    """A timer of `ManualTicks`; earlier first, at one time in the order of scheduling."""

    at: float
    number: int
    callback: Callback


class ManualTicks(_IntervalTicks):
    """Virtual time, for tests and replays: nothing happens until somebody says so.

    - time: `now`, `advance`, `run`; what waits: `pending`
    - commits: `tick`

    Without `interval_ms` nothing commits but `tick` (and `run`, which ends with one), while
    throttles (`call_later`) follow virtual time. With it, commits come as under every other
    scheduler of this file, in virtual time.

    >>> ticks = ManualTicks(interval_ms=16)
    >>> ticks.start(lambda: print("commit at", ticks.now))
    >>> ticks.request()
    >>> ticks.request()
    >>> ticks.advance(0)  # the end of the turn
    commit at 0.0
    >>> ticks.request()
    >>> ticks.advance(15)
    >>> ticks.advance(1)
    commit at 16.0
    >>> ticks.run(), ticks.pending  # the interval ends without work: quiet
    (32.0, 0)
    """

    def __init__(self, interval_ms: float | None = None) -> None:
        super().__init__(self._at, INTERVAL_MS if interval_ms is None else interval_ms)
        self._commits_alone = interval_ms is not None
        self._timers: dict[int, _Due] = {}
        self._inbox: deque[Callback] = deque()  # appended to by any thread
        self._due_numbers = count()
        self._now = 0.0

    @property
    def now(self) -> float:
        """Virtual time in ms; starts at 0."""
        return self._now

    @property
    def pending(self) -> int:
        """How many timers may still fire; 0 when all is quiet."""
        return len(self._timers)

    def tick(self) -> bool:
        """Commit now if work was requested; whether it was. Takes no virtual time."""
        self._drain()
        if not self._requested:
            return False
        self._commit_now()
        return True

    def advance(self, ms: float) -> None:
        """Let `ms` pass; fire what comes due, in order, `now` being its time while it runs.

        0 is the end of the current turn. When a callback raises, time stands still at its moment
        and the rest stays due.
        """
        until = self._now + _duration(ms, "ms")
        self._drain()
        while self._timers and min(self._timers.values()).at <= until:
            self._fire_next()
        self._now = max(self._now, until)

    def run(self, limit: int = 10_000) -> float:
        """Fire everything in order until no timer is left, then `tick`; returns `now`.

        Raises `CallerError` after `limit` timers: callbacks that schedule for ever never end.
        """
        for _ in range(limit):
            if self._timers:
                self._fire_next()
            elif not self.tick():
                return self._now
        raise CallerError(f"{limit} timers fired and more are due: advance() by a time instead")

    def from_thread(self, callback: Callback) -> bool:
        """Keep a callback for the owner's next `advance`, `run` or `tick`; False once stopped."""
        if self._stopped:
            return False
        self._inbox.append(callback)
        return True

    def stop(self) -> None:
        """Forget every timer and everything that other threads left."""
        super().stop()
        self._inbox.clear()

    def _run_timer(self, delay_ms: float) -> None:
        if self._commits_alone:
            super()._run_timer(delay_ms)
        else:
            self._running = False

    def _at(self, delay_ms: float, callback: Callback) -> Callback:
        number = next(self._due_numbers)
        self._timers[number] = _Due(self._now + delay_ms, number, callback)
        return lambda: self._timers.pop(number, None)

    def _fire_next(self) -> None:
        due = min(self._timers.values())
        del self._timers[due.number]
        self._now = max(self._now, due.at)
        due.callback()
        self._drain()

    def _drain(self) -> None:
        while self._inbox:
            self._inbox.popleft()()


class TimerTicks(_IntervalTicks):
    """The interval over a scheduler of one function, which is what every GUI timer is.

    `schedule(delay_ms, callback)` runs the callback once, on the GUI's thread, after an integer
    number of ms; 0 means as soon as the current turn of the loop is over. Tk's `root.after` and
    Qt's `QTimer.singleShot` fit as they are. What it returns is not used: a timer that is no
    longer wanted ends in nothing.

    GUI timers may not be started from other threads: some never fire, and the store would wait for
    them. Once one has fired, other threads than its own are refused (`CallerError`) as long as that
    one lives. Where the toolkit has a safe way in (a queued Qt signal, `GLib.idle_add`), pass it as
    `post`, for threads that call `from_thread`; without it `from_thread` says no.

    >>> timers = []
    >>> ticks = TimerTicks(lambda delay_ms, callback: timers.append((delay_ms, callback)))
    >>> ticks.start(lambda: print("commit"))
    >>> ticks.request()
    >>> delay_ms, callback = timers.pop()
    >>> delay_ms
    0
    >>> callback()
    commit
    >>> [delay_ms for delay_ms, callback in timers]
    [16]
    """

    def __init__(
        self,
        schedule: Callable[[int, Callback], object],
        interval_ms: float = INTERVAL_MS,
        *,
        post: Callable[[Callback], object] | None = None,
    ) -> None:
        super().__init__(self._after, interval_ms)
        self._after_ms = schedule
        self._post = post
        self._thread: threading.Thread | None = None  # where a timer fired last

    def from_thread(self, callback: Callback) -> bool:
        """Run a callback on the GUI's thread through `post`; False without one, or stopped."""
        if self._post is None or self._stopped:
            return False
        self._post(lambda: None if self._stopped else callback())
        return True

    def request(self) -> None:
        """`_IntervalTicks.request`; raises `CallerError` in another thread than the timers'."""
        self._same_thread()
        super().request()

    def committed(self) -> None:
        """`_IntervalTicks.committed`; raises `CallerError` in another thread than the timers'."""
        self._same_thread()
        super().committed()

    def _same_thread(self) -> None:
        """Refuse another thread than the one where timers fire, while that one lives."""
        thread = self._thread
        if thread is None or self._stopped:
            return
        import threading

        if thread is threading.current_thread():
            return
        # Of a thread that Python did not start, nobody can tell whether it lives.
        if thread.is_alive() and not isinstance(thread, threading._DummyThread):
            raise CallerError(
                "this store belongs to the thread where its timers fire, and this is another one: "
                "leave bytes with Stream.feed_threadsafe, or let the toolkit call the store there "
                "(what TimerTicks takes as post=)"
            )

    def _after(self, delay_ms: float, callback: Callback) -> Callback:
        import threading

        asking = True

        def fire() -> None:
            if not asking:  # else it calls back at once, and may do so in any thread
                self._thread = threading.current_thread()
            callback()

        # Rounded up: a timer that ends early would end a throttle early.
        self._after_ms(math.ceil(delay_ms), fire)
        asking = False
        return _nothing


class AsyncioTicks(_IntervalTicks):
    """The interval over an asyncio event loop.

    A commit runs as a callback of the loop, never inside the task that feeds the store, so it sees
    whole turns; a task that feeds many events without awaiting anything makes one turn of them.

    Without `loop` it takes the running one at the first request or delay, so that a store can be
    made before the loop runs, and go on in another loop when that one has ended, with all that
    waited; other threads reach the one that ran when the store was made, opened or subscribed to,
    too.
    What a commit raises goes to the loop's exception handler. While a loop runs, other threads are
    refused (`CallerError`): they call `from_thread` alone.
    """

    def __init__(
        self,
        interval_ms: float = INTERVAL_MS,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(self._on_loop, interval_ms)
        self._loop = loop
        self._given = loop is not None
        self._first: asyncio.AbstractEventLoop | None = None  # ran when the store was made

    def start(self, commit: Callback) -> None:
        """Take the function that commits, and note the running loop, if any."""
        super().start(commit)
        self.meet()

    def meet(self) -> bool:
        """Note the running loop, if any: other threads reach it from now on. Whether it is new."""
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._dead(self._loop):
            self._move(loop)
        new, self._first = loop is not self._first, loop
        return new

    def from_thread(self, callback: Callback) -> bool:
        """Run a callback in the loop's thread; False without a loop yet, or when it is closed."""
        loop = self._loop if self._given else self._first or self._loop
        if loop is None or self._stopped:
            return False
        try:
            loop.call_soon_threadsafe(lambda: None if self._stopped else callback())
        except RuntimeError:  # "Event loop is closed"
            return False
        return True

    def request(self) -> None:
        """`_IntervalTicks.request`; what waited in a loop that is gone goes on in this one.

        Raises `CallerError` in another thread than that of the loop.
        """
        self._same_thread()
        if self._running and self._dead(self._loop):
            self._move(_running_loop())
        super().request()

    def committed(self) -> None:
        """`_IntervalTicks.committed`; raises `CallerError` in another thread than the loop's."""
        self._same_thread()
        super().committed()

    def call_later(self, delay_ms: float, callback: Callback) -> Cancel:
        """`_IntervalTicks.call_later`; what waited in a loop that is gone goes on in this one."""
        if self._dead(self._loop):
            self._move(_running_loop())
        return super().call_later(delay_ms, callback)

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on in another loop: timers of one that is gone end with this turn, or never."""
        self._loop = loop
        for number, (fire, _) in list(self._cancels.items()):
            self._cancels[number] = fire, loop.call_soon(fire).cancel

    def _same_thread(self) -> None:
        """Refuse another thread than the loop's: what it asks of a loop that sleeps wakes none."""
        loop = self._loop or self._first
        if loop is None or self._stopped or not loop.is_running():
            return
        import asyncio

        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        # One that has served no loop yet takes this one.
        if here is loop or (here is not None and self._loop is None):
            return
        raise CallerError(
            "this store belongs to the thread of its event loop, and this is another one: leave "
            "bytes with Stream.feed_threadsafe, or let loop.call_soon_threadsafe call the store"
        )

    def _dead(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether timers of a loop never fire: it was closed, or is ours and runs no more."""
        if loop is None or self._given or self._stopped:
            return False
        return loop.is_closed() or not loop.is_running()

    def _on_loop(self, delay_ms: float, callback: Callback) -> Callback:
        loop = self._loop
        if loop is None:
            loop = self._loop = _running_loop()
        # `call_soon` is the end of this turn: it runs before what the sockets bring next.
        handle: Any = (
            loop.call_later(delay_ms / 1000, callback) if delay_ms else loop.call_soon(callback)
        )
        cancel: Callback = handle.cancel
        return cancel


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise CallerError(
            "AsyncioTicks needs an event loop: feed the store inside a running one, or pass loop="
        ) from None


def _duration(ms: float, name: str) -> float:
    if isinstance(ms, bool) or not 0 <= ms < math.inf:
        raise CallerError(f"{name} must be a number of milliseconds from 0, not {ms!r}")
    return ms


def _nothing() -> None:
    """Cancel a timer that cannot be cancelled, or is gone."""
