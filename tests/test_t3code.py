"""t3code's threads: what their events say, and what its ingestion and client lost, not lost.

There is no recording: streams are made by `Server`, which numbers as t3code's event store does.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wires import (
    JSON,
    assert_chunks_do_not_show,
    assert_detection_is_sure,
    assert_every_tick_is_a_prefix,
    assert_no_law_broken,
    assert_saves_resume,
    assert_total,
    encoded,
    fold,
    logged,
    mutated,
    shown,
    verdicts,
)

from streamstore import StreamStore
from streamstore.adapters import t3code
from streamstore.adapters.t3code import T3CodeAdapter, milliseconds

Wire = dict[str, Any]
PROTOCOL = "t3code"


def at(second: int) -> str:
    return f"2026-08-07T10:{second // 60:02}:{second % 60:02}.000Z"


class Server:
    """Makes events of one server: one sequence over all its threads."""

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        self.sent: list[Wire] = []

    def emit(self, kind: str, thread: str = "t1", **payload: Any) -> Wire:
        self.sequence += 1
        wire = {
            "sequence": self.sequence,
            "eventId": f"ev-{self.sequence}",
            "aggregateKind": "thread",
            "aggregateId": thread,
            "occurredAt": at(self.sequence),
            "commandId": None,
            "causationEventId": None,
            "correlationId": None,
            "metadata": {},
            "type": f"thread.{kind}",
            "payload": {"threadId": thread, **payload},
        }
        self.sent.append(wire)
        return wire

    def say(
        self, message: str, text: str, streaming: bool, thread: str = "t1", **more: Any
    ) -> Wire:
        return self.emit(
            "message-sent", thread, messageId=message, text=text, streaming=streaming,
            **{"role": "assistant", "turnId": "turn-1", "createdAt": at(self.sequence),
               "updatedAt": at(self.sequence), **more},
        )  # fmt: skip

    def ask(self, message: str, text: str, thread: str = "t1") -> None:
        self.say(message, text, False, thread, role="user", turnId=None)

    def stream(self, message: str, *pieces: str, end: str | None = "") -> None:
        for piece in pieces:
            self.say(message, piece, True)
        if end is not None:
            self.say(message, end, False)


def made(seed: int) -> list[Wire]:
    draw = random.Random(seed)
    server = Server(seed)
    for turn in range(draw.randint(1, 3)):
        server.ask(f"user-{turn}", "why?")
        server.emit("turn-start-requested", messageId=f"user-{turn}")
        server.emit("session-set", session={"status": "running", "activeTurnId": "turn-1"})
        for part in range(draw.randint(1, 3)):
            words = draw.choices([" ", "a ", "ä", "\U0001f600", "", "\n"], k=draw.randint(1, 8))
            end = draw.choice(["", "", "all of it", None])
            server.stream(f"assistant:{turn}:{part}", *words, "\ud83d", "\ude00", end=end)
            server.sequence += draw.randint(0, 5)
        server.emit("activity-appended", activity={"id": f"act-{turn}", "kind": "tool",
                    "createdAt": at(server.sequence)})  # fmt: skip
        server.emit("session-set", session={"status": "ready", "activeTurnId": None})
    return server.sent


def one_turn() -> list[Wire]:
    server = Server(11)
    thread: Wire = {
        "id": "t1",
        "title": "Old",
        "session": {"status": "ready"},
        "messages": [
            {"id": "u0", "role": "user", "text": "Before.", "turnId": None, "streaming": False,
             "createdAt": at(1), "updatedAt": at(1)},
        ],
        "activities": [],
        "proposedPlans": [],
    }  # fmt: skip
    items: list[Wire] = [
        {"kind": "snapshot", "snapshot": {"snapshotSequence": 11, "thread": thread}},
        {"kind": "synchronized"},
    ]
    server.ask("u1", "And now?")
    server.emit("turn-start-requested", messageId="u1", assistantDeliveryMode="streaming")
    server.emit("session-set", session={"status": "running", "activeTurnId": "turn-1"})
    server.sequence += 3
    server.stream("assistant:1", "Now ", "comes ", "this.")
    server.emit("activity-appended", activity={"id": "a1", "kind": "tool.completed",
                "summary": "ran", "createdAt": at(30)})  # fmt: skip
    server.stream("assistant:1:segment:1", "More.", end="More, corrected.")
    server.emit("meta-updated", title="New")
    server.emit("session-set", session={"status": "ready", "activeTurnId": None})
    return items + [{"kind": "event", "event": wire} for wire in server.sent]


LOGS = {f"seed {seed}": made(seed) for seed in range(4)} | {
    "recorded": logged(PROTOCOL, "one_turn.jsonl")
}
each_log = pytest.mark.parametrize("wires", LOGS.values(), ids=LOGS)


def text(store: StreamStore, message: str, thread: str = "t1") -> str:
    (part,) = store.parts(thread, message)
    return part.text


# --- what a stream comes to -----------------------------------------------------------------------


def test_the_log_is_the_turn_that_is_made_here() -> None:
    assert LOGS["recorded"] == one_turn()


def test_a_turn_behind_a_snapshot() -> None:
    store = fold(PROTOCOL, LOGS["recorded"])
    (thread,) = encoded(store, PROTOCOL)
    assert [(entry["id"], entry["text"], entry["streaming"]) for entry in thread["messages"]] == [
        ("u0", "Before.", False),
        ("u1", "And now?", False),
        ("assistant:1", "Now comes this.", False),
        ("assistant:1:segment:1", "More, corrected.", False),
    ]
    assert thread["title"] == "New" and thread["session"]["status"] == "ready"
    assert [entry["summary"] for entry in thread["activities"]] == ["ran"]
    answer = thread["messages"][2]
    assert answer["createdAt"] < answer["updatedAt"] and answer["turnId"] == "turn-1"
    assert store.session("t1").status.type == "idle"  # type: ignore[union-attr]
    assert store.health.gaps == () and store.health.resync == {}


@each_log
def test_a_snapshot_of_what_was_streamed_is_the_same(wires: list[Wire]) -> None:
    store = fold(PROTOCOL, wires)
    (thread,) = encoded(store, PROTOCOL)
    last = wires[-1].get("event", wires[-1])["sequence"]
    snapshot = {"snapshotSequence": last, "thread": thread}
    assert encoded(fold(PROTOCOL, [snapshot]), PROTOCOL) == [thread]
    store.open(PROTOCOL).ingest(snapshot)
    store.flush()
    assert encoded(store, PROTOCOL) == [thread]


@each_log
def test_a_snapshot_in_the_middle_and_the_tail_are_the_whole(wires: list[Wire]) -> None:
    events = [wire["event"] for wire in wires if "event" in wire] or wires
    whole = encoded(fold(PROTOCOL, events), PROTOCOL)
    for cut in range(1, len(events)):
        if events[cut - 1]["payload"].get("text", "").endswith("\ud83d"):
            continue  # half a character is not in the text yet
        (thread,) = encoded(fold(PROTOCOL, events[:cut]), PROTOCOL)
        snapshot = {"snapshotSequence": events[cut - 1]["sequence"], "thread": thread}
        store = fold(PROTOCOL, [snapshot, *events])  # what it covers is sent as well
        assert encoded(store, PROTOCOL) == whole
        live_first = fold(PROTOCOL, [*events, snapshot])
        assert encoded(live_first, PROTOCOL) == whole


def test_two_threads_with_one_message_id_stay_apart() -> None:
    server = Server()
    for piece in ("a", "b"):
        for thread in ("t1", "t2"):
            server.say("m", piece + thread, True, thread)
    store = fold(PROTOCOL, server.sent)
    assert (text(store, "m"), text(store, "m", "t2")) == ("at1bt1", "at2bt2")
    alone = StreamStore()
    alone.open(PROTOCOL, session_id="t1").ingest_many(server.sent)
    assert alone.session_ids() == ("t1",) and verdicts(alone)["refused"] == 2
    assert list(alone.save()["memory"][PROTOCOL]) == ["t1"]


def test_projects_and_commands_change_nothing_and_unknown_types_are_counted() -> None:
    server = Server()
    server.say("m", "a", True)
    server.emit("turn-diff-completed", turnId="x")
    server.emit("from-the-future")
    project = {**server.emit("x"), "type": "project.created"}
    store = fold(PROTOCOL, [*server.sent[:3], project])
    assert verdicts(store) == {"accepted": 3, "unknown": 1}
    assert text(store, "m") == "a"


def test_what_a_thread_was_put_to_is_taken_back() -> None:
    server = Server()
    time = at(0)
    server.emit("archived", archivedAt=time, updatedAt=time)
    server.emit("settled", settledAt=time, updatedAt=time)
    server.emit("snoozed", snoozedUntil=time, snoozedAt=time, updatedAt=time)
    server.emit("pinned", pinnedAt=time, pinOrderKey="a", updatedAt=time)
    server.emit("pin-reordered", orderKey="b", updatedAt=time)
    (thread,) = encoded(fold(PROTOCOL, server.sent), PROTOCOL)
    names = "archivedAt settledAt snoozedUntil snoozedAt pinnedAt".split()
    assert [thread[name] for name in names] == [time] * 5
    assert (thread["settledOverride"], thread["pinOrderKey"]) == ("settled", "b")

    server.emit("unarchived", updatedAt=time)
    server.emit("unsettled", reason="activity", updatedAt=time)
    server.emit("unsnoozed", reason="user", updatedAt=time)
    server.emit("unpinned", updatedAt=time)
    store = fold(PROTOCOL, server.sent)
    (thread,) = encoded(store, PROTOCOL)
    assert {thread[name] for name in [*names, "settledOverride", "pinOrderKey"]} == {None}
    assert "reason" not in thread and verdicts(store) == {"accepted": 9}

    server.emit("unsettled", reason="user", updatedAt=time)
    (thread,) = encoded(fold(PROTOCOL, server.sent), PROTOCOL)
    assert thread["settledOverride"] == "active"


# --- reverts --------------------------------------------------------------------------------------


def a_turn(server: Server, number: int) -> None:
    """A question, an answer in two messages, an activity, a plan, and the turn's checkpoint."""
    turn = f"turn-{number}"
    server.ask(f"u{number}", f"Question {number}?")
    for part in ("a", "b"):
        server.say(f"{part}{number}", "It ", True, turnId=turn)
        server.say(f"{part}{number}", "is.", True, turnId=turn)
        server.say(f"{part}{number}", "", False, turnId=turn)
    for kind, member, name in (
        ("activity-appended", "activity", "act"),
        ("proposed-plan-upserted", "proposedPlan", "plan"),
    ):
        entry = {"id": f"{name}{number}", "turnId": turn, "createdAt": at(server.sequence)}
        server.emit(kind, **{member: entry})
    server.emit("turn-diff-completed", turnId=turn, checkpointTurnCount=number, status="ready")


