"""Normalized store, idempotent reducer and coalescer for chat and agent streams.

`StreamStore` is the way in. Canonical events are in `streamstore.events`, schedulers in
`streamstore.ticks`, pure functions over reads in `streamstore.insights`.
"""

from __future__ import annotations

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
from .keys import MessageKey, PartKey, SessionKey
from .limits import Limits
from .model import Message, Part, Request, Session, Status, ToolState
from .pipeline import Health, Stream, StreamStore
from .positions import Position
from .subscribers import Present, Subscription
from .verdicts import Verdict

__all__ = [
    "CallerError",
    "ChangeSet",
    "Edit",
    "Gap",
    "Health",
    "InboxFull",
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
