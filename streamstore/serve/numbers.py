"""Resuming by a protocol's own number: a query parameter, and where events carry it.

Pure: wire objects in, numbers out. Knows two protocols' spelling; no log and no file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from zlib import crc32

from ..keys import is_number

#: Query parameter by protocol: the number of the last event that the client has.
PARAMETERS: Mapping[str, str] = {"openai-responses": "starting_after", "opencode-v2": "after"}
#: Between two events whose place is remembered, at first.
STRIDE = 1_000
#: So many places are remembered at most; of more every other one, at twice the distance.
PLACES = 4_096


def number_of(protocol: str, wire: Any) -> int | None:
    """The number of an event; None where it carries none.

    >>> number_of("openai-responses", {"type": "response.created", "sequence_number": 0})
    0
    """
    if not isinstance(wire, dict):
        return None
    if protocol == "opencode-v2":
        durable = wire.get("durable")
        found = durable.get("seq") if isinstance(durable, dict) else None
    else:
        found = wire.get("sequence_number")
    return found if is_number(found) else None


class Numbered(NamedTuple):
    """One event, as `Numbers` looks at it."""

    position: int
    """From 1, growing."""
    body: bytes
    """Its frame."""
    wire: Callable[[], Any]
    """Its wire object; costs a parse."""


class _Place(NamedTuple):
    position: int  # of an event
    body: int  # the CRC-32 of its frame
    highest: int  # number up to it, -1 for none
    after: int  # position of the last event up to it that has a number


class Numbers:
    """Where the numbers of a log are: what a client has that names the last one that it has.

    What was once looked through is not looked through again: the place of every thousandth event
    stays, or fewer of a long log. A log that is no more what it was is looked through anew.

    Args:
        protocol: whose numbers.
        events: those behind a position, in order.
        stride, places: see `STRIDE`, `PLACES`.
    """

    def __init__(
        self,
        protocol: str,
        events: Callable[[int], Iterator[Numbered]],
        *,
        stride: int = STRIDE,
        places: int = PLACES,
    ) -> None:
        self._protocol = protocol
        self._events = events
        self._stride = stride
        self._most = places
        self._places: list[_Place] = []

    def after(self, number: int) -> int:
        """The position that a client has: of the last numbered event before a higher number.

        0 where there is none. Costs a pass up to there the first time, then at most a stride.
        """
        at = bisect_right(self._places, number, key=lambda place: place.highest)
        if at and not self._holds(self._places[at - 1]):
            self._places.clear()
            at = 0
        start, _, highest, after = self._places[at - 1] if at else _Place(0, 0, -1, 0)
        unseen = at == len(self._places)
        for seen, event in enumerate(self._events(start), start=1):
            found = number_of(self._protocol, event.wire())
            if found is not None:
                if found > number:
                    break
                highest, after = max(highest, found), event.position
            if unseen and seen % self._stride == 0:
                self._remember(_Place(event.position, crc32(event.body), highest, after))
        return after

    def _holds(self, place: _Place) -> bool:
        """Whether the log still has the event that a place is of."""
        found = next(self._events(place.position - 1), None)
        return (
            found is not None
            and found.position == place.position
            and crc32(found.body) == place.body
        )

    def _remember(self, place: _Place) -> None:
        self._places.append(place)
        if len(self._places) >= self._most:
            self._places = self._places[1::2]
            self._stride *= 2
