"""vellum-assistant's stamped blocks (`message_open`, `block_open`, ...), to events and back.

- Identity: conversation, message (a UUIDv7) and block index on every stamped event; parts stand by
  index, messages by the time in their id. Canned texts carry none of the three: a message of the
  store's own takes them in, one per conversation, until the turn ends, also over a reconnect.
- Seq: one counter per conversation, from 1, contiguous over the eight stamped types and sparse for
  a block (`session`). `message_complete`, `generation_handoff` and `generation_cancelled` have
  none. The server logs after it publishes: a crash in between gives a seq to a second event, and
  the first one seen holds. A pruned log starts its counter again without saying so: fetch the
  conversation with `readFrom`, and the lower seq of the answer proves it.
- Resume: `Last-Event-Id` is a seq, honoured on a stream of one conversation alone. What was pruned
  (7 days) is left out silently; here it is a gap and a resync.
- `tool_input_delta.content` is all of the input so far and replaces what came before: it is the
  field `input` of the part, as text. `tool_use_start` brings the input as an object.
- A message is closed when its model call is complete, before its tools run. What comes after a
  close counts as before it.
- `generation_cancelled` names no message: those still open end as aborted.

The envelopes that replaced them are `vellum-v2`, in `envelopes`.

Sources: the event schemas of vellum-assistant at its pull request 32466, which was not merged.

Events and what they need of earlier ones are here; calls are in `calls`, reads in `reads`, and the
way back to the wire in `items`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from ...errors import UnknownEvent
from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageUpdated,
    ToolResult,
    TurnCompleted,
)
from ...keys import is_id
from ...model import Json
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads
from ..bounded import remember
from ..members import (
    Members,
    a_number,
    a_string,
    an_event,
    an_id,
    an_object,
    are_objects,
    maybe_id,
    objects,
    wrong,
)
from .calls import REMEMBERED, call_ended, call_started, ended_state, named
from .ids import time_of_id
from .items import wire_conversations
from .reads import KINDS, read_conversation


class VellumAdapter:
    """vellum-assistant's stamped events in, its conversations in and out.

    - one event: `{"type", "conversationId"?, "messageId"?, "blockIndex"?, "seq"?, ...}`
    - `{"conversationId", "messages": [...], "seq"?, "complete"?, "before"?, "readFrom"?}`: a
      fetched conversation, its messages as `encode` gives them:
      `{"messageId", "role", "isComplete", "blocks": [{"blockIndex", "type", "text"?, "toolName"?,
      "toolUseId"?, "toolInputJson"?, "toolInput"?, "toolResult"?, "isError"?, "isComplete"}]}`
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="vellum",
        sequencing="session",
        snapshots=True,
        resumes=True,
        identity="conversationId, messageId and blockIndex on every stamped event",
    )
    delta: ClassVar[DeltaShape | None] = DeltaShape(
        type="assistant_text_delta",
        session="conversationId",
        message="messageId",
        block="blockIndex",
        text="text",
        seq="seq",
    )

    def __init__(self, context: Context | None = None) -> None:
        self._context = Context() if context is None else context

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event whose type is this protocol's alone, or a fetched conversation."""
        if not isinstance(wire, dict):
            return False
        if "type" not in wire:
            messages = wire.get("messages")
            return (
                is_id(wire.get("conversationId"))
                and isinstance(messages, list)
                and are_objects(messages)
                and all(is_id(message.get("messageId")) for message in messages)
            )
        kind = wire.get("type")
        if kind in ("message_open", "message_close", "block_open", "block_close"):
            return is_id(wire.get("messageId"))
        if kind == "assistant_text_delta":
            return type(wire.get("text")) is str
        return kind in ("tool_use_start", "tool_input_delta") and is_id(wire.get("toolName"))

    def plain(self, wire: Any) -> PlainDelta | None:
        """Nothing: `delta` says where everything is."""
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; the first has its seq, those behind it ride along."""
        wire = an_event(wire)
        if "type" not in wire:
            return (read_conversation(wire),)
        kind = a_string(wire, "type")
        handle = _HANDLERS.get(kind)
        if handle is None:
            raise UnknownEvent(kind)
        seq = a_number(wire, "seq") if wire.get("seq") is not None else None
        return handle(self, wire, maybe_id(wire, "conversationId"), seq)

    def encode(self, reads: Reads) -> Json:
        """Every conversation as the class says; linear in what is stored."""
        return wire_conversations(reads)

    # -- messages ------------------------------------------------------------------------------

    def _message_open(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        message_id, role = an_id(wire, "messageId"), an_id(wire, "role")
        made = time_of_id(message_id)
        memory = self._memory(session)
        seen = memory.setdefault("open", {})
        if message_id not in seen:  # one that was closed stays so when its open is sent again
            remember(seen, message_id, True, REMEMBERED)
        if made is not None:
            memory["latest"] = max(made, memory.get("latest", 0))
        return (
            MessageOpened(
                session_id=session, message_id=message_id, role=role, order=made, seq=seq
            ),
        )

    def _message_close(
        self, wire: Members, session: str | None, seq: int | None
    ) -> Sequence[Event]:
        message_id = an_id(wire, "messageId")
        remember(self._memory(session).setdefault("open", {}), message_id, False, REMEMBERED)
        return (MessageClosed(session_id=session, message_id=message_id, seq=seq),)

    def _memory(self, session: str | None) -> dict[str, Any]:
        """What is remembered of a conversation: `open`, `latest`, `inputs`, `ended`, `own`."""
        return self._context.of_session(session)

    def _turn_ended(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        """`message_complete` and `generation_handoff`: both end a turn."""
        message_id = maybe_id(wire, "messageId")
        source = wire.get("source")
        if source not in (None, "main", "aux"):
            raise wrong(wire, "source", "", "main or aux")
        attachments = wire.get("attachments")
        if attachments is not None:
            objects(wire, "attachments")
        events: list[Event] = []
        if source != "aux":
            own = self._end_own(session, "completed")
            if own is not None:
                events.append(own)
                message_id = message_id or own.message_id
        if message_id is not None:
            if attachments:
                events.append(
                    MessageUpdated(
                        session_id=session, message_id=message_id, info={"attachments": attachments}
                    )
                )
            if not events or events[0].type != MessageClosed.type:
                events.append(MessageClosed(session_id=session, message_id=message_id))
                remember(
                    self._memory(session).setdefault("open", {}), message_id, False, REMEMBERED
                )
        if source != "aux":
            events.append(TurnCompleted(session_id=session))
        return events

    def _cancelled(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        seen = self._memory(session).get("open", {})
        ids = [message_id for message_id, is_open in seen.items() if is_open]
        seen.update(dict.fromkeys(ids, False))
        own = self._end_own(session, "aborted")
        events: list[Event] = [
            MessageClosed(session_id=session, message_id=message_id, status="aborted")
            for message_id in ids
        ]
        if own is not None:
            events.append(own)
        events.append(TurnCompleted(session_id=session))
        return events

    def _end_own(self, session: str | None, status: str) -> MessageClosed | None:
        """The message that takes in canned texts is over."""
        message_id = self._memory(session).pop("own", None)
        if message_id is None:
            return None
        return MessageClosed(session_id=session, message_id=message_id, status=status)

    # -- blocks --------------------------------------------------------------------------------

    def _block_open(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        kind = an_id(wire, "blockType")
        fields: Members = {}
        if kind == "tool_use":
            fields = {**named(wire), "state": {"status": "pending"}}
        return (
            BlockOpened(
                session_id=session,
                message_id=an_id(wire, "messageId"),
                block_index=a_number(wire, "blockIndex"),
                kind=KINDS.get(kind, kind),
                fields=fields,
                seq=seq,
            ),
        )

    def _block_close(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        return (
            BlockClosed(
                session_id=session,
                message_id=an_id(wire, "messageId"),
                block_index=a_number(wire, "blockIndex"),
                seq=seq,
            ),
        )

    def _text_delta(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        text = a_string(wire, "text")
        if wire.get("messageId") is None and wire.get("blockIndex") is None:
            return self._own_text(session, text)
        return (
            BlockDelta(
                session_id=session,
                message_id=an_id(wire, "messageId"),
                block_index=a_number(wire, "blockIndex"),
                text=text,
                seq=seq,
            ),
        )

    def _own_text(self, session: str | None, text: str) -> Sequence[Event]:
        memory = self._memory(session)
        message_id: str | None = memory.get("own")
        opened: tuple[Event, ...] = ()
        if message_id is None:
            message_id = memory["own"] = self._context.new_id()
            latest = memory.get("latest")
            if latest is not None:
                latest = memory["latest"] = latest + 1 / 1024  # behind what it followed
            opened = (
                MessageOpened(
                    session_id=session, message_id=message_id, role="assistant", order=latest
                ),
                BlockOpened(session_id=session, message_id=message_id, block_index=0, kind="text"),
            )
        delta = BlockDelta(session_id=session, message_id=message_id, block_index=0, text=text)
        return (*opened, delta)

    # -- tools ---------------------------------------------------------------------------------

    def _tool_event(
        self, wire: Members, session: str | None, seq: int | None, fields: Members
    ) -> Sequence[Event]:
        """An update of the block that is named, or of the call that is."""
        fields = {**named(wire), **fields}
        if wire.get("messageId") is None and wire.get("blockIndex") is None:
            call_id = an_id(wire, "toolUseId")
            return (ToolResult(session_id=session, call_id=call_id, fields=fields, seq=seq),)
        return (
            BlockUpdated(
                session_id=session,
                message_id=an_id(wire, "messageId"),
                block_index=a_number(wire, "blockIndex"),
                kind="tool",
                fields=fields,
                seq=seq,
            ),
        )

    def _tool_use_start(
        self, wire: Members, session: str | None, seq: int | None
    ) -> Sequence[Event]:
        given = an_object(wire, "input")
        state = {"status": "running", "input": given}
        events = self._tool_event(wire, session, seq, {"state": state, "toolInput": given})
        ended = call_started(self._memory(session), _call_key(wire), given)
        if ended is not None:
            events = (*events, *self._tool_event(wire, session, None, {"state": ended}))
        return events

    def _tool_input_delta(
        self, wire: Members, session: str | None, seq: int | None
    ) -> Sequence[Event]:
        return self._tool_event(wire, session, seq, {"input": a_string(wire, "content")})

    def _tool_result(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        memory, key = self._memory(session), _call_key(wire)
        state = ended_state(wire, memory.get("inputs", {}).get(key), "")
        events = self._tool_event(wire, session, seq, {"state": state})
        call_ended(memory, key, state)
        return events


_Handler: TypeAlias = Callable[[VellumAdapter, Members, str | None, int | None], Sequence[Event]]
_HANDLERS: Mapping[str, _Handler] = {
    "message_open": VellumAdapter._message_open,
    "message_close": VellumAdapter._message_close,
    "block_open": VellumAdapter._block_open,
    "block_close": VellumAdapter._block_close,
    "assistant_text_delta": VellumAdapter._text_delta,
    "tool_use_start": VellumAdapter._tool_use_start,
    "tool_input_delta": VellumAdapter._tool_input_delta,
    "tool_result": VellumAdapter._tool_result,
    "message_complete": VellumAdapter._turn_ended,
    "generation_handoff": VellumAdapter._turn_ended,
    "generation_cancelled": VellumAdapter._cancelled,
}


def _call_key(wire: Members) -> str:
    call_id = maybe_id(wire, "toolUseId")
    return call_id if call_id is not None else f"{wire.get('messageId')}/{wire.get('blockIndex')}"
