"""opencode end to end against a virtual server that plays recordings and drops connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any, cast

import pytest
from opencode_server import OpencodeServer
from virtual import JSON, Answer, VirtualClock, VirtualTransport, run

from streamstore import CallerError, ChangeSet, StreamStore
from streamstore.adapters.opencode import OpencodeAdapter
from streamstore.client import ConnectionLost, OpencodeClient, Read, RequestFailed
from streamstore.events import MessageOpened

DATA = Path(__file__).resolve().parent.parent / "data" / "opencode"

Wire = dict[str, Any]


def recording(name: str) -> list[Wire]:
    lines = (DATA / name / "events.jsonl").read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


def client_of(server: OpencodeServer, store: StreamStore, **options: Any) -> OpencodeClient:
    transport = VirtualTransport(server.serve)
    return OpencodeClient(
        "http://server", store=store, transport=transport, clock=VirtualClock(),
        chance=server.random.random, **options,
    )  # fmt: skip


def encoded(store: StreamStore) -> Wire:
    state: Any = OpencodeAdapter().encode(store)
    return dict(state)


def initial(name: str) -> Wire | None:
    """What the server had stored when the recording began."""
    file = DATA / name / "initial.json"
    return json.loads(file.read_bytes()) if file.exists() else None


def clean_fold(events: list[Wire], before: Wire | None = None) -> Wire:
    store = StreamStore("opencode")
    if before is not None:
        store.ingest_many([before])
    store.ingest_many(events)
    return encoded(store)


def texts(state: Wire) -> dict[str, str]:
    return {
        part["id"]: part.get("text", "")
        for messages in state["messages"].values()
        for message in messages
        for part in message["parts"]
    }


class Watching:
    """At every tick: edits alone give the text, and it is a prefix of what it became.

    A part with a known gap may lack text; what was shown of it before is not held against it, nor
    is what a rewrite announced to be another text.
    """

    def __init__(self, store: StreamStore, final: dict[str, str]) -> None:
        self.store = store
        self.final = final
        self.shown: dict[Any, str] = {}
        self.ticks = 0
        self.gapped = 0
        store.subscribe(self.safely)
        self.errors: list[BaseException] = []

    def safely(self, changes: ChangeSet) -> None:
        try:
            self.hear(changes)
        except BaseException as error:  # a subscriber's errors are reported, not raised
            self.errors.append(error)

    def hear(self, changes: ChangeSet) -> None:
        self.ticks += 1
        assert not changes.reset
        for gone in changes.removed:
            place = tuple(gone)
            self.shown = {
                at: text for at, text in self.shown.items() if at[0][: len(place)] != place
            }
        for (key, field), edit in changes.text.items():
            before = self.shown.get((key, field), "")
            assert 0 <= edit.start <= len(before)
            assert edit.rewritten or edit.start == len(before)
            text = self.shown[key, field] = before[: edit.start] + edit.text
            part = self.store.part(key.session_id, key.message_id, key.block_index)
            assert part is not None and (field != "text" or part.text == text)
            if part.gap:
                self.gapped += 1
            elif field == "text" and key.block_index in self.final:
                assert self.final[key.block_index].startswith(text), f"{text!r} at {key}"


CASES = [
    "text_plain",
    "tools",
    "permission_ask",
    "question",
    "remove_revert",
    "global_event",
    "join_late",
]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", CASES)
def test_drops_at_random_bytes_lose_and_double_nothing(name: str, seed: int) -> None:
    """The final state is that of the clean recording, before and after a last read of the state."""
    events, before = recording(name), initial(name)
    expected = clean_fold(events, before)

    async def main() -> None:
        random = Random(f"{name}{seed}")
        server = OpencodeServer(random, drops=random.choice((2_000, 10_000, 60_000)))
        server.lag = random.choice((0.0, 1.0))
        if before is not None:
            server.state.load(before)
        store = StreamStore(ticks="asyncio" if seed % 2 else None)
        watching = Watching(store, texts(expected))
        client = client_of(server, store, global_events=name == "global_event")
        async with client as connection:
            for event in events:
                server.publish(event)
                if random.random() < 0.3:
                    await asyncio.sleep(random.random() * 0.3)
            server.drops = None
            await asyncio.sleep(120)
            for _ in range(2):
                assert connection.state == "open" and connection.status.synced
                store.flush()
                got = encoded(store)
                for part in ("sessions", "messages", "status", "todo", "permission", "question"):
                    assert got[part] == expected[part], part
                await connection.resync()
            assert not store.health.gaps
        assert not watching.errors, watching.errors
        assert watching.ticks > 1
        assert connection.reconnects == server.connections - 1

    run(main())


def test_without_drops_nothing_is_gapped_and_the_state_is_read_once() -> None:
    events = recording("tools")

    async def main() -> None:
        server = OpencodeServer(Random(1))
        store = StreamStore()
        watching = Watching(store, texts(clean_fold(events)))
        async with client_of(server, store):
            await asyncio.sleep(1)
            for event in events:
                server.publish(event)
                await asyncio.sleep(0.02)
            await asyncio.sleep(1)
        assert server.reads.count("/session") == 1
        assert encoded(store) == clean_fold(events)
        assert watching.gapped == 0 and not watching.errors

    run(main())


def test_the_state_is_read_when_the_server_listens_and_not_when_it_answers() -> None:
    """What is published in between would be in neither the read state nor the stream."""
    events = recording("text_plain")

    async def main() -> None:
        server = OpencodeServer(Random(1))
        server.lag = 5.0
        store = StreamStore()
        async with client_of(server, store):
            await asyncio.sleep(0.4)
            assert server.subscribers == [] and server.reads == []
            for event in events:
                server.publish(event)
            await asyncio.sleep(6)
            assert encoded(store)["messages"] == clean_fold(events)["messages"]

    run(main())


def test_who_joins_late_reads_every_page_and_all_that_waits() -> None:
    events = recording("permission_ask")
    asked = next(n for n, wire in enumerate(events) if wire["type"] == "permission.asked") + 1

    async def main() -> None:
        server = OpencodeServer(Random(1), page=1)
        for event in events[:asked]:
            server.publish(event)
        store = StreamStore()
        async with client_of(server, store) as connection:
            await asyncio.sleep(5)
            [session_id] = store.session_ids()
            session = store.session(session_id)
            assert session is not None and len(session.permissions) == 1
            assert session.status is not None and session.status.type == "busy"
            assert len(store.messages(session_id)) == len(server.state.read(session_id)) >= 2
            assert server.reads.count(f"/session/{session_id}/message") == len(
                store.messages(session_id)
            )
            assert connection.status.synced

    run(main())


def test_a_session_that_the_status_does_not_name_is_idle() -> None:
    """It went idle while nobody was connected."""
    events = recording("text_plain")
    busy = next(n for n, w in enumerate(events) if w["type"] == "session.status") + 1

    async def main() -> None:
        server = OpencodeServer(Random(1))
        store = StreamStore()
        async with client_of(server, store) as connection:
            await asyncio.sleep(1)
            for event in events[:busy]:
                server.publish(event)
            await asyncio.sleep(1)
            [session_id] = store.session_ids()
            assert store.session(session_id).status.type == "busy"  # type: ignore[union-attr]
            server.subscribers.clear()
            for event in events[busy:]:
                server.publish(event)
            await connection.resync()
            assert store.session(session_id).status.type == "idle"  # type: ignore[union-attr]
            server.subscribers.append(asyncio.Queue())

    run(main())


def test_a_session_that_was_deleted_meanwhile_is_gone_and_one_beyond_the_list_is_not() -> None:
    events = recording("text_plain")
    info = next(w for w in events if w["type"] == "session.created")["properties"]["info"]
    other = {**info, "id": "ses_other"}

    async def main() -> None:
        server = OpencodeServer(Random(1))
        for event in events:
            server.publish(event)
        server.publish(
            {"type": "session.created", "properties": {"sessionID": "ses_other", "info": other}}
        )
        store = StreamStore()
        async with client_of(server, store) as connection:
            await asyncio.sleep(5)
            assert set(store.session_ids()) == {info["id"], "ses_other"}
            del server.state.sessions["ses_other"]
            short = Answer(200, JSON, [b"[]"])  # a list that is cut
            server.fail = lambda path: short if path == "/session" else None
            await connection.resync()
            assert store.session_ids() == (info["id"],)

    run(main())


@pytest.mark.parametrize("late", [False, True])
def test_a_session_that_was_deleted_at_work_stays_gone_whatever_the_server_says_of_it(
    late: bool,
) -> None:
    """It tries on what it was at: its status and what it asks are told as those of any other."""

    async def main() -> None:
        server = OpencodeServer(Random(1))
        server.publish(created("ses_1"))
        store = StreamStore()
        async with client_of(server, store) as connection:
            if not late:
                await asyncio.sleep(5)
                assert store.session_ids() == ("ses_1",)
            gone = {"type": "session.deleted", "properties": {"sessionID": "ses_1"}}
            again = {"type": "retry", "attempt": 1, "message": "No such session", "next": 9}
            status = {"sessionID": "ses_1", "status": again}
            asked = {"id": "per_1", "sessionID": "ses_1", "permission": "bash"}
            for wire in (
                gone,
                {"type": "session.status", "properties": status},
                {"type": "permission.asked", "properties": asked},
            ):
                server.publish(wire)
            assert server.state.status and server.state.permission
            await asyncio.sleep(5)
            for _ in range(2):
                assert store.session_ids() == ()
                server.publish({"type": "session.status", "properties": status})
                await connection.resync()
            assert store.session_ids() == ()

    run(main())


def test_more_sessions_are_listed_where_that_is_asked_for_and_read_when_they_are_opened() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        for number in range(150):
            server.publish(created(f"ses_{number}"))
            entry = user_events(f"ses_{number}", f"msg_{number}", [])
            server.publish(entry[0])
        for sessions, listed in ((100, 100), (120, 120), (1000, 150)):
            store = StreamStore()
            opened = {"ses_1"}
            follow = lambda info, opened=opened: info["id"] in opened  # noqa: E731
            client = client_of(server, store, sessions=sessions, follow=follow)
            async with client as connection:
                await asyncio.sleep(5)
                assert len(store.session_ids()) == listed
                assert shown(store, "ses_1") == [("user", [])] and not shown(store, "ses_99")
                opened.add("ses_99")
                server.reads.clear()
                connection.request_resync({"ses_99": "opened"})
                await asyncio.sleep(5)
                assert shown(store, "ses_1") == shown(store, "ses_99") == [("user", [])]
                assert "/session/ses_1/message" not in server.reads

    run(main())


@pytest.mark.parametrize("directory", [None, "/one", "/two"])
def test_the_sessions_of_one_directory_are_listed(directory: Any) -> None:
    """Of another one no event would come: what is prompted there would never be answered."""

    async def main() -> None:
        server = OpencodeServer(Random(1), home="/one")
        for name in ("one", "two"):
            info = {**info_of(f"ses_{name}"), "directory": f"/{name}"}
            server.publish(
                {"type": "session.created", "properties": {"sessionID": info["id"], "info": info}}
            )
            server.publish(status(info["id"], "busy"))
            asks = {"id": f"per_{name}", "sessionID": info["id"], "permission": "bash"}
            server.publish({"type": "permission.asked", "properties": asks})
        store = StreamStore()
        async with client_of(server, store, directory=directory) as connection:
            await asyncio.sleep(5)
            [session_id] = store.session_ids()
            assert session_id == ("ses_two" if directory == "/two" else "ses_one")
            session = store.session(session_id)
            assert session is not None and session.status is not None
            assert session.status.type == "busy" and len(session.permissions) == 1
            assert connection.status.resync_error is None
        asked = [path for path in server.reads if path == "/path"]
        assert len(asked) == (directory is None)

    run(main())


def info_of(session_id: str) -> Wire:
    return {"id": session_id, "title": session_id, "time": {"created": 1, "updated": 1}}


def created(session_id: str) -> Wire:
    properties = {"sessionID": session_id, "info": info_of(session_id)}
    return {"type": "session.created", "properties": properties}


def test_a_read_of_one_server_removes_nothing_of_another_one() -> None:
    """Two servers on one store; each session is asked for where it came from, by a read or live."""

    async def main() -> None:
        servers = {name: OpencodeServer(Random(1)) for name in ("one", "two")}
        for name, server in servers.items():
            server.publish(created(f"ses_{name}"))
        store = StreamStore()
        one, two = (
            OpencodeClient(
                f"http://{name}", store=store, transport=VirtualTransport(server.serve),
                clock=VirtualClock(), chance=lambda: 0.0,
            )
            for name, server in servers.items()
        )  # fmt: skip
        async with one as first, two as second:
            await asyncio.sleep(5)
            for name, server in servers.items():
                server.publish(created(f"ses_{name}_live"))
                server.publish(created(f"ses_{name}_gone"))
            await asyncio.sleep(5)
            both = {f"ses_{name}{more}" for name in servers for more in ("", "_live", "_gone")}
            assert set(store.session_ids()) == both
            await first.resync()
            await second.resync()
            assert set(store.session_ids()) == both

            for name, server in servers.items():
                # Deleted while nobody was connected, and never in a list.
                server.publish(created(f"ses_{name}_late"))
                await asyncio.sleep(1)
                for queue in server.subscribers:
                    queue.put_nowait(None)
                for gone in (f"ses_{name}_gone", f"ses_{name}_late"):
                    del server.state.sessions[gone]
            await asyncio.sleep(60)
            assert first.reconnects == second.reconnects == 1
            assert set(store.session_ids()) == {i for i in both if not i.endswith("gone")}

    run(main())


@pytest.mark.parametrize(
    "other", [None, "http://server/", "http://other"], ids=["alone", "the same", "another"]
)
def test_what_was_saved_is_asked_for_where_all_clients_are_of_one_server(other: Any) -> None:
    before = StreamStore("opencode")
    before.ingest_many([created("ses_old"), created("ses_gone")])
    before.flush()

    async def main() -> None:
        store = StreamStore.load(before.save())
        server = OpencodeServer(Random(1))
        server.publish(created("ses_old"))
        if other is not None:
            OpencodeClient(other, store=store, transport=VirtualTransport(server.serve))
        async with client_of(server, store):
            await asyncio.sleep(5)
        left = {"ses_old", "ses_gone"} if other == "http://other" else {"ses_old"}
        assert set(store.session_ids()) == left

    run(main())


def test_a_state_is_one_object_for_each_session_with_all_that_was_read_of_it() -> None:
    """The connection gives the loop a turn between two: a large state is no freeze."""

    async def main() -> None:
        server = OpencodeServer(Random(1))
        names = ["ses_a", "ses_b", "ses_c", "ses_beyond"]
        for name in names:
            info = {"id": name, "title": name, "time": {"created": 1, "updated": 1}}
            server.state.sessions[name] = info
            server.state.status[name] = {"type": "busy"}
            server.state.permission[f"per_{name}"] = {"id": f"per_{name}", "sessionID": name}
        listed = list(server.state.sessions.values())[:-1]  # a list that is cut
        short = Answer(200, JSON, [json.dumps(listed).encode()])
        server.fail = lambda path: short if path == "/session" else None
        store = StreamStore()
        client = client_of(server, store)
        read, found = client.fetch, []

        async def fetch(what: Read) -> list[Any]:
            found.extend(await read(what))
            return found

        client.fetch = fetch  # type: ignore[method-assign]
        async with client:
            await asyncio.sleep(5)
        for name in names:
            session = store.session(name)
            assert session is not None and session.status is not None
            assert session.info["title"] == name
            assert session.status.type == "busy" and list(session.permissions) == [f"per_{name}"]
        assert [[*wire["status"]] for wire in found] == [[name] for name in names]
        # None of them was known: all are as old as the read, whatever stream they come through.
        assert [type(wire["readFrom"]) for wire in found] == [str] * len(names)

    run(main())


def test_a_read_that_began_on_an_earlier_connection_is_as_old_as_that() -> None:
    """What came live behind it, before the drop, is newer, and not a word of it is taken back."""

    async def main() -> None:
        server = OpencodeServer(Random(1))
        store = StreamStore()

        def said(text: str) -> Wire:
            part = {"id": "prt_1", "sessionID": "ses_1", "messageID": "msg_1", "type": "text"}
            return {"type": "message.part.updated", "properties": {"part": {**part, "text": text}}}

        info = {"id": "msg_1", "sessionID": "ses_1", "role": "assistant", "time": {"created": 1}}
        for event in (
            created("ses_1"),
            {"type": "message.updated", "properties": {"info": info}},
            said("a"),
        ):
            server.publish(event)  # nobody listens yet: no read and no event has told of it

        def fail(path: str) -> Answer | None:
            if not path.endswith("/todo") or server.connections > 1:
                return None
            # The messages were read; now comes more, the connection drops, and another one opens.
            server.publish(said("b"))
            for queue in server.subscribers:
                queue.put_nowait(None)
            return Answer(200, JSON, [b"[]"], after_ms=5_000)

        server.fail = fail
        shown_: list[str] = []
        opened: list[int] = []

        def hear(changes: ChangeSet) -> None:
            part = store.part("ses_1", "msg_1", "prt_1")
            if part is not None:
                shown_.append(part.text)
                opened.append(server.connections)

        store.subscribe(hear)
        async with client_of(server, store):
            await asyncio.sleep(20)
        assert set(shown_) == {"b"} and set(opened) == {1, 2}

    run(main())


def test_what_works_and_waits_in_another_directory_still_does_after_a_read() -> None:
    """The server says who is busy, and what is asked, for one directory at a time."""

    async def main() -> None:
        server = OpencodeServer(Random(1), home="/one")
        store = StreamStore()
        client = client_of(server, store, global_events=True)

        def say(kind: str, session: str, **body: Any) -> None:
            server.publish({"type": kind, "properties": {"sessionID": session, **body}})

        def held() -> dict[str, Any]:
            sessions = ((sid, store.session(sid)) for sid in store.session_ids())
            return {
                sid: (session.status.type, *session.permissions, *session.questions)
                for sid, session in sessions
                if session is not None and session.status is not None
            }

        async with client as connection:
            await asyncio.sleep(5)
            for name, directory in (("ses_1", "/one"), ("ses_2", "/t w o"), ("ses_3", "/three")):
                info = {"id": name, "directory": directory, "time": {"created": 1, "updated": 1}}
                say("session.created", name, info=info)
                say("session.status", name, status={"type": "busy"})
                say("permission.asked", name, id=f"per_{name}", permission="bash")
                say("question.asked", name, id=f"que_{name}", questions=[])
            await asyncio.sleep(5)
            before = held()
            assert before["ses_2"] == ("busy", "per_ses_2", "que_ses_2")
            await connection.resync()
            assert held() == before

            say("session.status", "ses_2", status={"type": "idle"})
            server.state.permission.pop("per_ses_2")  # and nobody says so
            await connection.resync()
            assert held() == {**before, "ses_2": ("idle", "que_ses_2")}

            await client.reply_permission("per_ses_1", "once")
            await client.reply_permission("per_ses_3", "once")
            await client.reply_question("que_ses_2", [["yes"]])
            await client.reject_question("que_ses_3")
        requests = client._transport.requests  # type: ignore[attr-defined]
        answers = [request.url.partition("?")[2] for request in requests if request.body]
        one, two, three = "directory=%2Fone", "directory=%2Ft+w+o", "directory=%2Fthree"
        assert answers == [one, three, two, three]

    run(main())


def test_a_read_that_fails_changes_nothing_and_is_made_again() -> None:
    events = recording("text_plain")
    failures = iter(
        [
            Answer(500, JSON, [b'{"message": "the disk is full"}']),
            ConnectionLost("reset"),
            Answer(200, JSON, [b"[{]"]),
            Answer(200, JSON, [b"{}"]),
        ]
    )

    async def main() -> None:
        server = OpencodeServer(Random(1))
        for event in events:
            server.publish(event)
        server.fail = lambda path: next(failures, None) if path.endswith("/message") else None
        store = StreamStore()
        async with client_of(server, store) as connection:
            await asyncio.sleep(0.9)
            assert store.session_ids() == ()
            assert "answered 500; it says: " in str(connection.status.resync_error)
            await asyncio.sleep(60)
            assert connection.status.synced and connection.status.resync_error is None
            assert encoded(store)["messages"] == clean_fold(events)["messages"]
        assert server.reads.count("/session") == 5

    run(main())


@pytest.mark.parametrize(
    ("path", "answer", "problem"),
    [
        ("/session/status", ["busy"], "/session/status: the answer is no object"),
        ("/permission", {"per": {}}, "/permission: the answer is no list of objects"),
        ("/question", ["que"], "/question: the answer is no list of objects"),
        ("/question", [{"id": "que", "sessionID": []}], "question.0.sessionID"),
    ],
)
def test_a_read_that_cannot_be_used_is_said(path: str, answer: Any, problem: str) -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        data = json.dumps(answer).encode()
        server.fail = lambda asked: Answer(200, JSON, [data]) if asked == path else None
        async with client_of(server, StreamStore()) as connection:
            await asyncio.sleep(0.9)
            assert problem in str(connection.status.resync_error)

    run(main())


def test_a_session_that_is_asked_for_by_name_must_be_an_object() -> None:
    answers = {
        "/permission": [{"id": "per", "sessionID": "ses_beyond"}],
        "/session/ses_beyond": ["ses_beyond"],
    }

    async def main() -> None:
        server = OpencodeServer(Random(1))
        data = {path: json.dumps(answer).encode() for path, answer in answers.items()}
        server.fail = lambda path: Answer(200, JSON, [data[path]]) if path in data else None
        async with client_of(server, StreamStore()) as connection:
            await asyncio.sleep(0.9)
            problem = "/session/ses_beyond: the answer is no object"
            assert problem in str(connection.status.resync_error)

    run(main())


def test_a_read_is_made_again_when_the_server_wants_it() -> None:
    busy = iter([Answer(429, {"retry-after": "90"}), Answer(503, {"retry-after": "x"})])

    async def main() -> None:
        server = OpencodeServer(Random(1))
        for event in recording("text_plain"):
            server.publish(event)
        server.fail = lambda path: next(busy, None) if path.endswith("/message") else None
        async with client_of(server, StreamStore()) as connection:
            await asyncio.sleep(85)
            assert server.reads.count("/session") == 1 and not connection.status.synced
            await asyncio.sleep(25)
            assert server.reads.count("/session") == 3 and connection.status.synced

    run(main())


def test_an_old_server_answers_what_it_does_not_know_with_a_page() -> None:
    events = recording("text_plain")
    page = lambda: Answer(200, {"content-type": "text/html"}, [b"<html>"])  # noqa: E731

    async def main() -> None:
        server = OpencodeServer(Random(1))
        for event in events:
            server.publish(event)
        server.fail = lambda path: page() if path in ("/question", "/permission") else None
        store = StreamStore()
        async with client_of(server, store) as connection:
            await asyncio.sleep(5)
            assert connection.status.synced and store.session_ids()

    run(main())


# --- acting ---------------------------------------------------------------------------------------


def user_events(session_id: str, message_id: str, parts: list[Wire]) -> list[Wire]:
    info = {
        "id": message_id, "sessionID": session_id, "role": "user", "time": {"created": 5},
        "agent": "build", "model": {"providerID": "p", "modelID": "m"},
    }  # fmt: skip
    whole = [{**part, "sessionID": session_id, "messageID": message_id} for part in parts]
    return [
        {"type": "message.updated", "properties": {"sessionID": session_id, "info": info}},
        *(
            {
                "type": "message.part.updated",
                "properties": {"sessionID": session_id, "part": part, "time": 5},
            }
            for part in whole
        ),
    ]


def shown(store: StreamStore, session_id: str) -> list[tuple[str, list[str]]]:
    store.flush()
    return [
        (m.role, [p.text for p in store.parts(session_id, m.id)])
        for m in store.messages(session_id)
    ]


def test_a_prompt_is_shown_at_once_and_confirmed_part_by_part() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        store = StreamStore()
        client = client_of(server, store)
        async with client:
            await asyncio.sleep(1)
            server.on_post = lambda path, body: Answer(204, {}, after_ms=500)
            extra = [{"type": "file", "mime": "text/plain", "url": "file:///x"}]
            sending = asyncio.create_task(client.prompt("ses_1", "hi", parts=extra, agent="build"))
            await asyncio.sleep(0.1)
            assert shown(store, "ses_1") == [("user", ["hi", ""])]
            message_id = await sending
            [(path, body)] = server.posts
            assert path == "/session/ses_1/prompt_async" and body["agent"] == "build"
            assert body["messageID"] == message_id and len(body["parts"]) == 2
            confirmed = user_events("ses_1", message_id, body["parts"])
            for event in confirmed[:2]:
                server.publish(event)
            await asyncio.sleep(0.1)
            assert shown(store, "ses_1") == [("user", ["hi", ""])]
            for event in confirmed[2:]:
                server.publish(event)
            await asyncio.sleep(0.1)
            assert shown(store, "ses_1") == [("user", ["hi", ""])]
            # Confirmed, it is the server's: a rollback takes nothing back.
            from streamstore.events import MessageRollback

            store.apply(MessageRollback(session_id="ses_1", message_id=message_id))
            assert shown(store, "ses_1") == [("user", ["hi", ""])]

    run(main())


@pytest.mark.parametrize(
    "failure",
    [
        Answer(400, JSON, [b"{}"]),
        ConnectionLost("reset"),
        Answer(200, {"content-type": "text/html"}, [b"<html>"]),
    ],
)
def test_a_prompt_that_fails_is_taken_back(failure: Any) -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        store = StreamStore()
        client = client_of(server, store)
        async with client:
            server.on_post = lambda path, body: failure
            with pytest.raises((RequestFailed, ConnectionLost)):
                await client.prompt("ses_1", "hi")
            assert shown(store, "ses_1") == []

    run(main())


def test_only_what_was_not_confirmed_is_taken_back_and_the_stream_may_bring_it_again() -> None:
    """The server took the first part over, then the answer was lost."""

    async def main() -> None:
        server = OpencodeServer(Random(1))
        store = StreamStore()
        client = client_of(server, store)

        def post(path: str, body: Wire) -> Any:
            for event in user_events("ses_1", body["messageID"], body["parts"])[:2]:
                server.publish(event)
            return Answer(204, {}, after_ms=10**6)

        async with client:
            await asyncio.sleep(1)
            server.on_post = post
            sending = asyncio.create_task(
                client.prompt("ses_1", "hi", parts=[{"type": "text", "text": "there"}])
            )
            await asyncio.sleep(1)
            assert shown(store, "ses_1") == [("user", ["hi", "there"])]
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert shown(store, "ses_1") == [("user", ["hi"])]
            body = server.posts[0][1]
            for event in user_events("ses_1", body["messageID"], body["parts"]):
                server.publish(event)
            await asyncio.sleep(1)
            assert shown(store, "ses_1") == [("user", ["hi", "there"])]

    run(main())


def test_a_message_that_waits_for_the_server_outlives_a_read_of_the_state() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        for event in recording("text_plain"):
            server.publish(event)
        [session_id] = server.state.sessions
        store = StreamStore()
        client = client_of(server, store)
        async with client as connection:
            await asyncio.sleep(2)
            before = shown(store, session_id)
            server.on_post = lambda path, body: Answer(204, {}, after_ms=5_000)
            sending = asyncio.create_task(client.prompt(session_id, "and?"))
            await asyncio.sleep(0.1)
            await connection.resync()
            assert shown(store, session_id) == [*before, ("user", ["and?"])]
            await sending

    run(main())


def failure(session_id: str, message: str = "no such agent") -> Wire:
    error = {"name": "UnknownError", "data": {"message": message}}
    return {"type": "session.error", "properties": {"sessionID": session_id, "error": error}}


def status(session_id: str, kind: str) -> Wire:
    properties = {"sessionID": session_id, "status": {"type": kind}}
    return {"type": "session.status", "properties": properties}


@pytest.mark.parametrize("ticks", [None, "asyncio", "each"])
def test_a_prompt_that_the_server_took_and_did_not_store_is_taken_back_by_a_read(
    ticks: Any,
) -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        for name in ("ses_1", "ses_2"):
            server.publish(created(name))
        store = StreamStore(ticks=ticks)
        client = client_of(server, store)
        one, two = [("user", ["one"])], [("user", ["two"])]
        async with client as connection:
            await asyncio.sleep(2)
            server.publish(failure("ses_1"))  # of an earlier prompt
            await asyncio.sleep(1)
            await client.prompt("ses_1", "one")
            await client.prompt("ses_2", "two")
            # What the program itself added is its own matter.
            store.apply(
                MessageOpened(session_id="ses_2", message_id="mine", role="user", local=True)
            )
            mine: tuple[str, list[str]] = ("user", [])
            await connection.resync()  # it may be reading files
            assert shown(store, "ses_1") == one and shown(store, "ses_2") == [*two, mine]

            server.publish(status("ses_1", "busy"))
            server.publish(failure("ses_1"))
            await asyncio.sleep(1)
            await connection.resync()
            assert shown(store, "ses_1") == one
            server.publish(status("ses_1", "idle"))
            await asyncio.sleep(5)  # it is read without being asked for
            assert shown(store, "ses_1") == [] and shown(store, "ses_2") == [*two, mine]

            await asyncio.sleep(60)
            await connection.resync()  # and no word of what became of it
            assert shown(store, "ses_2") == [mine]
            assert not client._prompts

    run(main())


@pytest.mark.parametrize("ends", ["taken", "refused", "cancelled"])
def test_a_prompt_ends_as_it_ends_although_the_store_was_closed_meanwhile(ends: str) -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        server.publish(created("ses_1"))
        store = StreamStore()
        client = client_of(server, store)
        code = 500 if ends == "refused" else 204
        async with client:
            await asyncio.sleep(2)
            server.on_post = lambda path, body: Answer(code, {}, after_ms=5_000)
            sending = asyncio.create_task(client.prompt("ses_1", "hi"))
            await asyncio.sleep(1)
            store.close()
            if ends == "cancelled":
                sending.cancel()
            [error] = await asyncio.gather(sending, return_exceptions=True)
        expected = {"taken": str, "refused": RequestFailed, "cancelled": asyncio.CancelledError}
        assert type(error) is expected[ends]

    run(main())


def test_behind_an_error_the_session_is_read_and_no_other_one() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        for number in range(30):
            server.publish(created(f"ses_{number}"))
        store = StreamStore()
        client = client_of(server, store)

        def post(path: str, body: Wire) -> None:
            server.publish(status("ses_1", "busy"))
            for event in user_events("ses_1", body["messageID"], body["parts"]):
                server.publish(event)

        async with client:
            await asyncio.sleep(20)
            server.on_post = post
            for number in range(3):
                await client.prompt("ses_1", str(number))
                await asyncio.sleep(1)
                server.reads.clear()
                server.publish(failure("ses_1", "aborted"))
                server.publish(status("ses_1", "idle"))
                await asyncio.sleep(10)
                read = [path for path in server.reads if path.startswith("/session/ses_")]
                assert read and all(path.startswith("/session/ses_1/") for path in read)
                assert not client._prompts
            assert len(shown(store, "ses_1")) == 3

    run(main())


def test_what_becomes_of_a_prompt_is_not_looked_at_for_ever() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        server.publish(created("ses_1"))
        store = StreamStore()
        client = client_of(server, store)

        def post(path: str, body: Wire) -> None:
            server.publish(status("ses_1", "busy"))
            for event in user_events("ses_1", body["messageID"], body["parts"]):
                server.publish(event)

        async with client:
            await asyncio.sleep(2)
            server.on_post = post
            reads = len(server.reads)
            for number in range(3):
                await client.prompt("ses_1", str(number))
                await asyncio.sleep(1)
                server.publish(status("ses_1", "idle"))
                await asyncio.sleep(1)
            # The answer of a later prompt fails: that is none of these.
            server.publish(failure("ses_1"))
            await asyncio.sleep(60)
            assert len(server.reads) == reads
            assert not client._prompts._watched
            server.on_post = lambda path, body: None
            await client.prompt("ses_1", "a last one")
            assert client._prompts._watched
        assert not client._prompts._watched

    run(main())


@pytest.mark.parametrize("stored", ["none", "the second", "late", "the first, late"])
def test_the_error_of_one_prompt_takes_back_no_other_that_is_on_its_way(stored: str) -> None:
    """The error does not say which of them it is about, nor that it is about any."""

    async def main() -> None:
        server = OpencodeServer(Random(1))
        server.publish(created("ses_1"))
        store = StreamStore()
        client = client_of(server, store)
        bodies: list[Wire] = []
        server.on_post = lambda path, body: bodies.append(body)

        def store_it(number: int) -> None:
            body = bodies[number]
            for event in user_events("ses_1", body["messageID"], body["parts"]):
                server.publish(event)

        async with client:
            await asyncio.sleep(2)
            one = await client.prompt("ses_1", "one")
            two = await client.prompt("ses_1", "two")
            removed: list[Any] = []
            store.subscribe(lambda changes: removed.extend(changes.removed))
            if stored == "the first, late":
                store_it(0)
                server.publish(status("ses_1", "busy"))
                server.publish(failure("ses_1", "no such model"))
                server.publish(status("ses_1", "idle"))
            else:
                server.publish(failure("ses_1"))
                server.publish(failure("ses_1", "the same with a trace"))
            if stored == "the second":
                store_it(1)
            await asyncio.sleep(1.5)
            if stored in ("late", "the first, late"):
                assert store.message("ses_1", two) is not None and not removed
                store_it(1)
            await asyncio.sleep(20)
            expected = {"none": [one, two], "the first, late": []}.get(stored, [one])
            assert [message_id for _, message_id in removed] == expected
            assert len(shown(store, "ses_1")) == 2 - len(expected)
            assert not client._prompts and not client._prompts._watched

    run(main())


@pytest.mark.parametrize("ticks", [None, "asyncio", "each"])
@pytest.mark.parametrize("when", ["behind the answer", "before the answer"])
def test_a_prompt_goes_with_its_session(when: str, ticks: Any) -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        for name in ("ses_1", "ses_2"):
            server.publish(created(name))
        store = StreamStore(ticks=ticks)
        client = client_of(server, store)
        async with client as connection:
            await asyncio.sleep(2)
            server.on_post = lambda path, body: Answer(204, {}, after_ms=500)
            sending = asyncio.create_task(client.prompt("ses_1", "hi"))
            if when == "behind the answer":
                await sending
            await asyncio.sleep(0.1)
            server.publish({"type": "session.deleted", "properties": {"info": info_of("ses_1")}})
            del server.state.sessions["ses_1"]
            await asyncio.sleep(0.1)
            assert store.session_ids() == ("ses_2",)
            await sending
            await client.prompt("ses_2", "there")
            if when == "before the answer":
                await asyncio.sleep(31)
                await connection.resync()
            else:
                assert len(client._prompts) == 1
            assert "ses_1" not in client._prompts._watched
        assert not client._prompts._watched

    run(main())


def test_a_failed_prompt_in_a_session_that_is_not_followed_asks_for_few_reads() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        server.publish(created("ses_1"))
        store = StreamStore()
        client = client_of(server, store, follow=lambda info: False)
        async with client:
            await asyncio.sleep(2)
            await client.prompt("ses_1", "hi")
            server.publish(failure("ses_1"))
            await asyncio.sleep(5)
            for _ in range(20):
                server.publish(status("ses_1", "busy"))
                await asyncio.sleep(3)
                server.publish(status("ses_1", "idle"))
                await asyncio.sleep(3)
            assert server.reads.count("/session/status") <= 4

            sending = asyncio.create_task(client.prompt("ses_1", "again"))
            await asyncio.sleep(0)
        await sending
        assert not client._prompts._watched

    run(main())


@pytest.mark.parametrize("live", [True, False])
def test_a_part_that_the_server_did_not_store_is_taken_back_by_a_read(live: bool) -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        server.publish(created("ses_1"))
        store = StreamStore()
        client = client_of(server, store)

        def post(path: str, body: Wire) -> None:
            # It cannot read the file, says so, and stores what it made of it.
            text = {"id": "prt_own", "type": "text", "text": "cannot read it", "synthetic": True}
            server.publish(failure("ses_1", "not found"))
            subscribers = server.subscribers
            server.subscribers = subscribers if live else []
            for event in user_events("ses_1", body["messageID"], [body["parts"][0], text]):
                server.publish(event)
            server.subscribers = subscribers

        async with client as connection:
            await asyncio.sleep(2)
            server.on_post = post
            extra = [{"type": "file", "mime": "text/plain", "url": "file:///none"}]
            message_id = await client.prompt("ses_1", "read", parts=extra)
            gone: list[Any] = []
            store.subscribe(lambda changes: gone.extend(changes.removed))
            await connection.resync()
            assert shown(store, "ses_1") == [("user", ["read", "cannot read it"])]
            assert store.message("ses_1", message_id).local is False  # type: ignore[union-attr]
            assert [len(key) for key in gone] == [3]  # the part, and nothing but that
            assert not client._prompts

    run(main())


def test_ids_are_made_by_the_servers_clock_when_ours_is_wrong() -> None:
    """A clock that is an hour late would sort the question before the answers it follows."""

    async def main() -> None:
        server = OpencodeServer(Random(1))
        headers = {**JSON, "date": "Sun, 09 Sep 2001 02:46:40 GMT"}  # an hour ahead
        server.fail = lambda path: Answer(200, headers, [b"[]"]) if path == "/session" else None
        store = StreamStore()
        client = client_of(server, store)
        async with client:
            await asyncio.sleep(2)
            message_id = await client.prompt("ses_1", "hi")
        late = int(message_id[4:16], 16) // 4096
        assert late - (1_000_000_000_000 % 2**36) == pytest.approx(3_600_000, abs=10_000)

    run(main())


def test_what_would_be_asked_wrongly_is_not_asked() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        store = StreamStore()
        client = client_of(server, store)
        answers: list[Any] = ["yes", ["yes"], [["yes"], "no"], None, [3]]
        for answer in answers:
            with pytest.raises(CallerError, match="lists of labels"):
                await client.reply_question("que_1", answer)
        file = {"type": "file", "mime": "text/plain", "url": "file:///x"}
        prompts: list[tuple[Any, str]] = [
            (file, "a list"), ([{**file, "type": ""}], "a type"), (["file"], "an object"),
        ]  # fmt: skip
        for parts, match in prompts:
            with pytest.raises(CallerError, match=match):
                await client.prompt("ses_1", "hi", parts=parts)
        wrong: Any
        for wrong in (3, "", None):
            with pytest.raises(CallerError, match="an id is a string"):
                await client.prompt(wrong, "hi")
            with pytest.raises(CallerError, match="an id is a string"):
                await client.abort(wrong)
        with pytest.raises(CallerError, match="text= takes a string"):
            await client.prompt("ses_1", 3)  # type: ignore[arg-type]
        with pytest.raises(CallerError, match="cannot be sent as JSON"):
            await client.create_session(object())  # type: ignore[arg-type]
        assert not server.posts and not store.session_ids()
        with pytest.raises(CallerError, match="cannot be sent as JSON"):
            await client.prompt("ses_1", "hi", temperature=float("nan"))
        assert not server.posts and not store.messages("ses_1")

    run(main())


def test_answers_may_be_counted_out_one_by_one() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        client = client_of(server, StreamStore())
        given: Any = (iter(answer) for answer in (["yes"], []))
        await client.reply_question("que_1", given)
        assert server.posts == [("/question/que_1/reply", {"answers": [["yes"], []]})]

    run(main())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", 3),
        ("base_url", None),
        ("store", None),
        ("sessions", "9"),
        ("page", 2.5),
        ("reads", float("nan")),
        ("directory", 3),
        ("follow", "all"),
        ("headers", 3),
    ],
)
def test_a_wrong_argument_of_a_client_is_said(name: str, value: Any) -> None:
    options: Any = {"base_url": "http://server", "store": StreamStore(), name: value}
    with pytest.raises(CallerError):
        OpencodeClient(transport=VirtualTransport(OpencodeServer(Random(1)).serve), **options)


class Count:
    """A whole number of a library's own, such as one of numpy."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Model:
    """A part that is no mapping, as pydantic's: its fields are what is counted out."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield from {"type": "file", "mime": "text/plain", "url": "file:///x"}.items()


def test_paths_counts_and_parts_of_other_libraries_are_taken() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        options: Any = {name: Count(9) for name in ("sessions", "page", "reads")}
        client = OpencodeClient(
            "http://server", store=StreamStore(), directory=PurePosixPath("/a b"),
            transport=VirtualTransport(server.serve), clock=VirtualClock(), **options,
        )  # fmt: skip
        assert client._rest.query == {"directory": "/a b"}
        part: Any = Model()
        await client.prompt("ses_1", parts=[part])
        [(_, sent)] = server.posts
        assert sent["parts"][0]["url"] == "file:///x"
        for wrong in (None, [3], ["file"]):
            with pytest.raises(CallerError, match="an object with a type"):
                await client.prompt("ses_1", parts=cast("Any", wrong))

    run(main())


def test_what_else_a_user_does() -> None:
    async def main() -> None:
        server = OpencodeServer(Random(1))
        secret = {"authorization": "Bearer s3cret-token"}
        client = client_of(server, StreamStore(), directory="/a b", headers=secret)
        created = Answer(200, JSON, [b'{"id": "ses_9"}'])
        server.on_post = lambda path, body: created if path == "/session" else None
        assert await client.create_session("mine") == "ses_9"
        await client.abort("ses_9")
        await client.reply_permission("per_1", "once")
        await client.reply_permission("per/2", "reject", "no")
        await client.reply_question("que_1", [["yes"], []])
        await client.reject_question("que_2")
        assert server.posts == [
            ("/session", {"title": "mine"}),
            ("/session/ses_9/abort", {}),
            ("/permission/per_1/reply", {"reply": "once"}),
            ("/permission/per/2/reply", {"reply": "reject", "message": "no"}),
            ("/question/que_1/reply", {"answers": [["yes"], []]}),
            ("/question/que_2/reject", {}),
        ]
        requests = client._transport.requests  # type: ignore[attr-defined]
        assert all(request.url.endswith("?directory=%2Fa+b") for request in requests)
        assert "per%2F2" in requests[3].url
        why = b'{"name": "NotFoundError",\n "data": {"message": "no such session of s3cret-token"}}'
        server.on_post = lambda path, body: Answer(404, JSON, [why])
        with pytest.raises(RequestFailed, match="404") as caught:
            await client.abort("ses_none")
        assert caught.value.status == 404
        assert "no such session of ***" in str(caught.value) and "\n" not in str(caught.value)

    run(main())
