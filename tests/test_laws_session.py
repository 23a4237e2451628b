"""Laws of `session` and `sparse` streams against a naive model: sort by seq, fold.

L1 (idempotent), L2 (order within the window), L5 (isolation), L6 (conservation), and snapshots
anywhere in between. The model is the contract said the slow way; it knows no mark and no window.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Sequence
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import Limits, Stream, StreamStore

Wire = dict[str, Any]
#: What a removal leaves in the model: only a full event makes something of it again.
GONE: Any = object()
COMMON = {"type", "sessionId", "messageId", "blockIndex", "seq", "generation", "id"}
RANKS = {"pending": 0, "running": 1, "waiting": 1, "completed": 2, "error": 2, "denied": 2}
SEQUENCINGS = ("session", "sparse")

# -- the model: contract sections 2, 3 and 8, in order of seq -------------------------------------


def fold(events: Iterable[Wire]) -> dict[str, Any]:
    """`sessions` of contract section 9 after these events, whatever their order of arrival."""
    return {
        session_id: session.shown()
        for session_id, session in fold_sessions(events).items()
        if not session.gone
    }


def fold_sessions(events: Iterable[Wire]) -> dict[str, Folded]:
    by_session: dict[str, dict[int, Wire]] = {}
    for event in events:
        by_session.setdefault(event["sessionId"], {}).setdefault(event["seq"], event)
    found = {}
    for session_id, numbered in by_session.items():
        session = found[session_id] = Folded()
        for _, event in sorted(numbered.items()):
            session.take(event)
    return found


class Folded:
    """One session of the model."""

    def __init__(self) -> None:
        self.gone = False
        self.clear()

    def clear(self) -> None:
        self.info: Wire = {}
        self.own: Wire = {}
        self.errors: list[Any] = []
        self.requests: dict[str, dict[str, Wire]] = {"permissions": {}, "questions": {}}
        self.answered: set[tuple[str, str]] = set()
        self.messages: dict[str, Any] = {}

    def take(self, event: Wire) -> None:
        """One event, after all of lower seq."""
        group, _, name = event["type"].partition(".")
        if event["type"] == "session.removed":
            self.clear()
            self.gone = True
        elif event["type"] == "session.updated":
            if event.get("whole"):
                self.gone = False
                self.info = {}
            if not self.gone:
                self.info.update(event["info"])
        elif self.gone:
            return
        elif group == "message":
            self.take_message(event, name)
        elif group == "block":
            self.take_block(event, name)
        elif group in ("permission", "question"):
            self.take_request(event, group + "s", name)
        elif event["type"] == "session.error":
            self.errors.append(event["error"])
        elif event["type"] == "session.status":
            known = {name: event[name] for name in ("attempt", "message", "next") if name in event}
            self.own["status"] = {"type": event["status"], **known}
        elif event["type"] == "session.state":
            self.own["state"] = event["state"]
        else:
            member = {"todo.updated": "todo", "session.diff": "diff"}[event["type"]]
            self.own[member] = event[member]

    def take_request(self, event: Wire, table: str, name: str) -> None:
        if name == "asked":
            if (table, event["id"]) not in self.answered:
                self.requests[table].setdefault(event["id"], event)
        else:
            self.answered.add((table, event["id"]))
            self.requests[table].pop(event["id"], None)

    def take_message(self, event: Wire, name: str) -> None:
        message_id = event["messageId"]
        if name == "removed":
            self.messages[message_id] = GONE
            return
        full = name == "opened" or event.get("whole")
        message = self.messages.get(message_id)
        if message is GONE and not full:
            return
        if message is None or message is GONE:
            message = self.messages[message_id] = new_message()
        if name == "reset":
            message["resetting"] = True
            return
        rebuild(message)
        if name == "closed":
            message["status"] = event["status"]
            if "error" in event or event["status"] != "error":
                message["error"] = event.get("error")
            return
        if event.get("whole"):
            message["info"] = {}
        message["info"].update(event.get("info", {}))
        for member in ("role", "parentId", "order"):
            if member in event:
                message[member] = event[member]

    def take_block(self, event: Wire, name: str) -> None:
        message = self.messages.get(event["messageId"])
        if message is GONE:
            return
        if message is None:
            message = self.messages[event["messageId"]] = new_message()
        rebuild(message)
        blocks, index = message["blocks"], event["blockIndex"]
        if name == "removed":
            blocks[index] = GONE
            return
        full = name in ("opened", "snapshot") or event.get("whole")
        block = blocks.get(index)
        if block is GONE and not full:
            return
        if block is None or block is GONE:
            block = blocks[index] = new_block()
        if name == "closed":
            block["closed"] = True
            return
        if name == "delta":
            field = event.get("field", "text")
            so_far = block["texts"].get(field, block["fields"].get(field))
            block["texts"][field] = (so_far if isinstance(so_far, str) else "") + event["text"]
            return
        block["kind"] = event.get("kind", block["kind"])
        block["order"] = event.get("order", block["order"])
        if event.get("whole"):
            block["texts"] = {"text": block["texts"].get("text", "")}
        if "text" in event:
            block["texts"]["text"] = event["text"]
        fields = own_fields(event)
        for field in block["texts"]:  # what deltas append to is a field like any other
            if field in fields:
                block["texts"][field] = fields[field] if isinstance(fields[field], str) else ""
        state = block["fields"].get("state")
        if state is not None and rank(fields.get("state")) < rank(state):
            fields["state"] = state
        block["fields"] = {**({} if event.get("whole") else block["fields"]), **fields}

    def shown(self) -> Wire:
        """The session as section 9 has it."""
        messages = [
            (message_place(message["order"], message_id), shown_message(message_id, message))
            for message_id, message in self.messages.items()
            if message is not GONE
        ]
        requests = {
            table: {
                request_id: filled(
                    {name: request.get(name) for name in ("id", "messageId", "callId", "payload")}
                )
                for request_id, request in asked.items()
            }
            for table, asked in self.requests.items()
        }
        return filled(
            {
                "info": self.info,
                "errors": self.errors,
                "messages": [message for _, message in sorted(messages, key=lambda m: m[0])],
                **self.own,
                **requests,
            }
        )


def new_message() -> Wire:
    return {
        "role": None,
        "parentId": None,
        "order": None,
        "info": {},
        "status": "open",
        "error": None,
        "blocks": {},
        "resetting": False,
    }


def new_block() -> Wire:
    return {"kind": "text", "order": None, "texts": {}, "fields": {}, "closed": False}


def rebuild(message: Wire) -> None:
    """The first event of a message after its reset: its blocks begin anew, removals stay."""
    if message["resetting"]:
        message["resetting"] = False
        message["blocks"] = {i: block for i, block in message["blocks"].items() if block is GONE}


def rank(state: Any) -> int:
    return RANKS.get(state.get("status"), -1) if isinstance(state, dict) else -1


def own_fields(event: Wire) -> Wire:
    others = COMMON | {"text", "field", "kind", "order", "whole", "status"}
    return {name: value for name, value in event.items() if name not in others}


def shown_message(message_id: str, message: Wire) -> Wire:
    parts = [
        (part_place(block["order"], index), shown_part(index, block, message["status"]))
        for index, block in message["blocks"].items()
        if block is not GONE
    ]
    return filled(
        {
            "id": message_id,
            "role": message["role"],
            "parentId": message["parentId"],
            "info": message["info"],
            "status": message["status"],
            "error": message["error"],
            "parts": [part for _, part in sorted(parts, key=lambda part: part[0])],
        }
    )


def shown_part(index: int | str, block: Wire, message: str) -> Wire:
    settled = block["closed"] or message != "open"
    return filled(
        {
            **block["fields"],
            **{name: readable(text, settled) for name, text in block["texts"].items() if text},
            "blockIndex": index,
            "kind": block["kind"],
            "order": block["order"],
            "status": "closed" if settled else "open",
        }
    )


def readable(text: str, final: bool) -> str:
    """Joined surrogate pairs; a half at the end waits unless `final`, other halves are U+FFFD."""
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    if not final and text and "\ud800" <= text[-1] <= "\udbff":
        text = text[:-1]
    return "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in text)


def message_place(order: float | None, message_id: str) -> tuple[Any, ...]:
    return (order is None, order or 0, message_id)


def part_place(order: float | None, index: int | str) -> tuple[Any, ...]:
    named = isinstance(index, str)
    if order is not None:
        return (0, order, named, str(index) if named else index)
    return (1, 0, named, index) if named else (0, index, named, index)


def filled(members: Wire) -> Wire:
    empty: list[Any] = [None, "", [], {}]
    return {name: members[name] for name in sorted(members) if members[name] not in empty}


def present(members: Wire) -> Wire:
    return {name: value for name, value in members.items() if value is not None}


def fetched(events: Iterable[Wire], session_id: str, seq: int, **more: Any) -> Wire:
    """The snapshot that a server would give of its log up to `seq`."""
    sessions = fold_sessions(e for e in events if e["seq"] <= seq)
    session = sessions.get(session_id) or Folded()
    messages = []
    for message_id, message in session.messages.items():
        if message is not GONE:
            rebuild(message)
            beside = {name: message[name] for name in ("role", "parentId", "order", "error")}
            parts = [
                present(
                    {
                        **block["fields"],
                        **{name: text for name, text in block["texts"].items() if text},
                        "text": block["texts"].get("text"),
                        "blockIndex": index,
                        "kind": block["kind"],
                        "order": block["order"],
                        "status": "closed" if block["closed"] else "open",
                    }
                )
                for index, block in message["blocks"].items()
                if block is not GONE
            ]
            info, status = message["info"], message["status"]
            messages.append(
                {"id": message_id, "status": status, **filled(beside), "info": info, "parts": parts}
            )
    own = {"info": session.info, **session.own}
    own.pop("state", None)
    for table, asked in session.requests.items():
        own[table] = [
            {name: value for name, value in request.items() if name not in ("type", "seq")}
            for request in asked.values()
        ]
    return {
        "type": "snapshot",
        "sessionId": session_id,
        "seq": seq,
        "messages": messages,
        **own,
        **more,
    }


# -- logs ------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    ["a", "Hello", " ", "", "wörld\n", "\U0001f600", "\ud83d", "\ude00", "x" * 9]
)
VALUES = st.sampled_from([0, 1, "v", None, True, {"deep": [1]}, {"deep": [2]}, []])
FIELDS = st.dictionaries(st.sampled_from(["title", "path", "input"]), VALUES, max_size=2)
KINDS: dict[int | str, str] = {0: "text", 1: "reasoning", 2: "text", "call": "tool"}
INDEXES = st.sampled_from(list(KINDS))
STATES = st.sampled_from(list(RANKS)).map(lambda status: {"state": {"status": status}})


def of_block(type_: str, **drawn: Any) -> st.SearchStrategy[Wire]:
    return st.fixed_dictionaries({"type": st.just(type_), "blockIndex": INDEXES, **drawn})


def of_message(type_: str, **drawn: Any) -> st.SearchStrategy[Wire]:
    return st.fixed_dictionaries({"type": st.just(type_), **drawn})


ORDERS = st.sampled_from([0, 1, 2.5, 7])
DELTA = of_block("block.delta", text=TEXTS)
TEXT_OPS = st.one_of(
    DELTA,
    DELTA,
    DELTA,
    of_block("block.delta", text=st.sampled_from(["{", "1}"]), field=st.just("input")),
    of_block("block.replaced", text=TEXTS),
)
BLOCK_OPS = st.one_of(
    of_block("block.opened", order=ORDERS),
    of_block("block.opened", fields=FIELDS),
    of_block("block.updated", fields=FIELDS),
    of_block("block.updated", fields=FIELDS, whole=st.just(True)),
    of_block("block.updated", fields=STATES),
    of_block("block.replaced", fields=FIELDS),
    of_block("block.replaced", text=TEXTS, fields=FIELDS, whole=st.just(True)),
    of_block("block.closed"),
)
#: What a server says of a message whenever it opens it; one that a state lacks is not unset.
OPENED = {"type": "message.opened", "role": "user", "parentId": "p", "order": 7}
OPEN_OPS = st.one_of(
    of_message("message.opened", role=st.just("assistant"), order=ORDERS),
    of_message("message.opened", role=st.just("user"), info=FIELDS, parentId=st.just("p")),
)
MESSAGE_OPS = st.one_of(
    of_message("message.updated", info=FIELDS),
    of_message("message.updated", info=FIELDS, whole=st.just(True)),
    of_message("message.closed", status=st.sampled_from(["completed", "aborted", "error"])),
    of_message("message.closed", status=st.just("error"), error=FIELDS),
)
REMOVALS = st.one_of(of_block("block.removed"), of_message("message.removed"))
RESETS = of_message("message.reset")
REQUEST_IDS = st.sampled_from(["r1", "r2"])
OWN_OPS = st.one_of(
    of_message("session.updated", info=FIELDS),
    of_message("session.updated", info=FIELDS, whole=st.just(True)),
    of_message("session.status", status=st.sampled_from(["idle", "busy"])),
    of_message("session.status", status=st.just("retry"), attempt=st.integers(1, 3)),
    of_message("todo.updated", todo=st.lists(VALUES, max_size=2)),
    of_message("session.diff", diff=st.lists(VALUES, max_size=2)),
)
SESSION_OPS = st.one_of(
    OWN_OPS,
    OWN_OPS,
    of_message("permission.asked", id=REQUEST_IDS, payload=st.just({"tool": "bash"})),
    of_message("permission.replied", id=REQUEST_IDS),
    of_message("question.asked", id=REQUEST_IDS, callId=st.just("c")),
    of_message("question.rejected", id=REQUEST_IDS),
)
UNFETCHED = st.one_of(
    of_message("session.error", error=FIELDS),
    of_message("session.state", state=VALUES),
)


def numbered(
    ops: Sequence[tuple[str, str, Wire]],
    sequencing: str,
    strides: Sequence[int] = (1,),
    revives: bool = False,
) -> list[Wire]:
    """A log that a server could have written: what each op says, with the seq it gets.

    `revives`: it says nothing of what it removed before it opens it again, asks once, and
    answers what was asked.
    """
    counters: dict[str, int] = {}
    sessions: dict[str, Folded] = {}
    log = []
    for place, (session_id, message_id, op) in enumerate(ops):
        event = {name: value for name, value in op.items() if name != "fields"}
        event.update(op.get("fields", {}))
        session = sessions.setdefault(session_id, Folded())
        event["sessionId"] = session_id
        if op["type"].partition(".")[0] in ("message", "block"):
            event["messageId"] = message_id
            if revives and session.messages.get(message_id) is GONE:
                event = {**OPENED, **of(session_id, message_id)}
        if "blockIndex" in event:
            event = plausible(event, session.messages.get(message_id), revives)
        if revives and op["type"].partition(".")[0] in ("permission", "question"):
            table = op["type"].partition(".")[0] + "s"
            asked = op["id"] in session.requests[table]
            if asked == op["type"].endswith("asked") or (table, op["id"]) in session.answered:
                continue
        counter = session_id if sequencing == "session" else ""
        stride = 1 if sequencing == "session" else strides[place % len(strides)]
        event["seq"] = counters[counter] = counters.get(counter, 0) + stride
        session.take(event)
        log.append(event)
    return log


def of(session_id: str, message_id: str) -> Wire:
    return {"sessionId": session_id, "messageId": message_id}


def plausible(event: Wire, message: Any, revives: bool) -> Wire:
    """An event of a block as its server would send it: of the block's own kind, opened first."""
    index = event["blockIndex"]
    kind = KINDS[index]
    there = message not in (None, GONE) and message["blocks"].get(index) not in (None, GONE)
    if message not in (None, GONE) and message["resetting"]:
        there = False
    event.pop("kind", None)
    if kind != "tool":
        event.pop("state", None)
    elif "state" not in event:
        event.pop("whole", None)
    opens = event["type"] == "block.opened" or (
        (kind != "text" or revives) and not there and event["type"] != "block.removed"
    )
    if not opens:
        return event
    kept = {name: value for name, value in event.items() if name not in ("text", "field", "whole")}
    return {**kept, "type": "block.opened", "kind": kind}


