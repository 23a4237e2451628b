"""OpenAI Responses: the events of a streamed response to canonical events and back.

- Identity: `response.id` is the message; only lifecycle events name it, so a stream remembers its
  response (one per lane, `stream_id`). What comes on a stream without a lifecycle event belongs to
  the response that has its item, else to the latest one that has not ended, else to a new one with
  an id of ours, which a later lifecycle event gives its name (the message keeps the id it had).
- Parts: `"{output_index}/content/{content_index}"` and `"{output_index}/summary/{summary_index}"`
  for the parts of messages and reasoning, `"{output_index}"` for every other item, in that order.
  A refusal is a text with the field `refusal`. What else an item of parts has stands in the
  message's info as `output/{output_index}`; of the other items and of parts in the field `wire`.
  Beside it there are `annotations`, of an image what there is of it (`partialImage`), of a shell
  call `command/{n}`, of what it printed `stdout/{n}`, `stderr/{n}` and `output/{n}`.
- Seq: `sequence_number` counts a response's events. Every response gets a range of its own, so
  that an event's seq is the start of that range plus four times its number. What was taken in of a
  response is known exactly: sent again, on whatever stream, it is a duplicate; late, it goes to
  its place. The end of a response that brings its whole output stands for all numbers before it.
- Numbers that are missing, or that contradict themselves (two events of different types with one
  number, number 0 on anything but an event that begins a response), number nothing: from there on
  the response's events count as they come. When such a response is begun again on another stream
  its parts are built anew (`message.reset`) as soon as the first of them comes.
- Resume: `OpenAIResponsesAdapter.resume` says which response to ask for, and `starting_after`.
- Snapshots: a whole response (`object: "response"`) that has ended counts as its end. One that is
  in progress is merged where its stream is not known; where it is, resuming says more.
- Tools: a call that the client runs is `running` once its input is whole, and waits for a
  `tool.result`; the server's own calls follow its events. Input streams into the field `input`.
- Status: busy while the session's latest response runs.
- Strict is the SDK's accumulator with what it refuses: no `response.created` first, another
  response id, an unknown or repeated output index, a text that is not there, an identity that
  changes, an end with unfinished items, `{"error": ...}`. It folds fewer deltas than this adapter
  in both modes: no refusal, reasoning, tool input but a function's, annotation or item end. A
  repeated event is a duplicate here and folded twice, or refused, there.
- Padding (`obfuscation`) means nothing; the log probabilities of a text are taken from its end.

Sources: the event types and the accumulator of the published Python SDK (3.52.0), responses folded
by it, and reports about other servers (no item events, no indexes, numbers that stand still).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeAlias

from ..decoding import decode_json, nests_over
from ..errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from ..events import (
    BlockDelta,
    BlockEvent,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageReset,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    SessionError,
    SessionStatus,
    Snapshot,
)
from ..keys import PartKey, is_id, is_number, is_order
from ..marks import Intervals
from ..model import TOOL_RANKS, Json, Message, Part, thaw
from .base import (
    NAMED,
    Context,
    Counter,
    Declaration,
    DeltaShape,
    PlainDelta,
    Reads,
    ShortShape,
)
from .members import (
    Members,
    a_number,
    a_string,
    an_event,
    an_id,
    an_object,
    are_objects,
    objects,
    wrong,
)

#: A response as it is remembered; see `_blank`.
Entry: TypeAlias = dict[str, Any]

#: Seqs that one response has, and the numbers that fit into them: four seqs each, because one
#: event of the wire may come to more than one event of a message or a part.
_RANGE = 2**32
_STEPS = 4
_NUMBERS = _RANGE // _STEPS
#: Responses of a session that are remembered, and of how many with their items.
_RESPONSES, _DETAILED = 1024, 32
#: Holes in the numbers of one response that are remembered; the oldest is given up.
_HOLES = 256
#: The type of an event is remembered for the first numbers: where counters that restart meet.
_TYPED = 32
#: How deep a tool input may nest to be parsed.
_NESTING = 100

_CREATED = "response.created"
_BEGINNINGS = frozenset((_CREATED, "response.queued", "response.in_progress"))
#: Events that end a response, with the status they stand for.
_ENDINGS: Mapping[str, str] = {
    "response.completed": "completed",
    "response.failed": "failed",
    "response.incomplete": "incomplete",
}
_ENDED = frozenset((*_ENDINGS.values(), "cancelled"))

#: Known types that change nothing: ends of what came in pieces, and the queue of a WebSocket.
_NOTHING = frozenset(
    "response.audio.done response.audio.transcript.done response.compaction.compacting".split()
)
_UNNUMBERED = frozenset(
    "response.steer.accepted response.steer.pending response.steer.failed "
    "response.inject.created response.inject.failed".split()
)
#: Spellings of older servers.
_OLD: Mapping[str, str] = {
    "response.code_interpreter_call.code.delta": "response.code_interpreter_call_code.delta",
    "response.code_interpreter_call.code.done": "response.code_interpreter_call_code.done",
    "response.mcp_call.arguments_delta": "response.mcp_call_arguments.delta",
    "response.mcp_call.arguments_done": "response.mcp_call_arguments.done",
    "response.mcp_call.arguments.delta": "response.mcp_call_arguments.delta",
    "response.mcp_call.arguments.done": "response.mcp_call_arguments.done",
    "response.output_text_annotation.added": "response.output_text.annotation.added",
}


class _Text(NamedTuple):
    """What the deltas of one family append to.

    Attributes:
        item: type of the item it belongs to.
        list: member of the item with the parts, "" where the item itself has the text.
        part: type of the part there.
        whole: member that has all of the text, in the part or item and in the family's `done`.
    """

    item: str
    list: str
    part: str
    whole: str = "text"


_TEXTS: Mapping[str, _Text] = {
    "response.output_text": _Text("message", "content", "output_text"),
    "response.refusal": _Text("message", "content", "refusal", "refusal"),
    "response.reasoning_text": _Text("reasoning", "content", "reasoning_text"),
    "response.reasoning_summary_text": _Text("reasoning", "summary", "summary_text"),
    "response.function_call_arguments": _Text("function_call", "", "", "arguments"),
    "response.mcp_call_arguments": _Text("mcp_call", "", "", "arguments"),
    "response.custom_tool_call_input": _Text("custom_tool_call", "", "", "input"),
    "response.code_interpreter_call_code": _Text("code_interpreter_call", "", "", "code"),
}
#: Member with the text of a part, by its type, and with the streamed input of a tool, by its.
_WHOLE = {text.part: text.whole for text in _TEXTS.values() if text.list}
_INPUT = {text.item: text.whole for text in _TEXTS.values() if not text.list}

#: What the server says of its own tools' progress, by family.
_PROGRESS: Mapping[str, Mapping[str, str]] = {
    "web_search_call": {
        "in_progress": "running",
        "searching": "running",
        "completed": "completed",
    },
    "file_search_call": {
        "in_progress": "running",
        "searching": "running",
        "completed": "completed",
    },
    "code_interpreter_call": {
        "in_progress": "pending",
        "interpreting": "running",
        "completed": "completed",
    },
    "image_generation_call": {
        "in_progress": "running",
        "generating": "running",
        "completed": "completed",
    },
    "mcp_call": {"in_progress": "pending", "completed": "completed", "failed": "error"},
    "mcp_list_tools": {"in_progress": "running", "completed": "completed", "failed": "error"},
}
#: Calls that somebody else than the server runs, or may run.
_CLIENTS = frozenset(
    "function_call custom_tool_call computer_call local_shell_call shell_call "
    "apply_patch_call".split()
)
_AT_WORK = frozenset("searching interpreting generating calling".split())
#: Members of an item that say what a tool was asked, and what it gave.
_ASKED = ("action", "operation", "queries")
_GAVE: Mapping[str, str] = {
    "mcp_call": "output",
    "code_interpreter_call": "outputs",
    "file_search_call": "results",
    "mcp_list_tools": "tools",
}
#: Items that the SDK tells apart by their call, not by their id.
_BY_CALL = frozenset("function_call custom_tool_call shell_call shell_call_output".split())

_WIRE, _ANNOTATIONS, _REFUSAL, _PREVIEW = "wire", "annotations", "refusal", "partialImage"
_AUDIO = "audio"


class Resume(NamedTuple):
    """A response that has not ended, and after which of its events to go on.

    `starting_after` is None where nothing is known to be whole from the first event on: ask for
    the whole stream, what is known of it is a duplicate.
    """

    response_id: str
    starting_after: int | None


class _Here(NamedTuple):
    """Where an event belongs: its message, the response's memory, its seq."""

    message: str
    entry: Entry
    seq: int | None

    def after(self, step: int) -> int | None:
        """The seq of a further event of the same message or part."""
        return None if self.seq is None else self.seq + step


