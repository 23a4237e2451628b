"""opencode V1: `/event`, `/global/event` and the REST state, to canonical events and back.

- Identity: session, message and part ids as the wire has them; a part's id is its block index.
  Ids sort in the order of making, so that parts need no `order`; messages have their created time.
- Event ids (`evt_...`) are unique and ascending. On `/global/event` a stored change comes twice,
  plain and as a `sync` record with the same id: whichever comes first counts, the other is a
  duplicate. Old servers send no ids; what they send again is applied again.
- Seq: none. Sync records number a session's stored changes, but the plain twin and every delta
  carry nothing, so that number is left out.
- Resume: none. After a drop what was missed is gone; a reconnect means a resync, the REST state
  fetched after the new stream was opened. `server.connected` itself changes nothing.
- A delta is never stored by the server: a state read in the middle of an answer has "" for the
  part that streams. The `message.part.updated` that ends a part carries its whole text.
- `session.next.*` and the `/api` streams are V2, which is `opencode-v2`: unknown events here, as
  V1's of messages are there. Where one server has sessions of both, a stream of each takes its own
  from the same bytes. A session that is told in both ways is read in one: the parts of its prompts
  have other ids in the other. `auto` takes what V1's streams send for V1: where the sessions are
  V2, name it.

Sources: the types of opencode's published SDK (1.19.3), checked against streams recorded from
`opencode serve` 1.18.33.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeAlias

from ..errors import MalformedEvent, UnknownEvent
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
    SessionDiff,
    SessionError,
    SessionRemoved,
    SessionStatus,
    SessionUpdated,
    Snapshot,
    TodoUpdated,
)
from ..keys import is_id, is_order
from ..model import Json, Message, Part, Request, Session, Status, thaw
from .base import Declaration, DeltaShape, Reads, StatelessAdapter
from .members import (
    Members,
    a_list,
    a_string,
    an_event,
    an_id,
    an_object,
    are_lists,
    are_objects,
    describe,
    maybe_id,
    maybe_number,
    maybe_object,
    objects,
    path_to,
    wrong,
)

#: Body of an event, its path for error messages, and the event's id.
Handler: TypeAlias = Callable[[Members, str, str | None], Sequence[Event]]

_DELTA = "message.part.delta"

#: Known types that are about the server, the project or a terminal: they change no session.
_STATELESS = frozenset(
    "server.connected server.heartbeat server.instance.disposed global.disposed "
    "session.compacted command.executed file.edited file.watcher.updated vcs.branch.updated "
    "project.updated project.directories.updated lsp.updated lsp.client.diagnostics "
    "reference.updated catalog.updated integration.updated integration.connection.updated "
    "models-dev.refreshed mcp.tools.changed mcp.browser.open.failed installation.updated "
    "installation.update-available plugin.added pty.created pty.updated pty.exited pty.deleted "
    "workspace.ready workspace.failed workspace.status worktree.ready worktree.failed "
    "tui.prompt.append tui.command.execute tui.toast.show tui.session.select".split()
)

#: Part types of the wire; the canonical kinds have the same names.
_KINDS = frozenset(
    "text reasoning tool file step-start step-finish agent subtask compaction retry snapshot "
    "patch".split()
)
_STREAMED = frozenset(("text", "reasoning"))
_WORKING = frozenset(("pending", "running"))

#: Members of a wire part that address it; they are no fields.
_ADDRESS = frozenset(("id", "sessionID", "messageID", "type"))

# Names that mean something else in a canonical event. A wire member that has one of them stays
# what it is under the field `wire`, so that no unknown member is lost or taken for another.
_WIRE = "wire"
_ORIGINAL = "originalKind"
_PART_NAMES = frozenset(
    "sessionId messageId blockIndex seq generation kind order status whole gap previous field "
    "callId".split()
) | {_WIRE, _ORIGINAL}
_STATUS_NAMES = frozenset("sessionId seq generation id time status".split()) | {_WIRE}


class OpencodeAdapter(StatelessAdapter):
    """opencode V1 in, and its REST state (`{"sessions", "messages", "status", ...}`) in and out.

    - `{"id", "type", "properties"}`: an event of `/event`;
    - `{"directory"?, "project"?, "payload"}`: one of `/global/event`, plain or a `sync` record;
    - `{"sessions": [info], "messages": {sessionID: [{info, parts}]}, "status": {sessionID: ...},
      "todo": {sessionID: [...]}, "diff": {sessionID: [...]}, "permission": [...],
      "question": [...], "readFrom": token or {sessionID: token}}`: what the REST reads gave, of
      which `sessions` or `messages` is needed: one snapshot a session. A session whose messages
      were read is complete; with `status` read, a session it does not name is idle;
    - `{"sessionID", "messages": [{info, parts}], "complete"?, "before"?, "readFrom"?}`: one read
      of one session's messages, by default a page and not complete.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="opencode",
        sequencing="none",
        ids_unique=True,
        ids_ordered=True,
        snapshots=True,
        identity="session, message and part ids on every event",
    )
    delta: ClassVar[DeltaShape | None] = DeltaShape(
        type=_DELTA,
        body="properties",
        session="sessionID",
        message="messageID",
        block="partID",
        text="delta",
        field="field",
        envelope="payload",
        field_always=True,
        id="id",
        block_is_id=True,
        others_ignored=True,
    )

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event in its envelope, a wrapped one, or a state that was read."""
        if not isinstance(wire, dict):
            return False
        if "type" in wire:
            return _is_event(wire)
        if "payload" in wire:
            payload = wire["payload"]
            return isinstance(payload, dict) and (
                _is_event(payload)
                or (payload.get("type") == "sync" and isinstance(payload.get("syncEvent"), dict))
            )
        sessions, messages = wire.get("sessions"), wire.get("messages")
        if isinstance(messages, list):
            return is_id(wire.get("sessionID")) and are_objects(messages)
        if sessions is None:
            return are_lists(messages) and bool(messages)
        return are_objects(sessions) and (messages is None or are_lists(messages))

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; none for what changes no session.

        The first one is the principal, all of them carry the wire event's id.
        """
        wire = an_event(wire)
        if "type" in wire:
            return _decode(wire, "")
        if "payload" not in wire:
            return _read_state(wire)
        payload = wire["payload"]
        if not isinstance(payload, dict):
            raise MalformedEvent("payload", f"must be an object, not {describe(payload)}")
        if payload.get("type") == "sync":
            return _decode_sync(payload, "payload")
        return _decode(payload, "payload")

    def encode(self, reads: Reads) -> Json:
        """What the server's REST reads would give: see the class; linear in what is stored.

        Sessions stand latest update first, children behind; pending requests in order of id.
        """
        found = [(sid, reads.session(sid)) for sid in reads.session_ids()]
        sessions = [(sid, session) for sid, session in found if session is not None]
        infos = sorted((_session_info(*entry) for entry in sessions), key=_latest_first)
        return {
            "sessions": infos,
            "messages": {
                sid: [
                    {
                        "info": _message_info(message),
                        "parts": [_wire_part(part) for part in reads.parts(sid, message.id)],
                    }
                    for message in reads.messages(sid)
                ]
                for sid, _ in sessions
            },
            "status": {
                sid: _wire_status(session.status)
                for sid, session in sessions
                if session.status is not None and session.status.type != "idle"
            },
            "todo": {sid: thaw(session.todo) or [] for sid, session in sessions},
            "diff": {sid: thaw(session.diff) or [] for sid, session in sessions},
            "permission": _wire_requests(session.permissions for _, session in sessions),
            "question": _wire_requests(session.questions for _, session in sessions),
        }


