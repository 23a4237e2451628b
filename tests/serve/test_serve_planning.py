"""What a connection is sent, and when: the pure part, without a socket, a clock or a log."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from random import Random
from typing import Any

import pytest

from streamstore import CallerError
from streamstore.protocols import adapters
from streamstore.serve.faults import FAULTS, Facts, Faults, facts_of, require
from streamstore.serve.planning import Action, Around, Close, Due, Pause, Send, Until, plan
from streamstore.serve.timeline import Pace
from streamstore.sse import EventStreamParser

CLOSES = Around(closes=True, heartbeat_ms=0)
SURE = Facts(True, True, True)


def events(number: int, facts: Facts = SURE, ids: bool = True, step: float = 0) -> list[Due]:
    return [
        Due(step * n, b"data: %d\n\n" % n, str(n) if ids else "", facts)
        for n in range(1, number + 1)
    ]


def sent(actions: Iterable[Action]) -> bytes:
    return b"".join(action.data for action in actions if isinstance(action, Send))


def spoiled(kind: Any, seed: int, found: list[Due], every: int = 6, **options: Any) -> list[Action]:
    faults = Faults(kinds=frozenset((kind,)), every=every, **options)
    return list(plan(found, CLOSES, now_ms=0, faults=faults, random=Random(seed)))


# -- without faults --------------------------------------------------------------------------------


def test_events_are_sent_as_they_are_with_their_ids_and_then_it_ends() -> None:
    actions = list(plan(events(2), CLOSES, now_ms=0))
    assert actions == [Send(b"id: 1\ndata: 1\n\n"), Send(b"id: 2\ndata: 2\n\n"), Close(True)]


def test_what_is_due_later_is_waited_for_until_its_time_and_what_is_past_is_not() -> None:
    found = [Due(5, b"a"), Due(30, b"b"), Due(30, b"c"), Due(50, b"d")]
    actions = list(plan(found, CLOSES, now_ms=20))
    assert actions == [
        Send(b"a"), Until(30), Send(b"b"), Send(b"c"), Until(50), Send(b"d"), Close(True),
    ]  # fmt: skip


def test_a_heartbeat_comes_whenever_nothing_was_sent_for_its_time_and_not_otherwise() -> None:
    found = [Due(9, b"a"), Due(19, b"b"), Due(45, b"c")]
    around = Around(heartbeat=b":", heartbeat_ms=10, closes=True)
    times: list[tuple[float, bytes]] = []
    now = 0.0
    for action in plan(found, around, now_ms=0):
        if isinstance(action, Until):
            now = action.at_ms
        elif isinstance(action, Send):
            times.append((now, action.data))
    assert times == [(9, b"a"), (19, b"b"), (29, b":"), (39, b":"), (45, b"c")]


def test_behind_the_last_event_it_stays_open_with_heartbeats_for_ever() -> None:
    around = Around(hello=b"hi", heartbeat=b":", heartbeat_ms=10)
    actions = list(islice(plan([Due(0, b"a")], around, now_ms=0), 1002))
    assert actions[:4] == [Send(b"hi"), Send(b"a"), Until(10), Send(b":")]
    assert actions[-2:] == [Until(5000), Send(b":")]


def test_without_heartbeats_it_waits_for_ever() -> None:
    assert list(plan([], Around(heartbeat_ms=0), now_ms=0))[-1] == Until(math.inf)


def test_a_farewell_goes_out_where_it_ends() -> None:
    around = Around(farewell=b"bye", closes=True)
    assert list(plan([], around, now_ms=0)) == [Send(b"bye"), Close(True)]


def test_events_are_taken_one_by_one_when_their_turn_comes() -> None:
    """Memory is that of one event, however long the log is."""
    taken = 0

    def endless() -> Iterable[Due]:
        nonlocal taken
        while True:
            taken += 1
            yield Due(0, b"x")

    actions = plan(endless(), Around(), now_ms=0)
    for _ in range(10):
        next(actions)
    assert taken == 10


def test_a_break_of_the_recording_is_one_of_the_connection() -> None:
    found = [Due(0, b"a"), Due(1, b"", breaks=True), Due(2, b"b")]
    assert list(plan(found, CLOSES, now_ms=0)) == [Send(b"a"), Until(1), Close(False)]


def test_speed_divides_the_times_of_the_log() -> None:
    assert [Pace(1000, 500, 4).due(at) for at in (0, 500, 900)] == [1000, 1000, 1100]
    assert Pace(1000, 500, math.inf).due(1e12) == 1000


# -- faults ----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    kinds = frozenset(FAULTS)
    runs = [
        list(
            plan(
                events(200), CLOSES, now_ms=0, faults=Faults(kinds=kinds, every=5),
                random=Random(seed),
            )
        )
        for seed in (1, 1, 2)
    ]  # fmt: skip
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("seed", range(40))
def test_a_disconnect_sends_a_prefix_of_the_bytes_cut_anywhere(seed: int) -> None:
    actions = spoiled("disconnect", seed, events(50))
    whole = sent(plan(events(50), CLOSES, now_ms=0))
    assert actions[-1] == Close(False)
    assert whole.startswith(sent(actions)) and sent(actions) != whole


def test_disconnects_cut_inside_of_events_and_between_them() -> None:
    ends = {sent(spoiled("disconnect", seed, events(50)))[-2:] == b"\n\n" for seed in range(60)}
    assert ends == {True, False}


@pytest.mark.parametrize("seed", range(20))
def test_a_stall_changes_no_byte_and_lasts(seed: int) -> None:
    actions = spoiled("stall", seed, events(50), stall_ms=123)
    assert sent(actions) == sent(plan(events(50), CLOSES, now_ms=0))
    assert Pause(123) in actions


def test_no_heartbeat_comes_in_a_stall_and_none_too_many_behind_it() -> None:
    around = Around(heartbeat=b":", heartbeat_ms=10, closes=True)
    faults = Faults(kinds=frozenset(("stall",)), every=1, stall_ms=1000)
    found = [Due(0, b"abc"), Due(1005, b"d")]
    actions = list(plan(found, around, now_ms=0, faults=faults, random=Random(3)))
    assert sent(actions) == b"abcd"


def parsed(data: bytes) -> list[tuple[str, str]]:
    """Each event's data, and the id in force behind it."""
    return [(frame.data, frame.id) for frame in EventStreamParser().feed(data)]


