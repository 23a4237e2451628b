"""Texts of an opencode V2 message whose id comes again: which one an event or a read item is of.

A message may use an id for several of its texts or thoughts (`reasoning-0` for each). What tells
them apart is when each began and ended, as far as events and reads say; what one read of a message
cannot say of an item, the times of its neighbours bound. Knows rows of plain JSON, the beginnings
of one id, that somebody else remembers; no wire object, no event of ours, no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from ...keys import BlockIndex
from ..members import Members

#: Seq and time of an event, where it has them.
At: TypeAlias = list[Any]
#: One beginning of an id, as plain JSON: its `index` and `number`; where it `began` and `ended`, if
#: that is known; else between which times it began, as its neighbours in a read say (`least`,
#: `most`), and by when, as its first delta does (`seen`); `whole`: the last in a read, with text.
Row: TypeAlias = dict[str, Any]


def text_row(index: BlockIndex, **known: Any) -> Row:
    """A beginning of which that is known which is not None."""
    return {"index": index, **{name: value for name, value in known.items() if value is not None}}


def place_of(row: Row) -> tuple[float, float]:
    """What the beginnings of an id sort by."""
    seq, time = row.get("began") or row.get("ended") or (None, None)
    if time is None:
        times = (row.get(name) for name in ("seen", "most", "least"))
        time = next((time for time in times if time is not None), 0)
    return time, -1 if seq is None else seq


def _same(one: At, other: At) -> bool:
    if one[0] is not None and other[0] is not None:
        return bool(one[0] == other[0])
    return one[1] is not None and one[1] == other[1]


def _before(one: At, other: At) -> bool:
    """Whether one is no later than the other, as far as they say."""
    if one[0] is not None and other[0] is not None:
        return bool(one[0] < other[0])
    return one[1] is None or other[1] is None or bool(one[1] <= other[1])


def _fits(row: Row, least: float | None, most: float | None) -> bool:
    """Whether what began between two times may be this beginning."""
    began, ended = row.get("began"), row.get("ended")
    low = high = None
    if began is not None:
        low = high = began[1]
    else:
        low = row.get("least")
        known = [row.get("most"), row.get("seen"), None if ended is None else ended[1]]
        high = min((time for time in known if time is not None), default=None)
    return (least is None or high is None or least <= high) and (
        most is None or low is None or low <= most
    )


def _is(row: Row, ended: float | None, span: tuple[float | None, float | None]) -> bool:
    """Whether an item of a read is this beginning: what it ended with is what its block holds."""
    known = row.get("ended")
    if known is not None and None not in (ended, known[1]):
        return bool(known[1] == ended)
    return _fits(row, *span)


def _free(rows: Sequence[Row], base: BlockIndex, stamp: float) -> BlockIndex:
    """An index for one more beginning of an id."""
    taken = {row["index"] for row in rows}
    index, again = base, 1
    while index in taken:
        index = f"{base}@{stamp}" if again == 1 else f"{base}@{stamp}.{again}"
        again += 1
    return index


def one_more(rows: list[Row], kind: str, base: BlockIndex, at: At, **known: Any) -> Row:
    """A further beginning of an id, with an index of its own; it is the last of `rows`."""
    number = 1 + max((row["number"] for row in rows), default=0)
    stamp = number if kind == "text" or at[1] is None else at[1]
    row = text_row(_free(rows, base, stamp), number=number, **known)
    rows.append(row)
    return row


def begin_text(rows: list[Row], kind: str, base: BlockIndex, at: At) -> tuple[Row, Row | None]:
    """The beginning that an event tells of; and the one whose block it takes, which has another
    now: an end that came first was taken for the end of that one."""
    for row in rows:
        if row.get("began") is not None and _same(row["began"], at):
            if at[0] is not None:
                row["began"] = at
            return row, None
    for row in rows:
        began, ended = row.get("began"), row.get("ended")
        if began is None:
            if _fits(row, at[1], at[1]) and (ended is None or _before(at, ended)):
                row["began"] = at
                return row, None
        elif None not in (at[0], began[0]) and ended is not None and ended[0] is not None:
            if began[0] < at[0] < ended[0]:
                row["began"] = at
                return row, one_more(rows, kind, base, began, began=began)
    return one_more(rows, kind, base, at, began=at), None


def end_text(rows: list[Row], kind: str, base: BlockIndex, at: At) -> tuple[Row, bool]:
    """The beginning that ends; and whether it has a new block: what was taken for it is another."""
    for row in rows:
        if row.get("ended") is not None and _same(row["ended"], at):
            if at[0] is not None:
                row["ended"] = at
            return row, False
    for row in reversed(rows):
        began, ended, seen = row.get("began"), row.get("ended"), row.get("seen")
        early = None not in (seen, at[1]) and at[1] < seen
        if began is None:
            if ended is None and not early and _before([None, row.get("least")], at):
                row["ended"] = at
                return row, False
        elif _before(began, at):
            if ended is None and not early:
                row["ended"] = at
                return row, False
            if early or (ended is not None and None not in (at[0], ended[0]) and at[0] < ended[0]):
                del row["began"]
                return one_more(rows, kind, base, began, began=began, ended=at), True
            break
    return one_more(rows, kind, base, at, ended=at), False


def spans_of(parts: Sequence[Members]) -> list[tuple[float | None, float | None]]:
    """Between which times each item of a message began: its own, or those of its neighbours."""
    found: list[tuple[float | None, float | None]] = []
    least = None
    for part in parts:
        least = part.get("began", least)
        found.append((least, least if "began" in part else None))
    most = None
    for place in reversed(range(len(parts))):
        most = parts[place].get("began", most)
        found[place] = found[place][0], most
    return found


def read_texts(
    rows: list[Row],
    base: BlockIndex,
    parts: Sequence[Members],
    places: Sequence[int],
    spans: Sequence[tuple[float | None, float | None]],
) -> None:
    """Give the items of one id in a read the indexes of their beginnings, and `rows` what is new.

    `places` are theirs among the `parts` of their message, whose `spans` are `spans_of`. Costs
    items times beginnings.
    """
    pool, found = list(rows), {}
    # The last first: what streams without a known beginning began last.
    for place in reversed(places):
        part = parts[place]
        at = len(pool) - 1
        while at >= 0 and not _is(pool[at], part.get("ended"), spans[place]):
            at -= 1
        if at >= 0:
            found[place], pool = pool[at], pool[:at]
    for number, place in enumerate(places, 1):
        part = parts[place]
        created, ended = part.get("began"), part.get("ended")
        row = found.get(place)
        if row is None:
            stamp = number if created is None else created
            row = text_row(_free(rows, base, stamp), number=number)
            rows.append(row)
        if row.get("began") is None or created not in (None, row["began"][1]):
            if created is None:
                row["least"], row["most"] = spans[place]
                if row["most"] is None and part["text"] and "ended" not in row:
                    row["whole"] = True
            else:
                row["began"] = [None, created]
        if row.get("ended") is None and ended is not None:
            row["ended"] = [None, ended]
        part["blockIndex"] = row["index"]
        if "ended" in row or place != places[-1] or row.get("whole"):
            part["status"] = "closed"  # a text has no end in a read; deltas are of another
