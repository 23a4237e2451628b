"""The documentation: every page does what it says, and says what the code does.

`pages.py` follows a page; the rest compares lists: laws with tests, the event format with the
events, tables with what they are made of, links with files. That Sphinx builds it all without a
warning is a step of `.ci/run`.
"""

from __future__ import annotations

import ast
import asyncio
import html
import importlib.util
import inspect
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import attrs
import pytest
from conftest import ROOT
from pages import Reader, blocks
from rich.console import Console
from starlette.websockets import WebSocketDisconnect

from streamstore import ChangeSet, Limits, StreamStore, verdicts
from streamstore.client import ConnectionStatus, StreamRefused
from streamstore.errors import CallerError
from streamstore.events import EVENT_TYPES, Event
from streamstore.terminal import escape
from streamstore.testing import ManualTicks, disturb, sample
from streamstore.ticks import TimerTicks

DOCS = ROOT / "docs"
PAGES = {
    page.relative_to(DOCS).as_posix(): page
    for page in sorted(DOCS.rglob("*.md"))
    if "_build" not in page.parts
}
#: Written by `python -m benchmarks`, whose tests are in `test_benchmarks.py`.
MEASURED = "benchmarks.md"
RUN = [name for name, page in PAGES.items() if name != MEASURED and blocks(page.read_text("utf-8"))]


# -- pages as programs -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUN)
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow(f"docs/{name}", PAGES[name].read_text("utf-8"))
    assert reader.ran > 0, "nothing of it was run"


def test_the_readme_does_what_it_says() -> None:
    # Its commands are those of a checkout, and two of them are run by `.ci/run`.
    log = "tests/data/opencode/tools/stream.sse"
    reader = Reader(ROOT, skips=("setup", "test"), names={"LOG": log})
    reader.follow("README.md", (ROOT / "README.md").read_text("utf-8"))
    assert reader.ran > 0


def follow(folder: Path, page: str) -> None:
    Reader(folder).follow("a page", page)


WRONG = {
    "an output that is another": "```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```",
    "an output of nothing": "<!-- output -->\n```text\n2\n```",
    "python that raises": "```python\n1 / 0\n```",
    "a command that fails": "```sh\nfalse\n```",
    "a command that should fail": "<!-- exit 1 -->\n```sh\ntrue\n```",
    "json that is none": "```json\n{\n```",
    "a comment that means nothing": "<!-- outputs -->\n```text\n2\n```",
    "a text that is nothing": "```text\n2\n```",
    "a language that nobody runs": "```ruby\nputs 1\n```",
    "a file elsewhere": "<!-- file: ../a -->\n```text\n2\n```",
}


@pytest.mark.parametrize("page", WRONG.values(), ids=WRONG)
def test_a_page_that_is_wrong_is_found(page: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ZeroDivisionError, ValueError)) as found:
        follow(tmp_path, page)
    assert "in the block at a page:" in "\n".join(found.value.__notes__)


def test_blocks_of_a_page_share_names_files_and_the_folder(tmp_path: Path) -> None:
    follow(
        tmp_path,
        "<!-- file: a.txt -->\n```text\nhi\n```\n"
        "```python\ntext = open('a.txt').read()\n```\n"
        "```python\nprint(text, end='...')\n```\n<!-- output -->\n```text\nhi\n...\n```\n"
        "```sh\ncat a.txt\nexit 3\n```\n".replace("```sh", "<!-- exit 3 -->\n```sh")
        + "<!-- output -->\n```text\nhi\n```\n",
    )


# -- views -----------------------------------------------------------------------------------------


def event(kind: str, **members: Any) -> dict[str, Any]:
    return {"type": kind, **members}


def answer(message_id: str, *content: dict[str, Any]) -> dict[str, Any]:
    head = {"id": message_id, "type": "message", "role": "assistant", "model": "x"}
    return {**head, "content": list(content), "usage": {}, "stop_reason": None}


def block(index: int, kind: str, pieces: str) -> list[dict[str, Any]]:
    deltas = [
        event("content_block_delta", index=index, delta={"type": f"{kind}_delta", kind: piece})
        for piece in pieces.split("|")
    ]
    start = event("content_block_start", index=index, content_block={"type": kind, kind: ""})
    return [start, *deltas, event("content_block_stop", index=index)]


#: A response of two parts, and how far it comes before the connection is lost.
RESPONSE = [
    event("message_start", message=answer("m")),
    *block(0, "thinking", "hm, |a \x1b"),
    *block(1, "text", "Hello |w\x1bor|ld."),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={}),
    event("message_stop"),
]
CUT = 8


class Gated(StreamStore):
    """A store whose one subscriber can be made to miss change sets."""

    deaf = False
    hear: Callable[[ChangeSet], object]

    def subscribe(self, callback: Any, *scope: Any, **options: Any) -> Any:
        self.hear = callback
        return super().subscribe(lambda changes: self.deaf or callback(changes), *scope, **options)


def replayed(store: Gated) -> Iterator[None]:
    """A response is cut, another one follows, the first is sent again, an event for each tick.

    In the end everything changes unheard, and the subscriber is told to read it anew.
    """
    cut = store.open("anthropic")
    cut.ingest_many(RESPONSE[:CUT])
    store.flush()
    yield
    cut.end()
    store.open("anthropic").ingest(answer("n", {"type": "text", "text": "Another."}))
    store.flush()
    yield
    again = store.open("anthropic")
    for wire in RESPONSE:
        again.ingest(wire)
        store.flush()
        yield
    store.deaf = True
    again.ingest_many([answer("m", {"type": "text", "text": "Bye"}), answer("o")])
    store.flush()
    store.hear(ChangeSet(version=store.version, reset=True))
    yield


def texts_of(store: StreamStore) -> list[str]:
    return [
        part.text
        for session_id in store.session_ids()
        for message in store.messages(session_id)
        for part in store.parts(session_id, message.id)
    ]


