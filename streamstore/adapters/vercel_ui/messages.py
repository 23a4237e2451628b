"""UIMessages as a list has them: to snapshots and what is to be remembered of them, and back.

Knows whole messages and their parts, of the wire and as they are stored; no chunk and no stream.

Sources: as for `vercel_ui`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import MalformedEvent
from ...keys import is_id
from ...model import Message, Part, thaw
from ..members import (
    Members,
    a_string,
    an_id,
    are_objects,
    describe,
    objects,
    path_to,
)
from .memory import STREAMED, WAITING, Memory, new_memory
from .partial import partial
from .parts import STATUSES, WIRE, tool_state
from .schema import is_data

#: The state of the wire for a status; of two with one status the first.
_STATE_OF: Mapping[str, str] = {
    status: state for state, status in reversed(tuple(STATUSES.items()))
}
# Members of a wire part that its reader places itself; the others are fields as they came.
_ADDRESS = frozenset(("type", "text", "state"))
_TOOL_MEMBERS = frozenset(
    "type toolCallId toolName state title input output errorText preliminary inputEncoding "
    "rawInput".split()
)
_ORIGINAL = "originalKind"
# Names that mean something else in a canonical event or part. A wire member that has one of them
# stays what it is under the field `wire`.
_PART_NAMES = frozenset(
    "sessionId messageId blockIndex seq generation id time kind order status whole gap previous "
    "field text type state tool callId dynamic name".split()
) | {WIRE, _ORIGINAL}


class _ListedPart(NamedTuple):
    kind: str
    text: str | None
    fields: Members
    open: bool


class ListedMessage(NamedTuple):
    """A message of a list: as a canonical one (`info`, `parts`), and its parts as they came.

    `open`: a part of it may go on, or waits for the client.
    """

    id: str
    role: str
    info: Members
    parts: list[_ListedPart]
    raw: list[Members]
    open: bool


def is_message(value: Any) -> bool:
    """Whether a value has what every UIMessage has."""
    return (
        isinstance(value, dict)
        and is_id(value.get("id"))
        and type(value.get("role")) is str
        and are_objects(value.get("parts"))
        and all(type(part.get("type")) is str for part in value["parts"])
    )


def read_messages(entries: list[Any], at: str) -> list[ListedMessage]:
    """UIMessages of a list at the path `at`. Linear in what they hold.

    Raises:
        MalformedEvent: a member is absent, or has the wrong type.
    """
    found = []
    for number, entry in enumerate(entries):
        entry_at = path_to(at, str(number))
        if not isinstance(entry, dict):
            raise MalformedEvent(entry_at, f"must be an object, not {describe(entry)}")
        raw = objects(entry, "parts", entry_at)
        parts = [read_part(part, f"{entry_at}.parts.{place}") for place, part in enumerate(raw)]
        info: Members = {}
        others: Members = {}
        for name, value in entry.items():
            if name == "metadata":
                info[name] = value
            elif name not in ("id", "role", "parts"):
                others[name] = value
        if others:
            info[WIRE] = others
        waiting = any(
            part.open or part.fields["state"][WIRE] in WAITING
            for part in parts
            if part.kind == "tool"
        )
        found.append(
            ListedMessage(
                id=an_id(entry, "id", entry_at),
                role=an_id(entry, "role", entry_at),
                info=info,
                parts=parts,
                raw=raw,
                open=waiting or any(part.open for part in parts),
            )
        )
    return found


def read_part(part: Members, at: str) -> _ListedPart:
    """A part of a UIMessage as a canonical one."""
    kind = an_id(part, "type", at)
    if kind in STREAMED:
        fields = _fields(part, _ADDRESS)
        state = part.get("state")
        if type(state) is str:
            fields["state"] = state
        return _ListedPart(kind, a_string(part, "text", at), fields, state == "streaming")
    if kind == "dynamic-tool" or kind.startswith("tool-"):
        return _read_tool(part, at)
    fields = _fields(part, frozenset(("type",)))
    if kind == "step-start":
        return _ListedPart(kind, None, fields, False)
    if is_data(kind):
        return _ListedPart("data", None, {"name": kind.removeprefix("data-"), **fields}, False)
    if kind in _SOURCES:
        fields.setdefault(WIRE, {})["type"] = kind
        return _ListedPart(_SOURCES[kind], None, fields, False)
    return _ListedPart("unknown", None, {_ORIGINAL: kind, **fields}, False)


#: Parts whose canonical kind says less than their type.
_SOURCES: Mapping[str, str] = {
    "source-url": "source",
    "source-document": "source",
    "file": "file",
    "reasoning-file": "file",
}


def _fields(part: Members, placed: frozenset[str]) -> Members:
    """The members of a part as fields, as they came."""
    fields: Members = {}
    strange: Members = {}
    for name, value in part.items():
        if name not in placed:
            (strange if name in _PART_NAMES else fields)[name] = value
    if strange:
        fields[WIRE] = strange
    return fields


def _read_tool(part: Members, at: str) -> _ListedPart:
    kind = part["type"]
    dynamic = kind == "dynamic-tool"
    name = a_string(part, "toolName", at) if dynamic else kind.removeprefix("tool-")
    wire = a_string(part, "state", at)
    state = tool_state(wire)
    for ours, theirs in (
        ("title", "title"),
        ("input", "input"),
        ("output", "output"),
        ("error", "errorText"),
        ("preliminary", "preliminary"),
        ("encoding", "inputEncoding"),
    ):
        if theirs in part:
            state[ours] = part[theirs]
    if state.get("preliminary"):
        state["status"] = "running"
    fields = _fields(part, _TOOL_MEMBERS)
    raw = part.get("rawInput")
    if wire == "input-streaming" and type(raw) is str:
        fields["input"] = raw  # what further deltas are appended to
        state.pop("input", None)  # it follows from the text
    elif "rawInput" in part:
        fields["rawInput"] = raw
    fields |= {"tool": name, "callId": a_string(part, "toolCallId", at), "state": state}
    if dynamic:
        fields["dynamic"] = True
    return _ListedPart("tool", None, fields, wire == "input-streaming")


def _index_at(place: int, dropped: Iterable[Sequence[int]]) -> int:
    """The block index of the part at a place, behind those that were taken back."""
    index = place
    for first, end in dropped:
        if first <= index:
            index += end - first
    return index


def snapshot_message(
    message: ListedMessage, order: float, dropped: Iterable[Sequence[int]], goes_on: bool
) -> Members:
    """A listed message as a snapshot has it; `dropped`: ranges of indexes that were taken back."""
    parts = []
    for place, part in enumerate(message.parts):
        members: Members = {
            "blockIndex": _index_at(place, dropped),
            "kind": part.kind,
            "status": "open" if part.open else "closed",
            **part.fields,
        }
        if part.text is not None:
            members["text"] = part.text
        parts.append(members)
    return {
        "id": message.id,
        "role": message.role,
        "order": order,
        "status": "open" if goes_on else "completed",
        "info": message.info,
        "parts": parts,
    }


def listed_memory(message: ListedMessage, dropped: Iterable[Sequence[int]]) -> Memory:
    """What there is to remember of a message that was listed: open text has no id any more."""
    memory = new_memory(message.id)
    if message.info.get("metadata") is not None:
        memory["metadata"] = thaw(message.info["metadata"])
    for place, (part, raw) in enumerate(zip(message.parts, message.raw, strict=True)):
        index = _index_at(place, dropped)
        memory["next"] = index + 1
        if part.kind == "step-start":
            memory["from"] = index + 1
            memory["inputs"].clear()
        elif part.kind == "tool":
            entry = {"index": index, "fields": thaw(part.fields)}
            memory["tools"].setdefault(part.fields["callId"], []).append(entry)
            if part.open:
                memory["inputs"][part.fields["callId"]] = index
        elif part.kind == "data" and type(raw.get("id")) is str:
            memory["data"].setdefault(raw["type"], {}).setdefault(raw["id"], index)
    return memory


def ui_message(message: Message, parts: Sequence[Part]) -> Members:
    """A stored message as a UIMessage. Linear in its texts and fields."""
    info: Members = thaw(message.info)
    others = info.get(WIRE)
    wire: Members = {"id": message.id, "role": message.role or "assistant"}
    if "metadata" in info:
        wire["metadata"] = info["metadata"]
    if isinstance(others, dict):
        wire |= others
    wire["parts"] = [_ui_part(part) for part in parts]
    return wire


def _ui_part(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    strange = fields.pop(WIRE, None)
    strange = strange if isinstance(strange, dict) else {}
    original = fields.pop(_ORIGINAL, None)
    if part.kind == "tool":
        return {**_ui_tool(part, fields), **strange}
    wire: Members = {"type": original if isinstance(original, str) else part.kind}
    if part.kind == "data" and isinstance(fields.get("name"), str):
        wire["type"] = f"data-{fields.pop('name')}"
    wire.update((field, view.raw()) for field, view in part.others.items())
    if part.kind in STREAMED or len(part.view):
        wire["text"] = part.view.raw()
    return {**wire, **fields, **strange}


def _ui_tool(part: Part, fields: Members) -> Members:
    state = fields.pop("state", None)
    state = state if isinstance(state, dict) else {}
    name = fields.pop("tool", None)
    dynamic = fields.pop("dynamic", False)
    wire: Members = {"type": "dynamic-tool", "toolName": name} if dynamic else {}
    if not dynamic:
        wire["type"] = f"tool-{name or ''}"
    if "callId" in fields:
        wire["toolCallId"] = fields.pop("callId")
    status = state.pop("status", "pending")
    status = status if isinstance(status, str) else ""  # another protocol's may be anything
    wire["state"] = state.pop(WIRE, None) or _STATE_OF.get(status, "input-streaming")
    if "error" in state:
        wire["errorText"] = state.pop("error")
    encoding = state.pop("encoding", None)
    if encoding is not None and wire["state"] not in ("output-available", "output-error"):
        wire["inputEncoding"] = encoding
    wire |= state
    view = part.others.get("input")
    raw = fields.pop("input", None) if view is None else view.raw()
    fields.pop("input", None)
    if isinstance(raw, str) and "input" not in wire:
        if wire["state"] not in ("input-available", "output-available"):
            if wire["state"] != "output-error" or not dynamic:
                wire["rawInput"] = raw
        if encoding == "text":
            wire["input"] = raw
        else:
            wire |= partial(raw)
    return {**wire, **fields}
