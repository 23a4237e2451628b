"""Pure functions over reads: what a frontend likes to know and no event says.

Knows the values of `model.py` and texts. May not know a store, an event or a clock: each function
takes what was read and returns frozen values; the same reads give the same answer.

- `time_gaps`: where nothing happened for long
- `repeated_tool_calls`: a model that goes round in circles
- `tool_of`: the tool that a permission or a question belongs to
- `closed_markdown_blocks`: how far a growing text can be rendered once and for all
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import attrs

from .errors import CallerError
from .keys import MessageKey, PartKey, is_order
from .model import Json, Message, Part, Request, ToolState
from .text import TextView

# --- gaps in time -----------------------------------------------------------------------------

# Where the protocols put the two ends of a message's or a part's time, all in ms.
_STARTS = ("start", "created")
_ENDS = ("end", "completed")


@attrs.frozen
class TimeGap:
    """A time in which nothing happened: from the end of `before` to the start of `after`, in ms."""

    before: MessageKey | PartKey
    after: MessageKey | PartKey
    milliseconds: float


def time_gaps(items: Iterable[Message | Part], threshold_ms: float) -> tuple[TimeGap, ...]:
    """Gaps of more than `threshold_ms` between messages, or parts, that follow one another.

    Times are those of the wire in ms: a message's `info["time"]`, a part's `time` or that of its
    tool state, from `start` (or `created`) to `end` (or `completed`; without one it ends where it
    starts). What overlaps is one stretch: a gap counts from whatever ended last. What has no time
    is passed over, also a message that has only an `order`, unless no message has anything else:
    then `order` is taken for the created time (protocols that count instead have steps of 1).

    Linear. Raises `CallerError` for a negative threshold.

    >>> first = Message("s", "a", info={"time": {"created": 1000, "completed": 4000}})
    >>> second = Message("s", "b", info={"time": {"created": 69_000}})
    >>> [(gap.after.message_id, gap.milliseconds) for gap in time_gaps([first, second], 60_000)]
    [('b', 65000)]
    """
    if not threshold_ms >= 0:
        raise CallerError(f"threshold_ms must be a number of milliseconds, not {threshold_ms!r}")
    values = list(items)
    times = [(value.key, _times(value)) for value in values]
    if all(time is None for _, time in times):
        # Two clocks must not meet in one list: an order that counts beside a created time in ms
        # since the epoch would be a gap of fifty years.
        times = [(value.key, _order_as_time(value)) for value in values]
    gaps: list[TimeGap] = []
    last: tuple[MessageKey | PartKey, float] | None = None
    for key, time in times:
        if time is None:
            continue
        start, end = time
        if last is not None and start - last[1] > threshold_ms:
            gaps.append(TimeGap(last[0], key, start - last[1]))
        if last is None or end >= last[1]:
            last = (key, end)
    return tuple(gaps)


def _times(value: Message | Part) -> tuple[float, float] | None:
    if isinstance(value, Message):
        return _ends(value.info.get("time"))
    found = _ends(value.time)
    if found is None and value.tool is not None:
        found = _ends(value.tool.fields.get("time"))
    return found


def _ends(time: Json) -> tuple[float, float] | None:
    if not isinstance(time, Mapping):
        return None
    start = next((time[name] for name in _STARTS if is_order(time.get(name))), None)
    if start is None:
        return None
    end = next((time[name] for name in _ENDS if is_order(time.get(name))), start)
    return start, max(start, end)


def _order_as_time(value: Message | Part) -> tuple[float, float] | None:
    if isinstance(value, Part) or value.order is None:
        return None
    return value.order, value.order


# --- repeated tool calls ----------------------------------------------------------------------


@attrs.frozen
class RepeatedToolCall:
    """A run of identical tool calls: `keys` are its parts in order.

    `input` is the parsed input, or the streamed input text where the wire parsed none.
    """

    name: str
    input: Json
    keys: tuple[PartKey, ...]


def repeated_tool_calls(parts: Iterable[Part], threshold: int = 3) -> tuple[RepeatedToolCall, ...]:
    """Runs of at least `threshold` tool calls with the same name and equal input.

    Give it the parts of one message or, for a loop over several turns, of a whole session. Only
    tool parts count, what stands between them does not; one call that differs ends a run. Inputs
    are compared as JSON: `1` is not `true`. A pending call without input is passed over, because
    its input is still to come, and so is one without a name.

    Linear in the inputs. Raises `CallerError` for a threshold below 1. The threshold of 3 is that
    of opencode ("doom loop").
    """
    if threshold < 1:
        raise CallerError(f"threshold must be at least 1, not {threshold!r}")
    found: list[RepeatedToolCall] = []
    run: list[PartKey] = []
    name, given = "", None

    def end_run() -> None:
        if len(run) >= threshold:
            found.append(RepeatedToolCall(name, given, tuple(run)))

    for part in parts:
        tool = part.tool
        if tool is None or tool.name is None:
            continue
        now = _input(part, tool)
        if tool.status == "pending" and now in (None, {}, ""):
            continue
        same = run and run[0].session_id == part.session_id and name == tool.name
        if not (same and _same_json(given, now)):
            end_run()
            run, name, given = [], tool.name, now
        run.append(part.key)
    end_run()
    return tuple(found)


def _input(part: Part, tool: ToolState) -> Json:
    return tool.input if tool.input is not None else part.field_text("input") or None


def _same_json(one: Json, other: Json) -> bool:
    """Whether two JSON values are equal, booleans being no numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            _same_json(item, other[name]) for name, item in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_json, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


