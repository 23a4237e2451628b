"""The state after any event: what going back shows is what folding the log up to there shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from streamstore import StreamStore
from streamstore.eviction import Keep
from streamstore.logs import Log
from streamstore.testing import disturb, sample
from streamstore.watch.inspector import Inspector
from streamstore.watch.past import HistoryLimits, Past

LOGS = {
    "opencode": "opencode/tools/stream.sse",
    "openai-responses": "openai-responses/function-calls-interleaved/stream.sse",
    "opencode-v2": "opencode-v2/one_turn.jsonl",
}


def inspector(**limits: int) -> Inspector:
    return Inspector(clock=lambda: 0.0, limits=HistoryLimits(**limits))


def pieces(path: Path) -> list[bytes]:
    return [event.data for event in Log(str(path)).events()]


def lines(wires: Any) -> list[bytes]:
    import json

    return [json.dumps(wire).encode("utf-8") + b"\n" for wire in wires]


def shown(store: StreamStore) -> Any:
    """The state but for what counts connections and work."""
    state = store.state()
    return {name: state[name] for name in ("sessions", "gaps")}


def folds(data: list[bytes]) -> list[Any]:
    """The state after each of the events."""
    store = StreamStore(ticks="manual")
    stream = store.open()
    found = []
    for piece in data:
        stream.feed(piece)
        store.flush()
        found.append(shown(store))
    return found


def take_all(watched: Inspector, data: list[bytes]) -> None:
    for number, piece in enumerate(data):
        watched.take(piece, number * 5.0)
    watched.settle()


@pytest.mark.parametrize("name", LOGS.values(), ids=LOGS)
@pytest.mark.parametrize("spacing", [7, 500])
def test_the_state_after_each_event_of_a_recorded_log(name: str, spacing: int) -> None:
    data = pieces(ROOT / "tests" / "data" / name)[:150]
    watched = inspector(spacing=spacing)
    take_all(watched, data)
    rows, expected = watched.timeline.rows, folds(data)
    assert len(rows) == len(data)
    for row in [*rows[::-3], *rows[::4]]:  # back, which loads, and forth, which goes on
        moment = watched.after(row)
        assert moment is not None
        assert shown(moment.store) == expected[row.number - 1], f"after {row.number}"


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse", "none"])
def test_the_state_after_each_event_of_a_disturbed_log(sequencing: Any) -> None:
    log = sample(sequencing, seed=3, messages=2)
    data = lines(disturb(log, 5).wires)
    watched = inspector(spacing=11)
    take_all(watched, data)
    expected = folds(data)
    for row in reversed(watched.timeline.rows):
        moment = watched.after(row)
        assert moment is not None
        assert shown(moment.store) == expected[row.number - 1], f"after {row.number}"


def test_what_an_event_changed_is_its_own_change_set() -> None:
    watched = Inspector("native", clock=lambda: 0.0)
    delta = {"type": "block.delta", "messageId": "m", "blockIndex": 0}
    take_all(
        watched,
        lines([
            {**delta, "seq": 1, "text": "Hel"},
            {**delta, "seq": 2, "text": "lo"},
            {**delta, "seq": 2, "text": "lo"},
        ]),
    )  # fmt: skip
    rows = watched.timeline.rows
    moments = [watched.after(row) for row in rows]
    edits = [
        [tuple(edit) for edit in moment.changes.text.values()]
        for moment in moments
        if moment and moment.changes is not None
    ]
    assert edits == [[(0, "Hel", False)], [(3, "lo", False)], []]
    again = watched.after(rows[1])
    assert again is not None and again.changes is not None, "going back, too"
    assert [tuple(edit) for edit in again.changes.text.values()] == [(3, "lo", False)]


def test_looking_back_does_not_touch_what_is_watched() -> None:
    data = pieces(ROOT / "tests" / "data" / LOGS["opencode"])
    watched = inspector(spacing=20)
    take_all(watched, data)
    before, version = watched.store.state(), watched.store.version
    for row in watched.timeline.rows[::-10]:
        watched.after(row)
    assert watched.store.state() == before and watched.store.version == version


# -- cost ------------------------------------------------------------------------------------------


def test_going_back_folds_no_more_events_than_lie_between_two_saves() -> None:
    data = lines(
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq, "text": "x"}
        for seq in range(1, 2_001)
    )
    watched = Inspector("native", clock=lambda: 0.0, limits=HistoryLimits(spacing=100))
    take_all(watched, data)
    rows = watched.timeline.rows
    for number in (1_999, 1_000, 101, 100, 1, 1_500, 2_000, 777):
        moment = watched.after(rows[number - 1])
        assert moment is not None and 1 <= moment.fed <= 200, number
        part = moment.store.part("main", "m", 0)
        assert part is not None and len(part.text) == number
    near = watched.after(rows[776])
    assert near is not None and near.fed == 0, "asked again it costs nothing"
    near = watched.after(rows[777])
    assert near is not None and near.fed == 1, "the next one costs itself"


def test_large_states_are_saved_less_often() -> None:
    big = "x" * 100_000
    first = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": 1, "text": big}
    rest = [{**first, "seq": seq, "text": "y"} for seq in range(2, 302)]
    watched = Inspector("native", clock=lambda: 0.0, limits=HistoryLimits(spacing=10))
    take_all(watched, lines([first, *rest]))
    # Each event has about 90 bytes: a quarter of the state comes in about 280 of them.
    assert 2 <= watched._past.saves <= 4


def test_over_their_bound_every_second_save_goes_and_every_state_can_still_be_had() -> None:
    data = lines(sample("sparse", seed=1, messages=12).wires)
    watched = inspector(spacing=5, saved_bytes=12_000)
    take_all(watched, data)
    past = watched._past
    assert past.packed_bytes <= 12_000
    assert 2 <= past.saves < len(data) // 5
    expected = folds(data)
    for row in watched.timeline.rows[::-7]:
        moment = watched.after(row)
        assert moment is not None and shown(moment.store) == expected[row.number - 1]


# -- the bound -------------------------------------------------------------------------------------


def test_over_the_bound_the_oldest_events_go_and_the_state_after_all_others_stays() -> None:
    data = lines(sample("sparse", seed=2, messages=10).wires)
    watched = inspector(events=60, spacing=20)
    most = 0
    for number, piece in enumerate(data):
        watched.take(piece, float(number))
        most = max(most, len(watched.timeline.rows))
    watched.settle()
    timeline = watched.timeline
    assert len(data) > 150 and most <= 60
    assert timeline.dropped + len(timeline.rows) == len(data) == timeline.counters.events
    assert len(timeline.rows) >= 58, "a twentieth goes at a time"
    expected = folds(data)
    for row in reversed(timeline.rows):
        moment = watched.after(row)
        assert moment is not None and shown(moment.store) == expected[row.number - 1]


class Saves(StreamStore):
    """Counts how often it is saved, and what that came to."""

    number = size = 0

    def save(self) -> Any:
        saved = super().save()
        self.number += 1
        self.size += len(str(saved))
        return saved


@pytest.mark.parametrize("events", [1, 10, 100, 1_000])
def test_few_events_are_all_shown_and_cost_no_more_saves_than_many(
    events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamstore.watch.inspector.StreamStore", Saves)
    data = lines(
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq, "text": "word "}
        for seq in range(1, 10_001)
    )
    watched = Inspector("native", clock=lambda: 0.0, limits=HistoryLimits(events=events))
    fewest = events
    for number, piece in enumerate(data):
        watched.take(piece, number * 5.0)
        if number >= events:
            fewest = min(fewest, len(watched.timeline.rows))
    store = watched.store
    assert isinstance(store, Saves)
    assert store.number <= len(data) // 500
    assert store.size <= 5 * sum(map(len, data)), "each brings a quarter of what is saved"
    assert events - events // 20 <= fewest and len(watched.timeline.rows) <= events
    for row in (watched.timeline.rows[0], watched.timeline.rows[-1]):
        moment = watched.after(row)
        assert moment is not None and moment.changes is not None
        part = moment.store.part("main", "m", 0)
        assert part is not None and len(part.text) == 5 * row.number


def test_what_is_kept_out_of_sight_has_a_bound_too() -> None:
    """A large state is saved seldom, and what came since would be kept until then."""
    first = {
        "type": "block.delta",
        "messageId": "m",
        "blockIndex": 0,
        "seq": 1,
        "text": "x" * 10**6,
    }
    rest = [{**first, "seq": seq, "text": "y"} for seq in range(2, 1_002)]
    watched = Inspector("native", clock=lambda: 0.0, limits=HistoryLimits(events=20, spacing=10))
    take_all(watched, lines([first, *rest]))
    assert len(watched.timeline.rows) in (19, 20)
    assert len(watched._past._rows) <= 120


def test_over_the_bound_of_bytes_the_oldest_events_go_too() -> None:
    text = "x" * 1_000
    data = lines(
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq, "text": text}
        for seq in range(1, 101)
    )
    watched = Inspector(
        "native", clock=lambda: 0.0, limits=HistoryLimits(bytes=20_000, spacing=1_000)
    )
    for number, piece in enumerate(data):
        watched.take(piece, float(number))
        assert sum(len(row.data) for row in watched.timeline.rows) <= 20_000
        assert watched.timeline.rows, "what fits stays"
    assert watched.timeline.dropped > 80
    row = watched.timeline.rows[-1]
    moment = watched.after(row)
    assert moment is not None
    part = moment.store.part("main", "m", 0)
    assert part is not None and len(part.text) == 100_000


def test_a_row_that_is_not_held_has_no_state() -> None:
    watched = Inspector("native", clock=lambda: 0.0)
    take_all(watched, lines([{"type": "message.opened", "messageId": "m"}] * 3))
    assert Past(HistoryLimits()).after(watched.timeline.rows[0]) is None


@pytest.mark.parametrize("name", ["events", "bytes", "spacing", "saved_bytes"])
def test_limits_are_positive_integers(name: str) -> None:
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match=f"HistoryLimits.{name}"):
            HistoryLimits(**{name: wrong})  # type: ignore[arg-type]


# -- connections -----------------------------------------------------------------------------------


def test_a_state_behind_an_end_of_a_connection_knows_that_it_ended() -> None:
    """In a stream without seq an end cuts what was open; looking back sees the cut, and not before."""
    delta = {
        "type": "block.delta",
        "sessionId": "s",
        "messageId": "m",
        "blockIndex": 0,
        "text": "a",
    }
    opened = {"type": "stream.opened", "sequencing": "none"}
    watched = Inspector("native", clock=lambda: 0.0)
    message = {"type": "message.opened", "sessionId": "s", "messageId": "m", "role": "assistant"}
    begun = {
        "type": "block.opened",
        "kind": "text",
        "sessionId": "s",
        "messageId": "m",
        "blockIndex": 0,
    }
    take_all(watched, lines([opened, message, begun, delta]))
    note = watched.note("connection ended")
    take_all(watched, lines([opened, delta]))
    gaps = []
    for row in reversed(watched.timeline.rows):
        moment = watched.after(row)
        assert moment is not None
        part = moment.store.part("s", "m", 0)
        gaps.append(part is not None and part.gap)
    assert note.number == 5
    assert gaps[::-1] == [False] * 4 + [True] * 3


# -- sessions that it lets go of -------------------------------------------------------------------


def comes(session: str, seq: int = 1) -> bytes:
    wire = {"type": "block.delta", "sessionId": session, "messageId": "m", "blockIndex": 0}
    return lines([{**wire, "seq": seq, "text": session}])[0]


def bounded(sessions: int, **limits: int) -> Inspector:
    keep = Keep(sessions=sessions, quiet_ms=5_000)
    return Inspector("native", clock=lambda: 0.0, limits=HistoryLimits(**limits), keep=keep)


def test_of_a_live_stream_it_keeps_the_last_sessions_and_says_which_it_let_go_of() -> None:
    watched = bounded(10)
    seen = []
    for number in range(200):
        watched.take(comes(f"s{number}"), number * 1_000.0)
        seen.append(len(watched.store.session_ids()))
    watched.pass_time(200_000.0)
    watched.settle()
    assert max(seen) <= 12
    assert watched.store.session_ids() == tuple(f"s{number}" for number in range(190, 200))
    notes = [row for row in watched.timeline.rows if row.let_go]
    assert [name for row in notes for name in row.let_go] == [f"s{n}" for n in range(190)]
    assert notes[0].facts.type == "let go of an old session: s0" and notes[0].verdict is None
    assert watched.timeline.counters.events == 200
    shown = {watched.document.line(at).text for at in range(watched.document.height)}
    assert "s190" in shown and "s189" not in shown
    late = watched.take(comes("s0", 2), 201_000.0)
    assert late is not None and late.verdict == ("refused", "removed", "")


def test_what_is_on_the_screen_is_not_let_go_of() -> None:
    watched = bounded(3)
    watched.on_screen = lambda: ["s1"]
    for number in range(30):
        watched.take(comes(f"s{number}"), number * 1_000.0)
    watched.settle()
    assert watched.store.session_ids()[0] == "s1"
    assert watched.stream is not None and not watched.stream.ended


@pytest.mark.parametrize("spacing", [7, 500])
def test_the_state_after_each_event_has_what_was_there_then(spacing: int) -> None:
    watched = bounded(4, spacing=spacing)
    expected = {}
    for number in range(60):
        row = watched.take(comes(f"s{number % 23}", 1 + number), number * 2_000.0)
        watched.store.flush()
        last = watched.timeline.rows[-1]
        assert row is not None and row.number in (last.number, last.number - 1)
        expected[last.number] = shown(watched.store)
    rows = watched.timeline.rows
    assert sum(len(row.let_go) for row in rows) > 10
    for row in [*rows[::-3], *rows[::4]]:
        moment = watched.after(row)
        assert moment is not None
        if row.number in expected:
            assert shown(moment.store) == expected[row.number], f"after {row.number}"
        if row.let_go and moment.changes is not None:
            assert [key[0] for key in moment.changes.removed if len(key) == 1] == [*row.let_go]
