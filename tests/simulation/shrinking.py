"""Makes a failing history small: fewer actions, and fewer entries in each, as long as it fails.

Delta debugging over the list of actions. A shorter list counts that fails in the same way (what
stands before the first colon of the problem), and that could have happened: `possible`. It never
raises, whatever the judge does, and also ends where a history fails only now and then. Knows
histories as data.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

History = dict[str, Any]


def shrunk(history: History, fails: Callable[[History], object], budget: int = 2000) -> History:
    """The smallest history that was found; carries out at most `budget` of them.

    `fails` gives what is wrong with a history, and something false when nothing is. Where it
    raises, nothing is known of the history, and it is not taken. A history that does not fail
    comes back as it is.
    """
    left = [budget]

    def judged(candidate: History) -> str:
        if left[0] <= 0:
            return ""
        left[0] -= 1
        try:
            return str(fails(copy.deepcopy(candidate)) or "").partition(":")[0]
        except Exception:
            return ""

    way = judged(history)
    if not way:
        return history

    def still(actions: list[Any], **changes: Any) -> bool:
        candidate = {**history, "actions": actions, **changes}
        return possible(candidate) and judged(candidate) == way

    # One arrival an action, so that each can go alone.
    tail = history.get("tail", 0)
    whole = list(history["actions"])
    stays = whole[len(whole) - tail :]
    actions = whole
    for chunks in (False, True):  # how bytes are cut matters seldom
        single = [one for action in whole[: len(whole) - tail] for one in _singles(action, chunks)]
        if still(single + stays):
            actions = single + stays
            break
    size = max(1, (len(actions) - tail) // 2)
    while left[0] > 0:
        at, went = 0, False
        while at < len(actions) - tail:
            stop = min(at + size, len(actions) - tail)
            shorter = actions[:at] + actions[stop:]
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
    smaller = _without_unused(history)
    return smaller if smaller is not None and judged(smaller) == way else history


def possible(history: History) -> bool:
    """Whether a shorter list of actions is still one that the oracle knows the end of.

    Without numbers what comes first must come in its order, which it does not where only its
    repetition is left; where one entry says what others are of (a text again at its end, whose
    blocks follow, the other half of a sign) nothing may be missing before the last one.
    """
    if history.get("mode") != "none" or history.get("tier") != "core":
        return True
    came = (n for a in history["actions"] if a[0] in ("e", "m", "b") for n in _named(a))
    # A fetched state has no place among them.
    firsts = [n for n in dict.fromkeys(came) if history["script"][n][1] < 0]
    if history["protocol"] in ("opencode", "anthropic") or history.get("halves"):
        return firsts == list(range(len(firsts)))
    return firsts == sorted(firsts)


def _named(action: list[Any]) -> list[int]:
    """The entries that an action names."""
    if action[0] in _NAMING:
        return [action[1]]
    return list(action[1]) if action[0] in ("m", "b") else []


def _singles(action: list[Any], chunks: bool) -> list[list[Any]]:
    if action[0] == "m" or (action[0] == "b" and not (chunks and action[2])):
        return [["e", n] for n in action[1]]
    return [action]


def _without_unused(history: History) -> History | None:
    """Without the entries that no action names; None where that is not known."""
    script = history["script"]
    if history["tier"].startswith("openai"):
        return None  # its entries build on each other
    used: set[int] = set()
    for action in history["actions"]:
        if action[0] in ("again", "pub"):
            return None
        used.update(_named(action))
    if not used or not used <= set(range(len(script))):
        return None
    for n in sorted(used):
        session = script[n][0].get("sessionId")  # what a fetched state covers counts as well
        used.update(
            at for at in range(max(0, script[n][1])) if script[at][0].get("sessionId") == session
        )
    kept = sorted(used)
    names = {n: at for at, n in enumerate(kept)}

    def renamed(action: list[Any]) -> list[Any]:
        if action[0] in _NAMING:
            return [action[0], names[action[1]], *action[2:]]
        if action[0] in ("m", "b"):
            return [action[0], [names[n] for n in action[1]], *action[2:]]
        return action

    return {
        **history,
        "script": [
            [script[n][0], covers if (covers := script[n][1]) < 0 else bisect_left(kept, covers)]
            for n in kept
        ],
        "actions": [renamed(action) for action in history["actions"]],
    }


#: Actions whose first argument is the number of an entry.
_NAMING = ("e", "cut", "lose", "fetch")
