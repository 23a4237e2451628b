"""The agent protocol of LangGraph: events of messages, their content blocks, tools and lifecycle.

An event here is out of its envelope: its namespace and number are known. Finds the message that is
open there, refuses what that has had, and makes the events of its blocks (`HANDLERS`, by event). Of
a graph it knows the task that an event names; no chunk, state, update or callback.

Sources: the protocol's types (langchain-protocol 0.0.20) and `ChatModelStream` of the published
package (langchain-core 1.8.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ...errors import RepeatedEvent, UnknownEvent
from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageReset,
    SessionStatus,
    ToolResult,
)
from ...keys import PartKey, hot_key, is_id
from ..members import Members, a_number, a_string, an_id, an_object, maybe_object, only_json, wrong
from .chunks import KINDS, new_memory
from .graph import scope_of
from .known import Known, set_input
from .messages import INPUT, ROLES, WIRE, dumped
from .runs import Runs

Handler: TypeAlias = Callable[["Agent", Members, str, "int | None"], Sequence[Event]]

#: Namespaces of which the last message is known on the next stream.
_HEADS = 256
#: What a delta appends to, and what carries it, by its type.
_DELTAS: Mapping[str, tuple[str, str]] = {
    "text-delta": ("text", "text"),
    "reasoning-delta": ("text", "reasoning"),
    "tool-call-delta": (INPUT, "args"),
    "data-delta": ("data", "data"),
}
#: What an end says beside its metadata of why it came: there a stop with calls is no plain stop.
_REASONS = ("finish_reason", "normalized_finish_reason", "finish_state")


class Agent:
    """The agent protocol's events of one stream; `HANDLERS` are its methods, by event.

    In the memory that the session shares: `heads`, the last message of each namespace; in that of a
    message `agent`, its blocks by index (`cut`: another stream began it), `seq`, the last number
    that it has had, and `scope`.

    Args:
        known: the messages of the session.
        runs: the runs of the graph, which an event may end.
    """

    def __init__(self, known: Known, runs: Runs) -> None:
        self._known = known
        self._runs = runs
        self._session = known.session
        self._shared = known.shared

    def said(self, data: Members, at: str, scope: str, seq: int | None) -> Sequence[Event]:
        """An event of a message, of those in `HANDLERS`, that stands there in the wire."""
        only_json(data, at)
        return HANDLERS[data["event"]](self, data, scope, seq)

    def said_in_task(
        self, data: Members, metadata: Members, below: str, seq: int | None
    ) -> Sequence[Event]:
        """The same of one that comes with the metadata of a node's task."""
        task = scope_of(metadata)
        events = self.said(data, "0", task or below, seq)
        message_id = self._known.current(task or below)
        if data["event"] == "message-start":
            self._known.messages()[message_id or ""]["task"] = task
        # The run that such metadata name is the model's.
        return [*self._runs.repeated(message_id, task, ""), *events]

    def _started(self, data: Members, scope: str, seq: int | None) -> Sequence[Event]:
        given, role = an_id(data, "id"), data.get("role")
        metadata = maybe_object(data, "metadata") or {}
        known = self._known.messages().get(given)
        repeated = known is not None and seq is not None and seq <= known["seq"]
        ours = ROLES.get(role, "assistant") if type(role) is str else "assistant"
        self._take_on(given)
        message_id, memory, events = self._known.enter(given, scope, ours, whole=True)
        self._shared.setdefault("heads", {})[scope] = message_id
        if len(self._shared["heads"]) > _HEADS:
            del self._shared["heads"][next(iter(self._shared["heads"]))]
        if repeated:  # what follows is known, up to the last that was taken in
            return [self._known.about(message_id, memory)]
        fresh = new_memory()
        fresh["seq"] = memory["seq"] if seq is None else seq
        kept = {name: memory[name] for name in ("id", "order", "role", "twin")}
        kept.update(told=memory.get("told", False), scope=scope)
        memory.clear()
        memory.update({**fresh, **kept})
        about = memory[WIRE]
        about.update({"type": role, "form": "blocks", "id": given})
        said = {"model_provider": metadata.get("provider"), "model_name": metadata.get("model")}
        about["response_metadata"] = {
            name: value for name, value in said.items() if value is not None
        }
        about["start_metadata"] = metadata
        self._known.plain.pop(message_id, None)
        if not events:  # the same message again: its blocks are rebuilt
            events.append(MessageReset(session_id=self._session, message_id=message_id))
        return [self._known.about(message_id, memory), *events]

    def _in_message(self, scope: str, seq: int | None) -> tuple[str, Members, list[Event]]:
        """The message that is open in a namespace, here or on an earlier stream."""
        current = self._known.current(scope)
        head = current or self._shared.get("heads", {}).get(scope)
        known = self._known.messages().get(head or "")
        if known is not None and seq is not None:
            if seq <= known["seq"]:
                raise RepeatedEvent("the message has had this seq")
        if known is None or known["closed"]:
            head = self._beside(scope, seq)
            if head is not None:
                self._shared.setdefault("heads", {})[scope] = head
        self._take_on(head)
        message_id, memory, events = self._known.enter(head, scope, "assistant")
        memory[WIRE].setdefault("form", "blocks")
        memory[WIRE].setdefault("type", "ai")
        if seq is not None:
            memory["seq"] = seq
        return message_id, memory, events

    def _take_on(self, message_id: str | None) -> None:
        """Note of the blocks that another stream has left in a message that they may lack text."""
        if message_id not in self._known.own.get("open", {}):
            for block in self._known.messages().get(message_id or "", {}).get("agent", {}).values():
                block["cut"] = True

    def _beside(self, scope: str, seq: int | None) -> str | None:
        """The message that goes on when the last one of its namespace has ended: nodes that run
        side by side in one graph say theirs in one namespace, which names none of them, and the
        first one that was begun and has not ended is the best guess. None for a new one."""
        found: str | None = None
        for message_id, known in self._known.messages().items():
            if known.get("scope") == scope:
                if seq is not None and seq <= known["seq"]:
                    raise RepeatedEvent("a message has had this seq")
                if not known["closed"]:
                    found = found or message_id
        return found

    def _block_started(self, data: Members, scope: str, seq: int | None) -> Sequence[Event]:
        index, block, kind, fields = _block_of(data)
        message_id, known, events = self._in_message(scope, seq)
        known["agent"][str(index)] = {"type": block["type"], WIRE: fields[WIRE], INPUT: False}
        at = self._known.at(message_id, index)
        events.append(BlockOpened(**at, kind=kind, fields=fields))
        args = block.get("args")
        if kind == "tool" and type(args) is str and args:
            known["agent"][str(index)][INPUT] = True
            events.append(BlockDelta(**at, field=INPUT, text=args))
        return events

    def _block_delta(self, data: Members, scope: str, seq: int | None) -> Sequence[Event]:
        index = a_number(data, "index")
        if "delta" not in data and isinstance(data.get("content"), dict):
            # So a server spells it in the results of tools.
            kind, delta = data["content"].get("type"), data["content"]
            if kind in ("text", "reasoning"):
                delta = {**delta, "type": f"{kind}-delta"}
            else:
                delta = {"type": "block-delta", "fields": delta}
        else:
            delta = an_object(data, "delta")
        kind = delta.get("type")
        field = member = text = ""
        fields: Members = {}
        if type(kind) is str and kind in _DELTAS:
            field, member = _DELTAS[kind]
            text = a_string(delta, member, "delta")
        elif kind == "block-delta":
            fields = an_object(delta, "fields", "delta")
        elif type(kind) is not str:
            raise wrong(delta, "type", "delta", "a string")
        else:
            raise UnknownEvent(kind)
        message_id, known, events = self._in_message(scope, seq)
        at = self._known.at(message_id, index)
        implied = {"text": "text", INPUT: "tool_call_chunk"}.get(field, "")
        if kind == "reasoning-delta":
            implied = "reasoning"
        block = known["agent"].get(str(index))
        if block is None:
            type_ = implied or fields.get("type", "data")
            type_ = type_ if is_id(type_) else "data"
            block = {"type": type_, WIRE: {"in": "agent", "block": {"type": type_}}}
            block[INPUT] = False
            known["agent"][str(index)] = block
            if field:
                events.append(BlockDelta(**at, field=field, text=text))
            events.append(BlockUpdated(**at, kind=_kind_of(type_), fields={WIRE: block[WIRE]}))
        elif field:
            events.append(BlockDelta(**at, field=field, text=text))
        if field:
            block[INPUT] = block[INPUT] or field == INPUT
            key = hot_key(PartKey(self._session, message_id, index), field)
            found = (kind, member, key, known, block, str(index))
            self._known.learn_block(scope, index, found)
            return events
        said = {name: value for name, value in fields.items() if value is not None}
        args = said.pop("args", None) if _kind_of(block["type"]) == "tool" else None
        wire = {**block[WIRE], "block": {**block[WIRE]["block"], **said}}
        block[WIRE] = wire
        events.append(BlockUpdated(**at, fields={**_call_fields(said), WIRE: wire}))
        if type(args) is str:  # the whole of it so far
            if block[INPUT]:
                events.append(BlockUpdated(**at, fields={INPUT: args}))
            elif args:
                events.append(BlockDelta(**at, field=INPUT, text=args))
                block[INPUT] = True
        return events

    def _block_finished(self, data: Members, scope: str, seq: int | None) -> Sequence[Event]:
        index, block, kind, fields = _block_of(data)
        args = block.get("args")
        text = args if type(args) is str else dumped(args, "content.args")
        message_id, known, events = self._in_message(scope, seq)
        memory = known["agent"].setdefault(str(index), {INPUT: False})
        memory.update({"type": block["type"], WIRE: fields[WIRE]})
        at = self._known.at(message_id, index)
        if kind != "tool":
            fields[WIRE]["block"].setdefault("index", index)
            member = block["type"] if block["type"] in ("text", "reasoning") else ""
            content = block.get(member, "") if member else None
            events.append(
                BlockReplaced(
                    **at,
                    kind=kind,
                    text=content if type(content) is str else None if member else "",
                    whole=True,
                    status="closed",
                    fields=fields,
                )
            )
            if block["type"] == "server_tool_result" and is_id(block.get("tool_call_id")):
                failed = block.get("status") == "error"
                state: Members = {"status": "error" if failed else "completed"}
                state["error" if failed else "output"] = block.get("output")
                events.append(
                    ToolResult(
                        session_id=self._session,
                        call_id=block["tool_call_id"],
                        fields={"state": state},
                    )
                )
            return events
        fields.pop("state", None)
        if block["type"] == "invalid_tool_call":
            fields["state"] = {"status": "error", "error": block.get("error")}
        events.append(BlockUpdated(**at, kind="tool", fields=fields))
        if text is not None and memory[INPUT]:
            if memory.get("cut"):  # this is all of it, which closes the gap
                events.append(BlockReplaced(**at, text="", fields={INPUT: text}))
            elif type(args) is str:
                events.append(BlockUpdated(**at, fields={INPUT: text}))
        else:
            events += set_input(at, text)
            memory[INPUT] = memory[INPUT] or text is not None
        return [*events, BlockClosed(**at)]

    def _finished(self, data: Members, scope: str, seq: int | None) -> Sequence[Event]:
        metadata = maybe_object(data, "metadata") or {}
        extra = maybe_object(data, "additional_kwargs")
        usage = maybe_object(data, "usage")
        message_id, known, events = self._in_message(scope, seq)
        about = known[WIRE]
        about["response_metadata"] = {
            **(about.get("response_metadata") or {}),
            **metadata,
            **{name: data[name] for name in _REASONS if data.get(name) is not None},
            "output_version": "v1",
        }
        about["usage_metadata"] = usage
        if extra:
            about["additional_kwargs"] = extra
        known["closed"] = known["ended"] = True
        known["agent"] = {}
        closed = MessageClosed(session_id=self._session, message_id=message_id)
        return [*events, self._known.about(message_id, known), closed]

    def _broken(self, data: Members, scope: str, seq: int | None) -> Sequence[Event]:
        text = a_string(data, "message")
        code = data.get("code")
        name = code if is_id(code) else "error"
        return self._runs.failed({"name": name, "message": text, "data": data})

    def tools(self, data: Members) -> Sequence[Event]:
        """An event of a tool's run."""
        event = data.get("event")
        if event == "tool-output-delta":
            return ()
        states: Mapping[str, Members] = {
            "tool-started": {"status": "running"},
            "tool-finished": {"status": "completed", "output": data.get("output")},
            "tool-error": {"status": "error", "error": data.get("message")},
        }
        if type(event) is not str or event not in states:
            raise UnknownEvent(str(event)[:80])
        call_id = an_id(data, "tool_call_id", "params.data")
        only_json(data, "params.data")
        fields = {"state": states[event]}
        return (ToolResult(session_id=self._session, call_id=call_id, fields=fields),)

    def lifecycle(self, data: Members, scope: str) -> Sequence[Event]:
        """An event of the run of the graph, or of one below it."""
        event = data.get("event")
        if scope or data.get("namespace"):  # of a graph below, which the graph itself may tell of
            return ()
        if event in ("started", "running"):
            return (SessionStatus(session_id=self._session, status="busy"),)
        events: list[Event] = []
        if event == "failed":
            only_json(data, "params.data")
            events += self._runs.error({"error": "failed", "message": data.get("error")})
        return [*events, *self._runs.idle()]