Handler: TypeAlias = Callable[["OpenAIResponsesAdapter", Members, _Here], list[Event]]


class OpenAIResponsesAdapter:
    """OpenAI Responses in, and a list of its `Response` objects, in and out.

    - the events of a streamed response, `{"type": "response....", "sequence_number", ...}`;
    - `{"type": "error", ...}` and `{"error": {...}}`;
    - `{"object": "response", "id", "status", "output", ...}`: a whole response.

    Shared by a session's streams: which numbers came of each response, and the types, ids, tool
    states and annotations of its items until it ends. Of a stream: the response it is in.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="openai-responses",
        sequencing="sparse",
        snapshots=True,
        resumes=True,
        sentinels=("[DONE]",),
        identity="response id, output index, content or summary index; numbers per response",
    )
    delta: ClassVar[DeltaShape | None] = None
    short: ClassVar[ShortShape] = ShortShape(
        text=("delta",),
        same=(("type",),),
        numbers=(("output_index",), (NAMED,)),
        named=lambda wire: f"{_TEXTS[wire['type'].removesuffix('.delta')].list}_index",
        strings=(("item_id",),),
        optional=((("logprobs",), "empty"), (("obfuscation",), "string")),
        sizes=(((), 6),),
        count=("sequence_number",),
        counter=lambda adapter: Counter(
            ends=adapter._ends, base=adapter._base, step=_STEPS, top=_NUMBERS
        ),
    )

    def __init__(self, context: Context) -> None:
        self._session = context.session_id
        self._strict = context.strict
        self._new_id = context.new_id
        self._own = context.own
        self._memory = context.of_session()
        self._responses: dict[str, Entry] = self._memory.setdefault("responses", {})
        # Of this object alone, lost without harm. The number that `plain` took in last, for the
        # `decode` that may follow it; numbers in order of what raised, which count as received
        # once something else is; the response that repeated events are of, by lane.
        self._offered = -1
        self._passed: tuple[str, int] = ("", -1)
        self._hints: dict[str, str] = {}
        # Made of the memory: the response of the usual lane, and where its plain deltas go, by
        # type, with the member that numbers the part: {output index: {part index: key}}.
        self._focus = ""
        self._base = 0
        self._ends: list[int] = []
        self._plain: dict[str, tuple[str, dict[int, dict[int, PartKey]]]] = {}
        current = self._own.get("lanes", {}).get("")
        if current is not None:
            self._look_at(current)

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event of a response, with its number or its response; or a whole response."""
        if not isinstance(wire, dict):
            return False
        kind = wire.get("type")
        if kind is None:
            return wire.get("object") == "response" and isinstance(wire.get("output"), list)
        if type(kind) is not str or "event_id" in wire:  # the Realtime API has one
            return False
        if kind in _BEGINNINGS or kind in _ENDINGS:
            return isinstance(wire.get("response"), dict)
        numbered = is_number(wire.get("sequence_number"))
        if kind == "error":
            return numbered and "message" in wire
        return kind in _HANDLERS and (numbered or is_number(wire.get("output_index")))

    def plain(self, wire: Any) -> PlainDelta | None:
        """The short way of the next text delta of a part that had one before."""
        self._offered = -1
        found = self._plain.get(wire["type"])
        if found is None:
            return None
        member, keys = found
        output, index = wire["output_index"], wire[member]
        number, text, ends = wire["sequence_number"], wire["delta"], self._ends
        if (
            number.__class__ is int
            and text.__class__ is str
            and output.__class__ is int  # true is no index 1
            and index.__class__ is int
            and ends
            and number == ends[-1] + 1
            and number < _NUMBERS
            and wire["item_id"].__class__ is str
            # The six members read here, and padding; for anything else there is the long way.
            and len(wire) == 6 + ("logprobs" in wire) + ("obfuscation" in wire)
            and not wire.get("logprobs")
            and wire.get("obfuscation", "").__class__ is str
        ):
            key = keys[output][index]
            ends[-1] = self._offered = number
            return (key, text, self._base + _STEPS * number)
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; none for what changes nothing."""
        offered, self._offered = self._offered, -1
        wire = an_event(wire)
        if wire.get("type") is None:
            return self._untyped(wire)
        kind = a_string(wire, "type")
        kind = _OLD.get(kind, kind)
        if self._strict and wire.get("error"):
            raise ProtocolStopped("the stream reported an error")
        number = _number(wire)
        lane = wire["stream_id"] if is_id(wire.get("stream_id")) else ""
        if kind in _BEGINNINGS or kind in _ENDINGS:
            return self._lifecycle(kind, wire, number, lane)
        if kind in _UNNUMBERED:
            return ()
        if self._strict and self._following(lane) is None:
            raise ProtocolStopped(f"expected response.created before {kind[:80]}")
        key = self._current(wire, lane)
        if kind == "error":
            return self._error(wire, key, number, lane)
        handle = _HANDLERS.get(kind)
        try:
            if handle is None:
                raise UnknownEvent(kind)
            if key is None:
                return self._orphan(handle, kind, wire, number, lane)
            here = self._here(key, number, kind, lane, offered)
            events = handle(self, wire, here)
        except (MalformedEvent, UnknownEvent):
            if key is not None and number is not None:
                self._pass_over(key, number)
            raise
        if events and here.entry.pop("rebuild", False):
            events.insert(0, MessageReset(message_id=key))
        self._take_in(here, number, kind)
        self._follow(lane, key)
        return events

    def encode(self, reads: Reads) -> Json:
        """The `Response` objects of all sessions, in order; linear in what is stored.

        Of a response that has not ended: what its last lifecycle event said, with the output that
        came so far. Messages of other roles are left out.
        """
        return [
            _wire_response(message, reads.parts(session_id, message.id))
            for session_id in reads.session_ids()
            for message in reads.messages(session_id)
            if message.role in ("", "assistant")
        ]

    def resume(self, response_id: str | None = None) -> Resume | None:
        """Where to go on with a response, by default the latest of the session.

        For `GET /responses/{response_id}?stream=true&starting_after={starting_after}`. None when
        it has ended, or when the wire never named it.
        """
        if response_id is None:
            key = self._latest()
        else:
            key = self._key_of(response_id)
        entry = self._responses.get(key) if key is not None else None
        if key is None or entry is None or entry["state"] == "ended" or entry.get("unnamed"):
            return None
        starts, ends = entry["starts"], entry["ends"]
        whole = starts and entry["types"].get(str(starts[0])) == _CREATED
        return Resume(entry.get("id", key), ends[0] if whole else None)

    # -- which response ------------------------------------------------------------------------

    def _key_of(self, response_id: str) -> str:
        """The message of a response: its id, but where the response got its name late."""
        key: str = self._memory.get("names", {}).get(response_id, response_id)
        return key

    def _latest(self) -> str | None:
        """The latest response that has not ended."""
        open_ = [key for key, entry in self._responses.items() if entry["state"] != "ended"]
        return max(open_, key=lambda key: self._responses[key]["base"], default=None)

    def _following(self, lane: str) -> str | None:
        """The response that a lane of this stream is in, as far as its events say."""
        return self._own.get("lanes", {}).get(lane) or self._hints.get(lane)

    def _current(self, wire: Members, lane: str) -> str | None:
        """The response that an event without its id belongs to; None for a new one."""
        item = wire.get("item")
        item_id = wire.get("item_id", item.get("id") if isinstance(item, dict) else None)
        key, hint = self._following(lane), self._hints.get(lane)
        if key in self._responses:
            # What was repeated does not take the stream to another response, unless it goes on.
            if hint in self._responses and not _has_item(self._responses[key], item_id):
                return hint if _has_item(self._responses[hint], item_id) else key
            return key
        for key, entry in self._responses.items():
            if _has_item(entry, item_id):
                return key
        return self._latest()

    def _here(self, key: str, number: int | None, kind: str, lane: str, offered: int = -1) -> _Here:
        """Where an event of a response belongs.

        Raises:
            RepeatedEvent: it was taken in before.
        """
        entry = self._responses[key]
        seq: int | None = None
        if number is not None and entry["numbered"] and not _contradicts(entry, number, kind):
            if number != offered and number in _intervals(entry):
                if len(self._hints) > _DETAILED:
                    self._hints.clear()
                self._hints[lane] = key
                if lane == "" and key != self._focus:
                    self._plain = {}
                raise RepeatedEvent(f"event {number} of this response")
            seq = entry["base"] + _STEPS * number
        return _Here(key, entry, seq)

    def _take_in(self, here: _Here, number: int | None, kind: str) -> None:
        """Note the number of an event; one that cannot be one ends the counting."""
        entry = here.entry
        passed, self._passed = self._passed, ("", -1)
        if number is None or not entry["numbered"]:
            return
        intervals = _intervals(entry)
        if here.seq is None:
            entry["numbered"] = False
            intervals.starts.clear()
            intervals.ends.clear()
            return
        if passed[0] == here.message and intervals.ends and passed[1] > intervals.ends[-1]:
            intervals.ends[-1] = passed[1]
        intervals.add(number)
        if number < _TYPED and not kind.endswith(".delta"):
            entry["types"][str(number)] = kind
        if len(intervals.starts) > _HOLES:
            intervals.close_oldest()

    def _pass_over(self, key: str, number: int) -> None:
        """An event that cannot be used came in its turn: it need not come again."""
        ends = self._responses[key]["ends"]
        last = self._passed[1] if self._passed[0] == key else -1
        if ends and number == max(last, ends[-1]) + 1:
            self._passed = (key, number)

    def _follow(self, lane: str, key: str) -> None:
        """Make a response the one that a lane of this stream is in."""
        self._hints.pop(lane, None)
        lanes = self._own.setdefault("lanes", {})
        if lanes.get(lane) != key:
            lanes.pop(lane, None)
            lanes[lane] = key
            if len(lanes) > _DETAILED:
                del lanes[next(other for other in lanes if other)]
        if lane == "" and self._focus != key:
            self._look_at(key)

    def _look_at(self, key: str) -> None:
        entry = self._responses.get(key)
        self._focus = key if entry is not None else ""
        self._base, self._ends = (entry["base"], entry["ends"]) if entry is not None else (0, [])
        self._plain = {}

    def _enter(self, key: str, created: Any = None, fetched: bool = False) -> Entry:
        """Begin to remember a response: the last of the session, or, fetched, by its creation."""
        responses, memory = self._responses, self._memory
        memory["count"] = count = memory.get("count", 0) + 1
        created = created if is_order(created) else None
        order: float = count
        if fetched and created is not None:
            order = _order_among(responses.values(), created, order)
        entry = responses[key] = _blank(count * _RANGE, order, created)
        by_age = sorted(responses, key=lambda key: responses[key]["base"])
        for old in by_age[:-_DETAILED]:
            if responses[old]["state"] == "ended":
                responses[old]["items"] = {}
        ended = [old for old in by_age if responses[old]["state"] == "ended"]
        for old in (ended or by_age)[: max(0, len(responses) - _RESPONSES)]:
            del responses[old]
            names = memory.get("names", {})
            for name in [name for name, known in names.items() if known == old]:
                del names[name]
        return entry

    def _orphan(
        self, handle: Handler, kind: str, wire: Members, number: int | None, lane: str
    ) -> list[Event]:
        """The events of one whose response did not begin: it gets an id of ours."""
        if not handle(self, wire, _Here("?", _blank(0, 0, None), None)):
            return []  # and what is malformed opens nothing either
        key = self._new_id()
        entry = self._enter(key)
        entry["unnamed"] = True
        here = self._here(key, number, kind, lane)
        events = handle(self, wire, here)
        self._take_in(here, number, kind)
        self._follow(lane, key)
        opened = MessageOpened(message_id=key, role="assistant", order=entry["order"])
        return [*events, opened, *self._status()]

    def _status(self) -> list[Event]:
        """The session's status where it changed: that of its latest response."""
        latest = max(self._responses.values(), key=lambda entry: entry["base"])
        busy = latest["state"] == "open"
        if busy == self._memory.get("busy", False):
            return []
        self._memory["busy"] = busy
        return [SessionStatus(status="busy" if busy else "idle")]

    # -- responses -----------------------------------------------------------------------------

    def _lifecycle(
        self, kind: str, wire: Members, number: int | None, lane: str
    ) -> Sequence[Event]:
        response = an_object(wire, "response")
        named = an_id(response, "id", "response")
        output = _output(response, "response")
        key = self._key_of(named)
        current = self._following(lane)
        if self._strict:
            if current is None and kind != _CREATED:
                raise ProtocolStopped(f"expected response.created before {kind}")
            if current not in (None, key):
                raise ProtocolStopped("the lifecycle response's identity changed")
        if key not in self._responses and current in self._responses:
            # Servers in between may rename a response on its way; `created` begins another one.
            running = self._responses[current]
            if running.get("unnamed") or (running["state"] != "ended" and kind != _CREATED):
                key = current
        entry = self._responses.get(key)
        known = entry is not None
        if entry is not None:
            here = self._here(key, number, kind, lane)
            if self._strict:
                _check_lifecycle(kind, entry, output)
        else:  # nothing refuses it from here on
            entry = self._enter(key, response.get("created_at"))
            here = self._here(key, number, kind, lane)
        if entry.pop("unnamed", False) or named != key:
            self._memory.setdefault("names", {})[named] = key
            entry["id"] = named
        again = kind == _CREATED and known and current != key
        if again and (here.seq is None or entry.get("fetched")):
            entry["rebuild"] = True
            entry["items"] = {}
        events: list[Event] = []
        if kind in _ENDINGS:
            places = {str(place) for place, _ in _placed(entry["items"], output)}
            whole = entry["items"].keys() <= places
            events = self._finish(here, response, output, _ENDINGS[kind])
            self._take_in(here, number, kind)
            if whole and number is not None and here.seq is not None:
                # This is all there is of it: what comes late says nothing new.
                _intervals(entry).cover(number, 0)
        else:
            if here.seq is not None or entry["state"] != "ended" or entry.get("rebuild"):
                events = self._begin(here, response, output)
            self._take_in(here, number, kind)
        self._follow(lane, key)
        return events

    def _begin(self, here: _Here, response: Members, output: list[Members]) -> list[Event]:
        rebuilt = bool(output) and here.entry.pop("rebuild", False)
        info, events = self._put_items(here, response, output, final=False)
        opened = MessageOpened(
            message_id=here.message,
            role="assistant",
            order=here.entry["order"],
            parent_id=_parent(response),
            info=info,
            seq=here.seq,
        )
        reset = [MessageReset(message_id=here.message)] if rebuilt else []
        return [*reset, opened, *events, *self._status()]

    def _finish(
        self, here: _Here, response: Members, output: list[Members], status: str
    ) -> list[Event]:
        entry = here.entry
        if _said(response, "status") in _ENDED:
            status = response["status"]
        first, entry["state"] = entry["state"] != "ended", "ended"
        info, blocks = self._put_items(here, response, output, final=True)
        entry["types"] = {}
        for flag in ("rebuild", "fetched"):
            entry.pop(flag, None)
        for item in entry["items"].values():
            item.pop("state", None)
        if self._focus == here.message:
            self._plain = {}
        ending, error = _ending(response, status)
        events: list[Event] = [
            MessageUpdated(
                message_id=here.message,
                role="assistant",
                order=entry["order"],
                parent_id=_parent(response),
                info=info,
                seq=here.seq,
            ),
            *blocks,
            MessageClosed(message_id=here.message, status=ending, error=error, seq=here.after(1)),
        ]
        if status == "failed" and first:
            events.append(SessionError(error=error or {"name": "failed", "message": ""}))
        return [*events, *self._status()]

    def _put_items(
        self, here: _Here, response: Members, output: list[Members], final: bool
    ) -> tuple[Members, list[Event]]:
        info = {name: value for name, value in response.items() if name != "output"}
        events: list[Event] = []
        results = {
            item["call_id"]: item
            for item in output
            if is_id(item.get("call_id")) and item["type"].endswith("_output")
        }
        for place, item in _placed(here.entry["items"], output):
            more, found = self._put_item(here, place, item, final, results)
            info.update(more)
            events += found
        return info, events

    def _untyped(self, wire: Members) -> Sequence[Event]:
        if wire.get("object") == "response":
            return self._whole(wire)
        error = wire.get("error")
        if not error:
            raise MalformedEvent("type", "is missing")
        if self._strict:
            raise ProtocolStopped("the stream reported an error")
        members = error if isinstance(error, dict) else {"message": error}
        return self._error(members, self._current({}, ""), None, "")

    def _whole(self, wire: Members) -> Sequence[Event]:
        key = self._key_of(an_id(wire, "id"))
        output = _output(wire, "")
        status = _said(wire, "status") or "completed"
        entry = self._responses.get(key)
        ended = status in _ENDED
        if not ended and entry is not None and (entry["state"] == "ended" or entry["starts"]):
            return ()  # it is older than what is known, or its stream tells more
        if entry is None:
            entry = self._enter(key, wire.get("created_at"), fetched=True)
        here = _Here(key, entry, None)
        if ended:
            events = self._finish(here, wire, output, status)
            if entry["numbered"]:
                _intervals(entry).cover(_NUMBERS - 1, 0)
            return events
        entry["fetched"] = True
        info, blocks = self._put_items(here, wire, output, final=False)
        parts = [_fetched(event) for event in blocks if isinstance(event, BlockEvent)]
        message = {
            "id": key,
            "role": "assistant",
            "order": entry["order"],
            "info": {**info, "id": wire["id"]},
            "parts": parts,
        }
        if _parent(wire) is not None:
            message["parentId"] = _parent(wire)
        others = [event for event in blocks if not isinstance(event, BlockEvent)]
        return [Snapshot(messages=[message]), *others, *self._status()]

    def _error(
        self, error: Members, key: str | None, number: int | None, lane: str
    ) -> Sequence[Event]:
        inner = error.get("error")
        found = _error_of(inner if isinstance(inner, dict) else error, "error")
        told = SessionError(error=found)
        if key is None or self._responses[key]["state"] == "ended":
            return (told,)
        here = self._here(key, number, "error", lane)
        here.entry["state"] = "failed"
        self._take_in(here, number, "error")
        closed = MessageClosed(message_id=key, status="error", error=found, seq=here.seq)
        return [closed, told, *self._status()]

    # -- items ---------------------------------------------------------------------------------

    def _item_added(self, wire: Members, here: _Here) -> list[Event]:
        if wire.get("item") is None:
            return []  # an index without an item
        return self._item(wire, here, final=False)

    def _item_done(self, wire: Members, here: _Here) -> list[Event]:
        return self._item(wire, here, final=True)

    def _item(self, wire: Members, here: _Here, final: bool) -> list[Event]:
        item = an_object(wire, "item")
        an_id(item, "type", "item")
        place = self._place(wire, here.entry, item.get("id"), new=not final)
        known = here.entry["items"].get(str(place), {})
        if self._strict:
            if not final and known.get("added"):
                raise ProtocolStopped(f"duplicate response output index {place}")
            if final:
                _check_done(here.entry["items"], place, known, item)
        if not final and known.get("done") and here.seq is None:
            return []
        info, events = self._put_item(here, place, item, final, {})
        if info:
            updated = MessageUpdated(message_id=here.message, info=info, seq=here.seq)
            events.insert(0, updated)
        if item["type"].endswith("_output") and is_id(item.get("call_id")):
            events += self._answer(here, item)
        return events

    def _put_item(
        self,
        here: _Here,
        place: int,
        item: Members,
        final: bool,
        results: Mapping[str, Members],
    ) -> tuple[Members, list[Event]]:
        """Take an item in: what the message's info says of it, and the events of its parts."""
        memory: Members = here.entry["items"].setdefault(str(place), {})
        late = memory.get("done", False) and not final
        if not final:
            memory["added"] = True
        if not late or self._strict:
            for name, member in (("id", "id"), ("type", "type"), ("call", "call_id")):
                if is_id(item.get(member)):
                    memory[name] = item[member]
            if final:
                memory["done"] = True
        if item["type"] not in ("message", "reasoning"):
            return {}, self._put_own(here, place, memory, item, final, results)
        skeleton = dict(item)
        events: list[Event] = []
        for name in ("summary", "content"):
            parts: Any = item.get(name)
            if are_objects(parts):
                skeleton[name] = []
                events += [
                    self._put_part(here, place, memory, (name, index), part, final)
                    for index, part in enumerate(parts)
                ]
        return {f"output/{place}": skeleton}, events

    def _put_own(
        self,
        here: _Here,
        place: int,
        memory: Members,
        item: Members,
        final: bool,
        results: Mapping[str, Members],
    ) -> list[Event]:
        """Take in an item that is a part of its own."""
        kind = _item_kind(item["type"])
        wire = dict(item)
        fields: Members = {_WIRE: wire}
        if kind == "tool":
            member = _INPUT.get(item["type"], "")
            if type(item.get(member)) is str:
                del wire[member]
                if item[member] or final:
                    fields["input"] = item[member]
            name = item.get("name")
            fields["tool"] = name if is_id(name) else _tool_name(item["type"])
            call = item.get("call_id")
            call = call if is_id(call) else item.get("id")
            if is_id(call):
                fields["callId"] = call
            state = _tool_state(item, final, results.get(str(item.get("call_id"))))
            if not (memory.get("done") and not final):
                memory["state"] = state
            fields["state"] = state
        if final and memory.get("commands"):
            for index, command in enumerate(_commands(item)[: memory["commands"]]):
                fields[f"command/{index}"] = command
        if final and memory.pop("preview", False):
            fields[_PREVIEW] = None
        parts = memory.setdefault("parts", {})
        known = parts.setdefault("", {"kind": kind})
        shared = {
            "message_id": here.message,
            "block_index": str(place),
            "kind": known["kind"],
            "order": _order(place, "", 0),
            "fields": fields,
            "seq": here.seq,
        }
        put = BlockReplaced(status="closed", **shared) if final else BlockOpened(**shared)
        return [put, *_permissions(here.message, item)]

    def _put_part(
        self,
        here: _Here,
        place: int,
        memory: Members,
        where: tuple[str, int],
        part: Members,
        final: bool,
    ) -> Event:
        """Take in one part of a message or of reasoning."""
        name = f"{where[0]}/{where[1]}"
        type_ = _said(part, "type") or ""
        member = _WHOLE.get(type_, "text")
        wire = dict(part)
        text = wire.pop(member) if type(part.get(member)) is str else None
        fields: Members = {_WIRE: wire}
        if isinstance(part.get(_ANNOTATIONS), list):
            fields[_ANNOTATIONS] = wire.pop(_ANNOTATIONS)
        if type_ == "refusal":
            fields[_REFUSAL] = True
        parts: dict[str, Members] = memory.setdefault("parts", {})
        known = parts.get(name)
        if known is None:
            kind = _part_kind(where[0], type_, memory.get("type"), text)
            known = parts[name] = {"type": type_, "kind": kind}
        elif known.pop("implied", False):
            known["type"] = type_
        if not final:
            known["added"] = True
        if final:
            known["done"] = True
            known.pop(_ANNOTATIONS, None)
            self._forget_plain(here, place, where)
        elif fields.get(_ANNOTATIONS) and not known.get("done"):
            listed = enumerate(fields[_ANNOTATIONS])
            known[_ANNOTATIONS] = {str(number): value for number, value in listed}
        shared = {
            "message_id": here.message,
            "block_index": f"{place}/{name}",
            "kind": known["kind"],
            "order": _order(place, *where),
            "fields": fields,
            "seq": here.seq,
        }
        if not final and not text:
            return BlockOpened(**shared)
        return BlockReplaced(text=text, status="closed" if final else "open", **shared)

    def _answer(self, here: _Here, item: Members) -> list[Event]:
        """What the result of a call of the same response says of that call."""
        for place, memory in here.entry["items"].items():
            state = memory.get("state")
            if memory.get("call") == item["call_id"] and state is not None:
                state = memory["state"] = _answered(state, item)
                return [
                    BlockUpdated(
                        message_id=here.message,
                        block_index=place,
                        fields={"state": state},
                        seq=here.seq,
                    )
                ]
        return []

    # -- parts ---------------------------------------------------------------------------------

    def _part(self, name: str, final: bool, wire: Members, here: _Here) -> list[Event]:
        part = an_object(wire, "part")
        place = self._place(wire, here.entry, wire.get("item_id"))
        index = self._index(wire, name, here.entry, place, new=not final)
        type_ = _said(part, "type")
        item = "reasoning" if name == "summary" or type_ == "reasoning_text" else "message"
        if self._strict and name == "content" and not final:
            known = self._known_item(here, place)
            if known.get("type") == "message":  # where it is appended, whatever its index says
                index = sum(part.get("added", False) for part in known.get("parts", {}).values())
        memory, implied = self._imply_item(wire, here, place, item)
        known = memory.get("parts", {}).get(f"{name}/{index}", {})
        if not final and known.get("done") and here.seq is None:
            return []
        return [self._put_part(here, place, memory, (name, index), part, final), *implied]

    def _text_delta(self, text: _Text, wire: Members, here: _Here) -> list[Event]:
        delta = a_string(wire, "delta")
        place = self._place(wire, here.entry, wire.get("item_id"))
        where = (text.list, 0)
        if text.list:
            where = (text.list, self._index(wire, text.list, here.entry, place))
        if self._strict:
            self._check_text(text, here, place, where)
        implied = self._imply(text, wire, here, place, where)
        block = f"{place}/{where[0]}/{where[1]}" if text.list else str(place)
        if text.list and here.seq is not None and self._learns(here):
            known = here.entry["items"][str(place)]["parts"][f"{where[0]}/{where[1]}"]
            if not known.get("done"):
                key = PartKey(self._session, here.message, block)
                keys = self._plain.setdefault(wire["type"], (f"{text.list}_index", {}))[1]
                keys.setdefault(place, {})[where[1]] = key
        appended = BlockDelta(
            message_id=here.message,
            block_index=block,
            field="text" if text.list else "input",
            text=delta,
            seq=here.seq,
        )
        return [appended, *implied]

    def _text_done(self, text: _Text, wire: Members, here: _Here) -> list[Event]:
        whole = wire.get(text.whole)
        if whole is not None:
            a_string(wire, text.whole)
        place = self._place(wire, here.entry, wire.get("item_id"))
        if not text.list:
            return self._input_done(text, wire, here, place)
        where = (text.list, self._index(wire, text.list, here.entry, place))
        if self._strict:
            self._check_text(text, here, place, where)
        implied = self._imply(text, wire, here, place, where)
        known = here.entry["items"][str(place)]["parts"][f"{where[0]}/{where[1]}"]
        known["done"] = True
        self._forget_plain(here, place, where)
        ended = BlockReplaced(
            message_id=here.message,
            block_index=f"{place}/{where[0]}/{where[1]}",
            text=whole,
            status="closed",
            seq=here.seq,
        )
        return [ended, *implied]

    def _input_done(self, text: _Text, wire: Members, here: _Here, place: int) -> list[Event]:
        implied = self._imply(text, wire, here, place, ("", 0))
        memory = here.entry["items"][str(place)]
        whole = wire.get(text.whole)
        if memory.get("done") and here.seq is None:
            return []
        state = {**memory.get("state", {"status": "pending"})}
        if TOOL_RANKS.get(state["status"], 0) <= TOOL_RANKS["running"]:
            state["status"] = "running"
        fields: Members = {"state": state}
        if whole is not None:
            fields["input"] = whole
            state.update(_input(text.item, {text.whole: whole}))
        if is_id(wire.get("name")):
            fields["tool"] = wire["name"]
        if not memory.get("done"):
            memory["state"] = state
        return [self._updated(here, place, fields), *implied]

    def _annotation(self, wire: Members, here: _Here) -> list[Event]:
        number = a_number(wire, "annotation_index")
        place = self._place(wire, here.entry, wire.get("item_id"))
        where = ("content", self._index(wire, "content", here.entry, place))
        text = _TEXTS["response.output_text"]
        implied = self._imply(text, wire, here, place, where)
        known = here.entry["items"][str(place)]["parts"][f"{where[0]}/{where[1]}"]
        if known.get("done"):
            return []  # its end told them all
        found = known.setdefault(_ANNOTATIONS, {})
        found[str(number)] = wire.get("annotation")
        # The list as far as it came, whatever came first: it goes out without a seq.
        added = BlockUpdated(
            message_id=here.message,
            block_index=f"{place}/{where[0]}/{where[1]}",
            fields={_ANNOTATIONS: [found[index] for index in sorted(found, key=int)]},
        )
        return [added, *implied]

    def _progress(self, item: str, status: str, wire: Members, here: _Here) -> list[Event]:
        place = self._place(wire, here.entry, wire.get("item_id"))
        memory = here.entry["items"].get(str(place), {})
        if memory.get("done"):
            return []
        implied = self._imply(_Text(item, "", ""), wire, here, place, ("", 0))
        memory = here.entry["items"][str(place)]
        state = memory.get("state", {"status": "pending"})
        if TOOL_RANKS[status] >= TOOL_RANKS.get(state["status"], 0):
            state = {**state, "status": status}
        memory["state"] = state
        return [self._updated(here, place, {"state": state}), *implied]

    def _preview(self, wire: Members, here: _Here) -> list[Event]:
        image = a_string(wire, "partial_image_b64")
        number = wire.get("partial_image_index")
        place = self._place(wire, here.entry, wire.get("item_id"))
        if here.entry["items"].get(str(place), {}).get("done"):
            return []
        implied = self._imply(_Text("image_generation_call", "", ""), wire, here, place, ("", 0))
        here.entry["items"][str(place)]["preview"] = True
        fields = {_PREVIEW: {"index": number, "b64": image}}
        return [self._updated(here, place, fields), *implied]

    def _command(self, member: str, wire: Members, here: _Here) -> list[Event]:
        text = a_string(wire, member)
        number = a_number(wire, "command_index")
        place = self._place(wire, here.entry, wire.get("item_id"))
        implied = self._imply(_Text("shell_call", "", ""), wire, here, place, ("", 0))
        memory = here.entry["items"][str(place)]
        memory["commands"] = max(memory.get("commands", 0), number + 1)
        field = f"command/{number}"
        if member == "delta":
            return [self._appended(here, place, field, text, here.seq), *implied]
        if memory.get("done") and here.seq is None:
            return []
        return [self._updated(here, place, {field: text} if text else {}), *implied]

    def _printed(self, wire: Members, here: _Here) -> list[Event]:
        delta = an_object(wire, "delta")
        number = a_number(wire, "command_index")
        texts = [
            (name, a_string(delta, name, "delta"))
            for name in ("stdout", "stderr")
            if delta.get(name) is not None
        ]
        place = self._place(wire, here.entry, wire.get("item_id"))
        implied = self._imply(_Text("shell_call_output", "", ""), wire, here, place, ("", 0))
        appended: list[Event] = [
            self._appended(here, place, f"{name}/{number}", text, here.after(step))
            for step, (name, text) in enumerate(texts)
        ]
        return [*appended, *implied]

    def _printed_all(self, wire: Members, here: _Here) -> list[Event]:
        output = objects(wire, "output")
        number = a_number(wire, "command_index")
        place = self._place(wire, here.entry, wire.get("item_id"))
        implied = self._imply(_Text("shell_call_output", "", ""), wire, here, place, ("", 0))
        return [self._updated(here, place, {f"output/{number}": output}), *implied]

    def _sound(self, field: str, wire: Members, here: _Here) -> list[Event]:
        delta = a_string(wire, "delta")
        events: list[Event] = [self._appended(here, _AUDIO, field, delta, here.seq)]
        if not here.entry.get(_AUDIO):
            here.entry[_AUDIO] = True
            wire_part = {_WIRE: {"type": _AUDIO}}
            events.append(
                BlockOpened(
                    message_id=here.message, block_index=_AUDIO, kind="data", fields=wire_part
                )
            )
        return events

    def _nothing(self, wire: Members, here: _Here) -> list[Event]:
        return []

    def _appended(
        self, here: _Here, place: int | str, field: str, text: str, seq: int | None
    ) -> Event:
        return BlockDelta(
            message_id=here.message, block_index=str(place), field=field, text=text, seq=seq
        )

    def _updated(self, here: _Here, place: int, fields: Members) -> Event:
        return BlockUpdated(
            message_id=here.message, block_index=str(place), fields=fields, seq=here.seq
        )

    def _learns(self, here: _Here) -> bool:
        """Whether the short way may take a part: nothing else is the usual lane's response."""
        return self._focus == here.message == self._hints.get("", here.message)

    def _forget_plain(self, here: _Here, place: int, where: tuple[str, int]) -> None:
        if self._focus == here.message:
            for member, keys in self._plain.values():
                if member == f"{where[0]}_index":
                    keys.get(place, {}).pop(where[1], None)

    # -- where it stands -----------------------------------------------------------------------

    def _place(self, wire: Members, entry: Entry, item_id: Any, new: bool = False) -> int:
        """The output index; where the wire has none, that of the item, else the last or next."""
        if wire.get("output_index") is not None or self._strict:
            return a_number(wire, "output_index")
        items = entry["items"]
        for place, item in items.items():
            if is_id(item_id) and item.get("id") == item_id:
                return int(place)
        last = max(map(int, items), default=-1)
        return last + 1 if new else max(last, 0)

    def _index(self, wire: Members, name: str, entry: Entry, place: int, new: bool = False) -> int:
        """The content or summary index; where the wire has none, the last or next there."""
        member = f"{name}_index"
        if wire.get(member) is not None or self._strict:
            return a_number(wire, member)
        parts: Members = entry["items"].get(str(place), {}).get("parts", {})
        number = sum(part.startswith(f"{name}/") for part in parts)
        return number if new else max(number - 1, 0)

    def _imply_item(
        self, wire: Members, here: _Here, place: int, type_: str
    ) -> tuple[Members, list[Event]]:
        """The memory of an item, which is made with what is known when its opening did not come."""
        items = here.entry["items"]
        memory = items.get(str(place))
        if memory is not None:
            return memory, []
        memory = items[str(place)] = {"type": type_}
        skeleton: Members = {"type": type_}
        if is_id(wire.get("item_id")):
            memory["id"] = skeleton["id"] = wire["item_id"]
        if type_ == "message":
            skeleton.update(role="assistant", status="in_progress", content=[])
        elif type_ == "reasoning":
            skeleton.update(summary=[])
        else:
            return memory, []
        # Without a seq, so that the opening's own word counts, whenever it comes.
        updated = MessageUpdated(message_id=here.message, info={f"output/{place}": skeleton})
        return memory, [updated]

    def _imply(
        self, text: _Text, wire: Members, here: _Here, place: int, where: tuple[str, int]
    ) -> list[Event]:
        """The events of an item and part that are there now although their opening did not come."""
        memory, events = self._imply_item(wire, here, place, text.item)
        parts = memory.setdefault("parts", {})
        name = f"{where[0]}/{where[1]}" if where[0] else ""
        if name in parts:
            return events
        fields: Members
        if name:
            kind = _part_kind(where[0], text.part, memory.get("type"), "")
            parts[name] = {"type": text.part, "kind": kind, "implied": True}
            fields = {_WIRE: {"type": text.part}}
            if text.part == "refusal":
                fields[_REFUSAL] = True
        else:
            kind = _item_kind(text.item)
            parts[name] = {"kind": kind}
            fields = {_WIRE: {"type": text.item}}
            if memory.get("id") is not None:
                fields[_WIRE]["id"] = memory["id"]
            if kind == "tool":
                memory.setdefault("state", {"status": "pending"})
                fields["state"] = memory["state"]
        opened = BlockOpened(
            message_id=here.message,
            block_index=f"{place}/{name}" if name else str(place),
            kind=kind,
            order=_order(place, *where),
            fields=fields,
        )
        return [*events, opened]

    # -- what the SDK refuses ------------------------------------------------------------------

    def _known_item(self, here: _Here, place: int) -> Members:
        memory: Members = here.entry["items"].get(str(place), {})
        if not memory.get("added"):
            raise ProtocolStopped(f"an event for output index {place} before its output item")
        return memory

    def _check_text(self, text: _Text, here: _Here, place: int, where: tuple[str, int]) -> None:
        if text.item == "function_call":
            if self._known_item(here, place).get("type") != "function_call":
                raise ProtocolStopped("arguments for an item that is no function call")
        elif text.part == "output_text":
            memory = self._known_item(here, place)
            part = memory.get("parts", {}).get(f"content/{where[1]}", {})
            if memory.get("type") != "message" or part.get("type") != "output_text":
                raise ProtocolStopped(f"no text at content index {where[1]} of output {place}")


