"""The UI message stream of the Vercel AI SDK: chunks of one assistant message, to events and back.

- Identity: a message has the id of its `start` chunk, or one that this client makes. Parts have
  none: a text id, a call id or a data id names the part it opened last, and may be used again. A
  part's block index is a count of the parts made in its message, and its place. Parts that a
  `reset-step` takes back leave holes in the count, which are not filled.
- Seq, event ids, times: none. What a connection lost or sent twice cannot be told.
- Resume: by replay or by going on, and a new stream says which by how it begins.
  A `start` with a message id: the response from its first chunk. A message with that id is reset
  and rebuilt; its old parts stay until the first new one comes, nothing is shown twice.
  No `start`: the chunks behind the last one that came. Ids that were open still name their parts.
  A `start` without an id: another message, unless a request (see the class) said otherwise.
  Parts may come before the first `start`, as `createUIMessageStream` sends its writer's data.
  They are shown at once, and move to the message that the `start` says when it comes; of parts
  that may be behind an unfinished message only those that came whole move, and whoever writes
  that one goes on with it; but text or a call that opens with the chunks that came before that
  one's `start`, or in a stream that is said to be a replay, is a replay's, and moves as well.
  Where the connection ends before the `start`, the next one's chunks
  before it are a replay if they are the same.
  Of two streams that write one message only the latest counts.
- Continuation: a response may go on with the last assistant message (tools that were approved or
  that the client ran). Its `start` looks like that of a replay, so the stream has to be given the
  request first.
- A second `start` in one stream goes on with its message where it has the same id or none, and
  begins another message where it has another id.
- Snapshots: the list of messages that a server keeps and a client sends back whole.
- Where the SDK's two readers differ (an `error` chunk), a strict stream stops like `Chat`, a
  lenient one goes on like `readUIMessageStream`.
- Not stored: transient data, and the difference between an empty and an absent `rawInput`. Input
  deltas behind the whole input are appended to its text and change no state; the client would
  take the tool back to streaming.

Sources: the wire types and readers of the npm package `ai` 7.0.173, checked against streams that
its own server side made and its own client read.

Chunks are here. What is remembered of messages is in `memory`, the names of states and
fields in `parts`, lists of UIMessages and the way back to them in `messages`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ...errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockRemoved,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageUpdated,
    PermissionAsked,
    SessionError,
    SessionStatus,
    Snapshot,
    StreamOpened,
    ToolResult,
)
from ...keys import PartKey, is_id
from ...model import TERMINAL_RANK, TOOL_RANKS, Json, thaw
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads, ShortShape
from ..bounded import remember
from ..members import (
    Members,
    a_list,
    a_string,
    an_event,
    maybe_id,
    wrong,
)
from .memory import (
    ORDERS,
    STREAMED,
    Memory,
    all_tools,
    anywhere,
    asking,
    cut_off,
    in_step,
    merged_metadata,
    new_memory,
    places_of,
    step_of,
    take_index,
    waits_for_client,
    without,
)
from .messages import (
    ListedMessage,
    is_message,
    listed_memory,
    read_messages,
    read_part,
    snapshot_message,
    ui_message,
)
from .parts import (
    STATUSES,
    WIRE,
    also_null,
    answer_of,
    given,
    moved_state,
    tool_fields,
    tool_state,
    tool_title,
)
from .schema import BARE, SHAPES, Shape, is_data

# How many messages of a session are remembered: what is open in them, and where they stand.
_MESSAGES = 8
# Chunks before a stream's first start that may turn out to be another message's.
_EARLY = 256
# Ids of a message that have ended, kept for deltas that come behind their end all the same.
_ENDED = 16

_INPUT_DELTA = "tool-input-delta"

# States in which no more input can come.
_SETTLED = frozenset(("input-available", "output-available", "output-error", "output-denied"))
# Chunks that open something, and those that are for what was opened.
_OPENING = frozenset(("text-start", "reasoning-start", "tool-input-start", "tool-input-available"))
_GOING_ON = frozenset(
    "text-delta text-end reasoning-delta reasoning-end tool-input-delta tool-output-available "
    "tool-output-error tool-output-denied tool-approval-request tool-approval-response".split()
)
# Chunks that say of a message what cannot be said again of another one.
_SETTLING = frozenset(("finish", "abort", "error"))


_FINISH_REASONS = frozenset("stop length content-filter tool-calls error interrupted other".split())
_TRIGGERS = frozenset(("submit-message", "regenerate-message", "resume-stream"))


class VercelUIAdapter:
    """The chunks of a UI message stream, and lists of UIMessages in and out.

    - `{"type": ...}`: one chunk of a response;
    - `[UIMessage, ...]`: messages that were read from a server, merged as a fetched state;
    - `{"messages": [UIMessage, ...], "trigger"?, "complete"?, "before"?, "readFrom"?}`: the
      request that this stream answers, as the client posts it. Its messages are as they are said
      to be; a last one of the assistant is continued. With the trigger `resume-stream` it is
      replayed instead, also by a `start` without an id; then `messages` may be absent.

    Messages of this client that reach the store another way (`StreamStore.apply`) stand where
    their `order` says: responses count 1, 2, 3, so that half a step behind the last message is
    between it and the next response.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="vercel-ui",
        sequencing="none",
        snapshots=True,
        sentinels=("[DONE]",),
        identity="message: the start chunk's id or a made one; block: count of parts",
    )
    delta: ClassVar[DeltaShape | None] = None
    short: ClassVar[ShortShape] = ShortShape(
        text=("delta",),
        same=(("type",), ("id",)),
        sizes=(((), 3),),
        # Another stream may go on with the message.
        guard=lambda adapter, wire: (adapter._open[wire["type"]], wire["id"]),
    )

    def __init__(self, context: Context) -> None:
        self._context = context
        self._own = context.own
        self._keys: dict[int, PartKey] = {}
        self._open: dict[str, dict[str, int]] = {}
        self._visits = False  # a chunk before the start is shown in another one's message
        if self._is_past():
            self._own.clear()
        self._recall()

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """A chunk with what its type needs, a list of UIMessages, or a request with one."""
        if isinstance(wire, list):
            return bool(wire) and all(is_message(message) for message in wire)
        if not isinstance(wire, dict):
            return False
        kind = wire.get("type")
        if type(kind) is not str:
            listed = wire.get("messages")
            return "type" not in wire and isinstance(listed, list) and cls.detects(listed)
        if kind in BARE:
            named = kind == "start" and is_id(wire.get("messageId"))
            return named or BARE[kind].issuperset(wire)
        shape = SHAPES.get("data-" if is_data(kind) else kind)
        return (
            shape is not None
            and (bool(shape.needs) or "data" in wire)
            and all(type(wire.get(name)) is str for name in shape.needs)
        )

    def plain(self, wire: Any) -> PlainDelta | None:
        """A delta of an open text or reasoning part, or of a tool's input, and nothing else."""
        kind = wire["type"]
        if kind == _INPUT_DELTA:
            index, text = self._open[kind][wire["toolCallId"]], wire["inputTextDelta"]
            if text.__class__ is str and len(wire) == 3:
                part = (self._context.session_id, self._own["message"], index, "input")
                return (part, text, None)
            return None
        key = self._keys[self._open[kind][wire["id"]]]
        text = wire["delta"]
        if text.__class__ is str and len(wire) == 3:
            return (key, text, None)
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one chunk, list of messages or request."""
        if isinstance(wire, list):
            return self._history(wire)
        wire = an_event(wire)
        if "type" not in wire and ("messages" in wire or "trigger" in wire):
            return self._request(wire)
        kind = a_string(wire, "type")
        name = "data-" if is_data(kind) else kind
        shape = SHAPES.get(name)
        if shape is None:
            if self._context.strict:
                raise ProtocolStopped(f"unknown chunk type {kind[:80]!r}")
            raise UnknownEvent(kind)
        self._check(wire, shape)
        if "begun" in self._own:
            return _HANDLERS[name](self, wire)
        return self._before_start(name, wire)

    def encode(self, reads: Reads) -> Json:
        """The UIMessages of every session, in order; linear in what is stored."""
        return [
            ui_message(message, reads.parts(session_id, message.id))
            for session_id in reads.session_ids()
            for message in reads.messages(session_id)
        ]

    # -- checking --------------------------------------------------------------------------------

    def _check(self, wire: Members, shape: Shape) -> None:
        """Refuse members of a wrong type; null is absent, except to the client itself."""
        for name in shape.needs:
            if type(wire.get(name)) is not str:
                raise wrong(wire, name, "", "a string")
        for name, check in shape.checked.items():
            value = wire.get(name)
            absent = name not in wire or (value is None and not self._context.strict)
            if (name == shape.must) if absent else not check.accepts(value):
                raise wrong(wire, name, "", check.what)

    def _refuse(self, why: str) -> None:
        """Stop a strict stream where the client stops."""
        if self._context.strict:
            raise ProtocolStopped(why)

    # -- memory ----------------------------------------------------------------------------------

    def _shared(self) -> Memory:
        """What the streams of this session share; made when it is not there."""
        shared = self._context.of_session()
        if not shared:
            shared.update(order=0, orders={}, last=None, writers=0, messages={}, dropped={})
        return shared

    def _known(self) -> Memory:
        """The messages of this session that are remembered, by id."""
        shared = self._context.shared.get(self._context.session_id)
        return shared["messages"] if shared else {}

    def _look(self) -> Memory | None:
        """The message that this stream writes, None where the next chunk begins one.

        Raises:
            RepeatedEvent: another stream took the message over, from its first chunk or from
                where this one stands.
        """
        own = self._own
        messages = self._known()
        if "message" in own:
            memory = messages.get(own["message"])
            if memory is None or memory["writer"] != own["writer"]:
                raise RepeatedEvent("another stream writes this message now")
            return memory  # type: ignore[no-any-return]
        if "target" in own:  # of the request
            return messages.get(own["target"])
        if "begun" in own or not messages:
            return None
        memory = messages.get(self._shared()["last"])
        if memory is None or memory["finished"]:
            return None
        # A replay goes on with no message; what no start has named yet is all the same to it.
        replays = own.get("replays") or own.get("repeats")
        return None if replays and "early" not in memory else memory

    def _write(self) -> tuple[Memory, list[Event]]:
        """The message that this stream writes, and the events that begin it, if it is new."""
        memory = self._look()
        if memory is None:
            return self._begin(None)
        if "message" not in self._own and not self._visits:
            self._take_over(memory)
        return memory, []

    def _is_past(self) -> bool:
        """Whether what a saved stream left is of a message that another one has gone on with, or
        that was over when another one began the next: who comes now goes on with neither."""
        memory, last = self._mine(), self._shared()["last"] if self._known() else None
        return "message" in self._own and (
            memory is None or (memory["finished"] and last != memory["id"])
        )

    def _take_over(self, memory: Memory) -> None:
        """Write a message from now on; a stream that did so before must not any more."""
        shared = self._shared()
        shared["writers"] += 1
        shared["last"] = memory["id"]
        memory["writer"] = self._own["writer"] = shared["writers"]
        memory["from"] = step_of(memory)
        memory.pop("visits", None)
        self._own["message"] = memory["id"]
        for table in (*STREAMED, "inputs"):
            before = memory[table]
            memory[table] = dict(before)
            before.clear()  # it is what the other stream's short way looks at
        self._recall()

    def _recall(self) -> None:
        """Point the short way at the open parts of the message that this stream writes."""
        self._keys = {}
        self._open = {}
        memory = self._known().get(self._own.get("message", ""))
        if memory is None or "early" in self._own:
            return  # each chunk is kept until the start
        if memory["writer"] == self._own["writer"]:
            self._open = {f"{kind}-delta": memory[kind] for kind in STREAMED}
            self._open[_INPUT_DELTA] = memory["inputs"]

    def _begin(self, message_id: str | None, metadata: Json = None) -> tuple[Memory, list[Event]]:
        """Begin a message, or begin one anew; with no id, one of this client's making."""
        shared = self._shared()
        made = message_id is None
        if message_id is None:
            message_id = self._context.new_id()
            for _ in range(ORDERS):  # ids are counted anew when a saved store is loaded
                if message_id not in shared["orders"]:
                    break
                message_id = self._context.new_id()
        messages = shared["messages"]
        before = messages.pop(message_id, None)
        if before is not None:
            cut_off(before)
        memory = new_memory(message_id)
        info: Members = {}
        if metadata is not None:
            memory["metadata"] = info["metadata"] = thaw(metadata)
        events: list[Event] = []
        order = shared["orders"].get(message_id)
        if order is None:
            order = shared["order"] = math.floor(shared["order"]) + 1
            remember(shared["orders"], message_id, order, ORDERS)
        if made:
            events.append(
                MessageOpened(message_id=message_id, role="assistant", order=order, info=info)
            )
        else:
            # Whether the store has it from somewhere is not known here; a reset costs nothing.
            events += (
                MessageUpdated(
                    message_id=message_id, role="assistant", order=order, info=info, whole=True
                ),
                MessageReset(message_id=message_id),
            )
        for other in messages.values():
            # It waited for this client, which went another way.
            if other["finished"] and not other["closed"]:
                other["closed"] = True
                events.append(MessageClosed(message_id=other["id"]))
        shared["dropped"].pop(message_id, None)
        remember(messages, message_id, memory, _MESSAGES)
        self._take_over(memory)
        return memory, events

    # -- before the first start ------------------------------------------------------------------

    def _before_start(self, name: str, wire: Members) -> Sequence[Event]:
        """The events of a chunk that may be this stream's first start, or come before it.

        Which message a chunk before the start is for is known at the start, if one comes. Until
        then it is shown where it would be without one, and kept. A part that comes whole only
        visits a message that is there: who writes that goes on.
        """
        own = self._own
        early: Memory | None = own.get("early")
        if early is not None:  # a saved one may lack them
            early.setdefault("since", self._shared()["writers"])
            early.setdefault("parts", [])
        if name == "start":
            return self._start(wire) if early is None else self._late_start(wire, early)
        if name == "data-" and wire.get("transient"):
            return ()  # it is in no message, and says nothing of which one the others are in
        if early is not None and "message" in own and self._mine() is None:
            if len(early["chunks"]) < _EARLY:  # another stream goes on with the message
                early["chunks"].append(thaw(wire))
            return ()
        if early is None and "message" not in own and not own.get("target"):
            # What is refused below leaves no trace, a memory of the session neither.
            shared = self._context.shared.get(self._context.session_id) or {}
            last, since = shared.get("last"), shared.get("writers", 0)
            early = {"last": last, "since": since, "chunks": [], "parts": []}
        if early is not None and "message" not in own:
            self._tell_replay(name, wire, early)
        alone = name in _WHOLE or name in ("data-", "start-step", "finish-step")
        memory = self._look()
        first = 0 if memory is None else memory["next"]
        self._visits = early is not None and alone and memory is not None and "message" not in own
        visits = self._visits
        step = 0 if memory is None else memory["from"]
        if early is not None and memory is not None and not visits:
            memory["from"] = step_of(memory)
        try:
            events = _HANDLERS[name](self, wire)
        finally:
            self._visits = False
            if memory is not None and "message" not in own:
                memory["from"] = step
        if early is None or not (visits or "message" in own):
            return events
        if memory is None:
            memory = self._known()[own["message"]]
            memory["early"] = []
        if visits and name == "start-step":
            # Its response may go on in another stream, which knows nothing of this one's.
            memory.setdefault("visits", []).append(memory["next"])
        if len(early["chunks"]) < _EARLY and (
            alone or ("early" in memory and not visits and name not in _SETTLING)
        ):
            own["early"] = early
            early["chunks"].append(thaw(wire))
            if first < memory["next"]:
                early["parts"].append([memory["id"], first, memory["next"]])
            if not visits:
                memory.get("early", []).append(early["chunks"][-1])
        else:
            own["begun"] = True  # it goes on with what is there
            own.pop("early", None)
            if not visits:
                memory.pop("early", None)
        self._recall()
        return events

    def _tell_replay(self, name: str, wire: Members, early: Memory) -> None:
        """Whether a stream that has no start yet is a replay, which no message goes on with.

        It is not, whatever the request said, where its first chunk is for something open; it is,
        whatever was not said, where it brings again what came before the start of the message.
        That start had an id, so one without an id begins another one all the same.
        """
        own, chunks = self._own, early["chunks"]
        if not chunks and name in _GOING_ON:
            own.pop("replays", None)
        elif name in _OPENING:
            head = (self._known().get(early["last"]) or {}).get("head", ())
            if head[: len(chunks) + 1] == [*chunks, wire]:
                own["repeats"] = True

    def _mine(self) -> Memory | None:
        """The message that this stream began to write, while no other one took it over."""
        memory = self._known().get(self._own.get("message", ""))
        return memory if memory is not None and memory["writer"] == self._own["writer"] else None

    def _late_start(self, wire: Members, early: Memory) -> Sequence[Event]:
        """A stream's first start, behind chunks that are for the message that it names."""
        own, shared, messages = self._own, self._shared(), self._known()
        message_id: str | None = wire.get("messageId") or None
        if message_id is None and own.get("replays"):
            message_id = early["last"]
        named = messages.get(message_id or "")
        if named is not None and named["writer"] > early["since"] and named is not self._mine():
            raise RepeatedEvent("another stream writes this message now")
        chunks = early["chunks"]
        made = self._mine()
        if made is not None and message_id is None:
            del own["early"]
            made.pop("early", None)
            self._recall()
            return self._start(wire)
        if made is None:
            # Or it is a replay of a stream that ended before its start, of which nothing else is
            # there. Data with an id may have changed its parts alone, and added none.
            visited = (early["last"], *(name for name, _, _ in early["parts"]))
            for host in map(messages.get, visited):
                before = () if host is None else host.get("early", ())
                if before and all(map(operator.eq, before, chunks)):
                    made = host
        for name in ("early", "message", "writer", "target"):
            own.pop(name, None)
        events: list[Event] = []
        if made is not None:
            events.append(MessageRemoved(message_id=made["id"]))
            del messages[made["id"]]
            if shared["last"] == made["id"]:
                shared["last"] = early["last"]
            if message_id and message_id not in shared["orders"]:
                remember(shared["orders"], message_id, shared["orders"][made["id"]], ORDERS)
        for name, first, end in early["parts"]:
            if name != message_id and name in messages:
                events += self._take_back(messages[name], first, end)
        events += self._start({"type": "start", "messageId": message_id})
        for chunk in chunks:
            kind = chunk["type"]
            events += _HANDLERS["data-" if is_data(kind) else kind](self, chunk)
        events += self._message_metadata(wire)
        mine = self._mine()
        if mine is not None:
            mine["head"] = chunks
        return events

    # -- messages --------------------------------------------------------------------------------

    def _start(self, wire: Members) -> Sequence[Event]:
        message_id = wire.get("messageId") or None  # an empty one names nothing
        metadata = wire.get("messageMetadata")
        own = self._own
        busy = SessionStatus(status="busy")
        memory = None
        # A start of another id is no matter of who writes the message of before.
        if "target" in own or ("message" in own and message_id in (None, own["message"])):
            memory = self._look()
        if memory is None and message_id is None and own.get("replays"):
            message_id = (self._context.shared.get(self._context.session_id) or {}).get("last")
        if memory is not None and message_id in (None, memory["id"]):
            own["begun"] = True
            if "message" not in own:
                self._take_over(memory)
            return [*self._metadata(memory, metadata), busy]
        if message_id is None and metadata is None:
            own["begun"] = True  # there is no message before something is in it
            own.pop("target", None)
            shared = self._context.shared.get(self._context.session_id)
            if shared:
                shared["last"] = None  # what resumes it is not for the message before
            return [busy]
        own["begun"] = True
        before = own.get("message") or own.get("target")
        own.pop("target", None)
        if before and message_id != before:
            own["before"] = before
        _, events = self._begin(message_id, metadata)
        return [*events, busy]

    def _finish(self, wire: Members) -> Sequence[Event]:
        reason = wire.get("finishReason")
        if reason is not None and reason not in _FINISH_REASONS:
            self._refuse(f"unknown finish reason {reason[:80]!r}")
        metadata = wire.get("messageMetadata")
        memory = self._look()
        idle = SessionStatus(status="idle")
        if memory is None and metadata is None:
            return [idle]
        memory, events = self._write()
        info: Members = {} if reason is None else {"finishReason": reason}
        events += self._metadata(memory, metadata, info)
        memory["finished"] = True
        if not waits_for_client(memory):
            memory["closed"] = True
            events.append(MessageClosed(message_id=memory["id"]))
        return [*events, idle]

    def _message_metadata(self, wire: Members) -> Sequence[Event]:
        metadata = wire.get("messageMetadata")
        if metadata is None:
            return ()
        memory, events = self._write()
        return [*events, *self._metadata(memory, metadata)]

    def _metadata(self, memory: Memory, metadata: Json, info: Members | None = None) -> list[Event]:
        info = {} if info is None else info
        if metadata is not None:
            memory["metadata"] = merged_metadata(memory.get("metadata"), thaw(metadata))
            info["metadata"] = memory["metadata"]
        return [MessageUpdated(message_id=memory["id"], info=info)] if info else []

    def _abort(self, wire: Members) -> Sequence[Event]:
        return self._ended("aborted", wire.get("reason"))

    def _error(self, wire: Members) -> Sequence[Event]:
        text = wire["errorText"]
        self._refuse(f"the server says: {text}")
        error = {"name": "Error", "message": text}
        return [SessionError(error=error), *self._ended("error", error)]

    def _ended(self, status: str, error: Json) -> list[Event]:
        events: list[Event] = []
        memory = self._look() if "message" in self._own else None
        if memory is not None:
            memory["finished"] = memory["closed"] = True
            events.append(MessageClosed(message_id=memory["id"], status=status, error=error))
        return [*events, SessionStatus(status="idle")]

    # -- steps -----------------------------------------------------------------------------------

    def _start_step(self, wire: Members) -> Sequence[Event]:
        memory, events = self._write()
        events.append(self._part(memory, {"type": "step-start"}))
        if not self._visits:
            memory["from"] = memory["next"]
        return events

    def _finish_step(self, wire: Members) -> Sequence[Event]:
        return ()

    def _reset_step(self, wire: Members) -> Sequence[Event]:
        memory = self._look()
        if memory is None:
            return ()
        memory, events = self._write()
        for table in ("text", "reasoning", "inputs"):
            memory[table].clear()
        for kind in STREAMED:
            memory["ended"][kind].clear()
        self._keys.clear()
        first = memory["from"]
        memory["from"] = memory["next"]
        return [*self._take_back(memory, first, memory["next"]), *events]

    def _take_back(self, memory: Memory, first: int, end: int) -> list[Event]:
        """Remove the parts of a message from one to before another."""
        events: list[Event] = []
        gone = range(first, end)
        if "visits" in memory:
            memory["visits"] = [step for step in memory["visits"] if step - 1 not in gone]
        for tool in all_tools(memory):
            if tool["index"] in gone:
                events += answer_of(tool["fields"].get("approval"), unanswered=True)
        memory["tools"] = without(memory["tools"], gone)
        memory["data"] = {
            kind: kept
            for kind, ids in memory["data"].items()
            if (kept := {name: index for name, index in ids.items() if index not in gone})
        }
        if first < end:
            dropped = self._shared()["dropped"]
            ranges: list[list[int]] = []
            for low, high in sorted([*dropped.pop(memory["id"], ()), [first, end]]):
                if ranges and low <= ranges[-1][1]:
                    ranges[-1][1] = max(high, ranges[-1][1])
                else:
                    ranges.append([low, high])
            remember(dropped, memory["id"], ranges, ORDERS)
        removed = [
            BlockRemoved(message_id=memory["id"], block_index=index) for index in range(first, end)
        ]
        return [*removed, *events]

    # -- text and reasoning ----------------------------------------------------------------------

    def _text_start(self, wire: Members) -> Sequence[Event]:
        return self._open_text("text", wire)

    def _text_delta(self, wire: Members) -> Sequence[Event]:
        return self._append_text("text", wire)

    def _text_end(self, wire: Members) -> Sequence[Event]:
        return self._close_text("text", wire)

    def _reasoning_start(self, wire: Members) -> Sequence[Event]:
        return self._open_text("reasoning", wire)

    def _reasoning_delta(self, wire: Members) -> Sequence[Event]:
        return self._append_text("reasoning", wire)

    def _reasoning_end(self, wire: Members) -> Sequence[Event]:
        return self._close_text("reasoning", wire)

    def _opened(self, kind: str, wire: Members, memory: Memory) -> BlockOpened:
        """The opening of the next part, which the id names from now on."""
        name = wire["id"]
        index = take_index(memory)
        self._keys.pop(memory[kind].get(name, -1), None)
        memory["ended"][kind].pop(name, None)
        memory[kind][name] = index
        self._keys[index] = PartKey(self._context.session_id, memory["id"], index)
        fields: Members = {"state": "streaming", **given(wire, "providerMetadata")}
        if kind == "reasoning":
            fields[WIRE] = {"id": name}
        return BlockOpened(message_id=memory["id"], block_index=index, kind=kind, fields=fields)

    def _open_text(self, kind: str, wire: Members) -> Sequence[Event]:
        memory, events = self._write()
        return [*events, self._opened(kind, wire, memory)]

    def _append_text(self, kind: str, wire: Members) -> Sequence[Event]:
        memory = self._look()
        name, text = wire["id"], wire["delta"]
        index = None if memory is None else memory[kind].get(name)
        if index is None:
            self._refuse(f"{kind}-delta for {name[:80]!r}, which is not open")
        memory, events = self._write()
        if index is None:
            index = memory["ended"][kind].get(name)
        if index is None:
            # Its start is missing, and maybe text: the delta comes first, so that the part says so.
            opened = self._opened(kind, wire, memory)
            delta = BlockDelta(message_id=memory["id"], block_index=opened.block_index, text=text)
            return [*events, delta, opened]
        if name in memory[kind] and index not in self._keys:
            self._keys[index] = PartKey(self._context.session_id, memory["id"], index)
        events.append(BlockDelta(message_id=memory["id"], block_index=index, text=text))
        fields = given(wire, "providerMetadata")
        if fields:
            events.append(BlockUpdated(message_id=memory["id"], block_index=index, fields=fields))
        return events

    def _close_text(self, kind: str, wire: Members) -> Sequence[Event]:
        memory = self._look()
        name = wire["id"]
        index = None if memory is None else memory[kind].get(name)
        if index is None:
            self._refuse(f"{kind}-end for {name[:80]!r}, which is not open")
            return ()
        memory, events = self._write()
        del memory[kind][name]
        self._keys.pop(index, None)
        remember(memory["ended"][kind], name, index, _ENDED)
        fields = {"state": "done", **given(wire, "providerMetadata")}
        if kind == "text":
            fields |= given(wire, "citations")
        at: Members = {"message_id": memory["id"], "block_index": index}
        return [*events, BlockUpdated(fields=fields, **at), BlockClosed(**at)]

    # -- parts that come whole -------------------------------------------------------------------

    def _part(self, memory: Memory, part: Members) -> BlockReplaced:
        """The next part of a message, from a part as the client would make it."""
        facts = read_part(part, "")
        return BlockReplaced(
            message_id=memory["id"],
            block_index=take_index(memory),
            kind=facts.kind,
            whole=True,
            status="closed",
            fields=facts.fields,
        )

    def _whole(self, wire: Members) -> Sequence[Event]:
        memory, events = self._write()
        names = _WHOLE[wire["type"]]
        return [*events, self._part(memory, {"type": wire["type"], **given(wire, *names)})]

    def _data(self, wire: Members) -> Sequence[Event]:
        if wire.get("transient"):
            return ()  # for the client's callback alone
        memory, events = self._write()
        kind, name = wire["type"], wire.get("id")
        ids = memory["data"].get(kind, {})
        if name is not None and name in ids:
            fields = {"data": wire.get("data")}
            at: Members = {"message_id": memory["id"], "block_index": ids[name]}
            return [*events, BlockUpdated(fields=fields, **at)]
        part = {
            member: value
            for member, value in wire.items()
            if value is not None or member not in ("id", "transient")
        }
        event = self._part(memory, part)
        if name is not None:
            memory["data"].setdefault(kind, {})[name] = event.block_index
        return [*events, event]

    # -- tools -----------------------------------------------------------------------------------

    def _tool_input_start(self, wire: Members) -> Sequence[Event]:
        memory, events = self._write()
        dynamic = bool(wire.get("dynamic"))
        tool = in_step(memory, wire["toolCallId"], dynamic)
        state = tool_state("input-streaming", tool_title(wire, tool))
        if wire.get("inputEncoding") is not None:
            state["encoding"] = wire["inputEncoding"]
        # Of a part that is there the input starts again: whole, so that the text of before goes.
        index = memory["next"] if tool is None else tool["index"]
        memory["inputs"][wire["toolCallId"]] = index
        if tool is not None:
            for name in ("input", "rawInput"):  # the text of one that was listed
                tool["fields"].pop(name, None)
        fields = tool_fields(wire, state, dynamic)
        return [*events, *self._set_tool(memory, tool, fields, whole=True)]

    def _tool_input_delta(self, wire: Members) -> Sequence[Event]:
        call_id, text = wire["toolCallId"], wire["inputTextDelta"]
        memory = self._look()
        index = None if memory is None else memory["inputs"].get(call_id)
        if index is None:
            self._refuse(f"tool-input-delta for {call_id[:80]!r}, which has no start")
        memory, events = self._write()
        if index is None:
            tool = anywhere(memory, call_id)
            index = take_index(memory) if tool is None else tool["index"]
            memory["inputs"][call_id] = index
            if tool is None:
                fields: Members = {"callId": call_id, "state": tool_state("input-streaming")}
                opened = self._open_tool(memory, index, fields)
                delta = BlockDelta(
                    message_id=memory["id"], block_index=index, text=text, field="input"
                )
                return [*events, delta, opened]
        events.append(
            BlockDelta(message_id=memory["id"], block_index=index, text=text, field="input")
        )
        return events

    def _tool_input_available(self, wire: Members) -> Sequence[Event]:
        memory, events = self._write()
        dynamic = bool(wire.get("dynamic"))
        tool = in_step(memory, wire["toolCallId"], dynamic)
        state = tool_state("input-available", tool_title(wire, tool), also_null(wire, "input"))
        return [*events, *self._set_tool(memory, tool, tool_fields(wire, state, dynamic))]

    def _tool_input_error(self, wire: Members) -> Sequence[Event]:
        memory, events = self._write()
        tool = in_step(memory, wire["toolCallId"])
        dynamic = bool(wire.get("dynamic")) if tool is None else "dynamic" in tool["fields"]
        tool = in_step(memory, wire["toolCallId"], dynamic)
        state = tool_state(
            "output-error",
            tool_title({}, tool),
            also_null(wire, "input"),
            {"error": wire["errorText"]},
        )
        return [*events, *self._set_tool(memory, tool, tool_fields(wire, state, dynamic))]

    def _tool_output_available(self, wire: Members) -> Sequence[Event]:
        output = also_null(wire, "output")
        if wire.get("preliminary") is not None:
            output["preliminary"] = wire["preliminary"]
        return self._output(wire, "output-available", output)

    def _tool_output_error(self, wire: Members) -> Sequence[Event]:
        return self._output(wire, "output-error", {"error": wire["errorText"]})

    def _tool_output_denied(self, wire: Members) -> Sequence[Event]:
        found = self._find_call(wire["toolCallId"])
        if found is None:
            return self._stray(wire, {"state": tool_state("output-denied")})
        memory, tool, events = found
        state = moved_state(tool, "output-denied")
        return [*events, *self._set_tool(memory, tool, {"state": state})]

    def _output(self, wire: Members, state: str, result: Members) -> Sequence[Event]:
        others = given(wire, "providerExecuted", "toolMetadata")
        if wire.get("providerMetadata") is not None:
            others["resultProviderMetadata"] = thaw(wire["providerMetadata"])
        found = self._find_call(wire["toolCallId"])
        if found is None:
            return self._stray(wire, {"state": tool_state(state, result), **others})
        memory, tool, events = found
        before = tool["fields"]["state"]
        # How to read the text of an input that never came whole is needed until it does.
        kept = {name: before[name] for name in ("title", "input", "encoding") if name in before}
        fields = {"state": tool_state(state, kept, result), **others}
        return [*events, *self._set_tool(memory, tool, fields)]

    def _approval_request(self, wire: Members) -> Sequence[Event]:
        approval: Members = {"id": wire["approvalId"]}
        for name, theirs in (
            ("descriptor", "approvalDescriptor"),
            ("requestReason", "reason"),
            ("signature", "signature"),
        ):
            if wire.get(theirs) is not None:
                approval[name] = thaw(wire[theirs])
        approval |= also_null(wire, "inputSchemaInput")
        if wire.get("isAutomatic") is True:
            approval["isAutomatic"] = True
        found = self._find_call(wire["toolCallId"])
        if found is None:
            fields = {"state": tool_state("approval-requested"), "approval": approval}
            return self._stray(wire, fields)
        memory, tool, events = found
        state = moved_state(tool, "approval-requested")
        events += self._set_tool(memory, tool, {"state": state, "approval": approval})
        if is_id(wire["approvalId"]) and "isAutomatic" not in approval:
            # Asked once: the call id says where it belongs while the start may name the message.
            moves = "early" in memory and "begun" not in self._own
            events.append(
                PermissionAsked(
                    request_id=wire["approvalId"],
                    message_id=None if moves else memory["id"],
                    call_id=wire["toolCallId"] or None,
                    payload={name: value for name, value in wire.items() if name != "type"},
                )
            )
        return events

    def _approval_response(self, wire: Members) -> Sequence[Event]:
        memory = self._look()
        asked = None if memory is None else asking(memory, wire["approvalId"])
        if asked is None:
            self._refuse(f"no tool call has the approval {wire['approvalId'][:80]!r}")
            raise MalformedEvent("approvalId", "names no approval of this message")
        memory, events = self._write()
        approval = {**asked["fields"]["approval"], "approved": wire["approved"]}
        if wire.get("reason") is not None:
            approval["reason"] = wire["reason"]
        fields = {"state": moved_state(asked, "approval-responded"), "approval": approval}
        fields |= given(wire, "providerExecuted")
        if wire.get("providerMetadata") is not None:
            fields["callProviderMetadata"] = thaw(wire["providerMetadata"])
        return [*events, *self._set_tool(memory, asked, fields), *answer_of(approval)]

    def _find_call(self, call_id: str) -> tuple[Memory, Memory, list[Event]] | None:
        """The message and tool part that a call id names, and events; None for no such call."""
        memory = self._look()
        tool = None if memory is None else anywhere(memory, call_id)
        if tool is not None:
            memory, events = self._write()
            return memory, tool, events
        for other in self._others():
            tool = anywhere(other, call_id)
            if tool is not None:
                return other, tool, []
        return None

    def _others(self) -> Iterable[Memory]:
        """The messages that a result may be for, beside the one that is written.

        A server that gives each response its own id continues an earlier message all the same: the
        client's new one has the parts of the one that its stream would have gone on with.
        """
        known = self._known()
        if self._context.strict:
            before = known.get(self._own.get("before", ""))
            return () if before is None else (before,)
        return reversed(known.values())

    def _stray(self, wire: Members, fields: Members) -> list[Event]:
        """What is said of a call that is not known (yet)."""
        call_id = wire["toolCallId"]
        self._refuse(f"{wire['type']} for {call_id[:80]!r}, which is no known tool call")
        if not call_id:
            raise MalformedEvent("toolCallId", "must be a non-empty string, not an empty one")
        return [ToolResult(call_id=call_id, fields=fields)]

    def _open_tool(self, memory: Memory, index: int, fields: Members) -> BlockOpened:
        entry = {"index": index, "fields": fields}
        memory["tools"].setdefault(fields["callId"], []).append(entry)
        return BlockOpened(
            message_id=memory["id"], block_index=index, kind="tool", fields=dict(fields)
        )

    def _set_tool(
        self, memory: Memory, tool: Memory | None, fields: Members, whole: bool = False
    ) -> list[Event]:
        """Change a tool part, or open the next one."""
        at: Members
        state = fields["state"]["wire"]
        before = None
        events: list[Event]
        if tool is None:
            index = take_index(memory)
            events = [self._open_tool(memory, index, fields)]
        else:
            index = tool["index"]
            before = tool["fields"]["state"]
            lower = TOOL_RANKS[fields["state"]["status"]] < TOOL_RANKS[before["status"]]
            if lower and "tool" not in fields and "input" not in fields["state"]:
                # A whole update would take the text of the input along: this keeps its rank.
                lower = False
                status = STATUSES[state]
                ended = TOOL_RANKS[status] == TERMINAL_RANK
                fields["state"]["status"] = status if ended else before["status"]
            whole = whole or lower
            tool["fields"] = {**tool["fields"], **fields}
            events = [
                BlockUpdated(
                    message_id=memory["id"],
                    block_index=index,
                    whole=whole,
                    fields=tool["fields"] if whole else fields,
                )
            ]
            if state.startswith("output-"):
                # Whoever answered, this client or another, it did not pass through here.
                events += answer_of(tool["fields"].get("approval"), unanswered=True)
        at = {"message_id": memory["id"], "block_index": index}
        if state in _SETTLED and (before is None or before["wire"] not in _SETTLED):
            events.append(BlockClosed(**at))
        return events

    # -- lists of messages -----------------------------------------------------------------------

    def _history(self, wire: list[Any]) -> Sequence[Event]:
        """Messages that were read: what is live is newer."""
        messages = read_messages(wire, "")
        return [self._take_list(messages, {}, request=False)]

    def _request(self, wire: Members) -> Sequence[Event]:
        """The request that this stream answers: what it says of its messages is so."""
        trigger = wire.get("trigger")
        if trigger is not None and trigger not in _TRIGGERS:
            raise wrong(wire, "trigger", "", "one of " + ", ".join(sorted(_TRIGGERS)))
        replays = trigger == "resume-stream"
        complete = wire.get("complete", False)
        if type(complete) is not bool:
            raise wrong(wire, "complete", "", "true or false")
        options: Members = {
            "complete": complete,
            "before": maybe_id(wire, "before"),
            "read_from": maybe_id(wire, "readFrom"),
        }
        messages: list[ListedMessage] = []
        if not replays or "messages" in wire:
            messages = read_messages(a_list(wire, "messages"), "messages")
        self._own.clear()
        self._recall()
        if replays:
            self._own["replays"] = True
            return [self._take_list(messages, options, request=False)] if messages else ()
        snapshot = self._take_list(messages, options, request=True)
        last = messages[-1] if messages else None
        self._own["target"] = last.id if last is not None and last.role == "assistant" else ""
        answers: list[Event] = []
        for part in last.parts if last is not None else ():
            if part.kind == "tool":
                answers += answer_of(part.fields.get("approval"))
        return [StreamOpened(), snapshot, *answers]

    def _take_list(
        self, messages: Sequence[ListedMessage], options: Members, request: bool
    ) -> Snapshot:
        shared = self._shared()
        known = shared["messages"]
        ids = [message.id for message in messages]
        orders = places_of(shared, ids, request)
        listed: list[Json] = []
        for number, message in enumerate(messages):
            dropped = shared["dropped"].get(message.id, ())
            final = number == len(messages) - 1
            goes_on = final and message.role == "assistant" and (request or message.open)
            listed.append(snapshot_message(message, orders[number], dropped, goes_on))
        last = messages[-1] if messages else None
        if last is not None and (request or shared["last"] in (None, *ids)):
            shared["last"] = last.id if last.role == "assistant" else None
            if last.role == "assistant":
                dropped = shared["dropped"].get(last.id, ())
                live = known.get(last.id)
                memory = listed_memory(last, dropped)
                if live is not None and not request:
                    live["next"] = max(live["next"], memory["next"])
                else:
                    if live is not None:
                        memory["next"] = max(live["next"], memory["next"])
                        cut_off(live)
                    known.pop(last.id, None)
                    remember(known, last.id, memory, _MESSAGES)
        return Snapshot(messages=listed, **options)


