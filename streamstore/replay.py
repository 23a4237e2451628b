"""A recorded log replayed in a terminal: the transcript as it grows, then what it took.

The store ticks in the log's own time, as a frontend at 60 Hz would have seen it, whatever the
speed and the machine: the same log gives the same figures. Only waiting and drawing look at the
real clock, and both are arguments. `LiveView` needs `rich`, imported when one is made; `PlainView`
needs nothing and writes what can be appended, for pipes and bare installs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TextIO, TypeAlias

import attrs

from .adapters.base import Adapter, Context
from .changes import ChangeSet
from .decoding import decode_json
from .errors import CallerError, MissingExtra, RemoteError
from .events import BlockDelta
from .feeding import Connection, Tell, feed_all
from .keys import PartKey
from .logs import Log, TimedEvent
from .model import Message, Part, Sequencing
from .pipeline import Stream, StreamStore
from .protocols import adapter_named
from .sse import EventStreamParser
from .terminal import escape, one_line
from .ticks import ManualTicks
from .transcript import Entry, Style, Transcript, lacks, tool_line

#: The store's ticks, in ms of the log's time.
TICK_MS = 16
#: A drawing at most every so many seconds.
DRAW_S = 0.05
#: Without a speed: the recorded pace, no pause longer, all of it in at most so many ms.
LONGEST_PAUSE_MS = 1_000
LONGEST_MS = 10_000

Clock: TypeAlias = Callable[[], float]
Sleep: TypeAlias = Callable[[float], object]
Figures: TypeAlias = Sequence[tuple[str, str]]


class View(Protocol):
    """Where a replay is shown. `hear` is called in every tick, `draw` when there is time."""

    #: Seconds between drawings, 0 for one at each change.
    draw_s: float

    def start(self, transcript: Transcript, total: int | None) -> None: ...
    def hear(self, changes: ChangeSet) -> None: ...
    def draw(self, events: int) -> None: ...
    def finish(self, events: int, figures: Figures) -> None: ...
    def stop(self) -> None: ...


@attrs.frozen
class Speed:
    """How fast a replay goes: `factor` times the recorded pace, inf for as fast as it can.

    `fitted` ones, the default, shorten pauses to `LONGEST_PAUSE_MS` and go faster than recorded
    where the whole would take longer than `LONGEST_MS`.
    """

    factor: float
    fitted: bool = False

    def fit(self, times: Iterable[float]) -> Speed:
        """The speed for events at these times; itself, unless it is to be fitted."""
        if not self.fitted:
            return self
        whole, last = 0.0, None
        for at in times:
            whole += 0 if last is None else min(at - last, LONGEST_PAUSE_MS)
            last = at
        return Speed(max(self.factor, whole / LONGEST_MS), True)


AS_RECORDED = Speed(1, True)
AT_ONCE = Speed(math.inf)


def replay(
    recording: Sequence[Connection],
    view: View,
    *,
    protocol: str = "auto",
    sequencing: Sequencing | None = None,
    session_id: str | None = None,
    speed: Speed = AS_RECORDED,
    clock: Clock = time.monotonic,
    sleep: Sleep = time.sleep,
    tell: Tell | None = None,
) -> None:
    """Replay a recording into a view; `session_id` shows that session alone.

    Raises what `feed_all` raises, and `CallerError` when the session never appeared. Whatever
    happens, the view is stopped.
    """
    logs = [connection.log for connection in recording if connection.log is not None]
    # Standard input is shown as it comes; a file is read first, so that its length is known.
    known = {log: list(_judged(log, tell).events()) for log in logs if not log.comes_once}
    total = None if len(known) < len(logs) else sum(map(len, known.values()))
    speed = speed.fit(_times(known))
    ticks = ManualTicks(TICK_MS)
    store = StreamStore(ticks=ticks)
    player = _Player(store, ticks, view, speed, clock, sleep)
    try:
        view.start(Transcript(store), total)
        subscription = store.subscribe(player.hear, session_id=session_id)

        def play(stream: Stream, log: Log) -> None:
            events = known[log] if log in known else _judged(log, tell).events()
            player.play(stream, log, events)

        feed_all(store, recording, protocol, sequencing, play, tell)
        ticks.run()
        subscription.close()
        if session_id is not None and store.session(session_id) is None:
            raise CallerError(_no_session(store, session_id))
        view.finish(player.events, _figures(store, player))
    finally:
        view.stop()


class _Player:
    """Feeds events one by one: lets the log's time pass, waits, and draws now and then."""

    def __init__(
        self,
        store: StreamStore,
        ticks: ManualTicks,
        view: View,
        speed: Speed,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self._store = store
        self._ticks = ticks
        self._view = view
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._due = self._drawn = clock()
        self._new = False
        self._log: Log | None = None
        self._last: float | None = None  # when the event before came
        self.events = 0
        self.deltas = _Deltas()

    def hear(self, changes: ChangeSet) -> None:
        """A tick of the store."""
        self._new = True
        self._view.hear(changes)

    def play(self, stream: Stream, log: Log, events: Iterable[TimedEvent]) -> None:
        """Feed the events of one connection."""
        self.deltas.restart()
        if not _goes_on(self._log, log):
            self._last = None
        self._log = log
        for event in events:
            if self._last is not None and event.at > self._last:
                self._wait(event.at - self._last)
            self._last = event.at
            stream.feed(event.data)
            if event.says is not None:
                self.events += 1
                self.deltas.add(event, stream.protocol)

    def _wait(self, milliseconds: float) -> None:
        # From tick to tick, so that a view that draws at each change sees each; then the rest of
        # a pause, which may be days, in one step.
        until = self._ticks.now + milliseconds
        while self._ticks.pending and self._ticks.now < until:
            self._ticks.advance(min(TICK_MS, until - self._ticks.now))
            self._draw()
        self._ticks.advance(until - self._ticks.now)
        if math.isinf(self._speed.factor):
            return
        if self._speed.fitted:
            milliseconds = min(milliseconds, LONGEST_PAUSE_MS)
        self._due += milliseconds / 1000 / self._speed.factor
        while (left := self._due - self._clock()) > 0:
            self._sleep(min(left, DRAW_S))
            self._draw()

    def _draw(self) -> None:
        if not self._new:
            return
        if self._view.draw_s:
            now = self._clock()
            if now - self._drawn < self._view.draw_s:
                return
            self._drawn = now
        self._new = False
        self._view.draw(self.events)


class _Deltas:
    """Counts the deltas of streams, which is what their own adapter calls so.

    A second instance of the adapter sees what the stream's sees: the store does not count deltas.
    """

    def __init__(self) -> None:
        self.number = 0
        self._adapter: Adapter | None = None
        self._undetected: list[TimedEvent] = []

    def restart(self) -> None:
        """The next event is that of a new stream."""
        self._adapter = None
        self._undetected = []

    def add(self, event: TimedEvent, protocol: str | None) -> None:
        """Count the deltas of one event; before the protocol is known it waits."""
        if self._adapter is None:
            if protocol is None:
                self._undetected.append(event)
                return
            self._adapter = adapter_named(protocol)(Context())
            for earlier in self._undetected:
                self.add(earlier, protocol)
        try:
            events = self._adapter.decode(_wire(event, self._adapter))
        except (RemoteError, RecursionError, MissingExtra):
            return  # what is missing is said at the end of the log
        self.number += sum(isinstance(event, BlockDelta) for event in events)


def _wire(event: TimedEvent, adapter: Adapter) -> Any:
    """The wire object of an event that says something; with its name, where that is part of it."""
    wire = decode_json(event.says or b"")
    if adapter.declaration.event_names and not event.data.endswith(event.says or b""):
        for frame in EventStreamParser().feed(event.data):
            return {"event": frame.event, "data": wire}
    return wire


def _judged(log: Log, tell: Tell | None) -> Log:
    return log.judged(tell or (lambda said: None))


def _goes_on(before: Log | None, log: Log) -> bool:
    """Whether two logs are connections of one recording, between which its time went on."""
    return before is not None and log.connection is not None and log.name == before.name


def _times(logs: Mapping[Log, Sequence[TimedEvent]]) -> list[float]:
    """Times of all events, one log after the other."""
    times: list[float] = []
    shift = 0.0
    before: Log | None = None
    for log, events in logs.items():
        if times and events and not _goes_on(before, log):
            shift = times[-1] - events[0].at
        before = log
        times += [event.at + shift for event in events]
    return times


def _no_session(store: StreamStore, session_id: str) -> str:
    there = store.session_ids()
    names = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "") if there else "none"
    return f"no session {session_id!r} in this log; there are: {names}"


