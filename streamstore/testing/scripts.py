"""Disturbed replays as data: a list of steps that a runner carries out on a fresh store.

A law's counterexample is a script that got shorter, so a step must mean the same whatever stands
around it, and a script without some of its steps must still be one. Knows a log, what is promised
for it, and the public API of stores; draws nothing at random and judges nothing but what a single
step must leave as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs

from ..adapters.base import Context
from ..changes import ChangeSet
from ..limits import Limits
from ..model import Delivery, Sequencing
from ..pipeline import Stream, StreamStore
from ..protocols import adapter_named
from ..sse import EventStreamParser
from ..ticks import ManualTicks
from .books import Books
from .comparing import Glance, difference, state_of
from .facts import Facts, decode, session_of, text_of
from .recorded import Framing, Unreadable, framed
from .recorder import Recorder

Kind: TypeAlias = Literal[
    "take", "again", "other", "cut", "flush", "release", "check", "save", "drop", "end"
]


class Step(NamedTuple):
    """One thing that happens to a store.

    - `take`: event number `at` of the log arrives; `again`: it does so once more
    - `other`: its copy of another session arrives
    - `cut`: a chunk of bytes ends `at` bytes before the end of what arrived so far
    - `flush`, `release`: a tick; what `buffered` delivery holds back is shown
    - `save`: the store is saved, loaded and resumed; `drop`: the connection is lost and resumed
    - `end`: the stream ends; nothing arrives behind it
    - `check`: everything is shown and compared with an undisturbed replay
    """

    kind: Kind
    at: int = 0


CHECK = Step("check")
FLUSH = Step("flush")
RELEASE = Step("release")
END = Step("end")

Script: TypeAlias = tuple[Step, ...]
#: Makes a store; called as `StreamStore` is.
MakeStore: TypeAlias = Callable[..., StreamStore]


class Broken(Exception):
    """A law does not hold; the message says how it shows."""


@attrs.frozen
class Setup:
    """How a script is carried out.

    Attributes:
        ticks: `manual`, `each`, `feed` (the store's None) or `timed` (16 ms of recorded time).
        framing: wire objects go in as they are (None), or as bytes: as recorded or as framed.
        record: a subscriber is held against the reads at every tick.
        books: the characters' books are checked.
        isolate: each event's change set may concern its own session alone.
        resume_by: what is sent again after a cut: from the offset in the log, the event-stream
            id, or the session's seq on.
        second: where the other session's copies arrive: on the `same` stream, or on their `own`.
    """

    ticks: Literal["manual", "each", "feed", "timed"] = "manual"
    delivery: Delivery = "streaming"
    framing: Literal["recorded", "lines", "frames"] | None = None
    record: bool = False
    books: bool = False
    isolate: bool = False
    resume_by: Literal["events", "id", "seq"] = "events"
    second: Literal["same", "own"] = "same"

    def __str__(self) -> str:
        said = []
        if self.ticks != "manual":
            ticks = {"each": "a tick per event", "feed": "a tick per feed"}
            said.append(ticks.get(self.ticks, "ticks of 16 ms"))
        if self.delivery != "streaming":
            said.append(f"{self.delivery} delivery")
        if self.framing is not None:
            said.append(f"as bytes ({self.framing})")
        return ", ".join(said)


@attrs.frozen(eq=False)
class Subject:
    """What is examined: a log, what is promised for it, and who makes the stores.

    Attributes:
        others: the wire objects of a second session's copy of the log, by place.
        rename: ids of sessions to those of their copies; empty where the wire names none.
    """

    facts: Facts
    make: MakeStore = StreamStore
    limits: Limits = Limits()
    others: tuple[Any, ...] = ()
    rename: Mapping[str, str] = attrs.field(factory=dict)
    _calm: dict[tuple[Script, bool], list[Any]] = attrs.field(factory=dict, init=False)

    def calm(self, script: Script, copies: bool = False) -> list[Any]:
        """The states at the checks of a script without disturbance, kept for the next question."""
        key = (script, copies)
        found = self._calm.get(key)
        if found is None:
            if len(self._calm) >= 8:
                del self._calm[next(iter(self._calm))]
            found = self._calm[key] = run(self, script, Setup(), copies=copies)
        return found

    def piece(self, place: int, framing: Literal["recorded", "lines", "frames"]) -> bytes:
        """The bytes of an event."""
        log = self.facts.log
        if framing == "recorded" and log.pieces:
            return log.pieces[place]
        as_framed: Framing = "lines" if framing == "recorded" else framing
        return framed(log.wires[place], as_framed)


def run(
    subject: Subject, script: Sequence[Step], setup: Setup, *, copies: bool = False
) -> list[dict[str, Any]]:
    """Carry a script out on a fresh store; the states at its checks.

    `copies`: every event is that of the other session.

    Raises:
        Broken: a step changed what it must not, or the store raised something.
    """
    try:
        return _Run(subject, setup, copies).carry_out(script)
    except Broken:
        raise
    except Exception as error:
        raise Broken(f"the store raised {type(error).__name__}: {error}") from error


class _Run:
    """One script on one store."""

    def __init__(self, subject: Subject, setup: Setup, copies: bool) -> None:
        self._subject = subject
        self._setup = setup
        self._copies = copies
        self._facts = subject.facts
        self._log = subject.facts.log
        self._mode: Sequencing = self._log.sequencing or subject.facts.declaration.sequencing
        self._first_mode: Sequencing = self._mode
        self._clock = ManualTicks(16) if setup.ticks == "timed" else None
        self._last_arrival: float | None = None
        ticks: Any = {"feed": None, "timed": self._clock}.get(setup.ticks, setup.ticks)
        self._store = subject.make(
            self._log.protocol, ticks=ticks, delivery=setup.delivery, limits=subject.limits
        )
        self._stream = self._open(self._mode)
        self._other: Stream | None = None
        self._recorder = Recorder(self._store) if setup.record else None
        self._heard: list[ChangeSet] = []
        if setup.isolate:
            self._store.subscribe(self._heard.append)
        self._sent: list[int] = []  # places of what arrived, as the stream counts
        self._arrived: set[int] = set()
        self._buffer = b""
        self._glance: Glance | None = None
        self._states: list[dict[str, Any]] = []
        self._expected = 0
        self._reader = adapter_named(self._log.protocol)(Context()) if setup.books else None
        self._fetched = False

    def _open(self, mode: Sequencing, session_id: str | None = None) -> Stream:
        return self._store.open(self._log.protocol, session_id=session_id, sequencing=mode)

    def carry_out(self, script: Sequence[Step]) -> list[dict[str, Any]]:
        """Every step; the states at the checks."""
        for step in script:
            if self._glance is not None and step.kind != "again":
                self._end_again()
            self._step(step)
        if self._glance is not None:
            self._end_again()
        return self._states

    def _step(self, step: Step) -> None:
        kind, at = step
        if kind == "take":
            self._take(at)
        elif kind == "again":
            self._again(at)
        elif kind == "other":
            self._copy(at)
        elif kind == "cut":
            self._feed(at)
        elif kind == "flush":
            self._store.flush()
            self._hear_out()
        elif kind == "release":
            self._release()
        elif kind == "check":
            self._check()
        elif kind == "save":
            self._save()
        elif kind == "drop":
            self._drop()
        else:
            self._feed()
            self._stream.end()

    # -- arrivals ----------------------------------------------------------------------------

    def _take(self, place: int) -> None:
        fact = self._facts.each[place]
        if fact.declares:
            self._mode = fact.mode
        self._pass_time(place)
        self._sent.append(place)
        self._arrived.add(place)
        if self._copies:
            self._store_copy(self._stream, place)
        else:
            self._arrive(place)
        if self._setup.isolate:
            if fact.declares:  # what it declares may be for every session
                self._heard.clear()
            else:
                self._stay_inside(set(fact.sessions))

    def _arrive(self, place: int) -> None:
        wire = self._log.wires[place]
        if self._setup.framing is not None:
            self._buffer += self._subject.piece(place, self._setup.framing)
        elif isinstance(wire, Unreadable):
            self._stream.feed(self._subject.piece(place, "recorded"))
        else:
            verdict = self._stream.ingest(wire)
            if self._reader is not None:
                self._note_text(decode(self._reader, wire), verdict)

    def _note_text(self, events: Sequence[Any], verdict: Any) -> None:
        # What rides along with a refused event is refused unread.
        alone = verdict.kind in ("duplicate", "refused", "malformed") and verdict.reason != "rank"
        if verdict.reason in ("foreign", "stopped"):
            return
        for event in events[:1] if alone else events:
            self._expected += len(text_of(event))
            self._fetched = self._fetched or event.type == "snapshot"

    def _copy(self, place: int) -> None:
        stream = self._stream
        if self._setup.second == "own":
            if self._other is None:
                own = None if self._subject.rename else COPY
                self._other = self._open(self._first_mode, own)
            stream = self._other
        self._store_copy(stream, place)
        if self._setup.isolate:
            self._stay_inside({self._named(name) for name in self._facts.each[place].sessions})

    def _store_copy(self, stream: Stream, place: int) -> None:
        wire = self._subject.others[place]
        if not isinstance(wire, Unreadable):
            stream.ingest(wire)

    def _named(self, session_id: str) -> str:
        return self._subject.rename.get(session_id, COPY)

    def _stay_inside(self, sessions: set[str]) -> None:
        heard = list(self._heard)
        self._heard.clear()
        for changes in heard:
            for key in _keys(changes):
                if key[0] not in sessions:
                    raise Broken(
                        f"an event of {' and '.join(sorted(sessions)) or 'no session'} "
                        f"changed {'/'.join(map(str, key))}"
                    )

    def _feed(self, keep: int = 0) -> None:
        """Let a chunk end `keep` bytes before the end of what arrived."""
        stop = max(0, len(self._buffer) - keep)
        if stop:
            data, self._buffer = self._buffer[:stop], self._buffer[stop:]
            self._stream.feed(data)
            self._hear_out()

    def _pass_time(self, place: int) -> None:
        if self._clock is None:
            return
        arrivals = self._log.arrivals
        at = arrivals[place] if arrivals is not None else 5.0 * len(self._sent)
        if self._last_arrival is not None and at > self._last_arrival:
            self._clock.advance(at - self._last_arrival)
            self._hear_out()
        self._last_arrival = max(at, self._last_arrival or at)

    # -- once more ---------------------------------------------------------------------------

    def _again(self, place: int) -> None:
        if place not in self._arrived:
            return  # its first arrival was taken out of the script
        if self._glance is None:
            self._show()
            self._glance = Glance(self._store)
        self._sent.append(place)
        self._arrive(place)

    def _end_again(self) -> None:
        assert self._glance is not None
        before, self._glance = self._glance, None
        self._feed()
        changes = self._store.flush()
        self._hear_out()
        if self._reader is not None:
            return  # the books are what is looked at
        problem = before.problem(Glance(self._store))
        if problem is not None:
            raise Broken(problem)
        if changes:
            raise Broken(f"nothing differs, but a change set says so: {_what(changes)}")

    # -- ticks -------------------------------------------------------------------------------

    def _hear_out(self) -> None:
        if self._recorder is not None and self._recorder.problems:
            raise Broken(self._recorder.problems[0])

    def _release(self) -> None:
        for session_id in self._store.session_ids():
            self._store.release(session_id)

    def _show(self) -> None:
        """Everything that may be shown: after it the state is that of L3."""
        self._feed()
        self._store.flush()
        self._release()
        self._store.flush()
        self._hear_out()

    def _check(self) -> None:
        self._show()
        if self._recorder is not None:
            try:
                self._recorder.check()
            except AssertionError as error:
                raise Broken(str(error)) from None
        if self._setup.books:
            self._audit()
        self._states.append(state_of(self._store))

    def _audit(self) -> None:
        books = Books.of(self._store)
        problem = books.problem
        received = books.received - books.fields
        if problem is None and not self._fetched and received != self._expected:
            problem = f"{self._expected} characters came, but {received} count as received"
        if problem is not None:
            raise Broken(problem)

    # -- cuts --------------------------------------------------------------------------------

    def _save(self) -> None:
        self._feed()
        before = state_of(self._store)
        saved = json.loads(json.dumps(self._store.save()))
        loaded = type(self._store).load(saved, ticks="manual", limits=self._subject.limits)
        stream = loaded.open(self._log.protocol, sequencing=self._mode)
        found = difference(before, state_of(loaded))
        if found is not None:
            raise Broken(f"saved and loaded, {found}")
        resend = self._behind(stream.position.events, stream.position.event_id, loaded)
        if resend is None:
            return
        self._store, self._stream = loaded, stream
        for place in resend:
            self._arrive(place)
        self._feed()

    def _drop(self) -> None:
        self._feed()
        position = self._stream.position
        resend = self._behind(position.events, position.event_id, self._store)
        if resend is None:
            return
        self._stream.end()
        self._stream = self._open(self._mode)
        if self._setup.resume_by == "events":
            self._sent = resend
        for place in resend:
            self._arrive(place)
        self._feed()

    def _behind(self, events: int, event_id: str, store: StreamStore) -> list[int] | None:
        """What a server sends from a position on; None where it must not come twice."""
        sent = self._sent
        by = self._setup.resume_by
        if by == "id" and event_id:
            ids = [place for place in sent if self._event_id(place) == event_id]
            resend = sent[sent.index(ids[-1]) + 1 :] if ids else list(sent)
        elif by == "seq":
            resume: Mapping[str, int] = store.health.resume.get("sessions", {})
            resend = [place for place in sent if self._above(place, resume)]
        else:
            resend = sent[events:]
        if all(self._facts.each[place].resendable for place in resend):
            return resend
        return None

    def _above(self, place: int, resume: Mapping[str, int]) -> bool:
        return not self._facts.each[place].declares and any(
            event.seq is None or event.seq > resume.get(session_of(event), -1)
            for event in self._facts.each[place].events
        )

    def _event_id(self, place: int) -> str:
        frames = EventStreamParser().feed(self._subject.piece(place, "recorded"))
        return frames[-1].id if frames else ""


#: Session of the copy in a protocol that names none.
COPY = "copy"


def _keys(changes: ChangeSet) -> list[tuple[Any, ...]]:
    return [
        *(place.key for place in (*changes.added, *changes.moved)),
        *changes.changed,
        *changes.removed,
        *(field.key for field in changes.text),
    ]


def _what(changes: ChangeSet) -> str:
    keys = ["/".join(map(str, key)) for key in _keys(changes)]
    return ", ".join(dict.fromkeys(keys)) or "a reset"
