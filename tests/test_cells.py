"""Text cells against a plain string: whatever was done before a tick, its edit shows the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamstore.cells import TextCell
from streamstore.changes import Edit
from streamstore.text import ends_high, has_surrogate, pair_surrogates, shown, starts_low

HIGH, LOW, FACE = "\ud83d", "\ude00", "\U0001f600"

texts = st.text("ab é" + FACE + HIGH + LOW, max_size=6)


class CellMachine(RuleBasedStateMachine):
    """Every verb of a cell in any order, beside one string and one reader's mirror."""

    @initialize()
    def start(self) -> None:
        self.cell = TextCell()
        self.working = ""  # raw, as it came
        self.published = ""
        self.kept = 0  # how much of what is published no rewrite has touched since
        self.mirror = ""
        self.views: list[tuple[object, int, str]] = []

    @rule(piece=texts)
    def append(self, piece: str) -> None:
        self.cell.append(piece)
        self.working += piece

    @rule(text=texts)
    def replace(self, text: str) -> None:
        self.cell.replace(text)
        self.working = text
        self.kept = 0

    @rule(at=st.integers(0, 40), tail=texts)
    def rewrite(self, at: int, tail: str) -> None:
        paired = pair_surrogates(self.working)
        at = min(at, len(paired))
        if ends_high(paired[:at]) and starts_low(tail):
            return  # who rewrites takes such a half into the tail: see `TextCell.carry`
        tail = pair_surrogates(tail)
        self.cell.rewrite(at, tail)
        self.working = paired[:at] + tail
        self.kept = min(self.kept, at)

    @rule()
    def merge(self) -> None:
        self.cell.merge_pending()
        assert len(self.cell.pending) <= 1

    @rule(final=st.booleans())
    def publish(self, final: bool) -> None:
        before = self.published
        edit = self.cell.publish(final)
        self.published = self.visible(final)
        self.kept = len(self.published)
        if edit is None:
            assert self.published == before
        else:
            self.check(edit, before)
        # What a reader may hold from now on.
        self.views.append((self.cell.source, self.cell.source.length, self.published))

    def visible(self, final: bool) -> str:
        """What a tick shows: pairs joined, a new high half at the end only when it is final."""
        paired = pair_surrogates(self.working)
        waits = not final and ends_high(paired) and len(paired) > self.kept
        return paired[:-1] if waits else paired

    def check(self, edit: Edit, before: str) -> None:
        after = self.published
        assert edit.apply(self.mirror) == shown(after)
        self.mirror = edit.apply(self.mirror)
        assert edit.rewritten is (edit.start < len(before))
        assert before != after
        if edit.rewritten:  # from the first difference: what comes next is not what was there
            assert after[edit.start : edit.start + 1] != before[edit.start : edit.start + 1]
        assert not has_surrogate(edit.text)

    @rule()
    def unpublish(self) -> None:
        self.cell.unpublish()
        self.published = self.mirror = ""
        self.kept = 0

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def read_an_old_view(self, data: st.DataObject) -> None:
        source, length, text = data.draw(st.sampled_from(self.views))
        assert source.raw(length) == text  # type: ignore[attr-defined]

    @invariant()
    def nothing_is_lost(self) -> None:
        cell = self.cell
        assert cell.working() == pair_surrogates(self.working)
        kept = cell.source.length if cell.cut is None else cell.cut
        assert cell.length == kept + len("".join(cell.pending))
        assert cell.source.raw() == self.published
        assert self.mirror == shown(self.published)

    @invariant()
    def it_waits_when_something_would_be_shown(self) -> None:
        if self.visible(True) != self.published:
            assert self.cell.waits

    @invariant()
    def it_counts_what_waits_in_code_points(self) -> None:
        cell = self.cell
        kept = cell.source.length if cell.cut is None else cell.cut
        waiting = len(pair_surrogates("".join(cell.pending)))
        assert kept >= 0
        assert cell.waiting_characters() == waiting
        assert cell.waiting_length >= waiting


TestCell = CellMachine.TestCase


class TestPublishing:
    def test_an_append_is_announced_at_the_old_end(self) -> None:
        cell = TextCell()
        cell.append("hel")
        assert cell.publish(False) == Edit(0, "hel", False)
        cell.append("lo")
        cell.append(" world")
        assert cell.publish(False) == Edit(3, "lo world", False)

    def test_a_replace_is_announced_from_its_first_difference(self) -> None:
        cell = TextCell()
        cell.append("The quick brown fox")
        cell.publish(False)
        cell.replace("The quick red fox")
        assert cell.publish(False) == Edit(10, "red fox", True)

    def test_a_replace_that_only_adds_is_no_rewrite(self) -> None:
        cell = TextCell()
        cell.append("The quick")
        cell.publish(False)
        source = cell.source
        cell.replace("The quick fox")
        assert cell.publish(False) == Edit(9, " fox", False)
        assert cell.source is source

    def test_a_replace_that_only_cuts_says_where(self) -> None:
        cell = TextCell()
        cell.append("The quick fox")
        cell.publish(False)
        cell.replace("The")
        assert cell.publish(False) == Edit(3, "", True)

    @given(texts, st.booleans())
    def test_an_equal_replace_announces_nothing(self, text: str, final: bool) -> None:
        cell = TextCell()
        cell.append(text)
        cell.publish(final)
        source = cell.source
        cell.replace(text)
        assert cell.publish(final) is None
        assert cell.source is source
        assert not cell.waits or (not final and ends_high(pair_surrogates(text)))

    def test_a_replace_and_its_undoing_in_one_tick_announce_nothing(self) -> None:
        cell = TextCell()
        cell.append("same")
        cell.publish(False)
        cell.replace("other")
        cell.replace("same")
        assert cell.publish(False) is None

    def test_a_replace_voids_what_waits(self) -> None:
        cell = TextCell()
        cell.append("never shown")
        cell.replace("shown")
        assert cell.publish(False) == Edit(0, "shown", False)

    def test_nothing_waiting_is_no_edit(self) -> None:
        cell = TextCell()
        assert cell.publish(True) is None
        cell.append("")
        assert not cell.waits
        assert cell.publish(True) is None

    def test_an_old_version_stays_readable_after_a_rewrite(self) -> None:
        cell = TextCell()
        cell.append("before")
        cell.publish(False)
        source, length = cell.source, cell.source.length
        cell.replace("after")
        cell.publish(False)
        cell.append(" all")
        cell.publish(False)
        assert source.raw(length) == "before"
        assert cell.source.raw() == "after all"


