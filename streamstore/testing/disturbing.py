"""Disturbances that a log must survive: what may come twice, late, again after a cut, or in pieces.

Draws from the `random.Random` it is given and from nothing else, so that a seed says all. Disturbs
only where the laws promise that nothing changes; knows what is promised, and no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Literal, TypeAlias, get_args

from ..errors import CallerError
from ..limits import Limits
from .facts import Facts, facts_of
from .recorded import Log, needs_log
from .scripts import CHECK, END, FLUSH, RELEASE, Script, Step

Disturbance: TypeAlias = Literal["duplicates", "replays", "reorder", "resume"]
DISTURBANCES: tuple[Disturbance, ...] = get_args(Disturbance)

#: A replayed stretch is at most so long.
_STRETCH = 64


def disturb(
    log: Log,
    seed: int,
    kinds: Iterable[Disturbance] = DISTURBANCES,
    *,
    limits: Limits | None = None,
) -> Log:
    """A log that must end in the same state: some events twice, late, or again after a cut.

    - `duplicates`: single events come once more, soon or later
    - `replays`: stretches of what came are sent again, as servers do after a reconnect
    - `reorder`: events change places within the window in which any order is promised
    - `resume`: a stretch at the end of what came is sent again whole, what has no seq too

    What the protocol does not promise is left as it is: of a log without seq and without unique ids
    no text comes again. Depends on the log, the seed, the kinds and the limits alone.

    Raises:
        CallerError: a kind is none of these, or this is no `Log`.

    >>> from streamstore.testing import sample
    >>> log = sample("sparse", seed=1)
    >>> disturb(log, 7) == disturb(log, 7), len(disturb(log, 7)) > len(log)
    (True, True)
    """
    needs_log(log)
    wanted = set(kinds)
    if not wanted <= set(DISTURBANCES):
        raise CallerError(f"kinds must be of {', '.join(DISTURBANCES)}")
    facts = facts_of(log, limits)
    random = Random(seed)
    order = base_order(facts, random, disorder="reorder" in wanted)
    room = _room(facts, order)
    found: list[int] = []
    since = 0
    gaps = random.randint(4, 24)
    for place in order:
        found.append(place)
        if facts.each[place].barrier:
            since = len(found)
        if random.randrange(gaps) or wanted <= {"reorder"}:
            continue
        kind = random.choice(sorted(wanted - {"reorder"}))
        if kind == "resume":
            again = _suffix(facts, found, since, random)
        else:
            again = repeated(facts, found, since, random, stretches=kind == "replays")
        if len(again) <= room:
            found += again
            room -= len(again)
    return log.pick(found)


def _room(facts: Facts, order: Sequence[int]) -> int:
    """How many events may come again: where some are late already, the window is for them, too."""
    return facts.reach if list(order) != sorted(order) else len(order) * _STRETCH


def reordered(facts: Facts, order: Sequence[int], random: Random, scale: int) -> list[int]:
    """Events in another order in which they do not contradict each other.

    An event moves by about `scale` places, over those alone that share no lane with it on which one
    of them is fixed. Linear but for a heap of what may come next.
    """
    rank = {place: at + random.random() * scale for at, place in enumerate(order)}
    before: dict[int, int] = {}  # of how many an event still has to wait
    behind: dict[int, list[int]] = {}
    fixed: dict[object, int] = {}  # the last one that is fixed on a lane
    free: dict[object, list[int]] = {}  # those behind it that are not
    barrier: int | None = None
    since: list[int] = []  # everything since the last barrier
    for place in order:
        fact = facts.each[place]
        waits: set[int] = set() if barrier is None else {barrier}
        if fact.barrier:
            waits.update(since)
            barrier, since = place, []
            fixed.clear()
            free.clear()
        else:
            since.append(place)
            for lane, is_fixed in fact.lanes:
                if lane in fixed:
                    waits.add(fixed[lane])
                if is_fixed:
                    waits.update(free.pop(lane, ()))
                    fixed[lane] = place
                else:
                    free.setdefault(lane, []).append(place)
        waits.discard(place)
        before[place] = len(waits)
        for other in waits:
            behind.setdefault(other, []).append(place)
    ready: list[tuple[float, int]] = []
    for place in order:
        if not before[place]:
            heappush(ready, (rank[place], place))
    found: list[int] = []
    while ready:
        _, place = heappop(ready)
        found.append(place)
        for other in behind.get(place, ()):
            before[other] -= 1
            if not before[other]:
                heappush(ready, (rank[other], other))
    return found


def repeated(
    facts: Facts,
    arrived: Sequence[int],
    since: int,
    random: Random,
    *,
    stretches: bool | None = None,
) -> list[int]:
    """Events of what arrived that may come again now: one, a few, or a stretch; maybe none.

    `since` is how many had arrived up to the last barrier.
    """
    low = _reach(facts, arrived, since)
    if low >= len(arrived):
        return []
    if stretches is None:
        stretches = random.random() < 0.6
    if stretches:
        length = random.randint(1, _STRETCH)
        stop = len(arrived) if random.random() < 0.5 else random.randint(low, len(arrived))
        chosen = list(arrived[max(low, stop - length) : stop])
    else:
        chosen = [arrived[random.randrange(low, len(arrived))] for _ in range(random.randint(1, 3))]
    return [place for place in chosen if facts.each[place].provable]


def _reach(facts: Facts, arrived: Sequence[int], since: int) -> int:
    """Where what may come again begins: behind the last barrier, inside the window."""
    window = facts.reach if facts.each[arrived[-1]].mode == "sparse" else facts.memory
    return max(since, len(arrived) - window)


def _suffix(facts: Facts, arrived: Sequence[int], since: int, random: Random) -> list[int]:
    """A stretch up to now that a server may send again whole; empty where it would not settle."""
    low = _reach(facts, arrived, since)
    found = list(arrived[max(low, len(arrived) - random.randint(1, _STRETCH)) :])
    # To an adapter that remembers, an event that is not known as sent again may mean another thing.
    each = (facts.each[place] for place in found)
    may = [fact.provable or (facts.stateless and fact.resendable) for fact in each]
    while not all(may):
        del found[0], may[0]
    return found


# --- scripts --------------------------------------------------------------------------------------


def meeting_points(facts: Facts, random: Random, number: int) -> list[int]:
    """Places in a log, the end among them, at which an order may be checked."""
    size = len(facts.each)
    return sorted({*(random.randint(1, size) for _ in range(number - 1)), size}) if size else []


def in_order(facts: Facts, points: Sequence[int]) -> Script:
    """The log as it is, checked at some places."""
    steps: list[Step] = []
    for place in range(len(facts.each)):
        steps.append(Step("take", place))
        if place + 1 in points:
            steps.append(CHECK)
    return tuple(steps)


def base_order(facts: Facts, random: Random, *, disorder: bool) -> list[int]:
    """An order for a replay: that of the log, or one that is promised to be as good."""
    order = list(range(len(facts.each)))
    if not disorder or not facts.orderable:
        return order
    found = reordered(facts, order, random, _scale(facts, random))
    return found if facts.means_the_same(found) else order


def _scale(facts: Facts, random: Random) -> int:
    return min(random.choice((2, 8, 40, facts.reach, facts.reach)), facts.reach)


def shuffled(facts: Facts, random: Random, points: Sequence[int]) -> Script | None:
    """Events in other orders between meeting points; None where the adapter needs theirs."""
    scale = _scale(facts, random)
    flushes = random.choice((0.0, 0.02, 0.3))
    steps: list[Step] = []
    order: list[int] = []
    start = 0
    for stop in points:
        part = reordered(facts, range(start, stop), random, scale)
        order += part
        for place in part:
            steps.append(Step("take", place))
            if random.random() < flushes:
                steps.append(FLUSH)
        steps.append(CHECK)
        start = stop
    return tuple(steps) if facts.means_the_same(order) else None


def repeating(
    facts: Facts, random: Random, order: Sequence[int], *, checks: int = 4, each: bool = False
) -> Script:
    """Events come once more here and there. `each`: at once, every one of them."""
    bursts = {random.randint(1, len(order)) for _ in range(min(24, len(order)))}
    stops = {random.randint(1, len(order)) for _ in range(checks)} | {len(order)}
    room = _room(facts, order)
    arrived: list[int] = []
    since = 0
    steps: list[Step] = []
    for count, place in enumerate(order, start=1):
        steps.append(Step("take", place))
        arrived.append(place)
        if facts.each[place].barrier:
            since = len(arrived)
        again: Sequence[int] = ()
        if each:
            again = (place,) if facts.each[place].provable else ()
        elif count in bursts:
            again = repeated(facts, arrived, since, random)
        if len(again) <= room:
            room -= len(again)
            arrived += again
            steps += (Step("again", other) for other in again)
        if count in stops:
            steps.append(CHECK)
    return tuple(steps)


def ticking(
    random: Random,
    order: Sequence[int],
    sizes: Sequence[int],
    *,
    release: bool,
    chunks: bool,
) -> Script:
    """Ticks, releases and ends of chunks at any place; `sizes` are the lengths of the pieces."""
    often = random.choice((0.01, 0.1, 0.5))
    stops = {random.randint(1, len(order)), random.randint(1, len(order)), len(order)}
    tiny = random.random() < 0.3
    ends = random.random() < 0.5
    steps: list[Step] = []
    for count, place in enumerate(order, start=1):
        steps.append(Step("take", place))
        if chunks:
            cuts = random.randint(1, 4) if tiny else random.random() < often
            # The later cut keeps fewer bytes back.
            keep = sorted((random.randint(0, sizes[place]) for _ in range(cuts)), reverse=True)
            steps += (Step("cut", at) for at in keep)
        elif random.random() < often:
            steps.append(FLUSH)
        if release and random.random() < often / 4:
            steps.append(RELEASE)
        if ends and count == len(order):
            steps.append(END)
        if count in stops:
            steps.append(CHECK)
    return tuple(steps)


def cutting(
    random: Random, order: Sequence[int], kinds: Sequence[Literal["save", "drop"]], cuts: int
) -> Script:
    """Cuts with resume at some places, ticks in between."""
    at = {random.randint(1, len(order)) for _ in range(cuts)}
    # A later full text repairs what a cut lost: look soon behind some cuts.
    stops = {count + random.randint(0, 5) for count in at if random.random() < 0.5}
    flushes = random.choice((0.0, 0.1, 0.5))
    steps: list[Step] = []
    for count, place in enumerate(order, start=1):
        steps.append(Step("take", place))
        if random.random() < flushes:
            steps.append(FLUSH)
        if count in at:
            steps.append(Step(random.choice(kinds)))
        if count in stops and count < len(order):
            steps.append(CHECK)
    # Whether a part was still streaming when its connection ended shows only then.
    return (*steps, END, CHECK) if random.random() < 0.5 else (*steps, CHECK)


def mingled(facts: Facts, random: Random, points: Sequence[int], *, apart: bool) -> Script:
    """The log and its copy of another session, each in its order, side by side.

    `apart`: the copy has a stream of its own, so nothing of the log stands in its way.
    """
    steps: list[Step] = []
    declared = 0  # declarations so far: what follows them means something else
    epochs: list[int] = []
    for fact in facts.each:
        epochs.append(declared)
        declared += fact.declares
    waiting = [
        place
        for place, fact in reversed(list(enumerate(facts.each)))
        if fact.events and (apart or not fact.declares)
    ]
    lead = random.choice((0.3, 0.5, 0.8))
    for place, fact in enumerate(facts.each):
        if fact.declares and not apart:
            while waiting and waiting[-1] < place:
                steps.append(Step("other", waiting.pop()))
        while waiting and (apart or epochs[waiting[-1]] == epochs[place]):
            if random.random() >= lead:
                break
            steps.append(Step("other", waiting.pop()))
        steps.append(Step("take", place))
        if place in points:
            steps.append(CHECK)
    steps += (Step("other", place) for place in reversed(waiting))
    steps.append(CHECK)
    return tuple(steps)
