"""vellum-assistant's two wires, to events and back: stamped blocks, and the envelopes after them.

`vellum`, blocks on the wire (`message_open`, `block_open`, ...):

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

`vellum-v2`, which replaced it (`{"id", "conversationId", "seq", "emittedAt", "message"}`):

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
  it stands. A start above the last seq that begins lower is a new daemon, and proved as above.

Sources: the event schemas of vellum-assistant at its pull request 32466, which was not merged, and
at its main branch in August 2026.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from ..errors import MalformedEvent, RepeatedEvent, UnknownEvent
from ..events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    RequestAsked,
    SessionError,
    SessionStatus,
    Snapshot,
    ToolResult,
    TurnCompleted,
)
from ..keys import PartKey, is_id
from ..model import Json, Message, Part, thaw
from .base import Context, Declaration, DeltaShape, PlainDelta, Reads, counts_anew
from .bounded import remember
from .members import (
    Members,
    a_number,
    a_string,
    an_event,
    an_id,
    an_object,
    are_objects,
    describe,
    maybe_id,
    objects,
    wrong,
)

#: How many open messages, and inputs of running tools, are remembered per conversation.
_REMEMBERED = 256

_KINDS: Mapping[str, str] = {"text": "text", "tool_use": "tool", "thinking": "reasoning"}
_TYPES = {kind: name for name, kind in _KINDS.items()}
_COORDINATES = frozenset(("type", "conversationId", "messageId", "blockIndex", "seq"))
_STATE_NAMES = frozenset(("status", "input", "output", "error", "title", "wire"))


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
        first_seq=1,
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
            return (_read_conversation(wire),)
        kind = a_string(wire, "type")
        handle = _HANDLERS.get(kind)
        if handle is None:
            raise UnknownEvent(kind)
        seq = a_number(wire, "seq") if wire.get("seq") is not None else None
        return handle(self, wire, maybe_id(wire, "conversationId"), seq)

    def encode(self, reads: Reads) -> Json:
        """Every conversation as the class says; linear in what is stored."""
        return [
            {
                "conversationId": session_id,
                "messages": [
                    _wire_message(message, reads.parts(session_id, message.id))
                    for message in reads.messages(session_id)
                ],
            }
            for session_id in reads.session_ids()
        ]

    # -- messages ------------------------------------------------------------------------------

    def _message_open(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        message_id, role = an_id(wire, "messageId"), an_id(wire, "role")
        made = time_of_id(message_id)
        memory = self._memory(session)
        seen = memory.setdefault("open", {})
        if message_id not in seen:  # one that was closed stays so when its open is sent again
            remember(seen, message_id, True, _REMEMBERED)
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
        remember(self._memory(session).setdefault("open", {}), message_id, False, _REMEMBERED)
        return (MessageClosed(session_id=session, message_id=message_id, seq=seq),)

    def _memory(self, session: str | None) -> dict[str, Any]:
        """What is remembered of a conversation: `open`, `latest`, `inputs`, `ended`, `own`.

        Of a conversation that the stream does not take in, nothing is.
        """
        if self._context.bound and session not in (None, self._context.session_id):
            return {}
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
                    self._memory(session).setdefault("open", {}), message_id, False, _REMEMBERED
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
            fields = {**_tool(wire), "state": {"status": "pending"}}
        return (
            BlockOpened(
                session_id=session,
                message_id=an_id(wire, "messageId"),
                block_index=a_number(wire, "blockIndex"),
                kind=_KINDS.get(kind, kind),
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
        fields = {**_tool(wire), **fields}
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
        ended = _call_started(self._memory(session), _call_key(wire), given)
        if ended is not None:
            events = (*events, *self._tool_event(wire, session, None, {"state": ended}))
        return events

    def _tool_input_delta(
        self, wire: Members, session: str | None, seq: int | None
    ) -> Sequence[Event]:
        return self._tool_event(wire, session, seq, {"input": a_string(wire, "content")})

    def _tool_result(self, wire: Members, session: str | None, seq: int | None) -> Sequence[Event]:
        memory, key = self._memory(session), _call_key(wire)
        state = _ended_state(wire, memory.get("inputs", {}).get(key), "")
        events = self._tool_event(wire, session, seq, {"state": state})
        _call_ended(memory, key, state)
        return events


_RESULT_NAMES = frozenset(("toolName", "toolUseId", "result", "isError"))

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


def time_of_id(message_id: str) -> int | None:
    """When a UUIDv7 was made, in ms since the epoch; None for any other id.

    >>> time_of_id("019e6f3c-8000-7abc-8def-0123456789ab")
    1779982696448
    """
    head = message_id[:8] + message_id[9:13]
    if len(message_id) != 36 or message_id[14] != "7" or not head.isalnum() or not head.isascii():
        return None
    try:
        return int(head, 16)
    except ValueError:
        return None


def _ended_state(wire: Members, given: Any, at: str) -> Members:
    """The tool state of a result; `given` is the input that came with its start."""
    result, failed = a_string(wire, "result", at), wire.get("isError")
    if failed is not None and type(failed) is not bool:
        raise wrong(wire, "isError", at, "true or false")
    state: Members = {"status": "error" if failed else "completed"}
    state["error" if failed else "output"] = result
    if given is not None:
        state["input"] = given
    strange: Members = {}
    for name, value in wire.items():
        if name not in _COORDINATES and name not in _RESULT_NAMES:
            (strange if name in _STATE_NAMES else state)[name] = value
    if strange:
        state["wire"] = strange
    return state


def _call_started(memory: dict[str, Any], key: str, given: Members) -> Members | None:
    """Remember the input of a call. The state of one that ended before, which has it now: a state
    that runs says nothing beside that of the end."""
    ended: Members | None = memory.get("ended", {}).pop(key, None)
    if ended is not None:
        return {**ended, "input": given}
    remember(memory.setdefault("inputs", {}), key, given, _REMEMBERED)
    return None


def _call_ended(memory: dict[str, Any], key: str, state: Members) -> None:
    """Forget the input of a call; remember the state that it ended with where that lacks it."""
    memory.get("inputs", {}).pop(key, None)
    if "input" not in state:
        remember(memory.setdefault("ended", {}), key, state, _REMEMBERED)


def _tool(wire: Members, at: str = "") -> Members:
    found: Members = {}
    for ours, theirs in (("tool", "toolName"), ("callId", "toolUseId")):
        value = maybe_id(wire, theirs, at)
        if value is not None:
            found[ours] = value
    return found


def _call_key(wire: Members) -> str:
    call_id = maybe_id(wire, "toolUseId")
    return call_id if call_id is not None else f"{wire.get('messageId')}/{wire.get('blockIndex')}"


# --- envelopes ------------------------------------------------------------------------------------

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
    """vellum-assistant's envelopes in, its conversations in and out as `VellumAdapter` has them."""

    declaration: ClassVar[Declaration] = Declaration(
        name="vellum-v2",
        sequencing="sparse",
        first_seq=1,
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
            read = _read_conversation(wire)
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
        return VellumAdapter().encode(reads)

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
        if self._context.bound and session not in (None, self._context.session_id):
            return {}
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
        fields = {**_tool(body, "message"), **fields}
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
                remember(calls, call_id, [message_id, index], _REMEMBERED)
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
            ended = _call_started(self._memory(session), body["toolUseId"], given)
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
        state = _ended_state(body, given, "message")
        # What was streamed of the output is all in the result.
        events = self._tool(body, session, seq, {"state": state, "output": ""}, False)
        _call_ended(self._memory(session), call_id, state)
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


# --- a fetched conversation, and back to the wire -------------------------------------------------


def _read_conversation(wire: Members) -> Snapshot:
    messages: list[Json] = []
    for number, entry in enumerate(objects(wire, "messages")):
        at = f"messages.{number}"
        message_id = an_id(entry, "messageId", at)
        info = {
            name: value
            for name, value in entry.items()
            if name not in ("messageId", "role", "isComplete", "status", "blocks")
        }
        message: Members = {
            "id": message_id,
            "role": an_id(entry, "role", at),
            "status": _status_of(entry, at),
            "info": info,
            "parts": [
                _read_block(block, f"{at}.blocks.{place}")
                for place, block in enumerate(objects(entry, "blocks", at))
            ],
        }
        made = time_of_id(message_id)
        if made is not None:
            message["order"] = made
        messages.append(message)
    complete = wire.get("complete", False)
    if type(complete) is not bool:
        raise wrong(wire, "complete", "", "true or false")
    return Snapshot(
        session_id=an_id(wire, "conversationId"),
        seq=a_number(wire, "seq") if wire.get("seq") is not None else None,
        messages=messages,
        complete=complete,
        before=maybe_id(wire, "before"),
        read_from=maybe_id(wire, "readFrom"),
    )


def _flag(members: Members, name: str, at: str) -> bool:
    value = members.get(name, False)
    if type(value) is not bool:
        raise MalformedEvent(f"{at}.{name}", f"must be true or false, not {describe(value)}")
    return value


def _status_of(entry: Members, at: str) -> str:
    if not _flag(entry, "isComplete", at):
        return "open"
    status = entry.get("status", "completed")
    if status not in ("completed", "aborted", "error"):
        raise wrong(entry, "status", at, "one of completed, aborted, error")
    return str(status)


def _read_block(block: Members, at: str) -> Members:
    kind = an_id(block, "type", at)
    part: Members = {
        "blockIndex": a_number(block, "blockIndex", at),
        "kind": _KINDS.get(kind, kind),
        "status": "closed" if _flag(block, "isComplete", at) else "open",
    }
    if block.get("text") is not None:
        part["text"] = a_string(block, "text", at)
    if kind == "tool_use":
        for ours, theirs in (("tool", "toolName"), ("callId", "toolUseId")):
            value = maybe_id(block, theirs, at)
            if value is not None:
                part[ours] = value
        if block.get("toolInputJson") is not None:
            part["input"] = a_string(block, "toolInputJson", at)
        part["state"] = _read_state(block, at)
        if "toolInput" in block:
            part["toolInput"] = block["toolInput"]
    return part


def _read_state(block: Members, at: str) -> Members:
    state: Members = {"status": "pending"}
    if "toolInput" in block:
        state = {"status": "running", "input": block["toolInput"]}
    if block.get("toolResult") is not None:
        failed = _flag(block, "isError", at)
        state["status"] = "error" if failed else "completed"
        state["error" if failed else "output"] = a_string(block, "toolResult", at)
    extra = block.get("toolDetails")
    return {**extra, **state} if isinstance(extra, dict) else state


def _wire_message(message: Message, parts: Sequence[Part]) -> Members:
    wire: Members = {"messageId": message.id, "role": message.role or "assistant"}
    wire.update(thaw(message.info))
    wire["isComplete"] = message.status != "open"
    if message.status in ("aborted", "error"):
        wire["status"] = message.status
    wire["blocks"] = [_wire_block(part) for part in parts]
    return wire


def _wire_block(part: Part) -> Members:
    fields = thaw(part.fields)
    kind = fields.get("originalKind", part.kind)
    wire: Members = {
        "blockIndex": part.block_index,
        "type": _TYPES.get(kind, kind),
        "isComplete": part.status != "open",
    }
    if part.kind in ("text", "reasoning") or len(part.view):
        wire["text"] = part.view.raw()
    if part.kind != "tool":
        return wire
    names = (
        ("toolName", "tool"),
        ("toolUseId", "callId"),
        ("toolInputJson", "input"),
        ("toolInput", "toolInput"),
    )
    wire.update((theirs, fields[ours]) for theirs, ours in names if ours in fields)
    state = fields.get("state")
    state = state if isinstance(state, dict) else {}  # another protocol's may be anything
    status = state.get("status")
    if status in ("completed", "error"):
        wire["toolResult"] = state.get("error" if status == "error" else "output")
        wire["isError"] = status == "error"
    details = {
        name: value
        for name, value in state.items()
        if name not in ("status", "input", "output", "error")
    }
    if details:
        wire["toolDetails"] = details
    return wire
