"""The few things this package asks of a file system, behind a protocol that tests can fail.

`OsDisk` is the real one. Knows files and locks, nothing of what is written.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import Literal, Protocol, TypeAlias

from .faults import LogLocked

if sys.platform == "win32":
    import msvcrt
else:
    try:
        import fcntl
    except ImportError:  # builds for a browser: there is no other process to keep out
        fcntl = None  # type: ignore[assignment]

#: `append`: made when missing, every write goes to its end; `new`: made, private, or emptied.
Mode: TypeAlias = Literal["read", "append", "new"]
PathLike: TypeAlias = "str | os.PathLike[str]"

_READ_BYTES = 256 * 1024
# Windows locks bytes and lets nobody read them: lock one far behind the number that is in there.
_LOCKED_BYTE = 1 << 30


class FileGone(OSError):
    """What was synced is gone, too: somebody else removed, replaced or cut off the file.

    `DiskFile.sync` may raise it; whoever writes the log then gets a `DiskError`, and its
    `durable_position` is 0.
    """


class DiskFile(Protocol):
    """An open file. Every method but `close` may raise `OSError`."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes from where the last read ended; b"" at the end."""
        ...

    def write(self, data: bytes, /) -> int:
        """Write at the end; how many bytes were taken, which may be fewer."""
        ...

    def truncate(self, size: int, /) -> None:
        """Cut off what lies behind so many bytes."""
        ...

    def sync(self) -> None:
        """Return when what was written would survive a loss of power."""
        ...

    def close(self) -> None:
        """Let go of it; calling it again does nothing."""
        ...


class Lock(Protocol):
    """Held until `release`, or until its process ends, however it ends."""

    def release(self) -> None:
        """Somebody else may be the writer from now on; called once."""
        ...


class Disk(Protocol):
    """A file system. Every method may raise `OSError`."""

    def open(self, path: str, mode: Mode, /) -> DiskFile:
        """Open a file: to `read` it, to `append` (made where it is not there), or a `new` one.

        What was in the place of a new one is gone, and nobody but the user may read it.

        Raises:
            FileNotFoundError: to read, it is not there; else its folder is not.
        """
        ...

    def replace(self, source: str, target: str, /) -> None:
        """Rename in one step; a target that exists gives its permissions and goes."""
        ...

    def remove(self, path: str, /) -> None:
        """Take a file away; `FileNotFoundError` where there is none."""
        ...

    def sync_folder(self, path: str, /) -> None:
        """Return when the name of a file would survive a loss of power, under its folder."""
        ...

    def lock(self, path: str, /) -> Lock:
        """Become the one writer of a path.

        Raises:
            LogLocked: somebody is, in this process or another.
        """
        ...


class OsDisk:
    """The file system of the machine."""

    def open(self, path: str, mode: Mode, /) -> DiskFile:
        return _OsFile(path, mode)

    def replace(self, source: str, target: str, /) -> None:
        try:
            os.chmod(source, stat.S_IMODE(os.stat(target).st_mode))
        except OSError:
            pass  # there is none yet, or the file system has no such modes
        os.replace(source, target)

    def remove(self, path: str, /) -> None:
        os.unlink(path)

    def sync_folder(self, path: str, /) -> None:
        if sys.platform != "win32":  # which cannot open a folder, and writes names down itself
            folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
            try:
                _sync(folder)
            finally:
                os.close(folder)

    def lock(self, path: str, /) -> Lock:
        return _OsLock(path)


def write_all(file: DiskFile, data: bytes) -> None:
    """Write all of it, whatever the disk takes at a time."""
    taken = file.write(data)
    while taken < len(data):
        more = file.write(data[taken:])
        if not more:
            raise OSError(errno.EIO, "the disk takes no more")
        taken += more


class _OsFile:
    def __init__(self, path: str, mode: Mode) -> None:
        self._file = io.FileIO(
            path,
            {"read": "r", "append": "a", "new": "w"}[mode],
            opener=_open_private if mode == "new" else None,
        )
        found = os.fstat(self._file.fileno())
        self._size = found.st_size
        self._named = found.st_nlink > 0  # some file systems count no names at all

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, _READ_BYTES)) or b""

    def write(self, data: bytes, /) -> int:
        taken = self._file.write(data) or 0
        self._size += taken
        return taken

    def truncate(self, size: int, /) -> None:
        self._file.truncate(size)
        self._size = size

    def sync(self) -> None:
        _sync(self._file.fileno())
        # The system writes on into a file without a name, and behind what was cut off.
        found = os.fstat(self._file.fileno())
        if self._named and not found.st_nlink:
            raise FileGone(errno.ENOENT, "the file was removed or replaced meanwhile")
        if found.st_size < self._size:
            raise FileGone(errno.EIO, "the file was cut off meanwhile")

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            pass  # what `sync` was asked for is on the disk; nothing else was promised


def _open_private(path: str, flags: int) -> int:
    """For nobody else to read: what is said to an assistant is nobody's business."""
    return os.open(path, flags, 0o600)


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        # There fsync hands the bytes to the drive, which may keep them in its own memory.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:
            pass  # not every file system has it
    os.fsync(descriptor)


class _OsLock:
    """A lock of the system on a file beside the path, which is removed on release.

    The system lets go of it when the process dies, so that a file that was left behind locks
    nobody out. On the path itself it cannot be: SQLite locks that, and loses its own locks when
    another descriptor of the file is closed.
    """

    def __init__(self, path: str) -> None:
        self._name = os.path.realpath(path) + ".lock"
        while True:
            self._file = io.FileIO(os.open(self._name, os.O_RDWR | os.O_CREAT, 0o666), "r+")
            try:
                _hold(self._file.fileno())
            except OSError as error:
                holder = self._holder()
                self._file.close()
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                    raise LogLocked(f"{path}: {holder} writes to it; close that first") from error
                raise
            if self._is_there():
                break
            self._file.close()  # the last holder removed it between our opening and locking it
        try:
            self._file.truncate(0)
            self._file.write(b"%d\n" % os.getpid())
        except OSError:
            pass  # the number only helps whoever is locked out

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._name), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _holder(self) -> str:
        try:
            number = int(self._file.read(32) or b"")
        except (OSError, ValueError):
            return "another writer"
        return "this process" if number == os.getpid() else f"process {number}"

    def release(self) -> None:
        # Removed while it is held: whoever opened it meanwhile finds it gone and makes another.
        if sys.platform != "win32":
            self._remove()
        self._file.close()
        if sys.platform == "win32":
            self._remove()  # an open file cannot be removed there

    def _remove(self) -> None:
        try:
            os.unlink(self._name)
        except OSError:
            pass  # it locks nobody out


def _hold(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    elif fcntl is not None:
        # Not `lockf`: its locks belong to the process, which could then write twice.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


#: What is used where nobody gives another.
DISK: Disk = OsDisk()
