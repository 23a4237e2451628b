"""Rows to plain JSON and back: one consistent cut of marks, shown text, and what waits.

The shape is the library's own and versioned; a state of another version is refused. Knows rows;
no stage, file or clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import le
from types import NoneType
from typing import Any

import attrs

from .cells import TextCell
from .changes import Gap
from .errors import StreamStoreError, UnsupportedState
from .events import ToolResult, join_event, split_event
from .keys import MAX_NUMBER, MessageKey, PartKey, is_block_index, is_id, is_number, is_order
from .marks import EventIds, FieldMarks, Intervals
from .model import DELIVERIES, EMPTY, SEQUENCINGS, FrozenDict, Request, freeze, thaw
from .rows import AnyRow, BlockRow, MessageRow, SessionRow
from .text import GrowingText, pair_surrogates

VERSION = 1

#: Attributes that are made anew, or saved in a form of their own.
_DERIVED = frozenset(
    "key message session hots view messages_view parts_view shown_messages shown_parts blocks "
    "messages unconfirmed calls call_id withheld closing woken dirty reshaped fresh fresh_field "
    "hot_key passed room calm_to credit holes_at stood session_id message_id index text_field "
    "waiting".split()
)


#: Types of attributes that may be None.
_NULLABLE: Mapping[str, tuple[type, ...]] = {
    "order": (int, float),
    "shown": (tuple,),
    "generation": (str,),
    "mode": (str,),
}


def _is_mark(value: Any) -> bool:
    """Whether a value may be a seq, a count or an epoch, or the -1 that stands for none."""
    return type(value) is int and -1 <= value <= MAX_NUMBER


def _is_order(value: Any) -> bool:
    return value is None or is_order(value)


def _ascend(seqs: Any) -> bool:
    return all(map(_is_mark, seqs)) and all(map(le, seqs, seqs[1:]))


def _is_op(op: Any) -> bool:
    if type(op) is tuple:
        return len(op) in (2, 3) and all(type(item) is str for item in op)
    return op is None or type(op) is str


def _is_event(value: Any) -> bool:
    return attrs.has(type(value)) and hasattr(value, "generation")


def _table(
    of_key: Callable[[Any], bool], of_value: Callable[[Any], bool]
) -> Callable[[dict[Any, Any]], bool]:
    return lambda table: all(map(of_key, table)) and all(map(of_value, table.values()))


def _tuples(*members: Callable[[Any], bool]) -> Callable[[Iterable[Any]], bool]:
    one = _tuple(*members)
    return lambda rows: all(map(one, rows))


def _tuple(*members: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def accepts(row: Any) -> bool:
        return type(row) is tuple and len(row) == len(members) and all(map(_passes, members, row))

    return accepts


def _passes(accepts: Callable[[Any], bool], value: Any) -> bool:
    return accepts(value)


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in types


def _any(value: Any) -> bool:
    return True


def _requests(requests: Iterable[Any]) -> bool:
    return all(
        type(request) is Request
        and is_id(request.id)
        and is_id(request.session_id)
        and isinstance(request.payload, FrozenDict)
        for request in requests
    )


def _results(waiting: Any) -> bool:
    return type(waiting) is list and _tuples(SEQUENCINGS.__contains__, _is(ToolResult))(waiting)


def _entity(fields: FieldMarks) -> bool:
    values = fields.values
    return (
        type(values.get("role") or "") is str
        and type(values.get("status") or "") is str
        and _is_order(values.get("order"))
    )


def _own(fields: FieldMarks) -> bool:
    return isinstance(fields.values.get("status", EMPTY), FrozenDict | NoneType)


#: What attributes hold, beyond the type of their default, where something relies on it later.
_HOLD: Mapping[str, Callable[[Any], bool]] = {
    "seqs": _ascend,
    "fulls": _ascend,
    "resets": lambda seqs: all(map(_is_mark, seqs)),
    "ops": lambda ops: all(map(_is_op, ops)),
    "held": _table(is_number, _is_event),
    "others": _table(_is(str), _is(TextCell)),
    "states": _table(_is_mark, _tuple(_is_mark, _any)),
    "old": _table(_is(str), _any),
    "order": _is_order,
    "placed": _is_order,
    "entity": _entity,
    "own": _own,
    "errors": _tuples(lambda seq: seq is None or _is_mark(seq), _any),
    "permissions": lambda table: all(map(is_id, table)) and _requests(table.values()),
    "questions": lambda table: all(map(is_id, table)) and _requests(table.values()),
    "answered": _table(is_id, _is_mark),
    "asked_at": _table(is_id, _is_mark),
    "fetched": _table(is_id, _is_mark),
    "own_epochs": _table(is_id, _is_mark),
    "patches": _tuples(_is_mark, _any),
    "base": _tuple(_is_mark, _any),
    "generations": _table(is_id, _any),
    "results": _table(is_id, _results),
    "tombstones": _table(
        lambda key: _is(tuple, MessageKey, PartKey)(key) and len(key) in (2, 3), _is_mark
    ),
    "stated": _table(is_number, _any),
}

#: What is shown of each kind of row, see `store.py`.
_SHOWN: Mapping[type, Callable[[Any], bool]] = {
    SessionRow: _tuple(
        _is(FrozenDict), _is(FrozenDict), _is(tuple), _requests, _requests, _is(bool)
    ),
    # In older states the first one was frozen.
    MessageRow: _tuple(
        _is(dict, FrozenDict), _is(FrozenDict), _is(str), _any, _is(bool), _is_order
    ),
    BlockRow: _tuple(
        _is(str), _is(FrozenDict), _is(str), _is(bool), _is(bool), _is_order, _is(str)
    ),
}


def save_session(row: SessionRow) -> dict[str, Any]:
    """A session with everything below it, as plain JSON. Linear in what it holds."""
    saved = _save(row)
    saved["id"] = row.id
    saved["closing"] = [
        [*key[1:]]
        for key, (block, closed_at) in row.closing.items()
        if block.message.blocks.get(block.key.block_index) is block
        and row.messages.get(block.key.message_id) is block.message
        and block.closed_at == closed_at
    ]
    saved["waiting"] = [[token, _dump(event)] for token, event, _ in row.waiting]
    saved["messages"] = [_save_message(message) for message in row.messages.values()]
    saved["leaving"] = [
        _save_message(message)
        for message in row.shown_messages or ()
        if row.messages.get(message.key.message_id) is not message
    ]
    return saved


def _save_message(message: MessageRow) -> dict[str, Any]:
    entry = _save(message)
    entry["id"] = message.key.message_id
    entry["blocks"] = [_save_block(block) for block in message.blocks.values()]
    entry["leaving"] = [
        _save_block(block)
        for block in message.shown_parts or ()
        if message.blocks.get(block.key.block_index) is not block
    ]
    return entry


def _save_block(block: BlockRow) -> dict[str, Any]:
    session = block.message.session
    return {
        **_save(block),
        "index": block.key.block_index,
        "held_back": block.exists and session.withheld.get(block.key) is block,
        "call": block.call_id if session.calls.get(block.call_id) is block else "",
    }


def load_session(saved: Any, ids_size: int) -> tuple[SessionRow, list[MessageRow | BlockRow]]:
    """The rows of a saved session, and those that left it since the last tick and are still shown.

    `shown` of a row says whether it is to be published again.

    Raises:
        UnsupportedState: the value is not what `save_session` wrote.
    """
    with refusing("saved session"):
        row = SessionRow(id=_checked(is_id, saved["id"]), ids=EventIds(ids_size))
        _load(row, saved)
        row.ids.size = ids_size  # the bound of the store that loads, whatever the saving one had
        row.waiting = [
            (_checked(is_id, token), _checked(_is_event, _undump(event)), None)
            for token, event in saved["waiting"]
        ]
        leaving: list[MessageRow | BlockRow] = []
        for entry in saved["messages"]:
            message = _load_message(row, entry, leaving)
            row.messages[message.key.message_id] = message
            if message.local:
                row.unconfirmed[message.key.message_id] = message
        leaving += [_load_message(row, entry, leaving) for entry in saved["leaving"]]
        _below(row, row.messages.values())
        blocks = [block for message in row.messages.values() for block in message.blocks.values()]
        by_key = {block.key: block for block in blocks}
        closing = saved.get("closing")
        if closing is None:  # an older state, which does not say
            lasting = [block for block in blocks if block.closed_at >= 0 and block.seqs]
            lasting.sort(key=lambda block: block.closed_at)
            closing = [block.key[1:] for block in lasting]
        for message_id, block_index in closing:
            key = PartKey(row.id, message_id, _checked(is_block_index, block_index))
            row.closing[key] = (by_key[key], by_key[key].closed_at)
    return row, leaving


def _load_message(
    session: SessionRow, entry: Any, leaving: list[MessageRow | BlockRow]
) -> MessageRow:
    key = MessageKey(session.id, _checked(is_id, entry["id"]))
    message = MessageRow(key=key, session=session)
    _load(message, entry)
    for part in entry["blocks"]:
        block = _load_block(message, part)
        message.blocks[block.key.block_index] = block
        if part["held_back"]:
            session.withheld[block.key] = block
        call_id = part.get("call")
        if call_id is not None:
            _typed(call_id, str)
        elif block.exists:  # an older state, which does not say
            call_id = block.fields.values.get("callId")
        if call_id and isinstance(call_id, str):
            session.calls[call_id] = block
            block.call_id = call_id
    leaving += [_load_block(message, part) for part in entry["leaving"]]
    _below(message, message.blocks.values())
    return message


def _below(row: SessionRow | MessageRow, rows: Iterable[MessageRow | BlockRow]) -> None:
    for below in rows:
        if below.exists > row.exists or (row.shown is None and below.shown is not None):
            raise TypeError("something exists, or is shown, below what is not")


def _load_block(message: MessageRow, part: Any) -> BlockRow:
    block = BlockRow(
        key=PartKey(*message.key, _checked(is_block_index, part["index"])), message=message
    )
    _load(block, part)
    if len(block.ops) != len(block.seqs):
        raise TypeError("a window whose operations are not its seqs")
    return block


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn what a broken state runs into, whatever it is, into `UnsupportedState`."""
    try:
        yield
    except UnsupportedState:
        raise
    except (
        AssertionError, AttributeError, LookupError, RecursionError, StreamStoreError, TypeError,
        ValueError,
    ) as error:  # fmt: skip
        raise UnsupportedState(f"this is no {what}: {error!r}") from error


