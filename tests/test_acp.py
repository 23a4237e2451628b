"""The ACP adapter: recorded sessions against the package's accumulator, replays, both directions.

What the package made of each session is recorded beside it (`tests/data/acp/README.md`).
"""

from __future__ import annotations

import copy
import json
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
    shown,
    verdicts,
)

from streamstore import PartKey, StreamStore
from streamstore.adapters.acp import AcpAdapter
from streamstore.adapters.base import Context
from streamstore.events import PermissionReplied, QuestionReplied
from streamstore.testing import LAWS

Wire = dict[str, Any]
PROTOCOL = "acp"
DATA = Path(__file__).resolve().parent / "data" / PROTOCOL
NAMES = sorted(file.stem for file in DATA.glob("*.jsonl"))
CASES = {name: logged(PROTOCOL, f"{name}.jsonl") for name in NAMES}
EVENTS = [wire for wires in CASES.values() for wire in wires]
each_case = pytest.mark.parametrize("name", NAMES)


def snapshot_of(name: str) -> Any:
    return json.loads((DATA / f"{name}.snapshot.json").read_bytes())


def update(kind: str, session: str = "s1", /, **members: Any) -> Wire:
    params = {"sessionId": session, "update": {"sessionUpdate": kind, **members}}
    return {"jsonrpc": "2.0", "method": "session/update", "params": params}


def chunk(text: str, kind: str = "agent_message", session: str = "s1", **members: Any) -> Wire:
    content = {"type": "text", "text": text}
    return update(f"{kind}_chunk", session, content=content, **members)


def call(call_id: str = "c1", **members: Any) -> Wire:
    return update("tool_call", toolCallId=call_id, **{"title": "Read", **members})


def change(call_id: str = "c1", **members: Any) -> Wire:
    return update("tool_call_update", toolCallId=call_id, **members)


def request(id: Any, method: str, session: str = "s1", **params: Any) -> Wire:
    params = {"sessionId": session, **params}
    return {"jsonrpc": "2.0", "id": id, "method": f"session/{method}", "params": params}


def answer(id: Any, **result: Any) -> Wire:
    return {"jsonrpc": "2.0", "id": id, "result": result}


def fed(*wires: Any) -> StreamStore:
    return fold(PROTOCOL, copy.deepcopy(list(wires)))


def texts(store: StreamStore, session: str = "s1") -> list[list[str]]:
    store.flush()
    return [
        [part.text for part in store.parts(session, message.id) if part.kind != "tool"]
        for message in store.messages(session)
    ]


def tool_of(store: StreamStore, call_id: str = "c1") -> Any:
    store.flush()
    (found,) = (
        part.tool
        for message in store.messages("s1")
        for part in store.parts("s1", message.id)
        if part.fields.get("callId") == call_id
    )
    return found


def says(updates: list[Wire], kind: str) -> str:
    """All text of one kind of chunk."""
    contents = (item["content"] for item in updates if item["sessionUpdate"] == kind)
    return "".join(content.get("text", "") for content in contents)


# --- recorded sessions ----------------------------------------------------------------------------


def test_no_case_is_lost() -> None:
    assert NAMES == ["bare", "message-ids", "turn"]


@each_case
def test_the_bytes_end_in_what_the_package_makes_of_them(name: str) -> None:
    store = StreamStore()
    stream = store.open(PROTOCOL, session_id="s1")
    stream.feed((DATA / f"{name}.jsonl").read_bytes())
    stream.end()
    store.flush()
    assert verdicts(store) == {"accepted": len(CASES[name])}
    expected = snapshot_of(name)
    updates = [wire["update"] for wire in encoded(store, PROTOCOL)]
    tools = {item["toolCallId"]: item for item in updates if item["sessionUpdate"] == "tool_call"}
    assert tools.keys() == expected["tool_calls"].keys()
    members = {"title": "title", "kind": "kind", "status": "status", "content": "content"}
    members.update(locations="locations", raw_input="rawInput", raw_output="rawOutput")
    for call_id, tool in expected["tool_calls"].items():
        for theirs, mine in members.items():
            assert tools[call_id].get(mine) == tool.get(theirs)
    for kind, listed in (
        ("user_message_chunk", "user_messages"),
        ("agent_message_chunk", "agent_messages"),
        ("agent_thought_chunk", "agent_thoughts"),
    ):
        if name != "message-ids" or kind != "agent_message_chunk":
            chunks = [{"sessionUpdate": kind, **item} for item in expected[listed]]
            assert says(updates, kind) == says(chunks, kind)
    by_kind = {item["sessionUpdate"]: item for item in updates}
    if expected["plan_entries"]:
        assert by_kind["plan"]["entries"] == expected["plan_entries"]
        assert by_kind["current_mode_update"]["currentModeId"] == expected["current_mode_id"]
        commands = by_kind["available_commands_update"]["availableCommands"]
        assert commands == expected["available_commands"]


