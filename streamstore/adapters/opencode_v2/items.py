"""Messages and parts as they are stored, back to what an opencode V2 server's read has of them.

Knows parts with the fields that `opencode_v2` gives them, and takes them of any other store, too;
no event, of the wire or of ours, and no memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...model import Message, Part, thaw
from ..members import Members


def wire_message(message: Message, parts: Sequence[Part]) -> Members:
    """A message as the server's read has it. Linear in its texts and fields."""
    info: Members = thaw(message.info)
    info.pop("delivery", None)  # a member of the events alone
    wire: Members = {"id": message.id, "type": message.role or "assistant"}
    time: Members = info.pop("time", {})
    if "completed" in info:
        time = {**time, "completed": info.pop("completed")}
    snapshot = {
        name: info.pop(f"snapshot{name.capitalize()}")
        for name in ("start", "end", "files")
        if f"snapshot{name.capitalize()}" in info
    }
    wire |= info | ({"time": time} if time else {}) | ({"snapshot": snapshot} if snapshot else {})
    if wire["type"] == "assistant":
        wire["content"] = [_wire_item(part) for part in parts]
        return wire
    files = [thaw(part.fields.get("wire")) for part in parts if part.kind == "file"]
    if files:
        wire["files"] = files
    for part in parts:
        if part.kind == "text":
            wire["text"] = part.view.raw()
        elif part.kind == "compaction":
            wire["summary"] = part.view.raw()
            if "recent" in part.fields:
                wire["recent"] = thaw(part.fields["recent"])
        elif part.kind == "tool" and part.tool is not None:
            given = part.tool.input
            wire["callID"] = part.tool.call_id
            wire["command"] = given.get("command") if isinstance(given, dict) else None
            wire["output"] = part.tool.output if type(part.tool.output) is str else ""
    return wire


def _wire_item(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    time = {
        theirs: fields[ours]
        for ours, theirs in (("began", "created"), ("ran", "ran"), ("ended", "completed"))
        if ours in fields
    }
    wire: Members = {"type": part.kind}
    if part.kind == "tool":
        wire |= {"id": fields.get("callId"), "name": fields.get("tool")}
        given = fields.get("provider")
        provider = {**given} if isinstance(given, dict) else {}
        result = fields.get("resultProvider")
        if isinstance(result, dict):
            own = "metadata" in provider
            provider = {**result, **provider}
            if "metadata" in result:
                provider["resultMetadata"] = result["metadata"]
                if not own:
                    provider.pop("metadata", None)
        if provider:
            wire["provider"] = provider
        wire["state"] = _wire_state(part, fields)
    else:
        if "textId" in fields:
            wire["id"] = fields["textId"]
        wire["text"] = part.view.raw()
        if "providerMetadata" in fields:
            wire["providerMetadata"] = fields["providerMetadata"]
        if part.kind == "text":
            return wire
    return wire | ({"time": time} if time else {})


def _wire_state(part: Part, fields: Members) -> Members:
    given = fields.get("state")  # of a store that another protocol filled it may be anything
    state: Members = given if isinstance(given, dict) and given else {"status": "pending"}
    status = state.get("status")
    streamed = part.others.get("input")
    raw = fields.get("input", streamed.raw() if streamed is not None else "")
    if status == "pending":
        return {"status": "pending", "input": raw}
    state = {name: value for name, value in state.items() if name not in ("output", "message")}
    if status == "error":
        state["error"] = fields.get("failure", state.get("error"))
        state.setdefault("input", raw)
    state.setdefault("structured", {})
    state.setdefault("content", [])
    return state
