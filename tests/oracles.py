"""What the official client or the server made of each recorded case, and what ours makes of it.

A case yields claims, each two JSON values that should be equal: what the oracle holds and what
came out of the door that `streamstore fold LOG ... --protocol P --as P` uses. Known differences
are in `differences.json`. Knows the corpora's files and the rules of their READMEs; holds no test.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal, NamedTuple

from recordings import Case, Wire, frames

from streamstore import StreamStore
from streamstore.adapters.base import Context
from streamstore.feeding import connections, feed_all
from streamstore.pipeline import Stream
from streamstore.protocols import adapter_named

Policy = Literal["lenient", "strict"]
POLICIES: tuple[Policy, ...] = ("lenient", "strict")

TABLE: Any = json.loads((Path(__file__).parent / "differences.json").read_bytes())


class Claim(NamedTuple):
    """Two values that should be equal: what the oracle holds, and what ours is."""

    what: str
    theirs: Any
    ours: Any


class Stopping(StreamStore):
    """A store whose streams stop where the official client would."""

    def open(self, protocol: str = "auto", **options: Any) -> Stream:
        return super().open(protocol, **{"policy": "strict", **options})


def a_store(policy: Policy, ticks: Any = "manual") -> StreamStore:
    return Stopping(ticks=ticks) if policy == "strict" else StreamStore(ticks=ticks)


def encoded(store: StreamStore, protocol: str) -> Any:
    store.flush()
    return adapter_named(protocol)(Context()).encode(store)


# --- what `fold` is given -------------------------------------------------------------------------


def logs_of(case: Case, folder: Path) -> list[str]:
    """The files that the command gets for a case, in order; those it lacks are made in `folder`."""
    found: list[str] = []
    for name, data in _GIVEN.get(case.protocol, _bodies)(case):
        path = case.folder / name
        if not path.exists() or path.read_bytes() != data:
            path = folder / f"{len(found)}-{name}"
            path.write_bytes(data)
        found.append(str(path))
    return found


def folded(case: Case, names: Sequence[str], policy: Policy) -> StreamStore:
    """What `fold` does with the files, short of printing."""
    store = StreamStore(ticks="manual")
    feed_all(store, connections(names), case.protocol, policy=policy)
    store.flush()
    return store


_Given = Iterator[tuple[str, bytes]]


def _bodies(case: Case) -> _Given:
    yield "stream.sse", case.bodies[0]


def _ag_ui_files(case: Case) -> _Given:
    initial = case.json("initial.json")
    if initial is not None:  # as a server gives it: with the thread it is of
        yield "initial.json", _dumped({"threadId": "thread-1", "messages": [], **initial})
    for number, body in enumerate(case.bodies, start=1):
        yield ("stream.sse" if case.has("stream.sse") else f"stream{number}.sse"), body


def _opencode_files(case: Case) -> _Given:
    states = (case.has("initial.json") and "initial.json", False)
    if len(case.bodies) > 1:
        states = (False, case.has("snapshot.json") and "snapshot.json")
    for number, body in enumerate(case.bodies):
        state = states[number]
        if state:
            yield state, case.bytes(state)
        kind = "sse" if case.has("stream.sse") else "jsonl"
        stem = "stream" if kind == "sse" else "events"
        yield f"{stem}.{number + 1}.{kind}" if number else f"{stem}.{kind}", body


def _vercel_files(case: Case) -> _Given:
    if not case.has("actions.json"):
        initial, chat = case.json("initial.json"), case.json("chat.json")
        request = [] if chat is None else [m for m in chat["messages"] if m["role"] == "user"]
        request += [] if initial is None else [initial]
        if request:
            yield "request.json", _dumped({"messages": request})
        yield "stream.sse", case.bodies[0]
        return
    # A chat of several requests: what a request names is what the client holds by then.
    store = a_store("lenient")
    held = case.json("initial_messages.json")
    users = [m for m in case.json("expected_messages.json") if m["role"] == "user"]
    users = [user for user in users if user not in held]
    if held:
        yield "held.json", _dumped(held)
        store.open("vercel-ui").ingest(held)
    for number, (action, body) in enumerate(
        zip(case.json("actions.json"), case.bodies, strict=True)
    ):
        stream = store.open("vercel-ui")
        if action != "resume":
            request = {"messages": [*encoded(store, "vercel-ui"), users.pop(0)]}
            request["trigger"] = "submit-message"
            yield f"request{number}.json", _dumped(request)
            stream.ingest(request)
        yield f"stream{number + 1}.sse", body
        stream.feed(body)
        stream.end()
    assert not users


_GIVEN: dict[str, Callable[[Case], _Given]] = {
    "ag-ui": _ag_ui_files,
    "opencode": _opencode_files,
    "vercel-ui": _vercel_files,
}


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


# --- anthropic ------------------------------------------------------------------------------------


def _anthropic(case: Case, policy: Policy, store: StreamStore, printed: Any) -> Iterator[Claim]:
    expected = case.expected
    snapshot = expected["snapshot"]
    yield Claim("snapshot", [] if snapshot is None else [snapshot], printed)
    yield Claim("error", _raised(expected, policy), _reported(policy, store))
    yield from _checkpoints(case, policy, "snapshot", lambda response: response)


def _raised(expected: Wire, policy: Policy) -> Wire:
    """What the client raised: where, if ours is to stop there, too, else what the wire said."""
    error = expected["error"] or {}
    where = {name: error[name] for name in ("at_wire_event",) if name in error}
    if policy == "strict" and where:
        return where
    body = error.get("body") or {name: error[name] for name in ("message", "code") if name in error}
    return body or where


def _reported(policy: Policy, store: StreamStore) -> Wire:
    """The same of ours."""
    counts = store.health.counts["verdicts"]
    if policy == "strict" and counts.get("refused:stopped"):
        return {"at_wire_event": counts.get("accepted", 0)}
    sessions = map(store.session, store.session_ids())
    errors = [error for session in sessions if session for error in session.errors]
    if not errors:
        return {}
    (error,) = errors
    return _plain(error["data"])


def _plain(value: Any) -> Any:
    if hasattr(value, "items"):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _checkpoints(
    case: Case, policy: Policy, member: str, part: Callable[[Wire], Any]
) -> Iterator[Claim]:
    """What was there after some of the events."""
    points = {p["after_wire_event"]: p[member] for p in case.expected["checkpoints"]}
    store = a_store(policy)
    stream = store.open(case.protocol)
    for number, wire in enumerate(case.wires):
        if wire != "[DONE]":
            stream.ingest(wire)
        if number in points:
            ours = [part(response) for response in encoded(store, case.protocol)]
            yield Claim(f"checkpoint {number}", [part(points.pop(number))], ours)
    assert not points


# --- openai-chat ----------------------------------------------------------------------------------


def _openai_chat(case: Case, policy: Policy, store: StreamStore, printed: Any) -> Iterator[Claim]:
    expected = case.expected
    yield Claim("snapshot", [expected["snapshot"]], printed)
    yield Claim("error", _raised(expected, policy), _reported(policy, store))
    yield from _checkpoints(case, policy, "snapshot", lambda completion: completion)


# --- openai-responses -----------------------------------------------------------------------------


def _openai_responses(
    case: Case, policy: Policy, store: StreamStore, printed: Any
) -> Iterator[Claim]:
    expected = case.expected
    final = expected["terminal_response"] or expected["running_snapshot"]
    yield Claim("terminal_response", [final], printed)
    alone = a_store(policy)
    alone.open(case.protocol).ingest_many(_deltas_alone(case.wires))
    (ours,) = encoded(alone, case.protocol)
    yield Claim("output of the deltas alone", final["output"], _without_nulls(ours["output"]))
    running = expected["running_snapshot"]
    yield Claim(
        "running_snapshot",
        _by_the_sdk(running["output"]),
        _by_the_sdk(printed[0]["output"]),
    )
    yield from _checkpoints(case, policy, "running_snapshot", lambda r: _by_the_sdk(r["output"]))
    theirs, ours = _raised(expected, policy), _reported(policy, store)
    # An error that is an event of a response is an answer to the SDK: it raises nothing.
    yield Claim("error", theirs, {name: ours[name] for name in ours if name in theirs})
    if case.has("resume.json"):
        yield from _resumed(case, policy, final)


def _resumed(case: Case, policy: Policy, final: Wire) -> Iterator[Claim]:
    """The first stream and each way a server goes on are what the uninterrupted one is.

    The SDK folds every stream from its start, so that a strict one stays with what it has where
    the second does not begin there.
    """
    after = case.json("resume.json")["starting_after"]
    blocks = frames(case.bodies[0])
    for way, start in (("after", after + 1), ("overlap", after - 12), ("from-zero", 0)):
        store = a_store(policy)
        theirs: Any = [final]
        for name, part in (("first", blocks[: after + 1]), (f"resume-{way}", blocks[start:])):
            data = b"".join(part)
            assert not case.has(f"{name}.sse") or case.bytes(f"{name}.sse") == data
            stream = store.open(case.protocol)
            stream.feed(data)
            stream.end()
            if policy == "strict" and name == "first" and start:
                theirs = encoded(store, case.protocol)
        yield Claim(f"resumed: {way}", theirs, encoded(store, case.protocol))


def _by_the_sdk(output: list[Wire]) -> list[Any]:
    """What the SDK folds itself: items, content parts, texts and function arguments."""
    found: list[Any] = []
    for item in output:
        entry = [item["id"], item["type"]]
        if item["type"] == "message":
            entry += [
                [part["type"], part["text"] if part["type"] == "output_text" else None]
                for part in item["content"]
            ]
        elif item["type"] == "function_call":
            entry += [item["name"], item["call_id"], item["arguments"]]
        found.append(entry)
    return found


_WHOLE = ("_text.done", "refusal.done", "_part.done", "arguments.done", "input.done", "code.done")


def _deltas_alone(wires: list[Any]) -> Iterator[Wire]:
    """The events without every whole text, so that deltas are the only source."""
    for wire in copy.deepcopy([wire for wire in wires if wire != "[DONE]"]):
        if wire.get("type", "").endswith(_WHOLE):
            continue
        if wire.get("type") == "response.output_item.done":
            item = wire["item"]
            for name in ("arguments", "input", "code", "summary"):
                item.pop(name, None)
            if item["type"] == "reasoning":
                item["summary"] = None
            for part in item.get("content") or ():
                for name in ("text", "refusal", "annotations"):
                    part.pop(name, None)
        if "response" in wire:
            wire["response"]["output"] = None
        yield wire


def _without_nulls(output: list[Wire]) -> list[Wire]:
    """A summary that the deltas did not bring was taken out above."""
    return [{**item, "summary": []} if item.get("summary", ()) is None else item for item in output]


# --- vercel-ui ------------------------------------------------------------------------------------

_MADE = ("local-", "client-")


def _vercel_ui(case: Case, policy: Policy, store: StreamStore, printed: Any) -> Iterator[Claim]:
    if case.has("actions.json"):
        yield Claim("messages", _unnamed(case.json("expected_messages.json")), _unnamed(printed))
        return
    expected, chat = case.expected, case.json("chat.json")
    if policy == "strict" and chat is not None:
        yield Claim("chat", _unnamed(chat["messages"]), _unnamed(printed))
        counts = store.health.counts["verdicts"]
        stopped = any(name.startswith(("refused:stopped", "malformed")) for name in counts)
        yield Claim("status", chat["status"], "error" if stopped else "ready")
        return
    ours = [message for message in printed if message["role"] != "user"]
    yield Claim("message", [] if expected is None else _unnamed([expected]), _unnamed(ours))


def _unnamed(messages: list[Wire]) -> list[Wire]:
    """Messages with "" for an id that a client made, as the SDK's reader has it."""
    return [
        {**message, "id": "" if message["id"].startswith(_MADE) else message["id"]}
        for message in messages
    ]


