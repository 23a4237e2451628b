"""What was measured, as values: a figure, the goal it has, and the answers of a whole run.

Knows JSON; no clock, no store and no question. A figure's number is never written down anywhere
but where it was measured.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import attrs
import cattrs

from .timing import Spread

#: How much is measured: `tiny` shows that it runs, `quick` gives a picture, `full` is published.
Effort: TypeAlias = Literal["tiny", "quick", "full"]
Unit: TypeAlias = Literal["ns", "ms", "times", "bytes", "count"]


@attrs.frozen
class Goal:
    """What a figure should be: at most, at least, or exactly `bound`.

    >>> Goal("<=", 1.4).reached(1.3), str(Goal(">=", 10))
    (True, '≥ 10')
    """

    relation: Literal["<=", ">=", "=="]
    bound: float

    def reached(self, value: float) -> bool:
        """Whether a value is what it should be."""
        if self.relation == "<=":
            return value <= self.bound
        return value >= self.bound if self.relation == ">=" else value == self.bound

    def __str__(self) -> str:
        sign = {"<=": "≤", ">=": "≥", "==": "="}[self.relation]
        return f"{sign} {self.bound:,g}"


@attrs.frozen(kw_only=True)
class Figure:
    """One measured number: a cell of a table.

    Attributes:
        table: title of its table within the question.
        row, column: where it stands there.
        unit: `times` is a factor, and has a baseline.
        spread: the number; low and high are quartiles over rounds.
        baseline: what a factor is against, as a phrase; "" for what is no factor.
        better: which direction is; "" where neither is.
        goal: what it should be.
        x: where it stands on a plot's axis, for figures that are plotted against something.
    """

    table: str
    row: str
    column: str
    unit: Unit
    spread: Spread
    baseline: str = ""
    better: Literal["lower", "higher", "exact", ""] = ""
    goal: Goal | None = None
    x: float | None = None

    @property
    def name(self) -> str:
        """Name within its question; the same from run to run."""
        return " | ".join((self.table, self.row, self.column))

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached, None without one."""
        return None if self.goal is None else self.goal.reached(self.spread.median)


@attrs.frozen
class Skipped:
    """Something that was not measured, and why."""

    what: str
    reason: str


@attrs.frozen
class Question:
    """One file of this package: what it asks, and how it is answered.

    Attributes:
        name: what `--only` takes.
        title: the question.
        about: what the page says below it, plain Markdown: what is compared, which baseline a
            factor is against, and what it does not show. Holds no number that was measured.
        measure: answers it.
        remarks: sentences about an answer, with its numbers in them.
    """

    name: str
    title: str
    about: str
    measure: Callable[[Effort], Iterator[Figure | Skipped]]
    remarks: Callable[[Answer], tuple[str, ...]] = lambda _: ()


@attrs.frozen
class Answer:
    """What measuring a question gave, and how long it took."""

    figures: tuple[Figure, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    seconds: float = 0.0

    def table(self, title: str) -> tuple[Figure, ...]:
        """The figures of one table, in order."""
        return tuple(figure for figure in self.figures if figure.table == title)


@attrs.frozen
class Results:
    """A whole run: where it ran, how much was measured, and the answers by question."""

    machine: Mapping[str, str]
    effort: Effort
    answers: Mapping[str, Answer]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; what is no whole number is cut to four digits: more are noise."""
        plain: dict[str, Any] = _converter.unstructure(self)
        return plain

    @classmethod
    def from_json(cls, value: Any) -> Results:
        """What `to_json` wrote."""
        return _converter.structure(value, cls)


_converter = cattrs.Converter(omit_if_default=True)
_converter.register_unstructure_hook(
    float, lambda number: float(number) if number == int(number) else float(f"{number:.4g}")
)


def machine() -> dict[str, str]:
    """What a reader should know of where it ran, and nothing that names it."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
    }


def installed(name: str) -> bool:
    """Whether a package can be imported; nothing is imported."""
    from importlib.util import find_spec

    return find_spec(name) is not None
