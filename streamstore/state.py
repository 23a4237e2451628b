"""The state of a store as JSON (`docs/state.md`), from its reads alone.

Knows values, not rows; nothing here depends on the clock or on chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from .model import Json, Message, Part, Request, Session, Status, thaw


class Reads(Protocol):
    """The reads that the state is made of; a store and an adapter's view have them."""

    def session_ids(self) -> tuple[str, ...]: ...
    def session(self, session_id: str) -> Session | None: ...
    def messages(self, session_id: str) -> tuple[Message, ...]: ...
    def parts(self, session_id: str, message_id: str) -> tuple[Part, ...]: ...


@attrs.frozen
class OneSession:
    """The reads of a store, as if it held one session."""

    _reads: Reads
    _session_id: str

    def session_ids(self) -> tuple[str, ...]:
        return tuple(each for each in self._reads.session_ids() if each == self._session_id)

    def session(self, session_id: str) -> Session | None:
        return self._reads.session(session_id) if session_id == self._session_id else None

    def messages(self, session_id: str) -> tuple[Message, ...]:
        return self._reads.messages(session_id) if session_id == self._session_id else ()

    def parts(self, session_id: str, message_id: str) -> tuple[Part, ...]:
        return self._reads.parts(session_id, message_id) if session_id == self._session_id else ()


def state_of(reads: Reads, raw: bool = False) -> dict[str, Json]:
    """Every session by id, keys sorted, empty members left out. Linear in what is stored.

    Half a surrogate pair is U+FFFD, as it is read; with `raw` it is what came.
    """
    sessions: dict[str, Json] = {}
    for session_id in sorted(reads.session_ids()):
        session = reads.session(session_id)
        if session is not None:
            messages = [
                _message(message, reads.parts(session_id, message.id), raw)
                for message in reads.messages(session_id)
            ]
            sessions[session_id] = _session(session, messages)
    return sessions


def _session(session: Session, messages: list[Json]) -> Json:
    return _filled(
        diff=thaw(session.diff),
        errors=[thaw(error) for error in session.errors],
        info=thaw(session.info),
        messages=messages,
        permissions=_requests(session.permissions),
        questions=_requests(session.questions),
        state=thaw(session.state),
        status=None if session.status is None else _status(session.status),
        todo=thaw(session.todo),
    )


def _status(status: Status) -> Json:
    return _filled(
        **{**thaw(status.fields), "attempt": status.attempt, "message": status.message},
        next=status.next,
        type=status.type,
    )


def _requests(requests: Mapping[str, Request]) -> Json:
    return {
        request_id: _filled(
            callId=request.call_id,
            id=request.id,
            messageId=request.message_id,
            payload=thaw(request.payload),
        )
        for request_id, request in sorted(requests.items())
    }


def _message(message: Message, parts: tuple[Part, ...], raw: bool) -> Json:
    return _filled(
        clientId=message.client_id,
        error=thaw(message.error),
        id=message.id,
        info=thaw(message.info),
        local=message.local or None,
        parentId=message.parent_id,
        parts=[_part(part, raw) for part in parts],
        role=message.role,
        status=message.status,
    )


def _part(part: Part, raw: bool) -> Json:
    texts = {field: view.raw() if raw else view.read() for field, view in part.others.items()}
    return _filled(
        **{
            **thaw(part.fields),
            **texts,
            "blockIndex": part.block_index,
            "gap": part.gap or None,
            "kind": part.kind,
            "order": part.order,
            "previous": part.previous or None,
            "status": part.status,
            "text": part.view.raw() if raw else part.text,
        }
    )


def _filled(**members: Json) -> dict[str, Json]:
    """Members in order of their names, without the empty ones (null, "", [], {})."""
    return {
        name: members[name]
        for name in sorted(members)
        if members[name] is not None and members[name] not in ("", [], {})
    }
