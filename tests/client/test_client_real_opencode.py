"""A real opencode server, with a scripted model: what the store holds is what the server has.

Runs only where `STREAMSTORE_OPENCODE` names an opencode program or says `npm`, see
`opencode_process.py`; needs no other network than 127.0.0.1 then. Nothing here waits for time to
pass: the model waits for the test, the test for bytes, with a deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cutting_proxy import CuttingProxy
from opencode_process import NotThere, program, running
from scripted_model import Call, ScriptedModel, Step, Thought, last_text

from streamstore import ChangeSet, Part, StreamStore
from streamstore.adapters.opencode import OpencodeAdapter
from streamstore.adapters.opencode_v2 import OpencodeV2Adapter
from streamstore.client import (
    AfterSeq,
    Connection,
    OpencodeClient,
    Policy,
    Read,
    RequestFailed,
    connect,
)

Wire = dict[str, Any]

#: In s, for each thing that is waited for.
DEADLINE = 60
QUICK = Policy(first_delay_ms=20, most_delay_ms=200, resync_pause_ms=20)

SAID = [f"wörd{n} \N{SMILING FACE WITH SUNGLASSES} " if n % 7 else f"\n{n}. " for n in range(120)]
DONE = [f"done{n} " for n in range(20)]
TITLE = "Two sessions"


@pytest.fixture(scope="module")
def opencode() -> str:
    try:
        return program()
    except NotThere as reason:
        pytest.skip(str(reason))


class Gates:
    """Where the model's answers wait for the test: in the middle of one, and of both."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def script(self, body: Wire) -> list[Step]:
        if not body.get("tools"):
            return [*TITLE]
        if body["messages"][-1]["role"] == "tool":
            return [*DONE[:5], self.second, *DONE[5:]]
        if "work" in last_text(body):
            printing = Call("bash", {"command": "printf '1\\n2\\n'", "description": "Print"})
            return [Thought("Hm, "), Thought("so."), "I ", "will.", printing]
        return [*SAID[:40], self.first, *SAID[40:80], self.second, *SAID[80:]]


class Shown:
    """What a view shows that knows the edits alone; every state of every text, for the end."""

    def __init__(self, store: StreamStore) -> None:
        self.store = store
        self.texts: dict[Any, str] = {}
        self.history: list[tuple[Any, str, bool]] = []
        store.subscribe(self.hear)

    def hear(self, changes: ChangeSet) -> None:
        for gone in changes.removed:
            place = tuple(gone)
            self.texts = {
                at: text for at, text in self.texts.items() if at[0][: len(place)] != place
            }
        for place, edit in changes.text.items():
            text = self.texts[place] = self.texts.get(place, "")[: edit.start] + edit.text
            part = self.store.part(*place[0])
            self.history.append((place, text, part is None or part.gap))

    def check(self) -> int:
        """The texts are the store's, and were on their way there at every tick; how many."""
        checked = 0
        for place, text, gap in self.history:
            part = self.store.part(*place[0])
            if part is None or place[1] != "text":
                continue
            assert self.texts[place] == part.text
            if not gap:
                assert part.text.startswith(text), f"{text!r} at {place}"
                checked += 1
        return checked


async def until(store: StreamStore, done: Callable[[], object], what: str) -> None:
    """Come back when `done` says so; it is asked again at every tick of the store."""
    changed = asyncio.Event()
    with store.subscribe(lambda changes: changed.set()):
        try:
            async with asyncio.timeout(DEADLINE):
                while not done():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise AssertionError(f"within {DEADLINE} s not seen: {what}") from None


async def in_step(connection: Connection) -> None:
    """Come back when events come and no read of the state is owed."""
    async with asyncio.timeout(DEADLINE):
        while not (
            connection.state == "open"
            and connection.status.synced
            and connection.stream is not None
            and connection.stream.received
        ):
            if connection.state == "ended":
                raise AssertionError("the connection has ended") from connection.error
            # An event that changes nothing tells nobody that it came: look again, soon.
            changed = asyncio.ensure_future(connection.changed())
            await asyncio.wait([changed], timeout=0.02)
            changed.cancel()


