"""Pieces as a strip of cells, which is what a widget of Textual gives for a line of its own.

No markup of Rich or Textual is ever read.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from ..drawing import STYLES, Piece

_STYLES = {name: Style.parse(spelt) for name, spelt in STYLES.items()}


def strip(pieces: list[Piece], width: int, base: Style, over: Style | None = None) -> Strip:
    """Pieces in so many cells; `over` is a style over their own."""
    segments = []
    room = width
    over = over or Style.null()
    for text, style in pieces:
        if room <= 0:
            break
        text = text[:room]  # a character is a cell at least, but for marks
        segments.append(Segment(text, base + _STYLES[style] + over))
        room -= cell_len(text)
    return Strip(segments).adjust_cell_length(width, base + over)
