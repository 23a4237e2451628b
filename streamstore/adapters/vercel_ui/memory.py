"""What is remembered of the messages of a UI message stream, as plain JSON.

Of each message that may still be written: what is open in it, its tool parts, where its step began;
and of all of them where they stand. Knows indexes, ids and fields as somebody else read them; no
chunk, no event and no part as it is stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from ...model import Json
from ..bounded import remember

#: What is remembered of one message: see `new_memory`.
Memory: TypeAlias = dict[str, Any]

#: How many messages of a session are remembered: what is open in them, and where they stand.
MESSAGES = 8
#: Of how many messages of a session it is remembered where they stand.
ORDERS = 256

#: Parts whose text streams under an id of theirs.
STREAMED = ("text", "reasoning")
# States in which the client has to act before the message goes on.
WAITING = frozenset(("input-available", "approval-requested", "approval-responded"))
# Keys that the client does not merge into metadata.
_PROTOTYPE_KEYS = frozenset(("__proto__", "constructor", "prototype"))


def new_memory(message_id: str) -> Memory:
    """What is remembered of a message while it may still be written.

    - `writer`: number of the stream that writes it; `delivery`: of the one that began it;
    - `next`: index of its next part; `from`: of the first one behind its last step-start;
    - `text`, `reasoning`: index of the open part, by id; `ended`: of parts that were ended;
    - `inputs`: index of the tool part that input deltas go to, by call id;
    - `tools`: by call id, its tool parts: `{"index", "fields"}`;
    - `data`: index of data parts that have an id, by type and id;
    - `metadata`: what further metadata is merged into;
    - `finished`: its response ended; `closed`: and it does not wait for the client;
    - `early`: the chunks that made it, while no start said whether they are another one's;
    - `head`: those that came before the start that named it;
    - `visits`: what `from` may be by step-starts of which no start said so either.
    """
    return {
        "id": message_id,
        "writer": 0,
        "delivery": 0,
        "next": 0,
        "from": 0,
        "text": {},
        "reasoning": {},
        "ended": {"text": {}, "reasoning": {}},
        "inputs": {},
        "tools": {},
        "data": {},
        "finished": False,
        "closed": False,
    }


def cut_off(memory: Memory) -> None:
    """Nothing is open in a message any more, not even for the short way of a stream."""
    for kind in STREAMED:
        memory[kind].clear()


def take_index(memory: Memory) -> int:
    """The index of one more part of a message."""
    index: int = memory["next"]
    memory["next"] = index + 1
    return index


def step_of(memory: Memory) -> int:
    """Where the step begins that a stream goes on with: that of a visiting step-start counts."""
    step: int = max([memory["from"], *memory.get("visits", ())])
    return step


def _tools(memory: Memory, call_id: str) -> list[Memory]:
    found: list[Memory] = memory["tools"].get(call_id, [])
    return found


def all_tools(memory: Memory) -> list[Memory]:
    """The tool parts of a message, call by call."""
    return [tool for calls in memory["tools"].values() for tool in calls]


def in_step(memory: Memory, call_id: str, dynamic: bool | None = None) -> Memory | None:
    """The first tool part of a call in the present step, of one of the two types or of any.

    One that only deltas announced may be of either.
    """
    for tool in _tools(memory, call_id):
        if tool["index"] >= memory["from"]:
            fields = tool["fields"]
            if dynamic is None or "tool" not in fields or ("dynamic" in fields) == dynamic:
                return tool
    return None


def anywhere(memory: Memory, call_id: str) -> Memory | None:
    """The tool part of a call that results are for: in the present step, else the last one."""
    found = in_step(memory, call_id)
    if found is None:
        found = next(reversed(_tools(memory, call_id)), None)
    return found


def asking(memory: Memory, approval_id: str) -> Memory | None:
    """The first tool part with an approval. Linear in the message's tool calls."""
    for tool in sorted(all_tools(memory), key=lambda tool: int(tool["index"])):
        approval = tool["fields"].get("approval")
        if isinstance(approval, dict) and approval.get("id") == approval_id:
            return tool
    return None


def without(tools: Memory, gone: range) -> Memory:
    """The tool parts whose index is none of those."""
    left = {
        call_id: [tool for tool in calls if tool["index"] not in gone]
        for call_id, calls in tools.items()
    }
    return {call_id: calls for call_id, calls in left.items() if calls}


def waits_for_client(memory: Memory) -> bool:
    """Whether the present step has a call that this client has to answer."""
    return any(
        tool["index"] >= memory["from"]
        and tool["fields"]["state"]["wire"] in WAITING
        and not tool["fields"].get("providerExecuted")
        for tool in all_tools(memory)
    )


def merged_metadata(base: Json, over: Json) -> Json:
    """Metadata with more merged into it: objects member by member, all else replaced."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    result = dict(base)
    for name, value in over.items():
        if name not in _PROTOTYPE_KEYS:
            result[name] = merged_metadata(base[name], value) if name in base else value
    return result


def places_of(shared: Memory, ids: Sequence[str], newer: bool) -> list[float]:
    """Where listed messages stand among those that are known; remembers it.

    The last known one of the list stays where it is and the others stand around it, closer than
    what is known and not in the list. A list of strangers stands behind all, when it is `newer`,
    or before all.
    """
    orders: dict[str, float] = shared["orders"]
    found: list[float]
    places = [orders[name] for name in ids if name in orders]
    if len(places) == len(ids) and all(here < there for here, there in pairwise(places)):
        return places
    size = len(ids)
    anchor = max((at for at, name in enumerate(ids) if name in orders), default=None)
    if anchor is not None:
        here = orders[ids[anchor]]
        others = [order for name, order in orders.items() if name not in ids]
        low = max((order for order in others if order < here), default=here - anchor - 1)
        high = min((order for order in others if order > here), default=here + size - anchor)
        found = [
            here + (at - anchor) * ((here - low) / (anchor + 1))
            if at <= anchor
            else here + (at - anchor) * ((high - here) / (size - anchor))
            for at in range(size)
        ]
    elif newer or not orders:
        found = [math.floor(shared["order"]) + 1 + at for at in range(size)]
    else:
        found = [math.ceil(min(orders.values())) - size + at for at in range(size)]
    for name, order in zip(ids, found, strict=True):
        remember(orders, name, order, ORDERS)
    shared["order"] = max(shared["order"], *found)
    return found
