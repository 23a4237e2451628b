"""`streamstore record`: what was on the wire is in the log, through drops, full disks and signals."""

from __future__ import annotations

import argparse
import asyncio
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from disks import MemoryDisk
from hypothesis import given
from hypothesis import strategies as st
from test_client_connection import anthropic_events, delta, frame, frames
from virtual import Answer, VirtualClock, VirtualTransport, events, run, served

import streamstore.log.writing as log_writing
from streamstore import CallerError, Limits, StreamStore
from streamstore.adapters.native import NativeAdapter
from streamstore.client import (
    ConnectionLost,
    PoisonedStream,
    Request,
    StreamRefused,
    StreamSilent,
    connect,
)
from streamstore.feeding import connections, feed_all, feed_bytes
from streamstore.log import DiskError, LogLocked, Record, UnsupportedLog, open_log, read_log
from streamstore.log.lines import HEADER
from streamstore.log.sqlite import SqliteLog
from streamstore.recording import Recording, Standing
from streamstore.recording.command import StatusLine, _say, add_to, record, recording_of
from streamstore.recording.wire import Catch, Caught
from streamstore.sse import EventStreamParser

URL = "http://server/events"
WALL = 1_000_000_000_000
ENDINGS = ["jsonl", "sqlite"]


def make(transport: VirtualTransport, path: Any, **options: Any) -> Recording:
    options.setdefault("clock", VirtualClock(wall=WALL))
    options.setdefault("chance", lambda: 0.0)
    return Recording(URL, str(path), transport=transport, **options)


def recorded(path: Any) -> list[Record]:
    with read_log(str(path)) as log:
        return list(log.read())


def after(recording: Recording, seconds: float) -> Standing:
    """Record for so long."""

    async def main() -> Standing:
        asyncio.get_running_loop().call_later(seconds, recording.stop)
        return await recording.run()

    return run(main())


def failed(recording: Recording, kind: type[Exception]) -> Exception:
    with pytest.raises(kind) as caught:
        run(recording.run())
    return caught.value


def fold(path: Any, protocol: str = "auto") -> Any:
    store = StreamStore()
    feed_all(store, connections([str(path)]), protocol)
    return shown(store)


def shown(store: StreamStore) -> Any:
    store.flush()
    state = store.state()
    del state["counts"]["work"]  # that of its ticks
    return state


# --- what is recorded -----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_on_the_wire_is_in_the_log(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"log.{ending}"
    first = [
        b': hi\n\nid: 1\nevent: x\ndata: {"a":  1}\n\n', 250, b"data: no JSON {\nda", 250,
        b"ta: and \xff no UTF-8\r\n\r\nid: 2\ndata: {}\n\n: a comment\ndata: cut o",
    ]  # fmt: skip
    transport = VirtualTransport(served(events(*first), events(b"data: two\n\n", drop=False)))
    standing = after(make(transport, path), 10)
    assert recorded(path) == [
        Record(1, WALL, "1", "x", 1, b'{"a":  1}'),
        Record(2, WALL + 500, "", "", 1, b"no JSON {\nand \xff no UTF-8"),
        Record(3, WALL + 500, "2", "", 1, b"{}"),
        Record(4, WALL + 1500, "", "", 2, b"two"),
    ]
    assert standing.events == standing.position == standing.durable_position == 4
    assert (standing.connections, standing.reconnects, transport.open_now) == (2, 1, 0)
    assert transport.requests[1].headers["last-event-id"] == "2"
    assert transport.closed is False  # a given transport is the caller's


lines = st.sampled_from(
    [
        b"data: {}", b"data:\xff\xfe", b"data: \xc3", b"data: \xa9", b"data", b"event: \xe9x",
        b"event: message", b"id: 7", b"id: \xf0\x9f\x98\x80", b"id", b"id: \xff", b": note",
        b"retry: 1", b"", b"", b"\xef\xbb\xbfdata: 1", b"x: y",
    ]
)  # fmt: skip
bodies = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r", b"\r\n"]))).map(
    lambda found: b"".join(map(b"".join, found))
)


