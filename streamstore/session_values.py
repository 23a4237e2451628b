"""What an admitted event says of a session itself: status, errors, shared state, requests.

The part of the merging law (`docs/events.md`) that concerns no message. It changes the session's
row and says nothing of whether the session exists or is shown; it decides no duplicate, and knows
no message, block, stage, tick, clock or thread.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from . import verdicts
from .arrivals import Arrival, Handler
from .errors import MissingExtra
from .events import (
    Event,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    RequestAnswered,
    RequestAsked,
    SessionDiff,
    SessionError,
    SessionState,
    SessionStatus,
    TodoUpdated,
)
from .jsonpatch import apply_patch, need_patches
from .limits import Limits
from .marks import bounded_put, same
from .model import Json, Request, freeze
from .rows import SessionRow
from .verdicts import Verdict


class SessionValues:
    """Applies the events of `handlers` to a session's row; each costs what the event carries.

    Attributes:
        handlers: what applies them, by type.

    Args:
        resync: told of a session that should be fetched again, and why.
    """

    def __init__(self, limits: Limits, resync: Callable[[str, str], None]) -> None:
        self._limits = limits
        self._resync = resync
        self.handlers: dict[type[Event], Handler] = {
            SessionStatus: self._own,
            TodoUpdated: self._own,
            SessionDiff: self._own,
            SessionError: self._session_error,
            SessionState: self._session_state,
            PermissionAsked: self._asked,
            QuestionAsked: self._asked,
            PermissionReplied: self._answered,
            QuestionReplied: self._answered,
            QuestionRejected: self._answered,
        }

    # -- removals, a new counter -------------------------------------------------------------

    def forget(self, session: SessionRow, bound: int) -> None:
        """A session was removed: what has no position above `bound` goes. Linear in its values."""
        session.errors = [entry for entry in session.errors if (entry[0] or -1) > bound]
        for name, table in (
            ("permissions", session.permissions),
            ("questions", session.questions),
        ):
            for request_id in list(table):
                if session.asked_at.get(f"{name} {request_id}", -1) <= bound:
                    session.asked_at.pop(f"{name} {request_id}", None)
                    session.own_epochs.pop(f"{name} {request_id}", None)
                    del table[request_id]
        session.patches[:] = [entry for entry in session.patches if entry[0] > bound]
        if session.base[0] <= bound:
            session.base = (-1 if session.gone else bound, None)

    def restart(self, session: SessionRow) -> None:
        """The server's counter restarted: the values stay, their positions go."""
        session.patches.clear()
        session.base = (-1, session.own.values.get("state"))
        session.errors = [(None, error) for _, error in session.errors]
        session.fetched.clear()
        session.asked_at.clear()
        session.answered = dict.fromkeys(session.answered, -1)
        session.own.forget_marks()

    # -- values, errors -------------------------------------------------------------------------

    def _own(self, event: Event, session: SessionRow, arrival: Arrival) -> None:
        given: dict[str, Any]
        if isinstance(event, SessionStatus):
            status = {"type": event.status, **event.extra}
            for name in ("attempt", "message", "next"):
                value = getattr(event, name)
                if value is not None:
                    status[name] = value
            given = {"status": status}
        elif isinstance(event, TodoUpdated):
            given = {"todo": event.todo}
        else:
            assert isinstance(event, SessionDiff)
            given = {"diff": event.diff}
        session.own.merge(given, event.seq if arrival.mode != "none" else None)

    def _session_error(self, event: SessionError, session: SessionRow, arrival: Arrival) -> None:
        errors = session.errors
        error = freeze(event.error)
        if event.seq is None or arrival.mode == "none":
            errors.append((None, error))
        else:
            if any(seq == event.seq for seq, _ in errors):
                return  # too old for the gate to know it
            at = len(errors)
            while at and (errors[at - 1][0] or -1) > event.seq:
                at -= 1
            errors.insert(at, (event.seq, error))
        del errors[: -self._limits.session_errors]

    # -- the shared state ---------------------------------------------------------------------

    def _session_state(
        self, event: SessionState, session: SessionRow, arrival: Arrival
    ) -> Verdict | None:
        if event.patch is not None:
            try:
                need_patches()
            except MissingExtra as error:
                self._resync(session.id, str(error))
                return verdicts.Verdict("refused", verdicts.MISSING_EXTRA, str(error))
        return self._set_state(event, session, arrival)

    def _set_state(
        self, event: SessionState, session: SessionRow, arrival: Arrival
    ) -> Verdict | None:
        seq = event.seq if arrival.mode != "none" else None
        patches, refusal = session.patches, None
        if event.patch is None:
            if seq is not None and seq < session.base[0]:
                return None
            session.base = (-1 if seq is None else seq, freeze(event.state))
            patches[:] = [] if seq is None else [entry for entry in patches if entry[0] > seq]
            state, later = self._standing(session)
        elif seq is None:
            state, later = session.own.values.get("state"), [(session.base[0], event.patch)]
        elif seq <= session.base[0]:
            if seq > session.own.seqs.get("state", -1):
                self._resync(session.id, "a late patch of the session's state")
                return verdicts.UNPLACEABLE
            return None  # a later state came, which says everything
        else:
            insort(patches, (seq, event.patch), key=lambda entry: entry[0])
            state, later = self._standing(session)
            if later and later[-1][0] == seq:
                state, later = session.own.values.get("state"), later[-1:]
        for _, patch in later:
            patched = self._patched(session, state, patch)
            if patched is not None:
                state = patched[0]
            elif patch is event.patch:
                why = "the patch does not fit the state"
                refusal = verdicts.Verdict("refused", "conflict", why)
        if event.patch is None:
            session.own.put("state", state, session.base[0])
        elif refusal is None:
            session.own.put("state", state, session.own.seqs.get("state", -1))
        if event.patch is not None and seq is None:
            # Of a session that was opened again it is no older than that.
            at = max(session.base[0], session.boundary + 1 if session.boundary >= 0 else -1)
            session.base = (at, session.own.values.get("state"))
            patches.clear()
        while len(patches) > self._limits.late_window:
            at, patch = patches.pop(0)
            below, state = session.base
            if 0 <= below <= session.boundary < at:
                state = None  # it is hidden, and nothing brings it back from here on
            patched = self._patched(session, state, patch)
            session.base = (at, state if patched is None else freeze(patched[0]))
        return refusal

    @staticmethod
    def _standing(session: SessionRow) -> tuple[Json, list[tuple[int, Any]]]:
        """What the shared state begins with, and the patches that follow it.

        What a removal undid, or came before the session was opened again, is not in it; a full
        event that comes late may bring it back.
        """
        bound, (at, state), patches = session.boundary, session.base, session.patches
        if 0 <= at <= bound:
            return None, [entry for entry in patches if entry[0] > bound]
        return state, patches

    def recount(self, session: SessionRow) -> None:
        """What counts of a session changed: its shared state is made again. Linear in patches."""
        if session.base[1] is None and not session.patches:
            return  # there is none
        state, later = self._standing(session)
        for _, patch in later:
            patched = self._patched(session, state, patch)
            state = state if patched is None else patched[0]
        session.own.put("state", state, session.own.seqs.get("state", -1))

    def _patched(self, session: SessionRow, state: Any, patch: list[Any]) -> tuple[Any] | None:
        """`apply_patch` of one that was taken in: a saved state may hold some that cannot be
        applied here, because the package is missing."""
        try:
            return apply_patch(state, patch, self._limits)
        except MissingExtra as error:
            self._resync(session.id, str(error))
            return None

    # -- requests ------------------------------------------------------------------------------

    def _requests(self, session: SessionRow, event: Event) -> dict[str, Request]:
        permission = isinstance(event, PermissionAsked | PermissionReplied)
        return session.permissions if permission else session.questions

    @staticmethod
    def _answer(event: Event, request_id: str) -> str:
        """What an answer is remembered by: a permission and a question may share an id."""
        permission = isinstance(event, PermissionAsked | PermissionReplied)
        return f"{'permissions' if permission else 'questions'} {request_id}"

    def _asked(self, event: RequestAsked, session: SessionRow, arrival: Arrival) -> Verdict | None:
        name = self._answer(event, event.request_id)
        seq = event.seq if arrival.positioned and event.seq is not None else -1
        table = self._requests(session, event)
        request = Request(
            id=event.request_id,
            session_id=session.id,
            message_id=event.message_id,
            call_id=event.call_id,
            payload=freeze(event.payload),
        )
        if event.request_id in table:
            at = session.asked_at.get(name, -1)
            if 0 <= at < seq:
                session.asked_at[name] = seq  # a removal between the two leaves it open
            if seq < 0 or at <= seq:
                _put(table, request)  # asked anew, it is what the server asks now
            return None
        if name in session.answered:
            if not max(session.answered[name], 0) <= session.removed < seq:
                return None  # and no removal of the session lies between
        if 0 <= seq <= session.fetched.get(name.partition(" ")[0], -1):
            return None  # a fetched state says that it was answered
        if len(table) >= self._limits.open_requests:
            return verdicts.OVER_LIMIT
        if seq >= 0:
            session.asked_at[name] = seq
        table[event.request_id] = request
        return None

    def _answered(self, event: RequestAnswered, session: SessionRow, arrival: Arrival) -> None:
        self._requests(session, event).pop(event.request_id, None)
        answer = self._answer(event, event.request_id)
        session.asked_at.pop(answer, None)
        seq = event.seq if arrival.positioned and event.seq is not None else -1
        seq = max(seq, session.answered.get(answer, -1))
        bounded_put(session.answered, answer, seq, self._limits.answered_requests)

    def merge_requests(
        self,
        session: SessionRow,
        name: str,
        fetched: Iterable[Mapping[str, Any]],
        newer: Container[str],
        seq: int | None,
    ) -> None:
        """What a fetched state says is still asked; `newer` were asked since it was read.

        With a seq it says so of what was asked up to there.
        """
        table: dict[str, Request] = getattr(session, name)
        if seq is not None:
            if seq < session.fetched.get(name, -1):
                return
            session.fetched[name] = seq
        ids = set()
        for request in fetched:
            request_id = request.get("id")
            if not isinstance(request_id, str) or f"{name} {request_id}" in session.answered:
                continue
            ids.add(request_id)
            asked_at = session.asked_at.get(f"{name} {request_id}", -1)
            if seq is not None:  # it is open there, whatever was removed before
                session.asked_at[f"{name} {request_id}"] = max(seq, asked_at)
            if request_id in newer or (seq is not None and asked_at > seq):
                continue
            if request_id in table and "payload" not in request:
                continue  # it says no more than that it is open
            message_id, call_id = request.get("messageId"), request.get("callId")
            _put(
                table,
                Request(
                    id=request_id,
                    session_id=session.id,
                    message_id=message_id if isinstance(message_id, str) else None,
                    call_id=call_id if isinstance(call_id, str) else None,
                    payload=freeze(request.get("payload", {})),
                ),
            )
        for request_id in [request_id for request_id in table if request_id not in ids]:
            asked_at = session.asked_at.get(f"{name} {request_id}", -1)
            if request_id not in newer and (seq is None or asked_at <= seq):
                session.asked_at.pop(f"{name} {request_id}", None)
                session.own_epochs.pop(f"{name} {request_id}", None)
                del table[request_id]


def _put(table: dict[str, Request], request: Request) -> None:
    """Put a request in, in the place of one of its id; one that is the same stays that object."""
    known = table.get(request.id)
    if known is None or not all(
        same(getattr(known, name), getattr(request, name))
        for name in ("message_id", "call_id", "payload")
    ):
        table[request.id] = request
