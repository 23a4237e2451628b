"""Anthropic Messages: the events of a streamed response to canonical events and back.

- Identity: `message_start.message.id` names the message and only there, `index` its blocks;
  nothing names a session. So a stream remembers its response, and one response follows another on
  the same stream or on a new one. A response that lost its start gets an id of ours.
- The same message id again, on whatever stream, is the same response sent again: a retry is a new
  sample with a new id. Its blocks are rebuilt (`message.reset`), and what an older delivery of it
  still sends is a duplicate. Where such a replay comes as far within one tick as the response had
  come, it shows nothing but what is new. Over several ticks it shows the answer anew from its
  beginning: the text so far goes with its first block and comes back as it is sent, never doubled.
  What an application added to its parts goes with the old ones. An error that ended it, or came
  behind it, is told once.
- Seq: none, and no event ids. A single event that is sent twice counts twice.
- Resume: none. After a drop the text of what was open may be cut (`part.gap`).
- Snapshots: none to fetch. A whole message, the answer to a request that is not streamed, is taken
  in as it is and replaces what was there.
- Order: messages stand in order of arrival (1, 2, 3, ...), blocks in order of their index.
  Some proxies give every block the index 0. So what starts at an index whose block was started, as
  another type or another call, is a block of its own behind all others, and the index means that
  one from there on. (A replay begins with its `message_start`, so this is none.) Others send a
  thought under the index of a text, or a text under that of a thought: that is a block of its own
  behind all others, too, and the index goes on meaning the one that was started.
- Tool input streams into the field `input` and is never parsed here: `Part.field_text("input")`
  with `streamstore.partialjson` says what it holds, `encode` parses it as the SDK does, and where
  the SDK refuses one `partial` says. One that comes whole, with its block, is in the
  tool's state.
- Strict is the SDK's accumulator: what it refuses stops the stream, as does what has the wrong
  type and an `error`; what it drops is dropped, and a block stands where it was started, whatever
  its `index` says. A second `message_start` counts as the start of another accumulator.
- What a message or block has beside its text and fields stands in the message's info and in the
  part's field `wire`, as it came.

Sources: the event types and the two accumulators (`messages` and `beta.messages`) of the published
Python SDK (2.14.0), and responses folded by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

from ...errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageReset,
    MessageUpdated,
    SessionError,
    ToolResult,
)
from ...keys import HotKey, MessageKey, PartKey, is_id, is_number
from ...model import Json, Message, Part, freeze, thaw
from ..base import NAMED, Context, Declaration, DeltaShape, PlainDelta, Reads, ShortShape
from ..members import (
    Members,
    a_number,
    a_string,
    an_event,
    an_id,
    an_object,
    maybe_id,
    maybe_object,
    objects,
    path_to,
    wrong,
)
from ..retold import is_retold
from .partial import next_state, parsed

Handler: TypeAlias = Callable[["AnthropicAdapter", Members], Sequence[Event]]

#: Responses of a session that are known by id, for their place and their latest delivery.
_RESPONSES = 1024

#: What carries each delta, by its type, and the block type that has to be there for it.
_DELTAS: Mapping[str, tuple[str, str]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "thinking"),
    "input_json_delta": ("partial_json", "tool_use"),
    "citations_delta": ("citation", "text"),
    "compaction_delta": ("content", "compaction"),
}
#: Deltas of the text of a block, by its type: what the short way looks for.
_TEXTS: Mapping[str, tuple[str, str]] = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
}
_KINDS: Mapping[str, str] = {
    "text": "text",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "compaction": "compaction",
}
#: Wire types of blocks by kind, where the field `wire` does not name one.
_TYPES: Mapping[str, str] = {"text": "text", "reasoning": "thinking", "tool": "tool_use"}

# Fields of parts beside the canonical ones: what deltas assign or add to, and everything else.
_CITATIONS, _SIGNATURE, _WIRE = "citations", "signature", "wire"
_COMPACTED = ("content", "encrypted_content")

#: Members of a `message_delta` and its delta that are no news of the message.
_FRAME = frozenset(("type", "delta", "usage", "id", "role", "content", "model"))
#: What a `message_delta` says also where it does not say it.
_STOP = ("stop_reason", "stop_sequence", "stop_details")


class AnthropicAdapter:
    """Anthropic Messages in, and a list of its `Message` objects, in and out.

    - the events of a streamed response: `message_start`, `content_block_start`,
      `content_block_delta`, `content_block_stop`, `message_delta`, `message_stop`, `ping`, `error`;
    - `{"type": "message", "id", "role", "content": [...], ...}`: a whole message;
    - `{"error": {...}}`, as LiteLLM ends a stream that failed: an `error`, unless strict.

    Remembers one response per stream (the type of each block, the usage, and the citations of each
    block, which go out as a whole list), and per session the ids of the last 1,024 responses.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="anthropic",
        sequencing="none",
        sentinels=("[DONE]",),
        identity="message id, in the first event of a response only; block index",
    )
    delta: ClassVar[DeltaShape | None] = None
    short: ClassVar[ShortShape] = ShortShape(
        text=("delta", NAMED),
        named=lambda wire: _DELTAS[wire["delta"]["type"]][0],
        same=(("type",), ("delta", "type")),
        numbers=(("index",),),
        guard=lambda adapter, wire: (adapter._latest, 1),  # another stream may deliver it anew
    )

    def __init__(self, context: Context) -> None:
        self._session = context.session_id
        self._strict = context.strict
        self._new_id = context.new_id
        self._own = context.own
        self._shared = context.of_session()
        # Made of the memory: the latest delivery of the response, and by index of a block the
        # type and member of its deltas and their key, so that a plain delta makes no tuple.
        self._latest: list[int] = [0, 0]
        self._delivery = 0
        self._plain: dict[int, tuple[str, str, HotKey]] = {}
        if "message" in self._own:
            self._delivery = delivery = self._own["delivery"]
            known = self._shared.get("responses", {})
            self._latest = known.get(self._own["message"], [delivery, delivery])
            for index, block in self._own["blocks"].items():
                if not block.get("moved"):
                    self._learn_texts(int(index), int(index), block["type"])
            for index, place in self._own.get("moved", {}).items():
                known = self._own["blocks"].get(str(place))
                self._plain.pop(int(index), None)
                if known is not None:
                    self._learn_texts(int(index), place, known["type"])

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event of a response that no other protocol has, or a whole message."""
        if not isinstance(wire, dict):
            return False
        kind = wire.get("type")
        if kind == "message_start":
            return isinstance(wire.get("message"), dict)
        if kind == "content_block_start":
            return isinstance(wire.get("content_block"), dict)
        if kind in ("content_block_delta", "message_delta"):
            return isinstance(wire.get("delta"), dict)
        if kind == "content_block_stop":
            return type(wire.get("index")) is int
        if kind == "error":
            # Others have errors, too: these three members and an `..._error`, no more.
            error = wire.get("error")
            named = error.get("type") if isinstance(error, dict) else None
            return wire.keys() <= {"type", "error", "request_id"} and (
                type(named) is str and named.endswith("_error")
            )
        if kind == "message":
            return isinstance(wire.get("content"), list) and {"stop_reason", "usage"} <= wire.keys()
        return kind == "message_stop"

    def plain(self, wire: Any) -> PlainDelta | None:
        """The short way of a delta of text, thinking or input to a block that was started."""
        if wire["type"] == "content_block_delta":
            delta, index = wire["delta"], wire["index"]
            kind, member, key = self._plain[index]
            if delta["type"] == kind:
                text = delta[member]
                if (
                    text.__class__ is str
                    and index.__class__ is int  # true is no index 1
                    and self._latest[1] == self._delivery
                ):
                    return (key, text, None)
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; none for what changes nothing.

        A delta whose block was never started is shown all the same, as is one whose response was
        not (under an id of ours). A text or thought that does not fit its block's type is a block
        of its own, or says nothing where it is empty; any other delta that does not is malformed.
        """
        wire = an_event(wire)
        kind = wire.get("type")
        if kind is None and wire.get("error") and not self._strict:
            kind = "error"
        if type(kind) is not str:
            raise wrong(wire, "type", "", "a string")
        if kind == "ping":
            return ()
        handle = _HANDLERS.get(kind)
        if handle is None:
            raise UnknownEvent(kind)
        if self._own.get("failed"):
            raise ProtocolStopped("the response ended with an error")
        return handle(self, wire)

    def encode(self, reads: Reads) -> Json:
        """The `Message` objects of all sessions, in order; linear in what is stored.

        What other roles said is left out: it is no response. A tool input that does not parse
        gives the members before its fault.

        Raises:
            CallerError: a tool input is unfinished, and the extra `partial` is not installed.
        """
        return [
            _wire_message(message, reads.parts(session_id, message.id))
            for session_id in reads.session_ids()
            for message in reads.messages(session_id)
            if message.role in ("", "assistant") or message.info.get("type") == "message"
        ]

    # -- the response that a stream is in ------------------------------------------------------

    def _enter(self, message_id: str) -> list[int]:
        """Note a delivery of a response: its place among the session's, and which one it is."""
        shared = self._shared
        shared["count"] = count = shared.get("count", 0) + 1
        responses: dict[str, list[int]] = shared.setdefault("responses", {})
        # A list: a stream that sends an older delivery sees here that it does.
        known = responses[message_id] = responses.pop(message_id, [count, count])
        known[1] = count
        if len(responses) > _RESPONSES:
            del responses[next(iter(responses))]
        return known

    def _follow(self, message_id: str, known: list[int], usage: Any) -> None:
        """Make a response the one that this stream is in."""
        self._latest, self._delivery, self._plain = known, known[1], {}
        self._own.update(
            message=message_id,
            delivery=known[1],
            usage=dict(usage) if isinstance(usage, dict) else {},
            blocks={},
            ended=False,
        )
        for name in ("moved", "behind", "strays"):
            self._own.pop(name, None)

    def _current(self) -> str | None:
        """The message that the stream is in, None for none.

        Raises:
            RepeatedEvent: another stream delivers it anew.
            ProtocolStopped: there is none, and the stream is strict.
        """
        message_id: str | None = self._own.get("message")
        if message_id is None:
            if self._strict:
                raise ProtocolStopped("the response has no message_start")
        elif self._latest[1] != self._delivery:
            raise RepeatedEvent("this response is delivered anew")
        return message_id

    def unfinished(self) -> MessageKey | None:
        """The message that the stream is in, until its `message_stop`."""
        message_id = self._own.get("message")
        if message_id is None or self._own["ended"]:
            return None
        if self._latest[1] != self._delivery:  # another stream delivers it anew
            return None
        return MessageKey(self._session, message_id)

    def _within(self, starts: bool = False) -> tuple[str, list[Event]]:
        """The message that the stream is in, made when its start is missing, with its event.

        What `starts` in a message that has ended belongs to a later one.
        """
        message_id = self._current()
        if message_id is not None and (self._strict or not (starts and self._own["ended"])):
            return message_id, []
        message_id = self._new_id()
        known = self._enter(message_id)
        self._follow(message_id, known, None)
        return message_id, [self._updated(message_id, role="assistant", order=known[0])]

    def _updated(self, message_id: str, **changes: Any) -> MessageUpdated:
        return MessageUpdated(session_id=self._session, message_id=message_id, **changes)

    def _at(self, message_id: str, index: int) -> dict[str, Any]:
        return {"session_id": self._session, "message_id": message_id, "block_index": index}

    def _place(self, index: int, starts: _Block | None = None) -> int:
        """Where the block stands that an index means, or the one that starts there."""
        if self._strict:
            return index
        own = self._own
        blocks: dict[str, Members] = own.get("blocks", {})
        place: int = own.get("moved", {}).get(str(index), index)
        known = blocks.get(str(place))
        if known is None:
            return place
        taken = place == index and known.get("moved")  # by a block of another index
        told = known.get("stopped") or not known.get("implied")
        again = starts is not None and told and _other(known, starts)
        if not (taken or again):
            return place
        behind = self._behind()
        return place if behind is None else behind

    def _behind(self) -> int | None:
        """The place behind all blocks that came, None where there is none."""
        own = self._own
        behind: int = own["behind"] if "behind" in own else max(map(int, own["blocks"])) + 1
        return behind if is_number(behind) else None

    def _stray(self, index: int, kind: str, needs: str) -> tuple[int, list[Event]] | None:
        """Where text goes that is no text of the block that its index means, and its opening."""
        strays: dict[str, int] = self._own.get("strays", {})
        name = f"{index}/{needs}"
        if name in strays:
            return strays[name], []
        place = self._behind()
        if kind not in ("text_delta", "thinking_delta") or place is None:
            return None
        self._own.setdefault("strays", {})[name] = place
        self._own["blocks"][str(place)] = {"type": needs, "moved": True}
        self._own["behind"] = place + 1
        opened = BlockOpened(**self._at(self._own["message"], place), kind=_kind_of(needs))
        return place, [opened]

    def _new_block(self, index: int, place: int) -> Members:
        """Note a block that is there from now on, and that its index means it."""
        own = self._own
        known: Members = {}
        own["blocks"][str(place)] = known
        if place != index:
            known["moved"] = True
            own.setdefault("moved", {})[str(index)] = place
        if place != index or "behind" in own:
            own["behind"] = max(own.get("behind", 0), place + 1)
        return known

    def _remember(self, index: int, place: int, block: _Block) -> None:
        """Note a block that was started."""
        known = self._own["blocks"].get(str(place))
        if known is None:
            known = self._new_block(index, place)
        known["type"] = block.type
        known.pop("implied", None)
        citations = block.fields.get(_CITATIONS)
        if isinstance(citations, list) and citations:
            known.setdefault(_CITATIONS, freeze(citations))
        if block.kind == "tool":
            known["call"] = block.fields.get("callId")
            if "input" in block.fields["state"]:
                known["asked"] = freeze(block.fields["state"]["input"])
        self._learn_texts(index, place, block.type)

    def _learn_texts(self, index: int, place: int, kind: str) -> None:
        """Have the short way take the text deltas of a block, and those of a tool's input."""
        self._plain.pop(index, None)
        if self._own.get("failed"):
            return
        session_id, message_id = self._session, self._own["message"]
        if kind in _TEXTS:
            self._plain[index] = (*_TEXTS[kind], PartKey(session_id, message_id, place))
        elif _is_tool(kind) and not self._strict:  # a strict stream follows what it parses to
            key = (session_id, message_id, place, "input")
            self._plain[index] = ("input_json_delta", "partial_json", key)

    # -- messages ------------------------------------------------------------------------------

    def _message_start(self, wire: Members) -> Sequence[Event]:
        message = _read_message(an_object(wire, "message"), "message")
        message_id = message.id or self._new_id()
        known = self._enter(message_id)
        self._follow(message_id, known, message.info.get("usage"))
        for index, block in enumerate(message.blocks):
            self._remember(index, index, block)
        return self._whole(message_id, known, message, "open")

    def _message(self, wire: Members) -> Sequence[Event]:
        message = _read_message(wire, "")
        message_id = message.id or self._new_id()
        events = self._whole(message_id, self._enter(message_id), message, "closed")
        closed = MessageClosed(session_id=self._session, message_id=message_id)
        return (*events, closed)

    def _whole(
        self, message_id: str, known: list[int], message: _Message, status: str
    ) -> list[Event]:
        # The reset does nothing to a message that is new; of one that is known only the store
        # may remember the blocks.
        calls = {block.fields.get("callId") for block in message.blocks}
        return [
            self._updated(
                message_id, info=message.info, whole=True, role=message.role, order=known[0]
            ),
            MessageReset(session_id=self._session, message_id=message_id),
            *(
                BlockReplaced(
                    **self._at(message_id, index),
                    kind=block.kind,
                    text=block.text,
                    fields=block.fields,
                    whole=True,
                    status=status,
                )
                for index, block in enumerate(message.blocks)
            ),
            *(
                self._result(block)
                for block in message.blocks
                if block.result_of is not None and block.result_of not in calls
            ),
        ]

    def _result(self, block: _Block, calls: Iterable[Members] = ()) -> ToolResult:
        """What a block says of its call; `calls`: blocks of the response, as they are known."""
        assert block.result_of is not None
        state = block.result
        for known in calls:
            if known.get("call") == block.result_of and "asked" in known:
                state = {**state, "input": known["asked"]}
        return ToolResult(
            session_id=self._session, call_id=block.result_of, fields={"state": state}
        )

    def _message_delta(self, wire: Members) -> Sequence[Event]:
        delta = an_object(wire, "delta")
        usage = an_object(wire, "usage") if self._strict else maybe_object(wire, "usage")
        message_id = self._current()
        if message_id is None:
            return ()
        info = {
            name: value
            for members in (wire, delta)
            for name, value in members.items()
            if name not in _FRAME and value is not None
        }
        for name in _STOP:
            info[name] = delta.get(name)
        # Counts are totals: they take the place of the earlier ones, those not given stay.
        given = {name: value for name, value in (usage or {}).items() if value is not None}
        if given:
            info["usage"] = self._own["usage"] = {**self._own["usage"], **given}
        return (self._updated(message_id, info=info),)

    def _message_stop(self, wire: Members) -> Sequence[Event]:
        message_id = self._current()
        if message_id is None:
            return ()
        self._own["ended"] = True
        return (MessageClosed(session_id=self._session, message_id=message_id),)

    def _error(self, wire: Members) -> Sequence[Event]:
        error = wire.get("error")
        if isinstance(error, dict):
            name = error["type"] if is_id(error.get("type")) else "error"
            text = error["message"] if type(error.get("message")) is str else name
        elif type(error) is str:
            name, text = "error", error
        else:
            raise wrong(wire, "error", "", "an object")
        said = {"name": name, "message": text, "data": wire}
        message_id = self._own.get("message")
        told: Members = self._shared.setdefault("told", {})
        events: list[Event] = []
        if message_id is None or not is_retold(told, message_id, self._delivery, said):
            events.append(SessionError(session_id=self._session, error=said))
        if message_id is not None and not self._own["ended"] and self._latest[1] == self._delivery:
            events.append(
                MessageClosed(
                    session_id=self._session, message_id=message_id, status="error", error=said
                )
            )
        if self._strict:
            self._own["failed"] = True
            self._plain = {}
        elif not events:
            raise RepeatedEvent("an error of this response")
        return events

    # -- blocks --------------------------------------------------------------------------------

    def _block_start(self, wire: Members) -> Sequence[Event]:
        index = a_number(wire, "index")
        block = _read_block(an_object(wire, "content_block"), "content_block")
        message_id, events = self._within(starts=True)
        blocks: dict[str, Members] = self._own["blocks"]
        if self._strict:
            index = len(blocks)
        place = self._place(index, block)
        known = blocks.get(str(place))
        at = self._at(message_id, place)
        if known is None:
            if block.text:
                events.append(
                    BlockReplaced(
                        **at, kind=block.kind, text=block.text, status="open", fields=block.fields
                    )
                )
            else:
                events.append(BlockOpened(**at, kind=block.kind, fields=block.fields))
        elif known.get("implied") and _kind_of(known["type"]) == block.kind:
            # Deltas came before it: what they said is newer than what it starts with.
            fields = {name: value for name, value in block.fields.items() if value}
            if _CITATIONS in known:
                fields.pop(_CITATIONS, None)
            events.append(BlockOpened(**at, kind=block.kind, fields=fields))
        else:
            return (*events, BlockOpened(**at, kind=block.kind))
        self._remember(index, place, block)
        model = block.served_by
        if model is not None:
            events.append(self._updated(message_id, info={"model": model}))
        if block.result_of is not None:
            events.append(self._result(block, blocks.values()))
        return events

    def _block_delta(self, wire: Members) -> Sequence[Event]:
        index = a_number(wire, "index")
        delta = an_object(wire, "delta")
        kind = delta.get("type")
        if type(kind) is not str:
            raise wrong(delta, "type", "delta", "a string")
        self._current()
        blocks: dict[str, Members] = self._own.get("blocks", {})
        place = self._place(index)
        block = blocks.get(str(place))
        if block is None and self._strict:
            raise ProtocolStopped(f"block {index} was never started")
        if kind not in _DELTAS:
            raise UnknownEvent(kind)
        member, needs = _DELTAS[kind]
        fits = block is None or _fits(needs, block["type"])
        if not fits and self._strict:
            return ()  # the client drops it
        value: Any = delta.get(member)
        if kind == "citations_delta":
            an_object(delta, member, "delta")
        elif kind != "compaction_delta":
            a_string(delta, member, "delta")
        if self._strict and kind == "input_json_delta" and block is not None:
            block["json"] = next_state(block.get("json"), value)

        strayed: list[Event] = []
        if block is not None and not fits:
            if value == "" and kind in ("text_delta", "thinking_delta"):
                return ()  # as gateways fill up what they have nothing for
            stray = self._stray(index, kind, needs)
            if stray is None:
                told = block["type"][:80]
                raise MalformedEvent("delta.type", f"does not fit a block of type {told}")
            place, strayed = stray
            block = blocks[str(place)]
        message_id, events = self._within()
        events += strayed
        implied = block is None
        if block is None:
            block = self._new_block(index, place)
            block.update(type=needs, implied=True)
            self._learn_texts(index, place, needs)
        at = self._at(message_id, place)
        canonical = _kind_of(needs)
        if kind in ("text_delta", "thinking_delta", "input_json_delta"):
            field = "input" if canonical == "tool" else "text"
            events.append(BlockDelta(**at, field=field, text=value))
            if implied:  # behind the delta, which says that text may be missing before it
                events.append(BlockUpdated(**at, kind=canonical))
        elif kind == "compaction_delta":
            events.append(
                BlockReplaced(
                    **at,
                    kind=canonical,
                    text=value if type(value) is str else "",
                    status="open",
                    fields={name: delta.get(name) for name in _COMPACTED},
                )
            )
        else:
            if kind == "citations_delta":
                # Frozen once, so that each later list costs its length and not its content.
                earlier: Any = block.get(_CITATIONS, ())
                value = block[_CITATIONS] = freeze([*earlier, freeze(value)])
            name = _SIGNATURE if kind == "signature_delta" else _CITATIONS
            events.append(BlockUpdated(**at, kind=canonical, fields={name: value}))
        return events

    def _block_stop(self, wire: Members) -> Sequence[Event]:
        index = a_number(wire, "index")
        message_id = self._current()
        place = self._place(index)
        block = self._own.get("blocks", {}).get(str(place))
        if message_id is None or block is None:
            if self._strict:
                raise ProtocolStopped(f"block {index} was never started")
            return ()
        if not self._strict:
            block["stopped"] = True
        at = self._at(message_id, place)
        strays = self._own.get("strays", {})
        names = [name for name in strays if name.startswith(f"{index}/")]
        events: list[Event] = [BlockClosed(**self._at(message_id, strays.pop(n))) for n in names]
        events.append(BlockClosed(**at))
        if _kind_of(block["type"]) == "tool" and block["type"] != "tool_use":
            # The server runs it now; other calls wait for the application.
            state = {"status": "running"}
            if "asked" in block:
                state["input"] = block["asked"]
            events.append(BlockUpdated(**at, fields={"state": state}))
        return events


