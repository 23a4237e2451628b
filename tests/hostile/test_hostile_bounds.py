"""Every bound of `Limits` is tested at the bound and one over it: here, or where a test is named.

A limit without a case fails the first test, so that a new one cannot come without its policy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from one_stream import Bench, delta, through_json

from streamstore import Limits, StreamStore, UnknownProtocol

TESTS = Path(__file__).resolve().parent.parent

#: Limits whose bound and policy are tested elsewhere: file and test.
ELSEWHERE = {
    "held_operations": "test_laws_block.py test_over_the_hold_bound_an_operation_is_not_taken_in_"
    "and_a_resync_is_asked_for",
    "event_ids": "test_watermarks.py test_event_ids_are_remembered_for_at_least_their_bound",
    "removed_sessions": "test_once_wrong_bounds.py test_removed_sessions_are_forgotten_beyond_the_"
    "limit_oldest_first",
    "pending_results": "test_reducer.py test_results_that_wait_for_a_call_are_bounded",
    "open_requests": "test_once_wrong_bounds.py test_as_many_requests_wait_for_an_answer_as_the_"
    "limit_says",
    "text_fields": "test_once_wrong_bounds.py test_a_part_takes_text_in_as_many_fields_as_the_"
    "limit_says",
    "session_errors": "test_reducer.py test_the_oldest_errors_go_first",
    "inbox_bytes": "test_threads.py test_the_bound_counts_bytes_that_wait_and_what_is_refused_is_"
    "not_taken",
    "line_bytes": "hostile/test_hostile_values.py test_a_line_at_the_bound_comes_in_and_one_byte_"
    "more_does_not",
    "event_line_bytes": "test_sse.py test_a_line_at_the_bound_is_whole_and_one_byte_more_skips_its_"
    "event_alone",
    "event_bytes": "test_sse.py test_a_one_line_event_at_the_event_bound_is_whole_and_one_byte_more"
    "_is_skipped",
    "data_line_bytes": "test_sse.py test_each_data_line_of_an_event_is_charged",
    "event_id_bytes": "test_once_wrong_streams.py test_an_event_id_over_the_limit_is_void_and_the_"
    "former_stays",
    "ended_streams": "test_once_wrong_saves.py test_positions_of_ended_streams_are_bounded_and_the_"
    "oldest_goes",
    "nesting": "hostile/test_hostile_values.py test_json_nests_as_deep_as_the_limit_and_no_deeper",
}


def test_every_limit_is_tested_at_its_bound_and_over_it() -> None:
    here = {name.removeprefix("test_bound_of_") for name in globals() if "_bound_of_" in name}
    limits = {field.name for field in attrs.fields(Limits)}
    assert here | set(ELSEWHERE) == limits
    for place in ELSEWHERE.values():
        name, test = place.split()
        assert f"def {test}(" in (TESTS / name).read_text(), place


def test_bound_of_late_window() -> None:
    # Of 52, 54, 56 and 58 the window knows whether they came; 50 is its floor.
    for late, verdict in ((51, "late"), (50, "refused:unplaceable"), (49, "refused:unplaceable")):
        bench = Bench("sparse", limits=Limits(late_window=4))
        for seq in range(10, 60, 2):
            bench.delta(seq, "x")
            bench.store.flush()
        assert bench.delta(late, "y") == verdict
        assert (list(bench.store.health.resync) == ["s"]) is (verdict != "late")
        assert bench.text() == "x" * 21 + ("yxxxx" if verdict == "late" else "xxxx")


def test_bound_of_tombstones() -> None:
    bench = Bench("sparse", limits=Limits(tombstones=3))
    for number in range(1, 4):
        bench.take("message.removed", 10 * number, messageId=f"m{number}")
    assert [bench.delta(5, "x", messageId=f"m{n}") for n in (1, 2, 3)] == ["refused:removed"] * 3
    bench.take("message.removed", 40, messageId="m4")
    # The oldest went and left a floor: what lies at or below it comes back for nobody.
    assert bench.delta(5, "x", messageId="m1") == "refused:evicted"
    for seq in (9, 10):  # the floor is the position of the removal that was forgotten
        assert bench.delta(seq, "x", messageId="never seen") == "refused:evicted"
    assert bench.delta(11, "x", messageId="another") == "accepted"
    assert bench.delta(41, "x", messageId="never seen") == "accepted"
    assert len(bench.row.tombstones) == 3


def test_bound_of_spill_characters() -> None:
    bench = Bench("none", delivery="buffered", limits=Limits(spill_characters=10))
    bench.take("turn.started")
    bench.delta(None, "x" * 10)
    assert not bench.text()
    bench.delta(None, "y")
    assert bench.text() == "x" * 10 + "y"


def test_bound_of_state_bytes() -> None:
    def patched(bound: int) -> str:
        bench = Bench("none", limits=Limits(state_bytes=bound))
        bench.take("session.state", state={"a": "x" * 50})
        patch = [{"op": "add", "path": "/b", "value": "y" * 50}]
        return bench.take("session.state", patch=patch)

    found = [patched(bound) for bound in range(60, 200)]
    at = found.index("accepted")
    assert found == ["refused:conflict"] * at + ["accepted"] * (140 - at)
    assert 100 <= 60 + at <= 160


def test_bound_of_answered_requests() -> None:
    bench = Bench("none", limits=Limits(answered_requests=2))
    for name in ("p1", "p2"):
        bench.take("permission.replied", id=name)
    for name in ("p1", "p2"):
        bench.take("permission.asked", id=name)
    bench.store.flush()
    assert not bench.sessions()["s"].get("permissions")
    for name in ("p3", "p4"):
        bench.take("permission.replied", id=name)
    bench.take("permission.asked", id="p1")  # its answer was forgotten: asked anew
    bench.take("permission.asked", id="p4")
    assert list(bench.sessions()["s"]["permissions"]) == ["p1"]


@pytest.mark.parametrize("since, reset", [(1, False), (0, True)])
def test_bound_of_history_changes(since: int, reset: bool) -> None:
    bench = Bench("none", limits=Limits(history_changes=2))
    for _ in range(3):
        bench.delta(None, "x")
        bench.store.flush()
    assert bench.store.pull(since).reset is reset


def test_bound_of_history_characters() -> None:
    for characters, reset in ((10, False), (11, True)):
        bench = Bench("none", limits=Limits(history_characters=10))
        bench.delta(None, "x" * (characters - 5))
        bench.store.flush()
        bench.delta(None, "y" * 5)
        bench.store.flush()
        assert bench.store.pull(0).reset is reset
        assert bench.store.pull(1).reset is False


def test_bound_of_subscriber_changes() -> None:
    from streamstore.ticks import ManualTicks

    for messages, reset in ((4, False), (40, True)):
        ticks = ManualTicks()
        store = StreamStore("native", ticks=ticks, limits=Limits(subscriber_changes=20))
        heard: list[Any] = []
        store.subscribe(heard.append, throttle=1_000)
        stream = store.open("native", sequencing="none")
        stream.ingest(delta("first"))
        store.flush()
        for number in range(messages):
            stream.ingest(delta("x", messageId=f"m{number}"))
            store.flush()
        ticks.advance(5_000)
        # However much it misses, a slow subscriber gets one set; past the bound that says: read.
        assert [changes.reset for changes in heard][-1] is reset
        assert len(heard) <= 2
        assert len(store.messages("s")) == messages + 1


def test_bound_of_undetected_events() -> None:
    store = StreamStore(limits=Limits(undetected_events=3))
    stream = store.open()
    for _ in range(2):
        assert stream.ingest({"nobody": "knows"}).kind == "held"
    stream.ingest(delta("known"))
    assert stream.protocol == "native"
    other = store.open()
    with pytest.raises(UnknownProtocol):
        for _ in range(3):
            other.ingest({"nobody": "knows"})
    assert other.ingest(delta("x")).reason == "stopped"


def test_bound_of_pending_merge() -> None:
    def waiting(bound: int) -> int:
        bench = Bench("none", limits=Limits(pending_merge=bound))
        bench.take("block.opened", kind="text")
        most = 0
        for number in range(9_000):
            bench.delta(None, str(number % 10))
            row = bench.row.messages["m"].blocks[0]
            most = max(most, len(row.fresh) + len(row.cell.pending))
        assert bench.text() == "0123456789" * 900
        return most

    # At the bound they become one piece, and pieces of a like size one of twice the size.
    assert waiting(8) <= 30
    assert waiting(100_000) >= 9_000


def test_a_store_of_the_smallest_limits_still_keeps_what_fits() -> None:
    """Every bound at 1 but those that a byte stream needs: nothing raises, and saves load."""
    keep = ("line_bytes", "event_line_bytes", "event_bytes", "data_line_bytes", "event_id_bytes",
            "inbox_bytes", "nesting", "state_bytes")  # fmt: skip
    limits = Limits(**{f.name: 1 for f in attrs.fields(Limits) if f.name not in keep})
    for sequencing in ("block", "session", "sparse", "none"):
        bench = Bench(sequencing, limits=limits)
        for number in range(1, 40):
            bench.delta(
                number * 3 % 40 or 1, "x", messageId=f"m{number % 3}", blockIndex=number % 2
            )
            if number % 7 == 0:
                bench.take("message.removed", number, messageId=f"m{number % 5}")
            bench.take("permission.asked", None, id=f"p{number}")
            bench.take("session.error", None, error={"name": "E", "message": str(number)})
            bench.store.flush()
        loaded = through_json(bench.store, limits=limits)
        assert loaded.state()["sessions"] == bench.store.state()["sessions"]
        json.dumps(bench.store.state())
