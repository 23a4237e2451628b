"""How a response of a UI message stream begins and ends, and the metadata of its message.

Knows what a start says of who is written, and the ends; nothing of what the message holds, but
whether it waits for this client.

Sources: the readers of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...events import Event, MessageClosed, MessageUpdated, SessionError, SessionStatus
from ...model import Json, thaw
from ..base import Context
from ..members import Members
from ..retold import is_retold
from .memory import Memory, merged_metadata, waits_for_client
from .writing import Writing

_FINISH_REASONS = frozenset("stop length content-filter tool-calls error interrupted other".split())


class Lifecycle:
    """Starts and ends of responses.

    Args:
        context: what the adapter was given.
        writing: the message that the stream writes.
    """

    def __init__(self, context: Context, writing: Writing) -> None:
        self._context = context
        self._own = context.own
        self._writing = writing

    def start(self, wire: Members) -> Sequence[Event]:
        """A response begins, or goes on with a message."""
        message_id = wire.get("messageId") or None  # an empty one names nothing
        metadata = wire.get("messageMetadata")
        own = self._own
        busy = SessionStatus(status="busy")
        if "anew" in own:
            own.clear()
            own["replays"] = True
        memory = None
        # A start of another id is no matter of who writes the message of before.
        if "target" in own or ("message" in own and message_id in (None, own["message"])):
            memory = self._writing.look()
        if memory is None and message_id is None and own.get("replays"):
            message_id = (self._context.shared.get(self._context.session_id) or {}).get("last")
        if memory is not None and message_id in (None, memory["id"]):
            own["begun"] = True
            if "message" not in own:
                self._writing.take_over(memory)
            return [*self._metadata(memory, metadata), busy]
        if message_id is None and metadata is None:
            own["begun"] = True  # there is no message before something is in it
            own.pop("target", None)
            shared = self._context.shared.get(self._context.session_id)
            if shared:
                shared["last"] = None  # what resumes it is not for the message before
            return [busy]
        own["begun"] = True
        before = own.get("message") or own.get("target")
        own.pop("target", None)
        if before and message_id != before:
            own["before"] = before
        _, events = self._writing.begin(message_id, metadata)
        return [*events, busy]

    def finish(self, wire: Members) -> Sequence[Event]:
        """A response is over."""
        reason = wire.get("finishReason")
        if reason is not None and reason not in _FINISH_REASONS:
            self._writing.refuse(f"unknown finish reason {reason[:80]!r}")
        metadata = wire.get("messageMetadata")
        memory = self._writing.look()
        idle = SessionStatus(status="idle")
        if memory is None and metadata is None:
            return [idle]
        memory, events = self._writing.write()
        info: Members = {} if reason is None else {"finishReason": reason}
        events += self._metadata(memory, metadata, info)
        memory["finished"] = True
        if not waits_for_client(memory):
            memory["closed"] = True
            events.append(MessageClosed(message_id=memory["id"]))
        return [*events, idle]

    def message_metadata(self, wire: Members) -> Sequence[Event]:
        """Metadata of the message."""
        metadata = wire.get("messageMetadata")
        if metadata is None:
            return ()
        memory, events = self._writing.write()
        return [*events, *self._metadata(memory, metadata)]

    def _metadata(self, memory: Memory, metadata: Json, info: Members | None = None) -> list[Event]:
        info = {} if info is None else info
        if metadata is not None:
            memory["metadata"] = merged_metadata(memory.get("metadata"), thaw(metadata))
            info["metadata"] = memory["metadata"]
        return [MessageUpdated(message_id=memory["id"], info=info)] if info else []

    def abort(self, wire: Members) -> Sequence[Event]:
        """A response was stopped."""
        return self._ended("aborted", wire.get("reason"))

    def error(self, wire: Members) -> Sequence[Event]:
        """A response failed."""
        text = wire["errorText"]
        self._writing.refuse(f"the server says: {text}")
        error = {"name": "Error", "message": text}
        events = self._ended("error", error)
        memory = self._writing.mine()
        if memory is not None:
            told: Memory = self._writing.shared().setdefault("told", {})
            if is_retold(told, memory["id"], memory.get("delivery", 0), text):
                return events  # the message is built anew, what the session was told stands
        return [SessionError(error=error), *events]

    def _ended(self, status: str, error: Json) -> list[Event]:
        events: list[Event] = []
        memory = self._writing.look() if "message" in self._own else None
        if memory is not None:
            memory["finished"] = memory["closed"] = True
            events.append(MessageClosed(message_id=memory["id"], status=status, error=error))
        return [*events, SessionStatus(status="idle")]
