"""The command `check`: hold a log of anybody's to the laws, and say which of them break, and how.

Knows reports and how they are printed; not how a law is examined, nor how arguments are parsed.
Everything printed is free of control characters, wherever it came from.

Exit codes: 0 every law is kept or not promised, 1 one is broken, 2 a wrong argument or log.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import groupby
from typing import Any, TextIO

import attrs

from .adapters.base import Context
from .errors import RemoteError, StreamStoreError, UnknownProtocol
from .events import SessionState
from .feeding import ARRAY, Connection, Tell, arriving, connections, file_of, is_array
from .jsonpatch import need_patches
from .limits import Limits
from .logs import UnreadableLog
from .pipeline import StreamStore
from .protocols import adapter_named, needs_events
from .sight import Sight
from .terminal import json_text, one_line
from .testing.facts import first_sequencing
from .testing.laws import Counterexample, Report, check_laws
from .testing.recorded import Log, Unreadable
from .testing.scripts import MakeStore

_KEPT, _BROKEN, _WRONG = 0, 1, 2
#: An event of a counterexample is printed in so many characters; all of it with `--json`.
_EVENT = 400


def run(
    arguments: argparse.Namespace, out: TextIO, err: TextIO, *, store: MakeStore = StreamStore
) -> int:
    """Check every log that is named and print the reports; returns the exit code.

    `store` makes the stores that are examined.
    """
    try:
        found = [
            _Checked(
                log,
                check_laws(
                    log,
                    seed=arguments.seed,
                    runs=arguments.runs,
                    limits=_limits_for(log),
                    store=store,
                ),
            )
            for log in _logs(arguments, lambda line: _say(line, err))
        ]
    except BrokenPipeError:
        raise
    except (StreamStoreError, OSError) as error:
        strerror = error.strerror if isinstance(error, OSError) else None
        _say(strerror or str(error), err)
        return _WRONG
    if arguments.json:
        json = json_text([_as_json(checked, arguments.seed) for checked in found], ascii_only=True)
        print(json, file=out)
    else:
        for number, checked in enumerate(found):
            if number:
                print(file=out)
            for line in _lines(checked, arguments.seed):
                print(_writable(line, out), file=out)
    return _BROKEN if any(checked.broken for checked in found) else _KEPT


@attrs.frozen
class _Checked:
    """A log and what became of the laws."""

    log: Log
    reports: tuple[Report, ...]

    @property
    def broken(self) -> bool:
        return any(report.outcome == "broken" for report in self.reports)


def _say(line: str, err: TextIO) -> None:
    try:
        print(f"streamstore: {one_line(line, 500)}", file=err)
    except OSError:
        pass  # a full disk, or nobody reads it: no reason to keep back the reports, too


def _logs(arguments: argparse.Namespace, tell: Tell) -> Iterator[Log]:
    """The logs to check; of what one file recorded, the connections that brought something."""
    protocol = arguments.protocol
    if protocol != "auto":
        adapter_named(protocol)
    for _, of_file in groupby(arriving(connections(arguments.logs, tell), tell), file_of):
        missed: _Unusable | None = None
        found = False
        for connection in of_file:
            try:
                log = _log_of(connection, arguments, tell)
            except _Unusable as error:
                missed = missed or error
            else:
                found = True
                yield log
        if missed is not None and not found:
            raise missed


class _Unusable(UnreadableLog):
    """Nothing that a connection brought can be used."""


def _log_of(connection: Connection, arguments: argparse.Namespace, tell: Tell) -> Log:
    judged = connection.log and connection.log.judged(tell)
    try:
        log = Log.of_connection(
            attrs.evolve(connection, log=judged),
            protocol=arguments.protocol,
            sequencing=arguments.sequencing,
            tell=tell,
        )
    except UnknownProtocol as error:
        raise _Unusable(connection.name, _or_array(connection, str(error))) from error
    taken = _within_limits(log, len(connection.before), len(connection.after))
    if not _knows_any(taken):
        problem = f"none of its events ({len(log)}) is one that {log.protocol} knows"
        raise _Unusable(connection.name, _or_array(connection, problem))
    return taken


def _or_array(connection: Connection, problem: str) -> str:
    """What is wrong with a connection of which nothing is known."""
    return ARRAY if connection.log is not None and is_array(connection.log) else problem


def _within_limits(log: Log, before: int, after: int) -> Log:
    """A log without the events whose lines are too long; so many states around them are kept.

    As bytes a store skips them, as objects it takes them: to a law that would look like a fault of
    the chunks.
    """
    sight = Sight()
    last = len(log) - after
    taken: list[int] = []
    for place, piece in enumerate(log.pieces):
        skipped = sight.skipped
        sight.look(piece)
        if sight.skipped == skipped or not before <= place < last:
            taken.append(place)
    return log if len(taken) == len(log) else log.pick(taken)


def _limits_for(log: Log) -> Limits:
    """Limits on bytes that none of these events passes: states have none, nor does another framing.

    Written anew, as ASCII, a character may take three times its bytes.
    """
    usual = Limits()
    most = 4 * max(map(len, log.pieces), default=0)
    return attrs.evolve(
        usual,
        line_bytes=max(usual.line_bytes, most),
        event_line_bytes=max(usual.event_line_bytes, most),
        event_bytes=max(usual.event_bytes, most * usual.data_line_bytes),
    )


def _knows_any(log: Log) -> bool:
    """Whether some event is of the log's protocol.

    Raises `MissingExtra`: of events that a store here cannot take in the laws would say nothing.
    """
    adapter = adapter_named(log.protocol)(Context())
    known = False
    for wire in log.wires:
        try:
            if not isinstance(wire, Unreadable):
                events = adapter.decode(wire)
                needs_events(adapter, events)
                for event in events:
                    if isinstance(event, SessionState) and event.patch is not None:
                        need_patches()
                known = True
        except (RemoteError, RecursionError):
            continue
    return known


# --- printing -------------------------------------------------------------------------------------


def _lines(checked: _Checked, seed: int) -> Iterator[str]:
    log = checked.log
    sequencing = first_sequencing(log)
    yield (f"{one_line(log.name)}: {len(log):,} events, {log.protocol} ({sequencing}), seed {seed}")
    for report in checked.reports:
        outcome = report.outcome.upper() if report.outcome == "broken" else report.outcome
        yield f"  {report.law} {report.name:<13} {outcome:<13} {one_line(report.why)}"
        if report.counterexample is not None:
            for line in _example(report.counterexample):
                yield f"     {line}"


def _example(example: Counterexample) -> Iterator[str]:
    number = len(example)
    with_setup = f" with {example.setup}" if example.setup else ""
    yield f"{number} event{'' if number == 1 else 's'} show it{with_setup}:"
    for line in example.lines():
        yield f"  {one_line(line, _EVENT)}"
    yield one_line(example.problem, _EVENT)


def _as_json(checked: _Checked, seed: int) -> dict[str, Any]:
    return {
        "log": checked.log.name,
        "events": len(checked.log),
        "protocol": checked.log.protocol,
        "seed": seed,
        "laws": [_report_as_json(report) for report in checked.reports],
    }


def _report_as_json(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {
        "law": report.law,
        "name": report.name,
        "outcome": report.outcome,
        "why": report.why,
    }
    example = report.counterexample
    if example is not None:
        found["counterexample"] = {
            "problem": example.problem,
            "setup": example.setup,
            "arrivals": [
                {"what": what} if wire is None else {"what": what, "event": wire}
                for what, wire in example.arrivals
            ],
        }
    return found


def _writable(line: str, out: TextIO) -> str:
    """A line as an output can write it: what its encoding lacks becomes an escape."""
    encoding = out.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
