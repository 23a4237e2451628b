"""What a frontend reads: sessions, messages, parts and tool states, as immutable values.

Knows no event, row or protocol. JSON inside a value is frozen too: it is still `dict` and `list`
for everybody who reads or dumps it, and raises on change. The `repr` of a value is for a person: it
is cut where it is long.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeAlias, get_args

import attrs

from .decoding import decode_json
from .errors import MalformedEvent
from .keys import BlockIndex, MessageKey, PartKey
from .text import TextView, pair_surrogates

Json: TypeAlias = Any
Fields: TypeAlias = Mapping[str, Json]

Delivery = Literal["streaming", "buffered"]
Sequencing = Literal["block", "session", "sparse", "none"]
PartStatus = Literal["open", "closed", "incomplete"]
MessageStatus = Literal["open", "completed", "aborted", "error"]

DELIVERIES: tuple[Delivery, ...] = ("streaming", "buffered")
SEQUENCINGS: tuple[Sequencing, ...] = ("block", "session", "sparse", "none")
CLOSED_STATUSES: tuple[MessageStatus, ...] = ("completed", "aborted", "error")

#: The part kinds a frontend can count on; anything else is `unknown`, its fields as they came.
PartKind = Literal[
    "text", "reasoning", "tool", "file", "source", "step-start", "step-finish", "agent", "subtask",
    "compaction", "retry", "snapshot", "patch", "data", "error", "unknown",
]  # fmt: skip
PART_KINDS: frozenset[str] = frozenset(get_args(PartKind))

#: Ranks of tool states: a lower one never replaces a higher one.
TOOL_RANKS: Mapping[str, int] = MappingProxyType(
    {"pending": 0, "running": 1, "waiting": 1, "completed": 2, "error": 2, "denied": 2}
)
TERMINAL_RANK = 2


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("values of a store are immutable: copy what you want to change")


class FrozenDict(dict[str, Json]):
    """A JSON object inside a value; a `dict` that raises `TypeError` on change."""

    __slots__ = ()
    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, _: object) -> FrozenDict:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenDict, (dict(self),))


class FrozenList(list[Json]):
    """A JSON array inside a value; a `list` that raises `TypeError` on change."""

    __slots__ = ()
    __setitem__ = __delitem__ = append = clear = extend = insert = _refuse
    pop = remove = reverse = sort = _refuse
    __iadd__ = __imul__ = _refuse

    def __copy__(self) -> FrozenList:
        return self

    def __deepcopy__(self, _: object) -> FrozenList:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenList, (list(self),))


EMPTY = FrozenDict()


def freeze(value: Json) -> Json:
    """An immutable copy of a JSON value; what is frozen already is itself. Linear in its size.

    Halves of a surrogate pair that stand side by side become their character, as they do on
    every way through JSON text.

    >>> frozen = freeze({"a": [1, {"b": 2}]})
    >>> frozen == {"a": [1, {"b": 2}]}
    True
    >>> frozen["a"].append(3)
    Traceback (most recent call last):
      ...
    TypeError: values of a store are immutable: copy what you want to change
    """
    if isinstance(value, dict):
        if type(value) is FrozenDict:
            return value
        return FrozenDict({freeze(key): freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        if type(value) is FrozenList:
            return value
        return FrozenList([freeze(item) for item in value])
    if type(value) is str:
        return pair_surrogates(value)
    return value


def thaw(value: Json) -> Json:
    """A plain, changeable copy of a frozen JSON value. Linear in its size."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thaw(item) for item in value]
    return value


# How much of a value a `repr` shows: in all, of one text, of one list or object, and how deep.
_SHOWN, _SHOWN_TEXT, _SHOWN_ITEMS, _SHOWN_DEPTH = 400, 120, 16, 4


def brief(value: object) -> str:
    """A `repr` that is cut where it is long, at the cost of what it shows.

    >>> brief({"a": [1, "b"]})
    "{'a': [1, 'b']}"
    >>> brief("x" * 5_000_000)[:40]
    "<5000000 characters: 'xxxxxxxxxxxxxxxxxx"
    >>> brief(list(range(1000)))
    '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, ... 984 more]'
    """
    return _brief(value, [_SHOWN], 0)


