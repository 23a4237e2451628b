"""Names and forms of ACP's wire: chunks, tools, plans, requests.

Knows wire objects alone, no session and no event.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ...keys import is_number
from ...model import TOOL_RANKS, Json
from ..members import Members, a_string, an_id, maybe_object, objects, wrong

#: Of each chunk the role of its message and the kind of its part.
CHUNKS: Mapping[str, tuple[str, str]] = {
    "user_message_chunk": ("user", "text"),
    "agent_message_chunk": ("assistant", "text"),
    "agent_thought_chunk": ("assistant", "reasoning"),
}
#: Of each status of a tool the one of its state.
STATUSES: Mapping[str, str] = {
    "pending": "pending",
    "in_progress": "running",
    "completed": "completed",
    "failed": "error",
}
#: Members of a tool that are remembered, to say its state whole.
STATED = ("title", "kind", "name", "status", "rawInput", "rawOutput")
#: Those of them that are of the wire, and those that may be anything.
SAID_OF_IT, RAW = ("kind", "name", "status"), ("rawInput", "rawOutput")
#: Members of a tool that are fields of its part as they came.
FIELDS = ("content", "locations")
#: The field of a part that keeps what only the wire needs.
WIRE = "wire"


def request_name(wire: Members) -> str:
    """What a JSON-RPC request is called: its id, which may be a number, as JSON."""
    given = wire.get("id")
    if type(given) is str and given:
        return json.dumps(given)
    if is_number(given):
        return str(given)
    raise wrong(wire, "id", "", "a string or a number")


def plan_id(members: Members, at: str) -> str:
    """The id of a plan; earlier versions of the schema spelled it `id`."""
    old = "id" in members and "planId" not in members
    return an_id(members, "id" if old else "planId", at)


def read_tool(update: Members, at: str) -> Members:
    """What an update says of a tool; null says nothing."""
    for name in ("title", *SAID_OF_IT):
        if update.get(name) is not None:
            a_string(update, name, at)
    for name in FIELDS:
        if update.get(name) is not None:
            objects(update, name, at)
    maybe_object(update, "_meta", at)
    names = (*STATED, *FIELDS, "_meta")
    return {name: update[name] for name in names if update.get(name) is not None}


def tool_rank(said: Members) -> int:
    """Rank of the status that is known of a tool."""
    return TOOL_RANKS[STATUSES.get(said.get("status", ""), "pending")]


def tool_state(said: Members, output: Json, waiting: bool) -> Members:
    """The state of a tool by what is remembered of it."""
    status = STATUSES.get(said.get("status", ""), "pending")
    if waiting and TOOL_RANKS[status] < TOOL_RANKS["completed"]:
        status = "waiting"
    state: Members = {"status": status}
    if "title" in said:
        state["title"] = said["title"]
    if "rawInput" in said:
        state["input"] = said["rawInput"]
    if output is not None:
        state["output"] = output
        if status == "error":
            state["error"] = output
    return state
