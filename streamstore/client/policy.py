"""When to try again, and when to give up: every number of the client, and pure rules over them.

Time and chance come in as arguments. Knows no transport, no store and no task.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

from ..errors import CallerError

_SECONDS = re.compile(r"[0-9]{1,18}")


def _positive(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        raise CallerError(f"Policy.{attribute.name} must be a number above 0, not {value!r}")


def _number(default: float) -> float:
    field: float = attrs.field(default=default, validator=_positive)
    return field


def _count(default: int) -> int:
    field: int = attrs.field(default=default, validator=_positive)
    return field


@attrs.frozen(kw_only=True)
class Policy:
    """Delays and bounds of a connection; times in ms.

    Attributes:
        first_delay_ms: wait before the first new attempt; it doubles with every further one. A
            server's `retry:` takes its place.
        most_delay_ms: where the doubling ends. Chance takes up to a third off each wait, but
            never below the first delay.
        healthy_ms: so long a connection must have lived, from its opening to its last byte, for
            the next wait to be a first one again. A server that accepts and drops is not healthy.
        least_asked_ms, most_asked_ms: `Retry-After` and `retry:` are honoured between these.
        heartbeat_ms: how often the server is known to send something; None: not known.
        beats: so many heartbeats without a byte, and the connection counts as dead.
        silence_ms: the same where no heartbeat is known. A comment is a byte.
        redirects: followed in a row; one more ends the connection.
        same_place: so many connections in a row that end at the same place without any progress,
            or fetched states that the store refuses, end it with a reason. An end between two
            events after a silence of seconds is none.
        resync_pause_ms: at least so long between two resyncs, and before the store is asked
            whether it wants one; requests meanwhile are one.
        head_ms: how long a GET may take until the head of its answer is there: a server that is
            being started may accept a connection and never answer it. A POST, which may think
            before it answers, is bound by silence alone.
        snapshot_ms: how long fetching a state may take; then it has failed.
        reply_ms: how long one request beside the stream may take.
        reply_bytes: size of its answer; a larger one has failed.
    """

    first_delay_ms: float = _number(1_000)
    most_delay_ms: float = _number(30_000)
    healthy_ms: float = _number(60_000)
    least_asked_ms: float = _number(100)
    most_asked_ms: float = _number(600_000)
    heartbeat_ms: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    beats: float = _number(2.5)
    silence_ms: float = _number(45_000)
    redirects: int = _count(10)
    same_place: int = _count(5)
    resync_pause_ms: float = _number(1_000)
    head_ms: float = _number(20_000)
    snapshot_ms: float = _number(120_000)
    reply_ms: float = _number(30_000)
    reply_bytes: int = _count(64 * 1024 * 1024)

    @property
    def limit_ms(self) -> float:
        """So long may a connection be silent.

        >>> Policy().limit_ms, Policy(heartbeat_ms=10_000).limit_ms
        (45000, 25000.0)
        """
        return self.silence_ms if self.heartbeat_ms is None else self.beats * self.heartbeat_ms

    def asked(self, ms: float) -> float:
        """What a server asks for, within what is honoured."""
        return min(max(ms, self.least_asked_ms), self.most_asked_ms)


class Backoff:
    """How long to wait before the next attempt; one for a connection's whole life.

    >>> backoff = Backoff(Policy())
    >>> [round(backoff.next(chance)) for chance in (0, 1, 0, 1, 0, 1, 0)]
    [1000, 3000, 4000, 12000, 16000, 30000, 20000]
    >>> backoff.lived(60_000)
    >>> round(backoff.next(0))
    1000
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.attempts = 0
        """Waits since the last health."""
        self.retry_ms: float | None = None
        """What the server's `retry:` said, in force until it says something else."""

    def lived(self, ms: float) -> None:
        """A connection lived so long, from its opening to its last byte."""
        if ms >= self._policy.healthy_ms:
            self.attempts = 0

    def reset(self) -> None:
        """All is well: the next wait is a first one."""
        self.attempts = 0

    def next(self, chance: float, after_ms: float | None = None) -> float:
        """Ms to wait now; `chance` from 0 to 1, `after_ms` what `Retry-After` said.

        The wait is spread over the last third of its longest: clients that were dropped together
        do not come back together, also when the doubling has ended. After `Retry-After` up to a
        tenth is added instead.
        """
        policy = self._policy
        first = policy.first_delay_ms if self.retry_ms is None else policy.asked(self.retry_ms)
        ceiling = max(policy.most_delay_ms, min(1.5 * first, policy.most_asked_ms))
        most = min(1.5 * first * 2.0 ** min(self.attempts, 64), ceiling)
        least = max(most * 2 / 3, min(first, most))
        self.attempts += 1
        wait = least + chance * (most - least)
        if after_ms is not None:
            asked = policy.asked(after_ms)
            wait = min(max(wait, asked * (1 + chance / 10)), max(asked, policy.most_asked_ms))
        return wait


def retry_after(value: str | None, wall_ms: float) -> float | None:
    """Ms that a `Retry-After` header asks for: seconds, or a date; None where it says nothing.

    Source: RFC 9110, 10.2.3. A date that has passed is 0.

    >>> retry_after("120", 0), retry_after("Thu, 01 Jan 1970 00:00:05 GMT", 2_000)
    (120000.0, 3000.0)
    >>> retry_after("soon", 0) is None
    True
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value) * 1000
    at = http_date(value)
    return None if at is None else max(0.0, at - wall_ms)


def http_date(value: str) -> float | None:
    """Ms since the epoch of a date in a header; None where it is none.

    Always in UTC, also where it does not say so (RFC 9110, 5.6.7).

    >>> http_date("Sun, 06 Nov 1994 08:49:37 GMT"), http_date("Sun Nov  6 08:49:37 1994")
    (784111777000.0, 784111777000.0)
    """
    try:
        at = parsedate_to_datetime(value)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


#: A server that said so long nothing before the end was idle, whatever it says again at each
#: opening: the watchdog or a proxy's time limit ended that. What an event kills dies sooner.
IDLE_MS = 5_000

#: Ends of bytes with which no event is open: a blank line, however its lines end.
_BETWEEN = (b"\n\n", b"\r\r", b"\n\r\n", b"\n\r")


def between_events(tail: bytes) -> bool:
    """Whether bytes that end so end between two events, or are none.

    >>> between_events(b"{}\\n\\n"), between_events(b"data")
    (True, False)
    """
    return not tail or tail.endswith(_BETWEEN)


@attrs.frozen
class Place:
    """Where a connection ended.

    Attributes:
        position: the resume position then.
        received: events that came.
        size: bytes that came.
    """

    position: Hashable
    received: int
    size: int


class PoisonWatch:
    """Counts connections that end at the same place without any progress.

    Something after that position kills the connection each time: an event that a proxy chokes on,
    say. A drop between events that brought nothing is none; that is a server in trouble, and
    waiting helps.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last: Place | None = None
        self.times = 0
        """Connections in a row that ended at the last place."""

    def ended(self, place: Place, tail: bytes, repeated: bool, moved: bool) -> bool:
        """Note the end of a connection; whether it is one too many.

        `tail`: its last four bytes; `repeated`: all events that came were duplicates; `moved`: the
        resume position did.
        """
        if moved or not (repeated or not between_events(tail)):
            self._last, self.times = None, 0
            return False
        self.times = self.times + 1 if place == self._last else 1
        self._last = place
        return self.times >= self._most
