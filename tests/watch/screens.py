"""A screen of `watch` in a test: its clock stands still until it is moved, its text can be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from conftest import ROOT

from streamstore.eviction import Keep
from streamstore.logs import TimedEvent
from streamstore.replay import AT_ONCE, Speed
from streamstore.watch.app import application
from streamstore.watch.inspector import Inspector
from streamstore.watch.past import HistoryLimits
from streamstore.watch.playing import LogSource

OPENCODE = str(ROOT / "tests" / "data" / "opencode" / "tools" / "stream.sse")
STATE = str(ROOT / "tests" / "data" / "opencode" / "join_late" / "initial.json")


class Screen:
    """An application in a terminal of a size, its clock standing still until it is moved."""

    def __init__(self, app: Any, pilot: Any, inspector: Inspector, source: LogSource) -> None:
        self.app = app
        self.pilot = pilot
        self.inspector = inspector
        self.source = source
        self.now = 0.0

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def pump(self, by: float = 0.0, times: int = 1) -> None:
        for _ in range(times):
            self.now += by
            self.app.pump()
        await self.pilot.pause()

    def pane(self, name: str) -> list[str]:
        """The lines of a pane that are visible, as text."""
        pane = self.app.screen_stack[0].query_one(f"#{name}")
        return [pane.render_line(y).text.rstrip() for y in range(pane.size.height)]

    def all(self) -> str:
        """Everything that is on the screen, as text."""
        height = self.app.size.height
        strips = self.app.screen._compositor.render_strips()
        assert len(strips) == height
        return "\n".join(strip.text for strip in strips)

    @property
    def timeline(self) -> str:
        return "\n".join(self.pane("timeline"))

    @property
    def detail(self) -> str:
        return "\n".join(self.pane("detail"))

    @property
    def transcript(self) -> str:
        return "\n".join(self.pane("transcript"))

    @property
    def title(self) -> str:
        return self.pane("title")[0]

    @property
    def counters(self) -> str:
        return self.pane("counters")[0]

    @property
    def selected(self) -> int:
        row = self.inspector.timeline.selected_row
        assert row is not None
        return row.number


Scenario = Callable[[Screen], Awaitable[None]]


def watch(
    events: Any,
    scenario: Scenario,
    *,
    size: tuple[int, int] = (120, 36),
    protocol: str = "native",
    speed: Speed = AT_ONCE,
    limits: HistoryLimits | None = None,
    keep: Keep | None = None,
    name: str = "talk.sse",
) -> None:
    """Run a scenario on the screen that watches these events (wire objects, or timed events)."""

    async def inside() -> None:
        screen: Screen | None = None

        def clock() -> float:
            return 0.0 if screen is None else screen.now

        inspector = Inspector(protocol, clock=clock, limits=limits, keep=keep)
        source = LogSource(timed(events), inspector, speed)
        app = application(inspector, source, name, clock=clock, frames=0)
        async with app.run_test(size=size) as pilot:
            screen = Screen(app, pilot, inspector, source)
            await pilot.pause()
            await scenario(screen)

    asyncio.run(inside())


def timed(events: Any, apart: float = 10.0) -> list[TimedEvent]:
    """Events so many ms apart."""
    found = []
    for number, event in enumerate(events):
        if isinstance(event, dict):
            data = json.dumps(event).encode() + b"\n"
            event = TimedEvent(data, data, number * apart)
        found.append(event)
    return found


def delta(seq: int, text: str = "x", message: str = "m", **more: Any) -> dict[str, Any]:
    return {"type": "block.delta", "sessionId": "s", "messageId": message, "blockIndex": 0, "seq": seq, "text": text, **more}  # fmt: skip


def opened(message: str, role: str, seq: int) -> dict[str, Any]:
    return {"type": "message.opened", "sessionId": "s", "messageId": message, "role": role, "order": seq, "seq": seq}  # fmt: skip


TALK = [
    opened("q", "user", 1),
    delta(2, "What is it?", "q"),
    opened("a", "assistant", 3),
    delta(4, "It is ", "a"),
    delta(5, "a store.", "a"),
    delta(5, "a store.", "a"),
    {"type": "no.such"},
    {"type": "message.closed", "sessionId": "s", "messageId": "a", "status": "completed", "seq": 6},
]
