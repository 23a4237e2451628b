"""The state after any event that is held, at a bounded cost.

Now and then the live store is saved; the state after an earlier event is a second store, loaded
from the last save before it and fed the events in between. The live store is never touched. Knows
rows and stores; no screen, clock or loop.
"""

from __future__ import annotations

import json
import zlib
from typing import NamedTuple

import attrs

from ..changes import ChangeSet
from ..events import SessionRemoved
from ..model import Sequencing
from ..pipeline import Stream, StreamStore
from .row import Row


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"HistoryLimits.{attribute.name} must be a positive integer")


def _bound(default: int) -> int:
    field: int = attrs.field(default=default, validator=_positive)
    return field


@attrs.frozen(kw_only=True)
class HistoryLimits:
    """How much of the past is held. Over a bound the oldest goes, never what lies in the middle.

    Attributes:
        events: rows that are held; over it the oldest go, a twentieth at a time. Those behind
            the saved state before them are kept out of sight, so that the state after each row
            that is still held can be had: at most as many again, or ten times the spacing.
        bytes: what the bytes of both come to; over it the oldest go, up to the next saved state.
        spacing: events from one saved state to the next. Where states are large they lie further
            apart: a quarter of a state's size must have come before the next one is saved, so
            that saving costs no more than what comes, or what another bound leaves room for.
        saved_bytes: what saved states take, compressed; over it every second one goes, so that
            looking back costs twice as many events; the rows stay.
    """

    events: int = _bound(10_000)
    bytes: int = _bound(32 * 1024 * 1024)
    spacing: int = _bound(500)
    saved_bytes: int = _bound(64 * 1024 * 1024)


class _Saved(NamedTuple):
    after: int  # number of the last row in it
    stream: int  # which connection its stream is
    open: bool  # whether that had not ended
    protocol: str
    packed: bytes  # b"": an empty store
    size: int


class Moment(NamedTuple):
    """The state after one event, and what that event changed.

    Attributes:
        store: reads of the state; not to be fed.
        changes: what the event changed, were there a tick for each; None where that is not known.
        fed: how many events had to be folded again: the cost beside that of a saved state.
    """

    store: StreamStore
    changes: ChangeSet | None
    fed: int


