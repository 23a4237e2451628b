"""Parts and messages of one session that wait to be handed out, in the order of reading.

Knows their keys and what they sort by; nothing of what they are, nor of when their turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from .keys import MessageKey, OrderKey, PartKey
from .ordering import Ordered

Below: TypeAlias = MessageKey | PartKey
#: Where a key stands: its message's place, as long as any other one's, and its own below that.
Place: TypeAlias = tuple[OrderKey, OrderKey]


class Waiting:
    """A queue of keys whose places may change until they are handed out.

    `add` is constant; what was added is put in its place before the first one is asked for, at the
    cost of what was added since, and of a message's keys where the message moved.
    """

    __slots__ = ("_messages", "_ordered", "_place", "_places", "_unplaced")

    def __init__(self, place: Callable[[Below], Place]) -> None:
        self._place = place
        self._messages: dict[str, dict[Below, None]] = {}
        self._places: dict[str, OrderKey] = {}
        self._ordered = Ordered[Below]()
        self._unplaced: dict[Below, None] = {}

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def holds_one(self) -> bool:
        """Whether all that waits is of one message."""
        return len(self._messages) == 1

    def __contains__(self, key: Below) -> bool:
        return key in self._messages.get(key.message_id, ())

    def add(self, key: Below) -> None:
        """Have a key wait, at its place of now; also one that waits already."""
        self._messages.setdefault(key.message_id, {})[key] = None
        self._unplaced[key] = None

    def discard(self, key: Below) -> None:
        """Have a key wait no more, if it did; that of a message leaves its parts."""
        keys = self._messages.get(key.message_id, {})
        if key not in keys:
            return
        del keys[key]
        self._unplaced.pop(key, None)
        if key in self._ordered:
            self._ordered.remove(key)
        if not keys:
            del self._messages[key.message_id]
            self._places.pop(key.message_id, None)

    def discard_message(self, message_id: str) -> None:
        """Have nothing of a message wait."""
        for key in list(self._messages.get(message_id, ())):
            self.discard(key)

    def first(self) -> Below | None:
        """The key that stands first, None for none."""
        self._settle()
        return next(iter(self._ordered), None)

    def __iter__(self) -> Iterator[Below]:
        self._settle()
        return iter(self._ordered)

    def _settle(self) -> None:
        unplaced, self._unplaced = self._unplaced, {}
        for key in unplaced:
            message_id, (above, below) = key.message_id, self._place(key)
            if self._places.setdefault(message_id, above) == above:
                self._ordered.add((*above, *below), key)
                continue
            self._places[message_id] = above
            for other in self._messages[message_id]:
                self._ordered.add((*above, *self._place(other)[1]), other)
