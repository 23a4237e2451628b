"""Delivery, ticks, subscribers and framing that once went wrong."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from one_stream import Bench, delta, fetched, frame, line

import streamstore.streams as streams
from streamstore import CallerError, ChangeSet, Limits, StreamStore, UnknownProtocol
from streamstore.events import BlockReplaced, MessageOpened
from streamstore.streams import Stream
from streamstore.subscribers import Present
from streamstore.text import GrowingText
from streamstore.ticks import ManualTicks

IDLE = {"type": "session.status", "sessionId": "s", "status": "idle"}


def text_of(store: StreamStore, session: str = "s") -> str:
    part = store.part(session, "m", 0)
    return "" if part is None else part.text


def texts(changes: ChangeSet) -> str:
    return "".join(edit.text for edit in changes.text.values())


class Scheduler:
    """A scheduler for one race; what other threads post waits in `posted`."""

    def __init__(self, request: Callable[[Scheduler], object]) -> None:
        self._request = request
        self.requests = 0
        self.posted: list[Callable[[], object]] = []

    def start(self, commit: Callable[[], object]) -> None:
        self.commit = commit

    def request(self) -> None:
        self.requests += 1
        self._request(self)

    def committed(self) -> None:
        pass

    def call_later(self, delay_ms: float, callback: Callable[[], object]) -> Callable[[], None]:
        return lambda: None

    def from_thread(self, callback: Callable[[], object]) -> bool:
        self.posted.append(callback)
        return True

    def meet(self) -> bool:
        return False

    def stop(self) -> None:
        pass


# -- ticks -----------------------------------------------------------------------------------------


def test_a_drain_takes_in_only_what_waited_when_it_began():
    ticks = Scheduler(lambda ticks: ticks.commit())
    store = StreamStore("native", ticks=ticks)
    stream = store.open("native", sequencing="none")

    def post_again(_: ChangeSet) -> None:
        if len(text_of(store)) < 50:  # so that a drain without end ends
            stream.feed_threadsafe(line(delta("x")))

    store.subscribe(post_again)
    stream.feed_threadsafe(line(delta("x")))
    for turn in range(1, 4):
        (drain,) = ticks.posted
        ticks.posted.clear()
        drain()
        assert text_of(store) == "x" * turn


def test_a_request_that_raises_once_hides_no_later_delta_of_its_block():
    def fail_second(ticks: Scheduler) -> None:
        if ticks.requests == 2:
            raise TypeError("the widget is gone")

    ticks = Scheduler(fail_second)
    store = StreamStore("native", ticks=ticks)
    stream = store.open("native", sequencing="none")
    stream.ingest(delta("a"))
    store.flush()
    with pytest.raises(TypeError):
        stream.ingest(delta("b"))
    stream.ingest(delta("c"))
    assert ticks.requests == 3
    ticks.commit()
    assert text_of(store) == "abc"


def test_asyncio_ticks_go_on_in_a_second_loop():
    store = StreamStore("native", ticks="asyncio")
    stream = store.open("native", sequencing="none")

    async def one(text: str) -> str:
        with store.changes() as changes:
            stream.ingest(delta(text))
            return texts(await asyncio.wait_for(anext(changes), 5))

    assert [asyncio.run(one(text)) for text in "abc"] == ["a", "b", "c"]


def test_asyncio_ticks_go_on_after_work_without_a_loop():
    store = StreamStore("native", ticks="asyncio")
    stream = store.open("native", sequencing="none")
    with pytest.raises(CallerError):
        stream.ingest(delta("a"))

    async def one() -> str:
        with store.changes() as changes:
            stream.ingest(delta("b"))
            return texts(await asyncio.wait_for(anext(changes), 5))

    assert asyncio.run(one()) == "ab"


@pytest.mark.parametrize("how", ["subscribe", "open"])
def test_a_store_made_before_the_loop_takes_in_what_threads_bring(how):
    store = StreamStore("native", ticks="asyncio")
    stream = store.open("native", sequencing="none")

    async def main() -> str:
        if how == "open":
            store.open("native", session_id="other")
        heard = asyncio.Event()
        if how == "subscribe":
            store.subscribe(lambda _: heard.set())
        else:
            store._subscribers.add(lambda _: heard.set(), (), 0, Present(0))
        thread = threading.Thread(target=stream.feed_threadsafe, args=(line(delta("x")),))
        thread.start()
        thread.join()
        await asyncio.wait_for(heard.wait(), 5)
        return text_of(store)

    assert asyncio.run(main()) == "x"


def test_what_threads_brought_before_the_loop_comes_in_when_it_is_met():
    store = StreamStore("native", ticks="asyncio")
    stream = store.open("native", sequencing="none")
    stream.feed_threadsafe(line(delta("x")))

    async def main() -> str:
        with store.changes() as changes:
            return texts(await asyncio.wait_for(anext(changes), 5))

    assert asyncio.run(main()) == "x"


def test_a_tick_of_a_timer_takes_in_what_threads_left_where_nothing_posts():
    ticks = Scheduler(lambda _: None)
    store = StreamStore("native", ticks=ticks)
    stream = store.open("native", sequencing="none")
    stream.feed_threadsafe(line(delta("T")))
    stream.ingest(delta("i"))
    ticks.commit()
    assert text_of(store) == "iT"


# -- subscribers -----------------------------------------------------------------------------------


def test_a_store_that_a_subscriber_closes_still_tells_the_others():
    store = StreamStore("native")
    stream = store.open("native", sequencing="none")
    heard = []

    def close(changes: ChangeSet) -> None:
        if changes.version == 1:
            stream.ingest(delta("late"))
            store.close()

    store.subscribe(close)
    store.subscribe(lambda changes: heard.append((changes.version, texts(changes))))
    stream.ingest(delta("first"))
    store.flush()
    assert heard == [(1, "first"), (2, "late")]
    with pytest.raises(CallerError):
        store.flush()


@pytest.mark.parametrize("ticks", [None, "manual"])
@pytest.mark.parametrize(
    "feed",
    [
        lambda store: store.ingest(delta("late")),
        lambda store: store.feed(line(delta("late"))),
        lambda store: store.open("native"),
        lambda store: store.apply(MessageOpened(session_id="s", message_id="u", role="user")),
    ],
    ids=["ingest", "feed", "open", "apply"],
)
def test_what_a_subscriber_feeds_while_its_store_is_closed_is_refused(
    ticks: Any, feed: Callable[[StreamStore], object]
):
    reported: list[BaseException] = []
    store = StreamStore("native", ticks=ticks, on_error=lambda error, _: reported.append(error))
    store.open("native", sequencing="none").ingest(delta("first"))
    store.subscribe(lambda changes: feed(store) if changes.version == 1 else None)
    store.close()
    assert [str(error) for error in reported] == ["this store is closed"]
    assert text_of(store) == "first" and not store.message("s", "u")
    assert all(stream["ended"] for stream in store.save()["streams"])


def test_a_close_that_was_interrupted_may_be_tried_again():
    store = StreamStore("native")
    streams = [store.open("native", sequencing="none") for _ in range(2)]
    streams[0].ingest(delta("first"))

    def interrupt(changes: ChangeSet) -> None:
        if changes.version == 1:
            raise KeyboardInterrupt

    heard = store.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.close()
    assert not heard.closed and [stream.ended for stream in streams] == [True, False]
    store.close()
    assert heard.closed and streams[1].ended


def test_a_close_that_was_interrupted_leaves_a_store_that_ticks(monkeypatch: pytest.MonkeyPatch):
    ticks = ManualTicks()
    store = StreamStore("native", ticks=ticks)
    first, second = (store.open("native", sequencing="none") for _ in range(2))
    first.ingest(delta("cut"))
    ticks.tick()

    def interrupt(stream: Stream) -> None:
        if stream is second:
            raise KeyboardInterrupt
        end(stream)

    end = Stream.end
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Stream, "end", interrupt)
        store.close()
    second.ingest(delta(" and on"))
    assert ticks.tick()
    part = store.part("s", "m", 0)
    assert part is not None and (part.text, part.gap) == ("cut and on", True)


def test_a_report_that_raises_reaches_the_caller_when_all_have_heard():
    def report(error: BaseException, _: object) -> None:
        raise error

    store = StreamStore("native", ticks="each", on_error=report)
    stream = store.open("native", sequencing="block")
    heard = []

    def fail(_: ChangeSet) -> None:
        raise KeyError("a bug of the view")

    failing = store.subscribe(fail)
    store.subscribe(lambda changes: heard.append(texts(changes)))
    for seq, text in enumerate("ab", start=1):
        with pytest.raises(KeyError):
            stream.ingest(delta(text, seq))
    failing.close()
    stream.ingest(delta("c", 3))
    assert (heard, text_of(store), stream.received) == (["a", "b", "c"], "abc", 3)


def test_scopes_hear_in_the_order_of_subscribing():
    store = StreamStore("native")
    stream = store.open("native", sequencing="none")
    names = [f"m{number}" for number in (7, 3, 11, 0, 9, 1, 8, 2, 10, 5, 4, 6)]
    stream.ingest_many([delta("a", messageId=name) for name in names])
    heard = []
    for name in names:
        store.subscribe(lambda _, name=name: heard.append(name), "s", name)
    stream.ingest_many([{"type": "session.removed", "sessionId": "s"}])
    assert heard == names


def test_a_further_hole_of_a_part_is_announced():
    bench = Bench("block")
    heard = []
    bench.store.subscribe(lambda changes: heard.append((changes.changed, changes.gaps)))
    bench.delta(1, "a")
    bench.delta(3, "c")
    bench.store.flush()
    bench.delta(5, "e")
    bench.store.flush()
    changed, (gap,) = heard[1]
    assert ([tuple(key) for key in changed], gap.missing) == ([("s", "m", 0)], ((2, 2), (4, 4)))


def test_a_further_hole_of_a_session_is_announced():
    bench = Bench("session")
    heard = []
    bench.store.subscribe(lambda changes: heard.append((changes.changed, changes.gaps)))
    bench.take("session.status", 1, status="idle")
    bench.take("session.status", 3, status="idle")
    bench.store.flush()
    bench.take("session.status", 5, status="idle")
    bench.store.flush()
    changed, (gap,) = heard[1]
    assert ([tuple(key) for key in changed], gap.missing) == ([("s",)], ((2, 2), (4, 4)))


@pytest.mark.parametrize("throttle", [-1, float("nan")])
def test_a_throttle_that_is_no_number_of_ms_is_refused(throttle):
    with pytest.raises(CallerError, match="throttle"):
        StreamStore("native", ticks="asyncio").subscribe(print, throttle=throttle)


@pytest.mark.parametrize("scope", [("",), ("s", ""), ("s", "m", "")])
def test_an_empty_id_is_no_scope(scope):
    with pytest.raises(CallerError, match="empty"):
        StreamStore("native").subscribe(print, *scope)


# -- feeding inside of feeding ---------------------------------------------------------------------


@pytest.mark.parametrize("way", ["feed", "feed_threadsafe"])
def test_bytes_that_a_subscriber_feeds_come_after_the_chunk_that_is_taken_in(way):
    store = StreamStore("native", ticks="each")
    stream = store.open("native", sequencing="none")
    fed = []

    def feed(_: ChangeSet) -> None:
        if not fed:
            fed.append(getattr(stream, way)(line(delta("N"))))
            store.flush()

    store.subscribe(feed)
    stream.feed(b"".join(line(delta(text)) for text in "abc"))
    store.flush()
    assert text_of(store) == "abcN"


# -- buffered delivery -----------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
def test_showing_what_was_held_back_is_no_event_during_a_read(delivery):
    bench = Bench("none", delivery=delivery)
    bench.take("block.opened", kind="text")
    bench.delta(None, "hello")
    bench.store.flush()
    token = bench.store.begin_read("s")
    bench.stream.ingest(IDLE)
    whole = [fetched("m", (0, "hello world, all of it"))]
    bench.take("snapshot", complete=True, readFrom=token, messages=whole)
    bench.store.flush()
    bench.store.release("s")
    assert bench.text() == "hello world, all of it"


@pytest.mark.parametrize("ticks", ["each", "manual"])
def test_text_after_an_event_that_releases_waits_though_it_comes_in_the_same_tick(ticks):
    bench = Bench("none", ticks=ticks, delivery="buffered")
    bench.take("block.opened", kind="text")
    bench.delta(None, "a")
    bench.take("permission.asked", id="p")
    bench.delta(None, "b")
    assert bench.text() == "a"
    bench.take("turn.completed")
    assert bench.text() == "ab"


def test_text_after_a_release_waits_though_it_comes_in_the_same_tick():
    bench = Bench("none", delivery="buffered")
    bench.delta(None, "a")
    bench.store.release("s")
    bench.delta(None, "b")
    assert bench.text() == "a"


def test_a_part_spills_by_the_text_of_all_of_its_fields():
    bench = Bench("none", delivery="buffered", limits=Limits(spill_characters=10))
    bench.delta(None, "12345")
    bench.delta(None, "12345", field="input")
    assert (bench.text(), bench.part().field_text("input")) == ("", "")
    bench.delta(None, "6", field="input")
    assert (bench.text(), bench.part().field_text("input")) == ("12345", "123456")


def test_what_this_client_says_is_shown_at_once_in_buffered_delivery():
    store = StreamStore("native", delivery="buffered")
    store.apply(MessageOpened(session_id="s", message_id="m", role="user", local=True))
    store.apply(BlockReplaced(session_id="s", message_id="m", block_index=0, text="my question"))
    store.flush()
    assert text_of(store) == "my question"


# -- what a late operation costs -------------------------------------------------------------------


def test_a_cut_of_a_text_that_was_read_shares_it():
    text = GrowingText()
    for _ in range(50):
        text.append("word ")
    assert len(text.read()) == 250
    cut = text.cut(123)
    assert cut._pieces[0] is text._pieces[0]
    cut.append("END")
    assert cut.read() == ("word " * 50)[:123] + "END"
    assert text.read() == "word " * 50


def test_a_late_operation_after_a_read_copies_nothing_of_the_text():
    size = 4_000_000
    bench = Bench("sparse", limits=Limits(late_window=4))
    bench.delta(1, "x" * size)
    for seq in range(2, 60, 2):
        bench.delta(seq, "y")
    assert len(bench.text()) == size + 29
    tracemalloc.start()
    bench.delta(57, "late")
    bench.store.flush()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 10
    assert bench.text().endswith("yyylatey")


# -- framing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1 << 30, 60_000, 100])
def test_json_lines_behind_a_broken_first_line_are_json_lines(size):
    data = b"a broken first line\n" + line(delta("x" * 50)) * 700
    store = StreamStore(ticks="manual")
    stream = store.open()
    for at in range(0, len(data), size):
        stream.feed(data[at : at + size])
    stream.end()
    store.flush()
    assert len(data) > 65_536
    assert len(text_of(store)) == 700 * 50
    assert store.health.counts["verdicts"] == {"accepted": 700, "malformed": 1}


@pytest.mark.parametrize("period", [10, 1 << 30], ids=["many lines", "one line"])
def test_telling_the_framing_looks_at_each_byte_a_bounded_number_of_times(monkeypatch, period):
    looked = {"line_end": 0, "framing_of": 0, "calls": 0}
    line_end, framing_of = streams.line_end, streams.framing_of

    def counted_end(data: bytearray, start: int) -> int:
        looked["line_end"] += len(data) - start
        return line_end(data, start)

    def counted_framing(start_of_line: bytes) -> Any:
        looked["calls"] += 1
        looked["framing_of"] = max(looked["framing_of"], len(start_of_line))
        return framing_of(start_of_line)

    monkeypatch.setattr(streams, "line_end", counted_end)
    monkeypatch.setattr(streams, "framing_of", counted_framing)
    stream = StreamStore().open()
    number = 3000
    for place in range(1, number + 1):
        stream.feed(b":" if place % period else b"\n")
    assert looked["line_end"] <= 3 * number
    assert looked["calls"] <= 2 * number
    assert looked["framing_of"] <= 256


@pytest.mark.parametrize(
    ("limits", "skipped"),
    [
        ({}, False),
        ({"event_line_bytes": 100}, True),
        ({"event_bytes": 100}, True),
        ({"data_line_bytes": 8_400_000}, True),
    ],
)
def test_the_bounds_of_an_event_stream_are_those_of_the_limits(limits, skipped):
    store = StreamStore("native", limits=Limits(**limits))
    store.open("native", sequencing="none").feed(frame(1, delta("x" * 100)))
    verdicts = {"malformed:over_limit": 1} if skipped else {"accepted": 1}
    assert store.health.counts["verdicts"] == verdicts


def test_an_event_id_over_the_limit_is_void_and_the_former_stays():
    store = StreamStore("native", limits=Limits(event_id_bytes=8))
    stream = store.open("native", sequencing="none")
    stream.feed(frame("12345678", delta("a")) + frame("123456789", delta("b")))
    assert (stream.position.event_id, text_of(store)) == ("12345678", "ab")


def test_events_that_no_protocol_knows_wait_within_a_bound_and_then_end_the_stream():
    store = StreamStore(limits=Limits(undetected_events=4))
    stream = store.open()
    unknown = line({"type": "zzz"})
    stream.feed(unknown * 3)
    with pytest.raises(UnknownProtocol, match="zzz"):
        stream.feed(unknown)
    for _ in range(20):
        stream.feed(unknown)
    assert stream._undetected == []
    assert store.health.counts["verdicts"] == {"unknown:zzz": 4, "refused:stopped": 20}
