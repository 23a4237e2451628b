"""What was taken in, as data: seq intervals, windows of late operations, event ids, fields by seq.

The structures only; which of them decides about an event is the gate's business. Knows no text,
event, clock or stage.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from operator import lt
from typing import Any

import attrs

from .model import EMPTY, FrozenDict, freeze


@attrs.define(eq=False)
class Intervals:
    """A set of seqs as disjoint inclusive intervals; the usual next one costs one comparison.

    >>> seen = Intervals()
    >>> [seen.add(seq) for seq in (1, 2, 4, 2)]
    [True, True, True, False]
    >>> seen.holes(), seen.contiguous
    (((3, 3),), 2)
    """

    starts: list[int] = attrs.field(factory=list)
    ends: list[int] = attrs.field(factory=list)
    lost: int = 0

    @property
    def top(self) -> int:
        """The highest seq, -1 for none."""
        return self.ends[-1] if self.ends else -1

    @property
    def contiguous(self) -> int:
        """The last seq before the first hole, -1 for none."""
        return self.ends[0] if self.ends else -1

    def __contains__(self, seq: int) -> bool:
        at = bisect_left(self.ends, seq)
        return at < len(self.ends) and self.starts[at] <= seq

    def add(self, seq: int) -> bool:
        """Take a seq in; False when it was there. Logarithmic, plus the holes behind it."""
        starts, ends = self.starts, self.ends
        at = bisect_left(ends, seq)
        if at < len(ends) and starts[at] <= seq:
            return False
        after = at < len(ends) and starts[at] == seq + 1
        before = at > 0 and ends[at - 1] == seq - 1
        if before and after:
            starts[at] = starts[at - 1]
            del starts[at - 1], ends[at - 1]
        elif before:
            ends[at - 1] = seq
        elif after:
            starts[at] = seq
        else:
            starts.insert(at, seq)
            ends.insert(at, seq)
        return True

    def cover(self, seq: int, first: int) -> None:
        """Take in everything from `first` up to `seq`: a snapshot stands for it."""
        at = bisect_left(self.ends, seq)
        if at < len(self.ends) and self.starts[at] <= seq + 1:
            self.starts[at] = min(first, seq, self.starts[at])
        else:
            self.starts.insert(at, min(first, seq))
            self.ends.insert(at, seq)
        del self.starts[:at], self.ends[:at]

    def holes(self) -> tuple[tuple[int, int], ...]:
        """What is missing between the lowest and the highest seq, as inclusive ranges."""
        pairs = zip(self.ends, self.starts[1:], strict=False)
        return tuple((end + 1, start - 1) for end, start in pairs)

    def close_oldest(self) -> None:
        """Give the oldest hole up: what comes for it later is a duplicate."""
        self.lost += self.starts[1] - self.ends[0] - 1
        del self.ends[0], self.starts[1]


@attrs.define(eq=False)
class EventIds:
    """Ids seen, at least the last `size` of them, at most twice as many.

    Ids that a server counts up are each greater than all before: such a one is new without any
    hash, and goes to the end of a sorted list. A new one that is smaller shows that they are
    random; from there on they are kept in sets. Young and old ones take turns: nothing is ever
    moved or searched for the oldest one.

    The hot path adds to `rising` itself, so that until the next tick it may hold more; what is
    forgotten does not depend on that.

    >>> ids = EventIds(100)
    >>> [(ids.add(name), name in ids)[1] for name in ("e1", "e3", "e2")], "e4" in ids
    ([True, True, True], False)

    Attributes:
        top: the last id, while every one was greater than all before; then None, with which no
            id compares.
        rising, old_rising: young and old ids while that is so.
        young, old: young and old ids since then.
    """

    size: int
    top: str | None = attrs.field(init=False, default="")
    rising: list[str] = attrs.field(init=False, factory=list)
    old_rising: list[str] = attrs.field(init=False, factory=list)
    young: set[str] = attrs.field(init=False, factory=set)
    old: set[str] = attrs.field(init=False, factory=set)

    def __contains__(self, event_id: str) -> bool:
        self.turn()
        if self.top is not None:
            return _within(self.rising, event_id) or _within(self.old_rising, event_id)
        return event_id in self.young or event_id in self.old

    def add(self, event_id: str) -> None:
        """Remember an id that is new."""
        self.turn()
        if self.top is not None and event_id > self.top:
            self.top = event_id
            self.rising.append(event_id)
        else:
            if self.top is not None:
                self.top = None
                self.young, self.old = set(self.rising), set(self.old_rising)
                self.rising.clear()
                self.old_rising = []
            self.young.add(event_id)
        self.turn()

    def turn(self) -> None:
        """Where `size` are young they are old from now on; the old ones are forgotten."""
        size = self.size
        while len(self.rising) >= size:
            # The list itself becomes the old one: thousands of ids are not touched again.
            rising = self.rising
            self.old_rising, self.rising = rising, rising[size:]
            del rising[size:]
        if len(self.young) >= size:
            self.old, self.young = self.young, set()

    def listed(self) -> tuple[list[str], list[str]]:
        """The young and the old ones, each sorted."""
        self.turn()
        return sorted((*self.rising, *self.young)), sorted((*self.old_rising, *self.old))

    @classmethod
    def of(cls, size: int, young: list[str], old: list[str]) -> EventIds:
        """Ids that were `listed`."""
        ids = cls(size)
        both = [*old, *young]
        if all(map(lt, both, both[1:])):
            ids.rising, ids.old_rising, ids.top = young, old, both[-1] if both else ""
        else:
            ids.top = None
            ids.young, ids.old = set(young), set(old)
        return ids


def _within(ordered: list[str], event_id: str) -> bool:
    at = bisect_left(ordered, event_id)
    return at < len(ordered) and ordered[at] == event_id


@attrs.define(eq=False)
class FieldMarks:
    """Fields of an entity with the seq that set each: the later seq wins, field by field.

    Without seq the last arrival wins. `values` is replaced, never changed, so that whoever holds
    it holds one version; it stays the same object while nothing changes.

    >>> fields = FieldMarks()
    >>> fields.merge({"a": 1, "b": 1}, 5), fields.merge({"a": 0, "c": 2}, 3), fields.values
    (True, True, {'a': 1, 'b': 1, 'c': 2})
    """

    values: FrozenDict = EMPTY
    seqs: dict[str, int] = attrs.field(factory=dict)
    whole: int = -1
    bound: int = -1
    hidden: dict[str, Any] = attrs.field(factory=dict)

    def merge(self, given: Mapping[str, Any], seq: int | None = None, whole: bool = False) -> bool:
        """Merge fields; with `whole` those that are not given go. Whether anything changed."""
        values = self.values
        result = dict(values)
        if seq is None:
            if whole:
                result = {}
            result.update((name, freeze(value)) for name, value in given.items())
        else:
            seqs = self.seqs
            if whole and seq > self.whole:
                self.whole = seq
                for table in (result, self.hidden):
                    for name in [name for name in table if name not in given]:
                        if seqs.get(name, -1) < seq:
                            del table[name]
                for name in [name for name in seqs if seqs[name] < seq]:
                    del seqs[name]  # `whole` says as much
            table = self.hidden if seq <= self.bound else result
            for name, value in given.items():
                if seq >= self.whole and seq >= seqs.get(name, -1):
                    seqs[name] = seq
                    table[name] = freeze(value)
                    if table is result:
                        self.hidden.pop(name, None)
        if same(result, values):
            return False
        self.values = FrozenDict(result)
        return True

    def put(self, name: str, value: Any, seq: int) -> bool:
        """Set one field, whatever was there; whether anything changed."""
        self.seqs[name] = seq
        if name in self.values and same(self.values[name], value):
            return False
        self.values = FrozenDict({**self.values, name: freeze(value)})
        return True

    def limit(self, bound: int) -> None:
        """Hide what was set up to `bound`: it was removed, unless the bound falls again."""
        if bound == self.bound:
            return
        # Where it falls nothing goes: what has no position came behind the removal.
        stays = self.values if bound < self.bound else ()
        self.bound = bound
        both, seqs = {**self.hidden, **self.values}, self.seqs
        self.hidden = {
            name: both[name] for name in both if name not in stays and seqs.get(name, -1) <= bound
        }
        self.values = FrozenDict({name: both[name] for name in both if name not in self.hidden})

    def forget_marks(self) -> None:
        """The counter restarted: values stay, the next writer wins."""
        self.seqs = {}
        self.whole = self.bound = -1
        self.hidden = {}

    def clear(self) -> None:
        """Forget values and marks."""
        self.values = EMPTY
        self.forget_marks()


def same(first: Any, second: Any) -> bool:
    """Whether two JSON values are equal; unlike `==`, true is not 1, and 1 is not 1.0.

    >>> same({"a": [1]}, {"a": [1]}), same(True, 1), same([1], [1.0])
    (True, False, False)
    """
    if first is second:
        return True
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and len(first) == len(second)
            and all(name in second and same(item, second[name]) for name, item in first.items())
        )
    if isinstance(first, list):
        return (
            isinstance(second, list)
            and len(first) == len(second)
            and all(same(mine, other) for mine, other in zip(first, second, strict=True))
        )
    return type(first) is type(second) and bool(first == second)


@attrs.define(eq=False)
class Marks:
    """What one session, message or block took in, for streams that count.

    Attributes:
        mark: the highest seq; in a `block` stream the last one without a hole before it.
        floor: seqs at or below it left the window: absent does not mean late any more.
        covered: a snapshot stands for everything up to here.
        seqs: the window, ascending; `ops`, where there are any, lie parallel to it.
        first: the lowest seq taken in, -1 for none.
        removed: seq of the last removal, -1 for none.
        fulls: seqs of full events (opened, whole, snapshot), ascending: what can add again.
        gone: removed in a stream without seq, or for good in a `block` stream.
        gone_id: event id of that removal, where ids are ordered.
        local: made by this client and not confirmed.
        touched: the epoch of the last event that changed it.
        stood: which stream brought the highest seq so far, how many events it had brought (-1 less
            that in a saved state, which goes on from fewer) and its event id behind that, and the
            seq; None where it is not known.
    """

    mark: int = -1
    floor: int = -1
    covered: int = -1
    seqs: list[int] = attrs.field(factory=list)
    first: int = -1
    removed: int = -1
    fulls: list[int] = attrs.field(factory=list)
    gone: bool = False
    gone_id: str = ""
    local: bool = False
    touched: int = 0
    stood: Any = None

    def known_from(self, seq: int) -> None:
        """Something of it was taken in at `seq`."""
        if self.first < 0 or seq < self.first:
            self.first = seq

    def knows(self, seq: int) -> bool | None:
        """Whether a seq at or below the mark was taken in; None when it cannot be proved."""
        if seq <= self.covered or seq == self.mark:
            return True
        at = bisect_left(self.seqs, seq)
        if at < len(self.seqs) and self.seqs[at] == seq:
            return True
        return None if seq <= self.floor else False

    def note_full(self, seq: int, bound: int) -> None:
        """A full event came at `seq`: above a removal it adds again. Keeps the last `bound`."""
        if seq <= self.removed or (self.fulls and seq in self.fulls[-2:]):
            return
        insort(self.fulls, seq)
        if len(self.fulls) > bound:
            del self.fulls[0 if self.removed < 0 else 1]  # the first above a removal says where

    def remove_at(self, seq: int) -> None:
        """A removal at `seq`: full events up to it are undone."""
        self.removed = max(self.removed, seq)
        self.fulls = [full for full in self.fulls if full > self.removed]

    @property
    def outer_bound(self) -> int:
        """Where a removal of what it belongs to undoes it, -1 for nowhere."""
        return -1

    @property
    def removed_now(self) -> bool:
        """Whether the last removal holds."""
        return self.gone or (self.removed > self.outer_bound and not self.fulls)

    @property
    def boundary(self) -> int:
        """Operations at or below it are undone: by a removal, or refused before a full event."""
        if self.removed < 0 or self.removed <= self.outer_bound:
            return -1
        return self.fulls[0] - 1 if self.fulls else self.removed

    def restart(self) -> None:
        """A new generation: the counter's marks and tombstones go."""
        self.mark = self.floor = self.covered = self.first = self.removed = -1
        self.seqs = []
        self.fulls = []
        self.gone = False
        self.gone_id = ""
        self.stood = None


def trim(seqs: list[int], bound: int) -> int:
    """How many entries of a window lie below its last `bound` ones."""
    return max(0, len(seqs) - bound)


def insert_sorted(seqs: list[int], seq: int) -> int:
    """Insert a seq that is not there; its place."""
    at = bisect_left(seqs, seq)
    seqs.insert(at, seq)
    return at


def bounded_put(table: dict[Any, Any], key: Any, value: Any, bound: int) -> None:
    """Put an entry into an ordered table of at most `bound`; the oldest go first."""
    table[key] = value
    while len(table) > bound:
        del table[next(iter(table))]
