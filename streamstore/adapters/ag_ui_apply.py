"""What a whole AG-UI event does to its thread: canonical events, and what is remembered for them.

An event here is clean, expanded, and allowed by its stream's `Flow`. Nothing raises but for a
package that is missing. Remembered of a thread, shared by its streams: one entry per message
(`role`, `order`, `info`, the run that made it, what blocks it has), one per tool call, and the
thread's last runs; of old messages their places alone. Of a stream: its thread, its run, what of a
replay was rebuilt. All of it is plain JSON. Knows no wire object and no chunk.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from ..errors import MissingExtra
from ..events import (
    BlockClosed,
    BlockDelta,
    BlockEvent,
    BlockOpened,
    BlockRemoved,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionReplied,
    SessionError,
    SessionState,
    SessionStatus,
    SessionUpdated,
    Snapshot,
    ToolResult,
)
from ..jsonpatch import apply_patch, need_patches
from ..keys import BlockIndex
from ..model import TERMINAL_RANK, TOOL_RANKS, Json, thaw
from .ag_ui_messages import (
    CONTENT,
    INPUT,
    TEXT,
    activity_fields,
    call_fields,
    call_input,
    call_state,
    info_of,
    kind_of,
    mixed_parts,
    parts_of,
    picked,
    result_state,
    results_of,
    shape_of,
)
from .ag_ui_verify import Flow
from .base import Context
from .members import Members

Handler: TypeAlias = Callable[["Thread", Members], list[Event]]
B = TypeVar("B", bound=BlockEvent)

#: Event types of streamed text, with the table of what is in progress.
STREAMED: Mapping[str, str] = {
    "TEXT_MESSAGE_CONTENT": "text",
    "REASONING_MESSAGE_CONTENT": "reasoning",
}
_RUN = ("runId", "parentRunId", "protocolVersion", "metadata", "result", "outcome", "usage")

# Results come one behind the other in the same place: a small step leaves room for a million.
_STEP = 2.0**-20

#: Runs that a thread remembers, results that came before their call, open steps and subagents
#: that are shown, runs that wrote into a message that another one made; the oldest go.
_RUNS = 256
_EARLY = 1024
_SHOWN = 256
_ALSO = 16

#: Messages that are remembered with all that an event may need of them, and of how many others the
#: place is known. Who is removed by hand is told to nobody here: without an end both only grow.
_MESSAGES = 4096
_PLACES = 65_536

#: Messages that are remembered while a run goes on: over it the oldest that are done go first, then
#: the oldest that are not streaming, until those for a new run are left.
_MOST = 8192

#: What the content of an activity may hold.


def drop_past(context: Context) -> None:
    """Forget what a saved stream left, where another one speaks for its run now, or began the next
    when it was over: who comes now goes on with what the thread has."""
    own = context.own
    if "session" not in own:
        return
    shared = context.shared.get(own["session"], {})
    known: Members = shared.get("known", {})
    if own["start"] is None:
        past = "nameless" in own and own["nameless"] != known.get("named")
    else:
        run: Members = shared.get("runs", {}).get(own["run"], own)
        over = "now" not in run and known.get("starts") != own["start"]
        past = over or run["start"] != own["start"]
        if "lanes" in run.get("now", ()):
            own["lanes"] = run["now"]["lanes"]  # a stream that went on with it has brought more
    if past:
        session_id = own["session"]
        own.clear()
        own["session"] = session_id


class Thread:
    """The thread that a stream speaks of; `apply` takes its events.

    Attributes:
        cool: messages and calls, by id, whose deltas may not take the short way any more; the
            adapter takes them out.
        run, start: the run as the thread remembers it, and its start by this stream: where
            `run["start"]` is another one, a stream started it anew, and delivers it whole.
    """

    def __init__(self, context: Context, flow: Flow) -> None:
        self._context = context
        self._flow = flow
        self._own = own = context.own
        own.setdefault("session", context.session_id)
        if "run" not in own:
            own.update(
                # session, run, start: of the last RUN_STARTED; start is None before one.
                {"run": "", "start": None},
                ended=False,
                # Runs that this stream started, with their start.
                runs={},
                **_nothing_yet(),
            )
        own.setdefault("came", {})  # a saved stream may lack it
        self.cool: dict[str, None] = {}
        # Remembered messages over which old ones are looked for, and whether there are so many.
        self._most, self._full = _MOST, False
        self.start: int | None = own["start"]
        self.run: Members = {"start": self.start}
        if self.start is not None:
            self.run = self._table("runs").get(own["run"], self.run)

    # -- what is remembered ------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The session of the thread."""
        session_id: str = self._own["session"]
        return session_id

    @property
    def _now(self) -> Members:
        """What is in progress: of a run, until it ends, it lies with the run, so that a stream that
        was not there when it started may go on with it."""
        run = self.run if self.run["start"] == self.start else {}
        now: Members = run.get("now", self._own)
        return now

    @property
    def speaks(self) -> bool:
        """Whether what the stream delivers counts; else another one delivers its run whole."""
        if self.start is not None:
            return bool(self.run["start"] == self.start)
        named = self._table("known").get("named")
        return bool(self._own.get("nameless", named) == named)

    def _table(self, name: str) -> Members:
        """A table of the thread: `messages`, `calls`, `runs`, `early`, `gone`, `interrupts`, ..."""
        table: Members = self._context.of_session(self.session_id).setdefault(name, {})
        return table

    @property
    def known(self) -> Members:
        """What is known of the session; `cooled`: how often some stream of it did what no short
        way may miss, such as a replay, or dropping a call."""
        known = self._table("known")
        known.setdefault("cooled", 0)
        return known

    @property
    def _messages(self) -> Members:
        return self._table("messages")

    @property
    def _calls(self) -> Members:
        return self._table("calls")

    @property
    def _order(self) -> list[str]:
        """Ids of the thread's messages as they stand."""
        order: list[str] = self._context.of_session(self.session_id).setdefault("order", [])
        return order

    def streams_text(self, message_id: str, kind: str) -> bool:
        """Whether a delta of a kind (`text`, `reasoning`) has nothing to do but be appended."""
        record = self._messages.get(message_id)
        return (
            record is not None
            and record["text"]
            and record["role"] != "activity"
            and message_id in self._flow.open(kind)
            and not self._adds(record)
        )

    def streams_input(self, call_id: str) -> str | None:
        """The message of a call whose delta has nothing to do but be appended; None for others."""
        call = self._calls.get(call_id)
        if call is None or "input" in call or call_id not in self._flow.open("tool"):
            return None
        if self._adds(call):
            return None
        message_id: str = call["in"]
        return message_id

    def _add(self, message_id: str, role: str, info: Members, at: int | None = None) -> Members:
        """Remember a new message, by default behind all others."""
        order = self._order
        old_role, away = self._old_role(message_id), self._gone.pop(message_id, None)
        if old_role is not None:
            role = old_role or role
            place = self._old[old_role].pop(message_id)
        elif at is None and away is not None and self._now["replay"]:
            place = away
            order.insert(bisect_left(order, place, key=self._place), message_id)
        else:
            at = len(order) if at is None else at
            before = self._place(order[at - 1]) if at else None
            after = self._place(order[at]) if at < len(order) else None
            place = _between(before, after)
            order.insert(at, message_id)
        record: Members = {
            "role": role,
            "order": place,
            "run": self._own["run"],
            "info": info,
            "text": False,
            "parts": 0,
            "calls": [],
        }
        messages = self._messages
        messages[message_id] = record
        self._full = max(len(messages), len(self._now["opened"])) > self._most
        self._is_rebuilt(message_id)
        return record

    @property
    def _gone(self) -> Members:
        """Places of what a snapshot in a replay removed: it comes again, in that one or another,
        and what a snapshot keeps is where it was."""
        return self._table("gone")

    @property
    def _old(self) -> Members:
        """Messages of which nothing but this is remembered: their places, by role and id."""
        return self._table("old")

    def _old_role(self, message_id: str) -> str | None:
        """The role of an old message; None for one that is none."""
        return next((role for role, table in self._old.items() if message_id in table), None)

    def _role(self, message_id: str) -> str | None:
        """The role of a message, None where there is none."""
        record = self._messages.get(message_id)
        return self._old_role(message_id) if record is None else record["role"]

    def _place(self, message_id: str) -> float:
        """The order of a message that is there."""
        tables = [table for table in self._old.values() if message_id in table]
        place: float = tables[0][message_id] if tables else self._messages[message_id]["order"]
        return place

    def _forget_old(self) -> None:
        """Remember of the oldest messages their places alone: at a new run nothing is open.

        One look at all of them for every 512 that are new. Activities stay, patches apply to them,
        and calls that wait for an answer.
        """
        messages, order, run = self._messages, self._order, self._own["run"]
        if len(messages) <= _MESSAGES + _MESSAGES // 8:
            return
        waiting = {call_id for call_id in self._table("interrupts").values() if call_id}
        over = len(messages) - _MESSAGES
        for message_id in order:
            record = messages.get(message_id)
            if over <= 0:
                break
            if record is None or record["role"] == "activity":
                continue
            if record["run"] == run or run in record.get("added", ()):
                continue  # a replay
            if not waiting.isdisjoint(record["calls"]):
                continue
            over -= 1
            self._forget(message_id, record)
        self._bound_places()

    def _forget_done(self) -> list[Event]:
        """As `_forget_old`, while a run goes on: what it closes, as the end of the run would.

        One look at all of them for at least as many new ones as are left. A replay that comes to
        one of them builds it anew.
        """
        now, messages = self._now, self._messages
        over, lost = len(messages) - _MESSAGES, []
        # The store knows of so many that were removed: one before may be a new one to it.
        known = set(self._order[-self._context.limits.tombstones :])
        for also in (False, True):  # those that wait, and activities
            for message_id in list(islice(self._to_forget(also), max(0, over))):
                over -= 1
                record = messages[message_id]
                self._forget(message_id, record)
                if record["role"] == "activity":  # nothing is done with its place alone
                    lost.append(message_id)
        self._lose(lost)
        gone = [message_id for message_id in now["opened"] if message_id not in messages]
        for message_id in gone:
            del now["opened"][message_id]
        closed: list[Event] = [self._closing(name) for name in gone if name in known]
        self._bound_places()
        for name in list(islice(now["rebuilt"], max(0, len(now["rebuilt"]) - _PLACES))):
            del now["rebuilt"][name]
        self._cool_all()
        self._most, self._full = max(_MOST, 2 * len(messages)), False
        return closed

    def _to_forget(self, also: bool) -> Iterator[str]:
        """Messages that are not streaming, the oldest first; `also`: what else is in progress."""
        calls, open_calls = self._calls, self._flow.open("tool")
        open_ones = [self._flow.open(name) for name in STREAMED.values()]
        for message_id in self._order:
            record = self._messages.get(message_id)
            if record is None or any(message_id in table for table in open_ones):
                continue
            own_calls = [call_id for call_id in record["calls"] if call_id in calls]
            if not open_calls.keys().isdisjoint(own_calls):
                continue
            waits = any(TOOL_RANKS[calls[name]["status"]] < TERMINAL_RANK for name in own_calls)
            if also or not (waits or record["role"] == "activity"):
                yield message_id

    def _forget(self, message_id: str, record: Members) -> None:
        """Remember of a message its place alone."""
        self._drop_calls(message_id, record)
        del self._messages[message_id]
        self._old.setdefault(record["role"], {})[message_id] = record["order"]

    def _bound_places(self) -> None:
        order, messages = self._order, self._messages
        too_many = max(0, len(order) - len(messages) - _PLACES)
        self._lose(list(islice((name for name in order if name not in messages), too_many)))

    def _lose(self, names: Sequence[str]) -> None:
        """Know nothing of old messages any more."""
        gone = set(names)
        for table in self._old.values():
            for message_id in gone & table.keys():
                del table[message_id]
        if gone:
            self._order[:] = [name for name in self._order if name not in gone]

    def _added(self, message_id: str, role: str, info: Members) -> list[Event]:
        """A message that starts; one that is old is built anew in a replay."""
        now = self._now
        replayed = now["replay"] and message_id not in now["rebuilt"]
        anew = self._reset_old(message_id) if replayed else []
        return [self._opening(message_id, self._add(message_id, role, info)), *anew]

    def _reset_old(self, message_id: str) -> list[Event]:
        """What lets a message come whole that is old: nobody knows which blocks it has."""
        if self._old_role(message_id) is None:
            return []
        return [MessageReset(session_id=self.session_id, message_id=message_id)]

    def _is_rebuilt(self, name: str) -> bool:
        """Whether a message or call was built anew in this replay; from now on it was."""
        now = self._now
        follows = now["replay"] or now.get("names", False)
        rebuilt = not follows or name in now["rebuilt"]
        if follows:
            now["rebuilt"][name] = None
        return rebuilt

    def _adds(self, record: Members) -> bool:
        """Whether this run adds to a message or call that another one made."""
        return self._own["start"] is not None and record["run"] != self._own["run"]

    def _new(self, name: str, record: Members, size: int) -> int:
        """How much is new of what comes for a message or call: counted where this run adds to it.

        It cannot be built anew, nobody sends again what the other run said: a replay goes on
        behind what is there.
        """
        if not self._adds(record):
            return size
        now, run = self._now, self._own["run"]
        added, came = record.setdefault("added", {}), now["came"]
        known: int = added.pop(run, 0)
        brought: int = came.pop(name, 0) + size
        came[name] = brought
        _bound(came, _MOST)
        if not now["replay"]:
            known = 0
        added[run] = max(known, brought)
        _bound(added, _ALSO)
        return min(size, max(0, brought - known))

    def _remove(self, message_id: str) -> MessageRemoved:
        record = self._messages.pop(message_id, None)
        if record is None:
            self._lose((message_id,))
        else:
            self._drop_calls(message_id, record)
            self._order.remove(message_id)
        self._cool_all()
        return MessageRemoved(session_id=self.session_id, message_id=message_id)

    def _drop_calls(self, message_id: str, record: Members) -> None:
        for call_id in record["calls"]:
            if call_id in self._calls and self._calls[call_id]["in"] == message_id:
                del self._calls[call_id]
        record["calls"] = []

    def _cool(self, entity: str) -> None:
        self.cool[entity] = None

    def _cool_all(self) -> None:
        """No delta takes the short way any more, of this stream or another one of the session."""
        self.known["cooled"] += 1

    # -- events ------------------------------------------------------------------------------

    def apply(self, event: Members) -> list[Event]:
        """What an event comes to. The first one is the principal."""
        if self.start is None and self._repeats(event):
            self._table("known")["named"] += 1
            self._cool_all()
            return []
        events = _HANDLERS[event["type"]](self, event)
        return [*events, *self._forget_done()] if self._full else events

    def _repeats(self, event: Members) -> bool:
        """Whether a stream that came late comes to what another one has brought of its run, which
        that one started since."""
        since = self._own.get("since")
        if since is None:
            return False
        runs, made = self._table("runs"), []
        for table, name in ((self._messages, "messageId"), (self._calls, "toolCallId")):
            if event.get(name) in table:
                made.append(table[event[name]]["run"])
        if event["type"] == "RUN_FINISHED":
            made.append(event["runId"])
        return any(runs.get(run, {}).get("first", -1) >= since for run in made)

    def _block(self, cls: type[B], message_id: str, index: BlockIndex, **members: Any) -> B:
        return cls(session_id=self.session_id, message_id=message_id, block_index=index, **members)

    def _opening(self, message_id: str, record: Members) -> MessageOpened:
        return MessageOpened(
            session_id=self.session_id,
            message_id=message_id,
            role=record["role"],
            order=record["order"],
            info=dict(record["info"]) or None,
        )

    def _updated(self, message_id: str, record: Members) -> MessageUpdated:
        """All of a message's own members, as they are now."""
        return MessageUpdated(
            session_id=self.session_id,
            message_id=message_id,
            role=record["role"] or None,
            order=record["order"],
            info=dict(record["info"]),
            whole=True,
        )

    def _closing(
        self, message_id: str, status: str = "completed", error: Json = None
    ) -> MessageClosed:
        return MessageClosed(
            session_id=self.session_id, message_id=message_id, status=status, error=error
        )

    def _session(self, **info: Any) -> SessionUpdated:
        return SessionUpdated(session_id=self.session_id, info=info)

    def _refused(self, message_id: str, text: str | None = None) -> list[Event]:
        """What the store refuses as a conflict: an activity stays as it is, and it is counted."""
        return [self._block(BlockReplaced, message_id, CONTENT, kind="text", text=text)]

    def _nothing(self, event: Members) -> list[Event]:
        return []

    # -- messages ----------------------------------------------------------------------------

    def _open_text(self, message_id: str, record: Members) -> list[Event]:
        """The block of a message's text; takes the place of mixed content."""
        kind, order = kind_of(record["role"]), record["parts"]
        events: list[Event] = [self._block(BlockOpened, message_id, TEXT, kind=kind, order=order)]
        events += [
            self._block(BlockRemoved, message_id, index)
            for index, _ in enumerate(record.pop("mixed", ()))
        ]
        if record["info"].pop(CONTENT, None) is not None:
            events.append(self._updated(message_id, record))
        record["text"] = True
        record["parts"] += 1
        return events

    def _reopened(self, message_id: str, record: Members) -> list[Event]:
        """The block of a text that a fetched history lacked, where it comes from its start.

        What comes in the middle is refused: alone it would look like all of it.
        """
        if not record.pop("lacking", False):
            return []
        kind = kind_of(record["role"])
        # Before the calls, which stand where the history had them: from 0 on.
        return [self._block(BlockOpened, message_id, TEXT, kind=kind, order=-1)]

    def _merged(self, message_id: str, record: Members, event: Members) -> list[Event]:
        """A message with the metadata of an event: key by key, the last one holds."""
        if "metadata" not in event:
            return []
        info = record["info"]
        info["metadata"] = {**info.get("metadata", {}), **thaw(event["metadata"])}
        return [self._updated(message_id, record)]

    def _rebuilt(self, message_id: str, record: Members) -> list[Event]:
        """What the start of a message that is known means in a replay: it is built anew."""
        if record["run"] != self._own["run"] or self._is_rebuilt(message_id):
            return []
        self._drop_calls(message_id, record)
        self._cool_all()
        record.update(text=False, parts=0, info={})
        record.pop("mixed", None)
        record.pop("added", None)
        return [MessageReset(session_id=self.session_id, message_id=message_id)]

    def _named(self, name: str, record: Members | None) -> list[MessageUpdated]:
        """What it means that a run which is new brings a message or call again that was streamed
        outside any run: that it is that run, of which a stream that came late brought the rest.

        It is a replay from here on. What the late stream brought stands behind what came before.
        """
        now, run = self._now, self._own["run"]
        if record is None or not now.get("names") or name in now["rebuilt"]:
            return []
        if record["run"] == "":
            self._name(run)
            now["names"] = False
            self._table("known")["named"] += 1
            self._cool_all()
        elif record["run"] != run or now["replay"]:
            return []
        now["replay"] = True
        order, messages, brought = self._order, self._messages, now["rebuilt"]
        late = [
            one
            for one in order
            if one in messages and messages[one]["run"] == run and one not in brought
        ]
        if not late or brought.keys().isdisjoint(order[order.index(late[0]) :]):
            return []
        moved = set(late)
        order[:] = [one for one in order if one not in moved]
        for one in late:
            messages[one]["order"] = _between(self._place(order[-1]), None)
            order.append(one)
        return [self._updated(one, messages[one]) for one in late]

    def _name(self, run: str) -> None:
        """Say which run what was streamed outside any was of."""
        for one in (*self._messages.values(), *self._calls.values()):
            if one["run"] == "":
                one["run"] = run

    def _start(self, event: Members, role: str) -> list[Event]:
        message_id, opened = event["messageId"], self._now["opened"]
        record = self._messages.get(message_id)
        self._cool(message_id)
        if record is None:
            info = picked(event, "name", "subagentRunId", "metadata")
            events = self._added(message_id, role, info)
            opened[message_id] = None
            return [*events, *self._open_text(message_id, self._messages[message_id])]
        if record["role"] == "activity":
            return self._refused(message_id)
        opened[message_id] = None
        moved = self._named(message_id, record)
        events = self._rebuilt(message_id, record)
        if not record["role"]:  # its deltas came first
            record["role"] = role
            if not events:
                record["info"].update(picked(event, "name", "subagentRunId"))
                self._merged(message_id, record, event)
                return [self._opening(message_id, record)]
        if events:
            record["info"] = picked(event, "name", "subagentRunId")
            events += [self._updated(message_id, record), *self._open_text(message_id, record)]
            events += moved
            record.pop("lacking", None)
        self._new(message_id, record, 0)
        events += self._reopened(message_id, record)
        return events + self._merged(message_id, record, event)

    def _text_start(self, event: Members) -> list[Event]:
        return self._start(event, event.get("role", "assistant"))

    def _reasoning_start(self, event: Members) -> list[Event]:
        return self._start(event, "reasoning")

    def _content(self, event: Members) -> list[Event]:
        message_id, streamed = event["messageId"], STREAMED[event["type"]]
        text = event["delta"]
        delta = self._block(BlockDelta, message_id, TEXT, text=text)
        record = self._messages.get(message_id)
        if record is None:
            if message_id in self._flow.open(streamed):
                return [delta]  # a snapshot dropped the message: the store refuses it
            again = self._now["replay"] and message_id in self._gone
            made = self._implicit(message_id, streamed)
            # What a snapshot in a replay took away no delta brings back, only the message whole.
            return [made[-1], delta, *made[:-1]] if again else [delta, *made]
        if record["role"] == "activity":
            return self._refused(message_id, text)
        if "implicit" in record:  # it was never started, and may come again
            anew = self._rebuilt(message_id, record)
            if anew:
                return [*anew, delta, *self._implied(message_id, record)]
        new = self._new(message_id, record, len(text))
        if text and not new:
            return self._merged(message_id, record, event)
        delta = self._block(BlockDelta, message_id, TEXT, text=text[len(text) - new :])
        record.pop("fetched", None)
        opened = [] if record["text"] else self._open_text(message_id, record)
        return [*opened, delta, *self._merged(message_id, record, event)]

    def _implicit(self, message_id: str, streamed: str) -> list[Event]:
        """A message whose start was not seen; if one comes, it says what it is."""
        role = "reasoning" if streamed == "reasoning" else ""
        old = self._old_role(message_id) is not None
        record = self._add(message_id, role, {})
        record["implicit"] = record["role"]
        opened = self._implied(message_id, record)
        return opened[:-1] if old else opened

    def _implied(self, message_id: str, record: Members) -> list[Event]:
        """What stands behind the first delta of a message that was not started."""
        record["role"] = record["implicit"]
        self._now["opened"][message_id] = None
        return [*self._open_text(message_id, record), self._updated(message_id, record)]

    def _end(self, event: Members) -> list[Event]:
        message_id = event["messageId"]
        record = self._messages.get(message_id)
        self._cool(message_id)
        if record is None or record["role"] == "activity":
            return []
        # A text that was fetched whole and closed would take no delta any more.
        ends = record["text"] and "fetched" not in record
        closed = [self._block(BlockClosed, message_id, TEXT)] if ends else []
        return closed + self._merged(message_id, record, event)

    def _encrypted(self, event: Members) -> list[Event]:
        entity, value = event["entityId"], event["encryptedValue"]
        if event["subtype"] == "tool-call":
            fields = {"encryptedValue": value}
            return [self._call_updated(entity, fields)] if entity in self._calls else []
        record = self._messages.get(entity)
        if record is None or record["role"] == "activity":
            return []
        record["info"]["encryptedValue"] = value
        return [self._updated(entity, record)]

    # -- tools -------------------------------------------------------------------------------

    def _call_updated(self, call_id: str, fields: Members) -> BlockUpdated:
        return self._block(BlockUpdated, self._calls[call_id]["in"], call_id, fields=fields)

    def _call_changed(self, call_id: str, fields: Members) -> list[Event]:
        return [self._call_updated(call_id, fields)] if fields else []

    def _call_metadata(self, call_id: str, event: Members) -> Members:
        """The metadata of a call with that of an event, as part fields."""
        if "metadata" not in event:
            return {}
        call = self._calls[call_id]
        call["metadata"] = {**call.get("metadata", {}), **thaw(event["metadata"])}
        return {"metadata": call["metadata"]}

    def _call_moves(self, call_id: str, state: Members) -> Members:
        """A state of a call as part fields; none where it is past that."""
        call = self._calls[call_id]
        if TOOL_RANKS[state["status"]] < TOOL_RANKS[call["status"]]:
            return {}
        call["status"] = state["status"]
        return {"state": {**state, **picked(call, "input")}}

    def _call_opened(
        self, call_id: str, name: str | None, message_id: str, record: Members
    ) -> BlockOpened:
        self._now.get("dropped", {}).pop(call_id, None)
        status = self._table("early").pop(call_id, "pending")
        self._calls[call_id] = {"in": message_id, "status": status, "run": self._own["run"]}
        record["calls"].append(call_id)
        order = record["parts"]
        record["parts"] += 1
        fields: Members = {"callId": call_id, "state": {"status": "pending"}}
        if name is not None:
            fields["tool"] = name
        return self._block(
            BlockOpened, message_id, call_id, kind="tool", order=order, fields=fields
        )

    def _tool_start(self, event: Members) -> list[Event]:
        call_id, name = event["toolCallId"], event["toolCallName"]
        call, parent = self._calls.get(call_id), event.get("parentMessageId")
        within: str = (parent or call_id) if call is None else call["in"]
        moved = self._named(within, self._messages.get(within))
        moved += self._named(f"call {call_id}", call)
        events: list[Event] = []
        if call is not None and parent and self._misplaced(call_id, call):
            events.append(self._remove(call_id))
            call = None
        if call is None:
            message_id, made = self._owner(event)
        else:
            message_id = call["in"]
            self._now["opened"][message_id] = None
            made = self._rebuilt_for(event, message_id)
        events += made
        if call_id in self._calls:
            fields = {"tool": name, **self._call_metadata(call_id, event)}
            again = self._call_rebuilt(call_id, fields)
            return [*events, *(again or [self._call_updated(call_id, fields)]), *moved]
        self._is_rebuilt(f"call {call_id}")
        opened = self._call_opened(call_id, name, message_id, self._messages[message_id])
        metadata = self._call_metadata(call_id, event)
        moved = [one for one in moved if one.message_id in self._messages]  # one was removed
        return [*events, opened, *self._call_changed(call_id, metadata), *moved]

    def _misplaced(self, call_id: str, call: Members) -> bool:
        """Whether a call whose start was not seen has a message of its own until a replay says,
        with the start, whose it is."""
        if "implicit" not in call or call["in"] != call_id or call["run"] != self._own["run"]:
            return False
        now, record = self._now, self._messages[call_id]
        alone = record["calls"] == [call_id] and not record["text"]
        return bool(alone and now["replay"] and call_id not in now["rebuilt"])

    def _call_rebuilt(self, call_id: str, fields: Members) -> list[Event]:
        """As `_rebuilt`, of a call: its message is another run's, it is this one's and comes
        again."""
        call = self._calls[call_id]
        if call["run"] != self._own["run"] or self._is_rebuilt(f"call {call_id}"):
            return []
        call["status"] = "pending"
        call.pop("added", None)  # it holds none of them
        fields = {**fields, "callId": call_id, "state": {"status": "pending"}}
        return [self._block(BlockReplaced, call["in"], call_id, whole=True, fields=fields)]

    def _owner(self, event: Members) -> tuple[str, list[Event]]:
        """The message of a new call: its parent, or one that is made for it."""
        call_id, parent = event["toolCallId"], event.get("parentMessageId")
        carriers = (None, "assistant", "")
        message_id: str = parent if parent and self._role(parent) in carriers else call_id
        if self._role(message_id) not in carriers:
            message_id = self._context.new_id()  # the call's own id is another message's
        record = self._messages.get(message_id)
        self._now["opened"][message_id] = None
        if record is None:
            return message_id, self._added(message_id, "assistant", picked(event, "subagentRunId"))
        if not record["role"]:
            record["role"] = "assistant"
            anew = self._rebuilt_for(event, message_id)
            return message_id, anew or [self._updated(message_id, record)]
        return message_id, self._rebuilt_for(event, message_id)

    def _rebuilt_for(self, event: Members, message_id: str) -> list[Event]:
        """As `_rebuilt`, of a message that was made for a call."""
        record = self._messages[message_id]
        events = self._rebuilt(message_id, record)
        if events:
            record["info"] = picked(event, "subagentRunId")
            events.append(self._updated(message_id, record))
        return events

    def _tool_args(self, event: Members) -> list[Event]:
        call_id = event["toolCallId"]
        events: list[Event] = []
        call = self._calls.get(call_id)
        if call is not None and "implicit" in call:  # it was never started, and may come again
            self._now["opened"][call["in"]] = None
            events = self._rebuilt_for(event, call["in"])
            if call_id in self._calls:
                events += self._call_rebuilt(call_id, {})
        if call_id not in self._calls:
            if call_id in self._flow.open("tool") or call_id in self._now.get("dropped", ()):
                return []  # a snapshot dropped the call
            message_id, made = self._owner(event)
            record = self._messages[message_id]
            events += [*made, self._call_opened(call_id, None, message_id, record)]
            self._calls[call_id]["implicit"] = True
            self._is_rebuilt(f"call {call_id}")
        message_id, text = self._calls[call_id]["in"], event["delta"]
        fields = self._call_metadata(call_id, event)
        new = self._new(f"call {call_id}", self._calls[call_id], len(text))
        if text and not new:
            return self._call_changed(call_id, fields)
        text = text[len(text) - new :]
        delta = self._block(BlockDelta, message_id, call_id, field=INPUT, text=text)
        if self._calls[call_id].pop("input", None) is not None:  # it is that no longer
            fields |= self._call_moves(call_id, {"status": "running"})
        return [*events, delta, *self._call_changed(call_id, fields)]

    def _tool_end(self, event: Members) -> list[Event]:
        call_id = event["toolCallId"]
        call = self._calls.get(call_id)
        self._cool(call_id)
        if call is None:
            return []
        fields = self._call_metadata(call_id, event)
        fields |= self._call_moves(call_id, {"status": "running"})
        closed = self._block(BlockClosed, call["in"], call_id)
        return [*self._call_changed(call_id, fields), closed]

    def _tool_result(self, event: Members) -> list[Event]:
        message_id, call_id = event["messageId"], event["toolCallId"]
        record = self._messages.get(message_id)
        info = info_of(picked(event, "toolCallId", CONTENT, "subagentRunId", "metadata"))
        events: list[Event] = []
        anew = self._reset_old(message_id)
        if record is None:
            again = self._now["replay"] and message_id in self._gone  # its owner may be elsewhere
            record = self._add(message_id, "tool", info, None if again else self._behind(call_id))
        if record["role"] == "tool":
            record["info"] = info
            moved = self._named(message_id, record)
            self._is_rebuilt(message_id)
            events += [self._updated(message_id, record), *anew]
            events += self._set_content(message_id, record, event[CONTENT])
            events += [self._closing(message_id), *moved]
        # Else the id is another message's: the call's own output is all that can hold it.
        state = {"status": "completed", "output": event[CONTENT]}
        return events + self._answer(call_id, state)

    def _behind(self, call_id: str) -> int | None:
        """Where the result of a call stands: behind its owner and the results there."""
        call = self._calls.get(call_id)
        if call is None:
            return None
        messages, order = self._messages, self._order
        owner = call["in"]
        # Places only grow in it; the owner is nearly always one of the last.
        at = order.index(owner, bisect_left(order, self._place(owner), key=self._place)) + 1
        while at < len(order) and messages.get(order[at], {}).get("role") == "tool":
            at += 1
        return at

    def _answer(self, call_id: str, state: Members) -> list[Event]:
        """The result of a call in its own part, also when that is not there yet."""
        if call_id in self._calls:
            return self._call_changed(call_id, self._call_moves(call_id, state))
        early = self._table("early")
        early[call_id] = state["status"]
        _bound(early, _EARLY)
        fields = {"state": state}
        return [ToolResult(session_id=self.session_id, call_id=call_id, fields=fields)]

    # -- messages that come whole --------------------------------------------------------------

    def _set_content(self, message_id: str, record: Members, content: Json) -> list[Event]:
        """Make a message's content what came: a text, a list of parts, or None for nothing."""
        events: list[Event] = []
        if isinstance(content, str):
            record.pop("fetched", None)
            events += self._reopened(message_id, record)
            if record["text"]:
                # Set as empty and added to: a text that comes whole would take no delta more.
                events.append(
                    self._block(BlockReplaced, message_id, TEXT, text="", order=0, status="open")
                )
            else:
                record["parts"] = 0
                events += self._open_text(message_id, record)
            record["parts"] = 1
            events.append(self._block(BlockDelta, message_id, TEXT, text=content))
            return events
        if record["text"]:
            events.append(self._block(BlockRemoved, message_id, TEXT))
            record["text"] = False
            self._cool_all()
        parts = mixed_parts(content or ())
        kinds = [part["kind"] for part in parts]
        for index, kind in enumerate(record.get("mixed", ())):
            if kinds[index : index + 1] != [kind]:
                events.append(self._block(BlockRemoved, message_id, index))
        for index, fields in enumerate(parts):
            events.append(
                self._block(
                    BlockReplaced,
                    message_id,
                    index,
                    kind=fields.pop("kind"),
                    order=index,
                    text=fields.pop("text", None),
                    status="closed",
                    whole=True,
                    fields=fields,
                )
            )
        record.update(mixed=kinds, parts=len(kinds))
        return events

    def _set_calls(
        self, message: Members, record: Members, results: Mapping[str, Members]
    ) -> list[Event]:
        """Make a message's tool calls those of a whole one."""
        message_id, given = message["id"], message.get("toolCalls", ())
        kept = {call["id"] for call in given}
        events: list[Event] = [
            self._block(BlockRemoved, message_id, call_id)
            for call_id in record["calls"]
            if call_id not in kept
        ]
        self._drop_calls(message_id, record)
        for call in given:
            call_id = call["id"]
            state = call_state(call_id, results)
            if call_id in self._flow.open("tool") and state["status"] == "running":
                state = {"status": "pending"}
            run = None if self._own["start"] is None else self._own["run"]
            self._know_call(message_id, record, call, state, run)
            self._is_rebuilt(f"call {call_id}")
            events.append(
                self._block(
                    BlockReplaced,
                    message_id,
                    call_id,
                    kind="tool",
                    order=record["parts"] - 1,
                    status="open",
                    whole=True,
                    fields=call_fields(call, state),
                )
            )
            text = call["function"]["arguments"]
            events.append(self._block(BlockDelta, message_id, call_id, field=INPUT, text=text))
            if state["status"] != "pending":
                events.append(self._block(BlockClosed, message_id, call_id))
        return events

    def _know_call(
        self, message_id: str, record: Members, call: Members, state: Members, run: str | None
    ) -> None:
        """Remember a call that came whole; the first message that has it owns it."""
        record["parts"] += 1
        record["calls"].append(call["id"])
        if call["id"] in self._calls:
            return
        entry = {"in": message_id, "status": state["status"], "run": run}
        self._calls[call["id"]] = {**entry, **picked(call, "metadata")}

    def _whole(self, message: Members, results: Mapping[str, Members], done: bool) -> list[Event]:
        """A message as a snapshot has it, in the place of the one that is known.

        `results`: tool messages by call; `done`: nothing more will come for it.
        """
        message_id, role = message["id"], message["role"]
        record, known = self._messages.get(message_id), self._role(message_id)
        events: list[Event] = []
        at = None
        if known is not None and shape_of(known) != shape_of(role):
            at = self._order.index(message_id)
            events.append(self._remove(message_id))
            record = None
        anew = self._reset_old(message_id)
        if record is None:
            record = self._add(message_id, role, {}, at)
        record["role"], record["info"] = role, info_of(message)
        if self._own["start"] is None:  # a run that is new may go on with it
            record["run"] = None
        self._is_rebuilt(message_id)  # what follows goes on behind this
        record.pop("added", None)  # all of it may be in there, or none
        self._cool_all()
        events += [self._updated(message_id, record), *anew]
        if role == "activity":
            record[CONTENT] = thaw(message[CONTENT])
            events.append(self._activity(message_id, record))
        else:
            events += self._set_content(message_id, record, message.get(CONTENT))
            events += self._set_calls(message, record, results)
            streaming = any(message_id in self._flow.open(name) for name in STREAMED.values())
            if record["text"] and not streaming:
                events.append(self._block(BlockClosed, message_id, TEXT))
        if done:
            return [*events, self._closing(message_id)]
        self._now["opened"][message_id] = None
        return events

    def _messages_snapshot(self, event: Members) -> list[Event]:
        given = {message["id"]: message for message in event["messages"]}
        roles = {message["role"] for message in event["messages"]}
        owned = _owned_activities(event)
        results = results_of(given.values())
        now = self._now
        # Whose arguments may still come, though as a rule not behind a result: but for what a
        # replay has yet to bring.
        streaming = {
            call_id: call["status"] == "pending"
            for call_id, call in self._calls.items()
            if not now["replay"] or f"call {call_id}" in now["rebuilt"]
        }
        events: list[Event] = []
        old = []
        for message_id in [name for name in self._order if name not in given]:
            record = self._messages.get(message_id)
            if _is_kept(record or {"role": self._old_role(message_id)}, roles, owned):
                continue
            if self._comes_again(message_id, record):
                self._gone[message_id] = self._place(message_id)
                _bound(self._gone, _PLACES)
            if record is None:
                old.append(message_id)
                gone = MessageRemoved(session_id=self.session_id, message_id=message_id)
                events.append(gone)
            else:
                events.append(self._remove(message_id))
        self._lose(old)
        known = [message_id for message_id in self._order if message_id in given]
        new = [message_id for message_id in given if self._role(message_id) is None]
        done = self._own["start"] is None
        # What is left is told whole, with its calls: one that moves to a message before its old
        # one is that one's from here on, or its next arguments would find no message.
        self._calls.clear()
        for message_id in (*known, *new):
            events += self._whole(given[message_id], results, done)
        dropped = now.setdefault("dropped", {})
        for call_id in sorted(streaming, key=streaming.__getitem__):
            if call_id not in self._calls:
                dropped[call_id] = None
        _bound(dropped, _SHOWN)
        return events

    def _comes_again(self, message_id: str, record: Members | None) -> bool:
        """Whether a replay may yet bring a message: this run made it, or a later one."""
        now = self._now
        if not now["replay"] or message_id in now["rebuilt"]:
            return False
        if record is None:
            return True  # an old one: nobody knows
        made = self._table("runs").get(record["run"])
        return made is not None and bool(made.get("first", 0) >= self.run.get("first", 0))

    # -- activities ----------------------------------------------------------------------------

    def _activity(self, message_id: str, record: Members) -> BlockReplaced:
        return self._block(
            BlockReplaced,
            message_id,
            CONTENT,
            kind="data",
            order=0,
            whole=True,
            fields=activity_fields(record["info"]["activityType"], record[CONTENT]),
        )

    def _activity_snapshot(self, event: Members) -> list[Event]:
        message_id, own = event["messageId"], self._own
        record, known = self._messages.get(message_id), self._role(message_id)
        replace = event.get("replace", True)
        events: list[Event] = []
        at = None
        if known is not None and known != "activity":
            if not replace:
                return []
            at = self._order.index(message_id)
            events.append(self._remove(message_id))
            record = None
        if record is None:
            record = self._add(message_id, "activity", {}, at)
            replace = True
        elif record["run"] == own["run"] and not self._is_rebuilt(message_id):
            replace = True  # this is what made it
            record["info"] = {}
        self._now["opened"][message_id] = None
        if replace:
            kept = picked(record["info"], "metadata")
            record["info"] = {**picked(event, "activityType", "subagentRunId"), **kept}
            record[CONTENT] = thaw(event[CONTENT])
            record.pop("added", None)  # it holds none of them
        self._merged(message_id, record, event)
        return [
            *events,
            self._updated(message_id, record),
            self._activity(message_id, record),
        ]

    def _activity_delta(self, event: Members) -> list[Event]:
        message_id = event["messageId"]
        record = self._messages.get(message_id)
        if record is None or record["role"] != "activity":
            return []
        need_patches(self.session_id)
        content = {} if record[CONTENT] is None else record[CONTENT]  # a patch removed all of it
        if not self._new(message_id, record, 1):
            return []  # it holds it
        patched = apply_patch(content, event["patch"], self._context.limits)
        events = self._merged(message_id, record, event)  # whether or not the patch fits
        if patched is None:
            return events or self._refused(message_id)
        record[CONTENT] = thaw(patched[0])
        if record["info"]["activityType"] != event["activityType"]:
            record["info"]["activityType"] = event["activityType"]
            events = [self._updated(message_id, record)]
        return [*events, self._activity(message_id, record)]

    # -- state ---------------------------------------------------------------------------------

    def _has_state(self) -> list[Event]:
        """The session says that it has a state: null is one, too."""
        known = self._table("known")
        if "state" in known:
            return []
        known["state"] = None
        return [self._session(hasState=True)]

    def _state_snapshot(self, event: Members) -> list[Event]:
        if self._now["replay"] and not self._is_latest():
            return []  # what came since is not sent again, or is skipped
        self._now["skip"] = 0
        state = SessionState(session_id=self.session_id, state=event["snapshot"])
        return [state, *self._has_state()]

    def _state_delta(self, event: Members) -> list[Event]:
        if self._now["skip"] > 0:  # a replay: the state holds it
            self._now["skip"] -= 1
            return []
        patch = SessionState(session_id=self.session_id, patch=event["delta"])
        try:
            need_patches()
        except MissingExtra:
            return [patch]  # the store refuses it, and says what is missing
        if "deltas" in self.run:
            self.run["deltas"] += 1
        if "state" in self._table("known"):
            return [patch]
        # The first one is for an empty state. Applied here: of two events the verdict would be
        # that of the state, also where the patch does not fit.
        patched = apply_patch({}, event["delta"], self._context.limits)
        if patched is None:
            return [patch]
        state = SessionState(session_id=self.session_id, state=patched[0])
        return [state, *self._has_state()]

    # -- runs ----------------------------------------------------------------------------------

    def joined(self, event: Members) -> str | None:
        """The run that was started last, where it has not ended: the first event of the stream is
        not its start. A server that resumes behind the last event does not repeat it."""
        runs: Members = self._context.shared.get(self.session_id, {}).get("runs", {})
        run = next(reversed(runs), None)
        if run is None or "now" not in runs[run] or event.get("runId", run) != run:
            return None
        return run

    def lanes_of(self, run: str) -> Members:
        """The chunks that were assembled where a run was cut."""
        lanes: Members = self._table("runs")[run]["now"].get("lanes", {})
        return lanes

    def join(self, run: str) -> None:
        """Go on with a run that `joined` found."""
        self.run = self._table("runs")[run]
        self.start = self._own["runs"][run] = self.run["start"]
        self._own.update(run=run, start=self.start)

    def begin(self) -> None:
        """Deliver what belongs to no run that is known: until another stream starts that one."""
        known = self._table("known")
        self._own["nameless"] = known.setdefault("named", 0)
        self._own["since"] = known.get("starts", 0)

    def keep(self, lanes: Members) -> None:
        """Chunks that are assembled, for a stream that goes on with the run."""
        self._own["lanes"] = self._now["lanes"] = lanes

    def _run_started(self, event: Members) -> list[Event]:
        own, run = self._own, event["runId"]
        ended = own.get("ended", False)
        goes_on = own["start"] is not None and not ended
        before = self._now
        if not self._context.bound:
            if own["session"] != event["threadId"]:
                goes_on, before = False, {}  # ids of another thread
            own["session"] = event["threadId"]
        self._cool_all()
        runs, known = self._table("runs"), self._table("known")
        record: Members | None = runs.pop(run, None)
        # On the stream that started it, too, where it had not ended: one that was saved and loaded.
        anew = goes_on and own["run"] == run
        replay = record is not None and (anew or own["runs"].get(run) != record["start"])
        # It may be the one that a stream which came late brought the rest of, before it had a name.
        ours = ended and own.get("nameless") == known.get("named")
        names = record is None and "named" in known and not ours
        if record is None:
            record = {"thoughts": [], "first": known.get("starts", 0)}
        if not replay:
            record["deltas"] = 0
            known["latest"] = run
        record["start"] = known["starts"] = known.get("starts", 0) + 1
        runs[run] = self.run = record
        own["runs"][run] = record["start"]
        _bound(runs, _RUNS)
        _bound(own["runs"], _RUNS)
        self.start = record["start"]
        own.update(run=run, start=self.start, ended=False)
        dropped = record.get("now", {}).get("dropped")
        now = record["now"] = _nothing_yet()
        if dropped:  # whoever says the start may go on behind it, and not bring it all again
            now["dropped"] = dropped
        now.update(replay=replay, skip=record["deltas"] if replay else 0)
        if names:
            now["names"] = True
        if replay and not anew:  # of what this stream brings again
            now["rebuilt"] = before.get("rebuilt", {})
            before["rebuilt"] = {}
        for cut in islice(reversed(runs.values()), _ALSO, _ALSO + 1):
            cut.pop("now", None)
        self._forget_old()
        events: list[Event] = [SessionStatus(session_id=self.session_id, status="busy")]
        if self._is_latest():
            info: Members = {"run": {**picked(event, *_RUN), "status": "running"}}
            info.update({"steps": []} if "steps" in known else {})
            info.update({"subagents": {}} if "subagents" in known else {})
            events.append(self._session(**info))
        if "input" in event:
            events += self._run_input(event["input"])
        return events

    def _run_input(self, given: Members) -> list[Event]:
        """What the client sent, as the server echoes it: messages and a state that are not
        known, and answers. A replay makes the messages again that it made."""
        events: list[Event] = []
        results, own = results_of(given["messages"]), self._own
        for message in given["messages"]:
            record = self._messages.get(message["id"])
            again = self._now["replay"] and record is not None and record["run"] == own["run"]
            if again or self._role(message["id"]) is None:
                events += self._whole(message, results, done=True)
                if message["role"] == "tool":
                    events += self._answer(message["toolCallId"], result_state(message))
        if given.get("state") is not None and "state" not in self._table("known"):
            events.append(SessionState(session_id=self.session_id, state=given["state"]))
            events += self._has_state()
        asked = self._table("asked")
        for answer in given.get("resume", ()):
            of = asked.get(answer["interruptId"], {}).get("run")
            if not (self._now["replay"] and of == own["run"]):  # it asked that behind the answer
                events += self._answered(answer["interruptId"], answer)
        return events

    def _run_finished(self, event: Members) -> list[Event]:
        outcome = event.get("outcome", {})
        status = "aborted" if outcome.get("type") == "cancelled" else "completed"
        if self._own["start"] is None:
            self._name(event["runId"])
        events = self._run_ended(event, "finished")
        events += self._close_all(lambda record, message_id: status)
        if self._is_latest():
            events += self._interrupted(outcome.get("interrupts", ()))
        return [*events, SessionStatus(session_id=self.session_id, status="idle")]

    def _run_error(self, event: Members) -> list[Event]:
        code = event.get("code")
        error = {"name": code or "RUN_ERROR", "message": event["message"]}
        cut = "aborted" if code == "abort" else "error"

        def ending(record: Members, message_id: str) -> str:
            streams = any(message_id in self._flow.open(name) for name in STREAMED.values())
            calls = [self._calls[call] for call in record["calls"] if call in self._calls]
            waits = any(TOOL_RANKS[call["status"]] < TERMINAL_RANK for call in calls)
            return cut if streams or waits else "completed"

        told = self._now["replay"] and "error" in self.run
        self.run["error"] = None
        recorded = [] if told else [SessionError(session_id=self.session_id, error=error)]
        return [
            *recorded,
            *self._run_ended(event, "error"),
            *self._close_all(ending, error),
            SessionStatus(session_id=self.session_id, status="idle"),
        ]

    def _is_latest(self) -> bool:
        """Whether the run is the last one that was new: an older one that is replayed is not."""
        return bool(self._table("known").get("latest") == self._own["run"])

    def _run_ended(self, event: Members, status: str) -> list[Event]:
        self._own.update(self._now, ended=True)
        self.run.pop("now", None)
        if self._own["start"] is None or not self._is_latest():
            return []
        run = {**picked(event, *_RUN), "runId": self._own["run"], "status": status}
        return [self._session(run=run)]

    def _close_all(
        self, ending: Callable[[Members, str], str], error: Members | None = None
    ) -> list[Event]:
        """Close the messages of this run."""
        events: list[Event] = []
        for message_id in self._now["opened"]:
            # One that is remembered by its place alone another stream of the session made so.
            record = self._messages.get(message_id)
            if record is not None or self._old_role(message_id) is not None:
                status = ending(record or {"calls": ()}, message_id)
                said = error if status == "error" else None
                events.append(self._closing(message_id, status, said))
        self._now["opened"] = {}
        self._cool_all()
        return events

    def next_thought(self, new_id: Callable[[], str]) -> tuple[str, Callable[[], None]]:
        """The id of a message that names none, the same one in a replay of its run; and what
        notes that it was used."""
        now, made = self._now, self.run.setdefault("thoughts", [])
        place: int = now["thoughts"]
        found: str = made[place] if place < len(made) else new_id()

        def note() -> None:
            now["thoughts"] = place + 1
            if place < _PLACES:
                made[place:] = [found, *made[place + 1 :]]

        return found, note

    # -- interrupts ----------------------------------------------------------------------------

    def _interrupted(self, interrupts: Sequence[Members]) -> list[Event]:
        """What waits for an answer from now on; what waited before and is not named does not."""
        known, pending = self._table("known"), self._table("interrupts")
        if "interrupts" not in known and not interrupts:
            return []
        known["interrupts"] = None
        events: list[Event] = [self._session(pendingInterrupts=list(interrupts))]
        named = {interrupt["id"]: interrupt for interrupt in interrupts}
        for name in [name for name in pending if self._is_over(name, named.get(name))]:
            events += self._answered(name, {})
        asked, run = self._table("asked"), self._own["run"]
        for interrupt in interrupts:
            name, call_id = interrupt["id"], interrupt.get("toolCallId") or None
            call = None if call_id is None else self._calls.get(call_id)
            pending[name] = call_id
            asked[name] = {**asked.pop(name, {}), "run": run, "payload": thaw(interrupt)}
            _bound(asked, _EARLY)
            kind = QuestionAsked if call_id is None else PermissionAsked
            events.append(
                kind(
                    session_id=self.session_id,
                    request_id=self._request_id(name),
                    message_id=None if call is None else call["in"],
                    call_id=call_id,
                    payload=interrupt,
                )
            )
            if call_id is not None and call is not None:
                moves = self._call_moves(call_id, {"status": "waiting"})
                events += self._call_changed(call_id, moves)
        return events

    def _is_over(self, name: str, interrupt: Members | None) -> bool:
        """Whether what an interrupt asked was answered: the run that ends now lacks it, or asks
        something else under the same id."""
        asked = self._table("asked").get(name)
        if interrupt is None or asked is None:
            return interrupt is None
        return bool(asked["run"] != self._own["run"] and asked["payload"] != interrupt)

    def _request_id(self, name: str) -> str:
        """What a question is called: a server may ask again by an id that was answered, and what
        was answered stays so."""
        answered: int = self._table("asked").get(name, {}).get("answered", 0)
        return name + " " * answered

    def _answered(self, name: str, answer: Members) -> list[Event]:
        pending, request_id = self._table("interrupts"), self._request_id(name)
        if name not in pending:
            return []
        call_id = pending.pop(name)
        asked = self._table("asked")
        answered = asked.pop(name, {}).get("answered", 0) + 1
        asked[name] = {"answered": answered}  # the last one, of those that are remembered
        _bound(asked, _EARLY)
        replied = QuestionReplied if call_id is None else PermissionReplied
        events: list[Event] = [
            replied(session_id=self.session_id, request_id=request_id, payload=answer)
        ]
        if call_id is not None and call_id in self._calls:
            status = "denied" if answer.get("status") == "cancelled" else "running"
            events += self._call_changed(call_id, self._call_moves(call_id, {"status": status}))
        return events

    # -- steps, subagents ----------------------------------------------------------------------

    def _step(self, event: Members) -> list[Event]:
        self._table("known")["steps"] = None
        steps = [
            {"stepName": name, **({"subagentRunId": lane[1:]} if lane else {})}
            for lane, names in self._flow.open("steps").items()
            for name in names
        ]
        return [self._session(steps=steps[-_SHOWN:])]

    def _subagent(self, event: Members) -> list[Event]:
        self._table("known")["subagents"] = None
        subagents, name = self._now["subagents"], event["subagentRunId"]
        others = ("type", "subagentRunId", "timestamp", "rawEvent")
        said = picked(event, *(member for member in event if member not in others))
        ends = {"SUBAGENT_STARTED": "running", "SUBAGENT_FINISHED": "finished"}
        said["status"] = ends.get(event["type"], "error")
        subagents[name] = {**subagents.get(name, {}), **said}
        _bound(subagents, _SHOWN)
        return [self._session(subagents=dict(subagents))]

    # -- a fetched history -----------------------------------------------------------------------

    def history(
        self,
        messages: Sequence[Members],
        session_id: str,
        state: tuple[Json] | None,
        complete: bool,
        read_from: str | None,
    ) -> list[Event]:
        """Messages of a session that were fetched, as a snapshot; its state while none is known."""
        before, self._own["session"] = self.session_id, session_id
        try:
            self._cool_all()  # the next delta of a text ends that it is as it was fetched
            results, known = results_of(messages), self._messages
            for number, message in enumerate(messages):
                if message["id"] in known:
                    if isinstance(message.get(CONTENT), str):
                        known[message["id"]]["fetched"] = True  # it may become the text
                    elif known[message["id"]]["text"]:
                        known[message["id"]]["lacking"] = True  # it may have been taken away
                    continue
                # It stands before the next one that is known, else behind all.
                later = (one["id"] for one in islice(messages, number + 1, None))
                after = next((name for name in later if self._role(name) is not None), None)
                at = None if after is None else self._order.index(after)
                self._learn(message, results, at)
            fetched = [self._fetched(message, results) for message in messages]
            events: list[Event] = [
                Snapshot(
                    session_id=session_id,
                    messages=fetched,
                    complete=complete,
                    read_from=read_from,
                )
            ]
            if state is not None and "state" not in self._table("known"):
                events.append(SessionState(session_id=session_id, state=state[0]))
                events += self._has_state()
            return events
        finally:
            # Old ones are looked for when the stream goes on, in the session that it is of.
            self._own["session"], self._full = before, False

    def _learn(self, message: Members, results: Mapping[str, Members], at: int | None) -> None:
        """Remember a fetched message that is new."""
        record = self._add(message["id"], message["role"], info_of(message), at)
        record["run"] = None
        content = message.get(CONTENT)
        if message["role"] == "activity":
            record[CONTENT] = thaw(content)
        elif isinstance(content, list):
            kinds = [part["kind"] for part in mixed_parts(content)]
            record.update(mixed=kinds, parts=len(kinds))
        elif content is not None:
            record.update(text=True, parts=1, fetched=True)
        for call in message.get("toolCalls", ()):
            state = call_state(call["id"], results)
            self._know_call(message["id"], record, call, state, None)
            if self._calls[call["id"]]["in"] == message["id"]:
                self._calls[call["id"]].update(call_input(call))

    def _fetched(self, message: Members, results: Mapping[str, Members]) -> Json:
        parts = parts_of(message, results)
        return {
            "id": message["id"],
            "role": message["role"],
            "order": self._messages[message["id"]]["order"],
            "status": "completed",
            "info": info_of(message),
            # Open: deltas may follow. In a message that ended they read as closed.
            "parts": [{**part, "status": "open"} for part in parts],
        }


