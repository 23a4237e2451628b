"""What the laws promise for each event of a log: which may come twice, which change places.

Reads events through an adapter, in the order of the log, and applies to them how each type is
merged (`docs/events.md`) and what their sequencing allows (`docs/laws.md`). May not know a store: a
promise must not depend on what the store under test does.

Two events *contradict* each other when the first arrival wins by its law, or the last one does;
they keep their order. Where this file is in doubt it promises less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

from ..adapters.base import MAIN, Adapter, Context, Declaration
from ..errors import RemoteError
from ..events import (
    BlockDelta,
    BlockEvent,
    BlockOpened,
    BlockRemoved,
    BlockReplaced,
    BlockSnapshot,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageRollback,
    MessageUpdated,
    RequestAnswered,
    RequestAsked,
    SessionDiff,
    SessionRemoved,
    SessionState,
    SessionStatus,
    SessionUpdated,
    Snapshot,
    StreamOpened,
    StreamSynchronized,
    TodoUpdated,
    ToolResult,
    TurnCompleted,
    TurnStarted,
)
from ..limits import Limits
from ..model import Sequencing
from ..protocols import adapter_named
from .recorded import Log, Unreadable

#: Events that share a lane keep their order if one of them is fixed on it.
Lane: TypeAlias = tuple[Any, ...]

_MESSAGE_EVENTS = (
    MessageOpened,
    MessageUpdated,
    MessageClosed,
    MessageRemoved,
    MessageReset,
    MessageRollback,
)

#: Sent again in order, without a seq, these end where they ended before.
_SETTLING = (
    StreamSynchronized,
    SessionUpdated,
    SessionStatus,
    SessionDiff,
    TodoUpdated,
    MessageOpened,
    MessageUpdated,
    MessageClosed,
    BlockOpened,
    BlockUpdated,
    TurnStarted,
    TurnCompleted,
    RequestAsked,
    RequestAnswered,
)

#: A snapshot keeps its order against each event of its session: more of them are one barrier each.
_SNAPSHOTS = 50


@attrs.frozen
class Fact:
    """What is promised for one event of a log.

    Attributes:
        events: what the adapter makes of it; () for what it ignores or cannot read.
        mode: the sequencing of its stream when it came.
        sessions: ids of the sessions it is about.
        barrier: nothing may pass it, in either direction.
        declares: it says how what follows is to be read.
        provable: fed again, it is known as a duplicate.
        resendable: it may be sent again together with everything behind it.
        lanes: what it may not overtake: lane and whether it is fixed on it.
    """

    events: tuple[Event, ...]
    mode: Sequencing
    sessions: tuple[str, ...]
    barrier: bool
    declares: bool
    provable: bool
    resendable: bool
    lanes: tuple[tuple[Lane, bool], ...]

    @property
    def positioned(self) -> bool:
        """Whether a seq says where its events belong."""
        return (
            bool(self.events)
            and self.mode != "none"
            and any(event.seq is not None for event in self.events)
        )

    @property
    def arrival(self) -> bool:
        """Whether nothing but the order of arrival says where a text of it belongs."""
        return self.mode == "none" or (
            self.mode != "block"
            and any(isinstance(e, BlockEvent) and e.seq is None for e in self.events)
        )


@attrs.frozen(eq=False)
class Facts:
    """What is promised for a log.

    Attributes:
        log: the log itself.
        declaration: what its protocol says of itself.
        each: one `Fact` per event.
        stateless: every event means the same whatever came before it.
        reach: an event may move over so many others where it has a place by its seq.
        memory: so many events later a repetition is known by its id, or by its seq in a stream
            without a window.
    """

    log: Log
    declaration: Declaration
    each: tuple[Fact, ...]
    stateless: bool
    reach: int
    memory: int

    def segments(self) -> list[range]:
        """Stretches of the log without a barrier; each barrier is a stretch of its own."""
        found: list[range] = []
        start = 0
        for place, fact in enumerate(self.each):
            if fact.barrier:
                if place > start:
                    found.append(range(start, place))
                found.append(range(place, place + 1))
                start = place + 1
        if start < len(self.each):
            found.append(range(start, len(self.each)))
        return found

    def exchangeable(self, first: int, second: int) -> bool:
        """Whether two events that follow one another may change places."""
        one, other = self.each[first], self.each[second]
        if one.barrier or other.barrier or "none" in (one.mode, other.mode) or not self.stateless:
            return False
        lanes = dict(other.lanes)
        return not any(fixed or lanes[lane] for lane, fixed in one.lanes if lane in lanes)

    @property
    def orderable(self) -> bool:
        """Whether some events may change places."""
        return any(
            sum(1 for place in segment if self.each[place].positioned) > 1
            for segment in self.segments()
        )

    @property
    def numbered(self) -> bool:
        """Whether a session's seq says where to resume: all that changes a session has one."""
        return all(
            fact.mode == "session" and all(event.seq is not None for event in fact.events)
            for fact in self.each
            if fact.events and not fact.declares
        )

    @property
    def provable(self) -> bool:
        """Whether some event may come twice."""
        return any(fact.provable for fact in self.each)

    def means_the_same(self, order: Sequence[int]) -> bool:
        """Whether the adapter makes the same of every event in another order, or from within.

        Linear for a protocol whose events depend on each other, free for the others.
        """
        if self.stateless:
            return True
        adapter = adapter_named(self.log.protocol)(Context())
        return all(
            decode(adapter, self.log.wires[place]) == self.each[place].events for place in order
        )


