"""Identities of sessions, messages and parts, and the order in which they stand.

Keys are plain named tuples, so that a lookup costs one tuple; their lengths differ, so that the
three kinds share one dict. Knows no value, event or stage.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias, TypeGuard

#: Identity of a block inside its message, as the wire gives it: not its place.
BlockIndex: TypeAlias = int | str

#: The largest seq and the largest integer block index: 2**63 - 1.
MAX_NUMBER = 2**63 - 1


class SessionKey(NamedTuple):
    """Key of a session in a change set."""

    session_id: str


class MessageKey(NamedTuple):
    """Key of a message in a change set; the same id in two sessions is two messages."""

    session_id: str
    message_id: str


class PartKey(NamedTuple):
    """Key of a part in a change set."""

    session_id: str
    message_id: str
    block_index: BlockIndex


Key: TypeAlias = SessionKey | MessageKey | PartKey

#: What finds the part and field of a delta: the part's key, and the field's name behind it where
#: that is not `text`.
HotKey: TypeAlias = PartKey | tuple[str, str, BlockIndex, str]

#: What messages and parts sort by; built by `message_order` and `part_order` alone.
OrderKey: TypeAlias = tuple[int | float | str, ...]


def hot_key(key: PartKey, field: str) -> HotKey:
    """What finds a part and one of its fields, for deltas."""
    return key if field == "text" else (key.session_id, key.message_id, key.block_index, field)


def is_number(value: object) -> TypeGuard[int]:
    """Whether a value may be a seq: an integer from 0 to 2**63 - 1, no boolean.

    >>> is_number(0), is_number(True), is_number(1.0), is_number(-1)
    (True, False, False, False)
    """
    return type(value) is int and 0 <= value <= MAX_NUMBER


def is_id(value: object) -> TypeGuard[str]:
    """Whether a value may be an id: a string that is not empty."""
    return type(value) is str and value != ""


def is_block_index(value: object) -> TypeGuard[BlockIndex]:
    """Whether a value may be a block index: a seq-like integer, or a non-empty string."""
    return is_id(value) or is_number(value)


def is_order(value: object) -> TypeGuard[int | float]:
    """Whether a value may be an `order`: a finite number, no boolean; fractions insert."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def read_token(epoch: int, top: int) -> str:
    """The token of a read that begins: when that is, and the highest seq of its session so far."""
    return f"{epoch}.{top}"


def read_of(token: str) -> tuple[int, int]:
    """What a token of a read says.

    >>> read_of(read_token(3, 17))
    (3, 17)

    Raises:
        ValueError: it is no such token.
    """
    epoch, _, top = token.partition(".")
    return int(epoch), int(top)


def message_order(order: float | None, message_id: str) -> OrderKey:
    """Sort key of a message: by its order or created time, ties by id, without any: last.

    >>> message_order(3, "b") < message_order(3, "c") < message_order(None, "a")
    True
    """
    if order is None:
        return (1, 0, message_id)
    return (0, order, message_id)


def part_order(order: float | None, block_index: BlockIndex) -> OrderKey:
    """Sort key of a part: by `order` where given, else by block index; ties by block index.

    Numbers sort by value and stand before strings, which sort by code point.

    >>> sorted([10, 9, "b", "a"], key=lambda index: part_order(None, index))
    [9, 10, 'a', 'b']
    >>> part_order(1.5, "late") < part_order(None, 2)
    True
    """
    tie = (1, 0, block_index) if type(block_index) is str else (0, block_index, "")
    if order is not None:
        return (0, order, "", *tie)
    return (*tie, *tie)
