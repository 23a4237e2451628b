"""Saved states: what was saved is what is loaded, as JSON, and what is none of ours is refused.

That a save and the rest of the log make the whole is law L4, see `test_laws_save.py`.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import crowded

from streamstore import (
    CallerError,
    Limits,
    PartKey,
    StreamStore,
    UnknownProtocol,
    UnsupportedState,
    Verdict,
)
from streamstore.events import MessageOpened
from streamstore.keys import MAX_NUMBER
from streamstore.log.states import write_state
from streamstore.testing import Log, sample

Json = Any


def through_json(value: Json) -> Json:
    """As it comes back from a file."""
    return json.loads(json.dumps(value, allow_nan=False))


def reload(store: StreamStore, **options: Any) -> StreamStore:
    return StreamStore.load(through_json(store.save()), **{"ticks": "manual", **options})


def delta(text: str, seq: int | None = None, **members: Any) -> Json:
    wire = {
        "type": "block.delta",
        "sessionId": "s",
        "messageId": "m",
        "blockIndex": 0,
        "text": text,
    }
    return {**wire, **({} if seq is None else {"seq": seq}), **members}


def full_store() -> StreamStore:
    """A store with something in every member that a save has."""
    store = StreamStore("native", ticks="manual", delivery="buffered")
    streams: dict[str, Any] = {
        mode: store.open("native", sequencing=mode)  # type: ignore[arg-type]
        for mode in ("block", "session", "sparse", "none")
    }

    def ingest(mode: str, *wires: Json) -> None:
        for wire in wires:
            verdict: Verdict = streams[mode].ingest(
                {"sessionId": mode, **wire, **{"sessionId": mode}}
            )
            assert verdict.kind in ("accepted", "held", "late"), verdict

    ingest("block", delta("a", 1), delta("c", 3), delta("first is missing", 2, blockIndex="name"))
    ingest("session", delta("a", 1), delta("c", 5))
    ingest("sparse", delta("a", 1), delta("c", 5), delta("b", 3), {
        "type": "block.replaced", "messageId": "m", "blockIndex": 0, "seq": 4, "text": "R", "x": [1],
    })  # fmt: skip
    ingest("sparse", {"type": "session.state", "seq": 7, "state": {"list": []}})
    ingest("sparse", {
        "type": "session.state", "seq": 8, "patch": [{"op": "add", "path": "/list/0", "value": 1}],
    })  # fmt: skip
    at = {"messageId": "m", "blockIndex": 1}
    ingest(
        "none",
        {
            "type": "message.opened",
            "messageId": "m",
            "role": "user",
            "order": 1.5,
            "info": {"a": [{}]},
        },
        {
            "type": "block.opened",
            **at,
            "kind": "tool",
            "callId": "c",
            "state": {"status": "running"},
        },
        delta('{"in', blockIndex=1, field="input"),
        {"type": "tool.result", "callId": "unknown", "fields": {"state": {"status": "completed"}}},
        {"type": "permission.asked", "id": "r", "payload": {"a": [1]}},
        {"type": "question.rejected", "id": "q"},
        {"type": "session.error", "error": {"name": "E"}},
        {"type": "session.updated", "info": {"a": 1}, "id": "event"},
        {"type": "todo.updated", "todo": [1]},
        {"type": "message.opened", "messageId": "gone", "role": "user"},
        {"type": "message.removed", "messageId": "gone"},
        {"type": "message.closed", "messageId": "ended", "status": "error", "error": {"name": "E"}},
        {"type": "session.status", "status": "busy", "more": 1},
        {"type": "turn.started", "deliveryMode": "buffered"},
        delta("half a pair \ud83d", blockIndex=2),
    )
    store.flush()
    ingest("session", delta("of another counter", 9, generation="g2"))
    store.apply(MessageOpened(session_id="none", message_id="local", role="user", local=True))
    return store


@cache
def full_save() -> str:
    return json.dumps(full_store().save())


class TestRoundTrip:
    @given(st.sampled_from(["block", "session", "sparse", "none"]), st.data())
    def test_a_loaded_store_saves_what_it_was_loaded_from(
        self, mode: Any, data: st.DataObject
    ) -> None:
        delivery = data.draw(st.sampled_from(["streaming", "buffered"]))
        store = StreamStore(ticks="manual", delivery=delivery)
        stream = store.open("native", sequencing=mode)
        log = data.draw(crowded("none" if mode == "none" else "block"))
        for seq, wire in enumerate(log, start=1):
            numbered = {"seq": seq, **wire} if mode in ("session", "sparse") else wire
            stream.ingest(numbered)
            if data.draw(st.integers(0, 3)) == 0:
                store.flush()
        saved = store.save()
        assert through_json(saved) == saved
        assert reload(store).save() == saved

    def test_every_member_comes_back(self) -> None:
        store = full_store()
        saved = store.save()
        loaded = reload(store)
        assert loaded.save() == saved
        assert loaded.state() == store.state()
        assert loaded.session_ids() == store.session_ids()
        store.release("none")
        loaded.release("none")
        store.flush()
        loaded.flush()
        assert loaded.state() == store.state()

    def test_it_is_plain_json_that_nobody_shares(self) -> None:
        store = full_store()
        saved = store.save()
        before = json.dumps(saved)
        store.ingest(delta("later", sessionId="none", blockIndex=2))
        store.flush()
        assert json.dumps(saved) == before

        def plain(value: Json) -> bool:
            if type(value) is dict:
                return all(type(key) is str and plain(item) for key, item in value.items())
            if type(value) is list:
                return all(map(plain, value))
            return value is None or type(value) in (str, int, float, bool)

        assert plain(saved)

    def test_loading_does_not_change_what_is_loaded(self) -> None:
        saved = json.loads(full_save())
        loaded = StreamStore.load(saved, ticks="manual")
        loaded.flush()
        loaded.ingest(delta("x", sessionId="none", blockIndex=2))
        loaded.close()
        assert saved == json.loads(full_save())

    def test_values_that_are_read_are_as_frozen_as_before(self) -> None:
        loaded = StreamStore.load(json.loads(full_save()), ticks="manual")
        message = loaded.message("none", "m")
        assert message is not None
        with pytest.raises(TypeError):
            message.info["a"].append(1)

    def test_an_empty_store(self) -> None:
        store = StreamStore(ticks="manual")
        loaded = reload(store)
        assert loaded.save() == store.save()
        assert (loaded.version, loaded.session_ids()) == (0, ())

    @pytest.mark.parametrize("seq", [0, MAX_NUMBER])
    def test_the_largest_and_the_smallest_number(self, seq: int) -> None:
        store = StreamStore(ticks="manual")
        store.open("native").ingest(delta("a", seq, blockIndex=seq))
        store.flush()
        loaded = reload(store)
        assert loaded.part("s", "m", seq) is not None
        assert loaded.open("native").ingest(delta("a", seq, blockIndex=seq)).kind == "duplicate"

    def test_half_a_pair_survives_a_file_of_utf_8(self) -> None:
        store = StreamStore(ticks="manual")
        stream = store.open("native", sequencing="none")
        stream.ingest(delta("a\ud83d"))
        store.flush()
        data = json.dumps(store.save()).encode("utf-8")
        loaded = StreamStore.load(json.loads(data), ticks="manual")
        loaded.open("native", sequencing="none").ingest(delta("\ude00"))
        loaded.flush()
        part = loaded.part("s", "m", 0)
        assert part is not None and part.text == "a\U0001f600"

    def test_halves_that_wait_side_by_side_are_saved_as_what_they_will_be(self) -> None:
        store = StreamStore(ticks="manual")
        stream = store.open("native", sequencing="none")
        for piece in ("a", "\ud83d", "\ude00"):
            stream.ingest(delta(piece))
        saved = store.save()
        assert through_json(saved) == saved
        loaded = reload(store)
        for each in (store, loaded):
            each.flush()
            part = each.part("s", "m", 0)
            assert part is not None and part.text == "a\U0001f600"
            assert each.health.counts == store.health.counts


class TestPosition:
    def a_store(self) -> StreamStore:
        store = StreamStore("native", ticks="manual")
        store.feed(b"id: 7\ndata: " + json.dumps(delta("a", 1)).encode() + b"\n\n")
        store.flush()
        return store

    def test_the_next_stream_of_the_protocol_goes_on_there(self) -> None:
        loaded = reload(self.a_store())
        position = loaded.open("native").position
        assert (position.events, position.event_id) == (1, "7")
        assert loaded.open("native").position.events == 0

    def test_it_is_kept_until_a_stream_takes_it(self) -> None:
        store = self.a_store()
        again = reload(reload(store))
        assert again.save() == store.save()
        assert again.open("native").position.event_id == "7"

    def test_a_stream_that_took_it_saves_its_own(self) -> None:
        loaded = reload(self.a_store())
        loaded.ingest(delta("b", 2))
        (entry,) = loaded.save()["streams"]
        assert (entry["events"], entry["eventId"]) == (2, "7")


class TestOptions:
    def test_ticks_limits_ids_and_listener_are_those_of_the_new_store(self) -> None:
        reported: list[BaseException] = []
        loaded = reload(
            full_store(),
            limits=Limits(history_changes=7),
            new_id=lambda: "mine",
            on_error=lambda error, who: reported.append(error),
        )
        assert loaded.limits.history_changes == 7
        assert loaded.new_id() == "mine"
        loaded.subscribe(lambda changes: 1 // 0)
        loaded.ingest(delta("x", sessionId="other"))
        loaded.release("other")
        loaded.flush()
        assert len(reported) == 1

    @pytest.mark.parametrize(("before", "after"), [(100, 4), (4, 100)])
    def test_as_many_ids_are_remembered_as_the_new_limits_say(
        self, before: int, after: int
    ) -> None:
        store = StreamStore("native", ticks="manual", limits=Limits(event_ids=before))
        store.open("native", sequencing="none").ingest_many(
            [delta("a", id=f"e{number:03}") for number in range(50)]
        )
        loaded = reload(store, limits=Limits(event_ids=after))
        stream = loaded.open("native", sequencing="none")
        wires = [delta("a", id=f"e{number:03}") for number in range(50, 100)]
        stream.ingest_many(wires)
        repeated = [stream.ingest(wire).kind for wire in wires]
        assert repeated.count("duplicate") == (50 if after == 100 else 0)

    def test_delivery_and_version_are_the_saved_ones(self) -> None:
        store = full_store()
        loaded = reload(store)
        assert loaded.version == store.version
        loaded.ingest(delta("held back", sessionId="other"))
        loaded.flush()
        part = loaded.part("other", "m", 0)
        assert part is not None and part.text == ""

    def test_wrong_options_are_the_callers_mistake_not_the_states(self) -> None:
        with pytest.raises(CallerError):
            StreamStore.load(json.loads(full_save()), ticks="hourly")  # type: ignore[arg-type]


class TestRefused:
    @pytest.mark.parametrize("version", [None, 0, 2, "1", [1], 10**30])
    def test_another_version(self, version: Any) -> None:
        with pytest.raises(UnsupportedState, match="version 1 is needed"):
            StreamStore.load({**json.loads(full_save()), "version": version})

    @pytest.mark.parametrize("saved", [None, [], 1, {}, {"version": 1}, {"sessions": []}])
    def test_what_is_no_saved_store(self, saved: Any) -> None:
        with pytest.raises(UnsupportedState):
            StreamStore.load(saved)

    def test_a_protocol_that_is_not_installed_is_said_to_be_unknown(self) -> None:
        with pytest.raises(UnknownProtocol, match="of tomorrow"):
            StreamStore.load({**json.loads(full_save()), "protocol": "of tomorrow"})

    @pytest.mark.parametrize(
        "member",
        "protocol delivery tick epoch resync streams counts shown sessions generation gaps".split(),
    )
    def test_a_missing_member(self, member: str) -> None:
        saved = json.loads(full_save())
        del saved[member]
        with pytest.raises(UnsupportedState):
            StreamStore.load(saved)

    @pytest.mark.parametrize(
        "member, wrong",
        [
            ("protocol", [None, 1, ""]),
            ("delivery", [None, "other", []]),
            ("tick", [None, True, -1, "1", 2**63]),
            ("epoch", [None, True, -1, "1"]),
            ("generation", ["", 1]),
            ("resync", [None, [], {"s": 1}, {"": "why"}]),
            ("streams", [None, [1], [{}], [{"protocol": "native", "events": "1", "eventId": ""}]]),
            ("counts", [None, {}, {"verdicts": [1]}]),
            ("shown", [None, [1], [["s"]]]),
            ("sessions", [None, [None], [{}], [{"id": ""}]]),
            ("gaps", [None, [1], [["s"]]]),
        ],
    )
    def test_a_member_of_another_type(self, member: str, wrong: list[Any]) -> None:
        for value in wrong:
            with pytest.raises(UnsupportedState):
                StreamStore.load({**json.loads(full_save()), member: value})

    def test_a_number_of_a_row_that_is_none(self) -> None:
        saved = json.loads(full_save())
        rows = [saved["sessions"][2]]
        for message in rows[0]["messages"]:
            rows += [message, *message["blocks"]]
        tried = 0
        for row in rows:
            for name, value in list(row.items()):
                if type(value) is int and name not in ("index", "order"):
                    for wrong in (str(value), float(value), None, [value]):
                        row[name] = wrong
                        with pytest.raises(UnsupportedState):
                            StreamStore.load(saved)
                        tried += 1
                    row[name] = value
        assert tried > 20
        StreamStore.load(saved)

    @pytest.mark.parametrize(
        "event", [None, {}, {"type": "of tomorrow"}, {"type": "block.delta", "text": 1}]
    )
    def test_a_held_event_that_is_none(self, event: Any) -> None:
        saved = json.loads(full_save())
        found = [holder for holder in objects(saved) if "~event" in holder]
        assert found
        found[0]["~event"] = event
        with pytest.raises(UnsupportedState):
            StreamStore.load(saved)

    def test_a_value_that_nests_without_end(self) -> None:
        saved = json.loads(full_save())
        deep: Json = []
        for _ in range(5000):
            deep = [deep]
        saved["sessions"][0]["waiting"] = [["g", deep]]
        with pytest.raises(UnsupportedState):
            StreamStore.load(saved)

    def test_two_sessions_where_one_is_shown_that_is_not_there(self) -> None:
        saved = json.loads(full_save())
        saved["shown"].append("nowhere")
        with pytest.raises(UnsupportedState):
            StreamStore.load(saved)


def objects(value: Json) -> Iterator[dict[str, Json]]:
    """Every object of a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from objects(item)


