"""Which message a UI message stream writes, and how it begins one or takes one over.

Of two streams that write one message only the latest counts; the other one learns it here. Holds
what the short way of a stream looks at. Knows messages by their ids and by what is remembered of
them; no chunk, and no part but by its index.

Sources: the readers of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

import math

from ...errors import ProtocolStopped, RepeatedEvent
from ...events import Event, MessageClosed, MessageOpened, MessageReset, MessageUpdated
from ...keys import PartKey
from ...model import Json, thaw
from ..base import Context
from ..bounded import remember
from ..members import Members
from .memory import MESSAGES, ORDERS, STREAMED, Memory, cut_off, new_memory, step_of
from .schema import INPUT_DELTA


class Writing:
    """The message that a stream writes.

    In the stream's own memory: `message` and `writer` (which message it writes, since when),
    `begun` (its first start came, or nothing that comes makes it one), `target` (the message that
    the request continues, empty for none), `before` (the one that it went on with before its start
    named another), `replays`, `repeats` (it is a replay: as the request says, or as it looks),
    `anew` (a state was read in its answer: a start right behind that is a replay's) and `early`
    (chunks before its start). Shared by the session: `messages` (of the last ones, what may
    still be written), `last` (the one that a stream without a request goes on with), `writers` (how
    often one was taken over), `order` and `orders` (where they stand), `dropped` (which parts were
    taken back), `told` (errors of messages).

    Args:
        context: what the adapter was given.

    Attributes:
        keys: the open parts that the short way knows, by index.
        open: what is open in the message, by chunk type and id.
        visits: a chunk before the start is shown in another one's message.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._own = context.own
        self.keys: dict[int, PartKey] = {}
        self.open: dict[str, dict[str, int]] = {}
        self.visits = False
        if self._is_past():
            self._own.clear()
        self.recall()

    def refuse(self, why: str) -> None:
        """Stop a strict stream where the client stops."""
        if self._context.strict:
            raise ProtocolStopped(why)

    def shared(self) -> Memory:
        """What the streams of this session share; made when it is not there."""
        shared = self._context.of_session()
        if not shared:
            shared.update(order=0, orders={}, last=None, writers=0, messages={}, dropped={})
        return shared

    def known(self) -> Memory:
        """The messages of this session that are remembered, by id."""
        shared = self._context.shared.get(self._context.session_id)
        return shared["messages"] if shared else {}

    def look(self) -> Memory | None:
        """The message that this stream writes, None where the next chunk begins one.

        Raises:
            RepeatedEvent: another stream took the message over, from its first chunk or from
                where this one stands.
        """
        own = self._own
        messages = self.known()
        if "message" in own:
            memory = messages.get(own["message"])
            if memory is None or memory["writer"] != own["writer"]:
                raise RepeatedEvent("another stream writes this message now")
            return memory  # type: ignore[no-any-return]
        if "target" in own:  # of the request
            return messages.get(own["target"])
        if "begun" in own or not messages:
            return None
        memory = messages.get(self.shared()["last"])
        if memory is None or memory["finished"]:
            return None
        # A replay goes on with no message; what no start has named yet is all the same to it.
        replays = own.get("replays") or own.get("repeats")
        return None if replays and "early" not in memory else memory

    def write(self) -> tuple[Memory, list[Event]]:
        """The message that this stream writes, and the events that begin it, if it is new."""
        memory = self.look()
        if memory is None:
            return self.begin(None)
        if "message" not in self._own and not self.visits:
            self.take_over(memory)
        return memory, []

    def mine(self) -> Memory | None:
        """The message that this stream began to write, while no other one took it over."""
        memory = self.known().get(self._own.get("message", ""))
        return memory if memory is not None and memory["writer"] == self._own["writer"] else None

    def _is_past(self) -> bool:
        """Whether what a saved stream left is of a message that another one has gone on with, or
        that was over when another one began the next: who comes now goes on with neither."""
        memory, last = self.mine(), self.shared()["last"] if self.known() else None
        return "message" in self._own and (
            memory is None or (memory["finished"] and last != memory["id"])
        )

    def take_over(self, memory: Memory) -> None:
        """Write a message from now on; a stream that did so before must not any more."""
        shared = self.shared()
        shared["writers"] += 1
        shared["last"] = memory["id"]
        memory["writer"] = self._own["writer"] = shared["writers"]
        memory["from"] = step_of(memory)
        memory.pop("visits", None)
        self._own["message"] = memory["id"]
        for table in (*STREAMED, "inputs"):
            before = memory[table]
            memory[table] = dict(before)
            before.clear()  # it is what the other stream's short way looks at
        self.recall()

    def recall(self) -> None:
        """Point the short way at the open parts of the message that this stream writes."""
        self.keys.clear()
        self.open.clear()
        memory = self.known().get(self._own.get("message", ""))
        if memory is None or "early" in self._own:
            return  # each chunk is kept until the start
        if memory["writer"] == self._own["writer"]:
            self.open.update({f"{kind}-delta": memory[kind] for kind in STREAMED})
            self.open[INPUT_DELTA] = memory["inputs"]

    def begin(self, message_id: str | None, metadata: Json = None) -> tuple[Memory, list[Event]]:
        """Begin a message, or begin one anew; with no id, one of this client's making."""
        shared = self.shared()
        made = message_id is None
        if message_id is None:
            message_id = self._context.new_id()
            for _ in range(ORDERS):  # ids are counted anew when a saved store is loaded
                if message_id not in shared["orders"]:
                    break
                message_id = self._context.new_id()
        messages = shared["messages"]
        before = messages.pop(message_id, None)
        if before is not None:
            cut_off(before)
        memory = new_memory(message_id)
        info: Members = {}
        if metadata is not None:
            memory["metadata"] = info["metadata"] = thaw(metadata)
        events: list[Event] = []
        order = shared["orders"].get(message_id)
        if order is None:
            order = shared["order"] = math.floor(shared["order"]) + 1
            remember(shared["orders"], message_id, order, ORDERS)
        if made:
            events.append(
                MessageOpened(message_id=message_id, role="assistant", order=order, info=info)
            )
        else:
            # Whether the store has it from somewhere is not known here; a reset costs nothing.
            events += (
                MessageUpdated(
                    message_id=message_id, role="assistant", order=order, info=info, whole=True
                ),
                MessageReset(message_id=message_id),
            )
        for other in messages.values():
            # It waited for this client, which went another way.
            if other["finished"] and not other["closed"]:
                other["closed"] = True
                events.append(MessageClosed(message_id=other["id"]))
        shared["dropped"].pop(message_id, None)
        remember(messages, message_id, memory, MESSAGES)
        self.take_over(memory)
        memory["delivery"] = memory["writer"]
        return memory, events