# --- ag-ui ----------------------------------------------------------------------------------------


def _ag_ui(case: Case, policy: Policy, store: StreamStore, printed: Any) -> Iterator[Claim]:
    expected = case.expected
    yield Claim("messages", _numbered(expected["messages"]), _numbered(printed["messages"]))
    yield Claim("state", expected["state"], printed["state"])
    sessions = [store.session(name) for name in store.session_ids()]
    pending = [p for s in sessions if s for p in s.info.get("pendingInterrupts", ())]
    yield Claim("pendingInterrupts", expected["pendingInterrupts"], _plain(pending))
    if policy == "strict":
        refused = {"refused:conflict", "refused:removed"}  # warned about there, and gone on with
        counts = {
            name.partition(":")[0]
            for name in store.health.counts["verdicts"]
            if name not in refused
        }
        stopped = bool(counts & {"malformed", "refused"})
        # Half a frame is none for an event stream: nothing is there that could be refused.
        failed = not expected["runs"][-1]["ok"] and case.name != "malformed-truncated"
        yield Claim("failed", failed, stopped)


def _numbered(messages: list[Wire]) -> list[Wire]:
    """Messages with a number for an id that a client made, by the order in which they stand."""
    made: dict[str, str] = {}
    found = []
    for message in messages:
        name = message["id"]
        if name.startswith(("local-", "00000000-0000-4000-8000-")):
            name = made.setdefault(name, f"made-{len(made) + 1}")
        found.append({**message, "id": name})
    return found


