"""Names in the order of their keys, with the neighbour of each.

Knows no row and no value. A plain list while everything comes in order, which appending to is
five times faster; a sorted container from the first late insert on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Hashable, Iterator
from typing import Any, Generic, TypeVar

from sortedcontainers import SortedList

from .keys import OrderKey

Name = TypeVar("Name", bound=Hashable)


class Ordered(Generic[Name]):
    """Names sorted by unique keys. `add` at the end is constant, elsewhere about logarithmic.

    >>> names = Ordered[str]()
    >>> for place, name in ((1, "a"), (3, "c"), (2, "b")):
    ...     names.add((place,), name)
    >>> list(names), names.after("a"), names.after("c")
    (['a', 'b', 'c'], 'b', None)
    """

    __slots__ = ("_keys", "_names", "_places")

    def __init__(self) -> None:
        self._keys: Any = []  # list[OrderKey], a SortedList of them after a late insert
        self._names: dict[OrderKey, Name] = {}
        self._places: dict[Name, OrderKey] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[Name]:
        names = self._names
        return (names[key] for key in self._keys)

    def add(self, key: OrderKey, name: Name) -> None:
        """Add a name, or move it to another key."""
        if name in self._places:
            self.remove(name)
        keys = self._keys
        if isinstance(keys, list):
            if not keys or keys[-1] < key:
                keys.append(key)
            else:
                self._keys = keys = SortedList(keys)
                keys.add(key)
        else:
            keys.add(key)
        self._names[key] = name
        self._places[name] = key

    def remove(self, name: Name) -> None:
        """Take a name out."""
        key = self._places.pop(name)
        del self._names[key]
        keys = self._keys
        if isinstance(keys, list):
            del keys[bisect_left(keys, key)]
        else:
            keys.remove(key)

    def key(self, name: Name) -> OrderKey:
        """The key that a name stands at."""
        return self._places[name]

    def after(self, name: Name) -> Name | None:
        """The next name, None for the last one."""
        keys, key = self._keys, self._places[name]
        if keys[-1] == key:
            return None
        at = bisect_right(keys, key) if isinstance(keys, list) else keys.bisect_right(key)
        return self._names[keys[at]] if at < len(keys) else None

    def places(
        self, new: Collection[Name], over: Collection[Name] = ()
    ) -> list[tuple[Name, Name | None]]:
        """Names in order, each with the next one that is neither new nor in `over` (None: last)."""
        if len(new) == 1 and not over:
            return [(name, self.after(name)) for name in new]
        ordered = sorted({*new, *over}, key=self._places.__getitem__)
        found: dict[Name, Name | None] = {}
        for name in reversed(ordered):
            after = self.after(name)
            found[name] = found.get(after, after) if after is not None else None
        wanted = set(new) if over else found
        return [(name, found[name]) for name in ordered if name in wanted]
