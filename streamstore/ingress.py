"""`Ingress`: the way of one stream's events through the stages to the rows.

    events -> gate -> reducer -> coalescer

It says of each event what became of it, lets the hot path have the blocks that are in their simple
state, and carries a fetched state out step by step. Knows every stage that changes rows. Bytes,
wire objects and adapters, and what becomes of changed rows, it may not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from . import verdicts
from .adapters.base import MAIN
from .errors import MalformedEvent
from .events import (
    BlockDelta,
    BlockEvent,
    BlockOpened,
    BlockRemoved,
    BlockReplaced,
    BlockSnapshot,
    Event,
    MessageClosed,
    MessageOpened,
    MessageRemoved,
    MessageReset,
    MessageRollback,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
    QuestionAsked,
    QuestionRejected,
    QuestionReplied,
    RequestAnswered,
    RequestAsked,
    SessionDiff,
    SessionRemoved,
    SessionState,
    SessionStatus,
    SessionUpdated,
    Snapshot,
    StreamOpened,
    StreamSynchronized,
    TodoUpdated,
    ToolResult,
    TurnCompleted,
    TurnStarted,
    checked_event,
)
from .keys import MAX_NUMBER, MessageKey, PartKey
from .model import Sequencing
from .positions import Progress, rise, top_of
from .rows import STREAMED_KINDS, BlockRow, HotTable, MessageRow, SessionRow
from .snapshots import plan, read_messages
from .stages import Stages
from .verdicts import ACCEPTED, DUPLICATE, Verdict
from .watermarks import MISSING, NOWHERE, RESTARTED

_MESSAGE_EVENTS = (
    MessageOpened,
    MessageUpdated,
    MessageReset,
    MessageClosed,
    MessageRemoved,
    MessageRollback,
)

#: Which member of a session an event sets: a fetched state must not undo it.
_OWN_MEMBERS: Mapping[type[Event], str] = {
    SessionUpdated: "info",
    SessionStatus: "status",
    TodoUpdated: "todo",
    SessionDiff: "diff",
    PermissionAsked: "permissions",
    PermissionReplied: "permissions",
    QuestionAsked: "questions",
    QuestionReplied: "questions",
    QuestionRejected: "questions",
}

_TURNS = (TurnStarted, TurnCompleted)

#: More deltas than anybody sends lie above it, all of them numbers.
_NEAR_THE_END = MAX_NUMBER - 2**48
#: Refused for what they say or belong to: sent again they are the same events, whatever was removed
#: or opened anew since (L1). What there was no room or place for may come again.
_JUDGED = (verdicts.RANK, verdicts.CONFLICT, verdicts.SEALED, verdicts.REMOVED)


class Ingress:
    """One stream's events, on their way to the rows.

    `local`: they are the user's own, which no server sent.

    Attributes:
        session_id: the only session that it takes events of, if any.
        default_session: the session of events that name none.
        mode: what a hole in its seq means.
        epoch: when it began, see `Coalescer.epoch`.
        hot: blocks that it delivers in order, by key: what the hot path looks at.
        touched: parts that its end would cut, by key.
        sessions: those that it brought something of, by id.
        progress: how far it came.
        numbered: its deltas have a seq where its other events have one.
        unique, ordered: event ids tell events apart, and are counted up.
        stopped: nothing is hot any more.
        checked: its events are of the program's own making, so their members may be of any type.
        switched: told that `mode` and `hot` are others.
        malformed: says what an event is whose members are none.
        restarted: told of a session whose counter started again, as its opening says; until its
            adapter is known they are kept in `anew`.
    """

    __slots__ = (
        "_stages", "_sweep_at", "anew", "checked", "default_session", "epoch", "hot", "local",
        "malformed", "mode", "numbered", "ordered", "progress", "restarted", "session_id",
        "sessions", "stopped", "switched", "touched", "unique",
    )  # fmt: skip

    def __init__(
        self, stages: Stages, session_id: str | None, mode: Sequencing, local: bool = False
    ) -> None:
        self._stages = stages
        self.session_id = session_id
        self.default_session = session_id or MAIN
        self.mode: Sequencing = mode
        self.local = self.checked = local
        self.epoch = stages.coalescer.new_epoch()
        if not local:
            stages.last_opened = self.epoch
        self.hot = HotTable(counts=False)
        self.touched: dict[PartKey, BlockRow] = {}
        self.anew: set[str] = set()
        self.restarted: Callable[[str], object] = self.anew.add
        self._sweep_at = 64
        self.sessions: dict[str, SessionRow] = {}
        self.progress = Progress(stages.positions, self.epoch)
        self.numbered = self.unique = True
        self.ordered = self.stopped = False
        self.switched: Callable[[], None] = _nothing
        self.malformed: Callable[[MalformedEvent], Verdict] = malformed

    def switch(self, mode: Sequencing) -> None:
        """Take what comes from here on as another sequencing says."""
        self.mode = mode
        self.cool()
        # A loop that runs over a batch keeps the old table, where nothing is hot any more.
        self.hot = HotTable(counts=mode in ("session", "sparse") and self.numbered)
        self.switched()

    def cool(self) -> None:
        """Nothing takes the hot path any more, until it is warmed again."""
        for row in list(self.hot.values()):
            row.cool()

    # -- beginning and end ---------------------------------------------------------------------

    def go_on_from(self, entry: Mapping[str, Any]) -> None:
        """Go on where another stream stood: what its end would have cut, this one's end cuts."""
        self.epoch = entry["epoch"]
        sessions = self._stages.sessions
        self.sessions = {name: sessions[name] for name in entry["sessions"] if name in sessions}
        for session_id, message_id, block_index in entry["streaming"]:
            session = sessions.get(session_id)
            message = session.messages.get(message_id) if session is not None else None
            block = message.blocks.get(block_index) if message is not None else None
            if block is not None:
                self.touched[block.key] = block

    @property
    def streaming(self) -> list[list[Any]]:
        """Keys of the parts that would be cut if it ended now; none where the wire counts."""
        return [
            list(key)
            for key, row in self.touched.items()
            if row.exists and not row.closed and row.message.closed_as == "open"
        ]

    @property
    def unfinished(self) -> PartKey | None:
        """A part that would be cut if it ended now, while its session's turn is not over."""
        for key, row in self.touched.items():
            if self._at_rest(row.message.session):
                continue
            streamed = row.kind in STREAMED_KINDS or row.streamed
            if row.exists and streamed and not (row.closed or row.sealed):
                if row.message.closed_as == "open" and not self._also_by_others(row):
                    return key
        return None

    def _at_rest(self, session: SessionRow) -> bool:
        """The last word on a session was that it is idle: what is open there waits for the user."""
        if session.own_epochs.get("status", -1) < self.epoch:
            return False
        status = session.own.values.get("status")
        return isinstance(status, dict) and status.get("type") == "idle"

    def is_open(self, key: MessageKey) -> bool:
        """Whether a message has not ended, in a session that is not at rest."""
        session = self._stages.sessions.get(key.session_id)
        message = None if session is None else session.messages.get(key.message_id)
        if session is None or message is None or self._at_rest(session):
            return False
        return message.exists and message.closed_as == "open"

    def leave(self) -> None:
        """Nothing more comes: cut what was streaming, and let be shown what is held back."""
        stages = self._stages
        rows = [row for row in self.touched.values() if not self._also_by_others(row)]
        for row in rows:
            stages.coalescer.settle(row)
        stages.reducer.cut(rows)
        for row in self.hot.values():
            row.hots = [hot for hot in row.hots if hot is not self.hot]
        self.hot.clear()
        self.hot.forget_last()
        self.touched.clear()
        for session in self.sessions.values():
            stages.coalescer.release(session)

    def _also_by_others(self, row: BlockRow) -> bool:
        """Whether another open stream delivers a part as well: a reconnect that overlaps.

        Not one that delivered a part of this key which was removed since.
        """
        others = self._stages.streams
        return any(other is not self and other.touched.get(row.key) is row for other in others)

    def _note_empty(self, block: BlockRow) -> None:
        """A part is gone, whose row may get another one: no open stream delivers that yet."""
        if not block.exists:
            for stream in self._stages.streams:
                stream.touched.pop(block.key, None)

    # -- an event ------------------------------------------------------------------------------

    def take(self, events: Iterable[Event]) -> Verdict:
        """Take in what one wire object says, at least one event; what became of the first one."""
        first: Verdict | None = None
        refused: str | None = None
        for event in events:
            if refused is not None and getattr(event, "message_id", refused) == refused:
                assert first is not None
                self._stages.counts.text(event, first)
                continue
            try:
                if self.checked:
                    event = checked_event(event, self._stages.limits.nesting)
                verdict = self._take_one(event, first is None)
            except MalformedEvent as error:
                verdict = self.malformed(error)
            if first is None:
                first = verdict
                if verdict.kind in ("duplicate", "refused", "malformed") and (
                    verdict is not verdicts.RANK
                ):
                    # What rides along with a refused event is refused with it, but for what
                    # concerns other messages; fetched states of several sessions stand alone.
                    if verdict.kind == "refused" and isinstance(
                        event, (*_MESSAGE_EVENTS, BlockEvent)
                    ):
                        refused = event.message_id
                    elif verdict.kind == "refused" and isinstance(event, SessionState):
                        refused = ""  # no message's: what is shared beside them concerns none
                    elif not isinstance(event, Snapshot):
                        break
        assert first is not None
        return first

    def pass_over(self, seq: int, session_id: str | None, generation: str | None) -> None:
        """An event of a type that nobody knows came: in a `session` stream its number is no hole.

        It makes no session: of one that nothing else spoke of, there is no number to go on from.
        """
        session = self._stages.sessions.get(session_id or self.default_session)
        if self.mode == "session" and session is not None and session.exists:
            self.take((SessionUpdated(session_id=session_id, seq=seq, generation=generation),))

    def _take_one(self, event: Event, principal: bool) -> Verdict:
        stages = self._stages
        session_id = event.session_id
        if isinstance(event, StreamOpened):
            return self._opened(event)
        if isinstance(event, StreamSynchronized):
            return ACCEPTED
        if session_id is None:
            session_id = self.default_session
        elif self.session_id is not None and session_id != self.session_id:
            stages.counts.text(event, verdicts.FOREIGN)
            return verdicts.FOREIGN
        session = stages.session_row(session_id)
        self.sessions[session_id] = session
        try:
            verdict = self._enter(event, session, principal)
        except MalformedEvent as error:
            stages.counts.text(event, Verdict("malformed", error.field))
            raise
        finally:
            if not session.exists and session_id not in stages.removed:
                stages.note_removed(session)  # nothing shows it: nobody could remove it
        stages.counts.text(event, verdict)
        return verdict

    def _enter(self, event: Event, session: SessionRow, principal: bool) -> Verdict:
        stages = self._stages
        if event.generation is not None and not isinstance(event, Snapshot):
            verdict = stages.gate.generation(session, event, self)
            if verdict is not None:
                return verdict
        by_id = (
            self.unique
            and event.id is not None
            and principal
            and (event.seq is None or self.mode == "none")
        )
        if by_id and event.id is not None and event.id in session.ids:
            return DUPLICATE
        if isinstance(event, Snapshot):
            verdict = self._snapshot(event, session)
        else:
            verdict = self._route(event, session)
        if by_id and (verdict.taken or verdict in _JUDGED):
            assert event.id is not None
            session.ids.add(event.id)
        return verdict

    def _settled_rows(
        self, event: Event, session: SessionRow
    ) -> tuple[MessageRow | None, BlockRow | None]:
        """The rows that an event is for, made where they are not there.

        What the hot path left in them, and in what else it concerns, is settled.
        """
        stages = self._stages
        message: MessageRow | None = None
        block: BlockRow | None = None
        if isinstance(event, BlockEvent):
            message = stages.reducer.message_row(session, event.message_id)
            block = stages.reducer.block_row(message, event.block_index)
            stages.coalescer.settle(block)
        elif isinstance(event, _MESSAGE_EVENTS):
            message = stages.reducer.message_row(session, event.message_id)
            stages.coalescer.settle_session(session)  # it may concern all of the message's text
        elif isinstance(event, SessionRemoved | SessionUpdated | ToolResult):
            # Whose parts it concerns, a call says, or all: what was left lies in few of them.
            stages.coalescer.settle_session(session)
        return message, block

    def _route(self, event: Event, session: SessionRow) -> Verdict:
        stages = self._stages
        message, block = self._settled_rows(event, session)
        if session.woken and self.mode in ("session", "sparse"):
            stages.coalescer.settle_session(session)
        if session.closing:
            stages.gate.expire(session)
        held_before = len(block.held) if block is not None else 0
        ends, lost = session.intervals.ends, session.intervals.lost
        counted: SessionRow | BlockRow | None = session if self.mode == "session" else None
        top = ends[-1] if ends else -1
        if self.mode == "block" and block is not None:
            top = top_of(block)
            if isinstance(event, BlockDelta | BlockReplaced | BlockSnapshot):
                counted = block
        if block is not None and isinstance(event, BlockSnapshot) and self.mode == "block":
            if stages.reducer.clashes(event, block):
                return verdicts.CONFLICT  # before: it stands for no operation
        try:
            verdict, at = stages.gate.admit(self.mode, event, session, message, block, self.ordered)
        except MalformedEvent:
            _discard(session, message, block)
            raise
        session.events += 1
        if len(session.intervals.starts) > 1 or session.holes_at is not None:
            self.progress.note_holes(session, event.seq if verdict is not DUPLICATE else None)
            # What follows the highest seq, or has none, changes no hole, unless a read left one too
            # many: the short way of a delta does not look at the session, either.
            changed = event.seq not in (None, top + 1) or session.intervals.lost != lost
            if self.mode == "session" and changed:
                stages.coalescer.touch(session)
        if block is not None and event.seq is not None and len(block.held) > held_before:
            self.progress.hold(block, event.seq, top)
        if counted is not None and verdict.taken and event.seq is not None and event.seq > top:
            if isinstance(event, BlockSnapshot):
                rise(counted, event.seq)
            else:
                self.progress.stand(counted, event.seq)
        if self.mode == "block":
            self._stand_at_opening(event, message, block)
        if verdict.kind == "held":
            assert message is not None and block is not None and event.seq is not None
            if len(block.held) > held_before:
                block.cool()
                stages.reducer.expect(session, message, block)
            return verdict
        if verdict.kind not in ("accepted", "late"):
            if block is not None and verdict is verdicts.UNPLACEABLE:
                stages.coalescer.touch(block)
            elif block is not None and counted is block and verdict is verdicts.OVER_LIMIT:
                self.progress.refuse(block, top)
            _discard(session, message, block)
            return verdict
        return self._apply(event, session, message, block, verdict, at)

    def _stand_at_opening(
        self, event: Event, message: MessageRow | None, block: BlockRow | None
    ) -> None:
        """Note the place of an opening that is the first to come of its message or block."""
        # Where its opening is lost, what it misses may lie before.
        if (
            message is not None
            and message.stood is None
            and isinstance(event, MessageOpened)
            and not (message.exists or message.blocks)
        ):
            self.progress.stand(message, -1)
        if (
            block is not None
            and block.stood is None
            and isinstance(event, BlockOpened)
            and not block.exists
        ):
            self.progress.stand(block, -1)

    def _apply(
        self,
        event: Event,
        session: SessionRow,
        message: MessageRow | None,
        block: BlockRow | None,
        verdict: Verdict,
        at: int,
    ) -> Verdict:
        stages = self._stages
        if message is None and isinstance(event, _TURNS):
            stages.coalescer.observe(event, session, None)
            return verdict
        keys: list[PartKey] = []
        if isinstance(event, SessionRemoved):
            keys = [row.key for m in session.messages.values() for row in m.blocks.values()]
        elif message is not None and isinstance(event, MessageClosed | MessageRemoved):
            keys = [row.key for row in message.blocks.values()]
        verdict = stages.reducer.apply(
            self.mode, event, session, message, block, verdict, at, self.local
        )
        if block is not None:
            self._follow_block(event, session, message, block)
        elif verdict.kind in ("accepted", "late"):
            self._follow_message(event, session, message, keys)
        return verdict

    def _follow_message(
        self, event: Event, session: SessionRow, message: MessageRow | None, keys: list[PartKey]
    ) -> None:
        """What follows from an event of a session or message, which had blocks of these keys."""
        stages = self._stages
        if not isinstance(event, SessionStatus) or _holds(event, session, self.mode):
            stages.coalescer.observe(event, session, message)
        if isinstance(event, MessageRemoved | MessageReset):
            assert message is not None
            message.emptied = stages.coalescer.epoch
        elif isinstance(event, SessionRemoved):
            session.emptied = stages.coalescer.epoch
        self._note_own(event, session)
        if isinstance(event, MessageRollback):
            _discard(session, message, None)
        elif isinstance(event, SessionRemoved):
            stages.note_removed(session)
            for stream in stages.streams:
                for key in keys:
                    stream.touched.pop(key, None)
        for key in keys:
            row = self.touched.get(key)
            if row is not None and not _may_be_cut(row):
                del self.touched[key]

    def _follow_block(
        self, event: Event, session: SessionRow, message: MessageRow | None, block: BlockRow
    ) -> None:
        """What follows from an event of a block: what waited behind it, and its short way."""
        stages = self._stages
        if isinstance(event, BlockRemoved):
            block.emptied = stages.coalescer.epoch
            self._note_empty(block)
        if self.mode == "block" and (
            block.held or block.last_known > block.mark or block.key in stages.positions.blocks
        ):
            for held in stages.gate.drain(block):
                outcome = stages.reducer.apply(
                    self.mode, held, session, message, block, ACCEPTED, NOWHERE, self.local
                )
                if outcome.kind == "refused":
                    stages.counts.characters["superseded"] += verdicts.text_length(held)
            self.progress.note_close(block)
        alone = self.mode == "none" or (event.seq is None and self.mode != "block")
        if isinstance(event, BlockDelta) and (event.field == "text" or event.field in block.others):
            block.stream_field(event.field)
        self._warm(block, alone)

    def _note_own(self, event: Event, session: SessionRow) -> None:
        """Note when an event set a member of its session: an older read must not undo it."""
        member = _OWN_MEMBERS.get(type(event))
        if member is None:
            return
        if isinstance(event, SessionUpdated) and not (event.info or event.whole):
            return  # it was received, and says nothing that a fetched state could undo
        epoch = session.own_epochs[member] = self._stages.coalescer.epoch
        if isinstance(event, RequestAsked) and event.request_id in getattr(session, member):
            # Of each request for itself: a read that began before says nothing of it.
            session.own_epochs[f"{member} {event.request_id}"] = epoch
        elif isinstance(event, RequestAnswered):
            session.own_epochs.pop(f"{member} {event.request_id}", None)

    def _sweep(self) -> None:
        """Parts that the end of the stream cannot cut any more go, whoever ended them. Amortized:
        those that it ended itself went when it did."""
        self.touched = {key: row for key, row in self.touched.items() if _may_be_cut(row)}
        self._sweep_at = 2 * len(self.touched) + 64

    def _warm(self, block: BlockRow, alone: bool = False) -> None:
        """Let the hot path have a block that is in its simple state.

        `alone`: what came has no seq, so that the end of the stream may cut the block.
        """
        message = block.message
        if block.closed or not block.exists or message.closed_as != "open":
            self.touched.pop(block.key, None)
        elif alone and not self.local and block.mark < 0:
            self.touched[block.key] = block
            if len(self.touched) > self._sweep_at:
                self._sweep()
        if (
            self.local
            or self.stopped
            or not block.exists
            or block.local
            or message.local
            or message.standing_in
            or message.resetting
            or block.sealed
            or block.previous
            or block.held
            or block.last_known > block.mark
            or (block.closed and block.closed_seq < 0)  # by a counter that ended
            # Another stream gave it a window, which these operations have no place in.
            or (self.mode == "block" and block.seqs)
            # `hotpath` tells `true` from the number 1 by the mark alone.
            or (block.mark < 1 and (self.mode == "block" or self.hot.counts))
            # The first operation of a window says what lies below it.
            or (self.hot.counts and (block.first < 0 or block.closed_at >= 0 or not block.seqs))
            # It was set by a result, which names its call alone.
            or (self.hot.counts and block.fresh_cell.replaced > block.mark)
        ):
            return
        if block.mark > _NEAR_THE_END:
            block.cool()  # no delta looks whether its seq is still a number
            return
        message.session.woken[block] = None
        hot = self.hot
        if any(other.counts is not hot.counts for other in block.hots):
            block.cool()  # deltas with a seq and deltas without one do not wait side by side
        if hot.get(block.hot_key) is not block:
            hot[block.hot_key] = block
            block.hots.append(hot)

    # -- generations and snapshots -------------------------------------------------------------

    def _opened(self, event: StreamOpened) -> Verdict:
        stages = self._stages
        if event.session_id is not None and self.session_id not in (None, event.session_id):
            return verdicts.FOREIGN
        if event.generation is not None:
            if self._of_generation(event.session_id, event.generation)[1]:
                return verdicts.STALE_GENERATION
        self.epoch = stages.last_opened = stages.coalescer.new_epoch()
        if event.sequencing is not None:
            self.switch(cast(Sequencing, event.sequencing))
        if event.generation is not None:
            self.open_generation(event.session_id, event.generation)
        return ACCEPTED

    def _of_generation(
        self, session_id: str | None, generation: str
    ) -> tuple[list[SessionRow], bool]:
        """The sessions whose counter a generation would change, and whether it is a stale one."""
        stages = self._stages
        scope = session_id or self.session_id
        if scope is not None:
            sessions = [stages.session_row(scope)]
        else:
            # A session that another open stream was opened for has that stream's counter.
            others = {other.session_id for other in stages.streams if other is not self}
            sessions = [row for row in stages.sessions.values() if row.id not in others]
        known = [session for session in sessions if generation in session.generations]
        current = [session for session in sessions if session.generation == generation]
        if scope is None and not sessions:
            return sessions, generation in stages.generations and generation != stages.generation
        stale = bool(sessions) and len(known) == len(sessions) and len(current) < len(sessions)
        return sessions, stale

    def open_generation(self, session_id: str | None, generation: str) -> None:
        """The server's counter is that of a generation now, for one session or for all of them."""
        stages = self._stages
        sessions, stale = self._of_generation(session_id, generation)
        if stale:
            return
        if (session_id or self.session_id) is None:
            stages.note_generation(generation)
        for session in sessions:
            if generation not in session.generations:
                self.restarted(session.id)
                self._restart(session, generation)

    def _restart(self, session: SessionRow, generation: str) -> None:
        """Change a session's generation: a barrier; then take in what waited for it."""
        stages = self._stages
        for message in session.messages.values():
            for block in message.blocks.values():
                stages.coalescer.settle(block)
                stages.positions.drop(block)
        if generation == stages.generation:
            # Of a session that another stream was opened for, that counter was the other's to say.
            session.generations.update(stages.generations)
        first = session.generation is None
        if first:
            session.generation = generation
            session.generations[generation] = None
            if session.exists and any(
                message.mark >= 0 or any(row.mark >= 0 for row in message.blocks.values())
                for message in session.messages.values()
            ):
                stages.reducer.restart(session, generation)
        else:
            stages.reducer.restart(session, generation)
        if any(row.previous for m in session.messages.values() for row in m.blocks.values()):
            stages.ask_resync(session.id, RESTARTED)
        session.restarted = stages.coalescer.epoch
        waiting, session.waiting = session.waiting, []
        for token, event, stream in waiting:
            if token != generation:
                session.waiting.append((token, event, stream))
                continue
            try:  # who brought it may be gone: a loaded store does not know its streams
                kind = (stream or self)._enter(event, session, True).kind
            except MalformedEvent:
                kind = "malformed"
            taken = kind in ("accepted", "late", "held")
            stages.counts.held["filled" if taken else "superseded"] += 1
            if not taken:
                stages.counts.characters["superseded"] += verdicts.text_length(event)

    def _snapshot(self, event: Snapshot, session: SessionRow) -> Verdict:
        stages = self._stages
        messages = read_messages(event)
        if session.gone and self.mode == "block":
            return verdicts.REMOVED
        default = stages.last_opened if self.local else self.epoch
        epoch, top = stages.read_from(event.read_from, default)
        if event.generation is not None and event.generation != session.generation:
            if event.generation in session.generations:
                return verdicts.STALE_GENERATION
            self._restart(session, event.generation)
        positioned = self.mode in ("session", "sparse") and event.seq is not None
        if positioned and event.complete and event.before is None and event.read_from is not None:
            assert event.seq is not None
            if event.seq < top and epoch > session.restarted:
                # The read began after `top` was received of this counter: it started again.
                self._restart(session, f"reset-{len(session.generations) + 1}")
        if positioned and event.seq is not None and event.seq < session.fetched_at:
            return DUPLICATE  # a newer one says everything
        stages.coalescer.settle_session(session)
        if not positioned and session.removed_now:
            if stages.coalescer.touched_since(session, epoch):
                return verdicts.REMOVED  # during the read
        steps = plan(event, messages, session, self.mode, stages.coalescer.touched_since, epoch)
        # A removal during the read is newer than what was read, whatever position that has.
        removed = session.gone and stages.coalescer.touched_since(session, epoch)
        stages.coalescer.touch(session)
        shows = not (positioned and removed) and self._own_state(event, session, epoch, positioned)
        for step in steps:
            self._step(step, session, epoch)
        if shows:
            stages.coalescer.release(session)  # with the text that it brought itself
        if positioned:
            self._cover(event, session)
        if positioned or session.emptied < epoch:
            stages.resync.pop(session.id, None)  # else what was removed since the read is owed
        if self.mode == "session" and len(session.intervals.starts) > 1:
            stages.ask_resync(session.id, MISSING)  # above its position, or it has none
        return ACCEPTED

    def _step(self, step: Any, session: SessionRow, epoch: int) -> None:
        stages = self._stages
        event = step.event
        if step.counted:
            stages.counts.text(event, self._route(event, session))
            return
        message = stages.reducer.message_row(session, event.message_id)
        if event.seq is not None and self.mode in ("session", "sparse"):
            message.mark = max(message.mark, event.seq)
            if isinstance(event, MessageUpdated):
                stages.reducer.reopen(message, event.seq)
        block = None
        if isinstance(event, BlockEvent):
            block = stages.reducer.block_row(message, event.block_index)
        if isinstance(event, BlockSnapshot):
            assert block is not None and event.seq is not None
            if event.seq <= max(block.snapshot_seq, block.removed, message.removed):
                return
            block.snapshot_seq = event.seq
            block.known_from(event.seq)
        touched = [(row, row.touched) for row in (message, block) if row is not None]
        # What a snapshot brings was received outside the events; it counts as accepted.
        verdict = stages.reducer.apply(self.mode, event, session, message, block, ACCEPTED, NOWHERE)
        stages.counts.text(event, ACCEPTED if verdict.kind == "held" else verdict)
        if verdict.kind == "refused":
            if block is not None:
                block.cool()  # its message is covered all the same: the gate knows up to where
            return
        stages.coalescer.observe(event, session, message)
        if block is not None and isinstance(event, BlockRemoved):
            self._note_empty(block)
        for row, before in touched:  # as old as its read: a later one replaces it
            row.touched = max(before, epoch - 1)
        if block is not None:
            if step.gap is not None:
                block.gap = step.gap
            if self.mode == "block" or self.hot.counts:
                self._warm(block)  # else its first delta does: what streams here, the end cuts

    def _own_state(
        self, event: Snapshot, session: SessionRow, epoch: int, positioned: bool
    ) -> bool:
        """The session's own members of a snapshot; events since the read began are newer.

        True where it says that the session is idle, or asks something that no event asked: what
        buffered delivery holds back is to be shown.
        """
        stages = self._stages
        shows = False
        seq = event.seq if positioned else None
        if seq is not None:
            stages.reducer.session_full(session, seq)
        session.gone = False
        session.exists = not session.removed_now
        # A position says what is newer; without one the time of the read does.
        newer = session.own_epochs if seq is None else {}
        if event.info is not None and newer.get("info", 0) < epoch:
            session.info.merge(event.info, seq, whole=True)
        for name in ("status", "todo", "diff"):
            value = getattr(event, name)
            if value is not None and newer.get(name, 0) < epoch:
                session.own.merge({name: value}, seq)
                if name == "status" and value.get("type") == "idle":
                    shows = session.own.values.get(name) == value  # else events above it are newer
        for name, fetched in (("permissions", event.permissions), ("questions", event.questions)):
            if fetched is not None:
                known = set(getattr(session, name))
                asked = {
                    request_id
                    for request_id in known
                    if newer.get(f"{name} {request_id}", 0) >= epoch
                }
                stages.reducer.values.merge_requests(session, name, fetched, asked, seq)
                shows |= not known.issuperset(getattr(session, name))
        return shows

    def _cover(self, event: Snapshot, session: SessionRow) -> None:
        """Set the marks of what a positioned snapshot stands for."""
        seq = event.seq
        assert seq is not None
        for message in event.messages:
            message_id = message.get("id") or message["info"]["id"]
            row = session.messages.get(message_id)
            if row is None:
                continue  # its removal was forgotten meanwhile
            row.covered = max(row.covered, seq)
            row.mark = max(row.mark, seq)
            row.known_from(seq)
        if event.complete and event.before is None:
            session.fetched_at = max(session.fetched_at, seq)
            session.mark = max(session.mark, seq)
            if self.mode == "session":
                intervals = session.intervals
                intervals.cover(seq, intervals.starts[0] if intervals.starts else seq)
                rise(session, MAX_NUMBER)  # a read has no place among the events
                if len(intervals.starts) > 1 or session.holes_at is not None:
                    self.progress.note_holes(session, None)


def _holds(event: SessionStatus, session: SessionRow, mode: Sequencing) -> bool:
    """Whether a status is the session's: one that is late begins and ends no turn."""
    own = session.own
    seq = event.seq if mode != "none" else None  # there the last one holds, whatever its number
    late = seq is not None and seq < own.seqs.get("status", -1)
    return not late and bool(own.values.get("status", {}).get("type") == event.status)


def _may_be_cut(block: BlockRow) -> bool:
    """Whether the end of a stream that delivers a part may leave it without its rest."""
    return block.exists and block.message.closed_as == "open"


def _discard(session: SessionRow, message: MessageRow | None, block: BlockRow | None) -> None:
    """Rows made for an event that the gate did not let in are not kept."""
    if block is not None and block.virgin:
        block.message.blocks.pop(block.key.block_index, None)
    if message is not None and message.virgin:
        session.messages.pop(message.key.message_id, None)


def malformed(error: MalformedEvent) -> Verdict:
    """The verdict on an event with a member that is none."""
    return Verdict("malformed", error.field, str(error))


def _nothing() -> None:
    pass