async def rest(http: httpx.AsyncClient) -> Wire:
    """The server's own state, read by plain requests."""

    async def get(path: str) -> Any:
        reply = await http.get(path)
        assert reply.status_code == 200, f"{path}: {reply.status_code} {reply.text[:200]}"
        return reply.json()

    sessions = await get("/session")
    ids = [info["id"] for info in sessions]
    return {
        "sessions": sessions,
        "messages": {sid: await get(f"/session/{sid}/message") for sid in ids},
        "status": await get("/session/status"),
        "todo": {sid: await get(f"/session/{sid}/todo") for sid in ids},
        "diff": {sid: await get(f"/session/{sid}/diff") for sid in ids},
        "permission": await get("/permission"),
        "question": await get("/question"),
    }


def encoded(store: StreamStore) -> Wire:
    state: Any = OpencodeAdapter().encode(store)
    return dict(state)


def is_quiet(state: Wire) -> bool:
    """Nobody works, every session has got its title, and every prompt an answer: between storing
    one and going to work on it the server looks idle, too."""
    titles = {info["title"] for info in state["sessions"]}
    last = [messages[-1]["info"]["role"] for messages in state["messages"].values() if messages]
    return not state["status"] and titles <= {TITLE, "doomed"} and "user" not in last


async def settled(
    read: Callable[[], Coroutine[Any, Any, Wire]],
    quiet: Callable[[Wire], bool],
    encode: Callable[[StreamStore], Wire],
    *stores: StreamStore,
) -> Wire:
    """The server's state, once it is quiet and these stores hold it; fails when they never do."""
    changed = asyncio.Event()
    watching = [store.subscribe(lambda changes: changed.set()) for store in stores]
    state: Wire = {}
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                changed.clear()
                state = await read()
                if quiet(state) and all(encode(store) == state for store in stores):
                    return state
                # What was read may be older than what has come: read again, change or not.
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait([waiting], timeout=0.5)
                waiting.cancel()
    except TimeoutError:
        for store in stores:
            got = encode(store)
            for name, value in state.items():
                assert got[name] == value, name
        raise AssertionError(f"the server was not quiet within {DEADLINE} s: {state}") from None
    finally:
        for subscription in watching:
            subscription.close()


def parts(store: StreamStore, session_id: str, kind: str, role: str = "assistant") -> list[Part]:
    return [
        part
        for message in store.messages(session_id)
        if message.role == role
        for part in store.parts(session_id, message.id)
        if part.kind == kind
    ]


def said(store: StreamStore, session_id: str) -> str:
    """The text of the latest answer."""
    found = parts(store, session_id, "text")
    return found[-1].text if found else ""


