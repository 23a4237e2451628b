"""A flood of new sessions, messages, blocks, ids or far seqs: each event costs what the first did.

Counted in calls and in allocated bytes, never in time. 2,000 events a flood here; a million with

    STREAMSTORE_FLOOD=1000000 PYTHONMALLOC=malloc python -m pytest -n0 \\
        -o faulthandler_timeout=0 tests/hostile/test_hostile_growth.py

where a million sessions take 11 GB, and the bytes alone (`-k stays`) most of an hour. glibc knows
its bytes by itself; without PYTHONMALLOC each is traced, which takes several times as long, and
twice the memory. `-k` names single floods, too.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from streamstore import Limits, Stream, StreamStore

EVENTS = int(os.environ.get("STREAMSTORE_FLOOD", "2000"))
BY_MALLOC = os.environ.get("PYTHONMALLOC") == "malloc"
TICK = 100

LIMITS = Limits(
    held_operations=200, late_window=64, event_ids=200, tombstones=200, removed_sessions=50,
    pending_results=100, open_requests=100, text_fields=16, session_errors=32,
    answered_requests=100, history_changes=16, history_characters=4096, ended_streams=16,
)  # fmt: skip


class Flood(NamedTuple):
    """An endless hostile stream: event number `n` of it, and what may stay of each.

    `most` is how many bytes may stay per event, 0 where a bound holds: then nothing more stays
    once it is reached.
    """

    sequencing: Any
    event: Callable[[int], dict[str, Any]]
    most: int


def delta(
    seq: Any = None, session: str = "s", message: str = "m", block: Any = 0, **more: Any
) -> Any:
    wire = {"type": "block.delta", "sessionId": session, "messageId": message, "blockIndex": block,
            "text": "x", **more}  # fmt: skip
    return wire if seq is None else {**wire, "seq": seq}


def of(type_: str, seq: Any = None, **members: Any) -> dict[str, Any]:
    return {"type": type_, "sessionId": "s", **({} if seq is None else {"seq": seq}), **members}


FLOODS: dict[str, Flood] = {
    # What is new is kept: it is the state. Each costs its rows, however many there are.
    **{
        f"sessions in {mode}": Flood(mode, lambda n: delta(1, session=f"s{n}"), 9_000)
        for mode in ("block", "session", "sparse", "none")
    },
    "messages": Flood("sparse", lambda n: delta(n + 1, message=f"m{n}"), 5_500),
    "blocks": Flood("sparse", lambda n: delta(n + 1, block=n), 4_000),
    "blocks by name": Flood("block", lambda n: delta(1, block=f"b{n}"), 4_000),
    "blocks with holes": Flood("block", lambda n: delta(2, block=n), 5_500),
    "messages that never open": Flood("none", lambda n: of("message.closed", messageId=f"m{n}"), 3_500),
    # What is bounded stays where it is.
    "far seqs of a block": Flood("block", lambda n: delta(2**40 + 7 * n), 0),
    "far seqs of a session": Flood("session", lambda n: delta(2**40 + 7 * n), 256),
    "far seqs of a session, falling": Flood("session", lambda n: delta(2**62 - 7 * n), 256),
    "far seqs that only grow": Flood("sparse", lambda n: delta(2**40 + 7 * n), 256),
    "far seqs, falling": Flood("sparse", lambda n: delta(2**62 - 7 * n), 0),
    "one seq again": Flood("session", lambda n: delta(1), 0),
    "event ids": Flood("none", lambda n: of("session.status", id=f"e{n}", status="busy"), 0),
    "falling event ids": Flood("none", lambda n: of("session.status", id=f"e{-n:09}", status="busy"), 0),
    "removed messages": Flood("sparse", lambda n: of("message.removed", n + 1, messageId=f"m{n}"), 0),
    "removed blocks": Flood(
        "none", lambda n: of("block.removed", messageId="m", blockIndex=n), 0
    ),
    "removed sessions": Flood(
        "none", lambda n: {"type": "session.removed", "sessionId": f"s{n}"}, 0
    ),
    "sessions that come and go": Flood(
        "none",
        lambda n: delta(session=f"s{n // 2}")
        if n % 2 == 0
        else {"type": "session.removed", "sessionId": f"s{n // 2}"},
        0,
    ),
    "generations nobody opens": Flood("sparse", lambda n: delta(n + 1, generation=f"g{n}"), 0),
    "results of calls nobody made": Flood(
        "none", lambda n: of("tool.result", callId=f"c{n}", fields={"output": "x"}), 0
    ),
    "permissions": Flood("none", lambda n: of("permission.asked", id=f"p{n}"), 0),
    "answers": Flood("none", lambda n: of("permission.replied", id=f"p{n}"), 0),
    "fields of a part": Flood("none", lambda n: delta(field=f"f{n}"), 0),
    "errors": Flood("none", lambda n: of("session.error", error={"name": "E", "message": "x"}), 0),
    "types of tomorrow": Flood("none", lambda n: {"type": f"t{n}", "sessionId": "s"}, 0),
    "wrong members": Flood("none", lambda n: delta(seq=f"{n}"), 0),
    "rollbacks of nothing": Flood("none", lambda n: of("message.rollback", messageId=f"m{n}"), 0),
    "resets": Flood("sparse", lambda n: of("message.reset", n + 1, messageId="m"), 0),
    "kinds of one block": Flood(
        "none", lambda n: of("block.opened", messageId="m", blockIndex=0, kind=f"k{n}"), 0
    ),
    "a field of a message again": Flood(
        "sparse", lambda n: of("message.updated", n + 1, messageId="m", info={"a": n}), 0
    ),
}  # fmt: skip

# What is said again and again of one thing, with seqs that go on.
_AT = {"messageId": "m", "blockIndex": 0}
AGAIN: dict[str, Callable[[int], dict[str, Any]]] = {
    "block.opened": lambda n: {**_AT, "kind": "text"},
    "block.replaced": lambda n: {**_AT, "text": f"t{n}"},
    "block.delta": lambda n: {**_AT, "text": "x", "field": "input"},
    "block.updated": lambda n: {**_AT, "fields": {"state": {"status": "running", "n": n}}},
    "block.closed": lambda n: _AT,
    "block.removed": lambda n: _AT,
    "message.opened": lambda n: {"messageId": "m", "role": "user"},
    "message.closed": lambda n: {"messageId": "m", "status": "completed"},
    "message.rollback": lambda n: {"messageId": "m"},
    "session.updated": lambda n: {"info": {"a": n}},
    "session.status": lambda n: {"status": "idle" if n % 2 else "busy"},
    "session.state": lambda n: (
        {"patch": [{"op": "add", "path": "/a", "value": n}]} if n else {"state": {}}
    ),
    "session.diff": lambda n: {"diff": [{"n": n}]},
    "turn.started": lambda n: {},
    "turn.completed": lambda n: {},
}


def _again(type_: str, members: Callable[[int], dict[str, Any]]) -> Callable[[int], dict[str, Any]]:
    # An opening first, as nothing is kept of a block that no opening names.
    first = of("block.opened", 1, **_AT, kind="text")
    return lambda n: of(type_, n + 1, **members(n)) if n else first


FLOODS |= {
    # The characters of a delta are state, and the lists that hold them grow in steps.
    f"{type_} again in {mode}": Flood(mode, _again(type_, members), 16 * (type_ == "block.delta"))
    for type_, members in AGAIN.items()
    for mode in ("sparse", "session")
}


def opened(sequencing: Any) -> tuple[StreamStore, Stream]:
    store = StreamStore("native", ticks="manual", limits=LIMITS)
    return store, store.open("native", sequencing=sequencing)


def run(
    store: StreamStore, stream: Stream, event: Callable[[int], Any], start: int, stop: int
) -> None:
    for number in range(start, stop):
        stream.ingest(event(number))
        if number % TICK == TICK - 1:
            store.flush()


def calls(work: Callable[[], object]) -> int:
    number = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal number
        if event in ("call", "c_call"):
            number += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number


@pytest.mark.parametrize("name", FLOODS)
def test_an_event_makes_as_many_calls_among_many_as_among_few(name: str) -> None:
    flood = FLOODS[name]
    store, stream = opened(flood.sequencing)
    costs = []
    at = 0
    for size in (EVENTS // 8, EVENTS // 4, EVENTS // 2, EVENTS):
        # Up to there, then three ticks' worth with every call counted; the cheapest has no sweep
        # of a table in it, which comes with each doubling.
        size -= size % TICK
        run(store, stream, flood.event, at, size)
        at = size
        measured = []
        for _ in range(3):
            start, at = at, at + TICK
            measured.append(calls(lambda: run(store, stream, flood.event, start, at)))  # noqa: B023
        costs.append(min(measured))
    assert max(costs) <= 1.2 * costs[0] + 100, costs


class Allocated(ctypes.Structure):
    """`struct mallinfo2` of glibc's malloc.h."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]  # fmt: skip


