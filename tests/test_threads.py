"""Bytes from other threads: all of them, in order per stream, on the owner's loop, within a bound."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamstore import (
    CallerError,
    ChangeSet,
    InboxFull,
    Limits,
    Stream,
    StreamStore,
    UnknownProtocol,
)
from streamstore.ticks import AsyncioTicks, ManualTicks, TimerTicks


def line(text: str, session: str = "s", block: Any = 0, **members: Any) -> bytes:
    wire = {
        "type": "block.delta", "sessionId": session, "messageId": "m", "blockIndex": block,
        "text": text, **members,
    }  # fmt: skip
    return json.dumps(wire).encode() + b"\n"


def update(number: int, session: str = "s") -> bytes:
    """An event that does not take the short way of a delta."""
    wire = {"type": "session.updated", "sessionId": session, "info": {"number": number}}
    return json.dumps(wire).encode() + b"\n"


def text_of(store: StreamStore, session: str = "s", block: Any = 0) -> str:
    part = store.part(session, "m", block)
    return "" if part is None else part.text


def in_threads(works: list[Callable[[], object]]) -> None:
    """Run each in a thread of its own, all at once, and wait for them."""
    failed: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait(30)
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns after every few bytecodes, so that what can go wrong does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


THREADS, PIECES = 16, 60


def feed_cut(stream: Stream, number: int) -> None:
    """One connection: deltas of a session's two blocks, the bytes cut where it happens to be."""
    session = f"s{number}"
    data = b"".join(line(f"{place},", session, place % 2, seq=place + 1) for place in range(PIECES))
    size = 37 + number
    for start in range(0, len(data), size):
        stream.feed_threadsafe(data[start : start + size])


def expected(block: int) -> str:
    return "".join(f"{place}," for place in range(block, PIECES, 2))


class TestManyThreads:
    def test_all_bytes_arrive_in_order_per_stream(self, eager_switching: None) -> None:
        store = StreamStore(ticks="manual")
        streams = [store.open("native") for _ in range(THREADS)]
        in_threads([
            lambda stream=stream, number=number: feed_cut(stream, number)  # type: ignore[misc]
            for number, stream in enumerate(streams)
        ])  # fmt: skip
        store.flush()
        for number in range(THREADS):
            for block in (0, 1):
                assert text_of(store, f"s{number}", block) == expected(block)
        assert store.health.counts["verdicts"] == {"accepted": THREADS * PIECES}

    def test_the_owner_may_drain_while_they_feed(self, eager_switching: None) -> None:
        ticks = ManualTicks()
        store = StreamStore(ticks=ticks)
        heard: dict[tuple[Any, ...], str] = {}
        owner = threading.get_ident()

        def hear(changes: ChangeSet) -> None:
            assert threading.get_ident() == owner
            for (key, _), edit in changes.text.items():
                heard[key] = edit.apply(heard.get(key, ""))

        store.subscribe(hear)
        streams = [store.open("native") for _ in range(THREADS)]
        running = threading.Event()

        def feed_all() -> None:
            in_threads([
                lambda stream=stream, number=number: feed_cut(stream, number)  # type: ignore[misc]
                for number, stream in enumerate(streams)
            ])  # fmt: skip
            running.set()

        feeder = threading.Thread(target=feed_all)
        feeder.start()
        while not running.is_set():
            ticks.tick()
        feeder.join(60)
        ticks.tick()
        store.flush()
        for number in range(THREADS):
            for block in (0, 1):
                assert text_of(store, f"s{number}", block) == expected(block)
                assert heard[f"s{number}", "m", block] == expected(block)

    def test_on_an_asyncio_loop_everything_is_drained_there(self, eager_switching: None) -> None:
        async def main() -> StreamStore:
            store = StreamStore(ticks="asyncio")
            streams = [store.open("native") for _ in range(THREADS)]
            owner, done = threading.get_ident(), asyncio.Event()
            wanted = THREADS * sum(len(expected(block)) for block in (0, 1))
            shown = 0

            def hear(changes: ChangeSet) -> None:
                nonlocal shown
                assert threading.get_ident() == owner
                shown += sum(len(edit.text) for edit in changes.text.values())
                if shown == wanted:
                    done.set()

            store.subscribe(hear)
            works = [
                lambda stream=stream, number=number: feed_cut(stream, number)  # type: ignore[misc]
                for number, stream in enumerate(streams)
            ]
            await asyncio.to_thread(in_threads, works)
            # Nobody feeds or flushes here: the loop alone has to take it in.
            await asyncio.wait_for(done.wait(), 30)
            store.close()
            return store

        store = asyncio.run(main())
        for number in range(THREADS):
            for block in (0, 1):
                assert text_of(store, f"s{number}", block) == expected(block)

    def test_over_the_bound_nothing_is_lost_when_the_caller_tries_again(
        self, eager_switching: None
    ) -> None:
        store = StreamStore(ticks="manual", limits=Limits(inbox_bytes=2_000))
        streams = [store.open("native") for _ in range(4)]
        refused, finished = threading.Event(), threading.Semaphore(0)

        def feed(stream: Stream, session: str) -> None:
            for place in range(PIECES):
                data = line(f"{place},", session, seq=place + 1)
                while True:
                    try:
                        stream.feed_threadsafe(data)
                        break
                    except InboxFull:
                        refused.set()
            finished.release()

        threads = [
            threading.Thread(target=feed, args=(stream, f"s{number}"))
            for number, stream in enumerate(streams)
        ]
        for thread in threads:
            thread.start()
        assert refused.wait(30)
        while any(thread.is_alive() for thread in threads):
            store.flush()
        store.flush()
        for number in range(4):
            assert text_of(store, f"s{number}") == "".join(f"{place}," for place in range(PIECES))


