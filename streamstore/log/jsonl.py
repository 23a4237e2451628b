"""Logs as files of JSON lines: append, sync, recover; read, also gzipped.

Knows the disk and bytes that are scanned; what a line looks like is the business of `lines`.
"""

from __future__ import annotations

from collections.abc import Iterator

from .disk import DISK, Disk, DiskFile, PathLike, write_all
from .faults import DiskError, UnsupportedLog
from .lines import HEADER, NoLog, Scan, encode
from .reading import LogReader
from .records import Loss, Record, Recovery
from .writing import LogWriter

_CHUNK = 256 * 1024


class JsonLinesReader(LogReader):
    """A log of JSON lines, gzipped or not, to read.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedLog: it is no log, or of an unknown version.
        DiskError: it cannot be read.
    """

    def __init__(self, path: PathLike, *, disk: Disk = DISK) -> None:
        super().__init__(path)
        self._disk = disk
        next(self._items(0), None)  # or what is no log would be found out by the first read

    def _items(self, after: int) -> Iterator[Record | Loss]:
        scan = Scan(_chunks(self._disk, self.path))
        yield from _told(self.path, scan)
        self.torn = scan.torn


class JsonLinesLog(JsonLinesReader, LogWriter):
    """A log of JSON lines to append to; see `LogWriter`. A record is one `write` of the system.

    Opening reads all of it: a torn tail is cut off, damage elsewhere is told and left as it is.

    Raises:
        LogLocked: it has a writer.
        UnsupportedLog: the file is something else, of an unknown version, or gzipped. It is not
            touched.
        DiskError: it cannot be opened, read or repaired.
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, path: PathLike, *, disk: Disk = DISK) -> None:
        self._file: DiskFile | None = None
        self._size = 0  # bytes up to the end of the last whole line
        LogWriter.__init__(self, path, disk)

    def _open(self) -> None:
        try:
            scan = Scan(_chunks(self._disk, self.path))
            losses = tuple(item for item in _told(self.path, scan) if isinstance(item, Loss))
        except FileNotFoundError:
            scan, losses = Scan(()), ()
        if scan.packed:
            raise UnsupportedLog(f"{self.path}: a gzipped log can only be read")
        self._file = file = self._disk.open(self.path, "append")
        if scan.torn:
            file.truncate(scan.end)
        end = b"" if scan.ended else b"\n"
        if not scan.end:
            end = HEADER
        if end:
            write_all(file, end)
        # The name, too: whoever made the file may have died before that was safe.
        file.sync()
        self._disk.sync_folder(self.path)
        self._size = scan.end + len(end)
        self.position = scan.last
        self.recovered = Recovery(scan.records, scan.torn, losses)

    def _append(self, record: Record) -> None:
        assert self._file is not None
        line = encode(record)
        write_all(self._file, line)
        self._size += len(line)

    def _sync(self) -> None:
        assert self._file is not None
        self._file.sync()

    def _undo(self) -> int:
        assert self._file is not None
        try:
            self._file.truncate(self._size)
        except OSError:
            pass  # nothing is appended any more; the next opening cuts it off
        return self.position

    def _shut(self) -> None:
        if self._file is not None:
            self._file.close()


def _chunks(disk: Disk, path: str) -> Iterator[bytes]:
    file = disk.open(path, "read")
    try:
        while chunk := file.read(_CHUNK):
            yield chunk
    finally:
        file.close()


def _told(path: str, scan: Scan) -> Iterator[Record | Loss]:
    """The items of a scan; what goes wrong in it names the file."""
    try:
        yield from scan
    except NoLog as error:
        raise UnsupportedLog(f"{path}: {error}") from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskError.of(path, "read it", error) from error
