"""A log that somebody still writes, as what is played: it has no end, and is looked at again.

What was written comes as events, as soon as it is whole; where there is no more comes `WAITING`. A
log that is cut off, replaced or removed is read from its start when there is one again, and that
is said. Knows files and logs; no inspector and no screen. The clock is an argument, and nothing
waits.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Protocol, TypeAlias

from ..errors import CallerError
from ..feeding import ARRAY, says_array
from ..log import Loss, Record, UnsupportedLog, read_log
from ..log.lines import LINE_BYTES, STARTS, NoLog, Scan, decode, looks_like_log
from ..log.opening import is_sqlite
from ..logs import STEP_MS, TimedEvent, UnreadableLog
from .cutting import EventCutter
from .playing import WAITING, Said, Waiting

Item: TypeAlias = "TimedEvent | Said | Waiting | None"
Clock: TypeAlias = Callable[[], float]

#: How often a log is looked at in which there was no more, in ms.
LOOK_MS = 250.0

_CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b"
_TELLING_BYTES = max(map(len, STARTS))
_AGAIN = "it is read from its start"


def followed(name: str, clock: Clock, *, look_ms: float = LOOK_MS) -> Iterator[Item]:
    """The events of a log, those that are written meanwhile too; never ends.

    None among them is the end of a connection that the log tells of. Times are those that the log
    says, else those at which it was looked at. Half an event waits for its other half.

    Args:
        name: of a file: bytes of an event stream, JSON lines, or a log of this library.
        clock: ms.
        look_ms: how often it is looked at where there was no more.

    Raises:
        CallerError: it is no file, or gzipped.
        UnreadableLog: it is not there; or, while it is iterated, it cannot be read.
        LogError: while it is iterated: a log of this library cannot be read.
    """
    try:
        mode = os.stat(name).st_mode
        if not stat.S_ISREG(mode):
            raise CallerError(f"{name}: only a file can be followed")
        with open(name, "rb") as file:
            if file.read(len(_GZIP)) == _GZIP:
                raise CallerError(f"{name}: a gzipped log is whole, and cannot be followed")
    except (OSError, ValueError) as error:
        raise UnreadableLog(name, getattr(error, "strerror", None) or str(error)) from error
    read = _rows if is_sqlite(name) else _bytes
    return _again_and_again(name, read, clock, look_ms)


def _again_and_again(
    name: str, read: Callable[[str, Clock], Iterator[Item]], clock: Clock, look_ms: float
) -> Iterator[Item]:
    while True:
        next_look = clock()
        try:
            for item in read(name, clock):
                if item is not WAITING:
                    yield item
                    continue
                next_look = clock() + look_ms
                while clock() < next_look:
                    yield WAITING
        except FileNotFoundError:
            pass  # it went between two looks
        except OSError as error:
            raise UnreadableLog(name, error.strerror or str(error)) from error
        gone = False
        while not os.path.exists(name):
            if not gone:
                gone = True
                yield Said("the log was removed; another one is waited for")
            yield WAITING


def _fate(name: str, before: os.stat_result) -> str:
    """What became of a file by its name, "" where it is the same one."""
    try:
        now = os.stat(name)
    except FileNotFoundError:
        return "removed"
    return "" if os.path.samestat(before, now) else "replaced"


# --- files ----------------------------------------------------------------------------------------


class _Cut(Protocol):
    """Makes events of bytes that come."""

    def feed(self, data: bytes) -> Iterator[Item]:
        """The events that these bytes finish."""
        ...

    @property
    def half(self) -> int:
        """How many bytes of a line are held that may be taken back; they are fed again then."""
        ...

    def forget(self) -> None:
        """Let go of those."""
        ...


def _bytes(name: str, clock: Clock) -> Iterator[Item]:
    """One file, until it is another one."""
    with open(name, "rb", buffering=0) as file:
        itself = os.fstat(file.fileno())
        read, head = 0, b""
        cut: _Cut | None = None
        while True:
            data = file.read(_CHUNK)
            if data:
                read += len(data)
                if cut is None:
                    head += data
                    cut = _cut_of(name, head, clock)
                    data, head = (b"", head) if cut is None else (head, b"")
                if cut is not None:
                    yield from cut.feed(data)
                continue
            fate = _fate(name, itself)
            if fate == "replaced":
                yield Said(f"the log was replaced: {_AGAIN}")
            if fate:
                return
            if os.fstat(file.fileno()).st_size == read:
                yield WAITING
            size = os.fstat(file.fileno()).st_size
            if size == read:
                continue
            # Whoever goes on with a log cuts off what a crash left of a line, and it is as long
            # again, or longer, when the next one is written: half a line is read anew.
            half = len(head) if cut is None else cut.half
            if half > _CHUNK and size > read:
                continue  # but for one that is so long that it costs
            if cut is not None:
                cut.forget()
            read, head = read - half, b""
            if size < read:
                yield Said(f"the log was cut off: {_AGAIN}")
                read, cut = 0, None
            file.seek(read)


def _cut_of(name: str, head: bytes, clock: Clock) -> _Cut | None:
    """How a log is cut, by its first bytes; None where they do not tell yet."""
    if len(head) < _TELLING_BYTES and any(start.startswith(head) for start in STARTS):
        return None
    return _Records(name) if looks_like_log(head) else _Pieces(name, clock)


class _Pieces:
    """The bytes of an event stream, or JSON lines."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._cutter = EventCutter()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[Item]:
        now = self._clock()
        for piece in self._cutter.feed(data):
            event = TimedEvent(piece, piece.lstrip(), now)
            if not self._begun and says_array(event):
                raise UnreadableLog(self._name, ARRAY)
            self._begun = True
            yield event

    @property
    def half(self) -> int:
        return 0  # a server's bytes are not mended

    def forget(self) -> None:
        pass


