"""AG-UI activities: messages whose `content` is an object, which patches apply to.

The content is remembered with the message. Knows no text, no call and no snapshot of messages.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from ...events import BlockReplaced, Event
from ...jsonpatch import apply_patch, need_patches
from ...model import Json, thaw
from ..base import Context
from ..members import Members
from .known import Known
from .messages import CONTENT, activity_fields, picked
from .runs import Runs


class Activities:
    """The activities of a thread.

    Args:
        context: what the adapter was given.
        runs: the run that the stream delivers.
        known: the messages of the thread.
    """

    def __init__(self, context: Context, runs: Runs, known: Known) -> None:
        self._context = context
        self._runs = runs
        self._known = known

    def snapshot(self, event: Members) -> list[Event]:
        """An activity comes whole."""
        message_id = event["messageId"]
        record, known = self._known.messages.get(message_id), self._known.role(message_id)
        replace = event.get("replace", True)
        events: list[Event] = []
        at = None
        if known is not None and known != "activity":
            if not replace:
                return []
            at = self._known.order.index(message_id)
            events.append(self._known.remove(message_id))
            record = None
        if record is None:
            record = self._known.add(message_id, "activity", {}, at)
            replace = True
        elif record["run"] == self._runs.id and not self._runs.is_rebuilt(message_id):
            replace = True  # this is what made it
            record["info"] = {}
        self._known.open(message_id)
        if replace:
            kept = picked(record["info"], "metadata")
            record["info"] = {**picked(event, "activityType", "subagentRunId"), **kept}
            self.learn(record, event[CONTENT])
            self._runs.holds_none(record)
        self._known.merged(message_id, record, event)
        return [
            *events,
            self._known.updated(message_id, record),
            self.shown(message_id, record),
        ]

    def delta(self, event: Members) -> list[Event]:
        """A patch of an activity. Without the package that patches need, `MissingExtra`."""
        message_id = event["messageId"]
        record = self._known.messages.get(message_id)
        if record is None or record["role"] != "activity":
            return []
        need_patches(self._runs.session_id)
        content = {} if record[CONTENT] is None else record[CONTENT]  # a patch removed all of it
        if not self._runs.new(message_id, record, 1):
            return []  # it holds it
        patched = apply_patch(content, event["patch"], self._context.limits)
        events = self._known.merged(message_id, record, event)  # whether or not the patch fits
        if patched is None:
            return events or self._known.refused(message_id)
        record[CONTENT] = thaw(patched[0])
        if record["info"]["activityType"] != event["activityType"]:
            record["info"]["activityType"] = event["activityType"]
            events = [self._known.updated(message_id, record)]
        return [*events, self.shown(message_id, record)]

    def learn(self, record: Members, content: Json) -> None:
        """Remember the content of one that came whole."""
        record[CONTENT] = thaw(content)

    def shown(self, message_id: str, record: Members) -> BlockReplaced:
        """An activity as it is now."""
        return self._known.block(
            BlockReplaced,
            message_id,
            CONTENT,
            kind="data",
            order=0,
            whole=True,
            fields=activity_fields(record["info"]["activityType"], record[CONTENT]),
        )
