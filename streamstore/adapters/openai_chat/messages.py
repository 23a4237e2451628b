"""Messages and parts as they are stored, back to the choices of a completion.

Knows parts with the fields that `openai_chat` gives them, and takes them of any other store, too;
no chunk and no memory.

Sources: the accumulator of the official Python client, as for `openai_chat`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...model import Json, Message, Part, thaw
from ..members import (
    Members,
    are_objects,
)
from .chunks import ANNOTATIONS, REASONED, TEXTS, THOUGHT
from .memory import DEFAULTS


class Encoded(NamedTuple):
    """A completion of which `encode` gives the choices, one message each."""

    head: Members
    choices: list[Members]


def wire_head(message: Message) -> Members:
    """What a completion has beside its choices, from one of its messages."""
    info = message.info
    head: Members = thaw(info["completion"])
    later = ("usage", "system_fingerprint", "moderation")
    head.update({name: thaw(info[name]) for name in later if name in info})
    return head


def wire_choice(message: Message, parts: Sequence[Part]) -> Members:
    """A message as a choice. Linear in its texts and fields."""
    info = message.info
    choice: Members = thaw(info["choice"])
    members = info.get("delta")
    body: Members = thaw(members) if isinstance(members, dict) else {}
    flags = info.get("wire")
    flags = flags if isinstance(flags, dict) else {}
    fresh = flags.get("fresh", ())
    calls: list[Members] = []
    pieces: list[Json] = []
    listed = False
    for part in parts:
        block = str(part.block_index)
        kind, _, rest = block.partition(":")
        if part.kind == "tool":
            told = bool(flags) and block not in fresh
            call = _wire_call(part, block == "function_call", told, bool(flags.get("merged")))
            if block == "function_call":
                body[block] = call
            else:
                calls.append(call)
        elif kind == "annotation":
            body[ANNOTATIONS] = [*(body.get(ANNOTATIONS) or ()), thaw(part.fields.get("wire"))]
        elif kind == "logprobs" and isinstance(choice.get("logprobs"), dict):
            choice["logprobs"][rest] = _values(part)
        elif block in ("content", THOUGHT, REASONED):
            body["content"] = part.view.raw()
            pieces.append(_wire_piece(part))
            listed = listed or block != "content" or "wire" in part.fields
        elif block in TEXTS:
            body[block] = part.view.raw()
        elif kind == "delta":
            values = _values(part)
            body[rest] = value = _fold(values) if values else part.view.raw()
            if rest == "content" and isinstance(value, list):
                pieces, listed = [*pieces, *value], True
    if listed:
        body["content"] = pieces
    if calls:
        body["tool_calls"] = calls
    if flags.get("merged"):
        body = {**dict.fromkeys(DEFAULTS), **body}
    if flags.get("parsed"):
        body.setdefault("parsed", None)
    return {**choice, "message": body}


def _wire_piece(part: Part) -> Members:
    """A text as the one piece of a content that is a list."""
    wire = part.fields.get("wire")
    piece: Members = thaw(wire) if isinstance(wire, dict) else {}
    text = part.view.raw()
    if part.block_index == REASONED:
        summary = piece.get("summary")
        beside = summary[0] if are_objects(summary) and summary else {"type": "summary_text"}
        return {"type": "reasoning", **piece, "summary": [{**beside, "text": text}]}
    if part.block_index != THOUGHT:
        return {"type": "text", **piece, "text": text}
    thinking = text if piece.get("thinking") == "" else [{"type": "text", "text": text}]
    return {"type": "thinking", **piece, "thinking": thinking}


def _wire_call(part: Part, legacy: bool, told: bool, merged: bool) -> Members:
    """A call as it came, with its input, and with the nulls of the official client.

    `told`: the client said that it began; `merged`: it was merged into a message after that.
    """
    wire = part.fields.get("wire")
    call: Members = thaw(wire) if isinstance(wire, dict) else {}
    view = part.others.get("input")
    text = view.raw() if view is not None else ""
    merged = merged and told
    if legacy:
        if text:
            call["arguments"] = text
        return {**dict.fromkeys(("arguments", "name")), **call} if merged else call
    name, streams = ("custom", "input") if "custom" in call else ("function", "arguments")
    function = call.get(name)
    if text:
        function = {**(function or {}), streams: text}
    if merged:
        call = {**dict.fromkeys(("id", "function", "type")), **call}
        if name == "function" and isinstance(function, dict):
            function = {**dict.fromkeys(("arguments", "name")), **function}
    if told and isinstance(function, dict) and call.get("type") == "function":
        function.setdefault("parsed_arguments", None)
    if function is not None:
        call[name] = function
    return call


def _values(part: Part) -> list[Json]:
    """The values of a data part, one from each line of its JSON."""
    view = part.others.get("json")
    if view is None:
        return []
    try:
        return [json.loads(line) for line in view.raw().split("\n") if line]
    except ValueError:  # of another writer
        return []


def _fold(values: list[Json]) -> Json:
    """What an unknown member came to: texts and lists are joined, of the rest the last holds."""
    folded, *rest = values
    for value in rest:
        folded = _join(folded, value)
    return folded


def _join(first: Json, second: Json, name: str = "") -> Json:
    if isinstance(first, dict) and isinstance(second, dict):
        joined = {key: _join(first.get(key), value, key) for key, value in second.items()}
        return {**first, **joined}
    if isinstance(first, list) and isinstance(second, list):
        merged = list(first)
        for item in second:
            index = item.get("index") if isinstance(item, dict) else None
            place = next((n for n, one in enumerate(merged) if _has_index(one, index)), None)
            if place is None:
                merged.append(item)
            else:
                merged[place] = _join(merged[place], item)
        return merged
    if isinstance(first, str) and isinstance(second, str) and name not in ("id", "type", "name"):
        return first + second
    return first if second is None or (name == "id" and first) else second


def _has_index(item: Json, index: Any) -> bool:
    return type(index) is int and isinstance(item, dict) and item.get("index") == index
