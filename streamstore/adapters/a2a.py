"""A2A, the agent-to-agent protocol: stream responses about tasks to canonical events and back.

- Identity: a task id, an artifact id inside it, a message id; the place of a part in its message or
  artifact. `contextId` names the conversation: it is the session, unless the stream was opened for
  one. A message without an id gets one of ours.
- Seq: none, and no event ids. A single update that is sent twice counts twice.
- Resume: none. Who subscribes again gets the whole task first, which takes the place of what was
  there (a rewrite that shows nothing where nothing differs); what was sent in between is in it.
- Snapshots: a task, streamed or fetched. Artifacts that it lacks are gone; messages that it lacks
  stay, as a task is often fetched with a part of its history. Who subscribes needs no fetch.
- Fetch a task on a stream of its own where an open one is about it: each stream counts the parts
  that it brought of an artifact, so that a chunk which the fetched task has already is known again.
  A task there with the beginning of an artifact alone is older than what is there, whose status
  stays, unless it has ended. (Both where no more than 63 parts lie between.) One without any
  artifact, as lists of tasks have them, says nothing of artifacts. A task takes the place of all
  that its own stream brought, and a chunk that it has early there is there twice.
- Order: messages and artifacts stand in order of arrival (1, 2, 3, ...), parts in theirs. What a
  task's history has before a message that is there stands before it, too (fractions): a stream may
  begin with a status, and only the fetched task has the question.
- Each message and each artifact is a message here; an artifact's id is `task/artifact`. An update
  with `append` adds parts, and never text inside a part; without it the artifact is replaced.
  `lastChunk`, or the end of the task, closes it.
- The message of a status joins the task's history when the next status comes.
- A session's info has a field `task/ID` for each task: the last 256 that were spoken of, and up to
  256 more. Then those are told anew (`whole`: what somebody else put there goes, too).
- A task that waits for input or authentication asks a question by the task's id, with a space
  behind it for each of its questions that are over: the next state ends one, and so does the next
  message of the same state.
- An error names no session: it is of the one that its stream spoke of last, else of the stream's.
- What a user says to a task that is there is in no stream, only in the task that is fetched: ingest
  the message as it was sent (`{"message": {...}}`, with its `contextId` and `taskId`).
- Strict is the server's task manager: parts for an artifact that never began stop the stream.
- Both spellings are read, those of 1.x (`{"statusUpdate": ...}`, also in snake case) and of 0.3
  (`{"kind": "status-update", ...}`; over REST as 1.x, but that the parts of a message are its
  `content`), each alone or as the result of a JSON-RPC answer. Names in snake case are given back
  in camel case.

Sources: the protocol's types and `TaskManager` of the published Python package (a2a-sdk 1.3.0), and
tasks folded by it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias
from zlib import crc32

from ..errors import MalformedEvent, ProtocolStopped, UnknownEvent
from ..events import (
    BlockReplaced,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageUpdated,
    QuestionAsked,
    QuestionReplied,
    SessionError,
    SessionStatus,
    SessionUpdated,
)
from ..keys import is_id
from ..model import Json, Message, Part, thaw
from .base import Context, Declaration, DeltaShape, PlainDelta, Reads
from .bounded import remember
from .members import (
    Members,
    an_event,
    an_id,
    an_object,
    maybe_id,
    maybe_object,
    objects,
    path_to,
    wrong,
)

Handler: TypeAlias = Callable[["A2aAdapter", Members, str], Sequence[Event]]

#: Tasks of a session that are remembered, and artifacts of a task. The task that was spoken of
#: longest ago goes; its field in the session's info goes with as many others.
_TASKS, _ARTIFACTS = 256, 1024
#: Parts of an artifact, the last ones, that are known when they come by another stream.
_TRAIL = 64
#: Sessions of whose artifacts a stream knows which parts it brought.
_SESSIONS = 64

_SPELLINGS: Mapping[str, str] = {
    "task_id": "taskId",
    "context_id": "contextId",
    "message_id": "messageId",
    "artifact_id": "artifactId",
    "last_chunk": "lastChunk",
}
_NAMES: Mapping[str, str] = {
    "task": "task",
    "message": "message",
    "statusUpdate": "status",
    "status_update": "status",
    "status-update": "status",
    "artifactUpdate": "artifact",
    "artifact_update": "artifact",
    "artifact-update": "artifact",
}
#: How a task in a state stands: what its session does, and how what it made has ended.
_STATES: Mapping[str, tuple[str, str | None]] = {
    "submitted": ("busy", None),
    "working": ("busy", None),
    "input-required": ("idle", None),
    "auth-required": ("idle", None),
    "completed": ("idle", "completed"),
    "failed": ("idle", "error"),
    "rejected": ("idle", "error"),
    "canceled": ("idle", "aborted"),
    "cancelled": ("idle", "aborted"),
}
_ASKING = frozenset(("input-required", "auth-required"))

_WIRE, _TASK = "wire", "task/"


class A2aAdapter:
    """A2A stream responses in, and the tasks and messages they come to, in and out.

    - `{"task" or "message" or "statusUpdate" or "artifactUpdate": {...}}`, or an object of 0.3 with
      its `kind`, or a task or message alone; each also in `{"jsonrpc", "result"}`;
    - `{"jsonrpc", "error"}`, or `{"error"}` alone.

    Remembers of each stream the session that it spoke of last, and of each session the last 256
    tasks: their status, and of each artifact the number of its parts and its metadata.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="a2a",
        sequencing="none",
        snapshots=True,
        identity="context id; task id and artifact id, or message id; place of a part",
    )
    delta: ClassVar[DeltaShape | None] = None

    def __init__(self, context: Context) -> None:
        self._bound = context.session_id if context.bound else None
        self._default = context.session_id
        self._strict = context.strict
        self._new_id = context.new_id
        self._of_session = context.of_session
        self._own = context.own

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """A stream response, alone or in a JSON-RPC answer."""
        if isinstance(wire, dict) and wire.get("jsonrpc") == "2.0":
            wire = wire.get("result")
        if not isinstance(wire, dict):
            return False
        kind = wire.get("kind")
        name = _NAMES.get(kind) if type(kind) is str else None
        inner: Any = wire
        if name is None and len(wire) == 1:
            ((key, inner),) = wire.items()
            name = _NAMES.get(key)
        if name is None or not isinstance(inner, dict):
            return False
        inner = _spelled(inner)
        if name == "task":
            return is_id(inner.get("id")) and isinstance(inner.get("status"), dict)
        if name == "message":
            parts = inner.get(_parts_of(inner))
            return is_id(inner.get("messageId")) and isinstance(parts, list)
        member = "status" if name == "status" else "artifact"
        return is_id(inner.get("taskId")) and isinstance(inner.get(member), dict)

    def plain(self, wire: Any) -> PlainDelta | None:
        """Nothing: no update appends to a text."""
        return None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one stream response; none for an answer that says nothing of a task."""
        events = self._response(an_event(wire))
        if events:
            self._own["session"] = events[0].session_id
        return events

    def _response(self, wire: Members) -> Sequence[Event]:
        at = ""
        if "jsonrpc" in wire or wire.keys() == {"error"}:
            if wire.get("error") is not None:
                return self._error(an_object(wire, "error"))
            if "result" not in wire:
                return ()  # a request
            wire, at = an_object(wire, "result"), "result"
        kind = wire.get("kind")
        if type(kind) is str and kind in _NAMES:
            return _HANDLERS[_NAMES[kind]](self, _spelled(wire), at)
        for key, name in _NAMES.items():
            if key in wire:
                inner = _spelled(an_object(wire, key, at))
                return _HANDLERS[name](self, inner, path_to(at, key))
        spelled = _spelled(wire)
        if "messageId" in spelled:
            return self._message(spelled, at)
        if "id" in spelled and "status" in spelled:
            return self._task(spelled, at)
        if type(kind) is str:
            raise UnknownEvent(kind)
        names = [name for name in wire if type(name) is str]
        raise UnknownEvent(names[0] if names else "")

    def encode(self, reads: Reads) -> Json:
        """The tasks of all sessions as `{"task": ...}`, and messages of none as `{"message": ...}`.

        In order of arrival, a task where its first message or artifact stands. What is left of a
        task that is not in the session's info any more is `{"message": ...}` and
        `{"artifactUpdate": ...}`. Linear in what is stored.
        """
        found: list[Json] = []
        for session_id in reads.session_ids():
            session = reads.session(session_id)
            info = {} if session is None else session.info
            tasks: dict[str, Members] = {
                name.removeprefix(_TASK): {**thaw(task)}
                for name, task in info.items()
                if name.startswith(_TASK) and isinstance(task, dict)
            }
            placed: set[str] = set()
            for message in reads.messages(session_id):
                task_id = message.info.get("taskId")
                wire = _wire_message(message, reads.parts(session_id, message.id))
                if type(task_id) is not str or task_id not in tasks:
                    if type(task_id) is str and "artifactId" in wire:
                        wire = {"taskId": task_id, "contextId": session_id, "artifact": wire}
                        found.append({"artifactUpdate": wire})
                    else:
                        found.append({"message": wire})
                    continue
                task = tasks[task_id]
                if task_id not in placed:
                    placed.add(task_id)
                    found.append({"task": task})
                if "artifactId" in wire:
                    task.setdefault("artifacts", []).append(wire)
                elif task.get("statusMessage") == message.id:
                    task["status"] = {**task.get("status", {}), "message": wire}
                else:
                    task.setdefault("history", []).append(wire)
            found += [{"task": task} for name, task in tasks.items() if name not in placed]
            for task in tasks.values():
                task.pop("statusMessage", None)
        return found

    # -- messages and artifacts ----------------------------------------------------------------

    def _session_of(self, members: Members, at: str) -> str:
        given = maybe_id(members, "contextId", at) if members.get("contextId") != "" else None
        return self._bound or given or self._default

    def _known(self, session_id: str, task_id: str) -> Members:
        """The memory of a task, made when it is new; it is the last one now."""
        memory = self._of_session(session_id)
        tasks: dict[str, Members] = memory.setdefault("tasks", {})
        known = tasks.pop(task_id, None)
        if known is None:
            known = {"said": {"id": task_id}, "artifacts": {}, "asked": False}
            if len(tasks) >= _TASKS:
                del tasks[next(iter(tasks))]
                memory["dropped"] = memory.get("dropped", 0) + 1
        tasks[task_id] = known
        return known

    def _told(self, session_id: str, task_id: str) -> SessionUpdated:
        """A task in the session's info; with all that are remembered, where many others went."""
        memory = self._of_session(session_id)
        tasks: dict[str, Members] = memory["tasks"]
        whole = memory.get("dropped", 0) >= _TASKS
        if whole:
            memory["dropped"] = 0
        info = {
            f"{_TASK}{name}": dict(tasks[name]["said"]) for name in (tasks if whole else [task_id])
        }
        return SessionUpdated(session_id=session_id, info=info, whole=whole)

    def _opened(self, session_id: str, message_id: str, role: str) -> MessageOpened:
        """A message where it arrived; one that is known keeps its place."""
        memory = self._of_session(session_id)
        place = memory.get("places", {}).get(message_id)
        if place is None:
            memory["count"] = place = memory.get("count", 0) + 1
            self._stand(session_id, message_id, place)
        return MessageOpened(session_id=session_id, message_id=message_id, role=role, order=place)

    def _stand(self, session_id: str, message_id: str, place: float) -> None:
        places: dict[str, float] = self._of_session(session_id).setdefault("places", {})
        remember(places, message_id, place, _ARTIFACTS)

    def _stand_before(
        self, session_id: str, message_ids: Sequence[str | None], others: Sequence[str]
    ) -> None:
        """Places for the messages of a task that are new and that its history has before others:
        behind the one before them there, else before all that is known of the task (`others`: its
        artifacts). What is new behind all others stands where it arrives."""
        places: dict[str, float] = dict(self._of_session(session_id).get("places", {}))
        known = [places[name] for name in (*message_ids, *others) if name in places]
        last: float | None = None
        new: list[str] = []
        for message_id in message_ids:
            if message_id is None:
                continue
            if message_id not in places:
                new.append(message_id)
                continue
            if new:
                if last is None:
                    end = min(known)
                    low = max((each for each in places.values() if each < end), default=end - 1)
                else:
                    low = last
                    end = min((each for each in places.values() if each > low), default=low + 1)
                for number, each in enumerate(new, start=1):
                    place = low + (end - low) * number / (len(new) + 1)
                    self._stand(session_id, each, place)
                new = []
            last = places[message_id]

    def _parts(
        self, session_id: str, message_id: str, parts: Sequence[_Part], start: int
    ) -> list[Event]:
        return [
            BlockReplaced(
                session_id=session_id,
                message_id=message_id,
                block_index=start + number,
                kind=part.kind,
                text=part.text,
                whole=True,
                status="closed",
                fields={_WIRE: part.wire},
            )
            for number, part in enumerate(parts)
        ]

    def _whole(
        self, session_id: str, message_id: str, role: str, info: Members, parts: Sequence[_Part]
    ) -> list[Event]:
        return [
            self._opened(session_id, message_id, role),
            # Before the update, which commits it: what is replaced by no parts at all is empty.
            MessageReset(session_id=session_id, message_id=message_id),
            MessageUpdated(session_id=session_id, message_id=message_id, info=info, whole=True),
            *self._parts(session_id, message_id, parts, 0),
        ]

    def _said(self, session_id: str, said: _Said, task_id: str | None) -> tuple[str, list[Event]]:
        """A message that was said, and its id."""
        message_id = said.id or self._new_id()
        info: Members = {_WIRE: said.wire}
        task_id = task_id or said.task
        if task_id is not None:
            info["taskId"] = task_id
        events = self._whole(session_id, message_id, said.role, info, said.parts)
        closed = MessageClosed(session_id=session_id, message_id=message_id)
        return message_id, [*events, closed]

    def _message(self, wire: Members, at: str) -> Sequence[Event]:
        session_id = self._session_of(wire, at)
        return self._said(session_id, _read_message(wire, at), None)[1]

    # -- tasks ---------------------------------------------------------------------------------

    def _task(self, wire: Members, at: str) -> Sequence[Event]:
        task_id = an_id(wire, "id", at)
        session_id = self._session_of(wire, at)
        status = _read_status(an_object(wire, "status", at), path_to(at, "status"))
        history = [
            _read_message(_spelled(message), f"{path_to(at, 'history')}.{number}")
            for number, message in enumerate(_maybe_objects(wire, "history", at))
        ]
        artifacts = [
            _read_artifact(_spelled(artifact), f"{path_to(at, 'artifacts')}.{number}")
            for number, artifact in enumerate(_maybe_objects(wire, "artifacts", at))
        ]
        known = self._known(session_id, task_id)
        others = {f"{task_id}/{name}" for name in known["artifacts"]}
        brought = self._brought(session_id)
        ours: list[_Artifact] = []
        for artifact in artifacts:
            message_id, parts = f"{task_id}/{artifact.id}", len(artifact.parts)
            over = _STATES.get(status.state, ("", None))[1] is not None  # nothing is behind it
            if over or brought.get(message_id, 0) > parts or not _extends(known, artifact):
                ours.append(artifact)
            else:  # what this stream brings next is behind these parts, and may be there
                self._bring(session_id, message_id, parts)
        older = len(ours) < len(artifacts)
        if not older:
            known["said"] = {
                name: value
                for name, value in wire.items()
                if name not in ("status", "history", "artifacts")
            }
        in_order = [*history, *([] if status.message is None else [status.message])]
        self._stand_before(
            session_id,
            [said.id for said in in_order],
            sorted(others),
        )
        events: list[Event] = []
        for said in history:
            events += self._said(session_id, said, task_id)[1]
        gone = set(known["artifacts"]) - {artifact.id for artifact in artifacts}
        if older or not (artifacts or others & brought.keys()):
            gone = set()
        known["artifacts"] = {
            name: artifact for name, artifact in known["artifacts"].items() if name not in gone
        }
        for artifact in ours:
            last = known["artifacts"].get(artifact.id, {}).get("last", False)
            events += self._replaced(session_id, task_id, known, artifact)
            if last:  # which a task does not say again
                events += self._ended(session_id, task_id, known, artifact.id)
        if older:
            if status.message is not None:
                events += self._said(session_id, status.message, task_id)[1]
            return events or [self._told(session_id, task_id)]
        events += self._stands(session_id, task_id, known, status)
        return [
            *events,
            *(
                MessageRemoved(session_id=session_id, message_id=f"{task_id}/{name}")
                for name in sorted(gone)
            ),
        ]

    def _stands(
        self, session_id: str, task_id: str, known: Members, status: _Status
    ) -> list[Event]:
        """The status of a task, and what follows from it."""
        events: list[Event] = []
        said = known["said"]
        said["status"] = status.wire
        said.pop("statusMessage", None)
        if status.message is not None:
            message_id, events = self._said(session_id, status.message, task_id)
            said["statusMessage"] = message_id
        events.append(self._told(session_id, task_id))
        doing, ended = _STATES.get(status.state, ("", None))
        about = said.get("statusMessage")
        waits = [status.state, about if about is not None else known.get("about", ("", None))[1]]
        if known["asked"] and waits != known.get("about"):
            request_id = task_id + " " * known.get("answered", 0)
            known["asked"], known["answered"] = False, known.get("answered", 0) + 1
            events.append(QuestionReplied(session_id=session_id, request_id=request_id))
        if status.state in _ASKING and not known["asked"]:
            known["asked"], known["about"] = True, [status.state, about]
            asked = QuestionAsked(
                session_id=session_id,
                request_id=task_id + " " * known.get("answered", 0),
                message_id=about,
                payload={"status": status.wire},
            )
            events.append(asked)
        if ended is not None:
            for name, artifact in known["artifacts"].items():
                if not artifact["closed"]:
                    artifact["closed"] = True
                    events.append(
                        MessageClosed(
                            session_id=session_id, message_id=f"{task_id}/{name}", status=ended
                        )
                    )
        if doing:
            events.append(SessionStatus(session_id=session_id, status=doing))
        return events

    def _status_update(self, wire: Members, at: str) -> Sequence[Event]:
        task_id = an_id(wire, "taskId", at)
        session_id = self._session_of(wire, at)
        status = _read_status(an_object(wire, "status", at), path_to(at, "status"))
        metadata = maybe_object(wire, "metadata", at)
        known = self._known(session_id, task_id)
        self._named(known, wire)
        if metadata:
            known["said"]["metadata"] = {**known["said"].get("metadata", {}), **metadata}
        return self._stands(session_id, task_id, known, status)

    @staticmethod
    def _named(known: Members, wire: Members) -> None:
        """What an update says of a task that was never sent itself."""
        if is_id(wire.get("contextId")):
            known["said"].setdefault("contextId", wire["contextId"])
        if "kind" in wire:
            known["said"].setdefault("kind", "task")

    def _artifact_update(self, wire: Members, at: str) -> Sequence[Event]:
        task_id = an_id(wire, "taskId", at)
        session_id = self._session_of(wire, at)
        inner = _spelled(an_object(wire, "artifact", at))
        artifact = _read_artifact(inner, path_to(at, "artifact"))
        tasks = self._of_session(session_id).get("tasks", {})
        begun = artifact.id in tasks.get(task_id, {}).get("artifacts", {})
        append = wire.get("append") is True
        if append and not begun and self._strict:
            raise ProtocolStopped(f"the artifact {artifact.id[:80]} never began")
        new = task_id not in tasks
        known = self._known(session_id, task_id)
        self._named(known, wire)
        message_id = f"{task_id}/{artifact.id}"
        if append and begun:
            memory = known["artifacts"][artifact.id]
            start = self._start(session_id, message_id, memory, artifact)
            events: list[Event] = []
            if artifact.metadata:
                before = memory["wire"].get("metadata") or {}
                memory["wire"] = {
                    **memory["wire"], "metadata": {**before, **artifact.metadata}
                }  # fmt: skip
                info = {_WIRE: memory["wire"]}
                events.append(
                    MessageUpdated(session_id=session_id, message_id=message_id, info=info)
                )
            events += self._parts(session_id, message_id, artifact.parts, start)
        else:
            events = self._replaced(session_id, task_id, known, artifact)
        if wire.get("lastChunk") is True:
            events += self._ended(session_id, task_id, known, artifact.id)
        if new:
            events.append(self._told(session_id, task_id))
        return events

    def _ended(
        self, session_id: str, task_id: str, known: Members, artifact_id: str
    ) -> list[Event]:
        """The last chunk of an artifact has come."""
        memory = known["artifacts"].get(artifact_id)
        if memory is not None:
            memory["closed"] = memory["last"] = True
        return [MessageClosed(session_id=session_id, message_id=f"{task_id}/{artifact_id}")]

    def _replaced(
        self, session_id: str, task_id: str, known: Members, artifact: _Artifact
    ) -> list[Event]:
        artifacts: dict[str, Members] = known["artifacts"]
        artifacts[artifact.id] = {
            "parts": len(artifact.parts), "wire": artifact.wire, "closed": False,
            "trail": _trail(artifact)[-_TRAIL:],
        }  # fmt: skip
        if len(artifacts) > _ARTIFACTS:
            del artifacts[next(iter(artifacts))]
        info = {"taskId": task_id, _WIRE: artifact.wire}
        message_id = f"{task_id}/{artifact.id}"
        self._bring(session_id, message_id, len(artifact.parts))
        return self._whole(session_id, message_id, "assistant", info, artifact.parts)

    def _brought(self, session_id: str) -> dict[str, int]:
        """How many parts of each artifact of a session this stream brought."""
        by_session: dict[str, dict[str, int]] = self._own.get("brought", {})
        return by_session.get(session_id, {})

    def _bring(self, session_id: str, message_id: str, parts: int) -> None:
        by_session: dict[str, dict[str, int]] = self._own.setdefault("brought", {})
        brought = by_session.get(session_id, {})
        remember(brought, message_id, parts, _ARTIFACTS)
        remember(by_session, session_id, brought, _SESSIONS)

    def _start(self, session_id: str, message_id: str, memory: Members, artifact: _Artifact) -> int:
        """Where a chunk of an artifact belongs: behind what its stream brought, where it is there
        already, as a task has it that another stream brought; else behind all that is there."""
        end: int = memory["parts"]
        start: int = self._brought(session_id).get(message_id, end)
        before = _after(memory, start)
        trail = [] if before is None else _trail(artifact, before)
        there = min(end, start + len(artifact.parts))
        if not trail or (start < end and trail[there - start] != _after(memory, there)):
            before, start = _after(memory, end), end
            trail = [] if before is None else _trail(artifact, before)
        memory["trail"] = [*memory.get("trail", ()), *trail[end - start + 1 :]][-_TRAIL:]
        memory["parts"] = max(end, start + len(artifact.parts))
        self._bring(session_id, message_id, start + len(artifact.parts))
        return start

    def _error(self, error: Members) -> Sequence[Event]:
        text = error.get("message")
        said = {"name": "error", "message": text if type(text) is str else "", "data": error}
        session_id = self._own.get("session")
        if session_id is None:
            return (SessionError(session_id=self._default, error=said),)
        return (
            SessionError(session_id=session_id, error=said),
            SessionStatus(session_id=session_id, status="idle"),  # nothing more comes
        )


