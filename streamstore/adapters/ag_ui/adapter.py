"""AG-UI: the event stream of agents, to canonical events and back to `{"messages", "state"}`.

- Identity: thread (session), message and tool call ids as the wire has them. The text of a message
  is its block `text`, whatever its role; a tool call is the block of its own id in the message
  that owns it, its arguments stream into the field `input`; an activity is the block `content` of
  its message; parts of mixed content are blocks 0, 1, ... A tool's result is a message of its own,
  and the `output` of the call. Retired `THINKING_*` events name nothing: their messages get new
  ids, and those of a run that is replayed get the same ones again, in order.
- Order: arrival, counted here as `order`. A tool's result stands right behind the message that
  owns the call and its earlier results: a fraction.
- Seq, resume: none. Event ids of an event stream mean nothing to the protocol.
- A reconnect is a replay: a run that this thread knows starts again on another stream, or before
  its end on its own one (lenient, as that of a saved state does). What it starts again, or begins
  again that never had a start, is rebuilt from its beginning (`message.reset`), results replace
  themselves, and patches of the state, and what the run adds to an older one's text, arguments or
  activity, count on from where they were. From then on the stream that started the run last speaks
  for it; what an older one still delivers changes nothing. What a snapshot in a replay takes away
  comes back to its place when the replay brings it. The official client doubles.
- A stream that begins with another event than the start or error of a run goes on with the run that
  its session's streams started last, where that has not ended: a server that resumes behind the
  last event. It must be opened for the session: no other event names its thread.
- Where no run is known, such a stream came late. What it streams is of a run that has no name until
  its end says one, or until a new run on another stream brings it again (the start of a message,
  a call, a result): then that is a replay of it, before whose messages those stand that are new,
  and the late stream changes nothing more. Messages of a snapshot are of no such run.
- A start of an id that is known is otherwise no replay within one stream, or in a new run: as in
  the official client, text and arguments go on behind what is there.
- Snapshots: `MESSAGES_SNAPSHOT` is an event and takes effect in its place. A history that was
  fetched is another object, see the class.
- A message ends with its run, one that comes whole when it comes.
- `CUSTOM`, `RAW` and spans of reasoning change nothing.
- Strict, a stream stops where the official client does: at a wrong member, at a chunk that
  continues nothing, at an event out of sequence. Lenient, the first two are malformed, and no
  sequence is: a delta before its start makes its message, one after its end is appended.

An object is cleaned (`schema`), its chunks are expanded (`chunks`), its sequence is
followed or verified (`verify`), and it is applied (`apply`) to its thread: runs
(`runs`), messages and calls (`known`), and what is done to them.

Sources: `@ag-ui/core` and `@ag-ui/client` 1.0.0, and streams recorded through that client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ...errors import ProtocolStopped
from ...events import Event
from ...keys import HotKey, PartKey
from ...model import Json, thaw
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads, ShortShape
from ..members import Members, an_id, maybe_id, wrong
from .apply import Thread
from .chunks import continued, expand
from .messages import INPUT, TEXT, wire_message
from .runs import Runs, drop_past
from .schema import clean, clean_messages, fits, is_message
from .verify import STREAMED, Flow

_CHUNK = "TEXT_MESSAGE_CHUNK"
_ARGS, _CALL_CHUNK = "TOOL_CALL_ARGS", "TOOL_CALL_CHUNK"
_SAFE = 2**53 - 1


class AgUiAdapter:
    """AG-UI events in; `{"messages", "state"}` in and out.

    - `{"type", ...}`: an event. Unknown types are dropped, as are members that nobody knows;
    - `{"messages": [...], "state"?, "threadId"?, "complete"?, "readFrom"?}`: a history that was
      fetched, in the protocol's own messages: merged with what is live as any fetched state. Its
      `state` counts while the stream has given none.

    The session is the thread of `RUN_STARTED`, unless the stream was opened for a session (of
    another name than `main`): then it is that one, whatever the thread is called. Session info
    holds `run` (the last one, with its outcome), `pendingInterrupts`, and open `steps` and
    `subagents` where there were any. Interrupts are permissions where they name a tool call,
    questions otherwise: by the interrupt's id, with a space behind it for each time that this one
    was answered before. An answer on the wire names the `id` in the payload.

    Remembered: one entry per message and tool call of a thread, the ids of its last 256 runs, the
    content of its activities (patches apply to it); what is in progress, per stream. Of messages
    before the last 4,096 (some more between two runs) it remembers where they stand, of 65,536 of
    them, and nothing of their calls: a snapshot still keeps or removes them, a replay builds them
    anew, and a result still finds its call. What else comes for one in a run that is new (deltas
    behind its end, a call, an encrypted value) starts anew in its place, or changes nothing.
    A run that goes on and on is bounded alike: over 8,192 messages in all, the oldest that are done
    are old from then on, completed; then those that wait for a result, and activities (of which no
    place is kept), but none that is streaming. A lenient stream takes the last 1,024 that were not
    ended, of each kind, for streaming; a strict one knows the owners of a run's last 8,192 ids of
    each kind, and refuses nothing for older ones. Chunks are assembled for 1,024 producers at a
    time; of more the oldest subagent's message ends, and goes on where a chunk names it.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="ag-ui",
        sequencing="none",
        snapshots=True,
        identity="thread, message and tool call ids; a run id tells a replay from a new run",
    )
    delta: ClassVar[DeltaShape | None] = None
    short: ClassVar[ShortShape] = ShortShape(
        text=("delta",),
        same=(("type",), ("messageId",)),
        optional=((("timestamp",), "integer"),),
        sizes=(((), 3),),
        # Another stream may replay the run, or drop what is streaming.
        guard=lambda adapter, wire: (adapter._known, "cooled"),
    )

    def __init__(self, context: Context | None = None) -> None:
        self._context = context = context or Context()
        self._own = own = context.own
        drop_past(context)
        # Of a stream, beside what its `Runs` remember: chunks, open `THINKING_*`, what is open.
        for name in ("lanes", "thinking", "flow"):
            own.setdefault(name, {})
        self._flow = Flow(own["flow"], context.strict)
        self._runs = Runs(context)
        self._thread = Thread(context, self._runs, self._flow)
        # What `plain` reads: the part by event type and message id (None: a chunk that names
        # nothing), or call id; good as long as `_known` says what it said when they were learnt.
        # Never saved: the first delta after a load takes the long way and is remembered again.
        self._live: dict[str, dict[str | None, HotKey]] = {
            name: {} for name in (*STREAMED, _CHUNK, _CALL_CHUNK)
        }
        self._live_calls: dict[str, dict[str, HotKey]] = {_ARGS: {}, _CALL_CHUNK: {}}
        self._known: Members = {"cooled": 0}
        self._cooled = 0

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event with all that its type needs, or the history of a named thread."""
        if fits(wire):
            return True
        if not isinstance(wire, dict) or "type" in wire or "threadId" not in wire:
            return False
        messages = wire.get("messages")
        return isinstance(messages, list) and all(map(is_message, messages))

    def plain(self, wire: Any) -> PlainDelta | None:
        """The delta of a text, or of a call's arguments, that is streaming."""
        message_id, size = wire.get("messageId"), 3
        if message_id is not None:
            key = self._live[wire["type"]][message_id]
        elif "toolCallId" in wire:
            key = self._live_calls[wire["type"]][wire["toolCallId"]]
        else:
            key, size = self._live[wire["type"]][None], 2
        text = wire["delta"]
        if text.__class__ is not str or self._known["cooled"] != self._cooled:
            return None
        if len(wire) != size:
            at = wire.get("timestamp")
            if len(wire) != size + 1 or at.__class__ is not int or not -_SAFE <= at <= _SAFE:
                return None
        return (key, text, None)

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; none for what changes no session."""
        if isinstance(wire, dict) and "type" not in wire and "messages" in wire:
            return self._history(wire)
        event, note = self._translated(clean(wire, self._context.strict))
        kind = event["type"]
        if kind == "RUN_STARTED" and not self._context.bound:
            an_id(event, "threadId")
        runs, thread, run = self._runs, self._thread, None
        first = not self._flow.begun and kind not in ("RUN_STARTED", "RUN_ERROR")
        if first:
            run = runs.joined(event)  # (an error may be that of another run, which never started)
        lanes = self._own["lanes"] if run is None else runs.lanes_of(run)
        ended, events, lanes = expand(event, lanes)
        self._flow.take((*ended, *events))
        # Nothing is refused from here on.
        if run is not None:
            runs.join(run)
        elif first:
            runs.begin()
        note()
        runs.keep(lanes)
        found: list[Event] = []
        if kind == "RUN_STARTED" or runs.speaks:
            found = [made for one in events for made in thread.apply(one)]
            closed = [made for one in ended for made in thread.apply(one)]
            # Behind it: the first event's verdict is that of the wire object. What it ended is of
            # another message, and ends also where a patch or a text for an activity is refused.
            found += closed
        self._warm(events[-1] if events else None)
        return found

    def _warm(self, event: Members | None) -> None:
        """Let what follows take the short way where it has nothing to do but be appended.

        While chunks are assembled, an explicit delta of their producer ends them: it may not.
        """
        live, calls = self._live, self._live_calls
        runs, texts, lanes = self._runs, self._thread.texts, self._own["lanes"]
        tables: list[dict[Any, HotKey]] = [*live.values(), *calls.values()]
        known, cool, runs.cool = runs.known, runs.cool, {}
        if lanes or known is not self._known or known["cooled"] != self._cooled:
            for table in tables:
                table.clear()
            self._known, self._cooled = known, known["cooled"]
        else:
            for table in (live[_CHUNK], live[_CALL_CHUNK], calls[_CALL_CHUNK]):
                table.clear()
            for entity in cool:
                for table in tables:
                    table.pop(entity, None)
        if not runs.speaks:
            return  # another stream speaks for the run
        key: HotKey | None
        if lanes:
            kind, entity = continued(lanes) or ("", "")
            if kind == _CHUNK and texts.streams_text(entity, "text"):
                key = PartKey(runs.session_id, entity, TEXT)
                live[_CHUNK].update({None: key, entity: key})
            elif kind == _CALL_CHUNK and (key := self._input_of(entity)) is not None:
                live[_CALL_CHUNK][None] = calls[_CALL_CHUNK][entity] = key
        elif event is None:
            return
        elif event["type"] in STREAMED:
            message_id = event["messageId"]
            if texts.streams_text(message_id, STREAMED[event["type"]]):
                live[event["type"]][message_id] = PartKey(runs.session_id, message_id, TEXT)
        elif event["type"] == _ARGS and (key := self._input_of(event["toolCallId"])) is not None:
            calls[_ARGS][event["toolCallId"]] = key

    def _input_of(self, call_id: str) -> HotKey | None:
        """Where the arguments of a call are that are streaming."""
        message_id = self._thread.calls.streams_input(call_id)
        return None if message_id is None else (self._runs.session_id, message_id, call_id, INPUT)

    def _translated(self, event: Members) -> tuple[Members, Callable[[], None]]:
        """An event of today for a retired one, and what notes that it was taken."""
        kind: str = event["type"]
        if not kind.startswith("THINKING"):
            return event, _nothing
        entity = "message" if "TEXT" in kind else "span"
        thinking: Members = dict(self._own["thinking"])
        found = thinking.get(entity)
        used = _nothing
        if kind.endswith("_START") or found is None:
            if not kind.endswith("_START") and self._context.strict:
                raise ProtocolStopped(f"{kind}: nothing was started")
            if entity == "message":
                found, used = self._runs.next_thought(self._context.new_id)
            else:  # no message has it: it only needs to be no other one's
                found = f"\0thinking {thinking.get('spans', 0)}"
                thinking["spans"] = thinking.get("spans", 0) + 1
            thinking[entity] = found
        if kind.endswith("_END"):
            del thinking[entity]

        def note() -> None:
            used()
            self._own["thinking"] = thinking

        name = "REASONING_" + kind.removeprefix("THINKING_").removeprefix("TEXT_")
        return {**event, "type": name, "messageId": found}, note

    def _history(self, wire: Members) -> Sequence[Event]:
        messages = clean_messages(wire, "messages", self._context.strict)
        complete = wire.get("complete", False)
        if type(complete) is not bool:
            raise wrong(wire, "complete", "", "true or false")
        thread_id, read_from = maybe_id(wire, "threadId"), maybe_id(wire, "readFrom")
        session_id = self._runs.session_id
        if thread_id is not None and not self._context.bound:
            session_id = thread_id
        state = (wire["state"],) if "state" in wire else None
        snapshots = self._thread.snapshots
        return snapshots.history(messages, session_id, state, complete, read_from)

    def encode(self, reads: Reads) -> Json:
        """`{"messages": [...], "state": ...}`: what the official client holds. Linear.

        Messages of several sessions stand one session behind the other; the state is that of the
        last session that has one, `{}` where none has.
        """
        messages: list[Json] = []
        state: Json = {}
        for session_id in reads.session_ids():
            session = reads.session(session_id)
            if session is None:
                continue
            messages += [
                wire_message(message, reads.parts(session_id, message.id))
                for message in reads.messages(session_id)
            ]
            if session.state is not None or session.info.get("hasState"):
                state = thaw(session.state)
        return {"messages": messages, "state": state}


def _nothing() -> None:
    pass
