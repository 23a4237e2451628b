"""How much of SQLite's write-ahead log was written, whatever SQLite makes of it.

After a crash SQLite takes what is whole up to the last commit and says nothing of the rest. This
counts the frames that were written, so that the difference can be told. Knows the file's format
(https://www.sqlite.org/fileformat2.html#walformat); no database and no log.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}  # by the byte order of its checksums


class WriteAheadLog(NamedTuple):
    """The frames of a write-ahead log as they lie in the file, whole or not; none for no file."""

    commits: tuple[bool, ...] = ()
    """Of each frame, whether it ended a transaction."""
    frame_bytes: int = 0
    """Size of a frame."""
    rest: int = 0
    """Bytes of a last frame that is not there in full."""

    def behind(self, frames: int) -> tuple[int, int]:
        """Of what lies behind so many frames: how many bytes, and how many ends of transactions."""
        lost = self.commits[frames:]
        return len(lost) * self.frame_bytes + self.rest, sum(lost)


def look(path: str) -> WriteAheadLog:
    """Count the frames beside a database. Reads 24 bytes of each: linear in their number.

    Raises `OSError` when the file is there and cannot be read.
    """
    try:
        # Beside the database itself, which a link may name.
        with open(f"{os.path.realpath(path)}-wal", "rb") as file:
            return _count(file)
    except FileNotFoundError:
        return WriteAheadLog()


def _count(file: BinaryIO) -> WriteAheadLog:
    size = os.fstat(file.fileno()).st_size
    head = file.read(_HEADER.size)
    first = file.read(_FRAME.size)
    if len(first) < _FRAME.size:
        return WriteAheadLog()
    magic, _, page_bytes, _, *salts, sum_1, sum_2 = _HEADER.unpack(head)
    if magic not in _MAGIC or _checksum(head[:24], _MAGIC[magic]) != (sum_1, sum_2):
        # The header is damaged, for which SQLite drops everything: ask the frames themselves.
        salts = list(_FRAME.unpack(first)[2:4])
        page_bytes = page_bytes if page_bytes in (1 << n for n in range(9, 17)) else 4096
    frame_bytes = _FRAME.size + page_bytes
    commits: list[bool] = []
    count = 0  # up to the last one of this round; behind it lie those of an earlier one
    for at in range(_HEADER.size, size - _FRAME.size + 1, frame_bytes):
        file.seek(at)
        _, pages, salt_1, salt_2, _, _ = _FRAME.unpack(file.read(_FRAME.size))
        # A new round changes both: where one fits, the other is damaged.
        if salt_1 == salts[0] or salt_2 == salts[1]:
            count = len(commits) + 1
            if at + frame_bytes > size:
                return WriteAheadLog(tuple(commits), frame_bytes, size - at)
        commits.append(pages != 0)
    return WriteAheadLog(tuple(commits[:count]), frame_bytes, 0)


def _checksum(data: bytes, order: str) -> tuple[int, int]:
    first = second = 0
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
