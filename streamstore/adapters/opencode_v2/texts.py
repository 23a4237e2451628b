"""Texts and thoughts of an opencode V2 step: begun, streamed, ended, read.

Of what is remembered of a session: `texts`, by message and id, the beginnings of each id, see
`Row` in `beginnings`, which says what they are. Knows no call, and no end of a step.

Sources: as for `opencode_v2`.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ...events import BlockDelta, BlockOpened, BlockReplaced, Event
from ...keys import BlockIndex
from ..bounded import remember
from ..members import Members, a_number
from .beginnings import (
    At,
    Row,
    begin_text,
    end_text,
    one_more,
    place_of,
    read_texts,
    spans_of,
    text_row,
)
from .known import CALLS, PARTS, Known, count_for
from .told import Told, began


class Texts:
    """The texts and thoughts of a stream's sessions.

    Args:
        known: which messages and parts there are.
    """

    def __init__(self, known: Known) -> None:
        self._known = known

    def restarted(self, session_id: str) -> None:
        """Forget what has a number of the counter that is over."""
        for rows in self._known.restarted(session_id).get("texts", {}).values():
            for row in rows:
                for at in (row.get("began"), row.get("ended")):
                    if at is not None:
                        at[0] = None

    def started(self, kind: str, told: Told) -> Sequence[Event]:
        """A text or thought begins, or one more of its id."""
        counted, message_id = count_for(told)
        base, named = _index(told, kind)
        at: At = [told.seq, told.time]
        moved = None
        if "ordinal" in named:
            index = base
        else:
            rows = self._rows(told.session, message_id, base)
            row, moved = begin_text(rows, kind, base, at)
            index = row["index"]
            self._keep(told.session, message_id, base, rows)
            if row.get("whole"):
                return (counted,)  # the first delta says that it is another one, or its end comes
        opened = BlockOpened(
            session_id=told.session,
            message_id=message_id,
            block_index=index,
            kind=kind,
            order=self._known.order(told, message_id, index),
            fields={**named, **told.given("providerMetadata"), **began(told)},
        )
        if moved is None:
            return (counted, opened)
        return (counted, opened, self._moved(told, message_id, kind, moved, named))

    def delta(self, kind: str, told: Told) -> Sequence[Event]:
        """It has no number, and is of the last beginning. The short way gets no delta of one that
        has an index of its own, and none of the first one behind its end, which seals it."""
        message_id = told.id("assistantMessageID")
        index, named = _index(told, kind)
        text = told.string("delta")
        if "ordinal" not in named:
            rows = self._rows(told.session, message_id, index)
            if not rows:
                rows = [text_row(index, number=1, seen=told.time)]
                self._keep(told.session, message_id, index, rows)
            row = rows[-1]
            if row.get("whole") and row.get("began") is not None:
                # No log has deltas: what begins is no text that was read whole, but another one.
                began = row.pop("began")
                row = one_more(rows, kind, index, began, began=began)
                self._keep(told.session, message_id, index, rows)
                opened = self._moved(told, message_id, kind, row, named)
                delta = BlockDelta(
                    session_id=told.session,
                    message_id=message_id,
                    block_index=row["index"],
                    text=text,
                )
                return (attrs.evolve(opened, id=told.first["id"], seq=told.seq), delta)
            index = row["index"]
        return (BlockDelta(**told.first, message_id=message_id, block_index=index, text=text),)

    def ended(self, kind: str, told: Told) -> Sequence[Event]:
        """One ends, and comes whole."""
        counted, message_id = count_for(told)
        base, named = _index(told, kind)
        fields = {**named, **told.given("providerMetadata")}
        text = told.string("text")
        if told.time is not None:
            fields["ended"] = told.time
        at: At = [told.seq, told.time]
        index, order = base, None
        first: list[Event] = [counted]
        if "ordinal" not in named:
            rows = self._rows(told.session, message_id, base)
            row, moved = end_text(rows, kind, base, at)
            index = row["index"]
            self._keep(told.session, message_id, base, rows)
            if moved:
                first.append(self._moved(told, message_id, kind, row, named))
            if row.pop("whole", False) and row.get("began") is not None:
                order = self._known.order(told, message_id, index, row["began"])
        ended = BlockReplaced(
            session_id=told.session,
            message_id=message_id,
            block_index=index,
            kind=kind,
            order=order,
            text=text,
            status="closed",
            fields=fields,
        )
        return (*first, ended)

    def were_read(self, session: str, messages: Sequence[Members]) -> None:
        """Give the texts of messages that were read the indexes of their beginnings."""
        for message in messages:
            self._read(session, message)

    def _read(self, session: str, message: Members) -> None:
        parts = message["parts"]
        spans = spans_of(parts)
        groups: dict[BlockIndex, list[int]] = {}
        for place, part in enumerate(parts):
            if "textId" in part:
                groups.setdefault(part["blockIndex"], []).append(place)
        for base, places in groups.items():
            rows = self._rows(session, message["id"], base)
            # What is over begins no more, and an id that stands there once is its own index.
            if rows or places[1:] or message["status"] == "open":
                read_texts(rows, base, parts, places, spans)
                self._keep(session, message["id"], base, rows)

    def _rows(self, session: str, message_id: str, base: BlockIndex) -> list[Row]:
        """The beginnings of one id, the last one last."""
        rows: list[Row] = self._known.table(session, "texts").get(f"{message_id}\n{base}", [])
        return rows

    def _keep(self, session: str, message_id: str, base: BlockIndex, rows: list[Row]) -> None:
        rows.sort(key=place_of)
        del rows[1:-CALLS]  # the first one has the index that no other may have
        remember(self._known.table(session, "texts"), f"{message_id}\n{base}", rows, PARTS)

    def _moved(
        self, told: Told, message_id: str, kind: str, row: Row, named: Members
    ) -> BlockOpened:
        """A beginning that had another one's end: it begins as a block of its own."""
        at, index = row["began"], row["index"]
        return BlockOpened(
            session_id=told.session,
            message_id=message_id,
            block_index=index,
            kind=kind,
            order=self._known.order(told, message_id, index, at),
            fields={**named, **({} if at[1] is None else {"began": at[1]})},
        )


def _index(told: Told, kind: str) -> tuple[BlockIndex, Members]:
    """A text's block index, and how the wire names it."""
    name = "textID" if kind == "text" else "reasoningID"
    if told.body.get(name) is None and "ordinal" in told.body:
        ordinal = a_number(told.body, "ordinal", told.at)
        return (ordinal if kind == "text" else f"reasoning/{ordinal}"), {"ordinal": ordinal}
    found = told.id(name)
    return (found if kind == "text" else f"reasoning/{found}"), {"textId": found}
