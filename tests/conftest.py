"""Hypothesis profiles and the fixtures that every test file may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

ROOT = Path(__file__).resolve().parent.parent

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
_PHASES = tuple(
    phase for phase in Phase if phase is not Phase.explain
)  # which runs again and again
# `ci` finds the same examples on every machine and writes nothing down. No profile has a deadline:
# a law says nothing about time, and a busy machine is no bug.
settings.register_profile(
    "ci",
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    phases=_PHASES,
    suppress_health_check=_SLOW,
)
settings.register_profile(
    "dev", max_examples=30, deadline=None, phases=_PHASES, suppress_health_check=_SLOW
)
settings.register_profile(
    "thorough",
    max_examples=1000,
    deadline=None,
    print_blob=True,
    phases=_PHASES,
    suppress_health_check=_SLOW,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def corpora() -> Path | None:
    """The folder of recorded streams, None where this checkout has no such neighbour."""
    named = os.environ.get("STREAMSTORE_CORPORA")
    if named:
        return Path(named)
    beside = ROOT.parent / "shared" / "corpora"
    return beside if beside.is_dir() else None
