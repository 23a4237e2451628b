"""t3code's orchestration events and thread snapshots, to canonical events and back.

- Identity: thread and message ids; a message has one text, its block 0. A message's id follows from
  the provider's item, so that one that is ingested again is the same message. Activities and plans
  are messages of the roles `activity` and `plan` with one `data` part each.
- `thread.message-sent` is delta and end at once: `streaming` appends its text, without it a text
  replaces what there is, and an empty one keeps it.
- Seq: `sequence` counts all events of a server; a thread sees some of them (`sparse`). Server and
  client both filter by a bare maximum; here what is late goes to its place. Commands are known
  again by their id, what a provider sends twice is not: it gets another sequence.
- Context usage: of a turn's activities `context-window.updated` the last with a count of tokens is
  kept, as in the official client and in snapshots.
- Resume: `afterSequence` on the subscription; more than 1,000 behind, or ahead of the server, a
  snapshot comes instead. The one of a server that started its counter again has a lower sequence:
  give the item `readFrom`, so that it proves it. `synchronized` ends the replay.
- Order: `createdAt` of a message's first event, also where that one is late, or a snapshot says it
  behind a later one. `updatedAt` follows at its end, not with deltas.
- Delivery: `assistantDeliveryMode` of `thread.turn-start-requested`, for that thread's turn alone.
- Reverts: `thread.reverted` removes what the server's projector drops. Turns up to its count are
  kept by their checkpoints, and with them their messages, activities and plans, and what is of no
  turn; of the user's messages without a turn only as many as there are turns, the oldest. The
  official client keeps all of those until its next snapshot. Where fewer checkpoints are known than
  turns are kept, nothing is removed before the snapshot says so; `revertedTo` in the session's info
  says that there was one. Checkpoints and `latestTurn` in the info are those of the last snapshot.
- Not here: the sidebar's items are unknown.

Sources: the contracts of t3code (`packages/contracts`) and its client runtime, August 2026, and its
pull request 98 for the delivery mode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from ..errors import UnknownEvent
from ..events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageUpdated,
    SessionRemoved,
    SessionStatus,
    SessionUpdated,
    Snapshot,
    StreamSynchronized,
    TurnStarted,
)
from ..keys import PartKey, is_id, is_number, is_order
from ..model import DELIVERIES, Json, Message, Part, thaw
from .base import Context, Declaration, DeltaShape, PlainDelta, Reads, counts_anew
from .bounded import forget_oldest, remember
from .members import (
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

_SENT = "thread.message-sent"

#: How many messages of a thread are known to stream, or to have ended.
_REMEMBERED = 256

#: How many messages, entries and checkpoints of a thread a revert knows of; the client's own caps.
_REVERTIBLE, _CHECKPOINTS = 2_000, 500

#: The kind of activity of which a turn keeps the last: servers send it all the time, and drop the
#: older ones from their snapshots.
_USAGE = "context-window.updated"

#: Ids of history that was imported, which no revert takes back.
_IMPORTED = "import:"

#: Members of a message that are not its info.
_MESSAGE = frozenset(("threadId", "messageId", "id", "role", "text", "streaming"))

#: What lies beside a thread's own members in its snapshot.
_LISTS = {"messages": "", "activities": "activity", "proposedPlans": "plan"}

_THREAD = frozenset(("id", "session", *_LISTS))

_BUSY = frozenset(("starting", "running"))

# Known types that change nothing which is shown here.
_SILENT = frozenset(
    "thread.turn-interrupt-requested thread.approval-response-requested "
    "thread.user-input-response-requested thread.checkpoint-revert-requested "
    "thread.session-stop-requested".split()
)
#: Types whose payload is members of the thread, and the members that they say without naming them.
_META: Mapping[str, Members] = {
    "thread.created": {},
    "thread.meta-updated": {},
    "thread.archived": {"titleRegeneration": None},
    "thread.unarchived": {"archivedAt": None},
    "thread.settled": {"settledOverride": "settled"},
    "thread.unsettled": {"settledOverride": None, "settledAt": None},
    "thread.snoozed": {},
    "thread.unsnoozed": {"snoozedUntil": None, "snoozedAt": None},
    "thread.pinned": {},
    "thread.unpinned": {"pinnedAt": None, "pinOrderKey": None},
    "thread.pin-reordered": {},
    "thread.runtime-mode-set": {},
    "thread.interaction-mode-set": {},
}


class T3CodeAdapter:
    """t3code's events in; its threads, as they are fetched, in and out.

    - `{"sequence", "eventId", "type", "payload", ...}`: an event, bare or as
      `{"kind": "event", "event": ...}`
    - `{"snapshotSequence", "thread", "page"?}`: a snapshot, bare or as
      `{"kind": "snapshot", "snapshot": ..., "readFrom"?}`; with `page` it is not complete
    - `{"kind": "synchronized"}`
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="t3code",
        sequencing="sparse",
        snapshots=True,
        resumes=True,
        identity="threadId and messageId; one text a message",
    )
    delta: ClassVar[DeltaShape | None] = None

    def __init__(self, context: Context | None = None) -> None:
        self._context = Context() if context is None else context
        self._key = PartKey("", "", 0)  # of the last plain delta

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """A sequenced event of a thread or project, or a snapshot with its sequence."""
        if not isinstance(wire, dict):
            return False
        kind = wire.get("kind")
        if kind in ("event", "snapshot"):
            wire = wire.get(kind)
            if not isinstance(wire, dict):
                return False
        if "thread" in wire:
            return is_number(wire.get("snapshotSequence")) and isinstance(wire["thread"], dict)
        name = wire.get("type")
        return (
            type(name) is str
            and name.startswith(("thread.", "project."))
            and is_number(wire.get("sequence"))
            and isinstance(wire.get("payload"), dict)
        )

    def plain(self, wire: Any) -> PlainDelta | None:
        """A streaming text of a message that is known to stream."""
        if "kind" in wire:
            wire = wire["event"]
        if wire["type"] != _SENT:
            return None
        body = wire["payload"]
        session, message, text, seq = (
            body["threadId"],
            body["messageId"],
            body["text"],
            wire["sequence"],
        )
        if (
            body["streaming"] is not True
            or type(text) is not str
            or type(seq) is not int
            or not 0 < self._context.shared[session]["streams"][message] <= seq
            or "attachments" in body
        ):
            return None
        key = self._key
        if key.message_id != message or key.session_id != session:
            key = self._key = PartKey(session, message, 0)
        return (key, text, seq)

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; the first one has its sequence."""
        wire = an_event(wire)
        at = ""
        read_from = maybe_id(wire, "readFrom")
        if "kind" in wire:
            kind = a_string(wire, "kind")
            if kind == "synchronized":
                return (StreamSynchronized(),)
            if kind not in ("event", "snapshot"):
                raise UnknownEvent(kind)
            wire, at = an_object(wire, kind), kind
        if "thread" in wire and "type" not in wire:
            return self._snapshot(wire, at, read_from)
        name = an_id(wire, "type", at)
        seq = a_number(wire, "sequence", at)
        if name.startswith("project.") or name in _SILENT:
            return ()
        body, body_at = an_object(wire, "payload", at), path_to(at, "payload")
        handle = _HANDLERS.get(name)
        if handle is not None:
            return handle(self, body, body_at, seq)
        if name not in _META:
            raise UnknownEvent(name)
        return (_meta(name, body, body_at, seq),)

    def encode(self, reads: Reads) -> Json:
        """Every thread as its snapshot has it, linear in what is stored."""
        return [_wire_thread(session_id, reads) for session_id in reads.session_ids()]

    def _sent(self, body: Members, at: str, seq: int) -> Sequence[Event]:
        session, message_id = an_id(body, "threadId", at), an_id(body, "messageId", at)
        an_id(body, "role", at)
        text = a_string(body, "text", at)
        streaming = body.get("streaming")
        if type(streaming) is not bool:
            raise wrong(body, "streaming", at, "true or false")
        facts = {name: value for name, value in body.items() if name not in _MESSAGE}
        memory = self._context.of_session(session)
        streams = memory.setdefault("streams", {})
        # Of each message the sequence of its first event, below 0 when it has ended.
        known = streams.get(message_id)
        first = seq if known is None else min(seq, abs(known))
        going = streaming and (known is None or known > 0)
        remember(streams, message_id, first if going else -first, _REMEMBERED)
        gone = _note(memory, session, message_id, body, seq)
        block: dict[str, Any] = {
            "session_id": session,
            "message_id": message_id,
            "block_index": 0,
        }
        # The text is the principal: what was taken in is known by its block's marks. A row takes
        # one event of a sequence: what changes lies in the block, how it ended in the message.
        if streaming:
            delta = BlockDelta(**block, text=text, seq=seq)
            if known is not None:
                return (delta, *self._earlier(session, message_id, body, facts, seq < abs(known)))
            opened = self._opened(session, message_id, body, facts, at, seq)
            return (delta, opened, BlockOpened(**block, kind="text"), *gone)
        made = _made(facts)
        if known is not None and seq > first:
            facts.pop("createdAt", None)  # when it was made stands in its first event
        whole = BlockReplaced(
            **block, kind="text", text=text or None, status="closed", fields=facts, seq=seq
        )
        if known is not None:
            closed = MessageClosed(session_id=session, message_id=message_id, seq=seq)
            return (
                whole,
                closed,
                *self._earlier(session, message_id, body, made, seq < abs(known)),
            )
        return (
            whole,
            self._opened(session, message_id, body, {}, at, seq),
            MessageClosed(session_id=session, message_id=message_id),
            *gone,
        )

    def restarted(self, session_id: str) -> None:
        """Forget what was remembered by the numbers of a counter that is over."""
        self._context.shared.pop(session_id, None)

    @staticmethod
    def _earlier(
        session: str, message_id: str, body: Members, info: Members, earlier: bool
    ) -> tuple[MessageUpdated, ...]:
        """What the first event of a message says of it, where a later one of it came before."""
        if not earlier:
            return ()
        order = milliseconds(body.get("createdAt"))
        # Without a number, or what the later one said would hold against it.
        return (MessageUpdated(session_id=session, message_id=message_id, order=order, info=info),)

    def _opened(
        self, session: str, message_id: str, body: Members, info: Members, at: str, seq: int
    ) -> MessageOpened:
        return MessageOpened(
            session_id=session,
            message_id=message_id,
            role=an_id(body, "role", at),
            order=milliseconds(body.get("createdAt")),
            info=info,
            seq=seq,
        )

    def _snapshot(self, wire: Members, at: str, read_from: str | None) -> Sequence[Event]:
        snapshot = _read_snapshot(wire, at, read_from)
        events: list[Event] = [snapshot]
        thread, seq = wire["thread"], a_number(wire, "snapshotSequence", at)
        session: str = thread["id"]
        memory = self._context.of_session(session)
        if counts_anew(snapshot):
            memory.clear()
        streams = memory.setdefault("streams", {})
        for message in snapshot.messages[-_REMEMBERED:]:
            message_id, info = message["id"], message["info"]
            known = streams.get(message_id)
            ended = message["status"] != "open" if known is None else known < 0
            if known is not None:
                # What it has may lie before all that came, its place before what came first.
                made = info if seq < abs(known) else _made(info)
                events += self._earlier(session, message_id, info, made, abs(known) > 1)
                if ended and message["status"] == "open":
                    events.append(MessageClosed(session_id=session, message_id=message_id))
            # What it says is said of the first event.
            remember(streams, message_id, -1 if ended else 1, _REMEMBERED)
        for name, role in _LISTS.items():
            for entry in thread.get(name) or ():
                _note(memory, session, entry["id"], {"role": role, **entry}, seq)
                if role == "activity":
                    _note_usage(memory, entry, seq)
        for entry in thread.get("checkpoints") or ():
            if isinstance(entry, dict):
                _note_checkpoint(memory, entry)
        return events


def _made(facts: Members) -> Members:
    """When a message was made, which its first event says."""
    return {name: facts[name] for name in ("createdAt",) if name in facts}


_Handler: TypeAlias = Callable[[T3CodeAdapter, Members, str, int], Sequence[Event]]


def _meta(name: str, body: Members, at: str, seq: int) -> SessionUpdated:
    session, info = an_id(body, "threadId", at), {**_META[name], **body}
    del info["threadId"]
    if name in ("thread.unsettled", "thread.unsnoozed"):
        if info.pop("reason", None) == "user" and name == "thread.unsettled":
            info["settledOverride"] = "active"
    elif name == "thread.pin-reordered" and "orderKey" in info:
        info["pinOrderKey"] = info.pop("orderKey")
    return SessionUpdated(session_id=session, info=info, seq=seq)


def _checkpoint(adapter: T3CodeAdapter, body: Members, at: str, seq: int) -> Sequence[Event]:
    _note_checkpoint(adapter._context.of_session(an_id(body, "threadId", at)), body)
    return ()


def _reverted(adapter: T3CodeAdapter, body: Members, at: str, seq: int) -> Sequence[Event]:
    session, count = an_id(body, "threadId", at), a_number(body, "turnCount", at)
    memory = adapter._context.of_session(session)
    told = SessionUpdated(session_id=session, info={"revertedTo": count}, seq=seq)
    kept = [turn for turn, number in memory.get("checkpoints", {}).items() if number <= count]
    if len(kept) < count:
        return (told,)
    before: Members = {
        name: known for name, known in memory.get("known", {}).items() if known[-1] < seq
    }
    left = _left(before, frozenset(kept), count)
    removed = [name for name in before if name not in left]
    for name in removed:
        del memory["known"][name]
        memory.get("streams", {}).pop(name, None)
    checkpoints = memory.get("checkpoints", {})
    memory["checkpoints"] = {turn: checkpoints[turn] for turn in kept}
    memory["reverted"] = [seq, kept]
    return (told, *(MessageRemoved(session_id=session, message_id=n, seq=seq) for n in removed))


def _left(known: Members, turns: frozenset[str], count: int) -> set[str]:
    """Which messages and entries a revert to so many turns leaves."""
    left: set[str] = set()
    others: dict[str, list[tuple[str, str]]] = {"user": [], "assistant": []}
    for name, (role, turn, made, _) in known.items():
        loose = turn is None and role not in others
        if role == "system" or name.startswith(_IMPORTED) or loose or turn in turns:
            left.add(name)
        elif turn is None:
            others[role].append((made, name))
    for role, rest in others.items():
        missing = count - sum(known[name][0] == role for name in left)
        left.update(name for _, name in sorted(rest)[: max(0, missing)])
    return left


def _note(
    memory: dict[str, Any], session: str, name: str, body: Members, seq: int
) -> tuple[MessageRemoved, ...]:
    """Remember a message or entry for a revert; its removal, where one took it back already."""
    turn, made = body.get("turnId"), body.get("createdAt")
    turn = turn if type(turn) is str else None
    reverted, turns = memory.get("reverted", (0, ()))
    known = memory.setdefault("known", {})
    if seq < reverted and name not in known and turn is not None and turn not in turns:
        return (MessageRemoved(session_id=session, message_id=name, seq=reverted),)
    made = made if type(made) is str else ""
    if name in known:
        if seq >= known[name][3]:
            made = known[name][2]
        turn, seq = turn or known[name][1], min(seq, known[name][3])
    known[name] = [str(body.get("role", "")), turn, made, seq]
    forget_oldest(known, _REVERTIBLE)
    return ()


def _note_checkpoint(memory: dict[str, Any], body: Members) -> None:
    turn, count = body.get("turnId"), body.get("checkpointTurnCount")
    if is_id(turn) and is_number(count):
        table = memory.setdefault("checkpoints", {})
        table[turn] = count
        forget_oldest(table, _CHECKPOINTS)


def _deleted(adapter: T3CodeAdapter, body: Members, at: str, seq: int) -> Sequence[Event]:
    return (SessionRemoved(session_id=an_id(body, "threadId", at), seq=seq),)


def _turn_start(adapter: T3CodeAdapter, body: Members, at: str, seq: int) -> Sequence[Event]:
    session = an_id(body, "threadId", at)
    mode = body.get("assistantDeliveryMode")
    if mode is not None and mode not in DELIVERIES:
        raise wrong(body, "assistantDeliveryMode", at, "buffered or streaming")
    return (TurnStarted(session_id=session, delivery_mode=mode, seq=seq),)


def _session_set(adapter: T3CodeAdapter, body: Members, at: str, seq: int) -> Sequence[Event]:
    session_id, session = an_id(body, "threadId", at), an_object(body, "session", at)
    status = _status(session, path_to(at, "session"))
    return (
        SessionStatus(session_id=session_id, status=status, extra={"session": session}, seq=seq),
    )


def _status(session: Members, at: str) -> str:
    return "busy" if an_id(session, "status", at) in _BUSY else "idle"


def _entry(
    role: str, member: str, adapter: T3CodeAdapter, body: Members, at: str, seq: int
) -> Sequence[Event]:
    """An activity or a plan: the whole of it, by its id."""
    session = an_id(body, "threadId", at)
    entry, entry_at = an_object(body, member, at), path_to(at, member)
    message_id = an_id(entry, "id", entry_at)
    gone = _note(
        adapter._context.of_session(session), session, message_id, {**entry, "role": role}, seq
    )
    return (
        BlockUpdated(
            session_id=session,
            message_id=message_id,
            block_index=0,
            kind="data",
            fields={member: entry},
            seq=seq,
        ),
        MessageOpened(
            session_id=session,
            message_id=message_id,
            role=role,
            order=milliseconds(entry.get("createdAt")),
            seq=seq,
        ),
        BlockClosed(session_id=session, message_id=message_id, block_index=0),
        MessageClosed(session_id=session, message_id=message_id),
        *gone,
    )


def _activity(adapter: T3CodeAdapter, body: Members, at: str, seq: int) -> Sequence[Event]:
    events = _entry("activity", "activity", adapter, body, at, seq)
    session = an_id(body, "threadId", at)
    memory, entry = adapter._context.of_session(session), body["activity"]
    older, latest = _note_usage(memory, entry, seq)
    if older is None:
        return events
    memory.get("known", {}).pop(older, None)
    return (*events, MessageRemoved(session_id=session, message_id=older, seq=latest))


def _note_usage(memory: dict[str, Any], entry: Members, seq: int) -> tuple[str | None, int]:
    """Remember a turn's last context usage: the activity that it takes the place of, and when."""
    payload, turn = entry.get("payload"), entry.get("turnId")
    tokens = payload.get("usedTokens") if isinstance(payload, dict) else None
    if entry.get("kind") != _USAGE or not is_order(tokens) or tokens < 0:
        return None, seq
    name, turn = entry["id"], turn if type(turn) is str else ""
    table = memory.setdefault("usage", {})
    latest, before = table.get(turn, (seq, name))
    if seq < latest:  # late, or sent again
        return (name if name != before else None), latest
    remember(table, turn, [seq, name], _CHECKPOINTS)
    return (before if name != before else None), seq


