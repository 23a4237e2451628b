"""Recording a live stream: what arrives on the wire, into a durable log, through every drop.

The public names and nothing else. `Recording` is one recording from its first request to its last
sync, `Standing` how it is doing; `command.py` is `streamstore record`. Names are loaded when they
are asked for: every command's start adds the arguments of this one, and needs no client for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .recorder import Recording
    from .standing import Standing

__all__ = ["Recording", "Standing"]


if not TYPE_CHECKING:  # whose module has all names, so that a wrong one is none of the package's

    def __getattr__(name: str) -> Any:
        if name == "Recording":
            from .recorder import Recording

            return Recording
        if name == "Standing":
            from .standing import Standing

            return Standing
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