def turns(count: int) -> Server:
    server = Server()
    server.say("s", "Be brief.", False, role="system", turnId=None)
    server.emit("activity-appended", activity={"id": "setup", "turnId": None, "createdAt": at(2)})
    for number in range(1, count + 1):
        a_turn(server, number)
    return server


def ids(store: StreamStore) -> list[str]:
    return sorted(message.id for message in store.messages("t1"))


def of_turns(*numbers: int) -> list[str]:
    names = ("u", "a", "b", "act", "plan")
    return sorted(["s", "setup", *(f"{name}{number}" for number in numbers for name in names)])


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_revert_leaves_the_turns_up_to_its_count_and_what_is_of_none(count: int) -> None:
    server = turns(3)
    server.emit("reverted", turnCount=count)
    store = fold(PROTOCOL, server.sent)
    assert ids(store) == of_turns(*range(1, count + 1))
    assert store.session("t1").info == {"revertedTo": count}  # type: ignore[union-attr]


def test_a_turn_after_a_revert_is_shown_and_one_more_revert_takes_it_back() -> None:
    server = turns(2)
    server.emit("reverted", turnCount=1)
    a_turn(server, 3)
    server.sent[-1]["payload"]["checkpointTurnCount"] = 2
    assert ids(fold(PROTOCOL, server.sent)) == of_turns(1, 3)
    server.emit("reverted", turnCount=1)
    assert ids(fold(PROTOCOL, server.sent)) == of_turns(1)


