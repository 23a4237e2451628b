"""What waits for a tick, and what of it a tick may show.

Collects the rows that events touched, keeps buffered text back until its turn allows it, and at a
tick turns what waits into edits, one per text. It knows no seq, verdict, subscriber, clock or
thread: somebody else says when a tick is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from .changes import Edit, TextField
from .events import (
    Event,
    MessageClosed,
    MessageOpened,
    MessageUpdated,
    PermissionAsked,
    QuestionAsked,
    SessionError,
    SessionStatus,
    TurnCompleted,
    TurnStarted,
)
from .limits import Limits
from .model import Delivery
from .rows import AnyRow, BlockRow, MessageRow, SessionRow, session_of
from .verdicts import Counts

Edits: TypeAlias = list[tuple[str, Edit]]


class Coalescer:
    """Rows that wait for a tick, and the delivery mode of each session's turn.

    Attributes:
        delivery: the mode of turns that do not say otherwise.
        dirty: rows that the next tick looks at, in order of their first change.
        epoch: a number that grows with each read of a session and each opened stream; rows carry
            the epoch of their last event, so that a fetched state knows what is newer.
    """

    def __init__(self, limits: Limits, counts: Counts, delivery: Delivery) -> None:
        self._limits = limits
        self._room = limits.pending_merge
        self._counts = counts
        self.delivery = delivery
        self.dirty: list[AnyRow] = []
        self._aside: dict[int, AnyRow] = {}
        self._plain = True  # nothing waits but what the hot path brought
        self.epoch = 1

    # -- collecting ------------------------------------------------------------------------

    def touch(self, row: AnyRow) -> None:
        """Have the next tick look at everything of a row."""
        self._plain = False
        row.touched = self.epoch
        row.reshaped = True
        if not row.dirty:
            row.dirty = True
            self.dirty.append(row)

    def wake(self, row: BlockRow) -> None:
        """Have the next tick look at the text of a row, which nothing else of it changed."""
        row.room = self._room
        if len(row.fresh) >= row.room:
            self.merge(row)  # streams that take turns with it wake it each time
        else:
            row.calm()
        if not row.dirty:
            row.dirty = True
            self.dirty.append(row)
        row.message.session.woken[row] = None

    def ask_again(self) -> None:
        """No tick could be asked for: the next delta of any row that waits asks again."""
        self._plain = False
        for row in self.dirty:
            row.dirty = False
            if isinstance(row, BlockRow):
                row.rest()
            self._aside[id(row)] = row
        self.dirty = []

    @property
    def waits(self) -> bool:
        """Whether a tick has anything to look at."""
        return bool(self.dirty or self._aside)

    def _waiting(self) -> list[AnyRow]:
        return [*self._aside.values(), *self.dirty]

    def settle_session(self, session: SessionRow) -> None:
        """Settle what the hot path left in a session: its events are counted in order.

        Costs what it brought something since it was last asked for, or since the last tick.
        """
        for row in session.woken:
            self.settle(row)
            row.rest()  # its next delta says again that something waits
        session.woken.clear()

    def settle(self, row: BlockRow) -> None:
        """Count and move what the hot path left in a row; costs what is fresh."""
        if row.fresh:
            cell = row.fresh_cell
            before = cell.length
            number = row.settle(self._limits.late_window)
            row.touched = self.epoch
            row.message.session.events += number
            self._counts.deltas(number, cell.length - before)

    def settle_all(self) -> None:
        """Settle every row that waits."""
        for row in self._waiting():
            if isinstance(row, BlockRow):
                self.settle(row)

    def merge(self, row: BlockRow) -> None:
        """Merge what waits in a row: 3 bytes a character instead of 13."""
        self.settle(row)
        row.fresh_cell.merge_pending()
        row.calm()

    def new_epoch(self) -> int:
        """Begin a new epoch: what is touched from now on is newer than a read that starts now."""
        self.settle_all()
        self.epoch += 1
        return self.epoch

    def touched_since(self, row: AnyRow, epoch: int) -> bool:
        """Whether an event changed a row in an epoch or after it."""
        if isinstance(row, BlockRow):
            self.settle(row)
        return row.touched >= epoch

    # -- delivery --------------------------------------------------------------------------

    def _buffers(self, session: SessionRow) -> bool:
        return (session.mode or self.delivery) == "buffered"

    def observe(self, event: Event, session: SessionRow, message: MessageRow | None) -> None:
        """Follow a session's turns: what begins one, ends one, or shows what was held back.

        Without turn events a turn runs from busy to idle, without status events from a message's
        open to its close.
        """
        if isinstance(event, TurnStarted):
            self._begin(session, "turn", event.delivery_mode)
        elif isinstance(event, TurnCompleted):
            self.release(session)
            self._end(session, "turn")
        elif isinstance(event, SessionStatus):
            if event.status == "idle":
                self.release(session)
                self._end(session, "status")
            elif session.turn in ("", "message"):
                self._begin(session, "status", None)
        elif isinstance(event, MessageOpened | MessageUpdated):
            if session.turn == "" and message is not None and message.closed_as == "open":
                self._begin(session, "message", None)
        elif isinstance(event, MessageClosed):
            if message is not None:
                self.release(session, message)
            self._end(session, "message")
        elif isinstance(event, SessionError | PermissionAsked | QuestionAsked):
            self.release(session)

    def _begin(self, session: SessionRow, turn: str, mode: str | None) -> None:
        mode = mode or self.delivery
        if mode == "buffered" and not self._buffers(session):
            self._mark(row for row in self._waiting() if session_of(row) is session)
        elif mode == "streaming" and self._buffers(session):
            self.release(session)
        session.turn = turn
        session.mode = mode

    def _end(self, session: SessionRow, turn: str) -> None:
        if session.turn == turn:
            streamed = not self._buffers(session)
            session.turn = ""
            session.mode = None
            if streamed and self._buffers(session):
                # The text of a streaming turn is shown, though what follows it is held back.
                self._mark(row for row in self._waiting() if session_of(row) is session)

    def release(self, session: SessionRow, message: MessageRow | None = None) -> None:
        """Let the next tick show what a session, or one message of it, holds back."""
        if not session.withheld and not self._buffers(session):
            return
        if message is not None:  # not all that waits: in one tick many messages may end
            self._mark(
                row
                for row in message.blocks.values()
                if row.dirty or row.key in session.withheld or id(row) in self._aside
            )
            return
        rows: list[AnyRow] = [row for row in self._waiting() if session_of(row) is session]
        self._mark([*rows, *session.withheld.values()])

    def _mark(self, rows: Iterable[AnyRow]) -> None:
        for row in list(rows):
            if isinstance(row, BlockRow):
                self.settle(row)
                row.released, row.released_closed = True, row.closed
                for _, cell in row.cells():
                    cell.release()
                touched = row.touched
                self.touch(row)
                row.touched = touched  # what shows text brings nothing new

    # -- a tick ----------------------------------------------------------------------------

    def take(self) -> list[tuple[AnyRow, Edits]]:
        """The rows of this tick with the edits of their texts; nothing waits for it any more.

        Costs what waits. Text that buffered delivery holds back stays, uncommitted, in its row.
        """
        rows, self.dirty = self.dirty, []
        self._plain = True
        if self._aside:
            aside, self._aside = self._aside, {}
            rows = [*aside.values(), *(row for row in rows if id(row) not in aside)]
        taken: list[tuple[AnyRow, Edits]] = []
        for row in rows:
            row.dirty = False
            if type(row) is BlockRow:
                row.rest()
                if row.fresh:
                    self.settle(row)
                row.message.session.woken.clear()
                taken.append((row, self._edits(row) if row.exists else []))
            else:
                taken.append((row, []))
        return taken

    def take_texts(self) -> tuple[dict[TextField, Edit], dict[SessionRow, None]] | None:
        """The edits of a tick before which nothing came but deltas in order, and whose they are.

        None where it is any other tick, which is `take`'s. Does what `take` and publishing do, at
        a third of their price: this is nearly every tick of an answer that streams.
        """
        rows = self.dirty
        if not rows or not self._plain or self.delivery == "buffered":
            return None
        sessions: dict[SessionRow, None] = {}
        for row in rows:
            if type(row) is not BlockRow or row.reshaped or not row.exists:
                return None
            sessions[row.message.session] = None
        for session in sessions:
            if session.withheld or session.mode == "buffered":
                return None
        self.dirty = []
        edits: dict[TextField, Edit] = {}
        deltas = characters = 0
        for row in rows:
            assert type(row) is BlockRow
            row.dirty = False
            row.rest()
            fresh, message = row.fresh, row.message
            cell = row.cell if row.fresh_field == "text" else row.fresh_cell
            try:
                text = "".join(fresh)
            except TypeError:
                text = row.only_text()
            edit: Edit | None
            # In a window the fresh ones belong to its last seqs, unless some came without one.
            aside = row.seqs and len(row.ops) + len(fresh) != len(row.seqs)
            if aside or cell.pending or cell.cut is not None or not text.isascii():
                self.settle(row)
                before = cell.length
                edit = cell.publish(row.shown_closed or message.closed_as != "open")
                if before != cell.length:
                    self._counts.characters["paired"] += before - cell.length
            else:
                edit = cell.extend(text)
                if fresh:  # nothing came since it was settled: it is as old as it was
                    window = self._limits.late_window
                    if row.seqs and not row.renew_window(window, text):
                        row.enter_window(window)
                    number = row.leave_fresh()
                    row.touched = self.epoch
                    message.session.events += number
                    deltas += number
                    characters += len(text)
            if edit is not None:
                edits[row.text_field] = edit
                row.view = message.parts_view = None
        for session in sessions:
            session.woken.clear()
        counts = self._counts
        counts.deltas(deltas, characters)
        counts.work["writes"] += len(edits)
        return edits, sessions

    def _edits(self, row: BlockRow) -> Edits:
        message = row.message
        session = message.session
        edits: Edits = []
        settled = message.closed_as != "open"
        holds_back = (session.mode or self.delivery) == "buffered" and not settled and not row.local
        if holds_back and self._spills(row):
            holds_back = False
        if holds_back and not row.released:
            self._withhold(row)
            return edits
        part = holds_back  # what came after the release still waits
        row.reshaped |= row.withheld or row.shown_closed != row.closed
        row.withheld = row.released = False
        if session.withheld:
            session.withheld.pop(row.key, None)
        row.shown_closed = row.released_closed if part else row.closed
        final = row.shown_closed or settled
        for field, cell in row.cells():
            if cell.pending or cell.cut is not None:
                before = cell.length
                edit = cell.publish_released(final) if part else cell.publish(final)
                self._counts.characters["paired"] += before - cell.length
                if edit is not None:
                    edits.append((field, edit))
                    self._counts.work["writes"] += 1
        if part:
            self._withhold(row)
        return edits

    def _spills(self, row: BlockRow) -> bool:
        """Whether more waits of a part, in all of its fields, than may be held back."""
        bound = self._limits.spill_characters
        if sum(cell.waiting_length for _, cell in row.cells()) <= bound:
            return False
        return sum(cell.waiting_characters() for _, cell in row.cells()) > bound

    def _withhold(self, row: BlockRow) -> None:
        """Keep what waits of a row, if anything does, for its turn's end."""
        if any(cell.waits for _, cell in row.cells()) or row.closed != row.shown_closed:
            row.reshaped |= not row.withheld
            row.withheld = True
            row.message.session.withheld[row.key] = row
            for _, cell in row.cells():
                cell.merge_pending()
