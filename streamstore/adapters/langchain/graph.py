"""What a LangGraph graph wraps its messages in: mode, namespace, and the metadata of a node's task.

Knows nothing of messages, events or memory.

Sources: what graphs of the published package `langgraph` yield.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeGuard

from ..members import Members

#: Metadata of a graph's node that tells the messages of parallel nodes apart.
_NAMESPACES = ("langgraph_checkpoint_ns", "checkpoint_ns")
#: Modes in which a program streams a graph.
_MODES = frozenset("messages values updates custom checkpoints tasks debug".split())

#: Members of an event-stream event whose name is known, and of one that has an id.
NAMED = frozenset(("event", "data"))
NAMED_BY_ID = NAMED | {"id"}
#: The member of a graph's state or updates that says what it waits for.
INTERRUPT = "__interrupt__"

_GIVEN = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def unwrapped(wire: Any) -> tuple[str, Sequence[Any], Any] | None:
    """Mode, namespace and data of what a graph yields with the one or the other; None for another.

    A program has tuples where a wire has arrays.
    """
    if isinstance(wire, dict):
        mode, names = wire.get("type"), wire.get("ns")
        if type(mode) is str and mode in _MODES and "data" in wire:
            return (mode, names, wire["data"]) if isinstance(names, list | tuple) else None
        return None
    if not isinstance(wire, list | tuple) or not 2 <= len(wire) <= 3:
        return None
    names, data = wire[0], wire[-1]
    mode = wire[1] if len(wire) == 3 else names if type(names) is str else "messages"
    if type(mode) is not str or mode not in _MODES:
        return None
    if len(wire) == 2 and mode is names:
        return mode, (), data
    # Without a mode the namespace is told from a message by what stands behind it.
    pair = isinstance(names, list | tuple) and (len(wire) == 3 or isinstance(data, list | tuple))
    return (mode, names, data) if pair else None


def unwrapped_pair(wire: Any) -> tuple[str, Any]:
    """Namespace and pair in what a graph yields, for the short way; any error for another."""
    mode, names, pair = unwrapped(wire) or ("", (), ())
    if mode != "messages" or not isinstance(pair, list | tuple):
        raise TypeError("no chunk with its metadata")
    return "|".join(names), pair


def is_metadata(value: Members) -> bool:
    return "type" not in value and "content" not in value and "lc" not in value


def scope_of(metadata: Any) -> str:
    """The namespace of a graph's node, "" for none."""
    if isinstance(metadata, dict):
        for name in _NAMESPACES:
            if type(metadata.get(name)) is str:
                scope: str = metadata[name]
                return scope
    return ""


def run_of(metadata: Any) -> str:
    """The run of a graph and the attempt at it, "" where the metadata do not name it."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("run_id"), str):
        return ""
    attempt = metadata.get("run_attempt")
    return f"{metadata['run_id']} {attempt if isinstance(attempt, int) else ''}".strip()


def node_of(task: str, scope: str) -> tuple[str, ...]:
    """The task that a graph is waiting for while another below it runs, and the names of the nodes
    from there on: a graph that is run once more is another one, and its tasks have other ids.
    """
    names = task.split("|")
    below = f"{scope}|" if scope else ""
    depth = below.count("|") + 1 if task.startswith(below) else len(names)
    # What has no id is the number of a run.
    inner = [name.partition(":")[0] for name in names[depth:] if ":" in name]
    return ("|".join(names[:depth]), *inner)


def is_given(message_id: Any) -> TypeGuard[str]:
    """Whether an id is of the form that a graph gives a message that has none."""
    return type(message_id) is str and _GIVEN.fullmatch(message_id) is not None


def is_node(tags: Any) -> bool:
    """Whether the tags are those of a node's run itself, not of what runs in it."""
    return isinstance(tags, list) and any(
        type(tag) is str and tag.startswith("graph:step:") for tag in tags
    )
