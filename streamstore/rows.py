"""The working rows of the store: one per session, message and block, changed in place.

Rows run ahead of what readers see: events change them at once, a tick publishes them. They hold
data and answer questions about themselves; what an event does to them is the reducer's business.
Knows no stage, event or clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, TypeAlias

import attrs

from .cells import TextCell
from .changes import TextField
from .keys import MAX_NUMBER, HotKey, MessageKey, PartKey, hot_key, is_order
from .marks import EventIds, FieldMarks, Intervals, Marks, trim
from .model import PART_KINDS, TOOL_RANKS, Json, Request

#: Kinds whose text arrives in deltas: what a cut connection can lose.
STREAMED_KINDS = frozenset(("text", "reasoning"))


class HotTable(dict[Any, "BlockRow"]):
    """Blocks that a stream delivers in order and in their simple state, by key.

    `last` is the one that the last delta was for: most deltas come in runs. `counts` says
    whether the deltas have a seq in their session. `release` has the short way forget `last`.
    """

    __slots__ = ("counts", "last", "release")

    def __init__(self, counts: bool = False) -> None:
        super().__init__()
        self.counts = counts
        self.last: BlockRow | None = None
        self.release: Callable[[], None] = _nothing

    def forget_last(self) -> None:
        """The next delta looks its row up."""
        self.last = None
        self.release()


def _nothing() -> None:
    pass


@attrs.define(eq=False)
class BlockRow(Marks):
    """One block: its marks, what the hot path left, its fields, its text, and what is shown.

    Attributes:
        fresh: deltas of `fresh_field` since the row was last settled, one string each; in
            streams with a window they belong to the last seqs of it.
        fresh_field: whose deltas take the hot path, one field at a time; `text_field` names it to
            subscribers, `hot_key` finds the row there.
        ops: window entries parallel to `seqs` but for the fresh ones: a delta's text, a tuple
            (field, text) for another field, (field, text, "set") for a replace that a removal
            hides, None for an operation without text.
        held: operations behind a hole or waiting for an open, by seq, as the gate keeps them.
        holes_at: by held operation (-1: a close behind a hole, below: operations over the bound)
            the stream that brought it and that stream's position before it.
        hots: the hot tables of streams that hold this row, to take it out.
        kind, declared: the kind, and whether an event said so; `declared_seq`: which.
        declared_kind, placed: the kind, as it was named, and order of before, which a removal may
            have undone.
        closed, close_seq: the block was closed, in a `block` stream after that operation.
        refused_seq: the highest operation that was refused for the bound of `held`.
        closed_seq: the last close in a stream with positions; a removal above it undoes it.
        closed_at: how many events its session had seen when it or its message was closed, or when
            an operation came after that, -1 while it is open: its window runs out from there.
        whole_seq: the last operation there that said everything of the part.
        states: the last tool state of each rank, by rank, with its seq.
        call_id: the call under which its session finds it, "" for none.
        bound: what `lower_bound` was when the text was last joined.
        whole_text: the last text operation set the whole text.
        gap, suspect, previous: see `Part`; a suspect part refused a late operation.
        begun: its text is previous, and an opening said that the new one comes from its start.
        old: names of fields that were set before the server's counter began, and not again since.
        emptied: the epoch in which an event last removed it.
        passed: deltas that the hot path left in `fresh` and that were settled since.
        room: how many may lie in `fresh` before they are merged; 0: nobody was told of them yet.
        calm_to: the seq at which `fresh` may be full, or that is no number; 0 as `room`.
        credit: yields as often as there is room for one more where no seq says it, then never
            again: to ask an iterator costs two thirds of making the number of what waits.
        dirty, reshaped: a tick has to look at it; at more than what its text gained.
        released: what waited of its text is shown at the next tick although delivery is buffered;
            `released_closed` whether it was closed then.
        withheld: text or a close waits for the turn's end.
        shown: what was published last, None when it is not shown.
        view: the value made of it, when somebody read it.
    """

    key: PartKey = attrs.field(kw_only=True)
    message: MessageRow = attrs.field(kw_only=True)
    fresh: list[str] = attrs.field(factory=list)
    fresh_field: str = "text"
    ops: list[Any] = attrs.field(factory=list)
    held: dict[int, Any] = attrs.field(factory=dict)
    holes_at: dict[int, Any] = attrs.field(factory=dict)
    hots: list[HotTable] = attrs.field(factory=list)
    exists: bool = False
    kind: str = "text"
    declared: bool = False
    order: float | None = None
    fields: FieldMarks = attrs.field(factory=FieldMarks)
    cell: TextCell = attrs.field(factory=TextCell)
    others: dict[str, TextCell] = attrs.field(factory=dict)
    closed: bool = False
    close_seq: int = -1
    refused_seq: int = -1
    closed_at: int = -1
    snapshot_seq: int = -1
    whole_text: bool = False
    sealed: bool = False
    gap: bool = False
    suspect: bool = False
    previous: bool = False
    begun: bool = False
    old: dict[str, None] = attrs.field(factory=dict)
    emptied: int = 0
    order_seq: int = -1
    declared_seq: int = -1
    declared_kind: str = "text"
    placed: float | None = None
    closed_seq: int = -1
    whole_seq: int = -1
    bound: int = -1
    states: dict[int, tuple[int, Json]] = attrs.field(factory=dict)
    call_id: str = ""
    rank: int = -1
    passed: int = 0
    room: int = 0
    calm_to: int = 0
    credit: Iterable[None] = ()
    dirty: bool = False
    reshaped: bool = False
    released: bool = False
    released_closed: bool = False
    withheld: bool = False
    session_id: str = attrs.field(init=False)
    message_id: str = attrs.field(init=False)
    index: int | str = attrs.field(init=False)
    ids: EventIds = attrs.field(init=False)
    text_field: TextField = attrs.field(init=False)
    hot_key: HotKey = attrs.field(init=False)
    shown: tuple[Any, ...] | None = None
    shown_closed: bool = False
    view: Any = None

    def __attrs_post_init__(self) -> None:
        # What the hot path compares and looks into, one attribute away.
        self.session_id, self.message_id, self.index = self.key
        self.ids = self.message.session.ids
        self.text_field = TextField(self.key, "text")
        self.hot_key = self.key

    @property
    def virgin(self) -> bool:
        """Whether nothing was ever taken in for it."""
        return not (
            self.exists
            or self.mark > 0
            or self.first >= 0
            or self.removed >= 0
            or self.gone
            or self.held
            or self.closed
            or self.declared
            or self.shown is not None
            or any(cell.length for _, cell in self.cells())
        )

    @property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """Seqs missing below the last operation that a `block` stream's block is known to have.

        What was refused shows once what is held came out: until then there is a hole before it,
        and a flood of refusals changes nothing.
        """
        last = self.last_known
        if not self.held and last <= self.mark:
            return ()
        ranges: list[tuple[int, int]] = []
        at = max(self.mark, 0)
        for seq in sorted(self.held):
            if seq > at + 1:
                ranges.append((at + 1, seq - 1))
            at = seq
        if last > at:
            ranges.append((at + 1, last))
        return tuple(ranges)

    @property
    def last_known(self) -> int:
        """The last operation that its close or, where none is held, a refusal told of."""
        return self.close_seq if self.held else max(self.close_seq, self.refused_seq)

    def cell_of(self, field: str) -> TextCell:
        """The text of a field; made when it is not there yet."""
        if field == "text":
            return self.cell
        cell = self.others.get(field)
        if cell is None:
            cell = self.others[field] = TextCell(replaced=self.whole_seq)
        return cell

    @property
    def streamed(self) -> bool:
        """Whether there is text that streamed: one that was set whole is a value like others."""
        return bool(
            self.cell.length or any(cell.streams and cell.length for cell in self.others.values())
        )

    def cells(self) -> list[tuple[str, TextCell]]:
        """Every text field with its name."""
        return [("text", self.cell), *self.others.items()]

    @property
    def fresh_cell(self) -> TextCell:
        """The text that the hot path appends to."""
        return self.cell if self.fresh_field == "text" else self.cell_of(self.fresh_field)

    def stream_field(self, field: str) -> None:
        """Have the deltas of another field take the hot path; nothing may be fresh."""
        if field != self.fresh_field:
            self.cool()
            self.fresh_field = field
            self.text_field = TextField(self.key, field)
            self.hot_key = hot_key(self.key, field)

    def settle(self, window: int) -> int:
        """Move what the hot path left into its cell; how many deltas. Costs what is fresh."""
        fresh = self.fresh
        number = len(fresh)
        if number:
            try:
                text = "".join(fresh)
            except TypeError:
                text = self.only_text()
            if not self.seqs:
                self.fresh_cell.append(text)
            elif len(self.ops) < len(self.seqs):
                self.fresh_cell.append(text)
                self.enter_window(window)
            else:
                self.append_alone(self.fresh_field, text)
            self.leave_fresh()
        return number

    def only_text(self) -> str:
        """The fresh deltas, joined, where some are no strings: these become empty, for good.

        The doors take in what adds to a string. No JSON does but a string, an array of NumPy's may.
        """
        self.fresh[:] = [text if isinstance(text, str) else "" for text in self.fresh]
        return "".join(self.fresh)

    def enter_window(self, window: int) -> None:
        """Give the fresh deltas, whose text is in the cell, their places in the window."""
        field = self.fresh_field
        self.ops += self.fresh if field == "text" else [(field, text) for text in self.fresh]
        if len(self.ops) > 2 * window:
            self.trim(window)

    def renew_window(self, window: int, text: str) -> bool:
        """`enter_window` where the fresh deltas alone are more than it holds; False otherwise.

        `text`: the fresh ones joined, ASCII, which ends what is shown. So what lies below the last
        ones is counted as the rest of it, and what came before them is not joined again.
        """
        fresh, seqs, cell = self.fresh, self.seqs, self.cell
        over = trim(seqs, window)
        if len(fresh) <= window or over <= window or self.others or self.previous:
            return False
        if seqs[over] <= max(cell.replaced, self.lower_bound):
            return False
        kept = fresh[-window:]
        size = len("".join(kept))
        if size == len(text):
            return False  # what ends the base came before: it may be half of a pair
        cell.base, cell.carry = cell.length - size, ""
        self.ops, self.floor = kept, seqs[over - 1]
        del seqs[:over]
        return True

    def leave_fresh(self) -> int:
        """Forget the deltas that the hot path left, which are in the text now; how many."""
        number = len(self.fresh)
        self.passed += number
        self.fresh.clear()  # in place: a run that is under way goes on with it
        self.whole_text = False
        ids = self.ids  # asked here: at nearly every tick it saves the call
        if len(ids.rising) >= ids.size or len(ids.young) >= ids.size:
            ids.turn()
        return number

    def calm(self) -> None:
        """Say up to which seq there is room: so many seqs hold as many deltas at most."""
        calm_to = self.mark + self.room - len(self.fresh)
        self.credit = repeat(None, self.room - len(self.fresh) - 1)
        self.calm_to = calm_to if calm_to <= MAX_NUMBER else MAX_NUMBER + 1

    def rest(self) -> None:
        """Have the next delta say that something waits."""
        self.room = self.calm_to = 0
        self.credit = ()

    def open_window(self) -> None:
        """A first operation comes into the empty window: what the texts hold lies below it."""
        for _, cell in self.cells():
            cell.settle_base()

    def append_alone(self, field: str, text: str) -> None:
        """Append a delta that has no seq; in a window it belongs to the last operation there."""
        cell = self.cell_of(field)
        if self.seqs:
            last = self.ops[-1]
            counts = self.seqs[-1] > max(cell.replaced, self.lower_bound)
            if field == "text" and type(last) is str and counts:
                self.ops[-1] = last + text
            else:
                self.expire()
                self.cool()  # what comes next opens the window anew
        cell.append(text)

    def replace_alone(self, field: str, text: str) -> None:
        """Set a text without seq: it stands for everything that came before it."""
        cell = self.cell_of(field)
        cell.replace(text)
        if self.seqs:
            cell.replaced = max(cell.replaced, self.mark)

    def trim(self, window: int) -> None:
        """Cut the window to its last entries: what leaves it becomes base text."""
        over = trim(self.seqs, window)
        if not over:
            return
        self.floor = self.seqs[over - 1]
        if self.previous:
            # It waits behind a text of another generation, to whose base it cannot go: texts stay.
            kept = [at for at in range(over) if self.ops[at] is not None]
            self.seqs[:over] = [self.seqs[at] for at in kept]
            self.ops[:over] = [self.ops[at] for at in kept]
            return
        for field, cell in self.cells():
            cell.advance(self.window_text(field, cell, 0, over))
        del self.seqs[:over], self.ops[:over]

    def linger(self) -> None:
        """It or its message was closed, or something came after that: its window runs from now."""
        session = self.message.session
        self.closed_at = session.events
        session.closing.pop(self.key, None)  # behind all others: the oldest is the first
        session.closing[self.key] = (self, self.closed_at)
        self.cool()  # each of its deltas is counted when it comes: they keep the window open

    def expire(self) -> None:
        """Its window is over: what lies in it is base text for good, the mark alone remains."""
        for field, cell in self.cells():
            cell.advance(self.window_text(field, cell, 0))
        self.floor = max(self.floor, self.mark)
        self.seqs, self.ops = [], []

    def keep_replaced(self, cell: TextCell) -> None:
        """The `text` that a replace set is hidden: it goes to its place in the window.

        An opening that comes late may lower the bound again, and brings it back from there.
        """
        at = bisect_left(self.seqs, cell.replaced)
        if at < len(self.seqs) and self.seqs[at] == cell.replaced and self.ops[at] is None:
            self.ops[at] = ("text", cell.working()[: cell.base] + cell.carry, "set")
            cell.replaced = -1

    def set_again(self, field: str, cell: TextCell) -> int:
        """Begin a text with what last set it above the bound, where that was hidden; its seq.

        Of other fields than `text` the marks keep that: the window has one place a seq, and one
        event may set several of them. Costs the window.
        """
        bound, seqs, ops = self.lower_bound, self.seqs, self.ops
        if field != "text":
            told = max(self.fields.seqs.get(field, -1), self.fields.whole)
            value = self.fields.values.get(field)
        else:
            above = range(bisect_right(seqs, bound), len(seqs))
            at = next((at for at in reversed(above) if type(ops[at]) is tuple and ops[at][2:]), -1)
            if at < 0:
                return -1
            told, value, ops[at] = seqs[at], ops[at][1], None
        if told > bound:
            cell.replaced = told
            cell.replace(value if isinstance(value, str) else "")
        return told

    def window_text(self, field: str, cell: TextCell, start: int, stop: int | None = None) -> str:
        """Text of a field's deltas in the window that no replace or removal undid, joined."""
        above = max(cell.replaced, self.lower_bound)
        if field == "text" and start < len(self.seqs) and self.seqs[start] > above:
            try:
                return "".join(self.ops[start:stop])  # nothing but deltas: nearly always
            except TypeError:
                pass
        taken = []
        for seq, op in zip(self.seqs[start:stop], self.ops[start:stop], strict=True):
            if op is None or seq <= above:
                continue
            if type(op) is str:
                if field == "text":
                    taken.append(op)
            elif op[0] == field:
                taken.append(op[1])
        return "".join(taken)

    @property
    def outer_bound(self) -> int:
        """What lies at or below it is undone by a removal above it, which undoes its own too."""
        return self.message.bound

    @property
    def lower_bound(self) -> int:
        """Operations at or below it are undone by a removal or reset of the block or above."""
        message = self.message
        return max(self.boundary, message.boundary, message.reset_seq, message.session.boundary)

    @property
    def alive(self) -> bool:
        """Whether something of it lies above every removal that concerns it."""
        bound = self.lower_bound
        return not self.removed_now and (bound < 0 or self.mark > bound)

    def forget_undone(self) -> int:
        """Undo what lies at or below the lower bound, except text; the bound of before."""
        before, bound = self.bound, self.lower_bound
        if bound < 0:
            return before
        self.bound = bound
        message = self.message
        cut = max(self.removed, message.removed, message.session.removed)
        at = bisect_left(self.seqs, cut)
        del self.seqs[:at], self.ops[:at]  # a removal is final for what lies below it
        self.states = {r: state for r, state in self.states.items() if state[0] > cut}
        self.fields.limit(bound)
        self.settle_state()
        self.closed = self.closed_seq > bound
        if not self.closed:
            self.closed_at = -1
        self.declared = self.declared_seq > bound
        known = self.declared_kind if self.declared_kind in PART_KINDS else "unknown"
        self.kind = known if self.declared else "text"
        self.name_kind()
        self.order = self.placed if self.order_seq > bound else None
        return before

    def name_kind(self) -> None:
        """Keep the name of a kind that is not known, whatever was removed or came whole since."""
        if self.declared and self.declared_kind not in PART_KINDS:
            self.fields.put("originalKind", self.declared_kind, self.declared_seq)

    def settle_state(self) -> bool:
        """Make the tool state the last one of the highest rank; whether that changed it."""
        bound = self.lower_bound
        ranks = [rank for rank, (seq, _) in self.states.items() if seq > bound]
        self.rank = max(ranks, default=-1)
        if not ranks:
            return False
        seq, state = self.states[self.rank]
        return self.fields.put("state", state, seq)

    def belong(self, hot: HotTable) -> None:
        """Be the last row of one table only: what is fresh in it counts as one stream's."""
        for other in self.hots:
            if other is not hot:
                self.rest()  # the next delta says where this stream stands
                if other.last is self:
                    other.forget_last()

    def cool(self) -> None:
        """Leave every hot table: the next event of this block takes the long way."""
        for hot in self.hots:
            hot.pop(self.hot_key, None)
            if hot.last is self:
                hot.forget_last()
        self.hots.clear()
        self.calm_to = 0  # a new counter begins below it

    def forget_fields(self) -> None:
        """Fields that streamed in another life, and of which nothing is shown, do not any more."""
        self.others = {
            field: cell for field, cell in self.others.items() if cell.length or cell.source.length
        }
        if self.fresh_field not in self.others:
            self.stream_field("text")

    def wipe(self) -> None:
        """Forget everything but the identity, the marks and what is shown."""
        self.cool()
        self.passed += len(self.fresh)
        self.fresh.clear()
        self.stream_field("text")
        self.ops = [None] * len(self.seqs)
        self.held = {}
        self.holes_at = {}
        self.kind, self.declared, self.order, self.rank = "text", False, None, -1
        self.fields.clear()
        for field, cell in self.cells():
            cell.replace("")
            cell.streams = field == "text"
        self.forget_fields()
        self.closed = self.whole_text = self.sealed = self.gap = False
        self.suspect = self.previous = self.begun = False
        self.close_seq = self.snapshot_seq = self.closed_at = self.order_seq = -1
        self.refused_seq = -1
        self.declared_seq = self.closed_seq = self.whole_seq = -1
        self.declared_kind, self.placed = "text", None
        self.states = {}
        self.old = {}