@each_case
def test_what_is_given_back_replays_the_session(name: str) -> None:
    first = fed(*CASES[name])
    again = fed(*encoded(first, PROTOCOL))
    assert encoded(again, PROTOCOL) == encoded(first, PROTOCOL)
    assert texts(again) == texts(first)


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
    assert AcpAdapter.detects(chunk("a"))
    assert AcpAdapter.detects(chunk("a")["params"])
    assert AcpAdapter.detects(request(1, "prompt", prompt=[]))
    assert not AcpAdapter.detects({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
    assert not AcpAdapter.detects({"sessionId": "s", "update": {}})


def test_the_short_way_agrees_with_the_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    wires = [*EVENTS, *EVENTS]
    first = fed(*wires).state()
    monkeypatch.setattr(AcpAdapter, "plain", lambda self, wire: None)
    assert fed(*wires).state() == first


def test_plain_chunks_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    decode = AcpAdapter.decode
    monkeypatch.setattr(
        AcpAdapter, "decode", lambda self, wire: (decoded.append(wire), decode(self, wire))[1]
    )
    store = fed(chunk("a"), chunk("b"), chunk("c")["params"], chunk("d", session="s2"), chunk("e"))
    assert texts(store) == [["abce"]] and texts(store, "s2") == [["d"]]
    assert len(decoded) == 2


@pytest.mark.parametrize(
    "wire",
    [
        chunk("x", session="s2"),
        chunk("x", "agent_thought"),
        chunk("x", messageId="m"),
        chunk("x")["params"] | {"method": "x"},
        {"params": chunk("x")["params"]},
        update("agent_message_chunk", content={"type": "image", "text": "x"}),
        update("agent_message_chunk", content={"type": "text", "text": None}),
        {},
        [],
        None,
    ],
)
def test_the_short_way_takes_nothing_else(wire: Any) -> None:
    adapter = AcpAdapter(Context())
    adapter.decode(chunk("a"))
    found = adapter.plain(chunk("x"))
    assert found is not None and found == (PartKey("s1", "local-1", 0), "x", None)
    try:
        assert adapter.plain(wire) is None
    except (KeyError, TypeError, AttributeError):
        pass


def test_a_stream_that_went_on_elsewhere_sends_the_other_the_long_way() -> None:
    store = StreamStore()
    one, two = store.open(PROTOCOL), store.open(PROTOCOL)
    one.ingest_many([chunk("a"), chunk("b")])
    two.ingest(chunk("thought", "agent_thought"))
    one.ingest(chunk("c"))
    assert texts(store) == [["ab", "thought", "c"]]


# --- messages -------------------------------------------------------------------------------------


def test_a_message_ends_where_the_role_changes_or_a_prompt_comes() -> None:
    store = fed(
        chunk("hi", "user_message"),
        chunk("hm", "agent_thought"),
        chunk("a"),
        call(),
        chunk("b"),
        request(1, "prompt", prompt=[]),
        chunk("c"),
    )
    assert texts(store) == [["hi"], ["hm", "a", "b"], ["c"]]
    assert [message.role for message in store.messages("s1")] == ["user", "assistant", "assistant"]
    kinds = [part.kind for part in store.parts("s1", "local-2")]
    assert kinds == ["reasoning", "text", "tool", "text"]
    statuses = [part.status for part in store.parts("s1", "local-2")]
    assert statuses == ["closed"] * 4


def test_chunks_that_name_their_message_find_it() -> None:
    store = fed(
        chunk("a", messageId="m1"),
        chunk("b", messageId="m2"),
        call(),
        chunk("c", messageId="m1"),
        chunk("d", messageId="m2"),
    )
    assert texts(store) == [["ac"], ["b", "d"]]
    assert [message.id for message in store.messages("s1")] == ["m1", "m2"]


def test_a_replay_after_session_load_takes_the_place_of_what_was_there() -> None:
    wires = CASES["message-ids"]
    store = fed(*wires)
    before = texts(store)
    stream = store.open(PROTOCOL)
    stream.ingest_many([request(7, "load"), *wires, answer(7)])
    assert texts(store) == before
    # Without the request it cannot be told from more of the same: chunks append.
    store.open(PROTOCOL).ingest_many(wires)
    assert texts(store) != before
    # And those that do not name their message stand beside it, while tools stand once.
    store = fed(*CASES["bare"])
    stream = store.open(PROTOCOL)
    stream.ingest_many(CASES["bare"])
    assert len(texts(store)) == 4
    assert tool_of(store).status == "completed"


def test_sessions_do_not_mix() -> None:
    store = fed(chunk("a"), chunk("b", session="s2"), call(), chunk("c", session="s2"))
    assert texts(store) == [["a"]] and texts(store, "s2") == [["bc"]]
    stream = store.open(PROTOCOL, session_id="s1")
    assert stream.ingest(chunk("d", session="s2")).reason == "foreign"


# --- tools ----------------------------------------------------------------------------------------


def test_an_update_sets_what_it_carries_and_null_says_nothing() -> None:
    content = [{"type": "content", "content": {"type": "text", "text": "out"}}]
    store = fed(
        call(rawInput={"path": "a"}, kind="read", locations=[{"path": "a"}]),
        change(status="in_progress", title=None, rawInput=None),
        change(content=content, title="Reading"),
    )
    tool = tool_of(store)
    assert (tool.name, tool.call_id, tool.status, tool.title) == (
        "read",
        "c1",
        "running",
        "Reading",
    )
    assert (tool.input, tool.output) == ({"path": "a"}, content)
    (wire,) = encoded(store, PROTOCOL)
    assert wire["update"] == {
        "sessionUpdate": "tool_call",
        "toolCallId": "c1",
        "title": "Reading",
        "kind": "read",
        "status": "in_progress",
        "content": content,
        "locations": [{"path": "a"}],
        "rawInput": {"path": "a"},
    }


def test_what_ended_does_not_begin_again_but_by_a_new_call() -> None:
    store = fed(
        call(), change(status="completed", rawOutput=1), change(status="in_progress", title="T")
    )
    assert (tool_of(store).status, tool_of(store).output, tool_of(store).title) == (
        "completed",
        1,
        "T",
    )
    store = fed(call(), change(status="failed", rawOutput="no"), call(status="pending"))
    assert (tool_of(store).status, tool_of(store).output) == ("pending", None)


def test_an_update_of_a_tool_that_never_started_is_shown() -> None:
    tool = tool_of(fed(change(status="failed", rawOutput="why")))
    assert (tool.status, tool.error) == ("error", "why")


def test_an_output_stays_when_later_updates_do_not_say_it_again() -> None:
    content = [{"type": "content", "content": {"type": "text", "text": "out"}}]
    store = fed(call(), change(content=content), change(status="completed"), change(title="T"))
    assert (tool_of(store).status, tool_of(store).output) == ("completed", content)
    store = fed(call(), change(content=content), change(rawOutput=1), change(status="failed"))
    assert (tool_of(store).status, tool_of(store).output) == ("error", 1)
    assert tool_of(fed(call(), change(content=content), call())).output is None


def test_the_name_of_a_tool_is_kept() -> None:
    store = fed(call(kind="execute", name="bash"), change(name=None, status="completed"))
    assert tool_of(store).name == "bash"
    (wire,) = encoded(store, PROTOCOL)
    assert (wire["update"]["name"], wire["update"]["kind"]) == ("bash", "execute")


def part_of(store: StreamStore, call_id: str = "c1") -> Any:
    store.flush()
    (message,) = store.messages("s1")
    return next(
        part for part in store.parts("s1", message.id) if part.fields.get("callId") == call_id
    )


def test_the_meta_of_chunks_is_kept_with_their_part() -> None:
    def of(call_id: str | None) -> Wire:
        return {"claudeCode": {"parentToolUseId": call_id}}

    image = update(
        "agent_message_chunk",
        content={"type": "image", "data": "aGk=", "mimeType": "image/png"},
        _meta={"a": 1},
    )
    wires = [
        chunk("from ", messageId="m1", _meta={**of("c0"), "a": 1}),
        chunk("a ", messageId="m1", _meta={"a": 1}),
        chunk("sub", messageId="m1", _meta={"a": 1}),
        chunk("agent", messageId="m1", _meta={"a": None}),
        image,
        chunk("mine", messageId="m2"),
        chunk("!", messageId="m2", _meta="no object"),
    ]
    store = fed(*wires)
    assert texts(store) == [["from a subagent"], [""], ["mine!"]]
    parts = [store.parts("s1", message.id)[0] for message in store.messages("s1")]
    assert [part.fields.get("_meta") for part in parts] == [of("c0"), {"a": 1}, None]
    given = encoded(store, PROTOCOL)
    assert [wire["update"].get("_meta") for wire in given] == [of("c0"), {"a": 1}, None]
    assert encoded(fed(*given), PROTOCOL) == given
    assert verdicts(store) == {"accepted": len(wires)}


def test_chunks_that_say_the_same_meta_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    decode = AcpAdapter.decode
    monkeypatch.setattr(
        AcpAdapter, "decode", lambda self, wire: (decoded.append(wire), decode(self, wire))[1]
    )
    store = fed(*[chunk("a", _meta={"k": {"n": 1}}) for _ in range(5)], chunk("b", _meta={"k": 2}))
    assert texts(store) == [["aaaaab"]] and len(decoded) == 2
    (part,) = store.parts("s1", store.messages("s1")[0].id)
    assert part.fields["_meta"] == {"k": 2}


def test_the_meta_of_a_tool_is_merged_by_its_keys() -> None:
    store = fed(
        call(kind="edit", _meta={"claudeCode": {"toolName": "Edit"}, "a": 1, "b": 2}),
        change(_meta={"claudeCode": {"parentToolUseId": "c0"}, "a": None}),
        change(_meta={"claudeCode": {"toolResponse": {"ok": True}}}, status="completed"),
        change(_meta=None),
    )
    meta = {
        "claudeCode": {"toolName": "Edit", "parentToolUseId": "c0", "toolResponse": {"ok": True}},
        "b": 2,
    }
    assert part_of(store).fields["_meta"] == meta
    assert (tool_of(store).name, tool_of(store).status) == ("Edit", "completed")
    (wire,) = encoded(store, PROTOCOL)
    assert (wire["update"]["_meta"], wire["update"]["kind"]) == (meta, "edit")
    store = fed(call(_meta={"a": 1}), call(kind="read", _meta={"tool_name": "read_file"}))
    assert part_of(store).fields["_meta"] == {"tool_name": "read_file"}
    assert tool_of(store).name == "read_file"
    assert "_meta" not in part_of(fed(call(_meta={"a": 1}), call())).fields
    asked = request(5, "request_permission", toolCall={"toolCallId": "c1", "_meta": {"a": 1}})
    assert part_of(fed(asked)).fields["_meta"] == {"a": 1}
    assert verdicts(fed(call(_meta=[]), change(_meta="x"))) == {"malformed": 2}


def printed(text: str, key: str = "terminal_output", **more: Any) -> Wire:
    return change(_meta={key: {"terminal_id": "c1", "data": text}, **more})


EXIT = {"terminal_id": "c1", "exit_code": 0, "signal": None}


@pytest.mark.parametrize("key", ["terminal_output", "terminal_output_delta"])
def test_the_output_of_a_terminal_streams(key: str) -> None:
    wires = [
        call(_meta={"terminal_info": {"terminal_id": "c1"}}),
        printed("one\n", key),
        printed("two\n", key, claudeCode={"parentToolUseId": "c0"}),
        change(status="completed", _meta={"terminal_exit": EXIT}),
        printed("late\n", key),  # of a command that went on in the background
    ]
    store = fed(*wires)
    part = part_of(store)
    assert part.field_text("output") == "one\ntwo\nlate\n"
    meta = {
        "terminal_info": {"terminal_id": "c1"},
        "claudeCode": {"parentToolUseId": "c0"},
    }
    assert part.fields["_meta"] == {**meta, key: {"terminal_id": "c1"}, "terminal_exit": EXIT}
    first, second = (wire["update"] for wire in encoded(store, PROTOCOL))
    assert first["_meta"] == meta and "status" not in second
    assert second["_meta"] == {
        key: {"terminal_id": "c1", "data": "one\ntwo\nlate\n"},
        "terminal_exit": EXIT,
    }
    again = fed(*encoded(store, PROTOCOL))
    assert encoded(again, PROTOCOL) == encoded(store, PROTOCOL)
    assert part_of(again).field_text("output") == part.field_text("output")
    assert_every_tick_is_a_prefix(PROTOCOL, wires)
    assert_saves_resume(PROTOCOL, wires)


def test_the_output_of_a_terminal_is_said_anew() -> None:
    delta = "terminal_output_delta"
    store = fed(call(), printed("none yet", delta), printed("all "), printed("of it", delta))
    assert part_of(store).field_text("output") == "all of it"
    assert "output" not in store.state()["sessions"]["s1"]["messages"][0]["parts"][0]["state"]
    again = fed(*encoded(store, PROTOCOL))
    assert encoded(again, PROTOCOL) == encoded(store, PROTOCOL)
    store.ingest(printed("other"))
    assert part_of(store).field_text("output") == "other"
    store.ingest(call())
    assert part_of(store).field_text("output") == ""
    assert "_meta" not in part_of(store).fields


def test_a_chunk_of_a_terminal_is_a_delta_alone() -> None:
    context = Context()
    adapter = AcpAdapter(context)
    for wire in (call(rawInput="x" * 1000), printed("a")):
        adapter.decode(wire)
    before = len(json.dumps([context.own, context.shared]))
    for _ in range(100):
        assert [event.type for event in adapter.decode(printed("a"))] == ["block.delta"]
    assert len(json.dumps([context.own, context.shared])) == before
    for number in range(200):
        adapter.decode(change(_meta={f"k{number}": 1, "claudeCode": {f"m{number}": 1}}))
    meta = context.of_session("s1")["calls"]["c1"]["meta"]
    assert (len(meta), len(meta["claudeCode"])) == (64, 64)


def test_a_tool_that_waits_is_updated() -> None:
    asked = request(5, "request_permission", toolCall={"toolCallId": "c1", "status": "pending"})
    store = fed(call(), asked, change(title="Write", rawInput=1), change(locations=[]))
    tool = tool_of(store)
    assert (tool.status, tool.title, tool.input) == ("waiting", "Write", 1)
    assert verdicts(store) == {"accepted": 4}
    assert tool_of(fed(call(), asked, change(status="in_progress"))).status == "running"
    assert tool_of(fed(call(), asked, call())).status == "pending"


def test_a_permission_is_asked_for_and_answered() -> None:
    options = [{"optionId": "y", "name": "Yes", "kind": "allow_once"}]
    asked = request(5, "request_permission", toolCall={"toolCallId": "c1"}, options=options)
    store = fed(call(), asked)
    session = store.session("s1")
    assert session is not None
    (permission,) = session.permissions.values()
    assert (permission.call_id, permission.payload["options"]) == ("c1", options)
    assert tool_of(store).status == "waiting"
    store = fed(call(), asked, answer(5, outcome={"outcome": "cancelled"}), change(status="failed"))
    session = store.session("s1")
    assert session is not None and not session.permissions
    assert tool_of(store).status == "error"
    # An id that is a string is another one.
    session = fed(call(), asked, answer("5", outcome={})).session("s1")
    assert session is not None and len(session.permissions) == 1


def asking(id: Any, **params: Any) -> Wire:
    params = {"mode": "form", "message": "Who?", "requestedSchema": {"type": "object"}, **params}
    return {"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params}


@pytest.mark.parametrize(
    ("scope", "call_id"),
    [({"sessionId": "s1"}, None), ({"sessionId": "s1", "toolCallId": "c1"}, "c1")]
    + [({"requestId": 1}, None)],
)
def test_a_question_waits_until_its_request_is_answered(scope: Wire, call_id: Any) -> None:
    begun = [request(1, "prompt", prompt=[]), call(), asking(5, **scope)]
    store = fed(*begun)
    session = store.session("s1")
    assert session is not None
    (question,) = session.questions.values()
    assert (question.call_id, question.payload["message"]) == (call_id, "Who?")
    assert question.message_id == (call_id and store.messages("s1")[0].id)
    refusal = {"jsonrpc": "2.0", "id": 5, "error": {"code": -32602, "message": "no"}}
    answers = [answer(5, action="accept", content={}), answer(5, action="cancel"), refusal]
    for one in answers:
        store = fed(*begun, one)
        session = store.session("s1")
        assert session is not None and not session.questions
        assert session.status is not None and session.status.type == "busy"
        assert set(verdicts(store)) == {"accepted"}


@pytest.mark.parametrize("loads", [False, True])
@pytest.mark.parametrize("answered", ["on the wire", "by the program"])
def test_a_number_that_another_connection_used_asks_anew(loads: bool, answered: str) -> None:
    """An agent that starts again counts from 0 again; what it asks waits, and has its own answer."""
    store = StreamStore(ticks=None)
    for times in range(3):
        stream = store.open(PROTOCOL)
        if loads and times:
            stream.ingest(request(1, "load"))
        asked = request(0, "request_permission", toolCall={"toolCallId": f"c{times}"})
        question = asking(2, sessionId="s1", message=f"Who {times}?")
        # It is sent again, and stays the same one.
        stream.ingest_many(copy.deepcopy([asked, question, asked, question]))
        session = store.session("s1")
        assert session is not None
        (permission,), (who,) = session.permissions.values(), session.questions.values()
        assert permission.call_id == f"c{times}" and who.payload["message"] == f"Who {times}?"
        assert (json.loads(permission.id), json.loads(who.id)) == (0, 2)
        if answered == "on the wire":
            stream.ingest_many([answer(0, outcome={}), answer(2, action="accept", content={})])
        else:
            store.apply(PermissionReplied(session_id="s1", request_id=permission.id))
            store.apply(QuestionReplied(session_id="s1", request_id=who.id))
            store.flush()
        session = store.session("s1")
        assert session is not None and not session.permissions and not session.questions
        stream.end()
        store = StreamStore.load(json.loads(json.dumps(store.save())), ticks=None)


def test_a_number_that_was_answered_may_be_used_again() -> None:
    asked, no = asking(5, sessionId="s1"), answer(5, action="decline")
    session = fed(asked, no, asked).session("s1")
    assert session is not None and len(session.questions) == 1
    session = fed(asked, no, asked, no).session("s1")
    assert session is not None and not session.questions


def test_a_question_that_belongs_to_no_session_changes_none() -> None:
    store = fed(asking(5, requestId=0), asking(6, requestId=None), answer(5, action="decline"))
    assert verdicts(store) == {"accepted": 2, "malformed": 1} and store.session_ids() == ()
    done = {"jsonrpc": "2.0", "method": "elicitation/complete", "params": {"elicitationId": "e"}}
    assert verdicts(fed(done)) == {"accepted": 1}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (request(1, "request_permission", toolCall={"toolCallId": "c1"}), {"outcome": {}}),
        (asking(1, sessionId="s1"), {"action": "decline"}),
        ({"jsonrpc": "2.0", "id": 1, "method": "fs/read_text_file", "params": {}}, {"content": ""}),
        ({"jsonrpc": "2.0", "id": 1, "method": "fs/write_text_file", "params": {}}, {}),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_a_request_of_each_side_may_have_one_id(asked: Wire, said: Wire, fails: bool) -> None:
    """Both count by themselves: the answer of the one does not end the other."""
    prompt, end = request(1, "prompt", prompt=[]), answer(1, stopReason="end_turn")
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}}
    told = error if fails else answer(1, **said)
    for wires, status, waiting in (
        ([prompt, asked, told], "busy", 0),
        ([prompt, asked, end], "idle", 1),
        ([prompt, asked, told, end], "idle", 0),
        ([prompt, asked, end, told], "idle", 0),
    ):
        session = fed(chunk("a"), *wires).session("s1")
        assert session is not None and session.status is not None
        assert session.status.type == status and not session.errors
        waits = len(session.permissions) + len(session.questions)
        assert waits == (0 if "fs/" in asked["method"] else waiting)


# --- compactions ----------------------------------------------------------------------------------


def compaction(status: str, **members: Any) -> Wire:
    return update("compaction_update", compactionId="k", status=status, **members)


def summary(text: str) -> Wire:
    content = {"type": "text", "text": text}
    return update("compaction_summary_chunk", compactionId="k", content=content)


@pytest.mark.parametrize(
    "wires",
    [
        [compaction("in_progress"), summary("so "), summary("far"), compaction("completed")],
        [summary("so "), summary("far"), compaction("completed", error=None)],
        [summary("what"), compaction("completed", summary=summary("so far")["params"]["update"])],
    ],
    ids=["begun", "chunks", "whole"],
)
def test_a_compaction_is_a_part_of_what_the_agent_says(wires: list[Wire]) -> None:
    for wire in wires:
        said = wire["params"]["update"].get("summary")
        if isinstance(said, dict):
            wire["params"]["update"]["summary"] = [said["content"]]
    store = fed(chunk("a"), wires[0], chunk("b"), *wires[1:])
    assert verdicts(store) == {"accepted": len(wires) + 2}
    assert texts(store) == [["a", "so far", "b"]]
    (message,) = store.messages("s1")
    part = store.parts("s1", message.id)[1]
    assert (part.kind, part.status) == ("compaction", "closed")
    sent = encoded(store, PROTOCOL)
    again = fed(*sent)
    assert texts(again) == texts(store) and encoded(again, PROTOCOL) == sent


def test_a_compaction_that_failed_says_why_and_no_more_of_them_are_known_than_others() -> None:
    """The memory of a session does not grow with each."""
    failed = {"status": "failed", "error": {"code": 1, "message": "why"}}
    stream = (store := StreamStore()).open(PROTOCOL)
    sizes = set()
    for number in range(200):
        stream.ingest(update("compaction_update", compactionId=f"c{number}", **failed))
        sizes.add(len(store.save()["memory"]["acp"]["s1"]["compactions"]))
    assert max(sizes) == 64
    store.flush()
    (message,) = store.messages("s1")
    wire = store.parts("s1", message.id)[0].fields["wire"]
    assert wire == {"compactionId": "c0", **failed}


# --- turns and the session ------------------------------------------------------------------------


def test_a_turn_from_its_prompt_to_its_answer() -> None:
    prompt = request(1, "prompt", prompt=[])
    statuses = []
    for end in (
        answer(1, stopReason="end_turn"),
        answer(1, stopReason="cancelled"),
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "why"}},
    ):
        store = fed(prompt, chunk("a"))
        session = store.session("s1")
        assert session is not None and session.status is not None
        assert session.status.type == "busy"
        store = fed(prompt, chunk("a"), end)
        session = store.session("s1")
        assert session is not None and session.status is not None
        assert session.status.type == "idle"
        statuses.append(store.messages("s1")[0].status)
    assert statuses == ["completed", "aborted", "error"]
    assert session.errors[0]["message"] == "why"


