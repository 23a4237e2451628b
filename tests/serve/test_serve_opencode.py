"""The REST reads of a served opencode log: what the real server said, and where its clients fit."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from asgi import Client, get, played

from streamstore.log import open_log
from streamstore.serve import opencode
from streamstore.serve.app import ReplayApp

DATA = Path(__file__).resolve().parent.parent / "data" / "opencode"


def files_of(case: Path) -> list[Path]:
    """A recording as it is given to `serve`: states stand before the log they belong to."""
    log = "stream" if (case / "stream.sse").exists() else "events"
    end = "sse" if log == "stream" else "jsonl"
    names = ["initial.json", f"{log}.{end}", "snapshot.json", f"{log}.2.{end}"]
    return [case / name for name in names if (case / name).exists()]


def wires_of(path: Path) -> list[Any]:
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line.removeprefix(b"data: ")) for line in lines if line.strip()]


async def reads(app: ReplayApp, expected: Any, base: str = "") -> dict[str, Any]:
    """Everything that a client reads, in the form of `expected.json`."""
    found: dict[str, Any] = {"messages": {}, "todo": {}, "diff": {}}
    _, sessions, _ = await get(app, f"{base}/session")
    found["sessions"] = sessions
    for name, path in (("status", "session/status"), ("permission",) * 2, ("question",) * 2):
        _, found[name], _ = await get(app, f"{base}/{path}")
    for info in sessions:
        session_id = info["id"]
        assert (await get(app, f"{base}/session/{session_id}"))[1] == info
        for name, path in (("messages", "message"), ("todo",) * 2, ("diff",) * 2):
            _, found[name][session_id], _ = await get(app, f"{base}/session/{session_id}/{path}")
    return {name: found[name] for name in expected}


CASES = sorted(path.name for path in DATA.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", CASES)
def test_at_the_end_the_reads_are_those_of_the_real_server(name: str) -> None:
    expected = json.loads((DATA / name / "expected.json").read_bytes())

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/event") as client:
            await client.read(10)
            assert await reads(app, expected) == expected

    played(main, *files_of(DATA / name), speed=1e9)


def test_all_recordings_of_the_corpus(corpora: Path | None) -> None:
    if corpora is None:
        pytest.skip("the recorded streams are not at hand")
    for case in sorted((corpora / "opencode").iterdir()):
        if not case.is_dir() or case.name == "global_event_race":  # the head of that one is lost
            continue
        expected = json.loads((case / "expected.json").read_bytes())

        async def main(app: ReplayApp, expected: Any = expected) -> None:
            async with Client(app, "/event") as client:
                await client.read(10)
                assert await reads(app, expected) == expected

        played(main, *files_of(case), speed=1e9)


def test_the_state_is_that_of_the_time_and_has_no_delta_in_it() -> None:
    """As the real one: a read in the middle of an answer has "" for the part that streams."""
    log = DATA / "tools" / "stream.sse"
    arrivals = json.loads((DATA / "tools" / "arrival_ms.json").read_bytes())
    wires = wires_of(log)
    place = next(
        n
        for n, wire in enumerate(wires)
        if wire["type"] == wires[n + 1]["type"] == "message.part.delta"
        and wire["properties"]["partID"] == wires[n + 1]["properties"]["partID"]
        and arrivals[n + 1] > arrivals[n] + 4
    )
    body = wires[place]["properties"]

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/event") as client:
            await client.read(arrivals[place] + 2)
            assert "message.part.delta" in client.data.decode()
            path = f"/session/{body['sessionID']}/message/{body['messageID']}"
            _, message, _ = await get(app, path)
            part = next(part for part in message["parts"] if part["id"] == body["partID"])
            assert part["text"] == "" and "end" not in part["time"]
            _, status, _ = await get(app, "/session/status")
            assert status[body["sessionID"]]["type"] == "busy"

    played(main, log)


def test_messages_are_paged_from_the_latest_back() -> None:
    async def main(app: ReplayApp) -> None:
        async with Client(app, "/event") as client:
            await client.read(10)
            _, sessions, _ = await get(app, "/session")
            path = f"/session/{sessions[0]['id']}/message"
            _, everything, headers = await get(app, path)
            assert len(everything) > 3 and "x-next-cursor" not in headers
            for limit in (1, 2, len(everything)):
                found: list[Any] = []
                query, pages = f"?limit={limit}", 0
                while query:
                    _, page, headers = await get(app, path + query)
                    assert len(page) <= limit
                    found = page + found
                    pages += 1
                    cursor = headers.get("x-next-cursor")
                    query = f"?limit={limit}&before={cursor}" if cursor else ""
                assert found == everything and pages == -(-len(everything) // limit)
            for wrong in ("?limit=x", "?limit=-1", "?before=abc", "?limit=1&before=%7B%7D"):
                assert (await get(app, path + wrong))[0] == 400

    played(main, DATA / "tools" / "stream.sse", speed=1e9)


def test_what_there_is_not_and_what_cannot_be_done_is_said_as_json() -> None:
    async def main(app: ReplayApp) -> None:
        for path in ("/session/ses_x", "/session/ses_x/message", "/nothing", "/", "/api/event"):
            status, value, _ = await get(app, path)
            assert status == 404 and value["name"] == "NotFoundError"
        status, value, _ = await get(app, "/session/ses_x/prompt_async", method="POST")
        assert status == 501 and "recording" in value["data"]["message"]

    played(main, DATA / "tools" / "stream.sse")


def test_children_of_a_session_and_parts_with_half_a_surrogate() -> None:
    state = {
        "sessions": [{"id": "a"}, {"id": "b", "parentID": "a"}],
        "messages": {"a": [{"info": {"id": "m"}, "parts": [{"text": "\ud83d"}]}]},
        "status": {}, "todo": {}, "diff": {},
    }  # fmt: skip
    assert opencode.read("/session/a/children", {}, state).value == [state["sessions"][1]]
    assert opencode.read("/session/a/message/m", {}, state).value["parts"][0]["text"] == "\ud83d"
    assert opencode.read("/session/a/message/n", {}, state).status == 404
    assert opencode.read("/session/b/todo", {}, state).value == []


def test_ids_in_a_path_are_decoded_once() -> None:
    state = {"sessions": [{"id": "a/b"}, {"id": "%41"}], "messages": {}, "status": {}}
    assert opencode.read("/session/a%2Fb", {}, state).value == {"id": "a/b"}
    assert opencode.read("/session/%2541", {}, state).value == {"id": "%41"}
    assert opencode.read("/session/a/b", {}, state).status == 404


# -- the stream ------------------------------------------------------------------------------------


def wires_in(frames: list[Any]) -> list[Any]:
    return [json.loads(frame.data) for frame in frames]


def test_each_connection_begins_with_its_own_greeting_and_beats_by_events() -> None:
    log = DATA / "tools" / "events.jsonl"
    recorded = [wire for wire in wires_of(log) if wire["type"] != "server.connected"]

    async def main(app: ReplayApp) -> None:
        for count in (1, 2):
            async with Client(app, f"/@{count}/event") as client:
                frames = wires_in(await client.read(25_000))
                assert client.headers["content-type"] == "text/event-stream"
                assert frames[0] == {"type": "server.connected", "properties": {}}
                assert frames[1 : len(recorded) + 1] == recorded
                beats = frames[len(recorded) + 1 :]
                assert len(beats) == 2
                assert {frame["type"] for frame in beats} == {"server.heartbeat"}
                assert b"id:" not in client.data.replace(b'"id":', b"")

    played(main, log, speed=1e9)


def test_who_comes_later_joins_where_it_is_and_reads_the_rest() -> None:
    log = DATA / "tools" / "stream.sse"
    arrivals = json.loads((DATA / "tools" / "arrival_ms.json").read_bytes())
    wires = wires_of(log)

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/event") as first:
            await first.read(arrivals[100] + 2)
            async with Client(app, "/event") as second:
                late = wires_in(await second.read(arrivals[-1]))
                early = wires_in(await first.read(1))
            start = next(n for n, wire in enumerate(wires) if wire == late[1])
            assert 100 < start < 140 and late[1:] == wires[start:]
            assert early[1:] == wires[1:]
            # Another replay has its own time.
            async with Client(app, "/@other/event") as third:
                frames = wires_in(await third.read(100))
                assert frames[1] == wires[1]

    played(main, log)


def test_a_pause_is_cut_down_for_all_alike_and_the_state_is_that_of_the_time(
    tmp_path: Path,
) -> None:
    """Whoever joins, before or behind the hours in which the laptop slept."""
    found = wires_of(DATA / "tools" / "stream.sse")[:40]
    log = tmp_path / "slept.jsonl"
    with open_log(log) as writer:
        for place, wire in enumerate(found):
            writer.append(json.dumps(wire), time_ms=100 * place + 8 * 3_600_000 * (place > 19))

    async def main(app: ReplayApp) -> None:
        async with AsyncExitStack() as stack:
            clients = []
            for wait in (0, 1.95, 1.5, 1.0):  # at 0, 1.95 s, 3.45 s, 4.45 s
                await asyncio.sleep(wait)
                clients.append(await stack.enter_async_context(Client(app, "/event")))
            await asyncio.sleep(3)
            seen = [wires_in(await client.read(1)) for client in clients]
        for frames, start in zip(seen, (0, 20, 20, 26), strict=True):
            kept = [wire for wire in found[start:] if wire["type"] not in opencode.OF_CONNECTION]
            assert frames[1:] == kept
        # The hours are two seconds: what is behind them comes from 3.9 s on, to all at once.
        times = [[at for at, _ in client.sent][-14:] for client in clients]
        assert times[0] == times[1] == times[2] == times[3]
        assert times[0] == pytest.approx([4_500 + 100 * n for n in range(14)])

    played(main, log, longest_pause_ms=2_000.0)


def test_nobody_loses_what_is_sent_while_time_stands_still_for_want_of_readers() -> None:
    """As fast as it goes: nothing happens before somebody takes it."""
    log = DATA / "tools" / "stream.sse"
    wires = wires_of(log)

    async def main(app: ReplayApp) -> None:
        async with Client(app, "/event", room=10) as slow:
            await asyncio.sleep(0.05)
            _, sessions, _ = await get(app, "/session")
            assert slow.waiting == 10 and len(sessions) == 1
            _, messages, _ = await get(app, f"/session/{sessions[0]['id']}/message")
            taken = len(messages)
        async with Client(app, "/event") as client:
            frames = wires_in(await client.read(1))
            start = next(n for n, wire in enumerate(wires) if wire == frames[1])
            assert 8 < start < 16 and frames[1:] == wires[start:]
            _, messages, _ = await get(app, f"/session/{sessions[0]['id']}/message")
            assert len(messages) > taken

    played(main, log, speed=float("inf"))


def test_the_envelope_is_that_of_the_path_whatever_the_log_has() -> None:
    wrapped, plain = DATA / "global_event" / "events.jsonl", DATA / "tools" / "events.jsonl"

    async def main(app: ReplayApp) -> tuple[list[Any], list[Any]]:
        found = []
        for path in ("/@a/event", "/@b/global/event"):
            async with Client(app, path) as client:
                found.append(wires_in(await client.read(5)))
        return found[0], found[1]

    own, put_in = played(main, plain, speed=1e9)
    assert own[1:] == wires_of(plain)[1:]
    assert put_in[0] == {"payload": own[0]}
    assert put_in[1:] == [{"directory": "/project", "payload": wire} for wire in own[1:]]
    taken_out, own = played(main, wrapped, speed=1e9)
    assert own[1:] == wires_of(wrapped)[1:]
    payloads = [wire["payload"] for wire in own]
    assert taken_out == [wire for wire in payloads if wire["type"] != "sync"]


def test_where_the_recording_has_a_gap_the_connection_breaks_and_the_state_has_what_was_lost() -> (
    None
):
    case = DATA / "reconnect_gap"
    first, second = wires_of(case / "events.jsonl"), wires_of(case / "events.2.jsonl")

    async def main(app: ReplayApp) -> None:
        for wires in (first, second):
            async with Client(app, "/event") as client:
                frames = wires_in(await client.read(1_000))
                assert frames[1:] == wires[1:]
                assert client.state == ("broken" if wires is first else "open")

    played(main, *files_of(case), speed=float("inf"))


def test_a_loop_ends_each_round_as_a_server_that_starts_anew() -> None:
    log = DATA / "question" / "events.jsonl"
    wires = wires_of(log)

    async def main(app: ReplayApp) -> None:
        ids: list[str] = []
        for number in range(1, 4):
            async with Client(app, "/event") as client:
                frames = wires_in(await client.read(60_000))
                assert client.state == "ended"
                assert frames[-1]["type"] == "server.instance.disposed"
                kinds = [frame["type"] for frame in frames[1:-1]]
                assert kinds == [wire["type"] for wire in wires[1:]]
                if number == 1:
                    assert frames[1:-1] == wires[1:]
                ids += [frame["id"] for frame in frames[1:-1]]
            assert len((await get(app, "/session"))[1]) == 1
        # The events of each round are others, and later ones.
        assert ids == sorted(set(ids)) and len(ids) == 3 * (len(wires) - 1)

    played(main, log, loop=True)