def _plan(adapter: T3CodeAdapter, body: Members, at: str, seq: int) -> Sequence[Event]:
    return _entry("plan", "proposedPlan", adapter, body, at, seq)


_HANDLERS: Mapping[str, _Handler] = {
    _SENT: T3CodeAdapter._sent,
    "thread.deleted": _deleted,
    "thread.turn-start-requested": _turn_start,
    "thread.session-set": _session_set,
    "thread.turn-diff-completed": _checkpoint,
    "thread.reverted": _reverted,
    "thread.activity-appended": _activity,
    "thread.proposed-plan-upserted": _plan,
}


_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,3})\d*)?Z", re.ASCII)


def milliseconds(value: Any) -> int | None:
    """Milliseconds since the epoch of a date as `toISOString` writes it; None for anything else.

    >>> milliseconds("1970-01-02T00:00:00.500Z")
    86400500
    """
    found = _ISO.fullmatch(value) if type(value) is str else None
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    # Years are counted from March, so that the leap day is their last.
    if month < 3:
        year, month = year - 1, month + 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day
    seconds = ((days - 719469) * 24 + hour) * 3600 + minute * 60 + second
    return seconds * 1000 + int((found.group(7) or "0").ljust(3, "0"))


# --- snapshots ------------------------------------------------------------------------------------


