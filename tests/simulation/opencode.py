"""A history of the opencode client: nothing is numbered, nothing is sent twice, all is read again.

Its virtual server drops connections after any byte and answers reads late; what it sends to nobody
is lost. The end is the server's state, and what was shown before was a prefix of it.

    ["pub", k]    the server publishes its next k entries; ["wait", ms] time passes
    ["drops", n]  from now on connections are lost after some bytes, up to n; 0: no more
    ["lag", ms]   so much later does the server listen to who connects
    ["refuse", k] the next k requests get no answer
    ["crash"]     the process is gone; its saved state goes on; ["save"] it is saved
    ["resync"]    the program asks for the state
"""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

from opencode_server import OpencodeServer
from virtual import VirtualClock, VirtualTransport
from virtual import run as run_virtually

from streamstore import StreamStore
from streamstore.client import ConnectionLost, OpencodeClient
from streamstore.testing.comparing import difference

from .core import Mismatch, View, _named
from .oracle import Truth
from .wires import Wires

History = dict[str, Any]


def actions(random: Random, count: int) -> list[list[Any]]:
    """What happens while a server publishes so many entries."""
    chance = random.random
    found: list[list[Any]] = [["drops", 200 + int(chance() * 4000)]] if chance() < 0.6 else []
    left = count
    while left > 0:
        many = 1 + int(chance() * 6)
        found.append(["pub", min(many, left)])
        left -= many
        while chance() < 0.45:
            draw = int(chance() * 1000)
            found.append(
                (
                    ["wait", (0, 1, 300, 3000, 40_000)[draw % 5]],
                    ["wait", draw],
                    ["drops", (0, 300, 1500)[draw % 3]],
                    ["lag", (0, 200, 1000)[draw % 3]],
                    ["refuse", 1 + draw % 2],
                    ["save"],
                    ["crash"],
                    ["resync"],
                )[int(chance() * 8)]
            )
    return found


class Run:
    """One history, carried out in virtual time."""

    def __init__(self, history: History, digest: Any = None) -> None:
        self.history = history
        self.script = history["script"]
        self.wires = Wires("opencode", self.script, "")
        self.server = OpencodeServer(Random(history["seed"]))
        self.server.fail = self._fail
        self.refusing = 0
        self.published = 0
        self.saved: str | None = None
        self.digest = digest
        self.wrong: Exception | None = None
        truth = Truth("none").take(event for event, _ in self.script)
        self.final = self.wires.texts(truth)
        self.truth = truth

    def _fail(self, path: str) -> Any:
        if self.refusing:
            self.refusing -= 1
            return ConnectionLost("no answer")
        return None

    async def main(self) -> None:
        for session in sorted({event["sessionId"] for event, _ in self.script}):
            info = {"id": session, "title": session, "time": {"created": 1}}
            body = {"sessionID": session, "info": info}
            self.server.publish({"type": "session.created", "properties": body})
        self._begin(StreamStore(ticks="asyncio", delivery=self.history["delivery"]))
        try:
            self._connect()
            for action in self.history["actions"]:
                await getattr(self, f"_do_{action[0]}")(*action[1:])
                self._look()
            await self._settle()
        finally:
            await self.connection.aclose()
        self._judge()

    def _begin(self, store: StreamStore) -> None:
        self.store = store
        view = self.view = View(self.digest)
        view.begin(store.subscribe(lambda changes: self._hear(view, changes)).state)

    def _hear(self, view: View, changes: Any) -> None:
        if view is not self.view:
            return
        try:
            view.hear(changes)
            for (key, field), _ in changes.text.items():
                part = self.store.part(*key)
                text = view.texts.get((*key, field), "")
                final = self.final.get((*key, field), "")
                if part is not None and not part.gap and not final.startswith(text):
                    raise Mismatch(f"{key} shows {text!r}, which is no start of {final!r}")
        except Exception as error:
            self.wrong = self.wrong or error

    def _connect(self) -> None:
        client = OpencodeClient(
            "http://server", store=self.store, transport=VirtualTransport(self.server.serve),
            clock=VirtualClock(), chance=self.server.random.random,
        )  # fmt: skip
        self.connection = client.connect()
        self.connection.start()

    def _look(self) -> None:
        if self.wrong is not None:
            raise self.wrong
        if self.connection.error is not None:
            raise Mismatch(f"the connection ended: {self.connection.error}")

    async def _do_pub(self, many: int) -> None:
        for _ in range(many):
            if self.published < len(self.script):
                self.server.publish(self.wires.object(self.published))
                self.published += 1
        await asyncio.sleep(0.001)

    async def _do_wait(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)

    async def _do_drops(self, size: int) -> None:
        self.server.drops = size or None

    async def _do_lag(self, ms: float) -> None:
        self.server.lag = ms / 1000

    async def _do_refuse(self, many: int) -> None:
        self.refusing = many

    async def _do_resync(self) -> None:
        self.connection.request_resync()

    async def _do_save(self) -> None:
        self.saved = json.dumps(self.store.save())

    async def _do_crash(self) -> None:
        await self.connection.aclose()
        if self.saved is None:
            self._begin(StreamStore(ticks="asyncio", delivery=self.history["delivery"]))
        else:
            self._begin(StreamStore.load(json.loads(self.saved), ticks="asyncio"))
        self._connect()

    async def _settle(self) -> None:
        await self._do_pub(len(self.script))
        self.server.drops, self.refusing = None, 0
        for _ in range(40):
            await asyncio.sleep(60)
            self._look()
            if self.connection.state == "open" and self.connection.status.synced:
                break
        else:
            raise Mismatch(f"not quiet after 40 minutes: {self.connection.status}")
        await self.connection.resync()
        for session_id in self.store.session_ids():
            self.store.release(session_id)
        self.store.flush()
        self._look()

    def _judge(self) -> None:
        if self.view.texts != self.final:
            found = difference(_named(self.final), _named(self.view.texts))
            raise Mismatch(f"in the end is shown: {found}")
        self.wires.check(self.truth, self.store)
        if self.store.health.gaps:
            raise Mismatch(f"in the end there are gaps: {self.store.health.gaps}")
        if self.digest is not None:
            state = json.dumps(self.store.state(), sort_keys=True)
            self.digest.update(state.encode())


def carry_out(history: History, digest: Any = None) -> None:
    """Carry a history out.

    Raises:
        Mismatch: it does not go as the oracle says; whatever the library raised.
    """
    run_virtually(Run(history, digest).main())
