"""What became worse from one run to another by more than the spread of both.

A figure is worse when the quartiles of the two runs do not overlap, in the bad direction, and the
medians differ by more than 3 %. Counts are exact. Times are compared on the same kind of machine
only; factors and bytes always. Knows figures alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from .figures import Figure, Results
from .page import cell

_LEAST = 0.03  # between two medians: what `tracemalloc` and the order of a dict make of a figure


@attrs.frozen
class Regression:
    """A figure that became worse."""

    question: str
    before: Figure
    after: Figure

    def __str__(self) -> str:
        return f"{self.question}: {self.after.name}: {cell(self.before)}, now {cell(self.after)}"


def regressions(before: Results, after: Results) -> Iterator[Regression]:
    """Every figure of both runs that is worse in the later one."""
    same_machine = dict(before.machine) == dict(after.machine)
    for name, answer in after.answers.items():
        if name not in before.answers:
            continue
        earlier = {figure.name: figure for figure in before.answers[name].figures}
        for figure in answer.figures:
            known = earlier.get(figure.name)
            timed = figure.unit in ("ns", "ms")
            if known is not None and (same_machine or not timed) and _worse(known, figure):
                yield Regression(name, known, figure)


def _worse(before: Figure, after: Figure) -> bool:
    old, new = before.spread, after.spread
    if after.better == "exact":
        return new.median != old.median
    if after.better == "lower":
        return new.low > old.high and new.median > old.median * (1 + _LEAST)
    if after.better == "higher":
        return new.high < old.low and new.median < old.median * (1 - _LEAST)
    return False
