"""What a frontend reads: nothing of it can be changed, and a tool reads as its message ended."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import MessageKey, PartKey, StreamStore
from streamstore.model import (
    EMPTY,
    TOOL_RANKS,
    FrozenDict,
    FrozenList,
    Message,
    Part,
    Request,
    Session,
    Status,
    ToolState,
    freeze,
    thaw,
)
from streamstore.text import GrowingText, TextView

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


def containers(value: Any) -> list[Any]:
    """Every array and object in a value, the value included."""
    found = [value] if isinstance(value, dict | list) else []
    for item in value.values() if isinstance(value, dict) else value if found else ():
        found += containers(item)
    return found


def _ior(value: Any) -> None:
    value |= {"b": 1}


def _iadd(value: Any) -> None:
    value += [1]


def _imul(value: Any) -> None:
    value *= 2


def _set_item(value: Any) -> None:
    value["a"] = 2


def _set_slice(value: Any) -> None:
    value[:] = []


DICT_MUTATORS: dict[str, Callable[[Any], Any]] = {
    "set": _set_item,
    "delete": lambda value: value.__delitem__("a"),
    "|=": _ior,
    "clear": lambda value: value.clear(),
    "pop": lambda value: value.pop("a"),
    "pop with default": lambda value: value.pop("z", None),
    "popitem": lambda value: value.popitem(),
    "setdefault": lambda value: value.setdefault("z", 1),
    "setdefault of what is there": lambda value: value.setdefault("a"),
    "update": lambda value: value.update(b=1),
    "update with nothing": lambda value: value.update(),
}
LIST_MUTATORS: dict[str, Callable[[Any], Any]] = {
    "set": lambda value: value.__setitem__(0, 1),
    "set slice": _set_slice,
    "delete": lambda value: value.__delitem__(0),
    "delete slice": lambda value: value.__delitem__(slice(0, 1)),
    "+=": _iadd,
    "*=": _imul,
    "append": lambda value: value.append(1),
    "clear": lambda value: value.clear(),
    "extend": lambda value: value.extend([]),
    "insert": lambda value: value.insert(0, 1),
    "pop": lambda value: value.pop(),
    "remove": lambda value: value.remove(3),
    "reverse": lambda value: value.reverse(),
    "sort": lambda value: value.sort(),
    "sort with key": lambda value: value.sort(key=str, reverse=True),
}


class TestFrozen:
    @pytest.mark.parametrize("name", DICT_MUTATORS)
    def test_an_object_refuses_every_change(self, name: str) -> None:
        value = freeze({"a": 1})
        with pytest.raises(TypeError, match="copy what you want to change"):
            DICT_MUTATORS[name](value)
        assert value == {"a": 1}

    @pytest.mark.parametrize("name", LIST_MUTATORS)
    def test_an_array_refuses_every_change(self, name: str) -> None:
        value = freeze([3, 1])
        with pytest.raises(TypeError, match="copy what you want to change"):
            LIST_MUTATORS[name](value)
        assert value == [3, 1]

    @pytest.mark.parametrize("plain, frozen", [(dict, FrozenDict), (list, FrozenList)])
    def test_no_mutator_of_this_python_was_forgotten(self, plain: type, frozen: type) -> None:
        reads = set(
            "__class__ __class_getitem__ __contains__ __dir__ __doc__ __eq__ __format__ __ge__ "
            "__getattribute__ __getitem__ __getstate__ __gt__ __hash__ __init__ __init_subclass__ "
            "__iter__ __le__ __len__ __lt__ __ne__ __new__ __reduce_ex__ __repr__ __reversed__ "
            "__setattr__ __delattr__ __sizeof__ __str__ __subclasshook__ __add__ __mul__ __rmul__ "
            "__or__ __ror__ copy count fromkeys get index items keys values".split()
        )
        for name in set(dir(plain)) - reads:
            assert name in vars(frozen), name

    @given(values)
    def test_every_level_is_frozen_and_equal(self, value: Any) -> None:
        frozen = freeze(value)
        assert frozen == value
        for inner in containers(frozen):
            assert type(inner) in (FrozenDict, FrozenList)
        assert freeze(frozen) is frozen

    @given(values)
    def test_the_callers_object_is_not_the_stores(self, value: Any) -> None:
        frozen, before = freeze(value), copy.deepcopy(value)
        for inner in containers(value):
            if isinstance(inner, dict):
                inner["changed"] = True
            else:
                inner.append("changed")
        assert frozen == before

    def test_halves_of_a_pair_side_by_side_are_one_character(self) -> None:
        frozen = freeze({"a": ["\ud83d\ude00", "\ud83d"]})
        assert frozen == {"a": ["\U0001f600", "\ud83d"]}

    @given(values)
    def test_a_thawed_copy_is_plain_and_changes_nothing(self, value: Any) -> None:
        frozen = freeze(value)
        thawed = thaw(frozen)
        for inner in containers(thawed):
            assert type(inner) in (dict, list)
            inner.clear()
        assert frozen == value

    @given(values)
    def test_it_is_json_for_everybody(self, value: Any) -> None:
        assert json.loads(json.dumps(freeze(value))) == json.loads(json.dumps(value))

    @given(values)
    def test_copies_and_pickles_are_frozen_and_equal(self, value: Any) -> None:
        frozen = freeze(value)
        assert copy.copy(frozen) is frozen
        assert copy.deepcopy(frozen) is frozen
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(frozen, protocol))
            assert again == frozen
            assert [type(inner) for inner in containers(again)] == [
                type(inner) for inner in containers(frozen)
            ]

    def test_what_reads_make_is_a_plain_copy(self) -> None:
        copied, joined = freeze({"a": 1}).copy(), freeze({"a": 1}) | {"b": 2}
        copied["b"] = 2
        assert copied == joined == {"a": 1, "b": 2}
        assert type(freeze([1]) + [2]) is list

    def test_a_tuple_of_the_caller_is_an_array(self) -> None:
        assert type(freeze((1, (2,)))) is FrozenList
        assert json.dumps(freeze((1, (2,)))) == "[1, [2]]"

    def test_the_shared_empty_value_is_frozen(self) -> None:
        with pytest.raises(TypeError):
            EMPTY.update(a=1)


def a_store() -> StreamStore:
    """A store with one of every value that a frontend reads."""
    store = StreamStore("native", ticks="manual")
    at = {"sessionId": "s"}
    part = {**at, "messageId": "m", "blockIndex": 0}
    for wire in (
        {"type": "session.updated", **at, "info": {"title": "t", "list": [1]}},
        {"type": "session.status", **at, "status": "retry", "attempt": 2, "more": {"a": [1]}},
        {"type": "session.error", **at, "error": {"name": "E"}},
        {"type": "session.state", **at, "state": {"a": [1]}},
        {"type": "todo.updated", **at, "todo": [{"a": 1}]},
        {"type": "permission.asked", **at, "id": "r", "callId": "c", "payload": {"a": [1]}},
        {"type": "message.opened", **at, "messageId": "m", "role": "assistant", "info": {"a": [1]}},
        {"type": "block.opened", **part, "kind": "tool", "callId": "c", "state": {"a": [1]}},
        {"type": "block.delta", **part, "seq": 1, "text": "out"},
        {"type": "block.delta", **part, "seq": 2, "text": "{", "field": "input"},
    ):
        assert store.ingest(wire).kind == "accepted"
    store.flush()
    return store


def reads(store: StreamStore) -> list[Any]:
    session, message = store.session("s"), store.message("s", "m")
    part = store.part("s", "m", 0)
    assert session is not None and message is not None and part is not None
    assert session.status is not None
    return [session, session.status, session.permissions["r"], message, part, part.tool]


class TestValues:
    def test_no_member_of_any_value_can_be_set(self) -> None:
        for value in reads(a_store()):
            for field in attrs.fields(type(value)):
                with pytest.raises(attrs.exceptions.FrozenInstanceError):
                    setattr(value, field.name, None)
            with pytest.raises((AttributeError, TypeError)):
                value.new = 1

    def test_no_member_of_any_value_can_be_changed(self) -> None:
        for value in reads(a_store()):
            for field in attrs.fields(type(value)):
                member = getattr(value, field.name)
                assert not isinstance(member, list | dict) or type(member) in (
                    FrozenDict,
                    FrozenList,
                )
                for inner in containers(member):
                    assert type(inner) in (FrozenDict, FrozenList)

    def test_every_json_member_can_be_dumped(self) -> None:
        session, status, request, message, part, tool = reads(a_store())
        for value in (
            session.info, session.state, session.errors, session.todo, status.fields,
            request.payload, message.info, part.fields, tool.fields, tool.input,
        ):  # fmt: skip
            json.dumps(value)
        assert json.dumps(status.fields) == '{"more": {"a": [1]}}'

    def test_values_can_be_pickled_and_copied(self) -> None:
        for value in reads(a_store()):
            for other in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
                if isinstance(value, Part):  # parts are equal when they are the same object
                    assert (other.text, other.field_text("input")) == ("out", "{")
                    assert (other.fields, other.key) == (value.fields, value.key)
                else:
                    assert other == value

    def test_the_state_is_plain_json_that_may_be_changed(self) -> None:
        store = a_store()
        state = store.state()
        assert json.loads(json.dumps(state)) == state
        for inner in containers(state):
            assert type(inner) in (dict, list)
            inner.clear()
        assert store.state()["sessions"]["s"]["info"] == {"title": "t", "list": [1]}

    def test_the_caller_may_go_on_using_what_it_fed(self) -> None:
        store = StreamStore("native", ticks="manual")
        wire: Any = {"type": "session.updated", "sessionId": "s", "info": {"a": [1]}}
        store.ingest(wire)
        wire["info"]["a"].append(2)
        store.flush()
        wire["info"]["a"].append(3)
        session = store.session("s")
        assert session is not None and session.info == {"a": [1]}

    def test_keys_of_values_are_those_of_change_sets(self) -> None:
        store = a_store()
        message, part = store.message("s", "m"), store.part("s", "m", 0)
        assert message is not None and part is not None
        assert message.key == MessageKey("s", "m")
        assert part.key == PartKey("s", "m", 0)

    def test_defaults_hold_nothing(self) -> None:
        assert Session("s") == Session(id="s", permissions={}, questions={}, info={})
        assert (Message("s", "m").role, Status().type) == ("", "idle")
        assert Request("r", "s").payload == {}


def a_part(kind: str = "tool", settled_as: Any = "open", **fields: Any) -> Part:
    return Part(
        session_id="s",
        message_id="m",
        block_index=0,
        kind=kind,
        status="open",
        view=TextView(GrowingText("shown\ud83d"), 6),
        fields=freeze(fields),
        others={"input": TextView(GrowingText('{"a'), 3)},
        settled_as=settled_as,
    )


def the_tool(part: Part) -> ToolState:
    assert part.tool is not None
    return part.tool


class TestPart:
    def test_text_is_read_with_unknown_for_half_a_pair(self) -> None:
        part = a_part()
        assert part.text == part.field_text("text") == "shown\ufffd"
        assert part.view.raw() == "shown\ud83d"
        assert part.field_text("input") == '{"a'
        assert part.field_text("other") == ""

    def test_its_time_is_what_the_wire_says(self) -> None:
        assert a_part().time is None
        assert a_part(time={"start": 1}).time == {"start": 1}

    @pytest.mark.parametrize("kind", ["text", "reasoning", "file", "unknown"])
    def test_only_tools_have_a_tool_state(self, kind: str) -> None:
        assert a_part(kind, state={"status": "running"}).tool is None


class TestTool:
    def test_it_reads_the_usual_members(self) -> None:
        state = {"status": "completed", "title": "Read", "input": {"p": 1}, "output": ["o"], "x": 1}
        tool = the_tool(a_part(tool="read", callId="c", state=state))
        assert tool == ToolState(
            name="read",
            call_id="c",
            status="completed",
            title="Read",
            input={"p": 1},
            output=["o"],
            fields=freeze(state),
        )

    @pytest.mark.parametrize("ended", ["aborted", "error"])
    @pytest.mark.parametrize("status", [*TOOL_RANKS, None, "of another protocol"])
    def test_in_a_message_that_did_not_complete_what_never_ended_reads_as_error(
        self, ended: str, status: str | None
    ) -> None:
        state = {} if status is None else {"status": status}
        tool = the_tool(a_part(settled_as=ended, state=state))
        if status in ("completed", "error", "denied"):
            assert (tool.status, tool.error) == (status, None)
        else:
            assert (tool.status, tool.error) == ("error", f"the message ended as {ended}")
        assert tool.fields == state

    def test_what_the_wire_says_of_an_error_stays(self) -> None:
        running = {"status": "running", "error": {"message": "why"}}
        assert the_tool(a_part(settled_as="error", state=running)).error == {"message": "why"}
        assert the_tool(a_part(state=running)).error == {"message": "why"}

    @pytest.mark.parametrize("ended", ["open", "completed"])
    @pytest.mark.parametrize("status", [*TOOL_RANKS, "of another protocol"])
    def test_otherwise_it_reads_as_it_came(self, ended: str, status: str) -> None:
        tool = the_tool(a_part(settled_as=ended, state={"status": status}))
        assert (tool.status, tool.error) == (status, None)

    @given(values, values, values, values)
    def test_whatever_the_members_are_it_reads(
        self, state: Any, status: Any, name: Any, title: Any
    ) -> None:
        inner = {**state, "status": status} if isinstance(state, dict) else state
        for ended in ("open", "error"):
            fields = {"tool": name, "callId": name, "state": inner, "title": title}
            tool = the_tool(a_part(settled_as=ended, **fields))
            assert isinstance(tool.status, str)
            assert tool.name is None or isinstance(tool.name, str)
            assert tool.call_id is None or isinstance(tool.call_id, str)
            assert tool.title is None or isinstance(tool.title, str)

    def test_a_result_that_comes_after_the_message_failed_still_wins(self) -> None:
        store = StreamStore("native", ticks="manual")
        part = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
        running = {"type": "block.opened", **part, "kind": "tool", "state": {"status": "running"}}
        store.ingest(running)
        store.ingest({"type": "message.closed", **part, "status": "aborted"})
        store.flush()
        shown = store.part("s", "m", 0)
        assert shown is not None and the_tool(shown).status == "error"
        assert shown.fields["state"] == {"status": "running"}  # nothing is stored
        store.ingest({"type": "block.updated", **part, "state": {"status": "completed"}})
        store.flush()
        shown = store.part("s", "m", 0)
        assert shown is not None and the_tool(shown).status == "completed"


class TestStreamedInput:
    def part(self, *texts: str, closed: bool = True, **fields: Any) -> Part:
        store = StreamStore("native", ticks="manual")
        key = {"messageId": "m", "blockIndex": 0}
        store.ingest({"type": "block.opened", **key, "kind": "tool", "seq": 1, **fields})
        for seq, text in enumerate(texts, start=2):
            store.ingest({"type": "block.delta", **key, "seq": seq, "text": text, "field": "input"})
        if closed:
            store.ingest({"type": "block.closed", **key, "seq": 99})
        store.flush()
        part = store.part("main", "m", 0)
        assert part is not None
        return part

    def test_it_is_parsed_when_its_part_is_closed_and_read(self) -> None:
        part = self.part('{"path": ', '"a"}')
        assert part.tool is not None and part.tool.input == {"path": "a"}
        assert part.tool.input is part.tool.input  # once
        with pytest.raises(TypeError):
            part.tool.input["path"] = "b"

    @pytest.mark.parametrize(
        ("texts", "closed"), [(['{"a": 1}'], False), (['{"a": '], True), ([], True)]
    )
    def test_what_is_open_or_no_json_has_none(self, texts: list[str], closed: bool) -> None:
        part = self.part(*texts, closed=closed)
        assert part.tool is not None and part.tool.input is None
        assert part.field_text("input") == "".join(texts)

    def test_the_input_that_the_wire_gives_is_the_one(self) -> None:
        part = self.part("[1]", state={"status": "running", "input": {"b": 2}})
        assert part.tool is not None and part.tool.input == {"b": 2}
