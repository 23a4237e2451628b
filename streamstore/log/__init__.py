"""Files that outlive a process: append-only event logs, and saved states.

The public names and nothing else. `open_log` and `read_log` tell the kind of a log by its name:
JSON lines, or SQLite for `.sqlite`, `.sqlite3` and `.db`.
"""

from __future__ import annotations

from .disk import Disk, DiskFile, FileGone, Lock, Mode
from .faults import DamagedLog, DiskError, LogError, LogLocked, UnsupportedLog
from .opening import open_log, read_log
from .reading import LogReader
from .records import Loss, Record, Recovery
from .states import read_state, write_state
from .writing import LogWriter

__all__ = [
    "DamagedLog",
    "Disk",
    "DiskError",
    "DiskFile",
    "FileGone",
    "Lock",
    "LogError",
    "LogLocked",
    "LogReader",
    "LogWriter",
    "Loss",
    "Mode",
    "Record",
    "Recovery",
    "UnsupportedLog",
    "open_log",
    "read_log",
    "read_state",
    "write_state",
]
