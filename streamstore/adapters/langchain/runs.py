"""Runs of a LangGraph graph: when one is over, what it asks, what attempts at a node have left.

Of each message it is known which task of which run said it, and whether the graph has taken it in
(`task`, `run`, `told` and `ended` of its memory); from that follows what a node that is run again
takes back. Knows no form of the wire but that of errors and interrupts, and no content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...events import Event, QuestionAsked, SessionError, SessionStatus
from ...keys import is_id
from ...model import Json
from ..members import Members, only_json
from .graph import node_of
from .known import Known


class Runs:
    """The runs of a graph that one stream tells of.

    In the stream's own memory: `run`, the one that it is of. Shared by the session: `run`, the
    last one, and `asked`, by task, what those had said that were not over when the graph asked.

    Args:
        known: the messages of the session.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._session = known.session
        self._own = known.own
        self._shared = known.shared

    # -- a run, its end and what it asks -------------------------------------------------------

    def note(self, run: Any) -> None:
        """Notes the run of the graph that this stream is of, where one is named."""
        if type(run) is str and run:
            self._own["run"] = self._shared["run"] = run

    def error(self, error: Members) -> Sequence[Event]:
        """The run has failed, as the wire says it."""
        only_json(error, "")
        name = error.get("error")
        text = error.get("message")
        name = name if type(name) is str and name else "error"
        said = {"name": name, "message": text if type(text) is str else name, "data": error}
        return self.failed(said)

    def failed(self, said: Members) -> list[Event]:
        """The same, with the error as a session has it."""
        recorded = SessionError(session_id=self._session, error=said)
        return [recorded, *self._close_all("error", said)]

    def idle(self) -> list[Event]:
        """The run is over, and with it every message that was open."""
        idle = SessionStatus(session_id=self._session, status="idle")
        if not self._own:  # it has shown nothing: the run is that of the stream before
            self._own["run"] = self._shared.get("run", "")
        return [idle, *self._close_all("completed", None)]

    def _close_all(self, status: str, error: Json) -> list[Event]:
        return self._known.close_all(self._own.pop("run", ""), status, error)

    def interrupted(self, interrupts: Any) -> list[Event]:
        """What a graph waits for; one below it says it as well, under the same id."""
        only_json(interrupts, "interrupts")
        return [
            self.asked(interrupt["id"], interrupt.get("value"))
            for interrupt in (interrupts if isinstance(interrupts, list | tuple) else ())
            if isinstance(interrupt, dict) and is_id(interrupt.get("id"))
        ]

    def asked(self, request: str, payload: Json) -> QuestionAsked:
        """One thing that a graph waits for."""
        return QuestionAsked(
            session_id=self._session, request_id=request, payload={"payload": payload}
        )

    def waits(self, events: list[Event], asked: Sequence[Event]) -> list[Event]:
        """Notes, where a graph asks, what the tasks have said that are not over: the one that asks
        is run again from its start when the graph goes on, under the same id. One whose model is
        still answering is none that asks, where the package says when an answer ends."""
        if asked:
            messages = self._known.messages()
            said: dict[str, list[str]] = {}
            for message_id, known in messages.items():
                if known.get("task") and not known.get("told"):
                    said.setdefault(known["task"], []).append(message_id)
            if any(known.get("ended") for known in messages.values()):
                said = {task: ids for task, ids in said.items() if messages[ids[-1]]["closed"]}
            self._shared["asked"] = said
        return [*events, *asked]

    # -- attempts of a node --------------------------------------------------------------------

    def told(self, found: list[Members]) -> None:
        """Notes what the graph has taken in: the tasks that said it are over."""
        messages = self._known.messages()
        for message in found:
            given = message.get("id")
            known = messages.get(self._known.alias(given) or "") if is_id(given) else None
            if known is not None:
                known["told"] = True

    def repeated(self, message_id: str | None, task: str, run: str) -> list[Event]:
        """Takes back what a task said before it is run again, as what it says now proves: another
        message than those before the graph asked, or one of another run of the graph.

        A task that runs beside the one that asks goes on in the same way. What is taken back of it
        comes with its update, at its place.
        """
        messages = self._known.messages()
        known = messages.get(message_id or "")
        if not task or known is None or message_id is None:
            return []
        # The result of a tool is the end of a task, not its start.
        asked = self._shared.get("asked", {}) if known["role"] != "tool" else {}
        gone: list[str] = asked.pop(task, [])
        over = any(messages.get(name, {}).get("told") for name in gone)
        if message_id in gone or over:  # it was not the one that asked
            gone = []
        if known.get("run") is None:
            known["run"] = run
            for other, each in messages.items() if run else ():
                if each.get("task") == task and each.get("run") not in (None, "", run):
                    gone.append(other)
        return self._known.taken_back(list(dict.fromkeys(gone)))

    def of_failed(self, scope: str, found: list[Members], state: bool = False) -> list[str]:
        """What an attempt at a task has left that failed before it was made again: what never ended
        while later messages of the same node did, once their task is over: a state or update of the
        graph has what it said, or a state stands behind it, which a graph gives between its steps.
        Before, nothing tells it from one of two models that a node asks at once, or that a node
        broke off and keeps.
        """
        below = f"{scope}|" if scope else ""
        held = frozenset(
            self._known.alias(message["id"]) or message["id"]
            for message in found
            if is_id(message.get("id"))
        )
        over: set[tuple[str, ...]] = set()
        failed: list[str] = []
        messages = self._known.messages()
        orders = self._known.orders()
        # Not as they are remembered: of a log that is replayed, the first attempt comes last.
        for message_id in sorted(messages, key=lambda name: orders.get(name, 0), reverse=True):
            known = messages[message_id]
            task = known.get("task")
            if not task:
                continue
            if not known["closed"]:
                if message_id not in held and node_of(task, scope) in over:
                    failed.append(message_id)
            elif known.get("ended") and (message_id in held or (state and task.startswith(below))):
                over.add(node_of(task, scope))
        return failed

    def begun_again(self, task: str) -> list[Event]:
        """Takes back what a node said that is run again: nothing of it is kept. A graph below it
        may go on where it was, so that what ended there stays."""
        below = f"{task}|"
        return self._known.removed_all(
            [
                message_id
                for message_id, known in self._known.messages().items()
                if (of := known.get("task"))
                and (of == task or (of.startswith(below) and not known["closed"]))
            ]
        )
