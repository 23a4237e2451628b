"""The published tables: what readers see, whole ticks only, and what a tick changes in them.

Holds the values of the last tick and makes them when somebody reads; a value stays the same
object while nothing of it changes. Knows rows and edits; no event, seq, delivery mode or
subscriber.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .changes import ChangeSet, Edit, Gap, Place, TextField
from .filling import filled
from .keys import Key, MessageKey, OrderKey, PartKey, SessionKey, message_order, part_order
from .marks import same
from .model import EMPTY, TERMINAL_RANK, FrozenDict, Message, Part, Request, Session, Status
from .ordering import Ordered
from .rows import AnyRow, BlockRow, MessageRow, SessionRow
from .text import TextView

_STATUS_FIELDS = ("type", "attempt", "message", "next")
_ENTITY_FIELDS = ("role", "parentId", "clientId")

_changes = filled(ChangeSet)
_new_part = filled(Part)


class Tables:
    """What is published, by key: messages and parts in their order (`docs/state.md`)."""

    def __init__(self) -> None:
        self.version = 0
        self.sessions: dict[str, SessionRow] = {}
        self.messages: dict[MessageKey, MessageRow] = {}
        self.parts: dict[PartKey, BlockRow] = {}
        self._ids: tuple[str, ...] | None = ()
        self._gaps: dict[Key, Gap] = {}
        self._gaps_changed = False
        self.gaps: tuple[Gap, ...] = ()

    # -- reads -----------------------------------------------------------------------------

    def session_ids(self) -> tuple[str, ...]:
        """Ids of the sessions, in order of their first appearance."""
        if self._ids is None:
            self._ids = tuple(self.sessions)
        return self._ids

    def session(self, session_id: str) -> Session | None:
        """A session, None where there is none."""
        row = self.sessions.get(session_id)
        if row is None:
            return None
        if row.view is None:
            row.view = _session(row)
        return row.view  # type: ignore[no-any-return]

    def message_at(self, session_id: str, message_id: str) -> Message | None:
        """A message, None where there is none."""
        row = self.messages.get(MessageKey(session_id, message_id))
        return None if row is None else _message(row)

    def messages_of(self, session_id: str) -> tuple[Message, ...]:
        """Messages of a session in order; linear after a message changed, free otherwise."""
        row = self.sessions.get(session_id)
        if row is None or row.shown_messages is None:
            return ()
        if row.messages_view is None:
            row.messages_view = tuple(_message(message) for message in row.shown_messages)
        return row.messages_view  # type: ignore[no-any-return]

    def part(self, session_id: str, message_id: str, block_index: int | str) -> Part | None:
        """A part, None where there is none."""
        if type(block_index) not in (int, str):
            return None
        row = self.parts.get((session_id, message_id, block_index))  # type: ignore[call-overload]
        return None if row is None else row.view or _part(row)

    def parts_of(self, session_id: str, message_id: str) -> tuple[Part, ...]:
        """Parts of a message in order; linear in its parts after one changed, free otherwise."""
        row = self.messages.get(MessageKey(session_id, message_id))
        if row is None or row.shown_parts is None:
            return ()
        if row.parts_view is None:
            row.parts_view = tuple(_part(part) for part in row.shown_parts)
        return row.parts_view  # type: ignore[no-any-return]

    # -- a tick ----------------------------------------------------------------------------

    def publish(
        self,
        taken: Sequence[tuple[AnyRow, list[tuple[str, Edit]]]],
        resume: Mapping[str, Any],
    ) -> ChangeSet:
        """Publish the rows of a tick. Costs the rows and their edits, not what is stored.

        `resume` is the position that belongs to this tick.
        """
        removed: list[Key] = []
        changed: list[Key] = []
        added: list[AnyRow] = []
        moved: list[AnyRow] = []
        text: dict[TextField, Edit] = {}
        reshaped: list[AnyRow] = []
        for row, edits in taken:
            if row.reshaped:
                row.reshaped = False
                reshaped.append(row)
            if edits:
                assert isinstance(row, BlockRow)  # only parts have texts
                row.view = row.message.parts_view = None
        if reshaped:
            self._reshape(reshaped, removed, changed, added, moved)
        for row, edits in taken:
            if edits and row.exists and isinstance(row, BlockRow):
                for field, edit in edits:
                    text[TextField(row.key, field)] = edit
        if not (removed or changed or added or moved or text):
            return ChangeSet(version=self.version, gaps=self.gaps, resume=resume)
        self.version += 1
        return _changes(
            self.version,
            self.places(added, moved) if added else (),
            tuple(changed),
            tuple(removed),
            self.places(moved) if moved else (),
            MappingProxyType(text),
            False,
            self.gaps,
            resume,
        )

    def publish_texts(self, text: dict[TextField, Edit], resume: Mapping[str, Any]) -> ChangeSet:
        """`publish` where nothing changed but texts, whose parts have no view any more."""
        if text:
            self.version += 1
        return _changes(
            self.version, (), (), (), (), MappingProxyType(text), False, self.gaps, resume
        )

    def _reshape(
        self,
        rows: list[AnyRow],
        removed: list[Key],
        changed: list[Key],
        added: list[AnyRow],
        moved: list[AnyRow],
    ) -> None:
        """Publish what changed of rows beside their texts."""
        kinds = (SessionRow, MessageRow, BlockRow)
        gone = [row for row in rows if row.shown is not None and not row.exists]
        for kind in kinds if gone else ():  # removals first: a key may come back in the same tick
            for row in gone:
                if type(row) is kind and row.shown is not None and self._published(row):
                    removed.append(self._unpublish(row))
        for kind in kinds:
            for row in rows:
                if type(row) is kind and row.exists:
                    self._publish(row, added, changed, moved)
        noted = []
        for row in rows:
            if not row.exists and self._row_at(_key(row)) is not None:
                continue  # another row has its key now, and says what that lacks
            gap = _gap(row) if row.exists else None
            if (gap is not None or self._gaps) and self._note_gap(_key(row), gap) and row.exists:
                noted.append(_key(row))
        if noted:
            told = {*removed, *changed, *(_key(row) for row in added)}
            # A further hole in what has one already.
            changed += [key for key in noted if key not in told]
        if self._gaps_changed:
            self._gaps_changed = False
            self.gaps = tuple(self._gaps.values())

    def restore(
        self,
        rows: Iterable[SessionRow],
        shown: Iterable[str],
        version: int,
        gaps: Iterable[Gap],
        leaving: Iterable[MessageRow | BlockRow] = (),
    ) -> None:
        """Publish loaded rows again as they were shown; no change set, the same version.

        `leaving` are rows that no other row holds any more: the next tick takes them away.
        """
        by_id = {row.id: row for row in rows}
        self.version = version
        self._ids = None
        for session_id in shown:
            session = self.sessions[session_id] = by_id[session_id]
            session.shown_messages = Ordered()
            for message in session.messages.values():
                self._restore_message(message)
        messages = [row for row in leaving if isinstance(row, MessageRow)]
        for message in messages:
            self._restore_message(message)
        for row in leaving:
            if isinstance(row, BlockRow):
                self._restore_part(row)
        for gap in gaps:
            session_id, message_id, block_index, *_ = gap
            key: Key = SessionKey(session_id)
            if message_id is not None and block_index is not None:
                key = PartKey(session_id, message_id, block_index)
            if self._row_at(key) is not None:
                self._gaps[key] = gap
        self.gaps = tuple(self._gaps.values())

    def _restore_message(self, message: MessageRow) -> None:
        if message.shown is None:
            return
        self.messages[message.key] = message
        order = message_order(message.shown[-1], message.key.message_id)
        message.session.shown_messages.add(order, message)
        message.shown_parts = Ordered()
        for block in message.blocks.values():
            self._restore_part(block)

    def _restore_part(self, block: BlockRow) -> None:
        if block.shown is not None:
            self.parts[block.key] = block
            place = part_order(block.shown[5], block.key.block_index)
            block.message.shown_parts.add(place, block)

    def places(self, rows: Iterable[AnyRow], over: Iterable[AnyRow] = ()) -> tuple[Place, ...]:
        """Places of published rows: sessions, then messages, then parts, each in order.

        Rows in `over` are no neighbours: they are moved only after these are placed.
        """
        siblings: dict[int, tuple[Ordered[Any], list[AnyRow], list[AnyRow]]] = {}
        found: list[Place] = []
        for some in (rows, over):
            for row in some:
                if isinstance(row, SessionRow):
                    found.append(Place(SessionKey(row.id), None))
                    continue
                parent = row.session.shown_messages if isinstance(row, MessageRow) else None
                ordered = row.message.shown_parts if isinstance(row, BlockRow) else parent
                assert ordered is not None
                _, new, moving = siblings.setdefault(id(ordered), (ordered, [], []))
                (new if some is rows else moving).append(row)
        for kind in (MessageRow, BlockRow):
            for ordered, new, moving in siblings.values():
                if new and type(new[0]) is kind:
                    for row, before in ordered.places(new, moving):
                        found.append(Place(row.key, None if before is None else before.key))
        return tuple(found)

    def _published(self, row: AnyRow) -> bool:
        return self._row_at(_key(row)) is row

    def _row_at(self, key: Key) -> AnyRow | None:
        if isinstance(key, PartKey):
            return self.parts.get(key)
        if isinstance(key, MessageKey):
            return self.messages.get(key)
        return self.sessions.get(key.session_id)

    def rows_at(self, keys: Iterable[Key]) -> list[AnyRow]:
        """The published rows of those keys that are published."""
        found = (self._row_at(key) for key in keys)
        return [row for row in found if row is not None]

    def _publish(
        self, row: AnyRow, added: list[AnyRow], changed: list[Key], moved: list[AnyRow]
    ) -> None:
        ordered: Ordered[Any] | None = None
        order: OrderKey = ()
        if isinstance(row, SessionRow):
            shown: tuple[Any, ...] = _shown_session(row)
            if row.shown is None:
                self.sessions[row.id] = row
                self._ids = None
                row.shown_messages = Ordered()
        elif isinstance(row, MessageRow):
            shown = _shown_message(row)
            if row.shown is None:
                self.messages[row.key] = row
                row.shown_parts = Ordered()
            ordered, order = row.session.shown_messages, message_order(row.order, row.key[1])
        else:
            shown = _shown_block(row)
            if row.shown is None:
                self.parts[row.key] = row
            ordered, order = row.message.shown_parts, part_order(row.order, row.key[2])
        if row.shown is None:
            added.append(row)
            if ordered is not None:
                ordered.add(order, row)
        elif _equal(shown, row.shown):
            return  # what it sorts by is shown, too: the value stays the same object
        else:
            if ordered is not None and ordered.key(row) != order:
                ordered.add(order, row)
                moved.append(row)
            changed.append(_key(row))
        row.view = None
        if isinstance(row, MessageRow):
            row.session.messages_view = None
        elif isinstance(row, BlockRow):
            row.message.parts_view = None
        row.shown = shown

    def _unpublish(self, row: AnyRow) -> Key:
        row.shown = row.view = None
        if isinstance(row, BlockRow):
            self._forget_part(row)
            row.message.shown_parts.remove(row)
            row.message.parts_view = None
        elif isinstance(row, MessageRow):
            self._forget_message(row)
            row.session.shown_messages.remove(row)
            row.session.messages_view = None
        else:
            del self.sessions[row.id]
            self._ids = None
            for message in row.shown_messages:
                self._forget_message(message)
            row.shown_messages = row.messages_view = None
        return _key(row)

    def _forget_message(self, row: MessageRow) -> None:
        row.shown = row.view = row.parts_view = None
        del self.messages[row.key]
        for part in row.shown_parts:
            self._forget_part(part)
        row.shown_parts = None

    def _forget_part(self, row: BlockRow) -> None:
        row.shown = row.view = None
        row.shown_closed = False
        del self.parts[row.key]
        self._note_gap(row.key, None)
        # The next life of this row starts with an empty shown text.
        for _, cell in row.cells():
            cell.unpublish()
        row.forget_fields()

    def _note_gap(self, key: Key, gap: Gap | None) -> bool:
        if gap == self._gaps.get(key):
            return False
        self._gaps_changed = True
        if gap is None:
            del self._gaps[key]
        else:
            self._gaps[key] = gap
        return True


def _key(row: AnyRow) -> Key:
    return SessionKey(row.id) if isinstance(row, SessionRow) else row.key


def _equal(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    return all(
        mine is other or (same(mine, other) if isinstance(mine, dict | list) else mine == other)
        for mine, other in zip(first, second, strict=True)
    )


def _gap(row: AnyRow) -> Gap | None:
    if isinstance(row, BlockRow):
        missing = row.missing
        if missing:
            return Gap(*row.key, "hole", missing)
        if row.gap or row.suspect:
            return Gap(*row.key, "cut" if row.gap else "suspect")
    elif isinstance(row, SessionRow):
        missing = row.intervals.holes()
        if missing:
            return Gap(row.id, None, None, "hole", missing)
    return None


def _shown_session(row: SessionRow) -> tuple[Any, ...]:
    return (
        row.info.values,
        row.own.values,
        tuple(error for seq, error in row.errors if seq is None or seq > row.boundary),
        row.requests("permissions"),
        row.requests("questions"),
        len(row.intervals.starts) > 1,
    )


def _session(row: SessionRow) -> Session:
    assert row.shown is not None
    info, own, errors, permissions, questions, gap = row.shown
    status = own.get("status")
    return Session(
        id=row.id,
        info=info,
        status=None if status is None else _status(status),
        state=own.get("state"),
        errors=errors,
        permissions=_by_id(permissions),
        questions=_by_id(questions),
        todo=own.get("todo"),
        diff=own.get("diff"),
        gap=gap,
    )


def _status(status: Any) -> Status:
    known = {name: status.get(name) for name in _STATUS_FIELDS}
    others = {name: value for name, value in status.items() if name not in _STATUS_FIELDS}
    return Status(**known, fields=FrozenDict(others))


def _by_id(requests: tuple[Request, ...]) -> Mapping[str, Request]:
    return FrozenDict({request.id: request for request in requests})


def _shown_message(row: MessageRow) -> tuple[Any, ...]:
    values = row.entity.values
    # Not what reads the same in another form: `error` is a member also where it is None.
    entity = {name: values[name] for name in _ENTITY_FIELDS if name in values}
    return (entity, row.info.values, row.closed_as, row.error, row.local, row.order)


def _message(row: MessageRow) -> Message:
    if row.view is None:
        assert row.shown is not None
        entity, info, status, error, local, order = row.shown
        row.view = Message(
            session_id=row.key.session_id,
            id=row.key.message_id,
            role=entity.get("role", ""),
            status=status,
            order=order,
            parent_id=entity.get("parentId"),
            info=info,
            error=error,
            local=local,
            client_id=entity.get("clientId"),
        )
    return row.view  # type: ignore[no-any-return]


def _shown_block(row: BlockRow) -> tuple[Any, ...]:
    ended = row.message.closed_as
    if row.shown_closed or (ended != "open" and not row.withheld):
        status = "incomplete" if row.gap or row.missing else "closed"
    else:
        status = "open"
    gap = row.gap or row.suspect or bool(row.missing)
    # A tool that ended by itself is not touched when its message ends, and reads the same then.
    settled = "open" if row.closed and row.rank >= TERMINAL_RANK else ended
    return (row.kind, row.fields.values, status, gap, row.previous, row.order, settled)


def _part(row: BlockRow) -> Part:
    if row.view is None:
        assert row.shown is not None
        kind, fields, status, gap, previous, order, settled = row.shown
        source = row.cell.source
        others: Mapping[str, TextView] = EMPTY
        if row.others:
            views = {
                field: TextView(cell.source, cell.source.length)
                for field, cell in row.others.items()
                if cell.source.length
            }
            others = FrozenDict(views) if views else EMPTY
        row.view = _new_part(
            row.session_id, row.message_id, row.index, kind, status,
            TextView(source, source.length), order, gap, previous, fields, others, settled,
        )  # fmt: skip
    return row.view  # type: ignore[no-any-return]