_HANDLERS: Mapping[str, Handler] = {
    "message_start": AnthropicAdapter._message_start,
    "message_delta": AnthropicAdapter._message_delta,
    "message_stop": AnthropicAdapter._message_stop,
    "content_block_start": AnthropicAdapter._block_start,
    "content_block_delta": AnthropicAdapter._block_delta,
    "content_block_stop": AnthropicAdapter._block_stop,
    "error": AnthropicAdapter._error,
    "message": AnthropicAdapter._message,
}


# --- messages and blocks of the wire --------------------------------------------------------------


class _Block(NamedTuple):
    """A block as a part; a result also names its call, a fallback the model that serves now."""

    type: str
    kind: str
    text: str | None
    fields: Members
    result_of: str | None = None
    result: Any = None
    served_by: str | None = None


class _Message(NamedTuple):
    id: str | None
    role: str
    info: Members
    blocks: list[_Block]


def _is_tool(kind: str) -> bool:
    return kind == "tool_use" or kind.endswith("_tool_use")


def _kind_of(kind: str) -> str:
    """The canonical kind of a block type."""
    if _is_tool(kind):
        return "tool"
    return "data" if kind.endswith("_tool_result") else _KINDS.get(kind, "unknown")


def _fits(needs: str, kind: str) -> bool:
    """Whether a delta that needs one block type may come to another."""
    return needs == kind or (needs == "tool_use" and _is_tool(kind))


