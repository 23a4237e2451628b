"""Logs as SQLite databases: append, sync, recover; read from any position, also while written.

One file, beside which SQLite keeps its write-ahead log while somebody has it open. Every record
carries a checksum, and so does the last position: a row that a damaged page swallowed is missed.
Knows SQLite; no event.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from .disk import DISK, Disk, FileGone, PathLike
from .faults import DamagedLog, DiskError, LogError, LogLocked, UnsupportedLog
from .reading import LogReader
from .records import Loss, Record, Recovery
from .wal import look
from .writing import LogWriter

VERSION = 1
#: Uncommitted records, or bytes of theirs: at so many they are committed without a `sync`.
PENDING_RECORDS = 10_000
PENDING_BYTES = 4 * 1024 * 1024

#: What makes a connection to a database; `sqlite3.connect`, where a test gives nothing else.
Connect: TypeAlias = Callable[..., sqlite3.Connection]

_SCHEMA = (
    "CREATE TABLE records (position INTEGER PRIMARY KEY, time INTEGER, event_id TEXT NOT NULL, "
    "name TEXT NOT NULL, connection INTEGER NOT NULL, data NOT NULL, sum INTEGER NOT NULL)",
    "CREATE INDEX records_by_event_id ON records (event_id) WHERE event_id <> ''",
    # Where each connection starts: the position before its first record.
    "CREATE TABLE starts (connection INTEGER PRIMARY KEY, start INTEGER NOT NULL)",
    # One row: the version, and the last position.
    "CREATE TABLE log (version INTEGER NOT NULL, last INTEGER NOT NULL, sum INTEGER NOT NULL)",
)
_ROWS = "SELECT position, time, event_id, name, connection, data, sum FROM records"
_INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)"
# Rows are fetched in pages, so that no read stays open while a reader takes its time: it would
# keep the write-ahead log from shrinking.
_PAGE = 64
# No log has more positions. A damaged one that does not say its last is searched up to there.
_FAR = 1 << 40
_SMALLEST = 512  # bytes of the smallest page
_BUSY_SECONDS = 5.0
# The message of an error quotes the schema, which need not be UTF-8 where it is damaged.
_FAILURES = (sqlite3.Error, UnicodeDecodeError)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG)
_BROKEN = "the checksum does not fit"
_GONE = "rows are missing"


class SqliteReader(LogReader):
    """A log in a SQLite database, to read.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedLog: it is no log, or of an unknown version.
        DamagedLog: so much of it is broken that nothing can be read.
        DiskError: it cannot be opened.
    """

    def __init__(self, path: PathLike, *, connect: Connect = sqlite3.connect) -> None:
        super().__init__(path)
        try:
            Path(self.path).stat()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DiskError.of(self.path, "open it", error) from error
        pending = _has_pending(self.path)
        # What a writer left in the write-ahead log is for the next writer to take over, and to
        # tell of. Where there is nothing, one who may write removes its own empty one in the end.
        self._db = self._connect(connect, "mode=ro" if pending else "mode=rw")
        try:
            self._run("PRAGMA query_only = ON")
            try:
                self._last()
            except DiskError:
                if _has_pending(self.path):
                    raise
                # Who may not write in the folder cannot share a log with a writer. But without a
                # write-ahead log there is none, and the file is all there is.
                self._db.close()
                self._db = self._connect(connect, "mode=ro&immutable=1")
                self._last()
        except BaseException:
            self._db.close()
            raise

    def position_of(self, event_id: str) -> int | None:
        self._open_only()
        if not event_id:
            return None
        query = f"{_ROWS} WHERE event_id = ? AND event_id <> '' ORDER BY position LIMIT 1"
        try:
            for row in self._query(query, event_id):
                record = _record(row)
                if record is not None and record.event_id == event_id:
                    return record.position
                break
            else:
                return None
        except DamagedLog:
            pass
        return super().position_of(event_id)  # the index is damaged: one after the other

    def start_of(self, connection: int) -> int | None:
        self._open_only()
        try:
            rows = self._query("SELECT start FROM starts WHERE connection = ?", connection)
            if not rows:
                return None
            for row in self._query(f"{_ROWS} WHERE position = ? + 1", rows[0][0]):
                record = _record(row)
                if record is not None and record.connection == connection:
                    return record.position - 1
        except DamagedLog:
            pass
        return super().start_of(connection)

    def tells_times(self) -> bool:
        """Whether each record says when it came, and none before the one in front of it did.

        Where it is too damaged to tell: yes. Cost: a pass over the rows without long payloads.
        """
        self._open_only()
        query = (
            "SELECT 1 FROM records a JOIN records b ON b.position = a.position + 1 "
            "WHERE a.time IS NULL OR b.time IS NULL OR b.time < a.time LIMIT 1"
        )
        try:
            return not self._query(query)
        except DamagedLog:
            return True

    def close(self) -> None:
        super().close()
        self._db.close()

    # -- rows --------------------------------------------------------------------------------------

    def _connect(self, connect: Connect, options: str) -> sqlite3.Connection:
        uri = f"{Path(self.path).absolute().as_uri()}?{options}"
        try:
            db = connect(
                uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False
            )
        except _FAILURES as error:
            raise _told(self.path, "open it", error) from error
        db.text_factory = bytes  # a damaged text need not be UTF-8
        return db

    def _query(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except _FAILURES as error:
            problem = "its schema is damaged" if type(error) is UnicodeDecodeError else str(error)
            damaged = type(error) is UnicodeDecodeError or _code(error) in _DAMAGE
            if damaged or "malformed" in problem:
                raise DamagedLog(self.path, Loss(0, None, None, problem)) from error
            raise _told(self.path, "read it", error) from error

    def _run(self, statement: str, *values: Any) -> Any:
        """The first row of what a statement says."""
        try:
            return self._db.execute(statement, values).fetchone()
        except _FAILURES as error:
            raise _told(self.path, "write it", error) from error

    def _last(self) -> int | None:
        """The last position, as the log says; None where that is damaged.

        Raises what the constructor does.
        """
        self._query(f"{_ROWS} LIMIT 0")  # or it has no such table
        try:
            rows = self._query("SELECT version, last, sum FROM log LIMIT 1")
        except DamagedLog:
            return None
        for version, last, checksum in rows:
            if checksum == _sum(version, last):
                if version != VERSION:
                    raise UnsupportedLog(
                        f"{self.path}: its version is {version}, and this library knows {VERSION}"
                    )
                return int(last)
        return None

    def _items(self, after: int) -> Iterator[Record | Loss]:
        known = self._last()
        if known is None:
            yield Loss(after, after + 1, None, "what it says of itself is damaged")
        last, problem = after, ""
        at = after + 1  # where to look
        while True:
            rows: list[Any] = []
            broken = ""
            try:
                rows = self._query(
                    f"{_ROWS} WHERE position >= ? ORDER BY position LIMIT {_PAGE}", at
                )
            except DamagedLog as error:
                broken = error.loss.problem
            run = _without_gap(rows, at)
            if not run:
                end = rows[0][0] if rows else known or (_FAR if broken else 0)
                if at > end:
                    break
                run = self._search(at, end)
                if not run or run[0][0] > at:  # or only one of those behind it was broken
                    problem = problem or broken or _GONE
                if not run:
                    break
            for row in run:
                at = row[0] + 1
                record = _record(row)
                if record is None:
                    problem = problem or _BROKEN
                    continue
                if problem:
                    yield Loss(last, record.position, None, problem)
                last, problem = record.position, ""
                yield record
        if problem:
            yield Loss(last, None if known is None else max(at, known + 1), None, problem)

    def _search(self, first: int, end: int) -> list[Any]:
        """The first row behind a damaged place, in a list; [] where none is left up to `end`.

        A damaged page hides a range of positions, and may offer rows of another: so each probe
        asks for one position. O(log n) probes, each O(log n).
        """
        found = self._probe(first)
        if found:
            return found
        low, high = first, first + 1
        while not (found := self._probe(high)):
            if high >= end:
                return []
            low, high = high, min(end, high + 2 * (high - first))
        while high - low > 1:
            middle = (low + high) // 2
            nearer = self._probe(middle)
            if nearer:
                found, high = nearer, middle
            else:
                low = middle
        return found

    def _probe(self, position: int) -> list[Any]:
        try:
            return _without_gap(self._query(f"{_ROWS} WHERE position = ?", position), position)
        except DamagedLog:
            return []


class SqliteLog(SqliteReader, LogWriter):
    """A log in a SQLite database to append to; see `LogWriter`.

    Opening looks at the last position, not at every record: O(log n). What was not committed when
    its last writer died is not there. While it is open others may read it; a file system on which
    processes cannot share memory (a network's) will not do.

    Raises:
        LogLocked: it has a writer.
        UnsupportedLog: the file is something else, or of an unknown version. It is not changed.
        LogError: it is too damaged to append to; it may still be readable.
        DiskError: it cannot be opened or made.
        FileNotFoundError: there is no such folder.
    """

    def __init__(
        self, path: PathLike, *, disk: Disk = DISK, connect: Connect = sqlite3.connect
    ) -> None:
        self._connector = connect
        self._connection: int | None = None  # of the last record that was appended
        self._pending_records = 0
        self._pending_bytes = 0
        LogWriter.__init__(self, path, disk)

    def _open(self) -> None:
        written = look(self.path)  # before SQLite takes it over
        self._db = self._connect(self._connector, "mode=rwc")
        try:
            is_new = not self._query("SELECT count(*) FROM sqlite_master")[0][0]
            if is_new and 0 < Path(self.path).stat().st_size < _SMALLEST:
                # SQLite takes it for an empty database, and would write over it.
                raise UnsupportedLog(f"{self.path}: this is no log of streamstore")
            last = 0 if is_new else self._last()
            (mode,) = self._run("PRAGMA journal_mode = WAL")
            if mode != b"wal":
                raise DiskError(f"{self.path}: no write-ahead log can be kept here")
            self._run("PRAGMA synchronous = FULL")  # a commit returns when it is on the disk
            self._run("PRAGMA fullfsync = ON")
            _, kept, _ = self._run("PRAGMA wal_checkpoint(PASSIVE)")
            (highest,) = self._query("SELECT max(position) FROM records")[0] if not is_new else (0,)
        except DamagedLog as error:
            raise LogError(
                f"{self.path}: too damaged to append to ({error.loss.problem}); try to read it"
            ) from error
        highest = highest or 0
        cut, ends = written.behind(max(0, kept))
        losses = []
        if last is None:
            losses.append(Loss(0, 1, None, "what it says of itself is damaged"))
        elif last > highest:
            losses.append(Loss(highest, last + 1, None, _GONE))
        self.position = max(last or 0, highest)
        if ends:
            problem = f"the write-ahead log breaks off, with {ends} transactions behind"
            losses.append(Loss(self.position, None, None, problem))
        self.recovered = Recovery(highest, cut, tuple(losses))
        if is_new or last is None:
            self._run("BEGIN IMMEDIATE")
            for statement in _SCHEMA if is_new else ("DELETE FROM log",):
                self._run(statement)
            self._run("INSERT INTO log VALUES (?, ?, ?)", *self._own_row())
            self._run("COMMIT")
        self._disk.sync_folder(self.path)
        # SQLite follows links, and keeps its files where it opened them, wherever one works later.
        self._place = os.path.realpath(self.path)
        self._file = os.stat(self._place)

    def _append(self, record: Record) -> None:
        position, time_ms, event_id, name, connection, data = record
        try:
            text: str | bytes = data.decode()  # which others can read in the database, too
        except UnicodeDecodeError:
            text = data
        checksum = _record_sum(
            position, time_ms, connection, event_id.encode(), name.encode(), data
        )
        try:
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                _INSERT, (position, time_ms, event_id, name, connection, text, checksum)
            )
            if connection != self._connection:
                values = (connection, position - 1)
                self._db.execute("INSERT OR IGNORE INTO starts VALUES (?, ?)", values)
                self._connection = connection
        except _FAILURES as error:
            raise _told(self.path, "append to it", error) from error
        self._pending_records += 1
        self._pending_bytes += len(data)
        if self._pending_records >= PENDING_RECORDS or self._pending_bytes >= PENDING_BYTES:
            self.position = position
            self._sync()
            self.durable_position = position

    def _sync(self) -> None:
        if self._db.in_transaction:
            self._run("UPDATE log SET version = ?, last = ?, sum = ?", *self._own_row())
            self._run("COMMIT")
        self._pending_records = self._pending_bytes = 0
        self._still_there()

    def _still_there(self) -> None:
        """Raise `FileGone` where what SQLite writes to is not what others find by its names."""
        try:
            found = os.stat(self._place)
            os.stat(f"{self._place}-wal")  # which is there while a writer is
        except FileNotFoundError:
            raise FileGone(errno.ENOENT, "its files were removed or moved meanwhile") from None
        except OSError:
            return  # nobody knows
        if not os.path.samestat(found, self._file):
            raise FileGone(errno.ENOENT, "the file was replaced meanwhile")
        if found.st_size < _SMALLEST:
            raise FileGone(errno.EIO, "the file was cut off meanwhile")

    def _undo(self) -> int:
        try:
            self._db.rollback()
        except sqlite3.Error:
            pass  # closing it does the same
        return self.durable_position

    def _shut(self) -> None:
        if not hasattr(self, "_db"):
            return  # it was never opened
        try:
            # The last one to close does this by itself; a reader, who may outlive us, does not.
            self._db.execute("PRAGMA busy_timeout = 0")
            if not self._db.in_transaction:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # what was committed is on the disk all the same
        try:
            self._db.close()
        except sqlite3.Error:
            pass

    def _own_row(self) -> tuple[int, int, int]:
        return VERSION, self.position, _sum(VERSION, self.position)


# --- rows -----------------------------------------------------------------------------------------


def _record(row: Any) -> Record | None:
    """The record of a row; None where it is damaged."""
    position, time_ms, event_id, name, connection, data, checksum = row
    try:
        if checksum == _record_sum(position, time_ms, connection, event_id, name, data):
            return Record(position, time_ms, event_id.decode(), name.decode(), connection, data)
    except (TypeError, ValueError):
        pass
    return None


def _record_sum(
    position: int, time_ms: int | None, connection: int, event_id: bytes, name: bytes, data: bytes
) -> int:
    head = (position, time_ms, connection, len(event_id), len(name))
    return crc32(data, crc32(repr(head).encode() + event_id + name))


def _sum(*values: Any) -> int:
    return crc32(repr(values).encode())


def _without_gap(rows: list[Any], first: int) -> list[Any]:
    """The rows of a position and of those that follow on it, up to the first that is missing."""
    count = 0
    while count < len(rows) and rows[count][0] == first + count:
        count += 1
    return rows[:count]


def _has_pending(path: str) -> bool:
    """Whether there is anything in the write-ahead log beside a database, which a link may name."""
    try:
        return os.stat(f"{os.path.realpath(path)}-wal").st_size > 0
    except OSError:
        return False


# --- errors ---------------------------------------------------------------------------------------


def _code(error: Exception) -> int:
    """SQLite's primary result code, 0 where the error is Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _told(path: str, doing: str, error: Exception) -> LogError:
    """What an error of SQLite means for a log."""
    code = _code(error)
    if code == sqlite3.SQLITE_NOTADB or "no such" in str(error):
        return UnsupportedLog(f"{path}: this is no log of streamstore ({error})")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LogLocked(f"{path}: another program is writing to it ({error})")
    if code == sqlite3.SQLITE_FULL:
        return DiskError(f"{path}: cannot {doing}: {error}", errno.ENOSPC)
    number = errno.EIO if code == sqlite3.SQLITE_IOERR else None
    return DiskError(f"{path}: cannot {doing}: {error}", number)
