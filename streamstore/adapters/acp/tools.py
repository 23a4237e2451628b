"""Tool calls: their parts, and their state by what was said of each.

Knows messages by their memory; no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...events import BlockClosed, BlockDelta, BlockOpened, BlockUpdated, Event
from ...model import TOOL_RANKS
from ..members import Members, a_string, an_id
from .messages import Messages
from .metas import OUTPUT, merge_meta, meta_name
from .schema import FIELDS, RAW, SAID_OF_IT, STATED, WIRE, read_tool, tool_rank, tool_state

#: Tools of a session that are remembered.
_CALLS = 256


class Tools:
    """The tool calls of each session, which updates go on with."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    def call(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        """All of a tool is said."""
        call_id = an_id(update, "toolCallId", at)
        a_string(update, "title", at)
        said = read_tool(update, at)
        return self.take(session_id, call_id, said, whole=True)

    def update(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        """What a tool has come to; null says nothing."""
        call_id = an_id(update, "toolCallId", at)
        said = read_tool(update, at)
        return self.take(session_id, call_id, said, whole=False)

    def take(
        self,
        session_id: str,
        call_id: str,
        said: Members,
        whole: bool,
        waiting: bool = False,
    ) -> list[Event]:
        """What is said of a tool, `waiting` for an answer or not: its part, made when it is new."""
        memory = self._messages.of_session(session_id)
        calls: dict[str, Members] = memory.setdefault("calls", {})
        known = calls.get(call_id)
        events: list[Event] = []
        where: dict[str, Any] = {"session_id": session_id}
        closed: list[Event] = []
        if known is None:
            message_id, message, events = self._messages.message(
                session_id, "assistant", None, inner=True
            )
            where["message_id"] = message_id
            closed = self._messages.next_part(where, message, None)
            known = {"message": message_id, "block": where["block_index"], "said": {}}
            calls[call_id] = known
            if len(calls) > _CALLS:
                del calls[next(iter(calls))]
            new = True
        else:
            where.update(message_id=known["message"], block_index=known["block"])
            new = False
        merged = dict(said) if whole else {**known["said"], **said}
        rank = tool_rank(merged)
        behind = tool_rank(known["said"])
        if not whole and rank < behind:
            merged["status"] = known["said"]["status"]  # what ended does not begin again
        known["said"] = {name: value for name, value in merged.items() if name in STATED}
        held = {} if whole else known.get("meta", {})
        known["meta"], printed, anew = merge_meta(held, said.get("_meta", {}))
        fields: Members = {name: said[name] for name in FIELDS if name in said}
        if known["meta"] != held:
            fields["_meta"] = known["meta"]
        if anew:
            fields[OUTPUT] = ""  # what it showed is gone
        output = merged.get("rawOutput", merged.get("content"))
        # It is pending as long as nothing else is said, but waits since it was asked about.
        known["waits"] = waiting or (known.get("waits", False) and not whole and not rank)
        fields["state"] = tool_state(known["said"], output, known["waits"])
        if output is not None and "rawOutput" not in known["said"]:
            known["said"]["content"] = output  # what comes next says the state whole
        fields["callId"] = call_id
        name = merged.get("name") or meta_name(known["meta"]) or merged.get("kind")
        if name:
            fields["tool"] = name
        wire = {name: known["said"][name] for name in SAID_OF_IT if name in known["said"]}
        fields[WIRE] = {**wire, "raw": [name for name in RAW if name in known["said"]]}
        if new:
            order = where["block_index"]
            events.append(BlockOpened(**where, kind="tool", order=order, fields=fields))
        elif whole or waiting or anew or said.keys() - {"_meta"} or known["meta"] != held:
            events.append(BlockUpdated(**where, kind="tool", whole=whole, fields=fields))
        if printed:
            events.append(BlockDelta(**where, field=OUTPUT, text=printed))
        if rank == TOOL_RANKS["completed"]:
            events.append(BlockClosed(**where))
        return [*events, *closed]
