"""The pane of what a reader of the store sees."""

from __future__ import annotations

from typing import Any

from textual import events

from ...keys import MessageKey, PartKey
from ..document import Document
from ..drawing import Piece, document_line
from ..row import Row
from .pane import Pane


class Transcript(Pane):
    """The store's transcript; what belongs to the selected event has a bar beside it."""

    def __init__(self, document: Document) -> None:
        super().__init__(id="transcript")
        self._document = document
        self._version = -1
        self.key: tuple[Any, ...] = ()

    @property
    def lines(self) -> int:
        return self._document.height

    def pieces(self, y: int, width: int) -> list[Piece]:
        line = self._document.line(y)
        ours = self.key and line.key is not None and line.key[: len(self.key)] == self.key
        return [Piece("▌" if ours else " ", "title"), *document_line(line)]

    def sessions(self) -> set[str]:
        """Sessions of which a line is visible, or that the bar is about."""
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        keys = [self._document.line(y).key for y in range(top, top + height)]
        return {key[0] for key in (*keys, self.key) if key}

    def look_again(self) -> None:
        self._document.resize(max(1, self.scrollable_content_region.width - 1))
        if self._document.version != self._version:
            self._version = self._document.version
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
            place = self._document.place_of(named)
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
