"""The A2A adapter: recorded tasks against the package's task manager, both spellings, subscribing.

What the package made of each stream is recorded beside it (`tests/data/a2a/README.md`).
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wires import (
    JSON,
    assert_chunks_do_not_show,
    assert_detection_is_sure,
    assert_every_tick_is_a_prefix,
    assert_no_law_broken,
    assert_saves_resume,
    assert_total,
    encoded,
    fold,
    logged,
    mutated,
    verdicts,
)

from streamstore import StreamStore
from streamstore.adapters.a2a import A2aAdapter
from streamstore.adapters.base import Context
from streamstore.testing import LAWS

Wire = dict[str, Any]
PROTOCOL = "a2a"
DATA = Path(__file__).resolve().parent / "data" / PROTOCOL
NAMES = sorted(file.stem for file in DATA.glob("*.jsonl"))
CASES = {name: logged(PROTOCOL, f"{name}.jsonl") for name in NAMES}
EVENTS = [wire for wires in CASES.values() for wire in wires]
each_case = pytest.mark.parametrize("name", NAMES)

#: There is no task manager of 0.3 left to ask.
OLD = [
    {
        "task": {
            "id": "t1",
            "contextId": "c1",
            "kind": "task",
            "status": {"state": "completed"},
            "history": [
                {
                    "messageId": "m0",
                    "role": "user",
                    "kind": "message",
                    "parts": [{"kind": "text", "text": "hi"}],
                },
                {
                    "messageId": "m1",
                    "role": "agent",
                    "kind": "message",
                    "parts": [{"kind": "text", "text": "starting"}],
                },
            ],
            "artifacts": [
                {
                    "artifactId": "a1",
                    "parts": [
                        {"kind": "text", "text": "one "},
                        {"kind": "text", "text": "two"},
                        {"kind": "data", "data": {"a": 1}},
                    ],
                }
            ],
        }
    }
]


def final_of(name: str) -> Any:
    if name == "version-0.3":
        return OLD
    return json.loads((DATA / f"{name}.final.json").read_bytes())


def status(state: str, message: str | None = None, task: str = "t1", **members: Any) -> Wire:
    said: Wire = {"state": f"TASK_STATE_{state}"}
    if message is not None:
        said["message"] = {"messageId": message, "role": "ROLE_AGENT", "parts": [{"text": message}]}
    return {"statusUpdate": {"taskId": task, "contextId": "c1", "status": said, **members}}


def artifact(*texts: str, id: str = "a1", task: str = "t1", **members: Any) -> Wire:
    made = {"artifactId": id, "parts": [{"text": text} for text in texts]}
    return {"artifactUpdate": {"taskId": task, "contextId": "c1", "artifact": made, **members}}


def task(state: str = "WORKING", *artifacts: Wire, **members: Any) -> Wire:
    said = {"id": "t1", "contextId": "c1", "status": {"state": f"TASK_STATE_{state}"}, **members}
    if artifacts:
        said["artifacts"] = [wire["artifactUpdate"]["artifact"] for wire in artifacts]
    return {"task": said}


def fed(*wires: Any) -> StreamStore:
    return fold(PROTOCOL, copy.deepcopy(list(wires)))


def texts(store: StreamStore, session: str = "c1") -> dict[str, list[str]]:
    store.flush()
    return {
        message.id: [part.text for part in store.parts(session, message.id)]
        for message in store.messages(session)
    }


def statuses(store: StreamStore) -> dict[str, str]:
    store.flush()
    return {message.id: message.status for message in store.messages("c1")}


# --- recorded streams -----------------------------------------------------------------------------


def test_no_case_is_lost() -> None:
    assert NAMES == ["message", "question", "run", "subscribed-again", "version-0.3"]


@each_case
@pytest.mark.parametrize("policy", ["lenient", "strict"])
@pytest.mark.parametrize("framing", ["frames", "lines"])
def test_the_bytes_end_in_the_task_of_the_package(name: str, policy: Any, framing: str) -> None:
    lines = (DATA / f"{name}.jsonl").read_bytes().splitlines()
    store = StreamStore()
    stream = store.open(PROTOCOL, policy=policy)
    for line in lines:
        stream.feed(b"data: " + line + b"\n\n" if framing == "frames" else line + b"\n")
    stream.end()
    store.flush()
    assert encoded(store, PROTOCOL) == final_of(name)
    assert verdicts(store) == {"accepted": len(lines)}
    assert set(store.session_ids()) == {"c1"}
    assert store.health.gaps == ()


@each_case
def test_what_is_given_back_is_the_same_task_again(name: str) -> None:
    assert encoded(fed(*final_of(name)), PROTOCOL) == final_of(name)


@each_case
def test_what_is_shown_is_a_prefix_of_what_it_becomes(name: str) -> None:
    assert_every_tick_is_a_prefix(PROTOCOL, CASES[name])


@each_case
def test_chunks_do_not_show(name: str) -> None:
    assert_chunks_do_not_show(PROTOCOL, CASES[name])


@each_case
def test_saved_at_any_cut(name: str) -> None:
    assert_saves_resume(PROTOCOL, CASES[name])


@each_case
def test_no_law_is_broken(name: str) -> None:
    outcomes = assert_no_law_broken(CASES[name])
    assert set(outcomes) == set(LAWS)
    assert outcomes["L3"] == outcomes["L4"] == outcomes["L6"] == "kept"


def test_ours_are_recognised() -> None:
    assert_detection_is_sure(PROTOCOL)
    for wire in EVENTS:
        assert A2aAdapter.detects(wire)
    assert not A2aAdapter.detects({"message": {"parts": []}})
    assert not A2aAdapter.detects({"jsonrpc": "2.0", "id": 1, "result": {}})
    assert not A2aAdapter.detects({"task": {"id": "t"}, "other": 1})


# --- tasks ----------------------------------------------------------------------------------------


def test_an_update_with_append_adds_parts_and_one_without_replaces() -> None:
    store = fed(artifact("a"), artifact("b", "c", append=True), artifact("d", append=True))
    assert texts(store) == {"t1/a1": ["a", "b", "c", "d"]}
    assert statuses(store) == {"t1/a1": "open"}
    store.open(PROTOCOL).ingest_many([artifact("e"), artifact("f", append=True, lastChunk=True)])
    assert texts(store) == {"t1/a1": ["e", "f"]}
    assert statuses(store) == {"t1/a1": "completed"}


def test_an_artifact_that_is_replaced_by_none_of_its_parts_is_empty() -> None:
    store = fed(artifact("a"), artifact())
    assert texts(store) == {"t1/a1": []}
    assert encoded(store, PROTOCOL)[0]["task"]["artifacts"] == [{"artifactId": "a1", "parts": []}]
    store.open(PROTOCOL).ingest_many([artifact("b", append=True), task("WORKING", artifact())])
    assert texts(store) == {"t1/a1": []}


def test_the_same_artifact_id_in_two_tasks_is_two() -> None:
    store = fed(artifact("a"), artifact("b", task="t2"), artifact("c", append=True))
    assert texts(store) == {"t1/a1": ["a", "c"], "t2/a1": ["b"]}
    assert [wire["task"]["id"] for wire in encoded(store, PROTOCOL)] == ["t1", "t2"]


def test_parts_for_an_artifact_that_never_began() -> None:
    wire = artifact("a", append=True)
    assert texts(fed(wire, artifact("b", append=True))) == {"t1/a1": ["a", "b"]}
    store = StreamStore()
    stream = store.open(PROTOCOL, policy="strict")
    stream.ingest(artifact("x", id="a0"))
    assert stream.ingest(wire).reason == "stopped"
    assert stream.ingest(artifact("a")).reason == "stopped"
    assert texts(store) == {"t1/a0": ["x"]}


ENDS = {"COMPLETED": "completed", "FAILED": "error", "REJECTED": "error", "CANCELED": "aborted"}


@pytest.mark.parametrize(("state", "expected"), ENDS.items())
def test_the_end_of_a_task_closes_what_it_made(state: str, expected: str) -> None:
    store = fed(status("WORKING"), artifact("a"))
    session = store.session("c1")
    assert session is not None and session.status is not None and session.status.type == "busy"
    assert statuses(store) == {"t1/a1": "open"}
    store.open(PROTOCOL).ingest(status(state))
    assert statuses(store) == {"t1/a1": expected}
    session = store.session("c1")
    assert session is not None and session.status is not None and session.status.type == "idle"


def test_a_question_is_asked_until_the_task_goes_on() -> None:
    store = fed(status("INPUT_REQUIRED", "which?"), status("INPUT_REQUIRED", "still: which?"))
    assert asked(store) == {"t1 ": "still: which?"}
    store.open(PROTOCOL).ingest(status("WORKING"))
    assert asked(store) == {}
    (found,) = encoded(store, PROTOCOL)
    history = [message["messageId"] for message in found["task"]["history"]]
    assert history == ["which?", "still: which?"]


@pytest.mark.parametrize("framed", [{}, {"jsonrpc": "2.0", "id": 1}])
def test_an_error_is_of_the_session_that_its_stream_spoke_of(framed: Wire) -> None:
    error = {"code": 500, "status": "INTERNAL", "message": "unknown exception"}
    store = fed(status("WORKING"), artifact("a"))
    store = StreamStore.load(json.loads(json.dumps(store.save())))
    store.open(PROTOCOL).ingest({"error": error, **framed})
    store.flush()
    session = store.session("c1")
    assert session is not None and session.status is not None
    assert [said["message"] for said in session.errors] == ["unknown exception"]
    assert (store.session_ids(), session.status.type) == (("c1",), "idle")
    assert fed({"error": error, **framed}).session_ids() == ("main",)
    assert verdicts(fed({"error": "x", **framed})) == {"malformed": 1}


def test_what_a_user_says_to_a_task_is_of_its_history() -> None:
    said = {"messageId": "u2", "role": "ROLE_USER", "parts": [{"text": "this"}]}
    sent = {**said, "contextId": "c1", "taskId": "t1"}
    wires = [status("INPUT_REQUIRED", "which?"), {"message": sent}, status("COMPLETED", "done")]
    (found,) = encoded(fed(*wires), PROTOCOL)
    assert [each["messageId"] for each in found["task"]["history"]] == ["which?", "u2"]
    fetched = task("COMPLETED", history=[{**said, "messageId": "u1"}, *found["task"]["history"]])
    assert list(texts(fed(*wires, fetched))) == ["u1", "which?", "u2", "done"]


def test_the_spelling_of_version_0_3_over_rest() -> None:
    said = {"messageId": "m1", "role": "ROLE_AGENT", "content": [{"text": "which?"}]}
    waits = {"state": "TASK_STATE_INPUT_REQUIRED", "message": said}
    wire = {"statusUpdate": {"taskId": "t1", "contextId": "c1", "status": waits}}
    store = fed({"message": {**said, "messageId": "m0", "contextId": "c1"}}, wire, artifact("a"))
    assert texts(store) == {"m0": ["which?"], "m1": ["which?"], "t1/a1": ["a"]}
    store.ingest(status("CANCELLED"))
    assert statuses(store)["t1/a1"] == "aborted" and asked(store) == {}
    first, second = encoded(store, PROTOCOL)
    assert first["message"]["content"] == [{"text": "which?"}]
    assert second["task"]["history"] == [said]
    assert A2aAdapter.detects({"message": said})
    assert verdicts(fed({"message": {**said, "content": "x"}})) == {"malformed": 1}


def asked(store: StreamStore) -> dict[str, str | None]:
    """What the questions that wait are about."""
    store.flush()
    session = store.session("c1")
    assert session is not None
    return {name: question.message_id for name, question in session.questions.items()}


def test_a_task_asks_as_often_as_it_has_to() -> None:
    store = fed(status("WORKING"))
    stream = store.open(PROTOCOL)
    for number, question in enumerate(("which?", "really?", "why?")):
        stream.ingest(status("INPUT_REQUIRED", question))
        expected = {"t1" + " " * number: question}
        assert asked(store) == expected
        # The same one again, as who subscribes again and who only fetches the state gets it.
        stream.ingest(status("INPUT_REQUIRED", question))
        stream.ingest(task("INPUT_REQUIRED"))
        assert asked(store) == expected
        if question != "which?":
            stream.ingest(status("WORKING"))
            assert asked(store) == {}
    stream.ingest(status("INPUT_REQUIRED", "a password?"))
    stream.ingest(status("AUTH_REQUIRED"))
    assert asked(store) == {"t1    ": None}
    loaded = StreamStore.load(json.loads(json.dumps(store.save())))
    loaded.open(PROTOCOL).ingest(status("COMPLETED"))
    assert asked(loaded) == {}
    assert verdicts(loaded)["accepted"] == verdicts(store)["accepted"] + 1


def test_subscribing_again_rebuilds_the_task_and_doubles_nothing() -> None:
    store = fed(artifact("a"), artifact("b", append=True), artifact("old", id="a2"))
    stream = store.open(PROTOCOL)
    version = store.version
    stream.ingest(task("WORKING", artifact("a", "b")))
    store.flush()
    assert not store.pull(version).text
    assert texts(store) == {"t1/a1": ["a", "b"]}
    stream.ingest(artifact("c", append=True))
    assert texts(store) == {"t1/a1": ["a", "b", "c"]}
    # An artifact that a task lacked may come again.
    stream.ingest(artifact("new", id="a2"))
    assert texts(store)["t1/a2"] == ["new"]


@pytest.mark.parametrize("taken", range(6))
@pytest.mark.parametrize("fetched", range(5))
def test_a_task_fetched_while_its_stream_is_open_neither_doubles_nor_loses(
    fetched: int, taken: int
) -> None:
    words = ["one ", "two ", "two ", "three"]
    wires = [artifact(word, append=number > 0) for number, word in enumerate(words)]
    wires[-1]["artifactUpdate"]["lastChunk"] = True
    wires.append(status("COMPLETED"))
    store = StreamStore(PROTOCOL)
    stream = store.open(PROTOCOL)
    read = task("WORKING", artifact(*words[:fetched])) if fetched else task()
    stream.ingest_many(wires[:taken])
    store.open(PROTOCOL).ingest(read)
    stream.ingest_many(wires[taken:])
    assert texts(store) == {"t1/a1": words}
    # A read without an artifact may as well be of a list of tasks: it says a status.
    if taken < len(wires) or fetched in range(1, len(words)):
        (given,) = encoded(store, PROTOCOL)
        assert given["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


def test_two_streams_of_one_task_bring_it_once() -> None:
    wires = [artifact("a"), artifact("b", append=True), artifact("b", append=True)]
    store = StreamStore(PROTOCOL)
    one, two = store.open(PROTOCOL), store.open(PROTOCOL)
    one.ingest(wires[0])
    two.ingest(task("WORKING", wires[0]))
    for wire in wires[1:]:
        one.ingest(wire)
        two.ingest(wire)
    assert texts(store) == {"t1/a1": ["a", "b", "b"]}


def test_a_stream_that_begins_with_an_older_task_brings_nothing_twice() -> None:
    chunks = [artifact(word, append=number > 0) for number, word in enumerate("abcd")]
    store = StreamStore(PROTOCOL)
    one, two = store.open(PROTOCOL), store.open(PROTOCOL)
    one.ingest_many(chunks[:3])
    two.ingest(task("WORKING", artifact("a", "b")))
    two.ingest_many(chunks[2:])
    one.ingest(chunks[3])
    assert texts(store) == {"t1/a1": ["a", "b", "c", "d"]}
    two.ingest(task("WORKING", artifact("a", "b", "c")))  # what it brought itself, it takes back
    assert texts(store) == {"t1/a1": ["a", "b", "c"]}


def test_a_task_that_has_ended_is_not_older_than_what_its_stream_brought() -> None:
    store = StreamStore(PROTOCOL)
    store.open(PROTOCOL).ingest_many([artifact("a"), artifact("", append=True)])
    store.open(PROTOCOL).ingest(task("COMPLETED", artifact("a")))
    assert texts(store) == {"t1/a1": ["a"]}
    (given,) = encoded(store, PROTOCOL)
    assert given["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


@pytest.mark.parametrize("data", [{1: "a", "b": 2}, 10**5000], ids=["keys", "number"])
def test_a_part_that_json_cannot_say_is_taken_as_it_is(data: Any) -> None:
    wire = artifact("a")
    wire["artifactUpdate"]["artifact"]["parts"] = [{"data": data}]
    store = StreamStore(PROTOCOL)
    assert store.open(PROTOCOL).ingest(wire).kind == "accepted"
    store.flush()
    (message,) = store.messages("c1")
    assert [part.kind for part in store.parts("c1", message.id)] == ["data"]


@pytest.mark.parametrize("state", ["WORKING", "FAILED"])
def test_an_artifact_whose_last_chunk_came_stays_complete_in_a_task_that_comes_again(
    state: str,
) -> None:
    ended = artifact("e", lastChunk=True)
    begun = artifact("f", id="a2")
    again = task(state, ended, begun)
    store = fed(task(), ended, begun, again, again)
    other = {"WORKING": "open", "FAILED": "error"}[state]
    assert statuses(store) == {"t1/a1": "completed", "t1/a2": other}


def test_a_task_that_is_fetched_with_a_part_of_its_history_keeps_the_rest() -> None:
    def said(id: str) -> Wire:
        return {"messageId": id, "role": "ROLE_USER", "parts": [{"text": id}]}

    store = fed(task(history=[said("m1"), said("m2")]), task(history=[said("m2"), said("m3")]))
    assert list(texts(store)) == ["m1", "m2", "m3"]


def test_what_a_fetched_history_has_before_what_is_there_stands_before_it() -> None:
    history = [{"messageId": f"m{number}", "role": "ROLE_AGENT"} for number in range(8)]
    earlier = {"message": {"messageId": "s0", "contextId": "c1", "role": "ROLE_USER"}}
    made = [artifact("a", id="a0"), artifact("b")]
    store = fed(earlier, made[0], status("WORKING", "m2"), made[1], status("WORKING", "m5"))
    stream = store.open(PROTOCOL)
    for _ in range(2):
        stream.ingest(task("WORKING", *made, history=history))
        stood = ["s0", "m0", "m1", "t1/a0", "m2", "m3", "m4", "t1/a1", "m5", "m6", "m7"]
        assert list(texts(store)) == stood
    # One that the store has in another order than the history stays where it is.
    stream.ingest(task("WORKING", *made, history=[history[5], {"messageId": "n"}, history[2]]))
    assert [name for name in texts(store) if name != "n"] == stood


def test_the_session_is_the_context_unless_the_stream_is_for_one() -> None:
    other = {"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [], "contextId": "c2"}}
    assert set(fed(artifact("a"), other).session_ids()) == {"c1", "c2"}
    store = StreamStore()
    store.open(PROTOCOL, session_id="mine").ingest_many([artifact("a"), other])
    store.flush()
    assert set(store.session_ids()) == {"mine"}
    assert set(fed({"message": {"messageId": "m", "parts": []}}).session_ids()) == {"main"}


def test_snake_case_and_bare_objects() -> None:
    wire = artifact("a")["artifactUpdate"]
    snake = {
        "artifact_update": {
            "task_id": "t1",
            "context_id": "c1",
            "artifact": {"artifact_id": "a1", "parts": wire["artifact"]["parts"]},
        }
    }
    assert A2aAdapter.detects(snake)
    assert encoded(fed(snake), PROTOCOL) == encoded(fed(artifact("a")), PROTOCOL)
    fetched = task("COMPLETED", artifact("a"))
    assert encoded(fed(fetched["task"]), PROTOCOL) == [fetched]
    assert encoded(fed({"jsonrpc": "2.0", "id": 1, "result": fetched}), PROTOCOL) == [fetched]


def test_errors_requests_and_what_is_not_known() -> None:
    error = {"code": -32001, "message": "Task not found"}
    store = fed(
        {"jsonrpc": "2.0", "id": 1, "error": error},
        {"jsonrpc": "2.0", "id": 2, "method": "message/stream", "params": {}},
        {"kind": "new-thing"},
        {"artifactUpdate": {"taskId": 7}},
        artifact("a")["artifactUpdate"] | {"kind": "artifact-update", "artifact": {}},
    )
    assert store.health.counts["verdicts"] == {
        "accepted": 2,
        "unknown:new-thing": 1,
        "malformed:artifactUpdate.taskId": 1,
        "malformed:artifact.artifactId": 1,
    }
    session = store.session("main")
    assert session is not None and session.errors[0]["message"] == "Task not found"


def test_kinds_of_parts() -> None:
    parts: list[Wire] = [
        {"text": "t", "metadata": {"m": 1}},
        {"url": "u", "mediaType": "m"},
        {"raw": "AA=="},
        {"data": {"a": 1}},
        {"kind": "file", "file": {"uri": "u"}},
        {"odd": 1},
    ]
    wire = {"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": parts}}
    store = fed(wire)
    kinds = [part.kind for part in store.parts("main", "m")]
    assert kinds == ["text", "file", "file", "data", "file", "unknown"]
    assert encoded(store, PROTOCOL) == [wire]


# --- the package ----------------------------------------------------------------------------------

WHY = "a2a-sdk is no part of the dev extra: pip install a2a-sdk"


@pytest.mark.parametrize("seed", range(15))
def test_random_streams_end_in_the_task_of_the_package(seed: int) -> None:
    types = pytest.importorskip("a2a.types", reason=WHY)
    tasks = pytest.importorskip("a2a.server.tasks", reason=WHY)
    context = pytest.importorskip("a2a.server.context", reason=WHY)
    json_format = pytest.importorskip("google.protobuf.json_format", reason=WHY)
    draw = random.Random(seed)
    manager = tasks.TaskManager(
        tasks.InMemoryTaskStore(), context.ServerCallContext(), None, None, None
    )
    store = StreamStore()
    stream = store.open(PROTOCOL, policy="strict")
    begun: set[str] = set()
    for number in range(25):
        if draw.random() < 0.3:
            wire = status(
                draw.choice(["WORKING", "INPUT_REQUIRED"]),
                draw.choice([None, f"m{number}"]),
                metadata={draw.choice("ab"): float(number)},
            )
        else:
            name = draw.choice(["a1", "a2", "a3"])
            append = name in begun and draw.random() < 0.8
            begun.add(name)
            words = [
                draw.choice(["one ", "é", "\U0001f600"]) for _ in range(draw.choice([0, 1, 2]))
            ]
            wire = artifact(*words, id=name, append=append)
            wire["artifactUpdate"]["artifact"]["metadata"] = {draw.choice("xy"): float(number)}
        response = json_format.ParseDict(wire, types.StreamResponse())
        update = response.status_update if "statusUpdate" in wire else response.artifact_update
        asyncio.run(manager.process(update))
        assert stream.ingest(wire).kind == "accepted"
        store.flush()
        (mine,) = encoded(store, PROTOCOL)
        theirs = json_format.MessageToDict(asyncio.run(manager.get_task()))
        for made in theirs.get("artifacts", []):
            made.setdefault("parts", [])  # it leaves out what is empty
        assert mine["task"].pop("artifacts", []) == theirs.pop("artifacts", [])
        theirs["status"].pop("timestamp", None)
        theirs.setdefault("status", {})
        if theirs["status"] != {"state": "TASK_STATE_SUBMITTED"}:
            assert mine["task"] == theirs


# --- hostile input --------------------------------------------------------------------------------


@given(st.lists(mutated(EVENTS) | JSON, max_size=5), st.integers(0, 9), st.sampled_from(NAMES))
def test_anything_is_events_or_a_reason(wires: list[Any], at: int, name: str) -> None:
    assert_total(PROTOCOL, wires, CASES[name][:at])


def test_memory_is_bounded() -> None:
    context = Context()
    adapter = A2aAdapter(context)
    adapter.decode(artifact("a"))
    for _ in range(100):
        adapter.decode(artifact("a", append=True))
    known = context.of_session("c1")["tasks"]["t1"]["artifacts"]["a1"]
    assert (known["parts"], len(known["trail"])) == (101, 64)
    del known["trail"][:]
    before = len(json.dumps([context.shared, context.own]))
    for _ in range(7):
        adapter.decode(artifact("a", append=True))
    assert len(json.dumps([context.shared, context.own])) == before
    for number in range(600):
        adapter.decode(artifact("a", task=f"t{number}", id=f"a{number}"))
    for number in range(1500):
        adapter.decode(artifact("a", id=f"a{number}"))
    memory = context.of_session("c1")
    assert (len(memory["tasks"]), len(memory["places"])) == (256, 1024)
    assert len(memory["tasks"]["t1"]["artifacts"]) == 1024
    assert len(context.own["brought"]["c1"]) == 1024
    for number in range(99):
        adapter.decode(
            {"artifactUpdate": {**artifact("a")["artifactUpdate"], "contextId": f"{number}"}}
        )
    assert len(context.own["brought"]) == 64


def test_the_info_of_a_context_holds_the_tasks_that_were_spoken_of_last() -> None:
    """A status copies and compares all of it, so that it may not grow with the context."""
    store = StreamStore(PROTOCOL, ticks="manual")
    most = 0
    for number in range(1_500):
        store.ingest(status("WORKING", task=f"t{number}"))
        if number % 200 == 0:
            store.ingest(status("WORKING", task="t0"))  # it goes on all the time
        store.flush()
        session = store.session("c1")
        assert session is not None
        most = max(most, len(session.info))
    assert most == 511
    assert {"task/t0", *(f"task/t{n}" for n in range(1_300, 1_500))} <= set(session.info)


def test_what_is_left_of_a_task_that_is_in_no_info_is_given_back() -> None:
    store = StreamStore(PROTOCOL, ticks="manual")
    store.ingest(artifact("one", task="old"))
    store.ingest(artifact("two", task="old", append=True))
    for number in range(600):
        store.ingest(status("WORKING", task=f"t{number}"))
    store.flush()
    found = encoded(store, PROTOCOL)
    (left,) = [wire for wire in found if "task" not in wire]
    assert left["artifactUpdate"]["taskId"] == "old"
    assert [part["text"] for part in left["artifactUpdate"]["artifact"]["parts"]] == ["one", "two"]
    again = StreamStore(PROTOCOL, ticks="manual")
    again.ingest_many(found)
    assert texts(again) == texts(store) == {"old/a1": ["one", "two"]}
