"""Logs into a store: a stream for each connection, and fetched states where they belong.

Also says when a log is none, or of another protocol than was said: the store itself only counts,
because a live stream may be wrong for a while. Knows logs and the store's doors; not what is done
with the state afterwards, nor at what pace events come in.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, TypeAlias

import attrs

from .decoding import decode_json
from .errors import CallerError, MalformedEvent, MissingExtra, UnknownProtocol
from .jsonpatch import MISSING
from .logs import NO_EVENTS, STDIN, Log, TimedEvent, UnreadableLog
from .model import Sequencing
from .pipeline import Policy, Stream, StreamStore
from .protocols import adapter_named, adapters, detect
from .verdicts import MISSING_EXTRA

#: Feeds one log into its stream.
FeedLog: TypeAlias = Callable[[Stream, Log], object]
#: Takes a line about what a durable log lost.
Tell: TypeAlias = Callable[[str], object]

#: What is said of a log that is one array.
ARRAY = "an array of events: a log has each on a line of its own, as jq -c '.[]' writes them"
#: What is said of a log whose last event has begun and not ended.
BREAKS_OFF = "its last event breaks off and is left out"
_UNUSABLE = frozenset(("malformed", "unknown"))


@attrs.frozen
class Connection:
    """One connection of a recording: the states read while it was open, and its log.

    Attributes:
        before: states that were fetched right after it was opened; they go in before its events.
        log: its events, None where only states were given.
        after: states that were fetched when it had fallen quiet.
    """

    before: tuple[Log, ...]
    log: Log | None
    after: tuple[Log, ...] = ()

    @property
    def name(self) -> str:
        """Name of its log, with its number where that holds several; or of its last state."""
        return (self.log or self.before[-1]).label


def connections(names: Iterable[str], tell: Tell | None = None) -> tuple[Connection, ...]:
    """The connections that logs and states stand for, in order.

    Each log is a connection, and a durable log as many as it recorded. A state belongs to that of
    the *next* log: a client opens its stream first and fetches then, so that nothing falls between
    the two. Behind the last log it belongs to that one.

    >>> [(c.name, [s.name for s in c.before]) for c in connections(["a.sse", "s.json", "b.sse"])]
    [('a.sse', []), ('b.sse', ['s.json'])]

    `tell` gets one line for each place where a durable log is damaged; without it damage is an
    error. Which connections a log that comes once holds (standard input) shows while it is read:
    see `arriving`. Cost: reads durable logs once.

    Raises:
        CallerError: there is no name, or standard input is named twice.
        UnreadableLog: a durable log cannot be read, or is damaged.
    """
    logs = [Log(name) for name in names]
    if not logs:
        raise CallerError("name a log, or - for standard input")
    if [log.name for log in logs].count(STDIN) > 1:
        raise CallerError("standard input (-) can be read only once")
    found: list[Connection] = []
    waiting: list[Log] = []
    for log in logs:
        if log.is_state:
            waiting.append(log)
            continue
        for recorded in log.recorded(tell):
            found.append(Connection(tuple(waiting), recorded))
            waiting = []
    if waiting and found:
        found[-1] = attrs.evolve(found[-1], after=tuple(waiting))
    elif waiting:
        found.append(Connection(tuple(waiting), None))
    return tuple(found)


def arriving(recording: Iterable[Connection], tell: Tell | None = None) -> Iterator[Connection]:
    """All connections, also those that only show while a log that comes once is read.

    Each has to be taken in before the next is asked for. `tell` as for `connections`.
    """
    for connection in recording:
        if connection.log is None or not connection.log.comes_once:
            yield connection
            continue
        before = connection.before
        last: Connection | None = None
        for log in connection.log.arriving(tell):
            if connection.after and last is not None:
                problem = "several connections came: for a state behind them give it as a file"
                raise UnreadableLog(connection.name, problem)
            last = Connection(before, log, connection.after)
            yield last
            before = ()


def feed_all(
    store: StreamStore,
    recording: Iterable[Connection],
    protocol: str = "auto",
    sequencing: Sequencing | None = None,
    feed: FeedLog | None = None,
    tell: Tell | None = None,
    policy: Policy = "lenient",
) -> None:
    """Feed every connection, one after the other, each ended before the next is opened.

    With `auto` the first connection shows the protocol, and the others have the same. What a log
    gets wrong in single events is counted by the store. `feed` brings a log's bytes in; by default
    as they are read. `tell` as for `connections`, and gets a line where the last event of a log is
    cut off; `policy` as for `StreamStore.open`.

    Raises:
        UnreadableLog: a log cannot be read, none of its events is of the protocol, or nothing
            holds an event at all.
        UnknownProtocol: no protocol has that name.
        MissingExtra: a log needs a package that is not installed, so that its state is another
            one; all of the log was fed.
    """
    if protocol != "auto":
        adapter_named(protocol)
    feed = feed or feed_bytes
    names: list[str] = []
    anything = False
    for _, of_file in groupby(arriving(recording, tell), file_of):
        number, usable, log = 0, False, None
        for connection in of_file:
            log = connection.log
            stream = store.open(protocol, sequencing=sequencing, policy=policy)
            before = _verdicts(store)
            with warnings.catch_warnings():
                # What a store warns of is an error below.
                warnings.filterwarnings("ignore", re.escape(MISSING), RuntimeWarning)
                _feed_one(stream, connection, feed, tell)
            brought = {kind: n - before.get(kind, 0) for kind, n in _verdicts(store).items()}
            number += sum(brought.values())
            usable = usable or any(n for kind, n in brought.items() if kind not in _UNUSABLE)
            protocol = stream.protocol or protocol
            names.append(connection.name if log is None else log.name)
        if number and not usable:
            array = log is not None and is_array(log)
            raise UnreadableLog(names[-1], ARRAY if array else _nothing_known(protocol, number))
        if store.counts["verdicts"].get(f"refused:{MISSING_EXTRA}"):
            raise MissingExtra(f"{names[-1]}: {MISSING}")
        anything = anything or number > 0
    if not anything:
        raise UnreadableLog(names[0], NO_EVENTS)


def file_of(connection: Connection) -> object:
    """What connections of one durable log have in common, and no others."""
    log = connection.log
    return object() if log is None or log.connection is None else log.name


def _feed_one(stream: Stream, connection: Connection, feed: FeedLog, tell: Tell | None) -> None:
    for state in connection.before:
        _feed_state(stream, state)
    if connection.log is not None:
        try:
            feed(stream, connection.log)
        except UnknownProtocol as error:
            raise UnreadableLog(connection.name, str(error)) from error
        if tell is not None and stream.half_event:
            tell(f"{connection.name}: {BREAKS_OFF}")
    for state in connection.after:
        _feed_state(stream, state)
    stream.end()


def feed_bytes(stream: Stream, log: Log) -> None:
    """Feed a log as it is read."""
    for chunk in log.chunks():
        stream.feed(chunk)


def takes_any(protocol: str, frames: Iterable[bytes]) -> bool:
    """Whether any of some frames is an event that a protocol knows; reads no further."""
    store = StreamStore(ticks="manual")
    stream = store.open(protocol)
    for frame in frames:
        stream.feed(frame)
        if not _UNUSABLE.issuperset(_verdicts(store)):
            return True
    return False


def breaks_off(last: TimedEvent | None, protocol: str) -> bool:
    """Whether the last piece of a log is an event that has begun and not ended."""
    if last is None or (last.says is not None and last.data.endswith(b"\n")):
        return False
    stream = StreamStore(ticks="manual").open(protocol)
    stream.feed(last.data)
    return stream.half_event


def _feed_state(stream: Stream, log: Log) -> None:
    state = log.state()
    verdict = stream.ingest(state)
    if (stream.protocol is None or not verdict.taken) and holds_events(state):
        raise UnreadableLog(log.name, ARRAY)
    if stream.protocol is None:
        raise UnreadableLog(log.name, f"no protocol knows such a state; {_names()}")
    if not verdict.taken:
        problem = verdict.detail or verdict.reason
        raise UnreadableLog(
            log.name, f"no state that {stream.protocol} takes ({verdict.kind}: {problem})"
        )


def fetched(log: Log) -> Any:
    """The value of a state.

    Raises:
        UnreadableLog: there is none; or it is an array of events, and its name says nothing.
    """
    state = log.state()
    if holds_events(state):
        raise UnreadableLog(log.name, ARRAY)
    return state


def is_array(log: Log) -> bool:
    """Whether the first line of a log is an array of events; what comes once is not asked again."""
    return not log.comes_once and says_array(next(log.events(), None))


def says_array(event: TimedEvent | None) -> bool:
    """Whether an event of a log is a line that is an array of events."""
    if event is None or event.says is None or not event.data.endswith(event.says):
        return False  # a frame ends with more than it says
    try:
        return holds_events(decode_json(event.says))
    except MalformedEvent:
        return False


def holds_events(value: Any) -> bool:
    """Whether a value is an array of events, and none that is itself an event or a state."""
    return isinstance(value, list) and detect(value) is None and any(map(detect, value))


def _nothing_known(protocol: str, number: int) -> str:
    if protocol == "auto":
        return f"no protocol recognised in its events ({number}); {_names()}"
    return f"none of its events ({number}) is one that {protocol} knows"


def _names() -> str:
    return f"name one of: {', '.join(adapters())}"


def _verdicts(store: StreamStore) -> dict[str, int]:
    """Number of verdicts by kind."""
    found: dict[str, int] = {}
    for name, number in store.health.counts["verdicts"].items():
        kind = name.partition(":")[0]
        found[kind] = found.get(kind, 0) + number
    return found
