"""What the start and the end of an AG-UI run do to its thread.

A start brings what the client sent, an end closes the run's messages and says what waits. Which
run it is, and whether a replay, `runs` knows; remembers nothing of its own, and knows no
event but `RUN_STARTED`, `RUN_FINISHED` and `RUN_ERROR`.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from ...events import Event, SessionError, SessionStatus
from ..members import Members
from .calls import Calls
from .interrupts import Interrupts
from .known import Known
from .messages import result_state, results_of
from .runs import Runs
from .session import Session
from .snapshots import Snapshots
from .verify import Flow


class Lifecycle:
    """Starts and ends of a thread's runs.

    Args:
        runs: the run that the stream delivers.
        flow: what is in progress of the stream.
        known: the messages of the thread.
        calls: what becomes of calls.
        session: the info of the session.
        interrupts: what waits for an answer.
        snapshots: messages that come whole.
    """

    def __init__(
        self,
        runs: Runs,
        flow: Flow,
        known: Known,
        calls: Calls,
        session: Session,
        interrupts: Interrupts,
        snapshots: Snapshots,
    ) -> None:
        self._runs = runs
        self._flow = flow
        self._known = known
        self._calls = calls
        self._session = session
        self._interrupts = interrupts
        self._snapshots = snapshots

    def started(self, event: Members) -> list[Event]:
        """A run starts, or a replay of one."""
        self._runs.started(event)
        self._known.forget_old(self._interrupts.waiting)
        events: list[Event] = [SessionStatus(session_id=self._runs.session_id, status="busy")]
        if self._runs.is_latest():
            events.append(self._session.run_started(event))
        if "input" in event:
            events += self._input(event["input"])
        return events

    def _input(self, given: Members) -> list[Event]:
        """What the client sent, as the server echoes it: messages and a state that are not
        known, and answers. A replay makes the messages again that it made."""
        events: list[Event] = []
        results = results_of(given["messages"])
        for message in given["messages"]:
            record = self._known.messages.get(message["id"])
            again = self._runs.replay and record is not None and record["run"] == self._runs.id
            if again or self._known.role(message["id"]) is None:
                events += self._snapshots.whole(message, results, done=True)
                if message["role"] == "tool":
                    events += self._calls.answer(message["toolCallId"], result_state(message))
        if given.get("state") is not None:
            events += self._session.first_state(given["state"])
        return events + self._interrupts.resumed(given.get("resume", ()))

    def finished(self, event: Members) -> list[Event]:
        """A run is over, and with it every message that was open; what it asks."""
        outcome = event.get("outcome", {})
        status = "aborted" if outcome.get("type") == "cancelled" else "completed"
        if self._runs.start is None:
            self._known.name(event["runId"])
        events = self._ended(event, "finished")
        events += self._known.close_all(lambda record, message_id: status)
        if self._runs.is_latest():
            events += self._interrupts.interrupted(outcome.get("interrupts", ()))
        return [*events, SessionStatus(session_id=self._runs.session_id, status="idle")]

    def failed(self, event: Members) -> list[Event]:
        """A run has failed: what streams or waits ends with the error."""
        session_id, code = self._runs.session_id, event.get("code")
        error = {"name": code or "RUN_ERROR", "message": event["message"]}
        cut = "aborted" if code == "abort" else "error"

        def ending(record: Members, message_id: str) -> str:
            over = not (self._flow.streams(message_id) or self._known.waits(record))
            return "completed" if over else cut

        told, recorded = self._runs.failed(), SessionError(session_id=session_id, error=error)
        return [
            *(() if told else (recorded,)),
            *self._ended(event, "error"),
            *self._known.close_all(ending, error),
            SessionStatus(session_id=session_id, status="idle"),
        ]

    def _ended(self, event: Members, status: str) -> list[Event]:
        self._runs.over()
        if self._runs.start is None or not self._runs.is_latest():
            return []
        return [self._session.run_ended(event, status)]
