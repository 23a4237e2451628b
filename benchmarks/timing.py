"""How time is taken, for every question alike.

Variants of one comparison run round by round in one process (A B A B), so that what the machine
does meanwhile hits all of them. A variant is a generator: what it does between two `yield`s is
preparation and not timed, each function that it yields is. So a batch can be decoded just before
it is used: a list of 100,000 dicts made beforehand measures cache misses.

The garbage collector is off while a variant runs and collects before it. Ratios are taken per
round; a spread is the median and the quartiles of all rounds. Knows no store and no question.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

Piece: TypeAlias = Callable[[], object]
Variant: TypeAlias = Callable[[], Iterator[Piece]]
#: A reading in ns; only differences count.
Clock: TypeAlias = Callable[[], int]


@attrs.frozen
class Spread:
    """The median of some values, and their quartiles.

    >>> Spread.of([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.5, high=2.5)
    >>> Spread.of([7.0])
    Spread(median=7.0, low=7.0, high=7.0)
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@attrs.frozen
class Rounds:
    """What each variant took in each round, in ns; `work` is its number of deltas (or events)."""

    taken: Mapping[str, Sequence[int]]
    work: Mapping[str, int]

    def cost(self, name: str) -> Spread:
        """Ns per unit of work."""
        return Spread.of([ns / self.work[name] for ns in self.taken[name]])

    def total(self, name: str) -> Spread:
        """Ms per round."""
        return Spread.of([ns / 1e6 for ns in self.taken[name]])

    def ratio(self, name: str, baseline: str) -> Spread:
        """Cost per unit of one variant over that of another, round by round."""
        scale = self.work[baseline] / self.work[name]
        pairs = zip(self.taken[name], self.taken[baseline], strict=True)
        return Spread.of([ns / base * scale for ns, base in pairs])


def interleaved(
    variants: Mapping[str, Variant],
    work: int | Mapping[str, int],
    rounds: int,
    *,
    warm: bool = True,
    clock: Clock = time.perf_counter_ns,
) -> Rounds:
    """Run every variant once a round, in order, for some rounds.

    Args:
        variants: by name, see the top of this file.
        work: units of work of a variant, or of each by name.
        rounds: how many count.
        warm: run one round more before them that does not count; never for a single round,
            which is no measurement but shows that everything runs.
        clock: for tests.
    """
    units = {name: work if isinstance(work, int) else work[name] for name in variants}
    taken: dict[str, list[int]] = {name: [] for name in variants}
    for number in range(-1 if warm and rounds > 1 else 0, rounds):
        for name, variant in variants.items():
            ns = _once(variant, clock)
            if number >= 0:
                taken[name].append(ns)
    return Rounds(taken, units)


def _once(variant: Variant, clock: Clock) -> int:
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        total = 0
        for piece in variant():
            began = clock()
            piece()
            total += clock() - began
        return total
    finally:
        if enabled:
            gc.enable()
