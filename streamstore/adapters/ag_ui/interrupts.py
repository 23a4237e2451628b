"""AG-UI interrupts: what waits for an answer when a run ends, and what was answered.

One that names a tool call is a permission, any other a question. Knows the calls that wait, and no
message.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...events import Event, PermissionAsked, PermissionReplied, QuestionAsked, QuestionReplied
from ...model import thaw
from ..bounded import forget_oldest
from ..members import Members
from .calls import Calls
from .known import Known
from .runs import Runs
from .session import Session

#: Questions that a thread remembers; the oldest go.
_ASKED = 1024


class Interrupts:
    """The interrupts of a thread.

    Shared by its streams: `interrupts`, those that wait, with their calls; `asked`, what they asked
    and how often they were answered; of `known`: `interrupts`, once there was one.

    Args:
        runs: the run that the stream delivers.
        known: the messages and calls of the thread.
        calls: what becomes of calls.
        session: the info of the session.
    """

    def __init__(self, runs: Runs, known: Known, calls: Calls, session: Session) -> None:
        self._runs = runs
        self._known = known
        self._calls = calls
        self._session = session

    def waiting(self) -> set[str]:
        """Calls that wait for an answer."""
        return {call_id for call_id in self._runs.table("interrupts").values() if call_id}

    def interrupted(self, interrupts: Sequence[Members]) -> list[Event]:
        """What waits for an answer from now on; what waited before and is not named does not."""
        known, pending = self._runs.table("known"), self._runs.table("interrupts")
        if "interrupts" not in known and not interrupts:
            return []
        known["interrupts"] = None
        events: list[Event] = [self._session.updated(pendingInterrupts=list(interrupts))]
        named = {interrupt["id"]: interrupt for interrupt in interrupts}
        for name in [name for name in pending if self._is_over(name, named.get(name))]:
            events += self._answered(name, {})
        asked, run = self._runs.table("asked"), self._runs.id
        for interrupt in interrupts:
            name, call_id = interrupt["id"], interrupt.get("toolCallId") or None
            call = None if call_id is None else self._known.calls.get(call_id)
            pending[name] = call_id
            asked[name] = {**asked.pop(name, {}), "run": run, "payload": thaw(interrupt)}
            forget_oldest(asked, _ASKED)
            kind = QuestionAsked if call_id is None else PermissionAsked
            events.append(
                kind(
                    session_id=self._runs.session_id,
                    request_id=self._request_id(name),
                    message_id=None if call is None else call["in"],
                    call_id=call_id,
                    payload=interrupt,
                )
            )
            if call_id is not None and call is not None:
                moves = self._calls.moves(call_id, {"status": "waiting"})
                events += self._calls.changed(call_id, moves)
        return events

    def _is_over(self, name: str, interrupt: Members | None) -> bool:
        """Whether what an interrupt asked was answered: the run that ends now lacks it, or asks
        something else under the same id."""
        asked = self._runs.table("asked").get(name)
        if interrupt is None or asked is None:
            return interrupt is None
        return bool(asked["run"] != self._runs.id and asked["payload"] != interrupt)

    def _request_id(self, name: str) -> str:
        """What a question is called: a server may ask again by an id that was answered, and what
        was answered stays so."""
        answered: int = self._runs.table("asked").get(name, {}).get("answered", 0)
        return name + " " * answered

    def resumed(self, answers: Sequence[Members]) -> list[Event]:
        """What a client answers with a new run; in a replay not what that run asked behind it."""
        asked, events = self._runs.table("asked"), list[Event]()
        for answer in answers:
            of = asked.get(answer["interruptId"], {}).get("run")
            if not (self._runs.replay and of == self._runs.id):
                events += self._answered(answer["interruptId"], answer)
        return events

    def _answered(self, name: str, answer: Members) -> list[Event]:
        pending, request_id = self._runs.table("interrupts"), self._request_id(name)
        if name not in pending:
            return []
        call_id = pending.pop(name)
        asked = self._runs.table("asked")
        answered = asked.pop(name, {}).get("answered", 0) + 1
        asked[name] = {"answered": answered}  # the last one, of those that are remembered
        forget_oldest(asked, _ASKED)
        replied = QuestionReplied if call_id is None else PermissionReplied
        events: list[Event] = [
            replied(session_id=self._runs.session_id, request_id=request_id, payload=answer)
        ]
        if call_id is not None and call_id in self._known.calls:
            status = "denied" if answer.get("status") == "cancelled" else "running"
            events += self._calls.changed(call_id, self._calls.moves(call_id, {"status": status}))
        return events