# --- what a wire object says ----------------------------------------------------------------------


def _number(wire: Members) -> int | None:
    """The number of an event, None where there is none or it is beyond all that are counted."""
    number = wire.get("sequence_number")
    if number is None:
        return None
    if not is_number(number):
        raise wrong(wire, "sequence_number", "", "an integer from 0 to 2**63 - 1")
    return number if number < _NUMBERS else None


def _output(response: Members, at: str) -> list[Members]:
    """The items of a response, each of which has a type; none where it has no list."""
    if response.get("output") is None:
        return []
    output = objects(response, "output", at)
    for number, item in enumerate(output):
        an_id(item, "type", f"{at}.output.{number}" if at else f"output.{number}")
    return output


def _said(members: Members, name: str) -> str | None:
    """A string that may be missing, or anything else, which says nothing."""
    value = members.get(name)
    return value if type(value) is str else None


def _parent(response: Members) -> str | None:
    parent = response.get("previous_response_id")
    return parent if is_id(parent) else None


def _error_of(error: Any, name: str) -> Members:
    """An error of the wire as `{name, message, data}`."""
    members = error if isinstance(error, dict) else {"message": error}
    names = [members.get(member) for member in ("code", "type")]
    return {
        "name": next((found for found in names if is_id(found)), name),
        "message": _said(members, "message") or "",
        "data": error,
    }


