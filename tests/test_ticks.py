"""When commits happen: counted in virtual time, for every scheduler; nothing here waits."""

from __future__ import annotations

import _thread
import asyncio
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamstore.errors import CallerError
from streamstore.ticks import AsyncioTicks, ManualTicks, Ticks, TimerTicks

INTERVAL = 16


class VirtualSelector(selectors.DefaultSelector):
    """Lets the loop's time pass instead of waiting; only another thread is really waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0  # seconds

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready = super().select(30)
            assert ready, "the loop sleeps and nobody wakes it"
            return ready
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop in virtual time; what its callbacks raise is kept in `raised`."""

    def __init__(self) -> None:
        self.virtual = VirtualSelector()
        super().__init__(self.virtual)
        self.raised: list[BaseException] = []
        self.set_debug(True)  # so that a call from a wrong thread raises
        self.set_exception_handler(lambda _, context: self.raised.append(context["exception"]))

    def time(self) -> float:
        return self.virtual.now

    @property
    def timers(self) -> int:
        """Callbacks that the loop would still make."""
        handles: list[asyncio.Handle] = [*self._scheduled, *self._ready]  # type: ignore[attr-defined]
        return sum(not handle.cancelled() for handle in handles)


class FakeGui:
    """A GUI's timers: a list of what is due when, run by the test."""

    def __init__(self) -> None:
        self.now = 0
        self.due: list[tuple[int, int, Callable[[], object]]] = []
        self.delays: list[int] = []
        self.raised: list[BaseException] = []
        self.broken = False

    def schedule(self, delay_ms: int, callback: Callable[[], object]) -> str:
        assert type(delay_ms) is int
        if self.broken:
            raise RuntimeError("the window is gone")
        self.delays.append(delay_ms)
        self.due.append((self.now + delay_ms, len(self.delays), callback))
        return f"after#{len(self.delays)}"

    def advance(self, ms: int) -> None:
        until = self.now + ms
        while self.due and min(self.due)[0] <= until:
            timer = min(self.due)
            self.due.remove(timer)
            self.now = max(self.now, timer[0])
            try:
                timer[2]()
            except Exception as raised:  # a GUI reports what a callback raises, and goes on
                self.raised.append(raised)
        self.now = until


class Bench:
    """A scheduler with its commits (times in ms), and the time that it lives in."""

    def __init__(
        self,
        ticks: Ticks,
        now: Callable[[], float],
        advance: Callable[[float], None],
        timers: Callable[[], int],
        raised: Callable[[], list[BaseException]],
    ) -> None:
        self.ticks, self.advance, self.timers, self.raised = ticks, advance, timers, raised
        self.now = now
        self.commits: list[float] = []
        self.on_commit: Callable[[], object] = lambda: None
        ticks.start(self.commit)

    def commit(self) -> None:
        self.commits.append(round(self.now(), 6))
        self.on_commit()


def manual() -> Bench:
    ticks = ManualTicks(interval_ms=INTERVAL)
    raised: list[BaseException] = []

    def advance(ms: float) -> None:
        until = ticks.now + ms
        while True:
            try:
                ticks.advance(until - ticks.now)
            except Exception as error:
                raised.append(error)
            else:
                return

    return Bench(ticks, lambda: ticks.now, advance, lambda: ticks.pending, lambda: raised)


def timer() -> Bench:
    gui = FakeGui()
    return Bench(
        TimerTicks(gui.schedule, INTERVAL),
        lambda: gui.now,
        lambda ms: gui.advance(int(ms)),
        lambda: len(gui.due),
        lambda: gui.raised,
    )


def on_asyncio(loop: VirtualLoop) -> Bench:
    def advance(ms: float) -> None:
        # The end of a turn is two: `sleep(0)` is one, and the callbacks it lets in run in it.
        loop.run_until_complete(asyncio.sleep(ms / 1000))
        loop.run_until_complete(asyncio.sleep(0))

    return Bench(
        AsyncioTicks(INTERVAL, loop),
        lambda: loop.time() * 1000,
        advance,
        lambda: loop.timers,
        lambda: loop.raised,
    )


@contextmanager
def bench_of(kind: str) -> Iterator[Bench]:
    if kind != "asyncio":
        yield manual() if kind == "manual" else timer()
        return
    loop = VirtualLoop()
    try:
        yield on_asyncio(loop)
    finally:
        loop.close()