@given(st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"]), bodies, st.lists(st.integers(0, 300)))
def test_what_is_caught_reads_as_the_parser_reads_the_wire(
    head: bytes, body: bytes, cuts: list[int]
) -> None:
    data = head + body
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    catch = Catch()
    caught = [event for a, b in pairwise(places) for event in catch.feed(data[a:b])]
    parser = EventStreamParser()
    expected = [(f.event, f.data) for f in parser.feed(data)]
    assert [(e.name or "message", e.data.decode("utf-8", "replace")) for e in caught] == expected
    assert catch.last_event_id == parser.last_event_id
    assert catch.comments == parser.comments
    # Byte for byte: what each data line said, wherever the bytes were cut.
    assert all(part in data for event in caught for part in event.data.split(b"\n"))


@given(st.lists(st.sampled_from(["", "1", "2", "3"]), max_size=6))
def test_ids_in_force_are_those_of_the_wire_when_the_log_is_fed_again(ids: list[str]) -> None:
    data = b"".join(b"id: %s\ndata: x\n\n" % i.encode() if i else b"data: x\n\n" for i in ids)
    caught = Catch().feed(data)
    again = [
        Record(n, None, e.event_id, e.name, 1, e.data).frame() for n, e in enumerate(caught, 1)
    ]
    assert EventStreamParser().feed(b"".join(again)) == EventStreamParser().feed(data)


def test_an_event_too_long_for_a_log_is_counted_and_the_rest_recorded(tmp_path: Path) -> None:
    long = b"data: " + b"x" * (log_writing.PAYLOAD_BYTES + 1) + b"\n\n"
    name = b"event: " + b"y" * 5000 + b"\ndata: 1\n\n"
    path = tmp_path / "log.jsonl"
    body = events(b"data: a\n\n", long, name, b"data: b\n\n", drop=False)
    standing = after(make(VirtualTransport(served(body)), path), 1)
    assert [record.data for record in recorded(path)] == [b"a", b"b"]
    assert standing.skipped == 2 and "2 events too long to keep" in standing.line()


def test_an_event_that_is_recorded_and_that_no_replay_takes_is_told_at_once(tmp_path: Path) -> None:
    most = Limits().event_line_bytes
    wire = b'{"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": %d, "text": "%s"}'
    room = most - len(b"data: " + wire % (1, b""))
    for more, large in ((0, 0), (1, 1)):
        path = tmp_path / f"{more}.jsonl"
        long = b"data: " + wire % (1, b"x" * (room + more)) + b"\n\n"
        body = events(long, b"data: " + wire % (2, b"y") + b"\n\n", drop=False)
        standing = after(make(VirtualTransport(served(body)), path), 1)
        assert (standing.events, standing.skipped, standing.large) == (2, 0, large)
        says = "1 event too long for a store's usual limits"
        assert (says in standing.line()) == (says in standing.summary("log")) == (large == 1)
        told: list[str] = []
        for connection in connections([str(path)]):
            assert connection.log is not None
            feed_bytes(StreamStore().open("native"), connection.log.judged(told.append))
        assert len(told) == large, "a replay says so, too"


def test_a_stream_of_no_known_protocol_is_recorded_to_its_end(tmp_path: Path) -> None:
    """The store gives up on it after a while; the recording goes on, and resumes by the last id."""
    bodies = [b'id: %d\ndata: {"what": %d}\n\n' % (n, n) for n in range(3000)]
    transport = VirtualTransport(
        served(events(*bodies[:2000]), events(*bodies[2000:]), events(drop=False))
    )
    path = tmp_path / "log.jsonl"
    standing = after(make(transport, path), 10)
    assert standing.events == 3000
    assert "no protocol" in standing.blind and "gaps unknown" in standing.line()
    sent = [request.headers.get("last-event-id") for request in transport.requests]
    assert sent == [None, "1999", "2999"]


def test_a_mistake_of_an_adapter_costs_nothing_of_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, wire: Any) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(NativeAdapter, "decode", broken)
    path = tmp_path / "log.jsonl"
    transport = VirtualTransport(
        served(events(frame({"type": "session.status"}, 1)), events(*frames(2, 4), drop=False))
    )
    standing = after(make(transport, path, protocol="native"), 5)
    assert standing.blind == "ZeroDivisionError: oh"
    assert transport.requests[1].headers["last-event-id"] == "1"
    assert [record.event_id for record in recorded(path)] == ["1", "2", "3", "4"]


# --- drops, and the same state --------------------------------------------------------------------