def _ending(response: Members, status: str) -> tuple[str, Members | None]:
    """How the message of a response ended, and its error."""
    if status == "completed":
        return "completed", None
    if status == "cancelled":
        return "aborted", None
    if status == "failed":
        return "error", _error_of(response.get("error"), "failed")
    details = response.get("incomplete_details")
    reason = _said(details, "reason") if isinstance(details, dict) else None
    # Another message of the user's took over: nothing went wrong.
    ending = "aborted" if reason == "steered" else "error"
    return ending, {"name": "incomplete", "message": reason or "", "data": details}


# --- what is remembered of a response -------------------------------------------------------------


def _blank(base: int, order: float, created: float | None) -> Entry:
    """The memory of a response of which nothing came.

    `base`: the start of its seqs; `starts`, `ends`: the numbers that came, as intervals; `types`:
    of the first ones; `items`: by output index what is known of an item and its parts; `state`:
    open, failed (an error event came) or ended. There may be `id` (its name on the wire, where its
    message has another), `unnamed`, `fetched` (it has text that no number stands for), `rebuild`
    (its parts go when the next one comes), `audio` (it has a part for that).
    """
    return {
        "base": base,
        "order": order,
        "created": created,
        "state": "open",
        "numbered": True,
        "starts": [],
        "ends": [],
        "types": {},
        "items": {},
    }


