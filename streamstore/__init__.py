"""Normalized store, idempotent reducer and coalescer for chat and agent streams.

`StreamStore` is the way in. Canonical events are in `streamstore.events`, schedulers in
`streamstore.ticks`, pure functions over reads in `streamstore.insights`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .changes import ChangeSet, Edit, Gap, Place, TextField
from .errors import (
    CallerError,
    InboxFull,
    LimitError,
    MalformedEvent,
    RemoteError,
    StreamStoreError,
    UnknownEvent,
    UnknownProtocol,
    UnsupportedState,
)
from .iterating import Changes
from .keys import BlockIndex, Key, MessageKey, PartKey, SessionKey
from .limits import Limits
from .model import Delivery, Message, Part, Request, Sequencing, Session, Status, ToolState
from .pipeline import Health, Stream, StreamStore
from .positions import Position
from .subscribers import Present, Subscription
from .verdicts import Verdict

#: The version that is installed; `0+unknown` where the package is imported and not installed.
__version__: str

__all__ = [
    "BlockIndex",
    "CallerError",
    "ChangeSet",
    "Changes",
    "Delivery",
    "Edit",
    "Gap",
    "Health",
    "InboxFull",
    "Key",
    "LimitError",
    "MalformedEvent",
    "Message",
    "MessageKey",
    "Part",
    "PartKey",
    "Place",
    "Position",
    "Present",
    "RemoteError",
    "Request",
    "Sequencing",
    "Session",
    "SessionKey",
    "Status",
    "Stream",
    "StreamStore",
    "StreamStoreError",
    "Subscription",
    "TextField",
    "ToolState",
    "UnknownEvent",
    "UnknownProtocol",
    "UnsupportedState",
    "Verdict",
    "Limits",
]

if not TYPE_CHECKING:  # whose module has all names, so that a wrong one is none of the package's

    def __getattr__(name: str) -> object:
        # Read when asked for: it takes a search for a file.
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import metadata

        try:
            return metadata.version("chat-streamstore")
        except metadata.PackageNotFoundError:
            return "0+unknown"