def test_two_sessions_through_a_drop_end_as_the_server_has_them(
    opencode: str, tmp_path: Path
) -> None:
    """The stream breaks off in the middle of an event, and much happens meanwhile: words are said,
    a tool is allowed and runs to its end, a session is deleted. Its followers are one that reads
    the state after the drop, one that does not, and one that saw no drop."""

    async def main() -> None:
        gates = Gates()
        async with (
            ScriptedModel(gates.script) as model,
            running(opencode, tmp_path, model.url, permission={"bash": "ask"}) as server,
            CuttingProxy(server.port) as proxy,
            httpx.AsyncClient(base_url=server.url, timeout=DEADLINE, trust_env=False) as http,
        ):
            store, blind, spared = StreamStore(), StreamStore(), StreamStore()
            shown = Shown(store)
            client = OpencodeClient(proxy.url, store=store, policy=QUICK)
            # The first one to be there is the one whose event is cut.
            async with client as connection, AsyncExitStack() as others:
                await in_step(connection)
                unread = await others.enter_async_context(
                    connect(f"{proxy.url}/event", store=blind, protocol="opencode", policy=QUICK)
                )
                whole = await others.enter_async_context(
                    connect(f"{server.url}/event", store=spared, protocol="opencode")
                )
                await in_step(unread)
                await in_step(whole)
                doomed = await client.create_session("doomed")
                writing = await client.create_session()
                working = await client.create_session()
                prompts = await asyncio.gather(
                    client.prompt(writing, "Please write."), client.prompt(working, "Please work.")
                )

                def asked() -> Any:
                    session = store.session(working)
                    return session and list(session.permissions)

                before = "".join(SAID[:40])
                await until(
                    store, lambda: said(store, writing) == before and asked(), "the first words"
                )
                permission = asked()[0]

                cutting = asyncio.ensure_future(proxy.cut())
                gates.first.set()
                async with asyncio.timeout(DEADLINE):
                    await cutting
                assert (await http.delete(f"/session/{doomed}")).status_code == 200
                reply = await http.post(f"/permission/{permission}/reply", json={"reply": "once"})
                assert reply.status_code == 200
                await until(
                    spared,
                    lambda: (
                        spared.session(doomed) is None
                        and said(spared, writing) == "".join(SAID[:80])
                        and said(spared, working) == "".join(DONE[:5])
                    ),
                    "what happens during the drop",
                )
                # None of it was seen here.
                assert store.session(doomed) is not None and asked()
                assert "".join(SAID[:80]).startswith(said(store, writing))
                assert said(store, writing) != "".join(SAID[:80])

                assert proxy.refused
                proxy.mend()
                await in_step(connection)
                await in_step(unread)
                # The server has "" for a text that streams; what was shown of it stays.
                assert said(store, writing).startswith(before)
                assert parts(store, writing, "text")[-1].gap
                assert store.session(doomed) is None and not asked()
                [tool] = parts(store, working, "tool")
                assert tool.fields["state"]["output"] == "1\n2\n"
                assert not parts(blind, working, "tool")[0].fields["state"].get("output")

                gates.second.set()
                state = await settled(partial(rest, http), is_quiet, encoded, store, spared)

                assert {info["id"] for info in state["sessions"]} == {writing, working}
                assert said(store, writing) == "".join(SAID)
                assert said(store, working) == "".join(DONE)
                users = [
                    message.id
                    for sid in (writing, working)
                    for message in store.messages(sid)
                    if message.role == "user"
                ]
                assert users == list(prompts)
                assert not store.health.gaps
                assert shown.check() > 40
                assert connection.reconnects > 0 and connection.error is None
                # That the state was read is what made the difference.
                assert unread.unrepaired == 1
                assert encoded(blind) != state and blind.session(doomed) is not None

    asyncio.run(main())


def asks(body: Wire) -> list[Step]:
    """Answers for `test_what_a_user_does...`: what the prompt says."""
    if not body.get("tools"):
        return [TITLE]
    if body["messages"][-1]["role"] == "tool":
        return ["Done", "."]
    prompt = last_text(body)
    if "Plan" in prompt:
        todo = {"content": "Look", "status": "pending", "priority": "high"}
        return [Call("todowrite", {"todos": [todo]})]
    if "Ask" in prompt:
        options = [{"label": "red", "description": "R"}, {"label": "blue", "description": "B"}]
        question = {"question": "Which?", "header": "Colour", "options": options}
        return [Call("question", {"questions": [question]})]
    if "Print" in prompt:
        return [Call("bash", {"command": "printf 1", "description": "Print"})]
    if "Wait" in prompt:
        return ["before ", asyncio.Event(), "after"]
    return ["So ", "be ", "it."]


