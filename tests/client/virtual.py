"""Virtual time and a virtual network, so that every race of the client can be replayed.

`run` runs a coroutine in an event loop whose clock jumps to the next timer when nothing is ready:
hours pass in no time, and always in the same order. `VirtualTransport` answers requests by a
function, counts every await of its own, and knows what is still open.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import attrs

from streamstore.client import ConnectionLost, Request

T = TypeVar("T")

EVENT_STREAM = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


class Stuck(AssertionError):
    """Everybody waits, and no timer will ever wake anybody."""


class _Selector:
    """Waits for nothing: instead of a timeout, time jumps."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._real = selectors.DefaultSelector()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        found = self._real.select(0)
        if not found:
            if timeout is None:
                raise Stuck("nothing is due, and nothing will be")
            self._loop.virtual = round(self._loop.virtual + max(0.0, timeout), 9)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, in s; starts at 0."""

    def __init__(self) -> None:
        self.virtual = 0.0
        super().__init__(_Selector(self))  # type: ignore[arg-type]

    def time(self) -> float:
        return self.virtual


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run in virtual time; fails when a task is left behind."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def alone() -> T:
            try:
                return await work
            finally:
                left = asyncio.all_tasks() - {asyncio.current_task()}
                assert not left, f"left behind: {left}"

        return runner.run(alone())


class VirtualClock:
    """The virtual loop's time in ms; `steps` counts its awaits, if given."""

    def __init__(self, steps: Steps | None = None, wall: float = 1_000_000_000_000) -> None:
        self.slept: list[float] = []
        self._steps = steps
        self._wall = wall

    def now(self) -> float:
        return asyncio.get_running_loop().time() * 1000

    def wall(self) -> float:
        return self._wall + self.now()

    async def sleep(self, ms: float) -> None:
        self.slept.append(ms)
        if self._steps is not None:
            self._steps.step()
        await asyncio.sleep(ms / 1000)


class Steps:
    """Numbers every await of the virtual network, and does something at one of them."""

    def __init__(self, at: int | None = None, then: Callable[[], object] = lambda: None) -> None:
        self.count = 0
        self.at = at
        self.then = then

    def step(self) -> None:
        if self.count == self.at:
            self.then()
        self.count += 1


@attrs.define
class Answer:
    """What a virtual server answers: a head after `after_ms`, then the body.

    The body: bytes are a chunk, a number is a wait in ms, an exception is raised (`None` hangs for
    ever); or an async iterator of chunks.
    """

    status: int = 200
    headers: Mapping[str, str] = EVENT_STREAM
    body: Iterable[Any] | AsyncIterator[bytes] = ()
    after_ms: float = 0


class VirtualResponse:
    def __init__(self, transport: VirtualTransport, answer: Answer) -> None:
        self._transport = transport
        self._answer = answer
        self.status = answer.status
        self.headers = answer.headers
        self.closed = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        body = self._answer.body
        if isinstance(body, AsyncIterator):
            try:
                async for chunk in body:
                    self._transport.steps.step()
                    await asyncio.sleep(0)
                    yield chunk
            finally:
                await body.aclose()  # type: ignore[attr-defined]
            return
        for piece in body:
            self._transport.steps.step()
            if isinstance(piece, bytes):
                await asyncio.sleep(0)
                yield piece
            elif piece is None:
                await asyncio.Event().wait()
            elif isinstance(piece, BaseException):
                raise piece
            else:
                await asyncio.sleep(piece / 1000)

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            self._transport.open_now -= 1
            # A real socket takes a turn to close; whoever is cancelled here must still be done.
            await asyncio.sleep(0)


class VirtualTransport:
    """Answers by `serve(request)`, which gives an `Answer`, or an exception to raise."""

    def __init__(
        self, serve: Callable[[Request], Answer | BaseException], steps: Steps | None = None
    ) -> None:
        self.serve = serve
        self.steps = steps or Steps()
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.open_now = 0
        self.closed = False

    async def open(self, request: Request) -> VirtualResponse:
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time() * 1000)
        self.steps.step()
        await asyncio.sleep(0)
        answer = self.serve(request)
        if isinstance(answer, BaseException):
            raise answer
        if answer.after_ms:
            self.steps.step()
            await asyncio.sleep(answer.after_ms / 1000)
        self.open_now += 1
        return VirtualResponse(self, answer)

    async def aclose(self) -> None:
        self.closed = True


def served(*answers: Any) -> Callable[[Request], Any]:
    """One answer after the other, the last again and again."""
    left = list(answers)

    def serve(request: Request) -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer() if callable(answer) else answer

    return serve


def events(*bodies: Any, drop: bool = True) -> Callable[[], Answer]:
    """A stream that sends these pieces and is then cut, or stays silent."""
    end = ConnectionLost("cut") if drop else None
    return lambda: Answer(body=[*bodies, end])
