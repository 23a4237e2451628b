"""The panes on one screen, with what every key does there."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer, Input

from ..drawing import Piece, counters_line, title_line
from ..filters import Filter
from ..inspector import Inspector
from ..playing import Source
from ..row import Row
from ..timeline import Clock, Grouping
from .bar import Bar
from .detail import Detail
from .drawn import outlasting
from .events import Events
from .help import Help
from .pane import Pane
from .transcript import Transcript

#: Below so many columns one column of panes is shown, below so many lines one of its panes.
NARROW, SHORT = 70, 14


class Watch(App[None]):
    """See `application` of `watch.app`, which makes it and says what the arguments are."""

    TITLE = "streamstore watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #title { background: $panel; }
    #counters { background: $surface; }
    #main { height: 1fr; }
    #transcript { width: 2fr; }
    #right { width: 3fr; }
    #timeline { height: 3fr; }
    #detail { height: 2fr; }
    Pane { overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1;
        background: $background; border-top: solid $panel; border-title-color: $text-muted; }
    #right { border-left: vkey $panel; }
    Pane:focus { border-top: solid $accent; border-title-color: $accent; }
    #filter { height: 1; border: none; padding: 0 1; display: none; background: $boost; }
    #filter:focus { border: none; }
    .filtering #filter { display: block; }
    .narrow #transcript, .narrow #right { width: 1fr; }
    .narrow.transcript #right, .narrow.timeline #transcript, .narrow.detail #transcript,
    .zoom.transcript #right, .zoom.timeline #transcript, .zoom.detail #transcript,
    .zoom.timeline #detail, .zoom.detail #timeline,
    .short.timeline #detail, .short.transcript #detail, .short.detail #timeline
        { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Pause"),
        Binding("n", "step", "Step"),
        Binding("t", "tick", "Tick"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("f", "follow", "Tail"),
        Binding("g", "group", "Group"),
        Binding("z", "zoom", "Zoom"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        # Everywhere, in place of a word about another key: nothing here can be lost.
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("tab", "pane(1)", show=False, priority=True),
        Binding("shift+tab", "pane(-1)", show=False, priority=True),
        Binding("plus,equals_sign", "speed(2)", show=False),
        Binding("minus", "speed(0.5)", show=False),
        Binding("e", "to_end", show=False),
        Binding("right_square_bracket", "notable(1)", show=False),
        Binding("left_square_bracket", "notable(-1)", show=False),
        Binding("c", "collapse", show=False),
        Binding("m", "message", show=False),
        Binding("w", "wider", show=False),
        Binding("escape", "clear", show=False),
    ]

    def __init__(
        self,
        inspector: Inspector,
        source: Source,
        name: str,
        *,
        clock: Clock,
        begin: Callable[[], object] | None,
        finish: Callable[[], Awaitable[object]] | None,
        frames: float,
    ) -> None:
        if os.environ.get("NO_COLOR") == "":
            del os.environ["NO_COLOR"]  # empty it says nothing (no-color.org); Textual obeys
        super().__init__()
        self.driver_class = outlasting(self.driver_class)
        self._inspector = inspector
        self._source = source
        self._watched = name
        self._clock = clock
        self._begin = begin
        self._finish = finish
        self._frames = frames
        self.animation_level = "none"  # a scroll on its way would stop short of what grows
        self._title = Bar(self._title_pieces, id="title")
        self._counters = Bar(self._counter_pieces, id="counters")
        self._transcript = Transcript(inspector.document)
        self._events = Events(inspector.timeline, moved=self.look)
        self._detail = Detail(inspector, source)
        self._filter = Input(
            id="filter", placeholder="type:delta message:id -verdict:accepted words"
        )
        self._panes: tuple[Pane, ...] = (self._events, self._detail, self._transcript)
        self._selected: Row | None = None
        self._collapsed = False

    def compose(self) -> ComposeResult:
        yield self._title
        yield self._counters
        with Horizontal(id="main"):
            yield self._transcript
            with Vertical(id="right"):
                yield self._events
                yield self._detail
        yield self._filter
        yield Footer()

    def on_mount(self) -> None:
        self._inspector.on_screen = self._transcript.sessions
        self._transcript.entitle("transcript")
        self._events.focus()
        self._show_pane("timeline")
        if self._begin is not None:
            self._begin()
        if self._frames:
            self.set_interval(1 / self._frames, self.pump)

    async def on_unmount(self) -> None:
        if self._finish is not None:
            await self._finish()

    def on_resize(self, event: events.Resize) -> None:
        self._fit(event.size.width, event.size.height)

    def _fit(self, width: int, height: int) -> None:
        main = self.screen_stack[0]
        main.set_class(width < NARROW, "narrow")
        main.set_class(height < SHORT, "short")

    # -- what moves ----------------------------------------------------------------------

    def pump(self) -> None:
        """Take in what is due, and show it."""
        self._source.pump(self._clock())
        self.look()

    def look(self) -> None:
        """Show what changed."""
        self._transcript.look_again()
        self._events.look_again()
        row = self._inspector.timeline.selected_row
        if row is not self._selected:
            self._selected = row
            self._transcript.point_at(row, scroll=not self._inspector.timeline.follow)
        self._detail.look_again()
        grouped = self._inspector.timeline.group_by
        follow = " · following" if self._inspector.timeline.follow else ""
        self._events.entitle(f"timeline by {grouped}{follow}")
        self._title.look()
        self._counters.look()

    def _title_pieces(self) -> list[Piece]:
        return title_line(
            self._watched, self._inspector.known_protocol, self._source, self._inspector.timeline
        )

    def _counter_pieces(self) -> list[Piece]:
        return counters_line(self._inspector.timeline.counters, self._inspector.timeline)

    # -- keys ----------------------------------------------------------------------------

    def action_pause(self) -> None:
        if self._source.paused:
            self._source.resume()
        else:
            self._source.pause()
        self.look()

    def action_step(self) -> None:
        self._source.pause()
        self._source.step_event()
        self.look()

    def action_tick(self) -> None:
        self._source.pause()
        self._source.step_tick()
        self.look()

    def action_speed(self, factor: float) -> None:
        self._source.change_speed(factor, self._clock())
        self.look()

    def action_to_end(self) -> None:
        self._source.change_speed(math.inf, self._clock())
        self._source.resume()
        self.look()

    def action_follow(self) -> None:
        self._inspector.timeline.to_end()
        self._transcript.follows = True
        self._transcript.look()
        self.look()

    def action_group(self) -> None:
        other: Grouping = "message" if self._inspector.timeline.group_by == "arrival" else "arrival"
        self._inspector.timeline.group_by = other
        self.look()

    def action_collapse(self) -> None:
        self._collapsed = not self._collapsed
        self._inspector.timeline.collapse(self._collapsed)
        self.look()

    def action_notable(self, by: int) -> None:
        if not self._inspector.timeline.next_notable(by):
            self.bell()
        self.look()

    def action_wider(self) -> None:
        self._detail.scope = (self._detail.scope + 1) % 3
        self.look()

    def action_message(self) -> None:
        row = self._inspector.timeline.selected_row
        if row is not None and row.facts.message_id:
            self._set_filter(Filter.of_message(row.facts.session_id, row.facts.message_id).text)

    def action_filter(self) -> None:
        self.screen.add_class("filtering")
        self._filter.focus()

    def action_clear(self) -> None:
        self._set_filter("")
        self.screen.remove_class("filtering", "zoom")
        self._events.focus()

    def _set_filter(self, text: str) -> None:
        self._filter.value = text
        self._inspector.timeline.filter = Filter.parse(text)
        self.look()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.value != self._inspector.timeline.filter.text:
            self._inspector.timeline.filter = Filter.parse(event.value)
            self.look()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.screen.remove_class("filtering")
        self._events.focus()

    def action_zoom(self) -> None:
        self.screen.toggle_class("zoom")

    def action_help(self) -> None:
        self.push_screen(Help())

    def action_pane(self, by: int) -> None:
        if len(self.screen_stack) > 1:
            return
        focused = self.focused
        names = [pane.id for pane in self._panes]
        at = names.index(focused.id) if focused is not None and focused.id in names else -1
        pane = self._panes[(at + by) % len(self._panes)]
        self._show_pane(str(pane.id))
        pane.focus()

    def _show_pane(self, shown: str) -> None:
        main = self.screen_stack[0]
        for pane in self._panes:
            main.set_class(pane.id == shown, str(pane.id))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if event.widget in self._panes:
            self._show_pane(str(event.widget.id))
