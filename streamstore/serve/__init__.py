"""Replaying recorded logs as live streams: the public names, and nothing else.

`serving` runs the server in a thread, for tests and programs; `streamstore serve` is the same as a
command. Extra `serve`.
"""

from __future__ import annotations

from .faults import FAULTS, Faults
from .running import serving

__all__ = ["FAULTS", "Faults", "serving"]
