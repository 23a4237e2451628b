"""Parts and deltas of pydantic-ai's wire as they are read, and stored parts back to its messages.

Knows one part, delta or message at a time, and of a part that streams what somebody else remembers
of it; no event, of the wire or of ours, and no memory.

Sources: as for `pydantic_ai`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ...decoding import decode_json
from ...errors import MalformedEvent, ProtocolStopped
from ...keys import is_id
from ...model import Json, Message, Part, thaw
from ..members import Members, a_string, an_id, objects, only_json, path_to, wrong

#: Kinds of parts, by the wire's; those with a text name the member that holds it.
KINDS: Mapping[str, tuple[str, str]] = {
    "text": ("text", "content"),
    "thinking": ("reasoning", "content"),
    "speech": ("text", "transcript"),
    "compaction": ("compaction", "content"),
    "user-prompt": ("text", "content"),
    "system-prompt": ("text", "content"),
    "retry-prompt": ("data", ""),
    "retry-feedback": ("data", ""),
    "tool-call": ("tool", ""),
    "builtin-tool-call": ("tool", ""),
    "tool-return": ("data", ""),
    "builtin-tool-return": ("data", ""),
    "file": ("file", ""),
}
#: Part kinds by ours, where the field `wire` does not name one.
_TYPES: Mapping[str, str] = {"text": "text", "reasoning": "thinking", "tool": "tool-call"}
_OUTCOMES: Mapping[str, str] = {"success": "completed", "denied": "denied"}

#: Fields of a part: what it has beside its text and arguments, as it came; its arguments.
WIRE, INPUT = "wire", "input"


class WirePart(NamedTuple):
    """A part of the wire: `wire` is what it has beside its text and its arguments."""

    type: str
    kind: str
    text: str | None
    wire: Members
    fields: Members
    name: str = ""
    args: Json = None


def is_users(speech: Members) -> bool:
    """Whether a part or a delta is of what the user said."""
    names = (speech.get("part_kind"), speech.get("part_delta_kind"))
    return "speech" in names and speech.get("speaker") == "user"


def kind_of(type_: str) -> str:
    """The canonical kind of a part kind."""
    return KINDS.get(type_, ("unknown", ""))[0]


def read_part(part: Members, at: str) -> WirePart:
    """A part as it came, at the path `at`. Linear in what it holds.

    Raises:
        MalformedEvent: a member has the wrong type, or is no JSON.
    """
    type_ = an_id(part, "part_kind", at)
    only_json(part, at)
    kind, member = KINDS.get(type_, ("unknown", ""))
    wire = dict(part)
    if member:
        text = part.get(member)
        if type(text) is str:
            del wire[member]
        elif text is not None and type_ != "user-prompt":
            raise wrong(part, member, at, "a string")
        else:  # several pieces, which stay as they are beside what they read
            pieces = text if isinstance(text, list) else []
            text = "".join(_said(piece) for piece in pieces)
        return WirePart(type_, kind, text, wire, {WIRE: wire})
    if kind != "tool":
        fields: Members = {WIRE: wire}
        if kind == "unknown":
            fields["originalKind"] = type_
        return WirePart(type_, kind, None, wire, fields)
    name, args = a_string(part, "tool_name", at), part.get("args")
    if args is not None and type(args) is not str and not isinstance(args, dict):
        raise wrong(part, "args", at, "a string or an object")
    del wire["tool_name"]
    if args is not None:
        del wire["args"]
    if args == "":
        wire["args"], args = args, None
    if isinstance(args, dict):
        wire["args"] = {}  # what is streamed is the text of an object
        dumped(args, path_to(at, "args"))
    fields = {"state": {"status": "pending"}, WIRE: wire}
    if name:
        fields["tool"] = name
    if is_id(wire.get("tool_call_id")):
        fields["callId"] = wire.pop("tool_call_id")
    return WirePart(type_, kind, None, wire, fields, name, args)


def _said(piece: Json) -> str:
    """What a piece of a prompt says, "" for a file and the like."""
    if isinstance(piece, dict) and piece.get("kind") == "text-content":
        piece = piece.get("content")
    return piece if type(piece) is str else ""


def dumped(args: Json, at: str = "delta.args_delta") -> str:
    """Arguments as JSON text."""
    try:
        return json.dumps(args, ensure_ascii=False)
    except (TypeError, ValueError) as error:  # no JSON; more digits than Python writes
        raise MalformedEvent(at, "cannot be written") from error


def outcome_of(part: Members) -> Members:
    """The state of the tool that a part returns to."""
    outcome = part.get("outcome", "success")
    if part.get("part_kind") == "retry-prompt":
        outcome = "retried"
    status = _OUTCOMES.get(outcome, "error") if type(outcome) is str else "completed"
    content = part.get("content")
    return {"status": status, "output" if status == "completed" else "error": content}


# --- deltas ---------------------------------------------------------------------------------------


class Change(NamedTuple):
    """What a delta comes to: text to append, or all of it; arguments; what else of the part."""

    text: str | None = None
    whole: str | None = None
    args: Members | None = None
    wire: Members = {}
    fields: Members = {}


def maybe_string(delta: Members, name: str) -> str | None:
    """A member of a delta that is a string, None where it is absent or null."""
    return None if delta.get(name) is None else a_string(delta, name, "delta")


def _text_delta(delta: Members, known: Members, strict: bool) -> Change:
    text = a_string(delta, "content_delta", "delta")
    citations = delta.get("citations_delta")
    if citations is None:
        return Change(text)
    return Change(text or None, wire={"citations": citations})


def _thinking_delta(delta: Members, known: Members, strict: bool) -> Change:
    signature = maybe_string(delta, "signature_delta")
    wire = {} if signature is None else {"signature": signature}
    return Change(maybe_string(delta, "content_delta"), wire=wire)


def _speech_delta(delta: Members, known: Members, strict: bool) -> Change:
    timestamps = delta.get("timestamps")
    wire = {}
    if timestamps is not None:
        new = objects(delta, "timestamps", "delta")
        wire["timestamps"] = [*(known[WIRE].get("timestamps") or ()), *new]
    whole = maybe_string(delta, "transcript")
    return Change(maybe_string(delta, "transcript_delta"), whole, wire=wire)


def _tool_delta(delta: Members, known: Members, strict: bool) -> Change:
    name, args = maybe_string(delta, "tool_name_delta"), delta.get("args_delta")
    call_id = maybe_string(delta, "tool_call_id")
    fields: Members = {}
    if name:
        fields["tool"] = known["name"] + name
    if call_id and call_id != known.get("call"):
        fields["callId"] = call_id
    if args is None:
        return Change(fields=fields)
    was_object = isinstance(known[WIRE].get("args"), dict)
    if not isinstance(args, str | dict):
        raise wrong(delta, "args_delta", "delta", "a string or an object")
    had_args = known[INPUT] or known[WIRE].get("args") is not None
    if had_args and isinstance(args, dict) != was_object:
        problem = "mixes text with an object"
        if strict:
            raise ProtocolStopped(f"the arguments of a tool {problem}")
        raise MalformedEvent("delta.args_delta", problem)
    if isinstance(args, str):
        first = not known[INPUT] and known[WIRE].get("args") is None
        return Change(args or None, wire={"args": ""} if first else {}, fields=fields)
    earlier = known.get("args")
    merged = {**(earlier if isinstance(earlier, dict) else {}), **args}
    dumped(merged)
    return Change(args=merged, wire={"args": {}}, fields=fields)


#: What a delta comes to, by its kind: the delta, what is remembered of its part, whether strict.
CHANGES: Mapping[str, Callable[[Members, Members, bool], Change]] = {
    "text": _text_delta,
    "thinking": _thinking_delta,
    "speech": _speech_delta,
    "tool_call": _tool_delta,
}


# --- back to the wire -----------------------------------------------------------------------------


def wire_message(message: Message, parts: Sequence[Part]) -> Members:
    """A stored message as one of pydantic-ai's. Linear in its texts and fields."""
    rest = thaw(message.info.get(WIRE))
    wire: Members = rest if isinstance(rest, dict) else {}
    if wire.get("kind") not in ("request", "response"):
        wire["kind"] = "response" if message.role in ("", "assistant") else "request"
    return {**wire, "parts": [_wire_part(part, wire["kind"]) for part in parts]}


def _wire_part(part: Part, kind: str) -> Members:
    rest = thaw(part.fields.get(WIRE))
    wire: Members = rest if isinstance(rest, dict) else {}
    if type(wire.get("part_kind")) is not str:
        wire["part_kind"] = _TYPES.get(part.kind, part.kind)
        if kind == "request" and part.kind == "text":
            wire["part_kind"] = "user-prompt"
    ours, member = KINDS.get(wire["part_kind"], ("unknown", ""))
    if member:
        text = part.view.raw()
        if member not in wire or (text and not isinstance(wire[member], list)):
            wire[member] = text
    elif ours == "tool":
        name, call_id = part.fields.get("tool"), part.fields.get("callId")
        wire["tool_name"] = name if type(name) is str else ""
        if call_id is not None:
            wire["tool_call_id"] = call_id
        streamed = part.others.get(INPUT)
        if streamed is not None and (text := streamed.raw()):
            wire["args"] = _parsed(text) if isinstance(wire.get("args"), dict) else text
    return wire


def _parsed(text: str) -> Json:
    try:
        return decode_json(text)
    except MalformedEvent:
        return text
