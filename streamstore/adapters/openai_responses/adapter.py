"""OpenAI Responses: the events of a streamed response to canonical events and back.

- Identity: `response.id` is the message; only lifecycle events name it, so a stream remembers its
  response (one per lane, `stream_id`), until an item of another one shows that it is in that. What
  comes on a stream without a lifecycle event belongs to the response that has its item, else to the
  latest one that has not ended, else to a new one with an id of ours, which a later lifecycle event
  gives its name (the message keeps the id it had). Where another stream brings the event that it
  began with again, under a name, that message is removed: it is there whole.
- Parts: `"{output_index}/content/{content_index}"` and `"{output_index}/summary/{summary_index}"`
  for the parts of messages and reasoning, `"{output_index}"` for every other item, in that order.
  A refusal is a text with the field `refusal`. What else an item of parts has stands in the
  message's info as `output/{output_index}`; of the other items and of parts in the field `wire`.
  Beside it there are `annotations`, of an image what there is of it (`partialImage`), of a shell
  call `command/{n}`, of a patch `diff`, of what a command printed `stdout/{n}`, `stderr/{n}` and
  `output/{n}`.
  Gateways give several items one output index: another item that is added there is one of its own
  behind all others, and the index means that one from there on, but where an event has the id of
  the earlier. So is what nothing announced and what cannot be of the item that is there: a text at
  the index of reasoning or of a call, and the other way round.
  A content index that counts deltas (vLLM before it had calls, Tiles) names the part that was
  announced before the first of them, which is certain where that delta is the very next event.
- Seq: `sequence_number` counts a response's events. Every response gets a range of its own, so
  that an event's seq is the start of that range plus four times its number. What was taken in of a
  response is known exactly: sent again, on whatever stream, it is a duplicate; late, it goes to
  its place. The end of a response that brings its whole output stands for all numbers before it;
  that of one that failed, or without any output, cannot prove that there was nothing else.
- Numbers that are missing, or that contradict themselves (two events of different types with one
  number, number 0 on anything but an event that begins a response), number nothing: from there on
  the response's events count as they come. When such a response is begun again on another stream
  its parts are built anew (`message.reset`) as soon as the first of them comes. So are those
  of one that begins again with a number that came and another `created_at`, as where a gateway asks
  once more under its own id.
- An error without a number (`{"error": ...}`) that follows events which were repeated, and was told
  of this response before, is that one: a replay brings it again. Elsewhere it is another one. One
  with a number names no response either: alone on a stream it is the one that was told with this
  number of the response that ended last, or that was read there; with another number, or in
  other words, it is another one.
- An end that names no response, as where `response.failed` has an `error` beside its type and no
  `response` (Perplexity, gateways), is that of the response its stream is in; on a stream that is
  in none yet, that of the one that runs where its number goes on with that one's. Else a failure is
  the session's error alone, and another end is malformed. A strict stream takes neither. So it is
  with an error: alone on a stream it ends no response of another one. But one without a number,
  where the others have theirs, may be all that a resume brings: it ends the latest that runs.
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

An event is read (`schema`), finds its response and its number among those that
came (`memory`), and is applied to the items and parts of that response
(`apply`), which are translated one by one, there and back
(`items`). Lifecycle events, whole responses and the lanes of a stream are here.

Sources: the event types and the accumulator of the published Python SDK (3.57.0), responses folded
by it, and reports about other servers (no item events, no indexes, numbers that stand still).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import attrs

from ...errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from ...events import (
    BlockEvent,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageUpdated,
    SessionError,
    SessionStatus,
    Snapshot,
)
from ...keys import MessageKey, is_id, is_number
from ...model import Json
from ..base import NAMED, Context, Counter, Declaration, DeltaShape, PlainDelta, Reads, ShortShape
from ..members import Members, a_string, an_event, an_id, an_object, maybe_object, only_json
from .apply import HANDLERS, Handler, Output, fetched_part
from .items import wire_response
from .memory import (
    DETAILED,
    HOLES,
    NUMBERS,
    STEPS,
    TYPED,
    Here,
    Plain,
    Responses,
    blank,
    check_lifecycle,
    contradicts,
    forget_items,
    has_item,
    intervals_of,
    is_made_anew,
    is_told,
    item_of,
    note_error,
    note_told,
    note_unnumbered,
    number_of,
    placed,
)
from .schema import (
    BEGINNINGS,
    CREATED,
    ENDED,
    ENDINGS,
    FAILED,
    OLD,
    TEXTS,
    UNNUMBERED,
    ending_of,
    error_of,
    is_nameless,
    output_of,
    parent_of,
    said,
)


class Resume(NamedTuple):
    """A response that has not ended, and after which of its events to go on.

    `starting_after` is None where nothing is known to be whole from the first event on: ask for
    the whole stream, what is known of it is a duplicate.
    """

    response_id: str
    starting_after: int | None


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
        named=lambda wire: f"{TEXTS[wire['type'].removesuffix('.delta')].list}_index",
        strings=(("item_id",),),
        optional=((("logprobs",), "empty"), (("obfuscation",), "string")),
        sizes=(((), 6),),
        count=("sequence_number",),
        counter=lambda adapter: Counter(
            ends=adapter._ends, base=adapter._base, step=STEPS, top=NUMBERS
        ),
    )

    def __init__(self, context: Context) -> None:
        self._strict = context.strict
        self._new_id = context.new_id
        self._own = context.own
        self._session = context.session_id
        self._output = Output(self._session, context.strict)
        self._known = Responses(context.of_session())
        self._responses = self._known.entries
        # Of this object alone, lost without harm. The number that `plain` took in last, for the
        # `decode` that may follow it; numbers in order of what raised, which count as received
        # once something else is; the response that repeated events are of, by lane; the lane and
        # number of the last of them, and the last number that was new then; the response that came
        # whole; the one that was asked for.
        self._offered = -1
        self._passed: tuple[str, int] = ("", -1)
        self._hints: dict[str, str] = {}
        self._repeated: tuple[str, int] = ("", -1)
        self._new_then = -1
        self._fetched = ""
        self._asked = ""
        # Made of the memory: the response of the usual lane, and where its plain deltas go.
        self._focus = ""
        self._base = 0
        self._ends: list[int] = []
        self._plain: Plain = {}
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
        if kind in BEGINNINGS or kind in ENDINGS:
            return isinstance(wire.get("response"), dict)
        numbered = is_number(wire.get("sequence_number"))
        if kind == "error":
            return numbered and "message" in wire
        return kind in HANDLERS and (numbered or is_number(wire.get("output_index")))

    def plain(self, wire: Any) -> PlainDelta | None:
        """The short way of the next delta of a text or an input that had one before."""
        self._offered = -1
        found = self._plain.get(wire["type"])
        if found is None:
            return None
        member, size, keys = found
        output, index = wire["output_index"], wire[member]
        number, text, ends = wire["sequence_number"], wire["delta"], self._ends
        if (
            number.__class__ is int
            and text.__class__ is str
            and output.__class__ is int  # true is no index 1
            and index.__class__ is int
            and ends
            and number == ends[-1] + 1
            and number < NUMBERS
            and wire["item_id"].__class__ is str
            # The members read here, and padding; for anything else there is the long way.
            and len(wire) == size + ("logprobs" in wire) + ("obfuscation" in wire)
            and not wire.get("logprobs")
            and wire.get("obfuscation", "").__class__ is str
        ):
            key = keys[output][index]
            ends[-1] = self._offered = number
            return (key, text, self._base + STEPS * number)
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; none for what changes nothing."""
        offered, self._offered = self._offered, -1
        wire = an_event(wire)
        if wire.get("type") is None:
            return self._untyped(wire)
        kind = a_string(wire, "type")
        kind = OLD.get(kind, kind)
        if self._strict and wire.get("error"):
            raise ProtocolStopped("the stream reported an error")
        number = number_of(wire)
        lane = wire["stream_id"] if is_id(wire.get("stream_id")) else ""
        if kind in BEGINNINGS or kind in ENDINGS:
            return self._lifecycle(kind, wire, number, lane)
        if kind in UNNUMBERED:
            return ()
        if self._strict and self._following(lane) is None:
            raise ProtocolStopped(f"expected response.created before {kind[:80]}")
        key = self._current(wire, lane, number)
        if kind == "error":
            return self._error(wire, key, number, lane)
        handle = HANDLERS.get(kind)
        try:
            if handle is None:
                raise UnknownEvent(kind)
            if key is None:
                return self._orphan(handle, kind, wire, number, lane)
            here = self._here(key, number, kind, lane, offered)
            events = handle(self._output, wire, here)
        except (MalformedEvent, UnknownEvent):
            if key is not None and number is not None:
                self._pass_over(key, number)
            raise
        if events and here.entry.pop("rebuild", False):
            events.insert(0, MessageReset(message_id=key))
        self._take_in(here, number, kind)
        self._follow(lane, key)
        if here.seq is not None and number is not None and not here.entry.get("unnamed"):
            joined = self._known.forget_joined(number, wire)
            if joined is not None:
                events.append(MessageRemoved(message_id=joined))
        return events

    def encode(self, reads: Reads) -> Json:
        """The `Response` objects of all sessions, in order; linear in what is stored.

        Of a response that has not ended: what its last lifecycle event said, with the output that
        came so far. Messages of other roles are left out.
        """
        return [
            wire_response(message, reads.parts(session_id, message.id))
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
            key = self._known.latest()
        else:
            key = self._known.key_of(response_id)
        entry = self._responses.get(key) if key is not None else None
        if key is None or entry is None or entry["state"] == "ended" or entry.get("unnamed"):
            return None
        starts, ends = entry["starts"], entry["ends"]
        whole = starts and entry["types"].get(str(starts[0])) == CREATED
        return Resume(entry.get("id", key), ends[0] if whole else None)

    def ended(self, response_id: str | None = None) -> bool:
        """Whether a response has ended, by default every one that this stream was in."""
        if response_id is not None:
            keys = [self._known.key_of(response_id)]
        else:
            lanes = self._own.get("lanes", {})
            keys = [*lanes.values(), *self._hints.values(), self._fetched]
        found = [self._responses[key] for key in keys if key in self._responses]
        return bool(found) and all(entry["state"] == "ended" for entry in found)

    def follow(self, response_id: str) -> None:
        """Say which response the stream was asked for: events that name none are of that one.

        Without it they are of the one of their item, else of the session's latest. It holds for
        this stream until its events say otherwise; one that is not known changes nothing.
        """
        self._asked = self._known.key_of(response_id)

    def unfinished(self) -> MessageKey | None:
        """A response that this stream is in, or was asked for, and that has not ended."""
        for key in (*self._own.get("lanes", {}).values(), self._asked):
            entry = self._responses.get(key)
            if entry is not None and entry["state"] != "ended":
                return MessageKey(self._session, key)
        return None

    # -- which response ------------------------------------------------------------------------

    def _following(self, lane: str) -> str | None:
        """The response that a lane of this stream is in, as far as its events say."""
        return self._own.get("lanes", {}).get(lane) or self._hints.get(lane)

    def _current(self, wire: Members, lane: str, number: int | None = None) -> str | None:
        """The response that an event without its id belongs to; None for a new one."""
        item_id = item_of(wire)
        key, hint = self._following(lane), self._hints.get(lane)
        if key is not None and key in self._responses:
            # What was repeated does not take the stream to another response, unless it goes on.
            if hint in self._responses and not has_item(self._responses[key], item_id):
                follows = number is not None and self._repeated == (lane, number - 1)
                goes_on = follows and not self._is_next(key, number)
                return hint if goes_on or has_item(self._responses[hint], item_id) else key
            return self._owner(key, wire.get("output_index"), item_id, number)
        if self._asked in self._responses:
            return self._owner(self._asked, wire.get("output_index"), item_id, number)
        for key, entry in self._responses.items():
            if has_item(entry, item_id):
                return key
        return self._known.latest()

    def _owner(self, key: str, place: Any, item_id: Any, number: int | None) -> str:
        """The response of an item: that of the lane, unless it is known to be one of another.

        A stream that was saved in one response may be given the rest of another. An id alone
        proves nothing, as some servers count the items of each response anew: in the lane's there
        must be another item in its place, or the number must not be the next one.
        """
        entry = self._responses[key]
        there = entry["items"].get(str(place), {}).get("id")
        if there == item_id or not is_id(item_id):
            return key
        if there is None and (
            number is None or not entry["numbered"] or self._is_next(key, number)
        ):
            return key
        if not has_item(entry, item_id):
            for other, known in self._responses.items():
                if known["state"] != "ended" and has_item(known, item_id):
                    return other
        return key

    def _is_next(self, key: str, number: int | None) -> bool:
        """Whether a number is the next one of a response."""
        return bool(self._responses[key]["numbered"]) and number == self._last(key) + 1

    def _is_in(self, key: str, number: int | None, lane: str) -> bool:
        """Whether a lane of this stream is in its current response: one alone on a stream is that
        of a request that failed at once, unless its number lies above all that came."""
        if self._following(lane) is not None or key == self._fetched:
            return True
        last = self._last(key) if self._responses[key]["numbered"] else -1
        return number is not None and number > last >= 0

    def _last(self, key: str) -> int:
        """The highest number that came of a response, -1 for none."""
        ends, passed = self._responses[key]["ends"], self._passed
        return max(passed[1] if passed[0] == key else -1, ends[-1] if ends else -1)

    def _here(self, key: str, number: int | None, kind: str, lane: str, offered: int = -1) -> Here:
        """Where an event of a response belongs.

        Raises:
            RepeatedEvent: it was taken in before.
        """
        entry = self._responses[key]
        seq: int | None = None
        if number is not None and entry["numbered"] and not contradicts(entry, number, kind):
            if number != offered and number in intervals_of(entry):
                if len(self._hints) > DETAILED:
                    self._hints.clear()
                self._hints[lane], self._repeated = key, (lane, number)
                self._new_then = self._last(key)
                if lane == "" and key != self._focus:
                    self._plain = {}
                raise RepeatedEvent(f"event {number} of this response")
            seq = entry["base"] + STEPS * number
        # The short way is for the usual lane's response, while nothing of another one is repeated.
        live = self._plain if self._focus == key == self._hints.get("", key) else None
        if number is not None and not entry.get("unnamed") and self._known.may_be_joined(number):
            live = None  # an event that is to be looked at may come
        return Here(key, entry, seq, live)

    def _take_in(self, here: Here, number: int | None, kind: str) -> None:
        """Note the number of an event; one that cannot be one ends the counting."""
        entry = here.entry
        passed, self._passed = self._passed, ("", -1)
        if number is None or not entry["numbered"]:
            return
        intervals = intervals_of(entry)
        if here.seq is None:
            entry["numbered"] = False
            intervals.starts.clear()
            intervals.ends.clear()
            return
        if passed[0] == here.message and intervals.ends and passed[1] > intervals.ends[-1]:
            intervals.ends[-1] = passed[1]
        intervals.add(number)
        if number < TYPED and not kind.endswith(".delta"):
            entry["types"][str(number)] = kind
        if len(intervals.starts) > HOLES:
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
            if len(lanes) > DETAILED:
                del lanes[next(other for other in lanes if other)]
        if lane == "" and (self._focus != key or self._ends is not self._responses[key]["ends"]):
            self._look_at(key)

    def _look_at(self, key: str) -> None:
        entry = self._responses.get(key)
        self._focus = key if entry is not None else ""
        self._base, self._ends = (entry["base"], entry["ends"]) if entry is not None else (0, [])
        self._plain = {}

    def _orphan(
        self, handle: Handler, kind: str, wire: Members, number: int | None, lane: str
    ) -> list[Event]:
        """The events of one whose response did not begin: it gets an id of ours."""
        if not handle(self._output, wire, Here("?", blank(0, 0, None), None)):
            return []  # and what is malformed opens nothing either
        key = self._new_id()
        entry = self._known.enter(key)
        entry["unnamed"] = True
        here = self._here(key, number, kind, lane)
        events = handle(self._output, wire, here)
        self._take_in(here, number, kind)
        if here.seq is not None and number is not None:
            self._known.note_joined(key, number, wire)
        self._follow(lane, key)
        opened = MessageOpened(message_id=key, role="assistant", order=entry["order"])
        return [*events, opened, *self._status()]

    def _status(self) -> list[Event]:
        """The session's status where it changed."""
        status = self._known.turn()
        return [] if status is None else [SessionStatus(status=status)]

    # -- responses -----------------------------------------------------------------------------

    def _lifecycle(
        self, kind: str, wire: Members, number: int | None, lane: str
    ) -> Sequence[Event]:
        if kind in ENDINGS and not self._strict and is_nameless(wire):
            return self._nameless(kind, wire, number, lane)
        response = an_object(wire, "response")
        named = an_id(response, "id", "response")
        output = output_of(response, "response")
        key = self._known.key_of(named)
        current = self._following(lane)
        if self._strict:
            if current is None and kind != CREATED:
                raise ProtocolStopped(f"expected response.created before {kind}")
            if current not in (None, key):
                raise ProtocolStopped("the lifecycle response's identity changed")
        if key not in self._responses and current in self._responses:
            # Servers in between may rename a response on its way; `created` begins another one.
            running = self._responses[current]
            if running.get("unnamed") or (running["state"] != "ended" and kind != CREATED):
                key = current
        entry = self._responses.get(key)
        known = entry is not None
        created = response.get("created_at")
        anew = kind == CREATED and not self._strict and is_made_anew(entry, number, created)
        if anew and entry is not None:
            entry.update(state="open", created=created, rebuild=True)
            entry.pop("errors", None)
            forget_items(entry)
            self._known.count_anew(entry)
            here = self._here(key, number, kind, lane)
        elif entry is not None:
            here = self._here(key, number, kind, lane)
            if self._strict:
                check_lifecycle(kind, entry, output)
        else:  # nothing refuses it from here on
            entry = self._known.enter(key, created)
            here = self._here(key, number, kind, lane)
        if entry.pop("unnamed", False) or named != key:
            self._known.name(key, named)
        again = kind == CREATED and known and current != key and not anew
        if again and (here.seq is None or entry.get("fetched")):
            entry["rebuild"] = True
            forget_items(entry)
            if here.seq is not None:  # what came behind the fetched state comes again, too
                self._known.count_anew(entry)
                here = self._here(key, number, kind, lane)
        events: list[Event] = []
        if kind in ENDINGS:
            places = {str(place) for place, _ in placed(entry["items"], output)}
            # One that failed may have told less than it said, and no output proves nothing.
            cut = kind in (FAILED, "response.cancelled")
            whole = bool(output) and not cut and entry["items"].keys() <= places
            events = self._finish(here, response, output, ENDINGS[kind])
            self._take_in(here, number, kind)
            if whole and number is not None and here.seq is not None:
                # This is all there is of it: what comes late says nothing new.
                intervals_of(entry).cover(number, 0)
        else:
            counts = here.seq is not None and not entry.get("read")
            if counts or entry["state"] != "ended" or entry.get("rebuild"):
                events = self._begin(here, response, output)
            self._take_in(here, number, kind)
        self._follow(lane, key)
        return events

    def _nameless(self, kind: str, wire: Members, number: int | None, lane: str) -> Sequence[Event]:
        """An end that names no response: that of the one which its stream is in."""
        only_json(wire, "")
        response = {**(maybe_object(wire, "response") or {})}
        response.pop("id", None)
        if response.get("error") is None and wire.get("error") is not None:
            response["error"] = wire["error"]
        output = output_of(response, "response")
        failed = kind == FAILED
        error = error_of(response.get("error"), "failed")
        words = {**error, "sequence_number": number}
        key = self._current(wire, lane, number)
        if key is not None and self._is_in(key, number, lane):
            here = self._here(key, number, kind, lane)
            ended = here.entry["state"] == "ended"
            again = not failed or not note_told(here.entry, words)
            if ended and again and here.seq is not None:
                raise RepeatedEvent("the end of this response")
            if again or not ended:  # without numbers a replay begins it anew
                events = self._finish(here, response, output, ENDINGS[kind])
                self._take_in(here, number, kind)
                self._follow(lane, key)
                return events
        if not failed:
            raise MalformedEvent("response.id", "is missing, and no response runs")
        if number and self._was_told(words, key, number, lane):
            raise RepeatedEvent(f"error {number} of a response that has ended")
        return (SessionError(error=error),)

    def _begin(self, here: Here, response: Members, output: list[Members]) -> list[Event]:
        rebuilt = bool(output) and here.entry.pop("rebuild", False)
        info, events = self._output.put(here, response, output, final=False)
        opened = MessageOpened(
            message_id=here.message,
            role="assistant",
            order=here.entry["order"],
            parent_id=parent_of(response),
            info=info,
            seq=here.seq,
        )
        reset = [MessageReset(message_id=here.message)] if rebuilt else []
        return [*reset, opened, *events, *self._status()]

    def _finish(
        self, here: Here, response: Members, output: list[Members], status: str
    ) -> list[Event]:
        entry = here.entry
        if said(response, "status") in ENDED:
            status = response["status"]
        first, entry["state"] = entry["state"] != "ended", "ended"
        info, blocks = self._output.put(here, response, output, final=True)
        entry["types"] = {}
        for flag in ("rebuild", "fetched"):
            entry.pop(flag, None)
        for item in entry["items"].values():
            item.pop("state", None)
            item.pop("answer", None)
        if self._focus == here.message:
            self._plain = {}
        ending, error = ending_of(response, status)
        events: list[Event] = [
            MessageUpdated(
                message_id=here.message,
                role="assistant",
                order=entry["order"],
                parent_id=parent_of(response),
                info=info,
                seq=here.seq,
            ),
            *blocks,
            MessageClosed(message_id=here.message, status=ending, error=error, seq=here.after(1)),
        ]
        if status == "failed" and first:
            events.append(SessionError(error=error or {"name": "failed", "message": ""}))
        return [*events, *self._status()]

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
        key = self._known.key_of(an_id(wire, "id"))
        output = output_of(wire, "")
        status = said(wire, "status") or "completed"
        entry = self._responses.get(key)
        ended = status in ENDED
        if not ended and entry is not None and (entry["state"] == "ended" or entry["starts"]):
            return ()  # it is older than what is known, or its stream tells more
        if entry is None:
            entry = self._known.enter(key, wire.get("created_at"), fetched=True)
        here = Here(key, entry, None)
        self._fetched = key
        if ended:
            failed = entry["state"] == "failed"
            events = self._finish(here, wire, output, status)
            if failed and entry["numbered"]:
                # It ended otherwise than the error event said, whose number lies below.
                end = entry["base"] + STEPS * NUMBERS - 1
                events = [
                    attrs.evolve(event, seq=end) if isinstance(event, MessageClosed) else event
                    for event in events
                ]
            if not output:
                entry["read"] = True
            elif entry["numbered"]:
                intervals_of(entry).cover(NUMBERS - 1, 0)
            return events
        entry["fetched"] = True
        info, blocks = self._output.put(here, wire, output, final=False)
        parts = [fetched_part(event) for event in blocks if isinstance(event, BlockEvent)]
        message = {
            "id": key,
            "role": "assistant",
            "order": entry["order"],
            "info": {**info, "id": wire["id"]},
            "parts": parts,
        }
        if parent_of(wire) is not None:
            message["parentId"] = parent_of(wire)
        others = [event for event in blocks if not isinstance(event, BlockEvent)]
        return [Snapshot(messages=[message]), *others, *self._status()]

    def _error(
        self, error: Members, key: str | None, number: int | None, lane: str
    ) -> Sequence[Event]:
        only_json(error, "")
        inner = error.get("error")
        found = error_of(inner if isinstance(inner, dict) else error, "error")
        told = SessionError(error=found)
        if number and self._was_told(found, key, number, lane):
            raise RepeatedEvent(f"error {number} of a response that has ended")
        if key is None:
            return (told,)
        entry = self._responses[key]
        # One without a number may be all that a resume brings of a response that has numbers,
        # whose end, if it comes, is believed instead.
        numbered = entry["numbered"] and self._last(key) >= 0
        resumed = numbered if number is None else is_told(entry, found)
        if entry["state"] != "ended" and not resumed and not self._is_in(key, number, lane):
            return (told,)
        repeated = self._hints.get(lane) == key
        if repeated and self._repeated[0] == lane:  # the short way forgets no hint
            repeated = self._last(key) == self._new_then
        if number is None and not note_unnumbered(entry, found, repeated):
            raise RepeatedEvent("an error of this response")
        if entry["state"] == "ended":
            # Its end may stand for numbers that never came: those of errors are known apart.
            if not note_error(entry, number, found):
                raise RepeatedEvent(f"error {number} of this response")
            return (told,)
        here = self._here(key, number, "error", lane)
        # A replay that builds the response anew brings its errors again.
        new = here.seq is None or note_error(entry, number, found)
        entry["state"] = "failed"
        self._take_in(here, number, "error")
        closed = MessageClosed(message_id=key, status="error", error=found, seq=here.seq)
        return [closed, *([told] if new else ()), *self._status()]

    def _was_told(self, found: Members, key: str | None, number: int, lane: str) -> bool:
        """Whether a numbered error, on a lane that is in no response yet, is one that was told of a
        response that has ended: of the one that was read there, or of the session's last.

        A request that fails at once numbers its error as the first event of all, and no error of
        a response is that; what goes on with the response that runs has the next number of it.
        """
        if self._following(lane) is not None or (key is not None and self._is_next(key, number)):
            return False
        ended = [self._responses.get(other) for other in (self._fetched, self._known.last())]
        return any(
            entry is not None and entry["state"] == "ended" and is_told(entry, found)
            for entry in ended
        )
