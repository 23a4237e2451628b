"""A history on a store alone: what arrives goes into its doors, and everybody looks at every tick.

The store's state is held against the oracle at every tick and at the end; whoever subscribed hears
nothing twice. Costs about a millisecond. Knows the public API of stores, and what a history is.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mirror import Mirror

from streamstore import ChangeSet, Limits, StreamStore
from streamstore.events import BlockReplaced, MessageOpened, MessageRollback
from streamstore.keys import MAX_NUMBER
from streamstore.testing.books import Books
from streamstore.testing.comparing import difference
from streamstore.ticks import ManualTicks

from .oracle import Truth, call_place, ranges, said
from .scripts import LOCAL, NOT_FETCHED, forgets
from .wires import BAD, Wires

History = dict[str, Any]
#: A message, or a block of it.
Unit = tuple[str, int | None]

TIGHT = Limits(late_window=4, held_operations=4, pending_merge=2, subscriber_changes=4)
#: Texts are merged early, and a slow subscriber gets resets; no bound changes what is seen.
SMALL = Limits(pending_merge=2, subscriber_changes=3)
ROOMY = Limits()


class Mismatch(Exception):
    """A history does not end, or is not shown, as the oracle says."""


class Boom(Exception):
    """What a raising subscriber raises."""


class View:
    """What a subscriber has that applies change sets and nothing else."""

    def __init__(self, digest: Any = None) -> None:
        self.texts: dict[Any, str] = {}
        self.parts: set[Any] = set()
        self.version = 0
        self.resume: Any = {}
        self.digest = digest
        self.merged = False  # hears several change sets as one: they need not start so late

    def begin(self, state: Any) -> None:
        """Take over what is there at the moment of subscribing."""
        self.texts.clear()
        self.parts.clear()
        self.version = state.version
        for parts in state.parts.values():
            for part in parts:
                self.parts.add(tuple(part.key))
                for field, view in {"text": part.view, **part.others}.items():
                    if str(view):
                        self.texts[(*part.key, field)] = str(view)

    def hear(self, changes: ChangeSet) -> None:
        """Apply one change set."""
        if self.digest is not None:
            self.digest.update(heard(changes))
        if changes.version != self.version + 1:
            raise Mismatch(f"version {changes.version} follows {self.version}")
        self.version = changes.version
        self.resume = changes.resume
        texts = self.texts
        for key in changes.removed:
            size = len(key)
            self.parts = {part for part in self.parts if part[:size] != key}
            for place in [place for place in texts if place[:size] == key]:
                del texts[place]
        for key, _ in changes.added:
            if len(key) == 3:
                self.parts.add(tuple(key))
        for (key, field), edit in changes.text.items():
            place = (*key, field)
            before = texts.get(place, "")
            after = before[: edit.start] + edit.text
            if edit.start > len(before) or edit.rewritten != (edit.start < len(before)):
                raise Mismatch(f"{place}: an edit at {edit.start} of {before!r} says {edit}")
            early = edit.rewritten and after.startswith(before[: edit.start + 1])
            if (after == before or early) and "\ufffd" not in before and not self.merged:
                # Halves of pairs may differ, and read alike.
                raise Mismatch(f"{place}: {edit} shows {before!r} again")
            if after:
                texts[place] = after
            else:
                texts.pop(place, None)


def heard(changes: ChangeSet) -> bytes:
    """A change set as bytes, with everything that a reader could notice."""
    return repr(
        (
            changes.version, changes.added, changes.changed, changes.removed, changes.moved,
            list(changes.text.items()), changes.reset, changes.gaps,
            [(k, dict(v) if hasattr(v, "items") else v) for k, v in changes.resume.items()],
        )
    ).encode("utf-8", "surrogatepass")  # fmt: skip


class Run:
    """One history, carried out."""

    def __init__(self, history: History, digest: Any = None) -> None:
        self.history = history
        self.script = history["script"]
        self.mode: str = history["mode"]
        self.exact = history["delivery"] == "streaming" and not history["tight"]
        self.wires = Wires(history["protocol"], self.script, history["framing"])
        self.got: set[int] = set()
        self.numbers: dict[str, list[tuple[int, int]]] = {}
        #: Messages and blocks that a fetched state lacks, of which nothing had come: up to that seq
        #: nobody can know that there was one; that it was removed a late removal says.
        self.unheard: dict[tuple[str, str, int | None], int] = {}
        #: Messages that a fetched state has: they are there, whatever else is known of them.
        self.listed: set[tuple[str, str]] = set()
        self.ranks = [2 * n if of < 0 else 2 * of - 1 for n, (_, of) in enumerate(self.script)]
        self.sent: list[int] = []  # what the present stream counts; -1 and less: bad input
        self.journal: list[int] = []
        self.by_id: bool = history["byId"]
        self.log: list[int] = []  # what the server sent, in order: its place is its id
        self.places: dict[int, int] = {}
        self.revealed: list[int] = []  # lost, and known to be, when the last connection ended
        # A fetched state has what streams into another field as a plain value: no text to hear of.
        self.fields = all(event["type"] != "snapshot" for event, _ in self.script)
        self.inputs = any("input" in event for event, _ in self.script)
        self.fetched = False
        self.cuts: list[float] = []  # without numbers: behind which arrivals a connection ended
        self.generations: dict[str, str] = {}  # that were opened, by session
        #: Of each session's reads the token, how much of the script had come, and the counter.
        self.reads: dict[str, list[tuple[str, int, str | None]]] = {}
        self.begun: set[tuple[str, str]] = set()  # sessions and their counters
        self.known: set[int] = set()  # what came, also what is stale or waits
        self.opened: dict[str, int] = {}  # how much of each session had when a connection began
        self.tokens: dict[int, str | None] = {}  # of the reads that fetched states answer
        self.waiting: list[int] = []  # what came before its generation was opened
        self.mine = False  # the user said something, and did not take it back
        self.saved: Any = None
        self.latest = -1  # of what surely arrived
        self.digest = digest
        self.others: list[tuple[View, str]] = []  # who hears merged or scoped ones, and its scope
        self.clock: ManualTicks | None = None
        self.errors = 0
        self.view = View(digest)
        self._start(None)

    def _start(self, saved: Any) -> None:
        history = self.history
        ticks: Any = history["ticks"]
        if ticks == "timed":
            ticks = self.clock = ManualTicks(16)
        elif ticks == "feed":
            ticks = None
        limits = TIGHT if history["tight"] else SMALL if history["small"] else ROOMY
        options: Any = {"ticks": ticks, "limits": limits, "on_error": self._report}
        if saved is None:
            self.store = StreamStore(delivery=history["delivery"], **options)
        else:
            self.store = StreamStore.load(saved, **options)
        self.others = []
        self.mirrors: list[Mirror] = []  # who keeps the order, too
        subscription = self.store.subscribe(self.view.hear)
        self.view.begin(subscription.state)
        self._open()

    def _open(self) -> None:
        self._note_opened()
        self.stream = self.store.open(self.history["protocol"], sequencing=self.mode)

    def _report(self, error: BaseException, subscription: Any) -> None:
        if not isinstance(error, Boom):
            raise error
        self.errors += 1

    # -- actions ---------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Every action, and a look at the end."""
        each = self.history["ticks"] in ("each", "feed")
        for action in self.history["actions"]:
            getattr(self, f"_do_{action[0]}")(*action[1:])
            if each and action[0] in "bm" and self.exact:
                self._look()
            if self.sent and self.history["repeats"]:
                self.latest = self.sent[-1]
        self._end()

    def _do_e(self, n: int) -> None:
        if self.history["framing"]:
            self._do_b([n], [])
            return
        for m in self._arriving([n]):
            wire = self._object(m)
            if wire is not None:
                self.stream.ingest(wire)

    def _do_m(self, places: list[int]) -> None:
        if self.history["framing"]:
            self._do_b(places, [])
            return
        wires = [self._object(n) for n in self._arriving(places)]
        self.stream.ingest_many([wire for wire in wires if wire is not None])

    def _do_b(self, places: list[int], marks: list[int]) -> None:
        if not self.history["framing"]:
            self._do_m(places)
            return
        data = b"".join(map(self._bytes, self._arriving(places)))
        at = 0
        for mark in marks:
            stop = len(data) * mark // 1000
            if stop > at:
                self.stream.feed(data[at:stop])
                at = stop
        if at < len(data) or not data:  # a chunk of nothing is a tick as well
            self.stream.feed(data[at:])

    def _arriving(self, places: list[int]) -> list[int]:
        """Entries arrive, those that do are given back; a read among them begins before."""
        for n in places:
            if self._asks(n):
                self.journal.append(n)
                self._ask(n)
        found = []
        for n in places:
            if self._arrives(n):
                self._note(n)
                found.append(n)
        return found

    def _asks(self, n: int) -> bool:
        return n >= 0 and self.script[n][0]["type"] == "read"

    def _ask(self, n: int) -> None:
        """The state of a session is read from now on."""
        session = self.script[n][0]["sessionId"]
        read = (
            self.store.begin_read(session), self._amount(session), self.generations.get(session)
        )  # fmt: skip
        self.reads.setdefault(session, []).append(read)

    def _arrives(self, n: int) -> bool:
        """Whether entry n comes on the wire, as no read does; what a fetched state says of its read.

        Without numbers a state and what follows it cannot be told apart: there it comes when all
        that it holds has, and holds all that had come when its read began.
        """
        if n < 0:
            return True
        event, covers = self.script[n]
        session, generation = event["sessionId"], event.get("generation")
        if self._asks(n):
            return False
        if event["type"] == "snapshot" and self.history["protocol"] == "native":
            # A token of the counter before keeps what was touched since, of which the server of
            # the new one may know nothing.
            fits = [
                token
                for token, amount, counter in self.reads.get(session, ())
                if amount <= covers and (counter == generation or not forgets(event))
            ]
            self.tokens[n] = fits[-1] if fits else None
            current = self.generations.get(session)
            if current is not None and (session, generation) not in self.begun:
                if generation < current:
                    return False  # to the client it is the later one
            if self.mode == "none":
                opened = self.opened.get(session, 0) <= covers
                if not (self._told_all(n) and (fits or opened)):
                    return False
                self.fetched = True
        self.known.add(n)
        return True

    def _told_all(self, n: int) -> bool:
        """Whether everything that the fetched state n holds came by itself."""
        fetched, covers = self.script[n]
        return self.known.issuperset(
            m
            for m, (event, of) in enumerate(self.script[:covers])
            if of < 0 and event["sessionId"] == fetched["sessionId"]
        )

    def _amount(self, session: str) -> int:
        """How much of the script the server had said of a session, as far as anybody knows."""
        return max(
            (
                n + 1 if covers < 0 else covers
                for n, (event, covers) in enumerate(self.script)
                if n in self.known and event["sessionId"] == session
            ),
            default=0,
        )

    def _note_opened(self) -> None:
        """From here on a state is fetched that says nothing of its read."""
        self.opened = {
            name: self._amount(name) for name in {event["sessionId"] for event, _ in self.script}
        }

    def _object(self, n: int) -> Any:
        """Entry n as an object; a fetched state with the token of its read."""
        token = self.tokens.get(n)
        wire = self.wires.object(n)
        return wire if token is None else {**wire, "readFrom": token}

    def _note(self, n: int) -> None:
        """Entry n arrives."""
        if self.wires.object(n) is None:
            return
        self.sent.append(n)
        self.journal.append(n)
        self._publish(n)
        if n >= 0:
            self._take(n)

    def _take(self, n: int) -> None:
        event, covers = self.script[n]
        generation, session = event.get("generation"), event["sessionId"]
        current = self.generations.get(session)
        if event["type"] == "stream.opened":
            if current is None or generation >= current:
                self._note_opened()
            if current is None or generation > current:
                self.got.add(n)
                self._begin(session, generation)
            return
        if generation is not None and (current is None or generation > current):
            if event["type"] != "snapshot":
                self.waiting.append(n)
                return
            self._begin(session, generation)
        elif generation is not None and generation < current:
            return
        seq = event.get("seq")
        if covers < 0 or event["type"] == "block.snapshot":
            if seq is None or seq > self._unheard(event) or self._removes(event):
                self.got.add(n)
        else:
            absent = self._absent(event)
            if generation is not None:
                self.got.add(n)
            self.unheard.setdefault((session, "", None), -1)  # a state of it came
            if seq is not None:
                for message in event["messages"]:
                    if seq > self.unheard.get((session, message["id"], None), -1):
                        self.listed.add((session, message["id"]))
            for m, (other, of) in enumerate(self.script[:covers]):
                if of < 0 and other["sessionId"] == session and other["type"] not in NOT_FETCHED:
                    before = other.get("generation") != generation
                    if other["type"] == "stream.opened":
                        self.got.add(m)
                        continue
                    if (before and forgets(event)) or not _concerns(event, other):
                        continue
                    lacking = _units_of(other) & absent
                    for unit in lacking:
                        at = (session, *unit)
                        self.unheard[at] = max(self.unheard.get(at, -1), seq)
                    heard = before or other.get("seq", MAX_NUMBER) > self._unheard(other)
                    if not lacking and heard:
                        self.got.add(m)
        if seq is not None and self.mode == "session" and event.get("complete", True):
            first = 1 if event["type"] == "snapshot" else seq
            self.numbers.setdefault(event["sessionId"], []).append((first, seq))

    def _begin(self, session: str, generation: str) -> None:
        """The server counts anew: what had come of it before waited for this."""
        self.generations[session] = generation
        self.begun.add((session, generation))
        self.numbers.pop(session, None)
        self.unheard = {at: n for at, n in self.unheard.items() if at[0] != session}
        self.listed = {at for at in self.listed if at[0] != session}
        waiting, self.waiting = self.waiting, []
        for m in waiting:
            self._take(m)

    def _absent(self, snapshot: Any) -> set[Unit]:
        """Messages and blocks that a fetched state lacks, of which nothing had come below its seq."""
        seq, session = snapshot.get("seq"), snapshot["sessionId"]
        if seq is None:
            return set()
        generation = snapshot.get("generation")
        known: set[Unit] = {(message["id"], None) for message in snapshot["messages"]}
        for message in snapshot["messages"]:
            known |= {(message["id"], part["blockIndex"]) for part in message["parts"]}
        all_of_them: set[Unit] = set()
        for m, (other, covers) in enumerate(self.script):
            its_own = covers < 0 or other["type"] == "block.snapshot"
            its_own = its_own and _concerns(snapshot, other)
            if its_own and other["sessionId"] == session:
                all_of_them |= _units_of(other)
                counted = other.get("generation") == generation
                if m in self.got and counted and other.get("seq", seq + 1) <= seq:
                    known |= _units_of(other)
        if generation is not None:
            known |= self._left(session, generation)
        return all_of_them - known

    def _left(self, session: str, generation: str) -> set[Unit]:
        """Messages and blocks that were there when a counter began."""
        before = [
            n
            for n in sorted(self.got, key=self.ranks.__getitem__)
            if self.script[n][0]["sessionId"] == session
            and self.script[n][0].get("generation", generation) < generation
        ]
        truth = Truth(self.mode).take(self.script[n][0] for n in before)
        messages = truth.session(session)["messages"]
        found: set[Unit] = set()
        for message_id, message in messages.items():
            if message is not None:
                found.add((message_id, None))
                found |= {(message_id, at) for at, b in message["blocks"].items() if b is not None}
        return found

    def _removes(self, event: Any) -> bool:
        """Whether it is a removal, which no fetched state says: what it takes was not known of."""
        if event["type"] == "block.removed":
            message = (event["sessionId"], event["messageId"], None)
            return bool(event["seq"] > self.unheard.get(message, -1))
        return bool(event["type"] == "message.removed")

    def _unheard(self, event: Any) -> int:
        """Up to which seq nobody can know of what an event is about, -1 for none."""
        session = event["sessionId"]
        return max(
            (self.unheard.get((session, *unit), -1) for unit in _units_of(event)), default=-1
        )

    def _do_x(self, n: int) -> None:
        place = -1 - n % len(BAD)
        self._note(place)
        if self.history["framing"]:
            self.stream.feed(self.wires.bytes(place))
        else:
            self.stream.ingest(self.wires.object(place))

    def _do_f(self) -> None:
        self.store.flush()
        if self.exact:
            self._look()

    def _do_r(self) -> None:
        for session_id in self.store.session_ids():
            self.store.release(session_id)

    def _do_t(self, ms: int) -> None:
        if self.clock is not None:
            self.clock.advance(ms)

    def _do_cut(self, n: int, at: int) -> None:
        position = self.stream.position.events
        rest = self._behind() if self.by_id else self.sent[position:]
        if self.history["framing"] and at >= 0 and not self._asks(n):
            self._publish(n)
            data = self._bytes(n)
            self.stream.feed(data[: (len(data) - 4) * at // 1000])
            rest = self._behind() if self.by_id else rest
        if self.by_id:
            self.revealed = [
                n
                for n in self.places
                if n not in self.got and self._lacked(n) and not self._came_behind(n)
            ]
        self.stream.end()
        if self.mode == "none" and self.got:
            self.cuts.append(2.0 * max(map(self.ranks.__getitem__, self.got)) + 1)
        self._open()
        self.sent = []
        self._resend(rest)

    def _lacked(self, n: int) -> bool:
        """Whether something that came shows that entry n is missing."""
        lost = self.script[n][0]
        return any(
            self.script[m][0].get("seq", -1) > lost.get("seq", 0)
            for m in self.got
            if self._unit(m) == self._unit(n)
        )

    def _came_behind(self, n: int) -> bool:
        """Whether what a server said before the lost entry n came again behind what it said later.

        To the client the order in which ids arrive is theirs. Where several losses are known, it
        goes on at the one whose place arrived first, and this place arrived too late.
        """
        place, unit = self.places[n], self._unit(n)
        later = False
        for m in dict.fromkeys(m for m in self.sent if m >= 0):
            if later and self.places[m] < place and self._unit(m) == unit:
                return True
            later |= self.places[m] > place
        return False

    def _unit(self, n: int) -> tuple[Any, ...]:
        """What counts seqs of its own: the session, or the block, of entry n."""
        names = ("sessionId", "messageId", "blockIndex")[: 1 if self.mode == "session" else 3]
        return tuple(self.script[n][0].get(name) for name in names)

    def _publish(self, n: int) -> None:
        if n >= 0 and n not in self.places:
            self.places[n] = len(self.log)
            self.log.append(n)

    def _do_lose(self, n: int) -> None:
        self._publish(n)

    def _behind(self) -> list[int]:
        """What a server sends that is asked to go on behind an event id."""
        event_id = self.stream.position.event_id
        return self.log[int(event_id) + 1 if event_id else 0 :]

    def _bytes(self, n: int) -> bytes:
        data = self.wires.bytes(n)
        if self.tokens.get(n) is not None:
            bare = json.dumps(self._object(n), separators=(",", ":")).encode()
            lines = self.history["framing"] == "lines"
            data = bare + b"\n" if lines else b"data: " + bare + b"\n\n"
        if self.by_id and n >= 0:
            return b"id: %d\n" % self.places[n] + data
        return data

    def _resend(self, places: list[int]) -> None:
        for n in places:
            if self._asks(n):
                self._ask(n)
            if not self._arrives(n):
                continue
            self.sent.append(n)
            if n >= 0:
                self._take(n)
            if self.history["framing"]:
                self.stream.feed(self._bytes(n))
            else:
                self.stream.ingest(self._object(n))

    def _do_again(self, upto: int) -> None:
        resume = self.store.health.resume.get("sessions", {})
        for n, (event, covers) in enumerate(self.script[:upto]):
            if covers < 0 and event.get("seq", 0) > resume.get(event["sessionId"], -1):
                self._do_e(n)

    def _do_save(self) -> None:
        saved = json.dumps(self.store.save())
        numbers = {name: list(came) for name, came in self.numbers.items()}
        self.saved = (
            saved, list(self.sent), len(self.journal), set(self.got), numbers, list(self.cuts),
            self.mine, dict(self.generations), list(self.waiting), dict(self.unheard),
            set(self.listed), {name: list(read) for name, read in self.reads.items()},
            set(self.known), set(self.begun),
        )  # fmt: skip

    def _do_crash(self) -> None:
        if self.saved is None:
            self.got, self.numbers, self.cuts, self.mine = set(), {}, [], False
            self.generations, self.waiting, self.unheard, self.listed = {}, [], {}, set()
            self.reads, self.known, self.begun = {}, set(), set()
            self.sent, rest = [], list(self.log if self.by_id else self.journal)
            self._start(None)
        else:
            saved, sent, at, got, numbers, cuts, self.mine, generations, *others = self.saved
            waiting, unheard, listed, reads, known, begun = others
            self.reads = {name: list(read) for name, read in reads.items()}
            self.known, self.begun = set(known), set(begun)
            self.listed = set(listed)
            self.generations, self.waiting = dict(generations), list(waiting)
            self.unheard = dict(unheard)
            self.got, self.cuts = set(got), list(cuts)
            self.numbers = {name: list(came) for name, came in numbers.items()}
            self._start(json.loads(saved))
            position = self.stream.position.events
            self.sent, rest = sent[:position], sent[position:] + self.journal[at:]
            if self.by_id:
                rest = self._behind()
        self._resend(rest)

    def _do_say(self) -> None:
        """The user says something, where the server has not told of it yet."""
        if self.mine or any(LOCAL in self.script[n][0].values() for n in self.got):
            return
        self.mine = True
        key = {"session_id": "s1", "message_id": LOCAL}
        for event in (
            MessageOpened(**key, role="user", order=9, local=True),
            BlockReplaced(**key, block_index=0, kind="text", text=said(LOCAL)),
        ):
            self.store.apply(event)

    def _do_unsay(self) -> None:
        """The server did not take it, or did not answer: what it has not confirmed goes."""
        of = {self.script[n][0]["type"] for n in self.got if LOCAL in self.script[n][0].values()}
        if of and "message.opened" not in of:
            return  # who its author is has been said by the user alone
        self.mine = False
        self.store.apply(MessageRollback(session_id="s1", message_id=LOCAL))

    def _do_fetch(self, n: int) -> None:
        """A state without a number is read and merged, with nothing in between."""
        wire = self.wires.object(n)
        token = self.store.begin_read(self.script[n][0]["sessionId"])
        self.stream.ingest({**wire, "readFrom": token})
        self._take(n)
        self.fetched = True

    def _do_sub(self, kind: str) -> None:
        store = self.store
        view = View()
        if kind == "raising":

            def hear(changes: ChangeSet) -> None:
                view.hear(changes)
                raise Boom

        elif kind == "closing":

            def hear(changes: ChangeSet) -> None:
                assert changes.version == view.version + 1
                subscription.close()

        elif kind == "feeding":

            def hear(changes: ChangeSet) -> None:
                view.hear(changes)
                again = self.latest
                fits = not self.history["framing"] and not self.stream.ended
                if fits and again >= 0 and changes.version % 2:
                    self.sent.append(again)
                    if self.script[again][0]["type"] == "stream.opened":
                        self._note_opened()  # a read begins there that names none
                    self.stream.ingest(self._object(again))

        elif kind == "flushing":

            def hear(changes: ChangeSet) -> None:
                view.hear(changes)
                store.flush()

        elif kind == "slow" and self.clock is not None:
            slow = View()
            slow.merged = True

            def hear(changes: ChangeSet) -> None:
                if changes.reset:
                    with store.subscribe(lambda changes: None) as now:
                        slow.begin(now.state)
                else:
                    slow.version = changes.version - 1
                    slow.hear(changes)

            subscription = store.subscribe(hear, throttle=100)
            slow.begin(subscription.state)
            self.others.append((slow, ""))
            return
        elif kind == "part":
            if "s1" not in store.session_ids():
                return

            def hear(changes: ChangeSet) -> None:
                view.version = changes.version - 1
                view.hear(changes)

            subscription = store.subscribe(hear, "s1")
            view.begin(subscription.state)
            self.others.append((view, "s1"))
            return
        elif kind == "mirror" and not self.history["halves"]:
            self.mirrors.append(Mirror(store))
            return
        else:
            return
        subscription = store.subscribe(hear)
        view.begin(subscription.state)
        if kind != "closing":
            self.others.append((view, ""))

    # -- looks -----------------------------------------------------------------------------------

    def _truth(self) -> Truth:
        truth = self._told()
        if self.mine:
            truth.say("s1", LOCAL)
        return truth

    def _told(self) -> Truth:
        ranks, script = self.ranks, self.script
        places = sorted(self.got, key=ranks.__getitem__)
        if not self.cuts:
            truth = Truth(self.mode).take(script[n][0] for n in places)
            for name in {name for name, *_ in self.unheard} - truth.gone:
                truth.session(name)  # a state of it came, although nothing of it is known
            for name, message_id in sorted(self.listed):
                if name not in truth.gone:
                    truth.message(truth.session(name), message_id)
            return truth
        events = [(2.0 * ranks[n], script[n][0]) for n in places]
        events += [(at, {"type": "cut"}) for at in self.cuts]
        events.sort(key=lambda event: event[0])
        return Truth(self.mode).take(event for _, event in events)

    def _look(self) -> None:
        """What is shown now is what arrived, each once and in its place."""
        self._compare(self.view, "", self._truth())

    def _compare(self, view: View, scope: str, truth: Truth) -> None:
        expected, shown = self.wires.texts(truth), view.texts
        if scope:
            expected = {key: text for key, text in expected.items() if key[0] == scope}
        if not self.fields:
            expected = {key: text for key, text in expected.items() if key[3] == "text"}
            shown = {key: text for key, text in shown.items() if key[3] == "text"}
        if shown != expected:
            # A field that streamed before its block was removed is a text also where it is said
            # whole afterwards.
            plain = truth.plain()
            shown = {key: t for key, t in shown.items() if key in expected or t != plain.get(key)}
        if shown != expected:
            found = difference(_named(expected), _named(shown))
            raise Mismatch(f"shown to {scope or 'all'} at version {view.version}: {found}")

    def _end(self) -> None:
        store, history = self.store, self.history
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
        sessions = state["sessions"]
        if history["protocol"] == "native":
            expected = truth.state()
            for found in (sessions, expected):
                _forget_gaps(found, None if self.fetched else truth.unclear)
                if self.inputs or not self.fields:
                    _forget_previous(found)
            if sessions != expected:
                raise Mismatch(f"in the end: {difference(expected, sessions)}")
            self._check_gaps(truth, state)
        else:
            self.wires.check(truth, store)
        if self.digest is not None:
            self.digest.update(json.dumps(state, sort_keys=True).encode())
        if history["books"]:
            problem = Books.of(store).problem
            if problem is not None:
                raise Mismatch(problem)
        if store.flush():
            raise Mismatch("nothing came, and a tick showed something")

    def _check_gaps(self, truth: Truth, state: Any) -> None:
        if self.mode == "none":
            return
        expected: list[Any] = []
        if self.mode == "block":
            for key, missing in truth.holes().items():
                expected.append((*key, missing))
        elif self.mode == "session" and not self.history["tight"]:
            resume = {}
            for name, came in sorted(self.numbers.items()):
                first, last = min(came)[0], max(stop for _, stop in came)
                missing = ranges(came, first, last)
                resume[name] = missing[0][0] - 1 if missing else last
                # A session of which nothing came but patches that fit nothing is not there.
                if missing and name not in truth.gone and name in truth.sessions:
                    expected.append((name, None, None, missing))
            if resume != state["resume"].get("sessions", {}):
                raise Mismatch(f"resumes at {state['resume']}, not at {resume}")
        if self.by_id and [action[0] for action in self.history["actions"][-1:]] == ["cut"]:
            self._check_resumed(state["gaps"])
        found = [
            (g["sessionId"], g.get("messageId"), g.get("blockIndex"), g.get("missing", []))
            for g in state["gaps"]
        ]
        if sorted(found, key=repr) != sorted(expected, key=repr):
            raise Mismatch(f"the gaps are {found}, not {expected}")

    def _sent_early(self, n: int) -> bool:
        """Whether a server sent entry n before one of a lower seq, so that nothing tells where."""
        event = self.script[n][0]
        for m in self.got:
            other, place = self.script[m][0], self.places.get(m, -1)
            if self._unit(m) == self._unit(n):
                if other.get("seq", -1) < event.get("seq", -1) and place > self.places[n]:
                    return True
        return False

    def _check_resumed(self, gaps: Any) -> None:
        """What a server has, and a reader sees the lack of, came with the last connection."""
        for n in self.revealed:
            event, _ = self.script[n]
            if self._sent_early(n):
                continue
            for gap in gaps:
                of = [event.get(name) for name in ("sessionId", "messageId", "blockIndex")]
                mine = [gap.get(name) for name in ("sessionId", "messageId", "blockIndex")]
                if self.mode == "session":
                    of = of[:1]
                seq = event.get("seq", -1)
                lacks = any(first <= seq <= last for first, last in gap.get("missing", ()))
                if lacks and of == mine[: len(of)] and n not in self.got:
                    raise Mismatch(f"{event} is missing, and no connection went on before it")


def _concerns(snapshot: Any, event: Any) -> bool:
    """Whether a fetched state says something about what an event is about: a page not always."""
    named = {message["id"] for message in snapshot["messages"]}
    return snapshot["complete"] or any(message in named for message, _ in _units_of(event))


def _units_of(event: Any) -> set[Unit]:
    """The message and the block that an event is about."""
    if event["type"] == "tool.result":
        place = call_place(event)
        return {(place[0], None), place}
    if not event["type"].startswith(("message.", "block.")):
        return set()
    message: Unit = (event["messageId"], None)
    return (
        {message, (event["messageId"], event["blockIndex"])} if "blockIndex" in event else {message}
    )


def _named(texts: dict[Any, str]) -> dict[str, str]:
    return {"/".join(map(str, key)): text for key, text in texts.items()}


def _forget_gaps(sessions: Any, only: set[Any] | None = None) -> None:
    """Without numbers a part that a cut may have hit is marked; whether a fetched state repairs it
    is not looked at here. `only`: of these parts alone."""
    for name, session in sessions.items():
        for message in session.get("messages", ()):
            for part in message.get("parts", ()):
                if only is None or (name, message["id"], part["blockIndex"]) in only:
                    part.pop("gap", None)
                    if part["status"] == "incomplete":
                        part["status"] = "closed"


def _forget_previous(sessions: Any) -> None:
    """What streams into a field is a plain value where it was fetched, of which none is previous.

    Nor is it where it was set whole: that it streamed before a removal is not told apart.
    """
    for session in sessions.values():
        for message in session.get("messages", ()):
            for part in message.get("parts", ()):
                if "text" not in part:
                    part.pop("previous", None)


def carry_out(history: History, digest: Any = None) -> None:
    """Carry a history out.

    Raises:
        Mismatch: it does not go as the oracle says; whatever the library raised.
    """
    Run(history, digest).carry_out()


def new_digest() -> Any:
    return hashlib.sha256()
