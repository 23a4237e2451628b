"""The blocking twin of `connect`, for programs without an event loop: a thread that follows.

The thread runs an event loop of its own, and nothing in it touches the store: bytes go through
`Stream.feed_threadsafe`, and the rest (opening and ending streams, merging a fetched state) waits
for the store's owner, who comes by in `poll`, `wait` and at the end of the block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack

from ..errors import CallerError, InboxFull
from ..pipeline import Stream, StreamStore
from .connecting import Options, connect
from .connection import Connection
from .status import ConnectionStatus, State
from .transport import AsyncioClock, Clock

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
Work: TypeAlias = Callable[[], None]

#: How soon bytes are offered again that the store's inbox had no room for, in ms.
_AGAIN_MS = 10.0


class _Elsewhere:
    """An owner in another thread: work waits for it, one piece after the other."""

    def __init__(self, clock: Clock, leave: Callable[[Work], object], most: int) -> None:
        """`most`: bytes that the store's inbox may hold."""
        self._clock = clock
        self._leave = leave
        self._most = most
        self._knocked = False  # the owner was told of bytes and has not come by yet
        self._failed: Exception | None = None  # what the store raised at the owner

    async def run(self, work: Callable[[], T]) -> T:
        """Hand it over and wait; when cancelled it may still be done, as one whole."""
        import asyncio
        from concurrent.futures import Future

        future: Future[T] = Future()

        def do() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = work()
            except Exception as error:
                future.set_exception(error)
            except BaseException as error:  # Ctrl-C: the owner's to hear, and not the connection's
                future.set_exception(CallerError(f"{type(error).__name__} at the store's owner"))
                raise
            else:
                future.set_result(result)

        self._leave(do)
        return await asyncio.wrap_future(future)

    async def feed(self, stream: Stream, data: bytes) -> bool:
        """Leave the bytes in the store's inbox; where it is full, wait: the server must, too."""
        for start in range(0, len(data), self._most):  # more at once would never fit
            await self._feed(stream, data[start : start + self._most])
        return False

    async def _feed(self, stream: Stream, data: bytes) -> None:
        while True:
            if self._failed is not None:
                raise self._failed
            try:
                stream.feed_threadsafe(data)
            except InboxFull:
                await self._clock.sleep(_AGAIN_MS)
            else:
                self._knock(stream)
                return

    def _knock(self, stream: Stream) -> None:
        """Bytes are work, too: whoever waits for some is woken, once for all that wait."""

        def take() -> None:
            self._knocked = False  # first: what is left from here on knocks again
            self.take(stream)

        if not self._knocked:
            self._knocked = True
            self._leave(take)

    def take(self, stream: Stream) -> None:
        """Let the store take in what waits; in the owner's thread.

        What it raises is the owner's to hear, and ends the connection with its next bytes: a
        toolkit that is called by `post` may well swallow it.
        """
        if stream.ended:
            return
        try:
            stream.feed(b"")
        except Exception as error:
            self._failed = error
            raise


