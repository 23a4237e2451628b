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

from .oracle import FORGETS, GONE, Truth, readable, said

Wire = dict[str, Any]
Entry = list[Any]

_WORDS = ("a", "bc ", "é", "\n", "שׁ", "\U0001f600", "e\u0301", "\u2028", "x y ", '"\\')
_SIGNS = "ab\U0001f600é\U0001f9ec \n"
#: The id that a client gives to what its user says in `s1`.
LOCAL = "mine"
_REQUESTS = ("permission.", "question.")
#: What a session says and no fetched state holds.
NOT_FETCHED = ("session.error", "session.state")


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
        told: everything that is said is said to the reader, too: also what no fetched state holds
            (errors, the shared state), and that a session is gone.
        locals: the server tells of what the user said in `s1`.
        removals: how often what has named calls is removed beyond the usual.
    """

    mode: str
    plain: bool = False
    whole: bool = False
    halves: bool = False
    alone: bool = False
    single: bool = False
    snapshots: bool = True
    reads: bool = False
    told: bool = True
    locals: bool = False
    removals: float = 0.25
    blocks: int = 3


@attrs.define
class _Call:
    """A call that is named: where, and when its results come."""

    opening: Wire = attrs.Factory(dict)
    naming: Wire = attrs.Factory(dict)
    early: list[Wire] = attrs.Factory(list)
    within: list[Wire] = attrs.Factory(list)
    late: list[Wire] = attrs.Factory(list)


_NO_CALL = _Call()


def make(random: Random, shape: Shape, calls: Random | None = None) -> list[Entry]:
    """A script, with the numbers and ids that its sequencing has.

    With `calls`, tools are called by ids, and their results come by these alone; it says which and
    when, so that a script without them draws what it did before there were any.
    """
    return _Server(random, shape, calls).script()


def named_again(script: list[Entry]) -> list[int]:
    """Where calls are named that had their name before: in a part that is made again.

    A result that was taken stays in its part, also when a late removal below it takes away what
    named the call: where the later name never comes, what is shown depends on what came when. The
    removal of a session that begins anew is among them: without it a part has two names one behind
    the other, and a result that is late for the first is of no call.
    """
    named: dict[tuple[str, str, int], str] = {}
    removed: dict[str, int] = {}
    found = []
    for n, (event, _) in enumerate(script):
        if event["type"] == "session.removed":
            removed[event["sessionId"]] = n
        if "callId" in event and event["type"].startswith("block."):
            place = (event["sessionId"], event["messageId"], event["blockIndex"])
            if place in named:
                found.append(n)
                if named[place] != event["callId"]:
                    found.append(removed[event["sessionId"]])
            named[place] = event["callId"]
    return sorted(set(found))


class _Server:
    def __init__(self, random: Random, shape: Shape, calls: Random | None = None) -> None:
        self._random = random
        self._calls = calls
        #: Results that come when their message is over, by its session and id.
        self._later: dict[tuple[str, str], list[Wire]] = {}
        #: Blocks whose call had a name, by session, message and index.
        self._named: set[tuple[str, str, int]] = set()
        self._shape = shape
        self._mode = shape.mode
        self._counters: dict[Any, int] = {}
        self._words = 0
        self._numbered = 0
        self._life = 0
        self._begun_anew = 0
        # Where the ids of messages and blocks begin.
        self._first_message = self._first_block = 0
        fetched = shape.snapshots and not (shape.halves or shape.plain) and random.random() < 0.5
        self._fetches = fetched
        self._read = fetched or shape.reads
        # One kind for each place: another one after a removal that was not heard of is a conflict.
        self._kinds: dict[Any, str] = {}

    def script(self) -> list[Entry]:
        random, shape = self._random, self._shape
        sessions = ["s1"] if shape.alone or shape.single or random.random() < 0.6 else ["s1", "s2"]
        lanes = [lane for session in sessions for lane in self._session(session)]
        events = list(self._mingled(lanes))
        if not shape.plain and shape.told:
            draw, fetches = random.random(), self._fetches
            if draw < 0.1:
                events = self._without_a_session(events)
            elif draw < (0.35 if fetches else 0.2) and not (shape.reads or shape.halves):
                events = self._restarted(events)
        for event in events:
            self._number(event)
        script = [[event, -1] for event in events]
        if self._fetches:
            script += self._fetched(script)
        return script

    def _session(self, session: str) -> list[Iterator[Wire]]:
        """What is said in a session, in lanes that know nothing of each other."""
        shape = self._shape
        many = 1 if self._random.random() < 0.6 else 2
        # The same ids in both sessions.
        first = self._first_message
        talks = [self._message(session, f"m{n}", n) for n in range(first, first + many)]
        lanes = [chain(talks)] if shape.alone else talks
        if shape.plain:
            return lanes
        if shape.locals and session == "s1" and not self._life:
            lanes.append(self._confirmed(session))
        return [*lanes, self._beside(session)]

    def _confirmed(self, session: str) -> Iterator[Wire]:
        """The server tells of what the user said: under the same id, or under one of its own."""
        named = {"messageId": LOCAL} if self._random.random() < 0.6 else {"messageId": "m9"}
        key = {"sessionId": session, **named}
        opened = {"type": "message.opened", **key, "role": "user", "order": 9}
        if named["messageId"] != LOCAL:
            opened["clientId"] = LOCAL
        yield opened
        text = said(LOCAL)
        yield {"type": "block.replaced", **key, "blockIndex": 0, "kind": "text", "text": text}

    def _without_a_session(self, events: list[Wire]) -> list[Wire]:
        """A session is removed in the middle of what it says, and perhaps begins anew."""
        chance = self._random.random
        at = int(chance() * (len(events) + 1))
        name = "s1" if chance() < 0.7 else "s2"
        kept, rest = events[:at], events[at:]
        others = [event for event in rest if event["sessionId"] != name]
        last = [event for event in rest if event["sessionId"] == name][: int(chance() * 3)]
        if self._mode == "none":  # what is refused is no repetition when it comes again
            last = []
        kept += [{"type": "session.removed", "sessionId": name}, *last]
        # Who has heard of the removal hears of the beginning. In a block stream there is none; and
        # without numbers a request that is repeated cannot be told from one that is asked anew.
        asked = self._mode == "none" and any(".asked" in event["type"] for event in events)
        if self._mode == "block" or self._read or asked or chance() < 0.4:
            return kept + others
        self._life += 1
        self._begun_anew += 1
        again = {"type": "session.updated", "sessionId": name, "info": {"b": 2}, "whole": True}
        second = list(self._mingled(self._session(name)))
        if self._mode == "none":
            second = [event for event in second if ".asked" not in event["type"]]
        return [*kept, again, *self._mingled([iter(others), iter(second)])]

    def _restarted(self, events: list[Wire]) -> list[Wire]:
        """The server forgets what it had not said yet of a session, and counts from 1 again."""
        chance = self._random.random
        name = "s1" if chance() < 0.7 else "s2"
        own = [n for n, event in enumerate(events) if event["sessionId"] == name]
        if not own or any(event["type"] == "message.reset" for event in events):
            return events
        at = own[int(chance() * len(own))] + 1
        first = events[:at]
        others = [event for event in events[at:] if event["sessionId"] != name]
        self._life += 1
        token = self._remembered() if self._fetches else "g2"
        removed = any(e["type"] == "message.removed" and e["sessionId"] == name for e in first)
        if removed and self._mode in ("session", "sparse"):
            # A state would tell of a removal that was lost by what it lacks: the role, too, where
            # the same message begins again without an opening, as only another counter's may.
            self._first_message = 2
        second = list(self._mingled(self._session(name)))
        second = _without_resets(second)
        for generation, said_then in (("g1", first), (token, second)):
            opening = {"type": "stream.opened", "sessionId": name}
            said_then.insert(0, opening)
            for event in said_then:
                if event["sessionId"] == name:
                    event["generation"] = generation
        barrier = second.pop(0)
        return [*first, barrier, *self._mingled([iter(others), iter(second)])]

    def _remembered(self) -> str:
        """What a server that is asked for its state knows of the time before; the new token.

        It says nothing anew that it remembers: a fetched state has the old text then, and what
        follows is appended. Nor does one that forgot use an id again.
        """
        if self._mode == "block":
            return "g2"
        forgets = self._random.random() < 0.5
        if forgets or self._random.random() < 0.5:
            self._first_message = 2
        else:
            self._first_block = 6
        return "g2" + FORGETS if forgets else "g2"

    # -- numbers ---------------------------------------------------------------------------------

    def _number(self, event: Wire) -> None:
        mode, generation = self._mode, event.get("generation", "")
        if event["type"] == "stream.opened":
            return
        if mode == "none":
            if not event["type"].startswith(_REQUESTS):
                self._numbered += 1
                event["id"] = f"e{self._numbered:04}"
            return
        if mode == "block":
            if event["type"] in ("block.delta", "block.replaced", "block.closed"):
                key = (generation, event["sessionId"], event["messageId"], event["blockIndex"])
                step = event["type"] != "block.closed"
                event["seq"] = self._counters[key] = self._counters.get(key, 0) + step
                if not event["seq"] or (not step and self._random.random() < 0.5):
                    del event["seq"]
            elif event["type"] in NOT_FETCHED:  # a version, which says what is later
                key = (generation, event["sessionId"])
                event["seq"] = self._counters[key] = self._counters.get(key, 0) + 1
            return
        key = ""
        if mode == "session" or generation.startswith("g2"):
            key = (generation, event["sessionId"])
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
        counted = self._mode != "block"  # else the last one to arrive holds
        if chance() < 0.3:
            yield {"type": "session.updated", **own, "info": {"title": session}}
        if chance() < 0.3:
            yield {"type": "session.status", **own, "status": "busy"}
            if counted and chance() < 0.2:
                retry = {"attempt": 1, "message": "later", "next": 7}
                yield {"type": "session.status", **own, "status": "retry", **retry}
            if counted and chance() < 0.6:
                yield {"type": "session.status", **own, "status": "idle"}
        for kind, name in (("todo.updated", "todo"), ("session.diff", "diff")):
            if chance() < 0.15:
                yield {"type": kind, **own, name: [{"n": 1}]}
                if counted and chance() < 0.5:
                    yield {"type": kind, **own, name: [{"n": 2}, 3] if chance() < 0.8 else []}
        if chance() < 0.35:
            yield from self._requests(own)
        if self._shape.told and chance() < 0.15:
            for _ in range(1 + int(chance() * 2)):
                self._words += 1
                error = {"name": "Error", "message": str(self._words)}
                yield {"type": "session.error", **own, "error": error}
        if self._shape.told and chance() < 0.15:
            yield from self._shared(own)

    def _requests(self, own: Wire) -> Iterator[Wire]:
        """Permissions and questions; one of each may have the same id."""
        chance = self._random.random
        for kind, answers in (("permission", ("replied",)), ("question", ("replied", "rejected"))):
            asked = [f"r{self._life}{number}" for number in range(int(chance() * 3))]
            for name in asked:
                request = {"type": f"{kind}.asked", **own, "id": name, "payload": {"tool": "bash"}}
                if chance() < 0.3:
                    request |= {"messageId": "m0", "callId": "c"}
                yield request
                if chance() < 0.2:
                    yield dict(request)
            for name in asked:
                if chance() < 0.6:
                    answer = answers[int(chance() * len(answers))]
                    yield {"type": f"{kind}.{answer}", **own, "id": name}

    def _shared(self, own: Wire) -> Iterator[Wire]:
        """A state that is shared beside messages, and patches of it; some of them do not fit.

        Without numbers all do: what is refused is no repetition when it comes again.
        """
        chance = self._random.random
        fits = self._mode == "none"
        for number in range(1 + int(chance() * 4)):
            self._words += 1
            word = self._words
            patches: tuple[list[Wire], ...] = (
                [{"op": "replace", "path": "/n", "value": word}],
                [{"op": "add", "path": "/l/-", "value": word}],
                [{"op": "add", "path": f"/o/k{word}", "value": {}}],
                [{"op": "remove", "path": "/l/0"}],
                [{"op": "test", "path": "/n", "value": 0}, {"op": "remove", "path": "/n"}],
                [{"op": "replace", "path": "/n", "value": -1}, {"op": "remove", "path": "/no"}],
            )
            if chance() < 0.4 or (fits and not number):
                yield {"type": "session.state", **own, "state": {"n": 0, "l": [word], "o": {}}}
            else:
                patch = patches[int(chance() * (3 if fits else len(patches)))]
                yield {"type": "session.state", **own, "patch": patch}

    def _message(self, session: str, message: str, number: int) -> Iterator[Wire]:
        random, shape = self._random, self._shape
        chance = random.random
        key = {"sessionId": session, "messageId": message}
        for life in range(2):
            opened = {"type": "message.opened", **key, "role": "assistant", "order": number}
            if shape.plain or life or chance() < self._opens():
                yield opened
            if not shape.plain and chance() < 0.25:
                yield {"type": "message.updated", **key, "info": {f"a{life}": 1, "b": life}}
            blocks = 1 + int(chance() * shape.blocks)
            # What a fetched state lacks is removed, and comes back by a full event alone.
            first = self._first_block + (3 * life if self._read else 0)
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
            yield from self._later.pop((session, message), ())
            if shape.plain or not self._goes(0.15):
                return
            if self._mode != "block" and not life and chance() < 0.3:
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
        if self._calls is not None and self._calls.random() < 0.5:
            kind = "tool"
        kind = self._kinds.setdefault((key["sessionId"], key["messageId"], key["blockIndex"]), kind)
        tool = kind == "tool"
        for _ in range(2):
            call = self._called(key) if tool and self._calls is not None else _NO_CALL
            yield from call.early
            if shape.whole:
                pass
            elif shape.plain or tool or chance() < self._opens() or kind != "text":
                yield {"type": "block.opened", **key, "kind": kind, "tag": "t", **call.opening}
            if tool:
                yield from self._call(key, call)
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
            yield from call.late
            if shape.plain or not self._goes(0.06):
                return
            yield {"type": "block.removed", **key}
            if self._mode == "block" or chance() < 0.5:
                return
            if kind == "text":  # only an opening adds it anew
                yield {"type": "block.opened", **key, "kind": kind, "tag": "u"}

    def _goes(self, usual: float) -> bool:
        """Whether what was said is removed: more often where results must meet calls again."""
        if self._calls is not None and self._calls.random() < self._shape.removals:
            return True
        return self._random.random() <= usual

    def _opens(self) -> float:
        """How often an opening comes: where a session begins anew, what is removed may not."""
        return 0.6 if self._life else 0.9

    def _called(self, key: Wire) -> _Call:
        """How a call is named, and what comes of it by its name; one block has one name.

        In a block stream a result has no number, and neither has what names a call: of two results
        the last to arrive would hold, and what is numbered may wait behind a hole.
        """
        assert self._calls is not None
        chance = self._calls.random
        # A session that begins anew calls under ids of its own, as servers do: what was taken in of
        # an id goes with the session, also where it came early, and is of the next one's call.
        sign = "'" * self._begun_anew
        name = {"callId": f"{key['messageId']}/{key['blockIndex']}{sign}"}
        place = (key["sessionId"], key["messageId"], key["blockIndex"])
        # Made again it has its name at once: see `named_again`.
        opens = chance() < 0.7 or place in self._named
        self._named.add(place)
        call = _Call(opening=name) if opens else _Call(naming=name)
        results = []
        for status in ("running", ("completed", "error")[int(chance() * 2)]):
            if status == "running" and (self._mode == "block" or chance() < 0.7):
                continue
            self._words += 1
            fields = {"state": {"status": status}, "output": f"o{self._words}"}
            result = {"type": "tool.result", "sessionId": key["sessionId"], **name}
            if chance() < 0.3:
                result["messageId"] = key["messageId"]
            results.append({**result, "fields": fields})
        draw = chance()
        if draw < 0.15 and not self._read:  # a state that is fetched then does not have them
            call.early = results
        elif draw < 0.5:
            call.within = results
        elif draw < 0.75:
            call.late = results
        else:
            at = (key["sessionId"], key["messageId"])
            self._later.setdefault(at, []).extend(results)
        return call

    def _call(self, key: Wire, call: _Call) -> Iterator[Wire]:
        """A tool's call: its input streams and is then said whole, its state goes up."""
        chance = self._random.random
        for _ in range(int(chance() * 5) if chance() < 0.6 else 0):
            yield {"type": "block.delta", **key, "field": "input", "text": self._word()}
        states = ["running", ("completed", "error", "denied")[int(chance() * 3)]]
        if chance() < 0.3:
            states.insert(0, "pending")
        if chance() < 0.2:
            states.insert(-1, "waiting")
        if chance() < 0.1:
            states.append("running")  # refused
        if call is not _NO_CALL:  # a result says how it ended
            states = [status for status in states if status in ("pending", "running", "waiting")]
        if call.naming:
            yield {"type": "block.updated", **key, **call.naming}
        yield from call.within
        draw = chance()
        for status in states:
            event: Wire = {"type": "block.replaced", **key, "state": {"status": status}}
            if status == "running" and draw < 0.4 and status != states[-1]:
                event["input"] = {"n": self._words} if draw < 0.2 else self._word()
                draw = 1.0
            yield event
            if draw > 0.95 and status == "running":
                yield {"type": "block.delta", **key, "field": "input", "text": self._word()}

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
        openings = [n for n, (event, _) in enumerate(script) if event["type"] == "stream.opened"]
        if self._mode != "block":
            while random.random() < 0.6 and len(found) < 3:
                first = openings[-1] if openings and random.random() < 0.5 else 0
                covers = first + 1 + int(random.random() * (len(script) - first))
                session = script[covers - 1][0]["sessionId"]
                state = read(script, session, covers, self._mode)
                if state is not None:
                    if state["messages"] and random.random() < 0.25:
                        state = self._page(state)
                    found.append([state, covers])
                    if self._mode == "none" or random.random() < 0.5:
                        asked = 1 + int(random.random() * covers)
                        found.append([{"type": "read", "sessionId": session}, asked])
        while self._mode != "none" and random.random() < 0.5 and len(found) < 4:
            covers = 1 + int(random.random() * len(script))
            snapshot = read_block(script, covers, self._mode)
            if snapshot is not None:
                found.append([snapshot, covers])
        if self._calls is not None and self._mode != "none":
            found += self._rebuilt(script)
        return found

    def _rebuilt(self, script: list[Entry]) -> list[Entry]:
        """Some of the states that blocks have behind the reset of their message."""
        assert self._calls is not None
        found: list[Entry] = []
        ended: set[tuple[str, str]] = set()
        for at, (event, _) in enumerate(script):
            if "messageId" not in event:
                continue
            key = (event["sessionId"], event["messageId"])
            if event["type"] == "message.reset":
                ended.add(key)
            elif key in ended and self._calls.random() < 0.4 and len(found) < 6:
                snapshot = read_block(script, at + 1, self._mode)
                if snapshot is not None:
                    found.append([snapshot, at + 1])
        return found

    def _page(self, state: Wire) -> Wire:
        """Some messages of a state, and nothing of its session; no word about the others.

        A page that says where it ends is not drawn: which of the others lie in it depends on what
        the reader knows of their order by then.
        """
        messages = sorted(state["messages"], key=lambda message: message.get("order", 0))
        start = int(self._random.random() * len(messages))
        stop = start + 1 + int(self._random.random() * (len(messages) - start))
        members = ("type", "sessionId", "generation", "seq")
        page = {name: state[name] for name in members if name in state}
        return {**page, "complete": False, "messages": messages[start:stop]}


