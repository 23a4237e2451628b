"""Bytes that may be gzipped, unpacked as they come; what is broken ends them, and is told.

Knows bytes alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

_GZIP = b"\x1f\x8b"
_WBITS = 31  # with the header and the checksum of gzip
_CHUNK = 256 * 1024


class Unpacked:
    """The bytes inside, whether they are packed or not; iterate it once. Bounded memory.

    Attributes:
        packed: whether they were gzipped; known when the first bytes came.
        problem: why they end too early, "" where they do not.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.packed = False
        self.problem = ""

    def __iter__(self) -> Iterator[bytes]:
        head = b""
        for chunk in self._chunks:
            head += chunk
            if len(head) >= len(_GZIP):
                break
        self.packed = head.startswith(_GZIP)
        if self.packed:
            yield from self._unpack(head)
        else:
            yield head
            yield from self._chunks

    def _unpack(self, head: bytes) -> Iterator[bytes]:
        member = zlib.decompressobj(_WBITS)
        for chunk in chain((head,), self._chunks):
            while True:
                if member.eof:
                    chunk = chunk.lstrip(b"\0")  # members may be padded
                    if not chunk:
                        break
                    member = zlib.decompressobj(_WBITS)
                try:
                    data = member.decompress(chunk, _CHUNK)
                except zlib.error as error:
                    self.problem = f"broken as gzip: {error}"
                    return
                if data:
                    yield data
                chunk = member.unused_data if member.eof else member.unconsumed_tail
                if not chunk:
                    break  # what zlib may still hold comes with the end of the member
        if not member.eof:
            self.problem = "the gzipped log breaks off"