def test_a_session_is_busy_until_its_last_prompt_is_answered() -> None:
    prompts = [request(1, "prompt", prompt=[]), request(2, "prompt", prompt=[])]
    store = fed(*prompts, chunk("a"), answer(1, stopReason="end_turn"), chunk("b"))
    session = store.session("s1")
    assert session is not None and session.status is not None and session.status.type == "busy"
    assert texts(store) == [["a"], ["b"]]
    stream = store.open(PROTOCOL)
    stream.ingest_many(
        [*prompts, answer(1, stopReason="end_turn"), answer(2, stopReason="end_turn")]
    )
    store.flush()
    session = store.session("s1")
    assert session is not None and session.status is not None and session.status.type == "idle"


def test_a_prompt_without_an_answer_keeps_no_session_busy_in_the_next_connection() -> None:
    """What is sent and received is one log, also where the agent was started again."""
    begin = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": 1}}
    store = fed(
        *(begin, request(7, "prompt", prompt=[]), chunk("a")),
        *(begin, request(1, "load"), answer(1), request(2, "prompt", prompt=[]), chunk("b")),
        answer(2, stopReason="end_turn"),
    )
    session = store.session("s1")
    assert session is not None and session.status is not None and session.status.type == "idle"
    assert texts(store) == [["b"]]


