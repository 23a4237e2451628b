"""AG-UI's chunk shorthand to whole events: which message or tool call a chunk continues.

A lane is one producer: the parent agent, or a subagent by its run id. It assembles at most one
message or tool call at a time. The first chunk names it, later ones may leave the name out; what
another event ends is ended here, and of more lanes than are kept the oldest subagent's. The table
of lanes is plain JSON; nothing else is remembered.

Sources: the chunk transformation of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from ...errors import MalformedEvent
from ..members import Members

#: By lane: `{"kind", "id", "owner"}` and what the first chunk said, which later ones may repeat.
Lanes: TypeAlias = dict[str, Members]


class _Kind(NamedTuple):
    """What a chunk type expands to; `repeats`: members that later chunks may only repeat."""

    id: str
    start: str
    content: str
    end: str
    repeats: tuple[str, ...]
    constant: Mapping[str, str] = {}


_KINDS: Mapping[str, _Kind] = {
    "TEXT_MESSAGE_CHUNK": _Kind(
        "messageId",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        ("role", "name"),
    ),
    "TOOL_CALL_CHUNK": _Kind(
        "toolCallId",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        ("toolCallName", "parentMessageId"),
    ),
    "REASONING_MESSAGE_CHUNK": _Kind(
        "messageId",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        (),
        {"role": "reasoning"},
    ),
}
_ENDS_ALL = frozenset(("RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "MESSAGES_SNAPSHOT"))
_ENDS_NONE = frozenset(
    (
        "RAW",
        "ACTIVITY_SNAPSHOT",
        "ACTIVITY_DELTA",
        "REASONING_ENCRYPTED_VALUE",
        "SUBAGENT_STARTED",
    )
)
_PARENT = ""

#: Producers that assemble at a time. A run that does not end may bring ever new ones.
_LANES = 1024


def lane_of(owner: str | None) -> str:
    """The key of a producer in a table: the parent agent is no subagent of an empty name."""
    return _PARENT if owner is None else f"={owner}"


class Expanded(NamedTuple):
    """What one event stands for.

    Attributes:
        ended: end events of what it ended, in order.
        events: the event itself, or the whole events of a chunk.
        lanes: the table from now on; the same object when nothing changed.
    """

    ended: list[Members]
    events: list[Members]
    lanes: Lanes


def expand(event: Members, lanes: Lanes) -> Expanded:
    """The whole events that a clean event stands for; changes nothing. Costs the open lanes.

    Raises:
        MalformedEvent: a chunk continues nothing, or says otherwise than the first one did.
    """
    name = event["type"]
    kind = _KINDS.get(name)
    if kind is not None:
        return _expand(event, name, kind, lanes)
    if not lanes or name in _ENDS_NONE:
        return Expanded([], [event], lanes)
    if name in _ENDS_ALL:
        return Expanded([_end(lane) for lane in lanes.values()], [event], {})
    lane = lane_of(event.get("subagentRunId"))
    if lane not in lanes:
        return Expanded([], [event], lanes)
    left = {key: value for key, value in lanes.items() if key != lane}
    return Expanded([_end(lanes[lane])], [event], left)


def _end(lane: Members) -> Members:
    kind = _KINDS[lane["kind"]]
    ended = {"type": kind.end, kind.id: lane["id"]}
    if lane["owner"] is not None:
        ended["subagentRunId"] = lane["owner"]
    return ended


def _expand(chunk: Members, name: str, kind: _Kind, lanes: Lanes) -> Expanded:
    at = _lane(chunk, name, kind, lanes)
    lane = lanes.get(at)
    given = chunk.get(kind.id)
    ended: list[Members] = []
    events: list[Members] = []
    if lane is not None and lane["kind"] == name and given in (None, lane["id"]):
        for member in kind.repeats:
            if chunk.get(member) not in (None, lane.get(member)):
                raise MalformedEvent(member, f"is not that of {lane['id']!r}, which it continues")
    else:
        if given is None:
            raise MalformedEvent(kind.id, "is missing in the first chunk")
        if name == "TOOL_CALL_CHUNK" and "toolCallName" not in chunk:
            raise MalformedEvent("toolCallName", "is missing in the first chunk")
        left = {key: value for key, value in lanes.items() if key != at}
        if lane is not None:
            ended.append(_end(lane))
        lane = {"kind": name, "id": given, "owner": chunk.get("subagentRunId")}
        lane.update((member, chunk[member]) for member in kind.repeats if member in chunk)
        if name == "TEXT_MESSAGE_CHUNK":
            lane.setdefault("role", "assistant")
        if len(left) >= _LANES:
            oldest = next(key for key in left if key != _PARENT)
            ended.append(_end(left.pop(oldest)))
        lanes = {**left, at: lane}
        start: Members = {"type": kind.start, kind.id: given, **kind.constant}
        start.update((member, lane[member]) for member in kind.repeats if member in lane)
        events.append(_carry(chunk, start, ("metadata", "subagentRunId")))
    # A first chunk may only open; a later one that only carries metadata is an empty delta.
    if "delta" in chunk or "rawEvent" in chunk or (not events and "metadata" in chunk):
        content: Members = {"type": kind.content, kind.id: lane["id"]}
        content["delta"] = chunk.get("delta", "")
        if lane["owner"] is not None:
            content["subagentRunId"] = lane["owner"]
        events.append(_carry(chunk, content, ("metadata", "subagentRunId")))
    return Expanded(ended, events, lanes)


def _carry(chunk: Members, event: Members, members: tuple[str, ...]) -> Members:
    event.update((member, chunk[member]) for member in members if member in chunk)
    return event


def _lane(chunk: Members, name: str, kind: _Kind, lanes: Lanes) -> str:
    """Which lane a chunk belongs to: its id says so, else its tag, else what is open."""
    given, tag = chunk.get(kind.id), chunk.get("subagentRunId")
    if given is not None:
        for at, lane in lanes.items():
            if lane["kind"] == name and lane["id"] == given:
                if tag is not None and lane_of(tag) != at:
                    raise MalformedEvent("subagentRunId", f"is not that of {given!r}")
                return at
        return lane_of(tag)
    if tag is not None:
        return lane_of(tag)
    open_ones: list[str] = [at for at, lane in lanes.items() if lane["kind"] == name]
    if _PARENT in open_ones or not open_ones:
        return _PARENT
    if len(open_ones) > 1:
        raise MalformedEvent(kind.id, "is missing, and more than one producer is streaming")
    return open_ones[0]


def continued(lanes: Lanes) -> tuple[str, str] | None:
    """The chunk type and id of what is assembled when the parent's is the only lane."""
    if len(lanes) != 1 or _PARENT not in lanes:
        return None
    lane: Any = lanes[_PARENT]
    return lane["kind"], lane["id"]
