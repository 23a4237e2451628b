"""Which messages a session has, and the parts that its chunks make.

Knows the memory of sessions and chunks; no tool but by its state, no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
)
from ...keys import PartKey
from ...model import TOOL_RANKS, Json
from ..base import Context
from ..members import Members, a_string, an_id, an_object, maybe_id
from .metas import merged_meta, meta_field
from .schema import CHUNKS, WIRE, tool_rank

#: Messages of a session that are remembered, and sessions whose open part is at hand.
_MESSAGES, _OPEN = 64, 64

_FILES = frozenset(("image", "audio", "resource", "resource_link"))


class Messages:
    """The messages of each session: how many parts each has, which is open, which have ended.

    Attributes:
        open: made as chunks come: by session the kind, message id and `_meta` of the open part's
            chunks, and its key, so that a plain chunk makes no tuple; good until the session moves
            on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._foreign: tuple[str, Members] = ("", {})
        self.open: dict[str, tuple[str, str | None, Json, PartKey, Members, int]] = {}

    def of_session(self, session_id: str) -> Members:
        """What is remembered of a session; of a foreign one, as long as no other comes."""
        if not self._context.bound or session_id == self._context.session_id:
            return self._context.of_session(session_id)
        if self._foreign[0] != session_id:
            self._foreign = session_id, {}
        return self._foreign[1]

    def message(
        self, session_id: str, role: str, given: str | None, inner: bool = False
    ) -> tuple[str, Members, list[Event]]:
        """The message that something belongs to, made when it is new; its memory and opening.

        What is `inner`, a tool, has no message id: it belongs to what the agent last said.
        """
        memory = self.of_session(session_id)
        messages: dict[str, Members] = memory.setdefault("messages", {})
        before = memory.get("current")
        current = messages.get(memory.get("current", ""))
        same = current is not None and current["role"] == role and not memory.get("bounded")
        if given is not None and given in messages and messages[given]["role"] == role:
            memory["current"] = given
            memory["bounded"] = False
            if given != before:
                self.move(memory)
            return given, messages[given], []
        if current is not None and same and (inner or current["named"] == given):
            return memory["current"], current, []
        message_id = given
        if message_id is None or message_id in messages:
            message_id = self._context.new_id()
        memory["count"] = order = memory.get("count", 0) + 1
        memory["current"], memory["bounded"] = message_id, False
        self.move(memory)
        ended = self.ended(session_id, {"user": "assistant", "assistant": "user"}[role])
        known = {"role": role, "named": given, "parts": 0, "open": None, "closed": False}
        messages[message_id] = known
        if len(messages) > _MESSAGES:
            oldest = next(iter(messages))
            if not messages.pop(oldest).get("closed", True):
                ended.append(MessageClosed(session_id=session_id, message_id=oldest))
        opened = MessageOpened(
            session_id=session_id,
            message_id=message_id,
            role=role,
            order=order,
            info=None if given is None else {"messageId": given},
        )
        return message_id, known, [opened, *ended]

    def ended(
        self,
        session_id: str,
        role: str = "",
        status: str = "completed",
        error: Members | None = None,
    ) -> list[Event]:
        """The messages that are open, of one role or of both, have ended; the agent's as said."""
        memory = self.of_session(session_id)
        running = {
            call["message"]
            for call in memory.get("calls", {}).values()
            if tool_rank(call["said"]) < TOOL_RANKS["completed"]
        }
        events: list[Event] = []
        for message_id, known in memory.get("messages", {}).items():
            if known.get("closed") or role not in ("", known["role"]):
                continue
            known["closed"] = True
            closed = MessageClosed(session_id=session_id, message_id=message_id)
            if known["role"] == "assistant" and message_id == memory["current"]:
                closed = attrs.evolve(closed, status=status, error=error)
            elif message_id in running and status != "completed":
                closed = attrs.evolve(closed, status="aborted")
            events.append(closed)
        return events

    @staticmethod
    def move(memory: Members) -> None:
        """What comes next does not belong to the part that was open."""
        memory["moves"] = memory.get("moves", 0) + 1

    def next_part(self, at: dict[str, Any], known: Members, kind: str | None) -> list[Event]:
        """Count a part of a message; what ends the one that was open."""
        self.move(self.of_session(at["session_id"]))
        before = known["open"]
        at["block_index"] = number = known["parts"]
        known["parts"] = number + 1
        known["open"] = None if kind is None else [number, kind]
        known.pop("meta", None)
        if before is None:
            return []
        return [BlockClosed(**{**at, "block_index": before[0]})]

    def chunk(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        """A chunk of text goes on with the part that is open, all else is a part of its own."""
        role, kind = CHUNKS[update["sessionUpdate"]]
        content = an_object(update, "content", at)
        type_ = an_id(content, "type", f"{at}.content")
        given = maybe_id(update, "messageId", at)
        text = a_string(content, "text", f"{at}.content") if type_ == "text" else None
        message_id, known, events = self.message(session_id, role, given)
        where: dict[str, Any] = {"session_id": session_id, "message_id": message_id}
        said = update.get("_meta")
        said = said if isinstance(said, dict) else {}  # else it says nothing: the text counts
        if text is None:
            closed = self.next_part(where, known, None)
            fields = {WIRE: {"chunk": update["sessionUpdate"], "content": content}}
            fields |= meta_field(merged_meta({}, said))
            ours = "file" if type_ in _FILES else "unknown"
            return [
                *events,
                BlockOpened(**where, kind=ours, order=where["block_index"], fields=fields),
                BlockClosed(**where),
                *closed,
            ]
        if known["open"] is not None and known["open"][1] == kind:
            where["block_index"] = known["open"][0]
            events.append(BlockDelta(**where, text=text))
            held = known.get("meta", {})
            meta = merged_meta(held, said)
            if meta != held:
                known["meta"] = meta
                self.move(self.of_session(session_id))  # of another stream, the short way
                events.append(BlockUpdated(**where, kind=kind, fields={"_meta": meta}))
        else:
            closed = self.next_part(where, known, kind)
            rest = {name: value for name, value in content.items() if name not in ("type", "text")}
            fields = {WIRE: {"content": rest}} if rest else {}
            fields |= meta_field(merged_meta({}, said))
            if "_meta" in fields:
                known["meta"] = fields["_meta"]
            order = where["block_index"]
            opened = BlockOpened(**where, kind=kind, order=order, fields=fields)
            events += [opened, BlockDelta(**where, text=text), *closed]
        key = PartKey(session_id, message_id, where["block_index"])
        memory = self.of_session(session_id)
        if session_id not in self.open and len(self.open) >= _OPEN:
            del self.open[next(iter(self.open))]
        self.open[session_id] = (
            update["sessionUpdate"],
            given,
            update.get("_meta"),
            key,
            memory,
            memory.setdefault("moves", 0),
        )
        return events
