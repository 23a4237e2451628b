"""pydantic-ai: the events of an agent's run or of one response to canonical events and back.

Each event is the JSON dump of one of the agent's stream events, told apart by `event_kind`.

- Identity: `index` names a part inside its response, `tool_call_id` a call; nothing names a
  response or a run, so each response gets an id of ours. A response begins at a start whose index
  was ended before, or after a tool was called, and only where the start names no previous part;
  any other second start at an index is the same part anew, which it replaces. Where ends are sent,
  such a start begins a response, too: the one before broke off (`aborted`), as in a run that
  failed before the next one on the stream.
- A realtime session counts `index` through and names no neighbours of a part. What the user says is
  a message of the user's, both sides at once; the model's parts are one response until
  `realtime_turn_complete`, a lost connection, the results of its calls, or what it says after the
  user spoke again. Replies with nothing of this between them stand as one message, and what was
  typed is no event. A part that ended in the response may start again, and goes on from there.
- Seq: none, and no event ids. A single event that is sent twice counts twice, and a full replay
  stands as further messages.
- Resume: none. After a drop the text of what was open may be cut (`part.gap`).
- Snapshots: none to merge. A whole `ModelResponse` or `ModelRequest`, or a list of them, is taken
  in as further messages: nothing says which are there already. A response that names its
  `provider_response_id` stands once, and what was enqueued by its `enqueue_id`.
- Order: messages stand in order of arrival (1, 2, 3, ...), parts in order of their index. What the
  user says stands where `realtime_input_speech_start` came, as its transcript may come during the
  reply; without that event, one that starts during a reply to nothing stands before it.
- The end of a part carries all of it: its text takes the place of what was streamed (no rewrite
  where it is the same). The package sends it when the next part starts, also where more of the text
  follows: that is shown, too. The last end of a response, which names no next part, closes
  the message: text of a part that has ended is refused from there on.
- Arguments of a tool stream into the field `input`, those that come as an object as its JSON text;
  they are read on demand and never parsed here.
- Strict refuses what `ModelResponsePartsManager.apply_event` refuses: a delta of a part that never
  started, or of another kind, or of arguments that are an object in one place and text in the
  other, stops the stream.
- Audio is not kept; its transcript is.

Sources: the event and message classes of the published Python package (2.68.0), and responses
folded by its parts manager. How a part or a delta is read, and written again, is in
`parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

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
    MessageReset,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    SessionStatus,
    ToolResult,
)
from ...keys import HotKey, PartKey, hot_key, is_id
from ...model import Json, thaw
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads
from ..members import (
    Members,
    a_number,
    an_event,
    an_id,
    an_object,
    are_objects,
    maybe_object,
    objects,
    only_json,
    path_to,
    wrong,
)
from .parts import (
    CHANGES,
    INPUT,
    WIRE,
    WirePart,
    dumped,
    is_users,
    kind_of,
    maybe_string,
    outcome_of,
    read_part,
    wire_message,
)

Handler: TypeAlias = Callable[["PydanticAIAdapter", Members], Sequence[Event]]

#: Parts that come whole in their start: no end follows.
_WHOLE = frozenset(("compaction", "file", "data", "unknown"))
_RETURNS = frozenset(("tool-return", "builtin-tool-return", "retry-prompt"))
#: Parts of a request that no person wrote: one of nothing else is no message of the user.
_UNSAID = _RETURNS | frozenset(
    "retry-feedback tool-availability-delta capability-load-delta model-settings-delta "
    "instruction-delta instruction-baseline".split()
)
#: The part a delta belongs to, by its kind, where its start never came.
_DELTAS: Mapping[str, str] = {
    "text": "text",
    "thinking": "thinking",
    "tool_call": "tool-call",
    "speech": "speech",
}
#: Parts that a delta fits beside the one it is named after.
_FITS: Mapping[str, frozenset[str]] = {"tool_call": frozenset(("tool-call", "builtin-tool-call"))}
_RETURN = "return"
#: What a tool has the model see behind its return.
_SHOWN = "returnContent"


class PydanticAIAdapter:
    """pydantic-ai events in, and a list of its messages, in and out.

    - `{"event_kind", ...}`: an event of a response (`part_start`, `part_delta`, `part_end`,
      `final_result`) or of a run (`function_tool_call`, `function_tool_result`, their output
      twins, `deferred_tool_requests`, `deferred_tool_results`, `enqueued_messages`,
      `agent_run_result`), or of a realtime session (`realtime_turn_complete`, ...);
    - `{"kind": "response" or "request", "parts": [...], ...}`, or a list of them: whole messages.

    Remembers the parts of one response per stream (of each its kind and what it has beside its
    text, the id of a call, arguments while they are an object that grows, and until the response
    ends, in a realtime session until the next begins, the text of a part that ended before it), the
    last 256 utterances of the user that have not ended, and per session the number of messages,
    which calls wait for an approval, and the last 256 ids of what was enqueued.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="pydantic-ai",
        sequencing="none",
        sentinels=("[DONE]",),
        identity="index of a part inside its response, tool call id; nothing names the response",
    )
    delta: ClassVar[DeltaShape | None] = None

    def __init__(self, context: Context) -> None:
        self._session = context.session_id
        self._strict = context.strict
        self._new_id = context.new_id
        self._own = context.own
        self._shared = context.of_session()
        # Made of the memory: by index of a part the kind of its deltas, the members that a plain
        # one has and must not have, the call it is of (None for a text), and the key of what it
        # appends to, so that it makes no tuple.
        self._plain: dict[int, tuple[str, str, str, str | None, HotKey]] = {}
        for index, block in self._own.get("blocks", {}).items():
            self._learn_deltas(int(index), block)

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event with its `event_kind`, or a message of parts that name their kinds."""
        if isinstance(wire, list) and wire:
            wire = wire[0]
        if not isinstance(wire, dict):
            return False
        kind = wire.get("event_kind")
        if type(kind) is str:
            return kind in _HANDLERS or kind in _IGNORED
        parts = wire.get("parts")
        return (
            wire.get("kind") in ("request", "response")
            and isinstance(parts, list)
            and bool(parts)
            and all(isinstance(part, dict) and "part_kind" in part for part in parts)
        )

    def plain(self, wire: Any) -> PlainDelta | None:
        """The short way of a delta of text, thinking or arguments, and nothing else in it."""
        if wire["event_kind"] == "part_delta":
            delta, index = wire["delta"], wire["index"]
            kind, member, beside, call, key = self._plain[index]
            text = delta[member]
            if (
                delta["part_delta_kind"] == kind
                and text.__class__ is str
                and index.__class__ is int  # true is no index 1
                and delta.get("provider_details") is None
                and delta.get("provider_name") is None
                and delta.get(beside) is None
                # Each delta of a call names it again; an empty one is no delta.
                and (call is None or (text and delta.get("tool_call_id") in (None, call)))
            ):
                return (key, text, None)
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; none for what changes nothing.

        A delta whose part never started is shown all the same; one that does not fit its part is
        malformed.
        """
        if isinstance(wire, list):
            return self._history(wire)
        wire = an_event(wire)
        kind = wire.get("event_kind")
        if kind is None and wire.get("kind") in ("request", "response"):
            return self._history([wire])
        if type(kind) is not str:
            raise wrong(wire, "event_kind", "", "a string")
        if kind in _IGNORED:
            return ()
        handle = _HANDLERS.get(kind)
        if handle is None:
            raise UnknownEvent(kind)
        return handle(self, wire)

    def encode(self, reads: Reads) -> Json:
        """The messages of all sessions, in order, as a history holds them; linear in their size.

        The returns of the tools that a streamed response called follow it as a request, with what
        those have the model see behind them. What an application added beside the wire is left out,
        unless it is a text of the user.
        """
        messages: list[Json] = []
        for session_id in reads.session_ids():
            for message in reads.messages(session_id):
                parts = reads.parts(session_id, message.id)
                messages.append(wire_message(message, parts))
                returns = [
                    part.fields[_RETURN]
                    for part in parts
                    if isinstance(part.fields.get(_RETURN), dict)
                ]
                shown = [
                    {"content": part.fields[_SHOWN], "part_kind": "user-prompt"}
                    for part in parts
                    if _SHOWN in part.fields
                ]
                if returns:
                    messages.append({"kind": "request", "parts": thaw([*returns, *shown])})
        return messages

    # -- the response that a stream is in ------------------------------------------------------

    def _place(self) -> int:
        count: int = self._shared.get("count", 0) + 1
        self._shared["count"] = count
        return count

    def _open(self, role: str, message_id: str, order: float | None = None) -> MessageOpened:
        order = self._place() if order is None else order
        return MessageOpened(
            session_id=self._session, message_id=message_id, role=role, order=order
        )

    def _respond(self) -> list[Event]:
        """Begin a response; the one before, where it is open, has ended."""
        message_id, place = self._new_id(), self._place()
        events: list[Event] = [self._open("assistant", message_id, place)]
        self._own.update(message=message_id, blocks={}, over=False, closed=False)
        if self._own.get("live"):
            answers = self._own.pop("spoke", False)
            self._own.update(calls=[], place=place, answers=answers)
        self._plain = {}
        return events

    def _hear(self, index: int) -> list[Event]:
        """Begin an utterance of the user, which goes on beside what the model says."""
        said: Members = self._own.setdefault("said", {})
        broken = said.pop(str(index), None)
        order = self._own.pop("heard", None)
        if order is None and self._speaking() and not self._own.get("answers", True):
            # The user's words came after the model had begun to answer them.
            self._own["answers"] = True
            order = self._own["place"] - 0.5
        elif order is None:
            self._own["spoke"] = True
        message_id = self._new_id()
        said[str(index)] = {"message": message_id, INPUT: False}
        while len(said) > _SAID:
            del said[next(iter(said))]
        events: list[Event] = [self._open("user", message_id, order)]
        if broken is not None:
            events.append(self._closed(broken["message"], "aborted"))
        return events

    def _speaking(self) -> bool:
        """Whether a part of the response that says something is open."""
        blocks: Members = self._own.get("blocks", {})
        return any(block["kind"] in _SAYS and not block["ended"] for block in blocks.values())

    def _is_next(self, part: WirePart, known: Members | None) -> bool:
        """Whether a part that starts after none is of another response."""
        over: bool = self._own["over"]
        if not self._own.get("live"):
            return over or (known is not None and (known["ended"] or self._own.get("ends", False)))
        if known is not None:
            # A part streams again from where it ended; speech is told by the id of its item.
            same = known["ended"] and known["kind"] == part.type
            if part.type == "speech":
                named = part.wire.get("id")
                return not (same and is_id(named) and named == known[WIRE].get("id"))
            return not (same and part.text and part.text == known.get("whole"))
        return over or (part.type in _SAYS and (self._own.get("spoke", False) or self._speaking()))

    def _closed(self, message_id: str, status: str = "completed") -> MessageClosed:
        return MessageClosed(session_id=self._session, message_id=message_id, status=status)

    def _close(self, status: str = "completed") -> list[Event]:
        """The response has ended, if there is one."""
        if self._own.get("closed", True):
            return []
        self._own["closed"] = True
        if not self._own.get("live"):  # a part of a session may stream again
            for block in self._own["blocks"].values():
                block.pop("whole", None)
        return [self._closed(self._own["message"], status)]

    def _over(self) -> list[Event]:
        """The response has ended, and what starts next is another's."""
        if "message" in self._own:
            self._own["over"] = True
        return self._close()

    def _blocks(self, index: int) -> Members:
        """What is known of the parts beside the one at an index: the user's, or the response's."""
        said: Members = self._own.get("said", {})
        blocks: Members = said if str(index) in said else self._own["blocks"]
        return blocks

    def _at(self, index: int) -> dict[str, Any]:
        said = self._own.get("said", {}).get(str(index))
        return {
            "session_id": self._session,
            "message_id": self._own["message"] if said is None else said["message"],
            "block_index": index,
        }

    def _learn_deltas(self, index: int, block: Members) -> None:
        """Have the short way take the deltas of a part, while it is open."""
        self._plain.pop(index, None)
        if block["ended"] or "message" in block:  # those of the user are speech
            return
        kind, wire = block["kind"], block[WIRE]
        key = PartKey(self._session, self._own["message"], index)
        # Details that are an empty object become null at the next delta, so that one is seen.
        if kind in _BESIDE and wire.get("provider_details") != {}:
            self._plain[index] = (kind, "content_delta", _BESIDE[kind], None, key)
        elif kind in _TOOLS and block[INPUT] and not isinstance(wire.get("args"), dict):
            call = block.get("call", "")
            self._plain[index] = (
                "tool_call",
                "args_delta",
                "tool_name_delta",
                call,
                hot_key(key, INPUT),
            )

    def _known(self, index: int) -> Members | None:
        said = self._own.get("said", {}).get(str(index))
        known: Members | None = said or self._own.get("blocks", {}).get(str(index))
        return known

    def _remember(self, index: int, part: WirePart, ended: bool) -> Members:
        known: Members = self._blocks(index).setdefault(str(index), {INPUT: False})
        known.update({"kind": part.type, WIRE: part.wire, "ended": ended})
        known["name"] = part.name
        for name in ("args", "implied", "call", "whole"):
            known.pop(name, None)
        if "callId" in part.fields:
            known["call"] = part.fields["callId"]
        if part.type in _TOOLS and isinstance(part.args, dict) and not ended:
            known["args"] = part.args
        self._learn_deltas(index, known)
        return known

    # -- parts ---------------------------------------------------------------------------------

    def _part_start(self, wire: Members) -> Sequence[Event]:
        index = a_number(wire, "index")
        part = read_part(an_object(wire, "part"), "part")
        events: list[Event] = []
        ended: list[Event] = []
        if part.type == "speech":
            self._own["live"] = True
        if is_users(part.wire):
            known, events = None, self._hear(index)
        else:
            lost = self._own.get("said", {}).pop(str(index), None)
            known = self._known(index)
            if "message" not in self._own or (
                wire.get("previous_part_kind") is None and self._is_next(part, known)
            ):
                broken = known is not None and not known["ended"]
                broken = broken or (self._own.get("live", False) and self._speaking())
                ended = self._close("aborted" if broken else "completed")
                known, events = None, self._respond()
            if lost is not None:
                ended.append(self._closed(lost["message"], "aborted"))
        at = self._at(index)
        if known is None:
            if part.text:
                events.append(
                    BlockReplaced(
                        **at, kind=part.kind, text=part.text, status="open", fields=part.fields
                    )
                )
            else:
                events.append(BlockOpened(**at, kind=part.kind, fields=part.fields))
        elif known.get("implied") and kind_of(known["kind"]) == part.kind:
            # Deltas came before it: what they said is newer than what it starts with.
            events.append(BlockOpened(**at, kind=part.kind, fields=part.fields))
            part = part._replace(args=None if known[INPUT] else part.args)
        else:
            events += self._anew(at, known, part, "open")
            known[INPUT] = False
        known = self._remember(index, part, ended=False)
        events += self._input(at, known, part.args)
        self._learn_deltas(index, known)
        if part.kind in _WHOLE:
            events.append(BlockClosed(**at))
        events += self._returned(part)
        # What ends the one before stands last: the first event's verdict is the wire object's.
        return [*events, *ended]

    def _anew(self, at: Members, known: Members, part: WirePart, status: str) -> list[Event]:
        """The part in the place of what is there, which may be of another kind."""
        events: list[Event] = []
        if kind_of(known["kind"]) != part.kind:
            events.append(BlockRemoved(**at))
        replaced = BlockReplaced(
            **at, kind=part.kind, text=part.text, whole=True, status=status, fields=part.fields
        )
        return [*events, replaced]

    def _input(self, at: Members, known: Members, args: Json) -> list[Event]:
        """What sets the arguments of a tool; the first text makes the field, others set it."""
        if args is None:
            return []
        text = args if type(args) is str else dumped(args)
        first, known[INPUT] = not known[INPUT], True
        if first:
            return [BlockDelta(**at, field=INPUT, text=text)]
        return [BlockUpdated(**at, fields={INPUT: text})]

    def _returned(self, part: WirePart) -> list[Event]:
        """The result of the call that a part returns to."""
        if part.type not in _RETURNS or not is_id(part.wire.get("tool_call_id")):
            return []
        return [
            ToolResult(
                session_id=self._session,
                call_id=part.wire["tool_call_id"],
                fields={"state": outcome_of(part.wire)},
            )
        ]

    def _part_end(self, wire: Members) -> Sequence[Event]:
        index = a_number(wire, "index")
        part = read_part(an_object(wire, "part"), "part")
        events = self._come_to(index, is_users(part.wire))
        self._own["ends"] = True
        at, known = self._at(index), self._known(index)
        if part.kind == "tool" and (known is None or kind_of(known["kind"]) == "tool"):
            # Not whole: a result of the call may be there already.
            fields = part.fields
            if known is not None:
                fields = {name: value for name, value in fields.items() if name != "state"}
            events.append(BlockUpdated(**at, kind=part.kind, fields=fields))
            events += self._input(at, self._remember(index, part, ended=True), part.args)
            events.append(BlockClosed(**at))
        else:
            events += self._anew(at, {"kind": part.type, **(known or {})}, part, "closed")
            known = self._remember(index, part, ended=True)
            events += self._input(at, known, part.args)
            if part.text is not None:
                known["whole"] = part.text
        said = self._own.get("said", {}).pop(str(index), None)
        if said is not None:
            events.append(self._closed(said["message"]))
        elif wire.get("next_part_kind") is None:
            events += self._close()
        return events

    def _come_to(self, index: int, users: bool) -> list[Event]:
        """Begin the message of a part whose start never came, where there is none."""
        if users:
            said = str(index) in self._own.get("said", {})
            return [] if said else self._hear(index)
        return [] if "message" in self._own else self._respond()

    def _part_delta(self, wire: Members) -> Sequence[Event]:
        index = a_number(wire, "index")
        delta = an_object(wire, "delta")
        kind = delta.get("part_delta_kind")
        if type(kind) is not str:
            raise wrong(delta, "part_delta_kind", "delta", "a string")
        if kind not in _DELTAS:
            raise UnknownEvent(kind)
        known = self._known(index)
        implied = known is None
        if known is None:
            if self._strict:
                raise ProtocolStopped(f"part {index} was never started")
            type_ = _DELTAS[kind]
            known = {"kind": type_, WIRE: {"part_kind": type_}, "name": "", "implied": True}
            known.update({"ended": False, INPUT: False})
        elif known["kind"] not in _FITS.get(kind, (kind,)):
            problem = f"does not fit a part of kind {known['kind'][:80]}"
            if self._strict:
                raise ProtocolStopped(f"a delta of part {index} {problem}")
            raise MalformedEvent("delta.part_delta_kind", problem)
        only_json(delta, "delta")
        details = maybe_object(delta, "provider_details", "delta")
        provider = maybe_string(delta, "provider_name")
        change = CHANGES[kind](delta, known, self._strict)

        new: Members = {}
        if provider or (provider is not None and kind == "thinking"):
            new["provider_name"] = provider
        emptied = kind != "tool_call" and known[WIRE].get("provider_details") == {}
        if details or emptied:
            before = known[WIRE].get("provider_details")
            before = before if isinstance(before, dict) else {}
            new["provider_details"] = {**before, **(details or {})} or None
        new.update(change.wire)

        events = self._come_to(index, is_users(delta)) if implied else []
        at = self._at(index)
        known.update(self._blocks(index).get(str(index), {}))
        self._blocks(index)[str(index)] = known
        known["name"] = change.fields.get("tool", known["name"])
        if "callId" in change.fields:
            known["call"] = change.fields["callId"]
        ours = kind_of(known["kind"])
        if change.whole is not None:
            events.append(BlockReplaced(**at, text=change.whole, status="open"))
        elif change.text and "whole" in known:
            text = known.pop("whole") + change.text
            events.append(BlockReplaced(**at, text=text, status="open"))
        elif change.text is not None:
            field = INPUT if ours == "tool" else "text"
            known[INPUT] = known[INPUT] or ours == "tool"
            events.append(BlockDelta(**at, field=field, text=change.text))
        if change.args is not None:
            known["args"] = change.args
            events += self._input(at, known, change.args)
        if new or change.fields or implied:
            known[WIRE] = {**known[WIRE], **new}
            fields = {**change.fields, WIRE: known[WIRE]}
            events.append(BlockUpdated(**at, kind=ours, fields=fields))
        self._learn_deltas(index, known)
        return events

    # -- the run around the responses ----------------------------------------------------------

    def _final_result(self, wire: Members) -> Sequence[Event]:
        if "message" not in self._own:
            return ()
        said = {name: value for name, value in wire.items() if name != "event_kind"}
        only_json(said, "")
        self._own["ends"] = True  # what sends it ends parts
        return (
            MessageUpdated(
                session_id=self._session,
                message_id=self._own["message"],
                info={"final_result": said},
            ),
        )

    def _tool_call(self, wire: Members) -> Sequence[Event]:
        call_id = an_id(an_object(wire, "part"), "tool_call_id", "part")
        events: list[Event] = []
        if "args_valid" not in wire or wire["args_valid"] is not None:  # else it is not executed
            events.append(self._result(call_id, {"state": {"status": "running"}}))
        return [*events, *self._called([call_id])]

    def _called(self, call_ids: Sequence[str]) -> list[Event]:
        """Calls of the response are under way: it has ended, unless it is a session's."""
        if not self._own.get("live"):
            return self._over()
        calls: list[str] = self._own.setdefault("calls", [])
        calls += [call_id for call_id in call_ids if call_id not in calls]
        return []

    def _tool_result(self, wire: Members) -> Sequence[Event]:
        name = "result" if "part" not in wire and "result" in wire else "part"  # before 2.0
        part = an_object(wire, name)
        call_id = an_id(part, "tool_call_id", name)
        only_json({name: part, "content": wire.get("content")}, "")
        fields: Members = {"state": outcome_of(part), _RETURN: part}
        if wire.get("content") is not None:
            fields[_SHOWN] = wire["content"]
        events: list[Event] = [self._result(call_id, fields)]
        events += self._answered(call_id, {})
        if self._own.get("live"):
            # What comes next answers the results, but while others of its calls are under way.
            calls: list[str] = self._own.get("calls", [])
            if call_id in calls:
                calls.remove(call_id)
            if calls:
                return events
            if self._speaking():  # the result of an earlier response's call: this one goes on
                self._own["over"] = True
                return events
        return [*events, *self._over()]

    def _result(self, call_id: str, fields: Members) -> ToolResult:
        return ToolResult(session_id=self._session, call_id=call_id, fields=fields)

    def _answered(self, call_id: str, payload: Members) -> list[Event]:
        asked: list[str] = self._shared.get("asked", [])
        if call_id not in asked:
            return []
        asked.remove(call_id)
        return [PermissionReplied(session_id=self._session, request_id=call_id, payload=payload)]

    def _deferred(self, wire: Members) -> Sequence[Event]:
        requests = an_object(wire, "requests")
        approvals = objects(requests, "approvals", "requests")
        ids = [
            an_id(part, "tool_call_id", f"requests.approvals.{number}")
            for number, part in enumerate(approvals)
        ]
        only_json(approvals, "requests.approvals")
        events: list[Event] = []
        for call_id, part in zip(ids, approvals, strict=True):
            asked: list[str] = self._shared.setdefault("asked", [])
            if call_id not in asked:
                asked.append(call_id)
                del asked[:-_ASKED]
            events += [
                self._result(call_id, {"state": {"status": "waiting"}}),
                PermissionAsked(
                    session_id=self._session,
                    request_id=call_id,
                    message_id=self._own.get("message"),
                    call_id=call_id,
                    payload=part,
                ),
            ]
        return [*events, *self._called(ids)]

    def _resolved(self, wire: Members) -> Sequence[Event]:
        approvals = maybe_object(an_object(wire, "results"), "approvals", "results") or {}
        only_json(approvals, "results.approvals")
        events: list[Event] = []
        for call_id, answer in approvals.items():
            events += self._answered(call_id, {"answer": answer})
        return events

    def _run_result(self, wire: Members) -> Sequence[Event]:
        result = maybe_object(wire, "result") or {}
        events: list[Event] = []
        if "message" in self._own and "output" in result:
            only_json(result["output"], "result.output")
            events.append(
                MessageUpdated(
                    session_id=self._session,
                    message_id=self._own["message"],
                    info={"output": result["output"]},
                )
            )
        idle = SessionStatus(session_id=self._session, status="idle")
        return [*events, *self._over(), idle]

    # -- a realtime session --------------------------------------------------------------------

    def _turn_complete(self, wire: Members) -> Sequence[Event]:
        self._own["live"] = True
        return self._over()

    def _reconnected(self, wire: Members) -> Sequence[Event]:
        self._own["live"] = True
        return () if wire.get("state_restored") is True else self._over()

    def _speech_started(self, wire: Members) -> Sequence[Event]:
        """The user speaks: what they say stands here, whenever its transcript comes."""
        self._own.update(live=True, spoke=True, heard=self._place())
        return ()

    # -- whole messages ------------------------------------------------------------------------

    def _enqueued(self, wire: Members) -> Sequence[Event]:
        """What was said while the agent ran, and has reached it now."""
        enqueue_id = an_id(wire, "enqueue_id")
        enqueued: list[str] = self._shared.get("enqueued", [])
        if enqueue_id in enqueued:
            raise RepeatedEvent("the messages were taken in")
        events = self._history(objects(wire, "messages"), "messages", enqueue_id)
        self._shared["enqueued"] = [*enqueued, enqueue_id][-_ENQUEUED:]
        return events

    def _history(self, wires: list[Any], under: str = "", given: str = "") -> Sequence[Event]:
        if not are_objects(wires):
            raise MalformedEvent("", "must be a list of messages")
        read: list[tuple[Members, list[WirePart]]] = []
        for number, wire in enumerate(wires):
            at = path_to(under, f"{number}") if under or len(wires) > 1 else ""
            if wire.get("kind") not in ("request", "response"):
                raise wrong(wire, "kind", at, "request or response")
            only_json({name: value for name, value in wire.items() if name != "parts"}, at)
            parts_at = path_to(at, "parts")
            parts = [
                read_part(part, f"{parts_at}.{place}")
                for place, part in enumerate(objects(wire, "parts", at))
            ]
            read.append((wire, parts))
        events: list[Event] = []
        for number, (wire, parts) in enumerate(read):
            name = f"{given}/{number}" if given and len(read) > 1 else given
            events += self._message(wire, parts, name)
        return events

    def _message(self, wire: Members, parts: Sequence[WirePart], given: str) -> list[Event]:
        named = wire.get("provider_response_id")
        message_id = named if is_id(named) else given or self._new_id()
        role = "assistant" if wire["kind"] == "response" else "user"
        if all(part.type in _UNSAID for part in parts) and parts:
            role = "tool"
        rest = {name: value for name, value in wire.items() if name != "parts"}
        opened = self._open(role, message_id)
        events: list[Event] = [
            opened,
            MessageUpdated(
                session_id=self._session, message_id=message_id, info={WIRE: rest}, whole=True
            ),
            MessageReset(session_id=self._session, message_id=message_id),
        ]
        results: list[Event] = []
        for index, part in enumerate(parts):
            at: dict[str, Any] = {
                "session_id": self._session,
                "message_id": message_id,
                "block_index": index,
            }
            events.append(
                BlockReplaced(
                    **at,
                    kind=part.kind,
                    text=part.text,
                    whole=True,
                    status="closed",
                    fields=part.fields,
                )
            )
            events += self._input(at, {INPUT: False}, part.args)
            results += self._returned(part)
        closed = MessageClosed(session_id=self._session, message_id=message_id)
        return [*events, *results, closed]