def escaped(texts: list[str]) -> list[str]:
    return [text.replace("\x1b", "\\x1b") for text in texts]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page about views makes, with a store that can be gated."""
    reader = Reader(tmp_path_factory.mktemp("views"))
    reader.follow("docs/howto/show-text.md", PAGES["howto/show-text.md"].read_text("utf-8"))
    reader.namespace["StreamStore"] = Gated
    return reader.namespace


def test_the_view_of_pieces_follows_a_replay(made: dict[str, Any]) -> None:
    made["store"], made["shown"] = store, shown = Gated(), {}
    store.subscribe(made["show"])
    for _ in replayed(store):
        found = {key: "".join(pieces) for key, pieces in shown.items()}
        assert [found[key] for key in sorted(found)] == texts_of(store)


class Screen:
    """Where the tutorial's view draws."""

    def __init__(self, height: int) -> None:
        self.console = Console(width=20, height=height)

    def update(self, group: Any, refresh: bool = False) -> None:
        self.lines = [str(line) for line in group.renderables]


def view_of_the_tutorial() -> Any:
    page = PAGES["tutorial.md"].read_text("utf-8")
    [live] = [found.text for found in blocks(page) if "file: live.py" in found.notes]
    names: dict[str, Any] = {}
    exec(live.partition("async def main")[0], names)
    return names["View"]


def test_the_view_of_the_tutorial_follows_a_replay() -> None:
    store, screen = Gated(), Screen(height=40)
    store.subscribe(view_of_the_tutorial()(store, screen).hear)
    for _ in replayed(store):
        lines = [line for line in screen.lines if line != "assistant"]
        assert lines == escaped([text for text in texts_of(store) if text])