class TestInbox:
    def test_nothing_happens_before_the_owner_takes_it_in(self) -> None:
        store = StreamStore(ticks="manual")
        stream = store.open("native")
        stream.feed_threadsafe(line("a"))
        assert store.session_ids() == ()
        assert store.health.counts["verdicts"] == {}
        store.flush()
        assert text_of(store) == "a"

    @pytest.mark.parametrize("taking_in", ["flush", "feed", "ingest_many", "end", "close"])
    def test_what_takes_it_in(self, taking_in: str) -> None:
        store = StreamStore(ticks="manual")
        stream, other = store.open("native"), store.open("native")
        stream.feed_threadsafe(line("a"))
        acts: dict[str, Callable[[], object]] = {
            "flush": store.flush,
            "feed": lambda: other.feed(line("b", "t")),
            "ingest_many": lambda: other.ingest_many([]),
            "end": stream.end,
            "close": store.close,
        }
        acts[taking_in]()
        if taking_in != "close":
            store.flush()
        assert text_of(store) == "a"

    @pytest.mark.parametrize("feed", ["feed", "feed_threadsafe"])
    @pytest.mark.parametrize(
        ("data", "instead"),
        [
            (line("b").decode(), "not str: encode it, or read the response as bytes"),
            (None, "not NoneType: give decoded JSON to ingest"),
            ({"type": "block.delta"}, "not dict: give decoded JSON to ingest"),
        ],
    )
    def test_what_is_no_bytes_is_refused_before_anything_happens(
        self, feed: str, data: Any, instead: str
    ) -> None:
        store = StreamStore(ticks="manual")
        stream = store.open("native", sequencing="none")
        stream.feed(line("a")[:20])
        stream.feed_threadsafe(line("a")[20:30])
        before = store.save()
        with pytest.raises(CallerError) as caught:
            getattr(stream, feed)(data)
        assert str(caught.value) == f"feed takes bytes, {instead}"
        assert store.save() == before
        stream.feed(line("a")[30:])
        store.flush()
        assert text_of(store) == "a"

    def test_the_default_stream_is_not_opened_for_what_is_no_bytes(self) -> None:
        store = StreamStore("native")
        with pytest.raises(CallerError, match="feed takes bytes, not str"):
            store.feed("data: {}\n\n")  # type: ignore[arg-type]
        assert store.save()["streams"] == []

    @pytest.mark.parametrize("of", [bytes, bytearray, memoryview])
    @pytest.mark.parametrize("size", [1, 7, 1000])
    @pytest.mark.parametrize("framed", [False, True])
    def test_whatever_holds_bytes_can_be_fed(self, of: Any, size: int, framed: bool) -> None:
        data = line("a") + line("b")
        if framed:
            data = b"".join(b"data: " + text + b"\n\n" for text in data.splitlines())
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        store, other = StreamStore("native"), StreamStore("native")
        stream = other.open("native")
        for piece in pieces:
            store.feed(of(piece))
            stream.feed_threadsafe(of(piece))
        other.flush()
        assert text_of(store) == text_of(other) == "ab"

    def test_what_was_posted_first_comes_first(self) -> None:
        store = StreamStore(ticks="manual")
        stream = store.open("native", sequencing="none")
        stream.feed_threadsafe(line("a"))
        stream.feed_threadsafe(line("b")[:20])
        stream.feed(line("b")[20:] + line("c"))
        store.flush()
        assert text_of(store) == "abc"

    @pytest.mark.parametrize("chunks", [3, 3000])
    def test_a_chunk_is_never_taken_in_inside_another(self, chunks: int) -> None:
        # Each starts with an event that takes the long way, and one stream has all of them.
        store = StreamStore(ticks="manual")
        stream = store.open("native", sequencing="none")
        for number in range(chunks):
            stream.feed_threadsafe(update(number) + line(f"{number}a,") + line(f"{number}b,"))
        store.flush()
        assert text_of(store) == "".join(f"{number}a,{number}b," for number in range(chunks))
        session = store.session("s")
        assert session is not None and session.info["number"] == chunks - 1

    def test_a_subscriber_that_flushes_meanwhile_does_not_disturb_the_order(self) -> None:
        store = StreamStore()  # each feed is a tick
        stream = store.open("native", sequencing="none")
        store.subscribe(lambda changes: store.flush() and None)
        for number in range(5):
            stream.feed_threadsafe(line(f"{number}a,") + line(f"{number}b,"))
        store.flush()
        assert text_of(store) == "".join(f"{number}a,{number}b," for number in range(5))

    def test_the_callers_buffer_may_be_used_again(self) -> None:
        store = StreamStore(ticks="manual")
        stream = store.open("native")
        buffer = bytearray(line("a"))
        stream.feed_threadsafe(buffer)  # type: ignore[arg-type]
        buffer[:] = b"x" * len(buffer)
        store.flush()
        assert text_of(store) == "a"

    def test_the_bound_counts_bytes_that_wait_and_what_is_refused_is_not_taken(self) -> None:
        data = line("a")
        store = StreamStore(ticks="manual", limits=Limits(inbox_bytes=2 * len(data)))
        stream = store.open("native", sequencing="none")
        stream.feed_threadsafe(data)
        stream.feed_threadsafe(data)
        with pytest.raises(InboxFull, match=f"{2 * len(data)} bytes wait"):
            stream.feed_threadsafe(b"\n")
        store.flush()
        assert text_of(store) == "aa"
        stream.feed_threadsafe(data)
        store.flush()
        assert text_of(store) == "aaa"
        with pytest.raises(InboxFull):
            stream.feed_threadsafe(b"x" * (2 * len(data) + 1))

    def test_after_the_end_there_is_nothing_to_feed(self) -> None:
        store = StreamStore(ticks="manual")
        stream = store.open("native")
        stream.end()
        with pytest.raises(CallerError, match="has ended"):
            stream.feed_threadsafe(line("a"))
        other = store.open("native")
        store.close()
        with pytest.raises(CallerError, match="has ended"):
            other.feed_threadsafe(line("a"))

    def test_a_stream_that_cannot_go_on_does_not_take_the_others_with_it(self) -> None:
        ticks = ManualTicks()
        store = StreamStore(ticks=ticks, limits=Limits(undetected_events=1))
        lost, fine = store.open("auto"), store.open("native")
        lost.feed_threadsafe(b'{"nobody": "knows"}\n')
        fine.feed_threadsafe(line("a"))
        with pytest.raises(UnknownProtocol):
            ticks.tick()
        ticks.tick()
        assert text_of(store) == "a"