_HANDLERS: Mapping[str, Handler] = {
    "part_start": PydanticAIAdapter._part_start,
    "part_delta": PydanticAIAdapter._part_delta,
    "part_end": PydanticAIAdapter._part_end,
    "final_result": PydanticAIAdapter._final_result,
    "function_tool_call": PydanticAIAdapter._tool_call,
    "output_tool_call": PydanticAIAdapter._tool_call,
    "function_tool_result": PydanticAIAdapter._tool_result,
    "output_tool_result": PydanticAIAdapter._tool_result,
    "deferred_tool_requests": PydanticAIAdapter._deferred,
    "deferred_tool_results": PydanticAIAdapter._resolved,
    "agent_run_result": PydanticAIAdapter._run_result,
    "enqueued_messages": PydanticAIAdapter._enqueued,
    "realtime_turn_complete": PydanticAIAdapter._turn_complete,
    "realtime_session_reconnect": PydanticAIAdapter._reconnected,
    "realtime_input_speech_start": PydanticAIAdapter._speech_started,
}
#: Events that say nothing about a response or its tools.
_IGNORED = frozenset(
    "tool_availability_delta capability_load_delta model_settings_delta "
    "builtin_tool_call builtin_tool_result custom capability "
    "realtime_input_speech_end realtime_output_speech_start realtime_output_speech_end "
    "realtime_response_interrupted realtime_input_transcription_error "
    "realtime_session_error".split()
)
#: Calls of a session that wait for an approval, and ids of what was enqueued, at most.
_ASKED, _ENQUEUED = 256, 256
#: Utterances of the user that have not ended, at most.
_SAID = 256
#: Parts of a response that say something.
_SAYS = frozenset(("speech", "text"))
_TOOLS = frozenset(("tool-call", "builtin-tool-call"))
#: What a text delta of the short way may carry beside its text and must not, by its kind.
_BESIDE: Mapping[str, str] = {"text": "citations_delta", "thinking": "signature_delta"}
