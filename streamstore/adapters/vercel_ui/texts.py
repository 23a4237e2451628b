"""Text and reasoning of a UI message, which stream under an id of theirs.

Knows which part such an id names, and named before it ended; no tool, no step, nothing whole.

Sources: the reader of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...events import BlockClosed, BlockDelta, BlockOpened, BlockUpdated, Event
from ...keys import PartKey
from ..base import Context
from ..bounded import remember
from ..members import Members
from .memory import Memory, take_index
from .parts import WIRE, given
from .writing import Writing

# Ids of a message that have ended, kept for deltas that come behind their end all the same.
_ENDED = 16


class Texts:
    """The texts and the reasoning of a message.

    Args:
        context: what the adapter was given.
        writing: the message that the stream writes.
    """

    def __init__(self, context: Context, writing: Writing) -> None:
        self._context = context
        self._writing = writing

    def text_started(self, wire: Members) -> Sequence[Event]:
        """A text begins."""
        return self._start("text", wire)

    def text(self, wire: Members) -> Sequence[Event]:
        """More of a text."""
        return self._append("text", wire)

    def text_ended(self, wire: Members) -> Sequence[Event]:
        """A text is whole."""
        return self._end("text", wire)

    def reasoning_started(self, wire: Members) -> Sequence[Event]:
        """Reasoning begins."""
        return self._start("reasoning", wire)

    def reasoning(self, wire: Members) -> Sequence[Event]:
        """More of a reasoning."""
        return self._append("reasoning", wire)

    def reasoning_ended(self, wire: Members) -> Sequence[Event]:
        """A reasoning is whole."""
        return self._end("reasoning", wire)

    def _opened(self, kind: str, wire: Members, memory: Memory) -> BlockOpened:
        """The opening of the next part, which the id names from now on."""
        name = wire["id"]
        index = take_index(memory)
        self._writing.keys.pop(memory[kind].get(name, -1), None)
        memory["ended"][kind].pop(name, None)
        memory[kind][name] = index
        self._writing.keys[index] = PartKey(self._context.session_id, memory["id"], index)
        fields: Members = {"state": "streaming", **given(wire, "providerMetadata")}
        if kind == "reasoning":
            fields[WIRE] = {"id": name}
        return BlockOpened(message_id=memory["id"], block_index=index, kind=kind, fields=fields)

    def _start(self, kind: str, wire: Members) -> Sequence[Event]:
        memory, events = self._writing.write()
        return [*events, self._opened(kind, wire, memory)]

    def _append(self, kind: str, wire: Members) -> Sequence[Event]:
        memory = self._writing.look()
        name, text = wire["id"], wire["delta"]
        index = None if memory is None else memory[kind].get(name)
        if index is None:
            self._writing.refuse(f"{kind}-delta for {name[:80]!r}, which is not open")
        memory, events = self._writing.write()
        if index is None:
            index = memory["ended"][kind].get(name)
        if index is None:
            # Its start is missing, and maybe text: the delta comes first, so that the part says so.
            opened = self._opened(kind, wire, memory)
            delta = BlockDelta(message_id=memory["id"], block_index=opened.block_index, text=text)
            return [*events, delta, opened]
        if name in memory[kind] and index not in self._writing.keys:
            self._writing.keys[index] = PartKey(self._context.session_id, memory["id"], index)
        events.append(BlockDelta(message_id=memory["id"], block_index=index, text=text))
        fields = given(wire, "providerMetadata")
        if fields:
            events.append(BlockUpdated(message_id=memory["id"], block_index=index, fields=fields))
        return events

    def _end(self, kind: str, wire: Members) -> Sequence[Event]:
        memory = self._writing.look()
        name = wire["id"]
        index = None if memory is None else memory[kind].get(name)
        if index is None:
            self._writing.refuse(f"{kind}-end for {name[:80]!r}, which is not open")
            return ()
        memory, events = self._writing.write()
        del memory[kind][name]
        self._writing.keys.pop(index, None)
        remember(memory["ended"][kind], name, index, _ENDED)
        fields = {"state": "done", **given(wire, "providerMetadata")}
        if kind == "text":
            fields |= given(wire, "citations")
        at: Members = {"message_id": memory["id"], "block_index": index}
        return [*events, BlockUpdated(fields=fields, **at), BlockClosed(**at)]
