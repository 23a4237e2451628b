"""The laws of `docs/laws.md` that a log can show, L1 to L6: kept, broken or not promised.

Each law replays the log disturbed in its own way on fresh stores and compares; what breaks it is
made as short as can be. Knows scripts and what is promised; which events those are is not decided
here. Depends on the log, the seed and the number of runs alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any, Literal, TypeAlias

import attrs

from ..adapters.base import MAIN, Adapter, Context
from ..errors import CallerError
from ..limits import Limits
from ..pipeline import StreamStore
from ..protocols import adapter_named
from ..terminal import escape
from .comparing import Difference, difference
from .disturbing import (
    base_order,
    cutting,
    meeting_points,
    mingled,
    repeating,
    shuffled,
    ticking,
)
from .facts import Fact, Facts, decode, facts_of, session_of, text_of
from .recorded import Log, Unreadable, needs_log
from .scripts import COPY, FLUSH, Broken, MakeStore, Script, Setup, Step, Subject, run
from .shrinking import Budget, exchange, settle, shrink

Outcome: TypeAlias = Literal["kept", "broken", "not promised"]

#: The laws by number, and what each is about.
LAWS = {
    "L1": "idempotent",
    "L2": "order",
    "L3": "ticks",
    "L4": "resume",
    "L5": "isolation",
    "L6": "conservation",
}

#: A longer log is examined in stretches of this many events.
STRETCH = 4000
_STRETCHES = 3
#: Disturbed replays of each law: so many events' worth, by default.
_WORK = 6_000
_FEWEST, _MOST = 6, 40
#: Neighbours of so short a counterexample are tried the other way round.
_SWAPPED = 40
#: Events that may be replayed to make one counterexample short.
_SHRINKING = 400_000


@attrs.frozen
class Counterexample:
    """How a law breaks, as short as it could be made.

    Attributes:
        problem: what differs, in one line.
        arrivals: what happens, in order: `(what, wire object)`, where `what` is `event`, `again`,
            `copy` (of another session), `tick`, `chunk ends`, `saved and loaded` and so on; the
            object is None where none comes.
        setup: how the store was driven, "" for the plain way.
    """

    problem: str
    arrivals: tuple[tuple[str, Any], ...]
    setup: str = ""

    def __len__(self) -> int:
        return sum(1 for _, wire in self.arrivals if wire is not None)

    def lines(self) -> Iterator[str]:
        """What happens, one line each, as it came: escape it before you print it."""
        for what, wire in self.arrivals:
            yield what if wire is None else f"{what} {json.dumps(wire, ensure_ascii=False)}"

    def __str__(self) -> str:
        head = [f"with {self.setup}:"] if self.setup else []
        lines = [*head, *(f"  {line}" for line in self.lines()), self.problem]
        return escape("\n".join(lines))


@attrs.frozen
class Report:
    """What became of one law.

    Attributes:
        law: `L1` to `L6`.
        name: what it is about.
        outcome: kept, broken or not promised.
        why: what was tried, or why nothing is promised.
        counterexample: where it is broken.
    """

    law: str
    name: str
    outcome: Outcome
    why: str
    counterexample: Counterexample | None = None


def check_laws(
    log: Log,
    *,
    laws: Iterable[str] = tuple(LAWS),
    seed: int = 0,
    runs: int | None = None,
    limits: Limits | None = None,
    store: MakeStore = StreamStore,
) -> tuple[Report, ...]:
    """Disturb a log in every way that must not matter; a report for each law, never an exception.

    `runs` is the number of disturbed replays for each law, by default as many as some thousand
    events allow. A log of more than 4,000 events is examined in stretches. `store` makes the
    stores, as `StreamStore` does. Costs each law's runs of the log; a broken law up to some hundred
    thousand events more.

    Raises:
        CallerError: a law is none of L1 to L6, the runs are none, or this is no `Log`.
    """
    needs_log(log)
    wanted = list(laws)
    if not set(wanted) <= set(LAWS):
        raise CallerError(f"laws must be of {', '.join(LAWS)}")
    if runs is not None and runs < 1:
        raise CallerError(f"runs must be at least 1, not {runs}")
    limits = limits or Limits()
    whole = facts_of(log, limits)
    subjects = [_subject(facts, store, limits) for facts in _stretches(whole, Random(seed), limits)]
    events = sum(len(subject.facts.each) for subject in subjects)
    number = runs or min(_MOST, max(_FEWEST, _WORK // max(1, events)))
    reports = []
    for law in LAWS:
        if law in wanted:
            reports.append(_examine(law, whole, subjects, seed, number))
    return tuple(reports)


def assert_laws(
    log: Log,
    *,
    laws: Iterable[str] = tuple(LAWS),
    seed: int = 0,
    runs: int | None = None,
    limits: Limits | None = None,
    store: MakeStore = StreamStore,
) -> None:
    """Assert that every law promised for a log is kept; as `check_laws`.

    Raises:
        AssertionError: one is broken; the message is the first counterexample, made short.
        CallerError: as `check_laws`.

    >>> from streamstore.testing import sample
    >>> assert_laws(sample("session", seed=3, messages=1), runs=2)
    """
    for law in laws:
        (report,) = check_laws(log, laws=(law,), seed=seed, runs=runs, limits=limits, store=store)
        if report.counterexample is not None:
            raise AssertionError(f"{law} {report.name} is broken\n{report.counterexample}")


# --- what is examined -----------------------------------------------------------------------------


def _stretches(whole: Facts, random: Random, limits: Limits) -> list[Facts]:
    """The log, or stretches of a long one: its start, and others where they can stand alone."""
    log = whole.log
    if len(log) <= STRETCH:
        return [whole]
    starts = [0]
    if whole.stateless:
        starts += sorted(random.randrange(len(log) - STRETCH) for _ in range(_STRETCHES - 1))
    found = []
    for start in starts:
        mode = log.sequencing if start == 0 else whole.each[start].mode
        part = log.pick(range(start, start + STRETCH))
        found.append(facts_of(attrs.evolve(part, sequencing=mode), limits))
    return found


def _subject(facts: Facts, make: MakeStore, limits: Limits) -> Subject:
    # First as ids are usually named; then wherever a session's id stands, which may be a text.
    for every in (False, True):
        rename, others = _copies(facts, every)
        subject = Subject(facts, make, limits, others, rename)
        if _can_copy(subject):
            break
    return subject


_SESSION_NAMES = re.compile(r"(?i)(?:(?:session|thread|chat|conversation)_?)?id|(?:parent)_?id")


def _copies(facts: Facts, every: bool) -> tuple[dict[str, str], tuple[Any, ...]]:
    """The log once more under other session ids; no names where the wire names no session."""
    names = {
        event.session_id
        for fact in facts.each
        for event in fact.events
        if event.session_id is not None
    }
    rename = {name: f"{name}~{COPY}" for name in sorted(names)}
    if not rename:
        return {}, facts.log.wires
    return rename, tuple(_renamed(wire, rename, every) for wire in facts.log.wires)


def _renamed(value: Any, rename: dict[str, str], every: bool, named: bool = False) -> Any:
    if isinstance(value, str):
        return rename.get(value, value) if named else value
    if isinstance(value, dict):
        return {
            rename.get(name, name): _renamed(
                item, rename, every, every or _SESSION_NAMES.fullmatch(name) is not None
            )
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, rename, every) for item in value]
    return value


def _can_copy(subject: Subject) -> bool:
    """Whether the copy is the same log in other sessions, as far as an adapter can tell."""
    facts = subject.facts
    if not subject.rename:
        return True
    adapter: Adapter = adapter_named(facts.log.protocol)(Context())
    for fact, wire in zip(facts.each, subject.others, strict=True):
        copies = decode(adapter, wire)
        if len(copies) != len(fact.events):
            return False
        for event, copy in zip(fact.events, copies, strict=True):
            name = session_of(event)
            named = event.session_id is None or session_of(copy) == subject.rename[name]
            if not named or type(copy) is not type(event) or text_of(copy) != text_of(event):
                return False
    return True


# --- one law --------------------------------------------------------------------------------------

#: A disturbed replay: the script and how it is carried out.
_Trial: TypeAlias = tuple[Script, Setup]


@attrs.frozen
class _Law:
    """How a law is examined.

    Attributes:
        unpromised: why it is not promised for a log, None where it is.
        trials: disturbed replays, as many as are asked for; draws from a random generator.
        sorts: the undisturbed replay is in the order of the log, not in the script's.
        compares: the states at the checks must be those of the undisturbed replay.
        did: what was done, for the report.
    """

    unpromised: Callable[[Subject], str | None]
    trials: Callable[[Subject, Random, int], Iterator[_Trial]]
    did: Callable[[Subject], str]
    sorts: bool = False
    compares: bool = True


def _examine(name: str, whole: Facts, subjects: Sequence[Subject], seed: int, runs: int) -> Report:
    law = _EXAMINED[name]
    reasons = [law.unpromised(subject) for subject in subjects]
    promised = [
        subject for subject, reason in zip(subjects, reasons, strict=True) if reason is None
    ]
    if not promised:
        why = reasons[0] if reasons else "the log is empty"
        return Report(name, LAWS[name], "not promised", why or "")
    tried = 0
    for number, subject in enumerate(promised):
        random = Random(f"{seed}/{name}/{number}")
        for script, setup in law.trials(subject, random, -(-runs // len(promised))):
            tried += 1
            problem = _judge(law, subject, script, setup)
            if problem is not None:
                example = _shortest(law, subject, script, setup)
                return Report(name, LAWS[name], "broken", f"in replay {tried}", example)
    why = f"{tried} replays: {law.did(promised[0])}"
    if len(whole.each) > STRETCH:
        events = sum(len(subject.facts.each) for subject in promised)
        why += f" ({events:,} of {len(whole.each):,} events)"
    return Report(name, LAWS[name], "kept", why)


def _calmed(law: _Law, script: Script) -> Script:
    """A script without its disturbance; what arrives between two checks stays between them."""
    found: list[Step] = []
    part: list[int] = []
    for step in script:
        if step.kind == "take":
            part.append(step.at)
        elif step.kind in ("check", "end"):
            found += (Step("take", at) for at in (sorted(part) if law.sorts else part))
            found.append(step)
            part = []
    return tuple(found)


def _copies_alone(subject: Subject, script: Script, setup: Setup) -> Script:
    """The copies of a script alone; on one stream with what declares how to read them."""
    shared = setup.second == "same"
    found: list[Step] = []
    for step in script:
        taken = step.kind == "take" and shared and subject.facts.each[step.at].declares
        if step.kind == "other" or taken:
            found.append(Step("take", step.at))
        elif step.kind == "check":
            found.append(step)
    return tuple(found)


def _judge(law: _Law, subject: Subject, script: Script, setup: Setup) -> str | None:
    """How a script shows that a law is broken, None where it does not."""
    try:
        states = run(subject, script, setup)
        if not law.compares:
            return None
        expected = subject.calm(_calmed(law, script))
        copies = None
        if any(step.kind == "other" for step in script):
            copies = subject.calm(_copies_alone(subject, script, setup), copies=True)
    except Broken as broken:
        return str(broken)
    for place, found in enumerate(states):
        if copies is None:
            problem = difference(expected[place], _comparable(found, expected[place]))
        else:
            problem = _apart(subject, expected[place], copies[place], found)
        if problem is not None:
            return str(problem)
    return None


def _comparable(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """A state beside the undisturbed one: only bytes bring event-stream ids."""
    resume = {name: value for name, value in found["resume"].items() if name != "eventId"}
    if "eventId" in expected["resume"]:
        resume["eventId"] = expected["resume"]["eventId"]
    return {**found, "resume": resume}


def _apart(
    subject: Subject, expected: dict[str, Any], copies: dict[str, Any], found: dict[str, Any]
) -> Difference | None:
    """Whether two sessions side by side differ from each of them alone."""
    alone = copies["sessions"]
    if not subject.rename:  # on a stream of its own each is the only session
        alone = {COPY: alone[MAIN]} if MAIN in alone else {}
    both = {**expected["sessions"], **alone}
    return difference(both, found["sessions"], "sessions")


# --- counterexamples ------------------------------------------------------------------------------


def _shortest(law: _Law, subject: Subject, script: Script, setup: Setup) -> Counterexample:
    budget = Budget(_SHRINKING)

    def fails(steps: tuple[Step, ...]) -> bool:
        return _judge(law, subject, steps, setup) is not None

    def declares(step: Step) -> bool:
        return step.kind in ("take", "other") and subject.facts.each[step.at].declares

    def may_swap(first: Step, second: Step) -> bool:
        return first.kind == second.kind == "take" and subject.facts.exchangeable(
            first.at, second.at
        )

    found = script
    bare: list[Step] = []
    for step in script:
        if step.kind == "check":  # one is enough: the first at which it shows
            head = (*bare, step)
            if budget.spend(len(head)) and fails(head):
                found = head
                break
        else:
            bare.append(step)
    found = shrink(found, fails, keeps=declares, budget=budget)
    if len(found) <= _SWAPPED:
        found = exchange(found, fails, may_swap, keeps=declares, budget=budget)
    found = _plainer(found, fails, budget)
    plain = attrs.evolve(setup, ticks="manual", delivery="streaming")
    if plain != setup and _judge(law, subject, found, plain) is not None:
        setup = plain
    if law.sorts:
        found = settle(found, fails, _stands_before, budget=budget)
    problem = _judge(law, subject, found, setup)
    assert problem is not None, "what is made short still fails"
    return Counterexample(problem, tuple(_arrivals(subject, found)), str(setup))


def _plainer(script: Script, fails: Callable[[Script], bool], budget: Budget) -> tuple[Step, ...]:
    """Where a repetition is but a tick, because it has everything shown before it: a tick."""
    found = script
    for place, step in enumerate(script):
        if step.kind == "again":
            ticked = (*found[:place], FLUSH, *found[place + 1 :])
            if budget.spend(len(ticked)) and fails(ticked):
                found = ticked
    return found


def _stands_before(first: Step, second: Step) -> bool:
    return first.kind == second.kind == "take" and first.at < second.at


_SAID = {
    "flush": "tick",
    "release": "release",
    "save": "saved and loaded",
    "drop": "connection lost and resumed",
    "end": "the stream ends",
}


def _arrivals(subject: Subject, script: Script) -> Iterator[tuple[str, Any]]:
    wires = subject.facts.log.wires
    for step in script:
        if step.kind in ("take", "again"):
            wire = wires[step.at]
            text = wire.text if isinstance(wire, Unreadable) else wire
            yield ("again" if step.kind == "again" else "event"), text
        elif step.kind == "other":
            yield "copy", subject.others[step.at]
        elif step.kind == "cut":
            yield f"chunk ends {step.at} bytes before", None
        elif step.kind in _SAID:
            yield _SAID[step.kind], None


# --- L1 to L6 -------------------------------------------------------------------------------------


def _shares(number: int) -> Iterator[tuple[int, bool]]:
    """Numbers of the runs, and whether each is one of those in another order."""
    for place in range(number):
        yield place, place % 2 == 1


def _unprovable(subject: Subject) -> str | None:
    if subject.facts.provable:
        return None
    return "its events have no seq and no unique id: one sent again cannot be told from a new one"


def _l1(subject: Subject, random: Random, number: int) -> Iterator[_Trial]:
    facts = subject.facts
    framed = _has_ids(facts)
    for place, disorder in _shares(number):
        order = base_order(facts, random, disorder=disorder)
        script = repeating(facts, random, order, each=place == 0)
        if framed and place % 3 == 2:
            # Of a fetched state nobody can say that it is the same one: the position follows it.
            script = tuple(
                step for step in script if step.kind != "again" or not _fetched(facts.each[step.at])
            )
            yield script, Setup(framing="recorded")
        else:
            yield script, Setup()


def _fetched(fact: Fact) -> bool:
    return any(event.type == "snapshot" for event in fact.events)


def _unordered(subject: Subject) -> str | None:
    facts = subject.facts
    if all(fact.mode == "none" for fact in facts.each):
        return "its events have no seq: the order of arrival is the only one there is"
    if not facts.stateless:
        return "what its events mean depends on those before them"
    if facts.orderable:
        return None
    return "no two of its events have a seq: the order of arrival is the only one there is"


def _l2(subject: Subject, random: Random, number: int) -> Iterator[_Trial]:
    facts = subject.facts
    points = meeting_points(facts, random, 12)
    for _ in range(number):
        script = shuffled(facts, random, points if random.random() < 0.7 else points[-1:])
        if script is not None:
            yield script, Setup()


def _always(subject: Subject) -> str | None:
    return None if subject.facts.each else "the log is empty"


_WAYS = (
    Setup(ticks="each"),
    Setup(ticks="manual"),
    Setup(ticks="feed", framing="recorded"),
    Setup(ticks="timed"),
    Setup(delivery="buffered"),
    Setup(ticks="feed", framing="lines", delivery="buffered"),
    Setup(ticks="manual", framing="frames"),
    Setup(ticks="timed", delivery="buffered"),
    Setup(ticks="each", delivery="buffered"),
)


def _l3(subject: Subject, random: Random, number: int) -> Iterator[_Trial]:
    facts = subject.facts
    for place in range(number):
        setup = attrs.evolve(_WAYS[place % len(_WAYS)], record=True)
        order = base_order(facts, random, disorder=place >= len(_WAYS) and place % 2 == 1)
        sizes: list[int] = [0] * len(facts.each)
        if setup.framing is not None:
            sizes = [len(subject.piece(at, setup.framing)) for at in range(len(facts.each))]
        script = ticking(
            random,
            order,
            sizes,
            release=setup.delivery == "buffered",
            chunks=setup.framing is not None,
        )
        yield script, setup


def _empty(subject: Subject) -> str | None:
    return None if subject.facts.each else "the log is empty"


def _l4(subject: Subject, random: Random, number: int) -> Iterator[_Trial]:
    facts = subject.facts
    counted = any(fact.positioned for fact in facts.each)
    arrival = any(fact.arrival for fact in facts.each)
    size = len(facts.each)
    for place, disorder in _shares(number):
        order = base_order(facts, random, disorder=disorder)
        # Without seq a lost connection leaves a gap, by section 3; a saved store does not.
        kinds: tuple[Literal["save", "drop"], ...] = ("save",)
        setup = Setup(delivery="buffered" if random.random() < 0.3 else "streaming")
        if counted and not arrival:
            kinds = random.choice((("save",), ("drop",), ("save", "drop")))
        if facts.numbered and place % 3 == 2:
            setup = attrs.evolve(setup, resume_by="seq")
        elif _has_ids(facts) and place % 2 == 0:
            setup = attrs.evolve(setup, framing="recorded", resume_by="id")
        cuts = min(size, 24) if place % 4 == 0 else random.randint(1, 3)
        yield cutting(random, order, kinds, cuts), setup


def _l4_did(subject: Subject) -> str:
    declared = subject.facts.declaration
    if declared.resumes:
        return "cut, saved, loaded and resumed"
    return f"cut, saved, loaded and resumed in the log ({declared.name} itself has no position)"


def _uncopied(subject: Subject) -> str | None:
    if not subject.facts.each or _can_copy(subject):
        return _empty(subject)
    return "its sessions cannot be told apart on the wire, so that it has no copy in another one"


def _l5(subject: Subject, random: Random, number: int) -> Iterator[_Trial]:
    facts = subject.facts
    generations = any(
        event.generation is not None and event.type == "stream.opened"
        for fact in facts.each
        for event in fact.events
    )
    points = meeting_points(facts, random, 4)
    for place in range(number):
        apart = not subject.rename or not facts.stateless or (place % 3 == 2 and not generations)
        setup = Setup(
            ticks="each" if place % 2 == 0 else "manual",
            isolate=place % 2 == 0,
            second="own" if apart else "same",
        )
        yield mingled(facts, random, points, apart=apart), setup


def _l6(subject: Subject, random: Random, number: int) -> Iterator[_Trial]:
    facts = subject.facts
    for _, disorder in _shares(number):
        order = base_order(facts, random, disorder=disorder)
        delivery: Any = random.choice(("streaming", "buffered"))
        ticks: Any = random.choice(("each", "manual"))
        setup = Setup(books=True, delivery=delivery, ticks=ticks)
        yield repeating(facts, random, order, checks=8), setup


def _has_ids(facts: Facts) -> bool:
    """Whether every frame of the log has an event-stream id of its own."""
    pieces = facts.log.pieces
    found = [re.search(rb"(?m)^id:[ ]?([^\r\n]+)", piece) for piece in pieces]
    ids = {match[1] for match in found if match is not None}
    return bool(ids) and len(ids) == len(pieces)


def _did(text: str) -> Callable[[Subject], str]:
    return lambda _: text


_EXAMINED = {
    "L1": _Law(_unprovable, _l1, _did("events and stretches again changed nothing")),
    "L2": _Law(_unordered, _l2, _did("other orders ended in the same state"), sorts=True),
    "L3": _Law(_always, _l3, _did("schedules, deliveries and chunks did not show")),
    "L4": _Law(_empty, _l4, _l4_did),
    "L5": _Law(_uncopied, _l5, _did("beside a copy of itself, nothing crossed")),
    "L6": _Law(_always, _l6, _did("every character is accounted for"), compares=False),
}
