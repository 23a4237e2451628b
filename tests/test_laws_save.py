"""Laws of saved states (L4): a save is one cut; what it and the rest of a log make is the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirror import shape
from naive import fold, missing
from strategies import (
    FRAMINGS,
    SESSIONS,
    Wire,
    chunked,
    crowded,
    disturbed,
    logs,
)

from streamstore import Limits, Stream, StreamStore, UnsupportedState

SEQUENCINGS = ("block", "none", "sparse")
PLACE = ("sessionId", "messageId", "blockIndex")
KEY = dict(zip(PLACE, ("s1", "m", 0), strict=True))


def fresh(sequencing: Any, **options: Any) -> tuple[StreamStore, Stream]:
    store = StreamStore("native", **{"ticks": "manual", **options})
    return store, store.open("native", sequencing=sequencing)


def everything(store: StreamStore) -> Any:
    """The state after all that waits was shown, without counts."""
    for session_id in SESSIONS:
        store.release(session_id)
    store.flush()
    return {**store.state(), "counts": None}


def reloaded(store: StreamStore, sequencing: Any, **options: Any) -> tuple[StreamStore, Stream]:
    """The store that a save on disk gives, and a stream that goes on where the saved one was."""
    saved = json.loads(json.dumps(store.save()))
    loaded = StreamStore.load(saved, **{"ticks": "manual", **options})
    return loaded, loaded.open("native", sequencing=sequencing)


def reads(store: StreamStore) -> Any:
    """Everything that the reads of a store return, comparable."""
    found: list[Any] = [store.version, store.session_ids(), store.health.gaps]
    for session_id in store.session_ids():
        found += [store.session(session_id), store.messages(session_id)]
        for message in store.messages(session_id):
            for part in store.parts(session_id, message.id):
                texts = {name: str(view) for name, view in part.others.items()}
                found.append((part.key, shape(part), part.text, texts))
    return found


@st.composite
def any_log(draw: Any) -> tuple[str, list[Wire]]:
    """A sequencing and a log of it. What has no number has an id, so that a tail may repeat it."""
    sequencing = draw(st.sampled_from(SEQUENCINGS))
    log = draw(crowded("block" if sequencing == "block" else "none"))
    if sequencing == "block":
        log = [
            event if "seq" in event else {"id": f"e{place}", **event}
            for place, event in enumerate(log)
            if event["type"] != "message.reset"  # says nothing of the numbers of its blocks
        ]
        if draw(st.booleans()):
            log = draw(disturbed(log))
    return sequencing, json.loads(json.dumps(log))


@given(st.data())
def test_a_saved_state_and_the_tail_from_its_position_make_the_whole_at_every_cut(data):
    sequencing, log = data.draw(any_log())
    delivery = data.draw(st.sampled_from(["streaming", "buffered"]))
    flushes = data.draw(st.lists(st.booleans(), min_size=len(log), max_size=len(log)))
    store, stream = fresh(sequencing, delivery=delivery)
    cuts = [reloaded(store, sequencing)]
    for event, flush in zip(log, flushes, strict=True):
        stream.ingest(event)
        if flush:
            store.flush()
        cuts.append(reloaded(store, sequencing))
    whole = everything(store)
    for loaded, tail in cuts:
        for event, flush in zip(log[tail.position.events :], reversed(flushes), strict=False):
            tail.ingest(event)
            if flush:
                loaded.flush()
        assert everything(loaded) == whole


@given(st.data())
def test_a_state_saved_again_and_again_makes_the_whole(data):
    sequencing, log = data.draw(any_log())
    store, stream = fresh(
        sequencing, delivery=data.draw(st.sampled_from(["streaming", "buffered"]))
    )
    at = steps = 0
    while at < len(log):
        stream.ingest(log[at])
        at, steps = at + 1, steps + 1
        if data.draw(st.booleans()):
            store.flush()
        if steps < 3 * len(log) and data.draw(st.integers(0, 2)) == 0:
            store, stream = reloaded(store, sequencing)
            at = stream.position.events
    plain, only = fresh(sequencing)
    only.ingest_many(log)
    assert everything(store) == everything(plain)


@given(st.data())
def test_a_save_shows_nothing_early_and_changes_nothing(data):
    sequencing, log = data.draw(any_log())
    delivery = data.draw(st.sampled_from(["streaming", "buffered"]))
    store, stream = fresh(sequencing, delivery=delivery)
    untouched, other = fresh(sequencing, delivery=delivery)
    for event in log:
        stream.ingest(event)
        other.ingest(event)
        if data.draw(st.booleans()):
            store.flush()
            untouched.flush()
        before = reads(store)
        saved = json.dumps(store.save())
        assert json.dumps(json.loads(saved)) == saved
        assert reads(store) == before
        assert json.dumps(store.save()) == saved
        loaded, _ = reloaded(store, sequencing)
        assert reads(loaded) == before
    assert store.flush() == untouched.flush()
    assert everything(store) == everything(untouched)


@given(st.data())
def test_a_loaded_store_saves_what_it_was_loaded_from(data):
    sequencing, log = data.draw(any_log())
    store, stream = fresh(
        sequencing, delivery=data.draw(st.sampled_from(["streaming", "buffered"]))
    )
    for event in log:
        stream.ingest(event)
        if data.draw(st.booleans()):
            store.flush()
    loaded, _ = reloaded(store, sequencing)
    assert loaded.health.counts == store.health.counts
    first, again = (json.loads(json.dumps(each.save())) for each in (store, loaded))
    assert {**again, "epoch": None} == {**first, "epoch": None}  # another stream, another epoch


@given(st.data())
def test_buffered_text_still_waits_after_a_load(data):
    log = data.draw(logs("none", removals=False))
    log = [event for event in log if event["type"] != "message.closed"]
    store, stream = fresh("none", delivery="buffered")
    for session_id in SESSIONS:
        stream.ingest({"type": "turn.started", "sessionId": session_id})
    cut = data.draw(st.integers(0, len(log)))
    stream.ingest_many(log[:cut])
    store.flush()
    loaded, tail = reloaded(store, "none")
    tail.ingest_many(log[cut:])
    loaded.flush()
    texts = [
        part.text
        for session_id in loaded.session_ids()
        for message in loaded.messages(session_id)
        for part in loaded.parts(session_id, message.id)
    ]
    assert not any(texts)
    assert everything(loaded)["sessions"] == fold(log, "none")


CALL = {"sessionId": "s", "messageId": "m", "blockIndex": 1, "callId": "c", "kind": "tool"}


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize(
    "sequencing, log",
    [
        (
            "sparse",  # a part that waits for the opening of its message, which was removed
            [
                {"type": "block.opened", **CALL, "seq": 1},
                {"type": "message.removed", **CALL, "seq": 2},
                {"type": "block.opened", **CALL, "seq": 4},
                {"type": "message.opened", **CALL, "seq": 3, "role": "assistant"},
            ],
        ),
        (
            "none",  # two parts that name one call: it is that of the last to name it
            [
                {"type": "block.opened", **CALL, "callId": None},
                {"type": "block.opened", **CALL, "blockIndex": 2},
                {"type": "block.updated", **CALL},
            ],
        ),
    ],
)
def test_a_result_finds_the_part_of_its_call_in_a_loaded_store_too(sequencing, log, cut):
    store, stream = fresh(sequencing)
    stream.ingest_many(log[:cut])
    store, stream = reloaded(store, sequencing)
    stream.ingest_many(log[cut:])
    result = {"type": "tool.result", "sessionId": "s", "callId": "c", "fields": {"output": "done"}}
    assert stream.ingest(result).kind == "accepted"
    store.flush()
    assert [part.block_index for part in store.parts("s", "m") if part.fields.get("output")] == [1]


@pytest.mark.parametrize("release", ["turn.completed", "session.status", "permission.asked", ""])
def test_what_was_released_and_waits_for_a_tick_is_shown_after_a_load_and_no_more(release):
    place = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
    store, stream = fresh("none", delivery="buffered")
    stream.ingest({"type": "block.delta", **place, "text": "shown"})
    stream.ingest({"type": "block.delta", **place, "field": "input", "text": "too"})
    if release:
        stream.ingest({"type": release, "sessionId": "s", "id": "r", "status": "idle"})
    else:
        store.release("s")
    stream.ingest({"type": "block.delta", **place, "text": ", and this waits"})
    loaded, _ = reloaded(store, "none")
    assert loaded.part("s", "m", 0) is None  # nothing early
    for each in (store, loaded):
        changes = each.flush()
        assert {name: edit.text for (_, name), edit in changes.text.items()} == {
            "text": "shown",
            "input": "too",
        }


@given(st.data())
def test_held_operations_are_saved_and_the_hole_is_filled_after_a_load(data):
    log = data.draw(disturbed(data.draw(logs("block"))))
    cut = data.draw(st.integers(0, len(log)))
    store, stream = fresh("block")
    stream.ingest_many(log[:cut])
    loaded, tail = reloaded(store, "block")
    assert everything(loaded) == everything(store)
    tail.ingest_many(log[cut:])  # what lies between the position and the cut need not come again
    assert everything(loaded)["sessions"] == fold(log, "block")


@pytest.mark.parametrize("sequencing", ["block", "session"])
@given(st.data())
def test_a_resume_from_the_position_brings_everything_that_is_known_to_be_missing(sequencing, data):
    """What the server sent and the wire lost lies behind the position as soon as it is missed,
    whatever came of other blocks and sessions between its loss and its being missed."""
    log = data.draw(logs(sequencing))
    places = [at for at, event in enumerate(log) if "text" in event and "seq" in event]
    lost = set(data.draw(st.lists(st.sampled_from(places), max_size=3))) if places else set()
    sent = [at for at in range(len(log)) if at not in lost]
    store, stream = fresh(sequencing)
    for count, at in enumerate(sent, start=1):
        stream.ingest(log[at])
        if data.draw(st.booleans()):
            store.flush()
        known = unmet(sequencing, log, sent[:count], lost)
        events = stream.position.events
        resumes_at = sent[events - 1] + 1 if events else 0
        assert not known or resumes_at <= min(known)
        if not known:
            assert events == count
    for at in range(resumes_at if sent else 0, len(log)):  # and what it brings fills every hole
        stream.ingest(log[at])
    store.flush()
    assert store.health.gaps == () and stream.position.events == stream.received


@given(st.data())
def test_what_the_hold_bound_refused_is_missing_until_it_comes_again(data):
    """In every order, through snapshots and saves: a part that ends before something that came
    says so, and a resume of its stream brings that."""
    limits = Limits(held_operations=data.draw(st.integers(1, 3)))
    store, stream = fresh("block", limits=limits)
    whole = "abcdefghi"
    repeats = data.draw(st.lists(st.integers(-8, -1) | st.integers(1, 8), max_size=8))
    order = [*data.draw(st.permutations([*range(1, 9), *repeats])), *range(1, 10)]
    came: set[int] = set()
    held: set[int] = set()
    mark = 0
    for count, seq in enumerate(order, start=1):
        if seq < 0:  # stands for a snapshot
            stream.ingest({"type": "block.snapshot", **KEY, "seq": -seq, "text": whole[:-seq]})
            mark = max(mark, -seq)
        else:
            stream.ingest({**DELTA, "seq": seq, "text": whole[seq - 1]})
            came.add(seq)
            if seq == mark + 1:
                mark = seq
            elif seq > mark and len(held) < limits.held_operations:
                held.add(seq)
        while mark + 1 in held:
            mark += 1
        held = {seq for seq in held if seq > mark}
        last = max(held or came, default=0)
        absent = [seq for seq in range(mark + 1, last + 1) if seq not in held]
        if data.draw(st.booleans()):
            store, stream = reloaded(store, "block", limits=limits)
        store.flush()
        part = store.part("s1", "m", 0)
        assert (part.text if part else "", bool(part and part.gap)) == (whole[:mark], bool(absent))
        said = [seq for gap in store.health.gaps for a, b in gap.missing for seq in range(a, b + 1)]
        assert said == absent
        again = order[stream.position.events : count]
        assert {seq for seq in came if seq > mark} - held <= set(again)
    assert (mark, stream.position.events) == (9, stream.received)


def unmet(sequencing: str, log: list[Any], came: list[int], lost: set[int]) -> list[int]:
    """Places in the log of what is lost and known to be missing."""
    if sequencing == "block":
        holes = missing(log[at] for at in came)
        return [
            at
            for at in lost
            for first, last in holes.get(tuple(log[at][name] for name in PLACE), ())
            if first <= log[at]["seq"] <= last
        ]
    tops = {log[at]["sessionId"]: log[at]["seq"] for at in came if "seq" in log[at]}
    return [at for at in lost if log[at]["seq"] < tops.get(log[at]["sessionId"], 0)]


@given(st.data())
def test_a_log_of_bytes_goes_on_at_the_saved_position(data):
    log = json.loads(json.dumps(data.draw(logs("block"))))
    framed = data.draw(st.sampled_from(FRAMINGS))
    store, stream = fresh("block", ticks=None)
    cut = data.draw(st.integers(0, len(log)))
    stream.feed(framed(log[:cut]))
    loaded, tail = reloaded(store, "block", ticks=None)
    for chunk in data.draw(chunked(framed(log[tail.position.events :]))):
        tail.feed(chunk)
    assert everything(loaded)["sessions"] == fold(log, "block")


# -- one rule at a time ----------------------------------------------------------------------------

DELTA = {"type": "block.delta", **KEY, "text": "x"}


def test_the_position_is_that_of_the_last_event_when_nothing_is_missing():
    _store, stream = fresh("block")
    stream.ingest_many([{**DELTA, "seq": 1}, {**DELTA, "seq": 2}])
    stream.ingest({"type": "never.heard.of"})
    stream.ingest({**DELTA, "seq": None})
    assert stream.position.events == 4  # unknown and malformed events move it, too
    stream.ingest({**DELTA, "seq": 4})
    stream.ingest({**DELTA, "blockIndex": 1, "seq": 1})
    assert 1 <= stream.position.events <= 2  # 3 was sent behind 2: where, nobody knows
    stream.ingest({**DELTA, "seq": 3})
    assert stream.position.events == 7


def test_half_a_pair_that_waits_is_saved():
    store, stream = fresh("none")
    stream.ingest({"type": "block.opened", **KEY, "kind": "text"})
    stream.ingest({**DELTA, "text": "a\ud83d"})
    store.flush()
    loaded, tail = reloaded(store, "none")
    assert loaded.part("s1", "m", 0).text == "a"
    tail.ingest({**DELTA, "text": "\ude00"})
    loaded.flush()
    assert loaded.part("s1", "m", 0).text == "a\U0001f600"


def test_marks_survive_so_that_a_repeated_log_changes_nothing():
    store, stream = fresh("block", limits=Limits(held_operations=4))
    log = [{**DELTA, "seq": seq, "text": str(seq)} for seq in (1, 2, 4, 5)]
    stream.ingest_many(log)
    loaded, tail = reloaded(store, "block")
    assert [tail.ingest(event).kind for event in log] == ["duplicate"] * 4
    tail.ingest({**DELTA, "seq": 3, "text": "3"})
    loaded.flush()
    assert loaded.part("s1", "m", 0).text == "12345"


def test_ids_survive_so_that_a_repeated_event_changes_nothing():
    store, stream = fresh("none")
    log = [{"type": "block.opened", **KEY, "kind": "text"}, {**DELTA, "id": "e1"}]
    stream.ingest_many(log)
    loaded, tail = reloaded(store, "none")
    assert tail.ingest(log[1]).kind == "duplicate"
    loaded.flush()
    assert loaded.part("s1", "m", 0).text == "x"


def test_a_change_set_after_a_load_starts_where_the_shown_text_ended():
    store, stream = fresh("block")
    stream.ingest({**DELTA, "seq": 1, "text": "shown"})
    store.flush()
    stream.ingest({**DELTA, "seq": 2, "text": " waits"})
    loaded, _ = reloaded(store, "block")
    assert loaded.part("s1", "m", 0).text == "shown"
    changes = loaded.flush()
    assert [tuple(edit) for edit in changes.text.values()] == [(5, " waits", False)]
    assert (changes.added, changes.removed, changes.version) == ((), (), 2)


@pytest.mark.parametrize("saved", [None, {}, {"version": 0}, {"version": 1}])
def test_what_is_no_saved_store_is_refused(saved):
    with pytest.raises(UnsupportedState):
        StreamStore.load(saved)
