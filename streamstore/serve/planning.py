"""What one connection is sent, byte for byte, and when: a generator of actions without I/O.

Events come in with the time at which they are due; out come bytes, waits and the end. Faults are
drawn from the generator of random numbers that is given. Knows no socket, clock, log or store: all
of it can be replayed without any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

import attrs

from .faults import STRETCH, Facts, Fault, Faults


class Due(NamedTuple):
    """An event of the stream, and when it is sent."""

    at_ms: float
    """On the clock of the one who sends; what lies in the past is sent at once."""
    body: bytes
    """Its frame with the blank line behind it, without an id."""
    event_id: str = ""
    """Its id; "" for none."""
    facts: Facts = Facts()
    """What may be done to it."""
    breaks: bool = False
    """No event at all: the connection breaks here, as it did when the log was recorded."""

    def frame(self, with_id: bool = True) -> bytes:
        r"""Its bytes.

        >>> Due(0, b"data: 1\n\n", "7").frame()
        b'id: 7\ndata: 1\n\n'
        """
        if not self.event_id or not with_id:
            return self.body
        return b"id: %b\n%b" % (self.event_id.encode("utf-8", "replace"), self.body)


class Send(NamedTuple):
    """Send these bytes; whoever does waits until the client takes them."""

    data: bytes


class Until(NamedTuple):
    """Wait until this time; not at all where it has passed."""

    at_ms: float


class Pause(NamedTuple):
    """Wait so long, whatever the time is."""

    ms: float


class Close(NamedTuple):
    """It is over: the body ends (`clean`), or the connection breaks."""

    clean: bool


Action: TypeAlias = Send | Until | Pause | Close


@attrs.frozen(kw_only=True)
class Around:
    """What is sent beside the events.

    Attributes:
        hello: at once.
        heartbeat: whenever nothing was sent for `heartbeat_ms`.
        heartbeat_ms: 0 for no heartbeats.
        farewell: behind the last event, where the connection ends there.
        closes: whether the connection ends behind the last event; otherwise it stays open, with
            heartbeats.
    """

    hello: bytes = b""
    heartbeat: bytes = b": heartbeat\n\n"
    heartbeat_ms: float = 10_000
    farewell: bytes = b""
    closes: bool = False


def plan(
    events: Iterable[Due],
    around: Around,
    *,
    now_ms: float,
    faults: Faults | None = None,
    random: Random | None = None,
) -> Iterator[Action]:
    r"""The actions of one connection that is opened at `now_ms`; endless where it stays open.

    Events are taken from `events` when their turn comes, at most `STRETCH` ahead. Nothing else is
    kept: whoever carries the actions out may take as long as the client does.

    >>> events = [Due(0, b"data: 1\n\n"), Due(25, b"data: 2\n\n")]
    >>> for action in plan(events, Around(heartbeat_ms=10, closes=True), now_ms=0): print(action)
    Send(data=b'data: 1\n\n')
    Until(at_ms=10)
    Send(data=b': heartbeat\n\n')
    Until(at_ms=20)
    Send(data=b': heartbeat\n\n')
    Until(at_ms=25)
    Send(data=b'data: 2\n\n')
    Close(clean=True)
    """
    return _Plan(iter(events), around, now_ms, faults, random or Random(0)).actions()


class _Plan:
    def __init__(
        self,
        events: Iterator[Due],
        around: Around,
        now_ms: float,
        faults: Faults | None,
        random: Random,
    ) -> None:
        self._events = events
        self._ahead: deque[Due] = deque()
        self._around = around
        self._now = now_ms  # when the last bytes go out, if nobody is slow
        self._faults = faults
        self._random = random
        self._recent: deque[Due] = deque(maxlen=STRETCH)
        self._left = 0
        self._broken = False
        self._again()

    def actions(self) -> Iterator[Action]:
        if self._around.hello:
            yield Send(self._around.hello)
        while (event := self._next()) is not None:
            yield from self._wait(event.at_ms)
            if event.breaks:
                yield Close(False)
                return
            fault = self._fault(event)
            if fault is None:
                yield from self._send(event)
            else:
                self._again()
                yield from self._spoil(fault, event)
            if self._broken:
                yield Close(False)
                return
        if self._around.closes:
            if self._around.farewell:
                yield Send(self._around.farewell)
            yield Close(True)
            return
        while self._around.heartbeat_ms:
            yield from self._beat(self._now + self._around.heartbeat_ms)
        yield Until(float("inf"))

    def _next(self) -> Due | None:
        return self._ahead.popleft() if self._ahead else next(self._events, None)

    def _wait(self, at_ms: float) -> Iterator[Action]:
        if self._around.heartbeat_ms:
            while at_ms > self._now + self._around.heartbeat_ms:
                yield from self._beat(self._now + self._around.heartbeat_ms)
        if at_ms > self._now:
            self._now = at_ms
            yield Until(at_ms)

    def _beat(self, at_ms: float) -> Iterator[Action]:
        self._now = at_ms
        yield Until(at_ms)
        yield Send(self._around.heartbeat)

    def _send(self, event: Due, with_id: bool = True) -> Iterator[Action]:
        self._recent.append(event)
        yield Send(event.frame(with_id))

    # -- faults ------------------------------------------------------------------------------------

    def _again(self) -> None:
        if self._faults is not None:
            self._left = self._random.randint(1, 2 * self._faults.every - 1)

    def _fault(self, event: Due) -> Fault | None:
        """What goes wrong at this event, if anything does."""
        faults = self._faults
        if faults is None or not faults.kinds:
            return None
        self._left -= 1
        if self._left > 0:
            return None
        kind = self._random.choice(sorted(faults.kinds))
        if kind == "dup" and not event.facts.repeatable:
            return None  # the next event may be one
        if kind == "reorder" and not event.facts.movable:
            return None
        return kind

    def _spoil(self, fault: Fault, event: Due) -> Iterator[Action]:
        if fault == "disconnect":
            data = event.frame()
            yield from _some(data[: self._random.randint(0, len(data))])
            self._broken = True
        elif fault == "stall":
            assert self._faults is not None
            data = event.frame()
            cut = self._random.randint(0, len(data))
            yield from _some(data[:cut])
            self._recent.append(event)
            self._now += self._faults.stall_ms
            yield Pause(self._faults.stall_ms)
            yield from _some(data[cut:])
        elif fault == "dup":
            yield from self._send(event)
            # Without ids: an older one would take the position back, behind what cannot be told.
            for again in self._repeatable():
                yield Send(again.frame(with_id=False))
        elif fault == "drop":
            yield from self._drop(event)
        else:
            yield from self._reorder(event)

    def _repeatable(self) -> Sequence[Due]:
        """The last events that were sent, as far back as each may be repeated."""
        found: list[Due] = []
        most = self._random.randint(1, STRETCH)
        for event in reversed(self._recent):
            if not event.facts.repeatable or len(found) == most:
                break
            found.append(event)
        return found[::-1]

    def _drop(self, event: Due) -> Iterator[Action]:
        for _ in range(self._random.randint(0, STRETCH)):
            later = self._next()
            if later is None or later.breaks:
                break
            if not event.event_id:
                continue  # it happens, and nobody hears of it
            if not (event.facts.missable and later.facts.movable):
                break
            yield Send(later.frame(with_id=False))
        self._broken = True

    def _reorder(self, event: Due) -> Iterator[Action]:
        stretch = [event]
        for _ in range(self._random.randint(1, STRETCH - 1)):
            later = self._next()
            if later is None:
                break
            if not later.facts.movable:
                self._ahead.append(later)
                break
            stretch.append(later)
        yield from self._wait(stretch[-1].at_ms)
        order = stretch[:]
        self._random.shuffle(order)
        self._recent.extend(order)
        # An id says that everything up to it was sent, which is so at the end of the stretch. In
        # one piece: a client that is lost in the middle would have to go back behind a hole.
        last = order[-1]._replace(event_id=stretch[-1].event_id)
        yield Send(b"".join(one.frame(with_id=False) for one in order[:-1]) + last.frame())


def _some(data: bytes) -> Iterator[Action]:
    if data:
        yield Send(data)
