"""What the store costs beside the least that anybody could do, and beside decoding the JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from json import loads
from typing import Any, Literal, NamedTuple

from streamstore import StreamStore
from streamstore.protocols import adapters

from .figures import Effort, Figure, Goal, Question, Skipped, installed
from .payloads import (
    INPUTS,
    LARGE_READ,
    SMALL_READ,
    SOURCES,
    Source,
    Waiting,
    batches,
    chunks,
    join_waiting,
)
from .timing import Piece, Variant, interleaved

WIRES = "Wire objects into the store"
INPUT = "A tool's input: cost of a delta"
BYTES = "Bytes to the store"
#: Deltas per tick. The goals are for 1,000, a batch with one flush.
PER_TICK = (1000, 100, 10)
CHUNKS = {"64 KiB": LARGE_READ, "4 KiB": SMALL_READ, "one event": 0}

ABOUT = """
The floor of wire objects is a plain loop, written inline for the protocol: it looks at the type,
makes a key, appends the text to a list, and joins once per tick. It has no idempotence, no order,
no reads, no change sets, and it knows nothing but text. It is what a store can be compared with,
not what could replace one. Both get batches of dicts that were decoded just before; the batch is a
tick's, at least 100 deltas. Nobody has subscribed.

The floor is inline, `ingest` is a call per wire object. What a call alone costs stands in the
second table, as "calls of nothing": the same loop over an empty function. With the smallest deltas
that is three tenths of the floor: its own work behind a call takes most of what the goal of 1.4
allows, before anything is compared.

Deltas of a tool's input stand in a table of their own, beside what decoding their JSON costs.

