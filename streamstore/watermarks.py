"""The gate: the key and seq of an event to a verdict, before anything is buffered.

Deduplication happens here, at ingress. The gate moves marks and holds what waits behind a hole;
it knows no text, delivery, subscriber, clock or thread, and applies nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import verdicts
from .errors import MalformedEvent
from .events import (
    BlockDelta,
    BlockOpened,
    BlockRemoved,
    BlockReplaced,
    BlockSnapshot,
    BlockUpdated,
    Event,
    MessageOpened,
    MessageRemoved,
    MessageUpdated,
    SessionRemoved,
    SessionState,
    SessionUpdated,
)
from .limits import Limits
from .marks import Marks, bounded_put, insert_sorted
from .model import Sequencing
from .rows import BlockRow, MessageRow, SessionRow
from .verdicts import Counts, Verdict

#: No place in a window: the event is not one of a window's operations.
NOWHERE = -1
#: Why a session with a hole is to be fetched again.
MISSING = "operations of the session are missing"
#: And why one whose counter started again is; a connection that goes on looks for it.
RESTARTED = "the server's counter started again"

_REMOVALS = (BlockRemoved, MessageRemoved, SessionRemoved)


def is_full(event: Event) -> bool:
    """Whether an event says everything about its entity, so that it can add it anew."""
    if isinstance(event, BlockOpened | MessageOpened | BlockSnapshot):
        return True
    if isinstance(event, BlockReplaced | BlockUpdated | MessageUpdated | SessionUpdated):
        return event.whole
    return False


def is_operation(event: Event) -> bool:
    """Whether a `block` stream counts an event: deltas and replaces, and what stands for them."""
    return isinstance(event, BlockDelta | BlockReplaced)


def _has_text(event: Event) -> bool:
    return isinstance(event, BlockDelta) or (
        isinstance(event, BlockReplaced) and event.text is not None
    )


class Gate:
    """Decides about events, one at a time.

    `admit` costs one comparison for what comes in order, a binary search in a bounded window for
    what is late, and for a `session` stream one in the intervals of its holes.
    """

    def __init__(
        self,
        limits: Limits,
        counts: Counts,
        resync: Callable[[str, str], None],
        whole: Callable[[str], None],
    ) -> None:
        """`whole` is told of a session whose holes have all been filled by what was missing."""
        self._limits = limits
        self._counts = counts
        self._resync = resync
        self._whole = whole

    # -- generations -----------------------------------------------------------------------

    def generation(self, session: SessionRow, event: Event, stream: Any) -> Verdict | None:
        """Whether an event's generation lets it in: None, stale, or held until it opens."""
        token = event.generation
        if token is None or token == session.generation:
            return None
        if token in session.generations:
            return verdicts.STALE_GENERATION
        if len(session.waiting) >= self._limits.pending_results:
            return verdicts.OVER_LIMIT
        session.waiting.append((token, event, stream))
        return verdicts.HELD

    # -- windows ---------------------------------------------------------------------------

    def expire(self, session: SessionRow) -> None:
        """Take the windows of blocks that were closed a window's length of events ago.

        Costs what expires: each block once.
        """
        closing = session.closing
        while closing:
            key = next(iter(closing))
            block, closed_at = closing[key]
            if block.closed_at == closed_at:
                if session.events - closed_at < self._limits.late_window:
                    return
                if block.exists and not block.previous:
                    block.expire()
            del closing[key]

    # -- one event -------------------------------------------------------------------------

    def admit(
        self,
        mode: Sequencing,
        event: Event,
        session: SessionRow,
        message: MessageRow | None,
        block: BlockRow | None,
        ids_ordered: bool,
    ) -> tuple[Verdict, int]:
        """The verdict on an event, and its place in its block's window (or `NOWHERE`).

        Accepted and late events are to be applied now; held ones come out of `drain`.

        Raises:
            MalformedEvent: an operation of a `block` stream has no seq from 1.
        """
        row: Marks = block or message or session
        seq = event.seq
        if mode == "block" and block is not None and is_operation(event):
            # A snapshot of a block that saw no operation yet stands at 0.
            if seq is None or seq < (0 if isinstance(event, BlockSnapshot) else 1):
                raise MalformedEvent("seq", "operations of a block stream count from 1")
            return self._operation(event, seq, session, message, block), NOWHERE
        if seq is None or mode == "none":
            return self._unpositioned(mode, event, row, session, message, ids_ordered), NOWHERE
        if mode == "block":
            return self._versioned(event, seq, row, session, message, block), NOWHERE
        if mode == "sparse":
            return self._positioned(mode, event, seq, row, session, message, block)
        # What a snapshot stands for was received; it need not hold the session's own members.
        covered = seq <= session.fetched_at
        if (
            not (covered or isinstance(event, BlockSnapshot))
            and seq in session.intervals
            and seq not in session.stated
        ):
            return verdicts.DUPLICATE, NOWHERE
        verdict, at = self._positioned(mode, event, seq, row, session, message, block)
        if not covered and verdict not in (verdicts.OVER_LIMIT, verdicts.UNPLACEABLE):
            self._enter(session, seq, event)
        return verdict, at

    def _above(self, session: SessionRow, message: MessageRow | None, row: Marks) -> list[Marks]:
        return [above for above in (session, message) if above is not None and above is not row]

    def _unpositioned(
        self,
        mode: Sequencing,
        event: Event,
        row: Marks,
        session: SessionRow,
        message: MessageRow | None,
        ids_ordered: bool,
    ) -> Verdict:
        if isinstance(event, _REMOVALS):
            return verdicts.ACCEPTED
        if isinstance(row, BlockRow) and mode in ("session", "sparse") and not is_full(event):
            if row.mark <= row.lower_bound and row.lower_bound >= 0:
                return verdicts.REMOVED  # nothing of it lies above a removal
        if any(above.removed_now for above in self._above(session, message, row)):
            return verdicts.REMOVED
        if row.removed_now:
            stale = ids_ordered and event.id is not None and event.id <= row.gone_id
            if mode == "block" or row.removed >= 0 or stale or not is_full(event):
                return verdicts.REMOVED
        return verdicts.ACCEPTED

    def _versioned(
        self,
        event: Event,
        seq: int,
        row: Marks,
        session: SessionRow,
        message: MessageRow | None,
        block: BlockRow | None,
    ) -> Verdict:
        # In a block stream only operations are counted; on other events seq is a version, by
        # which fields win, and the same one twice on a message or session is a repetition.
        if not isinstance(event, _REMOVALS) and (
            row.gone or any(above.gone for above in self._above(session, message, row))
        ):
            return verdicts.REMOVED
        if block is not None:
            return verdicts.ACCEPTED
        if seq > row.mark:
            self._append(row, seq)
            return verdicts.ACCEPTED
        known = row.knows(seq)
        if known:
            return verdicts.DUPLICATE
        if known is False:
            insert_sorted(row.seqs, seq)
        return verdicts.LATE

    def _positioned(
        self,
        mode: Sequencing,
        event: Event,
        seq: int,
        row: Marks,
        session: SessionRow,
        message: MessageRow | None,
        block: BlockRow | None,
    ) -> tuple[Verdict, int]:
        removal = isinstance(event, _REMOVALS)
        if message is not None and seq <= session.fetched_at and not removal:
            return verdicts.DUPLICATE, NOWHERE
        if isinstance(event, BlockSnapshot) and block is not None:
            return self._positioned_snapshot(seq, session, message, block), NOWHERE
        late = mode == "session" and seq < session.intervals.top
        # That something is not in a fetched state does not say that a delta may not begin it.
        if message is not None and seq <= (row if removal else message).covered:
            return verdicts.DUPLICATE, NOWHERE
        above = self._above(session, message, row)
        if removal:
            if seq == row.removed:
                return verdicts.DUPLICATE, NOWHERE
            if any(seq <= marks.removed for marks in (row, *above)):
                return verdicts.REMOVED, NOWHERE
            if block is not None and seq <= session.fetched_at:
                if message is not None and not message.exists:
                    return verdicts.DUPLICATE, NOWHERE  # a state without its message came since
        elif (
            seq <= row.removed
            or row.gone
            or any(seq <= parent.removed or parent.gone for parent in above)
        ):
            if not (row.gone and row.removed < 0 and is_full(event)):
                return verdicts.REMOVED, NOWHERE
        if row.first < 0 and not removal and seq <= session.evicted:
            return verdicts.EVICTED, NOWHERE
        waits = row.removed_now or any(parent.removed_now for parent in above)
        if block is not None and (waits or block.previous):
            # Hidden operations wait for a full event that may come late; they are bounded.
            if not is_full(event) and not removal and len(block.ops) >= self._limits.late_window:
                self._resync(session.id, "operations wait for a block that was not opened")
                return verdicts.OVER_LIMIT, NOWHERE
        if seq > row.mark:
            at = self._append(row, seq)
            return (verdicts.LATE if late else verdicts.ACCEPTED), at
        return self._overtaken(event, seq, row, session, block)

    def _overtaken(
        self, event: Event, seq: int, row: Marks, session: SessionRow, block: BlockRow | None
    ) -> tuple[Verdict, int]:
        """At or below the mark: to its place in the window, if it is not there, and can be told."""
        if block is not None:
            block.trim(self._limits.late_window)
        known = row.knows(seq)
        if known and row is session and seq == session.fetched_at:
            known = seq in row.seqs  # a read holds not all that the event at its position said
        if block is not None and block.covered < seq <= block.snapshot_seq:
            known = self._below_snapshot(event, seq, known, block)
        if known:
            return verdicts.DUPLICATE, NOWHERE
        if known is None:
            if _has_text(event) or (isinstance(event, SessionState) and event.patch is not None):
                if block is not None:
                    block.suspect = True
                self._resync(session.id, "a late operation could not be placed")
                return verdicts.UNPLACEABLE, NOWHERE
            return verdicts.LATE, NOWHERE
        if block is not None and not block.seqs:
            block.open_window()
        at = insert_sorted(row.seqs, seq)
        row.known_from(seq)
        if block is not None:
            block.ops.insert(at, None)
        return verdicts.LATE, at

    @staticmethod
    def _below_snapshot(event: Event, seq: int, known: bool | None, block: BlockRow) -> bool | None:
        # Of a snapshot that does not say everything: the rest may still come.
        text = isinstance(event, BlockDelta) and event.field == "text"
        if (text and seq <= block.cell.replaced) or (known is None and _has_text(event)):
            return True
        # The mark is that of the snapshot, perhaps, and not of the operation before it.
        return seq in block.seqs if known and seq > block.floor else known

    def _positioned_snapshot(
        self, seq: int, session: SessionRow, message: MessageRow | None, block: BlockRow
    ) -> Verdict:
        # Its seq is a position, which an operation may have had already.
        if seq <= block.snapshot_seq or (message is not None and seq <= message.covered):
            return verdicts.DUPLICATE
        if any(row.gone or seq <= row.removed for row in (session, message, block) if row):
            return verdicts.REMOVED
        block.snapshot_seq = seq
        block.known_from(seq)
        return verdicts.LATE if seq < block.mark else verdicts.ACCEPTED

    def _append(self, row: Marks, seq: int) -> int:
        window = self._limits.late_window
        if isinstance(row, BlockRow) and len(row.ops) > 2 * window:
            row.trim(window)  # of what is no text; a text that is appended sees to it itself
        if isinstance(row, BlockRow) and not row.seqs:
            row.open_window()
        row.mark = seq
        row.known_from(seq)
        row.seqs.append(seq)
        if isinstance(row, BlockRow):
            row.ops.append(None)
            if row.closed_at >= 0:
                row.linger()
            return len(row.ops) - 1
        if len(row.seqs) > 2 * window:
            row.floor = row.seqs[-window - 1]
            del row.seqs[:-window]
        return NOWHERE

    def _enter(self, session: SessionRow, seq: int, event: Event) -> None:
        intervals = session.intervals
        had_holes = len(intervals.starts) > 1
        if intervals.add(seq):
            if isinstance(event, BlockSnapshot):
                # It may have a number of its own, or name that of another block's operation,
                # which then is still to come.
                bounded_put(session.stated, seq, None, self._limits.late_window)
            if len(intervals.starts) > 1:
                if len(intervals.starts) > self._limits.held_operations:
                    intervals.close_oldest()
                self._resync(session.id, MISSING)
            elif had_holes and not (intervals.lost or session.stated):
                self._whole(session.id)  # none was given up, or stated by a snapshot alone
        elif not isinstance(event, BlockSnapshot):
            session.stated.pop(seq, None)

    # -- block streams ---------------------------------------------------------------------

    def _operation(
        self,
        event: Event,
        seq: int,
        session: SessionRow,
        message: MessageRow | None,
        block: BlockRow,
    ) -> Verdict:
        if session.gone or block.gone or (message is not None and message.gone):
            return verdicts.REMOVED
        untouched = block.mark < 0
        if untouched:
            block.mark = 0
        if isinstance(event, BlockSnapshot):
            return self._block_snapshot(seq, block, untouched)
        if seq <= block.mark or seq in block.held:
            return verdicts.DUPLICATE
        if seq == block.mark + 1:
            block.mark = seq
            return verdicts.ACCEPTED
        if len(block.held) >= self._limits.held_operations:
            block.refused_seq = max(block.refused_seq, seq)  # it is missing, whatever comes out
            self._resync(session.id, "a block holds as many operations as it may")
            return verdicts.OVER_LIMIT
        block.held[seq] = event
        return verdicts.HELD

    def _block_snapshot(self, seq: int, block: BlockRow, untouched: bool) -> Verdict:
        if seq <= block.snapshot_seq:
            return verdicts.DUPLICATE
        block.snapshot_seq = seq
        if seq <= block.mark and not untouched:
            return verdicts.LATE
        for held in [held for held in block.held if held <= seq]:
            event = block.held.pop(held)
            block.holes_at.pop(held, None)
            self._counts.held["superseded"] += 1
            text = getattr(event, "text", None)
            self._counts.characters["superseded"] += len(text or "")
        block.mark = seq
        return verdicts.ACCEPTED

    def drain(self, block: BlockRow) -> list[Event]:
        """Held operations that follow the mark now, in order; each was counted as held."""
        ready: list[Event] = []
        held = block.held
        while held and block.mark + 1 in held:
            block.mark += 1
            ready.append(held.pop(block.mark))
            block.holes_at.pop(block.mark, None)
            self._counts.held["filled"] += 1
        return ready
