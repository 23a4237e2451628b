"""What an admitted event does to the working rows.

The gate said that the event counts and where it belongs; the reducer applies the merging law of
its type (`docs/events.md`) and says which rows a tick has to look at. It decides no duplicate,
publishes nothing, and knows no tick, delivery mode, subscriber, clock or thread.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from . import verdicts
from .arrivals import Arrival, Handler
from .events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockRemoved,
    BlockReplaced,
    BlockSnapshot,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageRollback,
    MessageUpdated,
    SessionRemoved,
    SessionUpdated,
    ToolResult,
)
from .keys import MAX_NUMBER, MessageKey, PartKey
from .limits import Limits
from .marks import EventIds, Intervals, bounded_put
from .model import PART_KINDS, TERMINAL_RANK, Sequencing, freeze
from .rows import STREAMED_KINDS, AnyRow, BlockRow, MessageRow, SessionRow, tool_rank
from .session_values import SessionValues
from .text import pair_surrogates
from .verdicts import Counts, Verdict

#: Events that bring a part of the server's, so that nothing of the client's has to stand for it.
_BRINGS = (BlockOpened, BlockDelta, BlockReplaced)

#: Which of two ways to end a message wins when no seq says.
_ENDINGS = {"open": 0, "completed": 1, "aborted": 2, "error": 3}


def _hidden(message: MessageRow, block: BlockRow | None) -> bool:
    """Whether a removal holds, so that what came waits for a full event of lower seq."""
    rows = (message.session, message, block)
    return any(row.removed_now for row in rows if row is not None)


class Reducer:
    """Applies events to rows; see `apply`.

    Attributes:
        values: what events say of a session itself.

    Args:
        touch: told of each row that a tick has to look at.
        resync: told of a session that should be fetched again, and why.
    """

    def __init__(
        self,
        limits: Limits,
        counts: Counts,
        touch: Callable[[AnyRow], None],
        resync: Callable[[str, str], None],
    ) -> None:
        self._limits = limits
        self._counts = counts
        self._touch = touch
        self._resync = resync
        self.values = SessionValues(limits, resync)
        self._session_events: dict[type[Event], Handler] = {
            SessionUpdated: self._session_updated,
            SessionRemoved: self._session_removed,
            ToolResult: self._tool_result,
            **self.values.handlers,
        }
        self._message_events: dict[type[Event], Handler] = {
            MessageOpened: self._message_opened,
            MessageUpdated: self._message_updated,
            MessageReset: self._message_reset,
            MessageClosed: self._message_closed,
            MessageRemoved: self._message_removed,
            MessageRollback: self._message_rollback,
        }
        self._block_events: dict[type[Event], Handler] = {
            BlockOpened: self._block_opened,
            BlockDelta: self._block_delta,
            BlockReplaced: self._block_replaced,
            BlockSnapshot: self._block_snapshot,
            BlockUpdated: self._block_updated,
            BlockClosed: self._block_closed,
            BlockRemoved: self._block_removed,
        }

    # -- rows ------------------------------------------------------------------------------

    def new_session(self, session_id: str) -> SessionRow:
        """A row for a session that nothing is known of yet."""
        return SessionRow(id=session_id, ids=EventIds(self._limits.event_ids))

    @staticmethod
    def message_row(session: SessionRow, message_id: str) -> MessageRow:
        """The row of a message, made when it is not there."""
        message = session.messages.get(message_id)
        if message is None:
            message = MessageRow(key=MessageKey(session.id, message_id), session=session)
            session.messages[message_id] = message
            message.forget_undone()
        return message

    @staticmethod
    def block_row(message: MessageRow, block_index: int | str) -> BlockRow:
        """The row of a block, made when it is not there."""
        block = message.blocks.get(block_index)
        if block is None:
            block = BlockRow(key=PartKey(*message.key, block_index), message=message)
            message.blocks[block_index] = block
            block.forget_undone()
        return block

    # -- one event -------------------------------------------------------------------------

    def apply(
        self,
        mode: Sequencing,
        event: Event,
        session: SessionRow,
        message: MessageRow | None,
        block: BlockRow | None,
        verdict: Verdict,
        at: int,
        local: bool = False,
    ) -> Verdict:
        """Apply an admitted event; its verdict, unless the state it meets refuses it.

        `at` is its place in the block's window, `local` says that this client made it. Costs
        what the event carries; a late operation costs its block's window.
        """
        positioned = mode in ("session", "sparse") and event.seq is not None
        arrival = Arrival(mode, session, verdict, at, positioned, local)
        if message is None:
            return self._apply_to_session(event, session, arrival)
        if not isinstance(event, MessageReset):
            if positioned and block is None and event.seq is not None:
                message.acted = max(message.acted, event.seq)
            if message.resetting:
                self._rebuild(message)
        if block is None:
            return self._apply_to_message(event, message, arrival)
        return self._apply_to_block(event, message, block, arrival)

    def _apply_to_session(self, event: Event, session: SessionRow, arrival: Arrival) -> Verdict:
        refusal = self._session_events[type(event)](event, session, arrival)
        if refusal is not None and refusal.kind == "refused":
            return refusal
        if not isinstance(event, SessionRemoved):
            session.exists = not session.removed_now
        self._touch(session)
        return refusal or arrival.verdict

    def _apply_to_message(self, event: Event, message: MessageRow, arrival: Arrival) -> Verdict:
        refusal = self._message_events[type(event)](event, message, arrival)
        if refusal is not None:
            return refusal
        if not isinstance(event, MessageRollback):  # what takes back brings nothing about
            self._exist(arrival.session, message, None)
        self._touch(message)
        removed = isinstance(event, MessageRemoved)
        if arrival.positioned and not removed and _hidden(message, None):
            return verdicts.HELD
        return arrival.verdict

    def _apply_to_block(
        self, event: Event, message: MessageRow, block: BlockRow, arrival: Arrival
    ) -> Verdict:
        local = arrival.local
        # Whether what this client said stands for what the server says of it here.
        stands = not local and (block.local or message.local or message.standing_in)
        if stands and isinstance(event, _BRINGS):
            if block.local and isinstance(event, BlockDelta) and not arrival.positioned:
                block.gap = arrival.mode != "block"  # the client's was no opening of the server's
            self._take_over(event, message, block)
        before = self._length(block)
        refusal = self._block_events[type(event)](event, block, arrival)
        removed = isinstance(event, BlockRemoved)  # books what it takes itself
        if (refusal is None or refusal.kind == "held" or refusal is verdicts.RANK) and not removed:
            self._book(event, block, before)
        if refusal is not None and refusal.kind == "refused" and refusal is not verdicts.RANK:
            return refusal
        if stands and block.local and not removed:
            # It says something of a part, whose text is still the client's own.
            self._confirm(message, local)
            message.vouched = True
        else:
            if stands and not isinstance(event, _BRINGS):
                self._confirm(message, local)  # the client's parts stand until one is brought
            self._confirm(block, local)
        self._exist(arrival.session, message, block)
        self._touch(block)
        if arrival.positioned and not removed and _hidden(message, block):
            return verdicts.HELD
        return refusal or arrival.verdict

    def _redraw(self, block: BlockRow) -> None:
        """Something else makes a block show differently: it says nothing newer than a read does."""
        touched = block.touched
        self._touch(block)
        block.touched = touched

    def _length(self, block: BlockRow) -> int:
        others = block.others
        length = block.cell.length
        return length + sum(cell.length for cell in others.values()) if others else length

    def _book(self, event: Event, block: BlockRow, before: int) -> None:
        text = getattr(event, "text", None) or ""
        came = len(text)
        if came and isinstance(event, BlockReplaced):
            paired = came - len(pair_surrogates(text))
            self._counts.characters["paired"] += paired
            came -= paired
        self._counts.characters["superseded"] += before + came - self._length(block)

    def expect(self, session: SessionRow, message: MessageRow, block: BlockRow) -> None:
        """An operation waits behind a hole: its part shows the gap, also when nothing else came."""
        self._exist(session, message, block)
        self._touch(block)

    def _exist(self, session: SessionRow, message: MessageRow, block: BlockRow | None) -> None:
        if not session.exists and not session.removed_now:
            session.exists = True
            self._touch(session)
        exists = session.exists and message.alive
        if exists != message.exists:
            message.exists = exists
            self._touch(message)
            for other in message.blocks.values():
                if other is not block:
                    self._revive(other)
        if block is not None:
            self._revive(block)

    def _revive(self, block: BlockRow) -> None:
        """A removal or an opening above changed what counts of a block."""
        exists = block.message.exists and block.alive
        if exists != block.exists:
            block.exists = exists
            self._touch(block)
            if exists and block.call_id:
                before = self._length(block)
                self._learn_call(block.message.session, block)
                self._counts.characters["superseded"] += before - self._length(block)

    def _confirm(self, row: MessageRow | BlockRow, local: bool) -> None:
        if local:
            return
        message = row.message if isinstance(row, BlockRow) else row
        if message.local:
            message.local = False
            message.standing_in = row is message and any(
                block.local for block in message.blocks.values()
            )
            message.session.unconfirmed.pop(message.key.message_id, None)
            touched = message.touched
            self._touch(message)  # it shows, also where nothing else of it changes
            message.touched = touched
        row.local = False

    def _take_over(self, event: Event, message: MessageRow, block: BlockRow) -> None:
        """The server brings a part of what this client said: its own stands there no more.

        A part under an index that this client used is that one, and the others are on their way.
        Under any other index it is one of the server's, which stand for all of this client's.
        """
        message.standing_in = False
        if block.local:
            # One with a text says itself what there is.
            self._give_up(block, text=not isinstance(event, BlockReplaced) or event.text is None)
            return
        message.vouched = False
        for own in [row for row in message.blocks.values() if row.local]:
            if own.mark < 0 and not own.held:
                self._undo(own)
                del message.blocks[own.key.block_index]
            else:
                self._touch(own)  # the server's as well, whose first operations are on their way
                self._give_up(own, text=True)

    def _give_up(self, block: BlockRow, text: bool) -> None:
        """A part is the server's from here on: what the client said of it holds no more."""
        block.local = block.declared = block.sealed = False
        if block.closed_seq <= 0 and block.close_seq < 0:  # by the client
            block.closed, block.closed_seq, block.closed_at = False, -1, -1
        if text:
            self._counts.characters["superseded"] += self._length(block)
            for _, cell in block.cells():
                cell.replace("")

    # -- sessions --------------------------------------------------------------------------

    def _session_updated(
        self, event: SessionUpdated, session: SessionRow, arrival: Arrival
    ) -> None:
        if event.whole and session.gone:
            session.gone = False
            if session.let_go:  # the server still has what it held: only a read brings that back
                self._resync(session.id, "it was removed by this program, and goes on")
        seq = event.seq if arrival.mode != "none" else None
        if event.whole and arrival.positioned and seq is not None:
            self.session_full(session, seq)
        session.info.merge(event.info, seq, event.whole)

    def _session_removed(
        self, event: SessionRemoved, session: SessionRow, arrival: Arrival
    ) -> None:
        if arrival.positioned and event.seq is not None:
            session.remove_at(event.seq)
            # First: what has no position goes, and is not made again.
            self.values.forget(session, MAX_NUMBER if session.gone else session.removed)
            self._recount_session(session)
        else:
            session.gone = True
            session.gone_id = event.id or ""
            session.let_go = arrival.local
            for message in session.messages.values():
                message.exists = False
                self._touch(message)
                for block in message.blocks.values():
                    self._undo(block)
            session.messages.clear()
            session.unconfirmed.clear()
            session.closing.clear()  # with the rows go their texts
            session.woken.clear()
            session.withheld.clear()
            session.info.clear()
            session.own.clear()
            self.values.forget(session, MAX_NUMBER)
        session.exists = not session.removed_now
        # What has a position above the removal stays; without one, what came before it goes.
        bound = MAX_NUMBER if session.gone else session.removed
        for call_id, waiting in list(session.results.items()):
            kept = [entry for entry in waiting if (entry[1].seq or -1) > bound]
            session.results_size -= len(waiting) - len(kept)
            session.results[call_id] = kept
            if not kept:
                del session.results[call_id]
        for message_id, message in list(session.messages.items()):
            # Nothing at or below a removal comes back: neither does a message all of which is.
            rows = (message, *message.blocks.values())
            if arrival.positioned and all(row.mark <= bound and not row.local for row in rows):
                del session.messages[message_id]
                self._forget_calls(message.blocks.values())
                for block in message.blocks.values():
                    self._drop_held(block)

    def session_full(self, session: SessionRow, seq: int) -> None:
        """A full event or snapshot of a session at `seq`: above a removal it adds it again."""
        before = (session.boundary, session.removed_now)
        session.note_full(seq, self._limits.late_window)
        if (session.boundary, session.removed_now) != before:
            self._recount_session(session)

    def _recount_session(self, session: SessionRow) -> None:
        """What counts of a session changed: it was removed, or an opening moved."""
        session.exists = not session.removed_now
        session.info.limit(session.boundary)
        session.own.limit(session.boundary)
        self.values.recount(session)
        for message in session.messages.values():
            self._recount(message)

    def _tool_result(
        self, event: ToolResult, session: SessionRow, arrival: Arrival
    ) -> Verdict | None:
        block = session.calls.get(event.call_id)
        if block is None or not block.exists or block.message.resetting:
            if session.results_size >= self._limits.pending_results:
                return verdicts.OVER_LIMIT
            session.results.setdefault(event.call_id, []).append((arrival.mode, event))
            session.results_size += 1
            return verdicts.HELD
        if self._is_told(arrival.mode, event, block):
            return verdicts.DUPLICATE
        before = self._length(block)
        block.trim(self._limits.late_window)  # as for what is late
        refusal = self._merge_fields(arrival.mode, event, event.fields, False, block)
        self._counts.characters["superseded"] += before - self._length(block)
        self._touch(block)
        return refusal

    def _learn_call(self, session: SessionRow, block: BlockRow) -> None:
        call_id = block.fields.values.get("callId")
        if call_id == block.call_id and session.calls.get(block.call_id) is block:
            if not block.exists or call_id not in session.results:
                return
        self._forget_calls((block,))
        if not isinstance(call_id, str):
            return
        block.call_id = call_id
        session.calls[call_id] = block
        waiting = session.results.pop(call_id, [])
        session.results_size -= len(waiting)
        if waiting:
            block.trim(self._limits.late_window)  # as for what is late
        for mode, event in waiting:
            if not self._is_told(mode, event, block):
                self._merge_fields(mode, event, event.fields, False, block)
            self._counts.held["filled"] += 1

    @staticmethod
    def _is_told(mode: Sequencing, event: ToolResult, block: BlockRow) -> bool:
        """Whether a fetched state stands for a result: it has it, or the call is another one."""
        if event.seq is None or mode not in ("session", "sparse"):
            return False
        return event.seq <= max(block.covered, block.message.covered)

    @staticmethod
    def _forget_calls(blocks: Iterable[BlockRow]) -> None:
        """Blocks that are gone, or were given another call: no result is theirs any more."""
        for block in blocks:
            calls = block.message.session.calls
            if calls.get(block.call_id) is block:
                del calls[block.call_id]
            block.call_id = ""

    # -- messages --------------------------------------------------------------------------

    def _entity(
        self,
        mode: Sequencing,
        event: MessageOpened | MessageUpdated,
        session: SessionRow,
        message: MessageRow,
    ) -> None:
        names = (("role", event.role), ("parentId", event.parent_id), ("order", event.order))
        given = {name: value for name, value in names if value is not None}
        if event.client_id is not None:
            given["clientId"] = event.client_id
            self._adopt(session, message, event.client_id)
        message.entity.merge(given, event.seq if mode != "none" else None)

    def _adopt(self, session: SessionRow, message: MessageRow, client_id: str) -> None:
        """The server gave another id to a message that this client had added: one of them."""
        for message_id, other in session.unconfirmed.items():
            if other is not message and client_id in (
                message_id,
                other.entity.values.get("clientId"),
            ):
                self._drop(session, other)
                return

    def _drop(self, session: SessionRow, message: MessageRow) -> None:
        """Take a message back without a tombstone: it was never the server's."""
        for block in message.blocks.values():
            self._undo(block)
        message.exists = False
        self._touch(message)
        del session.messages[message.key.message_id]
        session.unconfirmed.pop(message.key.message_id, None)

    def _full(self, event: Event, row: MessageRow | BlockRow, positioned: bool) -> None:
        """Note an event that can add a removed entity again."""
        if row.gone:
            row.gone = False
        if positioned and event.seq is not None:
            bound = row.boundary
            row.note_full(event.seq, self._limits.late_window)
            if row.boundary != bound:
                if isinstance(row, MessageRow):
                    self._recount(row)
                else:
                    self._refold(row, book=False)

    def _message_opened(self, event: MessageOpened, message: MessageRow, arrival: Arrival) -> None:
        if arrival.local and event.local:
            if not message.exists:
                message.local = True
                arrival.session.unconfirmed[message.key.message_id] = message
        else:
            self._confirm(message, False)
            # By the program, which says that the server has it whole.
            message.vouched = message.vouched or (arrival.local and message.standing_in)
        self._full(event, message, arrival.positioned)
        self._entity(arrival.mode, event, arrival.session, message)
        if event.info is not None:
            message.info.merge(event.info, event.seq if arrival.mode != "none" else None)

    def _message_updated(
        self, event: MessageUpdated, message: MessageRow, arrival: Arrival
    ) -> None:
        self._confirm(message, arrival.local)
        if event.whole:
            self._full(event, message, arrival.positioned)
        self._entity(arrival.mode, event, arrival.session, message)
        message.info.merge(event.info, event.seq if arrival.mode != "none" else None, event.whole)

    def _message_reset(self, event: MessageReset, message: MessageRow, arrival: Arrival) -> None:
        for block in message.blocks.values():
            block.cool()
        if arrival.positioned and event.seq is not None:
            if event.seq <= message.reset_seq:
                return
            if message.resetting and not message.resets:
                message.reset_seq = event.seq  # one without seq is pending, and undoes all there is
                return
            for block in message.blocks.values():
                block.trim(self._limits.late_window)  # as for a removal
            insort(message.resets, event.seq)
            del message.resets[: -self._limits.late_window]
            message.resetting = True
            self._rebuild(message)
        else:
            message.resetting = True
            if message.resets:  # those that are pending undo no more than this one
                message.reset_seq, message.resets = message.resets[-1], []
            for block in message.blocks.values():
                if not block.gone:  # what follows is counted anew, though the old text is shown
                    self._drop_held(block)
                    block.restart()
                    block.ops = []
                    block.snapshot_seq = block.close_seq = -1
                    self._touch(block)

    def _rebuild(self, message: MessageRow) -> None:
        """The first event after a reset came: the old parts go, what counts later comes back."""
        resets = message.resets
        if resets:
            blocks = message.blocks.values()
            latest = max(
                (message.acted, *(max(block.mark, block.snapshot_seq) for block in blocks))
            )
            if latest > resets[0]:
                passed = bisect_left(resets, latest)
                message.reset_seq = resets[passed - 1]
                message.resets = resets[passed:][-self._limits.late_window :]
                message.resetting = bool(message.resets)
                for block in message.blocks.values():
                    self._refold(block)
            return
        message.resetting, message.resets = False, []
        self.reopen(message, -1)  # what is rebuilt ends anew
        self._touch(message)  # whose end is shown until now
        for block in list(message.blocks.values()):
            if not block.gone:
                # Of what is rebuilt.
                held, holes_at, refused_seq = block.held, block.holes_at, block.refused_seq
                snapshot_seq = block.snapshot_seq
                block.held, block.holes_at = {}, {}
                self._undo(block)
                block.held, block.holes_at, block.refused_seq = held, holes_at, refused_seq
                block.snapshot_seq = snapshot_seq

    def _message_closed(self, event: MessageClosed, message: MessageRow, arrival: Arrival) -> None:
        self._confirm(message, arrival.local)
        seq = event.seq if arrival.mode != "none" else None
        if seq is None or seq == message.entity.seqs.get("status"):
            if _ENDINGS[event.status] < _ENDINGS[message.closed_as]:
                return
        ended: dict[str, Any] = {"status": event.status}
        if event.error is not None or event.status != "error":
            ended["error"] = event.error  # that of an end which does not count is none
        message.entity.merge(ended, seq)
        for block in message.blocks.values():
            if arrival.positioned and block.closed_at < 0:
                block.linger()
            if not block.closed or block.rank < TERMINAL_RANK:
                self._redraw(block)

    def reopen(self, message: MessageRow, seq: int) -> None:
        """A fetched state begins: how the message ended up to there, it says itself."""
        for name in ("status", "error"):
            if name in message.entity.values and message.entity.seqs.get(name, -1) <= seq:
                message.entity.put(name, None, seq)
                for block in message.blocks.values():
                    for _, cell in () if block.closed else block.cells():
                        cell.await_half()
                    self._redraw(block)  # whether it is settled, too

    def _message_removed(
        self, event: MessageRemoved, message: MessageRow, arrival: Arrival
    ) -> None:
        if arrival.positioned and event.seq is not None:
            message.remove_at(event.seq)
            self._bury(arrival.session, message.key, event.seq)
            self._recount(message)
        else:
            message.gone = True
            message.gone_id = event.id or ""
            self._clear_message(message)
            self._bury(arrival.session, message.key, -1)

    def _clear_message(self, message: MessageRow) -> None:
        for block in message.blocks.values():
            self._undo(block)
        message.blocks.clear()
        message.info.clear()
        message.entity.clear()
        message.resetting, message.resets = False, []

    def _message_rollback(
        self, event: MessageRollback, message: MessageRow, arrival: Arrival
    ) -> None:
        for block in list(message.blocks.values()):
            if block.local and not message.vouched:
                self._undo(block)
                del message.blocks[block.key.block_index]
        if message.local:
            session = arrival.session
            self._drop(session, message)
            if session.empty:
                # Nothing but local messages ever spoke of it: it goes without a trace, too.
                session.exists = False
                self._touch(session)

    def _recount(self, message: MessageRow) -> None:
        """What counts of a message changed: a removal came late, or was undone."""
        message.exists = message.session.exists and message.alive
        message.forget_undone()
        self._touch(message)
        for block in message.blocks.values():
            block.trim(self._limits.late_window)  # else what it can tell apart depends on ticks
            self._refold(block)

    def _bury(self, session: SessionRow, key: Any, seq: int) -> None:
        """Remember a removal; over the bound the oldest is forgotten and the floor rises."""
        tombstones = session.tombstones
        tombstones.pop(key, None)
        tombstones[key] = seq
        if len(tombstones) <= self._limits.tombstones:
            return
        oldest = next(iter(tombstones))
        session.evicted = max(session.evicted, tombstones.pop(oldest))
        message = session.messages.get(oldest[1])
        if message is None:
            return
        if len(oldest) == 3:
            block = message.blocks.get(oldest[2])
            if block is not None and block.removed_now:
                self._forget((block,))
                del message.blocks[oldest[2]]
        elif message.removed_now:
            self._forget(message.blocks.values())
            del session.messages[oldest[1]]
            session.unconfirmed.pop(oldest[1], None)

    # -- blocks ----------------------------------------------------------------------------

    def _undo(self, block: BlockRow) -> None:
        """A block and its text are gone; its marks stay."""
        self._counts.characters["superseded"] += self._length(block)
        if block.held:
            self._drop_held(block)
        self._forget_calls((block,))
        block.message.session.withheld.pop(block.key, None)
        block.withheld = False
        block.wipe()
        block.exists = False
        self._touch(block)

    def _forget(self, blocks: Iterable[BlockRow]) -> None:
        """Blocks of which no tombstone is left go, with what waited in them to be opened again."""
        for block in blocks:
            self._counts.characters["superseded"] += self._length(block)
            self._drop_held(block)
        self._forget_calls(blocks)

    def _drop_held(self, block: BlockRow) -> None:
        for event in block.held.values():
            self._counts.held["evicted"] += 1
            self._counts.characters["superseded"] += len(getattr(event, "text", None) or "")
        block.held = {}
        block.holes_at = {}
        block.refused_seq = -1

    def _refold(self, block: BlockRow, book: bool = True) -> None:
        """Join a block's text again after a removal or opening moved what counts of it."""
        block.cool()
        bound = block.lower_bound
        before = self._length(block)
        if block.previous and bound >= 0:
            self._renew(block)  # a removal by the new counter takes what the old one left
        old_bound = block.forget_undone()
        for field, cell in block.cells():
            if field == "text" and old_bound < cell.replaced <= bound:
                block.keep_replaced(cell)
            above = cell.replaced > bound and not bound < cell.replaced <= old_bound
            if above or bound == old_bound or max(bound, old_bound) < block.first:
                # Nothing of it comes or goes; but what was undone may be the close.
                if not block.closed and block.message.closed_as == "open":
                    cell.await_half()
                continue
            if block.mark <= bound:
                cell.replace("")
                continue
            cell.replace("")
            told = block.set_again(field, cell)
            cell.refold(block.window_text(field, cell, 0))
            if max(block.floor, cell.replaced) > max(bound, told):
                block.suspect = True
                self._resync(block.message.session.id, "a late removal could not be placed")
        block.exists = block.message.exists and block.alive
        if block.call_id or "callId" in block.fields.values:
            self._learn_call(block.message.session, block)
        if book:
            self._counts.characters["superseded"] += before - self._length(block)
        self._touch(block)

    @staticmethod
    def clashes(event: BlockOpened | BlockReplaced | BlockUpdated, block: BlockRow) -> bool:
        """Whether an event says another kind than its block has."""
        known = event.kind if event.kind in PART_KINDS else "unknown"
        return event.kind is not None and block.declared and block.kind != known

    def _declare(
        self, event: BlockOpened | BlockReplaced | BlockUpdated, block: BlockRow, arrival: Arrival
    ) -> Verdict | None:
        kind, order, seq = event.kind, event.order, event.seq
        undone = arrival.positioned and seq is not None and seq <= block.lower_bound
        seq = -1 if seq is None else seq
        if kind is not None:
            if not undone and self.clashes(event, block):
                return verdicts.CONFLICT
            known = kind if kind in PART_KINDS else "unknown"
            if not block.declared:
                block.declared_kind = kind
                if not undone:
                    block.kind, block.declared = known, True
            if not (block.declared and undone):
                block.declared_seq = max(block.declared_seq, seq)
            block.name_kind()
        replaces = isinstance(event, BlockSnapshot) and arrival.positioned and event.whole
        if (order is not None or replaces) and (seq >= block.order_seq or event.seq is None):
            block.placed, block.order_seq = order, max(seq, block.order_seq)
            block.order = None if undone else order
        return None

    def _merge_fields(
        self,
        mode: Sequencing,
        event: Event,
        fields: Mapping[str, Any],
        whole: bool,
        block: BlockRow,
    ) -> Verdict | None:
        """Merge part fields under the law of tool ranks; `rank` when only that was refused."""
        seq = event.seq if mode != "none" else None
        if seq == block.snapshot_seq and mode in ("session", "sparse"):
            if not isinstance(event, BlockSnapshot):  # which says what was after this one
                known = block.fields.seqs
                fields = {n: value for n, value in fields.items() if known.get(n) != seq}
        given = fields
        original = block.fields.values.get("originalKind")
        if whole and original is not None:
            given = {"originalKind": original, **fields}
        if isinstance(event, BlockSnapshot) and whole and mode in ("session", "sparse"):
            # It replaces what it covers, states of a higher rank as well.
            assert seq is not None
            block.states = {r: entry for r, entry in block.states.items() if entry[0] > seq}
            block.rank = max(block.states, default=-1)
        before = block.rank
        if "state" in fields or (whole and before >= 0):
            given = self._rank_state(mode, seq, given, whole, block)
        said: Mapping[str, int] = {}
        if mode == "block" and type(event) is BlockUpdated:
            said = dict(block.fields.seqs)  # what streamed since then goes on from there
        changed = block.fields.merge(given, seq, whole)
        if given is not fields:
            block.name_kind()  # kept, not said: it is as old as its kind
        if block.old:
            left = () if whole else block.old
            block.old = {name: None for name in left if name not in fields}
        if block.states:
            changed |= block.settle_state()
        for name, value in fields.items():
            if name in block.others and (seq is None or said.get(name, -1) < seq):
                positioned = mode in ("session", "sparse")
                self._field_text(block, name, value, seq if positioned else None)
        self._learn_call(block.message.session, block)
        refused = "state" in fields and tool_rank(fields["state"]) < before
        alone = refused and not changed and getattr(event, "text", None) is None
        return verdicts.RANK if alone else None

    @staticmethod
    def _rank_state(
        mode: Sequencing, seq: int | None, given: Mapping[str, Any], whole: bool, block: BlockRow
    ) -> Mapping[str, Any]:
        """Fields to merge beside a tool state, or with one that its rank does not refuse.

        By seq the last state of each rank is kept: the highest rank holds, whatever comes when.
        """
        state = given.get("state")
        rank = tool_rank(state)
        if mode == "none":
            block.states.clear()
        # What the old generation said holds nothing back, in whatever mode.
        free = "state" in block.old or (whole and mode == "none")
        if seq is None and (rank >= block.rank or free):
            block.rank = rank
            if rank >= 0 and mode != "none":
                block.states[rank] = (max(block.mark, 0), freeze(state))
            return given
        if seq is not None and rank >= 0 and seq >= block.states.get(rank, (-1,))[0]:
            block.states[rank] = (seq, freeze(state))
        if rank < 0 and block.rank < 0:
            return given  # no tool state at all
        given = {name: value for name, value in given.items() if name != "state"}
        if whole and "state" in block.fields.values:
            given["state"] = block.fields.values["state"]
        return given

    def _field_text(self, block: BlockRow, name: str, value: Any, seq: int | None) -> None:
        """A field that deltas append to was set: they go on from there."""
        text = value if isinstance(value, str) else ""
        for count in ("received", "accepted", "superseded", "fields"):
            self._counts.characters[count] += len(text)  # as if it were replaced; see `_book`
        if seq is None:
            block.replace_alone(name, text)
        else:
            self._set_text(block, name, seq, text)

    def _block_opened(
        self, event: BlockOpened, block: BlockRow, arrival: Arrival
    ) -> Verdict | None:
        if arrival.mode == "block" and event.seq is None:
            # It stands before all operations, which say more: whenever it comes, and again.
            event = attrs.evolve(event, seq=0)
        conflict = self._declare(event, block, arrival)
        if conflict is not None:
            return conflict
        if arrival.local and not block.exists:
            block.local = True
        self._full(event, block, arrival.positioned)
        if block.previous:
            block.begun = True
            if arrival.positioned:
                self._renew(block)
        fields, streamed = event.fields, {}
        if arrival.mode == "block":
            at, known, whole = event.seq or 0, block.fields.seqs, block.fields.whole
            fields = {n: value for n, value in fields.items() if max(known.get(n, -1), whole) < at}
            rank = tool_rank(event.fields.get("state"))
            if rank >= 0 and block.states.get(rank, (-1,))[0] < at:
                fields["state"] = event.fields["state"]
            behind = block.others.keys() & fields.keys() - block.old.keys()
            streamed = {name: block.others[name].working() for name in behind}
        self._merge_fields(arrival.mode, event, fields, False, block)
        for name, text in streamed.items():  # it goes on from what the opening says
            block.cell_of(name).append(text)
        return None  # it filled in what was not known, whatever its tool state

    def _renew(self, block: BlockRow) -> None:
        """The new generation's own text takes the place of the previous one."""
        block.previous = block.begun = block.sealed = False
        block.closed = block.closed_seq > block.lower_bound  # the new one's close may come first
        if not block.closed:
            block.closed_at = -1
        for field, cell in block.cells():
            cell.replace("")
            cell.refold(block.window_text(field, cell, 0))

    @staticmethod
    def _reopen(block: BlockRow) -> None:
        """A close of the counter that ended says nothing of what the new one brings."""
        if block.closed and block.closed_seq < 0 and not block.previous:
            block.closed, block.closed_at = False, -1

    def _block_delta(self, event: BlockDelta, block: BlockRow, arrival: Arrival) -> Verdict | None:
        field, text = event.field, event.text
        sealed = block.sealed and not block.previous  # a seal of the counter that ended is none
        if sealed and not arrival.positioned and arrival.mode != "block":
            return verdicts.SEALED
        known = block.others.get(field)
        if known is not None and not known.streams and field in block.old:
            known.replace("")
        elif field != "text" and known is None:
            if sum(cell.streams for cell in block.others.values()) >= self._limits.text_fields:
                return verdicts.OVER_LIMIT
            values, seqs = block.fields.values, block.fields.seqs
            if (field in values or field in seqs) and field not in block.old:
                set_at = seqs.get(field, -1) if arrival.positioned else None
                value = values.get(field, block.fields.hidden.get(field))
                self._field_text(block, field, value, set_at)
        cell = block.cell_of(field)
        cell.streams = True
        self._reopen(block)
        if not arrival.positioned:
            if block.previous:
                # Without a counter it need not be the first.
                block.gap = arrival.mode != "block" and not block.begun
                self._renew(block)
            if not block.exists and arrival.mode != "block":
                block.local = arrival.local
                block.gap = not arrival.local
            block.append_alone(field, text)
            block.whole_text = False
            return None
        seq = event.seq
        assert seq is not None
        if arrival.at < 0:
            return None
        block.ops[arrival.at] = text if field == "text" else (field, text)
        block.whole_text = False
        if block.previous:
            return verdicts.HELD
        if seq <= max(cell.replaced, block.lower_bound):
            return None
        if arrival.at == len(block.ops) - 1:
            cell.append(text)
        else:
            cell.refold(block.window_text(field, cell, 0))
        if len(block.ops) > 2 * self._limits.late_window:
            block.trim(self._limits.late_window)
        return None

    def _block_replaced(
        self, event: BlockReplaced, block: BlockRow, arrival: Arrival
    ) -> Verdict | None:
        conflict = self._declare(event, block, arrival)
        if conflict is not None:
            return conflict
        if arrival.local and not block.exists:
            block.local = True
        if event.whole:
            self._full(event, block, arrival.positioned)
        text = event.text
        streams = any(event.fields.get(field) for field in block.others)
        if block.previous and (text is not None or streams or arrival.mode == "block"):
            self._renew(block)  # in a block stream it is the first operation of the new counter
        if arrival.positioned and event.seq == block.snapshot_seq == block.cell.replaced:
            text = None  # the snapshot says what was after this one
        if text is not None:
            self._reopen(block)
            if arrival.positioned and event.seq is not None:
                if event.seq <= block.lower_bound and arrival.at >= 0:
                    block.ops[arrival.at] = ("text", text, "set")
                self._set_text(block, "text", event.seq, text)
            else:
                block.replace_alone("text", text)
                block.whole_text = True
                if arrival.mode != "block":
                    block.gap = False
        if event.whole:
            self._clear_others(block, event.seq if arrival.positioned else None)
        if event.status == "closed":
            self._close(arrival, block, event.seq)
        if not arrival.positioned and arrival.mode != "block" and text is not None:
            closed = block.closed or (event.whole and event.status is None)
            block.sealed = closed and event.status != "open"
            if block.sealed:
                block.cool()
        return self._merge_fields(arrival.mode, event, event.fields, event.whole, block)

    def _clear_others(self, block: BlockRow, seq: int | None) -> None:
        """A whole part came: text streamed into other fields than `text` is not in it."""
        block.whole_seq = max(block.whole_seq, -1 if seq is None else seq)
        for field in block.others:
            if seq is None:
                block.replace_alone(field, "")
            else:
                self._set_text(block, field, seq, "")

    def _set_text(self, block: BlockRow, field: str, seq: int, text: str) -> None:
        """A replace or snapshot at `seq` in a stream with positions: it and what is later."""
        cell = block.cell_of(field)
        if seq < cell.replaced or seq <= block.lower_bound:
            return
        cell.replaced = seq
        if seq > block.mark:
            block.cool()  # a result names its call alone: no mark says that what is below it goes
        if seq >= block.mark:
            cell.replace(text)
        elif block.floor <= seq or not (cell.base or cell.carry):  # no text below the window
            cell.replace(text)
            cell.refold(block.window_text(field, cell, 0))
        if field == "text":
            block.suspect = False

    def _block_snapshot(
        self, event: BlockSnapshot, block: BlockRow, arrival: Arrival
    ) -> Verdict | None:
        conflict = self._declare(event, block, arrival)
        if conflict is not None:
            return conflict
        self._full(event, block, arrival.positioned)
        seq = event.seq
        assert seq is not None
        if block.previous and event.text is not None:
            self._renew(block)
        if event.text is not None:
            self._reopen(block)
            if arrival.positioned:
                block.trim(self._limits.late_window)  # as for what is late
                if block.floor <= seq or seq >= block.mark:
                    self._set_text(block, "text", seq, event.text)
            elif arrival.mode != "block" or arrival.verdict is verdicts.ACCEPTED:
                block.cell.replace(event.text)
                block.whole_text = True
                if arrival.mode == "none":
                    block.gap = False
        if arrival.positioned:
            if event.whole or event.status == "open":
                # Else what it does not say may still come from below.
                block.covered = max(block.covered, seq)
            block.mark = max(block.mark, seq)
        if event.whole and (arrival.positioned or arrival.verdict is verdicts.ACCEPTED):
            self._clear_others(block, seq if arrival.positioned else None)
        if event.status == "closed":
            self._close(arrival, block, event.seq)
        elif event.status == "open" and arrival.positioned and block.closed_seq <= seq:
            block.closed, block.closed_seq = False, -1
        fields, whole = event.fields, event.whole
        if arrival.mode == "block" and arrival.verdict is verdicts.LATE:
            # All of its operations came, and what they stream is there: what an opening that is
            # late begins such a text with is still to come.
            fields = {n: value for n, value in fields.items() if n not in block.others}
            if whole:
                self._keep_told(block, event.fields, seq)
            whole = False
        return self._merge_fields(arrival.mode, event, fields, whole, block)

    @staticmethod
    def _keep_told(block: BlockRow, told: Mapping[str, Any], seq: int) -> None:
        """Fields that a late whole snapshot lacks go, but for the tool state and what streams.

        It leaves no mark: what the opening says of others may still come.
        """
        values, seqs, old = block.fields.values, block.fields.seqs, block.old
        kept = {*told, *(block.others.keys() - old.keys()), "state", "originalKind"}
        kept.update(name for name in values if seqs.get(name, -1) >= seq)
        block.fields.merge({n: value for n, value in values.items() if n in kept}, whole=True)
        block.old = {}

    def _block_updated(
        self, event: BlockUpdated, block: BlockRow, arrival: Arrival
    ) -> Verdict | None:
        conflict = self._declare(event, block, arrival)
        if conflict is not None:
            return conflict
        numbered = arrival.mode == "block" and event.seq is not None
        if event.whole and not (numbered and (event.seq or 0) <= block.fields.whole):
            self._full(event, block, arrival.positioned)
            self._clear_others(block, event.seq if arrival.positioned else None)
        return self._merge_fields(arrival.mode, event, event.fields, event.whole, block)

    def _close(self, arrival: Arrival, block: BlockRow, seq: int | None) -> None:
        at = seq if arrival.positioned and seq is not None else 0
        block.closed_seq = max(block.closed_seq, at)
        block.closed = block.closed_seq > block.lower_bound or not arrival.positioned
        if arrival.positioned and block.closed_at < 0:
            block.linger()

    def _block_closed(
        self, event: BlockClosed, block: BlockRow, arrival: Arrival
    ) -> Verdict | None:
        self._close(arrival, block, event.seq)
        if arrival.mode == "block" and event.seq is not None:
            block.close_seq = max(block.close_seq, event.seq)
            if block.close_seq > block.mark:
                block.cool()  # what comes still changes its gap and status, not its text alone
        if not arrival.positioned and arrival.mode != "block" and block.whole_text:
            block.sealed = True
            block.cool()
        return None

    def _block_removed(
        self, event: BlockRemoved, block: BlockRow, arrival: Arrival
    ) -> Verdict | None:
        block.cool()
        if arrival.positioned and event.seq is not None:
            block.remove_at(event.seq)
            self._refold(block)
            self._bury(arrival.session, block.key, event.seq)
        else:
            block.gone = True
            block.gone_id = event.id or ""
            self._undo(block)
            self._bury(arrival.session, block.key, -1)
        return None

    # -- the end of a connection, a new counter ----------------------------------------------

    def cut(self, blocks: Iterable[BlockRow]) -> None:
        """A connection without seq ended: what was streaming may lack text from here on."""
        for block in blocks:
            streamed = block.kind in STREAMED_KINDS or block.streamed
            if block.exists and streamed and not block.closed and not block.sealed:
                if block.message.closed_as == "open" and not block.gap:
                    block.gap = True
                    self._redraw(block)

    def restart(self, session: SessionRow, generation: str) -> None:
        """The server's counter restarted: marks, holds and tombstones of the session go."""
        bounded_put(session.generations, generation, None, self._limits.answered_requests)
        session.generation = generation
        was_removed = session.removed_now
        # Before: a removal below a bound of its session's or message's is none any more.
        removed = {
            id(row)
            for message in session.messages.values()
            for row in (message, *message.blocks.values())
            if row.removed_now
        }
        session.restart()
        self._touch(session)
        session.intervals = Intervals()
        session.evicted = -1
        session.emptied = 0
        session.tombstones.clear()
        session.fetched_at = -1
        session.holes_at = None
        self._counts.held["evicted"] += session.results_size
        session.results.clear()  # numbers of theirs would hold against those that come now
        session.results_size = 0
        session.info.forget_marks()
        self.values.restart(session)
        session.stated.clear()
        for message in list(session.messages.values()):
            if was_removed or id(message) in removed:
                for block in message.blocks.values():
                    self._counts.characters["superseded"] += self._length(block)
                self._forget_calls(message.blocks.values())
                del session.messages[message.key.message_id]
                session.unconfirmed.pop(message.key.message_id, None)
                continue
            message.restart()
            message.reset_seq = message.acted = -1
            message.resets = []
            message.emptied = 0
            message.info.forget_marks()
            message.entity.forget_marks()
            for block in list(message.blocks.values()):
                if id(block) in removed:
                    self._counts.characters["superseded"] += self._length(block)
                    self._forget_calls((block,))
                    del message.blocks[block.key.block_index]
                else:
                    self._restart_block(block)

    def _restart_block(self, block: BlockRow) -> None:
        block.cool()
        self._drop_held(block)
        block.restart()
        block.ops = []
        block.states = {}
        block.fields.forget_marks()
        block.snapshot_seq = block.close_seq = block.order_seq = -1
        block.declared_seq = block.whole_seq = block.bound = block.closed_seq = -1
        for _, cell in block.cells():
            cell.replaced = -1
            cell.settle_base()
        block.previous, block.begun = block.streamed, False
        block.old = dict.fromkeys(block.fields.values)
        block.emptied = 0
        self._redraw(block)