@pytest.mark.parametrize("end", ["cancelled", "error"])
def test_a_turn_that_says_nothing_ends_no_message_of_the_one_before(end: str) -> None:
    failed = {"jsonrpc": "2.0", "id": 2, "error": {"code": -1, "message": "no more credit"}}
    store = fed(
        *(request(1, "prompt", prompt=[]), chunk("a"), answer(1, stopReason="end_turn")),
        *(request(2, "prompt", prompt=[]), chunk("more", "user_message")),
        failed if end == "error" else answer(2, stopReason="cancelled"),
    )
    store.flush()
    ended = [(message.status, message.error) for message in store.messages("s1")]
    assert ended == [("completed", None), ("completed", None)]


def test_every_message_of_a_turn_ends_with_it() -> None:
    store = StreamStore()
    stream = store.open(PROTOCOL)
    stream.ingest_many(
        [
            *(request(1, "prompt", prompt=[]), chunk("hi", "user_message", messageId="u1")),
            *(chunk("a", messageId="m1"), chunk("b", messageId="m2"), call(status="in_progress")),
            *(chunk("c", messageId="m3"), answer(1, stopReason="cancelled")),
        ]
    )
    stream.end()
    store.flush()
    ended = {message.id: message.status for message in store.messages("s1")}
    assert ended == {"u1": "completed", "m1": "completed", "m2": "aborted", "m3": "aborted"}
    assert tool_of(store).status == "error"
    assert not any(part.gap for name in ended for part in store.parts("s1", name))


