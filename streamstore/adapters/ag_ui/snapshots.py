"""AG-UI messages that come whole: in a snapshot, in what a run was given, in a fetched history.

A snapshot says which messages there are; one that lacks a message removes it, but for roles that
most servers never send in one. Remembers nothing of its own, and knows no run's end.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...events import Event, MessageRemoved, Snapshot
from ...model import Json
from ..members import Members
from .activities import Activities
from .calls import Calls
from .known import Known
from .messages import CONTENT, info_of, parts_of, results_of, shape_of
from .runs import Runs
from .session import Session
from .texts import Texts


class Snapshots:
    """Messages of a thread that come whole.

    Args:
        runs: the run that the stream delivers.
        known: the messages and calls of the thread.
        texts, calls, activities: what becomes of what is in them.
        session: the state of the session.
    """

    def __init__(
        self,
        runs: Runs,
        known: Known,
        texts: Texts,
        calls: Calls,
        activities: Activities,
        session: Session,
    ) -> None:
        self._runs = runs
        self._known = known
        self._texts = texts
        self._calls = calls
        self._activities = activities
        self._session = session

    def snapshot(self, event: Members) -> list[Event]:
        """All messages of the thread, as they are now."""
        given = {message["id"]: message for message in event["messages"]}
        roles = {message["role"] for message in event["messages"]}
        owned = _owned_activities(event)
        results = results_of(given.values())
        streaming = self._calls.streaming()
        events: list[Event] = []
        old = []
        for message_id in [name for name in self._known.order if name not in given]:
            record = self._known.messages.get(message_id)
            if _is_kept(record or {"role": self._known.old_role(message_id)}, roles, owned):
                continue
            if self._runs.comes_again(message_id, record):
                self._known.keep_place(message_id)
            if record is None:
                old.append(message_id)
                gone = MessageRemoved(session_id=self._runs.session_id, message_id=message_id)
                events.append(gone)
            else:
                events.append(self._known.remove(message_id))
        self._known.lose(old)
        known = [message_id for message_id in self._known.order if message_id in given]
        new = [message_id for message_id in given if self._known.role(message_id) is None]
        done = self._runs.start is None
        # What is left is told whole, with its calls: one that moves to a message before its old
        # one is that one's from here on, or its next arguments would find no message.
        self._known.calls.clear()
        for message_id in (*known, *new):
            events += self.whole(given[message_id], results, done)
        self._calls.note_dropped(streaming)
        return events

    def whole(self, message: Members, results: Mapping[str, Members], done: bool) -> list[Event]:
        """A message as a snapshot has it, in the place of the one that is known.

        `results`: tool messages by call; `done`: nothing more will come for it.
        """
        message_id, role = message["id"], message["role"]
        record, known = self._known.messages.get(message_id), self._known.role(message_id)
        events: list[Event] = []
        at = None
        if known is not None and shape_of(known) != shape_of(role):
            at = self._known.order.index(message_id)
            events.append(self._known.remove(message_id))
            record = None
        anew = self._known.reset_old(message_id)
        if record is None:
            record = self._known.add(message_id, role, {}, at)
        record["role"], record["info"] = role, info_of(message)
        if self._runs.start is None:
            self._known.of_no_run(record)
        self._runs.is_rebuilt(message_id)  # what follows goes on behind this
        self._runs.holds_none(record)  # all of it may be in there, or none
        self._runs.cool_all()
        events += [self._known.updated(message_id, record), *anew]
        if role == "activity":
            self._activities.learn(record, message[CONTENT])
            events.append(self._activities.shown(message_id, record))
        else:
            events += self._texts.set_content(message_id, record, message.get(CONTENT))
            events += self._calls.set_calls(message, record, results)
            events += self._texts.close(message_id, record)
        if done:
            return [*events, self._known.closing(message_id)]
        self._known.open(message_id)
        return events

    # -- a fetched history ---------------------------------------------------------------------

    def history(
        self,
        messages: Sequence[Members],
        session_id: str,
        state: tuple[Json] | None,
        complete: bool,
        read_from: str | None,
    ) -> list[Event]:
        """Messages of a session that were fetched, as a snapshot; its state while none is known."""
        with self._runs.of_session(session_id):
            self._runs.cool_all()  # the next delta of a text ends that it is as it was fetched
            # No read brings back what was removed: a replay that removed it brings it anew.
            messages = [one for one in messages if not self._known.is_away(one["id"])]
            results, known = results_of(messages), self._known.messages
            ids = [one["id"] for one in messages]
            at = None
            for message, follower in zip(messages, self._followers(ids), strict=True):
                if self._known.role(message["id"]) is not None:
                    at = None
                elif at is None:
                    at = self._place(follower, ids, read_from is not None)
                else:
                    at += 1
                if message["id"] in known:
                    self._texts.note_fetched(known[message["id"]], message.get(CONTENT))
                    continue
                self._learn(message, results, at)
            fetched = [self._fetched(message, results) for message in messages]
            events: list[Event] = [
                Snapshot(
                    session_id=session_id,
                    messages=fetched,
                    complete=complete,
                    read_from=read_from,
                )
            ]
            if state is not None:
                events += self._session.first_state(state[0])
        # Old ones are looked for when the stream goes on, in the session that it is of.
        self._known.full = False
        return events

    def _followers(self, ids: Sequence[str]) -> list[str | None]:
        """The next one behind each message of a history that is known."""
        follower = None
        found: list[str | None] = []
        for name in reversed(ids):
            found.append(follower)
            if self._known.role(name) is not None:
                follower = name
        return found[::-1]

    def _place(self, follower: str | None, ids: Sequence[str], read: bool) -> int:
        """Where a message of a history stands that is new: before the next one that is known, else
        behind all; what was read is older than what a run brings meanwhile."""
        if follower is not None:
            return self._known.order.index(follower)
        return self._known.end_but_for_runs(frozenset(ids)) if read else len(self._known.order)

    def _learn(self, message: Members, results: Mapping[str, Members], at: int | None) -> None:
        """Remember a fetched message that is new."""
        record = self._known.add(message["id"], message["role"], info_of(message), at)
        self._known.of_no_run(record)
        if message["role"] == "activity":
            self._activities.learn(record, message.get(CONTENT))
        else:
            self._texts.learn(record, message.get(CONTENT))
        self._calls.learn(message, record, results)

    def _fetched(self, message: Members, results: Mapping[str, Members]) -> Json:
        parts = parts_of(message, results)
        return {
            "id": message["id"],
            "role": message["role"],
            "order": self._known.messages[message["id"]]["order"],
            "status": "completed",
            "info": info_of(message),
            # Open: deltas may follow. In a message that ended they read as closed.
            "parts": [{**part, "status": "open"} for part in parts],
        }


def _owned_activities(event: Members) -> Sequence[str] | None:
    """Activity types that a snapshot speaks for: None for all if it holds one, "*" for all."""
    metadata = event.get("metadata", {})
    if "@ag-ui/client" not in metadata:
        return None
    said = metadata["@ag-ui/client"]
    if not isinstance(said, dict):
        return ()
    if "authoritativeActivityTypes" not in said:
        return None
    types = said["authoritativeActivityTypes"]
    if types is None:
        return ("*",)
    if isinstance(types, list) and all(type(name) is str for name in types):
        return types
    return ()


def _is_kept(record: Members, roles: set[str], owned: Sequence[str] | None) -> bool:
    """Whether a message that a snapshot lacks stays: most servers never send these whole."""
    if record["role"] == "reasoning":
        return "reasoning" not in roles
    if record["role"] != "activity":
        return False
    if owned is None:
        return "activity" not in roles
    return "*" not in owned and record["info"]["activityType"] not in owned
