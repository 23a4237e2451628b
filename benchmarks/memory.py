"""Bytes held for each character, by the allocator's own account."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from json import loads
from typing import Any, NamedTuple

from streamstore import Part, StreamStore

from .figures import Effort, Figure, Goal, Question, Skipped
from .payloads import NATIVE_BLOCK, batches, text_of
from .timing import Spread

TABLE = "Bytes per ASCII character"
PER_TICK = 100

ABOUT = """
One message of ASCII text in deltas of 4.5 characters on average, measured by `tracemalloc`, which
counts what Python allocated, not what the system gave. *Held* is what is there more than with an
empty store; rows, change history and all else of the store are in it. *Peak* is the most that was
there at once, from the first delta to the end of one read of the whole text, decoded wire objects
of the moment included, in a process that has read texts before: CPython grows a string in place
only in code that has run a few times. A character of an ASCII string is one byte; each string has
49 to 53 more. The baseline is the number of characters.
"""


class _Size(NamedTuple):
    pending: int  # characters
    settled: int


_SIZES: dict[Effort, _Size] = {
    "tiny": _Size(2_000, 4_000),
    "quick": _Size(100_000, 300_000),
    "full": _Size(1_000_000, 5_000_000),
}


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """Pending before a tick, settled after one, read once, and the peak."""
    if tracemalloc.is_tracing():
        yield Skipped("memory", "tracemalloc is on already, with numbers of others in it")
        return
    size = _SIZES[effort]
    with _tracing() as traced:
        store, characters = _fed(size.pending, per_tick=None)
        yield _figure(f"pending, {size.pending:,} characters", traced.held(), characters, 3.2)
        del store
    with _tracing() as traced:
        store, characters = _fed(size.settled, per_tick=PER_TICK)
        yield _figure(f"settled, {size.settled:,} characters", traced.held(), characters, 1.3)
        assert len(_part(store).text) == characters
        yield _figure("the same, read once", traced.held(), characters, None)
        yield _figure("peak, with one read", traced.peak(), characters, 1.5)
        del store


def _figure(row: str, size: int, characters: int, bound: float | None) -> Figure:
    return Figure(
        table=TABLE,
        row=row,
        column="bytes per character",
        unit="bytes",
        spread=Spread.of([size / characters]),
        baseline="characters of the text",
        better="lower",
        goal=None if bound is None else Goal("<=", bound),
    )


def _fed(characters: int, per_tick: int | None) -> tuple[StreamStore, int]:
    """A store that got at least so many characters, and how many; ticks of some deltas, or none."""
    store = StreamStore(ticks="manual")
    stream: Any = store.open("native", sequencing="block")
    deltas = sent = 0
    while sent < characters:
        deltas += 1
        sent += len(text_of(deltas))
    for start, stop in batches(1, deltas + 1, per_tick or PER_TICK):
        for payload in NATIVE_BLOCK.payloads(start, stop):
            stream.ingest(loads(payload))
        if per_tick is not None:
            store.flush()
    return store, sent


def _part(store: StreamStore) -> Part:
    (session,) = store.session_ids()
    (message,) = store.messages(session)
    (part,) = store.parts(session, message.id)
    return part


class _Traced:
    """What is allocated beyond a moment."""

    def __init__(self) -> None:
        gc.collect()
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]

    def held(self) -> int:
        """Bytes held now."""
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - self._before

    def peak(self) -> int:
        """Bytes held at most."""
        return tracemalloc.get_traced_memory()[1] - self._before


@contextmanager
def _tracing() -> Iterator[_Traced]:
    # What is loaded and compiled once is not held by a store; and see `ABOUT` on reading.
    for _ in range(16):
        warm, _ = _fed(1_000, per_tick=PER_TICK)
        assert _part(warm).text
    tracemalloc.start()
    try:
        yield _Traced()
    finally:
        tracemalloc.stop()


QUESTION = Question("memory", "What is held", ABOUT, measure)
