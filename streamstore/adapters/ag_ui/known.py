"""Which messages and calls an AG-UI thread has, where they stand, and which of them are old.

One entry per message (`role`, `order`, `info`, the run that made it, what blocks it has), one per
tool call; of old messages their places alone. What is to be forgotten is decided here, what of a
replay is built anew in `runs`. Knows no event of the wire but by the ids that it names, and
nothing of what a text, a call or an activity holds.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from ...events import (
    BlockEvent,
    BlockReplaced,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageUpdated,
)
from ...keys import BlockIndex
from ...model import TERMINAL_RANK, TOOL_RANKS, Json, thaw
from ..base import Context
from ..bounded import forget_oldest
from ..members import Members
from .messages import CONTENT
from .runs import Runs
from .verify import Flow

B = TypeVar("B", bound=BlockEvent)

# Results come one behind the other in the same place: a small step leaves room for a million.
_STEP = 2.0**-20

#: Messages that are remembered with all that an event may need of them, and of how many others the
#: place is known. Who is removed by hand is told to nobody here: without an end both only grow.
_MESSAGES = 4096
_PLACES = 65_536

#: Messages that are remembered while a run goes on: over it the oldest that are done go first, then
#: the oldest that are not streaming, until those for a new run are left.
_MOST = 8192


class Known:
    """The messages and calls of a thread.

    Shared by its streams: `messages`, `calls`, `order` (ids as they stand), `old` and `gone`
    (places). Of what is in progress: `opened`, the messages to close at the end.

    Args:
        context: what the adapter was given.
        runs: the run that the stream delivers.
        flow: what is in progress of the stream.

    Attributes:
        full: there are so many that `forget_done` is to be asked.
    """

    def __init__(self, context: Context, runs: Runs, flow: Flow) -> None:
        self._context = context
        self._runs = runs
        self._flow = flow
        # Remembered messages over which old ones are looked for, and whether there are so many.
        self._most, self.full = _MOST, False

    # -- what is remembered --------------------------------------------------------------------

    @property
    def messages(self) -> Members:
        """All that are remembered with what an event may need of them, by id."""
        return self._runs.table("messages")

    @property
    def calls(self) -> Members:
        """The calls of those, by id."""
        return self._runs.table("calls")

    @property
    def order(self) -> list[str]:
        """Ids of the thread's messages as they stand."""
        order: list[str] = self._context.of_session(self._runs.session_id).setdefault("order", [])
        return order

    def role(self, message_id: str) -> str | None:
        """The role of a message, None where there is none."""
        record = self.messages.get(message_id)
        return self.old_role(message_id) if record is None else record["role"]

    def place(self, message_id: str) -> float:
        """The order of a message that is there."""
        tables = [table for table in self._old.values() if message_id in table]
        place: float = tables[0][message_id] if tables else self.messages[message_id]["order"]
        return place

    @property
    def _old(self) -> Members:
        """Messages of which nothing but this is remembered: their places, by role and id."""
        return self._runs.table("old")

    def old_role(self, message_id: str) -> str | None:
        """The role of an old message; None for one that is none."""
        return next((role for role, table in self._old.items() if message_id in table), None)

    @property
    def _gone(self) -> Members:
        """Places of what a snapshot in a replay removed: it comes again, in that one or another,
        and what a snapshot keeps is where it was."""
        return self._runs.table("gone")

    def is_gone(self, message_id: str) -> bool:
        """Whether a snapshot in this replay removed a message, which may come again."""
        return self._runs.replay and message_id in self._gone

    def is_away(self, message_id: str) -> bool:
        """Whether a snapshot in a replay, of whatever stream, removed a message."""
        return message_id in self._gone

    def keep_place(self, message_id: str) -> None:
        """Know where a message stood that is removed now, and comes again."""
        place = self._gone[message_id] = self.place(message_id)
        self._runs.known["top"] = max(self._runs.known.get("top", place), place)
        forget_oldest(self._gone, _PLACES)

    def waits(self, record: Members) -> bool:
        """Whether a call of a message has no result yet."""
        calls = [self.calls[call] for call in record["calls"] if call in self.calls]
        return any(TOOL_RANKS[call["status"]] < TERMINAL_RANK for call in calls)

    # -- messages that come and go -------------------------------------------------------------

    def add(self, message_id: str, role: str, info: Members, at: int | None = None) -> Members:
        """Remember a new message, by default behind all others, of a replay before what runs made
        that began behind its own."""
        order = self.order
        old_role, away = self.old_role(message_id), self._gone.pop(message_id, None)
        if old_role is not None:
            role = old_role or role
            place = self._old[old_role].pop(message_id)
        elif at is None and away is not None and self._runs.replay:
            place = away
            order.insert(bisect_left(order, place, key=self.place), message_id)
        else:
            at = self._end() if at is None else at
            before = self.place(order[at - 1]) if at else None
            if at == len(order) and self._gone:  # behind what comes back, too
                before = max(self._runs.known.get("top", 0), 0 if before is None else before)
            after = self.place(order[at]) if at < len(order) else None
            place = _between(before, after)
            order.insert(at, message_id)
        record: Members = {
            "role": role,
            "order": place,
            "run": self._runs.id,
            "info": info,
            "text": False,
            "parts": 0,
            "calls": [],
        }
        messages = self.messages
        messages[message_id] = record
        self.full = max(len(messages), len(self._runs.now["opened"])) > self._most
        self._runs.is_rebuilt(message_id)
        return record

    def end_but_for_runs(self, listed: Container[str]) -> int:
        """Where a message stands that is behind all but what runs that go on brought last, which
        `listed` does not hold."""
        order, messages = self.order, self.messages
        at = len(order)
        while at and order[at - 1] not in listed:
            record = messages.get(order[at - 1])
            if record is None or not self._runs.goes_on(record):
                break
            at -= 1
        return at

    def _end(self) -> int:
        """Where a message of the run stands that is new. In a replay, other streams may have gone
        on with later runs before it brings the rest of this one. Linear in what those made."""
        order, messages, at = self.order, self.messages, len(self.order)
        while self._runs.replay and at:
            record = messages.get(order[at - 1])
            if record is None or not self._runs.follows(record):
                break
            at -= 1
        return at

    def added(self, message_id: str, role: str, info: Members) -> list[Event]:
        """A message that starts; one that is old is built anew in a replay."""
        replayed = self._runs.replay and not self._runs.has_brought(message_id)
        anew = self.reset_old(message_id) if replayed else []
        return [self.opening(message_id, self.add(message_id, role, info)), *anew]

    def reset_old(self, message_id: str) -> list[Event]:
        """What lets a message come whole that is old: nobody knows which blocks it has."""
        if self.old_role(message_id) is None:
            return []
        return [MessageReset(session_id=self._runs.session_id, message_id=message_id)]

    def remove(self, message_id: str) -> MessageRemoved:
        """Take a message away, with its calls."""
        record = self.messages.pop(message_id, None)
        if record is None:
            self.lose((message_id,))
        else:
            self.drop_calls(message_id, record)
            self.order.remove(message_id)
        self._runs.cool_all()
        return MessageRemoved(session_id=self._runs.session_id, message_id=message_id)

    def drop_calls(self, message_id: str, record: Members) -> None:
        """Forget the calls of a message that are its own."""
        for call_id in record["calls"]:
            if call_id in self.calls and self.calls[call_id]["in"] == message_id:
                del self.calls[call_id]
        record["calls"] = []

    def lose(self, names: Sequence[str]) -> None:
        """Know nothing of old messages any more."""
        gone = set(names)
        for table in self._old.values():
            for message_id in gone & table.keys():
                del table[message_id]
        if gone:
            self.order[:] = [name for name in self.order if name not in gone]

    def open(self, message_id: str) -> None:
        """Have a message close at the end of this run, if not before."""
        self._runs.now["opened"][message_id] = None

    def close_all(
        self, ending: Callable[[Members, str], str], error: Members | None = None
    ) -> list[Event]:
        """Close the messages of this run."""
        events: list[Event] = []
        for message_id in self._runs.now["opened"]:
            # One that is remembered by its place alone another stream of the session made so.
            record = self.messages.get(message_id)
            if record is not None or self.old_role(message_id) is not None:
                status = ending(record or {"calls": ()}, message_id)
                said = error if status == "error" else None
                events.append(self.closing(message_id, status, said))
        self._runs.now["opened"] = {}
        self._runs.cool_all()
        return events

    # -- whose run they are --------------------------------------------------------------------

    def of_no_run(self, record: Members) -> None:
        """A message came whole and outside any run: one that is new may go on with it."""
        record["run"] = None

    def rebuilt(self, message_id: str, record: Members) -> list[Event]:
        """What the start of a message that is known means in a replay: it is built anew."""
        if record["run"] != self._runs.id or self._runs.is_rebuilt(message_id):
            return []
        self.drop_calls(message_id, record)
        self._runs.cool_all()
        record.update(text=False, parts=0, info={})
        record.pop("mixed", None)
        self._runs.holds_none(record)
        return [MessageReset(session_id=self._runs.session_id, message_id=message_id)]

    def named(self, name: str, record: Members | None) -> list[MessageUpdated]:
        """What it means that a run which is new brings a message or call again that was streamed
        outside any run: that it is that run, of which a stream that came late brought the rest.

        It is a replay from here on. What the late stream brought stands behind what came before.
        """
        runs = self._runs
        run = runs.id
        if record is None or not runs.may_be(name):
            return []
        if record["run"] == "":
            self.name(run)
            runs.is_told()
        elif record["run"] != run or runs.replay:
            return []
        brought = runs.follow()
        order, messages = self.order, self.messages
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
            messages[one]["order"] = _between(self.place(order[-1]), None)
            order.append(one)
        return [self.updated(one, messages[one]) for one in late]

    def name(self, run: str) -> None:
        """Say which run what was streamed outside any was of."""
        for one in (*self.messages.values(), *self.calls.values()):
            if one["run"] == "":
                one["run"] = run

    def repeats(self, event: Members) -> bool:
        """Whether a stream that came late comes to what another one has brought of its run, which
        that one started since."""
        since = self._runs.since
        if since is None:
            return False
        runs, made = self._runs.all, []
        for table, name in ((self.messages, "messageId"), (self.calls, "toolCallId")):
            if event.get(name) in table:
                made.append(table[event[name]]["run"])
        if event["type"] == "RUN_FINISHED":
            made.append(event["runId"])
        return any(runs.get(run, {}).get("first", -1) >= since for run in made)

    # -- old ones ------------------------------------------------------------------------------

    def forget_old(self, waiting: Callable[[], set[str]]) -> None:
        """Remember of the oldest messages their places alone: at a new run nothing is open.

        One look at all of them for every 512 that are new. Activities stay, patches apply to them,
        and calls that wait for an answer (`waiting`).
        """
        messages, order, run = self.messages, self.order, self._runs.id
        if len(messages) <= _MESSAGES + _MESSAGES // 8:
            return
        calls = waiting()
        over = len(messages) - _MESSAGES
        for message_id in order:
            record = messages.get(message_id)
            if over <= 0:
                break
            if record is None or record["role"] == "activity":
                continue
            if record["run"] == run or run in record.get("added", ()):
                continue  # a replay
            if not calls.isdisjoint(record["calls"]):
                continue
            over -= 1
            self._forget(message_id, record)
        self._bound_places()

    def forget_done(self) -> list[Event]:
        """As `forget_old`, while a run goes on: what it closes, as the end of the run would.

        One look at all of them for at least as many new ones as are left. A replay that comes to
        one of them builds it anew.
        """
        now, messages = self._runs.now, self.messages
        over, lost = len(messages) - _MESSAGES, []
        # The store knows of so many that were removed: one before may be a new one to it.
        known = set(self.order[-self._context.limits.tombstones :])
        for also in (False, True):  # those that wait, and activities
            for message_id in list(islice(self._to_forget(also), max(0, over))):
                over -= 1
                record = messages[message_id]
                self._forget(message_id, record)
                if record["role"] == "activity":  # nothing is done with its place alone
                    lost.append(message_id)
        self.lose(lost)
        gone = [message_id for message_id in now["opened"] if message_id not in messages]
        for message_id in gone:
            del now["opened"][message_id]
        closed: list[Event] = [self.closing(name) for name in gone if name in known]
        self._bound_places()
        forget_oldest(now["rebuilt"], _PLACES)
        self._runs.cool_all()
        self._most, self.full = max(_MOST, 2 * len(messages)), False
        return closed

    def _to_forget(self, also: bool) -> Iterator[str]:
        """Messages that are not streaming, the oldest first; `also`: what else is in progress."""
        calls, open_calls = self.calls, self._flow.open("tool")
        for message_id in self.order:
            record = self.messages.get(message_id)
            if record is None or self._flow.streams(message_id):
                continue
            own_calls = [call_id for call_id in record["calls"] if call_id in calls]
            if not open_calls.keys().isdisjoint(own_calls):
                continue
            if also or not (self.waits(record) or record["role"] == "activity"):
                yield message_id

    def _forget(self, message_id: str, record: Members) -> None:
        """Remember of a message its place alone."""
        self.drop_calls(message_id, record)
        del self.messages[message_id]
        self._old.setdefault(record["role"], {})[message_id] = record["order"]

    def _bound_places(self) -> None:
        order, messages = self.order, self.messages
        too_many = max(0, len(order) - len(messages) - _PLACES)
        self.lose(list(islice((name for name in order if name not in messages), too_many)))

    # -- events --------------------------------------------------------------------------------

    def block(self, cls: type[B], message_id: str, index: BlockIndex, **members: Any) -> B:
        """An event of one part of a message."""
        return cls(
            session_id=self._runs.session_id, message_id=message_id, block_index=index, **members
        )

    def opening(self, message_id: str, record: Members) -> MessageOpened:
        """A message that is there from here on, or that says now what it is."""
        return MessageOpened(
            session_id=self._runs.session_id,
            message_id=message_id,
            role=record["role"],
            order=record["order"],
            info=dict(record["info"]) or None,
        )

    def updated(self, message_id: str, record: Members) -> MessageUpdated:
        """All of a message's own members, as they are now."""
        return MessageUpdated(
            session_id=self._runs.session_id,
            message_id=message_id,
            role=record["role"] or None,
            order=record["order"],
            info=dict(record["info"]),
            whole=True,
        )

    def merged(self, message_id: str, record: Members, event: Members) -> list[Event]:
        """A message with the metadata of an event: key by key, the last one holds."""
        if "metadata" not in event:
            return []
        info = record["info"]
        info["metadata"] = {**info.get("metadata", {}), **thaw(event["metadata"])}
        return [self.updated(message_id, record)]

    def closing(
        self, message_id: str, status: str = "completed", error: Json = None
    ) -> MessageClosed:
        """The end of a message."""
        return MessageClosed(
            session_id=self._runs.session_id, message_id=message_id, status=status, error=error
        )

    def refused(self, message_id: str, text: str | None = None) -> list[Event]:
        """What the store refuses as a conflict: an activity stays as it is, and it is counted."""
        return [self.block(BlockReplaced, message_id, CONTENT, kind="text", text=text)]


def _between(before: float | None, after: float | None) -> float:
    """An order between two; whole numbers at the end, small steps inside."""
    if after is None:
        return 0 if before is None else math.floor(before) + 1
    if before is None:
        return math.ceil(after) - 1
    return before + min((after - before) / 2, _STEP)