def test_a_replay_ends_with_the_answer_to_session_load() -> None:
    store = StreamStore()
    stream = store.open(PROTOCOL)
    stream.ingest_many([request(1, "load"), chunk("hi", "user_message"), chunk("a")])
    store.flush()
    assert [message.status for message in store.messages("s1")] == ["completed", "open"]
    stream.ingest(answer(1))
    stream.end()
    store.flush()
    assert [message.status for message in store.messages("s1")] == ["completed", "completed"]
    assert not any(part.gap for name in ("local-1", "local-2") for part in store.parts("s1", name))


def test_a_turn_is_held_back_where_delivery_is_buffered() -> None:
    store = StreamStore(delivery="buffered")
    stream = store.open(PROTOCOL)
    stream.ingest_many([request(1, "prompt", prompt=[]), chunk("a"), chunk("b")])
    assert texts(store) == [[""]]
    stream.ingest(answer(1, stopReason="end_turn"))
    assert texts(store) == [["ab"]]


def test_a_null_of_a_dump_says_nothing_of_the_session_but_that_a_title_is_gone() -> None:
    store = fed(
        update("session_info_update", title="T", _meta=None),
        update("usage_update", used=1, size=2, _meta=None),
        update("session_info_update", title=None, _meta={"k": 1}),
    )
    session = store.session("s1")
    assert session is not None
    assert session.info == {"title": None, "_meta": {"k": 1}, "usage": {"used": 1, "size": 2}}


