"""The timeline: every event with its verdict and its time, in groups, filtered, with one selected.

Holds rows and says which lines a screen shows of them; drops the oldest when it is told to and
says how many. Knows facts and verdicts; no store, screen or loop, and the clock is an argument.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import attrs

from .filters import Filter
from .row import Row

Grouping: TypeAlias = Literal["arrival", "message"]
#: Milliseconds, on a clock that never goes back.
Clock: TypeAlias = Callable[[], float]

#: The rate is that of the last so many ms.
RATE_MS = 2_000.0
_BUCKETS = 20


@attrs.define(eq=False)
class Group:
    """Rows that stand under one heading: those of one message, or of none.

    Attributes:
        session_id, message_id: whose they are; None for what belongs to no message.
        role: of the message, "" until its opening was seen.
        rows: those that fit the filter, in order.
        collapsed: only the heading is shown.
    """

    session_id: str | None
    message_id: str | None
    role: str = ""
    rows: list[Row] = attrs.field(factory=list)
    collapsed: bool = False

    @property
    def notable(self) -> int:
        """How many of its rows were not plainly accepted. Linear."""
        return sum(row.verdict is not None and row.verdict.kind != "accepted" for row in self.rows)


Line: TypeAlias = "Group | Row"
_Whose: TypeAlias = tuple[str | None, str | None]


class Rate:
    """Events per second over the last `RATE_MS`, in so many buckets that memory stays constant."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: deque[tuple[int, int]] = deque(maxlen=_BUCKETS + 1)
        self._width = RATE_MS / _BUCKETS

    def add(self, number: int = 1) -> None:
        """Events came now."""
        at = int(self._clock() // self._width)
        if self._buckets and self._buckets[-1][0] == at:
            number += self._buckets.pop()[1]
        self._buckets.append((at, number))

    @property
    def per_second(self) -> float:
        """The rate now; falls to 0 when nothing comes."""
        since = self._clock() // self._width - _BUCKETS
        return sum(number for at, number in self._buckets if at > since) * 1000 / RATE_MS


class Counters:
    """What came so far, dropped rows included, and how fast it comes.

    Attributes:
        events, bytes, deltas, characters, ticks: totals.
        verdicts: events by the kind of their verdict.
        gaps: what the store is missing now.
    """

    def __init__(self, clock: Clock) -> None:
        self.events = self.bytes = self.deltas = self.characters = self.ticks = self.gaps = 0
        self.verdicts: Counter[str] = Counter()
        self.rate = Rate(clock)

    def add(self, row: Row) -> None:
        """Count an event; a note is none."""
        if row.verdict is None:
            return
        self.events += 1
        self.bytes += len(row.data)
        self.deltas += row.facts.deltas
        self.characters += row.facts.characters
        self.verdicts[row.verdict.kind] += 1
        self.rate.add()

    @property
    def deltas_per_tick(self) -> float:
        """Deltas that became visible together, on average; 0 before the first tick."""
        return self.deltas / self.ticks if self.ticks else 0.0

    @property
    def duplicates(self) -> int:
        """Events that were taken in before."""
        return self.verdicts["duplicate"]


class Timeline:
    """Rows, and the lines that are shown of them.

    - feed: `add`; bound: `drop`
    - show: `lines`, `group_by`, `filter`, `toggle`, `collapse`
    - move: `selected`, `index`, `follow`, `move`, `to`, `to_end`
    - count: `counters`, `dropped`, `unseen`

    Grouped by `arrival`, rows stand in the order in which they came, with a heading wherever the
    message changes; by `message`, all rows of one message stand together, messages in the order
    of their first row. While it follows, the last line is the selected one.

    Costs: `add` is constant, `lines` too while rows arrive in order of arrival, else linear in
    the rows held; a new filter looks at every row held.

    >>> from streamstore.verdicts import Verdict
    >>> from streamstore.watch.facts import Facts
    >>> timeline = Timeline(clock=lambda: 0.0)
    >>> for number, message in enumerate("aab", start=1):
    ...     facts = Facts(type="delta", session_id="s", message_id=message)
    ...     timeline.add(Row(number, 0.0, facts, Verdict("accepted")))
    >>> [line.message_id if isinstance(line, Group) else line.number for line in timeline.lines]
    ['a', 1, 2, 'b', 3]
    """

    def __init__(self, clock: Clock, group_by: Grouping = "arrival") -> None:
        self.counters = Counters(clock)
        self.dropped = 0
        """Rows that are not held any more: the oldest."""
        self.follow = True
        """Whether the last line stays the selected one."""
        self.unseen = 0
        """Rows that were added since it stopped following."""
        self._rows: list[Row] = []
        self._roles: dict[_Whose, str] = {}
        self._group_by: Grouping = group_by
        self._filter = Filter()
        self._groups: list[Group] = []
        self._by_message: dict[_Whose, Group] = {}
        self._lines: list[Line] | None = []
        self._selected: Line | None = None
        self._index: int | None = None
        self.version = 0
        """Changes with everything that a screen may show of it."""

    # -- feed --------------------------------------------------------------------------------

    @property
    def rows(self) -> Sequence[Row]:
        """Every row that is held, filtered or not, oldest first."""
        return self._rows

    @property
    def first(self) -> int:
        """Number of the oldest row that is held, 0 for none."""
        return self._rows[0].number if self._rows else 0

    def row(self, number: int) -> Row | None:
        """A row by its number; None where it is not held."""
        at = number - self.first
        return self._rows[at] if self._rows and 0 <= at < len(self._rows) else None

    def add(self, row: Row) -> None:
        """One more row; numbers go up by 1."""
        self._rows.append(row)
        self.counters.add(row)
        self.version += 1
        if not self.follow:
            self.unseen += 1
        whose = (row.facts.session_id, row.facts.message_id)
        if row.facts.role and row.facts.message_id is not None:
            self._learn(whose, row.facts.role)
        if self._filter.fits(row):
            self._place(row)

    def drop(self, before: int) -> None:
        """Forget the rows with lower numbers. Linear in what stays."""
        kept = before - self.first
        if not self._rows or kept <= 0:
            return
        self.dropped += len(self._rows[:kept])
        del self._rows[:kept]
        held = {(row.facts.session_id, row.facts.message_id) for row in self._rows}
        self._roles = {whose: role for whose, role in self._roles.items() if whose in held}
        self._rebuild()

    def _learn(self, whose: _Whose, role: str) -> None:
        if self._roles.get(whose) == role:
            return
        self._roles[whose] = role
        for group in self._groups:
            if (group.session_id, group.message_id) == whose:
                group.role = role

    def _place(self, row: Row) -> None:
        whose = (row.facts.session_id, row.facts.message_id)
        last = self._groups[-1] if self._groups else None
        if self._group_by == "message":
            group = self._by_message.get(whose)
        else:
            group = last if last and (last.session_id, last.message_id) == whose else None
        if group is None:
            group = Group(*whose, self._roles.get(whose, ""))
            self._groups.append(group)
            self._by_message[whose] = group
            if self._lines is not None:
                self._lines.append(group)
        group.rows.append(row)
        if group is not self._groups[-1]:
            self._lines = None
        elif self._lines is not None and not group.collapsed:
            self._lines.append(row)

    def _rebuild(self) -> None:
        """Place every row anew; what was collapsed stays so, and the selection where it was."""
        collapsed = {
            group.rows[0].number: group for group in self._groups if group.collapsed and group.rows
        }
        whose = {(group.session_id, group.message_id) for group in collapsed.values()}
        selected = self._selected
        self._groups, self._by_message, self._lines = [], {}, []
        for row in self._rows:
            if self._filter.fits(row):
                self._place(row)
        for group in self._groups:
            same = (group.session_id, group.message_id) in whose
            group.collapsed = (
                same if self._group_by == "message" else group.rows[0].number in collapsed
            )
        self._lines = None
        self._index = None
        self.version += 1
        if isinstance(selected, Group):
            selected = selected.rows[0] if selected.rows else None
        if selected is not None and not self.follow:
            self._select_near(selected.number)

    # -- show --------------------------------------------------------------------------------

    @property
    def lines(self) -> Sequence[Line]:
        """Headings and rows, as they stand."""
        if self._lines is None:
            lines: list[Line] = []
            for group in self._groups:
                lines.append(group)
                if not group.collapsed:
                    lines += group.rows
            self._lines = lines
            self._index = None
        return self._lines

    @property
    def shown(self) -> int:
        """How many rows fit the filter."""
        return sum(len(group.rows) for group in self._groups)

    @property
    def group_by(self) -> Grouping:
        """`arrival` or `message`; setting it keeps the selection."""
        return self._group_by

    @group_by.setter
    def group_by(self, grouping: Grouping) -> None:
        self._group_by = grouping
        self._rebuild()

    @property
    def filter(self) -> Filter:
        """Which rows are shown; setting it keeps the selection, or the row next to it."""
        return self._filter

    @filter.setter
    def filter(self, value: Filter) -> None:
        self._filter = value
        self._rebuild()

    def toggle(self) -> None:
        """Collapse the group of the selected line, or open it again; its heading is selected."""
        group = self.selected_group
        if group is not None:
            group.collapsed = not group.collapsed
            self._again(group)

    def collapse(self, all_of_them: bool = True) -> None:
        """Collapse every group, or open every one."""
        group = self.selected_group
        for other in self._groups:
            other.collapsed = all_of_them
        if group is not None:
            self._again(group)

    def _again(self, group: Group) -> None:
        self._lines = self._index = None
        self.version += 1
        if not self.follow:
            self._selected = group

    # -- move --------------------------------------------------------------------------------

    @property
    def selected(self) -> Line | None:
        """The selected line, None where there is none."""
        lines = self.lines
        if self.follow or self._selected is None:
            return lines[-1] if lines else None
        return self._selected

    @property
    def selected_row(self) -> Row | None:
        """The selected row; of a heading, its last one."""
        line = self.selected
        return (line.rows[-1] if line.rows else None) if isinstance(line, Group) else line

    @property
    def selected_group(self) -> Group | None:
        """The group of the selected line. Linear in the lines above it."""
        lines, at = self.lines, self.index
        while at is not None and at >= 0:
            line = lines[at]
            if isinstance(line, Group):
                return line
            at -= 1
        return None

    @property
    def index(self) -> int | None:
        """Place of the selected line in `lines`; linear when it moved, else constant."""
        lines = self.lines
        if not lines:
            return None
        if self.follow or self._selected is None:
            return len(lines) - 1
        known = self._index
        if known is None or known >= len(lines) or lines[known] is not self._selected:
            known = self._index = self._find(self._selected)
        return known

    def _find(self, line: Line) -> int:
        lines = self.lines
        try:
            return lines.index(line)
        except ValueError:
            return len(lines) - 1

    def move(self, by: int) -> None:
        """Select a line further down, or up; it stops following, until it is at the end again."""
        at = self.index
        if at is not None:
            self.to(at + by)

    def to(self, index: int) -> None:
        """Select the line at a place, or the nearest one."""
        lines = self.lines
        if not lines:
            return
        index = max(0, min(index, len(lines) - 1))
        self._selected, self._index = lines[index], index
        self._following(index == len(lines) - 1)

    def to_end(self) -> None:
        """Select the last line, and follow."""
        self._following(True)

    def hold(self) -> None:
        """Stop following where it is, e.g. when one scrolls or everything stands still."""
        self._selected, self._index = self.selected, self.index
        self._following(False)

    def next_notable(self, by: int = 1) -> bool:
        """Select the next row (or with -1 the one before) that was not plainly accepted."""
        lines, at = self.lines, self.index
        while at is not None and 0 <= at + by < len(lines):
            at += by
            line = lines[at]
            if isinstance(line, Row) and line.verdict is not None:
                if line.verdict.kind != "accepted":
                    self.to(at)
                    return True
        return False

    def _following(self, follow: bool) -> None:
        self.follow = follow
        if follow:
            self.unseen = 0
        self.version += 1

    def _select_near(self, number: int) -> None:
        best: Row | None = None
        for line in self.lines:
            if isinstance(line, Row):
                if best is None or abs(line.number - number) < abs(best.number - number):
                    best = line
        self._selected, self._index = best, None
        if best is None:
            self._selected = self.lines[0] if self.lines else None
