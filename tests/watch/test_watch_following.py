"""A live server followed: order, drops, and a pause that holds what comes and then stops reading."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "client"))
from virtual import Answer, VirtualClock, VirtualTransport, events, run, served

from streamstore.client import ConnectionLost, Policy, connect
from streamstore.verdicts import Verdict
from streamstore.watch.following import Follower
from streamstore.watch.inspector import Inspector


def event(seq: int, text: str = "x", id: str = "") -> bytes:
    wire = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq, "text": text}
    return (f"id: {id}\n" if id else "").encode() + b"data: " + json.dumps(wire).encode() + b"\n\n"


def now() -> float:
    return asyncio.get_running_loop().time() * 1000


class Watched:
    """An inspector that follows a virtual server; `pumping` stands for the screen's timer."""

    def __init__(self, transport: VirtualTransport, **options: Any) -> None:
        self.inspector = Inspector("native", clock=now)
        self.follower = Follower(self.inspector, transport, now, **options)
        self.connection = connect(
            "http://server/events",
            store=self.inspector.store,
            protocol="native",
            transport=self.follower,
            owner=self.follower,
            clock=VirtualClock(),
            chance=lambda: 0.0,
            policy=Policy(silence_ms=20_000),
        )
        self.follower.connection = self.connection

    async def __aenter__(self) -> Watched:
        self.connection.start()
        self._pump = asyncio.create_task(self._pumping())
        return self

    async def _pumping(self) -> None:
        while True:
            self.follower.pump(now())
            await asyncio.sleep(0.05)

    async def __aexit__(self, *_: object) -> None:
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        self.follower.close()
        await self.connection.aclose()

    @property
    def text(self) -> str:
        part = self.inspector.store.part("main", "m", 0)
        return "" if part is None else part.text

    @property
    def rows(self) -> list[str]:
        return [row.facts.type for row in self.inspector.timeline.rows]


def test_events_are_rows_with_the_time_at_which_they_came() -> None:
    async def scenario() -> None:
        body = [event(1, "a") + event(2, "b")[:9], 300, event(2, "b")[9:], 1_000, event(2, "b")]
        server = VirtualTransport(served(events(*body, drop=False)))
        async with Watched(server) as watched:
            await asyncio.sleep(2)
            assert watched.text == "ab" and watched.follower.status == "live"
            rows = watched.inspector.timeline.rows
            assert [row.offset for row in rows] == pytest.approx([0, 300, 1_300])
            assert [row.verdict and row.verdict.kind for row in rows] == [
                "accepted", "accepted", "duplicate",
            ]  # fmt: skip
        assert server.open_now == 0

    run(scenario())


def test_a_drop_is_a_note_and_the_next_connection_goes_on_where_it_was() -> None:
    async def scenario() -> None:
        server = VirtualTransport(
            served(
                events(event(1, "a", id="1") + event(2, "b", id="2")),
                events(event(2, "b", id="2") + event(3, "c", id="3"), drop=False),
            )
        )
        async with Watched(server) as watched:
            await asyncio.sleep(5)
            assert server.requests[1].headers["last-event-id"] == "2"
            assert watched.text == "abc"
            assert watched.rows == ["block.delta"] * 2 + ["connection ended"] + ["block.delta"] * 2
            assert [row.stream for row in watched.inspector.timeline.rows] == [1, 1, 1, 2, 2]
            for row in reversed(watched.inspector.timeline.rows):
                moment = watched.inspector.after(row)
                assert moment is not None
                part = moment.store.part("main", "m", 0)
                texts = {1: "a", 2: "ab", 3: "ab", 4: "ab", 5: "abc"}
                assert part is not None and part.text == texts[row.number]

    run(scenario())


def test_a_pause_holds_what_comes_and_nothing_of_it_is_lost() -> None:
    async def scenario() -> None:
        body: list[Any] = []
        for seq in range(1, 101):
            body += [event(seq, f"{seq} "), 100]
        server = VirtualTransport(served(events(*body, drop=False)))
        async with Watched(server) as watched:
            await asyncio.sleep(1)
            watched.follower.pause()
            seen = watched.text
            await asyncio.sleep(5)
            assert watched.text == seen != ""
            held = watched.follower.held
            assert held is not None and held[0] == 50
            assert watched.follower.step_event()
            assert len(watched.text.split()) == len(seen.split()) + 1
            assert watched.follower.step_tick(), "events 100 ms apart: one is one tick's"
            assert len(watched.text.split()) == len(seen.split()) + 2
            watched.follower.resume()
            await asyncio.sleep(8)  # the server is silent from the tenth second on
            assert watched.text.split() == [str(seq) for seq in range(1, 101)]
            offsets = [row.offset for row in watched.inspector.timeline.rows]
            assert offsets == pytest.approx([100 * n for n in range(100)]), "when they came"
            assert watched.follower.held is None

    run(scenario())