def resumable(seed: int, count: int = 60) -> Callable[[Request], Answer]:
    """A server that cuts connections at any byte, sends some events twice, and can resume."""
    random = Random(seed)

    def serve(request: Request) -> Answer:
        last = int(request.headers.get("last-event-id", "0"))
        first = max(1, last + 1 - random.randrange(4))
        body = b"".join(frames(first, count))
        pieces: list[Any] = []
        rest = body if random.random() < 0.3 else body[: random.randrange(len(body) + 1)]
        done = rest == body
        while rest:
            size = random.randrange(1, 400)
            pieces += [rest[:size], random.randrange(200)]
            rest = rest[size:]
        return Answer(body=[*pieces, None if done else ConnectionLost("cut")])

    return serve


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("seed", range(12))
def test_the_fold_of_a_recording_is_the_state_of_a_store_that_was_connected(
    tmp_path: Path, seed: int, ending: str
) -> None:
    path = tmp_path / f"log.{ending}"
    recording = make(VirtualTransport(resumable(seed)), path, protocol="native")
    standing = after(recording, 400)

    async def live() -> StreamStore:
        store = StreamStore()
        transport = VirtualTransport(resumable(seed))
        async with connect(
            URL, store=store, protocol="native", transport=transport, clock=VirtualClock(),
            chance=lambda: 0.0,
        ):  # fmt: skip
            await asyncio.sleep(400)
        return store

    state = shown(run(live()))
    assert fold(path, "native") == state
    (message,) = state["sessions"]["s"]["messages"]
    assert message["parts"][0]["text"] == "".join(f"{n} " for n in range(1, 61))
    numbers = [record.connection for record in recorded(path)]
    assert numbers == sorted(numbers) and max(numbers) <= standing.connections
    assert standing.gaps == 0


def test_a_recording_goes_on_where_its_log_ends(tmp_path: Path) -> None:
    """As often as it is stopped: at every count of events, in two kinds of log."""
    for ending in ENDINGS:
        path = tmp_path / f"log.{ending}"
        sent: list[str | None] = []
        for most in (1, 2, 7, 13):

            def serve(request: Request, sent: list[str | None] = sent) -> Answer:
                last = request.headers.get("last-event-id")
                sent.append(last)
                left = frames(int(last or 0) + 1, 23)
                # At once, and one close behind the other.
                return Answer(body=[b"".join(left[:3]), *left[3:], None])

            recording = make(
                VirtualTransport(serve), path, protocol="native", resume=True, most_events=most
            )
            standing = run(recording.run())
            assert standing.events == most  # exactly, however many came at once
        records = recorded(path)
        assert [json.loads(record.data)["seq"] for record in records] == list(range(1, 24))
        assert [r.connection for r in records] == [1] + [2] * 2 + [3] * 7 + [4] * 13
        assert sent == [None, "1", "3", "10"]


