"""Frozen values in a third of the time: what each tick and each read of a part makes.

The constructor of a frozen class calls `object.__setattr__` once per member, as every other way is
refused: 1.1 µs for a dozen. Here the members are set while the value is still of a class that
allows it, in 0.3 µs. Knows attrs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


def filled(cls: type[T]) -> Callable[..., T]:
    """A function that makes a value of a frozen attrs class, given all its members in order.

    For classes with slots and without converters or validators, which it does not run.

    >>> @attrs.frozen
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> filled(Point)(1, 2)
    Point(x=1, y=2)
    """
    names = [member.name for member in attrs.fields(cls)]  # type: ignore[arg-type]
    # A class of the same layout, so that an object of it may become one of the other. Only with
    # both methods does CPython set its members without a look at the class.
    methods = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    opened = type(cls.__name__, (cls,), {"__slots__": (), **methods})
    lines = [f"def fill({', '.join(names)}):", "    value = new(opened)"]
    lines += [f"    value.{name} = {name}" for name in names]
    lines += ["    value.__class__ = cls", "    return value"]
    scope: dict[str, Any] = {"new": object.__new__, "opened": opened, "cls": cls}
    exec("\n".join(lines), scope)
    fill: Callable[..., T] = scope["fill"]
    return fill
