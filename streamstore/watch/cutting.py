"""Bytes of a live stream cut into whole events, without taking a byte away.

The pieces joined are what came, so that a store that is fed piece by piece sees the same stream as
one that is fed chunk by chunk. Knows lines and framings; no event, store or clock. (A recorded log
is cut by `streamstore.logs`, which reads at its own pace; here bytes are pushed in.)
"""

from __future__ import annotations

from ..framing import framing_of

_BOM = b"\xef\xbb\xbf"
#: A longer piece without an end is handed on as it is: the parser behind has its own bounds.
LONGEST_PIECE = 16 * 1024 * 1024


class EventCutter:
    r"""Cuts what is fed to it behind each event; linear in the bytes for any chunk size.

    A comment or blank line stays with the event behind it. What is longer than `LONGEST_PIECE`
    bytes without an end goes on uncut.

    >>> cutter = EventCutter()
    >>> cutter.feed(b'data: {"a"'), cutter.feed(b': 1}\n'), cutter.feed(b'\n: hi\ndata: 2\n\n')
    ([], [], [b'data: {"a": 1}\n\n', b': hi\ndata: 2\n\n'])
    >>> cutter.end()
    []
    """

    def __init__(self, longest: int = LONGEST_PIECE) -> None:
        self._longest = longest
        self._line: list[bytes] = []  # fragments of a line that has not ended
        self._piece: list[bytes] = []  # whole lines of an event that has not ended
        self._size = 0
        self._has_data = False
        self._started = False
        self._lines: bool | None = None  # JSON lines; None until a line tells

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that these bytes finish, each with one event at its end."""
        held_cr = bool(self._line) and self._line[-1].endswith(b"\r")
        if b"\n" not in data and b"\r" not in data and not held_cr:
            self._hold(data)
            return self._overlong()
        self._line.append(data)
        text = b"".join(self._line)
        lines = text.splitlines(keepends=True)
        # A CR at the very end may be half of a CRLF.
        self._line = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        found: list[bytes] = []
        for line in lines:
            self._take(line, found)
        self._size = sum(map(len, self._piece)) + sum(map(len, self._line))
        return found + self._overlong()

    def end(self) -> list[bytes]:
        """What is left: an event without its end, or a comment."""
        rest = b"".join([*self._piece, *self._line])
        self.__init__(self._longest)  # type: ignore[misc]
        return [rest] if rest else []

    def _hold(self, data: bytes) -> None:
        if data:
            self._line.append(data)
            self._size += len(data)

    def _overlong(self) -> list[bytes]:
        if self._size <= self._longest:
            return []
        rest = b"".join([*self._piece, *self._line])
        self._piece, self._line, self._size, self._has_data = [], [], 0, False
        return [rest]

    def _take(self, line: bytes, found: list[bytes]) -> None:
        content = line
        if not self._started:
            self._started = True
            content = content.removeprefix(_BOM)
        content = content.rstrip(b"\r\n")
        if self._lines is None:
            framing = framing_of(content.lstrip() + b"\n")
            self._lines = None if framing is None else framing == "json lines"
        self._piece.append(line)
        if self._lines:
            if not content.strip():
                return
        elif content:
            self._has_data = self._has_data or content.partition(b":")[0] == b"data"
            return
        elif not self._has_data:
            return
        found.append(b"".join(self._piece))
        self._piece, self._has_data = [], False