class _Records:
    """Lines of a log of this library."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._held: list[bytes] = []
        self._size = 0
        self._line = 0
        self._problem: tuple[int, str] | None = None
        self._timed = _Timed()

    def feed(self, data: bytes) -> Iterator[Item]:
        *whole, rest = data.split(b"\n")
        for line in whole:
            too_long = self._size + len(line) > LINE_BYTES
            line = b"" if too_long else b"".join((*self._held, line))
            self._held, self._size = [], 0
            self._line += 1
            if too_long:
                self._problem = self._problem or (self._line, "the line is too long")
            else:
                yield from self._take(line)
        self._size += len(rest)
        self._held = [] if self._size > LINE_BYTES else [*self._held, rest]

    @property
    def half(self) -> int:
        return self._size

    def forget(self) -> None:
        self._held, self._size = [], 0

    def _take(self, line: bytes) -> Iterator[Item]:
        if self._line == 1:
            try:
                for _ in Scan((line + b"\n",)):
                    pass
            except NoLog as error:
                raise UnsupportedLog(f"{self._name}: {error}") from None
        record = decode(line) or decode(line.removesuffix(b"\r"))
        last = self._timed.last
        if record is not None and record.position > last:
            if record.position > last + 1:
                self._problem = self._problem or (self._line, "lines before this one are missing")
            if self._problem is not None:
                yield Said(str(Loss(last, record.position, *self._problem)))
                self._problem = None
            yield from self._timed.take(record)
        elif line.strip() and not (self._line == 1 and looks_like_log(line)):
            self._problem = self._problem or (self._line, "this is no record that belongs here")


class _Timed:
    """Records to events, with the times of the log; a connection ends where another one begins."""

    def __init__(self) -> None:
        self.last = 0  # position
        self._connection = 0
        self._at = 0.0
        self._time: int | None = None

    def take(self, record: Record) -> Iterator[TimedEvent | None]:
        if self.last and record.connection != self._connection:
            yield None
        self.last, self._connection = record.position, record.connection
        time = record.time_ms
        if time is None:
            self._at += STEP_MS
        elif self._time is None:
            self._at = max(self._at, time)
        else:
            self._at += max(0, time - self._time)  # a clock that was put back stands still here
        self._time = self._time if time is None else time
        yield TimedEvent(record.frame(), record.data, self._at)


# --- databases ------------------------------------------------------------------------------------


def _rows(name: str, clock: Clock) -> Iterator[Item]:
    """One database, until it is another one."""
    itself = os.stat(name)
    if not itself.st_size:
        yield WAITING  # it is being made
        return
    with closing(read_log(name)) as log:
        timed = _Timed()
        told: set[str] = set()
        losses: list[Loss] = []
        while True:
            for record in log.read(timed.last, losses.append):
                yield from _said(losses, told)
                yield from timed.take(record)
            yield from _said(losses, told)
            fate = _fate(name, itself)
            if fate == "replaced":
                yield Said(f"the log was replaced: {_AGAIN}")
            if fate:
                return
            yield WAITING


def _said(losses: list[Loss], told: set[str]) -> Iterator[Item]:
    """What is lost, once: what is lost at the end is found with every look."""
    while losses:
        loss = str(losses.pop(0))
        if loss not in told:
            told.add(loss)
            yield Said(loss)
