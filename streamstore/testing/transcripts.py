"""A store's transcript as plain text: everything a reader gets, for snapshots that people review.

Nothing is left out or shortened, nothing depends on the clock or on chance, and every control
character is escaped. Knows reads alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..model import Message, Part, Session
from ..pipeline import StreamStore
from ..terminal import escape, one_line


def transcript(store: StreamStore, session_id: str | None = None) -> str:
    """The sessions of a store, or one of them, as text; ends with a line end. Linear.

    >>> store = StreamStore("native")
    >>> delta = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": 1, "text": "hi"}
    >>> _ = store.ingest_many([delta])
    >>> print(transcript(store), end="")
    session main
      message m (open)
        text 0 (open)
          | hi
    """
    names = sorted(store.session_ids()) if session_id is None else [session_id]
    lines: list[str] = []
    for name in names:
        session = store.session(name)
        if session is not None:
            lines += _session(store, session)
    return "".join(f"{line}\n" for line in lines)


def _session(store: StreamStore, session: Session) -> Iterator[str]:
    yield f"session {_line(session.id)}" + (" (gap)" if session.gap else "")
    if session.status is not None:
        yield f"  status {_line(session.status.type)}"
    title = session.info.get("title")
    if isinstance(title, str):
        yield f"  title {_line(title)}"
    for message in store.messages(session.id):
        yield from _message(message)
        for part in store.parts(session.id, message.id):
            yield from _part(part)
    for what, requests in (("permission", session.permissions), ("question", session.questions)):
        for request in requests.values():
            yield f"  {what} {_line(request.id)} {_json(request.payload)}"
    for what, value in (("todo", session.todo), ("diff", session.diff), ("state", session.state)):
        if value:
            yield f"  {what} {_json(value)}"
    for error in session.errors:
        yield f"  error {_json(error)}"


def _message(message: Message) -> Iterator[str]:
    said = [message.status, *(["local"] if message.local else [])]
    role = _line(message.role or "message")
    yield f"  {role} {_line(message.id)} ({', '.join(said)})"
    if message.error is not None:
        yield f"    error {_json(message.error)}"


def _part(part: Part) -> Iterator[str]:
    said: list[str] = [part.status]
    said += [name for name in ("gap", "previous") if getattr(part, name)]
    tool = part.tool
    named = "" if tool is None else f" {_line(tool.name or '')}: {_line(tool.status)}"
    yield f"    {_line(part.kind)} {_line(str(part.block_index))}{named} ({', '.join(said)})"
    if tool is not None:
        for what, value in (("input", tool.input), ("output", tool.output), ("error", tool.error)):
            if value is not None:
                yield from _text(value if isinstance(value, str) else _json(value), what)
    for field in part.others:
        yield from _text(part.field_text(field), field)
    if part.text:
        yield from _text(part.text)


def _text(text: str, name: str = "") -> Iterator[str]:
    head = f"{_line(name)} " if name else ""
    for line in escape(text).split("\n"):
        yield f"      {head}| {line}"


def _line(text: str) -> str:
    return one_line(text, 10_000)


def _json(value: Any) -> str:
    return _line(json.dumps(value, ensure_ascii=False, sort_keys=True))
