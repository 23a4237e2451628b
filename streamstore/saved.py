"""Rows to plain JSON and back: one consistent cut of marks, shown text, and what waits.

The shape is the library's own and versioned; a state of another version is refused. Knows rows;
no stage, file or clock.
"""

from __future__ import annotations

from typing import Any

import attrs

from .cells import TextCell
from .errors import UnsupportedState
from .events import decode_event, encode_event
from .keys import MessageKey, PartKey
from .marks import EventIds, FieldMarks, Intervals
from .model import FrozenDict, Request, freeze, thaw
from .rows import BlockRow, MessageRow, SessionRow
from .text import GrowingText

VERSION = 1

#: Attributes that are made anew, or saved in a form of their own.
_DERIVED = frozenset(
    "key message session hots view messages_view parts_view shown_messages shown_parts blocks "
    "messages calls withheld dirty reshaped fresh holes_at session_id message_id index index_class "
    "waiting".split()
)


def save_session(row: SessionRow) -> dict[str, Any]:
    """A session with everything below it, as plain JSON. Linear in what it holds."""
    saved = _save(row)
    saved["id"] = row.id
    saved["waiting"] = [[token, _dump(event)] for token, event, _ in row.waiting]
    saved["messages"] = []
    for message in row.messages.values():
        entry = _save(message)
        entry["blocks"] = [
            {**_save(block), "index": index, "held_back": block.key in row.withheld}
            for index, block in message.blocks.items()
        ]
        entry["id"] = message.key.message_id
        saved["messages"].append(entry)
    return saved


def load_session(saved: Any, ids_size: int) -> SessionRow:
    """The rows of a saved session; `shown` says which of them are to be published again.

    Raises:
        UnsupportedState: the value is not what `save_session` wrote.
    """
    try:
        row = SessionRow(id=saved["id"], ids=EventIds(ids_size))
        _load(row, saved)
        row.waiting = [(token, _undump(event), None) for token, event in saved["waiting"]]
        for entry in saved["messages"]:
            message = MessageRow(key=MessageKey(row.id, entry["id"]), session=row)
            _load(message, entry)
            row.messages[entry["id"]] = message
            for part in entry["blocks"]:
                key = PartKey(row.id, entry["id"], part["index"])
                block = BlockRow(key=key, message=message)
                _load(block, part)
                message.blocks[part["index"]] = block
                if part["held_back"]:
                    row.withheld[key] = block
                call_id = block.fields.values.get("callId")
                if isinstance(call_id, str) and block.exists:
                    row.calls[call_id] = block
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnsupportedState(f"this is no saved session: {error!r}") from error
    return row


def _save(row: SessionRow | MessageRow | BlockRow) -> dict[str, Any]:
    saved: dict[str, Any] = {}
    for attribute in attrs.fields(type(row)):
        if attribute.name not in _DERIVED and not (
            attribute.name == "ids" and isinstance(row, BlockRow)
        ):
            value = getattr(row, attribute.name)
            if not _is_default(attribute, value):
                saved[attribute.name] = _dump(value)
    return saved


def _is_default(attribute: Any, value: Any) -> bool:
    default = attribute.default
    if not isinstance(default, int | float | str | None):
        return isinstance(value, list | dict) and not value
    return type(default) is type(value) and bool(default == value)


def _load(row: SessionRow | MessageRow | BlockRow, saved: dict[str, Any]) -> None:
    names = {attribute.name for attribute in attrs.fields(type(row))}
    for name, value in saved.items():
        if name in names and name not in _DERIVED and name not in ("id", "waiting"):
            setattr(row, name, _undump(value))


def _dump(value: Any) -> Any:
    """Plain JSON for a value of a row; what is not JSON becomes `{"~kind": ...}`."""
    if isinstance(value, TextCell):
        return {
            "~cell": {
                "source": value.source.raw(),
                "pending": list(value.pending),
                **{
                    name: getattr(value, name)
                    for name in ("cut", "length", "base", "carry", "replaced")
                },
            }
        }
    if isinstance(value, FieldMarks):
        return {"~fields": [thaw(value.values), value.seqs, value.whole]}
    if isinstance(value, Intervals):
        return {"~intervals": [value.starts, value.ends, value.lost]}
    if isinstance(value, EventIds):
        return {"~ids": [value.size, sorted(value.young), sorted(value.old)]}
    if isinstance(value, Request):
        return {"~request": attrs.asdict(value, recurse=False)}
    if attrs.has(type(value)):
        return {"~event": encode_event(value)}
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
    if isinstance(value, list):
        return [_undump(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "~cell":
        cell = TextCell(source=GrowingText(inner["source"]), pending=list(inner["pending"]))
        for name in ("cut", "length", "base", "carry", "replaced"):
            setattr(cell, name, inner[name])
        return cell
    if kind == "~fields":
        return FieldMarks(freeze(inner[0]), dict(inner[1]), inner[2])
    if kind == "~intervals":
        return Intervals(list(inner[0]), list(inner[1]), inner[2])
    if kind == "~ids":
        return EventIds(inner[0], set(inner[1]), set(inner[2]))
    if kind == "~request":
        return Request(**{**inner, "payload": freeze(inner["payload"])})
    if kind == "~event":
        return decode_event(inner)
    if kind == "~tuple":
        return tuple(_undump(item) for item in inner)
    if kind == "~json":
        return freeze(inner)
    if kind == "~table":
        return {_undump(key): _undump(item) for key, item in inner}
    raise UnsupportedState(f"unknown kind of saved value {kind!r}")