# --- the tool of a request --------------------------------------------------------------------


def tool_of(request: Request, parts: Iterable[Part]) -> Part | None:
    """The tool part that a permission or a question belongs to, None where nothing says so.

    Call ids count inside their session only, and inside their message where the request names
    one: providers give the same call id again. Of several the last is meant, which is the one
    that still waits. Nothing is guessed without a call id. Linear in the parts given.
    """
    if request.call_id is None:
        return None
    found = None
    for part in parts:
        if part.session_id != request.session_id:
            continue
        if request.message_id is not None and part.message_id != request.message_id:
            continue
        tool = part.tool
        if tool is not None and tool.call_id == request.call_id:
            found = part
    return found


# --- markdown blocks closed for good ----------------------------------------------------------


class TextRange(NamedTuple):
    """Characters of a text from `start` to `stop`, in code points."""

    start: int
    stop: int


_Kind = Literal[
    "between",  # no block is open
    "paragraph",  # surely one paragraph and nothing else
    "run",  # lines without a blank one between them, in blocks that may be several
    "code",  # indented code
    "fence",  # `mark` is its character, `size` its length
    "html",  # `size` is the index of its end in _HTML_ENDS, -1: a blank line ends it
    "list",  # `mark` tells its type, `size` is the column where its last item's content starts
    "header",  # the line before would be the header of a table if a delimiter row follows
    "lost",  # too many ways to read it
]
# What the line before was to a list: a blank one, the empty start of an item, or another.
_Before = Literal["blank", "empty", "other"]


class _Reading(NamedTuple):
    """One way to read the text so far, reduced to what decides about its next line."""

    kind: _Kind
    mark: str = ""
    size: int = 0
    before: _Before = "other"


_BETWEEN = _Reading("between")
_PARAGRAPH = _Reading("paragraph")
_RUN = _Reading("run")
_CODE = _Reading("code")
_HEADER = _Reading("header")
_LOST = _Reading("lost")


class _ScanState(NamedTuple):
    """Where a scan stands: all that the next call needs beside the text."""

    line: int = 0  # start of the last line, which may go on
    seen: int = 0  # no line ends from there to here
    start: int | None = None  # of the open block, None between blocks
    readings: frozenset[_Reading] = frozenset((_BETWEEN,))


@attrs.frozen
class MarkdownScan:
    """How far a growing markdown text is closed; hand it to the next `closed_markdown_blocks`.

    Attributes:
        offset: what stands before it will never change (code points); what stands behind it is
            to be rendered anew with each change.
        closed: the blocks that this call found closed, in order; with the earlier calls' they
            are all. A range has the blank lines that closed its block, because they may belong
            to it (to code in a list); outside of ranges are only blank lines.
    """

    offset: int = 0
    closed: tuple[TextRange, ...] = ()
    _state: _ScanState = attrs.field(default=_ScanState(), repr=False)


