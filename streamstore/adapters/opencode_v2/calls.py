"""Calls of tools in an opencode V2 session, and commands that its user runs.

Of what is remembered of a session: `calls`, the state of each running call; `ended`, of those that
ended before they began; `progress`, the number of what was last said of each. A call's id is its
own in its message alone: servers count `call_1` anew in each. Knows no text, and no end of a step.

Sources: as for `opencode_v2`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...events import (
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageUpdated,
    SessionUpdated,
    ToolResult,
)
from ..bounded import remember
from ..members import Members, an_object, maybe_id, objects
from .known import CALLS, Known, count_for
from .reads import text_of
from .told import Told, began


class Calls:
    """The calls and commands of a stream's sessions.

    Args:
        known: which messages and parts there are.
    """

    def __init__(self, known: Known) -> None:
        self._known = known

    def input_started(self, told: Told) -> Sequence[Event]:
        """The input of a call begins."""
        counted, message_id = count_for(told)
        call_id, name = told.id("callID"), told.id("name")
        opened = BlockOpened(
            session_id=told.session,
            message_id=message_id,
            block_index=f"tool/{call_id}",
            kind="tool",
            order=self._known.order(told, message_id, f"tool/{call_id}"),
            fields={
                "callId": call_id,
                "tool": name,
                "state": {"status": "pending"},
                **began(told),
            },
        )
        return (counted, opened)

    def input_delta(self, told: Told) -> Sequence[Event]:
        """A piece of it."""
        message_id, index = told.id("assistantMessageID"), f"tool/{told.id('callID')}"
        return (
            BlockDelta(
                **told.first,
                message_id=message_id,
                block_index=index,
                field="input",
                text=told.string("delta"),
            ),
        )

    def input_ended(self, told: Told) -> Sequence[Event]:
        """All of it, as text."""
        counted, message_id = count_for(told)
        fields = {"input": told.string("text")}
        return (counted, _tool(told, message_id, told.id("callID"), fields))

    def called(self, told: Told) -> Sequence[Event]:
        """A call begins to run."""
        counted, message_id = count_for(told)
        call_id = told.id("callID")
        tool = maybe_id(told.body, "tool", told.at)
        fields: Members = {} if tool is None else {"tool": tool}
        fields |= told.given("provider")
        given, key = an_object(told.body, "input", told.at), f"{message_id}\n{call_id}"
        if told.time is not None:
            fields["ran"] = told.time
        known = self._known.memory(told.session).get("calls", {}).get(key, {})
        ended = self._known.table(told.session, "ended").get(key)
        state = {**known, "status": "running", "input": given}
        self._runs(told, key, state)
        if ended is not None:  # a state that runs says nothing beside that of the end
            fields["state"] = {**state, **ended}
            return (counted, _tool(told, message_id, call_id, fields, "closed"))
        fields["state"] = state
        return (counted, _tool(told, message_id, call_id, fields))

    def progress(self, told: Told) -> Sequence[Event]:
        """What it has come to."""
        counted, message_id = count_for(told)
        call_id = told.id("callID")
        calls = self._known.memory(told.session).get("calls", {})
        given = told.given("structured", "content")
        key = f"{message_id}\n{call_id}"
        state = {"status": "running", **calls.get(key, {})}
        newest = self._known.table(told.session, "progress").get(key, -1)
        late = told.seq is not None and told.seq < newest
        state = {**given, **state} if late else {**state, **given}
        self._runs(told, key, state)
        if told.seq is not None and not late:
            remember(self._known.table(told.session, "progress"), key, told.seq, CALLS)
        state = {**state, **self._known.table(told.session, "ended").get(key, {})}
        updated = BlockUpdated(
            session_id=told.session,
            message_id=message_id,
            block_index=f"tool/{call_id}",
            kind="tool",
            fields={"callId": call_id, "state": state},
        )
        return (counted, updated)

    def ended(self, told: Told) -> Sequence[Event]:
        """`tool.success` and `tool.failed`."""
        counted, message_id = count_for(told)
        call_id = told.id("callID")
        failed = "error" in told.body
        content = told.body.get("content")
        if content is not None:
            objects(told.body, "content", told.at)
        calls, key = self._known.memory(told.session).get("calls", {}), f"{message_id}\n{call_id}"
        end = told.given("structured", "content", "outputPaths", "result")
        if failed:
            error = told.body["error"]
            message = error.get("message") if isinstance(error, dict) else error
            end |= {"status": "error", "error": message if type(message) is str else error}
        else:
            end |= {"status": "completed", "output": text_of(content or [])}
        state = {**calls.get(key, {}), **end}
        # What failed keeps what it had come to, which may be told late; what succeeded says it all.
        if failed or "input" not in state:
            remember(self._known.table(told.session, "ended"), key, end, CALLS)
        else:
            calls.pop(key, None)
        fields: Members = {"state": state}
        if failed:
            fields["failure"] = told.body["error"]
        if told.body.get("provider") is not None:
            fields["resultProvider"] = told.body["provider"]
        if told.time is not None:
            fields["ended"] = told.time
        return (counted, _tool(told, message_id, call_id, fields, "closed"))

    def shell_started(self, told: Told) -> Sequence[Event]:
        """A command of the user's begins, which is a message of its own."""
        message_id, call_id = told.id("messageID"), told.id("callID")
        state = {"status": "running", "input": {"command": told.string("command")}}
        events = self._known.message(told, message_id, "shell", {}, closed=False)
        tool = _tool(told, message_id, call_id, {"tool": "shell", "state": state})
        ended = self._known.table(told.session, "ended").pop(call_id, None)
        if ended is None:
            self._runs(told, call_id, {**state, "message": message_id})
            return (*events, tool)
        state = {**ended["state"], "input": state["input"]}
        return (
            *events,
            MessageClosed(session_id=told.session, message_id=message_id),
            MessageUpdated(session_id=told.session, message_id=message_id, info=ended["info"]),
            tool,
            _tool(told, message_id, call_id, {"state": state}, "closed"),
        )

    def shell_ended(self, told: Told) -> Sequence[Event]:
        """It ends; the event names the call alone."""
        call_id, output = told.id("callID"), told.string("output")
        call = self._known.memory(told.session).get("calls", {}).pop(call_id, {})
        state = {"status": "completed", "output": output}
        if "input" in call:
            state["input"] = call["input"]
        info = {} if told.time is None else {"completed": told.time}
        message_id = call.get("message")
        if message_id is None:
            ended = {"state": state, "info": info}
            remember(self._known.table(told.session, "ended"), call_id, ended, CALLS)
            return (
                SessionUpdated(**told.first),
                ToolResult(session_id=told.session, call_id=call_id, fields={"state": state}),
            )
        return (
            MessageClosed(**told.first, message_id=message_id),
            MessageUpdated(session_id=told.session, message_id=message_id, info=info),
            _tool(told, message_id, call_id, {"state": state}, "closed"),
        )

    def were_read(self, session: str, messages: Sequence[Members]) -> None:
        """What a read says of running calls: what ends a call says its end alone."""
        calls = self._known.table(session, "calls")
        for message in messages:
            for part in message["parts"]:
                state = part.get("state", {})
                if state.get("status") == "running":
                    if message["role"] == "shell":
                        key, state = part["callId"], {**state, "message": message["id"]}
                    else:
                        key = f"{message['id']}\n{part['callId']}"
                    if key not in calls:
                        remember(calls, key, state, CALLS)

    def _runs(self, told: Told, key: str, state: Members) -> None:
        remember(self._known.memory(told.session).setdefault("calls", {}), key, state, CALLS)


def _tool(
    told: Told, message_id: str, call_id: str, fields: Members, status: str = "open"
) -> BlockReplaced:
    return BlockReplaced(
        session_id=told.session,
        message_id=message_id,
        block_index=f"tool/{call_id}",
        kind="tool",
        text="",  # all that can be lost of it is its input, which is here
        status=status,
        fields={"callId": call_id, **fields},
    )
