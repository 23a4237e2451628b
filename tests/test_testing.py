"""`streamstore.testing`: logs, replays, fake streams, disturbances, recorders, and what they promise."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import CallerError, Limits, StreamStore, UnknownProtocol
from streamstore.changes import ChangeSet, Edit, Place, TextField
from streamstore.keys import MessageKey, PartKey, SessionKey
from streamstore.log import open_log
from streamstore.logs import UnreadableLog
from streamstore.testing import (
    DISTURBANCES,
    LAWS,
    FakeStream,
    Log,
    ManualTicks,
    Recorder,
    Unreadable,
    assert_laws,
    check_laws,
    disturb,
    replay,
    sample,
    strategies,
    transcript,
)
from streamstore.testing.books import Books
from streamstore.testing.comparing import difference, state_of
from streamstore.testing.disturbing import reordered
from streamstore.testing.facts import facts_of
from streamstore.testing.shrinking import Budget, exchange, settle, shrink

Wire = dict[str, Any]
DATA = Path(__file__).parent / "data" / "opencode"
SEQUENCINGS = ("block", "session", "sparse", "none")


def delta(seq: int | None, text: str, block: int = 0, **members: Any) -> Wire:
    wire = {"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": block}
    return {**wire, "text": text, **({} if seq is None else {"seq": seq}), **members}


def event(event_type: str, **members: Any) -> Wire:
    return {"type": event_type, "sessionId": "s", "messageId": "m", **members}


def final(log: Log, **options: Any) -> Any:
    """The state a log ends in, everything released."""
    store = replay(log, **options)
    for session_id in store.session_ids():
        store.release(session_id)
    store.flush()
    return state_of(store)


# -- logs ------------------------------------------------------------------------------------------


def test_a_log_of_objects_is_json_lines_or_frames():
    log = Log.of([delta(1, "a\u2028"), delta(2, "\ud83d")])
    lines = log.data().splitlines()
    assert [json.loads(line) for line in lines] == list(log.wires)
    assert log.data("frames") == b"".join(b"data: " + line + b"\n\n" for line in lines)


@pytest.mark.parametrize("framing", ["lines", "frames"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_log_is_read_from_a_file_in_any_framing(tmp_path, framing, packed):
    log = sample("sparse", seed=2)
    file = tmp_path / "log"
    file.write_bytes(gzip.compress(log.data(framing)) if packed else log.data(framing))
    read = Log.read(file)
    assert read.wires == log.wires
    assert read.protocol == "native"
    assert read.data() == log.data(framing)


@pytest.mark.parametrize("protocol", ["auto", "langchain"])
@pytest.mark.parametrize("name", ["graph", "graph-partial"])
@pytest.mark.parametrize("broken", [b"", b"event: custom\ndata: {\n\n"])
def test_a_log_whose_events_are_told_by_their_names_has_them_all(tmp_path, protocol, name, broken):
    data = broken + (DATA.parent / "langchain" / f"{name}.sse").read_bytes()
    file = tmp_path / "log.sse"
    file.write_bytes(data)
    store = StreamStore(protocol, ticks="manual")
    store.feed(data)
    store.flush()
    log = Log.read(file, protocol=protocol)
    again = replay(log)
    assert log.protocol == "langchain"
    assert again.state()["sessions"] == store.state()["sessions"]
    assert again.counts["verdicts"] == store.counts["verdicts"]


def test_the_bytes_of_an_event_keep_its_id_and_comments(tmp_path):
    file = tmp_path / "log.sse"
    line = json.dumps(delta(1, "a")).encode()
    data = b": hello\n\nid: 7\r\ndata: " + line + b"\r\n\r\nid: 8\ndata: " + line + b"\n\n"
    file.write_bytes(data)
    log = Log.read(file)
    assert len(log) == 2
    assert b"id: 7" in log.pieces[0] and b"id: 8" in log.pieces[1]
    assert log.data() == data


def test_what_is_not_json_is_kept_and_counted_as_the_store_does(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_bytes(json.dumps(delta(1, "a")).encode() + b'\n{"broken\n')
    log = Log.read(file)
    assert log.wires[1] == Unreadable('{"broken')
    assert replay(log).health.counts["verdicts"] == {"accepted": 1, "malformed": 1}


def test_a_last_line_without_its_end_is_an_event(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_bytes(json.dumps(delta(1, "a")).encode())
    assert Log.read(file).data().endswith(b"}\n")


def test_arrivals_come_from_the_file_beside_the_log(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(Log.of([delta(1, "a"), delta(2, "b")]).data())
    (tmp_path / "arrival_ms.json").write_text("[5, 45]")
    assert Log.read(tmp_path / "log.jsonl").arrivals == (5, 45)


def test_a_state_beside_a_log_is_an_event_before_or_behind_it():
    events = DATA / "join_late" / "events.jsonl"
    initial = DATA / "join_late" / "initial.json"
    before = Log.read(initial, events)
    behind = Log.read(events, initial)
    assert "sessions" in before.wires[0] and "sessions" in behind.wires[-1]
    assert before.wires[1:] == behind.wires[:-1]
    assert len(before.arrivals or ()) == len(before)


def test_what_is_no_log_says_so(tmp_path):
    (tmp_path / "empty").write_bytes(b"\n\n")
    (tmp_path / "other.jsonl").write_bytes(b'{"hello": 1}\n')
    with pytest.raises(UnreadableLog, match="no events"):
        Log.read(tmp_path / "empty")
    with pytest.raises(UnreadableLog, match="No such file"):
        Log.read(tmp_path / "missing")
    with pytest.raises(UnknownProtocol, match=r"other.jsonl: no protocol recognised in 1 events"):
        Log.read(tmp_path / "other.jsonl")
    for name in ("array.jsonl", "array.json"):
        (tmp_path / name).write_bytes(b'[{"type": "message.opened", "messageId": "m"}]')
        with pytest.raises(UnreadableLog, match=f"{name}: an array of events"):
            Log.read(tmp_path / name)
    (tmp_path / "pretty.jsonl").write_bytes(b'{\n  "type": "x"\n}\n')
    with pytest.raises(UnreadableLog, match="no line of it is JSON by itself"):
        Log.read(tmp_path / "pretty.jsonl", protocol="native")
    with pytest.raises(UnknownProtocol, match="native"):
        Log.of([delta(1, "a")], protocol="nonsense")
    with pytest.raises(CallerError, match="sequencing"):
        Log.of([delta(1, "a")], sequencing="odd")  # type: ignore[arg-type]
    with pytest.raises(CallerError, match="arrivals"):
        Log.of([delta(1, "a")], arrivals=[1, 2])
    for one in (b"{}", "{}", {"type": "x"}):
        with pytest.raises(CallerError, match=r"a list of wire objects, not \w+: Log\.read"):
            Log.of(one)
    with pytest.raises(CallerError, match="name one"):
        Log.read(DATA / "tools" / "events.jsonl", DATA / "question" / "events.jsonl")


def test_picking_events_keeps_their_bytes_and_the_times_while_they_rise():
    log = Log.of([delta(seq, "a") for seq in range(3)], arrivals=[1, 2, 3])
    assert log.pick([0, 2]).arrivals == (1, 3)
    assert log.pick([2, 0]).arrivals is None
    assert [wire["seq"] for wire in log.pick([2, 0, 2]).wires] == [2, 0, 2]


# -- samples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_a_sample_is_a_function_of_its_seed_and_wholly_taken_in(sequencing):
    logs = [sample(sequencing, seed, sessions=2) for seed in range(12)]
    assert logs == [sample(sequencing, seed, sessions=2) for seed in range(12)]
    kinds: Counter[str] = Counter()
    for log in logs:
        store = replay(log)
        verdicts = store.health.counts["verdicts"]
        assert not [name for name in verdicts if name.startswith(("refused", "malf", "unknown"))]
        assert len(store.session_ids()) == 2
        kinds.update(wire["type"] for wire in log.wires)
    assert {"block.delta", "block.replaced", "message.removed", "session.error"} <= set(kinds)
    if sequencing != "none":
        assert "block.snapshot" in kinds
    assert ("snapshot" in kinds) == (sequencing in ("session", "sparse"))


def test_a_sample_needs_a_sequencing_that_there_is():
    with pytest.raises(CallerError, match="sequencing"):
        sample("odd")  # type: ignore[arg-type]


# -- replays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_a_replay_ends_in_the_same_state_however_it_ticks(sequencing):
    log = sample(sequencing, seed=5)
    expected = final(log)
    ways: list[dict[str, Any]] = [
        {"ticks": "each"},
        {"ticks": None},
        {"flush_every": 3},
        {"ticks": ManualTicks(16)},
        {"delivery": "buffered", "flush_every": 2},
    ]
    for options in ways:
        assert final(log, **options) == expected


def test_a_manual_clock_passes_the_time_between_arrivals():
    log = Log.of([delta(1, "a"), delta(2, "b"), delta(3, "c")], arrivals=[100, 104, 200])
    ticks = ManualTicks(16)
    store = StreamStore("native", ticks=ticks)
    with Recorder(store) as recorder:
        replay(log, store=store, ticks=ticks)
    assert recorder.seen("s", "m", 0) == ["a", "ab", "abc"]
    assert ticks.now >= 100


def test_a_replay_may_end_its_stream_and_go_on_with_a_store():
    log = Log.of([delta(None, "a")], sequencing="none")
    store = replay(log, end=True)
    assert store.part("s", "m", 0).gap  # type: ignore[union-attr]
    assert replay(log, store=store).part("s", "m", 0).text == "aa"  # type: ignore[union-attr]


def test_a_replay_may_read_a_log_as_another_protocol_or_sequencing():
    log = Log.of([delta(2, "b"), delta(1, "a")])
    assert replay(log).part("s", "m", 0).text == "ab"  # type: ignore[union-attr]
    part = replay(log, sequencing="none").part("s", "m", 0)
    assert part is not None and part.text == "ba"
    with pytest.raises(UnknownProtocol):
        replay(log, protocol="nonsense")
    with pytest.raises(CallerError, match="flush_every"):
        replay(log, flush_every=0)


def test_limits_reach_the_store():
    log = Log.of([delta(seq, "a") for seq in (1, 5, 6)], sequencing="block")
    store = replay(log, limits=Limits(held_operations=1))
    assert store.health.counts["verdicts"]["refused:over_limit"] == 1


# -- fake streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"chunk": 1}, {"chunk": 1000}, {"seed": 3}, {"cuts": (2, 9, 10**9)}]
)
def test_a_fake_stream_sends_the_bytes_of_its_log(options):
    log = sample("sparse", seed=1, messages=1)
    for framing in ("lines", "frames"):
        fake = FakeStream(log, framing=framing, **options)
        chunks = list(fake)
        assert b"".join(chunks) == log.data(framing)
        assert all(chunks)
        if options.get("chunk") == 1:
            assert {len(chunk) for chunk in chunks} == {1}
    assert [len(chunk) for chunk in FakeStream(log, cuts=(2, 9))][:2] == [2, 7]


def test_chunks_of_a_seed_are_its_own():
    log = sample("sparse", seed=1, messages=1)
    assert list(FakeStream(log, seed=1)) == list(FakeStream(log, seed=1))
    assert list(FakeStream(log, seed=1)) != list(FakeStream(log, seed=2))


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse"])
@pytest.mark.parametrize("resend", [0, 7])
def test_a_client_survives_drops_by_resuming_at_its_position(sequencing, resend):
    log = sample(sequencing, seed=4)
    fake = FakeStream(log, chunk=50, drops=(10, 11, 60), resend=resend)
    store = StreamStore(ticks="manual")
    at = 0
    while True:
        stream = store.open("native", sequencing=sequencing)
        start = max(0, at - resend)
        try:
            for data in fake.connect(at):
                stream.feed(data)
            break
        except ConnectionResetError:
            at = start + stream.position.events
            stream.end()
    assert fake.connections == 4
    store.flush()
    assert state_of(store)["sessions"] == final(log)["sessions"]


def test_a_fake_stream_resumes_behind_an_event_id(tmp_path):
    file = tmp_path / "log.sse"
    frames = [f"id: {n}\ndata: {json.dumps(delta(n, 'x'))}\n\n" for n in range(1, 4)]
    file.write_text("".join(frames))
    fake = FakeStream(Log.read(file))
    assert b"".join(fake.connect("2")) == frames[2].encode()
    with pytest.raises(CallerError, match="'9'"):
        list(fake.connect("9"))
    with pytest.raises(CallerError, match="chunk"):
        FakeStream(Log.read(file), chunk=0)


def test_a_dropped_connection_ends_inside_an_event():
    log = Log.of([delta(1, "a"), delta(2, "b")])
    chunks: list[bytes] = []
    with pytest.raises(ConnectionResetError, match="after event 1"):
        chunks.extend(FakeStream(log, drops=(1,)))
    received = b"".join(chunks)
    assert log.data().startswith(received) and len(log.cut()[0]) < len(received)


def test_a_fake_stream_is_async_too():
    log = sample("block", seed=1, messages=1)

    async def read() -> bytes:
        return b"".join([data async for data in FakeStream(log, chunk=100)])

    assert asyncio.run(read()) == log.data()


# -- what is promised ------------------------------------------------------------------------------


def wires_of(*events: Wire, sequencing: str = "sparse") -> Log:
    return Log.of(events, protocol="native", sequencing=sequencing)  # type: ignore[arg-type]


OPENED = event("block.opened", blockIndex=0, kind="text")
MAY_CHANGE_PLACES = {
    "deltas with seq": ("sparse", delta(1, "a"), delta(2, "b"), True),
    "deltas of a session stream": ("session", delta(1, "a"), delta(2, "b"), True),
    "operations of a block stream": ("block", delta(1, "a"), delta(2, "b"), True),
    "deltas without seq": ("none", delta(None, "a"), delta(None, "b"), False),
    "a delta without seq and one with": ("sparse", delta(None, "a"), delta(2, "b"), False),
    "of two blocks": ("sparse", delta(1, "a"), delta(2, "b", block=1), True),
    "an unnumbered open and a delta in a block stream": ("block", OPENED, delta(1, "a"), True),
    "an unnumbered open and a delta in a sparse stream": ("sparse", OPENED, delta(1, "a"), False),
    "two kinds of one block": (
        "sparse",
        {**OPENED, "seq": 1},
        {**OPENED, "seq": 2, "kind": "tool"},
        False,
    ),
    "one seq twice": ("sparse", delta(1, "a"), delta(1, "b"), False),
    "a declaration and what follows": ("sparse", {"type": "stream.opened"}, delta(1, "a"), False),
    "a reset without seq and a delta": ("block", event("message.reset"), delta(1, "a"), False),
    "a removal in a block stream": ("block", event("message.removed"), delta(1, "a"), True),
    "a removal without seq elsewhere": ("sparse", event("message.removed"), delta(1, "a"), False),
    "a removal with seq": ("sparse", event("message.removed", seq=2), delta(1, "a"), True),
    "two endings": (
        "sparse",
        event("message.closed", status="error", seq=1),
        event("message.closed", status="completed", seq=2),
        False,
    ),
    "fields of a message without seq": (
        "block",
        event("message.updated", info={"a": 1}),
        event("message.updated", info={"a": 2}),
        False,
    ),
    "fields of a message with seq": (
        "sparse",
        event("message.updated", info={"a": 1}, seq=1),
        event("message.updated", info={"a": 2}, seq=2),
        True,
    ),
    "patches": (
        "sparse",
        {"type": "session.state", "sessionId": "s", "state": 1, "seq": 1},
        {"type": "session.state", "sessionId": "s", "state": 2, "seq": 2},
        False,
    ),
    "question and answer": (
        "sparse",
        {"type": "question.asked", "sessionId": "s", "id": "q", "seq": 1},
        {"type": "question.replied", "sessionId": "s", "id": "q", "seq": 2},
        True,
    ),
    "a question asked twice": (
        "sparse",
        {"type": "question.asked", "sessionId": "s", "id": "q", "seq": 1},
        {"type": "question.asked", "sessionId": "s", "id": "q", "seq": 2, "payload": {"a": 1}},
        False,
    ),
    "a snapshot and what is newer": (
        "sparse",
        {"type": "snapshot", "sessionId": "s", "seq": 1, "messages": []},
        event("message.opened", role="user", seq=2),
        True,
    ),
    "a snapshot and an older delta": (
        "sparse",
        delta(1, "a"),
        {"type": "snapshot", "sessionId": "s", "seq": 1, "messages": []},
        True,
    ),
    "a snapshot and what is older": (
        "sparse",
        event("message.opened", role="user", seq=1),
        {"type": "snapshot", "sessionId": "s", "seq": 2, "messages": []},
        False,
    ),
    "a snapshot without seq": (
        "sparse",
        {"type": "snapshot", "sessionId": "s", "messages": []},
        delta(1, "a"),
        False,
    ),
}


@pytest.mark.parametrize(("case"), MAY_CHANGE_PLACES.values(), ids=MAY_CHANGE_PLACES)
def test_which_events_may_change_places(case):
    sequencing, first, second, promised = case
    facts = facts_of(wires_of(first, second, sequencing=sequencing))
    assert facts.exchangeable(0, 1) is promised
    orders = {tuple(reordered(facts, [0, 1], Random(seed), 10)) for seed in range(20)}
    assert orders == ({(0, 1), (1, 0)} if promised else {(0, 1)})


MAY_COME_AGAIN = {
    "with a seq": ("sparse", delta(1, "a"), True),
    "with an id": ("sparse", delta(None, "a", id="e"), True),
    "in a stream without seq, with an id": ("none", delta(1, "a", id="e"), True),
    "in a stream without seq, with a seq": ("none", delta(1, "a"), False),
    "with neither": ("sparse", delta(None, "a"), False),
    "a request, whose id is not the event's": (
        "none",
        {"type": "question.asked", "sessionId": "s", "id": "q"},
        False,
    ),
    "a declaration": ("sparse", {"type": "stream.opened", "id": "e"}, False),
    "what cannot be read": ("sparse", {"type": "block.delta"}, False),
}


@pytest.mark.parametrize("case", MAY_COME_AGAIN.values(), ids=MAY_COME_AGAIN)
def test_which_events_may_come_again(case):
    sequencing, wire, promised = case
    assert facts_of(wires_of(wire, sequencing=sequencing)).each[0].provable is promised


def test_a_declared_sequencing_holds_from_there_on():
    log = Log.of([{"type": "stream.opened", "sequencing": "none"}, delta(1, "a")])
    assert [fact.mode for fact in facts_of(log).each] == ["none", "none"]
    assert not facts_of(log).orderable


@given(st.integers(0, 2**32), st.sampled_from(["block", "session", "sparse"]))
def test_an_order_moves_events_by_its_scale_and_keeps_what_contradicts(seed, sequencing):
    facts = facts_of(sample(sequencing, seed % 20, sessions=2))
    scale = 1 + seed % 30
    order = reordered(facts, range(len(facts.each)), Random(seed), scale)
    assert sorted(order) == list(range(len(facts.each)))
    assert all(abs(at - place) <= scale for at, place in enumerate(order))
    at = {place: count for count, place in enumerate(order)}
    for first in range(len(order) - 1):
        for second in range(first + 1, min(first + scale, len(order))):
            if at[second] < at[first]:
                assert facts.exchangeable(first, second)


# -- disturbances ----------------------------------------------------------------------------------


@given(st.data())
def test_a_disturbed_log_ends_in_the_same_state(data):
    log = data.draw(strategies.logs())
    kinds = data.draw(st.lists(st.sampled_from(DISTURBANCES), unique=True))
    disturbed = data.draw(strategies.disturbed(log, kinds))
    assert final(disturbed) == final(log)


def test_a_disturbance_depends_on_its_seed_alone():
    log = sample("session", seed=1)
    assert disturb(log, 1) == disturb(log, 1)
    assert disturb(log, 1) != disturb(log, 2)
    Random(99).random()
    assert disturb(log, 1) == disturb(log, 1)


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_each_kind_of_disturbance_disturbs_and_nothing_else_does(kind):
    log = sample("session", seed=1)
    disturbed = disturb(log, 3, [kind])
    in_place = list(dict.fromkeys(map(json.dumps, disturbed.wires)))
    if kind == "reorder":
        assert len(disturbed) == len(log)
        assert disturbed.wires != log.wires
    else:
        assert len(disturbed) > len(log)
        assert in_place == [json.dumps(wire) for wire in log.wires]
    assert disturb(log, 3, []) == log


def test_a_log_that_promises_nothing_is_not_disturbed():
    log = Log.of([delta(None, text) for text in "abcdef"] * 5, sequencing="none")
    assert all(disturb(log, seed) == log for seed in range(5))
    with pytest.raises(CallerError, match="kinds"):
        disturb(log, 1, ["chaos"])  # type: ignore[list-item]


def test_recorded_logs_can_be_disturbed():
    log = Log.read(DATA / "tools" / "stream.sse")
    for seed in range(3):
        disturbed = disturb(log, seed)
        assert len(disturbed) > len(log)
        assert final(disturbed) == final(log)
        assert Counter(disturbed.pieces) >= Counter(log.pieces)


@pytest.mark.parametrize("case", ["vercel-ui/data-parts", "anthropic/citations-delta"])
def test_what_an_adapter_would_take_for_another_event_does_not_come_again(case):
    """A `start` without an id begins a message, and a citation is one more."""
    log = Log.read(DATA.parent / case / "stream.sse")
    assert all(disturb(log, seed) == log for seed in range(20))


# -- laws ------------------------------------------------------------------------------------------


def test_the_laws_of_a_log_are_asserted_with_a_counterexample():
    class Deaf(StreamStore):
        """Shows no second message."""

        def messages(self, session_id: str) -> Any:
            return super().messages(session_id)[:1] if self.version % 2 else ()

    log = sample("sparse", seed=1, messages=2)
    assert_laws(log, runs=2)
    with pytest.raises(AssertionError, match=r"L\d \w+ is broken\n(.*\n)*.*event"):
        assert_laws(log, runs=2, store=Deaf)


def test_only_the_laws_that_are_asked_for_are_examined():
    reports = check_laws(sample("block", messages=1), laws=("L6", "L1"), runs=1)
    assert [report.law for report in reports] == ["L1", "L6"]
    with pytest.raises(CallerError, match="L1, L2"):
        check_laws(sample("block"), laws=("L9",))
    with pytest.raises(CallerError, match="runs"):
        check_laws(sample("block"), runs=0)


def test_a_store_that_raises_breaks_a_law_instead_of_the_check():
    class Raising(StreamStore):
        def flush(self) -> ChangeSet:
            raise RuntimeError("no more")

    reports = check_laws(sample("block", messages=1), runs=1, store=Raising)
    assert {report.outcome for report in reports} == {"broken"}
    assert all("RuntimeError: no more" in str(report.counterexample) for report in reports)


@given(st.data())
def test_the_store_keeps_the_laws_of_any_sample(data):
    log = data.draw(strategies.logs(messages=1))
    assert_laws(log, seed=data.draw(st.integers(0, 2**16)), runs=2)


def test_small_limits_shorten_what_is_promised():
    for seed in range(6):
        log = sample("sparse", seed=seed)
        limits = Limits(late_window=8, event_ids=16, held_operations=16)
        assert facts_of(log, limits).reach == 2
        assert_laws(log, runs=3, limits=limits)


def test_every_law_has_a_name():
    assert list(LAWS) == [f"L{number}" for number in range(1, 7)]


# -- recorders -------------------------------------------------------------------------------------


def test_a_recorder_hears_what_a_subscriber_sees():
    store = StreamStore("native", ticks="manual")
    with Recorder(store) as recorder:
        for seq, text in ((1, "Hel"), (3, "!"), (2, "lo")):
            store.ingest(delta(seq, text))
            store.flush()
        recorder.check()
        assert recorder.seen("s", "m", 0) == ["Hel", "Hel!", "Hello!"]
        assert recorder.text("s", "m", 0) == "Hello!"
        assert recorder.keys() == (SessionKey("s"),)
        assert recorder.keys("s") == (MessageKey("s", "m"),)
        assert recorder.keys("s", "m") == (PartKey("s", "m", 0),)
        assert len(recorder.changes) == 3
    store.ingest(delta(4, "?"))
    store.flush()
    assert len(recorder.changes) == 3


@pytest.mark.parametrize("scope", [("s",), ("s", "m"), ("s", "m", 0)])
def test_a_recorder_of_a_scope_begins_with_what_is_there(scope):
    store = StreamStore("native", ticks="manual")
    store.ingest_many([delta(1, "a"), {**delta(1, "b"), "sessionId": "t"}])
    store.flush()
    recorder = Recorder(store, *scope)
    store.ingest_many([delta(2, "c"), {**delta(2, "d"), "sessionId": "t"}])
    store.flush()
    recorder.check()
    assert recorder.seen("s", "m", 0) == ["a", "ac"]
    assert recorder.seen("t", "m", 0) == []


def test_a_recorder_follows_a_throttle_and_a_reset():
    ticks = ManualTicks(16)
    store = StreamStore("native", ticks=ticks, limits=Limits(subscriber_changes=1))
    recorder = Recorder(store, throttle=100)
    for seq in range(1, 10):
        store.ingest(delta(seq, "x", block=seq))
        ticks.advance(20)
    ticks.run()
    recorder.check()
    assert any(changes.reset for changes in recorder.changes)


def test_a_recorder_of_a_closed_store_is_still_checked():
    store = StreamStore("native", ticks="manual")
    recorder = Recorder(store)
    store.ingest(delta(1, "a"))
    store.close()
    recorder.check()
    assert recorder.seen("s", "m", 0) == ["a"]


def test_a_recorder_takes_a_reset_that_the_close_brings(capsys):
    ticks = ManualTicks(16)
    store = StreamStore("native", ticks=ticks, limits=Limits(subscriber_changes=2))
    recorder = Recorder(store, throttle=100)
    for seq in range(1, 4):
        store.ingest(delta(seq, "x", block=seq))
        ticks.advance(16)
    store.ingest(delta(4, "x", block=4))
    store.close()
    recorder.check()
    assert recorder.changes[-1].reset
    assert capsys.readouterr().err == ""  # where what a subscriber raised is told


class Lying(StreamStore):
    """Subscribers hear what `tell` makes of a change set."""

    tell: Any = None

    def subscribe(self, callback: Any, *scope: Any, **options: Any) -> Any:
        return super().subscribe(lambda heard: callback(type(self).tell(heard)), *scope, **options)


def _edited(changes: ChangeSet, edit: Edit) -> ChangeSet:
    import attrs

    return attrs.evolve(changes, text=dict.fromkeys(changes.text, edit))


DISHONEST = {
    "text that is not there": (lambda c: _edited(c, Edit(0, "zzz", False)), "edits make"),
    "an edit behind the end": (lambda c: _edited(c, Edit(9, "", False)), "behind the"),
    "a rewrite that is none": (lambda c: _edited(c, Edit(0, "a", True)), "announces a rewrite"),
}


@pytest.mark.parametrize(("tell", "problem"), DISHONEST.values(), ids=DISHONEST)
def test_a_recorder_says_what_was_not_honest(tell, problem):
    store = type("Liar", (Lying,), {"tell": staticmethod(tell)})("native", ticks="manual")
    recorder = Recorder(store)
    store.ingest(delta(1, "a"))
    store.flush()
    assert problem in recorder.problems[0]
    with pytest.raises(AssertionError, match=problem):
        recorder.check()


def test_a_recorder_misses_what_is_not_announced():
    def silent(changes: ChangeSet) -> ChangeSet:
        return ChangeSet(version=changes.version)

    store = type("Silent", (Lying,), {"tell": staticmethod(silent)})("native", ticks="manual")
    recorder = Recorder(store)
    store.ingest(delta(1, "a"))
    store.flush()
    with pytest.raises(AssertionError, match="sessions: change sets make \\[\\]"):
        recorder.check()


def test_a_place_before_nobody_is_reported():
    def misplaced(changes: ChangeSet) -> ChangeSet:
        import attrs

        places = tuple(Place(key, MessageKey("s", "x")) for key, _ in changes.added)
        return attrs.evolve(changes, added=places)

    store = type("Lost", (Lying,), {"tell": staticmethod(misplaced)})("native", ticks="manual")
    recorder = Recorder(store)
    store.ingest(delta(1, "a"))
    store.flush()
    assert "which is not there" in recorder.problems[0]


# -- books, differences, shrinking -----------------------------------------------------------------


def test_books_say_where_characters_are():
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="block")
    stream.ingest(delta(1, "ab\ud83d"))
    store.flush()
    stream.ingest(delta(1, "ab"))
    stream.ingest(delta(3, "held"))
    books = Books.of(store)
    assert (books.received, books.accepted, dict(books.refused)) == (9, 7, {"duplicate": 2})
    assert (books.shown, books.waiting, books.held) == (2, 1, 4)
    stream.ingest(delta(2, "\ude00"))
    store.flush()
    stream.ingest({**delta(4, "new"), "type": "block.replaced"})
    store.flush()
    books = Books.of(store)
    assert (books.shown, books.held, books.superseded, books.paired) == (3, 0, 7, 1)
    assert books.problem is None


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ((5, 4, {}, 4, 0, 0, 0, 0), "5 characters were received"),
        ((5, 4, {"sealed": 1}, 3, 0, 0, 0, 0), "4 characters were accepted"),
        ((4, 4, {}, 5, -1, 0, 0, 0), "1 more than were taken in"),
        ((5, 4, {"sealed": 1}, 1, 1, 1, 1, 0), None),
    ],
)
def test_books_that_do_not_add_up_say_so(numbers, problem):
    found = Books(*numbers).problem
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"a": 1}, {"a": True}, "a is True, not 1"),
        ({"a": 1}, {}, "a is missing, not 1"),
        ([1, 2], [1], ".1 is missing, not 2"),
        ({"p": [{"id": "x", "t": "a"}]}, {"p": [{"id": "x", "t": "b"}]}, "p.x.t is 'b', not 'a'"),
        ("x" * 200, "y" * 200, "the state is 'yyy"),
    ],
)
def test_the_first_difference_is_said_in_one_line(first, second, said):
    found = str(difference(first, second))
    assert said in found and len(found) < 250
    assert difference(first, first) is None


@given(st.sets(st.integers(0, 60), min_size=1, max_size=5))
def test_shrinking_finds_exactly_what_is_needed(needed):
    found = shrink(range(61), lambda some: needed <= set(some))
    assert set(found) == needed


def test_shrinking_keeps_what_it_must_and_stops_with_its_budget():
    asked: list[int] = []

    def fails(some: tuple[int, ...]) -> bool:
        asked.append(len(some))
        return 7 in some

    assert shrink(range(20), fails, keeps=lambda item: item == 3) == (3, 7)
    asked.clear()
    shrink(range(1000), fails, budget=Budget(1500))
    assert sum(asked) < 3000


def test_an_order_at_fault_is_moved_to_where_it_is_short():
    def fails(some: tuple[int, ...]) -> bool:
        return list(some) != sorted(some) and sorted(some) == list(range(len(some)))

    assert exchange((0, 1, 2, 3, 5, 4), fails, lambda a, b: True) == (1, 0)
    assert exchange((0, 1, 2, 3, 5, 4), fails, lambda a, b: False) == (0, 1, 2, 3, 5, 4)
    assert settle((5, 4, 3), lambda some: some[0] == 5, lambda a, b: a < b) == (5, 3, 4)


# -- transcripts and strategies --------------------------------------------------------------------


def test_a_transcript_holds_everything_a_reader_gets_and_is_safe_to_print():
    store = replay(
        Log.of(
            [
                {"type": "session.updated", "sessionId": "s", "info": {"title": "a\x1b[2J"}},
                {"type": "session.status", "sessionId": "s", "status": "busy"},
                event("message.opened", role="assistant"),
                delta(1, "one\ntwo\u202e"),
                event("block.opened", blockIndex=1, kind="tool", tool="read", callId="c"),
                event(
                    "block.updated", blockIndex=1, state={"status": "running", "input": {"a": 1}}
                ),
                {"type": "permission.asked", "sessionId": "s", "id": "p", "payload": {"x": 1}},
                {"type": "todo.updated", "sessionId": "s", "todo": ["do"]},
                {"type": "session.error", "sessionId": "s", "error": {"name": "E"}},
                event("message.closed", status="aborted", error={"name": "stop"}),
            ]
        )
    )
    assert transcript(store).splitlines() == [
        "session s",
        "  status busy",
        "  title a\\x1b[2J",
        "  assistant m (aborted)",
        '    error {"name": "stop"}',
        "    text 0 (closed)",
        "      | one",
        "      | two\\u202e",
        "    tool 1 read: error (closed)",
        '      input | {"a": 1}',
        "      error | the message ended as aborted",
        '  permission p {"x": 1}',
        '  todo ["do"]',
        '  error {"name": "E"}',
    ]
    assert transcript(store, "nobody") == ""


@given(st.data())
def test_chunks_join_to_their_bytes(data):
    whole = data.draw(st.binary(max_size=40))
    chunks = data.draw(strategies.chunks(whole, most=5))
    assert b"".join(chunks) == whole and len(chunks) <= 5


@given(strategies.events("block"))
def test_single_events_can_be_drawn(wire):
    assert "type" in wire


def test_without_hypothesis_strategies_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match="pip install hypothesis"):
        strategies.logs()


# -- a protocol whose events depend on each other ---------------------------------------------------


@pytest.fixture
def stateful(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A protocol as model providers have it: one message a stream, named at its start, no seq."""
    from streamstore import protocols
    from streamstore.adapters.base import Context, Declaration
    from streamstore.errors import MalformedEvent
    from streamstore.events import BlockDelta, MessageOpened

    class Start:
        declaration = Declaration(name="start", sequencing="none")
        delta = None

        def __init__(self, context: Context) -> None:
            self.own = context.own

        def plain(self, wire: Any) -> None:
            return None

        @classmethod
        def detects(cls, wire: Any) -> bool:
            return isinstance(wire, dict) and "start" in wire

        def decode(self, wire: Any) -> Any:
            if "start" in wire:
                self.own["message"] = wire["start"]
                return (MessageOpened(message_id=wire["start"], role="assistant"),)
            if "message" not in self.own:
                raise MalformedEvent("start", "is missing")
            message = self.own["message"]
            return (BlockDelta(message_id=message, block_index=0, text=wire["text"]),)

        def encode(self, reads: Any) -> Any:
            return None

    monkeypatch.setattr(protocols, "_OWN", (*protocols._OWN, Start))
    protocols.adapters.cache_clear()
    yield "start"
    monkeypatch.undo()
    protocols.adapters.cache_clear()


