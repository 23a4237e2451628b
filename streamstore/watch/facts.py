"""What one event says about itself: its type, what it belongs to, its seq, and a word of its text.

A second instance of the protocol's adapter reads what the stream's own one reads, so that the
facts are in the store's terms whatever the wire calls them. Total: an event that nobody can read
has facts, too. Knows bytes and canonical events; no store, verdict or screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..adapters.base import MAIN, Adapter, Context
from ..decoding import decode_json
from ..errors import MalformedEvent, StreamStoreError
from ..events import BlockDelta, BlockEvent, Event, MessageOpened, MessageUpdated, Snapshot
from ..framing import framing_of
from ..keys import BlockIndex
from ..protocols import adapter_named
from ..sse import EventStreamParser, SseLimits
from ..terminal import one_line
from ..transcript import summary

_BOM = b"\xef\xbb\xbf"
#: Characters of a type, an id and an excerpt that are kept, all on one line and safe to print.
TYPE_LENGTH = 80
EXCERPT_LENGTH = 120
#: Sessions beside `main` whose memory is kept for the adapters; over it the one that was named
#: longest ago goes. A store keeps as many removed ones (`Limits.removed_sessions`).
MOST_SESSIONS = 1024


@attrs.frozen
class Facts:
    """What an event says. Ids are as the wire has them; `type` and `excerpt` are safe to print.

    Attributes:
        type: its type on the wire, else that of the first canonical event it stands for.
        kinds: types of the canonical events it stands for, in order.
        session_id: the session it belongs to, `main` where the wire names none.
        message_id, block_index, seq, event_id: None where it has none.
        role: the role of a message that it opens, "" otherwise.
        deltas: how many deltas it stands for.
        characters: length of their text.
        excerpt: the start of its text, else of what it says (at most 120 characters).
        name: its event-stream type, "" for none.
    """

    type: str
    kinds: tuple[str, ...] = ()
    session_id: str | None = None
    message_id: str | None = None
    block_index: BlockIndex | None = None
    seq: int | None = None
    event_id: str | None = None
    role: str = ""
    deltas: int = 0
    characters: int = 0
    excerpt: str = ""
    name: str = ""


class FactsReader:
    """Reads the facts of the events of one stream after the other.

    Keeps what the store keeps for its adapters from stream to stream, so that made-up ids are the
    same here and there; of the last `MOST_SESSIONS` sessions and `main`. Costs what decoding the
    event costs.

    >>> reader = FactsReader()
    >>> facts = reader.read(b'data: {"type": "message.opened", "messageId": "m", "role": "user"}',
    ...                     "native")
    >>> facts.type, facts.message_id, facts.role
    ('message.opened', 'm', 'user')
    """

    def __init__(self) -> None:
        self._shared: dict[str, dict[str, dict[str, Any]]] = {}
        self._memory: dict[str, dict[str, Any]] = {}  # of the stream's protocol, by session
        self._made = 0
        self._adapter: Adapter | None = None
        self._waiting: list[Any] = []

    def restart(self) -> None:
        """The next event is that of a new stream."""
        self._adapter = None
        self._waiting = []

    def read(self, data: bytes, protocol: str | None) -> Facts | None:
        """The facts of a piece of a stream that holds one event; None where it holds none.

        Before the protocol is known they are what the wire says without it.
        """
        found = says(data)
        if found is None:
            return None
        text, name, event_id = found
        try:
            wire: Any = decode_json(text)
        except MalformedEvent:
            if protocol is not None and text in adapter_named(protocol).declaration.sentinels:
                return Facts(type=one_line(text, TYPE_LENGTH), name=name)
            return Facts(type="(no JSON)", excerpt=one_line(text, EXCERPT_LENGTH), name=name)
        if self._adapter is None and protocol is not None:
            self._adopt(protocol)
        if self._adapter is None:
            self._waiting.append((wire, name))
            events: list[Event] = []
        else:
            events = self._decode(wire, name)
        return _facts(wire, name, event_id or None, events)

    def _adopt(self, protocol: str) -> None:
        self._memory = self._shared.setdefault(protocol, {})
        context = Context(new_id=self._new_id, shared=self._memory)
        self._adapter = adapter_named(protocol)(context)
        waiting, self._waiting = self._waiting, []
        for wire, name in waiting:
            self._decode(wire, name)

    def _new_id(self) -> str:
        self._made += 1
        return f"local-{self._made}"

    def _decode(self, wire: Any, name: str) -> list[Event]:
        adapter = self._adapter
        assert adapter is not None
        if name and adapter.declaration.event_names:
            wire = {"event": name, "data": wire}
        events: list[Event] = []
        try:
            events += adapter.decode(wire)
        except (StreamStoreError, RecursionError):
            events.clear()  # the verdict says what is wrong with it
        memory = self._memory
        for session_id in dict.fromkeys(event.session_id or MAIN for event in events):
            if session_id in memory:
                memory[session_id] = memory.pop(session_id)
        while len(memory) > MOST_SESSIONS + (MAIN in memory):
            del memory[next(session_id for session_id in memory if session_id != MAIN)]
        return events


def says(data: bytes) -> tuple[str, str, str] | None:
    """What a piece of a stream says: its data, event-stream type and id; None without an event."""
    line = data.removeprefix(_BOM).strip()
    if line.startswith((b"{", b"[")):
        return line.decode("utf-8", "replace"), "", ""
    bound = max(1024, 2 * len(data))
    parser = EventStreamParser(SseLimits(line=bound, event=bound * 66))
    frames = parser.feed(data if data.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")) else data + b"\n\n")
    if frames:
        frame = frames[0]
        return frame.data, "" if frame.event == "message" else frame.event, frame.id
    first = line.split(b"\n", 1)[0].rstrip(b"\r")
    if not line or line.startswith(b":") or framing_of(first + b"\n") == "event stream":
        return None  # comments, or fields without data
    return line.decode("utf-8", "replace"), "", ""


# What a row shows elsewhere, or what only computers read.
_ELSEWHERE = frozenset("id type sessionId sessionID messageId messageID seq time event".split())
_WRAPPERS = ("properties", "payload", "data", "info", "part")


def _telling(wire: Any) -> Any:
    """The members of a wire object that tell something, without its envelopes."""
    for _ in range(3):
        if not isinstance(wire, dict):
            return wire
        inner = next((wire[name] for name in _WRAPPERS if isinstance(wire.get(name), dict)), None)
        if inner is None:
            break
        wire = inner
    return {name: value for name, value in wire.items() if name not in _ELSEWHERE}


def _role(event: Event) -> str:
    role = event.role if isinstance(event, MessageOpened) else None
    info = getattr(event, "info", None)
    if not role and isinstance(event, MessageUpdated) and isinstance(info, Mapping):
        role = info.get("role")
    return role if isinstance(role, str) else ""


def _facts(wire: Any, name: str, event_id: str | None, events: list[Event]) -> Facts:
    kind = wire.get("type") if isinstance(wire, dict) else None
    if not isinstance(kind, str):
        kind = name
    if not events:
        return Facts(
            type=one_line(kind or "(no type)", TYPE_LENGTH),
            excerpt=summary(_telling(wire), EXCERPT_LENGTH),
            event_id=event_id,
            name=name,
        )
    first = events[0]
    blocks = [event for event in events if isinstance(event, BlockEvent)]
    deltas = [event for event in blocks if isinstance(event, BlockDelta)]
    if deltas:
        text = "".join(event.text for event in deltas[:8])
    else:
        texts = (getattr(event, "text", None) for event in blocks)
        text = next((found for found in texts if found), "")
    owners = (getattr(event, "message_id", None) for event in events)
    message_id = next((owner for owner in owners if owner is not None), None)
    if message_id is None and isinstance(first, Snapshot) and len(first.messages) == 1:
        info = first.messages[0].get("info") or first.messages[0]
        message_id = info.get("id") if isinstance(info, dict) else None
    return Facts(
        type=one_line(kind or first.type, TYPE_LENGTH),
        kinds=tuple(event.type for event in events),
        session_id=first.session_id or MAIN,
        message_id=message_id,
        block_index=blocks[0].block_index if blocks else None,
        seq=next((event.seq for event in events if event.seq is not None), None),
        event_id=first.id or event_id,
        role="" if deltas else next(filter(None, map(_role, events)), ""),
        deltas=len(deltas),
        characters=sum(len(event.text) for event in deltas),
        excerpt=one_line(text or summary(_telling(wire), EXCERPT_LENGTH), EXCERPT_LENGTH),
        name=name,
    )
