"""What an adapter is: a wire protocol to events, and the store's state back to its final object.

An adapter knows one protocol's spelling and the canonical events. It knows no mark, buffer or
store: whether an event is a duplicate, late or foreign is decided behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import attrs

from ..events import Event
from ..model import Json, Message, Part, Sequencing, Session


class Reads(Protocol):
    """The reads of a store that `encode` may use; `StreamStore` is one."""

    def session_ids(self) -> tuple[str, ...]: ...
    def session(self, session_id: str) -> Session | None: ...
    def messages(self, session_id: str) -> tuple[Message, ...]: ...
    def parts(self, session_id: str, message_id: str) -> tuple[Part, ...]: ...


@attrs.frozen(kw_only=True)
class DeltaShape:
    """Where a wire delta keeps its members, so that the hot path reads them without the adapter.

    Anything that does not fit the shape goes through `decode`, which must agree with it.

    Attributes:
        type: value of the member `type` at the top of a delta.
        body: member that holds the rest ("" when the rest is at the top, too).
        session, message, block, text: members of the body, all strings but an integer block.
        field: member that names the field, "" where there is none; only `text` is hot.
        field_always: every delta has it.
        seq: member of the body with the seq, "" where the protocol has none.
        envelope: member that wraps a whole wire object on some endpoints, "" for none.
        id: member at the top with the event id, "" where ids are not unique.
        spare: further members, numbers, that a plain delta may carry without any effect.
    """

    type: str
    body: str = ""
    session: str
    message: str
    block: str
    text: str
    field: str = ""
    field_always: bool = False
    seq: str = ""
    id: str = ""
    spare: tuple[str, ...] = ()
    envelope: str = ""


@attrs.frozen(kw_only=True)
class Declaration:
    """What a protocol promises; the store's rules follow from it, never from its name.

    Attributes:
        name: the protocol's name in `StreamStore(protocol=...)` and on the command line.
        sequencing: of a stream that does not say otherwise (contract, section 3).
        ids_unique: an event's id is its own, so that the same id again is a duplicate.
        ids_ordered: ids of one session sort in the order in which the server made them.
        first_seq: the number a session's counter starts with, None where unknown.
        snapshots: the protocol has a state that can be fetched and merged.
        resumes: a transport can resume at a position (event-stream id or seq).
    """

    name: str
    sequencing: Sequencing
    ids_unique: bool = False
    ids_ordered: bool = False
    first_seq: int | None = None
    snapshots: bool = False
    resumes: bool = False


class Adapter(Protocol):
    """One wire protocol, in both directions. A stream makes its own instance.

    `decode` must be a function of the events so far on this stream alone: no clock, no chance.
    """

    declaration: ClassVar[Declaration]
    delta: ClassVar[DeltaShape | None]

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """Whether a wire object is surely of this protocol; cheap, total, never raises."""
        ...

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events a wire object stands for; none for what a client may ignore.

        The first event's verdict stands for the wire object.

        Raises:
            MalformedEvent: it breaks the protocol; the error names the wire's member.
            UnknownEvent: its type is not of this protocol.
        """
        ...

    def encode(self, reads: Reads) -> Json:
        """The state as the protocol's own final object, as plain JSON."""
        ...