def test_resuming_goes_back_to_before_the_first_hole(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    opened = frame({"type": "stream.opened", "sequencing": "block"})
    body = [opened, *frames(1, 3), *frames(6, 8)]
    first = make(VirtualTransport(served(events(*body, drop=False))), path, most_events=7)
    assert run(first.run()).gaps == 1
    transport = VirtualTransport(served(events(*frames(4, 9), drop=False)))
    after(make(transport, path, resume=True), 5)
    assert transport.requests[0].headers["last-event-id"] == "3"
    (message,) = fold(path)["sessions"]["s"]["messages"]
    assert message["parts"][0]["text"] == "1 2 3 4 5 6 7 8 9 "


@pytest.mark.parametrize("protocol", ["native", "auto"])
@pytest.mark.parametrize(("ids", "resume"), [(False, True), (True, True), (False, False)])
def test_resuming_a_log_without_ids_is_told(
    tmp_path: Path, protocol: str, ids: bool, resume: bool
) -> None:
    path = tmp_path / "log.jsonl"
    plain = [frame(delta(number)) for number in (1, 2)]
    sent = frames(1, 2) if ids else plain
    for again in (False, True):
        said: list[str] = []
        transport = VirtualTransport(served(events(*sent, drop=False)))
        after(
            make(transport, path, protocol=protocol, resume=again and resume, tell=said.append), 3
        )
        told = again and resume and not ids
        assert len(said) == told and all("none of its events has an id" in line for line in said)


def test_without_resume_a_log_is_appended_to_and_the_stream_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for number in (1, 2):
        transport = VirtualTransport(served(events(*frames(1, 2), drop=False)))
        after(make(transport, path), 3)
        assert "last-event-id" not in transport.requests[0].headers
        assert [r.connection for r in recorded(path)] == [1, 1, 2, 2][: 2 * number]


@pytest.mark.parametrize("ending", ENDINGS)
def test_where_the_last_record_is_lost_a_further_connection_has_a_number_of_its_own(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"log.{ending}"
    for last in (2, 3):
        after(make(VirtualTransport(served(events(*frames(1, last), drop=False))), path), 3)
    data = path.read_bytes()
    payload = recorded(path)[-1].data
    path.write_bytes(data.replace(payload, payload.replace(b"3", b"4")))
    after(make(VirtualTransport(served(events(*frames(1, 2), drop=False))), path), 3)
    with read_log(str(path)) as log:
        assert [r.connection for r in log.read(on_loss=lambda loss: None)] == [1, 1, 2, 2, 3, 3]


def test_gaps_and_reconnects_that_resume_nothing_are_told(tmp_path: Path) -> None:
    """opencode's events have no ids: what is sent between two connections is lost."""
    data = (Path(__file__).parent.parent / "data/opencode/tools/stream.sse").read_bytes()
    cut = data.index(b"message.part.delta") + 400
    transport = VirtualTransport(served(events(data[:cut]), events(data[cut + 3000 :], drop=False)))
    path = tmp_path / "log.jsonl"
    standing = after(make(transport, path), 10)
    assert standing.reconnects == standing.unrepaired == 1
    assert standing.gaps > 0 and len(fold(path)["gaps"]) == standing.gaps
    assert f"{standing.gaps} gap" in standing.line()
    assert "1 reconnect, 1 of them not resumed" in standing.line()


def sessions_with_a_hole(first: int, last: int) -> list[Any]:
    """One of them every two seconds; the second event of each is missing."""
    found: list[Any] = []
    for number in range(first, last + 1):
        wire = {"type": "block.delta", "sessionId": f"s{number}", "messageId": "m", "blockIndex": 0}
        pairs = ((1, 2 * number), (3, 2 * number + 1))
        pieces = [frame({**wire, "seq": seq, "text": "x"}, id) for seq, id in pairs]
        found += [b"".join(pieces), 2_000]
    return found


OPENED = frame({"type": "stream.opened", "sequencing": "block"})


def test_a_recording_of_days_holds_the_last_sessions_and_counts_the_gaps_of_all(
    tmp_path: Path,
) -> None:
    """What it lets go is in the log, and what comes for it later is recorded as everything is."""
    path, count = tmp_path / "log.jsonl", 400
    late = sessions_with_a_hole(1, 1)
    bodies = [
        events(OPENED, *sessions_with_a_hole(1, count), *late),
        events(OPENED, *sessions_with_a_hole(count + 1, count + 1), drop=False),
    ]
    transport = VirtualTransport(served(*bodies))
    recording = make(transport, path, protocol="native")
    seen: list[int] = []

    async def main() -> Standing:
        asyncio.get_running_loop().call_later(2 * count + 20, recording.stop)
        return await recording.run(lambda _: seen.append(len(recording._store.session_ids())))

    standing = run(main())
    assert max(seen) <= 257
    assert len(recording._store.session_ids()) == 256
    assert standing.let_go == count + 1 - 256
    assert standing.gaps == count + 1
    assert standing.events == len(recorded(path)) == 2 + 2 * (count + 2)
    # The position moves on with what the store does not look at any more; the first hole is one
    # of a session that it still has.
    assert transport.requests[1].headers["last-event-id"] == str(2 * (count - 255))


def test_resuming_a_long_log_holds_no_more_than_recording_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    sent = [piece for piece in sessions_with_a_hole(1, 1_500) if isinstance(piece, bytes)]
    once = make(VirtualTransport(served(events(OPENED, *sent))), path, once=True)
    failed(once, ConnectionLost)
    recording = make(
        VirtualTransport(served(events(drop=False))), path, protocol="native", resume=True,
    )  # fmt: skip
    store, seen = recording._store, [0]
    store.subscribe(lambda changes: seen.append(len(store.session_ids())))
    standing = after(recording, 5)
    assert max(seen) <= 256 + 1_000  # it looks every 1,000 records
    assert len(store.session_ids()) == 256
    assert (standing.let_go, standing.gaps) == (1_500 - 256, 1_500)


def test_the_end_of_an_answer_to_a_post_ends_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    transport = VirtualTransport(served(Answer(body=[b"data: {}\n\n"])))
    standing = run(make(transport, path, json={"q": 1}).run())
    assert (standing.events, standing.state, standing.reason) == (1, "ended", "all of it has come")
    assert (transport.requests[0].method, transport.requests[0].body) == ("POST", b'{"q":1}')
    with pytest.raises(CallerError, match="only a GET can be resumed"):
        make(transport, path, json={"q": 1}, resume=True)


def test_an_answer_to_a_post_that_ends_in_the_middle_is_recorded_and_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    sent = anthropic_events()[:5]
    transport = VirtualTransport(served(Answer(body=[*sent, b"data: cut o"])))
    code, out, err = command(transport, str(path), "--json", "{}")
    assert code == 2
    assert err == (
        "streamstore: the answer ended in the middle: part 0 of message 'msg_1' was still streaming\n"
    )
    assert "5 events" in out and "1 gap" in out and "positions 1 to 5 are safe" in out
    assert [b"data: " + found.data + b"\n\n" for found in recorded(path)] == [
        event.partition(b"\n")[2] for event in sent
    ]


@pytest.mark.parametrize("most", range(1, len(anthropic_events()) + 1))
@pytest.mark.parametrize("together", [True, False])
def test_so_many_events_of_an_answer_are_what_was_asked_for(
    tmp_path: Path, most: int, together: bool
) -> None:
    """Its end comes at once behind them, and cuts nothing that was to be recorded."""
    path = tmp_path / "log.jsonl"
    body = [b"".join(anthropic_events())] if together else anthropic_events()
    for sent in (body, [*body, b"data: {"], body[:most]):
        transport = VirtualTransport(served(Answer(body=sent)))
        recording = make(transport, path, json={}, most_events=most)
        assert run(recording.run()).events == most
        path.unlink()


@pytest.mark.parametrize("protocol", ["auto", "anthropic"])
def test_what_the_store_does_not_take_is_no_end_in_the_middle(
    tmp_path: Path, protocol: str
) -> None:
    odd = b"".join(b'data: {"odd": %d}\n\n' % n for n in range(70))
    for cut in range(0, 40, 3):
        path = tmp_path / f"log{cut}.jsonl"
        body = [odd[: -cut or None], odd[-cut:] if cut else b"", odd]
        standing = run(
            make(
                VirtualTransport(served(Answer(body=body))), path, json={}, protocol=protocol
            ).run()
        )
        assert standing.events == 140 and standing.reason == "all of it has come"


def test_once_ends_at_the_first_drop(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    transport = VirtualTransport(served(events(b"data: {}\n\n")))
    failed(make(transport, path, once=True), ConnectionLost)
    assert len(transport.requests) == 1 and len(recorded(path)) == 1


def test_a_recording_ends_after_its_time(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    body = [piece for _ in range(100) for piece in (b"data: {}\n\n", 1000)]
    recording = make(VirtualTransport(served(events(*body))), path, most_ms=7_500)
    standing = run(recording.run())
    assert standing.events == len(recorded(path)) == 8 and standing.ms == 7_500


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(404, {}), StreamRefused),
        (Answer(200, {"content-type": "text/html"}, [b"hi"]), StreamRefused),
        (events(b"id: 1\ndata: {}\n\ndata: poi"), PoisonedStream),
    ],
)
def test_a_server_that_cannot_be_followed_ends_it_with_all_that_came(
    tmp_path: Path, answer: Any, kind: type[Exception]
) -> None:
    path = tmp_path / "log.jsonl"
    transport = VirtualTransport(served(answer))
    recording = make(transport, path)
    failed(recording, kind)
    assert len(recorded(path)) == recording.standing.durable_position
    assert transport.open_now == 0


def test_a_silent_server_is_left_by_the_watchdog(tmp_path: Path) -> None:
    transport = VirtualTransport(served(events(b"data: {}\n\n", drop=False)))
    standing = after(make(transport, tmp_path / "log.jsonl"), 100)
    assert standing.reconnects == 2 and standing.events == 3
    failed(make(transport, tmp_path / "log.jsonl", once=True), StreamSilent)


def test_cancelled_at_any_time_it_leaves_a_whole_log_and_nothing_open(tmp_path: Path) -> None:
    for at in range(40):
        path = tmp_path / f"{at}.jsonl"
        transport = VirtualTransport(resumable(3))

        async def main(path: Path = path, at: int = at, transport: Any = transport) -> None:
            task = asyncio.ensure_future(make(transport, path, protocol="native").run())
            for _ in range(at * 5):
                await asyncio.sleep(0.05 if at % 2 else 0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main())
        assert transport.open_now == 0
        if path.exists():
            recorded(path)
            open_log(path).close()


# --- disks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_second_writer_is_refused_before_anything_is_asked(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"log.{ending}"
    transport = VirtualTransport(served(events(b"data: {}\n\n")))
    with open_log(path):
        failed(make(transport, path), LogLocked)
    assert transport.requests == []


def test_a_file_that_is_no_log_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    transport = VirtualTransport(served(events(b"data: {}\n\n")))
    failed(make(transport, path), UnsupportedLog)
    assert path.read_text() == "my notes\n" and transport.requests == []
    assert "no such folder" in str(failed(make(transport, tmp_path / "no" / "log"), CallerError))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_disk_that_fails_ends_it_and_nothing_is_claimed_that_is_not_safe(
    number: int, part: float
) -> None:
    """At every operation of the disk: opening, each append, each sync."""
    clean = MemoryDisk()
    body = [piece for f in frames(1, 6) for piece in (f, 700)]

    def recording(disk: MemoryDisk) -> tuple[Recording, VirtualTransport]:
        transport = VirtualTransport(served(events(*body, drop=False)))
        return make(transport, "log", protocol="native", disk=disk, most_ms=10_000), transport

    run(recording(clean)[0].run())
    outcomes = set()
    for place in range(1, len(clean.operations) + 1):
        disk = MemoryDisk(fail_at=place, error=number, part=part, lasting=True)
        (made, transport), problem = recording(disk), ""
        try:
            run(made.run())
        except DiskError as error:
            problem = str(error)
        standing = made.standing
        assert transport.open_now == 0
        assert not disk.locked
        with open_log("log", disk=MemoryDisk(disk.now())) as log:
            kept = log.position
        assert standing.durable_position <= kept
        outcomes.add((bool(problem), standing.durable_position))
        if problem:
            assert os.strerror(number) in problem and "\n" not in problem
            safe = standing.durable_position
            assert f"up to {safe} are safe" in problem or standing.events == 0
            line = standing.summary("log")
            assert ("nothing new" in line) == (safe == 0)
    # It failed at different places, and no sync came between two events of one second. The last
    # one is that of the close, which looks once more whether all of it is there.
    assert outcomes == {(True, 0), (True, 2), (True, 3), (True, 5), (True, 6)}


# --- the command ----------------------------------------------------------------------------------


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_to(parser.add_subparsers(dest="command"))
    return parser.parse_args(["record", *words])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def command(
    transport: VirtualTransport, *words: str, err: io.StringIO | None = None, width: int = 80
) -> tuple[int, str, str]:
    out, err = io.StringIO(), err if err is not None else io.StringIO()
    arguments = parsed(URL, *words)
    recording = recording_of(
        arguments, lambda line: _say(line, err), transport=transport,
        clock=VirtualClock(wall=WALL), chance=lambda: 0.0,
    )  # fmt: skip
    code = run(record(recording, StatusLine(err, arguments.every, width), out, err))
    return code, out.getvalue(), err.getvalue()


def test_in_a_pipe_it_says_now_and_then_how_it_is_going_and_at_the_end_what_is_safe(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "log.jsonl")
    body = [piece for f in frames(1, 45) for piece in (f, 1000)]
    code, out, err = command(
        VirtualTransport(served(events(*body, drop=False))), path, "--for", "45"
    )
    assert code == 0
    size = sum(len(record.data) for record in recorded(path))
    assert out == (
        f"{path}: 45 events ({size / 1000:.1f} kB) of 1 connection in 45.0 s, 0 gaps; "
        "positions 1 to 45 are safe\n"
    )
    lines = err.splitlines()
    assert len(lines) == 4 and all(line.startswith("open: ") for line in lines)
    assert lines[0].startswith("open: 1") and ", 1.0/s, connection 1, 0 gaps" in lines[2]


def test_a_server_that_never_came_is_told_at_the_end(tmp_path: Path) -> None:
    """Before the first status line is due, the summary is all that is said."""
    waits = "; waiting at its end: http://server/events answered 500"
    for seconds, waited in (("0.5", True), ("5", False)):
        answers = served(Answer(500, {}), events(*frames(1, 2), 9000, drop=False))
        path = str(tmp_path / f"{seconds}.jsonl")
        code, out, err = command(VirtualTransport(answers), path, "--for", seconds)
        assert (code, err) == (0, "")
        assert out.endswith(f"{waits}\n") == waited


def test_a_log_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CallerError, match="a log is a file"):
        command(VirtualTransport(served(events())), "-")
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_one_line_is_written_over_and_never_longer_than_it(tmp_path: Path) -> None:
    hostile = ConnectionLost("\x1b]\u202e\ncut\u00e9" + "x" * 200)
    transport = VirtualTransport(lambda request: Answer(body=[b"data: {}\n\n", hostile]))
    err = Terminal()
    code, _, text = command(transport, str(tmp_path / "log"), "--for", "20", err=err, width=140)
    assert code == 0 and text.endswith("\n") and text.count("\n") == 1
    drawn = text.rstrip("\n").split("\r")[1:]
    assert len(drawn) > 10 and max(map(len, drawn)) == 139
    assert all(line.isascii() and line.isprintable() for line in drawn)
    assert any("waiting" in line and "\\x1b]\\u202e\\ncut\\xe9" in line for line in drawn)
    for one, other in pairwise(drawn):
        assert len(other) >= len(one.rstrip())  # nothing of the former line is left


