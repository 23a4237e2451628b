"""When each event of a log is due, for one connection or for all that watch one replay.

Pure: times come in. Knows positions and times; no log, event or client.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import attrs

#: No pause of the log is waited for longer, in ms of its own time: tools and thinking take minutes,
#: a laptop that slept takes hours.
LONGEST_PAUSE_MS = 300_000.0


class Moment(NamedTuple):
    """A time of the log, and what it is where pauses are no longer than `longest_ms`.

    >>> later = Moment.first(1_000, longest_ms=50).then(1_020).then(99_000)
    >>> later.log_ms, later.at_ms
    (99000, 1070)
    """

    longest_ms: float
    """Of the pause between two events."""
    log_ms: float
    """As the log says."""
    at_ms: float
    """Without what was longer in the pauses before it."""

    @classmethod
    def first(cls, log_ms: float, longest_ms: float) -> Moment:
        """Where it begins: nothing was cut out before."""
        return cls(longest_ms, log_ms, log_ms)

    def then(self, log_ms: float) -> Moment:
        """The moment of the next event."""
        pause = min(max(0.0, log_ms - self.log_ms), self.longest_ms)
        return Moment(self.longest_ms, log_ms, self.at_ms + pause)


@attrs.frozen
class Pace:
    """The log's times as times of the clock: from `start_ms` on, `speed` times as fast.

    `speed` inf is as fast as the client takes it: everything is due at once.

    >>> Pace(1_000, 0, 2).due(500)
    1250.0
    """

    start_ms: float
    """Of the clock."""
    first_ms: float
    """Of the log: what is due at the start."""
    speed: float

    def due(self, at_ms: float) -> float:
        """When an event is due that came at this time of the log."""
        if math.isinf(self.speed):
            return self.start_ms
        return self.start_ms + max(0.0, at_ms - self.first_ms) / self.speed

    @property
    def at_once(self) -> bool:
        """Whether nothing is waited for."""
        return math.isinf(self.speed)