def _read_snapshot(wire: Members, at: str, read_from: str | None) -> Snapshot:
    thread, thread_at = an_object(wire, "thread", at), path_to(at, "thread")
    session = maybe_object(thread, "session", thread_at)
    status: Members | None = None
    if session is not None:
        kind = _status(session, path_to(thread_at, "session"))
        status = {"type": kind, "session": session}
    messages = [
        _read_message(entry, f"{thread_at}.messages.{place}")
        for place, entry in enumerate(objects(thread, "messages", thread_at))
    ]
    for name, role, member in (
        ("activities", "activity", "activity"),
        ("proposedPlans", "plan", "proposedPlan"),
    ):
        entries = objects(thread, name, thread_at) if thread.get(name) is not None else []
        for place, entry in enumerate(entries):
            message: Members = {
                "id": an_id(entry, "id", f"{thread_at}.{name}.{place}"),
                "role": role,
                "status": "completed",
                "info": {},
                "parts": [
                    {"blockIndex": 0, "kind": "data", "status": "closed", member: entry},
                ],
            }
            made = milliseconds(entry.get("createdAt"))
            if made is not None:
                message["order"] = made
            messages.append(message)
    return Snapshot(
        session_id=an_id(thread, "id", thread_at),
        seq=a_number(wire, "snapshotSequence", at),
        messages=messages,
        complete=wire.get("page") is None,
        read_from=read_from,
        info={name: value for name, value in thread.items() if name not in _THREAD},
        status=status,
    )


