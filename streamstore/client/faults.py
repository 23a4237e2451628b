"""Why a connection ended, or an attempt failed: each error says whose fault it is.

`RemoteError` all of them: what the other side did. Knows no transport and no store.
"""

from __future__ import annotations

from ..errors import RemoteError


class ConnectionLost(RemoteError):
    """The network failed, or the server broke off; a new attempt may help.

    `sent` is False where the request surely never reached the server, so that even a request
    that must not be made twice may be made again. `after_ms` is how long the server asks to be
    left alone, None where it does not say. Transports raise it, and functions that fetch a state.
    """

    def __init__(self, message: str, *, sent: bool = True, after_ms: float | None = None) -> None:
        super().__init__(message)
        self.sent = sent
        self.after_ms = after_ms


class StreamSilent(ConnectionLost):
    """No byte came for longer than `Policy.limit_ms`; the connection counts as dead."""


class CertificateRefused(ConnectionLost):
    """The certificate of a server, or of a proxy before it, does not verify.

    It ends a connection that has had no answer of that server and has never been open: waiting
    makes no such certificate good. Later it is a drop like any other, since one that is being
    replaced passes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, sent=False)


class StreamRefused(RemoteError):
    """The server answered, and what it said ends the connection: asking again cannot help.

    `status` is the HTTP status. Where it was 200, the answer was no event stream, or
    in an encoding that cannot be decoded, or not in the one that it names.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class TooManyRedirects(StreamRefused):
    """More than `Policy.redirects` redirects in a row."""


class PoisonedStream(RemoteError):
    """The same thing ended the connection, or the resync, `Policy.same_place` times in a row.

    The message says where: behind which position, after how many events and bytes; of a resync,
    what the store refused.
    """


class SnapshotRefused(RemoteError):
    """A fetched state is none that the store takes, or leaves unrepaired what it was fetched for.

    `ConnectionStatus.resync_error` says so, and the state is fetched again. It ends no connection:
    `Policy.same_place` refused states in a row do, as `PoisonedStream`.
    """


class RequestFailed(RemoteError):
    """The server refused a request beside the stream; `status` is what it said."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
