"""The screen: what it shows of a stream, and what its keys do."""

from __future__ import annotations

import pytest

pytest.importorskip("textual")

from screens import TALK, Screen, delta, timed, watch

from streamstore.eviction import Keep
from streamstore.replay import Speed

# -- what is shown ---------------------------------------------------------------------------------


def test_transcript_timeline_state_and_counters_are_on_one_screen() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        assert screen.transcript.split("\n")[:5] == [
            " s", " user q", " What is it?", " assistant a", " It is a store.",
        ]  # fmt: skip
        lines = screen.pane("timeline")
        assert lines[0] == "▾ user q 2 events"
        assert lines[1] == "    1     +0ms ok   message.opened #1 role=user order=1"
        assert "▾ assistant a 4 events 1 notable" in lines
        assert "    6    +50ms dup  block.delta #5 +8 a store." in lines
        assert "    7    +60ms unk  no.such" in screen.timeline
        assert "talk.sse native  end of the log" in screen.title
        assert "8 events" in screen.counters and "1 dup  0 gaps  1 unknown" in screen.counters
        everything = screen.all()
        for key in ("Pause", "Step", "Tick", "Filter", "Tail", "Group", "Zoom", "Help", "Quit"):
            assert key in everything

    watch(TALK, scenario)


def test_the_selected_event_shows_what_it_changed_and_the_state_after_it() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        await screen.press("home", *["down"] * 5)
        assert screen.selected == 4
        assert "#4 block.delta  +30ms  accepted" in screen.detail
        assert "append   at 0 +6 It is   text of part 0 of a" in screen.detail
        await screen.press("tab", "z", "end")
        assert '"text": "It is "' in screen.detail
        assert "as it came" in screen.detail and '"seq": 4' in screen.detail
        await screen.press("home")
        assert "state after #4  its part" in screen.detail
        await screen.press("w")
        assert "state after #4  its message" in screen.detail
        assert '"id": "a"' in screen.detail
        await screen.press("w")
        assert "state after #4  everything" in screen.detail
        assert '"counts": {' in screen.detail

    watch(TALK, scenario)


# -- following -------------------------------------------------------------------------------------


def test_it_follows_the_tail_until_somebody_scrolls() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump(10, times=50)
        assert screen.inspector.timeline.follow and screen.selected == 50
        assert "   50 " in screen.pane("timeline")[-1]
        await screen.press("up", "up")
        assert screen.selected == 48
        top = screen.pane("timeline")[0]
        await screen.pump(10, times=50)
        assert screen.selected == 48 and screen.pane("timeline")[0] == top
        assert "↓ 50 new" in screen.counters
        await screen.press("f")
        assert screen.selected == 100 and "  100 " in screen.pane("timeline")[-1]

    watch([delta(seq) for seq in range(1, 201)], scenario, speed=Speed(1))


def test_the_mouse_wheel_stops_following_too() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump(10, times=80)
        events = screen.app.query_one("#timeline")
        events.scroll_to(y=3, animate=False)
        await screen.pilot.pause()
        assert not screen.inspector.timeline.follow
        top = screen.pane("timeline")[0]
        await screen.pump(10, times=20)
        assert screen.pane("timeline")[0] == top

    watch([delta(seq) for seq in range(1, 201)], scenario, speed=Speed(1))


def test_the_transcript_follows_what_grows_until_somebody_scrolls() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump(10, times=60)
        assert screen.pane("transcript")[-1].strip("▌ ") in ("line 58", "line 59", "line 60")
        await screen.press("tab", "tab", "home")
        top = screen.pane("transcript")[0]
        await screen.pump(10, times=20)
        assert screen.pane("transcript")[0] == top
        await screen.press("end")
        await screen.pump(10, times=20)
        assert screen.pane("transcript")[-1].strip("▌ ") in ("line 98", "line 99", "line 100")

    watch([delta(seq, f"\nline {seq}") for seq in range(1, 201)], scenario, speed=Speed(1))


