"""JSON objects that carry a checksum of their own text as their last member, `sum`.

Knows bytes; not what an object says.
"""

from __future__ import annotations

from zlib import crc32

#: Bytes that a seal adds.
SEAL_BYTES = 20


def seal(body: bytes) -> bytes:
    """An object without its closing brace, closed by its checksum. Linear.

    >>> seal(b'{"a": 1')
    b'{"a": 1, "sum": "7aa88204"}'
    """
    return b'%b, "sum": "%08x"}' % (body, crc32(body))


def unseal(sealed: bytes) -> bytes | None:
    """What `seal` was given; None when that cannot be what is there. Linear.

    One changed bit never fits, a burst of more than 32 with a chance of 2**-32.
    """
    body = sealed[:-SEAL_BYTES]
    return body if sealed[-SEAL_BYTES:] == b', "sum": "%08x"}' % crc32(body) else None
