"""Recorded streams of a real server at their real pace, under ticks of 16, 33 and 100 ms."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from streamstore import StreamStore
from streamstore.ticks import ManualTicks

from .figures import Effort, Figure, Question, Skipped
from .hearing import listening
from .timing import Piece, Spread, Variant, interleaved

INTERVALS = (16, 33, 100)
#: Recordings of the repository; more are found below STREAMSTORE_CORPORA, in `opencode/`.
OWN = Path(__file__).resolve().parent.parent / "tests" / "data" / "opencode"

ABOUT = """
Streams recorded from an opencode server, with the time at which each event came. Time is virtual:
the scheduler is told how much passed between two events, so that commits fall where they would
have fallen, and the CPU time is that of the work alone. Bytes go in, one event at a time; one
subscriber reads the appended range. The baseline is the same with `ticks="each"`. What a recording
gains depends on how densely its events came: most of these servers' deltas come in bursts.
"""


@attrs.frozen
class Recording:
    """Events of one connection, as bytes of an event stream, with their arrival times in ms."""

    name: str
    frames: tuple[bytes, ...]
    arrivals: tuple[float, ...]
    deltas: int


def recordings(folders: list[Path]) -> list[Recording]:
    """Every recording that has its arrival times; the first of a name counts."""
    found: dict[str, Recording] = {}
    for folder in folders:
        for file in sorted(folder.glob("*/arrival_ms.json")):
            arrivals = json.loads(file.read_text())
            if arrivals and isinstance(arrivals[0], list):
                continue  # two connections: what lies between them is no work of a tick
            lines = (file.parent / "events.jsonl").read_text(encoding="utf-8").split("\n")
            events = [line for line in lines if line]
            assert len(events) == len(arrivals), file
            found.setdefault(
                file.parent.name,
                Recording(
                    name=file.parent.name,
                    frames=tuple(f"data: {event}\n\n".encode() for event in events),
                    arrivals=tuple(arrivals),
                    deltas=sum('"message.part.delta"' in event for event in events),
                ),
            )
    return list(found.values())


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """Commits and CPU time of every recording, and of all together."""
    folders = [OWN]
    corpora = os.environ.get("STREAMSTORE_CORPORA")
    if corpora:
        folders.append(Path(corpora) / "opencode")
    else:
        yield Skipped("further recordings", "STREAMSTORE_CORPORA names no folder that holds them")
    if effort == "tiny":
        folders = [OWN]
    rounds = {"tiny": 1, "quick": 3, "full": 9}[effort]
    for recording in recordings(folders):
        yield from _measure(recording, rounds)


def _measure(recording: Recording, rounds: int) -> Iterator[Figure]:
    commits: dict[str, int] = {}
    variants: dict[str, Variant] = {"each": _variant(recording, None, commits)}
    for interval in INTERVALS:
        variants[str(interval)] = _variant(recording, interval, commits)
    taken = interleaved(variants, len(recording.frames), rounds)
    row = recording.name
    counts = {"events": len(recording.frames), "deltas": recording.deltas}
    counts["commits, per token"] = commits["each"]
    counts |= {f"commits, {interval} ms": commits[str(interval)] for interval in INTERVALS}
    for column, number in counts.items():
        yield Figure(
            table="Commits",
            row=row,
            column=column,
            unit="count",
            spread=Spread.of([number]),
            better="exact",
        )
    for name in variants:
        yield Figure(
            table="CPU time",
            row=row,
            column="per token" if name == "each" else f"{name} ms",
            unit="ms",
            spread=taken.total(name),
            better="lower",
        )
    for interval in INTERVALS:
        yield Figure(
            table="CPU time, per token over ticks",
            row=row,
            column=f"{interval} ms",
            unit="times",
            spread=taken.ratio("each", str(interval)),
            baseline='`ticks="each"`, same subscriber',
            better="higher",
        )


def _variant(recording: Recording, interval: int | None, commits: dict[str, int]) -> Variant:
    def variant() -> Iterator[Piece]:
        ticks = None if interval is None else ManualTicks(interval_ms=interval)
        store = StreamStore("opencode", ticks="each" if ticks is None else ticks)
        stream = store.open("opencode")
        waits = [
            after - before
            for before, after in zip((0.0, *recording.arrivals), recording.arrivals, strict=False)
        ]

        def play() -> None:
            feed = stream.feed
            if ticks is None:
                for frame in recording.frames:
                    feed(frame)
                return
            advance = ticks.advance
            for wait, frame in zip(waits, recording.frames, strict=True):
                if wait > 0:
                    advance(wait)
                feed(frame)
            ticks.run()

        with listening(store, "range") as heard:
            yield play
        commits["each" if interval is None else str(interval)] = heard.notifications

    return variant


QUESTION = Question("recorded", "Recorded streams at their own pace", ABOUT, measure)
