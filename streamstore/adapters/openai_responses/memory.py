"""What is remembered of OpenAI's responses: which there are, what came of each, its numbers.

One entry per response, shared by the streams of a session, all of it plain JSON; `Here` is the
place in it of the event that is taken in. Knows items and numbers as the wire has them, and what
the SDK's accumulator refuses of them; makes no canonical event, and knows no lane of a stream.

Sources: the accumulator of the published Python SDK (3.57.0).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from ...errors import ProtocolStopped
from ...keys import HotKey, is_id, is_number, is_order
from ...marks import Intervals
from ..bounded import remember
from ..members import Members, wrong
from .schema import BEGINNINGS, PROGRESS, TEXTS, said

#: A response as it is remembered; see `blank`.
Entry: TypeAlias = dict[str, Any]
#: Where the plain deltas of a response go, by type, with the member that numbers the part (of an
#: input the item's own) and how many members such a delta has:
#: {output index: {part index: key}}.
Plain: TypeAlias = dict[str, tuple[str, int, dict[int, dict[int, HotKey]]]]

#: Seqs that one response has, and the numbers that fit into them: four seqs each, because one
#: event of the wire may come to more than one event of a message or a part.
_RANGE = 2**32
STEPS = 4
NUMBERS = _RANGE // STEPS
#: Responses of a session that are remembered, and of how many with their items.
_RESPONSES, DETAILED = 1024, 32
#: Holes in the numbers of one response that are remembered; the oldest is given up.
HOLES = 256
#: The type of an event is remembered for the first numbers: where counters that restart meet.
TYPED = 32
#: Members of an event that may be others when it is sent again.
_PADDING = frozenset(("obfuscation", "logprobs", "stream_id"))
#: Items that events are of by their type.
_STREAMED = {text.item for text in TEXTS.values()} | PROGRESS.keys()
#: Items that the SDK tells apart by their call, not by their id.
_BY_CALL = frozenset("function_call custom_tool_call shell_call shell_call_output".split())


class Here(NamedTuple):
    """Where an event belongs.

    Attributes:
        message: its message.
        entry: the memory of its response.
        seq: its seq.
        live: where the plain deltas of its response go, None where they may not take the short way;
            what is learned and forgotten of parts is put there.
    """

    message: str
    entry: Entry
    seq: int | None
    live: Plain | None = None

    def after(self, step: int) -> int | None:
        """The seq of a further event of the same message or part."""
        return None if self.seq is None else self.seq + step


class Responses:
    """The responses of a session.

    Attributes:
        entries: what is known of each, by its message.
    """

    def __init__(self, memory: Members) -> None:
        self._memory = memory
        self.entries: dict[str, Entry] = memory.setdefault("responses", {})

    def key_of(self, response_id: str) -> str:
        """The message of a response: its id, but where the response got its name late."""
        key: str = self._memory.get("names", {}).get(response_id, response_id)
        return key

    def name(self, key: str, named: str) -> None:
        """Note what the wire calls a response whose message has another id."""
        self._memory.setdefault("names", {})[named] = key
        self._memory.get("joined", {}).pop(key, None)
        self.entries[key]["id"] = named

    def note_joined(self, key: str, number: int, wire: Members) -> None:
        """Note the first event of a response that nothing named: who brings that one whole under
        its name brings it again."""
        digest = _digest(wire) if item_of(wire) is not None else None
        if digest is not None:
            remember(self._memory.setdefault("joined", {}), key, [number, digest], DETAILED)

    def may_be_joined(self, number: int) -> bool:
        """Whether an unnamed response began with this number, or with a later one."""
        return any(first >= number for first, _ in self._memory.get("joined", {}).values())

    def forget_joined(self, number: int, wire: Members) -> str | None:
        """Forget the unnamed response that began with this very event, and say which it was.

        The number and the item alone prove nothing: there are servers that number the items of each
        response alike. So the event has to be the same, but for what means nothing.
        """
        joined: Members = self._memory.get("joined", {})
        found = [key for key, (first, _) in joined.items() if first == number]
        if not found:
            return None
        digest = _digest(wire)
        for key in found:
            if joined[key][1] == digest and self.entries.get(key, {}).get("unnamed"):
                del joined[key]
                forget_items(self.entries.pop(key))
                return key
        return None

    def latest(self) -> str | None:
        """The latest response that has not ended."""
        open_ = [key for key, entry in self.entries.items() if entry["state"] != "ended"]
        return max(open_, key=lambda key: _age(self.entries[key]), default=None)

    def last(self) -> str:
        """The latest response, "" where there is none."""
        return max(self.entries, key=lambda key: _age(self.entries[key]), default="")

    def enter(self, key: str, created: Any = None, fetched: bool = False) -> Entry:
        """Begin to remember a response: the last of the session, or, fetched, by its creation."""
        responses = self.entries
        created = created if is_order(created) else None
        count = self._count()
        order: float = count
        if fetched and created is not None:
            order = _order_among(responses.values(), created, order)
        entry = responses[key] = blank(count * _RANGE, order, created)
        by_age = sorted(responses, key=lambda key: _age(responses[key]))
        for old in by_age[:-DETAILED]:
            if responses[old]["state"] == "ended" and responses[old]["items"]:
                forget_items(responses[old])
        ended = [old for old in by_age if responses[old]["state"] == "ended"]
        for old in (ended or by_age)[: max(0, len(responses) - _RESPONSES)]:
            forget_items(responses.pop(old))
            names = self._memory.get("names", {})
            for name in [name for name, known in names.items() if known == old]:
                del names[name]
        return entry

    def _count(self) -> int:
        count: int = self._memory.get("count", 0) + 1
        self._memory["count"] = count
        return count

    def count_anew(self, entry: Entry) -> None:
        """Take the numbers of a response in once more, above all that came of it."""
        entry.setdefault("age", entry["base"])
        entry["base"] = self._count() * _RANGE
        entry["types"] = {}
        for list_ in (entry["starts"], entry["ends"]):
            list_.clear()

    def turn(self) -> str | None:
        """The session's status where it changed: that of its latest response."""
        latest = max(self.entries.values(), key=_age)
        busy = latest["state"] == "open"
        if busy == self._memory.get("busy", False):
            return None
        self._memory["busy"] = busy
        return "busy" if busy else "idle"


