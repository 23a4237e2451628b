"""Who hears of what, when, and what a callback may do; all through `StreamStore`, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from mirror import Mirror

from streamstore import (
    CallerError,
    ChangeSet,
    Edit,
    Limits,
    MessageKey,
    PartKey,
    Place,
    SessionKey,
    StreamStore,
    Subscription,
    TextField,
)
from streamstore.events import MessageOpened, MessageRollback
from streamstore.ticks import AsyncioTicks, ManualTicks, TimerTicks

PART = PartKey("s", "m", 0)
TEXT = TextField(PART, "text")
HOUR = 3_600_000  # ms: longer than any loop here runs


class Feeder:
    """Canonical events into a store, numbered as they come."""

    def __init__(self, **options: Any) -> None:
        self.ticks = ManualTicks()
        self.store = StreamStore("native", **{"ticks": self.ticks, **options})
        self.seq = 0

    def ingest(self, event_type: str, session: str = "s", **members: Any) -> None:
        self.seq += 1
        wire = {"type": event_type, "sessionId": session, "seq": self.seq, **members}
        assert self.store.ingest(wire).taken

    def delta(self, text: str, session: str = "s", message: str = "m", block: Any = 0) -> None:
        self.ingest("block.delta", session, messageId=message, blockIndex=block, text=text)

    def tick(self, text: str, **where: Any) -> ChangeSet:
        self.delta(text, **where)
        return self.store.flush()

    def text(self) -> str:
        part = self.store.part(*PART)
        return "" if part is None else part.text


class Ear(list[ChangeSet]):
    """A callback that keeps what it hears."""

    def __call__(self, changes: ChangeSet) -> None:
        self.append(changes)

    @property
    def texts(self) -> list[str]:
        return [edit.text for changes in self for edit in changes.text.values()]


@pytest.fixture
def feed() -> Feeder:
    return Feeder()


class TestScope:
    def test_each_scope_hears_what_lies_in_it_and_nothing_else(self, feed: Feeder) -> None:
        scopes: dict[tuple[Any, ...], Ear] = {
            scope: Ear()
            for scope in [(), ("s",), ("t",), ("s", "m"), ("s", "n"), PART, ("t", "m", 0)]
        }
        for scope, ear in scopes.items():
            feed.store.subscribe(ear, *scope)
        feed.delta("in s")
        feed.delta("in t", session="t")
        feed.delta("beside", block=1)
        feed.store.flush()
        assert {scope: ear.texts for scope, ear in scopes.items()} == {
            (): ["in s", "in t", "beside"],
            ("s",): ["in s", "beside"],
            ("t",): ["in t"],
            ("s", "m"): ["in s", "beside"],
            ("s", "n"): [],
            PART: ["in s"],
            ("t", "m", 0): ["in t"],
        }
        assert scopes[PART][0].added == (Place(PART, None),)
        assert [key for key, _ in scopes["s",][0].added] == [
            SessionKey("s"), MessageKey("s", "m"), PART, PartKey("s", "m", 1),
        ]  # fmt: skip

    def test_a_tick_that_does_not_concern_a_scope_does_not_call_it(self, feed: Feeder) -> None:
        ear = Ear()
        feed.store.subscribe(ear, "s", "m", 0)
        feed.tick("a")
        for _ in range(3):
            feed.tick("b", session="t")
            feed.tick("c", message="other")
            feed.tick("d", block="0")
        assert ear.texts == ["a"]

    def test_a_tick_that_shows_nothing_calls_nobody(self, feed: Feeder) -> None:
        ear = Ear()
        feed.store.subscribe(ear)
        feed.store.flush()
        feed.ingest("session.updated", info={})
        feed.store.flush()
        assert len(ear) == 1
        feed.ingest("session.updated", info={})
        feed.store.flush()
        assert len(ear) == 1

    @pytest.mark.parametrize("scope", [("s",), ("s", "m"), PART])
    @pytest.mark.parametrize(
        "event, key",
        [
            ("session.removed", SessionKey("s")),
            ("message.removed", MessageKey("s", "m")),
            ("block.removed", PART),
        ],
    )
    def test_a_removal_above_or_below_is_heard(
        self, feed: Feeder, scope: Any, event: str, key: Any
    ) -> None:
        feed.tick("a")
        ear = Ear()
        feed.store.subscribe(ear, *scope)
        feed.ingest(event, messageId="m", blockIndex=0)
        feed.store.flush()
        assert [changes.removed for changes in ear] == [(key,)]

    def test_a_move_is_heard_where_the_message_stands(self, feed: Feeder) -> None:
        for name in ("a", "m"):
            feed.ingest("message.opened", messageId=name, role="user")
        feed.store.flush()
        session, message = Ear(), Ear()
        feed.store.subscribe(session, "s")
        feed.store.subscribe(message, "s", "m")
        feed.ingest("message.updated", messageId="m", order=1)
        feed.store.flush()
        assert (
            session[0].moved
            == message[0].moved
            == (Place(MessageKey("s", "m"), MessageKey("s", "a")),)
        )

    @pytest.mark.parametrize("scope", [(None, "m"), ("s", None, 0), (None, None, 0)])
    def test_a_scope_without_its_upper_part_is_the_callers_mistake(
        self, feed: Feeder, scope: Any
    ) -> None:
        with pytest.raises(CallerError, match="needs its"):
            feed.store.subscribe(print, *scope)

    def test_every_scoped_change_set_says_version_and_position(self, feed: Feeder) -> None:
        everything, one = Ear(), Ear()
        feed.store.subscribe(everything)
        feed.store.subscribe(one, "s")
        stream = feed.store.open("native", sequencing="session")
        for session, seq in (("t", 1), ("s", 1), ("s", 3)):
            wire = {"messageId": "m", "blockIndex": 0, "seq": seq, "text": "x"}
            stream.ingest({"type": "block.delta", "sessionId": session, **wire})
        feed.store.flush()
        assert (one[0].version, one[0].resume, one[0].gaps) == (
            everything[0].version,
            everything[0].resume,
            everything[0].gaps,
        )
        assert dict(one[0].resume["sessions"]) == {"s": 1, "t": 1}
        assert [gap.missing for gap in one[0].gaps] == [((2, 2),)]


class TestPresent:
    def test_it_holds_what_the_reads_return(self, feed: Feeder) -> None:
        feed.delta("a")
        feed.delta("b", session="t")
        feed.store.flush()
        store = feed.store
        state = store.subscribe(print).state
        assert state.version == store.version
        assert state.sessions == (store.session("s"), store.session("t"))
        assert state.messages == {"s": store.messages("s"), "t": store.messages("t")}
        assert state.parts[MessageKey("s", "m")] is store.parts("s", "m")

    def test_a_scope_holds_its_own_alone(self, feed: Feeder) -> None:
        for block in (0, 1):
            feed.delta("a", block=block)
            feed.delta("a", message="n", block=block)
        feed.delta("b", session="t")
        feed.store.flush()
        store = feed.store
        state = store.subscribe(print, "s", "m", 1).state
        assert state.sessions == (store.session("s"),)
        assert state.messages == {"s": (store.message("s", "m"),)}
        assert state.parts == {MessageKey("s", "m"): (store.part("s", "m", 1),)}
        assert store.subscribe(print, "nowhere").state.sessions == ()

    def test_what_waits_for_a_tick_is_not_in_it_but_comes_after(self, feed: Feeder) -> None:
        feed.tick("shown ")
        feed.delta("waits")
        mirror = Mirror(feed.store)
        assert mirror.subscription.state.parts[MessageKey("s", "m")][0].text == "shown "
        feed.store.flush()
        mirror.check()
        assert mirror.heard[0].text == {TEXT: Edit(6, "waits", False)}

    @pytest.mark.parametrize("scope", [(), ("s",), ("s", "m"), PART, ("s", "later"), ("later",)])
    def test_with_the_changes_after_it_it_is_what_the_reads_return(
        self, feed: Feeder, scope: Any
    ) -> None:
        feed.delta("before")
        feed.ingest("message.opened", messageId="old", role="user", order=7)
        feed.store.flush()
        mirror = Mirror(feed.store, *scope)
        mirror.check()
        steps: list[Callable[[], object]] = [
            lambda: feed.delta(" after"),
            lambda: feed.delta("new", message="later"),
            lambda: feed.delta("new", session="later"),
            lambda: feed.ingest("message.updated", messageId="m", info={"a": 1}, order=9),
            lambda: feed.ingest("block.replaced", messageId="m", blockIndex=0, text="between"),
            lambda: feed.ingest("block.opened", messageId="m", blockIndex="b", kind="tool"),
            lambda: feed.ingest("block.updated", messageId="m", blockIndex=0, order=5),
            lambda: feed.ingest("message.removed", messageId="later"),
            lambda: feed.ingest("message.removed", messageId="m"),
            lambda: feed.ingest("session.removed"),
        ]
        for step in steps:
            step()
            feed.store.flush()
            mirror.check()


class TestClosing:
    def test_a_closed_one_hears_nothing(self, feed: Feeder) -> None:
        ear = Ear()
        subscription = feed.store.subscribe(ear)
        feed.tick("a")
        subscription.close()
        subscription.close()
        feed.tick("b")
        assert ear.texts == ["a"]
        assert len(feed.store._subscribers) == 0

    def test_leaving_a_with_statement_closes(self, feed: Feeder) -> None:
        with feed.store.subscribe(print) as subscription:
            assert not subscription.closed
        assert subscription.closed

    def test_each_may_be_closed_where_several_share_a_callback(self, feed: Feeder) -> None:
        ear = Ear()
        first, second = feed.store.subscribe(ear, "s"), feed.store.subscribe(ear, "s")
        first.close()
        feed.tick("a")
        assert ear.texts == ["a"]
        second.close()
        feed.tick("b")
        assert ear.texts == ["a"]

    def test_closing_the_store_shows_what_waits_and_closes_all(self, feed: Feeder) -> None:
        ear = Ear()
        subscription = feed.store.subscribe(ear)
        feed.delta("last")
        feed.store.close()
        assert ear.texts == ["last"]
        assert subscription.closed
        with pytest.raises(CallerError, match="closed"):
            feed.store.subscribe(ear)

    def test_it_tells_who_waits_for_it(self, feed: Feeder) -> None:
        told: list[int] = []
        subscription = feed.store.subscribe(print)
        subscription.on_close = lambda: told.append(1)
        subscription.close()
        subscription.close()
        assert told == [1]


class TestRaising:
    def test_it_is_reported_and_the_others_hear_and_the_state_is_intact(self) -> None:
        reported: list[tuple[BaseException, Subscription]] = []
        feed = Feeder(on_error=lambda error, who: reported.append((error, who)))
        before, after, scoped = Ear(), Ear(), Ear()

        def fail(changes: ChangeSet) -> None:
            raise ZeroDivisionError(changes.version)

        feed.store.subscribe(before)
        broken = feed.store.subscribe(fail)
        feed.store.subscribe(after)
        feed.store.subscribe(scoped, "s", "m", 0)
        for text in ("a", "b"):
            assert feed.tick(text).text[TEXT].text == text
        assert before.texts == after.texts == scoped.texts == ["a", "b"]
        assert [(str(error), who) for error, who in reported] == [("1", broken), ("2", broken)]
        assert feed.text() == "ab"

    def test_without_a_listener_the_traceback_is_printed(
        self, feed: Feeder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(changes: ChangeSet) -> None:
            raise ZeroDivisionError("in the view")

        feed.store.subscribe(fail)
        feed.tick("a")
        assert "ZeroDivisionError: in the view" in capsys.readouterr().err

    def test_what_the_listener_raises_goes_to_the_caller_and_the_next_tick_works(self) -> None:
        def refuse(error: BaseException, who: Subscription) -> None:
            raise error

        feed, ear = Feeder(on_error=refuse), Ear()
        broken = feed.store.subscribe(lambda changes: 1 // 0)
        feed.store.subscribe(ear)
        feed.delta("a")
        with pytest.raises(ZeroDivisionError):
            feed.store.flush()
        broken.close()
        assert feed.text() == "a"
        assert ear.texts == ["a"]  # the others heard of it all the same
        feed.tick("b")
        assert ear.texts == ["a", "b"]

    @pytest.mark.parametrize("throttle", [0, 50])
    def test_what_is_no_error_is_raised_when_all_have_heard_and_goes_to_no_listener(
        self, throttle: int
    ) -> None:
        def stop(changes: ChangeSet) -> None:
            raise KeyboardInterrupt

        reported: list[BaseException] = []
        feed = Feeder(on_error=lambda error, who: reported.append(error))
        ear = Ear()
        feed.store.subscribe(stop, throttle=throttle)
        feed.store.subscribe(ear)
        feed.delta("a")
        with pytest.raises(KeyboardInterrupt):
            feed.store.flush()
        assert ear.texts == ["a"]
        assert reported == []
        assert feed.store.health.counts["work"]["notifications"] == 1

    @pytest.mark.parametrize("work", ["", "c"])
    def test_at_the_stores_close_the_others_hear_the_last_and_all_are_closed(
        self, work: str
    ) -> None:
        def stop(changes: ChangeSet) -> None:
            if changes.version > 1:
                raise KeyboardInterrupt

        feed = Feeder()
        ears = Ear(), Ear()
        stopped = feed.store.subscribe(stop, throttle=100)
        others = [feed.store.subscribe(ear, throttle=100) for ear in ears]
        feed.tick("a")
        feed.tick("b")
        if work:
            feed.store.subscribe(stop)
            feed.delta(work)
        with pytest.raises(KeyboardInterrupt):
            feed.store.close()
        assert [ear.texts for ear in ears] == [["a", "b" + work]] * 2
        assert all(subscription.closed for subscription in (stopped, *others))
        assert feed.ticks.pending == 0
        feed.store.close()

    def test_one_that_cannot_be_told_of_the_stores_close_does_not_keep_the_others_open(
        self,
    ) -> None:
        reported: list[BaseException] = []
        feed = Feeder(on_error=lambda error, who: reported.append(error))
        changes = feed.store.changes("t")
        ear = Ear()
        other = feed.store.subscribe(ear, throttle=100)
        loop = asyncio.new_event_loop()
        task = loop.create_task(changes.__anext__())
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()  # the task waits for ever
        feed.tick("a")
        feed.tick("b")
        feed.store.close()
        assert ear.texts == ["a", "b"]
        assert other.closed
        assert [str(error) for error in reported] == ["Event loop is closed"]
        with pytest.raises(StopAsyncIteration):  # as a loop would go on with it
            task.get_coro().send(None)


class TestReentrant:
    def once(
        self, feed: Feeder, act: Callable[[], object], *scope: Any, **options: Any
    ) -> Subscription:
        """A subscriber that does something the first time it hears."""
        done: list[int] = []

        def hear(changes: ChangeSet) -> None:
            if not done:
                done.append(1)
                act()

        return feed.store.subscribe(hear, *scope, **options)

    @pytest.mark.parametrize("place", ["first", "last"])
    def test_what_it_feeds_belongs_to_the_next_tick(self, feed: Feeder, place: str) -> None:
        ear = Ear()
        if place == "last":
            feed.store.subscribe(ear)
        self.once(feed, lambda: feed.delta("fed"))
        if place == "first":
            feed.store.subscribe(ear)
        feed.tick("a")
        assert ear.texts == ["a"]
        assert feed.text() == "a"
        feed.store.flush()
        assert ear.texts == ["a", "fed"]

    def test_all_hear_in_order_when_it_flushes(self, feed: Feeder) -> None:
        first, last, part = Ear(), Ear(), Ear()
        feed.store.subscribe(first)
        self.once(feed, lambda: feed.tick("b"))
        feed.store.subscribe(last)
        feed.store.subscribe(part, *PART)
        feed.tick("a")
        assert first.texts == last.texts == part.texts == ["a", "b"]
        assert [changes.version for changes in last] == [1, 2]

    @pytest.mark.parametrize("ticks", [None, "each"])
    def test_feeding_where_every_feed_is_a_tick_keeps_the_order(self, ticks: Any) -> None:
        feed = Feeder(ticks=ticks)
        mirrors = [Mirror(feed.store)]
        self.once(feed, lambda: feed.store.ingest_many([{
            "type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0,
            "seq": 99, "text": "b",
        }]))  # fmt: skip
        mirrors.append(Mirror(feed.store, "s"))
        feed.delta("a")
        feed.store.flush()
        assert feed.text() == "ab"
        for mirror in mirrors:
            mirror.check()
            assert [changes.version for changes in mirror.heard] == [1, 2]

    def test_one_that_it_subscribes_gets_this_tick_as_state_and_the_next_as_change(
        self, feed: Feeder
    ) -> None:
        mirrors: list[Mirror] = []
        self.once(feed, lambda: mirrors.append(Mirror(feed.store)))
        feed.tick("a")
        (mirror,) = mirrors
        assert mirror.heard == []
        mirror.check()
        feed.tick("b")
        assert len(mirror.heard) == 1
        mirror.check()

    def test_one_that_it_subscribes_after_flushing_hears_nothing_twice(self, feed: Feeder) -> None:
        mirrors: list[Mirror] = []

        def act() -> None:
            feed.tick("b")
            mirrors.append(Mirror(feed.store))

        self.once(feed, act)
        feed.tick("a")
        feed.tick("c")
        mirrors[0].check()
        assert [changes.version for changes in mirrors[0].heard] == [3]

    def test_it_may_close_itself(self, feed: Feeder) -> None:
        ear, next_one = Ear(), Ear()
        subscription: list[Subscription] = []

        def hear(changes: ChangeSet) -> None:
            ear(changes)
            subscription[0].close()

        subscription.append(feed.store.subscribe(hear))
        feed.store.subscribe(next_one)
        feed.tick("a")
        feed.tick("b")
        assert ear.texts == ["a"]
        assert next_one.texts == ["a", "b"]

    def test_one_that_it_closes_hears_nothing_any_more_and_the_rest_does(
        self, feed: Feeder
    ) -> None:
        closed, rest = Ear(), Ear()
        victims: list[Subscription] = []
        self.once(feed, lambda: [victim.close() for victim in victims])
        victims.append(feed.store.subscribe(closed))
        feed.store.subscribe(rest)
        feed.tick("a")
        feed.tick("b")
        assert closed.texts == []
        assert rest.texts == ["a", "b"]

    def test_it_may_close_the_store(self, feed: Feeder) -> None:
        ear = Ear()
        feed.store.subscribe(ear)
        self.once(feed, feed.store.close)
        feed.tick("a")
        assert ear.texts == ["a"]
        assert len(feed.store._subscribers) == 0

    def test_what_it_feeds_during_a_flush_comes_with_the_schedulers_next_tick(self) -> None:
        # An explicit flush takes back the request of what it shows, not of what is fed meanwhile.
        ticks = ManualTicks(interval_ms=16)
        feed = Feeder(ticks=ticks)
        self.once(feed, lambda: feed.delta("b"))
        feed.delta("a")
        feed.store.flush()
        ticks.advance(16)
        assert feed.text() == "ab"
        feed.delta("c")
        ticks.advance(16)
        assert feed.text() == "abc"
        assert ticks.run() >= 0 and ticks.pending == 0

    def test_an_explicit_flush_leaves_nothing_for_the_scheduler_to_do(self) -> None:
        ticks = ManualTicks(interval_ms=16)
        feed = Feeder(ticks=ticks)
        feed.tick("a")
        ticks.advance(0)
        assert ticks.pending == 0  # no commit, so no interval after it

    def test_a_throttled_one_is_not_told_of_what_was_taken_back_meanwhile(
        self, feed: Feeder
    ) -> None:
        store = feed.store
        store.apply(MessageOpened(session_id="s", message_id="old", role="user", local=True))
        store.flush()
        self.once(feed, lambda: (
            store.apply(MessageRollback(session_id="s", message_id="mine")),
            store.flush(),
        ))  # fmt: skip
        mirrors = [Mirror(store, exact=False, throttle=100), Mirror(store)]
        store.apply(MessageOpened(session_id="s", message_id="mine", role="user", local=True))
        store.flush()
        feed.ticks.advance(100)
        for mirror in mirrors:
            mirror.check()
        assert [changes.version for changes in mirrors[0].heard] == [3]

    @pytest.mark.parametrize("throttle", [0, 100])
    def test_one_that_lets_time_pass_before_it_applies_hears_in_order(
        self, feed: Feeder, throttle: float
    ) -> None:
        # As a dialog does that runs the event loop of a GUI.
        applied: list[str] = []

        def hear(changes: ChangeSet) -> None:
            if changes.version == 2:
                feed.tick("c")
                feed.ticks.advance(1000)
            applied.extend(edit.text for edit in changes.text.values())

        feed.store.subscribe(hear, throttle=throttle)
        feed.tick("a")
        feed.tick("b")
        feed.ticks.advance(1000)
        assert applied == ["a", "b", "c"]

    def test_a_throttled_one_whose_time_comes_in_a_callback_hears_of_now(
        self, feed: Feeder
    ) -> None:
        other = Mirror(feed.store, exact=False, throttle=100)

        def hear(changes: ChangeSet) -> None:
            if changes.version == 2:
                feed.ingest("block.removed", messageId="m", blockIndex=1)
                feed.store.flush()
                feed.ticks.advance(100)

        feed.store.subscribe(hear)
        feed.tick("a")
        feed.tick("b", block=1)
        other.check()
        assert [changes.version for changes in other.heard] == [1, 3]


class TestThrottle:
    def test_the_first_at_once_then_one_merged_change_set_per_100_ms(self, feed: Feeder) -> None:
        heard: list[tuple[float, str]] = []
        feed.store.subscribe(
            lambda changes: heard.append((feed.ticks.now, changes.text[TEXT].text)), throttle=100
        )
        for number in range(30):  # one tick each 10 ms
            feed.tick(f"{number} ")
            feed.ticks.advance(10)
        feed.ticks.run()
        chunks = [range(0, 1), range(1, 10), range(10, 20), range(20, 30)]
        assert heard == [
            (100.0 * place, "".join(f"{number} " for number in chunk))
            for place, chunk in enumerate(chunks)
        ]

    def test_after_a_quiet_spell_the_next_comes_at_once(self, feed: Feeder) -> None:
        ear = Ear()
        feed.store.subscribe(ear, throttle=100)
        feed.tick("a")
        feed.ticks.advance(100)
        assert feed.ticks.pending == 0  # nothing came: no timer wakes an idle program
        feed.ticks.advance(1000)
        feed.tick("b")
        assert ear.texts == ["a", "b"]

    @pytest.mark.parametrize("given", [False, True])
    def test_a_flush_where_no_loop_runs_tells_it(self, given: bool) -> None:
        ear = Ear()
        loop = asyncio.new_event_loop()
        loop.close()
        store = StreamStore("native", ticks=AsyncioTicks(loop=loop) if given else "asyncio")
        store.subscribe(ear, throttle=HOUR)
        wire = {"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0}
        for text in "ab":
            with contextlib.suppress(CallerError, RuntimeError):  # what is not flushed has no tick
                store.ingest({**wire, "text": text})
            assert store.flush().text[TEXT].text == text
        assert ear.texts == ["a", "b"]

        async def run() -> None:
            store.ingest({**wire, "text": "c"})
            store.flush()
            store.ingest({**wire, "text": "d"})
            store.flush()
            assert ear.texts == ["a", "b", "c"]

        if not given:
            asyncio.run(run())
            store.close()
            assert ear.texts == ["a", "b", "c", "d"]

    @pytest.mark.parametrize("throttle", [-1, float("nan"), float("inf")])
    def test_what_is_no_time_is_no_throttle(self, feed: Feeder, throttle: float) -> None:
        with pytest.raises(CallerError, match="a throttle is a number of ms"):
            feed.store.subscribe(lambda _: None, throttle=throttle)

    def test_others_hear_every_tick(self, feed: Feeder) -> None:
        slow, fast = Ear(), Ear()
        feed.store.subscribe(slow, throttle=100)
        feed.store.subscribe(fast)
        for text in "abc":
            feed.tick(text)
        assert (slow.texts, fast.texts) == (["a"], ["a", "b", "c"])
        feed.ticks.advance(100)
        assert slow.texts == ["a", "bc"]

    def test_what_does_not_concern_it_does_not_start_its_clock(self, feed: Feeder) -> None:
        ear = Ear()
        feed.store.subscribe(ear, "s", throttle=100)
        feed.tick("x", session="t")
        assert feed.ticks.pending == 0
        feed.tick("a")
        assert ear.texts == ["a"]

    def test_a_mirror_that_hears_rarely_holds_what_the_reads_return(self, feed: Feeder) -> None:
        mirror = Mirror(feed.store, exact=False, throttle=100)
        for number in range(12):
            feed.tick(f"{number}", message=f"m{number % 3}")
            if number % 4 == 3:
                feed.ingest("message.removed", messageId=f"m{number % 3}")
                feed.store.flush()
            feed.ticks.advance(30)
        feed.ticks.run()
        mirror.check()
        assert len(mirror.heard) <= 5

    def test_over_its_bound_it_gets_one_reset(self) -> None:
        feed = Feeder(limits=Limits(subscriber_changes=5))
        bounded, unbounded = Ear(), Ear()
        feed.store.subscribe(bounded, throttle=100)
        feed.store.subscribe(unbounded)
        feed.tick("a")
        for message in ("m1", "m2", "m3", "m4"):
            feed.tick("x", message=message)
        feed.ticks.advance(100)
        assert [changes.reset for changes in bounded] == [False, True]
        assert bounded[1] == feed.store.pull(since=99)
        assert not any(changes.reset for changes in unbounded)
        feed.tick("b")
        feed.ticks.advance(100)
        assert bounded[2].text == {TEXT: Edit(1, "b", False)}

    def test_exactly_its_bound_is_no_reset(self) -> None:
        feed = Feeder(limits=Limits(subscriber_changes=1))
        ear = Ear()
        feed.tick("a")
        feed.store.subscribe(ear, throttle=100)
        for text in "bcd":  # one entry however many edits
            feed.tick(text)
        feed.ticks.advance(100)
        assert [changes.reset for changes in ear] == [False, False]
        assert ear.texts == ["b", "cd"]

    def test_a_mirror_reads_anew_after_a_reset(self) -> None:
        feed = Feeder(limits=Limits(subscriber_changes=2))
        mirror = Mirror(feed.store, exact=False, throttle=100)
        for number in range(8):
            feed.tick("x", message=f"m{number}")
        feed.ticks.advance(100)
        mirror.check()
        assert mirror.heard[-1].reset

    def test_closing_it_stops_its_timer(self, feed: Feeder) -> None:
        ear = Ear()
        subscription = feed.store.subscribe(ear, throttle=100)
        feed.tick("a")
        feed.tick("b")
        subscription.close()
        assert feed.ticks.pending == 0
        feed.ticks.advance(1000)
        assert ear.texts == ["a"]

    def test_closing_the_store_hands_on_what_the_throttle_kept(self, feed: Feeder) -> None:
        mirror = Mirror(feed.store, exact=False, throttle=100)
        feed.tick("a")
        feed.tick("b")
        feed.delta("c")
        feed.store.close()
        assert [changes.text[TEXT].text for changes in mirror.heard] == ["a", "bc"]
        assert feed.ticks.pending == 0

    def test_one_that_raises_hears_the_next_one_all_the_same(self) -> None:
        feed = Feeder(on_error=lambda error, who: None)
        ear = Ear()

        def hear(changes: ChangeSet) -> None:
            ear(changes)
            raise ZeroDivisionError

        feed.store.subscribe(hear, throttle=100)
        for text in "abc":
            feed.tick(text)
        feed.ticks.advance(100)
        assert ear.texts == ["a", "bc"]

    def test_with_timers_that_call_back_at_once_it_hears_every_tick(self) -> None:
        ear = Ear()
        feed = Feeder(ticks=TimerTicks(lambda _, callback: callback()))
        feed.store.subscribe(ear, throttle=100)
        for text in "abc":
            feed.delta(text)
        assert ear.texts == ["a", "b", "c"]

    def test_one_that_flushes_hears_its_own_change_after_the_throttle(self, feed: Feeder) -> None:
        ear = Ear()

        def hear(changes: ChangeSet) -> None:
            ear(changes)
            if len(ear) == 1:
                feed.tick("b")

        feed.store.subscribe(hear, throttle=100)
        feed.tick("a")
        assert ear.texts == ["a"]
        feed.ticks.advance(100)
        assert ear.texts == ["a", "b"]

    @pytest.mark.parametrize("ticks", [None, "each", "manual"])
    def test_without_timers_a_throttle_is_the_callers_mistake(self, ticks: Any) -> None:
        with pytest.raises(CallerError, match="needs timers"):
            StreamStore("native", ticks=ticks).subscribe(print, throttle=100)


async def turns(number: int = 5) -> None:
    """Let every task go on until it waits."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("throttle", [0, HOUR])