# --- opencode -------------------------------------------------------------------------------------

_READS = ("sessions", "messages", "status", "todo", "diff", "permission", "question")


def _opencode(case: Case, policy: Policy, store: StreamStore, printed: Any) -> Iterator[Claim]:
    expected = case.expected
    for name in _READS:
        yield Claim(name, expected[name], printed[name])


_CLAIMS: dict[str, Callable[[Case, Policy, StreamStore, Any], Iterator[Claim]]] = {
    "anthropic": _anthropic,
    "openai-responses": _openai_responses,
    "openai-chat": _openai_chat,
    "vercel-ui": _vercel_ui,
    "ag-ui": _ag_ui,
    "opencode": _opencode,
}


def claims(case: Case, policy: Policy, store: StreamStore, printed: Any) -> list[Claim]:
    """Everything that the oracle of a case says, and what ours is; `printed` is what `fold` gave."""
    return list(_CLAIMS[case.protocol](case, policy, store, printed))


# --- what differs ---------------------------------------------------------------------------------


def differing(claims: Sequence[Claim]) -> list[Wire]:
    """Where claims are not equal: the claim, the place in it, and what stands there.

    A value that one side lacks is left out.
    """
    return [
        {"what": claim.what, **found}
        for claim in claims
        for found in _difference(claim.theirs, claim.ours, "")
    ]


