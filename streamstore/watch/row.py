"""One event of a watched stream, as a line of the timeline: where it stood, and what became of it.

Knows facts and verdicts; no timeline, filter, store or screen.
"""

from __future__ import annotations

import attrs

from ..verdicts import Verdict
from .facts import Facts


@attrs.frozen(eq=False)
class Row:
    """One event.

    Attributes:
        number: its place in the stream, from 1; never used twice.
        offset: ms since the first event came.
        facts: what it says.
        verdict: what became of it; None for a note about the connection or the store.
        data: its bytes as they came.
        tick: number of the tick in which it became visible.
        stream: which connection brought it, from 1.
        protocol: what its stream was opened for, `auto` where that had to be found out.
        let_go: sessions that the store let go of here, none of its streams' doing; a note, too.
    """

    number: int
    offset: float
    facts: Facts
    verdict: Verdict | None
    data: bytes = b""
    tick: int = 0
    stream: int = 1
    protocol: str = "auto"
    let_go: tuple[str, ...] = ()