def allocated() -> int:
    """Bytes in use: glibc's figure where it makes every object, else what tracemalloc saw."""
    gc.collect()
    if not BY_MALLOC:
        return tracemalloc.get_traced_memory()[0]
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Allocated
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


@pytest.mark.parametrize("name", FLOODS)
def test_what_stays_of_an_event_does_not_grow_with_their_number(name: str) -> None:
    flood = FLOODS[name]
    store, stream = opened(flood.sequencing)
    quarter = EVENTS // 4 // TICK * TICK
    if not BY_MALLOC:
        tracemalloc.start()
    try:
        run(store, stream, flood.event, 0, quarter)
        first = allocated()
        run(store, stream, flood.event, quarter, 2 * quarter)
        second = allocated()
        run(store, stream, flood.event, 2 * quarter, 4 * quarter)
        last = allocated()
    finally:
        tracemalloc.stop()
    early, late = (second - first) / quarter, (last - second) / (2 * quarter)
    if flood.most:
        # A table that has just doubled makes half of its events look dearer.
        assert late <= max(1.5 * early, 32), (early, late)
        # malloc rounds to 16 bytes and puts 8 before each.
        assert late <= flood.most * (1.2 if BY_MALLOC else 1), late
    else:
        assert last - second <= 40_000, (early, late)