def _brief(value: object, room: list[int], depth: int) -> str:
    text = ""
    if isinstance(value, str | bytes):
        if len(value) <= _SHOWN_TEXT:
            text = repr(value)
        else:
            unit = "characters" if isinstance(value, str) else "bytes"
            text = f"<{len(value)} {unit}: {value[:_SHOWN_TEXT]!r}...>"
    elif isinstance(value, Mapping | list | tuple) and not hasattr(value, "_fields"):
        start, stop = "()" if isinstance(value, tuple) else "[]"
        if isinstance(value, Mapping):
            start, stop = "{}"
        pieces: list[str] = []
        for item in value:
            if len(pieces) == _SHOWN_ITEMS or room[0] <= 0 or depth == _SHOWN_DEPTH:
                pieces.append(f"... {len(value) - len(pieces)} more")
                break
            piece = _brief(item, room, depth + 1)
            if isinstance(value, Mapping):
                piece += f": {_brief(value[item], room, depth + 1)}"
            pieces.append(piece)
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"{start}{', '.join(pieces)}{comma}{stop}"
    else:
        try:
            text = repr(value)
        except ValueError:  # an integer of more digits than Python writes
            text = f"<{type(value).__name__}>"
        if len(text) > 2 * _SHOWN:
            text = f"{text[: 2 * _SHOWN]}..."
    room[0] -= len(text)
    return text


def _long(default: Any) -> Any:
    """A member that may hold much: its `repr` is cut."""
    return attrs.field(default=default, repr=brief)


@attrs.frozen
class Status:
    """What a session is doing.

    `type` is `idle`, `busy` or `retry`, or what else a server says; a retry carries its attempt
    (from 1), a message and the time of the next attempt (`next`, ms since the epoch), where the
    wire gives them. `fields` is whatever else came with it.
    """

    type: str = "idle"
    attempt: int | None = None
    message: str | None = _long(None)
    next: int | None = None
    fields: Fields = _long(EMPTY)


@attrs.frozen
class Request:
    """A permission or a question that waits for an answer.

    `message_id` and `call_id` name the tool it belongs to, where the wire says so; `payload` is
    what is asked, as it came.
    """

    id: str
    session_id: str
    message_id: str | None = None
    call_id: str | None = None
    payload: Fields = _long(EMPTY)


@attrs.frozen
class ToolState:
    """A tool call as a frontend shows it: `Part.tool`.

    `status` is pending, running, waiting (for approval), completed, error or denied, or what else a
    server says, which counts as pending. A tool that never ended in a message that was aborted or
    failed reads as error, with `error` saying so. `title`, `output` and `error` are those of the
    part's state, None where it has none; `fields` is that state whole, as it came.
    `input` is the parsed input: the one the wire gives, or the streamed text once its part is
    closed, None where that is no JSON; the text so far is `Part.field_text("input")`, and
    `streamstore.partialjson` says what it means before it is whole.
    """

    name: str | None
    call_id: str | None
    status: str
    title: str | None = _long(None)
    input: Json = _long(None)
    output: Json = _long(None)
    error: Json = _long(None)
    fields: Fields = _long(EMPTY)