def logs(
    *ops: st.SearchStrategy[Wire],
    sequencing: str,
    sessions: Sequence[str] = ("s",),
    messages: Sequence[str] = ("m", "n"),
    min_size: int = 1,
    max_size: int = 24,
    revives: bool = False,
) -> st.SearchStrategy[list[Wire]]:
    return st.builds(
        numbered,
        st.lists(
            st.tuples(st.sampled_from(sessions), st.sampled_from(messages), st.one_of(*ops)),
            min_size=min_size,
            max_size=max_size,
        ),
        st.just(sequencing),
        st.lists(st.integers(1, 5), min_size=1, max_size=4),
        st.just(revives),
    ).filter(bool)


def new_stream(sequencing: str, limits: Limits | None = None) -> tuple[StreamStore, Stream]:
    store = StreamStore("native", ticks="manual", limits=limits)
    return store, store.open("native", sequencing=sequencing)


def feed(store: StreamStore, stream: Stream, events: Iterable[Wire], seed: int = 0) -> None:
    """Take events in, with ticks in between."""
    chance = random.Random(seed)
    for event in events:
        stream.ingest(copy.deepcopy(event))
        if chance.random() < 0.2:
            store.flush()


def state(store: StreamStore) -> dict[str, Any]:
    store.flush()
    return {name: value for name, value in store.state().items() if name != "counts"}


