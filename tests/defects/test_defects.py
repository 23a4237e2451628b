"""The list of planted defects stays true: each can be planted, and a few are, and are caught."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .planting import copy_package, defects, plant, where_from

DEFECTS = defects()
#: Quick ones of three kinds: a verdict, bytes, an eviction.
TRIED = (
    "an operation that waits is held twice",
    "an over-long line is kept until it ends",
    "the protected session is evicted",
)


def test_there_are_enough_and_each_says_what_it_breaks() -> None:
    assert len(DEFECTS) >= 30
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
    assert len({defect.file for defect in DEFECTS}) >= 15
    assert all(defect.breaks and defect.tests for defect in DEFECTS)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_its_old_text_stands_exactly_once_in_the_library(defect) -> None:  # type: ignore[no-untyped-def]
    assert defect.problem is None


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_the_planted_text_is_python(defect) -> None:  # type: ignore[no-untyped-def]
    from .planting import PACKAGE

    text = (PACKAGE / defect.file).read_text(encoding="utf-8")
    compile(text.replace(defect.old, defect.new), defect.file, "exec")


def test_tests_run_on_the_copy(tmp_path: Path) -> None:
    package = copy_package(tmp_path)
    assert where_from(tmp_path) == str(package / "__init__.py")


@pytest.mark.skipif(sys.platform == "win32", reason="paths of copies differ there")
@pytest.mark.parametrize("name", TRIED)
def test_a_planted_defect_is_caught(name: str) -> None:
    (defect,) = [defect for defect in DEFECTS if defect.name == name]
    outcome = plant(defect)
    assert outcome.caught, outcome.by