def check_head(saved: Mapping[str, Any]) -> None:
    """Check the members of a saved store beside its sessions.

    Raises:
        TypeError: one has the wrong type or value.
    """
    _checked(lambda value: value is None or is_id(value), saved["generation"])
    for generation in _typed(saved.get("generations", []), list):
        _checked(is_id, generation)
    _checked(is_id, saved["protocol"])
    _checked(DELIVERIES.__contains__, saved["delivery"])
    _checked(is_number, saved["tick"])
    _checked(is_number, saved["epoch"])
    _checked(is_number, saved["ids"])
    for key, seq, place, events, event_id, *age in saved["holes"]:
        _checked(lambda key: type(key) is list and len(key) in (1, 3), key)
        _integers(seq, place)
        _integers(*age)
        _checked(lambda age: len(age) in (2, 3), age)
        _checked(is_number, events)
        _typed(event_id, str)
    for kind, reason, number in saved["counts"]["verdicts"]:
        _checked(is_id, kind)
        _typed(reason, str)
        _checked(is_number, number)
    for name in ("characters", "held", "work"):
        _checked(_table(_is(str), _is(int)), _typed(saved["counts"][name], dict))
    for item in [*saved["resync"], *saved["resync"].values()]:
        _checked(is_id, item)
    for protocol, sessions in _typed(saved["memory"], dict).items():
        for item in (protocol, *_typed(sessions, dict)):
            _checked(is_id, item)
        for memory in sessions.values():
            _typed(memory, dict)
    for stream in saved["streams"]:
        _typed(stream, dict)
        _typed(stream["memory"], dict)
        for name in ("stopped", "ended", "default"):
            _typed(stream[name], bool)
        _checked(lambda value: value is None or is_id(value), stream["sessionId"])
        _checked((None, *SEQUENCINGS).__contains__, stream["sequencing"])
        _checked(is_number, stream["epoch"])
        for name in stream["sessions"]:
            _checked(is_id, name)
        _checked(lambda value: value is None or is_id(value), stream["protocol"])
        _checked(is_number, stream["events"])
        _typed(stream["eventId"], str)
        began_at, began_behind = stream["began"]
        _checked(is_number, began_at)
        _checked(is_number, stream["token"])
        _typed(began_behind, str)
        for session_id, message_id, block_index in stream["streaming"]:
            _checked(is_id, session_id)
            _checked(is_id, message_id)
            _checked(is_block_index, block_index)


