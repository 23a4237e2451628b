"""The usual bytes of an event stream, straight to JSON values: whole events of one data line each.

A chunk that holds many events is decoded at once, as one array, with neither lines nor frames made
of it: less than `json.loads` of each payload costs. What is anything else (ids, comments, CR,
several data lines, broken JSON) is left to the parser from there on, so the result never depends
on the road. Knows the framing and JSON; no protocol, stream or store.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .decoding import scan_json

#: A chunk shorter than this that ends inside an event is left to the parser: looking twice at
#: short ones costs more.
RUN_BYTES = 512

#: What stands between the data of two events.
_BETWEEN = re.compile(rb"\n\n(?:event: .*\n)?data: ")

# Between the payloads in the array stands a number that none of them holds: no other spelling has
# its value, because above 2**56 all floats are multiples of 16. As many of these numbers as were
# put in must be found, each between two values. So what is no JSON alone, but would be together
# (`[1` and `2]`), is noticed, even if another payload makes up for it (`3, 4`).
_DIGITS = b"8" * 17
_NUMBER = int(_DIGITS)
_MARK = b"," + _DIGITS + b","


class Run(NamedTuple):
    """The values of whole events at the start of some bytes, and how many bytes they are."""

    values: list[Any]
    used: int


_NONE = Run([], 0)


def scan_run(data: bytes) -> Run:
    """The events at the start of `data`, as far as each is one `data: ` line of JSON.

    An `event: ` line before it is passed over. Nothing may be open before, and `data` holds no
    more than the parser's bound of a line. Linear; a run of which anything is in doubt is shorter,
    or empty.

    >>> scan_run(b'data: {"a": 1}\\n\\ndata: [2]\\n\\ndata: {"b"')
    Run(values=[{'a': 1}, [2]], used=27)
    """
    return split_run(data, _scan)


def split_run(data: bytes, loads: Callable[[bytes], Any]) -> Run:
    """`scan_run` with another JSON decoder, which takes one value's bytes and raises `ValueError`.

    >>> import json
    >>> split_run(b'data: {"a": 1}\\n\\ndata: [2]\\n\\ndata: {"b"', json.loads)
    Run(values=[{'a': 1}, [2]], used=27)
    """
    start, end = _data_of(data), data.rfind(b"\n\n")
    if start < 0 or end < start or data.find(b"\r") >= 0:
        return _NONE
    body = data[start:end]
    try:
        if body.find(b"\n") < 0:
            return Run([loads(body)], end + 2)
        pieces = body.split(b"\n\n" + data[:start])  # in most chunks all events have one name
        number = len(pieces)
        joined = _MARK.join(pieces)
        if joined.find(b"\n") >= 0:
            joined, number = _BETWEEN.subn(_MARK, body)
            number += 1
        if joined.find(b"\n") < 0 and body.find(_DIGITS) < 0:
            values = loads(b"[" + joined + b"]")
            if len(values) == 2 * number - 1 and values[1::2].count(_NUMBER) == number - 1:
                return Run(values[::2], end + 2)
    except (ValueError, RecursionError):
        pass
    return _one_by_one(data[:end], loads)


def _data_of(event: bytes) -> int:
    """Where the data of an event starts, behind a line with its type; -1 for any other start."""
    at = 0
    if event.startswith(b"event: "):
        at = event.find(b"\n") + 1
    return at + 6 if event.startswith(b"data: ", at) else -1


def _one_by_one(data: bytes, loads: Callable[[bytes], Any]) -> Run:
    """The run up to what is no event of one line of JSON."""
    values: list[Any] = []
    used = 0
    try:
        for piece in data.split(b"\n\n"):
            start = _data_of(piece)
            if start < 0 or piece.find(b"\n", start) >= 0:
                break
            values.append(loads(piece[start:]))
            used += len(piece) + 2
    except (ValueError, RecursionError):
        pass  # the parser and the JSON door say what is wrong
    return Run(values, used) if values else _NONE


def _scan(data: bytes) -> Any:
    text = data.decode()
    try:
        value, end = scan_json(text, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value