def _figures(store: StreamStore, player: _Player) -> Figures:
    health = store.health
    by_kind: dict[str, dict[str, int]] = {}
    for name, number in health.counts["verdicts"].items():
        kind, _, reason = name.partition(":")
        by_kind.setdefault(kind, {})[reason] = number
    work = health.counts["work"]
    found = [("events", str(player.events)), ("deltas", str(player.deltas.number))]
    label = "verdicts"
    for kind, reasons in sorted(by_kind.items()):
        found.append((label, f"{kind} {sum(reasons.values())}{_reasons(reasons)}"))
        label = ""
    found += [(name, str(work.get(name, 0))) for name in ("ticks", "writes", "notifications")]
    if health.gaps:
        found.append(("gaps", str(len(health.gaps))))
    return found


def _reasons(reasons: dict[str, int]) -> str:
    """The reasons of one kind of verdict, the most frequent ones, safe to print."""
    most = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
    named = [f"{one_line(reason, 40)} {reasons[reason]}" for reason in most if reason]
    if not named:
        return ""
    return f" ({', '.join(named[:4])}{', ...' if len(named) > 4 else ''})"


# --- plain ----------------------------------------------------------------------------------------

_MARKS: dict[Style, str] = {
    "session": "== ",
    "role": "-- ",
    "ask": "? ",
    "error": "! ",
    "note": "* ",
}
_INDENTS: dict[Style, str] = {"reasoning": "> ", "output": "    "}