HANDLERS: Mapping[str, Handler] = {
    "message-start": Agent._started,
    "content-block-start": Agent._block_started,
    "content-block-delta": Agent._block_delta,
    "content-block-finish": Agent._block_finished,
    "message-finish": Agent._finished,
    "error": Agent._broken,
}


def _block_of(data: Members) -> tuple[int, Members, str, Members]:
    """The index and the block of a start or finish, its kind and the fields of its part."""
    index = a_number(data, "index")
    name = "content_block" if "content" not in data and "content_block" in data else "content"
    block = an_object(data, name)
    type_ = an_id(block, "type", name)
    kind = _kind_of(type_)
    dropped = {"text": "text", "reasoning": "reasoning"}.get(type_, "")
    if kind == "tool":
        dropped = "args" if type(block.get("args")) is str else ""
    rest = {member: value for member, value in block.items() if member != dropped}
    fields: Members = {WIRE: {"in": "agent", "block": rest}}
    if kind == "tool":
        fields.update(_call_fields(block))
        fields["state"] = {"status": "pending"}
    return index, block, kind, fields


def _call_fields(block: Members) -> Members:
    fields: Members = {}
    if is_id(block.get("name")):
        fields["tool"] = block["name"]
    if is_id(block.get("id")):
        fields["callId"] = block["id"]
    return fields


def _kind_of(type_: str) -> str:
    return KINDS.get(type_, "data")
