"""A history of the whole library: a client follows a server over a network onto a store with a disk.

Time, network, disk and chance are virtual. The server publishes its script; connections drop inside
any byte, stall and are refused, what runs is cancelled, or killed and begun again from what the
disk holds. The end is that everything the server said is there.

    ["pub", k]            the server publishes its next k entries
    ["wait", ms]          time passes
    ["drop", at]          connections are lost inside the next event, at per mille of it
    ["stall", ms]         the server says nothing, not even that it lives
    ["dead"]              the connections of now bring nothing any more, and nobody closes them
    ["refuse", status, k] the next k requests are refused
    ["skip"]              the next event never gets to anybody
    ["bad", n]            bad input number n is sent; ["dup", k] the last k events are sent again
    ["lag", ms]           reading a state takes so long; ["failread", k] the next k reads fail
    ["resync"]            the program asks for a state; ["cancel"] it gives up, and connects anew
    ["save", k, how]      the state is saved; operation k of the disk fails (`error`, `crash`)
    ["crash", how, k]     the process is gone: the disk is as it was (`kill`), or one of those that
                          a loss of power may leave; it begins again from its saved state, or from
                          its log (`relog`)
    ["slow", ms]          somebody takes changes so slowly, one after the other
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from disks import Crash, MemoryDisk
from virtual import Answer, VirtualClock, VirtualTransport
from virtual import run as run_virtually

from streamstore import StreamStore
from streamstore.client import AfterSeq, Connection, ConnectionLost, Policy, Request, connect
from streamstore.log import DiskError, open_log
from streamstore.log.states import read_state, write_state
from streamstore.testing.comparing import difference

from . import scripts
from .core import Mismatch, View, _forget_gaps
from .oracle import Truth
from .wires import BAD

History = dict[str, Any]

#: Behind this a server closes the connection.
END = b": the end\n\n"
STATE, LOG = "state.json", "events.jsonl"
URL = "http://server/events"
POLICY = Policy(heartbeat_ms=10_000, first_delay_ms=500, most_delay_ms=8_000)


def actions(
    random: Random, count: int, *, resumes: bool, reads: bool, skips: bool
) -> list[list[Any]]:
    """What happens while a server publishes so many entries."""
    chance = random.random
    kinds: list[tuple[float, list[Any]]] = [
        (3, ["wait"]), (2, ["drop"]), (0.6, ["stall"]), (0.4, ["dead"]), (0.6, ["refuse"]), (1, ["bad"]),
        (1.2, ["cancel"]), (0.6, ["slow"]),
    ]  # fmt: skip
    if resumes or skips:
        kinds.append((1, ["dup"]))
    if resumes:
        kinds += [(2, ["save"]), (2, ["crash"])]
    if reads:
        kinds += [(1, ["lag"]), (0.6, ["failread"]), (1, ["resync"])]
    if skips:
        kinds.append((1, ["skip"]))
    weights = [weight for weight, _ in kinds]
    found: list[list[Any]] = []
    left = count
    while left > 0:
        many = 1 + int(chance() * 8)
        found.append(["pub", min(many, left)])
        left -= many
        while chance() < 0.45:
            kind = random.choices(kinds, weights)[0][1][0]
            draw = int(chance() * 1000)
            more: dict[str, list[Any]] = {
                "wait": [(0, 1, 20, 500, 3000, 40_000)[draw % 6]],
                "drop": [draw],
                "stall": [(1000, 20_000, 60_000)[draw % 3]],
                "refuse": [(429, 500, 503)[draw % 3], 1 + draw % 2],
                "bad": [draw],
                "dup": [1 + draw % 5],
                "lag": [(0, 50, 2000, 30_000)[draw % 4]],
                "failread": [1 + draw % 2],
                "save": [draw % 12, ("", "", "", "error", "crash")[draw % 5]],
                "crash": [("kill", "power", "relog", "kill")[draw % 4], draw],
                "slow": [(1, 50, 700)[draw % 3]],
            }
            found.append([kind, *more.get(kind, [])])
    return found


class Server:
    """Publishes a script to whoever is connected; counts what it published as event ids."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.script = history["script"]
        self.log: list[int] = []
        self.queues: list[asyncio.Queue[bytes]] = []
        self.opened = self.dead = 0
        self.busy: set[int] = set()  # whose event is under way
        self.silent_until = 0.0
        self.drop_at: int | None = None
        self.refusals: list[int] = []
        self.failing = 0
        self.lag = 0.0
        self.skipping = False

    def frame(self, place: int) -> bytes:
        data = json.dumps(self.script[self.log[place]][0], separators=(",", ":")).encode()
        head = b"id: %d\n" % (place + 1) if self.history["ids"] else b""
        return head + b"data: " + data + b"\n\n"

    def publish(self) -> None:
        self.log.append(len(self.log))
        if self.skipping:
            self.skipping = False
            return
        self.send(self.frame(len(self.log) - 1))

    def send(self, data: bytes) -> None:
        for queue in self.queues:
            queue.put_nowait(data)

    def serve(self, request: Request) -> Answer | BaseException:
        if self.refusals:
            status = self.refusals.pop(0)
            if status == 500:
                return ConnectionLost("refused")
            return Answer(status, {"retry-after": "2"} if status == 429 else {})
        # Every event behind the id, as a server that keeps them all; else what comes from now on.
        after = request.headers.get("last-event-id")
        start = int(after) if after is not None else 0 if self.history["ids"] else len(self.log)
        if self.history["after"]:
            asked = parse_qs(urlsplit(request.url).query).get("after", ["0"])[0]
            start = sum(self.script[n][0]["seq"] <= int(asked) for n in self.log)
        return Answer(body=self._stream(start), after_ms=5)

    async def _stream(self, start: int) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for place in range(start, len(self.log)):
            queue.put_nowait(self.frame(place))
        self.queues.append(queue)
        self.opened += 1
        number = self.opened
        loop = asyncio.get_running_loop()
        data = b": hello\n\n"
        try:
            while True:
                if number <= self.dead:
                    self.busy.discard(id(queue))
                    self.queues.remove(queue)
                    await asyncio.Event().wait()
                if loop.time() < self.silent_until:
                    await asyncio.sleep(self.silent_until - loop.time())
                if (self.drop_at is not None and data[:1] != b":") or data == END:
                    cut, self.drop_at = len(data) * (self.drop_at or 0) // 1000, None
                    if cut:
                        yield data[:cut]
                    raise ConnectionLost("dropped")
                half = len(data) // 2
                yield data[:half]
                yield data[half:]
                self.busy.discard(id(queue))
                more = [queue.get_nowait() for _ in range(queue.qsize() // 2)]
                if more and self.drop_at is None:
                    yield b"".join(more)
                    data = b": more\n\n"
                    continue
                if more:
                    data = more[0]
                    rest = [*more[1:], *(queue.get_nowait() for _ in range(queue.qsize()))]
                    for item in rest:
                        queue.put_nowait(item)
                    continue
                try:
                    async with asyncio.timeout(10):
                        data = await queue.get()
                        self.busy.add(id(queue))
                except TimeoutError:
                    data = b": beat\n\n"
        finally:
            if queue in self.queues:
                self.queues.remove(queue)
            self.busy.discard(id(queue))

    async def read(self, read: Any) -> list[Any]:
        """The state of every session, as it was when it was read."""
        if self.failing:
            self.failing -= 1
            raise ConnectionLost("no answer")
        mode, covers = self.history["mode"], len(self.log)
        names = sorted({event["sessionId"] for event, _ in self.script[:covers]})
        wires = []
        for name in names:
            token = await read.token(name)
            wire = scripts.read(self.script, name, covers, mode)
            if wire is None:
                raise ConnectionLost("a message is being rebuilt")  # asked again, it has been
            wires.append({**wire, "readFrom": token})
        await asyncio.sleep(self.lag / 1000)
        if mode == "none":
            # Without numbers nobody can tell what was said before the read and arrives behind it.
            while self.busy or any(queue.qsize() for queue in self.queues):
                await asyncio.sleep(0.05)
        return wires


class Run:
    """One history, carried out in virtual time."""

    def __init__(self, history: History, digest: Any = None) -> None:
        self.history = history
        self.mode: str = history["mode"]
        self.server = Server(history)
        self.disk = MemoryDisk()
        self.digest = digest
        self.chance = Random(history["seed"]).random
        self.versions = _versions(history["script"], self.mode)
        # Behind a hole that a state closes a text lacks what is missing.
        resumes = history["ids"] or history["after"]
        self.exact = resumes and all(a[0] != "skip" for a in history["actions"])
        self.at: dict[Any, int] = {}
        self.skipped = False
        self.wrong: Exception | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.views: list[View] = []

    async def main(self) -> None:
        self._begin(StreamStore(ticks="asyncio", delivery=self.history["delivery"]))
        try:
            self._connect()
            for action in self.history["actions"]:
                await getattr(self, f"_do_{action[0]}")(*action[1:])
                self._fail_early()
            await self._settle()
        finally:
            await self._stop()
        self._judge()

    # -- a process -------------------------------------------------------------------------------

    def _begin(self, store: StreamStore) -> None:
        self.store = store
        view = self.view = View(self.digest)
        # Timers of a process that was killed still fire here: nobody hears them.
        view.begin(store.subscribe(lambda changes: self._hear(view, changes)).state)
        self.at = {}
        self.views = []
        self.log = open_log(LOG, disk=self.disk)
        self.connections = 0

    def _hear(self, view: View, changes: Any) -> None:
        if view is not self.view:
            return
        try:
            view.hear(changes)
            if self.exact:
                for (key, field), _ in changes.text.items():
                    self._prefix((*key, field))
        except Exception as error:
            self.wrong = self.wrong or error

    def _prefix(self, place: Any) -> None:
        """What is shown is what the server once had, and never an earlier one again."""
        shown = self.view.texts.get(place, "")
        versions = self.versions.get(place, [])
        at = self.at.get(place, 0)
        while at < len(versions) and versions[at] != shown:
            at += 1
        if at == len(versions):
            raise Mismatch(f"{place} shows {shown!r}, behind {versions[self.at.get(place, 0)]!r}")
        self.at[place] = at

    def _connect(self) -> None:
        self.connections += 1
        transport = VirtualTransport(self.server.serve)
        self.connection: Connection = connect(
            URL, store=self.store, protocol="native", sequencing=self.mode,  # type: ignore[arg-type]
            transport=_Recording(transport, self.log, self.connections), clock=VirtualClock(),
            chance=self.chance, policy=POLICY,
            snapshot=self.server.read if self.history["reads"] else None,
            resume=AfterSeq("s1") if self.history["after"] else None,
        )  # fmt: skip
        self.connection.start()

    async def _stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []
        await self.connection.aclose()

    def _fail_early(self) -> None:
        if self.wrong is not None:
            raise self.wrong
        if self.connection.error is not None:
            raise Mismatch(f"the connection ended: {self.connection.error}")

    # -- actions ---------------------------------------------------------------------------------

    async def _do_pub(self, many: int) -> None:
        for _ in range(many):
            if len(self.server.log) < len(self.server.script):
                self.server.publish()
        await asyncio.sleep(0.001)

    async def _do_wait(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)

    async def _do_drop(self, at: int) -> None:
        self.server.drop_at = at

    async def _do_stall(self, ms: float) -> None:
        self.server.silent_until = asyncio.get_running_loop().time() + ms / 1000

    async def _do_dead(self) -> None:
        self.server.dead = self.server.opened

    async def _do_refuse(self, status: int, many: int) -> None:
        self.server.refusals += [status] * many

    async def _do_skip(self) -> None:
        if self.server.log:  # that the first one of all is missing shows nowhere
            self.server.skipping = self.skipped = True

    async def _do_bad(self, n: int) -> None:
        self.server.send(b"data: " + BAD[n % len(BAD)] + b"\n\n")

    async def _do_dup(self, many: int) -> None:
        for place in range(max(0, len(self.server.log) - many), len(self.server.log)):
            if not self.skipped:
                self.server.send(self.server.frame(place))

    async def _do_lag(self, ms: float) -> None:
        self.server.lag = ms

    async def _do_failread(self, many: int) -> None:
        self.server.failing = many

    async def _do_resync(self) -> None:
        self.connection.request_resync()

    async def _do_cancel(self) -> None:
        await self.connection.aclose()
        self._connect()

    async def _do_save(self, k: int, how: str) -> None:
        self.log.sync()  # what a state holds is in the log, whatever happens
        state = self.store.save()
        disk = self.disk
        if how:
            disk.fail_at, disk.error = len(disk.operations) + 1 + k, 28 if how == "error" else None
        try:
            write_state(state, STATE, disk=disk)
        except DiskError:
            pass
        except Crash:
            await self._restart(list(disk.survivors()), k, "power")
        disk.fail_at = 0

    async def _do_crash(self, how: str, k: int) -> None:
        found = [self.disk.killed()] if how in ("kill", "relog") else list(self.disk.survivors())
        await self._restart(found, k, how)

    async def _restart(self, disks: list[MemoryDisk], k: int, how: str) -> None:
        await self._stop()
        self.disk = MemoryDisk(disks[k % len(disks)].now())
        if how == "relog":
            store = StreamStore(ticks="asyncio", delivery=self.history["delivery"])
            with open_log(LOG, disk=self.disk) as log:
                stream = store.open("native", sequencing=self.mode)  # type: ignore[arg-type]
                for record in log.read():
                    stream.feed(record.frame())
                stream.end()
        else:
            try:
                store = StreamStore.load(read_state(STATE, disk=self.disk), ticks="asyncio")
            except FileNotFoundError:
                store = StreamStore(ticks="asyncio", delivery=self.history["delivery"])
        self._begin(store)
        self._connect()

    async def _do_slow(self, ms: float) -> None:
        changes = self.store.changes()
        view = View()
        view.merged = True
        with self.store.subscribe(lambda changes: None) as now:
            view.begin(now.state)
        self.views.append(view)

        async def consume() -> None:
            async for found in changes:
                if found.reset:
                    with self.store.subscribe(lambda changes: None) as now:
                        view.begin(now.state)
                else:
                    view.version = found.version - 1
                    view.hear(found)
                await asyncio.sleep(ms / 1000)

        self.tasks.append(asyncio.create_task(consume()))

    # -- the end ---------------------------------------------------------------------------------

    async def _settle(self) -> None:
        server = self.server
        server.skipping = False
        while len(server.log) < len(server.script):
            server.publish()
        server.drop_at, server.refusals, server.failing = None, [], 0
        for _ in range(40):
            await asyncio.sleep(60)
            self._fail_early()
            connection = self.connection
            if connection.state == "open" and connection.status.synced:
                break
        else:
            raise Mismatch(f"not quiet after 40 minutes: {self.connection.status}")
        # What comes in the very moment in which it is quiet is shown a tick later.
        await asyncio.sleep(1)
        # Nothing may come behind what was lost that shows it; and without numbers a state that was
        # read while a part grew leaves that part as it is.
        if self.skipped and self.history["after"]:
            self.server.send(END)
            await asyncio.sleep(60)
        elif self.skipped or (self.mode == "none" and self.history["reads"]):
            await self.connection.resync()
        for session_id in self.store.session_ids():
            self.store.release(session_id)
        self.store.flush()
        for session_id in self.store.session_ids():
            self.store.release(session_id)
        self.store.flush()
        await asyncio.sleep(60)
        for task in self.tasks:
            if task.done() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]

    def _judge(self) -> None:
        self._fail_early()
        truth = Truth(self.mode).take(event for event, _ in self.history["script"])
        state = self.store.state()
        sessions, expected = state["sessions"], truth.state()
        if self.mode == "none":
            _forget_gaps(sessions)
            _forget_gaps(expected)
        if sessions != expected:
            raise Mismatch(f"in the end: {difference(expected, sessions)}")
        texts = truth.texts()
        for view in (self.view, *self.views):
            shown = {key: text for key, text in view.texts.items() if key[3] == "text"}
            if shown != {key: text for key, text in texts.items() if key[3] == "text"}:
                raise Mismatch(f"in the end a subscriber has {shown}, not {texts}")
        if state["gaps"] and self.mode != "none":
            raise Mismatch(f"in the end there are gaps: {state['gaps']}")
        if self.digest is not None:
            self.digest.update(json.dumps(state, sort_keys=True).encode())


class _Recording:
    """A transport that writes down in a log what comes, event by event."""

    def __init__(self, transport: VirtualTransport, log: Any, number: int) -> None:
        self._transport = transport
        self._log = log
        self._number = number

    async def open(self, request: Request) -> Any:
        return _RecordedResponse(await self._transport.open(request), self._log, self._number)

    async def aclose(self) -> None:
        await self._transport.aclose()


class _RecordedResponse:
    def __init__(self, response: Any, log: Any, number: int) -> None:
        self._response = response
        self._log = log
        self._number = number
        self.status, self.headers = response.status, response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        rest = b""
        chunks = self._response.chunks()
        try:
            async for chunk in chunks:
                *whole, rest = (rest + chunk).split(b"\n\n")
                for frame in whole:
                    head, _, data = frame.rpartition(b"data: ")
                    if data and not frame.startswith(b":"):
                        event_id = head.strip().removeprefix(b"id: ").decode()
                        self._log.append(data, event_id=event_id, connection=self._number)
                yield chunk
        finally:
            await chunks.aclose()

    async def aclose(self) -> None:
        await self._response.aclose()


def _versions(script: list[Any], mode: str) -> dict[Any, list[str]]:
    """Every text that the server had, one after the other, by place."""
    found: dict[Any, list[str]] = {}
    truth = Truth(mode)
    for event, _ in script:
        truth.take([event])
        texts = {**truth.plain(), **truth.texts()}
        for place in {**found, **texts}:
            versions = found.setdefault(place, [""])
            if texts.get(place, "") != versions[-1]:
                versions.append(texts.get(place, ""))
    return found


def carry_out(history: History, digest: Any = None) -> None:
    """Carry a history out.

    Raises:
        Mismatch: it does not go as the oracle says; whatever the library raised.
    """
    run_virtually(Run(history, digest).main())
