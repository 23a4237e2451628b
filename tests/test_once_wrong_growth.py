"""What once only grew in a store that lives for days, each with its smallest case.

Sessions come and go, streams are opened and end, states are saved and loaded: what stays is bounded
by what is there, not by what was.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from one_stream import frame

from streamstore import Limits, StreamStore
from streamstore.events import MessageRemoved, MessageRollback, SessionRemoved
from streamstore.testing.books import Books

MANY = 60
BLOCK = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
TIGHT = Limits(removed_sessions=4, ended_streams=4, late_window=4)


def delta(session: str = "s", text: str = "x", **members: Any) -> dict[str, Any]:
    return {"type": "block.delta", **BLOCK, "sessionId": session, "text": text, **members}


def again(store: StreamStore) -> StreamStore:
    saved = json.loads(json.dumps(store.save()))
    return StreamStore.load(saved, ticks="manual", limits=store.limits)


def chunk(session: str) -> dict[str, Any]:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "x"}}
    params = {"sessionId": session, "update": update}
    return {"jsonrpc": "2.0", "method": "session/update", "params": params}


# --- sessions ------------------------------------------------------------------------------------


def test_nobody_is_asked_to_fetch_a_removed_session() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="session")
    stream.ingest_many([delta(seq=1), delta(seq=3)])
    assert store.ask_resync("s", "hole") is None and "s" in store.resync
    stream.ingest({"type": "session.removed", "sessionId": "s", "seq": 4})
    assert store.resync == {}


def test_sessions_to_fetch_of_which_nothing_came_are_bounded() -> None:
    store = StreamStore("native", ticks="manual", limits=TIGHT)
    store.ingest(delta("s", seq=1))
    for name in ("s", *(f"s{number}" for number in range(MANY))):
        store.ask_resync(name, "a loss")
    last = [f"s{number}" for number in range(MANY - TIGHT.removed_sessions, MANY)]
    assert list(store.resync) == ["s", *last]


@pytest.mark.parametrize("what", ["malformed", "waits", "rollback", "removed before a restart"])
def test_sessions_that_show_nothing_are_forgotten_in_their_turn(what: str) -> None:
    store = StreamStore(ticks="manual", limits=TIGHT)
    stream = store.open("native", sequencing="sparse")
    for number in range(MANY):
        name = f"s{number}"
        if what == "malformed":
            fetched = {"type": "snapshot", "sessionId": name, "messages": [{"parts": 1}]}
            assert stream.ingest(fetched).kind == "malformed"
        elif what == "waits":
            stream.ingest(delta(name, seq=1, generation="g"))
        elif what == "rollback":
            store.apply(MessageRollback(session_id=name, message_id="m"))
        else:
            stream.ingest(delta(name, seq=1))
            store.flush()
            stream.ingest({"type": "session.removed", "sessionId": name, "seq": 2})
            store.flush()
            stream.ingest({"type": "stream.opened", "generation": f"g{number}"})
        store.flush()
    assert len(store._sessions) <= 5
    assert len(again(store)._sessions) <= 5


def test_text_that_waited_for_a_generation_is_counted_when_it_goes() -> None:
    store = StreamStore(ticks="manual", limits=TIGHT)
    stream = store.open("native", sequencing="sparse")
    for number in range(5):
        stream.ingest(delta(f"s{number}", "hello", seq=1, generation="g"))
    assert store.health.counts["characters"]["superseded"] == 5
    assert store.health.counts["held"]["evicted"] == 1


@pytest.mark.parametrize("what", ["block.removed", "message.removed"])
def test_calls_of_removed_parts_go_with_their_tombstones(what: str) -> None:
    limits = Limits(tombstones=4)
    store = StreamStore(ticks="manual", limits=limits)
    stream = store.open("native", sequencing="sparse")
    for number in range(MANY):
        where = {**BLOCK, "messageId": f"m{number}"}
        opened = {"type": "block.opened", **where, "kind": "tool", "callId": f"c{number}"}
        removed = {"type": what, **where}
        stream.ingest_many([{**opened, "seq": 2 * number}, {**removed, "seq": 2 * number + 1}])
        store.flush()
    assert len(store._sessions["s"].calls) <= limits.tombstones


@pytest.mark.parametrize("what", ["block.removed", "message.removed"])
def test_text_that_waited_to_be_opened_again_is_counted_when_it_goes(what: str) -> None:
    store = StreamStore(ticks="manual", limits=Limits(tombstones=1))
    stream = store.open("native", sequencing="sparse")
    stream.ingest_many([delta(seq=1), {"type": what, **BLOCK, "seq": 2}])
    assert stream.ingest(delta(text="hello", seq=3)).kind == "held"
    stream.ingest({"type": what, **BLOCK, "messageId": "other", "blockIndex": 1, "seq": 4})
    store.flush()
    assert Books.of(store).problem is None
    assert store.health.counts["characters"]["superseded"] == len("xhello")


@pytest.mark.parametrize("seq", [4, None])
def test_text_that_waited_is_counted_once_where_its_removal_forgets_that_of_its_message(
    seq: int | None,
) -> None:
    store = StreamStore(ticks="manual", limits=Limits(tombstones=1))
    stream = store.open("native", sequencing="sparse")
    stream.ingest({"type": "message.removed", **BLOCK, "seq": 2})
    assert stream.ingest(delta(text="hello", seq=3)).kind == "held"
    stream.ingest({"type": "block.removed", **BLOCK, "seq": seq})
    store.flush()
    assert Books.of(store).problem is None
    assert store.health.counts["characters"]["superseded"] == len("hello")


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["openai-chat", "anthropic", "pydantic-ai", "langchain"])
def test_nothing_is_remembered_of_streams_that_brought_nothing(protocol: str) -> None:
    store = StreamStore(ticks="manual")
    for number in range(MANY):
        store.open(protocol, session_id=f"s{number}").end()
    assert store.save()["memory"].get(protocol, {}) == {}


def test_saved_streams_that_nobody_goes_on_from_are_bounded() -> None:
    store = StreamStore(ticks="manual", limits=TIGHT)
    for life in range(MANY):
        stream = store.open("openai-chat", session_id=f"s{life}")
        delta_ = {"role": "assistant", "content": "x"}
        choices = [{"index": 0, "delta": delta_, "finish_reason": None}]
        stream.ingest({"id": f"c{life}", "object": "chat.completion.chunk", "choices": choices})
        store.flush()
        store.apply(SessionRemoved(session_id=f"s{life}"))
        store.flush()
        store = again(store)
    saved = store.save()
    assert len(saved["streams"]) <= 4
    assert len(saved["memory"]["openai-chat"]) <= 8


def test_a_life_later_the_latest_stream_still_says_where_to_resume() -> None:
    store = StreamStore(ticks="manual")
    first = store.open("native", session_id="a", sequencing="none")
    first.feed(frame(1, delta("a")))
    first.end()
    store.open("native", session_id="b", sequencing="none").feed(frame(2, delta("b")))
    store.flush()
    for _ in range(3):
        assert store.health.resume["eventId"] == "2"
        store = again(store)


def test_parts_that_somebody_else_removed_are_not_held_for_the_end_of_the_stream() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="none")
    for number in range(4 * MANY):
        stream.ingest(delta(messageId=f"m{number}"))
        store.apply(MessageRemoved(session_id="s", message_id=f"m{number}"))
        store.flush()
    assert len(stream._ingress.touched) <= 66


def test_an_acp_stream_remembers_few_of_the_sessions_that_went() -> None:
    store = StreamStore(ticks="manual", limits=TIGHT)
    stream = store.open("acp")
    for number in range(2 * MANY):
        stream.ingest(chunk(f"a{number}"))
        store.apply(SessionRemoved(session_id=f"a{number}"))
        store.flush()
    assert len(stream.adapter._open) <= 64  # type: ignore[union-attr]
    assert len(store.save()["memory"]["acp"]) <= 5


def test_a_bound_acp_stream_remembers_nothing_of_foreign_sessions() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("acp", session_id="mine")
    verdicts = {stream.ingest(chunk(f"f{number}")).kind for number in range(MANY)}
    assert verdicts == {"refused"}
    assert set(store.save()["memory"]["acp"]) <= {"mine"}


# --- what waits ----------------------------------------------------------------------------------


def test_a_request_that_is_asked_again_behind_its_answer_leaves_no_note() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="none")
    for number in range(MANY):
        for type_ in ("question.asked", "question.replied", "question.asked"):
            stream.ingest({"type": type_, "sessionId": "s", "id": f"q{number}"})
    assert len(store._sessions["s"].own_epochs) <= 4


def test_text_that_waits_behind_a_previous_text_stays_when_the_window_is_cut() -> None:
    store = StreamStore(ticks="manual", limits=TIGHT)
    stream = store.open("native", sequencing="sparse")
    opening = {"type": "block.opened", **BLOCK, "kind": "text"}
    stream.ingest_many([{"type": "stream.opened", "generation": "g1"}, {**opening, "seq": 1}])
    stream.ingest(delta(text="old", seq=2))
    store.flush()
    stream.ingest({"type": "stream.opened", "generation": "g2"})
    stream.ingest_many([delta(text=f"<{seq}>", seq=seq) for seq in (1, 2, 3)])
    for seq in range(10, 30):
        stream.ingest({"type": "block.updated", **BLOCK, "whole": True, "fields": {}, "seq": seq})
    stream.ingest({**opening, "seq": 100})
    store.flush()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "<1><2><3>"
    assert len(store._sessions["s"].messages["m"].blocks[0].seqs) <= 16


def test_a_slow_reader_keeps_no_place_of_sessions_that_went() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="session")
    changes = store.changes()
    for number in range(MANY):
        stream.ingest(delta(f"s{number}", seq=1))
        store.flush()
        store.apply(SessionRemoved(session_id=f"s{number}"))
        store.flush()
    assert len(changes._waiting._sessions) <= 1


def test_a_slow_reader_holds_a_text_in_few_pieces() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="block")
    changes = store.changes()
    for seq in range(1, 2_001):
        stream.ingest(delta(text="ab", seq=seq))
        store.flush()
    (waiting,) = changes._waiting._text.values()
    assert len(waiting.text._pieces) <= 200
    assert waiting.take().text == "ab" * 2_000
