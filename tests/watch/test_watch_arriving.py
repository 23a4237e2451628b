"""From bytes to rows: cutting, facts, verdicts, and a log that is played, paused and stepped."""

from __future__ import annotations

import gc
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from streamstore import StreamStore
from streamstore.errors import UnknownProtocol
from streamstore.feeding import BREAKS_OFF
from streamstore.logs import Log, TimedEvent, UnreadableLog
from streamstore.replay import AT_ONCE, Speed
from streamstore.testing import disturb, sample
from streamstore.watch.cutting import EventCutter
from streamstore.watch.facts import FactsReader
from streamstore.watch.inspector import Inspector
from streamstore.watch.past import HistoryLimits
from streamstore.watch.playing import MOST_AT_ONCE, LogSource

DATA = ROOT / "tests" / "data"
STREAMS = sorted(
    path for path in DATA.rglob("*") if path.suffix in (".sse", ".jsonl") and path.is_file()
)


def line(**wire: Any) -> bytes:
    return json.dumps(wire).encode("utf-8") + b"\n"


def delta(seq: int, text: str = "x") -> bytes:
    return line(type="block.delta", messageId="m", blockIndex=0, seq=seq, text=text)


def native() -> Inspector:
    return Inspector("native", clock=lambda: 0.0)


# -- cutting ---------------------------------------------------------------------------------------


def cut(data: bytes, size: int) -> list[bytes]:
    cutter = EventCutter()
    found = []
    for start in range(0, len(data), size):
        found += cutter.feed(data[start : start + size])
    return found + cutter.end()


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_stream_is_cut_like_a_recorded_log(path: Path) -> None:
    data = b"".join(Log(str(path)).chunks())
    expected = [event.data for event in Log(str(path)).events()]
    pieces = cut(data, 4096)
    assert pieces == expected and b"".join(pieces) == data
    assert cut(data[:5_000], 1) == cut(data[:5_000], 777)


@given(st.text(st.sampled_from("da:{}\n\r \ufeff"), max_size=40), st.integers(1, 8))
def test_the_pieces_are_what_came_however_it_is_cut(text: str, size: int) -> None:
    data = text.encode()
    assert b"".join(cut(data, size)) == data
    assert cut(data, size) == cut(data, 1)


def test_blank_lines_and_comments_stay_with_the_event_behind_them() -> None:
    assert cut(b'{"a": 1}\n\n  \n{"b": 2}\n\n', 4) == [b'{"a": 1}\n', b'\n  \n{"b": 2}\n', b"\n"]
    assert cut(b": hi\n\ndata: 1\n\n\nid: 7\n\ndata\n\n", 4) == [
        b": hi\n\ndata: 1\n\n", b"\nid: 7\n\ndata\n\n",
    ]  # fmt: skip


def test_what_never_ends_goes_on_uncut_and_nothing_more_than_that_is_held() -> None:
    cutter = EventCutter(longest=100)
    found: list[bytes] = []
    for _ in range(50):
        found += cutter.feed(b"data: " + b"x" * 30)
        assert cutter._size <= 100
    assert b"".join([*found, *cutter.end()]) == (b"data: " + b"x" * 30) * 50


# -- facts -----------------------------------------------------------------------------------------


def facts_of(data: bytes, protocol: str | None = "native") -> Any:
    return FactsReader().read(data, protocol)


def test_facts_are_what_the_event_says_in_the_stores_terms() -> None:
    wire = b'{"id":"evt_1","type":"message.part.delta","properties":{"sessionID":"s","messageID":"m","partID":"p","field":"text","delta":"Hi\\u001b[2J"}}'
    found = facts_of(b"data: " + wire + b"\n\n", "opencode")
    assert (found.type, found.kinds) == ("message.part.delta", ("block.delta",))
    assert (found.session_id, found.message_id, found.block_index) == ("s", "m", "p")
    assert (found.event_id, found.deltas, found.characters) == ("evt_1", 1, 6)
    assert found.excerpt == "Hi\\x1b[2J"


@pytest.mark.parametrize(
    ("data", "type", "excerpt"),
    [
        (b"data: nonsense\n\n", "(no JSON)", "nonsense"),
        (b"{broken\n", "(no JSON)", "{broken"),
        (b"data: 7\n\n", "(no type)", "7"),
        (b'{"type": 7}\n', "(no type)", ""),
        (b'{"type": "x.\\u0007y", "a": "b"}\n', "x.\\x07y", "a=b"),
        (b'event: ping\ndata: {"a": 1}\n\n', "ping", "a=1"),
        (b'\xef\xbb\xbf{"type": "t"}\n', "t", ""),
    ],
)
def test_what_nobody_can_read_has_facts_too(data: bytes, type: str, excerpt: str) -> None:
    found = facts_of(data)
    assert (found.type, found.excerpt) == (type, excerpt)


