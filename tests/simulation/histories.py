"""Seeds to histories: what a seed means, and how a history is judged.

Of 20,000 seeds 15,000 are histories of a store alone (`core`: three in four native, in all four
sequencings, one in four on the wire of another protocol), 1,000 of one whose bounds are next to
nothing (`bounds`), 2,000 of the whole library: 300 of them
of the opencode client (`opencode`), the others of `connect` (`whole`); and 2,000 of OpenAI's two
protocols, seven in ten of a store alone (`openai`), the others of `connect` (`openai_client`). A
history of a store takes about 3 ms, one of the whole library or of OpenAI's about 8 ms.

A seed means the same as long as nothing here and in what it calls draws otherwise; what failed is
kept whole in `regressions.json`, and means the same for ever.
"""

from __future__ import annotations

from random import Random
from typing import Any

from . import bounds, core, faults, openai, openai_client, openai_scripts, opencode, scripts, whole
from .scripts import Shape

History = dict[str, Any]

#: Behind these nobody knows what becomes of a message that the server has not heard of.
_ENDS = ("session.removed", "stream.opened")
#: One history in so many is of the whole library, and another one of OpenAI's protocols.
WHOLE = 10
#: One history in so many is of a store with small bounds.
BOUNDS = 20
#: How many of the native histories of a store have calls that are named, and results by these.
CALLED = 0.3

# Protocol, sequencing, and how often.
_PLAN = (
    ("native", "block", 26),
    ("native", "session", 22),
    ("native", "sparse", 18),
    ("native", "none", 10),
    ("vellum", "session", 7),
    ("t3code", "sparse", 5),
    ("ekacode", "session", 5),
    ("opencode", "none", 4),
    ("anthropic", "none", 3),
)
_TICKS = ("manual",) * 6 + ("timed",) * 2 + ("each", "feed")
_CHOICES = [(protocol, mode) for protocol, mode, weight in _PLAN for _ in range(weight)]


def make(seed: int, tier: str = "all") -> History:
    """The history of a seed."""
    if tier == "all":
        tier = {0: "whole", 1: "openai"}.get(seed % WHOLE, "core")
        tier = "bounds" if seed % BOUNDS == BOUNDS // 4 else tier
    return MAKERS[tier](seed)


def _in_time(arrivals: list[int], needed: list[int], script: list[Any]) -> list[int]:
    """Have what is needed arrive, before its session begins a new generation: then it is stale."""
    arrivals = arrivals + [n for n in needed if n not in arrivals]
    for n in needed:
        for at, other in enumerate(arrivals[: arrivals.index(n)]):
            event = script[other][0]
            begins = event["type"] == "stream.opened" and other > n
            if begins and event["sessionId"] == script[n][0]["sessionId"]:
                arrivals.remove(n)
                arrivals.insert(at, n)
                break
    return arrivals


def make_core(seed: int) -> History:
    """A history of a store alone."""
    random = Random(seed)
    chance = random.random
    protocol, mode = _CHOICES[int(chance() * len(_CHOICES))]
    native = protocol == "native"
    tight = native and mode != "none" and chance() < 0.12
    loss = native and not tight and chance() < 0.25
    shape = Shape(
        mode,
        plain=not native or (mode == "none" and loss),
        whole=protocol == "ekacode",
        halves=native and chance() < 0.12,
        alone=protocol == "anthropic",
        told=not tight,
        locals=native and not tight and chance() < 0.2,
        blocks=1 if protocol == "t3code" else 3,
    )
    # From a stream of its own: whatever it draws, the other seeds mean what they did.
    own = Random(f"calls {seed}")
    called = native and not shape.plain and own.random() < CALLED
    script = scripts.make(random, shape, own if called else None)
    repeats = protocol != "anthropic"
    count = sum(1 for _, covers in script if covers < 0)
    last: list[list[Any]] = []
    names = sorted({event["sessionId"] for event, _ in script})
    if native and (tight or (loss and chance() < 0.4)) and mode in ("session", "sparse", "none"):
        for name in names:
            if mode == "none" and shape.halves:
                continue
            state = scripts.read(script[:count], name, count, mode)
            if state is not None:
                last.append(["fetch" if mode == "none" else "e", len(script)])
                script.append([state, count])
    moves = list(script[: len(script) - len(last)])
    openings = [n for n, (event, _) in enumerate(script) if event["type"] == "stream.opened"]
    by_id = native and mode in ("block", "session") and not (tight or loss) and chance() < 0.25
    by_id = by_id and not openings
    free = not by_id and protocol in ("native", "vellum", "t3code", "ekacode")
    arrivals = faults.order(random, moves, mode, loss, free)
    for n in openings[:1]:  # the first one comes first, or never: else it is the later one
        arrivals = [n for at in arrivals if at == n] + [at for at in arrivals if at != n]
    if called:
        arrivals = _in_time(arrivals, scripts.named_again(moves), moves)
    if repeats and chance() < 0.7:
        arrivals = faults.repeated(random, arrivals)
    framing = "" if chance() < 0.55 else "frames" if chance() < 0.6 else "lines"
    if by_id:
        framing = "frames"
    elif protocol == "anthropic":
        framing = "" if chance() < 0.3 else "frames"
    cuts = chance() < 0.5 and protocol != "anthropic"
    losing = faults.nothing
    if by_id:
        losing = faults.anywhere(script, mode)
    actions = faults.actions(
        random,
        arrivals,
        framing=framing,
        cuts=cuts,
        bad=chance() < 0.4,
        numbered=mode == "session" and native and not loss,
        losing=losing,
    )
    if by_id and arrivals:  # whatever was lost and shows a hole comes with the last connection
        actions.append(["cut", arrivals[-1], -1])
    if shape.locals and not any(event["type"] in _ENDS for event, _ in script):
        faults.saying(random, actions)
    tail = 0  # so many actions at the end stay, else nobody knows how it ends
    if tight:
        actions.append(["f"])
        actions += [["e", n] for n in range(count)]
        tail = 1 + count + len(last)
    actions += last
    draw = chance()
    ticks = "manual" if draw < 0.6 else "timed" if draw < 0.8 else "each" if draw < 0.9 else "feed"
    return {
        "seed": seed,
        "tier": "core",
        "protocol": protocol,
        "mode": mode,
        "ticks": ticks,
        "delivery": "buffered" if chance() < 0.15 else "streaming",
        "framing": framing,
        "tight": tight,
        "tail": tail,
        "small": chance() < 0.3,
        "repeats": repeats,
        "byId": by_id,
        "halves": shape.halves,
        "books": chance() < 0.1,  # costs as much as the rest
        "script": script,
        "actions": actions,
    }


