"""A history of a client that asks a server of OpenAI's, one answer after the other.

The virtual network, disk and process are those of `whole`. A response is followed to its end over
as many connections as it takes, each of which goes on behind the number that the last one reached
(`starting_after`); after a crash all of them are followed again. A completion is asked for once: a
connection that is lost leaves what came of it, and the next question is another answer.

    ["pub", k]  the server says the next k entries; behind the end of an answer the next is asked
    ["wait", ms] ["drop", at] ["stall", ms] ["dead"] ["refuse", status, k] ["bad", n] ["dup", k]
    ["cancel"] ["save", k, how] ["crash", how, k] ["slow", ms]  as in `whole`; what would need a
                number (`dup`, `cancel`) happens to responses alone
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from disks import MemoryDisk
from virtual import Answer as Reply
from virtual import VirtualClock, VirtualTransport
from virtual import run as run_virtually

from streamstore import StreamStore
from streamstore.client import ConnectionLost, Request, StartingAfter, connect
from streamstore.log.states import read_state

from . import openai, openai_wires, whole
from .core import Mismatch
from .openai_oracle import CUT
from .openai_scripts import Answer
from .wires import BAD

History = dict[str, Any]

URL = "http://server/v1/responses"
_CHAT = "http://server/v1/chat/completions"


def actions(random: Random, script: list[Answer], numbered: bool) -> list[list[Any]]:
    """What happens while a server gives its answers."""
    count = sum(len(answer["entries"]) for answer in script)
    found = whole.actions(random, count, resumes=numbered, reads=False, skips=False)
    for action in found:
        if action[0] == "crash" and action[1] == "relog":
            action[1] = "kill"
    if numbered:
        return found
    # What is asked for once cannot be asked for again.
    return [action for action in found if action[0] not in ("cancel", "dup")]


class Server(whole.Server):
    """The server of one answer."""

    def __init__(self, history: History, wires: list[Any], first: int | None) -> None:
        super().__init__({"script": wires, "ids": False, "after": False})
        self.first = first
        self.clean = history["clean"]
        self.came: list[int] = []  # what surely arrived
        self.asked: list[str] = []

    def frame(self, place: int) -> bytes:
        return openai_wires.framed(self.script[self.log[place]])

    def publish(self) -> None:
        super().publish()
        if len(self.log) == len(self.script):
            self.send(whole.END)

    def serve(self, request: Request) -> Reply | BaseException:
        self.asked.append(request.method)
        if self.refusals:
            status = self.refusals.pop(0)
            if status == 500:
                return ConnectionLost("refused")
            return Reply(status, {"retry-after": "2"} if status == 429 else {})
        asked = parse_qs(urlsplit(request.url).query).get("starting_after", [""])[0]
        start = int(asked) + 1 - (self.first or 0) if asked else 0
        return Reply(body=self._stream(start), after_ms=5)

    async def _stream(self, start: int) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        for place in range(start, len(self.log)):
            queue.put_nowait(self.frame(place))
        if len(self.log) == len(self.script):
            queue.put_nowait(whole.END)
        self.queues.append(queue)
        self.opened += 1
        number, place = self.opened, start
        loop = asyncio.get_running_loop()
        data = b": hello\n\n"
        try:
            while True:
                if number <= self.dead:
                    await asyncio.Event().wait()
                if loop.time() < self.silent_until:
                    await asyncio.sleep(self.silent_until - loop.time())
                if data == whole.END:
                    if self.clean:
                        return
                    raise ConnectionLost("dropped")
                if self.drop_at is not None and data[:1] != b":":
                    cut, self.drop_at = len(data) * self.drop_at // 1000, None
                    if cut:
                        yield data[:cut]
                    raise ConnectionLost("dropped")
                half = len(data) // 2
                yield data[:half]
                yield data[half:]
                if place < len(self.log) and data == self.frame(place):
                    self.came.append(place)
                    place += 1
                try:
                    async with asyncio.timeout(10):
                        data = await queue.get()
                except TimeoutError:
                    data = b": beat\n\n"
        finally:
            self.queues.remove(queue)


class Run(whole.Run):
    """One history, carried out in virtual time."""

    def __init__(self, history: History, digest: Any = None) -> None:
        self.script: list[Answer] = history["script"]
        self.numbered = history["protocol"] == "openai-responses"
        write = openai_wires.response if self.numbered else openai_wires.completion
        self.wire = [write(answer) for answer in self.script]
        super().__init__({**history, "ids": False, "after": False, "script": []}, digest)
        self.servers = [
            Server(history, wires, answer.get("first"))
            for wires, answer in zip(self.wire, self.script, strict=True)
        ]
        self.now = 0
        self.server = self.servers[0]
        self.known = False
        self.over: set[int] = set()  # completions that nobody follows any more
        self.left: set[int] = set()  # whose streams a saved state still has open
        self.kept: dict[str, list[list[int]]] = {}  # what had come, by saved state
        everything = [range(len(answer["entries"])) for answer in self.script]
        self.final = openai.texts(
            openai.seen(self.script, list(range(len(self.script))), everything)
        )
        self.exact = True

    def _prefix(self, place: Any) -> None:
        """What is shown is a start of what the server says, and never a shorter one again."""
        shown, final = self.view.texts.get(place, ""), self.final.get(place, "")
        if not final.startswith(shown) or len(shown) < self.at.get(place, 0):
            raise Mismatch(
                f"{place} shows {shown!r}, which is no start of {final!r}, or an earlier"
            )
        self.at[place] = len(shown)

    # -- a process -------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Ask for the answer of now, or, where it is known, for the rest of it."""
        url, options = _CHAT, {}
        asked: dict[str, Any] = {"json": {"stream": True}}
        if self.numbered:
            url, options = URL, {"resume": StartingAfter()}
            if self.known:
                answer_id = self.script[self.now]["id"]
                url, asked = f"{URL}/{answer_id}?stream=true", {}
                options = {"resume": StartingAfter(answer_id)}
        for a in self.left:  # who takes the stream up finds that it has ended
            self.servers[a].came.append(CUT)
        self.left = set()
        self.connection = connect(
            url, store=self.store, protocol=self.history["protocol"], session_id="s1",
            transport=VirtualTransport(self.server.serve), clock=VirtualClock(),
            chance=self.chance, policy=whole.POLICY, **asked, **options,
        )  # fmt: skip
        self.connection.start()

    def _fail_early(self) -> None:
        if self.wrong is not None:
            raise self.wrong
        error = self.connection.error
        if error is not None and (self.known or not isinstance(error, ConnectionLost)):
            raise Mismatch(f"the connection ended: {error!r}")

    async def _look_after(self) -> None:
        """What a program does whose connection broke off."""
        self._fail_early()
        if self.connection.error is None or self.now in self.over:
            return
        if self.numbered:  # nothing of it came: the program has its id from elsewhere
            await self.connection.aclose()
            self.known = True
            self._connect()
        else:
            self.over.add(self.now)
            self.server.came.append(CUT)

    async def _follow(self) -> None:
        """Until the answer of now is at its end."""
        server = self.server
        while len(server.log) < len(server.script):
            server.publish()
        server.drop_at, server.refusals = None, []
        for _ in range(40):
            await asyncio.sleep(60)
            await self._look_after()
            if self.connection.state == "ended":
                break
        else:
            raise Mismatch(f"not at its end after 40 minutes: {self.connection.status}")
        await self.connection.aclose()

    async def _next(self) -> None:
        await self._follow()
        self.now += 1
        self.server, self.known = self.servers[self.now], False
        self._connect()

    # -- actions ---------------------------------------------------------------------------------

    async def _do_pub(self, many: int) -> None:
        for _ in range(many):
            await self._look_after()
            if len(self.server.log) == len(self.server.script) or self.now in self.over:
                if self.now + 1 == len(self.script):
                    return
                await self._next()
            self.server.publish()
            await asyncio.sleep(0.001)

    async def _do_bad(self, n: int) -> None:
        own = openai_wires.BAD[self.history["protocol"]]
        n %= len(BAD) + len(own)
        bad = n < len(BAD)
        frame = b"data: " + BAD[n] + b"\n\n" if bad else openai_wires.framed(own[n - len(BAD)])
        self.server.send(frame)

    async def _do_cancel(self) -> None:
        self.known = True
        await super()._do_cancel()

    async def _do_save(self, k: int, how: str) -> None:
        saved = json.dumps(self.store.save(), sort_keys=True)
        self.kept[saved] = [list(server.came) for server in self.servers]
        await super()._do_save(k, how)

    async def _restart(self, disks: list[MemoryDisk], k: int, how: str) -> None:
        await self._stop()
        self.disk = MemoryDisk(disks[k % len(disks)].now())
        try:
            saved = read_state(whole.STATE, disk=self.disk)
            store = StreamStore.load(saved, ticks="asyncio")
            came = self.kept[json.dumps(saved, sort_keys=True)]
        except FileNotFoundError:
            store = StreamStore(ticks="asyncio", delivery=self.history["delivery"])
            came = [[] for _ in self.servers]
        self._begin(store)
        for server, of in zip(self.servers, came, strict=True):
            server.came = list(of)
        if not self.numbered:
            self.over.update(range(self.now + 1))
            self.left = {a for a in self.over if came[a]}
            return
        self.known, now = True, self.now
        for self.now in range(now):
            self.server = self.servers[self.now]
            self._connect()
            await self._follow()
        self.now, self.server = now, self.servers[now]
        self._connect()

    # -- the end ---------------------------------------------------------------------------------

    async def _settle(self) -> None:
        while self.now + 1 < len(self.script):
            await self._next()
        await self._follow()
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
        came: list[Any] = [server.came for server in self.servers]
        begun = [a for a, of in enumerate(came) if any(n >= 0 for n in of)]
        if self.numbered:
            came = [set(range(len(answer["entries"]))) for answer in self.script]
            begun = list(range(len(self.script)))
        truth = openai.seen(self.script, begun, came)
        for view in (self.view, *self.views):
            openai.compare(view, truth)
        state = self.store.state()
        openai.check(state, truth)
        if self.numbered:
            openai.check_responses(self.store, self.script, self.wire, begun, came)
        else:
            openai.check_completions(self.store, self.script, begun, came)
        if self.digest is not None:
            self.digest.update(json.dumps(state, sort_keys=True).encode())


def carry_out(history: History, digest: Any = None) -> None:
    """Carry a history out.

    Raises:
        Mismatch: it does not go as the oracle says; whatever the library raised.
    """
    run_virtually(Run(history, digest).main())
