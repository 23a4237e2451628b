"""Requests of both sides and their answers: prompts, permissions, questions, loads, settings.

Knows which requests wait, the memory of sessions, and messages and tools by what takes them in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...events import (
    Event,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    SessionError,
    SessionRemoved,
    SessionStatus,
    SessionUpdated,
    TurnCompleted,
    TurnStarted,
)
from ...keys import is_id, is_number
from ..base import Context
from ..members import Members, an_id, an_object, maybe_id, maybe_object, wrong
from .messages import Messages
from .schema import read_tool, request_name
from .session import settings
from .tools import Tools

#: Requests of a stream that are remembered.
_REQUESTS = 256

#: What the answer to a request of the agent carries.
_CARRIED: Mapping[str, str] = {"permission": "outcome", "question": "action"}

#: Members of a request that sets something, which its success sets.
_SET: Mapping[str, str] = {"modeId": "currentModeId", "modelId": "currentModelId"}


class Requests:
    """The requests of a stream that wait for an answer, and what ids were used for what."""

    def __init__(self, context: Context, messages: Messages, tools: Tools) -> None:
        self._context = context
        self._messages = messages
        self._tools = tools

    def begin(self) -> None:
        """A connection begins, in which nothing of an earlier one is answered."""
        for table in ("requests", "asked"):
            self._context.own.pop(table, None)

    def pass_by(self, wire: Members) -> None:
        """The agent asks for what is of no session: only whose answer its id brings is kept."""
        if wire.get("id") is not None:
            self._await("asked", request_name(wire), ["", ""])

    def setting(self, wire: Members) -> Sequence[Event]:
        """The client begins a session, goes on with one, or sets something of it."""
        params = maybe_object(wire, "params") or {}
        session_id = maybe_id(params, "sessionId", "params") or ""  # else the answer names it
        info = {ours: params[name] for name, ours in _SET.items() if type(params.get(name)) is str}
        if wire.get("id") is not None:
            self._await("requests", request_name(wire), ["set", session_id, json.dumps(info)])
        return ()

    def load(self, wire: Members) -> Sequence[Event]:
        """The agent will send its whole history: what is there goes first."""
        session_id = an_id(an_object(wire, "params"), "sessionId", "params")
        if "id" in wire:
            self._await("requests", request_name(wire), ["load", session_id])
        memory = self._messages.of_session(session_id)
        kept = {"moves": memory.get("moves", 0) + 1, "named": memory.get("named", {})}
        memory.clear()
        memory.update(kept)
        return (
            SessionRemoved(session_id=session_id),
            SessionUpdated(session_id=session_id, whole=True),
        )

    def prompt(self, wire: Members) -> Sequence[Event]:
        """A turn of the session begins."""
        session_id = an_id(an_object(wire, "params"), "sessionId", "params")
        name = request_name(wire)
        self._await("requests", name, ["prompt", session_id])
        memory = self._messages.of_session(session_id)
        memory["bounded"] = True
        self._messages.move(memory)
        return (
            TurnStarted(session_id=session_id),
            SessionStatus(session_id=session_id, status="busy"),
            *self._messages.ended(session_id),
        )

    def permission(self, wire: Members) -> Sequence[Event]:
        """The agent asks whether a tool may run, which waits for it."""
        params = an_object(wire, "params")
        session_id = an_id(params, "sessionId", "params")
        call = an_object(params, "toolCall", "params")
        call_id = an_id(call, "toolCallId", "params.toolCall")
        said = read_tool(call, "params.toolCall")
        name = request_name(wire)
        request_id = self._ask("permission", session_id, name, call_id)
        events = self._tools.take(session_id, call_id, said, whole=False, waiting=True)
        known = self._messages.of_session(session_id)["calls"][call_id]
        asked = PermissionAsked(
            session_id=session_id,
            request_id=request_id,
            message_id=known["message"],
            call_id=call_id,
            payload={member: value for member, value in params.items() if member != "sessionId"},
        )
        return [*events, asked]

    def question(self, wire: Members) -> Sequence[Event]:
        """The agent wants something of the user, for a session or for a request of the client."""
        params = an_object(wire, "params")
        name = request_name(wire)
        session_id = maybe_id(params, "sessionId", "params")
        if session_id is None:
            if not is_number(params.get("requestId")) and type(params.get("requestId")) is not str:
                raise wrong(params, "sessionId", "params", "a non-empty string")
            asker = request_name({"id": params["requestId"]})
            session_id = self._context.own.get("requests", {}).get(asker, ("", ""))[1]
            if not session_id:  # such as that of a login
                self._await("asked", name, ["", ""])
                return ()
        call_id = maybe_id(params, "toolCallId", "params")
        known = self._messages.of_session(session_id).get("calls", {}).get(call_id)
        of = json.dumps(params, sort_keys=True, default=repr)
        digest = hashlib.sha256(of.encode("utf-8", "surrogatepass")).hexdigest()
        return (
            QuestionAsked(
                session_id=session_id,
                request_id=self._ask("question", session_id, name, digest),
                message_id=None if known is None else known["message"],
                call_id=call_id,
                payload={key: value for key, value in params.items() if key != "sessionId"},
            ),
        )

    def answer(self, wire: Members) -> Sequence[Event]:
        """A request of either side was answered, or failed."""
        if "result" not in wire and "error" not in wire:
            raise wrong(wire, "method", "", "a string")
        name = request_name(wire)
        error = maybe_object(wire, "error")
        result = wire.get("result")
        result = result if isinstance(result, dict) else {}
        what, session_id, request_id = self._answered(name, result if error is None else None)
        if what == "permission":
            payload = {"outcome": result.get("outcome")}
            return (
                PermissionReplied(session_id=session_id, request_id=request_id, payload=payload),
            )
        if what == "question":
            replied = QuestionReplied if result.get("action") == "accept" else QuestionRejected
            return (replied(session_id=session_id, request_id=request_id, payload=result),)
        if what == "load":
            return [*self._messages.ended(session_id), *settings(session_id, {}, result)]
        if what == "set":
            if error is not None:
                return ()
            named = result.get("sessionId")
            session_id = named if is_id(named) else session_id
            return settings(session_id, json.loads(request_id), result)
        if what != "prompt":
            return ()
        memory = self._messages.of_session(session_id)
        memory["bounded"] = True
        self._messages.move(memory)
        said: Members | None = None
        events: list[Event] = []
        status = "aborted" if result.get("stopReason") == "cancelled" else "completed"
        if error is not None:
            text = error.get("message")
            said = {"name": "error", "message": text if type(text) is str else "", "data": error}
            events.append(SessionError(session_id=session_id, error=said))
            status = "error"
        events += [
            *self._messages.ended(session_id, status=status, error=said),
            TurnCompleted(session_id=session_id),
        ]
        if ["prompt", session_id] in self._context.own["requests"].values():
            return [*events, TurnStarted(session_id=session_id)]  # one that was queued
        return [*events, SessionStatus(session_id=session_id, status="idle")]

    def _answered(self, name: str, result: Members | None) -> tuple[str, str, str]:
        """What an answer ends, its session and id there; `result`: None for an error."""
        for table in ("asked", "requests"):
            waiting: dict[str, list[str]] = self._context.own.get(table, {})
            what, session_id, *ids = waiting.get(name, ("", ""))
            carried = _CARRIED.get(what)
            if name in waiting and (
                result is None
                or table == "requests"
                or (carried in result if carried else "stopReason" not in result)
            ):
                del waiting[name]
                named = self._messages.of_session(session_id).get("named", {}) if ids else {}
                if f"{what} {name}" in named:
                    named[f"{what} {name}"][0] = None  # the next one is another
                return what, session_id, ids[0] if ids else name
        return "", "", name

    def _await(self, table: str, name: str, what: list[str]) -> None:
        """Note a request of the client (`requests`) or of the agent (`asked`)."""
        waiting: dict[str, list[str]] = self._context.own.setdefault(table, {})
        waiting[name] = what
        if len(waiting) > _REQUESTS:
            del waiting[next(iter(waiting))]

    def _ask(self, what: str, session_id: str, name: str, of: str) -> str:
        """Note a request of the agent; the id it has in the session, where an answered one is
        never asked again. `of`: what it is about, if it is only sent again."""
        memory = self._messages.of_session(session_id)
        named: dict[str, list[Any]] = memory.setdefault("named", {})
        key = f"{what} {name}"
        before, times = named.pop(key, (of, 0))
        times += before != of
        named[key] = [of, times]
        if len(named) > self._context.limits.answered_requests:
            del named[next(iter(named))]
        request_id = name + " " * times
        self._await("asked", name, [what, session_id, request_id])
        return request_id
