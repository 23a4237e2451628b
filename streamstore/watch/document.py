"""The transcript as a document: every session, message and part in its order, as lines.

Kept up to date by change sets alone: an edit of a text wraps what is new of that part, and no other
part is looked at. Holds where lines start; texts stay in the store. Knows reads and change sets;
nothing of how lines are drawn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Literal, NamedTuple, TypeAlias

from ..changes import ChangeSet
from ..keys import Key, MessageKey, PartKey, SessionKey
from ..model import Message, Part
from ..pipeline import StreamStore
from ..terminal import one_line
from ..text import TextView
from ..transcript import SILENT, STREAMED, lacks, summary, tool_line
from .wrapping import Measure, WrappedText, cells

LineStyle: TypeAlias = Literal[
    "session", "role", "text", "reasoning", "tool", "output", "ask", "error", "note"
]

#: Blocks (headings and parts) of which lines are held; the oldest are left out, with a line above
#: that says how many.
MOST_BLOCKS = 2_000
_OUTPUT_LINES = 3
_ERRORS = 3


class DocumentLine(NamedTuple):
    """One line: what it is, its text (safe to print), and whose it is (None for a note on top)."""

    style: LineStyle
    text: str
    key: Key | None


class _Place(NamedTuple):
    key: Key
    below: bool = False  # what stands below a session's messages


class _Block:
    """The lines of one heading or part."""

    __slots__ = ("feet", "heads", "height", "style", "wrapped")

    def __init__(self) -> None:
        self.heads: list[tuple[LineStyle, str]] = []
        self.feet: list[tuple[LineStyle, str]] = []
        self.wrapped: WrappedText | None = None
        self.style: LineStyle = "text"
        self.height = 0

    def measure(self) -> None:
        body = 0 if self.wrapped is None else self.wrapped.height
        self.height = len(self.heads) + body + len(self.feet)


class Document:
    """Lines of a store's transcript at a width.

    - feed: `hear`, as a subscriber; `read` for everything anew
    - show: `height`, `line`, `place_of`, `resize`

    Costs: an edit what is new of its text; something added, moved or removed one look at the
    order of the blocks held, and one read of the messages of their sessions; a width everything
    held. A line costs itself. Beside the blocks a number per message of the store is held.
    """

    def __init__(
        self,
        store: StreamStore,
        width: int = 80,
        *,
        most_blocks: int = MOST_BLOCKS,
        measure: Measure = cells,
    ) -> None:
        self._store = store
        self._width = max(1, width)
        self._most = most_blocks
        self._measure = measure
        self._blocks: dict[_Place, _Block] = {}
        self._order: list[_Place] = []
        self._ends: list[int] = []
        self._stale_order = True
        self._stale_heights = True
        self._parts: dict[str, dict[str, int]] = {}  # how many, by session and message
        self._there = 0  # blocks of everything in the store
        self.left_out = 0
        """Blocks above the first line."""
        self.version = 0
        """Changes with every line that may have changed."""
        self.read()

    # -- feed --------------------------------------------------------------------------------

    def hear(self, changes: ChangeSet) -> None:
        """Take a change set in."""
        if not changes:
            return
        self.version += 1
        if changes.reset:
            self.read()
            return
        if changes.added or changes.removed or changes.moved:
            self._stale_order = True
        self._count(changes)
        for key in changes.removed:
            depth = len(key)
            for place in [place for place in self._blocks if place.key[:depth] == key]:
                del self._blocks[place]
        for key in changes.changed:
            self._look_again(key)
        for field, edit in changes.text.items():
            if field.field == "text":
                block = self._blocks.get(_Place(field.key))
                if block is not None:
                    if block.wrapped is not None and edit.rewritten:
                        block.wrapped.cut(edit.start)
                    self._fill(_Place(field.key), block)
            else:
                self._look_again(field.key)

    def read(self) -> None:
        """Read everything anew."""
        store = self._store
        self._parts = {
            session_id: {
                message.id: len(store.parts(session_id, message.id))
                for message in store.messages(session_id)
            }
            for session_id in store.session_ids()
        }
        self._there = sum(map(_blocks, self._parts.values()))
        self._blocks.clear()
        self._stale_order = True
        self.version += 1

    def resize(self, width: int) -> None:
        """Lines of another width: everything that is held is wrapped anew."""
        if max(1, width) != self._width:
            self._width = max(1, width)
            self._blocks.clear()
            self._stale_order = True
            self.version += 1

    def _count(self, changes: ChangeSet) -> None:
        """How many blocks there are now; what lay below a removed key goes with it, unnamed."""
        parts = self._parts
        for key in changes.removed:
            below = parts.get(key.session_id)
            if below is None:
                continue
            if isinstance(key, SessionKey):
                self._there -= _blocks(parts.pop(key.session_id))
            elif isinstance(key, MessageKey):
                self._there -= 1 + below.pop(key.message_id, -1)
            elif key.message_id in below:
                below[key.message_id] -= 1
                self._there -= 1
        for key, _ in changes.added:
            if isinstance(key, SessionKey):
                parts[key.session_id] = {}
                self._there += 2
            elif isinstance(key, MessageKey):
                parts[key.session_id][key.message_id] = 0
                self._there += 1
            else:
                parts[key.session_id][key.message_id] += 1
                self._there += 1

    def _look_again(self, key: Key) -> None:
        places = [_Place(key)]
        if isinstance(key, SessionKey):
            places.append(_Place(key, True))
        for place in places:
            block = self._blocks.get(place)
            if block is not None:
                self._fill(place, block)
        if isinstance(key, MessageKey):
            for part in self._store.parts(*key):  # an aborted message settles its tools
                block = self._blocks.get(_Place(part.key))
                if block is not None and part.tool is not None:
                    self._fill(_Place(part.key), block)

    # -- show --------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """How many lines there are."""
        self._arrange()
        return (self._ends[-1] if self._ends else 0) + (1 if self.left_out else 0)

    def line(self, at: int) -> DocumentLine:
        """The line at a place from 0; beyond the end an empty one."""
        self._arrange()
        if self.left_out:
            if at == 0:
                return DocumentLine("note", f"… {self.left_out} earlier not shown", None)
            at -= 1
        if not self._ends or not 0 <= at < self._ends[-1]:
            return DocumentLine("note", "", None)
        number = bisect_right(self._ends, at)
        place = self._order[number]
        block = self._blocks[place]
        at -= self._ends[number - 1] if number else 0
        if at < len(block.heads):
            style, text = block.heads[at]
            return DocumentLine(style, text, place.key)
        at -= len(block.heads)
        if block.wrapped is not None and at < block.wrapped.height:
            view = self._view(place.key)
            text = "" if view is None else block.wrapped.line(view, at)
            return DocumentLine(block.style, text, place.key)
        at -= 0 if block.wrapped is None else block.wrapped.height
        style, text = block.feet[at]
        return DocumentLine(style, text, place.key)

    def place_of(self, key: Key) -> tuple[int, int] | None:
        """First line and number of lines of a key; None where it has none. Linear in blocks."""
        self._arrange()
        try:
            number = self._order.index(_Place(key))
        except ValueError:
            return None
        start = self._ends[number - 1] if number else 0
        return start + (1 if self.left_out else 0), self._ends[number] - start

    # -- blocks ------------------------------------------------------------------------------

    def _arrange(self) -> None:
        if self._stale_order:
            self._stale_order, self._stale_heights = False, True
            self._set_order()
        if self._stale_heights:
            self._stale_heights = False
            self._ends = list(accumulate(self._blocks[place].height for place in self._order))

    def _set_order(self) -> None:
        order = list(islice(self._upwards(), self._most))
        self.left_out = self._there - len(order)
        order.reverse()
        self._order = order
        kept = {}
        for place in order:
            block = self._blocks.get(place)
            if block is None:
                block = _Block()
                self._fill(place, block)
            kept[place] = block
        self._blocks = kept

    def _upwards(self) -> Iterator[_Place]:
        """Where every block stands, the last one first; nothing is read of what nobody asks for."""
        store = self._store
        for session_id in reversed(store.session_ids()):
            session = SessionKey(session_id)
            yield _Place(session, True)
            for message in reversed(store.messages(session_id)):
                for part in reversed(store.parts(session_id, message.id)):
                    yield _Place(part.key)
                yield _Place(message.key)
            yield _Place(session)

    def _fill(self, place: _Place, block: _Block) -> None:
        """Make the lines of a block again; of a text only what is new."""
        key, store = place.key, self._store
        before = block.height
        if isinstance(key, PartKey):
            part = store.part(*key)
            if part is not None:
                self._fill_part(part, block)
        elif isinstance(key, MessageKey):
            message = store.message(*key)
            block.heads = [] if message is None else _message_lines(message)
        elif place.below:
            block.heads = self._asked(key.session_id)
        else:
            block.heads = self._title(key.session_id)
        block.measure()
        if block.height != before:
            self._stale_heights = True

    def _fill_part(self, part: Part, block: _Block) -> None:
        block.heads, block.feet = [], []
        if part.kind in SILENT:
            return
        tool = part.tool
        if tool is not None:
            bad = tool.status in ("error", "denied")
            block.heads.append(("error" if bad else "tool", tool_line(part)))
            if tool.status == "completed" and isinstance(tool.output, str):
                lines = tool.output[: _OUTPUT_LINES * 400].strip().split("\n")
                block.feet = [
                    ("output", "  " + one_line(line, 200)) for line in lines[:_OUTPUT_LINES]
                ]
                if len(lines) > _OUTPUT_LINES:
                    block.feet.append(("output", "  …"))
            return
        if part.kind not in STREAMED:
            block.heads.append(("note", f"{one_line(part.kind, 20)}: {summary(part.fields)}"))
        head = lacks(part)
        if head:
            block.heads.append(("note", head))
        block.style = "reasoning" if part.kind == "reasoning" else "text"
        if block.wrapped is None:
            block.wrapped = WrappedText(self._width, self._measure)
        block.wrapped.grow(part.view)

    def _view(self, key: Key) -> TextView | None:
        part = self._store.part(*key) if isinstance(key, PartKey) else None
        return None if part is None else part.view

    def _title(self, session_id: str) -> list[tuple[LineStyle, str]]:
        session = self._store.session(session_id)
        name = one_line(session_id, 60)
        if session is None:
            return [("session", name)]
        title = session.info.get("title")
        shown = f"{one_line(title, 80)} ({name})" if isinstance(title, str) and title else name
        status = f" · {one_line(session.status.type, 20)}" if session.status is not None else ""
        return [("session", f"{shown}{status}")]

    def _asked(self, session_id: str) -> list[tuple[LineStyle, str]]:
        """What stands below a session's messages: what waits for an answer, and its last errors."""
        session = self._store.session(session_id)
        if session is None:
            return []
        found: list[tuple[LineStyle, str]] = [
            ("error", f"session error: {summary(error)}") for error in session.errors[-_ERRORS:]
        ]
        status = session.status
        if status is not None and status.type == "retry":
            found.append(
                ("note", f"retry {status.attempt or ''}: {one_line(status.message or '')}")
            )
        for word, requests in (
            ("permission", session.permissions),
            ("question", session.questions),
        ):
            for request in requests.values():
                found.append(("ask", f"? {word} asked: {summary(request.payload)}"))
        return found


def _blocks(parts: dict[str, int]) -> int:
    """How many blocks a session has: two of its own, one of each message, those of its parts."""
    return 2 + len(parts) + sum(parts.values())


def _message_lines(message: Message) -> list[tuple[LineStyle, str]]:
    local = " (not confirmed)" if message.local else ""
    role = one_line(message.role or "message", 40)
    lines: list[tuple[LineStyle, str]] = [
        ("role", f"{role} {one_line(message.id, 40)}{local}"),
    ]
    if message.status in ("aborted", "error"):
        error = f": {summary(message.error)}" if message.error is not None else ""
        lines.append(("error", f"{message.status}{error}"))
    return lines
