"""opencode V2: `session.next.*` on the `/api` streams and its messages, to events and back.

- Identity: session and message ids; blocks by `textID`, `reasoningID` and `callID`, each counted
  by itself: a block index is the text's own id, `reasoning/...` or `tool/...`. The next dialect
  (`session.text.delta`) has an `ordinal` for the first two.
- A message may use an id again, as some providers do (`reasoning-0` for each of its thoughts): the
  server has an item for each beginning, and what follows goes to the last one. The first that was
  seen has the id for its index; another one has its created time behind it (`reasoning/...@1700`),
  a text, which has no time in a read, its number (`...@2`): which one it is there, its neighbours
  say. A read and what is live have the same indexes for who saw the first beginning.
- Seq: `durable.seq` counts a session's durable events (`session`); deltas have none and are not
  stored by the server, so that no replay brings them. A durable event is therefore two: one of its
  message or session, which takes the number, and what it does to a block, which rides along and
  follows the rules of a stream without seq. The event that ends a text carries all of it and seals
  it: a delta that comes later is refused. A delta that was lost shows until then (`part.gap`).
- A step that was interrupted has no end of its own: its message is open until the next step begins,
  which ends it, as in the server's messages.
- A type of a session that is not known here takes its number all the same: it is no hole.
- Event ids (`evt_...`) are unique and ascending: what has no number is known again by them.
- Permissions and questions have no number and are in no log: the stream of one session lacks them.
  A read brings them, and takes away those that were answered meanwhile.
- Resume: `after` is the last `durable.seq`. Where it cannot be had (`/api/event`), fetch: first
  the session's messages without `seq`, which marks the texts whose beginning nobody streamed and
  takes nothing away, then the rows of its log behind `health.resume` (`.../history?after=`).
- Order: messages as the server has them, by when they entered the conversation; parts by the seq
  that began them. A prompt enters when it is delivered (`prompted`, `prompt.promoted`), which may
  be long after its created time, that of its admission: when that was, the id of the event says,
  and in a read its neighbours. One that is admitted only waits behind all others; a read lacks it.
- `revert.committed` removes the messages behind its target, of those that were seen or read; in the
  next dialect the target, too.

Sources: the types of opencode's published SDK (1.19.3), and the schemas of its 2.0 betas for the
next dialect. V1 is `opencode`.

Which part takes an event is here. Parts: the event as it came (`told`), sessions (`session`), which
messages there are (`known`), those that come at once (`entries`), steps (`steps`), texts (`texts`,
`beginnings`), calls (`calls`), reads (`reads`), the way back to the wire (`items`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias

from ...events import (
    Event,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    SessionUpdated,
    Snapshot,
    StreamSynchronized,
)
from ...keys import is_id
from ...model import Json
from ..base import Context, Declaration, DeltaShape, PlainDelta, Reads
from ..members import Members, an_event, an_id, are_objects
from . import session
from .calls import Calls
from .entries import Entries
from .items import wire_message
from .known import Known
from .reads import read_messages, read_waiting
from .steps import Steps
from .texts import Texts
from .told import Told, told_of, unwrapped

_SILENT = frozenset(
    "server.connected server.heartbeat log.hint log.sweep_required plugin.added catalog.updated "
    "reference.updated integration.updated integration.connection.updated "
    "models-dev.refreshed".split()
)
#: Events that tell of work, behind which no retry is waited for.
_WORK = frozenset(
    "text.started reasoning.started tool.input.started tool.called step.streamed step.ended".split()
)
_OURS = ("session.", "permission.", "question.", "todo.", "server.", "log.")

#: Where every delta has its members, and those of a tool's input.
_PLACES: dict[str, Any] = {
    "body": "data",
    "session": "sessionID",
    "message": "assistantMessageID",
    "text": "delta",
    "id": "id",
    "spare": ("timestamp",),
    "never": "durable",  # with a number
}
_INPUTS: dict[str, Any] = {
    **_PLACES,
    "block": "callID",
    "block_is_id": True,
    "prefix": "tool/",
    "of_field": "input",
}
_RENAMED = {"agent.selected": "agent.switched", "model.selected": "model.switched"}


_Handler: TypeAlias = Callable[["OpencodeV2Adapter", Told], Sequence[Event]]


class OpencodeV2Adapter:
    """opencode's V2 events in; a session's messages, as `/api/session/{id}/message`, in and out.

    - `{"id", "type", "data", "durable"?: {"aggregateID", "seq", "version"}, "created"?}`: an event
    - `{"directory"?, "project"?, "payload"}`: an event of V1's `/global/event`, with its
      members under `properties` as on V1's `/event`, or a `sync` record; no number counts there
    - `{"sessionID", "data": [message], "seq"?, "complete"?, "before"?, "readFrom"?,
      "permission"?: [request], "question"?: [request]}`: a read, by default a page and not
      complete; `seq` is the session's at the time of the read, where known; the requests are all
      that `/api/session/{id}/permission` and `.../question` gave
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="opencode-v2",
        sequencing="session",
        ids_unique=True,
        ids_ordered=True,
        snapshots=True,
        resumes=True,
        identity="session and message ids; textID, reasoningID or ordinal, and callID",
    )
    delta: ClassVar[DeltaShape | None] = DeltaShape(
        type="session.next.text.delta", block="textID", block_is_id=True, **_PLACES
    )
    more_deltas: ClassVar[tuple[DeltaShape, ...]] = (
        DeltaShape(
            type="session.next.reasoning.delta",
            block="reasoningID",
            block_is_id=True,
            prefix="reasoning/",
            **_PLACES,
        ),
        DeltaShape(type="session.next.tool.input.delta", **_INPUTS),
        DeltaShape(type="session.text.delta", block="ordinal", block_is_number=True, **_PLACES),
        DeltaShape(
            type="session.reasoning.delta",
            block="ordinal",
            block_is_number=True,
            prefix="reasoning/",
            **_PLACES,
        ),
        DeltaShape(type="session.tool.input.delta", **_INPUTS),
    )

    def __init__(self, context: Context | None = None) -> None:
        self._known = known = Known(Context() if context is None else context)
        self._entries = Entries(known)
        self._steps = Steps(known)
        self._texts = Texts(known)
        self._calls = Calls(known)

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An event with its `data`, or a read of a session's messages."""
        if not isinstance(wire, dict):
            return False
        data = wire.get("data")
        if "type" not in wire:
            return (
                is_id(wire.get("sessionID"))
                and isinstance(data, list)
                and are_objects(data)
                and all(is_id(message.get("type")) for message in data)
            )
        kind = wire["type"]
        return (
            type(kind) is str
            and kind.startswith(_OURS)
            and is_id(wire.get("id"))
            and isinstance(data, dict)
        )

    def plain(self, wire: Any) -> PlainDelta | None:
        """Nothing: `delta` says where everything is."""
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; the first takes its number or its id."""
        wire, path = an_event(wire), ""
        if "type" not in wire:
            if "payload" not in wire:
                return (self._read(wire), *read_waiting(wire))
            wire, path = unwrapped(wire)
        kind = an_id(wire, "type", path)
        if kind in _SILENT:
            return ()
        if kind == "log.caught_up":
            return (StreamSynchronized(),)
        name = kind.removeprefix("session.next.").removeprefix("session.")
        handle = _HANDLERS.get(_RENAMED.get(name, name))
        told = told_of(wire, kind, handle is not None, path)
        events = (SessionUpdated(**told.first),) if handle is None else handle(self, told)
        return (*events, *self._steps.goes_on(told)) if name in _WORK else events

    def encode(self, reads: Reads) -> Json:
        """Every session's messages as the server's read gives them; linear in what is stored."""
        return [
            {
                "sessionID": session_id,
                "data": [
                    wire_message(message, reads.parts(session_id, message.id))
                    for message in reads.messages(session_id)
                ],
            }
            for session_id in reads.session_ids()
        ]

    def restarted(self, session_id: str) -> None:
        """Forget what has a number of the counter that is over: of the last retry, of texts."""
        self._steps.restarted(session_id)
        self._texts.restarted(session_id)

    def _read(self, wire: Members) -> Snapshot:
        snapshot = read_messages(wire)
        session = an_id(wire, "sessionID")
        self._known.order_read(session, snapshot)
        # What parts sort by is known by their indexes, which texts get first.
        self._texts.were_read(session, snapshot.messages)
        self._known.were_read(session, snapshot.messages)
        self._steps.were_read(session, snapshot.messages)
        self._calls.were_read(session, snapshot.messages)
        return snapshot


_HANDLERS: Mapping[str, _Handler] = {
    "created": lambda adapter, told: session.updated(told),
    "updated": lambda adapter, told: session.updated(told),
    "deleted": lambda adapter, told: session.deleted(told),
    "status": lambda adapter, told: session.status(told),
    "idle": lambda adapter, told: session.works("idle", told),
    "execution.started": lambda adapter, told: session.works("busy", told),
    "execution.succeeded": lambda adapter, told: session.works("idle", told),
    "execution.failed": lambda adapter, told: session.failed(told),
    "execution.interrupted": lambda adapter, told: session.works("idle", told),
    "moved": lambda adapter, told: session.some_info(told, "location", "subdirectory"),
    "renamed": lambda adapter, told: session.some_info(told, "title"),
    "retried": lambda adapter, told: adapter._steps.retried(told),
    "retry.scheduled": lambda adapter, told: adapter._steps.retried(told),
    "revert.staged": lambda adapter, told: session.revert(told),
    "revert.cleared": lambda adapter, told: session.revert(told),
    "revert.committed": lambda adapter, told: adapter._steps.reverted(told),
    "prompted": lambda adapter, told: adapter._entries.prompted(told),
    "prompt.admitted": lambda adapter, told: adapter._entries.prompted(told, admitted=True),
    "prompt.promoted": lambda adapter, told: adapter._entries.promoted(told),
    "agent.switched": lambda adapter, told: adapter._entries.switched("agent", told),
    "model.switched": lambda adapter, told: adapter._entries.switched("model", told),
    "synthetic": lambda adapter, told: adapter._entries.text_message("synthetic", told),
    "context.updated": lambda adapter, told: adapter._entries.text_message("system", told),
    "shell.started": lambda adapter, told: adapter._calls.shell_started(told),
    "shell.ended": lambda adapter, told: adapter._calls.shell_ended(told),
    "compaction.started": lambda adapter, told: adapter._entries.compaction_started(told),
    "compaction.delta": lambda adapter, told: adapter._entries.compaction_delta(told),
    "compaction.ended": lambda adapter, told: adapter._entries.compaction_ended(told),
    "step.started": lambda adapter, told: adapter._steps.started(told),
    "step.ended": lambda adapter, told: adapter._steps.over(told),
    "step.failed": lambda adapter, told: adapter._steps.over(told),
    "text.started": lambda adapter, told: adapter._texts.started("text", told),
    "text.delta": lambda adapter, told: adapter._texts.delta("text", told),
    "text.ended": lambda adapter, told: adapter._texts.ended("text", told),
    "reasoning.started": lambda adapter, told: adapter._texts.started("reasoning", told),
    "reasoning.delta": lambda adapter, told: adapter._texts.delta("reasoning", told),
    "reasoning.ended": lambda adapter, told: adapter._texts.ended("reasoning", told),
    "tool.input.started": lambda adapter, told: adapter._calls.input_started(told),
    "tool.input.delta": lambda adapter, told: adapter._calls.input_delta(told),
    "tool.input.ended": lambda adapter, told: adapter._calls.input_ended(told),
    "tool.called": lambda adapter, told: adapter._calls.called(told),
    "tool.progress": lambda adapter, told: adapter._calls.progress(told),
    "tool.success": lambda adapter, told: adapter._calls.ended(told),
    "tool.failed": lambda adapter, told: adapter._calls.ended(told),
    "todo.updated": lambda adapter, told: session.todo(told),
    **{
        f"{name}{version}.asked": partial(lambda cls, adapter, told: session.asked(cls, told), cls)
        for name, cls in (("permission", PermissionAsked), ("question", QuestionAsked))
        for version in ("", ".v2")
    },
    **{
        f"{name.replace('.', f'{version}.')}": partial(
            lambda cls, adapter, told: session.answered(cls, told), cls
        )
        for name, cls in (
            ("permission.replied", PermissionReplied),
            ("question.replied", QuestionReplied),
            ("question.rejected", QuestionRejected),
        )
        for version in ("", ".v2")
    },
}
