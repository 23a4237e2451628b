"""What the panes have in common: they scroll, and draw the lines that are visible and no other."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..drawing import Piece
from .strips import strip


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
