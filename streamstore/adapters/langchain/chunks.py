"""Chunks of a LangChain message added up as the package does: metadata, usage, blocks of content.

Knows the memory of one message, and what comes of its pieces as text and input; nothing of events,
streams or stores.

Sources: the message classes of the published package `langchain-core`, and messages added up by
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from ...errors import ProtocolStopped
from ...model import Part, freeze, thaw
from ..members import Members
from .messages import WIRE

#: What the short way knows of the last item of a summary: its index, where it begins in the text of
#: the part, and the memory of its block, which has the text's length.
Item: TypeAlias = tuple[int | str, int, Members]

#: A reasoning's member whose items have the text, and what stands between two of those.
SUMMARY, _BETWEEN = "summary", "\n\n"
_TEXTS = ("text", "thinking", "reasoning")
_INPUTS = ("partial_json", "args", "arguments", "input")
KINDS: Mapping[str, str] = {
    "text": "text",
    "thinking": "reasoning",
    "reasoning": "reasoning",
    "reasoning_content": "reasoning",
    "image": "file",
    "image_url": "file",
    "audio": "file",
    "video": "file",
    "file": "file",
    "tool_call": "tool",
    "tool_call_chunk": "tool",
    "invalid_tool_call": "tool",
    "server_tool_call": "tool",
    "server_tool_call_chunk": "tool",
}
#: Members by which blocks are told apart.
_KEYS = ("index", "id")


def new_memory() -> Members:
    """The memory of a message that nothing is known of but its id."""
    return {
        "twin": False, "closed": False, "last": None, "blocks": [], "tools": [], "agent": {},
        "reasons": False, "seq": -1, "task": "", "ended": False, "told": False, "run": None,
        WIRE: {},
    }  # fmt: skip


def merge(left: Members, right: Members, strict: bool) -> Members:
    """Metadata added up as the package does; what it refuses stops a strict stream."""
    merged = dict(left)
    for name, value in right.items():
        was = merged.get(name)
        if was is None:
            merged[name] = value
        elif value is None:
            continue
        elif type(was) is not type(value) or isinstance(was, bool):
            if was != value and strict:
                raise ProtocolStopped(f"the chunks' {name[:80]} cannot be added up")
            merged[name] = value
        elif isinstance(value, str):
            same = name in ("id", "output_version", "model_provider") and was == value
            kept = same or (name == "index" and was.startswith("lc_"))
            merged[name] = was if kept else was + value
        elif isinstance(value, dict):
            merged[name] = merge(was, value, strict)
        elif isinstance(value, list):
            merged[name] = merge_lists(was, value, strict)
        elif was == value:
            continue
        elif isinstance(value, int) and name not in ("index", "created", "timestamp"):
            merged[name] = was + value
        elif isinstance(value, int) or not strict:
            merged[name] = value
        else:
            raise ProtocolStopped(f"the chunks' {name[:80]} cannot be added up")
    return merged


def merge_lists(left: list[Any], right: list[Any], strict: bool) -> list[Any]:
    merged = list(left)
    for item in right:
        place = place_of(merged, item)
        if place is None:
            # What has no index never changes: frozen once, as each chunk is shown with all.
            indexed = isinstance(item, dict) and "index" in item
            merged.append(item if indexed else freeze(item))
        else:
            item = as_added(item, merged[place])
            rest = {name: value for name, value in item.items() if name != "type"}
            merged[place] = merge(merged[place], rest, strict)
    return merged


def add_usage(left: Members, right: Members) -> Members:
    """Usage: numbers add up, at any depth."""
    total = dict(left)
    for name, value in right.items():
        was = total.get(name)
        if isinstance(value, dict):
            total[name] = add_usage(was if isinstance(was, dict) else {}, value)
        elif type(value) is int and type(was) is int:
            total[name] = was + value
        elif value is not None:
            total[name] = value
    return total


def place_of(blocks: list[Any], piece: Any) -> int | None:
    """The place of the block that a piece is added to: that of its index, if their ids agree."""
    if not isinstance(piece, dict):
        return None
    index = piece.get("index")
    if type(index) is not int and not (isinstance(index, str) and index.startswith("lc_")):
        return None
    for place, block in enumerate(blocks):
        if isinstance(block, dict) and block.get("index") == index:
            mine, theirs = block.get("id") or None, piece.get("id") or None
            if mine is None or theirs is None or mine == theirs:
                return place
    return None


def as_added(piece: Members, block: Members) -> Members:
    """A piece as it is added to its block: of one that is not standard the members of its value,
    which go into the `extras` of a standard block. The value's type, as any, is not added up."""
    type_, value = block.get("type"), piece.get("value")
    if not type_ or piece.get("type") != "non_standard" or not isinstance(value, dict):
        return piece
    value = {name: member for name, member in value.items() if name != "type"}
    if type_ != "non_standard":
        return {"extras": value}
    return {"index": piece["index"], "value": value}


def content_block(known: Members, keys: Members) -> Members:
    """A new block of a message's content, in its memory."""
    number = len(known["blocks"])
    block = {name: keys.get(name) for name in _KEYS}
    block.update({"key": f"content/{number}", "order": number})
    known["blocks"].append(block)
    return block


def new_block(known: Members, piece: Members) -> tuple[Members, str | None, str | None]:
    """The memory of a new block of a content, its text and its input."""
    text, source, rest = split(piece)
    block = content_block(known, {name: rest[name] for name in _KEYS if name in rest})
    items = rest.get(SUMMARY)
    wire = block[WIRE] = {"in": "content", "rest": rest, "member": text, "source": source}
    asked = None if source is None else piece[source]
    if text is not None:
        return block, piece[text], asked
    if type(items) is list and piece_kind(rest) == "reasoning":
        del rest[SUMMARY]
        shown = add_items(block, wire, items, strict=False)  # nothing is added to another
        return block, shown, asked
    return block, None, asked


