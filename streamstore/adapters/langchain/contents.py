"""What a LangChain message that was read, a chunk or a whole one, does to the one it belongs to.

Takes one message in, in the form that `messages` gives it, adds it to the memory of its
message (`known`) as the package adds chunks up (`chunks`), and makes the events
of its parts and tools. One that raises has changed nothing. Knows no graph, no state, no run, and
nothing of the agent protocol.

Sources: the message classes of the published package `langchain-core`, and messages added up by
them.
"""

from __future__ import annotations

from typing import Any

import attrs

from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageReset,
    MessageUpdated,
    ToolResult,
)
from ...keys import is_id
from ...model import Json
from ..members import Members, a_string, are_objects, maybe_id, maybe_object, objects, only_json
from .chunks import (
    add_piece,
    add_usage,
    content_block,
    merge,
    new_block,
    new_memory,
    piece_kind,
    place_of,
)
from .known import Known, set_input
from .messages import INPUT, REASONING, ROLES, WIRE, dumped

#: Places of parts that follow the content.
_BEHIND = 1_000_000
#: Members of chunks that the last one sets, and those that chunks of tools have beside them.
_ABOUT = ("name", "chunk_position")
_ABOUT_TOOLS = ("tool_call_id", "status", "artifact")


class Contents:
    """The contents of a session's messages.

    Args:
        known: the messages.
        strict: refuse what the package refuses to add up.
    """

    def __init__(self, known: Known, strict: bool) -> None:
        self._known = known
        self._session = known.session
        self._strict = strict

    # -- chunks --------------------------------------------------------------------------------

    def chunk(self, chunk: Members, scope: str, task: str) -> list[Event]:
        """A chunk of a namespace and task, added to what its message has."""
        given, tools, extra = _check(chunk)
        role = ROLES[chunk["type"]]
        message_id, known = self._known_copy(given, scope, role)
        about = known[WIRE]
        before = dict(about)
        about["type"] = chunk["type"]
        if not before:  # the first one says it for all: the short way does not look
            known["task"] = task
        for name in _ABOUT if role == "assistant" else (*_ABOUT, *_ABOUT_TOOLS):
            if chunk.get(name) is not None:
                about[name] = chunk[name]
        for name, value in (
            ("response_metadata", maybe_object(chunk, "response_metadata") or {}),
            ("additional_kwargs", {k: v for k, v in extra.items() if k != REASONING}),
        ):
            if value:
                about[name] = merge(about.get(name) or {}, value, self._strict)
        usage = maybe_object(chunk, "usage_metadata")
        if usage is not None:
            about["usage_metadata"] = add_usage(about.get("usage_metadata") or {}, usage)
        texts: list[Event] = []
        # The id is made, and the memory changed, when nothing can fail any more.
        target = message_id if message_id is not None else given or ""
        reasoning = _beside(extra, chunk["content"])
        if reasoning is not None:
            texts += self._reasoning(target, known, reasoning)
        content = self._content(target, known, chunk["content"])
        inputs = [event for tool in tools for event in self._tool(target, known, tool)]
        if chunk["content"] or not (texts or inputs):
            texts += content  # an empty text beside others is no delta
        texts += inputs

        final, memory, opened = self._known.enter(given, scope, role)
        if memory[WIRE].get("id") is not None:
            about["id"] = memory[WIRE]["id"]
        known.update(id=memory["id"], order=memory["order"], twin=memory["twin"])
        known["role"] = memory["role"]
        ended = chunk.get("chunk_position") == "last"
        if ended:
            known["closed"] = known["ended"] = True
        memory.clear()
        memory.update(known)
        if final != target:  # its id is ours, and was not known before
            texts = [_moved(event, final) for event in texts]
        events = [*opened, *texts]
        if about != before or not events:
            events.append(self._known.about(final, memory))
        if ended:
            events.append(MessageClosed(session_id=self._session, message_id=final))
        self._known.learn(final, scope)
        return events

    def _known_copy(self, given: str | None, scope: str, role: str) -> tuple[str | None, Members]:
        """A copy of the memory of the message that a chunk belongs to: nothing is changed yet, and
        of its blocks and tools those that change are copied when they do."""
        message_id = self._known.resolve(given, scope, role)
        known = self._known.messages().get(message_id or "")
        if known is None:
            return message_id, {"id": given, "order": None, "role": role, **new_memory()}
        copied = {**known, WIRE: {**known[WIRE]}, "agent": {**known["agent"]}}
        for name in ("blocks", "tools"):
            copied[name] = list(known[name])
        return message_id, copied

    def _reasoning(self, message_id: str, known: Members, text: str) -> list[Event]:
        at = self._known.at(message_id, REASONING)
        events: list[Event] = []
        if not known["reasons"]:
            known["reasons"] = True
            wire = {"in": "additional_kwargs"}
            events.append(BlockOpened(**at, kind="reasoning", order=-1, fields={WIRE: wire}))
        return [*events, BlockDelta(**at, text=text)]

    def _content(self, message_id: str, known: Members, content: Json) -> list[Event]:
        if isinstance(content, str):
            if known["last"] is not None:
                return [BlockDelta(**self._known.at(message_id, known["last"]), text=content)]
            if known[WIRE].get("form") is None:
                known[WIRE]["form"] = "text"
            return self._string(message_id, known, content) if content else []
        if known[WIRE].get("form") == "text" and not known["blocks"]:
            known[WIRE]["lead"] = True  # an empty text before the list
        known[WIRE]["form"] = "list"
        events: list[Event] = []
        for piece in content:
            if isinstance(piece, str):
                events += self._string(message_id, known, piece)
            else:
                events += self._piece(message_id, known, piece)
        return events

    def _string(self, message_id: str, known: Members, text: str) -> list[Event]:
        block = content_block(known, {})
        known["last"] = block["key"]
        at = self._known.at(message_id, block["key"])
        opened = BlockOpened(
            **at, kind="text", order=block["order"], fields={WIRE: {"in": "content"}}
        )
        return [opened, BlockDelta(**at, text=text)]

    def _piece(self, message_id: str, known: Members, piece: Members) -> list[Event]:
        """A block of the content, added to the one of its index."""
        place = place_of(known["blocks"], piece)
        if place is None:
            block, text, asked = new_block(known, piece)
            known["last"] = None  # a text behind it is another one
            at = self._known.at(message_id, block["key"])
            opened = BlockOpened(
                **at, kind=piece_kind(piece), order=block["order"], fields={WIRE: block[WIRE]}
            )
            events: list[Event] = [opened]
        else:
            block = known["blocks"][place] = {**known["blocks"][place]}
            before = block[WIRE]
            text, asked = add_piece(block, piece, self._strict)
            at = self._known.at(message_id, block["key"])
            events = []
            if block[WIRE] != before:
                events.append(BlockUpdated(**at, fields={WIRE: block[WIRE]}))
        if text is not None:
            events.append(BlockDelta(**at, text=text))
        if asked is not None:
            events.append(BlockDelta(**at, field=INPUT, text=asked))
        return events

    def _tool(self, message_id: str, known: Members, chunk: Members) -> list[Event]:
        place = place_of(known["tools"], chunk)
        name, args, call_id = (chunk.get(member) for member in ("name", "args", "id"))
        if place is None:
            number = len(known["tools"])
            tool: Members = {"key": f"tool/{number}", "name": None, "args": False, "id": None}
            tool["index"] = chunk.get("index")
            known["tools"].append(tool)
            order: int | None = _BEHIND + number
        else:
            tool, order = {**known["tools"][place]}, None
            known["tools"][place] = tool
        before = dict(tool)
        if name is not None and (tool["name"] is None or (self._strict or not tool["name"])):
            tool["name"] = (tool["name"] or "") + name
        tool["id"] = tool["id"] or call_id
        tool["args"] = tool["args"] or args is not None
        fields: Members = {WIRE: {"in": "tools", "index": tool["index"], "args": tool["args"]}}
        if tool["id"] is not None:
            fields[WIRE]["id"] = tool["id"]
        if tool["name"]:
            fields["tool"] = tool["name"]
        if tool["id"]:
            fields["callId"] = tool["id"]
        at = self._known.at(message_id, tool["key"])
        events: list[Event] = []
        if order is not None:
            fields["state"] = {"status": "pending"}
            events.append(BlockOpened(**at, kind="tool", order=order, fields=fields))
        elif tool != before:
            events.append(BlockUpdated(**at, fields=fields))
        if args:
            events.append(BlockDelta(**at, field=INPUT, text=args))
        return events

    # -- whole messages ------------------------------------------------------------------------

    def check(self, message: Members) -> None:
        """Refuses what `whole` would, before anything is remembered of the message."""
        _check(message)
        _calls(message)
        maybe_id(message, "tool_call_id")

    def whole(self, message: Members, scope: str, final: bool, task: str) -> list[Event]:
        """A message that takes the place of what was there; with `final` it has ended."""
        given, _, extra = _check(message)
        reasoning = _beside(extra, message["content"])
        calls, inputs = _calls(message)
        broken = message.get("invalid_tool_calls")
        broken = broken if isinstance(broken, list) and are_objects(broken) else []
        call_id = maybe_id(message, "tool_call_id")
        role = ROLES[message["type"]]
        message_id, known, _ = self._known.enter(given, scope, role, whole=True)
        memory: Members = new_memory()
        memory.update(id=known["id"], order=known["order"], role=role, twin=known["twin"])
        memory.update(task=known.get("task") or task, ended=known.get("ended", False))
        memory.update(told=known.get("told", False), run=known.get("run"))
        # What it has had of the agent protocol may come again behind it.
        memory.update(closed=final, seq=known["seq"], scope=known.get("scope"))
        about = {
            name: value for name, value in message.items() if name not in ("content", "tool_calls")
        }
        if reasoning:  # the part has it
            extra = message["additional_kwargs"]
            about["additional_kwargs"] = {k: v for k, v in extra.items() if k != REASONING}
            memory["reasons"] = True
        about["form"] = "text" if isinstance(message["content"], str) else "list"
        about["whole"] = "tool_calls" in message
        memory[WIRE] = about
        known.clear()
        known.update(memory)
        self._known.plain.pop(message_id, None)
        status = "closed" if final else "open"
        events: list[Event] = [
            MessageUpdated(
                session_id=self._session,
                message_id=message_id,
                info={WIRE: dict(about)},
                whole=True,
                role=role,
                order=known["order"],
            )
        ]
        if final:
            events.append(MessageReset(session_id=self._session, message_id=message_id))
        if memory["reasons"]:
            events.append(
                BlockReplaced(
                    **self._known.at(message_id, REASONING),
                    kind="reasoning",
                    text=reasoning,
                    order=-1,
                    whole=True,
                    status=status,
                    fields={WIRE: {"in": "additional_kwargs"}},
                )
            )
        content = message["content"]
        for piece in [content] if isinstance(content, str) else content:
            if piece == "" and isinstance(content, str):
                continue
            if isinstance(piece, str):
                block, kind = content_block(known, {}), "text"
                fields: Members = {WIRE: {"in": "content"}}
                text: str | None = piece
                asked: str | None = None
            else:
                block, text, asked = new_block(known, piece)
                kind, fields = piece_kind(piece), {WIRE: block[WIRE]}
            at = self._known.at(message_id, block["key"])
            replaced = BlockReplaced(
                **at,
                kind=kind,
                text=text,
                order=block["order"],
                whole=True,
                status=status,
                fields=fields,
            )
            events.append(replaced)
            if asked is not None:
                events.append(BlockDelta(**at, field=INPUT, text=asked))
        for number, (call, args) in enumerate(zip(calls, inputs, strict=True)):
            fields = {"state": {"status": "pending"}, WIRE: {"in": "calls", "call": call}}
            events += self._call(message_id, number, call, fields, args)
        for number, call in enumerate(broken, len(calls)):
            # The wire keeps it among what it says of the message; it is never run.
            failed: Members = {"status": "error", "error": call.get("error")}
            fields = {"state": failed if final else {"status": "pending"}, WIRE: {"in": "info"}}
            args = call.get("args")
            events += self._call(
                message_id, number, call, fields, args if type(args) is str else None
            )
        if call_id is not None:
            error = message.get("status") == "error"
            state: Members = {"status": "error" if error else "completed"}
            state["error" if error else "output"] = message["content"]
            events.append(
                ToolResult(session_id=self._session, call_id=call_id, fields={"state": state})
            )
        if final:
            events.append(MessageClosed(session_id=self._session, message_id=message_id))
        return events

    def _call(
        self, message_id: str, number: int, call: Members, fields: Members, args: str | None
    ) -> list[Event]:
        """A call of a tool in a whole message."""
        if is_id(call.get("name")):
            fields["tool"] = call["name"]
        if is_id(call.get("id")):
            fields["callId"] = call["id"]
        at = self._known.at(message_id, f"tool/{number}")
        order = _BEHIND + number
        # Not whole: its result may be there already.
        updated = BlockUpdated(**at, kind="tool", order=order, fields=fields)
        return [updated, *set_input(at, args), BlockClosed(**at)]


