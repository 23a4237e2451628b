"""The pane of the events, one of which is selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType

from ..drawing import Piece, dropped_line, timeline_line
from ..timeline import Timeline
from .pane import Pane

_MARKED = Style.parse("bold on #2a4d7c")
_UNFOCUSED = Style.parse("on #2b313a")


class Events(Pane):
    """The timeline, with a cursor.

    Args:
        timeline: whose lines it shows, and where the cursor is.
        moved: called when somebody moved the cursor, or opened a group.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "far(-1)", show=False),
        Binding("end", "far(1)", show=False),
        Binding("enter", "open", show=False),
    ]

    def __init__(self, timeline: Timeline, moved: Callable[[], object]) -> None:
        super().__init__(id="timeline")
        self._timeline = timeline
        self._tell_moved = moved
        self._version = -1
        self._at: int | None = None  # where the selected line was when last looked at
        self._selected: object = None

    @property
    def top(self) -> int:
        return 1 if self._timeline.dropped else 0

    @property
    def lines(self) -> int:
        return len(self._timeline.lines) + self.top

    def pieces(self, y: int, width: int) -> list[Piece]:
        if y < self.top:
            return dropped_line(self._timeline)
        return timeline_line(self._timeline.lines[y - self.top], width)

    def over(self, y: int) -> Style | None:
        if self._timeline.index != y - self.top:
            return None
        return _MARKED if self.has_focus else _UNFOCUSED

    def look_again(self) -> None:
        timeline = self._timeline
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
        index = self._timeline.index
        self._at = None if index is None else index + self.top
        self._selected = self._timeline.selected

    def scrolled(self, to_end: bool) -> None:
        if self._timeline.follow and not to_end:
            self._timeline.hold()
            self._remember()
            self._version = self._timeline.version
            self.follows = False

    def _moved(self) -> None:
        self.look_again()
        self._tell_moved()

    def action_move(self, by: int) -> None:
        self._timeline.move(by)
        self._moved()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.scrollable_content_region.height - 1))

    def action_far(self, by: int) -> None:
        self._timeline.to(0) if by < 0 else self._timeline.to_end()
        self._moved()

    def action_open(self) -> None:
        self._timeline.toggle()
        self._moved()

    def on_click(self, event: events.Click) -> None:
        y = event.get_content_offset_capture(self).y + self.scroll_offset.y - self.top
        if 0 <= y < len(self._timeline.lines):
            self._timeline.to(y)
            self._moved()
