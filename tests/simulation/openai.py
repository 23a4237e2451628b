"""A history of OpenAI's two protocols on a store alone: answers, and what goes wrong on their way.

A response (`openai-responses`) is numbered: what is repeated, late or lost is known exactly, and
after a drop the server is asked for what it has behind a number, on a new stream. A completion
(`openai-chat`) is not: its chunks come once and in order; a cut ends it for good, unless somebody
in between keeps it, and sends it again from the start, or goes on with it.

    ["take", a, [n, ...], [at, ...]]  entries of answer a come; as bytes, cut at these per mille
    ["drop", a, n, at]   its connection is lost inside entry n (at per mille of it; -1: between two)
    ["miss", a, n]      (responses) the server says entry n, and it never comes
    ["also", a]         (responses) a second stream follows it, the first one stays
    ["old", a, [n, ...]]  the stream that was followed before brings these
    ["read", a]        (responses) the whole response is read
    ["again", a]        (chat) the answer is sent again from its start, on a new stream
    ["on", a, at]       (chat) it is cut, and goes on where it was, on a new stream
    ["over", a]         its stream is at its end
    ["x", a, n]         bad input number n comes
    ["f"] ["r"] ["t", ms] ["save"] ["crash"] ["sub", kind]  as in `faults`
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from streamstore.adapters.base import Context
from streamstore.adapters.openai_chat import OpenAIChatAdapter
from streamstore.adapters.openai_responses import OpenAIResponsesAdapter
from streamstore.testing.books import Books
from streamstore.testing.comparing import difference

from . import core, openai_oracle, openai_wires
from .core import Mismatch, View
from .openai_oracle import AGAIN, CUT
from .openai_scripts import Answer
from .wires import BAD, BAD_OBJECTS

History = dict[str, Any]
Action = list[Any]
#: What should be seen of each message, by session and id.
Truth = dict[tuple[str, str], Any]

SUBSCRIBERS = ("raising", "closing", "flushing", "slow", "part", "mirror")
_JUMPS = (0, 1, 15, 16, 17, 100, 86_400_000)


def actions(random: Random, script: list[Answer], protocol: str, framing: str) -> list[Action]:
    """What comes of a script, and what goes wrong."""
    chance = random.random
    numbered = protocol == "openai-responses"
    faulty = chance() < 0.7
    lanes: dict[str, list[Action]] = {}
    for a, answer in enumerate(script):
        lane = lanes.setdefault(answer["session"], [])
        lane += (
            _numbered(random, a, answer, faulty) if numbered else _once(random, a, answer, faulty)
        )
    waiting = list(lanes.values())
    shows = 0.05 + 0.3 * chance()
    spoilt = 0.05 * chance() if chance() < 0.4 else 0.0
    breaks = 0.03 * chance() if chance() < 0.5 else 0.0
    found: list[Action] = []
    while waiting:
        lane = waiting[int(chance() * len(waiting))]
        action = lane.pop(0)
        if not lane:
            waiting.remove(lane)
        if action[0] == "take" and framing:
            action.append(sorted(int(chance() * 1001) for _ in range(int(chance() * 4))))
        found.append(action)
        if chance() < shows:
            found.append(["f"] if chance() < 0.7 else ["t", _JUMPS[int(chance() * len(_JUMPS))]])
        if chance() < spoilt and action[0] == "take":
            found.append(["x", action[1], int(chance() * 64)])
        if chance() < breaks:
            found.append(["save"] if chance() < 0.6 else ["crash"])
        if chance() < 0.02:
            found.append(["r"])
    if chance() < 0.4:
        kind = SUBSCRIBERS[int(chance() * len(SUBSCRIBERS))]
        found.insert(int(chance() * len(found)), ["sub", kind])
    return found


def _numbered(random: Random, a: int, answer: Answer, faulty: bool) -> list[Action]:
    """A response: what comes of it is known by its numbers, whatever its order."""
    chance = random.random
    count = len(answer["entries"])
    order = list(range(count))
    if faulty and chance() < 0.4:  # dropped, and replayed later; what begins it comes first
        for _ in range(1 + int(chance() * 5)):
            if count > 2:
                n = order.pop(1 + int(chance() * (count - 1)))
                order.insert(1 + int(chance() * (count - 1)), n)
    if faulty and chance() < 0.1:
        rest = order[1:]
        random.shuffle(rest)
        order[1:] = rest
    if faulty and chance() < 0.6:
        for _ in range(1 + int(chance() * 4)):
            at = int(chance() * len(order))
            order.insert(at + 1 + int(chance() * 6), order[at])
    if faulty and chance() < 0.4:  # a stretch is replayed
        start = int(chance() * len(order))
        stretch = order[start : start + 1 + int(chance() * 10)]
        at = start + len(stretch) + int(chance() * 4)
        order[at:at] = stretch
    errors = [n for n, entry in enumerate(answer["entries"]) if entry["say"] == "error"]
    if faulty and errors and chance() < 0.5:
        order.insert(order.index(errors[0]) + 1, errors[0])
    found: list[Action] = []
    rate = 0.12 * chance() if faulty else 0.0
    at, both = 0, False
    while at < len(order):
        if chance() < rate and order[at]:
            found.append(["miss", a, order[at]])
            at += 1
            continue
        many = 1 + int(chance() * 5) if chance() < 0.7 else 1
        found.append(["take", a, order[at : at + many]])
        if both and chance() < 0.4:
            found.append(["old", a, order[max(0, at - 2) : at + many]])
        at += many
        if chance() < rate:
            n = order[min(at, len(order) - 1)]
            draw = chance()
            if draw < 0.5:
                found.append(["drop", a, n, int(chance() * 1000) if chance() < 0.6 else -1])
            elif draw < 0.7:
                found.append(["also", a])
                both = True
            elif draw < 0.95:
                found.append(["old", a, sorted(int(chance() * count) for _ in range(3))])
            else:
                found.append(["read", a])
    if chance() < 0.7:
        found.append(["drop", a, count - 1, -1])
    found.append(["over", a])
    if faulty and chance() < 0.1:
        found.append(["read", a])
    return found


def _once(random: Random, a: int, answer: Answer, faulty: bool) -> list[Action]:
    """A completion: each chunk comes once, in order."""
    chance = random.random
    count = len(answer["entries"])
    found: list[Action] = []
    rate = 0.12 * chance() if faulty else 0.0
    at, both = 0, False
    while at < count:
        many = 1 + int(chance() * 5) if chance() < 0.7 else 1
        found.append(["take", a, list(range(at, min(at + many, count)))])
        if both and chance() < 0.4:
            found.append(["old", a, list(range(max(0, at - 2), min(at + many, count)))])
        at += many
        if chance() < rate:
            draw = chance()
            where = int(chance() * 1000) if chance() < 0.6 else -1
            if draw < 0.3:
                found.append(["on", a, where])
            elif draw < 0.6:
                found.append(["again", a])
                both = True
            elif draw < 0.8:
                found.append(["old", a, sorted(int(chance() * count) for _ in range(3))])
            else:
                found.append(["drop", a, at, where])
                if chance() < 0.5:
                    found.append(["again", a])
    if faulty and chance() < 0.1:
        found.append(["again", a])
    found.append(["over", a])
    return found


class Run(core.Run):
    """One history, carried out."""

    def __init__(self, history: History, digest: Any = None) -> None:
        self.history = history
        self.script: list[Answer] = history["script"]
        self.mode: str = history["mode"]
        self.numbered = history["protocol"] == "openai-responses"
        self.exact = history["delivery"] == "streaming"
        write = openai_wires.response if self.numbered else openai_wires.completion
        self.wire = [write(answer) for answer in self.script]
        many = len(self.script)
        # By answer: what came (a set, or in order), what the server said, and the streams of it,
        # of which the last one is followed.
        self.came: list[Any] = [set() if self.numbered else [] for _ in range(many)]
        self.said: list[set[int]] = [set() for _ in range(many)]
        self.on: list[list[Any]] = [[] for _ in range(many)]
        self.lost: set[int] = set()  # that nobody goes on with
        self.begun: list[int] = []
        self.opened: dict[str, int] = {}
        self.saved: Any = None
        self.latest = -1
        self.digest = digest
        self.clock = None
        self.errors = 0
        self.view = View(digest)
        self._start(None)

    def _open(self) -> None:
        """Streams are opened where an answer needs one."""

    def carry_out(self) -> None:
        ticks = self.history["ticks"]
        each = self.exact and (ticks == "each" or (ticks == "feed" and self.history["framing"]))
        for action in self.history["actions"]:
            getattr(self, f"_do_{action[0]}")(*action[1:])
            if each:
                self._look()
        self._end()

    # -- streams ---------------------------------------------------------------------------------

    def _stream(self, a: int) -> Any:
        """The stream that is followed, opened where there is none."""
        if not self.on[a] or self.on[a][-1].ended:
            self._follow(a)
        return self.on[a][-1]

    def _follow(self, a: int) -> Any:
        session = self.script[a]["session"]
        self.opened[session] = self.opened.get(session, 0) + 1
        stream = self.store.open(self.history["protocol"], session_id=session)
        self.on[a].append(stream)
        return stream

    def _send(self, stream: Any, wires: list[Any], marks: tuple[int, ...] | list[int] = ()) -> None:
        if not self.history["framing"]:
            wires = [wire for wire in wires if wire != "[DONE]"]
            if len(wires) == 1:
                stream.ingest(wires[0])
            elif wires:
                stream.ingest_many(wires)
            return
        data = b"".join(map(openai_wires.framed, wires))
        at = 0
        for stop in [*(len(data) * mark // 1000 for mark in marks), len(data)]:
            if stop > at:
                stream.feed(data[at:stop])
                at = stop

    def _bring(self, a: int, stream: Any, places: list[int], marks: Any = ()) -> None:
        """Entries come on a stream of an answer."""
        if not places:
            return
        if a not in self.begun:
            self.begun.append(a)
        self.said[a].update(places)
        wires = [self.wire[a][n] for n in places]
        if not self.numbered:
            self.came[a] += places
            self._send(stream, wires, marks)
            return
        news = set(places) - {n for n in self.came[a] if not self._unknown(a, n)}
        self.came[a] |= set(places)
        if news:
            self._send(stream, wires, marks)
            return
        self.store.flush()
        self._send(stream, wires, marks)
        if self.store.flush():
            raise Mismatch(f"{places} of {self.script[a]['id']} came again, and something changed")

    def _unknown(self, a: int, n: int) -> bool:
        return bool(self.script[a]["entries"][n]["say"] == "new")

    def _break(self, a: int, part: Any, at: int) -> None:
        """The streams of an answer end, the last one inside a wire object."""
        if not self.on[a] or self.on[a][-1].ended:
            return
        if self.history["framing"] and at >= 0 and part is not None:
            data = openai_wires.framed(part)
            self.on[a][-1].feed(data[: (len(data) - 4) * at // 1000])
        for stream in self.on[a]:
            stream.end()
        if not self.numbered:
            self.came[a].append(CUT)

    # -- actions ---------------------------------------------------------------------------------

    def _do_take(self, a: int, places: list[int], marks: Any = ()) -> None:
        if a in self.lost:
            return
        if not self.numbered:
            last = max(self.said[a], default=-1)
            places = [n for n in places if n > last]
            if places[:1] != [last + 1]:
                return
        elif 0 not in self.came[a] and places[0]:
            return  # the beginning names it
        elif self._ended(a) and (not self.on[a] or self.on[a][-1].ended):
            return  # nobody asks for the rest of it
        self._bring(a, self._stream(a), places, marks)

    def _do_miss(self, a: int, n: int) -> None:
        if self.came[a]:
            self.said[a].add(n)

    def _do_drop(self, a: int, n: int, at: int) -> None:
        if a in self.lost:
            return
        if not self.numbered:
            last = max(self.said[a], default=-1)
            wires = self.wire[a]
            self._break(a, wires[last + 1] if last + 1 < len(wires) else None, at)
            if self.came[a]:
                self.lost.add(a)  # a new request is a new answer
            return
        if at >= 0 and self.history["framing"] and self.on[a] and not self.on[a][-1].ended:
            self.said[a].add(n)
        self._break(a, self.wire[a][n], at)
        self._resume(a)

    def _do_also(self, a: int) -> None:
        if self.on[a] and not self.on[a][-1].ended:
            self._resume(a)

    def _resume(self, a: int) -> None:
        """A new stream of a response, with what its server has behind the number it is told.

        Where a later response of its session has begun nobody asks: the wire does not say which
        one a tail is of.
        """
        if not self.said[a]:
            return
        session, first = self.script[a]["session"], self.script[a]["first"]
        later = [b for b in self.begun if self.script[b]["session"] == session]
        if self.came[a] and later and later[-1] != a:
            return
        stream = self._follow(a)
        place = self._position(a, stream)
        if place is None:
            self.on[a].pop().end()  # nobody asks
            return
        after = place.starting_after
        rest = [n for n in sorted(self.said[a]) if after is None or n + first > after]
        if rest[:1] != [0] and not self.came[a]:
            return
        self._bring(a, stream, rest)

    def _ended(self, a: int) -> bool:
        """Whether the end of a response came."""
        return any(self.script[a]["entries"][n]["say"] == "end" for n in self.came[a])

    def _position(self, a: int, stream: Any) -> Any:
        """Where the library would go on; it is where the first entry is missing."""
        answer, came = self.script[a], self.came[a]
        position = stream.adapter.resume(answer["id"])
        if not came:
            return _Nowhere
        if self._ended(a):
            if position is not None:
                raise Mismatch(f"{answer['id']} has ended, and would go on at {position}")
            return None
        if position is None or position.response_id != answer["id"]:
            raise Mismatch(f"{answer['id']} has not ended, and would go on at {position}")
        # What nobody knows counts as received where it comes in its turn and more follows.
        known = {n for n in came if not self._unknown(a, n)}
        low, high = (_reach(numbers) + answer["first"] for numbers in (known, came))
        if position.starting_after is None or not low <= position.starting_after <= high:
            raise Mismatch(f"{answer['id']} would go on at {position}, not {low} to {high}")
        return position

    def _do_old(self, a: int, places: list[int]) -> None:
        if len(self.on[a]) < 2 or self.on[a][-2].ended or self.on[a][-1].ended:
            return
        said = self.said[a]
        places = [n for n in places if n in said]
        if self.numbered:
            self._bring(a, self.on[a][-2], places)
        elif places:  # another stream delivers it now
            self._send(self.on[a][-2], [self.wire[a][n] for n in places])

    def _do_read(self, a: int) -> None:
        entries = self.script[a]["entries"]
        end = len(entries) - 1
        if not self.numbered or end not in self.said[a] or not entries[end].get("told"):
            return
        if not self.came[a] or any(
            entry["say"] == "error" and n not in self.came[a] for n, entry in enumerate(entries)
        ):
            return  # a state has no error event
        self.came[a].update(range(len(entries)))
        self._send(self._stream(a), [self.wire[a][end]["response"]])

    def _do_again(self, a: int) -> None:
        said = sorted(self.said[a])
        if not said:
            return
        self.lost.discard(a)
        stream = self._follow(a)
        self.came[a].append(AGAIN)
        self._bring(a, stream, said)

    def _do_on(self, a: int, at: int) -> None:
        if a in self.lost or not self.came[a] or not self.on[a]:
            return
        last = max(self.said[a], default=-1)
        wires = self.wire[a]
        self._break(a, wires[last + 1] if last + 1 < len(wires) else None, at)
        rest = self.script[a]["entries"][last + 1 : last + 2]
        begins = any(said["say"] == "role" for entry in rest for said in entry.get("says", ()))
        fails = any("error" in entry for entry in rest)
        if begins or fails or "roles" in self.script[a]["style"]:
            # What looks like the first chunk is the start of a replay; an error names nothing.
            self.lost.add(a)
            return
        self._follow(a)

    def _do_over(self, a: int) -> None:
        self._break(a, None, -1)

    def _do_x(self, a: int, n: int) -> None:
        if not self.on[a] or self.on[a][-1].ended:
            return
        own = openai_wires.BAD[self.history["protocol"]]
        n %= len(BAD) + len(own)
        if self.history["framing"]:
            bad = n < len(BAD)
            data = b"data: " + BAD[n] + b"\n\n" if bad else openai_wires.framed(own[n - len(BAD)])
            self.on[a][-1].feed(data)
        else:
            self.on[a][-1].ingest([*BAD_OBJECTS, *own][n])

    def _do_save(self) -> None:
        came = [type(of)(of) for of in self.came]
        self.saved = (json.dumps(self.store.save()), came, list(self.begun), dict(self.opened))

    def _do_crash(self) -> None:
        many = len(self.script)
        if self.saved is None:
            self.came = [set() if self.numbered else [] for _ in range(many)]
            self.begun, self.opened = [], {}
            self._start(None)
        else:
            saved, came, begun, opened = self.saved
            self.came = [type(of)(of) for of in came]
            self.begun, self.opened = list(begun), dict(opened)
            self._start(json.loads(saved))
        self.on = [[] for _ in range(many)]
        # Whatever was followed is over: each stream that was left is taken up, and ends.
        left = [
            self.store.open(self.history["protocol"], session_id=session)
            for session, count in self.opened.items()
            for _ in range(count)
        ]
        for stream in left:
            stream.end()
        for a in range(many):
            if self.numbered:
                self._resume(a)
            elif self.said[a]:
                self.lost.add(a)
                if self.came[a]:
                    self.came[a].append(CUT)

    # -- looks -----------------------------------------------------------------------------------

    def _truth(self) -> Any:
        return seen(self.script, self.begun, self.came)

    def _compare(self, view: View, scope: str, truth: Any) -> None:
        if scope:
            truth = {key: message for key, message in truth.items() if key[0] == scope}
        compare(view, truth)

    def _end(self) -> None:
        store = self.store
        store.flush()
        self._do_r()
        store.flush()
        if self.clock is not None:
            self.clock.run()
        truth = self._truth()
        for view, scope in ((self.view, ""), *self.others):
            self._compare(view, scope, truth)
        for mirror in self.mirrors:
            mirror.check()
        state = store.state()
        check(state, truth)
        if self.numbered:
            check_responses(store, self.script, self.wire, self.begun, self.came)
        else:
            check_completions(store, self.script, self.begun, self.came)
        if self.digest is not None:
            self.digest.update(json.dumps(state, sort_keys=True).encode())
        if self.history["books"]:
            problem = Books.of(store).problem
            if problem is not None:
                raise Mismatch(problem)
        if store.flush():
            raise Mismatch("nothing came, and a tick showed something")


class _Nowhere:
    """Nothing came yet: the whole of it is asked for."""

    starting_after = None


def _reach(numbers: set[int]) -> int:
    """The last number before the first that is missing."""
    at = 0
    while at + 1 in numbers:
        at += 1
    return at


def seen(script: list[Answer], begun: list[int], came: list[Any]) -> Truth:
    """Every message that there is, by session and id, in the order in which they began."""
    found: Truth = {}
    for a in begun:
        answer = script[a]
        name, answer_id = answer["session"], answer["id"]
        if "first" in answer:
            found[name, answer_id] = openai_oracle.response(answer, came[a])
            continue
        choices = openai_oracle.completion(answer, came[a])
        for number in sorted(choices):
            message_id = f"{answer_id}#{number}" if number else answer_id
            choice = choices[number]
            found[name, message_id] = {
                **openai_oracle.seen(choice), "pending": choice["pending"]
            }  # fmt: skip
    return found


def texts(truth: Truth) -> dict[Any, str]:
    """Every text that is shown, by (session, message, block, field)."""
    return {
        (*key, part["block"], field): part[field]
        for key, message in truth.items()
        for part in message["parts"]
        for field in ("text", "input")
        if part.get(field)
    }


def compare(view: View, truth: Truth) -> None:
    """Hold what a subscriber has against what should be seen."""
    unsure = {key for key, message in truth.items() if message.get("pending")}
    shown = {key: text for key, text in view.texts.items() if key[:2] not in unsure}
    # What is said whole without having streamed is a value, and no text to hear of.
    expected = {
        key: text
        for key, text in texts(truth).items()
        if key[:2] not in unsure and (key[3] == "text" or key in shown)
    }
    if shown != expected:
        found = difference(core._named(expected), core._named(shown))
        raise Mismatch(f"shown at version {view.version}: {found}")


def check(state: Any, truth: Truth) -> None:
    """Hold a store's state against what should be seen of each message."""
    found: dict[str, list[Any]] = {}
    pending: set[tuple[str, str]] = {key for key, of in truth.items() if of.get("pending")}
    for name, session in state["sessions"].items():
        found[name] = []
        for message in session.get("messages", ()):
            if (name, message["id"]) not in pending:
                parts = [_told(part) for part in message.get("parts", ())]
                told = {name: message[name] for name in ("id", "role", "status")}
                found[name].append({**told, "parts": parts})
    expected: dict[str, list[Any]] = {}
    for (name, message_id), message in truth.items():
        if (name, message_id) not in pending:
            told = {"id": message_id, "role": "assistant", "status": message["status"]}
            parts = [
                {n: v for n, v in part.items() if v not in ("", None)} for part in message["parts"]
            ]
            expected.setdefault(name, []).append({**told, "parts": parts})
    found = {name: messages for name, messages in found.items() if messages}
    if found != expected:
        raise Mismatch(f"in the end: {difference(expected, found)}")