class Past:
    """Saved states, and the store that goes back to them.

    - feed: `saw` after each row; bound: `drop`, `lighten`
    - read: `after`

    `after(row)` costs one load (linear in the state) and the events since the save before it: at
    most `HistoryLimits.spacing`, or what makes up a quarter of the state. The row behind the last
    one asked for costs itself alone.
    """

    def __init__(self, limits: HistoryLimits, sequencing: Sequencing | None = None) -> None:
        self._limits = limits
        self._sequencing: Sequencing | None = sequencing
        self._saved: list[_Saved] = [_Saved(0, 0, False, "auto", b"", 0)]
        self._rows: list[Row] = []  # all behind the first of them
        self._bytes = 0  # what the rows come to
        self._bytes_since = 0
        self._store: StreamStore | None = None
        self._stream: Stream | None = None
        self._at = 0  # number of the last row that the second store has
        self._stream_number = 0
        self._changes: ChangeSet | None = None

    @property
    def saves(self) -> int:
        """How many saved states are held, the empty one at the start included."""
        return len(self._saved)

    @property
    def packed_bytes(self) -> int:
        """What they take."""
        return sum(len(saved.packed) for saved in self._saved)

    def saw(self, row: Row, store: StreamStore, stream: Stream | None) -> None:
        """The live store has a row now; save it where it is time to."""
        self._rows.append(row)
        self._bytes += len(row.data)
        self._bytes_since += len(row.data)
        limits, last = self._limits, self._saved[-1]
        since = row.number - last.after
        due = since >= limits.spacing and self._bytes_since * 4 >= last.size
        # However large it is: or what is behind it would take more than the bounds.
        due = due or since >= max(limits.events, 10 * limits.spacing)
        if due or self._bytes_since >= limits.bytes // 2:
            self._save(row, store, stream)

    def _save(self, row: Row, store: StreamStore, stream: Stream | None) -> None:
        last = self._saved[-1]
        is_open = stream is not None and not stream.ended
        if stream is not None and is_open and stream.protocol is None:
            return  # what waits until the protocol is recognised is in no saved state
        protocol = (stream.protocol if stream is not None else None) or last.protocol
        plain = json.dumps(store.save(), separators=(",", ":")).encode("utf-8", "surrogatepass")
        packed = zlib.compress(plain, 1)
        self._saved.append(_Saved(row.number, row.stream, is_open, protocol, packed, len(plain)))
        self._bytes_since = 0
        while self.packed_bytes > self._limits.saved_bytes and len(self._saved) > 2:
            del self._saved[1:-1:2]

    def drop(self, before: int) -> None:
        """Forget what the state after a row with that number, or a higher one, does not need."""
        needed = max(place for place, saved in enumerate(self._saved) if saved.after < before)
        if needed:
            del self._saved[:needed]
            gone = self._saved[0].after + 1 - self._rows[0].number
            self._bytes -= sum(len(row.data) for row in self._rows[:gone])
            del self._rows[:gone]

    def lighten(self, store: StreamStore, stream: Stream | None) -> int:
        """Forget the oldest rows that are over the bound of bytes; number of the first that stays.

        Nothing can go while the protocol is not recognised.
        """
        if self._bytes > self._limits.bytes:
            left, last = self._bytes, 0
            for row in self._rows:
                left, last = left - len(row.data), row.number
                if left <= self._limits.bytes:
                    break
            if self._saved[-1].after < last:
                self._save(self._rows[-1], store, stream)
            enough = [saved.after for saved in self._saved if saved.after >= last]
            if enough:
                self.drop(enough[0] + 1)
        return self._saved[0].after + 1

    def after(self, row: Row) -> Moment | None:
        """The state after a row; None where it is not held any more."""
        rows = self._rows
        if not rows or not rows[0].number <= row.number <= rows[-1].number:
            return None
        fed = 0
        saved = self._before(row.number)
        first = rows[0].number
        on = self._store is not None and first <= self._at + 1 and self._at <= row.number
        if on and saved is not None and saved.after - self._at >= self._limits.spacing:
            on = False  # it is far behind: loading is less work than going on
        if not on:
            if saved is None or saved.after + 1 < first:
                return None
            self._load(saved)
        while self._at < row.number:
            self._feed(rows[self._at + 1 - first], last=self._at + 1 == row.number)
            fed += 1
        assert self._store is not None
        return Moment(self._store, self._changes, fed)

    def _before(self, number: int) -> _Saved | None:
        # A save that lies before the row itself, so that what the row changed is seen, too.
        found = [saved for saved in self._saved if saved.after < number]
        return found[-1] if found else None

    def _load(self, saved: _Saved) -> None:
        if saved.packed:
            plain = zlib.decompress(saved.packed).decode("utf-8", "surrogatepass")
            self._store = StreamStore.load(json.loads(plain), ticks="manual")
        else:
            self._store = StreamStore(ticks="manual")
        self._stream = self._open(saved.protocol) if saved.open else None
        self._stream_number = saved.stream
        self._at = saved.after
        self._changes = None

    def _open(self, protocol: str) -> Stream:
        assert self._store is not None
        return self._store.open(protocol, sequencing=self._sequencing)

    def _feed(self, row: Row, last: bool) -> None:
        store = self._store
        assert store is not None
        if last:
            store.flush()  # what came before is not this row's doing
        if row.let_go:
            for session_id in row.let_go:
                store.apply(SessionRemoved(session_id=session_id))
        elif row.verdict is None:
            if self._stream is not None and row.stream == self._stream_number:
                self._stream.end()
                self._stream = None
        else:
            if self._stream is None or row.stream != self._stream_number:
                if self._stream is not None:
                    self._stream.end()
                self._stream = self._open(row.protocol)
                self._stream_number = row.stream
            self._stream.feed(row.data)
        self._at = row.number
        if last:
            self._changes = store.flush()