# --- what a wire object is ----------------------------------------------------------------------


def _is_event(wire: Members) -> bool:
    # Every type has a dot; `{"type": "object", "properties": {...}}` is a JSON schema.
    kind = wire.get("type")
    return type(kind) is str and "." in kind and isinstance(wire.get("properties"), dict)


def _session_of(body: Members, at: str, owner: Members, owner_at: str, name: str) -> str:
    """The session that `owner` says it is of; the event, where it says too, must agree."""
    session_id = an_id(owner, name, owner_at)
    if maybe_id(body, "sessionID", at) not in (None, session_id):
        raise MalformedEvent(path_to(owner_at, name), "is not the session of the event")
    return session_id


# --- one event ------------------------------------------------------------------------------------


def _decode(wire: Members, at: str) -> Sequence[Event]:
    kind = wire.get("type")
    if type(kind) is not str:
        raise wrong(wire, "type", at, "a string")
    handle = _HANDLERS.get(kind)
    if handle is None:
        if kind in _STATELESS:
            return ()
        raise UnknownEvent(kind)
    body = wire.get("properties")
    if not isinstance(body, dict):
        raise wrong(wire, "properties", at, "an object")
    event_id = wire.get("id")
    if event_id is not None and not is_id(event_id):
        raise wrong(wire, "id", at, "a non-empty string")
    return handle(body, f"{at}.properties" if at else "properties", event_id)