def test_a_revert_behind_a_snapshot_knows_the_messages_and_checkpoints_in_it() -> None:
    server = turns(3)
    (thread,) = encoded(fold(PROTOCOL, server.sent), PROTOCOL)
    thread["checkpoints"] = [
        {"turnId": f"turn-{number}", "checkpointTurnCount": number} for number in (1, 2, 3)
    ]
    snapshot = {"snapshotSequence": server.sequence, "thread": thread}
    store = fold(PROTOCOL, [snapshot, server.emit("reverted", turnCount=2)])
    assert ids(store) == of_turns(1, 2)


def test_without_the_checkpoints_a_revert_removes_nothing_before_the_snapshot() -> None:
    server = turns(3)
    events = [wire for wire in server.sent if wire["type"] != "thread.turn-diff-completed"]
    store = fold(PROTOCOL, [*events, server.emit("reverted", turnCount=2)])
    assert ids(store) == of_turns(1, 2, 3)
    assert store.session("t1").info == {"revertedTo": 2}  # type: ignore[union-attr]


def test_a_revert_that_is_replayed_takes_nothing_back_that_came_after_it() -> None:
    server = turns(2)
    revert = server.emit("reverted", turnCount=1)
    a_turn(server, 3)
    store = fold(PROTOCOL, server.sent)
    before = shown(store)
    store.open(PROTOCOL).ingest(revert)
    store.flush()
    assert shown(store)["sessions"] == before["sessions"]
    again = fold(PROTOCOL, [*server.sent, *server.sent])
    assert ids(again) == of_turns(1, 3)
    store.open(PROTOCOL).ingest(server.emit("reverted", turnCount=1))
    store.flush()
    assert ids(store) == of_turns(1)