def closed_markdown_blocks(text: str | TextView, scan: MarkdownScan | None = None) -> MarkdownScan:
    r"""The blocks of a growing markdown text that no text appended later can change.

    Give the text so far and the scan of the call before, None at first. Each call costs what is
    new, and the open line once more when it ends; a part's `view` is read without joining it.
    A text that was rewritten, not appended to, starts again without a scan; one that got shorter
    raises `CallerError`.

    >>> scan = closed_markdown_blocks("# Title\n\nA paragraph\nof two lines.\n\n- an item\n")
    >>> scan.closed, scan.offset
    ((TextRange(start=0, stop=8), TextRange(start=9, stop=36)), 36)
    >>> text = "# Title\n\nA paragraph\nof two lines.\n\n- an item\n\nThe list "
    >>> closed_markdown_blocks(text, scan).closed  # is over, whatever this line will be
    (TextRange(start=36, stop=47),)

    The rules are those of CommonMark 0.31 with GFM's tables, where these leave no doubt:

    - A heading that starts with `#` and a thematic break are closed when their line ends.
    - Fenced code is closed by the end of its closing fence: the same character, at least as
      often, indented by 3 at most, and nothing behind it. Else it stays open.
    - A paragraph is closed by a blank line, or by a line that always interrupts one. Until then a
      `---` below could make it a heading, and `|---|` a table. So with tables and block quotes;
      lines that no blank one separates may be one range, though they are several blocks.
    - A list goes on after blank lines, and one of them makes its earlier items loose. So only a
      line closes it that can be neither an item nor inside one nor go on an item's paragraph:
      after a blank line, one that is indented less than the item's content and starts with no
      marker; else only the start of something that interrupts a paragraph.
    - Indented code is closed by the first line that is indented by less than 4.

    Where parsers differ or more than such rules would have to be known, all ways to read the text
    are followed, and closed is only what all of them call closed: HTML blocks (a renderer may not
    allow any), a line below a list that may belong to its last paragraph, what follows a link
    definition, an indented line in a table, a heading with a `|` (the line below decides). Past 8
    ways nothing more is closed.

    This is about the structure of blocks. A link definition further down still changes how
    `[text][name]` above reads, and how it is drawn. Not known are extensions whose blocks pass
    blank lines (footnotes, `$$`, front matter) and parsers' own bounds on nesting.
    """
    line, seen, start, readings = _ScanState() if scan is None else scan._state
    length = len(text)
    if length < seen:
        raise CallerError("the text is shorter than what was scanned: start again without a scan")
    closed: list[TextRange] = []
    new = _slice(text, seen, length)
    # A CR at the very end may be half of a CRLF: its line has not ended yet.
    ends = [found.end() for found in _LINE_END.finditer(new) if _is_whole(found)]
    if ends:
        base = line
        known = _slice(text, base, seen) + new
        for end in ends:
            stop = seen + end
            content = _Line(known[line - base : stop - base].rstrip("\r\n"))
            apart, readings = _read_line(readings, content)
            if apart and start is not None:
                closed.append(TextRange(start, line))
                start = None
            if start is None and not content.blank:
                start = line
            line = stop
            if start is not None and readings == {_BETWEEN}:
                closed.append(TextRange(start, line))
                start = None
    if start is not None and all(reading.kind in _ENDS_EARLY for reading in readings):
        head = _Line(_slice(text, line, line + _PEEK).rstrip("\r"))
        if not head.blank and all(_ends_before(reading, head) for reading in readings):
            closed.append(TextRange(start, line))
            start, readings = None, frozenset((_BETWEEN,))
    seen = length - 1 if new.endswith("\r") else length
    return MarkdownScan(
        line if start is None else start,
        tuple(closed),
        _ScanState(line, seen, start, readings),
    )


# Real text has one or two readings at a time. Each costs a step per line, so that a text made to
# have ever more of them would take quadratic time.
_MOST_READINGS = 8
_LINE_END = re.compile(r"\r\n?|\n")
_CODE_INDENT = 4
# Blocks that the start of a line can close; that much of it is looked at, which is more than the
# content of an item can be indented by (3, nine digits, a delimiter, 4) and a marker after it.
_ENDS_EARLY = frozenset(("between", "code", "list"))
_PEEK = 40

