"""Which kind of log a path is: told by its name, `.sqlite`, `.sqlite3` and `.db` are SQLite.

Knows both kinds; SQLite, which not every Python has, only when it is asked for.
"""

from __future__ import annotations

import os

from .disk import DISK, Disk, PathLike
from .faults import UnsupportedLog
from .jsonl import JsonLinesLog, JsonLinesReader
from .reading import LogReader
from .writing import LogWriter

_SQLITE = (".sqlite", ".sqlite3", ".db")


def open_log(path: PathLike, *, disk: Disk = DISK) -> LogWriter:
    """Open a log to append to it, or make it; its one writer.

    What an interrupted writer left is repaired, and told in `recovered`. JSON lines are read for
    it from end to end, SQLite is not.

    Raises:
        LogLocked: it has a writer.
        UnsupportedLog: the file is something else, of an unknown version, or gzipped; it is left
            as it is. Or its name ends in `.gz`, which it would not be. Or it is no file, but a
            device or a pipe, as `/dev/stdout` is.
        DiskError: it cannot be opened, read or repaired.
        FileNotFoundError: there is no such folder.
    """
    name = os.fspath(path)
    if name.lower().endswith(".gz"):
        # What is synced has to be on the disk; a packer would hold it back.
        problem = "a gzipped log can only be read: name it without .gz, and gzip it afterwards"
        raise UnsupportedLog(f"{name}: {problem}")
    if os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name):
        # What is there is read first, and a terminal or a pipe, or /dev/full, has no end.
        raise UnsupportedLog(f"{name}: a log is a file, and this is a device or a pipe")
    if is_sqlite(path):
        from .sqlite import SqliteLog

        return SqliteLog(path, disk=disk)
    return JsonLinesLog(path, disk=disk)


def read_log(path: PathLike, *, disk: Disk = DISK) -> LogReader:
    """Open a log to read it: whole, gzipped (JSON lines), or still being written.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedLog: it is no log, or of an unknown version.
        DamagedLog: nothing of it can be read.
        DiskError: it cannot be opened.
    """
    if is_sqlite(path):
        from .sqlite import SqliteReader

        return SqliteReader(path)
    return JsonLinesReader(path, disk=disk)


def is_sqlite(path: PathLike) -> bool:
    """Whether a name is one of a SQLite log."""
    return os.fspath(path).lower().endswith(_SQLITE)