def test_what_is_late_of_a_turn_that_was_taken_back_stays_away() -> None:
    server = turns(2)
    late = [
        wire
        for wire in server.sent
        if wire["payload"].get("messageId") == "b2"
        or wire["payload"].get("activity", {}).get("id") == "act2"
    ]
    assert len(late) == 4
    events = [wire for wire in server.sent if wire not in late]
    store = fold(PROTOCOL, [*events, server.emit("reverted", turnCount=1), *late])
    assert ids(store) == of_turns(1)


def test_imported_history_is_not_taken_back() -> None:
    server = turns(1)
    server.say("import:1:0", "Before.", False, role="user", turnId=None)
    server.emit("reverted", turnCount=0)
    assert ids(fold(PROTOCOL, server.sent)) == sorted(["import:1:0", *of_turns()])


def test_a_revert_is_of_its_thread_alone_and_a_saved_state_knows_what_it_takes_back() -> None:
    server = turns(2)
    server.ask("u1", "Another thread's.", "t2")
    server.emit("reverted", turnCount=1)
    store = fold(PROTOCOL, server.sent)
    assert ids(store) == of_turns(1)
    assert [message.id for message in store.messages("t2")] == ["u1"]
    assert_saves_resume(PROTOCOL, server.sent)
    assert_every_tick_is_a_prefix(PROTOCOL, server.sent)
    assert_chunks_do_not_show(PROTOCOL, server.sent)
    assert_no_law_broken(server.sent)


def test_what_a_revert_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t3code, "_REVERTIBLE", 4)
    monkeypatch.setattr(t3code, "_CHECKPOINTS", 2)
    server = turns(4)
    store = fold(PROTOCOL, server.sent)
    memory = store.save()["memory"][PROTOCOL]["t1"]
    assert list(memory["known"]) == ["a4", "b4", "act4", "plan4"]
    assert memory["checkpoints"] == {"turn-3": 3, "turn-4": 4}


# --- what the ingestion lost ----------------------------------------------------------------------


