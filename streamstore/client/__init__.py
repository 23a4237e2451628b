"""Following live servers: the public names, and nothing else.

`connect` follows any event stream, `connect_blocking` does so from a thread, `OpencodeClient`
knows opencode end to end. All network I/O of the library is in this package.
"""

from __future__ import annotations

from .blocking import BlockingConnection, connect_blocking
from .connecting import Options, connect
from .connection import Connection
from .faults import (
    CertificateRefused,
    ConnectionLost,
    PoisonedStream,
    RequestFailed,
    SnapshotRefused,
    StreamRefused,
    StreamSilent,
    TooManyRedirects,
)
from .http import HttpxTransport
from .opencode import OpencodeClient
from .owning import Owner
from .policy import Policy
from .resuming import AfterSeq, LastEventId, Resume, StartingAfter
from .resync import Fetch, Read
from .status import ConnectionStatus
from .transport import AsyncioClock, Clock, Request, Response, Transport

__all__ = [
    "AfterSeq",
    "AsyncioClock",
    "BlockingConnection",
    "CertificateRefused",
    "Clock",
    "Connection",
    "ConnectionLost",
    "ConnectionStatus",
    "Fetch",
    "HttpxTransport",
    "LastEventId",
    "OpencodeClient",
    "Options",
    "Owner",
    "Policy",
    "PoisonedStream",
    "Read",
    "Request",
    "RequestFailed",
    "Response",
    "Resume",
    "SnapshotRefused",
    "StartingAfter",
    "StreamRefused",
    "StreamSilent",
    "TooManyRedirects",
    "Transport",
    "connect",
    "connect_blocking",
]
