"""Which chunks a UI message stream has, and what their members must be.

Knows names, types and which are needed, as the SDK's client checks them; not what a chunk means.

Sources: the wire types of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..members import are_objects


class Check(NamedTuple):
    """What a member must be, and how an error says it."""

    accepts: Callable[[Any], bool]
    what: str


class Shape(NamedTuple):
    """Members of a chunk that must be strings, those that have a type where they are there, and
    which of these must be there."""

    needs: tuple[str, ...] = ()
    checked: Mapping[str, Check] = {}
    must: str = ""


def is_data(kind: str) -> bool:
    """Whether it is the type of a data chunk or part, of which there is one for each name."""
    return kind.startswith("data-")


def _is_steering(parts: Any) -> bool:
    needs = {"text": ("text",), "file": ("mediaType", "url")}
    return are_objects(parts) and all(
        type(part.get("type")) is str
        and part["type"] in needs
        and all(type(part.get(name)) is str for name in needs[part["type"]])
        for part in parts
    )


_TEXT = Check(lambda value: type(value) is str, "a string")
_FLAG = Check(lambda value: type(value) is bool, "true or false")
_OBJECT = Check(lambda value: isinstance(value, dict), "an object")
_OBJECTS = Check(are_objects, "an array of objects")
_BY_PROVIDER = Check(
    lambda value: isinstance(value, dict) and are_objects(list(value.values())),
    "an object of objects",
)
_ENCODING = Check(lambda value: value in ("json", "text"), "json or text")
_STEERING = Check(_is_steering, "an array of text and file parts")

_METADATA = {"providerMetadata": _BY_PROVIDER}
_TOOL = {
    "providerExecuted": _FLAG,
    "dynamic": _FLAG,
    "toolMetadata": _OBJECT,
    **_METADATA,
}

#: The chunk that streams a tool's input.
INPUT_DELTA = "tool-input-delta"

#: Every chunk type; `data-` stands for all of `data-NAME`.
SHAPES: Mapping[str, Shape] = {
    "start": Shape((), {"messageId": _TEXT}),
    "finish": Shape((), {"finishReason": _TEXT}),
    "abort": Shape((), {"reason": _TEXT}),
    "error": Shape(("errorText",)),
    "message-metadata": Shape(),
    "start-step": Shape(),
    "finish-step": Shape(),
    "reset-step": Shape(),
    "text-start": Shape(("id",), _METADATA),
    "text-delta": Shape(("id", "delta"), _METADATA),
    "text-end": Shape(("id",), {"citations": _OBJECTS, **_METADATA}),
    "reasoning-start": Shape(("id",), _METADATA),
    "reasoning-delta": Shape(("id", "delta"), _METADATA),
    "reasoning-end": Shape(("id",), _METADATA),
    "tool-input-start": Shape(
        ("toolCallId", "toolName"), {"inputEncoding": _ENCODING, "title": _TEXT, **_TOOL}
    ),
    INPUT_DELTA: Shape(("toolCallId", "inputTextDelta")),
    "tool-input-available": Shape(("toolCallId", "toolName"), {"title": _TEXT, **_TOOL}),
    "tool-input-error": Shape(("toolCallId", "toolName", "errorText"), {"title": _TEXT, **_TOOL}),
    "tool-approval-request": Shape(
        ("approvalId", "toolCallId"),
        {"reason": _TEXT, "isAutomatic": _FLAG, "signature": _TEXT},
    ),
    "tool-approval-response": Shape(
        ("approvalId",),
        {"approved": _FLAG, "reason": _TEXT, "providerExecuted": _FLAG, **_METADATA},
        must="approved",
    ),
    "tool-output-available": Shape(("toolCallId",), {"preliminary": _FLAG, **_TOOL}),
    "tool-output-error": Shape(("toolCallId", "errorText"), _TOOL),
    "tool-output-denied": Shape(("toolCallId",)),
    "source-url": Shape(("sourceId", "url"), {"title": _TEXT, **_METADATA}),
    "source-document": Shape(("sourceId", "mediaType", "title"), {"filename": _TEXT, **_METADATA}),
    "file": Shape(("url", "mediaType"), _METADATA),
    "reasoning-file": Shape(("url", "mediaType"), _METADATA),
    "custom": Shape(("kind",), _METADATA),
    "steering-message": Shape(("id",), {"parts": _STEERING}, must="parts"),
    "data-": Shape((), {"id": _TEXT, "transient": _FLAG}),
}

#: Types that other protocols could have too: they are ours where nothing else is in them.
BARE: Mapping[str, frozenset[str]] = {
    "start": frozenset(("type", "messageId", "messageMetadata")),
    "finish": frozenset(("type", "finishReason", "messageMetadata")),
    "abort": frozenset(("type", "reason")),
    "error": frozenset(("type", "errorText")),
    "message-metadata": frozenset(("type", "messageMetadata")),
    "start-step": frozenset(("type",)),
    "finish-step": frozenset(("type",)),
    "reset-step": frozenset(("type",)),
}
