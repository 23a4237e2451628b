"""What fuzzing once found: each input stays one that is taken in, counted or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamstore import StreamStore, UnsupportedState
from streamstore.adapters.base import Context
from streamstore.log import LogError, read_log
from streamstore.protocols import adapters

from . import seeds
from .doors import CONTROL, doors

AUTO = b"\x60\0\0"  # control bytes: the protocol is to be recognised
DOORS = doors()


@pytest.mark.parametrize("type_", [{}, {"": 1}, [], [None], [""], {"type": "text"}])
@pytest.mark.parametrize("name", adapters())
def test_a_first_event_whose_type_is_no_text(name: str, type_: Any) -> None:
    for framing in ("%s\n", "data: %s\n\n"):
        text = framing % json.dumps({"type": type_, "": []})
        DOORS[name].enter(AUTO + text.encode())
        DOORS[name].enter(bytes(CONTROL) + text.encode())


@pytest.mark.parametrize("member", ["provider", "providerMetadata", "state", "result"])
@pytest.mark.parametrize("wrong", [8, "x", ["a"], True])
def test_members_of_a_tool_call_that_are_no_objects(member: str, wrong: Any) -> None:
    data = {"assistantMessageID": "1", "callID": "d", "input": {}, "sessionID": "1", member: wrong}
    durable = {"aggregateID": "1", "seq": 3, "version": 1}
    for kind in ("called", "success", "failed"):
        wire = {
            "type": f"session.next.tool.{kind}",
            "data": data,
            "durable": durable,
            "id": "evt_1",
        }
        DOORS["opencode-v2"].enter(bytes(CONTROL) + json.dumps(wire).encode())


@pytest.mark.parametrize("head", [b"CREATE ", b"CREATE TABLE ", b"CREATE TABLE records "])
@pytest.mark.parametrize("wrong", [b"\xc5\xff", b"\xed\xa0\x80", b"\xf3 "])
def test_a_database_whose_schema_is_no_text(head: bytes, wrong: bytes, tmp_path: Path) -> None:
    for found in seeds.databases():
        at = found.index(b"CREATE TABLE records") + len(head)
        path = tmp_path / "log.sqlite"
        path.write_bytes(found[:at] + wrong + found[at + len(wrong) :])
        with pytest.raises(LogError), read_log(path) as log:
            list(log.read(on_loss=lambda _: None))


@pytest.mark.parametrize("wrong", [[], "x", 5, None])
def test_a_saved_part_whose_fields_are_no_object(wrong: Any) -> None:
    store = StreamStore("native")
    store.ingest_many(
        [{"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0, "text": "x"}]
    )
    saved = json.loads(json.dumps(store.save()))
    shown = saved["sessions"][0]["messages"][0]["blocks"][0]["shown"]["~tuple"]
    at = next(place for place, value in enumerate(shown) if isinstance(value, dict))
    shown[at] = {"~json": wrong}
    try:
        loaded = StreamStore.load(saved)
    except UnsupportedState:
        return
    json.dumps(loaded.state())


@pytest.mark.parametrize("wrong", [8, "x", ["a"], True])
def test_details_of_a_part_that_are_no_object(wrong: Any) -> None:
    part = {"provider_details": wrong, "part_kind": "thinking"}
    delta = {"provider_details": {"a": 2}, "part_delta_kind": "thinking"}
    wires = [
        {"event_kind": "part_start", "index": 0, "part": part},
        {"event_kind": "part_delta", "index": 0, "delta": delta},
    ]
    text = b"".join(json.dumps(wire).encode() + b"\n" for wire in wires)
    DOORS["pydantic-ai"].enter(bytes(CONTROL) + text)


def test_a_text_that_a_close_carries_is_no_text_for_the_books() -> None:
    wire = {
        "type": "block.closed",
        "messageId": "m",
        "blockIndex": 0,
        "text": "w",
        "generation": "2",
    }
    DOORS["native"].enter(bytes(CONTROL) + json.dumps(wire).encode() + b"\n")


@pytest.mark.parametrize("what", ["intervals of two lengths", "a reason that is a number"])
def test_a_saved_state_that_could_not_be_read(what: str) -> None:
    store = StreamStore("native")
    place = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
    stream = store.open("native", sequencing="session")
    stream.ingest_many([{"type": "block.delta", **place, "seq": 1, "text": "x"}])
    saved = json.loads(json.dumps(store.save()))
    if what.startswith("intervals"):
        saved["sessions"][0]["intervals"] = {"~intervals": [[1], [], 0]}
    else:
        saved["counts"]["verdicts"] = [["accepted", "", 1], ["accepted", 5, 1]]
    DOORS["load"].enter(bytes(CONTROL) + json.dumps(saved).encode())


@pytest.mark.parametrize("text", ["!", "", "later"])
def test_a_text_that_waits_to_replace_a_longer_one(text: str) -> None:
    """It is counted when it came, and the longer one is shown until its turn is over."""
    block = {"messageId": "m", "blockIndex": 0}
    wires = [
        {"type": "block.delta", **block, "text": "late"},
        {"type": "turn.completed"},
        {"type": "block.replaced", **block, "text": text},
    ]
    lines = b"".join(json.dumps(wire).encode() + b"\n" for wire in wires)
    DOORS["native"].enter(b"\x06\0\x07" + lines)  # buffered, a tick for each event, without seq


@pytest.mark.parametrize("name", ["", "\0", "\ud800", "x" * 5_000])
def test_a_saved_state_that_is_a_string(name: str) -> None:
    DOORS["load"].enter(bytes(CONTROL) + json.dumps(name).encode())


@pytest.mark.parametrize("name", adapters())
def test_what_one_protocol_filled_is_given_in_the_shape_of_every_other(name: str) -> None:
    for data in seeds.streams(name)[:4]:
        store = StreamStore(ticks="manual")
        store.open(name).feed(data)
        store.flush()
        for cls in adapters().values():
            json.dumps(cls(Context()).encode(store), allow_nan=False)


@pytest.mark.parametrize("wrong", [[], [[]], "x", 5, {"x": []}, {"status": []}])
@pytest.mark.parametrize("name", adapters())
def test_fields_that_a_protocol_never_gave_have_a_shape_in_it(name: str, wrong: Any) -> None:
    names = ("state", "wire", "input", "output", "content", "source", "metadata", "usage", "plans")
    store = StreamStore("native", ticks="manual")
    wires: list[dict[str, Any]] = [
        {"type": "session.updated", "info": dict.fromkeys(names, wrong)},
        {"type": "session.state", "state": wrong},
        {"type": "todo.updated", "todo": [wrong]},
        {"type": "message.opened", "messageId": "m", "role": "assistant",
         "info": dict.fromkeys(names, wrong)},
    ]  # fmt: skip
    for place, kind in enumerate(("text", "reasoning", "tool", "file", "data", "unknown")):
        block = {"messageId": "m", "blockIndex": place, "kind": kind}
        wires.append({"type": "block.opened", **block, **dict.fromkeys(names, wrong)})
        wires.append({"type": "block.delta", "messageId": "m", "blockIndex": place, "text": "x"})
    store.ingest_many(wires)
    store.flush()
    json.dumps(adapters()[name](Context()).encode(store), allow_nan=False)


_NAMED = {"type": "x", "kind": "", "seq": 9, "sessionId": "o", "blockIndex": 7,
          "status": "open", "whole": True, "order": 5, "time": {}}  # fmt: skip


@pytest.mark.parametrize("name", _NAMED)
def test_a_held_event_with_a_field_that_is_named_as_one_of_its_members(name: str) -> None:
    def sent(sequence: int, more: dict[str, Any]) -> dict[str, Any]:
        body = {"threadId": "t", "messageId": "m", "role": "assistant", "text": "whole", **more}
        body["streaming"] = False
        return {"sequence": sequence, "type": "thread.message-sent", "payload": body}

    more = {name: _NAMED[name]}
    store = StreamStore(ticks="manual")
    stream = store.open("t3code", sequencing="block")
    stream.ingest(sent(2, more))
    loaded = StreamStore.load(json.loads(json.dumps(store.save())), ticks="manual")
    for one in (stream, loaded.open("t3code", sequencing="block")):
        one.ingest(sent(1, {"text": "first"}))
    store.flush()
    loaded.flush()
    assert loaded.state()["sessions"] == store.state()["sessions"]
    part = loaded.part("t", "m", 0)
    assert part is not None and part.text == "whole"


@pytest.mark.parametrize("tick", [False, True])
@pytest.mark.parametrize("type_", ["block.delta", "block.opened", "block.closed", "block.removed"])
def test_a_closed_message_that_is_rebuilt_is_open_whenever_a_tick_comes(
    type_: str, tick: bool
) -> None:
    store = StreamStore("native", ticks="manual")
    stream = store.open("native", sequencing="none")
    block = {"messageId": "m", "blockIndex": 0}
    stream.ingest({"type": "block.delta", **block, "text": "old"})
    stream.ingest({"type": "message.closed", "messageId": "m", "status": "completed"})
    stream.ingest({"type": "message.reset", "messageId": "m"})
    if tick:
        store.flush()
    stream.ingest(
        {"type": type_, **block, "kind": "text", "text": "new"}
        if type_ != "block.opened"
        else {"type": type_, "messageId": "m", "blockIndex": 1, "kind": "text"}
    )
    store.flush()
    message = store.message("main", "m")
    assert message is not None and message.status == "open"


def test_a_saved_session_that_shows_what_is_no_json() -> None:
    store = StreamStore("native", ticks="manual")
    store.ingest({"type": "session.updated", "sessionId": "s", "info": {"title": "x"}})
    store.flush()
    saved = json.loads(json.dumps(store.save()))
    request = {"~request": {"id": "p", "session_id": "s", "message_id": None, "call_id": None,
                            "payload": {}}}  # fmt: skip
    saved["sessions"][0]["shown"]["~tuple"][2] = {"~tuple": [request]}
    DOORS["load"].enter(bytes(CONTROL) + json.dumps(saved).encode())