def _check(message: Members) -> tuple[str | None, list[Members], Members]:
    """A message's id, its chunks of tools and its further members; all may fail here alone."""
    given = None if message.get("id") == "" else maybe_id(message, "id")
    tools: list[Members] = []
    if message.get("tool_call_chunks") is not None:
        tools = objects(message, "tool_call_chunks")
        for number, tool in enumerate(tools):
            for name in ("name", "args", "id"):
                if tool.get(name) is not None:
                    a_string(tool, name, f"tool_call_chunks.{number}")
    for name in ("response_metadata", "usage_metadata"):
        maybe_object(message, name)
    extra = maybe_object(message, "additional_kwargs") or {}
    return given, tools, {name: value for name, value in extra.items() if name != "tool_calls"}


def _calls(message: Members) -> tuple[list[Members], list[str | None]]:
    """A whole message's calls of tools and what each was asked, all of it JSON."""
    if message["type"].endswith("Chunk"):
        only_json(message, "")  # all of it is kept here
    calls = message.get("tool_calls")
    calls = calls if isinstance(calls, list) and are_objects(calls) else []
    return calls, [dumped(call.get("args"), "tool_calls") for call in calls]


def _beside(extra: Members, content: Json) -> str | None:
    """The reasoning beside a content; None, as in the package, where a block of that says it: a
    model that is asked for standard blocks leaves it in both."""
    for piece in content if isinstance(content, list) else ():
        if isinstance(piece, dict) and piece.get("type") == "reasoning":
            return None
    reasoning = extra.get(REASONING)
    return reasoning if type(reasoning) is str else None


def _moved(event: Event, message_id: str) -> Event:
    """An event of a message whose id was not known yet."""
    change: dict[str, Any] = {"message_id": message_id}
    return attrs.evolve(event, **change)
