"""The steps of a UI message, and parts that are taken back.

Knows where a step begins, and what is remembered of parts by their index; not what a part holds,
but the approval that a tool's part asks for.

Sources: the reader of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...events import BlockRemoved, Event
from ..bounded import remember
from ..members import Members
from .memory import ORDERS, STREAMED, Memory, all_tools, without
from .parts import answer_of
from .wholes import whole_part
from .writing import Writing


class Steps:
    """The steps of a message.

    Args:
        writing: the message that the stream writes.
    """

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def started(self, wire: Members) -> Sequence[Event]:
        """A step begins, with a part that says so."""
        memory, events = self._writing.write()
        events.append(whole_part(memory, {"type": "step-start"}))
        if not self._writing.visits:
            memory["from"] = memory["next"]
        return events

    def finished(self, wire: Members) -> Sequence[Event]:
        """A step is over, which changes nothing."""
        return ()

    def reset(self, wire: Members) -> Sequence[Event]:
        """What the present step made is taken back."""
        memory = self._writing.look()
        if memory is None:
            return ()
        memory, events = self._writing.write()
        for table in ("text", "reasoning", "inputs"):
            memory[table].clear()
        for kind in STREAMED:
            memory["ended"][kind].clear()
        self._writing.keys.clear()
        first = memory["from"]
        memory["from"] = memory["next"]
        return [*self.take_back(memory, first, memory["next"]), *events]

    def take_back(self, memory: Memory, first: int, end: int) -> list[Event]:
        """Remove the parts of a message from one to before another."""
        events: list[Event] = []
        gone = range(first, end)
        if "visits" in memory:
            memory["visits"] = [step for step in memory["visits"] if step - 1 not in gone]
        for tool in all_tools(memory):
            if tool["index"] in gone:
                events += answer_of(tool["fields"].get("approval"), unanswered=True)
        memory["tools"] = without(memory["tools"], gone)
        memory["data"] = {
            kind: kept
            for kind, ids in memory["data"].items()
            if (kept := {name: index for name, index in ids.items() if index not in gone})
        }
        if first < end:
            dropped = self._writing.shared()["dropped"]
            ranges: list[list[int]] = []
            for low, high in sorted([*dropped.pop(memory["id"], ()), [first, end]]):
                if ranges and low <= ranges[-1][1]:
                    ranges[-1][1] = max(high, ranges[-1][1])
                else:
                    ranges.append([low, high])
            remember(dropped, memory["id"], ranges, ORDERS)
        removed = [
            BlockRemoved(message_id=memory["id"], block_index=index) for index in range(first, end)
        ]
        return [*removed, *events]
