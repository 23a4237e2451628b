"""The subscribers of the benchmarks: what somebody does who hears of a change.

`trivial` counts the notification and looks at nothing; `range` reads what was appended, twice:
from the edit and from the part; `whole` reads the part's text from its start, as a widget does
that is set to the whole text. Each knows a store's reads and change sets alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from streamstore import ChangeSet, StreamStore

Kind: TypeAlias = Literal["trivial", "range", "whole"]
KINDS: tuple[Kind, ...] = ("trivial", "range", "whole")
#: How tables call them.
LABELS = {
    "trivial": "trivial",
    "range": "reads the appended range",
    "whole": "reads the whole text",
    "asyncio": "asyncio, `store.changes()`",
}


class Heard:
    """What one subscriber heard: notifications, and characters that it looked at."""

    __slots__ = ("characters", "notifications")

    def __init__(self) -> None:
        self.notifications = 0
        self.characters = 0


def subscriber(store: StreamStore, kind: Kind, heard: Heard) -> Callable[[ChangeSet], None]:
    """The callback of a kind, for a store."""
    read = store.part

    def trivial(changes: ChangeSet) -> None:
        heard.notifications += 1

    def reads_range(changes: ChangeSet) -> None:
        heard.notifications += 1
        for (key, _), edit in changes.text.items():
            part = read(*key)
            assert part is not None
            heard.characters += len(edit.text) + len(part.view.range(edit.start))

    def reads_whole(changes: ChangeSet) -> None:
        heard.notifications += 1
        for key, _ in changes.text:
            part = read(*key)
            assert part is not None
            heard.characters += len(part.text)

    return {"trivial": trivial, "range": reads_range, "whole": reads_whole}[kind]


@contextmanager
def listening(store: StreamStore, kind: Kind) -> Iterator[Heard]:
    """A subscription of a kind, and what it heard."""
    heard = Heard()
    with store.subscribe(subscriber(store, kind, heard)):
        yield heard
