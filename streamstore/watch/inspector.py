"""What `watch` knows of a stream: its store, timeline, transcript and past, fed together.

One event at a time goes in, so that each has its own verdict; the store ticks in the stream's own
time, as a frontend at 60 Hz would see it. Knows stores, rows and documents; no source, screen or
loop, and the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..changes import ChangeSet
from ..eviction import Eviction, Keep
from ..model import Sequencing
from ..pipeline import Stream, StreamStore
from ..terminal import one_line
from ..ticks import ManualTicks
from ..verdicts import ACCEPTED, HELD, Verdict, VerdictKind
from .document import Document
from .facts import TYPE_LENGTH, Facts, FactsReader
from .past import HistoryLimits, Moment, Past
from .row import Row
from .timeline import Clock, Timeline
from .wrapping import Measure, cells

#: The store's ticks, in ms of the stream's time.
TICK_MS = 16.0
#: How often it looks for sessions that are to go, in ms of the stream's time.
LOOK_MS = 1_000.0


class Inspector:
    """A store that is watched.

    - feed: `take`, `note`, `end_stream`, `pass_time`, `settle`
    - read: `store`, `timeline`, `document`, `after`
    - bound: `on_screen`

    An event costs what its store, its facts and its row cost, however many sessions there are.

    Args:
        protocol: of streams that nobody else opens; `auto` to find it out.
        clock: ms, for the rate alone.
        limits: how much of the past is held.
        keep: which sessions stay in the store, see `Eviction`; by the stream's time. What goes is
            a row of the timeline (`Row.let_go`), and gone from the document; what comes for it
            later is refused, which its row says. None: every session stays, as the log of a
            finite talk asks for.
        measure: cells that a text takes on the screen.

    >>> inspector = Inspector("native", clock=lambda: 0.0)
    >>> delta = (b'{"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": 1,'
    ...          b' "text": "Hi"}\\n')
    >>> [inspector.take(delta, at).verdict.kind for at in (0.0, 5.0)]
    ['accepted', 'duplicate']
    >>> inspector.settle()
    >>> inspector.document.line(2).text
    'Hi'
    """

    def __init__(
        self,
        protocol: str = "auto",
        *,
        clock: Clock,
        sequencing: Sequencing | None = None,
        limits: HistoryLimits | None = None,
        keep: Keep | None = None,
        measure: Measure = cells,
    ) -> None:
        self.protocol = protocol
        self.limits = limits or HistoryLimits()
        self._sequencing: Sequencing | None = sequencing
        self._ticks = ManualTicks(TICK_MS)
        self.store = StreamStore(ticks=self._ticks)
        self.timeline = Timeline(clock)
        self.document = Document(self.store, measure=measure)
        self._past = Past(self.limits, sequencing)
        self._reader = FactsReader()
        self._stream: Stream | None = None
        self._streams = 0
        self._number = 0
        self._first_at: float | None = None
        self._at = 0.0
        self._known: Mapping[str, int] = {}
        self.on_screen: Callable[[], Collection[str]] = tuple
        """Sessions that somebody looks at: they stay."""
        self._looked_at: Collection[str] = ()
        self._look_next = LOOK_MS
        self._eviction: Eviction | None = None
        if keep is not None:
            self._eviction = Eviction(self.store, keep, protected=self._stays)
        self.store.subscribe(self._hear)

    @property
    def stream(self) -> Stream | None:
        """The stream that the last event went into; None before the first and between two."""
        return self._stream

    @property
    def known_protocol(self) -> str:
        """The protocol's name, `auto` until it is recognised."""
        return (self._stream.protocol if self._stream is not None else None) or self.protocol

    # -- feed --------------------------------------------------------------------------------

    def take(self, data: bytes, at: float, stream: Stream | None = None) -> Row | None:
        """Feed one event (see `EventCutter`) that came at a time; its row, None without an event.

        Args:
            data: its bytes, with its line ends, and with the comments above it.
            at: ms, never less than before; where it starts means nothing.
            stream: whose it is; by default one that this opens.

        Raises:
            UnknownProtocol: nothing was recognised in as many events as may wait for that.
        """
        self._turn_to(stream)
        assert self._stream is not None
        opened_for = self.known_protocol if self._stream.protocol else self.protocol
        self._pass_to(at)
        try:
            self._stream.feed(data)
        finally:
            verdict = self._verdict()
        if self._stream.protocol is not None:
            self.protocol = opened_for = self._stream.protocol
        facts = self._reader.read(data, self._stream.protocol)
        row = None if facts is None else self._add(facts, verdict, data, opened_for)
        self._let_go()
        return row

    def note(self, text: str) -> Row:
        """A row about the connection, where one stream ends and another may begin."""
        self.end_stream()
        return self._add(Facts(type=text), None, b"", self.protocol)

    def end_stream(self) -> None:
        """The stream that the last event went into is over."""
        if self._stream is not None:
            self._stream.end()
            self._stream = None
            self._known = self._counts()

    def pass_time(self, at: float) -> None:
        """The stream's time is that now, though nothing came: what waits becomes visible."""
        if self._first_at is not None:
            self._pass_to(at)
            self._ticks.advance(0)  # a turn ends
            self._let_go()

    def settle(self) -> None:
        """Show everything that was taken in, now: nothing comes for a while."""
        self.timeline.counters.gaps = len(self.store.flush().gaps)

    # -- read --------------------------------------------------------------------------------

    def after(self, row: Row) -> Moment | None:
        """The state after a row, and what the row changed; see `Past.after` for the cost."""
        return self._past.after(row)

    # -- inside ------------------------------------------------------------------------------

    def _turn_to(self, stream: Stream | None) -> None:
        mine = self._stream
        if stream is None and mine is not None and not mine.ended:
            return
        if stream is None:
            stream = self.store.open(self.protocol, sequencing=self._sequencing)
        if stream is not mine:
            self._stream = stream
            self._streams += 1
            self._reader.restart()
            self._known = self._counts()

    def _pass_to(self, at: float) -> None:
        if self._first_at is None:
            self._first_at = self._at = at
        if at > self._at:
            self._ticks.advance(at - self._at)
            self._at = at

    def _stays(self, session_id: str) -> bool:
        return session_id in self._looked_at

    def _let_go(self) -> None:
        """Let go of the sessions that are to go, and say so; looked for once in a while."""
        passed = 0.0 if self._first_at is None else self._at - self._first_at
        if self._eviction is None or passed < self._look_next:
            return
        self._look_next = passed + LOOK_MS
        self._looked_at = frozenset(self.on_screen())
        found = self._eviction.evict(self._at)
        if found:
            self._known = self._counts()
            several = "an old session" if len(found) == 1 else f"{len(found)} old sessions"
            says = one_line(f"let go of {several}: {', '.join(found)}", TYPE_LENGTH)
            self._add(Facts(type=says), None, b"", self.protocol, found)

    def _add(
        self,
        facts: Facts,
        verdict: Verdict | None,
        data: bytes,
        protocol: str,
        let_go: tuple[str, ...] = (),
    ) -> Row:
        self._number += 1
        offset = 0.0 if self._first_at is None else self._at - self._first_at
        row = Row(
            number=self._number,
            offset=offset,
            facts=facts,
            verdict=verdict,
            data=data,
            tick=self.timeline.counters.ticks + 1,
            stream=self._streams,
            protocol=protocol,
            let_go=let_go,
        )
        self.timeline.add(row)
        self._past.saw(row, self.store, self._stream)
        self._bound()
        return row

    def _bound(self) -> None:
        timeline, most = self.timeline, self.limits.events
        over = len(timeline.rows) - most
        if over > 0:
            # Some more than that: forgetting costs as much as what stays.
            timeline.drop(timeline.first + over + most // 20)
            self._past.drop(timeline.first)
        timeline.drop(self._past.lighten(self.store, self._stream))

    def _hear(self, changes: ChangeSet) -> None:
        counters = self.timeline.counters
        counters.ticks += 1
        counters.gaps = len(changes.gaps)
        self.document.hear(changes)
        if self._eviction is not None:
            self._eviction.hear(changes, self._at)

    def _counts(self) -> Mapping[str, int]:
        counts: Mapping[str, int] = self.store.counts["verdicts"]
        return counts

    def _verdict(self) -> Verdict:
        """What became of the event just fed: what the store counted since the one before."""
        before, now = self._known, self._counts()
        self._known = now
        new = [name for name, number in now.items() if number != before.get(name, 0)]
        if not new:
            waits = self._stream is not None and self._stream.protocol is None
            return _WAITS if waits else ACCEPTED
        # Several where the protocol is recognised just now: those before it waited for that.
        new.sort(key=lambda name: name == "accepted")
        kind, _, reason = new[0].partition(":")
        return Verdict(_KINDS[kind], reason)


_KINDS: Mapping[str, VerdictKind] = {
    "accepted": "accepted",
    "duplicate": "duplicate",
    "late": "late",
    "held": "held",
    "refused": "refused",
    "malformed": "malformed",
    "unknown": "unknown",
}
_WAITS = HELD._replace(detail="until its protocol is recognised")
