"""What `--faults` can do to a stream, and to which streams: a value, and a table of protocols.

A fault is served only where a client can recover from it by the protocol's own means; what it
would lose for good is refused when the server is started. Pure: knows declarations of protocols
and wire objects; no log, no byte and no chance.

| fault | what happens | served for |
| --- | --- | --- |
| `disconnect` | the connection breaks after a random byte, also in the middle of an event | all |
| `stall` | no byte for `stall_ms`, also in the middle of an event | all |
| `dup` | up to `STRETCH` events are sent again | streams whose events are told by seq or id |
| `drop` | an event is lost, then the connection breaks: see `Faults` | resume, or REST state |
| `reorder` | up to `STRETCH` deltas come in another order | native logs with seq |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import attrs

from ..adapters.base import Declaration
from ..errors import CallerError
from ..keys import is_id, is_number

Fault: TypeAlias = Literal["dup", "drop", "reorder", "disconnect", "stall"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
#: Events that one fault repeats, mixes up, or lets pass behind a lost one, at most.
STRETCH = 5

_BY_NAME: Mapping[str, Fault] = {kind: kind for kind in FAULTS}

#: Where a protocol numbers its events: members of the wire object, or of one of its members.
_NUMBERS = ("seq", "sequence", "sequence_number")


@attrs.frozen(kw_only=True)
class Faults:
    """Faults on demand: which, how often, and the seed they are drawn from.

    Each connection draws from a `random.Random` of its own, made of `seed`, the replay's name and
    the number of the connection: the same requests in the same order meet the same faults.

    What `drop` means follows from how a client of the protocol recovers:

    - by event id (`Last-Event-ID`): the event is left out, up to `STRETCH` of the next ones follow
      without an id, and the connection breaks. The id in force lies before the lost event, so the
      next connection brings it. Where that could show (events without seq, or a log with errors
      that nothing numbers) none follows: the connection breaks in front of the event.
    - by fetching a state (opencode): the connection breaks before the event, and it and up to
      `STRETCH` more happen while nobody listens. Only a resync brings them.

    Attributes:
        kinds: what may happen.
        seed: chance.
        every: events from one fault of a connection to its next, on average.
        stall_ms: how long a stall lasts; by default longer than clients' watchdogs wait.
    """

    kinds: frozenset[Fault]
    seed: int = 0
    every: int = 50
    stall_ms: float = 60_000

    def __attrs_post_init__(self) -> None:
        if self.every < 1:
            raise CallerError(f"faults need every= at least 1, not {self.every}")
        if not self.stall_ms > 0:
            raise CallerError("faults need stall_ms= above 0")

    @classmethod
    def of(
        cls,
        names: str | Iterable[str],
        *,
        seed: int = 0,
        every: int = 50,
        stall_ms: float = 60_000,
    ) -> Faults:
        """From names, as the command line has them: `dup,disconnect`.

        >>> sorted(Faults.of("dup, disconnect", seed=3).kinds)
        ['disconnect', 'dup']

        Raises:
            CallerError: a name is none, or a number is not above 0.
        """
        given = names.split(",") if isinstance(names, str) else names
        found: set[Fault] = set()
        for name in given:
            kind = _BY_NAME.get(name.strip())
            if kind is None:
                raise CallerError(f"no fault is named {name.strip()!r}; there are: {_all()}")
            found.add(kind)
        return cls(kinds=frozenset(found), seed=seed, every=every, stall_ms=stall_ms)


def _all() -> str:
    return ", ".join(FAULTS)


def require(faults: Faults, declaration: Declaration, sequencing: str, resumes: bool) -> None:
    """Raise `CallerError` where a client could not recover from one of the faults.

    `sequencing` is the log's own, `resumes` whether this log is served with event ids.
    """
    possible: set[Fault] = {"disconnect", "stall"}
    if sequencing != "none" or declaration.ids_unique:
        possible.add("dup")
    if resumes or declaration.name == "opencode":
        possible.add("drop")
    if declaration.name == "native" and sequencing != "none":
        possible.add("reorder")
    impossible = [kind for kind in FAULTS if kind in faults.kinds and kind not in possible]
    if impossible:
        served = ", ".join(kind for kind in FAULTS if kind in possible)
        raise CallerError(
            f"no client of {declaration.name} could recover from {', '.join(impossible)}: its "
            f"events say nothing by which to tell; for this log there are: {served}"
        )


class Facts(NamedTuple):
    """What may be done to one event without loss."""

    repeatable: bool = False
    """Sent again it is told as a duplicate."""
    movable: bool = False
    """Its seq gives its place, whenever it comes."""
    missable: bool = False
    """It may be left out while later ones are sent: who resumes before it gets it."""


def facts_of(
    declaration: Declaration, sequencing: str, adds_up: bool = False
) -> Callable[[Any], Facts]:
    """The function that tells the facts of a wire object of one log.

    `adds_up`: the log has events of which a repetition would show, see `adds_up`. Where something
    is missing of a block, its client resumes behind what it has of that block, which may be long
    before: nothing is left out of such a log.
    """
    if declaration.name == "native":
        return lambda wire: _native(wire, sequencing, adds_up)
    if declaration.name == "opencode":
        return _opencode
    if declaration.sequencing == "none" and not declaration.ids_unique:
        return lambda wire: Facts()
    return lambda wire: Facts(repeatable=_numbered(wire))


def adds_up(wire: Any) -> bool:
    """Whether a native event, sent again, counts again: nothing tells it, and it adds to others.

    >>> adds_up({"type": "session.error", "error": {}}), adds_up({"type": "session.status"})
    (True, False)
    """
    if not isinstance(wire, dict) or is_number(wire.get("seq")) or is_id(wire.get("id")):
        return False
    kind = wire.get("type")
    return kind == "session.error" or (kind == "session.state" and "patch" in wire)


def _native(wire: Any, sequencing: str, adding: bool) -> Facts:
    if not isinstance(wire, dict):
        return Facts()
    kind = wire.get("type")
    if type(kind) is not str or kind.startswith(("stream.", "permission.", "question.")):
        return Facts()
    if sequencing == "none":
        return Facts(repeatable=is_id(wire.get("id")))
    if not is_number(wire.get("seq")):
        return Facts(repeatable=is_id(wire.get("id")))
    if sequencing == "block" and not kind.startswith("block."):
        return Facts()
    delta = kind == "block.delta"
    return Facts(True, delta, delta and not adding)


def _opencode(wire: Any) -> Facts:
    if not isinstance(wire, dict):
        return Facts()
    wire = wire.get("payload", wire)
    return Facts(repeatable=isinstance(wire, dict) and is_id(wire.get("id")))


def _numbered(wire: Any) -> bool:
    if not isinstance(wire, dict):
        return False
    inner = [value for value in wire.values() if isinstance(value, dict)]
    return any(is_number(found.get(name)) for found in (wire, *inner) for name in _NUMBERS)
