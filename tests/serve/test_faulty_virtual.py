"""The client against replays with faults in virtual time: many more runs than sockets allow.

What the server sends is what `planning.py` says, given to the client byte for byte; nothing depends
on a machine, so that a seed that fails fails again.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "client"))

from virtual import Answer, VirtualClock, VirtualTransport, run

from streamstore import StreamStore
from streamstore.client import ConnectionLost, Request, connect
from streamstore.serve import Faults
from streamstore.serve.planning import Pause, Send, Until
from streamstore.serve.replays import OwnReplay, Settings, Wish
from streamstore.serve.tape import Tape, open_tape
from streamstore.testing import Recorder, sample

#: Seeds for each log.
RUNS = int(os.environ.get("STREAMSTORE_VIRTUAL_RUNS", "4"))
EVERYTHING = "dup,drop,reorder,disconnect,stall"


class Server:
    """Answers each request by what a replay plans for it, cut into chunks by chance."""

    def __init__(self, replay: OwnReplay, random: Random) -> None:
        self.replay = replay
        self.random = random
        self.asked: list[str] = []
        self.done = False

    def serve(self, request: Request) -> Answer:
        event_id = request.headers.get("last-event-id", "")
        self.asked.append(event_id)
        return Answer(body=self._body(event_id))

    async def _body(self, event_id: str) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        held = b""
        for action in self.replay.connect(Wish(event_id=event_id), loop.time() * 1000):
            if isinstance(action, Send):
                held += action.data
                if self.random.random() < 0.5:
                    yield held
                    held = b""
                continue
            if held:
                yield held
                held = b""
            if isinstance(action, Until):
                await asyncio.sleep(max(0.0, action.at_ms / 1000 - loop.time()))
            elif isinstance(action, Pause):
                await asyncio.sleep(action.ms / 1000)
            elif not action.clean:
                raise ConnectionLost("cut")
            else:
                self.done = True
                await asyncio.Event().wait()


def followed(
    tape: Tape, seed: int, sequencing: Any, faults: str, every: int = 12
) -> tuple[StreamStore, list[str]]:
    """A store behind a client that followed one replay to its end, and what it resumed from."""
    random = Random(seed)
    settings = Settings(
        speed=random.choice((math.inf, 1.0)),
        closes=True,
        faults=Faults.of(faults, seed=seed, every=every),
    )
    server = Server(OwnReplay("", tape, settings), random)
    store = StreamStore(ticks=random.choice((None, "asyncio", "each")))

    async def main() -> None:
        with Recorder(store) as recorder:
            async with connect(
                "http://h/", store=store, protocol="native", sequencing=sequencing,
                transport=VirtualTransport(server.serve), clock=VirtualClock(),
                chance=random.random,
            ) as connection:  # fmt: skip
                # Not until the state is right, but until nothing more comes.
                while not server.done:
                    await asyncio.sleep(1)
                await asyncio.sleep(1)
                assert connection.state == "open", connection.error
            store.flush()
            recorder.check()

    run(main())
    return store, server.asked


@pytest.mark.parametrize("sequencing", ["block", "session"])
def test_nothing_is_lost_from_which_a_client_would_have_to_go_back_too_far(
    sequencing: Any, tmp_path: Path
) -> None:
    """Before a hole in a block lies whatever came since its last delta, and an error would count
    twice. What could not be told is not sent twice."""
    path = tmp_path / "log.jsonl"
    wires: list[Any] = [{"type": "stream.opened", "sequencing": sequencing}]
    key = {"type": "block.delta", "sessionId": "s", "messageId": "m"}
    for number in range(1, 30):
        if number % 10 == 5:
            error = {"name": "Overloaded", "message": "later"}
            wires.append({"type": "session.error", "sessionId": "s", "error": error})
        for block in (0, 1):
            seq = number if sequencing == "block" else 2 * number + block - 1
            wires.append({**key, "blockIndex": block, "seq": seq, "text": f"{number} "})
    path.write_text("".join(json.dumps(wire) + "\n" for wire in wires))
    tape = open_tape([path])
    try:
        for seed in range(30):
            store, asked = followed(tape, seed, sequencing, "drop,reorder", every=3)
            session = store.session("s")
            assert session is not None and len(session.errors) == 3, (seed, asked)
    finally:
        tape.close()


@pytest.mark.parametrize("log", range(6))
@pytest.mark.parametrize("sequencing", ["block", "session", "sparse"])
def test_every_run_ends_in_the_state_of_the_clean_log(
    sequencing: Any, log: int, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(sample(sequencing, log).data())
    clean = StreamStore()
    clean.open("native").feed(path.read_bytes())
    tape = open_tape([path])
    try:
        for seed in range(RUNS):
            store, asked = followed(tape, 1000 * log + seed, sequencing, EVERYTHING)
            assert store.state()["sessions"] == clean.state()["sessions"], (log, seed, asked)
            assert not store.health.gaps
    finally:
        tape.close()
