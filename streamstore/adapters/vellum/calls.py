"""Calls of tools as both of vellum-assistant's wires have them: names, ends, inputs.

What ends a call does not have its input, and may come before it. Of what is remembered of a
conversation, `inputs` are those of the calls that run and `ended` the states of those that ended
before they began. Knows the members of an event about a call; not which wire it is of, nor to which
message the call belongs.

Sources: as for `vellum`.
"""

from __future__ import annotations

from typing import Any

from ..bounded import remember
from ..members import Members, a_string, maybe_id, wrong

#: How many open messages, and inputs of running tools, are remembered per conversation.
REMEMBERED = 256

_COORDINATES = frozenset(("type", "conversationId", "messageId", "blockIndex", "seq"))
_STATE_NAMES = frozenset(("status", "input", "output", "error", "title", "wire"))
_RESULT_NAMES = frozenset(("toolName", "toolUseId", "result", "isError"))


def named(wire: Members, at: str = "") -> Members:
    """The tool and the id of a call, where they are given."""
    found: Members = {}
    for ours, theirs in (("tool", "toolName"), ("callId", "toolUseId")):
        value = maybe_id(wire, theirs, at)
        if value is not None:
            found[ours] = value
    return found


def ended_state(wire: Members, given: Any, at: str) -> Members:
    """The tool state of a result; `given` is the input that came with its start."""
    result, failed = a_string(wire, "result", at), wire.get("isError")
    if failed is not None and type(failed) is not bool:
        raise wrong(wire, "isError", at, "true or false")
    state: Members = {"status": "error" if failed else "completed"}
    state["error" if failed else "output"] = result
    if given is not None:
        state["input"] = given
    strange: Members = {}
    for name, value in wire.items():
        if name not in _COORDINATES and name not in _RESULT_NAMES:
            (strange if name in _STATE_NAMES else state)[name] = value
    if strange:
        state["wire"] = strange
    return state


def call_started(memory: dict[str, Any], key: str, given: Members) -> Members | None:
    """Remember the input of a call. The state of one that ended before, which has it now: a state
    that runs says nothing beside that of the end."""
    ended: Members | None = memory.get("ended", {}).pop(key, None)
    if ended is not None:
        return {**ended, "input": given}
    remember(memory.setdefault("inputs", {}), key, given, REMEMBERED)
    return None


def call_ended(memory: dict[str, Any], key: str, state: Members) -> None:
    """Forget the input of a call; remember the state that it ended with where that lacks it."""
    memory.get("inputs", {}).pop(key, None)
    if "input" not in state:
        remember(memory.setdefault("ended", {}), key, state, REMEMBERED)
