"""A log as JSON lines: a record to its line, and the bytes of a log to records and losses.

    {"log": "streamstore", "version": 1, "sum": "1d38e1d7"}
    {"position": 1, "time": 1700000000000, "id": "7", "event": "message", "connection": 2,
     "data": {"type": "x"}, "sum": "7cf0b60f"}

(one line each). `time`, `id`, `event` and a `connection` of 0 are left out where there is nothing
to say. `data` is the payload byte for byte where that is a JSON object or array on one line, else a
string: the payload's text, a byte that is no UTF-8 as a lone surrogate U+DC80 to U+DCFF. The sum
is the CRC-32 of the line before `, "sum"`. Knows bytes; no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from zlib import crc32

from ..decoding import decode_json
from ..errors import MalformedEvent
from .gzipped import Unpacked
from .records import Loss, Record
from .sealing import seal, unseal

VERSION = 1
HEADER = seal(b'{"log": "streamstore", "version": %d' % VERSION) + b"\n"

#: A longer line is no record; without a bound a damaged log would be read into memory whole.
LINE_BYTES = 64 * 1024 * 1024

#: How the first line of a log starts, or that of a part of one.
STARTS = (b'{"log": "streamstore"', b'{"position": ')

_HEADER = re.compile(rb'\{"log": "streamstore", "version": ([0-9]{1,9})\b')
_NUMBER = rb"([0-9]{1,19})"
_STRING = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_HEAD = re.compile(
    rb'\{"position": %b(?:, "time": %b)?(?:, "id": %b)?(?:, "event": %b)?(?:, "connection": %b)?'
    rb', "data": ' % (_NUMBER, _NUMBER, _STRING, _STRING, _NUMBER)
)
_readable = json.JSONEncoder(ensure_ascii=False).encode
_SEAL = re.compile(rb', "sum": "([0-9a-f]{8})"\}')


class NoLog(Exception):
    """The bytes are no log, or of an unknown version; the message says which."""


# --- one record -----------------------------------------------------------------------------------


def encode(record: Record) -> bytes:
    """The line of a record, with its end. Linear in the payload."""
    position, time_ms, event_id, name, connection, data = record
    members = [b'{"position": %d' % position]
    if time_ms is not None:
        members.append(b'"time": %d' % time_ms)
    if event_id:
        members.append(b'"id": ' + _string(event_id))
    if name:
        members.append(b'"event": ' + _string(name))
    if connection:
        members.append(b'"connection": %d' % connection)
    members.append(b'"data": ' + (data if _is_plain(data) else _escaped(data)))
    return seal(b", ".join(members)) + b"\n"


def decode(line: bytes) -> Record | None:
    """The record of a line without its end; None when it is none, or damaged. Linear."""
    body = unseal(line)
    found = None if body is None else _inside(body)
    return found if isinstance(found, Record) else None


def looks_like_log(line: bytes) -> bool:
    """Whether bytes start as a log of this library does; it may be damaged behind that.

    >>> looks_like_log(HEADER), looks_like_log(b'{"type": "block.delta"}')
    (True, False)
    """
    return line.startswith(STARTS)


def _inside(body: bytes) -> Record | int | None:
    """What an object whose checksum fits is: a record, or a header, by its version."""
    head = _HEAD.match(body)
    if head is None:
        header = _HEADER.match(body)
        return None if header is None else int(header[1])
    position, time, event_id, name, connection = head.groups()
    data = body[head.end() :]
    try:
        if data[:1] == b'"':
            data = json.loads(data).encode("utf-8", "surrogateescape")
        return Record(
            int(position),
            None if time is None else int(time),
            "" if event_id is None else _text(event_id),
            "" if name is None else _text(name),
            0 if connection is None else int(connection),
            data,
        )
    except ValueError:  # of another hand: it has the right sum, but is no line of ours
        return None


def _is_plain(data: bytes) -> bool:
    """Whether a payload can stand in a line as it is: one JSON object or array, on one line."""
    if data[:1] not in (b"{", b"[") or b"\n" in data or b"\r" in data:
        return False
    try:
        decode_json(data.decode())
    except (MalformedEvent, UnicodeDecodeError):
        return False
    return True


def _escaped(data: bytes) -> bytes:
    return _string(data.decode("utf-8", "surrogateescape"))


def _string(text: str) -> bytes:
    try:
        return _readable(text).encode()
    except UnicodeEncodeError:
        return json.dumps(text).encode()


def _text(inside: bytes) -> str:
    """The text of a JSON string, given what is between its quotes."""
    if b"\\" in inside:
        return str(json.loads(b'"%b"' % inside))
    return inside.decode()


# --- a whole log ----------------------------------------------------------------------------------


class Scan:
    """Reads the bytes of a log once: records and losses, in order.

    The end of a log is a matter of its own: it may be in the middle of being written, or was when
    its writer died. A record whose checksum fits is whole, even where the end of its line is
    missing; every other last line without an end is torn.

    Attributes:
        header: whether the log begins with a header that is whole.
        records: how many were found.
        last: the highest position that a record has, or may have had that was lost at the end.
        end: how many bytes are records, or damaged lines that have an end.
        ended: whether these bytes end with the end of a line.
        torn: how many bytes stand behind them.

    Raises `NoLog` while it is iterated. Cost: linear, and at most one line in memory.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._bytes = Unpacked(chunks)
        self.header = False
        self.records = 0
        self.last = 0
        self.end = 0
        self.ended = True
        self.torn = 0
        self._line = 0  # number of the current one
        self._problem: tuple[int, str] | None = None  # the first since the last record
        self._damaged = 0  # pieces since the last record, each of which may have been one
        self._begun = False  # a header was torn
        self._claimed = ""  # the version that a damaged header claims

    @property
    def packed(self) -> bool:
        """Whether the bytes are gzipped; `end` and `torn` count what was in there."""
        return self._bytes.packed

    def __iter__(self) -> Iterator[Record | Loss]:
        for content, size, has_end in _lines(self._bytes):
            self._line += 1
            start, length = self.end, size - has_end
            for stop, found in _pieces(content, length):
                if found is None and stop == length and not has_end:
                    self.torn = start + stop - self.end
                    self._begun = self.end == 0 and _is_torn_header(content)
                    continue
                if isinstance(found, Record) and found.position > self.last:
                    yield from self._take(found)
                elif isinstance(found, int) and self.end == 0:
                    self._begin(found)
                else:
                    self._note(found, content, start + stop - self.end)
                self.ended = has_end and stop == length
                self.end = start + stop + self.ended
        if not (self.header or self.records or self._begun) and (self._problem or self.torn):
            raise NoLog(
                f"its version is {self._claimed}, or it is damaged"
                if self._claimed
                else "this is no log of streamstore"
            )
        if self._bytes.problem and self._problem is None:
            self._problem = self._line, self._bytes.problem
        if self._problem is not None:
            yield Loss(self.last, None, *self._problem)
            self.last += self._damaged

    def _begin(self, version: int) -> None:
        if version != VERSION:
            raise NoLog(f"its version is {version}, and this library knows {VERSION}")
        self.header = True

    def _take(self, record: Record) -> Iterator[Record | Loss]:
        if self._problem is None and record.position > self.last + 1:
            self._problem = self._line, "lines before this one are missing"
        if self._problem is not None:
            yield Loss(self.last, record.position, *self._problem)
            self._problem = None
            self._damaged = 0
        self.last = record.position
        self.records += 1
        yield record

    def _note(self, found: Record | int | None, content: bytes, size: int) -> None:
        """Remember a piece of the log that is no record, or is not in its place."""
        if not size:
            return  # a blank line
        self._damaged += found is None
        if self._line == 1 and (claimed := _HEADER.match(content)) and int(claimed[1]) != VERSION:
            self._claimed = claimed[1].decode()
        if self._problem is not None:
            return
        if isinstance(found, Record):
            problem = f"position {found.position} is not behind {self.last}"
        elif found is not None:
            problem = "another log begins here"
        elif not content:
            problem = f"longer than {LINE_BYTES} bytes"
        else:
            fits = "the checksum does not fit"
            problem = fits if _SEAL.search(content) else "this is no record"
        self._problem = self._line, problem


