"""What fuzzing once found: each input stays one that is taken in, counted or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamstore import StreamStore, UnsupportedState
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
