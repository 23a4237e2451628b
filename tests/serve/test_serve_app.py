"""Streams of the application in virtual time: pace, resume, heartbeats, many and slow clients."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from asgi import Client, VirtualClock, app_of, get, played, run

from streamstore import StreamStore
from streamstore.log import LogLocked, open_log
from streamstore.serve import Faults
from streamstore.serve import app as module
from streamstore.serve.app import ReplayApp
from streamstore.serve.replays import Settings
from streamstore.serve.tape import Tape, Taped, open_tape
from streamstore.testing import sample

DATA = Path(__file__).resolve().parent.parent / "data"


def wires(number: int) -> list[dict[str, Any]]:
    deltas = [
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": n, "text": f"{n} "}
        for n in range(1, number + 1)
    ]
    return [{"type": "stream.opened", "sequencing": "block"}, *deltas]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Nine deltas behind an opening, 100 ms apart."""
    return timed(tmp_path / "log.sqlite", wires(9))


def timed(path: Path, found: list[Any], step: int = 100) -> Path:
    with open_log(path) as writer:
        for place, wire in enumerate(found):
            writer.append(json.dumps(wire), time_ms=1_700_000_000_000 + step * place)
    return path


def texts(frames: list[Any]) -> list[str]:
    return [json.loads(frame.data).get("text", "") for frame in frames]


# -- pace ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("speed", "last"), [(1, 900), (4, 225), (0.5, 1800), (math.inf, 0)])
def test_events_come_at_the_times_of_the_log_divided_by_the_speed(
    speed: float, last: float, log: Path
) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/anything") as client:
            assert len(await client.read(last + 50)) == 10
            times = [at for at, _ in client.times]
            # Whoever reads looks once a millisecond.
            assert times == pytest.approx([last / 9 * n for n in range(10)], abs=2)

    played(main, log, speed=speed)