class PlainView:
    """Text that is only ever appended to: one part grows at a time, the others follow whole."""

    draw_s = 0.0

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._transcript: Transcript | None = None
        self._lengths: dict[PartKey, int] = {}  # of texts that are written in part
        self._rewritten: set[PartKey] = set()
        self._at: PartKey | None = None  # whose text the cursor stands behind
        self._column = 0

    def start(self, transcript: Transcript, total: int | None) -> None:
        """Begin; nothing is written yet."""
        self._transcript = transcript

    def hear(self, changes: ChangeSet) -> None:
        """Note what a tick changed."""
        assert self._transcript is not None
        self._transcript.hear(changes)
        for gone in changes.removed:
            for key in [key for key in self._lengths if key[: len(gone)] == gone]:
                del self._lengths[key]
                self._rewritten.discard(key)
        for field, edit in changes.text.items():
            length = self._lengths.get(field.key)
            if length is not None and field.field == "text" and edit.start < length:
                self._rewritten.add(field.key)

    def draw(self, events: int) -> None:
        """Write what is new."""
        assert self._transcript is not None
        if self._at is not None:
            self._grow()  # first, so that no other line comes between this text and its rest
        for entry in self._transcript.done():
            self._write_entry(entry)
        self._grow()
        self._out.flush()

    def finish(self, events: int, figures: Figures) -> None:
        """Write what is left, and the figures."""
        assert self._transcript is not None
        for entry in self._transcript.finish():
            self._write_entry(entry)
        self._end_line()
        self._out.write("\n")
        for name, value in figures:
            self._out.write(f"{name:<14} {value}\n")
        self._out.flush()

    def stop(self) -> None:
        """Nothing to put back."""

    def _grow(self) -> None:
        """Write on at the first text that is not done."""
        assert self._transcript is not None
        for part, message in self._transcript.growing(1):
            if part.tool is None and len(part.view):
                self._write_growing(part, message)

    def _write_growing(self, part: Part, message: Message | None) -> None:
        assert self._transcript is not None
        style: Style = "reasoning" if part.kind == "reasoning" else "text"
        if part.key not in self._lengths:
            for head in self._transcript.heads(part.session_id, message):
                self._write_entry(head)
        self._write_rest(Entry(style, lacks(part), part.view, part.key))

    def _write_entry(self, entry: Entry) -> None:
        if entry.key is not None and entry.key in self._lengths:
            self._write_rest(entry)
            del self._lengths[entry.key]
        else:
            self._end_line()
            if entry.style in ("session", "role"):
                self._out.write("\n")
            if entry.head:
                self._out.write(f"{_MARKS.get(entry.style, '')}{entry.head}\n")
            self._write_text(entry.style, str(entry.text))
        self._end_line()

    def _write_rest(self, entry: Entry) -> None:
        """The text of an entry from where it was left."""
        assert entry.key is not None
        start = self._lengths.get(entry.key)
        if self._at != entry.key:
            self._end_line()
        if entry.key in self._rewritten:
            self._rewritten.discard(entry.key)
            self._end_line()
            self._out.write("* rewritten:\n")
            start = 0
        elif start is not None and start < len(entry.text) and self._at != entry.key:
            self._out.write("* continued:\n")
        elif start is None and entry.head:
            self._out.write(f"{entry.head}\n")
        text = entry.text if isinstance(entry.text, str) else entry.text.range(start or 0)
        self._lengths[entry.key] = len(entry.text)
        self._write_text(entry.style, text)
        if text:
            self._at = entry.key

    def _write_text(self, style: Style, text: str) -> None:
        if not text:
            return
        indent = _INDENTS.get(style, "")
        shown = escape(text)
        if indent:
            shown = shown.replace("\n", f"\n{indent}")
            if self._column == 0:
                shown = indent + shown
        self._out.write(shown)
        self._column = len(shown) - shown.rfind("\n") - 1

    def _end_line(self) -> None:
        if self._column:
            self._out.write("\n")
        self._column = 0
        self._at = None