def test_what_a_user_does_is_what_the_server_has(opencode: str, tmp_path: Path) -> None:
    """After each step the store is compared: todos, questions, permissions, an abort, a refused
    prompt, a file, a late join over many pages, and a server that ends its stream."""

    async def main() -> None:
        async with (
            ScriptedModel(asks) as model,
            running(opencode, tmp_path, model.url, permission={"bash": "ask"}) as server,
            httpx.AsyncClient(base_url=server.url, timeout=DEADLINE, trust_env=False) as http,
        ):
            store = StreamStore()
            shown = Shown(store)
            client = OpencodeClient(server.url, store=store, page=2, policy=QUICK)
            async with client as connection:
                await in_step(connection)
                session_id = await client.create_session(TITLE)

                def waiting(name: str) -> list[str]:
                    return list(getattr(store.session(session_id), name, ()))

                async def same(*stores: StreamStore) -> Wire:
                    return await settled(partial(rest, http), is_quiet, encoded, store, *stores)

                async def asked(prompt: str, name: str) -> str:
                    await client.prompt(session_id, prompt)
                    await until(store, lambda: waiting(name), name)
                    pending = lambda state: bool(state[name.rstrip("s")])  # noqa: E731
                    await settled(partial(rest, http), pending, encoded, store)
                    return waiting(name)[0]

                await client.prompt(session_id, "Plan it.")
                assert (await same())["todo"][session_id][0]["content"] == "Look"

                await client.reply_question(await asked("Ask me.", "questions"), [["blue"]])
                await same()
                assert "blue" in parts(store, session_id, "tool")[-1].fields["state"]["output"]
                await client.reject_question(await asked("Ask me again.", "questions"))
                await same()
                assert parts(store, session_id, "tool")[-1].fields["state"]["status"] == "error"

                permission = await asked("Print it.", "permissions")
                await client.reply_permission(permission, "reject", "Not now.")
                await same()
                assert "Not now." in parts(store, session_id, "tool")[-1].fields["state"]["error"]

                await client.prompt(session_id, "Wait for me.")
                await until(store, lambda: said(store, session_id) == "before ", "a held answer")
                await client.abort(session_id)
                await same()
                assert said(store, session_id) == "before "
                assert store.messages(session_id)[-1].status == "aborted"

                known = store.messages(session_id)
                with pytest.raises(RequestFailed):
                    await client.prompt(session_id, parts=[{"type": "nothing"}])
                assert [message.id for message in store.messages(session_id)] == [
                    message.id for message in known
                ]
                await same()

                file = {"type": "file", "mime": "text/plain", "url": "data:text/plain,hello"}
                await client.prompt(session_id, "Read this.", parts=[file])
                await same()

                late = StreamStore()
                async with OpencodeClient(server.url, store=late, page=2, policy=QUICK) as joined:
                    await in_step(joined)
                    await same(late)
                assert connection.reconnects == 0

                assert (await http.post("/instance/dispose")).status_code == 200
                async with asyncio.timeout(DEADLINE):
                    while not connection.reconnects:
                        await connection.changed()
                await in_step(connection)
                await client.prompt(session_id, "Go on.")
                await same()
                assert said(store, session_id) == "So be it."
                assert shown.check() > 10 and not store.health.gaps
                assert connection.reconnects == 1 and connection.error is None

    asyncio.run(main())


def test_what_the_server_takes_and_does_not_store_is_taken_back(
    opencode: str, tmp_path: Path
) -> None:
    """It does not know the agent; it cannot read an image; it has no such file, of which it makes
    parts of its own."""

    async def main() -> None:
        async with (
            ScriptedModel(asks) as model,
            running(opencode, tmp_path, model.url) as server,
            httpx.AsyncClient(base_url=server.url, timeout=DEADLINE, trust_env=False) as http,
        ):
            store = StreamStore()
            client = OpencodeClient(server.url, store=store, policy=QUICK)
            async with client as connection:
                await in_step(connection)
                png = {"type": "file", "mime": "image/png", "url": "data:image/png;base64,iVBORw=="}
                nope = {"type": "file", "mime": "text/plain", "url": "file:///nope/nope.txt"}
                asked: list[tuple[Wire, bool]] = [
                    ({"agent": "nope"}, False),
                    ({"parts": [png]}, False),
                    ({"parts": [nope]}, True),
                ]
                for options, stored in asked:
                    session_id = await client.create_session(TITLE)
                    message_id = await client.prompt(session_id, "hello", **options)

                    def over(sid: str = session_id, stored: bool = stored) -> Any:
                        session = store.session(sid)
                        if session is None or not session.errors:
                            return False
                        idle = session.status is not None and session.status.type == "idle"
                        return not stored or (idle and said(store, sid) == "So be it.")

                    await until(store, over, f"an error of {options}")

                    def taken_back(sid: str = session_id, mid: str = message_id) -> bool:
                        message = store.message(sid, mid)
                        return message is None or not message.local

                    # The client reads the state by itself.
                    await until(store, taken_back, f"a read behind the error of {options}")
                    await settled(partial(rest, http), is_quiet, encoded, store)
                    message = store.message(session_id, message_id)
                    assert (message is not None) == stored
                    assert message is None or not message.local

    asyncio.run(main())