The floor of bytes is `json.loads` of the same payloads, given as `str`, which it reads fastest;
with `orjson` its own `loads`, given `bytes`. The store gets bytes of an event stream in chunks and
shows what came once per 64 KiB.
"""


class _Size(NamedTuple):
    deltas: int
    rounds: int


_SIZES: dict[Effort, _Size] = {
    "tiny": _Size(200, 1),
    "quick": _Size(3_000, 3),
    "full": _Size(20_000, 7),
}
_WAYS = ("ingest", "ingest_many")
_GOAL_INGEST, _GOAL_MANY = Goal("<=", 1.4), Goal("<=", 1.1)
_GOAL_BYTES = {"standard": Goal("<=", 1.1), "orjson": Goal("<=", 2.2)}


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """Every protocol against its floor, then every protocol against decoding alone."""
    size = _SIZES[effort]
    sources = [source for source in SOURCES if source.protocol in adapters()]
    for source in SOURCES:
        if source not in sources:
            yield Skipped(source.name, f"there is no adapter {source.protocol}")
    for source in sources:
        yield from _wires(source, size)
    for source in INPUTS:
        if source.protocol in adapters():
            yield from _input(source, size)
    for source in sources:
        yield from _bytes(source, size)
    if not installed("orjson"):
        yield Skipped("bytes with orjson", "not installed: pip install 'chat-streamstore[speed]'")


def open_stream(source: Source, decoder: Literal["standard", "orjson"] = "standard") -> Any:
    """A store with manual ticks and a stream that has had what opens the answer."""
    store = StreamStore(ticks="manual", decoder=decoder)
    stream = store.open(source.protocol, sequencing=source.sequencing)
    for payload in source.opening_payloads():
        assert stream.ingest(loads(payload)).kind == "accepted", payload
    return store, stream


# --- wire objects -----------------------------------------------------------------------------


def _wires(source: Source, size: _Size) -> Iterator[Figure]:
    variants: dict[str, Variant] = {}
    for per_tick in PER_TICK:
        for way in ("floor", "ingest", "ingest_many"):
            variants[f"{way} {per_tick}"] = _wires_variant(source, way, per_tick, size.deltas)
    variants["calls"] = _calls_variant(source, size.deltas)
    rounds = interleaved(variants, size.deltas, size.rounds)
    for per_tick in PER_TICK:
        for way, goal in (("ingest", _GOAL_INGEST), ("ingest_many", _GOAL_MANY)):
            yield Figure(
                table=f"{WIRES}: factor over the plain-dict loop",
                row=source.name,
                column=f"{way} + flush, {per_tick:,} a tick",
                unit="times",
                spread=rounds.ratio(f"{way} {per_tick}", f"floor {per_tick}"),
                baseline="inline plain-dict loop without idempotence, one join per tick",
                better="lower",
                goal=goal if per_tick == PER_TICK[0] else None,
            )
    yield Figure(
        table=f"{WIRES}: cost of a delta",
        row=source.name,
        column="calls of nothing",
        unit="ns",
        spread=rounds.cost("calls"),
    )
    del variants["calls"]
    for name in variants:
        way, _, per_tick_text = name.partition(" ")
        yield Figure(
            table=f"{WIRES}: cost of a delta",
            row=source.name,
            column=f"{way}, {int(per_tick_text):,} a tick",
            unit="ns",
            spread=rounds.cost(name),
            better="" if way == "floor" else "lower",
        )


def _wires_variant(source: Source, way: str, per_tick: int, deltas: int) -> Variant:
    def floor() -> Iterator[Piece]:
        waiting: Waiting = {}
        texts: Waiting = {}

        def take(ticks: list[list[Any]]) -> None:
            for wires in ticks:
                source.floor(wires, waiting)
                join_waiting(waiting, texts)

        yield from _batched(source, per_tick, deltas, take)

    def ours() -> Iterator[Piece]:
        store, stream = open_stream(source)
        before = store.version
        ingest, ingest_many, flush = stream.ingest, stream.ingest_many, store.flush

        def take_each(ticks: list[list[Any]]) -> None:
            for wires in ticks:
                for wire in wires:
                    ingest(wire)
                flush()

        def take_many(ticks: list[list[Any]]) -> None:
            for wires in ticks:
                ingest_many(wires)
                flush()

        take = take_each if way == "ingest" else take_many
        yield from _batched(source, per_tick, deltas, take)
        ticks = store.version - before
        assert ticks == -(-deltas // per_tick), (source.name, ticks)

    return floor if way == "floor" else ours


def _input(source: Source, size: _Size) -> Iterator[Figure]:
    per_tick = PER_TICK[1]
    variants = {way: _wires_variant(source, way, per_tick, size.deltas) for way in _WAYS}
    variants["decoding"] = lambda: _decoding(source, size.deltas)
    rounds = interleaved(variants, size.deltas, size.rounds)
    for way in ("decoding", *_WAYS):
        yield Figure(
            table=INPUT,
            row=source.name,
            column="`json.loads` alone" if way == "decoding" else f"{way}, {per_tick:,} a tick",
            unit="ns",
            spread=rounds.cost(way),
            better="" if way == "decoding" else "lower",
        )


def _decoding(source: Source, deltas: int) -> Iterator[Piece]:
    for start, stop in batches(1, deltas + 1, PER_TICK[1]):
        yield partial(_decode_all, loads, source.payloads(start, stop))


def _calls_variant(source: Source, deltas: int) -> Variant:
    def nothing(wire: Any) -> None:
        pass

    def calls() -> Iterator[Piece]:
        def take(ticks: list[list[Any]]) -> None:
            for wires in ticks:
                for wire in wires:
                    nothing(wire)

        yield from _batched(source, PER_TICK[0], deltas, take)

    return calls


def _batched(
    source: Source, per_tick: int, deltas: int, take: Callable[[list[list[Any]]], None]
) -> Iterator[Piece]:
    """Pieces of one batch each, decoded just before it is taken in."""
    for start, stop in batches(1, deltas + 1, max(per_tick, 100)):
        payloads = source.payloads(start, stop)
        ticks = [
            [loads(payload) for payload in payloads[first:last]]
            for first, last in batches(0, len(payloads), per_tick)
        ]
        del payloads
        yield partial(take, ticks)


# --- bytes ------------------------------------------------------------------------------------


def _bytes(source: Source, size: _Size) -> Iterator[Figure]:
    decoders = ["standard"] + ["orjson"] * installed("orjson")
    variants: dict[str, Variant] = {}
    for decoder in decoders:
        variants[f"{decoder} alone"] = _decode_variant(source, decoder, size.deltas)
        for chunk in CHUNKS:
            variants[f"{decoder} {chunk}"] = _bytes_variant(source, decoder, chunk, size.deltas)
    rounds = interleaved(variants, size.deltas, size.rounds)
    for decoder in decoders:
        loads_name = "json.loads" if decoder == "standard" else "orjson.loads"
        for chunk in CHUNKS:
            yield Figure(
                table=f"{BYTES}: factor over `{loads_name}` alone",
                row=source.name,
                column=f"{chunk} a chunk" if CHUNKS[chunk] else "one event a chunk",
                unit="times",
                spread=rounds.ratio(f"{decoder} {chunk}", f"{decoder} alone"),
                baseline=f"`{loads_name}` of the same payloads",
                better="lower",
                goal=_GOAL_BYTES[decoder] if chunk == "64 KiB" else None,
            )
    for decoder in decoders:
        for chunk in ("alone", *CHUNKS):
            yield Figure(
                table=f"{BYTES}: cost of an event",
                row=source.name,
                column=f"{decoder}, {'decoding alone' if chunk == 'alone' else chunk}",
                unit="ns",
                spread=rounds.cost(f"{decoder} {chunk}"),
                better="" if chunk == "alone" else "lower",
            )


def _decode_variant(source: Source, decoder: str, deltas: int) -> Variant:
    def variant() -> Iterator[Piece]:
        for payloads in _reads(source, deltas):
            if decoder == "standard":
                yield partial(_decode_all, loads, payloads)
            else:
                import orjson

                encoded = [payload.encode() for payload in payloads]
                yield partial(_decode_all, orjson.loads, encoded)

    return variant


def _decode_all(decode: Callable[[Any], Any], payloads: list[Any]) -> None:
    for payload in payloads:
        decode(payload)


def _bytes_variant(source: Source, decoder: Any, chunk: str, deltas: int) -> Variant:
    def variant() -> Iterator[Piece]:
        store, stream = open_stream(source, decoder)
        feed, flush = stream.feed, store.flush

        def take(parts: list[bytes]) -> None:
            for part in parts:
                feed(part)
            flush()

        rest = b""
        for payloads in _reads(source, deltas):
            frames = source.frames(payloads)
            # What a read cuts stays for the next one, so that events are cut as they really are.
            parts = chunks([rest, *frames] if rest else frames, CHUNKS[chunk])
            rest = b""
            if CHUNKS[chunk] and len(parts) > 1 and len(parts[-1]) < CHUNKS[chunk]:
                rest = parts.pop()
            yield partial(take, parts)
        yield partial(take, [rest])
        received = stream.received - len(source.opening)
        assert received == deltas, (source.name, chunk, received)

    return variant


def _reads(source: Source, deltas: int) -> Iterator[list[str]]:
    """Payloads in batches that make about one large read of an event stream."""
    per_read = max(1, LARGE_READ // len(source.frames(source.payloads(1, 2))[0]))
    for start, stop in batches(1, deltas + 1, per_read):
        yield source.payloads(start, stop)


QUESTION = Question("ingest", "What the store adds to the least there is to do", ABOUT, measure)
