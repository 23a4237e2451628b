"""Makes a failing history small: fewer actions, and fewer entries in each, as long as it fails.

Delta debugging over the list of actions. A shorter list that fails for another reason counts, too:
what is wanted is a small history that should not fail. Knows histories as data.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

History = dict[str, Any]


def shrunk(history: History, fails: Callable[[History], object], budget: int = 2000) -> History:
    """The smallest history that was found; carries out at most `budget` of them."""
    left = [budget]

    def still(actions: list[Any], **changes: Any) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        return bool(fails({**copy.deepcopy(history), "actions": actions, **changes}))

    if not still(history["actions"]):
        return history
    # One arrival an action, so that each can go alone.
    single = [one for action in history["actions"] for one in _singles(action)]
    actions = single if still(single) else list(history["actions"])
    size = max(1, len(actions) // 2)
    while left[0] > 0:
        at, went = 0, False
        while at < len(actions):
            shorter = actions[:at] + actions[at + size :]
            if still(shorter):
                actions, went = shorter, True
            else:
                at += size
        if size > 1:
            size //= 2
        elif not went:
            break
    simpler = (
        ("ticks", "manual"), ("delivery", "streaming"), ("framing", ""), ("small", False),
    )  # fmt: skip
    for name, value in simpler:
        if history.get(name, value) != value and still(actions, **{name: value}):
            history = {**history, name: value}
    history = {**history, "actions": actions}
    return _without_unused(history, fails)


def _singles(action: list[Any]) -> list[list[Any]]:
    if action[0] == "m" or (action[0] == "b" and not action[2]):
        return [["e", n] for n in action[1]]
    return [action]


def _without_unused(history: History, fails: Callable[[History], object]) -> History:
    """Without the entries that no action names, where that changes nothing."""
    script = history["script"]
    used: set[int] = set()
    for action in history["actions"]:
        if action[0] in _NAMING:
            used.add(action[1])
        elif action[0] in ("m", "b"):
            used.update(action[1])
        elif action[0] in ("again", "pub"):
            return history
    for n in sorted(used):
        session = script[n][0]["sessionId"]  # what a fetched state covers counts as well
        used.update(
            at for at in range(max(0, script[n][1])) if script[at][0]["sessionId"] == session
        )
    kept = sorted(used)
    names = {n: at for at, n in enumerate(kept)}

    def renamed(action: list[Any]) -> list[Any]:
        if action[0] in _NAMING:
            return [action[0], names[action[1]], *action[2:]]
        if action[0] in ("m", "b"):
            return [action[0], [names[n] for n in action[1]], *action[2:]]
        return action

    smaller = {
        **history,
        "script": [
            [script[n][0], covers if (covers := script[n][1]) < 0 else bisect_left(kept, covers)]
            for n in kept
        ],
        "actions": [renamed(action) for action in history["actions"]],
    }
    return smaller if kept and fails(smaller) else history


#: Actions whose first argument is the number of an entry.
_NAMING = ("e", "cut", "lose", "fetch")
