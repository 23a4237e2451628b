"""Laws of `block` sequencing, against the naive fold: whatever order, each operation counts once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import fold
from strategies import Wire, disturbed, logs, malformed

from streamstore import Limits, Stream, StreamStore


def fresh(**options: Any) -> tuple[StreamStore, Stream]:
    store = StreamStore("native", ticks="manual", **options)
    return store, store.open("native", sequencing="block")


def sessions_after(events: list[Wire], **options: Any) -> Any:
    store, stream = fresh(**options)
    stream.ingest_many(events)
    store.flush()
    return store.state()["sessions"]


@given(logs("block"))
def test_a_log_in_order_ends_in_the_naive_state(log):
    assert sessions_after(log) == fold(log, "block")


@given(st.data())
def test_any_order_with_repeats_ends_in_the_naive_state(data):
    log = data.draw(logs("block"))
    order = data.draw(disturbed(log))
    assert sessions_after(order) == fold(log, "block")


@given(st.data())
def test_every_moment_of_any_order_shows_the_naive_state_of_what_came(data):
    log = data.draw(disturbed(data.draw(logs("block"))))
    store, stream = fresh()
    for count, event in enumerate(log, start=1):
        stream.ingest(event)
        store.flush()
        assert store.state()["sessions"] == fold(log[:count], "block")