def read(script: list[Entry], session: str, covers: int, mode: str) -> Wire | None:
    """A session's state as its server had it after so many entries; None where it has none.

    That is while it rebuilds a message, when the session is gone, and before it says anything with
    a number. Nor is a session read that began anew: what a state lacks may have been there before.
    """
    said_then = [event for event, of in script[:covers] if of < 0 and event["sessionId"] == session]
    openings = [event for event in said_then if event["type"] == "stream.opened"]
    counter = {"generation": openings[-1]["generation"]} if openings else {}
    own_count = [event for event in said_then if counter.items() <= event.items()]
    if forgets(counter):
        said_then = own_count
    truth = Truth(mode).take(said_then)
    numbers = [event["seq"] for event in own_count if "seq" in event]
    if session in truth.left or (mode != "none" and not numbers):
        return None
    found = truth.sessions.get(session)
    messages = []
    own: Wire = {}
    if found is not None:
        members = ("info", "status", "todo", "diff")
        own = {name: found[name] for name in members if found[name] is not None}
        for name in ("permissions", "questions"):
            own[name] = list(found[name].values())
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
                part.update({name: "".join(text) for name, text in block["texts"].items() if text})
                parts.append(part)
            entry = {"id": message_id, "status": message["status"], "parts": parts}
            for name in ("role", "order", "clientId"):
                if message[name] is not None:
                    entry[name] = message[name]
            if message["info"]:
                entry["info"] = message["info"]
            messages.append(entry)
    wire: Wire = {"type": "snapshot", "sessionId": session, **counter, **own}
    if mode != "none":
        wire["seq"] = max(numbers)
    return {**wire, "complete": True, "messages": messages}