_HANDLERS: Mapping[str, Handler] = {
    "task": A2aAdapter._task,
    "message": A2aAdapter._message,
    "status": A2aAdapter._status_update,
    "artifact": A2aAdapter._artifact_update,
}


# --- the wire -------------------------------------------------------------------------------------


class _Part(NamedTuple):
    kind: str
    text: str | None
    wire: Members


class _Said(NamedTuple):
    """A message: `wire` is what it has beside its parts."""

    id: str | None
    role: str
    task: str | None
    wire: Members
    parts: list[_Part]


class _Artifact(NamedTuple):
    id: str
    metadata: Members
    wire: Members
    parts: list[_Part]


class _Status(NamedTuple):
    state: str
    message: _Said | None
    wire: Members


def _spelled(members: Members) -> Members:
    """Members by their names of 1.x in JSON."""
    return {_SPELLINGS.get(name, name): value for name, value in members.items()}


def _trail(artifact: _Artifact, before: int = 0) -> list[int]:
    """What parts come to after each of them, behind what those before them came to."""
    found = [before]
    for part in artifact.parts:
        try:
            said = json.dumps([part.text, part.wire], sort_keys=True, default=repr)
        except (TypeError, ValueError):  # of an object with what JSON cannot say
            said = json.dumps([part.text, sorted(map(str, part.wire))])
        found.append(crc32(said.encode(), found[-1]))
    return found


