"""The usual bytes of an event stream, straight to JSON values: whole events of one data line each.

A chunk that holds many events is read where it lies, with neither lines nor frames made of it: a
third of the time. What is anything else (ids, comments, CR, several data lines, broken JSON) is
left to the parser from there on, so the result never depends on the road. Knows the framing and
JSON; no protocol, stream or store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .decoding import scan_json

_DATA, _EVENT = "data: ", "event: "
_THEN_DATA, _BLANK = "\ndata: ", "\n\n"

#: A chunk shorter than this that ends inside an event is left to the parser: looking twice at
#: short ones costs more.
RUN_BYTES = 512


class Run(NamedTuple):
    """The values of whole events at the start of some bytes, and how many bytes they are."""

    values: list[Any]
    used: int


_NONE = Run([], 0)


def scan_run(data: bytes) -> Run:
    """The events at the start of `data`, as far as each is one `data: ` line of JSON.

    An `event: ` line before it is passed over. Nothing may be open before, and `data` holds no
    more than the parser's bound of a line. Linear; a run of which anything is in doubt is empty.

    >>> scan_run(b'data: {"a": 1}\\n\\ndata: [2]\\n\\ndata: {"b"')
    Run(values=[{'a': 1}, [2]], used=27)
    """
    if data.find(b"\r") >= 0:
        return _NONE
    try:
        text = data[: data.rfind(b"\n\n") + 2].decode()
    except UnicodeDecodeError:
        return _NONE  # the parser makes U+FFFD of it, where the line ends
    scan, starts = scan_json, text.startswith
    values: list[Any] = []
    at = used = lines = whole = 0
    try:
        while True:
            if starts(_DATA, at):
                at += len(_DATA)
                lines += 2
            elif starts(_EVENT, at):
                at = text.index(_THEN_DATA, at) + len(_THEN_DATA)
                lines += 3
            else:
                break
            value, at = scan(text, at)
            if not starts(_BLANK, at):
                break
            at += 2
            used = at
            whole = lines
            values.append(value)
    except (StopIteration, ValueError, RecursionError):
        pass  # the parser and the JSON door say what is wrong
    if not values or text.count("\n", 0, used) != whole:
        return _NONE  # JSON may hold line ends where the framing sees another line
    return Run(values, used if text.isascii() else len(text[:used].encode()))


def split_run(data: bytes, loads: Callable[[bytes], Any]) -> Run:
    """`scan_run` with another JSON decoder, which takes one value's bytes and raises `ValueError`.

    >>> import json
    >>> split_run(b'data: {"a": 1}\\n\\ndata: [2]\\n\\ndata: {"b"', json.loads)
    Run(values=[{'a': 1}, [2]], used=27)
    """
    if data.find(b"\r") >= 0:
        return _NONE
    if data.startswith(b"event: "):
        return _split_named(data, loads)
    if not data.startswith(b"data: "):
        return _NONE
    end = data.rfind(b"\n\n")
    pieces = data[6:end].split(b"\n\ndata: ") if end > 0 else []
    if data.count(b"\n", 0, max(end, 0)) != 2 * len(pieces) - 2:
        return _NONE
    values: list[Any] = []
    used = 0
    try:
        for piece in pieces:
            values.append(loads(piece))
            used += len(piece) + 8
    except (ValueError, RecursionError):
        pass
    return Run(values, used) if values else _NONE


def _split_named(data: bytes, loads: Callable[[bytes], Any]) -> Run:
    """`split_run` where each event has its type in a line before its data."""
    end = data.rfind(b"\n\n")
    pieces = data[:end].split(b"\n\n") if end > 0 else []
    if data.count(b"\n", 0, max(end, 0)) != 3 * len(pieces) - 2:
        return _NONE
    values: list[Any] = []
    used = 0
    try:
        for piece in pieces:
            at = piece.find(b"\n")
            payload = piece[at + 7 :]
            if not (piece.startswith(b"event: ") and piece.startswith(b"\ndata: ", at)):
                break
            if payload.find(b"\n") >= 0:
                break
            values.append(loads(payload))
            used += len(piece) + 2
    except (ValueError, RecursionError):
        pass
    return Run(values, used) if values else _NONE
