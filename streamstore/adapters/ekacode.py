"""ekacode's event bus (message and part events with `eventId` and `sequence`), to events and back.

- Identity: session, message and part ids; ids are UUIDv7, so that parts sort by them. A part that
  comes without an id is known by its call, its reasoning or, one of each, its type.
- Parts come whole each time; `delta`, where it stands beside a text, is in it already.
- Seq: `sequence` counts a session's events from 1 (`session`), 0 means none: such events are known
  again by `eventId`, but for those of a catch-up, whose id is the message's for every state of it.
  A type that is not known here takes its number all the same, so that it is no hole.
- Generation: the counter lies in the server's memory. A number that was had before, on an event
  that was made after the latest one, proves that the server started again; a clock that is set
  back hides it. What is sent again is older, and no proof; what is of an earlier run than the one
  that was proved is taken for a repetition.
- Resume: `sequence` after which the server sends what it has, at most 1,000 events at a time: what
  was cut off is a hole, and asks for a resync.

Sources: the event types and the server's bus of ekacode, February 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from ..errors import RepeatedEvent, UnknownEvent
from ..events import (
    BlockDelta,
    BlockRemoved,
    BlockReplaced,
    Event,
    MessageClosed,
    MessageRemoved,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    RequestAnswered,
    RequestAsked,
    SessionStatus,
    SessionUpdated,
    StreamOpened,
    TodoUpdated,
)
from ..keys import is_id, is_number, is_order
from ..model import PART_KINDS, Json, Message, Part, thaw
from .base import Context, Declaration, DeltaShape, PlainDelta, Reads
from .members import (
    Members,
    a_number,
    a_string,
    an_event,
    an_id,
    an_object,
    maybe_id,
    maybe_number,
    maybe_object,
    objects,
    wrong,
)

_SILENT = frozenset(("server.connected", "server.heartbeat", "server.instance.disposed"))
_STREAMED = frozenset(("text", "reasoning"))
_WORKING = frozenset(("pending", "running"))

#: What an event of the body's kind says: its events carry `common`, the first one the seq.
_Handler: TypeAlias = Callable[[Members, dict[str, Any]], Sequence[Event]]

# Names that mean something else in a canonical event: a wire member of that name stays under
# `wire`.
_PART_NAMES = frozenset(
    "sessionId messageId blockIndex seq generation kind order status whole gap previous field "
    "callId wire originalKind".split()
)
_ADDRESS = frozenset(("id", "sessionID", "messageID", "type"))


class EkacodeAdapter:
    """ekacode's events in, `{sessionID: [{"info", "parts"}]}` out.

    One event: `{"type", "properties", "eventId", "sequence", "timestamp", "sessionID"?}`.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="ekacode",
        sequencing="session",
        ids_unique=True,
        resumes=True,
        identity="session, message and part ids (UUIDv7)",
    )
    delta: ClassVar[DeltaShape | None] = None

    def __init__(self, context: Context | None = None) -> None:
        self._context = Context() if context is None else context

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event with both an `eventId` and a `sequence`: opencode's have neither."""
        return (
            isinstance(wire, dict)
            and type(wire.get("type")) is str
            and "." in wire["type"]
            and isinstance(wire.get("properties"), dict)
            and is_id(wire.get("eventId"))
            and is_number(wire.get("sequence"))
        )

    def plain(self, wire: Any) -> PlainDelta | None:
        """Nothing: parts come whole."""
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; the first has its sequence, the others ride along."""
        wire = an_event(wire)
        kind = an_id(wire, "type")
        if kind in _SILENT:
            return ()
        body = an_object(wire, "properties")
        # Servers before the integrity fields send neither.
        seq = a_number(wire, "sequence") if wire.get("sequence") is not None else 0
        time = maybe_number(wire, "timestamp")
        session = _session_of(wire, body)
        common: dict[str, Any] = {
            "session_id": session,
            "seq": seq or None,
            "id": _event_id(wire, body),
            "time": time,
        }
        handle = _HANDLERS.get(kind)
        if handle is not None:
            events = handle(body, common)
        elif seq and session is not None:
            events = (SessionUpdated(**common),)
        else:
            raise UnknownEvent(kind)
        started = self._started_again(session, seq, time, common["id"])
        return events if started is None else (started, *events)

    def _started_again(
        self, session: str | None, seq: int, time: int | None, event_id: str | None
    ) -> StreamOpened | None:
        """The opening of another generation, where an event proves that there is one."""
        if not seq or time is None:
            return None
        memory = self._context.of_session(session)
        top, latest = memory.get("top", 0), memory.get("time", 0)
        if time < memory.get("since", 0):
            raise RepeatedEvent("it is of an earlier run of the server")
        if seq > top:
            memory.update(top=seq, time=max(time, latest))
            return None
        if time <= latest:
            return None
        memory.update(top=seq, time=time, since=time)
        return StreamOpened(
            session_id=session or self._context.session_id,
            generation=f"from {event_id or seq} at {time}",
        )

    def encode(self, reads: Reads) -> Json:
        """Every message with its parts, by session; linear in what is stored."""
        return {
            session_id: [
                {
                    "info": _wire_info(message),
                    "parts": [_wire_part(part) for part in reads.parts(session_id, message.id)],
                }
                for message in reads.messages(session_id)
            ]
            for session_id in reads.session_ids()
        }


def _session_of(wire: Members, body: Members) -> str | None:
    found = maybe_id(wire, "sessionID") or maybe_id(body, "sessionID", "properties")
    for name in ("info", "part"):
        inner = body.get(name)
        if found is None and isinstance(inner, dict):
            found = maybe_id(inner, "sessionID", f"properties.{name}")
    return found or maybe_id(body, "sessionId", "properties")


def _event_id(wire: Members, body: Members) -> str | None:
    event_id = maybe_id(wire, "eventId")
    info = body.get("info")
    if isinstance(info, dict) and info.get("id") == event_id:
        return None  # of a catch-up: every state of the message has it
    return event_id


# --- one event ------------------------------------------------------------------------------------


def _message_updated(body: Members, common: dict[str, Any]) -> Sequence[Event]:
    info, at = an_object(body, "info", "properties"), "properties.info"
    message_id, role = an_id(info, "id", at), an_id(info, "role", at)
    time, error = maybe_object(info, "time", at) or {}, maybe_object(info, "error", at)
    created = time.get("created")
    if created is not None and not is_order(created):
        raise wrong(time, "created", f"{at}.time", "a finite number")
    updated = MessageUpdated(
        **common,
        message_id=message_id,
        info=info,
        whole=True,
        role=role,
        parent_id=maybe_id(info, "parentID", at),
        order=created,
    )
    status = "completed"
    if error is not None:
        status = "aborted" if error.get("name") == "MessageAbortedError" else "error"
    elif role == "assistant" and time.get("completed") is None:
        return (updated,)
    closed = MessageClosed(
        session_id=common["session_id"], message_id=message_id, status=status, error=error
    )
    return (updated, closed)


def _message_removed(body: Members, common: dict[str, Any]) -> Sequence[Event]:
    return (MessageRemoved(**common, message_id=an_id(body, "messageID", "properties")),)


def _part_updated(body: Members, common: dict[str, Any]) -> Sequence[Event]:
    part, at = an_object(body, "part", "properties"), "properties.part"
    kind, message_id = an_id(part, "type", at), an_id(part, "messageID", at)
    block: dict[str, Any] = {**common, "message_id": message_id, "block_index": _index(part, at)}
    text = None
    status = "closed"
    if kind in _STREAMED:
        if part.get("text") is None and body.get("delta") is not None:
            return (BlockDelta(**block, text=a_string(body, "delta", "properties")),)
        text = a_string(part, "text", at)
        time = maybe_object(part, "time", at)
        if time is None or time.get("end") is None:
            status = "open"
    elif kind == "tool":
        state = an_object(part, "state", at)
        if an_id(state, "status", f"{at}.state") in _WORKING:
            status = "open"
    fields: Members = {}
    strange: Members = {}
    for name, value in part.items():
        if name in _ADDRESS or (name == "text" and text is not None):
            continue
        if name == "callID":
            fields["callId"] = value
        elif name in _PART_NAMES or name == "text" or (name == "time" and type(value) is not dict):
            strange[name] = value
        else:
            fields[name] = value
    if part.get("id") is None:
        strange["id"] = None
    if strange:
        fields["wire"] = strange
    if kind not in PART_KINDS or kind == "unknown":
        kind, fields["originalKind"] = "unknown", kind
    return (BlockReplaced(**block, kind=kind, text=text, whole=True, status=status, fields=fields),)


def _index(part: Members, at: str) -> str:
    for name, prefix in (("id", ""), ("callID", "call "), ("reasoningId", "reasoning ")):
        found = maybe_id(part, name, at)
        if found is not None:
            return prefix + found
    return f"the {an_id(part, 'type', at)}"


def _part_removed(body: Members, common: dict[str, Any]) -> Sequence[Event]:
    message_id = an_id(body, "messageID", "properties")
    part_id = an_id(body, "partID", "properties")
    return (BlockRemoved(**common, message_id=message_id, block_index=part_id),)


def _session_created(body: Members, common: dict[str, Any]) -> Sequence[Event]:
    info = {name: value for name, value in body.items() if name != "sessionID"}
    return (SessionUpdated(**common, info=info),)


def _session_updated(body: Members, common: dict[str, Any]) -> Sequence[Event]:
    status = an_id(body, "status", "properties")
    extra: Members = {"metadata": body["metadata"]} if body.get("metadata") is not None else {}
    return (SessionStatus(**common, status="busy" if status == "running" else status, extra=extra),)


def _session_status(body: Members, common: dict[str, Any]) -> Sequence[Event]:
    status, at = an_object(body, "status", "properties"), "properties.status"
    return (
        SessionStatus(
            **common,
            status=an_id(status, "type", at),
            attempt=maybe_number(status, "attempt", at),
            message=None if status.get("message") is None else a_string(status, "message", at),
            next=maybe_number(status, "next", at),
        ),
    )


def _tasks(body: Members, common: dict[str, Any]) -> Sequence[Event]:
    return (TodoUpdated(**common, todo=list(objects(body, "tasks", "properties"))),)


def _asked(cls: type[RequestAsked]) -> _Handler:
    def handle(body: Members, common: dict[str, Any]) -> Sequence[Event]:
        tool, at = maybe_object(body, "tool", "properties") or {}, "properties.tool"
        request_id = an_id(body, "id", "properties")
        return (
            cls(
                **{**common, "id": None},
                request_id=request_id,
                message_id=maybe_id(tool, "messageID", at),
                call_id=maybe_id(tool, "callID", at),
                payload=body,
            ),
        )

    return handle


def _answered(cls: type[RequestAnswered]) -> _Handler:
    def handle(body: Members, common: dict[str, Any]) -> Sequence[Event]:
        request_id = an_id(body, "requestID", "properties")
        return (cls(**{**common, "id": None}, request_id=request_id, payload=body),)

    return handle


_HANDLERS: Mapping[str, _Handler] = {
    "message.updated": _message_updated,
    "message.removed": _message_removed,
    "message.part.updated": _part_updated,
    "message.part.removed": _part_removed,
    "session.created": _session_created,
    "session.updated": _session_updated,
    "session.status": _session_status,
    "task.updated": _tasks,
    "permission.asked": _asked(PermissionAsked),
    "permission.replied": _answered(PermissionReplied),
    "question.asked": _asked(QuestionAsked),
    "question.replied": _answered(QuestionReplied),
    "question.rejected": _answered(QuestionRejected),
}


# --- back to the wire -----------------------------------------------------------------------------


def _wire_info(message: Message) -> Members:
    known: Members = {"id": message.id}
    if message.role:
        known["role"] = message.role
    return {**known, **thaw(message.info)}


def _wire_part(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    strange = fields.pop("wire", {})
    wire: Members = {
        "id": part.block_index,
        "messageID": part.message_id,
        "sessionID": part.session_id,
        "type": fields.pop("originalKind", part.kind),
    }
    if "callId" in fields:
        wire["callID"] = fields.pop("callId")
    wire |= fields
    if isinstance(strange, dict):
        wire |= strange
    if wire["id"] is None:
        del wire["id"]
    if part.kind in _STREAMED or len(part.view):
        wire["text"] = part.view.raw()
    return wire
