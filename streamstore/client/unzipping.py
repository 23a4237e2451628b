"""The bytes of a body in gzip, of any number of members.

httpx reads the first member alone, and says nothing of the rest; a server or a proxy that flushes
by ending a member begins a new one for each. Pure: no I/O, nothing of HTTP.
Source: RFC 1952, 2.2: a file is one member or several, one behind the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

#: Bytes that are looked at at once, and that are given at most: a little of a bomb is huge.
STEP = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16
#: Between members and behind the last one: padding (as gzip itself skips it), and what scripts
#: print behind their end. Neither is data.
_PADDING = b"\0\r\n"


class Unzip:
    """Takes a body in gzip apart, member by member, however its bytes are cut.

    >>> import gzip
    >>> unzip = Unzip()
    >>> b"".join(unzip.feed(gzip.compress(b"one ") + gzip.compress(b"two")))
    b'one two'
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = True  # the member; of the first one an empty body has nothing

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes are, by pieces of at most `STEP` bytes, none of them empty.

        Cost: linear in what comes in and goes out; never more than a piece is held.

        Raises:
            zlib.error: they are not gzip, or damaged; what came before stays.
        """
        for start in range(0, len(data), STEP):
            yield from self._some(data[start : start + STEP])

    def _some(self, data: bytes) -> Iterator[bytes]:
        while True:
            if not self._begun:
                data = data.lstrip(_PADDING)
                if not data:
                    return
                self._member, self._begun = zlib.decompressobj(_GZIP), True
            piece = self._member.decompress(data, STEP)
            if piece:
                yield piece
            if self._member.eof:
                data, self._begun = self._member.unused_data, False
            else:
                data = self._member.unconsumed_tail
                if not data and len(piece) < STEP:  # a full one: more of it may be waiting inside
                    return
