"""Messages of LangChain's wire: each of its forms read as one, and a stored message written again.

Knows how a message looks in its forms (bare, as the package loads it, as `message_to_dict` writes
it) and where the adapter puts what only the wire knows; nothing of chunks, streams or memory.

Sources: the message classes of the published package `langchain-core`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...decoding import decode_json
from ...errors import MalformedEvent, UnknownEvent
from ...model import Json, Message, Part, thaw
from ...partialjson import partial_json
from ..members import Members, an_object, describe, no_object, only_json, path_to, wrong

#: Where the adapter keeps what only the wire knows, a tool's streamed input, and a reasoning that
#: stands beside the content.
WIRE, INPUT, REASONING = "wire", "input", "reasoning_content"

ROLES: Mapping[str, str] = {
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "human": "user",
    "HumanMessageChunk": "user",
    "user": "user",
    "system": "system",
    "SystemMessageChunk": "system",
    "developer": "system",
    "tool": "tool",
    "ToolMessageChunk": "tool",
    "function": "tool",
    "FunctionMessageChunk": "tool",
    "chat": "assistant",
    "ChatMessageChunk": "assistant",
}
_BY_ROLE: Mapping[str, str] = {"user": "human", "assistant": "ai", "developer": "system"}
#: Types by class, for messages in the form that the package loads again.
_CLASSES: Mapping[str, str] = {
    "AIMessage": "ai",
    "HumanMessage": "human",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
    "ChatMessage": "chat",
    "RemoveMessage": "remove",
}


#: What is kept of a chunk; of a message that is whole, all is.
_OF_CHUNKS = (
    "id content name response_metadata additional_kwargs usage_metadata tool_call_chunks "
    "chunk_position tool_call_id status artifact"
).split()


def message_of(value: Any, at: str) -> Members:
    """A message in any of its forms, with its type among its members.

    What a program has of a live graph may hold more than JSON, which could not be saved again.
    """
    if not isinstance(value, dict):
        raise no_object(value, at)
    message = value
    if value.get("lc") == 1:
        names = value.get("id")
        name = names[-1] if isinstance(names, list) and names else None
        type_ = _CLASSES.get(name, name) if type(name) is str else None
        message = {"type": type_, **an_object(value, "kwargs", at)}
        if type(message["type"]) is str and message["type"] in _CLASSES:
            message["type"] = _CLASSES[message["type"]]
    elif isinstance(value.get("data"), dict) and "content" not in value:
        message = {**value["data"], "type": value.get("type")}
    elif "type" not in value and type(value.get("role")) is str:  # what a node may give for one
        role = value["role"]
        message = {"type": _BY_ROLE.get(role, role), **value}
        if message.get("content", 0) is None:  # as a call of tools has it elsewhere
            message["content"] = ""
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [_call_of(call) for call in calls]
    kind = message.get("type")
    if type(kind) is not str:
        raise wrong(message, "type", at, "a string")
    if kind == "remove":
        return message
    if kind not in ROLES:
        raise UnknownEvent(kind)
    content = message.get("content")
    if not isinstance(content, str):
        if not isinstance(content, list):
            raise wrong(message, "content", at, "a string or an array")
        for place, piece in enumerate(content):
            if not isinstance(piece, str | dict):
                where = f"{path_to(at, 'content')}.{place}"
                raise MalformedEvent(where, f"must be a string or an object, not {describe(piece)}")
    names = _OF_CHUNKS if kind.endswith("Chunk") else message
    only_json({name: message[name] for name in names if name in message}, at)
    return message


def whole_type(type_: str) -> str:
    """The type of the message that chunks of a type come to: as such a graph's state has what a
    node added up."""
    return _CLASSES.get(type_.removesuffix("Chunk"), type_)


def messages_given(value: Any, at: str) -> list[Members]:
    """What a node gave for its messages, as the package reads it: one alone or a list of them, of
    which a bare text is the user's, and a pair a role and what it said.

    JSON has no pairs but lists: one of a role and a text is taken for a pair.
    """
    if isinstance(value, list) and not _is_pair(value):
        return [_given(each, f"{at}.{place}") for place, each in enumerate(value)]
    return [_given(value, at)] if isinstance(value, str | dict | list | tuple) else []


def _is_pair(value: list[Any]) -> bool:
    role = value[0] if len(value) == 2 else None
    return (
        type(role) is str and _BY_ROLE.get(role, role) in ROLES and isinstance(value[1], str | list)
    )


def _given(value: Any, at: str) -> Members:
    if isinstance(value, str):
        value = {"role": "user", "content": value}
    elif isinstance(value, list | tuple) and len(value) == 2:
        value = {"role": value[0], "content": value[1]}
    return message_of(value, at)


def _call_of(call: Any) -> Any:
    """A call of a tool as the package has it, also where it came as OpenAI writes it."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    args = function.get("arguments")
    if type(args) is str:
        try:
            args = decode_json(args)
        except MalformedEvent:
            return call
    return {
        "name": function.get("name"), "args": args, "id": call.get("id"), "type": "tool_call"
    }  # fmt: skip


