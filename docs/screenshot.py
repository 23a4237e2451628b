"""Draws `docs/watch.svg`: what `streamstore watch` looks like, from a recorded stream of the tests.

A stretch of the stream comes twice, as after a reconnect, and one event is of no known type, so
that verdicts are seen. Run it after a change of the screen: python docs/screenshot.py
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from streamstore.logs import Log, TimedEvent
from streamstore.replay import AT_ONCE
from streamstore.watch.app import application
from streamstore.watch.inspector import Inspector
from streamstore.watch.playing import LogSource

DOCS = Path(__file__).resolve().parent
LOG = DOCS.parent / "tests" / "data" / "opencode" / "tools" / "stream.sse"
SIZE = (112, 34)


def events() -> list[TimedEvent]:
    """The recorded events, and what is made up beside them."""
    found = list(Log(str(LOG)).events())[:254]
    found += [event._replace(at=found[-1].at) for event in found[246:]]
    strange = b'data: {"type": "session.compacting", "properties": {"reason": "context"}}\n\n'
    return [*found, TimedEvent(strange, strange, found[-1].at)]


async def draw() -> str:
    """The screen as SVG, without fonts from elsewhere."""
    now = 0.0
    inspector = Inspector(clock=lambda: now)
    source = LogSource(events(), inspector, AT_ONCE)
    app = application(inspector, source, "talk.sse", clock=lambda: now, frames=0)
    async with app.run_test(size=SIZE) as pilot:
        app.pump()
        await pilot.pause()
        await pilot.press("left_square_bracket", "left_square_bracket")
        await pilot.pause()
        svg = app.export_screenshot(title="streamstore watch talk.sse")
    svg = re.sub(r"@font-face\s*{[^}]*}|<!--.*?-->", "", svg).replace(
        "Fira Code", "DejaVu Sans Mono"
    )
    return re.sub(r"[ \t]+\n", "\n", svg)


if __name__ == "__main__":
    (DOCS / "watch.svg").write_text(asyncio.run(draw()), encoding="utf-8")