# --- live -----------------------------------------------------------------------------------------

_STYLES: dict[Style, str] = {
    "session": "bold",
    "role": "bold cyan",
    "reasoning": "dim italic",
    "tool": "green",
    "output": "dim",
    "ask": "yellow",
    "error": "red",
    "note": "dim",
}


class LiveView:
    """What is done scrolls by; below it what grows, by its last lines, and a progress bar.

    A drawing costs what is visible. Needs rich (`pip install 'chat-streamstore[cli]'`).

    Args:
        console: a `rich.console.Console` on a terminal.
    """

    draw_s = DRAW_S

    def __init__(self, console: Any) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._console = console
        self._transcript: Transcript | None = None
        self._begun = False
        self._progress = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.completed} events"),
            console=console,
            auto_refresh=False,
            expand=True,
        )
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    def start(self, transcript: Transcript, total: int | None) -> None:
        """Show the progress bar."""
        self._transcript = transcript
        self._task = self._progress.add_task("replay", total=total)
        self._live.start()
        self._begun = True
        self._live.update(self._frame(), refresh=True)

    def hear(self, changes: ChangeSet) -> None:
        """Note what a tick changed."""
        assert self._transcript is not None
        self._transcript.hear(changes)

    def draw(self, events: int) -> None:
        """Print what is done, and draw the rest again."""
        assert self._transcript is not None
        self._progress.update(self._task, completed=events)
        self._show(self._transcript.done())

    def finish(self, events: int, figures: Figures) -> None:
        """Print what is left, and the figures as a table."""
        from rich.table import Table

        assert self._transcript is not None
        self._progress.update(self._task, completed=events, total=events)
        self._show(self._transcript.finish())
        self._live.stop()
        table = Table(show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for name, value in figures:
            table.add_row(_styled(name, ""), _styled(value, ""))
        self._console.print(table)

    def stop(self) -> None:
        """Give the cursor back; harmless to repeat."""
        if self._begun:
            self._live.stop()
        else:
            self._console.show_cursor(True)  # rich cannot stop what was interrupted as it began

    def _show(self, entries: Iterable[Entry]) -> None:
        from rich.console import Group

        lines = [_line(entry) for entry in entries]
        # Printing draws the frame below once more: it must not hold any more what is printed.
        self._live.update(self._frame(), refresh=not lines)
        if lines:
            self._console.print(Group(*lines))

    def _frame(self) -> Any:
        """What grows, as much of its end as there is room for, and the progress bar."""
        from rich.console import Group

        assert self._transcript is not None
        room = max(1, self._console.height - 3)
        lines: list[Any] = []
        for part, _ in reversed(self._transcript.growing()):
            lines = [*self._tail(part, room - len(lines)), *lines]
            if len(lines) >= room:
                break
        return Group(*lines, self._progress)

    def _tail(self, part: Part, room: int) -> list[Any]:
        """The last lines of a part, at the cost of what fits into them."""
        if part.tool is not None:
            return [_styled(tool_line(part), "yellow")]
        width = max(1, self._console.width)
        view = part.view
        text = escape(view.range(max(0, len(view) - room * width)))
        style = _STYLES["reasoning"] if part.kind == "reasoning" else ""
        lines = list(_styled(text.rstrip("\n"), style).wrap(self._console, width))
        head = lacks(part)
        return ([_styled(head, "dim")] if head and room > 1 else []) + lines[-room:]


def _styled(text: str, style: str) -> Any:
    """Text of rich, in which no markup is read."""
    from rich.text import Text

    return Text(text, style=style)


def _line(entry: Entry) -> Any:
    style = _STYLES.get(entry.style, "")
    text = escape(str(entry.text))
    if entry.style in ("session", "role"):
        return _styled(f"\n{entry.head}", style)
    if entry.style == "output":
        text = "    " + text.replace("\n", "\n    ")
    return _styled("\n".join(piece for piece in (entry.head, text.rstrip("\n")) if piece), style)