def _digest(wire: Members) -> str | None:
    """What tells one event from another, whatever it is padded with.

    None for a program's own object that no JSON text stands for: no server sends that again.
    """
    said = {name: value for name, value in wire.items() if name not in _PADDING}
    try:
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    except (TypeError, ValueError):  # the latter of an integer of more than 4,300 digits
        return None


def _age(entry: Entry) -> int:
    """What responses of a session are in order by: when each was entered."""
    age: int = entry["age"] if "age" in entry else entry["base"]
    return age


def blank(base: int, order: float, created: float | None) -> Entry:
    """The memory of a response of which nothing came.

    `base`: the start of its seqs; `age`: the first one, where its numbers were taken in anew;
    `starts`, `ends`: the numbers that came, as intervals; `types`: of the first ones; `items`: by
    output index what is known of an item and its parts; `state`: open, failed (an error event came)
    or ended. There may be `id` (its name on the wire, where its message has another), `unnamed`,
    `fetched` (it has text that no number stands for), `rebuild` (its parts go when the next one
    comes), `audio` (it has a part for that), `moved` (by output index the place of an item that
    was added at the index of another), `errors` (the numbers of its error events, as
    intervals), `told` (digests of all of them), `read` (its end was fetched, and had no
    output: no number says that its beginning is older).
    """
    return {
        "base": base,
        "order": order,
        "created": created,
        "state": "open",
        "numbered": True,
        "starts": [],
        "ends": [],
        "types": {},
        "items": {},
    }


def _order_among(entries: Iterable[Entry], created: float, last: float) -> float:
    """The place of a response among others, before those that were created later."""
    places = [(entry["order"], entry["created"]) for entry in entries]
    later = [order for order, then in places if then is not None and then > created]
    if not later:
        return last
    high = min(later)
    low = max((order for order, _ in places if order < high), default=high - 2)
    return float(low + high) / 2