def check_shown(ids: Any, rows: Iterable[SessionRow]) -> None:
    """Check which sessions are to be shown: those that were, each once.

    Raises:
        TypeError: they are others.
    """
    shown = {row.id for row in rows if row.shown is not None}
    _checked(lambda ids: set(ids) == shown and len(ids) == len(shown), _typed(ids, list))


def save_gaps(gaps: Iterable[Gap]) -> list[Any]:
    """What was known to be missing at the last tick, as plain JSON."""
    return [[*gap[:4], [list(pair) for pair in gap.missing]] for gap in gaps]


def load_gaps(saved: Any) -> list[Gap]:
    """The gaps that `save_gaps` wrote.

    Raises:
        TypeError, ValueError: the value is something else.
    """
    gaps = []
    for session_id, message_id, block_index, reason, missing in saved:
        _checked(is_id, session_id)
        if message_id is not None or block_index is not None:
            _checked(is_id, message_id)
            _checked(is_block_index, block_index)
        pairs = tuple(
            (_checked(is_number, start), _checked(is_number, stop)) for start, stop in missing
        )
        gaps.append(Gap(session_id, message_id, block_index, _checked(is_id, reason), pairs))
    return gaps


def _checked(accepts: Callable[[Any], bool], value: Any) -> Any:
    if not accepts(value):
        raise TypeError(f"not {value!r:.80}")
    return value