def test_past_the_bound_the_socket_is_not_read_and_nobody_takes_that_for_silence() -> None:
    reads = 0

    async def body() -> Any:
        nonlocal reads
        for seq in range(1, 1_001):
            reads += 1
            yield event(seq, "x")

    async def scenario() -> None:
        server = VirtualTransport(lambda request: Answer(body=body()))
        async with Watched(server, most_bytes=2_000) as watched:
            watched.follower.pause()
            await asyncio.sleep(200)  # the watchdog's limit is 20 s
            assert watched.connection.state == "open" and len(server.requests) == 1
            assert watched.follower.full and watched.follower.status == "paused, socket not read"
            held = watched.follower.held
            assert held is not None and held[1] <= 2_000 + len(event(1))
            assert reads == held[0] < 30
            while watched.follower.step_event():
                pass
            assert not watched.follower.full
            await asyncio.sleep(60)
            assert reads > held[0], "there is room again"
            watched.follower.resume()
            for _ in range(2_000):
                await asyncio.sleep(0.05)
                if len(watched.text) == 1_000:
                    break
            assert watched.text == "x" * 1_000
            counts = watched.inspector.timeline.counters
            assert counts.verdicts == {"accepted": 1_000}

    run(scenario())


def test_a_drop_during_a_pause_waits_behind_the_events_that_came_before_it() -> None:
    async def scenario() -> None:
        server = VirtualTransport(
            served(
                events(event(1, "a", id="1"), 1_000, event(2, "b", id="2")),
                events(event(3, "c", id="3"), drop=False),
            )
        )
        async with Watched(server) as watched:
            await asyncio.sleep(0.5)
            watched.follower.pause()
            await asyncio.sleep(100)
            assert watched.rows == ["block.delta"] and len(server.requests) == 1
            watched.follower.resume()
            await asyncio.sleep(10)
            assert server.requests[1].headers["last-event-id"] == "2"
            assert watched.text == "abc"

    run(scenario())


def test_quitting_while_paused_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        server = VirtualTransport(served(events(event(1), event(2), 10, event(3), drop=False)))
        async with Watched(server) as watched:
            watched.follower.pause()
            await asyncio.sleep(1)
        assert watched.connection.state == "ended" and watched.follower.ended
        assert watched.text == "xxx" and server.open_now == 0

    run(scenario())  # fails when a task is left


def test_quitting_in_the_middle_of_an_event_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        server = VirtualTransport(served(events(event(1), event(2)[:20], drop=False)))
        async with Watched(server) as watched:
            await asyncio.sleep(1)
            watched.follower.pause()
        assert watched.connection.state == "ended" and watched.text == "x"

    run(scenario())


def test_a_torn_event_at_the_end_of_a_connection_is_the_streams_to_judge() -> None:
    async def scenario() -> None:
        server = VirtualTransport(served(events(event(1, "a") + event(2, "b")[:-5]), events(drop=False)))  # fmt: skip
        async with Watched(server) as watched:
            await asyncio.sleep(3)
            assert watched.text == "a", "an event without its blank line is none"

    run(scenario())


def test_what_the_server_refuses_is_shown_and_safe() -> None:
    async def scenario() -> None:
        server = VirtualTransport(lambda request: Answer(status=404, headers={}))
        async with Watched(server) as watched:
            await asyncio.sleep(1)
            assert watched.follower.ended and watched.follower.status.startswith("ended: ")
            assert "404" in watched.follower.status

    run(scenario())


def test_a_stream_that_nobody_recognises_ends_the_connection_with_the_reason() -> None:
    async def scenario() -> None:
        piece = b'data: {"type": "who.knows"}\n\n'
        server = VirtualTransport(served(events(piece * 100, 1_000, piece, drop=False)))
        watched = Watched(server)
        watched.inspector.protocol = "auto"
        watched.connection = connect(
            "http://server/events", store=watched.inspector.store, transport=watched.follower,
            owner=watched.follower, clock=VirtualClock(), chance=lambda: 0.0,
        )  # fmt: skip
        watched.follower.connection = watched.connection
        async with watched:
            await asyncio.sleep(5)
            assert watched.follower.status.startswith("no protocol recognised")
            assert watched.connection.state == "ended"
            assert watched.inspector.timeline.rows[0].verdict == Verdict(
                "held", "", "until its protocol is recognised"
            )

    run(scenario())


def test_a_lost_connection_says_why_while_it_waits() -> None:
    async def scenario() -> None:
        server = VirtualTransport(
            lambda request: ConnectionLost("no route\x1b to host", sent=False)
        )
        async with Watched(server) as watched:
            await asyncio.sleep(10)
            assert "no route\\x1b to host" in watched.follower.status

    run(scenario())
