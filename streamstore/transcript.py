"""A transcript from change sets: what is done, in order, and what still grows.

For views that cannot go back, such as a terminal's scrollback or a pipe: each part is handed out
once, when it is done and everything before it in its session is; until then it is one of the few
that are `growing`. What happens to it afterwards is a note. Every string of an `Entry` but `text`
is safe to print. Knows reads and change sets; nothing of how they are drawn.

Cost: a change set costs what it holds, a call of `done` what was heard since the last one and what
it hands out, each of `growing` what it is asked for, and the removal of a session its messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import Any, Literal, Protocol, TypeAlias

import attrs
from sortedcontainers import SortedDict

from .changes import ChangeSet
from .insights import tool_of
from .keys import Key, MessageKey, PartKey, SessionKey, message_order, part_order
from .model import TERMINAL_RANK, TOOL_RANKS, Message, Part, Request, Session
from .terminal import one_line
from .text import TextView
from .waiting import Below, Place, Waiting

Style: TypeAlias = Literal[
    "session", "role", "text", "reasoning", "tool", "ask", "error", "note", "output"
]

#: Parts that say something about the message, not in it.
SILENT = frozenset("step-start step-finish snapshot".split())
#: Parts whose text arrives in deltas.
STREAMED = frozenset(("text", "reasoning"))
_NO_TEXT = ""
# Of what a tool wrote, so many lines of so many characters are shown.
_OUTPUT_LINES = 3
_OUTPUT_WIDTH = 100


class Reads(Protocol):
    """The reads of a store that a transcript uses."""

    def session(self, session_id: str) -> Session | None: ...
    def message(self, session_id: str, message_id: str) -> Message | None: ...
    def parts(self, session_id: str, message_id: str) -> tuple[Part, ...]: ...
    def part(self, session_id: str, message_id: str, block_index: int | str) -> Part | None: ...


@attrs.frozen
class Entry:
    """Something to show for good.

    Attributes:
        style: what it is.
        head: a line, safe to print; "" for none.
        text: text of any length as it came; escape what you print of it.
        key: the part it shows, None for others.
    """

    style: Style
    head: str = ""
    text: str | TextView = _NO_TEXT
    key: PartKey | None = None


class Transcript:
    """What to show of a store, by its change sets.

    - feed: `hear`, as a subscriber
    - take: `done`, each entry once; `growing`, as often as wanted; `finish`, everything
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._places: dict[str, int] = {}  # sessions in order of appearance, while they are there
        self._numbers = count()
        self._waiting: Any = SortedDict()  # of each place: what is not handed out yet
        self._heard: dict[str, None] = {}  # sessions of which something may be done now
        # What was handed out, by session and message id, each with its tool's status.
        self._done: dict[str, dict[str, dict[PartKey, str]]] = {}
        self._sessions: dict[str, Session] = {}  # as they were when last looked at
        self._changed_sessions: dict[str, None] = {}
        self._notes: list[Entry] = []
        self._session: str | None = None  # which one the last entry belonged to
        self._message: MessageKey | None = None

    # -- feed --------------------------------------------------------------------------------

    def hear(self, changes: ChangeSet) -> None:
        """Take a change set in; read the store when something is taken, not here."""
        for key in changes.removed:
            self._remove(key)
        for key, _ in changes.added:
            self._touch(key)
        for key in changes.changed:
            self._touch(key)
        for field, edit in changes.text.items():
            if self._status(field.key) is None:
                if field.key not in self._waiting.get(self._places.get(field.key[0]), ()):
                    self._touch(field.key)
            elif field.field == "text":
                word = "rewritten" if edit.rewritten else "went on"
                self._notes.append(Entry("note", f"text above {word}", edit.text))

    def _touch(self, key: Key) -> None:
        session_id = key[0]
        if session_id not in self._places:
            self._places[session_id] = next(self._numbers)
        if isinstance(key, SessionKey):
            self._changed_sessions[session_id] = None
            return
        self._heard[session_id] = None
        place = self._places[session_id]
        if place not in self._waiting:
            self._waiting[place] = Waiting(self._order)
        self._waiting[place].add(key)

    def _remove(self, key: Key) -> None:
        place = self._places.get(key[0])
        waiting: Waiting | None = self._waiting.get(place)
        self._heard[key[0]] = None  # what it was before may be done
        # What comes again under the same key is new.
        if isinstance(key, SessionKey):
            self._waiting.pop(place, None)
            for of_session in (self._done, self._places, self._heard):
                of_session.pop(key.session_id, None)
            if key.session_id == self._session:
                self._session = None
            self._notes.append(Entry("note", f"session removed: {one_line(key.session_id, 60)}"))
            self._sessions.pop(key.session_id, None)
            self._changed_sessions.pop(key.session_id, None)
        elif isinstance(key, MessageKey):
            if waiting is not None:
                waiting.discard_message(key.message_id)
            self._done.get(key.session_id, {}).pop(key.message_id, None)
            if key == self._message:
                self._message = None
            self._notes.append(Entry("note", "message removed"))
        else:
            if waiting is not None:
                waiting.discard(key)
            self._done_of(key).pop(key, None)
            self._notes.append(Entry("note", "part removed"))

    def _status(self, key: PartKey) -> str | None:
        """What was said of a part's tool ("" for others), None when it was not handed out."""
        return self._done_of(key).get(key)

    def _done_of(self, key: PartKey) -> dict[PartKey, str]:
        return self._done.get(key.session_id, {}).get(key.message_id, {})

    # -- take --------------------------------------------------------------------------------

    def done(self) -> Iterator[Entry]:
        """Entries for what is done since the last call, in order."""
        yield from self._take(False)

    def finish(self) -> Iterator[Entry]:
        """Entries for everything that was not handed out, done or not: nothing comes any more."""
        self._heard = dict.fromkeys(self._places)
        yield from self._take(True)

    def growing(self, limit: int | None = None) -> list[tuple[Part, Message | None]]:
        """Parts that are not done, in order, each with its message: all, or so many of them."""
        return list(islice(self._growing(), limit))

    def _growing(self) -> Iterator[tuple[Part, Message | None]]:
        for waiting in self._waiting.values():
            for key in waiting:
                part = self._reads.part(*key) if isinstance(key, PartKey) else None
                if part is not None and self._status(part.key) is None and part.kind not in SILENT:
                    yield part, self._reads.message(part.session_id, part.message_id)

    def _order(self, key: Below) -> Place:
        message = self._reads.message(key.session_id, key.message_id)
        first = message_order(None if message is None else message.order, key.message_id)
        if isinstance(key, MessageKey):
            return first, (2,)  # how a message ended stands below its parts
        part = self._reads.part(*key)
        return first, part_order(None if part is None else part.order, key.block_index)

    def _take(self, everything: bool) -> Iterator[Entry]:
        notes, self._notes = self._notes, []
        yield from notes
        for session_id in list(self._changed_sessions):
            session = self._reads.session(session_id)
            if session is not None:
                yield from self._session_entries(session)
        self._changed_sessions.clear()
        for session_id in sorted(self._heard, key=self._places.__getitem__):
            self._heard.pop(session_id, None)
            try:
                yield from self._take_below(session_id, everything)
            except GeneratorExit:
                self._heard[session_id] = None  # nobody took the rest
                raise

    def _take_below(self, session_id: str, everything: bool) -> Iterator[Entry]:
        place = self._places.get(session_id)
        waiting: Waiting | None = self._waiting.get(place)
        if waiting is None:
            return
        yield from self._take_of(waiting, everything)
        if not waiting and self._waiting.get(place) is waiting:
            del self._waiting[place]

    def _take_of(self, waiting: Waiting, everything: bool) -> Iterator[Entry]:
        while (key := waiting.first()) is not None:
            message = self._reads.message(key.session_id, key.message_id)
            entries: Iterator[Entry] = iter(())
            if isinstance(key, PartKey):
                part = self._reads.part(*key)
                if part is not None:
                    known = everything or self._status(key) is not None
                    if not known and not _is_done(part, message, waiting.holds_one):
                        break
                    entries = self._part_entries(part, message)
            elif message is not None:
                entries = self._message_entries(message)
            # First: where drawing an entry awaits, more may be heard of it between two.
            waiting.discard(key)
            yield from entries

    def heads(self, session_id: str, message: Message | None) -> Iterator[Entry]:
        """What stands above something of a session or message, unless it was the last one, too."""
        if session_id != self._session:
            self._session, self._message = session_id, None
            yield Entry("session", self._title(session_id))
        if message is not None and message.key != self._message:
            self._message = message.key
            yield Entry("role", one_line(message.role or "message", 40))

    # -- entries -----------------------------------------------------------------------------

    def _title(self, session_id: str) -> str:
        session = self._reads.session(session_id)
        title = session.info.get("title") if session is not None else None
        name = one_line(session_id, 60)
        return f"{one_line(title, 80)} ({name})" if isinstance(title, str) and title else name

    def _part_entries(self, part: Part, message: Message | None) -> Iterator[Entry]:
        tool = part.tool
        status = tool.status if tool is not None else ""
        before = self._status(part.key)
        if before is None and part.kind in STREAMED and not len(part.view) and not part.gap:
            return  # not handed out: a text that comes after all is shown whole
        done = self._done.setdefault(part.session_id, {})
        done.setdefault(part.message_id, {})[part.key] = status
        if part.kind in SILENT or before == status or (before is not None and tool is None):
            return
        yield from self.heads(part.session_id, message)
        if tool is not None:
            yield Entry("error" if status == "error" else "tool", tool_line(part), key=part.key)
            if status == "completed" and isinstance(tool.output, str) and tool.output.strip():
                yield Entry("output", _NO_TEXT, _output(tool.output))
        elif part.kind in STREAMED:
            style: Style = "text" if part.kind == "text" else "reasoning"
            yield Entry(style, lacks(part), part.view, part.key)
        else:
            yield Entry("note", f"{part.kind}: {summary(part.fields)}", part.view, part.key)

    def _message_entries(self, message: Message) -> Iterator[Entry]:
        if message.status not in ("aborted", "error"):
            return
        yield from self.heads(message.session_id, message)
        error = f": {summary(message.error)}" if message.error is not None else ""
        yield Entry("error", f"{message.status}{error}")

    def _session_entries(self, session: Session) -> Iterator[Entry]:
        before = self._sessions.get(session.id, Session(session.id))
        self._sessions[session.id] = session
        found: list[Entry] = []
        new = len(session.errors) - len(before.errors)
        if new <= 0 and session.errors != before.errors:
            new = 1  # the list is bounded: one came, the oldest went
        for error in session.errors[len(session.errors) - new :] if new > 0 else ():
            found.append(Entry("error", f"session error: {summary(error)}"))
        status = session.status
        if status is not None and status.type == "retry" and status != before.status:
            text = one_line(status.message or "", 160)
            found.append(Entry("note", f"retry {status.attempt or ''}: {text}"))
        for word in ("permission", "question"):
            now: Mapping[str, Request] = getattr(session, f"{word}s")
            then: Mapping[str, Request] = getattr(before, f"{word}s")
            found += [self._asked(word, now[name]) for name in now if name not in then]
            found += [Entry("ask", f"{word} answered") for name in then if name not in now]
        if found:
            yield from self.heads(session.id, None)
            yield from found

    def _asked(self, word: str, request: Request) -> Entry:
        parts: tuple[Part, ...] = ()
        if request.message_id is not None:
            parts = self._reads.parts(request.session_id, request.message_id)
        part = tool_of(request, parts)
        name = part.tool.name if part is not None and part.tool is not None else None
        whose = f" by {one_line(name, 40)}" if name else ""
        said = (request.id, request.session_id, request.message_id, request.call_id)
        payload = {name: item for name, item in request.payload.items() if item not in said}
        return Entry("ask", f"{word} asked{whose}: {summary(payload)}")


