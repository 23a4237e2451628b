"""16 threads that feed, drop and reconnect while the owner works: the state is the oracle's."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from streamstore import ChangeSet, StreamStore
from streamstore.ticks import ManualTicks

THREADS, DELTAS, CONNECTIONS = 16, 120, 4


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns after every few bytecodes, so that what can go wrong does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def wires(number: int, sequencing: str) -> list[dict[str, Any]]:
    """What one server says: two messages in a session of its own, one in a session of all."""
    found = []
    seqs: dict[Any, int] = {}
    for place in range(DELTAS):
        shared = place % 3 == 2
        session = "all" if shared else f"s{number}"
        message = f"m{number}" if shared else f"m{place % 2}"
        counter = (session, message) if sequencing == "block" else session
        seqs[counter] = seqs.get(counter, 0) + 1
        found.append({
            "type": "block.delta", "sessionId": session, "messageId": message, "blockIndex": 0,
            "seq": seqs[counter], "text": f"{number}.{place} é日 ",
        })  # fmt: skip
    return found


class Server:
    """One thread: sends over a few connections, each cut anywhere; each goes on a little earlier."""

    def __init__(self, number: int, sequencing: str, ask: queue.SimpleQueue[Any]) -> None:
        self.number = number
        self.frames = [
            f"id: {place}\ndata: {json.dumps(wire)}\n\n".encode()
            for place, wire in enumerate(wires(number, sequencing))
        ]
        self.ask = ask
        self.given: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.random = Random(number)

    def run(self) -> None:
        at = 0
        for connection in range(CONNECTIONS):
            self.ask.put(("open", self))
            stream = self.given.get(timeout=60)
            stop = DELTAS if connection == CONNECTIONS - 1 else at + DELTAS // CONNECTIONS
            data = b"".join(self.frames[at:stop])
            if stop < DELTAS:
                data += self.frames[stop][: self.random.randrange(1, 30)]  # cut in a frame
            while data:
                size = self.random.randrange(1, 400)
                stream.feed_threadsafe(data[:size])
                data = data[size:]
            at = max(0, stop - self.random.randrange(0, 9))
        self.ask.put(("done", self))


@pytest.mark.parametrize("sequencing", ["block", "sparse"])
def test_nothing_is_lost_doubled_or_mixed_up(sequencing: str, eager_switching: None) -> None:
    ticks = ManualTicks()
    store = StreamStore(ticks=ticks)
    owner = threading.get_ident()
    heard: dict[Any, str] = {}

    def hear(changes: ChangeSet) -> None:
        assert threading.get_ident() == owner
        for (key, _), edit in changes.text.items():
            if edit.rewritten:
                assert sequencing == "sparse"
            heard[tuple(key)] = edit.apply(heard.get(tuple(key), ""))

    store.subscribe(hear)
    ask: queue.SimpleQueue[Any] = queue.SimpleQueue()
    servers = [Server(number, sequencing, ask) for number in range(THREADS)]
    failed: list[BaseException] = []

    def work(server: Server) -> None:
        try:
            server.run()
        except BaseException as error:
            failed.append(error)
            ask.put(("done", server))

    threads = [threading.Thread(target=work, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    streams: dict[int, Any] = {}
    running = THREADS
    while running:
        try:
            what, server = ask.get_nowait()
        except queue.Empty:
            ticks.tick()  # takes in what came, shows it
            continue
        if server.number in streams:
            streams.pop(server.number).end()
        if what == "done":
            running -= 1
            continue
        # The shared session's seqs are of each server alone: a stream per message there, for
        # which `sparse` and `block` marks are per block.
        stream = store.open("native", sequencing=sequencing)  # type: ignore[arg-type]
        streams[server.number] = stream
        server.given.put(stream)
    for thread in threads:
        thread.join(60)
    assert not failed, failed
    assert not any(thread.is_alive() for thread in threads)
    ticks.tick()
    store.flush()

    expected: dict[tuple[Any, ...], str] = {}
    for number in range(THREADS):
        for wire in wires(number, sequencing):
            key = (wire["sessionId"], wire["messageId"], wire["blockIndex"])
            expected[key] = expected.get(key, "") + wire["text"]
    shown = {
        tuple(part.key): part.text
        for session_id in store.session_ids()
        for message in store.messages(session_id)
        for part in store.parts(session_id, message.id)
    }
    assert shown == expected
    assert heard == expected
    verdicts = store.health.counts["verdicts"]
    assert verdicts["accepted"] == THREADS * DELTAS
    assert set(verdicts) == {"accepted", "duplicate"}
