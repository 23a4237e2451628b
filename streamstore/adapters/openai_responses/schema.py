"""Which events a streamed response of OpenAI has, and what is read of them and of a response.

Knows names, types and members, and the statuses that a response ends with; not what an event does
to a message, and nothing of what came before.

Sources: the event types of the published Python SDK (3.57.0), and spellings of older servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...keys import is_id
from ..members import Members, an_id, objects

#: Events that begin a response, or say that it goes on.
CREATED = "response.created"
BEGINNINGS = frozenset((CREATED, "response.queued", "response.in_progress"))
FAILED = "response.failed"
#: Events that end a response, with the status they stand for.
ENDINGS: Mapping[str, str] = {
    "response.completed": "completed",
    FAILED: "failed",
    "response.incomplete": "incomplete",
    "response.cancelled": "cancelled",  # of servers alone that let one be cancelled in its stream
}
ENDED = frozenset(ENDINGS.values())

#: Known types that change nothing: ends of what came in pieces, and the queue of a WebSocket.
NOTHING = frozenset(
    "response.audio.done response.audio.transcript.done response.compaction.compacting".split()
)
UNNUMBERED = frozenset(
    "response.steer.accepted response.steer.pending response.steer.failed "
    "response.inject.created response.inject.failed".split()
)
#: Spellings of older servers.
OLD: Mapping[str, str] = {
    "response.code_interpreter_call.code.delta": "response.code_interpreter_call_code.delta",
    "response.code_interpreter_call.code.done": "response.code_interpreter_call_code.done",
    "response.mcp_call.arguments_delta": "response.mcp_call_arguments.delta",
    "response.mcp_call.arguments_done": "response.mcp_call_arguments.done",
    "response.mcp_call.arguments.delta": "response.mcp_call_arguments.delta",
    "response.mcp_call.arguments.done": "response.mcp_call_arguments.done",
    "response.output_text_annotation.added": "response.output_text.annotation.added",
}


class Text(NamedTuple):
    """What the deltas of one family append to.

    Attributes:
        item: type of the item it belongs to.
        list: member of the item with the parts, "" where the item itself has the text.
        part: type of the part there.
        whole: member that has all of the text, in the part or item and in the family's `done`.
    """

    item: str
    list: str
    part: str
    whole: str = "text"


#: Families of events that stream a text.
TEXTS: Mapping[str, Text] = {
    "response.output_text": Text("message", "content", "output_text"),
    "response.refusal": Text("message", "content", "refusal", "refusal"),
    "response.reasoning_text": Text("reasoning", "content", "reasoning_text"),
    "response.reasoning_summary_text": Text("reasoning", "summary", "summary_text"),
    "response.function_call_arguments": Text("function_call", "", "", "arguments"),
    "response.mcp_call_arguments": Text("mcp_call", "", "", "arguments"),
    "response.custom_tool_call_input": Text("custom_tool_call", "", "", "input"),
    "response.code_interpreter_call_code": Text("code_interpreter_call", "", "", "code"),
}
#: Member with the text of a part, by its type, and with the streamed input of a tool, by its.
WHOLE = {text.part: text.whole for text in TEXTS.values() if text.list}
INPUT = {text.item: text.whole for text in TEXTS.values() if not text.list}

#: What the server says of its own tools' progress, by family.
PROGRESS: Mapping[str, Mapping[str, str]] = {
    "web_search_call": {
        "in_progress": "running",
        "searching": "running",
        "completed": "completed",
    },
    "file_search_call": {
        "in_progress": "running",
        "searching": "running",
        "completed": "completed",
    },
    "code_interpreter_call": {
        "in_progress": "pending",
        "interpreting": "running",
        "completed": "completed",
    },
    "image_generation_call": {
        "in_progress": "running",
        "generating": "running",
        "completed": "completed",
    },
    "mcp_call": {"in_progress": "pending", "completed": "completed", "failed": "error"},
    "mcp_list_tools": {"in_progress": "running", "completed": "completed", "failed": "error"},
}


# --- members --------------------------------------------------------------------------------------


def output_of(response: Members, at: str) -> list[Members]:
    """The items of a response, each of which has a type; none where it has no list."""
    if response.get("output") is None:
        return []
    output = objects(response, "output", at)
    for number, item in enumerate(output):
        an_id(item, "type", f"{at}.output.{number}" if at else f"output.{number}")
    return output


def is_nameless(wire: Members) -> bool:
    """Whether an end has no response, or one without an id; what is wrong in it is none of this."""
    response = wire.get("response")
    return response is None or (isinstance(response, dict) and response.get("id") is None)


def said(members: Members, name: str) -> str | None:
    """A string that may be missing, or anything else, which says nothing."""
    value = members.get(name)
    return value if type(value) is str else None


def parent_of(response: Members) -> str | None:
    """The response that one goes on from."""
    parent = response.get("previous_response_id")
    return parent if is_id(parent) else None


def error_of(error: Any, name: str) -> Members:
    """An error of the wire as `{name, message, data}`."""
    members = error if isinstance(error, dict) else {"message": error}
    names = [members.get(member) for member in ("code", "type")]
    return {
        "name": next((found for found in names if is_id(found)), name),
        "message": said(members, "message") or "",
        "data": error,
    }


def ending_of(response: Members, status: str) -> tuple[str, Members | None]:
    """How the message of a response ended, and its error."""
    if status == "completed":
        return "completed", None
    if status == "cancelled":
        return "aborted", None
    if status == "failed":
        return "error", error_of(response.get("error"), "failed")
    details = response.get("incomplete_details")
    reason = said(details, "reason") if isinstance(details, dict) else None
    # Another message of the user's took over: nothing went wrong.
    ending = "aborted" if reason == "steered" else "error"
    return ending, {"name": "incomplete", "message": reason or "", "data": details}
