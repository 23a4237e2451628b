"""A conversation that was fetched from a vellum-assistant daemon, to a snapshot.

Knows reads and what their members mean; no event of the wire, and remembers nothing.

Sources: as for `vellum`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import MalformedEvent
from ...events import Snapshot
from ...model import Json
from ..members import Members, a_number, a_string, an_id, describe, maybe_id, objects, wrong
from .ids import time_of_id

KINDS: Mapping[str, str] = {"text": "text", "tool_use": "tool", "thinking": "reasoning"}


def read_conversation(wire: Members) -> Snapshot:
    """The messages of a read with their blocks."""
    messages: list[Json] = []
    for number, entry in enumerate(objects(wire, "messages")):
        at = f"messages.{number}"
        message_id = an_id(entry, "messageId", at)
        info = {
            name: value
            for name, value in entry.items()
            if name not in ("messageId", "role", "isComplete", "status", "blocks")
        }
        message: Members = {
            "id": message_id,
            "role": an_id(entry, "role", at),
            "status": _status_of(entry, at),
            "info": info,
            "parts": [
                _read_block(block, f"{at}.blocks.{place}")
                for place, block in enumerate(objects(entry, "blocks", at))
            ],
        }
        made = time_of_id(message_id)
        if made is not None:
            message["order"] = made
        messages.append(message)
    complete = wire.get("complete", False)
    if type(complete) is not bool:
        raise wrong(wire, "complete", "", "true or false")
    return Snapshot(
        session_id=an_id(wire, "conversationId"),
        seq=a_number(wire, "seq") if wire.get("seq") is not None else None,
        messages=messages,
        complete=complete,
        before=maybe_id(wire, "before"),
        read_from=maybe_id(wire, "readFrom"),
    )


def _flag(members: Members, name: str, at: str) -> bool:
    value = members.get(name, False)
    if type(value) is not bool:
        raise MalformedEvent(f"{at}.{name}", f"must be true or false, not {describe(value)}")
    return value


def _status_of(entry: Members, at: str) -> str:
    if not _flag(entry, "isComplete", at):
        return "open"
    status = entry.get("status", "completed")
    if status not in ("completed", "aborted", "error"):
        raise wrong(entry, "status", at, "one of completed, aborted, error")
    return str(status)


def _read_block(block: Members, at: str) -> Members:
    kind = an_id(block, "type", at)
    part: Members = {
        "blockIndex": a_number(block, "blockIndex", at),
        "kind": KINDS.get(kind, kind),
        "status": "closed" if _flag(block, "isComplete", at) else "open",
    }
    if block.get("text") is not None:
        part["text"] = a_string(block, "text", at)
    if kind == "tool_use":
        for ours, theirs in (("tool", "toolName"), ("callId", "toolUseId")):
            value = maybe_id(block, theirs, at)
            if value is not None:
                part[ours] = value
        if block.get("toolInputJson") is not None:
            part["input"] = a_string(block, "toolInputJson", at)
        part["state"] = _read_state(block, at)
        if "toolInput" in block:
            part["toolInput"] = block["toolInput"]
    return part


def _read_state(block: Members, at: str) -> Members:
    state: Members = {"status": "pending"}
    if "toolInput" in block:
        state = {"status": "running", "input": block["toolInput"]}
    if block.get("toolResult") is not None:
        failed = _flag(block, "isError", at)
        state["status"] = "error" if failed else "completed"
        state["error" if failed else "output"] = a_string(block, "toolResult", at)
    extra = block.get("toolDetails")
    return {**extra, **state} if isinstance(extra, dict) else state