@pytest.mark.parametrize("way", ["ingest", "ingest_many", "feed", "open"])
def test_a_loop_that_ends_while_a_tick_waits_does_not_end_the_ticks(
    throttle: float, way: str
) -> None:
    store = StreamStore("native", ticks=AsyncioTicks(interval_ms=HOUR))
    stream = store.open("native")
    ear = Ear()
    store.subscribe(ear, throttle=throttle)
    event = {"type": "block.delta", "messageId": "m", "blockIndex": 0}

    async def ask() -> None:
        stream.ingest({**event, "text": "a"})
        await asyncio.sleep(0)  # shown, and the interval begins
        stream.ingest({**event, "text": "b"})

    async def ask_again() -> None:
        wire = {**event, "text": "c"}
        if way == "ingest_many":
            stream.ingest_many([wire])
        elif way == "feed":
            stream.feed(json.dumps(wire).encode() + b"\n")
        else:
            (store.open("native") if way == "open" else stream).ingest(wire)
        for _ in range(3):  # turns of the loop
            await asyncio.sleep(0)

    asyncio.run(ask())
    assert ear.texts == ["a"]
    asyncio.run(ask_again())
    assert ear.texts == ["a", "bc"]
    store.close()


def test_closing_after_the_loop_needs_no_timer_for_a_throttle() -> None:
    store = StreamStore("native", ticks=AsyncioTicks(interval_ms=HOUR))
    ears = Ear(), Ear()
    event = {"type": "block.delta", "messageId": "m", "blockIndex": 0}

    async def work() -> None:
        store.ingest({**event, "text": "a"})
        await asyncio.sleep(0)  # shown, and the interval begins
        for ear in ears:  # they owe nothing to a throttle
            store.subscribe(ear, throttle=HOUR)
        store.ingest({**event, "text": "b"})

    asyncio.run(work())
    store.close()
    assert [ear.texts for ear in ears] == [["b"], ["b"]]


