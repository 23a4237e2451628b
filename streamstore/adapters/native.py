"""The library's own protocol: canonical events as JSON objects, one a line or in an event stream.

Knows the canonical events alone; its final object is the state (`docs/state.md`) without
`counts`, `gaps` and `resume`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..errors import UnknownEvent
from ..events import EVENT_TYPES, Event, decode_event
from ..keys import is_id, is_number
from ..model import Json
from ..state import state_of
from .base import Declaration, DeltaShape, Reads, StatelessAdapter
from .members import an_event


class NativeAdapter(StatelessAdapter):
    """Canonical events in, the canonical state out."""

    declaration: ClassVar[Declaration] = Declaration(
        name="native",
        sequencing="sparse",
        ids_unique=True,
        snapshots=True,
        resumes=True,
        identity="session, message and block ids on every event",
    )
    delta: ClassVar[DeltaShape | None] = DeltaShape(
        type="block.delta",
        session="sessionId",
        message="messageId",
        block="blockIndex",
        text="text",
        field="field",
        seq="seq",
        id="id",
        spare=("time",),
    )

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """An object with a known `type` and no envelope around its members."""
        return (
            isinstance(wire, dict)
            and isinstance(wire.get("type"), str)
            and wire["type"] in EVENT_TYPES
            and "properties" not in wire
            and "data" not in wire
        )

    def decode(self, wire: Any) -> Sequence[Event]:
        """The one event that a canonical object stands for."""
        event = an_event(wire)
        try:
            return (decode_event(event),)
        except UnknownEvent as error:
            raise _placed(event, error.type) from None

    def encode(self, reads: Reads) -> Json:
        """The state (`docs/state.md`): `{"sessions": {...}}`, half a surrogate pair as it came."""
        return {"sessions": state_of(reads, raw=True)}


def _placed(event: Mapping[str, Any], kind: str) -> UnknownEvent:
    """An event of a type that nobody knows, with its place where that is written as all have it."""
    session, seq, generation = event.get("sessionId"), event.get("seq"), event.get("generation")
    if not is_number(seq) or not all(
        value is None or is_id(value) for value in (session, generation)
    ):
        return UnknownEvent(kind)
    return UnknownEvent(kind, session_id=session, seq=seq, generation=generation)
