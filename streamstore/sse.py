"""Bytes of an event stream to frames: the rules of the format, and nothing else.

Knows lines, fields, blank lines and bounds. May not know where the bytes come from (no I/O), what
time it is (no clock: a watchdog reads `comments`), what a frame's data mean (no JSON, no protocol)
or what comes next (no reconnecting: it only remembers what a reconnect would send).

The rules are those of the HTML standard, "Server-sent events", sections "Parsing an event stream"
and "Interpreting an event stream". Two more are ours:

- The result is a function of the bytes, never of where they were cut: after each prefix of a
  stream the frames, ids and counts are the same however that prefix came.
- Nothing that a server sends raises, and nothing it sends is kept without a bound (`SseLimits`).
  Work is linear in the bytes, for chunks of any size.

Two roads lead through `EventStreamParser.feed`. A run of events of one `data: ` line each, and of
one `event: ` or `id: ` line or both, in one order, which is what chat servers send, is cut by a few
calls on the whole chunk; everything else goes line by line, at two to three times the cost. Which
road was taken shows in the time alone.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import attrs

Fault: TypeAlias = Literal["line", "event", "id", "retry"]
"""Which bound was passed; `EventStreamParser.faults` counts by it."""

_BOM = b"\xef\xbb\xbf"
_LF = 10
_DATA = b"data: "
_EVENT = b"event: "
_NEXT_DATA = b"\n\ndata: "
_NEXT_EVENT = b"\n\nevent: "
_THEN_DATA = b"\ndata: "
_NAMES = (_EVENT, b"id: ", _DATA)

# So many bytes of a line tell which field it is: "event:" and "retry:" have 6.
_NAME_ROOM = 8
# What stands for an over-long line from the moment it was found to be one until its end: a comment
# stays a comment (it is counted), the rest becomes a field that nobody knows.
_COMMENT = b":"
_UNKNOWN = b"-"
# 18 digits always fit into 63 bits. `int` of thousands of digits is quadratic, and raises past
# 4,300 of them.
_RETRY_DIGITS = 18


class Frame(NamedTuple):
    """One dispatched event; immutable, compared by value.

    Cost: a named tuple built by `tuple.__new__`, because that takes half the time of its own
    constructor, a third of a frozen attrs class, and no more than a mutable class with slots.

    >>> Frame(event="message", data="hi", id="", retry=None).data
    'hi'
    """

    event: str
    """The type; `"message"` when the server named none."""
    data: str
    """The data lines, joined by a line feed; invalid UTF-8 reads as U+FFFD."""
    id: str
    """The last event id in force at this dispatch; `""` when there is none."""
    retry: int | None
    """The reconnection time in force at this dispatch, in ms; None when never set."""


def _at_least(minimum: int, default: int) -> int:
    def check(_: object, attribute: attrs.Attribute[int], value: int) -> None:
        if type(value) is not int or value < minimum:
            raise ValueError(
                f"SseLimits.{attribute.name} must be an integer from {minimum}, not {value!r}"
            )

    field: int = attrs.field(default=default, validator=check)
    return field


@attrs.frozen(kw_only=True)
class SseLimits:
    """Bounds on what a parser keeps, in bytes as they came; being exactly at a bound is allowed.

    Whatever is sent, a parser keeps at most one unfinished line, one unfinished event, that event's
    type (a line) and two ids.

    Attributes:
        line: length of one line without its end, at least 8. Of a longer one nothing is kept. A
            `data` or `event` line makes its event skipped, an `id` or `retry` line is void; a
            comment or an unknown field of any length is harmless and no fault.
        event: size of one event: the bytes of its data values and `charge_per_data_line` for each.
            A bigger one is skipped.
        charge_per_data_line: what a data line costs beside its bytes, at least 1. Without it a
            million empty lines would be an event of size zero.
        id: length of an event id. A longer one is void, like one with NUL: the former id stays
            (a reconnect then repeats events instead of losing them). The id goes back as a
            request header, and common servers refuse headers from 8 KiB up.

    Raises:
        ValueError: a bound is no integer or too small.
    """

    line: int = _at_least(_NAME_ROOM, 1024 * 1024)
    event: int = _at_least(1, 8 * 1024 * 1024)
    charge_per_data_line: int = _at_least(1, 64)
    id: int = _at_least(1, 8 * 1024)


class EventStreamParser:
    r"""Turns the bytes of an event stream into frames, for one connection after another.

    The whole interface is `feed` and `reset`; the attributes are for reading.

    >>> parser = EventStreamParser()
    >>> parser.feed(b"id: 7\ndata: one\n\ndata: t")
    [Frame(event='message', data='one', id='7', retry=None)]
    >>> parser.feed(b"wo\r")
    []
    >>> parser.feed(b"\r")  # the blank line is here; its LF need not come
    [Frame(event='message', data='two', id='7', retry=None)]
    >>> parser.last_event_id
    '7'

    Args:
        limits: the bounds; see `SseLimits` for what happens at each.
        last_event_id: the id that this connection was resumed from, `""` for none.

    Attributes:
        limits: the bounds, as given.
        last_event_id: what a reconnect would send, as UTF-8; `""`: no header. Committed by blank
            lines. What came from a stream never holds CR, LF or NUL.
        retry: the reconnection time the server asked for, in ms; None when it never did. ASCII
            digits only; more than 18 (leading zeros aside) are void. It may still be anything from
            0 to thirty million years: whoever waits by it has to cap it.
        comments: comment lines so far; a comment is a sign of life that yields no frame.
        skipped: events that were not handed over because they passed a bound, counted at their
            blank line. Their ids and reconnection times count all the same.
        faults: how often each bound was passed. `line` and `event`: once per event that will be
            skipped; `id` and `retry`: once per void line. Counted at the line's end, but at the
            byte that passes `SseLimits.line`, so that an endless line is seen while it comes.

    Cost: linear in the bytes fed. Source: HTML standard, "Interpreting an event stream".
    """

    __slots__ = (
        "_after_cr",
        "_bom",
        "_data",
        "_id",
        "_lost",
        "_over",
        "_partial",
        "_run_most",
        "_size",
        "_type",
        "comments",
        "faults",
        "last_event_id",
        "limits",
        "retry",
        "skipped",
    )

    def __init__(self, limits: SseLimits | None = None, *, last_event_id: str = "") -> None:
        self.limits = SseLimits() if limits is None else limits
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self.comments = 0
        self.skipped = 0
        self.faults: dict[Fault, int] = {"line": 0, "event": 0, "id": 0, "retry": 0}

        # An event of so many bytes in a run passes no bound for sure; beyond, the slow road tells.
        # The longest name of a run, "event: ", is taken off, because runs are cut at their names.
        self._run_most = min(
            self.limits.line - len(_EVENT), self.limits.event - self.limits.charge_per_data_line
        )

        # Bytes at the very start that may become a byte-order mark; None once that is decided. A
        # mark cut over chunks would otherwise stay, and turn the first field into an unknown one;
        # without the end of the state a second mark would vanish, too.
        self._bom: bytes | None = b""
        # The last byte was a CR: if the next is LF, it belongs to it. Waiting for that byte
        # instead would hold back the last event of a quiet server; forgetting it would see a blank
        # line in a CRLF that was cut in two.
        self._after_cr = False
        # The unfinished line. Chunks are appended and never searched again: a scan from the start
        # at each chunk makes a long line quadratic. A bytearray, because a list of 1-byte
        # fragments would take eight times the bytes that the bound allows.
        self._partial = bytearray()
        # The unfinished line passed the bound and `_partial` is its stand-in: its other bytes are
        # dropped as they come. A line without end would fill the memory.
        self._over = False
        # Values of the data lines of the open event, joined once. `data += value` is quadratic.
        self._data: list[bytes] = []
        # Size of `_data` as `SseLimits.event` counts it: an event without its blank line, or a
        # flood of empty data lines, would fill the memory line by line.
        self._size = 0
        # Part of the open event is gone. Half an event is worse than none: what is left may still
        # be valid JSON. `_data` then holds one empty value if any data line came.
        self._lost = False
        # Type of the open event. Forgotten at every blank line, or it leaks into the next event.
        self._type = ""
        # Id of the open event, None without one. Committed by the blank line only: a reconnect
        # with the id of an event that was cut off would never see that event.
        self._id: str | None = None

    @property
    def held(self) -> int:
        """Bytes kept of the unfinished line and of the open event's data, as the bounds count them.

        Never above `limits.line + limits.event`. Cost: the data lines of the open event.
        """
        values = () if self._lost else self._data
        charge = self.limits.charge_per_data_line
        return len(self._partial) + sum(map(len, values)) + charge * len(values)

    @property
    def between(self) -> bool:
        """Whether nothing is open: the next byte begins a line, and with it an event."""
        return not (
            self._partial
            or self._data
            or self._type
            or self._lost
            or self._id is not None
            or self._after_cr
            or self._bom is not None
        )

    def reset(self) -> None:
        """Begin a new connection: what is unfinished is dropped, its uncommitted id with it.

        The last event id and the reconnection time stay, as do the counts. Cost: constant.
        Source: HTML standard, "Reestablish the connection"; the end of "Interpreting an event
        stream" for what is dropped.
        """
        self._bom = b""
        self._after_cr = False
        self._partial = bytearray()
        self._over = False
        self._data = []
        self._size = 0
        self._lost = False
        self._type = ""
        self._id = None

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take in the next bytes, in pieces of any size, and return the events they complete.

        An event is returned with the byte that ends its blank line, be it the CR of a CRLF. The
        bytes are not kept: the caller may reuse a buffer.

        Raises:
            TypeError: `data` is not bytes-like (a str, say); nothing was taken in.

        Cost: linear in `data`, whatever is held. Source: HTML standard, "Interpreting an event
        stream".
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self._bom is not None:
            data = self._drop_bom(data)
        if not data:
            return []
        if self._after_cr:
            self._after_cr = False
            if data[0] == _LF:
                data = data[1:]
        if data.find(b"\r") >= 0:  # half the cost of `in`
            # bytes.splitlines knows CR, LF and CRLF; that of str knows eight more. Joining is half
            # the cost of replacing a two-byte string.
            self._after_cr = data.endswith(b"\r")
            tail = b"\n" if self._after_cr or data.endswith(b"\n") else b""
            data = b"\n".join(data.splitlines()) + tail

        # From here on every line ends with LF.
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return []
        if self._partial:
            # What is held is copied here once, and the line it belongs to is finished below.
            if self._over:
                self._over = False
                data = data[data.find(b"\n") :]
            data = bytes(self._partial) + data
            self._partial.clear()
            end = data.rfind(b"\n") + 1

        frames: list[Frame] = []
        start = 0
        if self._data or self._type or self._lost or self._id is not None:
            # An event is open: go on line by line up to its blank line.
            if data[0] == _LF:
                start = 1
            else:
                start = data.find(b"\n\n", 0, end) + 2
                if start == 1:
                    start = end
            self._take(data[: start - 1].split(b"\n"), frames)
        cut = data.rfind(b"\n\n", start, end)
        if cut > 0 and (
            (
                data.startswith(_DATA, start)
                and self._take_run(data[start + len(_DATA) : cut], frames)
            )
            or (
                data.startswith(_EVENT, start)
                and self._take_typed_run(data[start + len(_EVENT) : cut], frames)
            )
            or self._take_shaped_run(data[start:cut], frames)
        ):
            start = cut + 2
        if start < end:
            self._take(data[start : end - 1].split(b"\n"), frames)
        if end < len(data):
            self._hold(data[end:])
        return frames

    def _drop_bom(self, data: bytes) -> bytes:
        """Keep the first bytes back while they may become a byte-order mark."""
        data = (self._bom or b"") + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._bom = data
            return b""
        self._bom = None
        return data.removeprefix(_BOM)

    def _take_run(self, run: bytes, frames: list[Frame]) -> bool:
        """Take events of one `data: ` line each (the first name and the last blank line cut off).

        Returns False, and has done nothing, where something else is among them. Only between
        events.
        """
        values = run.split(_NEXT_DATA)
        # Each cut took two line ends. If that is all there are, no value has one inside: every
        # event had one data line and nothing but data lines came.
        if run.count(b"\n") != 2 * len(values) - 2 or not self._fits(run, values):
            return False
        new, last_id, retry = tuple.__new__, self.last_event_id, self.retry
        for value in values:
            frames.append(new(Frame, ("message", value.decode("utf-8", "replace"), last_id, retry)))
        return True

    def _take_typed_run(self, run: bytes, frames: list[Frame]) -> bool:
        """Take events of one `event: ` and one `data: ` line each, as `_take_run` does."""
        new, last_id, retry = tuple.__new__, self.last_event_id, self.retry
        # A read mostly holds events of one type: then what stands between two values is known, and
        # nothing but the values is made.
        name, cut, _ = run.partition(_THEN_DATA)
        head = name + cut
        values = run[len(head) :].split(_NEXT_EVENT + head)
        if cut and run.count(b"\n") == 3 * len(values) - 2 and self._fits(run, values, len(head)):
            event = name.decode("utf-8", "replace") or "message"
            for value in values:
                frames.append(new(Frame, (event, value.decode("utf-8", "replace"), last_id, retry)))
            return True
        blocks = run.split(_NEXT_EVENT)
        if run.count(b"\n") != 3 * len(blocks) - 2 or not self._fits(run, blocks):
            return False
        first = len(frames)
        for block in blocks:
            name, cut, value = block.partition(_THEN_DATA)
            # There are as many line ends inside the blocks as blocks: one in each, unless one
            # block has none.
            if not cut:
                del frames[first:]
                return False
            event = name.decode("utf-8", "replace") or "message"
            frames.append(new(Frame, (event, value.decode("utf-8", "replace"), last_id, retry)))
        return True

    def _take_shaped_run(self, run: bytes, frames: list[Frame]) -> bool:
        """Take events that all have the lines of the first one: one `data: ` line, and at most one
        `event: ` and one `id: ` line, anywhere; as `_take_run` does."""
        lines = run.partition(b"\n\n")[0].split(b"\n")
        names = [line[: line.find(b" ") + 1] for line in lines]
        if (
            len(names) not in (2, 3)
            or not set(_NAMES) >= set(names) >= {_DATA}
            or len(set(names)) < len(names)
            or run.find(b"\0") >= 0
        ):
            return False
        first, *others = names
        blocks = run[len(first) :].split(b"\n\n" + first)
        if run.count(b"\n") != (len(names) + 1) * len(blocks) - 2 or not self._fits(run, blocks):
            return False
        event_at, id_at, data_at = (names.index(n) if n in names else 3 for n in _NAMES)
        then, last = (b"\n" + name for name in (others[0], others[-1]))
        new, retry, last_id, event = tuple.__new__, self.retry, self.last_event_id, "message"
        before = len(frames)
        for block in blocks:
            # As many line ends lie in all blocks as the lines need: one to spare in one of them
            # is one too few in another.
            one, cut, two = block.partition(then)
            three = b""
            if len(others) == 2:
                two, more, three = two.partition(last)
                cut = cut and more
            values = (one, two, three, b"")
            identity = values[id_at]
            if not cut or len(identity) > self.limits.id:
                del frames[before:]
                return False
            if id_at < 3:
                last_id = identity.decode("utf-8", "replace")
            if event_at < 3:
                event = values[event_at].decode("utf-8", "replace") or "message"
            text = values[data_at].decode("utf-8", "replace")
            frames.append(new(Frame, (event, text, last_id, retry)))
        self.last_event_id = last_id
        return True

    def _fits(self, run: bytes, pieces: list[bytes], more: int = 0) -> bool:
        """Whether no piece of a run, with so many bytes more each, is near a bound."""
        most = self._run_most
        return len(run) <= most or max(map(len, pieces)) + more <= most

    def _take(self, lines: list[bytes], frames: list[Frame]) -> None:
        """Take whole lines, without their ends."""
        values = self._data
        size = self._size
        limit = self.limits.line
        event_limit = self.limits.event
        charge = self.limits.charge_per_data_line
        for whole in lines:
            if not whole:  # a blank line: dispatch
                if self._id is not None:
                    self.last_event_id = self._id
                    self._id = None
                if values:
                    if self._lost:
                        self.skipped += 1
                    else:
                        text = b"\n".join(values).decode("utf-8", "replace")
                        event = self._type or "message"
                        fields = (event, text, self.last_event_id, self.retry)
                        frames.append(tuple.__new__(Frame, fields))
                    values.clear()
                    size = 0
                self._lost = False
                self._type = ""
                continue
            line = whole if len(whole) <= limit else self._too_long(whole[:_NAME_ROOM])
            if line.startswith(_DATA):
                value = line[len(_DATA) :]
            else:
                name, _, value = line.partition(b":")
                if value.startswith(b" "):
                    value = value[1:]
                if name != b"data":
                    self._field(name, value)
                    continue
            if self._lost:
                values[:] = (b"",)
                continue
            size += len(value) + charge
            if size <= event_limit:
                values.append(value)
            else:
                self._lose("event")
                values[:] = (b"",)
        self._size = size

    def _hold(self, rest: bytes) -> None:
        """Keep a piece of the unfinished line, or find that the line is too long."""
        if self._over:
            return
        if len(self._partial) + len(rest) <= self.limits.line:
            self._partial += rest
            return
        head = bytes(self._partial[:_NAME_ROOM]) + rest[:_NAME_ROOM]
        self._partial = bytearray(self._too_long(head[:_NAME_ROOM]))
        self._over = True

    def _too_long(self, head: bytes) -> bytes:
        """Count a line over the bound by its first bytes, and return its stand-in."""
        name = head.partition(b":")[0]
        if not name:
            return _COMMENT
        if name == b"data":
            self._lose("line")
            self._data[:] = (b"",)
        elif name == b"event":
            self._lose("line")
        elif name == b"id":
            self.faults["id"] += 1
        elif name == b"retry":
            self.faults["retry"] += 1
        return _UNKNOWN

    def _lose(self, fault: Fault) -> None:
        """Give up the open event, once, and free what it held."""
        if not self._lost:
            self._lost = True
            self.faults[fault] += 1
            if self._data:
                self._data[:] = (b"",)

    def _field(self, name: bytes, value: bytes) -> None:
        """Take a line that is no data line; an empty name is a comment."""
        if name == b"event":
            self._type = value.decode("utf-8", "replace")
        elif name == b"id":
            if len(value) > self.limits.id:
                self.faults["id"] += 1
            elif value.find(b"\0") < 0:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry":
            if value.isdigit():  # of bytes: ASCII digits only
                digits = value.lstrip(b"0") or b"0"
                if len(digits) > _RETRY_DIGITS:
                    self.faults["retry"] += 1
                else:
                    self.retry = int(digits)
        elif not name:
            self.comments += 1
