"""How an admitted event arrived: a value for what applies it, beside the event and its row.

Knows no event, and not what any of them does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from .model import Sequencing
from .rows import SessionRow
from .verdicts import Verdict


@attrs.define
class Arrival:
    """How an event arrived: what its handler may have to know beside the event and its row.

    Attributes:
        mode: the sequencing of its stream.
        positioned: its seq is a position in a session (`session` and `sparse` streams).
        at: its place in its block's window, -1 for none.
        local: this client made it.
    """

    mode: Sequencing
    session: SessionRow
    verdict: Verdict
    at: int
    positioned: bool
    local: bool


#: What applies events of one type: the event, its row, its `Arrival`. None, or the verdict that
#: takes the place of the gate's.
Handler: TypeAlias = Callable[..., Verdict | None]
