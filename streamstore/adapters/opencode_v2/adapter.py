"""opencode V2: `session.next.*` on the `/api` streams and its messages, to events and back.

- Identity: session and message ids; blocks by `textID`, `reasoningID` and `callID`, each counted
  by itself: a block index is the text's own id, `reasoning/...` or `tool/...`. The next dialect
  (`session.text.delta`) has an `ordinal` for the first two.
- A message may use an id again, as some providers do (`reasoning-0` for each of its thoughts): the
  server has an item for each beginning, and what follows goes to the last one. The first that was
  seen has the id for its index; another one has its created time behind it (`reasoning/...@1700`),
  a text, which has no time in a read, its number (`...@2`): which one it is there, its neighbours
  say. A read and what is live have the same indexes for who saw the first beginning.
- Seq: `durable.seq` counts a session's durable events (`session`); deltas have none and are not
  stored by the server, so that no replay brings them. A durable event is therefore two: one of its
  message or session, which takes the number, and what it does to a block, which rides along and
  follows the rules of a stream without seq. The event that ends a text carries all of it and seals
  it: a delta that comes later is refused. A delta that was lost shows until then (`part.gap`).
- A step that was interrupted has no end of its own: its message is open until the next step begins,
  which ends it, as in the server's messages.
- A type of a session that is not known here takes its number all the same: it is no hole.
- Event ids (`evt_...`) are unique and ascending: what has no number is known again by them.
- Permissions and questions have no number and are in no log: the stream of one session lacks them.
  A read brings them, and takes away those that were answered meanwhile.
- Resume: `after` is the last `durable.seq`. Where it cannot be had (`/api/event`), fetch: first
  the session's messages without `seq`, which marks the texts whose beginning nobody streamed and
  takes nothing away, then the rows of its log behind `health.resume` (`.../history?after=`).
- Order: messages as the server has them, by when they entered the conversation; parts by the seq
  that began them. A prompt enters when it is delivered (`prompted`, `prompt.promoted`), which may
  be long after its created time, that of its admission: when that was, the id of the event says,
  and in a read its neighbours. One that is admitted only waits behind all others; a read lacks it.
- `revert.committed` removes the messages behind its target, of those that were seen or read; in the
  next dialect the target, too.

Sources: the types of opencode's published SDK (1.19.3), and the schemas of its 2.0 betas for the
next dialect. V1 is `opencode`.

Events and what they need of earlier ones are here; reads are in `reads`, texts whose id
comes again in `texts`, and the way back to the wire in `items`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias

import attrs

from ...errors import MalformedEvent, UnknownEvent
from ...events import (
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    RequestAnswered,
    RequestAsked,
    SessionRemoved,
    SessionStatus,
    SessionUpdated,
    Snapshot,
    StreamSynchronized,
    TodoUpdated,
    ToolResult,
)
from ...keys import BlockIndex, is_id, is_order, message_order
from ...model import Json
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads
from ..bounded import remember
from ..members import (
    Members,
    a_list,
    a_number,
    a_string,
    an_event,
    an_id,
    an_object,
    are_objects,
    describe,
    maybe_id,
    maybe_number,
    maybe_object,
    objects,
)
from .items import wire_message
from .reads import (
    PER_MS,
    file_fields,
    in_place,
    milliseconds,
    read_messages,
    read_waiting,
    request_of,
    text_of,
)
from .texts import (
    At,
    Row,
    begin_text,
    end_text,
    one_more,
    place_of,
    read_texts,
    spans_of,
    text_row,
)

#: How many running calls, parts and messages of a session are remembered.
_CALLS, _PARTS, _MESSAGES = 256, 1024, 4096

#: An event's id: 12 digits of its time, in ms times 4096 plus a counter, cut to 48 bits.
_EVENT_ID = re.compile("evt_([0-9a-f]{12})")
_IDS_MS = 2**36

_SILENT = frozenset(
    "server.connected server.heartbeat log.hint log.sweep_required plugin.added catalog.updated "
    "reference.updated integration.updated integration.connection.updated "
    "models-dev.refreshed".split()
)
_OURS = ("session.", "permission.", "question.", "todo.", "server.", "log.")

#: Where every delta has its members, and those of a tool's input.
_PLACES: dict[str, Any] = {
    "body": "data",
    "session": "sessionID",
    "message": "assistantMessageID",
    "text": "delta",
    "id": "id",
    "spare": ("timestamp",),
    "never": "durable",  # with a number
}
_INPUTS: dict[str, Any] = {
    **_PLACES,
    "block": "callID",
    "block_is_id": True,
    "prefix": "tool/",
    "of_field": "input",
}
_RENAMED = {"agent.selected": "agent.switched", "model.selected": "model.switched"}


@attrs.frozen
class _Told:
    """One event as it came, for those who read it.

    Attributes:
        body: its `data`.
        at: the path of it.
        session: id of the session.
        seq: `durable.seq`, None for what is not durable.
        first: what the first of its canonical events has: session, seq, event id, time.
        time: when it was made, in ms.
        next: it is of the dialect of the 2.0 betas, `session.*` without `next`.
    """

    body: Members
    at: str
    session: str
    seq: int | None
    first: dict[str, Any]
    time: float | None
    next: bool = False

    def id(self, name: str) -> str:
        return an_id(self.body, name, self.at)

    def string(self, name: str) -> str:
        return a_string(self.body, name, self.at)

    def given(self, *names: str) -> Members:
        """Members that are there and not null, as they are."""
        return {name: self.body[name] for name in names if self.body.get(name) is not None}


_Handler: TypeAlias = Callable[["OpencodeV2Adapter", _Told], Sequence[Event]]


class OpencodeV2Adapter:
    """opencode's V2 events in; a session's messages, as `/api/session/{id}/message`, in and out.

    - `{"id", "type", "data", "durable"?: {"aggregateID", "seq", "version"}, "created"?}`: an event
    - `{"sessionID", "data": [message], "seq"?, "complete"?, "before"?, "readFrom"?,
      "permission"?: [request], "question"?: [request]}`: a read, by default a page and not
      complete; `seq` is the session's at the time of the read, where known; the requests are all
      that `/api/session/{id}/permission` and `.../question` gave
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="opencode-v2",
        sequencing="session",
        ids_unique=True,
        ids_ordered=True,
        snapshots=True,
        resumes=True,
        identity="session and message ids; textID, reasoningID or ordinal, and callID",
    )
    delta: ClassVar[DeltaShape | None] = DeltaShape(
        type="session.next.text.delta", block="textID", block_is_id=True, **_PLACES
    )
    more_deltas: ClassVar[tuple[DeltaShape, ...]] = (
        DeltaShape(
            type="session.next.reasoning.delta",
            block="reasoningID",
            block_is_id=True,
            prefix="reasoning/",
            **_PLACES,
        ),
        DeltaShape(type="session.next.tool.input.delta", **_INPUTS),
        DeltaShape(type="session.text.delta", block="ordinal", block_is_number=True, **_PLACES),
        DeltaShape(
            type="session.reasoning.delta",
            block="ordinal",
            block_is_number=True,
            prefix="reasoning/",
            **_PLACES,
        ),
        DeltaShape(type="session.tool.input.delta", **_INPUTS),
    )

    def __init__(self, context: Context | None = None) -> None:
        self._context = Context() if context is None else context

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event with its `data`, or a read of a session's messages."""
        if not isinstance(wire, dict):
            return False
        data = wire.get("data")
        if "type" not in wire:
            return (
                is_id(wire.get("sessionID"))
                and isinstance(data, list)
                and are_objects(data)
                and all(is_id(message.get("type")) for message in data)
            )
        kind = wire["type"]
        return (
            type(kind) is str
            and kind.startswith(_OURS)
            and is_id(wire.get("id"))
            and isinstance(data, dict)
        )

    def plain(self, wire: Any) -> PlainDelta | None:
        """Nothing: `delta` says where everything is."""
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; the first takes its number or its id."""
        wire = an_event(wire)
        if "type" not in wire:
            return (self._read(wire), *read_waiting(wire))
        kind = an_id(wire, "type")
        if kind in _SILENT:
            return ()
        if kind == "log.caught_up":
            return (StreamSynchronized(),)
        # On a V1 stream the same events have their members under `properties`.
        at = "properties" if "data" not in wire and "properties" in wire else "data"
        body = an_object(wire, at)
        durable = maybe_object(wire, "durable") or {}
        seq = a_number(durable, "seq", "durable") if durable else None
        name = kind.removeprefix("session.next.").removeprefix("session.")
        name = _RENAMED.get(name, name)
        handle = _HANDLERS.get(name)
        if handle is None and seq is None:
            raise UnknownEvent(kind)
        if body.get("sessionID") is None and durable:
            session = an_id(durable, "aggregateID", "durable")
        else:
            session = an_id(body, "sessionID", at)
        time = wire.get("created") if body.get("timestamp") is None else body["timestamp"]
        if type(time) is str:
            time = milliseconds(time, f"{at}.timestamp")
        if time is not None and not is_order(time):
            raise MalformedEvent(f"{at}.timestamp", f"must be a number, not {describe(time)}")
        first: dict[str, Any] = {"session_id": session, "seq": seq, "id": maybe_id(wire, "id")}
        told = _Told(body, at, session, seq, first, time, not kind.startswith("session.next."))
        if handle is None:
            return (SessionUpdated(**first),)
        return handle(self, told)

    def encode(self, reads: Reads) -> Json:
        """Every session's messages as the server's read gives them; linear in what is stored."""
        return [
            {
                "sessionID": session_id,
                "data": [
                    wire_message(message, reads.parts(session_id, message.id))
                    for message in reads.messages(session_id)
                ],
            }
            for session_id in reads.session_ids()
        ]

    # -- what is remembered ----------------------------------------------------------------------

    def restarted(self, session_id: str) -> None:
        """Forget what has a number of the counter that is over: of the last retry, of texts."""
        memory = self._context.shared.get(session_id, {})
        memory.pop("retried", None)
        for step in memory.get("steps", {}).values():
            step["seq"] = None
        for rows in memory.get("texts", {}).values():
            for row in rows:
                for at in (row.get("began"), row.get("ended")):
                    if at is not None:
                        at[0] = None

    def _memory(self, session: str) -> dict[str, Any]:
        """`calls`: state of each running call; `ended`: of those that ended before they began;
        `messages`, `parts`: the order of those seen; `steps`: which of them are at work, and the
        number that says so; `texts`: the beginnings of each id, see
        `Row`; `waiting`: when prompts were admitted that are not delivered; `retry`: one is
        waited for.

        A call's id is its own in its message alone: servers count `call_1` anew in each.
        """
        if self._context.bound and session != self._context.session_id:
            return {}
        return self._context.of_session(session)

    def _table(self, session: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._memory(session).setdefault(name, {})
        return found

    def _saw(self, session: str, message_id: str, order: float | None) -> None:
        memory = self._memory(session)
        memory.get("waiting", {}).pop(message_id, None)
        remember(memory.setdefault("messages", {}), message_id, order, _MESSAGES)

    def _read(self, wire: Members) -> Snapshot:
        snapshot = read_messages(wire)
        session = an_id(wire, "sessionID")
        known = self._memory(session).get("messages", {})
        whole = snapshot.complete and snapshot.before is None
        in_place(snapshot.messages, known, whole)
        calls, parts = self._table(session, "calls"), self._table(session, "parts")
        steps = self._table(session, "steps")
        for message in snapshot.messages:
            self._saw(session, message["id"], message.get("order"))
            if message["role"] == "assistant":
                # What a read has not seen the end of may have ended meanwhile.
                is_open = message["status"] == "open"
                if message["id"] in steps:
                    steps[message["id"]]["open"] &= is_open
                elif is_open:
                    remember(steps, message["id"], {"seq": None, "open": True}, _CALLS)
            self._read_texts(session, message)
            place = -1.0
            for part in message["parts"]:
                # Its number in the message is less than any seq that a part of it begins with.
                key = f"{message['id']}\n{part['blockIndex']}"
                if key in parts:
                    part["order"] = parts[key]
                elif part.get("order", place + 1) <= place:
                    part["order"] = place + 1 / PER_MS
                place = part.get("order", place)
                # What ends a call says its end alone.
                state = part.get("state", {})
                if state.get("status") == "running":
                    if message["role"] == "shell":
                        key, state = part["callId"], {**state, "message": message["id"]}
                    else:
                        key = f"{message['id']}\n{part['callId']}"
                    if key not in calls:
                        remember(calls, key, state, _CALLS)
        return snapshot

    # -- sessions ----------------------------------------------------------------------------------

    def _info(self, told: _Told, *names: str) -> Sequence[Event]:
        info = {name: told.body.get(name) for name in names if name in told.body}
        return (SessionUpdated(**told.first, info=info),)

    def _updated(self, told: _Told) -> Sequence[Event]:
        info = an_object(told.body, "info", told.at)
        return (SessionUpdated(**told.first, info=info, whole=True),)

    def _deleted(self, told: _Told) -> Sequence[Event]:
        return (SessionRemoved(**told.first),)

    def _status(self, told: _Told) -> Sequence[Event]:
        status, at = an_object(told.body, "status", told.at), f"{told.at}.status"
        return (
            SessionStatus(
                **told.first,
                status=an_id(status, "type", at),
                attempt=maybe_number(status, "attempt", at),
                message=None if status.get("message") is None else a_string(status, "message", at),
                next=maybe_number(status, "next", at),
            ),
        )

    def _works(self, status: str, told: _Told) -> Sequence[Event]:
        return (SessionStatus(**told.first, status=status),)

    def _retried(self, told: _Told) -> Sequence[Event]:
        error = an_object(told.body, "error", told.at)
        attempt = maybe_number(told.body, "attempt", told.at)
        message = error.get("message")
        memory = self._memory(told.session)
        # Sent again, behind the step that it led to, it is waited for no more.
        if told.seq is None or told.seq > memory.get("retried", -1):
            memory["retry"] = True
            memory["retried"] = -1 if told.seq is None else told.seq
        return (
            SessionStatus(
                **told.first,
                status="retry",
                attempt=attempt,
                message=message if type(message) is str else None,
                extra={"error": error},
            ),
        )

    def _revert(self, told: _Told) -> Sequence[Event]:
        revert = maybe_object(told.body, "revert", told.at)
        return (SessionUpdated(**told.first, info={"revert": revert}),)

    def _reverted(self, told: _Told) -> Sequence[Event]:
        target = told.id("messageID")
        memory = self._memory(told.session)
        seen, waiting = memory.get("messages", {}), memory.get("waiting", {})
        # The id of a prompt is as old as its admission: all that is known of an unknown target.
        places = {**seen, **waiting} if target in seen else {}
        edge = message_order(places.get(target), target)
        gone = sorted(
            one
            for one in (*seen, *waiting)
            # The dialect of 1.x keeps the target; in the next one it goes as well.
            if message_order(places.get(one), one) > edge or (told.next and one == target)
        )
        for message_id in gone:
            for table in (seen, waiting, memory.get("steps", {})):
                table.pop(message_id, None)
        removed = (MessageRemoved(session_id=told.session, message_id=one) for one in gone)
        return (SessionUpdated(**told.first, info={"revert": None}), *removed)

    def _todo(self, told: _Told) -> Sequence[Event]:
        return (TodoUpdated(**told.first, todo=a_list(told.body, "todos", told.at)),)

    def _asked(self, cls: type[RequestAsked], told: _Told) -> Sequence[Event]:
        request_id, message_id, call_id = request_of(told.body, told.at)
        return (
            cls(
                **{**told.first, "id": None},
                request_id=request_id,
                message_id=message_id,
                call_id=call_id,
                payload=told.body,
            ),
        )

    def _answered(self, cls: type[RequestAnswered], told: _Told) -> Sequence[Event]:
        request_id = told.id("requestID")
        return (cls(**{**told.first, "id": None}, request_id=request_id, payload=told.body),)

    # -- messages that come at once --------------------------------------------------------------

    def _message(
        self,
        told: _Told,
        message_id: str,
        role: str,
        info: Members,
        closed: bool = True,
        order: float | None = None,
    ) -> list[Event]:
        order = told.time if order is None else order
        self._saw(told.session, message_id, order)
        if told.time is not None:
            info = {"time": {"created": told.time}, **info}
        events: list[Event] = [
            MessageOpened(**told.first, message_id=message_id, role=role, order=order, info=info)
        ]
        if closed:
            events.append(MessageClosed(session_id=told.session, message_id=message_id))
        return events

    def _whole_text(self, told: _Told, message_id: str, text: str) -> BlockReplaced:
        return BlockReplaced(
            session_id=told.session,
            message_id=message_id,
            block_index="text",
            kind="text",
            order=0,
            text=text,
            whole=True,
            status="closed",
        )

    def _admitted(self, told: _Told, message_id: str, info: Members) -> Sequence[Event]:
        """It has no place and no time yet: the server has not made a message of it."""
        memory = self._memory(told.session)
        if message_id not in memory.get("messages", {}):
            remember(memory.setdefault("waiting", {}), message_id, told.time, _MESSAGES)
        opened = MessageOpened(**told.first, message_id=message_id, role="user", info=info)
        return (opened, MessageClosed(session_id=told.session, message_id=message_id))

    def _delivered(self, told: _Told, message_id: str, info: Members) -> Sequence[Event]:
        return self._message(told, message_id, "user", info, order=_made(told))

    def _promoted(self, told: _Told) -> Sequence[Event]:
        """The next dialect says only which one is delivered."""
        message_id = told.id("inputID")
        self._saw(told.session, message_id, told.time)
        info = {} if told.time is None else {"time": {"created": told.time}}
        return (
            MessageUpdated(
                **told.first, message_id=message_id, role="user", order=told.time, info=info
            ),
        )

    def _prompted(self, told: _Told, admitted: bool = False) -> Sequence[Event]:
        prompt, at = an_object(told.body, "prompt", told.at), f"{told.at}.prompt"
        message_id = maybe_id(told.body, "messageID", told.at) or told.id("inputID")
        text = a_string(prompt, "text", at)
        files = objects(prompt, "files", at) if prompt.get("files") is not None else []
        info = {name: value for name, value in prompt.items() if name not in ("text", "files")}
        info |= told.given("delivery")
        block = self._whole_text(told, message_id, text)
        message = self._admitted if admitted else self._delivered
        return (
            *message(told, message_id, info),
            block,
            *(
                BlockReplaced(
                    session_id=told.session,
                    message_id=message_id,
                    block_index=f"file/{place}",
                    kind="file",
                    order=place + 1,
                    status="closed",
                    fields=file_fields(file),
                )
                for place, file in enumerate(files)
            ),
        )

    def _text_message(self, role: str, told: _Told) -> Sequence[Event]:
        message_id, text = told.id("messageID"), told.string("text")
        block = self._whole_text(told, message_id, text)
        return (*self._message(told, message_id, role, {}), block)

    def _switched(self, member: str, told: _Told) -> Sequence[Event]:
        info = told.given(member)
        message_id = maybe_id(told.body, "messageID", told.at)
        if message_id is None:
            return (SessionUpdated(**told.first, info=info),)
        return (
            *self._message(told, message_id, f"{member}-switched", info),
            SessionUpdated(session_id=told.session, info=info),
        )

    def _shell_started(self, told: _Told) -> Sequence[Event]:
        message_id, call_id = told.id("messageID"), told.id("callID")
        state = {"status": "running", "input": {"command": told.string("command")}}
        events = self._message(told, message_id, "shell", {}, closed=False)
        tool = self._tool(told, message_id, call_id, {"tool": "shell", "state": state})
        ended = self._table(told.session, "ended").pop(call_id, None)
        if ended is None:
            self._runs(told, call_id, {**state, "message": message_id})
            return (*events, tool)
        state = {**ended["state"], "input": state["input"]}
        return (
            *events,
            MessageClosed(session_id=told.session, message_id=message_id),
            MessageUpdated(session_id=told.session, message_id=message_id, info=ended["info"]),
            tool,
            self._tool(told, message_id, call_id, {"state": state}, "closed"),
        )

    def _shell_ended(self, told: _Told) -> Sequence[Event]:
        call_id, output = told.id("callID"), told.string("output")
        call = self._memory(told.session).get("calls", {}).pop(call_id, {})
        state = {"status": "completed", "output": output}
        if "input" in call:
            state["input"] = call["input"]
        info = {} if told.time is None else {"completed": told.time}
        message_id = call.get("message")
        if message_id is None:
            ended = {"state": state, "info": info}
            remember(self._table(told.session, "ended"), call_id, ended, _CALLS)
            return (
                SessionUpdated(**told.first),
                ToolResult(session_id=told.session, call_id=call_id, fields={"state": state}),
            )
        return (
            MessageClosed(**told.first, message_id=message_id),
            MessageUpdated(session_id=told.session, message_id=message_id, info=info),
            self._tool(told, message_id, call_id, {"state": state}, "closed"),
        )

    def _compaction_started(self, told: _Told) -> Sequence[Event]:
        message_id = maybe_id(told.body, "messageID", told.at)
        if message_id is None:
            return (SessionUpdated(**told.first),)
        events = self._message(told, message_id, "compaction", told.given("reason"), closed=False)
        opened = BlockOpened(
            session_id=told.session, message_id=message_id, block_index="text", kind="compaction"
        )
        return (*events, opened)

    def _compaction_delta(self, told: _Told) -> Sequence[Event]:
        message_id = maybe_id(told.body, "messageID", told.at)
        if message_id is None:
            return ()
        text = told.string("text")
        return (BlockDelta(**told.first, message_id=message_id, block_index="text", text=text),)

    def _compaction_ended(self, told: _Told) -> Sequence[Event]:
        message_id = maybe_id(told.body, "messageID", told.at)
        if message_id is None:
            return (SessionUpdated(**told.first),)
        block = attrs.evolve(
            self._whole_text(told, message_id, told.string("text")),
            kind="compaction",
            fields=told.given("recent"),
        )
        info = told.given("reason")
        return (
            MessageClosed(**told.first, message_id=message_id),
            MessageUpdated(
                session_id=told.session, message_id=message_id, role="compaction", info=info
            ),
            block,
        )

    # -- steps -----------------------------------------------------------------------------------

    def _step_started(self, told: _Told) -> Sequence[Event]:
        message_id = told.id("assistantMessageID")
        info = told.given("agent", "model")
        if told.body.get("snapshot") is not None:
            info["snapshotStart"] = told.body["snapshot"]
        events = self._message(told, message_id, "assistant", info, closed=False)
        if self._memory(told.session).pop("retry", None):
            events.append(SessionStatus(session_id=told.session, status="busy"))
        seen = self._table(told.session, "messages")
        place = message_order(seen.get(message_id), message_id)
        for other, row in self._table(told.session, "steps").items():
            # A log that is sent again tells of steps before one that is at work.
            if row["open"] and message_order(seen.get(other), other) < place:
                row["open"] = False
                events += self._cut_short(told, other)
        self._note_step(told, message_id, is_open=True)
        return events

    def _cut_short(self, told: _Told, message_id: str) -> Sequence[Event]:
        """A step that was interrupted has no end of its own: for the server the next one ends it.

        Without a number, so that its own end holds where that is only late.
        """
        closed = MessageClosed(session_id=told.session, message_id=message_id)
        if told.time is None:
            return (closed,)
        info = {"completed": told.time}
        updated = MessageUpdated(session_id=told.session, message_id=message_id, info=info)
        return (closed, updated)

    def _note_step(self, told: _Told, message_id: str, *, is_open: bool) -> None:
        steps = self._table(told.session, "steps")
        known = steps.get(message_id, {}).get("seq")
        if known is None or told.seq is None or told.seq > known:
            remember(steps, message_id, {"seq": told.seq, "open": is_open}, _CALLS)

    def _step_over(self, told: _Told) -> Sequence[Event]:
        message_id = told.id("assistantMessageID")
        error = maybe_object(told.body, "error", told.at)
        info = told.given("finish", "cost", "tokens", "error")
        if error is not None:
            info.setdefault("finish", "error")  # as the server's own messages have it
        for ours, theirs in (("snapshotEnd", "snapshot"), ("snapshotFiles", "files")):
            if told.body.get(theirs) is not None:
                info[ours] = told.body[theirs]
        if told.time is not None:
            info["completed"] = told.time
        status = "completed" if error is None else "error"
        self._note_step(told, message_id, is_open=False)
        return (
            # How it ended has a number: after a retry the later end holds.
            MessageClosed(**told.first, message_id=message_id, status=status, error=error),
            MessageUpdated(
                session_id=told.session, message_id=message_id, role="assistant", info=info
            ),
        )

    def _counted(self, told: _Told) -> tuple[MessageUpdated, str]:
        """What takes the number of an event about a block; the message it belongs to."""
        message_id = told.id("assistantMessageID")
        return MessageUpdated(**told.first, message_id=message_id, role="assistant"), message_id

    def _order(
        self, told: _Told, message_id: str, index: BlockIndex, at: At | None = None
    ) -> float | None:
        """What a part sorts by that an event begins, or that began `at`."""
        seq, time = (told.seq, told.time) if at is None else at
        order = time if seq is None else seq
        if order is not None:
            parts = self._table(told.session, "parts")
            remember(parts, f"{message_id}\n{index}", order, _PARTS)
        return order

    # -- texts -----------------------------------------------------------------------------------

    def _index(self, told: _Told, kind: str) -> tuple[BlockIndex, Members]:
        """A text's block index, and how the wire names it."""
        name = "textID" if kind == "text" else "reasoningID"
        if told.body.get(name) is None and "ordinal" in told.body:
            ordinal = a_number(told.body, "ordinal", told.at)
            return (ordinal if kind == "text" else f"reasoning/{ordinal}"), {"ordinal": ordinal}
        found = told.id(name)
        return (found if kind == "text" else f"reasoning/{found}"), {"textId": found}

    def _text_rows(self, session: str, message_id: str, base: BlockIndex) -> list[Row]:
        """The beginnings of one id, the last one last: see `Row`."""
        rows: list[Row] = self._table(session, "texts").get(f"{message_id}\n{base}", [])
        return rows

    def _keep_rows(self, session: str, message_id: str, base: BlockIndex, rows: list[Row]) -> None:
        rows.sort(key=place_of)
        del rows[1:-_CALLS]  # the first one has the index that no other may have
        remember(self._table(session, "texts"), f"{message_id}\n{base}", rows, _PARTS)

    def _text_started(self, kind: str, told: _Told) -> Sequence[Event]:
        counted, message_id = self._counted(told)
        base, named = self._index(told, kind)
        at: At = [told.seq, told.time]
        moved = None
        if "ordinal" in named:
            index = base
        else:
            rows = self._text_rows(told.session, message_id, base)
            row, moved = begin_text(rows, kind, base, at)
            index = row["index"]
            self._keep_rows(told.session, message_id, base, rows)
            if row.get("whole"):
                return (counted,)  # the first delta says that it is another one, or its end comes
        opened = BlockOpened(
            session_id=told.session,
            message_id=message_id,
            block_index=index,
            kind=kind,
            order=self._order(told, message_id, index),
            fields={**named, **told.given("providerMetadata"), **_began(told)},
        )
        if moved is None:
            return (counted, opened)
        return (counted, opened, self._moved(told, message_id, kind, moved, named))

    def _moved(
        self, told: _Told, message_id: str, kind: str, row: Row, named: Members
    ) -> BlockOpened:
        """A beginning that had another one's end: it begins as a block of its own."""
        at, index = row["began"], row["index"]
        return BlockOpened(
            session_id=told.session,
            message_id=message_id,
            block_index=index,
            kind=kind,
            order=self._order(told, message_id, index, at),
            fields={**named, **({} if at[1] is None else {"began": at[1]})},
        )

    def _text_delta(self, kind: str, told: _Told) -> Sequence[Event]:
        """It has no number, and is of the last beginning. The short way gets no delta of one that
        has an index of its own, and none of the first one behind its end, which seals it."""
        message_id = told.id("assistantMessageID")
        index, named = self._index(told, kind)
        text = told.string("delta")
        if "ordinal" not in named:
            rows = self._text_rows(told.session, message_id, index)
            if not rows:
                rows = [text_row(index, number=1, seen=told.time)]
                self._keep_rows(told.session, message_id, index, rows)
            row = rows[-1]
            if row.get("whole") and row.get("began") is not None:
                # No log has deltas: what begins is no text that was read whole, but another one.
                began = row.pop("began")
                row = one_more(rows, kind, index, began, began=began)
                self._keep_rows(told.session, message_id, index, rows)
                opened = self._moved(told, message_id, kind, row, named)
                delta = BlockDelta(
                    session_id=told.session,
                    message_id=message_id,
                    block_index=row["index"],
                    text=text,
                )
                return (attrs.evolve(opened, id=told.first["id"], seq=told.seq), delta)
            index = row["index"]
        return (BlockDelta(**told.first, message_id=message_id, block_index=index, text=text),)

    def _text_ended(self, kind: str, told: _Told) -> Sequence[Event]:
        counted, message_id = self._counted(told)
        base, named = self._index(told, kind)
        fields = {**named, **told.given("providerMetadata")}
        text = told.string("text")
        if told.time is not None:
            fields["ended"] = told.time
        at: At = [told.seq, told.time]
        index, order = base, None
        first: list[Event] = [counted]
        if "ordinal" not in named:
            rows = self._text_rows(told.session, message_id, base)
            row, moved = end_text(rows, kind, base, at)
            index = row["index"]
            self._keep_rows(told.session, message_id, base, rows)
            if moved:
                first.append(self._moved(told, message_id, kind, row, named))
            if row.pop("whole", False) and row.get("began") is not None:
                order = self._order(told, message_id, index, row["began"])
        ended = BlockReplaced(
            session_id=told.session,
            message_id=message_id,
            block_index=index,
            kind=kind,
            order=order,
            text=text,
            status="closed",
            fields=fields,
        )
        return (*first, ended)

    def _read_texts(self, session: str, message: Members) -> None:
        """Give the texts of a message that was read the indexes of their beginnings."""
        parts = message["parts"]
        spans = spans_of(parts)
        groups: dict[BlockIndex, list[int]] = {}
        for place, part in enumerate(parts):
            if "textId" in part:
                groups.setdefault(part["blockIndex"], []).append(place)
        for base, places in groups.items():
            rows = self._text_rows(session, message["id"], base)
            # What is over begins no more, and an id that stands there once is its own index.
            if rows or places[1:] or message["status"] == "open":
                read_texts(rows, base, parts, places, spans)
                self._keep_rows(session, message["id"], base, rows)

    # -- tools -----------------------------------------------------------------------------------

    def _runs(self, told: _Told, key: str, state: Members) -> None:
        remember(self._memory(told.session).setdefault("calls", {}), key, state, _CALLS)

    def _tool(
        self, told: _Told, message_id: str, call_id: str, fields: Members, status: str = "open"
    ) -> BlockReplaced:
        return BlockReplaced(
            session_id=told.session,
            message_id=message_id,
            block_index=f"tool/{call_id}",
            kind="tool",
            text="",  # all that can be lost of it is its input, which is here
            status=status,
            fields={"callId": call_id, **fields},
        )

    def _input_started(self, told: _Told) -> Sequence[Event]:
        counted, message_id = self._counted(told)
        call_id, name = told.id("callID"), told.id("name")
        opened = BlockOpened(
            session_id=told.session,
            message_id=message_id,
            block_index=f"tool/{call_id}",
            kind="tool",
            order=self._order(told, message_id, f"tool/{call_id}"),
            fields={
                "callId": call_id,
                "tool": name,
                "state": {"status": "pending"},
                **_began(told),
            },
        )
        return (counted, opened)

    def _input_delta(self, told: _Told) -> Sequence[Event]:
        message_id, index = told.id("assistantMessageID"), f"tool/{told.id('callID')}"
        return (
            BlockDelta(
                **told.first,
                message_id=message_id,
                block_index=index,
                field="input",
                text=told.string("delta"),
            ),
        )

    def _input_ended(self, told: _Told) -> Sequence[Event]:
        counted, message_id = self._counted(told)
        fields = {"input": told.string("text")}
        return (counted, self._tool(told, message_id, told.id("callID"), fields))

    def _called(self, told: _Told) -> Sequence[Event]:
        counted, message_id = self._counted(told)
        call_id = told.id("callID")
        tool = maybe_id(told.body, "tool", told.at)
        fields: Members = {} if tool is None else {"tool": tool}
        fields |= told.given("provider")
        given, key = an_object(told.body, "input", told.at), f"{message_id}\n{call_id}"
        if told.time is not None:
            fields["ran"] = told.time
        known = self._memory(told.session).get("calls", {}).get(key, {})
        ended = self._table(told.session, "ended").get(key)
        state = {**known, "status": "running", "input": given}
        self._runs(told, key, state)
        if ended is not None:  # a state that runs says nothing beside that of the end
            fields["state"] = {**state, **ended}
            return (counted, self._tool(told, message_id, call_id, fields, "closed"))
        fields["state"] = state
        return (counted, self._tool(told, message_id, call_id, fields))

    def _progress(self, told: _Told) -> Sequence[Event]:
        counted, message_id = self._counted(told)
        call_id = told.id("callID")
        calls = self._memory(told.session).get("calls", {})
        given = told.given("structured", "content")
        key = f"{message_id}\n{call_id}"
        state = {"status": "running", **calls.get(key, {})}
        newest = self._table(told.session, "progress").get(key, -1)
        late = told.seq is not None and told.seq < newest
        state = {**given, **state} if late else {**state, **given}
        self._runs(told, key, state)
        if told.seq is not None and not late:
            remember(self._table(told.session, "progress"), key, told.seq, _CALLS)
        state = {**state, **self._table(told.session, "ended").get(key, {})}
        updated = BlockUpdated(
            session_id=told.session,
            message_id=message_id,
            block_index=f"tool/{call_id}",
            kind="tool",
            fields={"callId": call_id, "state": state},
        )
        return (counted, updated)

    def _ended(self, told: _Told) -> Sequence[Event]:
        """`tool.success` and `tool.failed`."""
        counted, message_id = self._counted(told)
        call_id = told.id("callID")
        failed = "error" in told.body
        content = told.body.get("content")
        if content is not None:
            objects(told.body, "content", told.at)
        calls, key = self._memory(told.session).get("calls", {}), f"{message_id}\n{call_id}"
        end = told.given("structured", "content", "outputPaths", "result")
        if failed:
            error = told.body["error"]
            message = error.get("message") if isinstance(error, dict) else error
            end |= {"status": "error", "error": message if type(message) is str else error}
        else:
            end |= {"status": "completed", "output": text_of(content or [])}
        state = {**calls.get(key, {}), **end}
        # What failed keeps what it had come to, which may be told late; what succeeded says it all.
        if failed or "input" not in state:
            remember(self._table(told.session, "ended"), key, end, _CALLS)
        else:
            calls.pop(key, None)
        fields: Members = {"state": state}
        if failed:
            fields["failure"] = told.body["error"]
        if told.body.get("provider") is not None:
            fields["resultProvider"] = told.body["provider"]
        if told.time is not None:
            fields["ended"] = told.time
        return (counted, self._tool(told, message_id, call_id, fields, "closed"))


