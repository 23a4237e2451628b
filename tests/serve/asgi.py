"""Requests to the server's application without a socket, in virtual time; holds no test.

A `Client` reads what it is sent as fast as it likes: who does not read lets the server wait, as a
socket whose buffers are full does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).resolve().parent.parent / "client"))

from virtual import VirtualClock, run

from streamstore.serve.app import ReplayApp
from streamstore.serve.replays import ANSWERS, Settings
from streamstore.serve.tape import open_tape
from streamstore.sse import EventStreamParser

__all__ = ["Client", "VirtualClock", "app_of", "get", "played", "run"]


def app_of(*logs: Any, protocol: str = "auto", **settings: Any) -> ReplayApp:
    """The application for logs, on the virtual loop's clock. Close its tape, or use `played`."""
    tape = open_tape(logs, protocol)
    settings.setdefault("closes", tape.declaration.name in ANSWERS)
    return ReplayApp(tape, Settings(**settings), VirtualClock())


def played(
    work: Callable[[ReplayApp], Coroutine[Any, Any, Any]], *logs: Any, **settings: Any
) -> Any:
    """Run some work with an application in virtual time, and let go of its log."""

    async def main() -> Any:
        app = app_of(*logs, **settings)
        try:
            return await work(app)
        finally:
            app._tape.close()

    return run(main())


class Client:
    """One request; `async with` sends it and, at the end, hangs up."""

    def __init__(
        self,
        app: Any,
        url: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        room: int = 1_000_000,
    ) -> None:
        parts = urlsplit(url)
        self._app = app
        self._scope = {
            "type": "http", "method": method, "path": parts.path,
            "raw_path": parts.path.encode(), "query_string": parts.query.encode(),
            "root_path": "", "scheme": "http", "server": ("h", 80),
            "headers": [(n.lower().encode(), v.encode()) for n, v in (headers or {}).items()],
        }  # fmt: skip
        self._room = room  # pieces that wait unread, at most
        self._queue: asyncio.Queue[Any] = asyncio.Queue(room)
        self._hung_up = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.data = b""
        self.times: list[tuple[float, bytes]] = []
        self.sent: list[tuple[float, bytes]] = []  # as `times`, whether it was read or not
        self.state = "open"

    async def __aenter__(self) -> Client:
        self._task = asyncio.ensure_future(self._app(self._scope, self._receive, self._send))
        self._task.add_done_callback(self._over)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._hung_up.set()
        await asyncio.wait((self._task,))
        self._task.result()

    def _over(self, task: Any) -> None:
        if self.state == "open":
            self.state = "broken"

    async def _receive(self) -> dict[str, Any]:
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {n.decode(): v.decode() for n, v in message["headers"]}
            return
        if not message.get("more_body", False):
            self.state = "ended"
        while self._queue.full():
            await asyncio.sleep(0.001)
        if message["body"]:
            self.sent.append((asyncio.get_running_loop().time() * 1000, message["body"]))
            self._queue.put_nowait(message["body"])

    @property
    def waiting(self) -> int:
        """Pieces that were sent and not read."""
        return self._queue.qsize()

    def take(self) -> None:
        """Read what is there."""
        now = asyncio.get_running_loop().time() * 1000
        while not self._queue.empty():
            piece = self._queue.get_nowait()
            self.times.append((now, piece))
            self.data += piece

    async def read(self, ms: float | None = None) -> list[Any]:
        """The frames of what comes in so many ms; by default until it is over."""
        loop = asyncio.get_running_loop()
        end = None if ms is None else loop.time() + ms / 1000
        while end is None or loop.time() < end:
            self.take()
            if self._task.done():
                break
            await asyncio.sleep(0.001)
        self.take()
        return EventStreamParser().feed(self.data)


async def get(app: Any, url: str, **options: Any) -> tuple[int, Any, dict[str, str]]:
    """Status, value and headers of a read."""
    async with Client(app, url, **options) as client:
        await client.read()
    return client.status, json.loads(client.data), client.headers
