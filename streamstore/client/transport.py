"""What a connection needs of a network and of a clock: a few small protocols.

`HttpxTransport` (`http.py`) is the one for real sockets; tests bring their own. Knows no store, no
policy and no event.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

import attrs

from ..errors import CallerError
from ..model import brief

#: RFC 9110, 5.1 and 5.5: a token; no line break in a value, and no blank around it. Half a
#: surrogate pair has no bytes.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?![ \t])[^\x00\n-\r\ud800-\udfff]*(?<![ \t])|")


@attrs.frozen(kw_only=True)
class Request:
    """One HTTP request.

    Attributes:
        method: upper case.
        url: absolute, `http` or `https`.
        headers: names in lower case. Their values are not in its `repr`: they may be secret.
        body: None for none.
        credentials: False once a redirect left the origin that the credentials are for: the
            transport must not add any of its own either.
    """

    method: str = "GET"
    url: str
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=lambda headers: repr(list(headers)))
    body: bytes | None = attrs.field(default=None, repr=brief)
    credentials: bool = True


def is_name(text: str) -> bool:
    """Whether a text can be a header's name, or a method.

    >>> is_name("x-api-key"), is_name("G T")
    (True, False)
    """
    return _NAME.fullmatch(text) is not None


def is_value(text: str) -> bool:
    r"""Whether a text can be sent as a header's value as it is.

    >>> is_value("a b"), is_value("7 "), is_value("7\f8")
    (True, False, False)
    """
    return _VALUE.fullmatch(text) is not None


def headers_of(given: Mapping[str, Any] | None) -> dict[str, str]:
    """What a caller gave as headers, with names in lower case.

    >>> headers_of({"Authorization": "Bearer abc"})
    {'authorization': 'Bearer abc'}

    Raises:
        CallerError: that cannot be sent. It does not say what the value was.
    """
    # A framework's own headers need not be a `Mapping`.
    if given is not None and (
        isinstance(given, type) or not callable(getattr(given, "items", None))
    ):
        kind = repr(given) if isinstance(given, type) else type(given).__name__
        raise CallerError(f"headers= takes a mapping of names to values, not {kind:.80}")
    headers = {}
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not is_name(name):
            raise CallerError(f"{name!r:.80} is no name of a header")
        if not isinstance(value, str):
            raise CallerError(f"the header {name!r:.80} must be a string")
        if not is_value(value):
            raise CallerError(
                f"the header {name!r:.80} has a line break in its value, or blanks around it, or "
                "half a surrogate pair"
            )
        headers[name.lower()] = value
    return headers


class Response(Protocol):
    """One answer: its head is here, its body may still come."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in lower case; several of one name joined by a comma."""
        ...

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, without its transfer and content encodings; once.

        Ends where the body ends.

        Raises:
            ConnectionLost: it broke off.
            StreamRefused: the body of a good answer is not in the encoding that its head names.
        """
        ...

    async def aclose(self) -> None:
        """Give the connection up, whatever is left of the body; again does nothing."""
        ...


class Transport(Protocol):
    """Makes one request at a time or several; follows no redirect, repeats nothing."""

    async def open(self, request: Request) -> Response:
        """Send a request and wait for the head of its answer.

        Cancelled, it leaves no socket behind.

        Raises:
            ConnectionLost: there is no answer; `sent` says whether the server may have seen it.
            CertificateRefused: a certificate does not verify.
            StreamRefused: the body of a good answer is in an encoding that cannot be decoded.
            CallerError: the request itself is wrong.
        """
        ...

    async def aclose(self) -> None:
        """Close what is kept open between requests; again does nothing."""
        ...


class Clock(Protocol):
    """Time, so that tests can have their own. All in ms."""

    def now(self) -> float:
        """Ms on a clock that never goes back."""
        ...

    def wall(self) -> float:
        """Ms since the epoch, for dates that servers name."""
        ...

    async def sleep(self, ms: float) -> None:
        """Come back after so many ms."""
        ...


class AsyncioClock:
    """The time of the running event loop, and the system's date."""

    def now(self) -> float:
        """Ms on the loop's clock."""
        import asyncio

        return asyncio.get_running_loop().time() * 1000

    def wall(self) -> float:
        """Ms since the epoch."""
        import time

        return time.time() * 1000

    async def sleep(self, ms: float) -> None:
        """Come back after so many ms."""
        import asyncio

        await asyncio.sleep(ms / 1000)