def test_a_full_disk_is_one_line_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import streamstore.log.jsonl as jsonl

    real, left = jsonl.write_all, [4]

    def write_all(file: Any, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, data)

    monkeypatch.setattr(jsonl, "write_all", write_all)
    path = str(tmp_path / "log.jsonl")
    body = [piece for f in frames(1, 9) for piece in (f, 1500)]
    code, out, err = command(VirtualTransport(served(events(*body, drop=False))), path)
    assert code == 2
    assert err == (
        f"streamstore: {path}: cannot append to it: No space left on device; "
        "positions up to 3 are safe\n"
    )
    assert "3 events" in out and "positions 1 to 3 are safe" in out


@pytest.mark.parametrize(("syncs", "safe"), [(0, "nothing new"), (1, "positions 1 to 3 are safe")])
def test_of_a_full_disk_the_summary_has_what_is_safe_where_the_rest_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syncs: int, safe: str
) -> None:
    """SQLite takes back what was not committed, so that its last position falls."""
    real, left = SqliteLog._sync, [syncs]

    def sync(log: SqliteLog) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise DiskError(f"{log.path}: cannot write it: database or disk is full")
        real(log)

    monkeypatch.setattr(SqliteLog, "_sync", sync)
    path = str(tmp_path / "log.sqlite")
    body = [piece for f in frames(1, 9) for piece in (f, 400)]
    code, out, err = command(VirtualTransport(served(events(*body, drop=False))), path)
    kept = 3 if syncs else 0
    assert code == 2 and f"positions up to {kept} are safe" in err
    assert out.startswith(f"{path}: {kept} events of 1 connection in ") and f"; {safe}\n" in out
    with read_log(path) as log:
        assert len(list(log.read())) == kept