def arrivals(log: Sequence[Wire], seed: int, repeats: bool = True) -> list[Wire]:
    """Any order, every event once or more."""
    chance = random.Random(seed)
    arrived = [event for event in log for _ in range(chance.choice((1, 1, 2)) if repeats else 1)]
    chance.shuffle(arrived)
    return arrived


def conserved(store: StreamStore, held: int = 0) -> None:
    """L6: what was received was accepted or refused; what was accepted is somewhere."""
    characters = dict(store.health.counts["characters"])
    received, accepted = characters.pop("received", 0), characters.pop("accepted", 0)
    superseded, paired = characters.pop("superseded", 0), characters.pop("paired", 0)
    assert received == accepted + sum(characters.values())
    kept = 0
    for session_id in store.session_ids():
        for message in store.messages(session_id):
            for part in store.parts(session_id, message.id):
                kept += len(part.text) + sum(len(view) for view in part.others.values())
    assert accepted == kept + held + superseded + paired


def objects(store: StreamStore) -> list[Any]:
    """What reads return, from the sessions down."""
    found: list[Any] = []
    for session_id in store.session_ids():
        found += [store.session(session_id), store.messages(session_id)]
        for message in store.messages(session_id):
            found += [message, store.parts(session_id, message.id)]
            found += store.parts(session_id, message.id)
    return found


