"""Strategies for logs of canonical events, as wire objects.

A *consistent* log is what one server would send: every number once, snapshots that say what the
operations up to them make. The tests then drop, repeat, shuffle and cut it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

Wire = dict[str, Any]

SESSIONS = ("s1", "s2")
MESSAGES = ("m1", "m2")  # the same ids in both sessions
BLOCKS = (0, 1, 10, "a", "b")
KINDS = ("text", "reasoning", "data")

# One sign per trap: line ends of Unicode, a pair of UTF-16 units, halves of one, two code points
# that look like one.
_SIGNS = "ab é\n\u2028\u0085\U0001f600\U0001f9ec\ud83d\ude00e\u0301"
texts = st.text(_SIGNS, max_size=6)
orders = st.one_of(st.none(), st.sampled_from([0, 1, 1.5, 2]))
# An object is one field; true is not 1.
values = st.sampled_from([0, 1, True, "", {"p": 1}, [1, {"q": None}]])
fields = st.dictionaries(st.sampled_from(["x", "y"]), values, max_size=2)


@st.composite
def pieces(draw: Any, max_size: int = 5) -> list[str]:
    """Texts of deltas: one text cut between any two UTF-16 units, as JavaScript servers do."""
    units = draw(texts).encode("utf-16-le", "surrogatepass")
    size = len(units) // 2
    cuts = draw(st.lists(st.integers(0, size), max_size=max_size - 1).map(sorted))
    edges = [0, *cuts, size]
    return [
        units[2 * start : 2 * stop].decode("utf-16-le", "surrogatepass")
        for start, stop in itertools.pairwise(edges)
    ]


@st.composite
def block_events(draw: Any, key: Wire, sequencing: str, removals: bool = True) -> list[Wire]:
    """One block's life as its server sends it, in order."""
    tool = draw(st.integers(0, 4)) == 0
    kind = "tool" if tool else draw(st.sampled_from(KINDS))
    opened = {"type": "block.opened", **key, "kind": kind, "tag": "t"}
    order = draw(orders)
    if order is not None:
        opened["order"] = order
    events = [] if draw(st.integers(0, 5)) == 0 and sequencing == "none" else [opened]
    seq, text, known = 0, "", {}
    for piece in draw(pieces()):
        seq += 1
        # Text of another field has no replace and no snapshot.
        choice = 0 if tool else draw(st.integers(0, 5))
        if choice < 4:
            event = {"type": "block.delta", **key, "text": piece}
            if tool or draw(st.integers(0, 3)) == 0:
                event["field"] = "input" if tool else "text"
            text += piece
        else:
            event = {"type": "block.replaced", **key, **draw(fields)}
            known.update({name: event[name] for name in ("x", "y") if name in event})
            if choice == 4:
                event["text"] = text = draw(texts)
                if sequencing == "none" and draw(st.integers(0, 3)) == 0:
                    event["whole"] = True
        if sequencing == "block":
            event["seq"] = seq
        events.append(event)
        if sequencing == "block" and not tool and draw(st.integers(0, 4)) == 0:
            events.append({"type": "block.snapshot", **key, "seq": seq, "text": text, **known})
    if draw(st.booleans()):
        closed = {"type": "block.closed", **key}
        if sequencing == "block" and draw(st.booleans()):
            closed["seq"] = seq
        events.append(closed)
    if removals and draw(st.integers(0, 9)) == 0:
        events.append({"type": "block.removed", **key})
    return events


@st.composite
def message_events(draw: Any, key: Wire, sequencing: str, removals: bool = True) -> list[Wire]:
    """One message with its blocks, the blocks' events mingled."""
    opened = {"type": "message.opened", **key, "role": draw(st.sampled_from(["user", "assistant"]))}
    order = draw(orders)
    if order is not None:
        opened["order"] = order
    indexes = draw(st.lists(st.sampled_from(BLOCKS), unique=True, max_size=3))
    blocks = [
        draw(block_events({**key, "blockIndex": index}, sequencing, removals)) for index in indexes
    ]
    events = [opened, *draw(mingled(blocks))]
    statuses = st.sampled_from(["completed", "aborted", "error"])
    for status in draw(st.lists(statuses, max_size=1 if sequencing == "none" else 2)):
        events.append({"type": "message.closed", **key, "status": status})
    if removals and draw(st.integers(0, 9)) == 0:
        events.append({"type": "message.removed", **key})
    return events


@st.composite
def logs(
    draw: Any,
    sequencing: str = "block",
    sessions: Sequence[str] = SESSIONS,
    removals: bool = True,
) -> list[Wire]:
    """A consistent log of some messages in some sessions, in an order a server may send."""
    names = [(session, message) for session in sessions for message in MESSAGES]
    chosen = draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=3))
    lanes = [
        draw(message_events({"sessionId": session, "messageId": message}, sequencing, removals))
        for session, message in chosen
    ]
    log = draw(mingled(lanes))
    if sequencing == "none":
        log = [
            {**event, "id": f"e{place}"} if draw(st.integers(0, 2)) == 0 else event
            for place, event in enumerate(log)
        ]
    return log


@st.composite
def mingled(draw: Any, lanes: Sequence[Sequence[Wire]]) -> list[Wire]:
    """Lanes merged into one list, each in its own order."""
    slots = [lane for lane, events in enumerate(lanes) for _ in events]
    waiting = [iter(events) for events in lanes]
    return [next(waiting[lane]) for lane in draw(st.permutations(slots))]


@st.composite
def disturbed(draw: Any, log: Sequence[Wire]) -> list[Wire]:
    """The events of a log in any order, some of them twice."""
    again = draw(st.lists(st.sampled_from(log), max_size=5)) if log else []
    return draw(st.permutations([*log, *again]))


