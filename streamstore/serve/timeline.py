"""When each event of a log is due, for one connection or for all that watch one replay.

Pure: times come in. Knows positions and times; no log, event or client.
"""

from __future__ import annotations

import math

import attrs


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
