"""What can go wrong with a file of this package; each error says whose fault it is.

Misuse of an open log (appending after `close`, a wrong argument) is the library's `CallerError`.
Knows no file and no format.
"""

from __future__ import annotations

from typing import ClassVar

from ..errors import Blame, StreamStoreError
from .records import Loss


class LogError(StreamStoreError):
    """A log or a saved state cannot be used as it is; the message names the file and says why."""

    blame: ClassVar[Blame] = "disk"


class DiskError(LogError):
    """The operating system refused: no space, an I/O error, no permission.

    Attributes:
        errno: its number, as in the module `errno`; None where nobody told.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno

    @classmethod
    def of(cls, path: str, doing: str, error: OSError, then: str = "") -> DiskError:
        """What an `OSError` means for a file; `then` says how things stand."""
        reason = error.strerror or str(error) or type(error).__name__
        return cls(f"{path}: cannot {doing}: {reason}{then and f'; {then}'}", error.errno)


class DamagedLog(LogError):
    """Records of a log are lost to damage; those before it were read, those behind it can be.

    Attributes:
        loss: what is lost, and where.
    """

    def __init__(self, path: str, loss: Loss, then: str = "") -> None:
        super().__init__(f"{path}: {loss}{then and f'; {then}'}")
        self.loss = loss


class LogLocked(LogError):
    """Somebody else is writing to it, and a log has one writer."""

    blame = "caller"


class UnsupportedLog(LogError):
    """A file is no log of this library, or of a version that it does not know; it is untouched."""

    blame = "caller"
