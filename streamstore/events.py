"""The canonical events, and their codec to and from JSON objects (camelCase).

This is the vocabulary that adapters speak and the library's own log format, one JSON object a
line. The file knows no stage and no other protocol's spelling. Members it does not know are kept:
on block events they are fields of the part, elsewhere they are `extra`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs
from cattrs import Converter
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from . import checks
from .errors import CallerError, MalformedEvent, UnknownEvent
from .keys import BlockIndex
from .model import CLOSED_STATUSES, DELIVERIES, EMPTY, SEQUENCINGS, Fields, Json, brief

#: What may hold much.
_LONG = (checks.TEXT, checks.OBJECT, checks.LIST, checks.OBJECTS, checks.STATUS, checks.ANY)
#: Classes whose values are looked at no further.
_PLAIN = frozenset((str, int, bool, type(None)))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _shown(check: checks.Check) -> Any:
    """What a `repr` is made by: of a member that may hold much it is cut."""
    return brief if check in _LONG else True


def _required(check: checks.Check, name: str | None = None) -> Any:
    return attrs.field(metadata={"check": check, "name": name}, repr=_shown(check))


def _optional(check: checks.Check, default: Any = None, name: str | None = None) -> Any:
    return attrs.field(default=default, metadata={"check": check, "name": name}, repr=_shown(check))


@attrs.frozen(kw_only=True)
class Event:
    """What every event may carry.

    Attributes:
        session_id: None where the wire gives none; the stream fills it in (`main` by default).
        seq: the server's number; what it counts is the stream's sequencing.
        generation: an opaque token of the server's counter.
        id: the event's own id.
        time: ms since the epoch, the server's.
        extra: members the vocabulary does not know, kept for a round trip.
    """

    type: ClassVar[str] = ""
    session_id: str | None = _optional(checks.ID)
    seq: int | None = _optional(checks.NUMBER)
    generation: str | None = _optional(checks.ID)
    id: str | None = _optional(checks.ID)
    time: int | None = _optional(checks.NUMBER)
    extra: Fields = attrs.field(default=EMPTY, repr=brief)


@attrs.frozen(kw_only=True)
class StreamOpened(Event):
    """Declares what follows on this stream: the sequencing and the counter's generation."""

    type: ClassVar[str] = "stream.opened"
    sequencing: str | None = _optional(checks.one_of(*SEQUENCINGS))


@attrs.frozen(kw_only=True)
class StreamSynchronized(Event):
    """The replay is over; what follows is live."""

    type: ClassVar[str] = "stream.synchronized"


@attrs.frozen(kw_only=True)
class SessionUpdated(Event):
    """Fields of the session; with `whole` the ones it lacks are gone."""

    type: ClassVar[str] = "session.updated"
    info: Fields = _optional(checks.OBJECT, EMPTY)
    whole: bool = _optional(checks.FLAG, False)


@attrs.frozen(kw_only=True)
class SessionRemoved(Event):
    """The session and all below it are gone."""

    type: ClassVar[str] = "session.removed"


@attrs.frozen(kw_only=True)
class SessionStatus(Event):
    """What the session does: `idle`, `busy` or `retry`; the last one holds."""

    type: ClassVar[str] = "session.status"
    status: str = _required(checks.ID)
    attempt: int | None = _optional(checks.NUMBER)
    message: str | None = _optional(checks.TEXT)
    next: int | None = _optional(checks.NUMBER)


@attrs.frozen(kw_only=True)
class SessionError(Event):
    """An error of the session, recorded: `{name, message, data?}`."""

    type: ClassVar[str] = "session.error"
    error: Fields = _required(checks.OBJECT)


@attrs.frozen(kw_only=True)
class SessionState(Event):
    """What a protocol shares beside messages: the whole `state`, or an RFC 6902 `patch`."""

    type: ClassVar[str] = "session.state"
    state: Json = _optional(checks.ANY)
    patch: list[Json] | None = _optional(checks.LIST)


