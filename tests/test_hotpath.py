"""The short way of a delta and of a tick of text: what they do is what the long ways do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_stream import Bench, delta
from strategies import disturbed, logs

from streamstore import StreamStore
from streamstore.coalescer import Coalescer

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
    every = data.draw(st.integers(1, 4))
    short, long = (StreamStore("native", ticks="manual", delivery=delivery) for _ in range(2))
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
