"""A virtual opencode server that plays a recording: its event stream, its REST state, its faults.

The state is a naive fold of the events as the server itself keeps it: deltas are never stored, so
a read in the middle of an answer has an empty text. Who is not connected when an event is published
never gets it.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from virtual import JSON, Answer

from streamstore.client import ConnectionLost, Request

Wire = dict[str, Any]


class State:
    """What the server has stored."""

    def __init__(self) -> None:
        self.sessions: dict[str, Wire] = {}
        self.messages: dict[str, dict[str, Wire]] = {}
        self.status: dict[str, Wire] = {}
        self.todo: dict[str, list[Any]] = {}
        self.diff: dict[str, list[Any]] = {}
        self.permission: dict[str, Wire] = {}
        self.question: dict[str, Wire] = {}

    def load(self, state: Wire) -> None:
        """What was stored before the recording began."""
        self.sessions.update((info["id"], info) for info in state["sessions"])
        for session_id, entries in state["messages"].items():
            for entry in entries:
                stored = self._message(session_id, entry["info"]["id"])
                stored["info"] = entry["info"]
                stored["parts"] = {part["id"]: part for part in entry["parts"]}
        for name in ("status", "todo", "diff"):
            getattr(self, name).update(state.get(name, {}))

    def take(self, wire: Wire) -> None:
        wire = wire.get("payload", wire)
        if wire["type"] == "sync":
            return
        kind, body = wire["type"], copy.deepcopy(wire["properties"])
        session = body.get("sessionID")
        if kind in ("session.created", "session.updated"):
            self.sessions[body["info"]["id"]] = body["info"]
        elif kind == "session.deleted":
            for table in (self.sessions, self.messages, self.status, self.todo, self.diff):
                table.pop(session, None)  # type: ignore[attr-defined]
        elif kind == "message.updated":
            info = body["info"]
            entry = self._message(info["sessionID"], info["id"])
            entry["info"] = info
        elif kind == "message.removed":
            self.messages.get(session, {}).pop(body["messageID"], None)
        elif kind == "message.part.updated":
            part = body["part"]
            self._message(part["sessionID"], part["messageID"])["parts"][part["id"]] = part
        elif kind == "message.part.removed":
            self._message(session, body["messageID"])["parts"].pop(body["partID"], None)
        elif kind == "session.status":
            self.status[session] = body["status"]
        elif kind == "todo.updated":
            self.todo[session] = body["todos"]
        elif kind == "session.diff":
            self.diff[session] = body["diff"]
        for name in ("permission", "question"):
            if kind.startswith(name):
                table = getattr(self, name)
                if kind.endswith("asked"):
                    table[body["id"]] = body
                else:
                    table.pop(body["requestID"], None)

    def _message(self, session_id: str, message_id: str) -> Wire:
        table = self.messages.setdefault(session_id, {})
        return table.setdefault(message_id, {"info": None, "parts": {}})

    def read(self, session_id: str) -> list[Wire]:
        """The messages of a session, in order."""
        found = [
            {"info": entry["info"], "parts": [entry["parts"][i] for i in sorted(entry["parts"])]}
            for entry in self.messages.get(session_id, {}).values()
            if entry["info"] is not None
        ]
        return sorted(found, key=lambda e: (e["info"]["time"]["created"], e["info"]["id"]))


class OpencodeServer:
    """Publishes events to whoever is connected, and answers reads after a while.

    Args:
        random: decides how long reads take, at which bytes connections drop, how bytes are cut.
        drops: connections are dropped after a random number of bytes up to so many; None: never.
        page: most messages of one read.
        home: the directory it was started in; None: all sessions are of one directory.
    """

    def __init__(
        self, random: Random, drops: int | None = None, page: int = 2, home: str | None = None
    ) -> None:
        self.random = random
        self.drops = drops
        self.page = page
        self.home = home
        self.lag = 0.0
        self.state = State()
        #: What each one gets; None breaks the connection.
        self.subscribers: list[asyncio.Queue[bytes | None]] = []
        self.reads: list[str] = []
        self.posts: list[tuple[str, Any]] = []
        self.connections = 0
        self.fail: Callable[[str], Answer | BaseException | None] = lambda path: None
        self.on_post: Callable[[str, Any], Answer | BaseException | None] = lambda path, body: None

    def publish(self, wire: Wire) -> None:
        self.state.take(wire)
        data = f"data: {json.dumps(wire, ensure_ascii=False)}\n\n".encode()
        for queue in self.subscribers:
            queue.put_nowait(data)

    async def _stream(self, left: int | None) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        # The head is out; the server listens a little later, and greets when it does.
        await asyncio.sleep(self.random.random() * self.lag)
        self.subscribers.append(queue)
        self.connections += 1
        hello = {"type": "server.connected", "properties": {}, "id": f"evt_hello{self.connections}"}
        data: bytes | None = f"data: {json.dumps(hello)}\n\n".encode()
        try:
            while True:
                if data is None:
                    raise ConnectionLost("dropped")
                if left is not None:
                    if len(data) >= left:
                        yield data[:left]
                        raise ConnectionLost("dropped")
                    left -= len(data)
                cut = self.random.randrange(len(data) + 1)
                for piece in (data[:cut], data[cut:]):
                    if piece:
                        yield piece
                try:
                    async with asyncio.timeout(10):
                        data = await queue.get()
                except TimeoutError:
                    data = b'data: {"type":"server.heartbeat","properties":{}}\n\n'
        finally:
            self.subscribers.remove(queue)

    def serve(self, request: Request) -> Answer | BaseException:
        parts = urlsplit(request.url)
        path, query = unquote(parts.path), parse_qs(parts.query)
        failed = self.fail(path)
        if failed is not None:
            return failed
        if path in ("/event", "/global/event"):
            left = None if self.drops is None else 100 + self.random.randrange(self.drops)
            return Answer(body=self._stream(left), after_ms=self.random.randrange(20))
        if request.method == "POST":
            body = json.loads(request.body or b"null")
            self.posts.append((path, body))
            return self.on_post(path, body) or Answer(204, {}, after_ms=5)
        self.reads.append(path)
        return self._read(path, query)

    def _read(self, path: str, query: dict[str, list[str]]) -> Answer:
        state, names = self.state, path.strip("/").split("/")
        headers = dict(JSON)
        value: Any
        directory = query.get("directory", [self.home])[0]

        def here(session_id: str) -> bool:
            of = state.sessions.get(session_id, {}).get("directory")
            return self.home is None or of == directory

        if names == ["session"]:
            # Of no directory in particular it lists those of all.
            everywhere = "directory" not in query
            value = [info for sid, info in state.sessions.items() if everywhere or here(sid)]
            value.sort(key=lambda info: -info["time"].get("updated", 0))
            del value[int(query.get("limit", ["100"])[0]) :]
        elif names == ["path"]:
            value = {"directory": self.home}
        elif names == ["session", "status"]:
            value = {
                sid: status
                for sid, status in state.status.items()
                if status["type"] != "idle" and here(sid)
            }
        elif names in (["permission"], ["question"]):
            asked = getattr(state, names[0]).values()
            value = [request for request in asked if here(request["sessionID"])]
        elif names[0] == "session" and names[1] not in state.sessions:
            return Answer(404, JSON, [b"{}"])
        elif len(names) == 2:
            value = state.sessions[names[1]]
        elif names[2] == "message":
            value = state.read(names[1])
            before = query.get("before", [None])[0]
            if before is not None:
                value = [entry for entry in value if entry["info"]["id"] < before]
            most = min(self.page, int(query["limit"][0]))
            if len(value) > most:
                value = value[-most:]
                headers["x-next-cursor"] = value[0]["info"]["id"]
        elif names[2] in ("todo", "diff"):
            value = getattr(state, names[2]).get(names[1], [])
        else:
            return Answer(200, {"content-type": "text/html"}, [b"<html>"])
        # What it was when it was read, which may be some time before it arrives.
        data = json.dumps(value).encode()
        cut = self.random.randrange(len(data) + 1)
        return Answer(200, headers, [data[:cut], self.random.randrange(60), data[cut:]])