@attrs.frozen(eq=False)
class Part:
    """One typed piece of a message, at one tick.

    The same object as long as nothing of it changes, and equal to no other one. Text is joined when
    `text` is read (linear once per change, free after); `view` gives ranges at the cost of the
    range.

    Attributes:
        kind: `text`, `reasoning`, `tool`, `file`, `source`, `step-start`, `step-finish`, `agent`,
            `subtask`, `compaction`, `retry`, `snapshot`, `patch`, `data`, `error`, or `unknown`
            for any other, which `fields` names.
        status: `open`; `closed`; `incomplete`, closed over operations that never came.
        view: its text, for ranges.
        gap: text of this part may be missing or is known to be.
        previous: what is shown is the text of an older generation of the server's counter.
        order: where it stands among its siblings, where the wire says so.
        fields: everything else of the part, as it came, frozen.
        others: texts that streamed into other fields than `text`, by field; see `field_text`.
        settled_as: how its message ended, which a tool that did not end by itself reads by.
    """

    session_id: str
    message_id: str
    block_index: BlockIndex
    kind: PartKind
    status: PartStatus
    view: TextView
    order: float | None = None
    gap: bool = False
    previous: bool = False
    fields: Fields = _long(EMPTY)
    others: Mapping[str, TextView] = _long(EMPTY)
    settled_as: MessageStatus = "open"

    @property
    def key(self) -> PartKey:
        """Key of this part in change sets."""
        return PartKey(self.session_id, self.message_id, self.block_index)

    @property
    def text(self) -> str:
        """The text so far, unpaired surrogates as U+FFFD; joined at the first read."""
        return self.view.read()

    def field_text(self, field: str) -> str:
        """The text streamed into another field than `text` ("" where there is none).

        A string that only came whole, as a tool's input does in `vellum`, is in `fields`.
        """
        view = self.view if field == "text" else self.others.get(field)
        return "" if view is None else view.read()

    @property
    def time(self) -> Json:
        """The part's own times as the wire gives them (usually `{start, end}` in ms), or None."""
        return self.fields.get("time")

    @property
    def tool(self) -> ToolState | None:
        """The tool call of a `tool` part, None for other kinds.

        Input that only streamed as text is parsed here when the part is no longer open, once:
        linear in the input at the first read.
        """
        if self.kind != "tool":
            return None
        state = self.fields.get("state")
        state = state if isinstance(state, dict) else EMPTY
        status = state.get("status")
        status = status if isinstance(status, str) else "pending"
        error = state.get("error")
        ended = TOOL_RANKS.get(status, 0) == TERMINAL_RANK
        if self.settled_as in ("aborted", "error") and not ended:
            status = "error"
            error = error if error is not None else f"the message ended as {self.settled_as}"
        name, call_id, title = (
            self.fields.get("tool"),
            self.fields.get("callId"),
            state.get("title"),
        )
        return ToolState(
            name=name if isinstance(name, str) else None,
            call_id=call_id if isinstance(call_id, str) else None,
            status=status,
            title=title if isinstance(title, str) else None,
            input=state["input"] if "input" in state else self._streamed_input(),
            output=state.get("output"),
            error=error,
            fields=state,
        )

    def _streamed_input(self) -> Json:
        view = self.others.get("input")
        return None if view is None or self.status == "open" else view.parsed(_json)


def _json(text: str) -> Json:
    try:
        return freeze(decode_json(text))
    except MalformedEvent:
        return None  # what came is in `Part.field_text("input")`


@attrs.frozen
class Message:
    """A message without its parts, at one tick; read its parts beside it.

    Compared by value, as all that is read but parts, and not hashable: keep it by its `key`.

    Attributes:
        role: as the wire gives it (`user`, `assistant`, ...); "" while only deltas were seen.
        status: `open`, or how it ended.
        order: what it sorts by, where known: its order or its created time (ms).
        parent_id: the message that it answers or belongs to, where the wire says so.
        info: everything the wire says about it, frozen.
        error: what it ended with, as it came; None for nothing.
        local: added by this client and not yet confirmed by the server.
        client_id: the id this client gave it, when the server gave another.
    """

    session_id: str
    id: str
    role: str = ""
    status: MessageStatus = "open"
    order: float | None = None
    parent_id: str | None = None
    info: Fields = _long(EMPTY)
    error: Json = _long(None)
    local: bool = False
    client_id: str | None = None

    @property
    def key(self) -> MessageKey:
        """Key of this message in change sets."""
        return MessageKey(self.session_id, self.id)


@attrs.frozen
class Session:
    """One conversation without its messages, at one tick.

    Attributes:
        info: everything the wire says about it, frozen.
        status: what it is doing, None where the wire never said.
        state: what a protocol shares beside messages, None where it shares nothing.
        errors: errors of the session, oldest first (bounded).
        permissions, questions: what waits for an answer, by request id, in order of asking.
        todo, diff: the lists the wire last gave, None where it gave none.
        gap: operations of the session are known to be missing.
    """

    id: str
    info: Fields = _long(EMPTY)
    status: Status | None = None
    state: Json = _long(None)
    errors: tuple[Json, ...] = _long(())
    permissions: Mapping[str, Request] = _long(EMPTY)
    questions: Mapping[str, Request] = _long(EMPTY)
    todo: Json = _long(None)
    diff: Json = _long(None)
    gap: bool = False
