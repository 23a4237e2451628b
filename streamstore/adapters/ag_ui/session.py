"""What AG-UI events say of a session itself: its state, its last run, open steps and subagents.

Of each it is known that there was one; of the subagents of a run what was said of them. Knows no
message.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from typing import Any

from ...errors import MissingExtra
from ...events import Event, SessionState, SessionUpdated
from ...jsonpatch import apply_patch, need_patches
from ...model import Json
from ..base import Context
from ..bounded import forget_oldest
from ..members import Members
from .messages import picked
from .runs import Runs
from .verify import Flow

_RUN = ("runId", "parentRunId", "protocolVersion", "metadata", "result", "outcome", "usage")

#: Open steps and subagents that are shown; the oldest go.
_SHOWN = 256


class Session:
    """The state and the info of a thread's session.

    Of the thread's `known`: `state`, `steps`, `subagents`, which are there once there was one. Of
    what is in progress: `subagents`.

    Args:
        context: what the adapter was given.
        runs: the run that the stream delivers.
        flow: what is in progress of the stream.
    """

    def __init__(self, context: Context, runs: Runs, flow: Flow) -> None:
        self._context = context
        self._runs = runs
        self._flow = flow

    def updated(self, **info: Any) -> SessionUpdated:
        """Members of the session's info that are others now."""
        return SessionUpdated(session_id=self._runs.session_id, info=info)

    def run_started(self, event: Members) -> SessionUpdated:
        """The run that is on, without steps and subagents yet."""
        known = self._runs.table("known")
        info: Members = {"run": {**picked(event, *_RUN), "status": "running"}}
        info.update({"steps": []} if "steps" in known else {})
        info.update({"subagents": {}} if "subagents" in known else {})
        return self.updated(**info)

    def run_ended(self, event: Members, status: str) -> SessionUpdated:
        """The run that is over, and how it ended."""
        run = {**picked(event, *_RUN), "runId": self._runs.id, "status": status}
        return self.updated(run=run)

    # -- state ---------------------------------------------------------------------------------

    def first_state(self, state: Json) -> list[Event]:
        """A state, where none is known."""
        if "state" in self._runs.table("known"):
            return []
        first = SessionState(session_id=self._runs.session_id, state=state)
        return [first, *self._has_state()]

    def state_snapshot(self, event: Members) -> list[Event]:
        """The state comes whole."""
        if self._runs.replay and not self._runs.is_latest():
            return []  # what came since is not sent again, or is skipped
        self._runs.skip_none()
        state = SessionState(session_id=self._runs.session_id, state=event["snapshot"])
        return [state, *self._has_state()]

    def state_delta(self, event: Members) -> list[Event]:
        """A patch of the state."""
        if self._runs.skips():
            return []
        patch = SessionState(session_id=self._runs.session_id, patch=event["delta"])
        try:
            need_patches()
        except MissingExtra:
            return [patch]  # the store refuses it, and says what is missing
        self._runs.patched()
        if "state" in self._runs.table("known"):
            return [patch]
        # The first one is for an empty state. Applied here: of two events the verdict would be
        # that of the state, also where the patch does not fit.
        patched = apply_patch({}, event["delta"], self._context.limits)
        if patched is None:
            return [patch]
        state = SessionState(session_id=self._runs.session_id, state=patched[0])
        return [state, *self._has_state()]

    def _has_state(self) -> list[Event]:
        """The session says that it has a state: null is one, too."""
        known = self._runs.table("known")
        if "state" in known:
            return []
        known["state"] = None
        return [self.updated(hasState=True)]

    # -- steps, subagents ----------------------------------------------------------------------

    def step(self, event: Members) -> list[Event]:
        """A step starts or ends; `Flow` knows which are open."""
        self._runs.table("known")["steps"] = None
        steps = [
            {"stepName": name, **({"subagentRunId": lane[1:]} if lane else {})}
            for lane, names in self._flow.open("steps").items()
            for name in names
        ]
        return [self.updated(steps=steps[-_SHOWN:])]

    def subagent(self, event: Members) -> list[Event]:
        """A subagent starts, ends or fails."""
        self._runs.table("known")["subagents"] = None
        subagents, name = self._runs.now["subagents"], event["subagentRunId"]
        others = ("type", "subagentRunId", "timestamp", "rawEvent")
        said = picked(event, *(member for member in event if member not in others))
        ends = {"SUBAGENT_STARTED": "running", "SUBAGENT_FINISHED": "finished"}
        said["status"] = ends.get(event["type"], "error")
        subagents[name] = {**subagents.get(name, {}), **said}
        forget_oldest(subagents, _SHOWN)
        return [self.updated(subagents=dict(subagents))]
