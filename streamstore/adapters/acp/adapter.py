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
  is of no session's history: it is counted as unknown. So is what the schema has as unstable, of
  subagents and messages between sessions, but for plans.
- This is version 1 of the protocol. A connection that agrees on the draft of version 2 is not read
  right: there the answer to a prompt ends nothing, so that the session is idle while its agent
  works, and messages that come whole, states and terminals are unknown.
- A prompt itself is no message: agents that echo it send it as `user_message_chunk`.
- Nothing ends a message: the answer to the prompt does, and to `session/load`, the next prompt, and
  what the other role says next. A turn that was cancelled or failed ended so where it was: in the
  last message, and in those whose tools still ran.

Sources: the schema and `SessionAccumulator` of the published Python package
(agent-client-protocol 0.12.1), sessions folded by it, and the schema of the npm package
(`@agentclientprotocol/sdk` 2.4.0); of `_meta`, what claude-agent-acp 0.101.0 and codex-acp 2.6.0
send, and Zed reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from ...errors import UnknownEvent
from ...events import Event
from ...model import Json
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads
from ..members import Members, an_event, an_id, an_object, wrong
from .compactions import Compactions
from .messages import Messages
from .requests import Requests
from .schema import CHUNKS
from .session import SessionValues
from .tools import Tools
from .wire import wire_sessions

Handler: TypeAlias = Callable[[str, Members, str], Sequence[Event]]

#: Requests and answers that say nothing about a session; those of them that the agent sends.
_SILENT = (
    *("initialize", "authenticate", "logout", "session/", "fs/", "terminal/", "$/", "_"),
    "elicitation/complete",
)
_SILENT_ASKED = ("fs/", "terminal/")
#: Requests whose answer says how a session is set.
_SETTING = frozenset(
    f"session/{what}" for what in "new resume fork set_mode set_model set_config_option".split()
)

#: Requests that only this protocol has.
_DETECTED = (
    *("session/prompt", "session/load", "session/request_permission"),
    "elicitation/create",
)


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
        messages = Messages(context)
        self._open = messages.open
        tools, compactions = Tools(messages), Compactions(messages)
        values = SessionValues(messages.of_session)
        self._requests = requests = Requests(context, messages, tools)
        self._methods: Mapping[str, Callable[[Members], Sequence[Event]]] = {
            **dict.fromkeys(_SETTING, requests.setting),
            "session/prompt": requests.prompt,
            "session/load": requests.load,
            "session/request_permission": requests.permission,
            "elicitation/create": requests.question,
        }
        self._updates: Mapping[str, Handler] = {
            **dict.fromkeys(CHUNKS, messages.chunk),
            "tool_call": tools.call,
            "tool_call_update": tools.update,
            "plan": values.plan,
            "plan_update": values.plan_update,
            "plan_removed": values.plan_removed,
            "available_commands_update": values.info,
            "current_mode_update": values.info,
            "config_option_update": values.info,
            "session_info_update": values.info,
            "usage_update": values.info,
            "compaction_update": compactions.update,
            "compaction_summary_chunk": compactions.chunk,
        }

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
        kind, message_id, meta, key, memory, moves = self._open[params["sessionId"]]
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
            return self._update(wire, "") if "update" in wire else self._requests.answer(wire)
        if type(method) is not str:
            raise wrong(wire, "method", "", "a string")
        if method == "session/update":
            return self._update(an_object(wire, "params"), "params")
        take = self._methods.get(method)
        if take is not None:
            return take(wire)
        if method.startswith(_SILENT):
            if method == "initialize":
                self._requests.begin()
            if method.startswith(_SILENT_ASKED):
                self._requests.pass_by(wire)
            return ()
        raise UnknownEvent(method)

    def encode(self, reads: Reads) -> Json:
        """The notifications that replay all sessions, in order: what `session/load` is answered.

        Each part is one chunk, each tool one `tool_call` with all that is known of it; then what
        the session itself has. Linear in what is stored.
        """
        return wire_sessions(reads)

    def _update(self, params: Members, at: str) -> Sequence[Event]:
        session_id = an_id(params, "sessionId", at)
        update = an_object(params, "update", at)
        at = f"{at}.update" if at else "update"
        kind = an_id(update, "sessionUpdate", at)
        handle = self._updates.get(kind)
        if handle is None:
            raise UnknownEvent(kind)
        return handle(session_id, update, at)
