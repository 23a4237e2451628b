"""The timeline: rows, groups, filters, the selection that follows, and the counters."""

from __future__ import annotations

from typing import Any

import pytest

from streamstore.verdicts import ACCEPTED, DUPLICATE, HELD, Verdict
from streamstore.watch.facts import Facts
from streamstore.watch.filters import Filter
from streamstore.watch.row import Row
from streamstore.watch.timeline import RATE_MS, Group, Rate, Timeline


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def row(
    number: int,
    message: str | None = "m",
    verdict: Verdict | None = ACCEPTED,
    *,
    type: str = "delta",
    session: str = "s",
    data: bytes = b"{}",
    **facts: Any,
) -> Row:
    told = Facts(type=type, session_id=session, message_id=message, **facts)
    return Row(number, float(number), told, verdict, data)


def timeline(*rows: Row) -> Timeline:
    made = Timeline(Clock())
    for one in rows:
        made.add(one)
    return made


def names(shown: Timeline) -> list[Any]:
    return [
        f"{line.message_id}{'+' if line.collapsed else ''}"
        if isinstance(line, Group)
        else line.number
        for line in shown.lines
    ]


def mingled() -> Timeline:
    return timeline(*(row(number, message) for number, message in enumerate("aabba", start=1)))


# -- groups ----------------------------------------------------------------------------------------


def test_by_arrival_a_heading_stands_wherever_the_message_changes() -> None:
    assert names(mingled()) == ["a", 1, 2, "b", 3, 4, "a", 5]


def test_by_message_the_rows_of_one_message_stand_together_in_the_order_of_its_first_row() -> None:
    shown = mingled()
    shown.group_by = "message"
    assert names(shown) == ["a", 1, 2, 5, "b", 3, 4]
    shown.add(row(6, "a"))
    shown.add(row(7, "c"))
    assert names(shown) == ["a", 1, 2, 5, 6, "b", 3, 4, "c", 7]


def test_the_same_message_id_in_two_sessions_is_two_groups() -> None:
    shown = timeline(row(1, "m", session="s"), row(2, "m", session="t"))
    shown.group_by = "message"
    assert [line.session_id for line in shown.lines if isinstance(line, Group)] == ["s", "t"]


def test_a_role_is_shown_in_headings_that_stood_before_it_was_known() -> None:
    shown = timeline(row(1, "m"), row(2, "m", role="assistant"))
    assert isinstance(shown.lines[0], Group) and shown.lines[0].role == "assistant"
    shown.add(row(3, "n"))
    shown.add(row(4, "m"))
    assert [line.role for line in shown.lines if isinstance(line, Group)] == [
        "assistant", "", "assistant",
    ]  # fmt: skip


@pytest.mark.parametrize("grouping", ["arrival", "message"])
def test_lines_that_grew_are_those_that_are_built_anew(grouping: Any) -> None:
    grown = Timeline(Clock(), grouping)
    rows = [row(number, message) for number, message in enumerate("abacbbcab" * 3, start=1)]
    for one in rows:
        grown.add(one)
        assert grown.lines  # read in between
    built = timeline(*rows)
    built.group_by = grouping
    assert names(grown) == names(built)


def test_a_collapsed_group_keeps_its_heading_and_takes_further_rows_in() -> None:
    shown = mingled()
    shown.to(1)
    shown.toggle()
    assert names(shown) == ["a+", "b", 3, 4, "a", 5]
    assert shown.selected is shown.lines[0]
    shown.toggle()
    assert names(shown) == ["a", 1, 2, "b", 3, 4, "a", 5]
    shown.collapse()
    assert names(shown) == ["a+", "b+", "a+"]
    shown.add(row(6, "a"))
    assert names(shown) == ["a+", "b+", "a+"]
    assert shown.shown == 6
    shown.collapse(False)
    assert names(shown) == ["a", 1, 2, "b", 3, 4, "a", 5, 6]


def test_what_was_collapsed_stays_so_through_a_filter() -> None:
    shown = mingled()
    shown.to(0)
    shown.toggle()
    shown.filter = Filter.parse("m:a")
    assert names(shown) == ["a+"]  # the rows of `a` follow one another now
    shown.filter = Filter()
    assert names(shown) == ["a+", "b", 3, 4, "a", 5]