@pytest.mark.parametrize("seed", range(40))
def test_what_is_repeated_was_sent_and_takes_no_id_back(seed: int) -> None:
    frames = parsed(sent(spoiled("dup", seed, events(60))))
    ids = [int(id) for _, id in frames]
    assert ids == sorted(ids)
    assert len(frames) > 60
    assert list(dict.fromkeys(data for data, _ in frames)) == [str(n) for n in range(1, 61)]


def test_nothing_is_repeated_that_could_not_be_told() -> None:
    found = [
        one._replace(facts=SURE if place % 3 else Facts()) for place, one in enumerate(events(90))
    ]
    for seed in range(30):
        frames = parsed(sent(spoiled("dup", seed, found)))
        again = [int(data) for place, (data, _) in enumerate(frames) if (data, _) in frames[:place]]
        assert again and all((n - 1) % 3 for n in again)


@pytest.mark.parametrize("seed", range(60))
def test_an_id_says_that_everything_up_to_it_was_sent_in_whatever_order(seed: int) -> None:
    frames = parsed(sent(spoiled("reorder", seed, events(60), every=8)))
    assert sorted(int(data) for data, _ in frames) == list(range(1, 61))
    assert [data for data, _ in frames] != [str(n) for n in range(1, 61)] or seed
    for place, (_, id) in enumerate(frames, start=1):
        if id:
            assert {int(data) for data, _ in frames[:place]} >= set(range(1, int(id) + 1))


def test_orders_change_only_among_what_may_be_moved() -> None:
    found = [
        one._replace(facts=SURE if place % 4 else Facts(True))
        for place, one in enumerate(events(80))
    ]
    fixed = {str(n) for n in range(1, 81, 4)}
    for seed in range(30):
        frames = [data for data, _ in parsed(sent(spoiled("reorder", seed, found, every=2)))]
        assert frames != [str(n) for n in range(1, 81)]
        for n in range(1, 81, 4):
            assert frames[n - 1] == str(n) and str(n) in fixed


@pytest.mark.parametrize("seed", range(60))
def test_behind_a_lost_event_the_position_stays_before_it_until_it_breaks(seed: int) -> None:
    actions = spoiled("drop", seed, events(60))
    frames = parsed(sent(actions))
    numbers = [int(data) for data, _ in frames]
    lost = next(n for n in range(1, 62) if n not in numbers)
    assert actions[-1] == Close(False)
    assert int(frames[-1][1] or 0) == lost - 1 if frames else lost == 1
    assert all(int(id or 0) == lost - 1 for data, id in frames if int(data) >= lost)