def _told(part: Any) -> dict[str, Any]:
    found = {"block": part["blockIndex"], "kind": part["kind"], "status": part["status"]}
    for name in ("text", "input", "gap", "tool", "callId", "refusal"):
        if part.get(name):
            found[name] = part[name]
    if "state" in part:
        found["state"] = part["state"]["status"]
    return found


def check_responses(
    store: Any,
    script: list[Answer],
    wires: list[list[Any]],
    begun: list[int],
    came: list[set[int]],
) -> None:
    """What responses say beside texts: all of them as their ends had them; status and errors."""
    state = store.state()
    if state["gaps"]:
        raise Mismatch(f"where a hole means nothing there are gaps: {state['gaps']}")
    encoded = {wire["id"]: wire for wire in OpenAIResponsesAdapter(Context()).encode(store)}
    for a, answer in enumerate(script):
        end = len(answer["entries"]) - 1
        if end in came[a] and answer["entries"][end].get("told"):
            expected = wires[a][end]["response"]
            if encoded.get(answer["id"]) != expected:
                found = difference(expected, encoded.get(answer["id"]))
                raise Mismatch(f"{answer['id']} is written otherwise: {found}")
    for name, session in state["sessions"].items():
        own = [a for a in begun if script[a]["session"] == name]
        if not own:
            continue
        says = [[script[a]["entries"][n] for n in sorted(came[a])] for a in own]
        busy = not any(entry["say"] in ("error", "end") for entry in says[-1])
        if session["status"] != {"type": "busy" if busy else "idle"}:
            raise Mismatch(f"{name} is {session['status']}")
        failures = [
            e for said in says for e in said if "failed" in e.values() or e["say"] == "error"
        ]
        if len(session.get("errors", ())) != len(failures):
            raise Mismatch(f"{name} has {session.get('errors')}, not {len(failures)} errors")


