"""`connect` against `streamstore serve --faults`, over real sockets of this machine.

Every run has a seed: what breaks, where, and what the server leaves out, repeats or mixes up is
drawn from it. A run ends in the state of the clean log, and on the way no tick shows what the
clean log never showed. `STREAMSTORE_LOOPBACK_RUNS` says how many runs there are.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import attrs
import httpx
import pytest

from streamstore import ChangeSet, StreamStore
from streamstore.adapters.opencode import OpencodeAdapter
from streamstore.client import HttpxTransport, OpencodeClient, Policy, StartingAfter, connect
from streamstore.serve import Faults, serving
from streamstore.testing import Recorder, sample

DATA = Path(__file__).resolve().parent.parent / "data"
RUNS = int(os.environ.get("STREAMSTORE_LOOPBACK_RUNS", "25"))
AT_ONCE = 24

#: As the client's own, but every time is a small part of it. The watchdog waits for as long as a
#: busy machine may keep a thread from running.
QUICK = Policy(
    first_delay_ms=1,
    most_delay_ms=8,
    healthy_ms=50,
    silence_ms=1_000,
    resync_pause_ms=2,
    same_place=50,
)
STALL_MS = 3_000.0

Wire = dict[str, Any]


@attrs.define
class Case:
    """A log, how to follow it, and what its clean replay shows and ends in."""

    name: str
    log: Path
    faults: str
    follow: Callable[[str, StreamStore, HttpxTransport], Any]
    state: Callable[[StreamStore], Any]
    make: Callable[[], StreamStore]
    protocol: str
    sequencing: Any = None
    exact: bool = True
    """Whether each tick shows a text that the clean log showed; else there are marked gaps."""
    ends: bool = False
    """Whether the connection ends when all has come."""
    every: int = 20
    speed: float = math.inf
    url: str = ""
    expected: Any = None
    shown: dict[Any, set[str]] = attrs.field(factory=dict)

    def prepare(self) -> None:
        store = StreamStore(ticks="each")
        recorder = Watcher(store, None)
        stream = store.open(self.protocol, sequencing=self.sequencing)
        stream.feed(self.log.read_bytes())
        store.flush()
        self.expected = self.state(store)
        self.shown = recorder.all


class Watcher:
    """Keeps every text that a tick showed, as edits alone make it; or holds it to those that may."""

    def __init__(self, store: StreamStore, allowed: dict[Any, set[str]] | None) -> None:
        self.store = store
        self.allowed = allowed
        self.texts: dict[Any, str] = {}
        self.all: dict[Any, set[str]] = {}
        self.problems: list[str] = []
        self.ticks = 0
        self.gapped = 0
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        self.ticks += 1
        if changes.reset:
            self.problems.append("a reset")
        for gone in changes.removed:
            place = tuple(gone)
            self.texts = {at: t for at, t in self.texts.items() if at[0][: len(place)] != place}
        for (key, field), edit in changes.text.items():
            at = (tuple(key), field)
            before = self.texts.get(at, "")
            text = self.texts[at] = edit.apply(before)
            self.all.setdefault(at, set()).add(text)
            if not edit.rewritten and edit.start != len(before):
                self.problems.append(f"{at}: an edit at {edit.start} of {len(before)}")
            part = self.store.part(*key)
            if part is None or part.field_text(field) != text:
                self.problems.append(f"{at}: edits make {text!r}, {part} is read")
            elif part.gap:
                self.gapped += 1
            elif self.allowed is not None and text not in self.allowed.get(at, ()):
                self.problems.append(f"{at}: {text!r} was never to be seen")


# -- the cases -------------------------------------------------------------------------------------


def native(name: str, sequencing: Any, seed: int, faults: str, folder: Path, exact: bool) -> Case:
    path = folder / f"{name}.jsonl"
    path.write_bytes(sample(sequencing, seed, sessions=2).data())

    def follow(url: str, store: StreamStore, transport: HttpxTransport) -> Any:
        return connect(
            f"{url}/events", store=store, protocol="native", sequencing=sequencing, policy=QUICK,
            transport=transport,
        )  # fmt: skip

    return Case(
        name, path, faults, follow, lambda store: store.state()["sessions"],
        StreamStore, "native", sequencing, exact,
    )  # fmt: skip


def encoded(store: StreamStore) -> Any:
    return OpencodeAdapter().encode(store)


def opencode(name: str, faults: str, speed: float = math.inf) -> Case:
    def follow(url: str, store: StreamStore, transport: HttpxTransport) -> Any:
        return OpencodeClient(
            url, store=store, policy=QUICK, transport=transport,
            global_events=name.startswith("global"),
        ).connect()  # fmt: skip

    return Case(
        f"opencode {name} {speed}", DATA / "opencode" / name / "events.jsonl", faults, follow,
        encoded, StreamStore, "opencode", speed=speed,
    )  # fmt: skip


def answer(name: str) -> Case:
    """A background response, followed by its own numbers until it ends."""
    log = DATA / "openai-responses" / name / "stream.sse"
    response_id = log.read_text("utf-8").partition('"id":"')[2].partition('"')[0]

    def follow(url: str, store: StreamStore, transport: HttpxTransport) -> Any:
        return connect(
            f"{url}/v1/responses/{response_id}?stream=true", store=store, policy=QUICK,
            protocol="openai-responses", resume=StartingAfter(response_id), transport=transport,
        )  # fmt: skip

    return Case(
        f"openai {name}", log, "disconnect,dup,stall", follow,
        lambda store: store.state()["sessions"], StreamStore, "openai-responses",
        every=8, ends=True,
    )  # fmt: skip


def cases(folder: Path) -> list[Case]:
    everything = "dup,drop,reorder,disconnect,stall"
    return [
        native("block 1", "block", 1, everything, folder, True),
        native("block 2", "block", 2, "disconnect,dup", folder, True),
        native("block 3", "block", 5, everything, folder, True),
        native("session", "session", 3, "disconnect,dup,stall", folder, True),
        native("sparse", "sparse", 4, everything, folder, False),
        opencode("question", "disconnect,drop,dup,stall"),
        opencode("permission_ask", "disconnect,drop,dup"),
        opencode("tools", "disconnect,drop", 200.0),
        opencode("global_event", "disconnect,dup"),
        answer("multi-output"),
    ]


# -- runs ------------------------------------------------------------------------------------------


async def one_run(case: Case, number: int, transport: HttpxTransport) -> Counter[str]:
    store = StreamStore(ticks=Random(number).choice((None, "asyncio")))
    watcher = Watcher(store, case.shown if case.exact else None)
    with Recorder(store) as recorder:
        connection = case.follow(f"{case.url}/@run{number}", store, transport)
        async with connection:
            try:
                async with asyncio.timeout(60):
                    while True:
                        store.flush()
                        assert connection.error is None, connection.error
                        done = connection.state == ("ended" if case.ends else "open")
                        if done and connection.status.synced:
                            if case.ends or case.state(store) == case.expected:
                                break
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise AssertionError(
                    f"{case.name}, run {number}: {connection.status}\n"
                    f"{differences(case.state(store), case.expected)}"
                ) from None
            reconnects = connection.reconnects
        store.flush()
        where = f"{case.name}, run {number}: {connection.status}"
        wrong = differences(case.state(store), case.expected)
        assert not wrong, f"{where}\n{wrong}"
        assert not store.health.gaps, (where, store.health.gaps)
        assert not watcher.problems, (where, watcher.problems)
        recorder.check()
    counts = store.health.counts["verdicts"]
    return Counter(
        runs=1, reconnects=reconnects, ticks=watcher.ticks, gapped=watcher.gapped,
        duplicates=counts.get("duplicate", 0), late=counts.get("late", 0),
    )  # fmt: skip


def differences(got: Any, expected: Any, at: str = "") -> str:
    if isinstance(got, dict) and isinstance(expected, dict):
        names = sorted({*got, *expected}, key=str)
        found = [differences(got.get(n), expected.get(n), f"{at}.{n}") for n in names]
        return "".join(found)
    if isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected):
        return "".join(
            differences(a, b, f"{at}.{n}")
            for n, (a, b) in enumerate(zip(got, expected, strict=True))
        )
    return "" if got == expected else f"{at}: {got!r:.300}, not {expected!r:.300}\n"


async def all_runs(found: list[Case], runs: int) -> Counter[str]:
    total: Counter[str] = Counter()
    waiting = iter(range(runs))
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(timeout=None, limits=limits) as http:
        transport = HttpxTransport(http)

        async def work() -> None:
            for number in waiting:
                total.update(await one_run(found[number % len(found)], number, transport))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    return total


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Case]]:
    folder = tmp_path_factory.mktemp("logs")
    found = cases(folder)
    with ExitStack() as stack:
        for case in found:
            case.prepare()
            faults = Faults.of(case.faults, seed=7, every=case.every, stall_ms=STALL_MS)
            case.url = stack.enter_context(
                serving(case.log, faults=faults, speed=case.speed, heartbeat=0.4)
            )
        yield found


def test_seeded_runs_end_in_the_state_of_the_clean_log(served: list[Case]) -> None:
    total = asyncio.run(all_runs(served, RUNS))
    print(json.dumps(total))
    assert total["runs"] == RUNS
    # Something went wrong in them, or nothing was shown.
    assert total["reconnects"] > RUNS and total["duplicates"] > 0