def _is_torn_header(content: bytes) -> bool:
    """Whether it is what a crash leaves of a header: less of it, or zeros in the place of some."""
    return len(content) <= len(HEADER) and HEADER.startswith(content.rstrip(b"\0"))


def _pieces(line: bytes, length: int) -> Iterator[tuple[int, Record | int | None]]:
    """What a line holds: where each piece stops, and what it is; None for what is damaged.

    Usually one record. Two that became one line when the line end between them was changed are
    found again: the first must begin the line, because a payload can look like a log.
    """
    body = unseal(line) or unseal(line.removesuffix(b"\r"))  # git on Windows changes line ends
    found = None if body is None else _inside(body)
    if found is not None or not line:
        yield length, found
        return
    done = at = sum_at = 0
    checksum = 0
    for match in _SEAL.finditer(line):
        checksum = crc32(line[sum_at : match.start()], checksum)
        sum_at = match.start()
        if b"%08x" % checksum != match[1]:
            continue
        found = _inside(line[at:sum_at])
        if found is None:
            continue
        if at > done:
            yield at, None
        done = match.end()
        yield done, found
        at = sum_at = done + 1  # behind the byte that was the end of a line
        checksum = 0
    if done < length:
        yield length, None


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, int, bool]]:
    """Lines without their LF, how long they are with it, and whether they have it.

    A line that is too long comes as b"". Blank ones have a length, too.
    """
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            size += len(line)
            if size > LINE_BYTES:
                line = b""
            elif held:
                line = b"".join((*held, line))
            yield line, size + 1, True
            held, size = [], 0
        if rest:
            size += len(rest)
            if size > LINE_BYTES:
                held = []
            else:
                held.append(rest)
    if size:
        yield b"".join(held), size, False
