"""Recorded logs for the commands: files, standard input, gzip, and when each event arrived.

A log holds the events of one connection, as raw bytes of an event stream or as JSON lines; which
of the two shows in its first byte, and gzip in its first two, never in a name. A durable log, as
`streamstore.log` writes them, may hold several connections, with the times at which events came. A
file named `*.json` that is one JSON value is not a log but one state that was fetched. Knows bytes,
lines and times; of what an event says it reads its `time` and nothing else. May not know a store.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple, cast

import attrs

from .decoding import decode_json
from .errors import CallerError, MalformedEvent
from .framing import framing_of
from .keys import is_number, is_order
from .log.faults import LogError
from .log.lines import STARTS, NoLog, Scan, looks_like_log
from .log.opening import is_sqlite, read_log
from .log.records import Loss, Record
from .sight import Sight, is_utf16

#: Standard input, as a log's name.
STDIN = "-"
#: Beside a log: when its events arrived, in ms; one list, or a list for each connection.
ARRIVALS = "arrival_ms.json"
#: Between two events of which neither an arrival nor a time is known, in ms.
STEP_MS = 20.0

#: What is said of a log in which there is nothing for a store.
NO_EVENTS = "holds no events"

_CHUNK = 64 * 1024
_TELLING_BYTES = max(map(len, STARTS))  # of a durable log
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
# `stream.2.sse` is the second connection.
_NUMBERED = re.compile(r"\.([1-9][0-9]{0,3})\.[^.]+(?:\.gz)?$")
# What a browser takes without its scheme: `localhost:4096/event`, `example.com/event`.
_ADDRESS = re.compile(
    r"(?:localhost|(?:[\w.-]+|\[[\da-fA-F:]+\]):\d{1,5})(?:[/?]|$)|([\w-]+(?:\.[\w-]+)+)[/?]"
)


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


class _Reading:
    """A durable log while it is read, which the logs of its connections share.

    Those that are read in the order of their first events cost one reading altogether; whoever
    goes back costs another one.
    """

    def __init__(self, log: Log, spans: Mapping[int, tuple[int, int]]) -> None:
        self._log = log
        self._spans = spans  # of each connection: its first and its last position
        self._end = max(last for _, last in spans.values())
        self._records: Generator[Record] | None = None
        self._next: Record | None = None

    def of(self, connection: int) -> Iterator[Record]:
        first, last = self._spans[connection]
        records, record = self._records, self._next
        # Whoever stops in the middle leaves nothing to go on with.
        self._records = self._next = None
        if records is None or record is None or record.position > first:
            records = self._log._records()
            record = next(records, None)
        while record is not None and record.position <= last:
            if record.connection == connection:
                yield record
            if record.position >= self._end:
                break  # what was appended meanwhile is for the next time
            record = next(records, None)
        if last == self._end:
            records.close()
        else:
            self._records, self._next = records, record


@attrs.frozen
class Log:
    """A log, or a fetched state, by its name; read anew with each call.

    Attributes:
        name: a path, or `-`.
        connection: the one connection of a durable log that is meant; None for all that is there.
        on_loss: told what of a durable log cannot be read; without it that is an error.
    """

    name: str
    connection: int | None = None
    on_loss: Callable[[Loss], object] | None = None
    _reading: _Reading | None = attrs.field(default=None, eq=False, repr=False, alias="reading")
    # What standard input holds can be had once.
    _given: Iterator[Record] | Iterator[bytes] | None = attrs.field(
        default=None, eq=False, repr=False, alias="given"
    )
    _judged: bool = attrs.field(default=False, eq=False, repr=False, alias="is_judged")
    _judging: Callable[[str], object] | None = attrs.field(
        default=None, eq=False, repr=False, alias="judging"
    )

    @property
    def label(self) -> str:
        """Its name, and the connection that is meant, for messages."""
        number = self.connection
        return self.name if number is None else f"{self.name} (connection {number})"

    @property
    def comes_once(self) -> bool:
        """Whether it can be read once only: standard input, a pipe with a name."""
        if self.name == STDIN:
            return True
        try:
            mode = os.stat(self.name).st_mode
        except (OSError, ValueError):
            return False
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def recorded(self, tell: Callable[[str], object] | None = None) -> tuple[Log, ...]:
        """A log for each connection of a durable log, in the order of their first events.

        Itself for everything else: other logs, states, what is not there, and what comes once
        (see `arriving`). `tell` gets a line for each place where the log is damaged, and for an
        unfinished record at its end; without it damage is an error, and such an end is none.

        Cost: reads a durable log once; the logs that are handed out read it once more altogether.

        Raises:
            UnreadableLog: it is a durable log, and nothing of it can be read; or it is damaged.
        """
        if self.is_state or self.comes_once or not self._is_durable():
            return (self,)
        told = attrs.evolve(self, on_loss=tell and (lambda loss: tell(f"{self.name}: {loss}")))
        spans: dict[int, tuple[int, int]] = {}
        for record in told._records(None, tell and (lambda torn: tell(f"{self.name}: {torn}"))):
            first, _ = spans.get(record.connection, (record.position, 0))
            spans[record.connection] = first, record.position
        # Once is enough: what is lost was told, or there is nothing.
        quiet = attrs.evolve(self, on_loss=_ignore if tell else None)
        if len(spans) < 2:
            return (quiet,)
        reading = _Reading(quiet, spans)
        return tuple(attrs.evolve(quiet, connection=n, reading=reading) for n in spans)

    def arriving(self, tell: Callable[[str], object] | None = None) -> Iterator[Log]:
        """As `recorded`, for what comes once: one after the other, as they come, each read once.

        Raises:
            UnreadableLog: as `recorded`; or one connection goes on behind another one, and the log
                has to be a file.
        """
        told = attrs.evolve(self, on_loss=tell and (lambda loss: tell(f"{self.name}: {loss}")))
        records, chunks = told._source(tell and (lambda torn: tell(f"{self.name}: {torn}")))
        if records is None:
            yield attrs.evolve(self, given=chunks)
            return
        seen: set[int] = set()
        for number, group in groupby(records, lambda record: record.connection):
            if number in seen:
                raise UnreadableLog(self.name, "its connections take turns: give it as a file")
            seen.add(number)
            yield attrs.evolve(self, connection=number, given=group)

    def judged(self, tell: Callable[[str], object] | None = None) -> Log:
        """The same log, that says when it was read to its end what no store takes of it.

        `tell` gets one line about lines that are over the limits; a store only counts them. Without
        it lines may be as long as they like. Then reading raises `UnreadableLog` where nothing in
        it is an event. A durable log was written by who knew events: of one only the lines are
        told.
        """
        return attrs.evolve(self, is_judged=True, judging=tell)

    def _is_durable(self) -> bool:
        """Whether it is a file that this library wrote; what is wrong with it is said elsewhere."""
        try:
            if is_sqlite(self.name):
                return Path(self.name).exists()
            return looks_like_log(_peek(self._raw(), _TELLING_BYTES)[0])
        except (OSError, UnreadableLog):
            return False

    def _open(self) -> tuple[Iterator[Record] | None, Iterator[bytes]]:
        """Its records, where this library wrote it, else its bytes; judged where that is wanted."""
        records, chunks = self._source()
        if records is None:
            return None, self._judge(chunks, self._judging) if self._judged else chunks
        if self._judging is not None:
            records = self._judge_records(records, self._judging)
        return records, chunks

    def _judge(
        self, chunks: Iterator[bytes], tell: Callable[[str], object] | None
    ) -> Generator[bytes, None, None]:
        sight = Sight()
        for chunk in chunks:
            sight.look(chunk)
            yield chunk
        sight.end()
        if sight.skipped and tell is None:
            return
        if sight.is_none:
            problem = sight.too_long("no other event is in it") or f"{NO_EVENTS} ({sight.kind})"
            raise UnreadableLog(self.label, problem)
        if sight.skipped and tell is not None:
            tell(f"{self.label}: {sight.too_long('left out')}")

    def _judge_records(
        self, records: Iterator[Record], tell: Callable[[str], object]
    ) -> Generator[Record, None, None]:
        sight = Sight()
        for record in records:
            if len(record.data) > Sight.harmless:  # else none of its lines can be too long
                sight.look(record.frame())
            yield record
        if sight.skipped:
            tell(f"{self.label}: {sight.too_long('left out')}")

    def _source(
        self, on_torn: Callable[[str], object] | None = None
    ) -> tuple[Iterator[Record] | None, Iterator[bytes]]:
        if self._given is not None:
            if self.connection is None:
                return None, cast("Iterator[bytes]", self._given)
            return cast("Iterator[Record]", self._given), iter(())
        if self._reading is not None and self.connection is not None:
            return self._reading.of(self.connection), iter(())
        if is_sqlite(self.name):
            return self._records(), iter(())
        head, chunks = _peek(self._raw(), _TELLING_BYTES)
        if not looks_like_log(head):
            return None, chunks
        return self._records(chunks if self.comes_once else None, on_torn), iter(())

    def _records(
        self, chunks: Iterator[bytes] | None = None, on_torn: Callable[[str], object] | None = None
    ) -> Generator[Record]:
        """The records of a file, or of what comes in chunks."""
        try:
            if chunks is None:
                with read_log(self.name) as log:
                    found = log.read(on_loss=self._tell)
                    yield from (record for record in found if self._wanted(record))
                    torn = log.torn
            else:
                scan = Scan(chunks)
                for item in scan:
                    if isinstance(item, Loss):
                        self._tell(item)
                    elif self._wanted(item):
                        yield item
                torn = scan.torn
        except (LogError, NoLog, OSError) as error:
            problem = _problem(error).removeprefix(f"{self.name}: ")
            raise UnreadableLog(self.name, problem) from error
        if torn and on_torn is not None:
            on_torn(f"{torn} bytes at its end are left out: no whole record (yet)")

    def _wanted(self, record: Record) -> bool:
        return self.connection in (None, record.connection)

    def _tell(self, loss: Loss) -> None:
        if self.on_loss is None:
            raise UnreadableLog(self.name, str(loss))
        self.on_loss(loss)

    @property
    def is_state(self) -> bool:
        """Whether it holds a fetched state and no events: its name ends in `.json`.

        A log may have such a name, too: a file is one where its first line is a value of its own
        and another one begins behind it, or where it starts as an event stream. What is neither
        that nor one JSON value is a broken state. Reads two lines of a file of that name.
        """
        if not self.name.lower().removesuffix(".gz").endswith(".json"):
            return False
        return self.comes_once or not self._holds_lines()

    def _holds_lines(self) -> bool:
        try:
            lines = (line.removeprefix(_BOM).lstrip() for line in _lines(self._raw()))
            telling = (line for line in lines if line and not line.startswith(b":"))
            first = next(telling, b"")
            if framing_of(first) == "event stream":
                return True
            # Before it is decoded: most states are one line, and all of it.
            if framing_of(next(telling, b"")) != "json lines":
                return False
            return isinstance(decode_json(first), dict | list)
        except (UnreadableLog, MalformedEvent):
            return False

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
            problem = _problem(error)
            if isinstance(error, FileNotFoundError) and "://" in self.name:
                problem = "no such file; http(s) addresses are for streamstore watch and record"
            elif isinstance(error, FileNotFoundError) and _is_address(self.name):
                problem = (
                    "no such file; an address begins with http:// or https://, and is for "
                    "streamstore watch and record"
                )
            raise UnreadableLog(self.name, problem) from error

    def events(self) -> Iterator[TimedEvent]:
        """Its events one by one, each as soon as it is read; linear.

        Times are those at which a durable log says that they came (ms since the epoch); else those
        of the file `arrival_ms.json` beside it; else the events' own `time` where two that follow
        one another have one; else `STEP_MS` apart.
        """
        records, chunks = self._open()
        at: float = 0
        if records is not None:
            yield from _arrived(records)
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
            problem = "text in UTF-16: save it as UTF-8" if is_utf16(data) else str(error)
            raise UnreadableLog(self.name, problem) from error

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


def _arrived(records: Iterable[Record]) -> Iterator[TimedEvent]:
    at: float = 0
    last: int | None = None
    for record in records:
        time = record.time_ms
        if time is None:
            at += STEP_MS
        elif last is None:
            at = max(at, time)
        else:
            at += max(0, time - last)  # a clock that was put back stands still here
        last = time if time is not None else last
        yield TimedEvent(record.frame(), record.data, at)


def _ignore(_: Loss) -> None:
    """It was told before."""


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
            if sys.stdin is None:  # whoever started this closed it
                raise OSError(errno.EBADF, "standard input is closed")
            file: Any = sys.stdin.buffer  # not closed: it is not ours
        else:
            try:
                file = stack.enter_context(open(name, "rb"))
            except ValueError:  # a zero in it, or what the system's encoding lacks
                raise OSError(errno.EINVAL, "no file can have such a name") from None
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


def _is_address(name: str) -> bool:
    """Whether what is no file may be an address without its scheme."""
    found = _ADDRESS.match(name)
    # A host without a port looks like a folder, and is one where there is one.
    return found is not None and not (found[1] and os.path.isdir(found[1]))


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
