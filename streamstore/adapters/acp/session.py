"""What a session has beside its messages: plans, modes, options, usage.

Knows the memory of sessions and what notifications and answers say of them; no message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...events import Event, SessionUpdated, TodoUpdated
from ..members import Members, an_object, objects
from .schema import plan_id

#: Plans of a session that are remembered.
_PLANS = 64


class SessionValues:
    """The values of each session; of its plans an update says one."""

    def __init__(self, of_session: Callable[[str], Members]) -> None:
        self._of_session = of_session

    def plan(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        """The plan of an agent that has one."""
        return (TodoUpdated(session_id=session_id, todo=objects(update, "entries", at)),)

    def plan_update(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        """One plan of several is said whole."""
        plan = an_object(update, "plan", at)
        which = plan_id(plan, f"{at}.plan")
        entries = objects(plan, "entries", f"{at}.plan") if "entries" in plan else None
        plans: dict[str, Members] = self._of_session(session_id).setdefault("plans", {})
        plans[which] = plan
        if len(plans) > _PLANS:
            del plans[next(iter(plans))]
        events = _info(session_id, {"plans": dict(plans)})
        if entries is not None:
            events.append(TodoUpdated(session_id=session_id, todo=entries))
        return events

    def plan_removed(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        """One plan of several is gone."""
        which = plan_id(update, at)
        plans: dict[str, Members] = self._of_session(session_id).setdefault("plans", {})
        gone = plans.pop(which, {})
        events = _info(session_id, {"plans": dict(plans)})
        if "entries" in gone:
            events.append(TodoUpdated(session_id=session_id, todo=[]))
        return events

    @staticmethod
    def info(session_id: str, update: Members, _at: str) -> Sequence[Event]:
        """What an update says of the session as it is."""
        rest = {name: value for name, value in update.items() if name != "sessionUpdate"}
        if rest.get("_meta", ()) is None:  # of a dump that has all members: it says nothing
            del rest["_meta"]
        if update["sessionUpdate"] == "usage_update":
            rest = {"usage": rest}
        return _info(session_id, rest)


def settings(session_id: str, info: Members, said: Members) -> list[Event]:
    """How a session is set, by what the client asked for and the answer says."""
    for name in ("modes", "models"):
        state = said.get(name)
        info.update(state if isinstance(state, dict) else {})
    if isinstance(said.get("configOptions"), list):
        info["configOptions"] = said["configOptions"]
    info.pop("_meta", None)
    return _info(session_id, info) if info and session_id else []


def _info(session_id: str, info: Members) -> list[Event]:
    return [SessionUpdated(session_id=session_id, info=info)]