def test_a_server_that_refuses_is_one_line_and_no_summary(tmp_path: Path) -> None:
    path = str(tmp_path / "log.jsonl")
    code, out, err = command(VirtualTransport(served(Answer(404, {}))), path)
    assert (code, out) == (2, "")
    assert err.startswith("streamstore: http://server/events answered 404") and err.count("\n") == 1


def test_losses_of_a_log_that_is_there_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    transport = VirtualTransport(served(events(*frames(1, 4), drop=False)))
    command(transport, str(path), "--for", "1")
    data = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*data[:2], data[2].replace(b"2 ", b"3 "), *data[3:], b'{"positi']))
    for option in ([], ["--resume"]):
        path_2 = tmp_path / f"copy{len(option)}.jsonl"
        path_2.write_bytes(path.read_bytes())
        _, _, err = command(transport, str(path_2), "--for", "1", *option)
        assert "8 bytes of a torn last record were cut off" in err
        assert "position 2 is lost (line 3: the checksum does not fit)" in err
        assert err.count("\n") == 2


class Unwritable(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_cannot_be_told_is_no_reason_not_to_record(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(HEADER + b'{"positi')
    transport = VirtualTransport(served(events(*frames(1, 4), drop=False)))
    code, out, _ = command(transport, str(path), "--for", "1", err=Unwritable())
    assert code == 0 and "positions 1 to 4 are safe" in out
    path.write_bytes(b"no log")
    assert command(transport, str(path), "--for", "1", err=Unwritable())[:2] == (2, "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_headers_and_bodies_come_from_arguments_or_files(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "headers").write_text("Authorization: Bearer a:b\n\nX-Two:2\n", encoding)
    (tmp_path / "body.json").write_text('{"stream": true}', encoding)
    transport = VirtualTransport(served(Answer(body=[b"data: {}\n\n"])))
    code, _, _ = command(
        transport, str(tmp_path / "log"), "--header", f"@{tmp_path / 'headers'}", "--header",
        "x-one: 1", "--json", f"@{tmp_path / 'body.json'}", "--method", "put",
    )  # fmt: skip
    (request,) = transport.requests
    assert code == 0 and (request.method, request.body) == ("PUT", b'{"stream":true}')
    sent = {name: request.headers[name] for name in ("authorization", "x-one", "x-two")}
    assert sent == {"authorization": "Bearer a:b", "x-one": "1", "x-two": "2"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--header", "secret"], "--header: number 1 is not of the form 'Name: value'"),
        (["--header", "a b: secret"], "--header: number 1"),
        (["--header", "@nothing"], "--header: nothing: No such file"),
        (["--json", "{"], "--json: not JSON"),
        (["--json", "null"], "--json: null is no body"),
        (["--protocol", "what"], "what"),
        (["--resume", "--method", "POST"], "only a GET can be resumed"),
    ],
)
def test_a_wrong_argument_is_the_callers_error_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], problem: str
) -> None:
    from streamstore.recording.command import run as run_command

    monkeypatch.chdir(tmp_path)
    err = io.StringIO()
    assert run_command(parsed(URL, "log", *words), io.StringIO(), err) == 2
    assert problem in err.getvalue() and err.getvalue().count("\n") == 1
    assert "secret" not in err.getvalue()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--for", "0"], ["--for", "x"], ["--events", "0"], ["--every", "nan"]]
)
def test_a_number_that_is_none_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(URL, "log", *words)
    assert "must be" in capsys.readouterr().err