@pytest.mark.parametrize("data", [b"", b"\n", b": a comment\n\n", b"id: 7\n\n", b"retry: 10\n\n"])
def test_a_piece_without_an_event_has_none(data: bytes) -> None:
    assert facts_of(data) is None


def test_a_sentinel_of_the_protocol_goes_by_its_own_name() -> None:
    assert facts_of(b"data: [DONE]\n\n", "openai-chat").type == "[DONE]"


def test_ids_that_the_protocol_does_not_give_are_those_of_the_store() -> None:
    for path in sorted((DATA / "openai-responses").glob("*/stream.sse"))[:6]:
        watched = Inspector(clock=lambda: 0.0)
        for event in Log(str(path)).events():
            watched.take(event.data, event.at)
        watched.settle()
        held = {
            (session, message.id)
            for session in watched.store.session_ids()
            for message in watched.store.messages(session)
        }
        named = {
            (row.facts.session_id, row.facts.message_id)
            for row in watched.timeline.rows
            if row.facts.message_id and row.facts.deltas
        }
        assert named <= held, path


# -- verdicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse", "none"])
def test_every_event_has_the_verdict_that_the_store_gave_it(sequencing: Any) -> None:
    wires = disturb(sample(sequencing, 7, sessions=2), 2).wires
    store = StreamStore(ticks="manual")
    stream = store.open("native")
    expected = [stream.ingest(wire)[:2] for wire in wires]
    watched = native()
    found = [watched.take(line(**wire), 0.0) for wire in wires]
    assert [row.verdict[:2] for row in found if row is not None and row.verdict] == expected
    watched.settle()
    assert watched.store.health.counts["verdicts"] == store.health.counts["verdicts"]


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"{nonsense\n", "malformed", ""),
        (line(type="no.such"), "unknown", "no.such"),
        (line(type="message.opened"), "malformed", "messageId"),
        (line(type="stream.synchronized"), "accepted", ""),
        (line(type="block.delta", messageId="m", blockIndex=0, seq=9, text="x"), "held", ""),
    ],
)
def test_a_verdict_names_its_reason(data: bytes, kind: str, reason: str) -> None:
    watched = native()
    watched.take(line(type="stream.opened", sequencing="block"), 0.0)
    row = watched.take(data, 0.0)
    assert row is not None and row.verdict is not None
    assert (row.verdict.kind, row.verdict.reason) == (kind, reason)


def test_events_wait_until_the_protocol_is_recognised() -> None:
    watched = Inspector(clock=lambda: 0.0)
    first = watched.take(b'data: {"type": "who.knows"}\n\n', 0.0)
    assert first is not None and first.verdict is not None
    assert (first.verdict.kind, first.verdict.detail) == (
        "held", "until its protocol is recognised",
    )  # fmt: skip
    assert watched.known_protocol == "auto"
    log = DATA / "opencode" / "tools" / "stream.sse"
    for event in list(Log(str(log)).events())[:5]:
        watched.take(event.data, event.at)
    assert watched.known_protocol == "opencode"
    with pytest.raises(UnknownProtocol):
        other = Inspector(clock=lambda: 0.0)
        for _ in range(100):
            other.take(b'data: {"type": "who.knows"}\n\n', 0.0)


def test_comments_are_fed_and_are_no_rows() -> None:
    watched = native()
    assert watched.take(b": hello\n\n", 0.0) is None
    assert watched.timeline.counters.events == 0


def test_ticks_come_in_the_streams_own_time() -> None:
    """Ten deltas within one tick become visible together: the first at once, the others after it."""
    watched = native()
    for number in range(10):
        watched.take(delta(number + 1), number * 1.0)
    watched.pass_time(100.0)
    counters = watched.timeline.counters
    assert (counters.deltas, counters.ticks) == (10, 2)
    assert counters.deltas_per_tick == 5
    assert [row.tick for row in watched.timeline.rows] == [1] + [2] * 9


def test_gaps_are_those_of_the_store() -> None:
    watched = native()
    watched.take(line(type="stream.opened", sequencing="block"), 0.0)
    watched.take(delta(1), 0.0)
    watched.take(delta(3), 0.0)
    watched.settle()
    assert watched.timeline.counters.gaps == 1
    watched.take(delta(2), 0.0)
    watched.settle()
    assert watched.timeline.counters.gaps == 0


# -- playing ---------------------------------------------------------------------------------------


