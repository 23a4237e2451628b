"""One notification per token against one per tick: what is saved, and by whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from json import loads
from typing import Any, Literal, NamedTuple, TypeAlias

from streamstore import StreamStore

from .figures import Answer, Effort, Figure, Goal, Question, Skipped
from .hearing import KINDS, LABELS, Heard, listening
from .payloads import NATIVE_BLOCK, Waiting, batches, native_payload, text_of
from .timing import Piece, Spread, Variant, interleaved

Kind: TypeAlias = Literal["trivial", "range", "whole", "asyncio"]
_KINDS: tuple[Kind, ...] = (*KINDS, "asyncio")
#: How work becomes visible: after each event (`ticks="each"`), or by a flush after so many deltas.
MODES = ("each", "1", "10", "100")

_PLAIN_MODES = ("each", "10", "100")

FACTOR = "Per token over coalesced"
COUNTS = "Writes and notification passes"
PLAIN = "A plain loop and a trivial callback, per token over coalesced"
ASYNCIO = "An asyncio consumer, per token over coalesced"

ABOUT = """
The baseline is the same store with `ticks="each"`: a commit and a notification after every delta.
Coalesced is `ticks="manual"` with a flush after 1, 10 or 100 deltas. With 1,000 live parts, one
delta goes to each part in turn, so that a tick of 100 writes 100 parts and the gain is that of the
notification alone.

**Trivial callbacks gain little** from being called less often: the last table shows that with a
plain loop in the place of the store, which calls a function that counts after each delta, or joins
the deltas and calls it once per tick. The factors of the store are larger because its commit costs
more than the callback: it makes the change set and new immutable values, whoever listens. So they
say what `ticks="each"` costs, not that every program gains as much; look at the subscriber that
does what yours does.

Whole texts are measured up to 30,000 deltas only: reading the whole text at each token is
quadratic. The asyncio consumer iterates over `store.changes()`; the producer lets the loop turn
after each commit, so that every change set crosses it.