# --- numbers --------------------------------------------------------------------------------------


def number_of(wire: Members) -> int | None:
    """The number of an event, None where there is none or it is beyond all that are counted."""
    number = wire.get("sequence_number")
    if number is None:
        return None
    if not is_number(number):
        raise wrong(wire, "sequence_number", "", "an integer from 0 to 2**63 - 1")
    return number if number < NUMBERS else None


def intervals_of(entry: Entry) -> Intervals:
    """The numbers that came: a view, what is added to it is in the memory."""
    return Intervals(starts=entry["starts"], ends=entry["ends"])


def note_error(entry: Entry, number: int | None, error: Members) -> bool:
    """Note the number of an error event that is told; False when it was before."""
    if not number or not entry["numbered"]:
        return True  # it numbers nothing: see `contradicts`
    told = intervals_of(entry.setdefault("errors", {"starts": [], "ends": []}))
    new = told.add(number)
    if len(told.starts) > HOLES:
        told.close_oldest()
    note_told(entry, error)
    return new


def note_unnumbered(entry: Entry, error: Members, repeated: bool) -> bool:
    """Note an error without a number that is told; False for one that was told before, where what
    came last on its stream is `repeated`: a replay brings it again."""
    return note_told(entry, error) or not repeated


def is_told(entry: Entry, error: Members) -> bool:
    """Whether this very error was told of a response: its number is one of its members."""
    return _digest(error) in entry.get("told", ())


def note_told(entry: Entry, error: Members) -> bool:
    """Note an error that is told; False when it was before."""
    told: list[str] = entry.setdefault("told", [])
    digest = _digest(error)
    if digest is None:
        return True
    new = digest not in told
    if new:
        told.append(digest)
        del told[:-HOLES]
    return new


def contradicts(entry: Entry, number: int, kind: str) -> bool:
    """Whether an event's number cannot be one: another event had it, or only others may."""
    if entry["state"] == "ended":
        return False
    if number == 0 and kind not in BEGINNINGS:
        return True
    return bool(entry["types"].get(str(number), kind) != kind)


def is_made_anew(entry: Entry | None, number: int | None, created: Any) -> bool:
    """Whether a response that begins with a number that came was made at another time: what it
    brings is another answer, whose numbers say nothing of the earlier one's."""
    return (
        entry is not None
        and number is not None
        and bool(entry["numbered"])
        and number in intervals_of(entry)
        and entry["created"] is not None
        and is_order(created)
        and bool(created != entry["created"])
    )


# --- items ----------------------------------------------------------------------------------------


def forget_items(entry: Entry) -> None:
    """Forget the items of a response."""
    entry["items"] = {}
    entry.pop("moved", None)
    look_again(entry)


def look_again(entry: Entry) -> None:
    """Have the streams that know where its plain deltas go learn it anew.

    They look at the list of its numbers, where they find none any more, and then at the entry.
    """
    ends = entry["ends"]
    entry["ends"] = ends.copy()
    ends.clear()


def item_of(wire: Members) -> Any:
    """The id of the item that an event is of, None without one."""
    item = wire.get("item")
    return wire.get("item_id", item.get("id") if isinstance(item, dict) else None)


def has_item(entry: Entry, item_id: Any) -> bool:
    """Whether an item of a response has an id."""
    return is_id(item_id) and any(item.get("id") == item_id for item in entry["items"].values())


def announced_type(entry: Entry, item_id: Any) -> str | None:
    """The type of the item that was announced with an id; None without one."""
    for item in entry["items"].values() if is_id(item_id) else ():
        if item.get("added") and item.get("id") == item_id:
            type_: str | None = item.get("type")
            return type_
    return None


def is_another(known: Members, item: Members) -> bool:
    """Whether an item that is added at the place of one that was added before is another one."""
    told = [
        (known[name], item[member])
        for name, member in (("id", "id"), ("call", "call_id"))
        if name in known and is_id(item.get(member))
    ]
    if not known.get("added") or any(there == given for there, given in told):
        return False
    return bool(known.get("type") != item["type"] or (known.get("done") and told))


