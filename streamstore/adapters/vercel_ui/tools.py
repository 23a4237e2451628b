"""The tool calls of a UI message: their inputs, what is asked about them, what they come to.

Knows the tool parts that are remembered of a message; no text, no step and no list of messages.

Sources: the reader of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import MalformedEvent
from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockUpdated,
    Event,
    PermissionAsked,
    ToolResult,
)
from ...keys import is_id
from ...model import TERMINAL_RANK, TOOL_RANKS, thaw
from ..base import Context
from ..members import Members
from .memory import Memory, anywhere, asking, in_step, take_index
from .parts import (
    STATUSES,
    also_null,
    answer_of,
    given,
    moved_state,
    tool_fields,
    tool_state,
    tool_title,
)
from .writing import Writing

# States in which no more input can come.
_SETTLED = frozenset(("input-available", "output-available", "output-error", "output-denied"))


class Tools:
    """The tool calls of a message, and of those before it that a result may be for.

    Args:
        context: what the adapter was given.
        writing: the message that the stream writes.
    """

    def __init__(self, context: Context, writing: Writing) -> None:
        self._context = context
        self._own = context.own
        self._writing = writing

    def input_started(self, wire: Members) -> Sequence[Event]:
        """The input of a call begins."""
        memory, events = self._writing.write()
        dynamic = bool(wire.get("dynamic"))
        tool = in_step(memory, wire["toolCallId"], dynamic)
        state = tool_state("input-streaming", tool_title(wire, tool))
        if wire.get("inputEncoding") is not None:
            state["encoding"] = wire["inputEncoding"]
        # Of a part that is there the input starts again: whole, so that the text of before goes.
        index = memory["next"] if tool is None else tool["index"]
        memory["inputs"][wire["toolCallId"]] = index
        if tool is not None:
            for name in ("input", "rawInput"):  # the text of one that was listed
                tool["fields"].pop(name, None)
        fields = tool_fields(wire, state, dynamic)
        return [*events, *self._set(memory, tool, fields, whole=True)]

    def input_text(self, wire: Members) -> Sequence[Event]:
        """More of the text of an input."""
        call_id, text = wire["toolCallId"], wire["inputTextDelta"]
        memory = self._writing.look()
        index = None if memory is None else memory["inputs"].get(call_id)
        if index is None:
            self._writing.refuse(f"tool-input-delta for {call_id[:80]!r}, which has no start")
        memory, events = self._writing.write()
        if index is None:
            tool = anywhere(memory, call_id)
            index = take_index(memory) if tool is None else tool["index"]
            memory["inputs"][call_id] = index
            if tool is None:
                fields: Members = {"callId": call_id, "state": tool_state("input-streaming")}
                opened = self._open(memory, index, fields)
                delta = BlockDelta(
                    message_id=memory["id"], block_index=index, text=text, field="input"
                )
                return [*events, delta, opened]
        events.append(
            BlockDelta(message_id=memory["id"], block_index=index, text=text, field="input")
        )
        return events

    def input_available(self, wire: Members) -> Sequence[Event]:
        """An input is whole."""
        memory, events = self._writing.write()
        dynamic = bool(wire.get("dynamic"))
        tool = in_step(memory, wire["toolCallId"], dynamic)
        state = tool_state("input-available", tool_title(wire, tool), also_null(wire, "input"))
        return [*events, *self._set(memory, tool, tool_fields(wire, state, dynamic))]

    def input_error(self, wire: Members) -> Sequence[Event]:
        """An input that is none."""
        memory, events = self._writing.write()
        tool = in_step(memory, wire["toolCallId"])
        dynamic = bool(wire.get("dynamic")) if tool is None else "dynamic" in tool["fields"]
        tool = in_step(memory, wire["toolCallId"], dynamic)
        state = tool_state(
            "output-error",
            tool_title({}, tool),
            also_null(wire, "input"),
            {"error": wire["errorText"]},
        )
        return [*events, *self._set(memory, tool, tool_fields(wire, state, dynamic))]

    def output_available(self, wire: Members) -> Sequence[Event]:
        """What a call came to, or comes to so far."""
        output = also_null(wire, "output")
        if wire.get("preliminary") is not None:
            output["preliminary"] = wire["preliminary"]
        return self._output(wire, "output-available", output)

    def output_error(self, wire: Members) -> Sequence[Event]:
        """A call that failed."""
        return self._output(wire, "output-error", {"error": wire["errorText"]})

    def output_denied(self, wire: Members) -> Sequence[Event]:
        """A call that was not allowed."""
        found = self._find(wire["toolCallId"])
        if found is None:
            return self._stray(wire, {"state": tool_state("output-denied")})
        memory, tool, events = found
        state = moved_state(tool, "output-denied")
        return [*events, *self._set(memory, tool, {"state": state})]

    def _output(self, wire: Members, state: str, result: Members) -> Sequence[Event]:
        others = given(wire, "providerExecuted", "toolMetadata")
        if wire.get("providerMetadata") is not None:
            others["resultProviderMetadata"] = thaw(wire["providerMetadata"])
        found = self._find(wire["toolCallId"])
        if found is None:
            return self._stray(wire, {"state": tool_state(state, result), **others})
        memory, tool, events = found
        before = tool["fields"]["state"]
        # How to read the text of an input that never came whole is needed until it does.
        kept = {name: before[name] for name in ("title", "input", "encoding") if name in before}
        fields = {"state": tool_state(state, kept, result), **others}
        return [*events, *self._set(memory, tool, fields)]

    def approval_asked(self, wire: Members) -> Sequence[Event]:
        """Whether a call is allowed is asked."""
        approval: Members = {"id": wire["approvalId"]}
        for name, theirs in (
            ("descriptor", "approvalDescriptor"),
            ("requestReason", "reason"),
            ("signature", "signature"),
        ):
            if wire.get(theirs) is not None:
                approval[name] = thaw(wire[theirs])
        approval |= also_null(wire, "inputSchemaInput")
        if wire.get("isAutomatic") is True:
            approval["isAutomatic"] = True
        found = self._find(wire["toolCallId"])
        if found is None:
            fields = {"state": tool_state("approval-requested"), "approval": approval}
            return self._stray(wire, fields)
        memory, tool, events = found
        state = moved_state(tool, "approval-requested")
        events += self._set(memory, tool, {"state": state, "approval": approval})
        if is_id(wire["approvalId"]) and "isAutomatic" not in approval:
            # Asked once: the call id says where it belongs while the start may name the message.
            moves = "early" in memory and "begun" not in self._own
            events.append(
                PermissionAsked(
                    request_id=wire["approvalId"],
                    message_id=None if moves else memory["id"],
                    call_id=wire["toolCallId"] or None,
                    payload={name: value for name, value in wire.items() if name != "type"},
                )
            )
        return events

    def approval_answered(self, wire: Members) -> Sequence[Event]:
        """The answer to that."""
        memory = self._writing.look()
        asked = None if memory is None else asking(memory, wire["approvalId"])
        if asked is None:
            self._writing.refuse(f"no tool call has the approval {wire['approvalId'][:80]!r}")
            raise MalformedEvent("approvalId", "names no approval of this message")
        memory, events = self._writing.write()
        approval = {**asked["fields"]["approval"], "approved": wire["approved"]}
        if wire.get("reason") is not None:
            approval["reason"] = wire["reason"]
        fields = {"state": moved_state(asked, "approval-responded"), "approval": approval}
        fields |= given(wire, "providerExecuted")
        if wire.get("providerMetadata") is not None:
            fields["callProviderMetadata"] = thaw(wire["providerMetadata"])
        return [*events, *self._set(memory, asked, fields), *answer_of(approval)]

    def _find(self, call_id: str) -> tuple[Memory, Memory, list[Event]] | None:
        """The message and tool part that a call id names, and events; None for no such call."""
        memory = self._writing.look()
        tool = None if memory is None else anywhere(memory, call_id)
        if tool is not None:
            memory, events = self._writing.write()
            return memory, tool, events
        for other in self._others():
            tool = anywhere(other, call_id)
            if tool is not None:
                return other, tool, []
        return None

    def _others(self) -> Iterable[Memory]:
        """The messages that a result may be for, beside the one that is written.

        A server that gives each response its own id continues an earlier message all the same: the
        client's new one has the parts of the one that its stream would have gone on with.
        """
        known = self._writing.known()
        if self._context.strict:
            before = known.get(self._own.get("before", ""))
            return () if before is None else (before,)
        return reversed(known.values())

    def _stray(self, wire: Members, fields: Members) -> list[Event]:
        """What is said of a call that is not known (yet)."""
        call_id = wire["toolCallId"]
        self._writing.refuse(f"{wire['type']} for {call_id[:80]!r}, which is no known tool call")
        if not call_id:
            raise MalformedEvent("toolCallId", "must be a non-empty string, not an empty one")
        return [ToolResult(call_id=call_id, fields=fields)]

    def _open(self, memory: Memory, index: int, fields: Members) -> BlockOpened:
        entry = {"index": index, "fields": fields}
        memory["tools"].setdefault(fields["callId"], []).append(entry)
        return BlockOpened(
            message_id=memory["id"], block_index=index, kind="tool", fields=dict(fields)
        )

    def _set(
        self, memory: Memory, tool: Memory | None, fields: Members, whole: bool = False
    ) -> list[Event]:
        """Change a tool part, or open the next one."""
        at: Members
        state = fields["state"]["wire"]
        before = None
        events: list[Event]
        if tool is None:
            index = take_index(memory)
            events = [self._open(memory, index, fields)]
        else:
            index = tool["index"]
            before = tool["fields"]["state"]
            lower = TOOL_RANKS[fields["state"]["status"]] < TOOL_RANKS[before["status"]]
            if lower and "tool" not in fields and "input" not in fields["state"]:
                # A whole update would take the text of the input along: this keeps its rank.
                lower = False
                status = STATUSES[state]
                ended = TOOL_RANKS[status] == TERMINAL_RANK
                fields["state"]["status"] = status if ended else before["status"]
            whole = whole or lower
            tool["fields"] = {**tool["fields"], **fields}
            events = [
                BlockUpdated(
                    message_id=memory["id"],
                    block_index=index,
                    whole=whole,
                    fields=tool["fields"] if whole else fields,
                )
            ]
            if state.startswith("output-"):
                # Whoever answered, this client or another, it did not pass through here.
                events += answer_of(tool["fields"].get("approval"), unanswered=True)
        at = {"message_id": memory["id"], "block_index": index}
        if state in _SETTLED and (before is None or before["wire"] not in _SETTLED):
            events.append(BlockClosed(**at))
        return events
