"""States and fields of the parts of a UI message, by the names that the wire and that we have.

Knows the members of chunks and parts, and what is remembered of a tool; no stream and no event but
the answer that an approval holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...events import (
    Event,
    PermissionReplied,
)
from ...keys import is_id
from ...model import Json, thaw
from ..members import (
    Members,
)
from .memory import Memory

#: Tool states of the wire, with the canonical status.
STATUSES: Mapping[str, str] = {
    "input-streaming": "pending",
    "input-available": "running",
    "approval-requested": "waiting",
    "approval-responded": "running",
    "output-available": "completed",
    "output-error": "error",
    "output-denied": "denied",
}
#: The field that has what the wire says under a name that means something else in a part of ours.
WIRE = "wire"


def tool_state(wire: str, *members: Members) -> Members:
    """A canonical tool state; `wire` is the state's own name."""
    state: Members = {"status": STATUSES.get(wire, "running"), WIRE: wire}
    for more in members:
        state |= more
    if state.get("preliminary"):
        state["status"] = "running"  # there is more to come
    return state


def moved_state(tool: Memory, wire: str) -> Members:
    """A tool's state under another name, with everything that it holds."""
    return {**tool["fields"]["state"], "status": STATUSES[wire], WIRE: wire}


def tool_title(wire: Members, tool: Memory | None) -> Members:
    """A tool's title, which stays once it was given."""
    title = wire.get("title")
    if title is None and tool is not None:
        title = tool["fields"]["state"].get("title")
    return {} if title is None else {"title": title}


def tool_fields(wire: Members, state: Members, dynamic: bool) -> Members:
    """The fields of a tool part that a chunk with its name says."""
    fields: Members = {"tool": wire["toolName"], "callId": wire["toolCallId"], "state": state}
    if dynamic:
        fields["dynamic"] = True
    fields |= given(wire, "toolMetadata", "providerExecuted")
    if wire.get("providerMetadata") is not None:
        ended = state[WIRE] == "output-error"
        name = "resultProviderMetadata" if ended else "callProviderMetadata"
        fields[name] = thaw(wire["providerMetadata"])
    return fields


def answer_of(approval: Json, unanswered: bool = False) -> list[Event]:
    """The answer to the permission that an approval asked for, when it has one, or has none."""
    if not isinstance(approval, dict) or not is_id(approval.get("id")):
        return []
    if ("approved" in approval) == unanswered:
        return []
    payload = {name: approval[name] for name in ("approved", "reason") if name in approval}
    return [PermissionReplied(request_id=approval["id"], payload=payload)]


def given(wire: Members, *names: str) -> Members:
    """Copies of the members that are there and not null."""
    return {name: thaw(wire[name]) for name in names if wire.get(name) is not None}


def also_null(wire: Members, name: str) -> Members:
    """A copy of a member that may be null."""
    return {name: thaw(wire[name])} if name in wire else {}