def _has_item(entry: Entry, item_id: Any) -> bool:
    return is_id(item_id) and any(item.get("id") == item_id for item in entry["items"].values())


def _order_among(entries: Iterable[Entry], created: float, last: float) -> float:
    """The place of a response among others, before those that were created later."""
    places = [(entry["order"], entry["created"]) for entry in entries]
    later = [order for order, then in places if then is not None and then > created]
    if not later:
        return last
    high = min(later)
    low = max((order for order, _ in places if order < high), default=high - 2)
    return float(low + high) / 2


def _intervals(entry: Entry) -> Intervals:
    """The numbers that came: a view, what is added to it is in the memory."""
    return Intervals(starts=entry["starts"], ends=entry["ends"])


def _contradicts(entry: Entry, number: int, kind: str) -> bool:
    """Whether an event's number cannot be one: another event had it, or only others may."""
    if entry["state"] == "ended":
        return False
    if number == 0 and kind not in _BEGINNINGS:
        return True
    return bool(entry["types"].get(str(number), kind) != kind)


def _placed(items: Mapping[str, Members], output: list[Members]) -> Iterator[tuple[int, Members]]:
    """The items of a whole output with their output index: where they were streamed.

    A list has no gaps, the indexes of a stream may have some; and ids may have changed.
    """
    ids = {
        (item.get("type"), item[name]): int(place)
        for place, item in items.items()
        for name in ("id", "call")
        if name in item
    }
    places: dict[int, int] = {}
    for number, item in enumerate(output):
        for name in ("id", "call_id"):
            value = item.get(name)
            place = ids.get((item["type"], value)) if is_id(value) else None
            if place is not None and place not in places.values():
                places[number] = place
                break
    taken = set(places.values())
    free = max((*taken, *map(int, items), len(output) - 1), default=-1) + 1
    for number, item in enumerate(output):
        if number not in places:
            there = items.get(str(number))
            fits = there is None or there.get("type") == item["type"]
            if fits and number not in taken:
                places[number] = number
            else:
                places[number] = free
                free += 1
            taken.add(places[number])
        yield places[number], item