_ABSENT: Any = object()


def _difference(theirs: Any, ours: Any, at: str) -> Iterator[Wire]:
    if type(theirs) is dict and type(ours) is dict:
        for name in sorted({*theirs, *ours}):
            yield from _difference(
                theirs.get(name, _ABSENT), ours.get(name, _ABSENT), f"{at}/{name}"
            )
    elif type(theirs) is list and type(ours) is list:
        for mine, yours, place in _aligned(theirs, ours):
            yield from _difference(mine, yours, f"{at}/{place}")
    elif theirs != ours or _kind(theirs) is not _kind(ours):
        sides = {"theirs": theirs, "ours": ours}
        yield {"at": at, **{side: value for side, value in sides.items() if value is not _ABSENT}}


def _aligned(theirs: list[Any], ours: list[Any]) -> Iterator[tuple[Any, Any, int]]:
    """Items that stand for each other, and the place of each, on its own side if it is alone."""
    if len(theirs) == len(ours):
        yield from zip(theirs, ours, range(len(ours)), strict=True)
        return
    names = [list(map(_name, items)) for items in (theirs, ours)]
    for _, i, i_end, j, j_end in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        while i < i_end or j < j_end:
            place = i if i < i_end else j
            yield (
                theirs[i] if i < i_end else _ABSENT,
                ours[j] if j < j_end else _ABSENT,
                place,
            )
            i, j = i + 1, j + 1


def _name(item: Any) -> str:
    named = item.get("id") if isinstance(item, dict) else None
    return named if isinstance(named, str) else json.dumps(item, sort_keys=True)


def _kind(value: Any) -> type:
    """An SDK makes floats of some whole numbers."""
    return float if type(value) is int else type(value)


def known(case: Case, policy: Policy) -> list[Wire]:
    """What the table says that differs in a case."""
    found: list[Wire] = []
    for entry in TABLE["differences"]:
        if (entry["protocol"], entry["case"]) == (case.protocol, case.name):
            found += entry["differs"] if policy in entry["policies"] else []
    return found