def test_the_delivery_mode_is_a_threads_own() -> None:
    server = Server()
    for thread, mode in (("t1", "streaming"), ("t2", "buffered")):
        server.emit("turn-start-requested", thread, messageId="u", assistantDeliveryMode=mode)
        server.say("m", "half", True, thread)
    store = fold(PROTOCOL, server.sent)
    assert (text(store, "m"), text(store, "m", "t2")) == ("half", "")
    store.open(PROTOCOL).ingest(server.say("m", "", False, "t2"))
    store.flush()
    assert text(store, "m", "t2") == "half"


@pytest.mark.parametrize(("length", "seen"), [(24_000, 0), (24_001, 24_001)])
def test_what_waits_goes_out_whole_when_it_is_too_long(length: int, seen: int) -> None:
    server = Server()
    for start in range(0, length, 1000):
        server.say("m", "x" * min(1000, length - start), True)
    store = fold(PROTOCOL, server.sent, delivery="buffered")
    assert len(text(store, "m")) == seen
    store.open(PROTOCOL).ingest(server.say("m", "", False))  # ends with no text: keeps it
    store.flush()
    assert len(text(store, "m")) == length


def test_an_end_without_a_text_keeps_what_streamed_one_with_a_text_replaces_it() -> None:
    server = Server()
    server.stream("kept", "a", "b", end="")
    server.stream("replaced", "a", "b", end="A B")
    server.stream("fallback", end="never streamed")
    server.stream("empty", end="")
    store = fold(PROTOCOL, server.sent)
    ids = ("kept", "replaced", "fallback", "empty")
    assert [text(store, one) for one in ids] == ["ab", "A B", "never streamed", ""]
    assert {message.status for message in store.messages("t1")} == {"completed"}


def test_a_second_completion_doubles_nothing() -> None:
    server = Server()
    server.stream("m", "a", "b", end="")
    server.say("m", "", False)
    server.say("m", "ab", False)
    assert text(fold(PROTOCOL, server.sent), "m") == "ab"


def test_no_text_is_lost_however_many_messages_wait() -> None:
    server = Server()
    for number in range(600):
        server.say(f"m{number}", f"text {number}", True)
    for number in range(600):
        server.say(f"m{number}", "!", True)
    store = fold(PROTOCOL, server.sent, delivery="buffered")
    store.release("t1")
    store.flush()
    assert [text(store, f"m{number}") for number in range(600)] == [
        f"text {number}!" for number in range(600)
    ]
    assert len(store.save()["memory"][PROTOCOL]["t1"]["streams"]) == 256


@pytest.mark.parametrize("status", ["stopped", "error", "interrupted", "ready"])
def test_a_session_that_exits_shows_what_waited(status: str) -> None:
    server = Server()
    server.emit("session-set", session={"status": "running"})
    server.say("m", "half a sen", True)
    server.emit("session-set", session={"status": status})
    store = fold(PROTOCOL, server.sent, delivery="buffered")
    assert text(store, "m") == "half a sen"


def test_whitespace_is_text() -> None:
    server = Server()
    server.stream("m", "\n", "  ", "indented", " ", end="")
    assert text(fold(PROTOCOL, server.sent), "m") == "\n  indented "


# --- what the client lost -------------------------------------------------------------------------


@each_log
def test_a_replay_on_a_new_stream_changes_nothing(wires: list[Wire]) -> None:
    store = fold(PROTOCOL, wires)
    before, version = shown(store), store.version
    events = [wire for wire in wires if wire.get("kind", "event") == "event"]
    found = store.open(PROTOCOL).ingest_many(events)
    assert {verdict.kind for _, verdict in found} == {"duplicate"} and len(found) == len(events)
    store.flush()
    assert (shown(store), store.version) == (before, version)


def test_a_live_event_that_overtakes_the_replay_loses_nothing() -> None:
    server = Server()
    server.stream("m", "a", "b", "c", end=None)
    first, second, third = server.sent
    store = fold(PROTOCOL, [first, third, second])
    assert text(store, "m") == "abc"


def test_a_delta_behind_the_end_does_not_stream_again() -> None:
    server = Server()
    server.stream("m", "a", "b", end="")
    late = server.sent.pop(1)
    server.say("m", "c", True)
    server.sent.append(late)
    store = fold(PROTOCOL, server.sent)
    assert text(store, "m") == "abc"
    (message,) = store.messages("t1")
    assert message.status == "completed"
    assert encoded(store, PROTOCOL)[0]["messages"][0]["streaming"] is False