def _identity(members: Members, call: str) -> tuple[Any, Any, Any]:
    """What the SDK tells items apart by; `call`: the member with the call's id."""
    kind = members.get("type")
    return kind, None if kind in _BY_CALL else _said(members, "id"), _said(members, call)


def _same_item(memory: Members, item: Members) -> bool:
    if _identity(memory, "call") != _identity(item, "call_id"):
        return False
    before = memory.get("id")
    unnamed = before is None and memory.get("type") in ("function_call", "custom_tool_call")
    return unnamed or before == item.get("id")


def _check_done(items: Mapping[str, Members], place: int, known: Members, item: Members) -> None:
    if known.get("added") and not _same_item(known, item):
        raise ProtocolStopped("the completed output item's identity changed")
    for other, memory in items.items():
        if memory.get("done") and int(other) != place:
            if _identity(memory, "call") == _identity(item, "call_id"):
                raise ProtocolStopped("the response has conflicting output identities")


def _check_lifecycle(kind: str, entry: Entry, output: list[Members]) -> None:
    final = {_identity(item, "call_id"): item for item in output}
    if kind in _BEGINNINGS and len(final) < len(output):
        raise ProtocolStopped("the response snapshot has conflicting output identities")
    if kind != "response.completed":
        return
    for memory in entry["items"].values():
        item = final.get(_identity(memory, "call"))
        if item is not None and _same_item(memory, item):
            continue
        if memory.get("done"):
            if item is not None:
                raise ProtocolStopped("the completed response's output identity changed")
        elif memory.get("added"):
            raise ProtocolStopped("the response completed with unfinished output items")


