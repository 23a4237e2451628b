"""The short way of LangChain's chunks and the agent protocol's deltas: more of what is known.

Reads a wire object with no check that another one did not make necessary, finds the part that it
is more of in what was learned of its message (`known`), and looks whether that still
stands. What does not fit is left to the long way, with which it must agree; it makes no event, and
changes no memory but a number that it can take back.
"""

from __future__ import annotations

from typing import Any

from ...keys import MAX_NUMBER, PartKey, is_id
from ..base import PlainDelta
from ..members import Members
from .chunks import SUMMARY, Item, continued, last_item, place_of, units
from .graph import NAMED_BY_ID, is_metadata, scope_of, unwrapped_pair
from .known import Block, Known
from .messages import INPUT, REASONING, WIRE

#: Members of a chunk's `additional_kwargs` that change nothing but a reasoning's text.
_BESIDE = frozenset(("tool_calls", REASONING))


class ShortWay:
    """`Adapter.plain` of one stream.

    Args:
        known: the messages of its session.
        strict: names of tools do not append but in a strict stream.
    """

    def __init__(self, known: Known, strict: bool) -> None:
        self._known = known
        self._session = known.session
        self._strict = strict
        self._own = known.own
        self._shared = known.shared
        self._plain = known.plain
        self._blocks = known.blocks
        # The memory of a message or block in which `plain` noted a number last, its name and the
        # number before it, for the `decode` that may follow.
        self._noted: tuple[Members, str, int] | None = None

    def undo(self) -> None:
        """Takes back what the last `plain` noted: its wire object takes the long way after all."""
        if self._noted is not None:
            memory, name, number = self._noted
            memory[name], self._noted = number, None

    def plain(self, wire: Any) -> PlainDelta | None:
        """The short way of a chunk that brings text to the end of a content, to one of its blocks
        or to the reasoning beside it, or input to a tool, and nothing else, also as a model's event
        of `astream_events`; and of the deltas of the agent protocol."""
        self._noted = None
        metadata: Any = None
        below = ""
        event = wire.get("event") if wire.__class__ is dict else None
        if event is not None:
            if event == "content-block-delta":
                # With `data` it is a name, and with that type an envelope.
                bare = "data" not in wire and wire.get("type") != "event"
                return self._delta(wire, "") if bare else None
            if event.__class__ is not str or (len(wire) > 2 and not wire.keys() <= NAMED_BY_ID):
                if event != "on_chat_model_stream" or "run_id" not in wire or "type" in wire:
                    return None
                wire, metadata = wire["data"]["chunk"], wire["metadata"]
                if wire.__class__ is not dict or metadata.__class__ is not dict:
                    return None
            else:
                wire = wire["data"]
                if wire.__class__ is not list:
                    return None if event.startswith("custom") else self._envelope(wire)
                if event != "messages":
                    name, _, below = event.partition("|")
                    if name != "messages":
                        return None
        elif (
            "ns" in wire
            if wire.__class__ is dict
            else len(wire) != 2 or wire[1].__class__ is not dict
        ):
            below, wire = unwrapped_pair(wire)
        if wire.__class__ is list or (wire.__class__ is tuple and event is None):
            if len(wire) != 2:
                return None
            wire, metadata = wire
            if metadata.__class__ is not dict or not is_metadata(metadata):
                return None
        if wire["type"] == "AIMessageChunk":
            message_id = wire["id"]
            if (
                event is not None
                and event != "on_chat_model_stream"
                and self._own["begun"].get(message_id) != "messages"
            ):
                return None  # its pieces may come in `events` as well
            found = self._plain.get(message_id)
            if found is None:  # the run's id, for one, which stands for the provider's
                message_id = self._known.alias(message_id) or ""
                found = self._plain[message_id]
            key, reasoning, repeated, scope, known, about, blocks, places = found
            text, said = wire["content"], wire.get("response_metadata")
            extra, tools = wire.get("additional_kwargs"), wire.get("tool_call_chunks")
            if (
                (extra == {} or extra is None or extra.keys() <= _BESIDE)
                and wire.get("usage_metadata") is None
                and wire.get("chunk_position") is None
                and wire.get("name") is None
                and (said == {} or said is None or said == repeated)
                and (scope_of(metadata) or below) == scope
                and known[WIRE] is about  # another stream may have gone on
                and not known["closed"]
                and self._shared["messages"].get(message_id) is known
                and "lc" not in wire
            ):
                if tools == [] or tools is None:
                    if extra and REASONING in extra:
                        return self._reasoning(reasoning, extra, text)
                    if text.__class__ is str:
                        return (key, text, None) if key and text else None
                    return self._piece(message_id, known, blocks, text)
                if text == "" and not (extra and REASONING in extra):
                    return self._input(message_id, known, places, tools)
        elif metadata is None:
            return self._envelope(wire)
        return None

    def _reasoning(self, key: PartKey | None, extra: Members, text: Any) -> PlainDelta | None:
        """The same of a chunk that brings nothing but reasoning, beside an empty content."""
        reasoning = extra[REASONING]
        if key and text == "" and reasoning.__class__ is str:
            return (key, reasoning, None)
        return None

    def _piece(
        self, message_id: str, known: Members, blocks: dict[int | str, Block], content: Any
    ) -> PlainDelta | None:
        """The same of a content that is one block, with more of its text and what names it."""
        if content.__class__ is not list or len(content) != 1:
            return None
        (piece,) = content
        index = piece["index"]
        block = blocks.get(index)
        if block is None:
            block = self._known_block(message_id, known, index)
            if block is None:
                return None
            blocks[index] = block
        key, member, id_, item = block
        text = piece[member]
        if (
            (text.__class__ is str or item is not None)
            and (index.__class__ is int or index.__class__ is str)  # true is no index 1
            and "type" in piece  # whichever: the first one holds
            and (len(piece) == 3 or (len(piece) == 4 and id_ is not None and piece["id"] == id_))
        ):
            return (key, text, None) if item is None else self._item(key, item, text)
        return None

    def _item(self, key: PartKey, item: Item, summary: Any) -> PlainDelta | None:
        """The same of a summary that is more of the text of its last item; the length is noted."""
        index, begin, block = item
        if summary.__class__ is not list or len(summary) != 1:
            return None
        (more,) = summary
        text = more["text"]
        if (
            text.__class__ is str
            and more["index"] == index
            and more["index"].__class__ is index.__class__
            and len(more) == 3
            and "type" in more
        ):
            length = block["length"]
            self._noted = (block, "length", length)
            text = continued(text, begin, length)
            block["length"] = length + units(text)
            return (key, text, None)
        return None

    def _known_block(self, message_id: str, known: Members, index: Any) -> Block | None:
        """The first block of an index in a content, which a piece without an id is added to."""
        place = place_of(known["blocks"], {"index": index})
        if place is None:
            return None
        block = known["blocks"][place]
        wire = block[WIRE]
        if wire["rest"]["index"].__class__ is not index.__class__:
            return None  # the long way notes the new one: 1 in the place of true
        item = None
        if wire["member"] == SUMMARY:
            item = last_item(block)
            if item is None:
                return None
        key = PartKey(self._session, message_id, block["key"])
        return (key, wire["member"], block["id"] if is_id(block["id"]) else None, item)

    def _input(
        self, message_id: str, known: Members, places: dict[int | str, int], tools: Any
    ) -> PlainDelta | None:
        """The same of a chunk of a tool's call that brings nothing but input."""
        if tools.__class__ is not list or len(tools) != 1:
            return None
        (chunk,) = tools
        index, call_id = chunk["index"], chunk.get("id")
        place = places.get(index)
        if place is None:  # the first of its index, which one without an id is added to
            place = place_of(known["tools"], {"index": index})
            if place is None:
                return None
            places[index] = place
        if call_id and call_id != known["tools"][place]["id"]:
            place = place_of(known["tools"], chunk)
            if place is None:
                return None
        tool, text, name = known["tools"][place], chunk["args"], chunk.get("name")
        if (
            (index.__class__ is int or index.__class__ is str)  # true is no index 1
            and text.__class__ is str
            and text
            and tool["args"]
            and (call_id is None or call_id.__class__ is str)
            and (tool["id"] or call_id) == tool["id"]
            and (name is None or (name.__class__ is str and tool["name"] and not self._strict))
        ):
            return ((self._session, message_id, tool["key"], INPUT), text, None)
        return None

    def _delta(self, data: Any, scope: str) -> PlainDelta | None:
        """The same of a delta of the agent protocol."""
        delta, index = data["delta"], data["index"]
        place = (scope, index) if scope else index
        kind, member, key, known, block, name = self._blocks[place]
        text = delta[member]
        if (
            delta["type"] == kind
            and text.__class__ is str
            and index.__class__ is int  # true is no index 1
            and known["agent"].get(name) is block
            and not known["closed"]
            and self._own["current"].get(scope) == key[1]
            and self._shared["messages"].get(key[1]) is known
        ):
            return (key, text, None)
        return None

    def _envelope(self, wire: Any) -> PlainDelta | None:
        """The same of one in its envelope, whose number is noted."""
        if wire["type"] != "event" or wire["method"] != "messages":
            return None
        params, seq = wire["params"], wire.get("seq")
        data, names = params["data"], params["namespace"]
        metadata = None
        if data.__class__ is not dict and len(data) == 2:
            data, metadata = data
            if metadata.__class__ is not dict or not is_metadata(metadata) or "type" in data:
                return None
        if data["event"] != "content-block-delta" or names.__class__ is not list:
            return None
        scope = "/".join(names)
        found = self._delta(data, scope if metadata is None else scope_of(metadata) or scope)
        if found is None or seq is None:
            return found
        known = self._shared["messages"][found[0][1]]
        if seq.__class__ is int and known["seq"] < seq <= MAX_NUMBER:
            self._noted = (known, "seq", known["seq"])
            known["seq"] = seq
            return found
        return None
