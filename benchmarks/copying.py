"""A frozen copy of the part per token, as immutable state usually does it, against ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from json import loads
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import attrs

from streamstore import StreamStore

from .figures import Effort, Figure, Goal, Question, Skipped
from .hearing import KINDS, LABELS, Heard, Kind, listening
from .payloads import NATIVE_BLOCK, batches, native_delta, whole_text
from .timing import Piece, Variant, interleaved

PER_TICK = (10, 100)
GOALS = {10: Goal(">=", 10), 100: Goal(">=", 20)}

ABOUT = """
What an immutable store without a coalescer does with each delta. *Frozen part*: look the part up by
its key, `attrs.evolve` it with `text + delta`, put it back, tell the subscribers. *Frozen tree*:
the same, and new copies of the message and the session that hold it, as reducers in the manner of
Redux make them, so that every level can be compared by identity. Ours gives the same immutable
parts, at 10 and at 100 deltas a tick. Both get dicts decoded just before, and the same subscriber:
`trivial` counts, `range` takes what was appended, `whole` takes the length of the whole text.

The copy grows with the text and, of a tree, with the messages that were there before, as an agent's
session has some 50 soon; ours grows with neither. So the factor is a function of both, and small
for the first short answer of a session.
"""


class _Size(NamedTuple):
    deltas: int
    rounds: int


_SIZES: dict[Effort, tuple[_Size, ...]] = {
    "tiny": (_Size(200, 1),),
    "quick": (_Size(1_000, 3), _Size(5_000, 3)),
    "full": (_Size(1_000, 21), _Size(5_000, 9), _Size(20_000, 7), _Size(100_000, 3)),
}
#: Messages of the session before the answer.
EARLIER = (0, 50)


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """By the length of the text, what was there before it, and the kind of the subscriber."""
    for size in _SIZES[effort]:
        for earlier in EARLIER:
            for kind in KINDS:
                yield from _measure(size, earlier, kind)


def _measure(size: _Size, earlier: int, kind: Kind) -> Iterator[Figure]:
    variants: dict[str, Variant] = {
        "frozen part": _frozen(size.deltas, earlier, kind, FrozenParts),
        "frozen tree": _frozen(size.deltas, earlier, kind, FrozenTree),
    }
    for per_tick in PER_TICK:
        variants[f"ours, {per_tick} a tick"] = _ours(size.deltas, earlier, kind, per_tick)
    rounds = interleaved(variants, size.deltas, size.rounds, warm=size.deltas < 100_000)
    row = f"{size.deltas:,} deltas, {LABELS[kind]}"
    if earlier:
        row = f"{size.deltas:,} deltas after {earlier} messages, {LABELS[kind]}"
    for baseline in ("frozen part", "frozen tree"):
        for per_tick in PER_TICK:
            yield Figure(
                table="Frozen copy per token over ours",
                row=row,
                column=f"{baseline}, {per_tick} a tick",
                unit="times",
                spread=rounds.ratio(baseline, f"ours, {per_tick} a tick"),
                baseline=f"{baseline}: evolved once per delta, same subscriber",
                better="higher",
                goal=GOALS[per_tick],
            )
    for name in variants:
        yield Figure(
            table="Cost of a delta",
            row=row,
            column=name,
            unit="ns",
            spread=rounds.cost(name),
            better="lower" if name.startswith("ours") else "",
            x=size.deltas,
        )


# --- the baselines ----------------------------------------------------------------------------

Key: TypeAlias = tuple[str, str, int]


@attrs.frozen
class FrozenPart:
    """As many members as a part of ours has, and the text as a string."""

    session_id: str
    message_id: str
    block_index: int
    text: str = ""
    kind: str = "text"
    status: str = "open"
    fields: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen
class FrozenMessage:
    """A message that holds its parts."""

    id: str
    parts: tuple[FrozenPart, ...] = ()
    role: str = "assistant"
    status: str = "open"
    info: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen
class FrozenSession:
    """A session that holds its messages."""

    id: str
    messages: tuple[FrozenMessage, ...] = ()
    info: Mapping[str, Any] = MappingProxyType({})


#: Told of the part and of where the appended text starts.
Tell: TypeAlias = Callable[[FrozenPart, int], None]


class FrozenParts:
    """Parts by key; each delta makes a new one."""

    def __init__(self, tell: Tell) -> None:
        self._parts: dict[Key, FrozenPart] = {}
        self._subscribers = [tell]

    def append(self, wires: list[Any]) -> None:
        """Take in decoded native deltas, and tell of each."""
        parts, evolve = self._parts, attrs.evolve
        for wire in wires:
            if wire["type"] == "block.delta":
                key = (wire["sessionId"], wire["messageId"], wire["blockIndex"])
                part = parts.get(key) or FrozenPart(*key)
                start = len(part.text)
                part = parts[key] = evolve(part, text=part.text + wire["text"])
                for tell in self._subscribers:
                    tell(part, start)

    def text(self, key: Key) -> str:
        """Text of a part."""
        return self._parts[key].text


class FrozenTree:
    """Sessions that hold messages that hold parts; each delta makes new ones along its path."""

    def __init__(self, tell: Tell) -> None:
        self._sessions: Mapping[str, FrozenSession] = {}
        self._subscribers = [tell]

    def append(self, wires: list[Any]) -> None:
        """Take in decoded native deltas, and tell of each."""
        evolve = attrs.evolve
        for wire in wires:
            if wire["type"] == "block.delta":
                session_id, message_id, index = (
                    wire["sessionId"],
                    wire["messageId"],
                    wire["blockIndex"],
                )
                session = self._sessions.get(session_id) or FrozenSession(session_id)
                message = next(
                    (m for m in session.messages if m.id == message_id), FrozenMessage(message_id)
                )
                part = next(
                    (p for p in message.parts if p.block_index == index),
                    FrozenPart(session_id, message_id, index),
                )
                start = len(part.text)
                part = evolve(part, text=part.text + wire["text"])
                others = tuple(p for p in message.parts if p.block_index != index)
                message = evolve(message, parts=(*others, part))
                before = tuple(m for m in session.messages if m.id != message_id)
                session = evolve(session, messages=(*before, message))
                self._sessions = {**self._sessions, session_id: session}
                for tell in self._subscribers:
                    tell(part, start)

    def text(self, key: Key) -> str:
        """Text of a part."""
        session_id, message_id, index = key
        (message,) = (m for m in self._sessions[session_id].messages if m.id == message_id)
        (part,) = (p for p in message.parts if p.block_index == index)
        return part.text


def _frozen(
    deltas: int, earlier: int, kind: Kind, state: type[FrozenParts] | type[FrozenTree]
) -> Variant:
    def variant() -> Iterator[Piece]:
        heard = Heard()

        def trivial(part: FrozenPart, start: int) -> None:
            heard.notifications += 1

        def reads_range(part: FrozenPart, start: int) -> None:
            heard.notifications += 1
            heard.characters += len(part.text[start:])

        def reads_whole(part: FrozenPart, start: int) -> None:
            heard.notifications += 1
            heard.characters += len(part.text)

        held = state({"trivial": trivial, "range": reads_range, "whole": reads_whole}[kind])
        held.append(_said(earlier))
        heard.notifications = 0
        for wires in _decoded(deltas):
            yield partial(held.append, wires)
        assert heard.notifications == deltas
        assert held.text(_key()) == whole_text(deltas)

    return variant


def _ours(deltas: int, earlier: int, kind: Kind, per_tick: int) -> Variant:
    def variant() -> Iterator[Piece]:
        store = StreamStore(ticks="manual")
        stream = store.open("native", sequencing="block")
        stream.ingest_many(_said(earlier))
        store.flush()
        ingest, flush = stream.ingest, store.flush

        def take(wires: list[Any]) -> None:
            for first in range(0, len(wires), per_tick):
                for wire in wires[first : first + per_tick]:
                    ingest(wire)
                flush()

        with listening(store, kind) as heard:
            for wires in _decoded(deltas):
                yield partial(take, wires)
        assert heard.notifications == -(-deltas // per_tick)
        part = store.part(*_key())
        assert part is not None and part.text == whole_text(deltas)

    return variant


def _key() -> Key:
    wire = loads(NATIVE_BLOCK.payloads(1, 2)[0])
    return wire["sessionId"], wire["messageId"], wire["blockIndex"]


def _said(messages: int) -> list[Any]:
    """What makes so many earlier messages, one text each, in the same session."""
    session_id, message_id, _ = _key()
    return [
        native_delta(1, "What was said before.", session_id, f"{message_id}-{at}")
        for at in range(messages)
    ]


def _decoded(deltas: int) -> Iterator[list[Any]]:
    for start, stop in batches(1, deltas + 1, 1_000):
        yield [loads(payload) for payload in NATIVE_BLOCK.payloads(start, stop)]


QUESTION = Question("copying", "A frozen copy per token", ABOUT, measure)