def check_completions(
    store: Any, script: list[Answer], begun: list[int], came: list[list[int]]
) -> None:
    """What is written of completions: every member that streamed, how each ended, its usage."""
    encoded = {wire["id"]: wire for wire in OpenAIChatAdapter(Context()).encode(store)}
    for a in begun:
        answer = script[a]
        choices = openai_oracle.completion(answer, came[a])
        if not choices or any(choice["pending"] for choice in choices.values()):
            continue
        wire = encoded[answer["id"]]
        entries = [answer["entries"][n] for n in came[a] if n >= 0]
        used = [entry["usage"] for entry in entries if "usage" in entry]
        if (wire.get("usage") or {}).get("total_tokens") != (used[-1] if used else None):
            raise Mismatch(f"{answer['id']} is written with the usage {wire.get('usage')}")
        for choice in wire["choices"]:
            message, truth = choice["message"], choices[choice["index"]]
            expected: dict[str, Any] = {"reason": truth.get("reason")}
            found: dict[str, Any] = {"reason": choice.get("finish_reason")}
            for block, part in sorted(truth["parts"].items()):
                if part["kind"] == "tool":
                    expected[block] = [part["callId"], part["tool"], part["input"]]
                else:
                    expected[block] = part["text"]
            for name in ("content", "refusal", "reasoning", "reasoning_content"):
                if message.get(name):
                    found[name] = message[name]
            for n, call in enumerate(message.get("tool_calls") or ()):
                function = call["function"]
                found[f"tool:{n}"] = [call["id"], function["name"], function["arguments"]]
            if found != expected:
                raise Mismatch(
                    f"{answer['id']} is written otherwise: {difference(expected, found)}"
                )


def carry_out(history: History, digest: Any = None) -> None:
    """Carry a history out.

    Raises:
        Mismatch: it does not go as the oracle says; whatever the library raised.
    """
    Run(history, digest).carry_out()
