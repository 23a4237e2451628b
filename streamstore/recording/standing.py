"""How a recording is doing, as values and as lines of text. Pure: times come in as arguments."""

from __future__ import annotations

from collections import deque

import attrs

from ..terminal import one_line

#: The rate is that of the last so many ms.
WINDOW_MS = 10_000.0


@attrs.frozen(kw_only=True)
class Standing:
    """How a recording is doing.

    Attributes:
        state: of the connection: `connecting`, `open`, `waiting`, `ended`.
        reason: why it waits or has ended.
        wait_ms: how long it waits.
        waited_for: why it waited when it was ended; "" where it did not.
        ms: since the recording began.
        events: recorded since then.
        size: bytes of their data.
        rate: events a second, of the last `WINDOW_MS`.
        connections: connections that brought a byte.
        reconnects: attempts after the first.
        unrepaired: of those that came to be, how many could not go on where the one before ended:
            what was sent meanwhile is lost.
        gaps: what is missing in what came: holes, parts that were cut; of sessions that were let
            go, what was missing then.
        let_go: sessions of which only the log knows any more, so that the memory has a bound.
        blind: why nobody knows of gaps: no protocol was recognised, say; "" where it is known.
        skipped: events that were too long for a log.
        large: recorded events that a store with the usual limits leaves out: a line of theirs is
            too long.
        position: of the last record that was written, which a log that failed may have lost.
        durable_position: of the last one that would survive a loss of power.
    """

    state: str = "connecting"
    reason: str = ""
    wait_ms: float = 0
    waited_for: str = ""
    ms: float = 0
    events: int = 0
    size: int = 0
    rate: float = 0
    connections: int = 0
    reconnects: int = 0
    unrepaired: int = 0
    gaps: int = 0
    let_go: int = 0
    blind: str = ""
    skipped: int = 0
    large: int = 0
    position: int = 0
    durable_position: int = 0

    def line(self) -> str:
        """On one line, ASCII, safe to print; what matters most stands first.

        >>> Standing(state="open", events=1200, size=34_567, rate=12.34, connections=1).line()
        'open: 1,200 events (34.6 kB), 12.3/s, connection 1, 0 gaps'
        """
        state = self.state
        if self.wait_ms:
            state += f" {self.wait_ms / 1000:.1f} s"
        parts = [
            f"{state}: {_count(self.events, 'event')} ({_size(self.size)})",
            f"{self.rate:.1f}/s",
            f"connection {self.connections}",
            *self._troubles(),
        ]
        if self.reason:
            parts.append(self.reason)
        return _ascii(", ".join(parts))

    def summary(self, path: str) -> str:
        """What was recorded, when it is over; only what is safe on the disk counts.

        >>> print(Standing(events=2, size=10, connections=1, ms=61_500, position=5,
        ...                durable_position=5).summary("a.db"))
        a.db: 2 events (10 B) of 1 connection in 1 min 1.5 s, 0 gaps; positions 4 to 5 are safe
        """
        lost = self.position - self.durable_position
        kept = self.events - lost
        safe = "nothing new"
        if kept > 0:
            first, last = self.position - self.events + 1, self.durable_position
            safe = f"position {last} is safe" if first == last else (
                f"positions {first} to {last} are safe"
            )  # fmt: skip
        count = _count(max(0, kept), "event")
        troubles = ", ".join(self._troubles())
        waited = f"; waiting at its end: {self.waited_for}" if self.waited_for else ""
        size = "" if lost else f" ({_size(self.size)})"  # how much of it was lost nobody knows
        return _ascii(
            f"{path}: {count}{size} of {_count(self.connections, 'connection')} in "
            f"{_duration(self.ms)}, {troubles}; {safe}{waited}"
        )

    def _troubles(self) -> list[str]:
        parts = ["gaps unknown" if self.blind else _count(self.gaps, "gap")]
        if self.reconnects:
            parts.append(_count(self.reconnects, "reconnect"))
        if self.unrepaired:
            parts.append(f"{self.unrepaired} of them not resumed")
        if self.skipped:
            parts.append(f"{_count(self.skipped, 'event')} too long to keep")
        if self.large:
            parts.append(f"{_count(self.large, 'event')} too long for a store's usual limits")
        return parts


class Rate:
    """Events a second over the last `WINDOW_MS`; holds what was noted in that time.

    >>> rate = Rate()
    >>> rate.note(0, 0), rate.note(2_000, 10), rate.note(12_000, 10)
    (0.0, 5.0, 0.0)
    """

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()

    def note(self, now: float, events: int) -> float:
        """The rate now, when there were so many events altogether."""
        noted = self._noted
        noted.append((now, events))
        while now - noted[0][0] > WINDOW_MS:
            noted.popleft()
        since, before = noted[0]
        return (events - before) * 1000 / (now - since) if now > since else 0.0


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _duration(ms: float) -> str:
    minutes, seconds = divmod(ms / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds:.1f} s" if minutes else f"{seconds:.1f} s"


def _ascii(text: str) -> str:
    """Safe to print wherever it is printed, and as wide as it is long."""
    return one_line(text, 1000).encode("ascii", "backslashreplace").decode()
