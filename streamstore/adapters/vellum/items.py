"""Messages and blocks as they are stored, back to what a fetched vellum conversation has of them.

Knows parts with the fields that the adapters here give them, and takes them of any other store,
too; no event, of the wire or of ours, and no memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...model import Json, Message, Part, thaw
from ..base import Reads
from ..members import Members
from .reads import KINDS

_TYPES = {kind: name for name, kind in KINDS.items()}


def wire_conversations(reads: Reads) -> list[Json]:
    """Every conversation, its messages as a read has them. Linear in what is stored."""
    return [
        {
            "conversationId": session_id,
            "messages": [
                _wire_message(message, reads.parts(session_id, message.id))
                for message in reads.messages(session_id)
            ],
        }
        for session_id in reads.session_ids()
    ]


def _wire_message(message: Message, parts: Sequence[Part]) -> Members:
    wire: Members = {"messageId": message.id, "role": message.role or "assistant"}
    wire.update(thaw(message.info))
    wire["isComplete"] = message.status != "open"
    if message.status in ("aborted", "error"):
        wire["status"] = message.status
    wire["blocks"] = [_wire_block(part) for part in parts]
    return wire


def _wire_block(part: Part) -> Members:
    fields = thaw(part.fields)
    kind = fields.get("originalKind", part.kind)
    wire: Members = {
        "blockIndex": part.block_index,
        "type": _TYPES.get(kind, kind),
        "isComplete": part.status != "open",
    }
    if part.kind in ("text", "reasoning") or len(part.view):
        wire["text"] = part.view.raw()
    if part.kind != "tool":
        return wire
    names = (
        ("toolName", "tool"),
        ("toolUseId", "callId"),
        ("toolInputJson", "input"),
        ("toolInput", "toolInput"),
    )
    wire.update((theirs, fields[ours]) for theirs, ours in names if ours in fields)
    state = fields.get("state")
    state = state if isinstance(state, dict) else {}  # another protocol's may be anything
    status = state.get("status")
    if status in ("completed", "error"):
        wire["toolResult"] = state.get("error" if status == "error" else "output")
        wire["isError"] = status == "error"
    details = {
        name: value
        for name, value in state.items()
        if name not in ("status", "input", "output", "error")
    }
    if details:
        wire["toolDetails"] = details
    return wire
