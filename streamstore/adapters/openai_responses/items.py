"""Items of an OpenAI response as parts and the states of tools, and back to a `Response` object.

Parts of messages and of reasoning are parts, every other item is one as a whole; what else an item
of parts says stands in its message's info. Knows items, whole or as far as they came, and parts as
they are stored; no event, of the wire or of ours, and no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...decoding import decode_json, nests_over
from ...errors import MalformedEvent
from ...model import Json, Message, Part, thaw
from ..members import Members
from .schema import INPUT, WHOLE, said

#: Fields of a part: its item or part as it came, without its text; what is annotated in it; the
#: patch of a call as it streams.
WIRE, ANNOTATIONS, DIFF = "wire", "annotations", "diff"

#: How deep a tool input may nest to be parsed.
_NESTING = 100
#: Calls that somebody else than the server runs, or may run.
_CLIENTS = frozenset(
    "function_call custom_tool_call computer_call local_shell_call shell_call "
    "apply_patch_call".split()
)
_AT_WORK = frozenset("searching interpreting generating calling".split())
#: Members of an item that say what a tool was asked, and what it gave.
_ASKED = ("action", "operation", "queries")
_GAVE: Mapping[str, str] = {
    "mcp_call": "output",
    "code_interpreter_call": "outputs",
    "file_search_call": "results",
    "mcp_list_tools": "tools",
}
#: Members of the result of a call, of which it has one.
_ANSWERS = ("output", "result", "tools")


def order_of(place: int, name: str, index: int) -> float:
    """Where a part stands: summaries before contents, items in order of the output."""
    return place * 1_000_000 + (500_000 if name == "content" else 0) + index


def item_kind(type_: str) -> str:
    """The part kind of an item that is a part as a whole."""
    if type_ == "compaction":
        return "compaction"
    if type_.endswith("_output") or type_ == "mcp_approval_response":
        return "data"
    tools = ("mcp_list_tools", "mcp_approval_request", "program")
    return "tool" if type_.endswith("_call") or type_ in tools else "unknown"


def part_kind(name: str, type_: str, item: Any, text: str | None) -> str:
    """The kind of a part of an item; `name`: the list it is in, `item`: the item's type."""
    if name == "summary" or type_ == "reasoning_text" or item == "reasoning":
        return "reasoning"
    return "text" if type_ in WHOLE or text is not None else "unknown"


def tool_name(type_: str) -> str:
    """The name of a tool whose call has none: that of the type."""
    return type_.removesuffix("_call")


def commands_of(item: Members) -> list[Any]:
    """The commands of a shell call; none of what is no such call."""
    action = item.get("action")
    commands = action.get("commands") if isinstance(action, dict) else None
    return commands if isinstance(commands, list) else []


def diff_of(item: Members) -> str | None:
    """The patch of a call to apply one; None of what has none."""
    operation = item.get("operation")
    return said(operation, DIFF) if isinstance(operation, dict) else None


def printed_of(number: int, chunks: list[Members]) -> Members:
    """What a command printed, as the texts that its deltas append to; of all of its chunks."""
    found: Members = {}
    for stream in ("stdout", "stderr"):
        pieces: list[Any] = [chunk.get(stream) for chunk in chunks]
        if any(pieces) and all(type(piece) is str for piece in pieces):
            found[f"{stream}/{number}"] = "".join(pieces)
    return found


def tool_state(item: Members, final: bool, result: Members | None) -> Members:
    """The state of a call: `final` where its item is whole, `result`: the item that answers it."""
    state: Members = {"status": _tool_status(item, final), **input_of(item)}
    given = item.get(_GAVE.get(item["type"], ""))
    if given is not None:
        state["output"] = given
    if item.get("error") is not None:
        state["error"] = item["error"]
    elif state["status"] == "error":
        state["error"] = item.get("status")
    return state if result is None else answered(state, result)


def answer_of(item: Members) -> Members:
    """What of the item that is a call's result its state is made of; see `answered`."""
    return {name: item[name] for name in ("status", *_ANSWERS) if name in item}


def answered(state: Members, result: Members) -> Members:
    """A call's state with the item that is its result; nothing new where that is unfinished."""
    if said(result, "status") == "in_progress":
        return state
    failed = said(result, "status") in ("incomplete", "failed")
    state = {**state, "status": "error" if failed else "completed"}
    for name in _ANSWERS:
        if name in result:
            return {**state, "output": result[name]}
    return state