# -- the bound -------------------------------------------------------------------------------------


def test_the_oldest_are_dropped_and_counted_and_numbers_stay() -> None:
    shown = mingled()
    shown.drop(before=3)
    assert (shown.dropped, shown.first, names(shown)) == (2, 3, ["b", 3, 4, "a", 5])
    assert shown.row(2) is None and shown.row(3) is shown.rows[0] and shown.row(6) is None
    assert shown.counters.events == 5, "counters are of everything that came"
    shown.drop(before=2)
    assert shown.dropped == 2, "nothing is dropped twice"
    shown.drop(before=99)
    assert (shown.dropped, names(shown), shown.selected, shown.index) == (5, [], None, None)
    shown.add(row(6, "b"))
    assert names(shown) == ["b", 6]


def test_a_selected_row_that_is_dropped_gives_way_to_the_nearest_one() -> None:
    shown = mingled()
    shown.to(1)
    shown.drop(before=4)
    assert shown.selected_row is shown.row(4) and not shown.follow


def test_a_selected_row_stays_selected_while_rows_above_it_go() -> None:
    shown = mingled()
    shown.to(5)
    chosen = shown.selected_row
    assert chosen is not None and chosen.number == 4
    shown.drop(before=3)
    assert shown.selected_row is chosen and shown.index == 2


# -- filters ---------------------------------------------------------------------------------------

SEEN = (
    row(1, "msg_1", type="message.part.delta", session="ses_a", data=b'{"text": "Hello World"}'),
    row(2, "msg_2", DUPLICATE, type="message.part.delta", session="ses_b"),
    row(3, None, Verdict("refused", "conflict"), type="server.heartbeat", session="ses_a"),
    row(4, "msg_1", HELD, type="x", kinds=("block.closed",), session="ses_a", seq=4),
    row(
        5, "msg_2", Verdict("malformed", "text"), type="y", data='{"t": "caf\\u00e9 日本"}'.encode()
    ),
    row(6, None, None, type="connection ended", data=b""),
)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("", [1, 2, 3, 4, 5, 6]),
        ("session:ses_a", [1, 3, 4]),
        ("s:SES_A", [1, 3, 4]),
        ("message:msg_1", [1, 4]),
        ("m:msg", [1, 2, 4, 5]),
        ("m:=msg", []),
        ("m:=msg_1", [1, 4]),
        ("m:=MSG_1", []),
        ("-s:=ses_a", [2, 5, 6]),
        ("t:=x", [4]),
        ("type:delta", [1, 2]),
        ("t:block.closed", [4]),
        ("-type:delta", [3, 4, 5, 6]),
        ("verdict:duplicate", [2]),
        ("v:refused", [3]),
        ("verdict:refused:conflict", [3]),
        ("v:notable", [2, 3, 4, 5]),
        ("v:note", [6]),
        ("hello", [1]),
        ('"hello world"', [1]),
        ('"world hello"', []),
        ("-hello -v:notable", [6]),
        ("café", [5]),
        ("日本", [5]),
        ("s:ses_a t:delta hello", [1]),
        ("s:ses_a t:delta goodbye", []),
        ("http://nowhere", []),
        ('m:"msg_1"', [1, 4]),
        ('m:"msg_1', [1, 4]),
        (":", [1, 5]),
        ("-", []),
    ],
)
def test_a_filter_shows_the_rows_that_fit_all_its_words(words: str, numbers: list[int]) -> None:
    shown = timeline(*SEEN)
    shown.filter = Filter.parse(words)
    assert [line.number for line in shown.lines if isinstance(line, Row)] == numbers
    later = Timeline(Clock())
    later.filter = Filter.parse(words)
    for one in SEEN:
        later.add(one)
    assert names(later) == names(shown), "rows that come later are filtered alike"


