"""Steps of an opencode V2 session, each a message of the assistant: begun, tried again, over.

Of what is remembered of a session: `steps`, which of them are at work, and the number that says so;
`retry`, one is waited for, and `retried`, the number of the last. Knows no text and no call.

Sources: as for `opencode_v2`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...events import (
    Event,
    MessageClosed,
    MessageRemoved,
    MessageUpdated,
    SessionStatus,
    SessionUpdated,
)
from ..bounded import remember
from ..members import Members, an_object, maybe_number, maybe_object
from .known import CALLS, Known
from .told import Told


class Steps:
    """The steps of a stream's sessions.

    Args:
        known: which messages there are.
    """

    def __init__(self, known: Known) -> None:
        self._known = known

    def restarted(self, session_id: str) -> None:
        """Forget what has a number of the counter that is over."""
        memory = self._known.restarted(session_id)
        memory.pop("retried", None)
        for step in memory.get("steps", {}).values():
            step["seq"] = None

    def retried(self, told: Told) -> Sequence[Event]:
        """A step failed and will be tried again."""
        error = an_object(told.body, "error", told.at)
        attempt = maybe_number(told.body, "attempt", told.at)
        at = maybe_number(told.body, "at", told.at)  # the next dialect says when
        message = error.get("message")
        memory = self._known.memory(told.session)
        # Sent again, behind the step that it led to, it is waited for no more.
        if told.seq is None or told.seq > memory.get("retried", -1):
            memory["retry"] = True
            memory["retried"] = -1 if told.seq is None else told.seq
        return (
            SessionStatus(
                **told.first,
                status="retry",
                attempt=attempt,
                message=message if type(message) is str else None,
                next=at,
                extra={"error": error},
            ),
        )

    def goes_on(self, told: Told) -> Sequence[Event]:
        """Something is done: a retry is waited for no more. In the next dialect a step that is
        tried again need not begin anew."""
        memory = self._known.memory(told.session)
        sent_again = told.seq is not None and told.seq < memory.get("retried", -1)
        if sent_again or not memory.pop("retry", None):
            return ()
        return (SessionStatus(session_id=told.session, status="busy"),)

    def started(self, told: Told) -> Sequence[Event]:
        """A step begins, which ends those before it that have no end."""
        message_id = told.id("assistantMessageID")
        info = told.given("agent", "model")
        if told.body.get("snapshot") is not None:
            info["snapshotStart"] = told.body["snapshot"]
        events = self._known.message(told, message_id, "assistant", info, closed=False)
        events += self.goes_on(told)
        place = self._known.place(told.session, message_id)
        for other, row in self._known.table(told.session, "steps").items():
            # A log that is sent again tells of steps before one that is at work.
            if row["open"] and self._known.place(told.session, other) < place:
                row["open"] = False
                events += self._cut_short(told, other)
        self._note(told, message_id, is_open=True)
        return events

    def over(self, told: Told) -> Sequence[Event]:
        """A step ended, or failed."""
        message_id = told.id("assistantMessageID")
        error = maybe_object(told.body, "error", told.at)
        info = told.given("finish", "cost", "tokens", "error")
        if error is not None:
            info.setdefault("finish", "error")  # as the server's own messages have it
        for ours, theirs in (("snapshotEnd", "snapshot"), ("snapshotFiles", "files")):
            if told.body.get(theirs) is not None:
                info[ours] = told.body[theirs]
        if told.time is not None:
            info["completed"] = told.time
        status = "completed" if error is None else "error"
        self._note(told, message_id, is_open=False)
        return (
            # How it ended has a number: after a retry the later end holds.
            MessageClosed(**told.first, message_id=message_id, status=status, error=error),
            MessageUpdated(
                session_id=told.session, message_id=message_id, role="assistant", info=info
            ),
        )

    def reverted(self, told: Told) -> Sequence[Event]:
        """The session is taken back to a message: what is behind it is gone."""
        gone = self._known.taken_back(told, told.id("messageID"))
        steps = self._known.memory(told.session).get("steps", {})
        for message_id in gone:
            steps.pop(message_id, None)
        removed = (MessageRemoved(session_id=told.session, message_id=one) for one in gone)
        return (SessionUpdated(**told.first, info={"revert": None}), *removed)

    def were_read(self, session: str, messages: Sequence[Members]) -> None:
        """What a read says of steps: what it has not seen the end of may have ended meanwhile."""
        steps = self._known.table(session, "steps")
        for message in messages:
            if message["role"] == "assistant":
                is_open = message["status"] == "open"
                if message["id"] in steps:
                    steps[message["id"]]["open"] &= is_open
                elif is_open:
                    remember(steps, message["id"], {"seq": None, "open": True}, CALLS)

    def _cut_short(self, told: Told, message_id: str) -> Sequence[Event]:
        """A step that was interrupted has no end of its own: for the server the next one ends it.

        Without a number, so that its own end holds where that is only late.
        """
        closed = MessageClosed(session_id=told.session, message_id=message_id)
        if told.time is None:
            return (closed,)
        info = {"completed": told.time}
        updated = MessageUpdated(session_id=told.session, message_id=message_id, info=info)
        return (closed, updated)

    def _note(self, told: Told, message_id: str, *, is_open: bool) -> None:
        steps = self._known.table(told.session, "steps")
        known = steps.get(message_id, {}).get("seq")
        if known is None or told.seq is None or told.seq > known:
            remember(steps, message_id, {"seq": told.seq, "open": is_open}, CALLS)