def _tool_status(item: Members, final: bool) -> str:
    kind, status = item["type"], said(item, "status")
    if status in ("failed", "incomplete") or item.get("error"):
        return "error"
    if kind == "mcp_approval_request":
        return "waiting"
    if status == "completed" or (status is None and final):
        return "running" if kind in _CLIENTS else "completed"
    return "running" if status in _AT_WORK else "pending"


def input_of(item: Members) -> Members:
    """`{"input": ...}`: what a tool was asked, parsed; empty where that is not known yet."""
    arguments = item.get("arguments")
    if type(arguments) is str:
        return _parsed(arguments)
    if type(item.get("input")) is str and item["input"]:
        return {"input": item["input"]}
    if type(item.get("code")) is str and item["code"]:
        return {"input": {"code": item["code"]}}
    for name in _ASKED:
        if item.get(name) is not None:
            return {"input": item[name]}
    return {}


def _parsed(text: str) -> Members:
    if not text:
        return {}
    try:
        value = decode_json(text)
    except MalformedEvent:
        return {}  # the raw text is there
    return {} if nests_over(value, _NESTING) else {"input": value}


# --- back to the wire -----------------------------------------------------------------------------


def wire_response(message: Message, parts: Iterable[Part]) -> Members:
    """A `Response` object of a message and its parts, with what came so far. Linear."""
    info: Members = thaw(message.info)
    items: dict[int, Members] = {}
    for name in [name for name in info if name.startswith("output/")]:
        skeleton, place = info.pop(name), name.removeprefix("output/")
        if place.isdecimal() and isinstance(skeleton, dict):
            items[int(place)] = skeleton
    for part in parts:
        place, _, where = str(part.block_index).partition("/")
        if not place.isdecimal():
            continue
        item = items.setdefault(int(place), {})
        if not where:
            item.update(_wire_item(part))
            continue
        name = where.partition("/")[0]
        found = item.get(name)
        item[name] = [*(found if isinstance(found, list) else ()), _wire_part(part)]
    return {
        "id": message.id,
        "object": "response",
        **info,
        "output": [items[place] for place in sorted(items)],
    }


def _wire_part(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    wire = fields.get(WIRE)
    wire = wire if isinstance(wire, dict) else {"type": "output_text"}
    if ANNOTATIONS in fields:
        wire[ANNOTATIONS] = fields[ANNOTATIONS]
    member = WHOLE.get(said(wire, "type") or "", "")
    if member or len(part.view):
        wire[member or "text"] = part.view.raw()
    return wire


def _wire_item(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    # What was streamed, also where the end set it; see the law of a field that deltas append to.
    fields.update((field, view.raw()) for field, view in part.others.items())
    kept = fields.get(WIRE)
    item: Members = kept if isinstance(kept, dict) else {"type": part.kind}
    type_ = said(item, "type") or ""
    member = INPUT.get(type_)
    if member is not None and (fields.get("input") or member not in item):
        item[member] = fields.get("input", "")
    commands = _numbered(fields, "command/")
    if commands:
        action = item.get("action")
        item["action"] = {**(action if isinstance(action, dict) else {}), "commands": commands}
    if type_ == "apply_patch_call" and DIFF in fields:
        operation = item.get("operation")
        item["operation"] = {
            **(operation if isinstance(operation, dict) else {}),
            DIFF: fields[DIFF],
        }
    if type_ == "shell_call_output" and not item.get("output"):
        item["output"] = [
            chunk for chunks in _numbered(fields, "output/") for chunk in chunks
        ] or _printed_so_far(fields)
    return item


def _printed_so_far(fields: Members) -> list[Json]:
    places = {name.partition("/")[2] for name in fields if name.startswith(("stdout/", "stderr/"))}
    return [
        {stream: fields.get(f"{stream}/{place}", "") for stream in ("stdout", "stderr")}
        for place in sorted(places, key=lambda place: (len(place), place))
    ]


def _numbered(fields: Members, prefix: str) -> list[Any]:
    """The fields of a numbered series, in order."""
    names = [name for name in fields if name.startswith(prefix)]
    return [fields[name] for name in sorted(names, key=lambda name: (len(name), name))]