@attrs.frozen(kw_only=True)
class MessageOpened(Event):
    """A message begins; idempotent, and fills in one that only deltas announced."""

    type: ClassVar[str] = "message.opened"
    message_id: str = _required(checks.ID)
    role: str = _required(checks.ID)
    parent_id: str | None = _optional(checks.ID)
    order: float | None = _optional(checks.ORDER)
    info: Fields | None = _optional(checks.OBJECT)
    local: bool = _optional(checks.FLAG, False)
    client_id: str | None = _optional(checks.ID)


@attrs.frozen(kw_only=True)
class MessageUpdated(Event):
    """Fields of a message's info, the later seq wins per field; `whole`: the others are gone.

    `role`, `parent_id` and `order` may ride along, for wires that open and update in one event.
    """

    type: ClassVar[str] = "message.updated"
    message_id: str = _required(checks.ID)
    info: Fields = _optional(checks.OBJECT, EMPTY)
    whole: bool = _optional(checks.FLAG, False)
    role: str | None = _optional(checks.ID)
    parent_id: str | None = _optional(checks.ID)
    order: float | None = _optional(checks.ORDER)
    client_id: str | None = _optional(checks.ID)


@attrs.frozen(kw_only=True)
class MessageReset(Event):
    """The message's blocks are rebuilt; the old parts stay shown until its next event commits."""

    type: ClassVar[str] = "message.reset"
    message_id: str = _required(checks.ID)


@attrs.frozen(kw_only=True)
class MessageClosed(Event):
    """The message ended: completed, aborted or error. Carries no text."""

    type: ClassVar[str] = "message.closed"
    message_id: str = _required(checks.ID)
    status: str = _optional(checks.one_of(*CLOSED_STATUSES), "completed")
    error: Json = _optional(checks.ANY)


@attrs.frozen(kw_only=True)
class MessageRemoved(Event):
    """The message and its parts are gone, and stay gone."""

    type: ClassVar[str] = "message.removed"
    message_id: str = _required(checks.ID)


@attrs.frozen(kw_only=True)
class MessageRollback(Event):
    """Takes back what is local and unconfirmed of a message."""

    type: ClassVar[str] = "message.rollback"
    message_id: str = _required(checks.ID)


@attrs.frozen(kw_only=True)
class BlockEvent(Event):
    """What every event of one block carries."""

    message_id: str = _required(checks.ID)
    block_index: BlockIndex = _required(checks.INDEX)


@attrs.frozen(kw_only=True)
class BlockOpened(BlockEvent):
    """A block begins, of one kind; idempotent. `fields` are the part's further fields."""

    type: ClassVar[str] = "block.opened"
    kind: str = _required(checks.ID)
    order: float | None = _optional(checks.ORDER)
    fields: Fields = attrs.field(default=EMPTY, repr=brief)


@attrs.frozen(kw_only=True)
class BlockDelta(BlockEvent):
    """Appends a text to one field of a block, verbatim: the only accumulator."""

    type: ClassVar[str] = "block.delta"
    text: str = _required(checks.TEXT)
    field: str = _optional(checks.ID, "text")


@attrs.frozen(kw_only=True)
class BlockReplaced(BlockEvent):
    """Sets the text if it carries one, and the fields it carries; with `whole` the others go.

    In a stream without seq, `whole` with a text says that this is all of the text: later deltas
    are refused (`sealed`). A `status` of `closed` does the same and closes the block; `open`
    says that more deltas follow.
    """

    type: ClassVar[str] = "block.replaced"
    text: str | None = _optional(checks.TEXT)
    kind: str | None = _optional(checks.ID)
    order: float | None = _optional(checks.ORDER)
    whole: bool = _optional(checks.FLAG, False)
    status: str | None = _optional(checks.one_of("open", "closed"))
    fields: Fields = attrs.field(default=EMPTY, repr=brief)


@attrs.frozen(kw_only=True)
class BlockSnapshot(BlockReplaced):
    """What the block was after operation `seq`; stands for every operation up to it."""

    type: ClassVar[str] = "block.snapshot"
    seq: int | None = _required(checks.NUMBER)


