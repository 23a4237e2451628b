"""What the bytes of a log turn out to be, as they go by: events, too long lines, or neither.

Knows lines, framings and the usual limits. May not know a file, a log or a store.
"""

from __future__ import annotations

from .decoding import decode_json
from .errors import MalformedEvent
from .framing import framing_of
from .limits import Limits

_LIMITS = Limits()
_NAME_ROOM = 8  # so many bytes of a line tell which field of an event stream it is
_BOM = b"\xef\xbb\xbf"
_HEAD_ROOM = 64  # so many bytes of a log tell what else it is
#: How packed files begin, and what unpacks each. Of gzip, one inside the other.
_PACKED = {
    b"\x1f\x8b": ("gzip twice", "gunzip"),
    b"\xfd7zXZ\x00": ("xz", "xz -dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
    b"BZh": ("bzip2", "bzip2 -dc"),
    b"PK\x03\x04": ("zip", "unzip -p"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -dc"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x -so"),
}


class Sight:
    """What the bytes of a log turn out to be, for a store with the usual limits, as they go by.

    Until the first event is found each line is looked at; behind it the ends of lines alone. An
    event of an event stream that is too long only as a whole goes unseen.

    Attributes:
        skipped: lines so far that a store skips because of their length, whole ones.
    """

    #: A payload of so many bytes has no line that is too long, however it is framed.
    harmless = min(_LIMITS.event_line_bytes, _LIMITS.line_bytes) - 64

    def __init__(self) -> None:
        self.skipped = 0
        self._longest = 0
        self._limit = "line_bytes"
        self._framing: str | None = None
        self._found = False  # an event
        self._other = False  # a line that is none
        self._lines = 0  # that are not blank, or so many that there are several
        self._feeds = False  # an LF came
        self._line = bytearray()  # the start of an unfinished one: as much of it as may be read
        self._size = 0
        self._head = b""

    @property
    def is_none(self) -> bool:
        """Whether something is in it and nothing of that is an event that a store takes."""
        return self._is_one_line or (not self._found and (self._other or self.skipped > 0))

    @property
    def kind(self) -> str:
        """What a log that is none seems to be."""
        for start, (name, unpack) in _PACKED.items():
            if self._head.startswith(start):
                known = "plain logs and gzip are read"
                return f"it is packed with {name}: {known}, {unpack} unpacks it"
        if is_utf16(self._head):
            return "it is text in UTF-16: save it as UTF-8"
        if self._is_one_line:
            return "its lines end with CR alone: tr '\\r' '\\n' makes them lines"
        first = self._head.removeprefix(_BOM).lstrip()[:1]
        if first in (b"{", b"["):
            each = "jq -c '.[]' writes each of an array" if first == b"[" else "jq -c . writes it"
            return (
                f"no line of it is JSON by itself: where a value takes several lines, {each} on one"
            )
        return "it is neither an event stream nor JSON lines"

    def too_long(self, and_so: str) -> str:
        """What to say of lines that are too long; "" when there are none."""
        if not self.skipped:
            return ""
        one = self.skipped == 1
        lines = "a line of" if one else f"{self.skipped:,} lines of up to"
        return (
            f"{lines} {self._longest:,} bytes {'is' if one else 'are'} over the limit of "
            f"{self._bound:,} ({self._limit}) and {and_so}; longer ones are taken by "
            f"StreamStore(limits=Limits({self._limit}=...)) in Python"
        )

    def look(self, data: bytes) -> None:
        """Look at more bytes, cut anywhere."""
        self._feeds = self._feeds or b"\n" in data
        if len(self._head) < _HEAD_ROOM:
            self._head += data[: _HEAD_ROOM - len(self._head)]
        if not self._found or len(data) > self._bound:
            for line in data.splitlines(keepends=True):
                self._hold(line.rstrip(b"\r\n"))
                if line.endswith((b"\n", b"\r")):
                    self.end()
            return
        last = max(data.rfind(b"\n"), data.rfind(b"\r"))
        if last >= 0:
            first = min(at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0)
            self._hold(data[:first])
            self.end()
        self._hold(data[last + 1 :])

    def end(self) -> None:
        """A line has ended, or the log."""
        line, size = bytes(self._line), self._size
        self._line.clear()
        self._size = 0
        self._lines += line.strip() != b""
        if self._framing is None:
            line = line.removeprefix(_BOM).lstrip()
            self._framing = framing_of(line + b"\n")
            if self._framing == "event stream":
                self._limit = "event_line_bytes"
                self._other = False  # broken lines before it: its parser passes over them
        name = line[:_NAME_ROOM].partition(b":")[0]
        if self._framing is None:
            self._other = self._other or name != b""
        elif size > self._bound:
            if self._framing == "json lines" or name in (b"data", b"event"):
                self.skipped += 1
                self._longest = max(self._longest, size)
        elif not self._found:
            if self._framing == "event stream":
                self._found = name == b"data"
            elif line.strip():
                self._found = _is_event(line)
                self._other = self._other or not self._found

    @property
    def _is_one_line(self) -> bool:
        """Whether it is lines of JSON for whoever ends them at a CR, which no store does."""
        several = self._found and self._lines > 1
        return several and self._framing == "json lines" and not self._feeds

    @property
    def _bound(self) -> int:
        bound: int = getattr(_LIMITS, self._limit)
        return bound

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        room = (_NAME_ROOM if self._found else self._bound) - len(self._line)
        if room > 0:
            self._line += piece[:room]


def is_large(payload: bytes) -> bool:
    """Whether a payload has a line that a store with the usual limits skips in an event stream."""
    if len(payload) <= Sight.harmless:
        return False
    return max(map(len, payload.splitlines())) + len(b"data: ") > _LIMITS.event_line_bytes


def is_utf16(head: bytes) -> bool:
    """Whether the first bytes of a text are those of UTF-16, as some editors and shells write it.

    >>> is_utf16("{}".encode("utf-16")), is_utf16("{}".encode("utf-16-le")), is_utf16(b"{}")
    (True, True, False)
    """
    zeros = [byte == 0 for byte in head[:4]]
    marked = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return marked or zeros in ([False, True] * 2, [True, False] * 2)


def _is_event(line: bytes) -> bool:
    """Whether a line is what an event may be: an object of JSON, or an array."""
    try:
        return framing_of(line) == "json lines" and isinstance(decode_json(line), dict | list)
    except MalformedEvent:
        return False