_MARKER = re.compile(r"([-+*]|[0-9]{1,9}[.)])(?=[ \t]|$)")
_MAYBE_MARKER = re.compile(r"(?:[-+*]|[0-9]{1,9}[.)])(?:[ \t]|$)|[0-9]{1,9}$")
_FENCE = re.compile(r"(`{3,}+)[^`]*$|(~{3,}+)")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|$)")
_RULE = re.compile(r"(?:(?:\*[ \t]*+){3,}+|(?:-[ \t]*+){3,}+|(?:_[ \t]*+){3,}+)$")
# Underlines of headings and delimiter rows of tables, and more: only what surely is none counts.
_UNDERLINE = re.compile(r"[-=:|][-=:| \t]*$")
# HTML blocks whose end is not a blank line: how they start, and how they end.
_HTML_STARTS = re.compile(
    r"(<(?:script|pre|style|textarea)(?:[\s>]|$))|(<!--)|(<\?)|(<![A-Za-z])|(<!\[CDATA\[)",
    re.IGNORECASE | re.ASCII,
)
_HTML_ENDS = tuple(
    re.compile(end, re.IGNORECASE | re.ASCII)
    for end in (r"</(?:script|pre|style|textarea)>", "-->", r"\?>", ">", r"\]\]>")
)
_BLANK_ENDS = -1

_LineKind = Literal[
    "blank",
    "indented",  # by 4 or more, which is code unless something goes on
    "fence",
    "heading",
    "rule",  # a thematic break, and nothing else
    "dashes",  # a thematic break, or the underline of a heading
    "item",
    "quote",
    "html",
    "underline",
    "text",
]
# What interrupts a paragraph wherever it stands, so that no paragraph goes on with it.
_INTERRUPTS = frozenset(("fence", "heading", "rule"))


class _Line:
    """One line without its end: its indentation in columns and what it may be the start of."""

    __slots__ = ("blank", "body", "empty", "indent", "interrupts", "kind", "mark", "size")

    def __init__(self, line: str) -> None:
        self.body = body = line.lstrip(" \t")
        self.indent = _columns(line[: len(line) - len(body)], 0)
        self.blank = not body
        self.mark = ""
        self.size = 0
        self.empty = self.interrupts = False
        self.kind: _LineKind = self._classify(body)

    def _classify(self, body: str) -> _LineKind:
        if not body:
            return "blank"
        if self.indent >= _CODE_INDENT:
            return "indented"
        first = body[0]
        if first in "`~" and (fence := _FENCE.match(body)):
            marks = fence[1] or fence[2]
            self.mark, self.size = first, len(marks)
            return "fence"
        if first == "#" and _HEADING.match(body):
            return "heading"
        if first in "*-_" and _RULE.match(body):
            return "dashes" if not body.rstrip(" \t").strip("-") else "rule"
        if marker := _MARKER.match(body):
            self._read_marker(body, marker[1])
            return "item"
        if first == ">":
            return "quote"
        if first == "<":
            return "html"
        return "underline" if _UNDERLINE.match(body) else "text"

    def _read_marker(self, body: str, marker: str) -> None:
        """CommonMark, "List items": where the content starts, and what interrupts a paragraph."""
        rest = body[len(marker) :]
        content = rest.lstrip(" \t")
        after = self.indent + len(marker)
        start = _columns(rest[: len(rest) - len(content)], after)
        self.empty = not content
        # From 5 columns on the content is indented code, one column behind the marker.
        self.size = start if content and start - after <= _CODE_INDENT else after + 1
        self.mark = marker[-1]
        self.interrupts = not self.empty and (len(marker) == 1 or int(marker[:-1]) == 1)


def _columns(blanks: str, column: int) -> int:
    """The column after spaces and tabs; a tab goes to the next multiple of 4."""
    for blank in blanks:
        column += 4 - column % 4 if blank == "\t" else 1
    return column


def _slice(text: str | TextView, start: int, stop: int) -> str:
    return text[start:stop] if isinstance(text, str) else text.range(start, stop)


def _is_whole(end: re.Match[str]) -> bool:
    return end[0] != "\r" or end.end() < len(end.string)


def _read_line(readings: frozenset[_Reading], line: _Line) -> tuple[bool, frozenset[_Reading]]:
    """Whether all readings agree that no block goes from before a line into it; how to go on."""
    apart = True
    after: set[_Reading] = set()
    for reading in readings:
        for ended, following in _steps(reading, line):
            apart = apart and ended
            after.add(following)
    if len(after) > _MOST_READINGS:
        return apart, frozenset((_LOST,))
    return apart, frozenset(after)