def _decode_sync(payload: Members, at: str) -> Sequence[Event]:
    record = an_object(payload, "syncEvent", at)
    record_at = path_to(at, "syncEvent")
    versioned = a_string(record, "type", record_at)
    kind, _, version = versioned.rpartition(".")
    if kind in _STATELESS:
        return ()
    handle = _HANDLERS.get(kind)
    # Another version has another shape; its plain twin says the same in the shape known here.
    if handle is None or version != "1":
        raise UnknownEvent(versioned)
    event_id = maybe_id(record, "id", record_at) or maybe_id(payload, "id", at)
    return handle(an_object(record, "data", record_at), path_to(record_at, "data"), event_id)


def _delta(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    text = body.get("delta")
    if type(text) is not str:
        raise wrong(body, "delta", at, "a string")
    field = body.get("field", "text")
    return (
        BlockDelta(
            session_id=an_id(body, "sessionID", at),
            message_id=an_id(body, "messageID", at),
            block_index=an_id(body, "partID", at),
            text=text,
            field=field if field == "text" else an_id(body, "field", at),
            id=event_id,
        ),
    )


def _part_updated(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    # Old servers put the delta beside the part that holds it already: the part says all.
    wire = an_object(body, "part", at)
    part_at = path_to(at, "part")
    part = _read_part(wire, part_at)
    return (
        BlockReplaced(
            session_id=_session_of(body, at, wire, part_at, "sessionID"),
            message_id=part.message_id,
            block_index=part.id,
            kind=part.kind,
            text=part.text,
            whole=True,
            status=part.status,
            fields=part.fields,
            id=event_id,
        ),
    )


def _part_removed(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    return (
        BlockRemoved(
            session_id=an_id(body, "sessionID", at),
            message_id=an_id(body, "messageID", at),
            block_index=an_id(body, "partID", at),
            id=event_id,
        ),
    )


def _message_updated(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    info = an_object(body, "info", at)
    info_at = path_to(at, "info")
    session_id = _session_of(body, at, info, info_at, "sessionID")
    message = _read_message(info, info_at)
    updated = MessageUpdated(
        session_id=session_id,
        message_id=message.id,
        info=info,
        whole=True,
        role=message.role,
        parent_id=message.parent_id,
        order=message.order,
        id=event_id,
    )
    if message.status == "open":
        return (updated,)
    return (
        updated,
        MessageClosed(
            session_id=session_id,
            message_id=message.id,
            status=message.status,
            error=message.error,
            id=event_id,
        ),
    )


def _message_removed(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    return (
        MessageRemoved(
            session_id=an_id(body, "sessionID", at),
            message_id=an_id(body, "messageID", at),
            id=event_id,
        ),
    )


def _session_updated(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    info = an_object(body, "info", at)
    session_id = _session_of(body, at, info, path_to(at, "info"), "id")
    return (SessionUpdated(session_id=session_id, info=info, whole=True, id=event_id),)


def _session_deleted(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    if body.get("sessionID") is None and "info" in body:  # old servers
        session_id = an_id(an_object(body, "info", at), "id", path_to(at, "info"))
    else:
        session_id = an_id(body, "sessionID", at)
    return (SessionRemoved(session_id=session_id, id=event_id),)


def _session_status(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    status = _read_status(an_object(body, "status", at), path_to(at, "status"))
    return (
        SessionStatus(
            session_id=an_id(body, "sessionID", at),
            status=status.type,
            attempt=status.attempt,
            message=status.message,
            next=status.next,
            extra=status.fields,
            id=event_id,
        ),
    )


def _session_idle(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    # Comes right behind `session.status` idle, where it changes nothing; servers older than
    # that event have no other way to say so.
    return (SessionStatus(session_id=an_id(body, "sessionID", at), status="idle", id=event_id),)


def _session_error(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    session_id = maybe_id(body, "sessionID", at)
    error = maybe_object(body, "error", at)
    if session_id is None or error is None:
        return ()  # of the server, not of a session; or nothing is said of it
    name = an_id(error, "name", path_to(at, "error"))
    data = error.get("data")
    message = data.get("message") if isinstance(data, dict) else None
    said = {**error, "message": message if type(message) is str else name}
    return (SessionError(session_id=session_id, error=said, id=event_id),)


def _session_diff(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    diff = a_list(body, "diff", at)
    return (SessionDiff(session_id=an_id(body, "sessionID", at), diff=diff, id=event_id),)


def _todo_updated(body: Members, at: str, event_id: str | None) -> Sequence[Event]:
    todo = a_list(body, "todos", at)
    return (TodoUpdated(session_id=an_id(body, "sessionID", at), todo=todo, id=event_id),)


def _asked(
    cls: type[RequestAsked], body: Members, at: str, event_id: str | None
) -> Sequence[Event]:
    request = _read_request(body, at)
    return (
        cls(
            session_id=an_id(body, "sessionID", at),
            request_id=request["id"],
            message_id=request.get("messageId"),
            call_id=request.get("callId"),
            payload=body,
            id=event_id,
        ),
    )


def _answered(
    cls: type[RequestAnswered], body: Members, at: str, event_id: str | None
) -> Sequence[Event]:
    return (
        cls(
            session_id=an_id(body, "sessionID", at),
            request_id=an_id(body, "requestID", at),
            payload=body,
            id=event_id,
        ),
    )


_HANDLERS: Mapping[str, Handler] = {
    _DELTA: _delta,
    "message.part.updated": _part_updated,
    "message.part.removed": _part_removed,
    "message.updated": _message_updated,
    "message.removed": _message_removed,
    "session.created": _session_updated,
    "session.updated": _session_updated,
    "session.deleted": _session_deleted,
    "session.status": _session_status,
    "session.idle": _session_idle,
    "session.error": _session_error,
    "session.diff": _session_diff,
    "todo.updated": _todo_updated,
    "permission.asked": partial(_asked, PermissionAsked),
    "permission.v2.asked": partial(_asked, PermissionAsked),
    "permission.replied": partial(_answered, PermissionReplied),
    "permission.v2.replied": partial(_answered, PermissionReplied),
    "question.asked": partial(_asked, QuestionAsked),
    "question.v2.asked": partial(_asked, QuestionAsked),
    "question.replied": partial(_answered, QuestionReplied),
    "question.v2.replied": partial(_answered, QuestionReplied),
    "question.rejected": partial(_answered, QuestionRejected),
    "question.v2.rejected": partial(_answered, QuestionRejected),
}


# --- what events and fetched states share ---------------------------------------------------------


class _MessageFacts(NamedTuple):
    id: str
    role: str
    parent_id: str | None
    order: float | None
    status: str
    error: Members | None


def _read_message(info: Members, at: str) -> _MessageFacts:
    role = an_id(info, "role", at)
    time = maybe_object(info, "time", at) or {}
    error = maybe_object(info, "error", at)
    times = {}
    for name in ("created", "completed"):
        times[name] = time.get(name)
        if times[name] is not None and not is_order(times[name]):
            raise wrong(time, name, path_to(at, "time"), "a finite number")
    if error is not None:
        status = "aborted" if error.get("name") == "MessageAbortedError" else "error"
    elif role == "user" or times["completed"] is not None:
        # A user's message is whole when it comes, and no event says so later.
        status = "completed"
    else:
        status = "open"
    return _MessageFacts(
        id=an_id(info, "id", at),
        role=role,
        parent_id=maybe_id(info, "parentID", at),
        order=times["created"],
        status=status,
        error=error,
    )


class _PartFacts(NamedTuple):
    id: str
    message_id: str
    kind: str
    text: str | None
    status: str
    fields: Members


def _read_part(part: Members, at: str) -> _PartFacts:
    part_id, message_id = an_id(part, "id", at), an_id(part, "messageID", at)
    an_id(part, "sessionID", at)
    kind = an_id(part, "type", at)
    text = None
    status = "closed"
    if kind in _STREAMED:
        text = a_string(part, "text", at)
        time = maybe_object(part, "time", at)
        if time is not None and time.get("end") is None:
            status = "open"
    elif kind == "tool":
        state = an_object(part, "state", at)
        if an_id(state, "status", path_to(at, "state")) in _WORKING:
            status = "open"
    if text is None and type(part.get("text")) is str:
        text = part["text"] or None
    fields: Members = {}
    strange: Members = {}
    for name, value in part.items():
        if name in _ADDRESS:
            continue
        if name == "text":
            if text is None:
                strange[name] = value
        elif name == "callID":
            fields["callId"] = value
        elif name in _PART_NAMES or (name == "time" and not isinstance(value, dict)):
            strange[name] = value
        else:
            fields[name] = value
    if strange:
        fields[_WIRE] = strange
    if kind not in _KINDS:
        fields[_ORIGINAL] = kind
        kind = "unknown"
    return _PartFacts(part_id, message_id, kind, text, status, fields)


def _read_status(status: Members, at: str) -> Status:
    message = status.get("message")
    if message is not None:
        a_string(status, "message", at)
    fields: Members = {}
    strange: Members = {}
    for name, value in status.items():
        if name not in ("type", "attempt", "message", "next"):
            (strange if name in _STATUS_NAMES else fields)[name] = value
    if strange:
        fields[_WIRE] = strange
    return Status(
        type=an_id(status, "type", at),
        attempt=maybe_number(status, "attempt", at),
        message=message,
        next=maybe_number(status, "next", at),
        fields=fields,
    )


def _read_request(entry: Members, at: str) -> Members:
    """A permission or question: `{"id", "messageId"?, "callId"?, "payload"}`."""
    request: Members = {"id": an_id(entry, "id", at), "payload": entry}
    name = "tool" if entry.get("tool") is not None else "source"
    tool = maybe_object(entry, name, at) or {}
    for ours, theirs in (("messageId", "messageID"), ("callId", "callID")):
        value = maybe_id(tool, theirs, path_to(at, name))
        if value is not None:
            request[ours] = value
    return request


# --- a fetched state ------------------------------------------------------------------------------


def _read_state(wire: Members) -> Sequence[Event]:
    if isinstance(wire.get("messages"), list):
        return (_read_page(wire),)
    if "sessions" not in wire and "messages" not in wire:
        raise MalformedEvent("type", "is missing")
    infos = _infos(wire)
    messages = _by_session(wire, "messages", list)
    statuses = _by_session(wire, "status", dict)
    todos = _by_session(wire, "todo", list)
    diffs = _by_session(wire, "diff", list)
    permissions = _requests(wire, "permission")
    questions = _requests(wire, "question")
    # What is asked of a session counts also where the reads did not list that session.
    everything = (infos, messages, statuses, todos, diffs, permissions, questions)
    session_ids = dict.fromkeys(sid for found in everything for sid in found or ())
    snapshots = []
    for sid in session_ids:
        status: Members | None = None
        if statuses is not None:
            status = {"type": "idle"}
            if sid in statuses:
                status = _canonical_status(_read_status(statuses[sid], f"status.{sid}"))
        snapshots.append(
            Snapshot(
                session_id=sid,
                messages=_read_messages((messages or {}).get(sid, []), f"messages.{sid}"),
                complete=sid in (messages or {}),
                read_from=_token(wire, sid),
                info=(infos or {}).get(sid),
                status=status,
                todo=(todos or {}).get(sid),
                diff=(diffs or {}).get(sid),
                permissions=None if permissions is None else permissions.get(sid, []),
                questions=None if questions is None else questions.get(sid, []),
            )
        )
    return tuple(snapshots)


def _read_page(wire: Members) -> Snapshot:
    session_id = an_id(wire, "sessionID", "")
    complete = wire.get("complete", False)
    if type(complete) is not bool:
        raise wrong(wire, "complete", "", "true or false")
    return Snapshot(
        session_id=session_id,
        messages=_read_messages(wire["messages"], "messages"),
        complete=complete,
        before=maybe_id(wire, "before", ""),
        read_from=_token(wire, session_id),
    )


def _read_messages(entries: list[Any], at: str) -> list[Json]:
    found: list[Json] = []
    for number, entry in enumerate(entries):
        entry_at = f"{at}.{number}"
        if not isinstance(entry, dict):
            raise MalformedEvent(entry_at, f"must be an object, not {describe(entry)}")
        info = an_object(entry, "info", entry_at)
        facts = _read_message(info, f"{entry_at}.info")
        message: Members = {
            "info": info,
            "id": facts.id,
            "role": facts.role,
            "status": facts.status,
        }
        extras = (("parentId", facts.parent_id), ("order", facts.order), ("error", facts.error))
        message.update((name, value) for name, value in extras if value is not None)
        message["parts"] = [
            _canonical_part(_read_part(part, f"{entry_at}.parts.{place}"))
            for place, part in enumerate(objects(entry, "parts", entry_at))
        ]
        found.append(message)
    return found


def _canonical_part(part: _PartFacts) -> Members:
    members: Members = {"blockIndex": part.id, "kind": part.kind, "status": part.status}
    if part.text is not None:
        members["text"] = part.text
    return {**members, **part.fields}


def _canonical_status(status: Status) -> Members:
    given = (("attempt", status.attempt), ("message", status.message), ("next", status.next))
    members = {"type": status.type, **status.fields}
    members.update((name, value) for name, value in given if value is not None)
    return members


def _infos(wire: Members) -> dict[str, Members] | None:
    if wire.get("sessions") is None:
        return None
    infos = {}
    for number, info in enumerate(objects(wire, "sessions", "")):
        infos[an_id(info, "id", f"sessions.{number}")] = info
    return infos


def _by_session(wire: Members, name: str, kind: type) -> dict[str, Any] | None:
    found = maybe_object(wire, name, "")
    for sid, value in (found or {}).items():
        if not sid:
            raise MalformedEvent(name, "has an empty session id")
        if not isinstance(value, kind):
            expected = "an object" if kind is dict else "an array"
            raise MalformedEvent(f"{name}.{sid}", f"must be {expected}, not {describe(value)}")
    return found


def _requests(wire: Members, name: str) -> dict[str, list[Json]] | None:
    if wire.get(name) is None:
        return None
    found: dict[str, list[Json]] = {}
    for number, entry in enumerate(objects(wire, name, "")):
        at = f"{name}.{number}"
        found.setdefault(an_id(entry, "sessionID", at), []).append(_read_request(entry, at))
    return found


def _token(wire: Members, session_id: str) -> str | None:
    if isinstance(wire.get("readFrom"), dict):
        return maybe_id(wire["readFrom"], session_id, "readFrom")
    return maybe_id(wire, "readFrom", "")


# --- back to the wire -----------------------------------------------------------------------------


def _session_info(session_id: str, session: Session) -> Members:
    return {"id": session_id, **thaw(session.info)}


def _latest_first(info: Members) -> tuple[bool, float, str]:
    time = info.get("time")
    updated = time.get("updated") if isinstance(time, dict) else None
    latest = -updated if is_order(updated) else math.inf
    return info.get("parentID") is not None, latest, str(info["id"])


def _message_info(message: Message) -> Members:
    info: Members = thaw(message.info)
    if "id" in info:
        return info
    # Of this client's own message, and of one that only deltas announced, the store knows less.
    known: Members = {"id": message.id, "sessionID": message.session_id}
    if message.role:
        known["role"] = message.role
    if message.parent_id is not None:
        known["parentID"] = message.parent_id
    if message.order is not None:
        known["time"] = {"created": message.order}
    return {**known, **info}


def _wire_part(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    strange = _strange(fields)
    original = fields.pop(_ORIGINAL, None)
    wire: Members = {
        "id": part.block_index,
        "sessionID": part.session_id,
        "messageID": part.message_id,
        "type": original if isinstance(original, str) else part.kind,
    }
    if "callId" in fields:
        wire["callID"] = fields.pop("callId")
    # A whole part says what its fields are; text that was streamed into one shows until then.
    wire.update((field, view.raw()) for field, view in part.others.items())
    wire.update(fields)
    wire.update(strange)
    if part.kind in _STREAMED or len(part.view):
        wire["text"] = part.view.raw()
    return wire


def _wire_status(status: Status) -> Members:
    members: Members = thaw(_canonical_status(status))
    members.update(_strange(members))
    return members


def _strange(fields: Members) -> Members:
    """Take out the members that could not stand beside the canonical ones."""
    strange = fields.get(_WIRE)
    if not isinstance(strange, dict):
        return {}
    del fields[_WIRE]
    return strange


def _wire_requests(tables: Iterable[Mapping[str, Request]]) -> list[Members]:
    requests = [request for table in tables for request in table.values()]
    return [_wire_request(request) for request in sorted(requests, key=lambda one: one.id)]


def _wire_request(request: Request) -> Members:
    wire: Members = {"id": request.id, "sessionID": request.session_id}
    if request.message_id is not None and request.call_id is not None:
        if "source" not in request.payload:
            wire["tool"] = {"messageID": request.message_id, "callID": request.call_id}
    return {**wire, **thaw(request.payload)}
