"""A recorded log played into an inspector: as recorded, faster, one event or one tick at a time.

Decides which events are due at a time that is an argument; waits for nothing. Knows timed events
and the inspector; no screen and no file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from ..errors import StreamStoreError
from ..feeding import BREAKS_OFF, breaks_off
from ..logs import TimedEvent
from ..replay import AS_RECORDED, LONGEST_PAUSE_MS, Speed
from ..terminal import one_line
from .inspector import TICK_MS, Inspector

#: Events that one `pump` takes at most, so that the screen stays alive.
MOST_AT_ONCE = 500


class Source(Protocol):
    """Where events come from: a log that is played, or a server that is followed."""

    @property
    def paused(self) -> bool:
        """Whether nothing is taken in but by steps."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        ...

    @property
    def status(self) -> str:
        """How it is doing, in a few words; safe to print."""
        ...

    @property
    def pace(self) -> str:
        """How fast it goes, "" where that is not ours to say."""
        ...

    @property
    def held(self) -> tuple[int, int] | None:
        """Events and bytes that came and wait while it is paused; None where nothing waits."""
        ...

    def pause(self) -> None:
        """Take in nothing more."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...

    def pump(self, now: float) -> int:
        """Take in what is due at a time (ms); how many events that were."""
        ...

    def step_event(self) -> bool:
        """Take in the next event, whenever it is due; False where there is none."""
        ...

    def step_tick(self) -> bool:
        """Take in the next event, and all that came within a tick (16 ms) of it."""
        ...

    def change_speed(self, factor: float, now: float) -> None:
        """So many times as fast as now; inf for at once."""
        ...


class Waiting:
    """There is no more for now; there may be when it is asked for again."""


WAITING = Waiting()


class Said(NamedTuple):
    """What is to be said at this place: something happened to the log."""

    text: str


class LogSource:
    """Plays timed events, read one ahead.

    At a fitted speed (the default) no pause is longer than a second. None among them is the end of
    a connection: its stream ends there, and the next event is that of another one. Behind the last
    one the stream ends, too; notes say so. `WAITING` is no end: what comes later is due when it
    comes.

    >>> inspector = Inspector("native", clock=lambda: 0.0)
    >>> line = b'{"type": "message.opened", "messageId": "m"}\\n'
    >>> source = LogSource([TimedEvent(line, line, at) for at in (0, 100, 900)], inspector)
    >>> [source.pump(now) for now in (0, 50, 100, 2_000)], source.ended
    ([1, 0, 1, 1], True)
    """

    def __init__(
        self,
        events: Iterable[TimedEvent | Said | Waiting | None],
        inspector: Inspector,
        speed: Speed = AS_RECORDED,
    ) -> None:
        self._events: Iterator[TimedEvent | Said | Waiting | None] = iter(events)
        self._inspector = inspector
        self._speed = speed
        self._next: TimedEvent | None = None
        self._due: float | None = None  # when the next one is, on the clock of `now`
        self._taken_at = 0.0  # the last one, in the log's time and on that clock
        self._taken_due = 0.0
        self._begun = False
        self._between = False  # a connection ended before the next one
        self._waiting = False  # whether there was no more when it was asked last
        self._last: TimedEvent | None = None  # the piece that was taken last
        self.paused = False
        self.ended = False
        self.error: StreamStoreError | None = None
        """Why it ended before the log did."""

    @property
    def status(self) -> str:
        """`playing`, `waiting for more`, `paused`, `end of the log`, or why it ended before."""
        if self.error is not None:
            return one_line(str(self.error), 100)
        if self.ended:
            return "end of the log"
        if self.paused:
            return "paused"
        return "waiting for more" if self._waiting else "playing"

    @property
    def pace(self) -> str:
        """Such as `2x`, or `max`."""
        return "max" if math.isinf(self._speed.factor) else f"{self._speed.factor:g}x"

    @property
    def held(self) -> tuple[int, int] | None:
        """None: what is not played yet stays in the file."""
        return None

    def pause(self) -> None:
        """Stop where it is."""
        if not self.paused:
            self.paused = True
            self._inspector.settle()

    def resume(self) -> None:
        """Go on; the pause did not count."""
        if self.paused:
            self.paused = False
            self._due = None  # the next one is due now

    def change_speed(self, factor: float, now: float) -> None:
        """Between a hundredth and a thousand times as fast as recorded, or at once."""
        speed = self._speed.factor
        speed = 1.0 if math.isinf(speed) and factor < 1 else speed * factor
        if not math.isinf(speed):
            speed = min(max(speed, 0.01), 1000)
        self._speed = Speed(speed, self._speed.fitted)
        self._due = None if self._due is None else min(self._due, now + self._wait())

    def pump(self, now: float) -> int:
        """Take in what is due, at most `MOST_AT_ONCE` events."""
        taken = 0
        if self.paused or self.ended:
            return taken
        while taken < MOST_AT_ONCE and self._peek() is not None:
            if self._due is None:
                self._due = now
            if self._due > now:
                break
            due = self._due
            self._take()
            taken += 1
            # Late is late: what could not be taken in time does not come in a burst later on.
            self._taken_due = max(due, now - 1_000)
            self._due = self._taken_due + self._wait() if self._peek() is not None else None
        if self._next is not None and self._begun and not math.isinf(self._speed.factor):
            passed = (now - self._taken_due) * self._speed.factor
            self._inspector.pass_time(min(self._taken_at + max(0.0, passed), self._next.at))
        if taken and self._waiting:
            self._inspector.settle()
        return taken

    def step_event(self) -> bool:
        """Take in one event; it is visible at once."""
        if self.ended or self._peek() is None:
            return False
        self._take()
        self._due = None
        self._peek()
        self._inspector.settle()
        return True

    def step_tick(self) -> bool:
        """Take in what one tick would have shown."""
        first = None if self.ended else self._peek()
        if first is None:
            return False
        taken = 0
        while (event := self._peek()) is not None and event.at < first.at + TICK_MS:
            self._take()
            taken += 1
            if taken >= MOST_AT_ONCE:
                break
        self._due = None
        self._inspector.settle()
        return True

    def _peek(self) -> TimedEvent | None:
        if self._next is None and not self.ended:
            try:
                for event in self._events:
                    self._waiting = event is WAITING
                    if self._waiting:
                        return None
                    if isinstance(event, TimedEvent):
                        self._next = event
                        break
                    if isinstance(event, Said):
                        self._between = False
                        self._inspector.note(one_line(event.text, 120))
                        self._inspector.settle()
                    else:
                        self._between = self._begun
            except StreamStoreError as error:
                self.error = error
            if self._next is None:
                self._end("end of the log")
        return self._next

    def _end(self, why: str) -> None:
        self.ended, self._next, self._waiting = True, None, False
        self._note_half()
        if self.error is not None:
            why = one_line(str(self.error), 80)
        self._inspector.note(why)
        self._inspector.settle()

    def _note_half(self) -> None:
        if breaks_off(self._last, self._inspector.known_protocol):
            self._inspector.note(BREAKS_OFF)

    def _take(self) -> None:
        event, self._next = self._next, None
        assert event is not None
        self._begun = True
        self._taken_at = event.at
        if self._between:
            self._between = False
            self._note_half()
            self._inspector.note("connection ended")
        self._last, data = event, event.data
        if event.says is None:
            return  # no event, or half of one, which counts as none
        if not data.endswith(b"\n"):
            data += b"\n"  # the last line of JSON lines: it counts, and its row says as what
        try:
            self._inspector.take(data, event.at)
        except StreamStoreError as error:
            self.error = error
            self._end("")

    def _wait(self) -> float:
        """Ms from the last event to the next one at this speed."""
        if self._next is None or not self._begun or math.isinf(self._speed.factor):
            return 0.0
        wait = max(0.0, self._next.at - self._taken_at)
        if self._speed.fitted:
            wait = min(wait, LONGEST_PAUSE_MS)
        return wait / self._speed.factor