class BlockingConnection:
    """A connection that runs in a thread; made by `connect_blocking`, used in `with`.

    All methods are for the thread that owns the store. That thread must call `poll` (or `wait`)
    now and then: streams are opened and ended there. Where the toolkit has a safe way to run
    something on that thread without waiting for it, pass it as `post`, and no polling is needed.
    """

    def __init__(
        self,
        store: StreamStore,
        make: Callable[[Any], Connection],
        clock: Clock,
        post: Callable[[Work], object] | None,
    ) -> None:
        self._store = store
        self._make = make
        self._todo: SimpleQueue[Work] = SimpleQueue()
        self._post = post
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self._elsewhere = _Elsewhere(clock, self._leave, store.limits.inbox_bytes)
        self._made = threading.Event()
        self._failed: BaseException | None = None
        self._over = False  # nothing will be left for the owner any more
        self._main: asyncio.Task[Any] | None = None

    @property
    def status(self) -> ConnectionStatus:
        """How it is doing now; from any thread."""
        return ConnectionStatus() if self._connection is None else self._connection.status

    @property
    def state(self) -> State:
        """`connecting`, `open`, `waiting` or `ended`."""
        return self.status.state

    @property
    def reconnects(self) -> int:
        """Attempts after the first."""
        return self.status.reconnects

    @property
    def error(self) -> BaseException | None:
        """Why it ended; None while it lives, and when its end was no error."""
        return self._failed or (None if self._connection is None else self._connection.error)

    def poll(self, timeout: float = 0) -> ConnectionStatus:
        """Do what waits for the owner, and let the store take in what has come.

        Waits up to `timeout` seconds for something to do, or for its end.

        Raises:
            CallerError: `timeout` is no number. Else what the store raises.
        """
        timeout = _seconds(timeout)
        if timeout > 0 and not self._over:
            try:
                self._todo.get(timeout=timeout)()
            except Empty:
                pass
        self._pump()
        stream = None if self._connection is None else self._connection.stream
        if stream is not None:
            self._elsewhere.take(stream)
        return self.status

    def wait(self, timeout: float | None = None) -> bool:
        """Poll until it has ended, or for `timeout` seconds; whether it has ended.

        Raises:
            `error`, if there is one; `CallerError` where it was not entered, or `timeout` is no
            number.
        """
        import time

        if self._thread is None:
            raise CallerError("the connection was not entered: with connect_blocking(...) as it")
        until = None if timeout is None else time.monotonic() + _seconds(timeout)
        while self._thread is not None and self._thread.is_alive():
            if until is not None and time.monotonic() >= until:
                return False
            self.poll(0.02)
        self.poll()
        if self.error is not None:
            raise self.error
        return True

    def resync(self) -> None:
        """Ask for the server's state; `status.synced` says when it is merged.

        Raises:
            CallerError: no `snapshot` function was given, or the connection has ended or was not
                entered.
        """
        connection, loop = self._connection, self._loop
        if connection is None or loop is None or connection.state == "ended":
            raise CallerError("the connection has ended, or was not entered yet")
        connection.require_snapshot()
        loop.call_soon_threadsafe(self._request_resync)

    def close(self) -> None:
        """End it; its thread is gone when this comes back.

        What cannot be cancelled is left to end by itself: the system's look-up of a name, and a
        thread that a `snapshot` function waits for. What the store raises meanwhile is raised when
        it is gone.
        """
        thread, loop = self._thread, self._loop
        if thread is None:
            return
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._cancel)
            except RuntimeError:
                pass  # it has ended by itself
        failed: Exception | None = None
        while thread.is_alive():
            try:
                self.poll(0.02)
            except Exception as error:  # the thread waits for the rest of its work all the same
                failed = failed or error
            thread.join(0)
        self.poll()
        if failed is not None:
            raise failed

    def __enter__(self) -> BlockingConnection:
        if self._thread is not None:
            raise CallerError("a connection lives once: connect again for another one")
        self._thread = threading.Thread(
            target=self._work, name="streamstore connection", daemon=True
        )
        self._thread.start()
        self._made.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pump(self) -> None:
        while True:
            try:
                work = self._todo.get_nowait()
            except Empty:
                return
            work()

    # -- in the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        import asyncio

        try:
            asyncio.run(self._follow())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._failed = error
        finally:
            self._made.set()
            self._over = True
            self._todo.put(_nothing)  # whoever waits in `poll` is woken

    async def _follow(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(_left_alone())
        self._main = asyncio.current_task()
        self._connection = connection = self._make(self._elsewhere)
        async with connection:
            self._made.set()
            while connection.state != "ended":
                await connection.changed()

    def _leave(self, work: Work) -> None:
        # In a queue also where the owner is called: while it waits in `close`, it takes from there.
        self._todo.put(work)
        if self._post is not None:
            self._post(self._pump)

    def _request_resync(self) -> None:
        connection = self._connection
        if connection is not None and connection.state != "ended":
            connection.request_resync()

    def _cancel(self) -> None:
        if self._main is not None:
            self._main.cancel()


def _seconds(timeout: float) -> float:
    """A number of seconds, and no more than a thread can wait for."""
    # NaN is less than nothing and more than nothing, and would be waited for without an end.
    if not hasattr(timeout, "__float__") or timeout != timeout:
        raise CallerError(f"timeout= takes seconds, not {timeout!r:.80}")
    return float(min(timeout, threading.TIMEOUT_MAX))


def _nothing() -> None:
    pass


def _left_alone() -> ThreadPoolExecutor:
    """Threads that the end of their event loop does not wait for.

    In one of them the system looks a name up, which without a network takes it up to a minute and
    cannot be cancelled: the owner, with a window that is closed, would stand still so long.
    """
    from concurrent.futures import ThreadPoolExecutor

    class LeftAlone(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=True)

    return LeftAlone()


def connect_blocking(
    url: str,
    *,
    store: StreamStore,
    post: Callable[[Work], object] | None = None,
    clock: Clock | None = None,
    **options: Unpack[Options],
) -> BlockingConnection:
    """Follow an event stream from a thread: `with connect_blocking(url, store=store) as c`.

    Args:
        url, store, options: as for `connect`. A `snapshot` function, and a `transport`, run in the
            connection's thread and must not touch the store.
        post: runs a function without arguments on the thread that owns the store, soon, from any
            thread, and comes back at once: `loop.call_soon_threadsafe`, a queued signal of Qt.
            Without it, `poll`: as with Tk, whose `after` waits in another thread for the main
            loop, so that the end of the block, which waits for that thread, never came.
        clock: time, for tests.

    Raises:
        CallerError: an argument is wrong, or httpx is needed and not installed.
        UnknownProtocol: no adapter has that name.
    """
    if post is not None and not callable(post):
        raise CallerError(f"post= takes a function, not {type(post).__name__!r:.80}")
    clock = clock or AsyncioClock()

    def make(owner: Any) -> Connection:
        return connect(url, store=store, owner=owner, clock=clock, **options)

    make(None)  # what is wrong with the arguments is said here, not in a thread
    return BlockingConnection(store, make, clock, post)