@attrs.frozen(kw_only=True)
class BlockUpdated(BlockEvent):
    """Fields of a part, the later seq wins per field; `whole`: the others are gone."""

    type: ClassVar[str] = "block.updated"
    kind: str | None = _optional(checks.ID)
    order: float | None = _optional(checks.ORDER)
    whole: bool = _optional(checks.FLAG, False)
    fields: Fields = attrs.field(default=EMPTY, repr=brief)


@attrs.frozen(kw_only=True)
class BlockClosed(BlockEvent):
    """The block ended; in a `block` stream `seq` is its last operation."""

    type: ClassVar[str] = "block.closed"


@attrs.frozen(kw_only=True)
class BlockRemoved(BlockEvent):
    """The block is gone, and stays gone."""

    type: ClassVar[str] = "block.removed"


@attrs.frozen(kw_only=True)
class TurnStarted(Event):
    """A turn of the session begins; its delivery mode is fixed now."""

    type: ClassVar[str] = "turn.started"
    delivery_mode: str | None = _optional(checks.one_of(*DELIVERIES))


@attrs.frozen(kw_only=True)
class TurnCompleted(Event):
    """The turn ended; what `buffered` delivery held back is shown."""

    type: ClassVar[str] = "turn.completed"


@attrs.frozen(kw_only=True)
class RequestEvent(Event):
    """What every event of a permission or a question carries; `id` on the wire is the request's."""

    id: str | None = None
    request_id: str = _required(checks.ID, "id")


@attrs.frozen(kw_only=True)
class RequestAsked(RequestEvent):
    """A request waits for an answer; asked anew under its id, the later one holds."""

    message_id: str | None = _optional(checks.ID)
    call_id: str | None = _optional(checks.ID)
    payload: Fields = _optional(checks.OBJECT, EMPTY)


@attrs.frozen(kw_only=True)
class RequestAnswered(RequestEvent):
    """A request was answered; removes it, also when the answer comes first."""

    payload: Fields = _optional(checks.OBJECT, EMPTY)


@attrs.frozen(kw_only=True)
class PermissionAsked(RequestAsked):
    """A permission is asked for."""

    type: ClassVar[str] = "permission.asked"


@attrs.frozen(kw_only=True)
class PermissionReplied(RequestAnswered):
    """A permission was granted or refused."""

    type: ClassVar[str] = "permission.replied"


@attrs.frozen(kw_only=True)
class QuestionAsked(RequestAsked):
    """A question is asked."""

    type: ClassVar[str] = "question.asked"


@attrs.frozen(kw_only=True)
class QuestionReplied(RequestAnswered):
    """A question was answered."""

    type: ClassVar[str] = "question.replied"


@attrs.frozen(kw_only=True)
class QuestionRejected(RequestAnswered):
    """A question was turned down."""

    type: ClassVar[str] = "question.rejected"


@attrs.frozen(kw_only=True)
class TodoUpdated(Event):
    """The whole todo list, which replaces the last one."""

    type: ClassVar[str] = "todo.updated"
    todo: list[Json] = _required(checks.LIST)


@attrs.frozen(kw_only=True)
class SessionDiff(Event):
    """The whole list of file changes, which replaces the last one."""

    type: ClassVar[str] = "session.diff"
    diff: list[Json] = _required(checks.LIST)


@attrs.frozen(kw_only=True)
class ToolResult(Event):
    """A tool's result that names only its call; kept (bounded) until the call is known.

    `fields` is merged into the part whose `callId` it is: usually `{"state": {...}}`.
    """

    type: ClassVar[str] = "tool.result"
    call_id: str = _required(checks.ID)
    message_id: str | None = _optional(checks.ID)
    fields: Fields = _optional(checks.OBJECT, EMPTY)


