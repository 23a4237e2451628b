"""Delta debugging: a failing list made as short as can be.

Knows lists and a question about them; nothing of logs or stores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Budget:
    """How many items may still be tried, over all questions: no clock decides what is found."""

    def __init__(self, items: int) -> None:
        self.left = items

    def spend(self, items: int) -> bool:
        """Whether a question about so many items may be asked."""
        if self.left <= 0:
            return False
        self.left -= items + 1
        return True


def shrink(
    items: Sequence[Item],
    fails: Callable[[tuple[Item, ...]], bool],
    *,
    keeps: Callable[[Item], bool] = lambda item: False,
    budget: Budget | None = None,
) -> tuple[Item, ...]:
    """A part of a failing list, in its order, that fails and of which nothing can be left out.

    `items` fail. Items that `keeps` names are never left out. Takes away halves first, then ever
    smaller runs, then single items, until nothing more can go or the budget is spent.

    >>> shrink(range(100), lambda some: {3, 70} <= set(some))
    (3, 70)
    """
    budget = budget or Budget(10_000_000)
    found = tuple(items)
    size = max(1, len(found) // 2)
    while True:
        before = len(found)
        start = max(0, len(found) - size)
        while start >= 0 and found:
            run = found[start : start + size]
            rest = (
                *found[:start],
                *(item for item in run if keeps(item)),
                *found[start + size :],
            )
            if len(rest) < len(found) and budget.spend(len(rest)) and fails(rest):
                found = rest
            if start == 0:
                break
            start = max(0, start - size)
        if budget.left <= 0 or (size == 1 and len(found) == before):
            return found
        # Single items are tried again for as long as one of them goes.
        size = max(1, min(size // 2, len(found) // 2))


def exchange(
    items: Sequence[Item],
    fails: Callable[[tuple[Item, ...]], bool],
    may: Callable[[Item, Item], bool],
    *,
    keeps: Callable[[Item], bool] = lambda item: False,
    budget: Budget | None = None,
) -> tuple[Item, ...]:
    """A failing list that an exchange of neighbours makes shorter, as often as one does.

    Where the order itself is at fault, a list of which nothing can be left out may still be long:
    what stands before the exchange is needed to get there.

    >>> def in_disorder(some):  # numbers from 0 on, not in order
    ...     return list(some) != sorted(some) == list(range(len(some)))
    >>> exchange((0, 1, 2, 4, 3), in_disorder, lambda a, b: True)
    (1, 0)
    """
    budget = budget or Budget(10_000_000)
    found = tuple(items)
    place = 0
    while place < len(found) - 1:
        first, second = found[place], found[place + 1]
        swapped = (*found[:place], second, first, *found[place + 2 :])
        place += 1
        if may(first, second) and budget.spend(len(swapped)) and fails(swapped):
            shorter = shrink(swapped, fails, keeps=keeps, budget=budget)
            if len(shorter) < len(found):
                found, place = shorter, 0
    return found


def settle(
    items: Sequence[Item],
    fails: Callable[[tuple[Item, ...]], bool],
    precedes: Callable[[Item, Item], bool],
    *,
    budget: Budget | None = None,
) -> tuple[Item, ...]:
    """A failing list nearer to its natural order: neighbours change places while it fails.

    `precedes(a, b)` says that a stands before b by nature.

    >>> settle([2, 9, 1], lambda some: some.index(2) < some.index(1), lambda a, b: a < b)
    (2, 1, 9)
    """
    budget = budget or Budget(10_000_000)
    found = tuple(items)
    moved = True
    while moved:
        moved = False
        for place in range(len(found) - 1):
            first, second = found[place], found[place + 1]
            if not precedes(second, first):
                continue
            swapped = (*found[:place], second, first, *found[place + 2 :])
            if budget.spend(len(swapped)) and fails(swapped):
                found = swapped
                moved = True
    return found
