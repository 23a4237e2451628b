"""Made-up logs of canonical events: what one consistent server would send.

Draws from the `random.Random` it is given and from nothing else. Knows the vocabulary as JSON and
what each sequencing counts; no store and no law.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, TypeAlias

from ..errors import CallerError
from ..model import SEQUENCINGS, Sequencing
from .recorded import Log

Wire: TypeAlias = dict[str, Any]

# One for each trap: several code points that look like one, line ends of Unicode, a character of
# two UTF-16 units, right-to-left, JSON's own signs.
_WORDS = (
    "the", "store ", "keeps", " what", "\n", "it", " was", " told", ", ", "e\u0301", "\u2028",
    "\U0001f600", "\U0001f469\u200d\U0001f680", "שלום", '"\\', "```py\n", " ",
)  # fmt: skip
_TOOLS = ("read", "bash", "search")


def sample(
    sequencing: Sequencing = "sparse", seed: int = 0, *, sessions: int = 1, messages: int = 3
) -> Log:
    """A consistent log of native events in one of the sequencings, made up from a seed.

    Each session has so many messages with text, reasoning and tool blocks, some of them replaced,
    some snapshots, requests and lists; events of several sessions are mingled. The first event
    declares the sequencing. Deltas may be cut inside a surrogate pair, as JavaScript servers do.

    Raises:
        CallerError: there is no such sequencing.

    >>> sample("block", seed=4) == sample("block", seed=4)
    True
    >>> sample("block").wires[0]
    {'type': 'stream.opened', 'sequencing': 'block'}
    """
    if sequencing not in SEQUENCINGS:
        raise CallerError(f"sequencing must be one of {', '.join(SEQUENCINGS)}")
    return make(Random(seed), sequencing, sessions=sessions, messages=messages)


def make(
    random: Random, sequencing: Sequencing = "sparse", *, sessions: int = 1, messages: int = 3
) -> Log:
    """As `sample`, drawing from a generator of random numbers."""
    wires: list[Wire] = [{"type": "stream.opened", "sequencing": sequencing}]
    lanes = [
        _Session(random, sequencing, f"s{number}").events(messages)
        for number in range(1, sessions + 1)
    ]
    wires += _mingled(random, lanes)
    if sequencing == "none":
        for number, wire in enumerate(wires[1:], start=1):
            if wire["type"].partition(".")[0] not in ("permission", "question"):
                wire["id"] = f"e{number:05}"  # there `id` is the request's own
    return Log.of(wires, protocol="native", name=f"sample {sequencing}")


class _Session:
    """One session of a server: what it counts, and what its blocks hold now."""

    def __init__(self, random: Random, sequencing: Sequencing, name: str) -> None:
        self._random = random
        self._sequencing = sequencing
        self._name = name
        self._seq = 0
        self._messages: dict[str, Wire] = {}  # as a snapshot has them

    def events(self, messages: int) -> Iterator[Wire]:
        """Its events in order, each stamped as it is made."""
        random = self._random
        yield self._stamped("session.updated", info={"title": "a talk"})
        for number in range(1, messages + 1):
            yield self._stamped("session.status", status="busy")
            overlap = random.random() < 0.3 and number < messages
            lanes = [self._message(f"m{number}", number)]
            yield from _mingled(random, lanes)
            if random.random() < 0.3:
                yield from self._request(f"r{number}", f"m{number}")
            if random.random() < 0.4:
                yield self._stamped("todo.updated", todo=[{"text": "do", "n": number}])
            if random.random() < 0.15:
                error = {"name": "Overloaded", "message": "later"}
                yield self._stamped("session.error", error=error)
            if random.random() < 0.2:
                yield self._stamped("session.state", state={"step": number})
            if random.random() < 0.15 and number > 1 and f"m{number - 1}" in self._messages:
                del self._messages[f"m{number - 1}"]
                yield self._stamped("message.removed", messageId=f"m{number - 1}")
            if random.random() < 0.4 and self._sequencing in ("session", "sparse"):
                yield self._snapshot()
            if not overlap:
                yield self._stamped("session.status", status="idle")

    # -- what counts -------------------------------------------------------------------------

    def _stamped(self, event_type: str, **members: Any) -> Wire:
        wire: Wire = {"type": event_type, "sessionId": self._name, **members}
        if self._sequencing in ("session", "sparse"):
            wire["seq"] = self._next()
        return wire

    def _next(self) -> int:
        self._seq += 1 if self._sequencing == "session" else self._random.choice((1, 1, 1, 2, 7))
        return self._seq

    # -- messages ----------------------------------------------------------------------------

    def _message(self, message_id: str, number: int) -> Iterator[Wire]:
        random = self._random
        key = {"messageId": message_id}
        role = random.choice(("user", "assistant", "assistant"))
        kept: Wire = {"info": {"id": message_id, "role": role, "order": number}, "parts": {}}
        self._messages[message_id] = kept
        yield self._stamped("message.opened", **key, role=role, order=number)
        blocks = [self._block(key, index, kept) for index in range(random.randint(1, 3))]
        yield from _mingled(random, blocks)
        if random.random() < 0.4:
            kept["info"]["tokens"] = 7
            yield self._stamped("message.updated", **key, info={"tokens": 7})
        status = random.choice(("completed", "completed", "aborted"))
        kept["status"] = status
        yield self._stamped("message.closed", **key, status=status)

    def _block(self, message: Wire, index: int, kept: Wire) -> Iterator[Wire]:
        random = self._random
        key = {**message, "blockIndex": index}
        kind = random.choice(("text", "text", "reasoning", "tool"))
        part: Wire = {"blockIndex": index, "kind": kind, "status": "open"}
        kept["parts"][index] = part
        opened: Wire = {"kind": kind}
        if kind == "tool":
            tool = random.choice(_TOOLS)
            opened |= {"tool": tool, "callId": f"c-{message['messageId']}-{index}"}
            part |= opened
        yield self._stamped("block.opened", **key, **opened)
        count = 0
        if kind == "tool":
            for status in ("running", "completed"):
                state: Wire = {"status": status, "input": {"path": "a"}}
                if status == "completed":
                    state["output"] = self._text(4)
                part["state"] = state
                count += 1
                yield self._operation(count, "block.replaced", **key, state=state)
        else:
            for piece in self._pieces():
                count += 1
                part["text"] = _joined(part.get("text", ""), piece)
                last = self._operation(count, "block.delta", **key, text=piece)
                yield last
                if random.random() < 0.04:
                    count += 1
                    part["text"] = self._text(5)
                    last = self._operation(count, "block.replaced", **key, text=part["text"])
                    yield last
                if random.random() < 0.06 and self._sequencing != "none":
                    yield {
                        "type": "block.snapshot",
                        "sessionId": self._name,
                        **key,
                        "kind": kind,
                        "seq": last["seq"],
                        "text": part["text"],
                        "whole": True,
                    }
        if random.random() < 0.15:
            part["note"] = "n"
            yield self._stamped("block.updated", **key, note="n")
        part["status"] = "closed"
        if self._sequencing == "block":
            yield self._stamped("block.closed", **key, seq=count)
        else:
            yield self._stamped("block.closed", **key)

    def _operation(self, count: int, event_type: str, **members: Any) -> Wire:
        wire = self._stamped(event_type, **members)
        if self._sequencing == "block":
            wire["seq"] = count
        return wire

    # -- texts -------------------------------------------------------------------------------

    def _text(self, words: int) -> str:
        return "".join(self._random.choice(_WORDS) for _ in range(self._random.randint(1, words)))

    def _pieces(self) -> Iterator[str]:
        """A text, cut between any two UTF-16 units."""
        units = self._text(24).encode("utf-16-le")
        at = 0
        while at < len(units):
            stop = at + 2 * self._random.randint(1, 6)
            yield units[at:stop].decode("utf-16-le", "surrogatepass")
            at = stop

    # -- beside messages ---------------------------------------------------------------------

    def _request(self, request_id: str, message_id: str) -> Iterator[Wire]:
        kind = self._random.choice(("permission", "question"))
        payload = {"title": "may I?"}
        yield self._stamped(f"{kind}.asked", id=request_id, messageId=message_id, payload=payload)
        if self._random.random() < 0.7:
            yield self._stamped(f"{kind}.replied", id=request_id)

    def _snapshot(self) -> Wire:
        """What a read of the session would give now."""
        messages = [
            {
                "info": dict(kept["info"]),
                "status": kept.get("status", "open"),
                "parts": [dict(part) for _, part in sorted(kept["parts"].items())],
            }
            for kept in self._messages.values()
        ]
        return {
            "type": "snapshot",
            "sessionId": self._name,
            "seq": self._seq,
            "complete": True,
            "messages": messages,
        }


def _joined(before: str, piece: str) -> str:
    joined = (before + piece).encode("utf-16-le", "surrogatepass")
    return joined.decode("utf-16-le", "surrogatepass")


def _mingled(random: Random, lanes: list[Iterator[Wire]]) -> Iterator[Wire]:
    """Events of several lanes side by side, each in its own order, mostly in runs."""
    waiting = list(lanes)
    lane = None
    while waiting:
        if lane is None or random.random() < 0.2:
            lane = random.choice(waiting)
        wire = next(lane, None)
        if wire is None:
            waiting.remove(lane)
            lane = None
        else:
            yield wire