_HANDLERS: Mapping[str, Handler] = {
    "TEXT_MESSAGE_START": Thread._text_start,
    "TEXT_MESSAGE_CONTENT": Thread._content,
    "TEXT_MESSAGE_END": Thread._end,
    "REASONING_START": Thread._nothing,
    "REASONING_END": Thread._nothing,
    "REASONING_MESSAGE_START": Thread._reasoning_start,
    "REASONING_MESSAGE_CONTENT": Thread._content,
    "REASONING_MESSAGE_END": Thread._end,
    "REASONING_ENCRYPTED_VALUE": Thread._encrypted,
    "TOOL_CALL_START": Thread._tool_start,
    "TOOL_CALL_ARGS": Thread._tool_args,
    "TOOL_CALL_END": Thread._tool_end,
    "TOOL_CALL_RESULT": Thread._tool_result,
    "ACTIVITY_SNAPSHOT": Thread._activity_snapshot,
    "ACTIVITY_DELTA": Thread._activity_delta,
    "STATE_SNAPSHOT": Thread._state_snapshot,
    "STATE_DELTA": Thread._state_delta,
    "MESSAGES_SNAPSHOT": Thread._messages_snapshot,
    "RUN_STARTED": Thread._run_started,
    "RUN_FINISHED": Thread._run_finished,
    "RUN_ERROR": Thread._run_error,
    "STEP_STARTED": Thread._step,
    "STEP_FINISHED": Thread._step,
    "SUBAGENT_STARTED": Thread._subagent,
    "SUBAGENT_FINISHED": Thread._subagent,
    "SUBAGENT_ERROR": Thread._subagent,
    "RAW": Thread._nothing,
    "CUSTOM": Thread._nothing,
}