def _is_done(part: Part, message: Message | None, is_last: bool) -> bool:
    """Whether a part is not going to grow, as far as anybody can tell.

    Not every protocol closes a user's text. `is_last`: nothing of another message waits behind it.
    """
    if part.tool is not None:
        ended = TOOL_RANKS.get(part.tool.status, 0) == TERMINAL_RANK
        return ended or part.settled_as != "open"
    if part.kind in STREAMED:
        return part.status != "open" or (
            message is not None and message.role == "user" and not is_last
        )
    return True


def tool_line(part: Part) -> str:
    """A tool call on one line, safe to print: name, state, and what it is about."""
    tool = part.tool
    assert tool is not None
    about = one_line(tool.title, 120) if tool.title else ""
    if not about and tool.input is not None:
        about = summary(tool.input)
    elif not about and "input" in part.others:
        about = one_line(part.others["input"].range(0, 120), 120)
    line = f"[{one_line(tool.name or 'tool', 40)}] {one_line(tool.status, 20)}"
    line = f"{line}: {about}" if about else line
    return f"{line} - {summary(tool.error)}" if tool.error is not None else line


def lacks(part: Part) -> str:
    """What a reader must know of a text, as a line; "" when it is all there."""
    if part.gap or part.status == "incomplete":
        return "(text may be missing)"
    return "(of an earlier run)" if part.previous else ""


