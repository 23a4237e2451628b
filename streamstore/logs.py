"""Recorded logs for the commands: files, standard input, gzip, and when each event arrived.

A log holds the events of one connection, as raw bytes of an event stream or as JSON lines; which
of the two shows in its first byte, and gzip in its first two, never in a name. A file named
`*.json` is not a log but one state that was fetched. Knows bytes, lines and times; of what an
event says it reads its `time` and nothing else. May not know a store.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from .decoding import decode_json
from .errors import CallerError, MalformedEvent
from .framing import framing_of
from .keys import is_number, is_order
from .log.faults import LogError
from .log.lines import STARTS, NoLog, Scan, looks_like_log
from .log.opening import is_sqlite, read_log
from .log.records import Loss, Record

#: Standard input, as a log's name.
STDIN = "-"
#: Beside a log: when its events arrived, in ms; one list, or a list for each connection.
ARRIVALS = "arrival_ms.json"
#: Between two events of which neither an arrival nor a time is known, in ms.
STEP_MS = 20.0

_CHUNK = 64 * 1024
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
# `stream.2.sse` is the second connection.
_NUMBERED = re.compile(r"\.([1-9][0-9]{0,3})\.[^.]+(?:\.gz)?$")


class UnreadableLog(CallerError):
    """A log cannot be read, or is none; the message names it and says why."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class TimedEvent(NamedTuple):
    """One event of a log: its bytes with their line ends, what it says, and when it came.

    `at` is in ms and never falls within a log; where it starts means nothing. What is no event (a
    comment, a blank line) stays with the event behind it, so that the pieces joined are the log;
    `says` is None in a last piece without one.
    """

    data: bytes
    says: bytes | None
    at: float


@attrs.frozen
class Log:
    """A log, or a fetched state, by its name; read anew with each call."""

    name: str
    connection: int | None = None
    on_loss: Callable[[Loss], object] | None = None

    def _open(self) -> tuple[Iterator[Record] | None, Iterator[bytes]]:
        """Its records, where this library wrote it, else its bytes."""
        if is_sqlite(self.name):
            return self._records(iter(())), iter(())
        head, chunks = _peek(self._raw(), max(map(len, STARTS)))
        return (self._records(chunks), iter(())) if looks_like_log(head) else (None, chunks)

    def _records(self, chunks: Iterator[bytes]) -> Iterator[Record]:
        try:
            if is_sqlite(self.name):
                with read_log(self.name) as log:
                    found = log.read(on_loss=self._tell)
                    yield from (record for record in found if self._wanted(record))
                return
            for item in Scan(chunks):
                if isinstance(item, Loss):
                    self._tell(item)
                elif self._wanted(item):
                    yield item
        except (LogError, NoLog, OSError) as error:
            raise UnreadableLog(self.name, _problem(error)) from error

    def _wanted(self, record: Record) -> bool:
        return self.connection in (None, record.connection)

    def _tell(self, loss: Loss) -> None:
        if self.on_loss is None:
            raise UnreadableLog(self.name, str(loss))
        self.on_loss(loss)

    @property
    def is_state(self) -> bool:
        """Whether it holds a fetched state and no events: its name ends in `.json`."""
        return self.name.lower().removesuffix(".gz").endswith(".json")

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, unpacked, as they come; cut anywhere, and of bounded size.

        Raises:
            UnreadableLog: there is no such file, or it breaks off or is broken as gzip.
        """
        records, chunks = self._open()
        yield from chunks if records is None else (record.frame() for record in records)

    def _raw(self) -> Iterator[bytes]:
        try:
            yield from _read(self.name)
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableLog(self.name, _problem(error)) from error

    def events(self) -> Iterator[TimedEvent]:
        """Its events one by one, each as soon as it is read; linear.

        Times are those of the file `arrival_ms.json` beside it, else the events' own `time` where
        two that follow one another have one, else `STEP_MS` apart.
        """
        records, chunks = self._open()
        at: float = 0
        if records is not None:
            for record in records:
                at = max(at, record.time_ms or 0)
                yield TimedEvent(record.frame(), record.data, at)
            return
        arrivals = iter(self._arrivals())
        last: int | None = None
        for data, says in _cut(chunks):
            if says is None:
                yield TimedEvent(data, says, at)
                return
            arrival = next(arrivals, None)
            if arrival is not None:
                at = max(at, arrival)
            else:
                time = _time_of(says)
                at += STEP_MS if time is None or last is None else max(0, time - last)
                last = time
            yield TimedEvent(data, says, at)

    def state(self) -> Any:
        """The one JSON value that a file of a state holds."""
        data = b"".join(self.chunks()).removeprefix(_BOM)
        try:
            return decode_json(data)
        except MalformedEvent as error:
            raise UnreadableLog(self.name, str(error)) from error

    def _arrivals(self) -> Sequence[float]:
        if self.name == STDIN:
            return ()
        try:
            found = json.loads(Path(self.name).with_name(ARRIVALS).read_bytes())
        except (OSError, ValueError, RecursionError):
            return ()  # it is there or it is not; a replay without it is still a replay
        if isinstance(found, list) and found and isinstance(found[0], list):
            numbered = _NUMBERED.search(self.name)
            place = int(numbered[1]) - 1 if numbered else 0
            found = found[place] if place < len(found) else []
        if not isinstance(found, list) or not all(is_order(time) for time in found):
            return ()
        return found


# --- bytes ----------------------------------------------------------------------------------------


class _Rest(io.RawIOBase):
    """A file after its head was read: the head again, then the rest."""

    def __init__(self, head: bytes, file: io.BufferedReader) -> None:
        self._head = head
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._head or self._file.read1(len(buffer))
        taken = data[: len(buffer)]
        self._head = data[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _read(name: str) -> Iterator[bytes]:
    with ExitStack() as stack:
        if name == STDIN:
            file: Any = sys.stdin.buffer  # not closed: it is not ours
        else:
            file = stack.enter_context(open(name, "rb"))
        head = file.read1(_CHUNK)
        while len(head) < len(_GZIP) and (more := file.read1(_CHUNK)):
            head += more
        if head.startswith(_GZIP):
            packed = io.BufferedReader(_Rest(head, file))
            file = stack.enter_context(gzip.GzipFile(fileobj=packed, mode="rb"))
            head = file.read1(_CHUNK)
        while head:
            yield head
            head = file.read1(_CHUNK)


def _peek(chunks: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and all of them; no more is read than tells a log of ours from another."""
    held, head = [], b""
    for chunk in chunks:
        held.append(chunk)
        head += chunk[:size]
        if len(head) >= size or not any(start.startswith(head) for start in STARTS):
            break
    return head, chain(held, chunks)