def test_without_httpx_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamstore.recording.command import run as run_command

    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.chdir(tmp_path)
    err = io.StringIO()
    assert run_command(parsed(URL, "log"), io.StringIO(), err) == 2
    assert err.getvalue() == (
        "streamstore: connecting needs httpx: pip install 'chat-streamstore[client]'\n"
    )
    assert list(tmp_path.iterdir()) == []


# --- a real process -------------------------------------------------------------------------------


class Endless(BaseHTTPRequestHandler):
    """Five events, then nothing."""

    held = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"".join(frames(1, 5)))
        self.wfile.flush()
        self.held.wait(30)

    def log_message(self, *_: Any) -> None:
        pass


PROGRAM = """
import argparse, sys
from streamstore.recording.command import add_to, run
parser = argparse.ArgumentParser()
add_to(parser.add_subparsers(dest="command"))
sys.exit(run(parser.parse_args(["record", *sys.argv[1:]])))
"""


@pytest.mark.parametrize(
    ("ending", "number"), [("jsonl", signal.SIGINT), ("sqlite", signal.SIGTERM)]
)
def test_a_signal_closes_the_log_and_prints_the_summary(
    tmp_path: Path, ending: str, number: signal.Signals
) -> None:
    path = tmp_path / f"log.{ending}"
    Endless.held.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, str(path), "--every", "0.01"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:  # each second; at the latest then all five are there
            if " 5 events" in line:
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        Endless.held.set()
        server.shutdown()
        server.server_close()
    assert process.returncode == 0, err
    assert (
        "5 events" in out and out.endswith("positions 1 to 5 are safe\n") and out.count("\n") == 1
    )
    assert "Traceback" not in err
    assert [record.position for record in recorded(path)] == [1, 2, 3, 4, 5]
    assert not (tmp_path / f"log.{ending}.lock").exists()
    records = recorded(path)
    assert all(a.time_ms <= b.time_ms for a, b in pairwise(records))  # type: ignore[operator]


