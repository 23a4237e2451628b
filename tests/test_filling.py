"""Values that are filled are those that the constructor makes, and as frozen."""

from __future__ import annotations

import copy
import pickle
import weakref
from typing import Any

import attrs
import pytest

from streamstore import ChangeSet
from streamstore.filling import filled
from streamstore.model import Part
from streamstore.text import GrowingText, TextView

VIEW = TextView(GrowingText("ab"), 2)
PART = ("s", "m", 0, "text", "open", VIEW, 1.5, True, False, {}, {}, "open")
CHANGES = (7, (), (("s",),), (), (), {}, False, (), {"eventId": "3"})


@pytest.mark.parametrize(("cls", "members"), [(Part, PART), (ChangeSet, CHANGES)])
def test_a_filled_value_is_the_one_that_the_constructor_makes(cls: Any, members: Any) -> None:
    made, value = cls(*members), filled(cls)(*members)
    assert type(value) is cls
    assert attrs.asdict(value, recurse=False) == attrs.asdict(made, recurse=False)
    assert repr(value) == repr(made)
    assert weakref.ref(value)() is value
    assert attrs.evolve(value) is not value


@pytest.mark.parametrize(("cls", "members"), [(Part, PART), (ChangeSet, CHANGES)])
def test_a_filled_value_is_frozen(cls: Any, members: Any) -> None:
    value = filled(cls)(*members)
    for member in attrs.fields(cls):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, member.name, None)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(value, member.name)


def test_a_filled_change_set_can_be_copied_pickled_and_compared() -> None:
    made, value = ChangeSet(*CHANGES), filled(ChangeSet)(*CHANGES)
    assert value == made
    assert copy.copy(value) == made
    assert pickle.loads(pickle.dumps(value)) == made


def test_every_member_is_needed() -> None:
    with pytest.raises(TypeError):
        filled(ChangeSet)(*CHANGES[:-1])
