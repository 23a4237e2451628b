"""How far streams came, which losses they ran into, and so where each can be resumed.

A `Progress` belongs to one stream: it counts what came and notes in the rows where their highest
seqs came. `Positions` belongs to a store: from the holes that streams ran into it says what a
resume must lie before, also after they ended or were saved. Both know rows and marks, but no
event, adapter, verdict, tick or clock: the wiring says what came, this says where that was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import takewhile
from types import MappingProxyType
from typing import Any, TypeAlias

import attrs

from .keys import MAX_NUMBER, PartKey
from .limits import Limits
from .model import Sequencing
from .rows import AnyRow, BlockRow, SessionRow

Wake: TypeAlias = Callable[[BlockRow], None]
Whose: TypeAlias = tuple[str | None, str | None]
#: Where a stream stood that is not open: what it saved, or left when it ended.
Entry: TypeAlias = dict[str, Any]
#: What a row says of a hole: at last the stream that ran into it, and its place before.
Hole: TypeAlias = tuple[Any, ...]
#: A hole as it waits among others: the age of its place, a number that orders those of one age.
Waiting: TypeAlias = tuple[tuple[int, ...], int, BlockRow | SessionRow, int, Hole]
#: Who ran into holes, and heaps of them: of each row the first one, and all.
Holder: TypeAlias = tuple[Any, list[Waiting], list[Waiting]]


@attrs.frozen
class Position:
    """Where a stream can be resumed.

    Attributes:
        events: wire objects of this stream up to there: a log's offset; 0 for a place on an
            earlier connection, which counted its own.
        event_id: last event-stream id up to there, "" where the transport gave none.
    """

    events: int = 0
    event_id: str = ""
    # Which connection, and how many of its events: what puts places of several in order.
    _age: tuple[int, int] = attrs.field(default=(0, 0), eq=False, repr=False)
    # Of a place on another connection: how many events had come where the loss behind it was
    # noticed; -1: it lies before all of them.
    _seen: int = attrs.field(default=-1, eq=False, repr=False)


class Progress:
    """How far one stream came, and where it stood before what it misses.

    The short way asks for nothing here: it counts by itself (`taken_in`), and calls what `waking`
    gave it once per row and tick. What takes the long way is told: `begin`, where it led
    (`stand`, `hold`, `note_close`, `note_holes`), `done`.

    Attributes:
        token: says in a row who brought what; a later connection's is higher. A stream that goes
            on from a saved state has that one's.
        whose: its protocol and the session it was opened for: ids of such streams are one server's.
        counted: wire objects that came, but for those of `taken_in`.
        taken_in: how many took the short way to its end.
        id_before: while an event with an id is taken in, the id before it; else None.
    """

    __slots__ = (
        "_before", "_began", "_event_id", "_positions", "_repeats_from", "_repeats_to", "_resumed",
        "counted", "id_before", "taken_in", "token", "whose",
    )  # fmt: skip

    def __init__(self, positions: Positions, token: int) -> None:
        self._positions = positions
        self.token = token
        self.whose: Whose = (None, None)
        self.counted = 0
        self.taken_in: Callable[[], int] = _none
        self._event_id = ""
        self.id_before: str | None = None
        # The run of duplicates at the end, as offsets: a resume position does not move over it.
        self._repeats_from = self._repeats_to = -1
        self._before = self._began = self._resumed = Position(0, "", (token, 0))

    @property
    def event_id(self) -> str:
        """Of the last event, of the one that is being taken in at the latest; "" for none."""
        return self._event_id

    @event_id.setter
    def event_id(self, event_id: str) -> None:
        if not (event_id and self._event_id):
            self._positions.forget_speaker()
        self._event_id = event_id

    @property
    def received(self) -> int:
        """How many wire objects came so far."""
        return self.counted + self.taken_in()

    @property
    def repeating(self) -> bool:
        """Whether the last event was a duplicate."""
        return self.counted + self.taken_in() == self._repeats_to

    @property
    def position(self) -> Position:
        """The last position before the first missing operation, or the last one taken in."""
        received = self.counted + self.taken_in()
        at = self._repeats_from if received == self._repeats_to else received
        taken = Position(at, self._event_id, (self.token, at))
        return self._positions.before_holes(self, taken)

    def count_by(self, taken_in: Callable[[], int]) -> None:
        """Another short way counts from here on, from 0."""
        self.counted += self.taken_in()
        self.taken_in = taken_in

    # -- an event on the long way --------------------------------------------------------------

    def begin(self) -> None:
        """Count an event, and keep where the stream stood: behind the last that was no repeat."""
        received = self.counted + self.taken_in()
        at = self._repeats_from if received == self._repeats_to else received
        event_id = self._event_id if self.id_before is None else self.id_before
        self._before = Position(at, event_id, (self.token, at))
        self.counted += 1

    def done(self, repeated: bool) -> None:
        """It was taken in, or was a duplicate."""
        if repeated:
            received = self.counted + self.taken_in()
            if received - 1 != self._repeats_to:
                self._repeats_from = received - 1
            self._repeats_to = received

    # -- where rows stand ----------------------------------------------------------------------

    def waking(self, mode: Sequencing, wake: Wake) -> Wake:
        """`wake` for the short way, which notes before where the row's last seq came."""
        if mode == "block":

            def wake_block(row: BlockRow) -> None:
                row.stood = (self.token, self.counted + self.taken_in(), self._event_id, row.mark)
                wake(row)

            return wake_block
        if mode == "session":

            def wake_session(row: BlockRow) -> None:
                self.stand(row.message.session, row.mark)
                wake(row)

            return wake_session
        return wake

    def stand(self, row: AnyRow, seq: int) -> None:
        """Note the place behind a seq that is the highest so far; -1: its opening, without one."""
        row.stood = (self.token, self.counted + self.taken_in(), self._event_id, seq)

    # -- what is missing -----------------------------------------------------------------------

    def hold(self, block: BlockRow, seq: int, top: int) -> None:
        """An operation waits behind a hole of a block, whose highest seq was `top`."""
        block.holes_at[seq] = (self, self._before_loss(block, top))
        self._positions.hold(block, seq)

    def refuse(self, block: BlockRow, top: int) -> None:
        """There was no room for an operation behind a hole: it is missing when that is filled."""
        holes = block.holes_at
        # One entry for each stream that brought some: its first ones lie before the others.
        at = -2 if -2 not in holes or holes[-2][0] is self else -2 - self.token
        if at not in holes:
            holes[at] = (self, self._before_loss(block, top))
            self._positions.hold(block, at)

    def note_close(self, block: BlockRow) -> None:
        """Note the hole that a block's close shows, or that what waited in it has come out."""
        if 0 <= block.refused_seq <= block.mark:
            block.refused_seq = -1
            block.holes_at = {seq: at for seq, at in block.holes_at.items() if seq >= -1}
        if block.close_seq > block.mark:
            # A close tells of a hole as well as an operation behind it; no seq is -1.
            if -1 not in block.holes_at:
                block.holes_at[-1] = (self, self._before_loss(block, top_of(block)))
            self._positions.hold(block, -1)
        else:
            block.holes_at.pop(-1, None)
        self._positions.look_at(block)

    def note_holes(self, session: SessionRow, seq: int | None) -> None:
        """Note what is missing of a session now; `seq`: what came, None where nothing new did."""
        intervals = session.intervals
        if len(intervals.starts) < 2:
            session.holes_at = None
            self._positions.forget(session.id)
            return
        if session.holes_at is None:
            session.holes_at = []
        missing = intervals.ends[-2] + 1
        if not session.holes_at or session.holes_at[-1][0] < missing:
            if intervals.starts[-1] == seq == intervals.ends[-1]:
                before = self._before_loss(session, missing - 1)
                session.holes_at.append((missing, self, before))
            elif not session.holes_at:  # below the first event of all
                session.holes_at.append((missing, self, Position()))
            if len(session.holes_at) > 2 * len(intervals.starts) + 16:
                open_holes = {first for first, _ in intervals.holes()}
                session.holes_at[1:] = [e for e in session.holes_at[1:] if e[0] in open_holes]
        self._positions.hold_session(session)

    def _before_loss(self, row: SessionRow | BlockRow, top: int) -> Position:
        """The last place before what is missing above a row's highest seq so far.

        What was lost came after that one and before the event that shows it, among the events of
        other blocks and sessions. Where as many events came as seqs there were none of those.
        """
        stood = row.stood
        if stood is None and isinstance(row, BlockRow):
            stood = row.message.stood  # nothing of it was sent before its message was opened
            top = -1
        if stood is None:
            return self._began
        token, events, event_id, seq = stood
        earlier, events = events < 0, max(events, -1 - events)
        if token != self.token:
            # Lost on another connection, perhaps: the ids are the server's, on whichever it was.
            if not event_id:
                return self._began
            # Of two that are open none is known to be ahead: what was noticed first was lost first.
            ahead = token > self.token or self._positions.is_open(token)
            seen = self._before.events if ahead else -1
            return attrs.evolve(self._began, event_id=event_id, age=(token, events), seen=seen)
        if earlier and events > self._resumed.events:
            # It was saved behind more events than this one goes on from, and those come again, or
            # some of them: its count is no place of this one.
            return self._resumed
        if self._before.events - events == top - seq:
            return self._before
        return Position(events, event_id, (token, events))

    # -- from stream to stream -----------------------------------------------------------------

    def saved(self) -> Entry:
        """Its part of what a saved state holds of the stream."""
        position = self.position
        return {
            "events": position.events,
            "eventId": position.event_id,
            "began": [self._began.events, self._began.event_id],
            "token": self.token,
        }

    def go_on(self, entry: Entry) -> None:
        """Go on where another stream stood: a saved one, or one whose connection ended."""
        self.event_id = entry["eventId"]
        events, event_id = entry["began"]
        if entry["ended"]:  # what shows no trace may have been lost on any connection
            self._began = Position(0, event_id, (0, 0))
        else:  # it is the same connection's count that goes on
            self.counted, self.token = entry["events"], entry["token"]
            self._resumed = Position(self.counted, self._event_id, (self.token, self.counted))
            self._began = Position(events, event_id, (self.token, events))


