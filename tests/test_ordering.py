"""Names in the order of their keys, against `sorted`; and the order of messages and parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sortedcontainers import SortedList

from streamstore.keys import MAX_NUMBER, OrderKey, is_order, message_order, part_order
from streamstore.ordering import Ordered

names = st.sampled_from("abcdefgh")
orders = st.none() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0, 1.5])
indexes = st.integers(0, 12) | st.sampled_from(["0", "10", "9", "a", "é", "\U0001f600", "B"])


class OrderedMachine(RuleBasedStateMachine):
    """Adding, moving and removing in any order, beside a dict from name to key."""

    @initialize()
    def start(self) -> None:
        self.ordered: Ordered[str] = Ordered()
        self.keys: dict[str, OrderKey] = {}

    @rule(name=names, order=orders)
    def add(self, name: str, order: float | None) -> None:
        key = message_order(order, name)
        self.ordered.add(key, name)
        self.keys[name] = key

    @rule(name=names)
    def add_at_the_end(self, name: str) -> None:
        last = max((key[1] for key in self.keys.values() if key[0] == 0), default=0)
        assert not isinstance(last, str)
        self.add(name, last + 1)

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.keys)))
        self.ordered.remove(name)
        del self.keys[name]

    @rule(data=st.data())
    def place(self, data: st.DataObject) -> None:
        new = (
            data.draw(st.lists(st.sampled_from(sorted(self.keys)), unique=True))
            if self.keys
            else []
        )
        rest = sorted(set(self.keys) - set(new))
        over = data.draw(st.lists(st.sampled_from(rest), unique=True)) if rest else []
        places = self.ordered.places(new, over)
        assert [name for name, _ in places] == [name for name in self.naive if name in new]
        # Applied in order to those that stay, they give the order.
        mirror = [name for name in self.naive if name not in new and name not in over]
        for name, before in places:
            mirror.insert(len(mirror) if before is None else mirror.index(before), name)
        assert mirror == [name for name in self.naive if name not in over]

    @property
    def naive(self) -> list[str]:
        return sorted(self.keys, key=self.keys.__getitem__)

    @invariant()
    def it_is_sorted(self) -> None:
        ordered, naive = self.ordered, self.naive
        assert list(ordered) == naive
        assert len(ordered) == len(naive)
        assert [ordered.after(name) for name in naive] == [*naive[1:], None][: len(naive)]
        for name in "abcdefgh":
            assert (name in ordered) is (name in self.keys)
        assert all(ordered.key(name) == key for name, key in self.keys.items())


TestOrdered = OrderedMachine.TestCase
TestOrdered.settings = settings(stateful_step_count=20)


class Counted(tuple[int]):
    """A key that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: object) -> bool:
        Counted.compared += 1
        return super().__lt__(other)  # type: ignore[operator]

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    __hash__ = tuple.__hash__


class TestCost:
    @pytest.fixture(autouse=True)
    def counts_from_zero(self) -> Iterator[None]:
        Counted.compared = 0
        yield

    def test_adding_at_the_end_costs_one_comparison_each(self) -> None:
        ordered: Ordered[int] = Ordered()
        for place in range(10_000):
            ordered.add(Counted((place,)), place)
        assert Counted.compared == 9_999
        assert isinstance(ordered._keys, list)

    def test_a_late_one_costs_a_search_not_a_sort(self) -> None:
        ordered: Ordered[int] = Ordered()
        for place in range(10_000):
            ordered.add(Counted((2 * place,)), place)
        ordered.add(Counted((1,)), -1)  # the first late one makes the sorted container
        assert isinstance(ordered._keys, SortedList)
        Counted.compared = 0
        for place in range(100):
            ordered.add(Counted((200 * place + 101,)), -2 - place)
        assert Counted.compared <= 100 * 40

    def test_the_neighbour_is_searched_not_counted(self) -> None:
        ordered: Ordered[int] = Ordered()
        for place in range(10_000):
            ordered.add(Counted((place,)), place)
        Counted.compared = 0
        assert ordered.after(5_000) == 5_001
        assert Counted.compared <= 20


class TestMessageOrder:
    @given(st.lists(st.tuples(orders, names), min_size=2, max_size=8))
    def test_by_order_then_by_id_and_without_an_order_last(
        self, messages: list[tuple[float | None, str]]
    ) -> None:
        ranked = sorted(messages, key=lambda message: message_order(*message))
        for (first, first_id), (second, second_id) in pairwise(ranked):
            if first is None:
                assert second is None
            if first is not None and second is not None:
                assert first <= second
            if first == second:
                assert first_id <= second_id

    def test_the_order_is_a_number_not_its_digits(self) -> None:
        assert message_order(9, "m") < message_order(10, "m")
        assert message_order(1, "m") < message_order(1.5, "a") < message_order(2, "a")
        assert message_order(MAX_NUMBER, "z") < message_order(None, "a")


class TestPartOrder:
    @given(st.lists(indexes, unique=True, max_size=10))
    def test_indexes_sort_by_value_and_stand_before_names_by_code_point(
        self, found: list[int | str]
    ) -> None:
        numbers = sorted(index for index in found if isinstance(index, int))
        words = sorted(index for index in found if isinstance(index, str))
        assert sorted(found, key=lambda index: part_order(None, index)) == [*numbers, *words]

    @given(st.lists(st.tuples(orders, indexes), unique=True, min_size=1, max_size=8))
    def test_an_order_stands_among_the_indexes(
        self, parts: list[tuple[float | None, int | str]]
    ) -> None:
        ranked = sorted(parts, key=lambda part: part_order(*part))
        places = [
            (0.0, order)
            if order is not None
            else (0.0, index)
            if isinstance(index, int)
            else (1.0, 0)
            for order, index in ranked
        ]
        assert places == sorted(places)

    def test_ties_go_by_index(self) -> None:
        ranked = [part_order(1, 0), part_order(None, 1), part_order(1, 2), part_order(1, "a")]
        assert ranked == sorted(ranked)
        assert len(set(ranked)) == 4

    def test_an_insertion_uses_a_fraction(self) -> None:
        assert part_order(None, 1) < part_order(1.5, 7) < part_order(None, 2)


@pytest.mark.parametrize("value", [0, -1, 1.5, -0.5, 10**40, MAX_NUMBER])
def test_an_order_is_any_finite_number(value: float) -> None:
    assert is_order(value)


@pytest.mark.parametrize(
    "value", [True, False, None, "1", float("nan"), float("inf"), -float("inf"), []]
)
def test_nothing_else_is_an_order(value: object) -> None:
    assert not is_order(value)