def played(*at: float, speed: Speed | None = None) -> tuple[Inspector, LogSource]:
    watched = native()
    events = [TimedEvent(delta(n), delta(n), time) for n, time in enumerate(at, start=1)]
    return watched, LogSource(events, watched, speed or Speed(1))


def pump(source: LogSource, *nows: float) -> list[int]:
    return [source.pump(now) for now in nows]


def test_a_log_is_played_at_its_own_pace() -> None:
    watched, source = played(0, 10, 500, 500, 3_000)
    assert pump(source, 100, 105, 110, 599, 600, 3_099, 3_100) == [1, 0, 1, 0, 2, 0, 1]
    assert source.ended and watched.timeline.rows[-1].facts.type == "end of the log"
    assert [row.offset for row in watched.timeline.rows] == [0, 10, 500, 500, 3_000, 3_000]


def test_pauses_are_a_second_at_most_at_the_speed_that_is_the_default() -> None:
    _, source = played(0, 60_000, speed=Speed(1, fitted=True))
    assert pump(source, 0, 999, 1_000) == [1, 0, 1]


def test_faster_slower_and_at_once() -> None:
    _, source = played(0, 1_000, 2_000, 3_000, 4_000, 5_000, speed=Speed(2))
    assert source.pace == "2x"
    assert pump(source, 0, 499, 500) == [1, 0, 1]
    source.change_speed(2, 500)
    assert pump(source, 749, 750, 999, 1_000) == [0, 1, 0, 1]
    source.change_speed(0.5, 1_000)
    source.change_speed(math.inf, 1_000)
    assert source.pace == "max" and pump(source, 1_000) == [2]
    source.change_speed(0.5, 1_000)
    assert source.pace == "1x"


def test_speeds_have_bounds() -> None:
    _, source = played(0)
    for _ in range(20):
        source.change_speed(2, 0)
    assert source.pace == "1000x"
    for _ in range(40):
        source.change_speed(0.5, 0)
    assert source.pace == "0.01x"


def test_at_once_means_so_many_at_a_time() -> None:
    watched, source = played(*range(2_000), speed=AT_ONCE)
    assert pump(source, 0, 0, 0, 0, 0) == [MOST_AT_ONCE] * 4 + [0]
    assert source.ended and watched.timeline.counters.events == 2_000


def test_paused_nothing_is_taken_in_and_a_pause_does_not_count() -> None:
    watched, source = played(0, 100, 200)
    source.pump(0)
    source.pause()
    assert source.paused and source.status == "paused"
    assert pump(source, 100, 5_000) == [0, 0]
    source.resume()
    assert pump(source, 5_000, 5_050, 5_099, 5_100) == [1, 0, 0, 1]
    assert [row.offset for row in watched.timeline.rows[:3]] == [0, 100, 200]


def test_a_step_takes_one_event_in_and_it_is_visible() -> None:
    watched, source = played(0, 1, 2)
    source.pause()
    for number in range(1, 4):
        assert source.step_event()
        part = watched.store.part("main", "m", 0)
        assert part is not None and part.text == "x" * number
    assert not source.step_event() and source.ended
    assert [row.facts.type for row in watched.timeline.rows] == ["block.delta"] * 3 + [
        "end of the log"
    ]


def test_a_step_of_a_tick_takes_in_what_came_within_16_ms() -> None:
    watched, source = played(0, 15.9, 16, 40)
    source.pause()
    seen = []
    while source.step_tick():
        seen.append(watched.timeline.counters.deltas)
    assert seen == [2, 3, 4]
    assert not source.step_tick()


def test_what_waits_becomes_visible_when_the_logs_time_passes() -> None:
    watched, source = played(0, 1, 2, 900)
    source.pump(0)
    source.pump(2)
    part = watched.store.part("main", "m", 0)
    assert part is None or part.text == "x"
    source.pump(40)
    part = watched.store.part("main", "m", 0)
    assert part is not None and part.text == "xxx"


def test_a_log_that_breaks_off_ends_with_the_reason() -> None:
    def broken() -> Any:
        yield TimedEvent(delta(1), delta(1), 0)
        raise UnreadableLog("a.sse", "broken\x1b as gzip")

    watched = native()
    source = LogSource(broken(), watched, AT_ONCE)
    assert source.pump(0) == 1 and source.ended
    assert source.status == "a.sse: broken\\x1b as gzip"
    assert watched.timeline.rows[-1].facts.type == source.status