def _other(known: Members, block: _Block) -> bool:
    """Whether what starts at the index of a block is another one: of another type, or call."""
    if known.get("implied"):
        return _kind_of(known["type"]) != block.kind
    call, told = known.get("call"), block.fields.get("callId")
    return known["type"] != block.type or (None not in (call, told) and call != told)


def _read_message(message: Members, at: str) -> _Message:
    # Some servers that speak this protocol give no id, or an empty one.
    message_id = None if message.get("id") == "" else maybe_id(message, "id", at)
    role = message["role"] if is_id(message.get("role")) else "assistant"
    blocks = []
    if message.get("content") is not None:
        content_at = path_to(at, "content")
        for number, wire in enumerate(objects(message, "content", at)):
            blocks.append(_read_block(wire, f"{content_at}.{number}"))
    results = {block.result_of: block.result for block in blocks if block.result_of}
    for number, block in enumerate(blocks):
        if block.kind == "tool":
            blocks[number] = block._replace(fields=_settled(block.fields, results))
    info = {name: value for name, value in message.items() if name != "content"}
    return _Message(message_id, role, info, blocks)


def _settled(fields: Members, results: Mapping[str, Json]) -> Members:
    """The fields of a whole tool call: its input is known, and its result where it is there."""
    state = {**results.get(fields.get("callId", ""), fields["state"])}
    if "input" in fields[_WIRE]:
        state["input"] = fields[_WIRE]["input"]
    return {**fields, "state": state}


