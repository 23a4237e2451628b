"""Replaying recorded logs as live streams: the public names, and nothing else.

`serving` runs the server in a thread, for tests and programs; `streamstore serve` is the same as a
command. Extra `serve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .faults import FAULTS, Fault, Faults
    from .running import serving

__all__ = ["FAULTS", "Fault", "Faults", "serving"]


if not TYPE_CHECKING:  # whose module has all names, so that a wrong one is none of the package's

    def __getattr__(name: str) -> Any:
        # Loaded when asked for: every command's start adds the arguments of this one.
        if name == "serving":
            from .running import serving

            return serving
        if name in ("FAULTS", "Fault", "Faults"):
            from . import faults

            return getattr(faults, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