def test_a_delta_below_a_replacing_end_is_superseded() -> None:
    server = Server()
    server.stream("m", "a", "b", end="whole")
    late = server.sent.pop(1)
    store = fold(PROTOCOL, [*server.sent, late])
    assert text(store, "m") == "whole" and verdicts(store)["late"] == 1


def test_a_sequence_that_is_left_out_means_nothing() -> None:
    server = Server()
    server.say("m", "a", True)
    server.sequence += 5000
    server.say("m", "b", True)
    store = fold(PROTOCOL, server.sent)
    assert text(store, "m") == "ab"
    assert store.health.gaps == () and store.health.resync == {}


def test_a_deleted_thread_stays_so_whatever_is_replayed() -> None:
    server = Server()
    server.emit("created", title="T")
    server.stream("m", "a", "b", end=None)
    server.emit("deleted")
    store = fold(PROTOCOL, server.sent)
    assert store.session_ids() == ()
    stream = store.open(PROTOCOL)
    stream.ingest_many(server.sent)
    stream.ingest(server.say("m", "late", True))
    store.flush()
    assert store.session_ids() == ()


def test_a_server_that_counts_anew_is_proved_by_its_snapshot() -> None:
    before, after = Server(500), Server(3)
    before.stream("old", "a", "b", end="")
    store = fold(PROTOCOL, before.sent)
    token = store.begin_read("t1")
    thread = {"id": "t1", "session": None, "messages": []}
    after.sequence = 3
    item = {
        "kind": "snapshot",
        "snapshot": {"snapshotSequence": 3, "thread": thread},
        "readFrom": token,
    }
    stream = store.open(PROTOCOL)
    stream.ingest(item)
    after.stream("new", "fresh", end="")
    stream.ingest_many(after.sent)
    store.flush()
    assert text(store, "new") == "fresh"


def test_what_was_taken_back_by_the_old_count_takes_nothing_of_the_new_one() -> None:
    before = turns(2)
    before.sequence = 500
    before.emit("reverted", turnCount=1)
    a_usage(before, "usage", 1)
    store = fold(PROTOCOL, before.sent)
    (thread,) = encoded(store, PROTOCOL)
    item = {"snapshotSequence": 3, "thread": thread}
    after = Server(3)
    after.say("new", "fresh", True, turnId="turn-9")
    a_usage(after, "new usage", 2)
    stream = store.open(PROTOCOL)
    stream.ingest({"kind": "snapshot", "snapshot": item, "readFrom": store.begin_read("t1")})
    stream.ingest_many(after.sent)
    store.flush()
    assert text(store, "new") == "fresh"
    assert {"new", "new usage"} <= set(ids(store)) and "usage" not in ids(store)


def test_what_was_taken_back_before_a_stream_says_that_it_counts_anew_takes_nothing() -> None:
    before = turns(2)
    before.sequence = 500
    before.emit("reverted", turnCount=1)
    store = fold(PROTOCOL, before.sent)
    after = Server(3)
    after.say("new", "fresh", True, turnId="turn-9")
    store.open(PROTOCOL, generation="second").ingest_many(after.sent)
    store.flush()
    assert text(store, "new") == "fresh"


def test_a_page_of_a_window_removes_nothing() -> None:
    server = Server()
    server.ask("u1", "one")
    server.ask("u2", "two")
    store = fold(PROTOCOL, server.sent)
    (thread,) = encoded(store, PROTOCOL)
    del thread["messages"][0]
    page = {"beforeCursor": "c", "hasMore": True, "snapshotSequence": 2}
    stream = store.open(PROTOCOL)
    stream.ingest({"snapshotSequence": 2, "thread": thread, "page": page})
    store.flush()
    assert [message.id for message in store.messages("t1")] == ["u1", "u2"]
    stream.ingest({"snapshotSequence": 2, "thread": thread})
    store.flush()
    assert [message.id for message in store.messages("t1")] == ["u2"]


