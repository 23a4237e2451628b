"""Whether a delta costs the same however much was there before it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from json import loads
from typing import Any, NamedTuple

from streamstore import StreamStore

from .figures import Effort, Figure, Goal, Question, Skipped
from .hearing import listening
from .payloads import NATIVE_BLOCK, batches, native_payload, text_of
from .timing import Piece, Rounds, Variant, interleaved

BY_DELTAS = "Cost by the number of deltas"
BY_SESSIONS = "Cost by the number of sessions in the store"
BY_TEXT = "Cost of a delta after so much text"
FACTOR = "Growth"
PER_TICK = 100
GOAL = Goal("<=", 1.2)

ABOUT = """
Deltas in order, 100 a tick, decoded just before, with a subscriber that reads the appended range.
By deltas: the mean over a whole answer of so many, without the first tick. By sessions: so many
are in the store, and each tick is for the next one of them, which the tick before did not touch.
By text: what the next deltas cost when so much has been shown; one character is one byte. The
baseline of each factor is the first row of its table.
"""


class _Size(NamedTuple):
    deltas: tuple[int, ...]
    sessions: tuple[int, ...]
    characters: tuple[int, ...]
    measured: int
    rounds: int


_SIZES: dict[Effort, _Size] = {
    "tiny": _Size((200, 400), (1, 3), (1_000, 2_000), 200, 1),
    "quick": _Size((1_000, 10_000, 50_000), (1, 100, 1_000), (10_000, 100_000), 4_000, 3),
    "full": _Size(
        (1_000, 10_000, 100_000, 1_000_000),
        (1, 100, 1_000, 10_000),
        (10_000, 100_000, 1_000_000, 5_000_000),
        20_000,
        5,
    ),
}


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """By deltas, by sessions, by text."""
    size = _SIZES[effort]
    variants = {f"{number:,}": _deltas(number, size.measured) for number in size.deltas}
    work = {
        f"{number:,}": max(1, size.measured // number) * (number - PER_TICK)
        for number in size.deltas
    }
    yield from _show(BY_DELTAS, interleaved(variants, work, size.rounds), size.deltas, "deltas")

    stores = {number: _SessionStore(number) for number in size.sessions}
    variants = {f"{number:,}": _sessions(stores[number], size.measured) for number in size.sessions}
    rounds = interleaved(variants, size.measured, 2 * size.rounds)
    yield from _show(BY_SESSIONS, rounds, size.sessions, "sessions")
    stores.clear()

    variants = {f"{number:,}": _text(number, size.measured) for number in size.characters}
    rounds = interleaved(variants, size.measured, size.rounds)
    yield from _show(BY_TEXT, rounds, size.characters, "characters")


def _show(table: str, rounds: Rounds, numbers: tuple[int, ...], unit: str) -> Iterator[Figure]:
    first = f"{numbers[0]:,}"
    labels = {
        number: f"{number:,} {unit.removesuffix('s') if number == 1 else unit}"
        for number in numbers
    }
    for number in numbers:
        name = f"{number:,}"
        yield Figure(
            table=table,
            row=labels[number],
            column="cost of a delta",
            unit="ns",
            spread=rounds.cost(name),
            better="lower",
            x=number,
        )
        if number != numbers[0]:
            yield Figure(
                table=table,
                row=labels[number],
                column="factor",
                unit="times",
                spread=rounds.ratio(name, first),
                baseline=labels[numbers[0]],
                better="lower",
                goal=GOAL,
            )


def _open() -> tuple[StreamStore, Any]:
    store = StreamStore(ticks="manual")
    return store, store.open("native", sequencing="block")


def _take(store: StreamStore, ingest: Any, wires: list[Any]) -> None:
    for first in range(0, len(wires), PER_TICK):
        for wire in wires[first : first + PER_TICK]:
            ingest(wire)
        store.flush()


def _fill(store: StreamStore, stream: Any, deltas: int) -> None:
    """Deltas that are not measured."""
    for start, stop in batches(1, deltas + 1, 1_000):
        stream.ingest_many(loads(payload) for payload in NATIVE_BLOCK.payloads(start, stop))
        store.flush()


def _decoded(start: int, stop: int) -> Iterator[list[Any]]:
    for first, last in batches(start, stop, 1_000):
        yield [loads(payload) for payload in NATIVE_BLOCK.payloads(first, last)]


def _deltas(number: int, measured: int) -> Variant:
    def variant() -> Iterator[Piece]:
        for _ in range(max(1, measured // number)):
            store, stream = _open()
            with listening(store, "range"):
                _fill(store, stream, PER_TICK)  # the block's opening is no delta in order
                for wires in _decoded(PER_TICK + 1, number + 1):
                    yield partial(_take, store, stream.ingest, wires)
            assert stream.received == number

    return variant


class _SessionStore:
    """A store of some sessions with one part each, and how far they are."""

    def __init__(self, sessions: int) -> None:
        self.sessions = sessions
        self.store, self.stream = _open()
        self.seqs = [0] * sessions
        self.next = 0
        for number in range(sessions):
            self.stream.ingest(loads(self.payload(number)))
            if number % 100 == 0:
                self.store.flush()
        self.store.flush()

    def payload(self, number: int) -> str:
        """The next delta of a session."""
        self.seqs[number] = seq = self.seqs[number] + 1
        return native_payload(seq, text_of(seq), f"ses_{number:08d}", f"msg_{number:08d}", 0)

    def tick(self) -> list[Any]:
        """The deltas of a tick, for the next session."""
        number = self.next
        self.next = (number + 1) % self.sessions
        return [loads(self.payload(number)) for _ in range(PER_TICK)]


def _sessions(held: _SessionStore, measured: int) -> Variant:
    def variant() -> Iterator[Piece]:
        with listening(held.store, "range"):
            for _ in range(measured // PER_TICK):
                wires = held.tick()
                yield partial(_take, held.store, held.stream.ingest, wires)

    return variant


def _text(characters: int, measured: int) -> Variant:
    def variant() -> Iterator[Piece]:
        store, stream = _open()
        before = 0
        deltas = 0
        while before < characters:
            deltas += 1
            before += len(text_of(deltas))
        _fill(store, stream, deltas)
        with listening(store, "range"):
            for wires in _decoded(deltas + 1, deltas + measured + 1):
                yield partial(_take, store, stream.ingest, wires)
        assert stream.received == deltas + measured

    return variant


QUESTION = Question("flatness", "Is the cost flat?", ABOUT, measure)