def test_a_server_that_dies_in_the_middle_of_an_answer(opencode: str, tmp_path: Path) -> None:
    """Started again it has no word of the answer, and never will: what was shown stays, marked.
    All else is as the server has it."""

    async def main() -> None:
        async with ScriptedModel(asks) as model, AsyncExitStack() as stack:
            store = StreamStore()
            async with running(opencode, tmp_path, model.url) as server:
                proxy = await stack.enter_async_context(CuttingProxy(server.port))
                client = OpencodeClient(proxy.url, store=store, policy=QUICK)
                connection = await stack.enter_async_context(client)
                await in_step(connection)
                session_id = await client.create_session(TITLE)
                await client.prompt(session_id, "Wait for me.")
                await until(store, lambda: said(store, session_id) == "before ", "half an answer")
            proxy.refuse()
            # On the way up it takes connections that it never answers: those would be waited for.
            async with running(opencode, tmp_path, model.url) as server:
                proxy.mend(server.port)
                http = await stack.enter_async_context(
                    httpx.AsyncClient(base_url=server.url, timeout=DEADLINE, trust_env=False)
                )
                await in_step(connection)
                session = store.session(session_id)
                assert session is not None and session.status is not None
                assert session.status.type == "idle"
                [cut] = [part for part in parts(store, session_id, "text") if part.gap]
                assert cut.text == "before " and cut.status == "open"

                def without_words(store: StreamStore) -> Wire:
                    state = encoded(store)
                    for message in state["messages"][session_id]:
                        for part in message["parts"]:
                            if part["id"] == cut.block_index:
                                assert part["text"] == "before "
                                part["text"] = ""
                    return state

                same = partial(settled, partial(rest, http), is_quiet, without_words, store)
                await same()
                await client.prompt(session_id, "Go on.")
                await same()
                assert said(store, session_id) == "So be it."

    asyncio.run(main())


# --- V2 -------------------------------------------------------------------------------------------


async def rest_v2(http: httpx.AsyncClient, session_id: str) -> list[Wire]:
    """All messages of a session, oldest first, page by page."""
    found: list[Wire] = []
    query = {"order": "asc", "limit": "2"}
    while True:
        reply = await http.get(f"/api/session/{session_id}/message", params=query)
        assert reply.status_code == 200, reply.text[:200]
        page = reply.json()
        if not page["data"]:
            return found
        found += page["data"]
        query = {"cursor": page["cursor"]["next"], "limit": "2"}


async def history(http: httpx.AsyncClient, session_id: str, after: int) -> list[Wire]:
    """The durable events of a session's log behind a seq, page by page."""
    found: list[Wire] = []
    while True:
        last = found[-1]["durable"]["seq"] if found else after
        query = {"after": str(last), "limit": "5"}
        reply = await http.get(f"/api/session/{session_id}/history", params=query)
        assert reply.status_code == 200, reply.text[:200]
        found += reply.json()["data"]
        if not reply.json()["hasMore"]:
            return found


def encoded_v2(store: StreamStore) -> Wire:
    read: Any = OpencodeV2Adapter().encode(store)
    for entry in read:
        for message in entry["data"]:
            message.pop("delivery", None)  # events say so, the read does not
    return {entry["sessionID"]: entry["data"] for entry in read}


def is_quiet_v2(state: Wire) -> bool:
    """Every answer has ended, not only its text."""
    last = [messages[-1] for messages in state.values() if messages]
    return len(last) == len(state) and all(
        message["type"] == "assistant"
        and message.get("finish") == "stop"
        and "completed" in message["time"]
        for message in last
    )