@pytest.fixture(params=["manual", "timer", "asyncio"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench_of(request.param) as made:
        yield made


# --- the interval, under every scheduler ----------------------------------------------------------


def test_work_of_one_turn_is_one_commit_at_its_end(bench: Bench) -> None:
    for _ in range(100):
        bench.ticks.request()
    assert bench.commits == []  # never inside the call that feeds
    bench.advance(0)
    assert bench.commits == [0]
    bench.advance(100)
    assert bench.commits == [0]


def test_one_timer_stands_for_all_work(bench: Bench) -> None:
    for _ in range(100):
        bench.ticks.request()
    assert bench.timers() == 1
    bench.advance(0)
    for _ in range(100):
        bench.ticks.request()
    assert bench.timers() == 1


def test_steady_work_commits_once_per_interval(bench: Bench) -> None:
    for _ in range(100):
        bench.ticks.request()
        bench.advance(1)
    assert bench.commits == [0, 16, 32, 48, 64, 80, 96]


def test_nothing_wakes_a_quiet_program(bench: Bench) -> None:
    bench.ticks.request()
    bench.advance(0)
    assert bench.timers() == 1  # the interval
    bench.advance(INTERVAL)
    assert bench.timers() == 0


def test_the_first_work_after_a_quiet_spell_is_shown_at_once(bench: Bench) -> None:
    bench.ticks.request()
    bench.advance(40)
    bench.ticks.request()
    bench.advance(0)
    assert bench.commits == [0, 40]


def test_work_during_a_commit_belongs_to_the_next_tick(bench: Bench) -> None:
    def feed() -> None:
        if len(bench.commits) < 3:
            bench.ticks.request()

    bench.on_commit = feed
    bench.ticks.request()
    bench.advance(0)
    assert bench.commits == [0]
    bench.advance(100)
    assert bench.commits == [0, 16, 32]
    assert bench.timers() == 0


def test_a_commit_that_raises_is_reported_and_the_next_work_is_shown(bench: Bench) -> None:
    def fail() -> None:
        raise ValueError("commit")

    bench.on_commit = fail
    bench.ticks.request()
    bench.advance(1)
    assert [str(error) for error in bench.raised()] == ["commit"]
    bench.on_commit = lambda: None
    bench.ticks.request()
    bench.advance(100)
    assert bench.commits == [0, 16]
    assert bench.timers() == 0


def test_work_that_came_during_a_commit_that_raises_is_shown(bench: Bench) -> None:
    def fail() -> None:
        if len(bench.commits) == 1:
            bench.ticks.request()
            raise ValueError("commit")

    bench.on_commit = fail
    bench.ticks.request()
    bench.advance(100)
    assert bench.commits == [0, 16]


def test_an_explicit_flush_is_not_repeated_by_the_timer_that_waits(bench: Bench) -> None:
    bench.ticks.request()
    bench.ticks.committed()
    bench.advance(100)
    assert bench.commits == []
    assert bench.timers() == 0


def test_work_after_an_explicit_flush_is_not_lost(bench: Bench) -> None:
    bench.ticks.request()
    bench.ticks.committed()
    bench.ticks.request()
    bench.advance(0)
    assert bench.commits == [0]
    bench.advance(1)
    bench.ticks.request()
    bench.ticks.committed()  # while the interval runs
    bench.ticks.request()
    bench.advance(100)
    assert bench.commits == [0, 16]


def test_work_that_a_flush_causes_is_not_lost(bench: Bench) -> None:
    """A store's flush says `committed` first; subscribers may feed while they are told."""
    bench.ticks.request()
    bench.ticks.committed()
    bench.ticks.request()  # from a subscriber, inside the flush
    bench.advance(100)
    assert bench.commits == [0]


def test_nothing_fires_after_stop(bench: Bench) -> None:
    fired: list[str] = []
    bench.ticks.request()
    bench.ticks.call_later(5, lambda: fired.append("late"))
    bench.ticks.stop()
    bench.ticks.request()
    bench.ticks.call_later(5, lambda: fired.append("later"))
    assert bench.ticks.from_thread(lambda: fired.append("thread")) is False
    bench.advance(100)
    assert (bench.commits, fired) == ([], [])


def test_what_a_thread_left_before_stop_does_not_run_after_it(bench: Bench) -> None:
    ran: list[int] = []
    bench.ticks.from_thread(lambda: ran.append(1))
    bench.ticks.stop()
    bench.advance(0)
    assert ran == []


def test_stop_inside_a_commit_starts_no_timer(bench: Bench) -> None:
    bench.on_commit = bench.ticks.stop
    bench.ticks.request()
    bench.advance(0)
    assert (bench.commits, bench.timers()) == ([0], 0)


def test_stop_recalls_the_timers_that_can_be_recalled() -> None:
    for kind in ("manual", "asyncio"):
        with bench_of(kind) as bench:
            bench.ticks.request()
            bench.ticks.call_later(1000, lambda: None)
            bench.ticks.stop()
            assert bench.timers() == 0


def test_a_delay_runs_once_when_it_is_over_and_not_when_cancelled(bench: Bench) -> None:
    fired: list[float] = []
    bench.ticks.call_later(30, lambda: fired.append(bench.now()))
    cancel = bench.ticks.call_later(20, lambda: fired.append(-1))
    bench.advance(19)
    cancel()
    cancel()
    bench.advance(10)
    assert fired == []
    bench.advance(100)
    assert [round(at) for at in fired] == [30]


def test_cancelling_after_it_ran_is_harmless(bench: Bench) -> None:
    cancel = bench.ticks.call_later(0, lambda: None)
    bench.advance(0)
    cancel()


def test_a_scheduler_serves_one_store(bench: Bench) -> None:
    bench.ticks.start(bench.commit)  # the same store again
    with pytest.raises(CallerError, match="one store"):
        bench.ticks.start(lambda: None)
    bench.ticks.stop()
    with pytest.raises(CallerError, match="one store"):
        bench.ticks.start(bench.commit)


STEPS = st.lists(st.sampled_from(["request", "flush", "raise"]) | st.integers(0, 40), max_size=30)


@settings(deadline=None)
@given(steps=STEPS, again=st.sets(st.integers(0, 8)))
def test_every_scheduler_commits_at_the_same_times(steps: list[str | int], again: set[int]) -> None:
    """And these are the times of a naive model: first work at once, then 16 ms apart."""
    assert (
        played("manual", steps, again)
        == played("timer", steps, again)
        == played("asyncio", steps, again)
        == modelled(steps, again)
    )


def played(kind: str, steps: list[str | int], again: set[int]) -> list[float]:
    """Commit times; `again` numbers the commits during which new work comes."""
    with bench_of(kind) as bench:
        fail_next = False

        def on_commit() -> None:
            nonlocal fail_next
            if len(bench.commits) - 1 in again:
                bench.ticks.request()
            if fail_next:
                fail_next = False
                raise ValueError("commit")

        bench.on_commit = on_commit
        for step in steps:
            if step == "request":
                bench.ticks.request()
            elif step == "flush":
                bench.ticks.committed()
            elif step == "raise":
                fail_next = True
            else:
                assert isinstance(step, int)
                bench.advance(step)
        bench.advance(1000)
        assert bench.timers() == 0
        return [round(time) for time in bench.commits]


def modelled(steps: list[str | int], again: set[int]) -> list[float]:
    commits: list[float] = []
    now, waits = 0, False
    look: int | None = None  # when to look whether work waits, None in a quiet spell
    for step in [*steps, 1000]:
        if step == "request":
            waits = True
            look = now if look is None else look
        elif step == "flush":
            waits = False
        elif isinstance(step, int):
            until = now + step
            while look is not None and look <= until:
                now, look = max(now, look), None
                if waits:
                    waits = len(commits) in again
                    commits.append(now)
                    look = now + INTERVAL
            now = until
    return commits


# --- virtual time ---------------------------------------------------------------------------------


def test_manual_ticks_without_an_interval_commit_only_when_told() -> None:
    ticks = ManualTicks()
    commits: list[float] = []
    ticks.start(lambda: commits.append(ticks.now))
    ticks.request()
    ticks.request()
    ticks.advance(1000)
    assert (commits, ticks.pending) == ([], 0)
    assert ticks.tick() is True
    assert ticks.tick() is False
    assert (commits, ticks.pending) == ([1000], 0)


def test_a_tick_after_stop_commits_nothing() -> None:
    ticks = ManualTicks()
    commits: list[int] = []
    ticks.start(lambda: commits.append(1))
    ticks.request()
    ticks.stop()
    assert ticks.tick() is False
    ticks.request()
    assert ticks.tick() is False
    assert commits == []


def test_manual_ticks_without_an_interval_go_on_after_a_commit_that_raises() -> None:
    ticks = ManualTicks()
    fails = [True, False]
    commits: list[bool] = []

    def commit() -> None:
        commits.append(fails[0])
        if fails.pop(0):
            raise ValueError("commit")

    ticks.start(commit)
    ticks.request()
    with pytest.raises(ValueError, match="commit"):
        ticks.tick()
    ticks.request()
    ticks.tick()
    assert commits == [True, False]


def test_a_tick_between_two_of_the_interval_does_the_work_of_the_next() -> None:
    ticks = ManualTicks(interval_ms=16)
    commits: list[float] = []
    ticks.start(lambda: commits.append(ticks.now))
    ticks.request()
    ticks.advance(5)
    ticks.request()
    assert ticks.tick() is True
    assert (commits, ticks.pending) == ([0, 5], 1)
    ticks.advance(100)
    assert (commits, ticks.pending) == ([0, 5], 0)


def test_timers_fire_in_the_order_of_their_times_then_of_their_making() -> None:
    ticks = ManualTicks()
    fired: list[tuple[str, float]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: fired.append((name, ticks.now))

    for name, delay in (("c", 20), ("a", 10), ("b", 10)):
        ticks.call_later(delay, note(name))
    ticks.call_later(10, lambda: ticks.call_later(5, note("new")))
    ticks.advance(20)
    assert fired == [("a", 10), ("b", 10), ("new", 15), ("c", 20)]
    assert ticks.now == 20


def test_time_stands_still_where_a_callback_raised_and_the_rest_stays_due() -> None:
    ticks = ManualTicks()
    fired: list[float] = []

    def fail() -> None:
        raise ValueError("timer")

    ticks.call_later(10, fail)
    ticks.call_later(20, lambda: fired.append(ticks.now))
    with pytest.raises(ValueError, match="timer"):
        ticks.advance(100)
    assert (ticks.now, ticks.pending) == (10, 1)
    ticks.advance(10)
    assert fired == [20]


def test_run_fires_everything_and_ends_quiet() -> None:
    ticks = ManualTicks()
    commits: list[float] = []
    ticks.start(lambda: commits.append(ticks.now))
    ticks.call_later(100, ticks.request)
    assert ticks.run() == 100
    assert (commits, ticks.pending) == ([100], 0)


def test_run_gives_up_on_timers_that_start_themselves_for_ever() -> None:
    ticks = ManualTicks()

    def again() -> None:
        ticks.call_later(1, again)

    again()
    with pytest.raises(CallerError, match="50 timers fired"):
        ticks.run(limit=50)


def test_what_threads_leave_runs_at_the_owners_next_step() -> None:
    ticks = ManualTicks()
    seen: list[threading.Thread] = []

    def leave() -> None:
        ticks.from_thread(lambda: seen.append(threading.current_thread()))

    threads = [threading.Thread(target=leave) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == []
    ticks.advance(0)
    assert seen == [threading.current_thread()] * 8


def test_what_a_timer_leaves_like_a_thread_runs_at_its_time() -> None:
    ticks = ManualTicks()
    ran: list[float] = []
    ticks.call_later(10, lambda: ticks.from_thread(lambda: ran.append(ticks.now)))
    ticks.call_later(20, lambda: None)
    ticks.advance(100)
    assert ran == [10]


# --- GUI timers -----------------------------------------------------------------------------------


def test_gui_timers_get_whole_milliseconds_never_fewer() -> None:
    gui = FakeGui()
    ticks = TimerTicks(gui.schedule, interval_ms=16.6)
    ticks.start(lambda: None)
    ticks.request()
    gui.advance(0)
    ticks.call_later(0.2, lambda: None)
    assert gui.delays == [0, 17, 1]


def test_a_gui_that_refuses_a_timer_is_asked_again_by_the_next_work() -> None:
    gui = FakeGui()
    ticks = TimerTicks(gui.schedule)
    commits: list[int] = []
    ticks.start(lambda: commits.append(gui.now))
    gui.broken = True
    with pytest.raises(RuntimeError, match="window"):
        ticks.request()
    gui.broken = False
    ticks.request()
    gui.advance(0)
    assert commits == [0]
    gui.advance(100)
    ticks.request()
    gui.broken = True  # when the commit is over and the interval is to run
    gui.advance(0)
    assert [str(error) for error in gui.raised] == ["the window is gone"]
    gui.broken = False
    ticks.request()
    gui.advance(0)
    assert commits == [0, 100, 100]


def test_a_scheduler_that_calls_back_at_once_commits_at_once() -> None:
    commits: list[int] = []
    ticks = TimerTicks(lambda _, callback: callback())
    ticks.start(lambda: commits.append(1))
    ticks.request()
    ticks.request()
    assert commits == [1, 1]


def test_nothing_is_kept_of_timers_that_fired_or_were_refused() -> None:
    at_once = TimerTicks(lambda _, callback: callback())
    at_once.call_later(5, lambda: None)
    gui = FakeGui()
    gui.broken = True
    refused = TimerTicks(gui.schedule)
    with pytest.raises(RuntimeError, match="window"):
        refused.call_later(5, lambda: None)
    assert (at_once._cancels, refused._cancels) == ({}, {})


def test_gui_timers_take_nothing_from_threads_without_a_way_in() -> None:
    assert TimerTicks(FakeGui().schedule).from_thread(lambda: None) is False


def test_gui_timers_take_callbacks_from_threads_through_post() -> None:
    posted: list[Callable[[], object]] = []
    ran: list[int] = []
    ticks = TimerTicks(FakeGui().schedule, post=posted.append)
    assert ticks.from_thread(lambda: ran.append(1)) is True
    assert ticks.from_thread(lambda: ran.append(2)) is True
    posted[0]()
    ticks.stop()
    posted[1]()
    assert ran == [1]


def called_elsewhere(*calls: Callable[[], object]) -> list[str]:
    """What is raised where another thread makes each of the calls."""
    raised: list[str] = []

    def call_all() -> None:
        for call in calls:
            try:
                call()
            except CallerError as error:
                raised.append(str(error))

    thread = threading.Thread(target=call_all)
    thread.start()
    thread.join()
    return raised


def test_another_thread_than_that_of_the_gui_is_told_what_to_do() -> None:
    """A timer that it asks for may never fire, and the store would wait for it for ever."""
    gui = FakeGui()
    ticks = TimerTicks(gui.schedule)
    commits: list[int] = []
    ticks.start(lambda: commits.append(gui.now))
    ticks.request()
    gui.advance(100)
    refused = called_elsewhere(ticks.request, ticks.committed)
    assert len(refused) == 2
    for problem in refused:
        assert "feed_threadsafe" in problem and "post=" in problem
    assert gui.due == []
    ticks.request()  # the store goes on
    gui.advance(0)
    assert commits == [0, 100]
    ticks.stop()
    assert called_elsewhere(ticks.request, ticks.committed) == []  # nothing, as after any stop


def test_a_throttle_says_where_the_thread_of_the_gui_is_too() -> None:
    gui = FakeGui()
    ticks = TimerTicks(gui.schedule)
    ticks.start(lambda: None)
    ticks.call_later(5, lambda: None)
    gui.advance(5)
    assert len(called_elsewhere(ticks.request)) == 1


def test_gui_timers_may_be_used_in_another_thread_than_the_one_that_made_them() -> None:
    gui = FakeGui()
    ticks = TimerTicks(gui.schedule)
    commits: list[threading.Thread] = []
    ticks.start(lambda: commits.append(threading.current_thread()))
    ticks.request()  # asked for here; the GUI runs there
    there = [lambda: gui.advance(100), ticks.request, ticks.committed, ticks.request]
    assert called_elsewhere(*there, lambda: gui.advance(100)) == []
    assert len(commits) == 2 and len(set(commits)) == 1
    assert commits[0] is not threading.current_thread()
    ticks.committed()  # that thread is gone, and this one reads what is left
    ticks.request()
    gui.advance(0)
    assert commits[2:] == [threading.current_thread()]


def test_of_a_thread_that_python_did_not_start_nobody_says_that_it_lives() -> None:
    gui, ended = FakeGui(), threading.Event()
    ticks = TimerTicks(gui.schedule)
    commits: list[str] = []
    ticks.start(lambda: commits.append(threading.current_thread().name))
    ticks.request()

    def serve() -> None:
        gui.advance(100)
        ended.set()

    _thread.start_new_thread(serve, ())  # as a toolkit does: `threading` learns of it as it asks
    assert ended.wait(60)
    ticks.committed()
    ticks.request()
    gui.advance(0)
    assert commits[0].startswith("Dummy")
    assert commits[1:] == [threading.current_thread().name]


def test_what_calls_back_at_once_is_in_no_thread() -> None:
    commits: list[threading.Thread] = []
    ticks = TimerTicks(lambda _, callback: callback())
    ticks.start(lambda: commits.append(threading.current_thread()))
    ticks.request()
    assert called_elsewhere(ticks.request, ticks.committed) == []
    assert len(set(commits)) == 2


# --- asyncio --------------------------------------------------------------------------------------


def test_asyncio_ticks_take_the_loop_that_runs_when_work_comes() -> None:
    loop = VirtualLoop()
    ticks = AsyncioTicks()
    commits: list[float] = []
    ticks.start(lambda: commits.append(loop.time()))  # no loop runs yet
    assert ticks.from_thread(lambda: None) is False
    ran: list[int] = []

    async def feed() -> None:
        ticks.request()
        ticks.request()
        assert ticks.from_thread(lambda: ran.append(1)) is True
        await asyncio.sleep(0)

    loop.run_until_complete(feed())
    loop.close()
    assert (commits, ran) == ([0], [1])
    assert ticks.from_thread(lambda: None) is False  # the loop is closed


def test_threads_reach_the_loop_that_ran_when_the_store_was_made() -> None:
    """Before any work: a store that only other threads feed would never be drained else."""
    made, later = VirtualLoop(), VirtualLoop()
    ticks = AsyncioTicks()
    ran: list[asyncio.AbstractEventLoop] = []

    async def make() -> None:
        ticks.start(lambda: ran.append(asyncio.get_running_loop()))
        assert ticks.from_thread(lambda: ran.append(asyncio.get_running_loop())) is True
        await asyncio.sleep(0)

    async def feed() -> None:
        ticks.request()
        await asyncio.sleep(0)

    made.run_until_complete(make())
    made.close()
    later.run_until_complete(feed())
    later.close()
    assert ran == [made, later]


@pytest.mark.parametrize("sign", ["meet", "request", "call_later"])
def test_what_waited_in_a_loop_that_is_gone_goes_on_in_the_next(sign: str) -> None:
    first, second = VirtualLoop(), VirtualLoop()
    ticks = AsyncioTicks()
    done: list[tuple[str, asyncio.AbstractEventLoop]] = []

    def note(what: str) -> Callable[[], None]:
        return lambda: done.append((what, asyncio.get_running_loop()))

    ticks.start(note("commit"))

    async def begin() -> Callable[[], None]:
        ticks.request()
        await asyncio.sleep(0)
        ticks.request()  # waits for the interval, longer than this loop runs
        ticks.call_later(100, note("delay"))
        return ticks.call_later(100, note("cancelled"))

    async def go_on() -> None:
        if sign == "meet":
            assert ticks.meet() is True
        elif sign == "request":
            ticks.request()
        else:
            ticks.call_later(0, note("other delay"))
        cancel()
        await asyncio.sleep(1)

    cancel = first.run_until_complete(begin())
    first.close()
    second.run_until_complete(go_on())
    assert second.timers == 0
    second.close()
    others = [("other delay", second)] if sign == "call_later" else []
    assert done == [("commit", first), ("commit", second), ("delay", second), *others]
    assert ticks._cancels == {}


def test_what_waited_in_a_loop_that_is_gone_asks_for_one_that_runs() -> None:
    loop = VirtualLoop()
    ticks = AsyncioTicks()
    ticks.start(lambda: None)

    async def begin() -> None:
        ticks.call_later(100, lambda: None)
        ticks.request()

    loop.run_until_complete(begin())
    loop.close()
    assert ticks.meet() is False
    for call in (ticks.request, lambda: ticks.call_later(0, lambda: None)):
        with pytest.raises(CallerError, match="inside a running one"):
            call()
    ticks.stop()
    ticks.request()
    ticks.call_later(0, lambda: None)
    assert ticks._cancels == {}


def test_asyncio_ticks_without_any_loop_say_what_to_do() -> None:
    ticks = AsyncioTicks()
    commits: list[int] = []
    ticks.start(lambda: commits.append(1))
    with pytest.raises(CallerError, match="pass loop="):
        ticks.request()
    loop = VirtualLoop()

    async def feed() -> None:
        ticks.request()
        await asyncio.sleep(0)

    loop.run_until_complete(feed())
    loop.close()
    assert commits == [1]


def test_a_task_that_feeds_without_awaiting_makes_one_turn() -> None:
    with bench_of("asyncio") as bench:
        states: list[tuple[int, int]] = []

        async def feed() -> None:
            for turn in range(3):
                for _ in range(50):
                    bench.ticks.request()
                states.append((turn, len(bench.commits)))
                await asyncio.sleep(INTERVAL / 1000)

        loop = bench.ticks._loop  # type: ignore[attr-defined]
        loop.run_until_complete(feed())
        assert states == [(0, 0), (1, 1), (2, 2)]


def test_callbacks_from_threads_run_in_the_loops_thread() -> None:
    loop = VirtualLoop()
    ticks = AsyncioTicks(loop=loop)
    ran: list[threading.Thread] = []

    async def wait() -> None:
        done = asyncio.Event()

        def callback() -> None:
            ran.append(threading.current_thread())
            done.set()

        def post() -> None:
            if not ticks.from_thread(callback):
                loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=post)
        thread.start()
        await done.wait()
        thread.join()

    loop.run_until_complete(wait())
    loop.close()
    assert ran == [threading.current_thread()]


@pytest.mark.parametrize("served", [True, False])
def test_another_thread_than_the_loops_is_told_what_to_do(served: bool) -> None:
    """A timer of a loop that sleeps, asked for by another thread, would wait for whatever wakes it."""
    loop = VirtualLoop()
    loop.set_debug(False)  # as in programs: else asyncio itself says that the thread is wrong
    ticks = AsyncioTicks()
    commits: list[float] = []
    refused: list[str] = []

    def call() -> None:
        for wrong in (ticks.request, ticks.committed):
            with pytest.raises(CallerError, match="call_soon_threadsafe") as raised:
                wrong()
            refused.append(str(raised.value))

    async def serve() -> None:
        ticks.start(lambda: commits.append(loop.time()))
        if served:
            ticks.request()
            await asyncio.sleep(1)
        await asyncio.to_thread(call)
        await asyncio.to_thread(ticks.stop)
        await asyncio.to_thread(ticks.request)  # nothing, as after any stop
        await loop.shutdown_default_executor()

    loop.run_until_complete(serve())
    loop.close()
    assert len(refused) == 2
    assert commits == ([0] if served else [])


def test_a_store_that_was_made_in_one_loop_may_be_used_in_another_thread_s_loop() -> None:
    ticks = AsyncioTicks()
    commits: list[asyncio.AbstractEventLoop] = []

    async def use() -> None:
        ticks.request()
        await asyncio.sleep(0)
        assert commits == [asyncio.get_running_loop()]

    async def make() -> None:
        ticks.start(lambda: commits.append(asyncio.get_running_loop()))
        await asyncio.to_thread(asyncio.run, use())

    asyncio.run(make())
    assert len(commits) == 1


def test_asyncio_is_not_imported_before_it_is_used() -> None:
    code = (
        "import sys\n"
        "from streamstore.ticks import AsyncioTicks\n"
        "AsyncioTicks()\n"
        "assert 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- misuse ---------------------------------------------------------------------------------------


def test_work_before_a_store_started_is_the_callers_mistake() -> None:
    with pytest.raises(CallerError, match="pass it as ticks="):
        ManualTicks().request()


@pytest.mark.parametrize("ms", [-1, float("nan"), float("inf"), True])
def test_durations_must_be_milliseconds(ms: float) -> None:
    with pytest.raises(CallerError, match="interval_ms"):
        ManualTicks(interval_ms=ms)
    with pytest.raises(CallerError, match="delay_ms"):
        ManualTicks().call_later(ms, lambda: None)
    with pytest.raises(CallerError, match="ms must be"):
        ManualTicks().advance(ms)