class TestSurrogates:
    def test_a_trailing_high_half_waits_for_its_other_half(self) -> None:
        cell = TextCell()
        cell.append("a" + HIGH)
        assert cell.publish(False) == Edit(0, "a", False)
        assert cell.waits
        assert cell.publish(False) is None
        cell.append(LOW + "b")
        assert cell.publish(False) == Edit(1, FACE + "b", False)
        assert not cell.waits

    def test_a_trailing_high_half_is_shown_as_unknown_when_the_text_ends(self) -> None:
        cell = TextCell()
        cell.append("a" + HIGH)
        assert cell.publish(True) == Edit(0, "a\ufffd", False)
        assert cell.source.raw() == "a" + HIGH

    def test_a_late_other_half_joins_the_one_that_was_shown_alone(self) -> None:
        cell = TextCell()
        cell.append("a" + HIGH)
        cell.publish(True)
        cell.append(LOW)
        assert cell.publish(True) == Edit(1, FACE, True)
        assert cell.source.raw() == "a" + FACE

    @given(st.text("a" + FACE, max_size=8), st.data())
    def test_pairs_cut_anywhere_and_shown_anytime_join_again(
        self, text: str, data: st.DataObject
    ) -> None:
        units = text.encode("utf-16-le")
        cell, mirror = TextCell(), ""
        while units:
            size = 2 * data.draw(st.integers(1, len(units) // 2))
            cell.append(units[:size].decode("utf-16-le", "surrogatepass"))
            units = units[size:]
            if data.draw(st.booleans()):
                edit = cell.publish(False)
                if edit is not None:
                    assert not edit.rewritten
                    mirror = edit.apply(mirror)
        edit = cell.publish(True)
        assert (mirror if edit is None else edit.apply(mirror)) == text

    def test_a_split_pair_counts_as_one_code_point_against_a_bound(self) -> None:
        cell = TextCell()
        for piece in ("ab", HIGH, LOW):
            cell.append(piece)
        assert cell.length == 4
        assert cell.waiting_characters() == 3

    def test_text_behind_a_half_that_was_shown_alone_survives_a_rewrite_further_on(self) -> None:
        cell = TextCell()
        cell.append(HIGH)
        cell.publish(True)
        cell.append(LOW + "a")
        cell.rewrite(2, "b")
        assert cell.working() == FACE + "ab"


class TestWindow:
    """Base and window: how a late operation goes to its place (see `rows.BlockRow.trim`)."""

    @given(st.lists(texts, max_size=10), st.data())
    def test_what_left_the_window_and_the_window_give_the_text(
        self, pieces: list[str], data: st.DataObject
    ) -> None:
        cell, window = TextCell(), []
        working: list[str] = []
        for piece in pieces:
            cell.append(piece)
            window.append(piece)
            working.append(piece)
            if data.draw(st.booleans()):
                cell.publish(False)
            if window and data.draw(st.booleans()):
                over = data.draw(st.integers(1, len(window)))
                cell.advance("".join(window[:over]))
                del window[:over]
            if window and data.draw(st.booleans()):  # a late one, anywhere in the window
                late, at = data.draw(texts), data.draw(st.integers(0, len(window) - 1))
                window.insert(at, late)
                working.insert(len(working) + 1 - len(window) + at, late)
                cell.refold("".join(window))
        assert cell.working() == pair_surrogates("".join(working))
        cell.refold("".join(window))
        assert cell.working() == pair_surrogates("".join(working))

    @given(texts, texts)
    def test_a_replace_is_the_base_that_a_window_builds_on(self, text: str, later: str) -> None:
        cell = TextCell()
        cell.append("gone")
        cell.publish(False)
        cell.replace(text)
        cell.append(later)
        cell.refold(later)
        assert cell.working() == pair_surrogates(text + later)

    def test_a_late_text_is_announced_where_it_stands(self) -> None:
        cell = TextCell()
        for piece in ("one ", "three ", "four"):
            cell.append(piece)
        cell.publish(False)
        cell.refold("one two three four")
        assert cell.publish(False) == Edit(5, "wo three four", True)


@pytest.mark.parametrize("size", [1, 4_600])
def test_pieces_that_come_one_by_one_stay_as_few_as_the_digits_of_their_number(size: int) -> None:
    cell = TextCell()
    for number in range(1, 400):
        cell.append(chr(ord("a") + number % 26) * (size + number % 7))
        cell.merge_pending()
        assert len(cell.pending) <= number.bit_length() + 2
    text = "".join(chr(ord("a") + n % 26) * (size + n % 7) for n in range(1, 400))
    assert cell.publish(False) == Edit(0, text, False)


@pytest.mark.parametrize("number", [2, 100])
def test_many_pieces_merge_into_one(number: int) -> None:
    cell = TextCell()
    for _ in range(number):
        cell.append("ab")
    cell.merge_pending()
    assert cell.pending == ["ab" * number]
    assert cell.publish(False) == Edit(0, "ab" * number, False)