def summary(value: Any, limit: int = 160) -> str:
    """A JSON value on one line, safe to print; looks at a bounded part of it.

    >>> summary({"command": "ls\\n", "lines": [1, 2, 3, 4, 5], "none": None})
    'command=ls\\\\n lines=1, 2, 3, …'
    """
    return one_line(_summary(value, 3), limit)


def _summary(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return value[:160]
    if isinstance(value, list | tuple):
        if depth == 0:
            return "…"
        items = [_summary(item, depth - 1) for item in value[:3]]
        return ", ".join(items + ["…"] * (len(value) > len(items)))
    if isinstance(value, Mapping):
        if depth == 0:
            return "…"
        full = ((name, item) for name, item in value.items() if item not in (None, "", [], {}))
        return " ".join(
            f"{str(name)[:40]}={_summary(item, depth - 1)}" for name, item in islice(full, 4)
        )
    return str(value)[:40]


def _output(text: str) -> str:
    lines = text[: _OUTPUT_LINES * _OUTPUT_WIDTH * 2].strip("\n").split("\n")
    shown = [one_line(line, _OUTPUT_WIDTH) for line in lines[:_OUTPUT_LINES]]
    more = len(lines) > _OUTPUT_LINES or len(text) > _OUTPUT_LINES * _OUTPUT_WIDTH * 2
    return "\n".join(shown + ["…"] * more)
