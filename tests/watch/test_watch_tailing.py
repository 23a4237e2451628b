"""A log that somebody still writes, looked at again and again, in virtual time."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from streamstore import CallerError
from streamstore.log import open_log
from streamstore.logs import Log, TimedEvent, UnreadableLog
from streamstore.replay import AT_ONCE, Speed
from streamstore.watch import command
from streamstore.watch.inspector import Inspector
from streamstore.watch.playing import WAITING, LogSource, Said
from streamstore.watch.tailing import LOOK_MS, followed

KINDS = ("sse", "crlf", "jsonl", "durable", "sqlite")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def delta(seq: int, text: str | None = None) -> bytes:
    text = f"{seq} " if text is None else text
    wire = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": seq, "text": text}
    return json.dumps(wire).encode()


def framed(kind: str, line: bytes) -> bytes:
    end = b"\r\n" if kind == "crlf" else b"\n"
    return line + end if kind == "jsonl" else b"data: " + line + end + end


class Watched:
    """A followed log, and what is seen of it."""

    def __init__(self, path: Path, speed: Speed = AT_ONCE) -> None:
        self.path = path
        self.clock = Clock()
        self.inspector = Inspector("native", clock=self.clock, sequencing="block")
        self.source = LogSource(followed(str(path), self.clock), self.inspector, speed)

    def later(self, ms: float = LOOK_MS) -> int:
        self.clock.now += ms
        return self.source.pump(self.clock.now)

    @property
    def text(self) -> str:
        part = self.inspector.store.part("main", "m", 0)
        return "" if part is None else part.text

    @property
    def notes(self) -> list[str]:
        return [row.facts.type for row in self.inspector.timeline.rows if row.verdict is None]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


# -- what is appended ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_meanwhile_is_taken_in_at_the_next_look(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("log.sqlite" if kind == "sqlite" else "log.jsonl")
    log = open_log(path) if kind in ("durable", "sqlite") else None

    def write(seq: int) -> None:
        if log is None:
            append(path, framed(kind, delta(seq)))
        else:
            log.append(delta(seq), time_ms=1_000 * seq)
            log.sync()

    write(1)
    watched = Watched(path)
    assert watched.later(0) == 1 and watched.text == "1 "
    assert watched.source.status == "waiting for more" and not watched.source.ended
    write(2)
    write(3)
    assert watched.later(LOOK_MS - 1) == 0
    assert watched.later(1) == 2 and watched.text == "1 2 3 "
    for _ in range(3):
        assert watched.later() == 0
    write(4)
    assert watched.later() == 1 and watched.text == "1 2 3 4 " and watched.notes == []
    if log is not None:
        assert [row.offset for row in watched.inspector.timeline.rows] == [0, 1_000, 2_000, 3_000]
        log.close()


@pytest.mark.parametrize("kind", ["sse", "crlf", "jsonl", "durable"])
@pytest.mark.parametrize("seed", range(6))
def test_however_it_is_written_the_events_are_those_of_the_log_in_the_end(
    kind: str, seed: int, tmp_path: Path
) -> None:
    random = Random(seed)
    whole = tmp_path / "whole"
    if kind == "durable":
        with open_log(whole) as log:
            for seq in range(1, 30):
                log.append(delta(seq), time_ms=seq * 10, connection=seq // 12, event_id=str(seq))
    else:
        whole.write_bytes(b"".join(framed(kind, delta(seq)) for seq in range(1, 30)))
    data, path, clock = whole.read_bytes(), tmp_path / "log", Clock()
    path.write_bytes(b"")
    tail, found = followed(str(path), clock), list[Any]()
    while data:
        size = random.choice((1, 3, 20, 200, 2_000))
        append(path, data[:size])
        data = data[size:]
        clock.now += LOOK_MS
        found += events_now(tail)
    expected: list[Any] = []
    for log_of_one in Log(str(whole)).recorded():
        expected += [None] * bool(expected) + list(log_of_one.events())
    assert [item and item.data for item in found] == [item and item.data for item in expected]
    if kind == "durable":
        assert [item and item.at for item in found if item] == [10 * n for n in range(1, 30)]


def events_now(tail: Iterator[Any]) -> list[Any]:
    found = []
    for item in tail:
        if item is WAITING:
            break
        found.append(item)
    return found


def test_a_log_that_is_empty_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log.sse"
    path.touch()
    watched = Watched(path)
    assert watched.later() == 0 and not watched.source.step_event()
    append(path, b": hello\n\ndata: " + delta(1))
    assert watched.later() == 0
    append(path, b"\n\n")
    assert watched.later() == 1 and watched.text == "1 "


def test_at_a_speed_what_comes_later_is_due_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        log.append(delta(1), time_ms=0)
        log.append(delta(2), time_ms=1_000)
        watched = Watched(path, Speed(2))
        assert [watched.later(ms) for ms in (0, 499, 1, 100)] == [1, 0, 1, 0]
        log.append(delta(3), time_ms=90_000)
        assert watched.later() == 1 and watched.text == "1 2 3 "


def test_while_it_is_paused_it_goes_on_by_steps(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(framed("jsonl", delta(1)))
    watched = Watched(path)
    watched.source.pause()
    assert watched.later() == 0 and watched.source.step_event() and not watched.source.step_event()
    assert watched.source.status == "paused" and watched.text == "1 "
    append(path, framed("jsonl", delta(2)))
    watched.clock.now += LOOK_MS
    assert watched.source.step_tick() and watched.text == "1 2 "
    watched.source.resume()
    append(path, framed("jsonl", delta(3)))
    assert watched.later() == 1 and watched.text == "1 2 3 "


# -- what becomes of a log -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fate", ["cut off", "replaced", "removed"])
def test_a_log_that_is_another_one_is_read_from_its_start_and_that_is_said(
    kind: str, fate: str, tmp_path: Path
) -> None:
    if kind == "sqlite" and fate == "cut off":
        pytest.skip("a database is damaged by it")
    name = "log.sqlite" if kind == "sqlite" else "log.jsonl"
    path, other = tmp_path / name, tmp_path / f"other-{name}"

    def write(where: Path, *texts: str) -> None:
        if kind in ("durable", "sqlite"):
            with open_log(where) as log:
                for seq, text in enumerate(texts, start=1):
                    log.append(delta(seq, text), time_ms=seq)
        else:
            for seq, text in enumerate(texts, start=1):
                append(where, framed(kind, delta(seq, text)))

    write(path, "one ", "two ")
    watched = Watched(path)
    assert watched.later() == 2
    if fate == "cut off":
        path.write_bytes(b"")
        write(path, "one ")
    elif fate == "replaced":
        write(other, "one ", "two ", "three ")
        os.replace(other, path)
    else:
        path.unlink()
        watched.later()
        watched.later()
        write(path, "one ", "two ", "three ")
    taken = watched.later() + watched.later()
    assert taken == (1 if fate == "cut off" else 3)
    assert watched.text == ("one two " if fate == "cut off" else "one two three ")
    again = "it is read from its start"
    assert watched.notes == [
        "the log was removed; another one is waited for"
        if fate == "removed"
        else f"the log was {fate}: {again}"
    ]
    assert [row.verdict.kind for row in watched.inspector.timeline.rows if row.verdict][2:] == [
        "duplicate", "duplicate", "accepted",
    ][:taken]  # fmt: skip
    assert not watched.source.ended


def test_half_a_record_that_the_next_writer_cuts_off_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        log.append(delta(1))
    append(path, b'{"position": 2, "data": {"text": "what a crash left"')
    watched = Watched(path)
    assert watched.later() == 1
    with open_log(path) as log:
        watched.later()
        log.append(delta(2))
        assert watched.later() == 1
    assert watched.text == "1 2 " and watched.notes == []


@pytest.mark.parametrize("more", [0, 1, 200])
def test_half_a_record_in_whose_place_the_next_writer_has_written_is_no_damage(
    more: int, tmp_path: Path
) -> None:
    """It cut off the half, and wrote as much or more before the log was looked at again."""
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        log.append(delta(1))
    before = path.stat().st_size
    with open_log(path) as log:
        log.append(delta(2))
    grown = path.stat().st_size - before
    os.truncate(path, before)
    append(path, b'{"position": 2, "data": {"text": "'.ljust(grown, b"x"))
    watched = Watched(path)
    assert watched.later() == 1
    with open_log(path) as log:
        log.append(delta(2))
        assert path.stat().st_size == before + grown
        if not more:
            assert watched.later() == 0  # as long as it was: it shows with the next one
        for seq in range(3, 4 + more):
            log.append(delta(seq))
    watched.later()
    assert watched.text.startswith("1 2 3 ") and watched.notes == []


def test_half_a_line_that_is_long_is_not_read_again_with_each_look(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "log.jsonl"
    with open_log(whole) as log:
        log.append(delta(1, "a"))
        log.append(delta(2, "b" * 3_000_000))
    data = whole.read_bytes()
    path.touch()
    clock = Clock()
    tail, events = followed(str(path), clock), 0
    for at in range(0, len(data), 100_000):
        append(path, data[at : at + 100_000])
        clock.now += LOOK_MS
        found = events_now(tail)
        events += len(found)
        assert not any(isinstance(item, Said) for item in found)
    assert events == 2


@pytest.mark.parametrize("removed", [False, True])
def test_a_database_that_is_being_made_is_waited_for(removed: bool, tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    if removed:
        with open_log(path) as log:
            log.append(delta(1))
    else:
        path.touch()
    watched = Watched(path)
    watched.later()
    if removed:
        path.unlink()
        watched.later()
        path.touch()
        watched.later()
    assert watched.source.error is None
    with open_log(path) as log:
        log.append(delta(1))
        log.append(delta(2))
    watched.later()
    assert watched.text == "1 2 "


def test_what_is_lost_is_said_where_it_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        for seq in (1, 2, 3):
            log.append(delta(seq, "x" * seq))
    path.write_bytes(path.read_bytes().replace(b'"xx"', b'"xX"'))
    found = events_now(followed(str(path), Clock()))
    assert [type(item) for item in found] == [TimedEvent, Said, TimedEvent]
    assert found[1].text.startswith("position 2 is lost (line 3: ")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"log": "streamstore", "version": 9, "sum": "00000000"}\n', "version is 9"),
        (b'[{"type": "message.opened", "messageId": "m", "role": "user"}]\n', "an array of events"),
    ],
)
def test_what_cannot_be_followed_ends_and_says_why(
    data: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(data)
    watched = Watched(path)
    watched.later()
    assert watched.source.ended and problem in str(watched.source.error)


# -- the command -----------------------------------------------------------------------------------


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_to(parser.add_subparsers())
    return parser.parse_args(["watch", *given])


def test_what_is_no_file_to_follow_is_said_before_the_screen_opens(tmp_path: Path) -> None:
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(framed("jsonl", delta(1))))
    for source, error, problem in (
        (str(packed), CallerError, "gzipped"),
        (str(tmp_path), CallerError, "only a file"),
        (os.devnull, CallerError, "only a file"),
        (str(tmp_path / "nowhere"), UnreadableLog, "No such file"),
        ("http://127.0.0.1:1/", CallerError, "an address is followed anyway"),
    ):
        with pytest.raises(error, match=problem):
            command.application_for(arguments(source, "--follow"))


def test_the_command_follows_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("textual")
    clock = Clock()
    monkeypatch.setattr(command, "clock", clock)
    path = tmp_path / "log.jsonl"
    path.write_bytes(framed("jsonl", delta(1)))

    async def inside() -> None:
        app = command.application_for(arguments(str(path), "--follow"))
        app._frames = 0
        async with app.run_test(size=(100, 30)) as pilot:
            for seq in (2, 3):
                app.pump()
                append(path, framed("jsonl", delta(seq)))
                clock.now += LOOK_MS
            app.pump()
            await pilot.pause()
            assert "waiting for more" in app.query_one("#title").render_line(0).text
            lines = [app.query_one("#timeline").render_line(y).text for y in range(8)]
            assert sum("block.delta" in line for line in lines) == 3

    asyncio.run(inside())