# --- the chunks -----------------------------------------------------------------------------------

#: Members of the parts that come whole.
_WHOLE: Mapping[str, tuple[str, ...]] = {
    "source-url": ("sourceId", "url", "title", "providerMetadata"),
    "source-document": ("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "file": ("mediaType", "url", "providerMetadata"),
    "reasoning-file": ("mediaType", "url", "providerMetadata"),
    "custom": ("kind", "providerMetadata"),
    "steering-message": ("id", "parts"),
}

_HANDLERS: Mapping[str, Callable[[VercelUIAdapter, Members], Sequence[Event]]] = {
    "start": VercelUIAdapter._start,
    "finish": VercelUIAdapter._finish,
    "abort": VercelUIAdapter._abort,
    "error": VercelUIAdapter._error,
    "message-metadata": VercelUIAdapter._message_metadata,
    "start-step": VercelUIAdapter._start_step,
    "finish-step": VercelUIAdapter._finish_step,
    "reset-step": VercelUIAdapter._reset_step,
    "text-start": VercelUIAdapter._text_start,
    "text-delta": VercelUIAdapter._text_delta,
    "text-end": VercelUIAdapter._text_end,
    "reasoning-start": VercelUIAdapter._reasoning_start,
    "reasoning-delta": VercelUIAdapter._reasoning_delta,
    "reasoning-end": VercelUIAdapter._reasoning_end,
    "tool-input-start": VercelUIAdapter._tool_input_start,
    _INPUT_DELTA: VercelUIAdapter._tool_input_delta,
    "tool-input-available": VercelUIAdapter._tool_input_available,
    "tool-input-error": VercelUIAdapter._tool_input_error,
    "tool-approval-request": VercelUIAdapter._approval_request,
    "tool-approval-response": VercelUIAdapter._approval_response,
    "tool-output-available": VercelUIAdapter._tool_output_available,
    "tool-output-error": VercelUIAdapter._tool_output_error,
    "tool-output-denied": VercelUIAdapter._tool_output_denied,
    "data-": VercelUIAdapter._data,
    **dict.fromkeys(_WHOLE, VercelUIAdapter._whole),
}
