"""What an AG-UI event may hold: a wire object to a clean event, as the official client reads it.

Three things happen to an object at the client's boundary, and here: retired spellings become
those of today (a null that stands for an absent member, a `binary` content part); members and
union members that the protocol does not describe are taken out; a wrong value in a member that it
does describe is an error. What the application owns (state, metadata, activity content) passes
through whole. Strict reading takes no null for an absent member but the retired ones.

Our own rule on top: ids of messages, tool calls and interrupts are not empty.

Sources: the schemas and the enforcement stage of `@ag-ui/core` and `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ...errors import MalformedEvent, UnknownEvent
from ..members import Members, an_event, describe, path_to

#: A value, its path, and whether to read strictly; gives the clean value.
#: Raises `MalformedEvent`, or `_Unrecognised` for a union member nobody knows.
Check: TypeAlias = Callable[[Any, str, bool], Any]

_SAFE = 2**53 - 1  # what JavaScript counts exactly
_POINTER = re.compile(r"(?:/(?:[^/~]|~[01])*)*")


class _Unrecognised(Exception):
    """A union member that the protocol does not describe: taken out, with what needs it."""


def clean(wire: Any, strict: bool) -> Members:
    """The event a wire object stands for, with known members only. Linear in what it holds.

    Raises:
        MalformedEvent: a member is missing or wrong; the error names it.
        UnknownEvent: the protocol has no such type, and never had.
    """
    event = an_event(wire)
    kind = event.get("type")
    if type(kind) is not str or not kind:
        what = "must be a non-empty string" if "type" in event else "is missing"
        raise MalformedEvent("type", what)
    check = _EVENTS.get(kind)
    if check is None:
        raise UnknownEvent(kind)
    cleaned: Members = check(event, "", strict)
    return cleaned


def clean_messages(members: Members, name: str, strict: bool) -> list[Members]:
    """A member that holds whole messages, cleaned as those of a snapshot event are.

    Raises:
        MalformedEvent: it is missing or wrong.
    """
    if name not in members:
        raise MalformedEvent(name, "is missing")
    messages: list[Members] = _MESSAGES(members[name], name, strict)
    return messages


def fits(wire: Any) -> bool:
    """Whether an object has a type of the protocol and every member that this type needs."""
    kind = wire.get("type") if isinstance(wire, dict) else None
    needed = _NEEDED.get(kind) if isinstance(kind, str) else None
    return needed is not None and all(name in wire for name in needed)


def is_message(value: Any) -> bool:
    """Whether an object says that it is a message: an id and a role of the protocol."""
    return isinstance(value, dict) and "id" in value and value.get("role") in _KNOWN_ROLES


# --- values ---------------------------------------------------------------------------------------


def _wrong(value: Any, at: str, expected: str) -> MalformedEvent:
    return MalformedEvent(at, f"must be {expected}, not {describe(value)}")


def _string(value: Any, at: str, strict: bool) -> str:
    if type(value) is str:
        return value
    raise _wrong(value, at, "a string")


def _id(value: Any, at: str, strict: bool) -> str:
    if type(value) is str and value:
        return value
    raise _wrong(value, at, "a non-empty string")


def _flag(value: Any, at: str, strict: bool) -> bool:
    if type(value) is bool:
        return value
    raise _wrong(value, at, "true or false")


def _object(value: Any, at: str, strict: bool) -> Members:
    if isinstance(value, dict):
        return value
    raise _wrong(value, at, "an object")


def _anything(value: Any, at: str, strict: bool) -> Any:
    return value


def _present(value: Any, at: str, strict: bool) -> Any:
    if value is not None:
        return value
    raise _wrong(value, at, "a value")


def _pointer(value: Any, at: str, strict: bool) -> str:
    if type(value) is str and _POINTER.fullmatch(value):
        return value
    raise _wrong(value, at, "a JSON pointer")


def _integer(low: int) -> Check:
    def check(value: Any, at: str, strict: bool) -> Any:
        # JavaScript has one kind of number: 1.0 is an integer.
        if type(value) is int or (type(value) is float and value.is_integer()):
            if low <= value <= _SAFE:
                return value
        raise _wrong(value, at, "an integer" if low < 0 else "a count")

    return check


def _one_of(*values: str) -> Check:
    def check(value: Any, at: str, strict: bool) -> str:
        if type(value) is str and value in values:
            return value
        raise MalformedEvent(at, f"must be one of {', '.join(values)}")

    return check


# --- shapes ---------------------------------------------------------------------------------------


def _record(
    required: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    nulls: str = "",
    extra: bool = False,
) -> Check:
    """An object. `nulls`: optional members whose null always stands for absence; `extra`: others
    are kept."""
    optional = optional or {}
    members = tuple(
        (name, check, name in required, name in nulls.split())
        for name, check in {**required, **optional}.items()
    )

    def read(value: Any, at: str, strict: bool) -> Members:
        if not isinstance(value, dict):
            raise _wrong(value, at, "an object")
        found: Members = {}
        problem: MalformedEvent | None = None
        for name, check, needed, null in members:
            if name not in value:
                if needed:
                    problem = problem or MalformedEvent(path_to(at, name), "is missing")
                continue
            given = value[name]
            if given is None and not needed and (null or not strict):
                continue
            try:
                found[name] = check(given, path_to(at, name), strict)
            except _Unrecognised:
                if needed:
                    raise
            except MalformedEvent as error:
                # Raised at the end: what nobody knows goes before anybody judges the rest.
                problem = problem or error
        if problem is not None:
            raise problem
        return {**value, **found} if extra else found

    return read


def _array(check: Check, least: int = 0) -> Check:
    def read(value: Any, at: str, strict: bool) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong(value, at, "an array")
        found = []
        for number, item in enumerate(value):
            try:
                found.append(check(item, f"{at}.{number}", strict))
            except _Unrecognised:
                continue
        if len(found) < least:
            raise MalformedEvent(at, f"must hold at least {least}")
        return found

    return read


def _union(tag: str, members: Mapping[str, Check]) -> Check:
    def read(value: Any, at: str, strict: bool) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, at, "an object")
        name = value.get(tag)
        check = members.get(name) if type(name) is str else None
        if check is None:
            raise _Unrecognised
        return check(value, at, strict)

    return read


# --- content --------------------------------------------------------------------------------------

_SOURCE = _union(
    "type",
    {
        "data": _record({"type": _string, "value": _string, "mimeType": _string}),
        "url": _record({"type": _string, "value": _string}, {"mimeType": _string}),
        "file": _record(
            {"type": _string, "value": _string}, {"provider": _string, "mimeType": _string}
        ),
    },
)
_MEDIA = ("image", "audio", "video", "document")


def _part(nulls: str) -> Check:
    text = _record({"type": _string, "text": _string}, {"id": _string, "metadata": _present})
    media = _record(
        {"type": _string, "source": _SOURCE}, {"id": _string, "metadata": _present}, nulls
    )
    return _union("type", {"text": text, **dict.fromkeys(_MEDIA, media)})


def _content(parts: Check, upgrade: bool) -> Check:
    def read(value: Any, at: str, strict: bool) -> Any:
        if type(value) is str:
            return value
        if isinstance(value, list):
            return parts(_upgraded(value) if upgrade else value, at, strict)
        raise _wrong(value, at, "a string or an array")

    return read


def _upgraded(content: list[Any]) -> list[Any]:
    """Parts of the retired type `binary` as media parts; one that mirrors a media part goes."""
    upgraded = []
    for part in content:
        if not (
            isinstance(part, dict)
            and part.get("type") == "binary"
            and type(part.get("mimeType")) is str
        ):
            upgraded.append(part)
            continue
        # As JavaScript asks: an empty object or array is no empty string.
        named = (n for n in ("data", "url") if part.get(n) or isinstance(part.get(n), dict | list))
        name = next(named, None)
        if name is None:
            continue  # an id alone: nobody can tell what it stands for
        mime = part["mimeType"]
        kind = next((kind for kind in _MEDIA[:3] if mime.startswith(f"{kind}/")), "document")
        source = {"type": name, "value": part[name], "mimeType": mime}
        media: Members = {"type": kind, "source": source}
        if part.get("filename"):
            media["metadata"] = {"filename": part["filename"]}
        if not any(_mirrors(other, media) for other in content):
            upgraded.append(media)
    return upgraded


def _mirrors(part: Any, media: Members) -> bool:
    if not isinstance(part, dict) or part.get("type") != media["type"]:
        return False
    source, metadata = part.get("source"), part.get("metadata")
    if not isinstance(source, dict):
        return False
    if any(source.get(name) != value for name, value in media["source"].items()):
        return False
    if "metadata" not in media:
        return True
    return isinstance(metadata, dict) and metadata.get("filename") == media["metadata"]["filename"]


_PATCH = _array(
    _union(
        "op",
        {
            **dict.fromkeys(
                ("add", "replace", "test"),
                _record({"op": _string, "path": _pointer, "value": _anything}, extra=True),
            ),
            **dict.fromkeys(
                ("move", "copy"),
                _record({"op": _string, "path": _pointer, "from": _pointer}, extra=True),
            ),
            "remove": _record({"op": _string, "path": _pointer}, extra=True),
        },
    )
)


# --- messages -------------------------------------------------------------------------------------

_OWNED: Mapping[str, Check] = {"subagentRunId": _string, "metadata": _object}
_SPOKEN: Mapping[str, Check] = {**_OWNED, "name": _string, "encryptedValue": _string}
_CALL = _record(
    {
        "id": _id,
        "type": _one_of("function"),
        "function": _record({"name": _string, "arguments": _string}),
    },
    {"encryptedValue": _string, "metadata": _object},
)
_MIXED = _content(_array(_part("metadata")), upgrade=True)
_MESSAGE = _union(
    "role",
    {
        role: _record({"id": _id, "role": _string, **required}, optional)
        for role, required, optional in (
            ("developer", {"content": _string}, _SPOKEN),
            ("system", {"content": _string}, _SPOKEN),
            ("assistant", {}, {**_SPOKEN, "content": _string, "toolCalls": _array(_CALL)}),
            ("user", {"content": _MIXED}, _SPOKEN),
            (
                "tool",
                {"content": _MIXED, "toolCallId": _id},
                {**_OWNED, "error": _string, "encryptedValue": _string},
            ),
            ("activity", {"activityType": _string, "content": _object}, _OWNED),
            ("reasoning", {"content": _string}, {**_OWNED, "encryptedValue": _string}),
        )
    },
)
_MESSAGES = _array(_MESSAGE)
_KNOWN_ROLES = ("developer", "system", "assistant", "user", "tool", "activity", "reasoning")


# --- events ---------------------------------------------------------------------------------------

_INPUT = _record(
    {"threadId": _string, "runId": _string, "messages": _MESSAGES},
    {
        "protocolVersion": _string,
        "parentRunId": _string,
        "state": _anything,
        "tools": _array(
            _record(
                {"name": _string, "description": _string},
                {"parameters": _present, "metadata": _object},
                nulls="parameters",
            )
        ),
        "context": _array(_record({"description": _string, "value": _string})),
        "forwardedProps": _present,
        "resume": _array(
            _record(
                {"interruptId": _string, "status": _one_of("resolved", "cancelled")},
                {"payload": _present, "metadata": _object},
                nulls="payload",
            )
        ),
    },
    nulls="forwardedProps",
)
_INTERRUPT = _record(
    {"id": _id, "reason": _string},
    {
        "subagentRunId": _string,
        "message": _string,
        "toolCallId": _string,
        "responseSchema": _object,
        "expiresAt": _string,
        "metadata": _object,
    },
)
_OUTCOME = _union(
    "type",
    {
        "success": _record({"type": _string}, {"pendingToolCallIds": _array(_string)}),
        "interrupt": _record({"type": _string, "interrupts": _array(_INTERRUPT, least=1)}),
        "cancelled": _record({"type": _string}),
    },
)
_SUBAGENT_OUTCOME = _union(
    "type",
    {
        "success": _record({"type": _string}),
        "suspended": _record({"type": _string}, {"interruptIds": _array(_string)}),
    },
)
_COUNTS = "input output total reasoning cachedInput cacheWriteInput"
_USAGE = _array(
    _record(
        {},
        {
            "provider": _string,
            "model": _string,
            **{f"{name}Tokens": _integer(0) for name in _COUNTS.split()},
        },
    )
)
_ROLE = _one_of("developer", "system", "assistant", "user")
_BASE: Mapping[str, Check] = {
    "timestamp": _integer(-_SAFE),
    "rawEvent": _present,
    "metadata": _object,
}
_TAGGED: Mapping[str, Check] = {**_BASE, "subagentRunId": _string}

_SHAPES: Mapping[str, tuple[Mapping[str, Check], Mapping[str, Check]]] = {
    "TEXT_MESSAGE_START": ({"messageId": _id}, {**_TAGGED, "role": _ROLE, "name": _string}),
    "TEXT_MESSAGE_CONTENT": ({"messageId": _id, "delta": _string}, _TAGGED),
    "TEXT_MESSAGE_END": ({"messageId": _id}, _TAGGED),
    "TEXT_MESSAGE_CHUNK": (
        {},
        {**_TAGGED, "messageId": _id, "role": _ROLE, "delta": _string, "name": _string},
    ),
    "TOOL_CALL_START": (
        {"toolCallId": _id, "toolCallName": _string},
        {**_TAGGED, "parentMessageId": _string},
    ),
    "TOOL_CALL_ARGS": ({"toolCallId": _id, "delta": _string}, _TAGGED),
    "TOOL_CALL_END": ({"toolCallId": _id}, _TAGGED),
    "TOOL_CALL_CHUNK": (
        {},
        {
            **_TAGGED,
            "toolCallId": _id,
            "toolCallName": _string,
            "parentMessageId": _string,
            "delta": _string,
        },
    ),
    "TOOL_CALL_RESULT": (
        {
            "messageId": _id,
            "toolCallId": _id,
            "content": _content(_array(_part("")), upgrade=False),
        },
        {**_TAGGED, "role": _one_of("tool")},
    ),
    "STATE_SNAPSHOT": ({"snapshot": _anything}, _TAGGED),
    "STATE_DELTA": ({"delta": _PATCH}, _TAGGED),
    "MESSAGES_SNAPSHOT": ({"messages": _MESSAGES}, _BASE),
    "ACTIVITY_SNAPSHOT": (
        {"messageId": _id, "activityType": _string, "content": _object},
        {**_TAGGED, "replace": _flag},
    ),
    "ACTIVITY_DELTA": ({"messageId": _id, "activityType": _string, "patch": _PATCH}, _TAGGED),
    "RAW": ({"event": _anything}, {**_TAGGED, "source": _string}),
    "CUSTOM": ({"name": _string, "value": _anything}, _TAGGED),
    "RUN_STARTED": (
        {"threadId": _string, "runId": _string},
        {**_BASE, "protocolVersion": _string, "parentRunId": _string, "input": _INPUT},
    ),
    "RUN_FINISHED": (
        {"threadId": _string, "runId": _string},
        {**_BASE, "result": _present, "outcome": _OUTCOME, "usage": _USAGE},
    ),
    "RUN_ERROR": ({"message": _string}, {**_BASE, "code": _string, "usage": _USAGE}),
    "STEP_STARTED": ({"stepName": _string}, _TAGGED),
    "STEP_FINISHED": ({"stepName": _string}, _TAGGED),
    "REASONING_START": ({"messageId": _id}, _TAGGED),
    "REASONING_END": ({"messageId": _id}, _TAGGED),
    "REASONING_MESSAGE_START": ({"messageId": _id, "role": _one_of("reasoning")}, _TAGGED),
    "REASONING_MESSAGE_CONTENT": ({"messageId": _id, "delta": _string}, _TAGGED),
    "REASONING_MESSAGE_END": ({"messageId": _id}, _TAGGED),
    "REASONING_MESSAGE_CHUNK": ({}, {**_TAGGED, "messageId": _id, "delta": _string}),
    "REASONING_ENCRYPTED_VALUE": (
        {
            "subtype": _one_of("tool-call", "message"),
            "entityId": _string,
            "encryptedValue": _string,
        },
        _TAGGED,
    ),
    "SUBAGENT_STARTED": (
        {"subagentRunId": _string, "name": _string},
        {
            **_BASE,
            "description": _string,
            "parentSubagentRunId": _string,
            "parentToolCallId": _string,
            "parentMessageId": _string,
        },
    ),
    "SUBAGENT_FINISHED": (
        {"subagentRunId": _string},
        {**_BASE, "result": _present, "outcome": _SUBAGENT_OUTCOME},
    ),
    "SUBAGENT_ERROR": ({"subagentRunId": _string, "message": _string}, {**_BASE, "code": _string}),
    # Retired: they name no message, and become the reasoning events of the same ending.
    "THINKING_START": ({}, _TAGGED),
    "THINKING_END": ({}, _TAGGED),
    "THINKING_TEXT_MESSAGE_START": ({}, _TAGGED),
    "THINKING_TEXT_MESSAGE_CONTENT": ({"delta": _string}, _TAGGED),
    "THINKING_TEXT_MESSAGE_END": ({}, _TAGGED),
}

_NULLS: Mapping[str, str] = {
    "TOOL_CALL_START": "rawEvent parentMessageId",
    "TOOL_CALL_CHUNK": "rawEvent parentMessageId",
    "RUN_FINISHED": "rawEvent result outcome",
    "SUBAGENT_FINISHED": "rawEvent result",
}

_EVENTS: Mapping[str, Check] = {
    kind: _record({"type": _string, **required}, optional, _NULLS.get(kind, "rawEvent"))
    for kind, (required, optional) in _SHAPES.items()
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    kind: tuple(required) for kind, (required, _) in _SHAPES.items()
}
