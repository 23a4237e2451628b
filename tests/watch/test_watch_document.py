"""The transcript as lines: it is what the store holds, made by change sets, at the cost of the new."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cost import calls

from streamstore import StreamStore
from streamstore.keys import MessageKey, PartKey
from streamstore.testing import disturb, sample
from streamstore.watch.document import Document
from streamstore.watch.wrapping import WrappedText, cells


class View(str):
    """A text as a part's view gives it."""

    def range(self, start: int, stop: int | None = None) -> str:
        return self[start:stop]


def wrapped(text: str, width: int) -> list[str]:
    made = WrappedText(width)
    made.grow(View(text))
    return [made.line(View(text), at) for at in range(made.height)]


def texts(document: Document) -> list[str]:
    return [document.line(at).text for at in range(document.height)]


# -- wrapping --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 10, []),
        ("one", 10, ["one"]),
        ("one two three", 8, ["one two ", "three"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("ab\ncd\n", 10, ["ab", "cd", ""]),
        ("\n\n", 10, ["", "", ""]),
        ("abc def", 3, ["abc ", "def"]),
        ("日本語", 4, ["日本", "語"]),
        ("日本語", 1, ["日", "本", "語"]),
        ("e\u0301e\u0301e\u0301", 2, ["e\u0301e\u0301", "e\u0301"]),
        ("a\tb", 10, ["a    b"]),
        ("\x1b[31mred", 8, ["\\x1b[31m", "red"]),
        ("\u202egnp.exe", 20, ["\\u202egnp.exe"]),
    ],
)
def test_a_text_is_wrapped_at_words_and_safe_to_draw(
    text: str, width: int, lines: list[str]
) -> None:
    assert wrapped(text, width) == lines


TEXTS = st.text(st.sampled_from("ab  \n日é\t\x1b\u0301😀-"), max_size=60)


@given(st.lists(TEXTS, max_size=6), st.integers(1, 12))
def test_wrapped_piece_by_piece_is_wrapped_at_once(pieces: list[str], width: int) -> None:
    made, text = WrappedText(width), ""
    for piece in pieces:
        text += piece
        made.grow(View(text))
    assert [made.line(View(text), at) for at in range(made.height)] == wrapped(text, width)


@given(TEXTS, st.integers(0, 60), TEXTS, st.integers(1, 12))
def test_a_rewrite_is_wrapped_as_if_it_were_new(
    before: str, start: int, new: str, width: int
) -> None:
    start = min(start, len(before))
    after = before[:start] + new
    made = WrappedText(width)
    made.grow(View(before))
    made.cut(start)
    made.grow(View(after))
    assert [made.line(View(after), at) for at in range(made.height)] == wrapped(after, width)


@given(TEXTS, st.integers(1, 12))
def test_every_line_fits_but_for_a_space_at_its_end(text: str, width: int) -> None:
    for line in wrapped(text, max(6, width)):
        assert cells(line.rstrip(" ")) <= max(6, width)


def test_appending_costs_what_is_new_and_the_last_line() -> None:
    made, text = WrappedText(40), ""
    for number in range(2_000):
        text += f"word{number} "
        made.grow(View(text))
    assert made.looked_at < 2_000 * 40 + len(text)
    assert made.height > 400


def test_a_long_line_without_a_space_is_wrapped_in_linear_work() -> None:
    made = WrappedText(10)
    made.grow(View("x" * 100_000))
    assert made.height == 10_000 and made.looked_at == 100_000


# -- the document ----------------------------------------------------------------------------------


def store_and_document(width: int = 40, **options: Any) -> tuple[StreamStore, Document]:
    store = StreamStore("native", ticks="manual")
    document = Document(store, width, **options)
    store.subscribe(document.hear)
    return store, document


