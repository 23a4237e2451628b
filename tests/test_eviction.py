"""Eviction: the least recently changed session goes first, and stays away; never a protected one."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_stream import delta, fetched
from recordings import PROTOCOLS, cases, kept
from test_cost import lines

from streamstore import CallerError, Limits, StreamStore
from streamstore.events import SessionRemoved, SessionUpdated
from streamstore.eviction import Eviction, Keep


class Bench:
    """A store, a policy that hears it, and the caller's clock."""

    def __init__(
        self, sequencing: Any = "none", protected: tuple[str, ...] = (), **keep: Any
    ) -> None:
        self.store = StreamStore("native", ticks="manual")
        self.stream = self.store.open("native", sequencing=sequencing)
        self.now = 0.0
        keep.setdefault("quiet_ms", 0)
        self.eviction = Eviction(self.store, Keep(**keep), protected=protected.__contains__)
        self.store.subscribe(lambda changes: self.eviction.hear(changes, self.now))

    def take(self, *wires: dict[str, Any]) -> list[str]:
        self.now += 1
        verdicts = [self.stream.ingest(wire) for wire in wires]
        self.store.flush()
        return [f"{v.kind}:{v.reason}" if v.reason else v.kind for v in verdicts]

    def evict(self) -> tuple[str, ...]:
        found = self.eviction.evict(self.now)
        self.store.flush()
        return found


def said(session: str, text: str = "x", **members: Any) -> dict[str, Any]:
    return delta(text, sessionId=session, **members)


def test_the_least_recently_changed_go_first_and_no_more_than_must() -> None:
    bench = Bench(sessions=2)
    for name in ("a", "b", "c", "d"):
        bench.take(said(name))
    bench.take(said("a"))
    assert bench.evict() == ("b", "c")
    assert bench.store.session_ids() == ("a", "d")
    assert bench.evict() == ()


def test_where_each_event_is_a_tick_what_goes_is_heard_while_it_goes() -> None:
    store = StreamStore("native", ticks="each")
    eviction = Eviction(store, Keep(sessions=1, quiet_ms=0))
    store.subscribe(lambda changes: eviction.hear(changes, 0))
    for name in "abc":
        store.ingest(said(name))
    assert eviction.evict(1) == ("a", "b")
    assert store.session_ids() == tuple(eviction.kept) == ("c",)


def test_characters_count_rewritten_and_removed_ones_no_more() -> None:
    bench = Bench(sessions=None, characters=100)
    bench.take(said("a", "x" * 60), said("b", "y" * 60))
    assert bench.eviction.due(bench.now) == ("a",)
    bench.take({**said("b", "y" * 30), "type": "block.replaced"})
    assert (bench.eviction.characters, bench.evict()) == (90, ())
    bench.take(said("b", "z" * 20, field="input"))
    assert bench.eviction.characters == 110
    bench.take({"type": "block.removed", "sessionId": "b", "messageId": "m", "blockIndex": 0})
    assert (bench.eviction.characters, bench.evict()) == (60, ())


def test_what_changed_lately_stays() -> None:
    bench = Bench(sessions=1, quiet_ms=10)
    bench.take(said("a"))
    bench.take(said("b"))
    assert bench.evict() == ()
    bench.now = 10
    assert bench.evict() == ()
    bench.now = 11
    assert bench.evict() == ("a",)


in_use = pytest.mark.parametrize(
    "wire",
    [
        {"type": "session.status", "status": "busy"},
        {"type": "session.status", "status": "retry", "attempt": 1, "message": "", "next": 1},
        {"type": "permission.asked", "id": "p"},
        {"type": "question.asked", "id": "q"},
    ],
    ids=lambda wire: wire["type"] + str(wire.get("status", "")),
)


@in_use
def test_who_is_busy_or_waits_for_somebody_stays(wire: dict[str, Any]) -> None:
    bench = Bench(sessions=1)
    assert bench.take(said("a"), {**wire, "sessionId": "a"}) == ["accepted"] * 2
    bench.take(said("b"))
    bench.take(said("c"))
    assert bench.evict() == ("b", "c")
    bench.take({"type": "session.status", "sessionId": "a", "status": "idle"},
               {"type": "permission.replied", "sessionId": "a", "id": "p"},
               {"type": "question.replied", "sessionId": "a", "id": "q"},
               said("d"))  # fmt: skip
    assert bench.evict() == ("a",)


def test_a_message_that_nobody_confirmed_keeps_its_session() -> None:
    from streamstore.events import MessageOpened

    bench = Bench(sessions=1)
    bench.store.apply(MessageOpened(session_id="a", message_id="mine", role="user", local=True))
    bench.store.flush()
    bench.take(said("b"))
    assert bench.evict() == ("b",)