def _between(before: float | None, after: float | None) -> float:
    """An order between two; whole numbers at the end, small steps inside."""
    if after is None:
        return 0 if before is None else math.floor(before) + 1
    if before is None:
        return math.ceil(after) - 1
    return before + min((after - before) / 2, _STEP)


def _nothing_yet() -> Members:
    """What is in progress where nothing is."""
    return {
        "replay": False,
        # Of a replay: what was rebuilt, and patches of the state to skip.
        "rebuilt": {},
        "skip": 0,
        # How much came for what another run made (characters, patches).
        "came": {},
        # Calls that a snapshot took away before their end, for a stream that goes on with them.
        "dropped": {},
        # Messages to close at the end, subagents, thoughts without an id.
        "opened": {},
        "subagents": {},
        "thoughts": 0,
    }


def _bound(table: Members, size: int) -> None:
    while len(table) > size:
        del table[next(iter(table))]


def _owned_activities(event: Members) -> Sequence[str] | None:
    """Activity types that a snapshot speaks for: None for all if it holds one, "*" for all."""
    metadata = event.get("metadata", {})
    if "@ag-ui/client" not in metadata:
        return None
    said = metadata["@ag-ui/client"]
    if not isinstance(said, dict):
        return ()
    if "authoritativeActivityTypes" not in said:
        return None
    types = said["authoritativeActivityTypes"]
    if types is None:
        return ("*",)
    if isinstance(types, list) and all(type(name) is str for name in types):
        return types
    return ()


def _is_kept(record: Members, roles: set[str], owned: Sequence[str] | None) -> bool:
    """Whether a message that a snapshot lacks stays: most servers never send these whole."""
    if record["role"] == "reasoning":
        return "reasoning" not in roles
    if record["role"] != "activity":
        return False
    if owned is None:
        return "activity" not in roles
    return "*" not in owned and record["info"]["activityType"] not in owned
