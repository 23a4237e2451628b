"""Replays of one log: who asks gets events from a position on, and for opencode the state then.

- `OwnReplay`: each connection plays the log for itself, from its beginning or from behind the
  position it names. For everything that can be resumed, or is one answer to one request.
- `SharedReplay`: one run of time for all who watch it, as a live server has. It starts with the
  first connection; who comes later joins where it is, and fetches the state. For opencode, whose
  events cannot be asked for again.

Time comes in as an argument. Knows tapes, plans and a store for the state; no socket and no task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import attrs

from ..adapters.opencode import OpencodeAdapter
from ..log import LogError
from ..pipeline import StreamStore
from . import opencode
from .faults import Faults, facts_of
from .planning import Action, Around, Due, plan
from .tape import Tape, Taped
from .timeline import LONGEST_PAUSE_MS, Moment, Pace

#: Between two rounds of `--loop`, in ms of the log's time.
LOOP_PAUSE_MS = 1_000.0
#: Protocols of which one stream is the answer to one request: it ends where the log does.
ANSWERS = frozenset(
    "anthropic openai-chat openai-responses vercel-ui ag-ui pydantic-ai langchain a2a".split()
)


@attrs.frozen(kw_only=True)
class Settings:
    """How logs are replayed; see `serving`."""

    speed: float = 1.0
    longest_pause_ms: float = LONGEST_PAUSE_MS
    loop: bool = False
    faults: Faults | None = None
    heartbeat_ms: float = 10_000
    closes: bool = False


@attrs.frozen(kw_only=True)
class Wish:
    """What a connection asks for.

    Attributes:
        event_id: `Last-Event-ID`, "" for none.
        number: the protocol's own number of the last event that the client has.
        wrapped: events in the envelope of `/global/event`.
    """

    event_id: str = ""
    number: int | None = None
    wrapped: bool = False


class _Replay:
    """One replay, by name: everything that is not told apart by it is shared.

    Attributes:
        busy: connections that are open.
    """

    def __init__(self, name: str, tape: Tape, settings: Settings) -> None:
        self.busy = 0
        self._name = name
        self._tape = tape
        self._settings = settings
        self._connections = 0
        self._facts = facts_of(tape.declaration, tape.sequencing, tape.adds_up)

    def _random(self) -> Random | None:
        """The chance of the next connection: its own, whatever the others do."""
        faults = self._settings.faults
        self._connections += 1
        if faults is None:
            return None
        return Random(f"{faults.seed}/{self._name}/{self._connections}")


class OwnReplay(_Replay):
    """See the module."""

    def connect(self, wish: Wish, now_ms: float) -> Iterator[Action]:
        """What one connection is sent; a plan that takes events when they are due."""
        after = self._after(wish)
        around = Around(
            hello=self._tape.opening(after),
            heartbeat_ms=self._settings.heartbeat_ms,
            farewell=self._tape.tail,
            closes=self._settings.closes,
        )
        return plan(
            self._events(after, now_ms),
            around,
            now_ms=now_ms,
            faults=self._settings.faults,
            random=self._random(),
        )

    def _after(self, wish: Wish) -> int:
        """The position that a client has; what it names and nobody knows is the beginning."""
        if wish.event_id:
            return self._tape.after(wish.event_id) or 0
        return 0 if wish.number is None else self._tape.after_number(wish.number)

    def _events(self, after: int, now_ms: float) -> Iterator[Due]:
        spoiled = self._settings.faults is not None
        pace: Pace | None = None
        shift = 0.0
        # The one that the client has says when the next one is due.
        start = max(0, after - 1)
        again: float | None = None  # when the next round begins
        longest_ms = self._settings.longest_pause_ms
        while True:
            at = 0.0
            moment: Moment | None = None
            for event in self._tape.events(start):
                if moment is None:
                    moment = Moment.first(event.at_ms, longest_ms)
                else:
                    moment = moment.then(event.at_ms)
                if again is not None:
                    shift, again = again - moment.at_ms, None
                at = moment.at_ms + shift
                if pace is None:
                    pace = Pace(now_ms, at, self._settings.speed)
                if event.position <= after:
                    continue
                due = pace.due(at)
                facts = self._facts(event.wire()) if spoiled else self._facts(None)
                yield Due(due, event.body, event.event_id, facts)
            if not self._settings.loop:
                return
            if moment is None and not start:
                # None of it can be read any more: its rounds would follow each other for ever.
                yield Due(now_ms, b"", breaks=True)
                return
            again = at + LOOP_PAUSE_MS
            after = start = 0


class SharedReplay(_Replay):
    """See the module. Its state is that of the events up to where it is, as the server keeps it."""

    def __init__(self, name: str, tape: Tape, settings: Settings) -> None:
        super().__init__(name, tape, settings)
        self._directory = _directory(tape)
        self._round = 0
        self._pace: Pace | None = None
        self._begin()

    def _begin(self) -> None:
        self._head = 0
        self._upcoming = self._tape.events()
        self._next: Taped | None = next(self._upcoming, None)
        # Of the next event, and of the one before it; for the first one its own.
        first = 0.0 if self._next is None else self._next.at_ms
        self._moment = self._at_head = Moment.first(first, self._settings.longest_pause_ms)
        self._store = StreamStore("opencode", ticks="manual")
        self._stream = self._store.open("opencode")
        self._states = list(self._tape.states)
        self._known: Mapping[str, Any] | None = None
        self._load_states()

    def connect(self, wish: Wish, now_ms: float) -> Iterator[Action]:
        """What one connection is sent; a plan that takes events when they are due."""
        self._publish(now_ms)
        if self._pace is None or (self._settings.loop and self._next is None):
            if self._pace is not None:
                self._begin()
            self._round += 1
            self._pace = Pace(now_ms, self._moment.at_ms, self._settings.speed)
            self._publish(now_ms)
        around = Around(
            hello=opencode.greeting(wish.wrapped),
            heartbeat=opencode.heartbeat(wish.wrapped),
            heartbeat_ms=self._settings.heartbeat_ms,
            farewell=opencode.farewell(wish.wrapped),
            closes=self._settings.closes or self._settings.loop,
        )
        return plan(
            self._events(self._head, self._at_head, self._round, self._pace, wish.wrapped),
            around,
            now_ms=now_ms,
            faults=self._settings.faults,
            random=self._random(),
        )

    def state(self, now_ms: float) -> Mapping[str, Any]:
        """What the server's reads give now."""
        self._publish(now_ms)
        known = self._known
        if known is None:
            self._store.flush()
            found: Any = OpencodeAdapter().encode(self._store)
            known = self._known = dict(found)
        return known

    def _events(
        self, after: int, moment: Moment, round: int, pace: Pace, wrapped: bool
    ) -> Iterator[Due]:
        connection: int | None = None
        for event in self._tape.events(after):
            moment = moment.then(event.at_ms)
            if connection not in (None, event.connection):
                # What came between two recorded connections only a read of the state can bring.
                yield Due(pace.due(moment.at_ms), b"", breaks=True)
                return
            connection = event.connection
            if pace.at_once and round == self._round:
                # Nothing happens before somebody watches; what is taken has happened.
                self._publish_to(event.position)
            wire = event.wire()
            inner = opencode.event_of(wire) or {}
            if inner.get("type") in opencode.OF_CONNECTION:
                continue
            sent = opencode.enveloped(wire, wrapped, self._directory)
            if sent is None:
                continue
            body = event.body if sent is wire else opencode.frame(sent)
            yield Due(pace.due(moment.at_ms), _numbered(body, inner, round), "", self._facts(wire))

    # -- what has happened -------------------------------------------------------------------------

    def _publish(self, now_ms: float) -> None:
        if self._pace is None or self._pace.at_once:
            return
        while self._next is not None and self._pace.due(self._moment.at_ms) <= now_ms:
            self._take(self._next)

    def _publish_to(self, position: int) -> None:
        while self._next is not None and self._next.position <= position:
            self._take(self._next)

    def _take(self, event: Taped) -> None:
        try:
            following = next(self._upcoming, None)
        except LogError:
            self._upcoming = self._tape.events(event.position)
            raise  # nothing of it has happened
        self._head = event.position
        self._known = None
        wire = event.wire()
        inner = opencode.event_of(wire)
        if inner is not None and inner.get("type") not in (opencode.NEVER_STORED, "sync"):
            self._stream.ingest(wire)
        self._load_states()
        self._next = following
        self._at_head = self._moment
        if following is not None:
            self._moment = self._moment.then(following.at_ms)

    def _load_states(self) -> None:
        while self._states and self._states[0][0] <= self._head:
            self._stream.ingest(self._states.pop(0)[1])


def _numbered(body: bytes, inner: Mapping[str, Any], round: int) -> bytes:
    """A later round's events are other events: with ids of their own, behind those before."""
    event_id = inner.get("id")
    if round < 2 or type(event_id) is not str or not event_id.startswith("evt_"):
        return body
    # The id proper starts with hexadecimal digits of the time, which sort before this letter.
    later = f"evt_z{round:06}_{event_id[4:]}"
    return body.replace(event_id.encode(), later.encode())


def _directory(tape: Tape) -> str | None:
    """The project of the log's first session, for envelopes that it lacks."""
    for event in tape.events():
        if b'"directory"' in event.body:
            wire = event.wire()
            inner = opencode.event_of(wire) or {}
            properties = inner.get("properties")
            info = properties.get("info") if isinstance(properties, dict) else None
            for found in (wire, info):
                if isinstance(found, dict) and type(found.get("directory")) is str:
                    directory: str = found["directory"]
                    return directory
        if event.position > 100:
            break
    return None
