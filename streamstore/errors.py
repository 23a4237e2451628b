"""Errors of the library: each says whose fault it is and what to do next.

Raised for the caller's misuse and for states that cannot go on; what a stream gets wrong is a
verdict, not an exception. This file knows no stage, no protocol and no I/O.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Blame = Literal["remote", "caller", "limit", "disk"]


class StreamStoreError(Exception):
    """Base of the library's own errors; `blame` says whose fault it is.

    Beside them there are `ValueError` for a bound that is none (`Limits`), `TypeError` where
    somebody changes a value or copies a store, and `FileNotFoundError` where a file or a folder is
    not there. Each can be copied and pickled with all it says, as what a worker process raised is.
    """

    blame: ClassVar[Blame] = "caller"

    def __reduce__(self) -> tuple[Any, ...]:
        # What `Exception` has calls the class with the message alone, which some cannot take.
        return (_again, (type(self), self.args), self.__dict__)


def _again(cls: type[StreamStoreError], args: tuple[Any, ...]) -> StreamStoreError:
    return cls.__new__(cls, *args)


class CallerError(StreamStoreError):
    """The program used the library in a way that cannot work; the message says what to change."""

    blame = "caller"


class MissingExtra(CallerError):
    """What an event says needs a package that is not installed; the message says how to install it.

    `session_id`: whose state lacks it from then on, None where the event names none.
    """

    def __init__(self, message: str, session_id: str | None = None) -> None:
        super().__init__(message)
        self.session_id = session_id


class RemoteError(StreamStoreError):
    """What the other side sent cannot be used; the message says what was seen."""

    blame = "remote"


class LimitError(StreamStoreError):
    """A bound of `Limits` was reached and its policy is to refuse; nothing was taken in."""

    blame = "limit"


class MalformedEvent(RemoteError):
    """An event breaks the vocabulary: `field` names the member, `problem` says what is wrong.

    `field` is a dotted path from the event's root (`messages.0.parts.2.seq`), "" for the event
    itself.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


class UnknownProtocol(RemoteError):
    """No adapter recognises a stream, or none has the name that was asked for."""


class ProtocolStopped(RemoteError):
    """A strict stream met what its official client refuses; what came before stays."""


class RepeatedEvent(RemoteError):
    """What the wire itself numbers was sent again; a duplicate, nothing to apply."""


class InboxFull(LimitError):
    """`feed_threadsafe` holds as many bytes as `Limits.inbox_bytes` allows; these were not taken.

    The caller keeps the bytes: wait for the owner to drain, then feed them again; in pieces, where
    they are more than the bound by themselves.
    """


class UnsupportedState(RemoteError):
    """A saved state has a version or a shape that this library does not read."""


class UnknownEvent(RemoteError):
    """An event has a type that the vocabulary does not know; `type` is what it said.

    `session_id`, `seq` and `generation` are its place, where it says one: in a `session` stream its
    number is received and leaves no hole, or a reconnect would bring it again for ever.
    """

    def __init__(
        self,
        type: str,
        *,
        session_id: str | None = None,
        seq: int | None = None,
        generation: str | None = None,
    ) -> None:
        super().__init__(f"unknown event type {type[:80]!r}")
        self.type = type
        self.session_id, self.seq, self.generation = session_id, seq, generation