def _typed(value: Any, *types: type) -> Any:
    return _checked(lambda value: type(value) in types, value)


def _integers(*values: Any) -> None:
    for value in values:
        _typed(value, int)


def _save(row: AnyRow) -> dict[str, Any]:
    saved: dict[str, Any] = {}
    for attribute in attrs.fields(type(row)):
        if attribute.name not in _DERIVED and not (
            attribute.name == "ids" and isinstance(row, BlockRow)
        ):
            value = getattr(row, attribute.name)
            if not _is_default(attribute, value):
                saved[attribute.name] = _dump(value)
    if row.stood is not None and row.stood[2]:
        token, events, event_id, seq = row.stood
        # The ids are the server's, whoever brings what follows.
        saved["stood"] = [token, max(events, -1 - events), event_id, seq]
    return saved


def _is_default(attribute: Any, value: Any) -> bool:
    default = attribute.default
    if not isinstance(default, int | float | str | None):
        return isinstance(value, list | dict) and not value
    return type(default) is type(value) and bool(default == value)


def _load(row: AnyRow, saved: dict[str, Any]) -> None:
    names = {attribute.name for attribute in attrs.fields(type(row))}
    for name, value in saved.items():
        if name in names and name not in _DERIVED and name not in ("id", "waiting"):
            default, value = getattr(row, name), _undump(value)
            types = _NULLABLE.get(name, ()) if default is None else (type(default),)
            if types:
                _typed(value, *types)
            if type(value) is int and name not in ("order", "placed"):
                _checked(_is_mark, value)
            if name in _HOLD:
                _checked(_HOLD[name], value)
            if name == "shown":
                _checked(_SHOWN[type(row)], value)
            setattr(row, name, value)
    if "stood" in saved:
        token, events, event_id, seq = saved["stood"]
        for number in (token, events, 0 if seq == -1 else seq):  # -1: before its first
            _checked(is_number, number)
        row.stood = (token, -1 - events, _typed(event_id, str), seq)


