"""How two states differ, in one line a person can use.

Knows JSON values and the reads of a store; no event and no law.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..pipeline import StreamStore

_MADE = re.compile(r"local-\d+")


class Difference(NamedTuple):
    """The first place at which two JSON values differ; None stands for what is not there."""

    path: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.path or 'the state'} is {brief(self.found)}, not {brief(self.expected)}"


def state_of(store: StreamStore) -> dict[str, Any]:
    """The state that laws compare: `docs/state.md` without `counts`, made ids by place."""
    state = store.state()
    del state["counts"]
    names: dict[str, dict[str, str]] = {}
    sessions = state["sessions"]
    for session_id in sessions:
        sessions[session_id] = _renamed(sessions[session_id], names.setdefault(session_id, {}))
    for gap in state["gaps"]:
        gap.update(_renamed(gap, names.setdefault(gap["sessionId"], {})))
    return state


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """A session with the ids that the store made numbered by their place in it.

    Otherwise they tell how many were made before, for whatever session.
    """
    if isinstance(value, str):
        if _MADE.fullmatch(value):
            return names.setdefault(value, f"local-{len(names) + 1}")
        return value
    if isinstance(value, Mapping):
        return {name: _renamed(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


def difference(expected: Any, found: Any, path: str = "") -> Difference | None:
    """The first difference, None for equal values; true is not 1. Linear.

    >>> print(difference({"a": [1, {"b": "xy"}]}, {"a": [1, {"b": "xz"}]}))
    a.1.b is 'xz', not 'xy'
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in sorted({*expected, *found}, key=str):
            below = f"{path}.{name}" if path else str(name)
            if name not in expected or name not in found:
                return Difference(below, expected.get(name), found.get(name))
            deeper = difference(expected[name], found[name], below)
            if deeper is not None:
                return deeper
        return None
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        for place, (mine, theirs) in enumerate(zip(expected, found, strict=False)):
            deeper = difference(mine, theirs, f"{path}.{_name_of(mine, place)}")
            if deeper is not None:
                return deeper
        if len(expected) == len(found):
            return None
        place = min(len(expected), len(found))
        mine = expected[place] if place < len(expected) else None
        theirs = found[place] if place < len(found) else None
        return Difference(f"{path}.{_name_of(mine or theirs, place)}", mine, theirs)
    if type(expected) is type(found) and expected == found:
        return None
    return Difference(path, expected, found)


def _name_of(item: Any, place: int) -> str:
    """A message or part is named by its id, which says more than its place."""
    if isinstance(item, Mapping):
        for name in ("id", "blockIndex"):
            if isinstance(item.get(name), str | int):
                return str(item[name])
    return str(place)


def brief(value: Any) -> str:
    """A value in at most about 80 characters."""
    if value is None:
        return "missing"
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:38]}…{shown[-38:]}"


class Glance:
    """The objects that reads return at one moment, to see whether a later read returns them again.

    Costs the sessions and messages of the store, not its texts.
    """

    def __init__(self, store: StreamStore) -> None:
        self._objects: dict[tuple[str, ...], Any] = {}
        for session_id in store.session_ids():
            self._objects[session_id,] = store.session(session_id)
            messages = store.messages(session_id)
            self._objects[session_id, "messages"] = messages
            for message in messages:
                parts = store.parts(session_id, message.id)
                self._objects[session_id, "messages", message.id, "parts"] = parts
        health = store.health
        self._gaps, self._resume = health.gaps, dict(health.resume)

    def problem(self, now: Glance) -> str | None:
        """What another moment's reads return instead, None when they are the same objects."""
        for key in {**self._objects, **now._objects}:
            before, after = self._objects.get(key), now._objects.get(key)
            if before is not after:
                return f"{'.'.join(key)}: {_how(before, after)}"
        if self._gaps != now._gaps:
            return f"gaps: {brief(now._gaps)}, before {brief(self._gaps)}"
        if self._resume != now._resume:
            return f"resume: {brief(now._resume)}, before {brief(self._resume)}"
        return None


def _how(before: Any, after: Any) -> str:
    if isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        for mine, theirs in zip(before, after, strict=True):
            if mine is not theirs:
                text, other = getattr(mine, "text", None), getattr(theirs, "text", None)
                if text != other:
                    return f"the text {brief(text)} became {brief(other)}"
                if mine == theirs or text is not None:
                    name = getattr(mine, "block_index", getattr(mine, "id", ""))
                    return f"{name} is another object"
                return f"{brief(mine)} became {brief(theirs)}"
    if before == after:
        return "is another object"
    return f"{brief(before)} became {brief(after)}"