def test_what_may_not_be_missed_is_cut_off_in_place_of_left_out() -> None:
    for seed in range(20):
        actions = spoiled("drop", seed, events(60, Facts(True, True)))
        whole = sent(plan(events(60), CLOSES, now_ms=0))
        assert actions[-1] == Close(False) and whole.startswith(sent(actions))


@pytest.mark.parametrize("seed", range(20))
def test_without_ids_a_drop_is_what_happens_while_nobody_listens(seed: int) -> None:
    """Some more events are taken, which for a shared replay means that they have happened."""
    source = iter(events(60, Facts(True), ids=False))
    actions = spoiled("drop", seed, source)  # type: ignore[arg-type]
    heard = len(parsed(sent(actions)))
    left = len(list(source))
    assert 1 <= 60 - left - heard <= 6


def test_a_fault_that_does_not_fit_an_event_waits_for_one_that_it_fits() -> None:
    found = events(30, Facts())
    found[20] = found[20]._replace(facts=SURE)
    frames = parsed(sent(spoiled("dup", 1, found, every=1)))
    assert [data for data, _ in frames].count("21") == 2 and len(frames) == 31


# -- which faults for which log --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "sequencing", "resumes", "possible"),
    [
        ("native", "block", True, set(FAULTS)),
        ("native", "none", True, set(FAULTS) - {"reorder"}),
        ("opencode", "none", False, set(FAULTS) - {"reorder"}),
        ("vellum", "session", True, set(FAULTS) - {"reorder"}),
        ("openai-responses", "sparse", False, {"disconnect", "stall", "dup"}),
        ("anthropic", "none", False, {"disconnect", "stall"}),
        ("ag-ui", "none", False, {"disconnect", "stall"}),
    ],
)
def test_what_no_client_could_recover_from_is_refused(
    protocol: str, sequencing: str, resumes: bool, possible: set[str]
) -> None:
    declaration = adapters()[protocol].declaration
    for kind in FAULTS:
        faults = Faults(kinds=frozenset((kind,)))
        if kind in possible:
            require(faults, declaration, sequencing, resumes)
        else:
            with pytest.raises(CallerError, match=f"could recover from {kind}"):
                require(faults, declaration, sequencing, resumes)


@pytest.mark.parametrize(
    ("protocol", "sequencing", "wire", "facts"),
    [
        ("native", "block", {"type": "block.delta", "seq": 1}, Facts(True, True, True)),
        ("native", "block", {"type": "block.delta"}, Facts()),
        ("native", "block", {"type": "block.delta", "seq": True}, Facts()),
        ("native", "block", {"type": "message.opened", "seq": 1}, Facts()),
        ("native", "session", {"type": "message.opened", "seq": 1}, Facts(True)),
        ("native", "none", {"type": "block.delta", "seq": 1}, Facts()),
        ("native", "none", {"type": "block.delta", "id": "e1"}, Facts(True)),
        ("native", "session", {"type": "permission.asked", "id": "r", "seq": 1}, Facts()),
        ("native", "session", {"type": "stream.opened", "seq": 1}, Facts()),
        ("native", "session", None, Facts()),
        ("opencode", "none", {"id": "evt_1", "type": "x", "properties": {}}, Facts(True)),
        ("opencode", "none", {"payload": {"id": "evt_1"}}, Facts(True)),
        ("opencode", "none", {"type": "x", "properties": {}}, Facts()),
        ("opencode", "none", {"payload": 3}, Facts()),
        ("openai-responses", "sparse", {"sequence_number": 0}, Facts(True)),
        ("openai-responses", "sparse", {"type": "error"}, Facts()),
        ("anthropic", "none", {"seq": 1, "id": "a"}, Facts()),
    ],
)
def test_facts_of_an_event(protocol: str, sequencing: str, wire: Any, facts: Facts) -> None:
    assert facts_of(adapters()[protocol].declaration, sequencing)(wire) == facts


def test_faults_that_are_none_are_said() -> None:
    with pytest.raises(CallerError, match="no fault is named 'flood'"):
        Faults.of("dup,flood")
    with pytest.raises(CallerError, match="every"):
        Faults.of("dup", every=0)
    with pytest.raises(CallerError, match="stall_ms"):
        Faults.of("dup", stall_ms=0)