def same_objects(store: StreamStore, before: Sequence[Any]) -> bool:
    now = objects(store)
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))


EVERYTHING = (TEXT_OPS, BLOCK_OPS, OPEN_OPS, MESSAGE_OPS, SESSION_OPS, UNFETCHED, REMOVALS, RESETS)


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_any_order_with_duplicates_ends_in_the_same_state(sequencing, data, seed):
    log = data.draw(logs(*EVERYTHING, sequencing=sequencing))
    in_order, stream = new_stream(sequencing)
    feed(in_order, stream, log, seed)
    store, stream = new_stream(sequencing)
    feed(store, stream, arrivals(log, seed), seed)
    assert state(store)["sessions"] == fold(log)
    assert state(store) == state(in_order)
    assert "gaps" not in state(store) or not state(store)["gaps"]


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_what_comes_again_changes_nothing_and_keeps_the_objects(sequencing, data, seed):
    log = data.draw(logs(*EVERYTHING, sequencing=sequencing))
    store, stream = new_stream(sequencing)
    feed(store, stream, log, seed)
    before = state(store)
    read = objects(store)
    again = arrivals(log, seed)
    kinds = [stream.ingest(copy.deepcopy(event)).kind for event in again]
    assert set(kinds) <= {"duplicate", "refused"}
    assert not store.flush()
    assert state(store) == before
    assert same_objects(store, read)


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_no_character_is_lost_or_counted_twice(sequencing, data, seed):
    ops = (TEXT_OPS, TEXT_OPS, BLOCK_OPS, REMOVALS, RESETS)
    log = data.draw(logs(*ops, sequencing=sequencing))
    plain = [{**e, "text": e["text"].replace("\ud83d", "")} if "text" in e else e for e in log]
    last = max(event["seq"] for event in plain)
    for index in (None, *KINDS):  # what a removal still holds comes back
        kind = {"type": "message.opened", "role": "user"}
        if index is not None:
            kind = {"type": "block.opened", "blockIndex": index, "kind": KINDS[index]}
        for message_id in ("m", "n"):
            last += 1
            plain.append({**kind, "sessionId": "s", "messageId": message_id, "seq": last})
    store, stream = new_stream(sequencing)
    feed(store, stream, arrivals(plain, seed), seed)
    store.flush()
    conserved(store)


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_sessions_do_not_touch_each_other(sequencing, data, seed):
    ops = (TEXT_OPS, BLOCK_OPS, OPEN_OPS, MESSAGE_OPS, SESSION_OPS, REMOVALS)
    log = data.draw(logs(*ops, sequencing=sequencing, sessions=("s", "t")))
    store, stream = new_stream(sequencing)
    feed(store, stream, arrivals(log, seed), seed)
    both = state(store)["sessions"]
    for session_id in ("s", "t"):
        alone, stream = new_stream(sequencing)
        own = [event for event in log if event["sessionId"] == session_id]
        feed(alone, stream, own)
        assert both.get(session_id) == state(alone)["sessions"].get(session_id)