def dumped(args: Json, at: str) -> str | None:
    """Arguments that are no text as one, None without any."""
    if args is None:
        return None
    try:
        return json.dumps(args, ensure_ascii=False)
    except (TypeError, ValueError) as error:  # no JSON; more digits than Python writes
        raise MalformedEvent(at, "cannot be written") from error


def wire_message(message: Message, parts: Sequence[Part]) -> Members:
    """A stored message in the form in which it came, or as `ai`, `human` and so on."""
    rest = thaw(message.info.get(WIRE))
    about: Members = rest if isinstance(rest, dict) else {}
    form, lead = about.pop("form", None), about.pop("lead", False)
    whole = about.pop("whole", False)
    about.pop("start_metadata", None)
    content: list[Json] = [""] if lead else []
    chunks: list[Members] = []
    calls: list[Members] = []
    for part in parts:
        wire = thaw(part.fields.get(WIRE))
        wire = wire if isinstance(wire, dict) else {}
        place = wire.get("in")
        if place == "tools":
            chunks.append(_wire_chunk(part, wire))
        elif place == "calls":
            calls.append(wire.get("call") or {})
        elif place == "additional_kwargs":
            about["additional_kwargs"] = {
                **(about.get("additional_kwargs") or {}), REASONING: part.view.raw()
            }  # fmt: skip
        elif place == "agent":
            content.append(_wire_block(part, wire.get("block") or {}))
        elif "rest" in wire:
            piece = {**wire["rest"]}
            if wire.get("member"):
                piece[wire["member"]] = part.view.raw()
            if wire.get("source"):
                piece[wire["source"]] = _input_of(part)
            content.append(piece)
        elif part.kind == "text":
            content.append(part.view.raw())
    about.setdefault("type", {"user": "human", "assistant": "ai"}.get(message.role, message.role))
    about.setdefault("id", message.id)
    if form == "blocks":
        if type(about["type"]) is not str or about["type"] not in ROLES:
            about["type"] = "ai"
        calls = [
            {name: block.get(name) for name in ("id", "name", "args")} | {"type": "tool_call"}
            for block in content
            if isinstance(block, dict) and block.get("type") == "tool_call"
        ]
        return {**about, "content": content, "tool_calls": calls}
    text = "".join(piece for piece in content if isinstance(piece, str))
    wired: Members = {**about, "content": content if form == "list" else text}
    if whole or calls:
        wired["tool_calls"] = calls
    if chunks:
        wired["tool_call_chunks"] = chunks
        wired["tool_calls"], wired["invalid_tool_calls"] = _calls(chunks)
    return wired


def _input_of(part: Part) -> str:
    streamed = part.others.get(INPUT)
    return "" if streamed is None else streamed.raw()


def _wire_chunk(part: Part, wire: Members) -> Members:
    name = part.fields.get("tool")
    return {
        "name": name if type(name) is str else None,
        "args": _input_of(part) if wire.get("args") else None,
        "id": wire.get("id"),
        "index": wire.get("index"),
        "type": "tool_call_chunk",
    }


def _wire_block(part: Part, block: Members) -> Members:
    type_ = block.get("type")
    if type_ in ("text", "reasoning"):
        return {**block, type_: part.view.raw()}
    if part.kind == "tool" and "args" not in block:
        return {**block, "args": _input_of(part)}
    data = part.others.get("data")
    if data is not None and "data" not in block and part.status == "open":
        return {**block, "data": data.raw()}
    return block


def _calls(chunks: Sequence[Members]) -> tuple[list[Members], list[Members]]:
    """The calls that chunks of tools come to, and those that are none."""
    calls: list[Members] = []
    invalid: list[Members] = []
    for chunk in chunks:
        text, args = chunk["args"], None
        try:
            args = decode_json(text) if text else {}
        except MalformedEvent:
            try:
                args = partial_json(text)
            except ValueError:
                args = None
        named = {"name": chunk["name"], "id": chunk["id"]}
        if isinstance(args, dict):
            named = {**named, "name": chunk["name"] or ""}
            calls.append({**named, "args": args, "type": "tool_call"})
        else:
            call = {**named, "args": text, "error": None, "type": "invalid_tool_call"}
            invalid.append(call)
    return calls, invalid
