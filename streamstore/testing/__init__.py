"""For the tests of programs that use streamstore: replay a log, disturb it, hold it to the laws.

- logs: `Log` reads one or makes one of objects, `sample` makes one up
- stores: `replay` feeds a log to a store; `ManualTicks` is its clock; `FakeStream` is a network
- laws: `disturb` changes a log so that nothing must change; `assert_laws` and `check_laws` hold a
  store to the laws of `docs/laws.md`, L1 to L6, and give a short counterexample
- subscribers: `Recorder` writes down what one saw; `transcript` is what a reader gets, as text
- `streamstore.testing.strategies`: logs for hypothesis

Nothing here reads a clock or draws from anything but a seed.
"""

from __future__ import annotations

from ..ticks import ManualTicks
from .disturbing import DISTURBANCES, Disturbance, disturb
from .faking import FakeStream
from .laws import LAWS, Counterexample, Report, assert_laws, check_laws
from .recorded import Framing, Log, Unreadable
from .recorder import Recorder
from .replaying import replay
from .samples import sample
from .transcripts import transcript

__all__ = [
    "DISTURBANCES",
    "LAWS",
    "Counterexample",
    "Disturbance",
    "FakeStream",
    "Framing",
    "Log",
    "ManualTicks",
    "Recorder",
    "Report",
    "Unreadable",
    "assert_laws",
    "check_laws",
    "disturb",
    "replay",
    "sample",
    "transcript",
]
