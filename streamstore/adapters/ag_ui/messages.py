"""An AG-UI message as a message and its parts, and back.

A message's text is its block `text`, whatever its role; parts of mixed content are blocks 0, 1,
...; a tool call is the block of its own id, its arguments the text of the field `input`; the
content of an activity is the block `content`. What else a message says is its info, as it came.
Knows whole messages, clean or read from a store; no event of the wire and no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...decoding import decode_json
from ...errors import MalformedEvent
from ...keys import BlockIndex
from ...model import EMPTY, Json, Message, Part, thaw
from ..members import Members

TEXT = "text"
CONTENT = "content"
INPUT = "input"

#: Field of a part of mixed content: the part as it came, without its text.
_WIRE = "wire"


def picked(members: Mapping[str, Any], *names: str) -> Members:
    """Some members, copied: what the caller changes later is its own."""
    return {name: thaw(members[name]) for name in names if name in members}


def kind_of(role: str) -> str:
    """The part kind of the text of a role."""
    return "reasoning" if role == "reasoning" else "text"


def shape_of(role: str) -> str:
    """What a message of a role is made of; one shape cannot become another."""
    return role if role in ("activity", "reasoning") else "text"


def info_of(message: Members) -> Members:
    """What a whole message says beside its id, role, content and calls."""
    others = (name for name in message if name not in ("id", "role", CONTENT, "toolCalls"))
    info = picked(message, *others)
    # No part says that there is a list, and that it is empty.
    info.update((name, []) for name in (CONTENT, "toolCalls") if message.get(name) == [])
    return info


def results_of(messages: Iterable[Members]) -> dict[str, Members]:
    """Tool messages by the call that they answer."""
    return {message["toolCallId"]: message for message in messages if message["role"] == "tool"}


def result_state(message: Members) -> Members:
    """The state of a call that a tool message answers."""
    state = {"status": "completed", "output": message[CONTENT]}
    if "error" in message:
        state.update(status="error", error=message["error"])
    return state


def call_state(call_id: str, results: Mapping[str, Members]) -> Members:
    """The state of a whole call: its arguments are complete, its result may be there."""
    return result_state(results[call_id]) if call_id in results else {"status": "running"}


def call_input(call: Members) -> Members:
    """The parsed arguments of a call that was fetched: a snapshot streams no text."""
    try:
        return {"input": decode_json(call["function"]["arguments"])}
    except MalformedEvent:
        return {}


def call_fields(call: Members, state: Members) -> Members:
    """A whole call as part fields, without its arguments."""
    return {
        "callId": call["id"],
        "tool": call["function"]["name"],
        "state": state,
        **picked(call, "metadata", "encryptedValue"),
    }


def activity_fields(activity_type: str, content: Json) -> Members:
    """An activity as part fields."""
    return {"activityType": activity_type, CONTENT: content}


def mixed_parts(content: Iterable[Members]) -> list[Members]:
    """Parts of mixed content: `{"kind", "text"?, fields}`; media have `mime`, and `url`, `data`
    or `file` for where they are."""
    found = []
    for part in content:
        fields: Members = {_WIRE: {name: part[name] for name in part if name != "text"}}
        if part["type"] == "text":
            fields.update(kind="text", text=part["text"])
        else:
            source = part["source"]
            fields.update({"kind": "file", source["type"]: source["value"]})
            fields.update({"mime": source["mimeType"]} if "mimeType" in source else {})
        found.append(fields)
    return found


def parts_of(message: Members, results: Mapping[str, Members]) -> list[Members]:
    """The parts of a whole message as a snapshot has them, in order."""
    content = message.get(CONTENT)
    parts: list[tuple[BlockIndex, Members]] = []
    if message["role"] == "activity":
        fields = activity_fields(message["activityType"], content)
        parts.append((CONTENT, {"kind": "data", **fields}))
    elif isinstance(content, list):
        parts += enumerate(mixed_parts(content))
    elif content is not None:
        parts.append((TEXT, {"kind": kind_of(message["role"]), "text": content}))
    for call in message.get("toolCalls", ()):
        fields = call_fields(call, {**call_state(call["id"], results), **call_input(call)})
        fields[INPUT] = call["function"]["arguments"]
        parts.append((call["id"], {"kind": "tool", **fields}))
    return [
        {"blockIndex": index, "order": order, **fields}
        for order, (index, fields) in enumerate(parts)
    ]


# --- back to the wire -----------------------------------------------------------------------------


def wire_message(message: Message, parts: Iterable[Part]) -> Members:
    """The message of the protocol. Linear in its parts; texts as they came."""
    wire: Members = {"id": message.id, "role": message.role or "assistant", **thaw(message.info)}
    texts: list[str] = []
    mixed: list[Members] = []
    calls: list[Members] = []
    for part in parts:
        original = part.fields.get(_WIRE, EMPTY)
        if part.kind == "tool":
            calls.append(_wire_call(part))
        elif part.kind == "data" and message.role == "activity":
            wire[CONTENT] = thaw(part.fields.get(CONTENT))
        elif isinstance(original, dict) and "type" in original:
            text = {"text": part.view.raw()} if part.kind == "text" else {}
            mixed.append({**thaw(original), **text})
        elif part.kind in ("text", "reasoning"):
            texts.append(part.view.raw())
    if texts:
        wire[CONTENT] = "".join(texts)
    elif mixed:
        wire[CONTENT] = mixed
    if calls:
        wire["toolCalls"] = calls
    return wire


def _wire_call(part: Part) -> Members:
    fields = part.fields
    name, call_id = fields.get("tool"), fields.get("callId")
    streamed = part.others.get(INPUT)
    text = fields.get(INPUT) if streamed is None else streamed.raw()
    return {
        "id": call_id if isinstance(call_id, str) else str(part.block_index),
        "type": "function",
        "function": {
            "name": name if isinstance(name, str) else "",
            "arguments": text if isinstance(text, str) else "",
        },
        **picked(fields, "metadata", "encryptedValue"),
    }
