"""What may be fed, and which of two framings it has: JSON lines, or an event stream.

Knows lines alone; no parser, event or stream.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from .errors import CallerError

_END = re.compile(rb"\r\n|\r|\n")
_FIELD = re.compile(rb"(?:data|event|id|retry)(?::|$)")
_FIELDS = (b"data", b"event", b"id", b"retry")


def as_bytes(data: Any) -> bytes:
    """The bytes of what a program feeds.

    Raises:
        CallerError: it holds none; says what to give instead.

    >>> as_bytes(bytearray(b"data: {}"))
    b'data: {}'
    """
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    instead = "give decoded JSON to ingest"
    if isinstance(data, str):
        instead = "encode it, or read the response as bytes"
    raise CallerError(f"feed takes bytes, not {type(data).__name__[:80]}: {instead}")


def line_end(data: bytes | bytearray, start: int) -> int:
    """Where the line that `start` lies in ends: behind its CR, LF or CRLF; -1 without an end."""
    found = _END.search(data, start)
    return -1 if found is None else found.end()


def begins_field(line: bytes) -> bool:
    """Whether a line that breaks off may have become a field, or a comment, of an event stream.

    >>> begins_field(b"dat"), begins_field(b": hel"), begins_field(b"date")
    (True, True, False)
    """
    return line.startswith(b":") or any(name.startswith(line) for name in _FIELDS)


def framing_of(line: bytes) -> Literal["json lines", "event stream"] | None:
    """What a line belongs to; None where it could be a broken line of either.

    A comment decides nothing: a broken JSON line may start with a colon.

    >>> framing_of(b' {"type": "x"}\\n'), framing_of(b"data: {}\\n"), framing_of(b": hello\\n")
    ('json lines', 'event stream', None)
    """
    if line.lstrip()[:1] in (b"{", b"["):
        return "json lines"
    ended = line.endswith((b"\n", b"\r"))
    match = _FIELD.match(line.rstrip(b"\r\n"))
    return "event stream" if match and (ended or b":" in match[0]) else None
