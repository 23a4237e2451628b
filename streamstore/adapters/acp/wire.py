"""Parts and what a session has, back to the notifications that replay them.

Knows parts with the fields that the adapter gives them, and takes them of any other store, too; no
event and no memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...model import Json, Part, thaw
from ..base import Reads
from ..members import Members
from .metas import OUTPUT, SHOWN, TERMINAL, meta_field
from .schema import CHUNKS, FIELDS, SAID_OF_IT, WIRE

_CHUNK_OF: Mapping[tuple[str, str], str] = {kind: chunk for chunk, kind in CHUNKS.items()}
#: Members of the session's info, and the update that says each.
_SAID: Mapping[str, str] = {
    "availableCommands": "available_commands_update",
    "currentModeId": "current_mode_update",
    "configOptions": "config_option_update",
}
#: Those that no update says, but an answer.
_UNSAID = ("availableModes", "availableModels", "currentModelId")


def wire_sessions(reads: Reads) -> Json:
    """The notifications that replay all sessions, in order. Linear in what is stored."""
    found: list[Json] = []
    for session_id in reads.session_ids():
        updates: list[Json] = []
        for message in reads.messages(session_id):
            for part in reads.parts(session_id, message.id):
                update = _wire_update(part, message.role or "assistant")
                named = message.info.get("messageId")
                if named is not None and part.kind not in ("tool", "compaction"):
                    update["messageId"] = named
                updates += [update, *_wire_terminal(part)]
        session = reads.session(session_id)
        if session is not None:
            updates += _wire_session(thaw(session.info), thaw(session.todo))
        found += [{"sessionId": session_id, "update": update} for update in updates]
    return found


def _wire_update(part: Part, role: str) -> Members:
    fields: Members = thaw(part.fields)
    wire = fields.get(WIRE)
    wire = wire if isinstance(wire, dict) else {}
    if part.kind == "tool":
        state = fields.get("state")
        state = state if isinstance(state, dict) else {}
        update: Members = {"sessionUpdate": "tool_call", "toolCallId": fields.get("callId")}
        update["title"] = state.get("title", "")
        update.update((name, wire[name]) for name in SAID_OF_IT if name in wire)
        update.update((name, fields[name]) for name in FIELDS if name in fields)
        raw = wire.get("raw") or []
        if "rawInput" in raw:
            update["rawInput"] = state.get("input")
        if "rawOutput" in raw:
            update["rawOutput"] = state.get("output")
        meta = fields.get("_meta")
        meta = meta if isinstance(meta, dict) else {}
        meta = {key: value for key, value in meta.items() if key not in SHOWN}
        if meta:
            update["_meta"] = meta
        return update
    if part.kind == "compaction" and type(wire.get("compactionId")) is str:
        summary = [{"type": "text", "text": part.view.raw()}] if part.view.raw() else []
        return {"sessionUpdate": "compaction_update", **wire, "summary": summary}
    given = fields.get("_meta")
    meta = meta_field(given) if isinstance(given, dict) else {}
    if type(wire.get("chunk")) is str:
        return {"sessionUpdate": wire["chunk"], "content": wire.get("content"), **meta}
    kind = part.kind if part.kind == "reasoning" and role != "user" else "text"
    chunk = _CHUNK_OF.get((role, kind), "agent_message_chunk")
    rest = wire.get("content")  # of a store that another protocol filled it may be anything
    content = {**(rest if isinstance(rest, dict) else {}), "type": "text", "text": part.view.raw()}
    return {"sessionUpdate": chunk, "content": content, **meta}


def _wire_terminal(part: Part) -> list[Members]:
    """What a tool's terminal shows, and its end: clients read them in an update only."""
    meta = thaw(part.fields.get("_meta")) if part.kind == "tool" else None
    meta = {key: meta[key] for key in SHOWN if key in meta} if isinstance(meta, dict) else {}
    if not meta:
        return []
    for key in [key for key in TERMINAL if isinstance(meta.get(key), dict)][-1:]:
        printed = part.others.get(OUTPUT)
        meta[key]["data"] = "" if printed is None else printed.raw()
    call_id = part.fields.get("callId")
    return [{"sessionUpdate": "tool_call_update", "toolCallId": call_id, "_meta": meta}]


def _wire_session(info: Members, todo: Json) -> list[Members]:
    updates: list[Members] = []
    plans = info.pop("plans") if isinstance(info.get("plans"), dict) else {}
    if todo is not None and not any(
        isinstance(plan, dict) and "entries" in plan for plan in plans.values()
    ):
        updates.append({"sessionUpdate": "plan", "entries": todo})
    updates += [{"sessionUpdate": "plan_update", "plan": plan} for plan in plans.values()]
    if isinstance(info.get("usage"), dict):
        updates.append({"sessionUpdate": "usage_update", **info.pop("usage")})
    for name, kind in _SAID.items():
        if name in info:
            updates.append({"sessionUpdate": kind, name: info.pop(name)})
    for name in _UNSAID:
        info.pop(name, None)
    if info:
        updates.append({"sessionUpdate": "session_info_update", **info})
    return updates
