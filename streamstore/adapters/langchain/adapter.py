"""LangChain and LangGraph: message chunks, a graph's event stream, the agent protocol; and back.

- Identity: a chunk's `id` names its message, `index` a content block or a tool call inside it; the
  agent protocol names a message in its start alone, one at a time in each namespace. A server has
  nodes that run side by side in one: which of theirs says what is a guess there, until they end
  (what each says may stand under the id of another, until `values`). Nothing names the session.
  Some chunks of one message carry the provider's id and others the run's (`lc_run-...`), so one
  that has the other sort of id than the message that is open in its namespace belongs to that one;
  so does one without an id. A final message that is sent under an id of its own stands beside its
  chunks. Those of a state that have no id at all are known by what they say and their place in it,
  in one stream. What the graph's state held and the next one on the stream does not is removed.
- Seq: none in chunks. The agent protocol's `seq` only grows: what a message has had is a duplicate,
  also on another stream; everything else about order is the order of arrival. The ids of event
  stream events are no one's own and prove nothing.
- Resume: an event stream resumes at its last id, the agent protocol at `since`; a new stream goes
  on with the messages it finds. A replay of chunks from the start cannot be told from a resume and
  doubles its text, until the graph's `values` or `messages/complete` says what it is.
- A node that failed and is run again streams its answer again, in the namespace of the same task.
  What the failed attempt left is removed by the next `values` of its graph or the next `updates`
  that has the answer, of `astream_events` as the node starts again; `messages` alone do not tell
  it, nor do `updates` of a node that keeps its model's answer to itself. An answer that had
  ended before the attempt failed stays; of `astream_events`, one from a graph below the node.
- So it is with a node that asked, which is run again from its start when the graph goes on: what it
  said before is removed as it says another message, where the graph was heard to ask, or where the
  metadata name another run of the graph (a server's do, and those of a program that gives one).
  What a graph below it said that keeps no checkpoints, and runs anew, stays.
- A run that is rolled back, and one that forks from an earlier checkpoint, say nowhere what is no
  longer; a state tells it on its own stream alone, since two streams may be of two graphs. Whoever
  starts such a run on a new stream says it in the wire's own way, `{"type": "remove", "id":
  "__remove_all__", "content": ""}` before its first `values`, or the id of each message.
- Snapshots: none to merge. A message that comes whole (any that is no chunk, and what a state, an
  update, `messages/partial` or `messages/complete` has) takes the place of what was streamed for it
  (a rewrite that shows nothing where nothing differs).
- Order: messages stand in order of arrival (1, 2, 3, ...), those of the graph's state in its order,
  content blocks in theirs, tools behind.
- Chunks add up as in the package: text and arguments append, metadata merges (strings append,
  numbers add up, but for ids and times), usage adds up. The name of a tool does not append: some
  servers send it with each chunk; a strict stream appends it, as the package does. So it is with
  what the package refuses to add (two types under one name): the later holds, strict stops.
- The `tool_calls` that some providers repeat in `additional_kwargs` are not kept: they are those
  of `tool_call_chunks`. Its `reasoning_content` is a part of its own, of a whole message, too,
  but where a block of the content is a reasoning: that has it, and of chunks it is not kept.
- A run is over at `end`, at the `run_done` of a thread's stream, or at an error. A server of today
  ends the stream of a run without a word, as a proxy may that cuts it: whoever knows that the run
  is over says so (`stream.ingest({"event": "end", "data": None})`, before `stream.end()`). It ends
  the messages of its stream, and those that its run (`run_id` in the metadata) has said on streams
  before. Else the session stays busy, and a message that was never said to be whole may lack text.
- An interrupt is a question that waits, under the interrupt's id. No event says that it was
  answered: whoever resumes the graph says so (`store.apply`).
- Blocks of a tool's call inside the content are kept as `data`: the call is the tool part. One of
  `invalid_tool_calls`, whose arguments are no JSON, is a tool that has failed.
- The text of a reasoning that comes as a summary is that of the summary's items, with an empty line
  between them. What comes for an item behind which another one began is kept, but not shown.

Here a wire object is told by its form, event or mode, and what it wraps goes to who reads that: the
step of a graph, with its messages (`steps`), an event of `astream_events`
(`callbacks`) or of the agent protocol (`agent`). Those have chunks and whole
messages added to what is there (`contents`), find the ones without an id
(`places`) and take back what attempts have left (`runs`). Which messages there
are, they all know from `known`; so does the short way of deltas (`plain`).

Sources: the message classes and `ChatModelStream` of the published package (langchain-core 1.8.4),
the protocol's types (langchain-protocol 0.0.20), and messages added up by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from ...errors import MalformedEvent, UnknownEvent
from ...events import Event, SessionStatus
from ...keys import is_id
from ...model import Json
from ..base import Context, Declaration, DeltaShape, Reads
from ..members import Members, a_number, an_event, an_id, an_object, describe, only_json, wrong
from .agent import HANDLERS, Agent
from .callbacks import CALLBACKS, Callbacks
from .chunks import with_items
from .contents import Contents
from .graph import NAMED, NAMED_BY_ID, is_metadata, unwrapped
from .known import Known
from .messages import ROLES, message_of, wire_message
from .places import Places
from .plain import ShortWay
from .runs import Runs
from .steps import Steps

#: Messages that are known by the mode that began them: `begun` in the memory of their stream.
_BEGUN = 256
#: The first event of a graph's run, whose name is not known while the protocol is not.
_RUN = frozenset(("run_id", "attempt"))
#: Events of a graph that change no message.
_SILENT = frozenset("custom debug checkpoints tasks feedback heartbeat".split())


class LangChainAdapter:
    """LangChain messages, in and out: the dumps of chunks added up.

    - `{"type": "AIMessageChunk", "content", "id", "tool_call_chunks", ...}`: a chunk, also in the
      forms `{"lc": 1, "kwargs": ...}` and `{"type", "data": ...}`; any other message is whole;
    - `[chunk, metadata]`, or a list of messages;
    - what a graph yields with its mode, its namespace or both: `[mode, data]`, `[namespace, [chunk,
      metadata]]`, `[namespace, mode, data]`, `{"type": mode, "ns": namespace, "data": ...}`;
    - `{"event": name, "data": ...}`: an event of a graph's event stream, by its name: `messages`,
      `messages/partial`, `messages/complete`, `values`, `updates`, `metadata`, `error`, `end`, and
      `events`, whose data is one of those below;
    - `{"event": "on_chat_model_stream", "run_id", "data": {"chunk"}, "metadata", ...}`: an event of
      `astream_events` (v2), of which those of models, the results of tools, and the updates that
      the outermost graph streams bring messages;
    - `{"type": "event", "method", "params": {"namespace", "data"}, "seq"?}` and the bare data of
      its method `messages` (`{"event": "message-start", ...}`, or a pair of it and its metadata):
      the agent protocol.

    Remembers the last 256 messages of a session while they grow: of each block its index, id and
    what it has beside its text.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="langchain",
        sequencing="none",
        resumes=True,
        event_names=True,
        sentinels=("[DONE]",),
        identity="message id, on some chunks the run's instead; block index",
    )
    delta: ClassVar[DeltaShape | None] = None

    def __init__(self, context: Context) -> None:
        self._session = context.session_id
        self._own = context.own
        known = Known(context)
        self._short = ShortWay(known, context.strict)
        # A method of ours that only passed the wire object on would cost a call per delta.
        self.plain = self._short.plain
        self._runs = Runs(known)
        self._places = Places(known)
        self._agent = Agent(known, self._runs)
        contents = Contents(known, context.strict)
        self._steps = Steps(known, contents, self._runs, self._places)
        self._callbacks = Callbacks(known.session, self._steps, self._runs, self._places)

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """A chunk, a whole message of LangChain's types, or an event of the agent protocol."""
        yielded = unwrapped(wire)
        if yielded is not None:
            mode, _, wire = yielded
            if mode != "messages":
                return True
        if isinstance(wire, list | tuple) and wire:
            wire = wire[0]
        if not isinstance(wire, dict):
            return False
        if wire.keys() == NAMED and type(wire["event"]) is str:
            wire = wire["data"]
            if isinstance(wire, list) and wire:
                wire = wire[0]
            if not isinstance(wire, dict):
                return False
        kind = wire.get("type")
        if wire.keys() == _RUN:
            return type(wire["run_id"]) is str and type(wire["attempt"]) is int
        if wire.get("lc") == 1:
            return isinstance(wire.get("kwargs"), dict)
        if kind == "event":
            return type(wire.get("method")) is str and isinstance(wire.get("params"), dict)
        event = wire.get("event")
        if type(event) is str and event in CALLBACKS:
            return "run_id" in wire and isinstance(wire.get("data"), dict)
        if type(event) is str and type(kind) is not str:
            return event in HANDLERS and ("delta" in wire or "id" in wire or "content" in wire)
        return (
            type(kind) is str
            and (kind in ROLES)
            and isinstance(wire.get("content"), str | list)
            and ("additional_kwargs" in wire or kind == "AIMessageChunk")
        )

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; none for what changes no message."""
        self._short.undo()  # it may be of this very wire object, which comes here after all
        yielded = unwrapped(wire)
        if yielded is not None:
            mode, names, data = yielded
            if not all(type(name) is str for name in names):
                raise MalformedEvent("ns", "must be an array of strings")
            data = list(data) if isinstance(data, tuple) else data
            asked = self._runs.interrupted(wire.get("interrupts")) if isinstance(wire, dict) else []
            return self._runs.waits([*self._named("|".join((mode, *names)), data)], asked)
        if isinstance(wire, list):
            return self._list(wire, "")
        wire = an_event(wire)
        event, kind = wire.get("event"), wire.get("type")
        if type(event) is str and "data" in wire and wire.keys() <= NAMED_BY_ID:
            return self._named(event, wire["data"])
        if kind == "event":
            return self._envelope(wire)
        if type(event) is str and event in HANDLERS:
            return self._agent.said(wire, "", "", None)
        if type(event) is str and event in CALLBACKS and "run_id" in wire:
            return self._callbacks.read(event, wire)
        if kind == "success":
            return ()
        if wire.keys() == _RUN:
            return self._named("metadata", wire)
        if kind == "error":
            return self._runs.error(wire)
        return self._steps.take([message_of(wire, "")], "", final=True)

    def encode(self, reads: Reads) -> Json:
        """The messages of all sessions, in order, as the package dumps them.

        Chunks that were streamed stand added up; what was whole stands as it came. Linear in what
        is stored.

        Raises:
            CallerError: a tool's arguments are unfinished, and the extra `partial` is missing.
        """
        return [
            wire_message(message, [with_items(part) for part in reads.parts(*message.key)])
            for session_id in reads.session_ids()
            for message in reads.messages(session_id)
        ]

    # -- what a graph's event stream says ------------------------------------------------------

    def _list(self, values: list[Any], scope: str, seq: int | None = None) -> Sequence[Event]:
        if len(values) == 2 and isinstance(values[1], dict) and is_metadata(values[1]):
            said = values[0]
            event = said.get("event") if isinstance(said, dict) and "type" not in said else None
            if type(event) is str and event in HANDLERS:
                return self._agent.said_in_task(said, values[1], scope, seq)
            message = message_of(values[0], "0")
            return self._steps.in_task([message], values[1], scope, name=self._places.sent_up)
        found = [message_of(value, str(place)) for place, value in enumerate(values)]
        return self._steps.take(found, scope, final=True)

    def _named(self, name: str, data: Any) -> Sequence[Event]:
        name, _, scope = name.partition("|")
        if name == "custom":  # the application's own, whatever it looks like
            return ()
        if isinstance(data, dict) and data.get("type") == "event":
            return self._envelope(data)
        if isinstance(data, dict) and type(data.get("event")) is str and data["event"] in HANDLERS:
            return self._agent.said(data, "data", scope, None)
        if name in ("messages/partial", "messages/complete"):
            if not isinstance(data, list):
                raise MalformedEvent("data", f"must be an array, not {describe(data)}")
            found = [message_of(value, f"data.{place}") for place, value in enumerate(data)]
            if name == "messages/complete":
                return self._steps.so_far(found, scope, final=True)
            read = partial(self._steps.so_far, found, scope, final=False)
            return self._in_mode("messages", data[0] if data else None, read)
        if name == "messages/metadata":
            return self._steps.note_tasks(data)
        if name == "messages" and isinstance(data, list):
            said = data[0] if data else None
            if not isinstance(said, dict) or said.get("type") != "AIMessageChunk":
                return self._list(data, scope)
            return self._in_mode("messages", said, partial(self._list, data, scope))
        if name == "events":
            return self._callback(data)
        if name == "message" or name == "messages":
            return self.decode(data)
        if name == "values":
            return self._steps.values(data, scope)
        if name == "updates":
            return self._steps.updates(data, scope)
        if name == "metadata":
            self._runs.note(data.get("run_id") if isinstance(data, dict) else None)
            if isinstance(data, dict) and data.get("status") == "run_done":  # of a thread's stream
                return self._runs.idle()
            return (SessionStatus(session_id=self._session, status="busy"),)
        if name == "end":
            return self._runs.idle()
        if name == "error":
            return self._runs.error(data if isinstance(data, dict) else {"message": data})
        if name in _SILENT:
            return ()
        raise UnknownEvent(name)

    def _callback(self, data: Any) -> Sequence[Event]:
        """An event of `astream_events`, as a server sends it that was asked for `events`."""
        event = data.get("event") if isinstance(data, dict) else None
        if type(event) is not str or event not in CALLBACKS:
            return ()
        read = partial(self._callbacks.read, event, data)
        if event != "on_chat_model_stream":
            return read()
        inner = data.get("data")
        chunk = inner.get("chunk") if isinstance(inner, dict) else None
        return self._in_mode("events", chunk, read)

    def _in_mode(
        self, mode: str, chunk: Any, read: Callable[[], Sequence[Event]]
    ) -> Sequence[Event]:
        """A piece of a message in one of the modes of a server. Where two were asked for, each has
        all of its pieces: those of the mode that began it are taken in."""
        given = chunk.get("id") if isinstance(chunk, dict) else None
        if not is_id(given):
            return read()
        if self._own.get("begun", {}).get(given, mode) != mode:
            return ()
        events = read()
        begun: dict[str, str] = self._own.setdefault("begun", {})
        begun[given] = mode
        if len(begun) > _BEGUN:
            del begun[next(iter(begun))]
        return events

    # -- the agent protocol --------------------------------------------------------------------

    def _envelope(self, wire: Members) -> Sequence[Event]:
        method = wire.get("method")
        if type(method) is not str:
            raise wrong(wire, "method", "", "a string")
        params = an_object(wire, "params")
        seq = None if wire.get("seq") is None else a_number(wire, "seq")
        names = params.get("namespace")
        names = names if isinstance(names, list) else []
        scope = "/".join(name for name in names if type(name) is str)
        data = params.get("data")
        if method == "messages":
            if isinstance(data, list | tuple):
                return self._list(list(data), scope, seq)
            data = an_object(params, "data", "params")
            event = data.get("event")
            if type(event) is str and event in HANDLERS:
                return self._agent.said(data, "params.data", scope, seq)
            if event is None:
                return self.decode(data)
            raise UnknownEvent(str(event))
        if method == "values":
            asked = self._runs.interrupted(params.get("interrupts"))
            return self._runs.waits([*self._steps.values(data, scope)], asked)
        if method == "updates":
            values = data.get("values") if isinstance(data, dict) else None
            return self._steps.updates({"values": values}, scope)
        if method == "tools":
            return self._agent.tools(an_object(params, "data", "params"))
        if method == "lifecycle":
            return self._agent.lifecycle(an_object(params, "data", "params"), scope)
        if method == "input.requested":
            data = an_object(params, "data", "params")
            request = an_id(data, "interrupt_id", "params.data")
            only_json(data, "params.data")
            return self._runs.waits([], [self._runs.asked(request, data.get("payload"))])
        if method in ("checkpoints", "custom", "tasks") or method.startswith("custom:"):
            return ()
        raise UnknownEvent(method)
