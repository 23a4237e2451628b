"""Which messages and parts of an opencode V2 session there are, and what they sort by.

Of what is remembered of a session: `messages`, `parts`, the order of those seen; `waiting`, when
prompts were admitted that are not delivered. Gives the others their tables, and knows nothing of
what is in them; no type of event.

Sources: as for `opencode_v2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...events import Event, MessageClosed, MessageOpened, MessageUpdated, Snapshot
from ...keys import BlockIndex, message_order
from ..base import Context
from ..bounded import remember
from ..members import Members
from .beginnings import At
from .reads import PER_MS, in_place
from .told import Told

#: How many running calls, parts and messages of a session are remembered.
CALLS, PARTS, MESSAGES = 256, 1024, 4096


class Known:
    """The messages and parts of the sessions that a stream speaks of.

    Args:
        context: what the adapter was given.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def memory(self, session: str) -> dict[str, Any]:
        """All that is remembered of a session, each table by who knows what is in it."""
        return self._context.of_session(session)

    def table(self, session: str, name: str) -> dict[str, Any]:
        """One of the tables of a session, to be changed."""
        found: dict[str, Any] = self.memory(session).setdefault(name, {})
        return found

    def restarted(self, session_id: str) -> dict[str, Any]:
        """The same of all, to look at, where the counter of a session is over."""
        found: dict[str, Any] = self._context.shared.get(session_id, {})
        return found

    # -- messages ------------------------------------------------------------------------------

    def saw(self, session: str, message_id: str, order: float | None) -> None:
        """There is such a message."""
        memory = self.memory(session)
        memory.get("waiting", {}).pop(message_id, None)
        remember(memory.setdefault("messages", {}), message_id, order, MESSAGES)

    def admitted(self, session: str, message_id: str, time: float | None) -> None:
        """There is such a prompt, and no message of it yet."""
        memory = self.memory(session)
        if message_id not in memory.get("messages", {}):
            remember(memory.setdefault("waiting", {}), message_id, time, MESSAGES)

    def message(
        self,
        told: Told,
        message_id: str,
        role: str,
        info: Members,
        closed: bool = True,
        order: float | None = None,
    ) -> list[Event]:
        """The opening of a message, and its close where it comes at once."""
        order = told.time if order is None else order
        self.saw(told.session, message_id, order)
        if told.time is not None:
            info = {"time": {"created": told.time}, **info}
        events: list[Event] = [
            MessageOpened(**told.first, message_id=message_id, role=role, order=order, info=info)
        ]
        if closed:
            events.append(MessageClosed(session_id=told.session, message_id=message_id))
        return events

    def place(self, session: str, message_id: str) -> tuple[int | float | str, ...]:
        """What a message sorts by."""
        return message_order(self.table(session, "messages").get(message_id), message_id)

    def taken_back(self, told: Told, target: str) -> list[str]:
        """Forget the messages that a revert to `target` removes; which ones."""
        memory = self.memory(told.session)
        seen, waiting = memory.get("messages", {}), memory.get("waiting", {})
        # The id of a prompt is as old as its admission: all that is known of an unknown target.
        places = {**seen, **waiting} if target in seen else {}
        edge = message_order(places.get(target), target)
        gone = sorted(
            one
            for one in (*seen, *waiting)
            # The dialect of 1.x keeps the target; in the next one it goes as well.
            if message_order(places.get(one), one) > edge or (told.next and one == target)
        )
        for message_id in gone:
            seen.pop(message_id, None)
            waiting.pop(message_id, None)
        return gone

    # -- parts ---------------------------------------------------------------------------------

    def order(
        self, told: Told, message_id: str, index: BlockIndex, at: At | None = None
    ) -> float | None:
        """What a part sorts by that an event begins, or that began `at`."""
        seq, time = (told.seq, told.time) if at is None else at
        order = time if seq is None else seq
        if order is not None:
            parts = self.table(told.session, "parts")
            remember(parts, f"{message_id}\n{index}", order, PARTS)
        return order

    # -- reads ---------------------------------------------------------------------------------

    def order_read(self, session: str, snapshot: Snapshot) -> None:
        """Give the messages of a read the places that they are known to have."""
        known = self.memory(session).get("messages", {})
        in_place(snapshot.messages, known, snapshot.complete and snapshot.before is None)

    def were_read(self, session: str, messages: Sequence[Members]) -> None:
        """There are such messages, whose parts sort as they are known to."""
        parts = self.table(session, "parts")
        for message in messages:
            self.saw(session, message["id"], message.get("order"))
            place = -1.0
            for part in message["parts"]:
                # Its number in the message is less than any seq that a part of it begins with.
                key = f"{message['id']}\n{part['blockIndex']}"
                if key in parts:
                    part["order"] = parts[key]
                elif part.get("order", place + 1) <= place:
                    part["order"] = place + 1 / PER_MS
                place = part.get("order", place)


def count_for(told: Told) -> tuple[MessageUpdated, str]:
    """What takes the number of an event about a block; the message it belongs to."""
    message_id = told.id("assistantMessageID")
    return MessageUpdated(**told.first, message_id=message_id, role="assistant"), message_id
