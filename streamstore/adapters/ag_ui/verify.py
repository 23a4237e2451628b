"""What is in progress in an AG-UI stream, and which sequence of events its official client refuses.

Follows whole events (chunks are expanded before). Strict, the first one out of sequence is
refused and nothing was noted of it; lenient, everything is noted and nothing refused. What it
remembers is plain JSON, belongs to one run, and starts anew with the next.

Sources: the verification stage of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import ProtocolStopped
from ..members import Members
from .chunks import lane_of

#: Event types of streamed text, with the table of what is in progress.
STREAMED: Mapping[str, str] = {
    "TEXT_MESSAGE_CONTENT": "text",
    "REASONING_MESSAGE_CONTENT": "reasoning",
}

#: Event type to what it opens, continues or ends: the table of open ids, and of their owners.
_OPENS: Mapping[str, tuple[str, str]] = {
    "TEXT_MESSAGE_START": ("text", "message"),
    "TOOL_CALL_START": ("tool", "tool"),
    "REASONING_START": ("span", "reasoning"),
    "REASONING_MESSAGE_START": ("reasoning", "reasoning"),
}
_CONTINUES: Mapping[str, tuple[str, str]] = {
    "TEXT_MESSAGE_CONTENT": ("text", "message"),
    "TOOL_CALL_ARGS": ("tool", "tool"),
    "REASONING_MESSAGE_CONTENT": ("reasoning", "reasoning"),
}
_ENDS: Mapping[str, tuple[str, str]] = {
    "TEXT_MESSAGE_END": ("text", "message"),
    "TOOL_CALL_END": ("tool", "tool"),
    "REASONING_MESSAGE_END": ("reasoning", "reasoning"),
    "REASONING_END": ("span", "reasoning"),
}
_TABLES = ("text", "tool", "span", "reasoning", "steps", "subagents", "ended")
_OWNERS = ("message", "tool", "activity", "reasoning")
_ROLES = {"reasoning": "reasoning", "activity": "activity"}
_MISSING = object()

#: What a lenient stream knows to be in progress, of each kind; the oldest go, as if they had ended.
_OPEN = 1024

#: What a strict stream knows the owner of in a run, of each kind, and subagents that ended. The
#: oldest go, and nothing is refused for what they were.
_OWNED = 8192


class Flow:
    """Follows one stream; `take` notes events, or refuses them where the official client does.

    Args:
        memory: plain JSON that it keeps everything in; filled where it is empty.
        strict: refuse.
    """

    def __init__(self, memory: Members, strict: bool) -> None:
        self._memory = memory
        self._strict = strict
        self._undo: list[tuple[Members, str, Any]] = []
        if not memory:
            memory.update({"begun": False, "run": "none"}, **self._tables())
        if strict:  # a saved stream may have been a lenient one
            memory.setdefault("owners", {name: {} for name in _OWNERS})

    def _tables(self) -> Members:
        tables: Members = {name: {} for name in _TABLES}
        if self._strict:
            tables["owners"] = {name: {} for name in _OWNERS}
        return tables

    @property
    def begun(self) -> bool:
        """Whether an event was taken."""
        begun: bool = self._memory["begun"]
        return begun

    def open(self, table: str) -> Members:
        """Ids in progress: `text`, `tool`, `span` or `reasoning`; steps, subagents by lane."""
        found: Members = self._memory[table]
        return found

    def streams(self, message_id: str) -> bool:
        """Whether the text of a message is in progress, whatever its kind."""
        return any(message_id in self._memory[table] for table in STREAMED.values())

    def take(self, events: Iterable[Members]) -> None:
        """Note events in order, all of them or none. Costs the events, not what is open.

        Raises:
            ProtocolStopped: strict, the official client refuses one of them.
        """
        self._undo.clear()
        try:
            for event in events:
                self._take(event)
        except ProtocolStopped:
            for table, key, before in reversed(self._undo):
                if before is _MISSING:
                    del table[key]
                else:
                    table[key] = before
            raise
        finally:
            self._undo.clear()

    # -- notes ---------------------------------------------------------------------------------

    def _set(self, table: Members, key: str, value: Any) -> None:
        self._undo.append((table, key, table.get(key, _MISSING)))
        table[key] = value

    def _note(self, table: Members, key: str, value: Members | None = None) -> None:
        """Note an id, in a table that is bounded where nothing is refused for want of it."""
        self._set(table, key, value)
        while not self._strict and len(table) > _OPEN:
            del table[next(iter(table))]

    def _own(self, owners: str, key: str, owner: str | None) -> None:
        table = self._memory["owners"][owners]
        self._set(table, key, owner)
        self._bound(table)

    def _bound(self, table: Members) -> None:
        while len(table) > _OWNED:
            self._drop(table, next(iter(table)))

    def _drop(self, table: Members, key: str) -> None:
        if key in table:
            self._undo.append((table, key, table[key]))
            del table[key]

    def _refuse(self, kind: str, why: str) -> None:
        if self._strict:
            raise ProtocolStopped(f"{kind}: {why}")

    # -- one event -----------------------------------------------------------------------------

    def _take(self, event: Members) -> None:
        kind = event["type"]
        self._in_run(kind)
        if kind in _OPENS:
            self._opens(kind, event)
        elif kind in _CONTINUES or kind in _ENDS:
            self._goes_on(kind, event)
        elif kind in ("STEP_STARTED", "STEP_FINISHED"):
            self._step(kind, event)
        elif kind in ("SUBAGENT_STARTED", "SUBAGENT_FINISHED", "SUBAGENT_ERROR"):
            self._subagent(kind, event)
        elif kind == "RUN_FINISHED":
            for name in ("steps", "text", "reasoning", "span", "tool", "subagents"):
                if any(self._memory[name].values() if name == "steps" else self._memory[name]):
                    self._refuse(kind, f"{name} in progress")
            self._set(self._memory, "run", "finished")
        elif kind == "RUN_ERROR":
            self._set(self._memory, "run", "failed")
        elif self._strict:
            self._owners(kind, event)

    def _in_run(self, kind: str) -> None:
        memory = self._memory
        run = memory["run"]
        if run == "failed" and kind != "RUN_STARTED":
            self._refuse(kind, "the run has failed")
        if run == "finished" and kind not in ("RUN_STARTED", "RUN_ERROR"):
            self._refuse(kind, "the run is finished")
        if not memory["begun"]:
            self._set(memory, "begun", True)
            if kind not in ("RUN_STARTED", "RUN_ERROR"):
                self._refuse(kind, "no run was started")
        elif kind == "RUN_STARTED" and run == "running":
            self._refuse(kind, "the last run is not finished")
        if kind == "RUN_STARTED":
            for name, table in self._tables().items():
                self._set(memory, name, table)
            self._set(memory, "run", "running")

    def _opens(self, kind: str, event: Members) -> None:
        table, owners = _OPENS[kind]
        entity = event["toolCallId" if table == "tool" else "messageId"]
        if entity in self._memory[table]:
            self._refuse(kind, f"{entity!r} is in progress")
        if self._strict:
            owner = event.get("subagentRunId")
            if table == "tool":
                owner = self._tool_owner(kind, event, entity)
            self._agree(kind, event, owners, entity)
            if entity not in self._memory["owners"][owners]:
                self._own(owners, entity, owner)
        self._note(self._memory[table], entity)

    def _tool_owner(self, kind: str, event: Members, call_id: str) -> str | None:
        """Whose a call is: its own tag's, else that of the message which carries it."""
        owners = self._memory["owners"]
        tag, parent = event.get("subagentRunId"), event.get("parentMessageId")
        if parent is None or parent not in owners["message"]:
            return tag
        inherited: str | None = owners["message"][parent]
        if tag is not None and tag != inherited:
            self._refuse(kind, f"{parent!r} is not of {tag!r}")
        if tag is None and owners["tool"].get(call_id, inherited) != inherited:
            self._refuse(kind, f"{call_id!r} is not of the owner of {parent!r}")
        return inherited

    def _goes_on(self, kind: str, event: Members) -> None:
        table, owners = _CONTINUES.get(kind) or _ENDS[kind]
        entity = event["toolCallId" if table == "tool" else "messageId"]
        if entity not in self._memory[table]:
            self._refuse(kind, f"{entity!r} is not in progress")
        if self._strict:
            self._agree(kind, event, owners, entity)
        if kind in _ENDS:
            self._drop(self._memory[table], entity)

    def _agree(self, kind: str, event: Members, owners: str, entity: str) -> None:
        """An event that names a subagent names the one that the entity belongs to."""
        tag = event.get("subagentRunId")
        known = self._memory["owners"][owners]
        if tag is not None and entity in known and known[entity] != tag:
            self._refuse(kind, f"{entity!r} is not of subagent {tag!r}")

    def _step(self, kind: str, event: Members) -> None:
        steps = self._memory["steps"]
        lane, name = lane_of(event.get("subagentRunId")), event["stepName"]
        is_open = name in steps.get(lane, ())
        if is_open == (kind == "STEP_STARTED"):
            self._refuse(kind, f"step {name!r} {'is' if is_open else 'is not'} in progress")
        if lane not in steps:
            self._note(steps, lane, {})
        if kind == "STEP_STARTED":
            self._note(steps[lane], name)
        else:
            self._drop(steps[lane], name)
            if not steps[lane]:
                self._drop(steps, lane)

    def _subagent(self, kind: str, event: Members) -> None:
        subagents, ended = self._memory["subagents"], self._memory["ended"]
        agent, parent = event["subagentRunId"], event.get("parentSubagentRunId")
        if kind == "SUBAGENT_STARTED":
            if agent in subagents or agent in ended:
                self._refuse(kind, f"{agent!r} was started before")
            known = parent is None or parent in subagents or parent in ended
            if not known and len(ended) < _OWNED:
                self._refuse(kind, f"its parent {parent!r} was not started")
            self._note(subagents, agent)
            return
        if agent not in subagents:
            self._refuse(kind, f"{agent!r} is not in progress")
        self._drop(subagents, agent)
        self._note(ended, agent)
        self._bound(ended)

    def _owners(self, kind: str, event: Members) -> None:
        """What other events say, or need to agree with, about who owns what."""
        owners = self._memory["owners"]
        tag = event.get("subagentRunId")
        if kind == "ACTIVITY_SNAPSHOT":
            if event["messageId"] not in owners["activity"] or event.get("replace", True):
                self._own("activity", event["messageId"], tag)
        elif kind == "ACTIVITY_DELTA":
            self._agree(kind, event, "activity", event["messageId"])
        elif kind == "TOOL_CALL_RESULT":
            self._own("message", event["messageId"], tag)
        elif kind == "REASONING_ENCRYPTED_VALUE":
            table = "tool"
            if event["subtype"] == "message":
                known = event["entityId"] in owners["message"]
                table = "message" if known else "reasoning"
            self._agree(kind, event, table, event["entityId"])
        elif kind == "MESSAGES_SNAPSHOT":
            self._history(event["messages"], authoritative=True)
        elif kind == "RUN_STARTED" and "input" in event:
            self._history(event["input"]["messages"], authoritative=False)

    def _history(self, messages: Iterable[Members], authoritative: bool) -> None:
        """Messages that come whole say whose they are, and whose their calls are."""
        owners = self._memory["owners"]
        for message in messages:
            owner = message.get("subagentRunId")
            table = _ROLES.get(message["role"], "message")
            if authoritative or message["id"] not in owners[table]:
                self._own(table, message["id"], owner)
            for call in message.get("toolCalls", ()):
                if authoritative or call["id"] not in owners["tool"]:
                    self._own("tool", call["id"], owner)