The counts are exact: N deltas at k a tick are ⌈N/k⌉ writes of a part and ⌈N/k⌉ notification passes.
"""


class _Case(NamedTuple):
    kind: Kind
    parts: int
    deltas: int
    rounds: int


def _cases(effort: Effort) -> list[_Case]:
    if effort == "tiny":
        return [_Case(kind, parts, 205, 1) for kind in _KINDS for parts in (1, 50)]
    if effort == "quick":
        cases = [_Case(kind, 1, 2_000, 3) for kind in _KINDS]
        return [*cases, _Case("trivial", 1, 10_000, 3), _Case("range", 1_000, 2_000, 3)]
    cases = []
    for parts in (1, 1_000):
        for kind in _KINDS:
            cases += [_Case(kind, parts, 1_000, 11), _Case(kind, parts, 10_000, 5)]
    cases += [_Case("whole", 1, 30_000, 3), _Case("asyncio", 1, 30_000, 3)]
    cases += [_Case("trivial", 1, 100_000, 3), _Case("range", 1, 100_000, 3)]
    return [*cases, _Case("trivial", 1, 1_000_000, 1)]


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """Every kind of subscriber, by the number of live parts and of deltas."""
    for case in _cases(effort):
        yield from _measure(case)
    deltas, number = {"tiny": (205, 1), "quick": (2_000, 5), "full": (20_000, 9)}[effort]
    yield from _measure_plain(deltas, number)


def _measure(case: _Case) -> Iterator[Figure]:
    counted: dict[str, dict[str, int]] = {}
    variants: dict[str, Variant] = {mode: _variant(case, mode, counted) for mode in MODES}
    rounds = interleaved(variants, case.deltas, case.rounds, warm=case.deltas < 100_000)
    row = f"{LABELS[case.kind]}, {_parts(case.parts)}, {case.deltas:,} deltas"
    for mode in MODES[1:]:
        yield Figure(
            table=ASYNCIO if case.kind == "asyncio" else FACTOR,
            row=row,
            column=f"{mode} a tick",
            unit="times",
            spread=rounds.ratio("each", mode),
            baseline='the same consumer with `ticks="each"`'
            if case.kind == "asyncio"
            else '`ticks="each"`, same subscriber',
            better="higher",
            goal=_goal(case, mode),
        )
    for mode in MODES:
        yield Figure(
            table="Cost of a delta, with its share of the tick",
            row=row,
            column="per token" if mode == "each" else f"{mode} a tick",
            unit="ns",
            spread=rounds.cost(mode),
            better="lower",
            x=case.deltas,
        )
    if case.kind in ("trivial", "asyncio"):
        yield from _counts(case, row, counted)


def _goal(case: _Case, mode: str) -> Goal | None:
    if case.kind != "asyncio" or case.parts > 1:
        return None
    return {"10": Goal(">=", 5), "100": Goal(">=", 10)}.get(mode)


def _counts(case: _Case, row: str, counted: dict[str, dict[str, int]]) -> Iterator[Figure]:
    for mode in MODES:
        per_tick = 1 if mode == "each" else int(mode)
        ticks = -(-case.deltas // per_tick)
        names = ("writes", "notifications") if case.parts == 1 else ("notifications",)
        for name in names:
            number = counted[mode][name]
            yield Figure(
                table=COUNTS,
                row=row,
                column=f"{name}, {'per token' if mode == 'each' else f'{mode} a tick'}",
                unit="count",
                spread=Spread.of([number]),
                better="exact",
                goal=Goal("==", ticks),
            )


def _parts(number: int) -> str:
    return "1 live part" if number == 1 else f"{number:,} live parts"


# --- the variants -----------------------------------------------------------------------------


def _variant(case: _Case, mode: str, counted: dict[str, dict[str, int]]) -> Variant:
    def variant() -> Iterator[Piece]:
        store = StreamStore(ticks="each" if mode == "each" else "manual")
        stream = store.open("native", sequencing="block")
        for number in range(case.parts):  # the parts are there before the clock runs
            stream.ingest(loads(_payload(number, case.parts)))
        store.flush()
        before = dict(store.health.counts["work"])
        run = _run_asyncio if case.kind == "asyncio" else _run
        yield from run(store, stream.ingest, case, None if mode == "each" else int(mode))
        work = store.health.counts["work"]
        assert stream.received == case.parts + case.deltas
        counted[mode] = {
            name: work[name] - before.get(name, 0) for name in ("writes", "notifications")
        }

    return variant


def _run(
    store: StreamStore, ingest: Callable[[Any], object], case: _Case, per_tick: int | None
) -> Iterator[Piece]:
    flush = store.flush

    def take(wires: list[Any]) -> None:
        if per_tick is None:
            for wire in wires:
                ingest(wire)
        elif per_tick == 1:
            for wire in wires:
                ingest(wire)
                flush()
        else:
            for first in range(0, len(wires), per_tick):
                for wire in wires[first : first + per_tick]:
                    ingest(wire)
                flush()

    assert case.kind != "asyncio"
    with listening(store, case.kind) as heard:
        for wires in _decoded(case):
            yield partial(take, wires)
    assert heard.notifications == -(-case.deltas // (per_tick or 1))


def _measure_plain(deltas: int, number: int) -> Iterator[Figure]:
    variants = {mode: _plain(deltas, 1 if mode == "each" else int(mode)) for mode in _PLAIN_MODES}
    rounds = interleaved(variants, deltas, number)
    for mode in _PLAIN_MODES[1:]:
        yield Figure(
            table=PLAIN,
            row=f"{deltas:,} deltas",
            column=f"{mode} a tick",
            unit="times",
            spread=rounds.ratio("each", mode),
            baseline="the same loop with a call after each delta",
            better="higher",
        )


def _plain(deltas: int, per_tick: int) -> Variant:
    case = _Case("trivial", 1, deltas, 1)

    def variant() -> Iterator[Piece]:
        heard = Heard()
        texts: dict[Any, list[str]] = {}

        def hear(key: Any, text: str) -> None:
            heard.notifications += 1

        def each(wires: list[Any]) -> None:
            for wire in wires:
                if wire["type"] == "block.delta":
                    key = (wire["sessionId"], wire["messageId"], wire["blockIndex"])
                    text = wire["text"]
                    try:
                        texts[key].append(text)
                    except KeyError:
                        texts[key] = [text]
                    hear(key, text)

        waiting: Waiting = {}

        def coalesced(wires: list[Any]) -> None:
            for first in range(0, len(wires), per_tick):
                NATIVE_BLOCK.floor(wires[first : first + per_tick], waiting)
                for key, pieces in waiting.items():
                    text = "".join(pieces)
                    try:
                        texts[key].append(text)
                    except KeyError:
                        texts[key] = [text]
                    hear(key, text)
                waiting.clear()

        take = each if per_tick == 1 else coalesced
        for wires in _decoded(case):
            yield partial(take, wires)
        assert heard.notifications == -(-deltas // per_tick)

    return variant


def _run_asyncio(
    store: StreamStore, ingest: Callable[[Any], object], case: _Case, per_tick: int | None
) -> Iterator[Piece]:
    heard = characters = 0

    async def consume() -> None:
        nonlocal heard, characters
        async for changes in store.changes():
            heard += 1
            for edit in changes.text.values():
                characters += len(edit.text)

    async def produce(wires: list[Any]) -> None:
        if per_tick is None:
            for wire in wires:
                ingest(wire)
                await asyncio.sleep(0)
            return
        for first in range(0, len(wires), per_tick):
            for wire in wires[first : first + per_tick]:
                ingest(wire)
            store.flush()
            await asyncio.sleep(0)

    async def settle() -> None:
        for _ in range(3):  # the consumer subscribes in its first turn
            await asyncio.sleep(0)

    with closing(asyncio.new_event_loop()) as loop:

        def run(wires: list[Any]) -> None:
            loop.run_until_complete(produce(wires))

        consumer = loop.create_task(consume())
        loop.run_until_complete(settle())
        for wires in _decoded(case):
            yield partial(run, wires)
        loop.run_until_complete(settle())
        assert heard == -(-case.deltas // (per_tick or 1)), (heard, per_tick)
        store.close()
        loop.run_until_complete(consumer)


def _decoded(case: _Case) -> Iterator[list[Any]]:
    """Batches of 1,000 wire objects, decoded just before they are needed."""
    for start, stop in batches(case.parts, case.parts + case.deltas, 1_000):
        yield [loads(_payload(number, case.parts)) for number in range(start, stop)]


def _payload(number: int, parts: int) -> str:
    turn, part = divmod(number, parts)
    message, block = divmod(part, 10)
    return native_payload(
        turn + 1, text_of(number + 1), "ses_01J9ZQ3V7N", f"msg_{message:04d}", block
    )


def remarks(answer: Answer) -> tuple[str, ...]:
    """What trivial callbacks gained, and what others did, at 10 deltas a tick."""
    gains: dict[str, list[float]] = {}
    for figure in answer.figures:
        if figure.unit == "times" and figure.column == "10 a tick":
            kind, one_part, _ = figure.row.partition(", 1 live part")
            if figure.table == PLAIN:
                gains.setdefault("no store, trivial", []).append(figure.spread.median)
            elif one_part:
                gains.setdefault(kind, []).append(figure.spread.median)
    said = [f"{kind}: {_range(factors)} times" for kind, factors in gains.items()]
    return (f"Gained here at 10 deltas a tick, with one live part: {'; '.join(said)}.",) * bool(
        said
    )


def _range(factors: list[float]) -> str:
    low, high = f"{min(factors):.1f}", f"{max(factors):.1f}"
    return low if low == high else f"{low} to {high}"


QUESTION = Question("coalescing", "Per token against coalesced", ABOUT, measure, remarks)