def _problem(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the gzipped file breaks off"
    if isinstance(error, gzip.BadGzipFile | zlib.error):
        return f"broken as gzip: {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


# --- events ---------------------------------------------------------------------------------------


def _cut(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
    """Pieces that end with an event, and what each event says; None in a last piece without one."""
    lines = _lines(chunks)
    head: list[bytes] = []
    for line in lines:
        head.append(line)
        start = (line if len(head) > 1 else line.removeprefix(_BOM)).lstrip()
        framing = framing_of(start)
        if framing is not None:
            cut = _json_lines if framing == "json lines" else _frames
            yield from cut(head, lines)
            return
    if head:
        yield b"".join(head), None


def _json_lines(head: list[bytes], lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
    yield b"".join(head), head[-1].removeprefix(_BOM)
    held: list[bytes] = []
    for line in lines:
        held.append(line)
        if line.strip():
            yield b"".join(held), line
            held = []
    if held:
        yield b"".join(held), None


def _frames(head: list[bytes], lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
    held: list[bytes] = []
    data: list[bytes] = []
    start = _BOM
    for line in chain(head, lines):
        held.append(line)
        content = line.removeprefix(start).rstrip(b"\r\n")
        start = b""
        name, _, value = content.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif not content and data:
            yield b"".join(held), b"\n".join(data)
            held, data = [], []
    if held:
        yield b"".join(held), None


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their ends (LF, CR, CRLF); each as soon as it is known to have ended."""
    held: list[bytes] = []
    for chunk in chunks:
        if b"\n" not in chunk and b"\r" not in chunk and not (held and held[-1].endswith(b"\r")):
            held.append(chunk)
            continue
        held.append(chunk)
        lines = b"".join(held).splitlines(keepends=True)
        # A CR at the very end may be half of a CRLF.
        held = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        yield from lines
    if held:
        yield b"".join(held)


def _time_of(says: bytes) -> int | None:
    try:
        wire = decode_json(says)
    except MalformedEvent:
        return None
    time = wire.get("time") if isinstance(wire, dict) else None
    return time if is_number(time) else None