def test_two_sessions_of_v2_go_on_by_seq_and_by_reading(opencode: str, tmp_path: Path) -> None:
    """One store follows the logs of both sessions and goes on behind what it has (`after`); one
    follows all events, deltas with them, and reads what the logs have after the drop."""

    async def main() -> None:
        gates = Gates()
        async with (
            ScriptedModel(gates.script) as model,
            running(opencode, tmp_path, model.url, permission={"bash": "ask"}) as server,
            CuttingProxy(server.port) as proxy,
            httpx.AsyncClient(base_url=server.url, timeout=DEADLINE, trust_env=False) as http,
            AsyncExitStack() as stack,
        ):
            live, logs, spared = StreamStore(), StreamStore(), StreamStore()
            shown = Shown(live)
            sessions: list[str] = []

            async def follow(store: StreamStore, url: str, **options: Any) -> Connection:
                return await stack.enter_async_context(
                    connect(url, store=store, protocol="opencode-v2", policy=QUICK, **options)
                )

            async def post(path: str, body: Wire) -> Any:
                reply = await http.post(f"/api/session{path}", json=body)
                assert reply.status_code in (200, 204), f"{path}: {reply.text[:300]}"
                return reply.json()["data"] if reply.content else None

            async def read_on(read: Read) -> list[Wire]:
                # The messages say which texts stream, whose first words are nowhere any more; the
                # log says the rest, and fills the hole in the numbers.
                known = live.health.resume.get("sessions", {})
                wires: list[Wire] = []
                for sid in sessions:
                    token = await read.token(sid)
                    data = await rest_v2(http, sid)
                    wires.append({"sessionID": sid, "readFrom": token, "data": data})
                    wires += await history(http, sid, known.get(sid, 0))
                return wires

            everything = await follow(
                live, f"{proxy.url}/api/event", snapshot=read_on, live_after="first event"
            )
            await in_step(everything)
            await in_step(await follow(spared, f"{server.url}/api/event"))
            # Its models come one provider after the other; a prompt before that fails for good.
            async with asyncio.timeout(DEADLINE):
                while not any(
                    found["providerID"] == "scripted"
                    for found in (await http.get("/api/model")).json()["data"]
                ):
                    await asyncio.sleep(0.05)
            for _ in range(2):
                model_ref = {"id": "one", "providerID": "scripted"}
                sessions.append((await post("", {"model": model_ref}))["id"])
            writing, working = sessions
            followed = [
                await follow(logs, f"{proxy.url}/api/session/{sid}/event", resume=AfterSeq(sid))
                for sid in sessions
            ]
            await post(f"/{writing}/prompt", {"prompt": {"text": "Please write."}})
            await post(f"/{working}/prompt", {"prompt": {"text": "Please work."}})

            def asked(store: StreamStore) -> Any:
                session = store.session(working)
                return session and list(session.permissions)

            before = "".join(SAID[:40])
            await until(
                live, lambda: said(live, writing) == before and asked(live), "the first words"
            )
            await until(logs, lambda: parts(logs, working, "tool"), "the call in the log")
            permission = asked(live)[0]

            cutting = asyncio.ensure_future(proxy.cut())
            gates.first.set()
            async with asyncio.timeout(DEADLINE):
                await cutting
            await post(f"/{working}/permission/{permission}/reply", {"reply": "once"})
            await until(
                spared,
                lambda: (
                    said(spared, writing) == "".join(SAID[:80])
                    and said(spared, working) == "".join(DONE[:5])
                ),
                "what happens during the drop",
            )
            assert "".join(SAID[:80]).startswith(said(live, writing))
            assert said(live, writing) != "".join(SAID[:80])

            proxy.mend()
            await in_step(everything)
            # The server has "" for a text that streams; what was shown of it stays.
            assert said(live, writing).startswith(before)
            [tool] = parts(live, working, "tool")
            assert tool.fields["state"]["status"] == "completed"

            gates.second.set()

            async def read_all() -> Wire:
                return {sid: await rest_v2(http, sid) for sid in sessions}

            await settled(read_all, is_quiet_v2, encoded_v2, live, logs, spared)
            for store in (live, logs, spared):
                assert said(store, writing) == "".join(SAID)
                assert said(store, working) == "".join(DONE)
                assert not store.health.gaps
            assert shown.check() > 40
            for connection in followed:
                assert connection.reconnects and not connection.unrepaired

    asyncio.run(main())