class Positions:
    """Where the streams of a store can be resumed: open ones, ended ones and saved ones.

    Attributes:
        left: of saved streams, and of those that ended, until another one goes on from there.
        blocks: blocks with holes, by key; some may have none any more.
        sessions: sessions with holes, by id; some may have none any more.
    """

    __slots__ = (
        "_behind", "_firsts", "_kept", "_kin", "_left_speaker", "_limits", "_open", "_open_tokens",
        "_pushed", "_speaker", "_speaker_known", "_sort_at", "_sweep_at", "_waiting", "blocks",
        "left", "sessions",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[Progress, None] = {}
        self._open_tokens: set[int] = set()
        # The last opened one that has an event id, once it was looked for: a tick may not look at
        # all of them.
        self._speaker: Progress | None = None
        self._speaker_known = True
        # Others of the same server, whose holes a resume is to bring as well, by `id`.
        self._kin: dict[int, Progress | Entry] = {}
        # By `id` of who ran into holes. Some are filled, and go when they come first in a heap.
        # None: they are sorted when somebody asks.
        self._waiting: dict[int, Holder] | None = None
        # Of each block that waits there the holes with their seqs, by `id` of who ran into them.
        self._behind: dict[BlockRow, dict[int, deque[tuple[int, Hole]]]] = {}
        self._firsts: dict[str, Hole] = {}  # of each session, what was put there last
        self._pushed, self._sort_at = 0, 64
        self._sweep_at = 64
        self.left: list[Entry] = []
        self._kept: set[int] = set()  # tokens of those that only their own successor may take
        self._left_speaker: Entry | None = None
        self.blocks: dict[PartKey, BlockRow] = {}
        self.sessions: dict[str, SessionRow] = {}

    # -- streams come and go -------------------------------------------------------------------

    def take_left(self, protocol: str, session_id: str | None, default: bool) -> Entry | None:
        """What an earlier stream of this protocol and session left; the default one: its own."""
        found = [e for e in self._free() if protocol in (e["protocol"], "auto")]
        found = [e for e in found if e["sessionId"] == session_id]
        if default:
            found = [e for e in found if e["default"]]
        if not found:
            return None
        next_one = min(found, key=_turn)
        self.left.remove(next_one)
        self._look_at_left()
        return next_one

    def _look_at_left(self) -> None:
        """The latest of those that left an event id, as of open streams. Linear."""
        named = [entry for entry in self.left if entry["eventId"]]
        self._left_speaker = max(named, key=_token) if named else None
        self._speaker_known = False

    def _free(self) -> list[Entry]:
        """Of what was left, that for which no successor is about to be opened."""
        return [entry for entry in self.left if entry["token"] not in self._kept]

    def take_kept(self, progress: Progress) -> Entry | None:
        """What a stream left, for the successor of it that is opened now; None for nothing."""
        self.free(progress)
        found = [entry for entry in self.left if entry["token"] == progress.token]
        if not found:
            return None
        self.left.remove(found[0])
        self._look_at_left()
        return found[0]

    def free(self, progress: Progress) -> None:
        """No successor is opened: anybody may go on where that stream stood."""
        self._kept.discard(progress.token)

    def enter(self, progress: Progress, before: Entry | None) -> None:
        """A stream was opened; it goes on from what an earlier one left, where one did."""
        self._open[progress] = None
        if before is not None:
            progress.go_on(before)
            if progress.whose[0] is None:  # not recognised yet; it is the same server's
                progress.whose = before["protocol"], progress.whose[1]
            self._hand_holes(before, progress)
        self._open_tokens.add(progress.token)

    def leave(self, progress: Progress, entry: Entry, kept: bool = False) -> None:
        """Keep where an ended stream stood until one of its protocol and session is opened.

        `kept`: for its own successor, until `take_kept` or `free`; nobody else goes on from there.
        """
        whose = (entry["protocol"], entry["sessionId"])
        same = [e for e in self._free() if e["ended"] and (e["protocol"], e["sessionId"]) == whose]
        if kept:
            same = []
            self._kept.add(progress.token)
        for other in same:
            self.left.remove(other)
            self._hand_holes(other, entry)
            # Of one to which no id came none is known; what the other one knew still holds.
            entry["eventId"] = entry["eventId"] or other["eventId"]
        self._hand_holes(progress, entry)
        if entry["eventId"] or same or kept or self._any_holes():
            self.left.append(entry)
        ended = [e for e in self._free() if e["ended"]]
        for other in ended[: -self._limits.ended_streams]:
            self.left.remove(other)
        self._look_at_left()
        del self._open[progress]
        self._open_tokens.discard(progress.token)
        self._speaker_known = False

    def inherit(self, protocol: str | None, session_id: str | None, heir: Progress) -> None:
        """An open stream takes the holes over that ended ones of its protocol and session left.

        It was opened before they ended, so that it went on from none of them; yet a resume of it
        is to bring what they missed.
        """
        for entry in self._free():
            if entry["ended"] and (entry["protocol"], entry["sessionId"]) == (protocol, session_id):
                self._hand_holes(entry, heir)

    def is_open(self, token: int) -> bool:
        """Whether the stream with a token is open."""
        return token in self._open_tokens

    def forget_speaker(self) -> None:
        """An open stream has its first event id now, or none any more."""
        self._speaker_known = False

    def _hand_holes(self, holder: Progress | Entry, heir: Progress | Entry) -> None:
        """Holes that one stream left are its successor's: its position lies before them.

        Another connection counts its own events: to it, they lie before its first one; behind what
        it missed so far where the one that left them was opened later.
        """
        ended = holder["ended"] if isinstance(holder, dict) else False
        if isinstance(heir, dict):
            token, seen = _token(heir), heir["events"]
        else:
            token, seen = heir.token, heir.received

        def handed(hole: Hole) -> tuple[Any, ...]:
            *seq, who, before = hole
            if who is not holder:
                return hole
            self._unsort()
            if ended:
                before = attrs.evolve(before, events=0, seen=seen if before._age[0] > token else -1)
            return *seq, heir, before

        for row in self.blocks.values():
            row.holes_at = {seq: handed(hole) for seq, hole in row.holes_at.items()}
        for session in self.sessions.values():
            session.holes_at = [handed(hole) for hole in session.holes_at or ()]

    # -- holes ---------------------------------------------------------------------------------

    def hold(self, block: BlockRow, seq: int) -> None:
        """Note a hole of a block; now and then blocks without one any more go. Amortized."""
        known = self.blocks.get(block.key) is block
        self.blocks[block.key] = block
        if not known:
            self._behind.pop(block, None)
        for at in (seq,) if known else block.holes_at:
            self._put(block, at)
        self._tidy()
        if len(self.blocks) > self._sweep_at:
            self.blocks = {key: row for key, row in self.blocks.items() if row.holes_at}
            self._sweep_at = 2 * len(self.blocks) + 64

    def look_at(self, block: BlockRow) -> None:
        """Holes of a block may have been filled: the next ones come first. Amortized."""
        for behind in self._behind.get(block, _NO_HOLES).values():
            if _pass_filled(behind, block) and behind:
                self._push(False, block, *behind[0])
        if not block.holes_at:
            self.blocks.pop(block.key, None)
            self._behind.pop(block, None)

    def hold_session(self, session: SessionRow) -> None:
        """Note the first hole of a session, where that is another one than before. Amortized."""
        self.sessions[session.id] = session
        hole, noted = _first_hole(session), self._firsts.get(session.id)
        if hole is not None and (noted is None or not _same_place(hole, noted)):
            self._firsts[session.id] = hole
            self._push(False, session, -1, hole)
            self._push(True, session, -1, hole)
            self._tidy()

    def _put(self, block: BlockRow, seq: int) -> None:
        """Have a hole wait behind those of the block that the same stream ran into before."""
        if self._waiting is None:
            return
        hole = block.holes_at[seq]
        behind = self._behind.setdefault(block, {}).setdefault(id(hole[0]), deque())
        passed = _pass_filled(behind, block)
        behind.append((seq, hole))
        if passed or len(behind) == 1:
            self._push(False, block, *behind[0])
        self._push(True, block, seq, hole)

    def _push(self, every: bool, row: BlockRow | SessionRow, seq: int, hole: Hole) -> None:
        if self._waiting is not None:
            holder, before = hole[-2:]
            _, first, all_ = self._waiting.setdefault(id(holder), (holder, [], []))
            self._pushed += 1
            heap = all_ if every else first
            heappush(heap, (_seen_by(holder, before), self._pushed, row, seq, hole))

    def _tidy(self) -> None:
        """Most of what waits may be filled: whoever asks next sorts what is not."""
        if self._pushed > self._sort_at:
            self._unsort()

    def _unsort(self) -> None:
        self._waiting, self._behind, self._firsts = None, {}, {}

    def _sort(self) -> dict[int, Holder]:
        """Look at every hole, and let go of what has none. Linear; once for as many new ones."""
        self._unsort()
        waiting = self._waiting = {}
        self._pushed, self._sort_at = 0, MAX_NUMBER
        self.blocks = {key: row for key, row in self.blocks.items() if row.holes_at}
        for row in self.blocks.values():
            for seq in row.holes_at:
                self._put(row, seq)
        self.sessions = {name: row for name, row in self.sessions.items() if _first_hole(row)}
        for session in self.sessions.values():
            self.hold_session(session)
        self._sort_at = 2 * self._pushed + 64
        return waiting

    def _any_holes(self) -> bool:
        """Whether there is a hole; what has none and stands before it goes. Amortized."""
        blocks, sessions = self.blocks, self.sessions
        for key in [*takewhile(lambda key: not blocks[key].holes_at, blocks)]:
            del blocks[key]
        for name in [*takewhile(lambda name: _first_hole(sessions[name]) is None, sessions)]:
            self.forget(name)
        return bool(blocks or sessions)

    def drop(self, block: BlockRow) -> None:
        """A block's holes are of a counter that ended."""
        self.blocks.pop(block.key, None)

    def forget(self, session_id: str) -> None:
        """A session is forgotten, or has no holes any more."""
        self.sessions.pop(session_id, None)
        self._firsts.pop(session_id, None)

    def before_holes(self, progress: Progress, taken: Position) -> Position:
        """Where a stream that stands at `taken` can be resumed."""
        if not (self.blocks or self.sessions):
            return taken
        first = self._first_held(id(progress), False)
        return first if _lies_before(first, taken) else taken

    def _first_held(self, whose: int, every: bool) -> Position:
        """The position before the first hole that a stream ran into. Amortized: logarithmic.

        Of one block, what it ran into later stands later: the first of each is asked, not `every`,
        where there is no other stream to whose places it compares.
        """
        waiting = self._sort() if self._waiting is None else self._waiting
        if whose not in waiting:
            return _BEHIND_ALL
        _, first_ones, all_ = waiting[whose]
        heap = all_ if every else first_ones
        while heap:
            _, _, row, seq, hole = heap[0]
            if isinstance(row, SessionRow):
                if self.sessions.get(row.id) is row:
                    first = _first_hole(row)
                    if first is None:
                        self.forget(row.id)
                    elif _same_place(first, hole):
                        return hole[-1]  # type: ignore[no-any-return]
            elif self.blocks.get(row.key) is row:
                if row.holes_at.get(seq) is hole:
                    return hole[-1]  # type: ignore[no-any-return]
                if not row.holes_at:
                    del self.blocks[row.key]
            heappop(heap)
        return _BEHIND_ALL

    def resume(self, touched: Iterable[SessionRow]) -> Mapping[str, Any]:
        """Where to resume, as `Health.resume` has it, with the seqs of these sessions."""
        sessions: dict[str, int] = {}
        for session in touched:
            intervals = session.intervals
            if intervals.starts:
                sessions[session.id] = intervals.ends[0]
        if not self._speaker_known:
            self._look_for_speaker()
        speaker = self._speaker
        if speaker is None and not sessions and self._left_speaker is None:
            return _NO_POSITION
        resume: dict[str, Any] = {}
        if sessions:
            if len(sessions) > 1:
                sessions = dict(sorted(sessions.items()))
            resume["sessions"] = MappingProxyType(sessions)
        holes = self.blocks or self.sessions
        if speaker is not None:
            resume["eventId"] = (
                self._before_kins_holes(speaker.position) if holes else speaker.event_id
            )
        elif self._left_speaker is not None:
            entry = self._left_speaker
            taken = Position(entry["events"], entry["eventId"], (entry["token"], entry["events"]))
            resume["eventId"] = self._before_kins_holes(taken) if holes else taken.event_id
        return MappingProxyType(resume) if resume else _NO_POSITION

    def _look_for_speaker(self) -> None:
        """Find who says the event id, and the others of its server. Linear in the streams."""
        named = (progress for progress in reversed(self._open) if progress.event_id)
        speaker = self._speaker = next(named, None)
        self._speaker_known = True
        if speaker is not None:
            whose = speaker.whose
        elif self._left_speaker is not None:
            whose = _whose(self._left_speaker)
        else:
            return
        self._kin = {id(other): other for other in self._open if other.whose == whose}
        self._kin.update((id(entry), entry) for entry in self.left if _whose(entry) == whose)

    def _before_kins_holes(self, taken: Position) -> str:
        """The event id before all that the streams of one server miss; `taken`: the last one's."""
        if len(self._kin) < 2:
            return taken.event_id
        waiting, kin = self._sort() if self._waiting is None else self._waiting, self._kin
        held = [self._first_held(holder, True) for holder in waiting if holder in kin]
        first = min(held, default=_BEHIND_ALL, key=_age)
        return (first if _lies_before(first, taken) else taken).event_id

    # -- saved states --------------------------------------------------------------------------

    def save_holes(self) -> list[Any]:
        """Every hole with the stream that ran into it, and where that stream stood before.

        A stream is its place among the open ones, in their order, and then those of `left`.
        """
        holders: list[Progress | Entry] = [*self._open, *self.left]
        places = {id(holder): place for place, holder in enumerate(holders)}
        saved = []
        for row in self.blocks.values():
            for seq, (holder, before) in row.holes_at.items():
                saved.append([list(row.key), seq, places.get(id(holder), -1), *_saved(before)])
        for session in self.sessions.values():
            for seq, holder, before in session.holes_at or ():
                saved.append([[session.id], seq, places.get(id(holder), -1), *_saved(before)])
        return saved

    def load(
        self, left: list[Entry], holes: Iterable[Any], sessions: Mapping[str, SessionRow]
    ) -> None:
        """Take over saved streams, and the holes that `save_holes` wrote, in loaded sessions.

        Raises:
            LookupError, TypeError, ValueError: a hole names what is not there, or is none.
        """
        # Those that nobody went on from in all the lives since are forgotten, the oldest first.
        kept = {id(entry) for entry in sorted(left, key=_token)[-self._limits.ended_streams :]}
        self.left = [entry for entry in left if id(entry) in kept]
        self._unsort()
        self._look_at_left()
        for key, seq, place, events, event_id, *age in holes:
            holder = left[place] if place >= 0 else None
            connection, at, *seen = age
            before = Position(events, event_id, (connection, at), *seen)
            session = sessions[key[0]]
            if len(key) == 1:
                session.holes_at = [*(session.holes_at or ()), (seq, holder, before)]
                self.sessions[session.id] = session
            else:
                row = session.messages[key[1]].blocks[key[2]]
                row.holes_at[seq] = (holder, before)
                self.blocks[row.key] = row


def top_of(block: BlockRow) -> int:
    """The highest seq that came of a block, held ones included."""
    return block.mark if block.stood is None else max(block.mark, block.stood[3])


def rise(row: SessionRow | BlockRow, seq: int) -> None:
    """A fetched state names a higher seq: it may come late, and moves no place."""
    if row.stood is not None:
        row.stood = (*row.stood[:3], seq)


_NO_POSITION: Mapping[str, Any] = MappingProxyType({})
_NO_HOLES: Mapping[int, deque[tuple[int, Hole]]] = {}
_FROM_START = Position()
_BEHIND_ALL = Position(MAX_NUMBER, "", (MAX_NUMBER, 0))


def _none() -> int:
    return 0


def _token(entry: Entry) -> int:
    token: int = entry["token"]
    return token


def _turn(entry: Entry) -> tuple[bool, bool, bool, int]:
    """Which of several entries a new stream goes on from: the least, of equals the first.

    Without seq one in which nothing was streaming is as a rule of a response that came whole, and
    that nobody ended: what comes now is for what was streaming, else for the last one.
    """
    idle = entry["sequencing"] == "none" and not entry["streaming"]
    return entry["default"], entry["ended"], idle, -_token(entry) if idle else 0


def _whose(entry: Entry) -> Whose:
    return entry["protocol"], entry["sessionId"]


def _age(position: Position) -> tuple[int, int]:
    return position._age


def _saved(place: Position) -> list[Any]:
    seen = [] if place._seen < 0 else [place._seen]
    return [place.events, place.event_id, *place._age, *seen]


def _seen_by(holder: Progress | Entry | None, place: Position) -> tuple[int, ...]:
    """The age of a place to the stream that ran into the hole behind it.

    Another connection may have brought what stands there. What a stream missed before it noticed
    the loss behind that lies before it, as of one block what has a lower seq does.
    """
    of, at = place._age
    token = holder.token if isinstance(holder, Progress) else _token(holder) if holder else of
    return (of, at) if of == token else (token, place._seen, of, at)


def _lies_before(hole: Position, taken: Position) -> bool:
    """Whether a hole lies before where a stream stands; one of a later connection always does."""
    return hole._age < taken._age or taken._age[0] < hole._age[0] < MAX_NUMBER


def _pass_filled(behind: deque[tuple[int, Hole]], block: BlockRow) -> bool:
    """Let go of the first ones that are filled; whether there were any."""
    holes, before = block.holes_at, len(behind)
    while behind and holes.get(behind[0][0]) is not behind[0][1]:
        behind.popleft()
    return len(behind) < before


def _same_place(hole: Hole, other: Hole) -> bool:
    return hole[1] is other[1] and hole[2] is other[2]


def _first_hole(session: SessionRow) -> Hole | None:
    """The entry of a session's holes that is still open and was seen first, None for none."""
    ends, entries = session.intervals.ends, session.holes_at
    if len(ends) < 2 or not entries:
        return None
    first = ends[0] + 1
    at = bisect_right(entries, first, key=_seq)
    if at:
        return entries[at - 1]  # type: ignore[no-any-return]
    return first, entries[0][1], _FROM_START  # below the first event of all


def _seq(hole: Hole) -> int:
    seq: int = hole[0]
    return seq
