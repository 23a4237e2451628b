"""Days in virtual time: a server, a client that reconnects each minute, a store, its subscribers.

The server makes 200 deltas a second in a few conversations at a time, which begin and end; it
cuts the connection in the middle of a frame once a minute, and sends a stretch again after each
reconnect. Old sessions are evicted, four are protected. The oracle is the server's own list of what
it said. Nothing here reads a clock or draws but from the seed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from array import array
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random
from typing import Any

import attrs

from streamstore import ChangeSet, Limits, StreamStore
from streamstore.client import ConnectionLost, Policy, Request, connect
from streamstore.eviction import Eviction, Keep

# The virtual loop of the client's tests; a folder of modules, not a package.
sys.path.append(str(Path(__file__).resolve().parent.parent / "client"))
from virtual import EVENT_STREAM, VirtualLoop

DELTAS_PER_S = 200
CHUNK_MS = 50
PROTECTED = tuple(f"pinned-{number}" for number in range(4))
WORDS = (
    "The ",
    "store ",
    "keeps ",
    "what ",
    "it ",
    "was ",
    "told, ",
    "é ",
    "日本 ",
    "\U0001f600 ",
    "\\n",
)


@attrs.frozen(kw_only=True)
class Plan:
    """How a soak is made; times in virtual seconds.

    Attributes:
        hours: how long.
        talk: deltas of one conversation.
        answer: deltas of one message in it.
        beside: conversations at a time.
        keep: sessions that stay.
        tombstones: `Limits.removed_sessions`.
        warm_s: until then nothing is compared.
        sample_s: seconds between two samples.
        cut_s: seconds between two cuts.
        again: events sent again after a reconnect.
    """

    hours: float
    talk: int = 2_000
    answer: int = 200
    beside: int = 8
    keep: int = 64
    tombstones: int = 128
    warm_s: float = 4 * 3600
    sample_s: float = 60
    cut_s: float = 60
    again: int = 20
    seed: int = 1


@attrs.frozen
class Sample:
    """What there was at one moment."""

    at_s: float
    blocks: int
    objects: int
    rss: int
    tasks: int
    threads: int
    files: int


@attrs.define
class Figures:
    """What a soak found."""

    deltas: int = 0
    reconnects: int = 0
    evicted: int = 0
    repeated: int = 0
    compared: int = 0
    warm_s: float = 0
    # In an array, whose items are no objects: what is noted must not pass for growth.
    _noted: array[float] = attrs.field(factory=lambda: array("d"))

    def note(self, sample: Sample) -> None:
        """Keep a sample."""
        self._noted.extend(attrs.astuple(sample))

    @property
    def samples(self) -> list[Sample]:
        """What was noted, made anew."""
        size = len(attrs.fields(Sample))
        rows = zip(*[iter(self._noted)] * size, strict=True)
        return [Sample(at_s, *map(int, counts)) for at_s, *counts in rows]

    @property
    def warm(self) -> list[Sample]:
        """The samples after the warm-up."""
        return [sample for sample in self.samples if sample.at_s >= self.warm_s]

    def drift(self, name: str) -> float:
        """By how much the last third is more than the first one after the warm-up, as a part."""
        values = [getattr(sample, name) for sample in self.warm]
        third = max(1, len(values) // 3)
        first, last = sum(values[:third]) / third, sum(values[-third:]) / third
        return last / first - 1

    def most(self, name: str) -> tuple[int, int]:
        """The highest figure before, and after the middle of the warm samples."""
        values = [getattr(sample, name) for sample in self.warm]
        half = len(values) // 2
        return max(values[:half]), max(values[half:])


class Talk:
    """One conversation as the server knows it: the oracle."""

    def __init__(self, name: str, deltas: int) -> None:
        self.name = name
        self.left = deltas
        self.seq = 0
        self.messages: list[list[str]] = []


class Server:
    """Says 200 deltas a second, keeps the last of its events, and knows what it said."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.said = 0
        self.last_id = 0
        self.events: deque[tuple[int, bytes]] = deque(maxlen=4_000)
        self.live: list[Talk] = []
        self.talks: dict[str, Talk] = {}
        self.begun = 0
        self.cut_at = plan.cut_s
        self.opened = 0
        self.repeated = 0
        self.pinned = dict.fromkeys(PROTECTED, "")
        # CPython makes no objects for integers up to 256: a counter that passes it in the middle
        # of a soak would look like growth.
        self.pins = 1_000
        self._pin()

    def _send(self, body: str) -> None:
        self.last_id += 1
        self.events.append((self.last_id, f"id: {self.last_id}\ndata: {body}\n\n".encode()))

    def _event(self, talk: Talk, type_: str, rest: str = "") -> None:
        talk.seq += 1
        self._send(f'{{"type": "{type_}", "sessionId": "{talk.name}", "seq": {talk.seq}{rest}}}')

    def _pin(self) -> None:
        """The protected sessions say something else of the same length."""
        self.pins += 1
        for name in PROTECTED:
            self.pinned[name] = f"{self.last_id:012d}" * 20
            self._send(
                f'{{"type": "block.replaced", "sessionId": "{name}", "messageId": "m", '
                f'"blockIndex": 0, "seq": {self.pins}, "text": "{self.pinned[name]}"}}'
            )

    def _begin(self) -> Talk:
        # Names of one length: what they take must not pass for growth.
        talk = Talk(f"talk-{self.begun:08d}", self.plan.talk)
        self.begun += 1
        self.live.append(talk)
        self.talks[talk.name] = talk
        self._event(talk, "session.updated", ', "info": {"title": "t"}')
        self._event(talk, "session.status", ', "status": "busy"')
        return talk

    def _end(self, talk: Talk) -> None:
        self._close(talk)
        self._event(talk, "session.status", ', "status": "idle"')
        self.live.remove(talk)

    def _close(self, talk: Talk) -> None:
        place = f', "messageId": "m{len(talk.messages):04d}"'
        self._event(talk, "block.closed", place + ', "blockIndex": 0')
        self._event(talk, "message.closed", place + ', "status": "completed"')

    def _delta(self) -> None:
        while len(self.live) < self.plan.beside:
            self._begin()
        talk = self.random.choice(self.live)
        if not talk.messages or len(talk.messages[-1]) == self.plan.answer:
            if talk.messages:
                self._close(talk)
            talk.messages.append([])
            place = f', "messageId": "m{len(talk.messages):04d}"'
            self._event(talk, "message.opened", place + ', "role": "assistant"')
            self._event(talk, "block.opened", place + ', "blockIndex": 0, "kind": "text"')
        word = WORDS[self.random.randrange(len(WORDS))]
        talk.messages[-1].append("\n" if word == "\\n" else word)
        talk.seq += 1
        self._send(
            f'{{"type": "block.delta", "sessionId": "{talk.name}", "messageId": '
            f'"m{len(talk.messages):04d}", "blockIndex": 0, "seq": {talk.seq}, "text": "{word}"}}'
        )
        self.said += 1
        talk.left -= 1
        if not talk.left:
            self._end(talk)

    def advance(self, now: float) -> None:
        """Say everything that is due by `now`."""
        due = int(now * DELTAS_PER_S)
        while self.said < due:
            self._delta()

    async def stream(self, after: int) -> AsyncGenerator[bytes, None]:
        """One connection, from a little before the event it asks for up to the next cut."""
        loop = asyncio.get_running_loop()
        self.opened += 1
        self.advance(loop.time())
        first = self.events[0][0]
        start = max(first, after + 1 - self.plan.again) if after else first
        self.repeated += after + 1 - start if after else 0
        sent = start - 1
        while True:
            found = [data for number, data in self._behind(sent)]
            sent = self.last_id
            if loop.time() >= self.cut_at:
                self._pin()
                self.cut_at += self.plan.cut_s
                data = b"".join(found)
                yield data[: len(data) - self.random.randrange(1, 40)]
                raise ConnectionLost("cut in the middle of a frame")
            yield b"".join(found)
            await asyncio.sleep(CHUNK_MS / 1000)
            self.advance(loop.time())

    def _behind(self, number: int) -> list[tuple[int, bytes]]:
        count = self.last_id - number
        assert count <= len(self.events), "the server forgot what was asked for"
        return [self.events[-place] for place in range(count, 0, -1)]