def _dump(value: Any) -> Any:
    """Plain JSON for a value of a row; what is not JSON becomes `{"~kind": ...}`.

    Nothing of it is the row's own: a saved state stays what it was while the store goes on.
    """
    if isinstance(value, TextCell):
        return {
            "~cell": {
                "source": value.source.raw(),
                # JSON joins halves that stand side by side; the length says that they were two.
                "pending": [pair_surrogates(piece) for piece in value.pending],
                **{
                    name: getattr(value, name)
                    for name in ("cut", "length", "base", "carry", "replaced", "ready", "streams")
                },
            }
        }
    if isinstance(value, FieldMarks):
        marks = [dict(value.seqs), value.whole, value.bound]
        return {"~fields": [thaw(value.values), *marks, thaw(value.hidden)]}
    if isinstance(value, Intervals):
        return {"~intervals": [list(value.starts), list(value.ends), value.lost]}
    if isinstance(value, EventIds):
        return {"~ids": [value.size, *value.listed()]}
    if isinstance(value, Request):
        return {"~request": {**attrs.asdict(value, recurse=False), "payload": thaw(value.payload)}}
    if attrs.has(type(value)):
        members, others = split_event(value)
        return {"~event": [members, thaw(others)]}
    if isinstance(value, tuple):
        return {"~tuple": [_dump(item) for item in value]}
    if isinstance(value, FrozenDict):
        return {"~json": thaw(value)}
    if isinstance(value, dict):
        return {"~table": [[_dump(key), _dump(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [_dump(item) for item in value]
    return value


def _undump(value: Any) -> Any:
    """The value of a row again; a copy: one saved state may be loaded by several stores."""
    if isinstance(value, list):
        return [_undump(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "~cell":
        cell = TextCell(source=GrowingText(_typed(inner["source"], str)))
        cell.pending = [_typed(piece, str) for piece in inner["pending"]]
        cell.cut = _checked(lambda cut: cut is None or is_number(cut), inner["cut"])
        for name in ("length", "base", "carry", "replaced"):
            setattr(cell, name, _typed(inner[name], type(getattr(cell, name))))
        _checked(is_number, cell.length)
        # In older states a base may count a split surrogate pair twice that the text has joined.
        cell.base = min(_checked(is_number, cell.base), cell.length)
        _checked(_is_mark, cell.replaced)
        if not (cell.cut or 0) <= cell.source.length:
            raise TypeError("a text that is shorter than what is cut of it")
        # Which older states do not say.
        cell.streams = _typed(inner.get("streams", True), bool)
        cell.ready = _typed(inner.get("ready", -1), int)
        if not -1 <= cell.ready <= len(cell.pending):
            raise TypeError("more was let go than waits")
        return cell
    if kind == "~fields":
        values, seqs, whole, bound, hidden = inner
        _integers(whole, bound, *seqs.values())
        frozen = freeze(_typed(values, dict))
        return FieldMarks(frozen, dict(seqs), whole, bound, dict(freeze(hidden)))
    if kind == "~intervals":
        starts, ends, lost = inner
        _integers(lost, *starts, *ends)
        if len(starts) != len(ends):
            raise TypeError("intervals without an end")
        return Intervals(list(_typed(starts, list)), list(_typed(ends, list)), lost)
    if kind == "~ids":
        size, young, old = inner
        for event_id in (*_typed(young, list), *_typed(old, list)):
            _checked(is_id, event_id)
        return EventIds.of(_typed(size, int), list(young), list(old))
    if kind == "~request":
        return Request(**{**inner, "payload": freeze(inner["payload"])})
    if kind == "~event":
        members, others = inner
        return join_event(members, freeze(_typed(others, dict)))
    if kind == "~tuple":
        return tuple(_undump(item) for item in inner)
    if kind == "~json":
        return freeze(inner)
    if kind == "~table":
        return {_undump(key): _undump(item) for key, item in inner}
    raise UnsupportedState(f"unknown kind of saved value {kind!r}")
