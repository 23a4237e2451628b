"""vellum-assistant's envelopes, to events and back.

One is `{"id", "conversationId", "seq", "emittedAt", "message"}`.

- Identity: conversation, message, and calls of tools. There is no block on the wire: a delta goes
  on with the last block of its message where that is of its kind, else it begins one. A block's
  index here is the seq that began it, so that what is sent again finds it again.
- Seq: one counter for all conversations of a daemon; what a client may not see is taken out after
  numbering. So a hole means nothing (`sparse`). What lies at or below the end of the last turn of
  a conversation was taken in: the blocks of a message are known until it is complete.
- Requests: `confirmation_request` asks for a permission and `question_request` asks a question,
  until `interaction_resolved`. An `error` or `conversation_error` is the session's, and ends the
  turn.
- Resume: `?lastSeenSeq=`, the highest seq received of any conversation; older than the server's
  ring (200 events, 30 s) it goes on live without a word: then fetch, `seq` of the page says where
  it stands. A start above the last seq that begins lower is a new daemon, proved as for `vellum`.

The stamped blocks before them are `vellum`, in `adapter`.

Sources: the event schemas of vellum-assistant at its main branch in August 2026.

Events and what they need of earlier ones are here; calls are in `calls`, reads in `reads`, and the
way back to the wire in `items`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from ...errors import RepeatedEvent, UnknownEvent
from ...events import (
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    RequestAsked,
    SessionError,
    SessionStatus,
    ToolResult,
    TurnCompleted,
)
from ...keys import PartKey
from ...model import Json
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads, counts_anew
from ..bounded import remember
from ..members import Members, a_number, a_string, an_event, an_id, an_object, maybe_id
from .calls import REMEMBERED, call_ended, call_started, ended_state, named
from .ids import time_of_id
from .items import wire_conversations
from .reads import read_conversation

#: How many open messages of a conversation have their blocks remembered, and how many of each.
_OPEN_MESSAGES, _OPEN_BLOCKS = 16, 2048
#: What a request asks for, by its event; kinds of a resolution that are of a permission.
_REQUESTS: Mapping[str, type[RequestAsked]] = {
    "confirmation_request": PermissionAsked,
    "question_request": QuestionAsked,
}
_PERMISSIONS = frozenset(("confirmation", "acp_confirmation"))
_TEXTS: Mapping[str, tuple[str, str]] = {
    "assistant_text_delta": ("text", "text"),
    "assistant_thinking_delta": ("reasoning", "thinking"),
}


class VellumV2Adapter:
    """vellum-assistant's envelopes in, its conversations in and out as `vellum` has them."""

    declaration: ClassVar[Declaration] = Declaration(
        name="vellum-v2",
        sequencing="sparse",
        snapshots=True,
        resumes=True,
        identity="conversationId, messageId and toolUseId; blocks follow from the order of deltas",
    )
    delta: ClassVar[DeltaShape | None] = None

    def __init__(self, context: Context | None = None) -> None:
        self._context = Context() if context is None else context
        self._key = PartKey("", "", "")  # of the last plain delta

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An envelope: no other protocol wraps a typed `message` and says when it was emitted."""
        if not isinstance(wire, dict) or "type" in wire or "emittedAt" not in wire:
            return False
        message = wire.get("message")
        return isinstance(message, dict) and type(message.get("type")) is str

    def plain(self, wire: Any) -> PlainDelta | None:
        """A delta that goes on with the last block of its message, or a known call's output."""
        message = wire["message"]
        if message["type"] == "tool_output_chunk":
            return self._plain_output(wire, message)
        kind, member = _TEXTS[message["type"]]
        text, message_id, session = message[member], message["messageId"], wire["conversationId"]
        seq = wire["seq"]
        memory = self._context.shared[session]
        start, last_kind, index = memory["blocks"][message_id][-1]
        if (
            memory["tail"] != message_id
            or last_kind != kind
            or type(seq) is not int
            or seq < start
            or type(text) is not str
        ):
            return None
        key = self._key
        if key.block_index != index or key.message_id != message_id or key.session_id != session:
            key = self._key = PartKey(session, message_id, index)
        return (key, text, seq)

    def _plain_output(self, wire: Any, message: Any) -> PlainDelta | None:
        """The same of a piece of the output of a call that was announced."""
        text, session, seq = message["chunk"], wire["conversationId"], wire["seq"]
        message_id, index = self._context.shared[session]["calls"][message["toolUseId"]]
        if type(seq) is not int or seq < 0 or type(text) is not str:
            return None
        return ((session, message_id, index, "output"), text, seq)

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one envelope or fetched conversation; what rides along has no seq."""
        wire = an_event(wire)
        if "message" not in wire:
            read = read_conversation(wire)
            if counts_anew(read):
                self._memory(read.session_id).clear()
            return (read,)
        body = an_object(wire, "message")
        kind = a_string(body, "type", "message")
        handle = _V2_HANDLERS.get(kind)
        if handle is None:
            raise UnknownEvent(kind)
        session = maybe_id(wire, "conversationId") or maybe_id(body, "conversationId", "message")
        seq = a_number(wire, "seq") if wire.get("seq") is not None else None
        return handle(self, body, session, seq)

    def encode(self, reads: Reads) -> Json:
        """Every conversation as the class says; linear in what is stored."""
        return wire_conversations(reads)

    def restarted(self, session_id: str) -> None:
        """Forget what was remembered by the numbers of a counter that is over."""
        self._context.shared.pop(session_id, None)

    def _memory(self, session: str | None) -> dict[str, Any]:
        """What is remembered of a conversation, to be changed once an event is known to be good.

        `blocks`: by open message, `[first seq, kind, index]` of each; `calls`: message and block
        of a tool call; `inputs` of those that run; `ended`: states of those that ended before
        they began; `tail`: the message that streams; `since`: seq of its start; `done`: seq of the
        last turn's end.
        """
        return self._context.of_session(session)

    def _known(self, session: str | None) -> dict[str, Any]:
        """The same, to look at."""
        return self._context.shared.get(session or self._context.session_id, {})

    # -- messages ------------------------------------------------------------------------------

    def _turn_start(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        message_id = an_id(body, "messageId", "message")
        memory = self._memory(session)
        if seq is None or seq > memory.get("done", -1):
            memory["tail"] = message_id
            memory["since"] = max(memory.get("since", 0), seq or 0)
        return (
            MessageOpened(
                session_id=session,
                message_id=message_id,
                role="assistant",
                order=time_of_id(message_id),
                seq=seq,
            ),
            SessionStatus(session_id=session, status="busy"),
        )

    def _echo(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        text = a_string(body, "text", "message")
        client_id = maybe_id(body, "clientMessageId", "message")
        message_id = maybe_id(body, "messageId", "message")
        if message_id is None:
            # No row of its own on the server: the seq names it, so that it is known again.
            message_id = f"echo-{seq}" if seq is not None else self._context.new_id()
        return (
            MessageOpened(
                session_id=session,
                message_id=message_id,
                role="user",
                order=time_of_id(message_id),
                client_id=client_id,
                seq=seq,
            ),
            BlockReplaced(
                session_id=session,
                message_id=message_id,
                block_index=0,
                kind="text",
                text=text,
                status="closed",
            ),
            MessageClosed(session_id=session, message_id=message_id),
        )

    def _activity(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        phase = an_id(body, "phase", "message")
        status = "idle" if phase == "idle" else "busy"
        return (SessionStatus(session_id=session, status=status, extra={"phase": phase}, seq=seq),)

    def _ended(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        """`message_complete`, `generation_handoff` and `generation_cancelled`: a turn is over."""
        cancelled = body["type"] == "generation_cancelled"
        message_id = maybe_id(body, "messageId", "message")
        if body.get("source") == "aux":
            if message_id is None:
                return ()
            return (MessageClosed(session_id=session, message_id=message_id, seq=seq),)
        if seq is not None and seq <= self._known(session).get("done", -1):
            raise RepeatedEvent("the turn ended before")
        memory = self._memory(session)
        if seq is not None:
            memory["done"] = seq
        ids = [message_id] if message_id is not None else []
        tail = memory.pop("tail", None)
        if tail is not None and tail not in ids:
            ids.append(tail)
        blocks = memory.get("blocks", {})
        if cancelled:
            ids += [other for other in blocks if other not in ids]
        for other in ids:
            blocks.pop(other, None)
        events: list[Event] = [
            MessageClosed(
                session_id=session,
                message_id=other,
                status="aborted" if cancelled else "completed",
                seq=seq if place == 0 else None,
            )
            for place, other in enumerate(ids)
        ]
        busy = body["type"] == "generation_handoff"  # the next turn follows with no idle between
        status = "busy" if busy else "idle"
        events.append(SessionStatus(session_id=session, status=status, seq=None if events else seq))
        if busy:
            events.append(TurnCompleted(session_id=session))
        return events

    def _failed(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        """`conversation_error` and `error`: recorded, and the end of the turn but for an error of
        one message. What streamed stays, and a completion that follows all the same counts."""
        said = "userMessage" if body["type"] == "conversation_error" else "message"
        name = maybe_id(body, "code", "message") or maybe_id(body, "errorCategory", "message")
        data = {member: value for member, value in body.items() if member != "type"}
        error = {
            "name": name or "error", "message": a_string(body, said, "message"), "data": data,
        }  # fmt: skip
        recorded = SessionError(session_id=session, error=error, seq=seq)
        known = self._known(session)
        tail = known.get("tail")
        starts = known.get("blocks", {}).get(tail) or [[0]]
        newer = max(known.get("done", -1), known.get("since", 0), starts[0][0])
        if body.get("scope") == "message" or (seq is not None and seq < newer):
            return (recorded,)  # of one message, or of an earlier turn
        idle = SessionStatus(session_id=session, status="idle")
        if tail is None:
            return (recorded, idle)
        closed = MessageClosed(session_id=session, message_id=tail, status="error", error=error)
        return (recorded, closed, idle)

    def _asked(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        request = _REQUESTS[body["type"]]
        payload = {name: value for name, value in body.items() if name != "type"}
        return (
            request(
                session_id=session,
                request_id=an_id(body, "requestId", "message"),
                call_id=maybe_id(body, "toolUseId", "message"),
                payload=payload,
                seq=seq,
            ),
        )

    def _resolved(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        kind, state = an_id(body, "kind", "message"), an_id(body, "state", "message")
        request_id, payload = an_id(body, "requestId", "message"), {"state": state}
        if kind in _PERMISSIONS:
            return (
                PermissionReplied(
                    session_id=session, request_id=request_id, payload=payload, seq=seq
                ),
            )
        if kind != "question":
            return ()
        answer = QuestionReplied if state == "answered" else QuestionRejected
        return (answer(session_id=session, request_id=request_id, payload=payload, seq=seq),)

    # -- blocks --------------------------------------------------------------------------------

    def _message_of(self, body: Members, session: str | None) -> str:
        """The message of an event; an older daemon names none and means the one that streams."""
        message_id = maybe_id(body, "messageId", "message")
        tail: str | None = self._known(session).get("tail")
        return message_id or tail or self._context.new_id()

    def _place(
        self, session: str | None, message_id: str, kind: str, seq: int | None
    ) -> tuple[int, bool]:
        """Index of the block that an event of this kind and seq belongs to; whether it is new."""
        known = self._known(session)
        starts: list[list[Any]] = known.get("blocks", {}).get(message_id, [])
        if not starts and seq is not None and seq <= known.get("done", -1):
            raise RepeatedEvent("its message was completed")
        memory = self._memory(session)
        memory["tail"] = message_id
        if seq is None:
            at, first = len(starts), starts[-1][0] + 1 if starts else 0
        else:
            at, first = bisect_right(starts, seq, key=lambda entry: entry[0]), seq
        before: list[Any] = starts[at - 1] if at else [-1, "", -1]
        if before[1] == kind and (kind != "tool" or before[0] == seq):
            return int(before[2]), False
        if kind != "tool" and at < len(starts) and starts[at][1] == kind:
            return int(starts[at][2]), False  # late: the block began without it
        blocks = memory.setdefault("blocks", {})
        blocks[message_id] = starts = blocks.pop(message_id, [])
        starts.insert(at, [first, kind, first])
        del starts[:-_OPEN_BLOCKS]
        while len(blocks) > _OPEN_MESSAGES:
            del blocks[next(iter(blocks))]
        return first, True

    def _text(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        kind, member = _TEXTS[body["type"]]
        text = a_string(body, member, "message")
        message_id = self._message_of(body, session)
        index, new = self._place(session, message_id, kind, seq)
        delta = BlockDelta(
            session_id=session, message_id=message_id, block_index=index, text=text, seq=seq
        )
        if not new:
            return (delta,)
        opened = BlockOpened(
            session_id=session, message_id=message_id, block_index=index, kind=kind
        )
        return (delta, opened, *self._begun(session, message_id, seq))

    def _begun(
        self, session: str | None, message_id: str, seq: int | None
    ) -> tuple[MessageOpened, ...]:
        """The opening of a message with its first block: a stream that begins in the middle of a
        turn has missed its start, and older daemons send none."""
        if len(self._known(session).get("blocks", {}).get(message_id, ())) != 1:
            return ()
        made = time_of_id(message_id)
        return (
            MessageOpened(
                session_id=session, message_id=message_id, role="assistant", order=made, seq=seq
            ),
        )

    def _tool(
        self, body: Members, session: str | None, seq: int | None, fields: Members, begins: bool
    ) -> Sequence[Event]:
        fields = {**named(body, "message"), **fields}
        call_id = maybe_id(body, "toolUseId", "message")
        begun: tuple[MessageOpened, ...] = ()
        calls = self._known(session).get("calls", {})
        if call_id in calls:
            message_id, index = calls[call_id]
        elif begins:
            message_id = self._message_of(body, session)
            index, new = self._place(session, message_id, "tool", seq)
            if new:
                begun = self._begun(session, message_id, seq)
            if call_id is not None:
                calls = self._memory(session).setdefault("calls", {})
                remember(calls, call_id, [message_id, index], REMEMBERED)
        else:
            call_id = an_id(body, "toolUseId", "message")
            return (ToolResult(session_id=session, call_id=call_id, fields=fields, seq=seq),)
        return (
            BlockUpdated(
                session_id=session,
                message_id=message_id,
                block_index=index,
                kind="tool",
                fields=fields,
                seq=seq,
            ),
            *begun,
        )

    def _preview(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        an_id(body, "toolUseId", "message")
        return self._tool(body, session, seq, {"state": {"status": "pending"}}, True)

    def _tool_start(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        given = an_object(body, "input", "message")
        state = {"status": "running", "input": given}
        events = self._tool(body, session, seq, {"state": state, "toolInput": given}, True)
        if body.get("toolUseId") is not None:
            ended = call_started(self._memory(session), body["toolUseId"], given)
            if ended is not None:
                events = (*events, *self._tool(body, session, None, {"state": ended}, True))
        return events

    def _tool_input(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        fields = {"input": a_string(body, "content", "message")}
        return self._tool(body, session, seq, fields, False)

    def _tool_output(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        chunk = a_string(body, "chunk", "message")
        call_id = maybe_id(body, "toolUseId", "message")
        at = self._known(session).get("calls", {}).get(call_id)
        if at is None:
            return ()  # live output of a call that nobody announced: its result says all
        return (
            BlockDelta(
                session_id=session,
                message_id=at[0],
                block_index=at[1],
                field="output",
                text=chunk,
                seq=seq,
            ),
        )

    def _tool_end(self, body: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        call_id = an_id(body, "toolUseId", "message")
        given = self._known(session).get("inputs", {}).get(call_id)
        state = ended_state(body, given, "message")
        # What was streamed of the output is all in the result.
        events = self._tool(body, session, seq, {"state": state, "output": ""}, False)
        call_ended(self._memory(session), call_id, state)
        return events


_V2Handler: TypeAlias = Callable[
    [VellumV2Adapter, Members, str | None, int | None], Sequence[Event]
]
_V2_HANDLERS: Mapping[str, _V2Handler] = {
    "assistant_turn_start": VellumV2Adapter._turn_start,
    "user_message_echo": VellumV2Adapter._echo,
    "assistant_activity_state": VellumV2Adapter._activity,
    "message_complete": VellumV2Adapter._ended,
    "generation_handoff": VellumV2Adapter._ended,
    "generation_cancelled": VellumV2Adapter._ended,
    "conversation_error": VellumV2Adapter._failed,
    "error": VellumV2Adapter._failed,
    "confirmation_request": VellumV2Adapter._asked,
    "question_request": VellumV2Adapter._asked,
    "interaction_resolved": VellumV2Adapter._resolved,
    "assistant_text_delta": VellumV2Adapter._text,
    "assistant_thinking_delta": VellumV2Adapter._text,
    "tool_use_preview_start": VellumV2Adapter._preview,
    "tool_use_start": VellumV2Adapter._tool_start,
    "tool_input_delta": VellumV2Adapter._tool_input,
    "tool_output_chunk": VellumV2Adapter._tool_output,
    "tool_result": VellumV2Adapter._tool_end,
}