class _Response:
    status = 200
    headers = EVENT_STREAM

    def __init__(self, body: AsyncGenerator[bytes, None]) -> None:
        self._body = body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async for chunk in self._body:
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


class _Transport:
    """Opens connections of the server; keeps nothing of them."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def open(self, request: Request) -> _Response:
        await asyncio.sleep(0.01)
        return _Response(self._server.stream(int(request.headers.get("last-event-id", "0"))))

    async def aclose(self) -> None:
        pass


class _Clock:
    """The virtual loop's time; keeps nothing."""

    def now(self) -> float:
        return asyncio.get_running_loop().time() * 1000

    def wall(self) -> float:
        return self.now()

    async def sleep(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)


class Listener:
    """A frontend's memory: lengths of all texts from edits alone, whole texts of one session."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.lengths: dict[Any, int] = {}
        self.texts: dict[Any, str] = {}

    def hear(self, changes: ChangeSet) -> None:
        for key in changes.removed:
            if len(key) == 1:
                gone = [place for place in self.lengths if place[0][0] == key[0]]
                for place in gone:
                    del self.lengths[place]
        for place, edit in changes.text.items():
            before = self.lengths.get(place, 0)
            assert edit.rewritten == (edit.start < before), "a text changed and nobody said so"
            assert edit.start <= before, "a part of a text was never heard"
            self.lengths[place] = edit.start + len(edit.text)

    def hear_one(self, changes: ChangeSet) -> None:
        for place, edit in changes.text.items():
            self.texts[place] = edit.apply(self.texts.get(place, ""))


async def _changes(store: StreamStore) -> None:
    async for _ in store.changes():
        pass


def _count_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _rss() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def compare(store: StreamStore, server: Server, evicted: set[str]) -> int:
    """Every session is what the server said; how many were compared."""
    there = set(store.session_ids())
    assert set(PROTECTED) <= there
    assert there - set(PROTECTED) == set(server.talks), "the wrong sessions are there"
    for name, text in server.pinned.items():
        part = store.part(name, "m", 0)
        assert part is not None and part.text == text
    for name, talk in server.talks.items():
        messages = store.messages(name)
        assert [message.id for message in messages] == [
            f"m{place:04d}" for place in range(1, len(talk.messages) + 1)
        ]
        for message, pieces in zip(messages, talk.messages, strict=True):
            (part,) = store.parts(name, message.id)
            assert part.text == "".join(pieces), f"{name} {message.id}"
    return len(server.talks)


async def _live(plan: Plan, tell: Any) -> Figures:
    server = Server(plan)
    # A window is cut when it is twice as long as that: the protected sessions, which say one thing
    # a minute, have theirs full two hours before anything is compared, and cut once an hour.
    store = StreamStore(
        ticks="asyncio", limits=Limits(removed_sessions=plan.tombstones, late_window=60)
    )
    clock = _Clock()
    figures = Figures(warm_s=plan.warm_s)
    eviction = Eviction(
        store, Keep(sessions=plan.keep, quiet_ms=0), protected=frozenset(PROTECTED).__contains__
    )
    listener = Listener(PROTECTED[0])
    store.subscribe(lambda changes: eviction.hear(changes, clock.now()))
    store.subscribe(listener.hear)
    store.subscribe(listener.hear_one, PROTECTED[0], throttle=100)
    consumer = asyncio.create_task(_changes(store))
    connection = connect(
        "http://server/events",
        store=store,
        protocol="native",
        sequencing="session",
        transport=_Transport(server),
        clock=clock,
        chance=lambda: 0.5,
        policy=Policy(first_delay_ms=100, healthy_ms=1_000),
    )
    end = plan.hours * 3600
    try:
        async with connection:
            sample = 1
            while (at := sample * plan.sample_s) <= end:
                loop = asyncio.get_running_loop()
                # A little past a cut, so that the reconnect is over; then everything that was
                # sent has arrived, because a chunk is fed in the turn in which it is sent.
                await asyncio.sleep(at + 1.03 - loop.time())
                assert connection.error is None, connection.error
                store.flush()
                for name in eviction.evict(clock.now()):
                    del server.talks[name]
                    figures.evicted += 1
                store.flush()
                if sample % max(1, int(end / plan.sample_s / 200)) == 0:
                    figures.compared += compare(store, server, set())
                with store.subscribe(lambda changes: None, PROTECTED[1], throttle=50):
                    pass  # frontends come and go
                gc.collect()
                now = Sample(
                    at_s=at,
                    blocks=sys.getallocatedblocks(),
                    objects=len(gc.get_objects()),
                    rss=_rss(),
                    tasks=len(asyncio.all_tasks()),
                    threads=threading.active_count(),
                    files=_count_files(),
                )
                figures.note(now)
                if tell is not None and at % 3600 < plan.sample_s:
                    tell(now, store)
                del now
                sample += 1
        figures.compared += compare(store, server, set())
        shown = store.part(PROTECTED[0], "m", 0)
        store.flush()
        await asyncio.sleep(0.2)
        assert shown is not None and list(listener.texts.values()) == [shown.text]
        counts = store.health.counts["verdicts"]
        others = set(counts) - {"accepted", "duplicate", "late"}
        assert not others, counts
        assert counts["duplicate"] >= server.repeated * 0.5
        figures.deltas, figures.repeated = server.said, counts["duplicate"]
        figures.reconnects = server.opened - 1
        store.close()
        await asyncio.wait_for(consumer, 5)
    finally:
        consumer.cancel()
    return figures


def soak(plan: Plan, tell: Any = None) -> Figures:
    """Live through a plan in virtual time; raises where the state is not the oracle's."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_live(plan, tell))
