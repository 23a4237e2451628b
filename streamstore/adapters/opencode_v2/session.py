"""What opencode V2 events say of a session itself, and what waits for an answer in it.

Knows no message, and remembers nothing.

Sources: as for `opencode_v2`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...events import (
    Event,
    RequestAnswered,
    RequestAsked,
    SessionError,
    SessionRemoved,
    SessionStatus,
    SessionUpdated,
    TodoUpdated,
)
from ..members import a_list, a_string, an_id, an_object, maybe_number, maybe_object
from .reads import request_of
from .told import Told


def some_info(told: Told, *names: str) -> Sequence[Event]:
    """Some members of it are others now."""
    info = {name: told.body.get(name) for name in names if name in told.body}
    return (SessionUpdated(**told.first, info=info),)


def updated(told: Told) -> Sequence[Event]:
    """It comes whole."""
    info = an_object(told.body, "info", told.at)
    return (SessionUpdated(**told.first, info=info, whole=True),)


def deleted(told: Told) -> Sequence[Event]:
    """It is gone."""
    return (SessionRemoved(**told.first),)


def status(told: Told) -> Sequence[Event]:
    """What it does, as V1 says it."""
    status, at = an_object(told.body, "status", told.at), f"{told.at}.status"
    return (
        SessionStatus(
            **told.first,
            status=an_id(status, "type", at),
            attempt=maybe_number(status, "attempt", at),
            message=None if status.get("message") is None else a_string(status, "message", at),
            next=maybe_number(status, "next", at),
        ),
    )


def works(status: str, told: Told) -> Sequence[Event]:
    """It works, or does no more."""
    return (SessionStatus(**told.first, status=status),)


def failed(told: Told) -> Sequence[Event]:
    """It does no more, for an error that need not be of any step."""
    error = maybe_object(told.body, "error", told.at)
    idle = SessionStatus(**told.first, status="idle")
    if error is None:
        return (idle,)
    name, message = error.get("type"), error.get("message")
    said = {
        "name": name if type(name) is str and name else "error",
        "message": message if type(message) is str else "",
        "data": error,
    }
    return (idle, SessionError(session_id=told.session, error=said))


def revert(told: Told) -> Sequence[Event]:
    """It may be taken back to a message, or is not."""
    revert = maybe_object(told.body, "revert", told.at)
    return (SessionUpdated(**told.first, info={"revert": revert}),)


def todo(told: Told) -> Sequence[Event]:
    """Its list of things to do comes whole."""
    return (TodoUpdated(**told.first, todo=a_list(told.body, "todos", told.at)),)


def asked(cls: type[RequestAsked], told: Told) -> Sequence[Event]:
    """A permission or a question waits for an answer."""
    request_id, message_id, call_id = request_of(told.body, told.at)
    return (
        cls(
            **{**told.first, "id": None},
            request_id=request_id,
            message_id=message_id,
            call_id=call_id,
            payload=told.body,
        ),
    )


def answered(cls: type[RequestAnswered], told: Told) -> Sequence[Event]:
    """It waits no more."""
    request_id = told.id("requestID")
    return (cls(**{**told.first, "id": None}, request_id=request_id, payload=told.body),)