class Loop:
    """Ticks that say from which threads their owner can be reached, and count who asked."""

    def __init__(self, reachable: bool) -> None:
        self.reachable = reachable
        self.posted: list[Callable[[], object]] = []
        self.timers: list[Callable[[], object]] = []
        self.ticks = TimerTicks(
            lambda ms, callback: self.timers.append(callback), post=self.post if reachable else None
        )

    def post(self, callback: Callable[[], object]) -> None:
        self.posted.append(callback)

    def run(self) -> None:
        while self.posted:
            self.posted.pop(0)()


class TestWaking:
    def test_the_owner_is_asked_once_until_it_comes(self) -> None:
        loop = Loop(reachable=True)
        store = StreamStore(ticks=loop.ticks)
        stream = store.open("native", sequencing="none")
        for text in "abc":
            stream.feed_threadsafe(line(text))
        assert len(loop.posted) == 1
        loop.run()
        stream.feed_threadsafe(line("d"))
        assert len(loop.posted) == 1
        loop.run()
        store.flush()
        assert text_of(store) == "abcd"

    def test_it_is_asked_again_after_it_came_by_itself(self) -> None:
        loop = Loop(reachable=True)
        store = StreamStore(ticks=loop.ticks)
        stream = store.open("native", sequencing="none")
        stream.feed_threadsafe(line("a"))
        store.flush()
        stream.feed_threadsafe(line("b"))
        loop.run()
        store.flush()
        assert text_of(store) == "ab"

    def test_it_is_asked_again_when_it_took_the_bytes_in_before_it_was_asked(self) -> None:
        loop = Loop(reachable=True)
        store = StreamStore(ticks=loop.ticks)
        stream = store.open("native", sequencing="none")

        class Quick:
            """The inbox's lock; the owner is quicker than the thread that lets go of it."""

            armed = True

            def __enter__(self) -> None: ...

            def __exit__(self, *_: object) -> None:
                if self.armed:
                    self.armed = False
                    store.flush()

        store._inbox.lock = Quick()  # type: ignore[assignment]
        stream.feed_threadsafe(line("a"))
        assert text_of(store) == "a"
        loop.run()  # asked for nothing
        stream.feed_threadsafe(line("b"))
        assert loop.posted  # who is not asked sleeps for ever
        loop.run()
        store.flush()
        assert text_of(store) == "ab"

    def test_an_owner_that_cannot_be_reached_does_it_at_its_next_call(self) -> None:
        loop = Loop(reachable=False)
        store = StreamStore(ticks=loop.ticks)
        stream = store.open("native", sequencing="none")
        stream.feed_threadsafe(line("a"))
        stream.feed_threadsafe(line("b"))
        assert loop.posted == []
        store.flush()
        assert text_of(store) == "ab"

    def test_a_loop_that_starts_later_is_asked_by_the_next_bytes(self) -> None:
        ticks = AsyncioTicks()
        store = StreamStore(ticks=ticks)
        stream = store.open("native", sequencing="none")
        stream.feed_threadsafe(line("a"))  # nobody to ask yet

        async def main() -> None:
            store.ingest(json.loads(line("x", "t")))  # the scheduler meets its loop
            await asyncio.to_thread(stream.feed_threadsafe, line("b"))
            for _ in range(5):
                await asyncio.sleep(0)
            assert stream.position.events == 2
            store.flush()

        asyncio.run(main())
        assert text_of(store) == "ab"

    def test_a_store_made_on_a_loop_is_reached_before_it_did_anything_there(self) -> None:
        async def main() -> str:
            store = StreamStore(ticks="asyncio")
            stream = store.open("native")
            shown = asyncio.Event()
            store.subscribe(lambda changes: shown.set())
            await asyncio.to_thread(stream.feed_threadsafe, line("a"))
            await asyncio.wait_for(shown.wait(), 30)
            return text_of(store)

        assert asyncio.run(main()) == "a"

    def test_bytes_that_a_loop_did_not_come_to_come_in_with_the_next_one(self) -> None:
        store = StreamStore("native", ticks="asyncio")
        stream = store.open("native")

        async def leave() -> None:
            store.open("native")  # the loop is known
            asyncio.get_running_loop().stop()  # asked after it, and not reached
            in_threads([lambda: stream.feed_threadsafe(line("a"))])

        async def go_on() -> None:
            store.open("native")
            in_threads([lambda: stream.feed_threadsafe(line("b"))])
            for _ in range(3):
                await asyncio.sleep(0)

        loop = asyncio.new_event_loop()
        handle = loop.create_task(leave())
        loop.run_forever()
        loop.close()
        assert handle.done() and text_of(store) == ""
        asyncio.run(go_on())
        assert text_of(store) == "ab"

    def test_a_closed_loop_is_no_reason_to_lose_bytes(self) -> None:
        async def main() -> tuple[StreamStore, Stream]:
            store = StreamStore(ticks="asyncio")
            return store, store.open("native")

        store, stream = asyncio.run(main())
        stream.feed_threadsafe(line("a"))
        store.close()
        assert text_of(store) == "a"


def test_who_waits_for_the_end_in_another_thread_may_leave_in_that_moment():
    left = []

    class Leaving(Stream):
        __slots__ = ()

        @property
        def on_end(self):
            """Gone behind the first look, as if its thread had run between two."""
            left.append(None)
            return (lambda: None) if len(left) == 1 else None

    store = StreamStore(ticks="manual")
    stream = store.open("native")
    stream.__class__ = Leaving
    store.close()
    assert stream.ended and left == [None]
