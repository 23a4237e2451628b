"""What a LangGraph graph says of its messages step by step: a node's task, an update, a state.

Takes messages in that were read, one or several at once, with what the graph says beside them: it
has their content added (`contents`), finds those without an id (`places`), and
takes back what an attempt has left (`runs`). Knows the data of a step; not the mode,
event or envelope in which it came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...errors import MalformedEvent, ProtocolStopped
from ...events import Event, SessionState
from ...keys import is_id
from ..members import Members, are_objects, describe, only_json
from .contents import Contents
from .graph import INTERRUPT, run_of, scope_of
from .known import Known
from .messages import message_of, messages_given
from .places import Places
from .runs import Runs

#: Messages that come whole again and again whose task is known.
_TASKS = 256


class Steps:
    """The steps of a graph that one stream tells of.

    In the stream's own memory: `tasks`, by id of a message, the task and the run that said it,
    where they do not come with it.

    Args:
        known: the messages of the session.
        contents: their contents.
        runs: the runs of the graph.
        places: the messages of its state.
    """

    def __init__(self, known: Known, contents: Contents, runs: Runs, places: Places) -> None:
        self._known = known
        self._contents = contents
        self._runs = runs
        self._places = places
        self._session = known.session
        self._own = known.own

    def in_task(
        self,
        messages: list[Members],
        metadata: Any,
        below: str,
        whole: bool = False,
        name: Callable[[list[Members], str], None] | None = None,
    ) -> list[Event]:
        """A message of a graph's node, remembered as one of its task: the namespace in the metadata
        is that of the task, which all attempts at it share. Of nodes that run side by side in one
        graph, it alone tells which it is."""
        task = scope_of(metadata)
        scope = task or below
        events = self.take(messages, scope, final=True, whole=whole, name=name, task=task)
        message_id = self._known.current(scope)
        run = run_of(metadata)
        self._runs.note(run.split(" ")[0])
        return [*self._runs.repeated(message_id, task, run), *events]

    def note_tasks(self, data: Any) -> Sequence[Event]:
        """Notes the tasks of messages that come whole again and again, without their metadata."""
        tasks: dict[str, list[str]] = self._own.setdefault("tasks", {})
        for given, each in data.items() if isinstance(data, dict) else ():
            metadata = each.get("metadata") if isinstance(each, dict) else None
            if scope_of(metadata):
                tasks.pop(given, None)
                tasks[given] = [scope_of(metadata), run_of(metadata)]
                if len(tasks) > _TASKS:
                    del tasks[next(iter(tasks))]
        return ()

    def so_far(self, messages: list[Members], scope: str, final: bool) -> list[Event]:
        """Such messages: one alone, as a server sends them, is remembered as one of its task."""
        given = messages[0].get("id") if len(messages) == 1 else None
        task, run = self._own.get("tasks", {}).get(given if is_id(given) else "", ("", ""))
        events = self.take(messages, scope, final=final, whole=True, task=task)
        message_id = self._known.current(scope)
        return [*self._runs.repeated(message_id, task, run), *events]

    def updates(self, data: Any, scope: str) -> Sequence[Event]:
        """What the nodes of one step have given to the state of their graph."""
        if not isinstance(data, dict):
            raise MalformedEvent("data", f"must be an object, not {describe(data)}")
        found: list[Members] = []
        nodes: list[str] = []
        for node, update in data.items():
            # A node that ran several times, or gave several commands, has a list of updates.
            several = isinstance(update, list | tuple)
            for number, each in enumerate(update if several else (update,)):
                at = f"data.{node[:80]}.{number}" if several else f"data.{node[:80]}"
                messages = each.get("messages") if isinstance(each, dict) else None
                found += messages_given(messages, f"{at}.messages")
                nodes += [node] * (len(found) - len(nodes))
        asked = self._runs.interrupted(data.get(INTERRUPT))  # first: it may be malformed
        failed = self._runs.of_failed(scope, found)
        name = partial(self._places.ahead, nodes=nodes)
        events = self.take(found, scope, final=True, whole=True, name=name)
        self._runs.told(found)
        return self._runs.waits([*events, *self._known.taken_back(failed)], asked)

    def values(self, data: Any, scope: str) -> Sequence[Event]:
        """The state of a graph behind a step."""
        if not isinstance(data, dict):
            raise MalformedEvent("data", f"must be an object, not {describe(data)}")
        messages, rest = data.get("messages"), data
        events: list[Event] = []
        if not isinstance(messages, list) or not are_objects(messages):
            messages = None
        else:
            rest = {name: value for name, value in data.items() if name != "messages"}
        only_json(rest, "data")
        if messages is not None:
            found = [
                message_of(value, f"data.messages.{place}") for place, value in enumerate(messages)
            ]
            failed = self._runs.of_failed(scope, found, state=True)
            events += self.take(found, scope, final=True, whole=True, name=self._places.placed)
            events += self._known.taken_back(failed)
            self._runs.told(found)
            if not scope:
                events += [*self._places.left_out(found), *self._places.in_order()]
        events = self._runs.waits(events, self._runs.interrupted(rest.get(INTERRUPT)))
        if not scope:  # the state of the graph itself, not that of one below it
            events.append(SessionState(session_id=self._session, state=rest))
        return events

    def take(
        self,
        messages: list[Members],
        scope: str,
        final: bool,
        whole: bool = False,
        name: Callable[[list[Members], str], None] | None = None,
        task: str = "",
    ) -> list[Event]:
        """Messages that were read, chunks or whole: those of a list stand together. With `whole` a
        chunk is all of its message so far. `name` gives an id to those without one."""
        before = self._known.kept() if len(messages) > 1 else None
        events: list[Event] = []
        try:
            if name is not None:
                for message in messages:
                    if message["type"] != "remove" and (
                        whole or not message["type"].endswith("Chunk")
                    ):
                        self._contents.check(message)
                name(messages, scope)
            for message in messages:
                if message["type"] == "remove":
                    events += self._known.removed(message)
                elif message["type"].endswith("Chunk") and not whole:
                    events += self._contents.chunk(message, scope, task)
                else:
                    events += self._contents.whole(message, scope, final, task)
        except (MalformedEvent, ProtocolStopped):
            if before is not None:  # what came of those before it is not kept either
                self._known.put_back(before)
            raise
        return events