def _after(memory: Members, parts: int) -> int | None:
    """What the first parts of a known artifact came to, where that is remembered."""
    trail: list[int] = memory.get("trail", [])
    behind = memory["parts"] - parts
    return trail[-1 - behind] if 0 <= behind < len(trail) else None


def _extends(known: Members, artifact: _Artifact) -> bool:
    """Whether what is known of an artifact is all of this one, and more."""
    memory = known["artifacts"].get(artifact.id)
    parts = len(artifact.parts)
    if memory is None or parts >= memory["parts"]:
        return False
    return bool(_after(memory, parts) == _trail(artifact)[-1])


def _maybe_objects(members: Members, name: str, at: str) -> list[Members]:
    return [] if members.get(name) is None else objects(members, name, at)


def _parts_of(message: Members) -> str:
    """The member with the parts of a message: 0.3 has another one over REST."""
    return "content" if "content" in message and "parts" not in message else "parts"


def _read_parts(members: Members, at: str, name: str = "parts") -> list[_Part]:
    found: list[_Part] = []
    for number, wire in enumerate(_maybe_objects(members, name, at)):
        text = wire.get("text")
        if text is not None and type(text) is not str:
            raise wrong(wire, "text", f"{path_to(at, name)}.{number}", "a string")
        if text is not None:
            rest = {name: value for name, value in wire.items() if name != "text"}
            found.append(_Part("text", text, rest))
            continue
        is_file = any(name in wire for name in ("file", "url", "raw"))
        kind = "file" if is_file else "data" if "data" in wire else "unknown"
        found.append(_Part(kind, None, wire))
    return found