def add_piece(block: Members, piece: Members, strict: bool) -> tuple[str | None, str | None]:
    """Adds a piece to its block's memory; what comes to the text and to the input."""
    piece = as_added(piece, block[WIRE]["rest"])
    text, source, rest = split(piece)
    wire = {**block[WIRE]}
    wire["member"], wire["source"] = wire["member"] or text, wire["source"] or source
    if text is not None and text != wire["member"]:  # it grows under another name
        rest[text], text = piece[text], None
    if source is not None and source != wire["source"]:
        rest[source], source = piece[source], None
    rest.pop("type", None)
    items = None
    if (
        type(rest.get(SUMMARY)) is list
        and isinstance(wire["rest"].get(SUMMARY), list | None)
        and wire["member"] in (None, SUMMARY)
        and piece_kind(wire["rest"]) == "reasoning"
    ):
        items = rest.pop(SUMMARY)
    wire["rest"] = merge(wire["rest"], rest, strict)
    shown = None if text is None else piece[text]
    if items is not None:
        shown = add_items(block, wire, items, strict)
    elif not isinstance(wire["rest"].get(SUMMARY), list):
        wire.pop("begins", None)  # what takes the place of a list has no items
    block[WIRE] = wire
    for name in _KEYS:
        if wire["rest"].get(name) is not None:
            block[name] = wire["rest"][name]
    return shown, None if source is None else piece[source]


def add_items(block: Members, wire: Members, items: list[Any], strict: bool) -> str | None:
    """Adds items to a summary, but for their texts: what comes to the text of the part.

    Noted of each item is where it begins in that text, and of the block how long that is. The
    text of an item that is not the last one, or that has a text already, stays in it, and
    belongs behind what the part has of it. None where no item brought a text.
    """
    known = wire["rest"].get(SUMMARY)
    summary: list[Any] = list(known or ())
    begins, length = list(wire.get("begins", ())), block.get("length", 0)
    shown: list[str] = []
    for item in items:
        # Those of a first piece are not added to each other.
        place = None if known is None else place_of(summary, item)
        number = len(summary) if place is None else place
        text = item.get("text") if isinstance(item, dict) else None
        if (
            type(text) is str
            and number >= len(summary) - 1
            and (place is None or summary[place].get("text") in (None, ""))
        ):
            item = {**item, "text": ""}
            begins += [None] * (number + 1 - len(begins))
            if begins[number] is None:
                begins[number] = length
            text = continued(text, begins[number], length)
            length += units(text)
            shown.append(text)
        if place is None:
            summary.append(item)
        else:
            more = {name: value for name, value in item.items() if name != "type"}
            summary[place] = merge(summary[place], more, strict)
    wire["rest"] = {**wire["rest"], SUMMARY: summary}
    if not shown:
        return None
    wire["member"], wire["begins"], block["length"] = SUMMARY, begins, length
    return "".join(shown)


def split(piece: Members) -> tuple[str | None, str | None, Members]:
    """The members of a piece that grow as text and as a tool's input, and the rest."""
    text = next((name for name in _TEXTS if type(piece.get(name)) is str), None)
    source = next((name for name in _INPUTS if type(piece.get(name)) is str), None)
    rest = {name: value for name, value in piece.items() if name not in (text, source)}
    return text, source, rest


def piece_kind(piece: Members) -> str:
    type_ = piece.get("type")
    kind = KINDS.get(type_, "") if type(type_) is str else ""
    if kind == "tool":
        return "data"
    text = next((name for name in _TEXTS if type(piece.get(name)) is str), None)
    return kind or ("data" if text is None else "text" if text == "text" else "reasoning")


def units(text: str) -> int:
    """How long a text is where halves of a pair count one each, whether they are joined or not."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def continued(text: str, begin: int, length: int) -> str:
    """More text of an item that begins there, in a text of that length: an empty line goes before
    its first one."""
    return _BETWEEN + text if text and 0 < begin == length else text


def last_item(block: Members) -> Item | None:
    """The last item of a block's summary, where more of its text needs nothing but its index."""
    wire = block[WIRE]
    begins, summary = wire.get("begins"), wire["rest"][SUMMARY]
    if not begins or len(begins) != len(summary) or summary[-1].get("text") != "":
        return None
    index = summary[-1].get("index")
    if place_of(summary, {"index": index}) != len(summary) - 1:
        return None
    return (index, begins[-1], block)


def with_items(part: Part) -> Part:
    """A part whose summary has its texts in its items, for `wire_message`."""
    wire = part.fields.get(WIRE)
    if not isinstance(wire, dict) or wire.get("member") != SUMMARY:
        return part
    begins, summary = wire.get("begins", ()), thaw(wire["rest"][SUMMARY])
    data = part.view.raw().encode("utf-16-le", "surrogatepass")
    end = len(data)
    for place in range(len(begins) - 1, -1, -1):
        item, begin = summary[place], begins[place]
        if begin is not None:
            share = data[2 * begin : end].decode("utf-16-le", "surrogatepass")
            end = 2 * begin
            if type(item["text"]) is str:
                item["text"] = (share.removeprefix(_BETWEEN) if begin else share) + item["text"]
    whole = {**wire, "rest": {**wire["rest"], SUMMARY: summary}, "member": None}
    return attrs.evolve(part, fields={**part.fields, WIRE: whole})
