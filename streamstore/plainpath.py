"""The short way of a delta whose adapter says what it belongs to: one call more than `hotpath`.

Knows what `Adapter.plain` gives and rows; no wire, event, stage or store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import length_hint
from typing import Any

from .adapters.base import PlainDelta
from .doors import Door, Ingest, one_by_one
from .keys import MAX_NUMBER
from .model import Sequencing
from .rows import BlockRow, HotTable
from .verdicts import ACCEPTED, Verdict


def plain_door(
    plain: Callable[[Any], PlainDelta | None],
    mode: Sequencing,
    *,
    hot: HotTable,
    wake: Callable[[BlockRow], None],
    relieve: Callable[[], None],
    slow: Ingest,
) -> Door:
    """`hotpath.door` for a protocol whose adapter finds a delta's key itself."""
    counted = mode == "sparse"
    count, limit = 0, 1024

    def taken() -> int:
        return count

    if mode not in ("sparse", "none"):
        return Door(slow, one_by_one(slow), taken)

    def take(wire: Any, found: PlainDelta | None) -> Verdict:
        nonlocal count, limit
        if found is None:
            return slow(wire)
        key, text, seq = found
        row = hot.last
        if row is None or row.key != key:
            row = hot.get(key)
            if row is None:
                return slow(wire)
            hot.last = row
        if counted:
            if seq is None or not row.mark < seq <= MAX_NUMBER:
                return slow(wire)
            row.mark = seq
            row.seqs.append(seq)
        row.fresh.append(text)
        count += 1
        if not row.dirty:
            wake(row)
        elif count > limit:
            limit = count + 1024
            relieve()
        return ACCEPTED

    def ingest(wire: Any) -> Verdict:
        """Take in one wire object (decoded JSON) and say what became of it."""
        try:
            found = plain(wire)
        except (KeyError, TypeError, AttributeError):
            found = None
        return take(wire, found)

    def ingest_many(wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        """Take in wire objects; those not plainly accepted, with their place."""
        nonlocal count, limit
        if type(wires) is not list:
            return each_alone(wires)
        notable = []
        rest = iter(wires)
        left = partial(length_hint, rest)
        previous = None
        for wire in rest:
            try:
                found = plain(wire)
            except (KeyError, TypeError, AttributeError):
                found = None
            ended = False
            while not ended:
                short = count
                verdict = take(wire, found)
                if verdict is not ACCEPTED:
                    notable.append((len(wires) - left() - 1, verdict))
                if count == short:
                    previous = None  # it took the long way, of which `hot.last` says nothing
                    break
                row = hot.last
                if row is not previous or row is None or not row.dirty:
                    previous = row
                    break
                # A run, as in `_MODULE`. No wire object is offered to the adapter twice: it may
                # have noted its number.
                own, fresh, seqs, mark = row.key, row.fresh, row.seqs, row.mark
                before = left()
                try:
                    for wire in rest:
                        found = None
                        found = plain(wire)
                        if found is None:
                            break
                        key, text, seq = found
                        if key is not own and key != own:
                            break
                        if counted:
                            if seq is None or not mark < seq <= MAX_NUMBER:
                                break
                            mark = seq
                            seqs.append(seq)
                        fresh.append(text)
                    else:
                        ended = True
                except (KeyError, TypeError, AttributeError):
                    pass
                finally:
                    row.mark = mark
                    count += before - left() - (not ended)
                    if count > limit:
                        limit = count + 1024
                        relieve()
        return notable

    each_alone = one_by_one(ingest)
    return Door(ingest, ingest_many, taken)
