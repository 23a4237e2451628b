"""The screen of `watch`: widgets of Textual over an inspector, and nothing that is not about them.

Every pane draws the lines that are visible and no other; what they say is `drawing.py`'s, so no
markup of Rich or Textual is ever read. Needs textual (extra `cli`), imported when an application
is made.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import CallerError
from ..keys import MessageKey, PartKey
from .drawing import (
    STYLES,
    Piece,
    counters_line,
    document_line,
    dropped_line,
    event_lines,
    fold,
    timeline_line,
    title_line,
)
from .filters import Filter
from .inspector import Inspector
from .past import Moment
from .playing import Source
from .row import Row
from .timeline import Clock, Grouping

if TYPE_CHECKING:
    from textual.app import App

#: Drawings a second.
FRAMES = 20
#: Below so many columns one column of panes is shown, below so many lines one of its panes.
NARROW, SHORT = 70, 14

HELP = """\
 space        pause, go on
 n            step: one event           t    one tick (all within 16 ms)
 + -          faster, slower (logs)     e    to the end (logs)

 up down j k  select an event           pgup pgdn home end   further
 f            follow the newest         ] [  next, previous notable event
 g            group by arrival, or by message
 enter        collapse, open the group  c    collapse, open all of them

 /            filter: words that must fit, such as
                type:delta  message:msg_1  session:s  verdict:duplicate
                -type:heartbeat  "free text"  verdict:notable
 m            only the selected event's message
 escape       no filter, and back

 tab          next pane                 z    this pane alone
 w            a wider state: the part's, the message's, all of it
 q ctrl+c     quit

 ok accepted   dup taken in before   late to its place   held waits
 REF! refused  BAD! malformed        unk unknown type
 +12 characters of a delta           #7 its seq"""


def application(
    inspector: Inspector,
    source: Source,
    name: str,
    *,
    clock: Clock,
    begin: Callable[[], object] | None = None,
    finish: Callable[[], Awaitable[object]] | None = None,
    frames: float = FRAMES,
) -> App[None]:
    """The application that watches; `run()` it.

    Args:
        inspector, source: what is watched, and where its events come from.
        name: what is watched, for the first line.
        clock: ms, for what is due.
        begin, finish: called when its event loop runs, and before that ends.
        frames: drawings a second; 0 for none but those that `pump()` asks for.

    Raises:
        CallerError: textual is not installed.
    """
    try:
        from rich.cells import cell_len
        from rich.segment import Segment
        from rich.style import Style
        from textual import events
        from textual.app import App, ComposeResult
        from textual.binding import Binding, BindingType
        from textual.containers import Horizontal, Vertical
        from textual.geometry import Region, Size
        from textual.screen import ModalScreen
        from textual.scroll_view import ScrollView
        from textual.strip import Strip
        from textual.widget import Widget
        from textual.widgets import Footer, Input
    except ImportError:
        raise CallerError("watching needs textual: pip install 'chat-streamstore[cli]'") from None

    styles = {name: Style.parse(spelt) for name, spelt in STYLES.items()}
    marked = Style.parse("bold on #2a4d7c")
    unfocused = Style.parse("on #2b313a")

    def strip(pieces: list[Piece], width: int, base: Style, over: Style | None = None) -> Strip:
        segments = []
        room = width
        over = over or Style.null()
        for text, style in pieces:
            if room <= 0:
                break
            text = text[:room]  # a character is a cell at least, but for marks
            segments.append(Segment(text, base + styles[style] + over))
            room -= cell_len(text)
        return Strip(segments).adjust_cell_length(width, base + over)

    class Bar(Widget):
        """One line of text."""

        DEFAULT_CSS = "Bar { height: 1; }"

        def __init__(self, pieces: Callable[[], list[Piece]], *, id: str) -> None:
            super().__init__(id=id)
            self._pieces = pieces
            self._shown: list[Piece] = []

        def look(self) -> None:
            pieces = self._pieces()
            if pieces != self._shown:
                self._shown = pieces
                self.refresh()

        def render_line(self, y: int) -> Strip:
            return strip(self._shown or self._pieces(), self.size.width, self.rich_style)

    class Pane(ScrollView, can_focus=True):
        """Lines of which only the visible ones are made."""

        BINDINGS: ClassVar[list[BindingType]] = [
            Binding("j", "scroll_down", show=False),
            Binding("k", "scroll_up", show=False),
        ]

        def __init__(self, *, id: str) -> None:
            super().__init__(id=id)
            self.follows = True
            self._ours = False
            self._title = ""
            self._drawn: dict[int, tuple[list[Piece], Style | None]] = {}

        @property
        def lines(self) -> int:
            return 0

        def pieces(self, y: int, width: int) -> list[Piece]:
            return []

        def over(self, y: int) -> Style | None:
            return None

        def entitle(self, title: str) -> None:
            if title != self._title:  # Textual draws all of it again, even for the same one
                self._title = title
                self.border_title = title

        def made(self, y: int) -> tuple[list[Piece], Style | None]:
            """What a line of the pane says now, counted from its top."""
            y += self.scroll_offset.y
            if y >= self.lines:
                return [], None
            return self.pieces(y, self.scrollable_content_region.width), self.over(y)

        def render_line(self, y: int) -> Strip:
            pieces, over = self._drawn[y] = self.made(y)
            return strip(pieces, self.scrollable_content_region.width, self.rich_style, over)

        def look(self, to: int | None = None) -> None:
            """There are new lines: show them, and move where it is to be moved to."""
            self._ours = True
            top = self.scroll_offset.y
            self.virtual_size = Size(0, self.lines)
            if to is None and self.follows:
                to = self.lines
            if to is not None:
                self.scroll_to(y=max(0, min(to, self.max_scroll_y)), animate=False, force=True)
            self._ours = False
            if self.scroll_offset.y != top:
                return  # all of it is drawn anew
            room = self.scrollable_content_region.size
            stale = [y for y in range(room.height) if self._drawn.get(y) != self.made(y)]
            if stale:
                self.refresh(*(Region(0, y, room.width, 1) for y in stale))

        def watch_scroll_y(self, old_value: float, new_value: float) -> None:
            super().watch_scroll_y(old_value, new_value)
            if not self._ours and round(old_value) != round(new_value):
                self.scrolled(new_value >= self.max_scroll_y)

        def scrolled(self, to_end: bool) -> None:
            """Somebody scrolled."""
            self.follows = to_end

        def action_scroll_end(self) -> None:
            self.scrolled(True)
            self.look(self.lines)

        def on_resize(self, event: events.Resize) -> None:
            self.look()

    class Transcript(Pane):
        """The store's transcript; what belongs to the selected event has a bar beside it."""

        def __init__(self) -> None:
            super().__init__(id="transcript")
            self._version = -1
            self.key: tuple[Any, ...] = ()

        @property
        def lines(self) -> int:
            return inspector.document.height

        def pieces(self, y: int, width: int) -> list[Piece]:
            line = inspector.document.line(y)
            ours = self.key and line.key is not None and line.key[: len(self.key)] == self.key
            return [Piece("▌" if ours else " ", "title"), *document_line(line)]

        def sessions(self) -> set[str]:
            """Sessions of which a line is visible, or that the bar is about."""
            top, height = self.scroll_offset.y, self.scrollable_content_region.height
            keys = [inspector.document.line(y).key for y in range(top, top + height)]
            return {key[0] for key in (*keys, self.key) if key}

        def look_again(self) -> None:
            inspector.document.resize(max(1, self.scrollable_content_region.width - 1))
            if inspector.document.version != self._version:
                self._version = inspector.document.version
                self.look()

        def point_at(self, row: Row | None, scroll: bool) -> None:
            facts = row.facts if row is not None else None
            key: tuple[Any, ...] = ()
            if facts is not None and facts.session_id and facts.message_id:
                key = (facts.session_id, facts.message_id)
                if facts.block_index is not None:
                    key = (*key, facts.block_index)
            if key == self.key and not scroll:
                return
            self.key = key
            to = None
            if scroll and key:
                named = PartKey(*key) if len(key) == 3 else MessageKey(*key)
                place = inspector.document.place_of(named)
                if place is not None:
                    room = self.scrollable_content_region.height
                    first, count = place
                    top = self.scroll_offset.y
                    if first + count <= top or first >= top + room:
                        to = first + max(0, count - room)
                        self.follows = False
            self.look(to)

        def on_resize(self, event: events.Resize) -> None:
            self._version = -1
            self.look_again()

    class Events(Pane):
        """The timeline, with a cursor."""

        BINDINGS: ClassVar[list[BindingType]] = [
            Binding("up,k", "move(-1)", show=False),
            Binding("down,j", "move(1)", show=False),
            Binding("pageup", "page(-1)", show=False),
            Binding("pagedown", "page(1)", show=False),
            Binding("home", "far(-1)", show=False),
            Binding("end", "far(1)", show=False),
            Binding("enter", "open", show=False),
        ]

        def __init__(self) -> None:
            super().__init__(id="timeline")
            self._version = -1
            self._at: int | None = None  # where the selected line was when last looked at
            self._selected: object = None

        @property
        def top(self) -> int:
            return 1 if inspector.timeline.dropped else 0

        @property
        def lines(self) -> int:
            return len(inspector.timeline.lines) + self.top

        def pieces(self, y: int, width: int) -> list[Piece]:
            if y < self.top:
                return dropped_line(inspector.timeline)
            return timeline_line(inspector.timeline.lines[y - self.top], width)

        def over(self, y: int) -> Style | None:
            if inspector.timeline.index != y - self.top:
                return None
            return marked if self.has_focus else unfocused

        def look_again(self) -> None:
            timeline = inspector.timeline
            if timeline.version == self._version:
                return
            self._version = timeline.version
            selected, before, was = timeline.selected, self._at, self._selected
            self._remember()
            self.follows = timeline.follow
            to, at = None, self._at
            if not timeline.follow and at is not None:
                first = self.scroll_offset.y
                room = max(1, self.scrollable_content_region.height)
                if selected is was and before is not None:
                    to = first + at - before  # lines above it came or went
                elif timeline.index == 0:
                    to = 0  # with the line above it that says what is gone
                elif not first <= at < first + room:
                    to = at if at < first else at - room + 1
            self.look(to)

        def _remember(self) -> None:
            index = inspector.timeline.index
            self._at = None if index is None else index + self.top
            self._selected = inspector.timeline.selected

        def scrolled(self, to_end: bool) -> None:
            if inspector.timeline.follow and not to_end:
                inspector.timeline.hold()
                self._remember()
                self._version = inspector.timeline.version
                self.follows = False

        def _moved(self) -> None:
            self.look_again()
            watch.look()

        def action_move(self, by: int) -> None:
            inspector.timeline.move(by)
            self._moved()

        def action_page(self, by: int) -> None:
            self.action_move(by * max(1, self.scrollable_content_region.height - 1))

        def action_far(self, by: int) -> None:
            inspector.timeline.to(0) if by < 0 else inspector.timeline.to_end()
            self._moved()

        def action_open(self) -> None:
            inspector.timeline.toggle()
            self._moved()

        def on_click(self, event: events.Click) -> None:
            y = event.get_content_offset_capture(self).y + self.scroll_offset.y - self.top
            if 0 <= y < len(inspector.timeline.lines):
                inspector.timeline.to(y)
                self._moved()

    class Detail(Pane):
        """The selected event, and the state after it."""

        def __init__(self) -> None:
            super().__init__(id="detail")
            self.follows = False
            self.scope = 0  # the part or what is nearest, its message, everything
            self._row: Row | None = None
            self._of: object = None
            self._lines: list[list[Piece]] = []

        @property
        def lines(self) -> int:
            return len(self._lines)

        def pieces(self, y: int, width: int) -> list[Piece]:
            return [Piece(" "), *self._lines[y]]

        def scrolled(self, to_end: bool) -> None:
            """It follows nothing."""

        def look_again(self) -> None:
            row = inspector.timeline.selected_row
            width = self.scrollable_content_region.width - 1
            live = inspector.timeline.follow and not source.paused and not source.ended
            of = (None if row is None else row.number, live, self.scope, width)
            if of == self._of or not self.display or not self.size.height:
                return
            same = row is self._row
            self._of, self._row = of, row
            moment = None
            if row is not None:
                moment = Moment(inspector.store, None, 0) if live else inspector.after(row)
            found = [] if row is None else event_lines(row, moment, self.scope)
            self._lines = [piece for line in found for piece in fold(line, width, cell_len)]
            self.entitle("event" if row is None else f"event #{row.number}")
            self.look(None if same or live else 0)

        def on_resize(self, event: events.Resize) -> None:
            self._of = None
            self.look_again()

    class Help(ModalScreen[None]):
        """The keys."""

        BINDINGS: ClassVar[list[BindingType]] = [
            Binding("escape,q,question_mark,enter,space", "close", "Close")
        ]
        DEFAULT_CSS = """
        Help { align: center middle; }
        Help > Keys { width: 84; max-width: 100%; height: 26; max-height: 100%;
            border: round $accent; background: $surface; }
        """

        def compose(self) -> ComposeResult:
            yield Keys()

        def action_close(self) -> None:
            self.dismiss()

    class Keys(Pane):
        def __init__(self) -> None:
            super().__init__(id="keys")
            self.follows = False
            self._text = HELP.split("\n")
            self.border_title = "keys"
            self.border_subtitle = "escape closes"

        @property
        def lines(self) -> int:
            return len(self._text)

        def pieces(self, y: int, width: int) -> list[Piece]:
            return [Piece(self._text[y])]

    class Watch(App[None]):
        """See `application`."""

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

        def __init__(self) -> None:
            super().__init__()
            self.animation_level = "none"  # a scroll on its way would stop short of what grows
            self._title = Bar(self._title_pieces, id="title")
            self._counters = Bar(self._counter_pieces, id="counters")
            self._transcript = Transcript()
            self._events = Events()
            self._detail = Detail()
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
            inspector.on_screen = self._transcript.sessions
            self._transcript.entitle("transcript")
            self._events.focus()
            self._show_pane("timeline")
            if begin is not None:
                begin()
            if frames:
                self.set_interval(1 / frames, self.pump)

        async def on_unmount(self) -> None:
            if finish is not None:
                await finish()

        def on_resize(self, event: events.Resize) -> None:
            self._fit(event.size.width, event.size.height)

        def _fit(self, width: int, height: int) -> None:
            main = self.screen_stack[0]
            main.set_class(width < NARROW, "narrow")
            main.set_class(height < SHORT, "short")

        # -- what moves ----------------------------------------------------------------------

        def pump(self) -> None:
            """Take in what is due, and show it."""
            source.pump(clock())
            self.look()

        def look(self) -> None:
            """Show what changed."""
            self._transcript.look_again()
            self._events.look_again()
            row = inspector.timeline.selected_row
            if row is not self._selected:
                self._selected = row
                self._transcript.point_at(row, scroll=not inspector.timeline.follow)
            self._detail.look_again()
            grouped = inspector.timeline.group_by
            follow = " · following" if inspector.timeline.follow else ""
            self._events.entitle(f"timeline by {grouped}{follow}")
            self._title.look()
            self._counters.look()

        def _title_pieces(self) -> list[Piece]:
            return title_line(name, inspector.known_protocol, source, inspector.timeline)

        def _counter_pieces(self) -> list[Piece]:
            return counters_line(inspector.timeline.counters, inspector.timeline)

        # -- keys ----------------------------------------------------------------------------

        def action_pause(self) -> None:
            if source.paused:
                source.resume(clock())
            else:
                source.pause(clock())
            self.look()

        def action_step(self) -> None:
            source.pause(clock())
            source.step_event()
            self.look()

        def action_tick(self) -> None:
            source.pause(clock())
            source.step_tick()
            self.look()

        def action_speed(self, factor: float) -> None:
            source.change_speed(factor, clock())
            self.look()

        def action_to_end(self) -> None:
            source.change_speed(math.inf, clock())
            source.resume(clock())
            self.look()

        def action_follow(self) -> None:
            inspector.timeline.to_end()
            self._transcript.follows = True
            self._transcript.look()
            self.look()

        def action_group(self) -> None:
            other: Grouping = "message" if inspector.timeline.group_by == "arrival" else "arrival"
            inspector.timeline.group_by = other
            self.look()

        def action_collapse(self) -> None:
            self._collapsed = not self._collapsed
            inspector.timeline.collapse(self._collapsed)
            self.look()

        def action_notable(self, by: int) -> None:
            if not inspector.timeline.next_notable(by):
                self.bell()
            self.look()

        def action_wider(self) -> None:
            self._detail.scope = (self._detail.scope + 1) % 3
            self.look()

        def action_message(self) -> None:
            row = inspector.timeline.selected_row
            if row is not None and row.facts.message_id:
                self._set_filter(f'message:"{row.facts.message_id}"')

        def action_filter(self) -> None:
            self.screen.add_class("filtering")
            self._filter.focus()

        def action_clear(self) -> None:
            self._set_filter("")
            self.screen.remove_class("filtering", "zoom")
            self._events.focus()

        def _set_filter(self, text: str) -> None:
            self._filter.value = text
            inspector.timeline.filter = Filter.parse(text)
            self.look()

        def on_input_changed(self, event: Input.Changed) -> None:
            if event.value != inspector.timeline.filter.text:
                inspector.timeline.filter = Filter.parse(event.value)
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

    watch = Watch()
    return watch
