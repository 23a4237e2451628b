"""One event of an opencode V2 server as it came: its members, its number, its id and its time.

Knows what all events of the wire have; not what any of them means, and remembers nothing.

Sources: as for `opencode_v2`.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from ...errors import MalformedEvent, UnknownEvent
from ...keys import is_order
from ..members import (
    Members,
    a_number,
    a_string,
    an_id,
    an_object,
    describe,
    maybe_id,
    maybe_object,
    path_to,
)
from .reads import PER_MS, milliseconds

#: An event's id: 12 digits of its time, in ms times 4096 plus a counter, cut to 48 bits.
_EVENT_ID = re.compile("evt_([0-9a-f]{12})")
_IDS_MS = 2**36
#: What stands behind the type of a `sync` record.
_VERSION = re.compile(r"\.[0-9]+\Z")


@attrs.frozen
class Told:
    """One event as it came, for those who read it.

    Attributes:
        body: its `data`.
        at: the path of it.
        session: id of the session.
        seq: `durable.seq`, None for what is not durable.
        first: what the first of its canonical events has: session, seq, event id, time.
        time: when it was made, in ms.
        next: it is of the dialect of the 2.0 betas, `session.*` without `next`.
    """

    body: Members
    at: str
    session: str
    seq: int | None
    first: dict[str, Any]
    time: float | None
    next: bool = False

    def id(self, name: str) -> str:
        return an_id(self.body, name, self.at)

    def string(self, name: str) -> str:
        return a_string(self.body, name, self.at)

    def given(self, *names: str) -> Members:
        """Members that are there and not null, as they are."""
        return {name: self.body[name] for name in names if self.body.get(name) is not None}


def unwrapped(wire: Members) -> tuple[Members, str]:
    """The event in an envelope of V1's `/global/event`, and its path.

    A `sync` record says what its plain twin does, with the same id. Its number is left out, as the
    twin and every delta have none.

    Raises:
        MalformedEvent: there is no event in it.
    """
    payload = an_object(wire, "payload")
    if payload.get("type") != "sync":
        return payload, "payload"
    at = "payload.syncEvent"
    record = an_object(payload, "syncEvent", "payload")
    event_id = maybe_id(record, "id", at) or maybe_id(payload, "id", "payload")
    kind = _VERSION.sub("", a_string(record, "type", at))
    return {"type": kind, "id": event_id, "data": record.get("data")}, at


def told_of(wire: Members, kind: str, known: bool, path: str = "") -> Told:
    """What an event at a path says; `known` is whether its type is.

    Raises:
        MalformedEvent: a member that all events have is missing or wrong.
        UnknownEvent: its type is not known, and it has no number.
    """
    # On a V1 stream the same events have their members under `properties`.
    name = "properties" if "data" not in wire and "properties" in wire else "data"
    body, at = an_object(wire, name, path), path_to(path, name)
    durable = maybe_object(wire, "durable", path) or {}
    seq = a_number(durable, "seq", path_to(path, "durable")) if durable else None
    if not known and seq is None:
        raise UnknownEvent(kind)
    if body.get("sessionID") is None and durable:
        session = an_id(durable, "aggregateID", path_to(path, "durable"))
    else:
        session = an_id(body, "sessionID", at)
    time = wire.get("created") if body.get("timestamp") is None else body["timestamp"]
    if type(time) is str:
        time = milliseconds(time, f"{at}.timestamp")
    if time is not None and not is_order(time):
        raise MalformedEvent(f"{at}.timestamp", f"must be a number, not {describe(time)}")
    first: dict[str, Any] = {"session_id": session, "seq": seq, "id": maybe_id(wire, "id", path)}
    return Told(body, at, session, seq, first, time, not kind.startswith("session.next."))


def made(told: Told) -> float | None:
    """When the server made an event, whose own time may be that of something before it."""
    found = _EVENT_ID.match(told.first["id"] or "")
    if found is None or told.time is None:
        return told.time
    ms, count = divmod(int(found[1], 16), PER_MS)
    after = (ms - int(told.time)) % _IDS_MS
    # Else the clock went back between the two.
    return int(told.time) + after + count / PER_MS if after < _IDS_MS // 2 else told.time


def began(told: Told) -> Members:
    """When a part began, where that is known."""
    return {} if told.time is None else {"began": told.time}