@pytest.mark.parametrize("protocol", ["native", "auto"])
@pytest.mark.parametrize(
    "rest, verdicts",
    [
        (b"", ["accepted"]),
        (b": a comment\n", ["accepted"]),
        (b'data: {"type": "turn', ["accepted", None]),
        (b'data: {"type": "turn.started"}\n', ["accepted", None]),
    ],
)
def test_an_event_that_breaks_off_at_the_end_of_a_log_is_told(
    protocol: str, rest: bytes, verdicts: list[str | None], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"data: " + delta(1) + b"\n" + rest)
    watched = Inspector(protocol, clock=lambda: 0.0)
    LogSource(Log(str(path)).events(), watched, AT_ONCE).pump(0)
    *rows, end = watched.timeline.rows
    assert [row.verdict and row.verdict.kind for row in rows] == verdicts
    assert [row.facts.type for row in rows[1:]] == [BREAKS_OFF] * (len(rows) - 1)
    assert end.facts.type == "end of the log"


def test_a_last_line_without_its_end_has_its_verdict_and_what_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for last, verdict in ((delta(2, "y"), "accepted"), (delta(1), "duplicate")):
        path.write_bytes(delta(1) + last[:-1])
        watched = native()
        LogSource(Log(str(path)).events(), watched, AT_ONCE).pump(0)
        _, row, end = watched.timeline.rows
        assert row.verdict is not None and row.verdict.kind == verdict
        moment = watched.after(row)
        assert moment is not None and moment.changes is not None
        assert len(moment.changes.text) == (verdict == "accepted")
        assert end.facts.type == "end of the log"


def test_a_log_of_no_known_protocol_ends_with_the_reason() -> None:
    watched = Inspector(clock=lambda: 0.0)
    piece = b'data: {"type": "who.knows"}\n\n'
    source = LogSource([TimedEvent(piece, piece, 0)] * 100, watched, AT_ONCE)
    source.pump(0)
    assert source.ended and source.status.startswith("no protocol recognised")
    assert source.pump(0) == 0


def test_the_connections_of_a_log_are_streams_of_their_own() -> None:
    watched = native()
    a, b = delta(1, "a"), delta(2, "b")
    source = LogSource(
        [TimedEvent(a, a, 0), None, TimedEvent(b[:-9], b[:-9], 5), None, None, TimedEvent(b, b, 9)],
        watched,
        AT_ONCE,
    )
    source.pump(0)
    assert [(row.facts.type, row.stream) for row in watched.timeline.rows] == [
        ("block.delta", 1), ("connection ended", 1), ("(no JSON)", 2), (BREAKS_OFF, 2),
        ("connection ended", 2), ("block.delta", 3), ("end of the log", 3),
    ]  # fmt: skip
    part = watched.store.part("main", "m", 0)
    assert part is not None and part.text == "ab"


def test_an_empty_log_has_ended() -> None:
    _, source = played()
    assert source.pump(0) == 0 and source.ended


# -- what it costs, what it holds ------------------------------------------------------------------


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python a piece of work runs: a loop costs, though it calls nothing.

    Without the collector, which runs the finalizers of whatever other tests left.
    """
    number = 0

    def count(frame: object, event: str, argument: object) -> Any:
        nonlocal number
        number += event == "line"
        return count

    before = sys.gettrace()
    gc.collect()
    gc.disable()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return number


def test_an_event_costs_the_same_however_many_sessions_there_are() -> None:
    def cost(sessions: int) -> int:
        watched = Inspector("native", clock=lambda: 0.0, limits=HistoryLimits(spacing=10**6))
        for number in range(sessions):
            watched.take(in_session(f"s{number}"), float(number))
        watched.settle()
        at = float(sessions)

        def one_more() -> None:
            watched.take(in_session("s3"), at)
            watched.settle()

        one_more()
        return lines_run(one_more)

    assert cost(1_000) == cost(10)


def in_session(session: str) -> bytes:
    return line(type="block.delta", sessionId=session, messageId="m", blockIndex=0, text="x")


def test_the_facts_of_a_stream_of_days_hold_the_last_sessions() -> None:
    """A session that is still named keeps what its adapter remembers, however old it is."""

    def chunk(session: str) -> bytes:
        said = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "hi"}}
        return line(
            jsonrpc="2.0", method="session/update", params={"sessionId": session, "update": said}
        )

    reader = FactsReader()
    first = reader.read(chunk("old"), "acp")
    for number in range(1_500):
        reader.read(chunk(f"s{number}"), "acp")
        if number % 1_000 == 999:
            reader.read(chunk("old"), "acp")
    (held,) = reader._shared.values()
    assert len(held) == 1024
    last = reader.read(chunk("old"), "acp")
    assert first is not None and last is not None and last.message_id == first.message_id