def test_what_a_stateful_protocol_does_not_promise_is_said_with_its_reason(stateful):
    log = Log.of([{"start": "m"}, {"text": "a"}, {"text": "b"}])
    assert log.protocol == stateful
    assert not facts_of(log).stateless
    reports = {report.law: report for report in check_laws(log, runs=9)}
    assert {law: report.outcome for law, report in reports.items()} == {
        "L1": "not promised",
        "L2": "not promised",
        "L3": "kept",
        "L4": "kept",
        "L5": "kept",
        "L6": "kept",
    }
    assert "no seq and no unique id" in reports["L1"].why
    assert "order of arrival" in reports["L2"].why


def test_edits_of_a_recorder_are_by_field():
    store = StreamStore("native", ticks="manual")
    recorder = Recorder(store)
    store.ingest(delta(1, "{", field="input"))
    store.flush()
    recorder.check()
    assert recorder.seen("s", "m", 0, "input") == ["{"]
    assert TextField(PartKey("s", "m", 0), "input") in recorder.changes[0].text


def test_one_connection_of_a_recording_is_read_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    with open_log(path) as log:
        for number in (1, 2):
            wire = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": number}
            log.append(json.dumps({**wire, "text": "x"}).encode(), connection=number)
    assert [wire["seq"] for wire in Log.read(path, connection=2).wires] == [2]
    for number in (0, 3, None):
        with pytest.raises(CallerError, match="connection"):
            Log.read(path, connection=number)