@in_use
def test_who_is_busy_and_silent_for_a_day_is_not_in_use_any_more(wire: dict[str, Any]) -> None:
    day = 24 * 3_600_000
    for bench, goes in (Bench(sessions=1), True), (Bench(sessions=1, stuck_ms=None), False):
        bench.take(said("a"), {**wire, "sessionId": "a"})
        bench.take({"type": "session.status", "sessionId": "pinned", "status": "busy"})
        bench.now = day
        bench.take(said("pinned"))  # it says something, and its time begins anew
        bench.now = day
        assert bench.evict() == ()
        bench.now = day + 1
        assert bench.evict() == (("a",) if goes else ())


@pytest.mark.parametrize(
    ("protocol", "name"),
    [("openai-responses", "cut-before-completed"), ("ag-ui", "ends-without-finish"),
     ("vercel-ui", "truncated"), ("vercel-ui", "tool-approval-request")],
)  # fmt: skip
def test_sessions_whose_connection_was_cut_do_not_stay_for_ever(protocol: str, name: str) -> None:
    data = kept(protocol)[name].joinpath("stream.sse").read_bytes()
    store = StreamStore(ticks="manual")
    eviction = Eviction(store, Keep(sessions=4))
    for day in range(20):
        now_ms = day * 24 * 3_600_000.0
        stream = store.open(protocol, session_id=f"s{day}")
        stream.feed(data)
        stream.end()
        eviction.hear(store.flush(), now_ms)
        eviction.evict(now_ms)
        eviction.hear(store.flush(), now_ms)
    assert len(store.session_ids()) == 4


def test_the_protected_stay_though_they_alone_are_too_many() -> None:
    bench = Bench(sessions=1, protected=("a", "c"))
    for name in ("a", "b", "c"):
        bench.take(said(name))
    assert bench.evict() == ("b",)
    assert bench.store.session_ids() == ("a", "c")


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse", "none"])
def test_a_late_duplicate_and_new_text_do_not_bring_it_back(sequencing: str) -> None:
    bench = Bench(sequencing, sessions=1)
    sent = [
        {"type": "message.opened", "sessionId": "a", "messageId": "m", "role": "assistant", "seq": 1,
         "id": "e1"},
        said("a", "1", seq=1 if sequencing == "block" else 2),
        said("a", "2", seq=2 if sequencing == "block" else 3),
    ]  # fmt: skip
    assert bench.take(*sent) == ["accepted"] * 3
    bench.take(said("b", seq=1))
    assert bench.evict() == ("a",)
    verdicts = bench.take(*sent, said("a", "new", seq=4))
    assert set(verdicts) <= {"refused:removed", "duplicate"} and verdicts[-1] == "refused:removed"
    assert bench.store.session_ids() == ("b",)
    assert bench.eviction.kept.keys() == {"b"}


@pytest.mark.parametrize("sequencing", ["session", "sparse", "none"])
def test_a_state_that_is_fetched_afterwards_brings_it_back(sequencing: str) -> None:
    bench = Bench(sequencing, sessions=1)
    bench.take(said("a", "gone", seq=1))
    bench.take(said("b", seq=1))
    before = bench.store.begin_read("a")
    assert bench.evict() == ("a",)
    snapshot = {"type": "snapshot", "sessionId": "a", "messages": [fetched("m", (0, "again"))],
                "complete": True}  # fmt: skip
    assert bench.take({**snapshot, "readFrom": before})[0].startswith("refused")
    assert bench.store.session_ids() == ("b",)
    token = bench.store.begin_read("a")
    seq = {} if sequencing == "none" else {"seq": 5}
    assert bench.take({**snapshot, "readFrom": token, **seq}) == ["accepted"]
    assert not bench.store.health.resync
    part = bench.store.part("a", "m", 0)
    assert part is not None and part.text == "again"
    assert bench.take(said("a", "!", seq=6)) == ["accepted"]
    assert list(bench.eviction.kept) == ["b", "a"]


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("by", ["eviction", "server"])
@pytest.mark.parametrize("sequencing", ["session", "sparse", "none"])
def test_one_that_its_server_goes_on_with_is_asked_for(
    sequencing: str, by: str, saved: bool
) -> None:
    """Half a session looks like a whole one: what was let go is on the server, and nowhere here."""
    bench = Bench(sequencing, sessions=1)
    bench.take(said("a", "gone", seq=1))
    bench.take(said("b", seq=1))
    if by == "eviction":
        assert bench.evict() == ("a",)
    else:
        bench.take({"type": "session.removed", "sessionId": "a"})
    store, stream = bench.store, bench.stream
    if saved:
        store = StreamStore.load(json.loads(json.dumps(store.save())))
        stream = store.open("native", sequencing=bench.stream.sequencing)
    assert not store.health.resync
    update = {"type": "session.updated", "sessionId": "a", "whole": True, "info": {"title": "t"}}
    stream.ingest({**update, "seq": 2})
    store.flush()
    assert "a" in store.session_ids() and store.messages("a") == ()
    assert store.health.resync.keys() == ({"a"} if by == "eviction" else set())
    token = store.begin_read("a")
    messages = [fetched("m", (0, "again"))]
    wire = {"type": "snapshot", "sessionId": "a", "messages": messages, "complete": True}
    stream.ingest({**wire, "readFrom": token, "seq": 3})
    assert not store.health.resync
    stream.ingest({"type": "session.removed", "sessionId": "a"})  # by its server, this time
    stream.ingest({**update, "seq": 4})
    assert not store.health.resync