def test_activities_are_replaced_by_id() -> None:
    server = Server()
    for summary in ("running", "done"):
        server.emit("activity-appended", activity={"id": "a", "summary": summary})
    server.emit("proposed-plan-upserted", proposedPlan={"id": "p", "planMarkdown": "# Plan"})
    (thread,) = encoded(fold(PROTOCOL, [*server.sent[::-1]]), PROTOCOL)
    assert [entry["summary"] for entry in thread["activities"]] == ["done"]
    assert [entry["planMarkdown"] for entry in thread["proposedPlans"]] == ["# Plan"]


def a_usage(server: Server, name: str, tokens: Any, turn: str | None = "turn-1") -> None:
    server.emit(
        "activity-appended",
        activity={
            "id": name, "kind": "context-window.updated", "turnId": turn, "createdAt": at(1),
            "payload": {"usedTokens": tokens},
        },
    )  # fmt: skip


def test_of_the_context_usage_of_a_turn_the_last_one_is_kept() -> None:
    server = Server()
    for number in range(6):
        a_usage(server, f"first-{number}", number)
        a_usage(server, f"of-none-{number}", number, None)
    for number, tokens in enumerate((None, -1, True, "9")):
        a_usage(server, f"unknown-{number}", tokens)
    a_usage(server, "second", 9, "turn-2")
    left = sorted(["first-5", "of-none-5", "second", *(f"unknown-{n}" for n in range(4))])
    store = fold(PROTOCOL, server.sent)
    assert ids(store) == left
    for seed in range(20):
        mixed = random.Random(seed).sample(server.sent, len(server.sent))
        assert ids(fold(PROTOCOL, mixed + mixed[::2])) == left
    known = store.save()["memory"][PROTOCOL]["t1"]["known"]
    assert sorted(known) == left  # what is gone is not remembered


def test_the_context_usage_of_a_snapshot_gives_way_to_a_newer_one() -> None:
    server = Server(5)
    usage = {"id": "old", "kind": "context-window.updated", "turnId": "turn-1",
             "payload": {"usedTokens": 1}}  # fmt: skip
    thread = {"id": "t1", "messages": [], "activities": [usage]}
    a_usage(server, "new", 2)
    store = fold(PROTOCOL, [{"snapshotSequence": 5, "thread": thread}, *server.sent])
    assert ids(store) == ["new"]


# --- for every log --------------------------------------------------------------------------------


@each_log
def test_shown_text_is_a_prefix_of_the_final_one_after_every_event(wires: list[Wire]) -> None:
    assert_every_tick_is_a_prefix(PROTOCOL, wires)


@each_log
def test_how_the_bytes_are_cut_changes_nothing(wires: list[Wire]) -> None:
    assert_chunks_do_not_show(PROTOCOL, wires)


@each_log
def test_a_saved_state_and_the_tail_are_the_full_replay(wires: list[Wire]) -> None:
    assert_saves_resume(PROTOCOL, wires)


@each_log
def test_no_law_is_broken(wires: list[Wire]) -> None:
    assert_no_law_broken(wires)


@each_log
def test_the_short_way_of_a_delta_agrees_with_the_long_one(
    wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    short, memory = fold(PROTOCOL, wires).state(), fold(PROTOCOL, wires).save()["memory"]
    monkeypatch.setattr(T3CodeAdapter, "plain", lambda self, wire: None)
    assert fold(PROTOCOL, wires).state() == short
    assert fold(PROTOCOL, wires).save()["memory"] == memory


def test_plain_deltas_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    decode = T3CodeAdapter.decode
    monkeypatch.setattr(
        T3CodeAdapter, "decode", lambda self, wire: seen.append(wire) or decode(self, wire)
    )
    server = Server()
    server.stream("m", *"abcdef", end="")
    items = [{"kind": "event", "event": wire} for wire in server.sent]
    fold(PROTOCOL, server.sent)
    fold(PROTOCOL, items)
    assert seen == [server.sent[0], server.sent[-1], items[0], items[-1]]


def test_the_first_event_tells_the_protocol() -> None:
    assert_detection_is_sure(PROTOCOL)
    assert all(T3CodeAdapter.detects(wire) for wire in LOGS["seed 0"])


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"sequence": None}, "sequence"),
        ({"type": 7}, "type"),
        ({"payload": []}, "payload"),
        ({"payload": {"threadId": "t1"}}, "payload.messageId"),
    ],
)
def test_what_breaks_the_protocol_is_named_and_the_rest_goes_on(changed: Wire, field: str) -> None:
    server = Server()
    server.stream("m", "a", "b", end=None)
    store = StreamStore()
    stream = store.open(PROTOCOL)
    stream.ingest(server.sent[0])
    verdict = stream.ingest({**server.sent[0], **changed})
    assert (verdict.kind, verdict.reason) == ("malformed", field)
    stream.ingest(server.sent[1])
    store.flush()
    assert text(store, "m") == "ab"