def test_the_answer_to_session_load_says_how_the_session_is_set() -> None:
    modes = {"currentModeId": "plan", "availableModes": [{"id": "plan", "name": "Plan"}]}
    options = [{"id": "model", "name": "Model", "type": "select", "currentValue": "m"}]
    store = fed(
        *(update("current_mode_update", currentModeId="ask"), request(1, "load"), chunk("a")),
        answer(1, modes=modes, configOptions=options),
    )
    session = store.session("s1")
    assert session is not None and session.info == {**modes, "configOptions": options}
    sent = [wire["update"] for wire in encoded(store, PROTOCOL)]
    assert {"sessionUpdate": "current_mode_update", "currentModeId": "plan"} in sent
    assert [each["sessionUpdate"] for each in sent] == [
        "agent_message_chunk", "current_mode_update", "config_option_update"
    ]  # fmt: skip


def test_the_client_sets_a_mode_when_its_request_succeeds() -> None:
    new = {"jsonrpc": "2.0", "id": 0, "method": "session/new", "params": {"cwd": "/"}}
    store = fed(
        *(new, answer(0, sessionId="s1", modes={"currentModeId": "ask"}, configOptions=None)),
        *(request(1, "set_mode", modeId="plan"), answer(1)),
        request(2, "set_mode", modeId="no"),
        {"jsonrpc": "2.0", "id": 2, "error": {"code": -1, "message": "why"}},
        *(request(3, "set_config_option", configId="m", value="x"), answer(3, configOptions=[])),
    )
    session = store.session("s1")
    assert session is not None
    assert session.info == {"currentModeId": "plan", "configOptions": []}
    assert verdicts(store) == {"accepted": 8}


