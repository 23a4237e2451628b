"""A file system in memory that fails when it is told to, and forgets what was not synced.

What a real disk may do after a loss of power is a set; `survivors` goes through it. The rules: a
synced file has its bytes; of what was written since, any first part is there, or its size alone
with zeros in it; renamed, made and removed names are there in their order, as many as one likes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from streamstore.log import LogLocked


class Crash(BaseException):
    """The machine stops here; nothing that the program does afterwards counts."""


class Inode:
    """A file without its name: the bytes that are safe, and what happened to it since."""

    def __init__(self, safe: bytes = b"") -> None:
        self.safe = safe
        self.since: list[bytes | int] = []  # bytes appended, or the size it was cut to
        self.now = safe

    def add(self, step: bytes | int) -> None:
        self.since.append(step)
        self.now = self.now[:step] if isinstance(step, int) else self.now + step

    def sync(self) -> None:
        self.safe, self.since = self.now, []

    def survivors(self) -> Iterator[bytes]:
        """What may be there after a crash; each once."""
        found = {self.safe: None}
        data = self.safe
        for step in self.since:
            if isinstance(step, int):
                data = data[:step]
            else:
                for cut in {1, len(step) // 2, len(step) - 1}:
                    found[data + step[:cut]] = None
                found[data + bytes(len(step))] = None
                data += step
            found[data] = None
        return iter(found)


class MemoryDisk:
    """A `Disk`. Counts operations; `fail_at` names the one that fails, from 1.

    Args:
        fail_at: the number of an operation that fails.
        error: an errno that it fails with; None for a crash.
        part: of a write that fails, how much is written: 0 to 1.
        lasting: whether every later operation of its kind fails, too.
        most: how many bytes a write takes at most.
    """

    def __init__(
        self,
        names: dict[str, bytes] | None = None,
        *,
        fail_at: int = 0,
        error: int | None = None,
        part: float = 0,
        lasting: bool = False,
        most: int = 1 << 30,
    ) -> None:
        self.names = {name: Inode(data) for name, data in (names or {}).items()}
        self.safe_names = dict(self.names)
        self.name_steps: list[dict[str, Inode]] = []
        self.locked: set[str] = set()
        self.operations: list[str] = []
        self.fail_at, self.error, self.part = fail_at, error, part
        self.lasting, self.most = lasting, most
        self.crashed = False
        self.failing: set[str] = set()

    def fails(self, kind: str) -> bool:
        """Whether this operation fails; counts it."""
        if self.crashed:
            raise Crash
        self.operations.append(kind)
        failing = len(self.operations) == self.fail_at
        if failing and self.lasting:
            self.failing.add(kind)
        return failing or kind in self.failing

    def stop(self) -> Any:
        if self.error is None:
            self.crashed = True
            raise Crash
        raise OSError(self.error, os.strerror(self.error))

    def step(self, kind: str) -> None:
        if self.fails(kind):
            self.stop()

    # -- the protocol ------------------------------------------------------------------------------

    def open(self, path: str, mode: str) -> MemoryFile:
        self.step("open")
        inode = self.names.get(path)
        if inode is None:
            if mode == "read":
                raise FileNotFoundError(2, "no such file", path)
            inode = self.names[path] = Inode()
            self.name_steps.append(dict(self.names))
        if mode == "new":
            inode.add(0)
        return MemoryFile(self, inode)

    def replace(self, source: str, target: str) -> None:
        self.step("replace")
        self.names[target] = self.names.pop(source)
        self.name_steps.append(dict(self.names))

    def remove(self, path: str) -> None:
        self.step("remove")
        if path not in self.names:
            raise FileNotFoundError(2, "no such file", path)
        del self.names[path]
        self.name_steps.append(dict(self.names))

    def sync_folder(self, path: str) -> None:
        self.step("sync_folder")
        self.safe_names, self.name_steps = dict(self.names), []

    def lock(self, path: str) -> MemoryLock:
        self.step("lock")
        if path in self.locked:
            raise LogLocked(path)
        self.locked.add(path)
        return MemoryLock(self, path)

    # -- for tests ---------------------------------------------------------------------------------

    def now(self) -> dict[str, bytes]:
        """What a program sees now."""
        return {name: inode.now for name, inode in self.names.items()}

    def killed(self) -> MemoryDisk:
        """The disk after the process alone died: everything it wrote is there."""
        return MemoryDisk(self.now())

    def survivors(self) -> Iterator[MemoryDisk]:
        """Every disk that may be found after a loss of power; one file at a time varies."""
        for names in [self.safe_names, *self.name_steps]:
            plain = {name: inode.safe for name, inode in names.items()}
            yield MemoryDisk(plain)
            for name, inode in names.items():
                for data in inode.survivors():
                    yield MemoryDisk({**plain, name: data})


class MemoryFile:
    def __init__(self, disk: MemoryDisk, inode: Inode) -> None:
        self._disk, self._inode, self._at = disk, inode, 0

    def read(self, size: int) -> bytes:
        self._disk.step("read")
        data = self._inode.now[self._at : self._at + size]
        self._at += len(data)
        return data

    def write(self, data: bytes) -> int:
        disk = self._disk
        if disk.fails("write"):
            if taken := data[: int(len(data) * disk.part)]:
                self._inode.add(taken)
            disk.stop()
        taken = data[: disk.most]
        self._inode.add(taken)
        return len(taken)

    def truncate(self, size: int) -> None:
        self._disk.step("truncate")
        self._inode.add(size)

    def sync(self) -> None:
        self._disk.step("sync")
        self._inode.sync()

    def close(self) -> None:
        pass


class MemoryLock:
    def __init__(self, disk: MemoryDisk, path: str) -> None:
        self._disk, self._path = disk, path

    def release(self) -> None:
        self._disk.locked.discard(self._path)