def make_whole(seed: int) -> History:
    """A history of the whole library."""
    random = Random(seed)
    chance = random.random
    if chance() < 0.15:
        script = scripts.make(random, Shape("none", plain=True))
        return {
            "seed": seed,
            "tier": "opencode",
            "protocol": "opencode",
            "mode": "none",
            "delivery": "buffered" if chance() < 0.15 else "streaming",
            "script": script,
            "actions": opencode.actions(random, len(script)),
        }
    mode = ("block", "session", "session", "sparse", "none")[int(chance() * 5)]
    # One goes on behind an event id, behind a session's number, or has a state fetched.
    after = mode == "session" and chance() < 0.3
    ids = not after and (mode == "block" or chance() < 0.6)
    # Where nothing is numbered, a state and a replay cannot be told apart.
    reads = not after and ((mode not in ("block", "none") and chance() < 0.5) or not ids)
    shape = Shape(
        mode,
        plain=mode == "none" and reads,
        single=after,
        snapshots=False,
        reads=reads,
        told=not (reads or after),
    )
    script = scripts.make(random, shape)
    return {
        "seed": seed,
        "tier": "whole",
        "protocol": "native",
        "mode": mode,
        "delivery": "buffered" if chance() < 0.15 else "streaming",
        "ids": ids,
        "after": after,
        "reads": reads,
        "script": script,
        "actions": whole.actions(
            random,
            len(script),
            resumes=ids or after,
            reads=reads,
            skips=after or (mode == "session" and reads),
        ),
    }


def make_openai(seed: int) -> History:
    """A history of one of OpenAI's protocols."""
    random = Random(seed)
    chance = random.random
    numbered = chance() < 0.6
    protocol, mode = ("openai-responses", "sparse") if numbered else ("openai-chat", "none")
    followed = chance() < 0.3
    write = openai_scripts.responses if numbered else openai_scripts.completions
    script = write(random, followed=followed)
    if followed:
        return {
            "seed": seed,
            "tier": "openai-client",
            "protocol": protocol,
            "mode": mode,
            "delivery": "buffered" if chance() < 0.15 else "streaming",
            "clean": chance() < 0.7,
            "script": script,
            "actions": openai_client.actions(random, script, numbered),
        }
    framing = "frames" if chance() < 0.6 else ""
    actions = openai.actions(random, script, protocol, framing)
    return {
        "seed": seed,
        "tier": "openai",
        "protocol": protocol,
        "mode": mode,
        "ticks": _TICKS[int(chance() * len(_TICKS))],
        "delivery": "buffered" if chance() < 0.15 else "streaming",
        "framing": framing,
        "tight": False,
        "small": chance() < 0.3,
        "halves": False,
        "books": chance() < 0.1,
        "script": script,
        "actions": actions,
    }


MAKERS = {"core": make_core, "whole": make_whole, "openai": make_openai, "bounds": bounds.make}
_TIERS = {
    "core": core.carry_out,
    "bounds": bounds.carry_out,
    "openai": openai.carry_out,
    "openai-client": openai_client.carry_out,
    "whole": whole.carry_out,
    "opencode": opencode.carry_out,
}


def problem(history: History, digest: Any = None) -> str | None:
    """Why a history is not as it should be; None when it is."""
    try:
        _TIERS[history["tier"]](history, digest)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def run_block(block: tuple[int, int, str]) -> tuple[int, list[tuple[int, str]]]:
    """Carry a block of seeds out: how many there were, and the mismatches."""
    start, stop, tier = block
    found = []
    for seed in range(start, stop):
        why = problem(make(seed, tier))
        if why is not None:
            found.append((seed, why))
    return stop - start, found
