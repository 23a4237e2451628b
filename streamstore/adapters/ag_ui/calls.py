"""The tool calls of AG-UI messages, whose they are, how far they are, and their results.

Of each call it is known which message owns it and what became of it (`in`, `status`, `run`,
`metadata`, `input`, `implicit`), of one that is not there its result's status. Knows texts only
where a result is one, no activity, no snapshot and no end of a run.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockRemoved,
    BlockReplaced,
    BlockUpdated,
    Event,
    ToolResult,
)
from ...model import TOOL_RANKS, thaw
from ..base import Context
from ..bounded import forget_oldest
from ..members import Members
from .known import Known
from .messages import CONTENT, INPUT, call_fields, call_input, call_state, info_of, picked
from .runs import Runs
from .texts import Texts
from .verify import Flow

#: Results that came before their call, calls that snapshots took away before their end; the oldest
#: go.
_EARLY = 1024
_DROPPED = 256


class Calls:
    """The tool calls of a thread's messages.

    Shared by its streams: `early`, the results that came before their call. Of what is in progress:
    `dropped`, the calls that a snapshot took away before their end.

    Args:
        context: what the adapter was given.
        runs: the run that the stream delivers.
        flow: what is in progress of the stream.
        known: the messages and calls of the thread.
        texts: the texts of the messages.
    """

    def __init__(
        self, context: Context, runs: Runs, flow: Flow, known: Known, texts: Texts
    ) -> None:
        self._context = context
        self._runs = runs
        self._flow = flow
        self._known = known
        self._texts = texts

    def streams_input(self, call_id: str) -> str | None:
        """The message of a call whose delta has nothing to do but be appended; None for others."""
        call = self._known.calls.get(call_id)
        if call is None or "input" in call or call_id not in self._flow.open("tool"):
            return None
        if self._runs.adds(call):
            return None
        message_id: str = call["in"]
        return message_id

    # -- streamed ------------------------------------------------------------------------------

    def started(self, event: Members) -> list[Event]:
        """A call starts."""
        call_id, name = event["toolCallId"], event["toolCallName"]
        call, parent = self._known.calls.get(call_id), event.get("parentMessageId")
        within: str = (parent or call_id) if call is None else call["in"]
        moved = self._known.named(within, self._known.messages.get(within))
        moved += self._known.named(f"call {call_id}", call)
        events: list[Event] = []
        if call is not None and parent and self._misplaced(call_id, call):
            events.append(self._known.remove(call_id))
            call = None
        if call is None:
            message_id, made = self._owner(event)
        else:
            message_id = call["in"]
            self._known.open(message_id)
            made = self._rebuilt_for(event, message_id)
        events += made
        if call_id in self._known.calls:
            fields = {"tool": name, **self._metadata(call_id, event)}
            again = self._rebuilt(call_id, fields)
            return [*events, *(again or [self._updated(call_id, fields)]), *moved]
        self._runs.is_rebuilt(f"call {call_id}")
        opened = self._opened(call_id, name, message_id, self._known.messages[message_id])
        metadata = self._metadata(call_id, event)
        moved = [one for one in moved if one.message_id in self._known.messages]  # one was removed
        return [*events, opened, *self.changed(call_id, metadata), *moved]

    def arguments(self, event: Members) -> list[Event]:
        """More of a call's arguments."""
        call_id = event["toolCallId"]
        events: list[Event] = []
        call = self._known.calls.get(call_id)
        if call is not None and "implicit" in call:  # it was never started, and may come again
            self._known.open(call["in"])
            events = self._rebuilt_for(event, call["in"])
            if call_id in self._known.calls:
                events += self._rebuilt(call_id, {})
        if call_id not in self._known.calls:
            if call_id in self._flow.open("tool") or call_id in self._runs.now.get("dropped", ()):
                return []  # a snapshot dropped the call
            message_id, made = self._owner(event)
            record = self._known.messages[message_id]
            events += [*made, self._opened(call_id, None, message_id, record)]
            self._known.calls[call_id]["implicit"] = True
            self._runs.is_rebuilt(f"call {call_id}")
        message_id, text = self._known.calls[call_id]["in"], event["delta"]
        fields = self._metadata(call_id, event)
        new = self._runs.new(f"call {call_id}", self._known.calls[call_id], len(text))
        if text and not new:
            return self.changed(call_id, fields)
        text = text[len(text) - new :]
        delta = self._known.block(BlockDelta, message_id, call_id, field=INPUT, text=text)
        if self._known.calls[call_id].pop("input", None) is not None:  # it is that no longer
            fields |= self.moves(call_id, {"status": "running"})
        return [*events, delta, *self.changed(call_id, fields)]

    def ended(self, event: Members) -> list[Event]:
        """The arguments of a call are whole."""
        call_id = event["toolCallId"]
        call = self._known.calls.get(call_id)
        self._runs.cool_one(call_id)
        if call is None:
            return []
        fields = self._metadata(call_id, event)
        fields |= self.moves(call_id, {"status": "running"})
        closed = self._known.block(BlockClosed, call["in"], call_id)
        return [*self.changed(call_id, fields), closed]

    def encrypted(self, event: Members) -> list[Event]:
        """A call's encrypted value."""
        call_id, fields = event["entityId"], {"encryptedValue": event["encryptedValue"]}
        return [self._updated(call_id, fields)] if call_id in self._known.calls else []

    # -- results -------------------------------------------------------------------------------

    def result(self, event: Members) -> list[Event]:
        """A call's result: a message of its own, and the output of the call."""
        message_id, call_id = event["messageId"], event["toolCallId"]
        record = self._known.messages.get(message_id)
        info = info_of(picked(event, "toolCallId", CONTENT, "subagentRunId", "metadata"))
        events: list[Event] = []
        anew = self._known.reset_old(message_id)
        if record is None:
            again = self._known.is_gone(message_id)  # its owner may be elsewhere
            at = None if again else self._behind(call_id)
            record = self._known.add(message_id, "tool", info, at)
        if record["role"] == "tool":
            record["info"] = info
            moved = self._known.named(message_id, record)
            self._runs.is_rebuilt(message_id)
            events += [self._known.updated(message_id, record), *anew]
            events += self._texts.set_content(message_id, record, event[CONTENT])
            events += [self._known.closing(message_id), *moved]
        # Else the id is another message's: the call's own output is all that can hold it.
        state = {"status": "completed", "output": event[CONTENT]}
        return events + self.answer(call_id, state)

    def _behind(self, call_id: str) -> int | None:
        """Where the result of a call stands: behind its owner and the results there."""
        call = self._known.calls.get(call_id)
        if call is None:
            return None
        messages, order, place = self._known.messages, self._known.order, self._known.place
        owner = call["in"]
        # Places only grow in it; the owner is nearly always one of the last.
        at = order.index(owner, bisect_left(order, place(owner), key=place)) + 1
        while at < len(order) and messages.get(order[at], {}).get("role") == "tool":
            at += 1
        return at

    def answer(self, call_id: str, state: Members) -> list[Event]:
        """The result of a call in its own part, also when that is not there yet."""
        if call_id in self._known.calls:
            return self.changed(call_id, self.moves(call_id, state))
        early = self._runs.table("early")
        early[call_id] = state["status"]
        forget_oldest(early, _EARLY)
        fields = {"state": state}
        return [ToolResult(session_id=self._runs.session_id, call_id=call_id, fields=fields)]

    # -- come whole ----------------------------------------------------------------------------

    def set_calls(
        self, message: Members, record: Members, results: Mapping[str, Members]
    ) -> list[Event]:
        """Make a message's tool calls those of a whole one."""
        message_id, given = message["id"], message.get("toolCalls", ())
        kept = {call["id"] for call in given}
        events: list[Event] = [
            self._known.block(BlockRemoved, message_id, call_id)
            for call_id in record["calls"]
            if call_id not in kept
        ]
        self._known.drop_calls(message_id, record)
        for call in given:
            call_id = call["id"]
            state = call_state(call_id, results)
            if call_id in self._flow.open("tool") and state["status"] == "running":
                state = {"status": "pending"}
            run = None if self._runs.start is None else self._runs.id
            self._know(message_id, record, call, state, run)
            self._runs.is_rebuilt(f"call {call_id}")
            events.append(
                self._known.block(
                    BlockReplaced,
                    message_id,
                    call_id,
                    kind="tool",
                    order=record["parts"] - 1,
                    status="open",
                    whole=True,
                    fields=call_fields(call, state),
                )
            )
            text = call["function"]["arguments"]
            events.append(
                self._known.block(BlockDelta, message_id, call_id, field=INPUT, text=text)
            )
            if state["status"] != "pending":
                events.append(self._known.block(BlockClosed, message_id, call_id))
        return events

    def learn(self, message: Members, record: Members, results: Mapping[str, Members]) -> None:
        """Remember the calls of a fetched message that is new."""
        for call in message.get("toolCalls", ()):
            state = call_state(call["id"], results)
            self._know(message["id"], record, call, state, None)
            if self._known.calls[call["id"]]["in"] == message["id"]:
                self._known.calls[call["id"]].update(call_input(call))

    def _know(
        self, message_id: str, record: Members, call: Members, state: Members, run: str | None
    ) -> None:
        """Remember a call that came whole; the first message that has it owns it."""
        record["parts"] += 1
        record["calls"].append(call["id"])
        if call["id"] in self._known.calls:
            return
        entry = {"in": message_id, "status": state["status"], "run": run}
        self._known.calls[call["id"]] = {**entry, **picked(call, "metadata")}

    def streaming(self) -> Members:
        """Calls whose arguments may still come, but for what a replay has yet to bring; true where
        there is no result: behind one they do not, as a rule."""
        calls, runs = self._known.calls, self._runs
        return {
            call_id: call["status"] == "pending"
            for call_id, call in calls.items()
            if not runs.replay or runs.has_brought(f"call {call_id}")
        }

    def note_dropped(self, streaming: Members) -> None:
        """Remember which of them no message has any more: what comes for them changes nothing."""
        dropped = self._runs.now.setdefault("dropped", {})
        for call_id in sorted(streaming, key=streaming.__getitem__):
            if call_id not in self._known.calls:
                dropped[call_id] = None
        forget_oldest(dropped, _DROPPED)

    # -- whose they are, how far they are ------------------------------------------------------

    def _owner(self, event: Members) -> tuple[str, list[Event]]:
        """The message of a new call: its parent, or one that is made for it."""
        call_id, parent = event["toolCallId"], event.get("parentMessageId")
        carriers = (None, "assistant", "")
        message_id: str = parent if parent and self._known.role(parent) in carriers else call_id
        if self._known.role(message_id) not in carriers:
            message_id = self._context.new_id()  # the call's own id is another message's
        record = self._known.messages.get(message_id)
        self._known.open(message_id)
        if record is None:
            info = picked(event, "subagentRunId")
            return message_id, self._known.added(message_id, "assistant", info)
        if not record["role"]:
            record["role"] = "assistant"
            anew = self._rebuilt_for(event, message_id)
            return message_id, anew or [self._known.updated(message_id, record)]
        return message_id, self._rebuilt_for(event, message_id)

    def _misplaced(self, call_id: str, call: Members) -> bool:
        """Whether a call whose start was not seen has a message of its own until a replay says,
        with the start, whose it is."""
        if "implicit" not in call or call["in"] != call_id or call["run"] != self._runs.id:
            return False
        record = self._known.messages[call_id]
        alone = record["calls"] == [call_id] and not record["text"]
        return alone and self._runs.replay and not self._runs.has_brought(call_id)

    def _opened(
        self, call_id: str, name: str | None, message_id: str, record: Members
    ) -> BlockOpened:
        self._runs.now.get("dropped", {}).pop(call_id, None)
        status = self._runs.table("early").pop(call_id, "pending")
        self._known.calls[call_id] = {"in": message_id, "status": status, "run": self._runs.id}
        record["calls"].append(call_id)
        order = record["parts"]
        record["parts"] += 1
        fields: Members = {"callId": call_id, "state": {"status": "pending"}}
        if name is not None:
            fields["tool"] = name
        return self._known.block(
            BlockOpened, message_id, call_id, kind="tool", order=order, fields=fields
        )

    def _rebuilt_for(self, event: Members, message_id: str) -> list[Event]:
        """As `Known.rebuilt`, of a message that was made for a call."""
        record = self._known.messages[message_id]
        events = self._known.rebuilt(message_id, record)
        if events:
            record["info"] = picked(event, "subagentRunId")
            events.append(self._known.updated(message_id, record))
        return events

    def _rebuilt(self, call_id: str, fields: Members) -> list[Event]:
        """As `Known.rebuilt`, of a call: its message is another run's, it is this one's and comes
        again."""
        call = self._known.calls[call_id]
        if call["run"] != self._runs.id or self._runs.is_rebuilt(f"call {call_id}"):
            return []
        call["status"] = "pending"
        self._runs.holds_none(call)
        fields = {**fields, "callId": call_id, "state": {"status": "pending"}}
        return [self._known.block(BlockReplaced, call["in"], call_id, whole=True, fields=fields)]

    def moves(self, call_id: str, state: Members) -> Members:
        """A state of a call as part fields; none where it is past that."""
        call = self._known.calls[call_id]
        if TOOL_RANKS[state["status"]] < TOOL_RANKS[call["status"]]:
            return {}
        call["status"] = state["status"]
        return {"state": {**state, **picked(call, "input")}}

    def changed(self, call_id: str, fields: Members) -> list[Event]:
        """Fields of a call that are others now."""
        return [self._updated(call_id, fields)] if fields else []

    def _updated(self, call_id: str, fields: Members) -> BlockUpdated:
        return self._known.block(
            BlockUpdated, self._known.calls[call_id]["in"], call_id, fields=fields
        )

    def _metadata(self, call_id: str, event: Members) -> Members:
        """The metadata of a call with that of an event, as part fields."""
        if "metadata" not in event:
            return {}
        call = self._known.calls[call_id]
        call["metadata"] = {**call.get("metadata", {}), **thaw(event["metadata"])}
        return {"metadata": call["metadata"]}