def _read_block(block: Members, at: str) -> _Block:
    kind = an_id(block, "type", at)
    canonical = _kind_of(kind)
    fields: Members
    if kind in _TEXTS:
        member = _TEXTS[kind][1]
        text = block.get(member)
        if text is not None and type(text) is not str:
            raise wrong(block, member, at, "a string")
        own = _CITATIONS if kind == "text" else _SIGNATURE
        rest = {name: value for name, value in block.items() if name not in ("type", member, own)}
        fields = {own: block[own]} if own in block else {}
        if rest:
            fields[_WIRE] = rest
        return _Block(kind, canonical, text or "", fields)
    if canonical == "tool":
        fields = {"state": {"status": "pending"}}
        if block.get("input"):
            fields["state"]["input"] = block["input"]
        rest = dict(block)
        for name, member in (("callId", "id"), ("tool", "name")):
            if is_id(block.get(member)):
                fields[name] = rest.pop(member)
        fields[_WIRE] = rest
        return _Block(kind, canonical, None, fields)
    if kind == "compaction":
        content = block.get("content")
        fields = {name: block[name] for name in _COMPACTED if name in block}
        fields[_WIRE] = {name: value for name, value in block.items() if name not in fields}
        return _Block(kind, canonical, content if type(content) is str else "", fields)
    block = freeze(block)  # one copy for the part and for its tool
    fields = {_WIRE: block}
    if canonical == "unknown":
        fields["originalKind"] = kind
    to = block.get("to")
    model = to.get("model") if kind == "fallback" and isinstance(to, dict) else None
    call_id = block.get("tool_use_id") if canonical == "data" else None
    return _Block(
        kind,
        canonical,
        None,
        fields,
        result_of=call_id if is_id(call_id) else None,
        result=_result(block) if canonical == "data" else None,
        served_by=model if is_id(model) else None,
    )