_HANDLERS: Mapping[str, _Handler] = {
    "created": OpencodeV2Adapter._updated,
    "updated": OpencodeV2Adapter._updated,
    "deleted": OpencodeV2Adapter._deleted,
    "status": OpencodeV2Adapter._status,
    "idle": lambda adapter, told: adapter._works("idle", told),
    "execution.started": lambda adapter, told: adapter._works("busy", told),
    "execution.succeeded": lambda adapter, told: adapter._works("idle", told),
    "execution.failed": lambda adapter, told: adapter._works("idle", told),
    "execution.interrupted": lambda adapter, told: adapter._works("idle", told),
    "moved": lambda adapter, told: adapter._info(told, "location", "subdirectory"),
    "renamed": lambda adapter, told: adapter._info(told, "title"),
    "retried": OpencodeV2Adapter._retried,
    "revert.staged": OpencodeV2Adapter._revert,
    "revert.cleared": OpencodeV2Adapter._revert,
    "revert.committed": OpencodeV2Adapter._reverted,
    "prompted": OpencodeV2Adapter._prompted,
    "prompt.admitted": lambda adapter, told: adapter._prompted(told, admitted=True),
    "prompt.promoted": OpencodeV2Adapter._promoted,
    "agent.switched": lambda adapter, told: adapter._switched("agent", told),
    "model.switched": lambda adapter, told: adapter._switched("model", told),
    "synthetic": lambda adapter, told: adapter._text_message("synthetic", told),
    "context.updated": lambda adapter, told: adapter._text_message("system", told),
    "shell.started": OpencodeV2Adapter._shell_started,
    "shell.ended": OpencodeV2Adapter._shell_ended,
    "compaction.started": OpencodeV2Adapter._compaction_started,
    "compaction.delta": OpencodeV2Adapter._compaction_delta,
    "compaction.ended": OpencodeV2Adapter._compaction_ended,
    "step.started": OpencodeV2Adapter._step_started,
    "step.ended": OpencodeV2Adapter._step_over,
    "step.failed": OpencodeV2Adapter._step_over,
    "text.started": lambda adapter, told: adapter._text_started("text", told),
    "text.delta": lambda adapter, told: adapter._text_delta("text", told),
    "text.ended": lambda adapter, told: adapter._text_ended("text", told),
    "reasoning.started": lambda adapter, told: adapter._text_started("reasoning", told),
    "reasoning.delta": lambda adapter, told: adapter._text_delta("reasoning", told),
    "reasoning.ended": lambda adapter, told: adapter._text_ended("reasoning", told),
    "tool.input.started": OpencodeV2Adapter._input_started,
    "tool.input.delta": OpencodeV2Adapter._input_delta,
    "tool.input.ended": OpencodeV2Adapter._input_ended,
    "tool.called": OpencodeV2Adapter._called,
    "tool.progress": OpencodeV2Adapter._progress,
    "tool.success": OpencodeV2Adapter._ended,
    "tool.failed": OpencodeV2Adapter._ended,
    "todo.updated": OpencodeV2Adapter._todo,
    **{
        f"{name}{version}.asked": partial(lambda cls, adapter, told: adapter._asked(cls, told), cls)
        for name, cls in (("permission", PermissionAsked), ("question", QuestionAsked))
        for version in ("", ".v2")
    },
    **{
        f"{name.replace('.', f'{version}.')}": partial(
            lambda cls, adapter, told: adapter._answered(cls, told), cls
        )
        for name, cls in (
            ("permission.replied", PermissionReplied),
            ("question.replied", QuestionReplied),
            ("question.rejected", QuestionRejected),
        )
        for version in ("", ".v2")
    },
}


def _made(told: _Told) -> float | None:
    """When the server made an event, whose own time may be that of something before it."""
    found = _EVENT_ID.match(told.first["id"] or "")
    if found is None or told.time is None:
        return told.time
    ms, count = divmod(int(found[1], 16), PER_MS)
    after = (ms - int(told.time)) % _IDS_MS
    # Else the clock went back between the two.
    return int(told.time) + after + count / PER_MS if after < _IDS_MS // 2 else told.time


def _began(told: _Told) -> Members:
    return {} if told.time is None else {"began": told.time}
