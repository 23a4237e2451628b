"""A growing text as lines of a given width, wrapped at the cost of what is new.

Keeps where each line starts and no text; lines are read through the text's view when they are
drawn. What a terminal must not be sent is shown as escapes, so a character may take several cells.
Knows texts and widths; no part, store or screen.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Protocol

from ..terminal import escape

#: Cells that a text takes.
Measure = Callable[[str], int]

TAB = "    "
# Only plain characters of one cell each: wrapped by counting.
_PLAIN = re.compile(r"[ -~\u00a1-\u00ac\u00ae-\u02ff]*")
_PIECE = 4096


class Text(Protocol):
    """What is wrapped: a view of a part's text."""

    def __len__(self) -> int: ...
    def range(self, start: int, stop: int | None = None) -> str: ...


def cells(text: str) -> int:
    """Cells that a text takes in a terminal, near enough: wide characters take two, marks none.

    >>> cells("abc"), cells("日本"), cells("e\u0301")
    (3, 4, 1)
    """
    if _PLAIN.fullmatch(text):
        return len(text)
    return sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character) or character in "\u200b\u200c\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def shown(text: str) -> str:
    """A piece of a text as it is drawn: escaped, tabs as spaces."""
    return escape(text).replace("\t", TAB)


class WrappedText:
    """The lines of one text. `grow` when it was appended to, `cut` first when it was rewritten.

    >>> class View(str):
    ...     def range(self, start, stop=None): return self[start:stop]
    >>> wrapped = WrappedText(8)
    >>> wrapped.grow(View("one two three"))
    >>> [wrapped.line(View("one two three"), at) for at in range(wrapped.height)]
    ['one two ', 'three']
    """

    def __init__(self, width: int, measure: Measure = cells) -> None:
        self.width = max(1, width)
        self._measure = measure
        self._starts: list[int] = [0]
        self._length = 0
        self.looked_at = 0
        """Characters that were wrapped so far, again ones counted again: the work it took."""

    @property
    def height(self) -> int:
        """How many lines there are; 0 for no text."""
        return len(self._starts) if self._length else 0

    def line(self, text: Text, at: int) -> str:
        """One line as it is drawn, at the cost of the line."""
        start = self._starts[at]
        stop = self._starts[at + 1] if at + 1 < len(self._starts) else self._length
        return shown(text.range(start, stop).rstrip("\n"))

    def cut(self, start: int) -> None:
        """The text was rewritten from a character on."""
        if start >= self._length:
            return
        while len(self._starts) > 1 and self._starts[-1] >= start:
            self._starts.pop()
        if len(self._starts) > 1:
            self._starts.pop()  # its last word may have stood on the line below
        self._length = min(self._length, start)

    def grow(self, text: Text) -> None:
        """Wrap what is new: from the last line on, which may go on."""
        length = len(text)
        at = self._starts.pop()
        carried = ""
        taken = at
        if length == 0:
            self._starts, self._length = [0], 0
            return
        self._starts.append(at)
        while taken < length or carried:
            piece = text.range(taken, taken + _PIECE)
            taken += len(piece)
            block = carried + piece
            self.looked_at += len(piece)
            used = self._wrap(block, self._starts[-1])
            carried = block[used:]
            if taken >= length:
                break
        self._length = length

    def _wrap(self, block: str, start: int) -> int:
        """Start lines within a block that begins with a line; how much of it is done with."""
        at = 0
        while True:
            end = block.find("\n", at)
            stop = len(block) if end < 0 else end
            at = self._fold(block, at, stop, start)
            if end < 0:
                return at
            at = end + 1
            self._starts.append(start + at)

    def _fold(self, block: str, at: int, stop: int, start: int) -> int:
        """Fold one line of text; where its last line on the screen starts."""
        width = self.width
        plain = _PLAIN.fullmatch(block, at, stop) is not None
        while True:
            if plain:
                fits = min(stop, at + width)
            else:
                fits = self._fits(block, at, stop)
            if fits >= stop:
                return at
            space = block.rfind(" ", at, fits + 1)
            if space == fits:  # the space itself hangs over the edge
                cut = fits + 1
            elif space > at:
                cut = space + 1
            else:
                cut = max(fits, at + 1)
            if cut >= stop:
                return at
            at = cut
            self._starts.append(start + at)

    def _fits(self, block: str, at: int, stop: int) -> int:
        room = self.width
        for place in range(at, stop):
            room -= self._measure(shown(block[place]))
            if room < 0:
                return place
        return stop