# --- items and parts ------------------------------------------------------------------------------


def _order(place: int, name: str, index: int) -> float:
    """Where a part stands: summaries before contents, items in order of the output."""
    return place * 1_000_000 + (500_000 if name == "content" else 0) + index


def _item_kind(type_: str) -> str:
    if type_ == "compaction":
        return "compaction"
    if type_.endswith("_output") or type_ == "mcp_approval_response":
        return "data"
    tools = ("mcp_list_tools", "mcp_approval_request", "program")
    return "tool" if type_.endswith("_call") or type_ in tools else "unknown"


def _part_kind(name: str, type_: str, item: Any, text: str | None) -> str:
    if name == "summary" or type_ == "reasoning_text" or item == "reasoning":
        return "reasoning"
    return "text" if type_ in _WHOLE or text is not None else "unknown"


def _tool_name(type_: str) -> str:
    return type_.removesuffix("_call")


def _commands(item: Members) -> list[Any]:
    action = item.get("action")
    commands = action.get("commands") if isinstance(action, dict) else None
    return commands if isinstance(commands, list) else []


def _tool_state(item: Members, final: bool, result: Members | None) -> Members:
    state: Members = {"status": _tool_status(item, final), **_input(item["type"], item)}
    given = item.get(_GAVE.get(item["type"], ""))
    if given is not None:
        state["output"] = given
    if item.get("error") is not None:
        state["error"] = item["error"]
    elif state["status"] == "error":
        state["error"] = item.get("status")
    return state if result is None else _answered(state, result)