@attrs.frozen(kw_only=True)
class Snapshot(Event):
    """A fetched state of one session, to be merged with what is live.

    `messages` is a list of `{info, parts}`: `info` holds `id` and `role` (also `parentId`,
    `order`, `clientId`), which may stand beside it instead; `status` and `error` stand beside it. A
    part holds `blockIndex` and `kind`, maybe `order`, `status`, `text`, `seq` (in `block` streams),
    and its fields.
    `complete`: every message of the session is here, or, with `before`, every message of a page
    that ends before that message id. `read_from` is a token of `StreamStore.begin_read`.
    `info`, `status`, `todo`, `diff`, `permissions` and `questions` are the session's own, where
    the read gave them; what events changed since `read_from` stays.
    """

    type: ClassVar[str] = "snapshot"
    messages: list[Json] = _required(checks.OBJECTS)
    complete: bool = _optional(checks.FLAG, False)
    before: str | None = _optional(checks.ID)
    read_from: str | None = _optional(checks.ID)
    info: Fields | None = _optional(checks.OBJECT)
    status: Fields | None = _optional(checks.STATUS)
    todo: list[Json] | None = _optional(checks.LIST)
    diff: list[Json] | None = _optional(checks.LIST)
    permissions: list[Json] | None = _optional(checks.OBJECTS)
    questions: list[Json] | None = _optional(checks.OBJECTS)


EVENT_TYPES: Mapping[str, type[Event]] = {
    cls.type: cls
    for cls in (
        StreamOpened, StreamSynchronized, SessionUpdated, SessionRemoved, SessionStatus,
        SessionError, SessionState, MessageOpened, MessageUpdated, MessageReset, MessageClosed,
        MessageRemoved, MessageRollback, BlockOpened, BlockDelta, BlockReplaced, BlockSnapshot,
        BlockUpdated, BlockClosed, BlockRemoved, TurnStarted, TurnCompleted, PermissionAsked,
        PermissionReplied, QuestionAsked, QuestionReplied, QuestionRejected, TodoUpdated,
        SessionDiff, ToolResult, Snapshot,
    )
}  # fmt: skip


def _json_name(attribute: attrs.Attribute[Any]) -> str:
    return attribute.metadata.get("name") or _camel(attribute.name)