def test_the_events_of_a_message_are_no_others_whatever_its_id_is() -> None:
    ids = ("local-1", "local-10", 'a "quoted" \\ one', "a", "s")
    seen = [row(n, name, session="s") for n, name in enumerate(ids)]
    other = row(9, "local-1", session="s2")
    for n, name in enumerate(ids):
        shown = timeline(*seen, other)
        shown.filter = Filter.parse(Filter.of_message("s", name).text)
        assert [line.number for line in shown.lines if isinstance(line, Row)] == [n]


def test_a_filter_keeps_the_selection_or_takes_the_row_next_to_it() -> None:
    shown = timeline(*SEEN)
    shown.to(shown.lines.index(SEEN[1]))
    shown.filter = Filter.parse("t:delta")
    assert shown.selected_row is SEEN[1]
    shown.filter = Filter.parse("s:ses_a")
    assert shown.selected_row in (SEEN[0], SEEN[2])
    shown.filter = Filter.parse("fits nothing")
    assert shown.selected is None and shown.index is None and shown.selected_group is None
    shown.filter = Filter()
    assert shown.selected is not None


# -- the selection ---------------------------------------------------------------------------------


def test_the_last_line_is_selected_until_somebody_moves() -> None:
    shown = mingled()
    assert shown.follow and shown.selected_row is shown.row(5)
    shown.add(row(6))
    assert shown.selected_row is shown.row(6)
    shown.move(-2)
    assert not shown.follow and shown.selected_row is shown.row(5)
    shown.add(row(7))
    shown.add(row(8))
    assert shown.selected_row is shown.row(5) and shown.unseen == 2
    shown.to_end()
    assert shown.follow and shown.unseen == 0 and shown.selected_row is shown.row(8)


def test_moving_to_the_last_line_follows_again() -> None:
    shown = mingled()
    shown.move(-1)
    shown.move(1)
    assert shown.follow
    shown.move(-100)
    assert shown.index == 0 and shown.selected is shown.lines[0]
    assert shown.selected_row is shown.row(2), "of a heading it is the last row"
    shown.move(100)
    assert shown.follow


def test_holding_keeps_the_line_that_was_the_last_one() -> None:
    shown = mingled()
    shown.hold()
    shown.add(row(6))
    assert shown.selected_row is shown.row(5) and shown.unseen == 1


def test_the_next_notable_event_is_the_next_that_was_not_plainly_accepted() -> None:
    shown = timeline(*SEEN)
    shown.to(0)
    found = []
    while shown.next_notable():
        assert shown.selected_row is not None
        found.append(shown.selected_row.number)
    assert found == [2, 3, 4, 5]
    assert shown.next_notable(-1) and shown.selected_row is SEEN[3]


def test_an_empty_timeline_has_nothing_to_select_or_move() -> None:
    empty = timeline()
    empty.move(1)
    empty.toggle()
    empty.collapse()
    empty.drop(before=5)
    assert (empty.selected, empty.index, empty.first, empty.next_notable()) == (
        None,
        None,
        0,
        False,
    )


# -- counters --------------------------------------------------------------------------------------


def test_counters_count_events_and_no_notes() -> None:
    shown = timeline(*SEEN, row(7, deltas=2, characters=9, data=b"12345"))
    counted = shown.counters
    assert (counted.events, counted.duplicates, counted.deltas, counted.characters) == (6, 1, 2, 9)
    assert counted.bytes == sum(len(one.data) for one in SEEN) + 5
    assert counted.verdicts == {
        "accepted": 2, "duplicate": 1, "refused": 1, "held": 1, "malformed": 1,
    }  # fmt: skip
    assert counted.deltas_per_tick == 0
    counted.ticks = 4
    assert counted.deltas_per_tick == 0.5


def test_the_rate_is_that_of_the_last_two_seconds_and_falls_to_nothing() -> None:
    clock = Clock()
    rate = Rate(clock)
    assert rate.per_second == 0
    for _ in range(1_000):
        rate.add()
        clock.now += 10
    assert rate.per_second == pytest.approx(100, rel=0.06)
    clock.now += RATE_MS / 2
    assert rate.per_second == pytest.approx(50, rel=0.12)
    clock.now += RATE_MS
    assert rate.per_second == 0
    assert len(rate._buckets) <= 21, "memory does not grow with what comes"