@pytest.mark.parametrize("name", ["planId", "id"])
def test_plans(name: str) -> None:
    items = {"type": "items", name: "p1", "entries": [{"content": "x"}]}
    store = fed(
        update("plan_update", plan=items),
        update("plan_update", plan={"type": "markdown", name: "p2", "content": "# x"}),
    )
    session = store.session("s1")
    assert session is not None and session.todo == [{"content": "x"}]
    assert [wire["update"]["plan"][name] for wire in encoded(store, PROTOCOL)] == ["p1", "p2"]
    store.open(PROTOCOL).ingest(update("plan_removed", **{name: "p1"}))
    store.flush()
    session = store.session("s1")
    assert session is not None and session.todo == [] and list(session.info["plans"]) == ["p2"]


def test_what_is_not_known_is_counted() -> None:
    store = fed(update("new_thing"), {"jsonrpc": "2.0", "method": "odd"}, {"method": "initialize"})
    assert verdicts(store) == {"unknown": 2, "accepted": 1}
    store = fed(update("tool_call", toolCallId=7), update("tool_call", toolCallId="c"), {"id": 1})
    assert verdicts(store) == {"malformed": 3}


# --- the package ----------------------------------------------------------------------------------

WHY = "agent-client-protocol is no part of the dev extra: pip install agent-client-protocol"


