"""What a whole AG-UI event does to its thread: which part of the thread takes it.

An event here is clean, expanded, and allowed by its stream's `Flow`. Nothing raises but for a
package that is missing. Puts the parts of a thread together: its runs (`runs`), messages and
calls (`known`), and what is done to them. All that they remember is plain JSON. Knows no wire
object, no chunk, and nothing of what the parts remember.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from ...events import Event
from ..base import Context
from ..members import Members
from .activities import Activities
from .calls import Calls
from .interrupts import Interrupts
from .known import Known
from .lifecycle import Lifecycle
from .runs import Runs
from .session import Session
from .snapshots import Snapshots
from .texts import Texts
from .verify import Flow

Handler: TypeAlias = Callable[["Thread", Members], list[Event]]


class Thread:
    """The thread that a stream speaks of; `apply` takes its events.

    Args:
        context: what the adapter was given.
        runs: the run that the stream delivers.
        flow: what is in progress of the stream.

    Attributes:
        texts, calls, activities, session, snapshots, lifecycle: what takes the events.
    """

    def __init__(self, context: Context, runs: Runs, flow: Flow) -> None:
        self._runs = runs
        self._known = known = Known(context, runs, flow)
        self.texts = Texts(runs, flow, known)
        self.calls = calls = Calls(context, runs, flow, known, self.texts)
        self.activities = Activities(context, runs, known)
        self.session = session = Session(context, runs, flow)
        interrupts = Interrupts(runs, known, calls, session)
        self.snapshots = Snapshots(runs, known, self.texts, calls, self.activities, session)
        self.lifecycle = Lifecycle(runs, flow, known, calls, session, interrupts, self.snapshots)

    def apply(self, event: Members) -> list[Event]:
        """What an event comes to. The first one is the principal."""
        if self._runs.start is None and self._known.repeats(event):
            self._runs.note_named()
            return []
        events = _HANDLERS[event["type"]](self, event)
        return [*events, *self._known.forget_done()] if self._known.full else events


def _encrypted(thread: Thread, event: Members) -> list[Event]:
    of_call = event["subtype"] == "tool-call"
    return thread.calls.encrypted(event) if of_call else thread.texts.encrypted(event)


def _nothing(thread: Thread, event: Members) -> list[Event]:
    return []


_HANDLERS: Mapping[str, Handler] = {
    "TEXT_MESSAGE_START": lambda thread, event: thread.texts.text_started(event),
    "TEXT_MESSAGE_CONTENT": lambda thread, event: thread.texts.content(event),
    "TEXT_MESSAGE_END": lambda thread, event: thread.texts.ended(event),
    "REASONING_START": _nothing,
    "REASONING_END": _nothing,
    "REASONING_MESSAGE_START": lambda thread, event: thread.texts.reasoning_started(event),
    "REASONING_MESSAGE_CONTENT": lambda thread, event: thread.texts.content(event),
    "REASONING_MESSAGE_END": lambda thread, event: thread.texts.ended(event),
    "REASONING_ENCRYPTED_VALUE": _encrypted,
    "TOOL_CALL_START": lambda thread, event: thread.calls.started(event),
    "TOOL_CALL_ARGS": lambda thread, event: thread.calls.arguments(event),
    "TOOL_CALL_END": lambda thread, event: thread.calls.ended(event),
    "TOOL_CALL_RESULT": lambda thread, event: thread.calls.result(event),
    "ACTIVITY_SNAPSHOT": lambda thread, event: thread.activities.snapshot(event),
    "ACTIVITY_DELTA": lambda thread, event: thread.activities.delta(event),
    "STATE_SNAPSHOT": lambda thread, event: thread.session.state_snapshot(event),
    "STATE_DELTA": lambda thread, event: thread.session.state_delta(event),
    "MESSAGES_SNAPSHOT": lambda thread, event: thread.snapshots.snapshot(event),
    "RUN_STARTED": lambda thread, event: thread.lifecycle.started(event),
    "RUN_FINISHED": lambda thread, event: thread.lifecycle.finished(event),
    "RUN_ERROR": lambda thread, event: thread.lifecycle.failed(event),
    "STEP_STARTED": lambda thread, event: thread.session.step(event),
    "STEP_FINISHED": lambda thread, event: thread.session.step(event),
    "SUBAGENT_STARTED": lambda thread, event: thread.session.subagent(event),
    "SUBAGENT_FINISHED": lambda thread, event: thread.session.subagent(event),
    "SUBAGENT_ERROR": lambda thread, event: thread.session.subagent(event),
    "RAW": _nothing,
    "CUSTOM": _nothing,
}