def may_hold(known: Members | None, of: str) -> bool:
    """Whether what comes for an item of a type may be of the one that is there.

    Not where that is surely another one, as a text is no part of reasoning or of a call.
    """
    if not known or known.get("guessed"):
        return True
    types = {known.get("type"), of}
    return len(types) == 1 or not (types <= _STREAMED and types & {"message", "reasoning"})


def placed(items: Mapping[str, Members], output: list[Members]) -> Iterator[tuple[int, Members]]:
    """The items of a whole output with their output index: where they were streamed.

    A list has no gaps, the indexes of a stream may have some; and ids may have changed.
    """
    ids = {
        (item.get("type"), item[name]): int(place)
        for place, item in items.items()
        for name in ("id", "call")
        if name in item
    }
    places: dict[int, int] = {}
    for number, item in enumerate(output):
        for name in ("id", "call_id"):
            value = item.get(name)
            place = ids.get((item["type"], value)) if is_id(value) else None
            if place is not None and place not in places.values():
                places[number] = place
                break
    taken = set(places.values())
    for number, item in enumerate(output):
        there = items.get(str(number), {})
        if number not in places and number not in taken and there.get("type") == item["type"]:
            places[number] = number
            taken.add(number)
    for kind in sorted({item["type"] for item in output}):
        # Ids and places have changed: as many as are left of a type are those, in their order.
        rest = [n for n, item in enumerate(output) if n not in places and item["type"] == kind]
        left = sorted(int(place) for place, item in items.items() if item.get("type") == kind)
        left = [place for place in left if place not in taken]
        if len(rest) == len(left):
            places.update(zip(rest, left, strict=True))
            taken.update(left)
    free = max((*taken, *map(int, items), len(output) - 1), default=-1) + 1
    for number, item in enumerate(output):
        if number not in places:
            if str(number) in items or number in taken:
                places[number] = free
                free += 1
            else:
                places[number] = number
            taken.add(places[number])
        yield places[number], item


# --- what the SDK refuses -------------------------------------------------------------------------


def _identity(members: Members, call: str) -> tuple[Any, Any, Any]:
    """What the SDK tells items apart by; `call`: the member with the call's id."""
    kind = members.get("type")
    return kind, None if kind in _BY_CALL else said(members, "id"), said(members, call)


def _same_item(memory: Members, item: Members) -> bool:
    if _identity(memory, "call") != _identity(item, "call_id"):
        return False
    before = memory.get("id")
    unnamed = before is None and memory.get("type") in ("function_call", "custom_tool_call")
    return unnamed or before == item.get("id")


def check_done(items: Mapping[str, Members], place: int, known: Members, item: Members) -> None:
    """Check the end of an item against its beginning and against the other items.

    Raises:
        ProtocolStopped: it is another item, or has the identity of one.
    """
    if known.get("added") and not _same_item(known, item):
        raise ProtocolStopped("the completed output item's identity changed")
    for other, memory in items.items():
        if memory.get("done") and int(other) != place:
            if _identity(memory, "call") == _identity(item, "call_id"):
                raise ProtocolStopped("the response has conflicting output identities")


def check_lifecycle(kind: str, entry: Entry, output: list[Members]) -> None:
    """Check the output of a lifecycle event against the items that came.

    Raises:
        ProtocolStopped: two items have one identity, or the end lacks or changes one that came.
    """
    final = {_identity(item, "call_id"): item for item in output}
    if kind in BEGINNINGS and len(final) < len(output):
        raise ProtocolStopped("the response snapshot has conflicting output identities")
    if kind != "response.completed":
        return
    for memory in entry["items"].values():
        item = final.get(_identity(memory, "call"))
        if item is not None and _same_item(memory, item):
            continue
        if memory.get("done"):
            if item is not None:
                raise ProtocolStopped("the completed response's output identity changed")
        elif memory.get("added"):
            raise ProtocolStopped("the response completed with unfinished output items")