def read_block(script: list[Entry], covers: int, mode: str) -> Wire | None:
    """A text block as its server had it after so many entries, if the last one was its delta."""
    last = script[covers - 1][0]
    if last["type"] not in ("block.delta", "block.replaced") or "field" in last or "state" in last:
        return None
    names = ("sessionId", "messageId", "blockIndex", "generation")
    key = {name: last[name] for name in names if name in last}
    counter = last.get("generation")
    said_then = [event for event, _ in script[:covers]]
    if counter is not None:  # what was said of it before may not have come
        said_then = [event for event in said_then if event.get("generation") == counter]
    truth = Truth(mode).take(said_then)
    if key["sessionId"] in truth.gone:
        return None
    message = truth.sessions[key["sessionId"]]["messages"][key["messageId"]]
    if message is GONE or message["blocks"].get(key["blockIndex"], GONE) is GONE:
        return None
    block = message["blocks"][key["blockIndex"]]
    fields = dict(block["fields"])
    if mode == "block":  # what has no number comes by itself
        fields = {name: value for name, value in fields.items() if name in ("x", "y")}
    text = readable("".join(block["texts"].get("text", ())), True)
    wire = {"type": "block.snapshot", **key, "seq": last["seq"], "text": text, **fields}
    if mode == "block":
        return wire
    # With its status: where a state does not say it, a close that a removal undid, of which nobody
    # heard before the state came, stays.
    status = "closed" if block["closed"] else "open"
    return {**wire, "kind": block["kind"] or "text", "status": status, "whole": True}


def forgets(event: Wire) -> bool:
    """Whether a server counts that remembers nothing of the time before."""
    return str(event.get("generation", "")).endswith(FORGETS)


def chain(lanes: list[Iterator[Wire]]) -> Iterator[Wire]:
    """One lane after the other."""
    for lane in lanes:
        yield from lane


def _without_resets(events: list[Wire]) -> list[Wire]:
    """Without the resets of messages, and what comes of each behind its own."""
    ended = set()
    found = []
    for event in events:
        key = (event["sessionId"], event.get("messageId"))
        if event["type"] == "message.reset":
            ended.add(key)
        elif key not in ended:
            found.append(event)
    return found