def _result(block: Members) -> Json:
    """The state of the tool whose result a block is."""
    content = block.get("content")
    kind = content.get("type") if isinstance(content, dict) else None
    failed = type(kind) is str and kind.endswith("_error")
    if failed or block.get("is_error") is True:
        return {"status": "error", "error": content}
    return {"status": "completed", "output": content}


# --- back to the wire -----------------------------------------------------------------------------


def _wire_message(message: Message, parts: Sequence[Part]) -> Members:
    info: Members = thaw(message.info)
    if not info:  # its start never came
        info = {"id": message.id, "type": "message", "role": message.role or "assistant"}
    return {**info, "content": [_wire_block(part) for part in parts]}


def _wire_block(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    rest: Any = fields.get(_WIRE)
    wire: dict[str, Any] = rest if isinstance(rest, dict) else {}
    if type(wire.get("type")) is not str:
        wire["type"] = _TYPES.get(part.kind, part.kind)
    kind: str = wire["type"]
    if kind in _TEXTS:
        wire[_TEXTS[kind][1]] = part.view.raw()
        own = _CITATIONS if kind == "text" else _SIGNATURE
        if own in fields:
            wire[own] = fields[own]
    elif kind == "compaction":
        wire.update((name, fields[name]) for name in _COMPACTED if name in fields)
    elif part.kind == "tool":
        for name, member in (("callId", "id"), ("tool", "name")):
            if name in fields:
                wire[member] = fields[name]
        streamed = part.others.get("input")
        if streamed is not None:
            wire["input"] = parsed(streamed.raw(), wire.get("input", {}))
        elif isinstance(fields.get("state"), dict):
            wire.setdefault("input", fields["state"].get("input", {}))
    return wire