def _hook(attribute: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    accepts, what = attribute.metadata["check"]
    default = attribute.default

    def structure(value: Any, _: Any) -> Any:
        if not accepts(value):
            if value is None and default is not attrs.NOTHING:
                return default
            raise ValueError(f"must be {what}, not {_brief(value, what)}")
        return value

    return structure


def _brief(value: Any, what: str = "") -> str:
    if value is None:
        return "null"
    if isinstance(value, str) and (not value or what.startswith("one of ")):
        return repr(value[:80]) if value else "an empty one"  # "a string" would say nothing
    if isinstance(value, dict) and what.startswith("an object"):
        return "this one"
    # Of a class of its own, as a member of an enumeration has, the class is what is wrong.
    if type(value) in (bool, float) or (type(value) is int and abs(value) < 2**70):
        return str(value).lower()  # a larger integer may have more digits than str() allows
    return {int: "a larger integer", str: "a string", list: "an array", dict: "an object"}.get(
        value.__class__, type(value).__name__[:80]
    )


def _wire_attributes(cls: type[Event]) -> list[attrs.Attribute[Any]]:
    return [attribute for attribute in attrs.fields(cls) if "check" in attribute.metadata]


_converter = Converter()
_structure: dict[str, Callable[[dict[str, Any]], Event]] = {}
_unstructure: dict[type[Event], Callable[[Event], dict[str, Any]]] = {}
_rest: dict[type[Event], str] = {}
#: Of each type the attributes, their names in JSON, their defaults, and what they must be.
_checks: dict[type[Event], list[tuple[str, str, Any, checks.Check]]] = {}


def _register(cls: type[Event]) -> None:
    wire = _wire_attributes(cls)
    names = {attribute.name: _json_name(attribute) for attribute in wire}
    known = {"type", *names.values()}
    rest = "fields" if "fields" in attrs.fields_dict(cls) and "fields" not in names else "extra"
    renames: dict[str, Any] = {
        attribute.name: override(rename=names[attribute.name], struct_hook=_hook(attribute))
        for attribute in wire
    }
    skipped: dict[str, Any] = {
        attribute.name: override(omit=True)
        for attribute in attrs.fields(cls)
        if attribute.name not in names
    }
    plain: dict[str, Any] = {
        name: override(rename=json_name, unstruct_hook=lambda value: value)
        for name, json_name in names.items()
    }
    make = make_dict_structure_fn(cls, _converter, **renames, **skipped)
    dump = make_dict_unstructure_fn(
        cls,
        _converter,
        _cattrs_omit_if_default=True,
        **plain,
        **skipped,
    )
    part_time = rest == "fields"

    def structure(wire_event: dict[str, Any]) -> Event:
        given = wire_event
        others: dict[str, Any] = {key: value for key, value in given.items() if key not in known}
        if part_time and "text" in others:
            raise MalformedEvent("text", f"{cls.type} carries no text; block.replaced sets it")
        if part_time and isinstance(given.get("time"), dict):
            # An object is the part's own {start, end}; a number is the event's time.
            others["time"] = given["time"]
            given = {key: value for key, value in given.items() if key != "time"}
        event = make(given, cls)
        changes: dict[str, Any] = {rest: others}
        return attrs.evolve(event, **changes) if others else event

    def unstructure(event: Event) -> dict[str, Any]:
        members: dict[str, Any] = {"type": event.type, **dump(event)}
        members.update(getattr(event, rest))
        return members

    _structure[cls.type] = structure
    _unstructure[cls] = unstructure
    _rest[cls] = rest
    _checks[cls] = [
        (attribute.name, names[attribute.name], attribute.default, attribute.metadata["check"])
        for attribute in wire
    ] + [(rest, rest, EMPTY, checks.OBJECT)]


for _cls in EVENT_TYPES.values():
    _register(_cls)


def decode_event(wire: Mapping[str, Any]) -> Event:
    """The event that a canonical JSON object stands for.

    Ids are never coerced, booleans are no numbers; null stands for an absent optional member.
    Costs a few microseconds; the deltas of a live stream do not pass through here.

    Raises:
        MalformedEvent: a member is missing or has the wrong type; the error names it.
        UnknownEvent: the type is not in the vocabulary.

    >>> decode_event({"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "hi"}).text
    'hi'
    >>> decode_event({"type": "block.delta", "messageId": 7, "blockIndex": 0, "text": "hi"})
    Traceback (most recent call last):
      ...
    streamstore.errors.MalformedEvent: messageId: must be a non-empty string, not 7
    """
    if not isinstance(wire, dict):
        raise MalformedEvent("", f"an event must be an object, not {_brief(wire)}")
    event_type = wire.get("type")
    if type(event_type) is not str:
        raise MalformedEvent("type", f"must be a string, not {_brief(event_type)}")
    structure = _structure.get(event_type)
    if structure is None:
        raise UnknownEvent(event_type)
    try:
        return structure(wire)
    except ClassValidationError as error:
        raise _named(error, EVENT_TYPES[event_type]) from None


def _no_event(event: object) -> CallerError:
    return CallerError(
        f"an event must be one of streamstore.events, not {type(event).__name__[:80]}; "
        "of a JSON object decode_event makes one"
    )


def checked_event(event: Event, nesting: int = 200) -> Event:
    """Hold an event that a program made to what `decode_event` holds a JSON object to.

    A type checker sees most of it; what is left is a number of a database as an id, say, or a time
    among the fields, which would stand in the store until it is compared with another, or saved. A
    string of another class, as a member of an enumeration is one, becomes the plain one. Linear in
    what the event carries.

    Raises:
        MalformedEvent: a member has the wrong type, holds what no JSON text says, or has more than
            `nesting` objects and arrays inside each other; the error has its name in JSON.
        CallerError: it is no event.

    >>> checked_event(MessageReset(message_id=7))
    Traceback (most recent call last):
      ...
    streamstore.errors.MalformedEvent: messageId: must be a non-empty string, not 7
    """
    checks = _checks.get(type(event))
    if checks is None:
        raise _no_event(event)
    plain: dict[str, Any] = {}
    for name, json_name, default, (accepts, what) in checks:
        value = getattr(event, name)
        if value is default:
            continue
        if isinstance(value, str) and type(value) is not str:
            value = plain[name] = str.__str__(value)
        if not accepts(value):
            raise MalformedEvent(json_name, f"must be {what}, not {_brief(value, what)}")
        if type(value) not in _PLAIN:
            _check_json(value, json_name, nesting)
    return attrs.evolve(event, **plain) if plain else event


def _check_json(value: Any, name: str, nesting: int) -> None:
    """Raise `MalformedEvent` where a value is none of JSON. Does not recurse."""
    level = [("", value)]
    depth = 0
    while level:
        below: list[tuple[str, Any]] = []
        for path, item in level:
            problem = ""
            if isinstance(item, dict):
                if not all(isinstance(key, str) for key in item):
                    problem = "an object whose names are strings"
                below += [(f"{path}.{str(key)[:80]}", each) for key, each in item.items()]
            elif isinstance(item, list | tuple):
                below += [(f"{path}[{place}]", each) for place, each in enumerate(item)]
            elif isinstance(item, float):
                problem = "" if math.isfinite(item) else "a finite number"
            elif not (item is None or isinstance(item, str | int)):
                problem = f"a JSON value, not {type(item).__name__[:80]}"
            if problem:
                where = f"{name}{path} " if path else ""
                raise MalformedEvent(name, f"{where}must be {problem}")
        if depth == nesting and any(isinstance(item, dict | list | tuple) for _, item in level):
            raise MalformedEvent(name, "nests too deep")
        level, depth = below, depth + 1


def encode_event(event: Event) -> dict[str, Any]:
    """The canonical JSON object of an event; members at their default are left out.

    >>> encode_event(BlockDelta(message_id="m", block_index=0, text="hi", seq=1))
    {'type': 'block.delta', 'messageId': 'm', 'blockIndex': 0, 'text': 'hi', 'seq': 1}

    Raises:
        CallerError: it is no event of this module.
    """
    unstructure = _unstructure.get(type(event))
    if unstructure is None:
        raise _no_event(event)
    return unstructure(event)


def split_event(event: Event) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """An event's own members as `encode_event` has them, and apart what it carries beside them.

    An adapter's event may carry a field named as one of its own members, a part field `seq` say,
    which one object could not hold twice.

    >>> split_event(BlockReplaced(message_id="m", block_index=0, seq=1, fields={"seq": "x"}))
    ({'type': 'block.replaced', 'messageId': 'm', 'blockIndex': 0, 'seq': 1}, {'seq': 'x'})
    """
    rest = _rest[type(event)]
    others: Mapping[str, Any] = getattr(event, rest)
    changes: dict[str, Any] = {rest: EMPTY}
    return encode_event(attrs.evolve(event, **changes) if others else event), others


def join_event(members: Mapping[str, Any], others: Mapping[str, Any]) -> Event:
    """The event that `split_event` took apart.

    Raises:
        MalformedEvent, UnknownEvent: as `decode_event`.
    """
    event = decode_event(members)
    changes: dict[str, Any] = {_rest[type(event)]: others}
    return attrs.evolve(event, **changes) if others else event


def _named(error: ClassValidationError, cls: type[Event]) -> MalformedEvent:
    names = {attribute.name: _json_name(attribute) for attribute in _wire_attributes(cls)}
    noted, plain = error.group_exceptions()
    for problem, note in noted:
        missing = isinstance(problem, KeyError)
        name = names.get(note.name, note.name)
        return MalformedEvent(name, "is missing" if missing else str(problem))
    return MalformedEvent("", "; ".join(str(problem) for problem in plain))