@attrs.define(eq=False)
class MessageRow(Marks):
    """One message: its marks, its own fields, its blocks, and what is shown.

    `entity` holds role, parentId, order, clientId, and how it ended (status, error);
    `resets` are the positions of resets whose next event has not come (`resetting`), `reset_seq`
    is the last one that counts, `acted` the last of its own events that is no reset; `emptied` is
    the epoch in which it was last removed or reset; `standing_in` says that the server confirmed it
    and the client's own parts stand for the server's until one of those comes, `vouched` that they
    are not taken back meanwhile; `shown_parts` are the published parts in order.
    """

    key: MessageKey = attrs.field(kw_only=True)
    session: SessionRow = attrs.field(kw_only=True)
    exists: bool = False
    entity: FieldMarks = attrs.field(factory=FieldMarks)
    info: FieldMarks = attrs.field(factory=FieldMarks)
    reset_seq: int = -1
    resetting: bool = False
    resets: list[int] = attrs.field(factory=list)
    acted: int = -1
    emptied: int = 0
    standing_in: bool = False
    vouched: bool = False
    blocks: dict[Any, BlockRow] = attrs.field(factory=dict)
    dirty: bool = False
    reshaped: bool = False
    shown: tuple[Any, ...] | None = None
    view: Any = None
    shown_parts: Any = None
    parts_view: Any = None

    @property
    def virgin(self) -> bool:
        """Whether nothing was ever taken in for it."""
        return not (
            self.exists
            or self.blocks
            or self.first >= 0
            or self.removed >= 0
            or self.gone
            or self.closed_as != "open"
            or self.resetting
            or self.local
            or self.shown is not None
        )

    @property
    def alive(self) -> bool:
        """Whether something of it lies above every removal that concerns it."""
        bound = self.bound
        return not self.removed_now and (
            bound < 0
            or self.mark > bound
            or any(block.mark > bound for block in self.blocks.values())
        )

    @property
    def outer_bound(self) -> int:
        """What lies at or below it is undone by a removal above it, which undoes its own too."""
        return self.session.boundary

    @property
    def bound(self) -> int:
        """What lies at or below it is undone by a removal of the message or its session."""
        return max(self.boundary, self.session.boundary)

    def forget_undone(self) -> None:
        """Hide what lies at or below the bound; its blocks are looked at one by one."""
        self.info.limit(self.bound)
        self.entity.limit(self.bound)

    @property
    def closed_as(self) -> str:
        """How it ended, `open` when it did not."""
        return self.entity.values.get("status") or "open"

    @property
    def error(self) -> Json:
        """What it ended with, None for nothing."""
        return self.entity.values.get("error")

    @property
    def order(self) -> float | None:
        """What it sorts by: its order, else its created time in ms, where known."""
        order = self.entity.values.get("order")
        if order is not None:
            return order  # type: ignore[no-any-return]
        time = self.info.values.get("time")
        created = time.get("created") if isinstance(time, dict) else None
        return created if is_order(created) else None


