"""JSON lines: bytes to one text per line, no I/O.

A line ends at LF (a CR before it goes); other line ends of Unicode are text. Knows no JSON value
and no event.
"""

from __future__ import annotations

_MARK = b"\xef\xbb\xbf"


class JsonLinesParser:
    """Cuts a stream of bytes into lines. Linear for any chunk size.

    A line of more than `line_bytes` is skipped and counted in `skipped`; the next one counts
    again. Blank lines give nothing.

    >>> lines = JsonLinesParser()
    >>> lines.feed(b'{"a": 1}\\n{"b"'), lines.feed(b": 2}"), lines.end()
    ([b'{"a": 1}'], [], [b'{"b": 2}'])
    """

    def __init__(self, line_bytes: int = 8 * 1024 * 1024) -> None:
        self._bound = line_bytes
        self._held: list[bytes] = []  # fragments of an unfinished line, joined once
        self._held_bytes = 0
        self._skipping = False  # an over-long line is not kept in memory until it ends
        self._started = False
        self._lead = b""  # a byte-order mark, cut
        self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes finish, without their ends."""
        if not self._started:
            # One byte-order mark, which some editors write, at the very start only.
            data, self._lead = self._lead + data, b""
            if len(data) < len(_MARK) and _MARK.startswith(data):
                self._lead = data
                return []
            self._started = True
            data = data.removeprefix(_MARK)
        if b"\n" not in data:
            self._hold(data)
            return []
        head, *lines = data.split(b"\n")
        rest = lines.pop()
        found: list[bytes] = []
        self._hold(head)
        self._finish(found)
        for line in lines:
            if len(line) > self._bound:
                self.skipped += 1
            else:
                _add(line, found)
        self._hold(rest)
        return found

    def end(self) -> list[bytes]:
        """What is left: a last line without its end."""
        found: list[bytes] = []
        self._hold(self._lead)
        self._lead = b""
        self._finish(found)
        return found

    def _hold(self, fragment: bytes) -> None:
        if self._skipping or not fragment:
            return
        self._held_bytes += len(fragment)
        if self._held_bytes > self._bound:
            self._skipping = True
            self._held = []
        else:
            self._held.append(fragment)

    def _finish(self, found: list[bytes]) -> None:
        if self._skipping:
            self.skipped += 1
        elif self._held:
            _add(b"".join(self._held), found)
        self._held = []
        self._held_bytes = 0
        self._skipping = False


def _add(line: bytes, found: list[bytes]) -> None:
    line = line.strip(b"\r \t")
    if line:
        found.append(line)
