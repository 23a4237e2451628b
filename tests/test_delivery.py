"""Buffered delivery: what keeps a turn's text back, what shows it, and what it does not touch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import ChangeSet, Edit, Limits, PartKey, StreamStore, TextField
from streamstore.events import BlockReplaced

HIGH, LOW, FACE = "\ud83d", "\ude00", "\U0001f600"
BOUND = 24_000


class Turn:
    """A store and one stream of canonical events without seq."""

    def __init__(self, delivery: Any = "buffered", **options: Any) -> None:
        self.store = StreamStore(delivery=delivery, **{"ticks": "manual", **options})
        self.stream = self.store.open("native", sequencing="none")

    def ingest(self, event_type: str, session: str = "s", **members: Any) -> None:
        verdict = self.stream.ingest({"type": event_type, "sessionId": session, **members})
        assert verdict.kind == "accepted", verdict

    def delta(self, text: str, message: str = "m", block: Any = 0, **members: Any) -> None:
        self.ingest("block.delta", messageId=message, blockIndex=block, text=text, **members)

    def text(self, message: str = "m", block: Any = 0, session: str = "s") -> str:
        """What is shown after a tick."""
        self.store.flush()
        part = self.store.part(session, message, block)
        return "" if part is None else part.text

    def status(self, message: str = "m", block: Any = 0) -> str:
        part = self.store.part("s", message, block)
        assert part is not None
        return part.status


@pytest.fixture
def turn() -> Turn:
    """A turn is under way, and some of its text has come."""
    turn = Turn()
    turn.ingest("turn.started")
    turn.ingest("message.opened", messageId="m", role="assistant")
    turn.ingest("block.opened", messageId="m", blockIndex=0, kind="text")
    turn.delta("held ")
    turn.delta("back")
    return turn


RELEASES: dict[str, Callable[[Turn], object]] = {
    "the message's close": lambda turn: turn.ingest("message.closed", messageId="m"),
    "the message's abort": lambda turn: turn.ingest(
        "message.closed", messageId="m", status="aborted"
    ),
    "the turn's end": lambda turn: turn.ingest("turn.completed"),
    "session idle": lambda turn: turn.ingest("session.status", status="idle"),
    "a session error": lambda turn: turn.ingest("session.error", error={"name": "E"}),
    "a permission": lambda turn: turn.ingest("permission.asked", id="p"),
    "a question": lambda turn: turn.ingest("question.asked", id="q"),
    "the stream's end": lambda turn: turn.stream.end(),
    "a fetched state that is idle": lambda turn: turn.ingest(
        "snapshot", messages=[], status={"type": "idle"}
    ),
    "a fetched permission": lambda turn: turn.ingest(
        "snapshot", messages=[], permissions=[{"id": "p"}]
    ),
    "a fetched question": lambda turn: turn.ingest(
        "snapshot", messages=[], questions=[{"id": "q"}]
    ),
    "release": lambda turn: turn.store.release("s"),
    "close": lambda turn: turn.store.close(),
}

#: What may come in a turn without showing its text.
QUIET: dict[str, Callable[[Turn], object]] = {
    "a tick": lambda turn: turn.store.flush(),
    "the block's close": lambda turn: turn.ingest("block.closed", messageId="m", blockIndex=0),
    "another block": lambda turn: turn.delta("x", block=1),
    "the close of another message": lambda turn: turn.ingest("message.closed", messageId="other"),
    "busy": lambda turn: turn.ingest("session.status", status="busy"),
    "retry": lambda turn: turn.ingest("session.status", status="retry", attempt=1),
    "an answer": lambda turn: turn.ingest("permission.replied", id="p"),
    "a fetched state that asks nothing": lambda turn: turn.ingest(
        "snapshot", messages=[], status={"type": "busy"}, permissions=[], questions=[]
    ),
    "an update": lambda turn: turn.ingest("message.updated", messageId="m", info={"a": 1}),
    "a tool": lambda turn: turn.ingest("block.opened", messageId="m", blockIndex=2, kind="tool"),
    "todo": lambda turn: turn.ingest("todo.updated", todo=[1]),
    "the end of another session's turn": lambda turn: turn.ingest("turn.completed", "t"),
    "another session that is idle": lambda turn: turn.ingest("session.status", "t", status="idle"),
    "release of another session": lambda turn: turn.store.release("t"),
    "the end of another stream": lambda turn: turn.store.open("native").end(),
    "a subscriber": lambda turn: turn.store.subscribe(lambda changes: None),
    "saving": lambda turn: turn.store.save(),
    "reading": lambda turn: turn.store.begin_read("s"),
}


class TestRelease:
    def test_nothing_is_shown_meanwhile(self, turn: Turn) -> None:
        assert turn.text() == ""
        assert turn.store.parts("s", "m") != ()  # the part is, without its text

    @pytest.mark.parametrize("name", RELEASES)
    def test_what_shows_the_text(self, turn: Turn, name: str) -> None:
        assert turn.text() == ""
        heard: list[ChangeSet] = []
        turn.store.subscribe(heard.append)
        RELEASES[name](turn)
        if name != "close":
            assert turn.store.part("s", "m", 0).text == ""  # type: ignore[union-attr]
            turn.store.flush()
        assert turn.store.part("s", "m", 0).text == "held back"  # type: ignore[union-attr]
        edits = [edit for changes in heard for edit in changes.text.values()]
        assert edits == [Edit(0, "held back", False)]

    @pytest.mark.parametrize("name", RELEASES)
    def test_it_shows_what_came_in_the_same_tick_too(self, turn: Turn, name: str) -> None:
        turn.store.flush()
        turn.delta(" and more")
        RELEASES[name](turn)
        if name != "close":
            turn.store.flush()
        assert turn.store.part("s", "m", 0).text == "held back and more"  # type: ignore[union-attr]

    @pytest.mark.parametrize("sequencing", ["block", "session", "sparse", "none"])
    @pytest.mark.parametrize(
        "says", [{"status": {"type": "idle"}}, {"permissions": [{"id": "p"}]}], ids=list
    )
    def test_a_fetched_state_shows_the_text_that_it_brings_itself(
        self, sequencing: Any, says: dict[str, Any]
    ) -> None:
        store = StreamStore(delivery="buffered")
        stream = store.open("native", sequencing=sequencing)
        session = {"sessionId": "s", "seq": 1}
        stream.ingest({**session, "type": "session.status", "status": "busy"})
        part = {"blockIndex": 0, "kind": "text", "text": "fetched", "status": "open", "seq": 1}
        message = {"info": {"id": "m", "role": "assistant"}, "parts": [part]}
        read = {"messages": [message], "readFrom": store.begin_read("s"), "seq": 2, **says}
        stream.ingest({**session, "type": "snapshot", **read})
        store.flush()
        assert store.part("s", "m", 0).text == "fetched"  # type: ignore[union-attr]

    @pytest.mark.parametrize("sequencing", ["session", "sparse"])
    def test_a_fetched_state_that_was_idle_before_an_event_said_busy_shows_nothing(
        self, sequencing: Any
    ) -> None:
        store = StreamStore(delivery="buffered")
        stream = store.open("native", sequencing=sequencing)
        token = store.begin_read("s")
        busy = {"type": "session.status", "sessionId": "s", "seq": 2, "status": "busy"}
        half = {"messageId": "m", "blockIndex": 0, "text": "half"}
        stream.ingest_many([busy, {"type": "block.delta", "sessionId": "s", "seq": 3, **half}])
        read = {"messages": [], "readFrom": token}
        for seq, shown in ((1, ""), (3, "half")):
            idle = {"sessionId": "s", "seq": seq, "status": {"type": "idle"}}
            stream.ingest({"type": "snapshot", **idle, **read})
            store.flush()
            assert store.part("s", "m", 0).text == shown  # type: ignore[union-attr]

    @pytest.mark.parametrize("sequencing", ["session", "sparse"])
    @pytest.mark.parametrize("later", ["busy", "idle"])
    def test_an_idle_that_comes_late_behind_what_began_after_it_shows_nothing(
        self, sequencing: Any, later: str
    ) -> None:
        store = StreamStore(delivery="buffered")
        stream = store.open("native", sequencing=sequencing)

        def say(type_: str, seq: int, **members: Any) -> str:
            stream.ingest({"type": type_, "sessionId": "s", "seq": seq, **members})
            store.flush()
            part = store.part("s", "m", 0)
            return part.text if part is not None else ""

        say("session.status", 1, status="busy")
        say("session.status", 3, status=later)
        half = {"messageId": "m", "blockIndex": 0, "text": "half"}
        assert say("block.delta", 4, **half) == ""
        assert say("session.status", 2, status="idle") == ""
        assert say("session.status", 5, status="idle") == "half"

    @pytest.mark.parametrize("before", ["session", "sparse", "block"])
    def test_an_idle_of_a_stream_without_positions_is_the_last_one_whatever_its_number(
        self, before: Any
    ) -> None:
        store = StreamStore(delivery="buffered")
        busy = {"type": "session.status", "sessionId": "s", "status": "busy", "seq": 100}
        store.open("native", sequencing=before).ingest(busy)
        said = {"messageId": "m", "blockIndex": 0, "text": "all of it"}
        stream = store.open("native", sequencing="none")
        stream.ingest({"type": "block.delta", "sessionId": "s", **said})
        assert stream.ingest({**busy, "status": "idle", "seq": 5}).kind == "accepted"
        store.flush()
        part = store.part("s", "m", 0)
        assert part is not None and part.text == "all of it"

    def test_a_request_that_is_fetched_again_shows_nothing_more(self, turn: Turn) -> None:
        turn.ingest("permission.asked", id="p")
        assert turn.text() == "held back"
        turn.delta(" and more")
        turn.ingest("snapshot", messages=[], permissions=[{"id": "p"}])
        assert turn.text() == "held back"

    @pytest.mark.parametrize("name", QUIET)
    def test_what_does_not(self, turn: Turn, name: str) -> None:
        QUIET[name](turn)
        assert turn.text() == ""
        QUIET[name](turn)
        assert turn.text() == ""
        turn.store.release("s")
        assert turn.text() == "held back"

    def test_the_close_of_a_message_shows_that_message_alone(self, turn: Turn) -> None:
        turn.delta("other", "n")
        turn.ingest("message.closed", messageId="m")
        assert (turn.text(), turn.text("n")) == ("held back", "")

    def test_all_parts_become_visible_in_one_tick(self, turn: Turn) -> None:
        for number in range(3):
            turn.delta("x", "n", number)
            turn.store.flush()
        turn.ingest("turn.completed")
        assert len(turn.store.flush().text) == 4

    @pytest.mark.parametrize("ending", ["block.closed", "message.closed"])
    def test_closes_of_blocks_become_visible_with_the_text(self, turn: Turn, ending: str) -> None:
        turn.ingest("block.closed", messageId="m", blockIndex=0)
        assert (turn.text(), turn.status()) == ("", "open")
        turn.ingest("turn.completed" if ending == "block.closed" else ending, messageId="m")
        assert (turn.text(), turn.status()) == ("held back", "closed")

    def test_a_replace_is_held_back_as_well(self, turn: Turn) -> None:
        turn.store.release("s")
        assert turn.text() == "held back"
        turn.ingest("block.replaced", messageId="m", blockIndex=0, text="held on")
        assert turn.text() == "held back"
        turn.ingest("turn.completed")
        (edit,) = turn.store.flush().text.values()
        assert edit == Edit(5, "on", True)

    def test_text_of_other_fields_is_held_back_as_well(self, turn: Turn) -> None:
        turn.delta('{"a"', block=1, field="input")
        turn.store.flush()
        part = turn.store.part("s", "m", 1)
        assert part is not None and part.field_text("input") == ""
        turn.ingest("turn.completed")
        turn.store.flush()
        part = turn.store.part("s", "m", 1)
        assert part is not None and part.field_text("input") == '{"a"'

    def test_what_is_removed_meanwhile_is_not_shown_and_does_not_disturb(self, turn: Turn) -> None:
        turn.delta("x", block=1)
        turn.store.flush()
        turn.ingest("block.removed", messageId="m", blockIndex=0)
        turn.ingest("turn.completed")
        assert turn.text(block=1) == "x"
        assert turn.store.part("s", "m", 0) is None
        turn.ingest("message.removed", messageId="m")
        turn.ingest("turn.completed")
        turn.store.flush()
        assert turn.store.parts("s", "m") == ()

    def test_a_close_without_text_waits_and_is_shown_as_well(self, turn: Turn) -> None:
        turn.store.release("s")
        assert turn.text() == "held back"
        turn.ingest("block.closed", messageId="m", blockIndex=0)
        turn.store.flush()
        assert turn.status() == "open"
        turn.ingest("turn.completed")
        turn.store.flush()
        assert turn.status() == "closed"

    def test_what_this_client_added_is_shown_at_once(self) -> None:
        store = StreamStore("native", ticks="manual", delivery="buffered")
        store.apply(
            BlockReplaced(session_id="s", message_id="m", block_index=0, kind="text", text="mine")
        )
        store.flush()
        part = store.part("s", "m", 0)
        assert part is not None and part.text == "mine"

    def test_release_of_an_unknown_session_is_nothing(self, turn: Turn) -> None:
        turn.store.release("nowhere")
        assert turn.text() == ""
        assert turn.store.session_ids() == ("s",)

    def test_after_a_release_the_turn_goes_on_being_held_back(self, turn: Turn) -> None:
        turn.ingest("permission.asked", id="p")
        assert turn.text() == "held back"
        turn.delta(" again")
        assert turn.text() == "held back"
        turn.ingest("turn.completed")
        assert turn.text() == "held back again"

    def test_another_session_is_not_touched(self, turn: Turn) -> None:
        turn.ingest("turn.started", "t")
        turn.ingest("block.delta", "t", messageId="m", blockIndex=0, text="of t")
        turn.ingest("turn.completed")
        assert (turn.text(), turn.text(session="t")) == ("held back", "")
        turn.ingest("turn.completed", "t")
        assert turn.text(session="t") == "of t"

    @pytest.mark.parametrize("ticks", [None, "each"])
    def test_ticks_release_nothing_however_many_there_are(self, ticks: Any) -> None:
        turn = Turn(ticks=ticks)
        turn.ingest("turn.started")
        for _ in range(20):
            turn.delta("x")
        assert turn.text() == ""
        turn.ingest("turn.completed")
        assert turn.text() == "x" * 20


class TestSpill:
    def test_exactly_the_bound_stays_and_one_more_goes_out_whole(self) -> None:
        assert Limits().spill_characters == BOUND
        turn = Turn()
        turn.delta("x" * (BOUND - 1))
        turn.delta("y")
        assert turn.text() == ""
        turn.delta("z")
        assert turn.text() == "x" * (BOUND - 1) + "yz"

    def test_the_bound_counts_what_waits_anew_after_it_was_shown(self) -> None:
        turn = Turn(limits=Limits(spill_characters=10))
        turn.delta("x" * 11)
        assert len(turn.text()) == 11
        turn.delta("y" * 10)
        assert len(turn.text()) == 11
        turn.delta("y")
        assert len(turn.text()) == 22

    def test_it_counts_code_points_after_joining(self) -> None:
        turn = Turn(limits=Limits(spill_characters=4))
        for piece in ("ab", HIGH, LOW, FACE):  # four characters in six pieces of UTF-16
            turn.delta(piece)
        assert turn.text() == ""
        turn.delta("c")
        assert turn.text() == "ab" + FACE + FACE + "c"

    def test_each_part_has_its_own_bound(self) -> None:
        turn = Turn(limits=Limits(spill_characters=10))
        for block in range(3):
            turn.delta("x" * 10, block=block)
        turn.delta("more", block=1)
        assert [len(turn.text(block=block)) for block in range(3)] == [0, 14, 0]

    def test_the_longest_text_of_a_part_counts_and_all_of_the_part_goes_out(self) -> None:
        turn = Turn(limits=Limits(spill_characters=10))
        turn.delta("x" * 10)
        turn.delta("y" * 11, field="input")
        assert turn.text() == "x" * 10
        part = turn.store.part("s", "m", 0)
        assert part is not None and part.field_text("input") == "y" * 11

    def test_a_replace_counts_from_where_it_cuts(self) -> None:
        turn = Turn(limits=Limits(spill_characters=10))
        turn.delta("x" * 11)
        assert len(turn.text()) == 11
        turn.ingest("block.replaced", messageId="m", blockIndex=0, text="y" * 10)
        assert turn.text() == "x" * 11
        turn.ingest("block.replaced", messageId="m", blockIndex=0, text="y" * 11)
        assert turn.text() == "y" * 11

    @pytest.mark.parametrize("chunk", [1, 7, 1000])
    def test_how_it_is_cut_into_deltas_and_ticks_does_not_matter(self, chunk: int) -> None:
        turn = Turn(limits=Limits(spill_characters=2000))
        for start in range(0, 2000, chunk):
            turn.delta("x" * min(chunk, 2000 - start))
            if start % 3 == 0:
                assert turn.text() == ""
        assert turn.text() == ""
        turn.delta("x")
        assert len(turn.text()) == 2001

    def test_no_text_is_lost_when_a_block_spills_and_closes(self) -> None:
        turn = Turn(limits=Limits(spill_characters=10))
        turn.delta("x" * 11)
        turn.ingest("block.closed", messageId="m", blockIndex=0)
        assert len(turn.text()) == 11


class TestTurns:
    """Which events begin and end one, where the wire has them or not."""

    def test_by_turn_events(self, turn: Turn) -> None:
        turn.ingest("session.status", status="busy")
        turn.ingest("turn.completed")
        turn.ingest("turn.started")
        assert turn.text() == "held back"
        turn.delta(" next")
        assert turn.text() == "held back"
        turn.ingest("turn.completed")
        assert turn.text() == "held back next"

    def test_by_busy_and_idle(self) -> None:
        turn = Turn()
        for text in ("one", "two"):
            turn.ingest("session.status", status="busy")
            before = turn.text()
            turn.delta(text)
            turn.ingest("session.status", status="retry")
            assert turn.text() == before
            turn.ingest("session.status", status="idle")
            assert turn.text() == before + text

    def test_by_the_message_alone(self) -> None:
        turn = Turn()
        for message in ("m", "n"):
            turn.ingest("message.opened", messageId=message, role="assistant")
            turn.delta("text", message)
            assert turn.text(message) == ""
            turn.ingest("message.closed", messageId=message)
            assert turn.text(message) == "text"

    def test_without_any_of_them_the_end_of_the_stream_shows_it(self) -> None:
        turn = Turn()
        turn.delta("text")
        assert turn.text() == ""
        turn.stream.end()
        assert turn.text() == "text"


class TestMode:
    """The mode belongs to a turn and is fixed when the turn starts."""

    def test_a_turn_may_be_streamed_where_others_are_held_back(self) -> None:
        turn = Turn("buffered")
        turn.ingest("turn.started", deliveryMode="streaming")
        turn.delta("streamed")
        assert turn.text() == "streamed"
        turn.ingest("turn.completed")
        turn.ingest("turn.started")
        turn.delta(" held")
        assert turn.text() == "streamed"

    def test_a_turn_may_be_held_back_where_others_are_streamed(self) -> None:
        turn = Turn("streaming")
        turn.delta("streamed")
        assert turn.text() == "streamed"
        turn.ingest("turn.started", deliveryMode="buffered")
        turn.delta(" held")
        assert turn.text() == "streamed"
        turn.ingest("turn.completed")
        assert turn.text() == "streamed held"
        turn.delta(" again")
        assert turn.text() == "streamed held again"

    def test_the_last_text_of_a_streamed_turn_is_not_held_back_when_it_ends(self) -> None:
        turn = Turn("buffered")
        turn.ingest("turn.started", deliveryMode="streaming")
        turn.delta("all of it")  # waits for a tick when the turn ends
        turn.ingest("turn.completed")
        assert turn.text() == "all of it"
        turn.delta(" and what nobody said belongs to a turn")
        assert turn.text() == "all of it"

    def test_what_waited_for_a_tick_when_a_held_back_turn_began_is_shown(self) -> None:
        turn = Turn("streaming")
        turn.delta("before")
        turn.ingest("turn.started", deliveryMode="buffered")
        assert turn.text() == "before"
        turn.delta(" held")
        assert turn.text() == "before"

    def test_what_was_held_back_when_a_streamed_turn_begins_is_shown(self) -> None:
        turn = Turn("buffered")
        turn.delta("before")
        assert turn.text() == ""
        turn.ingest("turn.started", deliveryMode="streaming")
        assert turn.text() == "before"

    def test_it_is_that_of_one_session(self) -> None:
        turn = Turn("streaming")
        turn.ingest("turn.started", deliveryMode="buffered")
        turn.ingest("block.delta", "t", messageId="m", blockIndex=0, text="streamed")
        turn.delta("held")
        assert (turn.text(), turn.text(session="t")) == ("", "streamed")

    @pytest.mark.parametrize("status", ["busy", "retry"])
    def test_a_status_within_a_turn_does_not_change_it(self, status: str) -> None:
        turn = Turn("streaming")
        turn.ingest("turn.started", deliveryMode="buffered")
        turn.ingest("session.status", status=status)
        turn.ingest("message.opened", messageId="m", role="assistant")
        turn.delta("held")
        assert turn.text() == ""

    @pytest.mark.parametrize(
        "event", ["message.closed", "session.status", "permission.asked", "block.closed"]
    )
    def test_what_releases_text_does_not_end_it(self, event: str) -> None:
        turn = Turn("streaming")
        turn.ingest("turn.started", deliveryMode="buffered")
        turn.ingest("message.opened", messageId="n", role="assistant")
        turn.ingest(event, messageId="n", blockIndex=0, status="completed", id="p")
        turn.delta("held")
        assert turn.text() == ""

    def test_streamed_delivery_holds_nothing_back(self) -> None:
        turn = Turn("streaming")
        turn.ingest("turn.started")
        turn.ingest("block.opened", messageId="m", blockIndex=0, kind="text")
        turn.delta("shown")
        turn.ingest("block.closed", messageId="m", blockIndex=0)
        assert (turn.text(), turn.status()) == ("shown", "closed")


steps = st.lists(
    st.sampled_from(["delta", "split", "flush", "close", "turn", "end turn", "idle", "busy", "ask", "replace"]),
    max_size=20,
)  # fmt: skip


@given(steps, st.integers(1, 8))
def test_whatever_happens_all_text_is_shown_in_the_end_and_each_piece_once(
    names: list[str], bound: int
) -> None:
    turn = Turn(limits=Limits(spill_characters=bound))
    streamed = Turn("streaming")
    mirror = ""

    def hear(changes: ChangeSet) -> None:
        nonlocal mirror
        edit = changes.text.get(TextField(PartKey("s", "m", 0), "text"))
        if edit is not None:
            assert edit.rewritten is (edit.start < len(mirror))
            mirror = edit.apply(mirror)

    def more(turn: Turn, text: str) -> None:
        wire = {"messageId": "m", "blockIndex": 0, "text": text}
        verdict = turn.stream.ingest({"type": "block.delta", "sessionId": "s", **wire})
        assert (verdict.reason or verdict.kind) in ("accepted", "sealed")

    turn.store.subscribe(hear)
    acts: dict[str, Callable[[Turn], object]] = {
        "delta": lambda turn: more(turn, "ab"),
        "split": lambda turn: (more(turn, "c" + HIGH), more(turn, LOW)),
        "flush": lambda turn: turn.store.flush(),
        "close": lambda turn: turn.ingest("block.closed", messageId="m", blockIndex=0),
        "turn": lambda turn: turn.ingest("turn.started"),
        "end turn": lambda turn: turn.ingest("turn.completed"),
        "idle": lambda turn: turn.ingest("session.status", status="idle"),
        "busy": lambda turn: turn.ingest("session.status", status="busy"),
        "ask": lambda turn: turn.ingest("permission.asked", id="p"),
        "replace": lambda turn: turn.ingest(
            "block.replaced", messageId="m", blockIndex=0, text="r"
        ),
    }
    for name in names:
        acts[name](turn)
        acts[name](streamed)
    turn.store.release("s")
    turn.store.flush()
    streamed.store.flush()
    assert turn.store.state()["sessions"] == streamed.store.state()["sessions"]
    assert mirror == turn.text()