@pytest.mark.parametrize("end", ["", "One, all of it."])
def test_a_message_stands_where_its_first_event_says_in_whatever_order_they_come(end: str) -> None:
    server = Server()
    server.say("m", "One, ", True)
    server.emit("activity-appended", activity={"id": "a", "kind": "tool", "createdAt": at(1)})
    server.say("m", "two.", True)
    server.emit("activity-appended", activity={"id": "b", "kind": "tool", "createdAt": at(3)})
    server.say("m", end, False)
    whole = fold(PROTOCOL, server.sent)
    assert [message.id for message in whole.messages("t1")] == ["m", "a", "b"]
    for order in itertools.permutations(server.sent):
        store = fold(PROTOCOL, list(order))
        assert [message.id for message in store.messages("t1")] == ["m", "a", "b"]
        assert store.message("t1", "m").info["createdAt"] == at(0)  # type: ignore[union-attr]
        assert encoded(store, PROTOCOL) == encoded(whole, PROTOCOL)


@pytest.mark.parametrize("seen", [["m2"], ["m3"], ["m2", "m3"], ["m3", "m2"]])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("later", [False, True])
def test_a_message_is_where_a_snapshot_says_that_is_older_than_what_came_of_it(
    seen: list[str], cut: bool, later: bool
) -> None:
    """The stream is opened first: a message of which something was live stood behind what was said
    since it began, and one whose end was live streamed on for ever. The snapshot may have of the
    live events what is older than the others."""
    server = Server()
    server.say("m", "One, ", True)
    server.emit("activity-appended", activity={"id": "a", "kind": "tool", "createdAt": at(1)})
    thread = encoded(fold(PROTOCOL, server.sent), PROTOCOL)[0]
    snapshot = {"snapshotSequence": server.sequence, "thread": thread}
    live = {"m2": server.say("m", "two.", True), "m3": server.say("m", "", False)}
    if later:
        thread = encoded(fold(PROTOCOL, server.sent[:-1]), PROTOCOL)[0]
        snapshot = {"snapshotSequence": server.sequence - 1, "thread": thread}
    whole = fold(PROTOCOL, [snapshot, *live.values()])
    store = fold(PROTOCOL, [live[name] for name in seen])
    if cut:
        store = StreamStore.load(store.save())
    stream = store.open(PROTOCOL)
    stream.ingest_many([snapshot, *live.values(), *server.sent])
    store.flush()
    assert [message.id for message in store.messages("t1")] == ["m", "a"]
    assert encoded(store, PROTOCOL) == encoded(whole, PROTOCOL)
    assert text(store, "m") == "One, two."


def test_dates_are_read_and_nothing_else_is_taken_for_one() -> None:
    assert milliseconds("2024-02-29T01:02:03.5Z") == 1_709_168_523_500
    assert milliseconds("2026-02-28T23:59:59.999Z") == 1_772_323_199_999
    for other in (None, 5, "", "2026-02-28", "2026-02-28T23:59:59.999", "٢٠٢٦-02-28T23:59:59Z"):
        assert milliseconds(other) is None


@settings(max_examples=60)
@given(st.lists(mutated([*LOGS["recorded"], *LOGS["seed 0"]]) | JSON, min_size=1, max_size=4))
def test_anything_may_come(wires: list[Any]) -> None:
    assert_total(PROTOCOL, wires, LOGS["recorded"])