SESSION_REMOVALS = st.one_of(
    of_message("session.removed"),
    of_message("session.updated", info=FIELDS, whole=st.just(True)),
)


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_any_order_with_removals_of_the_session(sequencing, data, seed):
    asks = of_message("permission.asked", id=REQUEST_IDS, payload=st.just({"tool": "bash"}))
    ops = (TEXT_OPS, BLOCK_OPS, MESSAGE_OPS, OWN_OPS, UNFETCHED, SESSION_REMOVALS, asks)
    log = data.draw(logs(*ops, sequencing=sequencing))
    store, stream = new_stream(sequencing)
    feed(store, stream, arrivals(log, seed), seed)
    assert state(store)["sessions"] == fold(log)


PATCH = st.sampled_from(
    [
        [{"op": "add", "path": "/n", "value": 1}],
        [{"op": "add", "path": "/list/-", "value": "x"}],
        [{"op": "remove", "path": "/n"}],
        [{"op": "replace", "path": "", "value": {"list": []}}],
    ]
)


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(
    changes=st.lists(st.one_of(PATCH, st.just({"list": []})), min_size=1, max_size=9),
    seed=st.integers(0, 2**32),
)
def test_patches_of_the_shared_state_apply_in_order_of_seq(sequencing, changes, seed):
    log, shared = [], None
    for seq, change in enumerate([{"list": []}, *changes]):
        patches = isinstance(change, list)
        log.append(
            {
                "type": "session.state",
                "sessionId": "s",
                "seq": seq,
                **({"patch": change} if patches else {"state": change}),
            }
        )
        try:
            shared = jsonpatch.apply_patch(shared, change) if patches else change
        except Exception:
            continue  # a patch that does not fit changes nothing
    store, stream = new_stream(sequencing)
    feed(store, stream, arrivals(log, seed), seed)
    assert state(store)["sessions"]["s"].get("state") == (shared or None)