def _read_message(entry: Members, at: str) -> Members:
    streaming = entry.get("streaming", False)
    if type(streaming) is not bool:
        raise wrong(entry, "streaming", at, "true or false")
    message: Members = {
        "id": an_id(entry, "id", at),
        "role": an_id(entry, "role", at),
        "status": "open" if streaming else "completed",
        "info": {name: value for name, value in entry.items() if name not in _MESSAGE},
        "parts": [
            {
                "blockIndex": 0,
                "kind": "text",
                "status": "open" if streaming else "closed",
                "text": a_string(entry, "text", at),
            }
        ],
    }
    made = milliseconds(entry.get("createdAt"))
    if made is not None:
        message["order"] = made
    return message


def _wire_thread(session_id: str, reads: Reads) -> Members:
    session = reads.session(session_id)
    wire: Members = {"id": session_id, **(thaw(session.info) if session is not None else {})}
    status = session.status if session is not None else None
    wire["session"] = thaw(status.fields.get("session")) if status is not None else None
    wire |= {name: [] for name in _LISTS}
    for message in reads.messages(session_id):
        parts = reads.parts(session_id, message.id)
        for name, member in (("activities", "activity"), ("proposedPlans", "proposedPlan")):
            wire[name] += [thaw(part.fields[member]) for part in parts if member in part.fields]
        if message.role not in ("activity", "plan"):
            wire["messages"].append(_wire_message(message, parts))
    return wire


def _wire_message(message: Message, parts: Sequence[Part]) -> Members:
    text = "".join(part.view.raw() for part in parts)
    known: Members = {"id": message.id, "role": message.role, "text": text}
    facts = thaw(message.info)
    for part in parts:
        facts.update(thaw(part.fields))
    if "createdAt" in message.info:
        facts["createdAt"] = thaw(message.info["createdAt"])
    return {**facts, **known, "streaming": message.status == "open"}
