"""What a member of an event has to be: as a test, and in words for who sent something else.

Knows identities; no event, value or stage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .keys import is_block_index, is_id, is_number, is_order

Check: TypeAlias = tuple[Callable[[Any], bool], str]

ID: Check = (is_id, "a non-empty string")
NUMBER: Check = (is_number, "an integer from 0 to 2**63 - 1")
INDEX: Check = (is_block_index, "a non-empty string or an integer from 0 to 2**63 - 1")
ORDER: Check = (is_order, "a finite number")
TEXT: Check = (lambda value: type(value) is str, "a string")
FLAG: Check = (lambda value: type(value) is bool, "true or false")
OBJECT: Check = (lambda value: isinstance(value, dict), "an object")
LIST: Check = (lambda value: isinstance(value, list), "an array")
OBJECTS: Check = (
    lambda value: isinstance(value, list) and all(isinstance(item, dict) for item in value),
    "an array of objects",
)
ANY: Check = (lambda value: True, "anything")


def one_of(*values: str) -> Check:
    """One of some strings."""
    return (lambda value: type(value) is str and value in values, "one of " + ", ".join(values))


def _is_status(value: Any) -> bool:
    def fits(name: str, check: Check) -> bool:
        return value.get(name) is None or check[0](value[name])

    return (
        isinstance(value, dict)
        and is_id(value.get("type"))
        and fits("attempt", NUMBER)
        and fits("next", NUMBER)
        and fits("message", TEXT)
    )


#: What a session does, as an object: `{type, attempt?, message?, next?}`.
STATUS: Check = (
    _is_status,
    "an object with a string `type`, maybe integers `attempt` and `next` and a string `message`",
)
