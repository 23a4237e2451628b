"""What an opencode server (V1) says beside its events: its reads over REST, greeting, heartbeat.

Answers come from a state in the form of the adapter's `encode`, which is what the real server's
reads gave. Pure: a path and a state in, an answer out. Knows opencode's paths and frames; no
store, log or socket.

Sources: the paths and schemas of the published SDK (1.19.3); recordings of `opencode serve`
1.18.33.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote

import attrs

from ..keys import is_order

Json: TypeAlias = Any

EVENTS = "/event"
GLOBAL_EVENTS = "/global/event"
#: Events of the connection, not of the log: each connection has its own.
OF_CONNECTION = frozenset(("server.connected", "server.heartbeat"))
#: A delta is published and never stored: a read does not have it.
NEVER_STORED = "message.part.delta"


@attrs.frozen
class Answer:
    """An answer to a read: JSON, and headers."""

    status: int
    value: Json
    headers: Mapping[str, str] = attrs.field(factory=dict)


def greeting(wrapped: bool) -> bytes:
    """The first frame of each connection."""
    return _of_server("server.connected", wrapped)


def heartbeat(wrapped: bool) -> bytes:
    r"""A sign of life; no comment, but an event.

    >>> heartbeat(False)
    b'data: {"type":"server.heartbeat","properties":{}}\n\n'
    """
    return _of_server("server.heartbeat", wrapped)


def farewell(wrapped: bool) -> bytes:
    """The last frame of a stream whose server starts anew."""
    return _of_server("server.instance.disposed", wrapped)


def _of_server(kind: str, wrapped: bool) -> bytes:
    wire: Json = {"type": kind, "properties": {}}
    return frame({"payload": wire} if wrapped else wire)


def frame(wire: Json) -> bytes:
    """An event as a frame."""
    text = json.dumps(wire, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode("utf-8", "surrogatepass") + b"\n\n"


def event_of(wire: Json) -> Mapping[str, Any] | None:
    """The event itself, in or out of its envelope; None where it is none."""
    found = wire.get("payload", wire) if isinstance(wire, dict) else None
    return found if isinstance(found, dict) else None


def enveloped(wire: Json, wrapped: bool, directory: str | None) -> Json | None:
    """An event as `/global/event` (`wrapped`) or `/event` has it; None where the latter lacks it.

    >>> enveloped({"type": "x", "properties": {}}, True, "/p")
    {'directory': '/p', 'payload': {'type': 'x', 'properties': {}}}
    >>> enveloped({"payload": {"type": "sync"}}, False, None) is None
    True
    """
    is_wrapped = isinstance(wire, dict) and "payload" in wire and "type" not in wire
    if is_wrapped == wrapped:
        return wire
    if wrapped:
        return {**({} if directory is None else {"directory": directory}), "payload": wire}
    inner = event_of(wire)
    return None if inner is None or inner.get("type") == "sync" else inner


def read(path: str, query: Mapping[str, str], state: Mapping[str, Json]) -> Answer:
    """What a `GET` of a path gives; 404 for what there is not.

    >>> state = {"sessions": [{"id": "ses_1"}], "messages": {}, "status": {}}
    >>> read("/session/ses_1", {}, state).value, read("/session/ses_2", {}, state).status
    ({'id': 'ses_1'}, 404)
    """
    names = [unquote(name) for name in path.strip("/").split("/")]
    if names == ["session"]:
        return Answer(200, state["sessions"])
    if names == ["session", "status"]:
        return Answer(200, state["status"])
    if names in (["permission"], ["question"]):
        return Answer(200, state.get(names[0], []))
    if names[0] != "session" or len(names) < 2:
        return missing(f"no such path in this replay: {path}")
    session_id, rest = names[1], names[2:]
    info = next((info for info in state["sessions"] if info["id"] == session_id), None)
    if info is None:
        return missing(f"Session not found: {session_id}")
    messages: Sequence[Json] = state["messages"].get(session_id, [])
    if not rest:
        return Answer(200, info)
    if rest == ["children"]:
        children = [info for info in state["sessions"] if info.get("parentID") == session_id]
        return Answer(200, children)
    if rest in (["todo"], ["diff"]):
        return Answer(200, state.get(rest[0], {}).get(session_id, []))
    if rest == ["message"]:
        return _page(query, messages)
    if len(rest) == 2 and rest[0] == "message":
        for message in messages:
            if message["info"]["id"] == rest[1]:
                return Answer(200, message)
        return missing(f"Message not found: {rest[1]}")
    return missing(f"no such path in this replay: {path}")


def missing(message: str) -> Answer:
    """404, as opencode says it."""
    return Answer(404, {"name": "NotFoundError", "data": {"message": message}})


def refused(message: str, status: int = 400) -> Answer:
    """A request that this server does not do."""
    return Answer(status, {"name": "BadRequest", "data": {"message": message}})


def _page(query: Mapping[str, str], messages: Sequence[Json]) -> Answer:
    """The latest messages before a cursor, oldest first; without a limit all of them."""
    limit, before = query.get("limit"), query.get("before")
    if before is not None:
        cut = _position(before)
        if limit is None or cut is None:
            return refused("before needs a limit, and a cursor that this server gave")
        messages = [message for message in messages if _place(message) < cut]
    if limit is None:
        return Answer(200, list(messages))
    if not limit.isascii() or not limit.isdecimal() or len(limit) > 9:
        return refused("limit must be a whole number")
    most = int(limit)
    if not most or len(messages) <= most:
        return Answer(200, list(messages))
    page = messages[-most:]
    return Answer(200, page, {"x-next-cursor": _cursor(_place(page[0]))})


def _place(message: Json) -> tuple[float, str]:
    """Where a message stands: by its created time, then its id."""
    info = message["info"]
    time = info.get("time")
    created = time.get("created") if isinstance(time, dict) else None
    return float(created) if is_order(created) else math.inf, str(info["id"])


def _cursor(place: tuple[float, str]) -> str:
    data = json.dumps({"time": place[0], "id": place[1]}).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _position(cursor: str) -> tuple[float, str] | None:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        found = json.loads(data)
        time, message_id = found["time"], found["id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(message_id) is not str or not isinstance(time, int | float):
        return None
    return time, message_id
