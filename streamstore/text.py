"""Growing text: append-only, shared by every version of a part, joined when somebody reads it.

Knows no part and no event. Text is kept raw: a half of a surrogate pair that never met its other
half stays as it came, and reads as U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_LONE = re.compile("[\ud800-\udfff]")
# Fragments are merged a hundred at a time, the merged ones again: a character is copied once per
# level, the number of pieces stays below 100 per level, and no merge but a read holds the whole
# text twice. 13 bytes a character become about 1.
_RADIX = 100
# Pieces of so many characters are merged no further: each merge holds its text twice.
_LARGE = 32_768


def has_surrogate(text: str) -> bool:
    """Whether a text holds a code point from U+D800 to U+DFFF; free for ASCII."""
    return not text.isascii() and _LONE.search(text) is not None


def pair_surrogates(text: str) -> str:
    """Replace each high surrogate that its low one follows by the character they stand for.

    Sources of such text are JavaScript servers that cut a delta between two UTF-16 units.

    >>> pair_surrogates("\\ud83d\\ude00!") == "\\U0001f600!"
    True
    """
    if not has_surrogate(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def shown(text: str) -> str:
    """A text as it may be shown: surrogates without their other half become U+FFFD."""
    return _LONE.sub("\ufffd", text) if has_surrogate(text) else text


def ends_high(text: str) -> bool:
    """Whether a text ends in the first half of a surrogate pair, which waits for the second."""
    return text != "" and "\ud800" <= text[-1] <= "\udbff"


def starts_low(text: str) -> bool:
    """Whether a text starts with the second half of a surrogate pair."""
    return text != "" and "\udc00" <= text[0] <= "\udfff"


def common_prefix(first: str, second: str) -> int:
    """Length of what two texts share at their start; time in proportion to that length.

    >>> common_prefix("prefix", "preset")
    3
    """
    limit = min(len(first), len(second))
    start, step = 0, 1
    while start < limit:  # gallop over equal stretches, then halve
        stop = min(start + step, limit)
        if first[start:stop] == second[start:stop]:
            start = stop
            step *= 2
        elif step == 1:
            return start
        else:
            step = max(1, (stop - start) // 2)
    return limit


class GrowingText:
    """An append-only text; a reader takes the first `length` characters whenever it wants.

    `append` costs the fragment, whatever the length so far. `read` joins once and keeps the
    joined string, so that reading again costs nothing.

    >>> text = GrowingText()
    >>> text.append("hello")
    >>> before = text.length
    >>> text.append(" world")
    >>> text.read(before), text.read(), text.read_range(4, 7)
    ('hello', 'hello world', 'o w')
    """

    __slots__ = ("_counts", "_over", "_pieces", "length", "lone")

    def __init__(self, text: str = "") -> None:
        self._pieces: list[str] = [text] if text else []
        self._counts: list[int] = [len(self._pieces)]  # pieces per level, the last is level 0
        self._over = 0  # characters at the end of the first piece that were cut off
        self.length = len(text)
        self.lone = has_surrogate(text)

    def _drop_over(self) -> None:
        if self._over:
            self._pieces[0] = self._pieces[0][: -self._over]
            self._over = 0

    def append(self, fragment: str) -> None:
        """Add a fragment at the end. Fragments must not split a surrogate pair between them."""
        if not fragment:
            return
        self._pieces.append(fragment)
        self.length += len(fragment)
        if not fragment.isascii() and not self.lone:
            self.lone = has_surrogate(fragment)
        counts = self._counts
        counts[-1] += 1
        if counts[-1] < _RADIX:
            return
        level = len(counts) - 1
        while level >= 0 and counts[level] >= _RADIX and len(self._pieces[-1]) < _LARGE:
            run = counts[level]
            if run == len(self._pieces):
                self._drop_over()
            self._pieces[-run:] = ["".join(self._pieces[-run:])]
            counts[level] = 0
            if level == 0:
                counts.insert(0, 1)
            else:
                counts[level - 1] += 1
            level -= 1

    def raw(self, length: int | None = None) -> str:
        """The first `length` characters as they came; joins what is there at most once."""
        pieces = self._pieces
        self._drop_over()
        if len(pieces) > 1:
            # Popping while adding frees each piece as it is copied: the peak is one text and one
            # piece, not two texts, where CPython grows a string in place (it does for a local
            # that nobody else holds); where it copies, the pieces are few.
            pieces.reverse()
            whole = pieces.pop()
            while pieces:
                whole += pieces.pop()
            pieces.append(whole)
            self._counts = [1, 0]
        whole = pieces[0] if pieces else ""
        return whole if length is None or length == len(whole) else whole[:length]

    def cut(self, length: int) -> GrowingText:
        """A text of the first `length` characters, which grows on its own.

        Costs the pieces and the last of them; a piece that was joined by a read is shared until
        somebody reads again. This one stays what it is.
        """
        other = GrowingText()
        other.lone = self.lone
        if length == 0:
            return other
        kept = at = 0
        for piece in self._pieces:
            size = len(piece) - (self._over if kept == 0 else 0)
            kept += 1
            if at + size >= length:
                break
            at += size
        pieces = self._pieces[:kept]
        if kept == 1:
            other._over = len(pieces[0]) - length
        else:
            other._over = self._over
            pieces[-1] = pieces[-1][: length - at]
        other._pieces = pieces
        other._counts = [1, kept - 1]  # the first one, which may be large, is merged last
        other.length = length
        return other

    def read(self, length: int | None = None) -> str:
        """The first `length` characters as they may be shown."""
        text = self.raw(length)
        return shown(text) if self.lone else text

    def raw_range(self, start: int, stop: int) -> str:
        """Characters from `start` to `stop` as they came; costs the pieces from the end."""
        pieces = self._pieces
        if len(pieces) > 1:
            piece = pieces[-1]
            begin = self.length - len(piece)
            if begin <= start <= stop:  # in what came last: nearly always
                return piece[start - begin : stop - begin]
        taken: list[str] = []
        end = self.length
        for place in range(len(self._pieces) - 1, -1, -1):
            piece = self._pieces[place]
            begin = end - len(piece) + (0 if place else self._over)
            if begin < stop:
                taken.append(piece[max(0, start - begin) : min(stop, end) - begin])
            if begin <= start:
                break
            end = begin
        return "".join(reversed(taken))

    def read_range(self, start: int, stop: int) -> str:
        """Characters from `start` to `stop` as they may be shown, without joining the rest."""
        text = self.raw_range(start, stop)
        return shown(text) if self.lone else text


class TextView:
    """The first `length` characters of a growing text: what one version of a part shows.

    Immutable for its reader; holding it copies nothing.
    """

    __slots__ = ("_parsed", "_source", "length")

    def __init__(self, source: GrowingText, length: int) -> None:
        self._source = source
        self.length = length
        self._parsed: tuple[Any, Any] | None = None

    def __len__(self) -> int:
        return self.length

    def __str__(self) -> str:
        return self.read()

    def read(self) -> str:
        """The whole text, lone surrogates as U+FFFD; joined at the first read."""
        return self._source.read(self.length)

    def raw(self) -> str:
        """The text with lone surrogates as they came; what an adapter encodes."""
        return self._source.raw(self.length)

    def parsed(self, parse: Callable[[str], T]) -> T:
        """What a function makes of the text, kept for the next time that it is asked for."""
        if self._parsed is None or self._parsed[0] is not parse:
            self._parsed = (parse, parse(str(self)))
        value: T = self._parsed[1]
        return value

    def range(self, start: int, stop: int | None = None) -> str:
        """Characters from `start` to `stop` (code points), at the cost of what is asked for."""
        if stop is None or stop > self.length:
            stop = self.length
        return self._source.read_range(0 if start < 0 else start, stop)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TextView):
            return NotImplemented
        return self.length == other.length and self.raw() == other.raw()

    def __hash__(self) -> int:
        return hash(self.length)

    def __repr__(self) -> str:
        return f"TextView({self.length} characters)"