def test_the_view_of_the_tutorial_shows_the_end_of_what_is_taller_than_the_screen() -> None:
    store, screen = StreamStore("native"), Screen(height=4)
    view = view_of_the_tutorial()(store, screen)
    store.subscribe(view.hear)
    for number in range(100):
        delta = event("block.delta", messageId="m", blockIndex=number // 50, text=f"{number}\n")
        store.ingest_many([delta])
        assert screen.lines[-1] == str(number)
        assert len(screen.lines) <= 4
    assert screen.lines == ["96", "97", "98", "99"]
    view.finish()
    assert "\n".join(screen.lines).split() == [str(number) for number in range(100)]


def test_the_view_of_tk_follows_a_replay(made: dict[str, Any]) -> None:
    class Widget:
        text = ""

        def delete(self, start: str, end: str) -> None:
            assert (start, end) == ("1.0", "end")
            self.text = ""

        def insert(self, where: str, text: str) -> None:
            assert where == "end"
            self.text += text

    class Root:
        def after(self, delay: int, callback: Callable[[], object]) -> None:
            """Never: the test flushes."""

    for index in (0, 1):
        widget = Widget()
        store = made["chat"](Root(), widget, "main", "m", index)
        for _ in replayed(store):
            part = store.part("main", "m", index)
            assert [widget.text] == escaped(["" if part is None else part.text])


def test_a_timer_of_tk_polls_a_connection() -> None:
    page = PAGES["howto/follow-a-server.md"].read_text("utf-8")
    [block] = [each.text for each in blocks(page) if each.text.startswith("def look(")]
    names: dict[str, Any] = {"escape": escape}
    exec(block, names)
    timers: list[Callable[[], object]] = []
    titles: list[str] = []
    root = SimpleNamespace(
        after=lambda delay, callback, *of: timers.append(partial(callback, *of)),
        title=titles.append,
    )
    connection = MagicMock()
    names["look"](root, connection)
    for polls in (1, 2, 3):
        assert connection.poll.call_count == polls
        timers.pop()()
        assert len(timers) == 1
    connection.poll.return_value = ConnectionStatus(state="ended")
    connection.error = None
    timers.pop()()
    assert not timers and not titles
    connection.error = StreamRefused("no \x1b[2J", 404)
    names["look"](root, connection)
    assert not timers and titles == [escape("It ended: no \x1b[2J")] and "\x1b" not in titles[0]


def test_the_view_of_textual_follows_a_replay(made: dict[str, Any]) -> None:
    async def follow() -> None:
        app = made["Chat"]()
        async with app.run_test() as pilot:
            for _ in replayed(app.store):
                until = time.monotonic() + 10
                while shown(app) != escaped(texts_of(app.store)):
                    assert time.monotonic() < until, (shown(app), texts_of(app.store))
                    await pilot.pause(0.01)

    def shown(app: Any) -> list[str]:
        cards = {id(card) for card in app.parts.values()}
        return [
            text_of_card(card) if id(card) in cards else "?"
            for card in app.query_one("#talk").children
        ]

    asyncio.run(follow())


def text_of_card(card: Any) -> str:
    """What Textual shows of a part: its pieces stand below each other."""
    return "\n".join(str(piece.content) for piece in card.children)


class Unthrottled(StreamStore):
    """A store whose subscribers hear with each flush."""

    def subscribe(self, callback: Any, *scope: Any, **_: Any) -> Any:
        return super().subscribe(callback, *scope)


def test_the_view_of_textual_lays_out_what_is_new(
    made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[int] = []

    class Counting(made["Static"]):  # type: ignore[misc, name-defined]
        def update(self, content: Any = "", **options: Any) -> None:
            laid_out.append(len(str(content)))
            super().update(content, **options)

    async def follow() -> None:
        app = made["Chat"]()
        async with app.run_test() as pilot:
            for _ in range(500):
                app.store.ingest(event("block.delta", messageId="m", blockIndex=0, text="line\n"))
                app.store.flush()
            assert sum(laid_out) <= 500 * 2 * len("line\n")
            [card] = app.query_one("#talk").children
            assert text_of_card(card) == "\n".join(["line"] * 500)
            await pilot.pause()

    monkeypatch.setitem(made, "StreamStore", Unthrottled)
    monkeypatch.setitem(made, "Static", Counting)
    monkeypatch.setitem(made, "ENOUGH", 3)  # so that a short text fills pieces
    asyncio.run(follow())


def test_the_view_of_textual_shows_lines_as_they_are(
    made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through rewrites, wherever the pieces begin, and with what Textual is yet to remove."""

    async def follow() -> None:
        app = made["Chat"]()
        async with app.run_test() as pilot:
            for kind, text in [
                ("delta", "A\n\n\nlong \x1b"),
                ("delta", " line\nand\n"),
                ("delta", "[b]more[/b]\n\nof it"),
                ("replaced", "A\n\n\nlonger"),
                ("delta", " line\n"),
                ("replaced", ""),
                ("delta", "Once\nmore"),
            ]:
                app.store.ingest(event(f"block.{kind}", messageId="m", blockIndex=0, text=text))
                app.store.flush()
                [card] = app.parts.values()
                [whole] = escaped(texts_of(app.store))
                shown = "\n".join(str(piece.content) for piece in card.pieces)
                assert shown == whole.removesuffix("\n")
                until = time.monotonic() + 10
                while list(card.children) != card.pieces:
                    assert time.monotonic() < until, card.children
                    await pilot.pause(0.01)

    monkeypatch.setitem(made, "StreamStore", Unthrottled)
    monkeypatch.setitem(made, "ENOUGH", 3)
    asyncio.run(follow())


def test_the_view_of_textual_begins_with_what_is_there_and_closes_its_store(
    made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[BaseException] = []

    def loaded(*_: Any, ticks: Any) -> StreamStore:
        store = StreamStore("native", ticks=ticks, on_error=lambda error, _: raised.append(error))
        say(store, "Once ")
        store.flush()
        return store

    def say(store: StreamStore, text: str, index: int = 0) -> None:
        store.ingest(event("block.delta", messageId="m", blockIndex=index, text=text))

    async def follow() -> None:
        app = made["Chat"]()
        async with app.run_test() as pilot:
            await pilot.pause()
            assert [text_of_card(card) for card in app.parts.values()] == ["Once "]
            say(app.store, "upon ")
            app.store.flush()
            say(app.store, "a time.", 1)  # nobody waits for it
        with pytest.raises(CallerError, match="closed"):
            app.store.flush()

    monkeypatch.setitem(made, "StreamStore", loaded)
    asyncio.run(follow())
    assert raised == []


def test_the_mirror_of_a_page_ends_with_it_while_nothing_is_said(made: dict[str, Any]) -> None:
    class Socket:
        def __init__(self, *, breaks: bool = False) -> None:
            self.sent: list[Any] = []
            self.gone = asyncio.Event()
            self.breaks = breaks

        async def send_json(self, message: Any) -> None:
            if self.breaks and self.sent:
                raise WebSocketDisconnect(1006)
            self.sent.append(message)

        async def iter_text(self) -> AsyncIterator[str]:
            yield "hello"
            await self.gone.wait()

    async def talk() -> None:
        store = StreamStore("native", ticks="asyncio")
        quiet, broken = Socket(), Socket(breaks=True)
        pages = [asyncio.create_task(made["mirror"](store, page)) for page in (quiet, broken)]
        await turns()
        quiet.gone.set()
        await turns()
        assert [page.done() for page in pages] == [True, False]
        store.ingest_many([event("block.delta", messageId="m", blockIndex=0, text="Hm.")])
        store.flush()
        await turns()
        assert [page.exception() for page in pages] == [None, None]
        assert [len(page.sent) for page in (quiet, broken)] == [1, 1]
        store.close()

    async def turns() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(talk())


# -- frontends -------------------------------------------------------------------------------------


FRONTENDS = [
    (note.removeprefix("file: "), found.text)
    for found in blocks(PAGES["howto/frontends.md"].read_text("utf-8"))
    for note in found.notes
    if note.startswith("file: ")
]


@pytest.mark.parametrize(("name", "text"), FRONTENDS, ids=[name for name, _ in FRONTENDS])
def test_a_program_for_a_framework_is_python(name: str, text: str) -> None:
    compile(text, name, "exec")


@pytest.fixture
def shared() -> dict[str, Any]:
    """What the views for all frameworks share, with pieces that a short text fills."""
    names: dict[str, Any] = {}
    exec(dict(FRONTENDS)["rows.py"], names)
    names["ENOUGH"] = 3
    return names


def drawn_rows(shared: dict[str, Any], store: StreamStore, *of: Any) -> tuple[Any, list[Any]]:
    """A view of rows, and its rows as they stand; `painted` counts the characters drawn."""
    column: list[Any] = []

    class Drawn(shared["Row"]):  # type: ignore[misc, name-defined]
        def __init__(self, index: int, shown: Any) -> None:
            super().__init__()
            self.key, self.shown, self.painted = shown.key, [], 0
            column.insert(index, self)

        def head(self, text: str) -> None:
            self.title = text

        def paint(self, number: int, text: str) -> None:
            assert len(self.shown) - 1 <= number <= len(self.shown)
            self.shown[number:] = [text]
            self.painted += len(text)

        def clear(self) -> None:
            self.shown.clear()

        def remove(self) -> None:
            column.remove(self)

    return shared["Rows"](store, Drawn, *of), column


def assert_rows(shared: dict[str, Any], store: StreamStore, column: list[Any], *of: str) -> None:
    """The rows are those of a view that was made just now."""
    _, anew = drawn_rows(shared, store, *of)
    found, wanted = (
        [
            (row.key, row.title, re.sub(r"\\ud[89a-f]..", "\ufffd", "".join(row.shown)))
            for row in rows
        ]
        for rows in (column, anew)
    )
    assert found == wanted


def test_the_rows_of_every_framework_follow_a_replay(shared: dict[str, Any]) -> None:
    store = Gated()
    rows, column = drawn_rows(shared, store)
    store.subscribe(rows.hear)
    for _ in replayed(store):
        assert ["".join(row.shown) for row in column] == escaped(texts_of(store))


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse", "none"])
@pytest.mark.parametrize("throttle", [0, 3])
def test_the_rows_of_every_framework_follow_any_log(
    shared: dict[str, Any], sequencing: Any, throttle: int
) -> None:
    for seed in range(10):
        ticks = ManualTicks(interval_ms=1)
        store = StreamStore("native", ticks=ticks)
        rows, column = drawn_rows(shared, store)
        store.subscribe(rows.hear, throttle=throttle)
        for wire in disturb(sample(sequencing, seed=seed), seed).wires:
            store.ingest(wire)
            ticks.advance(0.4)
            if not throttle:
                assert_rows(shared, store, column)
        ticks.run()
        assert_rows(shared, store, column)


def test_the_rows_of_every_framework_follow_what_moves(shared: dict[str, Any]) -> None:
    def opened(message_id: str, order: int) -> dict[str, Any]:
        return event("message.opened", messageId=message_id, role="user", order=order)

    def delta(message_id: str, text: str) -> dict[str, Any]:
        return event("block.delta", messageId=message_id, blockIndex=0, text=text)

    store = StreamStore("native")
    rows, column = drawn_rows(shared, store)
    store.subscribe(rows.hear)
    store.ingest_many([opened("a", 2), delta("a", "one\ntwo\n"), delta("b", "three")])
    store.ingest_many([opened("b", 1), delta("b", "\nfour")])
    assert ["".join(row.shown) for row in column] == ["three\nfour", "one\ntwo\n"]
    assert_rows(shared, store, column)


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse", "none"])
def test_the_rows_of_every_framework_follow_a_store_that_others_flush(
    shared: dict[str, Any], sequencing: Any
) -> None:
    for seed in range(10):
        store = StreamStore("native", ticks="manual")
        wires = iter(disturb(sample(sequencing, seed=seed), seed).wires)

        def feed(changes: ChangeSet, store: StreamStore = store, wires: Any = wires) -> None:
            if changes.version % 3:  # two more ticks inside each third one
                store.ingest_many(islice(wires, 3))
                store.flush()

        before, column_before = drawn_rows(shared, store)
        store.subscribe(before.hear)
        store.subscribe(feed)
        after, column_after = drawn_rows(shared, store)
        store.subscribe(after.hear)
        for wire in wires:
            store.ingest(wire)
            store.flush()
            assert_rows(shared, store, column_before)
            assert_rows(shared, store, column_after)


def test_rows_of_every_framework_show_what_failed(shared: dict[str, Any]) -> None:
    store = StreamStore("native")
    rows, column = drawn_rows(shared, store)
    store.subscribe(rows.hear)

    def tell(kind: str, **members: Any) -> list[tuple[str, str]]:
        store.ingest_many([event(kind, **members)])
        assert_rows(shared, store, column)
        return [(row.title, "".join(row.shown)) for row in column]

    tell("message.opened", messageId="a", role="assistant", order=1)
    tell("block.delta", messageId="a", blockIndex=0, text="Once")
    tell("message.opened", messageId="b", role="assistant", order=2)
    error = {"name": "Overloaded", "message": "later\x1b"}
    failed = tell("message.closed", messageId="b", status="error", error=error)  # without a part
    assert failed == [("assistant text", "Once"), ("assistant error", "Overloaded: later\\x1b")]
    failed = tell("message.closed", messageId="a", status="aborted")
    assert failed[:2] == [("assistant text", "Once"), ("assistant aborted", "")]
    assert tell("session.error", error=error)[3:] == [("errors so far", "Overloaded: later\\x1b")]
    last = tell("session.error", error={"name": "Lost", "data": {}})[-1]
    assert last == ("errors so far", "Overloaded: later\\x1b\n{'name': 'Lost', 'data': {}}")
    [text, aborted, *_] = column
    tell("block.delta", messageId="c", blockIndex=0, text="upon")
    assert column[:2] == [text, aborted] and [row.title for row in column[2:]] == [
        "assistant error",
        "text",
        "errors so far",
    ]
    tell("message.removed", messageId="b")
    tell("session.removed")
    assert column == []


def test_rows_of_every_framework_take_back_what_did_not_fail(shared: dict[str, Any]) -> None:
    store = StreamStore("native")
    rows, column = drawn_rows(shared, store)
    store.subscribe(rows.hear)
    for seq, status in enumerate(("error", "completed"), start=1):
        store.ingest_many([event("message.closed", messageId="a", status=status, seq=seq)])
        assert_rows(shared, store, column)
    assert column == [] and store.message("main", "a").status == "completed"


@pytest.mark.parametrize("throttle", [0, 3])
def test_rows_of_one_session_follow_it_while_others_stream(
    shared: dict[str, Any], throttle: int
) -> None:
    for seed in range(10):
        ticks = ManualTicks(interval_ms=1)
        store = StreamStore("native", ticks=ticks)
        rows, column = drawn_rows(shared, store, "s1")
        store.subscribe(rows.hear, throttle=throttle)
        log = disturb(sample("sparse", seed=seed, sessions=3), seed)
        for wire in log.wires:
            store.ingest(wire)
            ticks.advance(0.4)
            if not throttle:
                assert_rows(shared, store, column, "s1")
        ticks.run()
        assert_rows(shared, store, column, "s1")
        assert {row.key[0] for row in column} == {"s1"} < set(store.session_ids())


def test_rows_may_begin_with_the_newest_messages(shared: dict[str, Any]) -> None:
    def say(message: int, text: str) -> dict[str, Any]:
        return event("block.delta", messageId=f"m{message}", blockIndex=0, text=text)

    def shown(column: list[Any]) -> list[str]:
        return ["".join(row.shown) for row in column]

    store = StreamStore("native")
    store.ingest_many([say(number, f"{number}") for number in range(5)])
    rows, column = drawn_rows(shared, store, None, 2)
    store.subscribe(rows.hear)
    assert shown(column) == ["3", "4"]
    store.ingest_many([say(0, "!"), say(4, "!"), say(5, "5")])
    store.ingest_many([event("message.opened", messageId="m0", role="user", order=9)])  # it moves
    store.ingest_many([event("message.closed", messageId="m1", status="error", error="Hm.")])
    assert shown(column) == ["3", "4!", "5"]
    store.ingest_many([event("message.removed", messageId=f"m{number}") for number in (1, 3)])
    assert shown(column) == ["4!", "5"]
    rows.hear(ChangeSet(version=store.version + 1, reset=True))
    assert shown(column) == ["4!", "5"]
    _, whole = drawn_rows(shared, store, "main", 9)
    assert shown(whole) == ["0!", "2", "4!", "5"]


def test_rows_of_one_session_are_not_drawn_anew_for_another(shared: dict[str, Any]) -> None:
    ticks = ManualTicks(interval_ms=1)
    store = StreamStore("native", ticks=ticks)
    rows, column = drawn_rows(shared, store, "a")
    store.subscribe(rows.hear, throttle=3)

    def say(session_id: str) -> None:
        place = {"sessionId": session_id, "messageId": "m", "blockIndex": 0}
        store.ingest(event("block.delta", **place, text="line\n"))
        ticks.advance(2)

    say("a")
    [row] = column
    for session_id in "babbabbb":
        say(session_id)
    ticks.run()
    assert column == [row] and "".join(row.shown) == "line\n" * 3


def test_headings_of_a_message_are_made_once_for_each_tick(shared: dict[str, Any]) -> None:
    store, heading = StreamStore("native"), shared["heading"]
    made: list[str] = []

    def counted(*of: Any) -> str:
        made.append(heading(*of))
        return made[-1]

    shared["heading"] = counted
    rows, column = drawn_rows(shared, store)
    store.subscribe(rows.hear)

    def all_tools(type_: str, **fields: Any) -> None:
        store.ingest_many(
            {"type": type_, "messageId": "m", "blockIndex": number, **fields}
            for number in range(50)
        )

    all_tools("block.opened", kind="tool", tool="read")
    made.clear()
    all_tools("block.updated", state={"status": "running"})
    assert made == [row.title for row in column] == ["read running"] * 50


def test_a_row_costs_a_piece_for_each_tick(shared: dict[str, Any]) -> None:
    store = StreamStore("native")
    rows, column = drawn_rows(shared, store)
    store.subscribe(rows.hear)
    for _ in range(500):
        wire = event("block.delta", messageId="m", blockIndex=0, text="line\n")
        store.ingest_many([wire])
    assert column[0].painted <= 500 * 2 * len("line\n")


def run_program(
    shared: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    modules: dict[str, Any],
    **talk: Any,
) -> dict[str, Any]:
    """The names that a program of the page makes, with modules that stand for its framework."""
    names: dict[str, Any] = {}
    exec(dict(FRONTENDS)["talk.py"], names)
    beside = {"rows": SimpleNamespace(**shared), "talk": SimpleNamespace(**{**names, **talk})}
    for module, stand_in in (modules | beside).items():
        monkeypatch.setitem(sys.modules, module, stand_in)
    names = {"__name__": "page"}
    exec(dict(FRONTENDS)[name], names)
    return names


def test_visitors_of_gradio_do_not_wait_for_each_other(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradio, submitted = MagicMock(), []

    def submit(handler: Any, *_: Any, concurrency_limit: int | None = 1) -> None:  # its default
        submitted.append((handler, concurrency_limit))

    gradio.Textbox.return_value.submit = submit
    names = run_program(shared, monkeypatch, "chat_gradio.py", {"gradio": gradio})
    assert submitted == [(names["ask"], None)]


def test_the_buttons_of_gradio_end_the_answer_and_the_conversation(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradio = MagicMock()
    run_program(shared, monkeypatch, "chat_gradio.py", {"gradio": gradio})
    box, chat, kept = (made.return_value for made in (gradio.Textbox, gradio.Chatbot, gradio.State))
    [stop], [clear] = box.stop.call_args_list, chat.clear.call_args_list
    assert stop.args == (None,) and stop.kwargs == {"cancels": box.submit.return_value}
    forget, *of = clear.args
    assert [forget(), *of] == [None, None, kept]  # else the next answer shows all of it again
    assert clear.kwargs == {"cancels": box.submit.return_value}


def test_who_asks_again_finds_the_first_question_as_it_was(shared: dict[str, Any]) -> None:
    """The talk that stands for a server says the same each time, under the same ids."""
    names: dict[str, Any] = {}
    exec(dict(FRONTENDS)["talk.py"], names)
    store = StreamStore()

    async def ask_twice() -> None:
        await names["follow"](store)
        await names["follow"](store)

    asyncio.run(ask_twice())
    texts = [shown.text for shown in shared["shown_in"](store)]
    assert texts == ["What is in <b>a</b>?", "Hm. Two lines.", "Overloaded: Ask <b>later</b>."] * 2


def test_a_run_of_streamlit_that_is_stopped_leaves_the_store_to_the_next_one(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class SessionState(dict[str, Any]):
        __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__

    class StopException(BaseException):
        """What Streamlit raises in its next call when the visitor left, or did something else."""

    state, drawn = SessionState(), []
    stopped_at = "upon"

    def text(body: str) -> None:
        assert mine_of(state).locked()  # another run may be at it, in its own thread
        if body.endswith(stopped_at):
            raise StopException
        drawn.append(body)

    def mine_of(state: SessionState) -> Any:
        [mine] = [value for value in state["chat"] if not isinstance(value, StreamStore)]
        return mine

    def events() -> Iterator[list[dict[str, Any]]]:
        for word in ("Once", " upon", " a time."):
            assert not mine_of(state).locked()  # nobody waits for a server that says nothing
            yield [event("block.delta", messageId="m", blockIndex=0, text=word)]

    opened: list[Any] = []
    open_stream = StreamStore.open

    def open_one(store: StreamStore, *args: Any, **options: Any) -> Any:
        opened.append(open_stream(store, *args, **options))
        return opened[-1]

    monkeypatch.setattr(StreamStore, "open", open_one)
    now = iter(range(99))
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    streamlit = MagicMock(session_state=state, text=text)
    modules = {"streamlit": streamlit}
    with pytest.raises(StopException):
        run_program(shared, monkeypatch, "chat_streamlit.py", modules, EVENTS=events())
    [store] = [value for value in state["chat"] if isinstance(value, StreamStore)]
    assert texts_of(store) == ["Once upon"]
    assert [stream.ended for stream in opened] == [True] and not mine_of(state).locked()
    assert drawn == ["text\nOnce"]
    stopped_at = "nowhere"
    streamlit.chat_input.return_value = None  # the connection is back; nothing was asked
    run_program(shared, monkeypatch, "chat_streamlit.py", modules)
    assert drawn == ["text\nOnce", "text\nOnce upon"]


@pytest.mark.parametrize("fed", [0, 1, 99])
def test_the_thread_of_qt_ends_quietly_with_the_program(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch, fed: int
) -> None:
    left: list[Callable[[], object]] = []

    def emit(call: Callable[[], object]) -> None:
        if len(left) >= fed:
            raise RuntimeError("Signal source has been deleted")  # as PySide says it
        left.append(call)

    core = MagicMock(QObject=object)
    widgets = MagicMock(QScrollArea=object, QLabel=object)
    modules = {"PySide6": MagicMock(), "PySide6.QtCore": core, "PySide6.QtWidgets": widgets}
    names = run_program(shared, monkeypatch, "chat_qt.py", modules)
    store = StreamStore("native", ticks=TimerTicks(lambda *_: None, post=emit))
    stream = store.open("native", sequencing="none")
    window = SimpleNamespace(post=SimpleNamespace(posted=SimpleNamespace(emit=emit)))
    names["Chat"].read(window, stream)
    if fed == 99:
        for call in left:
            call()
        assert stream.ended


def test_a_label_of_qt_is_laid_out_once_while_its_text_stays(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[int] = []
    said: list[str] = []

    class QLabel:
        def __init__(self, **_: Any) -> None:
            pass

        def setText(self, text: str) -> None:
            said.append(text)

        def changeEvent(self, event: object) -> None:
            pass

        def heightForWidth(self, width: int) -> int:
            laid_out.append(width)
            return 1_000 // width

    widgets = MagicMock(QScrollArea=object, QLabel=QLabel)
    modules = {
        "PySide6": MagicMock(),
        "PySide6.QtCore": MagicMock(QObject=object),
        "PySide6.QtWidgets": widgets,
    }
    names = run_program(shared, monkeypatch, "chat_qt.py", modules)
    label = names["Card"](MagicMock(), 0, None).title  # as the program makes all of them
    assert [label.heightForWidth(width) for width in (100, 100, 50, 100)] == [10, 10, 20, 10]
    assert laid_out == [100, 50]
    for change in (partial(label.setText, "Once upon"), partial(label.changeEvent, None)):
        change()
        label.heightForWidth(100)
    assert laid_out == [100, 50, 100, 100]
    label.setText("Once\n\n")  # a piece of whole lines, and the next piece begins a line
    assert said == ["Once upon", "Once\n"]


def test_a_cell_of_jupyter_that_is_run_again_leaves_no_widgets(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    models: set[Any] = set()  # what the kernel keeps

    class Model:
        def __init__(self, children: Any = ()) -> None:
            self.children = tuple(children)
            models.add(self)

        def close(self) -> None:
            models.discard(self)

    class VBox(Model):
        def __init__(self, children: Any = ()) -> None:
            super().__init__(children)
            self.layout = Model()

    class HTML(VBox):
        def __init__(self) -> None:
            super().__init__()
            self.style = Model()

    async def follow(store: StreamStore) -> None:
        text = event("block.delta", messageId="m", blockIndex=0, text="Once")
        store.ingest_many([text])

    modules = {"ipywidgets": MagicMock(HTML=HTML, VBox=VBox), "IPython.display": MagicMock()}
    modules["IPython"] = MagicMock()

    async def run() -> None:
        names = run_program(shared, monkeypatch, "chat_jupyter.py", modules, follow=follow)
        kept: list[int] = []
        for _ in range(3):
            await names["task"]
            names["store"].flush()
            [card] = names["column"].children
            assert "Once" in card.children[1].value
            kept.append(len(models))
            exec(dict(FRONTENDS)["chat_jupyter.py"], names)
        names["task"].cancel()
        names["store"].close()
        assert kept == kept[:1] * 3

    asyncio.run(run())


def test_a_cell_of_jupyter_is_run_where_the_notebook_has_a_store_already(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"IPython": MagicMock(), "IPython.display": MagicMock(), "ipywidgets": MagicMock()}

    async def follow(store: StreamStore) -> None:
        """Says nothing."""

    async def run() -> None:
        names = run_program(shared, monkeypatch, "chat_jupyter.py", modules, follow=follow)
        await names["task"]
        names["store"].close()
        another: dict[str, Any] = {"store": StreamStore()}  # of a cell above, say
        exec(dict(FRONTENDS)["chat_jupyter.py"], another)
        await another["task"]
        another["store"].close()

    asyncio.run(run())


def in_a_browser(markup: str) -> str:
    """What a browser shows of a text in `<pre>`, where a line break behind the tag is none."""
    found = re.fullmatch(r"<pre[^>]*>(?:\n|&#10;)?([^<]*)(?:</pre>)?", markup)
    assert found is not None, markup
    return html.unescape(found[1])


#: Has a tag, begins with an empty line and has one where the second piece begins.
MARKED = "\n<b>&lt;\n\n\n<img src=x onerror=alert(1)>"


class Panel:
    """As much of Panel as the page's program uses; a pane shows HTML, whatever its name."""

    class Pane:
        def __init__(self, **_: Any) -> None:
            self.object = ""

    class Column(list[Any]):
        def __init__(self, *objects: Any, **_: Any) -> None:
            super().__init__(objects)

    def __init__(self) -> None:
        self.pane = SimpleNamespace(HTML=self.Pane, Str=self.Pane)
        self.options: dict[str, Any] = {}  # of the program
        self.extension = self.options.update
        self.load: list[Callable[[], object]] = []
        self.leave: list[Callable[[object], object]] = []
        self.state = SimpleNamespace(
            onload=self.load.append, on_session_destroyed=self.leave.append
        )

    def serve(self, page: Callable[[], object], **options: Any) -> None:
        self.options |= options


@pytest.mark.parametrize("loaded", [True, False])
def test_a_page_of_panel_begins_when_it_is_loaded_and_shows_text(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    panel = Panel()
    following: list[StreamStore] = []

    async def follow(store: StreamStore) -> None:
        following.append(store)
        store.ingest_many([event("block.delta", messageId="m", blockIndex=0, text=MARKED)])
        store.flush()
        await asyncio.Event().wait()

    names = run_program(shared, monkeypatch, "chat_panel.py", {"panel": panel}, follow=follow)

    async def visit() -> None:
        column = names["page"]()
        await asyncio.sleep(0)
        assert following == [] == column  # Panel drops what changes before
        if loaded:
            for begin in panel.load:
                begin()
            await asyncio.sleep(0)
            [store] = following
            [[title, *pieces]] = column
            assert title.object == "<b>text</b>"
            assert "".join(in_a_browser(piece.object) for piece in pieces) == MARKED
        for leave in panel.leave:
            leave(None)
        [*tasks] = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(tasks) == len(following) == loaded
        for store in following:
            with pytest.raises(CallerError, match="closed"):
                store.flush()

    asyncio.run(visit())


def test_a_session_of_panel_outlives_the_attempts_of_its_page_to_come_back(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = Panel()
    run_program(shared, monkeypatch, "chat_panel.py", {"panel": panel})
    exec(dict(FRONTENDS)["chat_panel.py"], {"__name__": "__main__"})
    assert panel.options.pop("reconnect") is True
    # Five attempts, after 0, 2, 4, 8 and 16 s; what a page then finds anew is empty for good.
    assert panel.options.pop("unused_session_lifetime_milliseconds") > 30_000
    assert not panel.options


def test_a_row_of_jupyter_shows_text(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def follow(store: StreamStore) -> None:
        store.ingest_many([event("block.delta", messageId="m", blockIndex=0, text=MARKED)])
        store.flush()

    def widget(children: Any = ()) -> Any:
        return MagicMock(children=children)

    modules = {"ipywidgets": MagicMock(HTML=widget, VBox=widget), "IPython.display": MagicMock()}
    modules["IPython"] = MagicMock()

    async def run() -> None:
        names = run_program(shared, monkeypatch, "chat_jupyter.py", modules, follow=follow)
        await names["task"]
        [card] = names["column"].children
        assert "".join(in_a_browser(text.value) for text in card.children[1:]) == MARKED
        names["store"].close()

    asyncio.run(run())


def test_a_bubble_of_gradio_shows_text(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run_program(shared, monkeypatch, "chat_gradio.py", {"gradio": MagicMock()})
    store = StreamStore()
    store.ingest_many([event("block.delta", messageId="m", blockIndex=0, text=MARKED)])
    [shown] = shared["shown_in"](store)
    assert in_a_browser(names["bubble"](shown)["content"]) == MARKED
    for text in (" \tOnce\n  upon", " \tOnce\n  upon\n\n  a time."):
        assert in_a_browser(names["plain"](text)) == text
        assert inspect.cleandoc(names["plain"](text)) == names["plain"](text)  # Gradio does that
    assert names["plain"]("Once upon").startswith(names["plain"]("Once"))  # so it sends ` upon`


class Chainlit(ModuleType):
    """As much of Chainlit as the page's program uses; `page` is what a visitor sees, by id."""

    def __init__(self) -> None:
        super().__init__("chainlit")
        self.page: dict[int, str] = {}
        self.kept: dict[int, str] = {}  # by its data layer
        self.connected = True
        session = SimpleNamespace(id="s", socket_id="first")
        self.sessions = {"s": session}
        self.context = SimpleNamespace(session=session)
        self.WebsocketSession = SimpleNamespace(get_by_id=self.sessions.get)
        values: dict[str, Any] = {}
        self.user_session = SimpleNamespace(get=values.get, set=values.__setitem__)
        self.on_chat_start = self.on_chat_end = self.on_message = lambda function: function
        chainlit = self

        class Message:
            def __init__(self, content: str) -> None:
                self.content = content

            def draw(self) -> None:
                if chainlit.connected:
                    chainlit.page[id(self)] = self.content

            async def send(self) -> None:
                chainlit.kept.setdefault(id(self), self.content)
                self.draw()

            async def update(self) -> None:
                chainlit.kept[id(self)] = self.content
                self.draw()

            async def stream_token(self, token: str) -> None:
                self.content += token
                if chainlit.connected:
                    chainlit.page[id(self)] += token

            async def remove(self) -> None:
                chainlit.page.pop(id(self), None)

        self.Message = Message


def test_a_visitor_of_chainlit_comes_back_on_another_connection(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    chainlit = Chainlit()
    following: list[StreamStore] = []

    async def follow(store: StreamStore) -> None:
        following.append(store)
        await asyncio.Event().wait()

    modules = {"chainlit": chainlit, "chainlit.session": chainlit}
    names = run_program(shared, monkeypatch, "chat_chainlit.py", modules, follow=follow)

    async def turn(_: float = 0) -> None:
        await asyncio.tasks.sleep(0)

    names["asyncio"] = SimpleNamespace(sleep=turn, create_task=asyncio.create_task)

    async def turns() -> None:
        for _ in range(20):
            await turn()

    async def visit() -> None:
        names["start"]()
        asked = asyncio.create_task(names["ask"](chainlit.Message("?")))
        await turns()
        [store] = following

        async def say(text: str) -> None:
            store.ingest_many([event("block.delta", messageId="m", blockIndex=0, text=text)])
            store.flush()
            await turns()

        await say("Once ")
        chainlit.connected = False
        names.get("leave", lambda: None)()
        await say("upon ")
        chainlit.connected, chainlit.context.session.socket_id = True, "second"
        await say("a time.")
        assert list(chainlit.page.values()) == ["Once upon a time."]
        store.ingest_many([event("message.closed", messageId="m", status="completed")])
        store.flush()
        await turns()
        assert list(chainlit.kept.values()) == ["Once upon a time."]
        del chainlit.sessions["s"]  # for good
        await turns()
        assert asked.cancelled()
        with pytest.raises(CallerError, match="closed"):
            store.flush()

    asyncio.run(visit())


# -- laws ------------------------------------------------------------------------------------------


def sections(name: str) -> dict[str, str]:
    """The text below each heading of the second level."""
    parts = re.split(r"(?m)^## (.*)\n", PAGES[name].read_text("utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


LAWS = {
    heading.partition(":")[0]: re.findall(r"(?m)^- `(tests/\w+\.py::\S+)`$", text)
    for heading, text in sections("laws.md").items()
    if re.match(r"L\d", heading)
}


@cache
def names_in(file: str) -> frozenset[str]:
    """Names of the tests in a file; those of a class behind its name."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(_tests(tree.body))


def _tests(body: list[ast.stmt], above: str = "") -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test_"):
            yield above + statement.name
        elif isinstance(statement, ast.ClassDef) and statement.name.startswith("Test"):
            yield from _tests(statement.body, f"{statement.name}::")
        elif isinstance(statement, ast.Assign) and not above:
            for target in statement.targets:
                if isinstance(target, ast.Name) and target.id.startswith("Test"):
                    yield target.id


def test_each_of_the_nine_laws_names_tests() -> None:
    assert list(LAWS) == [f"L{number}" for number in range(1, 10)]
    assert all(LAWS.values()), LAWS


@pytest.mark.parametrize("law", LAWS)
def test_every_test_that_a_law_names_exists(law: str) -> None:
    for name in LAWS[law]:
        file, _, test = name.partition("::")
        assert test in names_in(file), f"{law} names {name}"


# -- the event format ------------------------------------------------------------------------------


COMMON = {"sessionId", "seq", "generation", "id", "time"}
"""What every event may carry: a row need not say so."""


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def members(cls: type[Event]) -> dict[str, bool]:
    """The members of an event that not every event has, and whether each is optional."""
    inherited = {attribute.name: attribute for attribute in attrs.fields(Event)}
    return {
        attribute.metadata["name"] or camel(attribute.name): attribute.default is not attrs.NOTHING
        for attribute in attrs.fields(cls)
        if "check" in attribute.metadata
        and (
            attribute.name not in inherited
            or inherited[attribute.name].default is not attribute.default
        )
    }


def format_table() -> dict[str, dict[str, bool]]:
    """The members of each type as `docs/events.md` has them."""
    rows = re.findall(r"(?m)^\| (`.*?) \|(.*?)\| .* \|$", PAGES["events.md"].read_text("utf-8"))
    found: dict[str, dict[str, bool]] = {}
    for types, text in rows:
        named: dict[str, bool] = {}
        for word in re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", text)):
            if word in found:  # as another type
                named.update(found[word])
            else:
                named[word.removesuffix("?")] = word.endswith("?")
        for name in re.findall(r"`([^`]+)`", types):
            found[name] = named
    return found


def test_the_event_format_lists_every_type_and_no_other() -> None:
    assert set(format_table()) == set(EVENT_TYPES)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_the_event_format_lists_every_member_of_a_type(name: str) -> None:
    listed, own = format_table()[name], members(EVENT_TYPES[name])
    assert listed == {**own, **{word: True for word in listed if word in COMMON - own.keys()}}


# -- tables, reasons, links ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_tables_are_up_to_date(tables: Any) -> None:
    found = tables.pages()
    assert {page.name for page in found} == {"adapters.md", "limits.md", "protocols.md"}
    for page in found:
        text = page.read_text("utf-8")
        assert text == tables.written(text), "run: python docs/tables.py"


def test_every_limit_and_protocol_has_a_row(tables: Any) -> None:
    assert len(tables.limits().splitlines()) == 2 + len(attrs.fields(Limits))
    assert {"native", "opencode"} <= set(re.findall(r"(?m)^\| `(\S+)`", tables.protocols()))


#: Packages whose names are public one by one, and not as a whole module.
PACKAGES = [
    "streamstore",
    *(f"streamstore.{name}" for name in ("client", "log", "recording", "serve", "testing")),
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_on_a_page_of_the_reference(package: str) -> None:
    text = "".join(page.read_text("utf-8") for name, page in PAGES.items() if "api/" in name)
    named = set(re.findall(r"(?m)^\.\. auto(?:class|exception|function):: (\S+)$", text))
    data = re.findall(r"(?m)^\.\. py:data:: (\S+)\n   :module: (\S+)$", text)
    named |= {f"{where}.{name}" for name, where in data}
    wholes = set(re.findall(r"(?m)^\.\. automodule:: (\S+)\n(?!   :no-members:)", text))
    module = importlib.import_module(package)
    for name in module.__all__:
        home = inspect.getmodule(getattr(module, name))
        where = "" if home is None else home.__name__
        assert f"{package}.{name}" in named or where in wholes, f"{package}.{name}"


def test_troubleshooting_has_every_reason_to_refuse() -> None:
    page = PAGES["troubleshooting.md"].read_text("utf-8")
    reasons = {
        value.reason
        for value in vars(verdicts).values()
        if isinstance(value, verdicts.Verdict) and value.kind == "refused"
    }
    assert len(reasons) > 5
    missing = [reason for reason in sorted(reasons) if f"refused:{reason}`" not in page]
    assert not missing


def test_the_protocols_page_names_every_difference_from_an_official_client() -> None:
    table = json.loads((ROOT / "tests" / "differences.json").read_text("utf-8"))
    cases = {entry["case"] for entry in table["differences"]}
    assert "replay-same-ids" in cases
    page = PAGES["protocols.md"].read_text("utf-8")
    assert set(re.findall(r"(?m)^\| `\S+` \| `(\S+)` \| ", page)) == cases
    assert {f"| `{name}` | {found['all']} |" for name, found in table["cases"].items()} <= set(
        re.findall(r"(?m)^\| `\S+` \| \d+ \|", page)
    )


@pytest.mark.parametrize("name", ["README.md", *(f"docs/{name}" for name in PAGES)])
def test_links_lead_to_files_that_are_there(name: str) -> None:
    file = ROOT / name
    text = re.sub(r"```.*?```", "", file.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"\w+:", target):
            assert (file.parent / target).exists(), f"{name} links to {target}"