def disturbed(log: Sequence[Wire], seed: int, reach: int) -> list[Wire]:
    """Every event once or twice, none more than `reach` events from its place."""
    chance = random.Random(seed)
    placed = [
        (place + chance.uniform(0, reach), event)
        for place, event in enumerate(log)
        for _ in range(chance.choice((1, 1, 2)))
    ]
    return [event for _, event in sorted(placed, key=lambda entry: entry[0])]


def ended(log: Sequence[Wire]) -> list[Wire]:
    """A log without what comes after a block's close: it would have no window to go to."""
    closed: set[Any] = set()
    kept = []
    for event in log:
        message_id, index = event["messageId"], event.get("blockIndex")
        if event["type"] in ("message.removed", "message.reset"):
            closed = {key for key in closed if key[0] != message_id}
        if event["type"] == "block.removed":
            closed.discard((message_id, index))
        if (message_id, index) in closed:
            continue
        if event["type"] == "block.closed":
            closed.add((message_id, index))
        kept.append(event)
    return kept


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(data=st.data(), seed=st.integers(0, 2**32), window=st.integers(2, 6))
def test_order_within_a_small_window_does_not_matter(sequencing, data, seed, window):
    # A closed block keeps its window for as many events of its session as the window is long.
    ops = (TEXT_OPS, TEXT_OPS, BLOCK_OPS, OPEN_OPS, MESSAGE_OPS, REMOVALS, RESETS)
    log = data.draw(logs(*ops, sequencing=sequencing, min_size=30, max_size=60, revives=True))
    log = ended(log)
    store, stream = new_stream(sequencing, Limits(late_window=2 * window))
    feed(store, stream, disturbed(log, seed, window), seed)
    assert state(store)["sessions"] == fold(log)
    assert sequencing == "session" or not store.health.gaps  # what was left out is a hole there
    unplaced = set(store.health.resync.values()) - {"operations of the session are missing"}
    assert not unplaced


@pytest.mark.parametrize("sequencing", SEQUENCINGS)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_snapshot_anywhere_ends_in_the_same_state(sequencing, data, seed):
    ops = (TEXT_OPS, TEXT_OPS, BLOCK_OPS, MESSAGE_OPS, SESSION_OPS, REMOVALS, st.just(OPENED))
    log = data.draw(logs(*ops, sequencing=sequencing, revives=True))
    at = data.draw(st.sampled_from([event["seq"] for event in log]), label="position")
    complete = data.draw(st.booleans(), label="complete")
    snapshot = fetched(log, "s", at, complete=complete)
    chance = random.Random(seed)
    arrived = arrivals(log, seed)
    if complete:  # what it stands for need not come at all
        lost = {event["seq"] for event in log if event["seq"] <= at and chance.random() < 0.4}
        arrived = [event for event in arrived if event["seq"] not in lost]
    arrived.insert(chance.randrange(len(arrived) + 1), snapshot)
    store, stream = new_stream(sequencing)
    feed(store, stream, arrived, seed)
    assert state(store)["sessions"] == fold(log)
    assert not store.health.gaps