def test_a_session_that_is_on_the_screen_is_not_let_go_of() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump(2_000, times=3)
        await screen.press("tab", "tab", "home")
        await screen.pump(2_000, times=57)
        assert screen.inspector.timeline.counters.events == 60
        assert screen.pane("transcript")[0] == " s0"
        assert set(screen.inspector.on_screen()) == {"s0", "s1"}
        held = screen.inspector.store.session_ids()
        assert held[:2] == ("s0", "s1") and held[-1] == "s59" and len(held) < 12
        assert "── let go of an old session: s" in screen.timeline

    text = "\n".join("a line" for _ in range(9))
    sent = [delta(1, text, sessionId=f"s{number}") for number in range(60)]
    quick = Keep(sessions=4, quiet_ms=0)
    watch(timed(sent, 2_000), scenario, speed=Speed(1), keep=quick, size=(120, 20))


def test_a_click_selects_an_event() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        await screen.pilot.click("#timeline", offset=(5, 2))
        await screen.pilot.pause()
        assert screen.selected == 1 and not screen.inspector.timeline.follow

    watch(TALK, scenario)


# -- pause and steps -------------------------------------------------------------------------------


def test_space_pauses_and_n_steps_one_event_that_is_visible_at_once() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        await screen.press("space")
        assert "paused" in screen.title
        await screen.pump(10_000)
        assert screen.inspector.timeline.counters.events == 1
        await screen.press("n")
        assert screen.inspector.timeline.counters.events == 2
        assert "What is it?" in screen.transcript
        await screen.press("t")
        assert screen.inspector.timeline.counters.events == 4, "two events within 16 ms"
        await screen.press("space")
        assert "playing" in screen.title
        await screen.pump(0)
        await screen.pump(10_000)
        assert "end of the log" in screen.title

    watch(TALK, scenario, speed=Speed(1))


def test_keys_make_it_faster_and_lead_to_the_end() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        await screen.press("plus", "plus")
        assert screen.title.endswith("4x")
        await screen.press("minus")
        assert screen.title.endswith("2x")
        await screen.press("e")
        await screen.pump()
        assert screen.source.ended

    watch(TALK, scenario, speed=Speed(1))


# -- filters and groups ----------------------------------------------------------------------------


def test_a_filter_is_typed_and_taken_back() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        await screen.press("slash", *"m:a", "space", *"t:delta")
        assert screen.pane("timeline")[:4] == [
            "▾ assistant a 3 events 1 notable",
            "    4    +30ms ok   block.delta #4 +6 It is",
            "    5    +40ms ok   block.delta #5 +8 a store.",
            "    6    +50ms dup  block.delta #5 +8 a store.",
        ]
        assert "filter m:a t:delta (3/9)" in screen.title
        await screen.press("enter")
        assert not screen.app.query_one("#filter").display
        assert screen.app.focused.id == "timeline"
        await screen.press("n")
        assert "m:a t:deltan" not in screen.title, "keys are keys again"
        await screen.press("escape")
        assert "filter" not in screen.title and "    1 " in screen.timeline

    watch(TALK, scenario)


def test_one_key_shows_the_events_of_the_selected_message_alone() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        await screen.press("home", "down", "m")
        assert screen.pane("timeline")[:3] == [
            "▾ user q 2 events",
            "    1     +0ms ok   message.opened #1 role=user order=1",
            "    2    +10ms ok   block.delta #2 +11 What is it?",
        ]

    watch(TALK, scenario)


def test_brackets_lead_to_what_is_notable() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        await screen.press("home", "right_square_bracket")
        assert screen.selected == 6
        await screen.press("right_square_bracket")
        assert screen.selected == 7
        await screen.press("right_square_bracket", "left_square_bracket")
        assert screen.selected == 6

    watch(TALK, scenario)


def test_groups_are_by_arrival_or_by_message_and_collapse() -> None:
    async def scenario(screen: Screen) -> None:
        await screen.pump()
        assert screen.timeline.count("▾ assistant a") == 2
        await screen.press("g")
        assert screen.timeline.count("▾ assistant a 5 events") == 1
        await screen.press("c")
        assert screen.pane("timeline")[:2] == [
            "▸ user q 2 events",
            "▸ assistant a 5 events 1 notable",
        ]
        await screen.press("home", "enter")
        assert screen.pane("timeline")[0] == "▾ user q 2 events"
        assert "    1 " in screen.pane("timeline")[1]

    watch(TALK, scenario)