class Listener:
    """A task that listens to `changes()` and keeps what it hears."""

    def __init__(self, stream: AsyncIterator[ChangeSet]) -> None:
        self.heard = Ear()
        self.gate = asyncio.Event()
        self.gate.set()
        self.task = asyncio.ensure_future(self.listen(stream))

    async def listen(self, stream: AsyncIterator[ChangeSet]) -> None:
        async for changes in stream:
            self.heard(changes)
            await self.gate.wait()


def listening(
    check: Callable[[Feeder, Listener], Awaitable[None]], *scope: Any, **options: Any
) -> Feeder:
    """Run a check beside a task that listens."""
    feed = Feeder(**options)

    async def main() -> None:
        listener = Listener(feed.store.changes(*scope))
        await turns()
        await check(feed, listener)
        listener.task.cancel()
        await turns()

    asyncio.run(main())
    return feed


class TestAsyncIterator:
    def test_it_yields_what_each_tick_changed(self) -> None:
        async def check(feed: Feeder, listener: Listener) -> None:
            for text in "ab":
                feed.tick(text)
                await turns()
            assert listener.heard.texts == ["a", "b"]

        listening(check)

    def test_what_comes_while_the_consumer_is_busy_is_merged(self) -> None:
        async def check(feed: Feeder, listener: Listener) -> None:
            listener.gate.clear()
            for text in "abcd":
                feed.tick(text)
                await turns()
            assert listener.heard.texts == ["a"]
            listener.gate.set()
            await turns()
            assert listener.heard.texts == ["a", "bcd"]
            assert listener.heard[1].version == 4

        listening(check)

    def test_over_its_bound_it_yields_one_reset(self) -> None:
        async def check(feed: Feeder, listener: Listener) -> None:
            listener.gate.clear()
            for number in range(6):
                feed.tick("x", message=f"m{number}")
                await turns()
            listener.gate.set()
            await turns()
            assert [changes.reset for changes in listener.heard] == [False, True]

        listening(check, limits=Limits(subscriber_changes=5))

    def test_it_keeps_to_its_scope(self) -> None:
        async def check(feed: Feeder, listener: Listener) -> None:
            feed.tick("no", session="t")
            feed.tick("yes")
            await turns()
            assert listener.heard.texts == ["yes"]

        listening(check, "s", "m", 0)

    @pytest.mark.parametrize("waiting", ["", "last"])
    @pytest.mark.parametrize("busy", [False, True])
    def test_it_ends_when_the_store_is_closed_after_what_was_left(
        self, waiting: str, busy: bool
    ) -> None:
        async def check(feed: Feeder, listener: Listener) -> None:
            feed.tick("a")
            if busy:
                listener.gate.clear()
            await turns()
            if waiting:
                feed.delta(waiting)
            feed.store.close()
            listener.gate.set()
            await turns()
            assert listener.task.done()
            assert listener.heard.texts == ["a", *([waiting] if waiting else [])]

        listening(check)

    def test_one_that_is_closed_tells_what_it_heard_and_not_where_it_stands_later(
        self, feed: Feeder
    ) -> None:
        async def rest(changes: AsyncIterator[ChangeSet]) -> list[ChangeSet]:
            return [heard async for heard in changes]

        changes = feed.store.changes()
        feed.tick("a", block=1)
        feed.tick("b", block=1)
        changes.close()
        feed.tick("c", block=2)
        [heard] = asyncio.run(rest(changes))
        assert (heard.version, [edit.text for edit in heard.text.values()]) == (2, ["ab"])
        assert [place.before for place in heard.added] == [None, None, None]

    def test_a_cancelled_consumer_leaves_no_subscription_behind(self) -> None:
        async def check(feed: Feeder, listener: Listener) -> None:
            feed.tick("a")
            await turns()
            assert len(feed.store._subscribers) == 1
            listener.task.cancel()
            await turns()
            assert listener.task.cancelled()
            listener.task = asyncio.ensure_future(asyncio.sleep(0))  # the old one holds its frames
            gc.collect()
            assert len(feed.store._subscribers) == 0

        listening(check)

    def test_waiting_for_the_next_one_may_time_out(self) -> None:
        async def main() -> None:
            feed = Feeder()
            changes = feed.store.changes()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0)
            feed.tick("a")
            assert (await anext(changes)).text

        asyncio.run(main())

    def test_one_that_is_cancelled_when_it_was_woken_does_not_keep_the_next_asleep(self) -> None:
        async def main() -> None:
            feed = Feeder()
            changes = feed.store.changes()
            first = asyncio.ensure_future(anext(changes))
            await turns()
            second = Listener(changes)  # comes to its turn before the one that is woken now
            feed.tick("a")
            first.cancel()
            await turns()
            assert first.cancelled()
            feed.tick("b")
            await turns()
            assert second.heard.texts == ["a", "b"]
            second.task.cancel()
            await turns()

        asyncio.run(main())

    def test_it_hears_from_the_moment_it_is_made(self) -> None:
        async def main() -> None:
            feed = Feeder()
            changes = feed.store.changes()
            feed.tick("a")
            assert (await anext(changes)).version == 1
            with pytest.raises(CallerError, match="two tasks"):
                await asyncio.gather(anext(changes), anext(changes))

        asyncio.run(main())

    def test_one_that_is_cancelled_at_its_own_work_leaves_none_with_aclosing(self) -> None:
        feed = Feeder()

        async def consume() -> None:
            async with contextlib.aclosing(feed.store.changes()) as stream:
                async for _ in stream:
                    await asyncio.Event().wait()

        async def main() -> None:
            task = asyncio.ensure_future(consume())
            await turns()
            feed.tick("a")
            await turns()
            task.cancel()
            await turns()
            assert task.cancelled()
            assert len(feed.store._subscribers) == 0

        asyncio.run(main())

    def test_leaving_the_loop_leaves_no_subscription_behind(self) -> None:
        feed = Feeder()

        async def main() -> None:
            async def consume() -> None:
                async for _ in feed.store.changes():
                    break

            task = asyncio.ensure_future(consume())
            await turns()
            feed.tick("a")
            await turns()
            gc.collect()
            await turns()
            assert task.done()
            assert len(feed.store._subscribers) == 0

        asyncio.run(main())

    def test_one_that_is_collected_in_the_middle_of_a_pass_does_not_break_it(
        self, feed: Feeder
    ) -> None:
        class Scopes(dict[Any, Any]):
            def __iter__(self) -> Iterator[Any]:
                for scope in super().__iter__():
                    yield scope
                    held.clear()  # what the collector does, whenever something is made

        held = [feed.store.changes("s", f"m{number}") for number in range(3)]
        ear = Ear()
        feed.store.subscribe(ear, "s", "m")
        feed.tick("a")
        feed.store._subscribers._by_scope = Scopes(feed.store._subscribers._by_scope)
        feed.ingest("message.removed", messageId="m")
        feed.store.flush()
        assert not held
        assert [changes.removed for changes in ear] == [(), (MessageKey("s", "m"),)]
        feed.ingest("message.opened", messageId="m2", role="user")
        feed.store.flush()
        assert list(feed.store._subscribers._by_scope.keys()) == [("s", "m")]

    def test_two_consumers_do_not_take_from_each_other(self) -> None:
        async def check(feed: Feeder, listener: Listener) -> None:
            other = Listener(feed.store.changes())
            await turns()
            listener.gate.clear()
            for text in "abc":
                feed.tick(text)
                await turns()
            listener.gate.set()
            await turns()
            assert listener.heard.texts == ["a", "bc"]
            assert other.heard.texts == ["a", "b", "c"]
            other.task.cancel()

        listening(check)

    def test_one_that_feeds_hears_of_it_next(self) -> None:
        feed = Feeder()

        async def main() -> None:
            texts: list[str] = []

            async def consume() -> None:
                async for changes in feed.store.changes():
                    texts.append(changes.text[TEXT].text)
                    if len(texts) == 3:
                        return
                    feed.tick(f"{len(texts)}")

            task = asyncio.ensure_future(consume())
            await turns()
            feed.tick("0")
            await turns()
            assert task.done()
            assert texts == ["0", "1", "2"]

        asyncio.run(main())