def _answered(state: Members, result: Members) -> Members:
    """A call's state with the item that is its result."""
    failed = _said(result, "status") in ("incomplete", "failed")
    state = {**state, "status": "error" if failed else "completed"}
    for name in ("output", "result", "tools"):
        if name in result:
            return {**state, "output": result[name]}
    return state


def _tool_status(item: Members, final: bool) -> str:
    kind, status = item["type"], _said(item, "status")
    if status in ("failed", "incomplete") or item.get("error"):
        return "error"
    if kind == "mcp_approval_request":
        return "waiting"
    if status == "completed" or (status is None and final):
        return "running" if kind in _CLIENTS else "completed"
    return "running" if status in _AT_WORK else "pending"


def _input(type_: str, item: Members) -> Members:
    """`{"input": ...}`: what a tool was asked, parsed; empty where that is not known yet."""
    arguments = item.get("arguments")
    if type(arguments) is str:
        return _parsed(arguments)
    if type(item.get("input")) is str and item["input"]:
        return {"input": item["input"]}
    if type(item.get("code")) is str and item["code"]:
        return {"input": {"code": item["code"]}}
    for name in _ASKED:
        if item.get(name) is not None:
            return {"input": item[name]}
    return {}


def _parsed(text: str) -> Members:
    if not text:
        return {}
    try:
        value = decode_json(text)
    except MalformedEvent:
        return {}  # the raw text is there
    return {} if nests_over(value, _NESTING) else {"input": value}


def _permissions(message: str, item: Members) -> list[Event]:
    """Permissions that an item asks for or gives."""
    request = item.get("approval_request_id")
    if item["type"] == "mcp_approval_request" and is_id(item.get("id")):
        call = item["id"]
        return [PermissionAsked(request_id=call, message_id=message, call_id=call, payload=item)]
    return [PermissionReplied(request_id=request, payload=item)] if is_id(request) else []


def _fetched(event: BlockEvent) -> Members:
    """An event of a part as a part of a snapshot."""
    part: Members = {"blockIndex": event.block_index, "status": "open"}
    if isinstance(event, BlockOpened | BlockReplaced):
        part.update(event.fields, kind=event.kind, order=event.order)
    if isinstance(event, BlockReplaced) and event.text is not None:
        part["text"] = event.text
    return part


# --- back to the wire -----------------------------------------------------------------------------


def _wire_response(message: Message, parts: Iterable[Part]) -> Members:
    info: Members = thaw(message.info)
    items: dict[int, Members] = {}
    for name in [name for name in info if name.startswith("output/")]:
        skeleton, place = info.pop(name), name.removeprefix("output/")
        if place.isdecimal() and isinstance(skeleton, dict):
            items[int(place)] = skeleton
    for part in parts:
        place, _, where = str(part.block_index).partition("/")
        if not place.isdecimal():
            continue
        item = items.setdefault(int(place), {})
        if not where:
            item.update(_wire_item(part))
            continue
        name = where.partition("/")[0]
        found = item.get(name)
        item[name] = [*(found if isinstance(found, list) else ()), _wire_part(part)]
    return {
        "id": message.id,
        "object": "response",
        **info,
        "output": [items[place] for place in sorted(items)],
    }


def _wire_part(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    wire = fields.get(_WIRE)
    wire = wire if isinstance(wire, dict) else {"type": "output_text"}
    if _ANNOTATIONS in fields:
        wire[_ANNOTATIONS] = fields[_ANNOTATIONS]
    member = _WHOLE.get(_said(wire, "type") or "", "")
    if member or len(part.view):
        wire[member or "text"] = part.view.raw()
    return wire


def _wire_item(part: Part) -> Members:
    fields: Members = thaw(part.fields)
    # What was streamed, also where the end set it; see the law of a field that deltas append to.
    fields.update((field, view.raw()) for field, view in part.others.items())
    kept = fields.get(_WIRE)
    item: Members = kept if isinstance(kept, dict) else {"type": part.kind}
    type_ = _said(item, "type") or ""
    member = _INPUT.get(type_)
    if member is not None and (fields.get("input") or member not in item):
        item[member] = fields.get("input", "")
    commands = _numbered(fields, "command/")
    if commands:
        action = item.get("action")
        item["action"] = {**(action if isinstance(action, dict) else {}), "commands": commands}
    if type_ == "shell_call_output" and not item.get("output"):
        item["output"] = [
            chunk for chunks in _numbered(fields, "output/") for chunk in chunks
        ] or _printed_so_far(fields)
    return item


def _printed_so_far(fields: Members) -> list[Json]:
    places = {name.partition("/")[2] for name in fields if name.startswith(("stdout/", "stderr/"))}
    return [
        {stream: fields.get(f"{stream}/{place}", "") for stream in ("stdout", "stderr")}
        for place in sorted(places, key=lambda place: (len(place), place))
    ]


def _numbered(fields: Members, prefix: str) -> list[Any]:
    """The fields of a numbered series, in order."""
    names = [name for name in fields if name.startswith(prefix)]
    return [fields[name] for name in sorted(names, key=lambda name: (len(name), name))]


# --- the events -----------------------------------------------------------------------------------


def _handlers() -> Iterator[tuple[str, Handler]]:
    adapter = OpenAIResponsesAdapter
    yield "response.output_item.added", adapter._item_added
    yield "response.output_item.done", adapter._item_done
    for family, name in (
        ("response.content_part", "content"),
        ("response.reasoning_part", "content"),  # of servers that announce raw reasoning
        ("response.reasoning_summary_part", "summary"),
    ):
        for suffix in ("added", "done"):
            yield f"{family}.{suffix}", _bound(adapter._part, name, suffix == "done")
    for family, text in _TEXTS.items():
        yield f"{family}.delta", _bound(adapter._text_delta, text)
        yield f"{family}.done", _bound(adapter._text_done, text)
    yield "response.output_text.annotation.added", adapter._annotation
    for item, steps in _PROGRESS.items():
        for step, status in steps.items():
            yield f"response.{item}.{step}", _bound(adapter._progress, item, status)
    yield "response.image_generation_call.partial_image", adapter._preview
    yield "response.shell_call_command.added", _bound(adapter._command, "command")
    yield "response.shell_call_command.delta", _bound(adapter._command, "delta")
    yield "response.shell_call_command.done", _bound(adapter._command, "command")
    yield "response.shell_call_output_content.delta", adapter._printed
    yield "response.shell_call_output_content.done", adapter._printed_all
    yield "response.audio.delta", _bound(adapter._sound, "data")
    yield "response.audio.transcript.delta", _bound(adapter._sound, "text")
    for kind in _NOTHING:
        yield kind, adapter._nothing


def _bound(method: Callable[..., list[Event]], *given: Any) -> Handler:
    """A handler with its first arguments behind the adapter filled in."""
    return partial(_call, method, given)


def _call(
    method: Callable[..., list[Event]],
    given: tuple[Any, ...],
    adapter: OpenAIResponsesAdapter,
    wire: Members,
    here: _Here,
) -> list[Event]:
    return method(adapter, *given, wire, here)


_HANDLERS: Mapping[str, Handler] = dict(_handlers())
