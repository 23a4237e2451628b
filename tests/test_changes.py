"""Merged change sets against a mirror: one that waited shows what all of them in order show."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore.changes import ChangeSet, Edit, Gap, MergedChanges, Place, TextField
from streamstore.keys import Key, MessageKey, PartKey, SessionKey

ROOT: tuple[Any, ...] = ()
KINDS = {1: SessionKey, 2: MessageKey, 3: PartKey}


@attrs.define
class World:
    """Sessions, messages and parts in order, with a value each and texts: store and mirror."""

    children: dict[tuple[Any, ...], list[Key]] = attrs.field(factory=lambda: {ROOT: []})
    values: dict[Key, int] = attrs.field(factory=dict)
    texts: dict[TextField, str] = attrs.field(factory=dict)

    def insert(self, key: Key, before: Key | None, value: int = 0) -> None:
        siblings = self.children[key[:-1]]
        if key in siblings:
            siblings.remove(key)
        else:
            self.values[key] = value
            if len(key) < 3:
                self.children[tuple(key)] = []
        siblings.insert(len(siblings) if before is None else siblings.index(before), key)

    def remove(self, key: Key) -> None:
        if key not in self.values:
            return
        for child in list(self.children.get(tuple(key), ())):
            self.remove(child)
        self.children[key[:-1]].remove(key)
        self.children.pop(tuple(key), None)
        del self.values[key]
        for field in [field for field in self.texts if field.key == key]:
            del self.texts[field]

    def locate(self, keys: Iterable[Key], over: Iterable[Key]) -> tuple[Place, ...]:
        """As the store does it: parents first, in order, before a neighbour that stays."""
        wanted, skipped = set(keys), {*keys, *over}
        found = []
        for depth in (0, 1, 2):
            for parent, siblings in self.children.items():
                if len(parent) != depth:
                    continue
                for place, key in enumerate(siblings):
                    if key in wanted:
                        rest = (other for other in siblings[place + 1 :] if other not in skipped)
                        found.append(Place(key, next(rest, None)))
        return tuple(found)

    def hear(self, changes: ChangeSet, store: World) -> None:
        """What a reader does with a change set; see the docstring of `ChangeSet`."""
        if changes.reset:
            other = copy.deepcopy(store)
            self.children, self.values, self.texts = other.children, other.values, other.texts
            return
        for key in changes.removed:
            self.remove(key)
        for key, before in changes.added:
            self.insert(key, before, store.values[key])
        for key, before in changes.moved:
            self.insert(key, before)
        for field, edit in changes.text.items():
            before_text = self.texts.get(field, "")
            assert edit.start <= len(before_text)
            assert edit.rewritten or edit.start == len(before_text)
            self.texts[field] = edit.apply(before_text)
        for key in changes.changed:
            self.values[key] = store.values[key]


@st.composite
def ticks(draw: Any, world: World, version: int) -> ChangeSet:
    """Change a world as one tick of a store does, and say what changed."""
    before = copy.deepcopy(world)
    moved: set[Key] = set()
    for _ in range(draw(st.integers(1, 3))):
        step = draw(st.integers(0, 9))
        parents = [key for key in world.children if len(key) < 3]
        if step < 4 or not world.values:
            parent = draw(st.sampled_from(parents))
            kind = KINDS[len(parent) + 1]
            key: Any = kind(*parent, draw(st.sampled_from(["a", "b", "c", "d"])))
            # A key that went in this very tick comes back in the next one.
            if key not in world.values and key not in before.values:
                others = [None, *world.children[parent]] if parent else [None]
                world.insert(key, draw(st.sampled_from(others)), draw(st.integers(0, 9)))
            continue
        key = draw(st.sampled_from(sorted(world.values)))
        if step == 4:
            world.remove(key)
        elif step == 5 and len(key) > 1:
            others = [other for other in world.children[key[:-1]] if other != key]
            world.insert(key, draw(st.sampled_from([None, *others])))
            moved.add(key)
        elif step == 6:
            world.values[key] += 1
        elif len(key) == 3:
            field = TextField(key, draw(st.sampled_from(["text", "input"])))
            old = world.texts.get(field, "")
            start = len(old) if step == 7 else draw(st.integers(0, len(old)))
            text = old[:start] + draw(st.text("xy", max_size=3))
            if text != old:
                world.texts[field] = text
    return difference(before, world, moved, version)


def difference(before: World, after: World, moved: set[Key], version: int) -> ChangeSet:
    gone = [key for key in before.values if key not in after.values]
    added = [key for key in after.values if key not in before.values]
    moved = {key for key in moved if key in before.values and key in after.values}
    edits = {}
    for field, text in after.texts.items():
        old = before.texts.get(field, "")
        start = 0
        while start < min(len(old), len(text)) and old[start] == text[start]:
            start += 1
        if text != old:
            edits[field] = Edit(start, text[start:], start < len(old))
    return ChangeSet(
        version=version,
        added=after.locate(added, moved),
        changed=tuple(
            key
            for key in before.values
            if after.values.get(key, before.values[key]) != before.values[key]
        ),
        removed=tuple(key for key in gone if key[:-1] not in [tuple(other) for other in gone]),
        moved=after.locate(moved, ()),
        text=edits,
    )


class TestMerging:
    @given(st.data())
    def test_applying_the_merged_one_is_applying_all_in_order(self, data: st.DataObject) -> None:
        store, each, late = World(), World(), World()
        merged = MergedChanges()
        for version in range(1, data.draw(st.integers(2, 12))):
            changes = data.draw(ticks(store, version))
            each.hear(changes, store)
            assert each == store
            merged.add(changes)
            if data.draw(st.integers(0, 3)) == 0:
                late.hear(merged.take(store.locate), store)
                assert late == store
                assert merged.size == 0
        if merged.last is not None:
            late.hear(merged.take(store.locate), store)
        assert late == store

    @given(st.data())
    def test_what_came_and_went_while_it_waited_is_not_told(self, data: st.DataObject) -> None:
        store = World()
        start = {}
        merged = MergedChanges()
        for version in range(1, 8):
            changes = data.draw(ticks(store, version))
            if version == 3:
                start = dict(store.values)
            elif version > 3:
                merged.add(changes)
        told = merged.take(store.locate)
        for key, _ in told.added:
            assert key in store.values
        for key in (*told.changed, *(place.key for place in told.moved)):
            assert key in store.values
            assert key in start
        assert {field.key for field in told.text} <= set(store.values)
        assert set(told.removed) <= set(start)

    def test_an_append_after_an_append_is_an_append(self) -> None:
        assert merged_edit(Edit(5, "ab", False), Edit(7, "c", False)) == Edit(5, "abc", False)

    def test_a_cut_of_what_nobody_saw_is_no_rewrite(self) -> None:
        assert merged_edit(Edit(5, "abc", False), Edit(6, "x", True)) == Edit(5, "ax", False)
        assert merged_edit(Edit(5, "abc", False), Edit(5, "x", True)) == Edit(5, "x", False)

    def test_a_cut_of_what_was_seen_is_a_rewrite_from_there(self) -> None:
        assert merged_edit(Edit(5, "abc", False), Edit(2, "x", True)) == Edit(2, "x", True)

    def test_an_append_that_went_again_is_not_told(self) -> None:
        field = TextField(PartKey("s", "m", 0), "text")
        merged = MergedChanges()
        merged.add(ChangeSet(1, text={field: Edit(5, "abc", False)}))
        merged.add(ChangeSet(2, text={field: Edit(5, "", True)}))
        assert merged.take(World().locate) == ChangeSet(2)

    def test_an_append_after_a_rewrite_is_still_a_rewrite(self) -> None:
        assert merged_edit(Edit(2, "x", True), Edit(3, "y", False)) == Edit(2, "xy", True)

    def test_many_appends_are_joined_once(self) -> None:
        edits = [Edit(place, "x", False) for place in range(1000)]
        assert merged_edit(*edits) == Edit(0, "x" * 1000, False)

    def test_the_places_are_those_of_now(self) -> None:
        # The neighbour that the place was announced with is gone since.
        session, first, last = SessionKey("s"), MessageKey("s", "a"), MessageKey("s", "z")
        store, mirror = World(), World()
        for world in (store, mirror):
            world.insert(session, None)
            world.insert(last, None)
        merged = MergedChanges()
        store.insert(first, last)
        merged.add(ChangeSet(1, added=(Place(first, last),)))
        store.remove(last)
        merged.add(ChangeSet(2, removed=(last,)))
        changes = merged.take(store.locate)
        assert changes.added == (Place(first, None),)
        mirror.hear(changes, store)
        assert mirror == store

    def test_what_was_added_is_not_placed_before_what_moves_too(self) -> None:
        session = SessionKey("s")
        first, moves, last, new = (MessageKey("s", name) for name in "fmln")
        store, mirror = World(), World()
        for world in (store, mirror):
            world.insert(session, None)
            for key in (moves, first, last):
                world.insert(key, None)
        merged = MergedChanges()
        store.insert(moves, last)
        merged.add(ChangeSet(1, moved=(Place(moves, last),)))
        store.insert(new, moves)
        merged.add(ChangeSet(2, added=(Place(new, moves),)))
        changes = merged.take(store.locate)
        assert changes.added == (Place(new, last),)
        mirror.hear(changes, store)
        assert mirror == store

    def test_a_key_that_went_and_came_back_is_removed_and_added(self) -> None:
        store = World()
        session, message = SessionKey("s"), MessageKey("s", "m")
        part = PartKey("s", "m", 0)
        for key in (session, message, part):
            store.insert(key, None)
        merged = MergedChanges()
        merged.add(ChangeSet(1, text={TextField(part, "text"): Edit(3, "old", False)}))
        merged.add(ChangeSet(2, removed=(message,)))
        merged.add(ChangeSet(3, added=(Place(message, None), Place(part, None))))
        merged.add(ChangeSet(4, text={TextField(part, "text"): Edit(0, "new", False)}))
        changes = merged.take(store.locate)
        assert changes.removed == (message,)
        assert [key for key, _ in changes.added] == [message, part]
        assert changes.text == {TextField(part, "text"): Edit(0, "new", False)}

    def test_removing_much_looks_at_what_waits_once(self) -> None:
        looked = 0

        class Counted(tuple):  # type: ignore[type-arg]
            def __getitem__(self, at: Any) -> Any:
                nonlocal looked
                looked += 1
                return super().__getitem__(at)

        merged = MergedChanges()
        keys: list[Any] = [Counted(("s", f"m{number}")) for number in range(200)]
        merged.add(ChangeSet(1, changed=tuple(keys)))
        merged.add(ChangeSet(2, removed=tuple(MessageKey(*key) for key in keys)))
        assert merged.size == 200
        assert looked <= 1000


def merged_edit(*edits: Edit) -> Edit:
    field = TextField(PartKey("s", "m", 0), "text")
    merged = MergedChanges()
    for version, edit in enumerate(edits, start=1):
        merged.add(ChangeSet(version, text={field: edit}))
    assert merged.size == 1
    return merged.take(World().locate).text[field]


class TestResetAndBound:
    @given(st.data())
    def test_a_reset_stands_for_all_before_and_after_it(self, data: st.DataObject) -> None:
        store, mirror = World(), World()
        merged = MergedChanges()
        reset_at = data.draw(st.integers(1, 6))
        for version in range(1, 7):
            merged.add(data.draw(ticks(store, version)))
            if version == reset_at:
                merged.become_reset()
        changes = merged.take(store.locate)
        assert changes.reset
        assert not (changes.added or changes.changed or changes.removed or changes.moved)
        assert not changes.text
        assert changes.version == 6
        mirror.hear(changes, store)
        assert mirror == store

    def test_a_reset_among_those_that_come_is_one(self) -> None:
        merged = MergedChanges()
        merged.add(ChangeSet(1, changed=(SessionKey("s"),)))
        merged.add(ChangeSet(2, reset=True))
        merged.add(ChangeSet(3, changed=(SessionKey("s"),)))
        assert merged.size == 0
        changes = merged.take(World().locate)
        assert changes == ChangeSet(3, reset=True)

    def test_the_size_counts_entries_not_change_sets(self) -> None:
        session, message = SessionKey("s"), MessageKey("s", "m")
        first, second = PartKey("s", "m", 0), PartKey("s", "m", 1)
        merged = MergedChanges()
        assert merged.size == 0
        for version in range(1, 5):  # the same ones again add nothing
            merged.add(
                ChangeSet(
                    version,
                    added=(Place(message, None),),
                    changed=(session,),
                    removed=(PartKey("t", "m", 0),),
                    moved=(Place(first, second),),
                    text={TextField(second, "text"): Edit(version, "x", False)},
                )
            )
            assert merged.size == 5

    def test_a_change_of_what_is_added_is_part_of_adding_it(self) -> None:
        message = MessageKey("s", "m")
        merged = MergedChanges()
        merged.add(ChangeSet(1, added=(Place(message, None),)))
        merged.add(ChangeSet(2, changed=(message,), moved=(Place(message, None),)))
        assert merged.size == 1


class TestTheRest:
    def test_the_last_version_gaps_and_event_id_hold(self) -> None:
        gap = Gap("s", None, None, "hole", ((3, 4),))
        merged = MergedChanges()
        merged.add(ChangeSet(4, changed=(SessionKey("s"),), gaps=(gap,), resume={"eventId": "a"}))
        merged.add(ChangeSet(7, changed=(SessionKey("s"),), resume={"eventId": "b"}))
        changes = merged.take(World().locate)
        assert (changes.version, changes.gaps, dict(changes.resume)) == (7, (), {"eventId": "b"})

    def test_positions_of_all_sessions_on_the_way_are_kept(self) -> None:
        merged = MergedChanges()
        merged.add(ChangeSet(1, resume={"sessions": {"s": 3, "t": 1}}))
        merged.add(ChangeSet(2, resume={"sessions": {"s": 5}, "eventId": "b"}))
        merged.become_reset()
        merged.add(ChangeSet(3, resume={"sessions": {"u": 2}, "eventId": "c"}))
        resume = merged.take(World().locate).resume
        assert {**resume, "sessions": dict(resume["sessions"])} == {
            "sessions": {"s": 5, "t": 1, "u": 2},
            "eventId": "c",
        }

    def test_nothing_of_it_is_left_after_taking(self) -> None:
        merged = MergedChanges()
        merged.add(ChangeSet(1, reset=True, resume={"sessions": {"s": 3}}))
        merged.take(World().locate)
        assert merged.last is None
        assert not merged.reset
        merged.add(ChangeSet(2, changed=(SessionKey("s"),)))
        assert merged.take(World().locate) == ChangeSet(2, changed=(SessionKey("s"),))

    @pytest.mark.parametrize(
        "members",
        [
            {"added": (Place(SessionKey("s"), None),)},
            {"changed": (SessionKey("s"),)},
            {"removed": (SessionKey("s"),)},
            {"moved": (Place(MessageKey("s", "m"), None),)},
            {"text": {TextField(PartKey("s", "m", 0), "text"): Edit(0, "x", False)}},
            {"reset": True},
        ],
    )
    def test_a_change_set_is_true_when_a_reader_sees_a_difference(
        self, members: Mapping[str, Any]
    ) -> None:
        assert ChangeSet(1, **members)
        assert not ChangeSet(1, resume={"eventId": "a"}, gaps=(Gap("s", None, None, "hole"),))

    def test_a_change_set_cannot_be_changed(self) -> None:
        changes = ChangeSet(1)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            changes.version = 2  # type: ignore[misc]
        with pytest.raises(TypeError):
            changes.text["x"] = 1  # type: ignore[index]

    @given(st.text(max_size=8), st.integers(0, 8), st.text(max_size=8))
    def test_an_edit_keeps_the_start_and_appends(self, before: str, start: int, text: str) -> None:
        assert Edit(start, text, start < len(before)).apply(before) == before[:start] + text