def paths(value: Json, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value inside a JSON value."""
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield (*at, name)
            yield from paths(value[name], (*at, name))


_WRONG: list[Json] = [
    None, True, -1, 2**70, 1.5, "", "wrong", [], {}, [1], [[1, 2]], {"a": 1}, {"~tuple": []},
    {"~of tomorrow": 1}, {"~cell": {}}, {"~fields": []},
]  # fmt: skip


#: What comes next for each session: something for every member that a save has.
_NEXT: list[Json] = [
    delta("a", 2), delta("b", 4), delta("c", 30), delta("d"), delta("e", 1, blockIndex="name"),
    {"type": "session.state", "seq": 6, "patch": [{"op": "add", "path": "/list/0", "value": 2}]},
    {"type": "session.state", "seq": 40, "patch": [{"op": "add", "path": "/list/0", "value": 3}]},
    {"type": "tool.result", "callId": "c", "fields": {"state": {"status": "completed"}}},
    {"type": "block.opened", "messageId": "m", "blockIndex": 7, "kind": "tool", "callId": "unknown"},
    {"type": "permission.replied", "id": "r"},
    {"type": "question.asked", "id": "q", "seq": 41},
    {"type": "session.error", "error": {"name": "F"}},
    {"type": "message.updated", "messageId": "m", "info": {"time": {"created": 1}}, "seq": 42},
    {"type": "message.closed", "messageId": "ended", "status": "completed", "seq": 43},
    {"type": "block.removed", "messageId": "m", "blockIndex": 0, "seq": 44},
    {"type": "block.opened", "messageId": "m", "blockIndex": 0, "kind": "text", "seq": 45},
    {"type": "message.reset", "messageId": "m", "seq": 46},
    {"type": "message.rollback", "messageId": "local"},
    {"type": "stream.opened", "generation": "g2"},
    {"type": "session.removed", "seq": 47},
]  # fmt: skip


class TestMutations:
    """A save with one thing wrong is refused, or is one to read and to go on with; nothing else."""

    def attempt(self, saved: Json) -> bool:
        try:
            loaded = StreamStore.load(saved, ticks="manual")
        except UnsupportedState as error:
            assert str(error).startswith(("this is no saved", "a saved store", "unknown kind"))
            return False
        except UnknownProtocol:
            return False
        for session_id in loaded.session_ids():
            loaded.session(session_id)
            for message in loaded.messages(session_id):
                for part in loaded.parts(session_id, message.id):
                    assert isinstance(part.text, str)
        loaded.flush()
        for mode in ("block", "session", "sparse", "none"):
            stream = loaded.open("native", sequencing=mode)  # type: ignore[arg-type]
            for wire in _NEXT:
                stream.ingest({**wire, "sessionId": mode})
                loaded.flush()
        loaded.state()
        StreamStore.load(through_json(loaded.save()))
        return True

    @pytest.mark.parametrize(
        ("place", "wrong"),
        [
            ("sessions 2 messages 0 blocks 0 seqs 0", "x"),
            ("sessions 2 messages 0 blocks 0 seqs", []),
            ("sessions 2 messages 0 blocks 0 ops 0", 1.5),
            ("sessions 2 messages 0 blocks 0 cell ~cell base", -2),
            ("sessions 2 messages 0 blocks 0 cell ~cell cut", 1_000),
            ("sessions 2 messages 0 exists", False),
            ("sessions 2 messages 0 shown", None),
            ("sessions 2 base ~tuple 0", "x"),
            ("sessions 2 patches 0", "x"),
            ("sessions 0 messages 0 blocks 0 held ~table 0 1", 2),
            ("sessions 1 waiting 0 1", "x"),
            ("sessions 3 permissions ~table 0 1", 0),
            ("sessions 3 permissions ~table 0 1 ~request id", []),
            ("sessions 3 answered ~table 0 1", "x"),
            ("sessions 3 results ~table 0 1 0", True),
            ("sessions 3 errors 0", {"~tuple": [1]}),
            ("sessions 3 own ~fields 0 status", 1),
            ("sessions 3 messages 0 entity ~fields 0 order", [None]),
            ("counts verdicts 0 1", 0),
            ("counts characters received", {}),
            ("shown", ["block"]),
        ],
    )
    def test_what_something_later_relies_on_is_refused(self, place: str, wrong: Json) -> None:
        saved = holder = json.loads(full_save())
        *above, last = [int(name) if name.isdigit() else name for name in place.split()]
        for name in above:
            holder = holder[name]
        assert holder[last] != wrong
        holder[last] = wrong
        assert not self.attempt(saved)

    @settings(max_examples=4 * settings().max_examples)
    @given(st.data())
    def test_one_value_is_another(self, data: st.DataObject) -> None:
        saved = json.loads(full_save())
        place = data.draw(st.sampled_from(list(paths(saved))))
        holder = saved
        for name in place[:-1]:
            holder = holder[name]
        holder[place[-1]] = data.draw(st.sampled_from(copy.deepcopy(_WRONG)))
        self.attempt(saved)

    @given(st.data())
    def test_one_value_is_missing(self, data: st.DataObject) -> None:
        saved = json.loads(full_save())
        place = data.draw(st.sampled_from(list(paths(saved))))
        holder = saved
        for name in place[:-1]:
            holder = holder[name]
        del holder[place[-1]]
        self.attempt(saved)

    @given(st.data())
    def test_two_values_changed_places(self, data: st.DataObject) -> None:
        saved = json.loads(full_save())
        found = list(paths(saved))
        first, second = (data.draw(st.sampled_from(found)) for _ in range(2))
        values = []
        for place in (first, second):
            holder = saved
            for name in place[:-1]:
                holder = holder[name]
            values.append((holder, place[-1], holder[place[-1]]))
        (one, at, value), (other, there, instead) = values
        one[at], other[there] = copy.deepcopy(instead), copy.deepcopy(value)
        self.attempt(saved)

    def test_the_save_itself_is_loaded(self) -> None:
        assert self.attempt(json.loads(full_save()))


def test_the_json_of_a_save_is_no_path() -> None:
    text = full_save()
    with pytest.raises(CallerError, match=r"json\.loads") as caught:
        StreamStore.load(text)
    assert len(str(caught.value)) < 200


def test_a_path_may_begin_with_a_brace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = full_store()
    write_state(store.save(), "{a1b2}.state")
    assert StreamStore.load("{a1b2}.state").state() == store.state()


def test_what_was_taken_in_before_is_a_duplicate_after() -> None:
    store = full_store()
    loaded = reload(store)
    stream = loaded.open("native", sequencing="sparse")
    for seq in (1, 3, 5):
        assert stream.ingest(delta("again", seq, sessionId="sparse")).kind == "duplicate"
    ids = loaded.open("native", sequencing="none")
    wire = {"type": "session.updated", "sessionId": "none", "info": {"a": 2}, "id": "event"}
    assert ids.ingest(wire).kind == "duplicate"
    assert loaded._tables.parts[PartKey("sparse", "m", 0)] is not None


class TestFiles:
    def test_a_state_is_kept_in_a_file(self, tmp_path: Any) -> None:
        store, path = full_store(), tmp_path / "chat.state"
        saved = store.save(path)
        assert StreamStore.load(path).save() == StreamStore.load(str(path)).save() == saved
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(UnsupportedState):
            StreamStore.load(path)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_store_is_saved_and_not_copied(copied: Callable[[StreamStore], object]) -> None:
    with pytest.raises(TypeError, match=r"load\(\) what save\(\) gives"):
        copied(StreamStore())


SAMPLES = [
    *(
        sample(mode, seed=seed)
        for mode in ("block", "session", "sparse", "none")
        for seed in (1, 2)
    ),
    *(
        Log.read(ROOT / "tests" / "data" / path, protocol=path.partition("/")[0])
        for path in (
            "opencode/tools/stream.sse",
            "openai-responses/function-calls-interleaved/stream.sse",
            "ag-ui/interrupt/stream.sse",
        )
    ),
]


@pytest.mark.parametrize("log", SAMPLES, ids=lambda log: f"{log.protocol} {log.sequencing or ''}")
def test_a_saved_state_stays_as_it_was_while_its_store_and_those_it_was_loaded_by_go_on(
    log: Log,
) -> None:
    wires = log.wires
    saves = []
    store = StreamStore(log.protocol, ticks="manual")
    stream = store.open(log.protocol, sequencing=log.sequencing)
    for place, wire in enumerate(wires):
        if place % (len(wires) // 5) == 0:
            saved = store.save()
            saves.append((place, saved, through_json(saved)))
        stream.ingest(wire)
        if place % 3 == 0:
            store.flush()
    store.flush()
    for place, saved, as_it_was in saves:
        for _ in range(2):
            loaded = StreamStore.load(saved, ticks="manual")
            loaded.open(log.protocol, sequencing=log.sequencing).ingest_many(wires[place:])
            loaded.flush()
            assert loaded.state()["sessions"] == store.state()["sessions"]
            assert saved == as_it_was