@each_case
def test_the_package_reads_what_is_given_back(name: str) -> None:
    schema = pytest.importorskip("acp.schema", reason=WHY)
    state = pytest.importorskip("acp.contrib.session_state", reason=WHY)

    def folded(wires: list[Wire]) -> Any:
        accumulator = state.SessionAccumulator()
        for wire in wires:
            accumulator.apply(schema.SessionNotification.model_validate(wire))
        return accumulator.snapshot()

    sent = [wire.get("params", wire) for wire in CASES[name]]
    theirs = folded([params for params in sent if "update" in params])
    mine = folded(encoded(fed(*CASES[name]), PROTOCOL))
    for member in ("tool_calls", "plan_entries", "current_mode_id", "available_commands"):
        assert getattr(mine, member) == getattr(theirs, member)
    assert len(mine.agent_messages) <= len(theirs.agent_messages)


# --- hostile input --------------------------------------------------------------------------------


@given(st.lists(mutated(EVENTS) | JSON, max_size=5), st.integers(0, 14), st.sampled_from(NAMES))
def test_anything_is_events_or_a_reason(wires: list[Any], at: int, name: str) -> None:
    assert_total(PROTOCOL, wires, CASES[name][:at])


@given(st.lists(mutated(EVENTS), max_size=6), st.integers(0, 14), st.sampled_from(NAMES))
def test_the_short_way_agrees_on_anything(wires: list[Any], at: int, name: str) -> None:
    wires = [*CASES[name][:at], *wires, *CASES[name][at:]]
    states = []
    for plain in (AcpAdapter.plain, lambda self, wire: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AcpAdapter, "plain", plain)
            states.append(shown(fold(PROTOCOL, wires)))
    assert states[0] == states[1]


def test_memory_does_not_grow_with_the_deltas() -> None:
    context = Context()
    adapter = AcpAdapter(context)
    wires = [chunk("some"), change(status="in_progress")]
    for wire in [call(), *wires]:
        adapter.decode(wire)
    before = len(json.dumps([context.own, context.shared]))
    for _ in range(100):
        for wire in wires:
            adapter.decode(wire)
    assert len(json.dumps([context.own, context.shared])) == before
    for number in range(600):
        adapter.decode(call(f"c{number}"))
        adapter.decode(chunk("a", messageId=f"m{number}"))
        adapter.decode(request(number, "prompt"))
    memory = context.of_session("s1")
    assert (len(memory["messages"]), len(memory["calls"])) == (64, 256)
    assert len(context.own["requests"]) == 256
