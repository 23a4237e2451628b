"""What a server meant: a list of canonical events in the order in which they happened.

A script is plain data: entries `[event, covers]`. `covers` is -1 for what happened, and for a
fetched state (`snapshot`, `block.snapshot`) the number of entries that had happened when it was
read. Fetched states stand behind all that happened; where they arrive is decided by the faults.
Draws from the generator it is given alone; knows no library.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import attrs

from .oracle import GONE, Truth, readable

Wire = dict[str, Any]
Entry = list[Any]

_WORDS = ("a", "bc ", "é", "\n", "שׁ", "\U0001f600", "e\u0301", "\u2028", "x y ", '"\\')
_SIGNS = "ab\U0001f600é\U0001f9ec \n"


@attrs.frozen
class Shape:
    """What a script may hold.

    Attributes:
        plain: messages with text blocks alone, as every protocol can say them.
        whole: every text comes whole, with what was there before.
        halves: texts are cut between any two UTF-16 units.
        alone: one session, and one message after the other.
        single: one session.
        snapshots: states are fetched, and are in the script.
        reads: states are fetched by somebody else.
    """

    mode: str
    plain: bool = False
    whole: bool = False
    halves: bool = False
    alone: bool = False
    single: bool = False
    snapshots: bool = True
    reads: bool = False
    blocks: int = 3


def make(random: Random, shape: Shape) -> list[Entry]:
    """A script, with the numbers and ids that its sequencing has."""
    return _Server(random, shape).script()


class _Server:
    def __init__(self, random: Random, shape: Shape) -> None:
        self._random = random
        self._shape = shape
        self._mode = shape.mode
        self._counters: dict[Any, int] = {}
        self._words = 0
        self._numbered = 0
        fetched = shape.snapshots and not (shape.halves or shape.plain) and random.random() < 0.5
        self._fetches = fetched
        self._read = fetched or shape.reads
        # One kind for each place: another one after a removal that was not heard of is a conflict.
        self._kinds: dict[Any, str] = {}

    def script(self) -> list[Entry]:
        random, shape = self._random, self._shape
        sessions = ["s1"] if shape.alone or shape.single or random.random() < 0.6 else ["s1", "s2"]
        lanes = []
        for session in sessions:
            many = 1 if random.random() < 0.6 else 2
            # The same ids in both sessions.
            talks = [self._message(session, f"m{number}", number) for number in range(many)]
            if shape.alone:
                lanes.append(chain(talks))
            else:
                lanes += talks
            if not shape.plain:
                lanes.append(self._beside(session))
        events = list(self._mingled(lanes))
        for event in events:
            self._number(event)
        script = [[event, -1] for event in events]
        if self._fetches:
            script += self._fetched(script)
        return script

    # -- numbers ---------------------------------------------------------------------------------

    def _number(self, event: Wire) -> None:
        mode = self._mode
        if mode == "none":
            if event["type"].partition(".")[0] not in ("permission", "question"):
                self._numbered += 1
                event["id"] = f"e{self._numbered:04}"
            return
        if mode == "block":
            if event["type"] in ("block.delta", "block.replaced", "block.closed"):
                key = (event["sessionId"], event["messageId"], event["blockIndex"])
                step = event["type"] != "block.closed"
                event["seq"] = self._counters[key] = self._counters.get(key, 0) + step
                if not event["seq"] or (not step and self._random.random() < 0.5):
                    del event["seq"]
            return
        key = event["sessionId"] if mode == "session" else ""
        step = 1 if mode == "session" else 1 + int(self._random.random() * 3)
        event["seq"] = self._counters[key] = self._counters.get(key, 0) + step

    # -- events ----------------------------------------------------------------------------------

    def _mingled(self, lanes: list[Iterator[Wire]]) -> Iterator[Wire]:
        random, lane = self._random, None
        waiting = list(lanes)
        while waiting:
            if lane is None or random.random() < 0.3:
                lane = waiting[int(random.random() * len(waiting))]
            event = next(lane, None)
            if event is None:
                waiting.remove(lane)
                lane = None
            else:
                yield event

    def _beside(self, session: str) -> Iterator[Wire]:
        chance = self._random.random
        own = {"sessionId": session}
        if chance() < 0.3:
            yield {"type": "session.updated", **own, "info": {"title": session}}
        if chance() < 0.3:
            yield {"type": "session.status", **own, "status": "busy"}
            if self._mode != "block" and chance() < 0.6:
                yield {"type": "session.status", **own, "status": "idle"}
        if chance() < 0.2:
            yield {"type": "todo.updated", **own, "todo": [{"n": 1}]}
            if self._mode != "block" and chance() < 0.5:
                yield {"type": "todo.updated", **own, "todo": [{"n": 2}]}
        if chance() < 0.3:
            yield {"type": "permission.asked", **own, "id": "r", "payload": {"tool": "bash"}}
            if chance() < 0.6:
                yield {"type": "permission.replied", **own, "id": "r"}

    def _message(self, session: str, message: str, number: int) -> Iterator[Wire]:
        random, shape = self._random, self._shape
        chance = random.random
        key = {"sessionId": session, "messageId": message}
        for life in range(2):
            opened = {"type": "message.opened", **key, "role": "assistant", "order": number}
            if shape.plain or life or chance() < 0.9:
                yield opened
            if not shape.plain and chance() < 0.25:
                yield {"type": "message.updated", **key, "info": {f"a{life}": 1, "b": life}}
            blocks = 1 + int(chance() * shape.blocks)
            # What a fetched state lacks is removed, and comes back by a full event alone.
            first = 3 * life if self._read else 0
            lanes = [self._block({**key, "blockIndex": first + at}) for at in range(blocks)]
            if shape.alone:
                yield from chain(lanes)
            else:
                yield from self._mingled(lanes)
            if not shape.plain and chance() < 0.2:
                yield {"type": "message.updated", **key, "info": {f"c{life}": [1]}}
            if chance() < 0.7:
                status = "completed" if shape.plain or chance() < 0.7 else "aborted"
                yield {"type": "message.closed", **key, "status": status}
            if shape.plain or chance() > 0.15:
                return
            if self._mode in ("session", "sparse") and not life and chance() < 0.3:
                yield {"type": "message.reset", **key}
            else:
                yield {"type": "message.removed", **key}
                if self._mode == "block" or chance() < 0.5:
                    return

    def _block(self, key: Wire) -> Iterator[Wire]:
        random, shape = self._random, self._shape
        chance = random.random
        kind = "tool" if chance() < 0.2 else "reasoning" if chance() < 0.25 else "text"
        kind = "text" if shape.plain and kind == "tool" else kind
        kind = self._kinds.setdefault((key["sessionId"], key["messageId"], key["blockIndex"]), kind)
        tool = kind == "tool"
        for _ in range(2):
            if shape.whole:
                pass
            elif shape.plain or tool or chance() < 0.9 or kind != "text":
                yield {"type": "block.opened", **key, "kind": kind, "tag": "t"}
            if tool:
                if chance() < 0.5:
                    yield {"type": "block.delta", **key, "field": "input", "text": self._word()}
                    yield {"type": "block.delta", **key, "field": "input", "text": self._word()}
                for status in ("running", "completed"):
                    yield {"type": "block.replaced", **key, "state": {"status": status}}
            else:
                before = ""
                for piece in self._pieces():
                    if shape.whole:
                        before += piece
                        yield {"type": "block.replaced", **key, "text": before}
                    elif shape.plain or chance() < 0.93:
                        yield {"type": "block.delta", **key, "text": piece}
                    elif chance() < 0.5:
                        yield {"type": "block.replaced", **key, "text": piece, "x": self._words}
                    else:
                        yield {"type": "block.replaced", **key, "y": self._words}
            if not shape.plain and chance() < 0.1:
                yield {"type": "block.updated", **key, "note": 1}
            if not shape.whole and (shape.plain or chance() < 0.7):
                yield {"type": "block.closed", **key}
            if shape.plain or chance() > 0.06:
                return
            yield {"type": "block.removed", **key}
            if self._mode == "block" or chance() < 0.5:
                return
            if self._read:
                # A removal that only a fetched state tells of leaves no tombstone where the block
                # was not known. Known: nor does such a state take a tool's old state away.
                return
            if kind == "text":  # only an opening adds it anew
                yield {"type": "block.opened", **key, "kind": kind, "tag": "u"}

    def _word(self) -> str:
        """A piece of text that comes once in a script."""
        self._words += 1
        return f"{self._words}{_WORDS[int(self._random.random() * len(_WORDS))]}"

    def _pieces(self) -> Iterator[str]:
        random = self._random
        count = int(random.random() * 7)
        if not self._shape.halves:
            for _ in range(count):
                yield self._word()
            return
        text = "".join(_SIGNS[int(random.random() * len(_SIGNS))] for _ in range(1 + count * 2))
        units = text.encode("utf-16-le")
        at = 0
        while at < len(units):
            stop = at + 2 * (1 + int(random.random() * 4))
            yield units[at:stop].decode("utf-16-le", "surrogatepass")
            at = stop

    # -- fetched states --------------------------------------------------------------------------

    def _fetched(self, script: list[Entry]) -> list[Entry]:
        random = self._random
        found: list[Entry] = []
        if not script:
            return found
        if self._mode in ("session", "sparse"):
            while random.random() < 0.6 and len(found) < 3:
                covers = 1 + int(random.random() * len(script))
                session = script[covers - 1][0]["sessionId"]
                state = read(script, session, covers, self._mode)
                if state is not None:
                    found.append([state, covers])
        while self._mode != "none" and random.random() < 0.5 and len(found) < 4:
            covers = 1 + int(random.random() * len(script))
            snapshot = read_block(script, covers, self._mode)
            if snapshot is not None:
                found.append([snapshot, covers])
        return found


def read(script: list[Entry], session: str, covers: int, mode: str) -> Wire | None:
    """A session's state as its server had it after so many entries; None while it rebuilds one."""
    truth = Truth(mode).take(event for event, _ in script[:covers])
    numbers = [
        event["seq"]
        for event, of in script[:covers]
        if of < 0 and event["sessionId"] == session and "seq" in event
    ]
    found = truth.sessions.get(session)
    messages = []
    own: Wire = {}
    if found is not None:
        own = {name: found[name] for name in ("info", "status", "todo") if found[name] is not None}
        own["permissions"] = list(found["permissions"].values())
        for message_id, message in found["messages"].items():
            if message is GONE:
                continue
            if message["reset"]:
                return None  # what it shows until it has begun to is no state of its own
            parts = []
            for index, block in message["blocks"].items():
                if block is GONE:
                    continue
                part = {"blockIndex": index, "kind": block["kind"] or "text", **block["fields"]}
                part["status"] = "closed" if block["closed"] else "open"
                part.update({name: "".join(text) for name, text in block["texts"].items()})
                parts.append(part)
            entry = {"id": message_id, "status": message["status"], "parts": parts}
            for name in ("role", "order"):
                if message[name] is not None:
                    entry[name] = message[name]
            if message["info"]:
                entry["info"] = message["info"]
            messages.append(entry)
    wire: Wire = {"type": "snapshot", "sessionId": session, **own}
    if mode != "none":
        wire["seq"] = max(numbers)
    return {**wire, "complete": True, "messages": messages}


def read_block(script: list[Entry], covers: int, mode: str) -> Wire | None:
    """A text block as its server had it after so many entries, if the last one was its delta."""
    last = script[covers - 1][0]
    if last["type"] not in ("block.delta", "block.replaced") or "field" in last or "state" in last:
        return None
    key = {name: last[name] for name in ("sessionId", "messageId", "blockIndex")}
    truth = Truth(mode).take(event for event, _ in script[:covers])
    message = truth.sessions[key["sessionId"]]["messages"][key["messageId"]]
    if message is GONE or message["blocks"].get(key["blockIndex"], GONE) is GONE:
        return None
    block = message["blocks"][key["blockIndex"]]
    fields = dict(block["fields"])
    if mode == "block":  # what has no number comes by itself
        fields = {name: value for name, value in fields.items() if name in ("x", "y")}
    text = readable("".join(block["texts"].get("text", ())), True)
    wire = {"type": "block.snapshot", **key, "seq": last["seq"], "text": text, **fields}
    return wire if mode == "block" else {**wire, "kind": block["kind"] or "text", "whole": True}


def chain(lanes: list[Iterator[Wire]]) -> Iterator[Wire]:
    """One lane after the other."""
    for lane in lanes:
        yield from lane
