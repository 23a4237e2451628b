"""The pane of the selected event."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events

from ..drawing import Piece, event_lines, fold
from ..inspector import Inspector
from ..past import Moment
from ..playing import Source
from ..row import Row
from .pane import Pane


class Detail(Pane):
    """The selected event, and the state after it."""

    def __init__(self, inspector: Inspector, source: Source) -> None:
        super().__init__(id="detail")
        self._inspector = inspector
        self._source = source
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
        row = self._inspector.timeline.selected_row
        width = self.scrollable_content_region.width - 1
        live = (
            self._inspector.timeline.follow and not self._source.paused and not self._source.ended
        )
        of = (None if row is None else row.number, live, self.scope, width)
        if of == self._of or not self.display or not self.size.height:
            return
        same = row is self._row
        self._of, self._row = of, row
        moment = None
        if row is not None:
            moment = Moment(self._inspector.store, None, 0) if live else self._inspector.after(row)
        found = [] if row is None else event_lines(row, moment, self.scope)
        self._lines = [piece for line in found for piece in fold(line, width, cell_len)]
        self.entitle("event" if row is None else f"event #{row.number}")
        self.look(None if same or live else 0)

    def on_resize(self, event: events.Resize) -> None:
        self._of = None
        self.look_again()
