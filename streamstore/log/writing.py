"""What both kinds of log promise to the one who writes them.

Above all: an append that failed, or a sync, is told, and nothing goes in behind it. Knows records;
not how they are written.
"""

from __future__ import annotations

from abc import abstractmethod

from ..errors import CallerError, LimitError
from ..keys import MAX_NUMBER, is_number
from .disk import Disk, FileGone, Lock, PathLike
from .faults import DiskError
from .lines import LINE_BYTES
from .reading import LogReader
from .records import Record, Recovery

#: Longest payload: as JSON each of its bytes may become six (`\u0001`).
PAYLOAD_BYTES = (LINE_BYTES - 64 * 1024) // 6
#: Longest event id or name.
NAME_BYTES = 4096


class LogWriter(LogReader):
    """A log to append to, by one writer at a time; made by `open_log`. It can be read, too.

    - write: `append`, `sync`
    - read: all of `LogReader`
    - end: `close`, or use it in a `with` statement

    After a `DiskError` it takes nothing more: `durable_position` says what is safe, and opening
    it again looks at what is really there. One thread uses it at a time.

    Attributes:
        position: of the last record, 0 for none.
        durable_position: of the last record that would survive a loss of power.
        recovered: what was found when it was opened.
    """

    def __init__(self, path: PathLike, disk: Disk) -> None:
        super().__init__(path)
        self.position = 0
        self.durable_position = 0
        self.recovered = Recovery()
        self._disk = disk
        self._failed = ""
        self._found = 0  # the last position when it was opened
        self._lock: Lock
        try:
            self._lock = disk.lock(self.path)
        except FileNotFoundError:
            raise  # there is no such folder
        except OSError as error:
            raise DiskError.of(self.path, "lock it", error) from error
        try:
            self._open()
            self._found = self.durable_position = self.position
        except BaseException as error:
            self._release()
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise DiskError.of(self.path, "open it", error) from error
            raise

    def append(
        self,
        payload: bytes | str,
        *,
        time_ms: int | None = None,
        event_id: str = "",
        name: str = "",
        connection: int = 0,
    ) -> int:
        """Write one event behind the others; its position. It is safe after the next `sync`.

        `payload` is the event as it was received, at most `PAYLOAD_BYTES`; `time_ms` when it
        arrived, in ms since the epoch; `event_id` and `name` what the event stream said, at most
        `NAME_BYTES` each; `connection` which connection brought it, an integer from 0.

        A record of JSON lines outlives the process when this returns, one of SQLite after `sync`.

        Raises:
            DiskError: it was not written, and nothing of it is left between whole records.
            LimitError: it is too long; the log goes on.
            CallerError: an argument is wrong, or the log is closed or failed before.
        """
        self._usable()
        if not isinstance(payload, bytes | bytearray | memoryview | str):
            raise CallerError(
                "a payload is the bytes or the text of an event, not "
                f"{type(payload).__name__!r:.80}: of an object give json.dumps"
            )
        data = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
        if time_ms is not None and not is_number(time_ms):
            raise CallerError("time_ms must be None or an integer from 0")
        if not is_number(connection):
            raise CallerError("connection must be an integer from 0")
        if len(data) > PAYLOAD_BYTES:
            raise LimitError(
                f"a payload of {len(data):,} bytes; at most {PAYLOAD_BYTES:,} are kept"
            )
        if event_id or name:
            _check_names(event_id, name)
        if self.position == MAX_NUMBER:
            raise LimitError("the log is full: there is no higher position")
        record = Record(self.position + 1, time_ms, event_id, name, connection, bytes(data))
        try:
            self._append(record)
            self.position = record.position
        except BaseException as error:  # also an interrupt: half a record may be written
            self._fail("append to it", error)
            raise
        return record.position

    def sync(self) -> int:
        """Make everything appended so far survive a loss of power; `durable_position`.

        Raises:
            DiskError: it may not; `durable_position` is what it was. The system may have thrown
                away what it could not write, so that trying again proves nothing. Or somebody else
                removed, replaced or cut off the file: then `durable_position` is 0.
            CallerError: the log is closed or failed before.
        """
        self._usable()
        if self.durable_position != self.position:
            self._make_safe()
        return self.durable_position

    def _make_safe(self) -> None:
        try:
            self._sync()
        except BaseException as error:
            self._fail("sync it", error)
            raise
        self.durable_position = self.position

    def close(self) -> None:
        """`sync`, unless the log failed, and let go of the file; again does nothing.

        Raises:
            DiskError: as `sync`. The log is closed all the same.
        """
        if self._closed:
            return
        try:
            # Again where nothing came since: the file may be gone since then.
            if not self._failed and self.position != self._found:
                self._make_safe()
        finally:
            super().close()
            self._release()

    def _usable(self) -> None:
        self._open_only()
        if self._failed:
            raise CallerError(f"{self._failed}; open the log again to go on")

    def _fail(self, doing: str, error: BaseException) -> None:
        """Take nothing more; raises what an error of the system means here."""
        if isinstance(error, FileGone):
            self.durable_position = 0
            safe = "nothing of it is known to be safe"
        else:
            self.position = self._undo()
            safe = f"positions up to {self.durable_position} are safe"
        self._failed = f"{self.path}: could not {doing} before, {safe}"
        if isinstance(error, OSError):
            raise DiskError.of(self.path, doing, error, safe) from error
        if isinstance(error, DiskError):
            raise DiskError(f"{error}; {safe}", error.errno) from error

    def _release(self) -> None:
        try:
            self._shut()
        finally:
            self._lock.release()

    @abstractmethod
    def _open(self) -> None:
        """Open and recover; sets `position` and `recovered`. What is kept is on the disk then."""

    @abstractmethod
    def _append(self, record: Record) -> None:
        """Write a record behind the others."""

    @abstractmethod
    def _sync(self) -> None:
        """Return when everything appended is on the disk."""

    @abstractmethod
    def _undo(self) -> int:
        """Take back what was written of a record that failed; the last position that is left."""

    @abstractmethod
    def _shut(self) -> None:
        """Close what is open, whatever state it is in."""


def _check_names(*names: str) -> None:
    for name in names:
        try:
            size = len(name.encode())
        except (AttributeError, UnicodeEncodeError):
            raise CallerError("event_id and name must be strings of whole characters") from None
        if size > NAME_BYTES:
            raise LimitError(f"an event id or name of {size} bytes; at most {NAME_BYTES} are kept")
