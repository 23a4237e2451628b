"""One line above the panes."""

from __future__ import annotations

from collections.abc import Callable

from textual.strip import Strip
from textual.widget import Widget

from ..drawing import Piece
from .strips import strip


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
