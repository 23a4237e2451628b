"""What goes wrong between a server and a store, as a plain list of actions.

Every action means the same whatever stands around it, so that a failing list can be made shorter.
Draws from the generator it is given alone; knows scripts, and no library.

    ["e", n]         entry n of the script arrives as an object; ["m", [n, ...]] several at once;
                     a `read` does not arrive: somebody asks for the state of its session
    ["b", [n, ...], [at, ...]]  entries arrive as bytes, in chunks cut at these per mille of them
    ["x", n]         bad input number n arrives
    ["f"] ["r"]      a tick; what is held back is shown
    ["t", ms]        time passes, as far as a clock may jump
    ["cut", n, at]   the connection is lost inside entry n (at per mille of it; -1: between two),
                     and a new one goes on where the store says
    ["lose", n]      the server sends entry n, and it never arrives; what comes behind it shows a hole
    ["again", n]     the server sends what it has beyond the resume position, up to entry n
    ["save"]         the state is saved; ["crash"]: what runs is gone, the saved state goes on
    ["say"]          the user says something in `s1`; ["unsay"] and takes it back
    ["sub", kind]    somebody subscribes: raising, closing, feeding, flushing, slow, part, mirror
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

Action = list[Any]

#: Whether an entry may be lost, after others, of which some were.
Losing = Callable[[int, list[int], set[int]], bool]

SUBSCRIBERS = ("raising", "closing", "feeding", "flushing", "slow", "part", "mirror")


def order(random: Random, script: list[list[Any]], mode: str, loss: bool, free: bool) -> list[int]:
    """In which order the entries arrive, some of them again, some of them never."""
    chance = random.random
    happened = [n for n, (_, covers) in enumerate(script) if covers < 0]
    if loss and happened:
        for _ in range(1 + int(chance() * 3)):
            if happened:
                at = int(chance() * len(happened))
                del happened[at : at + 1 + int(chance() * 3)]
    found = list(happened)
    if mode != "none" and free:
        kind = chance()
        if kind < 0.15:
            random.shuffle(found)
        elif kind < 0.7:
            for _ in range(int(chance() * 5)):  # dropped, and replayed later
                if found:
                    n = found.pop(int(chance() * len(found)))
                    found.insert(int(chance() * (len(found) + 1)), n)
        if chance() < 0.3 and len(found) > 1:  # a whole stretch comes late
            start = int(chance() * len(found))
            stretch = found[start : start + 1 + int(chance() * 6)]
            del found[start : start + len(stretch)]
            at = int(chance() * (len(found) + 1))
            found[at:at] = stretch
    for n, (event, covers) in enumerate(script):
        if covers >= 0:  # early, in time, or late
            at = min(covers, len(found))
            if mode == "none" and event["type"] == "snapshot":  # early it says nothing
                at += int(chance() * (len(found) + 1 - at))
            elif chance() < 0.6:
                at = int(chance() * (len(found) + 1))
            found.insert(at, n)
    return found


def repeated(random: Random, arrivals: list[int]) -> list[int]:
    """Some events twice, and stretches replayed."""
    chance = random.random
    found = list(arrivals)
    for _ in range(int(chance() * 4)):
        if found:
            n = found[int(chance() * len(found))]
            found.insert(found.index(n) + 1 + int(chance() * 6), n)
    if chance() < 0.4 and found:
        start = int(chance() * len(found))
        stretch = found[start : start + 1 + int(chance() * 10)]
        at = start + len(stretch) + int(chance() * 4)
        found[at:at] = stretch
    return found


def actions(
    random: Random,
    arrivals: list[int],
    *,
    framing: str,
    cuts: bool,
    bad: bool,
    numbered: bool,
    losing: Losing,
) -> list[Action]:
    """The arrivals as actions, with everything else that happens in between."""
    chance = random.random
    found: list[Action] = []
    shows = 0.05 + 0.3 * chance()
    breaks = 0.04 * chance() if cuts else 0.0
    spoilt = 0.06 * chance() if bad else 0.0
    lost: set[int] = set()
    at, size = 0, len(arrivals)
    while at < size:
        if at + 1 < size and chance() < 0.25 and losing(arrivals[at], arrivals[:at], lost):
            found.append(["lose", arrivals[at]])
            lost.add(arrivals[at])
            at += 1
            continue
        draw = chance()
        if framing and draw < 0.7:
            many = 1 + int(chance() * 5)
            marks = sorted(int(chance() * 1001) for _ in range(int(chance() * 4)))
            found.append(["b", arrivals[at : at + many], marks])
            at += many
        elif draw < 0.2:
            many = 2 + int(chance() * 6)
            found.append(["m", arrivals[at : at + many]])
            at += many
        else:
            found.append(["e", arrivals[at]])
            at += 1
        draw = chance()
        if draw < shows:
            found.append(["f"] if chance() < 0.7 else ["t", _JUMPS[int(chance() * len(_JUMPS))]])
        if chance() < spoilt:
            found.append(["x", int(chance() * 64)])
        if chance() < breaks:
            n = arrivals[at] if at < size else arrivals[-1]
            found.append(["cut", n, int(chance() * 1000) if chance() < 0.6 else -1])
        if chance() < breaks:
            found.append(["save"] if chance() < 0.6 else ["crash"])
        if numbered and chance() < breaks:
            found.append(["again", max(arrivals[:at], default=0) + 1])
        if chance() < 0.02:
            found.append(["r"])
    if cuts and chance() < 0.2:
        start = int(chance() * len(found))
        found.insert(start, ["save"])
        found.insert(start + 1 + int(chance() * (len(found) - start)), ["crash"])
    if chance() < 0.4:
        kind = SUBSCRIBERS[int(chance() * len(SUBSCRIBERS))]
        found.insert(int(chance() * len(found)), ["sub", kind])
    return found


_JUMPS = (0, 1, 5, 15, 16, 17, 100, 1000, 86_400_000)


def saying(random: Random, found: list[Action]) -> None:
    """The user says something, and perhaps takes it back, and says it again."""
    at = int(random.random() * (len(found) / 2 + 1))
    for step in ("say", "unsay", "say"):
        found.insert(at, [step])
        at += 1 + int(random.random() * 8)
        if at > len(found) or random.random() < 0.4:
            return


def anywhere(script: list[Any], mode: str) -> Losing:
    """Anything may be lost; what shows that it is missing may come much later.

    Known limit: where in a block stream nothing of its message came before, what shows that
    something is missing does not hold the resume position.
    """

    def losing(lost: int, before: list[int], others: set[int]) -> bool:
        one, covers = script[lost]
        if covers >= 0 or mode != "block":
            return covers < 0
        return any(
            script[n][1] < 0
            and all(script[n][0].get(name) == one.get(name) for name in ("sessionId", "messageId"))
            for n in before
            if n not in others
        )

    return losing


def nothing(lost: int, before: list[int], others: set[int]) -> bool:
    """Nothing is lost."""
    return False