def facts_of(log: Log, limits: Limits | None = None) -> Facts:
    """What the laws promise for a log. Linear."""
    limits = limits or Limits()
    cls = adapter_named(log.protocol)
    declared = cls.declaration
    mode: Sequencing = log.sequencing or declared.sequencing
    running = cls(Context())
    read: list[tuple[tuple[Event, ...], Sequencing]] = []
    stateless = True
    for wire in log.wires:
        events = decode(running, wire)
        stateless = stateless and decode(cls(Context()), wire) == events
        for event in events:
            if isinstance(event, StreamOpened) and event.sequencing is not None:
                mode = event.sequencing  # type: ignore[assignment]
        read.append((events, mode))
    found = _Contradictions(read)
    window = any(mode in ("sparse", "session") for _, mode in read)
    return Facts(
        log=log,
        declaration=declared,
        each=tuple(_fact(place, *entry, declared, found) for place, entry in enumerate(read)),
        stateless=stateless,
        # Half of a bound and less: what is moved may be overtaken, too.
        reach=max(1, limits.late_window // 4 if window else limits.held_operations // 2),
        memory=max(1, limits.event_ids // 2),
    )


def first_sequencing(log: Log) -> Sequencing:
    """The sequencing of a log's first event: what was said for it, or what it opens with."""
    if not log.wires:
        return log.sequencing or adapter_named(log.protocol).declaration.sequencing
    return facts_of(log.pick([0])).each[0].mode


def decode(adapter: Adapter, wire: Any) -> tuple[Event, ...]:
    """What an adapter makes of a wire object; () where it ignores it or cannot read it."""
    if isinstance(wire, Unreadable):
        return ()
    try:
        return tuple(adapter.decode(wire))
    except (RemoteError, RecursionError):
        return ()


def text_of(event: Event) -> str:
    """The text that an event carries, "" for none."""
    return getattr(event, "text", None) or ""


def session_of(event: Event) -> str:
    """Id of the session an event is about, in a stream that was opened without one."""
    return event.session_id or MAIN


# --- one event ------------------------------------------------------------------------------------


class _Contradictions:
    """What contradicts something else in a log: kinds, endings, questions, seqs used twice."""

    def __init__(self, read: Iterable[tuple[tuple[Event, ...], Sequencing]]) -> None:
        kinds: dict[Lane, set[str]] = {}
        self.endings: Counter[Lane] = Counter()
        self.asked: Counter[Lane] = Counter()
        self.seqs: Counter[Lane] = Counter()
        self.snapshots: list[tuple[int, str, int]] = []
        for place, (events, mode) in enumerate(read):
            for event in events:
                session = session_of(event)
                kind = getattr(event, "kind", None)
                if isinstance(event, BlockEvent) and kind is not None:
                    block = (session, event.message_id, event.block_index)
                    kinds.setdefault(block, set()).add(kind)
                elif isinstance(event, MessageClosed):
                    self.endings[session, event.message_id] += 1
                elif isinstance(event, RequestAsked):
                    self.asked[session, event.request_id] += 1
                elif isinstance(event, Snapshot) and _positioned(event, mode):
                    assert event.seq is not None
                    self.snapshots.append((place, session, event.seq))
            for scope in {seq_scope(event, mode) for event in events if event.seq is not None}:
                self.seqs[scope] += 1
        self.kinds = {block for block, names in kinds.items() if len(names) > 1}
        if len(self.snapshots) > _SNAPSHOTS:
            self.snapshots = []


def seq_scope(event: Event, mode: Sequencing) -> Lane:
    """What a seq is unique in, with the seq: of two events with the same scope the first holds."""
    session, seq = session_of(event), event.seq
    if isinstance(event, Snapshot | BlockSnapshot):
        # A position, which an operation may have, too.
        index = getattr(event, "block_index", None)
        return (session, getattr(event, "message_id", None), index, event.type, seq)
    if mode == "session":
        return (session, seq)
    if isinstance(event, BlockEvent):
        counted = mode == "sparse" or isinstance(event, BlockDelta | BlockReplaced)
        kind = "" if counted else event.type
        return (session, event.message_id, event.block_index, kind, seq)
    if isinstance(event, _MESSAGE_EVENTS):
        return (session, event.message_id, seq)
    return (session, seq)


def _positioned(event: Event, mode: Sequencing) -> bool:
    return event.seq is not None and mode in ("session", "sparse")


def _is_barrier(event: Event, mode: Sequencing, found: _Contradictions) -> bool:
    if isinstance(event, StreamOpened | MessageRollback | SessionRemoved):
        return True
    if isinstance(event, Snapshot):
        plain = event.generation is None and event.read_from is None
        return not (plain and _positioned(event, mode) and found.snapshots)
    if mode == "none" or _positioned(event, mode):
        return False
    if isinstance(event, MessageReset | ToolResult):
        return True
    return mode != "block" and isinstance(event, MessageRemoved | BlockRemoved)


def _fact(
    place: int,
    events: tuple[Event, ...],
    mode: Sequencing,
    declared: Declaration,
    found: _Contradictions,
) -> Fact:
    barrier = any(_is_barrier(event, mode, found) for event in events)
    provable = bool(events) and not barrier and _is_provable(events, mode, declared)
    resendable = provable or all(_settles(event, mode) for event in events)
    lanes: dict[Lane, bool] = {}
    for event in events:
        for lane, fixed in _lanes(place, event, mode, found):
            lanes[lane] = lanes.get(lane, False) or fixed
    return Fact(
        events=events,
        mode=mode,
        sessions=tuple(
            dict.fromkeys(
                session_of(event)
                for event in events
                if not isinstance(event, StreamOpened | StreamSynchronized)
            )
        ),
        barrier=barrier,
        declares=any(isinstance(event, StreamOpened) for event in events),
        provable=provable,
        resendable=resendable,
        lanes=tuple(lanes.items()),
    )


def _is_provable(events: Sequence[Event], mode: Sequencing, declared: Declaration) -> bool:
    first = events[0]
    if isinstance(first, StreamSynchronized):
        return False
    if first.seq is not None and mode != "none":
        # The others ride along with it: of a duplicate they are not taken either.
        return True
    return declared.ids_unique and first.id is not None


def _settles(event: Event, mode: Sequencing) -> bool:
    if isinstance(event, StreamOpened):
        return event.generation is None
    if isinstance(event, _SETTLING):
        return True
    if isinstance(event, SessionState):
        return event.patch is None
    if event.type == "block.closed":
        return mode != "none"
    return mode == "block" and isinstance(event, MessageRemoved | BlockRemoved)


def _lanes(
    place: int, event: Event, mode: Sequencing, found: _Contradictions
) -> Iterator[tuple[Lane, bool]]:
    """The lanes of an event, by the merging laws of section 2."""
    session = session_of(event)
    if mode == "none":
        yield ("arrival",), True  # one order for all: there is no other
        return
    if isinstance(event, StreamOpened | StreamSynchronized):
        yield ("stream",), True
        return
    unnumbered = event.seq is None
    if not unnumbered:
        scope = seq_scope(event, mode)
        if found.seqs[scope] > 1:
            yield ("seq", *scope), True  # the first one seen holds
    if isinstance(event, Snapshot):
        yield ("snapshots", session), True
        for at, _, _ in found.snapshots:
            if at == place:
                yield ("snapshot", at), True
        return
    for at, covered, seq in found.snapshots:
        if covered == session and not _free_of(event, seq):
            yield ("snapshot", at), False
    if isinstance(event, BlockEvent):
        yield from _block_lanes(event, mode, found, session)
    elif isinstance(event, _MESSAGE_EVENTS):
        yield from _message_lanes(event, mode, found, session)
    elif isinstance(event, RequestAsked | RequestAnswered):
        twice = found.asked[session, event.request_id] > 1
        yield ("request", session, event.request_id), unnumbered or twice
    elif isinstance(event, TurnStarted | TurnCompleted):
        yield ("turn", session), True
    elif isinstance(event, SessionState):
        yield ("state", session), True  # patches do not commute
    else:
        yield ("session", session, event.type), unnumbered


def _free_of(event: Event, seq: int) -> bool:
    """Whether an event and a snapshot at `seq` may come in any order."""
    if event.seq is None:
        return False
    return event.seq > seq or isinstance(event, BlockDelta)


def _block_lanes(
    event: BlockEvent, mode: Sequencing, found: _Contradictions, session: str
) -> Iterator[tuple[Lane, bool]]:
    block = (session, event.message_id, event.block_index)
    unnumbered = event.seq is None
    if getattr(event, "kind", None) is not None:
        yield ("kind", *block), block in found.kinds
    if mode != "block":
        # Without a seq it is treated as in `none`: by arrival, for its whole message.
        yield ("message", session, event.message_id), unnumbered
    elif isinstance(event, BlockOpened | BlockReplaced | BlockUpdated):
        # In a `block` stream a field without seq is last-arrival; one with a seq is not.
        whole = getattr(event, "whole", False)
        if event.fields or event.order is not None or whole:
            yield ("fields", *block), unnumbered


def _message_lanes(
    event: Event, mode: Sequencing, found: _Contradictions, session: str
) -> Iterator[tuple[Lane, bool]]:
    assert isinstance(event, _MESSAGE_EVENTS)
    message = (session, event.message_id)
    unnumbered = event.seq is None
    if isinstance(event, MessageClosed):
        yield ("ending", *message), found.endings[message] > 1
    if mode != "block":
        yield ("message", *message), unnumbered or isinstance(event, MessageReset)
    elif isinstance(event, MessageOpened | MessageUpdated):
        yield ("own", *message), unnumbered