class Talk(BaseHTTPRequestHandler):
    """Events with ids up to the `last` one, some ms apart, from behind the one that was had."""

    last = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        first = int(self.headers.get("last-event-id") or 0) + 1
        try:
            for one in frames(first, self.last):
                self.wfile.write(one)
                self.wfile.flush()
                Endless.held.wait(0.002)
            Endless.held.wait(30)
        except OSError:
            pass

    def log_message(self, *_: Any) -> None:
        pass


def count_of(path: Path) -> int:
    try:
        return len(recorded(path))
    except (FileNotFoundError, UnsupportedLog):
        return 0


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
@pytest.mark.parametrize("ending", ENDINGS)
def test_killed_and_resumed_it_has_every_event_once(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"log.{ending}"
    Endless.held.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Talk)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    found: list[Record] = []
    try:
        for Talk.last in (150, 300):
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, url, str(path), "--resume"],
                stderr=subprocess.DEVNULL,
            )
            try:
                while count_of(path) < (300 if Talk.last == 300 else len(found) + 20):
                    assert process.poll() is None
                    Endless.held.wait(0.02)
            finally:
                process.kill()
                process.wait()
            with open_log(str(path)) as writer:  # recovers
                found = list(writer.read())
    finally:
        Endless.held.set()
        server.shutdown()
        server.server_close()
    assert [json.loads(record.data)["seq"] for record in found] == list(range(1, 301))
    assert {record.connection for record in found} == {1, 2}


def test_caught_is_what_it_says() -> None:
    assert Catch().feed(b"event: message\nid: 1\ndata: x\n\nid: 1\ndata: y\n\n") == [
        Caught("", "1", b"x"),
        Caught("", "", b"y"),
    ]


def test_its_arguments_cost_no_client() -> None:
    """Every command adds them when it starts."""
    code = "import sys, streamstore.recording.command; print('streamstore.client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