def test_who_was_slow_gets_the_rest_at_once_and_is_on_time_again(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x", room=2) as client:
            await asyncio.sleep(0.55)
            assert client.waiting == 2
            await client.read(500)
            assert client.times[5][0] < 560 < client.times[8][0] < 910

    played(main, log)


HOURS_MS = 8 * 3_600_000


@pytest.fixture
def slept(tmp_path: Path) -> Path:
    """As `log`, but for eight hours between the fifth event and the sixth."""
    path = tmp_path / "slept.sqlite"
    with open_log(path) as writer:
        for place, wire in enumerate(wires(9)):
            writer.append(json.dumps(wire), time_ms=100 * place + HOURS_MS * (place > 4))
    return path


@pytest.mark.parametrize(
    ("settings", "pause"),
    [
        ({}, 300_000),
        ({"longest_pause_ms": 2_000.0}, 2_000),
        ({"longest_pause_ms": 2_000.0, "speed": 4.0}, 500),
        ({"longest_pause_ms": 0.0}, 0),
        ({"longest_pause_ms": math.inf}, HOURS_MS + 100),
    ],
)
def test_a_pause_in_which_the_laptop_slept_is_cut_down_and_no_other_one(
    settings: Any, pause: float, slept: Path
) -> None:
    step = min(100 / settings.get("speed", 1.0), pause)

    async def main(app: ReplayApp) -> None:
        for headers, first in (({}, 0), ({"Last-Event-ID": "3"}, 3), ({"Last-Event-ID": "5"}, 5)):
            async with Client(app, "/x", headers) as client:
                await asyncio.sleep(9 * 3_600)
                times = [at for at, data in client.sent if b"id: " in data]
            gaps = [b - a for a, b in itertools.pairwise(times)]
            expected = [step] * (4 - first) + [pause] * (first < 5) + [step] * 4
            assert gaps == pytest.approx(expected, abs=3)

    played(main, slept, heartbeat_ms=0, **settings)


def test_each_round_of_a_loop_has_the_pauses_of_the_first_one(slept: Path) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x") as client:
            await asyncio.sleep(10)
            times = [at for at, _ in client.sent]
        one = [100] * 4 + [2_000] + [100] * 4
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert gaps[:20] == pytest.approx([*one, 1_000, *one, 1_000], abs=3)

    played(main, slept, heartbeat_ms=0, longest_pause_ms=2_000.0, loop=True)


# -- resume ----------------------------------------------------------------------------------------


def test_a_connection_goes_on_behind_the_id_that_it_names(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        for headers, query in (({"Last-Event-ID": "4"}, ""), ({}, "?lastEventId=4")):
            async with Client(app, f"/x{query}", headers) as client:
                frames = await client.read(1_000)
            # A declaration of the stream holds for this connection, too, and moves no position.
            assert json.loads(frames[0].data) == wires(0)[0] and frames[0].id == ""
            assert texts(frames[1:]) == [f"{n} " for n in range(4, 10)]
            assert [frame.id for frame in frames[1:]] == [str(n) for n in range(5, 11)]
            # The pace goes on, too.
            assert client.times[1][0] - client.times[0][0] == pytest.approx(100, abs=3)

    played(main, log)


@pytest.mark.parametrize("event_id", ["", "0", "99", "x", "é", "\x7f"])
def test_an_id_that_nobody_knows_is_the_beginning(event_id: str, log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        header = event_id.encode().decode("latin-1")
        async with Client(app, "/x", {"last-event-id": header}) as client:
            assert len(await client.read(20)) == 10

    played(main, log, speed=math.inf)


def test_ids_that_are_no_ascii_come_back_as_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with open_log(path) as writer:
        for n, event_id in enumerate(("ä€", "ö", "ü")):
            writer.append(json.dumps(wires(3)[n]), event_id=event_id)

    async def main(app: ReplayApp) -> None:
        # As a server reads the header that a client sends as UTF-8.
        async with Client(app, "/x", {"last-event-id": "ä€"}) as client:
            client._scope["headers"] = [(b"last-event-id", "ä€".encode())]
            frames = await client.read(20)
        assert [frame.id for frame in frames] == ["", "ö", "ü"]

    played(main, path, speed=math.inf)


def test_openai_responses_go_on_behind_a_number_and_end(tmp_path: Path) -> None:
    log = DATA / "openai-responses" / "multi-output" / "stream.sse"

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/v1/responses", method="POST") as client:
            whole = [json.loads(frame.data) for frame in await client.read()]
            assert client.state == "ended"
        async with Client(app, "/v1/responses/resp_1?stream=true&starting_after=6") as client:
            rest = [json.loads(frame.data) for frame in await client.read()]
        assert rest == whole[7:] and rest[0]["sequence_number"] == 7
        assert b"id:" not in client.data.replace(b'"id":', b"").replace(b"_id", b"")

    played(main, log, speed=math.inf)


# -- ends, heartbeats, loops -----------------------------------------------------------------------


def test_a_stream_that_is_followed_stays_open_and_shows_life_by_comments(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x") as client:
            frames = await client.read(35_000)
            assert len(frames) == 10 and client.state == "open"
            assert client.data.count(b": heartbeat\n\n") == 3
            beats = [at for at, piece in client.times if piece.startswith(b":")]
            assert beats == pytest.approx([10_900, 20_900, 30_900], abs=5)

    played(main, log)


def test_an_answer_to_one_request_ends_where_the_log_does() -> None:
    """Byte for byte, also where its last event lacks the blank line."""
    for path in sorted((DATA / "anthropic").glob("*/stream.sse")):

        async def main(app: ReplayApp, path: Path = path) -> None:
            async with Client(app, "/v1/messages", method="POST") as client:
                await client.read()
                assert client.state == "ended"
                assert client.data == path.read_bytes()

        played(main, path, speed=math.inf)


def test_a_loop_begins_anew_a_second_behind_the_end(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x") as client:
            frames = await client.read(900 + 1000 + 450)
        assert [frame.id for frame in frames] == [*map(str, range(1, 11)), *map(str, range(1, 6))]
        assert client.times[10][0] - client.times[9][0] == pytest.approx(1000, abs=3)

    played(main, log, loop=True)


def test_who_goes_on_in_the_middle_of_a_loop_gets_its_next_round_at_the_times_of_the_log(
    log: Path,
) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x", {"Last-Event-ID": "8"}) as client:
            await client.read(200 + 1000 + 950)
        times = [at for at, data in client.times if data.startswith(b"id: ")]
        later = [1200 + 100 * place for place in range(10)]
        assert times == pytest.approx([100, 200, *later], abs=5)

    played(main, log, loop=True)


def test_headers_say_what_it_is_and_that_nobody_may_keep_it(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x") as client:
            await client.read(5)
        assert client.status == 200
        assert client.headers == {
            "content-type": "text/event-stream",
            "cache-control": "no-cache, no-store",
            "x-accel-buffering": "no",
        }

    played(main, log)


def test_a_vercel_stream_has_the_header_that_its_clients_look_for() -> None:
    path = next((DATA / "vercel-ui").glob("*/stream.sse"))

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/api/chat", method="POST") as client:
            await client.read()
        assert client.headers["x-vercel-ai-ui-message-stream"] == "v1"

    played(main, path, speed=math.inf)


def test_what_is_no_stream_is_said(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        status, _, headers = await get(app, "/x", method="DELETE")
        assert (status, headers["allow"]) == (405, "GET, HEAD, POST")
        assert (await get(app, "/favicon.ico"))[0] == 404

    played(main, log)


@pytest.mark.parametrize("path", [None, DATA / "opencode" / "tools" / "stream.sse"])
def test_who_asks_by_head_whether_it_is_there_begins_no_replay(
    path: Path | None, log: Path
) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/event") as client:
            await client.read(1)
            expected = client.headers
        async with Client(app, "/@new/event", method="HEAD") as client:
            await client.read()
        assert (client.status, client.headers, client.data) == (200, expected, b"")
        assert client.state == "ended" and "new" not in app._replays and not app.clients

    played(main, path or log)


def test_a_log_that_cannot_be_read_any_more_is_told_once_and_no_stream_ends_as_if_it_did(
    tmp_path: Path,
) -> None:
    path = timed(tmp_path / "log.sqlite", wires(300), step=0)
    told: list[str] = []

    async def main() -> None:
        tape = open_tape([path], tell=told.append)
        app = ReplayApp(tape, Settings(speed=math.inf, closes=True), VirtualClock())
        with path.open("r+b") as file:
            file.truncate(4096)
        for _ in range(2):
            async with Client(app, "/x") as client:
                assert await client.read() == [] and client.state == "broken"
        assert len(told) == 1 and "log.sqlite: " in told[0], told
        tape.close()

    run(main())


@pytest.mark.parametrize("event_id", ["", "3"])
def test_a_loop_breaks_off_when_nothing_of_its_log_can_be_read(
    event_id: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rounds would follow each other without an event, and without a turn for anybody else."""
    rounds = 0
    events = Tape.events

    def counted(self: Tape, after: int = 0) -> Iterator[Taped]:
        nonlocal rounds
        rounds += 1
        assert rounds < 10
        return events(self, after)

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x", {"Last-Event-ID": event_id}) as client:
            assert await client.read(50)
            damage(log)
            await client.read()
            assert client.state == "broken"
        async with Client(app, "/x") as client:
            assert await client.read() == [] and client.state == "broken"

    monkeypatch.setattr(Tape, "events", counted)
    played(main, log, loop=True)


def damage(log: Path) -> None:
    """No record of it can be read any more."""
    database = sqlite3.connect(log)
    database.execute("UPDATE records SET sum = 0")
    database.commit()
    database.close()


def test_a_replay_goes_on_when_its_log_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(app: ReplayApp) -> None:
        events = Tape.events

        def failing(self: Tape, after: int = 0) -> Iterator[Taped]:
            for event in events(self, after):
                if event.position > 20 and locked:
                    raise LogLocked("locked")
                yield event

        locked = True
        monkeypatch.setattr(Tape, "events", failing)
        async with Client(app, "/event") as client:
            await client.read()
            assert client.state == "broken"
        assert (await get(app, "/session"))[0] == 500
        locked = False
        async with Client(app, "/@other/event") as client:
            await client.read(60_000)
        state = await get(app, "/@other/session")
        assert state[0] == 200 and state[1]
        assert await get(app, "/session") == state

    played(main, DATA / "opencode" / "tools" / "stream.sse", speed=10)


def test_a_protocol_that_nobody_knows_is_served_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.sse"
    data = b"event: x\ndata: hello\n\ndata: {}\n\n"
    path.write_bytes(data)

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x") as client:
            await client.read(100)
            assert client.data == data and client.state == "open"

    played(main, path)


# -- clients ---------------------------------------------------------------------------------------


def test_many_clients_are_each_at_their_own_place(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        async def follow(number: int) -> None:
            await asyncio.sleep(number / 100)
            async with Client(app, f"/{number}") as client:
                assert texts(await client.read(450)) == ["", "1 ", "2 ", "3 ", "4 "]

        await asyncio.gather(*map(follow, range(100)))
        assert app.clients == 0

    played(main, log)


@pytest.mark.parametrize("speed", [1e6, math.inf])
def test_a_client_that_does_not_read_holds_nothing_but_its_place(
    speed: float, tmp_path: Path
) -> None:
    """The server takes no event that the client has no room for, and the others are not kept up."""
    path = timed(tmp_path / "a.sqlite", wires(1_000), 1)

    async def main(app: ReplayApp) -> None:
        taken = 0
        read = app._tape.events

        def counted(after: int = 0) -> Any:
            nonlocal taken
            for event in read(after):
                taken += 1
                yield event

        app._tape.events = counted  # type: ignore[method-assign]
        async with Client(app, "/slow", room=8) as slow:
            await asyncio.sleep(30)
            assert slow.waiting == 8 and taken <= 10
            async with Client(app, "/quick") as quick:
                frames = await quick.read(1_000)
                assert len(frames) == 1_001
            assert slow.waiting == 8
            assert len(await slow.read(2_000)) == 1_001

    played(main, path, speed=speed)


def test_too_many_clients_are_told_to_come_back(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLIENTS", 2)

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/1"), Client(app, "/2"):
            await asyncio.sleep(0.1)
            status, _, headers = await get(app, "/3")
            assert status == 503 and headers["retry-after"] == "1"
        async with Client(app, "/3") as client:
            await client.read(10)
            assert client.status == 200

    played(main, log)


def test_replays_are_remembered_up_to_a_bound_those_in_use_always(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPLAYS", 3)

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/@a/x"):
            for name in "bcdefg":
                async with Client(app, f"/@{name}/x") as client:
                    await client.read(5)
            assert list(app._replays) == ["a", "f", "g"]
            async with Client(app, "/@h/x"), Client(app, "/@i/x"):
                await asyncio.sleep(0.01)
                assert (await get(app, "/@j/x"))[0] == 503

    played(main, log)


@pytest.mark.parametrize("name", ["test_a[1-x]", "test_a%5B1%2F2%5D", "n" * 300, "é@: "])
def test_the_name_of_any_test_is_one_of_a_replay(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(sample("block", 3).data())

    async def main(app: ReplayApp) -> None:
        async with Client(app, f"/@{quote(name, '%[@: ')}/x"):
            await asyncio.sleep(0.01)
        assert list(app._replays) == [unquote(name)]

    played(main, path)


def test_stopping_ends_every_stream(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/1") as one, Client(app, "/2", room=1) as two:
            await asyncio.sleep(0.25)
            app.stop()
            await one.read()
            await two.read()
            assert one.state == two.state == "broken" and app.clients == 0

    played(main, log)


# -- faults ----------------------------------------------------------------------------------------


def test_a_connection_that_is_cut_goes_on_where_it_was_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(sample("block", 3).data())
    clean = StreamStore()
    clean.open("native").feed(path.read_bytes())

    async def main(app: ReplayApp) -> None:
        store = StreamStore()
        connections = 0
        position = ""
        while True:
            connections += 1
            headers = {"last-event-id": position} if position else {}
            async with Client(app, "/x", headers) as client:
                await client.read(50)
                stream = store.open("native")
                stream.feed(client.data)
                position = stream.position.event_id or position
                stream.end()
                if client.state == "open":
                    break
        assert store.state()["sessions"] == clean.state()["sessions"]
        assert connections > 3

    played(main, path, speed=math.inf, faults=Faults.of("disconnect,drop,reorder,dup", every=10))


def test_what_a_connection_meets_depends_on_the_seed_its_replay_and_its_number(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(sample("block", 3).data())

    async def main(app: ReplayApp) -> list[bytes]:
        found = []
        for name in ("a", "a", "b"):
            async with Client(app, f"/@{name}/x") as client:
                await client.read(50)
                found.append(client.data)
        return found

    runs = [
        played(main, path, speed=math.inf, faults=Faults.of("disconnect", seed=seed))
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert len({*runs[0]}) == 3


def test_a_stall_lasts_as_long_as_it_should_and_then_it_goes_on(log: Path) -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/x") as client:
            await client.read(20_000)
            times = [at for at, _ in client.times]
            assert max(b - a for a, b in itertools.pairwise(times)) >= 4_999
            assert len(texts(await client.read(1))) == 10

    played(main, log, faults=Faults.of("stall", every=4, seed=2, stall_ms=5_000))


def test_nothing_is_left_when_the_clock_itself_fails(log: Path) -> None:
    """Whatever a stream's task raises is no secret, and the count of clients is right."""

    async def main() -> None:
        app = app_of(log)
        try:
            app._clock = Broken()  # type: ignore[assignment]
            client = Client(app, "/x")
            await client.__aenter__()
            with pytest.raises(ArithmeticError):
                await client.__aexit__()
            assert app.clients == 0
        finally:
            app._tape.close()

    run(main())


class Broken:
    def now(self) -> float:
        return 0.0

    async def sleep(self, ms: float) -> None:
        raise ArithmeticError
