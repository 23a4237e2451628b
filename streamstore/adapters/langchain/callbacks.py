"""Events of LangChain's `astream_events`: the models, tools and chains of a run as they are called.

Reads one such event, and hands the messages or the update in it on to the steps of the graph; keeps
no memory. Knows no other form of the wire.

Sources: what runnables of the published package `langchain-core` stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...events import Event, SessionStatus
from ..members import Members, an_object
from .graph import INTERRUPT, is_node, scope_of
from .messages import message_of
from .places import Places
from .runs import Runs
from .steps import Steps

#: The events, by name.
CALLBACKS = frozenset(
    f"on_{what}_{when}"
    for what in "chain chat_model llm tool retriever prompt parser".split()
    for when in "start stream end error".split()
) | {"on_custom_event"}


class Callbacks:
    """The events of `astream_events` of one stream.

    Args:
        session_id: the session.
        steps: the steps of the graph that they tell of.
        runs: its runs.
        places: the messages of its state, which a tool's result may be one of.
    """

    def __init__(self, session_id: str, steps: Steps, runs: Runs, places: Places) -> None:
        self._session = session_id
        self._steps = steps
        self._runs = runs
        self._places = places

    def read(self, event: str, wire: Members) -> Sequence[Event]:
        """What `astream_events` says of the models and tools that run, and the updates of the graph
        around them, where it streams those and their messages are dumped."""
        data, metadata = an_object(wire, "data"), wire.get("metadata")
        if event == "on_chat_model_stream":
            return self._steps.in_task([message_of(data.get("chunk"), "data.chunk")], metadata, "")
        if event == "on_chat_model_end":
            found = [message_of(data.get("output"), "data.output")]
            return self._steps.in_task(found, metadata, "", whole=True)
        output = data.get("output")
        if event == "on_tool_end" and isinstance(output, dict) and output.get("type") == "tool":
            found = [message_of(output, "data.output")]
            return self._steps.in_task(found, metadata, "", whole=True, name=self._places.ahead)
        if event == "on_chain_start" and is_node(wire.get("tags")):
            return self._runs.begun_again(scope_of(metadata))
        if wire.get("parent_ids") == []:
            if event == "on_chain_stream" and _is_update(data.get("chunk")):
                return self._steps.updates(data["chunk"], "")
            if event == "on_chain_start":
                return (SessionStatus(session_id=self._session, status="busy"),)
            if event == "on_chain_end":
                return self._runs.idle()
        return ()


def _is_update(value: Any) -> bool:
    """Whether a value may be what nodes of a graph gave, and what it says is dumped: a program that
    dumps what models say alone leaves the objects in others as they are."""
    if not isinstance(value, dict):
        return False
    for node, update in value.items():
        for each in update if isinstance(update, list | tuple) else (update,):
            given = each.get("messages") if isinstance(each, dict) else None
            if node == INTERRUPT and not isinstance(each, dict):
                return False
            for message in given if isinstance(given, list | tuple) else ():
                if not isinstance(message, str | dict | list | tuple):
                    return False
    return True
