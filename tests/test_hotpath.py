"""The short way of a delta and of a tick of text: what they do is what the long ways do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_stream import Bench, delta, fetched
from strategies import disturbed, logs

from streamstore import Limits, StreamStore, verdicts
from streamstore.cells import TextCell
from streamstore.coalescer import Coalescer
from streamstore.errors import CallerError
from streamstore.events import BlockDelta
from streamstore.keys import SessionKey

SEQUENCINGS = ("block", "session", "sparse", "none")


class LongTicks(Coalescer):
    """A coalescer that knows no tick of text alone."""

    def take_texts(self) -> None:
        return None


def texts(store: StreamStore) -> dict[Any, str]:
    messages = [(name, m.id) for name in store.session_ids() for m in store.messages(name)]
    return {part.key: part.text for at in messages for part in store.parts(*at)}


@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(st.data())
def test_a_tick_of_text_alone_shows_what_any_tick_shows(
    sequencing: Any, delivery: Any, data: st.DataObject
) -> None:
    log = data.draw(disturbed(data.draw(logs(sequencing))))
    every = data.draw(st.integers(1, 12))
    limits = Limits(late_window=data.draw(st.sampled_from([1, 2, 512])))
    short, long = (
        StreamStore("native", ticks="manual", delivery=delivery, limits=limits) for _ in range(2)
    )
    long._coalescer.__class__ = LongTicks
    streams = [store.open("native", sequencing=sequencing) for store in (short, long)]
    for number, event in enumerate(log):
        assert streams[0].ingest(event) == streams[1].ingest(event)
        if number % every == 0:
            assert short.flush() == long.flush()
            assert short.state() == long.state()
            assert texts(short) == texts(long)  # of the parts as they are read, not as they are
    assert short.flush() == long.flush()
    assert short.health == long.health
    assert short.save() == long.save()


@pytest.mark.parametrize("fetched_first", [True, False])
def test_a_fetched_part_that_streams_on_may_lack_text_when_its_stream_ends(
    fetched_first: bool,
) -> None:
    bench = Bench("none")

    def fetch(text: str) -> None:
        token = bench.store.begin_read("s")
        bench.take("snapshot", messages=[fetched("m", (0, text))], readFrom=token)

    if fetched_first:
        fetch("ab")
    else:
        bench.take("block.opened", kind="text")
        bench.delta(None, "ab")
    bench.stream.end()
    bench.stream = bench.store.open("native", sequencing="none")
    fetch("abc")
    assert not bench.part().gap
    for text in "def":
        bench.delta(None, text)
    assert bench.stream.unfinished == bench.part().key
    bench.stream.end()
    part = bench.part()
    assert (part.text, part.gap) == ("abcdef", True)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("sequencing", ["sparse", "session"])
def test_a_delta_that_a_fetched_state_covers_is_known_though_its_part_was_refused(
    sequencing: Any, complete: bool
) -> None:
    bench = Bench(sequencing)
    bench.take("block.opened", 1, kind="text")
    for seq, text in enumerate("ab", 2):
        bench.delta(seq, text)
    part = {"blockIndex": 0, "kind": "reasoning", "text": "abc", "status": "open"}
    message = {"info": {"id": "m", "role": "assistant"}, "parts": [part]}
    bench.take("snapshot", 4, messages=[message], complete=complete)
    assert [bench.delta(seq, "x") for seq in (3, 4, 5, 6)] == ["duplicate"] * 2 + ["accepted"] * 2
    assert bench.text() == "abxx"


@pytest.mark.parametrize("many", [True, False])
def test_deltas_with_ids_and_without_take_the_short_way_in_any_turn(many: bool) -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="none")
    wires = [delta("x", **({"id": f"e{at:03}"} if at % 4 < 2 else {})) for at in range(100)]
    stream.ingest(wires[0])
    before = stream._progress.taken_in()
    if many:
        stream.ingest_many(wires[1:])
    else:
        for wire in wires[1:]:
            stream.ingest(wire)
    assert stream._progress.taken_in() - before == 99
    store.flush()
    assert texts(store) == {("s", "m", 0): "x" * 100}
    assert [stream.ingest(wire).kind for wire in wires[1:4]] == [
        "duplicate",
        "accepted",
        "accepted",
    ]


EXTRAS = {
    "seq": st.sampled_from([0, 1, 2, 3, 2**63 - 1, 2**63, True, 1.0, None, "2"]),
    "id": st.sampled_from(["e1", "e2", "", None, 5, ["e"]]),
    "time": st.sampled_from([0, 5, -1, True, 1.5, None, "now"]),
    "field": st.sampled_from(["text", "title", None, 5]),
    "generation": st.sampled_from(["g", None]),
    "other": st.just(1),
}


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(st.lists(st.fixed_dictionaries({}, optional=EXTRAS), min_size=1, max_size=6))
def test_a_delta_with_more_members_is_what_the_long_way_says(
    sequencing: Any, extras: list[dict[str, Any]]
) -> None:
    short, long = (StreamStore("native", ticks="manual") for _ in range(2))
    streams = [store.open("native", sequencing=sequencing) for store in (short, long)]
    for seq, extra in enumerate([{}, *extras], 1):
        wire = {**delta("a", seq), **extra}
        assert streams[0].ingest(wire) == streams[1]._ingest_slowly(wire)
    assert short.flush() == long.flush()
    assert short.state() == long.state()
    assert short.health == long.health


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_members_without_effect_keep_a_delta_on_the_short_way(sequencing: Any) -> None:
    bench = Bench(sequencing)
    bench.delta(1, "a")
    before = bench.stream._progress.taken_in()
    for seq, extra in enumerate([{"time": 5}, {"field": "text"}, {"id": "e1"}, {"time": None}], 2):
        bench.delta(seq, "b", **extra)
    assert bench.stream._progress.taken_in() - before == 4


def test_seqs_far_apart_make_nothing_merge_earlier() -> None:
    bench = Bench("sparse", limits=Limits(pending_merge=100))
    waiting = []
    for at in range(250):
        bench.delta(1 + 1000 * at, "a")
        row = bench.store._sessions["s"].messages["m"].blocks[0]
        waiting.append(len(row.fresh) + len(row.cell.pending))
    assert waiting == [*range(1, 101), *range(1, 101), *range(1, 51)]
    bench.store.flush()
    assert bench.text() == 250 * "a"


def test_a_seq_beyond_the_end_is_refused_wherever_the_mark_stands() -> None:
    bench = Bench("sparse")
    assert bench.delta(1, "a") == "accepted"
    assert bench.delta(2, "b") == "accepted"
    for many in (False, True):
        wires = [delta("x", 2**63), delta("c", 2**40 + many)]
        if many:
            verdicts = [verdict.kind for _, verdict in bench.stream.ingest_many(wires)]
        else:
            verdicts = [bench.stream.ingest(wire).kind for wire in wires][:1]
        assert verdicts == ["malformed"]
    bench.store.flush()
    assert bench.text() == "abcc"


def test_ids_that_do_not_rise_are_known_on_the_short_way_as_on_the_long() -> None:
    bench = Bench("none")
    rising, random = [f"e{at:03}" for at in range(30)], [f"e{at * 7 % 30:03}" for at in range(30)]
    for session, ids in (("a", rising), ("b", random)):
        bench.delta(None, ".", sessionId=session, id="e")
        for event_id in ids[:10]:
            assert bench.delta(None, ".", sessionId=session, id=event_id) == "accepted"
    for number in range(10, 30):  # they take turns
        assert bench.delta(None, ".", sessionId="a", id=rising[number]) == "accepted"
        assert bench.delta(None, ".", sessionId="b", id=random[number]) == "accepted"
        assert bench.delta(None, ".", sessionId="b", id=random[number]) == "duplicate"
        assert bench.delta(None, ".", sessionId="a", id=rising[number]) == "duplicate"
        assert bench.delta(None, ".", sessionId="b", id=random[number - 9]) == "duplicate"
        assert bench.delta(None, ".", sessionId="a", id=rising[number - 9]) == "duplicate"


def kept_before_detection(store: StreamStore) -> Any:
    return store.open("auto").ingest


def kept_before_another_sequencing(store: StreamStore) -> Any:
    stream = store.open("native", sequencing="none")
    ingest = stream.ingest
    ingest({"type": "stream.opened", "sequencing": "sparse"})
    return ingest


def of_the_store_before_its_first_event(store: StreamStore) -> Any:
    return store.ingest


def of_the_store(store: StreamStore) -> Any:
    store.ingest({"type": "stream.opened", "sequencing": "sparse"})
    return store.ingest


@pytest.mark.parametrize(
    "keep",
    [
        kept_before_detection,
        kept_before_another_sequencing,
        of_the_store_before_its_first_event,
        of_the_store,
    ],
)
def test_a_function_kept_from_early_on_takes_the_short_way(keep: Any) -> None:
    store = StreamStore(ticks="manual")
    ingest = keep(store)
    ingest({"type": "block.opened", "sessionId": "s", "messageId": "m", "blockIndex": 0,
            "kind": "text"})  # fmt: skip
    ingest(delta("a", 1))
    (stream,) = store._streams
    before = stream._progress.taken_in()
    for seq in range(2, 52):
        assert ingest(delta("b", seq)).kind == "accepted"
    assert stream._progress.taken_in() - before == 50
    assert ingest(delta("b", 51)).kind == "duplicate"
    store.flush()
    assert texts(store) == {("s", "m", 0): "a" + 50 * "b"}


def test_the_way_into_a_store_outlives_its_default_stream() -> None:
    store = StreamStore("native", ticks="manual")
    store.ingest(delta("a", 1))
    ingest = store.ingest
    (stream,) = store._streams
    stream.end()
    assert ingest(delta("b", 2)).kind == "accepted"  # through a new one
    assert [*store._streams] != [stream]
    store.close()
    with pytest.raises(CallerError, match="store is closed"):
        ingest(delta("c", 3))
    assert texts(store) == {("s", "m", 0): "ab"}


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("sequencing", ["sparse", "session"])
def test_no_number_beyond_the_last_one_is_a_seq(sequencing: Any, many: bool) -> None:
    last = 2**63 - 1
    bench = Bench(sequencing)
    bench.delta(1, "a")
    bench.delta(2, "b")
    if sequencing == "session":
        assert bench.take("session.status", last - 2, status="busy") == "accepted"
    wires = [delta("c", last + at) for at in range(-1, 4)]
    if many:
        kinds = [verdict.kind for _, verdict in bench.stream.ingest_many(wires)]
    else:
        kinds = [bench.stream.ingest(wire).kind for wire in wires][2:]
    assert kinds == 3 * ["malformed"]
    bench.store.flush()
    assert bench.text() == "abcc"


def test_an_operation_below_the_mark_of_another_sequencing_loses_no_text() -> None:
    bench = Bench("block")
    for seq, text in enumerate("abc", 1):
        bench.delta(seq, text)
    bench.take("stream.opened", sequencing="sparse")
    assert [bench.delta(2, "x"), bench.delta(1, "y")] == 2 * ["late"]
    bench.store.flush()
    assert bench.text() == "abcyx"


@pytest.mark.parametrize("short", [True, False])
def test_a_delta_in_order_behind_a_hole_says_nothing_of_its_session(short: bool) -> None:
    bench = Bench("session")
    take = bench.stream.ingest if short else bench.stream._ingest_slowly
    for session in ("s", "t"):
        bench.stream.ingest_many([delta("a", seq, sessionId=session) for seq in (1, 3)])
    bench.store.flush()
    take(delta("b", 4))
    # What is announced is in the order of what changed: this is first, whichever way that went.
    take({"type": "session.updated", "sessionId": "t", "info": {"title": "t"}, "seq": 4})
    take({"type": "session.updated", "sessionId": "s", "info": {"title": "s"}, "seq": 5})
    assert bench.store.flush().changed == (SessionKey("t"), SessionKey("s"))


@pytest.mark.parametrize("short", [True, False])
def test_what_comes_behind_a_window_of_another_sequencing_ends_it_where_it_stood(
    short: bool,
) -> None:
    bench = Bench("sparse")
    bench.delta(6, "a", field="input")
    blocks = bench.store.open("native", sequencing="block")
    take = blocks.ingest if short else blocks._ingest_slowly
    take({**delta("7", 7), "type": "block.replaced"})
    for seq in (8, 9):
        take(delta(str(seq), seq, field="input"))
    [saved] = bench.store.save()["sessions"][0]["messages"][0]["blocks"]
    assert (saved["mark"], saved["floor"]) == (9, 8)
    [part] = bench.sessions()["s"]["messages"][0]["parts"]
    assert (part["text"], part["input"]) == ("7", "a89")


@pytest.mark.parametrize("before", ["", "\u00e9"])
def test_a_tick_of_more_than_a_window_holds_leaves_its_end_for_late_ones(before: str) -> None:
    bench = Bench("sparse", limits=Limits(late_window=4))
    bench.delta(2, before + "a")
    bench.store.flush()
    for seq in range(4, 42, 2):
        bench.delta(seq, chr(ord("a") + seq // 2 - 1))
    bench.store.flush()
    assert bench.delta(31, "?") == "refused:unplaceable"  # below the last four
    assert bench.delta(35, "!") == "late"
    bench.delta(42, "u")
    bench.store.flush()
    assert bench.text() == before + "abcdefghijklmnopq!rstu"


@pytest.mark.parametrize("sequencing", ["sparse", "session"])
def test_a_window_that_a_delta_without_seq_ended_goes_on_in_order(sequencing: Any) -> None:
    bench = Bench(sequencing)
    bench.delta(1, "a")
    bench.delta(2, "b")
    bench.delta(None, "T", field="title")  # has no place in the window
    for seq in range(3, 7):
        bench.delta(seq, str(seq))
    if sequencing == "session":
        bench.take("message.updated", 7, messageId="other", info={})
    bench.delta(8, "8")
    assert [bench.delta(seq, "!") for seq in (4, 5, 8)] == 3 * ["duplicate"]
    bench.delta(10, "x")
    assert bench.delta(9, "9") == "late"
    bench.store.flush()
    assert bench.text() == "ab345689x"


@pytest.mark.parametrize("field", ["text", "input"])
@pytest.mark.parametrize("sequencing", ["sparse", "session"])
def test_text_without_a_seq_that_ended_a_window_stays_below_a_late_one(
    sequencing: Any, field: str
) -> None:
    bench = Bench(sequencing)
    bench.delta(1, "a", field=field)
    bench.take("block.replaced", 4, **{field: "b"})
    bench.delta(None, "x", field=field)
    bench.delta(6, "d", field=field)
    assert bench.delta(5, "c", field=field) == "late"
    bench.store.flush()
    part = bench.part()
    assert part.field_text(field) == "bxcd"


@pytest.mark.parametrize("flushed", [(), (0,), (1,), (0, 2), (3,)])
@pytest.mark.parametrize("sequencing", ["sparse", "session"])
@pytest.mark.parametrize("first", ["A", "A\ud83d"])
def test_text_without_a_seq_lies_below_what_has_one(
    sequencing: Any, flushed: Any, first: str
) -> None:
    bench = Bench(sequencing)
    other = "\ude00" if len(first) == 2 else ""
    wires = [delta(first), delta(other + "1", 1), delta("2", 2), delta("4", 4), delta("3", 3)]
    for number, wire in enumerate(wires):
        bench.stream.ingest(wire)
        if number in flushed:
            bench.store.flush()
    bench.store.flush()
    assert bench.text() == ("A\U0001f600" if other else "A") + "1234"
    lost = bench.store.counts["characters"].get("superseded", 0)
    assert lost in ((0, 1) if other else (0,))  # two halves are one character


@pytest.mark.parametrize("text", ["b", "\u00e9", "\U0001f600", "\ud83d", ""])
def test_a_part_that_was_read_is_read_anew_after_a_tick_of_text(text: str) -> None:
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    bench.delta(None, "a")
    before = bench.part()
    assert bench.store.parts("s", "m") == (before,)
    bench.delta(None, text)
    bench.store.flush()
    whole = "a" + text if text != "\ud83d" else "a"  # its other half may come
    assert before.text == "a"
    assert bench.store.part("s", "m", 0).text == whole
    assert [part.text for part in bench.store.parts("s", "m")] == [whole]


def test_each_stream_counts_what_it_brought_although_both_bring_one_part() -> None:
    bench = Bench("none")
    first, second = bench.stream, bench.store.open("native", sequencing="none")
    bench.take("block.opened", kind="text")
    second.ingest({**delta("x"), "id": "e0"})
    for number in range(6):
        first.ingest(delta("a"))
        if number % 2:
            second.ingest(delta("b"))
        if number == 3:
            bench.store.flush()
    assert (first.received, second.received) == (7, 4)
    assert bench.text() == "xaabaabaab"
    assert (first.received, second.received) == (7, 4)
    first.end()
    second.ingest(delta("c"))
    assert (first.received, second.received) == (7, 5)


def test_what_a_removal_wipes_was_received() -> None:
    bench = Bench("none")
    bench.take("block.opened", kind="text")
    for _ in range(5):
        bench.delta(None, "a")
    bench.take("block.removed")
    assert bench.stream.received == 7


@pytest.mark.parametrize("other", [True, 1.0, "1", [1], None])
def test_what_is_no_index_is_none_on_the_short_way(other: Any) -> None:
    for before in ({"blockIndex": 1}, {"blockIndex": 2}):  # the same row as before, and another
        bench = Bench("none")
        for index in (1, 2):
            bench.take("block.opened", kind="text", blockIndex=index)
            bench.delta(None, "a", blockIndex=index)
        bench.delta(None, "b", **before)
        bench.delta(None, "c", blockIndex=other)
        assert "c" not in bench.text(1) + bench.text(2)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("before", [[], [1], [1, 2], [5], [None]])
@pytest.mark.parametrize("first", ["block.opened", "block.snapshot", "block.delta"])
@pytest.mark.parametrize("sequencing", ["block", "session", "sparse"])
def test_what_is_one_more_and_no_integer_is_no_seq(
    sequencing: Any, first: str, before: list[int | None], many: bool
) -> None:
    bench = Bench(sequencing)
    bench.take(first, 0, kind="text", text="a", info={})
    for seq in before:
        bench.take("block.delta", seq, text="a" if seq is not None else 1)
    for number in (True, False, 1.0, 2.0, 3.0, 6.0):
        wires: list[Any] = [{**delta("x"), "seq": number} for _ in range(3)]
        kinds = (
            [verdict.kind for _, verdict in bench.stream.ingest_many(wires)]
            if many
            else [bench.stream.ingest(wire).kind for wire in wires]
        )
        assert kinds == 3 * ["malformed"]
    assert "x" not in (bench.text() or "")


@pytest.mark.parametrize("other", [None, True, 7, 1.5, [], ["x"], {}])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_is_no_text_within_a_run_is_malformed(sequencing: Any, many: bool, other: Any) -> None:
    bench = Bench(sequencing)
    seqs = [None] * 9 if sequencing == "none" else range(1, 10)
    wires = [delta("a", seq) for seq in seqs]
    wires.insert(5, {**wires[5], "text": other})
    if many:
        ((at, verdict),) = bench.stream.ingest_many(wires)
        assert (at, verdict.kind, verdict.reason) == (5, "malformed", "text")
    else:
        kinds = [bench.stream.ingest(wire).kind for wire in wires]
        assert kinds == ["accepted"] * 5 + ["malformed"] + ["accepted"] * 4
    assert bench.text() == "a" * 9


class Adding:
    """What adds to a string and is none, as an array of strings may be; no JSON holds it."""

    def __radd__(self, other: str) -> Adding:
        return self


@pytest.mark.parametrize("every", [1, 2, 7])
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_adds_to_a_string_and_is_none_harms_no_text(
    sequencing: Any, many: bool, every: int
) -> None:
    bench = Bench(sequencing)
    bench.delta(None if sequencing == "none" else 1, "a")
    odd: list[Any] = ["b", "c", Adding(), "d", Adding(), "e", "f"]
    wires = [
        delta(text, None if sequencing == "none" else seq)
        for seq, text in enumerate([*odd, "g" * 600], 2)
    ]
    for start in range(0, len(wires), every):
        if many:
            bench.stream.ingest_many(wires[start : start + every])
        else:
            for wire in wires[start : start + every]:
                bench.stream.ingest(wire)
        bench.store.flush()
    bench.store.save()
    bench.delta(None if sequencing == "none" else 2 + len(wires), "h")
    bench.store.flush()
    assert bench.text() == "abcdef" + "g" * 600 + "h"


@pytest.mark.parametrize("before", [0, 600, 1023, 1024, 3000])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_no_more_wait_in_single_pieces_than_there_is_room_for(sequencing: Any, before: int) -> None:
    bench = Bench(sequencing)
    bench.delta(None if sequencing == "none" else 1, "a")
    bench.store.flush()
    wires = [delta("a", None if sequencing == "none" else seq) for seq in range(2, before + 3002)]
    assert bench.stream.ingest_many(wires[:before]) == []
    row = bench.row.messages["m"].blocks[0]
    waiting = []
    for wire in wires[before:]:
        assert bench.stream.ingest(wire) is verdicts.ACCEPTED
        waiting.append(len(row.fresh))
    assert max(waiting) == bench.store.limits.pending_merge - 1
    assert bench.text() == "a" * (before + 3001)


def test_a_failed_request_for_a_tick_is_made_again_by_the_next_delta() -> None:
    class Failing:
        asked = 0

        def start(self, commit: Any) -> None:
            self.commit = commit

        def request(self) -> None:
            self.asked += 1
            if self.asked == 2:
                raise RuntimeError("no loop")

        def committed(self) -> None:
            pass

        def stop(self) -> None:
            pass

        def meet(self) -> bool:
            return False

    ticks = Failing()
    bench = Bench("none", ticks=ticks)
    bench.take("block.opened", kind="text")
    bench.store.flush()
    with pytest.raises(RuntimeError):
        bench.delta(None, "a")
    bench.delta(None, "b")
    assert ticks.asked == 3
    ticks.commit()
    assert bench.store.part("s", "m", 0).text == "ab"


# --- other fields than the text --------------------------------------------------------------------

FIELDS = st.sampled_from([None, "text", "input", "input", "input", "output"])
BETWEEN: list[dict[str, Any]] = [
    {"type": "block.opened", "blockIndex": 0, "kind": "tool", "callId": "c"},
    {"type": "block.opened", "blockIndex": 0, "kind": "tool", "input": "opened"},
    {"type": "tool.result", "callId": "c", "fields": {"input": "a result"}},
    {"type": "block.snapshot", "blockIndex": 0, "kind": "tool", "input": "fetched", "seq": 5},
    {"type": "block.updated", "blockIndex": 0, "input": {"a": 1}},
    {"type": "block.updated", "blockIndex": 0, "input": "set", "whole": True},
    {"type": "block.updated", "blockIndex": 0, "state": {"status": "completed"}},
    {"type": "block.replaced", "blockIndex": 0, "text": "replaced"},
    {"type": "block.replaced", "blockIndex": 0, "input": "replaced", "whole": True},
    {"type": "block.closed", "blockIndex": 0},
    {"type": "block.removed", "blockIndex": 0},
    {"type": "message.opened", "role": "assistant"},
    {"type": "message.reset"},
    {"type": "message.closed", "status": "completed"},
    {"type": "message.removed"},
    {"type": "stream.opened", "generation": "g"},
]


@st.composite
def fields(draw: Any, sequencing: str) -> list[dict[str, Any]]:
    """Runs of deltas of one field of one block, and what may end a run between them."""
    found: list[dict[str, Any]] = []
    counts: dict[int, int] = {}
    seq = 0

    def put(event: dict[str, Any], block: int) -> None:
        nonlocal seq
        step = draw(st.sampled_from([1] * 10 + [0, 2, -2]))
        seq = max(1, seq + step)
        own = seq
        if sequencing == "block" and event["type"] in ("block.delta", "block.replaced"):
            counts[block] = counts.get(block, 0) + 1  # operations alone have a number
            own = max(1, counts[block] + step - 1)
        unnumbered = sequencing == "none" or (
            sequencing == "block" and event["type"] not in ("block.delta", "block.replaced")
        )
        numbered: dict[str, Any] = {} if unnumbered else {"seq": max(1, own)}
        if draw(st.integers(0, 9)) == 0:
            numbered = {"id": f"e{len(found):03}"}
        found.append({**numbered, **event, "sessionId": "s", "messageId": "m"})

    for _ in range(draw(st.integers(1, 6))):
        block, field = draw(st.sampled_from([0, 0, 1])), draw(FIELDS)
        text = draw(st.sampled_from(["x", "ab", "\ud83d", "\ude00", "é", ""]))
        for _ in range(draw(st.integers(1, 8))):
            own = {} if field is None else {"field": field}
            put({"type": "block.delta", "blockIndex": block, "text": text, **own}, block)
        if draw(st.booleans()):
            put(draw(st.sampled_from(BETWEEN)), 0)
    return found


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(st.data())
def test_deltas_of_any_field_do_on_the_short_way_what_they_do_on_the_long(
    sequencing: Any, many: bool, data: st.DataObject
) -> None:
    log = data.draw(fields(sequencing))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    limits = Limits(
        pending_merge=data.draw(st.sampled_from([2, 512])),
        text_fields=data.draw(st.sampled_from([1, 8])),
    )
    delivery: Any = data.draw(st.sampled_from(["streaming", "streaming", "buffered"]))
    short, long = (
        StreamStore("native", ticks="manual", delivery=delivery, limits=limits) for _ in range(2)
    )
    mine, theirs = (store.open("native", sequencing=sequencing) for store in (short, long))
    at = 0
    while at < len(log):
        size = sizes[at % len(sizes)]
        batch = log[at : at + size]
        at += size
        verdicts = [theirs._ingest_slowly(event) for event in batch]
        if many:
            notable = [(n, v) for n, v in enumerate(verdicts) if v.kind != "accepted"]
            assert [(n, v) for n, v in mine.ingest_many(batch)] == notable
        else:
            assert [mine.ingest(event) for event in batch] == verdicts
        assert short.flush() == long.flush()
        assert short.state() == long.state()
    assert short.health == long.health
    saved, expected = short.save(), long.save()
    for one in (saved, expected):
        # Behind what has no seq the short way only knows a place that surely lies before a hole.
        del one["streams"], one["holes"]
    assert saved == expected


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_the_input_of_a_tool_takes_the_short_way(sequencing: Any, many: bool) -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing=sequencing)
    wires = [
        delta("x", None if sequencing == "none" else at + 1, field="input") for at in range(99)
    ]
    stream.ingest(wires[0])
    before = stream._progress.taken_in()
    if many:
        assert stream.ingest_many(wires[1:]) == []
    else:
        assert {stream.ingest(wire).kind for wire in wires[1:]} == {"accepted"}
    assert stream._progress.taken_in() - before == 98
    (edit,) = store.flush().text.values()
    part = store.part("s", "m", 0)
    assert part is not None and (part.text, part.field_text("input")) == ("", "x" * 99)
    assert edit.text == "x" * 99


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_a_delta_without_a_field_is_of_the_text_also_behind_another_field(sequencing: Any) -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing=sequencing)
    for at, field in enumerate(["input"] * 3 + [None] * 3 + ["text", "input", None]):
        own = {} if field is None else {"field": field}
        seq = None if sequencing == "none" else at + 1
        assert stream.ingest(delta(str(at), seq, **own)).kind == "accepted"
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and (part.text, part.field_text("input")) == ("34568", "0127")


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@pytest.mark.parametrize("shown", [True, False])
def test_a_result_that_names_its_call_alone_comes_behind_what_streamed(
    sequencing: Any, shown: bool
) -> None:
    bench = Bench(sequencing)
    numbered = sequencing in ("session", "sparse")
    bench.take("block.opened", 1 if numbered else None, kind="tool", callId="c")
    for at, text in enumerate(["wh", "o", "le"], 1):
        seq = None if sequencing == "none" else at + numbered
        assert bench.delta(seq, text, field="output") == "accepted"
        if shown:
            bench.store.flush()
    bench.take("tool.result", 5 if numbered else None, callId="c", fields={"output": "whole"})
    bench.store.flush()
    assert bench.part().field_text("output") == "whole"
    counted = bench.store.counts["characters"]
    assert counted["superseded"] == 5


@pytest.mark.parametrize("field", ["text", "input"])
@pytest.mark.parametrize("sequencing", ["sparse", "session"])
def test_what_the_user_appends_between_stays_below_a_late_operation(
    sequencing: Any, field: str
) -> None:
    bench = Bench(sequencing)
    bench.delta(1, "a", field=field)
    bench.take("block.replaced", 4, **{field: "b"})
    own = BlockDelta(session_id="s", message_id="m", block_index=0, field=field, text="x")
    bench.store.apply(own)
    bench.delta(6, "d", field=field)
    assert bench.delta(5, "c", field=field) == "late"
    bench.store.flush()
    assert bench.part().field_text(field) == "bxcd"


def test_text_without_a_seq_behind_a_fetched_state_costs_the_same_however_much_waits() -> None:
    def cost(waiting: int) -> int:
        bench = Bench("sparse")
        part = {"blockIndex": 0, "kind": "text", "text": "t", "status": "open"}
        message = {"info": {"id": "m", "role": "assistant"}, "parts": [part]}
        bench.take("snapshot", 5, messages=[message])
        for _ in range(waiting):
            bench.delta(None, "x")
        joined = 0
        joins = TextCell.settle_base

        def counted(cell: TextCell) -> None:
            nonlocal joined
            joined += len(cell.pending)
            joins(cell)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TextCell, "settle_base", counted)
            bench.delta(None, "x")
        return joined

    assert cost(500) == cost(5)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("sequencing", ["sparse", "session"])
def test_what_is_late_behind_a_result_is_superseded(sequencing: Any, known: bool) -> None:
    bench = Bench(sequencing)
    opened = {"type_": "block.opened", "seq": 1, "kind": "tool", "callId": "c"}
    result = {"type_": "tool.result", "seq": 9, "callId": "c", "fields": {"output": "whole"}}
    if known:
        bench.take(**opened)
    bench.delta(2, "wh", field="output")
    bench.delta(3, "o", field="output")
    bench.take(**result)
    if not known:
        bench.take(**opened)
    for seq in (4, 5):
        bench.delta(seq, "le", field="output")
    assert bench.part().field_text("output") == "whole"
    bench.delta(10, "!", field="output")
    assert bench.part().field_text("output") == "whole!"


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("level", ["block", "message", "session"])
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("sequencing", ["sparse", "session", "none"])
def test_a_field_that_streamed_in_another_life_goes_on_from_what_this_one_says(
    sequencing: Any, late: bool, level: str, shown: bool
) -> None:
    bench = Bench(sequencing)
    numbered = sequencing != "none"

    def take(type_: str, seq: int, **members: Any) -> None:
        bench.take(type_, seq if numbered else None, **members)

    take("block.opened", 1, kind="tool")
    for seq, text in ((2, "a"), (3, "b")):
        take("block.delta", seq, field="input", text=text)
        if shown:
            bench.store.flush()
    if late and numbered:
        take("block.delta", 5, field="input", text="c")
        bench.store.flush()
        take(f"{level}.removed", 6)
        bench.store.flush()
    else:
        take(f"{level}.removed", 6)
    take("session.updated", 7, info={}, whole=True)
    take("message.opened", 8, role="assistant")
    take("block.opened", 9, kind="tool", input="x")
    bench.store.flush()
    take("block.delta", 10, field="input", text="y")
    take("block.delta", 11, field="input", text="z")
    assert bench.part().field_text("input") == "xyz"


@pytest.mark.parametrize("field", ["text", "input"])
@pytest.mark.parametrize("sequencing", SEQUENCINGS)
def test_what_waits_of_any_field_is_merged(sequencing: Any, field: str) -> None:
    bench = Bench(sequencing, limits=Limits(pending_merge=10))
    for at in range(200):
        bench.delta(None if sequencing == "none" else at + 1, "xy", field=field)
    row = bench.row.messages["m"].blocks[0]
    assert row.fresh_field == field
    assert len(row.fresh_cell.pending) + len(row.fresh) <= 12
    assert bench.part().field_text(field) == "xy" * 200


@pytest.mark.parametrize("shown", [True, False])
def test_a_field_that_streams_again_behind_a_reset_may_lack_text_when_it_is_cut(
    shown: bool,
) -> None:
    bench = Bench("none")
    bench.take("block.opened", kind="tool")
    for text in "ab":
        bench.delta(None, text, field="input")
    if shown:
        bench.store.flush()
    bench.take("message.reset")
    bench.take("block.opened", kind="tool")
    for text in "xyz":
        bench.delta(None, text, field="input")
    bench.stream.end()
    part = bench.part()
    assert (part.field_text("input"), part.gap) == ("xyz", True)


# -- in an envelope -------------------------------------------------------------------------------


def opencode(number: int, text: str | None = None, **members: Any) -> dict[str, Any]:
    """An event of opencode: a delta, or without a text what opens its part."""
    at = {"sessionID": "s", "messageID": "m"}
    kind, properties = "message.part.delta", {**at, "partID": "p", "field": "text", "delta": text}
    if text is None:
        part = {**at, "id": "p", "type": "text", "text": "", "time": {"start": 1}}
        kind, properties = "message.part.updated", {"sessionID": "s", "part": part}
    return {"id": f"e{number:04}", "type": kind, "properties": {**properties, **members}}


def wrapped(wire: Any) -> dict[str, Any]:
    return {"directory": "/d", "payload": wire}


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("name", ["opencode", "auto"])
def test_deltas_in_an_envelope_take_the_short_way_also_among_others(name: str, many: bool) -> None:
    """Both forms in turns of ten, on a stream that begins with either."""
    for first in (0, 1):
        store = StreamStore(ticks="manual")
        stream = store.open(name)
        wires = [opencode(0), *(opencode(at, str(at % 10)) for at in range(1, 41))]
        wires = [wrapped(wire) if (at // 10 + first) % 2 else wire for at, wire in enumerate(wires)]
        stream.ingest(wires[0])
        stream.ingest(wires[1])
        before = stream._progress.taken_in()
        if many:
            assert stream.ingest_many(wires[2:]) == []
        else:
            assert {stream.ingest(wire).kind for wire in wires[2:]} == {"accepted"}
        # The first one of another form is what tells it, where the stream began without one.
        assert stream._progress.taken_in() - before >= 38
        assert stream.received == 41
        # What opens the part, on the long way, says which form is the usual one.
        assert stream._wrapped == bool(first)
        assert {stream.ingest(wire).kind for wire in wires} == {"duplicate"}
        store.flush()
        assert texts(store) == {("s", "m", "p"): "".join(str(at % 10) for at in range(1, 41))}


ODD = [None, True, 0, 1.5, "", "x", "e0009", [], {}, {"type": "session.idle"}]


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(
    "path",
    [
        (), ("directory",), ("payload",), ("type",), ("payload", "id"), ("payload", "type"),
        ("payload", "properties"), ("payload", "payload"), *(
            ("payload", "properties", name)
            for name in ("sessionID", "messageID", "partID", "field", "delta", "other")
        ),
    ],
    ids=".".join,
)  # fmt: skip
def test_what_an_envelope_holds_is_what_the_long_way_says(
    path: tuple[str, ...], many: bool
) -> None:
    """Each member gone, and set to each odd value, between deltas of a run."""
    for odd in [..., *ODD]:
        wires: list[Any] = [wrapped(opencode(0))]
        wires += [wrapped(opencode(at, "a")) for at in range(1, 9)]
        wire = wrapped(opencode(9, "b"))
        if not path:
            wire = odd if odd is not ... else [wire]
        else:
            holder = wire
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = odd
            if odd is ...:
                del holder[path[-1]]
        wires += [wire, *(wrapped(opencode(at, "c")) for at in range(10, 14))]
        short, long = (StreamStore(ticks="manual") for _ in range(2))
        streams = [store.open("opencode") for store in (short, long)]
        streams[1]._ingress.switched = lambda: None
        said = [streams[1]._ingest_slowly(wire) for wire in wires]
        if many:
            places = dict(streams[0].ingest_many(wires))
            assert [places.get(at, verdicts.ACCEPTED) for at in range(len(wires))] == said
        else:
            assert [streams[0].ingest(wire) for wire in wires] == said
        assert short.flush() == long.flush()
        assert short.state() == long.state()
        assert short.health == long.health
        assert short.save() == long.save()
