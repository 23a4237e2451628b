"""The screen in any terminal, with much, long and hostile text; and the command that opens it."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import sys
from typing import Any, cast

import pytest

pytest.importorskip("textual")

from rich.cells import cell_len
from screens import OPENCODE, STATE, TALK, Screen, delta, timed, watch

from streamstore.errors import CallerError, UnknownProtocol
from streamstore.log import open_log
from streamstore.logs import Log, TimedEvent, UnreadableLog
from streamstore.replay import AT_ONCE, Speed
from streamstore.testing import disturb, sample
from streamstore.watch import command
from streamstore.watch.app import application
from streamstore.watch.drawing import event_lines, timeline_line
from streamstore.watch.inspector import Inspector
from streamstore.watch.past import HistoryLimits
from streamstore.watch.playing import LogSource
from streamstore.watch.screen import drawn as module_drawn
from streamstore.watch.screen.drawn import Drawn
from streamstore.watch.screen.help import HELP

# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(200, 60), (60, 24), (80, 12), (20, 5)])
def test_it_works_in_a_terminal_of_any_size(size: tuple[int, int]) -> None:
    async def scenario(screen: Screen) -> None:
        for _ in range(3):
            await screen.pump()
        for key in ("tab", "tab", "z", "tab", "up"):
            await screen.press(key)
            assert all(cell_len(line) <= size[0] for line in screen.all().split("\n"))
        await screen.press("g", "question_mark", "escape", "home", "end")
        assert screen.app.is_running

    watch(Log(OPENCODE).events(), scenario, size=size, protocol="auto")


def test_at_80_by_24_everything_is_there_and_the_footer_is_whole() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        footer = screen.all().split("\n")[-1]
        assert footer.split() == (
            "space Pause n Step t Tick / Filter f Tail g Group z Zoom ? Help q Quit".split()
        )
        assert all(screen.pane(name) for name in ("transcript", "timeline", "detail"))

    watch(TALK, scenario, size=(80, 24))


def test_in_a_narrow_terminal_tab_leads_from_column_to_column() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        assert "▾ assistant a" in screen.all()
        assert not screen.app.query_one("#transcript").display
        await screen.press("tab", "tab")
        assert screen.app.query_one("#transcript").display
        assert not screen.app.query_one("#right").display
        assert "It is a store." in screen.all()

    watch(TALK, scenario, size=(60, 24))


# -- much, long and hostile ------------------------------------------------------------------------


def test_a_log_of_20_000_events_is_bounded_and_says_what_is_gone() -> None:
    events = timed([delta(n, "word ", f"m{n // 500}") for n in range(1, 20_001)], apart=1)

    async def scenario(screen: Screen) -> None:
        while not screen.source.ended:
            screen.app.pump()
        await screen.pilot.pause()
        timeline = screen.inspector.timeline
        assert timeline.counters.events == 20_000
        assert 1_000 <= len(timeline.rows) <= 2_000
        assert len(timeline.rows) + timeline.dropped == 20_001  # and the note at the end
        await screen.press("home")
        assert screen.pane("timeline")[0] == (
            f"… {timeline.dropped:,} earlier events dropped (oldest first)"
        )
        assert screen.selected == timeline.first + len(timeline.lines[0].rows) - 1  # type: ignore[union-attr]
        await screen.press("down")
        assert screen.selected == timeline.first
        assert f"#{timeline.first} block.delta" in screen.detail
        row = timeline.row(timeline.first)
        assert row is not None and screen.inspector.after(row) is not None

    watch(events, scenario, limits=HistoryLimits(events=2_000))


def test_what_is_looked_at_stands_still_while_the_oldest_are_dropped() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump(10, times=100)
        await screen.press(*["up"] * 12)
        selected, lines = screen.selected, screen.pane("timeline")
        assert selected > 80 and f"   {selected} " in lines[-13]
        await screen.pump(10, times=60)
        assert screen.inspector.timeline.dropped >= 60
        assert screen.selected == selected and screen.pane("timeline") == lines

    events = [delta(seq, f"{seq} ") for seq in range(1, 400)]
    watch(events, scenario, speed=Speed(1), limits=HistoryLimits(events=100, spacing=20))


def test_only_visible_lines_are_made() -> None:
    async def scenario(screen: Screen) -> None:
        while not screen.source.ended:
            screen.app.pump()
        await screen.pilot.pause()
        made = 0
        for name in ("#timeline", "#transcript"):
            pane = screen.app.query_one(name)
            pieces = pane.pieces

            def counted(y: int, width: int, pieces: Any = pieces) -> Any:
                nonlocal made
                made += 1
                return pieces(y, width)

            pane.pieces = counted
            pane.refresh()
        await screen.pilot.pause()
        assert 0 < made <= 2 * 36

    watch([delta(seq, "word\n") for seq in range(1, 3_001)], scenario)


def test_a_token_draws_the_line_that_it_changes() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump(20, times=17)
        await screen.press("up")  # so that the timeline stands still
        transcript = screen.app.query_one("#transcript")
        drawn: list[int] = []
        draw = transcript.render_line

        def counted(y: int) -> Any:
            drawn.append(y)
            return draw(y)

        transcript.render_line = counted
        for _ in range(10):
            await screen.pump(20)
        assert len(screen.transcript.split("\n")) > 25
        assert 5 <= len(drawn) - 32 <= 20, "but for the 32 that the line above reads"

    events = [delta(n, "a line\n" if n < 30 else "x") for n in range(1, 60)]
    watch(events, scenario, speed=Speed(1))


def test_nothing_is_drawn_while_nothing_happens() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump(5_000, times=2)  # the rate has fallen to nothing
        drawn: list[str] = []
        for name in ("title", "counters", "transcript", "timeline", "detail"):
            widget = screen.app.query_one(f"#{name}")
            draw = widget.render_line

            def counted(y: int, name: str = name, draw: Any = draw) -> Any:
                drawn.append(name)
                return draw(y)

            widget.render_line = counted
        for _ in range(5):
            await screen.pump(50)
        assert drawn == []

    watch(TALK, scenario)


def test_a_long_text_costs_what_is_new() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        document = screen.inspector.document
        (wrapped,) = [block.wrapped for block in document._blocks.values() if block.wrapped]
        before = wrapped.looked_at
        assert before >= 300_000
        await screen.pump(20, times=20)
        assert wrapped.looked_at - before < 20 * 300
        assert screen.pane("transcript")[-1].strip().endswith("word 20")

    events = [
        delta(1, "some words " * 30_000),
        *(delta(seq, f" word {seq - 1}") for seq in range(2, 22)),
    ]
    watch(events, scenario, speed=Speed(1))


HOSTILE = "\x1b]0;gotcha\x07\x1b[2J[bold red]x[/][/nothing] {x} \u202e\x9b2J\r\n[link=http://x]"


def test_nothing_of_a_hostile_stream_reaches_the_terminal_as_it_came() -> None:
    where = {"sessionId": HOSTILE, "messageId": HOSTILE}
    events = [
        {"type": "session.updated", "sessionId": HOSTILE, "info": {"title": HOSTILE}},
        {"type": "message.opened", **where, "role": HOSTILE, "seq": 1},
        {"type": "block.delta", **where, "blockIndex": HOSTILE, "seq": 2, "text": HOSTILE},
        {"type": "block.opened", **where, "blockIndex": 2, "kind": "tool", "tool": HOSTILE, "seq": 3, "state": {"status": "completed", "title": HOSTILE, "output": HOSTILE}},
        {"type": HOSTILE, HOSTILE: HOSTILE},
        TimedEvent(HOSTILE.encode("utf-8", "replace") + b"\n", b"", 100.0),
        TimedEvent(b"{" + HOSTILE.encode() + b"\n", b"", 110.0),
    ]  # fmt: skip

    async def scenario(screen: Screen) -> None:
        await screen.pump()
        seen = ""
        for key in ("home", *["down"] * 16):
            await screen.press(key)
            shown = screen.all()
            assert not set(shown) & set("\x1b\x07\x9b\r\u202e"), repr(shown)
            seen += shown
        await screen.press("w", "m", "tab", "z")
        assert not set(screen.all()) & set("\x1b\x07\x9b\r\u202e")
        assert "\\x1b]0;gotcha" in seen and "[bold red]x[/]" in seen, "markup is text"
        timeline = screen.inspector.timeline
        lines = [timeline_line(line, width) for line in timeline.lines for width in (40, 200)]
        for row in timeline.rows:
            for scope in range(3):
                lines += event_lines(row, screen.inspector.after(row), scope)
        for line in lines:
            for piece in line:
                assert not set(piece.text) & set("\x1b\x07\x9b\r\n\t\u202e"), piece
        svg = screen.app.export_screenshot()
        assert "\x1b" not in svg and 'href="http://x"' not in svg

    watch(events, scenario, name=HOSTILE, size=(160, 40))


@pytest.mark.parametrize("seed", range(3))
def test_a_disturbed_log_is_watched_to_its_end(seed: int) -> None:
    wires = disturb(sample("sparse", seed, sessions=2), seed).wires

    async def scenario(screen: Screen) -> None:
        await screen.pump()
        for key in ("g", "home", "pagedown", "enter", "c", "c", "right_square_bracket", "z", "z"):
            await screen.press(key)
        assert screen.source.ended and screen.inspector.timeline.counters.events == len(wires)

    watch(wires, scenario)


# -- help and the end ------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [(), ("question_mark",), ("slash", "x"), ("tab",)], ids=str)
def test_ctrl_c_quits_wherever_it_is_typed(keys: tuple[str, ...]) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.press(*keys)
        assert screen.app.is_running
        await screen.press("ctrl+c")
        assert not screen.app.is_running

    watch(TALK, scenario)


def test_help_names_every_key_and_closes() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.press("question_mark")
        assert "step: one event" in screen.all()
        await screen.press("escape")
        assert "step: one event" not in screen.all()
        await screen.press("q")
        assert not screen.app.is_running

    watch(TALK, scenario, size=(90, 30))
    assert all(len(line) <= 76 for line in HELP.split("\n")), "it fits into 80 columns"
    for key in ("space", " n ", " t ", "+ -", " e ", " f ", "] [", " g ", "enter", " c ", " / ", " m ", "escape", "tab", " z ", " w ", " q "):  # fmt: skip
        assert key in HELP


def test_begin_and_finish_are_called_around_the_screens_life() -> None:
    called: list[str] = []

    async def finish() -> None:
        called.append("finish")

    async def inside() -> None:
        inspector = Inspector("native", clock=lambda: 0.0)
        source = LogSource(timed(TALK), inspector, AT_ONCE)
        app = application(
            inspector, source, "x", clock=lambda: 0.0,
            begin=lambda: called.append("begin"), finish=finish,
        )  # fmt: skip
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            assert called == ["begin"]

    asyncio.run(inside())
    assert called == ["begin", "finish"]


# -- the command -----------------------------------------------------------------------------------


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_to(parser.add_subparsers())
    return parser.parse_args(["watch", *given])


def test_the_command_plays_a_log(tmp_path: Any) -> None:
    async def inside() -> None:
        app = command.application_for(arguments(OPENCODE, "--speed", "max", "--events", "100"))
        async with app.run_test(size=(100, 30)) as pilot:
            app.pump()
            await pilot.pause()
            title = app.query_one("#title").render_line(0).text
            assert "stream.sse" in title and "opencode" in title

    asyncio.run(inside())


@pytest.mark.parametrize(("value", "grey"), [(None, False), ("", False), ("1", True), ("0", True)])
def test_no_color_counts_where_it_is_not_empty(
    value: str | None, grey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", value)
    assert command.application_for(arguments(OPENCODE)).no_color is grey


def test_the_command_plays_every_connection_of_a_recording(tmp_path: Any) -> None:
    path = tmp_path / "talk.jsonl"
    with open_log(path) as log:
        for number, wire in enumerate([delta(1, "a"), delta(2, "b")], start=1):
            log.append(json.dumps(wire).encode(), connection=number, time_ms=number * 1_000)

    async def inside() -> None:
        app = command.application_for(arguments(str(path), "--paused"))
        async with app.run_test(size=(100, 30)) as pilot:
            await pilot.press("n", "n", "n")
            await pilot.pause()
            pane = app.query_one("#timeline")
            lines = [pane.render_line(y).text.rstrip() for y in range(8)]
            assert [line for line in lines if line and line[0] == " "] == [
                "    1     +0ms ok   block.delta #1 +1 a",
                "    2     +0ms ── connection ended",
                "    3  +1.000s ok   block.delta #2 +1 b",
                "    4  +1.000s ── end of the log",
            ]

    asyncio.run(inside())


@pytest.mark.parametrize(
    ("given", "error", "problem"),
    [
        (("-",), CallerError, "standard input is the keyboard"),
        (("nowhere.sse",), UnreadableLog, "nowhere.sse: No such file"),
        ((os.devnull,), UnreadableLog, "holds no events"),
        (("nowhere.json",), UnreadableLog, "nowhere.json: No such file"),
        ((STATE,), CallerError, "is a fetched state"),
        ((OPENCODE, "--protocol", "gopher"), UnknownProtocol, "gopher"),
        (("http://127.0.0.1:1/", "--paused"), CallerError, "for logs"),
        ((OPENCODE, "--header", "a: b"), CallerError, "for an address"),
        (("http://127.0.0.1:1/", "--header", "secret"), CallerError, "--header: number 1 is not"),
        (("http://127.0.0.1:1/", "--json", "{"), CallerError, "--json: not JSON"),
        ((OPENCODE,), CallerError, "needs a terminal"),
    ],
)
def test_what_is_wrong_is_said_before_the_screen_opens(
    given: tuple[str, ...], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        command.run(arguments(*given))


@pytest.mark.skipif(os.name == "nt", reason="there Textual draws on standard output")
@pytest.mark.parametrize(
    ("elsewhere", "term", "problem"),
    [
        ("stdin", "xterm", "standard input is none"),
        ("stdout", "xterm", "standard output is none"),
        ("stderr", "xterm", "standard error is none"),  # it is what Textual draws on
        ("", "dumb", "TERM is dumb"),
    ],
)
@pytest.mark.parametrize(
    ("source", "instead"),
    [(OPENCODE, "streamstore replay LOG"), ("http://127.0.0.1:1/", "streamstore record URL LOG")],
)
def test_a_screen_that_nobody_would_see_is_not_opened(
    elsewhere: str,
    term: str,
    problem: str,
    source: str,
    instead: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda name=name: name != elsewhere, raising=False)  # fmt: skip
    monkeypatch.setenv("TERM", term)
    with pytest.raises(CallerError, match=f"{problem}.*{instead}"):
        command._need_terminal(source)


class Lost:
    """A terminal whose window was closed."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def fileno(self) -> int:
        raise ValueError("it is no file")