@pytest.mark.parametrize("sequencing", ["session", "sparse", "none"])
def test_a_state_that_restores_nothing_is_asked_for_again(sequencing: str) -> None:
    """Without `readFrom` it may have been read before the eviction: it brings nothing back."""
    bench = Bench(sequencing, sessions=1)
    bench.take(said("a", "gone", seq=1))
    bench.take(said("b", seq=1))
    assert bench.evict() == ("a",)
    update = {"type": "session.updated", "sessionId": "a", "whole": True, "info": {"title": "t"}}
    bench.take({**update, "seq": 2})
    asked = dict(bench.store.resync)
    assert asked.keys() == {"a"}
    wire = {"type": "snapshot", "sessionId": "a", "messages": [fetched("m", (0, "again"))],
            "complete": True}  # fmt: skip
    assert bench.take(wire) == ["accepted"]
    assert bench.store.messages("a") == () and bench.store.resync == asked
    assert bench.take({**wire, "readFrom": bench.store.begin_read("a")}) == ["accepted"]
    assert [part.text for part in bench.store.parts("a", "m")] == ["again"]
    assert not bench.store.resync


def test_one_that_comes_back_as_it_was_within_the_tick_is_counted() -> None:
    # No change set says so: it looks as it did.
    bench = Bench(sessions=1)
    empty = {"type": "session.updated", "sessionId": "a", "info": {"title": "t"}, "whole": True}
    bench.take(empty)
    bench.take(said("b"))
    assert bench.eviction.evict(bench.now) == ("a",)
    assert bench.take(empty) == ["accepted"]
    assert (bench.store.session_ids(), bench.store.version) == (("a", "b"), 2)
    bench.take(said("b"))
    assert dict(bench.eviction.kept) == {"b": 4, "a": 4}
    bench.take(said("c"))
    assert bench.evict() == ("b", "a")
    assert bench.store.session_ids() == ("c",)


