"""A log into a store, with whatever ticks, delivery and limits a test wants.

Knows logs and the public API of stores; compares nothing.
"""

from __future__ import annotations

from typing import Literal

from ..errors import CallerError
from ..limits import Limits
from ..model import Delivery, Sequencing
from ..pipeline import StreamStore
from ..protocols import adapter_named
from ..ticks import ManualTicks, Ticks
from .recorded import Log, Unreadable, needs_log
from .scripts import MakeStore


def replay(
    log: Log,
    *,
    protocol: str | None = None,
    sequencing: Sequencing | None = None,
    ticks: Ticks | Literal["each", "manual"] | None = "manual",
    delivery: Delivery = "streaming",
    limits: Limits | None = None,
    flush_every: int | None = None,
    end: bool = False,
    store: StreamStore | None = None,
    make: MakeStore = StreamStore,
) -> StreamStore:
    """Feed a whole log to a store and return it, with everything shown that may be.

    With `ManualTicks` the time between two arrivals passes before the second; with `flush_every` a
    tick follows every so many events. `end` ends the stream, as a lost connection does. `store` is
    one to go on with, `make` makes another. Its delivery and limits are its own then, and its
    `ManualTicks` has to be given as `ticks` as well: else no time passes.

    Raises:
        UnknownProtocol: no adapter has that name.
        CallerError: this is no `Log`, or `flush_every` is no positive number.

    >>> from streamstore.testing import Log
    >>> wire = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": 1, "text": "hi"}
    >>> replay(Log.of([wire])).part("main", "m", 0).text
    'hi'
    """
    needs_log(log)
    if flush_every is not None and flush_every < 1:
        raise CallerError(f"flush_every must be at least 1, not {flush_every}")
    name = protocol or log.protocol
    adapter_named(name)
    if store is None:
        store = make(name, ticks=ticks, delivery=delivery, limits=limits)
    clock = ticks if isinstance(ticks, ManualTicks) else None
    stream = store.open(name, sequencing=sequencing or log.sequencing)
    for place, wire in enumerate(log.wires):
        if clock is not None and log.arrivals is not None and place:
            clock.advance(max(0.0, log.arrivals[place] - log.arrivals[place - 1]))
        if isinstance(wire, Unreadable):
            stream.feed(log.cut()[place])
        else:
            stream.ingest(wire)
        if flush_every is not None and (place + 1) % flush_every == 0:
            store.flush()
    if end:
        stream.end()
    if clock is not None:
        clock.run()
    store.flush()
    return store
