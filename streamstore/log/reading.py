"""What both kinds of log promise to those who read them.

Knows records and losses; not where they come from.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeAlias

from ..errors import CallerError
from ..keys import is_number
from .disk import PathLike
from .faults import DamagedLog
from .records import Loss, Record

#: Told of what cannot be read, before the next record is handed out.
OnLoss: TypeAlias = Callable[[Loss], object]


class LogReader(ABC):
    """A log to read, also while another process writes it; made by `read_log`.

    - read: `read`
    - find a position: `position_of` an event id, `start_of` a connection
    - end: `close`, or use it in a `with` statement

    Attributes:
        path: where it is, as it was given.
        torn: bytes behind the last whole record that the last `read` to the end found; a record
            that is being written, or was when its writer died. Always 0 in SQLite.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        self.torn = 0
        self._closed = False

    def read(self, after: int = 0, on_loss: OnLoss | None = None) -> Iterator[Record]:
        """The records behind a position, in order; what is appended meanwhile may be among them.

        Nothing is skipped in silence: each damaged place behind the position is given to `on_loss`
        between the records around it. Bytes at the end of JSON lines that are no whole record
        (yet) are no loss, see `torn`.

        Cost: JSON lines are read from their beginning; SQLite finds a position in O(log n).

        Raises:
            DamagedLog: something is lost and there is no `on_loss`; what came before it was
                handed out.
            DiskError: it cannot be read.
            CallerError: `after` is no position, or the log is closed.
        """
        self._open_only()
        if not is_number(after):
            raise CallerError(f"a position is an integer from 0, not {after!r:.80}")
        return self._read(after, on_loss)

    def _read(self, after: int, on_loss: OnLoss | None) -> Iterator[Record]:
        for item in self._items(after):
            if isinstance(item, Record):
                if item.position > after:
                    yield item
            elif item.before is None or item.before > after + 1 or not after:
                if on_loss is None:
                    raise DamagedLog(self.path, item, "give `on_loss` to read what is left")
                on_loss(item)

    def position_of(self, event_id: str) -> int | None:
        """The position of the first record with an event id; None when no whole record has it.

        What stands behind the *first* one is sent twice rather than not at all, should a log hold
        an id several times. Cost: O(log n) in SQLite, linear in JSON lines.
        """
        for record in self._read(0, _ignore) if event_id else ():
            if record.event_id == event_id:
                return record.position
        return None

    def start_of(self, connection: int) -> int | None:
        """The position before a connection's first record; None when it has no whole record.

        Where connections follow one another, the n-th record of one has position
        `start_of(connection) + n`: so `read(after=start + stream.position.events)` is what a
        stream that was loaded lacks. Cost: as `position_of`.
        """
        for record in self._read(0, _ignore):
            if record.connection == connection:
                return record.position - 1
        return None

    def close(self) -> None:
        """Let go of the file; calling it again does nothing."""
        self._closed = True

    def _open_only(self) -> None:
        if self._closed:
            raise CallerError(f"{self.path}: this log is closed")

    @abstractmethod
    def _items(self, after: int) -> Iterator[Record | Loss]:
        """Records and losses in order; those up to `after` may be among them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _ignore(_: Loss) -> None:
    """Damage elsewhere is no reason not to find a position."""