def test_what_was_evicted_is_not_noted_for_ever_where_nothing_but_resets_is_heard() -> None:
    store = StreamStore("native", ticks="manual")
    eviction = Eviction(store, Keep(sessions=1, quiet_ms=0))
    for number in range(5):
        for name in (f"a{number}", f"b{number}"):
            store.ingest(said(name))
        eviction.hear(attrs.evolve(store.flush(), reset=True), number)
        assert eviction.evict(number)
    eviction.hear(attrs.evolve(store.flush(), reset=True), 9)
    assert not eviction._going


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_stays_of_sessions_whose_tombstones_are_forgotten(protocol: str) -> None:
    # What adapters remember from response to response goes, too.
    by_size = sorted(cases(protocol), key=lambda case: len(case.bodies[0]))
    case = by_size[len(by_size) // 4]
    limits = Limits(removed_sessions=2, history_changes=1, ended_streams=2, event_ids=8)
    store = StreamStore(ticks="manual", limits=limits)
    eviction = Eviction(store, Keep(sessions=1, quiet_ms=0))
    store.subscribe(lambda changes: eviction.hear(changes, 0))
    sizes = []
    for number in range(20):
        stream = store.open(protocol, session_id=f"s{number:02}")
        stream.feed(case.bodies[0])
        stream.end()
        store.flush()
        for name in store.session_ids():
            store.apply(SessionRemoved(session_id=name))
        store.flush()
        sizes.append(len(json.dumps(store.save())))
    assert max(sizes[10:]) <= max(sizes[:10]) + 100, sizes


@pytest.mark.parametrize("way", ["open", "saved", "loaded"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stream_whose_session_is_forgotten_goes_on(protocol: str, way: str) -> None:
    # Its adapter builds on what it remembers, also when it is saved before or after that.
    for case in cases(protocol)[:8]:
        data = case.bodies[0]
        cut = data.rfind(b"\n", 0, len(data) // 2) + 1
        store = StreamStore(ticks="manual", limits=Limits(removed_sessions=1))
        stream = store.open(protocol, session_id="s")
        stream.feed(data[:cut])
        if way == "loaded":
            store = again(store)
        for name in ("s", "x", "y"):
            store.apply(SessionUpdated(session_id=name, info={}, whole=True))
            store.apply(SessionRemoved(session_id=name))
            store.flush()
        if way == "saved":
            store = again(store)
        if way != "open":
            stream = store.open(protocol, session_id="s")
        stream.feed(data[cut:])
        stream.end()
        store.flush()
        again(store)


def again(store: StreamStore) -> StreamStore:
    saved = json.loads(json.dumps(store.save()))
    return StreamStore.load(saved, ticks="manual", limits=store.limits)


def test_one_who_comes_late_knows_who_is_there() -> None:
    bench = Bench()
    for name in ("a", "b"):
        bench.take(said(name, "xx"))
    late = Eviction(bench.store, Keep(sessions=1, quiet_ms=0), now_ms=7)
    assert (late.characters, late.kept) == (4, {"a": 7, "b": 7})
    assert late.due(7) == ("a",)


def test_after_a_reset_it_reads_anew_and_remembers_the_times() -> None:
    bench = Bench()
    bench.take(said("a"))
    bench.take(said("b"))
    changes = bench.store.pull(0)
    bench.eviction.hear(attrs.evolve(changes, reset=True), 9)
    assert bench.eviction.kept == {"a": 1, "b": 2}


def test_wrong_bounds_are_the_callers_mistake() -> None:
    for wrong in ({"sessions": 0}, {"sessions": True}, {"characters": 1.5}, {"quiet_ms": -1},
                  {"quiet_ms": float("nan")}, {"stuck_ms": -1}, {"stuck_ms": float("nan")}):  # fmt: skip
        with pytest.raises(CallerError, match="Keep"):
            Keep(**wrong)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 20)), max_size=40))
def test_who_stays_is_who_a_plain_list_says(steps: list[tuple[str, int]]) -> None:
    bench = Bench(sessions=3, characters=60)
    model: OrderedDict[str, int] = OrderedDict()
    gone: set[str] = set()
    for name, length in steps:
        bench.take(said(name, "x" * length))
        if name not in gone and (length or name in bench.store.session_ids()):
            model[name] = model.get(name, 0) + length
            if length:
                model.move_to_end(name)
        while len(model) > 3 or sum(model.values()) > 60:
            gone.add(model.popitem(last=False)[0])
        bench.evict()
        assert set(bench.store.session_ids()) == set(model)
        assert bench.eviction.characters == sum(model.values())


@pytest.mark.parametrize("rewritten", [False, True])
def test_to_ask_after_a_tick_costs_the_same_however_many_sessions_there_are(
    rewritten: bool,
) -> None:
    def cost(sessions: int) -> int:
        bench = Bench(sessions=None, characters=1_000_000, quiet_ms=10)
        for number in range(sessions):
            bench.take(said(f"s{number}"))
        assert bench.eviction.due(bench.now) == ()

        def work() -> None:
            for _ in range(5):
                wire = said("s1", "xy")
                bench.take({**wire, "type": "block.replaced"} if rewritten else wire)
                assert bench.eviction.due(bench.now) == ()

        return lines(work)

    assert cost(300) <= cost(10) + 10


def test_a_session_whose_text_is_rewritten_is_counted_again_only_where_that_decides() -> None:
    counted: list[str] = []

    class Counting(StreamStore):
        def parts(self, session_id: str, message_id: str) -> Any:
            counted.append(session_id)
            return super().parts(session_id, message_id)

    store = Counting("native", ticks="manual")
    now = 0.0
    eviction = Eviction(store, Keep(sessions=None, characters=100, quiet_ms=10))
    store.subscribe(lambda changes: eviction.hear(changes, now))
    for length in (30, 40, 30, 60, 70, 90):
        now += 1
        store.ingest({**said("a", "x" * length), "type": "block.replaced"})
        store.flush()
        assert eviction.due(now) == ()  # it changed lately
    assert not counted
    assert eviction.due(now + 10) == () and counted == ["a"]
    assert eviction.due(now + 10) == () and counted == ["a"]
    assert eviction.characters == 90
