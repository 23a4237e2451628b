"""`pull(since=...)`: everything after a version as one change set, without a subscription."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirror import Mirror

from streamstore import ChangeSet, Edit, Limits, PartKey, StreamStore, TextField

PART = PartKey("s", "m", 0)
TEXT = TextField(PART, "text")


def a_store(**options: Any) -> StreamStore:
    return StreamStore("native", **{"ticks": "manual", **options})


def delta(store: StreamStore, text: str, message: str = "m", block: int = 0) -> ChangeSet:
    store.ingest({
        "type": "block.delta", "sessionId": "s", "messageId": message, "blockIndex": block,
        "text": text,
    })  # fmt: skip
    return store.flush()


class Poller:
    """A frontend that asks now and then, built on the mirror of subscribers."""

    def __init__(self, store: StreamStore) -> None:
        self.mirror = Mirror(store, exact=False)
        self.mirror.subscription.close()
        self.version = self.mirror.version
        self.pulls: list[ChangeSet] = []

    def poll(self) -> None:
        changes = self.mirror.store.pull(since=self.version)
        self.version = changes.version
        self.pulls.append(changes)
        if changes:
            self.mirror.hear(changes)
        self.mirror.check()


steps = st.lists(
    st.tuples(
        st.sampled_from(["delta", "replace", "remove", "move", "poll", "poll rarely"]),
        st.sampled_from(["m", "n", "o"]),
        st.text("ab", max_size=3),
    ),
    max_size=25,
)


@given(steps)
def test_what_is_pulled_adds_up_to_what_the_reads_return(given_steps: Any) -> None:
    store = a_store()
    often, rarely = Poller(store), Poller(store)
    for number, (step, message, text) in enumerate(given_steps):
        if step.startswith("poll"):
            often.poll()
            if step == "poll rarely":
                rarely.poll()
            continue
        wire: dict[str, Any] = {"sessionId": "s", "messageId": message}
        if step == "remove":
            wire["type"] = "message.removed"
        elif step == "move":
            wire |= {"type": "message.opened", "role": "user", "order": number % 5}
        else:
            kind = "block.delta" if step == "delta" else "block.replaced"
            wire |= {"type": kind, "blockIndex": 0, "text": text}
        store.ingest(wire)
        store.flush()
    often.poll()
    rarely.poll()
    assert not any(changes.reset for changes in (*often.pulls, *rarely.pulls))


def test_the_merged_one_is_the_sum_of_its_ticks() -> None:
    store = a_store()
    for text in "abc":
        delta(store, text)
    assert store.pull(since=1).text == {TEXT: Edit(1, "bc", False)}
    assert store.pull(since=2).text == {TEXT: Edit(2, "c", False)}
    first = store.pull()
    assert first.text == {TEXT: Edit(0, "abc", False)}
    assert [key for key, _ in first.added][-1] == PART
    assert first.version == store.version == 3


def test_at_the_present_version_there_is_nothing() -> None:
    store = a_store()
    assert store.pull(0) == ChangeSet(0)
    delta(store, "a")
    changes = store.pull(since=1)
    assert not changes
    assert changes == ChangeSet(1, gaps=store.health.gaps)


def test_pulling_takes_nothing_away() -> None:
    store = a_store()
    for text in "abc":
        delta(store, text)
    assert store.pull(1) == store.pull(1)
    assert store.pull(0) == store.pull(0)


def test_what_waits_for_a_tick_is_not_pulled() -> None:
    store = a_store()
    store.ingest({"type": "session.updated", "sessionId": "s", "info": {"a": 1}})
    assert not store.pull(0)
    store.flush()
    assert store.pull(0)


def test_it_says_what_is_missing_and_where_to_resume() -> None:
    store = a_store()
    stream = store.open("native", sequencing="session", session_id="s")
    for seq in (1, 2, 5):
        stream.ingest(
            {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq, "text": "x"}
        )
        store.flush()
    merged = store.pull(0)
    assert [gap.missing for gap in merged.gaps] == [((3, 4),)]
    assert dict(merged.resume["sessions"]) == {"s": 2}
    present = store.pull(store.version)
    assert present.gaps == merged.gaps


class TestReset:
    def is_reset(self, store: StreamStore, since: int) -> bool:
        changes = store.pull(since)
        assert changes.version == store.version
        if changes.reset:
            assert changes == ChangeSet(
                store.version, reset=True, gaps=changes.gaps, resume=changes.resume
            )
        return changes.reset

    def test_a_version_that_the_history_does_not_reach_back_to(self) -> None:
        store = a_store(limits=Limits(history_changes=3))
        for text in "abcde":
            delta(store, text)
        assert [self.is_reset(store, since) for since in range(6)] == [True, True, *[False] * 4]
        assert store.pull(2).text == {TEXT: Edit(2, "cde", False)}

    def test_a_history_bounds_its_characters_too(self) -> None:
        store = a_store(limits=Limits(history_characters=10))
        for _ in range(4):
            delta(store, "12345")
        assert [self.is_reset(store, since) for since in range(5)] == [
            True,
            True,
            False,
            False,
            False,
        ]

    def test_one_change_set_over_the_bound_is_not_kept(self) -> None:
        store = a_store(limits=Limits(history_characters=10))
        delta(store, "12345")
        delta(store, "x" * 11)
        assert [self.is_reset(store, since) for since in range(3)] == [True, True, False]
        delta(store, "1234567890")
        assert [self.is_reset(store, since) for since in (1, 2, 3)] == [True, False, False]

    @pytest.mark.parametrize("since", [3, 10**9, -1])
    def test_a_version_of_another_life_of_the_store(self, since: int) -> None:
        store = a_store()
        delta(store, "a")
        delta(store, "b")
        assert self.is_reset(store, since)

    def test_a_loaded_store_keeps_the_version_and_has_no_history(self) -> None:
        store = a_store()
        delta(store, "a")
        delta(store, "b")
        loaded = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
        assert loaded.version == 2
        assert not loaded.pull(2)
        assert [self.is_reset(loaded, since) for since in (0, 1)] == [True, True]
        delta(loaded, "c")
        assert loaded.pull(2).text == {TEXT: Edit(2, "c", False)}

    def test_the_history_holds_no_more_than_its_bounds(self) -> None:
        store = a_store(limits=Limits(history_changes=4, history_characters=100))
        for number in range(50):
            delta(store, "x" * (1 + number % 40))
            held = [sum(len(edit.text) for edit in changes.text.values())
                    for changes in store._history.since(0)]  # fmt: skip
            # As many as fit, and not one less.
            texts = [1 + before % 40 for before in range(number, max(number - 4, -1), -1)]
            fit = max(n for n in range(len(texts) + 1) if sum(texts[:n]) <= 100)
            assert held == texts[:fit][::-1]


def test_change_sets_that_were_pulled_do_not_change_later() -> None:
    store = a_store()
    delta(store, "a")
    changes = store.pull(0)
    before = copy.copy(dict(changes.text)), changes.added
    delta(store, "b")
    assert (dict(changes.text), changes.added) == before
