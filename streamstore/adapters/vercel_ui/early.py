"""Chunks of a UI message stream before its first start: shown at once, kept, and moved by it.

Knows which chunks may be another message's, and how to tell a replay; not what a chunk does.

Sources: the readers of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from ...errors import RepeatedEvent
from ...events import Event, MessageRemoved
from ...model import thaw
from ..base import Context
from ..bounded import remember
from ..members import Members
from .apply import Chunks
from .memory import ORDERS, Memory, step_of
from .schema import is_data
from .wholes import WHOLE
from .writing import Writing

# Chunks before a stream's first start that may turn out to be another message's.
_EARLY = 256
# Chunks that open something, and those that are for what was opened.
_OPENING = frozenset(("text-start", "reasoning-start", "tool-input-start", "tool-input-available"))
_GOING_ON = frozenset(
    "text-delta text-end reasoning-delta reasoning-end tool-input-delta tool-output-available "
    "tool-output-error tool-output-denied tool-approval-request tool-approval-response".split()
)
# Chunks that say of a message what cannot be said again of another one.
_SETTLING = frozenset(("finish", "abort", "error"))


class Early:
    """What comes before a stream's first start.

    Args:
        context: what the adapter was given.
        writing: the message that the stream writes.
        chunks: what takes a chunk.
    """

    def __init__(self, context: Context, writing: Writing, chunks: Chunks) -> None:
        self._context = context
        self._own = context.own
        self._writing = writing
        self._chunks = chunks
        self._lifecycle, self._steps = chunks.lifecycle, chunks.steps

    def take(self, name: str, wire: Members) -> Sequence[Event]:
        """The events of a chunk that may be this stream's first start, or come before it.

        Which message a chunk before the start is for is known at the start, if one comes. Until
        then it is shown where it would be without one, and kept. A part that comes whole only
        visits a message that is there: who writes that goes on.
        """
        own = self._own
        early: Memory | None = own.get("early")
        if early is not None:  # a saved one may lack them
            early.setdefault("since", self._writing.shared()["writers"])
            early.setdefault("parts", [])
        if name == "start":
            return self._lifecycle.start(wire) if early is None else self._late_start(wire, early)
        if name == "data-" and wire.get("transient"):
            return ()  # it is in no message, and says nothing of which one the others are in
        if early is not None and "message" in own and self._writing.mine() is None:
            if len(early["chunks"]) < _EARLY:  # another stream goes on with the message
                early["chunks"].append(thaw(wire))
            return ()
        if early is None and "message" not in own and not own.get("target"):
            # What is refused below leaves no trace, a memory of the session neither.
            shared = self._context.shared.get(self._context.session_id) or {}
            last, since = shared.get("last"), shared.get("writers", 0)
            early = {"last": last, "since": since, "chunks": [], "parts": []}
        if early is not None and "message" not in own:
            self._tell_replay(name, wire, early)
        alone = name in WHOLE or name in ("data-", "start-step", "finish-step")
        memory = self._writing.look()
        first = 0 if memory is None else memory["next"]
        self._writing.visits = (
            early is not None and alone and memory is not None and "message" not in own
        )
        visits = self._writing.visits
        step = 0 if memory is None else memory["from"]
        if early is not None and memory is not None and not visits:
            memory["from"] = step_of(memory)
        try:
            events = self._chunks.apply(name, wire)
        finally:
            self._writing.visits = False
            if memory is not None and "message" not in own:
                memory["from"] = step
        if early is None or not (visits or "message" in own):
            return events
        if memory is None:
            memory = self._writing.known()[own["message"]]
            memory["early"] = []
        if visits and name == "start-step":
            # Its response may go on in another stream, which knows nothing of this one's.
            memory.setdefault("visits", []).append(memory["next"])
        if len(early["chunks"]) < _EARLY and (
            alone or ("early" in memory and not visits and name not in _SETTLING)
        ):
            own["early"] = early
            early["chunks"].append(thaw(wire))
            if first < memory["next"]:
                early["parts"].append([memory["id"], first, memory["next"]])
            if not visits:
                memory.get("early", []).append(early["chunks"][-1])
        else:
            own["begun"] = True  # it goes on with what is there
            own.pop("early", None)
            if not visits:
                memory.pop("early", None)
        self._writing.recall()
        return events

    def _tell_replay(self, name: str, wire: Members, early: Memory) -> None:
        """Whether a stream that has no start yet is a replay, which no message goes on with.

        It is not, whatever the request said, where its first chunk is for something open; it is,
        whatever was not said, where it brings again what came before the start of the message.
        That start had an id, so one without an id begins another one all the same.
        """
        own, chunks = self._own, early["chunks"]
        if not chunks and name in _GOING_ON:
            own.pop("replays", None)
        elif name in _OPENING:
            head = (self._writing.known().get(early["last"]) or {}).get("head", ())
            if head[: len(chunks) + 1] == [*chunks, wire]:
                own["repeats"] = True

    def _late_start(self, wire: Members, early: Memory) -> Sequence[Event]:
        """A stream's first start, behind chunks that are for the message that it names."""
        own, shared, messages = self._own, self._writing.shared(), self._writing.known()
        message_id: str | None = wire.get("messageId") or None
        if message_id is None and own.get("replays"):
            message_id = early["last"]
        named = messages.get(message_id or "")
        if (
            named is not None
            and named["writer"] > early["since"]
            and named is not self._writing.mine()
        ):
            raise RepeatedEvent("another stream writes this message now")
        chunks = early["chunks"]
        made = self._writing.mine()
        if made is not None and message_id is None:
            del own["early"]
            made.pop("early", None)
            self._writing.recall()
            return self._lifecycle.start(wire)
        if made is None:
            # Or it is a replay of a stream that ended before its start, of which nothing else is
            # there. Data with an id may have changed its parts alone, and added none.
            visited = (early["last"], *(name for name, _, _ in early["parts"]))
            for host in map(messages.get, visited):
                before = () if host is None else host.get("early", ())
                if before and all(map(operator.eq, before, chunks)):
                    made = host
        for name in ("early", "message", "writer", "target"):
            own.pop(name, None)
        events: list[Event] = []
        if made is not None:
            events.append(MessageRemoved(message_id=made["id"]))
            del messages[made["id"]]
            if shared["last"] == made["id"]:
                shared["last"] = early["last"]
            if message_id and message_id not in shared["orders"]:
                remember(shared["orders"], message_id, shared["orders"][made["id"]], ORDERS)
        for name, first, end in early["parts"]:
            if name != message_id and name in messages:
                events += self._steps.take_back(messages[name], first, end)
        events += self._lifecycle.start({"type": "start", "messageId": message_id})
        for chunk in chunks:
            kind = chunk["type"]
            events += self._chunks.apply("data-" if is_data(kind) else kind, chunk)
        events += self._lifecycle.message_metadata(wire)
        mine = self._writing.mine()
        if mine is not None:
            mine["head"] = chunks
        return events