def delta(text: str, message: str = "m", block: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": "block.delta", "sessionId": "s", "messageId": message, "blockIndex": block, "text": text, **more}  # fmt: skip


@pytest.mark.parametrize("sequencing", ["block", "session", "sparse", "none"])
@pytest.mark.parametrize("seed", range(4))
def test_kept_up_by_change_sets_it_is_what_reading_anew_makes(sequencing: Any, seed: int) -> None:
    store, document = store_and_document(24)
    stream = store.open("native")
    for number, wire in enumerate(disturb(sample(sequencing, seed, sessions=2), seed).wires):
        stream.ingest(wire)
        if number % 3 == 0:
            store.flush()
            if number % 9 == 0:
                assert texts(document) == texts(Document(store, 24)), f"after {number}"
    store.flush()
    assert texts(document) == texts(Document(store, 24))
    assert document.height > 20


def test_sessions_messages_and_parts_stand_in_their_order() -> None:
    store, document = store_and_document()
    for wire in (
        {"type": "session.updated", "sessionId": "s", "info": {"title": "A talk"}},
        {"type": "message.opened", "sessionId": "s", "messageId": "m", "role": "user", "order": 1},
        delta("Hi"),
        {"type": "message.opened", "sessionId": "s", "messageId": "n", "role": "assistant", "order": 2},
        {"type": "block.opened", "sessionId": "s", "messageId": "n", "blockIndex": 0, "kind": "reasoning"},
        delta("Hm.", "n"),
        {"type": "block.opened", "sessionId": "s", "messageId": "n", "blockIndex": 1, "kind": "tool", "tool": "read", "state": {"status": "running", "title": "a.txt"}},
        {"type": "permission.asked", "sessionId": "s", "id": "p", "payload": {"what": "read"}},
        {"type": "session.error", "sessionId": "s", "error": {"name": "Oops", "message": "no"}},
    ):  # fmt: skip
        store.ingest(wire)
    store.flush()
    lines = [document.line(at) for at in range(document.height)]
    assert [(line.style, line.text) for line in lines] == [
        ("session", "A talk (s)"),
        ("role", "user m"),
        ("note", "(text may be missing)"),
        ("text", "Hi"),
        ("role", "assistant n"),
        ("reasoning", "Hm."),
        ("tool", "[read] running: a.txt"),
        ("error", "session error: name=Oops message=no"),
        ("ask", "? permission asked: what=read"),
    ]
    assert lines[3].key == PartKey("s", "m", 0)
    assert document.place_of(PartKey("s", "n", 0)) == (5, 1)
    assert document.place_of(MessageKey("s", "gone")) is None
    store.ingest({"type": "permission.replied", "sessionId": "s", "id": "p"})
    store.ingest({"type": "message.closed", "sessionId": "s", "messageId": "n", "status": "aborted"})  # fmt: skip
    store.flush()
    assert "? permission asked: what=read" not in texts(document)
    assert any(line.startswith("[read] error: a.txt") for line in texts(document))


def test_a_token_wraps_its_own_text_and_nothing_else() -> None:
    store, document = store_and_document()
    for message in range(50):
        store.ingest(delta("some text " * 20, f"m{message:02}"))
    store.flush()
    assert document.height > 200
    blocks = document._blocks
    before = {place: block.wrapped.looked_at for place, block in blocks.items() if block.wrapped}
    store.ingest(delta("more", "m20"))
    store.flush()
    assert document.height > 200
    after = {place: block.wrapped.looked_at for place, block in blocks.items() if block.wrapped}
    grew = {place.key[1]: after[place] - before[place] for place in after if after[place] != before[place]}  # fmt: skip
    assert set(grew) == {"m20"} and grew["m20"] <= 44


def test_what_is_removed_is_gone_and_a_rewrite_shows() -> None:
    store, document = store_and_document()
    store.ingest(delta("one two three"))
    store.ingest(delta("other", "n"))
    store.flush()
    assert "one two three" in texts(document)
    store.ingest({"type": "block.replaced", "sessionId": "s", "messageId": "m", "blockIndex": 0, "text": "one 2"})  # fmt: skip
    store.flush()
    assert "one 2" in texts(document) and "one two three" not in texts(document)
    store.ingest({"type": "message.removed", "sessionId": "s", "messageId": "m"})
    store.flush()
    assert "one 2" not in texts(document) and "other" in texts(document)


def test_over_its_bound_the_oldest_are_left_out_and_a_line_says_how_many() -> None:
    store, document = store_and_document(most_blocks=21)
    for message in range(30):
        store.ingest({"type": "message.opened", "sessionId": "s", "messageId": f"m{message:02}", "role": "user", "order": message})  # fmt: skip
        store.ingest(delta(f"text {message}", f"m{message:02}"))
    store.flush()
    lines = texts(document)
    assert lines[0] == f"… {document.left_out} earlier not shown" and document.left_out == 41
    assert lines[-1] == "text 29" and "text 9" not in lines
    assert len(document._blocks) == 21
    place = document.place_of(PartKey("s", "m29", 0))
    assert place is not None and lines[place[0] + place[1] - 1] == "text 29"


def change(kind: str, session: str, message: str, block: int) -> dict[str, Any]:
    wire: dict[str, Any] = {"type": kind, "sessionId": session}
    if not kind.startswith("session"):
        wire["messageId"] = message
    if kind.startswith("block"):
        wire["blockIndex"] = block
    if kind == "block.opened":
        wire["kind"] = "text"
    if kind == "message.opened":
        wire["role"] = "user"
    if kind in ("session.updated", "message.updated"):
        wire.update(info={}, whole=True)
    return {**wire, "text": "x"} if kind == "block.delta" else wire


changes = st.builds(
    change,
    st.sampled_from(
        "session.updated session.removed message.updated message.opened message.removed "
        "message.reset block.opened block.delta block.delta block.removed".split()
    ),
    st.sampled_from("st"),
    st.sampled_from("mno"),
    st.integers(0, 2),
)


@given(st.lists(st.tuples(changes, st.sampled_from(["", "", "tick", "hear"])), max_size=40))
def test_how_many_are_left_out_is_right_whatever_comes_and_goes(steps: list[Any]) -> None:
    store = StreamStore("native", ticks="manual")
    document, heard = Document(store, most_blocks=4), 0
    for wire, then in [*steps, ({"type": "stream.synchronized"}, "hear")]:
        store.ingest(wire)
        if then:
            store.flush()
        if then == "hear":
            document.hear(store.pull(heard))  # merged: what came and went is in none
            heard = store.version
            expected = Document(store, most_blocks=4)
            assert texts(document) == texts(expected)
            assert document.left_out == expected.left_out
            shown = sum(len(store.parts(s, m.id)) + 1 for s in store.session_ids() for m in store.messages(s))  # fmt: skip
            assert document.left_out == max(0, shown + 2 * len(store.session_ids()) - 4)


@pytest.mark.parametrize("what", ["a message", "a part"])
def test_something_new_costs_the_blocks_held_however_many_there_are(what: str) -> None:
    def cost(messages: int) -> int:
        store, document = store_and_document(most_blocks=40)
        store.ingest_many(
            change("message.opened", f"s{n // 10}", f"m{n}", 0) for n in range(messages)
        )
        store.ingest(delta("x", "new"))
        store.flush()
        assert document.height and document.left_out == messages + messages // 5 + 4 - 40
        store.ingest(delta("x", "new", 1) if what == "a part" else delta("x", "newer"))
        store.flush()
        return calls(lambda: document.height)

    assert cost(4_000) == cost(200)


def test_another_width_wraps_everything_anew() -> None:
    store, document = store_and_document(40)
    store.ingest(delta("one two three four"))
    store.flush()
    height = document.height
    document.resize(6)
    assert document.height > height and "three " in texts(document)
    document.resize(40)
    assert document.height == height


def test_a_reset_reads_everything_anew() -> None:
    store, document = store_and_document()
    store.ingest(delta("one"))
    changes = store.flush()
    import attrs

    document.hear(attrs.evolve(changes, reset=True))
    assert "one" in texts(document)


HOSTILE = "\x1b]0;title\x07[bold]x[/bold]\u202e\x9b2J\r"


def test_nothing_hostile_is_in_any_line() -> None:
    store, document = store_and_document()
    message = {"sessionId": HOSTILE, "messageId": HOSTILE}
    for wire in (
        {"type": "session.updated", "sessionId": HOSTILE, "info": {"title": HOSTILE}},
        {"type": "session.error", "sessionId": HOSTILE, "error": {"name": HOSTILE, "message": HOSTILE}},
        {"type": "session.status", "sessionId": HOSTILE, "status": {"type": "retry", "attempt": 1, "message": HOSTILE, "next": 1}},
        {"type": "message.opened", **message, "role": HOSTILE},
        {"type": "block.delta", **message, "blockIndex": HOSTILE, "text": HOSTILE * 20},
        {"type": "block.opened", **message, "blockIndex": 1, "kind": HOSTILE, "x": HOSTILE},
        {"type": "block.opened", **message, "blockIndex": 2, "kind": "tool", "tool": HOSTILE, "state": {"status": "completed", "title": HOSTILE, "output": HOSTILE}},
        {"type": "question.asked", "sessionId": HOSTILE, "id": "q", "payload": {HOSTILE: HOSTILE}},
        {"type": "message.closed", **message, "status": "error", "error": {"name": HOSTILE, "message": HOSTILE}},
    ):  # fmt: skip
        store.ingest(wire)
    store.flush()
    lines = texts(document)
    assert len(lines) > 10
    for line in lines:
        assert not set(line) & set("\x1b\x07\x9b\r\n\u202e"), line
