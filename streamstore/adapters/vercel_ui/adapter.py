"""The UI message stream of the Vercel AI SDK: chunks of one assistant message, to events and back.

- Identity: a message has the id of its `start` chunk, or one that this client makes. Parts have
  none: a text id, a call id or a data id names the part it opened last, and may be used again. A
  part's block index is a count of the parts made in its message, and its place. Parts that a
  `reset-step` takes back leave holes in the count, which are not filled.
- Seq, event ids, times: none. What a connection lost or sent twice cannot be told.
  The frames of the SDK's WebSocket transport have a number, but are not read: ingest the `chunk` of
  each on a stream of its `requestId`, and leave out one whose `sequence` came there.
- Resume: by replay or by going on, and a new stream says which by how it begins.
  A `start` with a message id: the response from its first chunk. A message with that id is reset
  and rebuilt; its old parts stay until the first new one comes, nothing is shown twice. An error
  that it had is told once.
  No `start`: the chunks behind the last one that came. Ids that were open still name their parts.
  An `error` or `abort` that is the first of them all ends no message, as a request that failed at
  once looks the same.
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

An object is checked (`schema`) and taken: a chunk by what it is about (`apply`, to `lifecycle`,
`steps`, `texts`, `tools`, `wholes`), one before the stream's first start by `early`, a list of
messages by `lists`. Which message is written is in `writing`, what is remembered of messages in
`memory`, the names of states and fields in `parts`, UIMessages and the way back in `messages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ...errors import ProtocolStopped, UnknownEvent
from ...events import Event
from ...keys import is_id
from ...model import Json
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads, ShortShape
from ..members import Members, a_string, an_event, wrong
from .apply import Chunks
from .early import Early
from .lists import Lists
from .messages import is_message, ui_message
from .schema import BARE, INPUT_DELTA, SHAPES, Shape, is_data
from .writing import Writing


class VercelUIAdapter:
    """The chunks of a UI message stream, and lists of UIMessages in and out.

    - `{"type": ...}`: one chunk of a response;
    - `[UIMessage, ...]`: messages that were read from a server, merged as a fetched state;
    - `{"messages": [UIMessage, ...], "trigger"?, "complete"?, "before"?, "readFrom"?}`: the
      request that this stream answers, as the client posts it. Its messages are as they are said
      to be; a last one of the assistant is continued. With the trigger `resume-stream` it is
      replayed instead, also by a `start` without an id; then `messages` may be absent.
      With `readFrom`, and this trigger or none, it is a state that was read: a stream that is in
      its answer goes on with it, and what it has not brought of its message is not taken from a
      list. Without a trigger it is otherwise as the list alone.

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
        self._writing = writing = Writing(context)
        self._chunks = Chunks(context, writing)
        self._early = Early(context, writing, self._chunks)
        self._lists = Lists(context, writing)
        # What `plain` reads, and the guard.
        self._keys, self._open = writing.keys, writing.open

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
        if kind == INPUT_DELTA:
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
            return self._lists.history(wire)
        wire = an_event(wire)
        if "type" not in wire and ("messages" in wire or "trigger" in wire):
            return self._lists.request(wire)
        kind = a_string(wire, "type")
        name = "data-" if is_data(kind) else kind
        shape = SHAPES.get(name)
        if shape is None:
            if self._context.strict:
                raise ProtocolStopped(f"unknown chunk type {kind[:80]!r}")
            raise UnknownEvent(kind)
        self._check(wire, shape)
        if "begun" in self._own:
            if name != "start":
                self._own.pop("anew", None)  # the answer goes on: a start behind it is its own
            return self._chunks.apply(name, wire)
        return self._early.take(name, wire)

    def encode(self, reads: Reads) -> Json:
        """The UIMessages of every session, in order; linear in what is stored."""
        return [
            ui_message(message, reads.parts(session_id, message.id))
            for session_id in reads.session_ids()
            for message in reads.messages(session_id)
        ]

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
