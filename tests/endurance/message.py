"""One message of many megabytes in small deltas: what each costs, and what is held.

Work is counted in calls; memory by `tracemalloc`, or for the long run by the process. The long run
also prints times, which no test asserts.
"""

from __future__ import annotations

import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from streamstore import ChangeSet, StreamStore

BATCH = 1_000
PIECES = ("a token of ", "text, ", "twenty or so ", "of them ", "make a line.\n")


@attrs.frozen
class Measured:
    """What a message cost.

    Attributes:
        characters: of its text, all ASCII.
        calls: function calls per batch of deltas and tick, at each tenth of the message.
        held: bytes at its end, before the text was read.
        peak: bytes at most, the text once read included.
        seconds: of each tenth; only a long run looks at them.
    """

    characters: int
    calls: tuple[int, ...]
    held: int
    peak: int
    seconds: tuple[float, ...]


def deltas(start: int) -> Iterator[dict[str, Any]]:
    """A batch as a decoder makes it: every dict and every text is new."""
    for seq in range(start, start + BATCH):
        yield {
            "type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0, "seq": seq,
            "text": PIECES[seq % len(PIECES)][:-1] + " ",
        }  # fmt: skip


def counted(work: Callable[[], object]) -> int:
    number = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number


def _peak_of_process() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(
    characters: int, sequencing: Any = "sparse", ticks: bool = True, traced: bool = True
) -> Measured:
    """Feed one message until it has so many characters; a tick and a reader of edits per batch."""
    store = StreamStore("native", ticks="manual")
    heard = 0

    def hear(changes: ChangeSet) -> None:
        nonlocal heard
        for edit in changes.text.values():
            assert not edit.rewritten and edit.start == heard
            heard += len(edit.text)

    store.subscribe(hear, "s", "m", 0)
    stream = store.open("native", sequencing=sequencing)
    batch_length = sum(len(wire["text"]) for wire in deltas(1))
    batches = max(20, characters // batch_length)
    calls, seconds = [], []
    if traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if traced else _peak_of_process()
    began = time.perf_counter()

    def batch(number: int) -> None:
        stream.ingest_many(deltas(1 + number * BATCH))
        if ticks:
            store.flush()

    for number in range(batches):
        if number % (batches // 10) == batches // 10 - 1:
            calls.append(min(counted(lambda: batch(number)), 10**9))  # noqa: B023
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
        else:
            batch(number)
    store.flush()
    held = (tracemalloc.get_traced_memory()[0] if traced else _peak_of_process()) - before
    part = store.part("s", "m", 0)
    assert part is not None
    text = part.text
    peak = (tracemalloc.get_traced_memory()[1] if traced else _peak_of_process()) - before
    if traced:
        tracemalloc.stop()
    assert len(text) == batches * batch_length == heard
    assert text[:BATCH] == "".join(wire["text"] for wire in deltas(1))[:BATCH]
    assert text.endswith("".join(wire["text"] for wire in deltas(batches * BATCH - BATCH + 1)))
    return Measured(len(text), tuple(calls), held, peak, tuple(seconds))
