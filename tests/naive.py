"""The contract for `block` and `none` streams, said the slow way: dicts, `+=` and sorting.

Every read folds all events from the start. A block stream is a set of numbered operations, so its
fold sorts them and stops at the first hole; a stream without numbers is what came, as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Wire = dict[str, Any]
COMMON = {"type", "sessionId", "messageId", "blockIndex", "seq", "id"}
STATUSES = ("completed", "aborted", "error")  # the later one wins
ENDED: Wire = {"type": "the stream ended"}


def fold(events: Iterable[Wire], sequencing: str) -> dict[str, Any]:
    """`sessions` of contract section 9 after these well-formed events, in order of arrival.

    `ENDED` among them stands for the end of the stream that brought what came before it.
    """
    sessions: dict[str, dict[str, dict[Any, list[Wire]]]] = {}
    seen = set()
    for event in events:
        if event is ENDED:
            cut_open_parts(sessions)
            continue
        if sequencing == "none" and "id" in event:
            if (event["sessionId"], event["id"]) in seen:
                continue
            seen.add((event["sessionId"], event["id"]))
        messages = sessions.setdefault(event["sessionId"], {})
        blocks = messages.setdefault(event["messageId"], {None: []})
        blocks.setdefault(event.get("blockIndex"), []).append(event)
    fold_part = block_part if sequencing == "block" else none_part
    found = {}
    for session_id, messages in sessions.items():
        entries = []
        for message_id, blocks in messages.items():
            own = blocks.pop(None)
            if any(event["type"] == "message.removed" for event in own):
                continue
            opened = next((event for event in own if event["type"] == "message.opened"), {})
            ends = [event["status"] for event in own if event["type"] == "message.closed"]
            status = max(ends, key=STATUSES.index, default="open")
            parts = [fold_part(index, blocks[index], status) for index in blocks]
            parts = sorted((part for part in parts if part), key=part_place)
            entry = {"id": message_id, "role": opened.get("role"), "status": status, "parts": parts}
            entries.append((message_place(opened.get("order"), message_id), filled(entry)))
        entries.sort(key=lambda entry: entry[0])
        found[session_id] = filled({"messages": [entry for _, entry in entries]})
    return found


def cut_open_parts(sessions: dict[str, dict[str, dict[Any, list[Wire]]]]) -> None:
    """The stream ended: parts of messages that are still open may be cut."""
    for messages in sessions.values():
        for blocks in messages.values():
            if all(event["type"] != "message.closed" for event in blocks[None]):
                for index in blocks.keys() - {None}:
                    blocks[index].append(ENDED)


def block_part(index: int | str, events: Sequence[Wire], message: str) -> Wire | None:
    """A part of a block stream: the best snapshot, then operations up to the first hole."""
    if any(event["type"] == "block.removed" for event in events):
        return None
    operations: dict[int, Wire] = {}
    snapshot: Wire = {"seq": 0}
    for event in events:
        if event["type"] in ("block.delta", "block.replaced"):
            operations.setdefault(event["seq"], event)
        elif event["type"] == "block.snapshot" and event["seq"] > snapshot["seq"]:
            snapshot = event
    opened = next((event for event in events if event["type"] == "block.opened"), {})
    fields = {**own_fields(opened), **own_fields(snapshot)}
    texts, mark = {"text": snapshot.get("text", "")}, snapshot["seq"]
    while mark + 1 in operations:
        mark += 1
        event = operations[mark]
        if event["type"] == "block.delta":
            name = event.get("field", "text")
            texts[name] = texts.get(name, "") + event["text"]
        else:
            texts["text"] = event.get("text", texts["text"])
            fields.update(own_fields(event))
    closes = [event for event in events if event["type"] == "block.closed"]
    last = max([*operations, *(event.get("seq", 0) for event in closes)], default=0)
    return part(index, events, texts, fields, bool(closes), message, gap=last > mark)


def none_part(index: int | str, events: Sequence[Wire], message: str) -> Wire | None:
    """A part of a stream without seq: everything in the order it came."""
    texts, fields, whole, sealed, closed = {"text": ""}, {}, False, False, False
    kind, gap = "text", events[0]["type"] == "block.delta"
    for event in events:
        if event["type"] == "block.delta" and not sealed:
            name = event.get("field", "text")
            texts[name] = texts.get(name, "") + event["text"]
            whole = False
        elif event["type"] == "block.replaced":
            if "text" in event:
                texts["text"], gap, whole = event["text"], False, True
                sealed = closed or event.get("whole", False)
            fields = {**({} if event.get("whole") else fields), **own_fields(event)}
        elif event["type"] == "block.opened":
            kind = event["kind"]
            fields.update(own_fields(event))
        elif event["type"] == "block.closed":
            closed, sealed = True, sealed or whole
        elif event["type"] == "block.removed":
            return None
        elif event is ENDED and not closed and not sealed:
            gap = gap or kind in ("text", "reasoning") or any(texts.values())
    return part(index, events, texts, fields, closed, message, gap)


def part(
    index: int | str,
    events: Sequence[Wire],
    texts: dict[str, str],
    fields: Wire,
    closed: bool,
    message: str,
    gap: bool,
) -> Wire:
    """A part as section 9 has it."""
    opened = next((event for event in events if event["type"] == "block.opened"), {})
    settled = closed or message != "open"
    return filled(
        {
            **fields,
            **{name: readable(text, settled) for name, text in texts.items()},
            "blockIndex": index,
            "gap": gap or None,
            "kind": opened.get("kind", "text"),
            "order": opened.get("order"),
            "status": ("incomplete" if gap else "closed") if settled else "open",
        }
    )


def own_fields(event: Wire) -> Wire:
    """What an event says about a part beside its text, kind and place."""
    others = COMMON | {"text", "field", "kind", "order", "whole", "status"}
    return {name: value for name, value in event.items() if name not in others}


def readable(text: str, final: bool) -> str:
    """Joined surrogate pairs; a half at the end waits unless `final`, other halves are U+FFFD."""
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    if not final and text and "\ud800" <= text[-1] <= "\udbff":
        text = text[:-1]
    return "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in text)


def message_place(order: float | None, message_id: str) -> tuple[Any, ...]:
    """Messages stand by order, then id; without an order last."""
    return (order is None, order or 0, message_id)


def part_place(part: Wire) -> tuple[Any, ...]:
    """Parts stand by order, else by index: numbers by value, then strings by code point."""
    index, order = part["blockIndex"], part.get("order")
    named = isinstance(index, str)
    unplaced = named and order is None
    return (unplaced, 0 if unplaced else index if order is None else order, named, index)


def filled(members: Wire) -> Wire:
    """Without the empty members."""
    return {
        name: members[name] for name in sorted(members) if members[name] not in (None, "", [], {})
    }


def missing(events: Iterable[Wire]) -> dict[tuple[Any, ...], tuple[tuple[int, int], ...]]:
    """In a block stream: what (session, message, block) lacks, as ranges of numbers."""
    came: dict[tuple[Any, ...], set[int]] = {}
    last: dict[tuple[Any, ...], int] = {}
    removed = set()
    for event in events:
        key = tuple(event.get(name) for name in ("sessionId", "messageId", "blockIndex"))
        numbers, seq = came.setdefault(key, set()), event.get("seq", 0)
        if event["type"] == "block.snapshot":
            numbers.update(range(1, seq + 1))
        elif event["type"] in ("block.delta", "block.replaced"):
            numbers.add(seq)
        elif event["type"].endswith(".removed"):
            removed.add(key)
        last[key] = max(last.get(key, 0), seq)
    found = {}
    for key, numbers in came.items():
        absent = [seq for seq in range(1, last[key] + 1) if seq not in numbers]
        gone = key in removed or (*key[:2], None) in removed
        if absent and not gone:
            starts = [seq for seq in absent if seq - 1 not in absent]
            ends = [seq for seq in absent if seq + 1 not in absent]
            found[key] = tuple(zip(starts, ends, strict=True))
    return found


def objects(store: Any, session_id: str | None = None) -> list[Any]:
    """Every value that a store's reads return, in a fixed order."""
    found: list[Any] = []
    for name in store.session_ids() if session_id is None else [session_id]:
        messages = store.messages(name)
        found += [store.session(name), messages, *messages]
        for message in messages:
            parts = store.parts(name, message.id)
            found += [parts, *parts, store.message(name, message.id)]
    return found