def _steps(reading: _Reading, line: _Line) -> Iterator[tuple[bool, _Reading]]:
    """The ways to read a line: each says whether the open block ended before it, and what is next.

    A reading of none is one that the line refutes.
    """
    kind = reading.kind
    if kind == "between" or (kind == "code" and line.kind not in ("blank", "indented")):
        yield from _fresh(line)
    elif kind == "paragraph":
        yield from _in_paragraph(line)
    elif kind == "run":
        yield from _in_run(line)
    elif kind == "list":
        yield from _in_list(reading, line)
    elif kind == "fence":
        yield False, _BETWEEN if _closes(reading, line) else reading
    elif kind == "html":
        yield False, _BETWEEN if _html_ends(reading.size, line) else reading
    elif kind == "header":
        if line.kind in ("underline", "dashes"):
            yield False, _RUN
    else:
        yield False, reading


def _fresh(line: _Line) -> Iterator[tuple[bool, _Reading]]:
    """A line at which nothing is open: what it starts."""
    if line.kind in ("blank", "heading", "rule", "dashes"):
        yield True, _BETWEEN
    elif line.kind == "indented":
        yield True, _CODE
    elif line.kind == "fence":
        yield True, _Reading("fence", line.mark, line.size)
    elif line.kind == "item":
        yield True, _list(line)
    elif line.kind == "quote" or line.body[0] == "[":
        yield True, _RUN  # link definitions end without a sign
    else:
        yield True, _PARAGRAPH
    if line.kind == "html":
        start = _HTML_STARTS.match(line.body)
        end = start.lastindex - 1 if start and start.lastindex else _BLANK_ENDS
        yield True, _BETWEEN if _html_ends(end, line) else _Reading("html", size=end)
    if "|" in line.body and line.kind in ("heading", "fence", "item"):
        # markdown-it looks for a table first, cmark for what the line itself starts.
        yield True, _HEADER


def _in_paragraph(line: _Line) -> Iterator[tuple[bool, _Reading]]:
    if line.kind == "blank":
        yield False, _BETWEEN
    elif line.kind in _INTERRUPTS or line.kind == "quote" or line.interrupts:
        yield from _fresh(line)
    elif line.kind == "html":
        yield False, _PARAGRAPH
        yield from _fresh(line)
    elif line.kind in ("underline", "dashes") or line.body.rstrip(" \t") == "-":
        yield False, _RUN
    else:
        yield False, _PARAGRAPH


def _in_run(line: _Line) -> Iterator[tuple[bool, _Reading]]:
    if line.kind == "blank":
        yield False, _BETWEEN
    elif line.kind in _INTERRUPTS or line.interrupts:
        yield from _fresh(line)
    else:
        yield False, _RUN
        if line.kind in ("indented", "item", "html"):  # what outlives the next blank line
            yield from _fresh(line)


def _in_list(reading: _Reading, line: _Line) -> Iterator[tuple[bool, _Reading]]:
    after_blank = reading.before == "blank"
    if line.kind == "blank":
        yield False, reading._replace(before="blank")
        if reading.before == "empty":
            yield False, _BETWEEN  # an item starts with one blank line at most
    elif line.indent >= reading.size:
        yield False, reading._replace(before="other")
    elif line.kind == "item" and line.mark == reading.mark:
        yield False, _list(line)
    elif (
        after_blank
        or line.interrupts
        or line.kind in _INTERRUPTS
        or line.kind in ("quote", "dashes")  # no paragraph in an item goes on with these
    ):
        yield from _fresh(line)
    else:
        yield False, reading._replace(before="other")
        yield from _fresh(line)


def _list(line: _Line) -> _Reading:
    return _Reading("list", line.mark, line.size, "empty" if line.empty else "other")


def _closes(fence: _Reading, line: _Line) -> bool:
    marks = line.body.rstrip(" \t")
    return line.indent < _CODE_INDENT and len(marks) >= fence.size and not marks.strip(fence.mark)


def _html_ends(end: int, line: _Line) -> bool:
    return line.blank if end == _BLANK_ENDS else _HTML_ENDS[end].search(line.body) is not None


def _ends_before(reading: _Reading, start: _Line) -> bool:
    """Whether a line ends the open block, of which only the start is known, and not all blank."""
    if reading.kind == "list":
        return (
            reading.before == "blank"
            and start.indent < reading.size
            and (start.indent >= _CODE_INDENT or not _MAYBE_MARKER.match(start.body))
        )
    return reading.kind == "between" or start.indent < _CODE_INDENT
