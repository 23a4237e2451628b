"""What an adapter is: a wire protocol to events, and the store's state back to its final object.

An adapter knows one protocol's spelling and the canonical events. It knows no mark, buffer or
store: whether an event is a duplicate, late or foreign is decided behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import attrs

from ..events import Event, Snapshot
from ..keys import HotKey, read_of
from ..limits import Limits
from ..model import Json, Message, Part, Sequencing, Session

#: Name of the only session of a protocol that has none.
MAIN = "main"


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
        block_is_id, block_is_number: the block is a string as well, or always an integer.
        never: a member at the top with which one takes the long way.
        prefix: what stands before the block in its index: ids of other kinds may be the same.
        of_field: the field that all of them are of.
        field: member that names the field, "" where every delta is of `text`.
        field_always: every delta has it.
        seq: member of the body with the seq, "" where the protocol has none.
        envelope: member that wraps a whole wire object on some endpoints, "" for none.
        id: member at the top with the event id, "" where ids are not unique.
        spare: further members, numbers, that a plain delta may carry without any effect.
        others_ignored: whatever else a delta carries has no effect; otherwise a member that is
            not named here sends it the long way.
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
    block_is_id: bool = False
    block_is_number: bool = False
    never: str = ""
    prefix: str = ""
    of_field: str = "text"
    others_ignored: bool = False


#: Steps of a path beside the names of members: the only item of a list, and the member that
#: `ShortShape.named` says.
ONLY, NAMED = 0, 1
#: From the top of a wire object to a value in it.
Path: TypeAlias = tuple[str | int, ...]


@attrs.frozen(kw_only=True)
class Counter:
    """Where the number of the last delta stands, and what the next one's comes to.

    Attributes:
        ends: a list that the adapter shares with the short way; its last item is the number.
        base, step: a delta's seq is `base + step * number`.
        top: the first number that is too large.
    """

    ends: list[int]
    base: int
    step: int
    top: int


@attrs.frozen(kw_only=True)
class ShortShape:
    """What a delta has in common with the one before it when both go to one part.

    For adapters whose `plain` finds the part. A delta that fits goes where the one before it went,
    without `plain` being asked: the shape promises that it would have said the same, as long as
    neither `plain` nor `decode` of this adapter was called in between and the guard stands.

    Attributes:
        text: path of the text, a string.
        text_needed: an empty one does not fit.
        same: paths of strings that are what they were.
        numbers: paths of integers that are what they were.
        strings: paths of strings that do not matter.
        optional: paths of what may be absent, as long as it is absent or there in all of them;
            there, it is null, empty (as Python has it), any string, an integer that JavaScript
            has (up to 2**53 - 1), or the same as before.
        sizes: path of an object and how many members it has beside the optional ones; where it
            has no size, whatever else is there has no effect.
        repeated: path of the object that holds the text, when whatever else it holds must be what
            it was: strings and null.
        named: the member that `NAMED` stands for, of a delta that `plain` took in.
        count: path of the delta's number, which must be one more than the last; `counter`: where
            it is counted, of the adapter.
        guard: of the adapter and a delta, an object or list and where in it something stands that
            other streams may change.
    """

    text: Path
    text_needed: bool = False
    same: tuple[Path, ...] = ()
    numbers: tuple[Path, ...] = ()
    strings: tuple[Path, ...] = ()
    optional: tuple[tuple[Path, Literal["null", "empty", "string", "integer", "same"]], ...] = ()
    sizes: tuple[tuple[Path, int], ...] = ()
    repeated: Path | None = None
    named: Callable[[Any], str] | None = None
    count: Path | None = None
    counter: Callable[[Any], Counter] | None = None
    guard: Callable[[Any, Any], tuple[Any, Any]] | None = None


#: Key, text and seq (None without one) of a delta that needs nothing but to be appended; see
#: `Adapter.plain`. A bare tuple: a named one costs more than all the rest.
PlainDelta: TypeAlias = tuple[HotKey, str, int | None]


@attrs.frozen(kw_only=True)
class Declaration:
    """What a protocol promises; the store's rules follow from it, never from its name.

    Attributes:
        name: the protocol's name in `StreamStore(protocol=...)` and on the command line.
        sequencing: of a stream that does not say otherwise (`docs/laws.md`).
        ids_unique: an event's id is its own, so that the same id again is a duplicate.
        ids_ordered: ids of one session sort in the order in which the server made them.
        snapshots: the protocol has a state that can be fetched and merged.
        resumes: a transport can resume at a position (event-stream id or seq).
        event_names: the name of an event-stream event is part of the wire object: `decode` gets
            `{"event": name, "data": value}`.
        sentinels: data of an event-stream event that is no JSON and means nothing to the state,
            such as `[DONE]`.
        identity: what the wire gives to tell one message and block from another, for the table
            of protocols in the documentation.
    """

    name: str
    sequencing: Sequencing
    ids_unique: bool = False
    ids_ordered: bool = False
    snapshots: bool = False
    resumes: bool = False
    event_names: bool = False
    sentinels: tuple[str, ...] = ()
    identity: str = ""


def _no_id() -> str:
    return "local-1"


@attrs.define(kw_only=True)
class Context:
    """What a stream tells its adapter, and what the store keeps for it.

    Whatever an adapter remembers from one event to the next lies in `own` or in a `shared` table,
    as plain JSON: a saved state holds it, and a loaded stream goes on with it.

    Attributes:
        session_id: session of events whose wire names none.
        bound: the stream was opened for that session: what names another one is `foreign`.
        limits: the store's bounds.
        strict: stop where the official client would: raise `ProtocolStopped`.
        new_id: makes an id that the protocol does not give.
        own: what the adapter remembers of this stream alone.
        shared: by session, what the adapters of one protocol remember from stream to stream.
    """

    session_id: str = MAIN
    bound: bool = False
    strict: bool = False
    limits: Limits = Limits()
    new_id: Callable[[], str] = _no_id
    own: dict[str, Any] = attrs.field(factory=dict)
    shared: dict[str, dict[str, Any]] = attrs.field(factory=dict)

    def of_session(self, session_id: str | None = None) -> dict[str, Any]:
        """The shared memory of one session, by default of the stream's own; made when missing.

        Of one that the stream does not take in nothing is kept: its memory is empty each time.
        """
        session_id = session_id or self.session_id
        if self.bound and session_id != self.session_id:
            return {}
        return self.shared.setdefault(session_id, {})


def counts_anew(read: Snapshot) -> bool:
    """Whether a fetched state proves that the server's counter started again (`docs/laws.md`): what
    an adapter remembers by the numbers of the old one is over then."""
    if read.seq is None or read.read_from is None or not read.complete or read.before is not None:
        return False
    try:
        return read.seq < read_of(read.read_from)[1]
    except ValueError:
        return False  # it is refused


class Adapter(Protocol):
    """One wire protocol, in both directions. A stream makes its own instance.

    `decode` must be a function of the events so far and of the context's memory alone: no clock,
    no chance. When it raises, the memory must be as it was.
    """

    declaration: ClassVar[Declaration]
    #: A class may have `more_deltas` as well, a tuple of shapes that are rarer than this one; and,
    #: where the protocol ends each message by an event, a method `unfinished()`: the key of the
    #: message that a stream is in and that has not ended, else None. One that remembers numbers of
    #: the server's has a method `restarted(session_id)`: whoever opened the stream says that the
    #: session's counter started again.
    delta: ClassVar[DeltaShape | None]

    def __init__(self, context: Context) -> None: ...

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """Whether a wire object is surely of this protocol; cheap, total, never raises."""
        ...

    def plain(self, wire: Any) -> PlainDelta | None:
        """What a delta in order comes to, None for everything else: the short way.

        For protocols whose deltas do not name their session and message, so that no `DeltaShape`
        says where everything is; only asked where `delta` is None. Must agree with `decode`,
        which is called with the same wire object right after when the delta takes the long way
        after all. May raise `KeyError`, `TypeError` or `AttributeError` on another shape.
        """
        ...

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events a wire object stands for; none for what a client may ignore.

        The first event's verdict stands for the wire object.

        Raises:
            MalformedEvent: it breaks the protocol; the error names the wire's member. A strict
                stream stops there.
            UnknownEvent: its type is not of this protocol.
            RepeatedEvent: the wire's own numbers prove that it was taken in before.
            ProtocolStopped: in a strict stream, the official client would refuse it.
            MissingExtra: it needs a package that is not installed; nothing was changed.
        """
        ...

    def encode(self, reads: Reads) -> Json:
        """The state as the protocol's own final object, as plain JSON."""
        ...


class StatelessAdapter:
    """For protocols whose every event names all it belongs to: nothing to remember."""

    delta: ClassVar[DeltaShape | None] = None

    def __init__(self, context: Context | None = None) -> None:
        pass

    def plain(self, wire: Any) -> PlainDelta | None:
        """Nothing: `delta` says where everything is."""
        return None
