"""The text of one field of a block, between what is shown and what has come since.

A cell holds the published text, which only grows, and what waits for a tick: where the published
text is cut, and pieces to append there. So what waits is an edit already, and a tick joins it
once. Knows no seq, event, clock or delivery mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from .changes import Edit
from .text import (
    GrowingText,
    common_prefix,
    ends_high,
    pair_surrogates,
    shown,
    starts_low,
)

#: `Edit`, of a tuple: half the time of its own constructor, which is written in Python.
_edit: Callable[[tuple[int, str, bool]], Edit] = partial(tuple.__new__, Edit)


@attrs.define(eq=False)
class TextCell:
    """One text field of one block.

    Attributes:
        source: what is published; shared by every version of the part.
        cut: how much of the published text stays, None for all of it.
        pending: pieces after the cut, in order.
        length: code points of the working text, a split surrogate pair counted as two.
        base: code points of the working text that no window entry reaches: a late operation
            cuts here and joins the window again.
        carry: a high surrogate at the end of the base, which may pair with the window's start.
        replaced: seq of the last operation that set the whole text, -1 for none.
        ready: how many of the pending pieces may be shown although the turn holds text back, -1
            where nothing was released.
        streams: deltas came for it since its part began, or began anew.
    """

    source: GrowingText = attrs.field(factory=GrowingText)
    cut: int | None = None
    pending: list[str] = attrs.field(factory=list)
    length: int = 0
    base: int = 0
    carry: str = ""
    replaced: int = -1
    ready: int = -1
    streams: bool = True

    @property
    def waits(self) -> bool:
        """Whether anything waits to be published."""
        return bool(self.pending) or self.cut is not None

    @property
    def waiting_length(self) -> int:
        """Code points that wait behind the cut, a split surrogate pair counted as two. Free."""
        return self.length - (self.source.length if self.cut is None else self.cut)

    def waiting_characters(self) -> int:
        """Code points that wait, a split surrogate pair counted as one. Costs what waits."""
        return len(pair_surrogates("".join(self.pending)))

    def append(self, piece: str) -> None:
        """Add text at the end."""
        if not piece:
            return
        if not self.pending and starts_low(piece):
            self.await_half()  # shown alone when the text had ended; now it has its other half
        self.pending.append(piece)
        self.length += len(piece)

    def await_half(self) -> None:
        """The text goes on: a high surrogate at its end, shown alone, waits for its other half."""
        kept = self.source.length if self.cut is None else self.cut
        half = "" if self.pending or not kept else self.source.raw_range(kept - 1, kept)
        if ends_high(half):
            self.cut, self.pending = kept - 1, [half]

    def extend(self, text: str) -> Edit | None:
        """Show text without surrogates at the end, behind which nothing waits. Costs the text."""
        if not text:
            return None
        source = self.source
        start = source.length
        source.append(text)
        self.length = source.length
        self.ready = -1
        return _edit((start, text, False))

    def rewrite(self, at: int, tail: str) -> None:
        """Make the working text its first `at` code points and `tail`. Costs what waits."""
        kept = self.source.length if self.cut is None else self.cut
        self.ready = -1
        if at <= kept:
            self.cut = at if at < self.source.length else None
            self.pending = [tail] if tail else []
        else:
            waiting = pair_surrogates("".join(self.pending))[: at - kept] + tail
            self.pending = [waiting] if waiting else []
        self.length = at + len(tail)

    def replace(self, text: str) -> None:
        """Set the whole working text; nothing of a window counts any more."""
        text = pair_surrogates(text)
        self.rewrite(0, text)
        self.rebase(text)

    def rebase(self, text: str) -> None:
        """Say that `text`, already paired, is the base that a window builds on."""
        self.carry = text[-1] if ends_high(text) else ""
        self.base = len(text) - len(self.carry)

    def settle_base(self) -> None:
        """Say that all of the text is the base that a window builds on. Costs what waits."""
        kept = self.source.length if self.cut is None else self.cut
        waiting = pair_surrogates("".join(self.pending))
        end = waiting or (self.source.raw_range(kept - 1, kept) if kept else "")
        self.carry = end[-1] if ends_high(end) else ""
        self.base = kept + len(waiting) - len(self.carry)

    def advance(self, text: str) -> None:
        """Move text that left the window's lower end into the base."""
        text = pair_surrogates(self.carry + text)
        self.carry = text[-1] if ends_high(text) else ""
        self.base += len(text) - len(self.carry)

    def refold(self, window: str) -> None:
        """Make the working text the base and a window that changed in its middle."""
        self.rewrite(self.base, pair_surrogates(self.carry + window))

    def working(self) -> str:
        """The text as it will be shown after a tick, raw. Joins everything: for merges only."""
        waiting = "".join(self.pending)
        return pair_surrogates(self.source.raw(self.cut) + waiting)

    def merge_pending(self) -> None:
        """Make fewer pieces of what waits: 3 bytes a character instead of 13.

        A piece is merged with what came behind it while it is short, or less than twice as long: a
        character that waits long is copied once per doubling. What is released stays apart.
        """
        pending = self.pending
        at = len(pending) - 1
        size = len(pending[at]) if pending else 0
        while at > max(self.ready, 0) and len(pending[at - 1]) < max(2 * size, 1024):
            at -= 1
            size += len(pending[at])
        if max(self.ready, 0) <= at < len(pending) - 1:
            pending[at:] = ["".join(pending[at:])]

    def release(self) -> None:
        """What waits now may be shown, though what comes after it is held back again."""
        self.ready = len(self.pending)

    def publish_released(self, final: bool) -> Edit | None:
        """`publish` for what waited when it was released; the rest goes on waiting."""
        if self.ready < 0:
            return None
        rest = self.pending[self.ready :]
        self.pending = self.pending[: self.ready]
        edit = self.publish(final and not rest)
        self.pending += rest
        self.length += sum(map(len, rest))
        return edit

    def publish(self, final: bool) -> Edit | None:
        """Move what waits into the published text; the edit that shows it, None for none.

        A trailing high surrogate waits for its other half unless `final`. A rewrite is announced
        from its first difference, and not at all when nothing differs. Costs what waits, and for
        a rewrite also what it cuts off.
        """
        source = self.source
        text = "".join(self.pending)
        rest = ""
        if not text.isascii():
            text = pair_surrogates(text)
            if not final and ends_high(text):
                text, rest = text[:-1], text[-1]
        cut = source.length if self.cut is None else self.cut
        old_end = source.length
        if cut < old_end:
            old_tail = source.raw_range(cut, old_end)
            same = common_prefix(old_tail, text)
            if same:
                cut += same
                text = text[same:]
            if cut < old_end:
                self.source = source = source.cut(cut)
        self.cut = None
        self.ready = -1
        self.pending = [rest] if rest else []
        source.append(text)
        self.length = source.length + len(rest)
        if cut == old_end and not text:
            return None
        return Edit(cut, shown(text), cut < old_end)

    def unpublish(self) -> None:
        """Its part is not shown any more: what was published waits again, behind nothing."""
        if self.source.length:
            kept = self.source.raw(self.cut)
            if kept:
                self.pending.insert(0, kept)
                self.ready += self.ready >= 0
            self.source = GrowingText()
        self.cut = None