def test_what_is_drawn_on_a_lost_terminal_goes_nowhere_and_is_told_once() -> None:
    told: list[str] = []
    drawn = Drawn(Lost(), lambda: told.append("gone"))
    for _ in range(2):
        drawn.write("x")
        drawn.flush()
    assert told == ["gone"] and drawn.encoding == "utf-8"


@pytest.mark.skipif(os.name == "nt", reason="a terminal of a program")
def test_a_terminal_that_is_closed_ends_a_screen_that_has_nothing_to_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module_drawn, "_LOOK_S", 0)
    ours, theirs = os.openpty()

    class Keys:
        """A driver that reads keys, and draws nothing."""

        def __init__(self, app: Any) -> None:
            self.fileno = theirs

        def start_application_mode(self) -> None:
            pass

        def stop_application_mode(self) -> None:
            pass

    class Application:
        def __init__(self) -> None:
            self.ended = asyncio.Event()

        def exit(self) -> None:
            self.ended.set()

    async def main() -> None:
        app = Application()
        driver: Any = module_drawn.outlasting(cast(Any, Keys))(cast(Any, app))
        driver.start_application_mode()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not app.ended.is_set()
        os.close(ours)
        async with asyncio.timeout(60):
            await app.ended.wait()
        driver.stop_application_mode()

    asyncio.run(main())
    os.close(theirs)


@pytest.mark.parametrize("given", [("--speed", "0"), ("--speed", "x"), ("--events", "0")])
def test_wrong_numbers_are_refused(
    given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        arguments("x.sse", *given)
    assert "must be" in capsys.readouterr().err
