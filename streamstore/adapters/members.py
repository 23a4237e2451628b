"""Members of a wire object, read by name: the value, or an error that says which member is wrong.

What every adapter needs to read foreign JSON. `at` is the object's own dotted path in the event,
"" for its top. Knows no protocol, event or store.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from ..errors import MalformedEvent
from ..keys import MAX_NUMBER, is_number

Members: TypeAlias = dict[str, Any]

#: So much of the name of a class stands in an error.
_NAME = 80


def describe(value: Any) -> str:
    """What a value is, for an error: short, whatever its size."""
    if value is None or type(value) is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if type(value) is float or (type(value) is int and abs(value) <= MAX_NUMBER):
        return str(value)
    if type(value) is int:
        return "a larger number"  # its digits may be more than the interpreter writes
    if type(value) is str:
        return "a string" if value else "an empty one"
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    return type(value).__name__[:_NAME]  # of no JSON: a program's own object


def path_to(at: str, name: str) -> str:
    """The dotted path of a member."""
    return f"{at}.{name}" if at else name


def wrong(members: Members, name: str, at: str, expected: str) -> MalformedEvent:
    """The error of a member that is missing or not what is expected."""
    if name not in members:
        return MalformedEvent(path_to(at, name), "is missing")
    return MalformedEvent(path_to(at, name), f"must be {expected}, not {describe(members[name])}")


def an_id(members: Members, name: str, at: str = "") -> str:
    """A string that is not empty; never coerced."""
    value = members.get(name)
    if type(value) is str and value:
        return value
    raise wrong(members, name, at, "a non-empty string")


def maybe_id(members: Members, name: str, at: str = "") -> str | None:
    """An id; None where it is absent or null."""
    return None if members.get(name) is None else an_id(members, name, at)


def a_string(members: Members, name: str, at: str = "") -> str:
    """A string, which may be empty."""
    value = members.get(name)
    if type(value) is str:
        return value
    raise wrong(members, name, at, "a string")


def a_number(members: Members, name: str, at: str = "") -> int:
    """An integer from 0 to 2**63 - 1, no boolean."""
    value = members.get(name)
    if is_number(value):
        return value
    raise wrong(members, name, at, "an integer from 0 to 2**63 - 1")


def maybe_number(members: Members, name: str, at: str = "") -> int | None:
    """A whole number; JavaScript has one kind of number, so fractions are rounded up."""
    value = members.get(name)
    if value is None or is_number(value):
        return value
    if type(value) is float and 0 <= value < MAX_NUMBER:
        return math.ceil(value)
    raise wrong(members, name, at, "a number from 0 to 2**63 - 1")


def an_object(members: Members, name: str, at: str = "") -> Members:
    """A JSON object."""
    value = members.get(name)
    if isinstance(value, dict):
        return value
    raise wrong(members, name, at, "an object")


def maybe_object(members: Members, name: str, at: str = "") -> Members | None:
    """An object; None where it is absent or null."""
    return None if members.get(name) is None else an_object(members, name, at)


def a_list(members: Members, name: str, at: str = "") -> list[Any]:
    """A JSON array."""
    value = members.get(name)
    if isinstance(value, list):
        return value
    raise wrong(members, name, at, "an array")


def objects(members: Members, name: str, at: str = "") -> list[Members]:
    """An array of objects."""
    values = a_list(members, name, at)
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise MalformedEvent(
                f"{path_to(at, name)}.{number}", f"must be an object, not {describe(value)}"
            )
    return values


def an_event(wire: Any) -> Members:
    """The wire object itself, which must be an object.

    Raises:
        MalformedEvent: it is none.
    """
    if isinstance(wire, dict):
        return wire
    raise no_object(wire)


def no_object(value: Any, at: str = "") -> MalformedEvent:
    """The error of what should be an object; for a program's own one it says what to give."""
    given = describe(value)
    if value is None or isinstance(value, str | bool | int | float | list | dict):
        return MalformedEvent(at, f"must be an object, not {given}")
    if isinstance(value, bytes | bytearray | memoryview):
        given += "; feed takes bytes"
    elif callable(getattr(value, "model_dump", None)):
        given += "; give what its model_dump() returns"
    return MalformedEvent(at, f"must be a JSON object (dict), not {given}")


def are_objects(values: Any) -> bool:
    """Whether a value is an array of objects."""
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)


def are_lists(values: Any) -> bool:
    """Whether a value is an object of arrays."""
    return isinstance(values, dict) and all(isinstance(value, list) for value in values.values())


def only_json(value: Any, at: str) -> None:
    """See that a program's own value holds nothing but JSON. Linear in its size.

    Raises:
        MalformedEvent: it does not; says where, and what stands there.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            if type(name) is not str:
                raise MalformedEvent(at, f"has a name that is no string but {describe(name)}")
            only_json(item, path_to(at, name))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            only_json(item, f"{at}.{place}")
    elif value is not None and not isinstance(value, str | int | float):
        raise MalformedEvent(at, f"must be JSON, not {describe(value)}: dump it before")
