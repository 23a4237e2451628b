"""The application of `watch`, where what its screen stands on is installed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..errors import CallerError
from .inspector import Inspector
from .playing import Source
from .timeline import Clock

if TYPE_CHECKING:
    from textual.app import App

#: Drawings a second.
FRAMES = 20


def application(
    inspector: Inspector,
    source: Source,
    name: str,
    *,
    clock: Clock,
    begin: Callable[[], object] | None = None,
    finish: Callable[[], Awaitable[object]] | None = None,
    frames: float = FRAMES,
) -> App[None]:
    """The application that watches; `run()` it.

    Args:
        inspector, source: what is watched, and where its events come from.
        name: what is watched, for the first line.
        clock: ms, for what is due.
        begin, finish: called when its event loop runs, and before that ends.
        frames: drawings a second; 0 for none but those that `pump()` asks for.

    Raises:
        CallerError: textual is not installed.
    """
    try:
        from .screen.watch import Watch
    except ImportError:
        raise CallerError("watching needs textual: pip install 'chat-streamstore[cli]'") from None
    return Watch(inspector, source, name, clock=clock, begin=begin, finish=finish, frames=frames)
