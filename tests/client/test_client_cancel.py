"""Cancelled at any await, and closed at any time, a connection leaves nothing behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from test_client_connection import frames, make
from virtual import Answer, Steps, VirtualClock, VirtualTransport, run

from streamstore import StreamStore
from streamstore.client import ConnectionLost, Read, Request


def scenario(steps: Steps) -> tuple[VirtualTransport, VirtualClock, Any]:
    """A redirect, a stream that is cut, a refusal for now, a stream, a snapshot that fails first."""
    number = 0
    fetched = 0

    def serve(request: Request) -> Any:
        nonlocal number
        number += 1
        if number == 1:
            return Answer(307, {"location": "/there"}, after_ms=5)
        if number == 2:
            return Answer(body=[*frames(1, 2), 50.0, ConnectionLost("cut")], after_ms=5)
        if number == 3:
            return ConnectionLost("refused")
        if number == 4:
            return Answer(503, {"retry-after": "2"})
        return Answer(body=[*frames(3, 3), 300.0, *frames(4, 4)])

    clock = VirtualClock(steps)

    async def fetch(read: Read) -> Any:
        nonlocal fetched
        fetched += 1
        await clock.sleep(10)
        if fetched == 1:
            raise OSError("down")
        return []

    return VirtualTransport(serve, steps), clock, fetch


async def follow(transport: VirtualTransport, clock: VirtualClock, fetch: Any) -> StreamStore:
    store = StreamStore()
    async with make(transport, store, clock=clock, snapshot=fetch) as connection:
        while connection.reconnects < 5:
            await connection.changed()
    return store


def count() -> int:
    steps = Steps()
    transport, clock, fetch = scenario(steps)
    store = run(follow(transport, clock, fetch))
    assert transport.open_now == 0 and not store._streams
    return steps.count


AWAITS = count()


def test_the_scenario_awaits_often_enough_to_mean_something() -> None:
    assert AWAITS > 25


@pytest.mark.parametrize("again", [0, 1, 3])
@pytest.mark.parametrize("at", range(AWAITS))
def test_cancelled_at_any_await_it_leaves_no_task_and_no_socket(at: int, again: int) -> None:
    """Once, and again some turns later, while it is cleaning up."""

    async def main() -> None:
        work: asyncio.Task[Any] | None = None

        def cancel() -> None:
            assert work is not None
            work.cancel()
            if again:
                loop = asyncio.get_running_loop()

                def later(turns: int) -> None:
                    if turns:
                        loop.call_soon(later, turns - 1)
                    elif not work.done():
                        work.cancel()

                later(again)

        steps = Steps(at, cancel)
        transport, clock, fetch = scenario(steps)
        work = asyncio.create_task(follow(transport, clock, fetch))
        with pytest.raises(asyncio.CancelledError):
            await work
        assert transport.open_now == 0

    run(main())  # and no task


@pytest.mark.parametrize("ms", [0, 4, 5, 6, 10, 11, 20, 55, 61, 500, 1_060, 1_061, 5_000, 20_000])
def test_left_at_any_time_it_leaves_no_task_and_no_socket(ms: int) -> None:
    async def main() -> None:
        transport, clock, fetch = scenario(Steps())
        store = StreamStore()
        async with make(transport, store, clock=clock, snapshot=fetch) as connection:
            await asyncio.sleep(ms / 1000)
        assert connection.state == "ended" and transport.open_now == 0
        assert not store._streams, "its stream has ended"
        await connection.aclose()

    run(main())


@pytest.mark.parametrize("limit", [45_000, 45_000.5, 44_999.5])
def test_cancelled_in_the_turn_in_which_the_watchdog_barks_it_ends(limit: float) -> None:
    """A task group of Python 3.11 forgets the cancellation then, and the loop would go on."""

    async def main() -> None:
        transport = VirtualTransport(lambda request: Answer(body=[None]))
        connection = make(transport)
        async with connection:
            await asyncio.sleep(limit / 1000)
        assert connection.state == "ended" and transport.open_now == 0

    run(main())


def test_never_entered_it_needs_no_end() -> None:
    async def main() -> None:
        connection = make(VirtualTransport(lambda request: Answer()))
        await connection.aclose()
        assert connection.state == "connecting"

    run(main())


def test_an_exception_in_the_block_ends_it_and_goes_through() -> None:
    async def main() -> None:
        transport = VirtualTransport(lambda request: Answer(body=[None]))
        with pytest.raises(ZeroDivisionError):
            async with make(transport) as connection:
                await connection.opened()
                raise ZeroDivisionError
        assert transport.open_now == 0

    run(main())


def test_the_transport_of_the_caller_stays_open() -> None:
    async def main() -> None:
        transport = VirtualTransport(lambda request: Answer(body=[None]))
        async with make(transport):
            await asyncio.sleep(1)
        assert not transport.closed

    run(main())