@st.composite
def crowded(draw: Any, sequencing: str = "block", sessions: Sequence[str] = SESSIONS) -> list[Wire]:
    """A log with everything else that a session brings: turns, requests, lists, states, resets."""
    log = draw(logs(sequencing, sessions))
    for event in draw(st.lists(side_events(sessions), max_size=8)):
        log.insert(draw(st.integers(0, len(log))), event)
    return log


def side_events(sessions: Sequence[str] = SESSIONS) -> st.SearchStrategy[Wire]:
    """Events beside text. None of them carries a number."""
    session = st.sampled_from(sessions)
    message = st.sampled_from(MESSAGES)
    block = st.sampled_from(BLOCKS)
    request = st.sampled_from(["r1", "r2"])
    small = st.integers(0, 2)

    def of(event_type: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[Wire]:
        return st.fixed_dictionaries({"type": st.just(event_type), "sessionId": session, **members})

    return st.one_of(
        of("turn.started"),
        of("turn.started", deliveryMode=st.sampled_from(["buffered", "streaming"])),
        of("turn.completed"),
        of("session.status", status=st.sampled_from(["idle", "busy"])),
        of("session.error", error=st.fixed_dictionaries({"name": st.just("E"), "message": texts})),
        of("session.updated", info=fields, whole=st.booleans()),
        of("session.state", state=fields),
        of(
            "session.state",
            patch=st.just([{"op": "add", "path": "/z", "value": 1}]),
        ),
        of("todo.updated", todo=st.lists(small, max_size=2)),
        of("session.diff", diff=st.lists(small, max_size=2)),
        of("permission.asked", id=request, messageId=message),
        of("permission.replied", id=request),
        of("question.asked", id=request, payload=fields),
        of("question.rejected", id=request),
        of("message.updated", messageId=message, info=fields, whole=st.booleans()),
        of("message.reset", messageId=message),
        of("message.removed", messageId=message),
        of("block.updated", messageId=message, blockIndex=block, x=small),
        of("block.removed", messageId=message, blockIndex=block),
        of("session.removed"),
    )


# -- what is none of these ---------------------------------------------------------------------

WRONG_NUMBERS: tuple[Any, ...] = (None, True, 1.0, "1", -1, 2**63, [1], {})
WRONG_IDS: tuple[Any, ...] = (None, "", 7, True, [], {})


def malformed(log: Sequence[Wire]) -> st.SearchStrategy[Wire]:
    """One event of a block log, broken in one member."""
    operations = [event for event in log if event["type"] in ("block.delta", "block.replaced")]
    first = {"type": "block.delta", "sessionId": "s1", "messageId": "m1", "blockIndex": 0}
    event = st.sampled_from(operations or [{**first, "seq": 1, "text": "lost"}])
    wrong_seq = st.sampled_from(WRONG_NUMBERS).map(lambda seq: {"seq": seq})
    wrong_id = st.sampled_from(WRONG_IDS).map(lambda name: {"messageId": name})
    wrong_session = st.sampled_from(WRONG_IDS[1:]).map(lambda name: {"sessionId": name})
    wrong_index = st.sampled_from([None, "", True, 1.0, -1, 2**63, []]).map(
        lambda index: {"blockIndex": index}
    )
    wrong_text = st.sampled_from([7, True, [], {}]).map(lambda text: {"text": text})
    # An object is a part's own time: {start, end}.
    times = [value for value in WRONG_NUMBERS[1:] if not isinstance(value, dict)]
    wrong_time = st.sampled_from(times).map(lambda time: {"time": time})
    wrong_name = st.builds(
        lambda name, value: {name: value},
        st.sampled_from(["id", "generation", "field"]),
        st.sampled_from(["", 7, True, []]),
    )
    wrong = st.one_of(
        wrong_seq, wrong_id, wrong_session, wrong_index, wrong_text, wrong_time, wrong_name
    )
    missing = st.sampled_from(["messageId", "blockIndex", "seq"])
    return st.one_of(
        st.builds(broken, event, wrong),
        st.builds(
            lambda event, name: {key: event[key] for key in event if key != name}, event, missing
        ),
    )


def broken(event: Wire, member: Wire) -> Wire:
    """An event with a member that is wrong for its type."""
    if "field" in member and event["type"] != "block.delta":
        member = {"id": member["field"]}  # there `field` would be a field of the part
    return {**event, **member}


# -- bytes -------------------------------------------------------------------------------------


def json_lines(log: Iterable[Wire]) -> bytes:
    """A log as JSON lines. Signs beyond ASCII go as they are, halves of pairs as escapes."""
    return b"".join(_encoded(event) + b"\n" for event in log)


def event_stream(log: Iterable[Wire]) -> bytes:
    """A log as an event stream."""
    return b"".join(b"data: " + _encoded(event) + b"\n\n" for event in log)


def _encoded(event: Wire) -> bytes:
    try:
        return json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(event).encode()


@st.composite
def chunked(draw: Any, data: bytes) -> list[bytes]:
    """Bytes cut anywhere, also inside a character."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=6).map(sorted))
    edges = [0, *cuts, len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


#: How the bytes of a log look on a wire.
FRAMINGS: tuple[Callable[[Iterable[Wire]], bytes], ...] = (json_lines, event_stream)


def examples(strategy: st.SearchStrategy[Any], number: int) -> list[Any]:
    """The same examples of a strategy on every run."""
    found: list[Any] = []

    @settings(
        max_examples=number, derandomize=True, database=None, deadline=None, phases=[Phase.generate]
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found
