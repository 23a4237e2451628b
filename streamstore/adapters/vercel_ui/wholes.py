"""Parts of a UI message that come whole: files, sources, custom ones, and data by its id.

Knows the members of those chunks; nothing that streams, no tool and no step.

Sources: the reader of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...events import BlockReplaced, BlockUpdated, Event
from ..members import Members
from .memory import Memory, take_index
from .messages import read_part
from .parts import given
from .writing import Writing

#: Members of the parts that come whole.
WHOLE: Mapping[str, tuple[str, ...]] = {
    "source-url": ("sourceId", "url", "title", "providerMetadata"),
    "source-document": ("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "file": ("mediaType", "url", "providerMetadata"),
    "reasoning-file": ("mediaType", "url", "providerMetadata"),
    "custom": ("kind", "providerMetadata"),
    "steering-message": ("id", "parts"),
}


def whole_part(memory: Memory, part: Members) -> BlockReplaced:
    """The next part of a message, from a part as the client would make it."""
    facts = read_part(part, "")
    return BlockReplaced(
        message_id=memory["id"],
        block_index=take_index(memory),
        kind=facts.kind,
        whole=True,
        status="closed",
        fields=facts.fields,
    )


class Wholes:
    """The parts of a message that come whole.

    Args:
        writing: the message that the stream writes.
    """

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def take(self, wire: Members) -> Sequence[Event]:
        """A part that comes whole."""
        memory, events = self._writing.write()
        names = WHOLE[wire["type"]]
        return [*events, whole_part(memory, {"type": wire["type"], **given(wire, *names)})]

    def data(self, wire: Members) -> Sequence[Event]:
        """A part with data; one with an id takes the place of what that named."""
        if wire.get("transient"):
            return ()  # for the client's callback alone
        memory, events = self._writing.write()
        kind, name = wire["type"], wire.get("id")
        ids = memory["data"].get(kind, {})
        if name is not None and name in ids:
            fields = {"data": wire.get("data")}
            at: Members = {"message_id": memory["id"], "block_index": ids[name]}
            return [*events, BlockUpdated(fields=fields, **at)]
        part = {
            member: value
            for member, value in wire.items()
            if value is not None or member not in ("id", "transient")
        }
        event = whole_part(memory, part)
        if name is not None:
            memory["data"].setdefault(kind, {})[name] = event.block_index
        return [*events, event]