@attrs.define(eq=False)
class SessionRow(Marks):
    """One session: its marks, its own fields, its messages, and what is shown.

    `own` holds status, todo, diff and state by seq; `intervals` the seqs of a `session` stream;
    `base` is the shared state, with its seq, that `patches` apply to in order;
    `own_epochs` when an event last set one of its own members; `asked_at` the seq of each open
    request, `fetched` up to where a fetched state says which requests are open, `fetched_at` up
    to where a complete one stands for all of its messages; `closing` the closed blocks that still
    have a window, oldest first, with their `closed_at`; `woken` the blocks that the hot path
    may have brought something since they were last settled together, at the last tick at the
    latest; `stated` the seqs that only a block's snapshot
    named; `restarted` and `emptied` the epochs in which its counter began and it was last removed;
    `let_go` whether this program removed it last, not the server; `unconfirmed` the messages that
    are local, by id.
    """

    id: str = attrs.field(kw_only=True)
    ids: EventIds = attrs.field(kw_only=True)
    exists: bool = False
    info: FieldMarks = attrs.field(factory=FieldMarks)
    own: FieldMarks = attrs.field(factory=FieldMarks)
    errors: list[tuple[int | None, Json]] = attrs.field(factory=list)
    permissions: dict[str, Request] = attrs.field(factory=dict)
    questions: dict[str, Request] = attrs.field(factory=dict)
    answered: dict[str, int] = attrs.field(factory=dict)
    asked_at: dict[str, int] = attrs.field(factory=dict)
    fetched: dict[str, int] = attrs.field(factory=dict)
    fetched_at: int = -1
    patches: list[tuple[int, Any]] = attrs.field(factory=list)
    base: tuple[int, Json] = (-1, None)
    intervals: Intervals = attrs.field(factory=Intervals)
    holes_at: Any = None
    generation: str | None = None
    generations: dict[str, None] = attrs.field(factory=dict)
    waiting: list[Any] = attrs.field(factory=list)
    messages: dict[str, MessageRow] = attrs.field(factory=dict)
    unconfirmed: dict[str, MessageRow] = attrs.field(factory=dict)
    calls: dict[str, BlockRow] = attrs.field(factory=dict)
    results: dict[str, list[Any]] = attrs.field(factory=dict)
    results_size: int = 0
    tombstones: dict[Any, int] = attrs.field(factory=dict)
    mode: str | None = None
    turn: str = ""
    withheld: dict[PartKey, BlockRow] = attrs.field(factory=dict)
    woken: dict[BlockRow, None] = attrs.field(factory=dict)
    stated: dict[int, None] = attrs.field(factory=dict)
    closing: dict[PartKey, tuple[BlockRow, int]] = attrs.field(factory=dict)
    own_epochs: dict[str, int] = attrs.field(factory=dict)
    events: int = 0
    restarted: int = 0
    emptied: int = 0
    evicted: int = -1
    let_go: bool = False
    dirty: bool = False
    reshaped: bool = False
    shown: tuple[Any, ...] | None = None
    view: Any = None
    shown_messages: Any = None
    messages_view: Any = None

    @property
    def empty(self) -> bool:
        """Whether nothing of it is there, and nothing of a server ever was."""
        return not (
            self.messages
            or self.own_epochs
            or self.info.values
            or self.own.values
            or self.errors
            or self.permissions
            or self.questions
            or self.results
            or self.intervals.starts
            or self.tombstones
            or self.generation
            or self.gone
            or max(self.mark, self.removed, self.fetched_at, self.evicted) >= 0
        )

    def requests(self, name: str) -> tuple[Request, ...]:
        """The permissions or questions that wait for an answer and that no removal undid."""
        asked: dict[str, Request] = getattr(self, name)
        bound, at = self.boundary, self.asked_at
        if bound < 0:
            return tuple(asked.values())
        return tuple(
            request
            for request in asked.values()
            if at.get(f"{name} {request.id}", bound + 1) > bound
        )


#: What a tick writes: a session, a message or a block.
AnyRow: TypeAlias = SessionRow | MessageRow | BlockRow


def session_of(row: AnyRow) -> SessionRow:
    """The session that a row belongs to, or is."""
    if isinstance(row, BlockRow):
        return row.message.session
    return row.session if isinstance(row, MessageRow) else row


def tool_rank(state: Any) -> int:
    """Rank of a tool state, -1 for what is none."""
    status = state.get("status") if isinstance(state, dict) else None
    return TOOL_RANKS.get(status, -1) if isinstance(status, str) else -1
