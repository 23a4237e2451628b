"""ACP, the agent client protocol: `session/update` notifications to canonical events and back.

- Identity: `sessionId` on every notification, `toolCallId` on tools, `messageId` on chunks where an
  agent gives it. Chunks without one belong to the message that is open: another role, or a prompt,
  begins the next. Ids that are missing are ours. What an agent says, thinks and calls in between
  stands in one message, each run of chunks of one kind as a part.
- Seq: none, and no event ids. A single notification that is sent twice counts twice.
- Resume: none. An agent answers `session/load` with its whole history as the same notifications:
  so that request, fed to the stream as it was sent, clears the session first. Without it a replay
  stands beside what is there, but for tools and for chunks that name their message, which append.
- Snapshots: none to fetch.
- Order: messages stand in order of arrival (1, 2, 3, ...), and so do parts.
- Chunks append. `tool_call` sets all of a tool, `tool_call_update` what it carries and is not null;
  a status that is behind the one that is known is refused, other members are not.
- The `_meta` of a tool, and that of chunks, is a field of its part, merged by key, and an object in
  it by its members: a null takes a key away. It parts no text: whose a chunk is, its message says.
  The text of a terminal in it (`data` of `terminal_output` and
  `terminal_output_delta`) streams into the part's field `output` instead: a chunk appends, but once
  a delta came, a `terminal_output` is all of it. A tool without `name` is called what `_meta` calls
  it (`claudeCode.toolName`, `tool_name`), else by its kind.
- A stream may hold both directions: requests for a permission or for the user's input (a question)
  and their answers, prompts (a turn of the session) and theirs, and those that begin or load a
  session or set its mode, whose answers have its modes and options. Other requests and answers
  say nothing about the session, nor does a question that belongs to none.
- Both sides number their requests by themselves: one id may wait on both. What an answer carries
  says whose it is; an error is the agent's request's, which is the younger one.
  `initialize` begins another connection, in which nothing of an earlier one is answered.
- The id of a permission or question is that of its request as JSON (`5`, `"a"`). Agents number anew
  in each connection: one that is used again for something else has spaces behind it, one for each
  time, which are nothing to JSON.
- A compaction is a part where it was first spoken of; of its summary the text is kept. A `notice`
  is of no session's history: it is counted as unknown.
- A prompt itself is no message: agents that echo it send it as `user_message_chunk`.
- Nothing ends a message: the answer to the prompt does, and to `session/load`, the next prompt, and
  what the other role says next. A turn that was cancelled or failed ended so where it was: in the
  last message, and in those whose tools still ran.

Sources: the schema and `SessionAccumulator` of the published Python package
(agent-client-protocol 0.12.1), and sessions folded by it; of `_meta`, what claude-agent-acp 0.101.0
and codex-acp 2.6.0 send, and Zed reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import attrs

from ..errors import UnknownEvent
from ..events import (
    BlockClosed,
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
    SessionError,
    SessionRemoved,
    SessionStatus,
    SessionUpdated,
    TodoUpdated,
    TurnCompleted,
    TurnStarted,
)
from ..keys import PartKey, is_id, is_number
from ..model import TOOL_RANKS, Json, Part, thaw
from .base import Context, Declaration, DeltaShape, PlainDelta, Reads
from .members import (
    Members,
    a_string,
    an_event,
    an_id,
    an_object,
    maybe_id,
    maybe_object,
    objects,
    wrong,
)

Handler: TypeAlias = Callable[["AcpAdapter", str, Members, str], Sequence[Event]]

#: Messages, tools and plans of a session that are remembered, requests of a stream, and sessions
#: whose open part it has at hand.
_MESSAGES, _CALLS, _PLANS, _REQUESTS, _OPEN = 64, 256, 64, 256, 64

_CHUNKS: Mapping[str, tuple[str, str]] = {
    "user_message_chunk": ("user", "text"),
    "agent_message_chunk": ("assistant", "text"),
    "agent_thought_chunk": ("assistant", "reasoning"),
}
_CHUNK_OF: Mapping[tuple[str, str], str] = {kind: chunk for chunk, kind in _CHUNKS.items()}
_STATUSES: Mapping[str, str] = {
    "pending": "pending",
    "in_progress": "running",
    "completed": "completed",
    "failed": "error",
}
#: Members of a tool that are remembered, to say its state whole.
_STATED = ("title", "kind", "name", "status", "rawInput", "rawOutput")
#: Those of them that are of the wire, and those that may be anything.
_SAID_OF_IT, _RAW = ("kind", "name", "status"), ("rawInput", "rawOutput")
#: Members of a tool that are fields of its part as they came.
_FIELDS = ("content", "locations")
#: Keys of a tool's `_meta` that carry text of a terminal, all of it or more; the field that it
#: streams into; keys, and members of each, that are remembered.
_TERMINAL, _OUTPUT, _META = ("terminal_output", "terminal_output_delta"), "output", 64
#: Keys of it that clients read in a `tool_call_update` only.
_SHOWN = (*_TERMINAL, "terminal_exit")
#: Requests and answers that say nothing about a session; those of them that the agent sends.
_SILENT = (
    *("initialize", "authenticate", "logout", "session/", "fs/", "terminal/", "$/", "_"),
    "elicitation/complete",
)
_SILENT_ASKED = ("fs/", "terminal/")
#: What the answer to a request of the agent carries.
_CARRIED: Mapping[str, str] = {"permission": "outcome", "question": "action"}

#: Requests whose answer says how a session is set, and members of them that it sets by succeeding.
_SETTING = frozenset(
    f"session/{what}" for what in "new resume fork set_mode set_model set_config_option".split()
)
_SET: Mapping[str, str] = {"modeId": "currentModeId", "modelId": "currentModelId"}

#: Requests that only this protocol has.
_DETECTED = (
    *("session/prompt", "session/load", "session/request_permission"),
    "elicitation/create",
)

_WIRE = "wire"


class AcpAdapter:
    """ACP notifications in, and out: those that would replay the sessions.

    - `{"jsonrpc", "method": "session/update", "params": {"sessionId", "update"}}`, or the params
      alone;
    - requests and answers of `session/prompt`, `session/request_permission`, `elicitation/create`,
      `session/load`, and those that say how a session is set (`session/new`, ...).

    Remembers of each session the last messages (of each how many parts it has and which is open),
    compactions and tools (their state) and which ids of requests were used for what, and per stream
    which requests wait for an answer.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="acp",
        sequencing="none",
        identity="session id; message id where an agent gives it; tool call id",
    )
    delta: ClassVar[DeltaShape | None] = None

    def __init__(self, context: Context) -> None:
        self._session = context.session_id
        self._new_id = context.new_id
        self._own = context.own
        self._context = context
        self._foreign: tuple[str, Members] = ("", {})
        # Made as chunks come: by session the kind, message id and `_meta` of the open part's
        # chunks, and its key, so that a plain chunk makes no tuple; good until the session moves
        # on.
        self._plain: dict[str, tuple[str, str | None, Json, PartKey, Members, int]] = {}

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """A notification of an update, or another request of a session."""
        if not isinstance(wire, dict):
            return False
        method = wire.get("method")
        params: Any = wire
        if method is not None:
            params = wire.get("params")
            if wire.get("jsonrpc") != "2.0" or not isinstance(params, dict):
                return False
            if method in _DETECTED:
                return type(params.get("sessionId")) is str
            if method != "session/update":
                return False
        update = params.get("update")
        return (
            type(params.get("sessionId")) is str
            and isinstance(update, dict)
            and type(update.get("sessionUpdate")) is str
        )

    def plain(self, wire: Any) -> PlainDelta | None:
        """The short way of a chunk of text for the part that is open."""
        method = wire.get("method")
        if method is not None and method != "session/update":
            return None
        params = wire if method is None else wire["params"]
        update = params["update"]
        kind, message_id, meta, key, memory, moves = self._plain[params["sessionId"]]
        content = update["content"]
        text = content["text"]
        if (
            update["sessionUpdate"] == kind
            and update.get("messageId") == message_id
            and update.get("_meta") == meta
            and content["type"] == "text"
            and text.__class__ is str
            and memory.get("moves") == moves  # no other stream went on to another part
        ):
            return (key, text, None)
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one JSON-RPC object; none for what changes no session."""
        wire = an_event(wire)
        method = wire.get("method")
        if method is None:
            return self._update(wire, "") if "update" in wire else self._answer(wire)
        if type(method) is not str:
            raise wrong(wire, "method", "", "a string")
        if method == "session/update":
            return self._update(an_object(wire, "params"), "params")
        if method == "session/prompt":
            return self._prompt(wire)
        if method == "session/request_permission":
            return self._permission(wire)
        if method == "elicitation/create":
            return self._question(wire)
        if method == "session/load":
            return self._load(wire)
        if method in _SETTING:
            return self._setting(wire)
        if method.startswith(_SILENT):
            if method == "initialize":  # a connection begins: nothing of an earlier one is answered
                for table in ("requests", "asked"):
                    self._own.pop(table, None)
            if method.startswith(_SILENT_ASKED) and wire.get("id") is not None:
                self._await("asked", _request_name(wire), ["", ""])
            return ()
        raise UnknownEvent(method)

    def encode(self, reads: Reads) -> Json:
        """The notifications that replay all sessions, in order: what `session/load` is answered.

        Each part is one chunk, each tool one `tool_call` with all that is known of it; then what
        the session itself has. Linear in what is stored.
        """
        found: list[Json] = []
        for session_id in reads.session_ids():
            updates: list[Json] = []
            for message in reads.messages(session_id):
                for part in reads.parts(session_id, message.id):
                    update = _wire_update(part, message.role or "assistant")
                    named = message.info.get("messageId")
                    if named is not None and part.kind not in ("tool", "compaction"):
                        update["messageId"] = named
                    updates += [update, *_wire_terminal(part)]
            session = reads.session(session_id)
            if session is not None:
                updates += _wire_session(thaw(session.info), thaw(session.todo))
            found += [{"sessionId": session_id, "update": update} for update in updates]
        return found

    # -- messages and their parts --------------------------------------------------------------

    def _of_session(self, session_id: str) -> Members:
        """What is remembered of a session; of a foreign one, as long as no other comes."""
        if not self._context.bound or session_id == self._session:
            return self._context.of_session(session_id)
        if self._foreign[0] != session_id:
            self._foreign = session_id, {}
        return self._foreign[1]

    def _update(self, params: Members, at: str) -> Sequence[Event]:
        session_id = an_id(params, "sessionId", at)
        update = an_object(params, "update", at)
        at = f"{at}.update" if at else "update"
        kind = an_id(update, "sessionUpdate", at)
        if kind in _CHUNKS:
            return self._chunk(session_id, update, at)
        handle = _UPDATES.get(kind)
        if handle is None:
            raise UnknownEvent(kind)
        return handle(self, session_id, update, at)

    def _message(
        self, session_id: str, role: str, given: str | None, inner: bool = False
    ) -> tuple[str, Members, list[Event]]:
        """The message that something belongs to, made when it is new; its memory and opening.

        What is `inner`, a tool, has no message id: it belongs to what the agent last said.
        """
        memory = self._of_session(session_id)
        messages: dict[str, Members] = memory.setdefault("messages", {})
        before = memory.get("current")
        current = messages.get(memory.get("current", ""))
        same = current is not None and current["role"] == role and not memory.get("bounded")
        if given is not None and given in messages and messages[given]["role"] == role:
            memory["current"] = given
            memory["bounded"] = False
            if given != before:
                self._move(memory)
            return given, messages[given], []
        if current is not None and same and (inner or current["named"] == given):
            return memory["current"], current, []
        message_id = given if given is not None and given not in messages else self._new_id()
        memory["count"] = order = memory.get("count", 0) + 1
        memory["current"], memory["bounded"] = message_id, False
        self._move(memory)
        ended = self._ended(session_id, {"user": "assistant", "assistant": "user"}[role])
        known = {"role": role, "named": given, "parts": 0, "open": None, "closed": False}
        messages[message_id] = known
        if len(messages) > _MESSAGES:
            oldest = next(iter(messages))
            if not messages.pop(oldest).get("closed", True):
                ended.append(MessageClosed(session_id=session_id, message_id=oldest))
        opened = MessageOpened(
            session_id=session_id,
            message_id=message_id,
            role=role,
            order=order,
            info=None if given is None else {"messageId": given},
        )
        return message_id, known, [opened, *ended]

    def _ended(
        self,
        session_id: str,
        role: str = "",
        status: str = "completed",
        error: Members | None = None,
    ) -> list[Event]:
        """The messages that are open, of one role or of both, have ended; the agent's as said."""
        memory = self._of_session(session_id)
        running = {
            call["message"]
            for call in memory.get("calls", {}).values()
            if TOOL_RANKS[_STATUSES.get(call["said"].get("status", ""), "pending")]
            < TOOL_RANKS["completed"]
        }
        events: list[Event] = []
        for message_id, known in memory.get("messages", {}).items():
            if known.get("closed") or role not in ("", known["role"]):
                continue
            known["closed"] = True
            closed = MessageClosed(session_id=session_id, message_id=message_id)
            if known["role"] == "assistant" and message_id == memory["current"]:
                closed = attrs.evolve(closed, status=status, error=error)
            elif message_id in running and status != "completed":
                closed = attrs.evolve(closed, status="aborted")
            events.append(closed)
        return events

    @staticmethod
    def _move(memory: Members) -> None:
        """What comes next does not belong to the part that was open."""
        memory["moves"] = memory.get("moves", 0) + 1

    def _next_part(self, at: dict[str, Any], known: Members, kind: str | None) -> list[Event]:
        """Count a part of a message; what ends the one that was open."""
        self._move(self._of_session(at["session_id"]))
        before = known["open"]
        at["block_index"] = number = known["parts"]
        known["parts"] = number + 1
        known["open"] = None if kind is None else [number, kind]
        known.pop("meta", None)
        if before is None:
            return []
        return [BlockClosed(**{**at, "block_index": before[0]})]

    def _chunk(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        role, kind = _CHUNKS[update["sessionUpdate"]]
        content = an_object(update, "content", at)
        type_ = an_id(content, "type", f"{at}.content")
        given = maybe_id(update, "messageId", at)
        text = a_string(content, "text", f"{at}.content") if type_ == "text" else None
        message_id, known, events = self._message(session_id, role, given)
        where: dict[str, Any] = {"session_id": session_id, "message_id": message_id}
        said = update.get("_meta")
        said = said if isinstance(said, dict) else {}  # else it says nothing: the text counts
        if text is None:
            closed = self._next_part(where, known, None)
            fields = {_WIRE: {"chunk": update["sessionUpdate"], "content": content}}
            fields |= _meta_field(_merged({}, said))
            ours = "file" if type_ in _FILES else "unknown"
            return [
                *events,
                BlockOpened(**where, kind=ours, order=where["block_index"], fields=fields),
                BlockClosed(**where),
                *closed,
            ]
        if known["open"] is not None and known["open"][1] == kind:
            where["block_index"] = known["open"][0]
            events.append(BlockDelta(**where, text=text))
            held = known.get("meta", {})
            meta = _merged(held, said)
            if meta != held:
                known["meta"] = meta
                self._move(self._of_session(session_id))  # of another stream, the short way
                events.append(BlockUpdated(**where, kind=kind, fields={"_meta": meta}))
        else:
            closed = self._next_part(where, known, kind)
            rest = {name: value for name, value in content.items() if name not in ("type", "text")}
            fields = {_WIRE: {"content": rest}} if rest else {}
            fields |= _meta_field(_merged({}, said))
            if "_meta" in fields:
                known["meta"] = fields["_meta"]
            order = where["block_index"]
            opened = BlockOpened(**where, kind=kind, order=order, fields=fields)
            events += [opened, BlockDelta(**where, text=text), *closed]
        key = PartKey(session_id, message_id, where["block_index"])
        memory = self._of_session(session_id)
        if session_id not in self._plain and len(self._plain) >= _OPEN:
            del self._plain[next(iter(self._plain))]
        self._plain[session_id] = (
            update["sessionUpdate"],
            given,
            update.get("_meta"),
            key,
            memory,
            memory.setdefault("moves", 0),
        )
        return events

    # -- tools ---------------------------------------------------------------------------------

    def _tool_call(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        call_id = an_id(update, "toolCallId", at)
        a_string(update, "title", at)
        said = _read_tool(update, at)
        return self._tool(session_id, call_id, said, whole=True)

    def _tool_update(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        call_id = an_id(update, "toolCallId", at)
        said = _read_tool(update, at)
        return self._tool(session_id, call_id, said, whole=False)

    def _tool(
        self,
        session_id: str,
        call_id: str,
        said: Members,
        whole: bool,
        waiting: bool = False,
    ) -> list[Event]:
        memory = self._of_session(session_id)
        calls: dict[str, Members] = memory.setdefault("calls", {})
        known = calls.get(call_id)
        events: list[Event] = []
        where: dict[str, Any] = {"session_id": session_id}
        closed: list[Event] = []
        if known is None:
            message_id, message, events = self._message(session_id, "assistant", None, inner=True)
            where["message_id"] = message_id
            closed = self._next_part(where, message, None)
            known = {"message": message_id, "block": where["block_index"], "said": {}}
            calls[call_id] = known
            if len(calls) > _CALLS:
                del calls[next(iter(calls))]
            new = True
        else:
            where.update(message_id=known["message"], block_index=known["block"])
            new = False
        merged = dict(said) if whole else {**known["said"], **said}
        rank = TOOL_RANKS[_STATUSES.get(merged.get("status", ""), "pending")]
        behind = TOOL_RANKS[_STATUSES.get(known["said"].get("status", ""), "pending")]
        if not whole and rank < behind:
            merged["status"] = known["said"]["status"]  # what ended does not begin again
        known["said"] = {name: value for name, value in merged.items() if name in _STATED}
        held = {} if whole else known.get("meta", {})
        known["meta"], printed, anew = _merge_meta(held, said.get("_meta", {}))
        fields: Members = {name: said[name] for name in _FIELDS if name in said}
        if known["meta"] != held:
            fields["_meta"] = known["meta"]
        if anew:
            fields[_OUTPUT] = ""  # what it showed is gone
        output = merged.get("rawOutput", merged.get("content"))
        # It is pending as long as nothing else is said, but waits since it was asked about.
        known["waits"] = waiting or (known.get("waits", False) and not whole and not rank)
        fields["state"] = _state(known["said"], output, known["waits"])
        if output is not None and "rawOutput" not in known["said"]:
            known["said"]["content"] = output  # what comes next says the state whole
        fields["callId"] = call_id
        name = merged.get("name") or _meta_name(known["meta"]) or merged.get("kind")
        if name:
            fields["tool"] = name
        wire = {name: known["said"][name] for name in _SAID_OF_IT if name in known["said"]}
        fields[_WIRE] = {**wire, "raw": [name for name in _RAW if name in known["said"]]}
        if new:
            order = where["block_index"]
            events.append(BlockOpened(**where, kind="tool", order=order, fields=fields))
        elif whole or waiting or anew or said.keys() - {"_meta"} or known["meta"] != held:
            events.append(BlockUpdated(**where, kind="tool", whole=whole, fields=fields))
        if printed:
            events.append(BlockDelta(**where, field=_OUTPUT, text=printed))
        if rank == TOOL_RANKS["completed"]:
            events.append(BlockClosed(**where))
        return [*events, *closed]

    # -- compactions ---------------------------------------------------------------------------

    def _compacted(
        self, session_id: str, update: Members, at: str
    ) -> tuple[dict[str, Any], Members, list[Event]]:
        """The part of a compaction, made where it is first spoken of; its memory, what made it."""
        compaction_id = an_id(update, "compactionId", at)
        compactions: dict[str, Members] = self._of_session(session_id).setdefault("compactions", {})
        known = compactions.get(compaction_id)
        where: dict[str, Any] = {"session_id": session_id}
        if known is not None:
            where.update(message_id=known["message"], block_index=known["block"])
            return where, known, []
        message_id, message, events = self._message(session_id, "assistant", None, inner=True)
        where["message_id"] = message_id
        closed = self._next_part(where, message, None)
        known = {"message": message_id, "block": where["block_index"]}
        known[_WIRE] = {"compactionId": compaction_id, "status": "in_progress"}
        compactions[compaction_id] = known
        if len(compactions) > _PLANS:
            del compactions[next(iter(compactions))]
        order, fields = where["block_index"], {_WIRE: known[_WIRE]}
        opened = BlockOpened(**where, kind="compaction", order=order, fields=fields)
        return where, known, [*events, opened, *closed]

    def _compaction(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        status = a_string(update, "status", at)
        whole = "summary" in update
        pieces = objects(update, "summary", at) if update.get("summary") is not None else []
        texts = [
            a_string(piece, "text", f"{at}.summary.{number}")
            for number, piece in enumerate(pieces)
            if piece.get("type") == "text"
        ]
        where, known, events = self._compacted(session_id, update, at)
        known[_WIRE] = {**known[_WIRE], "status": status}
        if "error" in update:
            known[_WIRE]["error"] = update["error"]
        fields = {_WIRE: known[_WIRE]}
        text = "".join(texts) if whole else None
        events.append(BlockReplaced(**where, kind="compaction", text=text, fields=fields))
        return events if status == "in_progress" else [*events, BlockClosed(**where)]

    def _summary(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        content = an_object(update, "content", at)
        said = an_id(content, "type", f"{at}.content") == "text"
        text = a_string(content, "text", f"{at}.content") if said else ""
        where, _, events = self._compacted(session_id, update, at)
        return [*events, BlockDelta(**where, text=text)]

    # -- the session ---------------------------------------------------------------------------

    def _info(self, session_id: str, info: Members) -> list[Event]:
        return [SessionUpdated(session_id=session_id, info=info)]

    def _plan(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        return (TodoUpdated(session_id=session_id, todo=objects(update, "entries", at)),)

    def _plan_update(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        plan = an_object(update, "plan", at)
        plan_id = _plan_id(plan, f"{at}.plan")
        entries = objects(plan, "entries", f"{at}.plan") if "entries" in plan else None
        plans: dict[str, Members] = self._of_session(session_id).setdefault("plans", {})
        plans[plan_id] = plan
        if len(plans) > _PLANS:
            del plans[next(iter(plans))]
        events = self._info(session_id, {"plans": dict(plans)})
        if entries is not None:
            events.append(TodoUpdated(session_id=session_id, todo=entries))
        return events

    def _plan_removed(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        plan_id = _plan_id(update, at)
        plans: dict[str, Members] = self._of_session(session_id).setdefault("plans", {})
        gone = plans.pop(plan_id, {})
        events = self._info(session_id, {"plans": dict(plans)})
        if "entries" in gone:
            events.append(TodoUpdated(session_id=session_id, todo=[]))
        return events

    def _session_info(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        rest = {name: value for name, value in update.items() if name != "sessionUpdate"}
        if rest.get("_meta", ()) is None:  # of a dump that has all members: it says nothing
            del rest["_meta"]
        if update["sessionUpdate"] == "usage_update":
            rest = {"usage": rest}
        return self._info(session_id, rest)

    def _setting(self, wire: Members) -> Sequence[Event]:
        """The client begins a session, goes on with one, or sets something of it."""
        params = maybe_object(wire, "params") or {}
        session_id = maybe_id(params, "sessionId", "params") or ""  # else the answer names it
        info = {ours: params[name] for name, ours in _SET.items() if type(params.get(name)) is str}
        if wire.get("id") is not None:
            self._await("requests", _request_name(wire), ["set", session_id, json.dumps(info)])
        return ()

    def _settings(self, session_id: str, info: Members, said: Members) -> list[Event]:
        """How a session is set, by what the client asked for and the answer says."""
        for name in ("modes", "models"):
            state = said.get(name)
            info.update(state if isinstance(state, dict) else {})
        if isinstance(said.get("configOptions"), list):
            info["configOptions"] = said["configOptions"]
        info.pop("_meta", None)
        return self._info(session_id, info) if info and session_id else []

    def _load(self, wire: Members) -> Sequence[Event]:
        """The agent will send its whole history: what is there goes first."""
        session_id = an_id(an_object(wire, "params"), "sessionId", "params")
        if "id" in wire:
            self._await("requests", _request_name(wire), ["load", session_id])
        memory = self._of_session(session_id)
        kept = {"moves": memory.get("moves", 0) + 1, "named": memory.get("named", {})}
        memory.clear()
        memory.update(kept)
        return (
            SessionRemoved(session_id=session_id),
            SessionUpdated(session_id=session_id, whole=True),
        )

    def _prompt(self, wire: Members) -> Sequence[Event]:
        session_id = an_id(an_object(wire, "params"), "sessionId", "params")
        name = _request_name(wire)
        self._await("requests", name, ["prompt", session_id])
        memory = self._of_session(session_id)
        memory["bounded"] = True
        self._move(memory)
        return (
            TurnStarted(session_id=session_id),
            SessionStatus(session_id=session_id, status="busy"),
            *self._ended(session_id),
        )

    def _await(self, table: str, name: str, what: list[str]) -> None:
        """Note a request of the client (`requests`) or of the agent (`asked`)."""
        waiting: dict[str, list[str]] = self._own.setdefault(table, {})
        waiting[name] = what
        if len(waiting) > _REQUESTS:
            del waiting[next(iter(waiting))]

    def _ask(self, what: str, session_id: str, name: str, of: str) -> str:
        """Note a request of the agent; the id it has in the session, where an answered one is
        never asked again. `of`: what it is about, if it is only sent again."""
        named: dict[str, list[Any]] = self._of_session(session_id).setdefault("named", {})
        key = f"{what} {name}"
        before, times = named.pop(key, (of, 0))
        times += before != of
        named[key] = [of, times]
        if len(named) > self._context.limits.answered_requests:
            del named[next(iter(named))]
        request_id = name + " " * times
        self._await("asked", name, [what, session_id, request_id])
        return request_id

    def _permission(self, wire: Members) -> Sequence[Event]:
        params = an_object(wire, "params")
        session_id = an_id(params, "sessionId", "params")
        call = an_object(params, "toolCall", "params")
        call_id = an_id(call, "toolCallId", "params.toolCall")
        said = _read_tool(call, "params.toolCall")
        name = _request_name(wire)
        request_id = self._ask("permission", session_id, name, call_id)
        events = self._tool(session_id, call_id, said, whole=False, waiting=True)
        known = self._of_session(session_id)["calls"][call_id]
        asked = PermissionAsked(
            session_id=session_id,
            request_id=request_id,
            message_id=known["message"],
            call_id=call_id,
            payload={member: value for member, value in params.items() if member != "sessionId"},
        )
        return [*events, asked]

    def _question(self, wire: Members) -> Sequence[Event]:
        """The agent wants something of the user, for a session or for a request of the client."""
        params = an_object(wire, "params")
        name = _request_name(wire)
        session_id = maybe_id(params, "sessionId", "params")
        if session_id is None:
            if not is_number(params.get("requestId")) and type(params.get("requestId")) is not str:
                raise wrong(params, "sessionId", "params", "a non-empty string")
            asker = _request_name({"id": params["requestId"]})
            session_id = self._own.get("requests", {}).get(asker, ("", ""))[1]
            if not session_id:  # such as that of a login
                self._await("asked", name, ["", ""])
                return ()
        call_id = maybe_id(params, "toolCallId", "params")
        known = self._of_session(session_id).get("calls", {}).get(call_id)
        of = json.dumps(params, sort_keys=True, default=repr)
        digest = hashlib.sha256(of.encode("utf-8", "surrogatepass")).hexdigest()
        return (
            QuestionAsked(
                session_id=session_id,
                request_id=self._ask("question", session_id, name, digest),
                message_id=None if known is None else known["message"],
                call_id=call_id,
                payload={key: value for key, value in params.items() if key != "sessionId"},
            ),
        )

    def _answered(self, name: str, result: Members | None) -> tuple[str, str, str]:
        """What an answer ends, its session and id there; `result`: None for an error."""
        for table in ("asked", "requests"):
            waiting: dict[str, list[str]] = self._own.get(table, {})
            what, session_id, *ids = waiting.get(name, ("", ""))
            carried = _CARRIED.get(what)
            if name in waiting and (
                result is None
                or table == "requests"
                or (carried in result if carried else "stopReason" not in result)
            ):
                del waiting[name]
                named = self._of_session(session_id).get("named", {}) if ids else {}
                if f"{what} {name}" in named:
                    named[f"{what} {name}"][0] = None  # the next one is another
                return what, session_id, ids[0] if ids else name
        return "", "", name

    def _answer(self, wire: Members) -> Sequence[Event]:
        if "result" not in wire and "error" not in wire:
            raise wrong(wire, "method", "", "a string")
        name = _request_name(wire)
        error = maybe_object(wire, "error")
        result = wire.get("result")
        result = result if isinstance(result, dict) else {}
        what, session_id, request_id = self._answered(name, result if error is None else None)
        if what == "permission":
            payload = {"outcome": result.get("outcome")}
            return (
                PermissionReplied(session_id=session_id, request_id=request_id, payload=payload),
            )
        if what == "question":
            replied = QuestionReplied if result.get("action") == "accept" else QuestionRejected
            return (replied(session_id=session_id, request_id=request_id, payload=result),)
        if what == "load":
            return [*self._ended(session_id), *self._settings(session_id, {}, result)]
        if what == "set":
            if error is not None:
                return ()
            named = result.get("sessionId")
            session_id = named if is_id(named) else session_id
            return self._settings(session_id, json.loads(request_id), result)
        if what != "prompt":
            return ()
        memory = self._of_session(session_id)
        memory["bounded"] = True
        self._move(memory)
        said: Members | None = None
        events: list[Event] = []
        status = "aborted" if result.get("stopReason") == "cancelled" else "completed"
        if error is not None:
            text = error.get("message")
            said = {"name": "error", "message": text if type(text) is str else "", "data": error}
            events.append(SessionError(session_id=session_id, error=said))
            status = "error"
        events += [
            *self._ended(session_id, status=status, error=said),
            TurnCompleted(session_id=session_id),
        ]
        if ["prompt", session_id] in self._own["requests"].values():
            return [*events, TurnStarted(session_id=session_id)]  # one that was queued
        return [*events, SessionStatus(session_id=session_id, status="idle")]


_UPDATES: Mapping[str, Handler] = {
    "tool_call": AcpAdapter._tool_call,
    "tool_call_update": AcpAdapter._tool_update,
    "plan": AcpAdapter._plan,
    "plan_update": AcpAdapter._plan_update,
    "plan_removed": AcpAdapter._plan_removed,
    "available_commands_update": AcpAdapter._session_info,
    "current_mode_update": AcpAdapter._session_info,
    "config_option_update": AcpAdapter._session_info,
    "session_info_update": AcpAdapter._session_info,
    "usage_update": AcpAdapter._session_info,
    "compaction_update": AcpAdapter._compaction,
    "compaction_summary_chunk": AcpAdapter._summary,
}


# --- the wire -------------------------------------------------------------------------------------

_FILES = frozenset(("image", "audio", "resource", "resource_link"))
#: Members of the session's info, and the update that says each.
_SAID: Mapping[str, str] = {
    "availableCommands": "available_commands_update",
    "currentModeId": "current_mode_update",
    "configOptions": "config_option_update",
}
#: Those that no update says, but an answer.
_UNSAID = ("availableModes", "availableModels", "currentModelId")


def _request_name(wire: Members) -> str:
    """What a JSON-RPC request is called: its id, which may be a number, as JSON."""
    given = wire.get("id")
    if type(given) is str and given:
        return json.dumps(given)
    if is_number(given):
        return str(given)
    raise wrong(wire, "id", "", "a string or a number")


def _plan_id(members: Members, at: str) -> str:
    """The id of a plan; earlier versions of the schema spelled it `id`."""
    old = "id" in members and "planId" not in members
    return an_id(members, "id" if old else "planId", at)


def _read_tool(update: Members, at: str) -> Members:
    """What an update says of a tool; null says nothing."""
    for name in ("title", *_SAID_OF_IT):
        if update.get(name) is not None:
            a_string(update, name, at)
    for name in _FIELDS:
        if update.get(name) is not None:
            objects(update, name, at)
    maybe_object(update, "_meta", at)
    names = (*_STATED, *_FIELDS, "_meta")
    return {name: update[name] for name in names if update.get(name) is not None}


def _merge_meta(held: Members, said: Members) -> tuple[Members, str, bool]:
    """What a tool's `_meta` comes to; the text of its terminal, and whether that is all of it.

    Agents send a key, and a member of a namespace such as `claudeCode`, when it changes.
    """
    said, printed, anew = dict(said), "", False
    for key in _TERMINAL:
        value = said.get(key)
        if isinstance(value, dict) and type(value.get("data")) is str:
            printed += value["data"]
            anew = anew or (key == _TERMINAL[0] and _TERMINAL[1] in held)
            said[key] = {name: of for name, of in value.items() if name != "data"}
    return _merged(held, said), printed, anew


def _merged(held: Members, said: Members) -> Members:
    """What is known of a `_meta` where more is said of it."""
    said = dict(said)
    for key, value in said.items():
        before = held.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            said[key] = _newest(before, value)
    merged = _newest(held, said)
    return {key: value for key, value in merged.items() if value is not None}


def _meta_field(meta: Members) -> Members:
    return {"_meta": meta} if meta else {}


def _newest(before: Members, said: Members) -> Members:
    """The members of both that were said last."""
    kept = {name: value for name, value in before.items() if name not in said}
    return dict([*kept.items(), *said.items()][-_META:])


def _meta_name(meta: Members) -> str | None:
    """What a tool is called by agents that do not say its `name`."""
    namespace = meta.get("claudeCode")
    name = namespace.get("toolName") if isinstance(namespace, dict) else None
    name = name or meta.get("tool_name")
    return name if type(name) is str else None


def _state(said: Members, output: Json, waiting: bool) -> Members:
    status = _STATUSES.get(said.get("status", ""), "pending")
    if waiting and TOOL_RANKS[status] < TOOL_RANKS["completed"]:
        status = "waiting"
    state: Members = {"status": status}
    if "title" in said:
        state["title"] = said["title"]
    if "rawInput" in said:
        state["input"] = said["rawInput"]
    if output is not None:
        state["output"] = output
        if status == "error":
            state["error"] = output
    return state


def _wire_update(part: Part, role: str) -> Members:
    fields: Members = thaw(part.fields)
    wire = fields.get(_WIRE)
    wire = wire if isinstance(wire, dict) else {}
    if part.kind == "tool":
        state = fields.get("state")
        state = state if isinstance(state, dict) else {}
        update: Members = {"sessionUpdate": "tool_call", "toolCallId": fields.get("callId")}
        update["title"] = state.get("title", "")
        update.update((name, wire[name]) for name in _SAID_OF_IT if name in wire)
        update.update((name, fields[name]) for name in _FIELDS if name in fields)
        raw = wire.get("raw") or []
        if "rawInput" in raw:
            update["rawInput"] = state.get("input")
        if "rawOutput" in raw:
            update["rawOutput"] = state.get("output")
        meta = fields.get("_meta")
        meta = meta if isinstance(meta, dict) else {}
        meta = {key: value for key, value in meta.items() if key not in _SHOWN}
        if meta:
            update["_meta"] = meta
        return update
    if part.kind == "compaction" and type(wire.get("compactionId")) is str:
        summary = [{"type": "text", "text": part.view.raw()}] if part.view.raw() else []
        return {"sessionUpdate": "compaction_update", **wire, "summary": summary}
    given = fields.get("_meta")
    meta = _meta_field(given) if isinstance(given, dict) else {}
    if type(wire.get("chunk")) is str:
        return {"sessionUpdate": wire["chunk"], "content": wire.get("content"), **meta}
    kind = part.kind if part.kind == "reasoning" and role != "user" else "text"
    chunk = _CHUNK_OF.get((role, kind), "agent_message_chunk")
    rest = wire.get("content")  # of a store that another protocol filled it may be anything
    content = {**(rest if isinstance(rest, dict) else {}), "type": "text", "text": part.view.raw()}
    return {"sessionUpdate": chunk, "content": content, **meta}


def _wire_terminal(part: Part) -> list[Members]:
    """What a tool's terminal shows, and its end: clients read them in an update only."""
    meta = thaw(part.fields.get("_meta")) if part.kind == "tool" else None
    meta = {key: meta[key] for key in _SHOWN if key in meta} if isinstance(meta, dict) else {}
    if not meta:
        return []
    for key in [key for key in _TERMINAL if isinstance(meta.get(key), dict)][-1:]:
        printed = part.others.get(_OUTPUT)
        meta[key]["data"] = "" if printed is None else printed.raw()
    call_id = part.fields.get("callId")
    return [{"sessionUpdate": "tool_call_update", "toolCallId": call_id, "_meta": meta}]


def _wire_session(info: Members, todo: Json) -> list[Members]:
    updates: list[Members] = []
    plans = info.pop("plans") if isinstance(info.get("plans"), dict) else {}
    if todo is not None and not any(
        isinstance(plan, dict) and "entries" in plan for plan in plans.values()
    ):
        updates.append({"sessionUpdate": "plan", "entries": todo})
    updates += [{"sessionUpdate": "plan_update", "plan": plan} for plan in plans.values()]
    if isinstance(info.get("usage"), dict):
        updates.append({"sessionUpdate": "usage_update", **info.pop("usage")})
    for name, kind in _SAID.items():
        if name in info:
            updates.append({"sessionUpdate": kind, name: info.pop(name)})
    for name in _UNSAID:
        info.pop(name, None)
    if info:
        updates.append({"sessionUpdate": "session_info_update", **info})
    return updates
