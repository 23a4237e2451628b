"""The pure functions over reads; closed markdown blocks against a maintained parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from streamstore.errors import CallerError
from streamstore.insights import (
    MarkdownScan,
    TextRange,
    TimeGap,
    closed_markdown_blocks,
    repeated_tool_calls,
    time_gaps,
    tool_of,
)
from streamstore.keys import BlockIndex, MessageKey
from streamstore.model import Message, Part, Request, freeze
from streamstore.text import GrowingText, TextView


def message(id: str, order: float | None = None, **time: float) -> Message:
    return Message("s", id, order=order, info=freeze({"time": time} if time else {}))


def part(
    index: BlockIndex,
    kind: str = "text",
    session: str = "s",
    within: str = "m",
    others: Mapping[str, str] = MappingProxyType({}),
    **fields: Any,
) -> Part:
    return Part(
        session,
        within,
        index,
        kind,
        "closed",
        view("said"),
        fields=freeze(fields),
        others={name: view(text) for name, text in others.items()},
    )


def view(text: str) -> TextView:
    return TextView(GrowingText(text), len(text))


def call(index: BlockIndex, name: str | None, input: Any = None, **more: Any) -> Part:
    more["state"] = {"status": more.pop("status", "completed"), "input": input}
    if name is not None:
        more["tool"] = name
    return part(index, "tool", **more)


# --- gaps in time ---------------------------------------------------------------------------------


def gaps(items: list[Message] | list[Part], threshold: float) -> list[tuple[Any, Any, float]]:
    return [
        (gap.before[-1], gap.after[-1], gap.milliseconds) for gap in time_gaps(items, threshold)
    ]


def test_a_gap_is_longer_than_the_threshold() -> None:
    messages = [message("a", created=1000), message("b", created=2000), message("c", created=3001)]
    assert time_gaps(messages, 1000) == (TimeGap(MessageKey("s", "b"), MessageKey("s", "c"), 1001),)


def test_a_gap_starts_where_the_message_before_was_completed() -> None:
    messages = [message("a", created=0, completed=900), message("b", created=1000)]
    assert gaps(messages, 50) == [("a", "b", 100)]


def test_parts_have_gaps_by_their_own_times_and_those_of_their_tool_states() -> None:
    parts = [
        part(0, time={"start": 0, "end": 10}),
        part(1, "tool", state={"status": "completed", "time": {"start": 500, "end": 600}}),
        part(2, time={"start": 5000}),
        part(3, "retry", time={"created": 9000}),
    ]
    assert gaps(parts, 100) == [(0, 1, 490), (1, 2, 4400), (2, 3, 4000)]


def test_while_something_runs_there_is_no_gap() -> None:
    parts = [
        part(0, time={"start": 0, "end": 1000}),
        part(1, time={"start": 5, "end": 10}),
        part(2, time={"start": 1100, "end": 1200}),
    ]
    assert gaps(parts, 50) == [(0, 2, 100)]


def test_what_has_no_time_is_passed_over() -> None:
    messages = [message("a", created=0), message("b"), message("c", created=500)]
    assert gaps(messages, 100) == [("a", "c", 500)]
    assert gaps([part(0), part(1, order=5.0)], 0) == []


def test_time_that_runs_backwards_is_no_gap() -> None:
    messages = [message("a", created=500, completed=100), message("b", created=0)]
    assert gaps(messages, 0) == []
    assert gaps([messages[0], message("b", created=450)], 0) == []


@pytest.mark.parametrize("time", [None, 5, {}, {"created": None}, {"created": True}, {"end": 1}])
def test_times_of_a_wrong_type_count_as_none(time: object) -> None:
    odd = Message("s", "b", info=freeze({"time": time}))
    assert gaps([message("a", created=0), odd, message("c", created=500)], 1) == [("a", "c", 500)]


def test_order_is_the_time_where_no_message_has_another() -> None:
    messages = [message("a", 1000), message("b", 5000), message("c", 5001)]
    assert gaps(messages, 100) == [("a", "b", 4000)]


def test_an_order_that_counts_never_meets_a_time_in_ms() -> None:
    messages = [message("a", 1), message("b", 2, created=1_700_000_000_000), message("c", 3)]
    assert gaps(messages, 100) == []


def test_a_negative_threshold_is_the_callers_mistake() -> None:
    with pytest.raises(CallerError, match="threshold_ms"):
        time_gaps([], -1)
    with pytest.raises(CallerError, match="threshold_ms"):
        time_gaps([], float("nan"))


# --- repeated tool calls --------------------------------------------------------------------------


def runs(parts: list[Part], threshold: int = 3) -> list[list[BlockIndex]]:
    return [[key.block_index for key in run.keys] for run in repeated_tool_calls(parts, threshold)]


def test_the_third_identical_call_is_reported() -> None:
    parts = [call(0, "read", {"path": "a"}), call(1, "read", {"path": "a"})]
    assert runs(parts) == []
    (run,) = repeated_tool_calls([*parts, call(2, "read", {"path": "a"})])
    assert (run.name, run.input, len(run.keys)) == ("read", {"path": "a"}, 3)


def test_what_is_no_tool_does_not_end_a_run_and_another_call_does() -> None:
    same = {"path": "a"}
    parts = [
        call(0, "read", same),
        part(1),
        call(2, "read", same),
        part(3, "step-start"),
        call(4, "read", same),
        call(5, "read", {"path": "b"}),
        call(6, "read", same),
        call(7, "write", same),
        call(8, "read", same),
    ]
    assert runs(parts) == [[0, 2, 4]]
    assert runs(parts, 1) == [[0, 2, 4], [5], [6], [7], [8]]


def test_a_longer_run_is_one_report() -> None:
    assert runs([call(i, "ls") for i in range(7)]) == [list(range(7))]


def test_inputs_are_compared_as_json() -> None:
    assert runs([call(0, "f", {"a": 1, "b": [2]}), call(1, "f", {"b": [2.0], "a": 1})], 2) == [
        [0, 1]
    ]
    assert runs([call(0, "f", {"a": [1]}), call(1, "f", {"a": [True]})], 2) == []
    assert runs([call(0, "f", [1, 2]), call(1, "f", [1])], 2) == []
    assert runs([call(0, "f", {"a": None}), call(1, "f", {"b": None})], 2) == []


def test_streamed_input_text_counts_where_none_was_parsed() -> None:
    (run,) = repeated_tool_calls([call(i, "f", others={"input": "{x"}) for i in range(3)])
    assert run.input == "{x"
    assert runs([call(i, "f", others={"input": str(i)}) for i in range(3)]) == []


def test_a_pending_call_is_passed_over_until_its_input_is_there() -> None:
    """Three calls that start at once are no loop only because none has an input yet."""
    waiting = [call(i, "read", {}, status="pending") for i in range(3)]
    assert runs(waiting) == []
    assert runs([call(i, "read", {"path": "a"}, status="pending") for i in range(3)]) == [[0, 1, 2]]
    assert runs([call(7, "ls"), *waiting, call(8, "ls")], 2) == [[7, 8]]


def test_calls_without_a_name_and_calls_of_two_sessions_are_no_run() -> None:
    assert runs([call(i, None, {}) for i in range(3)]) == []
    assert runs([call(i, "f", {"a": 1}, session=f"s{i}") for i in range(3)]) == []


def test_a_threshold_below_one_is_the_callers_mistake() -> None:
    with pytest.raises(CallerError, match="threshold"):
        repeated_tool_calls([], 0)


# --- the tool of a request ------------------------------------------------------------------------


def test_a_request_finds_its_tool_by_message_and_call() -> None:
    parts = [
        call(0, "a", callId="c1", within="m1"),
        call(0, "b", callId="c1", within="m2"),
        call(1, "c", callId="c2", within="m2"),
    ]
    found = tool_of(Request("r", "s", "m1", "c1"), parts)
    assert found is parts[0]
    assert tool_of(Request("r", "s", "m1", "c2"), parts) is None


def test_without_a_message_the_last_call_of_that_id_is_meant() -> None:
    parts = [call(0, "a", callId="c1", within="m1"), call(0, "b", callId="c1", within="m2")]
    assert tool_of(Request("r", "s", None, "c1"), parts) is parts[1]


def test_call_ids_of_another_session_and_other_kinds_do_not_count() -> None:
    parts = [call(0, "a", callId="c1", session="other"), part(1, callId="c1")]
    assert tool_of(Request("r", "s", None, "c1"), parts) is None


def test_nothing_is_guessed_without_a_call_id() -> None:
    assert tool_of(Request("r", "s", "m"), [call(0, "a")]) is None


# --- markdown: which blocks are closed, and when --------------------------------------------------


def split(text: str) -> tuple[list[str], str]:
    """The closed blocks of a text, and what may still change."""
    scan = closed_markdown_blocks(text)
    return [text[start:stop] for start, stop in scan.closed], text[scan.offset :]


CLOSED = {
    "a paragraph by a blank line": ("a\nb\n\n", ["a\nb\n\n"], ""),
    "a paragraph by a heading": ("a\n# b\n", ["a\n", "# b\n"], ""),
    "a paragraph by a fence": ("a\n```\n", ["a\n"], "```\n"),
    "a paragraph by a list": ("a\n- b\n", ["a\n"], "- b\n"),
    "a paragraph by a list from 1": ("a\n1) b\n", ["a\n"], "1) b\n"),
    "a paragraph by a quote": ("a\n> b\n", ["a\n"], "> b\n"),
    "a paragraph by a break": ("a\n***\n", ["a\n", "***\n"], ""),
    "a heading and a break at their ends": ("# a\n---\n", ["# a\n", "---\n"], ""),
    "an empty heading": ("#\n", ["#\n"], ""),
    "a fence by its like": ("```py\n\n# a\n```\n", ["```py\n\n# a\n```\n"], ""),
    "a fence by a longer one": ("~~~\n~~~~ \t\n", ["~~~\n~~~~ \t\n"], ""),
    "a list by the text after a blank line": ("- a\n\nb", ["- a\n\n"], "b"),
    "a list by a whole line after a blank one": ("- a\n\nb\n\n", ["- a\n\n", "b\n\n"], ""),
    "a list by bold text, which is no item": ("* a\n\n**b", ["* a\n\n"], "**b"),
    "a list by a heading": ("- a\n# b\n", ["- a\n", "# b\n"], ""),
    "a list by a break": ("- a\n---\n", ["- a\n", "---\n"], ""),
    "a list by a fence that is not inside": ("1. a\n```\n", ["1. a\n"], "```\n"),
    "a list by a list of another type": ("- a\n1. b\n", ["- a\n"], "1. b\n"),
    "a list by code that is not inside": ("10000. a\n\n     b", ["10000. a\n\n"], "     b"),
    "a list by a fence that is indented less": (
        "1. a\n\n  ```\n\nb\n",
        ["1. a\n\n"],
        "  ```\n\nb\n",
    ),
    "what is no fence": ("``` a`\n\n", ["``` a`\n\n"], ""),
    "a quote by a blank line": ("> a\n> ```\n> b\nc\n\n", ["> a\n> ```\n> b\nc\n\n"], ""),
    "a table by a blank line": ("|a|\n|-|\n|b|\n\n", ["|a|\n|-|\n|b|\n\n"], ""),
    "code by what is not indented": ("    a\n\n    b\nc", ["    a\n\n    b\n"], "c"),
    "code by a tab, too": ("\ta\n\nb", ["\ta\n\n"], "b"),
    "an HTML block by a blank line": ("<div>\na\n\n", ["<div>\na\n\n"], ""),
    "lines that end otherwise": ("a\r\n\r\nb\r\rc", ["a\r\n\r\n", "b\r\r"], "c"),
    "blank lines alone": ("\n \n\t\n", [], ""),
    "blank lines between": ("a\n\n\n\nb", ["a\n\n"], "b"),
}


@pytest.mark.parametrize(("text", "blocks", "rest"), CLOSED.values(), ids=CLOSED)
def test_closed_is(text: str, blocks: list[str], rest: str) -> None:
    assert split(text) == (blocks, rest)


OPEN = {
    "a paragraph that could become a heading": "a\n",
    "a paragraph and half a blank line": "a\n  ",
    "a paragraph whose next number does not interrupt it": "a\n2. b\n",
    "a heading that goes on": "# a",
    "a heading whose CR may be half a CRLF": "# a\r",
    "a heading that could head a table": "# a | b\n",
    "a fence": "```\na\n\n",
    "a fence behind another kind": "```\n~~~\n\n",
    "a fence behind a shorter one": "````\n```\n\n",
    "a fence behind one with an info": "```\n``` py\n\n",
    "a fence behind one that is indented": "```\n    ```\n\n",
    "a fence whose last line goes on": "```\n```",
    "a list after a blank line": "- a\n\n",
    "a list that may go on": "- a\n\n-",
    "a list whose number may go on": "1. a\n\n2",
    "a list with a paragraph inside": "- a\n\n  b\n\n",
    "a list with a fence inside": "- a\n\n  ```\n\n  # b\n\n",
    "a list whose item starts with code": "-      a\n\n  b\n\n",
    "a list whose item starts empty": "-   \n  a\n\n  b\n\n",
    "a list whose item starts behind a tab": "-\ta\n\n    b\n\n",
    "a list whose last paragraph may go on": "- a\nb\n",
    "a list, or a paragraph below it and a fence": "- # a\nb\n  ```\n\nc\n",
    "indented code": "    a\n\n",
    "a quote": "> a\nb\n",
    "a table": "|a|\n|-|\n|b|\n",
    "an HTML comment, or a paragraph": "<!-- a\n\n-->\n",
    "a paragraph with an HTML comment, or one below it": "a\n<!--\n\n# b\n",
    "a quote with an HTML comment, or one below it": "> a\n<!--\n\n# b\n",
    "link definitions, or a paragraph": "[a]:\n/u\n",
}


@pytest.mark.parametrize("text", OPEN.values(), ids=OPEN)
def test_open_is(text: str) -> None:
    blocks, rest = split(text)
    assert (blocks, rest) == ([], text)


def test_ways_to_read_a_text_come_together_again() -> None:
    """Whether the first fence is code or inside an HTML block, the one with an info is closed."""
    text = "<br>\n```\na\n\nb\n```\nc\n\n```py\nd\n```\n\ne\n\n"
    assert split(text) == ([text.removesuffix("\ne\n\n"), "e\n\n"], "")


def test_too_many_ways_to_read_a_text_close_nothing_more() -> None:
    text = "# a\n" + "".join("<b>\n" + "`" * size + "\n\n" for size in range(60, 3, -1))
    blocks, rest = split(text)
    assert blocks == ["# a\n"]
    assert len(closed_markdown_blocks(text)._state.readings) == 1
    assert split(text + "a\n\nb\n\n")[1] == rest + "a\n\nb\n\n"


def test_a_text_that_got_shorter_needs_a_new_scan() -> None:
    scan = closed_markdown_blocks("a\n\nb")
    with pytest.raises(CallerError, match="start again"):
        closed_markdown_blocks("a\n", scan)


# --- markdown: laws -------------------------------------------------------------------------------

# A piece that stands here more than once comes more often.
PIECES = [
    *("a", "b c", "**d**", "1", "12", "`", "<", "'", "'t", "/u", "\xa0", "\x0c", "\u2028"),
    *("", "", "", "", " ", "  ", "   ", "    ", "\t"),
    *("- ", "* ", "+ ", "1.", "1. ", "2. ", "2) ", "10. ", "> ", ">"),
    *("```", "````", "~~~", "# ", "###### e", "#", "---", "--", "-", "===", "="),
    *("***", "* * *", "- - -", "|", "| a |", "|---|", "a | b", "--|--", ":-:"),
    *("<div>", "<pre>", "</pre>", "<!--", "-->", "<br>", "<?", "?>", "<!X", "<!x"),
    *("[a]: /u", "[a]:"),
]
INDENTS = st.sampled_from(["", "", "", " ", "  ", "   ", "    ", "     ", "\t"])
LINES = st.tuples(INDENTS, st.lists(st.sampled_from(PIECES), max_size=3).map("".join))
ENDS = st.sampled_from(["\n"] * 8 + ["\n\n"] * 4 + ["\r\n", "\r"])
MARKDOWN = st.lists(st.tuples(LINES, ENDS), max_size=9).map(
    lambda lines: "".join(indent + line + end for (indent, line), end in lines)
)

# A document is small and most are dull, so that it takes many.
LAW = settings(max_examples=500, deadline=None)

# Renderers differ in what they know: raw HTML, tables, or neither.
PARSERS = {
    "CommonMark": MarkdownIt("commonmark"),
    "tables": MarkdownIt("commonmark").enable("table"),
    "no raw HTML": MarkdownIt("commonmark", {"html": False}).enable("table"),
}

Block: TypeAlias = tuple[Any, ...]


def tokens(parser: MarkdownIt, text: str, line: int = 0) -> list[Block]:
    """What a parser makes of a text, in lines from `line` on.

    A list's range of lines ends with the blank ones behind it, a quote's with one of them; these
    are cut off, because how many follow is no matter of the block. The last line gets an end: it
    changes nothing, and without one markdown-it-py 4.3 raises IndexError on "> - <!--\\n>".
    """
    text += "" if text.endswith(("\r", "\n")) else "\n"
    lines = re.split("\r\n?|\n", text)

    def trimmed(range: list[int] | None) -> tuple[int, int] | None:
        if range is None:
            return None
        start, stop = range
        while stop > start and not lines[stop - 1].strip(" \t"):
            stop -= 1
        return start + line, stop + line

    return [
        (
            token.type,
            token.tag,
            token.level,
            trimmed(token.map),
            token.content,
            token.markup,
            token.info,
            token.hidden,
        )
        for token in parser.parse(text)
    ]


def line_of(text: str, offset: int) -> int:
    return len(re.findall("\r\n?|\n", text[:offset]))


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
@LAW
@given(text=MARKDOWN)
@example(text="- a\n\n  b\nc\n# d\n")
@example(text="# a |\n|---|\n\n")
@example(text="- # a\nb\n  ```\n\nc\n")
@example(text="> - <!--\n>")
@example(text="- ```\n  a\n   \n\nb\n")
@example(text="-\n\n  ```\n\na\n")
@example(text="a\n---\n    b\n\n    c\n\nd")
@example(text="a\n-\n    b\n\n    c\n\nd")
@example(text="1. a\n\n  ```\n\nb\n\n")
@example(text="[a]: /u\n2. b\n\n   c\n\nd")
def test_the_closed_part_alone_parses_as_the_start_of_the_whole(
    parser: MarkdownIt, text: str
) -> None:
    whole = tokens(parser, text)
    scan = None
    offsets = set()
    for stop in range(len(text) + 1):
        scan = closed_markdown_blocks(text[:stop], scan)
        offsets |= {scan.offset, *(block.stop for block in scan.closed)}
    for offset in offsets:
        closed = tokens(parser, text[:offset])
        assert closed == whole[: len(closed)]


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
@LAW
@given(text=MARKDOWN)
def test_blocks_parsed_one_by_one_make_the_whole(parser: MarkdownIt, text: str) -> None:
    """So a frontend may render each closed block alone and once, and the rest anew each time."""
    scan = closed_markdown_blocks(text)
    found: list[Block] = []
    for start, stop in (*scan.closed, TextRange(scan.offset, len(text))):
        found += tokens(parser, text[start:stop], line_of(text, start))
    assert found == tokens(parser, text)


@LAW
@given(text=MARKDOWN, more=MARKDOWN)
def test_what_is_closed_stays_closed_whatever_follows(text: str, more: str) -> None:
    before, after = closed_markdown_blocks(text), closed_markdown_blocks(text + more)
    assert after.closed[: len(before.closed)] == before.closed
    assert after.offset >= before.offset


@LAW
@example(text="a\r\rb\r\n\r\n", sizes=[1])
@given(text=MARKDOWN, sizes=st.lists(st.integers(0, 9), min_size=1))
def test_a_scan_that_goes_on_finds_what_one_from_the_start_finds(
    text: str, sizes: list[int]
) -> None:
    found: list[TextRange] = []
    growing = GrowingText()
    scan: MarkdownScan | None = None
    stops = [0]
    while stops[-1] < len(text):
        stops.append(min(len(text), stops[-1] + max(1, sizes[len(stops) % len(sizes)])))
        growing.append(text[stops[-2] : stops[-1]])
        scan = closed_markdown_blocks(TextView(growing, growing.length), scan)
        found += scan.closed
        once = closed_markdown_blocks(text[: stops[-1]])
        assert (found, scan.offset) == (list(once.closed), once.offset)
        assert scan._state == once._state


@LAW
@given(text=MARKDOWN)
def test_ranges_are_in_order_and_only_blank_lines_are_outside(text: str) -> None:
    scan = closed_markdown_blocks(text)
    end = 0
    for start, stop in scan.closed:
        assert end <= start < stop <= scan.offset
        assert not text[end:start].strip(" \t\r\n")
        assert text[start:stop].strip(" \t\r\n")
        end = stop
    assert not text[end : scan.offset].strip(" \t\r\n")


class CountingView(TextView):
    """A view that counts the characters that were read through it."""

    __slots__ = ()
    read = 0

    def range(self, start: int, stop: int | None = None) -> str:
        text = super().range(start, stop)
        CountingView.read += len(text)
        return text


GROWING = {
    "one line": "word " * 4000,
    "a fence": "```\n" + "code\n" * 4000,
    "paragraphs": "a\n\n" * 6000,
    "a list": "- item\n" * 3000,
    "a long item": "- item\n" + "word " * 4000,
    "code": "    c\n" * 3000,
}


@pytest.mark.parametrize("text", GROWING.values(), ids=GROWING)
def test_a_call_reads_what_is_new(text: str) -> None:
    """Each character once when it comes and once when its line ends, and a look at the line."""
    growing = GrowingText()
    scan: MarkdownScan | None = None
    CountingView.read = calls = 0
    for start in range(0, len(text), 4):
        growing.append(text[start : start + 4])
        scan = closed_markdown_blocks(CountingView(growing, growing.length), scan)
        calls += 1
    looks = text[0] in "- "  # only a list and indented code end by how a line starts
    assert CountingView.read <= 2 * len(text) + looks * 40 * calls
    CountingView.read = 0
    closed_markdown_blocks(CountingView(growing, growing.length), scan)
    assert CountingView.read <= looks * 40