def _read_message(message: Members, at: str) -> _Said:
    role = message.get("role")
    ours = "user" if type(role) is str and role.lower().endswith("user") else "assistant"
    given = None if message.get("messageId") == "" else maybe_id(message, "messageId", at)
    task = None if message.get("taskId") == "" else maybe_id(message, "taskId", at)
    parts = _parts_of(message)
    wire = {name: value for name, value in message.items() if name != "parts"}
    if parts in wire:
        wire[parts] = []  # that it is called so
    return _Said(given, ours, task, wire, _read_parts(message, at, parts))


def _read_artifact(artifact: Members, at: str) -> _Artifact:
    metadata = maybe_object(artifact, "metadata", at) or {}
    wire = {name: value for name, value in artifact.items() if name != "parts"}
    return _Artifact(an_id(artifact, "artifactId", at), metadata, wire, _read_parts(artifact, at))


def _read_status(status: Members, at: str) -> _Status:
    state = status.get("state")
    if state is not None and type(state) is not str:
        raise MalformedEvent(path_to(at, "state"), "must be a string")
    state = (state or "").removeprefix("TASK_STATE_").lower().replace("_", "-")
    given = maybe_object(status, "message", at)
    message = None
    if given is not None:
        message = _read_message(_spelled(given), path_to(at, "message"))
    wire = {name: value for name, value in status.items() if name != "message"}
    return _Status(state, message, wire)


def _wire_message(message: Message, parts: Sequence[Part]) -> Members:
    rest = thaw(message.info.get(_WIRE))
    wire: Members = rest if isinstance(rest, dict) else {"messageId": message.id}
    return {**wire, _parts_of(wire): [_wire_part(part) for part in parts]}


def _wire_part(part: Part) -> Members:
    rest = thaw(part.fields.get(_WIRE))
    wire: Members = rest if isinstance(rest, dict) else {}
    return {**wire, "text": part.view.raw()} if part.kind == "text" else wire
